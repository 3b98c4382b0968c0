"""Models without their constant channels compute what they computed with them.

``MUSICNN_ZOO_PATCHES=1000 pytest -m slow tests/test_pruning.py`` tries more patches of music.
"""

import os
from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
from conftest import ROOT, bundled_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from test_blocks import MIDENDS, SMALL_BACKENDS, SMALL_FRONTENDS

from musicnn_zoo import build_model, load_audio, load_model
from musicnn_zoo.networks.architectures import ARCHITECTURES
from musicnn_zoo.networks.build import TaggingModel
from musicnn_zoo.runtimes.channels import LOUDEST
from musicnn_zoo.runtimes.onnx_engine import open_session
from musicnn_zoo.runtimes.pruning import Pruned, _nodes_of, prune
from musicnn_zoo.zoo.catalogue import PRESETS

FRONTENDS = [one for several in SMALL_FRONTENDS.values() for one in several]
BACKENDS = [one for several in SMALL_BACKENDS.values() for one in several]
MUSICNN = SMALL_FRONTENDS["timbral_temporal"][0]
BLOCKS = {
    "-".join(getattr(block, "kind", str(block)) for block in blocks.values()) + f"-{number}": blocks
    for number, blocks in enumerate(
        [
            *({"frontend": one, "backend": "temporal_pooling"} for one in FRONTENDS),
            *({"frontend": MUSICNN, "backend": one} for one in BACKENDS),
            *({"frontend": MUSICNN, "midend": one} for one in MIDENDS),
            {"frontend": SMALL_FRONTENDS["vgg"][0], "backend": "mlp"},
        ]
    )
}  # fmt: skip
PATCHES = int(os.environ.get("MUSICNN_ZOO_PATCHES", "40"))
DEATHS = ("zero", "tiny", "never on")


@cache
def model_of(blocks: str) -> TaggingModel:
    return build_model(**BLOCKS[blocks], tags=3)


def kill(model: keras.Model, seed: int, deaths: tuple[str, ...] = DEATHS) -> dict[str, int]:
    """Give a model weights as after training, and kill filters; count those of kernel zero."""
    random = np.random.default_rng(seed)
    killed = {}
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.moving_mean.shape
            gamma = random.uniform(0.5, 1.5, shape) * random.choice([-1, 1], shape)
            beta, mean = random.normal(0, 0.3, (2, *shape))
            layer.set_weights([gamma, beta, mean, random.uniform(0.5, 2, shape)])
        if isinstance(layer, layers.Conv1D | layers.Conv2D | layers.Dense):
            kernel, bias = layer.get_weights()
            kernel = random.normal(0, 1, kernel.shape) / np.sqrt(np.prod(kernel.shape[:-1]))
            bias = random.normal(0, 0.5, bias.shape)
            if layer.name != "logits" and layer.activation is not keras.activations.gelu:
                fate = random.choice(["alive", *deaths], bias.shape)
                kernel[..., fate == "zero"] = 0
                kernel[..., fate == "tiny"] *= 1e-14
                bias[fate == "never on"] = -1e4
                killed[layer.name] = int((fate == "zero").sum())
            layer.set_weights([kernel, bias])
    return killed


def noise_for(model: TaggingModel) -> np.ndarray:
    samples = model.input_shape[1] or model.zoo_config.grid.patch_samples
    random = np.random.default_rng(0)
    loudness = np.array([[0.3], [0.01], [0]])
    return (random.normal(0, 1, (3, samples)) * loudness).astype(np.float32)


def outputs_of(model: keras.Model, names: tuple[str, ...], x: np.ndarray) -> dict[str, np.ndarray]:
    outputs: Any = {name: model.get_layer(name).output for name in names}
    part = keras.Model(model.input, outputs | {"output": model.output})
    return {name: np.asarray(value) for name, value in part(x, training=False).items()}


def assert_same(model: TaggingModel, pruned: Pruned) -> None:
    x = noise_for(model)
    expected = outputs_of(model, model.endpoints, x)
    received = pruned.model(x, training=False)
    assert set(received) == {"output", *model.endpoints}
    np.testing.assert_allclose(received["output"], expected["output"], rtol=0, atol=1e-5)
    for name in model.endpoints:
        atol = 1e-4 * np.abs(expected[name]).max() + 1e-9
        np.testing.assert_allclose(received[name], expected[name], rtol=0, atol=atol, err_msg=name)


def assert_smaller(pruned: Pruned, killed: dict[str, int]) -> None:
    for name, count in killed.items():
        left, of = pruned.filters[name]
        assert left <= max(1, of - count), name


@pytest.mark.parametrize("blocks", BLOCKS)
def test_every_block_without_its_dead_channels_gives_the_same(blocks: str) -> None:
    model = model_of(blocks)
    killed = kill(model, seed=1)
    pruned = prune(model, keep=model.endpoints, block=1)
    assert_smaller(pruned, killed)
    assert pruned.bound <= 1e-5
    assert_same(model, pruned)


@settings(max_examples=10, deadline=None)
@given(
    blocks=st.sampled_from(list(BLOCKS)),
    seed=st.integers(0, 2**32 - 1),
    deaths=st.lists(st.sampled_from(DEATHS), max_size=4).map(tuple),
    block=st.sampled_from([1, 2, 4]),
)
def test_whichever_channels_are_dead(
    blocks: str, seed: int, deaths: tuple[str, ...], block: int
) -> None:
    model = model_of(blocks)
    killed = kill(model, seed, deaths)
    pruned = prune(model, keep=model.endpoints, block=block)
    if block == 1:
        assert_smaller(pruned, killed)
    assert_same(model, pruned)


@pytest.mark.parametrize("blocks", [name for name in BLOCKS if "recurrent" not in name])
def test_all_values_lie_in_the_ranges_that_were_proved(blocks: str) -> None:
    model = model_of(blocks)
    kill(model, seed=3)
    x = noise_for(model)
    x = np.concatenate([x, np.sign(x), x * 20]).clip(-LOUDEST, LOUDEST)
    nodes = _nodes_of(model)
    assert nodes
    nodes = nodes[1:]
    outputs = {node.name: model.get_layer(node.name).output for node in nodes}
    found = keras.Model(model.input, outputs)(x, training=False)
    bounded = 0
    for node in nodes:
        known = node.rule.range
        values = np.asarray(found[node.name], np.float64)
        values = values.reshape(-1, *values.shape[1:][: known.spatial], len(known.centre))
        slack = 5e-4 * max(1, np.abs(values).max())  # means of many float32
        assert (values >= known.low - slack).all(), node.name
        assert (values <= known.high + slack).all(), node.name
        bounded += np.isfinite(known.radius).all()
    assert bounded > 2


@pytest.mark.parametrize("tolerance", [1e-3, 0.05, 0.4])
@pytest.mark.parametrize("blocks", ["timbral_temporal-dense_residual-26", "vgg-mlp-28"])
def test_no_score_moves_by_more_than_the_bound(blocks: str, tolerance: float) -> None:
    model = model_of(blocks)
    kill(model, seed=4)
    for layer in model.layers:
        if "conv" in layer.name and layer.weights and layer.weights[0].ndim > 2:
            kernel, bias = layer.get_weights()
            kernel *= 10.0 ** np.random.default_rng(5).uniform(-9, 0, bias.shape)
            layer.set_weights([kernel, bias])
    exact, pruned = prune(model, tolerance=0), prune(model, tolerance=tolerance, block=1)
    assert exact.bound == 0 < pruned.bound <= tolerance
    assert sum(left for left, _ in pruned.filters.values()) < sum(
        left for left, _ in exact.filters.values()
    )
    x = noise_for(model)
    moved = np.abs(np.asarray(pruned.model(x)) - np.asarray(model(x))).max()
    assert moved <= pruned.bound + 1e-5


def test_what_a_kept_layer_needs_stays_though_no_score_does() -> None:
    model = model_of("timbral_temporal-dense_residual-26")
    kill(model, seed=6, deaths=())
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([0 * kernel, bias])
    assert sum(left for left, _ in prune(model, block=1).filters.values()) < 30
    pruned = prune(model, keep=model.endpoints, block=1)
    assert all(left == of for name, (left, of) in pruned.filters.items() if name != "logits")
    assert_same(model, pruned)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_with_weights_that_are_no_numbers_stays_whole(value: float) -> None:
    model = model_of("timbral_temporal-dense_residual-26")
    kill(model, seed=7)
    kernel, bias = model.get_layer("logits").get_weights()
    batchnorm = [one for one in model.layers if isinstance(one, layers.BatchNormalization)][-1]
    gamma, beta, *rest = batchnorm.get_weights()
    batchnorm.set_weights([gamma, np.full_like(beta, value), *rest])
    model.get_layer("logits").set_weights([0 * kernel, bias])
    expected = np.asarray(model(noise_for(model)))
    assert np.isnan(expected).any()
    for keep in ((), model.endpoints):
        pruned = prune(model, keep=keep, block=1)
        assert all(left == of for left, of in pruned.filters.values())
        received = pruned.model(noise_for(model))
        np.testing.assert_array_equal(received["output"] if keep else received, expected)


class _Gate(layers.Layer):
    def call(self, first: Any, second: Any) -> Any:
        return first * second


def twice(x: Any) -> Any:
    layer = layers.Dense(16, activation="relu")
    return layer(layer(x))


UNUSUAL: dict[str, Any] = {
    "a layer called twice": twice,
    "operations": lambda x: keras.ops.relu(x[:, 1:]),
    "a model inside": lambda x: keras.Sequential([layers.Conv1D(4, 3), layers.ReLU()])(x),
    "states of an LSTM": lambda x: layers.LSTM(4, return_sequences=True, return_state=True)(x)[0],
    "states beyond one": lambda x: layers.LSTM(4, return_sequences=True, activation="relu")(x),
    "both directions added": lambda x: layers.Bidirectional(
        layers.GRU(4, return_sequences=True), merge_mode="sum"
    )(x),
    "a norm without offset": layers.LayerNormalization(center=False),
    "a norm over time, too": layers.LayerNormalization(axis=[1, 2]),
    "two inputs": lambda x: _Gate()(layers.Dense(4)(x), layers.Dense(4)(x)),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_a_model_of_any_layers_gives_the_same(kind: str) -> None:
    x = keras.Input((256,))
    y = layers.Conv1D(16, 3, padding="same", activation="relu", name="dead")(
        layers.Reshape((16, 16))(x)
    )
    y = layers.GlobalAveragePooling1D(name="mean")(UNUSUAL[kind](y))
    model = keras.Model(x, layers.Dense(3, name="logits")(y))
    kill(model, seed=8)
    values = np.random.default_rng(9).normal(0, 5, (4, 256)).clip(-LOUDEST, LOUDEST)
    pruned = prune(model, keep=("mean",), block=1).model(values)
    for received, expected in (
        (pruned["output"], model(values)),
        (pruned["mean"], outputs_of(model, ("mean",), values)["mean"]),
    ):
        largest = np.abs(np.asarray(expected)).max()
        np.testing.assert_allclose(received, expected, rtol=0, atol=1e-5 * max(1, largest))


@pytest.mark.parametrize(
    ("layer", "bounded"),
    [
        (layers.GRU(4), True),
        (layers.LSTM(4, activation="relu"), False),
        (layers.Bidirectional(layers.LSTM(4)), True),
        (layers.Bidirectional(layers.LSTM(4), merge_mode="sum"), False),
    ],
    ids=["gru", "relu", "concatenated", "sum"],
)
def test_states_are_in_one_only_with_the_ordinary_functions(layer: Any, bounded: bool) -> None:
    x = keras.Input((256,))
    model = keras.Model(x, layer(layers.Reshape((16, 16))(x)))
    nodes = _nodes_of(model)
    assert nodes
    assert np.isfinite(nodes[-1].rule.range.radius).all() == bounded


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_without_its_dead_channels_gives_the_same(name: str) -> None:
    model = build_model(name, tags=3)
    kill(model, seed=2)
    assert_same(model, prune(model, keep=model.endpoints))


def loud_and_quiet_patches(length: int) -> np.ndarray:
    """Noise from -60 to 0 dBFS, silence, squares at full scale, and random patches of music."""
    random = np.random.default_rng(0)
    times = np.arange(length) / 16000
    noises = [random.normal(0, 10 ** (level / 20), length) for level in range(-60, 1, 6)]
    squares = [np.sign(np.sin(2 * np.pi * hertz * times)) for hertz in (50, 440, 1000, 7000)]
    clips = [load_audio(path).samples for path in sorted((ROOT / "examples/audio").glob("*.ogg"))]
    patches = []
    for _ in range(PATCHES):
        first, second = (clips[number] for number in random.integers(len(clips), size=2))
        start, other = (random.integers(len(clip) - length) for clip in (first, second))
        mix = first[start:][:length] + random.uniform(0, 0.5) * second[other:][:length]
        patches.append(mix * 10 ** random.uniform(-2, 0.3))
    return np.array([*noises, *squares, np.zeros(length), *patches], np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, one in PRESETS.items() if one.graph])
def test_a_bundled_graph_gives_what_the_whole_model_gives(name: str) -> None:
    model = load_model(name)
    whole = keras.Model(
        model.input,
        {"output": model.output} | {one: model.get_layer(one).output for one in model.endpoints},
    )
    session = open_session(bundled_graph(name))
    names = [output.name for output in session.get_outputs()]
    assert set(names) == {"output", *model.endpoints}
    patches = loud_and_quiet_patches(model.zoo_config.grid.patch_samples)
    for some in np.array_split(patches, -(-len(patches) // 8)):
        expected = whole.predict_on_batch(some)
        received = dict(zip(names, session.run(names, {"waveform": some}), strict=True))
        for one in names:
            largest = 0.1 if one == "output" else np.abs(expected[one]).max()
            difference = np.abs(received[one] - expected[one]).max()
            assert difference <= 1e-4 * largest, one
