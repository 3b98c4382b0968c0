"""Outputs at addresses of fsspec, such as ``s3://bucket/tags.parquet``.

A store of objects can neither append nor lock nor rename. So the output grows in a folder of the
user's cache, and what is new in it goes up every minute and at the end. At its address it looks as
an output on a disk does, with its run folder beside it. Whatever machine runs the same command
next takes that as its beginning.

A machine that is lost for good takes with it what it did in the last minute, or, where uploads take
long, in twenty times the duration of one. Nothing else is lost, and nothing is there twice. A run
that was killed goes on with all that it had, if the next run is on the same machine and no other
has gone on meanwhile. One run at a time may write an output: a second on the same machine is
refused at once, and one elsewhere ends both with an error when they meet.

Of ``.jsonl`` and ``.csv`` the whole file goes up each time, of ``.parquet`` only new parts: for
large libraries take ``.parquet``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from musicnn_zoo.errors import ArgumentError, OutputError, RemoteError
from musicnn_zoo.files import raising, replacing
from musicnn_zoo.library.store import Store, locked_output, read_settings
from musicnn_zoo.library.text_store import Result
from musicnn_zoo.machine.installation import ENVIRONMENT_VARIABLE, own_folder
from musicnn_zoo.sound.find import Stamp
from musicnn_zoo.sound.remote import (
    Address,
    NothingThereError,
    State,
    fetch,
    list_folder,
    look,
    remove,
    upload,
)

_log = logging.getLogger(__name__)

_CACHE_ADVICE = f"cannot be written; set {ENVIRONMENT_VARIABLE} to a folder that can"
UPLOAD_S = 60.0
_SHARE = 20
"""Uploads take at most one part in so many of the time."""
_RUN_FILES = (
    "settings.json", "journal.jsonl", "pending.jsonl", "damaged.csv", "failures.csv",
    "told.csv", "crashed.jsonl", "shares.json",
)  # fmt: skip
"""What goes up of the run folder: the first before the output, the others behind it."""


def store_at(output: Path | Address, settings: Mapping[str, Any], **options: Any) -> Store:
    """Return the store of an output, wherever it is; ``options`` are those of a :class:`Store`."""
    if isinstance(output, Address):
        return RemoteStore(output, settings, **options)
    return Store(output, settings, **options)


def settings_at(output: Path | Address) -> dict[str, Any]:
    """Return the settings that an output was made with, as :func:`.store.read_settings` does.

    An :class:`OutputError` says that they cannot be fetched.
    """
    if not isinstance(output, Address):
        return read_settings(output)
    check_output(output)
    with tempfile.TemporaryDirectory(prefix="musicnn-zoo-") as folder:
        place = Path(folder, output.name)
        run = place.with_name(f"{output.name}.run")
        run.mkdir()
        try:
            fetch(output.with_name(f"{run.name}/settings.json"), run / "settings.json")
            return read_settings(place)
        except (NothingThereError, ArgumentError):
            raise ArgumentError(
                f"{output}: there is no output of a library run, or its folder {run.name!r} is "
                "not beside it"
            ) from None
        except RemoteError as error:
            reason = str(error).partition(": ")[2]
            raise OutputError(f"output {str(output)!r} cannot be read: {reason}") from None


class RemoteStore(Store):
    """A :class:`~musicnn_zoo.library.store.Store` whose output is at an address."""

    def __init__(
        self,
        output: Address,
        settings: Mapping[str, Any],
        *,
        overwrite: bool = False,
        keep_failures: bool = False,
    ) -> None:
        check_output(output)
        self._mirror = _Mirror(output)
        self._anew = overwrite
        super().__init__(
            self._mirror.output, settings, overwrite=overwrite, called=str(output),
            keep_failures=keep_failures,
        )  # fmt: skip

    def __enter__(self) -> RemoteStore:
        self._mirror.open(anew=self._anew)
        try:
            super().__enter__()
            try:
                self._mirror.push()
            except BaseException:
                self._leave()
                raise
        except BaseException:
            self._mirror.close()
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            super().__exit__(kind, error, traceback)
            try:
                self._mirror.push()
            except OutputError:
                if error is None:
                    raise
        finally:
            self._mirror.close()

    def add(self, stamp: Stamp, result: Result) -> None:
        """Add the result of one file; it goes up within a minute."""
        super().add(stamp, result)
        self._mirror.push_if_due()

    def place_of(self, name: str) -> str:
        """Return what a file of the run folder is called."""
        return str(self._mirror.address_of(f"{self._folder.name}/{name}"))


def check_output(output: Address) -> None:
    """Refuse addresses to which nothing can be written."""
    if output.is_web or "::" in output:
        raise ArgumentError(
            f"output {str(output)!r}: nothing can be written there; name a store, such as "
            "s3://bucket/tags.parquet, or a file"
        )
    if not output.name:
        raise ArgumentError(f"output {str(output)!r} names no file")


@contextmanager
def landed(output: Path | Address) -> Iterator[Path]:
    """Yield where an output is made: itself, or a file that goes to its address at the end.

    Raises
    ------
    OutputError
        If it cannot be written there, which is tried before the context begins.
    """
    if not isinstance(output, Address):
        yield output
        return
    check_output(output)
    with tempfile.TemporaryDirectory(prefix="musicnn-zoo-") as folder:
        place = Path(folder, output.name)
        trial = output.with_name(f"{output.name}.unfinished")
        with _explained(output, "it is not begun"):
            place.write_bytes(b"\n")
            upload(place, trial)
            remove(trial)
        place.unlink()
        try:
            yield place
        finally:
            if place.exists():
                with _explained(output, "run the same command again"):
                    upload(place, output)


@contextmanager
def _explained(output: Address, advice: str) -> Iterator[None]:
    try:
        yield
    except RemoteError as error:
        reason = str(error).partition(": ")[2]
        raise OutputError(f"output {str(output)!r} cannot be written: {reason}; {advice}") from None


class _Kept(NamedTuple):
    """A file as it was at the address and here when both were the same."""

    there: State
    here: tuple[int, int] | None
    """Its size, and when it was changed; None if it is not here."""


class _Mirror:
    """A copy of an output in the cache, and what of it is at the address."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._label = f"output {str(address)!r}"
        name = hashlib.sha256(address.encode()).hexdigest()[:20]
        with raising(OutputError, f"{self._label} grows in the cache, which {_CACHE_ADVICE}"):
            self._folder = own_folder("outputs", make=True) / name
            self._folder.mkdir(mode=0o700, exist_ok=True)
        self.output = self._folder / address.name
        self._run = f"{address.name}.run"
        self._is_folder = address.suffix.lower() == ".parquet"
        self._lock = ExitStack()
        self._list = self._folder / "uploaded.json"
        self._kept: dict[str, _Kept] = {}
        self._due = 0.0

    def address_of(self, name: str) -> Address:
        """Return where a file of the copy is, by its path in it."""
        return self._address.with_name(name)

    def open(self, *, anew: bool) -> None:
        """Lock the copy, and bring it to what is at the address if another machine went on."""
        self._lock.enter_context(locked_output(self._folder / "lock", self._label))
        try:
            with _explained(self._address, "it is not begun"):
                self._take_up(anew=anew)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let other runs of this machine have it."""
        self._lock.close()

    def _take_up(self, *, anew: bool) -> None:
        there = self._there()
        if anew:
            self._kept = {name: _Kept(state, None) for name, state in there.items()}
            return
        self._kept = self._read_list()
        here = self._here()
        is_same = there == {name: kept.there for name, kept in self._kept.items()}
        if not is_same:
            for name in here.keys() - there.keys():
                (self._folder / name).unlink()
        for name, state in there.items():
            kept = self._kept.get(name)
            is_here = kept is not None and kept.there == state and name in here
            if not (is_here and kept is not None and (is_same or kept.here == here[name])):
                self._fetch(name)
        self._kept = {name: _Kept(state, self._kept[name].here) for name, state in there.items()}
        self._write_list()

    def _fetch(self, name: str) -> None:
        place = self._folder / name
        place.parent.mkdir(mode=0o700, exist_ok=True)
        unfinished = place.with_name(f"{place.name}.unfinished")
        fetch(self.address_of(name), unfinished)
        unfinished.replace(place)
        self._kept[name] = _Kept(State(-1, -1, None), _state_here(place))

    def _there(self) -> dict[str, State]:
        """Ask what is at the address."""
        found: dict[str, State] = {}
        for folder in (self._run, *([self._address.name] if self._is_folder else [])):
            with suppress(NothingThereError):
                for name, address, is_folder in list_folder(self.address_of(folder)):
                    if not is_folder and address.state is not None and self._is_ours(folder, name):
                        found[f"{folder}/{name}"] = address.state
        if not self._is_folder:
            with suppress(NothingThereError):
                state = look(self._address)
                if state is not None:
                    found[self._address.name] = state
        return found

    def _is_ours(self, folder: str, name: str) -> bool:
        if folder == self._run:
            return name in _RUN_FILES
        return name.endswith(".parquet") and name[0] not in "._"

    def _here(self) -> dict[str, tuple[int, int]]:
        """Return what the copy holds, in the order in which it goes up."""
        first, *others = (f"{self._run}/{name}" for name in _RUN_FILES)
        output = [self._address.name]
        if self._is_folder:
            shards = sorted(self.output.iterdir()) if self.output.is_dir() else []
            names = (path.name for path in shards if self._is_ours("", path.name))
            output = [f"{self._address.name}/{name}" for name in names]
        places = {name: self._folder / name for name in (first, *output, *others)}
        return {name: _state_here(place) for name, place in places.items() if place.is_file()}

    def push_if_due(self) -> None:
        """Send up what is new if that is a while ago; what cannot be sent now is sent later."""
        if time.monotonic() < self._due:
            return
        try:
            self._push()
        except RemoteError as error:
            _log.warning("%s; tried again later", error)

    def push(self) -> None:
        """Send up what is new.

        Raises
        ------
        OutputError
            If it cannot be sent, or another run has written the output meanwhile.
        """
        with _explained(
            self._address,
            f"all results are in {str(self._folder)!r}, and go up when the same command is run "
            "again",
        ):
            self._push()

    def _push(self) -> None:
        begun = time.monotonic()
        self._due = begun + UPLOAD_S
        here = self._here()
        for name, state in here.items():
            kept = self._kept.get(name)
            if kept is not None and kept.here == state:
                continue
            address = self.address_of(name)
            self._refuse_other_run(name, kept, address)
            upload(self._folder / name, address)
            self._kept[name] = _Kept(look(address) or State(-1, -1, None), state)
            self._write_list()
        for name in self._kept.keys() - here.keys():
            remove(self.address_of(name))
            del self._kept[name]
            self._write_list()
        ended = time.monotonic()
        self._due = ended + max(UPLOAD_S, _SHARE * (ended - begun))

    def _refuse_other_run(self, name: str, kept: _Kept | None, address: Address) -> None:
        found = None
        with suppress(NothingThereError):
            found = look(address)
        if found != (None if kept is None else kept.there):
            raise OutputError(
                f"{self._label}: another run has written {name!r} meanwhile; let one run at a time "
                "write an output, and start this one again"
            )

    def _read_list(self) -> dict[str, _Kept]:
        with suppress(FileNotFoundError, ValueError, TypeError, KeyError):
            listed = json.loads(self._list.read_bytes())
            return {
                name: _Kept(State(*there), tuple(here) if here else None)
                for name, (there, here) in listed.items()
            }
        return {}

    def _write_list(self) -> None:
        with replacing(self._list) as file:
            file.write(json.dumps(self._kept).encode())


def _state_here(place: Path) -> tuple[int, int]:
    status = place.stat()
    return status.st_size, status.st_mtime_ns
