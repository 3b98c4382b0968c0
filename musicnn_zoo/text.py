r"""Paths as text that every reader reads: file names need not be text, outputs must be.

A byte of a file name that is not UTF-8 (on Windows, half of a character) is a surrogate in a
Python string. It is written as the escape of it that Python and JSON know: ``caf\udce9.mp3``. A
backslash that begins such an escape in the name itself is written as ``\u005c``. All other names
are written as they are.
"""

from __future__ import annotations

import os
import re

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
