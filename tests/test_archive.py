import os

import numpy as np
import pytest

from musicnn_zoo.library.text_store import EmbeddingArchive
from musicnn_zoo.tagging.results import Clip, Embedding


def embedding_of(values, source="a.wav", pooling=None):
    values = np.asarray(values, np.float32)
    patches = len(values) if pooling is None else 3
    clip = Clip(source, 9.0)
    return Embedding(values, np.arange(patches) * 1.5, "pool5", pooling, 3, 1.5, "M", clip)


def read(path):
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


def test_rows_sources_and_times_belong_together(tmp_path):
    with EmbeddingArchive(tmp_path / "all.npz") as archive:
        archive.add(embedding_of([[1, 2], [3, 4]], "a.wav"))
        archive.add(embedding_of([[5, 6]], "b.wav"))
        archive.add(embedding_of([[7, 8], [9, 10], [11, 12]], "c.wav"))
    saved = read(tmp_path / "all.npz")
    np.testing.assert_array_equal(saved["embeddings"], np.arange(1, 13).reshape(6, 2))
    assert saved["embeddings"].dtype == np.float32
    assert list(saved["sources"]) == ["a.wav", "a.wav", "b.wav", "c.wav", "c.wav", "c.wav"]
    assert list(saved["times"]) == [0, 1.5, 0, 0, 1.5, 3]


def test_a_pooled_embedding_is_one_row_from_the_start(tmp_path):
    with EmbeddingArchive(tmp_path / "all.npz") as archive:
        archive.add(embedding_of([1, 2], "a.wav", "mean"))
        archive.add(embedding_of([3, 4], "b.wav", "mean"))
    saved = read(tmp_path / "all.npz")
    np.testing.assert_array_equal(saved["embeddings"], [[1, 2], [3, 4]])
    assert list(saved["sources"]) == ["a.wav", "b.wav"]
    assert list(saved["times"]) == [0, 0]


@pytest.mark.parametrize(("pooling", "text"), [("mean", "mean"), ("max", "max"), (None, "none")])
def test_the_archive_says_what_it_holds(tmp_path, pooling, text):
    with EmbeddingArchive(tmp_path / "all.npz") as archive:
        archive.add(embedding_of([[1, 2]] if pooling is None else [1, 2], pooling=pooling))
    saved = read(tmp_path / "all.npz")
    assert (str(saved["model"]), str(saved["layer"]), str(saved["pooling"])) == ("M", "pool5", text)


def test_it_is_read_without_pickle(tmp_path):
    with EmbeddingArchive(tmp_path / "all.npz") as archive:
        archive.add(embedding_of([[1, 2]], os.fsdecode(b"caf\xe9.wav")))
        archive.add(embedding_of([[3, 4]], None))
    with np.load(tmp_path / "all.npz", allow_pickle=False) as saved:
        assert list(saved["sources"]) == ["caf\\udce9.wav", ""]


def test_what_was_finished_is_kept_when_the_rest_fails(tmp_path):
    def fail_after_one():
        with EmbeddingArchive(tmp_path / "all.npz") as archive:
            archive.add(embedding_of([[1, 2]]))
            raise RuntimeError("power")

    with pytest.raises(RuntimeError, match="power"):
        fail_after_one()
    np.testing.assert_array_equal(read(tmp_path / "all.npz")["embeddings"], [[1, 2]])


def test_nothing_is_written_if_there_is_nothing_to_write(tmp_path):
    with EmbeddingArchive(tmp_path / "all.npz"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_old_archive_stays_if_there_is_nothing_to_write(tmp_path):
    (tmp_path / "all.npz").write_bytes(b"old")
    with pytest.raises(RuntimeError), EmbeddingArchive(tmp_path / "all.npz"):
        raise RuntimeError
    assert (tmp_path / "all.npz").read_bytes() == b"old"


def test_an_old_archive_is_replaced_and_nothing_else_is_left(tmp_path):
    (tmp_path / "all.npz").write_bytes(b"old")
    with EmbeddingArchive(tmp_path / "all.npz") as archive:
        archive.add(embedding_of([[1, 2]]))
        assert (tmp_path / "all.npz").read_bytes() == b"old"
    np.testing.assert_array_equal(read(tmp_path / "all.npz")["embeddings"], [[1, 2]])
    assert [path.name for path in tmp_path.iterdir()] == ["all.npz"]


@pytest.fixture
def full_disk(monkeypatch):
    def half_written(file, **arrays):
        file.write(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr(np, "savez", half_written)


def fail_to_save(path):
    with pytest.raises(OSError, match="disk is full"), EmbeddingArchive(path) as archive:
        archive.add(embedding_of([[1, 2]]))


def test_an_old_archive_survives_a_failure_to_write_the_new_one(tmp_path, full_disk):
    (tmp_path / "all.npz").write_bytes(b"old")
    fail_to_save(tmp_path / "all.npz")
    assert (tmp_path / "all.npz").read_bytes() == b"old"


def test_a_failure_to_write_leaves_nothing_behind(tmp_path, full_disk):
    fail_to_save(tmp_path / "all.npz")
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_the_file_is_taken_as_it_is(tmp_path):
    with EmbeddingArchive(tmp_path / "embeddings") as archive:
        archive.add(embedding_of([[1, 2]]))
    assert [path.name for path in tmp_path.iterdir()] == ["embeddings"]
