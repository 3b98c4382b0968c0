"""Commands on data sets: train, finetune, evaluate."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from musicnn_zoo.cli.options import (
    check_plot,
    engine_options,
    jobs_option,
    patch_options,
    plot_option,
    report_unusable,
    say_drawn,
)
from musicnn_zoo.cli.parts import (
    PATH,
    POSITIVE,
    WHOLE,
    ChoiceOrNone,
    Options,
    option,
    option_group,
    path_option,
)
from musicnn_zoo.datasets import LAYOUTS, open_dataset
from musicnn_zoo.datasets.dataset import SPLITS, Dataset, split_name
from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.evaluation.results import AUTO, UNSEEN
from musicnn_zoo.files import check_ending
from musicnn_zoo.machine.installation import require_keras, require_sklearn
from musicnn_zoo.networks.architectures import ARCHITECTURES, get_architecture
from musicnn_zoo.runtimes.engine import PRECISIONS
from musicnn_zoo.text import printable
from musicnn_zoo.training import FINETUNE, FROM_SCRATCH, Phase, Recipe, make_deterministic
from musicnn_zoo.training.recipes import TRAINABLE
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL

if TYPE_CHECKING:
    from musicnn_zoo.networks.build import TaggingModel


data_options = option_group(
    option("--layout", type=click.Choice(LAYOUTS),
           help="What DATA is.  [default: a folder of classes, or a table if a file]"),
    path_option("--audio-root", metavar="DIR", kind=PATH,
                help="Where the paths of a table start.  [default: where it lies]"),
    option("--group-by", type=ChoiceOrNone(["subfolder", "none"]), default="subfolder",
           help="Whether files of one subfolder of a class, such as an artist's, stay "
           "together when a folder is split."),
)  # fmt: skip
"""How DATA is read, as :func:`musicnn_zoo.datasets.open_dataset` takes it."""


Activation = Literal["sigmoid", "softmax"]
Maker = Callable[["Dataset", Activation], "TaggingModel"]


def _epochs(name: str, phase: Phase, what: str) -> Options:
    return option(name, type=WHOLE, default=phase.epochs, metavar="N", help=what)


def _learning_rate(name: str, phase: Phase, when: str) -> Options:
    return option(name, type=POSITIVE, default=phase.learning_rate, metavar="X",
                  help=f"Learning rate of Adam, {when}.")  # fmt: skip


def _halve_after(phase: Phase) -> Options:
    return option("--halve-after", type=WHOLE, default=phase.halve_after, metavar="N",
                  help="Halve the learning rate after N epochs without a lower validation "
                  "loss.")  # fmt: skip


def _training_options(recipe: Recipe) -> Options:
    """Options of both commands, with the recipe's own values as defaults."""
    pair: dict[str, Any] = {"type": float, "nargs": 2, "metavar": "LOW HIGH"}
    return option_group(
        path_option("-o", "--output", required=True, metavar="FOLDER",
                    help="Folder for the model, its checkpoint and its logs."),
        data_options,
        option("--validation", type=click.FloatRange(0, 1), default=0.1, metavar="PART",
               help="Part of the tracks, if DATA has no splits of its own."),
        option("--test", type=click.FloatRange(0, 1), default=0.1, metavar="PART",
               help="The same for testing, which is done once, at the end."),
        option("--single-label/--multi-label", default=None,
               help="One tag a track (softmax), or any number (sigmoid).  "
               "[default: as DATA has it]"),
        option("--balance", is_flag=True, help="Weigh rare tags as much as frequent ones."),
        option("--batch-size", type=WHOLE, default=recipe.batch_size, metavar="N",
               help="Patches in a step."),
        option("--steps-per-epoch", type=WHOLE, metavar="N",
               help="Steps between two validations.  [default: one patch of every track]"),
        option("--l2", type=click.FloatRange(min=0), default=recipe.l2, metavar="X",
               help="Weight of the L2 penalty on all kernels."),
        option("--time-shift", "time_shift_s", type=POSITIVE, metavar="SECONDS",
               help="Augmentation: shift each patch by up to so much."),
        option("--gain", "gain_db", **pair, help="Augmentation: change the level, in dB."),
        option("--noise", "noise_snr_db", **pair,
               help="Augmentation: add noise at this signal-to-noise ratio, in dB."),
        option("--freq-mask", type=WHOLE, metavar="BANDS",
               help="Augmentation: SpecAugment's mask over mel bands."),
        option("--time-mask", type=WHOLE, metavar="FRAMES",
               help="Augmentation: SpecAugment's mask over frames."),
        option("--mixup", type=POSITIVE, metavar="ALPHA",
               help="Augmentation: mix pairs of patches and of their tags."),
        path_option("--cache", metavar="DIR",
                    help="Keep decoded audio in DIR: 64 kB for each second."),
        option("--precision", type=click.Choice(PRECISIONS), default="float32",
               help="Precision of the network on a GPU (mixed precision)."),
        option("--device", metavar="DEVICE", help="cpu, gpu, gpu:1; gpu:0,gpu:1 share each batch."),
        option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, metavar="N",
               help="Seed of all random numbers."),
        option("--deterministic", is_flag=True,
               help="Compute the same numbers each time on a CPU; slower."),
        option("-j", "--jobs", type=WHOLE, metavar="N",
               help="Threads that read files.  [default: one a core]"),
        option("--overwrite", is_flag=True,
               help="Start over instead of continuing the run in FOLDER."))  # fmt: skip


(_SCRATCH,) = FROM_SCRATCH.phases
_HEAD, _REST = FINETUNE.phases


@click.command()
@option("-a", "--architecture", type=click.Choice(list(ARCHITECTURES)), required=True,
        metavar="NAME", help="One of 'musicnn-zoo models --untrained'.")  # fmt: skip
@path_option("--data", required=True, metavar="DATA", kind=PATH,
             help="A folder of classes, or a table of paths and tags.")  # fmt: skip
@_training_options(FROM_SCRATCH)
@_epochs("--epochs", _SCRATCH, "Epochs, at most.")
@_learning_rate("--learning-rate", _SCRATCH, "at the start")
@_halve_after(_SCRATCH)
@option("--stop-after", type=WHOLE, metavar="N",
        help="End after N epochs without a lower validation loss.  [default: never]")  # fmt: skip
def train(architecture: str, data: Path, **options: Any) -> None:
    """Train an architecture from scratch on DATA, with musicnn's recipe.

    Each epoch sees one random patch of every track. The weights of the lowest validation loss are
    kept in FOLDER, which is a model like any other. An interrupted run continues when it is
    started again with the same options.
    """
    _check_installation()

    def make(dataset: Dataset, activation: Activation) -> TaggingModel:
        from musicnn_zoo.networks.build import build_model

        config = replace(get_architecture(architecture), activation=activation)
        return build_model(config, tags=dataset.tags, name=f"{_name(dataset)}_{architecture}")

    phase = _taken(options, "epochs", "learning_rate", "halve_after", "stop_after")
    recipe = FROM_SCRATCH.with_phases(**phase)
    _learn(data, make, recipe, **options)


@click.command()
@click.argument("data", type=PATH)
@option("-m", "--model", default=DEFAULT_MODEL, metavar="MODEL",
        help="One of 'musicnn-zoo models', hf://user/repository, or a folder.")  # fmt: skip
@_training_options(FINETUNE)
@option("--trainable", type=click.Choice(TRAINABLE), default=_REST.trainable,
        help="What is trained after the new head.")  # fmt: skip
@_epochs("--head-epochs", _HEAD, "Epochs of the head alone, at most.")
@_epochs("--epochs", _REST, "Epochs of what follows, at most.")
@_learning_rate("--head-learning-rate", _HEAD, "for the head alone")
@_learning_rate("--learning-rate", _REST, "for what follows")
@_halve_after(_HEAD)
@option("--stop-after", type=WHOLE, default=_HEAD.stop_after, metavar="N",
        help="Go on to what follows, or end, after N such epochs.")  # fmt: skip
@option("--train-batchnorm", is_flag=True,
        help="Train BatchNorm layers, too, with what follows the head.")  # fmt: skip
def finetune(data: Path, model: str, trainable: Any, train_batchnorm: bool, **options: Any) -> None:
    """Give a pretrained model a new head for the tags of DATA, and train it.

    DATA is a folder with a subfolder of audio for each class, a CSV or TSV of paths and tags, or
    with --layout a published data set. The new head is trained first, then all at a lower
    learning rate. The weights of the lowest validation loss are kept in FOLDER, which is a
    model like any other. An interrupted run continues when it is started again with the same
    options.
    """
    from musicnn_zoo.zoo.load import find_pretrained

    _check_installation()
    pretrained = find_pretrained(model)
    pretrained.fetch()
    head = _taken(options, "head_epochs", "head_learning_rate")
    rest = _taken(options, "epochs", "learning_rate")
    phases = [replace(_HEAD, **{name.removeprefix("head_"): head[name] for name in head})]
    if trainable != "head":
        batchnorm: Any = "trainable" if train_batchnorm else "frozen"
        phases.append(replace(_REST, trainable=trainable, batchnorm=batchnorm, **rest))
    recipe = replace(FINETUNE, phases=tuple(phases)).with_phases(
        **_taken(options, "halve_after", "stop_after")
    )

    def make(dataset: Dataset, activation: Activation) -> TaggingModel:
        from musicnn_zoo.training.fit import finetune_model

        return finetune_model(
            pretrained.load(),
            tags=dataset.tags,
            activation=activation,
            name=f"{_name(dataset)}_{pretrained.spec.name}",
        )

    _learn(data, make, recipe, **options)


def _check_installation() -> None:
    """Refuse to begin what would fail at its end, when the model is measured."""
    require_keras("training")
    require_sklearn("training")


def _learn(
    data: Path,
    make: Maker,
    recipe: Recipe,
    *,
    output: Path,
    validation: float,
    test: float,
    single_label: bool | None,
    seed: int,
    deterministic: bool,
    **options: Any,
) -> None:
    """Train what ``make`` gives for DATA; ``options`` are the others of ``_training_options``."""
    dataset = open_dataset(data, **_taken(options, "layout", "audio_root", "group_by"))
    if dataset.splits is None:
        dataset = _divided(dataset, (1 - validation - test, validation, test), seed)
    if single_label and not dataset.single_label:
        raise ArgumentError(
            f"--single-label needs exactly one tag a track; {dataset.name} has tracks with "
            "several or none"
        )
    classes = dataset.single_label if single_label is None else single_label
    click.echo(printable(repr(dataset)), err=True)

    import keras

    from musicnn_zoo.augmentation import Augmentation
    from musicnn_zoo.training.fit import train_model

    if deterministic:
        make_deterministic(seed)
    else:
        keras.utils.set_random_seed(seed)
    augmenting = _taken(
        options, "time_shift_s", "gain_db", "noise_snr_db", "freq_mask", "time_mask", "mixup"
    )
    augmentation = Augmentation(**{name: value for name, value in augmenting.items() if value})
    model = make(dataset, "softmax" if classes else "sigmoid")
    recipe = replace(recipe, **_taken(options, "batch_size", "steps_per_epoch", "l2", "balance"))
    options |= {"recipe": recipe, "augmentation": augmentation, "seed": seed}
    options |= {"callbacks": [_line_printer()], "progress": sys.stderr.isatty()}
    try:
        training = train_model(model, dataset, output, **options)
    except KeyboardInterrupt:
        click.echo("\nstopped; the same command continues after the last finished epoch", err=True)
        raise click.exceptions.Exit(130) from None
    click.echo(str(training), err=True)
    _measure(dataset, output, classes=classes)


def _taken(options: dict[str, Any], *names: str) -> dict[str, Any]:
    """Take some options out of others."""
    return {name: options.pop(name) for name in names}


def _divided(dataset: Dataset, fractions: tuple[float, float, float], seed: int) -> Dataset:
    from musicnn_zoo.datasets import DatasetError, split

    try:
        return split(dataset, fractions, seed=seed)
    except DatasetError as error:
        if dataset.groups is None:
            raise
        raise DatasetError(
            f"{error} Tracks of a group stay together; for a folder, --group-by none "
            "treats each track separately"
        ) from error


def _measure(dataset: Dataset, output: Path, *, classes: bool) -> None:
    """Find thresholds on the validation split, then measure on the test split if there is one."""
    import keras

    from musicnn_zoo.evaluation.evaluate import evaluate_model, store_thresholds

    # A model that is used once is not worth converting.
    engine: Any = keras.backend.backend()
    if not classes:
        found = evaluate_model(output, dataset, split="validation", bootstrap=0, engine=engine)
        stored = store_thresholds(output, found)
        click.echo(printable(f"thresholds stored: {stored.describe()}"), err=True)
    if "test" not in dataset.split_sizes:
        return
    thresholds: Any = None if classes else "calibrated"
    measured = evaluate_model(output, dataset, split="test", thresholds=thresholds, engine=engine)
    report = output / "training" / "test.json"
    report.write_text(json.dumps(measured.to_dict(), indent=2) + "\n", encoding="utf-8")
    click.echo(str(measured))


def _line_printer() -> Any:
    """Return a callback that prints a line on standard error after each epoch."""
    from keras.callbacks import LambdaCallback

    def show(epoch: int, logs: dict[str, float]) -> None:
        figures = ", ".join(f"{name} {value:.4f}" for name, value in logs.items())
        click.echo(f"epoch {epoch + 1}: {figures}", err=True)

    return LambdaCallback(on_epoch_end=show)


def _name(dataset: Dataset) -> str:
    """Return the name of a data set as part of the name of a model."""
    letters = (character if character.isalnum() else "_" for character in dataset.name)
    return "".join(letter for letter in letters if letter.isascii()).strip("_")[:48] or "my"


@click.command()
@click.argument("model")
@click.argument("data", type=PATH)
@data_options
@option("--split", default=AUTO, show_default=False, metavar="SPLIT",
        help=f"{', '.join(SPLITS)}, {UNSEEN} (what MODEL did not learn from), or all.  "
        f"[default: test; {UNSEEN} if DATA has no splits and MODEL does not know all of it]",
        )  # fmt: skip
@option("--tags", type=click.Choice(["all", "common"]), default="all",
        help="Whether MODEL and DATA must know the same tags.")  # fmt: skip
@option("--untagged", type=click.Choice(["keep", "drop"]), default="keep",
        help="What to do with tracks that have none of the tags.")  # fmt: skip
@option("--as-classes/--as-tags", default=None,
        help="One class a track, or any number of tags.  [default: classes if MODEL ends in "
        "a softmax and DATA has one tag a track]")  # fmt: skip
@option("--calibrated", is_flag=True,
        help="F1 at the thresholds of MODEL, not at the best ones for these tracks.")  # fmt: skip
@option("--bootstrap", type=int, default=1000, metavar="N",
        help="Resamples for the intervals; 0 for none.")  # fmt: skip
@option("--resample", type=click.Choice(["tracks", "groups"]),
        help="What the bootstrap draws.  [default: groups (artists) if DATA has some]")  # fmt: skip
@option("--seed", type=int, default=0, metavar="N", help="Seed of the bootstrap.")
@patch_options("one patch")
@engine_options
@jobs_option
@path_option("-o", "--output", help="Write the figures there, too: .json, .csv or .txt.")
@path_option("--scores", help="Write the scores of all tracks: .csv or .npz.")
@plot_option("the figures")
@option("--store-thresholds", "storing", is_flag=True,
        help="Put the thresholds of best F1 on the validation split into the folder MODEL, "
        "for 'tag --threshold calibrated'.")  # fmt: skip
def evaluate(
    model: str,
    data: Path,
    split: str,
    calibrated: bool,
    output: Path | None,
    scores: Path | None,
    plot: Path | None,
    storing: bool,
    **options: Any,
) -> None:
    """Measure how good MODEL is on DATA: figures with intervals, in total and for each tag.

    MODEL is one of those that 'musicnn-zoo models' lists, hf://user/repository, or a folder. DATA
    is a folder with a subfolder of audio for each class, a CSV or TSV of paths and tags, or with
    --layout a published data set.

    The folder of a model that was trained keeps its split. Where DATA has none, that decides which
    tracks are the test part, and in any case it is said how many of the tracks MODEL was trained
    on. Files are known by their sound, whatever they are called, unless they were encoded anew.

    Scores are averaged over the patches of a track. Exit code 1 says that files of DATA could not
    be used; the figures are those of the others.
    """
    from musicnn_zoo.evaluation.evaluate import (
        REPORT_ENDINGS,
        SCORE_ENDINGS,
        evaluate_model,
        save_evaluation,
        save_scores,
        store_thresholds,
    )

    require_sklearn("an evaluation")
    chosen = None if split == "all" else split
    if storing:
        _check_storing(model, chosen, calibrated)
    if output is not None:
        check_ending(output, REPORT_ENDINGS)
    if scores is not None:
        check_ending(scores, SCORE_ENDINGS)
    check_plot(plot)
    dataset = open_dataset(data, **_taken(options, "layout", "audio_root", "group_by"))
    options |= {"split": chosen, "thresholds": "calibrated" if calibrated else None}
    found = evaluate_model(model, dataset, progress=sys.stderr.isatty(), **options)
    click.echo(str(found))
    if output is not None:
        save_evaluation(found, output)
    if scores is not None:
        save_scores(found, scores)
    if plot is not None:
        found.plot(plot)
        say_drawn(plot)
    if storing:
        stored = store_thresholds(model, found)
        click.echo(printable(f"{model}: thresholds stored, {stored.describe()}"), err=True)
    if found.errors:
        report_unusable(list(found.errors.values()), len(found.errors) + len(found))
        raise click.exceptions.Exit(1)


def _check_storing(model: str, split: str | None, calibrated: bool) -> None:
    from musicnn_zoo.zoo.load import looks_like_place

    if not looks_like_place(model) or not Path(model).is_dir():
        raise ArgumentError(
            f"--store-thresholds goes with the folder of a model; received {model!r}: "
            "musicnn_zoo.save_pretrained writes one"
        )
    if split is not None and split_name(split) != "validation":
        raise ArgumentError(
            "--store-thresholds finds thresholds on tracks that the model is neither trained nor "
            f"tested on; received {'none' if split == AUTO else f'--split {split}'}: pass --split "
            "validation, or --split all for DATA that is all for validation"
        )
    if calibrated:
        raise ArgumentError("--store-thresholds finds thresholds, --calibrated takes the old ones")
