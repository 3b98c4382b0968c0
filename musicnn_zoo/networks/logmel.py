"""The log-mel spectrogram as a layer inside the graph, computed by Kapre where it is installed."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.machine.installation import provide_writable_caches
from musicnn_zoo.networks.config import LogMelInput
from musicnn_zoo.networks.mel import compress, hann, mel_filters

IMPLEMENTATIONS = ("kapre", "portable", "convolution", "products")
_MOST_BLOCKS = 64
_OPTIONS = {entry.name for entry in fields(LogMelInput)} - {"normalization", "bn_epsilon"}


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class LogMel(keras.layers.Layer):
    """Log-mel spectrogram of a batch of waveforms.

    Input ``(batch, samples)``, output ``(batch, frames, n_mels, channels)`` with one channel for
    each window. Without padding there are ``(samples - n_fft) // hop + 1`` frames, with it
    ``samples // hop + 1``.

    It has four implementations of the same numbers (equal to 5e-5 in the logarithm):

    ``kapre``
        Kapre's ``STFT`` → ``Magnitude``, squared, → ``ApplyFilterbank`` → logarithm. Needs Kapre
        and Keras's TensorFlow backend; the default where both are there.
    ``portable``
        ``keras.ops.stft``, squares added → mel filters → logarithm, on every backend: the
        default elsewhere. As fast as Kapre, a fast Fourier transform too.
    ``convolution``
        The windowed Fourier basis as one convolution in place of the transform, without complex
        numbers: for export, which does not get past them. As fast for a window of 512 samples,
        several times slower for one of 2048.
    ``products``
        The Fourier transform in two steps (Cooley and Tukey 1965), each a product of real matrices:
        for export, half the price of the convolution in ONNX Runtime, a fifth for a window of 2048
        samples. Where window and hop have no divisors for it, it is the convolution.

    It is computed in float32 under every dtype policy, since neither Kapre's complex STFT nor
    ``10000 x`` of a loud spectrum fits float16.

    Parameters
    ----------
    implementation : {"kapre", "portable", "convolution"}, optional
        By default the first that can run here. A saved layer keeps only what was asked
        for, so a file saved under one backend loads under another.
    spectrogram : LogMelInput, optional
        In place of the options.
    **options
        Those of :class:`musicnn_zoo.networks.config.LogMelInput`, except ``normalization`` and
        ``bn_epsilon``; and those of a Keras layer.

    Raises
    ------
    ArgumentError
        If ``implementation`` is something else, or Kapre where it cannot run.
    """

    def __init__(
        self,
        *,
        implementation: str | None = None,
        spectrogram: LogMelInput | None = None,
        **options: Any,
    ) -> None:
        given = {name: options.pop(name) for name in _OPTIONS & options.keys()}
        super().__init__(**{**options, "dtype": "float32"})
        self.spectrogram = spectrogram or LogMelInput(**given, normalization=None)
        backend = keras.backend.backend()
        if implementation not in (None, *IMPLEMENTATIONS):
            raise ArgumentError(
                f"implementation must be one of {', '.join(IMPLEMENTATIONS)} or None; "
                f"received {implementation!r}"
            )
        if implementation == "kapre" and backend != "tensorflow":
            raise ArgumentError(
                "Kapre needs Keras's TensorFlow backend; received implementation='kapre' under "
                f"{backend}: use 'portable'"
            )
        if implementation == "kapre" and not _kapre_is_installed():
            raise ArgumentError(
                "received implementation='kapre', and Kapre is not installed: use 'portable', or "
                "pip install kapre"
            )
        self.implementation = implementation
        usable = backend == "tensorflow" and _kapre_is_installed()
        self._chosen = implementation or ("kapre" if usable else "portable")

    @classmethod
    def from_input(cls, spectrogram: LogMelInput, **kwargs: Any) -> LogMel:
        """Layer of a configuration."""
        return cls(spectrogram=spectrogram, **kwargs)

    def build(self, input_shape: Any) -> None:
        """Make the filters."""
        del input_shape
        windows = (*self.spectrogram.shorter_windows, self.spectrogram.n_fft)
        self._mels = [(window, self._mel(window)) for window in windows]
        self.built = True

    def call(self, waveform: Any) -> Any:
        """Compute the spectrogram of ``(batch, samples)``."""
        spectrogram = self.spectrogram
        if spectrogram.padding is not None:
            margin = spectrogram.n_fft // 2
            waveform = ops.pad(waveform, ((0, 0), (margin, margin)), mode=spectrogram.padding)
        # Channels come last: ONNX Runtime takes long for a number times an array of one channel.
        channels = [
            compress(mel_power(self._inner(waveform, window)), spectrogram, ops)
            for window, mel_power in self._mels
        ]
        return ops.stack(channels, axis=-1)

    def _inner(self, waveform: Any, window: int) -> Any:
        """Cut off what a window shorter than ``n_fft`` must not see to be centred with it."""
        spare = self.spectrogram.n_fft - window
        before = spare // 2
        return waveform if spare == 0 else waveform[:, before : before - spare]

    def _mel(self, n_fft: int) -> Callable[[Any], Any]:
        """Return the function from waveforms to mel power for a window of ``n_fft`` samples.

        It returns (batch, frames, n_mels).
        """
        chosen = self._chosen
        if chosen == "kapre" and n_fft % 2:
            chosen = "portable"  # Kapre takes TensorFlow's window, which is not periodic then
        if chosen == "kapre":
            return self._kapre_mel(n_fft)
        factors = _factors(n_fft, self.spectrogram.hop)
        if chosen == "products" and factors is not None:
            return self._products_mel(*factors)
        make = self._portable_power if chosen == "portable" else self._convolution_power
        power = make(n_fft)
        filters = mel_filters(self.spectrogram, n_fft)

        def mel(waveform: Any) -> Any:
            return ops.matmul(power(waveform), ops.convert_to_tensor(filters))

        return mel

    def _kapre_mel(self, n_fft: int) -> Callable[[Any], Any]:
        kapre = _kapre()
        spectrogram = self.spectrogram
        stft = kapre.STFT(
            n_fft=n_fft,
            hop_length=spectrogram.hop,
            input_data_format="channels_last",
            output_data_format="channels_last",
            dtype="float32",
        )
        magnitude = kapre.Magnitude(dtype="float32")
        filterbank = kapre.ApplyFilterbank(
            type="mel",
            filterbank_kwargs={
                "sample_rate": spectrogram.sample_rate,
                "n_freq": n_fft // 2 + 1,
                "n_mels": spectrogram.n_mels,
                "f_min": spectrogram.f_min,
                "f_max": spectrogram.f_max,
                "htk": spectrogram.mel_scale == "htk",
                "norm": spectrogram.mel_norm,
            },
            data_format="channels_last",
            dtype="float32",
        )
        filterbank.filterbank = ops.cast(filterbank.filterbank, "float32")  # it is in floatx

        def mel(waveform: Any) -> Any:
            channel = ops.expand_dims(waveform, -1)
            return filterbank(ops.square(magnitude(stft(channel))))[..., 0]

        return mel

    def _portable_power(self, n_fft: int) -> Callable[[Any], Any]:
        hop, window = self.spectrogram.hop, hann(n_fft).astype(np.float32)

        def power(waveform: Any) -> Any:
            real, imaginary = ops.stft(waveform, n_fft, hop, n_fft, window=window, center=False)
            return ops.square(real) + ops.square(imaginary)

        return power

    def _convolution_power(self, n_fft: int) -> Callable[[Any], Any]:
        hop, bins = self.spectrogram.hop, n_fft // 2 + 1
        phases = 2 * np.pi * np.outer(np.arange(n_fft), np.arange(bins)) / n_fft
        basis = np.concatenate([np.cos(phases), np.sin(phases)], axis=1)
        kernel = (basis * hann(n_fft)[:, np.newaxis])[:, np.newaxis, :].astype(np.float32)

        def power(waveform: Any) -> Any:
            parts = ops.conv(
                ops.expand_dims(waveform, -1),
                ops.convert_to_tensor(kernel),
                strides=hop,
                padding="valid",
                data_format="channels_last",
            )
            squares = ops.square(parts)
            return squares[..., :bins] + squares[..., bins:]

        return power

    def _products_mel(self, rows: int, columns: int) -> Callable[[Any], Any]:
        """Return the function for a window of ``rows * columns`` samples.

        Sample ``n = columns * r + c`` of a frame stands in row r and column c. With
        ``w(m) = exp(-2 pi i m / n_fft)``, bin ``k = first + rows * second`` of the transform is::

            sum over c of  w(c k) * (sum over r of  w(columns * r * first) * x[r, c])

        The inner sum is of a real signal: ``first`` goes to half of ``rows``, and bins above half
        of ``n_fft`` stand for those below.
        """
        n_fft, hop = rows * columns, self.spectrogram.hop
        firsts, seconds = np.arange(rows // 2 + 1), np.arange(columns)
        bins = firsts[:, np.newaxis] + rows * seconds
        real, imaginary = _turns(np.outer(firsts, np.arange(rows)), rows)
        inner = np.stack([real, imaginary], 1).reshape(-1, rows)
        real, imaginary = _turns(seconds[:, np.newaxis] * bins[:, np.newaxis, :], n_fft)
        outer = np.block([[real, imaginary], [-imaginary, real]])

        bins = np.minimum(bins, n_fft - bins).ravel()
        _, once = np.unique(bins, return_index=True)
        filters = np.zeros((len(bins), self.spectrogram.n_mels), np.float32)
        filters[once] = mel_filters(self.spectrogram, n_fft)[bins[once]]
        window = hann(n_fft).astype(np.float32)

        def mel(waveform: Any) -> Any:
            frames = _frames(waveform, n_fft, hop) * window
            count = ops.shape(frames)[1]
            parts = ops.matmul(inner, ops.reshape(frames, (-1, rows, columns)))
            parts = ops.transpose(ops.reshape(parts, (-1, len(firsts), 2 * columns)), (1, 0, 2))
            squares = ops.square(ops.matmul(parts, outer))
            power = ops.transpose(squares[..., :columns] + squares[..., columns:], (1, 0, 2))
            bands = ops.matmul(ops.reshape(power, (-1, len(bins))), filters)
            return ops.reshape(bands, (-1, count, filters.shape[1]))

        return mel

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return ``(batch, frames, n_mels, channels)``."""
        batch, samples = input_shape
        spectrogram = self.spectrogram
        frames = None if samples is None else spectrogram.frames(samples)
        return (batch, frames, spectrogram.n_mels, len(spectrogram.shorter_windows) + 1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            **{name: getattr(self.spectrogram, name) for name in _OPTIONS},
            "shorter_windows": list(self.spectrogram.shorter_windows),
            "implementation": self.implementation,
        }


def _factors(n_fft: int, hop: int) -> tuple[int, int] | None:
    """Rows and columns of a window for the least arithmetic, if frames are made of few blocks."""
    if n_fft // math.gcd(n_fft, hop) > _MOST_BLOCKS:
        return None
    divisors = [rows for rows in range(2, n_fft) if n_fft % rows == 0]
    return min(
        ((rows, n_fft // rows) for rows in divisors),
        key=lambda sizes: (sizes[0] // 2 + 1) * (2 * n_fft + 4 * sizes[1] ** 2),
        default=None,
    )


def _turns(steps: NDArray[np.int64], whole: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Real and imaginary part of ``exp(-2 pi i steps / whole)``."""
    phases = -2 * np.pi * (steps % whole) / whole
    return np.cos(phases).astype(np.float32), np.sin(phases).astype(np.float32)


def _frames(waveform: Any, n_fft: int, hop: int) -> Any:
    """Cut (batch, samples) into (batch, frames, n_fft), in blocks that window and hop consist of.

    Far faster in ONNX Runtime than to gather samples.
    """
    size = math.gcd(n_fft, hop)
    batch, samples = ops.shape(waveform)
    count = samples // size
    # An end of a slice that is not known beforehand would become a float in ONNX, a length not.
    whole = ops.slice(waveform, (0, 0), (batch, count * size))
    blocks = ops.reshape(whole, (-1, count, size))
    needed, step = n_fft // size, hop // size
    return ops.concatenate(
        [blocks[:, first : (first - needed + 1) or None : step] for first in range(needed)],
        axis=-1,
    )


@cache
def _kapre_is_installed() -> bool:
    return importlib.util.find_spec("kapre") is not None


@cache
def _kapre() -> Any:
    provide_writable_caches()
    import kapre

    return kapre
