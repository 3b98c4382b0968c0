"""Read what strangers wrote, and write files that are whole after a crash."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from musicnn_zoo.errors import WeightsError

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


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


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


_WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""So that opening a pipe that nobody writes to does not wait for ever."""


def check_regular(path: Path, *, largest: int, origin: str) -> None:
    """See that a path is a regular file of bounded size, or a link to one, without reading it.

    Parameters
    ----------
    path : Path
    largest : int
        In bytes.
    origin : str
        What to call the file in messages.

    Raises
    ------
    WeightsError
        If it is something else, or larger.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise WeightsError(f"{origin}: cannot be read ({_reason(error)})") from error
    _check(status, largest, origin)


def read_regular(path: Path, *, largest: int, origin: str) -> bytes:
    """Read a file that :func:`check_regular` lets pass; it never waits for a pipe.

    Raises
    ------
    WeightsError
        If the file cannot be read, is no regular file, or is larger.
    """
    check_regular(path, largest=largest, origin=origin)
    try:
        descriptor = os.open(path, os.O_RDONLY | _WITHOUT_WAITING)
        with open(descriptor, "rb") as file:  # noqa: PTH123
            _check(os.fstat(file.fileno()), largest, origin)
            content = file.read(largest + 1)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{origin}: cannot be read ({_reason(error)})") from error
    if len(content) > largest:
        raise WeightsError(_too_large(origin, len(content), largest))
    return content


def parse_json(content: bytes, *, origin: str) -> Any:
    """Parse JSON in UTF-8, and refuse what the standard does not have or leaves open.

    Raises
    ------
    WeightsError
        If it is no JSON, has NaN or an infinite number, names a key twice, or is too deep.
    """
    try:
        return json.loads(
            content.decode("utf-8"),
            parse_constant=_no_number,
            parse_float=_finite,
            object_pairs_hook=_without_repetition,
        )
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{origin}: this is not JSON ({error})") from error


def _check(status: os.stat_result, largest: int, origin: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise WeightsError(f"{origin}: this must be a regular file, and it is {_kind(status)}")
    if status.st_size > largest:
        raise WeightsError(_too_large(origin, status.st_size, largest))


def _kind(status: os.stat_result) -> str:
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(status.st_mode)), "a device")


def _too_large(origin: str, size: int, largest: int) -> str:
    return f"{origin}: the file has {size:,} bytes; at most {largest:,} are read"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is too large")
    return number


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"{twice[:40]!r} is there twice")
    return found
