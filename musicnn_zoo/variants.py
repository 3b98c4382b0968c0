"""The same model and weights, remade: with another spectrogram, or in another precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from musicnn_zoo.logmel import LogMel

Change = Callable[[keras.layers.Layer, dict[str, Any]], None]

_SCORES = ("tags", "frame_scores")


def portable(model: keras.Model) -> keras.Model:
    """Copy a model with the log-mel in plain operations, which exporters understand."""

    def change(layer: keras.layers.Layer, config: dict[str, Any]) -> None:
        if isinstance(layer, LogMel):
            config["implementation"] = "portable"

    copy = remake(model, change)
    for layer in copy.layers:
        if isinstance(layer, keras.layers.Normalization):
            # Its statistics are tensors, which the converter takes for inputs of the graph.
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)
    return copy


def with_precision(model: keras.Model, precision: str) -> keras.Model:
    """Copy a model to compute in float16 or bfloat16.

    Weights stay in float32, and so do the log-mel, which float16 does not hold, and the
    scores ("mixed precision").
    """
    if precision == "float32":
        return model

    def change(layer: keras.layers.Layer, config: dict[str, Any]) -> None:
        if not isinstance(layer, LogMel) and layer.name not in _SCORES:
            config["dtype"] = f"mixed_{precision}"

    return remake(model, change)


def remake(model: keras.Model, change: Change | None = None) -> keras.Model:
    """Copy a functional model layer by layer, with its weights.

    Parameters
    ----------
    model : keras.Model
        With one input.
    change : callable, optional
        Receives each layer and its configuration, which it may change.

    Returns
    -------
    keras.Model
    """

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if change is not None:
            change(layer, config)
        return type(layer).from_config(config)

    graph = keras.Model(model.input, model.output, name=model.name)
    remade = keras.models.clone_model(graph, clone_function=copy)
    remade.set_weights(model.get_weights())
    for layer in remade.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # computes with what it made of its weights before
    return remade
