import dataclasses

import keras
import numpy as np
import pytest
from conftest import REPRESENTATIVES
from synthetic import sounds

from musicnn_zoo import UnknownNameError, build_model, list_models, model_info
from musicnn_zoo.networks.architectures import (
    ARCHITECTURES,
    SCHLUETER_INPUT,
    get_architecture,
    layer_names,
)
from musicnn_zoo.networks.build import TaggingModel, adapt, receptive_field
from musicnn_zoo.networks.config import LogMelInput, ModelConfig, patch_grid
from musicnn_zoo.zoo.catalogue import PRESETS

# From the papers' tables and code, see the docstrings of the blocks.
PUBLISHED = {
    "samplecnn": 1_869_874,
    "atscale_waveform": 5_377_082,
    "atscale_spectrogram": 5_924_154,
    "fcn": 447_732,
    "crnn": 394_100,
    "dieleman_mel": 66_784,
    "dieleman_waveform": 140_638,
    "timbre": 185_856,
    "short_chunk": 3_687_348,
    "short_chunk_res": 12_104_244,
    "musicnn": 787_159,
    "musicnn_big": 7_980_235,
    "vgg": 605_748,
}
PUBLISHED_TOTAL = {"musicnn": 792_079, "musicnn_big": 7_993_819, "vgg": 607_030}

_HEAVIEST = (
    "fcn4", "fcn5", "samplecnn", "samplecnn_se", "musicnn", "musicnn_big", "musicnn_autopool",
    "musicnn_attention", "musicnn_rnn", "vgg",
)  # fmt: skip
_HEAVY = (
    "atscale_waveform", "atscale_spectrogram", "fcn", "crnn", "short_chunk", "short_chunk_res",
    "timbre",
)  # fmt: skip
_BUDGET = dict.fromkeys(_HEAVIEST, (2, 10)) | dict.fromkeys(_HEAVY, (8, 8))
"""Clips of each kind and epochs, where the usual would take too long."""
_BUDGET |= {"dieleman_waveform": (32, 15)}  # has to learn its own filter bank


def trainable(model: keras.Model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameters_are_stated_and_where_published_equal(name: str) -> None:
    model = build_model(name)
    assert trainable(model) == ARCHITECTURES[name].parameters
    assert trainable(model) == PUBLISHED.get(name, trainable(model))
    assert model.count_params() == PUBLISHED_TOTAL.get(name, model.count_params())
    layers = [layer.name for layer in model.layers]
    assert set(model.endpoints) <= set(layers)
    assert layers == [layer.name for layer in build_model(name).layers]


def test_schlueter_with_one_output_has_the_parameters_of_the_paper() -> None:
    three_channels = build_model("schlueter_horizontal", tags=["onset"])
    one_channel = build_model(
        "schlueter_horizontal",
        input=dataclasses.replace(SCHLUETER_INPUT, shorter_windows=()),
        tags=["onset"],
    )
    assert trainable(three_channels) == 289_693
    assert trainable(one_channel) == 289_273


def test_lee_2009_has_the_parameters_of_the_paper() -> None:
    model = build_model("lee2009_vertical")
    first, second = (model.get_layer(f"frontend_conv{number}") for number in (1, 2))
    assert (first.count_params(), second.count_params()) == (173_100, 540_300)


def test_fcn4_has_about_the_parameters_of_the_paper() -> None:
    assert ARCHITECTURES["fcn4"].parameters == pytest.approx(17.4e6, rel=0.005)


@pytest.mark.parametrize("width", [2, 3, 4, 5])
def test_sample_level_m_to_the_n(width: int) -> None:
    depth = {2: 13, 3: 9, 4: 7, 5: 5}[width]
    samples = width ** (depth + 1)
    model = build_model(
        frontend={"kind": "sample_level", "width": width, "filters": [4] * (depth + 1)},
        backend="mlp",
        patch=samples,
        tags=2,
    )
    assert model.get_layer("backend_flat").input.shape == (None, 1, 512)
    assert model.input_shape == (None, samples)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_receptive_field_is_stated(name: str) -> None:
    architecture = ARCHITECTURES[name]
    assert receptive_field(architecture.config) == pytest.approx(
        architecture.receptive_field_s, abs=5e-4
    )


@pytest.mark.parametrize("name", ["musicnn", "lee2009_vertical", "zhu_multiscale"])
def test_receptive_field_is_what_changes_a_frame(name: str) -> None:
    from musicnn_zoo.networks.build import build_features

    config = get_architecture(name)
    features = keras.Model(*build_features(config))
    rate = config.input.sample_rate
    reach = round(receptive_field(config) * rate)
    random = np.random.default_rng(0)
    signal = random.normal(0, 0.1, (1, 4 * rate)).astype(np.float32)
    reference = features.predict(signal, verbose=0)
    frame = reference.shape[1] // 2
    changed = [
        at
        for at in range(0, signal.shape[1], STEP)
        if not np.array_equal(
            features.predict_on_batch(_silenced(signal, at, at + STEP))[0, frame],
            reference[0, frame],
        )
    ]
    extent = max(changed) + STEP - min(changed)
    assert 0.6 * reach < extent <= reach + 2 * STEP


STEP = 1600


def _silenced(signal: np.ndarray, start: int, end: int) -> np.ndarray:
    copy = signal.copy()
    copy[:, start:end] = 0
    return copy


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_configuration_goes_to_json_and_back(name: str) -> None:
    config = get_architecture(name)
    assert ModelConfig.from_json(config.to_json()) == config


def test_pretrained_models_are_architectures_with_weights() -> None:
    for preset in PRESETS.values():
        assert preset.architecture is ARCHITECTURES[preset.architecture.name]
        assert preset.config is preset.architecture.config


def test_lists_of_pretrained_and_of_untrained_models() -> None:
    assert list_models() == list_models(pretrained=True) == list(PRESETS)
    assert list_models(pretrained=False) == list(ARCHITECTURES)
    assert list_models(pretrained=None) == [*PRESETS, *ARCHITECTURES]
    assert list_models("*MUSICNN", pretrained=None) == [
        "MTT_musicnn", "MSD_musicnn", "Jamendo_musicnn", "musicnn",
    ]  # fmt: skip


def test_an_architecture_is_never_mistaken_for_a_pretrained_model() -> None:
    from musicnn_zoo import ArgumentError, Tagger, load_model

    assert not set(PRESETS) & set(ARCHITECTURES)
    for attempt in (load_model, Tagger):
        with pytest.raises(ArgumentError, match=r"without pretrained weights; build_model"):
            attempt("musicnn")
    assert not model_info("musicnn").pretrained
    assert "build_model" in str(model_info("musicnn"))


def test_unknown_architecture() -> None:
    with pytest.raises(UnknownNameError, match="did you mean samplecnn"):
        build_model("sample_cnn")


class EnoughLearned(keras.callbacks.Callback):
    """Ends training when three losses are on average a quarter of the first."""

    def on_train_begin(self, logs=None) -> None:
        self.losses: list[float] = []

    def on_epoch_end(self, epoch, logs=None) -> None:
        self.losses.append(logs["loss"])
        if len(self.losses) > 3 and np.mean(self.losses[-3:]) < self.losses[0] / 4:
            self.model.stop_training = True


def learn(name: str) -> tuple[float, float, float]:
    """First loss, last loss, and accuracy on sounds not seen in training."""
    keras.utils.set_random_seed(0)
    config = get_architecture(name)
    model: TaggingModel = build_model(
        dataclasses.replace(config, activation="softmax"), tags=("tone", "burst", "chirp")
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5  # so few steps would leave the statistics at their start
    rate = config.input.sample_rate
    samples = patch_grid(config).patch_samples
    if not config.fixed_length:
        samples = min(samples, 4 * rate)
    per_kind, epochs = _BUDGET.get(name, (8, 15))
    clips, kinds = sounds(per_kind, samples, rate, seed=1)
    if getattr(config.input, "normalization", None) == "standardize":
        adapt(model, clips)
    model.compile(keras.optimizers.Adam(1e-3), loss="categorical_crossentropy")
    # On waveforms a low loss comes long before what was not heard is told apart.
    enough = [EnoughLearned()] if isinstance(config.input, LogMelInput) else []
    history = model.fit(clips, kinds, batch_size=12, epochs=epochs, callbacks=enough, verbose=0)
    losses = history.history["loss"]
    for _ in range(6):
        model(clips[::2], training=True)  # bring the statistics of BatchNorm to the final weights
    unseen, their_kinds = sounds(4, samples, rate, seed=2)
    guesses = model.predict(unseen, batch_size=6, verbose=0)
    accuracy = float(np.mean(guesses.argmax(axis=1) == their_kinds.argmax(axis=1)))
    return losses[0], float(np.mean(losses[-3:])), accuracy


@pytest.mark.slow
@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_learns_to_tell_tones_from_bursts_from_chirps(name: str) -> None:
    first, last, accuracy = learn(name)
    assert last < 0.7 * first
    assert accuracy > 0.5


@pytest.mark.parametrize("name", sorted({preset.architecture.name for preset in PRESETS.values()}))
def test_the_names_of_the_layers_are_up_to_date(name: str) -> None:
    """After a change: python tests/make_layer_names.py."""
    with keras.StatelessScope(initialize_variables=False):
        model = build_model(name, tags=2)
    assert layer_names(ARCHITECTURES[name].config) == tuple(layer.name for layer in model.layers)
