from pathlib import Path

import numpy as np
import pytest
from conftest import CLIPS
from torch_state import musicnn_pytorch_state

import musicnn_zoo
from musicnn_zoo import Tagger, WeightsError, build_model, load_model
from musicnn_zoo.zoo.catalogue import PRESETS
from musicnn_zoo.zoo.weights import FAMILIES, from_torch

CLIP = CLIPS / "techno_loop.ogg"


def write(state: dict[str, np.ndarray], path: Path) -> Path:
    if path.suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file(state, path)
    else:
        import torch

        torch.save({name: torch.from_numpy(value.copy()) for name, value in state.items()}, path)
    return path


def randomize(model) -> None:
    random = np.random.default_rng(3)
    for weight in model.weights:
        if "variance" in weight.path:
            weight.assign(random.uniform(0.5, 2, weight.shape))
        elif "kernel" not in weight.path:
            weight.assign(random.normal(0, 0.3, weight.shape))


@pytest.mark.parametrize(
    "file", ["model.safetensors", pytest.param("MTT_musicnn.pt", marks=pytest.mark.torch)]
)
def test_a_checkpoint_of_musicnn_pytorch_gives_the_same_taggram(file: str, tmp_path: Path) -> None:
    original = load_model("MTT_musicnn")
    state = musicnn_pytorch_state(original)
    assert state["timbral_1.conv_block.conv.weight"].shape == (204, 1, 7, 38)
    assert state["midend.c1_conv.weight"].shape == (64, 1, 7, 561)
    assert state["backend.fc1.weight"].shape == (200, 1506)
    loaded = load_model("MTT_musicnn", weights=write(state, tmp_path / file))
    scores, expected = (
        Tagger(model, device="cpu").taggram(CLIP).scores for model in (loaded, original)
    )
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "file", ["model.safetensors", pytest.param("MSD_musicnn_big.pt", marks=pytest.mark.torch)]
)
def test_the_same_for_a_big_musicnn_of_random_weights(file: str, tmp_path: Path) -> None:
    preset = PRESETS["MSD_musicnn_big"]
    original = build_model(preset.config, tags=preset.tags, name="big")
    randomize(original)
    state = musicnn_pytorch_state(original)
    assert state["midend.c1_conv.weight"].shape == (512, 1, 7, 561)
    assert state["backend.fc1.weight"].shape[0] == 500
    loaded = load_model("MSD_musicnn_big", weights=write(state, tmp_path / file))
    waveforms = np.random.default_rng(0).normal(0, 0.1, (2, 48128)).astype(np.float32)
    scores, expected = (model.predict_on_batch(waveforms) for model in (loaded, original))
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6)


def test_weights_of_ones_own_carry_no_figures_of_the_preset(tmp_path: Path) -> None:
    original = load_model("MTT_musicnn")
    assert original.provenance.metrics["roc_auc"] == 90.67
    path = write(musicnn_pytorch_state(original), tmp_path / "model.safetensors")
    assert load_model("MTT_musicnn", weights=path).provenance == musicnn_zoo.Provenance()


def shapes_of(model) -> dict[str, tuple[int, ...]]:
    return {weight.path: tuple(weight.shape) for weight in model.weights}


def test_what_has_no_place_is_kept_to_be_refused() -> None:
    model = build_model("musicnn")
    state = musicnn_pytorch_state(model)
    state["backend.fc3.weight"] = np.zeros((2, 2), np.float32)
    state["backend.fc2.extra"] = np.zeros(3, np.float32)
    translated = from_torch(state, shapes_of(model))
    assert set(translated) - set(shapes_of(model)) == {"backend.fc3.weight", "backend.fc2.extra"}
    assert not any("num_batches_tracked" in name for name in translated)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("backend.fc2.bias"), "logits/bias is missing"),
        (lambda s: s.update({"extra.weight": np.zeros(3)}), "extra.weight has no place"),
        (
            lambda s: s.update({"backend.fc2.bias": np.zeros(49, np.float32)}),
            r"logits/bias must have the shape \(50,\), received \(49,\)",
        ),
        (
            lambda s: s.update(
                {
                    "timbral_1.conv_block.conv.weight": s["timbral_2.conv_block.conv.weight"],
                    "timbral_2.conv_block.conv.weight": s["timbral_1.conv_block.conv.weight"],
                }
            ),
            r"frontend_timbral_\d+/kernel must have the shape .* \(and 1 more\)",
        ),
    ],
    ids=["missing", "extra", "shape", "swapped"],
)
def test_a_checkpoint_that_does_not_fit_changes_nothing(change, message, tmp_path: Path) -> None:
    from musicnn_zoo.zoo.weights import load_into

    model = build_model("musicnn")
    before = model.get_weights()
    state = musicnn_pytorch_state(load_model("MTT_musicnn"))
    change(state)
    path = write(state, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=message) as refused:
        load_into(model, path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    path = write(musicnn_pytorch_state(build_model("musicnn")), tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"do not fit the model MTT_fcn"):
        load_model("MTT_fcn", weights=path)


def test_every_family_names_layers_that_a_preset_has() -> None:
    layers = [
        {layer.name for layer in build_model(name).layers}
        for name in ("musicnn", "musicnn_big", "fcn", "crnn", "musicnn_won")
    ]
    for family in FAMILIES:
        assert any(set(family.modules.values()) <= names for names in layers)
