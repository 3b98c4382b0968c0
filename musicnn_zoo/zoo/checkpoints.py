"""Read files of named arrays: safetensors, and PyTorch's through PyTorch alone.

A PyTorch file is a pickle, which can run code when it is opened. It goes through
``torch.load(weights_only=True)``, which refuses everything but tensors; nothing else here
unpickles.
"""

from __future__ import annotations

import contextlib
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import WeightsError
from musicnn_zoo.files import check_regular
from musicnn_zoo.plain_text import printable

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
