"""FLAC files that were joined, each with a rate and channels of its own (RFC 9639)."""

from __future__ import annotations

from typing import BinaryIO

from musicnn_zoo.decoding.mpeg import end_of_id3
from musicnn_zoo.decoding.statements import reading_beside

_MARKER = b"fLaC"
_STREAM_INFO = (b"\0\0\0\x22", b"\x80\0\0\x22")
"""Head of the block that follows the marker: its kind, whether it is the last, and its length."""
_HEAD = len(_MARKER) + len(_STREAM_INFO[0])
_SEARCHED = 1 << 20
_MOST_PARTS = 1 << 12


def find_joined(opened: str | BinaryIO) -> list[int]:
    """Return where the parts of a file of several FLACs begin; nothing for another file.

    FFmpeg's parser gives frames twice where both rate and channels change.
    """
    parts: list[int] = []
    with reading_beside(opened) as file:
        start = end_of_id3(file)
        file.seek(start)
        if file.read(len(_MARKER)) != _MARKER:
            return []
        file.seek(start)
        rest = b""
        while len(parts) < _MOST_PARTS and (block := file.read(_SEARCHED)):
            searched = rest + block
            at = searched.find(_MARKER)
            while 0 <= at <= len(searched) - _HEAD:
                if searched.startswith(_STREAM_INFO, at + len(_MARKER)):
                    parts.append(start + at)
                at = searched.find(_MARKER, at + 1)
            rest = searched[-(_HEAD - 1) :]
            start += len(searched) - len(rest)
    return parts if len(parts) > 1 else []
