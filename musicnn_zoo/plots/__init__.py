"""Pictures of what the models say and how good they are; needs ``musicnn-zoo[plots]``.

Figures are plain :class:`matplotlib.figure.Figure` objects, made without ``pyplot``, so that no
window system is touched and nothing has to be closed.
"""

from __future__ import annotations

from musicnn_zoo.plots.evaluation import plot_evaluation
from musicnn_zoo.plots.filters import plot_filters
from musicnn_zoo.plots.results import plot_events, plot_map, plot_taggram, plot_tags

__all__ = [
    "plot_evaluation",
    "plot_events",
    "plot_filters",
    "plot_map",
    "plot_taggram",
    "plot_tags",
]
