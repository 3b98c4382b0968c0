"""Our classes, known to Keras as soon as it is imported, so that it loads models that hold them.

Keras finds a class of a ``.keras`` file by the name under which it was registered, which happens
when its module is imported. ``import musicnn_zoo`` imports none of these modules, since they need
Keras, which takes seconds. It registers a stand-in for each instead, which imports the module when
a model is loaded.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

PACKAGE = "musicnn_zoo"
"""Under which Keras knows our classes."""

MODULES = {
    "AddPositions": "networks.backends",
    "AugmentedModel": "augmentation.model",
    "AutoPool": "networks.backends",
    "BalancedBinaryCrossentropy": "training.fit",
    "ClassToken": "networks.backends",
    "FirstFrame": "networks.backends",
    "Gain": "augmentation.model",
    "LogMel": "networks.logmel",
    "MaxThenBatchNorm": "runtimes.variants",
    "Noise": "augmentation.model",
    "OnEveryFrame": "runtimes.variants",
    "OneChannelBatchNorm": "runtimes.variants",
    "Skipped": "runtimes.variants",
    "SpecAugment": "augmentation.model",
    "SpectralMaximum": "runtimes.transforms",
    "TaggingModel": "networks.build",
    "TemporalAttention": "networks.backends",
    "TemporalMaximum": "networks.backends",
    "TimeShift": "augmentation.model",
    "WinogradConv2D": "runtimes.transforms",
    "WithConstants": "runtimes.channels",
    "WithOnes": "runtimes.channels",
}
"""Where each registered class is."""


def register_lazily() -> None:
    """Register stand-ins with Keras: now if it is imported, else when it is."""
    keras = sys.modules.get("keras")
    if keras is None:
        sys.meta_path.insert(0, _KerasFinder)
    elif hasattr(keras, "saving"):
        register(keras)


def register(keras: ModuleType) -> None:
    """Register a stand-in for each of our classes that is not registered itself."""
    known = keras.saving.get_custom_objects()
    for name in MODULES:
        known.setdefault(f"{PACKAGE}>{name}", _stand_in(name))


def _stand_in(name: str) -> type:
    def from_config(config: dict[str, Any], **options: Any) -> Any:
        module = importlib.import_module(f"{PACKAGE}.{MODULES[name]}")
        return getattr(module, name).from_config(config, **options)

    return type(name, (), {"from_config": staticmethod(from_config)})


class _KerasFinder:
    """Watches for the import of Keras and registers then; to look it up is no import."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        if name != "keras":
            return None
        finders = [each for each in sys.meta_path if each is not _KerasFinder]
        specs = (each.find_spec(name, path, target) for each in finders)
        spec = next((found for found in specs if found is not None), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            register(module)
            if _KerasFinder in sys.meta_path:
                sys.meta_path.remove(_KerasFinder)

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec
