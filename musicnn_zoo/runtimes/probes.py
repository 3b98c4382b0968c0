"""Sounds on which an exported file is compared with its model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.networks.config import ModelConfig
from musicnn_zoo.networks.patches import patch_grid

_LOUDNESS = (0.3, 0.03, 0.0003)
_NOISE_FLOOR = 0.0003
_CHORDS = ((110.0, 220.0, 277.2, 329.6), (92.5, 185.0, 220.0, 277.2), (73.4, 146.8, 185.0, 220.0))
_CHORD_S, _BEAT_S = 0.7, 0.25


def probes(config: ModelConfig) -> NDArray[np.float32]:
    """Make noise of three levels, silence, chords that fade, a beat, and both together.

    The last three have the noise floor of a recording, -70 dB. Between pure digital tones there
    would be nothing but the rounding errors of the Fourier transform, which a logarithm
    brings to light, and those of two transforms differ.

    Parameters
    ----------
    config : ModelConfig

    Returns
    -------
    ndarray, shape (signals, samples), float32
        One patch each, in ±1, the same at every call.
    """
    rate, samples = config.input.sample_rate, patch_grid(config).patch_samples
    random = np.random.default_rng(0)
    seconds = np.arange(samples) / rate
    noise = [random.normal(0, loudness, samples) for loudness in _LOUDNESS]
    chords, beat = _chords(seconds, rate), _beat(seconds, random)
    music = np.stack([chords, beat, 0.5 * (chords + beat)])
    music += random.normal(0, _NOISE_FLOOR, music.shape)
    signals = [*noise, np.zeros(samples), *music]
    return np.asarray(np.clip(signals, -1, 1), np.float32)


def _chords(seconds: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """Chords of tones with overtones below half the sample rate, one after the other."""
    count, since = np.divmod(seconds, _CHORD_S)
    signal: NDArray[np.float64] = np.zeros_like(seconds)
    for turn, chord in enumerate(_CHORDS):
        for tone in chord:
            for overtone in range(1, min(9, int(rate / 2 / tone))):
                wave = np.sin(2 * np.pi * tone * overtone * since) / overtone
                signal += np.where(count % len(_CHORDS) == turn, wave, 0)
    return np.asarray(0.15 * signal * np.exp(-3 * since))


def _beat(seconds: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Bass drum and cymbal in turn."""
    count, since = np.divmod(seconds, _BEAT_S)
    drum = np.sin(2 * np.pi * 55 * since) * np.exp(-12 * since)
    cymbal = 0.5 * np.diff(random.normal(0, 0.5, len(seconds)), prepend=0) * np.exp(-40 * since)
    return np.asarray(np.where(count % 2 == 0, 0.8 * drum, cymbal))
