"""Write results one after the other as text, JSON, JSON lines, CSV or a NumPy archive.

A writer touches its file when the first result comes, and flushes after every one, so that
whatever was finished is there if the rest is not.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Literal, TextIO, get_args

import numpy as np

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.files import check_writable
from musicnn_zoo.tagging.results import Embedding, Events, Taggram, Tags
from musicnn_zoo.text import csv_lines, path_cell, path_to_text, safe_tag


class EmbeddingArchive:
    """Collects embeddings and writes them when it is left, however it is left.

    The archive holds ``embeddings`` (rows, dimensions) float32; ``sources`` and ``times``
    (rows,), the file and the start in seconds of each row; ``model``, ``layer`` and
    ``pooling`` as texts. Read it with ``numpy.load(path)``. It appears whole or not at all.

    Parameters
    ----------
    path : Path
        Written only if there is something to write.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._embeddings: list[Embedding] = []

    def __enter__(self) -> EmbeddingArchive:
        return self

    def __exit__(self, *error: object) -> None:
        if self._embeddings:
            self._save()

    def add(self, embedding: Embedding) -> None:
        """Add the rows of one file."""
        self._embeddings.append(embedding)

    def _save(self) -> None:
        rows = [np.atleast_2d(one.values) for one in self._embeddings]
        sources = [
            path_to_text(one.clip.source or "")
            for one, part in zip(self._embeddings, rows, strict=True)
            for _ in part
        ]
        times = [one.times[: len(part)] for one, part in zip(self._embeddings, rows, strict=True)]
        first = self._embeddings[0]
        unfinished = self._path.with_name(f".{self._path.name}.part")
        try:
            with unfinished.open("wb") as file:
                np.savez(
                    file,
                    embeddings=np.concatenate(rows),
                    sources=np.array(sources),
                    times=np.concatenate(times),
                    model=np.array(first.model),
                    layer=np.array(first.layer),
                    pooling=np.array(first.pooling or "none"),
                )
            unfinished.replace(self._path)
        finally:
            unfinished.unlink(missing_ok=True)


Format = Literal["text", "json", "jsonl", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)
LIBRARY_SUFFIXES = (".parquet", ".jsonl", ".csv")
"""Of outputs that a later run goes on with, see :mod:`musicnn_zoo.library.run`."""
TAG_COLUMNS = ("source", "rank", "tag", "score")
EVENT_COLUMNS = ("source", "tag", "start_s", "end_s", "score")

_SUFFIXES: dict[str, Format] = {
    ".txt": "text", ".json": "json", ".jsonl": "jsonl", ".csv": "csv", ".text": "text", "": "text",
}  # fmt: skip


class Writer:
    """Writes :class:`Tags`, :class:`Taggram` or :class:`Events` results in one format.

    Use it as a context manager; leaving it completes the file.

    Parameters
    ----------
    output : Path or None
        File to write; None for standard output.
    form : {"text", "json", "jsonl", "csv"} or None
        By default what the ending of ``output`` says; text if it has none.

    Raises
    ------
    ArgumentError
        If ``output`` cannot be written, or ends in what is no format.
    """

    def __init__(self, output: Path | None, form: Format | None = None) -> None:
        self._output = output
        self._form = _form_of(output, form)
        if output is not None:
            check_writable(output)
        self._file: TextIO | None = None
        self._count = 0

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._form == "json" and self._count:
            self._emit("\n]\n")
        elif self._form == "json" and error is None:
            self._emit("[]\n")
        if self._file is not None and self._output is not None:
            self._file.close()

    def write(self, result: Tags | Taggram | Events) -> None:
        """Write one result."""
        if self._form == "text":
            self._emit(f"{result}\n" if self._count == 0 else f"\n{result}\n")
        elif self._form == "json":
            self._emit(("[\n" if self._count == 0 else ",\n") + json.dumps(result.to_dict()))
        elif self._form == "jsonl":
            self._emit(json.dumps(result.to_dict()) + "\n")
        else:
            rows = result_rows(result.clip.source or "", result)
            self._emit(csv_lines([result_columns(result), *rows] if self._count == 0 else rows))
        self._count += 1

    def _open(self) -> TextIO:
        if self._file is None:
            if self._output is None:
                self._file = sys.stdout
                if isinstance(self._file, io.TextIOWrapper):
                    self._file.reconfigure(errors="backslashreplace")
            else:
                self._file = self._output.open(
                    "w", encoding="utf-8", errors="backslashreplace", newline=""
                )
        return self._file

    def _emit(self, text: str) -> None:
        file = self._open()
        file.write(text)
        file.flush()


def result_columns(result: Tags | Taggram | Events) -> tuple[str, ...]:
    """Return the heading of a CSV of such results."""
    if isinstance(result, Taggram):
        return taggram_columns(result.tags)
    return TAG_COLUMNS if isinstance(result, Tags) else EVENT_COLUMNS


def result_rows(source: str, result: Tags | Taggram | Events) -> list[Iterable[object]]:
    """Return the rows of a CSV: one a tag, a patch or an event, under ``result_columns``."""
    cell = path_cell(source)
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


def taggram_columns(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of a table of taggrams: no two have the same name."""
    columns = dict.fromkeys(("source", "time_s"))
    for column in map(safe_tag, tags):
        while column in columns:
            column += " (tag)"
        columns[column] = None
    return tuple(columns)


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
            f"output {str(output)!r} must end in .txt, .json, .jsonl, .csv or .parquet; received "
            f"{suffix!r} (--format chooses a format for any other ending)"
        )
    return _SUFFIXES[suffix]
