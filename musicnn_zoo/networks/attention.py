"""Attention: a weighted mean over time, with weights that are learned.

References
----------
Raffel. "Learning-based methods for comparing sequences, with applications to audio-to-MIDI
alignment and matching." PhD thesis, 2016. Raffel, Ellis. "Feed-forward networks with attention
can solve some long-term memory problems." 2015. Pons, Serra. musicnn-training, 2019.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import layers, ops

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.networks.head import head
from musicnn_zoo.networks.over_time import OverTime, softmax_over_time
from musicnn_zoo.networks.positions import sinusoidal_positions

Weights = Literal["frame", "channel"]
WEIGHTS: tuple[Weights, ...] = ("frame", "channel")


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class TemporalAttention(OverTime):
    """Weighted mean over time of (batch, frames, channels); masked frames do not count.

    Parameters
    ----------
    weights : {"frame", "channel"}
        ``frame``: one weight a frame, ``e_t = tanh(w·h_t + b)``, ``a = softmax_t(e)``,
        ``c = Σ_t a_t h_t`` (Raffel 2016). ``channel``: one weight a frame and channel, the
        softmax over time of a convolution of ``context`` frames (musicnn-training).
    positions : bool
        Whether sinusoidal positions are added to the features first (musicnn-training).
    context : int
        Frames that the convolution of ``channel`` looks at.
    """

    def __init__(
        self,
        weights: Weights = "frame",
        positions: bool = False,
        context: int = 3,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if weights not in WEIGHTS:
            raise ArgumentError(
                f"weights must be one of {', '.join(WEIGHTS)}; received {weights!r}"
            )
        self.kind: Weights = weights
        self.positions = positions
        self.context = context

    def build(self, input_shape: Any) -> None:
        """Make ``kernel`` and ``bias``."""
        channels = input_shape[-1]
        width, outputs = (1, 1) if self.kind == "frame" else (self.context, channels)
        self.kernel = self.add_weight(
            shape=(width, channels, outputs), initializer="glorot_uniform", name="kernel"
        )
        self.bias = self.add_weight(shape=(outputs,), initializer="zeros", name="bias")
        self.built = True

    def call(self, x: Any, mask: Any = None) -> Any:
        """Return (batch, channels)."""
        x = self._located(x)
        return ops.sum(x * self._attention(x, mask), axis=1)

    def attention(self, x: Any, mask: Any = None) -> Any:
        """Return the weights: (batch, frames, 1) or (batch, frames, channels), sum 1 over time."""
        return self._attention(self._located(x), mask)

    def _located(self, x: Any) -> Any:
        if not self.positions:
            return x
        places = sinusoidal_positions(ops.shape(x)[1], x.shape[-1], paired=False)
        return x + ops.cast(places, x.dtype)

    def _attention(self, x: Any, mask: Any) -> Any:
        if mask is not None:
            x = ops.where(ops.expand_dims(mask, -1), x, 0)
        energy = ops.conv(x, self.kernel, padding="same", data_format="channels_last") + self.bias
        if self.kind == "frame":
            energy = ops.tanh(energy)
        return softmax_over_time(energy, mask)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "weights": self.kind,
            "positions": self.positions,
            "context": self.context,
        }


def attention(
    x: Any,
    *,
    n_tags: int,
    activation: str | None,
    weights: Weights = "frame",
    positions: bool = False,
    context: int = 3,
    units: int | None = 200,
    input_bn: bool = True,
    dropout: float = 0.5,
) -> Any:
    """Pool over time by :class:`TemporalAttention`, then one dense layer, then the tags.

    Parameters
    ----------
    x : tensor, shape (batch, frames, channels)
        Masked frames do not count.
    n_tags : int
    activation : {"sigmoid", "softmax"} or None
    weights, positions, context
        See :class:`TemporalAttention`.
    units, input_bn, dropout
        See :func:`musicnn_zoo.networks.head.head`.

    Returns
    -------
    tensor, shape (batch, n_tags)
        Endpoints ``frames`` (batch, frames, channels), which is what is pooled,
        ``attention_pool`` (batch, channels) and ``penultimate`` (batch, units). The head put on
        every one of the ``frames`` gives frame-wise scores
        (:func:`musicnn_zoo.runtimes.framewise.framewise_model`).
    """
    x = layers.Identity(name="frames")(x)
    x = TemporalAttention(weights, positions, context, name="attention_pool")(x)
    return head(
        x, n_tags=n_tags, activation=activation, units=units, input_bn=input_bn, dropout=dropout
    )
