"""Pictures of what the models say and how good they are; needs ``musicnn-zoo[plots]``.

Figures are plain :class:`matplotlib.figure.Figure` objects, made without ``pyplot``, so that no
window system is touched and nothing has to be closed.
"""

from __future__ import annotations

from musicnn_zoo.plots.evaluation import plot_evaluation

__all__ = ["plot_evaluation"]
