"""Vectors that AudioMuse-AI's index takes: those of its MusiCNN, computed as it does.

AudioMuse-AI runs the network of ``MSD_musicnn`` from the same weights, but differs in what goes in
and what comes out:

- Frames are not centred: the first begins with the signal, and nothing is padded.
- All whole patches of 187 frames count, silent ones too, of the first ten minutes.
- The vector of a track is the mean over its patches of the 200 sums of the last hidden layer,
  before its ReLU and BatchNorm; ``penultimate`` is what comes after them.

Both take librosa's mel spectrogram (Slaney's filters, 96 bands, windows of 512 samples every 256,
powers) of mono sound at 16 kHz, as ``log10(1 + 10000 x)``. A sound too short for one patch has no
vector in AudioMuse-AI; in a library it is repeated, as everywhere in this package, and
:meth:`musicnn_zoo.Library.vectors` leaves it out.

References
----------
https://github.com/NeptuneHub/AudioMuse-AI, ``tasks/analysis`` and ``musicnn/README.md``, of 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from musicnn_zoo.errors import ExportError
from musicnn_zoo.networks.config import ModelConfig
from musicnn_zoo.runtimes.onnx_engine import OnnxEngine, find_graph
from musicnn_zoo.sound.read import OnDamage
from musicnn_zoo.tagging.pipeline import Cutting, EmbeddedTags, embedded_tags_task, process
from musicnn_zoo.tagging.results import FileResult
from musicnn_zoo.tagging.tagger import Reading, streams_of
from musicnn_zoo.zoo.onnx_file import tensors_of, with_tensor

if TYPE_CHECKING:
    from musicnn_zoo.zoo.load import Pretrained

NAME = "audiomuse"
"""Of the analysis in a library."""
MODEL = "MSD_musicnn"
LAYER = "dense_sums"
LONGEST_S = 600
"""What AudioMuse-AI reads of a track by default (its ``AUDIO_LOAD_TIMEOUT``)."""
_SUMS = re.compile(r".*/backend_dense(_\d+)?/BiasAdd(:0)?")


def uncentred(config: ModelConfig) -> Cutting:
    """Return where AudioMuse-AI's patches lie."""
    grid = replace(config.grid, padding=0)
    return Cutting(grid, "drop", LONGEST_S * grid.sample_rate)


def settings(config: ModelConfig) -> dict[str, Any]:
    """Return what tells these vectors from all others, ready for JSON."""
    grid = uncentred(config).grid
    return {
        "compatible": NAME, "frames": "uncentred", "patch_frames": grid.patch,
        "hop_frames": grid.hop, "sample_rate": grid.sample_rate,
        "shortest_s": grid.shortest / grid.sample_rate, "longest_s": LONGEST_S, "tail": "drop",
        "silence": "keep", "pooling": "mean",
    }  # fmt: skip


class AudioMuseAnalyst:
    """Computes tags and AudioMuse-AI's vectors of files by ``MODEL``, in ONNX Runtime."""

    def __init__(self, pretrained: Pretrained) -> None:
        self._spec = pretrained.spec
        self._engine = OnnxEngine(_graph_with_sums(pretrained))

    def __call__(
        self, paths: Iterable[str], *, damaged: OnDamage = "refuse", jobs: int | None = None
    ) -> Iterator[FileResult[EmbeddedTags]]:
        """Yield the results of files in their order; the embedding is that of ``LAYER``."""
        cutting = uncentred(self._spec.config)
        task = embedded_tags_task(self._spec, cutting, layers=(LAYER,), silence="keep")
        reading = Reading(damaged, isolate=True)
        streams = streams_of(paths, cutting.grid.sample_rate, reading)
        return process(streams, task, engine=self._engine, jobs=jobs)


def _graph_with_sums(pretrained: Pretrained) -> bytes:
    graph = find_graph(pretrained, pretrained.load).read_bytes()
    found = [name for name in tensors_of(graph) if _SUMS.fullmatch(name)]
    if len(found) != 1:
        raise ExportError(f"the ONNX graph of {MODEL} has no sums of its last hidden layer")
    return with_tensor(graph, found[0], LAYER)
