"""What the layers that sum up time have in common."""

from __future__ import annotations

from typing import Any

from keras import layers, ops


class OverTime(layers.Layer):
    """Base of layers from (batch, frames, channels) to (batch, channels).

    A mask of frames reaches ``call`` and ends there.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """Return None: no time is left."""
        del inputs, mask

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (batch, channels)."""
        return (input_shape[0], input_shape[2])


def softmax_over_time(energy: Any, mask: Any = None) -> Any:
    """Softmax over the frames of (batch, frames, …); masked frames get zero.

    (``keras.ops.softmax`` warns of a single frame, which is nothing to warn of here.)

    Parameters
    ----------
    energy : tensor, shape (batch, frames, channels)
    mask : tensor of bool, shape (batch, frames), optional
    """
    if mask is not None:
        energy = ops.where(ops.expand_dims(mask, -1), energy, -1e9)
    weights = ops.exp(energy - ops.max(energy, axis=1, keepdims=True))
    return weights / ops.sum(weights, axis=1, keepdims=True)
