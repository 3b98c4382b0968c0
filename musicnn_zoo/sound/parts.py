"""The parts of a file: joined files, chained streams, and a file read with some bytes changed.

Such an edit lasts to the end of the sound (ISO 14496-12, 8.6.6). FFmpeg takes it for one of 0 s and
gives nothing; so it is told a duration that no recording has.

Decoders end with the first, or take the header of the next for sound.
"""

from __future__ import annotations

import contextlib
import io
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from musicnn_zoo.sound.mpeg import end_of_id3, find_mp3s
from musicnn_zoo.sound.statements import reading_beside


class Part(io.RawIOBase):
    """Some bytes of a file, as a file."""

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        super().__init__()
        self._file = file
        self._start = start
        self._size = end - start
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def seekable(self) -> bool:
        """Return that it is."""
        return True

    def tell(self) -> int:
        """Return the place in the part."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place in the part."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes from here."""
        left = max(0, self._size - self._at)
        self._file.seek(self._start + self._at)
        content = self._file.read(left if size is None or size < 0 else min(size, left))
        self._at += len(content)
        return content

    def readinto(self, buffer: object) -> int:
        """Fill a buffer from here."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        content = self.read(len(view))
        view[: len(content)] = content
        return len(content)


class Patched(Part):
    """A file of which some bytes are read as others.

    Parameters
    ----------
    file : binary file object
        Left open.
    changes : mapping of int to bytes
        What is to be read at some places.
    """

    def __init__(self, file: BinaryIO, changes: Mapping[int, bytes]) -> None:
        super().__init__(file, 0, file.seek(0, io.SEEK_END))
        self._changes = changes

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes from here."""
        start = self.tell()
        content = bytearray(super().read(size))
        for at, change in self._changes.items():
            first, last = max(at, start), min(at + len(change), start + len(content))
            if first < last:
                content[first - start : last - start] = change[first - at : last - at]
        return bytes(content)


_TO_THE_END = 0x7FFFFFFF
_FIRST = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
_HOLDERS = (b"moov", b"trak", b"edts")
_MOST_ATOMS = 1 << 12
_MOST_EDITS = 1 << 10


@contextlib.contextmanager
def with_durations(opened: str | BinaryIO) -> Iterator[str | BinaryIO]:
    """Open a file in which each edit that is no pause has a duration: itself, if that is so."""
    with reading_beside(opened) as file:
        changes = _find_changes(file)
    if not changes:
        yield opened
        return
    with contextlib.ExitStack() as files:
        file = files.enter_context(Path(opened).open("rb")) if isinstance(opened, str) else opened
        yield cast("BinaryIO", Patched(file, changes))


def _find_changes(file: BinaryIO) -> dict[int, bytes]:
    """Return durations by their places in the file."""
    changes: dict[int, bytes] = {}
    file.seek(4)
    if file.read(4) not in _FIRST:
        return changes
    for at, entry_size, count in _edit_lists(file, 0, file.seek(0, 2)):
        file.seek(at)
        entries = file.read(entry_size * count)
        half = (entry_size - 4) // 2
        for start in range(0, len(entries), entry_size):
            duration, begin = entries[start : start + half], entries[start + half :][:half]
            if not any(duration) and begin and begin[0] < 0x80:
                changes[at + start] = _TO_THE_END.to_bytes(half, "big")
    return changes


def _edit_lists(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield where the edits of each list begin, how large one is, and how many there are."""
    at = start
    for _ in range(_MOST_ATOMS):
        file.seek(at)
        head = file.read(16)
        if at >= end or len(head) < 16:
            return
        size, name, body = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1:
            size, body = int.from_bytes(head[8:], "big"), 16
        size = size or end - at
        if size < body or at + size > end:
            return
        if name in _HOLDERS:
            yield from _edit_lists(file, at + body, at + size)
        elif name == b"elst":
            entry_size = 20 if head[8] == 1 else 12
            count = min(int.from_bytes(head[12:], "big"), (size - 16) // entry_size)
            yield at + 16, entry_size, min(count, _MOST_EDITS)
        at += size


_SEARCHED = 1 << 20
_MOST_PARTS = 1 << 12
_MOST_CHUNKS = 1 << 17
_MOST_ZEROS = 1 << 20
_HEAD = 64
"""Bytes that tell how any of the files begins."""

_BIT_3 = bytes(byte for byte in range(256) if byte & 8)
_BEGINNINGS = (
    rb"fLaC[\0\x80]\0\0\x22",
    # WavPack: the first block of those of the first sample.
    rb"wvpk....[\x02-\x10]\x04\0.....\0\0\0\0(?!\0\0\0\0)....." + b"[" + re.escape(_BIT_3) + b"]",
    rb"TTA1[\x01\x02]\0[\x01-\x20]\0[\x01-\x20]\0",
    rb"MAC [\x8c-\xa0]\x0f\0\0\x34\0\0\0",
    rb"MPCKSH",
    rb"tBaK\x01.\0\0",
    rb"#!AMR(?:-WB)?\n",
    rb"FLV\x01[\x01\x04\x05]\0\0\0\x09\0\0\0\0",
    rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c",
    rb"\.RMF\0\0\0\x12\0[\0\x01]",
    rb"nut/multimedia container\0",
    rb"Creative Voice File\x1a\x1a\0",
    rb"NIST_1A\n   1024\n",
)  # fmt: skip
"""How files begin whose beginnings are found by searching: they are long, and the files small."""
_SEARCHES = tuple(re.compile(beginning, re.DOTALL) for beginning in _BEGINNINGS)


class _Chunks(NamedTuple):
    """A container that is a row of chunks.

    Parameters
    ----------
    begins : pattern
        How a file begins.
    first : int
        Where its first chunk is. At 0 its beginning is one.
    step : callable
        From the beginning of a chunk to how far the next is; 0 if it does not say.
    """

    begins: re.Pattern[bytes]
    first: int
    step: Callable[[bytes], int]


def _riff_step(head: bytes) -> int:
    size = int.from_bytes(head[4:8], "little")
    return 8 + size + size % 2 if _is_name(head[:4]) and size < 0xFFFFFFFF else 0


def _iff_step(head: bytes) -> int:
    size = int.from_bytes(head[4:8], "big")
    return 8 + size + size % 2 if _is_name(head[:4]) else 0


def _caf_step(head: bytes) -> int:
    size = int.from_bytes(head[4:12], "big", signed=True)
    return 12 + size if _is_name(head[:4]) and size >= 0 else 0


def _w64_step(head: bytes) -> int:
    size = int.from_bytes(head[16:24], "little")
    return size + -size % 8 if size >= 24 else 0


def _mp4_step(head: bytes) -> int:
    size = int.from_bytes(head[:4], "big")
    if size == 1:
        size = int.from_bytes(head[8:16], "big")
    return size if _is_name(head[4:8]) and size >= 8 else 0


def _au_step(head: bytes) -> int:
    size = int.from_bytes(head[8:12], "big")
    return int.from_bytes(head[4:8], "big") + size if 0 < size < 0xFFFFFFFF else 0


def _dsf_step(head: bytes) -> int:
    return int.from_bytes(head[12:20], "little")


def _dff_step(head: bytes) -> int:
    return 12 + int.from_bytes(head[4:12], "big")


def _is_name(name: bytes) -> bool:
    return all(32 <= byte < 127 for byte in name)


_ROWS = tuple(
    _Chunks(re.compile(begins, re.DOTALL), first, step)
    for begins, first, step in (
        (rb"(?:RIFF|RF64|BW64)....WAVE", 12, _riff_step),
        (rb"RIFX....WAVE", 12, _iff_step),
        (rb"FORM....(?:AIFF|AIFC|8SVX|16SV)", 12, _iff_step),
        (rb"caff\0\x01\0\0", 8, _caf_step),
        (rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0", 40, _w64_step),
        (rb"....ftyp", 0, _mp4_step),
        (rb"\.snd\0\0", 0, _au_step),
        (rb"DSD \x1c\0\0\0\0\0\0\0", 0, _dsf_step),
        (rb"FRM8........DSD ", 0, _dff_step),
    )
)


def find_joined(opened: str | BinaryIO) -> list[int]:
    """Return where the recordings of a file begin; nothing if it is one, from its first byte on."""
    with reading_beside(opened) as file:
        file.seek(0)
        head = file.read(_HEAD)
        for row in _ROWS:
            if row.begins.match(head):
                parts = _walk(file, row)
                break
        else:
            start = end_of_id3(file)
            file.seek(start)
            head = file.read(_HEAD)
            for beginning in _SEARCHES:
                if beginning.match(head):
                    parts = _search(file, start, beginning)
                    break
            else:
                parts = find_mp3s(file)
                if parts and parts[0] > start:
                    return parts
    return parts if len(parts) > 1 else []


def _search(file: BinaryIO, start: int, beginning: re.Pattern[bytes]) -> list[int]:
    parts: list[int] = []
    file.seek(start)
    rest = b""
    while len(parts) < _MOST_PARTS and (block := file.read(_SEARCHED)):
        searched = rest + block
        found = [start + match.start() for match in beginning.finditer(searched)]
        parts += [at for at in found if not parts or at > parts[-1]]
        rest = searched[-_HEAD:]
        start += len(searched) - len(rest)
    return parts


def _walk(file: BinaryIO, row: _Chunks) -> list[int]:
    """Go from chunk to chunk, as far as they say where the next is."""
    size = file.seek(0, 2)
    parts: list[int] = []
    data_size = 0
    at = 0
    for _ in range(_MOST_CHUNKS):
        if at >= size or len(parts) == _MOST_PARTS:
            break
        file.seek(at)
        head = file.read(_HEAD)
        if row.begins.match(head):
            parts.append(at)
            at += row.first or row.step(head) or size
            continue
        if not any(head):
            at = _end_of_zeros(file, at)
            continue
        if head.startswith(b"ds64"):
            data_size = int.from_bytes(head[16:24], "little")
        step = row.step(head)
        if row.step is _riff_step and head.startswith(b"data\xff\xff\xff\xff"):
            step = 8 + data_size + data_size % 2
        if step == 0:
            break
        at = min(at + step, size)
        file.seek(at - 1)
        if row.begins.match(file.read(_HEAD)):  # without a byte of padding
            at -= 1
    return parts


def _end_of_zeros(file: BinaryIO, at: int) -> int:
    file.seek(at)
    block = file.read(_MOST_ZEROS)
    return at + len(block) - len(block.lstrip(b"\0"))


_CAPTURE = b"OggS\0"
_HEADER = 27
_FLAGS = 5
_BEGINS = 2
_MOST_FLAGS = 7
_MOST_LINKS = 1 << 12
_VORBIS = b"\x01vorbis"
_SOUNDS = (_VORBIS, b"OpusHead", b"\x7fFLAC", b"Speex")
_FIRST_PACKETS = (*_SOUNDS, b"fishead", b"\x80theora")
_MOST_SAMPLES = 1 << 21
"""On a page; one that states more is not believed if it is broken."""
_OTHERS = (b"RIFF", b"RF64", b"fLaC", b"FORM", b"\x1a\x45\xdf\xa3", b"caff")
_MOST_JUNK = 1 << 16
_SUM = 22
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def find_links(opened: str | BinaryIO) -> list[int]:
    """Return where the links of an Ogg file begin; nothing for another file."""
    links: list[int] = []
    with reading_beside(opened) as file:
        start = _first_page(file)
        if start is None:
            return []
        file.seek(start)
        rest = b""
        in_heads = False
        while len(links) < _MOST_LINKS and (block := file.read(_SEARCHED)):
            part = rest + block
            at = part.find(_CAPTURE)
            while 0 <= at <= len(part) - _HEADER:
                flags = part[at + _FLAGS]
                if flags <= _MOST_FLAGS:
                    begins = bool(flags & _BEGINS)
                    if begins and not in_heads:
                        links.append(start + at)
                    in_heads = begins
                at = part.find(_CAPTURE, at + 1)
            kept = max(0, len(part) - _HEADER + 1) if at < 0 else at
            start, rest = start + kept, part[kept:]
    return links


def _first_page(file: BinaryIO) -> int | None:
    """Return where the first page begins: at once, behind ID3 tags, or behind a little junk."""
    file.seek(0)
    head = file.read(len(_CAPTURE))
    if head == _CAPTURE:
        return 0
    if head.startswith(_OTHERS):
        return None
    start = end_of_id3(file)
    file.seek(start)
    head = file.read(_MOST_JUNK)
    at = head.find(_CAPTURE)
    if at < 0 or not head.startswith(_FIRST_PACKETS, at + _HEADER + 1):
        return None
    return start + at


def is_vorbis(opened: str | BinaryIO) -> bool:
    """Whether the first stream of an Ogg file is Vorbis."""
    with reading_beside(opened) as file:
        file.seek(0)
        start = file.read(_HEADER + 1 + len(_VORBIS))
    return start.startswith(_CAPTURE) and start.endswith(_VORBIS)


class Span(NamedTuple):
    """From where to where the pages of a stream go of which some are missing.

    Parameters
    ----------
    from_start : bool
        Whether pages of its very beginning are broken.
    end : int
        Granule position at its end.
    """

    from_start: bool
    end: int


class _Page(NamedTuple):
    """A page, whether it is whole, and whether something that is no page lies before it."""

    serial: bytes
    number: int
    granule: int
    body: bytes
    is_whole: bool
    is_behind_junk: bool


def _pages(file: BinaryIO) -> Iterator[_Page]:
    size = file.seek(0, 2)
    at = 0
    while True:
        found = _find_capture(file, at, size)
        file.seek(found)
        head = file.read(_HEADER)
        if len(head) < _HEADER:
            return
        lacing = file.read(head[-1])
        body = file.read(sum(lacing))
        page = head[:_SUM] + bytes(4) + head[_SUM + 4 :] + lacing + body
        is_whole = _checksum(page) == head[_SUM:-1]
        number = int.from_bytes(head[18:_SUM], "little")
        granule = int.from_bytes(head[6:14], "little", signed=True)
        yield _Page(head[14:18], number, granule, body, is_whole, found > at)
        at = found + (len(page) if is_whole else len(_CAPTURE))


def _find_capture(file: BinaryIO, at: int, size: int) -> int:
    """Return where a page begins, or the end of the file."""
    while at < size:
        file.seek(at)
        block = file.read(len(_CAPTURE))
        if block == _CAPTURE:
            return at
        block += file.read(_SEARCHED)
        found = block.find(_CAPTURE)
        if found >= 0:
            return at + found
        at += max(1, len(block) - len(_CAPTURE) + 1)
    return size


def has_broken_pages(opened: str | BinaryIO) -> bool:
    """Whether a page is missing or is not what its checksum says: decoders leave it out."""
    return find_broken_span(opened) is not None


def find_broken_span(opened: str | BinaryIO) -> Span | None:
    """Return the span of the first sound, if a page of it is missing or broken; else None.

    That it begins with another page than the first is no loss: who records a radio station comes
    when it has begun.
    """
    broken = from_start = after_broken = False
    serial: bytes | None = None
    number = end = 0
    with reading_beside(opened) as file:
        for page in _pages(file):
            if serial is None and page.body.startswith(_SOUNDS):
                serial = page.serial
                number = page.number
                broken = not page.is_whole
                continue
            if page.serial != serial and page.is_whole:
                after_broken = False
                continue
            is_next = page.number == number + 1
            if not page.is_whole:
                broken = after_broken = True
                if page.serial != serial or not end <= page.granule <= end + _MOST_SAMPLES:
                    continue
                from_start |= end == 0 and is_next
            else:
                broken |= (not is_next and end > 0) or (page.is_behind_junk and not after_broken)
                after_broken = False
            number, end = page.number, max(end, page.granule)
    return Span(from_start, end) if broken else None


def _checksum(page: bytes) -> bytes:
    """Compute the CRC-32 of Ogg by that of zlib, which takes the bits the other way round."""
    register = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return register.to_bytes(4, "big").translate(_REVERSED)
