"""Read files of named arrays: safetensors, and PyTorch's through PyTorch alone.

A PyTorch file is a pickle, which can run code when it is opened. It goes through
``torch.load(weights_only=True)``, which refuses everything but tensors; nothing else here
unpickles.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import WeightsError

Arrays = dict[str, NDArray[Any]]

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


def read_safetensors(path: Path) -> Arrays:
    """Read a safetensors file; see :func:`read_checkpoint`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except OSError as error:
        raise WeightsError(f"{path}: the file cannot be read ({error.strerror})") from error
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: this is no safetensors file of arrays ({error})") from error


def _read_pytorch(path: Path) -> Arrays:
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file")
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
    return {name: np.asarray(value.detach().float().numpy()) for name, value in state.items()}
