"""Weights of models: fetched, verified, read, converted, and loaded into a model.

Weights of a pretrained model are bundled, or they are another project's checkpoint, which is
downloaded, converted, and kept as a Keras weights file in the cache folder, beside a note of what
it was made from.

A PyTorch file is a pickle, which can run code when it is opened. It goes through
``torch.load(weights_only=True)``, which refuses everything but tensors; nothing else here
unpickles. Two families of PyTorch checkpoints are known:

``musicnn-pytorch``
    The Hugging Face repository ``oriyonay/musicnn-pytorch``: musicnn's own weights. Its maps
    are (batch, channels, frames, bands).
``sota-music-tagging-models``
    Won, Ferraro, Bogdanov, Serra. "Evaluation of CNN-based automatic music tagging models." SMC
    2020. Its maps are (batch, channels, bands, frames).

PyTorch stores a convolution as (out, in, …), a dense layer as (out, in), and a GRU's gates in
the order reset, update, new, where Keras has update, reset, new.
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
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError, WeightsError, shown
from musicnn_zoo.files import check_regular, raising, sha256_of
from musicnn_zoo.machine.installation import cache_folder, cache_lock, own_folder
from musicnn_zoo.text import first_line, printable, shortened
from musicnn_zoo.zoo.catalogue import BundledFile, Preset, SourceKind
from musicnn_zoo.zoo.downloads import fetch, recorded_digest

if TYPE_CHECKING:
    import keras


Arrays = dict[str, NDArray[Any]]

LARGEST_CHECKPOINT = 2**31
"""In bytes; twenty times the largest model here, and more than any of music tagging."""
_MOST_NUMBERS = LARGEST_CHECKPOINT // 4
"""Of float32."""

PYTORCH_SUFFIXES = (".pt", ".pth")
SAFETENSORS_SUFFIX = ".safetensors"


def read_checkpoint(path: Path) -> Arrays:
    """Read the arrays of a checkpoint (.safetensors, .pt or .pth) by the names that it has.

    A WeightsError is raised if the file cannot be read, is damaged, holds something else than named
    arrays, or needs PyTorch where there is none.
    """
    suffix = path.suffix.lower()
    if suffix == SAFETENSORS_SUFFIX:
        return read_safetensors(path)
    if suffix in PYTORCH_SUFFIXES:
        return _read_pytorch(path)
    known = ", ".join((SAFETENSORS_SUFFIX, *PYTORCH_SUFFIXES))
    raise WeightsError(f"{path}: a checkpoint must end in one of {known}, or in .weights.h5")


class ArrayHeader(NamedTuple):
    """What a file says of an array; its type as NumPy spells it, if NumPy has it."""

    shape: tuple[int, ...]
    dtype: str


def safetensors_headers(path: Path) -> dict[str, ArrayHeader]:
    """Read the header of a safetensors file, and none of its arrays.

    A WeightsError is raised if the file cannot be read, is no regular file, is too large or
    damaged.
    """
    from safetensors import safe_open

    with _explained(path), safe_open(path, framework="numpy") as file:
        headers = {}
        for name in file.keys():  # noqa: SIM118
            array = file.get_slice(name)
            dtype = array.get_dtype()
            headers[name] = ArrayHeader(tuple(array.get_shape()), _NUMPY_NAMES.get(dtype, dtype))
        return headers


def read_safetensors(path: Path) -> Arrays:
    """Read a safetensors file; see :func:`read_checkpoint`."""
    from safetensors.numpy import load_file

    with _explained(path):
        return dict(load_file(path))


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    check_regular(path, largest=LARGEST_CHECKPOINT, origin=str(path))
    kinds = SafetensorError, AttributeError, KeyError, TypeError, ValueError
    with (
        raising(WeightsError, f"{path}: the file cannot be read"),
        raising(WeightsError, f"{path}: this is no safetensors file of arrays", instead_of=kinds),
    ):
        yield


_NUMPY_NAMES = {"BOOL": "bool"} | {
    f"{letter}{bits}": f"{kind}{bits}"
    for letter, kind in (("F", "float"), ("I", "int"), ("U", "uint"))
    for bits in (8, 16, 32, 64)
}


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
            "and PyTorch could not read this one that way (torch.load(weights_only=True) raised "
            f"{type(error).__name__})"
        ) from error
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise WeightsError(
            f"{path}: the checkpoint must be a state dict, tensors by name; received "
            f"{type(state).__name__}"
        )
    for name, tensor in state.items():
        plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
        if not plain or tensor.is_quantized or tensor.is_complex():
            raise WeightsError(f"{path}: {printable(name)} must be an ordinary array of numbers")
    # A tensor may claim more numbers than the file has, by naming them again and again.
    numbers = sum(tensor.numel() for tensor in state.values())
    if numbers > _MOST_NUMBERS:
        raise WeightsError(
            f"{path}: the tensors claim {numbers:,} numbers; at most {_MOST_NUMBERS:,} are read"
        )
    tensors = {name: tensor.detach() for name, tensor in state.items()}
    return {
        name: np.asarray((tensor.float() if tensor.is_floating_point() else tensor).numpy())
        for name, tensor in tensors.items()
    }


def _check_unpacked(path: Path) -> None:
    """Refuse an archive that would be larger unpacked than a checkpoint may be."""
    if not zipfile.is_zipfile(path):
        return
    kinds = OSError, ValueError, NotImplementedError, zipfile.BadZipFile
    with (
        raising(WeightsError, f"{path}: refused; the archive is damaged", instead_of=kinds),
        zipfile.ZipFile(path) as archive,
    ):
        size = sum(entry.file_size for entry in archive.infolist())
    if size > LARGEST_CHECKPOINT:
        raise WeightsError(
            f"{path}: refused; it has {size:,} bytes unpacked, and at most "
            f"{LARGEST_CHECKPOINT:,} are read"
        )


_KERNEL = {"weight": "kernel", "bias": "bias"}
_BATCHNORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


@dataclass(frozen=True)
class TorchNames:
    """How one family of checkpoints names and lays out its weights.

    ``modules`` gives the Keras layer of each PyTorch module, ``map_axes`` the order of the last two
    axes of its maps, ``recurrent`` the module of the GRU layers, if there are any. Names that begin
    as in ``buffers`` hold no weights.
    """

    modules: Mapping[str, str]
    map_axes: Literal["frames_bands", "bands_frames"]
    recurrent: str | None = None
    buffers: tuple[str, ...] = ()

    def fits(self, names: set[str]) -> bool:
        """Whether a checkpoint has all the modules."""
        owners = {name.rpartition(".")[0] for name in names}
        wanted = {*self.modules, *([self.recurrent] if self.recurrent else [])}
        return wanted <= owners

    def translate(self, state: Mapping[str, NDArray[Any]]) -> Arrays:
        """Return the arrays by the names of Keras's variables, in Keras's layout.

        A name that has no place is kept, so that loading the arrays refuses it.
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
                ours = (_BATCHNORM if is_batchnorm else _KERNEL).get(part)
                transposed = value if part != "weight" or is_batchnorm else self._kernel(value)
                translated[f"{layer}/{ours}" if ours else name] = transposed
        return translated | _gru(gru)

    def _kernel(self, weight: NDArray[Any]) -> NDArray[Any]:
        if weight.ndim == 4 and self.map_axes == "bands_frames":
            weight = weight.swapaxes(2, 3)
        return np.transpose(weight, (*range(2, weight.ndim), 1, 0))


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


def _sota(
    convolutions: Mapping[str, str], dense: Mapping[str, str], recurrent: str | None = None
) -> TorchNames:
    modules = {"spec_bn": "input_bn", **_convolutions(convolutions), **dense}
    return TorchNames(modules, "bands_frames", recurrent, buffers=("spec.",))


FAMILIES = (
    TorchNames(  # musicnn-pytorch
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
        "frames_bands",
    ),
    _sota(  # FCN
        {
            "layer1": "frontend_conv1",
            **{f"layer{number}": f"backend_conv{number - 1}" for number in range(2, 6)},
        },
        {"dense": "logits"},
    ),
    _sota(  # CRNN
        {f"layer{number}": f"frontend_conv{number}" for number in range(1, 5)},
        {"dense": "logits"},
        recurrent="layer5",
    ),
    _sota(  # musicnn
        {
            "layers.0": "frontend_timbral_67",
            "layers.1": "frontend_timbral_38",
            "layers.2": "frontend_temporal_129",
            "layers.3": "frontend_temporal_65",
            "layers.4": "frontend_temporal_33",
            "layer1": "midend_conv1",
            "layer2": "midend_conv2",
            "layer3": "midend_conv3",
        },
        {"dense1": "backend_dense", "bn": "backend_dense_bn", "dense2": "logits"},
    ),
)


def from_torch(state: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Translate a checkpoint of a known family; leave any other as it is.

    ``shapes`` are those of the variables that the arrays are for. An array that differs by axes of
    length one, as a convolution over all bands does from one over time, is reshaped.
    """
    for family in FAMILIES:
        if family.fits(set(state)):
            translated = family.translate(state)
            return {
                name: value.reshape(shapes[name])
                if name in shapes and _without_ones(value.shape) == _without_ones(shapes[name])
                else value
                for name, value in translated.items()
            }
    return state


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length != 1]


class WeightLimit(NamedTuple):
    """How many numbers a model may hold in how many arrays; the latter bounds its layers."""

    numbers: int
    arrays: int


_one_at_a_time = threading.RLock()


@contextlib.contextmanager
def limited_weights(limit: WeightLimit | None) -> Iterator[None]:
    """Refuse to make more weights than that in this thread, before they are allocated.

    Every layer of Keras allocates its weights through ``Layer.add_weight``; the one that goes
    beyond raises an ArgumentError.
    """
    if limit is None:
        yield
        return
    import keras

    add_weight = keras.layers.Layer.add_weight
    thread = threading.get_ident()
    numbers = arrays = 0

    def add_counted(self: Any, shape: Any = None, *args: Any, **kwargs: Any) -> Any:
        nonlocal numbers, arrays
        if threading.get_ident() == thread:
            numbers += math.prod(shape or ())
            arrays += 1
            if numbers > limit.numbers or arrays > limit.arrays:
                raise ArgumentError(
                    f"the configuration asks for more weights than there are: with the layer "
                    f"{self.name} for {numbers:,} numbers in {arrays:,} arrays, and at most "
                    f"{limit.numbers:,} in {limit.arrays:,} could fit"
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
    """Path of a bundled file; a WeightsError is raised if its SHA-256 is not what it must be."""
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


class PresetWeights:
    """Where the weights of a pretrained model are, and how they get into a model.

    ``source`` names another than the first of ``preset.sources``; an ArgumentError says if there is
    none of that kind.
    """

    def __init__(self, preset: Preset, source: SourceKind | None = None) -> None:
        fitting = [each for each in preset.sources if source in (None, each.kind)]
        if not fitting:
            kinds = ", ".join(repr(each.kind) for each in preset.sources)
            raise ArgumentError(
                f"the sources of {preset.name} are {kinds}; received source={source!r}"
            )
        self._preset, self._file = preset, fitting[0]

    @property
    def is_first(self) -> bool:
        """Whether they come from the first of the sources."""
        return self._file is self._preset.sources[0]

    @cached_property
    def _origin(self) -> dict[str, Any]:
        """What converted weights are made from, for the note beside them."""
        return {
            "conversion": CONVERSION,
            "address": self._file.address,
            "config": self._preset.config.to_dict(),
        }

    @cached_property
    def _kept_name(self) -> str:
        key = hashlib.sha256(json.dumps(self._origin).encode()).hexdigest()[:16]
        return f"{self._preset.name}-{key}"

    def digest(self) -> str:
        """SHA-256 of the file that the weights come from.

        It is known beforehand, or recorded; a file of which neither holds is downloaded.
        """
        file = self._file
        if isinstance(file, BundledFile):
            return file.sha256
        return file.sha256 or recorded_digest(file) or sha256_of(fetch(file))

    def fetch(self) -> None:
        """Download what :meth:`put` needs, unless it is there; without Keras.

        A DownloadError is raised if a file cannot be downloaded, a WeightsError if it is another
        than it should be.
        """
        if not isinstance(self._file, BundledFile) and self._kept() is None:
            fetch(self._file)

    def put(self, model: keras.Model) -> None:
        """Load the weights into a model of the preset's architecture.

        Beside the errors of :meth:`fetch`, a WeightsError is raised if a file is damaged, does not
        fit, or cannot be converted.
        """
        if isinstance(self._file, BundledFile):
            load_into(model, bundled(self._file))
            return
        kept = self._kept()
        if kept is not None:
            load_into(model, kept)
            return
        checkpoint = fetch(self._file)
        load_into(model, checkpoint)
        self._keep(model, checkpoint)

    def weight_limit(self) -> None:
        """Return None: the architecture is our own."""

    def _kept(self) -> Path | None:
        """Return the converted weights in the cache folder, if they agree with their note."""
        try:
            path, note = self._places()
        except OSError:
            return None
        agree = _agree(path, note)
        if agree is False:
            with cache_lock(_FOLDER, self._lock):  # another process may be writing them
                agree = _agree(path, note)
                if agree is False:
                    _log.warning("%s is damaged; converting the weights again", path)
                    with contextlib.suppress(OSError):
                        note.unlink()
        return path if agree else None

    def _keep(self, model: keras.Model, checkpoint: Path) -> None:
        """Write the weights, then the note; without the note they do not count."""
        try:
            path, note = self._places(make=True)
            with (
                cache_lock(_FOLDER, self._lock),
                tempfile.TemporaryDirectory(dir=path.parent) as folder,
            ):
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

    def _places(self, *, make: bool = False) -> tuple[Path, Path]:
        folder = own_folder(_FOLDER, make=make)
        return folder / f"{self._kept_name}.weights.h5", folder / f"{self._kept_name}.weights.json"

    @property
    def _lock(self) -> str:
        return f"{self._kept_name}.weights.lock"


def _agree(path: Path, note: Path) -> bool | None:
    """Whether a file has the SHA-256 in its note; None if either cannot be read."""
    try:
        noted = json.loads(note.read_text(encoding="utf-8"))["sha256"]
        return bool(sha256_of(path) == noted)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def load_into(model: keras.Model, path: Path) -> None:
    """Load a weights file into a model of the same architecture, all of it or nothing.

    A name ends in .weights.h5 for Keras's format; in .safetensors, .pt or .pth for arrays with the
    names of the model's variables (:func:`arrays_of`) or of a known family. A WeightsError is
    raised if the file cannot be read or does not fit the model.
    """
    if path.name.endswith((".h5", ".hdf5")):
        _load_keras_weights(model, path)
        return
    shapes = {name: tuple(weight.shape) for name, weight in _named(model).items()}
    state = read_checkpoint(path)
    try:
        arrays = from_torch(state, shapes)
    except (LookupError, ValueError) as error:
        raise WeightsError(
            f"{path}: the arrays have the names of a known family but not its shapes "
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
        summary = shortened(first_line(error), 300)
        raise WeightsError(f"{path}: does not fit the model {model.name}: {summary}") from error


def _check_hdf5(model: keras.Model, path: Path) -> None:
    """Check an HDF5 file before Keras reads it: it may link to files and claim any size or type."""
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
    wanted = Counter((tuple(w.shape), not _is_whole(w.dtype)) for w in model.weights)
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

    return {
        name: np.asarray(keras.ops.convert_to_numpy(weight))
        for name, weight in _named(model).items()
    }


def assign(model: keras.Model, arrays: Mapping[str, Any], *, origin: str | Path) -> None:
    """Set all weights of a model from arrays named as by :func:`arrays_of`, or none.

    A WeightsError, in which ``origin`` names the arrays, is raised if :func:`check_headers` refuses
    an array, or it has a number that is not finite.
    """
    from musicnn_zoo.networks.build import finish_normalization

    headers = {name: ArrayHeader(tuple(a.shape), str(a.dtype)) for name, a in arrays.items()}
    check_headers(model, headers, origin=origin)
    named = _named(model)
    with np.errstate(over="ignore"):  # which gives infinity, and that is refused
        values = {
            # NumPy has no bfloat16, and float32 holds all that it can.
            name: np.asarray(arrays[name]).astype(weight.dtype.replace("bfloat16", "float32"))
            for name, weight in named.items()
        }
    _check_values(values, origin)
    for name, weight in named.items():
        weight.assign(values[name])
    finish_normalization(model)


def check_headers(
    model: keras.Model, headers: Mapping[str, ArrayHeader], *, origin: str | Path
) -> None:
    """Check that arrays fit a model, by what a file says of them before it is read.

    A WeightsError is raised if an array is missing, has no place, or has another shape or kind of
    numbers.
    """
    named = _named(model)
    both = [(name, headers[name], weight) for name, weight in named.items() if name in headers]
    problems = [
        *(f"{name} is missing" for name in named if name not in headers),
        *(f"{name} has no place in the model" for name in headers if name not in named),
        *(
            f"{name} must have the shape {tuple(weight.shape)}, received {header.shape}"
            for name, header, weight in both
            if header.shape != tuple(weight.shape)
        ),
        *(
            f"{name} must hold {'whole' if _is_whole(weight.dtype) else 'floating-point'} "
            f"numbers, received {header.dtype}"
            for name, header, weight in both
            if not _is_alike(header.dtype, weight.dtype)
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


def _is_whole(dtype: str) -> bool:
    return dtype.startswith(("int", "uint"))


def _is_alike(received: str, wanted: str) -> bool:
    if _is_whole(wanted):
        return _is_whole(received)
    return received in ("float16", "float32", "float64")


def _named(model: keras.Model) -> dict[str, Any]:
    return {weight.path: weight for weight in model.weights}
