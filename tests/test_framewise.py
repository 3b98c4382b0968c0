import keras
import numpy as np
import pytest
from conftest import CLIPS

from musicnn_zoo import ArgumentError, Tagger, build_model
from musicnn_zoo.runtimes.variants import framewise_model

CLIP = CLIPS / "techno_loop.ogg"


@pytest.fixture(scope="module", params=["autopool", "attention"])
def tagger(request: pytest.FixtureRequest) -> Tagger:
    return Tagger(build_model("musicnn", backend=request.param, tags=["a", "b", "c"]))


def test_one_row_a_frame(tagger: Tagger) -> None:
    frames, taggram = tagger.frames(CLIP), tagger.taggram(CLIP)
    assert frames.scores.shape == (187 * len(taggram), 3)
    assert frames.hop_s == pytest.approx(256 / 16000)
    np.testing.assert_allclose(frames.times[::187], taggram.times)


def test_autopool_pools_its_frame_scores() -> None:
    tagger = Tagger(build_model("musicnn", backend="autopool", tags=["a", "b", "c"]))
    alpha = np.array([0.0, 3.0, -2.0])
    tagger.model.get_layer("tags").alpha.assign(alpha)
    frames = tagger.frames(CLIP).scores.reshape(-1, 187, 3).astype(np.float64)
    weights = np.exp(alpha * frames)
    pooled = (frames * weights).sum(axis=1) / weights.sum(axis=1)
    np.testing.assert_allclose(tagger.taggram(CLIP).scores, pooled, atol=1e-5)


def test_attention_puts_its_head_on_every_frame() -> None:
    model = build_model("musicnn", backend="attention", tags=["a", "b", "c"])
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 16000)).astype(np.float32)
    scores = np.asarray(framewise_model(model)(noise, training=False))[0]
    vectors = keras.Model(model.input, model.get_layer("frames").output)(noise, training=False)[0]
    for name in ("backend_bn", "backend_dense", "penultimate", "logits", "tags"):
        vectors = model.get_layer(name)(vectors)
    np.testing.assert_allclose(scores, vectors, atol=1e-5)
    assert np.ptp(scores, axis=0).max() > 1e-3


def assert_same_events(events, others) -> None:
    """Scores of two calls may differ in their last bit, so thresholds lie between two."""
    assert [event[:3] for event in events] == [event[:3] for event in others]
    np.testing.assert_allclose(
        [event.score for event in events], [event.score for event in others], atol=1e-6
    )
    assert len(events) > 0


def test_events_come_from_frames_where_there_are_any(tagger: Tagger) -> None:
    frames = tagger.frames(CLIP)
    scores = np.sort(frames.scores.ravel())
    highest = scores[-scores.size // 10 : -scores.size // 20]
    widest = np.argmax(np.diff(highest))
    threshold = float(highest[widest] + highest[widest + 1]) / 2
    events = tagger.events(CLIP, threshold=threshold)
    assert_same_events(events, frames.events(threshold=threshold))
    assert {event.tag for event in events} <= {"a", "b", "c"}


def test_events_of_other_models_come_from_the_taggram() -> None:
    tagger = Tagger("MTT_musicnn", device="cpu")
    events = tagger.events(CLIP, threshold=0.6)
    assert_same_events(events, tagger.taggram(CLIP).events(threshold=0.6))
    assert "techno" in {event.tag for event in events}


def test_other_backends_say_that_they_have_none() -> None:
    model = build_model("vgg", tags=2)
    with pytest.raises(ArgumentError, match=r"'mlp'.*autopool and attention have"):
        framewise_model(model)
