"""Weights of models: found, fetched, verified, converted, and put into place.

Those of a pretrained model are bundled, or they are another project's checkpoint, which is
downloaded and verified, converted, and kept as a Keras weights file in the cache folder, beside a
note of what it was made from.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musicnn_zoo.cache import alone, cache_folder, own_folder
from musicnn_zoo.checkpoints import Arrays, read_checkpoint
from musicnn_zoo.downloads import fetch, recorded_digest, sha256_of
from musicnn_zoo.errors import WeightsError
from musicnn_zoo.plain_text import printable
from musicnn_zoo.presets import Preset
from musicnn_zoo.sources import BundledFile, RemoteFile, SourceKind
from musicnn_zoo.torch_names import from_torch

if TYPE_CHECKING:
    import keras

_log = logging.getLogger(__name__)

CONVERSION = 1
"""Raised when weights converted before must not be used any more."""
KERAS_SUFFIX = ".weights.h5"
_FOLDER = "weights"


def bundled_folder() -> Path:
    """Folder of the bundled weights.

    A wheel carries them as ``musicnn_zoo/bundled``; in a checkout, and in an editable
    install of one, they lie in ``weights`` beside the package.
    """
    package = Path(__file__).parent
    installed = package / "bundled"
    return installed if installed.is_dir() else package.parent / "weights"


def bundled(file: BundledFile) -> Path:
    """Path of a bundled file, whose SHA-256 was compared with the one it must have.

    Raises
    ------
    WeightsError
        If the file is missing or its bytes are others.
    """
    path = bundled_folder() / file.name
    try:
        received = sha256_of(path)
    except OSError as error:
        raise WeightsError(
            f"{path}: the file cannot be read ({error.strerror}); install the package again"
        ) from error
    if received != file.sha256:
        raise WeightsError(
            f"{path}: the file is damaged or was changed; its SHA-256 must be {file.sha256}, "
            f"received {received}; install the package again"
        )
    return path


def fetch_preset(preset: Preset, source: SourceKind | None = None) -> None:
    """Download what :func:`load_preset` needs, unless it is there; without Keras.

    Raises
    ------
    ArgumentError
        If the preset has no such source.
    DownloadError
        If a file cannot be downloaded.
    WeightsError
        If it is not the one it should be.
    """
    file = preset.source(source)
    if not isinstance(file, BundledFile) and _Kept(preset, file).find() is None:
        fetch(file)


def load_preset(model: keras.Model, preset: Preset, source: SourceKind | None = None) -> None:
    """Put the weights of a pretrained model into one of its architecture.

    They come from what is bundled, else from the cache folder, else from where the preset says
    they are.

    Parameters
    ----------
    model : keras.Model
    preset : Preset
    source : {"bundled", "hub", "web"}, optional
        Another than the first of ``preset.sources``.

    Raises
    ------
    ArgumentError
        If the preset has no such source.
    DownloadError
        If a file cannot be downloaded.
    WeightsError
        If it is damaged, is not the one it should be, does not fit, or cannot be converted here.
    """
    file = preset.source(source)
    if isinstance(file, BundledFile):
        load_into(model, bundled(file))
        return
    kept = _Kept(preset, file)
    path = kept.find()
    if path is not None:
        load_into(model, path)
        return
    checkpoint = fetch(file)
    load_into(model, checkpoint)
    kept.keep(model, checkpoint)


def preset_digest(preset: Preset, source: SourceKind | None = None) -> str:
    """SHA-256 of the file that the weights of a preset come from.

    It is known beforehand, or recorded; a file of which neither holds is downloaded.
    """
    file = preset.source(source)
    if isinstance(file, BundledFile):
        return file.sha256
    return file.sha256 or recorded_digest(file) or sha256_of(fetch(file))


def load_into(model: keras.Model, path: Path) -> None:
    """Load a weights file into a model of the same architecture, all of it or nothing.

    Parameters
    ----------
    model : keras.Model
    path : Path
        Ending in .weights.h5 for Keras's format; in .safetensors, .pt or .pth for arrays with
        the names of the model's variables (:func:`arrays_of`) or those of a family of
        checkpoints in :mod:`musicnn_zoo.torch_names`.

    Raises
    ------
    WeightsError
        If the file cannot be read or does not fit the model.
    """
    if path.name.endswith((".h5", ".hdf5")):
        _load_keras_weights(model, path)
        return
    shapes = {name: tuple(weight.shape) for name, weight in _named(model)}
    assign(model, from_torch(read_checkpoint(path), shapes), origin=path)


def _load_keras_weights(model: keras.Model, path: Path) -> None:
    from musicnn_zoo.normalization import finish_normalization

    before = model.get_weights()
    try:
        model.load_weights(path)
    except Exception as error:
        model.set_weights(before)
        finish_normalization(model)
        summary = str(error).strip().splitlines()[0]
        raise WeightsError(f"{path}: does not fit the model {model.name}: {summary}") from error


def arrays_of(model: keras.Model) -> Arrays:
    """Weights of a model by ``layer/variable``, such as ``"logits/kernel"``."""
    import keras

    return {name: np.asarray(keras.ops.convert_to_numpy(weight)) for name, weight in _named(model)}


def assign(model: keras.Model, arrays: Mapping[str, Any], *, origin: str | Path) -> None:
    """Set all weights of a model from arrays named as by :func:`arrays_of`, or none.

    Parameters
    ----------
    model : keras.Model
    arrays : mapping of str to ndarray
    origin : str or Path
        What to call them in messages.

    Raises
    ------
    WeightsError
        If an array is missing, has no place, or has another shape.
    """
    from musicnn_zoo.normalization import finish_normalization

    named = dict(_named(model))
    problems = [
        *(f"{name} is missing" for name in named if name not in arrays),
        *(f"{name} has no place in the model" for name in arrays if name not in named),
        *(
            f"{name} must have the shape {tuple(weight.shape)}, received {arrays[name].shape}"
            for name, weight in named.items()
            if name in arrays and tuple(arrays[name].shape) != tuple(weight.shape)
        ),
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise WeightsError(
            f"{origin}: the weights do not fit the model {model.name}: "
            f"{printable(problems[0])}{more}"
        )
    for name, weight in named.items():
        weight.assign(arrays[name])
    finish_normalization(model)


def _named(model: keras.Model) -> Iterator[tuple[str, Any]]:
    return ((weight.path, weight) for weight in model.weights)


class _Kept:
    """Converted weights in the cache folder, with a note beside them of their origin."""

    def __init__(self, preset: Preset, file: RemoteFile) -> None:
        self._origin = {
            "conversion": CONVERSION,
            "address": file.address,
            "config": preset.config.to_dict(),
        }
        key = hashlib.sha256(json.dumps(self._origin).encode()).hexdigest()[:16]
        self._name = f"{preset.name}-{key}"

    def find(self) -> Path | None:
        try:
            path, note = self._places()
        except OSError:
            return None
        agree = self._agree(path, note)
        if agree is False:
            with self._alone():  # they may just be written
                agree = self._agree(path, note)
                if agree is False:
                    _log.warning("%s is damaged; converting the weights again", path)
                    with contextlib.suppress(OSError):
                        note.unlink()
        return path if agree else None

    def _places(self, *, make: bool = False) -> tuple[Path, Path]:
        folder = own_folder(_FOLDER, make=make)
        return folder / f"{self._name}{KERAS_SUFFIX}", folder / f"{self._name}.weights.json"

    def _alone(self) -> AbstractContextManager[None]:
        return alone(_FOLDER, f"{self._name}.weights.lock")

    @staticmethod
    def _agree(path: Path, note: Path) -> bool | None:
        try:
            noted = json.loads(note.read_text(encoding="utf-8"))["sha256"]
            return bool(sha256_of(path) == noted)
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def keep(self, model: keras.Model, checkpoint: Path) -> None:
        """Write the weights, then the note; without the note they do not count."""
        try:
            path, note = self._places(make=True)
            with self._alone(), tempfile.TemporaryDirectory(dir=path.parent) as folder:
                weights, new_note = Path(folder, path.name), Path(folder, note.name)
                model.save_weights(weights)
                content = {
                    **self._origin,
                    "checkpoint_sha256": sha256_of(checkpoint),
                    "sha256": sha256_of(weights),
                }
                new_note.write_text(json.dumps(content, indent=2), encoding="utf-8")
                note.unlink(missing_ok=True)
                weights.replace(path)
                new_note.replace(note)
        except OSError as error:
            _log.warning(
                "%s: converted weights cannot be kept there (%s); they will be converted again "
                "each time", cache_folder() / _FOLDER, error.strerror,
            )  # fmt: skip
