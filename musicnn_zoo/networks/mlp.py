"""A multilayer perceptron on a flattened feature map of fixed length.

References
----------
Schlüter, Böck. "Improved musical onset detection with convolutional neural networks."
ICASSP 2014.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from musicnn_zoo.networks.head import head


def mlp(
    x: Any,
    *,
    n_tags: int,
    activation: str | None,
    units: int | None = None,
    dropout: float = 0.5,
) -> Any:
    """Flatten the feature map and connect it to the tags.

    Parameters
    ----------
    x : tensor, shape (batch, frames, …, channels)
        Of known length.
    n_tags : int
    activation : {"sigmoid", "softmax"} or None
    units : int or None
        Of a dense layer in between, with ReLU and without BatchNorm; None leaves it out.
    dropout : float
        Rate on the flattened map and before the tags.

    Returns
    -------
    tensor, shape (batch, n_tags)
        Endpoint ``penultimate``: (batch, units), or the flattened map.
    """
    x = layers.Flatten(data_format="channels_last", name="backend_flat")(x)
    return head(
        x, n_tags=n_tags, activation=activation,
        units=units, input_bn=False, dropout=dropout, order="relu",
    )  # fmt: skip
