"""Run an ONNX graph of a model by ONNX Runtime on the CPU."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import UnknownNameError, WeightsError
from musicnn_zoo.machine.cores import usable_cores

if TYPE_CHECKING:
    import onnxruntime

_TURNS_A_CALL = 8
_ENOUGH = 64


class OnnxEngine:
    """Runs an ONNX graph; see :class:`musicnn_zoo.runtimes.engine.Engine`.

    Patches are computed side by side, each by one core: that is as fast as larger batches, needs
    little memory, and gives a patch the same numbers whatever patches come with it.

    Parameters
    ----------
    graph : Path
        As :mod:`musicnn_zoo.runtimes.onnx_graph` makes it.
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
        self._by_process = {os.getpid(): _Runner(graph)}
        self._batch_size = batch_size or 1
        cores = usable_cores()
        turns = cores * _TURNS_A_CALL
        # Few cores wait little for the last of a call; many get a second call meanwhile, since
        # calls of so many turns would hold much audio.
        self.calls = 1 if turns <= _ENOUGH else 2
        self.appetite = self._batch_size * min(turns, max(_ENOUGH, cores))
        self.outputs = tuple(output.name for output in self._runner().session.get_outputs())

    def missing(self, layers: tuple[str, ...]) -> tuple[str, ...]:
        """Those of ``layers`` that the graph does not give out."""
        return tuple(layer for layer in layers if layer not in self.outputs)

    def run(
        self, windows: NDArray[np.float32], layers: tuple[str, ...]
    ) -> dict[str, NDArray[np.float32]]:
        """Return the activations of ``layers``; see :class:`~musicnn_zoo.runtimes.engine.Engine`."""
        for layer in self.missing(layers):
            raise UnknownNameError("output of the ONNX graph", layer, self.outputs)
        step = self._batch_size
        parts = [windows[start : start + step] for start in range(0, len(windows), step)]

        runner = self._runner()

        def compute(part: NDArray[np.float32]) -> list[NDArray[np.float32]]:
            activations: list[NDArray[np.float32]] = runner.session.run(
                list(layers), {"waveform": np.ascontiguousarray(part)}
            )
            return activations

        computed = list(runner.pool.map(compute, parts))
        return {
            layer: np.concatenate([part[i] for part in computed]) for i, layer in enumerate(layers)
        }

    def _runner(self) -> _Runner:
        """Session and threads of this process; those of another one do not outlive a fork."""
        process = os.getpid()
        if process not in self._by_process:
            self._by_process.setdefault(process, _Runner(self._graph))
        return self._by_process[process]


class _Runner:
    """A session, and threads to run it."""

    def __init__(self, graph: Path) -> None:
        self.session = open_session(graph)
        self.pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix="musicnn-zoo-onnx")


def open_session(graph: Path) -> onnxruntime.InferenceSession:
    """Open a graph to be run by the threads that call it.

    Raises
    ------
    WeightsError
        If it cannot be read.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            graph, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's own errors have no common base
        summary = (str(error).strip().splitlines() or [""])[0]
        raise WeightsError(f"{graph}: ONNX Runtime cannot read this graph ({summary})") from error
