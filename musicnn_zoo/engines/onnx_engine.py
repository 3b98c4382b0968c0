"""Run an ONNX graph of a model by ONNX Runtime on the CPU."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import UnknownNameError, WeightsError

if TYPE_CHECKING:
    import onnxruntime

_CALLS_AHEAD = 8


class OnnxEngine:
    """Runs an ONNX graph; see :class:`musicnn_zoo.engines.engine.Engine`.

    Several patches are computed side by side, each by one core, which has been measured to be
    as fast as larger batches and needs little memory. A single patch is shared by all cores.

    Parameters
    ----------
    graph : Path
        As :mod:`musicnn_zoo.onnx_graph` makes it.
    batch_size : int, optional
        Patches that one core computes at once; by default one.

    Raises
    ------
    WeightsError
        If ONNX Runtime cannot read the graph.
    """

    name = "onnxruntime"

    def __init__(self, graph: Path, *, batch_size: int | None = None) -> None:
        self._graph = graph
        self._batch_size = batch_size or 1
        self._cores = _cores()
        self._sessions: dict[int, onnxruntime.InferenceSession] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(self._cores, thread_name_prefix="musicnn-zoo-onnx")
        self.appetite = self._batch_size * self._cores * _CALLS_AHEAD
        self.outputs = tuple(output.name for output in self._session(self._cores).get_outputs())

    def missing(self, layers: tuple[str, ...]) -> tuple[str, ...]:
        """Those of ``layers`` that the graph does not give out."""
        return tuple(layer for layer in layers if layer not in self.outputs)

    def run(
        self, windows: NDArray[np.float32], layers: tuple[str, ...]
    ) -> dict[str, NDArray[np.float32]]:
        """Return the activations of ``layers``; see :class:`~musicnn_zoo.engines.engine.Engine`."""
        for layer in self.missing(layers):
            raise UnknownNameError("output of the ONNX graph", layer, self.outputs)
        step = self._batch_size
        parts = [windows[start : start + step] for start in range(0, len(windows), step)]
        session = self._session(self._cores if len(parts) == 1 else 1)

        def compute(part: NDArray[np.float32]) -> list[Any]:
            activations: list[Any] = session.run(
                list(layers), {"waveform": np.ascontiguousarray(part)}
            )
            return activations

        computed = [compute(parts[0])] if len(parts) == 1 else list(self._pool.map(compute, parts))
        return {
            layer: np.concatenate([part[i] for part in computed]) for i, layer in enumerate(layers)
        }

    def _session(self, threads: int) -> onnxruntime.InferenceSession:
        with self._lock:
            if threads not in self._sessions:
                self._sessions[threads] = open_session(self._graph, threads=threads)
            return self._sessions[threads]


def open_session(graph: Path, *, threads: int) -> onnxruntime.InferenceSession:
    """Open a graph on the CPU.

    Raises
    ------
    WeightsError
        If it cannot be read.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            graph, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's own errors have no common base
        summary = (str(error).strip().splitlines() or [""])[0]
        raise WeightsError(f"{graph}: ONNX Runtime cannot read this graph ({summary})") from error


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
