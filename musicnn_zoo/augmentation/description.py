"""What is done to the training data, as values that go to JSON and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np

from musicnn_zoo.augmentation.layers import (
    Gain,
    Noise,
    SpecAugment,
    TimeShift,
    check_decibels,
    check_seed,
    value_of_silence,
)
from musicnn_zoo.errors import ArgumentError, check_entries, check_number, check_whole
from musicnn_zoo.networks.config import Input, LogMelInput


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
    """What is done to the training data, in the order of the parameters, but for mixup first.

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
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

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
