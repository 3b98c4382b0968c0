import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from musicnn_zoo import (
    ArgumentError,
    LogMelInput,
    UnknownNameError,
    WaveformInput,
    block,
    build_model,
)
from musicnn_zoo.augmentation import (
    NO_AUGMENTATION,
    Augmentation,
    Gain,
    Mixup,
    Noise,
    SpecAugment,
    TimeShift,
    augment,
)
from musicnn_zoo.augmentation.model import symmetric_beta, value_of_silence
from musicnn_zoo.training.fit import finetune_model

SAMPLES = 48128
ALL = Augmentation(
    time_shift_s=0.5, gain_db=(-6, 6), noise_snr_db=(10, 30), freq_mask=12, time_mask=30,
    n_freq_masks=2, n_time_masks=2, mixup=0.4,
)  # fmt: skip
LABELS = np.eye(2, dtype=np.float32)[[0, 1, 1, 0]]
LAYERS = {
    "time_shift": lambda seed=None: TimeShift(0.01, 16000, seed=seed),
    "gain": lambda seed=None: Gain(-12, 3, seed=seed),
    "noise": lambda seed=None: Noise(0, 20, seed=seed),
    "spec_augment": lambda seed=None: SpecAugment(8, 10, 2, 2, -1.0, seed=seed),
}


def noise(count: int, samples: int = SAMPLES) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (count, samples)).astype(np.float32)


def example_input(name: str, count: int = 8) -> np.ndarray:
    x = noise(count, 40 * 32)
    return x.reshape(count, 40, 32, 1) if name == "spec_augment" else x


def small_model(**options):
    return build_model("dieleman_mel", tags=2, **options)


def array(tensor) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_does_nothing_outside_training(name: str) -> None:
    layer, x = LAYERS[name](), example_input(name)
    for training in ({}, {"training": False}, {"training": None}):
        np.testing.assert_array_equal(array(layer(x, **training)), x)
    assert not np.array_equal(array(layer(x, training=True)), x)


@pytest.mark.parametrize("name", LAYERS)
def test_each_signal_and_each_step_has_randomness_of_its_own(name: str) -> None:
    layer = LAYERS[name](seed=0)
    same = np.repeat(example_input(name, 1), 6, axis=0)
    first, second = array(layer(same, training=True)), array(layer(same, training=True))
    assert len({signal.tobytes() for signal in [*first, *second]}) == 12


@pytest.mark.parametrize("name", LAYERS)
def test_seeds(name: str) -> None:
    x = example_input(name)
    one, again, other = (array(LAYERS[name](seed=seed)(x, training=True)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    unseeded = [array(LAYERS[name]()(x, training=True)) for _ in range(2)]
    assert not np.array_equal(*unseeded)


@pytest.mark.platform
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_survives_its_configuration(name: str) -> None:
    layer, x = LAYERS[name](seed=5), example_input(name)
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    assert stored["registered_name"] == f"musicnn_zoo>{type(layer).__name__}"
    revived = keras.saving.deserialize_keras_object(stored)
    assert revived.get_config() == layer.get_config()
    np.testing.assert_array_equal(array(revived(x, training=True)), array(layer(x, training=True)))


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_keeps_shape_and_has_its_state_among_the_variables(name: str) -> None:
    layer, x = LAYERS[name](), example_input(name)
    assert layer.compute_output_shape(x.shape) == x.shape
    symbolic = layer(keras.Input(x.shape[1:]))
    assert (symbolic.shape, symbolic.dtype) == ((None, *x.shape[1:]), "float32")
    assert layer.variables == [layer.seed_generator.state]
    before = array(layer.seed_generator.state)
    layer(x, training=False)
    np.testing.assert_array_equal(before, array(layer.seed_generator.state))
    layer(x, training=True)
    assert not np.array_equal(before, array(layer.seed_generator.state))


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_compiles_under_xla_which_keras_uses_by_itself_on_a_gpu(name: str) -> None:
    layer, x = LAYERS[name](seed=0), example_input(name)
    compiled = tf.function(lambda x: layer(x, training=True), jit_compile=True)
    first, second = array(compiled(x)), array(compiled(x))
    assert np.isfinite(first).all()
    assert not np.array_equal(first, x)
    assert not np.array_equal(first, second)


def test_mixup_compiles_under_xla() -> None:
    trained = augment(small_model(), [Mixup(0.4, seed=0)])
    compiled = tf.function(lambda x, y: trained.mix((x, y)), jit_compile=True)
    x, y = noise(8, 50), np.eye(8, 2, dtype=np.float32)
    mixed, labels = map(array, compiled(x, y))
    assert (mixed.shape, labels.shape) == (x.shape, y.shape)
    assert np.isfinite(mixed).all()
    assert not np.array_equal(mixed, x)


@given(
    count=st.integers(1, 5), samples=st.integers(1, 60), largest=st.integers(1, 80),
    seed=st.integers(0, 2**31 - 1),
)  # fmt: skip
@settings(max_examples=40)
def test_a_time_shift_is_a_roll(count: int, samples: int, largest: int, seed: int) -> None:
    x = np.arange(count * samples, dtype=np.float32).reshape(count, samples)
    shifted = array(TimeShift(largest / 1000, 1000, seed=seed)(x, training=True))
    for before, after in zip(x, shifted, strict=True):
        by = int(np.flatnonzero(after == before[0])[0])
        np.testing.assert_array_equal(after, np.roll(before, by))
        assert min(by, samples - by) <= largest


def test_a_time_shift_goes_as_far_as_asked_to_both_sides() -> None:
    x = np.tile(np.arange(100, dtype=np.float32), (300, 1))
    shifted = array(TimeShift(0.003, 1000, seed=0)(x, training=True))
    by = np.argmin(shifted, axis=1)
    counts = {shift: int(np.sum(by == shift % 100)) for shift in range(-3, 4)}
    assert sum(counts.values()) == 300
    assert min(counts.values()) > 20


@given(
    low=st.floats(-60, 60), width=st.floats(0, 40), seed=st.integers(0, 2**31 - 1)
)  # fmt: skip
@settings(max_examples=30)
def test_a_gain_is_one_factor_in_its_range(low: float, width: float, seed: int) -> None:
    x = noise(4, 50)
    ratio = array(Gain(low, low + width, seed=seed)(x, training=True)) / x
    np.testing.assert_allclose(ratio, np.repeat(ratio[:, :1], 50, axis=1), rtol=1e-6)
    decibels = 20 * np.log10(ratio)
    assert np.all(decibels > low - 1e-4)
    assert np.all(decibels < low + width + 1e-4)


def test_gains_are_uniform_in_decibels() -> None:
    factors = array(Gain(-20, 10, seed=3)(np.ones((2000, 1), np.float32), training=True))
    decibels = 20 * np.log10(factors[:, 0])
    assert stats.kstest(decibels, stats.uniform(-20, 30).cdf).pvalue > 0.001


@pytest.mark.parametrize("level", [1e-4, 1.0, 1e4])
def test_noise_has_the_ratio_asked_for(level: float) -> None:
    x = level * noise(200, 4000) * np.linspace(0.1, 2, 200, dtype=np.float32)[:, np.newaxis]
    added = array(Noise(-5, 15, seed=0)(x, training=True)).astype(np.float64) - x
    ratio = 10 * np.log10(np.mean(x.astype(np.float64) ** 2, axis=1) / np.mean(added**2, axis=1))
    assert np.all(ratio > -5.01)
    assert np.all(ratio < 15.01)
    assert stats.kstest(ratio, stats.uniform(-5, 20).cdf).pvalue > 0.001


def test_noise_is_white_and_gaussian() -> None:
    x = np.ones((1, 1 << 16), np.float32)
    added = (array(Noise(0, 0, seed=0)(x, training=True)) - x)[0]
    assert stats.kstest(added, stats.norm.cdf).pvalue > 0.001
    assert np.abs([np.mean(added[lag:] * added[:-lag]) for lag in range(1, 20)]).max() < 0.02


def test_silence_stays_silent() -> None:
    x = np.zeros((3, 500), np.float32)
    x[1] = 1
    noisy = array(Noise(0, 0)(x, training=True))
    np.testing.assert_array_equal(noisy[[0, 2]], 0)
    assert np.std(noisy[1]) > 0.5


class Raised(keras.layers.Layer):
    def call(self, x, training=None):
        return x + 1 if training else x


def runs(masked: np.ndarray) -> list[tuple[int, int]]:
    """Start and width of each stretch of True."""
    edges = np.diff(np.concatenate([[0], masked.astype(int), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return list(zip(starts.tolist(), (ends - starts).tolist(), strict=True))


@given(
    frames=st.integers(1, 30), bands=st.integers(1, 20), channels=st.integers(1, 3),
    widths=st.tuples(st.integers(0, 20), st.integers(0, 30)),
    numbers=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    value=st.floats(-100, 0, width=32), seed=st.integers(0, 2**31 - 1),
)  # fmt: skip
@settings(max_examples=60)
def test_masks_are_whole_bands_and_frames(
    frames, bands, channels, widths, numbers, value, seed
) -> None:
    freq_mask, time_mask = min(widths[0], bands), min(widths[1], frames)
    if not freq_mask * numbers[0] + time_mask * numbers[1]:
        return
    layer = SpecAugment(freq_mask, time_mask, *numbers, mask_value=value, seed=seed)
    x = np.random.default_rng(seed).uniform(1, 2, (3, frames, bands, channels)).astype(np.float32)
    y = array(layer(x, training=True))
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    np.testing.assert_array_equal(y[y != x], np.float32(value))
    for masked in y != x:
        by_frame, by_band = masked.all(axis=(1, 2)), masked.all(axis=(0, 2))
        if not by_frame.all():
            np.testing.assert_array_equal(
                masked, np.broadcast_to((by_frame[:, None] | by_band)[..., None], masked.shape)
            )
        for lines, widest, n_masks, length in (
            (by_frame, time_mask, numbers[1], frames), (by_band, freq_mask, numbers[0], bands)
        ):  # fmt: skip
            if by_frame.all():  # then all bands are masked, too, by whichever masks
                continue
            assert bool(widest and n_masks) == lines.any()
            assert len(runs(lines)) <= n_masks
            assert lines.sum() <= min(n_masks * widest, length)


@pytest.mark.platform
def test_masks_are_drawn_as_kapre_draws_them() -> None:
    kapre = pytest.importorskip("kapre")
    x = np.ones((2000, 8, 6, 1), np.float32)
    tf.random.set_seed(0)
    theirs = kapre.SpecAugment(3, 4, data_format="channels_last")
    ours = SpecAugment(3, 4, seed=0)
    tables = []
    for layer in (theirs, ours):
        masked = tf.function(lambda x, layer=layer: layer(x, training=True))(x).numpy() == 0
        bands = [runs(one) for one in masked[~masked.all(axis=(1, 2, 3))].all(axis=(1, 3))]
        frames = [runs(one) for one in masked[~masked.all(axis=(1, 2, 3))].all(axis=(2, 3))]
        assert all(len(found) == 1 for found in [*bands, *frames])
        tables.append(
            [
                [sum(found == [(start, width)] for found in lines)
                 for width in range(1, widest + 1) for start in range(length - width + 1)]
                for lines, widest, length in ((bands, 3, 6), (frames, 4, 8))
            ]
        )  # fmt: skip
    for axis, n in ((0, 15), (1, 26)):
        table = np.array([tables[0][axis], tables[1][axis]])
        assert table.shape == (2, n)
        assert table.sum() == 4000
        assert stats.chi2_contingency(table).pvalue > 0.001


def test_all_masks_asked_for_are_there() -> None:
    layer = SpecAugment(1, 1, n_freq_masks=3, n_time_masks=2, seed=0)
    masked = array(layer(np.ones((200, 400, 300, 1), np.float32), training=True)) == 0
    bands, frames = masked.all(axis=(1, 3)).sum(axis=1), masked.all(axis=(2, 3)).sum(axis=1)
    assert set(bands) <= {2, 3}  # two of them may fall on the same band
    assert set(frames) <= {1, 2}
    assert np.mean(bands == 3) > 0.9
    assert np.mean(frames == 2) > 0.9


def test_masks_wider_than_an_input_of_unknown_length() -> None:
    layer = SpecAugment(0, 50, seed=0)
    layer.build((None, None, 4, 1))

    @tf.function(input_signature=[tf.TensorSpec([None, None, 4, 1])])
    def call(x):
        return layer(x, training=True)

    masked = np.isnan(call(np.full((300, 5, 4, 1), np.nan, np.float32)).numpy()) ^ True
    widths = masked[:, :, 0, 0].sum(axis=1)
    assert set(widths) == {1, 2, 3, 4, 5}


def test_masks_wider_than_an_input_of_known_length() -> None:
    with pytest.raises(ArgumentError, match=r"time_mask must be at most the 20 frames .* 21"):
        SpecAugment(4, 21)(keras.Input((20, 32, 1)))
    with pytest.raises(ArgumentError, match=r"freq_mask must be at most the 32 bands .* 33"):
        SpecAugment(33, 2)(keras.Input((None, 32, 1)))
    with pytest.raises(ArgumentError, match="time_mask must be at most the 187 frames"):
        augment(small_model(), Augmentation(time_mask=188))
    open_length = build_model(frontend=block("vgg", filters=4), tags=2)
    trained = augment(open_length, Augmentation(time_mask=188))
    trained(noise(1), training=False)
    with pytest.raises(ArgumentError, match="time_mask must be at most the 187 frames"):
        trained(noise(1), training=True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_masks_in_the_precision_of_the_input(dtype: str) -> None:
    x = tf.ones((2, 10, 8, 1), dtype)
    for training in (True, False):
        y = SpecAugment(4, 5, mask_value=-100)(x, training=training)
        assert y.dtype == x.dtype
        assert set(np.unique(y.numpy().astype(float))) == ({-100.0, 1.0} if training else {1.0})


@pytest.mark.parametrize(("compression", "value"), [("log10", 0.0), ("decibel", -100.0)])
def test_what_is_masked_is_silent(compression: str, value: float) -> None:
    signal = LogMelInput(compression=compression)
    model = small_model(input=signal)
    spectrogram = keras.Model(model.input, model.get_layer("logmel").output)
    silence = spectrogram.predict_on_batch(np.zeros((1, SAMPLES), np.float32))
    np.testing.assert_allclose(silence, value, atol=1e-5)
    assert value_of_silence(signal) == pytest.approx(value)
    (described,) = Augmentation(freq_mask=3).build(signal)
    own, fixed = SpecAugment(3, 0), SpecAugment(3, 0, mask_value=-7)
    augment(model, [own, fixed])
    assert described.mask_value == own.mask_value == pytest.approx(value)
    assert fixed.mask_value == -7


def test_masks_are_put_right_behind_the_log_mel() -> None:
    model = small_model()
    masks = SpecAugment(20, 40, mask_value=-1, seed=0)
    trained = augment(model, [masks])
    x = noise(2)
    y = array(keras.Model(trained.input, masks.output)(x, training=True))
    assert 0 < np.mean(y == -1) < 1
    np.testing.assert_array_equal(y[y != -1], array(model.get_layer("logmel")(x))[y != -1])


@pytest.mark.parametrize(("gain_first", "expected"), [(True, 11.0), (False, 20.0)])
def test_layers_on_waveforms_go_in_the_order_given(gain_first: bool, expected: float) -> None:
    layers = [Gain(20, 20), Raised()]
    layers = layers if gain_first else layers[::-1]
    trained = augment(small_model(), [SpecAugment(1, 1), *layers])
    seen = keras.Model(trained.input, layers[-1].output)
    x = np.ones((1, SAMPLES), np.float32)
    np.testing.assert_allclose(array(seen(x, training=True)), expected, rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 1.0, 4.0])
def test_proportions_have_the_beta_distribution(alpha: float) -> None:
    drawn = array(symmetric_beta((50000,), alpha, keras.random.SeedGenerator(0)))
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    places = np.array([1e-4, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1 - 1e-4])
    below = np.mean(drawn[:, np.newaxis] <= places, axis=0)
    np.testing.assert_allclose(below, stats.beta(alpha, alpha).cdf(places), atol=0.01)


def test_mixup_mixes_sound_labels_and_weights_alike() -> None:
    count = 8
    trained = augment(build_model("dieleman_mel", tags=count), [Mixup(1.0, seed=0)])
    x, weights = noise(count, 100), np.linspace(1, 2, count)
    seen = []
    for _ in range(20):
        mixed, labels, mixed_weights = map(array, trained.mix((x, np.eye(count), weights)))
        np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
        assert labels.min() >= 0
        np.testing.assert_allclose(mixed, labels @ x, atol=1e-6)
        np.testing.assert_allclose(mixed_weights, labels @ weights, atol=1e-6)
        others = (labels - np.diag(np.diag(labels))) > 0
        assert np.all(others.sum(axis=0) <= 1)
        assert np.all(others.sum(axis=1) <= 1)
        seen += np.diag(labels)[np.diag(labels) < 1].tolist()
    assert len(set(seen)) == len(seen) > 100
    assert np.mean(seen) == pytest.approx(0.5, abs=0.07)


def test_mixup_takes_whole_numbers_and_no_weights() -> None:
    trained = augment(small_model(), [Mixup(0.4, seed=0)])
    mixed, labels = trained.mix((noise(4), LABELS.astype(bool)))
    assert (labels.dtype, mixed.dtype) == ("float32", "float32")
    trained.compile("adam", "binary_crossentropy", run_eagerly=True)
    assert np.isfinite(trained.train_on_batch(noise(4), LABELS.astype(np.int64)))


@pytest.mark.parametrize("labels", [np.array([0, 1, 1, 0]), np.zeros((4, 3)), None])
def test_mixup_refuses_labels_that_cannot_be_mixed(labels) -> None:
    trained = augment(small_model(), [Mixup(0.4)])
    with pytest.raises(ArgumentError, match=r"labels of the shape \(batch, 2\)"):
        trained.mix((noise(4, 10), labels))


def test_mixup_is_in_training_only() -> None:
    trained = augment(small_model(), [Mixup(1.0, seed=0)])
    batch = noise(4), np.linspace(0, 1, 8, dtype=np.float32).reshape(4, 2)
    seen = []

    class Seen(keras.losses.Loss):
        def call(self, y_true, y_pred):
            seen.append(array(y_true))
            return keras.ops.mean(y_pred, axis=-1)

    trained.compile(keras.optimizers.SGD(0.0), Seen(), run_eagerly=True)
    for _ in range(3):
        trained.train_on_batch(*batch)
    trained.test_on_batch(*batch)
    assert np.abs(np.array(seen[:3]) - batch[1]).max() > 0.01
    np.testing.assert_array_equal(seen[3], batch[1])


def test_weights_and_losses_of_the_layers_still_count() -> None:
    model = small_model()
    model.get_layer("logits").kernel.regularizer = keras.regularizers.L2(3.0)
    trained = augment(model, ALL, seed=0)
    trained.compile(keras.optimizers.SGD(0.0), "binary_crossentropy", run_eagerly=True)
    penalty = 3 * float(np.sum(array(model.get_layer("logits").kernel) ** 2))
    alone = trained.train_on_batch(noise(4), LABELS, sample_weight=np.zeros(4))
    assert float(alone) == pytest.approx(penalty, rel=1e-5)
    trained.reset_metrics()
    assert float(trained.train_on_batch(noise(4), LABELS)) > penalty + 0.1


ONE_BY_ONE = {
    "time_shift": Augmentation(time_shift_s=0.2),
    "gain": Augmentation(gain_db=(-6, 6)),
    "noise": Augmentation(noise_snr_db=(0, 20)),
    "freq_masks": Augmentation(freq_mask=10, n_freq_masks=2),
    "time_masks": Augmentation(time_mask=20),
    "mixup": Augmentation(mixup=0.2),
    "all": ALL,
    "none": NO_AUGMENTATION,
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("all", "none") else pytest.mark.slow)
        for name in ONE_BY_ONE
    ],
)
def test_training_the_augmented_model_trains_the_plain_one(name: str) -> None:
    model = small_model()
    described, before = model.get_config(), model.get_weights()
    trained = augment(model, ONE_BY_ONE[name], seed=0)
    eagerly = name != "all"
    trained.compile("adam", "binary_crossentropy", metrics=["AUC"], run_eagerly=eagerly)
    history = trained.fit(noise(4), LABELS, batch_size=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    moved = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert all(moved)
    assert [id(v) for v in trained.trainable_variables] == [
        id(v) for v in model.trainable_variables
    ]
    assert model.get_config() == described
    assert_alike(trained, model)


def assert_alike(trained, model) -> None:
    x = noise(4)
    ours, theirs = (array(one(x, training=False)) for one in (trained, model))
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(array(trained(x)), theirs)


def test_predict_and_evaluate_are_those_of_the_plain_model() -> None:
    model = small_model()
    trained = augment(model, ALL, seed=0)
    for one in (trained, model):
        one.compile("adam", "binary_crossentropy", metrics=["AUC"])
    ours, theirs = (one.predict(noise(4), verbose=0) for one in (trained, model))
    np.testing.assert_array_equal(ours, theirs)
    ours, theirs = (one.evaluate(noise(4), LABELS, verbose=0) for one in (trained, model))
    assert ours == theirs


def test_the_plain_model_is_saved_without_augmentation(tmp_path) -> None:
    model = small_model()
    augment(model, ALL, seed=0)
    model.save(tmp_path / "plain.keras")
    revived = keras.saving.load_model(tmp_path / "plain.keras")
    assert [layer.name for layer in revived.layers] == [layer.name for layer in model.layers]
    np.testing.assert_array_equal(
        revived.predict_on_batch(noise(2)), model.predict_on_batch(noise(2))
    )


def test_a_saved_augmented_model_trains_on(tmp_path) -> None:
    trained = augment(small_model(), ALL, seed=3)
    x, y = noise(4), LABELS
    trained.compile("adam", "binary_crossentropy", run_eagerly=True)
    trained.train_on_batch(x, y)
    trained.save(tmp_path / "augmented.keras")
    revived = keras.saving.load_model(tmp_path / "augmented.keras")
    assert revived.mixup == trained.mixup == Mixup(0.4, seed=trained.mixup.seed)
    for seeds in (trained.seed_generator, revived.seed_generator):  # states are not in the file
        seeds.state.assign([1, 2])
    for one, other in zip(trained.mix((x, y)), revived.mix((x, y)), strict=True):
        np.testing.assert_array_equal(array(one), array(other))
    for kind in (TimeShift, Gain, Noise, SpecAugment):
        ours, theirs = (
            next(layer for layer in model.layers if isinstance(layer, kind)).get_config()
            for model in (trained, revived)
        )
        assert ours == theirs
    assert np.isfinite(revived.train_on_batch(x, y))


def test_a_model_on_waveforms() -> None:
    model = build_model("dieleman_waveform", tags=2)
    x = noise(2)
    trained = augment(model, replace(ALL, freq_mask=0, time_mask=0), seed=0)
    trained.compile("adam", "binary_crossentropy", run_eagerly=True)
    assert np.isfinite(trained.train_on_batch(x, LABELS[:2]))
    assert_alike(trained, model)
    for augmentation in (ALL, [SpecAugment(2, 2)]):
        with pytest.raises(ArgumentError, match=r"need.* a spectrogram, and .* waveform"):
            augment(model, augmentation)


def test_frozen_layers_do_not_move() -> None:
    tuned = finetune_model(small_model(), tags=["calm", "wild"], trainable="head")
    before = {layer.name: layer.get_weights() for layer in tuned.layers}
    trained = augment(tuned, ALL, seed=0)
    trained.compile("adam", "binary_crossentropy", run_eagerly=True)
    trained.fit(noise(4), LABELS, epochs=2, batch_size=2, verbose=0)
    moved = {
        layer.name
        for layer in tuned.layers
        for old, new in zip(before[layer.name], layer.get_weights(), strict=True)
        if not np.array_equal(old, new)
    }
    assert moved == {"logits"}


@pytest.fixture
def _mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.usefixtures("_mixed_precision")
def test_mixed_precision() -> None:
    model = small_model(input=LogMelInput(compression="decibel"))
    trained = augment(model, ALL, seed=0)
    assert model.get_layer("frontend_conv1").compute_dtype == "float16"
    (masks,) = (layer for layer in trained.layers if isinstance(layer, SpecAugment))
    assert masks.output.dtype == "float32"
    assert_alike(trained, model)
    before = model.get_weights()
    trained.compile("adam", "binary_crossentropy", run_eagerly=True)
    for _ in range(3):  # the first steps may only lower the scale of the loss
        assert np.isfinite(trained.fit(noise(4), LABELS, verbose=0).history["loss"]).all()
    moved = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert np.mean(moved) > 0.5
    x = np.full((2, 1000), 1e-6, np.float32)  # float16 would hold 6e-8 and its multiples
    kept = array(Gain(6, 6)(x, training=True))
    np.testing.assert_allclose(kept, 1e-6 * 10**0.3, rtol=1e-6)


def prepared(seed: int):
    keras.utils.set_random_seed(seed)
    model = small_model()
    trained = augment(model, ALL, seed=seed)
    trained.compile("adam", "binary_crossentropy", jit_compile=False)
    trained.optimizer.build(trained.trainable_variables)
    return trained


def step(trained, count: int) -> list[float]:
    losses = []
    for _ in range(count):
        trained.reset_metrics()
        losses.append(float(trained.train_on_batch(noise(4), LABELS)))
    return losses


@pytest.mark.slow
def test_training_can_be_resumed_exactly() -> None:
    def values(trained) -> list[np.ndarray]:
        return [array(v) for v in [*trained.variables, *trained.optimizer.variables]]

    undisturbed = prepared(0)
    losses = step(undisturbed, 3)
    broken = prepared(0)
    assert step(broken, 3) == losses
    kept = values(broken)
    resumed = prepared(1)

    def restore(*, seeds: bool) -> None:
        variables = [*resumed.variables, *resumed.optimizer.variables]
        for variable, value in zip(variables, kept, strict=True):
            if seeds or "seed_generator" not in variable.path:
                variable.assign(value)

    restore(seeds=True)
    losses = step(undisturbed, 3)
    np.testing.assert_allclose(step(resumed, 3), losses, atol=1e-6)
    for ours, theirs in zip(values(resumed), values(undisturbed), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    restore(seeds=False)
    assert not np.allclose(step(resumed, 3), losses, atol=1e-4)


def test_one_seed_gives_every_part_its_own() -> None:
    signal = LogMelInput()

    def seeds(augmentation: Augmentation, seed: int | None) -> dict[str, int | None]:
        return {type(p).__name__: p.seed for p in augmentation.build(signal, seed=seed)}

    every = seeds(ALL, 0)
    assert list(every) == ["TimeShift", "Gain", "Noise", "SpecAugment", "Mixup"]
    assert len(set(every.values())) == 5
    assert seeds(ALL, 0) == every
    assert not set(seeds(ALL, 1).values()) & set(every.values())
    assert seeds(replace(ALL, gain_db=None), 0) == {
        name: seed for name, seed in every.items() if name != "Gain"
    }
    assert set(seeds(ALL, None).values()) == {None}


def test_a_description_makes_what_it_says() -> None:
    shift, gain, snr, masks, mixup = ALL.build(LogMelInput(sample_rate=22050))
    assert (shift.max_s, shift.sample_rate) == (0.5, 22050)
    assert (gain.low_db, gain.high_db, snr.low_db, snr.high_db) == (-6, 6, 10, 30)
    assert (masks.freq_mask, masks.time_mask) == (12, 30)
    assert (masks.n_freq_masks, masks.n_time_masks) == (2, 2)
    assert mixup.alpha == 0.4
    assert NO_AUGMENTATION.build(WaveformInput()) == []
    assert Augmentation(freq_mask=3, n_freq_masks=0).build(WaveformInput()) == []


def ranges():
    return st.none() | st.tuples(st.floats(-60, 0), st.floats(0, 60))


@given(
    st.builds(
        Augmentation, time_shift_s=st.floats(0, 5), gain_db=ranges(), noise_snr_db=ranges(),
        freq_mask=st.integers(0, 50), time_mask=st.integers(0, 50),
        n_freq_masks=st.integers(0, 3), n_time_masks=st.integers(0, 3), mixup=st.floats(0, 4),
    )
)  # fmt: skip
def test_a_description_goes_to_json_and_back(augmentation: Augmentation) -> None:
    stored = json.loads(json.dumps(augmentation.to_dict()))
    assert Augmentation.from_dict(stored) == augmentation
    assert hash(Augmentation.from_dict(stored)) == hash(augmentation)


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: TimeShift(0), "max_s must be above 0; received 0"),
        (lambda: TimeShift(-1), "max_s must be above 0; received -1"),
        (lambda: TimeShift(1e-6), "max_s must be at least one sample, 6.25e-05 s; received 1e-06"),
        (lambda: TimeShift(1, 0), "sample_rate must be above 0"),
        (lambda: TimeShift("1"), "max_s must be a finite number; received '1'"),
        (lambda: Gain(3, -3), "low_db must be at most high_db; received 3 and -3"),
        (lambda: Gain(float("nan"), 1), "low_db must be a finite number; received nan"),
        (lambda: Noise(0, float("inf")), "high_db must be a finite number; received inf"),
        (lambda: Noise(0, 1, seed=-1), "seed must be at least 0; received -1"),
        (lambda: Noise(0, 1, seed=2**31), "seed must be at most 2147483647; received"),
        (lambda: Gain(0, 1, seed=True), "seed must be a whole number; received True"),
        (lambda: Gain(0, 1)(np.ones((2, 3, 1))), r"takes waveforms .* shape \(2, 3, 1\)"),
        (lambda: SpecAugment(0, 0), "would mask nothing"),
        (lambda: SpecAugment(3, 4, 0, 0), "would mask nothing"),
        (lambda: SpecAugment(-1, 3), "freq_mask must be at least 0; received -1"),
        (lambda: SpecAugment(1, 2.5), "time_mask must be a whole number; received 2.5"),
        (lambda: SpecAugment(1, 2, 1, -2), "n_time_masks must be at least 0; received -2"),
        (lambda: SpecAugment(1, 2, mask_value=float("nan")), "mask_value must be a finite"),
        (lambda: SpecAugment(1, 2)(np.ones((2, 9))), r"takes spectrograms .* shape \(2, 9\)"),
        (lambda: Mixup(0), "mixup alpha must be above 0; received 0"),
        (lambda: Mixup(0.2, seed=1.5), "seed must be a whole number"),
        (lambda: Augmentation(time_shift_s=-1), "time_shift_s must be at least 0; received -1"),
        (lambda: Augmentation(mixup=-0.1), "mixup must be at least 0; received -0.1"),
        (lambda: Augmentation(gain_db=3), "gain_db must be two numbers in dB"),
        (lambda: Augmentation(noise_snr_db=(5, 1)), "noise_snr_db: low_db must be at most"),
        (lambda: Augmentation(freq_mask=1.5), "freq_mask must be a whole number"),
        (lambda: Augmentation.from_dict([]), "must be an object"),
        (lambda: ALL.build(LogMelInput(), seed="x"), "seed must be a whole number"),
    ],
)  # fmt: skip
def test_what_cannot_be(attempt, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        attempt()


def test_an_unknown_entry_of_a_description() -> None:
    with pytest.raises(UnknownNameError, match="did you mean freq_mask"):
        Augmentation.from_dict({"freq_masks": 3})


@pytest.mark.parametrize(
    ("parts", "options", "message"),
    [
        (["gain"], {}, "must be a Keras layer or Mixup; received 'gain'"),
        ([Mixup(0.2), Mixup(0.3)], {}, "there can be one Mixup"),
        ([Gain(0, 1)], {"seed": 0}, "layers have their own: received seed=0"),
        ([TimeShift(1, 22050)], {}, "takes 16000 Hz; received a TimeShift of sample_rate=22050"),
    ],
)
def test_what_no_model_can_be_augmented_with(parts, options, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        augment(small_model(), parts, **options)


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONWARNINGS": "ignore"} | environment,
        capture_output=True, text=True, timeout=300, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


REPLICAS = """
import keras, numpy as np, tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from musicnn_zoo import build_model
from musicnn_zoo.augmentation import Augmentation, SpecAugment, augment
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
x = np.random.default_rng(0).normal(0, 0.1, (8, 48128)).astype("float32")
y = np.eye(2, dtype="float32")[[0, 1] * 4]
with strategy.scope():
    model = build_model("dieleman_mel", tags=2)
    trained = augment(model, Augmentation(
        time_shift_s=0.5, gain_db=(-6, 6), noise_snr_db=(10, 30), freq_mask=12, time_mask=30,
        mixup=0.4), seed=0)
    trained.compile("adam", "binary_crossentropy", jit_compile=False)
    masks = SpecAugment(12, 30, seed=0)
before = model.get_weights()
history = trained.fit(x, y, batch_size=4, epochs=2, verbose=0).history
assert np.isfinite(history["loss"]).all()
assert all(not np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
np.testing.assert_array_equal(
    trained.predict(x, batch_size=8, verbose=0), model.predict(x, batch_size=8, verbose=0))
ones = tf.ones((4, 187, 96, 1))
both = tf.function(lambda: strategy.run(lambda: masks(ones, training=True)))()
one, other = (value.numpy() for value in strategy.experimental_local_results(both))
assert len({example.tobytes() for example in [*one, *other]}) == 8
alone = SpecAugment(12, 30, seed=0)(ones, training=True).numpy()
np.testing.assert_array_equal(one, alone)
states = strategy.experimental_local_results(masks.seed_generator.state.value)
assert len({tuple(state.numpy()) for state in states}) == 1
"""


@pytest.mark.slow
def test_replicas_have_randomness_of_their_own() -> None:
    run(REPLICAS)


ON_JAX = """
import keras, numpy as np
from musicnn_zoo import build_model
from musicnn_zoo.augmentation import Augmentation, SpecAugment, augment
assert keras.backend.backend() == "jax"
x = np.random.default_rng(0).normal(0, 0.1, (4, 48128)).astype("float32")
y = np.eye(2, dtype="float32")[[0, 1] * 2]
keras.utils.set_random_seed(0)

def losses(seed):
    model = build_model("dieleman_mel", tags=2)
    plain = [np.array(v) for v in model.get_weights()]
    if first:
        model.set_weights(first)
    first.extend(plain if not first else [])
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    trained = augment(model, Augmentation(
        time_shift_s=0.5, gain_db=(-6, 6), noise_snr_db=(10, 30), freq_mask=12, time_mask=30,
        mixup=0.4), seed=seed)
    trained.compile(keras.optimizers.SGD(0.0), "binary_crossentropy")
    history = trained.fit(x, y, epochs=3, shuffle=False, verbose=0).history["loss"]
    state = np.array(trained.seed_generator.state)
    assert state[1] == 3 * 3, state
    np.testing.assert_array_equal(
        trained.predict(x, verbose=0), model.predict(x, verbose=0))
    return history

first = []
one, again, other = losses(0), losses(0), losses(1)
np.testing.assert_allclose(one, again, atol=1e-6)
assert len(set(one)) == 3 and not np.allclose(one, other, atol=1e-4), (one, other)
ones = np.ones((4, 187, 96, 1), "float32")
masked = np.array(SpecAugment(12, 30, seed=0)(ones, training=True))
print([int((one.max(axis=0) == 0).any()) + int((one.max(axis=1) == 0).any())
       for one in masked[..., 0]])
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
def test_everything_runs_on_jax() -> None:
    assert run(ON_JAX, KERAS_BACKEND="jax").splitlines() == ["[2, 2, 2, 2]"]
