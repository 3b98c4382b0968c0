"""Layers that change waveforms at random, each signal of a batch in its own way.

They take and give ``(batch, samples)``, in training only, and are the identity otherwise. They
compute in float32 under every dtype policy, as the log-mel does: float16 would add noise of its
own to the signal. They run on every Keras backend.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from musicnn_zoo.augmentation.checks import check_positive, check_range
from musicnn_zoo.augmentation.randomness import ReplicaSeedGenerator
from musicnn_zoo.errors import ArgumentError


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
