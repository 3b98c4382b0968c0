"""What every engine offers, and which one fits a machine.

This module imports none of them: tagging on a CPU needs neither Keras nor TensorFlow.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.machine.installation import has_keras, require_keras

EngineName = Literal["auto", "tensorflow", "jax", "torch", "onnxruntime"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
Precision = Literal["float32", "float16", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class Engine(Protocol):
    """Runs named layers of one model on patches; safe to call from several threads.

    Attributes
    ----------
    name : str
        One of :data:`ENGINES` without ``"auto"``.
    appetite : int
        How many patches a call should bring to keep it busy.
    calls : int
        How many calls at a time keep it busy.
    """

    name: str
    appetite: int
    calls: int

    def missing(self, layers: tuple[str, ...]) -> tuple[str, ...]:
        """Those of ``layers`` that it cannot give."""
        ...

    def run(
        self, windows: NDArray[np.float32], layers: tuple[str, ...]
    ) -> dict[str, NDArray[np.float32]]:
        """Return the activations of ``layers``.

        Parameters
        ----------
        windows : ndarray, shape (patches, samples), float32
        layers : tuple of str
            Layer names; ``"output"`` is the model's output.

        Returns
        -------
        dict of str to ndarray, shape (patches, …), float32

        Raises
        ------
        UnknownNameError
            If it cannot give one of them.
        """
        ...


def choose_engine(engine: str, *, device: str | None, precision: str) -> str:
    """Decide what ``engine="auto"`` means, and refuse what does not go together.

    ONNX Runtime on the CPU in float32, Keras otherwise: if a GPU is there or asked for, or
    another precision.

    Returns
    -------
    str
        ``"onnxruntime"`` or the name of Keras's backend.

    Raises
    ------
    ArgumentError
        If the engine or the precision is unknown, or they do not go with each other or with
        the device.
    MissingPackageError
        If Keras is needed and not installed.
    """
    if engine not in ENGINES:
        raise ArgumentError(f"engine must be one of {', '.join(ENGINES)}; received {engine!r}")
    if precision not in PRECISIONS:
        raise ArgumentError(
            f"precision must be one of {', '.join(PRECISIONS)}; received {precision!r}"
        )
    on_cpu = device is None or device.lower() in ("cpu", "cpu:0")
    if engine == "onnxruntime":
        if not on_cpu:
            raise ArgumentError(
                f"ONNX Runtime runs on the CPU here; received device={device!r} with "
                "engine='onnxruntime': leave out one of them"
            )
        if precision != "float32":
            raise ArgumentError(
                f"ONNX Runtime computes in float32 here; received precision={precision!r} with "
                "engine='onnxruntime': leave out one of them"
            )
        return engine
    if engine == "auto" and on_cpu and precision == "float32" and (device or not _sees_gpu()):
        return "onnxruntime"
    asked_for = {"engine": engine, "device": device, "precision": precision}
    ordinary = {"engine": "auto", "device": None, "precision": "float32"}
    require_keras(
        " ".join(
            f"{name}={value!r}" for name, value in asked_for.items() if value != ordinary[name]
        ),
        backend="tensorflow" if engine == "auto" else engine,
    )
    backend = _keras_backend()
    if engine not in ("auto", backend):
        raise ArgumentError(
            f"Keras runs on {backend} here; received engine={engine!r}: set the environment "
            f"variable KERAS_BACKEND={engine}"
        )
    return backend


def _keras_backend() -> str:
    import keras

    name: str = keras.backend.backend()
    return name


def _sees_gpu() -> bool:
    """Whether Keras's backend has a GPU; the backend is only asked if the machine has one."""
    if not _may_have_gpu() or not has_keras():
        return False
    backend = _keras_backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))
    if backend == "jax":
        import jax

        return any(device.platform != "cpu" for device in jax.devices())
    import torch

    return bool(torch.cuda.is_available() or torch.backends.mps.is_available())


def _may_have_gpu() -> bool:
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    if sys.platform == "darwin":
        import importlib.metadata

        if platform.machine() != "arm64":
            return False
        try:
            importlib.metadata.version("tensorflow-metal")
        except importlib.metadata.PackageNotFoundError:
            return False
        return True
    devices = Path("/dev")
    names = ("nvidia[0-9]*", "kfd", "dxg")  # NVIDIA, AMD, and both in Windows's Linux
    return any(True for name in names for _ in devices.glob(name))
