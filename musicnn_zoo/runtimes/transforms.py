"""Convolutions by transforms: the same sums by less arithmetic.

:class:`SpectralMaximum` is for wide filters along bands, :class:`WinogradConv2D` for small ones.
ONNX Runtime gains by both; TensorFlow, which runs their parts one by one, does not.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

_SPECTRAL_GAIN = 3
"""So many times less arithmetic must a convolution take by a transform, which moves more memory."""
_FILTERS_AT_ONCE = 48
"""What so many filters give fits into the cache of a core."""
_CHANNELS_FOR_WINOGRAD, _POSITIONS_FOR_WINOGRAD = 96, 1000
"""With fewer, the transforms cost what the convolution saves; and filters take twice the bytes."""
_TAPS, _TILE, _POINTS = 3, 4, (1, 2)
"""Of :class:`WinogradConv2D`: frames of a filter, frames of output at once, positive points."""


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class SpectralMaximum(layers.Layer):
    """Convolve a map of one channel with wide filters, and take the maximum over all bands.

    The convolution along bands is a product of Fourier transforms. The transform of the map is
    computed once for all filters, and those of the filters beforehand. The positions of a filter
    lie evenly around a middle one. At the positions m bands before and after it, the inverse
    transform is even part ± odd part; the larger of both is even part + ``|odd part|``. So half of
    the positions suffice for the maximum, and no more of the inverse transform is computed.

    The frequencies are odd multiples of half the first one: the convolution that belongs to them is
    circular with a change of sign, and the positions where a filter fits are free of that. They all
    have a real and an imaginary part.

    ``kernel_size`` is (frames, bands). Filters behind the first ``live`` have a kernel of zeros.
    """

    def __init__(
        self, filters: int, kernel_size: tuple[int, int], live: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.live = filters, live
        self.kernel_size: tuple[int, int] = (kernel_size[0], kernel_size[1])

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights: those of the convolution."""
        frames, bands = self.kernel_size
        self.bands = int(input_shape[2] or 0)
        self.kernel = self.add_weight(shape=(frames, bands, 1, self.filters), name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), name="bias")

    @cached_property
    def _frequencies(self) -> NDArray[np.float64]:
        half = (self.bands + 1) // 2
        found: NDArray[np.float64] = np.pi * (np.arange(half) + 0.5) / half
        return found

    def _filter_products(self) -> tuple[Any, Any]:
        """Real and imaginary part that a filter adds: (frequencies, filters, 2 * frames) each.

        The transform of a filter is turned so that its middle position is the first.
        """
        frames, width = self.kernel_size
        middle = (self.bands - width) / 2
        phases = np.outer(self._frequencies, np.arange(width) + middle)
        real, imaginary = (
            ops.tensordot(
                (turn(phases) / len(phases)).astype(np.float32),
                self.kernel[:, :, 0, : self.live],
                (1, 1),
            )
            for turn in (np.cos, np.sin)
        )
        both = (ops.stack(pair, 2) for pair in ((real, -imaginary), (imaginary, real)))
        first, second = (
            ops.transpose(ops.reshape(pair, (len(phases), 2 * frames, self.live)), (0, 2, 1))
            for pair in both
        )
        return first, second

    def call(self, x: Any) -> Any:
        """Return (batch, frames, 1, filters)."""
        frames, width = self.kernel_size
        omega = self._frequencies
        phases = np.outer(omega, np.arange(self.bands))
        transform = np.stack([np.cos(phases), -np.sin(phases)], 1).reshape(-1, self.bands)
        spectra = ops.matmul(transform.astype(np.float32), ops.transpose(x[..., 0], (0, 2, 1)))
        count = ops.shape(spectra)[2] - frames + 1
        spectra = ops.reshape(spectra, (-1, len(omega), 2, count + frames - 1))
        taps = ops.concatenate(
            [spectra[..., first : (first - frames + 1) or None] for first in range(frames)], axis=2
        )

        positions = self.bands - width + 1
        beside = np.arange(positions // 2 + positions % 2) + (1 - positions % 2) / 2
        even, odd = (turn(np.outer(beside, omega)).astype(np.float32) for turn in (np.cos, np.sin))
        reals, imaginaries = self._filter_products()
        maxima = []
        for start in range(0, self.live, _FILTERS_AT_ONCE):
            some = slice(start, min(start + _FILTERS_AT_ONCE, self.live))
            parts = [
                ops.matmul(
                    inverse,
                    ops.reshape(
                        ops.matmul(products[:, some], taps),
                        (-1, len(omega), (some.stop - start) * count),
                    ),
                )
                for inverse, products in ((even, reals), (odd, imaginaries))
            ]
            largest = ops.max(parts[0] + ops.abs(parts[1]), axis=1)
            maxima.append(ops.reshape(largest, (-1, some.stop - start, count)))
        found = ops.transpose(ops.concatenate(maxima, axis=1), (0, 2, 1))
        found = ops.pad(found, ((0, 0), (0, 0), (0, self.filters - self.live))) + self.bias
        return ops.expand_dims(found, 2)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (batch, frames, 1, filters)."""
        batch, frames, _, _ = input_shape
        count = None if frames is None else frames - self.kernel_size[0] + 1
        return (batch, count, 1, self.filters)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        own = {"filters": self.filters, "kernel_size": self.kernel_size, "live": self.live}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class WinogradConv2D(layers.Layer):
    """Convolve with filters of 3 frames by half of the multiplications along time.

    Four neighbouring frames of the output depend on six of the input. Both are taken for the
    coefficients of polynomials, whose product is known from its values at the points 0, 1, -1, 2,
    -2 and infinity: six products instead of twelve (Winograd 1980, "minimal filtering"; Lavin and
    Gray 2016, Fast Algorithms for Convolutional Neural Networks). So six convolutions of filters
    of one frame, each on a quarter of the frames, replace the one. Along bands it stays as it is:
    a transform of both axes would save more arithmetic, and lose it in moving memory.

    ``padding`` is "valid" or "same"; the input has a fixed number of frames.
    """

    def __init__(self, filters: int, padding: str, activation: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters, self.padding = filters, padding
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights: those of the convolution."""
        shape = (_TAPS, _TAPS, int(input_shape[3] or 0), self.filters)
        self.kernel = self.add_weight(shape=shape, name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), name="bias")

    def _kernels(self) -> tuple[Any, dict[int, Any], Any]:
        """Values of the filters' polynomials at zero, at the other points, and at infinity."""
        first, middle, last = (self.kernel[tap : tap + 1] for tap in range(_TAPS))
        at = {
            sign * point: (first + sign * point * middle + point**2 * last) * weight
            for point, weight in zip(_POINTS, (-1 / 6, 1 / 24), strict=True)
            for sign in (1, -1)
        }
        return first / 4, at, last

    def call(self, x: Any) -> Any:
        """Return (batch, frames, bands, filters)."""
        border = 1 if self.padding == "same" else 0
        frames = int(x.shape[1]) + 2 * border - (_TAPS - 1)
        tiles = -(-frames // _TILE)
        behind = tiles * _TILE + _TAPS - 1 - x.shape[1] - border
        x = ops.pad(x, ((0, 0), (border, behind), (0, 0), (0, 0)))
        d = [x[:, row : row + _TILE * (tiles - 1) + 1 : _TILE] for row in range(6)]

        def convolved(values: Any, kernel: Any) -> Any:
            return ops.conv(values, kernel, padding=self.padding)

        zero, kernels, infinity = self._kernels()
        y = [convolved(4 * d[0] - 5 * d[2] + d[4], zero), 0, 0]
        y.append(convolved(4 * d[1] - 5 * d[3] + d[5], infinity))
        for point, other in zip(_POINTS, reversed(_POINTS), strict=True):
            even = d[4] - other**2 * d[2]
            odd = point * (d[3] - other**2 * d[1])
            right = convolved(even + odd, kernels[point])
            left = convolved(even - odd, kernels[-point])
            if point == 1:
                right = right + self.bias  # 1 to any power: so every row has it once
            for row, values in enumerate((right + left, right - left) * 2):
                y[row] = y[row] + point**row * values
        stacked = ops.stack(y, axis=2)
        found = ops.reshape(stacked, (-1, tiles * _TILE, stacked.shape[3], self.filters))
        return self.activation(found[:, :frames])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (batch, frames, bands, filters)."""
        batch, frames, bands, _ = input_shape
        less = 0 if self.padding == "same" else _TAPS - 1
        return (batch, *(None if n is None else n - less for n in (frames, bands)), self.filters)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        activation = keras.activations.serialize(self.activation)
        own = {"filters": self.filters, "padding": self.padding, "activation": activation}
        return {**super().get_config(), **own}


def spectral_saves(convolution: keras.layers.Layer, pool: keras.layers.Layer) -> bool:
    """Whether a :class:`SpectralMaximum` can replace both, and by far less arithmetic."""
    if not isinstance(convolution, layers.Conv2D):
        return False
    _, _, bands, channels = convolution.input.shape
    positions = convolution.output.shape[2]
    if (
        channels != 1
        or bands is None
        or (convolution.padding, convolution.strides, convolution.dilation_rate)
        != ("valid", (1, 1), (1, 1))
        or not convolution.use_bias
        or (pool.pool_size, pool.padding) != ((1, positions), "valid")
    ):
        return False
    frames, width = convolution.kernel_size
    direct = frames * width * positions
    transformed = 2 * bands * frames + bands * -(-positions // 2)
    return bool(direct > _SPECTRAL_GAIN * transformed)


def winograd_saves(convolution: keras.layers.Layer) -> bool:
    """Whether a :class:`WinogradConv2D` computes the same as a layer, and in less time."""
    if type(convolution) is not layers.Conv2D:
        return False
    _, frames, bands, channels = convolution.input.shape
    return (
        convolution.kernel_size == (_TAPS, _TAPS)
        and (convolution.strides, convolution.dilation_rate, convolution.groups)
        == ((1, 1), (1, 1), 1)
        and convolution.data_format == "channels_last"
        and convolution.use_bias
        and None not in (frames, bands)
        and frames * bands >= _POSITIONS_FOR_WINOGRAD
        and min(channels, convolution.filters) >= _CHANNELS_FOR_WINOGRAD
    )
