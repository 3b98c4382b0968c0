"""The data of the tutorial's page: what the bundled models hear in the clips.

Log-mel and answers of filters are bytes between a least and a largest value; what is read as a
number on the page is exact. Where a model looks is found by occlusion (Zeiler & Fergus 2014): a
stretch of a patch is silenced and the model asked again; the score that is lost is what the stretch
said for the tag.

References
----------
Zeiler, Fergus. "Visualizing and understanding convolutional networks." ECCV 2014.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from musicnn_zoo.networks.config import LogMelInput
from musicnn_zoo.networks.mel import log_mel, mel_frequencies
from musicnn_zoo.networks.patches import PatchGrid, PatchStream
from musicnn_zoo.sound.envelope import find_envelope
from musicnn_zoo.sound.read import load_audio
from musicnn_zoo.tagging.pipeline import silent_rows
from musicnn_zoo.tagging.results import Clip
from musicnn_zoo.zoo.catalogue import PRESETS, BundledFile
from musicnn_zoo.zoo.load import find_pretrained, model_info
from musicnn_zoo.zoo.weights import bundled

if TYPE_CHECKING:
    from musicnn_zoo.runtimes.engine import Engine

Floats = NDArray[np.float32]

INDEX, DATA = "index.json", "data.bin"
"""What the folder has: places and words, and the arrays that they name."""

STRETCH = 17
"""Frames that are silenced together, 0.27 s; a patch of 187 frames has eleven of them."""
TAGS = 10
"""Of which it is shown what each moment does to them: the strongest of a clip."""

_COLUMN = 5
"""Frames that become one column of an answer, their maximum."""
_ENVELOPE_S = 0.02
"""Length of a stretch of the waveform that is drawn."""
_LOGMEL_COLUMN = 2
"""Frames that become one column of the log-mel, their mean."""
_MOST_ROWS = 24
"""Of the picture of an answer; neighbouring bands become one, their maximum."""
_ALIVE = 1e-4
"""By how much the answer of a filter must change to be shown; of a channel, to be counted."""
_BN_EPSILON = 1e-3
_POOLED = ("timbral", "temporal", "cnn1", "cnn2", "cnn3")
"""What musicnn's back-end pools over time, side by side."""
MISSING = "This site was written without the tutorial's data: that needs h5py, so pip install h5py"


class Shape(NamedTuple):
    """Filters of one shape in the first layer of the bundled models of one architecture.

    ``number`` is the place of the convolution among those of the weights file; ``shown`` says how
    many filters are shown.
    """

    layer: str
    architecture: str
    number: int
    shown: int


SHAPES = (
    Shape("frontend_timbral_38", "musicnn", 0, shown=6),
    Shape("frontend_timbral_67", "musicnn", 1, shown=6),
    Shape("frontend_temporal_128", "musicnn", 2, shown=3),
    Shape("frontend_temporal_64", "musicnn", 3, shown=4),
    Shape("frontend_temporal_32", "musicnn", 4, shown=4),
    Shape("frontend_conv1", "vgg", 0, shown=8),
)


@cache
def tutorial_files(clips: tuple[tuple[Path, str], ...]) -> Mapping[str, bytes]:
    """Compute the files of the page's data, by name; it takes some seconds the first time.

    Without h5py, which the weights are read by and Keras brings along, it is one file that says so
    (``{"missing": …}``).

    Parameters
    ----------
    clips : tuple of (Path, str)
        Recordings and their titles.
    """
    try:
        filters = {each: _first_layers(each) for each in _bundled_models()}
    except ModuleNotFoundError:
        return {INDEX: _json({"missing": MISSING})}
    arrays = Arrays()
    index = _index(arrays, dict(clips), filters)
    return {INDEX: _json(index), DATA: arrays.content}


def _json(content: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(content, ensure_ascii=False, separators=(',', ':'))}\n".encode()


def _bundled_models() -> dict[str, BundledFile]:
    firsts = {name: preset.sources[0] for name, preset in PRESETS.items()}
    return {name: file for name, file in firsts.items() if isinstance(file, BundledFile)}


class Arrays:
    """Arrays one after the other, each at a multiple of four bytes."""

    def __init__(self) -> None:
        self.content = b""

    def add(self, array: NDArray[Any], **more: Any) -> dict[str, Any]:
        """Take an array, and return where it is and what else there is to say of it."""
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        at = len(self.content)
        self.content += little.tobytes() + bytes(-little.nbytes % 4)
        return {"at": at, "type": little.dtype.str[1:], "shape": list(array.shape), **more}

    def add_bytes(
        self, array: NDArray[np.floating[Any]], low: float, high: float, **more: Any
    ) -> dict[str, Any]:
        """Take an array as bytes between two values."""
        parts = (array.astype(np.float64) - low) / ((high - low) or 1)
        pixels = np.rint(255 * np.clip(parts, 0, 1)).astype(np.uint8)
        return self.add(pixels, low=_short(low), high=_short(high), **more)


def _short(value: float) -> float:
    return float(f"{value:.5g}")


@dataclass(frozen=True)
class Filters:
    """Filters of one shape, and the BatchNorms before and after them.

    ``kernel`` is (frames, bands, filters); what is named for BatchNorm is (4, channels): scale,
    shift, mean and variance.
    """

    before: Floats
    kernel: Floats
    bias: Floats
    after: Floats

    def strongest(self) -> list[int]:
        """Return the filters by the norm of their weights."""
        norms = np.linalg.norm(self.kernel.reshape(-1, self.kernel.shape[2]), axis=0)
        return [int(each) for each in np.argsort(-norms, kind="stable")]

    def answers(self, logmel: Floats, which: Sequence[int]) -> Floats:
        """Return what filters give to the next layer, before the maximum over the bands.

        ``logmel`` is (patches, frames, bands), the answers (filters, patches, frames, positions).
        """
        width, height = self.kernel.shape[:2]
        before = (width - 1) // 2
        # A filter of half the bands stays inside them; one of a few goes over the edge by half.
        edge = ((height - 1) // 2,) * 2 if height == width else (0, 0)
        margins = ((0, 0), (before, width - 1 - before), edge)
        padded = np.pad(_normalized(logmel, *self.before), margins)
        kernel = self.kernel[..., list(which)]
        bias, after = self.bias[list(which)], self.after[:, list(which)]
        answers = [
            np.tensordot(sliding_window_view(patch, (width, height)), kernel, axes=2)
            for patch in padded
        ]
        positive = np.maximum(np.stack(answers) + bias, 0)
        return np.moveaxis(_normalized(positive, *after), -1, 0)


def _normalized(x: Floats, scale: Any, shift: Any, mean: Any, variance: Any) -> Floats:
    normalized: Floats = (x - mean) / np.sqrt(variance + _BN_EPSILON) * scale + shift
    return normalized.astype(np.float32)


def _first_layers(model: str) -> dict[str, Filters]:
    """Read the first layer out of the weights, without Keras."""
    import h5py  # type: ignore[import-untyped]

    with h5py.File(bundled(_bundled_models()[model])) as file:

        def read(kind: str, number: int) -> list[Floats]:
            variables = file[f"layers/{kind}{f'_{number}' if number else ''}/vars"]
            return [np.asarray(variables[name]) for name in sorted(variables)]

        found = {}
        for shape in _shapes_of(model):
            kernel, bias = read("conv2d", shape.number)
            found[shape.layer] = Filters(
                np.stack(read("batch_normalization", 0)), kernel[:, :, 0], bias,
                np.stack(read("batch_normalization", shape.number + 1)),
            )  # fmt: skip
        return found


def _shapes_of(model: str) -> list[Shape]:
    architecture = PRESETS[model].architecture.name
    return [shape for shape in SHAPES if shape.architecture == architecture]


@dataclass(frozen=True)
class Heard:
    """A clip as the models take it: patches (patches, samples), and their log-mel."""

    clip: Clip
    samples: Floats
    windows: Floats
    logmel: Floats
    grid: PatchGrid
    spectrogram: LogMelInput


def _hear(path: Path, model: str) -> Heard:
    config = find_pretrained(model).spec.config
    assert isinstance(config.input, LogMelInput)
    grid = config.grid
    samples = np.asarray(load_audio(path, target_rate=grid.sample_rate).samples)
    stream = PatchStream(grid)
    windows = np.concatenate([stream.feed(samples), stream.finish()])
    frames = sliding_window_view(windows, grid.window, axis=1)[:, :: grid.frame_hop]
    logmel = np.stack([log_mel(patch, config.input) for patch in frames])
    clip = Clip(
        path.name, len(samples) / grid.sample_rate, stream.repeated, stream.dropped_s,
        silent=float(silent_rows(windows).mean()),
    )  # fmt: skip
    return Heard(clip, samples, windows, logmel, grid, config.input)


def _index(
    arrays: Arrays, clips: Mapping[Path, str], filters: Mapping[str, Mapping[str, Filters]]
) -> dict[str, Any]:
    models = list(filters)
    heard = {path: _hear(path, models[0]) for path in clips}
    one = next(iter(heard.values()))
    mels = one.spectrogram
    hertz = mel_frequencies(mels.n_mels + 2, mels.f_min, mels.f_max, mels.mel_scale)[1:-1]
    return {
        "patch_s": one.grid.patch_s,
        "patch_frames": one.grid.patch,
        "frame_s": mels.hop / mels.sample_rate,
        "sample_rate": mels.sample_rate,
        "bands_hz": np.rint(hertz).astype(int).tolist(),
        "clips": [_clip(arrays, path, clips[path], each) for path, each in heard.items()],
        "layers": {
            shape.layer: {
                model: _filters(arrays, model, shape, filters[model][shape.layer], heard)
                for model in models
                if shape in _shapes_of(model)
            }
            for shape in SHAPES
        },
        "models": [_model(arrays, model, heard) for model in models],
    }


def _clip(arrays: Arrays, path: Path, title: str, heard: Heard) -> dict[str, Any]:
    rate = heard.grid.sample_rate
    envelope = find_envelope([heard.samples], rate, finest_s=_ENVELOPE_S)
    logmel = heard.logmel.reshape(-1, heard.logmel.shape[2])
    starts = np.arange(0, len(logmel), _LOGMEL_COLUMN)
    counts = np.diff(starts, append=len(logmel))
    columns = np.add.reduceat(logmel, starts) / counts[:, np.newaxis]
    return {
        "file": path.name,
        "title": title,
        "facts": heard.clip.to_dict(),
        "silent": silent_rows(heard.windows).tolist(),
        "envelope": {
            "stretch_s": envelope.stretch_s,
            "lowest": arrays.add(envelope.lowest),
            "highest": arrays.add(envelope.highest),
        },
        "logmel": arrays.add_bytes(
            columns.T, float(columns.min()), float(columns.max()),
            step_s=_LOGMEL_COLUMN * heard.grid.frame_hop / rate,
        ),
    }  # fmt: skip


def _filters(
    arrays: Arrays, model: str, shape: Shape, filters: Filters, heard: Mapping[Path, Heard]
) -> dict[str, Any]:
    """Describe the filters of a shape, those of the largest norm that answer to the clips."""
    which = filters.strongest()[: 2 * shape.shown]
    grid = next(iter(heard.values())).grid
    step_s = _COLUMN * grid.frame_hop / grid.sample_rate
    answers = {path: filters.answers(each.logmel, which) for path, each in heard.items()}
    shown = []
    for place, number in enumerate(which):
        pictures = {path.name: _picture(answers[path][place]) for path in heard}
        low = min(float(each.min()) for each in pictures.values())
        high = max(float(each.max()) for each in pictures.values())
        if high - low < _ALIVE:
            continue
        weights = filters.kernel[..., number]
        most = float(np.abs(weights).max())
        shown.append(
            {
                "filter": number,
                "turned": bool(filters.after[0, number] < 0),
                "weights": arrays.add_bytes(weights.T, -most, most),
                "answers": {
                    name: arrays.add_bytes(each, low, high, step_s=step_s)
                    for name, each in pictures.items()
                },
            }
        )
        if len(shown) == shape.shown:
            break
    alive, of = model_info(model).filters[shape.layer]
    return {"alive": alive, "of": of, "filters": shown}


def _picture(answers: Floats) -> Floats:
    """Make (patches, frames, positions) to (rows, columns): the lowest position first."""
    positions = answers.shape[2]
    frames = answers.reshape(-1, positions)
    columns = np.maximum.reduceat(frames, np.arange(0, len(frames), _COLUMN))
    step = -(-positions // _MOST_ROWS)
    rows: Floats = np.maximum.reduceat(columns, np.arange(0, positions, step), axis=1).T
    return rows


def _model(arrays: Arrays, model: str, heard: Mapping[Path, Heard]) -> dict[str, Any]:
    from musicnn_zoo.tagging.tagger import Tagger

    with Tagger(model, engine="onnxruntime") as tagger:
        engine = tagger.engine_for(("output",))
        tags = list(tagger.tags)
        clips = {path.name: _listen(arrays, engine, each) for path, each in heard.items()}
    return {
        "name": model,
        "architecture": PRESETS[model].architecture.name,
        "trained_on": PRESETS[model].provenance.trained_on,
        "tags": tags,
        "clips": clips,
    }


def _listen(arrays: Arrays, engine: Engine, heard: Heard) -> dict[str, Any]:
    """Find the scores of each patch, and what each stretch of it does to the strongest tags."""
    count = len(heard.windows)
    silenced = _silenced(heard.windows, heard.grid)
    everything = np.concatenate([heard.windows, silenced.reshape(-1, silenced.shape[2])])
    output = engine.run(everything, ("output",))["output"]
    scores, without = output[:count], output[count:].reshape(count, -1, output.shape[1])
    strongest = np.argsort(-scores.mean(axis=0), kind="stable")[:TAGS]
    lost = (scores[:, np.newaxis] - without)[..., strongest].reshape(-1, TAGS)
    found = {
        "scores": arrays.add(scores),
        "strongest": strongest.tolist(),
        "lost": arrays.add(lost.T, step_s=STRETCH * heard.grid.frame_hop / heard.grid.sample_rate),
    }
    if not engine.missing(_POOLED):
        counts, living = _winners(engine.run(heard.windows, _POOLED))
        found |= {"wins": arrays.add(counts), "living": living}
    return found


def _silenced(windows: Floats, grid: PatchGrid) -> Floats:
    """Silence each stretch of each patch: (patches, stretches, samples)."""
    half, fade = grid.frame_hop // 2, grid.frame_hop
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / fade)
    samples = windows.shape[1]
    kept = []
    for first in range(0, grid.patch, STRETCH):
        last = first + STRETCH
        gain = np.ones(samples + 2 * fade)
        # Frame f is centred on f * hop + window / 2; a fade is as long as a hop, outside.
        start = first * grid.frame_hop + grid.window // 2 - half if first else 0
        stop = last * grid.frame_hop + grid.window // 2 - half if last < grid.patch else samples
        gain[fade + start : fade + stop] = 0
        gain[start : fade + start] = rise[::-1]
        gain[fade + stop : 2 * fade + stop] = rise
        kept.append(gain[fade : fade + samples])
    return windows[:, np.newaxis] * np.array(kept, np.float32)


def _winners(layers: Mapping[str, Floats]) -> tuple[NDArray[np.uint16], list[int]]:
    """Count the channels that have their maximum at each frame; constant ones have none.

    Return the counts, patch after patch, and how many channels count in each patch.
    """
    channels = np.concatenate([layers[name] for name in _POOLED], axis=2)
    counts, living = [], []
    for patch in channels:
        alive = np.ptp(patch, axis=0) > _ALIVE
        counts.append(np.bincount(patch[:, alive].argmax(axis=0), minlength=len(patch)))
        living.append(int(alive.sum()))
    return np.concatenate(counts).astype(np.uint16), living
