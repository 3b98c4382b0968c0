"""Mid-ends: between the front-end and the back-end."""

from __future__ import annotations

from typing import Any

from keras import layers


def dense_residual(x: Any, *, filters: int = 64, width: int = 7) -> Any:
    """Three convolutions over time, the last two residual, all densely connected.

    Each is convolution over all channels → ReLU → BatchNorm. What the back-end receives is
    the front-end's features beside the output of every convolution (Pons et al. 2018).

    Parameters
    ----------
    x : tensor, shape (batch, frames, channels)
    filters : int
        Filters of each convolution: 64 in musicnn, 512 in its big variant.
    width : int
        Frames that a filter looks at.

    Returns
    -------
    tensor, shape (batch, frames, channels + 3 * filters)
        Endpoints ``cnn1``, ``cnn2`` and ``cnn3`` are the outputs of the convolutions, the
        last two with their residual connections.
    """
    features = [x]
    for number in (1, 2, 3):
        name = f"midend_conv{number}"
        y = layers.Conv1D(filters, width, padding="same", activation="relu", name=name)(
            features[-1]
        )
        normalized = "cnn1" if number == 1 else f"{name}_bn"
        y = layers.BatchNormalization(name=normalized)(y)
        if number > 1:
            y = layers.Add(name=f"cnn{number}")([y, features[-1]])
        features.append(y)
    return layers.Concatenate(name="midend")(features)
