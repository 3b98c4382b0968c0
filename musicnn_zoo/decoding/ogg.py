"""The links of chained Ogg files, which radio recordings are (RFC 3533)."""

from __future__ import annotations

import zlib
from typing import BinaryIO

from musicnn_zoo.decoding.mpeg import end_of_id3
from musicnn_zoo.decoding.statements import reading_beside

_CAPTURE = b"OggS\0"
_HEADER = 27
_FLAGS = 5
_BEGINS = 2
_MOST_FLAGS = 7
_SEARCHED = 1 << 20
_MOST_LINKS = 1 << 12
_VORBIS = b"\x01vorbis"
_FIRST_PACKETS = (_VORBIS, b"OpusHead", b"\x7fFLAC", b"Speex", b"fishead", b"\x80theora")
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


def has_broken_pages(opened: str | BinaryIO) -> bool:
    """Whether a page is missing or is not what its checksum says: decoders leave it out."""
    numbers: dict[bytes, int] = {}
    with reading_beside(opened) as file:
        size = file.seek(0, 2)
        at = 0
        while at < size:
            file.seek(at)
            head = file.read(_HEADER)
            if len(head) < _HEADER or not head.startswith(_CAPTURE):
                return True
            lacing = file.read(head[-1])
            page = head[:_SUM] + bytes(4) + head[_SUM + 4 :] + lacing + file.read(sum(lacing))
            serial, number = head[14:18], int.from_bytes(head[18:_SUM], "little")
            if numbers.get(serial, number - 1) != number - 1 or _checksum(page) != head[_SUM:-1]:
                return True
            numbers[serial] = number
            at += len(page)
    return False


def _checksum(page: bytes) -> bytes:
    """Compute the CRC-32 of Ogg by that of zlib, which takes the bits the other way round."""
    register = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return register.to_bytes(4, "big").translate(_REVERSED)
