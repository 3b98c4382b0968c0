"""Compare two sets of ONNX graphs of the bundled models: time of the network alone, and scores.

    python -m benchmarks.graphs OTHER_FOLDER [--cores 1]

OTHER_FOLDER holds graphs of another release, such as ``weights/`` of a git worktree of it. Both
graphs of a model run in turns, one patch a call, and only their scores are asked for. Prints ratios
of the processor time of both, and the largest difference of a score on noise.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np

from musicnn_zoo.zoo.catalogue import PRESETS
from musicnn_zoo.zoo.onnx_file import with_outputs

ROUNDS = 25
HERE = Path(__file__).parents[1] / "weights"


@click.command()
@click.argument("other", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--cores",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Patches computed at once.",
)
def main(other: Path, cores: int) -> None:
    """Print a line for each bundled model."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(range(cores)))
    graphs = {one.name: one.graph.name for one in PRESETS.values() if one.graph}
    there = {name: file for name, file in graphs.items() if (other / file).is_file()}
    if not there:
        raise click.UsageError(
            f"{other} holds no graph of a bundled model: give a folder with one of "
            f"{', '.join(graphs.values())}"
        )
    for name, file in there.items():
        sessions = [_session(folder / file) for folder in (other, HERE)]
        patches = np.random.default_rng(0).normal(0, 0.1, (8, 1, 48128)).astype(np.float32)
        scores = [[session.run(["output"], {"waveform": x})[0] for x in patches]
                  for session in sessions]  # fmt: skip
        difference = float(np.abs(np.subtract(*scores)).max())
        with ThreadPoolExecutor(cores) as pool:
            times = np.array(
                [[_time(session, patches, pool) for session in sessions] for _ in range(ROUNDS)]
            )
        before, now = np.median(times, axis=0) / len(patches)
        click.echo(
            f"{name}: {before / now:.2f} times as fast ({1000 * before:.1f} to "
            f"{1000 * now:.1f} ms of processor time a patch), scores differ by {difference:.1e}"
        )


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    graph = with_outputs(path.read_bytes(), ("output",))
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _time(session: Any, patches: Any, pool: ThreadPoolExecutor) -> float:
    started = time.process_time()
    list(pool.map(lambda x: session.run(["output"], {"waveform": x}), patches))
    return time.process_time() - started


if __name__ == "__main__":
    main()
