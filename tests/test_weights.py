import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import BUNDLED, ROOT

from musicnn_zoo import WeightsError, build_model, load_model, weights
from musicnn_zoo.presets import PRESETS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(weights.bundled_folder() / "MTT_vgg.weights.h5", tmp_path)
    monkeypatch.setattr(weights, "bundled_folder", lambda: tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_weights_have_the_digest_of_the_table(name: str) -> None:
    assert weights.bundled(PRESETS[name].source()).name == f"{name}.weights.h5"


def test_the_authors_notice_lies_beside_the_weights() -> None:
    notice = (weights.bundled_folder() / "LICENSE").read_text()
    assert "Music Technology Group, Universitat Pompeu Fabra 2019" in notice
    assert "Permission to use, copy, modify, and/or distribute" in notice


def test_one_changed_byte_is_an_error_that_names_the_file(folder: Path) -> None:
    path = folder / "MTT_vgg.weights.h5"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"MTT_vgg\.weights\.h5.*SHA-256"):
        load_model("MTT_vgg")


def test_a_missing_file_is_an_error_that_names_it(folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"MSD_vgg\.weights\.h5.*No such file"):
        load_model("MSD_vgg")


def test_weights_of_another_architecture_do_not_load() -> None:
    model = build_model("musicnn")
    with pytest.raises(WeightsError, match=r"MTT_vgg\.weights\.h5.*does not fit"):
        weights.load_into(model, weights.bundled(PRESETS["MTT_vgg"].source()))


def test_loading_sets_every_weight() -> None:
    fresh = build_model("musicnn")
    loaded = load_model("MTT_musicnn")
    same = [
        weight.path
        for weight, other in zip(loaded.weights, fresh.weights, strict=True)
        if np.array_equal(weight, other)
    ]
    assert same == []


@pytest.mark.parametrize("name", BUNDLED)
def test_files_hold_float32_only(name: str) -> None:
    dtypes = set()
    with h5py.File(weights.bundled(PRESETS[name].source())) as file:
        file.visititems(
            lambda path, item: (
                dtypes.add(str(item.dtype))
                if isinstance(item, h5py.Dataset) and "seed" not in path
                else None
            )
        )
    assert dtypes == {"float32"}


def test_a_checkout_finds_them_in_weights() -> None:
    assert sorted(path.name for path in (ROOT / "weights").glob("*.h5")) == sorted(
        f"{name}.weights.h5" for name in BUNDLED
    )
