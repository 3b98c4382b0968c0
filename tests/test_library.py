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
from musicnn_zoo.library.store import Store, run_library
from musicnn_zoo.tagging.results import Clip, FileResult, Tags, TagScore

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="not on Windows")
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
def library(tmp_path, monkeypatch):
    """Four files, and what runs over them."""
    monkeypatch.chdir(tmp_path)
    for name, content in {"a": "rock", "b": "jazz", "c": "broken", "d": "folk"}.items():
        Path(name).write_text(content)

    def run(paths="abcd", **options):
        analyst = Analyst()
        with Store(Path("out.jsonl"), {"kind": "tags"}) as store:
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


@on_posix
def test_a_file_has_one_row_however_it_is_named(library, tmp_path, monkeypatch):
    Path("M").mkdir()
    Path("M/a").write_text("rock")
    Path("link").symlink_to("M")
    names = ["M/a", str(tmp_path / "M" / "a"), "M/../M/a", "link/a"]
    assert library(names)[1:] == (["M/a"], {"M/a": ["rock"]})
    summary, asked, rows = library(names[::-1])
    assert (asked, rows, summary.skipped) == ([], {"M/a": ["rock"]}, 1)
    monkeypatch.chdir("M")
    with Store(Path("../out.jsonl"), {"kind": "tags"}) as store:
        assert run_library(["a"], Analyst(), store).skipped == 1
    monkeypatch.chdir(tmp_path)
    Path("M/a").write_text("blues")
    assert library(names[1:])[2] == {names[1]: ["blues"]}


def test_a_moved_file_takes_its_row_along_if_contents_are_compared(library):
    library("abd", content_hash=True)
    Path("a").rename("e")
    assert library("bde")[1] == ["e"]
    Path("b").rename("f")
    summary, asked, rows = library("def", content_hash=True)
    assert asked == []
    assert rows == {"e": ["rock"], "d": ["folk"], "f": ["jazz"]}
    assert str(summary) == "0 done, 1 unchanged, 2 moved, 0 failed"
    assert library("def")[1] == []


def test_a_copy_has_a_row_of_its_own(library):
    library("ab", content_hash=True)
    shutil.copy("a", "e")
    _, asked, rows = library("be", content_hash=True)
    assert (asked, rows) == (["e"], {"a": ["rock"], "b": ["jazz"], "e": ["rock"]})


def test_files_that_change_places_change_rows(library):
    library("abd", content_hash=True)
    Path("a").rename("x")
    Path("b").rename("a")
    Path("x").rename("b")
    summary, asked, rows = library("abd", content_hash=True)
    assert (asked, summary.moved) == ([], 2)
    assert rows == {"a": ["jazz"], "b": ["rock"], "d": ["folk"]}


def test_a_file_that_takes_the_place_of_another_takes_its_row_along(library):
    library("abd", content_hash=True)
    Path("a").rename("b")
    Path("a").write_text("new")
    summary, asked, rows = library("abd", content_hash=True)
    assert (asked, summary.moved) == (["a"], 1)
    assert rows == {"a": ["new"], "b": ["rock"], "d": ["folk"]}


@on_posix
def test_a_pipe_is_a_failure_and_not_waited_for(library):
    os.mkfifo("p")
    for options in ({}, {"content_hash": True}):
        summary, asked, _ = library("ap", **options)
        assert "p" not in asked
        assert summary.failed == 1


# The command


def run(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def rows_of(output):
    if output.suffix == ".parquet":
        return pq.read_table(output).to_pylist()
    return output.read_bytes().splitlines()


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("command", ["tag", "taggram", "events"])
@pytest.mark.platform
def test_a_second_run_adds_only_what_is_new(tmp_path, command, ending):
    clips = make_clips(tmp_path / "clips", [3, 4, 1])
    output = tmp_path / f"out.{ending}"
    options = ["-t", 0.1] if command == "events" else []
    first = run(command, *options, *clips[:2], "-o", output)
    assert first.exit_code == 0
    assert ": 2 done, 0 unchanged, 0 failed; 0.00 hours of audio at " in first.stderr
    before = rows_of(output)
    second = run(command, *options, tmp_path / "clips", "-o", output)
    assert ": 1 done, 2 unchanged, 0 failed" in second.stderr
    after = rows_of(output)
    assert after[: len(before)] == before
    fresh = tmp_path / f"fresh.{ending}"
    run(command, *options, tmp_path / "clips", "-o", fresh)
    assert rows_of(fresh) == after
    refused = run(command, *options, clips[0], "-o", output, "--hop", 1)
    assert (refused.exit_code, rows_of(output)) == (2, after)
    assert "--hop not given (now 1.0)" in refused.stderr
    anew = run(command, *options, clips[0], "-o", output, "--hop", 1, "--overwrite", "--hash")
    assert ": 1 done, 0 unchanged" in anew.stderr


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
    assert "made with other settings: --top-k not given (now 2)" in refused.stderr
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


@on_posix
def test_what_a_search_cannot_use_is_listed_with_the_failures(tmp_path, monkeypatch):
    (clip,) = make_clips(tmp_path / "clips", [1])
    (tmp_path / "clips" / "locked").mkdir()
    os.mkfifo(tmp_path / "clips" / "x.mp3")
    real = os.scandir

    def scandir(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr("os.scandir", scandir)
    output = tmp_path / "out.csv"
    folders = tmp_path / "clips", tmp_path / "clips" / "locked" / ".."
    result = run("tag", *folders, tmp_path / "clips" / "x.mp3", "-o", output)
    assert result.exit_code == 1
    assert ": 1 done, 0 unchanged, 2 failed" in result.stderr
    with Path(f"{output}.run/failures.csv").open() as file:
        failures = {Path(row["path"]).name: row["reason"] for row in csv.DictReader(file)}
    assert failures.keys() == {"locked", "x.mp3"}
    assert failures["locked"].endswith("locked: cannot be listed (Permission denied)")
    assert failures["x.mp3"].endswith("x.mp3: is a pipe, not a file")
    assert {row.split(b",")[0] for row in rows_of(output)[1:]} == {clip.encode()}


@on_posix
def test_ctrl_c_ends_a_run_with_what_is_done_and_the_code_of_shells(tmp_path, monkeypatch):
    make_clips(tmp_path / "clips", [1] * 5)
    code = (
        "import sys, signal, os\n"
        "from musicnn_zoo.cli import main\n"
        "from musicnn_zoo.library.text_store import TextRows\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "append, added = TextRows.append, []\n"
        "def then_interrupt(rows, stamp, result):\n"
        "    append(rows, stamp, result)\n"
        "    added.append(stamp)\n"
        "    if len(added) == 3:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "TextRows.append = then_interrupt\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, "taggram", "clips", "-o", "out.jsonl"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (130, "\nstopped by Ctrl+C\n")
    assert len(rows_of(tmp_path / "out.jsonl")) == 3
    monkeypatch.chdir(tmp_path)
    assert ": 2 done, 3 unchanged, 0 failed" in run("taggram", "clips", "-o", "out.jsonl").stderr


@on_posix
def test_ctrl_c_while_the_command_is_imported_is_one_line_too(tmp_path):
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'numpy':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from musicnn_zoo.__main__ import main\n"
        "main()\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (130, "\nstopped by Ctrl+C\n")


def test_a_second_run_at_the_same_time_is_refused(tmp_path):
    (clip,) = make_clips(tmp_path / "clips", [3])
    output = tmp_path / "out.csv"
    settings = {"kind": "tags"}
    with Store(output, settings):
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
    make_clips(folder, [random_.uniform(0.5, 12) for _ in range(500)])
    undisturbed, killed = tmp_path / f"undisturbed.{ending}", tmp_path / f"killed.{ending}"
    subprocess.run([SCRIPT, command, folder, "-o", undisturbed], check=True, capture_output=True)
    expected = rows_of(undisturbed)
    for _ in range(10):
        run_and_kill(
            [command, str(folder), "-o", str(killed)],
            killed,
            random_.randint(0, 15),
            random_.uniform(0, 0.1),
        )
        if killed.exists():
            assert all(row in expected for row in rows_of(killed))
    result = subprocess.run(
        [SCRIPT, command, folder, "-o", killed], check=True, capture_output=True, text=True
    )
    assert " 0 unchanged" not in result.stderr
    assert rows_of(killed) == expected


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
