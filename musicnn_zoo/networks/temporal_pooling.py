"""Temporal pooling: the maximum and the mean over time.

References
----------
Dieleman, Schrauwen. "End-to-end learning for music audio." ICASSP 2014. Pons et al.
"End-to-end learning for music audio tagging at scale." ISMIR 2018.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import layers, ops

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.networks.convolution import Order
from musicnn_zoo.networks.head import head
from musicnn_zoo.networks.over_time import OverTime

Mode = Literal["both", "max", "mean"]
MODES: tuple[Mode, ...] = ("both", "max", "mean")


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class TemporalMaximum(OverTime):
    """Maximum over time of (batch, frames, channels); masked frames do not count."""

    def call(self, x: Any, mask: Any = None) -> Any:
        """Return (batch, channels)."""
        if mask is not None:
            lowest = ops.cast(float("-inf"), x.dtype)
            x = ops.where(ops.expand_dims(mask, -1), x, lowest)
        return ops.max(x, axis=1)


def temporal_pooling(
    x: Any,
    *,
    n_tags: int,
    activation: str | None,
    mode: Mode = "both",
    interleaved: bool = True,
    units: int | None = 200,
    input_bn: bool = True,
    dropout: float = 0.5,
    input_dropout: float | None = None,
    order: Order = "relu_bn",
    bn_epsilon: float = 1e-3,
) -> Any:
    """Pool over time, then one dense layer, then the tags.

    Parameters
    ----------
    x : tensor, shape (batch, frames, channels)
        Masked frames do not count.
    n_tags : int
    activation : {"sigmoid", "softmax"} or None
    mode : {"both", "max", "mean"}
    interleaved : bool
        Whether maximum and mean of a channel stand side by side (max₀, mean₀, max₁, …), as in
        the released musicnn, or all maxima before all means.
    units, input_bn, dropout, input_dropout, order, bn_epsilon
        See :func:`musicnn_zoo.networks.head.head`: 200 units in musicnn, 500 in its big variant.

    Returns
    -------
    tensor, shape (batch, n_tags)
        Endpoints ``mean_pool`` and ``max_pool`` (batch, channels), and ``penultimate``
        (batch, units).
    """
    if mode not in MODES:
        raise ArgumentError(f"mode must be one of {', '.join(MODES)}; received {mode!r}")
    channels = x.shape[-1]
    pools = []
    if mode != "mean":
        pools.append(TemporalMaximum(name="max_pool")(x))
    if mode != "max":
        pools.append(
            layers.GlobalAveragePooling1D(data_format="channels_last", name="mean_pool")(x)
        )
    if len(pools) == 1:
        (x,) = pools
    elif interleaved:
        columns = [
            layers.Reshape((channels, 1), name=f"backend_{name}_column")(pool)
            for name, pool in zip(("max", "mean"), pools, strict=True)
        ]
        x = layers.Concatenate(name="backend_interleave")(columns)
        x = layers.Flatten(data_format="channels_last", name="backend_flat")(x)
    else:
        x = layers.Concatenate(name="backend_concat")(pools)
    return head(
        x, n_tags=n_tags, activation=activation,
        units=units, input_bn=input_bn, dropout=dropout, input_dropout=input_dropout, order=order,
        bn_epsilon=bn_epsilon,
    )  # fmt: skip
