"""Pretrained Keras models for music audio tagging: waveform in, tags out.

>>> import musicnn_zoo
>>> print(musicnn_zoo.tag("song.mp3"))  # doctest: +SKIP

Importing this package loads neither TensorFlow nor librosa: a name is imported when it is
first used.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from musicnn_zoo.machine import __version__
from musicnn_zoo.networks.registry import register_lazily

if TYPE_CHECKING:
    from musicnn_zoo.augmentation import Augmentation, augment
    from musicnn_zoo.errors import (
        ArgumentError,
        AudioError,
        ClusterError,
        DecoderCrashError,
        DecoderTimeoutError,
        DeviceError,
        DownloadError,
        ExportError,
        MissingPackageError,
        MusicnnZooError,
        OutputError,
        RemoteError,
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
    from musicnn_zoo.library.cluster import DatasetAnalyst, Workers, embed_dataset, tag_dataset
    from musicnn_zoo.library.cluster_run import Progress, embed_on_cluster, tag_on_cluster
    from musicnn_zoo.library.collection import Library
    from musicnn_zoo.library.embedder import Embedder
    from musicnn_zoo.library.embedding_map import EmbeddingMap, map_embeddings
    from musicnn_zoo.library.merging import Merging, merge_outputs
    from musicnn_zoo.library.tracks import Track, TrackList
    from musicnn_zoo.library.write_back import (
        FieldChange,
        PlannedFile,
        WritingSummary,
        WrittenFile,
        apply_plan,
        plan_writing,
        read_plan,
        undo_writing,
    )
    from musicnn_zoo.library.writing_rules import WritingRules
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
        list_backends,
        list_frontends,
        list_midends,
    )
    from musicnn_zoo.runtimes.export import Export, export_model
    from musicnn_zoo.sound.find import find_audio
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
    from musicnn_zoo.training.fit import Training, finetune_model, set_trainable, train_model
    from musicnn_zoo.zoo.catalogue import list_models
    from musicnn_zoo.zoo.filters import FilterGroup, LearnedFilters, learned_filters
    from musicnn_zoo.zoo.folder import save_pretrained
    from musicnn_zoo.zoo.load import ModelInfo, load_model, model_info, push_to_hub

_HOMES = {
    "augmentation": (
        "Augmentation",
        "augment",
    ),
    "errors": (
        "ArgumentError",
        "AudioError",
        "ClusterError",
        "DecoderCrashError",
        "DecoderTimeoutError",
        "DeviceError",
        "DownloadError",
        "ExportError",
        "MissingPackageError",
        "MusicnnZooError",
        "OutputError",
        "TrainingError",
        "RemoteError",
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
    "library.cluster": (
        "DatasetAnalyst",
        "Workers",
        "embed_dataset",
        "tag_dataset",
    ),
    "library.cluster_run": (
        "Progress",
        "embed_on_cluster",
        "tag_on_cluster",
    ),
    "library.collection": ("Library",),
    "library.embedder": ("Embedder",),
    "library.embedding_map": (
        "EmbeddingMap",
        "map_embeddings",
    ),
    "library.merging": (
        "Merging",
        "merge_outputs",
    ),
    "library.tracks": (
        "Track",
        "TrackList",
    ),
    "library.write_back": (
        "FieldChange",
        "PlannedFile",
        "WritingSummary",
        "WrittenFile",
        "apply_plan",
        "plan_writing",
        "read_plan",
        "undo_writing",
    ),
    "library.writing_rules": ("WritingRules",),
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
        "list_backends",
        "list_frontends",
        "list_midends",
    ),
    "runtimes.export": (
        "Export",
        "export_model",
    ),
    "sound.find": ("find_audio",),
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
    "training.fit": (
        "Training",
        "finetune_model",
        "set_trainable",
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
    "ClusterError",
    "DatasetAnalyst",
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
    "FieldChange",
    "FileResult",
    "FilterGroup",
    "LearnedFilters",
    "Library",
    "ListeningPage",
    "LogMelInput",
    "Merging",
    "MissingPackageError",
    "ModelConfig",
    "ModelEvaluation",
    "ModelInfo",
    "MusicnnZooError",
    "OutputError",
    "PlannedFile",
    "Progress",
    "Provenance",
    "RemoteError",
    "TagScore",
    "TagThresholds",
    "Tagger",
    "TaggingModel",
    "Taggram",
    "Tags",
    "Track",
    "TrackList",
    "Training",
    "TrainingError",
    "UnknownNameError",
    "UploadError",
    "WaveformInput",
    "WeightsError",
    "Workers",
    "WritingRules",
    "WritingSummary",
    "WrittenFile",
    "__version__",
    "apply_plan",
    "augment",
    "block",
    "build_model",
    "embed",
    "embed_dataset",
    "embed_files",
    "embed_on_cluster",
    "evaluate_model",
    "events",
    "export_model",
    "features",
    "find_audio",
    "finetune_model",
    "learned_filters",
    "list_backends",
    "list_frontends",
    "list_midends",
    "list_models",
    "listening_page",
    "load_audio",
    "load_model",
    "map_embeddings",
    "merge_outputs",
    "model_info",
    "plan_writing",
    "push_to_hub",
    "read_plan",
    "save_pretrained",
    "set_trainable",
    "store_thresholds",
    "tag",
    "tag_dataset",
    "tag_files",
    "tag_on_cluster",
    "taggram",
    "train_model",
    "undo_writing",
    "with_thresholds",
]


_MOVED = {
    "architectures": "networks.architectures",
    "audio": "sound.read",
    "audio_files": "sound.find",
    "augmentation.description": "augmentation.model",
    "augmentation.layers": "augmentation.model",
    "backends": "networks.backends",
    "blocks": "networks.config",
    "bootstrap": "evaluation.metrics",
    "config": "networks.config",
    "datasets.report": "datasets.dataset",
    "datasets.rows": "datasets.table",
    "evaluation_files": "evaluation.evaluate",
    "evaluation_results": "evaluation.results",
    "finetuning": "training.fit",
    "framewise": "runtimes.variants",
    "frontends": "networks.frontends",
    "library.run": "library.store",
    "listening.envelope": "listening.page",
    "live": "tagging.live",
    "logmel": "networks.logmel",
    "metrics": "evaluation.metrics",
    "model_card": "zoo.folder",
    "models": "networks.build",
    "onnx_graph": "runtimes.onnx_engine",
    "patches": "networks.config",
    "path_text": "text",
    "presets": "zoo.catalogue",
    "receptive_field": "networks.build",
    "sound.decode": "sound.read",
    "sound_events": "tagging.results",
    "tag_matching": "evaluation.evaluate",
    "tagger": "tagging.tagger",
    "tags": "zoo.catalogue",
    "thresholds": "evaluation.metrics",
    "torch_names": "zoo.weights",
    "training.clips": "training.batches",
    "training.finetuning": "training.fit",
    "training.losses": "training.fit",
    "training.run_folder": "training.recipes",
    "variants": "runtimes.variants",
    "zoo.hub": "zoo.folder",
}
"""Modules by the names that they had before, which ``.keras`` files hold and scripts import."""


class _MovedModules:
    """Find a module by a name of ``_MOVED``; a folder that became a module, by its modules, too."""

    @staticmethod
    def find_spec(name: str, *_unused: object) -> ModuleSpec | None:
        package, _, rest = name.partition(".")
        home = _MOVED.get(rest) or _MOVED.get(rest.partition(".")[0])
        if package != __name__ or home is None:
            return None
        loader: Any = _Moved(f"{__name__}.{home}")
        return ModuleSpec(name, loader, is_package=True)


class _KeepsItsNames(ModuleType):
    """A module in which a function stays, where a module of the same name is found below it."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and name in vars(self)):
            super().__setattr__(name, value)


class _Moved:
    """Load a module by the name that it has now."""

    def __init__(self, name: str) -> None:
        self._name = name

    def create_module(self, _: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._name)
        module.__class__ = _KeepsItsNames
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


sys.meta_path.append(_MovedModules)
register_lazily()


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        from musicnn_zoo.errors import unknown_attribute

        raise unknown_attribute(sys.modules[__name__], name)
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
