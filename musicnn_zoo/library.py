"""A run over a library of files that goes on where it was, whatever ended it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from musicnn_zoo.errors import AudioError
from musicnn_zoo.results import Embedding, FileResult, Tags
from musicnn_zoo.stores import Stamp, Store, take_stamp, unchanged

Analyse = Callable[[list[str]], Iterator[FileResult[Any]]]


@dataclass
class Summary:
    """What a library run did.

    Parameters
    ----------
    done, skipped, failed : int
        Files whose results were written, were there already, or could not be had.
    audio_s : float
        Length of the files that were done.
    elapsed_s : float
        How long the run took.
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    audio_s: float = 0.0
    elapsed_s: float = 0.0

    def __str__(self) -> str:
        text = f"{self.done} done, {self.skipped} unchanged, {self.failed} failed"
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

    A file counts as unchanged, and is skipped, if its size and its time of change are those that
    it had when it was done. One that has changed is done again and its old rows dropped. Files
    that failed are tried again by the next run.

    Parameters
    ----------
    paths : iterable of str
        Each is done once.
    analyse : callable
        From the files to do to their results in the same order, such as
        :meth:`musicnn_zoo.Tagger.tag_files`. Not called if there is nothing to do.
    store : Store
        Entered.
    content_hash : bool
        Compare the SHA-256 of the content instead of the time of change.
    failed : callable, optional
        Receives each file that failed and its error; returns the reason to write down.

    Returns
    -------
    Summary

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

    todo: dict[str, Stamp] = {}
    changed = []
    for path in dict.fromkeys(paths):
        known = store.known.get(path)
        try:
            stamp = take_stamp(path, content_hash=content_hash)
        except AudioError as error:
            note_failure(path, error)
            continue
        if known is not None and unchanged(known, stamp):
            summary.skipped += 1
            continue
        if known is not None:
            changed.append(path)
        todo[path] = stamp
    store.discard(changed)
    if todo:
        for path, result in zip(todo, analyse(list(todo)), strict=True):
            if result.error is not None:
                note_failure(path, result.error)
                continue
            value: Tags | Embedding = result.unwrap()
            store.add(todo[path], value)
            summary.done += 1
            summary.audio_s += value.clip.duration_s
    summary.elapsed_s = time.monotonic() - begun
    return summary
