"""Scripts and styles for browsers, and several modules of a script as one."""

from __future__ import annotations

import posixpath
import re
from importlib import resources

_IMPORT = re.compile(r'^import (\{[^}]*\}) from "(\.[^"]*)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async function|function|class|const) (\w+))", re.MULTILINE)
_OTHER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


def read_asset(place: str) -> str:
    """Return a file of the package: a template, a style or a script."""
    return resources.files("musicnn_zoo").joinpath(place).read_text(encoding="utf-8")


def joined_modules(entry: str) -> str:
    """Put a module and all that it imports into one script, which can stand in a page.

    Each module becomes a function that is called once and returns what it exports, so that names
    of two modules do not meet. Modules import names of files beside them only
    (``import { a, b } from "./c.js";``), and export functions, classes and constants where they
    are declared.

    Parameters
    ----------
    entry : str
        Place in the package, such as ``listening/page.js``.

    Raises
    ------
    ValueError
        If modules import each other in a circle, or in another form.
    """
    names: dict[str, str] = {}
    parts: list[str] = []
    _add(entry, names, parts, ())
    return "\n".join(['"use strict";', *parts, ""])


def _add(place: str, names: dict[str, str], parts: list[str], above: tuple[str, ...]) -> None:
    if place in above:
        raise ValueError(f"a circle: {' imports '.join([*above, place])}")
    if place in names:
        return
    text = read_asset(place)

    def named(found: re.Match[str]) -> str:
        imported = posixpath.normpath(posixpath.join(posixpath.dirname(place), found[2]))
        _add(imported, names, parts, (*above, place))
        return f"const {found[1].replace(' as ', ': ')} = {names[imported]};"

    body = _IMPORT.sub(named, text)
    exported = [found[1] for found in _EXPORT.finditer(body)]
    body = _EXPORT.sub("", body)
    if left := _OTHER.search(body):
        raise ValueError(f"{place}: {left[0]!r} cannot be joined")
    names[place] = f"module{len(names)}"
    parts.append(
        f"const {names[place]} = (() => {{\n{body.strip()}\n"
        f"return {{ {', '.join(exported)} }};\n}})();"
    )
