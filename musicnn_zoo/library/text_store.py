"""Results as text, JSON, JSON lines, CSV or a NumPy archive; JSON lines and CSV can be resumed.

:class:`Writer` touches its file when the first result comes, and flushes after each, so that
what was finished is there if the rest is not.

The output of :class:`TextRows` only grows, by all lines of one file at a time. A journal in
the run folder says of each file where its lines end. Bytes of the output that the journal does
not list belong to no file, and are cut off when the output is opened.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO, TypeAlias, get_args

import numpy as np

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.files import (
    GrowingFile,
    check_writable,
    flush_to_disk,
    json_line,
    read_lines,
    replacing,
    sync_folder,
)
from musicnn_zoo.sound.find import Stamp
from musicnn_zoo.tagging.results import Embedding, Events, Taggram, Tags
from musicnn_zoo.text import csv_lines, path_cell, path_to_text, safe_tag

SYNC_FILES = 64
"""So many results at most are lost by a power loss."""
REMEDY = "name another output (--output), or discard this one and start again (--overwrite)"
TAG_COLUMNS = ("source", "rank", "tag", "score")
EVENT_COLUMNS = ("source", "tag", "start_s", "end_s", "score")

Result: TypeAlias = Tags | Taggram | Events | Embedding
KINDS: dict[str, type] = {
    "tags": Tags, "taggrams": Taggram, "events": Events, "embeddings": Embedding,
}  # fmt: skip
"""What an output may hold, by the ``kind`` in its settings."""


METHODS = {
    "tags": "tag_files",
    "taggrams": "taggram_files",
    "events": "events_files",
    "embeddings": "embed_files",
}
"""The methods of a :class:`musicnn_zoo.Tagger` that make such results of files."""
ASIDE = ("kind", "model", "weights", "precision", "tags", "wide")
"""Settings that are no arguments of these methods."""


class Batch(NamedTuple):
    """Results of some files on their way from one output to another of the same format."""

    files: list[Stamp]
    rows: Any
    """As the format has them."""


Format = Literal["text", "json", "jsonl", "csv", "jams"]
FORMATS: tuple[Format, ...] = get_args(Format)

_SUFFIXES: dict[str, Format] = {
    ".txt": "text", ".json": "json", ".jsonl": "jsonl", ".csv": "csv", ".jams": "jams",
    ".text": "text", "": "text",
}  # fmt: skip


class EmbeddingArchive:
    """Collects embeddings and writes them when it is left, however it is left.

    The archive holds ``embeddings`` (rows, dimensions) float32; ``sources`` and ``times``
    (rows,), the file and the start in seconds of each row; ``model``, ``layer`` and
    ``pooling`` as texts. Read it with ``numpy.load(path)``. It appears whole or not at all,
    and only if there is something to write.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._embeddings: list[Embedding] = []

    def __enter__(self) -> EmbeddingArchive:
        return self

    def add(self, embedding: Embedding) -> None:
        """Add the rows of one file."""
        self._embeddings.append(embedding)

    def __exit__(self, *error: object) -> None:
        if not self._embeddings:
            return
        first = self._embeddings[0]
        rows = [np.atleast_2d(one.values) for one in self._embeddings]
        files = list(zip(self._embeddings, map(len, rows), strict=True))
        sources = [
            path_to_text(one.clip.source or "") for one, count in files for _ in range(count)
        ]
        with replacing(self._path) as file:
            np.savez(
                file,
                embeddings=np.concatenate(rows),
                sources=np.array(sources),
                times=np.concatenate([one.times[:count] for one, count in files]),
                model=np.array(first.model),
                layer=np.array(first.layer),
                pooling=np.array(first.pooling or "none"),
            )


class Writer:
    """Writes :class:`Tags`, :class:`Taggram` or :class:`Events` results in one format.

    Use it as a context manager; leaving it completes the file. It writes to standard output if
    ``output`` is None. The format is by default that of the ending of ``output``, or text; a
    JAMS file takes one result. With ``wide``, the tags of the model, a CSV of tags has a column for
    each.
    """

    def __init__(
        self,
        output: Path | None,
        form: Format | None = None,
        *,
        wide: Sequence[str] | None = None,
    ) -> None:
        self._output = output
        self.form = _form_of(output, form)
        self._wide = wide
        if wide is not None and self.form != "csv":
            raise ArgumentError(f"wide tables are CSV; received the format {self.form}")
        if output is not None:
            check_writable(output)
        self._file: TextIO | None = None
        self._count = 0

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self.form == "json" and self._count:
            self._emit("\n]\n")
        elif self.form == "json" and error is None:
            self._emit("[]\n")
        if self._file is not None and self._output is not None:
            self._file.close()

    def write(self, result: Tags | Taggram | Events) -> None:
        """Write one result."""
        if self.form == "text":
            self._emit(f"{result}\n" if self._count == 0 else f"\n{result}\n")
        elif self.form == "json":
            self._emit(("[\n" if self._count == 0 else ",\n") + json.dumps(result.to_dict()))
        elif self.form == "jsonl":
            self._emit(json.dumps(result.to_dict()) + "\n")
        elif self.form == "jams":
            self._emit(result.to_jams().dumps(indent=1) + "\n")
        else:
            rows = result_rows(result.clip.source or "", result, self._wide)
            head = [result_columns(result, self._wide)] if self._count == 0 else []
            self._emit(csv_lines([*head, *rows]))
        self._count += 1

    def _emit(self, text: str) -> None:
        if self._file is None:
            self._file = self._open()
        self._file.write(text)
        self._file.flush()

    def _open(self) -> TextIO:
        if self._output is not None:
            return self._output.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        return sys.stdout


def taggram_columns(
    tags: Iterable[str], first: Iterable[str] = ("source", "time_s")
) -> tuple[str, ...]:
    """Return the columns of a table with a column a tag: no two have the same name."""
    columns = dict.fromkeys(first)
    for column in map(safe_tag, tags):
        while column in columns:
            column += " (tag)"
        columns[column] = None
    return tuple(columns)


def result_columns(
    result: Tags | Taggram | Events, wide: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Return the heading of a CSV of such results."""
    if wide is not None:
        return taggram_columns(wide, ("source",))
    if isinstance(result, Taggram):
        return taggram_columns(result.tags)
    return TAG_COLUMNS if isinstance(result, Tags) else EVENT_COLUMNS


def result_rows(
    source: str, result: Tags | Taggram | Events, wide: Sequence[str] | None = None
) -> list[Iterable[object]]:
    """Return the rows of a CSV: one a tag, a patch or an event, under ``result_columns``."""
    cell = path_cell(source)
    if isinstance(result, Tags) and wide is not None:
        score_of = dict(result.items())
        return [(cell, *(f"{score_of[tag]:.6f}" for tag in wide))]
    if isinstance(result, Tags):
        return [
            (cell, rank, safe_tag(tag), f"{score:.6f}")
            for rank, (tag, score) in enumerate(result, start=1)
        ]
    if isinstance(result, Events):
        return [
            (cell, safe_tag(tag), f"{start:.3f}", f"{end:.3f}", f"{score:.6f}")
            for tag, start, end, score in result
        ]
    return [
        (cell, f"{time:.3f}", *(f"{score:.6f}" for score in row))
        for time, row in zip(result.times, result.scores, strict=True)
    ]


def _form_of(output: Path | None, form: Format | None) -> Format:
    if output is None:
        return form or "text"
    suffix = output.suffix.lower()
    if output.name.endswith(".") or output.name.lower() in (*_SUFFIXES, ".parquet"):
        raise ArgumentError(f"output {str(output)!r} has no name before or after its last point")
    if suffix == ".parquet":
        raise ArgumentError(
            f"output {str(output)!r}: Parquet is not one of the formats {', '.join(FORMATS)}; "
            "the commands tag, taggram, events and embed write it without --format"
        )
    if form is not None:
        return form
    if suffix not in _SUFFIXES:
        raise ArgumentError(
            f"output {str(output)!r} must end in .txt, .json, .jams, .jsonl, .csv or .parquet; "
            f"received {suffix!r} (--format chooses a format for any other ending)"
        )
    return _SUFFIXES[suffix]


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


class TextRows:
    """Results as JSON lines or, all but embeddings, as CSV; of one store."""

    def __init__(
        self, output: Path, folder: Path, settings: Mapping[str, Any], label: str, *, is_csv: bool
    ) -> None:
        if output.exists() and not output.is_file():
            raise ArgumentError(f"{label} is not a file; name a file")
        self._output = output
        self._label = label
        self._is_csv = is_csv
        kind = settings["kind"]
        self._wide: Sequence[str] | None = settings["tags"] if settings.get("wide") else None
        if is_csv and kind == "embeddings":
            raise ArgumentError(
                f"{self._label}: embeddings are not written as CSV; use .parquet or .jsonl"
            )
        self._head = b""
        if is_csv:
            columns = {"tags": TAG_COLUMNS, "events": EVENT_COLUMNS}.get(kind)
            if self._wide is not None:
                columns = taggram_columns(self._wide, ("source",))
            self._head = csv_lines([columns or taggram_columns(settings["tags"])]).encode()
        names = "journal.jsonl", "journal.next", "journal.commit", "output.next"
        self.files = [folder / name for name in names]
        """What is kept in the run folder."""
        self._journal_path, self._next_journal, self._commit, self._next_output = self.files
        self._opened: list[GrowingFile] = []
        self._places: dict[str, tuple[int, int]] | None = None

    def exist(self) -> bool:
        """Whether the output holds anything."""
        return self._output.exists() and self._output.stat().st_size > 0

    def remove(self) -> None:
        """Delete the output."""
        self._output.unlink(missing_ok=True)

    def make(self) -> None:
        """Make an empty output."""
        self._output.touch()

    def open(self) -> dict[str, Stamp]:
        """Repair what a crash left, open the files, and say which files the output has."""
        entries = self._repair()
        old = {entry.stamp.path: entry.stamp for entry in entries if entry.is_old}
        known: dict[str, Stamp] = {}
        for entry in entries:
            known.setdefault(entry.stamp.path, entry.stamp)
        if old or len(known) < len(entries):
            self.rewrite(old)
        return known

    def sync(self) -> None:
        """Make sure that all results are on the disk; lines first, which the journal lists."""
        for file in self._opened:
            file.sync()

    complete = sync

    def close(self) -> None:
        """Close the files."""
        while self._opened:
            self._opened.pop().close()

    def _repair(self) -> list[_Entry]:
        if self._commit.exists():
            if self._next_output.exists():
                self._next_output.replace(self._output)
            sync_folder(self._output.parent)
            self._commit.replace(self._journal_path)
            sync_folder(self._journal_path.parent)
        self._next_output.unlink(missing_ok=True)
        self._next_journal.unlink(missing_ok=True)
        if not self._journal_path.exists() and self._output.stat().st_size > len(self._head):
            raise ArgumentError(f"{self._label}: its journal is gone; {REMEDY}")
        records = read_lines(self._journal_path, _parse)
        entries = [entry for entry, _ in records]
        entries = entries[: self._count_whole(entries)]
        for path in (self._output, self._journal_path):
            self._opened.append(GrowingFile(path))
        self._lines, self._journal = self._opened
        self._lines.cut(entries[-1].end if entries else 0)
        self._journal.cut(records[len(entries) - 1][1] if entries else 0)
        if not entries:
            self._lines.append(self._head)
        self.sync()
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
                            f"{self._label} was changed since the last run; "
                            f"put it back as it was, {REMEDY}"
                        )
                    return i
        return count

    def append(self, stamp: Stamp, result: Result) -> None:
        """Add the result of one file."""
        self._append(stamp, self._format(stamp, result))

    def _append(self, stamp: Stamp, lines: bytes) -> None:
        start = self._lines.end
        self._lines.append(lines)
        try:
            self._journal.append(_Entry(stamp, self._lines.end, zlib.crc32(lines)).line())
        except BaseException:
            self._lines.cut(start)
            raise
        if self._places is not None:
            self._places[stamp.path] = start, self._lines.end

    def _format(self, stamp: Stamp, result: Result) -> bytes:
        if self._is_csv and not isinstance(result, Embedding):
            return csv_lines(result_rows(stamp.source, result, self._wide)).encode()
        return _json_result(stamp, result.to_dict())

    def batches(self) -> Iterator[Batch]:
        """Yield all results, some files at a time: the lines of each."""
        entries = [entry for entry, _ in read_lines(self._journal_path, _parse)]
        with self._output.open("rb") as file:
            file.seek(len(self._head))
            for first in range(0, len(entries), SYNC_FILES):
                some = entries[first : first + SYNC_FILES]
                lines = [file.read(entry.end - file.tell()) for entry in some]
                yield Batch([entry.stamp for entry in some], lines)

    def take(self, batch: Batch, stamps: Mapping[str, Stamp]) -> None:
        """Add the results of some files of a batch."""
        for stamp, lines in zip(batch.files, batch.rows, strict=True):
            if stamp.path in stamps:
                self._append(stamp, lines)

    def cells(self, paths: Collection[str]) -> dict[str, list[dict[str, Any]]]:
        """Return the rows of some files, without their sources."""
        if self._places is None:
            self._places = {}
            start = len(self._head)
            for entry, _ in read_lines(self._journal_path, _parse):
                self._places[entry.stamp.path] = start, entry.end
                start = entry.end
        found: dict[str, list[dict[str, Any]]] = {}
        with self._output.open("rb") as file:
            for path in paths:
                start, end = self._places[path]
                file.seek(start)
                found[path] = self._read_cells(file.read(end - start))
        return found

    def _read_cells(self, lines: bytes) -> list[dict[str, Any]]:
        if not self._is_csv:
            return [{name: v for name, v in json.loads(lines).items() if name != "source"}]
        rows = csv.reader(io.StringIO(lines.decode(), newline=""))
        return [{str(i): _number(cell) for i, cell in enumerate(cells)} for _, *cells in rows]

    def _for_other_file(self, lines: bytes, stamp: Stamp) -> bytes:
        """Return the lines of a result as those of another file."""
        if not self._is_csv:
            return _json_result(stamp, json.loads(lines))
        # Earlier releases wrote names that are not UTF-8 as they are.
        rows = csv.reader(io.StringIO(lines.decode("utf-8", "surrogateescape"), newline=""))
        return csv_lines([path_cell(stamp.source), *cells] for _, *cells in rows).encode()

    def rewrite(self, changes: Mapping[str, Stamp | None]) -> None:
        """Give the rows of some paths to other files, and drop those that come to no file."""
        entries = [entry for entry, _ in read_lines(self._journal_path, _parse)]
        written: set[str] = set()
        try:
            with (
                self._output.open("rb") as old,
                self._next_output.open("wb") as new,
                replacing(self._commit, self._next_journal) as journal,
            ):
                new.write(old.read(len(self._head)))
                for entry in entries:
                    lines, crc32 = old.read(entry.end - old.tell()), entry.crc32
                    if old.tell() < entry.end:
                        raise OSError("it was changed by something else meanwhile")
                    stamp = changes.get(entry.stamp.path, entry.stamp)
                    if stamp is None or stamp.path in written:
                        continue
                    written.add(stamp.path)
                    if entry.stamp.path in changes:
                        lines = self._for_other_file(lines, stamp)
                        crc32 = zlib.crc32(lines)
                    new.write(lines)
                    journal.write(_Entry(stamp, new.tell(), crc32).line())
                flush_to_disk(new)
        except BaseException:
            if not self._commit.exists():
                self._next_output.unlink(missing_ok=True)
            raise
        self.close()
        self._places = None
        self._repair()


def _number(cell: str) -> str | float:
    try:
        return float(cell)
    except ValueError:
        return cell


def _json_result(stamp: Stamp, fields: dict[str, Any]) -> bytes:
    stated = {**asdict(stamp), "source": path_to_text(stamp.source)}
    del stated["path"], stated["etag"]
    stated = {name: value for name, value in stated.items() if value is not None}
    rest = {name: value for name, value in fields.items() if name not in asdict(stamp)}
    return json_line({**stated, **rest})
