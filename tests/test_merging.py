"""Shares of a library, and outputs joined to one."""

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import pandas
import pytest
from click.testing import CliRunner
from test_library import SCRIPT, make_clips, on_posix
from test_stores import contents, fill, opened, reopened, result_of, stamp_of

from musicnn_zoo import find_audio
from musicnn_zoo.cli import cli
from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.library.merging import merge_outputs
from musicnn_zoo.sound.find import Shard

FORMS = ["tags.jsonl", "embeddings.jsonl", "tags.csv", "tags.parquet", "embeddings.parquet"]


def test_shares_have_each_file_once_and_are_alike_in_size(tmp_path):
    names = [f"artist {i % 37}/track {i}.mp3" for i in range(4000)]
    sizes = [sum(Shard(k, 16).holds(name) for name in names) for k in range(1, 17)]
    assert sum(sizes) == 4000
    assert min(sizes) > 180


def test_a_share_is_the_same_wherever_the_folder_is(tmp_path):
    found = []
    for place in (tmp_path / "a", tmp_path / "b" / "mounted"):
        (place / "Live").mkdir(parents=True)
        for i in range(40):
            (place / ("Live" if i % 2 else ".") / f"{i}.mp3").touch()
        chosen = find_audio(place, shard="2/3")
        found.append([path.relative_to(place).as_posix() for path in chosen])
    assert found[0] == found[1]
    assert 5 < len(found[0]) < 25


def test_a_share_does_not_depend_on_how_accents_are_composed():
    assert all(
        Shard(k, 7).holds("caf\u00e9.mp3") == Shard(k, 7).holds("cafe\u0301.mp3")
        for k in range(1, 8)
    )


# printf a.mp3 | b2sum --length 64
@pytest.mark.parametrize(("path", "number"), [("a.mp3", 9), ("Live/b.flac", 2), ("é.ogg", 1)])
def test_the_share_of_a_path_never_changes(path, number):
    assert [k for k in range(1, 17) if Shard(k, 16).holds(path)] == [number]


@pytest.mark.parametrize("given", ["0/16", "17/16", "3", "a/b", "3/0", "-1/2", "１/２"])
def test_what_is_no_share_is_refused(given):
    ran = CliRunner().invoke(cli, ["tag", "x.wav", "--shard", given])
    assert ran.exit_code == 2
    assert "must be K/N with K from 1 to N" in ran.output


@pytest.mark.parametrize("name", FORMS)
def test_parts_become_one_output_that_a_later_run_continues(tmp_path, name):
    parts = [tmp_path / str(number) / name for number in range(3)]
    for number, part in enumerate(parts):
        part.parent.mkdir()
        fill(part, [f"{number}{letter}" for letter in "abcde"])
    output = tmp_path / name
    done = merge_outputs(output, parts)
    assert (done.files, done.added, done.repeated, done.complete) == (15, 15, 0, True)
    every = {f"{number}{letter}": 1 for number in range(3) for letter in "abcde"}
    assert reopened(output) == every
    with opened(output) as one:  # a later run
        one.discard(["1a"])
        one.add(stamp_of("1a", 2), result_of(output.stem, "1a", 2))
    assert reopened(output) == {**every, "1a": 2}
    assert contents(parts[1]) == {f"1{letter}": 1 for letter in "abcde"}


@pytest.mark.parametrize("name", ["tags.jsonl", "tags.csv", "tags.parquet"])
def test_what_is_there_twice_is_written_once_and_what_differs_refused(tmp_path, name):
    first, second, output = (tmp_path / folder / name for folder in ("1", "2", "3"))
    for place in (first, second, output):
        place.parent.mkdir()
    fill(first, "abc")
    fill(second, "bcd")
    done = merge_outputs(output, [first, second])
    assert (done.files, done.added, done.repeated, done.replaced) == (4, 4, 2, 0)
    fill(second, "e", 2)
    with opened(second) as one:
        one.discard("c")
        one.add(stamp_of("c", 2), result_of("tags", "c", 2))
    with pytest.raises(ArgumentError, match=r"other results than the parts before it of c; choose"):
        merge_outputs(output, [first, second])
    kept = merge_outputs(output, [first, second], twice="first")
    assert (kept.files, kept.replaced) == (5, 1)
    assert reopened(output) == {"a": 1, "b": 1, "c": 1, "d": 1, "e": 2}
    merge_outputs(output, [first, second], twice="last")
    assert reopened(output) == {"a": 1, "b": 1, "c": 2, "d": 1, "e": 2}


def test_same_stamps_with_other_scores_are_no_repetition(tmp_path):
    parts = [tmp_path / str(number) / "tags.parquet" for number in (1, 2)]
    for number, part in enumerate(parts, start=1):
        part.parent.mkdir()
        with opened(part) as one:
            one.add(stamp_of("a"), result_of("tags", "a", 100 * number))
    with pytest.raises(ArgumentError, match="other results"):
        merge_outputs(tmp_path / "tags.parquet", parts)


def test_parts_that_do_not_fit_are_refused(tmp_path):
    one, other = tmp_path / "tags.jsonl", tmp_path / "2" / "tags.jsonl"
    other.parent.mkdir()
    fill(one, "a", top_k=3)
    fill(other, "b", top_k=5)
    output = tmp_path / "all.jsonl"
    for parts, said in [
        ([one, other], r"other settings than .*--top-k 3 \(here 5\)"),
        ([one, tmp_path / "none.jsonl"], "there is no such output"),
        ([tmp_path / "tags.csv"], r"must end in \.jsonl"),
        ([one, one], "named twice"),
        ([output], "the output itself"),
        ([], "at least one"),
    ]:
        with pytest.raises(ArgumentError, match=said):
            merge_outputs(output, parts)
    other.parent.joinpath("plain.jsonl").write_text("{}\n")
    with pytest.raises(ArgumentError, match="not made by a library run"):
        merge_outputs(output, [other.parent / "plain.jsonl"])
    assert not output.exists()


def invoke(*arguments):
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def parquet_rows(path):
    return pandas.read_parquet(path).sort_values("source").reset_index(drop=True)


def test_sixteen_shares_are_one_run_row_for_row(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_clips(tmp_path / "music", [3.0] * 24 + [6.5] * 4)
    (tmp_path / "music" / "broken.wav").write_bytes(b"RIFF")
    assert invoke("tag", "music", "-o", "whole.parquet").exit_code == 1
    shares = range(1, 17)
    codes = {
        k: invoke("tag", "music", "--shard", f"{k}/16", "-o", f"{k}.parquet").exit_code
        for k in shares
    }
    assert sorted(codes.values()) == [0] * 15 + [1]
    some = [f"{k}.parquet" for k in shares if k not in (3, 9)]
    early = invoke("merge", "all.parquet", *some)
    assert (early.exit_code, "missing shards: 3/16, 9/16\n" in early.output) == (1, True)
    late = invoke("merge", "all.parquet", "3.parquet", "9.parquet")
    assert "missing" not in late.output
    assert "broken.wav" in late.output
    assert late.exit_code == 1  # for the broken file
    ignored = invoke("merge", "again.parquet", *some, "3.parquet", "9.parquet", "--ignore-failures")
    assert (ignored.exit_code, "broken.wav" in ignored.output) == (0, True)
    merged, whole = parquet_rows("all.parquet"), parquet_rows("whole.parquet")
    pandas.testing.assert_frame_equal(merged.drop(columns="scores"), whole.drop(columns="scores"))
    for some_scores, scores in zip(merged["scores"], whole["scores"], strict=True):
        assert abs(some_scores - scores).max() < 1e-6
    again = invoke("tag", "music", "-o", "all.parquet")
    assert "0 done, 28 unchanged, 1 failed" in again.output


def test_an_unfinished_share_is_told_and_its_rows_are_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, finished in [(1, True), (2, False)]:
        with opened(tmp_path / f"tags{number}.jsonl", kind="tags") as one:
            one.note_share(f"{number}/2", finished=finished)
            one.add(stamp_of(f"{number}"), result_of("tags", f"{number}"))
            one.record_failures([(f"{number}.mp3", "broken"), ("2", "was broken once")])
    ran = invoke("merge", "all.jsonl", "tags1.jsonl", "tags2.jsonl")
    assert ran.exit_code == 1
    assert "not finished, run them again: 2/2 (tags2.jsonl)" in ran.output
    listed = Path("all.jsonl.run/failures.csv").read_text().splitlines()
    assert listed == ["path,reason", "1.mp3,broken", "2.mp3,broken"]
    assert Path("tags1.jsonl.run/failures.csv").read_text().splitlines()[1:] == [
        "1.mp3,broken", "2,was broken once",
    ]  # fmt: skip
    with opened(tmp_path / "tags2.jsonl", kind="tags") as one:
        one.note_share("2/2", finished=True)
    assert "not finished" not in invoke("merge", "all.jsonl", "tags2.jsonl").output


@on_posix
@pytest.mark.slow
@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_kills_of_shares_and_of_the_merge_give_no_duplicate(tmp_path, ending):
    make_clips(tmp_path / "music", [3.0] * 60)
    random_ = random.Random(7)
    parts = []
    for number in (1, 2):
        parts.append(tmp_path / f"{number}.{ending}")
        command = [SCRIPT, "tag", tmp_path / "music", "--shard", f"{number}/2", "-o", parts[-1]]
        for _ in range(5):
            running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            time.sleep(random_.uniform(0.3, 2.0))
            running.send_signal(signal.SIGKILL)
            running.wait()
        assert subprocess.run(command, check=False).returncode == 0
    output = tmp_path / f"all.{ending}"
    for _ in range(5):
        running = subprocess.Popen([SCRIPT, "merge", output, *parts], stderr=subprocess.DEVNULL)
        time.sleep(random_.uniform(0.1, 0.8))
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert subprocess.run([SCRIPT, "merge", output, *parts], check=False).returncode == 0
    if ending == "parquet":
        sources = list(pandas.read_parquet(output)["source"])
    else:
        sources = [json.loads(line)["source"] for line in output.read_text().splitlines()]
    assert sorted(sources) == sorted(str(path) for path in (tmp_path / "music").iterdir())
