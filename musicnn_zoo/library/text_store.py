"""Results as JSON lines or CSV.

The output only grows, by all lines of one file at a time. A journal in the run folder says of
each file where its lines end; bytes of the output that the journal does not speak of are of no
file, and are cut off when the store is opened.
"""

from __future__ import annotations

import csv
import io
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.files import (
    GrowingFile,
    flush_to_disk,
    json_line,
    read_lines,
    replacing,
    sync_folder,
)
from musicnn_zoo.library.store import REMEDY, SYNC_FILES, Result, Stamp, Store
from musicnn_zoo.library.writers import EVENT_COLUMNS, TAG_COLUMNS, result_rows, taggram_columns
from musicnn_zoo.tagging.results import Embedding
from musicnn_zoo.text import csv_lines, path_cell, path_to_text

_BLOCK = 1 << 20


class _Entry(NamedTuple):
    """One line of the journal."""

    stamp: Stamp
    end: int
    crc32: int
    is_old: bool = False
    """Written before names had their form of today, see :mod:`musicnn_zoo.text`."""

    def line(self) -> bytes:
        return json_line({**asdict(self.stamp), "end": self.end, "crc32": self.crc32})


def _parse(fields: dict[str, Any]) -> _Entry:
    stamp = Stamp.of(fields)
    is_old = "path" not in fields and path_to_text(stamp.source) != stamp.source
    return _Entry(stamp, int(fields["end"]), int(fields["crc32"]), is_old)


class TextStore(Store):
    """Results as JSON lines or, all but embeddings, as CSV; see :class:`Store`."""

    _files = "journal.jsonl", "journal.next", "journal.commit", "output.next"
    _lines: GrowingFile
    _journal: GrowingFile

    def __init__(self, output: Path, settings: Mapping[str, Any], *, overwrite: bool) -> None:
        super().__init__(output, settings, overwrite=overwrite)
        if self._output.exists() and not self._output.is_file():
            raise ArgumentError(f"output {str(output)!r} is not a file; name a file")
        self._is_csv = output.suffix.lower() == ".csv"
        kind = self._settings["kind"]
        if self._is_csv and kind == "embeddings":
            raise ArgumentError(
                f"output {str(output)!r}: embeddings are not written as CSV; use .parquet or .jsonl"
            )
        self._head = b""
        if self._is_csv:
            columns = {"tags": TAG_COLUMNS, "events": EVENT_COLUMNS}.get(kind)
            columns = columns or taggram_columns(self._settings["tags"])
            self._head = csv_lines([columns]).encode()
        self._journal_path, self._next_journal, self._commit, self._next_output = (
            self._folder.path / name for name in self._files
        )

    def _holds_something(self) -> bool:
        return self._output.exists() and self._output.stat().st_size > 0

    def _remove_output(self) -> None:
        self._output.unlink(missing_ok=True)

    def _make_output(self) -> None:
        self._output.touch()

    def _recover(self) -> dict[str, Stamp]:
        entries = self._repair()
        old = {entry.stamp.path: entry.stamp for entry in entries if entry.is_old}
        known: dict[str, Stamp] = {}
        for entry in entries:
            known.setdefault(entry.stamp.path, entry.stamp)
        if old or len(known) < len(entries):
            self._rewrite(old)
        return known

    def _repair(self) -> list[_Entry]:
        if self._commit.exists():
            if self._next_output.exists():
                self._next_output.replace(self._output)
            sync_folder(self._output.parent)
            self._commit.replace(self._journal_path)
            sync_folder(self._folder.path)
        self._next_output.unlink(missing_ok=True)
        self._next_journal.unlink(missing_ok=True)
        if not self._journal_path.exists() and self._output.stat().st_size > len(self._head):
            raise ArgumentError(f"output {str(self._output)!r}: its journal is gone; {REMEDY}")
        records = read_lines(self._journal_path, _parse)
        entries = [entry for entry, _ in records]
        entries = entries[: self._count_whole(entries)]
        # Synced in this order: the journal must not speak of lines that are not there.
        self._lines = self._grow(self._output)
        self._journal = self._grow(self._journal_path)
        self._lines.cut(entries[-1].end if entries else 0)
        self._journal.cut(records[len(entries) - 1][1] if entries else 0)
        if not entries:
            self._lines.append(self._head)
        self._sync()
        return entries

    def _count_whole(self, entries: list[_Entry]) -> int:
        """Count the first entries whose lines are as they were written.

        A crash can only have spoiled what was not on the disk, the last ``SYNC_FILES``.
        """
        with self._output.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            count = len(entries)
            while count and entries[count - 1].end > size:
                count -= 1
            first = max(0, count - SYNC_FILES - 1)
            for i in range(first, count):
                start = entries[i - 1].end if i else len(self._head)
                file.seek(start)
                if zlib.crc32(file.read(max(0, entries[i].end - start))) != entries[i].crc32:
                    if i == count - SYNC_FILES - 1:
                        raise ArgumentError(
                            f"output {str(self._output)!r} was changed since the last run; "
                            f"put it back as it was, {REMEDY}"
                        )
                    return i
        return count

    def _append(self, stamp: Stamp, result: Result) -> None:
        lines = self._format(stamp, result)
        start = self._lines.end
        self._lines.append(lines)
        try:
            self._journal.append(_Entry(stamp, self._lines.end, zlib.crc32(lines)).line())
        except BaseException:
            self._lines.cut(start)
            raise

    def _format(self, stamp: Stamp, result: Result) -> bytes:
        if self._is_csv and not isinstance(result, Embedding):
            return csv_lines(result_rows(stamp.source, result)).encode()
        return _json_result(stamp, result.to_dict())

    def _for_other_file(self, lines: bytes, stamp: Stamp) -> bytes:
        """Return the lines of a result as those of another file."""
        if not self._is_csv:
            return _json_result(stamp, json.loads(lines))
        # Earlier releases wrote names that are not UTF-8 as they are.
        rows = csv.reader(io.StringIO(lines.decode("utf-8", "surrogateescape"), newline=""))
        return csv_lines([path_cell(stamp.source), *cells] for _, *cells in rows).encode()

    def _rewrite(self, changes: Mapping[str, Stamp | None]) -> None:
        entries = [entry for entry, _ in read_lines(self._journal_path, _parse)]
        written: set[str] = set()
        try:
            with (
                self._output.open("rb") as old,
                self._next_output.open("wb") as new,
                replacing(self._commit, self._next_journal) as journal,
            ):
                start = 0
                end = len(self._head)
                _copy(old, new, end)
                for entry in entries:
                    start, end = end, entry.end
                    stamp = changes.get(entry.stamp.path, entry.stamp)
                    if stamp is None or stamp.path in written:
                        continue
                    written.add(stamp.path)
                    old.seek(start)
                    crc32 = entry.crc32
                    if entry.stamp.path in changes:
                        lines = self._for_other_file(old.read(end - start), stamp)
                        new.write(lines)
                        crc32 = zlib.crc32(lines)
                    else:
                        _copy(old, new, end - start)
                    journal.write(_Entry(stamp, new.tell(), crc32).line())
                flush_to_disk(new)
        except BaseException:
            if not self._commit.exists():
                self._next_output.unlink(missing_ok=True)
            raise
        self._close()
        self._repair()


def _json_result(stamp: Stamp, fields: dict[str, Any]) -> bytes:
    stated = {**asdict(stamp), "source": path_to_text(stamp.source)}
    del stated["path"]
    stated = {name: value for name, value in stated.items() if value is not None}
    rest = {name: value for name, value in fields.items() if name not in asdict(stamp)}
    return json_line({**stated, **rest})


def _copy(old: BinaryIO, new: BinaryIO, count: int) -> None:
    while count:
        block = old.read(min(count, _BLOCK))
        if not block:
            raise OSError("it was changed by something else meanwhile")
        new.write(block)
        count -= len(block)
