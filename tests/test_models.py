import copy
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from musicnn_zoo import (
    ArgumentError,
    LogMelInput,
    Provenance,
    UnknownNameError,
    build_model,
    load_model,
    save_pretrained,
)
from musicnn_zoo.networks.architectures import ARCHITECTURES
from musicnn_zoo.networks.build import TaggingModel, adapt
from musicnn_zoo.networks.config import ModelConfig, TagThresholds, block

PATCH = 48128
MUSICNN = ARCHITECTURES["musicnn"].config
VGG = ARCHITECTURES["vgg"].config

noise = np.random.default_rng(0).normal(0, 0.1, (2, PATCH)).astype(np.float32)


@pytest.mark.parametrize(
    ("config", "trainable", "total"), [(MUSICNN, 787_159, 792_079), (VGG, 605_748, 607_030)]
)
def test_parameter_counts_are_the_published_ones(
    config: ModelConfig, trainable: int, total: int
) -> None:
    model = build_model(config)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == trainable
    assert model.count_params() == total


@pytest.mark.parametrize("config", [MUSICNN, VGG])
def test_layer_names_are_stable_across_builds(config: ModelConfig) -> None:
    first, second = (
        [layer.name for layer in build_model(config, name=name).layers] for name in ("a", "b")
    )
    assert first == second
    assert not [name for name in first if name.rstrip("0123456789").endswith("_")
                and not name.startswith(("frontend_timbral", "frontend_temporal"))]  # fmt: skip


def test_layers_have_names_that_a_person_would_look_for() -> None:
    musicnn = {layer.name for layer in build_model(MUSICNN).layers}
    assert musicnn >= {
        "waveform", "logmel", "frontend_timbral_38", "frontend_timbral_67",
        "frontend_temporal_128", "frontend_temporal_64", "frontend_temporal_32", "timbral",
        "temporal", "cnn1", "cnn2", "cnn3", "mean_pool", "max_pool", "penultimate", "logits",
        "tags",
    }  # fmt: skip
    vgg = {layer.name for layer in build_model(VGG).layers}
    assert vgg >= {"waveform", "logmel", "pool1", "pool2", "pool3", "pool4", "pool5", "tags"}


def test_no_lambda_layers() -> None:
    for config in (MUSICNN, VGG):
        assert not [
            layer for layer in build_model(config).layers if isinstance(layer, keras.layers.Lambda)
        ]


@pytest.mark.platform
@pytest.mark.parametrize("samples", [512, 16000, PATCH, 160000])
def test_musicnn_takes_any_length_from_one_frame_on(samples: int) -> None:
    scores = np.asarray(build_model(MUSICNN)(np.zeros((2, samples), np.float32)))
    assert scores.shape == (2, 50)
    assert ((scores >= 0) & (scores <= 1)).all()


def test_vgg_takes_one_length_only() -> None:
    model = build_model(VGG)
    assert model.input_shape == (None, PATCH)
    with pytest.raises(ValueError, match="48128"):
        model(np.zeros((1, PATCH + 256), np.float32))


@pytest.mark.platform
@pytest.mark.parametrize("name", ["MTT_musicnn", "MSD_vgg"])
def test_saves_and_loads_as_a_keras_file(name: str, tmp_path: Path) -> None:
    model = load_model(name)
    model.get_layer("input_bn").trainable = False
    path = tmp_path / "model.keras"
    model.save(path)
    copy = keras.saving.load_model(path)
    assert isinstance(copy, TaggingModel)
    assert copy.zoo_config == model.zoo_config
    assert copy.tags == model.tags
    assert not copy.get_layer("input_bn").trainable
    for received, expected in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)
    # Cores add in the order in which they end.
    expected = model.predict(noise, verbose=0)
    np.testing.assert_allclose(copy.predict(noise, verbose=0), expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_is_trainable_in_plain_keras() -> None:
    model = build_model(MUSICNN, tags=["tone", "noise"])
    before = [np.array(weight) for weight in model.trainable_weights]
    model.compile(optimizer="adam", loss="binary_crossentropy")
    model.fit(noise, np.eye(2, dtype=np.float32), epochs=1, verbose=0)
    moved = [
        not np.array_equal(old, new)
        for old, new in zip(before, model.trainable_weights, strict=True)
    ]
    assert np.mean(moved) > 0.9


def test_logits_become_the_scores() -> None:
    config = ModelConfig.from_dict({**MUSICNN.to_dict(), "activation": None})
    logits, scores = build_model(config), load_model("MTT_musicnn")
    logits.set_weights(scores.get_weights())
    np.testing.assert_allclose(
        1 / (1 + np.exp(-logits.predict(noise, verbose=0))),
        scores.predict(noise, verbose=0),
        atol=1e-6,
    )


def test_tags_are_named_or_counted() -> None:
    assert build_model(MUSICNN, tags=["a", "b"]).tags == ("a", "b")
    assert build_model(MUSICNN, tags=3).tags == ("tag_0", "tag_1", "tag_2")


@pytest.mark.parametrize("tags", [0, [], ["same", "same"]])
def test_refuses_tags_that_are_none_or_not_different(tags) -> None:
    with pytest.raises(ArgumentError, match="different names"):
        build_model(MUSICNN, tags=tags)


def test_refuses_an_unknown_option_of_a_block() -> None:
    config = ModelConfig(
        MUSICNN.input, block("timbral_temporal", timbral_filter=3), MUSICNN.backend
    )
    with pytest.raises(UnknownNameError, match="did you mean timbral"):
        build_model(config)


REVIVED = """
import sys
import keras
import musicnn_zoo.networks.build
print(keras.saving.load_model(sys.argv[1] + "/model.keras").tags)
import numpy
import musicnn_zoo
model = musicnn_zoo.load_model(sys.argv[1] + "/folder")
numpy.save(sys.argv[1] + "/scores.npy", model(numpy.load(sys.argv[1] + "/noise.npy")))
"""


def test_a_saved_model_is_revived_in_a_fresh_process(tmp_path: Path) -> None:
    """From a Keras file and from a folder."""
    backend = block("recurrent", cell="gru", cell_units=4, bidirectional=True)
    model = build_model(frontend=block("vgg", filters=2), backend=backend, tags=2)
    model.save(tmp_path / "model.keras")
    save_pretrained(model, tmp_path / "folder")
    np.save(tmp_path / "noise.npy", noise)
    done = subprocess.run(
        [sys.executable, "-c", REVIVED, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.stdout == "('tag_0', 'tag_1')\n", done.stderr[-500:]
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), model(noise), atol=1e-6)


# Keras's own ways


@pytest.fixture(scope="module")
def small() -> TaggingModel:
    model = build_model(
        frontend=block("vgg", filters=2),
        backend=block("attention", units=4),
        input=LogMelInput(normalization="standardize"),
        tags=["calm", "wild"],
        name="small",
        provenance=Provenance(trained_on="ten songs", notice="Copyright"),
        thresholds=TagThresholds((0.25, 0.5), "guessed"),
    )
    adapt(model, noise)
    return model


def by_hdf5(model: TaggingModel, folder: Path) -> TaggingModel:
    model.save(folder / "model.h5")
    revived: TaggingModel = keras.models.load_model(folder / "model.h5")
    return revived


COPIES: dict[str, Callable[[TaggingModel, Path], TaggingModel]] = {
    "deepcopy": lambda model, _: copy.deepcopy(model),
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "HDF5": by_hdf5,
    "clone of the layers themselves": lambda model, _: keras.models.clone_model(
        model, clone_function=lambda layer: layer
    ),
}
FRESH: dict[str, Callable[[TaggingModel], TaggingModel]] = {
    "clone_model": keras.models.clone_model,
    "clone of a clone": lambda model: keras.models.clone_model(keras.models.clone_model(model)),
    "clone_function": lambda model: keras.models.clone_model(
        model, clone_function=lambda layer: type(layer).from_config(layer.get_config())
    ),
    "call_function": lambda model: keras.models.clone_model(
        model, call_function=lambda layer, *args, **kwargs: layer(*args, **kwargs)
    ),
    "input_tensors": lambda model: keras.models.clone_model(
        model, input_tensors=keras.Input((PATCH,))
    ),
    "from_config": lambda model: TaggingModel.from_config(model.get_config()),
    "JSON": lambda model: keras.models.model_from_json(model.to_json()),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", COPIES)
def test_a_copy_computes_and_says_the_same(way: str, small: TaggingModel, tmp_path: Path) -> None:
    copied = COPIES[way](small, tmp_path)
    assert isinstance(copied, TaggingModel)
    assert (copied.spec, copied.provenance) == (small.spec, small.provenance)
    np.testing.assert_array_equal(copied(noise), small(noise))


@pytest.mark.parametrize("way", FRESH)
def test_a_model_with_fresh_weights_has_the_tags_and_the_configuration(
    way: str, small: TaggingModel
) -> None:
    fresh = FRESH[way](small)
    assert isinstance(fresh, TaggingModel)
    assert (fresh.name, fresh.tags, fresh.zoo_config) == ("small", small.tags, small.zoo_config)
    kernels = [model.get_layer("logits").kernel for model in (fresh, small)]
    assert not np.array_equal(*kernels)
    if way in ("from_config", "JSON"):
        assert fresh.spec == small.spec
    else:
        assert (fresh.provenance, fresh.thresholds) == (Provenance(), None), "of other weights"
    fresh.set_weights(small.get_weights())
    assert fresh.count_params() == small.count_params()


def test_what_is_no_copy_is_told_what_it_lacks(small: TaggingModel) -> None:
    with pytest.raises(ArgumentError, match="build_model makes one"):
        TaggingModel(small.input, small.get_layer("penultimate").output)
    with pytest.raises(ArgumentError, match=r"scores of the shape \(None, 2\).*gives \(None, 1\)"):
        keras.models.clone_model(
            small,
            call_function=lambda layer, *args, **kwargs: (
                layer(*args, **kwargs)[:, :1] if layer.name == "tags" else layer(*args, **kwargs)
            ),
        )


def test_parts_of_a_model_are_keras_models(small: TaggingModel) -> None:
    part = keras.Model(small.input, small.get_layer("penultimate").output)
    assert not isinstance(part, TaggingModel)
    assert part(noise).shape == (2, 4)
    lines: list[str] = []
    small.summary(print_fn=lines.append)
    assert "logmel" in "".join(lines)


@pytest.fixture
def _settings() -> Iterator[None]:
    before = keras.config.image_data_format(), keras.config.floatx()
    keras.config.set_image_data_format("channels_first")
    keras.config.set_floatx("float64")
    yield
    keras.config.set_image_data_format(before[0])
    keras.config.set_floatx(before[1])


FRONTENDS = {
    "vgg": "vgg",
    "sample_level": block("sample_level", variant="rese", filters=(2,) * 8),
    "frame_level_multiscale": "frame_level_multiscale",
    "short_chunk": block("short_chunk", filters=(2, 3), residual=True),
    "horizontal": "horizontal",
    "temporal mean": block("timbral_temporal", temporal_input="mean"),
}
BACKENDS = ("mlp", "attention", "self_attention")


@pytest.mark.parametrize(
    "parts",
    [{"frontend": frontend} for frontend in FRONTENDS.values()]
    + [{"config": "musicnn", "backend": backend} for backend in BACKENDS],
    ids=str,
)
@pytest.mark.usefixtures("_settings")
def test_keras_settings_change_nothing(parts: dict) -> None:
    """The layout of images and the precision that Keras has for models that do not say."""
    model = build_model(**parts, tags=2)
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    expected = build_model(**parts, tags=2)
    expected.set_weights(model.get_weights())
    waveforms = noise if model.input_shape[1] is None else np.resize(
        noise, (2, model.input_shape[1])
    )  # fmt: skip
    np.testing.assert_allclose(model(waveforms), expected(waveforms), atol=1e-4)
