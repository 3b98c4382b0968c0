"""Read what a stranger may have written: regular files of bounded size, and strict JSON."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

from musicnn_zoo.errors import WeightsError

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
