"""Tables as text: CSV, TSV and what people call by these names."""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from musicnn_zoo.datasets.report import DatasetError, Findings

_DELIMITERS = (",", "\t", ";", "|")
_TAB_ENDINGS = (".tsv", ".tab")


@dataclass(frozen=True)
class TextTable:
    """A table as it was read.

    Parameters
    ----------
    path : Path
    delimiter : str
    header : tuple of str
        Names of the columns, trimmed.
    rows : tuple of (int, list of str)
        Number of the line that each ends on, and its cells.
    """

    path: Path
    delimiter: str
    header: tuple[str, ...]
    rows: tuple[tuple[int, list[str]], ...]

    def where(self, line: int) -> str:
        """Return what the report calls a row."""
        return f"{self.path.name} line {line}"


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
            delimiter = delimiter or _sniff(file.readline(), path.suffix.lower())
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
    :func:`read_rows`.

    Raises
    ------
    DatasetError
        Also if there is no row below the header, or two columns have one name.
    """
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
    table = TextTable(path, delimiter, header, ())
    for line, cells in lines[1:]:
        if len(cells) == len(header) or (more_cells and len(cells) > len(header)):
            rows.append((line, cells))
        else:
            found.add(
                "unreadable_rows",
                f"{table.where(line)}: {len(cells)} cells for {len(header)} columns",
            )
    return TextTable(path, delimiter, header, tuple(rows))


def columns_of(
    table: TextTable, accepted: Mapping[str, Sequence[str]], ignored: Collection[int] = ()
) -> dict[str, int]:
    """Find columns by what they hold.

    Parameters
    ----------
    table : TextTable
    accepted : mapping of str to sequence of str
        Names by role, in lower case; columns match in any case.
    ignored : collection of int
        Positions of columns not to look at.

    Returns
    -------
    dict of str to int
        Position by role, of the roles that there are.

    Raises
    ------
    DatasetError
        If two columns have one role.
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


def _sniff(first_line: str, ending: str) -> str:
    if ending in _TAB_ENDINGS and "\t" in first_line:
        return "\t"
    return max(_DELIMITERS, key=first_line.count)
