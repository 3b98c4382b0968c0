"""Pictures of what the models say: tags, taggrams, events and maps of embeddings."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.networks.config import LogMelInput
from musicnn_zoo.networks.mel import band_of, logmel_columns
from musicnn_zoo.plots.drawing import (
    BLUE,
    GREY,
    LABEL,
    NOTE,
    PALE,
    PALETTE,
    SEQUENTIAL,
    TICK,
    add_legend,
    drawable,
    headline,
    name_rows,
    new_figure,
    tidy,
    time_axis,
    title_of,
    write,
)
from musicnn_zoo.sound.read import AudioStream
from musicnn_zoo.sound.sources import AudioSource
from musicnn_zoo.text import count, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

_MOST_TAGS = 30
_TAG_WIDTH = 30
_SHORT_WIDTH = 24
"""Most characters of a name beside a wide picture."""
_MOST_COLUMNS = 1200
"""About as many as a picture has dots."""


def draw_tags(tags: Sequence[tuple[str, float]], *, source: str | None, model: str) -> Figure:
    """Draw tags with their scores as bars; see :func:`musicnn_zoo.plots.plot_tags`."""
    if not tags:
        raise ArgumentError(
            f"{printable(source or 'array')}: there are no tags to draw; choose a lower threshold"
        )
    names, scores = zip(*tags[:_MOST_TAGS], strict=True)
    figure = new_figure(10, 2.2 + 0.42 * len(names))
    axes = figure.add_subplot()
    lowest, highest = min(0.0, *scores), max(1.0, *scores)
    axes.barh(range(len(names)), scores, height=0.72, color=BLUE)
    for row, score in enumerate(scores):
        write(
            axes, max(score, 0) + 0.01 * (highest - lowest), row, f"{score:.2f}",
            fontsize=TICK, va="center",
        )  # fmt: skip
    axes.set_xlim(lowest, highest + 0.07 * (highest - lowest))
    axes.set_ylim(len(names) - 0.4, -0.6)
    name_rows(axes, names, _TAG_WIDTH)
    axes.tick_params(axis="x", labelsize=TICK)
    axes.set_xlabel("score", fontsize=LABEL)
    tidy(axes)
    left_out = len(tags) > _MOST_TAGS
    note = f"the best {_MOST_TAGS} of {count(len(tags), 'tag')}" if left_out else ""
    headline(figure, title_of(source, model), note)
    return figure


class Columns(NamedTuple):
    """Rows of a taggram put together, ``rows`` to a column.

    ``edges``, shape (columns + 1,), is where the columns begin and end in seconds; ``scores``,
    shape (columns, tags), are the highest of their rows.
    """

    edges: NDArray[np.float64]
    scores: NDArray[np.float32]
    rows: int


def draw_taggram(
    scores: NDArray[np.float32],
    times: NDArray[np.float64],
    tags: Sequence[str],
    *,
    patch_s: float,
    top_k: int,
    source: str | None,
    model: str,
) -> Figure:
    """Draw scores (rows, tags), each from its time on; see :func:`musicnn_zoo.plots.plot_taggram`.

    The last row lasts for ``patch_s`` seconds.
    """
    if top_k < 1:
        raise ArgumentError(f"top_k must be at least 1; received {top_k}")
    if not len(scores):
        raise ArgumentError(
            f"{printable(source or 'array')}: there is nothing to draw; the taggram has no rows"
        )
    order = np.argsort(-scores.mean(axis=0), kind="stable")[:top_k]
    columns = columns_of(scores, np.append(times, times[-1] + patch_s))
    shown = columns.scores[:, order].T
    figure = new_figure(13, 2.4 + 0.42 * len(order))
    axes = figure.add_subplot()
    mesh = axes.pcolormesh(
        columns.edges, np.arange(len(order) + 1) - 0.5, shown, cmap=SEQUENTIAL,
        vmin=min(0.0, float(shown.min())), rasterized=True,
        vmax=max(0.1, math.ceil(10 * float(shown.max()) - 1e-6) / 10),  # the next tenth
    )  # fmt: skip
    axes.set_ylim(len(order) - 0.5, -0.5)
    name_rows(axes, (tags[index] for index in order), _SHORT_WIDTH)
    time_axis(axes, columns.edges[0], columns.edges[-1])
    bar = figure.colorbar(mesh, ax=axes, fraction=0.04, pad=0.015)
    bar.set_label("score", fontsize=LABEL)
    bar.ax.tick_params(labelsize=TICK)
    notes = []
    if len(order) < len(tags):
        notes.append(f"the strongest {len(order)} of {count(len(tags), 'tag')}")
    if columns.rows > 1:
        notes.append(f"a column shows the highest score of {columns.rows} patches")
    headline(figure, title_of(source, model), "; ".join(notes))
    return figure


def columns_of(
    scores: NDArray[np.float32], edges: NDArray[np.float64], most: int = _MOST_COLUMNS
) -> Columns:
    """Put rows together until there are at most ``most`` columns; a row is from edge to edge."""
    rows = -(-len(scores) // most)
    firsts = np.arange(0, len(scores), rows)
    return Columns(edges[np.append(firsts, len(scores))], np.maximum.reduceat(scores, firsts), rows)


Span = tuple[str, float, float, float]
"""A tag, where it begins and ends in seconds, and its score."""

_MOST_LANES = 12
_KILOHERTZ = (0.25, 0.5, 1, 2, 4, 8, 16)
_QUIETEST_DB = 80
_TOLERANCE_S = 0.05


def draw_events(
    events: Sequence[Span],
    *,
    duration_s: float,
    offset_s: float | None,
    audio: AudioSource | None,
    sample_rate: int | None,
    spectrogram: LogMelInput | None,
    source: str | None,
    model: str,
    rule: str = "",
) -> Figure:
    """Draw events under the log-mel of their audio; see :func:`musicnn_zoo.plots.plot_events`.

    ``offset_s`` is where the clip begins in the audio; with None, the audio is the clip.
    """
    if audio is None:
        raise ArgumentError(
            "these events are of an array: pass it again as audio=…, with its sample_rate=…"
        )
    spectrogram = spectrogram or LogMelInput()
    stream = AudioStream(
        audio,
        sample_rate=sample_rate,
        target_rate=spectrogram.sample_rate,
        offset=offset_s or 0.0,
        duration=None if offset_s is None else duration_s,
    )
    n_samples = round(duration_s * spectrogram.sample_rate)
    frames = -(-(n_samples // spectrogram.hop + 1) // _MOST_COLUMNS)
    columns = logmel_columns(stream, spectrogram, frames=frames)
    if abs(stream.duration_s - duration_s) > _TOLERANCE_S:
        raise ArgumentError(
            f"{printable(stream.source or 'array')}: is {stream.duration_s:.2f} s long, but the "
            f"events are of a clip of {duration_s:.2f} s; pass the audio they are of"
        )
    lanes = _lanes(events)
    shown = dict(list(lanes.items())[:_MOST_LANES])
    height = 0.36 * max(1, len(shown))
    figure = new_figure(13, 5.6 + height)
    grid = figure.add_gridspec(2, 2, height_ratios=(3.6, height), width_ratios=(1, 0.012))
    upper = figure.add_subplot(grid[0, 0])
    lower = figure.add_subplot(grid[1, 0], sharex=upper)
    image = _draw_logmel(upper, columns, spectrogram, frames)
    bar = figure.colorbar(image, cax=figure.add_subplot(grid[0, 1]))
    decibel = spectrogram.compression == "decibel"
    bar.set_label("dB" if decibel else "log₁₀(10⁴ × power + 1)", fontsize=LABEL)
    bar.ax.tick_params(labelsize=TICK)
    _draw_lanes(lower, shown)
    time_axis(lower, 0, duration_s)
    upper.tick_params(axis="x", labelbottom=False)
    notes = [rule] if rule else []
    if len(lanes) > len(shown):
        notes.append(f"the {len(shown)} that last longest of {count(len(lanes), 'tag')}")
    headline(figure, title_of(source, model), "; ".join(notes))
    return figure


def _lanes(events: Sequence[Span]) -> dict[str, list[tuple[float, float]]]:
    """Start and length of each event by tag, the tag that lasts longest in all first."""
    lanes: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for tag, start_s, end_s, _ in events:
        lanes[tag].append((start_s, end_s - start_s))
    return dict(sorted(lanes.items(), key=lambda lane: -sum(length for _, length in lane[1])))


def _draw_logmel(
    axes: Any, columns: NDArray[np.float32], spectrogram: LogMelInput, frames: int
) -> Any:
    """Draw columns of ``frames`` frames each; a frame is centred on its time."""
    column_s = frames * spectrogram.hop / spectrogram.sample_rate
    before_s = 0.5 * column_s / frames
    top = spectrogram.n_mels - 0.5
    highest = float(columns.max())
    lowest = float(columns.min())
    if spectrogram.compression == "decibel":
        lowest = max(lowest, highest - _QUIETEST_DB)
    image = axes.imshow(
        columns.T, origin="lower", aspect="auto", cmap=SEQUENTIAL, vmin=lowest,
        vmax=max(highest, lowest + 1e-3), interpolation="nearest",
        extent=(-before_s, len(columns) * column_s - before_s, -0.5, top),
    )  # fmt: skip
    ticks = [tick for tick in _KILOHERTZ if spectrogram.f_min <= 1000 * tick <= spectrogram.f_max]
    places = np.minimum(band_of(1000 * np.array(ticks), spectrogram), top)
    axes.set_yticks(places, labels=[f"{tick:g}" for tick in ticks], fontsize=TICK)
    axes.set_ylim(-0.5, top)
    axes.set_ylabel("frequency (kHz)", fontsize=LABEL)
    return image


def _draw_lanes(axes: Any, lanes: dict[str, list[tuple[float, float]]]) -> None:
    for row, spans in enumerate(lanes.values()):
        axes.axhline(row, color="#E4E4E4", linewidth=0.8, zorder=0)
        # The edge keeps what is shorter than a dot in sight.
        axes.broken_barh(spans, (row - 0.36, 0.72), facecolor=BLUE, edgecolor=BLUE, linewidth=0.6)
    axes.set_ylim(max(1, len(lanes)) - 0.5, -0.5)
    name_rows(axes, lanes, _SHORT_WIDTH)
    if not lanes:
        write(
            axes, 0.5, 0.5, "no tag reached the threshold", transform=axes.transAxes,
            fontsize=NOTE + 1, color=GREY, ha="center", va="center",
        )  # fmt: skip
    tidy(axes)


_MARKERS = "os^DvPX<>*hp"
"""A shape for each group that is named; colours alone are too few."""


_MOST_NAMED = 40
"""Points of a map that have their names."""
_NAME_WIDTH = 24


def _name_points(
    figure: Figure, axes: Axes, points: NDArray[np.float32], names: Sequence[str]
) -> int:
    """Write names beside points; return how many were left out because they would cover others."""
    figure.draw_without_rendering()  # so that everything has its place
    area = axes.get_window_extent()
    taken: list[Bbox] = []
    for (x, y), name in zip(points, names, strict=True):
        text = axes.annotate(
            drawable(name, _NAME_WIDTH), (float(x), float(y)), (7, 0), textcoords="offset points",
            va="center", fontsize=TICK,
        )  # fmt: skip
        box = text.get_window_extent()
        if box.x1 > area.x1:
            text.set_horizontalalignment("right")
            text.xyann = (-7, 0)
            box = text.get_window_extent()
        if any(box.overlaps(other) for other in taken):
            text.remove()
        else:
            taken.append(box)
    return len(points) - len(taken)


def draw_map(
    points: NDArray[np.float32],
    groups: Sequence[str],
    *,
    names: Sequence[str],
    group_title: str,
    method: str,
    explained_variance: tuple[float, float] | None,
    model: str,
    layer: str,
    n_errors: int,
) -> Figure:
    """Draw points (files, 2) in colours of groups; see :func:`musicnn_zoo.plots.plot_map`.

    Up to 40 points have their names, except those that would cover others; up to 1000 are
    translucent, so that overlaps can be seen. The axes are principal components if it is known what
    part of the variance they explain.
    """
    figure = new_figure(13, 7.3)
    axes = figure.add_subplot()
    group_of = np.array(groups, dtype=object)
    sizes = Counter(groups).most_common()
    named = sizes if len(sizes) <= len(_MARKERS) else sizes[: len(_MARKERS) - 1]
    area = float(np.clip(30000 / len(points), 12, 110))
    style: dict[str, Any] = {
        "s": area,
        "linewidth": 0.6,
        "edgecolor": "white",
        "alpha": 0.75 if len(points) <= 1000 else 1.0,
        "rasterized": len(points) > 3000,
    }
    others = ~np.isin(group_of, [name for name, _ in named])
    labels = [f"{drawable(name, _SHORT_WIDTH)} ({n:,})" for name, n in named]
    handles = []
    for index, (name, _) in enumerate(named):
        chosen = points[group_of == name]
        marker, colour = _MARKERS[index], PALETTE[index % len(PALETTE)]
        handles.append(axes.scatter(*chosen.T, marker=marker, color=colour, **style))
    if others.any():
        handles.append(axes.scatter(*points[others].T, marker=".", color=PALE, zorder=0.9, **style))
        labels.append(f"other: {count(len(sizes) - len(named), 'group')} ({others.sum():,})")
    add_legend(
        axes, handles, labels, loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=TICK,
        title=group_title, title_fontsize=LABEL, markerscale=(90 / area) ** 0.5, labelspacing=0.7,
    )  # fmt: skip
    axis_labels = ["UMAP 1", "UMAP 2"]
    if explained_variance is not None:
        axis_labels = [
            f"principal component {number} ({100 * part:.0f} % of the variance)"
            for number, part in enumerate(explained_variance, 1)
        ]
    for axis, label in zip((axes.xaxis, axes.yaxis), axis_labels, strict=True):
        axis.set_ticks([])
        axis.set_label_text(label, fontsize=LABEL)
    axes.margins(0.04)
    tidy(axes)
    notes = [f"close together: alike to the model ({method.upper()})"]
    if len(points) <= _MOST_NAMED:
        hidden = _name_points(figure, axes, points, names)
        if hidden:
            notes.append(f"names of {hidden} left out, which would cover others")
    if n_errors:
        notes.append(f"{count(n_errors, 'file')} could not be used")
    title = f"{count(len(points), 'file')}, {drawable(model, 40)} {drawable(layer, 40)}"
    headline(figure, title, "; ".join(notes))
    return figure
