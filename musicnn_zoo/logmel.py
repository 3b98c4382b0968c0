"""The log-mel spectrogram as a layer inside the graph. The only file that knows Kapre."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from musicnn_zoo.config import LogMelInput


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class LogMel(keras.layers.Layer):
    """Log-mel spectrogram of a batch of waveforms.

    Input ``(batch, samples)``, output ``(batch, frames, n_mels, 1)`` with
    ``frames = (samples - n_fft) // hop + 1``: there is no padding. The chain is Kapre's
    ``STFT`` → ``Magnitude``, squared, → ``ApplyFilterbank`` (mel filters of librosa, Slaney
    scale and norm) → logarithm. It is computed in float32 under every dtype policy, since
    neither Kapre's complex STFT nor ``10000 x`` of a loud spectrum fits float16.

    Parameters
    ----------
    sample_rate, n_fft, hop, n_mels, f_min, f_max, compression
        As in :class:`musicnn_zoo.config.LogMelInput`.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        n_fft: int = 512,
        hop: int = 256,
        n_mels: int = 96,
        f_min: float = 0.0,
        f_max: float = 8000.0,
        compression: str = "log10",
        **kwargs: Any,
    ) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        import kapre

        self.sample_rate = sample_rate
        self.n_fft = n_fft
        self.hop = hop
        self.n_mels = n_mels
        self.f_min = f_min
        self.f_max = f_max
        self.compression = compression
        self.stft = kapre.STFT(
            n_fft=n_fft,
            hop_length=hop,
            input_data_format="channels_last",
            output_data_format="channels_last",
            dtype="float32",
            name="stft",
        )
        self.magnitude = kapre.Magnitude(dtype="float32", name="magnitude")
        self.filterbank = kapre.ApplyFilterbank(
            type="mel",
            filterbank_kwargs={
                "sample_rate": sample_rate,
                "n_freq": n_fft // 2 + 1,
                "n_mels": n_mels,
                "f_min": f_min,
                "f_max": f_max,
                "htk": False,
                "norm": "slaney",
            },
            data_format="channels_last",
            dtype="float32",
            name="filterbank",
        )

    @classmethod
    def from_input(cls, spectrogram: LogMelInput, **kwargs: Any) -> LogMel:
        """Layer of a configuration."""
        return cls(
            sample_rate=spectrogram.sample_rate,
            n_fft=spectrogram.n_fft,
            hop=spectrogram.hop,
            n_mels=spectrogram.n_mels,
            f_min=spectrogram.f_min,
            f_max=spectrogram.f_max,
            compression=spectrogram.compression,
            **kwargs,
        )

    def call(self, waveform: Any) -> Any:
        """Compute the spectrogram of ``(batch, samples)``."""
        power = ops.square(self.magnitude(self.stft(ops.expand_dims(waveform, -1))))
        mel = self.filterbank(power)
        if self.compression == "log10":
            return ops.log10(10000.0 * mel + 1.0)
        return 10.0 * ops.log10(ops.maximum(mel, 1e-10))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return ``(batch, frames, n_mels, 1)``."""
        batch, samples = input_shape
        frames = None if samples is None else (samples - self.n_fft) // self.hop + 1
        return (batch, frames, self.n_mels, 1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "sample_rate": self.sample_rate,
            "n_fft": self.n_fft,
            "hop": self.hop,
            "n_mels": self.n_mels,
            "f_min": self.f_min,
            "f_max": self.f_max,
            "compression": self.compression,
        }
