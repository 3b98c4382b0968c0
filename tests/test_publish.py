"""The folders that the maintainers publish hold the bundled models."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import BUNDLED, CLIPS, ROOT

from musicnn_zoo import Tagger, load_model

CLIP = CLIPS / "bach_chorale_strings.ogg"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    script = runpy.run_path(str(ROOT / "weights" / "publish.py"))
    return script["render"](tmp_path_factory.mktemp("hub"), "us")


def test_every_bundled_model_is_rendered(folders: dict[str, Path]) -> None:
    assert list(folders) == BUNDLED


@pytest.mark.parametrize("name", BUNDLED)
def test_a_rendered_folder_loads_back(folders: dict[str, Path], name: str) -> None:
    loaded, original = load_model(folders[name]), load_model(name)
    assert (loaded.spec, loaded.provenance) == (original.spec, original.provenance)
    for ours, theirs in zip(loaded.weights, original.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    golden = np.load(ROOT / "tests" / "golden" / f"{name}.npz")[f"{CLIP.stem}.taggram"]
    scores = Tagger(loaded, device="cpu").taggram(CLIP).scores
    np.testing.assert_allclose(scores, golden, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", BUNDLED)
def test_a_rendered_folder_is_ready_to_publish(folders: dict[str, Path], name: str) -> None:
    card = (folders[name] / "README.md").read_text(encoding="utf-8")
    header = yaml.safe_load(card.split("---")[1])
    assert (header["license"], header["library_name"]) == ("isc", "musicnn-zoo")
    assert {m["type"] for r in header["model-index"][0]["results"] for m in r["metrics"]} == {
        "roc_auc", "pr_auc",
    }  # fmt: skip
    assert f'model="hf://us/{name}"' in card
    assert "Not stated" not in card
    assert "not stated" not in card
    assert "Permission to use, copy" in (folders[name] / "LICENSE").read_text(encoding="utf-8")
