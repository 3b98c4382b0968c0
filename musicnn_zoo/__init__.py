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
    from musicnn_zoo.augmentation import Augmentation, augment
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
    from musicnn_zoo.evaluation.evaluate import store_thresholds, with_thresholds
    from musicnn_zoo.evaluation.evaluation import ModelEvaluation, evaluate_model
    from musicnn_zoo.library.embedder import Embedder
    from musicnn_zoo.library.embedding_map import EmbeddingMap, map_embeddings
    from musicnn_zoo.listening import ListeningPage, listening_page
    from musicnn_zoo.networks.config import Block, LogMelInput, ModelConfig, WaveformInput, block
    from musicnn_zoo.networks.models import TaggingModel, build_model
    from musicnn_zoo.networks.provenance import Provenance
    from musicnn_zoo.networks.tag_thresholds import TagThresholds
    from musicnn_zoo.runtimes.export import Export, export_model
    from musicnn_zoo.sound.read import load_audio
    from musicnn_zoo.tagging.clip import Clip
    from musicnn_zoo.tagging.embedding import Embedding, Features
    from musicnn_zoo.tagging.events import Events
    from musicnn_zoo.tagging.functions import (
        embed,
        embed_files,
        events,
        features,
        tag,
        tag_files,
        taggram,
    )
    from musicnn_zoo.tagging.results import FileResult
    from musicnn_zoo.tagging.sound_events import Event
    from musicnn_zoo.tagging.tagger import Tagger
    from musicnn_zoo.tagging.taggram import Taggram
    from musicnn_zoo.tagging.tags import Tags, TagScore
    from musicnn_zoo.training.finetuning import finetune_model, set_trainable
    from musicnn_zoo.training.fit import Training, train_model
    from musicnn_zoo.zoo.catalogue import list_models
    from musicnn_zoo.zoo.filters import FilterGroup, LearnedFilters, learned_filters
    from musicnn_zoo.zoo.folder import save_pretrained
    from musicnn_zoo.zoo.hub import push_to_hub
    from musicnn_zoo.zoo.load import ModelInfo, model_info
    from musicnn_zoo.zoo.zoo import load_model

__version__ = "0.1.0"

_HOMES = {
    "tagging.functions": (
        "embed",
        "embed_files",
        "events",
        "features",
        "tag",
        "tag_files",
        "taggram",
    ),
    "sound.read": ("load_audio",),
    "augmentation": ("Augmentation", "augment"),
    "evaluation.evaluate": ("store_thresholds", "with_thresholds"),
    "networks.config": ("Block", "LogMelInput", "ModelConfig", "WaveformInput", "block"),
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
    "tagging.sound_events": ("Event",),
    "listening": ("ListeningPage", "listening_page"),
    "networks.models": ("TaggingModel", "build_model"),
    "library.embedder": ("Embedder",),
    "library.embedding_map": ("EmbeddingMap", "map_embeddings"),
    "evaluation.evaluation": ("ModelEvaluation", "evaluate_model"),
    "runtimes.export": ("Export", "export_model"),
    "zoo.filters": ("FilterGroup", "LearnedFilters", "learned_filters"),
    "training.finetuning": ("finetune_model", "set_trainable"),
    "zoo.folder": ("save_pretrained",),
    "zoo.hub": ("push_to_hub",),
    "zoo.load": ("ModelInfo", "model_info"),
    "zoo.catalogue": ("list_models",),
    "networks.provenance": ("Provenance",),
    "tagging.clip": ("Clip",),
    "tagging.embedding": ("Embedding", "Features"),
    "tagging.events": ("Events",),
    "tagging.results": ("FileResult",),
    "tagging.taggram": ("Taggram",),
    "tagging.tags": ("TagScore", "Tags"),
    "networks.tag_thresholds": ("TagThresholds",),
    "tagging.tagger": ("Tagger",),
    "training.fit": ("Training", "train_model"),
    "zoo.zoo": ("load_model",),
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
        from musicnn_zoo.machine.installation import explained

        raise explained(error, f"{__name__}.{name}") from error
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
