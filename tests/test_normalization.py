import keras
import numpy as np
import pytest

from musicnn_zoo import LogMelInput, WeightsError, block, build_model
from musicnn_zoo.networks.build import adapt, finish_normalization
from musicnn_zoo.zoo.weights import load_into


def test_weights_that_were_assigned_are_computed_with() -> None:
    x = keras.Input((4, 3))
    model = keras.Model(x, keras.layers.Normalization(axis=2)(x))
    mean, variance = np.array([1, 2, 3], np.float32), np.array([4, 9, 16], np.float32)
    values = np.random.default_rng(0).normal(0, 1, (2, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(model.predict_on_batch(values), values, rtol=1e-5)
    model.set_weights([mean, variance, np.array(1)])
    finish_normalization(model)
    np.testing.assert_allclose(
        model.predict_on_batch(values), (values - mean) / np.sqrt(variance), rtol=1e-5, atol=1e-6
    )


def test_a_weights_file_that_does_not_fit_leaves_the_statistics(tmp_path) -> None:
    """Keras reads the file layer by layer, the statistics of the input before what is wrong."""

    def make(level: float, tags: int):
        model = build_model(
            input=LogMelInput(normalization="standardize"),
            frontend=block("rectangular", filters=(2,), pools=((4, 4),)),
            backend=block("temporal_pooling", units=4),
            tags=tags,
        )
        noise = np.random.default_rng(0).normal(0, level, (2, 48000)).astype(np.float32)
        adapt(model, noise)
        return model, noise

    model, noise = make(0.5, tags=3)
    other, _ = make(0.001, tags=4)
    other.save_weights(tmp_path / "other.weights.h5")
    before = np.asarray(model(noise))
    with pytest.raises(WeightsError, match="does not fit"):
        load_into(model, tmp_path / "other.weights.h5")
    np.testing.assert_array_equal(model(noise), before)
