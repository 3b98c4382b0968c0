"""The log-mel spectrogram as a layer inside the graph, computed by Kapre where it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any

import keras
import numpy as np
from keras import ops

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.machine.installation import provide_writable_caches
from musicnn_zoo.networks.config import LogMelInput
from musicnn_zoo.networks.mel import compress, hann, mel_filters

IMPLEMENTATIONS = ("kapre", "portable", "convolution")
_OPTIONS = {entry.name for entry in fields(LogMelInput)} - {"normalization", "bn_epsilon"}


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class LogMel(keras.layers.Layer):
    """Log-mel spectrogram of a batch of waveforms.

    Input ``(batch, samples)``, output ``(batch, frames, n_mels, channels)`` with one channel for
    each window. Without padding there are ``(samples - n_fft) // hop + 1`` frames, with it
    ``samples // hop + 1``.

    It has three implementations of the same numbers (equal to 5e-5 in the logarithm):

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
        Those of :class:`musicnn_zoo.networks.config.LogMelInput`, but for ``normalization`` and
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
        mel = ops.concatenate(
            [mel_power(self._inner(waveform, window)) for window, mel_power in self._mels], axis=-1
        )
        return compress(mel, spectrogram, ops)

    def _inner(self, waveform: Any, window: int) -> Any:
        """Cut off what a window shorter than ``n_fft`` must not see to be centred with it."""
        spare = self.spectrogram.n_fft - window
        before = spare // 2
        return waveform if spare == 0 else waveform[:, before : before - spare]

    def _mel(self, n_fft: int) -> Callable[[Any], Any]:
        """Return the function from waveforms to mel power for a window of ``n_fft`` samples."""
        if self._chosen == "kapre":
            return self._kapre_mel(n_fft)
        make = self._portable_power if self._chosen == "portable" else self._convolution_power
        power = make(n_fft)
        filters = mel_filters(self.spectrogram, n_fft)

        def mel(waveform: Any) -> Any:
            bands = ops.matmul(power(waveform), ops.convert_to_tensor(filters))
            return ops.expand_dims(bands, -1)

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
            return filterbank(ops.square(magnitude(stft(channel))))

        return mel

    def _portable_power(self, n_fft: int) -> Callable[[Any], Any]:
        hop = self.spectrogram.hop

        def power(waveform: Any) -> Any:
            real, imaginary = ops.stft(waveform, n_fft, hop, n_fft, window="hann", center=False)
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


@cache
def _kapre_is_installed() -> bool:
    return importlib.util.find_spec("kapre") is not None


@cache
def _kapre() -> Any:
    provide_writable_caches()
    import kapre

    return kapre
