"""Outputs of Parquet files into which many machines write: each block of files at once.

A block is one Parquet file, as :mod:`.parquet_store` has it. Its name comes from the run and from
its files, so that a block that is done again, after a machine was lost, takes the place of the
first. It appears whole: on a disk by a new name, in a store since an object is put at once.

The run folder names the run that writes. Workers of an earlier one, which was killed and does not
know it yet, find that another has begun, and write nothing more.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from musicnn_zoo.errors import ArgumentError, ClusterError, OutputError, RemoteError
from musicnn_zoo.files import json_line, raising, replacing
from musicnn_zoo.library.parquet_store import (
    Files,
    change_rows,
    damaged_files,
    read_shard,
    write_shard,
)
from musicnn_zoo.library.remote_store import check_output
from musicnn_zoo.library.store import (
    FAILURE_COLUMNS,
    LAYOUT,
    Store,
    differing_settings,
    failure_cells,
    parse_table,
)
from musicnn_zoo.library.text_store import REMEDY
from musicnn_zoo.sound.find import Stamp
from musicnn_zoo.sound.remote import (
    ASKED_AT_ONCE,
    Address,
    NothingThereError,
    as_address,
    file_system,
    list_folder,
    remove,
    tried,
    upload,
)
from musicnn_zoo.sound.sources import local_path
from musicnn_zoo.text import csv_lines, path_cell

_RUN = "cluster.json"


class Folder(Protocol):
    """A folder to which every machine of a cluster has access."""

    def names(self) -> list[str]:
        """Return what is in it, without hidden names."""
        ...

    def open(self, name: str) -> Any:
        """Open a file to read any part of it; a FileNotFoundError says that it is not there."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Let a file have this content: all of it or, after a crash, what it had before."""
        ...

    def remove(self, names: Collection[str]) -> None:
        """Delete files."""
        ...


class LocalFolder:
    """A folder of this machine, or one that all machines have mounted."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def names(self) -> list[str]:
        """Return what is in it, without hidden names."""
        if not self._place.exists():
            return []
        return sorted(path.name for path in self._place.iterdir() if path.name[0] not in "._")

    def open(self, name: str) -> Any:
        """Open a file to read any part of it."""
        return (self._place / name).open("rb")

    def write(self, name: str, content: bytes) -> None:
        """Write a file, which appears whole."""
        unfinished = self._place / f".{name}.{uuid.uuid4().hex}.unfinished"
        with replacing(self._place / name, unfinished) as file:
            file.write(content)

    def remove(self, names: Collection[str]) -> None:
        """Delete files."""
        for name in names:
            (self._place / name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete what kills have left unfinished."""
        for path in self._place.glob(".*.unfinished"):
            path.unlink(missing_ok=True)


class RemoteFolder:
    """A folder at an address that fsspec knows, such as ``s3://bucket/tags.parquet``."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def names(self) -> list[str]:
        """Return what is in it, without hidden names."""
        try:
            return [each.name for each in list_folder(self._address) if each.name[0] not in "._"]
        except NothingThereError:
            return []

    def open(self, name: str) -> Any:
        """Open a file to read any part of it."""
        address = self._address.below(name)
        system, path = file_system(address)
        try:
            return tried(lambda: system.open(path), address)
        except NothingThereError as error:
            raise FileNotFoundError(str(error)) from None

    def write(self, name: str, content: bytes) -> None:
        """Put an object, which appears whole."""
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder, name)
            place.write_bytes(content)
            upload(place, self._address.below(name))

    def remove(self, names: Collection[str]) -> None:
        """Delete objects."""
        for name in names:
            remove(self._address.below(name))


def read_file(folder: Folder, name: str) -> bytes | None:
    """Return the content of a file of a folder, if it is there."""
    try:
        with folder.open(name) as file:
            content: bytes = file.read()
    except FileNotFoundError:
        return None
    return content


class BlockWriter:
    """Writes blocks of one run; it can be sent to another machine."""

    def __init__(self, blocks: Folder, run: Folder, settings: Mapping[str, Any]) -> None:
        self._blocks = blocks
        self._run = run
        self._settings = settings
        self._name = uuid.uuid4().hex

    def begin(self) -> None:
        """Take the output from whoever was writing it."""
        self._run.write(_RUN, json.dumps({"run": self._name}).encode())

    def write(self, table: pa.Table, files: Files) -> None:
        """Write a block, or the same once more.

        Raises
        ------
        ClusterError
            If another run has begun to write this output.
        """
        told = json.loads(read_file(self._run, _RUN) or b"{}")
        if told.get("run") != self._name:
            raise ClusterError("another run has begun to write this output: this one ends")
        if not files:
            return
        paths = "\n".join([self._name, *(path_cell(stamp.path) for stamp, _ in files)])
        digest = hashlib.blake2b(paths.encode(), digest_size=12).hexdigest()
        content = io.BytesIO()
        write_shard(content, self._settings, table, files)
        self._blocks.write(f"block-{digest}.parquet", content.getvalue())


class LocalBlocks(Store):
    """A :class:`Store` into which the machines of a cluster write, by :attr:`writer`."""

    def __init__(self, output: Path, settings: Mapping[str, Any], *, overwrite: bool) -> None:
        super().__init__(output, settings, overwrite=overwrite)
        self._folder_of_blocks = LocalFolder(self._output.absolute())
        run = LocalFolder(self._folder.absolute())
        self.writer = BlockWriter(self._folder_of_blocks, run, self._settings)

    def __enter__(self) -> LocalBlocks:
        super().__enter__()
        try:
            self.writer.begin()
            self._folder_of_blocks.sweep()
            self.reread()
        except BaseException:
            self._leave()
            raise
        return self


class RemoteBlocks:
    """The output of a cluster at an address, with its run folder beside it; as a Store is used."""

    def __init__(self, output: Address, settings: Mapping[str, Any], *, overwrite: bool) -> None:
        check_output(output)
        if output.suffix.lower() != ".parquet":
            raise ArgumentError(f"output {str(output)!r} must end in .parquet")
        self._label = f"output {str(output)!r}"
        self._run_folder = output.with_name(f"{output.name}.run")
        self._blocks = RemoteFolder(output)
        self._run = RemoteFolder(self._run_folder)
        self._settings = json.loads(json.dumps({**settings, "layout": LAYOUT}))
        self._overwrite = overwrite
        self.writer = BlockWriter(self._blocks, self._run, self._settings)
        self.known: dict[str, Stamp] = {}
        self.crashed: dict[str, Stamp] = {}
        self.shares: dict[str, bool] = {}
        self._failed: list[tuple[str, str]] = []
        self._failed_before: set[str] = set()
        self._block_of: dict[str, str] = {}

    def __enter__(self) -> RemoteBlocks:
        unreachable = (OSError, RemoteError)
        with raising(OutputError, f"{self._label} cannot be reached", instead_of=unreachable):
            old = read_file(self._run, "settings.json")
            blocks = self._blocks.names()
            if not self._overwrite and old is None and blocks:
                raise ArgumentError(
                    f"{self._label} was not made by a library run, or its run folder is gone; "
                    f"{REMEDY}"
                )
            if old is not None and not self._overwrite:
                if different := differing_settings(json.loads(old), self._settings):
                    raise ArgumentError(
                        f"{self._label} was made with other settings: {different}; {REMEDY}"
                    )
            else:
                self._blocks.remove(blocks)
                self._run.remove(self._run.names())
                self._run.write("settings.json", json.dumps(self._settings, indent=1).encode())
            self.writer.begin()
            for line in (read_file(self._run, "crashed.jsonl") or b"").splitlines():
                stamp = Stamp.of(json.loads(line))
                self.crashed[stamp.path] = stamp
            listed = (read_file(self._run, "failures.csv") or b"").decode("utf-8", "replace")
            self._failed_before = {
                row[1] for row in parse_table(io.StringIO(listed), FAILURE_COLUMNS)
            }
            self.shares = json.loads(read_file(self._run, "shares.json") or b"{}")
            self.reread()
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if kind is None:  # else nobody was told
            rows = [FAILURE_COLUMNS, *self._failed]
            self._run.write("failures.csv", csv_lines(rows).encode())

    def place_of(self, name: str) -> str:
        """Return what a file of the run folder is called."""
        return str(self._run_folder.below(name))

    def reread(self) -> None:
        """Look at what is in the output; rows that are there twice are dropped."""
        self.known.clear()
        self._block_of.clear()
        lost: dict[str, float] = {}
        names = [name for name in self._blocks.names() if name.endswith(".parquet")]

        def look(name: str) -> tuple[pa.Table, Files]:
            return self._read(name, ["damaged", "lost_s"])

        with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
            for name, (table, files) in zip(names, pool.map(look, names), strict=True):
                lost |= damaged_files(table, files)
                paths = [stamp.path for stamp, _ in files]
                if self.known.keys() & set(paths):
                    self._change(name, {}, self.known)
                    files = [one for one in files if one[0].path not in self.known]
                for stamp, _ in files:
                    self.known[stamp.path] = stamp
                    self._block_of[stamp.path] = name
        if lost:
            rows = [(path_cell(self.known[p].source), f"{s:.3f}") for p, s in lost.items()]
            self._run.write("damaged.csv", csv_lines([("source", "lost_s"), *rows]).encode())

    def _read(self, name: str, columns: list[str] | None = None) -> tuple[pa.Table, Files]:
        with self._blocks.open(name) as content:
            return read_shard(Path(name), columns, content)

    def _change(
        self, name: str, changes: Mapping[str, Stamp | None], taken: Collection[str] = ()
    ) -> None:
        table, files = change_rows(*self._read(name), changes, taken)
        if not files:
            self._blocks.remove([name])
            return
        content = io.BytesIO()
        write_shard(content, self._settings, table, files)
        self._blocks.write(name, content.getvalue())

    def discard(self, paths: Collection[str]) -> None:
        """Drop all rows of these files."""
        self._change_all(dict.fromkeys(self.known.keys() & set(paths)))

    def move(self, moves: Mapping[str, Stamp]) -> None:
        """Give the rows of known paths to other files."""
        self._change_all(moves)

    def _change_all(self, changes: Mapping[str, Stamp | None]) -> None:
        for name in sorted({self._block_of[path] for path in changes}):
            self._change(name, changes)
        if changes:
            self.reread()

    def note_written(self, stamps: Iterable[Stamp]) -> None:
        """Count files as known whose results another process has put into the output."""
        self.known.update((stamp.path, stamp) for stamp in stamps)

    def note_share(self, shard: str, *, finished: bool) -> None:
        """Write down that a run over a share of a library has begun, or has come to its end."""
        self.shares[shard] = finished
        self._run.write("shares.json", json.dumps(self.shares).encode())

    def record_failures(self, failures: Sequence[tuple[str, str]]) -> None:
        """List files that could not be used; the list is written when the output is left."""
        self._failed += failure_cells(failures)

    def failed_as_before(self, reason: str) -> bool:
        """Whether the run before noted the very same failure."""
        return failure_cells([("", reason)])[0][1] in self._failed_before

    def record_crash(self, stamp: Stamp) -> None:
        """Remember a file that crashed the decoder, for later runs."""
        self.crashed[stamp.path] = stamp
        lines = [json_line(asdict(one)) for one in self.crashed.values()]
        self._run.write("crashed.jsonl", b"".join(lines))


Blocks = LocalBlocks | RemoteBlocks


def open_blocks(
    output: str | os.PathLike[str], settings: Mapping[str, Any], *, overwrite: bool
) -> Blocks:
    """Return the output of a cluster: a folder that all machines see, or one at an address."""
    if (address := as_address(output)) is not None:
        return RemoteBlocks(address, settings, overwrite=overwrite)
    return LocalBlocks(Path(local_path(output)), settings, overwrite=overwrite)
