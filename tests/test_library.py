import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from click.testing import CliRunner

from musicnn_zoo.cli import cli
from musicnn_zoo.errors import AudioError
from musicnn_zoo.library import run_library
from musicnn_zoo.results import Clip, FileResult, Tags, TagScore
from musicnn_zoo.stores import open_store

SCRIPT = shutil.which("musicnn-zoo", path=Path(sys.executable).parent)


def make_clips(folder, lengths_s):
    """Noise of changing colour, one file for each length."""
    folder.mkdir(exist_ok=True)
    paths = []
    for number, length_s in enumerate(lengths_s):
        random_ = np.random.default_rng(number)
        noise = random_.normal(0, 0.1, int(16000 * length_s))
        sound = np.convolve(noise, np.ones(1 + number % 7), "same").astype(np.float32)
        paths.append(str(folder / f"{number:03}.wav"))
        soundfile.write(paths[-1], sound, 16000)
    return paths


class Analyst:
    """Stands for the tagger: gives each file a tag of its content."""

    def __init__(self):
        self.asked = []

    def __call__(self, paths):
        self.asked += paths
        for path in paths:
            content = Path(path).read_text()
            if content == "broken":
                yield FileResult(path, None, AudioError(f"{path}: broken"))
            else:
                tags = Tags((TagScore(content, 0.5),), "m", Clip(path, 1800.0))
                yield FileResult(path, tags)


@pytest.fixture
def library(tmp_path):
    """Four files, and what runs over them."""
    os.chdir(tmp_path)
    for name, content in {"a": "rock", "b": "jazz", "c": "broken", "d": "folk"}.items():
        Path(name).write_text(content)

    def run(paths="abcd", **options):
        analyst = Analyst()
        with open_store(Path("out.jsonl"), {"kind": "tags"}) as store:
            summary = run_library(list(paths), analyst, store, **options)
        lines = map(json.loads, Path("out.jsonl").read_text().splitlines())
        return summary, analyst.asked, {line["source"]: list(line["tags"]) for line in lines}

    return run


ALL = {"a": ["rock"], "b": ["jazz"], "d": ["folk"]}


def test_every_file_is_done_once(library):
    summary, asked, rows = library("abacdab")
    assert asked == ["a", "b", "c", "d"]
    assert rows == ALL
    assert (summary.done, summary.skipped, summary.failed) == (3, 0, 1)
    assert summary.audio_s == 5400
    assert str(summary).startswith("3 done, 0 unchanged, 1 failed; 1.50 hours of audio at ")


def test_unchanged_files_are_skipped_and_failed_ones_tried_again(library):
    library()
    Path("c").write_text("soul")
    summary, asked, rows = library()
    assert asked == ["c"]
    assert rows == ALL | {"c": ["soul"]}
    assert (summary.done, summary.skipped, summary.failed) == (1, 3, 0)


def test_nothing_is_loaded_when_there_is_nothing_to_do(library):
    library("ab")
    summary, asked, _ = library("ab")
    assert asked == []
    assert str(summary) == "0 done, 2 unchanged, 0 failed"


def test_a_changed_file_is_done_again_and_its_old_row_dropped(library):
    library()
    Path("b").write_text("blues")
    _, asked, rows = library()
    assert asked == ["b", "c"]
    assert rows == ALL | {"b": ["blues"]}


def test_rows_of_files_that_are_gone_stay(library):
    library()
    Path("a").unlink()
    summary, _, rows = library("bd")
    assert rows == ALL
    assert summary.failed == 0


def test_a_missing_file_is_a_failure_with_its_reason(library):
    summary, asked, _ = library("ax")
    assert asked == ["a"]
    assert summary.failed == 1
    with Path("out.jsonl.run/failures.csv").open() as file:
        assert list(csv.reader(file)) == [["path", "reason"], ["x", "x: there is no such file"]]


def test_a_file_that_is_only_newer_is_done_again_unless_contents_are_compared(library):
    library("ab", content_hash=True)
    os.utime("a", ns=(1, 1))
    assert library("ab", content_hash=True)[1] == []
    assert library("ab")[1] == ["a"]


def test_a_file_of_the_same_time_and_size_is_noticed_by_its_content(library):
    library("ab", content_hash=True)
    status = Path("a").stat()
    Path("a").write_text("punk")
    os.utime("a", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert library("ab")[1] == []
    assert library("ab", content_hash=True)[1:] == (["a"], {"a": ["punk"], "b": ["jazz"]})


# The command


def run(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def rows_of(output):
    if output.suffix == ".parquet":
        return pq.read_table(output).to_pylist()
    return output.read_bytes().splitlines()


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_second_run_of_tag_adds_only_what_is_new(tmp_path, ending):
    clips = make_clips(tmp_path / "clips", [3, 4, 1])
    output = tmp_path / f"out.{ending}"
    first = run("tag", *clips[:2], "-o", output)
    assert first.exit_code == 0
    assert ": 2 done, 0 unchanged, 0 failed; 0.00 hours of audio at " in first.stderr
    before = rows_of(output)
    second = run("tag", tmp_path / "clips", "-o", output)
    assert ": 1 done, 2 unchanged, 0 failed" in second.stderr
    after = rows_of(output)
    assert after[: len(before)] == before
    fresh = tmp_path / f"fresh.{ending}"
    run("tag", tmp_path / "clips", "-o", fresh)
    assert rows_of(fresh) == after


def test_embeddings_in_parquet_are_those_of_the_archive(tmp_path):
    clips = make_clips(tmp_path / "clips", [3, 7, 1])
    for ending in ("parquet", "npz"):
        assert run("embed", *clips, "-o", tmp_path / f"out.{ending}").exit_code == 0
    table = pq.read_table(tmp_path / "out.parquet")
    with np.load(tmp_path / "out.npz") as archive:
        assert table["source"].to_pylist() == list(archive["sources"])
        np.testing.assert_array_equal(table["embedding"].to_pylist(), archive["embeddings"])


def test_other_settings_are_refused_and_overwrite_starts_anew(tmp_path):
    (clip,) = make_clips(tmp_path / "clips", [3])
    output = tmp_path / "out.csv"
    run("tag", clip, "-o", output)
    refused = run("tag", clip, "-o", output, "-k", 2)
    assert refused.exit_code == 2
    assert "made with other settings: top_k null (now 2)" in refused.stderr
    assert run("tag", clip, "-o", output, "-k", 2, "--overwrite").exit_code == 0
    assert len(rows_of(output)) == 3


def test_library_options_go_with_a_library_output_only(tmp_path):
    (clip,) = make_clips(tmp_path / "clips", [3])
    for options in (["--overwrite"], ["--hash"], ["--hash", "-o", tmp_path / "out.txt"]):
        result = run("tag", clip, *options)
        assert result.exit_code == 2
        assert "goes with an output that ends in .parquet, .jsonl, .csv" in result.stderr


def test_what_failed_is_listed_shortly_on_the_screen_and_wholly_in_a_file(tmp_path):
    clips = make_clips(tmp_path / "clips", [3])
    for number in range(30):
        (tmp_path / "clips" / f"bad{number}.mp3").write_text("words")
    output = tmp_path / "out.csv"
    result = run("tag", tmp_path / "clips", "-o", output)
    assert result.exit_code == 1
    assert "1 done, 0 unchanged, 30 failed" in result.stderr
    assert "… and 10 more" in result.stderr
    with Path(f"{output}.run/failures.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 30
    assert {row.split(b",")[0] for row in rows_of(output)[1:]} == {clips[0].encode()}


def test_a_second_run_at_the_same_time_is_refused(tmp_path):
    (clip,) = make_clips(tmp_path / "clips", [3])
    output = tmp_path / "out.csv"
    settings = {"kind": "tags"}
    with open_store(output, settings):
        result = run("tag", clip, "-o", output)
    assert result.exit_code == 2
    assert "another run is writing it" in result.stderr


def run_and_kill(arguments, output, more_files, then_s):
    """Kill a run ``then_s`` after it has written so many more files."""

    def written():
        logs = Path(f"{output}.run").glob("*.jsonl")
        return sum(path.read_bytes().count(b"\n") for path in logs)

    target = written() + more_files
    process = subprocess.Popen(
        [SCRIPT, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while written() < target and process.poll() is None:
        time.sleep(0.002)
    time.sleep(then_s)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
@pytest.mark.parametrize(
    ("command", "ending"),
    [("tag", "csv"), ("tag", "jsonl"), ("tag", "parquet"), ("embed", "parquet")],
)
def test_a_run_killed_ten_times_ends_with_the_rows_of_an_undisturbed_one(tmp_path, command, ending):
    random_ = random.Random(command + ending)
    folder = tmp_path / "clips"
    make_clips(folder, [random_.uniform(0.5, 12) for _ in range(220)])
    undisturbed, killed = tmp_path / f"undisturbed.{ending}", tmp_path / f"killed.{ending}"
    subprocess.run([SCRIPT, command, folder, "-o", undisturbed], check=True, capture_output=True)
    for _ in range(10):
        run_and_kill(
            [command, str(folder), "-o", str(killed)],
            killed,
            random_.randint(0, 15),
            random_.uniform(0, 0.1),
        )
        if killed.exists():
            rows = rows_of(killed)
            assert all(row in rows_of(undisturbed) for row in rows)
    result = subprocess.run(
        [SCRIPT, command, folder, "-o", killed], check=True, capture_output=True, text=True
    )
    assert " 0 unchanged" not in result.stderr
    assert rows_of(killed) == rows_of(undisturbed)


@pytest.mark.slow
def test_broken_files_among_many_cost_nothing_but_their_rows(tmp_path):
    folder = tmp_path / "clips"
    good = make_clips(folder, [0.5] * 475)
    whole = Path(good[0]).read_bytes()
    kinds = {
        "text.mp3": b"words " * 100,
        "empty.wav": b"",
        "noise.flac": np.random.default_rng(0).bytes(5000),
        "head.wav": whole[:44],
        "zeros.ogg": bytes(1000),
    }
    for number in range(25):
        name, content = list(kinds.items())[number % 5]
        (folder / f"{number * 19:03}-{name}").write_bytes(content)
    result = run("tag", folder, "-o", tmp_path / "out.csv", "-k", 1)
    assert result.exit_code == 1
    assert "475 done, 0 unchanged, 25 failed" in result.stderr
    with (tmp_path / "out.csv").open() as file:
        assert [row["source"] for row in csv.DictReader(file)] == good
