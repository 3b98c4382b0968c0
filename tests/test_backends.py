"""What the back-ends compute: formulas against NumPy, and padded time that does not count."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
from test_blocks import SMALL_BACKENDS

from musicnn_zoo.networks.backends import (
    AutoPool,
    TemporalAttention,
    TemporalMaximum,
    sinusoidal_positions,
)
from musicnn_zoo.networks.config import block_function

CHANNELS = 5
random = np.random.default_rng(0)
probabilities = random.uniform(size=(3, 17, 4)).astype(np.float32)


def pooled(alpha: float | np.ndarray) -> np.ndarray:
    layer = AutoPool()
    layer.build(probabilities.shape)
    layer.alpha.assign(np.broadcast_to(alpha, (4,)).astype(np.float32))
    return np.asarray(layer(probabilities))


def test_autopool_is_the_mean_at_zero() -> None:
    np.testing.assert_allclose(pooled(0.0), probabilities.mean(axis=1), atol=1e-6)


def test_autopool_approaches_the_maximum_and_the_minimum() -> None:
    np.testing.assert_allclose(pooled(1e5), probabilities.max(axis=1), atol=1e-5)
    np.testing.assert_allclose(pooled(-1e5), probabilities.min(axis=1), atol=1e-5)


def test_autopool_is_its_formula_class_by_class() -> None:
    alpha = np.array([-2.0, 0.5, 1.0, 7.0])
    weights = np.exp(alpha * probabilities)
    expected = (probabilities * weights).sum(axis=1) / weights.sum(axis=1)
    np.testing.assert_allclose(pooled(alpha), expected, atol=1e-6)


def test_autopool_starts_as_the_mean_and_is_trainable() -> None:
    layer = AutoPool()
    np.testing.assert_allclose(layer(probabilities), probabilities.mean(axis=1), atol=1e-6)
    assert [weight.name for weight in layer.trainable_weights] == ["alpha"]
    assert layer.alpha.shape == (4,)


def test_attention_is_raffels_formula() -> None:
    layer = TemporalAttention()
    output = np.asarray(layer(probabilities))
    kernel, bias = (np.asarray(weight) for weight in layer.weights)
    energy = np.tanh(probabilities @ kernel[0] + bias)
    weights = np.exp(energy) / np.exp(energy).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(layer.attention(probabilities), weights, atol=1e-6)
    np.testing.assert_allclose(output, (weights * probabilities).sum(axis=1), atol=1e-6)


@pytest.mark.parametrize("positions", [False, True])
@pytest.mark.parametrize("weights", ["frame", "channel"])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_weights_sum_to_one(weights: str, positions: bool, masked: bool) -> None:
    layer = TemporalAttention(weights=weights, positions=positions)
    layer(probabilities)
    mask = np.arange(17) < np.array([17, 9, 1])[:, np.newaxis] if masked else None
    attention = np.asarray(layer.attention(probabilities, mask))
    np.testing.assert_allclose(attention.sum(axis=1), 1, atol=1e-5)
    if masked:
        assert not attention[~mask].any()


def test_channel_attention_is_a_softmax_over_a_convolution() -> None:
    layer = TemporalAttention(weights="channel", context=3)
    output = np.asarray(layer(probabilities))
    kernel, bias = (np.asarray(weight) for weight in layer.weights)
    padded = np.pad(probabilities, ((0, 0), (1, 1), (0, 0)))
    energy = sum(padded[:, k : k + 17] @ kernel[k] for k in range(3)) + bias
    weights = np.exp(energy) / np.exp(energy).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(output, (weights * probabilities).sum(axis=1), atol=1e-5)


@pytest.mark.parametrize("paired", [True, False])
def test_positions_are_sines_and_cosines(paired: bool) -> None:
    ours = np.asarray(sinusoidal_positions(11, 6, paired=paired))[0]
    for time in range(11):
        for channel in range(6):
            exponent = 2 * (channel // 2) if paired else 2 * channel
            angle = time / 10000 ** (exponent / 6)
            expected = np.cos(angle) if channel % 2 else np.sin(angle)
            assert ours[time, channel] == pytest.approx(expected, abs=1e-5)


def test_maximum_over_time() -> None:
    np.testing.assert_array_equal(TemporalMaximum()(probabilities), probabilities.max(axis=1))


@pytest.mark.parametrize(
    "backend",
    [one for several in SMALL_BACKENDS.values() for one in several],
    ids=lambda one: str(one.to_dict()),
)
def test_padded_time_does_not_count(backend) -> None:
    """A batch of clips of different lengths gives what each clip alone gives."""
    keras.utils.set_random_seed(0)
    build: Callable = block_function(backend.kind, "backend")
    features = keras.Input((None, CHANNELS))
    masked = keras.layers.Masking(mask_value=-100.0)(features)
    model = keras.Model(
        features, build(masked, n_tags=3, activation="sigmoid", **dict(backend.options))
    )
    for weight in model.weights:
        if "alpha" in weight.path or "moving_mean" in weight.path:
            weight.assign(random.normal(0, 1, weight.shape))
    lengths = [23, 9, 1]
    batch = random.normal(0, 1, (len(lengths), max(lengths), CHANNELS)).astype(np.float32)
    for clip, length in zip(batch, lengths, strict=True):
        clip[length:] = -100.0
    together = np.asarray(model(batch))
    for clip, length, output in zip(batch, lengths, together, strict=True):
        alone = np.asarray(model(clip[np.newaxis, :length]))[0]
        np.testing.assert_allclose(output, alone, atol=1e-5)
    assert np.ptp(together, axis=0).max() > 1e-4
