"""Autopool: a trainable pooling operator between the mean and the maximum.

References
----------
McFee, Salamon, Bello. "Adaptive pooling operators for weakly labeled sound event detection."
IEEE/ACM Transactions on Audio, Speech and Language Processing 26(11), 2018, equation 9.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.networks.head import head
from musicnn_zoo.networks.over_time import OverTime, softmax_over_time


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class AutoPool(OverTime):
    """Softmax-weighted mean over time, with one trainable sharpness for each class.

    ``P_c = Σ_t p_tc exp(α_c p_tc) / Σ_k exp(α_c p_kc)``: the mean at α = 0, where training
    starts, softmax pooling at α = 1, towards the maximum for large α and the minimum for very
    negative α. Input (batch, frames, classes), output (batch, classes). Masked frames do not
    count.
    """

    def build(self, input_shape: Any) -> None:
        """Make ``alpha``, one for each class."""
        self.alpha = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="alpha")
        self.built = True

    def call(self, x: Any, mask: Any = None) -> Any:
        """Return (batch, classes)."""
        return ops.sum(x * softmax_over_time(self.alpha * x, mask), axis=1)


def autopool(
    x: Any,
    *,
    n_tags: int,
    activation: str | None,
    units: int | None = 200,
    input_bn: bool = True,
    dropout: float = 0.5,
) -> Any:
    """Score every frame, then pool the scores by :class:`AutoPool`.

    As in the paper, each class pools its own probabilities. (musicnn-training pools its
    features instead, and has no frame-wise scores.)

    Parameters
    ----------
    x : tensor, shape (batch, frames, channels)
        Masked frames do not count.
    n_tags : int
    activation : {"sigmoid", "softmax"}
        Of the frame-wise scores.
    units, input_bn, dropout
        Of the layers on every frame; see :func:`musicnn_zoo.networks.head.head`.

    Returns
    -------
    tensor, shape (batch, n_tags)
        Endpoints ``penultimate`` (batch, frames, units) and ``frame_scores`` (batch, frames,
        n_tags).

    Raises
    ------
    ArgumentError
        If ``activation`` is None: logits have no such pooling.
    """
    if activation is None:
        raise ArgumentError(
            "autopool pools probabilities: activation must be 'sigmoid' or 'softmax'; received None"
        )
    x = head(x, n_tags=n_tags, activation=None, units=units, input_bn=input_bn, dropout=dropout)
    x = layers.Activation(activation, dtype="float32", name="frame_scores")(x)
    return AutoPool(dtype="float32", name="tags")(x)
