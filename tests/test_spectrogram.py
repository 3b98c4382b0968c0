import librosa
import numpy as np
import pytest
from conftest import CLIPS

from musicnn_zoo.networks.architectures import ARCHITECTURES
from musicnn_zoo.networks.config import LogMelInput
from musicnn_zoo.networks.mel import band_of, logmel_columns
from musicnn_zoo.sound.read import AudioStream

CLIP = CLIPS / "techno_loop.ogg"
INPUTS = {name: ARCHITECTURES[name].config.input for name in ("musicnn", "short_chunk", "fcn5")}


def by_librosa(signal, spectrogram):
    mel = librosa.feature.melspectrogram(
        y=signal, sr=spectrogram.sample_rate, n_fft=spectrogram.n_fft,
        hop_length=spectrogram.hop, n_mels=spectrogram.n_mels, fmin=spectrogram.f_min,
        fmax=spectrogram.f_max, htk=spectrogram.mel_scale == "htk", norm=spectrogram.mel_norm,
        pad_mode="constant",
    ).T  # fmt: skip
    if spectrogram.compression == "log10":
        return np.log10(10000 * mel + 1)
    return 10 * np.log10(np.maximum(mel, 1e-10))


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("frames", [1, 7])
def test_columns_are_means_of_the_frames_of_librosa(name: str, frames: int) -> None:
    spectrogram = INPUTS[name]
    signal, rate = librosa.load(CLIP, sr=spectrogram.sample_rate, duration=23)
    found = logmel_columns(
        AudioStream(signal, sample_rate=rate, target_rate=rate), spectrogram, frames=frames
    )
    expected = by_librosa(signal, spectrogram)
    starts = np.arange(0, len(expected), frames)
    sums = np.add.reduceat(expected, starts, axis=0)
    counts = np.diff(np.append(starts, len(expected)))[:, np.newaxis]
    assert found.shape == sums.shape
    loud = sums / counts > (-40 if spectrogram.compression == "decibel" else 0)
    np.testing.assert_allclose(found[loud], (sums / counts)[loud], atol=5e-3)


def test_a_file_is_resampled_and_read_block_by_block() -> None:
    spectrogram = LogMelInput()
    found = logmel_columns(AudioStream(str(CLIP)), spectrogram, frames=100)
    signal, _ = librosa.load(CLIP, sr=16000)
    expected = by_librosa(signal, spectrogram)
    assert len(found) == -(-len(expected) // 100)
    np.testing.assert_allclose(found[0], expected[:100].mean(axis=0), atol=5e-3)
    np.testing.assert_allclose(found[-1], expected[2000:].mean(axis=0), atol=5e-3)


@pytest.mark.parametrize("samples", [1, 100, 255, 256, 513])
def test_the_shortest_signals_have_a_column(samples: int) -> None:
    stream = AudioStream(np.ones(samples, np.float32), sample_rate=16000)
    assert logmel_columns(stream, LogMelInput(), frames=1).shape == (samples // 256 + 1, 96)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_a_frequency_is_where_the_band_around_it_is(scale: str) -> None:
    spectrogram = LogMelInput(mel_scale=scale)
    filters = librosa.filters.mel(sr=16000, n_fft=16384, n_mels=96, fmax=8000, htk=scale == "htk")
    centres = filters.argmax(axis=1) * 16000 / 16384
    np.testing.assert_allclose(band_of(centres, spectrogram), np.arange(96), atol=0.05)
