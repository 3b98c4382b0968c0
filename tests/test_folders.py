import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import CLIPS

import musicnn_zoo
from musicnn_zoo import (
    ArgumentError,
    LogMelInput,
    OutputError,
    Provenance,
    Tagger,
    WeightsError,
    block,
    build_model,
    load_model,
    model_info,
    save_pretrained,
)
from musicnn_zoo.networks.build import adapt
from musicnn_zoo.networks.config import TagThresholds
from musicnn_zoo.zoo.folder import read_folder

CLIP = CLIPS / "techno_loop.ogg"
PROVENANCE = Provenance(
    trained_on="Ten songs | of <mine>",
    metrics={"roc_auc": 91.5, "pr_auc": 40.25},
    test_set="two other songs",
    source="own recordings",
    license="CC-BY-4.0",
    citation="@misc{me}",
)


def small(name: str = "small", **changes):
    made = {"frontend": block("vgg", filters=4), "tags": ["calm", 'wild "x"', "täg|`1`"]}
    return build_model(**(made | changes), name=name)


def noise(model, seconds: float = 3.0) -> np.ndarray:
    samples = model.input_shape[1] or int(seconds * model.zoo_config.input.sample_rate)
    return np.random.default_rng(0).normal(0, 0.1, (2, samples)).astype(np.float32)


MODELS = {
    "vgg": {},
    "gru": {"backend": block("recurrent", cell="gru", cell_units=4, bidirectional=True)},
    "attention": {"backend": block("attention", units=8)},
    "self_attention": {"backend": block("self_attention", width=8, heads=2, depth=1)},
    "waveform": {"frontend": block("sample_level", filters=(4,) * 8, pointwise=None)},
    "standardize": {"input": LogMelInput(normalization="standardize")},
    "epsilon": {"frontend": block("rectangular", filters=(4,), pools=((2, 2),), bn_epsilon=0.1)},
}


@pytest.mark.platform
@pytest.mark.parametrize("name", MODELS)
def test_a_folder_gives_back_the_model(name: str, tmp_path: Path) -> None:
    model = small(name, **MODELS[name])
    random = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign(random.normal(0, 0.3, weight.shape))
    if name == "standardize":
        adapt(model, noise(model))
    loaded = load_model(save_pretrained(model, tmp_path / "a" / "b", provenance=PROVENANCE))
    waveforms = noise(model)
    np.testing.assert_array_equal(
        loaded.predict_on_batch(waveforms), model.predict_on_batch(waveforms)
    )
    assert loaded.spec == model.spec
    assert loaded.provenance == PROVENANCE


def test_a_pretrained_model_says_in_its_folder_where_it_comes_from(tmp_path: Path) -> None:
    model = load_model("MSD_vgg")
    save_pretrained(model, tmp_path)
    loaded = load_model(str(tmp_path))
    assert loaded.provenance == model.provenance
    assert loaded.provenance.license == "ISC"
    assert "Pons" in (tmp_path / "LICENSE").read_text()
    np.testing.assert_array_equal(
        Tagger(loaded, device="cpu").taggram(CLIP).scores,
        Tagger(model, device="cpu").taggram(CLIP).scores,
    )


def test_a_folder_is_taken_wherever_a_name_is(tmp_path: Path) -> None:
    save_pretrained(load_model("MTT_vgg"), tmp_path / "mine")
    expected = musicnn_zoo.tag(CLIP, model="MTT_vgg")
    for place in (tmp_path / "mine", str(tmp_path / "mine")):
        tags = musicnn_zoo.tag(CLIP, model=place)
        assert [tag.tag for tag in tags] == [tag.tag for tag in expected]
        np.testing.assert_allclose(
            [tag.score for tag in tags], [tag.score for tag in expected], atol=1e-5
        )


def test_a_folder_that_was_written_anew_is_loaded_anew(tmp_path: Path) -> None:
    first, second = small(), small()
    assert not np.array_equal(first.get_weights()[-1], second.get_weights()[-1]) or (
        second.get_layer("logits").bias.assign([1, 2, 3]) is not None
    )
    save_pretrained(first, tmp_path)
    before = musicnn_zoo.tag(CLIP, model=tmp_path)
    save_pretrained(second, tmp_path)
    after = musicnn_zoo.tag(CLIP, model=tmp_path)
    expected = Tagger(second).tag(CLIP)
    assert [tag.score for tag in after] != [tag.score for tag in before]
    np.testing.assert_allclose(
        [tag.score for tag in after], [tag.score for tag in expected], atol=1e-5
    )


def test_a_folder_holds_no_more_than_it_says(tmp_path: Path) -> None:
    save_pretrained(small(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md", "config.json", "model.safetensors", "tags.json",
    ]  # fmt: skip
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["library_name"] == "musicnn-zoo"
    assert config["sample_rate"] == 16000
    assert json.loads((tmp_path / "tags.json").read_text()) == list(small().tags)


def test_the_card_has_the_header_of_the_hub(tmp_path: Path) -> None:
    model = small()
    save_pretrained(model, tmp_path, provenance=PROVENANCE, repo="me/small")
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    header = yaml.safe_load(card.split("---")[1])
    assert header["library_name"] == "musicnn-zoo"
    assert header["pipeline_tag"] == "audio-classification"
    assert header["license"] == "cc-by-4.0"
    assert "music" in header["tags"]
    (result,) = header["model-index"][0]["results"]
    assert [(m["type"], m["value"]) for m in result["metrics"]] == [
        ("roc_auc", 91.5), ("pr_auc", 40.25),
    ]  # fmt: skip
    body = card.split("---", 2)[2]
    for text in ("# small", "hf://me/small", "`calm`", "91.50", "two other songs", "@misc{me}"):
        assert text in body, text
    assert "<mine>" not in body.replace(r"\<mine\>", "")
    count = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert f"{count:,} trainable" in body


def test_the_code_of_the_card_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_pretrained(load_model("MTT_vgg"), tmp_path)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    code = code.replace("path/to/this/folder", str(tmp_path)).replace("song.mp3", str(CLIP))
    scope: dict[str, object] = {}
    exec(code, scope)
    assert "techno" in capsys.readouterr().out
    assert scope["model"].name == "MTT_vgg"


def test_a_card_without_provenance_says_so(tmp_path: Path) -> None:
    save_pretrained(small(), tmp_path)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert card.count("Not stated.") == 3
    assert "No figures are stated." in card
    assert "license" not in yaml.safe_load(card.split("---")[1])


def test_info_describes_a_folder(tmp_path: Path) -> None:
    model = small()
    save_pretrained(model, tmp_path, provenance=PROVENANCE)
    info = model_info(tmp_path)
    assert (info.name, info.tags, info.license) == ("small", model.tags, "CC-BY-4.0")
    assert info.frontend == "vgg"
    assert info.parameters == sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert str(tmp_path) in str(info)


@pytest.mark.parametrize("name", ["a/b", "../up", ".hidden", "x" * 97, "a b"])
def test_a_name_that_is_a_path_is_refused(name: str, tmp_path: Path) -> None:
    model = small()
    save_pretrained(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["name"] = name
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"config\.json: refused: the name of a model"):
        load_model(tmp_path)


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    save_pretrained(small(), tmp_path)
    with pytest.raises(ArgumentError, match="source goes with the name"):
        load_model(tmp_path, source="hub")
    with pytest.raises(ArgumentError, match="exclude each other"):
        load_model("MTT_vgg", source="bundled", weights=tmp_path / "model.safetensors")
    with pytest.raises(ArgumentError, match="sources of MTT_vgg are 'bundled'"):
        load_model("MTT_vgg", source="web")


def test_places_that_are_no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="there is no such folder"):
        load_model("gone/model")
    with pytest.raises(WeightsError, match=r"lacks config\.json"):
        load_model(tmp_path)
    (tmp_path / "MTT_vgg").mkdir()
    assert load_model("MTT_vgg").name == "MTT_vgg", "a name comes before a folder of that name"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        save_pretrained(small(), tmp_path / "file" / "model")


def test_a_model_whose_name_is_no_file_name_is_refused_before_it_is_written(tmp_path: Path):
    with pytest.raises(ArgumentError, match="the name of a model"):
        save_pretrained(small("a b"), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_files_that_the_new_model_lacks_go_and_others_stay(tmp_path: Path) -> None:
    thresholds = TagThresholds((0.5,) * 3, "guessed")
    old = small(provenance=Provenance(notice="of the old one"), thresholds=thresholds)
    save_pretrained(old, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "training").mkdir()
    assert {"LICENSE", "thresholds.json"} <= {path.name for path in tmp_path.iterdir()}
    save_pretrained(small(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md", "config.json", "model.safetensors", "notes.txt", "tags.json", "training",
    ]  # fmt: skip
    assert load_model(tmp_path).provenance.notice == ""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pretrained(small(), tmp_path_factory.mktemp("saved"))


@pytest.mark.parametrize(
    "name", ["config.json", "tags.json", "model.safetensors", "thresholds.json"]
)
@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "large", "dangling link"])
def test_what_is_no_regular_file_of_bounded_size_is_refused(
    name: str, kind: str, saved: Path, tmp_path: Path
) -> None:
    for path in saved.iterdir():
        (tmp_path / path.name).symlink_to(path)
    assert read_folder(tmp_path, origin="x").spec.name == "small", "links are usual on the Hub"
    place = tmp_path / name
    place.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "device":
        place.symlink_to("/dev/zero")
    elif kind == "large":
        with place.open("wb") as file:
            file.truncate(6 * 2**30)
    else:
        place.symlink_to("gone")
    said = {
        "pipe": "it is a pipe", "folder": "it is a folder", "device": "it is a device",
        "large": "6,442,450,944 bytes; at most", "dangling link": "No such file|lacks",
    }[kind]  # fmt: skip
    with pytest.raises(WeightsError, match=rf"x.*{re.escape(name)}.*({said})|lacks {name}"):
        read_folder(tmp_path, origin="x")


def test_more_than_is_loaded_again_is_not_saved(tmp_path: Path) -> None:
    provenance = Provenance(notice="x" * 2**20)
    with pytest.raises(ArgumentError, match=r"config\.json would have .* bytes; at most 1,048,576"):
        save_pretrained(small(), tmp_path / "x", provenance=provenance)
    assert not (tmp_path / "x").exists()


def test_a_large_model_of_ones_own_is_built_and_loaded_again(tmp_path: Path) -> None:
    """What its file holds is room enough, and a model without a file needs none."""
    model = small(frontend=block("vgg", filters=700))
    assert model.count_params() > 2**24
    loaded = load_model(save_pretrained(model, tmp_path))
    assert loaded.count_params() == model.count_params()
