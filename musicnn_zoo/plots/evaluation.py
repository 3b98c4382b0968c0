"""Pictures of an evaluation: figures tag by tag and curves, or a confusion matrix."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.evaluation.results import ClassEvaluation, Evaluation, Interval, TagFigures
from musicnn_zoo.plots.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    VERMILION,
    check_picture,
    drawable,
    new_figure,
    save,
    tidy,
    write,
)
from musicnn_zoo.text import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from musicnn_zoo.evaluation.evaluate import ModelEvaluation

_NAME = 28
_COLOURS = (BLUE, ORANGE, GREEN)
_STEPS = 400
_NOTE = 9
_SMALL = 10


class Curves(NamedTuple):
    """Curves of tags over a common axis of fractions.

    Parameters
    ----------
    at : ndarray, shape (points,)
        False positive rate, or recall; from 0 to 1.
    roc, precision : ndarray, shape (tags, points)
        True positive rate at that false positive rate; precision at that recall.
    """

    at: NDArray[np.float64]
    roc: NDArray[np.float64]
    precision: NDArray[np.float64]


def plot_evaluation(
    evaluation: ModelEvaluation, path: str | os.PathLike[str] | None = None
) -> Figure:
    """Draw an evaluation.

    Of tags: ROC-AUC and average precision of each with its interval and chance, best tag first,
    and the ROC and precision-recall curves of all, their mean (at each false positive rate, or
    recall), and the best, a middle and the worst tag. Of classes: the confusion matrix, coloured
    by the fraction of the tracks of a class, with numbers of tracks, and the F1 of each class.

    Parameters
    ----------
    evaluation : ModelEvaluation
    path : path, optional
        Where to save the picture: ``.png``, ``.svg`` or ``.pdf``.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ArgumentError
        If matplotlib is not installed (``pip install matplotlib``), or ``path`` has
        another ending.
    OutputError
        If the picture cannot be written.
    """
    if path is not None:
        check_picture(path)
    if isinstance(evaluation.figures, Evaluation):
        figure = _draw_tags(evaluation, evaluation.figures)
    else:
        figure = _draw_classes(evaluation, evaluation.figures)
    if path is not None:
        save(figure, path)
    return figure


def curves_of(labels: NDArray[np.bool_], scores: NDArray[np.float32]) -> Curves:
    """Compute the ROC and precision-recall curves of tags that are on some tracks, not on all.

    Both arrays have the shape (tracks, tags). The area under a curve of precision, which goes in
    steps, is the average precision.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    at = (np.arange(_STEPS) + 0.5) / _STEPS
    roc, precisions = [], []
    for truth, values in zip(labels.T, scores.T, strict=True):
        false, true, _ = roc_curve(truth, values)
        roc.append(np.interp(at, false, true))
        precision, recall, _ = precision_recall_curve(truth, values)
        reached = np.searchsorted(recall[::-1], at, side="left")
        precisions.append(precision[::-1][reached])
    return Curves(at, np.array(roc), np.array(precisions))


def _draw_tags(evaluation: ModelEvaluation, figures: Evaluation) -> Figure:
    column = {tag.tag: index for index, tag in enumerate(figures.per_tag)}
    drawn = sorted(
        (tag for tag in figures.per_tag if tag.roc_auc is not None),
        key=lambda tag: -(tag.roc_auc or 0),
    )
    figure = new_figure(14, max(7.5, 3 + 0.2 * len(drawn)))
    grid = figure.add_gridspec(2, 3, width_ratios=(1, 1, 1.15))
    rocs, precisions = (figure.add_subplot(grid[:, side]) for side in (0, 1))
    _draw_dots(
        rocs, drawn, [(tag.roc_auc, tag.roc_auc_interval, 0.5) for tag in drawn],
        _heading("ROC-AUC", figures.roc_auc, figures.roc_auc_interval),
    )  # fmt: skip
    _draw_dots(
        precisions, drawn,
        [
            (tag.average_precision, tag.average_precision_interval, tag.positives / figures.tracks)
            for tag in drawn
        ],
        _heading("PR-AUC", figures.pr_auc, figures.pr_auc_interval),
    )  # fmt: skip
    precisions.set_yticks(range(len(drawn)), labels=[])
    which = [column[tag.tag] for tag in drawn]
    curves = curves_of(evaluation.labels[:, which], evaluation.scores[:, which])
    _draw_curves(figure.add_subplot(grid[0, 2]), curves.at, curves.roc, drawn, "roc")
    _draw_curves(figure.add_subplot(grid[1, 2]), curves.at, curves.precision, drawn, "precision")
    notes = [f"{count(figures.tracks, 'track')}; grey ticks and dashed lines: chance"]
    if figures.roc_auc_interval is not None:
        notes.append(f"bars: {100 * figures.roc_auc_interval.level:g} % intervals")
    if figures.tags_left_out:
        notes.append(f"on no track or on all: {_listed(figures.tags_left_out)}")
    _caption(figure, evaluation, "; ".join(notes), 170)
    return figure


def _draw_dots(
    axes: Any,
    tags: Sequence[TagFigures],
    values: Sequence[tuple[float | None, Interval | None, float]],
    heading: str,
) -> None:
    for row, (value, interval, chance) in enumerate(values):
        if interval is not None:
            axes.plot(
                [100 * interval.low, 100 * interval.high], [row, row], color=BLUE, linewidth=2,
                alpha=0.5, solid_capstyle="butt", gid="interval",
            )  # fmt: skip
        axes.plot(
            100 * chance, row, marker="|", markersize=9, markeredgewidth=1.6, color=GREY,
            linestyle="none", gid="chance",
        )  # fmt: skip
        axes.plot(100 * (value or 0), row, marker="o", markersize=5.5, color=BLUE, gid="figure")
    lowest = min(
        min(chance, value or 0, interval.low if interval else 1)
        for value, interval, chance in values
    )
    axes.set_xlim(min(100 * lowest - 4, 90), 102)
    axes.set_ylim(len(tags) - 0.4, -0.6)
    axes.set_yticks(
        range(len(tags)),
        labels=[drawable(tag.tag, _NAME) for tag in tags],
        fontsize=_SMALL if len(tags) > 25 else 12,
        parse_math=False,
    )
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="both", color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("%", fontsize=12)
    axes.set_title(heading, fontsize=13, loc="left")
    tidy(axes)


def _draw_curves(
    axes: Any, at: NDArray[np.float64], curves: NDArray[np.float64], tags: Sequence[TagFigures],
    kind: str,
) -> None:  # fmt: skip
    precise = kind == "precision"
    figures = [tag.average_precision if precise else tag.roc_auc for tag in tags]
    if len(tags) > len(_COLOURS):
        axes.plot(100 * at, 100 * curves.T, color=PALE, linewidth=0.7, gid="tag")
        shown = {"best": 0, "middle": len(tags) // 2, "worst": len(tags) - 1}
    else:
        shown = {str(index): index for index in range(len(tags))}
    lines = axes.plot(100 * at, 100 * curves.mean(axis=0), color="black", linewidth=2.6, gid="mean")
    names = [f"mean of {count(len(tags), 'tag')}"]
    for (role, index), colour in zip(shown.items(), _COLOURS, strict=False):
        label = f"{100 * (figures[index] or 0):.1f}  {drawable(tags[index].tag, 15)}"
        names.append(label if role.isdigit() else f"{role}: {label}")
        lines += axes.plot(
            100 * at, 100 * curves[index], color=colour, linewidth=1.8, gid="named tag"
        )
    if not precise:
        axes.plot([0, 100], [0, 100], color=GREY, linewidth=1.2, linestyle="--", gid="chance")
    axes.set_xlabel("recall, %" if precise else "false positives, %", fontsize=12)
    axes.set_ylabel("precision, %" if precise else "true positives, %", fontsize=12)
    axes.set_xlim(-1, 101)
    axes.set_ylim(-1, 103)
    axes.grid(color="#E4E4E4", linewidth=0.8)
    legend = axes.legend(
        lines, names, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=_SMALL,
        frameon=False, columnspacing=1.2, handlelength=1.6,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
    tidy(axes)


def _draw_classes(evaluation: ModelEvaluation, figures: ClassEvaluation) -> Figure:
    names = [drawable(found.name, _NAME) for found in figures.per_class]
    n = len(names)
    cell = 0.62 if n <= 12 else 0.36
    side = max(4.0, cell * n)
    figure = new_figure(side + 6.2, side + 2.6)
    matrix, f1 = figure.subplots(1, 2, width_ratios=(side, 2.6))
    confusion = np.array(figures.confusion)
    of_class = np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    fractions = 100 * confusion / of_class
    image = matrix.imshow(fractions, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    small = 12 if n <= 12 else 7
    for row, column in np.argwhere(confusion):
        bright = fractions[row, column] > 55
        write(
            matrix, column, row, f"{confusion[row, column]:,}", fontsize=small,
            ha="center", va="center", color="black" if bright else "white",
        )  # fmt: skip
    style = {"fontsize": 12 if n <= 12 else 9, "parse_math": False}
    matrix.set_xticks(range(n), labels=names, rotation=45, ha="right", rotation_mode="anchor",
                      **style)  # fmt: skip
    matrix.set_yticks(range(n), labels=names, **style)
    matrix.tick_params(length=0)
    matrix.set_xlabel("taken for", fontsize=12)
    matrix.set_ylabel("class", fontsize=12)
    matrix.set_title("tracks", fontsize=13, loc="left")
    bar = figure.colorbar(image, ax=matrix, fraction=0.3 / side, pad=0.02)
    bar.set_label("% of the class", fontsize=11)
    for row, found in enumerate(figures.per_class):
        value = 100 * (found.f1 or 0)
        f1.plot([0, value], [row, row], color=PALE, linewidth=2)
        f1.plot(value, row, marker="o", markersize=7, color=VERMILION, gid="figure")
        shown = "–" if found.f1 is None else f"{value:.1f}"
        write(f1, 106, row, shown, fontsize=small + 2 if n > 12 else 12, va="center")
    f1.set_xlim(0, 105)
    f1.set_ylim(n - 0.5, -0.5)
    f1.set_yticks(range(n), labels=[])
    f1.tick_params(axis="y", length=0)
    f1.set_xlabel("%", fontsize=12)
    f1.set_title("F1", fontsize=13, loc="left")
    tidy(f1)
    note = "; ".join(
        [
            count(figures.tracks, "track"),
            _heading("accuracy", figures.accuracy, figures.accuracy_interval),
            _heading("balanced", figures.balanced_accuracy, figures.balanced_accuracy_interval),
        ]
    )
    _caption(figure, evaluation, note, int(11 * (side + 6.2)))
    return figure


def _caption(figure: Figure, evaluation: ModelEvaluation, note: str, width: int) -> None:
    which = f"{evaluation.dataset}, {evaluation.split or 'all tracks'}"
    title = f"{drawable(evaluation.model, 40)} on {drawable(which, 60)}"
    figure.suptitle(title, fontsize=15, parse_math=False)
    figure.supxlabel(textwrap.fill(note, width), fontsize=_NOTE + 1, color=GREY, parse_math=False)


def _heading(name: str, value: float, interval: Interval | None) -> str:
    text = f"{name} {100 * value:.1f} %"
    if interval is None:
        return text
    return f"{text} ({100 * interval.low:.1f}–{100 * interval.high:.1f})"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(drawable(name, 20) for name in names[:6])
    return f"{shown}, …" if len(names) > 6 else shown
