"""Mel bands in NumPy, and the log-mel spectrogram of a whole recording for the eye.

The same numbers as ``librosa.filters.mel`` and ``librosa.feature.melspectrogram``, without
librosa, whose compiler (Numba) is large and supports each new Python late.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.networks.config import LogMelInput
from musicnn_zoo.networks.patches import PatchGrid, PatchStream
from musicnn_zoo.sound.read import AudioStream

DECIBEL_FLOOR = 1e-10
"""Least mel power under ``compression="decibel"``."""

# Slaney's scale: linear below 1 kHz, 15 mels there; above it 27 mels for a factor of 6.4.
_SLANEY_HZ_PER_MEL = 200 / 3
_SLANEY_BREAK_HZ = 1000.0
_SLANEY_BREAK_MEL = _SLANEY_BREAK_HZ / _SLANEY_HZ_PER_MEL
_SLANEY_STEP = np.log(6.4) / 27


def mel_frequencies(n_mels: int, f_min: float, f_max: float, mel_scale: str) -> NDArray[np.float64]:
    """Return frequencies in Hz at equal distances on the mel scale, both ends included.

    Slaney. "Auditory Toolbox." Interval Research, 1998. Young et al. "The HTK Book", eq. 5.13.
    """
    ends = _to_mel(np.array([f_min, f_max], np.float64), mel_scale)
    return _to_hz(np.linspace(ends[0], ends[1], n_mels), mel_scale)


def mel_filters(spectrogram: LogMelInput, n_fft: int) -> NDArray[np.float32]:
    """Weights of the bins of a power spectrum in each mel band: overlapping triangles.

    For a window of ``n_fft`` samples they are (n_fft // 2 + 1, n_mels), float32. A band that lies
    between two bins is all zeros, as in librosa, which warns of it.
    """
    bins = np.linspace(0, spectrogram.sample_rate / 2, n_fft // 2 + 1)
    edges = mel_frequencies(
        spectrogram.n_mels + 2, spectrogram.f_min, spectrogram.f_max, spectrogram.mel_scale
    )
    widths = np.diff(edges)
    distances = edges[:, np.newaxis] - bins
    rising = -distances[:-2] / widths[:-1, np.newaxis]
    falling = distances[2:] / widths[1:, np.newaxis]
    filters = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    if spectrogram.mel_norm == "slaney":
        filters *= (2 / (edges[2:] - edges[:-2]))[:, np.newaxis]
    return np.ascontiguousarray(filters.T)


def log_mel(frames: NDArray[np.float32], spectrogram: LogMelInput) -> NDArray[np.float32]:
    """Log-mel (frames, n_mels), float32, of frames (frames, n_fft) that were cut already.

    The frames have no window yet; of several windows the longest counts.
    """
    spectrum = np.fft.rfft(frames * hann(spectrogram.n_fft))
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    mel = power @ mel_filters(spectrogram, spectrogram.n_fft)
    return np.asarray(compress(mel, spectrogram, np), np.float32)


def hann(n_fft: int) -> NDArray[np.float64]:
    """Return the periodic Hann window, shape (n_fft,)."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)


def compress(mel: Any, spectrogram: LogMelInput, ops: Any) -> Any:
    """Return the logarithm of mel power, by the operations of ``ops``: NumPy or ``keras.ops``."""
    if spectrogram.compression == "log10":
        return ops.log10(10000.0 * mel + 1.0)
    return 10.0 * ops.log10(ops.maximum(mel, DECIBEL_FLOOR))


def _to_mel(hz: NDArray[np.float64], mel_scale: str) -> NDArray[np.float64]:
    if mel_scale == "htk":
        return 2595.0 * np.log10(1.0 + hz / 700.0)
    above = np.maximum(hz, _SLANEY_BREAK_HZ)
    return np.where(
        hz < _SLANEY_BREAK_HZ,
        hz / _SLANEY_HZ_PER_MEL,
        _SLANEY_BREAK_MEL + np.log(above / _SLANEY_BREAK_HZ) / _SLANEY_STEP,
    )


def _to_hz(mel: NDArray[np.float64], mel_scale: str) -> NDArray[np.float64]:
    if mel_scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    return np.where(
        mel < _SLANEY_BREAK_MEL,
        mel * _SLANEY_HZ_PER_MEL,
        _SLANEY_BREAK_HZ * np.exp(_SLANEY_STEP * (mel - _SLANEY_BREAK_MEL)),
    )


def logmel_columns(
    stream: AudioStream, spectrogram: LogMelInput, *, frames: int
) -> NDArray[np.float32]:
    """Compute a log-mel block by block, and keep the mean of every so many frames.

    Frame ``f`` is centred on sample ``f * hop``, as where patches are cut. The columns, of which
    the last may have fewer frames, are (columns, n_mels), float32; memory grows with their number
    only. The stream is at ``spectrogram.sample_rate``; of several windows the longest counts.
    """
    columns = []
    rest: NDArray[np.float32] = np.empty((0, spectrogram.n_mels), np.float32)
    for windows in _windows(stream, replace(spectrogram, padding=None).grid(1)):
        if len(windows):
            rest = np.concatenate([rest, log_mel(windows, spectrogram)])
        whole = len(rest) // frames * frames
        columns.append(rest[:whole].reshape(-1, frames, spectrogram.n_mels).mean(axis=1))
        rest = rest[whole:]
    if len(rest):
        columns.append(rest.mean(axis=0, keepdims=True))
    return np.concatenate(columns)


def band_of(frequencies: NDArray[np.float64], spectrogram: LogMelInput) -> NDArray[np.float64]:
    """Where frequencies in Hz lie among the bands: 0 is the centre of the lowest."""
    edges = mel_frequencies(
        spectrogram.n_mels + 2, spectrogram.f_min, spectrogram.f_max, spectrogram.mel_scale
    )
    bands: NDArray[np.float64] = np.interp(
        frequencies, edges, np.arange(-1, spectrogram.n_mels + 1)
    )
    return bands


def _windows(stream: AudioStream, grid: PatchGrid) -> Iterator[NDArray[np.float32]]:
    patches = PatchStream(grid)
    for block in stream:
        yield patches.feed(block)
    yield patches.finish()
