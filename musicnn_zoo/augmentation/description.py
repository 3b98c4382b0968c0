"""What is done to the training data, as values that go to JSON and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from musicnn_zoo.augmentation.layers import check_count, check_number, check_range, check_seed
from musicnn_zoo.errors import ArgumentError, UnknownNameError
from musicnn_zoo.networks.config import Input, LogMelInput

if TYPE_CHECKING:
    import keras

    from musicnn_zoo.augmentation.model import Mixup


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
        If a value cannot be.
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
            if check_number(name, getattr(self, name)) < 0:
                raise ArgumentError(
                    f"{name} must be a number from 0 on; received {getattr(self, name)!r}"
                )
        for name in ("gain_db", "noise_snr_db"):
            object.__setattr__(self, name, _as_range(name, getattr(self, name)))
        for name in ("freq_mask", "time_mask", "n_freq_masks", "n_time_masks"):
            check_count(name, getattr(self, name))

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
            If a name is unknown or a value cannot be.
        """
        if not isinstance(values, Mapping):
            raise ArgumentError(f"an augmentation must be an object; received {values!r}")
        known = {field.name for field in fields(cls)}
        for name in values:
            if name not in known:
                raise UnknownNameError("Augmentation entry", str(name), known)
        return cls(**values)

    def build(self, signal: Input, *, seed: int | None = None) -> list[keras.layers.Layer | Mixup]:
        """Make the layers, and the :class:`~musicnn_zoo.augmentation.Mixup`, that do it.

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
            If it masks spectrograms and ``signal`` is none, or there can be no such seed.
        """
        from musicnn_zoo.augmentation.layers import (
            Gain,
            Noise,
            SpecAugment,
            TimeShift,
            value_of_silence,
        )
        from musicnn_zoo.augmentation.model import Mixup

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
            parts.append(
                SpecAugment(
                    self.freq_mask,
                    self.time_mask,
                    self.n_freq_masks,
                    self.n_time_masks,
                    mask_value=value_of_silence(signal),
                    seed=mask_seed,
                )
            )
        if self.mixup:
            parts.append(Mixup(self.mixup, seed=mixup_seed))
        return parts


def _as_range(name: str, value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ArgumentError(f"{name} must be two numbers in dB, or None; received {value!r}")
    try:
        return check_range(*value)
    except ArgumentError as error:
        raise ArgumentError(f"{name}: {error}") from error


def _seeds(seed: int | None, count: int) -> list[int | None]:
    if check_seed(seed) is None:
        return [None] * count
    words = np.random.SeedSequence(seed).generate_state(count)
    return [int(word >> 1) for word in words]


NO_AUGMENTATION = Augmentation()
