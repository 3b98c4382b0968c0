"""Text for a terminal: what may stand there, times, aligned columns, wrapped sentences."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

NAME_WIDTH = 16
"""Columns that a name may take at least."""
_WIDTH = 80
_LONGEST_SHOWN = 200


def printable(text: str) -> str:
    """Escape what a terminal would take for a command, and bytes that are no characters."""
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text
    )


def clock(seconds: float) -> str:
    """Write seconds as minutes and seconds: 62.8 becomes ``1:02.8``."""
    minutes, tenths = divmod(round(seconds * 10), 600)
    return f"{minutes}:{tenths / 10:04.1f}"


def aligned(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Align columns, the first to the left; what is in it is shortened to fit the width."""
    columns = list(zip(head, *rows, strict=True))
    names = [printable(name) for name in columns[0]]
    widths = [max(map(len, column)) for column in (names, *columns[1:])]
    widths[0] = min(widths[0], max(NAME_WIDTH, _WIDTH - sum(widths[1:]) - 2 * len(widths)))
    return [
        "  ".join(
            ["", f"{shortened(name, widths[0]):{widths[0]}}"]
            + [f"{cell:>{width}}" for cell, width in zip(cells[1:], widths[1:], strict=True)]
        )
        for name, cells in zip(names, (head, *rows), strict=True)
    ]


def statements(conventions: Mapping[str, str]) -> list[str]:
    """Write out sentences by what they are about, wrapped to the width of a terminal."""
    return [
        line
        for name, statement in conventions.items()
        for line in textwrap.wrap(printable(f"{name}: {statement}"), _WIDTH, subsequent_indent="  ")
    ]


def shortened(name: str, width: int) -> str:
    """Take out the middle of what is too long: names often begin alike."""
    if len(name) <= width:
        return name
    kept = (width - 1) // 3
    return f"{name[:kept]}…{name[kept + 1 - width :]}"


def count(number: int, what: str) -> str:
    """Write a number with its noun: ``1 track``, ``5,329 tracks``."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def shown(value: object) -> str:
    """Write a value for a message, in short."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, a list in itself
        text = f"a {type(value).__name__}"
    return shortened(text, _LONGEST_SHOWN)
