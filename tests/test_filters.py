import keras
import numpy as np
import pytest

from musicnn_zoo import ArgumentError, UnknownNameError, block, build_model, learned_filters
from musicnn_zoo.networks.architectures import SCHLUETER_INPUT
from musicnn_zoo.networks.config import WaveformInput

RATE = 16000


def kernel_of(model, layer):
    return keras.ops.convert_to_numpy(model.get_layer(layer).kernel)


@pytest.fixture(scope="module")
def musicnn():
    return build_model("musicnn", tags=2)


def test_timbral_filters_are_images_and_temporal_ones_curves(musicnn) -> None:
    found = learned_filters(musicnn)
    assert (found.model, found.frontend) == ("musicnn", "timbral_temporal")
    assert [(group.layer, group.kind, group.values.shape) for group in found.groups] == [
        ("frontend_timbral_38", "image", (32, 7, 38)),
        ("frontend_timbral_67", "image", (32, 7, 67)),
        ("frontend_temporal_128", "curve", (8, 128)),
        ("frontend_temporal_64", "curve", (8, 64)),
        ("frontend_temporal_32", "curve", (8, 32)),
    ]
    assert {group.step_s for group in found.groups} == {256 / RATE}
    assert [group.n_filters for group in found.groups] == [204, 204, 51, 51, 51]


@pytest.mark.parametrize("layer", ["frontend_timbral_67", "frontend_temporal_64"])
def test_they_are_the_weights_the_strongest_first(musicnn, layer: str) -> None:
    kernel = kernel_of(musicnn, layer)[:, :, 0]
    (group,) = learned_filters(musicnn, layers=[layer], filters=10).groups
    norms = np.sqrt((kernel**2).sum(axis=(0, 1)))
    assert sorted(norms)[-10:] == sorted(norms[group.indices])
    assert (np.diff(norms[group.indices]) <= 0).all()
    for index, values in zip(group.indices, group.values, strict=True):
        np.testing.assert_array_equal(values.reshape(len(kernel), -1), kernel[..., index])


def test_the_weights_of_a_pretrained_model_are_its_own() -> None:
    found = learned_filters("MTT_vgg", filters=3)
    from musicnn_zoo import load_model

    kernel = kernel_of(load_model("MTT_vgg"), "frontend_conv1")
    (group,) = found.groups
    np.testing.assert_array_equal(group.values, kernel[:, :, 0, group.indices].transpose(2, 0, 1))


def test_filters_over_all_bands_are_images_too() -> None:
    model = build_model("dieleman_mel", tags=2)
    kernel = kernel_of(model, "frontend_conv1")
    (group,) = learned_filters(model).groups
    assert (group.kind, group.values.shape) == ("image", (32, 8, 96))
    np.testing.assert_array_equal(group.values[0], kernel[:, :, group.indices[0]])


@pytest.mark.parametrize("frontend", ["horizontal", "vertical"])
def test_each_of_several_spectrograms_has_a_group(frontend: str) -> None:
    model = build_model(frontend=frontend, input=SCHLUETER_INPUT, patch=40, tags=2)
    kernel = kernel_of(model, "frontend_conv1")
    groups = learned_filters(model).groups
    assert [group.window_s for group in groups] == [n / 44100 for n in (1024, 2048, 4096)]
    for channel, group in enumerate(groups):
        np.testing.assert_array_equal(group.indices, groups[0].indices)
        index = group.indices[0]
        if frontend == "horizontal":
            expected = kernel[:, :, channel, index]
        else:
            expected = kernel[:, :, index].reshape(8, 80, 3)[..., channel]
        np.testing.assert_array_equal(group.values[0], expected)


def test_a_bank_of_waveforms_is_sorted_by_the_frequency_of_each() -> None:
    frequencies = np.array([3000.0, 500.0, 7000.0, 1500.0])
    times = np.arange(512) / RATE
    bank = np.hanning(512) * np.sin(2 * np.pi * frequencies[:, np.newaxis] * times)
    model = build_model(frontend=block("frame_level", filters=4), tags=2)
    model.get_layer("frontend_bank").set_weights([bank.T[:, np.newaxis], np.zeros(4)])
    (group,) = learned_filters(model).groups
    assert (group.kind, group.step_s, group.is_long) == ("waveform", 1 / RATE, True)
    assert group.indices.tolist() == [1, 3, 0, 2]
    np.testing.assert_allclose(group.values, bank[[1, 3, 0, 2]].astype(np.float32))
    np.testing.assert_allclose(group.centre_frequencies, sorted(frequencies), atol=RATE / 512)
    assert (group.frequencies[0], group.frequencies[-1]) == (RATE / 512, RATE / 2)


def test_filters_of_a_few_samples_are_shown_by_their_inputs() -> None:
    sample_level = block("sample_level", filters=(3, 4, 5), pointwise=6)
    model = build_model(frontend=sample_level, input=WaveformInput(12000), tags=2)
    groups = learned_filters(model, filters=4, steps=2).groups
    assert [(group.layer, group.kind, group.values.shape) for group in groups] == [
        ("frontend_conv0", "input", (3, 729)),
        ("frontend_conv1", "input", (4, 729)),
        ("frontend_conv2", "input", (4, 729)),
    ]
    assert sorted(groups[2].indices) == [0, 1, 3, 4]
    for group in groups:
        assert (np.diff(group.centre_frequencies) >= 0).all()
        assert group.frequencies[-1] == pytest.approx(6000, rel=0.01)
    (deep,) = learned_filters(model, layers=["frontend_pointwise"], filters=1, steps=1).groups
    assert deep.layer == "frontend_pointwise"


def test_what_cannot_be_shown_is_refused(musicnn) -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown convolution .*'frontend_timbral'; did you"
    ):
        learned_filters(musicnn, layers=["frontend_timbral"])
    with pytest.raises(ArgumentError, match=r"conv2 is no convolution on the spec.*_conv1$"):
        learned_filters("MTT_vgg", layers=["frontend_conv2"])
    with pytest.raises(ArgumentError, match="filters must be at least 1; received 0"):
        learned_filters(musicnn, filters=0)
    with pytest.raises(ArgumentError, match="steps must be at least 1; received -1"):
        learned_filters(musicnn, steps=-1)
    with pytest.raises(ArgumentError, match="an architecture without pretrained weights"):
        learned_filters("vgg")
