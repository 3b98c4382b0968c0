"""One horizontal filter shape: filters that are long in time and narrow in frequency.

References
----------
Schlüter, Böck. "Improved musical onset detection with convolutional neural networks." ICASSP
2014.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import layers

from musicnn_zoo.networks.convolution import convolution


def horizontal(
    x: Any,
    *,
    filters: Sequence[int] = (10, 20),
    kernels: Sequence[tuple[int, int]] = ((7, 3), (3, 3)),
    pool_bands: int = 3,
    activation: str = "tanh",
) -> Any:
    """Convolutions with pooling over the bands only, so that time stays sharp.

    Parameters
    ----------
    x : tensor, shape (batch, frames, bands, channels)
        Schlüter & Böck use 15 frames of 80 bands, and three channels: spectrograms with
        windows of 23, 46 and 93 ms.
    filters : sequence of int
        Filters of each convolution.
    kernels : sequence of (int, int)
        Frames × bands of each convolution. Without padding.
    pool_bands : int
        Bands that become one after each convolution.
    activation : str
        The paper's is tanh.

    Returns
    -------
    tensor, shape (batch, frames', bands', filters[-1])
    """
    for number, (count, kernel) in enumerate(zip(filters, kernels, strict=True), start=1):
        name = f"frontend_conv{number}"
        x = convolution(
            x, count, kernel, name=name, order="relu", activation=activation, padding="valid"
        )
        x = layers.MaxPooling2D(
            (1, pool_bands), data_format="channels_last", name=f"frontend_pool{number}"
        )(x)
    return x
