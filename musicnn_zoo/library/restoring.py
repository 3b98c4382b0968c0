"""What turns a file back into what it was, byte for byte, and is small where tags changed only.

A file whose tags were written holds the sound where it was, or farther by as much as the file grew.
So each block of the old file is told by the place in the new one that it equals, and by the bytes
that differ there: those of the tags, and numbers of pages or offsets.
"""

from __future__ import annotations

import base64
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.files import flush_to_disk

_BLOCK = 2**14
_GAP = 16
"""Bytes that are equal between two that differ are stored, too, if they are not more than this."""


def describe_old(old: Path, new: Path) -> dict[str, Any]:
    """Return, ready for JSON, how the old file is made of the new one.

    Returns
    -------
    dict
        ``size`` of the old file in bytes; ``copies``, each [place in the old file, length, place
        in the new one]; ``pieces``, each [place, length], whose bytes ``bytes`` holds, compressed.
    """
    was, now = _mapped(old), _mapped(new)
    copies: list[list[int]] = []
    pieces: list[list[int]] = []
    kept = []
    for start in range(0, len(was), _BLOCK):
        block = was[start : start + _BLOCK]
        shifts = dict.fromkeys((0, len(now) - len(was)))
        masks = {shift: _differs(block, now, start + shift) for shift in shifts}
        shift = min(masks, key=lambda each: int(masks[each].sum()))
        _add_copy(copies, start, len(block), shift, len(now))
        for first, last in _runs(masks[shift]):
            pieces.append([start + first, last - first])
            kept.append(block[first:last].tobytes())
    packed = base64.b64encode(zlib.compress(b"".join(kept))).decode("ascii")
    return {"size": len(was), "copies": copies, "pieces": pieces, "bytes": packed}


def write_old(described: dict[str, Any], new: Path, place: Path) -> None:
    """Write the old file to ``place``, made of the new one and of what was stored of it."""
    kept = zlib.decompress(base64.b64decode(described["bytes"]))
    with new.open("rb") as source, place.open("wb") as file:
        file.truncate(described["size"])
        for start, length, taken in described["copies"]:
            file.seek(start)
            source.seek(taken)
            _copy(source, file, length)
        at = 0
        for start, length in described["pieces"]:
            file.seek(start)
            file.write(kept[at : at + length])
            at += length
        flush_to_disk(file)


def _mapped(path: Path) -> NDArray[np.uint8]:
    if path.stat().st_size == 0:
        return np.zeros(0, np.uint8)
    return np.memmap(path, np.uint8, "r")


def _differs(block: NDArray[np.uint8], now: NDArray[np.uint8], start: int) -> NDArray[np.bool_]:
    mask = np.ones(len(block), bool)
    first, last = max(0, -start), min(len(block), len(now) - start)
    if first < last:
        mask[first:last] = block[first:last] != now[start + first : start + last]
    return mask


def _add_copy(copies: list[list[int]], start: int, length: int, shift: int, size: int) -> None:
    first, last = max(start, -shift), min(start + length, size - shift)
    if first >= last:
        return
    if copies and copies[-1][0] + copies[-1][1] == first and copies[-1][2] - copies[-1][0] == shift:
        copies[-1][1] += last - first
    else:
        copies.append([first, last - first, first + shift])


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    places = np.flatnonzero(mask)
    if not len(places):
        return []
    breaks = np.flatnonzero(np.diff(places) > _GAP)
    firsts = places[np.concatenate(([0], breaks + 1))]
    lasts = places[np.concatenate((breaks, [len(places) - 1]))]
    return [(int(first), int(last) + 1) for first, last in zip(firsts, lasts, strict=True)]


def _copy(source: BinaryIO, file: BinaryIO, length: int) -> None:
    while length:
        content = source.read(min(length, 2**20))
        if not content:
            raise OSError("the file is shorter than it was")
        file.write(content)
        length -= len(content)
