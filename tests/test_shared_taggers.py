"""Taggers that are kept: one a model, none that waits for another, none that outlives its model."""

import gc
import threading
import weakref

import numpy as np
import pytest

import musicnn_zoo
from musicnn_zoo import build_model, tag
from musicnn_zoo.networks.config import TagThresholds
from musicnn_zoo.tagging import functions as shared_taggers
from musicnn_zoo.tagging.functions import shared_tagger

NOISE = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)


class Slow:
    """A Tagger that takes its time, or fails, by the name of its model."""

    began = threading.Event()
    may_end = threading.Event()

    def __init__(self, model, *, engine, device):
        if model == "slow":
            self.began.set()
            assert self.may_end.wait(20)
        if model == "broken":
            raise musicnn_zoo.WeightsError("broken")


@pytest.fixture
def slow(monkeypatch):
    monkeypatch.setattr(shared_taggers, "Tagger", Slow)
    monkeypatch.setattr(shared_taggers, "_of_places", shared_taggers._Taggers())
    Slow.began.clear()
    Slow.may_end.clear()


def kept(model):
    return shared_tagger(model, "auto", None)


def test_a_model_that_loads_keeps_nobody_from_another(slow) -> None:
    quick, got = kept("quick"), []
    loading = [threading.Thread(target=lambda: got.append(kept("slow"))) for _ in range(2)]
    loading[0].start()
    assert Slow.began.wait(20)
    loading[1].start()
    asking = threading.Thread(target=lambda: got.append(kept("quick")))
    asking.start()
    asking.join(10)
    assert got == [quick]
    Slow.may_end.set()
    for thread in loading:
        thread.join(10)
    assert got[1] is got[2]  # it was loaded once


def test_a_model_that_does_not_load_pushes_none_out(slow) -> None:
    first = kept("first")
    for _ in range(9):
        with pytest.raises(musicnn_zoo.WeightsError):
            kept("broken")
    assert kept("first") is first
    for name in "abcd":
        kept(name)
    assert kept("first") is not first


@pytest.fixture
def model():
    return build_model("vgg", tags=["calm", "wild"])


def test_a_model_object_keeps_its_tagger_and_has_its_weights_of_today(model) -> None:
    before = tag(NOISE, sample_rate=16_000, model=model, threshold=0)
    tagger = kept(model)
    engine = tagger.engine_for(("output",))
    assert kept(model) is tagger
    assert shared_tagger(model, "auto", "cpu") is not tagger
    head = [layer for layer in model.layers if layer.weights][-1]
    head.set_weights([-value + 1 for value in head.get_weights()])
    after = tag(NOISE, sample_rate=16_000, model=model, threshold=0)
    assert kept(model) is tagger
    again = tagger.engine_for(("output",))
    assert again is not engine  # it had copies of the weights
    tag(NOISE, sample_rate=16_000, model=model, threshold=0)
    assert tagger.engine_for(("output",)) is again  # nothing was traced again
    assert dict(after) != pytest.approx(dict(before), abs=0.05)
    expected = musicnn_zoo.Tagger(model).tag(NOISE, sample_rate=16_000, threshold=0)
    assert dict(after) == pytest.approx(dict(expected), abs=1e-6)


def test_a_model_that_was_trained_gives_its_new_scores(model) -> None:
    before = tag(NOISE, sample_rate=16_000, model=model, threshold=0)
    model.compile("sgd", "binary_crossentropy")
    model.optimizer.learning_rate = 1.0
    wave = np.resize(NOISE, (2, model.input_shape[1]))
    model.fit(wave, np.array([[1.0, 0.0]] * 2), epochs=1, verbose=0)
    after = tag(NOISE, sample_rate=16_000, model=model, threshold=0)
    fresh = musicnn_zoo.Tagger(model).tag(NOISE, sample_rate=16_000, threshold=0)
    assert dict(after) == pytest.approx(dict(fresh), abs=1e-6)
    assert dict(after) != pytest.approx(dict(before), abs=1e-4)


def test_a_model_with_other_thresholds_gets_another_tagger(model) -> None:
    first = kept(model)
    model.thresholds = TagThresholds((0.0, 0.0))
    assert kept(model) is not first
    assert len(tag(NOISE, sample_rate=16_000, model=model, threshold="calibrated")) == 2


def test_a_kept_tagger_ends_with_its_model(tmp_path) -> None:
    model = build_model("vgg", tags=1)
    tag(NOISE, sample_rate=16_000, model=model)
    model.save(tmp_path / "saved.keras")  # and Keras does not take it for a part of the model
    ended = [weakref.ref(kept(model)), weakref.ref(model)]
    del model
    gc.collect()
    assert [each() for each in ended] == [None, None]
