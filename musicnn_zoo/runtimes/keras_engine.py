"""Run a Keras model on its backend, on one device or on several at once."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import DeviceError, UnknownNameError
from musicnn_zoo.machine.processes import ForkedLock, refuse_forked_tensorflow
from musicnn_zoo.runtimes.pruning import prune

_log = logging.getLogger(__name__)

_BATCH_ON_CPU, _BATCH_ON_GPU = 8, 64
_CALLS_AHEAD = 2

Forward = Callable[[NDArray[np.float32]], dict[str, Any]]


_KINDS = {"cuda": "gpu"}
"""What PyTorch calls the kinds of device of TensorFlow."""


def device_scope(device: str | None) -> contextlib.AbstractContextManager[Any]:
    """Scope that places on a device what runs inside it.

    ``device`` is ``"cpu"``, ``"gpu"`` or ``"gpu:1"`` (or ``"cuda:1"``, as PyTorch says); None
    leaves the choice to Keras's backend, which takes the first GPU if there is one. GPUs are set to
    take memory as it is needed ("memory growth"), unless TensorFlow is already using them. A
    DeviceError is raised if there is no such device.
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
        for index in range(len(tf.config.list_logical_devices(kind)))
    ]
    if kind.lower() in _KINDS:
        kind = _KINDS[kind.lower()]
        device = f"{kind}:{number or 0}"
    wanted = f"{kind.lower()}:{number or 0}"
    if wanted not in present:
        raise DeviceError(f"device {device!r} is not there; TensorFlow sees {', '.join(present)}")
    return tf.device(f"/{wanted}")  # type: ignore[no-any-return]


def split_devices(device: str | None) -> tuple[str | None, ...]:
    """Turn ``"gpu:0,gpu:1"`` into its parts, and check them by :func:`device_scope`."""
    devices = (None,) if device is None else tuple(part.strip() for part in device.split(","))
    for one in devices:
        device_scope(one)
    return devices


class KerasEngine:
    """Runs a Keras model; see :class:`musicnn_zoo.runtimes.engine.Engine`.

    ``make_model`` is called once on each device, for a model with input ``(batch, samples)``. Of
    the model, TensorFlow runs a copy without constant channels, which takes a second to make.
    Several devices, separated by commas, share the patches; each computes ``batch_size`` of them at
    once, by default 8 on a CPU, 64 on a GPU. A DeviceError is raised if a device is not there, and,
    by :meth:`run` too, if TensorFlow began to run before this process was forked.
    """

    def __init__(
        self,
        make_model: Callable[[], keras.Model],
        *,
        device: str | None = None,
        batch_size: int | None = None,
    ) -> None:
        self.name: str = keras.backend.backend()
        refuse_forked_tensorflow()
        devices = split_devices(device)
        on_gpu = _on_gpu(devices[0])
        self._batch_size = batch_size or (_BATCH_ON_GPU if on_gpu else _BATCH_ON_CPU)
        # Every new shape costs a compilation under JAX, and a search for algorithms on a GPU.
        self._rounds_up = on_gpu or self.name == "jax"
        self._replicas = []
        for one in devices:
            with device_scope(one):
                self._replicas.append(_Replica(make_model(), one))
        self._pool = ThreadPoolExecutor(len(devices), thread_name_prefix="musicnn-zoo-keras")
        self.calls = 1
        self.patches_per_call = (
            self._batch_size * len(devices) * (_CALLS_AHEAD if len(devices) > 1 else 1)
        )

    def missing(self, layers: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of ``layers`` that the model does not have."""
        names = {"output", *self._replicas[0].layers}
        return tuple(layer for layer in layers if layer not in names)

    def run(
        self, windows: NDArray[np.float32], layers: tuple[str, ...]
    ) -> dict[str, NDArray[np.float32]]:
        """Return the activations of ``layers``, as every engine does."""
        refuse_forked_tensorflow()
        step = self._batch_size
        parts = [windows[start : start + step] for start in range(0, len(windows), step)]
        replicas = self._replicas

        def compute(number: int) -> list[dict[str, NDArray[np.float32]]]:
            replica = replicas[number]
            return [self._compute(replica, part, layers) for part in parts[number :: len(replicas)]]

        if len(replicas) == 1 or len(parts) == 1:
            lanes = [[self._compute(replicas[0], part, layers) for part in parts]]
        else:
            lanes = list(self._pool.map(compute, range(len(replicas))))
        computed = [lanes[i % len(lanes)][i // len(lanes)] for i in range(len(parts))]
        return {layer: np.concatenate([part[layer] for part in computed]) for layer in layers}

    def _compute(
        self, replica: _Replica, part: NDArray[np.float32], layers: tuple[str, ...]
    ) -> dict[str, NDArray[np.float32]]:
        count = len(part)
        if self._rounds_up:
            rounded = min(self._batch_size, 1 << (count - 1).bit_length())
            part = np.pad(part, ((0, rounded - count), (0, 0)))
        activations = replica.forward(layers)(np.ascontiguousarray(part))
        return {
            layer: np.asarray(_to_float32(activations[layer]), dtype=np.float32)[:count]
            for layer in layers
        }


class _Replica:
    """A model on one device, and its compiled parts."""

    def __init__(self, model: keras.Model, device: str | None) -> None:
        self._model = model
        self._device = device
        self._forwards: dict[tuple[str, ...], Forward] = {}
        self._lock = ForkedLock()
        self.layers = tuple(layer.name for layer in model.layers)

    def forward(self, layers: tuple[str, ...]) -> Forward:
        with self._lock:
            if layers not in self._forwards:
                self._forwards[layers] = self._compile(layers)
            return self._forwards[layers]

    def _compile(self, layers: tuple[str, ...]) -> Forward:
        with device_scope(self._device):
            part = self._part(layers)
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
        lock = ForkedLock()

        def forward_in_turn(windows: NDArray[np.float32]) -> dict[str, Any]:
            with lock:
                return dict(part.predict_on_batch(windows))

        return forward_in_turn

    def _part(self, layers: tuple[str, ...]) -> keras.Model:
        """Take what these layers need, on TensorFlow without constant channels: :mod:`.pruning`.

        To copy a layer, Keras imports TensorFlow where it is installed, and other backends would
        have to share the GPU with it.
        """
        kept = [name for name in layers if name != "output"]
        for name in kept:
            if name not in self.layers:
                raise UnknownNameError(f"layer of {self._model.name}", name, self.layers)
        if keras.backend.backend() != "tensorflow":
            outputs = {name: self._model.get_layer(name).output for name in kept}
            outputs["output"] = self._model.output
            return keras.Model(self._model.input, {name: outputs[name] for name in layers})
        pruned = prune(self._model, keep=kept).model
        outputs = pruned.output if kept else {"output": pruned.output}
        return keras.Model(pruned.input, {name: outputs[name] for name in layers})


def _on_gpu(device: str | None) -> bool:
    if device is not None:
        return device.lower().startswith(("gpu", "cuda"))
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_logical_devices("GPU"))
    if keras.backend.backend() == "jax":
        import jax

        return "cpu" not in str(jax.devices()[0].platform).lower()
    return False


def _to_float32(activations: Any) -> Any:
    """Cast bfloat16, which NumPy does not know, while it is still a tensor."""
    if isinstance(activations, np.ndarray):
        return activations
    return keras.ops.convert_to_numpy(keras.ops.cast(activations, "float32"))
