import keras
import numpy as np
import pytest

from musicnn_zoo import ArgumentError, block, build_model
from musicnn_zoo.zoo.filters import RMS, maximizing_inputs

RATE = 16000


def sample_level(order="bn_relu", **options):
    frontend = block("sample_level", order=order, pointwise=None, **options)
    return build_model(frontend=frontend, tags=2)


def band_passes(frequencies, width):
    times = np.arange(width) / RATE
    tones = np.cos(2 * np.pi * np.array(frequencies)[:, np.newaxis] * times)
    return np.hanning(width + 2)[1:-1] * tones


def found(model, name, filters, **options):
    options = {"steps": 100, "seed": 0} | options
    return maximizing_inputs(model, model.get_layer(name), np.array(filters), **options)


@pytest.mark.parametrize("order", ["bn_relu", "relu_bn", "relu"])
def test_a_band_pass_is_driven_by_its_band(order: str) -> None:
    frequencies = [700.0, 2000.0, 3300.0, 5200.0, 6700.0]
    kernels = band_passes(frequencies, 27)
    model = sample_level(order, width=27, filters=(5, 2))
    layer = model.get_layer("frontend_conv0")
    layer.set_weights([kernels.T[:, np.newaxis], np.zeros(5)])
    inputs = found(model, "frontend_conv0", range(5))
    spectra = np.abs(np.fft.rfft(inputs, axis=1)) ** 2
    bins = np.fft.rfftfreq(inputs.shape[1], 1 / RATE)
    responses = np.abs(np.fft.rfft(kernels, inputs.shape[1], axis=1)) ** 2
    responses /= responses.max(axis=1, keepdims=True)
    for spectrum, response, frequency in zip(spectra, responses, frequencies, strict=True):
        passed = response > 0.5
        assert passed.mean() < 0.2  # of noise, no more is where the filter passes half of it
        assert spectrum[passed].sum() > 0.8 * spectrum.sum()
        assert bins[spectrum.argmax()] == pytest.approx(frequency, abs=RATE / 27)


@pytest.mark.parametrize("variant", ["basic", "rese"])
def test_no_random_input_of_the_same_norm_drives_a_filter_as_much(variant: str) -> None:
    keras.utils.set_random_seed(0)
    model = sample_level(filters=(8, 8, 8), variant=variant)
    last = "frontend_conv2_relu" if variant == "basic" else "frontend_conv2a_relu"
    name = last.removesuffix("_relu")
    filters = [1, 4, 7]
    inputs = found(model, name, filters)
    assert inputs.shape == (3, 729)
    norm = RMS * 27
    np.testing.assert_allclose(np.linalg.norm(inputs, axis=1), norm, rtol=1e-4)
    np.testing.assert_allclose(inputs.mean(axis=1), 0, atol=1e-6)
    noise = np.random.default_rng(1).normal(size=(100, 729))
    noise *= norm / np.linalg.norm(noise, axis=1, keepdims=True)
    activations = keras.Model(model.input, model.get_layer(last).output)
    driven = np.asarray(activations(inputs, training=False)).mean(axis=1)
    by_noise = np.asarray(activations(noise.astype(np.float32), training=False)).mean(axis=1)
    for row, index in enumerate(filters):
        assert driven[row, index] > 1.5 * by_noise[:, index].max()


def test_batchnorm_decides_which_side_drives_a_filter() -> None:
    model = sample_level(width=27, filters=(2, 2))
    kernels = np.repeat(band_passes([2000.0], 27), 2, axis=0)
    model.get_layer("frontend_conv0").set_weights([kernels.T[:, np.newaxis], np.zeros(2)])
    scale = np.array([1.0, -1.0])
    model.get_layer("frontend_conv0_bn").set_weights([scale, np.zeros(2), np.zeros(2), np.ones(2)])
    inputs = found(model, "frontend_conv0", [0, 1])
    activations = keras.Model(model.input, model.get_layer("frontend_conv0_relu").output)
    driven = np.asarray(activations(inputs, training=False)).mean(axis=1)
    assert driven[1, 1] > 0.5 * driven[0, 0] > 0


def test_a_filter_that_rests_is_woken() -> None:
    model = sample_level("relu", width=27, filters=(1, 2))
    kernel = band_passes([2000.0], 27)
    layer = model.get_layer("frontend_conv0")
    layer.set_weights([kernel.T[:, np.newaxis], -0.9 * 2**0.5 * RMS * np.abs(kernel).sum(1) / 2])
    noise = np.random.default_rng(0).normal(0, RMS, (1, 729)).astype(np.float32)
    activations = keras.Model(model.input, layer.output)
    assert float(np.max(activations(found(model, "frontend_conv0", [0])))) > 0
    assert float(np.mean(activations(noise))) < 0.05 * float(
        np.mean(activations(found(model, "frontend_conv0", [0])))
    )


def test_a_seed_gives_the_same_inputs_and_another_others() -> None:
    model = sample_level(filters=(2, 2))
    first, again, other = (
        found(model, "frontend_conv1", [0, 1], steps=5, seed=seed) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


def test_an_input_is_long_enough_for_the_layer() -> None:
    model = sample_level(filters=(2,) * 7, padding="valid")
    assert found(model, "frontend_conv6", [0], steps=1).shape == (1, 6561)


def test_other_backends_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = sample_level(filters=(2, 2))
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ArgumentError, match=r"TensorFlow backend; received jax: set .*KERAS_BACK"):
        found(model, "frontend_conv1", [0])
