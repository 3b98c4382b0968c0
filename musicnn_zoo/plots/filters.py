"""A picture of what the filters of a front-end have learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.plots.drawing import (
    BLUE,
    DIVERGING,
    LABEL,
    NOTE,
    PALE,
    SEQUENTIAL,
    TICK,
    drawable,
    headline,
    name_rows,
    new_figure,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FilterKind = Literal["image", "curve", "waveform", "input"]

SHORTEST_WAVEFORM = 32
"""Samples of a filter that shows something to the eye."""
_WIDTH = 14.0
_TILE = 0.86
"""Width of an image, as a part of the place that it has."""
_CURVES = 8
_IMAGES = 16
"""In a whole row."""
_MOST_BINS = 128


@dataclass(frozen=True, eq=False)
class FilterGroup:
    """Filters of one layer.

    Parameters
    ----------
    layer : str
    kind : {"image", "curve", "waveform", "input"}
        ``image``: weights (filters, frames, bands), the strongest first; ``curve``: weights
        (filters, frames), the strongest first; ``waveform``: weights (filters, samples), by
        centre frequency; ``input``: what the filters respond to most, (filters, samples), by
        centre frequency.
    values : ndarray, float32
    indices : ndarray, shape (filters,)
        Which filters of the layer they are.
    n_filters : int
        Of the layer.
    step_s : float
        Seconds between two frames or samples.
    window_s : float or None
        Length of the window in seconds whose spectrogram they look at, if there are several.
    """

    layer: str
    kind: FilterKind
    values: NDArray[np.float32]
    indices: NDArray[np.int64]
    n_filters: int
    step_s: float
    window_s: float | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def is_long(self) -> bool:
        """Whether waveforms are long enough to show something to the eye."""
        return bool(self.values.shape[1] >= SHORTEST_WAVEFORM)

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """Of :attr:`spectra`, in Hz."""
        return np.fft.rfftfreq(self.values.shape[1], self.step_s)[1:].astype(np.float64)

    @property
    def spectra(self) -> NDArray[np.float64]:
        """Magnitudes (filters, frequencies) of waveforms, without that of 0 Hz."""
        return np.asarray(np.abs(np.fft.rfft(self.values, axis=1))[:, 1:])

    @property
    def centre_frequencies(self) -> NDArray[np.float64]:
        """Where the spectrum of each filter is highest, in Hz."""
        centres: NDArray[np.float64] = self.frequencies[self.spectra.argmax(axis=1)]
        return centres


class _Panel(NamedTuple):
    """One axes of the figure: how it is drawn, and its height in inches."""

    draw: Callable[[Any], None]
    height: float


def draw_filters(groups: Sequence[FilterGroup], *, model: str, frontend: str) -> Figure:
    """Draw the filters of a front-end; see :func:`musicnn_zoo.plots.plot_filters`."""
    rows = _rows(groups)
    heights = [max(panel.height for panel in row) for row in rows]
    figure = new_figure(_WIDTH, sum(heights) + 1.2)
    grid = figure.add_gridspec(len(rows), 1, height_ratios=heights)
    for index, row in enumerate(rows):
        places = grid[index].subgridspec(1, len(row))
        for column, panel in enumerate(row):
            panel.draw(figure.add_subplot(places[0, column]))
    kinds = {group.kind for group in groups}
    notes = []
    if kinds & {"image", "curve"}:
        notes.append("the strongest filters of each layer, by number")
    if "image" in kinds:
        notes.append("orange: above zero, purple: below; time to the right")
    if "input" in kinds:
        notes.append("spectra of the inputs that drive the filters most, found by gradient ascent")
    title = f"{drawable(model, 40)}: filters of the front-end {drawable(frontend)}"
    headline(figure, title, "; ".join(notes))
    return figure


def _rows(groups: Sequence[FilterGroup]) -> list[list[_Panel]]:
    """Arrange the groups: images, then curves, then spectra."""
    images = [group for group in groups if group.kind == "image"]
    a_row = 1 if len(images) <= 3 else 2 if len(images) <= 6 else 3
    slots = min(_IMAGES // a_row, max((len(group.values) for group in images), default=1))
    most = 2 * slots if len(images) == 1 else slots
    panels = [
        _image_panel(group, slice(first, first + slots), slots, min(most, len(group.values)))
        for group in images
        for first in range(0, min(most, len(group.values)), slots)
    ]
    rows = _split(panels, a_row)
    curves = [_curve_panel(group) for group in groups if group.kind == "curve"]
    rows += _split(curves, 2 if len(curves) == 4 else 3)
    spectra: list[_Panel] = []
    for group in groups:
        if group.kind == "waveform" and group.is_long:
            rows.append([_spectra_panel(group, 4.0), _waveform_panel(group)])
        elif group.kind in ("waveform", "input"):
            spectra.append(_spectra_panel(group, 3.4))
    return rows + _split(spectra, 3)


def _split(panels: list[_Panel], size: int) -> list[list[_Panel]]:
    return [panels[start : start + size] for start in range(0, len(panels), size)]


def _title(axes: Any, group: FilterGroup, what: str) -> None:
    if group.window_s is not None:
        what = f"{what}, window {1000 * group.window_s:.0f} ms"
    axes.set_title(f"{drawable(group.layer, 40)}: {what}", fontsize=LABEL, loc="left")
    axes.title.set_parse_math(False)


def _image_panel(group: FilterGroup, which: slice, slots: int, n_drawn: int) -> _Panel:
    shown, indices = group.values[which], group.indices[which]
    _, frames, bands = shown.shape
    place = _WIDTH / (_IMAGES + 1)

    def draw(axes: Any) -> None:
        for column, values in enumerate(shown):
            largest = float(np.abs(values).max()) or 1.0
            axes.imshow(
                values.T, origin="lower", aspect="auto", interpolation="nearest",
                cmap=DIVERGING, vmin=-largest, vmax=largest,
                extent=(column, column + _TILE, 0, bands),
            )  # fmt: skip
            frame = [column, column + _TILE, column + _TILE, column, column]
            axes.plot(frame, [0, 0, bands, bands, 0], color=PALE, linewidth=0.8)
        axes.set_xlim(-0.05, slots - 1 + _TILE + 0.05)
        axes.set_ylim(-0.02 * bands, 1.02 * bands)
        numbers = [f"{index}" for index in indices]
        axes.set_xticks(np.arange(len(shown)) + _TILE / 2, labels=numbers, fontsize=NOTE)
        axes.tick_params(length=0)
        axes.set_yticks([0, bands], labels=["0", f"{bands}"], fontsize=NOTE)
        axes.set_ylabel("mel bands", fontsize=NOTE)
        for spine in axes.spines.values():
            spine.set_visible(False)
        if not which.start:
            length = f"{1000 * frames * group.step_s:.0f} ms"
            _title(axes, group, f"{n_drawn} of {group.n_filters}, {length}")

    return _Panel(draw, min(2.4, max(0.8, place * bands / frames)) + 0.75)


def _curve_panel(group: FilterGroup) -> _Panel:
    chosen = np.arange(len(group.values[:_CURVES]))
    return _curves_panel(group, chosen, 1, "time (s)", 0.36 * len(chosen) + 1.1)


def _waveform_panel(group: FilterGroup) -> _Panel:
    n = len(group.values)
    chosen = np.unique(np.linspace(0, n - 1, min(_CURVES, n)).round().astype(int))
    return _curves_panel(group, chosen[::-1], 1000, "time (ms)", 4.0)


def _curves_panel(
    group: FilterGroup, chosen: NDArray[np.int64], units: float, xlabel: str, height: float
) -> _Panel:
    """Curves under each other over time, ``units`` to the second, each to its own largest value."""
    curves = group.values[chosen]
    times = units * group.step_s * np.arange(curves.shape[1])

    def draw(axes: Any) -> None:
        for row, values in enumerate(curves):
            largest = float(np.abs(values).max()) or 1.0
            axes.axhline(row, color=PALE, linewidth=0.7)
            axes.plot(times, row - 0.46 * values / largest, color=BLUE, linewidth=1.6, gid="filter")
        axes.set_xlim(times[0], times[-1])
        axes.set_ylim(len(curves) - 0.5, -0.5)
        name_rows(axes, map(str, group.indices[chosen]), 9, fontsize=NOTE)
        axes.tick_params(axis="x", labelsize=TICK)
        axes.set_xlabel(xlabel, fontsize=LABEL)
        axes.set_ylabel("filter", fontsize=LABEL)
        tidy(axes)
        _title(axes, group, f"{len(curves)} of {group.n_filters}")

    return _Panel(draw, height)


def _spectra_panel(group: FilterGroup, height: float) -> _Panel:
    def draw(axes: Any) -> None:
        kilohertz = group.frequencies / 1000
        bins = -(-len(kilohertz) // _MOST_BINS)
        firsts = np.arange(0, len(kilohertz), bins)
        powers = np.add.reduceat(group.spectra**2, firsts, axis=1)
        highest = np.maximum(powers.max(axis=1, keepdims=True), np.finfo(float).tiny)
        half = 0.5 * (kilohertz[1] - kilohertz[0])
        top = kilohertz[firsts[-1]] + (2 * bins - 1) * half
        axes.imshow(
            np.sqrt(powers / highest).T, origin="lower", aspect="auto", interpolation="nearest",
            cmap=SEQUENTIAL, vmin=0, vmax=1,
            extent=(0, len(group.values), kilohertz[0] - half, top),
        )  # fmt: skip
        axes.set_ylim(0, kilohertz[-1])
        axes.set_xticks([])
        axes.set_xlabel("filters by centre frequency", fontsize=LABEL)
        axes.set_ylabel("frequency (kHz)", fontsize=LABEL)
        axes.tick_params(labelsize=TICK)
        _title(axes, group, f"{len(group.values)} of {group.n_filters}")

    return _Panel(draw, height)
