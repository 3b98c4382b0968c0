"""Thresholds of a model's own: found, stored, read, refused, and used."""

import json
import re
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import CLIPS
from hub_server import HubServer, patch_hub

import musicnn_zoo
from musicnn_zoo import (
    ArgumentError,
    Tagger,
    WeightsError,
    block,
    build_model,
    load_model,
    model_info,
    push_to_hub,
    save_pretrained,
)
from musicnn_zoo.datasets import Report
from musicnn_zoo.evaluation.evaluate import ModelEvaluation, store_thresholds, with_thresholds
from musicnn_zoo.evaluation.metrics import best_f1_thresholds, evaluate_scores
from musicnn_zoo.networks.config import ModelSpec, TagThresholds
from musicnn_zoo.runtimes.formats import metadata_json
from musicnn_zoo.tagging.results import Clip, Taggram
from musicnn_zoo.zoo.folder import folder_stamp, read_folder
from musicnn_zoo.zoo.load import find_pretrained

CLIP = CLIPS / "techno_loop.ogg"
TAGS = ("calm", 'wild "x"', "täg|`1`")
FOUND = TagThresholds((0.25, None, 0.7), "best F1 on <mine>")


def small(**changes):
    return build_model(
        frontend=block("rectangular", filters=(2,), pools=((4, 8),)),
        backend=block("temporal_pooling", units=4), tags=TAGS, name="small", **changes,
    )  # fmt: skip


def evaluation(tags=TAGS, split="validation", model="small", positives=True):
    generator = np.random.default_rng(0)
    labels = generator.random((30, len(tags))) < 0.4
    labels[:, 1] = labels[:, 1] & positives
    scores = (generator.random(labels.shape) * 0.5 + 0.4 * labels).astype(np.float32)
    figures = evaluate_scores(
        labels, scores, tags, bootstrap=0, split=f"{split} of mine; 2 groups in others"
    )
    return ModelEvaluation(
        model, "mine", split, figures, Report(), {}, 1.0, tuple(tags),
        tuple(map(str, range(30))), labels, scores,
    )  # fmt: skip


# Found


def test_thresholds_of_best_f1_go_into_a_model() -> None:
    model, found = small(), evaluation()
    calibrated = with_thresholds(model, found)
    expected = best_f1_thresholds(found.labels, found.scores)
    assert calibrated.thresholds.values == tuple(expected)
    assert calibrated.thresholds.origin == "best F1 on validation of mine, 30 tracks"
    assert model.thresholds is None
    assert (calibrated.name, calibrated.tags, calibrated.zoo_config) == (
        model.name, model.tags, model.zoo_config,
    )  # fmt: skip
    assert calibrated.layers[1] is model.layers[1]
    assert with_thresholds(calibrated, None).thresholds is None


def test_tags_that_were_not_evaluated_or_had_no_track_get_none() -> None:
    model = small()
    assert with_thresholds(model, evaluation(positives=False)).thresholds.values[1] is None
    found = with_thresholds(model, evaluation(TAGS[::-1][:2]))
    assert found.thresholds.values[0] is None
    assert None not in found.thresholds.values[1:]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (evaluation(split="test"), "neither trained nor tested on; received .* split 'test'"),
        (evaluation(split="train"), "received .* split 'train'"),
        (evaluation(model="other"), "must be of the model .*, small, .*; received one of other"),
        (evaluation(("calm", "x", "y")), "and of its tags"),
        (TagThresholds((0.5,)), "one for each of the 3 tags of small; received 1"),
    ],
)
def test_thresholds_that_do_not_belong_are_refused(found, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        with_thresholds(small(), found)


def test_scores_that_are_no_probabilities_have_no_thresholds() -> None:
    found = evaluation()
    found = replace(found, scores=found.scores * 20)
    with pytest.raises(ArgumentError, match="a threshold must be a number between 0 and 1"):
        with_thresholds(small(), found)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf"), True, "0.5", [0.5]])
def test_what_is_no_threshold_is_refused(value) -> None:
    with pytest.raises(ArgumentError, match="a threshold must be a number between 0 and 1, or no"):
        TagThresholds((value,))


def test_numpy_numbers_do() -> None:
    assert TagThresholds((np.float32(0.5), np.float64(1), 0)).values == (0.5, 1.0, 0.0)


def test_a_spec_has_a_threshold_for_each_tag() -> None:
    spec = small().spec
    with pytest.raises(ArgumentError, match="one for each of the 3 tags; received 1"):
        ModelSpec("m", spec.config, spec.tags, TagThresholds((0.5,)))


# Used


def taggram(thresholds, scores=(0.3, 0.9, 0.6)):
    return Taggram(
        np.array([scores], np.float32), ("a", "b", "c"), np.zeros(1), 3, 3, "M", Clip(None, 3.0),
        thresholds,
    )  # fmt: skip


def test_a_tag_is_given_from_its_own_threshold_on() -> None:
    own = TagThresholds((0.25, None, 0.7))
    assert taggram(own).rank(threshold="calibrated").names == ("a",)
    low = TagThresholds((0.25, 0.9, 0.5))
    assert taggram(low).rank(threshold="calibrated").names == ("b", "c", "a")
    assert taggram(low).rank(threshold="calibrated", top_k=2).names == ("b", "c")
    assert taggram(low).rank(threshold=0.5).names == ("b", "c")
    exact = TagThresholds((float(np.float32(0.3)), 1.0, 0.61))
    assert taggram(exact).rank(threshold="calibrated").names == ("a",)
    assert taggram(TagThresholds((1.0,) * 3)).rank(threshold="calibrated").names == ()


def test_without_thresholds_it_is_said_how_to_get_some() -> None:
    with pytest.raises(ArgumentError, match=r"M has no calibrated thresholds; .*--store-thresh"):
        taggram(None).rank(threshold="calibrated")
    with pytest.raises(ArgumentError, match="MTT_vgg has no calibrated thresholds"):
        musicnn_zoo.tag("no such file.wav", model="MTT_vgg", threshold="calibrated")
    with pytest.raises(ArgumentError, match="between 0 and 1; received 'calibratd'"):
        taggram(None).rank(threshold="calibratd")


def test_every_way_of_tagging_takes_them(tmp_path: Path) -> None:
    plain = load_model("MTT_vgg")
    scores = dict(Tagger("MTT_vgg").tag(CLIP, top_k=50))
    values = [0.02] * 50
    values[plain.tags.index("techno")] = None
    model = with_thresholds(plain, TagThresholds(tuple(values)))
    expected = tuple(
        sorted(
            (tag for tag, score in scores.items() if score >= 0.02 and tag != "techno"),
            key=lambda tag: -scores[tag],
        )
    )
    assert len(expected) > 3
    folder = save_pretrained(model, tmp_path)
    for place in (folder, load_model(folder), Tagger(folder)):
        assert musicnn_zoo.tag(CLIP, model=place, threshold="calibrated").names == expected
    (result,) = musicnn_zoo.tag_files([CLIP], model=folder, threshold="calibrated")
    assert result.unwrap().names == expected
    assert Tagger(folder).taggram(CLIP).rank(threshold="calibrated").names == expected


# Kept


def test_a_folder_keeps_them(tmp_path: Path) -> None:
    folder = save_pretrained(small(thresholds=FOUND), tmp_path)
    assert json.loads((folder / "thresholds.json").read_text(encoding="utf-8")) == {
        "thresholds": dict(zip(TAGS, FOUND.values, strict=True)),
        "from": FOUND.origin,
    }
    assert find_pretrained(folder).spec.thresholds == FOUND
    assert load_model(folder).thresholds == FOUND
    info = model_info(folder)
    assert info.thresholds == FOUND
    assert "for 2 of 3 tags, best F1 on <mine>" in str(info)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert '`calm` 0.25, `wild "x"` never' in card
    assert r"best F1 on \<mine\>" in card


def test_a_folder_written_anew_without_them_has_none(tmp_path: Path) -> None:
    save_pretrained(small(thresholds=FOUND), tmp_path)
    save_pretrained(small(), tmp_path)
    assert not (tmp_path / "thresholds.json").exists()
    assert load_model(tmp_path).thresholds is None
    assert "Thresholds" not in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_a_keras_file_and_metadata_keep_them(tmp_path: Path) -> None:
    model = small(thresholds=FOUND)
    model.save(tmp_path / "m.keras")
    assert keras.saving.load_model(tmp_path / "m.keras").thresholds == FOUND
    assert json.loads(metadata_json(model, "float32"))["thresholds"] == FOUND.to_dict(TAGS)
    assert "thresholds" not in json.loads(metadata_json(small(), "float32"))


def test_storing_changes_the_folder_and_what_is_kept_by_its_digest(tmp_path: Path) -> None:
    folder = save_pretrained(small(), tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    card = before["README.md"].decode() + "\nMy own words.\n"
    (folder / "README.md").write_text(card, encoding="utf-8")
    digest, stamp = find_pretrained(folder).digest(), folder_stamp(str(folder))
    first = store_thresholds(folder, evaluation())
    assert load_model(folder).thresholds == first
    digests = {digest, find_pretrained(folder).digest()}
    assert folder_stamp(str(folder)) != stamp
    store_thresholds(folder, evaluation(positives=False))
    assert len(digests | {find_pretrained(folder).digest()}) == 3
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.count("## Thresholds") == 1
    assert text.count('`wild "x"` never') == 1
    assert text.endswith("\nMy own words.\n")
    without = re.sub(r"## Thresholds\n.*?(?=## )", "", text, flags=re.DOTALL)
    assert without == card
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in ("config.json", "tags.json", "model.safetensors"):
        assert after[name] == before[name]
    assert set(after) == {*before, "thresholds.json"}


def test_a_folder_without_the_file_has_the_digest_that_it_had(tmp_path: Path) -> None:
    import hashlib

    folder = save_pretrained(small(), tmp_path)
    digest = hashlib.sha256()
    for name in ("config.json", "tags.json", "model.safetensors"):
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    assert read_folder(folder, origin="x").digest() == digest.hexdigest()


def test_storing_needs_a_folder_of_the_model(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"lacks config\.json"):
        store_thresholds(tmp_path, evaluation())
    save_pretrained(small(), tmp_path)
    with pytest.raises(ArgumentError, match="received one of other"):
        store_thresholds(tmp_path, evaluation(model="other"))


# Hostile

GOOD = FOUND.to_dict(TAGS)
HOSTILE = {
    "not JSON": b"{",
    "not UTF-8": b"\xff\xfe",
    "a list": [0.5, 0.5, 0.5],
    "no entries": {},
    "another entry": {**GOOD, "code": "import os"},
    "no origin": {"thresholds": GOOD["thresholds"]},
    "origin is a number": {**GOOD, "from": 3},
    "origin without end": {**GOOD, "from": "x" * 100_000},
    "thresholds are a list": {**GOOD, "thresholds": [0.5, 0.5, 0.5]},
    "a tag too few": {**GOOD, "thresholds": {"calm": 0.5}},
    "a tag too many": {**GOOD, "thresholds": {**GOOD["thresholds"], "x": 0.5}},
    "another tag": {**GOOD, "thresholds": {"a": 0.5, "b": 0.5, "c": 0.5}},
    "text": {**GOOD, "thresholds": {**GOOD["thresholds"], "calm": "0.5"}},
    "true": {**GOOD, "thresholds": {**GOOD["thresholds"], "calm": True}},
    "object": {**GOOD, "thresholds": {**GOOD["thresholds"], "calm": {"x": 1}}},
    "below": {**GOOD, "thresholds": {**GOOD["thresholds"], "calm": -0.01}},
    "above": {**GOOD, "thresholds": {**GOOD["thresholds"], "calm": 1.01}},
    "NaN": {**GOOD, "thresholds": {**GOOD["thresholds"], "calm": float("nan")}},
    "infinite": {**GOOD, "thresholds": {**GOOD["thresholds"], "calm": float("inf")}},
    "huge": {**GOOD, "thresholds": {**GOOD["thresholds"], "calm": 10**400}},
    "deep": b"[" * 100_000,
    "digits without end": b'{"thresholds": {"calm": ' + b"1" * 10_000 + b'}, "from": ""}',
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return save_pretrained(small(), tmp_path_factory.mktemp("hostile"))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(name: str, hostile: Path) -> None:
    content = HOSTILE[name]
    if not isinstance(content, bytes):
        content = json.dumps(content).encode()
    (hostile / "thresholds.json").write_bytes(content)
    with pytest.raises(
        WeightsError, match=r"thresholds\.json: (refused|this is not JSON)"
    ) as caught:
        find_pretrained(hostile)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    save_pretrained(small(), tmp_path)
    (tmp_path / "thresholds.json").mkdir()
    with pytest.raises(WeightsError, match=r"thresholds\.json: .*, and it is a folder"):
        find_pretrained(tmp_path)


# On the Hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with HubServer() as server:
        patch_hub(monkeypatch, server, tmp_path / "cache", token=server.token)
        yield server


def asked(server, name: str) -> int:
    return sum(request.path.endswith(f"/{name}") for request in server.requests)


def test_the_hub_gives_them_back_and_forgets_them(hub) -> None:
    first = push_to_hub(small(thresholds=FOUND), "me/small")
    assert "thresholds.json" in hub.files("me/small")
    assert load_model(first).thresholds == FOUND
    assert load_model("hf://me/small").thresholds == FOUND
    second = push_to_hub(small(), "me/small")
    assert "thresholds.json" not in hub.files("me/small")
    assert load_model("hf://me/small").thresholds is None
    assert load_model(first).thresholds == FOUND
    assert find_pretrained(first).digest() != find_pretrained(second).digest()


def test_what_a_repository_lacks_is_asked_for_once(hub, monkeypatch: pytest.MonkeyPatch) -> None:
    address = push_to_hub(small(), "me/small")
    load_model(address)
    once = asked(hub, "thresholds.json")
    assert once >= 1
    load_model(address)
    assert asked(hub, "thresholds.json") == once
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert load_model(address).thresholds is None


def test_without_a_network_what_was_never_asked_for_is_taken_as_lacking(
    hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    address = push_to_hub(small(), "me/small")
    with monkeypatch.context() as patch:
        patch.setattr("musicnn_zoo.zoo.folder._fetch_if_there", lambda file: None)
        load_model(address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert load_model(address).thresholds is None
    assert "going on without thresholds.json" in caplog.text


def test_a_hostile_file_on_the_hub_is_refused(hub) -> None:
    push_to_hub(small(thresholds=FOUND), "me/small")
    hub.add_repo("me/small", {**hub.files("me/small"), "thresholds.json": b"[]"})
    with pytest.raises(WeightsError, match=r"thresholds\.json: refused"):
        load_model("hf://me/small")
