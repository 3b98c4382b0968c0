"""Layers that change waveforms and spectrograms at random, each signal in its own way.

They do so in training only, and return their input as it is otherwise. Those for waveforms compute
in float32 under every dtype policy, as the log-mel does: float16 would add noise of its own to
the signal. All run on every Keras backend.
"""

from __future__ import annotations

from math import log10, pi
from typing import Any

import keras
from keras import ops

from musicnn_zoo.errors import ArgumentError, check_number, check_whole
from musicnn_zoo.networks.config import LogMelInput
from musicnn_zoo.networks.mel import DECIBEL_FLOOR

_LARGEST_SEED = 2**31 - 1


def check_seed(seed: object) -> int | None:
    """Return the seed, if there is one, as an ``int`` that every Keras backend takes."""
    return None if seed is None else check_whole("seed", seed, least=0, most=_LARGEST_SEED)


def check_decibels(low: object, high: object) -> tuple[float, float]:
    """Return the ends of a range in dB."""
    ends = check_number("low_db", low), check_number("high_db", high)
    if ends[0] > ends[1]:
        raise ArgumentError(f"low_db must be at most high_db; received {low!r} and {high!r}")
    return ends


_REPLICA_STRIDE = 1_000_003


class ReplicaSeedGenerator(keras.random.SeedGenerator):
    """A seed generator that gives every replica of a ``tf.distribute`` strategy other seeds.

    Keras's own gives all replicas the same, so that the first signal of each would be changed in
    the same way.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(check_seed(seed), **kwargs)

    def next(self, ordered: bool = True) -> Any:
        """Return a seed and move on."""
        seed = super().next(ordered=ordered)
        if keras.backend.backend() != "tensorflow":
            return seed
        import tensorflow as tf

        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            return seed
        number = tf.cast(replica.replica_id_in_sync_group, seed.dtype)
        return seed + tf.stack([number * _REPLICA_STRIDE, tf.zeros_like(number)])


def symmetric_beta(shape: tuple[Any, ...], alpha: float, seed: keras.random.SeedGenerator) -> Any:
    """Draw float32 numbers from 0 to 1 from Beta(alpha, alpha), alpha being above 0.

    By the polar method (Devroye, "Non-uniform random variate generation", 1986, IX.3; Bailey,
    "Polar generation of random variates with the t-distribution", Mathematics of Computation 62,
    1994), with two uniform numbers for each: XLA, which Keras uses by itself on a GPU, cannot
    compile the gamma variates that ``keras.random.beta`` is made of.
    """
    # t = cosine * sqrt(1 / q - 1) has the t-distribution of 2 alpha degrees, but for a factor.
    q = ops.power(keras.random.uniform(shape, dtype="float32", seed=seed), 1 / alpha)
    cosine = ops.cos(2 * pi * keras.random.uniform(shape, dtype="float32", seed=seed))
    square = (1 - q) * ops.square(cosine)
    spread = ops.sqrt(square / ops.maximum(q + square, 1e-37))
    return 0.5 + 0.5 * ops.sign(cosine) * spread


class RandomLayer(keras.layers.Layer):
    """Base of the layers of this module; the shape stays as it is.

    Parameters
    ----------
    seed : int, optional
        Of the layer's own seed generator. Two layers should not have the same. By default a
        random one.
    """

    takes, rank = "waveforms (batch, samples)", 2
    computes_in: str | None = "float32"  # None: in the dtype of the policy

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        if self.computes_in:
            kwargs["dtype"] = self.computes_in
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = ReplicaSeedGenerator(seed)

    def build(self, input_shape: Any) -> None:
        """Refuse inputs of another rank."""
        if len(input_shape) != self.rank:
            raise ArgumentError(
                f"{type(self).__name__} takes {self.takes}; received the shape {tuple(input_shape)}"
            )
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Change the input in training, and return it as it is otherwise."""
        return self.change(x) if training else x

    def change(self, x: Any) -> Any:
        """Change each signal of a batch at random."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class SpecAugment(RandomLayer):
    """Masks random stretches of frames and bands of spectrograms in training.

    Takes and gives ``(batch, frames, bands, channels)``. The masks are drawn as
    ``kapre.SpecAugment`` draws them, for each example its own: a mask is 1 to ``freq_mask`` bands
    wide (the paper has 0 to ``freq_mask``), every width and every place equally likely,
    and masks may overlap. It differs in that

    - its random numbers come from a seed generator whose state is among the variables of the
      model, so that training can be resumed exactly;
    - the masks of a batch are made at once, not one after the other;
    - all channels, which are spectrograms of the same signal, have the same masks;
    - frames alone, or bands alone, can be masked;
    - inputs of unknown length may be shorter than ``time_mask``: the longest mask is then all
      of the input.

    It works in the precision of its input.

    Parameters
    ----------
    freq_mask, time_mask : int
        Largest width of a mask, in bands and in frames: F and T of the paper, Kapre's
        ``freq_mask_param`` and ``time_mask_param``. With 0 there are no such masks.
    n_freq_masks, n_time_masks : int
        How many masks each example has: m_F and m_T of the paper.
    mask_value : float, optional
        What stands under a mask. By default silence: in a model made by
        :func:`musicnn_zoo.augment` that of its log-mel (``value_of_silence``), elsewhere 0, as in
        Kapre. Silence is the one value that means "nothing heard here" before any normalization;
        the paper's mean of the data is not known to the graph.
    seed : int, optional
        Of the layer's own seed generator; by default a random one.

    Raises
    ------
    ArgumentError
        If an argument is out of its range, nothing would be masked, or a mask can be wider than
        the input.

    References
    ----------
    Park et al. "SpecAugment: a simple data augmentation method for automatic speech
    recognition." Interspeech 2019.
    """

    takes, rank = "spectrograms (batch, frames, bands, channels)", 4
    computes_in = None

    def __init__(
        self,
        freq_mask: int,
        time_mask: int,
        n_freq_masks: int = 1,
        n_time_masks: int = 1,
        mask_value: float | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, autocast=False, **kwargs)
        self.freq_mask = check_whole("freq_mask", freq_mask, least=0)
        self.time_mask = check_whole("time_mask", time_mask, least=0)
        self.n_freq_masks = check_whole("n_freq_masks", n_freq_masks, least=0)
        self.n_time_masks = check_whole("n_time_masks", n_time_masks, least=0)
        self.mask_value = None if mask_value is None else check_number("mask_value", mask_value)
        if not (freq_mask and n_freq_masks) and not (time_mask and n_time_masks):
            raise ArgumentError(
                "SpecAugment would mask nothing: give it a freq_mask or a time_mask above 0; "
                f"received {freq_mask!r} ({n_freq_masks!r} masks) and {time_mask!r} "
                f"({n_time_masks!r} masks)"
            )

    def build(self, input_shape: Any) -> None:
        """Refuse inputs that are no spectrograms, or smaller than a mask can be."""
        super().build(input_shape)
        self._check_room(input_shape)

    def change(self, x: Any) -> Any:
        """Mask each spectrogram."""
        self._check_room(x.shape)
        count, frames, bands = ops.shape(x)[:3]
        masked = ops.logical_or(
            self._draw(count, frames, self.time_mask, self.n_time_masks)[:, :, None, None],
            self._draw(count, bands, self.freq_mask, self.n_freq_masks)[:, None, :, None],
        )
        value = 0.0 if self.mask_value is None else self.mask_value
        return ops.where(masked, ops.cast(value, x.dtype), x)

    def _draw(self, count: Any, length: Any, widest: int, n_masks: int) -> Any:
        """Draw masks as Kapre's ``_generate_axis_mask`` does; shape (count, length)."""
        if widest == 0 or n_masks == 0:
            return ops.zeros((count, length), dtype="bool")
        ends = keras.random.uniform(
            (2, count, n_masks, 1), dtype="float32", seed=self.seed_generator
        )
        widest = ops.cast(ops.minimum(widest, length), "float32")
        width = ops.floor(ends[0] * widest)
        start = ops.floor(ends[1] * (ops.cast(length, "float32") - width))
        place = ops.cast(ops.arange(length), "float32")
        inside = ops.logical_and(place >= start, place <= start + width)
        return ops.any(inside, axis=1)

    def _check_room(self, shape: Any) -> None:
        for name, widest, n_masks, axis, what in (
            ("time_mask", self.time_mask, self.n_time_masks, 1, "frames"),
            ("freq_mask", self.freq_mask, self.n_freq_masks, 2, "bands"),
        ):
            if n_masks and shape[axis] is not None and widest > shape[axis]:
                raise ArgumentError(
                    f"{name} must be at most the {shape[axis]} {what} of the input; "
                    f"received {widest}"
                )

    def compute_output_spec(self, x: Any, training: bool | None = None) -> Any:
        """Return shape and dtype of the input."""
        del training
        return keras.KerasTensor(x.shape, dtype=x.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "freq_mask": self.freq_mask,
            "time_mask": self.time_mask,
            "n_freq_masks": self.n_freq_masks,
            "n_time_masks": self.n_time_masks,
            "mask_value": self.mask_value,
        }


def value_of_silence(spectrogram: LogMelInput) -> float:
    """Return the log-mel of no sound: 0 for ``log10``, -100 dB for ``decibel``."""
    return 0.0 if spectrogram.compression == "log10" else 10 * log10(DECIBEL_FLOOR)


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class TimeShift(RandomLayer):
    """Roll each signal in time: what leaves it at one end comes in at the other.

    The shift is a whole number of samples, all from ``-max_s`` to ``max_s`` equally likely.

    Parameters
    ----------
    max_s : float
        Largest shift, in seconds; at least one sample.
    sample_rate : int
        In Hz.
    seed : int, optional
        Of the layer's own seed generator; by default a random one.

    Raises
    ------
    ArgumentError
        If an argument is not positive, or ``max_s`` is less than a sample.
    """

    def __init__(
        self, max_s: float, sample_rate: int = 16000, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.max_s = check_number("max_s", max_s, above=0)
        self.sample_rate = sample_rate
        self.max_samples = round(self.max_s * check_number("sample_rate", sample_rate, above=0))
        if self.max_samples < 1:
            raise ArgumentError(
                f"max_s must be at least one sample, {1 / sample_rate:.3g} s; received {max_s!r}"
            )

    def change(self, x: Any) -> Any:
        """Roll each signal by its own random shift."""
        count, samples = ops.shape(x)[:2]
        largest = self.max_samples
        shift = keras.random.randint((count, 1), -largest, largest + 1, seed=self.seed_generator)
        start = ops.mod(-shift, samples)
        place = ops.arange(samples, dtype="int32") + start
        place = ops.where(place < samples, place, place - samples)
        first = ops.expand_dims(ops.arange(count, dtype="int32") * samples, 1)
        return ops.take(ops.reshape(x, (-1,)), first + place, axis=0)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "max_s": self.max_s, "sample_rate": self.sample_rate}


class _RandomDecibels(RandomLayer):
    def __init__(
        self, low_db: float, high_db: float, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.low_db, self.high_db = check_decibels(low_db, high_db)

    def draw_decibels(self, x: Any) -> Any:
        """Draw a number of dB for each signal, shape (batch, 1)."""
        shape, seed = (ops.shape(x)[0], 1), self.seed_generator
        return keras.random.uniform(shape, self.low_db, self.high_db, dtype="float32", seed=seed)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "low_db": self.low_db, "high_db": self.high_db}


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class Gain(_RandomDecibels):
    """Make each signal louder or softer. Nothing is clipped.

    Parameters
    ----------
    low_db, high_db : float
        Ends of the range from which the gain is drawn, uniformly in dB; 0 changes nothing.
    seed : int, optional
        Of the layer's own seed generator; by default a random one.

    Raises
    ------
    ArgumentError
        If an end is not a finite number, or ``low_db`` is above ``high_db``.
    """

    def change(self, x: Any) -> Any:
        """Multiply each signal with its own random gain."""
        return x * ops.power(10.0, self.draw_decibels(x) / 20)


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class Noise(_RandomDecibels):
    """Add white Gaussian noise to each signal, at a random signal-to-noise ratio.

    The ratio is that of the powers of the whole signal and of the very noise added to it, and so
    is exactly what was drawn. Silent signals stay silent.

    Parameters
    ----------
    low_db, high_db, seed
        As in :class:`Gain`, of the ratio: the lower, the noisier.
    """

    def change(self, x: Any) -> Any:
        """Add to each signal its own noise."""
        noise = keras.random.normal(ops.shape(x), dtype="float32", seed=self.seed_generator)
        ratio = ops.power(10.0, -self.draw_decibels(x) / 20)
        return x + noise * (_level(x) / _level(noise) * ratio)


def _level(waveform: Any) -> Any:
    return ops.sqrt(ops.mean(ops.square(waveform), axis=1, keepdims=True))
