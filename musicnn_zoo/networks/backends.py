"""A fully convolutional stack that adapts a map of fixed length to the tags.

References
----------
Choi, Fazekas, Sandler. "Automatic tagging using deep convolutional neural networks." ISMIR 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import layers

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.networks.convolution import Order
from musicnn_zoo.networks.head import head
from musicnn_zoo.networks.rectangular import Pool, rectangular_stack


def fully_convolutional(
    x: Any,
    *,
    n_tags: int,
    activation: str | None,
    filters: Sequence[int] = (384, 768, 2048),
    pools: Sequence[Pool] = ((5, 4), (8, 3), (8, 4)),
    order: Order = "bn_relu",
    bn_epsilon: float = 1e-3,
    dropout: float = 0.5,
) -> Any:
    """Convolve and pool until one position is left, then classify it.

    The defaults end Choi et al.'s FCN-4, whose first layer is the front-end.

    Parameters
    ----------
    x : tensor, shape (batch, frames, bands, channels)
        Of known length.
    n_tags : int
    activation : {"sigmoid", "softmax"} or None
    filters : sequence of int
        Filters of each 3 × 3 convolution.
    pools : sequence of (int, int)
        Frames × bands that become one after each convolution.
    order, bn_epsilon
        See :func:`musicnn_zoo.networks.convolution.convolution`.
    dropout : float
        Rate before the output layer.

    Returns
    -------
    tensor, shape (batch, n_tags)
        Endpoint ``penultimate`` (batch, filters[-1]).

    Raises
    ------
    ArgumentError
        If more than one position is left.
    """
    x = rectangular_stack(
        x, filters=filters, pools=pools, order=order, bn_epsilon=bn_epsilon, prefix="backend"
    )
    if tuple(x.shape[1:3]) != (1, 1):
        raise ArgumentError(
            "the pools of fully_convolutional must leave 1 × 1 of frames × bands; "
            f"{pools!r} leave {x.shape[1]} × {x.shape[2]}"
        )
    x = layers.Flatten(data_format="channels_last", name="backend_flat")(x)
    return head(x, n_tags=n_tags, activation=activation, units=None, dropout=dropout)
