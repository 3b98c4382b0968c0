"""A picture of tags: one bar each, best first."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.plain_text import count, printable
from musicnn_zoo.plots.drawing import (
    BLUE,
    LABEL,
    TICK,
    check_picture,
    drawable,
    headline,
    new_figure,
    save,
    tidy,
    title_of,
    write,
)
from musicnn_zoo.tagging.tags import Tags

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 30
_NAME = 30


def plot_tags(tags: Tags, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw tags as bars, the best at the top; of more than 30 the 30 best.

    Parameters
    ----------
    tags : Tags
    path : path, optional
        Where to save the picture: ``.png``, ``.svg`` or ``.pdf``.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ArgumentError
        If there are no tags, matplotlib is not installed (``pip install
        matplotlib``), or ``path`` has another ending.
    OutputError
        If the picture cannot be written.
    """
    if path is not None:
        check_picture(path)
    if not tags:
        raise ArgumentError(
            f"{printable(tags.clip.source or 'array')}: there are no tags to draw; "
            "choose a lower threshold"
        )
    shown = tags[:_MOST]
    figure = new_figure(10, 2.2 + 0.42 * len(shown))
    axes = figure.add_subplot()
    scores = [score for _, score in shown]
    lowest, highest = min(0.0, *scores), max(1.0, *scores)
    axes.barh(range(len(shown)), scores, height=0.72, color=BLUE)
    for row, score in enumerate(scores):
        write(
            axes, max(score, 0) + 0.01 * (highest - lowest), row, f"{score:.2f}",
            fontsize=TICK, va="center",
        )  # fmt: skip
    axes.set_xlim(lowest, highest + 0.07 * (highest - lowest))
    axes.set_ylim(len(shown) - 0.4, -0.6)
    names = [drawable(tag, _NAME) for tag, _ in shown]
    axes.set_yticks(range(len(shown)), labels=names, fontsize=LABEL, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=TICK)
    axes.set_xlabel("score", fontsize=LABEL)
    tidy(axes)
    left_out = f"the best {_MOST} of {count(len(tags), 'tag')}" if len(tags) > _MOST else ""
    headline(figure, title_of(tags.clip, tags.model), left_out)
    if path is not None:
        save(figure, path)
    return figure
