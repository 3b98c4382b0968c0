"""Data that the examples and benchmarks make, and what learns from it, run as a user would."""

import csv
import importlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import joblib
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from musicnn_zoo.datasets import from_folder, from_table

ROOT = Path(__file__).parents[1]
TIMBRES = ("sine", "saw", "square", "bell")
RENDERER = {
    "fluidsynth": shutil.which("fluidsynth"),
    "music21": importlib.util.find_spec("music21"),
    "pretty_midi": importlib.util.find_spec("pretty_midi"),
    "FluidR3_GM.sf2": Path("/usr/share/sounds/sf2/FluidR3_GM.sf2").exists(),
    "TimGM6mb.sf2": Path("/usr/share/sounds/sf2/TimGM6mb.sf2").exists(),
}
MISSING = [name for name, found in RENDERER.items() if not found]


def run(*command: object, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def example(name: str) -> Path:
    return ROOT / "examples" / f"{name}.py"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "multi"
    run(example("make_synthetic"), folder, "--clips", 60, "--seconds", 3)
    return folder / "clips.csv"


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "classes"
    run(example("make_synthetic"), folder, "--clips", 160, "--seconds", 3, "--classes")
    return folder


@pytest.fixture(scope="module")
def synthetic() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "examples"))
        return importlib.import_module("make_synthetic")


# --- made out of nothing


def test_the_same_seed_makes_the_same_files(table: Path, tmp_path: Path) -> None:
    run(example("make_synthetic"), tmp_path / "same", "--clips", 60, "--seconds", 3)
    run(example("make_synthetic"), tmp_path / "other", "--clips", 60, "--seconds", 3, "--seed", 1)
    first, same, other = (
        contents(folder) for folder in (table.parent, tmp_path / "same", tmp_path / "other")
    )
    assert same == first
    assert other.keys() == first.keys()
    assert not any(other[path] == first[path] for path in first)


def test_the_table_is_a_multi_label_data_set_without_leaks(table: Path) -> None:
    dataset = from_table(table)
    assert (len(dataset), len(set(dataset.groups)), dataset.leaking_groups) == (60, 30, ())
    assert set(dataset.tags) == {
        *TIMBRES, "high", "low", "fast", "slow", "chords", "tremolo", "drums", "noise"
    }  # fmt: skip
    assert set(dataset.split_sizes) == {"train", "validation", "test"}
    timbres = dataset.with_tags(TIMBRES)
    assert timbres.single_label
    assert not dataset.single_label
    assert {soundfile.info(path).frames for path in dataset.paths} == {3 * 16000}


def test_the_folder_has_the_timbres_as_classes_and_the_songs_as_groups(classes: Path) -> None:
    dataset = from_folder(classes, group_by="subfolder")
    assert dataset.tags == tuple(sorted(TIMBRES))
    assert dataset.positives.tolist() == [40, 40, 40, 40]
    assert len(set(dataset.groups)) == 80


def spectrum(synthetic: ModuleType, song, **changes) -> np.ndarray:
    """Power of 4 s of a song in bands of 0.25 Hz, together 1."""
    sound = synthetic.play(replace(song, **changes), 4, np.random.default_rng(5))
    power = np.abs(np.fft.rfft(sound)) ** 2
    return power / power.sum()


@pytest.fixture(scope="module")
def plain(synthetic: ModuleType):
    song = synthetic.draw_song(0, seed=3)
    return replace(song, timbre="sine", register="", tonic=60, extras=(), brightness=0, decay=1)


def test_timbres_have_the_partials_of_their_names(synthetic: ModuleType, plain) -> None:
    def above_double(**changes) -> float:
        return float(spectrum(synthetic, plain, **changes)[4 * 1100 :].sum())

    sine, saw, square, bell = (above_double(timbre=timbre) for timbre in TIMBRES)
    assert sine < 1e-3
    assert min(saw, square, bell) > 0.05

    def partials(timbre: str) -> list[float]:
        note = np.abs(np.fft.rfft(synthetic._note(replace(plain, timbre=timbre), 69), 16000))
        return [float(note[440 * n - 10 : 440 * n + 10].max()) for n in (1, 2, 3)]

    first, second, third = partials("saw")
    assert first > second > third > 0.2 * first
    first, second, third = partials("square")
    assert first > third > 5 * second


def test_registers_and_paces_are_what_their_tags_say(synthetic: ModuleType) -> None:
    songs = [synthetic.draw_song(number, seed=0) for number in range(60)]
    for song in songs:
        beats_a_minute = 60 / song.beat_s
        assert ("fast" in song.tags) == (beats_a_minute >= 150)
        assert ("slow" in song.tags) == (beats_a_minute <= 80)
        assert ("high" in song.tags) == (song.tonic >= 72)
        assert ("low" in song.tags) == (song.tonic < 48)
        loudest = spectrum(synthetic, song, extras=()).argmax() / 4
        steps = 12 * np.log2(loudest / 440) + 69 - song.tonic
        assert -0.5 < steps < 12.5


def test_extras_can_be_heard(synthetic: ModuleType, plain) -> None:
    def power(*extras: str) -> np.ndarray:
        return spectrum(synthetic, plain, extras=extras, drums_db=-12, noise_db=-12)

    def envelope(*extras: str) -> float:
        sound = synthetic.play(
            replace(plain, extras=extras, tremolo_hz=6.5), 4, np.random.default_rng(5)
        )
        loudness = np.abs(np.fft.rfft(sound**2))
        return float(loudness[4 * 6 : 4 * 7 + 1].max() / loudness[0])

    bass, hiss = slice(4 * 30, 4 * 110), slice(4 * 5000, None)
    assert power("drums")[bass].sum() > 100 * power()[bass].sum()
    assert power("noise")[hiss].sum() > 100 * power()[hiss].sum()
    assert envelope("tremolo") > 2 * envelope()
    assert (power("chords") > 1e-3).sum() > 1.5 * (power() > 1e-3).sum()


# --- examples and benchmarks that learn


@pytest.mark.slow
def test_a_classifier_is_trained_on_a_folder_tested_and_saved(
    classes: Path, tmp_path: Path
) -> None:
    said = run(example("classify_folder"), classes, cwd=tmp_path)
    tested, accuracy = re.search(r"accuracy on (\d+) test files: ([\d.]+)%", said).groups()
    assert int(tested) == 32
    assert float(accuracy) > 50
    saved = joblib.load(tmp_path / "classifier.joblib")
    assert sorted(saved.classes_) == sorted(TIMBRES)
    assert list((tmp_path / "embeddings").iterdir())
    assert run(example("classify_folder"), classes, cwd=tmp_path) == said


def test_the_table_of_methods_is_put_together_of_several_runs(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    transfer = importlib.import_module("benchmarks.transfer")
    monkeypatch.setattr(transfer, "ProcessPoolExecutor", ThreadPoolExecutor)
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["tags"] = next(tag for tag in row["tags"].split(";") if tag in TIMBRES)
    one_label = table.with_name("timbres.csv")
    with one_label.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    output = tmp_path / "new" / "transfer.json"
    for method in ("MFCC + SVM", "chance"):
        options = [str(one_label), "--output", str(output), "--method", method]
        done = CliRunner().invoke(transfer.main, options, catch_exceptions=False)
    lines = done.stdout.splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == ["| chance", "| MFCC + SVM"]
    results = json.loads(output.read_text())
    assert results["command"] == "python -m benchmarks.transfer timbres.csv"
    machine = results["rows"]["MFCC + SVM"]
    assert machine["test"]["accuracy"] > results["rows"]["chance"]["test"]["accuracy"]
    assert machine["settings"].keys() == {"C", "gamma"}


def test_what_the_peers_need_is_written_into_a_folder_that_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    export = importlib.import_module("benchmarks.export")
    monkeypatch.setattr(export, "load_model", lambda name: name.encode())
    for writer in ("write_frozen_graph", "write_whole_graph", "write_weights"):
        monkeypatch.setattr(export, writer, lambda model, path: path.write_bytes(model))
    (tmp_path / "file").touch()
    for place, code in (("new/deep", 0), ("new/deep", 0), ("file", 2)):
        assert CliRunner().invoke(export.main, [str(tmp_path / place)]).exit_code == code
    assert sorted(contents(tmp_path / "new" / "deep")) == ["essentia.pb", "torch.npz", "whole.onnx"]


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_instruments_are_rendered_without_leaks(tmp_path: Path) -> None:
    command = ("-m", "benchmarks.instruments", "--clips-per-class", 7, "--seconds", 1.5)
    run(*command, tmp_path / "first")
    run(*command, tmp_path / "second")
    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    folder, table = from_folder(tmp_path / "first"), from_table(tmp_path / "first" / "clips.csv")
    assert folder.split_sizes == table.split_sizes == {"train": 48, "validation": 12, "test": 24}
    assert folder.tags == table.tags
    assert len(folder.tags) == 12
    assert set(folder.positives) == {7}
    assert (len(set(table.groups)), table.leaking_groups) == (7, ())
    for path in table.paths:
        sound, rate = soundfile.read(path)
        assert (len(sound), rate) == (33075, 22050)
        assert 0.09 < np.abs(sound).max() < 0.9
        assert sound.std() > 0.005
