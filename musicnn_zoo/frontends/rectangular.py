"""Small rectangular filters: no domain knowledge, as in computer vision.

References
----------
Choi, Fazekas, Sandler. "Automatic tagging using deep convolutional neural networks."
ISMIR 2016. Pons, Serra. "musicnn." ISMIR late-breaking 2019 (the vgg here).
"""

from __future__ import annotations

from typing import Any

from keras import layers


def vgg(x: Any, *, filters: int = 128, dropout: float = 0.25) -> Any:
    """Five 3 × 3 convolutions, each followed by BatchNorm and max-pooling.

    The released checkpoints have 128 filters. The pools are (frames, bands): a window of
    4 × 1 moved by 2 × 2 first, then 2 × 2 three times, then 4 × 4.

    Parameters
    ----------
    x : tensor, shape (batch, frames, bands, 1)
    filters : int
        Filters of each convolution.
    dropout : float
        Rate after the first four pools.

    Returns
    -------
    tensor, shape (batch, frames', bands', filters)
        (batch, 2, 1, 128) for 187 frames of 96 bands. Endpoints ``pool1`` … ``pool5``.
    """
    pools = [
        ((4, 1), (2, 2)),
        ((2, 2), (2, 2)),
        ((2, 2), (2, 2)),
        ((2, 2), (2, 2)),
        ((4, 4), (4, 4)),
    ]
    for number, (size, strides) in enumerate(pools, start=1):
        if number > 1:
            x = layers.Dropout(dropout, name=f"frontend_dropout{number - 1}")(x)
        x = layers.Conv2D(
            filters, 3, padding="same", activation="relu", name=f"frontend_conv{number}"
        )(x)
        x = layers.BatchNormalization(name=f"frontend_conv{number}_bn")(x)
        x = layers.MaxPooling2D(size, strides=strides, name=f"pool{number}")(x)
    return x
