"""Draw the rooms of the package and what they import: ``pictures/house.svg``.

    python docs/house.py [--check]

A room is a folder of ``musicnn_zoo`` or a module beside them. Imports inside functions and those
for types count like all others. An arrow that follows from two others is left out of the picture.
With ``--check`` nothing is written: imports against the order of the rooms, circles, and a picture
that is out of date are named, and the exit status is 1.
"""

from __future__ import annotations

import ast
import html
import re
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "musicnn_zoo"
PICTURE = DOCS / "pictures" / "house.svg"

ROOMS = (
    "errors", "text", "files", "machine", "sound", "networks", "plots", "zoo", "runtimes",
    "tagging", "library", "datasets", "augmentation", "training", "evaluation", "web", "listening",
    "cli", "hear", "__main__", "__init__",
)  # fmt: skip
"""From the ground up: each may import those before it."""

_NAMED = re.compile(r"musicnn_zoo((?:\.\w+)+)(?::\w+)?")
_WIDTH, _HEIGHT, _ACROSS, _UP, _EDGE = 212, 26, 26, 58, 20
_LINE = 15
_HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
height="{height}" font-family="sans-serif" role="img">
<title>The rooms of musicnn_zoo and what they import</title>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" \
orient="auto"><path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>
<rect width="{width}" height="{height}" fill="white"/>
"""


class Import(NamedTuple):
    """One import: which module has it, in which line, and what it imports."""

    module: str
    line: int
    imported: str


def modules() -> dict[str, Path]:
    """Return the modules by their names without the package; a folder is its ``__init__``."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def room_of(module: str) -> str:
    """Return the room of a module."""
    return module.partition(".")[0]


def imports() -> Iterator[Import]:
    """Find every import of the package in itself, and modules that are named in a string."""
    known = modules()
    for module, path in known.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found = {_nearest(name, known) for name in _imported(node)}
            for name in sorted(found - {module}):
                yield Import(module, node.lineno, name)


def _nearest(name: str, known: Collection[str]) -> str:
    """Return the module that a dotted name is, or is in; the package itself is ``__init__``."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or "__init__"


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        named = _NAMED.fullmatch(node.value)
        names = [f"musicnn_zoo{named[1]}"] if named else []
    else:
        names = []
    return [name.removeprefix("musicnn_zoo").lstrip(".") for name in names if _is_ours(name)]


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] == "musicnn_zoo"


def faults(found: list[Import]) -> list[str]:
    """Say which rooms have no place, which imports go up, and which go round in a room."""
    order = {room: place for place, room in enumerate(ROOMS)}
    said = [f"{room} is not in ROOMS" for room in sorted({*map(room_of, modules())} - {*order})]
    inside: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for module, line, imported in found:
        here, there = room_of(module), room_of(imported)
        if here == there:
            inside[here][module].add(imported)
        elif {here, there} <= {*order} and order[there] > order[here]:
            said.append(f"{module}, line {line}: imports {imported}, which stands above it")
    for graph in inside.values():
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            said.append(f"a circle: {' imports '.join(reversed(error.args[1]))}")
    return said


def arrows(found: list[Import]) -> dict[str, set[str]]:
    """Return what each room imports, without what follows from other arrows."""
    direct: dict[str, set[str]] = {room: set() for room in ROOMS}
    for module, _, imported in found:
        if room_of(module) != room_of(imported):
            direct[room_of(module)].add(room_of(imported))
    reached: dict[str, set[str]] = {}
    for room in ROOMS:
        reached[room] = direct[room].union(*(reached.get(below, set()) for below in direct[room]))
    return {
        room: {below for below in belows if not any(below in reached[other] for other in belows)}
        for room, belows in direct.items()
    }


def picture(found: list[Import]) -> str:
    """Draw the house as SVG, the ground at the bottom."""
    drawn = arrows(found)
    rooms = [room for room in ROOMS if not room.startswith("__")]
    inside: dict[str, list[str]] = {room: [] for room in rooms}
    for module in modules():
        if "." in module:
            inside[room_of(module)].append(module.partition(".")[2])
    floor: dict[str, int] = {}
    for room in rooms:
        floor[room] = max((floor[below] + 1 for below in drawn[room]), default=0)
    floors: list[list[str]] = [[] for _ in range(max(floor.values()) + 1)]
    for room in rooms:
        floors[floor[room]].append(room)
    texts = {room: _wrapped(inside[room]) for room in rooms}
    heights = [max(_HEIGHT + _LINE * len(texts[room]) for room in level) for level in floors]
    width = 2 * _EDGE + max(len(level) for level in floors) * (_WIDTH + _ACROSS) - _ACROSS
    height = 2 * _EDGE + sum(heights) + _UP * (len(floors) - 1)
    place: dict[str, tuple[float, float, float]] = {}
    y = float(height - _EDGE)
    for level, tall in zip(floors, heights, strict=True):
        taken = len(level) * (_WIDTH + _ACROSS) - _ACROSS
        for index, room in enumerate(level):
            own = _HEIGHT + _LINE * len(texts[room])
            place[room] = (width - taken) / 2 + index * (_WIDTH + _ACROSS), y - own, own
        y -= tall + _UP
    lines = _HEAD.format(width=width, height=height).splitlines()
    for room in rooms:
        x, top, own = place[room]
        for below in sorted(drawn[room]):
            x2, top2, _ = place[below]
            x1, y1, x2 = x + _WIDTH / 2, top + own, x2 + _WIDTH / 2
            lines.append(
                f'<path d="M{x1:g} {y1:g}C{x1:g} {y1 + 40:g} {x2:g} {top2 - 40:g} {x2:g} '
                f'{top2 - 2:g}" fill="none" stroke="#555" marker-end="url(#tip)"/>'
            )
    for room in rooms:
        x, top, own = place[room]
        name = f"{room}/" if inside[room] else f"{room}.py"
        lines.append(
            f'<rect x="{x:g}" y="{top:g}" width="{_WIDTH}" height="{own:g}" rx="6" '
            'fill="#eaf2f8" stroke="#0072B2"/>'
            f'<text x="{x + 10:g}" y="{top + 18:g}" font-size="14" font-weight="bold">'
            f"{html.escape(name)}</text>"
        )
        for row, text in enumerate(texts[room], 1):
            lines.append(
                f'<text x="{x + 10:g}" y="{top + 17 + row * _LINE:g}" font-size="11" '
                f'fill="#333">{html.escape(text)}</text>'
            )
    return "\n".join([*lines, "</svg>", ""])


def _wrapped(names: list[str], width: int = 33) -> list[str]:
    """Put names into lines of at most about ``width`` characters."""
    lines = [""]
    for name in names:
        if lines[-1] and len(lines[-1]) + len(name) > width:
            lines.append("")
        lines[-1] += f"{name}  "
    return [line.strip() for line in lines if line]


def main() -> None:
    """Write the picture, or check it and the imports."""
    found = list(imports())
    drawn = picture(found)
    if "--check" not in sys.argv[1:]:
        PICTURE.write_text(drawn, encoding="utf-8")
        return
    said = faults(found)
    if not PICTURE.exists() or PICTURE.read_text(encoding="utf-8") != drawn:
        said.append("docs/pictures/house.svg is out of date: python docs/house.py")
    sys.exit("\n".join(said) or 0)


if __name__ == "__main__":
    main()
