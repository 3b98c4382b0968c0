"""Mid-ends: between the front-end and the back-end.

References
----------
Pons et al. "End-to-end learning for music audio tagging at scale." ISMIR 2018. Pons, Serra.
"musicnn." ISMIR late-breaking 2019.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from musicnn_zoo.networks.convolution import Order, convolution


def dense_residual(
    x: Any,
    *,
    filters: int = 64,
    width: int = 7,
    order: Order = "relu_bn",
    bn_epsilon: float = 1e-3,
) -> Any:
    """Three convolutions over time, the last two residual, all densely connected.

    What the back-end receives is the front-end's features beside the output of every
    convolution.

    Parameters
    ----------
    x : tensor, shape (batch, frames, channels)
    filters : int
        Filters of each convolution: 64 in musicnn, 512 in its big variant.
    width : int
        Frames that a filter looks at.
    order, bn_epsilon
        See :func:`musicnn_zoo.networks.convolution.convolution`.

    Returns
    -------
    tensor, shape (batch, frames, channels + 3 * filters)
        Endpoints ``cnn1``, ``cnn2`` and ``cnn3`` are the outputs of the convolutions, the
        last two with their residual connections.
    """
    features = [x]
    for number in (1, 2, 3):
        y = convolution(
            features[-1], filters, width, name=f"midend_conv{number}", order=order,
            output="cnn1" if number == 1 else None, bn_epsilon=bn_epsilon,
        )  # fmt: skip
        if number > 1:
            y = layers.Add(name=f"cnn{number}")([y, features[-1]])
        features.append(y)
    return layers.Concatenate(name="midend")(features)


def residual(x: Any, *, filters: int = 512, width: int = 7, pool: int = 2) -> Any:
    """Three wide convolutions over time, the last two residual: Pons et al. 2018.

    The first is not padded. Between the second and the third, time is max-pooled. As in the
    authors' code, the second and third BatchNorm have one scale and one offset for all
    channels together.

    Parameters
    ----------
    x : tensor, shape (batch, frames, channels)
    filters : int
    width : int
        Frames that a filter looks at.
    pool : int
        Frames that become one.

    Returns
    -------
    tensor, shape (batch, (frames - width + 1) / pool, filters)
        Endpoints ``cnn1``, ``cnn2`` and ``cnn3`` are the outputs of the convolutions, the
        last two with their residual connections.
    """
    x = convolution(x, filters, width, name="midend_conv1", padding="valid", output="cnn1")
    y = _jointly_normalized(x, filters, width, "midend_conv2")
    x = layers.Add(name="cnn2")([y, x])
    x = layers.MaxPooling1D(pool, data_format="channels_last", name="midend_pool")(x)
    y = _jointly_normalized(x, filters, width, "midend_conv3")
    return layers.Add(name="cnn3")([y, x])


def _jointly_normalized(x: Any, filters: int, width: int, name: str) -> Any:
    x = convolution(x, filters, width, name=name, order="relu")
    x = layers.Reshape((-1, filters, 1), name=f"{name}_column")(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.Reshape((-1, filters), name=f"{name}_flat")(x)
