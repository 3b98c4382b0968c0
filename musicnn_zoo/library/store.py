"""What the stores of all formats share: columns, stamps of files, the run folder, and resuming."""

from __future__ import annotations

import csv
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from musicnn_zoo.errors import ArgumentError, AudioError, OutputError
from musicnn_zoo.files import (
    GrowingFile,
    check_parent,
    json_line,
    read_lines,
    replacing,
    sha256_of,
    sync_folder,
)
from musicnn_zoo.sound.find import irregularity
from musicnn_zoo.tagging.results import Embedding, Events, Taggram, Tags
from musicnn_zoo.text import csv_lines, path_cell, path_to_text, printable, safe_cell, safe_tag

SYNC_FILES = 64
"""Results are safe from a power loss after so many files, or ``SYNC_S`` seconds, at the latest."""
SYNC_S = 2.0
REMEDY = "name another output (--output), or start this one anew (--overwrite)"
TAG_COLUMNS = ("source", "rank", "tag", "score")
EVENT_COLUMNS = ("source", "tag", "start_s", "end_s", "score")
_FAILURE_COLUMNS = ("path", "reason")
_DAMAGE_COLUMNS = ("source", "lost_s")
_LAYOUT = 1

Result: TypeAlias = Tags | Taggram | Events | Embedding
KINDS: dict[str, type] = {
    "tags": Tags, "taggrams": Taggram, "events": Events, "embeddings": Embedding,
}  # fmt: skip
"""What an output may hold, by the ``kind`` in its settings."""


def taggram_columns(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of a table of taggrams: no two have the same name."""
    columns = dict.fromkeys(("source", "time_s"))
    for column in map(safe_tag, tags):
        while column in columns:
            column += " (tag)"
        columns[column] = None
    return tuple(columns)


@dataclass(frozen=True)
class Stamp:
    """A file as it was when its result was computed: its size in bytes, and its last change."""

    source: str
    """The path as the caller gave it."""
    size: int
    mtime_ns: int
    sha256: str | None = None
    """Of the content, if it was asked for."""
    path: str = ""
    """Absolute, without links: what tells the file from others. By default ``source``."""

    def __post_init__(self) -> None:
        if not self.path:
            object.__setattr__(self, "path", self.source)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Stamp:
        """Return the stamp in a record; one of an earlier release has no path but the source."""
        source: str = fields["source"]
        path = fields.get("path") or os.path.realpath(source)
        return cls(source, fields["size"], fields["mtime_ns"], fields["sha256"], path)


def take_stamp(path: str, *, content_hash: bool = False) -> Stamp:
    """Return the stamp of a file as it is now; ``content_hash`` reads it all.

    Raises
    ------
    AudioError
        If there is no such file, it cannot be read, or it is a pipe, a socket or a device.
    """
    try:
        status = Path(path).stat()
        irregular = irregularity(status.st_mode)
        if irregular is not None:
            raise AudioError(f"{path}: {irregular}")
        digest = sha256_of(Path(path)) if content_hash else None
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AudioError(f"{path}: there is no such file") from error
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror or error})") from error
    return Stamp(path, status.st_size, status.st_mtime_ns, digest, os.path.realpath(path))


def unchanged(old: Stamp, new: Stamp) -> bool:
    """Compare size and content if ``new`` has a hash, else size and time."""
    if new.sha256 is not None:
        return (old.size, old.sha256) == (new.size, new.sha256)
    return (old.size, old.mtime_ns) == (new.size, new.mtime_ns)


class StoreFolder:
    """The folder ``<output>.run``: it is locked while a store is open, and keeps its settings."""

    def __init__(self, output: Path) -> None:
        from filelock import FileLock

        self.path = output.with_name(f"{output.name}.run")
        self._label = f"output {str(output)!r}"
        self._settings = self.path / "settings.json"
        self._lock = FileLock(self.path / "lock", timeout=0, thread_local=False)

    @property
    def started(self) -> bool:
        """Whether a run has written its settings here."""
        return self._settings.exists()

    def lock(self) -> None:
        """Make the folder, and see that no other run uses it while this process lives."""
        from filelock import Timeout

        self.path.mkdir(exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise ArgumentError(
                f"{self._label}: another run is writing it; let it end, or name another output"
            ) from error

    def unlock(self) -> None:
        """Let others use the folder."""
        self._lock.release()

    def start_anew(self, settings: Mapping[str, Any], leftovers: Iterable[str]) -> None:
        """Delete what an earlier run left, then write the settings."""
        for name in leftovers:
            (self.path / name).unlink(missing_ok=True)
        sync_folder(self.path)
        with replacing(self._settings) as file:
            file.write(json.dumps(settings, indent=1).encode())

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Refuse to go on with other settings than the output was made with."""
        try:
            old = dict(json.loads(self._settings.read_bytes()))
        except (ValueError, TypeError) as error:
            raise ArgumentError(
                f"{self._label} was made with settings that cannot be read; {REMEDY}"
            ) from error
        different = [
            f"{name} {_shown(old, name)} (now {_shown(settings, name)})"
            for name in dict.fromkeys([*old, *settings])
            if _shown(old, name) != _shown(settings, name)
        ]
        if different:
            raise ArgumentError(
                f"{self._label} was made with other settings: {', '.join(different)}; {REMEDY}"
            )


def _shown(settings: Mapping[str, Any], name: str) -> str:
    return json.dumps(settings[name], sort_keys=True) if name in settings else "not set"


class DamageList:
    """Seconds lost by damaged files: a CSV that is made when the first of them comes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, str]:
        """Return what the file holds: seconds as text, by the cells of the sources."""
        lost: dict[str, str] = {}
        with suppress(FileNotFoundError, csv.Error), self.path.open(
            encoding="utf-8", errors="replace", newline=""
        ) as file:  # fmt: skip
            for row in csv.reader(file):
                if len(row) == len(_DAMAGE_COLUMNS) and tuple(row) != _DAMAGE_COLUMNS:
                    lost[row[0]] = row[1]
        return lost

    def write(self, lost: Mapping[str, str]) -> None:
        """Let the file hold these seconds, by sources, if it does not yet."""
        cells = {path_cell(source): seconds for source, seconds in lost.items()}
        if cells != self.read():
            with replacing(self.path) as file:
                file.write(csv_lines([_DAMAGE_COLUMNS, *cells.items()]).encode())

    def add(self, source: str, seconds: str) -> None:
        """Add a file; when this returns, a power loss does not lose it."""
        with closing(GrowingFile(self.path)) as file:
            head = [_DAMAGE_COLUMNS] if file.end == 0 else []
            file.append(csv_lines([*head, (path_cell(source), seconds)]).encode())
            file.sync()


class Store(ABC):
    """Results of many files in one output, one kind of result; made by ``open_store``.

    Entering it takes the lock, repairs what a crash left, and checks the settings; leaving it
    completes the output. After an :class:`OutputError` it can only be left.

    ``known`` holds the stamps of the files whose results are in the output, by their paths, and
    ``crashed`` those of files that crashed the decoder. ``failures`` is the path of the list of
    failures. ``damage`` is that of the list of files in the output of which some could not be
    decoded, with the columns ``source``, as in the output, and ``lost_s``; it exists if there are
    any.
    """

    _files: ClassVar[tuple[str, ...]]
    """What the store keeps in the run folder."""

    def __init__(self, output: Path, settings: Mapping[str, Any], *, overwrite: bool) -> None:
        check_parent(output)
        self._output = output.resolve() if output.is_symlink() else output
        self._label = f"output {str(self._output)!r}"
        self._settings = json.loads(json.dumps({**settings, "layout": _LAYOUT}))
        if self._settings.get("kind") not in KINDS:
            raise ArgumentError(f"settings need a kind, one of {', '.join(KINDS)}")
        if self._settings["kind"] == "taggrams" and "tags" not in self._settings:
            raise ArgumentError("settings of taggrams need the tags")
        self._overwrite = overwrite
        self._folder = StoreFolder(self._output)
        self.failures = self._folder.path / "failures.csv"
        self.damage = self._folder.path / "damaged.csv"
        self._crashes = self._folder.path / "crashed.jsonl"
        self.known: dict[str, Stamp] = {}
        self.crashed: dict[str, Stamp] = {}
        self._damage = DamageList(self.damage)
        self._lost: dict[str, str] = {}
        self._opened: list[GrowingFile] = []
        self._failed: OutputError | None = None
        self._unsynced = 0
        self._synced_at = time.monotonic()

    def __enter__(self) -> Store:
        with self._reporting():
            if not self._overwrite and self._holds_something() and not self._folder.started:
                raise ArgumentError(
                    f"{self._label} was not made by a library run, or its folder "
                    f"{self._folder.path.name!r} is gone; {REMEDY}"
                )
            self._folder.lock()
            try:
                self._open()
            except BaseException:
                self._leave()
                raise
        return self

    def _open(self) -> None:
        if self._overwrite:
            self._remove_output()
        if self._overwrite or not self._folder.started or not self._output.exists():
            leftovers = [*self._files, self._crashes.name, self.damage.name]
            self._folder.start_anew(self._settings, leftovers)
            self._make_output()
            sync_folder(self._output.parent)
        else:
            self._folder.check_settings(self._settings)
        self.failures.write_bytes(csv_lines([_FAILURE_COLUMNS]).encode())
        self.known = self._recover()
        listed = self._damage.read()
        cells = {path: path_cell(stamp.source) for path, stamp in self.known.items()}
        self._lost = {path: listed[cell] for path, cell in cells.items() if cell in listed}
        self._damage.write(self._list_damage(self.known))
        self.crashed = {stamp.path: stamp for stamp, _ in read_lines(self._crashes, Stamp.of)}
        sync_folder(self._folder.path)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if self._failed is None:
                with self._reporting():
                    self._complete()
        except OutputError:
            if error is None:
                raise
        finally:
            self._leave()

    def _leave(self) -> None:
        try:
            with suppress(OSError):
                self._close()
        finally:
            self._folder.unlock()

    def add(self, stamp: Stamp, result: Result) -> None:
        """Add the result of one file; when this returns, a kill of the process does not lose it.

        Raises
        ------
        ArgumentError
            If the file is known (discard it first), or the result is of another kind.
        OutputError
            If it cannot be written.
        """
        if stamp.path in self.known:
            raise ArgumentError(f"{stamp.source}: is in the output already")
        if not isinstance(result, KINDS[self._settings["kind"]]):
            raise ArgumentError(f"this output holds {self._settings['kind']} only")
        with self._reporting():
            lost = f"{result.clip.lost_s:.3f}" if result.clip.damaged else None
            if lost is not None:  # first: the next run drops from the list what has no rows
                self._damage.add(stamp.source, lost)
            self._append(stamp, result)
            self.known[stamp.path] = stamp
            if lost is not None:
                self._lost[stamp.path] = lost
            self._unsynced += 1
            if self._unsynced >= SYNC_FILES or time.monotonic() - self._synced_at >= SYNC_S:
                self._sync()
                self._unsynced, self._synced_at = 0, time.monotonic()

    def discard(self, paths: Collection[str]) -> None:
        """Drop all rows of these files, whose results will be added again.

        Raises
        ------
        OutputError
            If the output cannot be written.
        """
        self._change(dict.fromkeys(self.known.keys() & set(paths)))

    def move(self, moves: Mapping[str, Stamp]) -> None:
        """Give the rows of known paths to other files: to those that have their content now.

        Raises
        ------
        ArgumentError
            If a path is not known, or a file would get rows that has some.
        OutputError
            If the output cannot be written.
        """
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
            before = self._list_damage(self.known)
            after = self._list_damage(kept)
            self._damage.write({**before, **after})  # whichever of the two the output will hold
            self._rewrite(changes)
            self._damage.write(after)
            self._lost = {
                kept[path].path: text for path, text in self._lost.items() if path in kept
            }
            self.known = {stamp.path: stamp for stamp in kept.values()}

    def _list_damage(self, stamps: Mapping[str, Stamp]) -> dict[str, str]:
        """Return the seconds that were lost, by what the files are called now."""
        return {stamps[path].source: text for path, text in self._lost.items() if path in stamps}

    def record_failures(self, failures: Sequence[tuple[str, str]]) -> None:
        """List files that could not be used, each with the reason on one line that is safe to view.

        The list is of the latest run only.
        """
        rows = [
            [safe_cell(printable(path_to_text(path))), safe_cell(printable(reason))]
            for path, reason in failures
        ]
        with self._reporting(), closing(GrowingFile(self.failures)) as file:
            file.append(csv_lines(rows).encode())

    def record_crash(self, stamp: Stamp) -> None:
        """Remember a file that crashed the decoder, for later runs."""
        with self._reporting():
            with closing(GrowingFile(self._crashes)) as file:
                file.append(json_line(asdict(stamp)))
                file.sync()
            sync_folder(self._folder.path)
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

    def _grow(self, path: Path) -> GrowingFile:
        self._opened.append(GrowingFile(path))
        return self._opened[-1]

    def _sync(self) -> None:
        for file in self._opened:
            file.sync()

    def _complete(self) -> None:
        self._sync()

    def _close(self) -> None:
        while self._opened:
            self._opened.pop().close()

    @abstractmethod
    def _holds_something(self) -> bool: ...

    @abstractmethod
    def _remove_output(self) -> None: ...

    @abstractmethod
    def _make_output(self) -> None: ...

    @abstractmethod
    def _recover(self) -> dict[str, Stamp]:
        """Repair what a crash left, open the files, and say what they hold."""

    @abstractmethod
    def _append(self, stamp: Stamp, result: Result) -> None: ...

    @abstractmethod
    def _rewrite(self, changes: Mapping[str, Stamp | None]) -> None:
        """Give the rows of some paths to other files, and drop those that come to no file."""
