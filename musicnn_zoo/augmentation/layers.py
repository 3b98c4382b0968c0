"""Layers that change waveforms and spectrograms at random, each signal in its own way.

They take and give ``(batch, samples)``, in training only, and are the identity otherwise. They
compute in float32 under every dtype policy, as the log-mel does: float16 would add noise of its
own to the signal. They run on every Keras backend.
"""

from __future__ import annotations

from math import isfinite, log10, pi
from numbers import Integral, Real
from typing import Any

import keras
from keras import ops

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.networks.config import LogMelInput
from musicnn_zoo.networks.mel import DECIBEL_FLOOR

LARGEST_SEED = 2**31 - 1


def check_seed(seed: object) -> int | None:
    """Return the seed as an ``int`` that every Keras backend takes."""
    if seed is None:
        return None
    if (
        isinstance(seed, bool)
        or not isinstance(seed, Integral)
        or not 0 <= int(seed) <= LARGEST_SEED
    ):
        raise ArgumentError(
            f"seed must be a whole number from 0 to {LARGEST_SEED}, or None; received {seed!r}"
        )
    return int(seed)


def check_number(name: str, value: object) -> float:
    """Return a finite number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
        raise ArgumentError(f"{name} must be a finite number; received {value!r}")
    return float(value)


def check_positive(name: str, value: object) -> float:
    """Return a finite number above 0."""
    number = check_number(name, value)
    if number <= 0:
        raise ArgumentError(f"{name} must be above 0; received {value!r}")
    return number


def check_count(name: str, value: object) -> int:
    """Return a whole number from 0 on."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise ArgumentError(f"{name} must be a whole number from 0 on; received {value!r}")
    return int(value)


def check_range(low: object, high: object) -> tuple[float, float]:
    """Return the ends of a range in dB."""
    ends = check_number("low_db", low), check_number("high_db", high)
    if ends[0] > ends[1]:
        raise ArgumentError(f"low_db must be at most high_db; received {low!r} and {high!r}")
    return ends


_REPLICA_STRIDE = 1_000_003


class ReplicaSeedGenerator(keras.random.SeedGenerator):
    """A seed generator that gives every replica of a ``tf.distribute`` strategy other seeds.

    Keras's own gives them all the same, so that the first signal of every replica would be
    changed in the same way.

    Parameters
    ----------
    seed : int, optional
        From 0 to 2 ** 31 - 1; by default a random one.
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
    """Draw from Beta(alpha, alpha).

    By the polar method, two uniform numbers for each: XLA, which Keras uses by itself on a GPU,
    cannot compile the gamma variates that ``keras.random.beta`` is made of.

    Parameters
    ----------
    shape : tuple of int
    alpha : float
        Above 0.
    seed : keras.random.SeedGenerator

    Returns
    -------
    tensor, float32
        From 0 to 1.

    References
    ----------
    Devroye. "Non-uniform random variate generation." 1986, IX.3.

    Bailey. "Polar generation of random variates with the t-distribution." Mathematics of
    Computation 62, 1994.
    """
    # t = cosine * sqrt(1 / q - 1) has the t-distribution of 2 alpha degrees, but for a factor.
    q = ops.power(keras.random.uniform(shape, dtype="float32", seed=seed), 1 / alpha)
    cosine = ops.cos(2 * pi * keras.random.uniform(shape, dtype="float32", seed=seed))
    square = (1 - q) * ops.square(cosine)
    spread = ops.sqrt(square / ops.maximum(q + square, 1e-37))
    return 0.5 + 0.5 * ops.sign(cosine) * spread


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class SpecAugment(keras.layers.Layer):
    """Masks random stretches of frames and bands of spectrograms in training.

    Takes and gives ``(batch, frames, bands, channels)``; in training it covers random stretches
    of frames and of bands, and is the identity otherwise. The masks are drawn as
    ``kapre.SpecAugment`` draws them, for each example anew: a mask is 1 to ``freq_mask`` bands
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
        If an argument cannot be, nothing would be masked, or a mask can be wider than the input.

    References
    ----------
    Park et al. "SpecAugment: a simple data augmentation method for automatic speech
    recognition." Interspeech 2019.
    """

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
        bands = check_count("freq_mask", freq_mask), check_count("n_freq_masks", n_freq_masks)
        frames = check_count("time_mask", time_mask), check_count("n_time_masks", n_time_masks)
        if not all(bands) and not all(frames):
            raise ArgumentError(
                "SpecAugment would mask nothing: give it a freq_mask or a time_mask above 0; "
                f"received {freq_mask!r} ({n_freq_masks!r} masks) and {time_mask!r} "
                f"({n_time_masks!r} masks)"
            )
        super().__init__(autocast=False, **kwargs)
        self.freq_mask, self.n_freq_masks = bands
        self.time_mask, self.n_time_masks = frames
        self.mask_value = None if mask_value is None else check_number("mask_value", mask_value)
        self.seed = seed
        self.seed_generator = ReplicaSeedGenerator(seed)

    def build(self, input_shape: Any) -> None:
        """Refuse inputs that are no spectrograms, or smaller than a mask can be."""
        if len(input_shape) != 4:
            raise ArgumentError(
                "SpecAugment takes spectrograms (batch, frames, bands, channels); received the "
                f"shape {tuple(input_shape)}"
            )
        self._check_room(input_shape)
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Mask the spectrograms in training, and return them as they are otherwise."""
        if not training:
            return x
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

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the input."""
        return input_shape

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
            "seed": self.seed,
        }


def value_of_silence(spectrogram: LogMelInput) -> float:
    """Return the log-mel of no sound: 0 for ``log10``, -100 dB for ``decibel``."""
    return 0.0 if spectrogram.compression == "log10" else 10 * log10(DECIBEL_FLOOR)


class RandomWaveformLayer(keras.layers.Layer):
    """Base of the layers of this module.

    Parameters
    ----------
    seed : int, optional
        Of the layer's own seed generator. Two layers should not have the same. By default a
        random one.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = ReplicaSeedGenerator(seed)

    def build(self, input_shape: Any) -> None:
        """Refuse what is no batch of waveforms."""
        if len(input_shape) != 2:
            raise ArgumentError(
                f"{type(self).__name__} takes waveforms (batch, samples); "
                f"received the shape {tuple(input_shape)}"
            )
        self.built = True

    def call(self, waveform: Any, training: bool | None = None) -> Any:
        """Change the waveforms in training, and return them as they are otherwise."""
        return self.change(waveform) if training else waveform

    def change(self, waveform: Any) -> Any:
        """Change the waveforms at random."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class TimeShift(RandomWaveformLayer):
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
        self.max_s = check_positive("max_s", max_s)
        self.sample_rate = sample_rate
        self.max_samples = round(self.max_s * check_positive("sample_rate", sample_rate))
        if self.max_samples < 1:
            raise ArgumentError(
                f"max_s must be at least one sample, {1 / sample_rate:.3g} s; received {max_s!r}"
            )

    def change(self, waveform: Any) -> Any:
        """Roll each signal by its own random shift."""
        count, samples = ops.shape(waveform)[:2]
        largest = self.max_samples
        shift = keras.random.randint((count, 1), -largest, largest + 1, seed=self.seed_generator)
        start = ops.mod(-shift, samples)
        place = ops.arange(samples, dtype="int32") + start
        place = ops.where(place < samples, place, place - samples)
        first = ops.expand_dims(ops.arange(count, dtype="int32") * samples, 1)
        return ops.take(ops.reshape(waveform, (-1,)), first + place, axis=0)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "max_s": self.max_s, "sample_rate": self.sample_rate}


class _RandomDecibels(RandomWaveformLayer):
    def __init__(
        self, low_db: float, high_db: float, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.low_db, self.high_db = check_range(low_db, high_db)

    def draw_decibels(self, waveform: Any) -> Any:
        """Draw a number of dB for each signal, shape (batch, 1)."""
        return keras.random.uniform(
            (ops.shape(waveform)[0], 1),
            self.low_db,
            self.high_db,
            dtype="float32",
            seed=self.seed_generator,
        )

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

    def change(self, waveform: Any) -> Any:
        """Multiply each signal with its own random gain."""
        return waveform * ops.power(10.0, self.draw_decibels(waveform) / 20)


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class Noise(_RandomDecibels):
    """Add white Gaussian noise to each signal, at a random signal-to-noise ratio.

    The ratio is that of the powers of the whole signal and of the very noise added to it, and so
    is exactly what was drawn. Silent signals stay silent.

    Parameters
    ----------
    low_db, high_db : float
        Ends of the range from which the ratio is drawn, uniformly in dB; the lower, the noisier.
    seed : int, optional
        Of the layer's own seed generator; by default a random one.

    Raises
    ------
    ArgumentError
        If an end is not a finite number, or ``low_db`` is above ``high_db``.
    """

    def change(self, waveform: Any) -> Any:
        """Add to each signal its own noise."""
        noise = keras.random.normal(ops.shape(waveform), dtype="float32", seed=self.seed_generator)
        ratio = ops.power(10.0, -self.draw_decibels(waveform) / 20)
        return waveform + noise * (_level(waveform) / _level(noise) * ratio)


def _level(waveform: Any) -> Any:
    return ops.sqrt(ops.mean(ops.square(waveform), axis=1, keepdims=True))
