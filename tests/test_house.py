"""The rooms of the package: what imports what, and the names that things had before."""

import importlib
import runpy
import subprocess
import sys

import pytest
from conftest import ROOT

import musicnn_zoo

SCRIPT = ROOT / "docs" / "house.py"
SAVED = ROOT / "tests" / "saved_before_rooms"
house = runpy.run_path(str(SCRIPT))


def test_no_import_goes_up_or_round_and_the_picture_is_up_to_date():
    ran = subprocess.run(
        [sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False
    )
    assert (ran.stderr, ran.returncode) == ("", 0)


def test_there_are_few_files():
    modules = house["modules"]()
    assert len(modules) <= 137
    assert len({house["room_of"](name) for name in modules if "." in name}) <= 15
    assert sum(path.parent.name == "musicnn_zoo" for path in modules.values()) <= 6


@pytest.mark.parametrize(
    ("code", "where", "said"),
    [
        ("from musicnn_zoo.tagging.tagger import Tagger", "sound.read", "stands above it"),
        ("def f():\n    import musicnn_zoo.cli", "tagging.results", "stands above it"),
        ("f = 'musicnn_zoo.zoo.load:load_model'", "errors", "stands above it"),
        ("from musicnn_zoo import tag", "hear", "stands above it"),
        ("from musicnn_zoo.networks.build import build_model", "networks.config", "a circle: "),
        ("", "rooms_without_place", "is not in ROOMS"),
    ],
)
def test_what_breaks_the_order_is_named(monkeypatch, tmp_path, code, where, said):
    known = house["modules"]()
    changed = tmp_path / "changed.py"
    old = known[where].read_text(encoding="utf-8") if where in known else ""
    changed.write_text(f"{old}\n{code}\n", encoding="utf-8")
    monkeypatch.setitem(house["imports"].__globals__, "modules", lambda: {**known, where: changed})
    (fault,) = house["faults"](list(house["imports"]()))
    assert where in fault
    assert said in fault


@pytest.mark.parametrize("old", sorted(musicnn_zoo._MOVED))
def test_modules_are_found_by_the_names_they_had(old):
    module = importlib.import_module(f"musicnn_zoo.{musicnn_zoo._MOVED[old]}")
    assert importlib.import_module(f"musicnn_zoo.{old}") is module
    assert module.__spec__.name == module.__name__ == f"musicnn_zoo.{musicnn_zoo._MOVED[old]}"


def test_modules_of_a_folder_that_is_a_module_now_are_found():
    from musicnn_zoo.backends.autopool import AutoPool

    from musicnn_zoo.networks import backends

    assert AutoPool is backends.AutoPool
    assert importlib.import_module("musicnn_zoo.backends.autopool") is backends
    assert backends.autopool.__name__ == "autopool"  # the function, and not the module
    with pytest.raises(ModuleNotFoundError, match=r"musicnn_zoo\.rooms"):
        importlib.import_module("musicnn_zoo.rooms")


@pytest.mark.parametrize("name", ["attention", "autopool", "sample_level"])
def test_models_that_were_saved_before_load(name):
    import keras
    import numpy as np

    import musicnn_zoo.networks.build

    model = keras.saving.load_model(SAVED / f"{name}.keras")
    assert type(model) is musicnn_zoo.networks.build.TaggingModel
    waveform = np.random.default_rng(0).normal(0, 0.1, (1, 48000)).astype("float32")
    with np.load(SAVED / "scores.npz") as before:
        np.testing.assert_allclose(model(waveform), before[name], atol=1e-6)
