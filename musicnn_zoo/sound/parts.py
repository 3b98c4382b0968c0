"""Files made of other files: some of their bytes, or other bytes at some places."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import BinaryIO


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
