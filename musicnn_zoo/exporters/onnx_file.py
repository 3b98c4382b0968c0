"""An ONNX graph, the one that :mod:`musicnn_zoo.engines.onnx_engine` runs too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.engines.onnx_engine import open_session
from musicnn_zoo.onnx_graph import convert

if TYPE_CHECKING:
    from musicnn_zoo.models import TaggingModel


def write(model: TaggingModel, path: Path, precision: str) -> None:
    """Write the graph of a model; see :func:`musicnn_zoo.onnx_graph.convert`."""
    del precision
    convert(model, path)


def read(path: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Open a graph in ONNX Runtime, and return what computes its scores of waveforms."""
    session = open_session(path)

    def scores(waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(session.run(["output"], {"waveform": waveforms})[0])

    return scores
