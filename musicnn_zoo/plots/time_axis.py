"""A time axis in minutes and seconds."""

from __future__ import annotations

from typing import Any

import numpy as np

from musicnn_zoo.plain_text import clock
from musicnn_zoo.plots.drawing import LABEL, TICK

_STEPS = (
    0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200,
)  # fmt: skip
_MOST_TICKS = 10


def time_axis(axes: Any, start_s: float, end_s: float) -> None:
    """Make the horizontal axis one of time from ``start_s`` to ``end_s``, in seconds."""
    axes.set_xlim(start_s, end_s)
    step = next((one for one in _STEPS if (end_s - start_s) / one <= _MOST_TICKS), 86400)
    ticks = np.arange(np.ceil(start_s / step), np.floor(end_s / step) + 1) * step
    shown = [clock(tick) if step < 1 else clock(tick).removesuffix(".0") for tick in ticks]
    axes.set_xticks(ticks, labels=shown, fontsize=TICK)
    axes.set_xlabel("time (minutes:seconds)", fontsize=LABEL)
