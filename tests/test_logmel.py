import importlib.util

import keras
import librosa
import numpy as np
import pytest
from conftest import CLIPS

from musicnn_zoo import ArgumentError, load_audio
from musicnn_zoo.networks.config import LogMelInput
from musicnn_zoo.networks.logmel import IMPLEMENTATIONS, LogMel
from musicnn_zoo.networks.mel import log_mel, mel_filters, mel_frequencies

pytestmark = pytest.mark.platform

RATE = 16000
KAPRE = importlib.util.find_spec("kapre") is not None
HERE = [name for name in IMPLEMENTATIONS if KAPRE or name != "kapre"]
BANDS = {
    "musicnn": LogMelInput(),
    "htk": LogMelInput(mel_scale="htk", mel_norm=None),
    "22 kHz": LogMelInput(
        sample_rate=22050, n_fft=2048, hop=512, n_mels=128, f_min=30.0, f_max=11000.0
    ),
    "speech": LogMelInput(n_fft=400, hop=160, n_mels=64),
}
ODD = {
    "padded, with shorter windows": LogMelInput(
        n_mels=40, shorter_windows=(256, 384), padding="reflect", compression="decibel"
    ),
    "hop longer than the window": LogMelInput(n_fft=256, hop=320, n_mels=40),
    "odd window": LogMelInput(n_fft=513, hop=171),
    "window of prime length": LogMelInput(n_fft=509, hop=509),
    "hop without a common divisor": LogMelInput(hop=255),
}
STEPS = {
    (512, 256): (32, 16),
    (2048, 512): (64, 32),
    (400, 160): (25, 16),
    (256, 320): (32, 8),
    (513, 171): (27, 19),
    (509, 509): None,
    (512, 255): None,
}


def signals() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    seconds = np.arange(3 * RATE) / RATE
    return {
        "noise": random.normal(0, 0.3, 3 * RATE),
        "silence": np.zeros(3 * RATE),
        "full-scale sine": np.sin(2 * np.pi * 440 * seconds),
        "clip": load_audio(CLIPS / "bach_prelude_harpsichord.ogg").samples[: 10 * RATE],
    }


def librosa_power(signal: np.ndarray) -> np.ndarray:
    return librosa.feature.melspectrogram(
        y=signal, sr=RATE, n_fft=512, hop_length=256, n_mels=96, center=False
    ).T


@pytest.mark.parametrize("implementation", HERE)
@pytest.mark.parametrize("kind", list(signals()))
def test_equals_librosa(kind: str, implementation: str) -> None:
    signal = signals()[kind].astype(np.float32)
    ours = LogMel(implementation=implementation)(signal[np.newaxis])[0, :, :, 0]
    theirs = np.log10(10000 * librosa_power(signal) + 1)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_decibels_equal_librosa() -> None:
    signal = signals()["clip"]
    ours = LogMel(compression="decibel")(signal[np.newaxis])[0, :, :, 0]
    theirs = librosa.power_to_db(librosa_power(signal), top_db=None)
    np.testing.assert_allclose(ours, theirs, atol=1e-2)


def test_a_window_of_the_padded_signal_has_the_frames_of_the_whole() -> None:
    signal = signals()["clip"]
    layer = LogMel()
    padded = np.pad(signal, 256)
    whole = layer(padded[np.newaxis])
    start = 61
    window = padded[start * 256 : start * 256 + 186 * 256 + 512]
    np.testing.assert_allclose(layer(window[np.newaxis]), whole[:, start : start + 187], atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_stays_float32_under_mixed_precision(policy: str) -> None:
    signal = signals()["full-scale sine"].astype(np.float32)[np.newaxis]
    expected = LogMel()(signal)
    keras.config.set_dtype_policy(policy)
    try:
        under_policy = LogMel()(signal)
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(under_policy, expected)
    assert keras.backend.standardize_dtype(under_policy.dtype) == "float32"


@pytest.mark.parametrize("padding", ["constant", "reflect"])
@pytest.mark.parametrize("implementation", HERE)
def test_padding_inside_the_graph_equals_librosas_centred_frames(
    padding: str, implementation: str
) -> None:
    signal = signals()["clip"][:50175]
    layer = LogMel(padding=padding, mel_scale="htk", mel_norm=None, implementation=implementation)
    ours = layer(signal[np.newaxis])
    theirs = librosa.feature.melspectrogram(
        y=signal, sr=RATE, n_fft=512, hop_length=256, n_mels=96, htk=True, norm=None,
        center=True, pad_mode=padding,
    ).T  # fmt: skip
    np.testing.assert_allclose(ours[0, :, :, 0], np.log10(10000 * theirs + 1), atol=1e-4)
    assert ours.shape == layer.compute_output_shape((1, 50175))


def test_a_shorter_window_lies_in_the_middle_of_the_longest() -> None:
    signal = signals()["noise"].astype(np.float32)[np.newaxis]
    both = LogMel.from_input(LogMelInput(n_mels=40, shorter_windows=(256,)))(signal)
    short = LogMel(n_fft=256, n_mels=40)(signal[:, 128:-128])
    np.testing.assert_allclose(both[..., :1], short, atol=1e-4)


@pytest.mark.parametrize("name", BANDS)
def test_implementations_agree(name: str) -> None:
    signal = signals()["clip"][np.newaxis]
    first, *others = (
        LogMel.from_input(BANDS[name], implementation=implementation)(signal)
        for implementation in HERE
    )
    for other in others:
        np.testing.assert_allclose(other, first, atol=5e-5)


@pytest.mark.parametrize("name", ODD)
def test_implementations_agree_on_odd_windows(name: str) -> None:
    signal = signals()["clip"][np.newaxis, :50111]
    spectrogram = ODD[name]
    # Decibels of what rounding leaves in an empty band differ.
    atol = 1e-2 if spectrogram.compression == "decibel" else 1e-5
    first, *others = (
        LogMel.from_input(spectrogram, implementation=implementation)(signal)
        for implementation in HERE
    )
    for other in others:
        np.testing.assert_allclose(other, first, atol=atol)


@pytest.mark.parametrize(("lengths", "steps"), STEPS.items())
def test_the_transform_takes_two_steps_where_window_and_hop_allow(
    lengths: tuple[int, int], steps: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spectrogram = LogMelInput(n_fft=lengths[0], hop=lengths[1])
    layer = LogMel.from_input(spectrogram, implementation="products")
    taken = []
    products = layer._products_mel
    monkeypatch.setattr(
        layer, "_products_mel", lambda *sizes: taken.append(sizes) or products(*sizes)
    )
    layer(signals()["noise"].astype(np.float32)[np.newaxis])
    assert taken == ([steps] if steps else [])


@pytest.mark.parametrize("kind", list(signals()))
def test_the_transform_in_two_steps_is_exact(kind: str) -> None:
    signal = signals()[kind].astype(np.float32)[np.newaxis]
    convolution, products = (
        np.asarray(LogMel(implementation=implementation)(signal), np.float64)[0, :, :, 0]
        for implementation in ("convolution", "products")
    )
    exact = np.log10(10000 * librosa_power(signal[0].astype(np.float64)) + 1)
    error = np.abs(products - exact).max()
    assert error <= 1e-5 or error <= 1.5 * np.abs(convolution - exact).max()


def test_an_odd_window_of_unknown_length_has_the_frames_it_says() -> None:
    inputs = keras.Input((None,))
    spectrogram = LogMelInput(n_fft=511, hop=100, n_mels=16, shorter_windows=(129,))
    for implementation in HERE:
        layer = LogMel.from_input(spectrogram, implementation=implementation)
        model = keras.Model(inputs, layer(inputs))
        found = model.predict(signals()["noise"].astype(np.float32)[np.newaxis], verbose=0)
        assert found.shape == layer.compute_output_shape((1, 3 * RATE))


def test_kapre_computes_where_it_is_installed() -> None:
    assert LogMel()._chosen == ("kapre" if KAPRE else "portable")


@pytest.mark.skipif(KAPRE, reason="Kapre is installed")
def test_says_that_kapre_is_not_installed() -> None:
    with pytest.raises(ArgumentError, match="use 'portable', or pip install kapre"):
        LogMel(implementation="kapre")


@pytest.mark.parametrize("name", BANDS)
def test_mel_bands_equal_librosas(name: str) -> None:
    bands = BANDS[name]
    htk = bands.mel_scale == "htk"
    np.testing.assert_array_equal(
        mel_filters(bands, bands.n_fft).T,
        librosa.filters.mel(
            sr=bands.sample_rate, n_fft=bands.n_fft, n_mels=bands.n_mels, fmin=bands.f_min,
            fmax=bands.f_max, htk=htk, norm=bands.mel_norm,
        ),
    )  # fmt: skip
    np.testing.assert_allclose(
        mel_frequencies(50, 20.0, 7000.0, bands.mel_scale),
        librosa.mel_frequencies(50, fmin=20.0, fmax=7000.0, htk=htk),
        rtol=1e-12,
    )


@pytest.mark.parametrize("compression", ["log10", "decibel"])
def test_numpy_computes_the_same_log_mel(compression: str) -> None:
    signal = signals()["clip"]
    spectrogram = LogMelInput(compression=compression)
    frames = np.lib.stride_tricks.sliding_window_view(signal, 512)[::256]
    layer = LogMel.from_input(spectrogram)
    expected = layer(signal[np.newaxis])[0, :, :, 0]
    tolerance = 1e-5 if compression == "log10" else 1e-2
    np.testing.assert_allclose(log_mel(frames, spectrogram), expected, atol=tolerance)


def test_refuses_an_unknown_implementation() -> None:
    with pytest.raises(ArgumentError, match="kapre, portable, convolution, products"):
        LogMel(implementation="fft")


def test_config_gives_the_same_layer_back() -> None:
    spectrogram = LogMelInput(n_fft=1024, hop=512, n_mels=64, f_max=7000.0, compression="decibel")
    layer = LogMel.from_input(spectrogram, name="logmel")
    copy = LogMel.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    signal = signals()["noise"].astype(np.float32)[np.newaxis]
    np.testing.assert_array_equal(copy(signal), layer(signal))


def test_output_shape() -> None:
    assert LogMel().compute_output_shape((None, 48128)) == (None, 187, 96, 1)
    assert LogMel().compute_output_shape((4, None)) == (4, None, 96, 1)
    assert tuple(LogMel()(np.zeros((1, 512), np.float32)).shape) == (1, 1, 96, 1)
