"""Results as JSON entries that wait to be written, and as rows of an Arrow table."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from musicnn_zoo.library.stamp import Stamp
from musicnn_zoo.library.store import Result
from musicnn_zoo.library.writers import EVENT_COLUMNS, taggram_columns
from musicnn_zoo.tagging.events import Events
from musicnn_zoo.tagging.taggram import Taggram
from musicnn_zoo.tagging.tags import Tags
from musicnn_zoo.text import path_to_text

_FILE = {
    "source": pa.string(), "size": pa.int64(), "mtime_ns": pa.int64(), "sha256": pa.string(),
    "duration_s": pa.float64(), "repeated": pa.bool_(), "dropped_s": pa.float64(),
    "damaged": pa.bool_(), "lost_s": pa.float64(),
}  # fmt: skip
_TAGS = {**_FILE, "tags": pa.list_(pa.string()), "scores": pa.list_(pa.float32())}
_EMBEDDINGS = {**_FILE, "time_s": pa.float64(), "embedding": pa.list_(pa.float32())}
_EVENTS = dict(
    zip(
        EVENT_COLUMNS,
        (pa.string(), pa.string(), pa.float64(), pa.float64(), pa.float32()),
        strict=True,
    )
)

Entry = dict[str, Any]


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
    if kind == "events":
        events = [event for entry in entries for event in entry["events"]]
        columns |= {name: [row[i] for row in events] for i, name in enumerate(EVENT_COLUMNS[1:])}
        return pa.table(columns, schema=pa.schema(_EVENTS))
    vectors = [_unpacked(entry) for entry in entries]
    times = [time for entry in entries for time in entry["times"]]
    if kind == "taggrams":
        names = taggram_columns(settings["tags"])
        schema = {"source": pa.string(), "time_s": pa.float64()}
        schema |= dict.fromkeys(names[2:], pa.float32())
        scores = np.concatenate([rows.reshape(len(rows), len(names) - 2) for rows in vectors])
        columns |= {"time_s": times, **dict(zip(names[2:], scores.T, strict=True))}
        return pa.table(columns, schema=pa.schema(schema))
    columns |= {
        name: _repeated([entry.get(name) for entry in entries], counts) for name in list(_FILE)[1:]
    }
    ends = np.cumsum([0, *(rows.shape[1] for rows in vectors for _ in rows)], dtype=np.int32)
    lists = pa.ListArray.from_arrays(ends, np.concatenate([rows.reshape(-1) for rows in vectors]))
    if kind == "tags":
        tags = [list(map(path_to_text, entry["tags"])) for entry in entries]
        columns |= {"tags": tags, "scores": lists}
        return pa.table(columns, schema=pa.schema(_TAGS))
    return pa.table({**columns, "time_s": times, "embedding": lists}, pa.schema(_EMBEDDINGS))


def with_stamps(table: pa.Table, stamps: Sequence[tuple[Stamp, int]]) -> pa.Table:
    """Return a table whose rows are those of other files: of each so many."""
    counts = [rows for _, rows in stamps]
    columns: dict[str, list[Any]] = {
        "source": [path_to_text(stamp.source) for stamp, _ in stamps],
        "size": [stamp.size for stamp, _ in stamps],
        "mtime_ns": [stamp.mtime_ns for stamp, _ in stamps],
        "sha256": [stamp.sha256 for stamp, _ in stamps],
    }
    for name, values in columns.items():
        at = table.schema.get_field_index(name)
        if at >= 0 and _FILE[name] == table.schema.field(at).type:
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
