"""Drop channels that are constant whatever is played, and keep what a model computes.

Training with a penalty on weights leaves filters of zero, and ReLUs that are never on. What they
give is the same number at every moment of every recording, so the layers that follow can have it
once and for all: in the bias of a dense layer or of a convolution without padding, and otherwise
as one more channel of ones, which ends where the map ends, as the constants did.

Which channels these are is not taken from recordings, but proved from the weights, in three steps.

1. Forwards: between which values does every channel lie, for any waveform? Every channel has a
   centre and a radius ("interval arithmetic"); the log-mel is bounded since its waveform is.
2. Backwards: by how much can a score change if a channel changes by one? At most by the sum of the
   absolute weights that lead there (a Lipschitz constant).
3. A channel of radius zero is dropped. So are channels whose radius times that sum is small, as
   long as all of them together move no score by more than the tolerance.

Moore, Kearfott, Cloud. "Introduction to Interval Analysis." SIAM, 2009. Gouk, Frank, Pfahringer,
Cree. "Regularisation of neural networks by enforcing Lipschitz continuity." Machine Learning 110,
2021.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from musicnn_zoo.networks.backends import AutoPool, FirstFrame, TemporalAttention, TemporalMaximum
from musicnn_zoo.networks.build import finish_normalization
from musicnn_zoo.networks.config import LogMelInput
from musicnn_zoo.networks.logmel import LogMel
from musicnn_zoo.networks.mel import DECIBEL_FLOOR, hann, mel_filters
from musicnn_zoo.networks.registry import PACKAGE

TOLERANCE = 1e-5
"""By how much all dropped channels together may move a score."""
BLOCK = 16
"""So many channels runtimes compute and pool at once."""
LOUDEST = 10.0
"""Largest absolute sample that the bounds hold for: 20 dB above full scale."""

_TINY = 1e-5
"""Part of its largest value by which a layer that is kept may differ for a dropped channel."""
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


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
        there = (places >= 0).astype(np.float32)
        constants = np.array(self.constants, np.float32)
        if (np.diff(places) != 1).any() or places[0] != 0 or len(places) != x.shape[-1]:
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


@dataclass(frozen=True)
class Pruned:
    """A model without the channels that are constant.

    Parameters
    ----------
    model : keras.Model
        Its output is that of the whole model, or, if layers were to be kept, a dictionary of
        ``output`` and of their outputs by name, which have all channels.
    bound : float
        No score differs by more than that from the whole model's, for any waveform of samples in
        ±10, but for rounding.
    filters : dict of str to (int, int)
        How many filters of each convolution and dense layer are left, and of how many.
    """

    model: keras.Model
    bound: float
    filters: dict[str, tuple[int, int]]


def prune(
    model: keras.Model,
    *,
    keep: Collection[str] = (),
    tolerance: float = TOLERANCE,
    block: int = BLOCK,
) -> Pruned:
    """Copy a functional model without the channels that are constant; see the module.

    Parameters
    ----------
    model : keras.Model
        Of one input.
    keep : collection of str
        Layers whose outputs keep all their channels, filled up with their constants.
    tolerance : float
        By how much a score may differ.
    block : int
        The filters that are left of a convolution are a multiple of it, as runtimes compute so
        many at once.
    """
    nodes = _nodes_of(model)
    ranges: dict[int, _Range] = {}
    for node in nodes:
        ranges[node.output] = node.rule.range_of([ranges[one] for one in node.inputs])
    outputs = [id(one) for one in keras.tree.flatten(model.output)]
    gains = _gains(nodes, ranges, outputs)
    kept = [id(model.get_layer(name).output) for name in keep]
    needed, bound = _needed(nodes, ranges, gains, outputs, kept, tolerance)
    _complete(nodes, needed, block)
    return _rebuilt(model, nodes, ranges, needed, keep, bound, block)


@dataclass(frozen=True)
class _Range:
    """Where the values of a tensor lie: one centre and radius for each unit.

    A unit is what is dropped or stays: a channel, or, where no time is left, one number of a
    vector. The first ``spatial`` axes after the batch are positions, ``shape`` are the others.
    """

    spatial: int
    shape: tuple[int, ...]
    centre: Floats
    radius: Floats

    def of(self, low: Floats, high: Floats) -> _Range:
        centre, radius = _around(low, high)
        return _Range(self.spatial, self.shape, centre, radius)

    @property
    def low(self) -> Floats:
        return self.centre - self.radius

    @property
    def high(self) -> Floats:
        return self.centre + self.radius

    @property
    def constant(self) -> Flags:
        return self.radius == 0

    @property
    def almost_constant(self) -> Flags:
        """Which units move by a tiny part of what the largest of all is at least."""
        largest = float((np.abs(self.centre) - self.radius).max())
        return self.radius <= max(largest, 0) * _TINY


@dataclass(frozen=True)
class _Part:
    """A tensor of the pruned model, and which units of the whole one its channels are.

    A unit of -1 is none of them, but 1 everywhere.
    """

    tensor: Any
    units: NDArray[np.intp]

    @property
    def named(self) -> NDArray[np.intp]:
        """Where the channels are that are units of the whole tensor."""
        return np.flatnonzero(self.units >= 0)


def _around(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Centre and radius; of an interval without end, zero and infinity."""
    endless = ~np.isfinite(high - low)
    low, high = np.where(endless, 0, low), np.where(endless, 0, high)
    radius = np.where(endless, np.inf, (high - low) / 2)
    return np.where(low == high, low, (high + low) / 2), radius


def _times(weights: Floats, values: Floats) -> Floats:
    """Matrix product of numbers that are not negative, of which some are infinite; 0 x inf = 0."""
    endless = np.isinf(values)
    product = weights @ np.where(endless, 0, values)
    if endless.any():
        product[((weights > 0).astype(float) @ endless) > 0] = np.inf
    return product


class _Rule:
    """What a kind of layer does to ranges, to gains and to the channels that are left.

    This one is for any layer that nothing else is known of: it gets all its channels, and may give
    anything.
    """

    def __init__(self, layer: keras.layers.Layer) -> None:
        self.layer = layer
        self.output = tuple(layer.output.shape)[1:]

    def range_of(self, inputs: Sequence[_Range]) -> _Range:
        del inputs
        units = self.output[-1] or 1
        centre, radius = self._anything(units)
        return _Range(len(self.output) - 1, (units,), centre, radius)

    def _anything(self, units: int) -> tuple[Floats, Floats]:
        return np.zeros(units), np.full(units, np.inf)

    def gains(self, inputs: Sequence[_Range], after: Floats) -> list[Floats]:
        """How much outputs of the model change with each unit of each input: (units, outputs)."""
        return [np.full((len(one.centre), after.shape[1]), np.inf) for one in inputs]

    def needs(
        self, inputs: Sequence[_Range], needed: Flags, may_drop: Sequence[Flags]
    ) -> list[Flags]:
        """Which units of each input are needed, if those units of the output are."""
        del inputs, needed
        return [~each for each in may_drop]

    def rebuild(
        self, inputs: Sequence[_Range], parts: Sequence[_Part], needed: Flags, name: str, block: int
    ) -> _Part:
        """Put the layer on what is left of its inputs."""
        del needed
        whole = [
            _filled(part, one, f"{name}_input{number}")
            for number, (part, one) in enumerate(zip(parts, inputs, strict=True))
        ]
        copy = _copied(self.layer, name)
        given = keras.tree.pack_sequence_as(self.layer.input, whole)
        if isinstance(self.layer, layers.MultiHeadAttention):
            tensor = copy(*given)
        else:
            tensor = copy(given)
        copy.set_weights(self.layer.get_weights())
        return _Part(tensor, np.arange(self.output[-1] or 1))


class _Source(_Rule):
    """The input of the model."""

    def range_of(self, inputs: Sequence[_Range]) -> _Range:
        del inputs
        if len(self.output) == 1:  # a waveform
            return _Range(1, (), np.zeros(1), np.full(1, LOUDEST))
        return super().range_of([])


class _Spectrogram(_Rule):
    """A log-mel: power of a band is at most what a waveform of the loudest samples can have."""

    def _anything(self, units: int) -> tuple[Floats, Floats]:
        spectrogram: LogMelInput = self.layer.spectrogram
        windows = (*spectrogram.shorter_windows, spectrogram.n_fft)
        power = np.array([
            mel_filters(spectrogram, window).sum(axis=0, dtype=np.float64).max()
            * (LOUDEST * hann(window).sum()) ** 2
            for window in windows
        ])  # fmt: skip
        # A percent more for the rounding of the Fourier transform and of the filters.
        if spectrogram.compression == "log10":
            return _around(np.zeros(units), np.log10(1.01e4 * power + 1))
        floor = np.full(units, DECIBEL_FLOOR)
        return _around(10 * np.log10(floor), 10 * np.log10(np.maximum(1.01 * power, floor)))


class _Standardized(_Rule):
    """A ``Normalization`` of the bands."""

    def range_of(self, inputs: Sequence[_Range]) -> _Range:
        (given,) = inputs
        mean, variance = (
            np.ravel(ops.convert_to_numpy(one)) for one in (self.layer.mean, self.layer.variance)
        )
        ends = np.stack([given.low, given.high])[..., np.newaxis]
        found = (ends - mean) / np.maximum(np.sqrt(variance), keras.config.epsilon())
        return given.of(found.min(axis=(0, 2)), found.max(axis=(0, 2)))


class _Bounded(_Rule):
    """A recurrent layer, whose states are in ±1."""

    def _anything(self, units: int) -> tuple[Floats, Floats]:
        return np.zeros(units), np.ones(units)


class _LayerNorm(_Rule):
    """Values of mean 0 and variance 1, one of which is at most the root of their number."""

    def _anything(self, units: int) -> tuple[Floats, Floats]:
        gamma, beta = (
            np.asarray(ops.convert_to_numpy(one), np.float64)
            for one in (self.layer.gamma, self.layer.beta)
        )
        return beta, np.abs(gamma) * np.sqrt(units)


class _Averaged(_Rule):
    """A mean over time with weights that come of the features: AutoPool and attention."""

    def range_of(self, inputs: Sequence[_Range]) -> _Range:
        (given,) = inputs
        radius = given.radius + self._positions
        return _Range(0, given.shape, given.centre, radius)

    @property
    def _positions(self) -> float:
        return float(getattr(self.layer, "positions", False))

    def gains(self, inputs: Sequence[_Range], after: Floats) -> list[Floats]:
        # Of c = sum_t a_t h_t with a = softmax(e): dc = sum_t a_t dh_t + sum_t a_t (h_t - c) de_t,
        # and no h_t - c is larger than twice the radius of h.
        (given,) = inputs
        spread = 2 * (given.radius + self._positions)[:, np.newaxis]
        with np.errstate(invalid="ignore"):
            moved = np.where(after == 0, 0, spread * after)
        if isinstance(self.layer, AutoPool):
            sharpness = np.abs(ops.convert_to_numpy(self.layer.alpha))[:, np.newaxis]
            return [after + np.where(sharpness == 0, 0, sharpness * moved)]
        kernel = np.abs(np.asarray(ops.convert_to_numpy(self.layer.kernel), np.float64)).sum(0)
        if kernel.shape[1] == 1:
            moved = moved.sum(axis=0, keepdims=True)
        return [after + _times(kernel, moved)]


@dataclass(frozen=True)
class _Curve:
    """A function of one number that rises, and how steep it is at most."""

    of: Callable[[Floats], Floats]
    steepest: float = 1.0


_CURVES = {
    "linear": _Curve(lambda x: x),
    "relu": _Curve(lambda x: np.maximum(x, 0)),
    "tanh": _Curve(np.tanh),
    "sigmoid": _Curve(lambda x: 0.5 * (1 + np.tanh(x / 2)), 0.25),
}


class _Each(_Rule):
    """A layer that treats every channel alone: ``curve(scale * x + offset)``, or a pool of it."""

    def __init__(
        self,
        layer: keras.layers.Layer,
        curve: _Curve = _CURVES["linear"],
        scale: Floats | None = None,
        offset: Floats | None = None,
    ) -> None:
        super().__init__(layer)
        self.curve, self.scale, self.offset = curve, scale, offset

    def _channels(self, given: _Range) -> NDArray[np.intp]:
        """Which channel of the last axis a unit belongs to."""
        return np.arange(len(given.centre)) % given.shape[-1]

    def range_of(self, inputs: Sequence[_Range]) -> _Range:
        (given,) = inputs
        centre, radius = given.centre, given.radius
        if self.scale is not None and self.offset is not None:
            channels = self._channels(given)
            scale = self.scale[channels]
            centre = centre * scale + self.offset[channels]
            radius = np.where(scale == 0, 0, radius) * np.abs(scale)
        low, high = self.curve.of(centre - radius), self.curve.of(centre + radius)
        spatial = len(self.output) - len(given.shape)
        return _Range(spatial, given.shape, *_around(low, high))

    def gains(self, inputs: Sequence[_Range], after: Floats) -> list[Floats]:
        (given,) = inputs
        found = after * self.curve.steepest
        if self.scale is None:
            return [found]
        scale = np.abs(self.scale[self._channels(given)])[:, np.newaxis]
        return [np.where(scale == 0, 0, scale * found)]

    def needs(
        self, inputs: Sequence[_Range], needed: Flags, may_drop: Sequence[Flags]
    ) -> list[Flags]:
        (given,) = inputs
        return [needed & ~given.constant]

    def rebuild(
        self, inputs: Sequence[_Range], parts: Sequence[_Part], needed: Flags, name: str, block: int
    ) -> _Part:
        (given,), (part,) = inputs, parts
        if self.curve.of(np.ones(1)) != 1 and (part.units < 0).any():
            units = part.units[part.named]
            part = _Part(_filled(part, given, f"{name}_input", units), units)
        changes = {}
        if isinstance(self.layer, layers.BatchNormalization):
            changes["axis"] = -1
        copy = _copied(self.layer, name, **changes)
        tensor = copy(part.tensor)
        if isinstance(self.layer, layers.BatchNormalization):
            channels = self._channels(given)[part.units]
            values = _weights_of(self.layer, channels)
            for name, one in _weights_of_identity(self.layer.epsilon).items():
                if name in values:
                    values[name][part.units < 0] = one
            for name, value in values.items():
                getattr(copy, name).assign(value)
        return _Part(tensor, part.units)


class _Padded(_Each):
    """Zeros around: where a channel was constant, it is no longer, but for zero."""

    def range_of(self, inputs: Sequence[_Range]) -> _Range:
        found = super().range_of(inputs)
        return found.of(np.minimum(found.low, 0), np.maximum(found.high, 0))

    def needs(
        self, inputs: Sequence[_Range], needed: Flags, may_drop: Sequence[Flags]
    ) -> list[Flags]:
        return [needed]

    def rebuild(
        self, inputs: Sequence[_Range], parts: Sequence[_Part], needed: Flags, name: str, block: int
    ) -> _Part:
        (given,), (part,) = inputs, parts
        units = np.flatnonzero(needed)
        tensor = _filled(part, given, f"{name}_input", units)
        return _Part(_copied(self.layer, name)(tensor), units)


class _Weighted(_Rule):
    """A convolution or a dense layer, with its activation."""

    def __init__(self, layer: keras.layers.Layer, curve: _Curve) -> None:
        super().__init__(layer)
        self.curve = curve
        kernel, *bias = layer.get_weights()
        self.kernel = np.asarray(kernel, np.float64)
        self.bias = np.asarray(bias[0] if bias else np.zeros(kernel.shape[-1]), np.float64)
        sizes = kernel.shape[:-2]
        self.padded = getattr(layer, "padding", "valid") != "valid" and max(sizes, default=1) > 1
        self.taps = self.kernel.reshape(-1, *kernel.shape[-2:])
        self.strength = np.abs(self.taps).sum(axis=0)

    def range_of(self, inputs: Sequence[_Range]) -> _Range:
        (given,) = inputs
        low, high = given.low, given.high
        if self.padded:
            low, high = np.minimum(low, 0), np.maximum(high, 0)
        centre, radius = _around(low, high)
        middle = centre @ self.taps.sum(axis=0) + self.bias
        reach = _times(self.strength.T, radius)
        ends = self.curve.of(middle - reach), self.curve.of(middle + reach)
        return _Range(len(self.output) - 1, self.bias.shape, *_around(*ends))

    def gains(self, inputs: Sequence[_Range], after: Floats) -> list[Floats]:
        del inputs
        return [_times(self.strength, after * self.curve.steepest)]

    def needs(
        self, inputs: Sequence[_Range], needed: Flags, may_drop: Sequence[Flags]
    ) -> list[Flags]:
        return [~each for each in may_drop]

    def rebuild(
        self, inputs: Sequence[_Range], parts: Sequence[_Part], needed: Flags, name: str, block: int
    ) -> _Part:
        (given,), (part,) = inputs, parts
        units = np.flatnonzero(needed)
        gone = np.setdiff1d(np.arange(len(given.centre)), part.units)
        kernel, bias = self.kernel[..., part.units, :][..., units], self.bias[units]
        kernel[..., part.units < 0, :] = 0
        constants = np.tensordot(given.centre[gone], self.kernel[..., gone, :], (0, -2))[..., units]
        tensor = part.tensor
        if self.padded and constants.any():
            ones = np.flatnonzero(part.units < 0)
            if len(ones):
                kernel[..., ones[0], :] = constants
            else:
                tensor = WithOnes(name=f"{name}_ones")(tensor)
                kernel = np.concatenate([kernel, constants[..., np.newaxis, :]], axis=-2)
        else:
            bias = bias + constants.reshape(-1, len(units)).sum(axis=0)
        size = "units" if isinstance(self.layer, layers.Dense) else "filters"
        spare = self._spare(len(units), block)
        copy = _copied(self.layer, name, use_bias=True, **{size: len(units) + spare})
        tensor = copy(tensor)
        kernel = np.pad(kernel, [(0, 0)] * (kernel.ndim - 1) + [(0, spare)])
        bias = np.pad(bias, (0, spare), constant_values=1)
        copy.set_weights([kernel.astype(np.float32), bias.astype(np.float32)])
        return _Part(tensor, np.pad(units, (0, spare), constant_values=-1))

    def _spare(self, left: int, block: int) -> int:
        """How many filters of ones fill up the last block; there should be one at least."""
        if isinstance(self.layer, layers.Dense) or self.curve.of(np.ones(1)) != 1 or block == 1:
            return 0
        return -(left + 1) % block + 1 if left < len(self.bias) else 0


class _Mixed(_Rule):
    """A softmax of the scores: no score changes with another by more than a quarter."""

    def range_of(self, inputs: Sequence[_Range]) -> _Range:
        (given,) = inputs
        return given.of(np.zeros_like(given.centre), np.ones_like(given.centre))

    def gains(self, inputs: Sequence[_Range], after: Floats) -> list[Floats]:
        quarter = np.full((len(after), len(after)), 0.25)
        return [_times(quarter, after)]


class _Regrouped(_Rule):
    """A change of shape in which positions may become units."""

    def __init__(self, layer: keras.layers.Layer, given: _Range) -> None:
        super().__init__(layer)
        before, spatial = tuple(layer.input.shape)[1:], 0
        while (
            spatial < min(given.spatial, len(self.output))
            and before[spatial] == self.output[spatial]
        ):
            spatial += 1
        self.spatial = spatial
        self.shape = tuple(self.output[spatial:])
        merged = before[spatial : given.spatial]
        self.known = None not in (*merged, *self.shape)
        self.groups = int(np.prod(merged)) if self.known else 0

    def range_of(self, inputs: Sequence[_Range]) -> _Range:
        (given,) = inputs
        centre, radius = (np.tile(one, self.groups) for one in (given.centre, given.radius))
        return _Range(self.spatial, self.shape, centre, radius)

    def gains(self, inputs: Sequence[_Range], after: Floats) -> list[Floats]:
        (given,) = inputs
        return [after.reshape(self.groups, len(given.centre), -1).sum(axis=0)]

    def needs(
        self, inputs: Sequence[_Range], needed: Flags, may_drop: Sequence[Flags]
    ) -> list[Flags]:
        (given,) = inputs
        return [needed.reshape(self.groups, -1).any(axis=0) & ~given.constant]

    def rebuild(
        self, inputs: Sequence[_Range], parts: Sequence[_Part], needed: Flags, name: str, block: int
    ) -> _Part:
        (given,), (part,) = inputs, parts
        groups = np.arange(self.groups)[:, np.newaxis] * len(given.centre)
        units = np.where(part.units < 0, -1, groups + part.units).ravel()
        positions = tuple(size or -1 for size in self.output[: self.spatial])
        shape = (*positions, len(units)) if given.shape else (*positions, 1)
        return _Part(layers.Reshape(shape, name=name)(part.tensor), units)


class _Beside(_Rule):
    """Features side by side."""

    def _sizes(self, inputs: Sequence[_Range]) -> list[NDArray[np.intp]]:
        """Where the units of each input are in the output."""
        numbers = np.arange(sum(len(one.centre) for one in inputs))
        rows = numbers.reshape(*inputs[0].shape[:-1], -1)
        ends = np.cumsum([one.shape[-1] for one in inputs])[:-1]
        return [each.ravel() for each in np.split(rows, ends, axis=-1)]

    def range_of(self, inputs: Sequence[_Range]) -> _Range:
        places = self._sizes(inputs)
        centre = np.zeros(sum(map(len, places)))
        radius = centre.copy()
        for place, one in zip(places, inputs, strict=True):
            centre[place], radius[place] = one.centre, one.radius
        first = inputs[0]
        shape = (*first.shape[:-1], sum(one.shape[-1] for one in inputs))
        return _Range(first.spatial, shape, centre, radius)

    def gains(self, inputs: Sequence[_Range], after: Floats) -> list[Floats]:
        return [after[place] for place in self._sizes(inputs)]

    def needs(
        self, inputs: Sequence[_Range], needed: Flags, may_drop: Sequence[Flags]
    ) -> list[Flags]:
        places = self._sizes(inputs)
        return [needed[place] & ~one.constant for place, one in zip(places, inputs, strict=True)]

    def rebuild(
        self, inputs: Sequence[_Range], parts: Sequence[_Part], needed: Flags, name: str, block: int
    ) -> _Part:
        places = self._sizes(inputs)
        units = [
            np.where(part.units < 0, -1, place[part.units])
            for place, part in zip(places, parts, strict=True)
        ]
        copy = _copied(self.layer, name, axis=-1)
        return _Part(copy([part.tensor for part in parts]), np.concatenate(units))


class _Together(_Rule):
    """Sums and products of features, channel by channel."""

    def range_of(self, inputs: Sequence[_Range]) -> _Range:
        first, *others = inputs
        low, high = first.low, first.high
        for one in others:
            if isinstance(self.layer, layers.Add):
                low, high = low + one.low, high + one.high
                continue
            with np.errstate(invalid="ignore"):
                ends = [a * b for a in (low, high) for b in (one.low, one.high)]
            low, high = np.min(ends, axis=0), np.max(ends, axis=0)
        return first.of(low, high)

    def gains(self, inputs: Sequence[_Range], after: Floats) -> list[Floats]:
        if isinstance(self.layer, layers.Add):
            return [after] * len(inputs)
        found = []
        for number in range(len(inputs)):
            others = [one for index, one in enumerate(inputs) if index != number]
            most = np.prod([np.maximum(abs(one.low), abs(one.high)) for one in others], axis=0)
            with np.errstate(invalid="ignore"):
                gain = after * most[:, np.newaxis]
            gain[(after == 0) | (most == 0)[:, np.newaxis]] = 0
            found.append(gain)
        return found

    def needs(
        self, inputs: Sequence[_Range], needed: Flags, may_drop: Sequence[Flags]
    ) -> list[Flags]:
        return [needed & ~one.constant for one in inputs]

    def rebuild(
        self, inputs: Sequence[_Range], parts: Sequence[_Part], needed: Flags, name: str, block: int
    ) -> _Part:
        units = np.unique(np.concatenate([part.units[part.named] for part in parts]))
        tensors = [
            _filled(part, one, f"{name}_input{number}", units)
            for number, (part, one) in enumerate(zip(parts, inputs, strict=True))
        ]
        return _Part(_copied(self.layer, name)(tensors), units)


def _copied(layer: keras.layers.Layer, name: str, **changes: Any) -> keras.layers.Layer:
    return type(layer).from_config({**layer.get_config(), "name": name, **changes})


def _filled(part: _Part, whole: _Range, name: str, units: NDArray[np.intp] | None = None) -> Any:
    """Put constants where units are missing; by default all of them are wanted, in their shape."""
    wanted = np.arange(len(whole.centre)) if units is None else units
    shape = whole.shape if units is None else (len(units),)
    if np.array_equal(wanted, part.units) and len(shape) < 2:
        return part.tensor
    places = np.full(len(whole.centre), -1)
    places[part.units[part.named]] = part.named
    constants = np.where(places < 0, whole.centre, 0)
    return WithConstants(
        places[wanted].tolist(), constants[wanted].tolist(), list(shape), name=name
    )(part.tensor)


@dataclass
class _Node:
    """A layer as it is called in the model: its rule, and the tensors before and after it."""

    layer: keras.layers.Layer
    inputs: list[int]
    output: int
    rule: _Rule


_POOLS = (
    layers.MaxPooling1D, layers.MaxPooling2D, layers.AveragePooling1D, layers.AveragePooling2D,
    layers.GlobalAveragePooling1D, layers.GlobalMaxPooling1D, TemporalMaximum, FirstFrame,
)  # fmt: skip
_FORMATTED = (layers.Conv1D, layers.Conv2D, *_POOLS)


def _nodes_of(model: keras.Model) -> list[_Node]:
    """Layers in an order in which every one comes after those before it."""
    nodes = []
    ranges: dict[int, _Range] = {}
    for layer in model.layers:
        source = isinstance(layer, layers.InputLayer)
        inputs = [] if source else [id(one) for one in keras.tree.flatten(layer.input)]
        rule = _rule_for(layer, [ranges[one] for one in inputs])
        node = _Node(layer, inputs, id(layer.output), rule)
        ranges[node.output] = rule.range_of([ranges[one] for one in inputs])
        nodes.append(node)
    return nodes


def _rule_for(layer: keras.layers.Layer, inputs: Sequence[_Range]) -> _Rule:
    if isinstance(layer, layers.InputLayer):
        return _Source(layer)
    rule = _RULES.get(type(layer), lambda *_: None)(layer, inputs)
    if getattr(layer, "data_format", None) == "channels_first":
        rule = None
    return rule or _Rule(layer)


Make = Callable[[keras.layers.Layer, Sequence[_Range]], _Rule | None]


def _curve(activation: Any) -> _Curve | None:
    return _CURVES.get(getattr(activation, "__name__", "linear"))


def _weighted(layer: Any, inputs: Sequence[_Range]) -> _Rule | None:
    curve = _curve(layer.activation)
    if curve is None or getattr(layer, "groups", 1) != 1 or len(inputs[0].shape) != 1:
        return None
    return _Weighted(layer, curve)


def _activation(layer: Any, inputs: Sequence[_Range]) -> _Rule | None:
    curve = _curve(layer.activation)
    if getattr(layer.activation, "__name__", "") == "softmax" and len(inputs[0].shape) == 1:
        return _Mixed(layer)
    return None if curve is None else _Each(layer, curve)


def _relu(layer: Any, inputs: Sequence[_Range]) -> _Rule | None:
    plain = layer.max_value is None and not layer.negative_slope and not layer.threshold
    return _Each(layer, _CURVES["relu"]) if plain else None


def _batchnorm(layer: Any, inputs: Sequence[_Range]) -> _Rule | None:
    if layer.axis not in (-1, len(layer.output.shape) - 1) or not inputs[0].shape:
        return None
    return _Each(layer, _CURVES["linear"], *affine(layer))


def _pool(layer: Any, inputs: Sequence[_Range]) -> _Rule | None:
    return _Each(layer) if len(inputs[0].shape) == 1 and inputs[0].spatial else None


def _same(layer: Any, inputs: Sequence[_Range]) -> _Rule | None:
    return _Each(layer)


def _padded(layer: Any, inputs: Sequence[_Range]) -> _Rule | None:
    return _Padded(layer) if len(inputs[0].shape) == 1 else None


def _regrouped(layer: Any, inputs: Sequence[_Range]) -> _Rule | None:
    rule = _Regrouped(layer, inputs[0])
    return rule if rule.known else None


def _beside(layer: Any, inputs: Sequence[_Range]) -> _Rule | None:
    first = inputs[0]
    alike = all(
        (one.spatial, one.shape[:-1]) == (first.spatial, first.shape[:-1]) and one.shape
        for one in inputs
    )
    last = layer.axis in (-1, len(layer.output.shape) - 1)
    return _Beside(layer) if alike and last else None


def _together(layer: Any, inputs: Sequence[_Range]) -> _Rule | None:
    first = inputs[0]
    alike = all((one.spatial, one.shape) == (first.spatial, first.shape) for one in inputs)
    return _Together(layer) if alike and len(first.shape) == 1 else None


_RULES: dict[type, Make] = {
    LogMel: lambda layer, _: _Spectrogram(layer),
    layers.Normalization: lambda layer, _: _Standardized(layer),
    layers.LSTM: lambda layer, _: _Bounded(layer),
    layers.GRU: lambda layer, _: _Bounded(layer),
    layers.Bidirectional: lambda layer, _: _Bounded(layer),
    layers.LayerNormalization: lambda layer, _: _LayerNorm(layer),
    AutoPool: lambda layer, _: _Averaged(layer),
    TemporalAttention: lambda layer, _: _Averaged(layer),
    layers.Conv1D: _weighted,
    layers.Conv2D: _weighted,
    layers.Dense: _weighted,
    layers.Activation: _activation,
    layers.ReLU: _relu,
    layers.BatchNormalization: _batchnorm,
    layers.Dropout: _same,
    layers.Identity: _same,
    layers.ZeroPadding1D: _padded,
    layers.ZeroPadding2D: _padded,
    **dict.fromkeys(_POOLS, _pool),
    layers.Reshape: _regrouped,
    layers.Flatten: _regrouped,
    layers.Concatenate: _beside,
    layers.Add: _together,
    layers.Multiply: _together,
}


def _gains(
    nodes: Sequence[_Node], ranges: dict[int, _Range], outputs: Sequence[int]
) -> dict[tuple[int, int], Floats]:
    """How much scores change with each unit, as a layer uses it: by node and number of input."""
    columns = sum(len(ranges[one].centre) for one in outputs)
    after = {node.output: np.zeros((len(ranges[node.output].centre), columns)) for node in nodes}
    start = 0
    for one in outputs:
        count = len(after[one])
        after[one][:, start : start + count] += np.eye(count)
        start += count
    uses = {}
    for index in range(len(nodes) - 1, -1, -1):
        node = nodes[index]
        found = node.rule.gains([ranges[one] for one in node.inputs], after[node.output])
        for number, (one, gain) in enumerate(zip(node.inputs, found, strict=True)):
            uses[index, number] = gain
            after[one] = after[one] + gain
    return uses


def _needed(
    nodes: Sequence[_Node],
    ranges: dict[int, _Range],
    gains: dict[tuple[int, int], Floats],
    outputs: Sequence[int],
    kept: Sequence[int],
    tolerance: float,
) -> tuple[dict[int, Flags], float]:
    """Which units of every tensor are needed, and by how much a score can change without others."""
    costs = {}
    for (index, number), gain in gains.items():
        radius = ranges[nodes[index].inputs[number]].radius[:, np.newaxis]
        with np.errstate(invalid="ignore"):
            cost = gain * radius
        cost[(gain == 0) | (radius == 0)] = 0
        costs[index, number] = cost

    def without(dearest: float) -> tuple[dict[int, Flags], float]:
        """Drop what costs at most so much."""
        needed = {node.output: np.zeros(len(ranges[node.output].centre), bool) for node in nodes}
        used: dict[int, list[tuple[int, int]]] = {}
        for one in outputs:
            needed[one] |= ~ranges[one].constant
        for one in kept:
            needed[one] |= ~ranges[one].almost_constant
        for index in range(len(nodes) - 1, -1, -1):
            node = nodes[index]
            if not needed[node.output].any():
                needed[node.output][0] = True
            inputs = [ranges[one] for one in node.inputs]
            may_drop = [
                costs[index, number].max(axis=1) <= dearest for number in range(len(inputs))
            ]
            found = node.rule.needs(inputs, needed[node.output], may_drop)
            for number, (one, each) in enumerate(zip(node.inputs, found, strict=True)):
                needed[one] |= each
                used.setdefault(one, []).append((index, number))
        total = np.zeros(1)
        for one, places in used.items():
            for place in places:
                if isinstance(nodes[place[0]].rule, _Each | _Regrouped | _Beside | _Together):
                    continue  # what they are asked for, they get
                total = total + costs[place][~needed[one]].sum(axis=0)
        return needed, float(total.max())

    levels = np.unique(np.concatenate([cost.max(axis=1) for cost in costs.values()]))
    levels = levels[levels <= tolerance]
    low, high = 0, len(levels)
    needed, bound = without(0.0)
    while low < high:
        middle = (low + high) // 2
        found, total = without(levels[middle])
        if total <= tolerance:
            needed, bound, low = found, total, middle + 1
        else:
            high = middle
    return needed, bound


def _complete(nodes: Sequence[_Node], needed: dict[int, Flags], block: int) -> None:
    """Keep all filters of a convolution if fewer with those of ones would be no less."""
    for node in nodes:
        if isinstance(node.rule, _Weighted):
            left = needed[node.output]
            count = int(left.sum())
            if count + node.rule._spare(count, block) >= len(left):
                left[:] = True


def _rebuilt(
    model: keras.Model,
    nodes: Sequence[_Node],
    ranges: dict[int, _Range],
    needed: dict[int, Flags],
    keep: Collection[str],
    bound: float,
    block: int,
) -> Pruned:
    parts: dict[int, _Part] = {}
    filters = {}
    whole: dict[str, Any] = {}
    ends = [id(one) for one in keras.tree.flatten(model.output)]
    source = keras.Input(
        batch_shape=model.input.shape, dtype=model.input.dtype, name=model.input.name
    )
    for node in nodes:
        name, one = node.layer.name, node.output
        if not node.inputs:
            parts[one] = _Part(source, np.arange(len(ranges[one].centre)))
            continue
        inputs = [ranges[each] for each in node.inputs]
        given = [parts[each] for each in node.inputs]
        wanted = name in keep or one in ends
        part = node.rule.rebuild(inputs, given, needed[one], name, block)
        if wanted and not _is_whole(part, ranges[one]):
            part = node.rule.rebuild(inputs, given, needed[one], f"{name}_left", block)
        parts[one] = part
        if wanted:
            whole[name] = _filled(part, ranges[one], name)
        if isinstance(node.rule, _Weighted):
            filters[name] = len(part.named), len(ranges[one].centre)
    names = {node.output: node.layer.name for node in nodes}
    output = keras.tree.map_structure(lambda one: whole[names[id(one)]], model.output)
    if keep:
        output = {"output": output} | {name: whole[name] for name in keep}
    pruned = keras.Model(source, output, name=model.name)
    finish_normalization(pruned)
    return Pruned(pruned, bound, filters)


def _is_whole(part: _Part, whole: _Range) -> bool:
    return len(whole.shape) < 2 and np.array_equal(part.units, np.arange(len(whole.centre)))


def _weights_of(
    batchnorm: keras.layers.BatchNormalization, channels: NDArray[np.intp]
) -> dict[str, NDArray[np.float32]]:
    names = ["moving_mean", "moving_variance"]
    names += [
        name for name, there in (("gamma", batchnorm.scale), ("beta", batchnorm.center)) if there
    ]
    return {
        name: np.array(ops.convert_to_numpy(getattr(batchnorm, name)))[channels] for name in names
    }


def _weights_of_identity(epsilon: float) -> dict[str, float]:
    """Weights with which a BatchNorm changes nothing."""
    return {"moving_mean": 0, "moving_variance": 1 - epsilon, "gamma": 1, "beta": 0}


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
