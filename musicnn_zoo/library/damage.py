"""The list of files in an output of which some could not be decoded: ``damaged.csv``."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from musicnn_zoo.durable import GrowingFile, replacing
from musicnn_zoo.library.writers import csv_lines, path_cell

_COLUMNS = ("source", "lost_s")


class DamageList:
    """Seconds lost by sources, in a CSV that is made when the first damaged file comes.

    Parameters
    ----------
    place : Path
    """

    def __init__(self, place: Path) -> None:
        self._place = place

    def read(self) -> dict[str, str]:
        """Return what the file holds: seconds as text, by the cells of the sources."""
        lost: dict[str, str] = {}
        with suppress(FileNotFoundError, csv.Error), self._place.open(
            encoding="utf-8", errors="replace", newline=""
        ) as file:  # fmt: skip
            for row in csv.reader(file):
                if len(row) == len(_COLUMNS) and tuple(row) != _COLUMNS:
                    lost[row[0]] = row[1]
        return lost

    def write(self, lost: Mapping[str, str]) -> None:
        """Let the file hold this, by sources, if it does not yet."""
        cells = {path_cell(source): seconds for source, seconds in lost.items()}
        if cells == self.read():
            return
        with replacing(self._place, self._place.with_suffix(".next")) as file:
            file.write(csv_lines([_COLUMNS, *cells.items()]).encode())

    def add(self, source: str, seconds: str) -> None:
        """Add a file; when this returns, a power loss does not lose it."""
        file = GrowingFile(self._place)
        try:
            head = [_COLUMNS] if file.end == 0 else []
            file.append(csv_lines([*head, (path_cell(source), seconds)]).encode())
            file.sync()
        finally:
            file.close()
