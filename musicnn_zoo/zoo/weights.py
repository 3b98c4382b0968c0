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
import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import WeightsError
from musicnn_zoo.files import check_regular
from musicnn_zoo.machine.cache import alone, cache_folder, own_folder
from musicnn_zoo.plain_text import printable, shortened, shown
from musicnn_zoo.zoo.catalogue import Preset
from musicnn_zoo.zoo.checkpoints import (
    LARGEST_CHECKPOINT,
    ArrayHeader,
    Arrays,
    headers_of,
    read_checkpoint,
)
from musicnn_zoo.zoo.downloads import fetch, recorded_digest, sha256_of
from musicnn_zoo.zoo.sources import BundledFile, RemoteFile, SourceKind
from musicnn_zoo.zoo.torch_names import from_torch

if TYPE_CHECKING:
    import keras

_log = logging.getLogger(__name__)

CONVERSION = 1
"""Raised when weights converted before must not be used any more."""
KERAS_SUFFIX = ".weights.h5"
_FOLDER = "weights"
_SPARE = 4
"""An optimizer that was saved along has up to two or three numbers for each weight."""


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
        checkpoints in :mod:`musicnn_zoo.zoo.torch_names`.

    Raises
    ------
    WeightsError
        If the file cannot be read or does not fit the model.
    """
    if path.name.endswith((".h5", ".hdf5")):
        _load_keras_weights(model, path)
        return
    shapes = {name: tuple(weight.shape) for name, weight in _named(model)}
    state = read_checkpoint(path)
    try:
        arrays = from_torch(state, shapes)
    except (LookupError, ValueError) as error:
        raise WeightsError(
            f"{path}: the arrays have the names of a known family and not its shapes "
            f"({shown(error)})"
        ) from error
    assign(model, arrays, origin=path)


def _load_keras_weights(model: keras.Model, path: Path) -> None:
    from musicnn_zoo.networks.normalization import finish_normalization

    check_regular(path, largest=LARGEST_CHECKPOINT, origin=str(path))
    before = model.get_weights()
    try:
        _check_hdf5(model, path)
        model.load_weights(path)
        _check_values(arrays_of(model), path)
    except Exception as error:
        model.set_weights(before)
        finish_normalization(model)
        if isinstance(error, WeightsError):
            raise
        summary = shortened(str(error).strip().splitlines()[0], 300)
        raise WeightsError(f"{path}: does not fit the model {model.name}: {summary}") from error


def _check_hdf5(model: keras.Model, path: Path) -> None:
    """See what a file of HDF5 holds before Keras reads it.

    It may name other files, claim any size, and hold any type.
    """
    import h5py  # type: ignore[import-untyped]

    found: Counter[tuple[tuple[int, ...], bool]] = Counter()

    def look(group: h5py.Group) -> None:
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise WeightsError(f"{path}: {printable(name)} is a link, which is not followed")
            entry = group[name]
            if isinstance(entry, h5py.Group):
                look(entry)
            elif not isinstance(entry, h5py.Dataset) or entry.external or entry.is_virtual:
                raise WeightsError(f"{path}: {printable(entry.name)} is not in the file itself")
            else:
                found[tuple(entry.shape or ()), entry.dtype.kind == "f"] += 1

    with h5py.File(path, "r") as file:
        look(file)
    wanted = Counter((tuple(w.shape), not _is_whole(_dtype(w))) for w in model.weights)
    lacking = [shape for shape, is_float in wanted - found if is_float]
    if lacking:
        raise WeightsError(
            f"{path}: does not fit the model {model.name}: it lacks floating-point weights of the "
            f"shape {lacking[0]}"
        )
    claimed = sum(math.prod(shape) * count for (shape, _), count in found.items())
    held = sum(math.prod(variable.shape) for variable in model.variables)
    if claimed > _SPARE * held:
        raise WeightsError(
            f"{path}: does not fit the model {model.name}: it claims {claimed:,} numbers, and the "
            f"model has {held:,}"
        )


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
        If an array is missing, has no place, or has another shape; if it does not hold
        floating-point numbers where the model does, or one that is not finite.
    """
    from musicnn_zoo.networks.normalization import finish_normalization

    check_headers(model, headers_of(arrays), origin=origin)
    named = dict(_named(model))
    with np.errstate(over="ignore"):  # which gives infinity, and that is refused
        values = {name: np.asarray(arrays[name]).astype(_cast(w)) for name, w in named.items()}
    _check_values(values, origin)
    for name, weight in named.items():
        weight.assign(values[name])
    finish_normalization(model)


def check_headers(
    model: keras.Model, headers: Mapping[str, ArrayHeader], *, origin: str | Path
) -> None:
    """See that arrays fit a model, by what a file says of them before it is read.

    Raises
    ------
    WeightsError
        If an array is missing, has no place, or has another shape or kind of numbers.
    """
    named = dict(_named(model))
    problems = [
        *(f"{name} is missing" for name in named if name not in headers),
        *(f"{name} has no place in the model" for name in headers if name not in named),
        *(
            f"{name} must have the shape {tuple(weight.shape)}, received {headers[name].shape}"
            for name, weight in named.items()
            if name in headers and headers[name].shape != tuple(weight.shape)
        ),
        *(
            f"{name} must hold {'whole' if _is_whole(_dtype(weight)) else 'floating-point'} "
            f"numbers, received {headers[name].dtype}"
            for name, weight in named.items()
            if name in headers and not _is_alike(headers[name].dtype, _dtype(weight))
        ),
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise WeightsError(
            f"{origin}: the weights do not fit the model {model.name}: "
            f"{shortened(printable(problems[0]), 300)}{more}"
        )


def _check_values(arrays: Mapping[str, NDArray[Any]], origin: str | Path) -> None:
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise WeightsError(
                f"{origin}: the weights must be finite numbers; {name} has NaN or infinite ones"
            )
        if name.endswith("variance") and (values < 0).any():
            raise WeightsError(f"{origin}: {name} must not be negative; it has {values.min()}")


def _dtype(weight: Any) -> str:
    return str(weight.dtype)


def _cast(weight: Any) -> str:
    """Type of NumPy that holds what a variable can."""
    return "float32" if _dtype(weight) == "bfloat16" else _dtype(weight)


def _is_whole(dtype: str) -> bool:
    return dtype.startswith(("int", "uint"))


def _is_alike(received: str, wanted: str) -> bool:
    if _is_whole(wanted):
        return _is_whole(received)
    return received in ("float16", "float32", "float64")


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
