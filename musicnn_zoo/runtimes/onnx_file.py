"""An ONNX graph, the one that :mod:`musicnn_zoo.runtimes.onnx_engine` runs too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.networks.config import ModelSpec, Provenance
from musicnn_zoo.runtimes.metadata import metadata
from musicnn_zoo.runtimes.onnx_engine import convert, open_session
from musicnn_zoo.runtimes.onnx_properties import with_properties

if TYPE_CHECKING:
    from musicnn_zoo.networks.build import TaggingModel


def write(model: TaggingModel, path: Path, precision: str) -> None:
    """Write the graph of a model; see :func:`musicnn_zoo.runtimes.onnx_engine.convert`.

    Its metadata properties are those of :func:`musicnn_zoo.runtimes.metadata.metadata`, what is
    no string as JSON.
    """
    convert(model, path)
    _describe(path, path, metadata(model.spec, model.provenance, precision))


def copy(graph: Path, spec: ModelSpec, provenance: Provenance, path: Path) -> None:
    """Write a graph that is there already, with the same metadata; without Keras."""
    _describe(graph, path, metadata(spec, provenance, "float32"))


def read(path: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Open a graph in ONNX Runtime, and return what computes its scores of waveforms."""
    session = open_session(path)

    def scores(waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(session.run(["output"], {"waveform": waveforms})[0])

    return scores


def _describe(graph: Path, path: Path, entries: dict[str, Any]) -> None:
    properties = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in entries.items()
    }
    path.write_bytes(with_properties(graph.read_bytes(), properties))
