"""A library run: results of many files. It can be killed at any moment, and is then resumed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicnn_zoo.errors import ArgumentError, AudioError, DecoderCrashError
from musicnn_zoo.library.store import Stamp, Store, take_stamp, unchanged
from musicnn_zoo.library.text_store import TextStore
from musicnn_zoo.tagging.results import FileResult

LIBRARY_SUFFIXES = (".parquet", ".jsonl", ".csv")
"""Endings of the outputs that a later run goes on with."""


def open_store(output: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> Store:
    """Return the store that writes ``output``; use it as a context manager.

    Parameters
    ----------
    output : Path
        ``.jsonl`` (one line a file), ``.csv`` (one line a tag) or ``.parquet`` (a folder of
        Parquet files, which together are one table). A folder ``<output>.run`` beside it
        holds what a later run needs to go on.
    settings : mapping
        All that the results depend on, as values that JSON knows; ``"kind"`` is one of
        :data:`~musicnn_zoo.library.store.KINDS`. A run with other settings is refused.
    overwrite : bool
        Start from nothing instead of going on.

    Raises
    ------
    ArgumentError
        If the store cannot hold such results, or ``output`` is no place for it.
    """
    suffix = output.suffix.lower()
    if suffix not in LIBRARY_SUFFIXES:
        raise ArgumentError(
            f"output {str(output)!r} must end in .parquet, .jsonl or .csv; received {suffix!r}"
        )
    if suffix == ".parquet":
        from musicnn_zoo.library.parquet_store import ParquetStore

        return ParquetStore(output, settings, overwrite=overwrite)
    return TextStore(output, settings, overwrite=overwrite)


Analyse = Callable[[list[str]], Iterator[FileResult[Any]]]


@dataclass
class Summary:
    """What a library run did: files by what became of them, seconds of audio, and the time it took.

    Files were done; skipped, as their results were there; failed; or moved: the results of the
    same content at another place became theirs. Damaged files were done as far as they decode.
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    audio_s: float = 0.0
    elapsed_s: float = 0.0
    moved: int = 0
    damaged: int = 0

    def __str__(self) -> str:
        moved = f"{self.moved} moved, " if self.moved else ""
        damaged = f" ({self.damaged} damaged)" if self.damaged else ""
        text = f"{self.done} done{damaged}, {self.skipped} unchanged, {moved}{self.failed} failed"
        if self.done:
            speed = self.audio_s / max(self.elapsed_s, 1e-9)
            text += f"; {self.audio_s / 3600:.2f} hours of audio at {speed:.0f} × real time"
        return text


def run_library(
    paths: Iterable[str],
    analyse: Analyse,
    store: Store,
    *,
    content_hash: bool = False,
    failed: Callable[[str, Exception], str] = lambda _, error: str(error),
) -> Summary:
    """Add the results of all files to a store that does not have them yet.

    A file is known by its absolute path without links, however it is named. It counts as unchanged,
    and is skipped, if its size and its time of change are those that it had when it was done. One
    that has changed is done again and its old rows dropped. Files that failed are tried again by
    the next run, but for those that crashed the decoder and have not changed.

    Parameters
    ----------
    paths : iterable of str
        Each file is done once, under the first of its names, which stands in the output as its
        source.
    analyse : callable
        Takes the files to do and gives their results in the same order, such as
        :meth:`musicnn_zoo.Tagger.tag_files`. Not called if there is nothing to do.
    store : Store
        Entered.
    content_hash : bool
        Compare the SHA-256 of the content instead of the time of change. The rows of a file that is
        no longer where it was then become those of a new file with its content. If it is still
        there, the new file is a copy, which gets rows of its own.
    failed : callable, optional
        Receives each file that failed and its error; returns the reason to write down.

    Raises
    ------
    OutputError
        If the store cannot be written. What was written stays.
    """
    begun = time.monotonic()
    summary = Summary()

    def note_failure(path: str, error: Exception) -> None:
        summary.failed += 1
        store.record_failures([(path, failed(path, error))])

    stamps: dict[str, Stamp] = {}
    for source in dict.fromkeys(paths):
        try:
            stamp = take_stamp(source, content_hash=content_hash)
        except AudioError as error:
            note_failure(source, error)
            continue
        stamps.setdefault(stamp.path, stamp)
    todo = {
        path: stamp
        for path, stamp in stamps.items()
        if path not in store.known or not unchanged(store.known[path], stamp)
    }
    summary.skipped = len(stamps) - len(todo)
    moves = _find_moves(store.known, todo) if content_hash else {}
    store.discard((todo.keys() & store.known.keys()) - moves.keys())
    store.move(moves)
    for stamp in moves.values():
        del todo[stamp.path]
    summary.moved = len(moves)
    for path, stamp in list(todo.items()):
        if path in store.crashed and unchanged(store.crashed[path], stamp):
            del todo[path]
            reason = "crashed the decoder in an earlier run, and has not changed"
            note_failure(stamp.source, AudioError(f"{stamp.source}: {reason}"))
    if todo:
        sources = [stamp.source for stamp in todo.values()]
        for stamp, result in zip(todo.values(), analyse(sources), strict=True):
            if result.error is not None:
                if isinstance(result.error, DecoderCrashError):
                    store.record_crash(stamp)
                note_failure(stamp.source, result.error)
                continue
            value = result.unwrap()
            store.add(stamp, value)
            summary.done += 1
            summary.damaged += value.clip.damaged
            summary.audio_s += value.clip.duration_s
    summary.elapsed_s = time.monotonic() - begun
    return summary


def _find_moves(known: Mapping[str, Stamp], todo: Mapping[str, Stamp]) -> dict[str, Stamp]:
    """Return the files to which rows go since they have the same content, by the known paths.

    Rows can go if their file is gone, or has changed.
    """
    old_paths: dict[tuple[int, str | None], list[str]] = {}
    for path, stamp in known.items():
        if stamp.sha256 is not None:
            old_paths.setdefault((stamp.size, stamp.sha256), []).append(path)
    moves: dict[str, Stamp] = {}
    for stamp in todo.values():
        for path in old_paths.get((stamp.size, stamp.sha256), ()):
            if path not in moves and (path in todo or not os.path.lexists(path)):
                moves[path] = stamp
                break
    return moves
