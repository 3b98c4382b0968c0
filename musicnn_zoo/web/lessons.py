"""What the tutorial's page shows of a clip: spectrogram, answers of filters, moments of pooling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.networks.config import LogMelInput
from musicnn_zoo.networks.mel import logmel_columns
from musicnn_zoo.sound.envelope import find_envelope
from musicnn_zoo.sound.read import AudioStream
from musicnn_zoo.web.scripts import base64_of

MODEL = "MTT_musicnn"
SMALL_MODEL = "MTT_vgg"
"""Whose filters are 3 × 3."""
_POOLED = ("timbral", "temporal", "cnn1", "cnn2", "cnn3")
_SMALL = "pool1"
_ROW_S = 0.5
_TAGS = 6


def lesson_of(clip: Path, *, chosen: dict[str, list[int]]) -> dict[str, Any]:
    """Compute what the page shows of a clip.

    Parameters
    ----------
    clip : Path
    chosen : dict of str to list of int
        Filters of each group, by their numbers among all that the group's layer gives:
        ``timbral``, ``temporal``, ``pool1``.

    Returns
    -------
    dict
        For JSON. Pictures and curves are bytes in base64, 255 for the largest value, a frame after
        the other. ``moments`` is where max-pooling takes its values from.
    """
    from musicnn_zoo.tagging.functions import features, taggram

    layers = features(clip, model=MODEL, layers=_POOLED, engine="onnxruntime")
    small = features(clip, model=SMALL_MODEL, layers=[_SMALL], engine="onnxruntime")[_SMALL]
    rows = taggram(clip, model=MODEL, hop_s=_ROW_S, engine="onnxruntime")
    stream = AudioStream(str(clip))
    spectrogram = LogMelInput()
    columns = logmel_columns(stream, spectrogram, frames=1)
    outline = find_envelope(AudioStream(str(clip)), spectrogram.sample_rate)
    answers = {name: _in_time(layers[name]) for name in ("timbral", "temporal")}
    answers[_SMALL] = _small_in_time(small, layers[_POOLED[0]].shape[1])
    strongest = rows.rank(top_k=_TAGS).names
    return {
        "duration_s": stream.duration_s,
        "frame_s": spectrogram.hop / spectrogram.sample_rate,
        "patch_s": rows.patch_s,
        "envelope": {
            "stretch_s": outline.stretch_s,
            "lowest": base64_of(outline.lowest),
            "highest": base64_of(outline.highest),
        },
        "logmel": {"bands": spectrogram.n_mels, "values": _as_bytes(columns)},
        "answers": {
            name: [_as_bytes(answers[name][:, index]) for index in indices]
            for name, indices in chosen.items()
        },
        "moments": _as_bytes(_moments([layers[name] for name in _POOLED])),
        "hop_s": rows.hop_s,
        "scores": {tag: [round(float(score), 4) for score in rows[tag]] for tag in strongest},
    }


def _in_time(patches: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put patches ``(patches, frames, channels)`` one after the other."""
    return patches.reshape(-1, patches.shape[2])


def _small_in_time(patches: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """As :func:`_in_time`: the mean over the bands, each value for as many frames as it pooled."""
    mean = patches.mean(axis=2).repeat(frames // patches.shape[1], axis=1)
    return _in_time(np.pad(mean, ((0, 0), (0, frames - mean.shape[1]), (0, 0)), mode="edge"))


def _moments(layers: list[NDArray[np.float32]]) -> NDArray[np.int64]:
    """How many channels have their maximum over a patch at each frame; constant ones have none."""
    channels = np.concatenate(layers, axis=2)
    counts = []
    for patch in channels:
        changing = patch[:, np.ptp(patch, axis=0) > 1e-6]
        counts.append(np.bincount(changing.argmax(axis=0), minlength=len(patch)))
    return np.concatenate(counts)


def _as_bytes(values: NDArray[Any]) -> str:
    scaled = np.clip(values / max(values.max(), 1e-9), 0, 1)
    return base64_of(np.rint(255 * scaled).astype(np.uint8))
