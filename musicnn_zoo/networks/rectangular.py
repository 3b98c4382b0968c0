"""Small rectangular filters: no domain knowledge, as in computer vision.

References
----------
Choi, Fazekas, Sandler. "Automatic tagging using deep convolutional neural networks." ISMIR 2016.
Won, Ferraro, Bogdanov, Serra. "Evaluation of CNN-based automatic music tagging models." SMC
2020. Pons, Serra. "musicnn." ISMIR late-breaking 2019 (the vgg here).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import layers

from musicnn_zoo.networks.convolution import Order, convolution

Pool = tuple[int, int]


def vgg(x: Any, *, filters: int = 128, dropout: float = 0.25) -> Any:
    """Five 3 × 3 convolutions, each followed by BatchNorm and max-pooling.

    The released checkpoints have 128 filters. The pools are (frames, bands): a window of
    4 × 1 moved by 2 × 2 first, then 2 × 2 three times, then 4 × 4.

    Parameters
    ----------
    x : tensor, shape (batch, frames, bands, channels)
    filters : int
        Filters of each convolution.
    dropout : float
        Rate after the first four pools.

    Returns
    -------
    tensor, shape (batch, frames', bands', filters)
        (batch, 2, 1, 128) for 187 frames of 96 bands. Endpoints ``pool1`` … ``pool5``.
    """
    halves = ((2, 2), (2, 2))
    pools = [((4, 1), (2, 2)), halves, halves, halves, ((4, 4), (4, 4))]
    for number, (size, strides) in enumerate(pools, start=1):
        if number > 1:
            x = layers.Dropout(dropout, name=f"frontend_dropout{number - 1}")(x)
        x = convolution(x, filters, (3, 3), name=f"frontend_conv{number}")
        x = layers.MaxPooling2D(
            size, strides=strides, data_format="channels_last", name=f"pool{number}"
        )(x)
    return x


def rectangular(
    x: Any,
    *,
    filters: Sequence[int] = (64, 128, 128, 128),
    pools: Sequence[Pool] = ((2, 2), (3, 3), (4, 4), (4, 4)),
    order: Order = "bn_relu",
    bn_epsilon: float = 1e-3,
) -> Any:
    """3 × 3 convolutions with max-pooling; the defaults are the CRNN's of Won et al. 2020.

    Parameters
    ----------
    x : tensor, shape (batch, frames, bands, channels)
    filters : sequence of int
        Filters of each convolution.
    pools : sequence of (int, int)
        Frames × bands that become one after each convolution.
    order, bn_epsilon
        See :func:`musicnn_zoo.networks.convolution.convolution`.

    Returns
    -------
    tensor, shape (batch, frames', bands', filters[-1])
    """
    return rectangular_stack(
        x, filters=filters, pools=pools, order=order, bn_epsilon=bn_epsilon, prefix="frontend"
    )


def rectangular_stack(
    x: Any,
    *,
    filters: Sequence[int],
    pools: Sequence[Pool],
    order: Order,
    bn_epsilon: float,
    prefix: str,
    first: int = 1,
) -> Any:
    """Put 3 × 3 convolutions with max-pooling on ``x``, numbered from ``first``."""
    for number, (count, pool) in enumerate(zip(filters, pools, strict=True), start=first):
        name = f"{prefix}_conv{number}"
        x = convolution(x, count, (3, 3), name=name, order=order, bn_epsilon=bn_epsilon)
        x = layers.MaxPooling2D(pool, data_format="channels_last", name=f"{prefix}_pool{number}")(x)
    return x


def short_chunk(
    x: Any,
    *,
    filters: Sequence[int] = (128, 128, 256, 256, 256, 256, 512),
    residual: bool = False,
    bn_epsilon: float = 1e-3,
) -> Any:
    """Seven 3 × 3 convolutions that halve time and frequency: the short-chunk CNN.

    Plain, each is convolution → BatchNorm → ReLU → max-pooling of 2 × 2. Residual, each is two
    convolutions, the first of stride 2, beside a third of stride 2.

    Parameters
    ----------
    x : tensor, shape (batch, frames, bands, channels)
        Won et al. use 3.69 s of 128 bands, of which 1 × 1 is left.
    filters : sequence of int
        Filters of each layer.
    residual : bool
    bn_epsilon : float
        See :func:`musicnn_zoo.networks.convolution.convolution`.

    Returns
    -------
    tensor, shape (batch, frames / 128, bands / 128, filters[-1])

    References
    ----------
    Won et al. 2020.
    """
    if not residual:
        pools = [(2, 2)] * len(filters)
        return rectangular(x, filters=filters, pools=pools, bn_epsilon=bn_epsilon)
    for number, count in enumerate(filters, start=1):
        name = f"frontend_conv{number}"
        y = convolution(
            x, count, (3, 3), name=f"{name}a", order="bn_relu", strides=2, bn_epsilon=bn_epsilon
        )
        y = _linear(y, count, f"{name}b", strides=1, bn_epsilon=bn_epsilon)
        shortcut = _linear(x, count, f"{name}_shortcut", strides=2, bn_epsilon=bn_epsilon)
        x = layers.Add(name=f"{name}_add")([y, shortcut])
        x = layers.ReLU(name=f"{name}_relu")(x)
    return x


def _linear(x: Any, filters: int, name: str, *, strides: int, bn_epsilon: float) -> Any:
    x = layers.Conv2D(
        filters, 3, strides=strides, padding="same", data_format="channels_last", name=name
    )(x)
    return layers.BatchNormalization(epsilon=bn_epsilon, name=f"{name}_bn")(x)
