import pickle
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from musicnn_zoo import WeightsError, load_model
from musicnn_zoo.zoo.weights import ArrayHeader, read_checkpoint, safetensors_headers


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.mark.platform
def test_safetensors_are_read_by_name(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float32)}
    save_file(arrays, tmp_path / "x.safetensors")
    read = read_checkpoint(tmp_path / "x.safetensors")
    assert set(read) == {"a", "b"}
    np.testing.assert_array_equal(read["a"], arrays["a"])


@pytest.mark.torch
def test_tensors_of_pytorch_are_read_by_name(tmp_path: Path) -> None:
    import torch

    torch.save({"a": torch.arange(3), "h": torch.ones(2, dtype=torch.float16)}, tmp_path / "x.pth")
    read = read_checkpoint(tmp_path / "x.pth")
    np.testing.assert_array_equal(read["a"], [0, 1, 2])
    assert read["h"].dtype == np.float32


@pytest.mark.torch
@pytest.mark.parametrize("writer", ["pickle", "torch", "old torch"])
def test_a_pickle_with_a_payload_is_refused_and_runs_nothing(writer: str, tmp_path: Path) -> None:
    import torch

    marker = tmp_path / "executed"
    path = tmp_path / "model.pt"
    content = {"weight": torch.zeros(2), "payload": Payload(marker)}
    if writer == "pickle":
        path.write_bytes(pickle.dumps(content["payload"]))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=writer == "torch")
    with pytest.raises(WeightsError, match=r"model\.pt: refused") as refused:
        load_model("MTT_musicnn", weights=path)
    assert "\n" not in str(refused.value)
    assert not marker.exists()
    if writer == "pickle":
        pickle.loads(path.read_bytes())
        assert marker.exists(), "the payload itself must work, or this test shows nothing"


def test_a_pickle_named_safetensors_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Payload(marker)))
    with pytest.raises(WeightsError, match="no safetensors file"):
        read_checkpoint(path)
    assert not marker.exists()


@pytest.mark.torch
@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {"a": {"b": 2}}])
def test_a_pytorch_file_of_something_else_is_refused(content, tmp_path: Path) -> None:
    import torch

    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="must be a state dict"):
        read_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize("file", ["x.safetensors", pytest.param("x.pt", marks=pytest.mark.torch)])
@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x02}q\x00."])
def test_a_damaged_file_is_one_line_that_names_it(file: str, content: bytes, tmp_path: Path):
    path = tmp_path / file
    path.write_bytes(content)
    if (file, content) == ("x.pt", b"\x80\x02}q\x00."):
        path.write_bytes(content[:-1])
    with pytest.raises(WeightsError, match=file) as refused:
        read_checkpoint(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("file", ["gone.safetensors", "gone.pt"])
def test_a_missing_file(file: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=file):
        read_checkpoint(tmp_path / file)


def test_without_pytorch_the_message_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "best_model.pth"
    path.write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(WeightsError, match=r"pip install 'musicnn-zoo\[torch\]'"):
        read_checkpoint(path)


def test_another_ending_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({}))
    with pytest.raises(WeightsError, match=r"must end in one of \.safetensors, \.pt, \.pth"):
        load_model("MTT_musicnn", weights=path)


def test_a_header_is_read_without_its_arrays(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": np.zeros((2, 3), np.float16), "b": np.zeros(1, bool)}, path)
    assert safetensors_headers(path) == {
        "a": ArrayHeader((2, 3), "float16"), "b": ArrayHeader((1,), "bool"),
    }  # fmt: skip


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
def test_a_checkpoint_of_more_than_its_cap_is_not_read(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{ending}"
    with path.open("wb") as file:
        file.truncate(2**31 + 1)
    with pytest.raises(WeightsError, match=r"2,147,483,649 bytes; at most 2,147,483,648 are read"):
        read_checkpoint(path)


def test_an_archive_that_swells_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", b"x")
    content = path.read_bytes()
    at = content.index(b"PK\x01\x02") + 24
    path.write_bytes(content[:at] + struct.pack("<I", 2**32 - 2) + content[at + 4 :])
    with pytest.raises(WeightsError, match=r"refused; it has 4,294,967,294 bytes unpacked"):
        read_checkpoint(path)


@pytest.mark.torch
def test_tensors_that_claim_more_than_they_hold_are_refused(tmp_path: Path) -> None:
    import torch

    torch.save({"a": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=r"the tensors claim 1,000,000,000,000 numbers"):
        read_checkpoint(tmp_path / "x.pt")
    torch.save({"a": torch.eye(2).to_sparse()}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="a must be an ordinary array"):
        read_checkpoint(tmp_path / "x.pt")


def test_names_of_a_family_without_its_shapes_are_refused(tmp_path: Path) -> None:
    layers = [f"layer{number}.{part}.weight" for number in range(1, 5) for part in ("conv", "bn")]
    names = ["spec_bn.weight", "dense.weight", "layer5.weight_ih_l0", *layers]
    save_file({name: np.zeros(2, np.float32) for name in names}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="names of a known family but not its shapes"):
        load_model("MTT_musicnn", weights=tmp_path / "x.safetensors")
