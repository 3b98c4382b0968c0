"""How much audio one frame of a feature map comes from."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import layers

from musicnn_zoo.networks.config import ModelConfig
from musicnn_zoo.networks.logmel import LogMel
from musicnn_zoo.networks.models import build_features


def receptive_field(config: ModelConfig) -> float:
    """Seconds of audio that one frame before the back-end comes from.

    Follows the layers from the input: a window of ``k`` frames that are ``j`` samples apart
    adds ``(k - 1) j`` samples, a stride of ``s`` makes them ``s j`` apart; where branches meet,
    the largest counts. What spans the whole input, as squeeze-and-excitation does, makes it
    infinite; so does a fully convolutional back-end, which goes on until one frame is left.
    """
    if config.backend.kind == "fully_convolutional":
        return math.inf
    waveform, features = build_features(config)
    model = keras.Model(waveform, features)
    fields: dict[str, tuple[float, float]] = {"waveform": (1, 1)}
    for layer in model.layers[1:]:
        inputs = [
            fields[tensor._keras_history.operation.name]
            for node in layer._inbound_nodes
            for tensor in node.input_tensors
            if tensor._keras_history.operation.name in fields
        ]
        field = max(size for size, _ in inputs)
        step = max(jump for _, jump in inputs)
        width, stride = _window(layer)
        fields[layer.name] = (field + (width - 1) * step, step * stride)
    return fields[model.layers[-1].name][0] / config.input.sample_rate


def _window(layer: Any) -> tuple[float, int]:
    if isinstance(layer, LogMel):
        return layer.spectrogram.n_fft, layer.spectrogram.hop
    if isinstance(layer, layers.Conv1D | layers.Conv2D):
        return layer.kernel_size[0], layer.strides[0]
    if isinstance(
        layer,
        layers.MaxPooling1D | layers.MaxPooling2D | layers.AveragePooling2D,
    ):
        return layer.pool_size[0], layer.strides[0]
    if isinstance(layer, layers.GlobalAveragePooling1D):
        return math.inf, 1
    return 1, 1
