"""The command evaluate: how good a model is on a data set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from musicnn_zoo.cli.data import data_options, read_data, warnings_as_lines
from musicnn_zoo.cli.options import cutting_options, engine_options, jobs_option
from musicnn_zoo.cli.reporting import reports_errors
from musicnn_zoo.datasets.dataset import SPLITS, split_name
from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.machine.installation import require_sklearn
from musicnn_zoo.plain_text import printable

_ALL = "all"
_REPORTED = 20


@click.command()
@click.argument("model")
@click.argument("data", type=click.Path(path_type=Path))
@data_options
@click.option(
    "--split",
    default="test",
    show_default=True,
    metavar="SPLIT",
    help=f"{', '.join(SPLITS)}, or all.",
)
@click.option(
    "--tags",
    type=click.Choice(["all", "common"]),
    default="all",
    show_default=True,
    help="Whether MODEL and DATA must know the same tags.",
)
@click.option(
    "--untagged",
    type=click.Choice(["keep", "drop"]),
    default="keep",
    show_default=True,
    help="What becomes of tracks without any of the tags.",
)
@click.option(
    "--as-classes/--as-tags",
    default=None,
    help="One class a track, or any number of tags.  "
    "[default: classes if MODEL ends in a softmax and DATA has one tag a track]",
)
@click.option(
    "--calibrated",
    is_flag=True,
    help="F1 at the thresholds of MODEL, not at the best ones for these tracks.",
)
@click.option(
    "--bootstrap",
    type=int,
    default=1000,
    show_default=True,
    metavar="N",
    help="Resamples for the intervals; 0 for none.",
)
@click.option(
    "--resample",
    type=click.Choice(["tracks", "groups"]),
    help="What the bootstrap draws.  [default: groups (artists) if DATA has some]",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N", help="Of the bootstrap."
)
@cutting_options
@engine_options
@jobs_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the figures there, too: .json, .csv or .txt.",
)
@click.option(
    "--scores",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the scores of all tracks: .csv or .npz.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw the figures: .png, .svg or .pdf.",
)
@click.option(
    "--store-thresholds",
    is_flag=True,
    help="Put the thresholds of best F1 on the validation split into the folder MODEL, "
    "for 'tag --threshold calibrated'.",
)
@reports_errors
def evaluate(
    model: str,
    data: Path,
    layout: Any,
    audio_root: Path | None,
    group_by: str,
    split: str,
    tags: Any,
    untagged: Any,
    as_classes: bool | None,
    calibrated: bool,
    resample: Any,
    output: Path | None,
    scores: Path | None,
    plot: Path | None,
    store_thresholds: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Tell how good MODEL is on DATA: figures with intervals, in total and for each tag.

    MODEL is one of those that 'musicnn-zoo models' lists, hf://user/repository, or a folder. DATA
    is a folder with a subfolder of audio for each class, a CSV or TSV of paths and tags, or with
    --layout a published data set.

    Scores are averaged over the patches of a track. Exit code 1 says that files of DATA could not
    be used; the figures are those of the others.
    """
    from musicnn_zoo.evaluation.evaluation import evaluate_model
    from musicnn_zoo.evaluation.evaluation_files import (
        REPORT_ENDINGS,
        SCORE_ENDINGS,
        check_ending,
        save_evaluation,
        save_scores,
    )

    require_sklearn("an evaluation")
    chosen = None if split == _ALL else split
    if store_thresholds:
        _check_storing(model, chosen, calibrated)
    if output is not None:
        check_ending(output, REPORT_ENDINGS)
    if scores is not None:
        check_ending(scores, SCORE_ENDINGS)
    if plot is not None:
        from musicnn_zoo.plots.drawing import check_picture

        check_picture(plot)
    with warnings_as_lines():
        dataset = read_data(data, layout=layout, audio_root=audio_root, group_by=group_by)
        found = evaluate_model(
            model,
            dataset,
            split=chosen,
            tags=tags,
            untagged=untagged,
            as_classes=as_classes,
            thresholds="calibrated" if calibrated else None,
            resample=resample,
            progress=sys.stderr.isatty(),
            **options,
        )
    click.echo(str(found))
    if output is not None:
        save_evaluation(found, output)
    if scores is not None:
        save_scores(found, scores)
    if plot is not None:
        found.plot(plot)
    if store_thresholds:
        from musicnn_zoo.evaluation.evaluate import store_thresholds as store

        stored = store(model, found)
        click.echo(printable(f"{model}: thresholds stored, {stored.describe()}"), err=True)
    if found.errors:
        _report(found.errors, len(found))
        raise click.exceptions.Exit(1)


def _check_storing(model: str, split: str | None, calibrated: bool) -> None:
    from musicnn_zoo.zoo.pretrained import looks_like_place

    if not looks_like_place(model) or not Path(model).is_dir():
        raise ArgumentError(
            f"--store-thresholds goes with the folder of a model; received {model!r}: "
            "musicnn_zoo.save_pretrained writes one"
        )
    if split is not None and split_name(split) != "validation":
        raise ArgumentError(
            "--store-thresholds finds thresholds on tracks that the model is neither trained nor "
            f"tested on; received --split {split}: pass --split validation, or --split all for "
            "DATA that is all for validation"
        )
    if calibrated:
        raise ArgumentError("--store-thresholds finds thresholds, --calibrated takes the old ones")


def _report(errors: dict[str, str], n_used: int) -> None:
    click.echo(f"{len(errors)} of {len(errors) + n_used} could not be used:", err=True)
    for message in list(errors.values())[:_REPORTED]:
        click.echo(f"  {printable(message)}", err=True)
    if len(errors) > _REPORTED:
        click.echo(f"  … and {len(errors) - _REPORTED} more", err=True)
