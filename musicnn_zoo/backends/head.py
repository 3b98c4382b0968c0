"""The last layer of nearly every model: from a vector to the tags."""

from __future__ import annotations

from typing import Any

from keras import layers


def head(x: Any, *, n_tags: int, activation: str | None) -> Any:
    """Dense layer ``logits``, then its activation in float32 as layer ``tags``.

    Parameters
    ----------
    x : tensor, shape (batch, units)
    n_tags : int
    activation : {"sigmoid", "softmax"} or None
        None gives the logits.

    Returns
    -------
    tensor, shape (batch, n_tags)
    """
    logits = layers.Dense(n_tags, name="logits")(x)
    if activation is None:
        return logits
    return layers.Activation(activation, dtype="float32", name="tags")(logits)
