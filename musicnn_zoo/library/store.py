"""What the stores of all formats have in common: stamps of files, the run folder, and resuming."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, TypeAlias

from filelock import FileLock, Timeout

from musicnn_zoo.errors import ArgumentError, AudioError, OutputError
from musicnn_zoo.files import (
    GrowingFile,
    check_parent,
    json_line,
    read_lines,
    replacing,
    sync_folder,
)
from musicnn_zoo.sound.find import irregularity
from musicnn_zoo.tagging.results import Embedding, Events, Taggram, Tags
from musicnn_zoo.text import csv_lines, path_cell, path_to_text, printable, safe_cell

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Stamp:
    """A file as it was when it was done.

    Parameters
    ----------
    source : str
        As the caller gave it.
    size : int
        In bytes.
    mtime_ns : int
        Time of the last change.
    sha256 : str or None
        Of the content, if it was asked for.
    path : str, optional
        Absolute, without links: what tells the file from others. By default ``source``.
    """

    source: str
    size: int
    mtime_ns: int
    sha256: str | None = None
    path: str = ""

    def __post_init__(self) -> None:
        if not self.path:
            object.__setattr__(self, "path", self.source)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Stamp:
        """Return the stamp that stands in a record among other fields.

        Records of earlier releases do not say the path; it is that of the source from here.
        """
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
        digest = _hash(path) if content_hash else None
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


def _hash(path: str) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


REMEDY = "name another output (--output), or start this one anew (--overwrite)"


class RunFolder:
    """The folder ``<output>.run``.

    Parameters
    ----------
    output : Path
    """

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(f"{output.name}.run")
        self._output = output
        self._settings = self.path / "settings.json"
        self._lock = FileLock(self.path / "lock", timeout=0, thread_local=False)
        self.failures = self.path / "failures.csv"
        self._failures: GrowingFile | None = None

    @property
    def started(self) -> bool:
        """Whether a run has written its settings here."""
        return self._settings.exists()

    def lock(self) -> None:
        """Make the folder, and see that no other run uses it while this process lives."""
        self.path.mkdir(exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise ArgumentError(
                f"output {str(self._output)!r}: another run is writing it; "
                "let it end, or name another output"
            ) from error

    def unlock(self) -> None:
        """Let others use the folder."""
        if self._failures is not None:
            self._failures.close()
            self._failures = None
        self._lock.release()

    def start_anew(self, settings: Mapping[str, Any], leftovers: Iterable[str]) -> None:
        """Delete what an earlier run left, then write the settings."""
        for name in leftovers:
            (self.path / name).unlink(missing_ok=True)
        sync_folder(self.path)
        with replacing(self._settings, self.path / "settings.next") as file:
            file.write(json.dumps(settings, indent=1).encode())

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Refuse to go on with other settings than the output was made with."""
        made = f"output {str(self._output)!r} was made with"
        try:
            old = dict(json.loads(self._settings.read_bytes()))
        except (ValueError, TypeError) as error:
            raise ArgumentError(f"{made} settings that cannot be read; {REMEDY}") from error
        different = [
            f"{name} {_shown(old, name)} (now {_shown(settings, name)})"
            for name in dict.fromkeys([*old, *settings])
            if _shown(old, name) != _shown(settings, name)
        ]
        if different:
            raise ArgumentError(f"{made} other settings: {', '.join(different)}; {REMEDY}")

    def open_failures(self) -> None:
        """Start the list of this run's failures, ``failures.csv``."""
        self._failures = GrowingFile(self.failures)
        self._failures.cut(0)
        self._failures.append(csv_lines([("path", "reason")]).encode())

    def record_failures(self, failures: Sequence[tuple[str, str]]) -> None:
        """Add files and why they failed, each on one line that is safe to look at."""
        assert self._failures is not None
        rows = [
            [safe_cell(printable(path_to_text(path))), safe_cell(printable(reason))]
            for path, reason in failures
        ]
        self._failures.append(csv_lines(rows).encode())


def _shown(settings: Mapping[str, Any], name: str) -> str:
    return json.dumps(settings[name], sort_keys=True) if name in settings else "not set"


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


SYNC_FILES = 64
"""After so many files at the latest, or ``SYNC_S`` seconds, results are safe from power loss."""
SYNC_S = 2.0
_LAYOUT = 1
_CRASHES = "crashed.jsonl"
_DAMAGE = "damaged.csv"

Result: TypeAlias = Tags | Taggram | Events | Embedding
KINDS: dict[str, type] = {
    "tags": Tags, "taggrams": Taggram, "events": Events, "embeddings": Embedding,
}  # fmt: skip
"""What an output may hold, by the ``kind`` in its settings."""


class Store(ABC):
    """Results of many files in one output, one kind of result; made by ``open_store``.

    Entering it takes the lock, repairs what a crash left, and checks the settings; leaving it
    completes the output. After an :class:`OutputError` it can only be left.

    Parameters
    ----------
    output : Path
    settings : mapping
    overwrite : bool
    """

    _files: ClassVar[tuple[str, ...]]
    """What the store keeps in the run folder."""

    def __init__(self, output: Path, settings: Mapping[str, Any], *, overwrite: bool) -> None:
        check_parent(output)
        self._output = output.resolve() if output.is_symlink() else output
        self._folder = RunFolder(self._output)
        self._settings = json.loads(json.dumps({**settings, "layout": _LAYOUT}))
        if self._settings.get("kind") not in KINDS:
            raise ArgumentError(f"settings need a kind, one of {', '.join(KINDS)}")
        if self._settings["kind"] == "taggrams" and "tags" not in self._settings:
            raise ArgumentError("settings of taggrams need the tags")
        self._overwrite = overwrite
        self._known: dict[str, Stamp] = {}
        self._crashes: GrowingFile | None = None
        self._crashed: dict[str, Stamp] = {}
        self._damage = DamageList(self.damage)
        self._lost: dict[str, str] = {}
        self._opened: list[GrowingFile] = []
        self._failed: OutputError | None = None
        self._unsynced = 0
        self._synced_at = time.monotonic()

    @property
    def known(self) -> Mapping[str, Stamp]:
        """The files whose results are in the output, as they were then, by their paths."""
        return self._known

    @property
    def crashed(self) -> Mapping[str, Stamp]:
        """The files that crashed the decoder, as they were then, by their paths."""
        return self._crashed

    @property
    def failures(self) -> Path:
        """The file that :meth:`record_failures` writes."""
        return self._folder.failures

    @property
    def damage(self) -> Path:
        """The file that lists those in the output of which some could not be decoded.

        It is there when there is one. Its columns are ``source``, as in the output, and ``lost_s``.
        """
        return self._folder.path / _DAMAGE

    def __enter__(self) -> Store:
        with self._reporting():
            if not self._overwrite and self._holds_something() and not self._folder.started:
                raise ArgumentError(
                    f"output {str(self._output)!r} was not made by a library run, or its folder "
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
            self._folder.start_anew(self._settings, [*self._files, _CRASHES, _DAMAGE])
            self._make_output()
            sync_folder(self._output.parent)
        else:
            self._folder.check_settings(self._settings)
        self._folder.open_failures()
        self._known = self._recover()
        listed = self._damage.read()
        cells = {path: path_cell(stamp.source) for path, stamp in self._known.items()}
        self._lost = {path: listed[cell] for path, cell in cells.items() if cell in listed}
        self._damage.write(self._list_damage(self._known))
        place = self._folder.path / _CRASHES
        stamps = [stamp for stamp, _ in read_lines(place, Stamp.of)]
        self._crashed = {stamp.path: stamp for stamp in stamps}
        self._crashes = GrowingFile(place)
        sync_folder(self._folder.path)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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
            if self._crashes is not None:
                self._crashes.close()
                self._crashes = None
        finally:
            self._folder.unlock()

    def add(self, stamp: Stamp, result: Result) -> None:
        """Add the result of one file; when this returns, the death of the process loses it not.

        Raises
        ------
        ArgumentError
            If the file is known (discard it first), or the result is of the other kind.
        OutputError
            If it cannot be written.
        """
        if stamp.path in self._known:
            raise ArgumentError(f"{stamp.source}: is in the output already")
        if not isinstance(result, KINDS[self._settings["kind"]]):
            raise ArgumentError(f"this output holds {self._settings['kind']} only")
        with self._reporting():
            lost = f"{result.clip.lost_s:.3f}" if result.clip.damaged else None
            if lost is not None:  # first: of files that are not in the output the list is cleared
                self._damage.add(stamp.source, lost)
            self._append(stamp, result)
            self._known[stamp.path] = stamp
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
        self._change(dict.fromkeys(self._known.keys() & set(paths)))

    def move(self, moves: Mapping[str, Stamp]) -> None:
        """Let the rows of known paths be those of other files: of files that were moved.

        Raises
        ------
        ArgumentError
            If a path is not known, or rows would be of a file that has some.
        OutputError
            If the output cannot be written.
        """
        if unknown := moves.keys() - self._known.keys():
            raise ArgumentError(f"{min(unknown)}: is not in the output")
        taken = self._known.keys() - moves.keys()
        for stamp in moves.values():
            if stamp.path in taken:
                raise ArgumentError(f"{stamp.source}: is in the output already")
            taken.add(stamp.path)
        self._change(moves)

    def _change(self, changes: Mapping[str, Stamp | None]) -> None:
        if not changes:
            return
        changed = {path: changes.get(path, stamp) for path, stamp in self._known.items()}
        kept = {path: stamp for path, stamp in changed.items() if stamp is not None}
        with self._reporting():
            before = self._list_damage(self._known)
            after = self._list_damage(kept)
            self._damage.write({**before, **after})  # whatever of the two the output will hold
            self._rewrite(changes)
            self._damage.write(after)
            self._lost = {
                kept[path].path: text for path, text in self._lost.items() if path in kept
            }
            self._known = {stamp.path: stamp for stamp in kept.values()}

    def _list_damage(self, stamps: Mapping[str, Stamp]) -> dict[str, str]:
        """Return the seconds that were lost, by what the files are called now."""
        return {stamps[path].source: text for path, text in self._lost.items() if path in stamps}

    def record_failures(self, failures: Sequence[tuple[str, str]]) -> None:
        """Note files that could not be done, each with the reason, in ``failures.csv``.

        The list in the run folder is of the latest run only.
        """
        with self._reporting():
            self._folder.record_failures(failures)

    def record_crash(self, stamp: Stamp) -> None:
        """Remember a file that crashed the decoder, for later runs."""
        assert self._crashes is not None
        with self._reporting():
            self._crashes.append(json_line(asdict(stamp)))
            self._crashes.sync()
            self._crashed[stamp.path] = stamp

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        if self._failed is not None:
            raise self._failed
        try:
            yield
        except OSError as error:
            self._failed = OutputError(
                f"output {str(self._output)!r} cannot be written ({error.strerror or error}); "
                f"files that are safe in it: {len(self._known)}; "
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
