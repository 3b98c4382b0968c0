"""Results of many files in one output: a run can be killed at any moment, and is then resumed."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from musicnn_zoo.errors import ArgumentError, AudioError, DecoderCrashError, OutputError
from musicnn_zoo.files import (
    GrowingFile,
    check_parent,
    json_line,
    locked,
    read_lines,
    replacing,
    sync_folder,
)
from musicnn_zoo.library.text_store import KINDS, REMEDY, SYNC_FILES, Batch, Result, TextRows
from musicnn_zoo.sound.find import Shard, Stamp, is_below, is_there, take_stamps, unchanged
from musicnn_zoo.tagging.results import FileResult
from musicnn_zoo.text import csv_lines, path_cell, path_to_text, printable, safe_cell

if TYPE_CHECKING:
    from musicnn_zoo.library.parquet_store import ParquetRows

LIBRARY_SUFFIXES = (".parquet", ".jsonl", ".csv")
"""Endings of the outputs that a later run continues."""
SYNC_S = 2.0
"""Results are safe from a power loss after so long, or ``SYNC_FILES`` files, at the latest."""
FAILURE_COLUMNS = ("path", "reason")
_DAMAGE_COLUMNS = ("source", "lost_s")
LAYOUT = 1
"""Increased when runs of now cannot go on from outputs of before."""


class Store:
    """Results of many files in one output, one kind of result.

    ``output`` is a ``.jsonl`` (one line a file), a ``.csv`` (one line a tag) or a ``.parquet`` (a
    folder of Parquet files, which together are one table). The folder ``<output>.run`` beside it
    holds what a later run needs to continue. ``settings`` are all that the results depend on, as
    values that JSON knows; a run with others is refused. Their ``"kind"`` is one of :data:`KINDS`.
    ``overwrite`` starts from nothing. Messages say that the output is ``called`` so, by default by
    its path.

    Use it as a context manager. Entering it takes the lock, repairs what a crash left, and checks
    the settings; leaving it completes the output. After an :class:`OutputError` it can only be
    left. An :class:`ArgumentError` refuses results that the output cannot hold, and places where
    it cannot be.

    ``known`` are the files whose results are in the output, and ``crashed`` those that crashed the
    decoder, by path. ``failures`` is the list of failures, and ``damage`` that of the files in the
    output of which some could not be decoded, with the columns ``source``, as in the output, and
    ``lost_s``; it exists if there are any. ``shares`` are those of a library, as ``"3/16"``,
    that runs have begun to write here, and whether they came to their end.
    """

    def __init__(
        self,
        output: Path,
        settings: Mapping[str, Any],
        *,
        overwrite: bool = False,
        called: str | None = None,
        keep_failures: bool = False,
    ) -> None:
        suffix = output.suffix.lower()
        if suffix not in LIBRARY_SUFFIXES:
            raise ArgumentError(
                f"output {str(output)!r} must end in .parquet, .jsonl or .csv; received {suffix!r}"
            )
        check_parent(output)
        self._output = output.resolve() if output.is_symlink() else output
        self._label = f"output {called or str(self._output)!r}"
        self._settings = json.loads(json.dumps({**settings, "layout": LAYOUT}))
        if self._settings.get("kind") not in KINDS:
            raise ArgumentError(f"settings need a kind, one of {', '.join(KINDS)}")
        if self._settings["kind"] == "taggrams" and "tags" not in self._settings:
            raise ArgumentError("settings of taggrams need the tags")
        self._overwrite = overwrite
        self._keep_failures = keep_failures
        self._folder = _run_folder(self._output)
        self._rows = _rows_of(suffix, self._output, self._folder, self._settings, self._label)
        self._lock = ExitStack()
        self._settings_file = self._folder / "settings.json"
        self.failures = self._folder / "failures.csv"
        self.damage = self._folder / "damaged.csv"
        self._told = self._folder / "told.csv"
        self._crashes = self._folder / "crashed.jsonl"
        self._shares_file = self._folder / "shares.json"
        self.known: dict[str, Stamp] = {}
        self.crashed: dict[str, Stamp] = {}
        self.shares: dict[str, bool] = {}
        self._failed_before: set[str] = set()
        self._lost: dict[str, str] = {}
        self._failed: OutputError | None = None
        self._unsynced = 0
        self._synced_at = time.monotonic()

    def __enter__(self) -> Store:
        with self._reporting():
            if not (self._overwrite or self._settings_file.exists()) and self._rows.exist():
                raise ArgumentError(
                    f"{self._label} was not made by a library run, or its folder "
                    f"{self._folder.name!r} is gone; {REMEDY}"
                )
            self._folder.mkdir(exist_ok=True)
            self._lock.enter_context(locked_output(self._folder / "lock", self._label))
            try:
                self._open()
            except BaseException:
                self._leave()
                raise
        return self

    def _open(self) -> None:
        if self._overwrite:
            self._rows.remove()
        if self._overwrite or not self._settings_file.exists() or not self._output.exists():
            for leftover in (*self._rows.files, self._crashes, self.damage, self._shares_file):
                leftover.unlink(missing_ok=True)
            sync_folder(self._folder)
            with replacing(self._settings_file) as file:
                file.write(json.dumps(self._settings, indent=1).encode())
            self._rows.make()
            sync_folder(self._output.parent)
        else:
            self._check_settings()
        if not (self._keep_failures and self.failures.exists()):
            self._begin_failures()
        self.known = self._rows.open()
        listed = self._listed_damage()
        cells = {path: path_cell(stamp.source) for path, stamp in self.known.items()}
        self._lost = {path: listed[cell] for path, cell in cells.items() if cell in listed}
        self._write_damage(self.known)
        self.crashed = {stamp.path: stamp for stamp, _ in read_lines(self._crashes, Stamp.of)}
        with suppress(OSError, ValueError, TypeError):
            self.shares = {str(k): v is True for k, v in _read_json(self._shares_file).items()}
        sync_folder(self._folder)

    def _begin_failures(self) -> None:
        """Begin a list of failures, and keep that of the last run that came to its end.

        A run that is killed tells nobody what failed; the next one does.
        """
        if self.failures.exists() and not self._told.exists():
            self.failures.replace(self._told)
        self._failed_before = {reason for _, reason in _read_table(self._told, FAILURE_COLUMNS)}
        self.failures.write_bytes(csv_lines([FAILURE_COLUMNS]).encode())

    def _check_settings(self) -> None:
        """Refuse to continue with other settings than the output was made with."""
        try:
            old = dict(_read_json(self._settings_file))
        except (ValueError, TypeError) as error:
            raise ArgumentError(
                f"{self._label} was made with settings that cannot be read; {REMEDY}"
            ) from error
        if different := differing_settings(old, self._settings):
            raise ArgumentError(
                f"{self._label} was made with other settings: {different}; {REMEDY}"
            )

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if self._failed is None:
                with self._reporting():
                    self._rows.complete()
                    if kind is None and not self._keep_failures:
                        self._told.unlink(missing_ok=True)
        except OutputError:
            if error is None:
                raise
        finally:
            self._leave()

    def _leave(self) -> None:
        try:
            with suppress(OSError):
                self._rows.close()
        finally:
            self._lock.close()

    def add(self, stamp: Stamp, result: Result) -> None:
        """Add the result of one file; when this returns, a kill of the process does not lose it.

        A file that is known must be discarded first.
        """
        if stamp.path in self.known:
            raise ArgumentError(f"{stamp.source}: is in the output already")
        if not isinstance(result, KINDS[self._settings["kind"]]):
            raise ArgumentError(f"this output holds {self._settings['kind']} only")
        with self._reporting():
            if result.clip.damaged:  # first: the next run drops files without rows from the list
                self._add_damage(stamp, f"{result.clip.lost_s:.3f}")
            self._rows.append(stamp, result)
            self.known[stamp.path] = stamp
            self._unsynced += 1
            if self._unsynced >= SYNC_FILES or time.monotonic() - self._synced_at >= SYNC_S:
                self._rows.sync()
                self._unsynced, self._synced_at = 0, time.monotonic()

    def discard(self, paths: Collection[str]) -> None:
        """Drop all rows of these files, whose results will be added again."""
        self._change(dict.fromkeys(self.known.keys() & set(paths)))

    def move(self, moves: Mapping[str, Stamp]) -> None:
        """Give the rows of known paths to files that have none: those with their content now."""
        if unknown := moves.keys() - self.known.keys():
            raise ArgumentError(f"{min(unknown)}: is not in the output")
        taken = self.known.keys() - moves.keys()
        for stamp in moves.values():
            if stamp.path in taken:
                raise ArgumentError(f"{stamp.source}: is in the output already")
            taken.add(stamp.path)
        self._change(moves)

    def _change(self, changes: Mapping[str, Stamp | None]) -> None:
        if not changes:
            return
        changed = {path: changes.get(path, stamp) for path, stamp in self.known.items()}
        kept = {path: stamp for path, stamp in changed.items() if stamp is not None}
        with self._reporting():
            self._write_damage(self.known, kept)  # whichever of the two survives a crash
            self._rows.rewrite(changes)
            self._write_damage(kept)
            self._lost = {
                kept[path].path: text for path, text in self._lost.items() if path in kept
            }
            self.known = {stamp.path: stamp for stamp in kept.values()}

    def _listed_damage(self) -> dict[str, str]:
        """Return the seconds that were lost, as text, by the cells of the sources."""
        return {row[0]: row[1] for row in _read_table(self.damage, _DAMAGE_COLUMNS)}

    def _write_damage(self, *places: Mapping[str, Stamp]) -> None:
        """Let the list hold what was lost, by what the files are called in ``places``."""
        cells = {
            path_cell(stamps[path].source): seconds
            for stamps in places
            for path, seconds in self._lost.items()
            if path in stamps
        }
        if cells != self._listed_damage():
            with replacing(self.damage) as file:
                file.write(csv_lines([_DAMAGE_COLUMNS, *cells.items()]).encode())

    def _add_damage(self, stamp: Stamp, seconds: str) -> None:
        """Add a file to the list; when this returns, a power loss does not lose it."""
        with closing(GrowingFile(self.damage)) as file:
            head = [_DAMAGE_COLUMNS] if file.end == 0 else []
            file.append(csv_lines([*head, (path_cell(stamp.source), seconds)]).encode())
            file.sync()
        self._lost[stamp.path] = seconds

    def record_failures(self, failures: Sequence[tuple[str, str]]) -> None:
        """List files that could not be used, each with the reason on one line that is safe to view.

        The list is of the latest run only.
        """
        rows = failure_cells(failures)
        with self._reporting(), closing(GrowingFile(self.failures)) as file:
            file.append(csv_lines(rows).encode())

    def place_of(self, name: str) -> str:
        """Return what a file of the run folder is called."""
        return str(self._folder / name)

    def note_written(self, stamps: Iterable[Stamp]) -> None:
        """Count files as known whose results another process has put into the output."""
        self.known.update((stamp.path, stamp) for stamp in stamps)

    def reread(self) -> None:
        """Look again at what is in an output of Parquet files, into which others have written.

        Rows that are there twice are dropped.
        """
        from musicnn_zoo.library.parquet_store import ParquetRows

        assert isinstance(self._rows, ParquetRows)
        with self._reporting():
            self.known = {}  # not twice in memory
            self.known = self._rows.open()
            found = {path: f"{lost_s:.3f}" for path, lost_s in self._rows.damaged().items()}
            self._lost = {**self._lost, **found}
            self._write_damage(self.known)

    def listed_failures(self) -> list[tuple[str, str]]:
        """Return the list of failures, as it is written."""
        return [(path, why) for path, why in _read_table(self.failures, FAILURE_COLUMNS)]

    def replace_failures(self, listed: Mapping[str, str]) -> None:
        """Let the list of failures hold these, each with its reason, as they were listed before."""
        with self._reporting(), replacing(self.failures) as file:
            file.write(csv_lines([FAILURE_COLUMNS, *listed.items()]).encode())

    def note_share(self, shard: str, *, finished: bool) -> None:
        """Write down that a run over a share of a library has begun, or has come to its end."""
        with self._reporting():
            if finished:
                self._rows.sync()
            self.shares[shard] = finished
            with replacing(self._shares_file) as file:
                file.write(json.dumps(self.shares).encode())

    def batches(self) -> Iterator[Batch]:
        """Yield all results, some files at a time, as they are."""
        with self._reporting():
            yield from self._rows.batches()

    def lost_s(self, path: str) -> str | None:
        """Return the seconds of a file that could not be decoded, as text, if it is damaged."""
        return self._lost.get(path)

    def take(self, batch: Batch, paths: Collection[str], origin: Store) -> None:
        """Add the results of some files of a batch of another store; none of them is known."""
        with self._reporting():
            stamps = {stamp.path: stamp for stamp in batch.files if stamp.path in paths}
            for path, stamp in stamps.items():
                if (lost_s := origin.lost_s(path)) is not None:
                    self._add_damage(stamp, lost_s)
            self._rows.take(batch, stamps)
            self._rows.sync()
            self.known |= stamps

    def cells(self, paths: Collection[str]) -> dict[str, list[dict[str, Any]]]:
        """Return the rows of known files, to be compared; without their sources."""
        with self._reporting():
            return self._rows.cells(paths)

    def failed_as_before(self, reason: str) -> bool:
        """Whether the previous run that came to its end noted the same failure."""
        return safe_cell(printable(reason)) in self._failed_before

    def record_crash(self, stamp: Stamp) -> None:
        """Remember a file that crashed the decoder, for later runs."""
        with self._reporting():
            with closing(GrowingFile(self._crashes)) as file:
                file.append(json_line(asdict(stamp)))
                file.sync()
            sync_folder(self._folder)
            self.crashed[stamp.path] = stamp

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        if self._failed is not None:
            raise self._failed
        try:
            yield
        except OSError as error:
            self._failed = OutputError(
                f"{self._label} cannot be written ({error.strerror or error}); "
                f"files that are safe in it: {len(self.known)}; "
                "the same command goes on from there when it is run again"
            )
            raise self._failed from error


def locked_output(lock: Path, label: str) -> AbstractContextManager[None]:
    """Hold the lock of an output, whose label begins messages; refuse it where another run does."""
    return locked(
        lock,
        busy=f"{label}: another run is writing it; let it end, or name another output",
        failure=f"{label} cannot be written",
    )


def _run_folder(output: Path) -> Path:
    return output.with_name(f"{output.name}.run")


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_bytes())
    return content


def read_settings(output: Path) -> dict[str, Any]:
    """Return the settings that an output was made with, for a :class:`Store` that continues it.

    An :class:`ArgumentError` says if there is none that a library run wrote.
    """
    try:
        settings = dict(_read_json(_run_folder(output.resolve()) / "settings.json"))
    except (OSError, ValueError, TypeError) as error:
        missing = not os.path.lexists(output)
        raise ArgumentError(
            f"{output}: there is no such output"
            if missing
            else f"{output}: was not made by a library run, or its folder "
            f"{_run_folder(output).name!r} is not beside it"
        ) from error
    return {name: value for name, value in settings.items() if name != "layout"}


def differing_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say in which settings two outputs differ; nothing if they agree."""
    if "silence" in new:
        old = {"silence": "keep", **old}  # what was done before there was a choice
    return ", ".join(
        f"{_NAMED.get(name, name)} {_shown(old, name)} (now {_shown(new, name)})"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    )


_LONGEST_SHOWN = 80
_NAMED = {
    "content_hash": "--hash", "duration": "--duration", "hop_s": "--hop",
    "kind": "the kind of result", "layer": "--layer",
    "layout": "the layout of the output", "min_length_s": "--min-length", "model": "--model",
    "offset": "--offset", "patch_s": "--patch", "pooling": "--pooling", "precision": "--precision",
    "release": "--release", "silence": "--silence", "tags": "the tags", "tail": "--tail",
    "threshold": "--threshold", "top_k": "--top-k", "weights": "the weights of the model",
    "wide": "--wide",
}  # fmt: skip
"""What settings are called on the command line."""


def failure_cells(failures: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return what is listed of files that could not be used, and of their reasons."""
    return [
        (safe_cell(printable(path_to_text(path))), safe_cell(printable(reason)))
        for path, reason in failures
    ]


def parse_table(text: Iterable[str], columns: tuple[str, ...]) -> list[list[str]]:
    """Return the rows of a CSV with these columns, without its heading."""
    return [row for row in csv.reader(text) if len(row) == len(columns) and tuple(row) != columns]


def _read_table(path: Path, columns: tuple[str, ...]) -> list[list[str]]:
    """Return the rows of a CSV of the run folder; none where it is not there or is broken."""
    rows: list[list[str]] = []
    with (
        suppress(FileNotFoundError, csv.Error),
        path.open(encoding="utf-8", errors="replace", newline="") as file,
    ):
        rows += parse_table(file, columns)
    return rows


def _shown(settings: Mapping[str, Any], name: str) -> str:
    value = settings.get(name)
    if value is None or value is False:
        return "not given"
    if value is True:
        return "given"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def _rows_of(
    suffix: str, output: Path, folder: Path, settings: Mapping[str, Any], label: str
) -> TextRows | ParquetRows:
    """Return what writes results in the format of an ending."""
    if suffix == ".parquet":
        from musicnn_zoo.library.parquet_store import ParquetRows

        return ParquetRows(output, folder, settings, label)
    return TextRows(output, folder, settings, label, is_csv=suffix == ".csv")


Analyse = Callable[[list[str]], Iterator[FileResult[Any]]]


@dataclass
class Summary:
    """What a library run did: files by what became of them, seconds of audio, and the time it took.

    Files were done; skipped, as their results were there; failed; or moved: the results of the
    same content at another place became theirs. Damaged files were done as far as they decode.
    The rows of files that were gone were pruned, if that was asked for.
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    audio_s: float = 0.0
    elapsed_s: float = 0.0
    moved: int = 0
    damaged: int = 0
    pruned: int = 0

    def __str__(self) -> str:
        moved = f"{self.moved} moved, " if self.moved else ""
        damaged = f" ({self.damaged} damaged)" if self.damaged else ""
        pruned = f"{self.pruned} pruned, " if self.pruned else ""
        text = f"{self.done} done{damaged}, {self.skipped} unchanged, {moved}{pruned}"
        text += f"{self.failed} failed"
        if self.done:
            speed = self.audio_s / max(self.elapsed_s, 1e-9)
            text += f"; {self.audio_s / 3600:.2f} hours of audio at {speed:.0f} × real time"
        return text


class Searched(NamedTuple):
    """Which rows of files that are gone go, too: those below ``folders`` and not below ``unread``.

    Both are absolute paths without links, or addresses.
    """

    folders: frozenset[str] = frozenset()
    unread: frozenset[str] = frozenset()

    def gone(self, known: Iterable[str]) -> set[str]:
        """Return those of some paths."""
        return {
            path
            for path in known
            if is_below(path, self.folders)
            and not is_below(path, self.unread)
            and not is_there(path)
        }


NOWHERE = Searched()


def run_library(
    paths: Iterable[str],
    analyse: Analyse,
    store: Store,
    *,
    content_hash: bool = False,
    shard: Shard | None = None,
    failed: Callable[[str, Exception], str] = lambda _, error: str(error),
    pruned: Searched = NOWHERE,
) -> Summary:
    """Add the results of all files to a store that does not have them yet.

    A file is known by its absolute path without links, however it is named. It counts as unchanged,
    and is skipped, if its size and its time of change are those that it had when it was done. One
    that has changed is done again and its old rows dropped. Files that failed are tried again by
    the next run, except those that crashed the decoder and have not changed. Each file is done
    once, under the first of its names, which stands in the output as its source.

    ``analyse`` takes the files to do and gives their results in the same order, such as
    :meth:`musicnn_zoo.Tagger.tag_files`; it is not called if there is nothing to do. ``failed``
    receives each file that failed and its error, and returns the reason to write down.

    With ``content_hash`` the SHA-256 of the content counts instead of the time of change. The rows
    of a file that is no longer where it was then become those of a new file with its content. If
    it is still there, the new file is a copy, which gets rows of its own.

    Rows of files that are gone stay, except those that ``pruned`` names.

    With ``shard``, of which the paths are all files, the store notes when it is begun and finished.

    If the store cannot be written, the :class:`OutputError` ends the run; what was written stays.
    """
    begun = time.monotonic()
    summary = Summary()

    def note_failure(path: str, error: Exception) -> None:
        summary.failed += 1
        store.record_failures([(path, failed(path, error))])

    if shard is not None:
        store.note_share(str(shard), finished=False)
    todo = find_todo(paths, store, summary, note_failure, content_hash=content_hash, pruned=pruned)
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
    if shard is not None:
        store.note_share(str(shard), finished=True)
    summary.elapsed_s = time.monotonic() - begun
    return summary


class Known(Protocol):
    """What is in an output: a :class:`Store`, or one that a cluster writes."""

    known: dict[str, Stamp]
    crashed: dict[str, Stamp]

    def discard(self, paths: Collection[str]) -> None:
        """Drop all rows of these files."""

    def move(self, moves: Mapping[str, Stamp]) -> None:
        """Give the rows of known paths to other files."""


def find_todo(
    paths: Iterable[str],
    store: Known,
    summary: Summary,
    note_failure: Callable[[str, Exception], None],
    *,
    content_hash: bool,
    pruned: Searched = NOWHERE,
) -> dict[str, Stamp]:
    """Return the files that are to be done, by path; see :func:`run_library`.

    Rows of files that have changed are dropped, and those of files that were moved go along.
    ``summary`` counts what needs nothing done, and ``note_failure`` takes what cannot be done.
    """
    stamps: dict[str, Stamp] = {}
    for source, stamp in take_stamps(dict.fromkeys(paths), content_hash=content_hash):
        if isinstance(stamp, AudioError):
            note_failure(source, stamp)
        else:
            stamps.setdefault(stamp.path, stamp)
    todo = {
        path: stamp
        for path, stamp in stamps.items()
        if path not in store.known or not unchanged(store.known[path], stamp)
    }
    summary.skipped = len(stamps) - len(todo)
    moves = _find_moves(store.known, todo) if content_hash else {}
    gone = pruned.gone(store.known.keys() - stamps.keys() - moves.keys())
    summary.pruned = len(gone)
    store.discard(((todo.keys() & store.known.keys()) | gone) - moves.keys())
    store.move(moves)
    for stamp in moves.values():
        del todo[stamp.path]
    summary.moved = len(moves)
    for path, stamp in list(todo.items()):
        if path in store.crashed and unchanged(store.crashed[path], stamp):
            del todo[path]
            reason = "crashed the decoder in an earlier run, and has not changed"
            note_failure(stamp.source, AudioError(f"{stamp.source}: {reason}"))
    return todo


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
            if path not in moves and (path in todo or not is_there(path)):
                moves[path] = stamp
                break
    return moves
