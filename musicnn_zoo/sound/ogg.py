"""The links of chained Ogg files, which radio recordings are (RFC 3533)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from musicnn_zoo.sound.mpeg import end_of_id3
from musicnn_zoo.sound.statements import reading_beside

_CAPTURE = b"OggS\0"
_HEADER = 27
_FLAGS = 5
_BEGINS = 2
_MOST_FLAGS = 7
_SEARCHED = 1 << 20
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
