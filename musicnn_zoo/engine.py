"""Run a Keras model on batches of windows and return the layers asked for."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError, DeviceError, UnknownNameError

_log = logging.getLogger(__name__)

Forward = Callable[[NDArray[np.float32]], dict[str, Any]]


def device_scope(device: str | None) -> contextlib.AbstractContextManager[Any]:
    """Scope that places what runs inside it on a device.

    GPUs are set to take memory as it is needed ("memory growth"), unless TensorFlow is
    already using them.

    Parameters
    ----------
    device : str or None
        ``"cpu"``, ``"gpu"`` or ``"gpu:1"``; None leaves the choice to Keras's backend, which
        takes the first GPU if there is one.

    Raises
    ------
    DeviceError
        If there is no such device.
    """
    if keras.backend.backend() != "tensorflow":
        if device is None:
            return contextlib.nullcontext()
        raise DeviceError(
            "device can be chosen with Keras's TensorFlow backend only; received "
            f"device={device!r} under {keras.backend.backend()}"
        )
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            _log.debug("%s is already in use; its memory growth was left as it is", gpu.name)
    if device is None:
        return contextlib.nullcontext()
    kind, _, number = device.partition(":")
    present = [
        f"{kind.lower()}:{index}"
        for kind in ("CPU", "GPU")
        for index in range(len(tf.config.list_physical_devices(kind)))
    ]
    wanted = f"{kind.lower()}:{number or 0}"
    if wanted not in present:
        raise DeviceError(f"device {device!r} is not there; TensorFlow sees {', '.join(present)}")
    scope: contextlib.AbstractContextManager[Any] = tf.device(f"/{wanted}")
    return scope


class KerasEngine:
    """Runs named layers of a model; safe to call from several threads.

    Parameters
    ----------
    model : keras.Model
        Input ``(batch, samples)``.
    device : str, optional
        See :func:`device_scope`.
    """

    def __init__(self, model: keras.Model, *, device: str | None = None) -> None:
        self._model = model
        self._device = device
        self._forwards: dict[tuple[str, ...], Forward] = {}
        self._lock = threading.Lock()

    def run(
        self, windows: NDArray[np.float32], layers: tuple[str, ...], *, batch_size: int
    ) -> dict[str, NDArray[np.float32]]:
        """Return the activations of ``layers``.

        Parameters
        ----------
        windows : ndarray, shape (patches, samples), float32
        layers : tuple of str
            Layer names; ``"output"`` is the model's output.
        batch_size : int
            Patches computed at once.

        Returns
        -------
        dict of str to ndarray, shape (patches, …), float32

        Raises
        ------
        UnknownNameError
            If the model has no layer of that name.
        """
        if batch_size < 1:
            raise ArgumentError(f"batch_size must be at least 1; received {batch_size}")
        with self._lock:
            forward = self._forwards.get(layers)
            if forward is None:
                forward = self._forwards[layers] = self._compile(layers)
        parts = [
            forward(np.ascontiguousarray(windows[start : start + batch_size]))
            for start in range(0, len(windows), batch_size)
        ]
        return {
            name: np.concatenate([np.asarray(part[name], dtype=np.float32) for part in parts])
            for name in layers
        }

    def _compile(self, layers: tuple[str, ...]) -> Forward:
        outputs = {name: self._output(name) for name in layers}
        part = keras.Model(self._model.input, outputs)
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            signature = tf.TensorSpec((None, self._model.input_shape[1]), tf.float32)
            with device_scope(self._device):
                graph = tf.function(lambda windows: part(windows, training=False))
                concrete = graph.get_concrete_function(signature)

            def forward(windows: NDArray[np.float32]) -> dict[str, Any]:
                with device_scope(self._device):
                    return dict(concrete(tf.constant(windows)))

            return forward
        lock = threading.Lock()

        def forward_in_turn(windows: NDArray[np.float32]) -> dict[str, Any]:
            with lock:
                return dict(part.predict_on_batch(windows))

        return forward_in_turn

    def _output(self, name: str) -> Any:
        if name == "output":
            return self._model.output
        names = [layer.name for layer in self._model.layers]
        if name not in names:
            raise UnknownNameError(f"layer of {self._model.name}", name, names)
        return self._model.get_layer(name).output
