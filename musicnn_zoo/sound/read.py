"""Read audio: decode, downmix and resample it, whole or in blocks.

The result equals ``librosa.load(path, sr=sample_rate, mono=True)``: all channels averaged, then
resampled by soxr in its "HQ" quality. The blocks hold the very same samples as the whole. Where a
file changes its sample rate on the way, each part is resampled from its own.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError, AudioError
from musicnn_zoo.machine.isolation import WorkerStartError, call_isolated
from musicnn_zoo.sound.decode import (
    OnDamage,
    RiskyFile,
    check_damaged,
    decode_file,
    open_source,
    seekable,
)
from musicnn_zoo.sound.decoders import BLOCK_S, HIGHEST_RATE, Block

_log = logging.getLogger(__name__)

WORKER_IMPORTS = "av", "soxr"
"""What decoding imports late."""

_LOUDEST = 1e10
"""Powers of larger samples overflow. Full scale is 1, or 2e9 for 32-bit integers as floats."""

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
    damaged : bool
        Whether some of the file could not be decoded.
    lost_s : float
        How many seconds, as far as that is known.
    """

    samples: NDArray[np.float32]
    sample_rate: int
    source: str | None = None
    damaged: bool = False
    lost_s: float = 0.0

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate


def load_audio(
    audio: AudioSource,
    *,
    sample_rate: int | None = None,
    target_rate: int = 16000,
    damaged: OnDamage = "refuse",
    isolate: bool = False,
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
    damaged : {"refuse", "use"}
        What to do with a file of which more than a second or 2 % cannot be decoded, or is not
        there though the file states it: raise an error, or take what can be decoded. ``damaged``
        and ``lost_s`` of the result say what is missing, also where it is less than that.
    isolate : bool
        Decode in a process of its own. A file that crashes the decoder then ends that process and
        not this one; so does a time limit where the decoder hangs. Files that are known to be
        dangerous are always decoded in this way.

    Returns
    -------
    Audio

    Raises
    ------
    AudioError
        If there is no such file, if it cannot be decoded, is damaged or cut off, holds no
        samples, or holds samples that are NaN, infinite or beyond 1e10. (Ogg, MPEG-TS, and MP3 and
        AAC without a header do not state their length: if they are cut off, what is left is read.)
    ArgumentError
        If ``sample_rate`` does not go with ``audio``.
    """
    stream = AudioStream(
        audio, sample_rate=sample_rate, target_rate=target_rate, damaged=damaged, isolate=isolate
    )
    blocks = list(stream)
    samples = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    return Audio(samples, target_rate, stream.source, stream.damaged, stream.lost_s)


class AudioStream:
    """Audio as mono blocks at one sample rate; holds one block of a file at a time.

    Iterate over it once. The concatenated blocks are what :func:`musicnn_zoo.load_audio` gives. The
    parameters and errors are the same; errors of the audio itself are raised by the iteration.

    Attributes
    ----------
    source : str or None
        File name; None for an array.
    samples : int
        At ``target_rate``, so far.
    damaged : bool
    lost_s : float
        As in :class:`Audio`, when the blocks have ended.
    """

    def __init__(
        self,
        audio: AudioSource,
        *,
        sample_rate: int | None = None,
        target_rate: int = 16000,
        damaged: OnDamage = "refuse",
        isolate: bool = False,
    ) -> None:
        check_damaged(damaged)
        check_rate(target_rate, "target_rate")
        if isinstance(audio, np.ndarray):
            if sample_rate is None:
                raise ArgumentError(
                    "an array needs its sample rate: sample_rate=44100, for instance"
                )
            check_rate(sample_rate)
            if audio.ndim == 2 and len(audio) > audio.shape[1] > 0:
                raise AudioError(
                    f"array: must be (channels, samples); received shape {audio.shape}, "
                    "which looks transposed: pass array.T"
                )
        elif sample_rate is not None:
            raise ArgumentError(
                "sample_rate goes with an array only; a file states its own "
                f"(received sample_rate={sample_rate} with {_name(audio)})"
            )
        self._audio = audio
        self._array_rate = sample_rate
        self._target_rate = target_rate
        self.source = None if isinstance(audio, np.ndarray) else _name(audio)
        self._on_damage = damaged
        self._isolate = isolate
        self._in_worker = False
        self.samples = 0
        self.damaged = False
        self.lost_s = 0.0

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
            parts = (Block(mono[at : at + step], rate) for at in range(0, len(mono), step))
            yield from self._resampled(parts, label)
            return
        try:
            if hasattr(self._audio, "read") and not isinstance(self._audio, io.TextIOBase):
                self._audio = seekable(cast("BinaryIO", self._audio))
            if not self._isolate:
                try:
                    yield from self._decoded(label)
                    return
                except RiskyFile as risk:
                    _log.info("%s: %s: decoded in a process of its own", label, risk)
            yield from self._decoded_isolated(label)
        except OSError as error:
            raise AudioError(f"{label}: cannot be read ({error.strerror or error})") from error

    def _decoded(self, label: str) -> Iterator[NDArray[np.float32]]:
        assert not isinstance(self._audio, np.ndarray)
        with decode_file(
            self._audio, label, damaged=self._on_damage, in_worker=self._in_worker
        ) as decoded:
            yield from self._resampled(decoded.blocks, label)
            self.damaged, self.lost_s = decoded.damaged, decoded.lost_s

    def _decoded_isolated(self, label: str) -> Iterator[NDArray[np.float32]]:
        assert not isinstance(self._audio, np.ndarray)
        with contextlib.ExitStack() as files:
            source = open_source(self._audio, label, files)
            size = source.file.seek(0, io.SEEK_END)
            content, arguments = None, {}
            if isinstance(self._audio, str | os.PathLike) and Path(self._audio).is_file():
                arguments = {"audio": str(Path(self._audio).absolute())}
            else:
                source.file.seek(0)
                content = source.file.read()
        given, self.samples = self.samples, 0
        pieces = call_isolated(
            f"{__name__}:isolated_blocks", label, content=content, size=size,
            imports=WORKER_IMPORTS, source=label, target_rate=self._target_rate,
            damaged=self._on_damage, **arguments,
        )  # fmt: skip
        while True:
            try:
                piece = next(pieces)
            except StopIteration as end:
                self.damaged, self.lost_s = end.value
                return
            except WorkerStartError as error:
                _log.warning("no process can be started for decoding (%s)", error)
                try:
                    yield from self._decoded(label)
                except RiskyFile as risk:
                    raise AudioError(
                        f"{label}: {risk}, which is decoded in a process of its own only, and none "
                        f"can be started ({error})"
                    ) from risk
                return
            block = self._counted(np.frombuffer(piece, np.float32))
            yield block[max(0, len(block) - max(0, self.samples - given)) :]

    def _resampled(self, blocks: Iterator[Block], label: str) -> Iterator[NDArray[np.float32]]:
        resampler: Resampler | None = None
        received = 0
        for samples, rate in blocks:
            _check_samples(samples, label)
            if resampler is None or resampler.sample_rate != rate:
                if resampler is not None:
                    yield self._counted(resampler.finish())
                resampler = Resampler(rate, self._target_rate)
            received += len(samples)
            yield self._counted(resampler.feed(samples))
        if resampler is None or received == 0:
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
    """

    def __init__(self, sample_rate: int, target_rate: int) -> None:
        self.sample_rate = sample_rate
        self.target_rate = target_rate
        self._received = 0
        self._returned = 0
        if sample_rate != target_rate:
            import soxr

            self._soxr = soxr.ResampleStream(
                sample_rate, target_rate, 1, dtype="float32", quality="HQ"
            )

    def feed(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take a block; return what is ready, which may be nothing."""
        self._received += len(block)
        if self.sample_rate == self.target_rate:
            return block
        ready: NDArray[np.float32] = self._soxr.resample_chunk(block)
        self._returned += len(ready)
        return ready

    def finish(self) -> NDArray[np.float32]:
        """Return the rest."""
        if self.sample_rate == self.target_rate:
            return np.zeros(0, np.float32)
        rest = self._soxr.resample_chunk(np.zeros(0, np.float32), last=True)
        left = -(-self._received * self.target_rate // self.sample_rate) - self._returned
        return np.pad(rest[:left], (0, max(0, left - len(rest))))


def isolated_blocks(
    audio: str | BinaryIO, *, source: str, target_rate: int, damaged: OnDamage
) -> Generator[bytes, None, tuple[bool, float]]:
    """Yield blocks as bytes of float32, in a worker; return ``damaged`` and ``lost_s``."""
    stream = AudioStream(audio, target_rate=target_rate, damaged=damaged)
    stream.source, stream._in_worker = source, True
    for block in stream:
        yield block.tobytes()
    return stream.damaged, stream.lost_s


def check_rate(rate: object, name: str = "sample_rate") -> None:
    """Refuse a rate that is not a positive whole number, or above what any recording has."""
    is_number = isinstance(rate, Real) and not isinstance(rate, bool)
    if not is_number or not 1 <= rate < math.inf or rate != int(rate):
        raise ArgumentError(f"{name} must be a positive whole number of Hz; received {rate!r}")
    if rate > HIGHEST_RATE:
        raise ArgumentError(f"{name} must be at most {HIGHEST_RATE:,} Hz; received {rate!r}")


def _check_samples(samples: NDArray[np.float32], label: str) -> None:
    loudest = max(samples.max(initial=0), -samples.min(initial=0))
    if not np.isfinite(loudest):
        raise AudioError(f"{label}: holds NaN or infinite samples; clean or export it again")
    if loudest > _LOUDEST:
        raise AudioError(
            f"{label}: holds samples as large as {loudest:.0e}, where full scale is 1; bring them "
            "to ±1"
        )


def _name(audio: AudioSource) -> str:
    if isinstance(audio, str | os.PathLike):
        return os.fspath(audio)
    name = getattr(audio, "name", None)
    return name if isinstance(name, str) else f"<{type(audio).__name__}>"


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
    with np.errstate(all="ignore"):
        if array.ndim == 2:
            array = array.mean(axis=0) if len(array) else array.reshape(-1)
        return np.ascontiguousarray(array, dtype=np.float32)
