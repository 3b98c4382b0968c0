"""Waveform or spectrogram: which model is better on how much data? The tutorial's experiment.

    python examples/waveform_vs_spectrogram.py DATA --output experiment

Two models are trained on growing fractions of the training split and tested on the same test
split. One has sample-level filters on the waveform, the other timbral and temporal filters on the
log-mel spectrogram; what follows these front-ends is the same (Pons et al., "End-to-end learning
for music audio tagging at scale", ISMIR 2018). ``--width 1 --patch 15`` are the models of the
paper, the defaults are small ones for a CPU.

A smaller fraction is part of a larger one. Every model is trained for the same number of steps, and
the weights of the lowest validation loss are tested. A command that was ended goes on where it was
when it is started again. ``--output`` gets a folder for each model, ``results.csv`` and the picture
``roc_auc.png``.
"""

from __future__ import annotations

import argparse
import csv
import math
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras
import numpy as np

from musicnn_zoo import block, build_model, evaluate_model, train_model
from musicnn_zoo.datasets import LAYOUTS, Dataset, DatasetWarning, from_folder, open_dataset, split
from musicnn_zoo.evaluation.evaluate import save_evaluation
from musicnn_zoo.networks.architectures import get_architecture
from musicnn_zoo.networks.config import ModelConfig
from musicnn_zoo.plots.drawing import BLUE, GREY, VERMILION, new_figure, save, tidy
from musicnn_zoo.training import FROM_SCRATCH

COLOURS = {"waveform": BLUE, "spectrogram": VERMILION}


@dataclass(frozen=True)
class Result:
    """A row of ``results.csv``; the figures are between 0 and 1, the interval one of 95 %."""

    model: str
    parameters: int
    fraction: float
    clips: int
    seed: int
    best_epoch: int
    roc_auc: float
    roc_auc_low: float
    roc_auc_high: float
    pr_auc: float


def model_configs(width: float, patch_s: float) -> dict[str, ModelConfig]:
    """Return the two models with a part of the filters of the paper, for patches of a length."""

    def part(filters: int) -> int:
        return max(1, round(width * filters))

    shared = {
        "midend": block("residual", filters=part(512)),
        "backend": block("temporal_pooling", units=part(500), interleaved=False, input_bn=False),
    }
    waveform, spectrogram = map(get_architecture, ("atscale_waveform", "atscale_spectrogram"))
    samples = round(patch_s * spectrogram.input.sample_rate)
    return {
        "waveform": replace(
            waveform,
            frontend=block(
                "sample_level",
                filters=[part(filters) for filters in (64, 64, 64, 128, 128, 128, 256)],
                pointwise=None,
                order="relu_bn",
                padding="valid",
            ),
            patch=samples,
            **shared,
        ),
        "spectrogram": replace(
            spectrogram,
            frontend=block(
                "timbral_temporal",
                timbral=[
                    (bands, frames, part(filters))
                    for bands in (0.9, 0.4)
                    for frames, filters in ((7, 16), (3, 32), (1, 64))
                ],
                temporal=[
                    (frames, part(filters))
                    for frames, filters in ((165, 16), (128, 32), (64, 64), (32, 128))
                ],
                temporal_input="mean",
            ),
            patch=samples // spectrogram.input.hop,
            **shared,
        ),
    }


def subset(dataset: Dataset, fraction: float, fractions: list[float], seed: int) -> Dataset:
    """Return the data set with a fraction of its training split.

    Of several fractions each is part of the next larger. Every one has every tag, and no group is
    torn apart.
    """
    kept, before = dataset.subset("train"), 1.0
    for smaller in sorted((each for each in fractions if fraction <= each < 1), reverse=True):
        share = smaller / before
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DatasetWarning)  # of tags that the rest lacks
            kept = split(kept, (share, 0, 1 - share), seed=seed).subset("train")
        before = smaller
    paths, parts = set(kept.paths), dataset.splits or ()
    return dataset.subset(
        [
            index
            for index, (path, part) in enumerate(zip(dataset.paths, parts, strict=True))
            if part != "train" or path in paths
        ]
    )


def train_and_test(
    name: str, fraction: float, seed: int, dataset: Dataset, options: argparse.Namespace
) -> Result:
    """Train one model on a fraction of the training split, or go on with it, and test it."""
    keras.utils.set_random_seed(seed)
    config = model_configs(options.width, options.patch)[name]
    model = build_model(config, tags=dataset.tags, name=name)
    steps = -(-dataset.split_sizes["train"] // options.batch_size)
    recipe = replace(FROM_SCRATCH, batch_size=options.batch_size, steps_per_epoch=steps)
    training = train_model(
        model,
        subset(dataset, fraction, options.fractions, seed),
        options.output / f"{name}_{fraction:g}_{seed}",
        recipe=recipe.with_phases(epochs=options.epochs, learning_rate=options.learning_rate),
        cache=options.cache,
        device=options.device,
        seed=seed,
    )
    found = evaluate_model(model, dataset, engine="tensorflow", device=options.device)
    save_evaluation(found, training.output / "training" / "test.json")
    figures = found.figures
    interval = figures.roc_auc_interval
    return Result(
        model=name,
        parameters=sum(math.prod(weight.shape) for weight in model.trainable_weights),
        fraction=fraction,
        clips=training.dataset.split_sizes["train"],
        seed=seed,
        best_epoch=training.best_epoch,
        roc_auc=figures.roc_auc,
        roc_auc_low=interval.low if interval else math.nan,
        roc_auc_high=interval.high if interval else math.nan,
        pr_auc=figures.pr_auc,
    )


def draw(results: list[Result], path: Path, title: str) -> None:
    """Draw ROC-AUC against the number of clips: each model with its interval, means as lines."""
    figure = new_figure(7, 4.5)
    axes = figure.subplots()
    for side, name in ((0.98, "waveform"), (1.02, "spectrogram")):
        own = [result for result in results if result.model == name]
        at = sorted({result.clips for result in own})
        means = [np.mean([r.roc_auc for r in own if r.clips == clips]) for clips in at]
        axes.plot(
            side * np.array(at), 100 * np.array(means), color=COLOURS[name], linewidth=2,
            label=f"{name}, {own[0].parameters:,} parameters",
        )  # fmt: skip
        for result in own:
            axes.plot(
                [side * result.clips] * 2, [100 * result.roc_auc_low, 100 * result.roc_auc_high],
                color=COLOURS[name], linewidth=1.5, alpha=0.5,
            )  # fmt: skip
            axes.plot(side * result.clips, 100 * result.roc_auc, "o", color=COLOURS[name])
    axes.set_xscale("log")
    sizes = sorted({result.clips for result in results})
    axes.set_xticks(sizes, labels=[f"{size:,}" for size in sizes])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("training clips")
    axes.set_ylabel("ROC-AUC, %")
    figure.suptitle(title, parse_math=False)
    axes.grid(axis="y", color="#E4E4E4")
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    tidy(axes)
    figure.supxlabel(
        "macro average over the tags on the test split; bars: 95 % bootstrap intervals",
        fontsize=9, color=GREY,
    )  # fmt: skip
    save(figure, path)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--layout", choices=LAYOUTS)
    parser.add_argument("--audio-root", type=Path)
    parser.add_argument("--output", type=Path, default=Path("experiment"))
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.125, 0.25, 0.5, 1])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--width", type=float, default=0.125, help="part of the paper's filters")
    parser.add_argument("--patch", type=float, default=1.5, help="in seconds")
    parser.add_argument("--cache", type=Path, help="folder for decoded audio")
    parser.add_argument("--device", help="as gpu:0")
    options = parser.parse_args()
    if not all(0 < fraction <= 1 for fraction in options.fractions):
        parser.error("--fractions must be above 0 and at most 1")

    if options.data.is_dir() and options.layout in (None, "folder"):
        dataset = from_folder(options.data, group_by="subfolder")
    else:
        dataset = open_dataset(options.data, layout=options.layout, audio_root=options.audio_root)
    if dataset.splits is None:
        dataset = split(dataset, (0.7, 0.1, 0.2))
    print(dataset, flush=True)
    results = []
    for fraction in sorted(set(options.fractions)):
        for seed in options.seeds:
            for name in COLOURS:
                result = train_and_test(name, fraction, seed, dataset, options)
                results.append(result)
                print(
                    f"{result.clips:6} clips, seed {seed}, {name:11}  ROC-AUC "
                    f"{result.roc_auc:.1%} ({result.roc_auc_low:.1%} to {result.roc_auc_high:.1%})",
                    flush=True,
                )
    with (options.output / "results.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, asdict(results[0]))
        writer.writeheader()
        writer.writerows(map(asdict, results))
    draw(results, options.output / "roc_auc.png", f"Waveform or spectrogram, on {dataset.name!r}")


if __name__ == "__main__":
    main()
