"""Files that are several recordings, one after the other, as ``cat`` makes them.

Decoders end with the first, or take the header of the next for sound.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from musicnn_zoo.sound.mpeg import end_of_id3, find_mp3s
from musicnn_zoo.sound.statements import reading_beside

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
