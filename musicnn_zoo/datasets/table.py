"""A CSV or TSV of audio files and their tags, in the forms that people have."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from musicnn_zoo.datasets.dataset import SPLITS, Dataset, Untagged, split_name
from musicnn_zoo.datasets.report import DatasetError, Findings, announce
from musicnn_zoo.datasets.rows import TextTable, columns_of, read_table
from musicnn_zoo.datasets.spelling import clean, normal_form, spellings
from musicnn_zoo.datasets.tracks import Track, assemble, judge_classes, merge_repeated

COLUMNS = {
    "path": ("path", "file", "filename", "filepath"),
    "tags": ("tags", "tag", "labels", "label", "classes", "class"),
    "group": ("group", "artist", "album"),
    "split": ("split", "subset"),
}
"""Names of columns by what they hold, in any case."""

_YES = frozenset({"1", "1.0", "true"})
_NO = frozenset({"0", "0.0", "false", ""})


def from_table(
    path: str | os.PathLike[str],
    *,
    audio_root: str | os.PathLike[str] | None = None,
    name: str | None = None,
    tags: Sequence[str] | None = None,
    separators: str | None = None,
    ignore: Sequence[str] = (),
    untagged: Untagged = "drop",
    check_files: bool = True,
) -> Dataset:
    r"""Read a table of files and tags.

    The first line names the columns, in any case. One is ``path``, ``file``, ``filename`` or
    ``filepath``. The tags stand in one of three forms:

    * several in a cell of ``tags`` (or ``tag``, ``label``, ``labels``, ``class``, ``classes``),
      parted by ``;`` or ``|``, or by a comma where commas do not part the columns;
    * one in such a cell, with a row for each tag of a file;
    * one column a tag, with 0 or 1, ``true`` or ``false``; empty is 0.

    Optional are ``artist``, ``album`` or ``group`` (what a split must not tear apart) and
    ``split`` or ``subset`` (train, validation or test, also written training, val, valid, dev,
    testing). A column without a name, as pandas writes its index, is ignored.

    Rows of one file are put together. Tags that differ only in case, or in spaces, hyphens and
    underscores between words, become the most frequent spelling.

    Parameters
    ----------
    path : path
        CSV or TSV, UTF-8; see :func:`musicnn_zoo.datasets.rows.read_rows` for the delimiter.
    audio_root : path, optional
        Where relative paths start; by default the folder of the table. Backslashes are taken
        for slashes where there is no such file otherwise.
    name : str, optional
        By default that of the file.
    tags : sequence of str, optional
        The vocabulary and its order, as for evaluating a model; other tags are ignored. By
        default all there are: columns in their order, else sorted.
    separators : str, optional
        Characters that part tags in a cell, instead of the above.
    ignore : sequence of str
        Columns that mean nothing here.
    untagged : {"drop", "keep"}
        What becomes of files without a tag: left out, or kept as examples of no tag.
    check_files : bool
        Whether to look for the files and leave out those that are missing or empty.

    Returns
    -------
    Dataset

    Raises
    ------
    DatasetError
        If the table cannot be read, if a column is unknown or missing, if a split has another
        name, or if nothing is left.

    Warns
    -----
    DatasetWarning
        Of everything that was left out or merged.
    """
    found = Findings()
    table = read_table(path, found)
    name = name or table.path.stem
    root = Path(audio_root) if audio_root is not None else table.path.parent
    ignored = _ignored(table, ignore)
    columns = columns_of(table, COLUMNS, ignored)
    rest = [at for at in range(len(table.header)) if at not in {*columns.values(), *ignored}]
    if "path" not in columns:
        raise DatasetError(f"{table.path}: has no column of paths; {_explanation(table)}")
    if "tags" in columns and rest:
        unknown = ", ".join(repr(table.header[position]) for position in rest)
        raise DatasetError(
            f"{table.path}: does not know what to do with {unknown}; {_explanation(table)}. "
            f"Pass ignore=({unknown},) if this means nothing here"
        )
    if "tags" not in columns:
        _refuse_other_than_tags(table, rest)
    if separators is None:
        separators = ";|" if table.delimiter == "," else ";|,"
    read = list(_tracks(table, columns, rest, root, separators, check_files, found))
    merged = merge_repeated(_one_spelling(read, tags, found), found)
    order = tags
    if order is None and "tags" not in columns:
        chosen = {normal_form(tag): tag for track in merged for tag in track.tags}
        headings = [clean(table.header[position]) for position in rest]
        order = [chosen.setdefault(normal_form(heading), heading) for heading in headings]
    dataset = assemble(
        name, merged, found, vocabulary=order, untagged=untagged, check_files=check_files
    )
    dataset = judge_classes(dataset)
    announce(name, dataset.report)
    return dataset


def resolve(root: Path, text: str, *, check_files: bool = True) -> str:
    """Return where a path of a table points, seen from ``root``."""
    path = root / text
    if check_files and "\\" in text and not path.exists():
        path = root / text.replace("\\", "/")
    return str(path)


def read_split(text: str, where: str) -> str | None:
    """Return which split a cell names, None if it is empty."""
    if not text.strip():
        return None
    split = split_name(text)
    if split is None:
        raise DatasetError(f"{where}: a split must be one of {', '.join(SPLITS)}; found {text!r}")
    return split


def cut(cell: str, separators: str) -> tuple[str, ...]:
    """Part a cell into its tags, each once."""
    for separator in separators:
        cell = cell.replace(separator, "\n")
    return tuple(dict.fromkeys(tag for part in cell.split("\n") if (tag := clean(part))))


def _ignored(table: TextTable, ignore: Sequence[str]) -> set[int]:
    positions = {name.casefold(): at for at, name in enumerate(table.header) if name}
    for name in ignore:
        if name.strip().casefold() not in positions:
            raise DatasetError(
                f"{table.path}: has no column {name!r} to ignore; {_explanation(table)}"
            )
    nameless = {at for at, name in enumerate(table.header) if not name}
    return nameless | {positions[name.strip().casefold()] for name in ignore}


def _refuse_other_than_tags(table: TextTable, rest: list[int]) -> None:
    if not rest:
        raise DatasetError(f"{table.path}: has no column of tags; {_explanation(table)}")
    for position in rest:
        cells = [row[position].strip().casefold() for _, row in table.rows]
        strange = [cell for cell in cells if cell not in _YES and cell not in _NO]
        if 2 * len(strange) > len(cells):
            raise DatasetError(
                f"{table.path}: column {table.header[position]!r} is no column of a tag: it holds "
                f"{strange[0]!r}, not 0 or 1; {_explanation(table)}. "
                f"Pass ignore=({table.header[position]!r},) if it means nothing here"
            )


def _explanation(table: TextTable) -> str:
    accepted = "; ".join(f"{role}: {', '.join(names)}" for role, names in COLUMNS.items())
    return (
        f"its columns are {', '.join(map(repr, table.header))}. The first line must name them: "
        f"{accepted}; or, instead of tags, one column of 0 and 1 for each tag"
    )


def _tracks(
    table: TextTable,
    columns: dict[str, int],
    rest: list[int],
    root: Path,
    separators: str,
    check_files: bool,
    found: Findings,
) -> Iterator[tuple[str, Track]]:
    commas: dict[str, None] = {}
    groups: dict[str, str] = {}
    for line, cells in table.rows:
        where = table.where(line)
        text = cells[columns["path"]].strip()
        if not text:
            found.add("unreadable_rows", f"{where}: no path")
            continue
        if "tags" in columns:
            tags = cut(cells[columns["tags"]], separators)
            commas.update(dict.fromkeys(tag for tag in tags if "," in tag))
        else:
            answers = {position: cells[position].strip().casefold() for position in rest}
            strange = [cell for cell in answers.values() if cell not in _YES and cell not in _NO]
            if strange:
                found.add("unreadable_rows", f"{where}: {strange[0]!r} is neither 0 nor 1")
                continue
            tags = tuple(clean(table.header[at]) for at, cell in answers.items() if cell in _YES)
        group = clean(cells[columns["group"]]) if "group" in columns else ""
        yield (
            where,
            Track(
                resolve(root, text, check_files=check_files),
                tags,
                groups.setdefault(normal_form(group), group) or None,
                read_split(cells[columns["split"]], where) if "split" in columns else None,
            ),
        )
    found.add("commas", *commas)


def _one_spelling(
    rows: list[tuple[str, Track]], vocabulary: Sequence[str] | None, found: Findings
) -> list[tuple[str, Track]]:
    used = Counter(tag for _, track in rows for tag in track.tags)
    chosen = spellings(used, found, vocabulary or ())
    return [
        (where, track._replace(tags=tuple(dict.fromkeys(chosen[tag] for tag in track.tags))))
        for where, track in rows
    ]
