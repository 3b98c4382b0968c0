"""The log-mel spectrogram of a whole recording, for the eye: as many columns as are wanted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.networks.config import LogMelInput
from musicnn_zoo.networks.mel import log_mel, mel_frequencies
from musicnn_zoo.networks.patches import PatchGrid, PatchStream
from musicnn_zoo.sound.read import AudioStream


def logmel_columns(
    stream: AudioStream, spectrogram: LogMelInput, *, frames: int
) -> NDArray[np.float32]:
    """Compute a log-mel block by block, and keep the mean of every so many frames.

    Frame ``f`` is centred on sample ``f * hop``, as where patches are cut. Memory grows with the
    number of columns only.

    Parameters
    ----------
    stream : AudioStream
        At ``spectrogram.sample_rate``.
    spectrogram : LogMelInput
        Of several windows the longest counts.
    frames : int
        In one column; the last may have fewer.

    Returns
    -------
    ndarray, shape (columns, n_mels), float32
        As ``spectrogram.compression`` has it.
    """
    grid = PatchGrid(
        patch=1, hop=1, frame_hop=spectrogram.hop, window=spectrogram.n_fft,
        padding=spectrogram.n_fft // 2, sample_rate=spectrogram.sample_rate,
    )  # fmt: skip
    columns = []
    rest = np.empty((0, spectrogram.n_mels), np.float32)
    for windows in _windows(stream, grid):
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
    return np.interp(frequencies, edges, np.arange(-1, spectrogram.n_mels + 1))


def _windows(stream: AudioStream, grid: PatchGrid) -> Iterator[NDArray[np.float32]]:
    patches = PatchStream(grid)
    for block in stream:
        yield patches.feed(block)
    yield patches.finish()
