"""Convolution, activation and BatchNorm in the two orders that the field uses."""

from __future__ import annotations

from typing import Any, Literal

from keras import layers

Order = Literal["relu_bn", "bn_relu", "relu"]


def convolution(
    x: Any,
    filters: int,
    kernel: int | tuple[int, int],
    *,
    name: str,
    order: Order = "relu_bn",
    activation: str = "relu",
    strides: int | tuple[int, int] = 1,
    padding: str = "same",
    output: str | None = None,
    bn_epsilon: float = 1e-3,
) -> Any:
    """Convolve, activate and normalise.

    Parameters
    ----------
    x : tensor
        A sequence (batch, frames, channels) for a kernel that is one number, a map (batch,
        frames, bands, channels) for a pair.
    filters : int
    kernel : int or (int, int)
        Frames, or frames × bands.
    name : str
        Of the convolution layer; the others carry it as a prefix.
    order : {"relu_bn", "bn_relu", "relu"}
        Convolution → activation → BatchNorm (musicnn and Pons's other models), convolution →
        BatchNorm → activation (Lee, Choi, Won), or no BatchNorm (Dieleman, Schlüter).
    activation : str
    strides : int or (int, int)
    padding : {"same", "valid"}
    output : str, optional
        Name of the last layer, if it is an endpoint.
    bn_epsilon : float
        What BatchNorm adds to the variance: 1e-3 in Keras and musicnn, 1e-5 in PyTorch.

    Returns
    -------
    tensor
        Of the same rank as ``x``.
    """
    layer = layers.Conv1D if isinstance(kernel, int) else layers.Conv2D
    first = order != "bn_relu"
    x = layer(
        filters,
        kernel,
        strides=strides,
        padding=padding,
        data_format="channels_last",
        activation=activation if first else None,
        name=output if output and order == "relu" else name,
    )(x)
    if order == "relu":
        return x
    last = output or f"{name}_{'bn' if first else activation}"
    x = layers.BatchNormalization(epsilon=bn_epsilon, name=last if first else f"{name}_bn")(x)
    return x if first else layers.Activation(activation, name=last)(x)
