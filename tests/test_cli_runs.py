"""What runs say while they last, and what their exit codes say: for a terminal, and for cron."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
from click.testing import CliRunner
from helpers_audio import STRINGS, TECHNO
from test_cli import shipped  # noqa: F401 (a fixture)

import musicnn_zoo
from musicnn_zoo.cli import analysis, cli
from musicnn_zoo.sound.contents import stated_length
from musicnn_zoo.tagging import tagger as tagger_module


def run(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


# --- one long file


@pytest.mark.parametrize(
    "command", ["tag", "taggram", "events", "embed --output e.npz", "listen --output p.html"]
)
def test_of_one_file_it_is_said_how_much_was_heard(command, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(analysis, "_TOLD_EVERY_S", 0.0)
    name, *options = command.split()
    result = run(name, TECHNO, *options, "--batch-size", 4)
    assert result.exit_code == 0, result.stderr
    told = result.stderr.splitlines()
    line = rf"{re.escape(str(TECHNO))}: (\d:\d\d\.\d) of 0:32\.0 heard, about \d:\d\d\.\d left"
    heard = [re.fullmatch(line, each) for each in told]
    assert len(heard) >= 2
    assert all(heard), told
    assert [each[1] for each in heard] == sorted(each[1] for each in heard)
    quiet = run(name, TECHNO, *options, *(["--quiet"] if name != "listen" else []))
    assert name == "listen" or quiet.stderr == ""


def test_a_bar_of_one_file_counts_seconds(capsys, monkeypatch) -> None:
    monkeypatch.setattr(tagger_module, "_PATIENCE_S", 0.0)
    (result,) = musicnn_zoo.tag_files([TECHNO], progress=True)
    assert result.unwrap().names[0] == "techno"
    shown = capsys.readouterr().err
    assert "/32 s of audio" in shown
    (result,) = musicnn_zoo.Tagger().taggram_files([TECHNO], progress=True)
    list(musicnn_zoo.tag_files([TECHNO, STRINGS], progress=True))
    assert "file" in capsys.readouterr().err


def test_a_function_receives_what_was_heard() -> None:
    heard = []
    list(musicnn_zoo.tag_files([TECHNO], progress=lambda *given: heard.append(given)))
    assert heard[-1][0] == str(TECHNO)
    assert heard[-1][1] == pytest.approx(29.92)


def test_what_states_no_length_has_none(tmp_path) -> None:
    assert stated_length(str(TECHNO)) == pytest.approx(32, abs=0.1)
    (tmp_path / "words.mp3").write_text("no sound")
    assert stated_length(str(tmp_path / "words.mp3")) is None
    assert stated_length(str(tmp_path / "gone.mp3")) is None


# --- nightly


@pytest.fixture
def music(shipped, tmp_path) -> Path:  # noqa: F811
    folder = Path(shutil.copytree(shipped, tmp_path / "Music"))
    (folder / "notes.mp3").write_text("These are only words.")
    return folder


def test_a_broken_file_fails_a_run_unless_it_is_ignored(music, tmp_path) -> None:
    tags = ("tag", music, "--output", tmp_path / "tags.jsonl")
    first = run(*tags, "--ignore-known-failures")
    assert first.exit_code == 1
    assert "notes.mp3" in first.stderr
    assert run(*tags).exit_code == 1
    ignored = run(*tags, "--ignore-failures")
    assert ignored.exit_code == 0
    assert "1 of 3 could not be used, as in the run before" in ignored.stderr
    assert "notes.mp3" in (tmp_path / "tags.jsonl.run" / "failures.csv").read_text()
    known = run(*tags, "--ignore-known-failures", "--quiet")
    assert (known.exit_code, known.output) == (0, "")
    (music / "new.mp3").write_text("These are other words.")
    new = run(*tags, "--ignore-known-failures", "--quiet")
    assert new.exit_code == 1
    assert "2 of 4 could not be used, 1 as in the run before:" in new.stderr
    assert "new.mp3" in new.stderr
    assert run(*tags, "--ignore-failures", "--quiet").output == ""
    one = run("tag", music / "notes.mp3", "--ignore-failures")
    assert (one.exit_code, one.stdout) == (0, "")
    assert "notes.mp3" in one.stderr


def test_verbose_says_what_became_of_each_file(music, tmp_path) -> None:
    told = run("embed", music, "-o", tmp_path / "e.parquet", "-v", "-m", "MTT_vgg").stderr
    assert sorted(re.findall(r"^(\w+): .*?(\w+)\.(?:wav|mp3)", told, re.MULTILINE)) == [
        ("done", "bach_chorale_strings"), ("done", "techno_loop"), ("failed", "notes"),
    ]  # fmt: skip


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_rows_of_files_that_are_gone_are_pruned(music, tmp_path, ending) -> None:
    (music / "notes.mp3").unlink()
    output = tmp_path / f"tags.{ending}"
    other = tmp_path / "other.wav"
    shutil.copy(music / "techno_loop.wav", other)
    assert run("tag", music, other, "-o", output).exit_code == 0

    def sources() -> list[str]:
        if ending == "jsonl":
            return [
                Path(json.loads(line)["source"]).name for line in output.read_text().splitlines()
            ]
        read = pandas.read_csv if ending == "csv" else pandas.read_parquet
        return [Path(source).name for source in dict.fromkeys(read(output)["source"])]

    other.unlink()
    away = (music / "techno_loop.wav").rename(tmp_path / "away.wav")
    assert "pruned" not in run("tag", music, "-o", output).stderr
    assert len(sources()) == 3
    result = run("tag", music, "-o", output, "--prune")
    assert "0 done, 1 unchanged, 1 pruned, 0 failed" in result.stderr
    assert sorted(sources()) == ["bach_chorale_strings.wav", "other.wav"]  # what was not searched
    away.rename(music / "techno_loop.wav")
    assert run("tag", music, "-o", output).exit_code == 0
    shutil.rmtree(music)
    music.mkdir()  # as of a disk that is not mounted
    assert run("tag", music, "-o", output, "--prune").exit_code == 1
    assert len(sources()) == 3


def test_prune_needs_an_output_that_is_continued(music) -> None:
    result = run("tag", music, "--prune")
    assert result.exit_code == 2
    assert "--prune goes with an output that ends in" in result.stderr


def test_the_index_has_the_same_options(music, tmp_path) -> None:
    index = ("index", music, "--library", tmp_path / "l.sqlite", "-m", "MTT_vgg")
    first = run(*index, "--ignore-known-failures", "-v")
    assert first.exit_code == 1
    assert {Path(line).name for line in first.stderr.splitlines() if line.startswith("/")} == {
        "bach_chorale_strings.wav", "notes.mp3", "techno_loop.wav",
    }  # fmt: skip
    assert run(*index).exit_code == 1
    assert run(*index, "--ignore-failures").exit_code == 0
    known = run(*index, "--ignore-known-failures", "--quiet")
    assert (known.exit_code, known.output) == (0, "")
    (music / "new.mp3").write_text("These are other words.")
    new = run(*index, "--ignore-known-failures", "--quiet")
    assert (new.exit_code, new.stdout) == (1, "")
    assert "new.mp3" in new.stderr
    (music / "techno_loop.wav").unlink()
    assert run(*index, "--prune", "--ignore-failures").exit_code == 0
    assert musicnn_zoo.Library(tmp_path / "l.sqlite").counts() == {"present": 1, "failed": 2}


def test_a_disk_that_is_not_mounted_costs_no_library(music, tmp_path) -> None:
    index = ("index", "--library", tmp_path / "l.sqlite", "--ignore-known-failures")
    library = musicnn_zoo.Library(tmp_path / "l.sqlite")
    assert run(*index, music, "-m", "MTT_vgg").exit_code == 1
    away = music.rename(tmp_path / "away")
    gone = run(*index, "--prune", "--quiet")
    assert gone.exit_code == 1
    assert "is its disk mounted?" in gone.stderr
    assert run(*index, "--prune", "--quiet").output == ""  # told once
    music.mkdir()  # where the disk would be mounted
    assert run(*index, "--prune").exit_code == 0
    assert library.counts() == {"gone": 3}
    music.rmdir()
    away.rename(music)
    back = run(*index, "--prune", "--ignore-failures")
    assert (back.exit_code, "0 done, 0 unchanged, 2 returned" in back.stdout) == (0, True)
    shutil.rmtree(music)
    assert run(*index, "--forget-gone", "--ignore-failures").exit_code == 0
    assert "name a folder to index" in run(*index).stderr


def test_what_failed_in_a_run_that_was_killed_is_told_by_the_next(music, tmp_path) -> None:
    output, place = tmp_path / "tags.csv", tmp_path / "l.sqlite"
    runs = [("tag", music, "-o", output), ("index", music, "--library", place)]
    for command in runs:
        assert run(*command, "-m", "MTT_vgg").exit_code == 1
    (music / "new.mp3").write_text("These are other words.")
    kill = (
        "import os, signal; from musicnn_zoo.library import store, library_file\n"
        "def end(*args, **kwargs): os.kill(os.getpid(), signal.SIGKILL)\n"
        "store.Store.__exit__ = library_file.LibraryFile.tell_failures = end\n"
        "from musicnn_zoo.__main__ import main; main()"
    )
    for command in runs:
        ended = subprocess.run([sys.executable, "-c", kill, *map(str, command), "-m", "MTT_vgg"],
                               check=False, capture_output=True)  # fmt: skip
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        told = run(*command, "-m", "MTT_vgg", "--ignore-known-failures", "--quiet")
        assert told.exit_code == 1
        assert "2 of 4 could not be used" in told.stderr
        assert "new.mp3" in told.stderr
        again = run(*command, "-m", "MTT_vgg", "--ignore-known-failures", "--quiet")
        assert (again.exit_code, again.output) == (0, "")


def test_the_exit_codes_are_in_the_help() -> None:
    shown = " ".join(run("--help").stdout.split())
    assert "Exit codes: 0, all went well; 1, audio could not be used" in shown
    assert "130, after Ctrl+C" in shown


# --- excerpts and layers


def test_an_excerpt_is_heard_and_belongs_to_the_output(music, tmp_path) -> None:
    output = tmp_path / "tags.jsonl"
    command = ("tag", music / "techno_loop.wav", "-o", output)
    assert run(*command, "--offset", 1, "--duration", 4).exit_code == 0
    (row,) = map(json.loads, output.read_text().splitlines())
    expected = musicnn_zoo.tag(music / "techno_loop.wav", offset=1, duration=4)
    assert (row["duration_s"], row["offset_s"]) == (4, 1)
    ranked = dict(expected.ranked)
    assert row["tags"] == pytest.approx(ranked, abs=1e-5)
    other = run(*command)
    assert other.exit_code == 2
    assert "--duration 4.0 (now not given)" in other.stderr
    for option in ("--offset", "--duration"):
        assert "is not a finite number" in run("tag", music, option, "nan").stderr
    drawn = run("events", TECHNO, "-t", 0.4, "--duration", 8, "--plot", tmp_path / "e.png")
    assert drawn.exit_code == 0, drawn.stderr


def test_a_mistyped_layer_is_answered_before_tensorflow_loads(monkeypatch) -> None:
    from test_cli import modules_after

    (loaded,) = modules_after(["embed", str(TECHNO), "-o", "e.npz", "--layer", "mean_pol"])
    assert "onnxruntime" in loaded
    assert not loaded & {"tensorflow", "keras"}
    result = run("embed", TECHNO, "-o", "e.npz", "--layer", "mean_pol")
    assert result.exit_code == 2
    assert "unknown layer of MTT_musicnn 'mean_pol'; did you mean mean_pool" in result.stderr
