"""Odd files on every way through the package; ``tests/inputs`` has one of each kind."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import soundfile
from click.testing import CliRunner
from helpers_audio import TECHNO
from helpers_pages import ask, serving_pages

from musicnn_zoo import Tagger, listening_page
from musicnn_zoo.cli import cli
from musicnn_zoo.datasets import DatasetWarning, from_table
from musicnn_zoo.errors import AudioError, DecoderCrashError
from musicnn_zoo.listening.page import listening_pages
from musicnn_zoo.sound.read import load_audio
from musicnn_zoo.training import open_clips

INPUTS = Path(__file__).parent / "inputs"

LENGTHS = {
    "aac_7.1.m4a": 2.0,
    "aac_adts_quiet_then_loud.aac": 9.0,
    "cat_lame_xing.mp3": 12.0,
    "chained.ogg": 12.0,
    "chained.opus": 12.0,
    "flac_one_bit_flip.flac": 2.9,
    "flac_states_no_length.flac": 3.0,
    "lo_techno_loop_32.mp3": 32.0,
    "mixed_44st_22mono.mp3": 12.08,
    "mp3_zeros_after.mp3": 6.03,
    "opus_page_ahead_of_its_packets.opus": 8.0,
    "two_id3_info.mp3": 30.0,
    "vid_longer.webm": 6.0,
    "wav_header_not_finished.wav": 4.0,
}
REASONS = {
    "wav_bits_0.wav": "holds sound that FFmpeg has no decoder for",
    "wav_unknown_format_tag.wav": "holds sound that FFmpeg has no decoder for",
    "wav_float_1e30.wav": r"holds samples as large as 1e\+30, where full scale is 1",
    "wav_rate_1hz.wav": "states a sample rate of 1 Hz, which no recording has",
}
DAMAGED = "flac_one_bit_flip.flac"
KILLER, KILLER_S = "mov_custom_channel_order.mov", 4.0
"""PyAV before 19 dies of it; later ones decode it."""
GOOD = 30


@pytest.fixture(scope="module")
def killer_dies():
    try:
        load_audio(INPUTS / KILLER)
    except DecoderCrashError:
        return True
    return False


@pytest.fixture(scope="module")
def lengths(killer_dies):
    return LENGTHS if killer_dies else {**LENGTHS, KILLER: KILLER_S}


@pytest.fixture(scope="module")
def reasons(killer_dies):
    return {**REASONS, KILLER: "crashes the decoder"} if killer_dies else REASONS


@pytest.fixture(scope="module")
def tagger():
    return Tagger("MTT_musicnn", engine="onnxruntime")


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    folder = tmp_path_factory.mktemp("music")
    for path in INPUTS.iterdir():
        shutil.copy(path, folder)
    random = np.random.default_rng(0)
    for number in range(GOOD):
        sound = random.normal(0, 0.1, 4800)
        soundfile.write(folder / f"good_{number:02}.wav", sound, 16000)
    return folder


def run(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_the_folder_has_these_files() -> None:
    assert {path.name for path in INPUTS.iterdir()} == {*LENGTHS, *REASONS, KILLER}


def test_they_are_loaded_or_refused_for_a_reason(lengths, reasons) -> None:
    for name, length_s in lengths.items():
        audio = load_audio(INPUTS / name)
        assert audio.duration_s == pytest.approx(length_s, abs=0.05), name
        assert audio.damaged == (name == DAMAGED), name
    for name, reason in reasons.items():
        with pytest.raises(AudioError, match=f"^{re.escape(str(INPUTS / name))}: {reason}"):
            load_audio(INPUTS / name)


def test_a_low_bit_rate_leaves_no_holes() -> None:
    """The loop is never as quiet as this for longer than 10 ms."""
    for path in (TECHNO, INPUTS / "lo_techno_loop_32.mp3"):
        (loud,) = np.nonzero(np.abs(load_audio(path).samples[:-1600]) > 1e-4)
        assert np.diff(loud).max() < 160, path


def test_they_are_tagged_in_one_run(tagger, lengths, reasons) -> None:
    names = [*lengths, *reasons]
    results = dict(zip(names, tagger.tag_files(INPUTS / name for name in names), strict=True))
    for name, length_s in lengths.items():
        tags = results[name].unwrap()
        assert tags.clip.duration_s == pytest.approx(length_s, abs=0.05), name
        assert tags.clip.damaged == (name == DAMAGED), name
        assert len(tags) == 5
    for name, reason in reasons.items():
        assert isinstance(results[name].error, AudioError)
        assert re.match(f"{re.escape(str(INPUTS / name))}: {reason}", str(results[name].error))


@pytest.mark.parametrize("name", [*LENGTHS, *REASONS, KILLER])
def test_the_command_line_takes_each_alone(name, lengths, reasons) -> None:
    path = INPUTS / name
    result = run("tag", path, "-f", "json")
    if name in lengths:
        said = f"Warning: {path}: damaged, 0.1 s could not be decoded\n" if name == DAMAGED else ""
        assert (result.exit_code, result.stderr) == (0, said)
        (tags,) = json.loads(result.stdout)
        assert tags["duration_s"] == pytest.approx(lengths[name], abs=0.05)
        assert len(tags["tags"]) == 5
        return
    assert (result.exit_code, json.loads(result.stdout)) == (1, [])
    assert re.fullmatch(f"Error: {re.escape(str(path))}: {reasons[name]}.*\n", result.stderr)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_they_do_no_harm_to_a_library(music, tmp_path, lengths, reasons, ending) -> None:
    output = tmp_path / f"x.{ending}"
    result = run("tag", music, "-o", output, "-k", 1)
    assert (result.exit_code, result.stdout) == (1, "")
    done = GOOD + len(lengths)
    assert f"{output}: {done} done (1 damaged), 0 unchanged, {len(reasons)} failed" in result.stderr
    assert f"{len(reasons)} of {done + len(reasons)} could not be used:" in result.stderr
    assert "Traceback" not in result.stderr
    if ending == "csv":
        with output.open(newline="") as file:
            sources = [row["source"] for row in csv.DictReader(file)]
    else:
        sources = pyarrow.parquet.read_table(output).column("source").to_pylist()
    good = {f"good_{number:02}.wav" for number in range(GOOD)}
    assert sorted(Path(source).name for source in sources) == sorted({*good, *lengths})
    with (tmp_path / f"x.{ending}.run" / "failures.csv").open(newline="") as file:
        failures = {Path(row["path"]).name: row["reason"] for row in csv.DictReader(file)}
    assert failures.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert re.match(f"{re.escape(str(music / name))}: {reason}", failures[name])


def test_they_have_pages(tagger, lengths, reasons) -> None:
    names = [*lengths, *reasons]
    paths = [str(INPUTS / name) for name in names]
    results = dict(zip(names, listening_pages(paths, [tagger], hop_s=None), strict=True))
    for name, length_s in lengths.items():
        page = results[name].unwrap()
        clip = page.taggrams[0].clip
        assert clip.duration_s == pytest.approx(length_s, abs=0.05), name
        assert len(page.envelope) * page.envelope.stretch_s == pytest.approx(length_s, abs=0.1)
    for name, reason in reasons.items():
        assert re.match(f"{re.escape(str(INPUTS / name))}: {reason}", str(results[name].error))


def test_the_server_of_pages_outlives_them(tagger, lengths, reasons) -> None:
    names = [*lengths, *reasons]
    made = []

    def make(path):
        made.append(path)
        return listening_page(path, models=tagger, hop_s=None)

    with serving_pages([INPUTS / name for name in names], make) as server:
        for number, name in enumerate(names):
            answer, content = ask(server, f"/page/{number}")
            assert answer.status == (200 if name in lengths else 422), name
            if name in reasons:
                assert re.search(reasons[name].encode(), content)
            answer, content = ask(server, f"/audio/{number}")
            if name in lengths:
                assert answer.status == 200
                assert len(content) > 1000
        assert ask(server, "/")[0].status == 200
    assert [Path(path).name for path in made] == names


def test_a_data_set_has_those_that_can_be_used(tmp_path, lengths, reasons) -> None:
    names = [*lengths, *reasons]
    rows = [f"{INPUTS / name},{'ab'[number % 2]}" for number, name in enumerate(names)]
    (tmp_path / "table.csv").write_text("\n".join(["path,tags", *rows]))
    dataset = from_table(tmp_path / "table.csv")
    with pytest.warns(DatasetWarning, match=f"left out {len(reasons)} of {len(names)} files"):
        clips = open_clips(dataset)
    assert {Path(path).name for path in clips.dataset.report["broken_files"]} == reasons.keys()
    assert {Path(path).name for path in clips.dataset.paths} == lengths.keys()
    for path, samples in zip(clips.dataset.paths, clips.samples, strict=True):
        assert samples / 16000 == pytest.approx(lengths[Path(path).name], abs=0.05)
    for index in range(len(clips)):
        assert np.abs(clips.signal(index)).max() < 10
