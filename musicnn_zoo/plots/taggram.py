"""A picture of a taggram: scores over time as a heat map."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.plain_text import count, printable
from musicnn_zoo.plots.drawing import (
    LABEL,
    SEQUENTIAL,
    TICK,
    check_picture,
    drawable,
    headline,
    new_figure,
    save,
    title_of,
)
from musicnn_zoo.plots.time_axis import time_axis
from musicnn_zoo.tagging.taggram import Taggram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_COLUMNS = 1200
"""About as many as a picture has dots."""
_NAME = 24


class Columns(NamedTuple):
    """What a picture shows of the rows of a taggram.

    Parameters
    ----------
    edges : ndarray, shape (columns + 1,)
        Where the columns begin and end, in seconds.
    scores : ndarray, shape (columns, tags)
    rows : int
        Of the taggram in one column.
    """

    edges: NDArray[np.float64]
    scores: NDArray[np.float32]
    rows: int


def plot_taggram(
    taggram: Taggram, path: str | os.PathLike[str] | None = None, *, top_k: int = 10
) -> Figure:
    """Draw the scores of the strongest tags over time.

    The tag with the highest mean is at the top. A row of the taggram lasts from its start to the
    start of the next, the last for a whole patch. Where there are more rows than the picture has
    dots, a column shows the highest score of several, so that nothing short is lost. Colours go
    from 0 to the next tenth above the highest score.

    Parameters
    ----------
    taggram : Taggram
    path : path, optional
        Where to save the picture: ``.png``, ``.svg`` or ``.pdf``.
    top_k : int
        How many tags.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ArgumentError
        If ``top_k`` is less than one, the taggram has no rows, matplotlib is not installed
        (``pip install matplotlib``), or ``path`` has another ending.
    OutputError
        If the picture cannot be written.
    """
    if top_k < 1:
        raise ArgumentError(f"top_k must be at least 1; received {top_k}")
    if path is not None:
        check_picture(path)
    if not len(taggram):
        raise ArgumentError(
            f"{printable(taggram.clip.source or 'array')}: there is nothing to draw; "
            "the taggram has no rows"
        )
    order = np.argsort(-taggram.scores.mean(axis=0), kind="stable")[:top_k]
    columns = columns_of(taggram)
    shown = columns.scores[:, order].T
    figure = new_figure(13, 2.4 + 0.42 * len(order))
    axes = figure.add_subplot()
    mesh = axes.pcolormesh(
        columns.edges, np.arange(len(order) + 1) - 0.5, shown, cmap=SEQUENTIAL,
        vmin=min(0.0, float(shown.min())), vmax=_next_tenth(float(shown.max())), rasterized=True,
    )  # fmt: skip
    axes.set_ylim(len(order) - 0.5, -0.5)
    names = [drawable(taggram.tags[index], _NAME) for index in order]
    axes.set_yticks(range(len(order)), labels=names, fontsize=LABEL, parse_math=False)
    axes.tick_params(axis="y", length=0)
    time_axis(axes, columns.edges[0], columns.edges[-1])
    bar = figure.colorbar(mesh, ax=axes, fraction=0.04, pad=0.015)
    bar.set_label("score", fontsize=LABEL)
    bar.ax.tick_params(labelsize=TICK)
    note = ""
    if columns.rows > 1:
        note = f"a column shows the highest score of {columns.rows} patches"
    if len(order) < len(taggram.tags):
        strongest = f"the strongest {len(order)} of {count(len(taggram.tags), 'tag')}"
        note = f"{strongest}; {note}" if note else strongest
    headline(figure, title_of(taggram.clip, taggram.model), note)
    if path is not None:
        save(figure, path)
    return figure


def columns_of(taggram: Taggram, most: int = MOST_COLUMNS) -> Columns:
    """Put rows of a taggram together until there are at most ``most`` columns."""
    edges: Any = np.append(taggram.times, taggram.times[-1] + taggram.patch_s)
    rows = -(-len(taggram) // most)
    firsts = np.arange(0, len(taggram), rows)
    return Columns(
        edges[np.append(firsts, len(taggram))], np.maximum.reduceat(taggram.scores, firsts), rows
    )


def _next_tenth(score: float) -> float:
    return max(0.1, math.ceil(10 * score - 1e-6) / 10)
