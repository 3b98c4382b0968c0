import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import BUNDLED, ROOT

from musicnn_zoo import LogMelInput, WeightsError, block, build_model, load_model
from musicnn_zoo.networks.build import TaggingModel
from musicnn_zoo.zoo import weights
from musicnn_zoo.zoo.catalogue import PRESETS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(weights.bundled_folder() / "MTT_vgg.weights.h5", tmp_path)
    monkeypatch.setattr(weights, "bundled_folder", lambda: tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_weights_have_the_digest_of_the_table(name: str) -> None:
    assert weights.bundled(PRESETS[name].sources[0]).name == f"{name}.weights.h5"


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
        weights.load_into(model, weights.bundled(PRESETS["MTT_vgg"].sources[0]))


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
    with h5py.File(weights.bundled(PRESETS[name].sources[0])) as file:
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


@pytest.fixture(scope="module")
def tiny() -> TaggingModel:
    return build_model(
        frontend=block("vgg", filters=2), input=LogMelInput(normalization="standardize"), tags=2
    )


def put_at(name: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return change


BIAS = "layers/dense_1/vars/1"
HDF5 = {
    "NaN": (put_at(BIAS, np.array([0, np.nan], np.float32)), "logits/bias has NaN"),
    "whole numbers": (put_at(BIAS, np.zeros(2, np.int32)), r"floating-point weights of .* \(2,\)"),
    "booleans": (put_at(BIAS, np.zeros(2, bool)), r"floating-point weights of .* \(2,\)"),
    "a link": (put_at(BIAS, h5py.ExternalLink("/etc/passwd", "/x")), "1 is a link"),
    "a loop": (put_at("layers/loop", h5py.SoftLink("/layers")), "is a link"),
    "an array of no size on disk": (
        lambda file: file.create_dataset("more", (10**6, 10**6), "f4", chunks=(8, 8)),
        "claims 1,000,000,",
    ),
}


@pytest.mark.parametrize("fault", HDF5)
def test_a_keras_file_that_is_refused_leaves_the_model_as_it_was(
    fault: str, tiny: TaggingModel, tmp_path: Path
) -> None:
    path = tmp_path / "x.weights.h5"
    tiny.save_weights(path)
    weights.load_into(tiny, path)
    before = tiny.get_weights()
    change, said = HDF5[fault]
    with h5py.File(path, "r+") as file:
        if fault == "a loop":
            file["layers/loop"] = 0
        change(file)
    with pytest.raises(WeightsError, match=rf"x\.weights\.h5: .*{said}"):
        weights.load_into(tiny, path)
    for weight, expected in zip(tiny.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)
