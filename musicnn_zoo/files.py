"""Check outputs, write files that are whole after a crash, and read files of unknown origin."""

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

from musicnn_zoo.errors import ArgumentError, MusicnnZooError, OutputError, WeightsError
from musicnn_zoo.text import first_line

T = TypeVar("T")
Kinds = type[BaseException] | tuple[type[BaseException], ...]

LOCK_PATIENCE_S = 2.0
"""How long a lock is waited for.

A process that a killed run was just starting holds its locks until it is another program.
"""


class GrowingFile:
    """A file that grows by whole records, each in one unbuffered write.

    It is made if it does not exist. What was appended survives a kill of the process; after
    :meth:`sync` it survives a power loss.
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
def raising(
    kind: type[MusicnnZooError], what: str, *, instead_of: Kinds = OSError
) -> Iterator[None]:
    """Raise an error of this package instead of others: ``WHAT (the reason)``.

    For instance ``raising(OutputError, f"{path}: cannot be written")``.
    """
    try:
        yield
    except instead_of as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise kind(f"{what} ({reason})") from error


@contextmanager
def replacing(
    path: Path, unfinished: Path | None = None, *, failure: str | None = None
) -> Iterator[BinaryIO]:
    """Open a file for writing; at the end it takes the place of ``path``, whole and on the disk.

    Until then it is ``unfinished``, by default ``<name>.unfinished`` beside ``path``. With
    ``failure``, such as "the page cannot be written", an :class:`OSError` becomes an
    :class:`~musicnn_zoo.errors.OutputError` that says so.
    """
    unfinished = unfinished or path.with_name(f"{path.name}.unfinished")
    kinds: Kinds = () if failure is None else OSError
    with raising(OutputError, f"{path}: {failure}", instead_of=kinds):
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


def mode_at(path: str | os.PathLike[str]) -> int | None:
    """Return the ``st_mode`` of what is at a path; None if nothing is there that can be seen."""
    try:
        return Path(path).stat().st_mode
    except (OSError, ValueError):
        return None


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


@contextmanager
def locked(path: Path, *, busy: str, failure: str) -> Iterator[None]:
    """Hold a lock file; raise an :class:`~musicnn_zoo.errors.ArgumentError` where another does.

    ``busy`` says so then, and ``failure`` that the lock file cannot be made.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=LOCK_PATIENCE_S, thread_local=False)  # any thread may release it
    with raising(OutputError, failure):
        path.touch()  # a file that may not be made looks to filelock like one that is held
        try:
            lock.acquire()
        except Timeout as error:
            raise ArgumentError(busy) from error
    try:
        yield
    finally:
        lock.release()


def check_parent(output: Path) -> None:
    """Refuse an output in a folder that does not exist."""
    if not output.parent.is_dir():
        raise ArgumentError(f"output {str(output)!r}: there is no folder {str(output.parent)!r}")


def check_writable(output: Path) -> None:
    """Refuse an output that cannot become a file, before any work is done for it."""
    if output.is_dir():
        raise ArgumentError(f"output {str(output)!r} is a directory; name a file")
    check_parent(output)
    if output.is_symlink() and not output.exists():
        return
    created = not output.exists()
    with raising(ArgumentError, f"output {str(output)!r} cannot be written"):
        output.open("ab").close()
        if created:
            output.unlink()


def check_ending(path: str | os.PathLike[str], endings: tuple[str, ...]) -> Path:
    """Refuse an output that has another ending or cannot become a file."""
    place = Path(path)
    if place.suffix.lower() not in endings:
        raise ArgumentError(f"output {os.fspath(path)!r} must end in {', '.join(endings)}")
    check_writable(place)
    return place


_WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""So that opening a pipe that nobody writes to does not wait forever."""


def check_regular(path: Path, *, largest: int, origin: str) -> None:
    """See that a path is a regular file, or a link to one, of at most ``largest`` bytes.

    It is not read. The :class:`~musicnn_zoo.errors.WeightsError` calls the file ``origin``.
    """
    with raising(WeightsError, f"{origin}: cannot be read", instead_of=(OSError, ValueError)):
        status = path.stat()
    _check(status, largest, origin)


def read_regular(path: Path, *, largest: int, origin: str) -> bytes:
    """Read a file that passes :func:`check_regular`; it never waits for a pipe."""
    check_regular(path, largest=largest, origin=origin)
    with raising(WeightsError, f"{origin}: cannot be read", instead_of=(OSError, ValueError)):
        descriptor = os.open(path, os.O_RDONLY | _WITHOUT_WAITING)
        with open(descriptor, "rb") as file:  # noqa: PTH123
            _check(os.fstat(file.fileno()), largest, origin)
            content = file.read(largest + 1)
    if len(content) > largest:
        raise WeightsError(_too_large(origin, len(content), largest))
    return content


def parse_json(content: bytes, *, origin: str) -> Any:
    """Parse JSON in UTF-8; a :class:`~musicnn_zoo.errors.WeightsError` refuses all else.

    Refused are also NaN, infinite numbers, keys that come twice, and JSON that is too deep.
    """
    kinds = (ValueError, RecursionError)
    with raising(WeightsError, f"{origin}: this is not JSON", instead_of=kinds):
        return json.loads(
            content.decode("utf-8"),
            parse_constant=_no_number,
            parse_float=_finite,
            object_pairs_hook=_without_repetition,
        )


def _check(status: os.stat_result, largest: int, origin: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise WeightsError(
            f"{origin}: this must be a regular file, and it is {kind_of(status.st_mode)}"
        )
    if status.st_size > largest:
        raise WeightsError(_too_large(origin, status.st_size, largest))


def kind_of(mode: int) -> str:
    """Say what something is that is no regular file, from its ``st_mode``."""
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _too_large(origin: str, size: int, largest: int) -> str:
    return f"{origin}: the file has {size:,} bytes; at most {largest:,} are read"


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
