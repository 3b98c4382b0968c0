r"""Text that every terminal, reader and spreadsheet accepts: escapes, layout, and cells of CSV.

A byte of a file name that is not UTF-8 (on Windows, half of a character) is a surrogate in a
Python string. It is written as the escape of it that Python and JSON know: ``caf\udce9.mp3``. A
backslash that begins such an escape in the name itself is written as ``\u005c``. All other names
are written as they are.
"""

from __future__ import annotations

import csv
import io
import os
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

NAME_WIDTH = 16
"""Columns that a name may take at least."""
_WIDTH = 80


def printable(text: str) -> str:
    """Escape what a terminal would take for a command, and bytes that are no characters."""
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text
    )


def folded(text: str) -> str:
    """Return what is compared where neither capitals nor the Unicode form count.

    A letter with an accent can be one character or two; names of files from macOS often have two.
    """
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


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


def first_line(said: BaseException | str) -> str:
    """First line of a text or of what an error says, which is its type if it says nothing."""
    return (str(said).strip().splitlines() or [type(said).__name__])[0]


def count(number: int, what: str) -> str:
    """Write a number with its noun: ``1 track``, ``5,329 tracks``."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


_NOT_TEXT = re.compile(r"[\ud800-\udfff]|\\(?=u(?:d[89a-f][0-9a-f]{2}|005c))")
_ESCAPE = re.compile(r"\\u(d[89a-f][0-9a-f]{2}|005c)")


def path_to_text(path: str | os.PathLike[str]) -> str:
    r"""Write a path as text that is valid in UTF-8 and says exactly which path it is.

    Examples
    --------
    >>> print(path_to_text(os.fsdecode(b"caf\xe9.mp3")))
    caf\udce9.mp3
    """
    return _NOT_TEXT.sub(lambda found: f"\\u{ord(found[0]):04x}", os.fspath(path))


def path_from_text(text: str) -> str:
    r"""Return the path of a ``source`` in an output.

    Examples
    --------
    >>> path_from_text(r"caf\udce9.mp3") == os.fsdecode(b"caf\xe9.mp3")
    True
    """
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the start of a formula."""


def csv_lines(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as the lines of a CSV."""
    lines = []
    for row in rows:
        # The csv module quotes a carriage return only if its line terminator has one.
        line = io.StringIO()
        csv.writer(line, lineterminator="\r\n").writerow(row)
        lines.append(line.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines)


def safe_cell(text: str) -> str:
    """Keep a spreadsheet from taking a text for a formula; a file name stays a valid path."""
    return f"./{text}" if text.startswith(_FORMULA) else text


def path_cell(path: str) -> str:
    """Write a path as a cell; :func:`path_from_text` goes back."""
    return safe_cell(path_to_text(path))


def safe_tag(tag: str) -> str:
    """Escape control characters of a tag; an apostrophe, which a spreadsheet hides, stops formulas.

    A spreadsheet takes ``=1+1`` for a formula, but not ``'=1+1``.
    """
    tag = printable(tag)
    return f"'{tag}" if tag.startswith(_FORMULA) else tag
