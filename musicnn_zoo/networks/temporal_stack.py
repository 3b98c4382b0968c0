"""Convolutions over time with max-pooling, as they follow many first layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import layers

from musicnn_zoo.networks.convolution import convolution


def temporal_stack(x: Any, *, filters: Sequence[int], width: int, pool: int) -> Any:
    """Convolution → ReLU → max-pooling over time, once for each of ``filters``.

    Parameters
    ----------
    x : tensor, shape (batch, frames, channels)
    filters : sequence of int
        Filters of each convolution.
    width : int
        Frames that a filter looks at. Without padding.
    pool : int
        Frames that become one.

    Returns
    -------
    tensor, shape (batch, frames', filters[-1])

    References
    ----------
    Dieleman, Schrauwen. "End-to-end learning for music audio." ICASSP 2014.
    """
    for number, count in enumerate(filters, start=1):
        name = f"frontend_conv{number}"
        x = convolution(x, count, width, name=name, order="relu", padding="valid")
        x = layers.MaxPooling1D(pool, data_format="channels_last", name=f"frontend_pool{number}")(x)
    return x
