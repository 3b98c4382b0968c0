"""How well a library hears: ``python -m benchmarks.likeness FOLDER``.

It makes tracks of known classes with the examples' own maker in FOLDER, unless they are there,
indexes them by MTT_musicnn, and prints a line of JSON for each question: how many of the ten most
similar tracks are of the class of the seed, what ways between two tracks are like, and how well
labels are told. Intervals are of 95 %, by bootstrap over songs.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import soundfile
from numpy.typing import NDArray

from musicnn_zoo import Library

MAKER = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "make_synthetic.py"))
STYLES = {
    "ballad": ("sine", "low", "slow", ("chords",)),
    "club": ("saw", "", "fast", ("drums",)),
    "chimes": ("bell", "high", "slow", ()),
    "chip": ("square", "high", "fast", ()),
    "drone": ("saw", "low", "slow", ("chords", "tremolo")),
    "radio": ("square", "", "", ("noise", "chords")),
}
"""Timbre, register, pace and extras of the songs of each style."""
_WAYS, _LENGTH = 40, 15
_DRAWN = 1000


def make_styles(root: Path, songs: int, seconds: float) -> None:
    """Make a folder of songs for each style."""
    for style, (name, (timbre, register, pace, extras)) in enumerate(STYLES.items()):
        (root / name).mkdir(parents=True)
        for number in range(songs):
            random = np.random.default_rng([style, number])
            song = dataclasses.replace(
                MAKER["draw_song"](number, style),
                timbre=timbre, register=register, pace=pace, extras=extras,
                tonic=int(random.integers(*MAKER["REGISTERS"][register], endpoint=True)),
                beat_s=60 / random.uniform(*MAKER["PACES"][pace]),
            )  # fmt: skip
            sound = MAKER["play"](song, seconds, random)
            soundfile.write(root / name / f"{number:02}.flac", sound, MAKER["RATE"])


def interval(values: NDArray[np.float64]) -> list[float]:
    """Return the mean and the interval of it."""
    random = np.random.default_rng(0)
    means = [random.choice(values, len(values)).mean() for _ in range(_DRAWN)]
    return [round(float(x), 4) for x in (values.mean(), *np.percentile(means, [2.5, 97.5]))]


def ask_similar(library: Library, root: Path, layer: str) -> dict[str, Any]:
    """Return how many of the ten most similar are of the class of the seed."""
    paths = sorted(root.rglob("*.flac"))

    def class_of(path: str | Path) -> str:
        return Path(path).relative_to(root).parts[0]

    same = np.array(
        [
            np.mean([class_of(found) == class_of(path) for found in near.paths])
            for path in paths
            for near in [library.similar(path, k=10, layer=layer)]
        ]
    )
    return {"tracks": len(paths), "layer": layer, "same_class": interval(same)}


def ask_ways(library: Library, root: Path) -> dict[str, Any]:
    """Return how many ways between random pairs are monotone, and how long they are."""
    paths = sorted(root.rglob("*.flac"))
    random = np.random.default_rng(0)
    monotone, lengths = 0, []
    for _ in range(_WAYS):
        start, end = random.choice(len(paths), 2, replace=False)
        way = library.playlist(paths[start], paths[end], n=_LENGTH)
        steps = np.diff([[t.values["to_start"], t.values["to_end"]] for t in way], axis=0)
        monotone += bool((steps[:, 0] <= 0).all() and (steps[:, 1] >= 0).all())
        lengths.append(len(way))
    return {
        "ways": _WAYS, "monotone": monotone, "asked": _LENGTH,
        "full": lengths.count(_LENGTH), "lengths": sorted(lengths),
    }  # fmt: skip


def ask_labels(library: Library, root: Path, labels: Sequence[str]) -> dict[str, list[float]]:
    """Return the areas under the curves of labels."""
    from sklearn.metrics import roc_auc_score

    rows = list(csv.DictReader((root / "clips.csv").open(encoding="utf-8")))
    songs = np.array([row["group"] for row in rows])
    areas = {}
    for label in labels:
        values = {track.path: track.values[label] for track in library.find(f"{label} >= 0")}
        scores = np.array([values[str((root / row["path"]).resolve())] for row in rows])
        truth = np.array([label in row["tags"].split(";") for row in rows])
        random = np.random.default_rng(0)
        drawn = []
        for _ in range(_DRAWN):
            of_song = random.choice(np.unique(songs), len(np.unique(songs)))
            picked = np.concatenate([np.flatnonzero(songs == song) for song in of_song])
            if truth[picked].any() and not truth[picked].all():
                drawn.append(roc_auc_score(truth[picked], scores[picked]))
        area = (roc_auc_score(truth, scores), *np.percentile(drawn, [2.5, 97.5]))
        areas[label] = [round(float(x), 3) for x in area]
    return areas


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Make tracks in FOLDER and ask for them."""
    folder = folder.resolve()
    for name in ("styles", "timbres", "clips"):
        root = folder / name
        if not root.exists():
            if name == "styles":
                make_styles(root, 50, 6)
            else:
                clips = 300 if name == "timbres" else 200
                MAKER["make_classes" if name == "timbres" else "make_table"](root, clips, 6.0, 0)
        library = Library(folder / f"{name}.sqlite")
        library.index(root, model="MTT_musicnn", layer=["penultimate", "timbral"])
        if name == "clips":
            told: list[Any] = [ask_labels(library, root, ("drums", "slow", "fast"))]
        else:
            layers = ("penultimate",) if name == "styles" else ("penultimate", "timbral")
            told = [ask_similar(library, root, layer) for layer in layers]
            told.append(ask_ways(library, root))
        for each in told:
            click.echo(f"{name}: {json.dumps(each)}")


if __name__ == "__main__":
    main()
