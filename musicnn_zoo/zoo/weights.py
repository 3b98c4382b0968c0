"""Weights of models: found, fetched, verified, read, converted, and put into place.

A PyTorch file is a pickle, which can run code when it is opened. It goes through
``torch.load(weights_only=True)``, which refuses everything but tensors; nothing else here
unpickles.

``musicnn-pytorch``
    The Hugging Face repository ``oriyonay/musicnn-pytorch``: musicnn's own weights. Its maps
    are (batch, channels, frames, bands).
``sota-music-tagging-models``
    Won, Ferraro, Bogdanov, Serra. "Evaluation of CNN-based automatic music tagging models." SMC
    2020. Its maps are (batch, channels, bands, frames).

PyTorch stores a convolution as (out, in, …), a dense layer as (out, in), and a GRU's gates in
the order reset, update, new, where Keras has update, reset, new.

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
import threading
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError, WeightsError
from musicnn_zoo.files import check_regular
from musicnn_zoo.machine.installation import cache_folder, cache_lock, own_folder
from musicnn_zoo.text import printable, shortened, shown
from musicnn_zoo.zoo.catalogue import BundledFile, Preset, RemoteFile, SourceKind
from musicnn_zoo.zoo.downloads import fetch, recorded_digest, sha256_of

if TYPE_CHECKING:
    import keras


Arrays = dict[str, NDArray[Any]]

LARGEST_CHECKPOINT = 2**31
"""In bytes; twenty times the largest model here, and more than any of music tagging."""
_BYTES = 4

PYTORCH_SUFFIXES = (".pt", ".pth")
SAFETENSORS_SUFFIX = ".safetensors"


def read_checkpoint(path: Path) -> Arrays:
    """Read a checkpoint.

    Parameters
    ----------
    path : Path
        Ending in .safetensors, .pt or .pth.

    Returns
    -------
    dict of str to ndarray
        By the names of the file.

    Raises
    ------
    WeightsError
        If the file cannot be read, is damaged, holds something else than named arrays, or needs
        PyTorch where there is none.
    """
    suffix = path.suffix.lower()
    if suffix == SAFETENSORS_SUFFIX:
        return read_safetensors(path)
    if suffix in PYTORCH_SUFFIXES:
        return _read_pytorch(path)
    known = ", ".join((SAFETENSORS_SUFFIX, *PYTORCH_SUFFIXES))
    raise WeightsError(f"{path}: a checkpoint must end in one of {known}, or in .weights.h5")


@dataclass(frozen=True)
class ArrayHeader:
    """What a file says of an array.

    Parameters
    ----------
    shape : tuple of int
    dtype : str
        As NumPy spells it; as the file does if NumPy has no such type.
    """

    shape: tuple[int, ...]
    dtype: str


def headers_of(arrays: Mapping[str, Any]) -> dict[str, ArrayHeader]:
    """Shapes and types of arrays."""
    return {name: ArrayHeader(tuple(a.shape), str(a.dtype)) for name, a in arrays.items()}


def safetensors_headers(path: Path) -> dict[str, ArrayHeader]:
    """Read the header of a safetensors file, and none of its arrays.

    Raises
    ------
    WeightsError
        If the file cannot be read, is no regular file, is too large or damaged.
    """
    from safetensors import safe_open

    with _explained(path), safe_open(path, framework="numpy") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return {
            name: ArrayHeader(tuple(one.get_shape()), _numpy_name(one.get_dtype()))
            for name, one in slices.items()
        }


def read_safetensors(path: Path) -> Arrays:
    """Read a safetensors file; see :func:`read_checkpoint`."""
    from safetensors.numpy import load_file

    with _explained(path):
        return dict(load_file(path))


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    check_regular(path, largest=LARGEST_CHECKPOINT, origin=str(path))
    try:
        yield
    except OSError as error:
        raise WeightsError(f"{path}: the file cannot be read ({error.strerror})") from error
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: this is no safetensors file of arrays ({error})") from error


def _numpy_name(dtype: str) -> str:
    kinds = {"F": "float", "I": "int", "U": "uint"}
    if dtype == "BOOL":
        return "bool"
    kind, bits = kinds.get(dtype[:1]), dtype[1:]
    return f"{kind}{bits}" if kind and bits in ("8", "16", "32", "64") else dtype


def _read_pytorch(path: Path) -> Arrays:
    if not path.exists():
        raise WeightsError(f"{path}: there is no such file")
    check_regular(path, largest=LARGEST_CHECKPOINT, origin=str(path))
    _check_unpacked(path)
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"{path}: reading a PyTorch checkpoint needs PyTorch: "
            "pip install 'musicnn-zoo[torch]' (needed once; the converted weights are kept)"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # it raises whatever a damaged file provokes
        raise WeightsError(
            f"{path}: refused; a PyTorch checkpoint may hold tensors by name and nothing else, "
            "and PyTorch could not read this one so (torch.load(weights_only=True) raised "
            f"{type(error).__name__})"
        ) from error
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise WeightsError(
            f"{path}: the checkpoint must be a state dict, tensors by name; received "
            f"{type(state).__name__}"
        )
    numbers = 0
    for name, value in state.items():
        plain = value.layout is torch.strided and value.device.type == "cpu"
        if not plain or value.is_quantized or value.is_complex():
            raise WeightsError(f"{path}: {printable(name)} must be an ordinary array of numbers")
        # A tensor may claim more numbers than the file has, by naming them again and again.
        numbers += value.numel()
    if numbers * _BYTES > LARGEST_CHECKPOINT:
        raise WeightsError(
            f"{path}: the tensors claim {numbers:,} numbers; at most "
            f"{LARGEST_CHECKPOINT // _BYTES:,} are read"
        )
    return {name: _array(value) for name, value in state.items()}


def _array(tensor: Any) -> NDArray[Any]:
    tensor = tensor.detach()
    return np.asarray((tensor.float() if tensor.is_floating_point() else tensor).numpy())


def _check_unpacked(path: Path) -> None:
    """Refuse an archive that would be larger unpacked than a checkpoint may be."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path}: refused; the archive is damaged ({error})") from error
    if size > LARGEST_CHECKPOINT:
        raise WeightsError(
            f"{path}: refused; it has {size:,} bytes unpacked, and at most "
            f"{LARGEST_CHECKPOINT:,} are read"
        )


MapAxes = Literal["frames_bands", "bands_frames"]

BATCHNORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


@dataclass(frozen=True)
class TorchNames:
    """How one family of checkpoints names and lays out its weights.

    Parameters
    ----------
    modules : mapping of str to str
        PyTorch module to Keras layer.
    map_axes : {"frames_bands", "bands_frames"}
        Order of the last two axes of its maps.
    recurrent : str
        Module of the GRU layers, if there are any.
    buffers : tuple of str
        Beginnings of names that hold no weights.
    """

    modules: Mapping[str, str]
    map_axes: MapAxes
    recurrent: str | None = None
    buffers: tuple[str, ...] = ()

    def fits(self, names: set[str]) -> bool:
        """Whether a checkpoint has all the modules."""
        owners = {name.rpartition(".")[0] for name in names}
        wanted = {*self.modules, *([self.recurrent] if self.recurrent else [])}
        return wanted <= owners

    def translate(self, state: Mapping[str, NDArray[Any]]) -> Arrays:
        """Arrays by the names of Keras's variables, in Keras's layout.

        A name that has no place is kept as it is, so that whoever loads the arrays refuses it.
        """
        translated: Arrays = {}
        gru: Arrays = {}
        for name, value in state.items():
            module, _, part = name.rpartition(".")
            if part == "num_batches_tracked" or name.startswith(self.buffers):
                continue
            if module == self.recurrent:
                gru[part] = value
            elif module not in self.modules:
                translated[name] = value
            else:
                layer = self.modules[module]
                is_batchnorm = f"{module}.running_mean" in state
                ours = BATCHNORM.get(part) if is_batchnorm else _KERNEL.get(part)
                transposed = value if part != "weight" or is_batchnorm else self._kernel(value)
                translated[f"{layer}/{ours}" if ours else name] = transposed
        return translated | _gru(gru)

    def _kernel(self, weight: NDArray[Any]) -> NDArray[Any]:
        if weight.ndim == 4 and self.map_axes == "bands_frames":
            weight = weight.swapaxes(2, 3)
        return np.transpose(weight, (*range(2, weight.ndim), 1, 0))


_KERNEL = {"weight": "kernel", "bias": "bias"}


def _gru(values: Arrays) -> Arrays:
    """Weights of stacked GRU layers; the last is the layer ``last_state``."""
    depth = sum(name.startswith("weight_ih_l") for name in values)
    translated: Arrays = {}
    for number in range(depth):
        layer = "last_state" if number == depth - 1 else f"backend_gru{number + 1}"

        def gates(part: str, number: int = number) -> NDArray[Any]:
            reset, update, new = np.split(values[f"{part}_l{number}"], 3)
            return np.concatenate([update, reset, new])

        translated |= {
            f"{layer}/gru_cell/kernel": gates("weight_ih").T,
            f"{layer}/gru_cell/recurrent_kernel": gates("weight_hh").T,
            f"{layer}/gru_cell/bias": np.stack([gates("bias_ih"), gates("bias_hh")]),
        }
    return translated


def _convolutions(layers: Mapping[str, str]) -> dict[str, str]:
    """Modules that hold a convolution ``conv`` and a BatchNorm ``bn``."""
    return {
        f"{module}.{part}": f"{layer}{suffix}"
        for module, layer in layers.items()
        for part, suffix in (("conv", ""), ("bn", "_bn"))
    }


MUSICNN_PYTORCH = TorchNames(
    {
        "bn_input": "input_bn",
        **_convolutions(
            {
                "timbral_1.conv_block": "frontend_timbral_38",
                "timbral_2.conv_block": "frontend_timbral_67",
                "temp_1.conv_block": "frontend_temporal_128",
                "temp_2.conv_block": "frontend_temporal_64",
                "temp_3.conv_block": "frontend_temporal_32",
            }
        ),
        "midend.c1_conv": "midend_conv1",
        "midend.c1_bn": "cnn1",
        "midend.c2_conv": "midend_conv2",
        "midend.c2_bn": "midend_conv2_bn",
        "midend.c3_conv": "midend_conv3",
        "midend.c3_bn": "midend_conv3_bn",
        "backend.bn_in": "backend_bn",
        "backend.fc1": "backend_dense",
        "backend.bn_fc1": "penultimate",
        "backend.fc2": "logits",
    },
    map_axes="frames_bands",
)

_SOTA: dict[str, Any] = {"map_axes": "bands_frames", "buffers": ("spec.",)}

SOTA_FCN = TorchNames(
    {
        "spec_bn": "input_bn",
        **_convolutions(
            {
                "layer1": "frontend_conv1",
                **{f"layer{number}": f"backend_conv{number - 1}" for number in range(2, 6)},
            }
        ),
        "dense": "logits",
    },
    **_SOTA,
)
SOTA_CRNN = TorchNames(
    {
        "spec_bn": "input_bn",
        **_convolutions({f"layer{number}": f"frontend_conv{number}" for number in range(1, 5)}),
        "dense": "logits",
    },
    recurrent="layer5",
    **_SOTA,
)
SOTA_MUSICNN = TorchNames(
    {
        "spec_bn": "input_bn",
        **_convolutions(
            {
                "layers.0": "frontend_timbral_67",
                "layers.1": "frontend_timbral_38",
                "layers.2": "frontend_temporal_129",
                "layers.3": "frontend_temporal_65",
                "layers.4": "frontend_temporal_33",
                "layer1": "midend_conv1",
                "layer2": "midend_conv2",
                "layer3": "midend_conv3",
            }
        ),
        "dense1": "backend_dense",
        "bn": "backend_dense_bn",
        "dense2": "logits",
    },
    **_SOTA,
)

FAMILIES = (MUSICNN_PYTORCH, SOTA_FCN, SOTA_CRNN, SOTA_MUSICNN)


def from_torch(state: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Translate a checkpoint of a family that we know; leave any other as it is.

    Parameters
    ----------
    state : dict of str to ndarray
    shapes : mapping of str to tuple of int
        Of the variables that the arrays are for. An array that differs by axes of length one,
        as a convolution over all bands does from one over time, gets the shape it is to have.
    """
    for family in FAMILIES:
        if family.fits(set(state)):
            translated = family.translate(state)
            return {
                name: _without_idle_axes(value, shapes.get(name))
                for name, value in translated.items()
            }
    return state


def _without_idle_axes(value: NDArray[Any], shape: tuple[int, ...] | None) -> NDArray[Any]:
    def busy(axes: tuple[int, ...]) -> list[int]:
        return [length for length in axes if length != 1]

    return value if shape is None or busy(value.shape) != busy(shape) else value.reshape(shape)


_one_at_a_time = threading.RLock()


@dataclass(frozen=True)
class WeightLimit:
    """How much a model may hold.

    Parameters
    ----------
    numbers : int
        In all weights together.
    weights : int
        Arrays of them, which bounds the number of layers.
    """

    numbers: int
    weights: int


@contextlib.contextmanager
def limited_weights(limit: WeightLimit) -> Iterator[None]:
    """Refuse to make more weights than that, before they are allocated.

    It holds for this thread. Keras asks no other place what a layer is about to allocate.

    Raises
    ------
    ArgumentError
        From the layer that goes beyond.
    """
    import keras

    add_weight = keras.layers.Layer.add_weight
    thread = threading.get_ident()
    numbers = weights = 0

    def add_counted(self: Any, shape: Any = None, *args: Any, **kwargs: Any) -> Any:
        nonlocal numbers, weights
        if threading.get_ident() == thread:
            numbers += math.prod(shape or ())
            weights += 1
            if numbers > limit.numbers or weights > limit.weights:
                raise ArgumentError(
                    f"the configuration asks for more weights than there are: with the layer "
                    f"{self.name} for {numbers:,} numbers in {weights:,} arrays, and at most "
                    f"{limit.numbers:,} in {limit.weights:,} could fit"
                )
        return add_weight(self, shape, *args, **kwargs)

    with _one_at_a_time:
        keras.layers.Layer.add_weight = add_counted
        try:
            yield
        finally:
            keras.layers.Layer.add_weight = add_weight


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
    package = Path(__file__).parents[1]
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
        checkpoints in :mod:`musicnn_zoo.zoo.weights`.

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
    from musicnn_zoo.networks.build import finish_normalization

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
    from musicnn_zoo.networks.build import finish_normalization

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
        return cache_lock(_FOLDER, f"{self._name}.weights.lock")

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
