"""The examples that train and evaluate, run as a user would, at a small size.

Those that need no training are in tests/test_examples_data.py.
"""

import csv
import json
import math
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

import musicnn_zoo
from musicnn_zoo.datasets import from_table, split
from musicnn_zoo.networks.architectures import ARCHITECTURES

EXPERIMENT = (
    "--epochs", 1, "--batch-size", 4, "--width", 0.06, "--patch", 1.5, "--fractions", 0.5, 1
)  # fmt: skip


def run(example: str, *arguments: object, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{example}.py"), *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows_of(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))


def tags_of(model: Path) -> set[str]:
    return set(json.loads((model / "tags.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small data set, in which the examples run one after the other."""
    made = tmp_path_factory.mktemp("examples")
    run("make_synthetic", "data", "--clips", 48, "--seconds", 2, cwd=made)
    return made


@pytest.fixture(scope="module")
def trained(folder: Path) -> str:
    return run(
        "train_from_scratch", "data/clips.csv", "--architecture", "dieleman_mel",
        "--epochs", 2, "--batch-size", 8, cwd=folder,
    )  # fmt: skip


@pytest.mark.slow
def test_a_model_is_trained_from_scratch(trained: str, folder: Path) -> None:
    assert re.findall(r"^epoch (\d): loss \d\.\d+, validation ", trained, flags=re.M) == ["1", "2"]
    assert "my_dieleman_mel trained for 2 epochs on " in trained
    assert tags_of(folder / "my_model") == set(from_table(folder / "data" / "clips.csv").tags)


@pytest.mark.slow
def test_a_model_is_evaluated_and_gets_thresholds(trained: str, folder: Path) -> None:
    said = run("evaluate", "my_model", "data/clips.csv", "--plot", "figures.png", cwd=folder)
    assert "thresholds stored: for " in said
    assert re.search(r"^ROC-AUC [\d.]+ \(", said, flags=re.MULTILINE)
    assert "thresholds: the model's own" in said
    assert (folder / "figures.png").read_bytes()[1:4] == b"PNG"
    assert {row["tag"] for row in rows_of(folder / "figures.csv")} == tags_of(folder / "my_model")
    assert (folder / "my_model" / "thresholds.json").exists()


@pytest.mark.slow
def test_a_model_is_fine_tuned(folder: Path) -> None:
    said = run(
        "finetune", "data/clips.csv", "--trainable", "backend", "--head-epochs", 1, "--epochs", 1,
        "--batch-size", 16, "--output", "tuned", cwd=folder,
    )  # fmt: skip
    assert "head: 2 weights are trained" in said
    assert re.search(r"backend: \d+ weights are trained", said)
    assert re.search(r"test patches: loss [\d.]+, roc_auc [\d.]+", said)
    assert "tuned says of" in said
    assert tags_of(folder / "tuned") == set(from_table(folder / "data" / "clips.csv").tags)


@pytest.mark.slow
def test_the_experiment_trains_and_draws_and_goes_on(folder: Path) -> None:
    command = ("waveform_vs_spectrogram", "data/clips.csv", "--output", "experiment", *EXPERIMENT)
    said = run(*command, cwd=folder)
    output = folder / "experiment"
    rows = rows_of(output / "results.csv")
    assert [(row["model"], float(row["fraction"])) for row in rows] == [
        ("waveform", 0.5), ("spectrogram", 0.5), ("waveform", 1), ("spectrogram", 1)
    ]  # fmt: skip
    assert (output / "roc_auc.png").read_bytes()[1:4] == b"PNG"
    assert int(rows[0]["clips"]) < int(rows[2]["clips"])
    for row in rows:
        run_folder = output / f"{row['model']}_{float(row['fraction']):g}_0" / "training"
        tested = json.loads((run_folder / "test.json").read_text(encoding="utf-8"))
        assert tested["figures"]["roc_auc"] == float(row["roc_auc"])
        assert float(row["roc_auc_low"]) <= float(row["roc_auc"]) <= float(row["roc_auc_high"])
    assert run(*command, cwd=folder) == said


# --- the parts of the experiment


@pytest.fixture(scope="module")
def experiment() -> dict[str, object]:
    return runpy.run_path(str(ROOT / "examples" / "waveform_vs_spectrogram.py"))


@pytest.mark.slow
def test_the_models_of_the_experiment_are_those_of_the_paper(experiment) -> None:
    full = experiment["model_configs"](width=1, patch_s=15)
    for name, config in full.items():
        architecture = ARCHITECTURES[f"atscale_{name}"]
        assert (config.input, config.patch) == (
            architecture.config.input,
            architecture.config.patch,
        )
        model = musicnn_zoo.build_model(config)
        sizes = [math.prod(weight.shape) for weight in model.trainable_weights]
        assert sum(sizes) == architecture.parameters


def test_small_ones_differ_in_the_front_end_alone(experiment) -> None:
    small = experiment["model_configs"](width=0.125, patch_s=1.5)
    assert small["waveform"].midend == small["spectrogram"].midend
    assert small["waveform"].backend == small["spectrogram"].backend
    sizes = [musicnn_zoo.build_model(config).count_params() for config in small.values()]
    assert max(sizes) < 1.3 * min(sizes)


def test_fractions_are_nested_and_keep_groups_together(experiment, folder: Path) -> None:
    dataset = from_table(folder / "data" / "clips.csv")
    fractions = [0.3, 0.6, 1]
    subsets = [experiment["subset"](dataset, each, fractions, seed=0) for each in fractions]
    trained_on = [set(part.subset("train").paths) for part in subsets]
    assert trained_on[0] < trained_on[1] < trained_on[2] == set(dataset.subset("train").paths)
    for part in subsets:
        assert part.subset("test").paths == dataset.subset("test").paths
        assert part.subset("validation").paths == dataset.subset("validation").paths
        assert part.subset("train").positives.all()
        groups, others = set(part.subset("train").groups), set(dataset.subset("train").groups)
        left_out = set(dataset.subset("train").paths) - set(part.subset("train").paths)
        torn = {g for g, p in zip(dataset.groups, dataset.paths, strict=True) if p in left_out}
        assert not groups & torn
        assert groups <= others


def test_data_without_groups_is_divided_by_tracks(experiment) -> None:
    labels = np.eye(2, dtype=bool)[np.arange(40) % 2]
    dataset = musicnn_zoo.datasets.Dataset(
        "plain", ("a", "b"), tuple(f"{index}.wav" for index in range(40)), labels
    )
    dataset = split(dataset, (0.5, 0.25, 0.25))
    half = experiment["subset"](dataset, 0.5, [0.5], seed=0)
    assert half.split_sizes == {"train": 10, "validation": 10, "test": 10}
    assert half.subset("train").positives.tolist() == [5, 5]
