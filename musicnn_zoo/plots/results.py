"""Pictures of what the models say: tags, taggrams, events and maps of embeddings."""

from __future__ import annotations

import math
import os
from collections import Counter, defaultdict
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
    check_picture,
    drawable,
    headline,
    new_figure,
    save,
    tidy,
    time_axis,
    title_of,
    write,
)
from musicnn_zoo.sound.read import AudioSource, AudioStream
from musicnn_zoo.tagging.results import Event, Events, Taggram, Tags
from musicnn_zoo.text import count, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from musicnn_zoo.library.embedding_map import EmbeddingMap


_MOST = 30
_TAG_NAME = 30


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
    names = [drawable(tag, _TAG_NAME) for tag, _ in shown]
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


MOST_COLUMNS = 1200
"""About as many as a picture has dots."""
_ROW_NAME = 24


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
    names = [drawable(taggram.tags[index], _ROW_NAME) for index in order]
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


"""About as many as a picture has dots."""
_MOST_LANES = 12
_NAME = 24
_KILOHERTZ = (0.25, 0.5, 1, 2, 4, 8, 16)
_QUIETEST_DB = 80
_TOLERANCE_S = 0.05


def plot_events(
    events: Events,
    path: str | os.PathLike[str] | None = None,
    *,
    audio: AudioSource | None = None,
    sample_rate: int | None = None,
) -> Figure:
    """Draw events as bars, one lane a tag, under the log-mel spectrogram of the clip.

    The spectrogram is the input of the model; of a model of waveforms, that of musicnn. The tag
    that lasts longest is at the top; of more than 12 tags the 12 that do. A recording of any
    length is read block by block, and what one dot shows is the mean of its frames.

    Parameters
    ----------
    events : Events
    path : path, optional
        Where to save the picture: ``.png``, ``.svg`` or ``.pdf``.
    audio : path, binary file object, or ndarray, optional
        The audio of the clip; by default its file is read again.
    sample_rate : int, optional
        Of an array, in Hz.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ArgumentError
        If the events are of an array and ``audio`` is not given, if ``audio`` has another length,
        if matplotlib is not installed (``pip install matplotlib``), or ``path`` has
        another ending.
    AudioError
        If the audio cannot be used.
    OutputError
        If the picture cannot be written.
    """
    if path is not None:
        check_picture(path)
    source = events.clip.source if audio is None else audio
    if source is None:
        raise ArgumentError(
            "these events are of an array: pass it again as audio=…, with its sample_rate=…"
        )
    spectrogram = events.spectrogram or LogMelInput()
    stream = AudioStream(source, sample_rate=sample_rate, target_rate=spectrogram.sample_rate)
    n_samples = round(events.clip.duration_s * spectrogram.sample_rate)
    frames = -(-(n_samples // spectrogram.hop + 1) // MOST_COLUMNS)
    columns = logmel_columns(stream, spectrogram, frames=frames)
    if abs(stream.duration_s - events.clip.duration_s) > _TOLERANCE_S:
        raise ArgumentError(
            f"{printable(stream.source or 'array')}: is {stream.duration_s:.2f} s long, but the "
            f"events are of a clip of {events.clip.duration_s:.2f} s; pass the audio they are of"
        )
    lanes = _lanes(events)
    shown = dict(list(lanes.items())[:_MOST_LANES])
    height = 0.36 * max(1, len(shown))
    figure = new_figure(13, 5.6 + height)
    grid = figure.add_gridspec(2, 2, height_ratios=(3.6, height), width_ratios=(1, 0.012))
    upper = figure.add_subplot(grid[0, 0])
    lower = figure.add_subplot(grid[1, 0], sharex=upper)
    column_s = frames * spectrogram.hop / spectrogram.sample_rate
    image = _draw_logmel(upper, columns, spectrogram, column_s, frames)
    bar = figure.colorbar(image, cax=figure.add_subplot(grid[0, 1]))
    decibel = spectrogram.compression == "decibel"
    bar.set_label("dB" if decibel else "log₁₀(10⁴ × power + 1)", fontsize=LABEL)
    bar.ax.tick_params(labelsize=TICK)
    _draw_lanes(lower, shown)
    time_axis(lower, 0, events.clip.duration_s)
    upper.tick_params(axis="x", labelbottom=False)
    note = ""
    if len(lanes) > len(shown):
        note = f"the {len(shown)} that last longest of {count(len(lanes), 'tag')}"
    headline(figure, title_of(events.clip, events.model), note)
    if path is not None:
        save(figure, path)
    return figure


def _lanes(events: Events) -> dict[str, list[Event]]:
    """Events by tag, that which lasts longest in all first."""
    lanes: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        lanes[event.tag].append(event)
    lengths = {tag: sum(e.end_s - e.start_s for e in of_tag) for tag, of_tag in lanes.items()}
    return {tag: lanes[tag] for tag in sorted(lanes, key=lambda tag: -lengths[tag])}


def _draw_logmel(
    axes: Any, columns: Any, spectrogram: LogMelInput, column_s: float, frames: int
) -> Any:
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
    ticks = [
        kilohertz
        for kilohertz in _KILOHERTZ
        if spectrogram.f_min <= 1000 * kilohertz <= spectrogram.f_max
    ]
    places = np.minimum(band_of(1000 * np.array(ticks), spectrogram), top)
    axes.set_yticks(places, labels=[f"{tick:g}" for tick in ticks], fontsize=TICK)
    axes.set_ylim(-0.5, top)
    axes.set_ylabel("frequency (kHz)", fontsize=LABEL)
    return image


def _draw_lanes(axes: Any, lanes: dict[str, list[Event]]) -> None:
    for row, of_tag in enumerate(lanes.values()):
        axes.axhline(row, color="#E4E4E4", linewidth=0.8, zorder=0)
        spans = [(event.start_s, event.end_s - event.start_s) for event in of_tag]
        # The edge keeps what is shorter than a dot in sight.
        axes.broken_barh(spans, (row - 0.36, 0.72), facecolor=BLUE, edgecolor=BLUE, linewidth=0.6)
    rows = max(1, len(lanes))
    axes.set_ylim(rows - 0.5, -0.5)
    names = [drawable(tag, _NAME) for tag in lanes]
    axes.set_yticks(range(len(names)), labels=names, fontsize=LABEL, parse_math=False)
    axes.tick_params(axis="y", length=0)
    if not lanes:
        write(
            axes, 0.5, 0.5, "no tag reached the threshold", transform=axes.transAxes,
            fontsize=NOTE + 1, color=GREY, ha="center", va="center",
        )  # fmt: skip
    tidy(axes)


_MARKERS = "os^DvPX<>*hp"
"""A shape for each group that is named; colours alone are too few."""
_LANE_NAME = 26


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
