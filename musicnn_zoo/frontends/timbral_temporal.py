"""Vertical and horizontal filters of many shapes: musicnn's front-end.

References
----------
Pons, Lidy, Serra. "Experimenting with musically motivated convolutional neural networks."
CBMI 2016. Pons, Serra. "musicnn: Pre-trained convolutional neural networks for music audio
tagging." ISMIR late-breaking 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import layers


def timbral_temporal(
    x: Any,
    *,
    timbral_filters: int = 204,
    timbral_parts: Sequence[float] = (0.4, 0.7),
    timbral_width: int = 7,
    temporal_filters: int = 51,
    temporal_lengths: Sequence[int] = (128, 64, 32),
) -> Any:
    """Timbral (vertical) beside temporal (horizontal) filters.

    A timbral branch looks at a few frames and a part of the bands at once and keeps the
    maximum over all bands, so that it answers to a timbre whatever its pitch. A temporal
    branch looks at one band over many frames. Each is convolution → ReLU → BatchNorm →
    maximum over the bands.

    Parameters
    ----------
    x : tensor, shape (batch, frames, bands, 1)
    timbral_filters, temporal_filters : int
        Filters of each branch.
    timbral_parts : sequence of float
        Height of each timbral branch as a part of the bands; 0.4 of 96 bands is 38.
    timbral_width : int
        Width of the timbral filters in frames; odd.
    temporal_lengths : sequence of int
        Length of each temporal branch in frames.

    Returns
    -------
    tensor, shape (batch, frames, channels)
        The branches side by side: 2 × 204 + 3 × 51 = 561 channels by default. Endpoints
        ``timbral`` and ``temporal`` are its two parts.
    """
    bands = x.shape[2]
    margin = timbral_width // 2
    padded = layers.ZeroPadding2D(((margin, margin), (0, 0)), name="frontend_timbral_padding")(x)
    timbral = [
        _branch(
            padded, f"frontend_timbral_{int(part * bands)}", timbral_filters,
            (timbral_width, int(part * bands)), padding="valid",
        )
        for part in timbral_parts
    ]  # fmt: skip
    temporal = [
        _branch(
            x, f"frontend_temporal_{length}", temporal_filters, (length, 1), padding="same"
        )
        for length in temporal_lengths
    ]  # fmt: skip
    return layers.Concatenate(name="frontend")(
        [
            layers.Concatenate(name="timbral")(timbral),
            layers.Concatenate(name="temporal")(temporal),
        ]
    )


def _branch(x: Any, name: str, filters: int, kernel: tuple[int, int], *, padding: str) -> Any:
    x = layers.Conv2D(filters, kernel, padding=padding, activation="relu", name=name)(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    x = layers.MaxPooling2D((1, x.shape[2]), name=f"{name}_max")(x)
    return layers.Reshape((-1, filters), name=f"{name}_flat")(x)
