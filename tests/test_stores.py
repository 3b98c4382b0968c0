import csv
import errno
import hashlib
import io
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicnn_zoo.errors import ArgumentError, AudioError, OutputError
from musicnn_zoo.files import GrowingFile, read_lines
from musicnn_zoo.library import parquet_store as parquet
from musicnn_zoo.library import store
from musicnn_zoo.library.store import Store
from musicnn_zoo.library.text_store import Writer
from musicnn_zoo.sound.find import Stamp, take_stamp, unchanged
from musicnn_zoo.tagging.results import Clip, Embedding, Event, Events, Taggram, Tags, TagScore

LATIN1 = os.fsdecode(b"caf\xe9.mp3")
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="not on Windows")
ALL = ["tags.jsonl", "embeddings.jsonl", "tags.csv", "tags.parquet", "embeddings.parquet"]
TEXT = [name for name in ALL if "parquet" not in name]
PARQUET = [name for name in ALL if "parquet" in name]


def settings_of(path, **more):
    return {"kind": path.stem, "model": "M", **more}


def opened(path, *, overwrite=False, **more):
    return Store(path, settings_of(path, **more), overwrite=overwrite)


def stamp_of(name, version=1):
    return Stamp(name, 10, version)


def result_of(kind, name, version=1):
    """A result that carries its version, so that what is in the output can be told."""
    clip = Clip(name, 3.0)
    value = version / 1e6
    if kind == "tags":
        return Tags((TagScore("rock", value), TagScore('pop, "old"', value / 2)), "M", clip)
    values = np.array([value, 0.25], np.float32)
    return Embedding(values, np.array([0.0]), "penultimate", "mean", 3.0, 3.0, "M", clip)


def add(opened_store, path, names, version=1):
    for name in names:
        opened_store.add(stamp_of(name, version), result_of(path.stem, name, version))


def fill(path, names, version=1, **more):
    with opened(path, **more) as one:
        add(one, path, names, version)


def rows_of(path):
    return list(csv.reader(io.StringIO(path.read_bytes().decode())))


def contents(path):
    """What is in the output: the version of every file. It fails if a row is there twice."""
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_bytes().splitlines()]
        found = [
            (row["source"], row["values"][0] if path.stem == "embeddings" else row["tags"]["rock"])
            for row in rows
        ]
        assert all(
            round(value * 1e6) == row["mtime_ns"]
            for (_, value), row in zip(found, rows, strict=True)
        )
    elif path.suffix == ".csv":
        head, *rows = rows_of(path)
        assert head == ["source", "rank", "tag", "score"]
        assert [row[1] for row in rows] == ["1", "2"] * (len(rows) // 2)
        found = [(row[0], float(row[3])) for row in rows[::2]]
    else:
        column = "scores" if path.stem == "tags" else "embedding"
        assert all(shard.suffix == ".parquet" for shard in path.iterdir())
        found = [
            (row["source"], row[column][0])
            for shard in sorted(path.iterdir())
            for row in pq.ParquetFile(shard).read().to_pylist()
        ]
    versions = {name: round(value * 1e6) for name, value in found}
    assert len(versions) == len(found)
    return versions


def reopened(path):
    """Open and leave the store; what it knows, which must be what is there."""
    with opened(path) as one:
        known = {name: stamp.mtime_ns for name, stamp in one.known.items()}
    assert contents(path) == known
    left = {
        "journal.next",
        "journal.commit",
        "output.next",
        "pending.jsonl.unfinished",
        "shard.next",
    }
    assert not left & {file.name for file in run_folder(path).iterdir()}
    return known


def run_folder(path):
    return path.with_name(path.name + ".run")


@pytest.fixture(params=ALL)
def out(tmp_path, request):
    return tmp_path / request.param


@pytest.fixture(params=TEXT)
def text_out(tmp_path, request):
    return tmp_path / request.param


@pytest.fixture(params=PARQUET)
def parquet_out(tmp_path, request):
    return tmp_path / request.param


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Waiting for the disk only matters in a power loss; the child processes do wait."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


# --- stamps


def test_a_stamp_says_path_size_and_time_and_on_demand_the_content(tmp_path):
    path = tmp_path / "a.mp3"
    path.write_bytes(b"x" * 3_000_000)
    os.utime(path, ns=(5, 5))
    assert take_stamp(str(path)) == Stamp(str(path), 3_000_000, 5, None)
    digest = hashlib.sha256(b"x" * 3_000_000).hexdigest()
    assert take_stamp(str(path), content_hash=True).sha256 == digest


def test_a_stamp_of_no_file_is_an_audio_error(tmp_path):
    for path in (tmp_path / "a.mp3", tmp_path / "a.mp3" / "b.mp3"):
        with pytest.raises(AudioError, match=r"mp3: there is no such file$"):
            take_stamp(str(path))
    (tmp_path / "a.mp3").touch()
    with pytest.raises(AudioError, match="there is no such file"):
        take_stamp(str(tmp_path / "a.mp3" / "b.mp3"))


@on_posix
def test_a_stamp_of_an_unreadable_file_is_an_audio_error(tmp_path):
    with pytest.raises(AudioError, match=r"cannot be read \(Is a directory\)"):
        take_stamp(str(tmp_path), content_hash=True)


@pytest.mark.parametrize(
    ("new", "same"),
    [
        (Stamp("a", 1, 1), True),
        (Stamp("a", 2, 1), False),
        (Stamp("a", 1, 2), False),
        (Stamp("a", 1, 2, "x"), True),
        (Stamp("a", 1, 1, "y"), False),
        (Stamp("a", 2, 1, "x"), False),
    ],
)
def test_the_content_decides_if_it_was_hashed_else_size_and_time(new, same):
    assert unchanged(Stamp("a", 1, 1, "x"), new) is same


def test_a_stamp_without_hash_does_not_vouch_for_content():
    assert not unchanged(Stamp("a", 1, 1), Stamp("a", 1, 1, "x"))


# --- what is refused


def test_other_endings_are_refused(tmp_path):
    for name in ("a.txt", "a", "a.parquet.gz"):
        with pytest.raises(ArgumentError, match=r"must end in \.parquet, \.jsonl or \.csv"):
            opened(tmp_path / name)


def test_embeddings_are_not_written_as_csv(tmp_path):
    with pytest.raises(ArgumentError, match=r"use \.parquet or \.jsonl"):
        Store(tmp_path / "a.csv", {"kind": "embeddings"})


def test_a_store_needs_a_kind_and_a_folder(out):
    with pytest.raises(ArgumentError, match="kind"):
        Store(out, {})
    with pytest.raises(ArgumentError, match="there is no folder"):
        opened(out.parent / "missing" / out.name)


def test_an_output_of_the_wrong_sort_is_refused(out):
    out.touch() if out.suffix == ".parquet" else out.mkdir()
    with pytest.raises(ArgumentError, match=r"name another output|name a file"):
        opened(out)


def test_a_result_of_the_other_kind_is_refused(out):
    other = "embeddings" if out.stem == "tags" else "tags"
    with opened(out) as one, pytest.raises(ArgumentError, match=f"holds {out.stem} only"):
        one.add(stamp_of("a"), result_of(other, "a"))


def test_a_file_that_is_known_is_refused(out):
    with opened(out) as one:
        add(one, out, ["a"])
        with pytest.raises(ArgumentError, match="a: is in the output already"):
            add(one, out, ["a"], 2)
    assert reopened(out) == {"a": 1}


def test_other_settings_are_refused_and_named(out):
    fill(out, ["a"], hop_s=3.0, layer="x")
    with (
        pytest.raises(ArgumentError, match="made with other settings") as error,
        opened(out, hop_s=1.5, top_k=5, layer="x"),
    ):
        pass
    message = str(error.value)
    assert "--hop 3.0 (now 1.5)" in message
    assert "--top-k not given (now 5)" in message
    assert "--overwrite" in message
    assert "--output" in message
    assert "layer" not in message
    fill(out, ["b"], hop_s=3.0, layer="x")
    assert contents(out) == {"a": 1, "b": 1}


def test_settings_are_compared_as_json(out):
    fill(out, ["a"], shape=(1, 2))
    with opened(out, shape=[1, 2]) as one:
        assert set(one.known) == {"a"}


def test_settings_that_cannot_be_read_are_refused(out):
    fill(out, ["a"])
    for damaged in ("{", "3", "[1]"):
        (run_folder(out) / "settings.json").write_text(damaged)
        with pytest.raises(ArgumentError, match="settings that cannot be read"), opened(out):
            pass


def test_an_output_made_by_something_else_is_refused_and_left_alone(out):
    if out.suffix == ".parquet":
        out.mkdir()
        foreign = out / "x.parquet"
    else:
        foreign = out
    foreign.write_bytes(b"data")
    with (
        pytest.raises(ArgumentError, match=r"was not made by a library run.*--overwrite"),
        opened(out),
    ):
        pass
    assert foreign.read_bytes() == b"data"
    assert not run_folder(out).exists()
    fill(out, ["a"], overwrite=True)
    assert reopened(out) == {"a": 1}


def test_an_empty_output_is_nothing(out):
    out.mkdir() if out.suffix == ".parquet" else out.touch()
    fill(out, ["a"])
    assert reopened(out) == {"a": 1}


def test_overwriting_deletes_nothing_that_is_no_parquet_file(parquet_out):
    fill(parquet_out, ["a"])
    (parquet_out / "notes.txt").touch()
    with (
        pytest.raises(ArgumentError, match=r"holds 'notes.txt'"),
        opened(parquet_out, overwrite=True),
    ):
        pass
    (parquet_out / "notes.txt").unlink()
    assert reopened(parquet_out) == {"a": 1}


# --- what is written


@pytest.mark.platform
def test_results_are_there_and_known(out):
    fill(out, ["a", "b"])
    fill(out, ["c"])
    assert reopened(out) == {"a": 1, "b": 1, "c": 1}
    with opened(out) as one:
        assert one.known["b"] == stamp_of("b")


def test_overwriting_starts_from_nothing(out):
    fill(out, ["a", "b"], hop_s=1.0)
    fill(out, ["c"], overwrite=True)
    assert reopened(out) == {"c": 1}


def test_a_deleted_output_is_started_anew(out):
    fill(out, ["a", "b"], hop_s=1.0)
    shutil.rmtree(out) if out.is_dir() else out.unlink()
    fill(out, ["c"])
    assert reopened(out) == {"c": 1}


@pytest.mark.parametrize("overwrite", [True, False])
def test_starting_anew_forgets_what_a_killed_run_left(out, overwrite):
    one = opened(out)
    one.__enter__()
    add(one, out, "ab")
    abandon(one)
    if out.suffix != ".parquet":
        shutil.copy(out, run_folder(out) / "output.next")
        shutil.copy(run_folder(out) / "journal.jsonl", run_folder(out) / "journal.commit")
    if not overwrite:
        shutil.rmtree(out) if out.is_dir() else out.unlink()
    fill(out, ["c"], overwrite=overwrite)
    assert reopened(out) == {"c": 1}


def test_discarded_files_are_gone_until_they_are_added_again(out, monkeypatch):
    monkeypatch.setattr(parquet, "SHARD_FILES", 3)
    names = list("abcdefgh")
    with opened(out) as one:
        add(one, out, names)
        one.discard([])
        one.discard(["unknown"])
        one.discard(["a", "d", "e", "f", "h"])
        assert set(one.known) == {"b", "c", "g"}
        add(one, out, "ah", 2)
    assert reopened(out) == {"b": 1, "c": 1, "g": 1, "a": 2, "h": 2}
    with opened(out) as one:
        one.discard(one.known)
    assert reopened(out) == {}
    assert out.suffix != ".parquet" or not list(out.iterdir())
    fill(out, names)
    assert set(reopened(out)) == set(names)


def test_json_lines_hold_the_result_and_the_stamp(tmp_path):
    path = tmp_path / "tags.jsonl"
    clip = Clip("a.ogg", 3.0, repeated=True, dropped_s=0.5)
    with opened(path) as one:
        one.add(Stamp("a.ogg", 1, 2), Tags((TagScore("rock", 0.5),), "M", clip))
        one.add(Stamp("b.ogg", 1, 2, "ff"), Tags((), "M", clip))
    first, second = path.read_text().splitlines()
    assert first == (
        '{"source": "a.ogg", "size": 1, "mtime_ns": 2, "duration_s": 3.0, "repeated": true, '
        '"dropped_s": 0.5, "damaged": false, "lost_s": 0.0, "silent": 0.0, "model": "M", '
        '"tags": {"rock": 0.5}}'
    )
    assert json.loads(second)["sha256"] == "ff"


def test_json_lines_of_embeddings_hold_all_of_the_embedding(tmp_path):
    path = tmp_path / "embeddings.jsonl"
    result = result_of("embeddings", "a")
    with opened(path) as one:
        one.add(stamp_of("a"), result)
    fields = result.to_dict()
    del fields["source"]
    assert json.loads(path.read_text()) == {"source": "a", "size": 10, "mtime_ns": 1, **fields}


def test_csv_is_the_same_as_the_writer_makes(tmp_path):
    path = tmp_path / "tags.csv"
    names = ["a", "=b", "c\nd", LATIN1 if sys.platform != "win32" else "e"]
    fill(path, names)
    with Writer(tmp_path / "other.csv") as writer:
        for name in names:
            writer.write(result_of("tags", name))
    assert path.read_bytes() == (tmp_path / "other.csv").read_bytes()


def test_a_csv_without_results_has_a_heading(tmp_path):
    fill(tmp_path / "tags.csv", [])
    assert rows_of(tmp_path / "tags.csv") == [["source", "rank", "tag", "score"]]


@pytest.mark.parametrize("name", ["tags.jsonl", "tags.csv", "tags.parquet"])
def test_a_file_without_tags_counts_as_done(tmp_path, name):
    path = tmp_path / name
    with opened(path) as one:
        for source in "ab":
            one.add(stamp_of(source), Tags((), "M", Clip(source, 3.0)))
    with opened(path) as one:
        assert set(one.known) == {"a", "b"}
        one.discard(["a"])
    with opened(path) as one:
        assert set(one.known) == {"b"}


@pytest.mark.platform
@pytest.mark.parametrize(
    "reader", [pandas.read_parquet, lambda path: pq.read_table(path).to_pandas()]
)
def test_shards_of_tags_read_as_one_table(tmp_path, monkeypatch, reader):
    monkeypatch.setattr(parquet, "SHARD_FILES", 2)
    path = tmp_path / "tags.parquet"
    with opened(path) as one:
        for name in "abc":
            clip = Clip(name, 3.25, True, 0.5, damaged=name == "b", lost_s=0.25 * (name == "b"))
            tags = Tags((TagScore("rock", 0.5), TagScore("pop", 0.25)), "M", clip)
            one.add(Stamp(name, 1, 2**62, "ff" if name == "b" else None), tags)
    assert sorted(shard.name for shard in path.iterdir()) == [
        "part-00000.parquet",
        "part-00001.parquet",
    ]
    table = reader(path)
    assert list(table.columns) == [
        "source", "size", "mtime_ns", "sha256", "duration_s", "repeated", "dropped_s",
        "damaged", "lost_s", "silent", "tags", "scores",
    ]  # fmt: skip
    row = table.set_index("source").loc["b"]
    assert (row["size"], row["mtime_ns"], row["sha256"]) == (1, 2**62, "ff")
    assert (row["duration_s"], row["repeated"], row["dropped_s"]) == (3.25, True, 0.5)
    assert (row["damaged"], row["lost_s"]) == (True, 0.25)
    assert list(row["tags"]) == ["rock", "pop"]
    assert list(row["scores"]) == [0.5, 0.25]
    assert row["scores"].dtype == np.float32
    metadata = pq.read_schema(path / "part-00000.parquet").metadata
    assert json.loads(metadata[b"musicnn_zoo"])["model"] == "M"


def test_a_result_for_every_patch_is_a_row_for_every_patch(tmp_path):
    path = tmp_path / "embeddings.parquet"
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    times = np.array([0.0, 1.5, 3.0])
    with opened(path) as one:
        for name in "ab":
            clip = Clip(name, 6.0)
            one.add(stamp_of(name), Embedding(values, times, "l", None, 3.0, 1.5, "M", clip))
        one.discard(["a"])
    table = pandas.read_parquet(path)
    assert list(table.columns)[-2:] == ["time_s", "embedding"]
    assert list(table["source"]) == ["b"] * 3
    assert list(table["time_s"]) == [0.0, 1.5, 3.0]
    assert np.array_equal(np.stack(table["embedding"]), values)


@pytest.mark.platform
@settings(max_examples=30)
@given(st.lists(st.floats(width=32, allow_subnormal=True), min_size=1), st.booleans())
def test_parquet_gives_back_every_bit(tmp_path_factory, numbers, killed):
    path = tmp_path_factory.mktemp("bits") / "embeddings.parquet"
    values = np.array(numbers, np.float32)
    one = opened(path)
    one.__enter__()
    clip = Clip("a", 3.0)
    one.add(stamp_of("a"), Embedding(values, np.array([0.0]), "l", "max", 3, 3, "M", clip))
    if killed:
        abandon(one)
    else:
        one.__exit__(None, None, None)
    reopen = opened(path)
    with reopen:
        pass
    assert pandas.read_parquet(path)["embedding"][0].tobytes() == values.tobytes()


def abandon(one):
    """As if the process were killed: nothing more is written, and the lock falls."""
    one._leave()


@on_posix
def test_names_that_are_not_utf8_are_escaped_in_parquet_and_known(parquet_out, monkeypatch):
    monkeypatch.setattr(parquet, "SHARD_FILES", 3)
    twin = LATIN1.encode("ascii", "backslashreplace").decode()
    names = ["a", LATIN1, twin, "新世界.mp3", os.fsdecode(b"\xff")]
    with opened(parquet_out) as one:
        add(one, parquet_out, names)
    assert list(pandas.read_parquet(parquet_out)["source"]) == [
        "a", r"caf\udce9.mp3", r"caf\u005cudce9.mp3", "新世界.mp3", r"\udcff",
    ]  # fmt: skip
    with opened(parquet_out) as one:
        assert list(one.known) == names
        one.discard(["a", LATIN1])
    with opened(parquet_out) as one:
        assert list(one.known) == [twin, "新世界.mp3", os.fsdecode(b"\xff")]
        one.discard([twin])
    with opened(parquet_out) as one:
        assert list(one.known) == ["新世界.mp3", os.fsdecode(b"\xff")]


@on_posix
def test_names_that_are_not_utf8_are_known_in_text(text_out):
    fill(text_out, ["a", LATIN1])
    with opened(text_out) as one:
        assert list(one.known) == ["a", LATIN1]


def test_a_folder_named_like_a_column_adds_none(tmp_path):
    folder = tmp_path / "genre=rock"
    folder.mkdir()
    fill(folder / "tags.parquet", ["a"])
    assert reopened(folder / "tags.parquet") == {"a": 1}


def test_files_that_a_file_manager_leaves_among_the_shards_do_no_harm(parquet_out):
    fill(parquet_out, ["a"])
    (parquet_out / ".DS_Store").touch()
    (parquet_out / "._part-00000.parquet").touch()
    with opened(parquet_out) as one:
        assert set(one.known) == {"a"}


@on_posix
def test_an_output_behind_a_link_is_written_where_it_is(out):
    (out.parent / "disk").mkdir()
    target = out.parent / "disk" / out.name
    out.symlink_to(target)
    fill(out, ["a", "b"])
    with opened(out) as one:
        one.discard(["a"])
    assert out.is_symlink()
    assert reopened(target) == {"b": 1}
    assert not run_folder(out).exists()


# --- failures


def failures_of(path):
    return rows_of(run_folder(path) / "failures.csv")


def test_failures_are_listed_as_they_come_and_anew_by_each_run(out):
    with opened(out) as one:
        one.record_failures([("a.mp3", "a.mp3: is empty"), ("b, c.mp3", 'no "audio"')])
        assert failures_of(out)[1:] == [
            ["a.mp3", "a.mp3: is empty"],
            ["b, c.mp3", 'no "audio"'],
        ]
        one.record_failures([("d.mp3", "too short")])
        assert len(failures_of(out)) == 4
        assert one.failures == run_folder(out) / "failures.csv"
    with opened(out) as one:
        assert failures_of(out) == [["path", "reason"]]


def test_failures_are_safe_to_look_at(tmp_path):
    with opened(tmp_path / "tags.csv") as one:
        one.record_failures([("=1+1.mp3", "\x1b[2J\n"), (LATIN1, "@x")])
    assert failures_of(tmp_path / "tags.csv")[1:] == [
        ["./=1+1.mp3", r"\x1b[2J\n"],
        [r"caf\udce9.mp3", "./@x"],
    ]


# --- files that were moved


def test_rows_go_to_files_that_were_moved(out, monkeypatch):
    monkeypatch.setattr(parquet, "SHARD_FILES", 3)
    with opened(out) as one:
        add(one, out, "abcdefgh")
        add(one, out, "x", 2)
        moved = Stamp("there", 10, 1, "ff", path="/there")
        one.move({"b": moved, "h": stamp_of("a"), "a": stamp_of("h")})
        one.move({})
        assert one.known["/there"] == moved
        with pytest.raises(ArgumentError, match="zz: is not in the output"):
            one.move({"zz": stamp_of("y")})
        with pytest.raises(ArgumentError, match="d: is in the output already"):
            one.move({"c": stamp_of("d")})
    assert contents(out) == dict.fromkeys(["there", *"acdefgh"], 1) | {"x": 2}
    with opened(out) as one:
        assert one.known["/there"] == moved
        one.discard(["/there"])
    assert "there" not in contents(out)


def damaged_of(path):
    return dict(rows_of(run_folder(path) / "damaged.csv"))


def add_damaged(opened_store, path, name):
    clip = Clip(name, 3.0, damaged=True, lost_s=2.0)
    opened_store.add(stamp_of(name), replace(result_of(path.stem, name), clip=clip))


def test_damaged_files_are_listed_as_long_as_they_are_in_the_output(out):
    with opened(out) as one:
        add(one, out, ["a"])
        assert not one.damage.exists()
        for name in ("b", "c", "d,\n"):
            add_damaged(one, out, name)
        marked = {"source": "lost_s", "b": "2.000", "c": "2.000", "d,\n": "2.000"}
        assert damaged_of(out) == marked
    with one.damage.open("a") as file:
        file.write("new,1.000\nb")  # as if killed before its rows came, within a line
    reopened(out)
    assert damaged_of(out) == marked
    with opened(out) as one:
        one.move({"b": stamp_of("c"), "c": stamp_of("a"), "a": stamp_of("b")})
        one.discard(["d,\n"])
        assert damaged_of(out) == {"source": "lost_s", "c": "2.000", "a": "2.000"}
        one.discard(["c"])
        add(one, out, ["c"], version=2)
        assert damaged_of(out) == {"source": "lost_s", "a": "2.000"}
    opened(out, overwrite=True).__enter__().__exit__(None, None, None)
    assert not (run_folder(out) / "damaged.csv").exists()


@pytest.mark.parametrize("error", [None, OSError(errno.ENOSPC, "full")], ids=["kill", "full"])
def test_a_fault_at_any_step_of_a_move_leaves_no_file_twice(out, monkeypatch, error):
    monkeypatch.setattr(parquet, "SHARD_FILES", 3)
    with opened(out) as one:
        add(one, out, "abcefg")
        add_damaged(one, out, "d")

    def move():
        with opened(out) as one:
            one.move({"a": stamp_of("g"), "g": stamp_of("a"), "d": stamp_of("x")})

    for _ in each_fault(out, monkeypatch, move, error):
        known = reopened(out)
        assert damaged_of(out).keys() - {"source"} == known.keys() & {"d", "x"}
        assert set("bcef") <= known.keys() <= set("abcdefgx")
        assert ("d" in known) != ("x" in known)
    assert known.keys() == set("abcefgx")


# --- scores over time and events


def over_time(kind, name, rows):
    clip = Clip(name, 3.0)
    if kind == "events":
        found = tuple(Event("rock", float(at), at + 0.5, 0.25) for at in range(rows))
        return Events(found, "M", clip)
    scores = np.tile(np.array([0.25, 0.75], np.float32), (rows, 1))
    return Taggram(scores, ("rock", "size"), np.arange(rows) * 1.5, 3, 1.5, "M", clip)


READERS = {
    ".csv": pandas.read_csv,
    ".jsonl": lambda path: pandas.read_json(path, lines=True),
    ".parquet": pandas.read_parquet,
}


@on_posix
@pytest.mark.parametrize("ending", READERS)
@pytest.mark.parametrize("kind", ["taggrams", "events"])
def test_rows_over_time_go_on_and_move_and_are_dropped(tmp_path, kind, ending):
    path = tmp_path / f"{kind}{ending}"
    settings = {"tags": ("rock", "size")}
    for names in ("ab", "cd"):
        with opened(path, **settings) as one:
            assert len(one.known) == (0 if names == "ab" else 2)
            for name in names:
                one.add(stamp_of(name), over_time(kind, name, 0 if name == "b" else 2))
    with opened(path, **settings) as one:
        assert list(one.known) == list("abcd")
        one.discard("c")
        one.move({"a": stamp_of(LATIN1)})
    with opened(path, **settings) as one:
        assert list(one.known) == [LATIN1, "b", "d"]
    table = READERS[ending](path)
    if ending == ".jsonl":
        assert list(table["source"]) == [r"caf\udce9.mp3", "b", "d"]
        return
    assert list(table["source"]) == [r"caf\udce9.mp3"] * 2 + ["d"] * 2
    if kind == "events":
        assert list(table.columns) == ["source", "tag", "start_s", "end_s", "score"]
        assert list(table["start_s"]) == [0, 1, 0, 1]
    else:
        assert list(table.columns) == ["source", "time_s", "rock", "size"]
        assert list(table["time_s"]) == [0, 1.5] * 2
        assert list(table["size"]) == [0.75] * 4


def test_taggrams_are_the_rows_that_the_writer_makes(tmp_path):
    path = tmp_path / "taggrams.csv"
    with opened(path, tags=("rock", "size")) as one, Writer(tmp_path / "other.csv") as writer:
        for name in "ab":
            one.add(stamp_of(name), over_time("taggrams", name, 2))
            writer.write(over_time("taggrams", name, 2))
    assert path.read_bytes() == (tmp_path / "other.csv").read_bytes()


# --- names, and outputs of earlier releases


@pytest.mark.platform
@on_posix
def test_a_name_is_the_same_valid_text_in_all_formats(tmp_path):
    for ending, read in READERS.items():
        path = tmp_path / f"tags{ending}"
        fill(path, ["a", LATIN1])
        assert list(dict.fromkeys(read(path)["source"])) == ["a", r"caf\udce9.mp3"]
        with opened(path) as one:
            assert list(one.known) == ["a", LATIN1]


@on_posix
@pytest.mark.parametrize("name", ["tags.csv", "tags.jsonl"])
def test_an_output_of_an_earlier_release_goes_on_with_names_that_are_text(tmp_path, name):
    """Its names were bytes in CSV and surrogates in JSON, its journal had no paths."""
    path = tmp_path / name
    fill(path, ["a", LATIN1, "b"])
    journal = run_folder(path) / "journal.jsonl"
    old, entries, end = b"", [], 0
    content = path.read_bytes()
    for entry in map(json.loads, journal.read_bytes().splitlines()):
        lines = content[end : entry["end"]]
        end = entry["end"]
        raw = b"caf\xe9" if path.suffix == ".csv" else rb"caf\udce9"
        old += lines.replace(rb"caf\\udce9", raw).replace(rb"caf\udce9", raw)
        entries.append(entry | {"end": len(old), "crc32": zlib.crc32(lines)})
        del entries[-1]["path"]
    start = 0
    for entry in entries:
        head = len("source,rank,tag,score\n") if path.suffix == ".csv" and start == 0 else 0
        entry["crc32"] = zlib.crc32(old[start + head : entry["end"]])
        start = entry["end"]
    path.write_bytes(old)
    journal.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    with opened(path) as one:
        assert [stamp.source for stamp in one.known.values()] == ["a", LATIN1, "b"]
        assert list(one.known) == [os.path.realpath(each) for each in ("a", LATIN1, "b")]
    assert list(contents(path)) == ["a", r"caf\udce9.mp3", "b"]


def test_a_shard_of_an_earlier_release_goes_on(parquet_out):
    fill(parquet_out, ["a", "b", "c"])
    (shard,) = parquet_out.iterdir()
    table = pq.read_table(shard)
    metadata = {"musicnn_zoo_paths": json.dumps({"1": LATIN1})}
    pq.write_table(table.replace_schema_metadata(metadata), shard)
    with opened(parquet_out) as one:
        assert [stamp.source for stamp in one.known.values()] == ["a", LATIN1, "c"]
        one.discard([os.path.realpath("a")])
    assert set(contents(parquet_out)) == {r"caf\udce9.mp3", "c"}


def test_rows_that_an_earlier_release_wrote_twice_become_one(out):
    fill(out, ["a", "./a"])
    for log in (out, run_folder(out)):
        for file in [log] if log.is_file() else log.glob("*j*nl"):
            if file.name.startswith("journal"):
                lines = [json.loads(line) for line in file.read_text().splitlines()]
                for line in lines:
                    del line["path"]
                file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    if out.suffix == ".parquet":
        (shard,) = out.iterdir()
        pq.write_table(pq.read_table(shard).replace_schema_metadata(None), shard)
    with opened(out) as one:
        assert list(one.known) == [os.path.realpath("a")]
    assert contents(out) == {"a": 1}


# --- one run at a time


def test_a_second_store_is_refused_while_the_first_is_open(out):
    with opened(out) as one:
        add(one, out, ["a"])
        for overwrite in (False, True):
            with (
                pytest.raises(ArgumentError, match="another run is writing it"),
                opened(out, overwrite=overwrite),
            ):
                pass
        add(one, out, ["b"])
    assert reopened(out) == {"a": 1, "b": 1}


HOLDER = """
import sys
from pathlib import Path
from musicnn_zoo.library.store import Store
with Store(Path(sys.argv[1]), {"kind": "tags", "model": "M"}):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path):
    path = tmp_path / "tags.csv"
    command = [sys.executable, "-c", HOLDER, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"open\n"
            with pytest.raises(ArgumentError, match="another run is writing it"), opened(path):
                pass
        finally:
            holder.kill()
    fill(path, ["a"])
    assert reopened(path) == {"a": 1}


OUTLIVED = """
import contextlib, os, signal, subprocess, sys
from pathlib import Path
from musicnn_zoo.library.store import Store
with Store(Path(sys.argv[1]), {"kind": "tags", "model": "M"}):
    for opened in range(3, 100):
        with contextlib.suppress(OSError):
            os.set_inheritable(opened, True)
    subprocess.Popen(["sleep", "0.5"], close_fds=False)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no process inherits all files there")
def test_a_process_that_was_being_started_may_outlive_a_killed_run(tmp_path):
    """Until it is another program it holds what its parent had opened, the lock as well."""
    path = tmp_path / "tags.csv"
    killed = subprocess.run([sys.executable, "-c", OUTLIVED, path], check=False)
    assert killed.returncode == -signal.SIGKILL
    fill(path, ["a"])
    assert reopened(path) == {"a": 1}


# --- crashes

VICTIM = """
import filelock  # a child is killed within milliseconds, which must not go into an import
import itertools, json, os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_stores import opened, parquet, result_of, stamp_of
path = Path(sys.argv[1])
parquet.SHARD_FILES = 7
journal = os.open(path.parent / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
say = lambda *words: os.write(journal, (json.dumps(words) + "\\n").encode())

def run(round):
    rng = random.Random(round)
    with opened(path) as one:
        for step in itertools.count(1):
            if len(one.known) > 40 or rng.random() < 0.05:
                gone = rng.sample(sorted(one.known), len(one.known) // 3)
                for name in gone:
                    say("drop", name)
                one.discard(gone)
            name = str(rng.randrange(100))
            if name not in one.known:
                version = round * 10000 + step
                one.add(stamp_of(name, version), result_of(path.stem, name, version))
                say("add", name, version)

for line in sys.stdin:
    round, seconds = json.loads(line)
    child = os.fork()
    if not child:
        run(round)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@on_posix
@pytest.mark.parametrize("name", ["tags.jsonl", "tags.csv", "tags.parquet"])
def test_a_killed_process_loses_nothing_and_leaves_nothing_twice(tmp_path, name):
    path = tmp_path / name
    fill(path, [])
    rng = random.Random(1)
    added, seen = {}, 0
    command = [sys.executable, "-c", VICTIM, path, Path(__file__).parent]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as victim:
        for turn in range(1, 21):
            print(json.dumps([turn, rng.uniform(0.005, 0.15)]), file=victim.stdin, flush=True)
            assert int(victim.stdout.readline()) == -signal.SIGKILL
            known = reopened(path)
            doubtful = set()
            for line in (tmp_path / "said").read_text().splitlines()[seen:]:
                seen += 1
                what, file, *version = json.loads(line)
                if what == "drop":
                    doubtful.add(file)
                else:
                    doubtful.discard(file)
                    added[file] = version[0]
            for file, version in added.items():
                if file not in doubtful:
                    assert known[file] == version
                else:
                    assert known.get(file, version) >= version
            assert len(known.keys() - added.keys()) <= 1
            added = known
        victim.stdin.close()
    assert seen > 20


class Crash(BaseException):
    pass


def freeze_after(monkeypatch, count, error=None):
    """Let the call number ``count`` that changes the disk fail.

    As after a kill no later call does anything either, unless an error is given: a full disk.
    """
    calls = itertools.count(1)
    places = [
        (Path, "replace"), (Path, "unlink"), (Path, "touch"), (Path, "mkdir"), (os, "fsync"),
        (GrowingFile, "append"), (GrowingFile, "cut"), (parquet.pq, "write_table"),
    ]  # fmt: skip
    reached = []

    def failing(function):
        def call(*args, **kwargs):
            number = next(calls)
            if number >= count:
                reached.append(number)
                if error is None:
                    raise Crash
                if number == count:
                    raise error
            return function(*args, **kwargs)

        return call

    for home, name in places:
        monkeypatch.setattr(home, name, failing(getattr(home, name)))
    return reached


def each_fault(path, monkeypatch, action, error=None):
    """Run the action on a copy of the output, with a fault at each of its steps in turn."""
    monkeypatch.setattr(parquet, "SHARD_FILES", 3)
    before = path.parent / "before"
    shutil.copytree(path.parent, before, ignore=lambda *_: ["before"])
    for count in itertools.count(1):
        for leftover in (path, run_folder(path)):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
        shutil.copytree(before, path.parent, dirs_exist_ok=True)
        with monkeypatch.context() as patched:
            reached = freeze_after(patched, count, error)
            try:
                action()
            except (Crash, OutputError):
                assert reached
        yield
        if not reached:
            return
    raise AssertionError


@pytest.mark.parametrize("error", [None, OSError(errno.ENOSPC, "full")], ids=["kill", "full"])
def test_a_fault_at_any_step_of_discarding_harms_no_other_file(out, monkeypatch, error):
    monkeypatch.setattr(parquet, "SHARD_FILES", 3)
    fill(out, "abcdefg")

    def discard():
        with opened(out) as one:
            add(one, out, "hi")
            one.discard(["a", "d", "e", "f", "h"])
            add(one, out, "a", 2)

    ends = []
    for _ in each_fault(out, monkeypatch, discard, error):
        known = reopened(out)
        assert {"b": 1, "c": 1, "g": 1}.items() <= known.items()
        assert known.get("a") in (None, 1, 2)
        ends.append(known)
    assert ends[-1] == {"b": 1, "c": 1, "g": 1, "i": 1, "a": 2}
    assert len(ends) > 10


@pytest.mark.parametrize("error", [None, OSError(errno.ENOSPC, "full")], ids=["kill", "full"])
def test_a_fault_at_any_step_of_adding_loses_nothing_that_was_added(out, monkeypatch, error):
    monkeypatch.setattr(parquet, "SHARD_FILES", 3)
    fill(out, "ab")
    added = []

    def run():
        added[:] = "ab"
        with opened(out) as one:
            for name in "cdefgh":
                add(one, out, name)
                added.append(name)

    for _ in each_fault(out, monkeypatch, run, error):
        assert set(added) <= set(reopened(out)) <= set("abcdefgh")
        fill(out, set("abcdefgh") - set(reopened(out)))
        assert set(reopened(out)) == set("abcdefgh")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_fault_at_any_step_of_the_first_run_leaves_a_start(out, monkeypatch, overwrite):
    def run():
        fill(out, "ab", 2, overwrite=overwrite)

    for _ in each_fault(out, monkeypatch, run):
        with opened(out, overwrite=overwrite) as one:
            add(one, out, set("abc") - set(one.known), 2)
        assert contents(out) == {"a": 2, "b": 2, "c": 2}


def test_a_fault_while_overwriting_leaves_the_old_or_nothing(out, monkeypatch):
    fill(out, "abcd")
    for _ in each_fault(out, monkeypatch, lambda: fill(out, "ax", 2, overwrite=True, hop_s=2)):
        folder = run_folder(out)
        started = (folder / "settings.json").exists()
        anew = started and "hop_s" in json.loads((folder / "settings.json").read_text())
        with opened(out, **({"hop_s": 2} if anew else {})) as one:
            versions = {stamp.mtime_ns for stamp in one.known.values()}
            assert versions <= ({2} if anew else {1})
        assert set(contents(out).values()) == versions


def test_results_of_a_run_that_fails_are_kept(out):
    def run():
        with opened(out) as one:
            add(one, out, "ab")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run()
    assert reopened(out) == {"a": 1, "b": 1}


def test_an_output_can_be_cut_anywhere_in_its_last_lines(text_out):
    fill(text_out, "ab")
    start = text_out.stat().st_size
    fill(text_out, "c")
    whole = text_out.read_bytes()
    journal = (run_folder(text_out) / "journal.jsonl").read_bytes()
    for end in range(start, len(whole)):
        text_out.write_bytes(whole[:end])
        (run_folder(text_out) / "journal.jsonl").write_bytes(journal)
        assert reopened(text_out) == {"a": 1, "b": 1}
    for end in range(0, start, 5):
        text_out.write_bytes(whole[:end])
        (run_folder(text_out) / "journal.jsonl").write_bytes(journal)
        assert set(reopened(text_out)) < {"a", "b"}
    fill(text_out, set("abc") - set(reopened(text_out)))
    assert sorted(text_out.read_bytes()) == sorted(whole)


@pytest.mark.parametrize(
    "tail", [b"", b"\0" * 9, b"{}\n", b"[]\n", b"null\n3\n", b'"x"\n', b"\xff\n"]
)
def test_the_journal_can_be_cut_or_spoiled_anywhere_in_its_last_line(text_out, tail):
    fill(text_out, "ab")
    path = run_folder(text_out) / "journal.jsonl"
    start = path.stat().st_size
    fill(text_out, "c")
    output, journal = text_out.read_bytes(), path.read_bytes()
    for end in range(start, len(journal), 9 if tail else 1):
        text_out.write_bytes(output)
        path.write_bytes(journal[:end] + tail)
        assert reopened(text_out) == {"a": 1, "b": 1}
    fill(text_out, "c")
    assert text_out.read_bytes() == output
    assert path.read_bytes() == journal


@pytest.mark.parametrize(
    "tail", [b"", b"\0" * 9, b"{}\n", b"[]\n", b"null\n3\n", b'"x"\n', b"\xff\n"]
)
def test_what_waits_can_be_cut_or_spoiled_anywhere_in_its_last_line(parquet_out, tail):
    fill(parquet_out, "a")
    one = opened(parquet_out)
    one.__enter__()
    add(one, parquet_out, "bc")
    abandon(one)
    path = run_folder(parquet_out) / "pending.jsonl"
    pending = path.read_bytes()
    for end in range(pending.index(b"\n") + 1, len(pending), 9 if tail else 1):
        path.write_bytes(pending[:end] + tail)
        (parquet_out / "part-00001.parquet").unlink(missing_ok=True)
        assert reopened(parquet_out) == {"a": 1, "b": 1}


def test_what_waits_and_is_in_a_shard_counts_once(parquet_out):
    fill(parquet_out, "a")
    one = opened(parquet_out)
    one.__enter__()
    add(one, parquet_out, "bc")
    path = run_folder(parquet_out) / "pending.jsonl"
    pending = path.read_bytes()
    one.__exit__(None, None, None)
    path.write_bytes(pending)
    assert reopened(parquet_out) == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize("seed", range(8))
def test_a_power_loss_costs_only_what_was_not_on_the_disk(out, monkeypatch, seed):
    monkeypatch.setattr(store, "SYNC_S", 3600)
    rng = random.Random(seed)
    on_disk = {}

    def fsync(handle):
        status = os.fstat(handle)
        on_disk[status.st_ino] = status.st_size

    monkeypatch.setattr(os, "fsync", fsync)
    names = [f"{i:03}" for i in range(rng.randrange(65, 250))]
    one = opened(out)
    one.__enter__()
    add(one, out, names)
    abandon(one)
    growing = [run_folder(out) / "pending.jsonl"]
    if out.suffix != ".parquet":
        growing = [out, run_folder(out) / "journal.jsonl"]
    for path in growing:
        content = path.read_bytes()
        start, end = sorted(
            rng.randint(on_disk[path.stat().st_ino], len(content)) for _ in range(2)
        )
        lost = rng.choice([b"", bytes(end - start), bytes(len(content) - start)])
        path.write_bytes(content[:start] + lost + content[end:] if rng.random() < 0.8 else content)
    known = reopened(out)
    assert list(known) == names[: len(known)]
    assert len(names) - len(known) <= store.SYNC_FILES
    fill(out, names[len(known) :])
    assert list(reopened(out)) == names


def test_what_was_added_goes_to_the_disk_in_groups_lines_before_the_journal(out, monkeypatch):
    synced = []
    monkeypatch.setattr(GrowingFile, "sync", lambda file: synced.append(Path(file._file.name).name))
    files = [out.name, "journal.jsonl"] if out.suffix != ".parquet" else ["pending.jsonl"]
    with opened(out) as one:
        monkeypatch.setattr(store, "SYNC_S", 3600)
        synced.clear()
        add(one, out, map(str, range(store.SYNC_FILES - 1)))
        assert synced == []
        add(one, out, "a")
        assert synced == files
        monkeypatch.setattr(store, "SYNC_S", 0)
        add(one, out, "bc")
        assert synced == files * 3


def test_an_output_that_was_changed_by_hand_is_not_cut_to_nothing(text_out):
    names = [f"{i:03}" for i in range(100)]
    fill(text_out, names)
    changed = text_out.read_bytes().replace(b"\n", b"\r\n")
    text_out.write_bytes(changed)
    with (
        pytest.raises(ArgumentError, match=r"was changed since the last run.*--overwrite"),
        opened(text_out),
    ):
        pass
    assert text_out.read_bytes() == changed
    fill(text_out, names, overwrite=True)
    assert set(reopened(text_out)) == set(names)


def test_lines_added_by_hand_are_of_no_file(text_out):
    fill(text_out, "ab")
    with text_out.open("ab") as file:
        file.write(b"more\n")
    assert reopened(text_out) == {"a": 1, "b": 1}


def test_an_output_without_its_journal_is_refused(text_out):
    fill(text_out, "ab")
    (run_folder(text_out) / "journal.jsonl").unlink()
    with pytest.raises(ArgumentError, match="its journal is gone"), opened(text_out):
        pass
    assert b"a" in text_out.read_bytes()


@pytest.mark.parametrize("end", [0, 4, 100, -9])
def test_a_damaged_shard_is_named(parquet_out, end):
    fill(parquet_out, "a")
    fill(parquet_out, "b")
    shard = parquet_out / "part-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:end])
    with (
        pytest.raises(OutputError, match=r"part-00000.parquet: cannot be read"),
        opened(parquet_out),
    ):
        pass
    shard.unlink()
    assert reopened(parquet_out) == {"b": 1}


def test_a_parquet_file_of_something_else_is_named(parquet_out):
    fill(parquet_out, "a")
    pandas.DataFrame({"source": ["x"]}).to_parquet(parquet_out / "other.parquet")
    with pytest.raises(OutputError, match=r"other.parquet: cannot be read"), opened(parquet_out):
        pass


# --- a full disk


@on_posix
@pytest.mark.parametrize("limit", [0, 1000, 1500, 2000, 2500])
def test_a_full_disk_is_told_and_loses_nothing(out, limit):
    import resource

    fill(out, "ab")
    names = [str(i) for i in range(30)]
    added = []

    def run():
        with opened(out) as one:
            for name in names:
                add(one, out, [name])
                added.append(name)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OutputError) as error:
            run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot be written (File too large)" in str(error.value)
    assert "the same command goes on" in str(error.value)
    if out.suffix != ".parquet":
        assert f"safe in it: {len(added) + 2};" in str(error.value) or not added
        known = {
            entry["source"] for entry, _ in read_lines(run_folder(out) / "journal.jsonl", dict)
        }
        assert known == {"a", "b", *added}
        assert contents(out).keys() == known
    assert set(reopened(out)) == {"a", "b", *added}
    fill(out, names[len(added) :])
    assert set(reopened(out)) == {"a", "b", *names}


def test_after_a_failure_nothing_more_is_written(out, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "full")

    with opened(out) as one:
        add(one, out, "a")
        with monkeypatch.context() as patched:
            patched.setattr(GrowingFile, "append", full)
            with pytest.raises(OutputError, match="safe in it: 1;"):
                add(one, out, "b")
        with pytest.raises(OutputError, match="safe in it: 1;"):
            add(one, out, "c")
    assert reopened(out) == {"a": 1}


# --- many


@settings(max_examples=40)
@given(
    st.sampled_from(ALL),
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.sampled_from("abcdefgh")),
            st.tuples(st.just("discard"), st.sets(st.sampled_from("abcdefgh"))),
            st.tuples(st.just("move"), st.permutations("abcdefgh")),
            st.tuples(st.sampled_from(["leave", "kill", "tear"]), st.integers(1, 40)),
        ),
        max_size=40,
    ),
)
def test_a_store_is_a_mapping_that_survives(tmp_path_factory, name, steps):
    path = tmp_path_factory.mktemp("model") / name
    expected = {}
    one = opened(path)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parquet, "SHARD_FILES", 3)
        one.__enter__()
        for version, (step, what) in enumerate(steps, start=1):
            if step == "add":
                if what in expected:
                    one.discard([what])
                add(one, path, [what], version)
                expected[what] = version
            elif step == "discard":
                one.discard(what)
                expected = {file: v for file, v in expected.items() if file not in what}
            elif step == "move":
                moves = dict(zip("abcdefgh", what, strict=True))
                one.move({old: stamp_of(moves[old], expected[old]) for old in expected})
                expected = {moves[old]: v for old, v in expected.items()}
            else:
                if step == "leave":
                    one.__exit__(None, None, None)
                    assert contents(path) == expected
                else:
                    abandon(one)
                if step == "tear" and path.suffix != ".parquet":
                    with path.open("ab") as file:
                        file.write(b"x" * what)
                one = opened(path)
                one.__enter__()
            assert {file: stamp.mtime_ns for file, stamp in one.known.items()} == expected
        one.__exit__(None, None, None)
        assert reopened(path) == expected


def test_a_thousand_files_are_quick(out):
    names = [f"album {i // 10}/track {i}.mp3" for i in range(1000)]
    fill(out, names)
    assert set(reopened(out)) == set(names)
    with opened(out) as one:
        one.discard(names[::2])
        add(one, out, names[::2], 2)
    assert set(reopened(out).values()) == {1, 2}


def test_text_outputs_need_no_pyarrow():
    code = "import sys, musicnn_zoo.library.store; print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
