"""Weights over time."""

from __future__ import annotations

from typing import Any

from keras import ops


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
