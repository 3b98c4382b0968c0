r"""Results as a folder of Parquet files, which readers take as one table.

Results wait in ``pending.jsonl`` in the run folder until there are enough for a file of their
own, a shard. A shard appears whole; a result that is in a shard and still waits is of the
shard.

Parquet texts are UTF-8, and file names need not be: one that is not is written with escapes
(``caf\udce9.mp3``) in the column ``source``, and as it is in the metadata of its shard.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from musicnn_zoo.errors import ArgumentError, OutputError
from musicnn_zoo.results import Embedding, Tags
from musicnn_zoo.stores.durable import GrowingFile, json_line, read_lines, replacing, sync_folder
from musicnn_zoo.stores.stamp import Stamp
from musicnn_zoo.stores.store import Store

SHARD_FILES = 256
"""So many files make a shard, or ``SHARD_BYTES`` of what waits."""
SHARD_BYTES = 64 << 20

_STAMP = [field.name for field in fields(Stamp)]
_COMMON = {
    "source": pa.string(), "size": pa.int64(), "mtime_ns": pa.int64(), "sha256": pa.string(),
    "duration_s": pa.float64(), "repeated": pa.bool_(), "dropped_s": pa.float64(),
}  # fmt: skip
_TAGS = {"tags": pa.list_(pa.string()), "scores": pa.list_(pa.float32())}
_EMBEDDINGS = {"time_s": pa.float64(), "embedding": pa.list_(pa.float32())}


class ParquetStore(Store):
    """Results as a folder of Parquet files; see :class:`Store`."""

    _files = "pending.jsonl", "pending.next", "shard.next"
    _log: GrowingFile

    def __init__(self, output: Path, settings: Mapping[str, Any], *, overwrite: bool) -> None:
        super().__init__(output, settings, overwrite=overwrite)
        if self._output.exists() and not self._output.is_dir():
            raise ArgumentError(
                f"output {str(output)!r} is a file, and would be a folder of Parquet files; "
                "delete it or name another output"
            )
        self._pending_path, self._next_pending, self._next_shard = (
            self._folder.path / name for name in self._files
        )
        self._pending: dict[str, dict[str, Any]] = {}
        self._shard_of: dict[str, Path] = {}
        self._number = 0

    def _contents(self) -> list[Path]:
        # As readers of such folders do, names with a dot or an underscore are left out.
        if not self._output.exists():
            return []
        return sorted(path for path in self._output.iterdir() if path.name[0] not in "._")

    def _holds_something(self) -> bool:
        return bool(self._contents())

    def _remove_output(self) -> None:
        contents = self._contents()
        for path in contents:
            if path.suffix != ".parquet" or not path.is_file():
                raise ArgumentError(
                    f"output {str(self._output)!r} holds {path.name!r}, which is no Parquet file; "
                    "delete the folder yourself or name another output"
                )
        for path in contents:
            path.unlink()

    def _make_output(self) -> None:
        self._output.mkdir(exist_ok=True)

    def _recover(self) -> dict[str, Stamp]:
        self._next_shard.unlink(missing_ok=True)
        known = {}
        for shard in self._contents():
            if shard.suffix == ".parquet":
                for stamp in _read_stamps(shard):
                    known[stamp.source] = stamp
                    self._shard_of[stamp.source] = shard
                if number := re.fullmatch(r"part-(\d+)\.parquet", shard.name):
                    self._number = max(self._number, int(number[1]) + 1)
        for (stamp, entry), _ in read_lines(self._pending_path, _parse):
            if stamp.source not in self._shard_of:
                self._pending[stamp.source] = entry
                known[stamp.source] = stamp
        self._write_pending()
        return known

    def _append(self, stamp: Stamp, result: Tags | Embedding) -> None:
        entry = _make_entry(stamp, result)
        self._log.append(json_line(entry))
        self._pending[stamp.source] = entry
        if len(self._pending) >= SHARD_FILES or self._log.end >= SHARD_BYTES:
            self._complete()

    def _complete(self) -> None:
        if not self._pending:
            return
        shard = self._output / f"part-{self._number:05}.parquet"
        table, paths = self._make_table(self._pending.values())
        self._write_shard(shard, table, paths)
        self._shard_of.update(dict.fromkeys(self._pending, shard))
        self._pending = {}
        self._number += 1
        self._write_pending()

    def _drop(self, paths: Collection[str]) -> None:
        for shard in sorted({self._shard_of[path] for path in paths if path in self._shard_of}):
            table, names = _read(shard)
            kept = [name not in paths for name in names]
            if any(kept):
                names = [name for name in names if name not in paths]
                self._write_shard(shard, table.filter(pa.array(kept)), names)
            else:
                shard.unlink()
        sync_folder(self._output)
        for path in paths:
            self._shard_of.pop(path, None)
            self._pending.pop(path, None)
        self._write_pending()

    def _write_pending(self) -> None:
        self._close()
        with replacing(self._pending_path, self._next_pending) as file:
            file.writelines(map(json_line, self._pending.values()))
        self._log = self._grow(self._pending_path)

    def _write_shard(self, shard: Path, table: pa.Table, paths: list[str]) -> None:
        exact = {i: path for i, path in enumerate(paths) if _utf8(path) != path}
        metadata = {"musicnn_zoo": self._settings, "musicnn_zoo_paths": exact}
        table = table.replace_schema_metadata(
            {name: json.dumps(value) for name, value in metadata.items()}
        )
        with replacing(shard, self._next_shard) as file:
            pq.write_table(table, file)

    def _make_table(self, entries: Iterable[dict[str, Any]]) -> tuple[pa.Table, list[str]]:
        """Return the rows of waiting results, and the path of each."""
        rows = []
        for entry in entries:
            floats = np.frombuffer(base64.b64decode(entry["floats"]), "<f4")
            vectors = floats.reshape(len(entry["times"]), -1)
            rows += [(entry, time, row) for time, row in zip(entry["times"], vectors, strict=True)]
        columns: dict[str, Any] = {name: [row[0][name] for row in rows] for name in _COMMON}
        paths = columns["source"]
        columns["source"] = [_utf8(path) for path in paths]
        ends = np.cumsum([0, *(len(row[2]) for row in rows)], dtype=np.int32)
        lists = pa.ListArray.from_arrays(ends, np.concatenate([row[2] for row in rows]))
        if self._settings["kind"] == "tags":
            columns |= {"tags": [row[0]["tags"] for row in rows], "scores": lists}
            schema = _COMMON | _TAGS
        else:
            columns |= {"time_s": [row[1] for row in rows], "embedding": lists}
            schema = _COMMON | _EMBEDDINGS
        return pa.table(columns, schema=pa.schema(schema)), paths


def _make_entry(stamp: Stamp, result: Tags | Embedding) -> dict[str, Any]:
    """Return a result as it waits; its floats as bytes, bit for bit."""
    clip = result.clip.to_dict()
    del clip["source"]
    entry = {**asdict(stamp), **clip, "times": [0.0]}
    if isinstance(result, Tags):
        entry["tags"] = list(result.names)
        floats = np.array([score for _, score in result])
    else:
        floats = result.values
        if result.pooling is None:
            entry["times"] = result.times.tolist()
    entry["floats"] = base64.b64encode(floats.astype("<f4").tobytes()).decode("ascii")
    return entry


def _parse(entry: dict[str, Any]) -> tuple[Stamp, dict[str, Any]]:
    return Stamp.of(entry), entry


def _utf8(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def _read(shard: Path, columns: list[str] | None = None) -> tuple[pa.Table, list[str]]:
    """Return a shard and the path of each row."""
    try:
        with pq.ParquetFile(shard) as file:
            table = file.read(columns, use_threads=False)
        exact = json.loads((table.schema.metadata or {}).get(b"musicnn_zoo_paths", "{}"))
        stored = table.select(_STAMP)["source"].to_pylist()
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise OutputError(
            f"{shard}: cannot be read ({error}); move it away and run the same command again, "
            "which does its files anew"
        ) from error
    return table, [exact.get(str(i), path) for i, path in enumerate(stored)]


def _read_stamps(shard: Path) -> Iterable[Stamp]:
    table, paths = _read(shard, _STAMP)
    columns = (table[name].to_pylist() for name in _STAMP[1:])
    return map(Stamp, paths, *columns)
