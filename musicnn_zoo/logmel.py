"""The log-mel spectrogram as a layer inside the graph, computed by Kapre where it can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import keras
import numpy as np
from keras import ops

from musicnn_zoo.config import LogMelInput
from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.library_caches import provide_library_caches

IMPLEMENTATIONS = ("kapre", "portable")
DECIBEL_FLOOR = 1e-10


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class LogMel(keras.layers.Layer):
    """Log-mel spectrogram of a batch of waveforms.

    Input ``(batch, samples)``, output ``(batch, frames, n_mels, channels)`` with one channel for
    each window. Without padding there
    are ``(samples - n_fft) // hop + 1`` frames, with it ``samples // hop + 1``.

    It has two implementations of the same numbers (equal to 1e-5 in the logarithm):

    ``kapre``
        Kapre's ``STFT`` → ``Magnitude``, squared, → ``ApplyFilterbank`` → logarithm, by fast
        Fourier transform. Needs Keras's TensorFlow backend, where it is the default.
    ``portable``
        The windowed Fourier basis as one convolution, squares added → mel filters →
        logarithm, in plain Keras operations: for the other backends, and for export, which
        does not get past Kapre's complex numbers.

    It is computed in float32 under every dtype policy, since neither Kapre's complex STFT nor
    ``10000 x`` of a loud spectrum fits float16.

    Parameters
    ----------
    sample_rate, n_fft, hop, n_mels, f_min, f_max, mel_scale, mel_norm, compression, \
    shorter_windows, padding
        As in :class:`musicnn_zoo.config.LogMelInput`.
    implementation : {"kapre", "portable"}, optional
        By default the first that the backend can run. A saved layer keeps only what was asked
        for, so a file saved under one backend loads under another.

    Raises
    ------
    ArgumentError
        If ``implementation`` is something else, or Kapre without the TensorFlow backend.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        n_fft: int = 512,
        hop: int = 256,
        n_mels: int = 96,
        f_min: float = 0.0,
        f_max: float = 8000.0,
        mel_scale: str = "slaney",
        mel_norm: str | None = "slaney",
        compression: str = "log10",
        shorter_windows: tuple[int, ...] = (),
        padding: str | None = None,
        implementation: str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.spectrogram = LogMelInput(
            sample_rate=sample_rate,
            n_fft=n_fft,
            hop=hop,
            n_mels=n_mels,
            f_min=f_min,
            f_max=f_max,
            mel_scale=mel_scale,  # type: ignore[arg-type]
            mel_norm=mel_norm,  # type: ignore[arg-type]
            compression=compression,  # type: ignore[arg-type]
            shorter_windows=shorter_windows,
            padding=padding,  # type: ignore[arg-type]
            normalization=None,
        )
        tensorflow = keras.backend.backend() == "tensorflow"
        if implementation not in (None, *IMPLEMENTATIONS):
            raise ArgumentError(
                f"implementation must be one of {', '.join(IMPLEMENTATIONS)} or None; "
                f"received {implementation!r}"
            )
        if implementation == "kapre" and not tensorflow:
            raise ArgumentError(
                "Kapre needs Keras's TensorFlow backend; received implementation='kapre' under "
                f"{keras.backend.backend()}: use 'portable'"
            )
        self.implementation = implementation
        self._uses_kapre = implementation == "kapre" or (implementation is None and tensorflow)

    @classmethod
    def from_input(cls, spectrogram: LogMelInput, **kwargs: Any) -> LogMel:
        """Layer of a configuration."""
        return cls(**_layer_options(spectrogram), **kwargs)

    def build(self, input_shape: Any) -> None:
        """Make the filters."""
        del input_shape
        make = self._kapre_mel if self._uses_kapre else self._portable_mel
        windows = (*self.spectrogram.shorter_windows, self.spectrogram.n_fft)
        self._mels = [(window, make(window)) for window in windows]
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
        if spectrogram.compression == "log10":
            return ops.log10(10000.0 * mel + 1.0)
        return 10.0 * ops.log10(ops.maximum(mel, DECIBEL_FLOOR))

    def _inner(self, waveform: Any, window: int) -> Any:
        """Cut off what a window shorter than ``n_fft`` must not see to be centred with it."""
        spare = self.spectrogram.n_fft - window
        before = spare // 2
        return waveform if spare == 0 else waveform[:, before : before - spare]

    def _kapre_mel(self, n_fft: int) -> Callable[[Any], Any]:
        provide_library_caches()
        import kapre

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

        def mel(waveform: Any) -> Any:
            channel = ops.expand_dims(waveform, -1)
            return filterbank(ops.square(magnitude(stft(channel))))

        return mel

    def _portable_mel(self, n_fft: int) -> Callable[[Any], Any]:
        provide_library_caches()
        from librosa.filters import mel as mel_filters

        spectrogram = self.spectrogram
        bins = n_fft // 2 + 1
        samples = np.arange(n_fft)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * samples / n_fft)
        phases = 2 * np.pi * np.outer(samples, np.arange(bins)) / n_fft
        basis = np.concatenate([np.cos(phases), np.sin(phases)], axis=1) * window[:, np.newaxis]
        kernel = basis[:, np.newaxis, :].astype(np.float32)
        filters = mel_filters(
            sr=spectrogram.sample_rate,
            n_fft=n_fft,
            n_mels=spectrogram.n_mels,
            fmin=spectrogram.f_min,
            fmax=spectrogram.f_max,
            htk=spectrogram.mel_scale == "htk",
            norm=spectrogram.mel_norm,
            dtype=np.float32,
        ).T

        def mel(waveform: Any) -> Any:
            parts = ops.conv(
                ops.expand_dims(waveform, -1),
                ops.convert_to_tensor(kernel),
                strides=spectrogram.hop,
                padding="valid",
                data_format="channels_last",
            )
            squares = ops.square(parts)
            power = squares[..., :bins] + squares[..., bins:]
            return ops.expand_dims(ops.matmul(power, ops.convert_to_tensor(filters)), -1)

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
            **_layer_options(self.spectrogram),
            "implementation": self.implementation,
        }


def _layer_options(spectrogram: LogMelInput) -> dict[str, Any]:
    options = asdict(spectrogram)
    options["shorter_windows"] = list(spectrogram.shorter_windows)
    del options["normalization"], options["bn_epsilon"]
    return options
