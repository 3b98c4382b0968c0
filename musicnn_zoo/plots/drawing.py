"""What all pictures share: colours, text that is safe to draw, axes, and saving."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musicnn_zoo.errors import ArgumentError, OutputError, check_path
from musicnn_zoo.files import check_writable, raising
from musicnn_zoo.machine.installation import provide_writable_caches
from musicnn_zoo.text import clock, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


ENDINGS = (".png", ".svg", ".pdf")
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
"""Of the palette of Okabe and Ito, which colour-blind people can distinguish."""
PALETTE = (BLUE, VERMILION, GREEN, ORANGE, "#56B4E9", "#CC79A7", "#000000")
"""The same palette without its yellow, which is hard to see on white."""
GREY, PALE = "#555555", "#B8B8B8"
SEQUENTIAL, DIVERGING = "cividis", "PuOr_r"
"""Colour maps that colour-blind people read: from 0 up, and to both sides of 0."""
TITLE, LABEL, TICK, NOTE = 16, 13, 12, 11
"""Sizes of text in points, large enough to be read on a projector."""

_DPI = 150


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of a size in inches, laid out without overlaps."""
    provide_writable_caches()
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ArgumentError("plots need matplotlib: pip install matplotlib") from error
    return Figure(figsize=(width, height), layout="constrained")


def picture(path: str | os.PathLike[str] | None, draw: Callable[[], Figure]) -> Figure:
    """Draw a figure, and save it if there is a path, which is checked before anything is drawn.

    Parameters
    ----------
    path : path or None
        Where to save the picture, as PNG, SVG or PDF by its ending; None to save it nowhere.
    draw : callable
        Makes the figure.

    Raises
    ------
    ArgumentError
        If matplotlib is not installed (``pip install matplotlib``), or ``path`` has another
        ending or cannot be written.
    OutputError
        If the picture cannot be written.
    """
    if path is not None:
        check_picture(path)
    figure = draw()
    if path is not None:
        save(figure, path)
    return figure


def check_picture(path: str | os.PathLike[str]) -> None:
    """Refuse a picture that :func:`picture` could not save, before anything is computed for it."""
    check_path("a picture", path)
    new_figure(1, 1)
    place = Path(path)
    if place.suffix.lower() not in ENDINGS:
        raise ArgumentError(
            f"a picture must end in {', '.join(ENDINGS)}; received {os.fspath(path)!r}"
        )
    check_writable(place)


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Save a figure in the format of the ending; the errors are those of :func:`picture`."""
    check_picture(path)
    with raising(OutputError, f"{os.fspath(path)}: the picture cannot be written"):
        figure.savefig(os.fspath(path), dpi=_DPI, facecolor="white")


def drawable(text: str, width: int | None = None) -> str:
    """Escape what the font has no glyph for; take out the middle beyond ``width`` characters."""
    glyphs = _glyphs()
    escaped = "".join(
        character
        if ord(character) in glyphs
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in printable(text)
    )
    if width is None or len(escaped) <= width:
        return escaped
    kept = (width - 1) // 2
    return f"{escaped[:kept]}…{escaped[kept + 1 - width :]}"


def write(axes: Any, x: float, y: float, text: str, **style: Any) -> Any:
    """Write a text into an axes; ``$`` in it does not begin a formula."""
    return axes.text(x, y, text, parse_math=False, **style)


def headline(figure: Figure, title: str, note: str = "") -> None:
    """Put a title above a figure and a note below it; ``$`` in them does not begin a formula."""
    layout = figure.get_layout_engine()
    assert layout is not None
    layout.set(w_pad=0.12, h_pad=0.1)  # type: ignore[call-arg]
    figure.suptitle(title, fontsize=TITLE, parse_math=False)
    if note:
        figure.supxlabel(note, fontsize=NOTE, color=GREY, parse_math=False)


def title_of(source: str | None, model: str) -> str:
    """Return the file name of a clip, without folders, and the name of the model."""
    name = Path(source).name if source else "array"
    return f"{drawable(name, 50)}, {drawable(model, 30)}"


def name_rows(axes: Any, names: Iterable[str], width: int, *, fontsize: float = LABEL) -> None:
    """Name the rows of an axes, 0 and up, in at most ``width`` characters each."""
    labels = [drawable(name, width) for name in names]
    axes.set_yticks(range(len(labels)), labels=labels, fontsize=fontsize, parse_math=False)
    axes.tick_params(axis="y", length=0)


def add_legend(axes: Any, handles: Sequence[Any], labels: Sequence[str], **style: Any) -> None:
    """Add a legend without a frame; ``$`` in its labels does not begin a formula."""
    for text in axes.legend(handles, labels, frameon=False, **style).get_texts():
        text.set_parse_math(False)


def tidy(axes: Any) -> None:
    """Remove the top and the right line of the frame, which show nothing."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


@lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    from matplotlib import font_manager

    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    return frozenset(font.get_charmap())


_STEPS = (
    0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200,
)  # fmt: skip
_MOST_TICKS = 10


def time_axis(axes: Any, start_s: float, end_s: float) -> None:
    """Label the horizontal axis with the time from ``start_s`` to ``end_s``, in seconds."""
    axes.set_xlim(start_s, end_s)
    step = next((one for one in _STEPS if (end_s - start_s) / one <= _MOST_TICKS), 86400)
    ticks = np.arange(np.ceil(start_s / step), np.floor(end_s / step) + 1) * step
    shown = [clock(tick) if step < 1 else clock(tick).removesuffix(".0") for tick in ticks]
    axes.set_xticks(ticks, labels=shown, fontsize=TICK)
    axes.set_xlabel("time (minutes:seconds)", fontsize=LABEL)
