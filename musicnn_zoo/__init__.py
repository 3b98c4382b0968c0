"""Pretrained Keras models for music audio tagging: waveform in, tags out.

>>> import musicnn_zoo
>>> print(musicnn_zoo.tag("song.mp3"))  # doctest: +SKIP

Importing this package loads neither TensorFlow nor librosa: a name is imported when it is
first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from musicnn_zoo.api import embed, embed_files, events, features, tag, tag_files, taggram
    from musicnn_zoo.audio import load_audio
    from musicnn_zoo.config import Block, LogMelInput, ModelConfig, WaveformInput, block
    from musicnn_zoo.errors import (
        ArgumentError,
        AudioError,
        DeviceError,
        ExportError,
        MusicnnZooError,
        OutputError,
        UnknownNameError,
        WeightsError,
    )
    from musicnn_zoo.models import TaggingModel, build_model
    from musicnn_zoo.presets import ModelInfo, list_models, model_info
    from musicnn_zoo.results import Clip, Embedding, Features, FileResult, Taggram, Tags, TagScore
    from musicnn_zoo.sound_events import Event
    from musicnn_zoo.tagger import Tagger
    from musicnn_zoo.zoo import load_model

__version__ = "0.1.0"

_HOMES = {
    "api": ("embed", "embed_files", "events", "features", "tag", "tag_files", "taggram"),
    "audio": ("load_audio",),
    "config": ("Block", "LogMelInput", "ModelConfig", "WaveformInput", "block"),
    "errors": (
        "ArgumentError",
        "AudioError",
        "DeviceError",
        "ExportError",
        "MusicnnZooError",
        "OutputError",
        "UnknownNameError",
        "WeightsError",
    ),
    "sound_events": ("Event",),
    "models": ("TaggingModel", "build_model"),
    "presets": ("ModelInfo", "list_models", "model_info"),
    "results": ("Clip", "Embedding", "Features", "FileResult", "TagScore", "Taggram", "Tags"),
    "tagger": ("Tagger",),
    "zoo": ("load_model",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ArgumentError",
    "AudioError",
    "Block",
    "Clip",
    "DeviceError",
    "Embedding",
    "Event",
    "ExportError",
    "Features",
    "FileResult",
    "LogMelInput",
    "ModelConfig",
    "ModelInfo",
    "MusicnnZooError",
    "OutputError",
    "TagScore",
    "Tagger",
    "TaggingModel",
    "Taggram",
    "Tags",
    "UnknownNameError",
    "WaveformInput",
    "WeightsError",
    "__version__",
    "block",
    "build_model",
    "embed",
    "embed_files",
    "events",
    "features",
    "list_models",
    "load_audio",
    "load_model",
    "model_info",
    "tag",
    "tag_files",
    "taggram",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
