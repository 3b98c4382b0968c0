"""Outputs of several library runs joined to one, and what is missing in it or there twice."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from musicnn_zoo.errors import ArgumentError, check_choice, check_path
from musicnn_zoo.library.remote_store import settings_at, store_at
from musicnn_zoo.library.store import LIBRARY_SUFFIXES, Store, differing_settings
from musicnn_zoo.sound.find import WHOLE, Shard, unchanged
from musicnn_zoo.sound.remote import Address, as_address
from musicnn_zoo.sound.sources import local_path
from musicnn_zoo.text import count, path_cell, printable, safe_cell

Twice = Literal["refuse", "first", "last"]

_TOLERANCE = 1e-5
"""So much may the scores of two computations of one file differ."""
_MOST_NAMED = 5


@dataclass(frozen=True)
class Merging:
    """What became of some parts.

    Parameters
    ----------
    parts, files : int
        How many outputs were read, and of how many files the results are in the one now.
    added : int
        Files of which the results came in this time.
    repeated : int
        Files whose results were there already or in an earlier part, and were not written again.
    replaced : int
        Those among them whose results differed, so that one was chosen.
    missing : tuple of str
        Shares of the library that no part has, such as ``"3/16"``.
    unfinished : tuple of str
        Shares that a run began and did not end, each with its part.
    failures : tuple of (str, str)
        Files that no part could do: path and reason, as they are listed beside the output.
    """

    parts: int
    files: int
    added: int = 0
    repeated: int = 0
    replaced: int = 0
    missing: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    failures: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def complete(self) -> bool:
        """Whether each file of the library has its results."""
        return not (self.missing or self.unfinished or self.failures)

    def __str__(self) -> str:
        different = f", {self.replaced:,} of those different" if self.replaced else ""
        files = (
            f"{count(self.files, 'file')} ({self.added:,} new, {self.repeated:,} twice{different})"
        )
        lines = [f"{count(self.parts, 'part')}, {files}, {len(self.failures):,} failed"]
        if self.missing:
            lines.append(f"missing shards: {', '.join(self.missing)}")
        if self.unfinished:
            lines.append(f"not finished, run them again: {', '.join(self.unfinished)}")
        return "\n".join(lines)


def merge_outputs(
    output: str | os.PathLike[str],
    parts: Iterable[str | os.PathLike[str]],
    *,
    twice: Twice = "refuse",
    overwrite: bool = False,
) -> Merging:
    """Join outputs of library runs, such as those of the shares of a library, to one.

    A later run can continue it, as any other. A merge that was killed goes on when it is called
    again, and parts can be added later.

    Parameters
    ----------
    output : path
        A ``.parquet``, ``.jsonl`` or ``.csv``, here or at an address.
    parts : sequence of path
        Outputs of the same ending, made with the same settings, here or at addresses. Each needs
        its run folder beside it. What a kill has left of one is repaired; otherwise they stay as
        they are.
    twice : {"refuse", "first", "last"}
        What to do about a file that two parts have with different results. Where the results agree
        (to 1e-5, and so do size and time of change of the file), they are written once.
    overwrite : bool
        Begin anew, instead of adding to an output that is there.

    Returns
    -------
    Merging
        What was joined, and what is missing. The failures are also listed in
        ``<output>.run/failures.csv``.

    Raises
    ------
    ArgumentError
        If the parts do not fit each other, or a part is none or is being written; and with
        ``twice="refuse"``, if a file has two results. The files that were joined before stay.
    OutputError
        If the output cannot be written or a part cannot be read.
    """
    check_choice("twice", twice, ("refuse", "first", "last"))
    place, places = _place(output), [_place(part) for part in parts]
    _check_places(place, places)
    settings = _common_settings(places)
    with store_at(place, settings, overwrite=overwrite, keep_failures=True) as store:
        merger = _Merger(store, twice)
        for part in places:
            with store_at(part, settings, keep_failures=True) as one:
                merger.add(part, one)
        return merger.finish(len(places))


def _place(path: str | os.PathLike[str]) -> Path | Address:
    check_path("an output", path)
    return as_address(path) or Path(local_path(path))


def _real(place: Path | Address) -> str:
    return str(place) if isinstance(place, Address) else os.path.realpath(place)


def _check_places(output: Path | Address, parts: Sequence[Path | Address]) -> None:
    suffix = output.suffix.lower()
    if suffix not in LIBRARY_SUFFIXES:
        raise ArgumentError(
            f"output {str(output)!r} must end in {', '.join(LIBRARY_SUFFIXES)}; received {suffix!r}"
        )
    if not parts:
        raise ArgumentError("parts must name at least one output; received none")
    for part in parts:
        if part.suffix.lower() != suffix:
            raise ArgumentError(
                f"part {str(part)!r} must end in {suffix}, as the output does; "
                f"received {part.suffix!r}"
            )
        if _real(part) == _real(output):
            raise ArgumentError(f"part {str(part)!r} is the output itself; leave it out")
    if len(set(map(_real, parts))) < len(parts):
        raise ArgumentError("a part is named twice; name each once")


def _common_settings(parts: Sequence[Path | Address]) -> dict[str, Any]:
    first = settings_at(parts[0])
    for part in parts[1:]:
        if different := differing_settings(first, settings_at(part)):
            raise ArgumentError(
                f"part {str(part)!r} was made with other settings than {str(parts[0])!r}: "
                f"{different.replace('(now', '(here')}; merge outputs of the same settings only"
            )
    return first


class _Merger:
    """Adds parts to a store, and counts."""

    def __init__(self, store: Store, twice: Twice) -> None:
        self._store = store
        self._twice = twice
        self._added = self._repeated = self._replaced = 0
        self._unfinished: dict[str, str] = {}
        self._failures: dict[str, str] = dict(store.listed_failures())

    def add(self, part: Path | Address, origin: Store) -> None:
        for share, finished in origin.shares.items():
            if not finished:
                self._unfinished[share if share != str(WHOLE) else str(part)] = str(part)
            if finished or share not in self._store.shares:
                self._store.note_share(share, finished=finished)
        for path, reason in origin.listed_failures():
            self._failures.setdefault(path, reason)
        for stamp in origin.crashed.values():
            if stamp.path not in self._store.crashed:
                self._store.record_crash(stamp)
        for batch in origin.batches():
            there = {stamp.path for stamp in batch.files} & self._store.known.keys()
            different = self._different(there, origin) if there else []
            self._repeated += len(there)
            if different and self._twice == "refuse":
                named = ", ".join(printable(path) for path in different[:_MOST_NAMED])
                more = len(different) - _MOST_NAMED
                raise ArgumentError(
                    f"part {str(part)!r} has other results than the parts before it of {named}"
                    + (f" and {more} more" if more > 0 else "")
                    + "; choose those of the first or the last part (--twice first, --twice last)"
                )
            self._replaced += len(different)
            if self._twice == "last":
                self._store.discard(different)
            new = {stamp.path for stamp in batch.files} - self._store.known.keys()
            self._store.take(batch, new, origin)
            self._added += len(new - set(different))

    def _different(self, paths: set[str], origin: Store) -> list[str]:
        ours, theirs = self._store.cells(paths), origin.cells(paths)
        known, others = self._store.known, origin.known
        return sorted(
            path
            for path in paths
            if not (unchanged(known[path], others[path]) and _agree(ours[path], theirs[path]))
        )

    def finish(self, parts: int) -> Merging:
        store = self._store
        done = {safe_cell(printable(path_cell(stamp.source))) for stamp in store.known.values()}
        failures = {path: why for path, why in self._failures.items() if path not in done}
        store.replace_failures(failures)
        open_shares = [share for share, finished in store.shares.items() if not finished]
        unfinished = [
            f"{share} ({self._unfinished[share]})" if share in self._unfinished else share
            for share in open_shares
            if share != str(WHOLE)
        ]
        unfinished += [part for name, part in self._unfinished.items() if name == part]
        return Merging(
            parts, len(store.known), self._added, self._repeated, self._replaced,
            _missing(store.shares), tuple(unfinished), tuple(failures.items()),
        )  # fmt: skip


def _missing(shares: Mapping[str, bool]) -> tuple[str, ...]:
    """Return the shares that nobody has begun, unless all of another count are there."""
    there = [Shard.parse(share) for share in shares]
    counts = sorted({share.count for share in there})
    absent = {
        number: [Shard(k, number) for k in range(1, number + 1) if Shard(k, number) not in there]
        for number in counts
    }
    if not absent or not all(absent.values()):
        return ()
    return tuple(str(share) for number in counts for share in absent[number])


def _agree(some: Any, other: Any) -> bool:
    """Whether rows are equal, numbers nearly so."""
    if isinstance(some, float) and isinstance(other, float | int):
        return math.isclose(some, other, rel_tol=0, abs_tol=_TOLERANCE)
    if isinstance(some, list) and isinstance(other, list):
        return len(some) == len(other) and all(map(_agree, some, other))
    if isinstance(some, dict) and isinstance(other, dict):
        return some.keys() == other.keys() and all(_agree(some[k], other[k]) for k in some)
    return bool(some == other)
