"""Sample-level filters: no domain knowledge, on the raw waveform.

References
----------
Lee, Park, Kim, Nam. "Sample-level deep convolutional neural networks for music auto-tagging using
raw waveforms." SMC 2017. Kim, Lee, Nam. "Sample-level CNN architectures for music auto-tagging
using raw waveforms." ICASSP 2018. Pons et al. "End-to-end learning for music audio tagging at
scale." ISMIR 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from keras import layers

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.networks.convolution import Order, convolution

LEE_FILTERS = (128, 128, 128, 256, 256, 256, 256, 256, 256, 512)

Variant = Literal["basic", "se", "res", "rese"]
VARIANTS: tuple[Variant, ...] = ("basic", "se", "res", "rese")


def sample_level(
    x: Any,
    *,
    width: int = 3,
    filters: Sequence[int] = LEE_FILTERS,
    variant: Variant = "basic",
    pointwise: int | None = 512,
    se_ratio: float = 1.0,
    order: Order = "bn_relu",
    padding: Literal["same", "valid"] = "same",
) -> Any:
    """Stack filters of a few samples until one frame has seen seconds.

    The mⁿ network of Lee et al. 2017: a strided convolution of ``m = width`` samples, then
    ``n = len(filters) - 1`` modules of convolution and max-pooling by m. With the defaults, 3⁹,
    one output frame comes from 3¹⁰ = 59,049 samples, counting strides and pools as the paper
    does; the edges of the padded convolutions reach about as far again.

    Kim et al. 2018 change the modules. ``se``: squeeze-and-excitation, the mean over time
    through two dense layers scales the channels. ``res``: two convolutions beside a shortcut.
    ``rese``: both. Read differently from their paper: the hidden dense layer has ``se_ratio`` ×
    channels units, 1 by default as in Won et al. 2020, and the features of the last module only
    go on (they also pool and join those of the two before).

    Parameters
    ----------
    x : tensor, shape (batch, samples, 1)
    width : int
        m: length and stride of the first filters, length and pool of the others.
    filters : sequence of int
        Filters of the strided convolution and of each module.
    variant : {"basic", "se", "res", "rese"}
    pointwise : int or None
        Filters of a last convolution of width 1; None leaves it out.
    se_ratio : float
    order : {"relu_bn", "bn_relu", "relu"}
        Of the basic and the se modules.
    padding : {"same", "valid"}
        Of the modules' convolutions: Lee et al. pad, Pons et al. 2018 do not.

    Returns
    -------
    tensor, shape (batch, samples / mⁿ⁺¹, channels)
    """
    if variant not in VARIANTS:
        raise ArgumentError(f"variant must be one of {', '.join(VARIANTS)}; received {variant!r}")
    first, *modules = filters
    x = convolution(
        x, first, width, name="frontend_conv0", order=order, strides=width, padding="valid"
    )
    for number, count in enumerate(modules, start=1):
        name = f"frontend_conv{number}"
        if variant in ("res", "rese"):
            y = _two_convolutions(x, count, width, name, padding=padding)
            if variant == "rese":
                y = _squeeze_and_excite(y, se_ratio, name)
            x = layers.Add(name=f"{name}_add")([y, _shortcut(x, count, name)])
            x = layers.ReLU(name=f"{name}_out")(x)
            x = layers.MaxPooling1D(
                width, data_format="channels_last", name=f"frontend_pool{number}"
            )(x)
        else:
            x = convolution(x, count, width, name=name, order=order, padding=padding)
            x = layers.MaxPooling1D(
                width, data_format="channels_last", name=f"frontend_pool{number}"
            )(x)
            if variant == "se":
                x = _squeeze_and_excite(x, se_ratio, name)
    if pointwise is not None:
        x = convolution(x, pointwise, 1, name="frontend_pointwise", order=order)
    return x


def _two_convolutions(x: Any, filters: int, width: int, name: str, *, padding: str) -> Any:
    if padding != "same":
        raise ArgumentError("a residual module needs padding='same', or its two ways differ")
    x = convolution(x, filters, width, name=f"{name}a", order="bn_relu")
    x = layers.Dropout(0.2, name=f"{name}_dropout")(x)
    convolve = layers.Conv1D(
        filters, width, padding="same", data_format="channels_last", name=f"{name}b"
    )
    x = convolve(x)
    return layers.BatchNormalization(name=f"{name}b_bn")(x)


def _shortcut(x: Any, filters: int, name: str) -> Any:
    if x.shape[-1] == filters:
        return x
    x = layers.Conv1D(filters, 1, data_format="channels_last", name=f"{name}_shortcut")(x)
    return layers.BatchNormalization(name=f"{name}_shortcut_bn")(x)


def _squeeze_and_excite(x: Any, ratio: float, name: str) -> Any:
    channels = x.shape[-1]
    y = layers.GlobalAveragePooling1D(
        keepdims=True, data_format="channels_last", name=f"{name}_squeeze"
    )(x)
    y = layers.Dense(int(ratio * channels), activation="relu", name=f"{name}_se1")(y)
    y = layers.Dense(channels, activation="sigmoid", name=f"{name}_se2")(y)
    return layers.Multiply(name=f"{name}_excite")([x, y])
