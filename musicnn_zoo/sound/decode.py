"""Open files for decoding: one recording or several, by the decoder that reads them better.

PyAV before 19 frees the memory of a channel layout of a custom order twice. Such layouts come from
the channel descriptions of QuickTime and CAF files, and from AAC with a program configuration of
its own.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple, cast, get_args

from musicnn_zoo.errors import ArgumentError, AudioError
from musicnn_zoo.sound.decoders import (
    Block,
    Decoded,
    DecodedByFFmpeg,
    NotDecodedError,
    decoded_by_ffmpeg,
    decoded_by_libsndfile,
    is_tolerated_part,
)
from musicnn_zoo.sound.mpeg import count_samples, is_mpeg
from musicnn_zoo.sound.parts import Data, Link, find_corrections, find_data, find_joined, find_links
from musicnn_zoo.sound.statements import is_long_voc, note_missing, part_of_stated

if TYPE_CHECKING:
    import av

_PLAIN_DESCRIPTIONS = {tag.to_bytes(4, "big") for tag in (1 << 16, 100 << 16 | 1, 101 << 16 | 2)}
"""By a bitmap, mono, stereo."""
_SEARCHED = 1 << 24
_PLAIN_AAC = (1, 2, 3, 4, 5, 29)
_LAST_PLAIN_CHANNELS = 7

_PROBED = 1 << 17
"""Bytes of a WAV in which FFmpeg looks for DTS or AC-3 in the place of samples."""
_PACKET = 1 << 16

OnDamage = Literal["refuse", "use"]


class RiskyFile(AudioError):  # noqa: N818
    """A file that is only decoded in a process of its own."""


def check_damaged(damaged: str) -> None:
    """Refuse what is no way to treat damaged files."""
    if damaged not in get_args(OnDamage):
        raise ArgumentError(f"damaged must be 'refuse' or 'use'; received {damaged!r}")


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


def open_source(
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
    file = seekable(audio)
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
        return _Source(seekable(file))
    try:
        str(path).encode()
    except UnicodeEncodeError:  # decoders know no such names
        return _Source(file)
    return _Source(file, str(path))


def seekable(file: BinaryIO) -> BinaryIO:
    """Return a file object in which one can seek: itself, or one of what it holds."""
    can_seek = getattr(file, "seekable", None)
    return file if can_seek is not None and can_seek() else io.BytesIO(file.read())


@contextlib.contextmanager
def decode_file(
    audio: str | os.PathLike[str] | BinaryIO,
    label: str,
    *,
    damaged: OnDamage = "refuse",
    in_worker: bool = False,
) -> Iterator[Decoded]:
    """Open a file for decoding.

    Parameters
    ----------
    audio : path or binary file object
        A file object is left open.
    label : str
        How messages call it.
    damaged : {"refuse", "use"}
        As in :func:`musicnn_zoo.load_audio`; the error is raised when the blocks have ended.
    in_worker : bool
        Whether this process may crash because of what it decodes.

    Raises
    ------
    AudioError
        If there is no such file, or it cannot be decoded.
    RiskyFile
        If a file could crash the process, and this is no worker.
    """
    with contextlib.ExitStack() as files:
        source = open_source(audio, label, files)
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
        return self._mp3_samples is not None or start == b"RIFX" or is_long_voc(file)

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
    """Raise RiskyFile if channels may be in an order of their own; decode nothing."""
    form = container.format.name.split(",")[0]
    codec = stream.codec_context
    if form in ("mov", "caf", "iamf", "mxf") and _describes_channels(file):
        raise RiskyFile("describes its channels itself")
    if codec.name.startswith("aac") and not _is_plain_aac(codec.extradata):
        raise RiskyFile("is AAC with a configuration of its own")


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
