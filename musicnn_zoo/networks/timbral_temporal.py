"""Vertical and horizontal filters of many shapes, musically motivated.

References
----------
Pons, Lidy, Serra. "Experimenting with musically motivated convolutional neural networks."
CBMI 2016. Pons, Slizovskaia, Gong, Gómez, Serra. "Timbre analysis of music audio signals with
convolutional neural networks." EUSIPCO 2017. Pons et al. "End-to-end learning for music audio
tagging at scale." ISMIR 2018. Pons, Serra. "musicnn: Pre-trained convolutional neural networks
for music audio tagging." ISMIR late-breaking 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from keras import layers

from musicnn_zoo.networks.convolution import Order, convolution
from musicnn_zoo.networks.temporal_stack import temporal_stack

Timbral = Sequence[tuple[float, int, int]]
"""Branches as (part of the bands, width in frames, filters)."""

MUSICNN_TIMBRAL: Timbral = ((0.4, 7, 204), (0.7, 7, 204))
MUSICNN_TEMPORAL: Sequence[tuple[int, int]] = ((128, 51), (64, 51), (32, 51))
TIMBRE_CNN: Timbral = (
    (0.8, 7, 3), (0.8, 5, 3), (0.8, 3, 6), (0.8, 1, 10),
    (0.6, 7, 5), (0.6, 5, 5), (0.6, 3, 10), (0.6, 1, 15),
    (0.2, 7, 5), (0.2, 5, 5), (0.2, 3, 10), (0.2, 1, 15),
)  # fmt: skip


def timbral_temporal(
    x: Any,
    *,
    timbral: Timbral = MUSICNN_TIMBRAL,
    temporal: Sequence[tuple[int, int]] = MUSICNN_TEMPORAL,
    temporal_input: Literal["bands", "mean"] = "bands",
    order: Order = "relu_bn",
    bn_epsilon: float = 1e-3,
) -> Any:
    """Timbral (vertical) beside temporal (horizontal) filters.

    A timbral branch looks at a few frames and a part of the bands at once and keeps the
    maximum over all positions on the bands, so that it answers to a timbre whatever its
    pitch. A temporal branch looks at one band over many frames and keeps the maximum over the
    bands, or looks at the mean of all bands.

    Parameters
    ----------
    x : tensor, shape (batch, frames, bands, channels)
    timbral : sequence of (float, int, int)
        Branches as (part of the bands, width in frames, filters). The default is musicnn's;
        0.4 and 0.7 of 96 bands are 38 and 67.
    temporal : sequence of (int, int)
        Branches as (length in frames, filters).
    temporal_input : {"bands", "mean"}
        What a temporal branch looks at: each band, as in musicnn, or their mean, as in Pons et
        al. 2018.
    order, bn_epsilon
        See :func:`musicnn_zoo.networks.convolution.convolution`.

    Returns
    -------
    tensor, shape (batch, frames, channels)
        The branches side by side: 2 × 204 + 3 × 51 = 561 channels by default. Endpoints
        ``timbral`` and ``temporal`` are its two parts.
    """
    making: dict[str, Any] = {"order": order, "bn_epsilon": bn_epsilon}
    branches = [_timbral_branches(x, timbral, output="timbral", **making)]
    columns = []
    bands = x.shape[2]
    if temporal_input == "mean":
        x = layers.AveragePooling2D(
            (1, bands), data_format="channels_last", name="frontend_temporal_mean"
        )(x)
    for length, filters in temporal:
        name = f"frontend_temporal_{length}"
        y = convolution(x, filters, (length, 1), name=name, **making)
        columns.append(_max_over_bands(y, name))
    branches.append(layers.Concatenate(name="temporal")(columns))
    return layers.Concatenate(name="frontend")(branches)


def timbral(
    x: Any,
    *,
    branches: Timbral = TIMBRE_CNN,
    order: Order = "relu_bn",
    stack: Sequence[int] = (32,),
    stack_width: int = 8,
    stack_pool: int = 4,
) -> Any:
    """Vertical filters of several heights: the timbre CNN of Pons et al. 2017.

    After musicnn-training's version: 92 filters in 12 shapes, then convolutions over time as
    in Dieleman & Schrauwen 2014.

    Parameters
    ----------
    x : tensor, shape (batch, frames, bands, channels)
    branches : sequence of (float, int, int)
        As ``timbral`` of :func:`timbral_temporal`.
    order : {"relu_bn", "bn_relu", "relu"}
        Of the first layer.
    stack, stack_width, stack_pool
        See :func:`musicnn_zoo.networks.temporal_stack.temporal_stack`.

    Returns
    -------
    tensor, shape (batch, frames', stack[-1])
        Endpoint ``timbral`` is the output of the first layer, (batch, frames, 92).
    """
    x = _timbral_branches(x, branches, order=order, output="timbral")
    return temporal_stack(x, filters=stack, width=stack_width, pool=stack_pool)


def _timbral_branches(x: Any, branches: Timbral, *, output: str, **making: Any) -> Any:
    bands = x.shape[2]
    widths = {width for _, width, _ in branches}
    padded = {width: _pad_time(x, width) for width in sorted(widths)}
    columns = []
    for part, width, filters in branches:
        height = int(part * bands)
        shape = f"{height}" if len(widths) == 1 else f"{height}x{width}"
        name = f"frontend_timbral_{shape}"
        y = convolution(
            padded[width], filters, (width, height), name=name, padding="valid", **making
        )
        columns.append(_max_over_bands(y, name))
    return layers.Concatenate(name=output)(columns)


def _pad_time(x: Any, width: int) -> Any:
    """Zeros before and after, so that a filter of that width keeps the number of frames."""
    if width == 1:
        return x
    before = (width - 1) // 2
    after = width - 1 - before
    return layers.ZeroPadding2D(
        ((before, after), (0, 0)),
        data_format="channels_last",
        name=f"frontend_timbral_padding_{width}",
    )(x)


def _max_over_bands(x: Any, name: str) -> Any:
    filters = x.shape[3]
    x = layers.MaxPooling2D((1, x.shape[2]), data_format="channels_last", name=f"{name}_max")(x)
    return layers.Reshape((-1, filters), name=f"{name}_flat")(x)
