"""Read audio: decode, downmix and resample it, whole or in blocks.

The result equals ``librosa.load(path, sr=sample_rate, mono=True)``: all channels averaged, then
resampled by soxr in its "HQ" quality. The blocks hold the very same samples as the whole. Where a
file changes its sample rate on the way, each part is resampled from its own. A file may hold
several recordings; each is decoded by the decoder that reads it better.

PyAV before 19 frees the memory of a channel layout of a custom order twice. Such layouts come from
the channel descriptions of QuickTime and CAF files, and from AAC with a program configuration of
its own. Files that may have them are decoded in a process of its own.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import re
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, cast, get_args

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import (
    ArgumentError,
    AudioError,
    answered,
    check_choice,
    check_number,
    shown,
    unknown_attribute,
)
from musicnn_zoo.sound.decoders import (
    BLOCK_S,
    HIGHEST_RATE,
    LOWEST_RATE,
    Block,
    Decoded,
    DecodedByFFmpeg,
    NotDecodedError,
    decoded_by_ffmpeg,
    decoded_by_libsndfile,
    is_tolerated_part,
)
from musicnn_zoo.sound.isolation import (
    START_BYTES,
    WorkerStartError,
    call_isolated,
    late_imports,
)
from musicnn_zoo.sound.mpeg import count_samples, is_mpeg
from musicnn_zoo.sound.parts import Data, Link, find_corrections, find_data, find_joined, find_links
from musicnn_zoo.sound.remote import Address, Fetching, fetched, place_of
from musicnn_zoo.sound.sources import AudioSource, as_source, check_one, local_path, source_name
from musicnn_zoo.sound.statements import is_long_voc, note_missing, part_of_stated

if TYPE_CHECKING:
    import av

_log = logging.getLogger(__name__)

_LOUDEST = 1e10
"""Powers of larger samples overflow. Full scale is 1, or 2e9 for 32-bit integers as floats."""

_LOUD = 10.0
"""Samples above this are no recording's whose full scale is 1: float mixes reach 4 at most."""

OnDamage = Literal["refuse", "use"]
"""What to do with a file of which much cannot be decoded."""


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

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.samples, dtype=dtype, copy=copy)

    def __iter__(self) -> Iterator[Any]:
        """Unpack as ``librosa.load`` does: ``samples, sample_rate = load_audio(path)``."""
        yield self.samples
        yield self.sample_rate

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise unknown_attribute(self, name)


@answered
def load_audio(
    audio: AudioSource,
    *,
    sample_rate: int | None = None,
    target_rate: int = 16000,
    offset: float = 0.0,
    duration: float | None = None,
    damaged: OnDamage = "refuse",
    isolate: bool = False,
) -> Audio:
    """Read audio as one mono signal at ``target_rate``.

    Parameters
    ----------
    audio : path, bytes, binary file object, array, or (array, rate)
        An array is ``(samples,)`` or ``(channels, samples)``, as in librosa; floating
        point, or signed integers, whose full scale becomes ±1. Other forms are listed at
        :func:`musicnn_zoo.sound.sources.as_source`.
    sample_rate : int, optional
        Of an array that comes without it, in Hz.
    target_rate : int
        Sample rate of the result in Hz.
    offset, duration : float
        Take only an excerpt, as librosa does: from ``offset`` seconds on, and at most ``duration``
        seconds; by default all. What comes after it is not looked at.
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
        samples (or none after ``offset``), or holds samples that are NaN, infinite or beyond
        1e10. (Ogg, MPEG-TS, and MP3 and AAC without a header do not state their length: if they
        are cut off, what is left is read.)
    ArgumentError
        If ``sample_rate`` does not go with ``audio``.

    Warns
    -----
    UserWarning
        If samples are far above full scale, or channels have nothing in common.
    """
    try:
        stream = AudioStream(
            audio, sample_rate=sample_rate, target_rate=target_rate, offset=offset,
            duration=duration, damaged=damaged, isolate=isolate,
        )  # fmt: skip
        blocks = list(stream)
    except AudioError:
        check_one(audio, "load_audio", None)
        raise
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
    offset_s : float
        Where in it the excerpt begins.
    samples : int
        At ``target_rate``, so far.
    damaged : bool
    lost_s : float
        As in :class:`Audio`, when the blocks have ended.
    address : Address or None
        Where the file is, if it is not on this machine; it is fetched before it is decoded.
    fetching : Fetching or None
        What has begun to fetch it.
    """

    def __init__(
        self,
        audio: AudioSource,
        *,
        sample_rate: int | None = None,
        target_rate: int = 16000,
        offset: float = 0.0,
        duration: float | None = None,
        damaged: OnDamage = "refuse",
        isolate: bool = False,
    ) -> None:
        check_rate(target_rate, "target_rate")
        self.offset_s = check_number("offset", offset, least=0)
        self._duration = None if duration is None else check_number("duration", duration, above=0)
        if self._duration is not None and round(self._duration * target_rate) < 1:
            raise ArgumentError(
                f"duration must be at least one sample, 1/{target_rate} s; received "
                f"{shown(duration)}"
            )
        check_choice("damaged", damaged, get_args(OnDamage))
        self._audio: str | BinaryIO | NDArray[Any]
        self._array_rate: float | None = None
        self.source: str | None = None
        if isinstance(audio, str | os.PathLike) and sample_rate is None:
            self._audio = place_of(audio)
            self.source = str(self._audio)
        else:
            self._audio, self._array_rate = as_source(audio, sample_rate)
            if self._array_rate is None:
                self.source = source_name(self._audio)
            else:
                check_rate(self._array_rate, least=LOWEST_RATE)
        self._target_rate = target_rate
        self._on_damage = damaged
        self.address = self._audio if isinstance(self._audio, Address) else None
        self.fetching: Fetching | None = None
        self._isolate = isolate
        self._in_worker = False
        self._is_loud = False
        self.samples = 0
        self.damaged = False
        self.lost_s = 0.0

    @property
    def duration_s(self) -> float:
        """Length so far in seconds."""
        return self.samples / self._target_rate

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        if self.address is not None:
            with self.fetching.place() if self.fetching else fetched(self.address) as place:
                self._audio = str(place)
                yield from self._mono_blocks()
        else:
            yield from self._mono_blocks()

    def _mono_blocks(self) -> Iterator[NDArray[np.float32]]:
        label = self.source or "array"
        if isinstance(self._audio, np.ndarray):
            mono = downmix_array(self._audio)
            assert self._array_rate is not None
            rate = int(self._array_rate)
            step = round(BLOCK_S * rate)
            parts = (Block(mono[at : at + step], rate) for at in range(0, len(mono), step))
            yield from self._resampled(parts, label)
            return
        if isinstance(self._audio, str) and not os.path.lexists(self._audio):
            self._audio = local_path(self._audio)
        try:
            if hasattr(self._audio, "read") and not isinstance(self._audio, io.TextIOBase):
                self._audio = _seekable(cast("BinaryIO", self._audio))
            if not self._isolate:
                try:
                    yield from self._decoded(label)
                    return
                except _RiskyFile as risk:
                    _log.info("%s: %s: decoded in a process of its own", label, risk)
            yield from self._decoded_isolated(label)
        except OSError as error:
            raise AudioError(f"{label}: cannot be read ({error.strerror or error})") from error

    def _decoded(self, label: str) -> Iterator[NDArray[np.float32]]:
        assert not isinstance(self._audio, np.ndarray)
        with _decode_file(
            self._audio, label, damaged=self._on_damage, in_worker=self._in_worker
        ) as decoded:
            yield from self._resampled(decoded.blocks, label)
            self.damaged, self.lost_s = decoded.damaged, decoded.lost_s

    def _decoded_isolated(self, label: str) -> Iterator[NDArray[np.float32]]:
        assert not isinstance(self._audio, np.ndarray)
        with contextlib.ExitStack() as files:
            source = _open_source(self._audio, label, files)
            source.file.seek(0)
            imports = late_imports(source.file.read(START_BYTES))
            size = source.file.seek(0, io.SEEK_END)
            content, arguments = None, {}
            if isinstance(self._audio, str | os.PathLike) and Path(self._audio).is_file():
                arguments = {"audio": str(Path(self._audio).absolute())}
            else:
                source.file.seek(0)
                content = source.file.read()
        given, self.samples = self.samples, 0
        pieces = call_isolated(
            f"{__name__}:isolated_blocks", label, content=content, size=size, imports=imports,
            source=label, target_rate=self._target_rate, offset=self.offset_s,
            duration=self._duration, damaged=self._on_damage, **arguments,
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
                except _RiskyFile as risk:
                    raise AudioError(
                        f"{label}: {risk}, which is decoded in a process of its own only, and none "
                        f"can be started ({error})"
                    ) from risk
                return
            block = self._counted(np.frombuffer(piece, np.float32))
            yield block[max(0, len(block) - max(0, self.samples - given)) :]

    def _resampled(self, blocks: Iterator[Block], label: str) -> Iterator[NDArray[np.float32]]:
        """Yield the excerpt that was asked for, and decode no more than that."""
        start = round(self.offset_s * self._target_rate)
        left = None if self._duration is None else round(self._duration * self._target_rate)
        passed = 0
        for block in self._resampled_whole(blocks, label):
            part = block[max(0, start - passed) :][:left]
            passed += len(block)
            yield self._counted(part)
            if left is not None:
                left -= len(part)
                if left == 0:
                    return
        if start and passed <= start:
            raise AudioError(
                f"{label}: is {passed / self._target_rate:.1f} s long, so that nothing comes after "
                f"an offset of {self.offset_s:g} s"
            )

    def _resampled_whole(
        self, blocks: Iterator[Block], label: str
    ) -> Iterator[NDArray[np.float32]]:
        resampler: Resampler | None = None
        received = 0
        for samples, rate in blocks:
            _check_samples(samples, label)
            if resampler is None or resampler.sample_rate != rate:
                if resampler is not None:
                    yield resampler.finish()
                resampler = Resampler(rate, self._target_rate)
            received += len(samples)
            yield resampler.feed(samples)
        if resampler is None or received == 0:
            raise AudioError(f"{label}: holds no samples")
        yield resampler.finish()

    def _counted(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        self.samples += len(block)
        if not (self._in_worker or self._is_loud):
            loudest = max(block.max(initial=0), -block.min(initial=0))
            if loudest > _LOUD:
                self._is_loud = True
                warnings.warn(
                    f"{self.source or 'array'}: samples reach {loudest:.0f}, where full scale is "
                    "1; they are taken as they are (divide 16-bit numbers by 32768)",
                    stacklevel=2,
                )
        return block


class Resampler:
    """Resample a mono signal that comes in blocks, by soxr HQ; rates are in Hz.

    All blocks together become ``ceil(samples * target / source)`` samples.
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
    audio: str | BinaryIO,
    *,
    source: str,
    target_rate: int,
    offset: float,
    duration: float | None,
    damaged: OnDamage,
) -> Generator[bytes, None, tuple[bool, float]]:
    """Yield blocks as bytes of float32, in a worker; return ``damaged`` and ``lost_s``."""
    stream = AudioStream(
        audio, target_rate=target_rate, offset=offset, duration=duration, damaged=damaged
    )
    stream.source, stream._in_worker = source, True
    for block in stream:
        yield block.tobytes()
    return stream.damaged, stream.lost_s


def check_rate(rate: object, name: str = "sample_rate", *, least: int = 1) -> None:
    """Refuse a rate that is no positive whole number, or not between ``least`` and 1 MHz."""
    number: Any = rate if isinstance(rate, Real) and not isinstance(rate, bool) else math.nan
    if not 1 <= number < math.inf or number != int(number):
        raise ArgumentError(f"{name} must be a positive whole number of Hz; received {rate!r}")
    if number < least:
        raise ArgumentError(
            f"{name} must be at least {least:,} Hz; received {rate!r} (44.1 kHz is 44100)"
        )
    if number > HIGHEST_RATE:
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


_PLAIN_DESCRIPTIONS = {tag.to_bytes(4, "big") for tag in (1 << 16, 100 << 16 | 1, 101 << 16 | 2)}
"""By a bitmap, mono, stereo."""
_SEARCHED = 1 << 24
_PLAIN_AAC = (1, 2, 3, 4, 5, 29)
_LAST_PLAIN_CHANNELS = 7

_PROBED = 1 << 17
"""Bytes of a WAV in which FFmpeg looks for DTS or AC-3 in the place of samples."""
_PACKET = 1 << 16


class _RiskyFile(AudioError):  # noqa: N818
    """A file that is only decoded in a process of its own."""


class _Part:
    """Some bytes of a file, by default all, as a file with a position of its own.

    The file may return fewer bytes than it is asked for; a part does so at its end only.
    ``changes`` say what is read at some places, instead of what is there.
    """

    def __init__(
        self,
        file: BinaryIO,
        start: int = 0,
        end: int | None = None,
        *,
        changes: Mapping[int, bytes] | None = None,
    ) -> None:
        self._file = file
        self._start = start
        self._size = (file.seek(0, io.SEEK_END) if end is None else end) - start
        self._changes = changes or {}
        self._at = 0

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        start = self._at
        left = max(0, self._size - start)
        if size is not None and size >= 0:
            left = min(size, left)
        if not left:
            return b""
        self._file.seek(self._start + start)
        pieces = []
        while left > 0 and (piece := self._file.read(left)):
            pieces.append(piece[:left])
            left -= len(piece)
        content = b"".join(pieces)
        self._at += len(content)
        for at, change in self._changes.items():
            first, last = max(at, start), min(at + len(change), self._at)
            if first < last:
                changed = change[first - at : last - at]
                content = content[: first - start] + changed + content[last - start :]
        return content


class _Source(NamedTuple):
    """A file to look into, and the path that decoders open instead, which is faster."""

    file: BinaryIO
    path: str | None = None

    def opened(self) -> str | BinaryIO:
        return self.path or cast("BinaryIO", _Part(self.file))


def _open_source(
    audio: str | os.PathLike[str] | BinaryIO, label: str, files: contextlib.ExitStack
) -> _Source:
    """Open a path or a binary file object; anything else is an AudioError."""
    if isinstance(audio, str | os.PathLike):
        return _open_path(Path(audio), files)
    if isinstance(audio, io.TextIOBase):
        raise AudioError(f"{label}: is open as text; open it in binary mode ('rb')")
    if not callable(getattr(audio, "read", None)):
        raise AudioError(
            f"audio must be a path, a binary file object or a NumPy array; "
            f"received {type(audio).__name__}"
        )
    file = _seekable(audio)
    if type(file) not in (io.BytesIO, io.BufferedReader):
        file = cast("BinaryIO", _Part(file))
    return _Source(file)


def _open_path(path: Path, files: contextlib.ExitStack) -> _Source:
    try:
        if path.is_dir():
            raise AudioError(f"{path}: is a directory, not an audio file")
        if not path.exists():
            raise AudioError(f"{path}: there is no such file")
        if path.is_file() and path.stat().st_size == 0:
            raise AudioError(f"{path}: the file is empty")
        file = files.enter_context(path.open("rb"))
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from error
    if not path.is_file():
        return _Source(_seekable(file))
    try:
        str(path).encode()
    except UnicodeEncodeError:  # decoders know no such names
        return _Source(file)
    return _Source(file, str(path))


def _seekable(file: BinaryIO) -> BinaryIO:
    """Return a file object in which one can seek: itself, or one of what it holds."""
    can_seek = getattr(file, "seekable", None)
    return file if can_seek is not None and can_seek() else io.BytesIO(file.read())


@contextlib.contextmanager
def _decode_file(
    audio: str | os.PathLike[str] | BinaryIO,
    label: str,
    *,
    damaged: OnDamage = "refuse",
    in_worker: bool = False,
) -> Iterator[Decoded]:
    """Open a file for decoding; a file object is left open.

    ``label`` is what messages call it. The error for a ``damaged`` file is raised when the blocks
    have ended. A worker may crash because of what it decodes; in another process, a file that could
    do that raises _RiskyFile.
    """
    with contextlib.ExitStack() as files:
        source = _open_source(audio, label, files)
        links = find_links(source.file)
        if not links:
            if changes := find_corrections(source.file):
                source = _Source(cast("BinaryIO", _Part(source.file, changes=changes)))
            links = [Link(start) for start in find_joined(source.file)] or [Link(0)]
        if len(links) == 1 and links[0].start == 0:
            recording = _Recording(source, label, links[0], in_worker)
            decoded = files.enter_context(recording.decoded())
        else:
            decoded = _decoded_links(source.file, links, label, in_worker)
        decoded.blocks = _judged(decoded.blocks, decoded, label, damaged)
        yield decoded


def _judged(
    blocks: Iterator[Block], decoded: Decoded, label: str, damaged: OnDamage
) -> Iterator[Block]:
    yield from blocks
    if decoded.decoded_s == 0 and decoded.damaged:
        raise AudioError(
            f"{label}: not audio that libsndfile or FFmpeg can decode "
            f"({decoded.broken or 'none of its frames can be decoded'})"
        )
    if damaged == "refuse":
        decoded.judge(label)


def _decoded_links(file: BinaryIO, links: list[Link], label: str, in_worker: bool) -> Decoded:
    """Decode one link after the other; each has a rate, channels and a codec of its own."""
    size = file.seek(0, io.SEEK_END)
    whole = Decoded(0, iter(()))

    def blocks() -> Iterator[Block]:
        first_refusal = None
        for link, end in zip(links, [*(link.start for link in links[1:]), size], strict=True):
            part = cast("BinaryIO", _Part(file, link.start, end))
            with contextlib.ExitStack() as files:
                try:
                    recording = _Recording(_Source(part), label, link, in_worker)
                    decoded = files.enter_context(recording.decoded())
                except NotDecodedError as refusal:
                    first_refusal = first_refusal or refusal
                    if not is_tolerated_part(end - link.start, size):
                        whole.broken = str(refusal).removeprefix(f"{label}: ")
                    continue
                before_s, lost_s = whole.decoded_s, whole.lost_s
                for block in decoded.blocks:
                    whole.decoded_s = before_s + decoded.decoded_s
                    yield block
                whole.lost_s = lost_s + decoded.lost_s
                whole.broken = whole.broken or decoded.broken
        if first_refusal is not None and whole.decoded_s == 0:
            raise first_refusal

    whole.blocks = blocks()
    return whole


class _Recording:
    """A recording that is decoded by the decoder that is better for it."""

    def __init__(self, source: _Source, label: str, link: Link, in_worker: bool) -> None:
        self._source = source
        self._label = label
        self._link = link
        self._in_worker = in_worker
        self._data = None if link.is_ogg else find_data(source.file)
        may_be_mp3 = not link.is_ogg and self._data is None
        self._mp3_samples = count_samples(source.file) if may_be_mp3 else None

    @contextlib.contextmanager
    def decoded(self) -> Iterator[Decoded]:
        """Decode it, by the other decoder where the better one does not take it or ends early."""
        first, second = self._by_ffmpeg, self._by_libsndfile
        if self._libsndfile_is_better():
            first, second = self._by_libsndfile, self._by_ffmpeg
        with contextlib.ExitStack() as files:
            try:
                decoded = files.enter_context(first())
            except NotDecodedError as refusal:
                try:
                    decoded = files.enter_context(second())
                except NotDecodedError:
                    raise refusal from None
            else:
                decoded.blocks = _with_rest(decoded.blocks, decoded, second)
            yield decoded

    def _libsndfile_is_better(self) -> bool:
        """Whether libsndfile decodes it better: a tidy MP3, for instance.

        FFmpeg may leave out the last 128 samples of a Vorbis stream, but knows how long the pages
        were that are damaged; it takes the big-endian numbers of a RIFX for little-endian ones; it
        stops early in a VOC whose size is too large for its field; it reads an AIFF in small
        packets, which is slow; and PyAV may crash because of channels in an order of their own, as
        CAF has them.
        """
        if self._link.is_ogg:
            return self._link.is_vorbis and not self._link.is_broken
        file = self._source.file
        file.seek(0)
        start = file.read(4)
        if start == b"caff":
            return _describes_channels(file)
        if start == b"FORM":
            return self._data is not None and self._data.is_plain_aiff
        if start == b"Crea":
            return is_long_voc(file)
        return self._mp3_samples is not None or start == b"RIFX"

    @contextlib.contextmanager
    def _by_libsndfile(self, skip: int = 0) -> Iterator[Decoded]:
        """Decode by libsndfile; it believes the header of an MP3, and guesses without one."""
        part = None
        if self._mp3_samples is None and not self._link.is_ogg:
            if is_mpeg(self._source.file):
                raise NotDecodedError(
                    f"{self._label}: MPEG audio that is not tidy is decoded by FFmpeg only"
                )
            part = part_of_stated(self._source.file, self._data)
        with decoded_by_libsndfile(
            self._source.opened(), self._label,
            skip=skip, mp3_samples=self._mp3_samples, present=part or 1.0,
        ) as decoded:  # fmt: skip
            yield decoded

    @contextlib.contextmanager
    def _by_ffmpeg(self, skip: int = 0) -> Iterator[Decoded]:
        file = self._source.file

        def blocks(decoded: DecodedByFFmpeg, decoded_blocks: Iterator[Block]) -> Iterator[Block]:
            yield from decoded_blocks
            note_missing(decoded, file, self._link, self._data)

        with decoded_by_ffmpeg(
            self._source.opened(), self._label, skip=skip,
            check_risk=None if self._in_worker else partial(_refuse_risk, file),
            options=wav_options(file, self._data),
        ) as decoded:  # fmt: skip
            decoded.blocks = blocks(decoded, decoded.blocks)
            yield decoded


def _with_rest(
    blocks: Iterator[Block],
    decoded: Decoded,
    by_other: Callable[..., AbstractContextManager[Decoded]],
) -> Iterator[Block]:
    """Yield the blocks of a file; the other decoder goes on from the sample where one stopped."""
    taken = 0
    rates = set()
    for block in blocks:
        taken += len(block.samples)
        rates.add(block.sample_rate)
        yield block
    if not (decoded.ended_early or (decoded.damaged and taken == 0)) or len(rates) > 1:
        return
    stated_s = decoded.stated_s
    with contextlib.suppress(NotDecodedError), by_other(skip=taken) as rest:
        if rates - {rest.sample_rate}:
            return
        before_s = decoded.decoded_s
        for block in rest.blocks:
            decoded.decoded_s = before_s + rest.decoded_s
            yield block
        if rest.decoded_s:
            decoded.broken, decoded.stated_s = rest.broken, rest.stated_s
            decoded.lost_s = rest.lost_s
            if stated_s is not None:
                decoded.expect(stated_s)


def wav_options(file: BinaryIO, data: Data | None) -> dict[str, str]:
    """Return how FFmpeg is to read a file, if it is a WAV: in large packets, which is faster."""
    file.seek(0)
    if data is None or file.read(4) not in (b"RIFF", b"RF64", b"BW64"):
        return {}
    file.seek(data.start)
    options = {"max_size": str(_PACKET)}
    if any(file.read(_PROBED)):
        options["probesize"] = str(_PROBED)
    return options


def _refuse_risk(
    file: BinaryIO, container: av.container.InputContainer, stream: av.AudioStream
) -> None:
    """Raise _RiskyFile if channels may be in an order of their own; decode nothing."""
    form = container.format.name.split(",")[0]
    codec = stream.codec_context
    if form in ("mov", "caf", "iamf", "mxf") and _describes_channels(file):
        raise _RiskyFile("describes its channels itself")
    if codec.name.startswith("aac") and not _is_plain_aac(codec.extradata):
        raise _RiskyFile("is AAC with a configuration of its own")


def _describes_channels(file: BinaryIO) -> bool:
    """Whether a header holds a channel description other than that of mono or stereo."""
    size = file.seek(0, io.SEEK_END)
    for start in {0, max(0, size - _SEARCHED)}:
        file.seek(start)
        part = file.read(_SEARCHED)
        for match in re.finditer(b"chan|chnl", part):
            # Behind version and flags in QuickTime, behind a size of eight bytes in CAF.
            tags = {part[match.start() + n : match.start() + n + 4] for n in (8, 12)}
            if match[0] == b"chnl" or not tags & _PLAIN_DESCRIPTIONS:
                return True
    return False


def _is_plain_aac(configuration: bytes | None) -> bool:
    """Whether an AudioSpecificConfig (ISO 14496-3) names one of the plain channel layouts."""
    if not configuration or len(configuration) < 2:
        return True
    bits = f"{int.from_bytes(configuration[:8].ljust(8, bytes(1)), 'big'):064b}"
    kind, rate = int(bits[:5], 2), bits[5:9]
    at = 33 if rate == "1111" else 9
    return kind in _PLAIN_AAC and 1 <= int(bits[at : at + 4], 2) <= _LAST_PLAIN_CHANNELS
