"""Random changes of the training data: the layers, their description, and the model with them.

The layers change waveforms and spectrograms in training only, each signal in its own way, and
return their input as it is otherwise. Those for waveforms compute in float32 under every dtype
policy, as the log-mel does: float16 would add noise of its own to the signal. All run on every
Keras backend.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import log10, pi
from typing import Any

import keras
import numpy as np
from keras import ops

from musicnn_zoo.errors import (
    ArgumentError,
    check_entries,
    check_number,
    check_tagging_model,
    check_whole,
)
from musicnn_zoo.networks.build import TaggingModel
from musicnn_zoo.networks.config import Input, LogMelInput, ModelConfig, block_function
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
    # t = cosine * sqrt(1 / q - 1) has the t-distribution of 2 alpha degrees, up to a factor.
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
    arguments: tuple[str, ...] = ("seed",)

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
        own = {name: getattr(self, name) for name in self.arguments}
        return {**super().get_config(), **own}


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
        The value under a mask. By default silence: in a model made by
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
    arguments = ("freq_mask", "time_mask", "n_freq_masks", "n_time_masks", "mask_value", "seed")

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

    arguments = ("max_s", "sample_rate", "seed")

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


class _RandomDecibels(RandomLayer):
    arguments = ("low_db", "high_db", "seed")

    def __init__(
        self, low_db: float, high_db: float, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.low_db, self.high_db = check_decibels(low_db, high_db)

    def draw_decibels(self, x: Any) -> Any:
        """Draw a number of dB for each signal, shape (batch, 1)."""
        shape, seed = (ops.shape(x)[0], 1), self.seed_generator
        return keras.random.uniform(shape, self.low_db, self.high_db, dtype="float32", seed=seed)


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


@dataclass(frozen=True)
class Mixup:
    """Mix each example with another of its batch, sound and labels in the same proportion.

    Example ``i`` becomes ``p x_i + (1 - p) x_j``, its labels ``p y_i + (1 - p) y_j``, and its
    weight, where there are weights, likewise. ``j`` is a random permutation of the batch, ``p``
    is drawn from Beta(alpha, alpha) for each pair. It comes before all other augmentation.

    Parameters
    ----------
    alpha : float
        Above 0. The smaller, the less is mixed; the paper has 0.1 to 0.4, and 1 makes all
        proportions equally likely.
    seed : int, optional
        Of its own seed generator; by default a random one.

    Raises
    ------
    ArgumentError
        If ``alpha`` is not above 0, or the seed is out of its range.

    References
    ----------
    Zhang et al. "mixup: beyond empirical risk minimization." ICLR 2018.
    """

    alpha: float
    seed: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", check_number("mixup alpha", self.alpha, above=0))
        object.__setattr__(self, "seed", check_seed(self.seed))


@dataclass(frozen=True)
class Augmentation:
    """What is done to the training data: mixup first, then the rest in the order given here.

    By default nothing.

    Parameters
    ----------
    time_shift_s : float
        Largest circular shift of a signal to either side, in seconds. See
        :class:`~musicnn_zoo.augmentation.TimeShift`.
    gain_db : (float, float), optional
        Range of the gain, in dB. See :class:`~musicnn_zoo.augmentation.Gain`.
    noise_snr_db : (float, float), optional
        Range of the signal-to-noise ratio of added white noise, in dB. See
        :class:`~musicnn_zoo.augmentation.Noise`.
    freq_mask, time_mask : int
        Largest width of a mask, in mel bands and in frames. See
        :class:`~musicnn_zoo.augmentation.SpecAugment`, whose mask value is here the silence of
        the model's log-mel.
    n_freq_masks, n_time_masks : int
        How many of them.
    mixup : float
        The alpha of :class:`~musicnn_zoo.augmentation.Mixup`; 0 for none.

    Raises
    ------
    ArgumentError
        If a value is out of its range.
    """

    time_shift_s: float = 0.0
    gain_db: tuple[float, float] | None = None
    noise_snr_db: tuple[float, float] | None = None
    freq_mask: int = 0
    time_mask: int = 0
    n_freq_masks: int = 1
    n_time_masks: int = 1
    mixup: float = 0.0

    def __post_init__(self) -> None:
        for name in ("time_shift_s", "mixup"):
            check_number(name, getattr(self, name), least=0)
        for name in ("gain_db", "noise_snr_db"):
            object.__setattr__(self, name, _as_range(name, getattr(self, name)))
        for name in ("freq_mask", "time_mask", "n_freq_masks", "n_time_masks"):
            check_whole(name, getattr(self, name), least=0)

    def to_dict(self) -> dict[str, Any]:
        """Return numbers, lists of them and None, ready for JSON."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Augmentation:
        """Inverse of :meth:`to_dict`.

        Raises
        ------
        ArgumentError
            If a name is unknown or a value is out of its range.
        """
        return cls(**check_entries(values, cls, "an augmentation"))

    def build(self, signal: Input, *, seed: int | None = None) -> list[keras.layers.Layer | Mixup]:
        """Make the layers and the :class:`~musicnn_zoo.augmentation.Mixup` for a model.

        Parameters
        ----------
        signal : LogMelInput or WaveformInput
            The input of the model: ``model.zoo_config.input``.
        seed : int, optional
            Each part gets a seed of its own that follows from this one and does not depend on
            what other parts there are. By default they are random.

        Returns
        -------
        list
            What :func:`musicnn_zoo.augment` takes.

        Raises
        ------
        ArgumentError
            If it masks spectrograms and ``signal`` is a waveform, or the seed is out of its range.
        """
        shift_seed, gain_seed, noise_seed, mask_seed, mixup_seed = _seeds(seed, 5)
        parts: list[keras.layers.Layer | Mixup] = []
        if self.time_shift_s:
            parts.append(TimeShift(self.time_shift_s, signal.sample_rate, seed=shift_seed))
        if self.gain_db:
            parts.append(Gain(*self.gain_db, seed=gain_seed))
        if self.noise_snr_db:
            parts.append(Noise(*self.noise_snr_db, seed=noise_seed))
        if (self.freq_mask and self.n_freq_masks) or (self.time_mask and self.n_time_masks):
            if not isinstance(signal, LogMelInput):
                raise ArgumentError(
                    "freq_mask and time_mask need a spectrogram, and the model takes the waveform "
                    f"itself; received {self.freq_mask} and {self.time_mask}"
                )
            widths = self.freq_mask, self.time_mask
            counts = self.n_freq_masks, self.n_time_masks
            silence = value_of_silence(signal)
            parts.append(SpecAugment(*widths, *counts, mask_value=silence, seed=mask_seed))
        if self.mixup:
            parts.append(Mixup(self.mixup, seed=mixup_seed))
        return parts


def _as_range(name: str, value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ArgumentError(f"{name} must be two numbers in dB, or None; received {value!r}")
    try:
        return check_decibels(*value)
    except ArgumentError as error:
        raise ArgumentError(f"{name}: {error}") from error


def _seeds(seed: int | None, count: int) -> list[int | None]:
    if check_seed(seed) is None:
        return [None] * count
    words = np.random.SeedSequence(seed).generate_state(count)
    return [int(word >> 1) for word in words]


NO_AUGMENTATION = Augmentation()


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class AugmentedModel(keras.Model):
    """What :func:`musicnn_zoo.augment` makes: a Keras model, with mixup in its training step.

    Mixup is done at the start of ``train_step``, since that alone sees sound, labels and weights
    together, so that the loss, the metrics and the layers' own losses all are of the mixed batch
    on every backend. Metrics seen in training are therefore of mixed labels, where there is
    mixup, and all are of augmented sound; ``evaluate`` and ``predict`` have neither. Your
    own training loop that calls the model has all but mixup.

    Parameters
    ----------
    zoo_config : ModelConfig
        Of the model that is trained.
    mixup : Mixup, optional
    *args, **kwargs
        As for ``keras.Model``.
    """

    def __init__(
        self,
        *args: Any,
        zoo_config: ModelConfig | dict[str, Any],
        mixup: Mixup | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(zoo_config, dict):
            zoo_config = ModelConfig.from_dict(zoo_config)
        self.zoo_config = zoo_config
        self.mixup = Mixup(**mixup) if isinstance(mixup, dict) else mixup
        if self.mixup is not None:
            self.seed_generator = ReplicaSeedGenerator(self.mixup.seed)

    def train_step(self, *args: Any) -> Any:
        """Mix the batch, and train on it as Keras does."""
        *state, data = args
        if self.mixup is None:
            return super().train_step(*args)
        if keras.backend.backend() != "jax":
            return super().train_step(self.mix(data))
        trainable, others, *rest = state[0]
        seed = self.seed_generator.state
        at = next(i for i, one in enumerate(self.non_trainable_variables) if one is seed)
        with keras.StatelessScope(state_mapping=[(seed, others[at])]) as scope:
            data = self.mix(data)
        others = [*others[:at], scope.get_current_value(seed), *others[at + 1 :]]
        return super().train_step((trainable, others, *rest), data)

    def mix(self, data: Any) -> Any:
        """Mix a batch ``(waveforms, labels)`` or ``(waveforms, labels, weights)``."""
        waveforms, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        given = None if labels is None else tuple(labels.shape)
        if given is None or len(given) != 2 or given[1] not in (None, self.output_shape[1]):
            raise ArgumentError(
                f"mixup needs labels of the shape (batch, {self.output_shape[1]}), a number for "
                f"each tag; received {'no labels' if given is None else f'the shape {given}'}"
            )
        assert self.mixup is not None
        count = ops.shape(labels)[0]
        share = symmetric_beta((count,), self.mixup.alpha, self.seed_generator)
        other = keras.random.shuffle(ops.arange(count), seed=self.seed_generator)

        def blend(values: Any) -> Any:
            values = ops.cast(values, "float32")
            own = ops.reshape(share, (-1, *[1] * (len(values.shape) - 1)))
            return own * values + (1 - own) * ops.take(values, other, axis=0)

        return keras.utils.pack_x_y_sample_weight(
            keras.tree.map_structure(blend, waveforms),
            blend(labels),
            None if weights is None else blend(weights),
        )

    def get_config(self) -> dict[str, Any]:
        """Return the graph, the configuration of the trained model and the mixup."""
        return {
            **super().get_config(),
            "zoo_config": self.zoo_config.to_dict(),
            "mixup": None if self.mixup is None else asdict(self.mixup),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> AugmentedModel:
        """Revive a model; imports the layers of its blocks first."""
        for role, chosen in ModelConfig.from_dict(config["zoo_config"]).blocks():
            block_function(chosen.kind, role)
        revived: AugmentedModel = super().from_config(config, custom_objects=custom_objects)
        return revived


def augment(
    model: TaggingModel,
    augmentation: Augmentation | Sequence[keras.layers.Layer | Mixup],
    *,
    seed: int | None = None,
) -> AugmentedModel:
    """Make a model that trains ``model`` with augmentation.

    It has the layers and the variables of ``model``: what is trained, or frozen, or loaded in
    one is so in the other. ``model`` itself stays as it is, free of augmentation, and is what to
    evaluate, save or export afterwards. Under a ``tf.distribute`` strategy, call this in its
    scope.

    Parameters
    ----------
    model : TaggingModel
    augmentation : Augmentation or sequence
        What is done, or the layers that do it, which go in their order:
        :class:`~musicnn_zoo.augmentation.SpecAugment` right behind the log-mel, and all others,
        yours too, before it, on waveforms ``(batch, samples)``. A
        :class:`~musicnn_zoo.augmentation.Mixup` among them comes first.
    seed : int, optional
        Of an :class:`Augmentation`, all of whose random numbers follow from it; by default a
        random one. Layers have their own.

    Returns
    -------
    AugmentedModel
        To ``compile`` and ``fit``. ``predict`` and ``evaluate`` give what ``model`` gives.

    Raises
    ------
    ArgumentError
        If there is a SpecAugment for a model without a spectrogram; a mask can be wider than the
        model's spectrogram; a TimeShift has another sample rate than the model; there is more
        than one Mixup, or something that is no layer; or a seed goes with layers.

    Examples
    --------
    >>> from musicnn_zoo import build_model
    >>> from musicnn_zoo.augmentation import Mixup, SpecAugment, TimeShift, augment
    >>> model = build_model("musicnn", tags=["calm", "wild"])
    >>> layers = [TimeShift(0.5), SpecAugment(12, 20), Mixup(0.2)]
    >>> augment(model, layers).output_shape
    (None, 2)
    """
    check_tagging_model(model)
    signal = model.zoo_config.input
    if isinstance(augmentation, Augmentation):
        parts = augmentation.build(signal, seed=seed)
    elif seed is not None:
        raise ArgumentError(
            f"seed goes with an Augmentation; layers have their own: received seed={seed!r}"
        )
    else:
        parts = list(augmentation)
    mixups = [part for part in parts if isinstance(part, Mixup)]
    on_spectrogram = [part for part in parts if isinstance(part, SpecAugment)]
    on_waveform = [part for part in parts if not isinstance(part, Mixup | SpecAugment)]
    if len(mixups) > 1:
        raise ArgumentError(f"there can be one Mixup; received {mixups}")
    for part in on_waveform:
        if not isinstance(part, keras.layers.Layer):
            raise ArgumentError(
                f"an augmentation must be a Keras layer or Mixup; received {part!r}"
            )
        if isinstance(part, TimeShift) and part.sample_rate != signal.sample_rate:
            raise ArgumentError(
                f"the model takes {signal.sample_rate} Hz; received a TimeShift of "
                f"sample_rate={part.sample_rate}"
            )
    for part in on_spectrogram:
        if not isinstance(signal, LogMelInput):
            raise ArgumentError(
                f"SpecAugment needs a spectrogram, and {model.name!r} takes the waveform itself; "
                "leave it out"
            )
        if part.mask_value is None:
            part.mask_value = value_of_silence(signal)
    first = model.get_layer("logmel" if isinstance(signal, LogMelInput) else "waveform_channel")

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        if layer is not first:
            return layer(*args, **kwargs)
        (x,) = args
        for part in on_waveform:
            x = part(x)
        x = layer(x, **kwargs)
        for part in on_spectrogram:
            x = part(x)
        return x

    graph = keras.models.clone_model(
        keras.Model(model.input, model.output),
        clone_function=lambda layer: layer,
        call_function=call,
    )
    return AugmentedModel(
        graph.input,
        graph.output,
        name=f"{model.name}_augmented",
        zoo_config=model.zoo_config,
        mixup=mixups[0] if mixups else None,
    )
