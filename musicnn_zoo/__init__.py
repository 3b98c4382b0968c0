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
    from musicnn_zoo.augmentation import Augmentation, augment
    from musicnn_zoo.calibration import store_thresholds, with_thresholds
    from musicnn_zoo.config import Block, LogMelInput, ModelConfig, WaveformInput, block
    from musicnn_zoo.embedder import Embedder
    from musicnn_zoo.embedding_map import EmbeddingMap, map_embeddings
    from musicnn_zoo.errors import (
        ArgumentError,
        AudioError,
        DecoderCrashError,
        DecoderTimeoutError,
        DeviceError,
        DownloadError,
        ExportError,
        MissingPackageError,
        MusicnnZooError,
        OutputError,
        TrainingError,
        UnknownNameError,
        UploadError,
        WeightsError,
    )
    from musicnn_zoo.evaluation import ModelEvaluation, evaluate_model
    from musicnn_zoo.export import Export, export_model
    from musicnn_zoo.filters import FilterGroup, LearnedFilters, learned_filters
    from musicnn_zoo.finetuning import finetune_model, set_trainable
    from musicnn_zoo.folders import save_pretrained
    from musicnn_zoo.hub import push_to_hub
    from musicnn_zoo.info import ModelInfo, model_info
    from musicnn_zoo.listening import ListeningPage, listening_page
    from musicnn_zoo.models import TaggingModel, build_model
    from musicnn_zoo.presets import list_models
    from musicnn_zoo.provenance import Provenance
    from musicnn_zoo.results import (
        Clip,
        Embedding,
        Events,
        Features,
        FileResult,
        Taggram,
        Tags,
        TagScore,
    )
    from musicnn_zoo.sound_events import Event
    from musicnn_zoo.tag_thresholds import TagThresholds
    from musicnn_zoo.tagger import Tagger
    from musicnn_zoo.training.fit import Training, train_model
    from musicnn_zoo.zoo import load_model

__version__ = "0.1.0"

_HOMES = {
    "api": ("embed", "embed_files", "events", "features", "tag", "tag_files", "taggram"),
    "audio": ("load_audio",),
    "augmentation": ("Augmentation", "augment"),
    "calibration": ("store_thresholds", "with_thresholds"),
    "config": ("Block", "LogMelInput", "ModelConfig", "WaveformInput", "block"),
    "errors": (
        "ArgumentError",
        "AudioError",
        "DecoderCrashError",
        "DecoderTimeoutError",
        "DeviceError",
        "DownloadError",
        "ExportError",
        "MissingPackageError",
        "MusicnnZooError",
        "OutputError",
        "TrainingError",
        "UnknownNameError",
        "UploadError",
        "WeightsError",
    ),
    "sound_events": ("Event",),
    "listening": ("ListeningPage", "listening_page"),
    "models": ("TaggingModel", "build_model"),
    "embedder": ("Embedder",),
    "embedding_map": ("EmbeddingMap", "map_embeddings"),
    "evaluation": ("ModelEvaluation", "evaluate_model"),
    "export": ("Export", "export_model"),
    "filters": ("FilterGroup", "LearnedFilters", "learned_filters"),
    "finetuning": ("finetune_model", "set_trainable"),
    "folders": ("save_pretrained",),
    "hub": ("push_to_hub",),
    "info": ("ModelInfo", "model_info"),
    "presets": ("list_models",),
    "provenance": ("Provenance",),
    "results": (
        "Clip",
        "Embedding",
        "Events",
        "Features",
        "FileResult",
        "TagScore",
        "Taggram",
        "Tags",
    ),
    "tag_thresholds": ("TagThresholds",),
    "tagger": ("Tagger",),
    "training.fit": ("Training", "train_model"),
    "zoo": ("load_model",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ArgumentError",
    "AudioError",
    "Augmentation",
    "Block",
    "Clip",
    "DecoderCrashError",
    "DecoderTimeoutError",
    "DeviceError",
    "DownloadError",
    "Embedder",
    "Embedding",
    "EmbeddingMap",
    "Event",
    "Events",
    "Export",
    "ExportError",
    "Features",
    "FileResult",
    "FilterGroup",
    "LearnedFilters",
    "ListeningPage",
    "LogMelInput",
    "MissingPackageError",
    "ModelConfig",
    "ModelEvaluation",
    "ModelInfo",
    "MusicnnZooError",
    "OutputError",
    "Provenance",
    "TagScore",
    "TagThresholds",
    "Tagger",
    "TaggingModel",
    "Taggram",
    "Tags",
    "Training",
    "TrainingError",
    "UnknownNameError",
    "UploadError",
    "WaveformInput",
    "WeightsError",
    "__version__",
    "augment",
    "block",
    "build_model",
    "embed",
    "embed_files",
    "evaluate_model",
    "events",
    "export_model",
    "features",
    "finetune_model",
    "learned_filters",
    "list_models",
    "listening_page",
    "load_audio",
    "load_model",
    "map_embeddings",
    "model_info",
    "push_to_hub",
    "save_pretrained",
    "set_trainable",
    "store_thresholds",
    "tag",
    "tag_files",
    "taggram",
    "train_model",
    "with_thresholds",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{_HOME[name]}")
    except ModuleNotFoundError as error:
        from musicnn_zoo.installation import explained

        raise explained(error, f"{__name__}.{name}") from error
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
