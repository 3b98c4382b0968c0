"""Compare ways to learn new classes: ``python -m benchmarks.transfer DATA``.

DATA is a folder of classes, or a table of files with one class each, divided into train,
validation and test; such as the ``clips.csv`` that :mod:`benchmarks.instruments` writes. Each
method learns from train, takes the settings that are best on validation (of equals the first) and
is then judged once on test. Intervals are of 95 %, by a bootstrap over groups if the data set has
them, else over tracks.

A method is a function that takes the data set and returns the scores of all tracks,
``(tracks, classes)``, and the settings that it took. ``METHODS`` has one for each row of the table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import librosa
import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from benchmarks import report
from musicnn_zoo import Embedder, Tagger, finetune_model, train_model
from musicnn_zoo.datasets import Dataset, open_dataset
from musicnn_zoo.evaluation.metrics import evaluate_classes
from musicnn_zoo.evaluation.results import ClassEvaluation
from musicnn_zoo.training import FINETUNE

Scores = NDArray[np.float64]
Found = tuple[Scores, dict[str, Any]]
Method = Callable[[Dataset], Found]

FOLDER = Path(__file__).parent
MODELS = ("MTT_musicnn", "MSD_musicnn", "MTT_vgg", "MSD_vgg")
TUNED = "MTT_musicnn"
JUDGED = ("validation", "test")
PACKAGES = ("musicnn-zoo", "librosa", "scikit-learn", "tensorflow", "onnxruntime")


def chance(dataset: Dataset) -> Found:
    """Take every track for the most frequent class of train."""
    frequencies = dataset.subset("train").labels.mean(axis=0)
    return np.tile(frequencies, (len(dataset), 1)), {}


def mfcc_svm(dataset: Dataset) -> Found:
    """Fit a support vector machine with an RBF kernel to statistics of MFCCs."""
    with ProcessPoolExecutor() as pool:
        rows = np.array(list(pool.map(mfcc_statistics, dataset.paths, chunksize=16)))
    machines = [
        SVC(C=strength, gamma=gamma, break_ties=True)
        for strength in np.logspace(-1, 3, 9).tolist()
        for gamma in np.logspace(-4, -1, 7).tolist()
    ]
    return _best(dataset, rows, machines, ("C", "gamma"))


def mfcc_statistics(path: str) -> NDArray[np.float64]:
    """Return means and standard deviations of 20 MFCCs and their first and second deltas."""
    sound, rate = librosa.load(path, sr=None)
    mfcc = librosa.feature.mfcc(y=sound, sr=rate, n_mfcc=20)
    frames = np.concatenate([mfcc, *(librosa.feature.delta(mfcc, order=n) for n in (1, 2))])
    return np.concatenate([frames.mean(axis=1), frames.std(axis=1)])


def linear(dataset: Dataset, *, model: str) -> Found:
    """Fit a linear classifier to embeddings, the patches of a track averaged."""
    rows = Embedder(model, cache=FOLDER / ".cache" / "embeddings").transform(dataset.paths)
    strengths = np.logspace(-5, 2, 15).tolist()
    regressions = [LogisticRegression(C=strength, max_iter=5000) for strength in strengths]
    return _best(dataset, rows, regressions, ("C",))


def finetuning(dataset: Dataset, *, model: str, phases: int) -> Found:
    """Train a new head, and then all with it, by the recipe of ``musicnn-zoo finetune``.

    Each phase is a run of its own, so that the second need not train the head again. One that
    was ended goes on where it was.
    """
    import keras

    keras.utils.set_random_seed(0)
    tuned = finetune_model(
        model, tags=dataset.tags, activation="softmax", name=f"{dataset.name}_{model}"
    )
    settings: dict[str, Any] = {"epochs": [], "best_epochs": []}
    for phase in FINETUNE.phases[:phases]:
        training = train_model(
            tuned,
            dataset,
            FOLDER / ".cache" / f"{dataset.name}-{model}-{phase.trainable}",
            recipe=replace(FINETUNE, phases=(phase,)),
        )
        settings["epochs"].append(len(training.history))
        settings["best_epochs"].append(training.best_epoch)
    rows = [result.unwrap() for result in Tagger(tuned).taggram_files(dataset.paths)]
    return np.array([row.scores.mean(axis=0, dtype=np.float64) for row in rows]), settings


METHODS: dict[str, Method] = {
    "chance": chance,
    "MFCC + SVM": mfcc_svm,
    **{f"{model}, linear classifier": partial(linear, model=model) for model in MODELS},
    **{
        f"{TUNED}, {label}": partial(finetuning, model=TUNED, phases=phases)
        for phases, label in enumerate(("new head", "all fine-tuned"), start=1)
    },
}


def judge(dataset: Dataset, scores: Scores) -> dict[str, ClassEvaluation]:
    """Compare scores with the classes of the validation and the test tracks."""
    judged = {}
    for part in JUDGED:
        members = np.array(dataset.splits) == part
        tracks = dataset.subset(members)
        classes = tracks.labels.argmax(axis=1)
        judged[part] = evaluate_classes(
            classes, scores[members], tracks.tags, groups=tracks.groups, split=part
        )
    return judged


def _best(
    dataset: Dataset,
    rows: NDArray[Any],
    candidates: Iterable[ClassifierMixin],
    settings: Iterable[str],
) -> Found:
    """Fit the candidates to train; return the scores of the best on validation."""
    classes = dataset.labels.argmax(axis=1)
    train, validation = (np.array(dataset.splits) == part for part in ("train", "validation"))
    fitted = [
        make_pipeline(StandardScaler(), candidate).fit(rows[train], classes[train])
        for candidate in candidates
    ]
    best = max(fitted, key=lambda one: one.score(rows[validation], classes[validation]))
    return best.decision_function(rows), {name: best[-1].get_params()[name] for name in settings}


def _as_row(settings: dict[str, Any], judged: dict[str, ClassEvaluation]) -> dict[str, Any]:
    row: dict[str, Any] = {"settings": settings}
    for part, found in judged.items():
        interval = found.accuracy_interval
        row[part] = {
            "accuracy": found.accuracy,
            "interval": interval and [interval.low, interval.high],
            "recall": {one.name: one.recall for one in found.per_class},
            "confusion": found.confusion,
        }
    return row


def _table(rows: dict[str, dict[str, Any]]) -> str:
    header = ["accuracy in %", *JUDGED, "95 % interval of the test"]
    lines = []
    for name, row in rows.items():
        accuracies = [f"{100 * row[part]['accuracy']:.1f}" for part in JUDGED]
        interval = "–".join(f"{100 * end:.1f}" for end in row["test"]["interval"] or ())
        lines.append([name, *accuracies, interval])
    return report.table(header, lines)


@click.command(context_settings={"show_default": True})
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("--method", multiple=True, type=click.Choice(list(METHODS)), help="This one only.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=FOLDER / "results" / "transfer.json",
    help="Results; those of other methods on the same data, if it has any, are kept. Its folder "
    "is made if it is not there.",
)
def main(data: Path, method: tuple[str, ...], output: Path) -> None:
    """Compare ways to learn the classes of DATA; see `python -m pydoc benchmarks.transfer`."""
    dataset = open_dataset(data)
    output.parent.mkdir(parents=True, exist_ok=True)
    described = {"tracks": dataset.split_sizes, "classes": dataset.tags}
    rows: dict[str, Any] = {}
    if output.exists():
        before = json.loads(output.read_text(encoding="utf-8"))
        if before["data"] == json.loads(json.dumps(described)):
            rows = before["rows"]
    for name in method or METHODS:
        scores, settings = METHODS[name](dataset)
        rows[name] = _as_row(settings, judge(dataset, scores))
        results = {
            "command": f"python -m benchmarks.transfer {data.name}",
            "data": described,
            "versions": {package: version(package) for package in PACKAGES},
            "rows": {each: rows[each] for each in METHODS if each in rows},
        }
        output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    click.echo(_table(results["rows"]))


if __name__ == "__main__":
    main()
