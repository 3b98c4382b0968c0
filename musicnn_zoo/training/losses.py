"""Losses that Keras does not have."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class BalancedBinaryCrossentropy(keras.losses.Loss):
    r"""Binary cross-entropy with a weight for each tag where it is present and where it is absent.

    :math:`-\frac{1}{K} \sum_k w_{k1} y_k \log p_k + w_{k0} (1 - y_k) \log (1 - p_k)` for labels y
    and scores p of K tags.

    Parameters
    ----------
    weights : array-like, shape (tags, 2)
        Absent, present; see :meth:`musicnn_zoo.datasets.Dataset.label_weights`.
    """

    def __init__(
        self, weights: Any, name: str = "balanced_binary_crossentropy", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.weights = [[float(weight) for weight in pair] for pair in weights]

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each example, shape (batch,)."""
        weights = ops.convert_to_tensor(self.weights, y_pred.dtype)
        chosen = weights[:, 0] + y_true * (weights[:, 1] - weights[:, 0])
        return ops.mean(chosen * ops.binary_crossentropy(y_true, y_pred), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "weights": self.weights}
