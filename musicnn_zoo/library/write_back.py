"""Tags written into the files: a plan, what does it, and what undoes it.

A file is never changed where it lies. mutagen writes a copy beside it, which is read again and
compared: the planned fields have the planned values, all other tags and all packets of sound are
what they were. Then the journal is told how the old file is made of the new one, and the copy
takes the place of the file. So a file is the old or the new one whenever the process ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from musicnn_zoo.errors import (
    ArgumentError,
    AudioError,
    MusicnnZooError,
    OutputError,
    answered,
    shown,
)
from musicnn_zoo.files import (
    GrowingFile,
    flush_to_disk,
    json_line,
    kind_of,
    locked,
    raising,
    sha256_of,
    sync_folder,
)
from musicnn_zoo.library.restoring import describe_old, write_old
from musicnn_zoo.library.tag_fields import (
    OWN_PREFIX,
    TagFile,
    require_mutagen,
    shown_elsewhere,
    sound_digest,
)
from musicnn_zoo.library.writing_rules import (
    CUSTOM,
    KEPT_FIELDS,
    WritingRules,
    check_fields,
    values_of,
)
from musicnn_zoo.sound.remote import Address
from musicnn_zoo.tagging.results import FileResult, Tags
from musicnn_zoo.text import first_line

Links = Literal["refuse", "part"]
Outcome = Literal["written", "restored", "unchanged", "failed"]


class FieldChange(NamedTuple):
    """What a field has, and what it will have."""

    old: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True)
class PlannedFile:
    """What is planned for a file.

    Parameters
    ----------
    source : str
        The file as it was given.
    path : str
        Absolute and without links: what is written.
    size, mtime_ns : int
        Of the file when the plan was made, in bytes and nanoseconds.
    form : str
        Kind of its tags, such as ``ID3v2.3`` or ``Vorbis``.
    changes : mapping of str to FieldChange
        By ``genre``, ``mood`` or a name that begins with ``MUSICNN_``.
    kept : mapping of str to tuple of str
        Fields that have other values, which stay.
    notes : tuple of str
        What to know of the file, such as that it is a link.
    error : str or None
        Why it cannot be written.
    """

    source: str
    path: str = ""
    size: int = 0
    mtime_ns: int = 0
    form: str = ""
    changes: Mapping[str, FieldChange] = field(default_factory=dict)
    kept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all that it holds, ready for JSON."""
        changes = {name: change._asdict() for name, change in self.changes.items()}
        return {**vars(self), "changes": changes, "kept": dict(self.kept)}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> PlannedFile:
        """Return what :meth:`to_dict` wrote."""
        changes = {
            _checked_name(name): FieldChange(_strings(change["old"]), _words(change["new"]))
            for name, change in record["changes"].items()
        }
        kept = {str(name): _strings(values) for name, values in record["kept"].items()}
        error = record["error"]
        path = str(record["path"]) if error is not None else _checked_path(record["path"])
        return cls(
            str(record["source"]), path, int(record["size"]), int(record["mtime_ns"]),
            str(record["form"]), changes, kept, _strings(record["notes"]),
            None if error is None else str(error),
        )  # fmt: skip

    def describe(self) -> list[str]:
        """Return lines for people: the file, and what is planned for each field."""
        if self.error is not None:
            return [self.error]
        lines = [self.source]
        for name, (old, new) in self.changes.items():
            was = f"  (was {'; '.join(old)})" if old else ""
            lines.append(f"  {name}: {'; '.join(new) or 'removed'}{was}")
        lines += [f"  {name}: kept {'; '.join(values)}" for name, values in self.kept.items()]
        if not self.changes:
            lines.append("  nothing to change")
        return lines + [f"  note: {note}" for note in self.notes]


class WrittenFile(NamedTuple):
    """What became of a file."""

    path: str
    outcome: Outcome
    reason: str = ""


@dataclass
class WritingSummary:
    """What became of all files of a plan or of a journal.

    Parameters
    ----------
    files : list of WrittenFile
    """

    files: list[WrittenFile] = field(default_factory=list)

    @property
    def failures(self) -> list[WrittenFile]:
        """The files that could not be written."""
        return [one for one in self.files if one.outcome == "failed"]

    def number(self, outcome: Outcome) -> int:
        """How many files have an outcome."""
        return sum(one.outcome == outcome for one in self.files)

    def __str__(self) -> str:
        outcomes: tuple[Outcome, ...] = ("written", "restored", "unchanged", "failed")
        parts = [f"{self.number(each):,} {each}" for each in outcomes if self.number(each)]
        return ", ".join(parts) or "no files"


# Planning


@answered
def plan_writing(
    results: Iterable[FileResult[Tags]],
    *,
    fields: str | Iterable[str] = (CUSTOM,),
    rules: WritingRules | str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Iterator[PlannedFile]:
    """Say what would be written into each file; nothing is changed.

    Parameters
    ----------
    results : iterable of FileResult
        Of :func:`musicnn_zoo.tag_files`: what is ranked there is written. With a ``threshold``
        every genre whose tags reached it is written, otherwise the best if it is clear.
    fields : str or iterable of str
        ``custom`` (``MUSICNN_TAGS`` and ``MUSICNN_MODEL``), ``genre``, ``mood``, or
        ``instrument``, ``voice``, ``era``, ``character``, which are fields of our own.
    rules : WritingRules or path, optional
        A TOML file that maps tags to words; by default the table of descriptors.
    overwrite : bool
        Replace a genre and a mood that are there. By default they are kept.

    Yields
    ------
    PlannedFile
        For each result, in its order; files that cannot be written have an ``error``.

    Raises
    ------
    ArgumentError
        If a field is none, or the rules cannot be used.
    MissingPackageError
        If mutagen is not installed: ``pip install 'musicnn-zoo[write]'``.
    """
    require_mutagen()
    chosen = check_fields(fields)
    if rules is None:
        rules = WritingRules.built_in()
    elif not isinstance(rules, WritingRules):
        rules = WritingRules.load(rules)
    return (_plan_one(result, chosen, rules, overwrite) for result in results)


def _plan_one(
    result: FileResult[Tags], fields: tuple[str, ...], rules: WritingRules, overwrite: bool
) -> PlannedFile:
    source = str(result.source)
    if result.error is not None:
        return PlannedFile(source, error=first_line(result.error))
    if isinstance(result.source, Address):
        return PlannedFile(source, error=f"{source}: only files of this machine are written")
    path = Path(os.path.realpath(source))
    try:
        with raising(AudioError, f"{source}: cannot be read"):
            status = path.stat()
        _check_file(source, status)
        tags = TagFile(path)
        wanted = values_of(fields, result.unwrap(), rules)
        changes, kept = {}, {}
        for name, new in wanted.items():
            old = tags.get(name)
            if not old and name in KEPT_FIELDS and not overwrite:
                old = shown_elsewhere(path, name)
            if old == new:
                continue
            if not name.startswith(OWN_PREFIX) and (not new or (old and not overwrite)):
                kept.update({name: old} if old else {})
            else:
                changes[name] = FieldChange(old, new)
    except MusicnnZooError as error:
        return PlannedFile(source, str(path), error=str(error))
    notes = []
    if Path(source).is_symlink():
        notes.append(f"a link to {path}, which is written")
    if status.st_nlink > 1:
        notes.append(f"{_names(status)}: written only if they may be parted")
    return PlannedFile(
        source, str(path), status.st_size, status.st_mtime_ns, tags.form, changes, kept,
        tuple(notes),
    )  # fmt: skip


def _names(status: os.stat_result) -> str:
    return f"the file has {status.st_nlink} names (hard links)"


def _check_file(source: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(f"{source}: is {kind_of(status.st_mode)}, not a file")
    if not status.st_mode & 0o222:
        raise AudioError(f"{source}: is read-only; allow writing to it before")


class PlanFile:
    """A file of JSON lines that a plan is written to, and that a later run continues.

    Parameters
    ----------
    path : path
    settings : mapping
        What the plan is made with. A plan that was made with others is not continued.

    Attributes
    ----------
    known : int
        How many files were found in it.

    Raises
    ------
    ArgumentError
        If there is something else of this name.
    """

    def __init__(self, path: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        self._path = Path(path)
        head = {_HEAD: _VERSION, "settings": json.loads(json.dumps(settings))}
        with ExitStack() as opened:
            opened.enter_context(_locked(self._path, "plan"))
            found = _read_records(self._path, "plan")
            if found.head not in (None, head) and found.records:
                raise ArgumentError(
                    f"plan {str(path)!r} was made with other settings: name another, or remove it"
                )
            self.known = 0
            self._planned = {one.source: one for one in found.records}
            with raising(OutputError, f"{path}: the plan cannot be written"):
                self._file = _continued(self._path, found, head)
            opened.callback(self._file.close)
            self._opened = opened.pop_all()

    def holds(self, source: str) -> bool:
        """Whether it has a file as it is now; one that could not be used is tried again."""
        planned = self._planned.get(source)
        if planned is None or planned.error is not None:
            return False
        with suppress(OSError):
            if _is_as_planned(planned, Path(source).stat()):
                self.known += 1
                return True
        return False

    def add(self, planned: PlannedFile) -> None:
        """Write what is planned for a file."""
        with raising(OutputError, f"{self._path}: the plan cannot be written"):
            self._file.append(json_line(planned.to_dict()))

    def close(self) -> None:
        """Close the file, so that another run may continue it."""
        self._opened.close()


_HEAD = "musicnn-zoo plan"
_JOURNAL = "musicnn-zoo journal"
_VERSION = 1
_NAME = re.compile(f"genre|mood|{OWN_PREFIX}[A-Z0-9_]+")


def read_plan(path: str | os.PathLike[str]) -> list[PlannedFile]:
    """Read a plan; of a file that is there twice, what was planned last.

    Raises
    ------
    ArgumentError
        If there is none, or it cannot be read.
    """
    found = _read_records(Path(path), "plan")
    if found.head is None:
        raise _missing(Path(path), "plan")
    return list({one.path or one.source: one for one in found.records}.values())


def _is_as_planned(planned: PlannedFile, status: os.stat_result) -> bool:
    return (planned.size, planned.mtime_ns) == (status.st_size, status.st_mtime_ns)


class _Found(NamedTuple):
    """What a plan or a journal holds: its first line, the others, and where the last whole ends."""

    head: dict[str, Any] | None
    records: list[Any]
    end: int


def _read_records(path: Path, what: Literal["plan", "journal"]) -> _Found:
    """Read a file of ours, which people may have edited; a torn last line is left out."""
    parse: Callable[[Any], Any] = PlannedFile.of if what == "plan" else _Entry.of
    head: dict[str, Any] | None = None
    records: list[Any] = []
    end = 0
    with (
        raising(ArgumentError, f"{path}: the {what} cannot be read"),
        suppress(FileNotFoundError),
        path.open("rb") as file,
    ):
        for number, line in enumerate(file, 1):
            try:
                record = json.loads(line) if line.strip() else None
                if head is not None and record is not None:
                    records.append(parse(record))
            except _UNREADABLE as error:
                if head is None:
                    raise ArgumentError(f"{path}: this is no {what} of musicnn-zoo") from error
                if line.endswith(b"\n"):
                    reason = f"{type(error).__name__}: {first_line(error)}"
                    raise ArgumentError(
                        f"{path}: line {number} cannot be read ({reason}); take it out, or mend it"
                    ) from error
                break
            if head is None and record is not None:
                _check_head(path, what, record)
                head = record
            end += len(line)
    return _Found(head, records, end)


def _missing(path: Path, what: str) -> ArgumentError:
    return ArgumentError(f"{path}: {'is empty' if path.exists() else f'there is no such {what}'}")


_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


def _check_head(path: Path, what: str, record: Any) -> None:
    heads = {"plan": _HEAD, "journal": _JOURNAL}
    held = record if isinstance(record, dict) else {}
    is_a = next((kind for kind, name in heads.items() if name in held), None)
    if is_a != what:
        said = f"a {is_a}, and " if is_a else ""
        raise ArgumentError(f"{path}: this is {said}no {what} of musicnn-zoo")
    if record[heads[what]] != _VERSION:
        raise ArgumentError(f"{path}: this {what} is of another version of musicnn-zoo")


def _continued(path: Path, found: _Found, head: dict[str, Any]) -> GrowingFile:
    """Open a file of ours to go on with it, without a torn last line."""
    file = GrowingFile(path)
    file.cut(found.end if found.head == head else 0)
    if file.end == 0:
        file.append(json_line(head))
        sync_folder(path.absolute().parent)
    elif not _ends_a_line(path):
        file.append(b"\n")
    return file


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"a field is genre, mood or {OWN_PREFIX}…; received {shown(name)}")
    return name


def _checked_path(path: Any) -> str:
    if not isinstance(path, str) or not Path(path).is_absolute() or "\0" in path:
        raise ValueError(f"a path must be absolute; received {shown(path)}")
    return path


def _words(values: Any) -> tuple[str, ...]:
    for text in _strings(values):
        if not text.strip() or not text.isprintable():
            raise ValueError(f"a value must be text of one line; received {shown(text)}")
    return tuple(values)


def _strings(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise TypeError(f"these are no texts: {shown(values)}")
    return tuple(values)


# Writing and undoing


class _Entry(NamedTuple):
    """A line of a journal: a file that is, or was about to be, replaced."""

    path: str
    before: str
    after: str
    atime_ns: int
    mtime_ns: int
    old: dict[str, Any]

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> _Entry:
        old = record["old"]
        if not isinstance(old, dict):
            raise TypeError(f"this is no description of a file: {shown(old)}")
        return cls(
            _checked_path(record["path"]), str(record["before"]), str(record["after"]),
            int(record["atime_ns"]), int(record["mtime_ns"]), old,
        )  # fmt: skip


Told = Callable[[WrittenFile], None]


@answered
def apply_plan(
    plan: str | os.PathLike[str] | Iterable[PlannedFile],
    *,
    journal: str | os.PathLike[str],
    keep_times: bool = False,
    links: Links = "refuse",
    told: Told | None = None,
) -> WritingSummary:
    """Write what was planned into the files.

    A file that has the planned values already is left alone, so that a plan can be applied again
    after it was interrupted. One that has changed since the plan was made is refused.

    Parameters
    ----------
    plan : path or iterable of PlannedFile
    journal : path
        File to which the way back is written, before each file is replaced. It grows.
    keep_times : bool
        Keep the times of the last change and use. By default players see that the file changed.
    links : {"refuse", "part"}
        What to do with files that have several names (hard links): with ``"part"``, the name in
        the plan gets a file of its own, and the others keep the old one.
    told : callable, optional
        Receives the :class:`WrittenFile` of each file when it is done.

    Returns
    -------
    WritingSummary

    Raises
    ------
    ArgumentError
        If the plan or the journal is none.
    OutputError
        If the journal cannot be written.
    MissingPackageError
        If mutagen is not installed.
    """
    require_mutagen()
    planned = read_plan(plan) if isinstance(plan, str | os.PathLike) else list(plan)
    summary = WritingSummary()
    with _opened_journal(Path(journal)) as written:
        for one in planned:
            work = partial(_write_one, one, written, keep_times, links)
            _note(summary, told, one.path or one.source, work)
    return summary


@answered
def undo_writing(journal: str | os.PathLike[str], *, told: Told | None = None) -> WritingSummary:
    """Make the files what they were before they were written, byte for byte.

    What was written into a file several times is taken back from the last on. A file that has
    changed since it was written is refused; one that is as it was before is left alone.

    Parameters
    ----------
    journal : path
        Of :func:`apply_plan`.
    told : callable, optional
        Receives the :class:`WrittenFile` of each file when it is done.

    Returns
    -------
    WritingSummary

    Raises
    ------
    ArgumentError
        If there is no such journal.
    """
    place = Path(journal)
    found = _read_records(place, "journal")
    if found.head is None:
        raise _missing(place, "journal")
    by_path: dict[str, list[_Entry]] = {}
    for entry in found.records:
        by_path.setdefault(entry.path, []).append(entry)
    summary = WritingSummary()
    with _locked(place, "journal"):
        for path, entries in by_path.items():
            _note(summary, told, path, partial(_restore_one, entries, place))
    return summary


def _note(
    summary: WritingSummary, told: Told | None, path: str, work: Callable[[], Outcome]
) -> None:
    try:
        done = WrittenFile(path, work())
    except AudioError as error:
        done = WrittenFile(path, "failed", str(error))
    summary.files.append(done)
    if told is not None:
        told(done)


def _write_one(planned: PlannedFile, journal: _Journal, keep_times: bool, links: Links) -> Outcome:
    if planned.error is not None:
        raise AudioError(planned.error)
    if not planned.changes:
        return "unchanged"
    path = Path(planned.path)
    values = {name: change.new for name, change in planned.changes.items()}
    with (
        raising(AudioError, f"{path}: cannot be written"),
        _copy_of(path, journal.path) as copy,
    ):
        status = path.stat()
        _check_file(planned.path, status)
        tags = TagFile(path)
        if all(tags.get(name) == new for name, new in values.items()):
            return "unchanged"
        if not _is_as_planned(planned, status):
            raise AudioError(f"{path}: has changed since the plan was made; make it again")
        if status.st_nlink > 1 and links == "refuse":
            raise AudioError(f"{path}: {_names(status)}; say that they may be parted to write it")
        shutil.copyfile(path, copy)
        _change(copy, tags, values)
        if sound_digest(copy) != sound_digest(path):
            raise AudioError(f"{path}: the sound would change; nothing was written")
        entry = _Entry(
            planned.path, sha256_of(path), sha256_of(copy), status.st_atime_ns,
            status.st_mtime_ns, describe_old(path, copy),
        )  # fmt: skip
        _check_unchanged(path, status)
        journal.add(entry)
        times = (status.st_atime_ns, status.st_mtime_ns) if keep_times else None
        _put_in_place(copy, path, status, times)
    return "written"


def _change(copy: Path, before: TagFile, values: Mapping[str, tuple[str, ...]]) -> None:
    """Write fields into the copy, and see that they and nothing else changed."""
    changed = TagFile(copy, before.kind)
    for name, new in values.items():
        changed.set(name, new)
    changed.save()
    again = TagFile(copy, before.kind)
    for name, new in values.items():
        if again.get(name) != new:
            raise AudioError(f"{before.path}: {name} cannot hold {shown(new)}; nothing was written")
    old, new_others = before.others(values), again.others(values)
    for name in {**old, **new_others}:
        if old.get(name) != new_others.get(name):
            raise AudioError(
                f"{before.path}: {name} would change, too, in its {before.form} tags; nothing was "
                "written"
            )


def _restore_one(entries: list[_Entry], journal: Path) -> Outcome:
    """Take back what was written into a file, the last first."""
    path = Path(entries[0].path)
    damaged = (OSError, ValueError, KeyError, TypeError, zlib.error)
    restored = False
    with (
        raising(AudioError, f"{path}: cannot be restored", instead_of=damaged),
        _copy_of(path, journal) as copy,
    ):
        _check_file(entries[0].path, path.stat())
        now = sha256_of(path)
        if now in {entry.before for entry in entries} - {entry.after for entry in entries}:
            return "unchanged"
        for entry in reversed(entries):
            if now == entry.after:
                write_old(entry.old, path, copy)
                if sha256_of(copy) != entry.before:
                    raise AudioError(f"{path}: the journal does not give the old file; it is left")
                _put_in_place(copy, path, path.stat(), (entry.atime_ns, entry.mtime_ns))
                now, restored = entry.before, True
        if now != entries[0].before:
            since = "is as it was before that" if restored else "is left as it is"
            raise AudioError(f"{path}: has changed since it was written; it {since}")
    return "restored"


@contextmanager
def _copy_of(path: Path, journal: Path) -> Iterator[Path]:
    """Name the hidden file beside ``path`` that a copy is made in; what a kill left is replaced."""
    name = hashlib.sha256(os.fsencode(f"{journal.resolve()}\0{path.name}")).hexdigest()[:16]
    copy = path.with_name(f".musicnn-zoo-{name}{path.suffix}")
    try:
        yield copy
    except AudioError as error:
        raise AudioError(str(error).replace(str(copy), str(path))) from error
    finally:
        copy.unlink(missing_ok=True)


def _put_in_place(
    copy: Path, path: Path, status: os.stat_result, times: tuple[int, int] | None
) -> None:
    """Replace the file by the copy, with its mode, owner and other attributes."""
    with copy.open("r+b") as file:
        flush_to_disk(file)
    made = copy.stat()
    if hasattr(os, "chown") and (made.st_uid, made.st_gid) != (status.st_uid, status.st_gid):
        os.chown(copy, status.st_uid, status.st_gid)
    shutil.copystat(path, copy)
    if times is None:
        os.utime(copy)
    else:
        os.utime(copy, ns=times)
    _check_unchanged(path, status)
    copy.replace(path)
    sync_folder(path.parent)


def _check_unchanged(path: Path, status: os.stat_result) -> None:
    now = path.stat()
    if (now.st_size, now.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
        raise AudioError(f"{path}: was changed by another program meanwhile; nothing was written")


class _Journal:
    """The file that the ways back are written to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        found = _read_records(path, "journal")
        with raising(OutputError, f"{path}: the journal cannot be written"):
            self._file = _continued(path, found, {_JOURNAL: _VERSION})

    def add(self, entry: _Entry) -> None:
        """Write how a file is restored; when this returns, a power loss does not lose it."""
        with raising(OutputError, f"{self.path}: the journal cannot be written"):
            self._file.append(json_line(entry._asdict()))
            self._file.sync()

    def close(self) -> None:
        self._file.close()


@contextmanager
def _opened_journal(path: Path) -> Iterator[_Journal]:
    with _locked(path, "journal"):
        journal = _Journal(path)
        try:
            yield journal
        finally:
            journal.close()


def _locked(path: Path, what: str) -> AbstractContextManager[None]:
    if path.is_dir():
        raise ArgumentError(f"{path}: is a folder; name a file for the {what}")
    return locked(
        Path(f"{path}.lock"),
        busy=f"{path}: another run works with this {what}; let it end, or name another",
        failure=f"{path}: the {what} cannot be locked",
    )
