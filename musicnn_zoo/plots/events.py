"""A picture of sound events: when each tag lasts, under the log-mel spectrogram."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.networks.config import LogMelInput
from musicnn_zoo.networks.spectrogram import band_of, logmel_columns
from musicnn_zoo.plain_text import count, printable
from musicnn_zoo.plots.drawing import (
    BLUE,
    GREY,
    LABEL,
    NOTE,
    SEQUENTIAL,
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
from musicnn_zoo.plots.time_axis import time_axis
from musicnn_zoo.sound.read import AudioSource, AudioStream
from musicnn_zoo.tagging.events import Events
from musicnn_zoo.tagging.sound_events import Event

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_COLUMNS = 1200
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
