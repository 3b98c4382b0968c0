"""A CSV or TSV of audio files and their tags, in the forms that people have."""

from __future__ import annotations

import csv
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from musicnn_zoo.datasets.dataset import (
    SPLITS,
    Dataset,
    DatasetError,
    Findings,
    Track,
    Untagged,
    assemble,
    audio_folder,
    merge_repeated,
    split_name,
)
from musicnn_zoo.errors import answered, check_path
from musicnn_zoo.sound.remote import Address, as_address

_DELIMITERS = (",", "\t", ";", "|")
_TAB_ENDINGS = (".tsv", ".tab")


@dataclass(frozen=True)
class TextTable:
    """A table as it was read.

    ``header`` has the trimmed names of the columns, ``rows`` the cells of each row below it and
    what the report calls the row.
    """

    path: Path
    delimiter: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, list[str]], ...]


def read_rows(
    path: str | os.PathLike[str], *, delimiter: str | None = None, quoted: bool = True
) -> tuple[str, list[tuple[int, list[str]]]]:
    """Read a table without looking at what it means; lines without content do not count.

    Parameters
    ----------
    path : path
        UTF-8, with or without a byte order mark.
    delimiter : str, optional
        By default a tab if the name ends in ``.tsv`` or ``.tab`` and the first line has one,
        else the one of comma, tab, semicolon and bar that is most frequent in the first line.
    quoted : bool
        Whether cells may stand in double quotes.

    Returns
    -------
    delimiter : str
    rows : list of (int, list of str)
        Number of the line that each row ends on, and its cells.

    Raises
    ------
    DatasetError
        If the file cannot be read, is not UTF-8 or has an unfinished quotation.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first_line = file.readline()
            if not delimiter and path.suffix.lower() in _TAB_ENDINGS and "\t" in first_line:
                delimiter = "\t"
            delimiter = delimiter or max(_DELIMITERS, key=first_line.count)
            file.seek(0)
            reader = csv.reader(
                file,
                delimiter=delimiter,
                quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
                strict=True,
            )
            rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: is not UTF-8 text; save it as UTF-8 ({error})") from error
    except csv.Error as error:
        raise DatasetError(f"{path}: line {reader.line_num} is not a row ({error})") from error
    return delimiter, rows


def read_table(
    path: str | os.PathLike[str],
    found: Findings,
    *,
    delimiter: str | None = None,
    quoted: bool = True,
    more_cells: bool = False,
) -> TextTable:
    """Read a table whose first line names the columns.

    Rows with fewer cells than there are columns, or with more unless ``more_cells``, are left
    out and noted as unreadable. The other parameters and the errors are those of
    :func:`read_rows`; it is an error, too, if there is no row below the header, or two columns
    have one name.
    """
    check_path("a table", path)
    path = Path(path)
    delimiter, lines = read_rows(path, delimiter=delimiter, quoted=quoted)
    if len(lines) < 2:
        raise DatasetError(f"{path}: has no rows below a header")
    header = tuple(name.strip() for name in lines[0][1])
    folded = [name.casefold() for name in header if name]
    for name in folded:
        if folded.count(name) > 1:
            raise DatasetError(f"{path}: two columns are called {name!r}")
    rows = []
    for line, cells in lines[1:]:
        where = f"{path.name} line {line}"
        if len(cells) == len(header) or (more_cells and len(cells) > len(header)):
            rows.append((where, cells))
        else:
            found.add("unreadable_rows", f"{where}: {len(cells)} cells for {len(header)} columns")
    return TextTable(path, delimiter, header, tuple(rows))


def columns_of(
    table: TextTable, accepted: Mapping[str, Sequence[str]], ignored: Collection[int] = ()
) -> dict[str, int]:
    """Return the position of each column by its role, that is, by what it holds.

    Columns match the ``accepted`` names of a role, which are in lower case, in any case. Those at
    ``ignored`` positions are not looked at. That two columns have one role is a DatasetError.
    """
    columns: dict[str, int] = {}
    for position, name in enumerate(table.header):
        role = next((role for role, names in accepted.items() if name.casefold() in names), None)
        if role is None or position in ignored:
            continue
        if role in columns:
            raise DatasetError(
                f"{table.path}: columns {table.header[columns[role]]!r} and {name!r} both say the "
                f"{role} of a track; keep or ignore one of them"
            )
        columns[role] = position
    return columns


_BETWEEN_LETTERS = re.compile(r"(?<=[^\W_])[\s_-]+(?=[^\W_])")


def clean(text: str) -> str:
    """Trim a tag and compose its accents, which macOS takes apart in file names."""
    return unicodedata.normalize("NFC", text.strip())


def normal_form(tag: str) -> str:
    """Return what all spellings of a tag have in common.

    Case does not count, nor whether words are separated by spaces, hyphens or underscores. All
    else does: "1-2" is not "12", "-1" is not "1", "C#" is not "C".
    """
    folded = unicodedata.normalize("NFKC", tag).casefold().strip()
    return _BETWEEN_LETTERS.sub(" ", folded)


def one_spelling(
    tracks: Iterable[Track], found: Findings, vocabulary: Sequence[str] = ()
) -> list[Track]:
    """Give each tag one spelling, and note the tags that have several.

    It is that of the vocabulary where it has the tag; for other tags it is the most frequent one,
    and the earliest of equally frequent ones.
    """
    tracks = list(tracks)
    used = Counter(tag for track in tracks for tag in track.tags)
    wanted: dict[str, str] = {}
    exact = set(vocabulary)
    for tag in vocabulary:
        wanted.setdefault(normal_form(tag), tag)
    variants: dict[str, list[str]] = {}
    for tag in used:
        if tag not in exact:
            variants.setdefault(normal_form(tag), []).append(tag)
    chosen = {tag: tag for tag in used}
    for form, tags in variants.items():
        best = wanted.get(form) or max(tags, key=lambda tag: used[tag])
        others = [tag for tag in tags if tag != best]
        if others:
            found.add("merged_spellings", f"{' and '.join(map(repr, others))} → {best!r}")
        chosen.update(dict.fromkeys(tags, best))
    return [
        track._replace(tags=tuple(dict.fromkeys(chosen[tag] for tag in track.tags)))
        for track in tracks
    ]


COLUMNS = {
    "path": ("path", "file", "filename", "filepath"),
    "tags": ("tags", "tag", "labels", "label", "classes", "class"),
    "group": ("group", "artist", "album"),
    "split": ("split", "subset"),
}
"""Names of columns by what they hold, in any case."""

_ANSWERS = {**dict.fromkeys(("1", "1.0", "true"), True),
            **dict.fromkeys(("0", "0.0", "false", ""), False)}  # fmt: skip


@answered
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
      separated by ``;`` or ``|``, or by a comma where commas do not separate columns;
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
        CSV or TSV, UTF-8; see :func:`musicnn_zoo.datasets.table.read_rows` for the delimiter.
    audio_root : path, optional
        Where relative paths start, also an address; by default the folder of the table. If there
        is no file with the path as written, backslashes in it are taken for slashes. A cell may
        hold an address, such as ``s3://bucket/song.mp3``.
    name : str, optional
        By default that of the file.
    tags : sequence of str, optional
        The vocabulary and its order, as for evaluating a model; other tags are ignored. By
        default all there are: columns in their order, else sorted.
    separators : str, optional
        Characters that separate tags in a cell, instead of the above.
    ignore : sequence of str
        Columns that mean nothing here.
    untagged : {"drop", "keep"}
        What becomes of files without a tag: left out, or kept as examples of no tag.
    check_files : bool
        Whether to look for the files and leave out those that are missing or empty.

    Raises
    ------
    DatasetError
        If the table cannot be read, if a column is unknown or missing, if a split has another
        name, or if nothing is left.
    """
    found = Findings()
    table = read_table(path, found)
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
    root = as_address(audio_root) or audio_folder(table.path, audio_root)
    if separators is None:
        separators = separators_of(table)
    rows = _tracks(table, columns, rest, root, separators, check_files, found)
    merged = merge_repeated(one_spelling(rows, found, tags or ()), found)
    order = tags
    if order is None and "tags" not in columns:
        chosen = {normal_form(tag): tag for track in merged for tag in track.tags}
        headings = [clean(table.header[position]) for position in rest]
        order = [chosen.setdefault(normal_form(heading), heading) for heading in headings]
    return assemble(
        name or table.path.stem, merged, found,
        vocabulary=order, untagged=untagged, check_files=check_files, judge=True,
    )  # fmt: skip


def _resolve(root: Path | Address, text: str, *, check_files: bool) -> str:
    address = as_address(text)
    if address is not None:
        return address
    if isinstance(root, Address):
        return root.below(text.replace("\\", "/").lstrip("/"))
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


def separators_of(table: TextTable) -> str:
    """Return the characters that separate tags in a cell of a table."""
    return ";|" if table.delimiter == "," else ";|,"


def cut(cell: str, separators: str) -> tuple[str, ...]:
    """Split a cell into its tags, each once."""
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
        strange = [cell for cell in cells if cell not in _ANSWERS]
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
    root: Path | Address,
    separators: str,
    check_files: bool,
    found: Findings,
) -> Iterator[Track]:
    commas: dict[str, None] = {}
    groups: dict[str, str] = {}
    for where, cells in table.rows:
        text = cells[columns["path"]].strip()
        if not text:
            found.add("unreadable_rows", f"{where}: no path")
            continue
        if "tags" in columns:
            tags = cut(cells[columns["tags"]], separators)
            commas.update(dict.fromkeys(tag for tag in tags if "," in tag))
        else:
            answers = {position: cells[position].strip().casefold() for position in rest}
            strange = [cell for cell in answers.values() if cell not in _ANSWERS]
            if strange:
                found.add("unreadable_rows", f"{where}: {strange[0]!r} is neither 0 nor 1")
                continue
            tags = tuple(clean(table.header[at]) for at, cell in answers.items() if _ANSWERS[cell])
        group = clean(cells[columns["group"]]) if "group" in columns else ""
        yield Track(
            _resolve(root, text, check_files=check_files),
            tags,
            groups.setdefault(normal_form(group), group) or None,
            read_split(cells[columns["split"]], where) if "split" in columns else None,
            where,
        )
    found.add("commas", *commas)
