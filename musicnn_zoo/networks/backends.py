"""Back-ends: from a feature map of any length to the tags.

Every back-end takes ``x``, features (batch, frames, channels) of which masked frames do not count;
the number of tags, ``n_tags``; and the ``activation`` of the scores, ``"sigmoid"``, ``"softmax"``
or None for logits. It returns scores (batch, n_tags). Options that are not described with a
back-end, as ``units`` and ``dropout``, are those of :func:`head`.

References
----------
Choi, Fazekas, Sandler. "Automatic tagging using deep convolutional neural networks." ISMIR 2016.
Choi, Fazekas, Sandler, Cho. "Convolutional recurrent neural networks for music classification."
ICASSP 2017. Dieleman, Schrauwen. "End-to-end learning for music audio." ICASSP 2014. McFee,
Salamon, Bello. "Adaptive pooling operators for weakly labeled sound event detection." IEEE/ACM
Transactions on Audio, Speech and Language Processing 26(11), 2018, equation 9. Pons et al.
"End-to-end learning for music audio tagging at scale." ISMIR 2018. Pons, Serra.
musicnn-training, 2019. Raffel. "Learning-based methods for comparing sequences, with applications
to audio-to-MIDI alignment and matching." PhD thesis, 2016. Raffel, Ellis. "Feed-forward networks
with attention can solve some long-term memory problems." 2015. Schlüter, Böck. "Improved musical
onset detection with convolutional neural networks." ICASSP 2014. Vaswani et al. "Attention is all
you need." 2017. Vogl, Dorfer, Widmer, Knees. "Drum transcription via joint beat and drum modeling
using convolutional recurrent neural networks." ISMIR 2017 (2018 in the tutorial). Won, Chun, Serra.
"Toward interpretable music tagging with self-attention." 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import keras
import numpy as np
from keras import layers, ops

from musicnn_zoo.errors import ArgumentError, check_choice, check_whole
from musicnn_zoo.networks.frontends import Order, Pool, rectangular_stack

WAVELENGTH = 10000.0


def sinusoidal_positions(frames: Any, channels: int, *, paired: bool = True) -> Any:
    """Return sines and cosines of the time at geometrically spaced frequencies.

    Of shape (1, frames, channels). If ``paired``, channels 2i and 2i + 1 share the frequency
    ``10000 ** (-2i / channels)`` (Vaswani et al. 2017); if not, channel i has it for itself
    (musicnn-training).
    """
    index = np.arange(channels)
    exponent = 2 * (index // 2) if paired else 2 * index
    frequency = (WAVELENGTH ** (-exponent / channels)).astype(np.float32)
    phase = (index % 2 * np.pi / 2).astype(np.float32)
    time = ops.cast(ops.arange(frames), "float32")[:, None]
    return ops.sin(time * frequency + phase)[None]


def _add_positions(x: Any, *, paired: bool) -> Any:
    positions = sinusoidal_positions(ops.shape(x)[1], x.shape[-1], paired=paired)
    return x + ops.cast(positions, x.dtype)


class _MaskedLayer(layers.Layer):
    """A layer that takes features of which frames may be masked."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True


class _OverTime(_MaskedLayer):
    """From (batch, frames, channels) to (batch, channels); a mask of frames ends there."""

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """Return None: no time is left."""
        del inputs, mask

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (batch, channels)."""
        return (input_shape[0], input_shape[2])


def _where_unmasked(mask: Any, x: Any, otherwise: float) -> Any:
    if mask is None:
        return x
    return ops.where(ops.expand_dims(mask, -1), x, ops.cast(otherwise, x.dtype))


def _softmax_over_time(energy: Any, mask: Any = None) -> Any:
    """Softmax over the frames of (batch, frames, channels); masked frames get zero.

    (``keras.ops.softmax`` warns of a single frame, which is nothing to warn of here.)
    """
    energy = _where_unmasked(mask, energy, -1e9)
    weights = ops.exp(energy - ops.max(energy, axis=1, keepdims=True))
    return weights / ops.sum(weights, axis=1, keepdims=True)


def head(
    x: Any,
    n_tags: int,
    activation: str | None,
    *,
    units: int | None,
    input_bn: bool = True,
    dropout: float = 0.5,
    input_dropout: float | None = None,
    order: Order = "relu_bn",
    bn_epsilon: float = 1e-3,
) -> Any:
    """Put a dense layer and the output layer on a vector, or on every frame of a sequence.

    BatchNorm → dropout → dense → ReLU and BatchNorm → dropout → ``logits`` → ``tags``.

    Parameters
    ----------
    x : tensor, shape (batch, …, channels)
    activation : {"sigmoid", "softmax"} or None
        Computed in float32 under every dtype policy; None gives the logits.
    units : int or None
        Of the dense layer; None leaves out all before the second dropout.
    input_bn : bool
        Whether to begin with BatchNorm.
    dropout : float
        Rate of both dropouts.
    input_dropout : float, optional
        Rate of the first, if it is another.
    order : {"relu_bn", "bn_relu", "relu"}
        Of ReLU and BatchNorm after the dense layer; ``"relu"`` has no BatchNorm.
    bn_epsilon : float
        What BatchNorm adds to the variance.

    Returns
    -------
    tensor, shape (batch, …, n_tags)
        Endpoint ``penultimate`` (batch, …, units) is what the second dropout receives.
    """
    if units is None:
        x = layers.Identity(name="penultimate")(x)
    else:
        if input_bn:
            x = layers.BatchNormalization(epsilon=bn_epsilon, name="backend_bn")(x)
        rate = dropout if input_dropout is None else input_dropout
        x = layers.Dropout(rate, name="backend_dropout1")(x)
        x = _dense(x, units, order, bn_epsilon)
    x = layers.Dropout(dropout, name="backend_dropout2")(x)
    x = layers.Dense(n_tags, name="logits")(x)
    if activation is None:
        return x
    return layers.Activation(activation, dtype="float32", name="tags")(x)


def _dense(x: Any, units: int, order: Order, bn_epsilon: float) -> Any:
    if order == "relu":
        return layers.Dense(units, activation="relu", name="penultimate")(x)
    if order == "relu_bn":
        x = layers.Dense(units, activation="relu", name="backend_dense")(x)
        return layers.BatchNormalization(epsilon=bn_epsilon, name="penultimate")(x)
    x = layers.Dense(units, name="backend_dense")(x)
    x = layers.BatchNormalization(epsilon=bn_epsilon, name="backend_dense_bn")(x)
    return layers.ReLU(name="penultimate")(x)


def mlp(
    x: Any, *, n_tags: int, activation: str | None, units: int | None = None, dropout: float = 0.5
) -> Any:
    """Flatten the feature map and connect it to the tags.

    Parameters
    ----------
    x : tensor, shape (batch, frames, …, channels)
        Of known length.
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
    return head(x, n_tags, activation, units=units, input_bn=False, dropout=dropout, order="relu")


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class TemporalMaximum(_OverTime):
    """Maximum over time of (batch, frames, channels); masked frames do not count."""

    def call(self, x: Any, mask: Any = None) -> Any:
        """Return (batch, channels)."""
        return ops.max(_where_unmasked(mask, x, float("-inf")), axis=1)


def temporal_pooling(
    x: Any,
    *,
    n_tags: int,
    activation: str | None,
    mode: Literal["both", "max", "mean"] = "both",
    interleaved: bool = True,
    units: int | None = 200,
    input_bn: bool = True,
    dropout: float = 0.5,
    input_dropout: float | None = None,
    order: Order = "relu_bn",
    bn_epsilon: float = 1e-3,
) -> Any:
    """Pool over time, then one dense layer, then the tags.

    Parameters
    ----------
    interleaved : bool
        Whether maximum and mean of a channel stand side by side (max₀, mean₀, max₁, …), as in
        the released musicnn, or all maxima before all means.
    units : int or None
        200 in musicnn, 500 in its big variant.

    Returns
    -------
    tensor, shape (batch, n_tags)
        Endpoints ``mean_pool`` and ``max_pool`` (batch, channels), and ``penultimate``
        (batch, units).
    """
    channels = x.shape[-1]
    pools = {}
    if mode != "mean":
        pools["max"] = TemporalMaximum(name="max_pool")(x)
    if mode != "max":
        mean = layers.GlobalAveragePooling1D(data_format="channels_last", name="mean_pool")
        pools["mean"] = mean(x)
    if len(pools) == 1:
        (x,) = pools.values()
    elif interleaved:
        columns = [
            layers.Reshape((channels, 1), name=f"backend_{name}_column")(pool)
            for name, pool in pools.items()
        ]
        x = layers.Concatenate(name="backend_interleave")(columns)
        x = layers.Flatten(data_format="channels_last", name="backend_flat")(x)
    else:
        x = layers.Concatenate(name="backend_concat")(list(pools.values()))
    return head(
        x, n_tags, activation, units=units, input_bn=input_bn, dropout=dropout,
        input_dropout=input_dropout, order=order, bn_epsilon=bn_epsilon,
    )  # fmt: skip


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class AutoPool(_OverTime):
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
        return ops.sum(x * _softmax_over_time(self.alpha * x, mask), axis=1)


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
    activation : {"sigmoid", "softmax"}
        Of the frame-wise scores; logits have no such pooling.

    Returns
    -------
    tensor, shape (batch, n_tags)
        Endpoints ``penultimate`` (batch, frames, units) and ``frame_scores`` (batch, frames,
        n_tags).
    """
    if activation is None:
        raise ArgumentError(
            "autopool pools probabilities: activation must be 'sigmoid' or 'softmax'; received None"
        )
    x = head(x, n_tags, None, units=units, input_bn=input_bn, dropout=dropout)
    x = layers.Activation(activation, dtype="float32", name="frame_scores")(x)
    return AutoPool(dtype="float32", name="tags")(x)


Weights = Literal["frame", "channel"]


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class TemporalAttention(_OverTime):
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
        check_choice("weights", weights, get_args(Weights))
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
        if self.positions:
            x = _add_positions(x, paired=False)
        return ops.sum(x * self._weights_of(x, mask), axis=1)

    def attention(self, x: Any, mask: Any = None) -> Any:
        """Return the weights: (batch, frames, 1) or (batch, frames, channels), sum 1 over time."""
        return self._weights_of(_add_positions(x, paired=False) if self.positions else x, mask)

    def _weights_of(self, x: Any, mask: Any) -> Any:
        x = _where_unmasked(mask, x, 0)
        energy = ops.conv(x, self.kernel, padding="same", data_format="channels_last") + self.bias
        if self.kind == "frame":
            energy = ops.tanh(energy)
        return _softmax_over_time(energy, mask)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        own = {"weights": self.kind, "positions": self.positions, "context": self.context}
        return {**super().get_config(), **own}


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
    weights, positions, context
        See :class:`TemporalAttention`.

    Returns
    -------
    tensor, shape (batch, n_tags)
        Endpoints ``frames`` (batch, frames, channels), which is what is pooled,
        ``attention_pool`` (batch, channels) and ``penultimate`` (batch, units). The head put on
        every one of the ``frames`` gives frame-wise scores
        (:func:`musicnn_zoo.runtimes.variants.framewise_model`).
    """
    x = layers.Identity(name="frames")(x)
    x = TemporalAttention(weights, positions, context, name="attention_pool")(x)
    return head(x, n_tags, activation, units=units, input_bn=input_bn, dropout=dropout)


def recurrent(
    x: Any,
    *,
    n_tags: int,
    activation: str | None,
    cell: Literal["lstm", "gru"] = "lstm",
    cell_units: int = 512,
    depth: int = 2,
    bidirectional: bool = False,
    units: int | None = 200,
    input_bn: bool = True,
    dropout: float = 0.5,
) -> Any:
    """Run recurrent layers over time and take the last state.

    The defaults are musicnn-training's. ``cell="gru", cell_units=32, units=None`` is Won et al.'s
    CRNN, ``cell="gru", depth=3, bidirectional=True`` the shape of Vogl et al.

    Parameters
    ----------
    cell_units : int
        Of each layer and direction.
    depth : int
        Layers.
    bidirectional : bool
        Whether each layer also runs backwards; the two outputs are concatenated.

    Returns
    -------
    tensor, shape (batch, n_tags)
        Endpoints ``last_state`` (batch, cell_units or twice that) and ``penultimate``
        (batch, units).
    """
    check_whole("depth", depth)
    make = layers.LSTM if cell == "lstm" else layers.GRU
    for number in range(1, depth + 1):
        last = number == depth
        name = "last_state" if last else f"backend_{cell}{number}"
        inner = f"backend_{cell}{number}" if bidirectional else name
        layer = make(cell_units, return_sequences=not last, name=inner)
        x = (layers.Bidirectional(layer, name=name) if bidirectional else layer)(x)
    return head(x, n_tags, activation, units=units, input_bn=input_bn, dropout=dropout)


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class ClassToken(_MaskedLayer):
    """Put a learned vector before the first frame of (batch, frames, channels)."""

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
        """Return the mask with the token, which always counts."""
        del inputs
        if mask is None:
            return None
        return ops.concatenate([ops.ones_like(mask[:, :1]), mask], axis=1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (batch, 1 + frames, channels)."""
        batch, frames, channels = input_shape
        return (batch, None if frames is None else frames + 1, channels)


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class AddPositions(_MaskedLayer):
    """Add sinusoidal positions to (batch, frames, channels)."""

    def call(self, x: Any) -> Any:
        """Return a tensor of the same shape."""
        return _add_positions(x, paired=True)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input's shape."""
        return input_shape


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class FirstFrame(_OverTime):
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
    width : int
        Channels of the encoder; the features are projected to them.
    dropout : float
        Of the encoder, and of the head.

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
    return head(x, n_tags, activation, units=units, dropout=dropout)


def _add_and_normalize(x: Any, y: Any, dropout: float, name: str) -> Any:
    y = layers.Dropout(dropout, name=f"{name}_dropout")(y)
    return layers.LayerNormalization(name=f"{name}_norm")(layers.Add(name=f"{name}_add")([x, y]))


def fully_convolutional(
    x: Any,
    *,
    n_tags: int,
    activation: str | None,
    filters: Sequence[int] = (384, 768, 2048),
    pools: Sequence[Pool] | None = None,
    order: Order = "bn_relu",
    bn_epsilon: float = 1e-3,
    dropout: float = 0.5,
) -> Any:
    """Convolve and pool until one position is left, then classify it.

    The defaults end Choi et al.'s FCN-4, whose first layer is the front-end.

    Parameters
    ----------
    x : tensor, shape (batch, frames, bands, channels)
        Of known length.
    filters, order, bn_epsilon
        See :func:`musicnn_zoo.networks.frontends.rectangular`.
    pools : sequence of (int, int), optional
        Frames × bands that become one after each convolution. By default those of FCN-4 as far as
        there are so many frames and bands, and after the last convolution all that are left.
    dropout : float
        Rate before the output layer.

    Returns
    -------
    tensor, shape (batch, n_tags)
        Endpoint ``penultimate`` (batch, filters[-1]).
    """
    if pools is None:
        pools = _pools_for(x.shape[1], x.shape[2], len(filters))
    x = rectangular_stack("backend", x, filters, pools, order, bn_epsilon)
    if tuple(x.shape[1:3]) != (1, 1):
        raise ArgumentError(
            "the pools of fully_convolutional must leave 1 × 1 of frames × bands; "
            f"{pools!r} leave {x.shape[1]} × {x.shape[2]}"
        )
    x = layers.Flatten(data_format="channels_last", name="backend_flat")(x)
    return head(x, n_tags, activation, units=None, dropout=dropout)


_FCN4_POOLS: Sequence[Pool] = ((5, 4), (8, 3), (8, 4))


def _pools_for(frames: int, bands: int, count: int) -> list[Pool]:
    """Return pools that leave one of so many frames and bands after so many convolutions."""
    pools: list[Pool] = []
    for number in range(1, count + 1):
        wanted = _FCN4_POOLS[min(number, len(_FCN4_POOLS)) - 1]
        pool = (min(wanted[0], frames), min(wanted[1], bands))
        if number == count:
            pool = (frames, bands)
        pools.append(pool)
        frames, bands = frames // pool[0], bands // pool[1]
    return pools
