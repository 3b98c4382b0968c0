import numpy as np
import pytest
from keras import layers

from musicnn_zoo import ArgumentError, block, build_model, load_model, save_pretrained
from musicnn_zoo.training.fit import finetune_model, head_layers, set_trainable

TAGS = ["calm", "wild", "odd"]


def noise(count: int, samples: int = 48128) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (count, samples)).astype(np.float32)


@pytest.fixture(scope="module")
def pretrained():
    return load_model("MTT_musicnn")


@pytest.fixture(scope="module")
def small():
    """A model that is trained in a moment."""
    frontend = block("rectangular", filters=(4,), pools=((4, 8),))
    return build_model(frontend=frontend, backend=block("temporal_pooling", units=32), patch=63)


def trained(model) -> set[str]:
    return {layer.name for layer in model.layers if layer.trainable_weights}


def test_all_but_the_head_is_the_pretrained_model(pretrained) -> None:
    tuned = finetune_model(pretrained, tags=TAGS)
    assert (tuned.tags, tuned.output_shape) == (tuple(TAGS), (None, 3))
    fresh = {"logits"}
    for layer in tuned.layers:
        if layer.name not in fresh:
            for ours, theirs in zip(
                layer.get_weights(), pretrained.get_layer(layer.name).get_weights(), strict=True
            ):
                np.testing.assert_array_equal(ours, theirs)
    assert head_layers(tuned) == {"backend_dropout2", "logits", "tags"}


def test_a_head_of_as_many_tags_is_fresh_too(pretrained) -> None:
    tuned = finetune_model(pretrained, tags=[f"new {i}" for i in range(50)])
    ours, theirs = (model.get_layer("logits").get_weights()[0] for model in (tuned, pretrained))
    assert not np.allclose(ours, theirs)


def test_parts_that_are_trained(pretrained) -> None:
    with_batchnorm = {
        part: trained(finetune_model(pretrained, tags=TAGS, trainable=part, batchnorm="trainable"))
        for part in ("head", "backend", "midend", "all")
    }
    assert with_batchnorm["head"] == {"logits"}
    assert with_batchnorm["backend"] == {"logits", "backend_dense", "backend_bn", "penultimate"}
    assert with_batchnorm["midend"] - with_batchnorm["backend"] == {
        "midend_conv1", "midend_conv2", "midend_conv3", "cnn1", "midend_conv2_bn",
        "midend_conv3_bn",
    }  # fmt: skip
    assert with_batchnorm["all"] == trained(build_model("musicnn"))
    frozen = finetune_model(pretrained, tags=TAGS, trainable="all")
    batchnorms = {la.name for la in frozen.layers if isinstance(la, layers.BatchNormalization)}
    assert trained(frozen) == with_batchnorm["all"] - batchnorms


@pytest.mark.parametrize("trainable", ["head", "all"])
def test_neither_frozen_batchnorm_nor_the_pretrained_model_moves(small, trainable: str) -> None:
    pretrained = small.get_weights()
    tuned = finetune_model(small, tags=TAGS, trainable=trainable, activation="softmax")
    before = {layer.name: layer.get_weights() for layer in tuned.layers}
    tuned.compile("adam", "categorical_crossentropy")
    tuned.fit(noise(4, 16384), np.eye(3)[[0, 1, 2, 0]], epochs=2, batch_size=2, verbose=0)
    moved = {
        layer.name
        for layer in tuned.layers
        for old, new in zip(before[layer.name], layer.get_weights(), strict=True)
        if not np.array_equal(old, new)
    }
    assert moved == trained(tuned)
    assert not any(name.endswith("_bn") for name in moved)
    for old, new in zip(pretrained, small.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert all(layer.trainable for layer in small.layers)


def test_batchnorm_moves_if_asked(small) -> None:
    tuned = finetune_model(small, tags=TAGS, trainable="all", batchnorm="trainable")
    before = tuned.get_layer("input_bn").get_weights()
    tuned.compile("adam", "binary_crossentropy")
    tuned.fit(noise(2, 16384), np.zeros((2, 3)), verbose=0)
    assert not np.array_equal(before[2], tuned.get_layer("input_bn").get_weights()[2])


def test_more_may_be_trained_later(pretrained) -> None:
    tuned = finetune_model(pretrained, tags=TAGS)
    set_trainable(tuned, "all")
    assert "frontend_timbral_38" in trained(tuned)
    set_trainable(tuned, "head")
    assert trained(tuned) == {"logits"}


@pytest.mark.parametrize("backend", ["autopool", "attention", "recurrent", "self_attention"])
def test_every_back_end_gets_a_new_head(backend: str) -> None:
    model = build_model(frontend=block("vgg", filters=4), backend=backend, tags=5)
    tuned = finetune_model(model, tags=TAGS, trainable="head")
    assert tuned(noise(2)).shape == (2, 3)
    assert trained(tuned) <= head_layers(tuned)
    assert trained(tuned)


def test_licence_and_notice_go_with_the_weights(pretrained, tmp_path) -> None:
    tuned = finetune_model(pretrained, tags=TAGS)
    save_pretrained(tuned, tmp_path)
    again = load_model(tmp_path)
    assert again.provenance.license == "ISC"
    assert "Jordi Pons" in (tmp_path / "LICENSE").read_text(encoding="utf-8")
    assert again.provenance.source.startswith("fine-tuned from MTT_musicnn")
    assert again.provenance.metrics == {}
    np.testing.assert_array_equal(again(noise(2)), tuned(noise(2)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tags": []}, "one or more different names"),
        ({"tags": ["a", "a"]}, "one or more different names"),
        ({"tags": TAGS, "trainable": "some"}, "trainable must be one of head"),
        ({"tags": TAGS, "batchnorm": "no"}, "batchnorm must be one of frozen"),
    ],
)
def test_what_cannot_be(pretrained, options, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        finetune_model(pretrained, **options)
