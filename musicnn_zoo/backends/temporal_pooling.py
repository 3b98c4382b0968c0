"""Temporal pooling: the maximum and the mean over time.

References
----------
Dieleman, Schrauwen. "End-to-end learning for music audio." ICASSP 2014. Pons et al.
"End-to-end learning for music audio tagging at scale." ISMIR 2018.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from musicnn_zoo.backends.head import head


def temporal_pooling(
    x: Any, *, n_tags: int, activation: str | None, units: int = 200, dropout: float = 0.5
) -> Any:
    """Pool over time, then one dense layer, then the tags.

    Maximum and mean stand interleaved (max₀, mean₀, max₁, …), as in the released musicnn.

    Parameters
    ----------
    x : tensor, shape (batch, frames, channels)
    n_tags : int
    activation : {"sigmoid", "softmax"} or None
    units : int
        Of the dense layer: 200 in musicnn, 500 in its big variant.
    dropout : float
        Rate before and after the dense layer.

    Returns
    -------
    tensor, shape (batch, n_tags)
        Endpoints ``max_pool`` and ``mean_pool`` (batch, channels), and ``penultimate``
        (batch, units), which is the dense layer after ReLU and BatchNorm.
    """
    channels = x.shape[-1]
    pools = [
        layers.GlobalMaxPooling1D(name="max_pool")(x),
        layers.GlobalAveragePooling1D(name="mean_pool")(x),
    ]
    columns = [
        layers.Reshape((channels, 1), name=f"backend_{name}_column")(pool)
        for name, pool in zip(("max", "mean"), pools, strict=True)
    ]
    x = layers.Concatenate(name="backend_interleave")(columns)
    x = layers.Flatten(name="backend_flat")(x)
    x = layers.BatchNormalization(name="backend_bn")(x)
    x = layers.Dropout(dropout, name="backend_dropout1")(x)
    x = layers.Dense(units, activation="relu", name="backend_dense")(x)
    x = layers.BatchNormalization(name="penultimate")(x)
    x = layers.Dropout(dropout, name="backend_dropout2")(x)
    return head(x, n_tags=n_tags, activation=activation)
