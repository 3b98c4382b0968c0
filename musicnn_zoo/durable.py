"""Files that are whole after a crash."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

T = TypeVar("T")


class GrowingFile:
    """A file that grows by whole records, each in one unbuffered write.

    What the operating system has taken survives the death of the process; :meth:`sync` makes
    it survive a power loss.

    Parameters
    ----------
    path : Path
        Made if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self.end = os.fstat(self._file.fileno()).st_size

    def append(self, record: bytes) -> None:
        """Write a record, or leave the file as it was."""
        start = self.end
        left = memoryview(record)
        try:
            while left:
                left = left[self._file.write(left) :]
            self.end = start + len(record)
        except BaseException:
            with suppress(OSError):
                self.cut(start)
            raise

    def cut(self, end: int) -> None:
        """Shorten the file to ``end`` bytes."""
        self._file.truncate(end)
        self.end = end

    def sync(self) -> None:
        """Make sure that all of it is on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextmanager
def replacing(path: Path, unfinished: Path) -> Iterator[BinaryIO]:
    """Open ``unfinished`` for writing; at the end it takes the place of ``path``, whole."""
    try:
        with unfinished.open("wb") as file:
            yield file
            flush_to_disk(file)
        unfinished.replace(path)
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


def flush_to_disk(file: BinaryIO) -> None:
    """Make sure that what was written is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Make sure that the names in a folder are on the disk."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def json_line(record: dict[str, Any]) -> bytes:
    """Return a record as a line of ASCII; surrogates in file names are escaped."""
    return json.dumps(record).encode("ascii") + b"\n"


def read_lines(path: Path, parse: Callable[[dict[str, Any]], T]) -> list[tuple[T, int]]:
    """Read JSON lines up to the first that is torn or damaged; each with where it ends."""
    records = []
    end = 0
    with suppress(FileNotFoundError, ValueError, TypeError, KeyError), path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            record = parse(json.loads(line))
            end += len(line)
            records.append((record, end))
    return records
