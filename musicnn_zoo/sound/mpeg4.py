"""Edit lists of MPEG-4 and QuickTime files of which an edit states no duration.

Such an edit lasts to the end of the sound (ISO 14496-12, 8.6.6). FFmpeg takes it for one of 0 s and
gives nothing; so it is told a duration that no recording has.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from musicnn_zoo.sound.parts import Patched
from musicnn_zoo.sound.statements import reading_beside

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
