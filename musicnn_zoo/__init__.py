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
    from musicnn_zoo.evaluation.evaluate import (
        ModelEvaluation,
        evaluate_model,
        store_thresholds,
        with_thresholds,
    )
    from musicnn_zoo.library.embedder import Embedder
    from musicnn_zoo.library.embedding_map import EmbeddingMap, map_embeddings
    from musicnn_zoo.listening import ListeningPage, listening_page
    from musicnn_zoo.networks.build import TaggingModel, build_model
    from musicnn_zoo.networks.config import (
        Block,
        LogMelInput,
        ModelConfig,
        Provenance,
        TagThresholds,
        WaveformInput,
        block,
    )
    from musicnn_zoo.runtimes.export import Export, export_model
    from musicnn_zoo.sound.read import load_audio
    from musicnn_zoo.tagging.functions import (
        embed,
        embed_files,
        events,
        features,
        tag,
        tag_files,
        taggram,
    )
    from musicnn_zoo.tagging.results import (
        Clip,
        Embedding,
        Event,
        Events,
        Features,
        FileResult,
        Taggram,
        Tags,
        TagScore,
    )
    from musicnn_zoo.tagging.tagger import Tagger
    from musicnn_zoo.training.finetuning import finetune_model, set_trainable
    from musicnn_zoo.training.fit import Training, train_model
    from musicnn_zoo.zoo.catalogue import list_models
    from musicnn_zoo.zoo.filters import FilterGroup, LearnedFilters, learned_filters
    from musicnn_zoo.zoo.folder import save_pretrained
    from musicnn_zoo.zoo.load import ModelInfo, load_model, model_info, push_to_hub

__version__ = "0.1.0"

_HOMES = {
    "augmentation": (
        "Augmentation",
        "augment",
    ),
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
    "evaluation.evaluate": (
        "ModelEvaluation",
        "evaluate_model",
        "store_thresholds",
        "with_thresholds",
    ),
    "library.embedder": ("Embedder",),
    "library.embedding_map": (
        "EmbeddingMap",
        "map_embeddings",
    ),
    "listening": (
        "ListeningPage",
        "listening_page",
    ),
    "networks.build": (
        "TaggingModel",
        "build_model",
    ),
    "networks.config": (
        "Block",
        "LogMelInput",
        "ModelConfig",
        "Provenance",
        "TagThresholds",
        "WaveformInput",
        "block",
    ),
    "runtimes.export": (
        "Export",
        "export_model",
    ),
    "sound.read": ("load_audio",),
    "tagging.functions": (
        "embed",
        "embed_files",
        "events",
        "features",
        "tag",
        "tag_files",
        "taggram",
    ),
    "tagging.results": (
        "Clip",
        "Embedding",
        "Event",
        "Events",
        "Features",
        "FileResult",
        "TagScore",
        "Taggram",
        "Tags",
    ),
    "tagging.tagger": ("Tagger",),
    "training.finetuning": (
        "finetune_model",
        "set_trainable",
    ),
    "training.fit": (
        "Training",
        "train_model",
    ),
    "zoo.catalogue": ("list_models",),
    "zoo.filters": (
        "FilterGroup",
        "LearnedFilters",
        "learned_filters",
    ),
    "zoo.folder": ("save_pretrained",),
    "zoo.load": (
        "ModelInfo",
        "load_model",
        "model_info",
        "push_to_hub",
    ),
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
