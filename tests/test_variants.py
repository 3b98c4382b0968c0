import keras
import numpy as np
import pytest
from keras import layers

from musicnn_zoo import build_model, list_models
from musicnn_zoo.networks.logmel import LogMel
from musicnn_zoo.runtimes.transforms import SpectralMaximum, WinogradConv2D
from musicnn_zoo.runtimes.variants import (
    MaxThenBatchNorm,
    OneChannelBatchNorm,
    for_runtime,
    in_plain_operations,
    remake,
    with_precision,
)

SMALL = {
    "musicnn": {"frontend": {"kind": "timbral_temporal", "timbral": [[0.4, 7, 5], [0.7, 7, 20]]}},
    "vgg": {"frontend": {"kind": "vgg", "filters": 6}},
}


def randomize(model: keras.Model) -> None:
    """Give every BatchNorm scales of both signs, and statistics as after training."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.moving_mean.shape
            layer.gamma.assign(random.normal(0, 1, shape))
            layer.beta.assign(random.normal(0, 1, shape))
            layer.moving_mean.assign(random.normal(0, 0.5, shape))
            layer.moving_variance.assign(random.uniform(0.1, 2, shape))


def noise(model: keras.Model, batch: int = 3) -> np.ndarray:
    samples = model.input_shape[1] or 24000
    return np.random.default_rng(1).normal(0, 0.2, (batch, samples)).astype(np.float32)


def check_same_when_loaded(loaded: keras.Model, model: keras.Model, x: np.ndarray) -> None:
    """Compare weights exactly, scores to rounding: cores add in the order in which they end."""
    for received, expected in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)
    expected = model.predict_on_batch(x)
    np.testing.assert_allclose(loaded.predict_on_batch(x), expected, rtol=0, atol=1e-6)


def swapped(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers if isinstance(layer, MaxThenBatchNorm)]


@pytest.mark.parametrize("filters", [3, 16, 20])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("dimensions", [1, 2])
def test_maxima_before_batchnorm_are_the_same(filters: int, padding: str, dimensions: int) -> None:
    conv, pool, shape, size = {
        1: (layers.Conv1D, layers.MaxPooling1D, (17, 3), 4),
        2: (layers.Conv2D, layers.MaxPooling2D, (9, 13, 2), (2, 5)),
    }[dimensions]
    x = keras.Input(shape)
    y = conv(filters, 3, activation="relu")(x)
    y = layers.BatchNormalization()(y)
    model = keras.Model(x, pool(size, padding=padding, name="pool")(y))
    randomize(model)
    remade = for_runtime(model)
    assert swapped(remade) == ["pool"]
    assert swapped(in_plain_operations(model, transforms=True)) == ["pool"]
    values = np.random.default_rng(2).normal(0, 1, (4, *shape)).astype(np.float32)
    expected = model.predict(values, verbose=0)
    assert (model.layers[2].gamma.numpy() < 0).any()
    np.testing.assert_allclose(remade.predict(values, verbose=0), expected, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_a_model_remade_for_a_runtime_gives_the_same(name: str) -> None:
    model = build_model(name, tags=7, **SMALL[name])
    randomize(model)
    remade = for_runtime(model, keep=model.endpoints)
    assert len(swapped(remade)) == 5
    names = (*model.endpoints, model.layers[-1].name)
    outputs = (
        keras.Model(m.input, {name: m.get_layer(name).output for name in names}).predict_on_batch(
            noise(model)
        )
        for m in (model, remade)
    )
    theirs, ours = outputs
    for name in names:
        atol = 2e-5 * max(1, np.abs(theirs[name]).max())
        np.testing.assert_allclose(ours[name], theirs[name], atol=atol)


@pytest.mark.parametrize("filters", [5, 50, 96])
@pytest.mark.parametrize(
    ("bands", "kernel"), [(96, (7, 38)), (96, (7, 67)), (41, (3, 12)), (40, (1, 39)), (7, (2, 7))]
)
def test_a_maximum_of_a_convolution_is_the_same_by_a_transform(bands, kernel, filters) -> None:
    random = np.random.default_rng(3)
    x = keras.Input((None, bands, 1))
    layer = SpectralMaximum(filters, kernel, filters - 2)
    model = keras.Model(x, layer(x))
    weights = random.normal(0, 0.1, (*kernel, 1, filters)), random.normal(0, 1, filters)
    weights[0][..., -2:] = 0
    layer.set_weights(weights)
    maps = random.uniform(0, 4, (2, kernel[0] + 11, bands, 1)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(maps[..., 0], kernel, axis=(1, 2))
    sums = np.einsum("btpij,ijf->btpf", windows, weights[0][:, :, 0]) + weights[1]
    expected = sums.max(axis=2, keepdims=True)
    received = model.predict(maps, verbose=0)
    assert received.shape == model.compute_output_shape(maps.shape) == expected.shape
    np.testing.assert_allclose(received, expected, atol=2e-6 * np.abs(expected).max())


def spectral(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers if isinstance(layer, SpectralMaximum)]


def test_a_model_with_transforms_along_bands_gives_the_same(tmp_path) -> None:
    timbral = [[0.4, 7, 5], [0.7, 7, 20], [0.2, 1, 4]]
    model = build_model(
        "musicnn", tags=7, frontend={"kind": "timbral_temporal", "timbral": timbral}
    )
    randomize(model)
    remade = in_plain_operations(model, keep=model.endpoints, transforms=True)
    assert len(swapped(remade)) == 6
    # With filters of one frame there is too little to save.
    assert spectral(remade) == ["frontend_timbral_38x7", "frontend_timbral_67x7"]
    assert spectral(in_plain_operations(model)) == []
    names = (*model.endpoints, model.layers[-1].name)
    theirs, ours = (
        keras.Model(m.input, {name: m.get_layer(name).output for name in names}).predict_on_batch(
            noise(model)
        )
        for m in (model, remade)
    )
    for name in names:
        atol = 2e-5 * max(1, np.abs(theirs[name]).max())
        np.testing.assert_allclose(ours[name], theirs[name], atol=atol)
    remade.save(tmp_path / "remade.keras")
    x = noise(model, 1)
    loaded = keras.saving.load_model(tmp_path / "remade.keras")
    check_same_when_loaded(loaded, remade, x)


@pytest.mark.parametrize(
    "changes",
    [
        {"padding": "same"},
        {"strides": (2, 1)},
        {"dilation_rate": (2, 1)},
        {"use_bias": False},
        {"pool": (1, 29)},
        {"pool": (2, 59)},
        {"channels": 2},
    ],
)
def test_only_maxima_over_all_bands_of_one_channel_are_transformed(changes) -> None:
    def remade(pool=(1, 59), channels=1, **options):
        x = keras.Input((30, 96, channels))
        y = layers.Conv2D(4, (7, 38), activation="relu", **options)(x)
        y = layers.MaxPooling2D(pool)(layers.BatchNormalization()(y))
        return in_plain_operations(keras.Model(x, y), transforms=True)

    assert len(spectral(remade())) == 1
    assert spectral(remade(**changes)) == []
    assert len(swapped(remade(**changes))) == 1


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("frames", [3, 12, 14, 17])
def test_a_small_convolution_is_the_same_by_fewer_products(padding: str, frames: int) -> None:
    random = np.random.default_rng(4)
    x = keras.Input((frames, 6, 5))
    layer = WinogradConv2D(7, padding, "relu")
    model = keras.Model(x, layer(x))
    kernel, bias = random.normal(0, 1, (3, 3, 5, 7)), random.normal(0, 1, 7)
    layer.set_weights([kernel, bias])
    maps = random.normal(0, 1, (2, frames, 6, 5)).astype(np.float32)
    border = 1 if padding == "same" else 0
    padded = np.pad(maps, [(0, 0), (border, border), (border, border), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    expected = np.maximum(np.einsum("bthcij,ijcf->bthf", windows, kernel) + bias, 0)
    received = model.predict_on_batch(maps)
    assert received.shape == model.compute_output_shape(maps.shape) == expected.shape
    np.testing.assert_allclose(received, expected, atol=3e-6 * np.abs(expected).max())


def test_a_model_with_fewer_products_gives_the_same_and_can_be_kept(tmp_path) -> None:
    model = build_model("vgg", tags=7, frontend={"kind": "vgg", "filters": 96})
    randomize(model)
    remade = in_plain_operations(model, keep=model.endpoints, transforms=True)
    cheaper = [layer.name for layer in remade.layers if isinstance(layer, WinogradConv2D)]
    assert cheaper == ["frontend_conv2", "frontend_conv3"]
    names = (*model.endpoints, model.layers[-1].name)
    x = noise(model, 1)
    theirs, ours = (
        keras.Model(m.input, {name: m.get_layer(name).output for name in names}).predict_on_batch(x)
        for m in (model, remade)
    )
    for name in names:
        atol = 2e-5 * max(1, np.abs(theirs[name]).max())
        np.testing.assert_allclose(ours[name], theirs[name], atol=atol)
    remade.save(tmp_path / "remade.keras")
    loaded = keras.saving.load_model(tmp_path / "remade.keras")
    check_same_when_loaded(loaded, remade, x)


@pytest.mark.parametrize(
    "changes",
    [
        {"strides": 2},
        {"dilation_rate": 2},
        {"use_bias": False},
        {"groups": 2},
        {"kernel_size": (3, 5)},
        {"filters": 64},
        {"shape": (20, 20, 96)},
        {"shape": (None, 40, 96)},
    ],
)
def test_only_convolutions_that_gain_take_fewer_products(changes) -> None:
    def cheaper(shape=(40, 30, 96), filters=96, kernel_size=3, **options):
        x = keras.Input(shape)
        y = layers.Conv2D(filters, kernel_size, **options)(x)
        remade = in_plain_operations(keras.Model(x, y), transforms=True)
        return [layer for layer in remade.layers if isinstance(layer, WinogradConv2D)]

    assert len(cheaper()) == 1
    assert cheaper(**changes) == []


@pytest.mark.parametrize("shape", [(9, 1), (5, 7, 1)])
def test_batchnorm_of_one_channel_is_the_same(shape: tuple[int, ...]) -> None:
    x = keras.Input(shape)
    y = layers.BatchNormalization(name="one")(x)
    model = keras.Model(x, layers.BatchNormalization(axis=1, name="several")(y))
    randomize(model)
    remade = for_runtime(model)
    kinds = [type(layer) for layer in remade.layers[1:]]
    assert kinds == [OneChannelBatchNorm, layers.BatchNormalization]
    values = np.random.default_rng(2).normal(0, 1, (4, *shape)).astype(np.float32)
    expected = model.predict(values, verbose=0)
    np.testing.assert_allclose(remade.predict(values, verbose=0), expected, atol=1e-5)


def test_the_log_mel_of_a_runtime_is_made_of_products() -> None:
    remade = for_runtime(build_model("musicnn", tags=3, **SMALL["musicnn"]))
    (logmel,) = (layer for layer in remade.layers if isinstance(layer, LogMel))
    assert logmel.implementation == "products"


def test_what_is_to_be_kept_or_used_elsewhere_stays_as_it_is() -> None:
    def make(activation: str = "relu") -> tuple[keras.Model, str]:
        x = keras.Input((20, 1))
        y = layers.Conv1D(4, 3, activation=activation, name="conv")(x)
        z = layers.BatchNormalization(name="bn")(y)
        return x, y, z, layers.MaxPooling1D(2)(z)

    x, y, z, pooled = make()
    assert len(swapped(for_runtime(keras.Model(x, pooled)))) == 1
    assert swapped(for_runtime(keras.Model(x, pooled), keep=["bn"])) == []
    assert swapped(for_runtime(keras.Model(x, [pooled, z]))) == []
    assert swapped(for_runtime(keras.Model(x, [pooled, y]))) == []
    x, _, _, pooled = make(activation="elu")
    assert swapped(for_runtime(keras.Model(x, pooled))) == []


def test_the_layer_is_saved_with_all_it_needs(tmp_path) -> None:
    model = build_model("vgg", tags=3, **SMALL["vgg"])
    randomize(model)
    remade = for_runtime(model)
    remade.save(tmp_path / "remade.keras")
    x = noise(model, 1)
    loaded = keras.saving.load_model(tmp_path / "remade.keras")
    check_same_when_loaded(loaded, remade, x)


def test_a_remade_model_has_weights_of_its_own() -> None:
    model = build_model("musicnn", tags=3, **SMALL["musicnn"])
    copy = remake(model)
    before = copy.get_weights()
    model.set_weights([values + 1 for values in model.get_weights()])
    for old, new in zip(before, copy.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["musicnn", "musicnn_autopool", "musicnn_attention"])
def test_only_the_network_is_computed_in_another_precision(name: str, precision: str) -> None:
    assert name in list_models(pretrained=False)
    model = build_model(name, tags=3)
    remade = with_precision(model, precision)
    for layer in remade.layers[1:]:
        in_float32 = isinstance(layer, LogMel) or layer.name in ("tags", "frame_scores")
        assert layer.compute_dtype == ("float32" if in_float32 else precision), layer.name
        assert layer.variable_dtype == "float32"
    x = noise(model)
    scores = [np.asarray(m(x)) for m in (model, remade)]
    assert scores[1].dtype == np.float32
    np.testing.assert_allclose(scores[1], scores[0], atol=5e-2)


def test_float32_is_the_model_itself() -> None:
    model = build_model("fcn", tags=3)
    assert with_precision(model, "float32") is model
