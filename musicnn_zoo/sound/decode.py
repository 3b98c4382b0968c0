"""Open files for decoding: one recording or several, by the decoder that reads them better.

PyAV before 19 frees the memory of a channel layout of a custom order twice. Such layouts come from
the channel descriptions of QuickTime and CAF files, and from AAC with a program configuration of
its own.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple, TypeAlias, cast, get_args

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
from musicnn_zoo.sound.statements import (
    Statement,
    is_long_voc,
    missing_of_matroska,
    missing_of_ogg,
    part_of_stated,
    read_statement,
)

if TYPE_CHECKING:
    import av

_PLAIN_DESCRIPTIONS = frozenset({1 << 16, 100 << 16 | 1, 101 << 16 | 2})
"""By a bitmap, mono, stereo."""
_SEARCHED = 1 << 24
_PLAIN_AAC = (1, 2, 3, 4, 5, 29)
_LAST_PLAIN_CHANNELS = 7

_PROBED = 1 << 17
"""Bytes of a WAV in which FFmpeg looks for DTS or AC-3 in the place of samples."""
_PACKET = 1 << 16

_NEGLIGIBLE_S = 0.005

OnDamage = Literal["refuse", "use"]
_Opening: TypeAlias = AbstractContextManager[Decoded]


class RiskyFile(AudioError):  # noqa: N818
    """A file that is only decoded in a process of its own."""


def check_damaged(damaged: str) -> None:
    """Refuse what is no way to treat damaged files."""
    if damaged not in get_args(OnDamage):
        raise ArgumentError(f"damaged must be 'refuse' or 'use'; received {damaged!r}")


class Part:
    """Some bytes of a file, as a file with a position of its own.

    Parameters
    ----------
    file : binary file object
        Left open. It may return fewer bytes than it is asked for; a part does so at its end only.
    start, end : int
        By default the whole file.
    changes : mapping of int to bytes
        What is read at some places, instead of what is there.
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
        self.size = (file.seek(0, io.SEEK_END) if end is None else end) - start
        self._changes = changes or {}
        self._at = 0

    def seekable(self) -> bool:
        """Return that it is."""
        return True

    def tell(self) -> int:
        """Return the position in the part."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position in the part."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Return ``size`` bytes, or what is left."""
        start = self._at
        left = max(0, self.size - start)
        if size is not None and size >= 0:
            left = min(size, left)
        self._file.seek(self._start + start)
        content = self._file.read(left) or b""
        while len(content) < left and (more := self._file.read(left - len(content))):
            content += more
        self._at += len(content)
        return self._changed(content, start) if self._changes else content

    def _changed(self, content: bytes, start: int) -> bytes:
        changed = bytearray(content)
        for at, change in self._changes.items():
            first, last = max(at, start), min(at + len(change), self._at)
            if first < last:
                changed[first - start : last - start] = change[first - at : last - at]
        return bytes(changed)


class Source(NamedTuple):
    """A file that is decoded.

    Parameters
    ----------
    file : BinaryIO
        To look into beside the decoder.
    path : str or None
        What decoders open instead, since that is faster, if it holds the same bytes.
    """

    file: BinaryIO
    path: str | None = None

    def opened(self) -> str | BinaryIO:
        """Return what a decoder takes."""
        return self.path or cast("BinaryIO", Part(self.file))


def open_source(
    audio: str | os.PathLike[str] | BinaryIO, label: str, files: contextlib.ExitStack
) -> Source:
    """Open a path or a binary file object.

    Raises
    ------
    AudioError
        If it is neither a file nor a binary file object.
    """
    if isinstance(audio, str | os.PathLike):
        path = Path(audio)
        _check_file(path)
        file: BinaryIO = files.enter_context(path.open("rb"))
        return Source(file, str(path)) if _has_plain_name(path) else Source(seekable(file))
    if isinstance(audio, io.TextIOBase):
        raise AudioError(f"{label}: is open as text; open it in binary mode ('rb')")
    if callable(getattr(audio, "read", None)):
        file = seekable(audio)
        if type(file) not in (io.BytesIO, io.BufferedReader):
            file = cast("BinaryIO", Part(file))
        return Source(file)
    raise AudioError(
        f"audio must be a path, a binary file object or a NumPy array; "
        f"received {type(audio).__name__}"
    )


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise AudioError(f"{path}: is a directory, not an audio file")
        if not path.exists():
            raise AudioError(f"{path}: there is no such file")
        if path.is_file():
            if path.stat().st_size == 0:
                raise AudioError(f"{path}: the file is empty")
            with path.open("rb"):
                pass
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from error


def _has_plain_name(path: Path) -> bool:
    """Whether decoders take the path: of a file, and of text, since they know no other names."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return path.is_file()


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
        Whether the blocks of a file of which more than a second or 2 % is missing end in an error.
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
                source = Source(cast("BinaryIO", Part(source.file, changes=changes)))
            links = [Link(start) for start in find_joined(source.file)] or [Link(0)]
        if len(links) == 1 and links[0].start == 0:
            decoded = files.enter_context(_decoded(source, label, links[0], in_worker))
        else:
            decoded = _decoded_links(source.file, links, label, in_worker, files)
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


def _decoded_links(
    file: BinaryIO, links: list[Link], label: str, in_worker: bool, files: contextlib.ExitStack
) -> Decoded:
    """Decode one link after the other; each has a rate, channels and a codec of its own."""
    ends = [*(link.start for link in links[1:]), file.seek(0, io.SEEK_END)]
    parts = [(Part(file, link.start, end), link) for link, end in zip(links, ends, strict=True)]

    def opening(part: Part, link: Link) -> _Opening:
        return _decoded(Source(cast("BinaryIO", part)), label, link, in_worker)

    def reason(refusal: NotDecodedError) -> str:
        return str(refusal).removeprefix(f"{label}: ")

    refusals: list[NotDecodedError] = []
    for part, link in parts:
        try:
            first = files.enter_context(opening(part, link))
            break
        except NotDecodedError as refusal:
            refusals.append(refusal)
    else:
        raise refusals[0] from None
    whole = Decoded(first.sample_rate, iter(()))

    def add(decoded: Decoded) -> Iterator[Block]:
        before_s, lost_s = whole.decoded_s, whole.lost_s
        for block in decoded.blocks:
            whole.decoded_s = before_s + decoded.decoded_s
            yield block
        whole.lost_s = lost_s + decoded.lost_s
        whole.broken = whole.broken or decoded.broken

    def blocks() -> Iterator[Block]:
        if refusals:
            whole.broken = reason(refusals[0])
        yield from add(first)
        size = sum(part.size for part, _ in parts[len(refusals) :])
        for part, link in parts[len(refusals) + 1 :]:
            with contextlib.ExitStack() as opened:
                try:
                    decoded = opened.enter_context(opening(part, link))
                except NotDecodedError as refusal:
                    if not is_tolerated_part(part.size, size):
                        whole.broken = reason(refusal)
                    continue
                yield from add(decoded)

    whole.blocks = blocks()
    return whole


@contextlib.contextmanager
def _decoded(source: Source, label: str, link: Link, in_worker: bool) -> Iterator[Decoded]:
    """Decode one recording by the decoder that is better for it, and by the other where it ends."""
    data = mp3_samples = None
    if not link.is_ogg:
        data = find_data(source.file)
        mp3_samples = count_samples(source.file)
    by_ffmpeg = partial(_by_ffmpeg, source, label, link, data, in_worker)
    by_libsndfile = partial(_by_libsndfile, source, label, link, data, mp3_samples)
    first: Callable[..., _Opening] = by_ffmpeg
    second: Callable[..., _Opening] = by_libsndfile
    if mp3_samples is not None or _libsndfile_is_better(source.file, link, data):
        first, second = second, first
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


def _libsndfile_is_better(file: BinaryIO, link: Link, data: Data | None) -> bool:
    """Whether libsndfile decodes a file better.

    FFmpeg may leave out the last 128 samples of a Vorbis stream, but knows how long the pages were
    that are damaged; it takes the big-endian numbers of a RIFX for little-endian ones; it stops
    early in a VOC whose size is too large for its field; it reads an AIFF in small packets, which
    is slow; and PyAV may crash because of channels in an order of their own, as CAF has them.
    """
    if link.is_ogg:
        return link.is_vorbis and not link.is_broken
    file.seek(0)
    start = file.read(4)
    if start == b"caff":
        return _describes_channels(file)
    if start == b"FORM":
        return data is not None and data.is_plain_aiff
    return start == b"RIFX" or is_long_voc(file)


def _with_rest(
    blocks: Iterator[Block], decoded: Decoded, by_other: Callable[..., _Opening]
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
                decoded.compare(stated_s)


@contextlib.contextmanager
def _by_libsndfile(
    source: Source,
    label: str,
    link: Link,
    data: Data | None,
    mp3_samples: int | None,
    *,
    skip: int = 0,
) -> Iterator[Decoded]:
    """Decode by libsndfile; of MPEG audio it believes the headers, and guesses without them."""
    part = None
    if mp3_samples is None and not link.is_ogg:
        if is_mpeg(source.file):
            raise NotDecodedError(f"{label}: MPEG audio that is not tidy is decoded by FFmpeg only")
        part = part_of_stated(source.file, data)
    with decoded_by_libsndfile(
        source.opened(), label, skip=skip, mp3_samples=mp3_samples, present=part or 1.0
    ) as decoded:
        yield decoded


@contextlib.contextmanager
def _by_ffmpeg(
    source: Source,
    label: str,
    link: Link,
    data: Data | None,
    in_worker: bool,
    *,
    skip: int = 0,
) -> Iterator[Decoded]:
    with decoded_by_ffmpeg(
        source.opened(),
        label,
        skip=skip,
        check_risk=None if in_worker else partial(_refuse_risk, source.file),
        options={} if link.is_ogg else wav_options(source.file),
    ) as decoded:
        statement = read_statement(decoded.container, decoded.stream, source.file, data)
        decoded.blocks = _compared(decoded.blocks, decoded, source.file, link, statement)
        yield decoded


def wav_options(file: BinaryIO) -> dict[str, str]:
    """Return how FFmpeg is to read a file, if it is a WAV: in large packets, which is faster."""
    file.seek(0)
    if file.read(4) not in (b"RIFF", b"RF64", b"BW64"):
        return {}
    data = find_data(file)
    if data is None:
        return {}
    file.seek(data.start)
    options = {"max_size": str(_PACKET)}
    if any(file.read(_PROBED)):
        options["probesize"] = str(_PROBED)
    return options


def _compared(
    blocks: Iterator[Block],
    decoded: DecodedByFFmpeg,
    file: BinaryIO,
    link: Link,
    statement: Statement | None,
) -> Iterator[Block]:
    """Yield the blocks, and note at their end what the file states beyond them."""
    yield from blocks
    if link.is_broken and (missing_s := missing_of_ogg(link, decoded)) > _NEGLIGIBLE_S:
        decoded.lost_s += missing_s
    if statement is None:
        if decoded.container.format.name.startswith("matroska"):
            decoded.lost_s += missing_of_matroska(file, decoded)
        return
    if statement.packets is not None and decoded.packets >= statement.packets:
        decoded.broken = ""
        return
    stated_s = decoded.end_s / statement.part if statement.part else statement.length_s
    missing_s = stated_s - decoded.end_s
    if decoded.compare(stated_s):
        decoded.broken = ""
        if statement.exact and missing_s > _NEGLIGIBLE_S:
            decoded.lost_s += missing_s


def _refuse_risk(
    file: BinaryIO, container: av.container.InputContainer, stream: av.AudioStream
) -> None:
    """Raise for a file whose channels may be in an order of its own; decodes nothing.

    Raises
    ------
    RiskyFile
    """
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
        at = part.find(b"chan")
        while at >= 0:
            # Behind version and flags in QuickTime, behind a size of eight bytes in CAF.
            tags = {int.from_bytes(part[at + n : at + n + 4], "big") for n in (8, 12)}
            if not tags & _PLAIN_DESCRIPTIONS:
                return True
            at = part.find(b"chan", at + 4)
        if b"chnl" in part:
            return True
    return False


def _is_plain_aac(configuration: bytes | None) -> bool:
    """Whether an AudioSpecificConfig (ISO 14496-3) names one of the plain channel layouts."""
    if not configuration or len(configuration) < 2:
        return True
    bits = int.from_bytes(configuration[:8].ljust(8, b"\0"), "big")
    kind = bits >> 59
    used = 5
    if kind == 31:
        return False
    used += 4 + (24 if bits >> (64 - used - 4) & 15 == 15 else 0)
    channels = bits >> (64 - used - 4) & 15
    return kind in _PLAIN_AAC and 1 <= channels <= _LAST_PLAIN_CHANNELS
