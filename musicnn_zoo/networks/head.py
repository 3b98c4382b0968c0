"""The last layers of nearly every model: from a vector to the tags."""

from __future__ import annotations

from typing import Any

from keras import layers

from musicnn_zoo.networks.convolution import Order


def head(
    x: Any,
    *,
    n_tags: int,
    activation: str | None,
    units: int | None,
    input_bn: bool = True,
    dropout: float = 0.5,
    input_dropout: float | None = None,
    order: Order = "relu_bn",
    bn_epsilon: float = 1e-3,
) -> Any:
    """Put a dense layer and the output layer on a vector, or on every frame of a sequence.

    BatchNorm → dropout → dense → ReLU and BatchNorm → dropout → ``logits`` → ``tags``.

    Parameters
    ----------
    x : tensor, shape (batch, …, channels)
    n_tags : int
    activation : {"sigmoid", "softmax"} or None
        Computed in float32 under every dtype policy; None gives the logits.
    units : int or None
        Of the dense layer; None leaves out all before the second dropout.
    input_bn : bool
        Whether to begin with BatchNorm.
    dropout : float
        Rate of both dropouts.
    input_dropout : float, optional
        Rate of the first, if it is another.
    order : {"relu_bn", "bn_relu", "relu"}
        Of ReLU and BatchNorm after the dense layer; ``"relu"`` has no BatchNorm.
    bn_epsilon : float
        See :func:`musicnn_zoo.networks.convolution.convolution`.

    Returns
    -------
    tensor, shape (batch, …, n_tags)
        Endpoint ``penultimate`` (batch, …, units) is what the second dropout receives.
    """
    if units is None:
        x = layers.Identity(name="penultimate")(x)
    else:
        if input_bn:
            x = layers.BatchNormalization(epsilon=bn_epsilon, name="backend_bn")(x)
        rate = dropout if input_dropout is None else input_dropout
        x = layers.Dropout(rate, name="backend_dropout1")(x)
        x = _dense(x, units, order, bn_epsilon)
    x = layers.Dropout(dropout, name="backend_dropout2")(x)
    x = layers.Dense(n_tags, name="logits")(x)
    if activation is None:
        return x
    return layers.Activation(activation, dtype="float32", name="tags")(x)


def _dense(x: Any, units: int, order: Order, bn_epsilon: float) -> Any:
    if order == "relu":
        return layers.Dense(units, activation="relu", name="penultimate")(x)
    if order == "relu_bn":
        x = layers.Dense(units, activation="relu", name="backend_dense")(x)
        return layers.BatchNormalization(epsilon=bn_epsilon, name="penultimate")(x)
    x = layers.Dense(units, name="backend_dense")(x)
    x = layers.BatchNormalization(epsilon=bn_epsilon, name="backend_dense_bn")(x)
    return layers.ReLU(name="penultimate")(x)
