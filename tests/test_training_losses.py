import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from musicnn_zoo.training.fit import BalancedBinaryCrossentropy

WEIGHTS = np.array([[0.6, 3.0], [1.0, 1.0], [2.0, 0.25]])
labels = arrays(np.float32, (4, 3), elements=st.sampled_from([0.0, 0.3, 1.0]))
scores = arrays(
    np.float32, (4, 3), elements=st.floats(np.float32(1e-4), np.float32(0.999), width=32)
)


def by_hand(y, p, weights) -> np.ndarray:
    """The formula of the docstring, in double precision."""
    y, p = y.astype("f8"), p.astype("f8")
    each = weights[:, 1] * y * np.log(p) + weights[:, 0] * (1 - y) * np.log(1 - p)
    return -each.mean(axis=-1)


@settings(max_examples=30)
@given(labels, scores)
def test_it_is_the_formula_for_labels_of_zero_and_one(y, p) -> None:
    y = np.round(y)
    loss = BalancedBinaryCrossentropy(WEIGHTS, reduction=None)
    np.testing.assert_allclose(loss(y, p), by_hand(y, p, WEIGHTS), rtol=1e-3, atol=1e-5)
    mean = BalancedBinaryCrossentropy(WEIGHTS)(y, p)
    assert float(mean) == pytest.approx(by_hand(y, p, WEIGHTS).mean(), rel=1e-3, abs=1e-5)


@settings(max_examples=20)
@given(labels, scores)
def test_weights_of_one_change_nothing(y, p) -> None:
    plain = keras.losses.BinaryCrossentropy(reduction=None)
    loss = BalancedBinaryCrossentropy(np.ones((3, 2)), reduction=None)
    np.testing.assert_allclose(loss(y, p), plain(y, p), rtol=1e-5, atol=1e-7)


def test_examples_may_have_weights_too() -> None:
    y, p = np.eye(3, dtype="f4")[:2], np.full((2, 3), 0.3, "f4")
    found = BalancedBinaryCrossentropy(WEIGHTS)(y, p, sample_weight=np.array([1.0, 3.0]))
    assert float(found) == pytest.approx((by_hand(y, p, WEIGHTS) * [1, 3]).sum() / 2, rel=1e-5)


@pytest.mark.parametrize("label_type", ["bool", "int64", "float64", "float32"])
@pytest.mark.parametrize("score_type", ["float16", "bfloat16", "float32"])
def test_other_types_are_computed_in_float32(label_type, score_type) -> None:
    y = np.array([[1, 0, 1], [0, 1, 0]])
    p = tf.cast([[0.25, 0.5, 0.75], [0.5, 0.5, 0.125]], score_type)
    found = BalancedBinaryCrossentropy(WEIGHTS, reduction=None)(y.astype(label_type), p)
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, by_hand(y, np.array(p, "f8"), WEIGHTS), rtol=1e-5)


@pytest.mark.parametrize("score_type", ["float16", "float32"])
def test_certain_scores_give_finite_losses_and_gradients(score_type) -> None:
    y = np.array([[0, 1, 0], [1, 0, 1]], "f4")
    for value in (0.0, 1.0):
        p = tf.fill((2, 3), tf.cast(value, score_type))
        with tf.GradientTape() as tape:
            tape.watch(p)
            loss = BalancedBinaryCrossentropy(100 * WEIGHTS)(y, p)
        assert np.isfinite(loss)
        assert loss > 1
        assert np.isfinite(tape.gradient(loss, p)).all()


def test_a_tag_that_is_wholly_wrong_still_learns() -> None:
    """After a sigmoid the loss is computed from logits, as Keras's own is."""
    y = tf.constant([[1.0, 0.0]])

    @tf.function
    def gradient(loss, logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(y, tf.sigmoid(logits))
        return tape.gradient(value, logits)

    logits = tf.constant([[-40.0, 40.0]])
    loss = BalancedBinaryCrossentropy([[1, 3], [5, 1]])
    np.testing.assert_allclose(gradient(loss, logits), [[-1.5, 2.5]], rtol=1e-5)


def test_it_is_stored_and_read() -> None:
    loss = BalancedBinaryCrossentropy(WEIGHTS, name="mine", reduction="sum")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert isinstance(again, BalancedBinaryCrossentropy)
    assert (again.name, again.reduction, again.get_config()) == ("mine", "sum", loss.get_config())
    y, p = np.eye(3, dtype="f4"), np.full((3, 3), 0.3, "f4")
    assert float(again(y, p)) == float(loss(y, p))


def test_a_model_compiled_with_it_is_saved_and_loaded(tmp_path) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, activation="sigmoid")])
    model.compile("sgd", BalancedBinaryCrossentropy(WEIGHTS))
    x, y = np.ones((4, 2)), np.eye(3)[[0, 1, 2, 0]]
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(x, y, verbose=0) == pytest.approx(model.evaluate(x, y, verbose=0))
