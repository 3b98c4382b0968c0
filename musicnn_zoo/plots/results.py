"""A picture of an embedding map: one point a file, coloured and shaped by its group."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from musicnn_zoo.plain_text import count
from musicnn_zoo.plots.drawing import (
    LABEL,
    PALE,
    PALETTE,
    TICK,
    check_picture,
    drawable,
    headline,
    new_figure,
    save,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from musicnn_zoo.library.embedding_map import EmbeddingMap

_MARKERS = "os^DvPX<>*hp"
"""A shape for each group that is named; colours alone are too few."""
_NAME = 26


def plot_map(found: EmbeddingMap, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw a map of embeddings.

    Each of the twelve largest groups has a colour and a shape of its own; where there are more,
    the smaller ones are put together as "other".

    Parameters
    ----------
    found : EmbeddingMap
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
    figure = new_figure(13, 7.3)
    axes = figure.add_subplot()
    groups = np.array(found.groups, dtype=object)
    sizes = Counter(found.groups).most_common()
    named = sizes if len(sizes) <= len(_MARKERS) else sizes[: len(_MARKERS) - 1]
    area = float(np.clip(30000 / len(found), 12, 110))
    style: dict[str, Any] = {
        "s": area,
        "linewidth": 0.6,
        "edgecolor": "white",
        "rasterized": len(found) > 3000,
    }
    others = ~np.isin(groups, [name for name, _ in named])
    labels = [f"{drawable(name, _NAME)} ({n:,})" for name, n in named]
    handles = []
    for index, (name, _) in enumerate(named):
        chosen = found.points[groups == name]
        marker, colour = _MARKERS[index], PALETTE[index % len(PALETTE)]
        handles.append(axes.scatter(*chosen.T, marker=marker, color=colour, **style))
    if others.any():
        handles.append(
            axes.scatter(*found.points[others].T, marker=".", color=PALE, zorder=0.9, **style)
        )
        labels.append(f"other: {count(len(sizes) - len(named), 'group')} ({others.sum():,})")
    legend = axes.legend(
        handles, labels, loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=TICK,
        frameon=False, title="folder" if found.colour_by == "folder" else "strongest tag",
        title_fontsize=LABEL, markerscale=(90 / area) ** 0.5, labelspacing=0.7,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
    for dimension, axis in enumerate((axes.xaxis, axes.yaxis)):
        axis.set_ticks([])
        axis.set_label_text(_label(found, dimension), fontsize=LABEL)
    axes.margins(0.04)
    tidy(axes)
    notes = [f"close together: alike to the model ({found.method.upper()})"]
    if found.errors:
        notes.append(f"{count(len(found.errors), 'file')} could not be used")
    title = f"{count(len(found), 'file')}, {drawable(found.model, 40)} {drawable(found.layer, 40)}"
    headline(figure, title, "; ".join(notes))
    if path is not None:
        save(figure, path)
    return figure


def _label(found: EmbeddingMap, dimension: int) -> str:
    if found.explained_variance is None:
        return f"UMAP {dimension + 1}"
    part = 100 * found.explained_variance[dimension]
    return f"principal component {dimension + 1} ({part:.0f} % of the variance)"
