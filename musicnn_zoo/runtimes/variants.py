"""A model of the same weights for another runtime, in another precision, or frame by frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.networks.build import finish_normalization
from musicnn_zoo.networks.config import block_names, block_spec
from musicnn_zoo.networks.logmel import LogMel
from musicnn_zoo.runtimes.channels import affine
from musicnn_zoo.runtimes.pruning import BLOCK, prune
from musicnn_zoo.runtimes.transforms import (
    SpectralMaximum,
    WinogradConv2D,
    spectral_saves,
    winograd_saves,
)

if TYPE_CHECKING:
    from musicnn_zoo.networks.build import TaggingModel


Change = Callable[[keras.layers.Layer, dict[str, Any]], None]

SCORE_LAYERS = ("tags", "frame_scores")
"""Layers that stay in float32 under every precision."""


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class MaxThenBatchNorm(layers.Layer):
    """Compute convolution → ReLU → BatchNorm → maximum over positions in a cheaper order.

    ReLU rises. BatchNorm, ``scale * x + offset``, rises where the scale of the channel is positive
    and falls where it is negative. So the maximum of its output is ReLU and BatchNorm of the
    maximum of the convolution, or of its minimum. The convolution before this layer has the sign
    of channels of negative scale turned, so that their maximum is this minimum. ReLU and BatchNorm
    then act on one value instead of many. Channels beyond those of the BatchNorm are dropped.

    ``pool`` is the configuration of the layer of the maximum; ``scale`` and ``offset``, of the
    BatchNorm, have one number for each channel.
    """

    def __init__(
        self, pool: dict[str, Any], scale: list[float], offset: list[float], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.pool = keras.saving.deserialize_keras_object(pool)
        self.scale, self.offset = scale, offset

    def call(self, x: Any) -> Any:
        """Return the pooled features."""
        scale = np.array(self.scale, np.float32)
        extreme = self.pool(x)[..., : len(scale)]
        lowest_or_highest = extreme * np.where(scale < 0, -1, 1).astype(np.float32)
        return ops.relu(lowest_or_highest) * scale + np.array(self.offset, np.float32)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape after pooling."""
        *shape, _ = self.pool.compute_output_shape(input_shape)
        return (*shape, len(self.scale))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        pool = keras.saving.serialize_keras_object(self.pool)
        own = {"pool": pool, "scale": self.scale, "offset": self.offset}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class Skipped(layers.Layer):
    """A layer without effect in the place of a BatchNorm, which is called with a mask."""

    def call(self, x: Any, mask: Any = None) -> Any:
        """Return ``x``."""
        del mask
        return x


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class OneChannelBatchNorm(layers.Layer):
    """BatchNorm of a single last channel, by its ``scale`` and ``offset``.

    ONNX Runtime takes 75 times as long if these numbers have fewer axes than ``x``.
    """

    def __init__(self, scale: float, offset: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale, self.offset = scale, offset

    def call(self, x: Any, mask: Any = None) -> Any:
        """Return ``scale * x + offset``."""
        del mask
        one = (1,) * len(x.shape)
        return x * np.full(one, self.scale, np.float32) + np.full(one, self.offset, np.float32)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "scale": self.scale, "offset": self.offset}


def for_runtime(model: keras.Model, *, keep: Collection[str] = ()) -> keras.Model:
    """Copy a model for a runtime: without dead channels, and in cheaper operations.

    It computes the same; see :mod:`.pruning` and :func:`in_plain_operations`. With layers to
    ``keep``, its output is a dictionary of ``output`` and of theirs, which stay what they are.
    """
    return in_plain_operations(prune(model, keep=keep).model, keep=keep)


def in_plain_operations(
    model: keras.Model, *, keep: Collection[str] = (), transforms: bool = False
) -> keras.Model:
    """Copy a model: the log-mel in plain operations, maxima before BatchNorm.

    It computes the same; see :class:`MaxThenBatchNorm`. The output of the layers ``keep`` stays
    what it is. With ``transforms``, convolutions that are cheaper so become a
    :class:`~.transforms.SpectralMaximum` or a :class:`~.transforms.WinogradConv2D`.
    """
    swapped = _maxima_of_batchnorm(model, keep)
    convolutions = {convolution.name: batchnorm for convolution, batchnorm in swapped.values()}
    batchnorms = {batchnorm.name for _, batchnorm in swapped.values()}
    wide = {
        convolution.name
        for name, (convolution, _) in swapped.items()
        if transforms and spectral_saves(convolution, model.get_layer(name))
    }

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if layer.name in batchnorms:
            return Skipped(name=layer.name)
        if _has_one_channel(layer):
            (scale,), (offset,) = _affine(layer)
            return OneChannelBatchNorm(float(scale), float(offset), name=layer.name)
        if layer.name in swapped:
            convolution, batchnorm = swapped[layer.name]
            scale, offset = _affine(batchnorm)
            no_pool = layers.Identity(name=layer.name)
            pool = keras.saving.serialize_keras_object(
                no_pool if convolution.name in wide else layer
            )
            return MaxThenBatchNorm(pool, scale.tolist(), offset.tolist(), name=layer.name)
        if layer.name in wide:
            kernel = layer.get_weights()[0]
            live = int(np.flatnonzero(kernel.any(axis=(0, 1, 2))).max(initial=0)) + 1
            return SpectralMaximum(layer.filters, layer.kernel_size, live, name=layer.name)
        if layer.name in convolutions:
            config["activation"] = "linear"
            config["filters"] += _fill(config["filters"])
        if transforms and winograd_saves(layer):
            return WinogradConv2D(
                config["filters"], config["padding"], config["activation"], name=layer.name
            )
        if isinstance(layer, LogMel):
            config["implementation"] = "products"
        if config.get("activation") == "gelu":
            config["activation"] = _gelu
        return type(layer).from_config(config)

    graph = keras.Model(model.input, model.output, name=model.name)
    remade = keras.models.clone_model(graph, clone_function=copy)
    for layer in graph.layers:
        weights = layer.get_weights()
        if layer.name in convolutions:
            scale, _ = _affine(convolutions[layer.name])
            fill = 0 if layer.name in wide else _fill(len(scale))
            weights = [
                np.pad(
                    values * np.where(scale < 0, -1, 1),
                    [(0, 0)] * (values.ndim - 1) + [(0, fill)],
                )
                for values in weights
            ]
        if weights and remade.get_layer(layer.name).weights:
            remade.get_layer(layer.name).set_weights(weights)
    finish_normalization(remade)
    for layer in remade.layers:
        if isinstance(layer, layers.Normalization):
            # Its statistics are tensors, which the converter takes for inputs of the graph.
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)
    return remade


def _has_one_channel(layer: keras.layers.Layer) -> bool:
    return (
        isinstance(layer, layers.BatchNormalization)
        and layer.output.shape[-1] == 1
        and layer.axis in (-1, len(layer.output.shape) - 1)
    )


def _gelu(x: Any) -> Any:
    """GELU by the error function; Keras uses its complement, which the converter lacks."""
    return 0.5 * x * (1 + ops.erf(x * np.float32(np.sqrt(0.5))))


def _fill(filters: int) -> int:
    """How many filters fill up the last block of channels, in which runtimes compute and pool."""
    return -filters % BLOCK


Swap = tuple[keras.layers.Layer, keras.layers.BatchNormalization]


def _maxima_of_batchnorm(model: keras.Model, keep: Collection[str]) -> dict[str, Swap]:
    """Find convolution → ReLU → BatchNorm → maximum.

    Returns convolution and BatchNorm by the name of the layer of the maximum.
    """
    makers = {id(layer.output): layer for layer in model.layers}
    used = Counter(id(x) for layer in model.layers for x in keras.tree.flatten(layer.input))
    used.update(id(x) for x in keras.tree.flatten(model.output))
    used.update(id(model.get_layer(name).output) for name in keep)
    found = {}
    for pool in model.layers:
        if not isinstance(pool, layers.MaxPooling1D | layers.MaxPooling2D):
            continue
        batchnorm = makers[id(pool.input)]
        if not isinstance(batchnorm, layers.BatchNormalization) or used[id(pool.input)] > 1:
            continue
        convolution = makers[id(batchnorm.input)]
        if (
            isinstance(convolution, layers.Conv1D | layers.Conv2D)
            and used[id(batchnorm.input)] == 1
            and convolution.groups == 1
            and convolution.activation is keras.activations.relu
            and {convolution.data_format, pool.data_format} == {"channels_last"}
            and batchnorm.axis in (-1, len(batchnorm.input.shape) - 1)
        ):
            found[pool.name] = convolution, batchnorm
    return found


def _affine(
    batchnorm: keras.layers.BatchNormalization,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    scale, offset = affine(batchnorm)
    return scale.astype(np.float32), offset.astype(np.float32)


def with_precision(model: keras.Model, precision: str) -> keras.Model:
    """Copy a model to compute in float16 or bfloat16 ("mixed precision").

    Weights stay in float32, and so do the scores and the log-mel, whose range float16 lacks.
    """
    if precision == "float32":
        return model

    def change(layer: keras.layers.Layer, config: dict[str, Any]) -> None:
        if not isinstance(layer, LogMel) and layer.name not in SCORE_LAYERS:
            config["dtype"] = f"mixed_{precision}"

    return remake(model, change)


def remake(model: keras.Model, change: Change | None = None) -> keras.Model:
    """Copy a functional model of one input layer by layer, with its weights.

    ``change``, if given, receives each layer and its configuration, which it may change.
    """

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if change is not None:
            change(layer, config)
        return type(layer).from_config(config)

    graph = keras.Model(model.input, model.output, name=model.name)
    remade = keras.models.clone_model(graph, clone_function=copy)
    remade.set_weights(model.get_weights())
    finish_normalization(remade)
    return remade


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class OnEveryFrame(layers.Wrapper):
    """Apply a layer that takes (batch, channels) to every frame of (batch, frames, channels)."""

    def call(self, x: Any) -> Any:
        """Return (batch, frames, outputs)."""
        batch, frames = ops.shape(x)[:2]
        y = self.layer(ops.reshape(x, (-1, x.shape[-1])))
        return ops.reshape(y, (batch, frames, y.shape[-1]))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (batch, frames, outputs)."""
        outputs = self.layer.compute_output_shape((None, input_shape[-1]))[-1]
        return (*input_shape[:2], outputs)


def framewise_model(model: TaggingModel) -> keras.Model:
    """Make a model of the same weights that scores every frame.

    So a model that was trained on tags of whole clips also tells when: that is weakly labelled
    sound event detection (McFee, Salamon, Bello 2018).

    Parameters
    ----------
    model : TaggingModel
        With the back-end ``autopool``, whose pooled scores it gives, or ``attention``, whose
        head it applies to every frame instead of to their weighted mean; another raises an
        ArgumentError.

    Returns
    -------
    keras.Model
        From (batch, samples) to (batch, frames, tags).
    """
    backend = model.zoo_config.backend.kind
    kind = block_spec(backend, "backend").framewise
    if kind == "scores":
        return keras.Model(model.input, model.get_layer("frame_scores").output, name=model.name)
    if kind == "head":
        frames = model.get_layer("frames").output
        vector = start = keras.Input((frames.shape[-1],))
        names = [layer.name for layer in model.layers]
        for layer in model.layers[names.index("attention_pool") + 1 :]:
            vector = layer(vector)
        head = keras.Model(start, vector)
        return keras.Model(model.input, OnEveryFrame(head)(frames), name=model.name)
    able = [name for name in block_names("backend") if block_spec(name, "backend").framewise]
    raise ArgumentError(
        f"the back-end {backend!r} of {model.name} has no frame-wise scores; "
        f"{' and '.join(able)} have: take the taggram instead"
    )
