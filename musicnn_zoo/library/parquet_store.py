"""Results as a folder of Parquet files, which readers take as one table.

Results wait in ``pending.jsonl`` in the run folder until there are enough for a Parquet file, a
shard. A shard appears whole. A result that is in a shard and in ``pending.jsonl`` counts as being
in the shard.

The metadata of a shard list the files of its rows, in their order, with exact paths, and also the
files without rows.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError, OutputError
from musicnn_zoo.files import GrowingFile, json_line, read_lines, replacing, sync_folder
from musicnn_zoo.library.text_store import EVENT_COLUMNS, Batch, Result, taggram_columns
from musicnn_zoo.sound.find import Stamp
from musicnn_zoo.tagging.results import Events, Taggram, Tags
from musicnn_zoo.text import path_to_text

SHARD_FILES = 256
"""So many files make a shard, or ``SHARD_BYTES`` of what waits."""
SHARD_BYTES = 64 << 20

_SETTINGS = "musicnn_zoo"
_FILES = "musicnn_zoo_files"
"""Keys of the metadata of a shard."""

_FILE = {
    "source": pa.string(), "size": pa.int64(), "mtime_ns": pa.int64(), "sha256": pa.string(),
    "duration_s": pa.float64(), "repeated": pa.bool_(), "dropped_s": pa.float64(),
    "damaged": pa.bool_(), "lost_s": pa.float64(), "silent": pa.float64(),
}  # fmt: skip
_TAGS = {**_FILE, "tags": pa.list_(pa.string()), "scores": pa.list_(pa.float32())}
_EMBEDDINGS = {**_FILE, "time_s": pa.float64(), "embedding": pa.list_(pa.float32())}
_EVENT_TYPES = pa.string(), pa.string(), pa.float64(), pa.float64(), pa.float32()
_EVENTS = dict(zip(EVENT_COLUMNS, _EVENT_TYPES, strict=True))

Files: TypeAlias = list[tuple[Stamp, int]]
"""The files of a shard, each with its number of rows."""
Entry: TypeAlias = dict[str, Any]
"""A result in ``pending.jsonl``."""


def make_entry(stamp: Stamp, result: Result) -> Entry:
    """Return a result as it waits, ready for JSON; scores and vectors bit for bit."""
    entry = {**result.clip.to_dict(), **asdict(stamp)}
    if isinstance(result, Tags):
        scores = np.array([score for _, score in result])
        return {**entry, "tags": list(result.names), "times": [0.0], "floats": _packed(scores)}
    if isinstance(result, Events):
        return {**entry, "events": [[*event[:3], float(event.score)] for event in result]}
    if isinstance(result, Taggram):
        return {**entry, "times": result.times.tolist(), "floats": _packed(result.scores)}
    times = result.times.tolist() if result.pooling is None else [0.0]
    return {**entry, "times": times, "floats": _packed(result.values)}


def count_rows(kind: str, entry: Entry) -> int:
    """Count the rows that an entry becomes."""
    return len(entry["events"] if kind == "events" else entry["times"])


def make_table(settings: Mapping[str, Any], entries: Sequence[Entry]) -> pa.Table:
    """Return the rows of entries, in their order, without the metadata of a shard."""
    kind = settings["kind"]
    counts = [count_rows(kind, entry) for entry in entries]
    sources = [path_to_text(entry["source"]) for entry in entries]
    columns: dict[str, Any] = {"source": _repeated(sources, counts)}
    if not entries:
        return row_schema(settings).empty_table()
    if kind == "events":
        events = [event for entry in entries for event in entry["events"]]
        columns |= {name: [row[i] for row in events] for i, name in enumerate(EVENT_COLUMNS[1:])}
        return pa.table(columns, schema=row_schema(settings))
    vectors = [_unpacked(entry) for entry in entries]
    times = [time for entry in entries for time in entry["times"]]
    if kind == "taggrams":
        names = taggram_columns(settings["tags"])
        scores = np.concatenate([rows.reshape(len(rows), len(names) - 2) for rows in vectors])
        columns |= {"time_s": times, **dict(zip(names[2:], scores.T, strict=True))}
        return pa.table(columns, schema=row_schema(settings))
    columns |= {
        name: _repeated([entry.get(name) for entry in entries], counts) for name in list(_FILE)[1:]
    }
    ends = np.cumsum([0, *(rows.shape[1] for rows in vectors for _ in rows)], dtype=np.int32)
    lists = pa.ListArray.from_arrays(ends, np.concatenate([rows.reshape(-1) for rows in vectors]))
    if kind == "tags":
        tags = [list(map(path_to_text, entry["tags"])) for entry in entries]
        columns |= {"tags": tags, "scores": lists}
        return pa.table(columns, schema=row_schema(settings))
    return pa.table({**columns, "time_s": times, "embedding": lists}, row_schema(settings))


def row_schema(settings: Mapping[str, Any]) -> pa.Schema:
    """Return the columns of the rows of an output."""
    kind = settings["kind"]
    if kind == "taggrams":
        names = taggram_columns(settings["tags"])
        types = {"source": pa.string(), "time_s": pa.float64()}
        return pa.schema({**types, **dict.fromkeys(names[2:], pa.float32())})
    return pa.schema({"events": _EVENTS, "tags": _TAGS, "embeddings": _EMBEDDINGS}[kind])


def _with_stamps(table: pa.Table, files: Files) -> pa.Table:
    """Return a table with its rows given to other files."""
    counts = [rows for _, rows in files]
    for name in ("source", "size", "mtime_ns", "sha256"):
        at = table.schema.get_field_index(name)
        if at >= 0 and _FILE[name] == table.schema.field(at).type:
            values = [getattr(stamp, name) for stamp, _ in files]
            if name == "source":
                values = list(map(path_to_text, values))
            cells = pa.array(_repeated(values, counts), _FILE[name])
            table = table.set_column(at, table.schema.field(at), cells)
    return table


def _packed(floats: NDArray[Any]) -> str:
    return base64.b64encode(floats.astype("<f4").tobytes()).decode("ascii")


def _unpacked(entry: Entry) -> NDArray[np.float32]:
    floats: NDArray[np.float32] = np.frombuffer(base64.b64decode(entry["floats"]), "<f4")
    rows = len(entry["times"])
    return floats.reshape(rows, len(floats) // max(1, rows))


def _repeated(values: Sequence[Any], counts: Sequence[int]) -> list[Any]:
    return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]


class ParquetRows:
    """Results as a folder of Parquet files; of one store, as :class:`.text_store.TextRows`."""

    _log: GrowingFile | None = None

    def __init__(self, output: Path, folder: Path, settings: Mapping[str, Any], label: str) -> None:
        self._label = label
        if output.exists() and not output.is_dir():
            raise ArgumentError(
                f"{self._label} is a file, and would be a folder of Parquet files; "
                "delete it or name another output"
            )
        self._output = output
        self._settings = settings
        self.files = [folder / name for name in ("pending.jsonl", "shard.next")]
        self._pending_path, self._next_shard = self.files
        self._pending: dict[str, Entry] = {}
        self._shard_of: dict[str, Path] = {}
        self._number = 0

    def _contents(self) -> list[Path]:
        # As readers of such folders do, names with a dot or an underscore are left out.
        if not self._output.exists():
            return []
        return sorted(path for path in self._output.iterdir() if path.name[0] not in "._")

    def exist(self) -> bool:
        """Whether the output holds anything."""
        return bool(self._contents())

    def remove(self) -> None:
        """Delete the Parquet files of the output."""
        contents = self._contents()
        for path in contents:
            if path.suffix != ".parquet" or not path.is_file():
                raise ArgumentError(
                    f"{self._label} holds {path.name!r}, which is no Parquet file; "
                    "delete the folder yourself or name another output"
                )
        for path in contents:
            path.unlink()

    def make(self) -> None:
        """Make the folder."""
        self._output.mkdir(exist_ok=True)

    def open(self) -> dict[str, Stamp]:
        """Repair what a crash left, and say which files the output has."""
        self._next_shard.unlink(missing_ok=True)
        self._shard_of, self._pending = {}, {}
        known: dict[str, Stamp] = {}
        for shard in self._contents():
            if shard.suffix == ".parquet":
                _, files = read_shard(shard, [])
                paths = [stamp.path for stamp, _ in files]
                if len(known.keys() | set(paths)) < len(known) + len(paths):
                    # After a kill between two shards of a move, and in old outputs.
                    self._change_shard(shard, {}, taken=known)
                    files = read_shard(shard, [])[1] if shard.exists() else []
                for stamp, _ in files:
                    known[stamp.path] = stamp
                    self._shard_of[stamp.path] = shard
                if number := re.fullmatch(r"part-(\d+)\.parquet", shard.name):
                    self._number = max(self._number, int(number[1]) + 1)
        for (stamp, entry), _ in read_lines(self._pending_path, lambda one: (Stamp.of(one), one)):
            if stamp.path not in self._shard_of:
                self._pending[stamp.path] = entry
                known[stamp.path] = stamp
        self._write_pending()
        return known

    def damaged(self) -> dict[str, float]:
        """Return the seconds that could not be decoded of files, as the rows say it."""
        found: dict[str, float] = {}
        for shard in sorted(set(self._shard_of.values())):
            found |= damaged_files(*read_shard(shard, ["damaged", "lost_s"]))
        return found

    def append(self, stamp: Stamp, result: Result) -> None:
        """Add the result of one file."""
        assert self._log is not None
        entry = make_entry(stamp, result)
        self._log.append(json_line(entry))
        self._pending[stamp.path] = entry
        if len(self._pending) >= SHARD_FILES or self._log.end >= SHARD_BYTES:
            self.complete()

    def complete(self) -> None:
        """Make a shard of what waits."""
        if not self._pending:
            return
        entries = list(self._pending.values())
        kind = self._settings["kind"]
        files = [(Stamp.of(entry), count_rows(kind, entry)) for entry in entries]
        self._add_shard(make_table(self._settings, entries), files)
        self._pending = {}
        self._write_pending()

    def _add_shard(self, table: pa.Table, files: Files) -> None:
        shard = self._output / f"part-{self._number:05}.parquet"
        self._write_shard(shard, table, files)
        self._shard_of.update({stamp.path: shard for stamp, _ in files})
        self._number += 1

    def batches(self) -> Iterator[Batch]:
        """Yield all results, a shard at a time."""
        self.complete()
        for shard in self._contents():
            if shard.suffix == ".parquet":
                table, files = read_shard(shard)
                yield Batch([stamp for stamp, _ in files], (table, files))

    def take(self, batch: Batch, stamps: Mapping[str, Stamp]) -> None:
        """Add the results of some files of a batch, as a shard."""
        table, files = batch.rows
        mask = [stamp.path in stamps for stamp, rows in files for _ in range(rows)]
        kept = [(stamp, rows) for stamp, rows in files if stamp.path in stamps]
        if kept:
            self._add_shard(table.filter(pa.array(mask, pa.bool_())), kept)

    def cells(self, paths: Collection[str]) -> dict[str, list[dict[str, Any]]]:
        """Return the rows of some files, without their sources."""
        self.complete()
        found: dict[str, list[dict[str, Any]]] = {}
        for shard in sorted({self._shard_of[path] for path in paths}):
            table, files = read_shard(shard)
            start = 0
            for stamp, rows in files:
                if stamp.path in paths:
                    found[stamp.path] = table.slice(start, rows).drop(["source"]).to_pylist()
                start += rows
        return found

    def rewrite(self, changes: Mapping[str, Stamp | None]) -> None:
        """Give the rows of some paths to other files, and drop those that come to no file."""
        changed = {path: self._shard_of.pop(path) for path in changes if path in self._shard_of}
        for shard in sorted(set(changed.values())):
            self._change_shard(shard, changes)
        sync_folder(self._output)
        for path, shard in changed.items():
            if stamp := changes[path]:
                self._shard_of[stamp.path] = shard
        pending: dict[str, Entry] = {}
        for path, entry in self._pending.items():
            stamp = changes.get(path, Stamp.of(entry))
            if stamp is not None:
                pending[stamp.path] = {**entry, **asdict(stamp)}
        self._pending = pending
        self._write_pending()

    def _change_shard(
        self, shard: Path, changes: Mapping[str, Stamp | None], taken: Collection[str] = ()
    ) -> None:
        """Rewrite a shard, without the rows that go to no file or to one of the ``taken`` paths."""
        table, kept = change_rows(*read_shard(shard), changes, taken)
        if kept:
            self._write_shard(shard, table, kept)
        else:
            shard.unlink()

    def sync(self) -> None:
        """Make sure that all results are on the disk."""
        assert self._log is not None
        self._log.sync()

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()

    def _write_pending(self) -> None:
        self.close()
        with replacing(self._pending_path) as file:
            file.writelines(map(json_line, self._pending.values()))
        self._log = GrowingFile(self._pending_path)

    def _write_shard(self, shard: Path, table: pa.Table, files: Files) -> None:
        with replacing(shard, self._next_shard) as file:
            write_shard(file, self._settings, table, files)


def write_shard(file: BinaryIO, settings: Mapping[str, Any], table: pa.Table, files: Files) -> None:
    """Write the rows of files as a shard."""
    metadata = {
        _SETTINGS: settings,
        _FILES: [{**asdict(stamp), "rows": rows} for stamp, rows in files],
    }
    named = {name: json.dumps(value) for name, value in metadata.items()}
    pq.write_table(table.replace_schema_metadata(named), file)


def change_rows(
    table: pa.Table,
    files: Files,
    changes: Mapping[str, Stamp | None],
    taken: Collection[str] = (),
) -> tuple[pa.Table, Files]:
    """Give rows to other files; leave out those that go to none or to one of the ``taken``."""
    written = set(taken)
    kept: Files = []
    mask: list[bool] = []
    for old, rows in files:
        stamp = changes.get(old.path, old)
        is_kept = stamp is not None and stamp.path not in written
        mask += [is_kept] * rows
        if stamp is not None and is_kept:
            kept.append((stamp, rows))
            written.add(stamp.path)
    return _with_stamps(table.filter(pa.array(mask, pa.bool_())), kept), kept


def read_shard(
    shard: Path, columns: list[str] | None = None, content: BinaryIO | None = None
) -> tuple[pa.Table, Files]:
    """Return columns of a shard, by default all, and the files of its rows.

    ``content`` is read instead of the file, where that is somewhere else.
    """
    try:
        with pq.ParquetFile(content or shard) as file:
            if columns is not None:
                columns = [name for name in columns if name in file.schema_arrow.names]
            return file.read(columns, use_threads=False), _files_of(file)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise OutputError(
            f"{shard}: cannot be read ({error}); move it away and run the same command again, "
            "which computes its files again"
        ) from error


def damaged_files(table: pa.Table, files: Files) -> dict[str, float]:
    """Return how many seconds could not be decoded of each damaged file of a shard."""
    if "damaged" not in table.column_names:
        return {}
    cells = zip(table["damaged"].to_pylist(), table["lost_s"].to_pylist(), strict=True)
    stamps = _repeated([stamp for stamp, _ in files], [rows for _, rows in files])
    return {
        stamp.path: lost_s
        for stamp, (is_damaged, lost_s) in zip(stamps, cells, strict=True)
        if is_damaged
    }


def _files_of(file: pq.ParquetFile) -> Files:
    metadata = file.schema_arrow.metadata or {}
    written = metadata.get(_FILES.encode())
    if written is None:
        return _files_of_old(file, json.loads(metadata.get(b"musicnn_zoo_paths", "{}")))
    files = [(Stamp.of(one), int(one["rows"])) for one in json.loads(written)]
    if sum(rows for _, rows in files) != file.metadata.num_rows:
        raise ValueError("it was changed by something else")
    return files


def _files_of_old(file: pq.ParquetFile, exact: Mapping[str, str]) -> Files:
    """Return the files of a shard of an earlier release, which stand in its columns."""
    columns = [column.name for column in fields(Stamp) if column.name in _FILE]
    rows = file.read(columns, use_threads=False).to_pylist()
    for at, path in exact.items():
        rows[int(at)]["source"] = path
    return [(Stamp.of(file), len(list(group))) for file, group in groupby(rows)]
