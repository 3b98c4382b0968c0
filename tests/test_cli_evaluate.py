"""The command evaluate: what it prints and writes, and how it refuses."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from conftest import CLIPS

import musicnn_zoo
from musicnn_zoo import load_model, save_pretrained
from musicnn_zoo.cli import cli
from musicnn_zoo.datasets import from_table
from musicnn_zoo.evaluation.evaluate import evaluate_model

KINDS = {
    "bach_chorale_strings": "classical;strings",
    "bach_prelude_harpsichord": "harpsichord;classical",
    "techno_loop": "techno",
}


def run(*arguments):
    result = CliRunner().invoke(cli, ["evaluate", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def refused(*arguments, code=2):
    result = run(*arguments)
    assert result.exit_code == code, result.output
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert "Traceback" not in result.output
    return last


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Two pieces of each example clip, in a validation and a test split."""
    folder = tmp_path_factory.mktemp("data")
    rows = [("path", "tags", "split")]
    for name, tags in KINDS.items():
        samples, rate = soundfile.read(CLIPS / f"{name}.ogg")
        for piece, split in enumerate(("validation", "test")):
            soundfile.write(folder / f"{name}{piece}.wav", samples[piece * 4 * rate :][: 4 * rate],
                            rate)  # fmt: skip
            rows.append((f"{name}{piece}.wav", tags, split))
    place = folder / "table.csv"
    with place.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return place


COMMON = ("--tags", "common", "--bootstrap", "0")


def test_it_prints_and_writes_what_the_library_finds(table, tmp_path) -> None:
    outputs = {name: tmp_path / name for name in ("f.json", "s.npz", "p.png")}
    result = run(
        "MTT_vgg", table, "--tags", "common", "--bootstrap", "20", "--output", outputs["f.json"],
        "--scores", outputs["s.npz"], "--plot", outputs["p.png"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = evaluate_model("MTT_vgg", from_table(table), tags="common", bootstrap=20)
    assert result.stdout == f"{found}\n"
    assert json.loads(outputs["f.json"].read_text()) == found.to_dict()
    with np.load(outputs["s.npz"]) as stored:
        np.testing.assert_allclose(stored["scores"], found.scores, atol=1e-6)
    assert outputs["p.png"].read_bytes().startswith(b"\x89PNG")
    assert "split: test of table" in result.stdout
    assert "4, matched by name" in result.stdout


def test_options_reach_the_library(table) -> None:
    result = run("MTT_vgg", table, *COMMON, "--split", "all", "--hop", "0.5", "--tail", "pad")
    assert "6 tracks, 4 tags" in result.stdout
    assert "whatever their split (validation 3, test 3)" in result.stdout
    assert "2.992 s every 0.480 s" in result.stdout
    classes = run("MTT_vgg", table.parent, "--split", "all")
    assert classes.exit_code == 2


def test_a_folder_of_classes(tmp_path, table) -> None:
    for name in ("techno", "strings"):
        (tmp_path / name).mkdir()
    for piece in range(2):
        for source, kind in (("techno_loop", "techno"), ("bach_chorale_strings", "strings")):
            data = (table.parent / f"{source}{piece}.wav").read_bytes()
            (tmp_path / kind / f"{piece}.wav").write_bytes(data)
    result = run("MTT_vgg", tmp_path, *COMMON, "--split", "all")
    assert "ROC-AUC 100.00" in result.stdout
    result = run("MTT_vgg", tmp_path, *COMMON, "--split", "all", "--as-classes")
    assert "accuracy          100.00" in result.stdout


def test_broken_files_are_listed_and_the_exit_code_says_so(table, tmp_path) -> None:
    rows = table.read_text().replace("techno_loop1.wav", f"{tmp_path / 'broken.wav'}")
    extra = table.with_name("broken.csv")
    extra.write_text(rows + f"{table.parent / 'techno_loop1.wav'},techno,test\n")
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    result = run("MTT_vgg", extra, *COMMON)
    assert result.exit_code == 1
    assert "3 tracks, 4 tags" in result.stdout
    assert "1 file that cannot be decoded left out" in result.stdout.replace("\n  ", " ")
    errors = result.stderr.splitlines()
    assert errors[0].startswith("Warning: broken: 1 file that cannot be decoded")
    assert errors[1] == "1 of 4 could not be used:"
    assert "broken.wav" in errors[2]


def test_thresholds_are_stored_and_used(table, tmp_path) -> None:
    folder = save_pretrained(load_model("MTT_vgg"), tmp_path / "mine")
    options = (*COMMON, "--store-thresholds", "--split", "validation")
    result = run(folder, table, *options)
    assert result.exit_code == 0, result.output
    assert "thresholds stored, for 4 of 50 tags, best F1 on validation of table" in result.stderr
    stored = json.loads((folder / "thresholds.json").read_text())["thresholds"]
    assert {tag for tag, value in stored.items() if value is not None} == {
        "classical", "strings", "harpsichord", "techno",
    }  # fmt: skip
    tags = musicnn_zoo.tag(table.with_name("techno_loop1.wav"), model=folder,
                           threshold="calibrated")  # fmt: skip
    assert tags.names == ("techno",)
    again = run(folder, table, *COMMON, "--calibrated")
    assert "thresholds: the model's own, for 4 of 50 tags, best F1 on validation of table" in (
        again.stdout.replace("\n  ", " ")
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("MTT_vgg", "gone.csv"), "gone.csv: there is no such folder or table"),
        (("MTT_vg", "{table}", "--tags", "common"), "unknown model 'MTT_vg'"),
        (("MTT_vgg", "{table}"), "--tags common) evaluates the 4 that both know"),
        (("MTT_vgg", "{table}", "--split", "tset"), "unknown split 'tset'; did you mean test"),
        (("MTT_vgg", "{table}", "--split", "train"), "unknown split 'train'; "),
        (("MTT_vgg", "{table}", *COMMON, "--calibrated"), "MTT_vgg has no calibrated thresholds"),
        (("MTT_vgg", "{table}", "--plot", "p.jpg"), "a picture must end in .png, .svg, .pdf"),
        (("MTT_vgg", "{table}", "--output", "f.xml"), "must end in .json, .csv, .txt"),
        (("MTT_vgg", "{table}", "--scores", "s.json"), "must end in .csv, .npz"),
        (("MTT_vgg", "{table}", "--output", "gone/f.json"), "there is no folder 'gone'"),
        (("MTT_vgg", "{table}", *COMMON, "--bootstrap", "1"), "bootstrap must be"),
        (("MTT_vgg", "{table}", *COMMON, "--resample", "groups"), "no groups to resample"),
        (("MTT_vgg", "{table}", *COMMON, "--hop", "-1"), "hop_s must be"),
        (("MTT_vgg", "{table}", "--store-thresholds"), "goes with the folder of a model"),
        (("{model}", "{table}", "--store-thresholds"), "received none: pass --split validation"),
        (
            ("{model}", "{table}", "--store-thresholds", "--split", "val", "--calibrated"),
            "--store-thresholds finds thresholds, --calibrated takes the old ones",
        ),
        (("MTT_vgg", "{table}", "--layout", "magnatagatune"), "is not annotations_final.csv"),
    ],
)
def test_bad_input_gives_one_line(arguments, message, table, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    places = {"{table}": table, "{model}": tmp_path / "model"}
    assert message in refused(*(places.get(each, each) for each in arguments))


def test_data_of_which_nothing_can_be_used(tmp_path) -> None:
    (tmp_path / "a.wav").write_bytes(b"no sound")
    (tmp_path / "b.wav").write_bytes(b"no sound")
    (tmp_path / "t.csv").write_text("path,tags\na.wav,rock\nb.wav,pop\n")
    message = refused("MTT_vgg", tmp_path / "t.csv", *COMMON, "--split", "all")
    assert "t: none of the 2 files can be used; the first: " in message


def test_matplotlib_is_asked_for_before_anything_is_computed(table, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    message = refused("MTT_vgg", table, "--plot", Path("p.png"))
    assert "pip install matplotlib" in message
