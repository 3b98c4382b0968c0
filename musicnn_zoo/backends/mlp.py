"""A multilayer perceptron on a flattened feature map of fixed length.

References
----------
Schlüter, Böck. "Improved musical onset detection with convolutional neural networks."
ICASSP 2014.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from musicnn_zoo.backends.head import head


def mlp(x: Any, *, n_tags: int, activation: str | None, dropout: float = 0.5) -> Any:
    """Flatten the map and connect it to the tags.

    Parameters
    ----------
    x : tensor, shape (batch, frames, bands, channels)
        Of known length.
    n_tags : int
    activation : {"sigmoid", "softmax"} or None
    dropout : float
        Rate on the flattened map.

    Returns
    -------
    tensor, shape (batch, n_tags)
    """
    x = layers.Flatten(name="backend_flat")(x)
    x = layers.Dropout(dropout, name="backend_dropout")(x)
    return head(x, n_tags=n_tags, activation=activation)
