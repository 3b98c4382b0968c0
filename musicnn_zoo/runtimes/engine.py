"""What every engine offers, which one fits a machine, and how two are compared.

This module imports no engine: tagging on a CPU needs neither Keras nor TensorFlow.
"""

from __future__ import annotations

import math
import os
import platform
import sys
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError, check_choice, shown
from musicnn_zoo.machine.installation import has_keras, provide_writable_caches, require_keras
from musicnn_zoo.networks.config import ModelConfig

EngineName = Literal["auto", "tensorflow", "jax", "torch", "onnxruntime"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
Precision = Literal["float32", "float16", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class Engine(Protocol):
    """Computes named layers of one model on patches; several threads may call it.

    ``name`` is one of :data:`ENGINES` without ``"auto"``. To use the machine fully, ``calls`` calls
    of :meth:`run` at the same time should bring ``patches_per_call`` patches each.
    """

    name: str
    patches_per_call: int
    calls: int

    def missing(self, layers: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of ``layers`` that the engine cannot compute."""
        ...

    def run(
        self, windows: NDArray[np.float32], layers: tuple[str, ...]
    ) -> dict[str, NDArray[np.float32]]:
        """Return the activations (patches, …) of ``layers`` for windows (patches, samples).

        ``"output"`` is the model's output. An UnknownNameError is raised for a layer that the
        engine cannot compute.
        """
        ...


def check_engine(engine: str, device: str | None) -> None:
    """Refuse an engine or a device that is none by its type or its name."""
    check_choice("engine", engine, ENGINES)
    check_device(device)


def check_device(device: str | None) -> None:
    """Refuse what cannot be the name of a device."""
    if not isinstance(device, str | None):
        raise ArgumentError(
            f"device must be 'cpu', 'gpu', 'gpu:1' or the like; received {shown(device)}"
        )


def choose_engine(engine: str, *, device: str | None, precision: str) -> str:
    """Decide what ``engine="auto"`` means, and refuse what does not go together.

    ONNX Runtime on the CPU in float32, Keras otherwise: if a GPU is there or asked for, or
    another precision. Return ``"onnxruntime"`` or the name of Keras's backend.

    Raises
    ------
    ArgumentError
        If the engine or the precision is unknown, or they do not go with each other or with
        the device.
    MissingPackageError
        If Keras is needed and not installed.
    """
    check_choice("engine", engine, ENGINES)
    check_choice("precision", precision, PRECISIONS)
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
    provide_writable_caches()
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


_LOUDNESS = (0.3, 0.03, 0.0003)
_NOISE_FLOOR = 0.0003
_CHORDS = ((110.0, 220.0, 277.2, 329.6), (92.5, 185.0, 220.0, 277.2), (73.4, 146.8, 185.0, 220.0))
_CHORD_S, _BEAT_S = 0.7, 0.25


def probes(config: ModelConfig) -> NDArray[np.float32]:
    """Make signals on which engines are compared.

    They are noise of three levels, silence, chords that fade, a beat, and both together: one
    patch each, in ±1, (signals, samples), the same at every call. The last three have the noise
    floor of a recording, -70 dB. Without it, a log-mel spectrogram would show the rounding errors
    of the Fourier transform between the tones, and two transforms have different ones.
    """
    rate, samples = config.input.sample_rate, config.grid.patch_samples
    random = np.random.default_rng(0)
    seconds = np.arange(samples) / rate
    noise = [random.normal(0, loudness, samples) for loudness in _LOUDNESS]
    chords, beat = _chords(seconds, rate), _beat(seconds, random)
    music = np.stack([chords, beat, 0.5 * (chords + beat)])
    music += random.normal(0, _NOISE_FLOOR, music.shape)
    signals = [*noise, np.zeros(samples), *music]
    return np.asarray(np.clip(signals, -1, 1), np.float32)


def _chords(seconds: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """Chords of tones with overtones below half the sample rate, one after the other."""
    count, since = np.divmod(seconds, _CHORD_S)
    signal: NDArray[np.float64] = np.zeros_like(seconds)
    for turn, chord in enumerate(_CHORDS):
        for tone in chord:
            for overtone in range(1, min(9, int(rate / 2 / tone))):
                wave = np.sin(2 * np.pi * tone * overtone * since) / overtone
                signal += np.where(count % len(_CHORDS) == turn, wave, 0)
    return np.asarray(0.15 * signal * np.exp(-3 * since))


def _beat(seconds: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Bass drum and cymbal in turn."""
    count, since = np.divmod(seconds, _BEAT_S)
    drum = np.sin(2 * np.pi * 55 * since) * np.exp(-12 * since)
    cymbal = 0.5 * np.diff(random.normal(0, 0.5, len(seconds)), prepend=0) * np.exp(-40 * since)
    return np.asarray(np.where(count % 2 == 0, 0.8 * drum, cymbal))


def difference(expected: NDArray[np.float32], received: NDArray[np.float32]) -> float:
    """Largest absolute difference of two outputs; beyond ±1, relative to the largest expected.

    It is infinite if the shapes differ, and NaN if an output has NaN.
    """
    if expected.shape != received.shape:
        return math.inf
    scale = max(1.0, float(np.abs(expected).max()))
    return float(np.abs(received - expected).max()) / scale
