"""Pictures of an evaluation: figures tag by tag and curves, or a confusion matrix."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.plots.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    SEQUENTIAL,
    VERMILION,
    add_legend,
    drawable,
    name_rows,
    new_figure,
    tidy,
    write,
)
from musicnn_zoo.text import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAME_WIDTH = 28
_COLOURS = (BLUE, ORANGE, GREEN)
_GRID: dict[str, Any] = {"color": "#E4E4E4", "linewidth": 0.8}
_TITLE, _HEADING, _TEXT, _SMALL = 15, 13, 12, 10
"""Sizes of text in points, smaller than elsewhere, since these pictures have more text."""


class Measure(NamedTuple):
    """One measure of tags: fractions of shape (tags,), and a heading with their mean.

    ``intervals``, shape (tags, 2), are NaN where there is none; ``curves``, shape (tags, points),
    are what the values summarise.
    """

    heading: str
    values: NDArray[np.float64]
    chances: NDArray[np.float64]
    intervals: NDArray[np.float64]
    curves: NDArray[np.float64]


def draw_tag_figures(
    tags: Sequence[str],
    roc_auc: Measure,
    average_precision: Measure,
    at: NDArray[np.float64],
    *,
    n_tracks: int,
    level: float | None,
    left_out: Sequence[str],
    model: str,
    data: str,
) -> Figure:
    """Draw the figures of tags, best tag first; see :func:`musicnn_zoo.plots.plot_evaluation`.

    Curves go over the false positive rates, or recalls, ``at``, shape (points,). Tags that are
    ``left_out`` have no figures; ``level`` is that of the intervals.
    """
    figure = new_figure(14, max(7.5, 3 + 0.2 * len(tags)))
    grid = figure.add_gridspec(2, 3, width_ratios=(1, 1, 1.15))
    rocs, precisions = (figure.add_subplot(grid[:, side]) for side in (0, 1))
    _draw_dots(rocs, tags, roc_auc)
    _draw_dots(precisions, tags, average_precision)
    precisions.set_yticks(range(len(tags)), labels=[])
    upper, lower = (figure.add_subplot(grid[row, 2]) for row in (0, 1))
    _draw_curves(upper, tags, roc_auc, at, "false positives, %", "true positives, %")
    upper.plot([0, 100], [0, 100], color=GREY, linewidth=1.2, linestyle="--", gid="chance")
    _draw_curves(lower, tags, average_precision, at, "recall, %", "precision, %")
    notes = [f"{count(n_tracks, 'track')}; grey ticks and dashed lines: chance"]
    if level is not None:
        notes.append(f"bars: {100 * level:g} % intervals")
    if left_out:
        shown = ", ".join(drawable(name, 20) for name in left_out[:6])
        notes.append(f"on no track or on all: {shown}{', …' if len(left_out) > 6 else ''}")
    _caption(figure, model, data, "; ".join(notes), 170)
    return figure


def _draw_dots(axes: Any, tags: Sequence[str], measure: Measure) -> None:
    for row, (low, high) in enumerate(100 * measure.intervals):
        if not np.isnan(low):
            axes.plot(
                [low, high], [row, row], color=BLUE, linewidth=2, alpha=0.5,
                solid_capstyle="butt", gid="interval",
            )  # fmt: skip
        axes.plot(
            100 * measure.chances[row], row, marker="|", markersize=9, markeredgewidth=1.6,
            color=GREY, linestyle="none", gid="chance",
        )  # fmt: skip
        axes.plot(
            100 * measure.values[row], row, marker="o", markersize=5.5, color=BLUE, gid="figure"
        )
    lowest = np.nanmin([*measure.chances, *measure.values, *measure.intervals[:, 0]])
    axes.set_xlim(min(100 * lowest - 4, 90), 102)
    axes.set_ylim(len(tags) - 0.4, -0.6)
    name_rows(axes, tags, _NAME_WIDTH, fontsize=_SMALL if len(tags) > 25 else _TEXT)
    axes.grid(axis="both", **_GRID)
    axes.set_axisbelow(True)
    axes.set_xlabel("%", fontsize=_TEXT)
    axes.set_title(measure.heading, fontsize=_HEADING, loc="left")
    tidy(axes)


def _draw_curves(
    axes: Any,
    tags: Sequence[str],
    measure: Measure,
    at: NDArray[np.float64],
    xlabel: str,
    ylabel: str,
) -> None:
    """Draw the curves of all tags in grey, their mean, and those of three tags with their names."""
    curves = measure.curves
    if len(tags) > len(_COLOURS):
        axes.plot(100 * at, 100 * curves.T, color=PALE, linewidth=0.7, gid="tag")
        named = [("best: ", 0), ("middle: ", len(tags) // 2), ("worst: ", len(tags) - 1)]
    else:
        named = [("", index) for index in range(len(tags))]
    lines = axes.plot(100 * at, 100 * curves.mean(axis=0), color="black", linewidth=2.6, gid="mean")
    labels = [f"mean of {count(len(tags), 'tag')}"]
    for (role, index), colour in zip(named, _COLOURS, strict=False):
        labels.append(f"{role}{100 * measure.values[index]:.1f}  {drawable(tags[index], 15)}")
        lines += axes.plot(
            100 * at, 100 * curves[index], color=colour, linewidth=1.8, gid="named tag"
        )
    axes.set_xlabel(xlabel, fontsize=_TEXT)
    axes.set_ylabel(ylabel, fontsize=_TEXT)
    axes.set_xlim(-1, 101)
    axes.set_ylim(-1, 103)
    axes.grid(**_GRID)
    add_legend(
        axes, lines, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=_SMALL,
        columnspacing=1.2, handlelength=1.6,
    )  # fmt: skip
    tidy(axes)


def draw_classes(
    classes: Sequence[str],
    confusion: NDArray[np.int64],
    f1_scores: Sequence[float | None],
    *,
    note: str,
    model: str,
    data: str,
) -> Figure:
    """Draw tracks by their class (rows) and the class they are taken for, and the F1 of each."""
    names = [drawable(name, _NAME_WIDTH) for name in classes]
    n = len(names)
    few = n <= 12
    side = max(4.0, (0.62 if few else 0.36) * n)
    figure = new_figure(side + 6.2, side + 2.6)
    matrix, f1 = figure.subplots(1, 2, width_ratios=(side, 2.6))
    of_class = np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    percentages = 100 * confusion / of_class
    image = matrix.imshow(percentages, cmap=SEQUENTIAL, vmin=0, vmax=100, aspect="auto")
    for row, column in np.argwhere(confusion):
        write(
            matrix, column, row, f"{confusion[row, column]:,}", fontsize=_TEXT if few else 7,
            ha="center", va="center", color="black" if percentages[row, column] > 55 else "white",
        )  # fmt: skip
    style = {"fontsize": _TEXT if few else 9, "parse_math": False}
    matrix.set_xticks(range(n), labels=names, rotation=45, ha="right", rotation_mode="anchor",
                      **style)  # fmt: skip
    matrix.set_yticks(range(n), labels=names, **style)
    matrix.tick_params(length=0)
    matrix.set_xlabel("taken for", fontsize=_TEXT)
    matrix.set_ylabel("class", fontsize=_TEXT)
    matrix.set_title("tracks", fontsize=_HEADING, loc="left")
    bar = figure.colorbar(image, ax=matrix, fraction=0.3 / side, pad=0.02)
    bar.set_label("% of the class", fontsize=11)
    for row, score in enumerate(f1_scores):
        value = 100 * (score or 0)
        f1.plot([0, value], [row, row], color=PALE, linewidth=2)
        f1.plot(value, row, marker="o", markersize=7, color=VERMILION, gid="figure")
        shown = "–" if score is None else f"{value:.1f}"
        write(f1, 106, row, shown, fontsize=_TEXT if few else 9, va="center")
    f1.set_xlim(0, 105)
    f1.set_ylim(n - 0.5, -0.5)
    f1.set_yticks(range(n), labels=[])
    f1.tick_params(axis="y", length=0)
    f1.set_xlabel("%", fontsize=_TEXT)
    f1.set_title("F1", fontsize=_HEADING, loc="left")
    tidy(f1)
    _caption(figure, model, data, note, int(11 * (side + 6.2)))
    return figure


def _caption(figure: Figure, model: str, data: str, note: str, width: int) -> None:
    title = f"{drawable(model, 40)} on {drawable(data, 60)}"
    figure.suptitle(title, fontsize=_TITLE, parse_math=False)
    note = textwrap.fill(note, width)
    figure.supxlabel(note, fontsize=_SMALL, color=GREY, parse_math=False)
