"""What each kind of layer does to channels: their ranges, their influence, and how few it needs.

A tensor of a model is a map or a sequence of channels, or a vector. What :mod:`.pruning` drops or
keeps is a *unit* of it: a channel, or, where no time is left, one number of a vector. Every
:class:`Rule` answers four questions about one layer as it is called in a model:

``range``
    Between which values do the units of the output lie ("interval arithmetic")?
``gains``
    By how much do scores change with each unit of an input (a Lipschitz constant)?
``needs``
    Which units of an input are needed for those of the output?
``rebuild``
    What does the layer look like with only those?
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from musicnn_zoo.networks.backends import AutoPool, FirstFrame, TemporalAttention, TemporalMaximum
from musicnn_zoo.networks.logmel import LogMel
from musicnn_zoo.networks.mel import DECIBEL_FLOOR, hann, mel_filters
from musicnn_zoo.networks.registry import PACKAGE

LOUDEST = 10.0
"""Largest absolute sample that the ranges hold for: 20 dB above full scale."""
ONE = -1
"""In the place of a unit: a channel that is none of the model's, but 1 everywhere."""

_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Units = NDArray[np.intp]


@dataclass(frozen=True)
class Range:
    """Where the values of a tensor lie: a centre and a radius for each unit.

    The first ``spatial`` axes after the batch are positions; ``shape`` are the others.
    """

    spatial: int
    shape: tuple[int, ...]
    centre: Floats
    radius: Floats

    @property
    def low(self) -> Floats:
        """Least values; 0 - inf where nothing is known."""
        return self.centre - self.radius

    @property
    def high(self) -> Floats:
        """Largest values."""
        return self.centre + self.radius

    @property
    def constant(self) -> Flags:
        """Which units are the same everywhere, whatever is played."""
        found: Flags = self.radius == 0
        return found

    def between(self, low: Floats, high: Floats) -> Range:
        """Range of a tensor of the same shape with other values."""
        return Range(self.spatial, self.shape, *_around(low, high))


@dataclass(frozen=True)
class Part:
    """A tensor of the pruned model, and which unit each of its channels is; see :data:`ONE`."""

    tensor: Any
    units: Units

    @property
    def named(self) -> Units:
        """Which channels are units of the whole tensor."""
        return np.flatnonzero(self.units != ONE)

    def is_all_of(self, whole: Range) -> bool:
        """Whether this is the whole tensor."""
        alike = np.array_equal(self.units, np.arange(len(whole.centre)))
        return alike and len(whole.shape) < 2


@dataclass(frozen=True)
class Wanted:
    """How a layer is rebuilt: with which units, by which name.

    A number of filters is filled up to a multiple of ``block`` with filters of ones.
    """

    units: Flags
    name: str
    block: int


def _around(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Centre and radius; of an interval without end, zero and infinity."""
    with np.errstate(invalid="ignore"):
        endless = ~np.isfinite(high - low)
    low, high = np.where(endless, 0, low), np.where(endless, 0, high)
    centre = np.where(low == high, low, (low + high) / 2)
    return centre, np.where(endless, np.inf, (high - low) / 2)


def product(gain: Floats, size: Floats) -> Floats:
    """Multiply numbers that are not negative, of which some are infinite; 0 times that is 0."""
    with np.errstate(invalid="ignore"):
        return np.where((gain == 0) | (size == 0), 0, gain * size)


def _matrix_product(weights: Floats, values: Floats) -> Floats:
    """Multiply matrices as :func:`product` multiplies numbers."""
    endless = np.isinf(values)
    found: Floats = weights @ np.where(endless, 0, values)
    if endless.any():
        found[((weights > 0).astype(float) @ endless.astype(float)) > 0] = np.inf
    return found


@keras.saving.register_keras_serializable(package=PACKAGE)
class WithOnes(layers.Layer):
    """Put a channel of ones behind the channels."""

    def call(self, x: Any) -> Any:
        """Return (…, channels + 1)."""
        return ops.concatenate([x, ops.ones_like(x[..., :1])], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (…, channels + 1)."""
        return (*input_shape[:-1], (input_shape[-1] or 0) + 1)


@keras.saving.register_keras_serializable(package=PACKAGE)
class WithConstants(layers.Layer):
    """Put channels that are constant between those that were left.

    Channel i of the output is channel ``places[i]`` of the input, or ``constants[i]`` where that
    is -1. The last axis of the output becomes the axes ``shape``.
    """

    def __init__(
        self, places: list[int], constants: list[float], shape: list[int], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.places, self.constants, self.shape = places, constants, shape

    def call(self, x: Any) -> Any:
        """Return all channels."""
        places = np.array(self.places, np.int32)
        if not np.array_equal(places, np.arange(x.shape[-1])):
            there = (places >= 0).astype(np.float32)
            constants = np.array(self.constants, np.float32)
            x = ops.take(x, np.maximum(places, 0), axis=-1) * ops.cast(there, x.dtype)
            x = x + ops.cast(constants, x.dtype)
        if len(self.shape) == 1:
            return x
        return ops.reshape(x, (*(size or -1 for size in x.shape[:-1]), *self.shape))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (…, *shape)."""
        return (*input_shape[:-1], *self.shape)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        own = {"places": self.places, "constants": self.constants, "shape": self.shape}
        return {**super().get_config(), **own}


def with_constants(part: Part, whole: Range, name: str, units: Units | None = None) -> Any:
    """Return the tensor of these units, constants among them; by default all, in their shape."""
    if part.is_all_of(whole) if units is None else np.array_equal(units, part.units):
        return part.tensor
    wanted = np.arange(len(whole.centre)) if units is None else units
    shape = whole.shape if units is None else (len(units),)
    places = np.full(len(whole.centre), -1)
    places[part.units[part.named]] = part.named
    constants = np.where(places < 0, whole.centre, 0)
    layer = WithConstants(
        places[wanted].tolist(), constants[wanted].tolist(), list(shape), name=name
    )
    return layer(part.tensor)


def _takes_several(layer: keras.layers.Layer) -> bool:
    """Whether a layer takes its inputs one by one, and not as one list."""
    arguments = inspect.signature(layer.call).parameters.values()
    return sum(one.default is one.empty and one.kind not in _REST for one in arguments) > 1


def _copied(layer: keras.layers.Layer, name: str, **changes: Any) -> keras.layers.Layer:
    return type(layer).from_config({**layer.get_config(), "name": name, **changes})


class Rule:
    """Any layer of which nothing else is known: it gets all its units, and may give anything."""

    def __init__(self, layer: keras.layers.Layer, inputs: Sequence[Range]) -> None:
        self.layer = layer
        self.inputs = inputs
        self.output = tuple(layer.output.shape)[1:]

    @cached_property
    def range(self) -> Range:
        """Range of the output."""
        units = self.output[-1] or 1
        return Range(len(self.output) - 1, (units,), *self._anything(units))

    def _anything(self, units: int) -> tuple[Floats, Floats]:
        return np.zeros(units), np.full(units, np.inf)

    def gains(self, after: Floats) -> list[Floats]:
        """How much scores change at most with each unit of each input: (units, scores).

        ``after`` is that of the output.
        """
        return [np.full((len(one.centre), after.shape[1]), np.inf) for one in self.inputs]

    def needs(self, needed: Flags, may_drop: Sequence[Flags]) -> list[Flags]:
        """Which units of each input are needed, if these units of the output are."""
        del needed
        return [~each for each in may_drop]

    def rebuild(self, parts: Sequence[Part], wanted: Wanted) -> Part:
        """Put the layer on what is left of its inputs."""
        whole = [
            with_constants(part, one, f"{wanted.name}_input{number}")
            for number, (part, one) in enumerate(zip(parts, self.inputs, strict=True))
        ]
        copy = _copied(self.layer, wanted.name)
        given = keras.tree.pack_sequence_as(self.layer.input, whole)
        tensor = copy(*given) if _takes_several(self.layer) else copy(given)
        copy.set_weights(self.layer.get_weights())
        return Part(tensor, np.arange(self.output[-1] or 1))


class Source(Rule):
    """The input of a model."""

    @cached_property
    def range(self) -> Range:
        """Range of a waveform; of anything else nothing is known."""
        if len(self.output) == 1:  # a waveform
            return Range(1, (), np.zeros(1), np.full(1, LOUDEST))
        units = self.output[-1] or 1
        return Range(len(self.output) - 1, (units,), *self._anything(units))


class _Spectrogram(Rule):
    """A log-mel: a band has at most the power of a waveform of the loudest samples."""

    def _anything(self, units: int) -> tuple[Floats, Floats]:
        spectrogram = self.layer.spectrogram
        # Each bin of the transform is at most the sum of the window. A percent more, for rounding.
        power = np.array([
            1.01
            * mel_filters(spectrogram, window).sum(axis=0, dtype=np.float64).max()
            * (LOUDEST * hann(window).sum()) ** 2
            for window in (*spectrogram.shorter_windows, spectrogram.n_fft)
        ])  # fmt: skip
        if spectrogram.compression == "log10":
            return _around(np.zeros(units), np.log10(10000 * power + 1))
        floor = np.full(units, DECIBEL_FLOOR)
        return _around(10 * np.log10(floor), 10 * np.log10(np.maximum(power, floor)))


class _Standardized(Rule):
    """A ``Normalization`` of the bands."""

    @cached_property
    def range(self) -> Range:
        (given,) = self.inputs
        mean, variance = (
            np.ravel(ops.convert_to_numpy(one)) for one in (self.layer.mean, self.layer.variance)
        )
        ends = np.stack([given.low, given.high])[..., np.newaxis]
        found = (ends - mean) / np.maximum(np.sqrt(variance), keras.config.epsilon())
        return given.between(found.min(axis=(0, 2)), found.max(axis=(0, 2)))


class _Recurrent(Rule):
    """An LSTM or a GRU, whose states are in ±1."""

    def _anything(self, units: int) -> tuple[Floats, Floats]:
        return np.zeros(units), np.ones(units)


class _LayerNorm(Rule):
    """Numbers of mean 0 and variance 1, of which none is larger than the root of their count."""

    def _anything(self, units: int) -> tuple[Floats, Floats]:
        gamma, beta = (
            np.asarray(ops.convert_to_numpy(one), np.float64)
            for one in (self.layer.gamma, self.layer.beta)
        )
        return beta, np.abs(gamma) * np.sqrt(units)


class _Averaged(Rule):
    """A mean over time with weights that are made of the features: AutoPool and attention.

    Of c = sum a_t h_t with a = softmax(e): dc = sum a_t dh_t + sum a_t (h_t - c) de_t, and no
    |h_t - c| is more than twice the radius of h.
    """

    @cached_property
    def range(self) -> Range:
        (given,) = self.inputs
        return Range(0, given.shape, given.centre, self._radius)

    @property
    def _radius(self) -> Floats:
        (given,) = self.inputs
        positions = bool(getattr(self.layer, "positions", False))
        return given.radius + 1.0 * positions  # sines and cosines

    def gains(self, after: Floats) -> list[Floats]:
        moved = product(after, 2 * self._radius[:, np.newaxis])
        if isinstance(self.layer, AutoPool):
            sharpness = np.abs(ops.convert_to_numpy(self.layer.alpha))[:, np.newaxis]
            return [after + product(moved, sharpness)]
        kernel = np.abs(np.asarray(ops.convert_to_numpy(self.layer.kernel), np.float64)).sum(axis=0)
        if kernel.shape[1] == 1:  # one weight for all channels of a frame
            moved = moved.sum(axis=0, keepdims=True)
        return [after + _matrix_product(kernel, moved)]


@dataclass(frozen=True)
class _Curve:
    """A function of one number that rises, and how steep it is at most."""

    of: Callable[[Floats], Floats]
    steepest: float = 1.0

    @property
    def keeps_one(self) -> bool:
        return float(self.of(np.ones(1))[0]) == 1


_LINEAR = _Curve(lambda x: x)
_RELU = _Curve(lambda x: np.maximum(x, 0))
_CURVES = {
    "linear": _LINEAR,
    "relu": _RELU,
    "tanh": _Curve(np.tanh),
    "sigmoid": _Curve(lambda x: 0.5 * (1 + np.tanh(x / 2)), 0.25),
}


def _curve_of(layer: Any) -> _Curve | None:
    return _CURVES.get(getattr(layer.activation, "__name__", ""))


class Separate(Rule):
    """A layer that gives each unit what it makes of one unit: nothing else is needed for it."""

    @cached_property
    def origin(self) -> list[Units]:
        """For each input, the units of the output that its units are."""
        return [np.arange(len(one.centre)) for one in self.inputs]

    def gains(self, after: Floats) -> list[Floats]:
        """Return what the units of the output have."""
        return [after[units] for units in self.origin]

    def needs(self, needed: Flags, may_drop: Sequence[Flags]) -> list[Flags]:
        """Return the same units, but those that are constant."""
        del may_drop
        return [
            needed[units] & ~one.constant
            for units, one in zip(self.origin, self.inputs, strict=True)
        ]


class _Each(Separate):
    """``curve(scale * x + offset)`` of every channel, or a maximum or mean of positions."""

    def __init__(
        self,
        layer: keras.layers.Layer,
        inputs: Sequence[Range],
        curve: _Curve = _LINEAR,
        affine: tuple[Floats, Floats] | None = None,
    ) -> None:
        super().__init__(layer, inputs)
        (given,) = inputs
        self.curve = curve
        self.channels = np.arange(len(given.centre)) % (given.shape or (1,))[-1]
        scale, offset = affine or (np.ones(1), np.zeros(1))
        self.scale, self.offset = (one[self.channels] if affine else one for one in (scale, offset))

    @cached_property
    def range(self) -> Range:
        (given,) = self.inputs
        centre = given.centre * self.scale + self.offset
        radius = product(np.abs(self.scale), given.radius)
        ends = self.curve.of(centre - radius), self.curve.of(centre + radius)
        return Range(len(self.output) - len(given.shape), given.shape, *_around(*ends))

    def gains(self, after: Floats) -> list[Floats]:
        return [product(after, np.abs(self.scale)[:, np.newaxis] * self.curve.steepest)]

    def rebuild(self, parts: Sequence[Part], wanted: Wanted) -> Part:
        (given,), (part,) = self.inputs, parts
        if not self.curve.keeps_one and len(part.named) < len(part.units):
            units = part.units[part.named]
            part = Part(with_constants(part, given, f"{wanted.name}_input", units), units)
        if not isinstance(self.layer, layers.BatchNormalization):
            return Part(_copied(self.layer, wanted.name)(part.tensor), part.units)
        copy = _copied(self.layer, wanted.name, axis=-1)
        tensor = copy(part.tensor)
        of_one = {
            "moving_mean": 0,
            "moving_variance": 1 - self.layer.epsilon,
            "gamma": 1,
            "beta": 0,
        }
        for name, one in of_one.items():
            weight = getattr(copy, name)
            if weight is not None:
                values = ops.convert_to_numpy(getattr(self.layer, name))
                channels = self.channels[part.units]
                weight.assign(np.where(part.units == ONE, one, values[channels]))
        return Part(tensor, part.units)


class _ZeroPadded(_Each):
    """Zeros around: what was constant no longer is, unless it was zero."""

    @cached_property
    def range(self) -> Range:
        (given,) = self.inputs
        low, high = np.minimum(given.low, 0), np.maximum(given.high, 0)
        return given.between(low, high)

    def needs(self, needed: Flags, may_drop: Sequence[Flags]) -> list[Flags]:
        del may_drop
        (given,) = self.inputs
        return [needed & ~given.constant]

    def rebuild(self, parts: Sequence[Part], wanted: Wanted) -> Part:
        (given,), (part,) = self.inputs, parts
        units = np.flatnonzero(wanted.units)
        tensor = with_constants(part, given, f"{wanted.name}_input", units)
        return Part(_copied(self.layer, wanted.name)(tensor), units)


class Weighted(Rule):
    """A convolution or a dense layer, with its activation."""

    def __init__(self, layer: keras.layers.Layer, inputs: Sequence[Range], curve: _Curve) -> None:
        super().__init__(layer, inputs)
        self.curve = curve
        kernel, *bias = layer.get_weights()
        self.kernel = np.asarray(kernel, np.float64)
        self.bias = np.asarray(bias[0] if bias else np.zeros(kernel.shape[-1]), np.float64)
        self.dense = isinstance(layer, layers.Dense)
        self.padded = not self.dense and layer.padding != "valid" and max(layer.kernel_size) > 1
        self.taps = self.kernel.reshape(-1, *kernel.shape[-2:])
        self.strength: Floats = np.abs(self.taps).sum(axis=0)

    @cached_property
    def range(self) -> Range:
        """Range of the sums, and of their activation; where zeros are padded, with zeros, too."""
        (given,) = self.inputs
        low, high = given.low, given.high
        if self.padded:
            low, high = np.minimum(low, 0), np.maximum(high, 0)
        centre, radius = _around(low, high)
        middle = centre @ self.taps.sum(axis=0) + self.bias
        reach = _matrix_product(self.strength.T, radius)
        ends = self.curve.of(middle - reach), self.curve.of(middle + reach)
        return Range(len(self.output) - 1, self.bias.shape, *_around(*ends))

    def gains(self, after: Floats) -> list[Floats]:
        """Add up the absolute weights; a unit that is never on has none."""
        steepest = np.where(self.range.constant, 0, self.curve.steepest)[:, np.newaxis]
        return [_matrix_product(self.strength, product(after, steepest))]

    def spare(self, left: int, block: int) -> int:
        """How many filters of ones go with so many: they fill the last block; one at least."""
        if self.dense or block == 1 or not self.curve.keeps_one or left == len(self.bias):
            return 0
        return -(left + 1) % block + 1

    def rebuild(self, parts: Sequence[Part], wanted: Wanted) -> Part:
        """Leave out kernels, and put constants into the bias or the kernels of the ones."""
        (given,), (part,) = self.inputs, parts
        units, tensor = np.flatnonzero(wanted.units), part.tensor
        kernel, bias = self.kernel[..., units], self.bias[units]
        gone = np.setdiff1d(np.arange(len(given.centre)), part.units)
        constants = np.tensordot(given.centre[gone], kernel[..., gone, :], (0, -2))
        kernel = kernel[..., part.units, :]
        ones = np.flatnonzero(part.units == ONE)
        kernel[..., ones, :] = 0
        if not self.padded:
            bias = bias + constants.reshape(-1, len(units)).sum(axis=0)
        elif len(ones):
            kernel[..., ones[0], :] = constants
        elif constants.any():
            tensor = WithOnes(name=f"{wanted.name}_ones")(tensor)
            kernel = np.concatenate([kernel, constants[..., np.newaxis, :]], axis=-2)
        spare = self.spare(len(units), wanted.block)
        kernel = np.pad(kernel, [(0, 0)] * (kernel.ndim - 1) + [(0, spare)])
        bias = np.pad(bias, (0, spare), constant_values=1)
        count = {"units" if self.dense else "filters": len(bias)}
        copy = _copied(self.layer, wanted.name, use_bias=True, **count)
        tensor = copy(tensor)
        copy.set_weights([kernel.astype(np.float32), bias.astype(np.float32)])
        return Part(tensor, np.pad(units, (0, spare), constant_values=ONE))


class _Softmax(Rule):
    """Scores that add up to one; none changes with a logit by more than a quarter of it."""

    def _anything(self, units: int) -> tuple[Floats, Floats]:
        return np.full(units, 0.5), np.full(units, 0.5)

    def gains(self, after: Floats) -> list[Floats]:
        return [_matrix_product(np.full((len(after), len(after)), 0.25), after)]


class _Regrouped(Separate):
    """A change of shape, in which positions may become units."""

    def __init__(self, layer: keras.layers.Layer, inputs: Sequence[Range]) -> None:
        super().__init__(layer, inputs)
        (given,) = inputs
        before = tuple(layer.input.shape)[1:]
        most = min(given.spatial, len(self.output) - 1)
        alike = [a == b for a, b in zip(before[:most], self.output, strict=False)]
        self.spatial = alike.index(False) if False in alike else most
        merged = before[self.spatial : given.spatial]
        self.known = None not in (*merged, *self.output[self.spatial :])
        self.groups = int(np.prod(merged)) if self.known else 0

    @cached_property
    def range(self) -> Range:
        (given,) = self.inputs
        centre, radius = (np.tile(one, self.groups) for one in (given.centre, given.radius))
        return Range(self.spatial, self.output[self.spatial :], centre, radius)

    def gains(self, after: Floats) -> list[Floats]:
        return [after.reshape(self.groups, -1, after.shape[1]).sum(axis=0)]

    def needs(self, needed: Flags, may_drop: Sequence[Flags]) -> list[Flags]:
        del may_drop
        (given,) = self.inputs
        return [needed.reshape(self.groups, -1).any(axis=0) & ~given.constant]

    def rebuild(self, parts: Sequence[Part], wanted: Wanted) -> Part:
        (given,), (part,) = self.inputs, parts
        starts = np.arange(self.groups)[:, np.newaxis] * len(given.centre)
        units = np.where(part.units == ONE, ONE, starts + part.units).ravel()
        positions = (size or -1 for size in self.output[: self.spatial])
        shape = (*positions, len(units))
        return Part(layers.Reshape(shape, name=wanted.name)(part.tensor), units)


class _Beside(Separate):
    """Features side by side."""

    @cached_property
    def origin(self) -> list[Units]:
        numbers = np.arange(sum(len(one.centre) for one in self.inputs))
        rows = numbers.reshape(*self.inputs[0].shape[:-1], -1)
        ends = np.cumsum([one.shape[-1] for one in self.inputs])[:-1]
        return [each.ravel() for each in np.split(rows, ends, axis=-1)]

    @cached_property
    def range(self) -> Range:
        first = self.inputs[0]
        order = np.argsort(np.concatenate(self.origin))
        centre = np.concatenate([one.centre for one in self.inputs])[order]
        radius = np.concatenate([one.radius for one in self.inputs])[order]
        shape = (*first.shape[:-1], sum(one.shape[-1] for one in self.inputs))
        return Range(first.spatial, shape, centre, radius)

    def rebuild(self, parts: Sequence[Part], wanted: Wanted) -> Part:
        units = [
            np.where(part.units == ONE, ONE, places[part.units])
            for places, part in zip(self.origin, parts, strict=True)
        ]
        copy = _copied(self.layer, wanted.name, axis=-1)
        return Part(copy([part.tensor for part in parts]), np.concatenate(units))


class _Sum(Separate):
    """Features added, channel by channel."""

    @cached_property
    def range(self) -> Range:
        low = np.sum([one.low for one in self.inputs], axis=0)
        high = np.sum([one.high for one in self.inputs], axis=0)
        return self.inputs[0].between(low, high)

    def rebuild(self, parts: Sequence[Part], wanted: Wanted) -> Part:
        units = np.unique(np.concatenate([part.units[part.named] for part in parts]))
        tensors = [
            with_constants(part, one, f"{wanted.name}_input{number}", units)
            for number, (part, one) in enumerate(zip(parts, self.inputs, strict=True))
        ]
        return Part(_copied(self.layer, wanted.name)(tensors), units)


class _Product(_Sum):
    """Features multiplied by each other, channel by channel."""

    @cached_property
    def range(self) -> Range:
        first, second = self.inputs
        with np.errstate(invalid="ignore"):
            ends = np.stack(
                [a * b for a in (first.low, first.high) for b in (second.low, second.high)]
            )
        zero = (first.constant & (first.centre == 0)) | (second.constant & (second.centre == 0))
        ends = np.where(zero, 0, ends)
        return first.between(ends.min(axis=0), ends.max(axis=0))

    def gains(self, after: Floats) -> list[Floats]:
        most = [np.maximum(np.abs(one.low), np.abs(one.high)) for one in self.inputs]
        return [product(after, other[:, np.newaxis]) for other in reversed(most)]


Make = Callable[[Any, Sequence[Range]], Rule | None]
"""Makes the rule of a layer; None if it is used in a way that nothing is known of."""


def _is_plain(one: Range) -> bool:
    return len(one.shape) == 1


def _weighted(layer: Any, inputs: Sequence[Range]) -> Rule | None:
    curve = _curve_of(layer)
    if curve is None or getattr(layer, "groups", 1) != 1 or not _is_plain(inputs[0]):
        return None
    return Weighted(layer, inputs, curve)


def _recurrent(layer: Any, inputs: Sequence[Range]) -> Rule | None:
    one = layer.forward_layer if isinstance(layer, layers.Bidirectional) else layer
    curves = ("activation", "recurrent_activation")
    names = [getattr(getattr(one, each, None), "__name__", "") for each in curves]
    ordinary = type(one) in (layers.LSTM, layers.GRU) and names == ["tanh", "sigmoid"]
    beside = getattr(layer, "merge_mode", "concat") == "concat"
    return _Recurrent(layer, inputs) if ordinary and beside else None


def _layer_norm(layer: Any, inputs: Sequence[Range]) -> Rule | None:
    last = layer.axis in (-1, len(layer.output.shape) - 1, [-1], [len(layer.output.shape) - 1])
    return _LayerNorm(layer, inputs) if last and layer.scale and layer.center else None


def _activation(layer: Any, inputs: Sequence[Range]) -> Rule | None:
    if getattr(layer.activation, "__name__", "") == "softmax" and _is_plain(inputs[0]):
        return _Softmax(layer, inputs)
    curve = _curve_of(layer)
    return None if curve is None else _Each(layer, inputs, curve)


def _relu(layer: Any, inputs: Sequence[Range]) -> Rule | None:
    plain = layer.max_value is None and not layer.negative_slope and not layer.threshold
    return _Each(layer, inputs, _RELU) if plain else None


def _batchnorm(layer: Any, inputs: Sequence[Range]) -> Rule | None:
    if layer.axis not in (-1, len(layer.output.shape) - 1) or not inputs[0].shape:
        return None
    return _Each(layer, inputs, _LINEAR, affine(layer))


def _pool(layer: Any, inputs: Sequence[Range]) -> Rule | None:
    return _Each(layer, inputs) if _is_plain(inputs[0]) and inputs[0].spatial else None


def _zero_padded(layer: Any, inputs: Sequence[Range]) -> Rule | None:
    return _ZeroPadded(layer, inputs) if _is_plain(inputs[0]) else None


def _regrouped(layer: Any, inputs: Sequence[Range]) -> Rule | None:
    rule = _Regrouped(layer, inputs)
    return rule if rule.known else None


def _beside(layer: Any, inputs: Sequence[Range]) -> Rule | None:
    alike = len({(one.spatial, one.shape[:-1]) for one in inputs}) == 1 and inputs[0].shape
    last = layer.axis in (-1, len(layer.output.shape) - 1)
    return _Beside(layer, inputs) if alike and last else None


def _alike(inputs: Sequence[Range]) -> bool:
    return len({(one.spatial, one.shape) for one in inputs}) == 1 and _is_plain(inputs[0])


def _sum(layer: Any, inputs: Sequence[Range]) -> Rule | None:
    return _Sum(layer, inputs) if _alike(inputs) else None


def _product(layer: Any, inputs: Sequence[Range]) -> Rule | None:
    return _Product(layer, inputs) if _alike(inputs) and len(inputs) == 2 else None


_RULES: dict[type, Make] = {
    LogMel: _Spectrogram,
    layers.Normalization: _Standardized,
    layers.LSTM: _recurrent,
    layers.GRU: _recurrent,
    layers.Bidirectional: _recurrent,
    layers.LayerNormalization: _layer_norm,
    AutoPool: _Averaged,
    TemporalAttention: _Averaged,
    layers.Conv1D: _weighted,
    layers.Conv2D: _weighted,
    layers.Dense: _weighted,
    layers.Activation: _activation,
    layers.ReLU: _relu,
    layers.BatchNormalization: _batchnorm,
    layers.Dropout: _Each,
    layers.Identity: _Each,
    layers.MaxPooling1D: _pool,
    layers.MaxPooling2D: _pool,
    layers.AveragePooling2D: _pool,
    layers.GlobalAveragePooling1D: _pool,
    TemporalMaximum: _pool,
    FirstFrame: _pool,
    layers.ZeroPadding2D: _zero_padded,
    layers.Reshape: _regrouped,
    layers.Flatten: _regrouped,
    layers.Concatenate: _beside,
    layers.Add: _sum,
    layers.Multiply: _product,
}


def rule_of(layer: keras.layers.Layer, inputs: Sequence[Range]) -> Rule:
    """Find the rule of a layer whose inputs have these ranges."""
    if isinstance(layer, layers.InputLayer):
        return Source(layer, inputs)
    make = _RULES.get(type(layer))
    if make is None or getattr(layer, "data_format", None) == "channels_first":
        return Rule(layer, inputs)
    return make(layer, inputs) or Rule(layer, inputs)


def affine(batchnorm: keras.layers.BatchNormalization) -> tuple[Floats, Floats]:
    """Scale and offset of a BatchNorm with its moving statistics, one for each channel."""
    mean, variance = (
        np.asarray(ops.convert_to_numpy(x), np.float64)
        for x in (batchnorm.moving_mean, batchnorm.moving_variance)
    )
    scale = 1 / np.sqrt(variance + batchnorm.epsilon)
    if batchnorm.scale:
        scale = scale * ops.convert_to_numpy(batchnorm.gamma)
    offset = -mean * scale
    if batchnorm.center:
        offset = offset + ops.convert_to_numpy(batchnorm.beta)
    return scale, offset
