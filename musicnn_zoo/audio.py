"""Audio in: decode, downmix, resample, whole or in blocks.

What comes out equals ``librosa.load(path, sr=sample_rate, mono=True)``: all channels
averaged, then resampled by soxr in its "HQ" quality. Block by block gives the very same
samples as at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.audio_files import AUDIO_SUFFIXES as AUDIO_SUFFIXES
from musicnn_zoo.audio_files import find_audio as find_audio
from musicnn_zoo.decoding import BLOCK_S, decode
from musicnn_zoo.errors import ArgumentError, AudioError

AudioSource: TypeAlias = str | os.PathLike[str] | BinaryIO | NDArray[Any]
"""What public functions take as audio: a path, a binary file object, or an array."""


@dataclass(frozen=True, eq=False)
class Audio:
    """A mono signal.

    Parameters
    ----------
    samples : ndarray, shape (samples,), float32
    sample_rate : int
        In Hz.
    source : str or None
        The file it came from.
    """

    samples: NDArray[np.float32]
    sample_rate: int
    source: str | None = None

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate


def load_audio(
    audio: AudioSource, *, sample_rate: int | None = None, target_rate: int = 16000
) -> Audio:
    """Read audio as one mono signal at ``target_rate``.

    Parameters
    ----------
    audio : path, binary file object, or ndarray
        An array is ``(samples,)`` or ``(channels, samples)``, as in librosa; floating
        point, or signed integers, whose full scale becomes ±1.
    sample_rate : int, optional
        Of an array, in Hz; must be given for an array and only then.
    target_rate : int
        Sample rate of the result in Hz.

    Returns
    -------
    Audio

    Raises
    ------
    AudioError
        If there is no such file, if it cannot be decoded, states a length and is cut off, holds
        no samples, or holds NaN or infinite samples. (An Ogg, a WAV and an MP3 without a Xing
        header do not state theirs in a way that shows: what is left of them is read.)
    ArgumentError
        If ``sample_rate`` does not go with ``audio``.
    """
    stream = AudioStream(audio, sample_rate=sample_rate, target_rate=target_rate)
    blocks = list(stream)
    samples = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    return Audio(samples, target_rate, stream.source)


class AudioStream:
    """Audio as mono blocks at one sample rate; holds no more than a block of a file.

    Iterate over it once. The blocks put together are what :func:`musicnn_zoo.load_audio` gives,
    and the parameters and errors are the same; those of the audio itself are raised on the way.

    Attributes
    ----------
    source : str or None
        File name; None for an array.
    samples : int
        At ``target_rate``, so far.
    """

    def __init__(
        self, audio: AudioSource, *, sample_rate: int | None = None, target_rate: int = 16000
    ) -> None:
        if isinstance(audio, np.ndarray):
            if sample_rate is None:
                raise ArgumentError(
                    "an array needs its sample rate: sample_rate=44100, for instance"
                )
            check_rate(sample_rate)
            _refuse_transposed(audio)
        elif sample_rate is not None:
            raise ArgumentError(
                "sample_rate goes with an array only; a file states its own "
                f"(received sample_rate={sample_rate} with {_name(audio)})"
            )
        self._audio = audio
        self._array_rate = sample_rate
        self._target_rate = target_rate
        self.source = None if isinstance(audio, np.ndarray) else _name(audio)
        self.samples = 0

    @property
    def duration_s(self) -> float:
        """Length so far in seconds."""
        return self.samples / self._target_rate

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        label = self.source or "array"
        if isinstance(self._audio, np.ndarray):
            mono = downmix_array(self._audio)
            assert self._array_rate is not None
            rate = int(self._array_rate)
            step = round(BLOCK_S * rate)
            parts = (mono[start : start + step] for start in range(0, len(mono), step))
            yield from self._resampled(parts, rate, label)
            return
        try:
            with decode(self._audio, label) as decoded:
                yield from self._resampled(decoded.blocks, decoded.sample_rate, label)
        except OSError as error:
            raise AudioError(f"{label}: cannot be read ({error.strerror or error})") from error

    def _resampled(
        self, blocks: Iterator[NDArray[np.float32]], rate: int, label: str
    ) -> Iterator[NDArray[np.float32]]:
        resampler = Resampler(rate, self._target_rate)
        for block in blocks:
            if not np.isfinite(block).all():
                raise AudioError(
                    f"{label}: holds NaN or infinite samples; clean or export it again"
                )
            yield self._counted(resampler.feed(block))
        if resampler.received == 0:
            raise AudioError(f"{label}: holds no samples")
        yield self._counted(resampler.finish())

    def _counted(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        self.samples += len(block)
        return block


class Resampler:
    """Resample a mono signal that comes in blocks, by soxr HQ.

    All blocks together become ``ceil(samples * target / source)`` samples.

    Parameters
    ----------
    sample_rate, target_rate : int
        In Hz.

    Attributes
    ----------
    received : int
        Samples fed so far.
    """

    def __init__(self, sample_rate: int, target_rate: int) -> None:
        self._rates = (sample_rate, target_rate)
        self._given = 0
        self.received = 0
        if sample_rate != target_rate:
            import soxr

            self._soxr = soxr.ResampleStream(
                sample_rate, target_rate, 1, dtype="float32", quality="HQ"
            )

    def feed(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take a block; return what is ready, which may be nothing."""
        self.received += len(block)
        if self._rates[0] == self._rates[1]:
            return block
        ready: NDArray[np.float32] = self._soxr.resample_chunk(block)
        self._given += len(ready)
        return ready

    def finish(self) -> NDArray[np.float32]:
        """Return the rest."""
        source, target = self._rates
        if source == target:
            return np.zeros(0, np.float32)
        rest = self._soxr.resample_chunk(np.zeros(0, np.float32), last=True)
        left = -(-self.received * target // source) - self._given
        return np.pad(rest[:left], (0, max(0, left - len(rest))))


def check_rate(sample_rate: float) -> None:
    """Refuse a sample rate that is not a positive whole number."""
    if not (np.isfinite(sample_rate) and sample_rate >= 1 and sample_rate == int(sample_rate)):
        raise ArgumentError(
            f"sample_rate must be a positive whole number of Hz; received {sample_rate}"
        )


def _name(audio: AudioSource) -> str:
    if isinstance(audio, str | os.PathLike):
        return os.fspath(audio)
    name = getattr(audio, "name", None)
    return name if isinstance(name, str) else f"<{type(audio).__name__}>"


def _refuse_transposed(array: NDArray[Any]) -> None:
    if array.ndim == 2 and len(array) > array.shape[1] > 0:
        raise AudioError(
            f"array: must be (channels, samples); received shape {array.shape}, "
            "which looks transposed: pass array.T"
        )


def downmix_array(array: NDArray[Any]) -> NDArray[np.float32]:
    """Turn ``(samples,)`` or ``(channels, samples)`` of floats or integers into mono floats.

    Raises
    ------
    AudioError
        If it is of another shape or type.
    """
    if np.issubdtype(array.dtype, np.signedinteger):
        array = array / -float(np.iinfo(array.dtype).min)
    elif not np.issubdtype(array.dtype, np.floating):
        raise AudioError(
            f"array: must be floating point or signed integers; received {array.dtype}"
        )
    if array.ndim not in (1, 2):
        raise AudioError(
            f"array: must be (samples,) or (channels, samples); received shape {array.shape}"
        )
    if array.ndim == 2:
        channels = len(array)
        with np.errstate(all="ignore"):
            array = array.mean(axis=0) if channels else array.reshape(-1)
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)
