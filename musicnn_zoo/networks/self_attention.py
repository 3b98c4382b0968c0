"""Self-attention: a Transformer encoder sums up the sequence.

References
----------
Won, Chun, Serra. "Toward interpretable music tagging with self-attention." 2019. Vaswani et al.
"Attention is all you need." 2017.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.networks.head import head
from musicnn_zoo.networks.over_time import OverTime
from musicnn_zoo.networks.positions import sinusoidal_positions


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class ClassToken(layers.Layer):
    """Put a learned vector before the first frame of (batch, frames, channels)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Make ``token``, one vector."""
        self.token = self.add_weight(
            shape=(1, 1, input_shape[-1]), initializer="random_normal", name="token"
        )
        self.built = True

    def call(self, x: Any) -> Any:
        """Return (batch, 1 + frames, channels)."""
        token = ops.zeros_like(x[:, :1]) + ops.cast(self.token, x.dtype)
        return ops.concatenate([token, x], axis=1)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Let the token count always."""
        del inputs
        if mask is None:
            return None
        return ops.concatenate([ops.ones_like(mask[:, :1]), mask], axis=1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (batch, 1 + frames, channels)."""
        batch, frames, channels = input_shape
        return (batch, None if frames is None else frames + 1, channels)


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class AddPositions(layers.Layer):
    """Add sinusoidal positions to (batch, frames, channels)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, x: Any) -> Any:
        """Return a tensor of the same shape."""
        return x + ops.cast(sinusoidal_positions(ops.shape(x)[1], x.shape[-1]), x.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input's shape."""
        return input_shape


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class FirstFrame(OverTime):
    """Keep the first frame of (batch, frames, channels)."""

    def call(self, x: Any) -> Any:
        """Return (batch, channels)."""
        return x[:, 0]


def self_attention(
    x: Any,
    *,
    n_tags: int,
    activation: str | None,
    width: int = 256,
    depth: int = 2,
    heads: int = 8,
    units: int | None = None,
    dropout: float = 0.1,
) -> Any:
    """Run a Transformer encoder over the frames and a class token, and classify the token.

    Each of ``depth`` layers is self-attention and a feed-forward network of 4 × ``width`` with
    GELU, each with a residual connection and LayerNorm after it.

    Parameters
    ----------
    x : tensor, shape (batch, frames, channels)
        Masked frames are not attended to.
    n_tags : int
    activation : {"sigmoid", "softmax"} or None
    width : int
        Channels of the encoder; the features are projected to them.
    depth, heads : int
    units, dropout
        See :func:`musicnn_zoo.networks.head.head`; ``dropout`` is also the encoder's.

    Returns
    -------
    tensor, shape (batch, n_tags)
        Endpoints ``class_token`` (batch, width) and ``penultimate``.
    """
    if width % heads:
        raise ArgumentError(f"width must be a multiple of heads; received {width} and {heads}")
    x = layers.Dense(width, name="backend_projection")(x)
    x = ClassToken(name="backend_token")(x)
    x = AddPositions(name="backend_positions")(x)
    for number in range(1, depth + 1):
        name = f"backend_encoder{number}"
        y = layers.MultiHeadAttention(
            heads, width // heads, dropout=dropout, name=f"{name}_attention"
        )(x, x)
        x = _add_and_normalize(x, y, dropout, f"{name}_attention")
        y = layers.Dense(4 * width, activation="gelu", name=f"{name}_dense1")(x)
        y = layers.Dense(width, name=f"{name}_dense2")(y)
        x = _add_and_normalize(x, y, dropout, f"{name}_dense")
    x = FirstFrame(name="class_token")(x)
    return head(x, n_tags=n_tags, activation=activation, units=units, dropout=dropout)


def _add_and_normalize(x: Any, y: Any, dropout: float, name: str) -> Any:
    y = layers.Dropout(dropout, name=f"{name}_dropout")(y)
    return layers.LayerNormalization(name=f"{name}_norm")(layers.Add(name=f"{name}_add")([x, y]))
