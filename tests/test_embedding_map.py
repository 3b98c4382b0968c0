import csv
import importlib.machinery
import json
import os
import sys
import types
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from conftest import CLIPS
from sklearn.decomposition import PCA

from musicnn_zoo import ArgumentError, Tagger, UnknownNameError, map_embeddings
from musicnn_zoo.library import embedding_map
from musicnn_zoo.library.embedding_map import make_map, save_map
from musicnn_zoo.tagging.pipeline import EmbeddedTags
from musicnn_zoo.tagging.results import Clip, Embedding, FileResult, Tags, TagScore


@pytest.fixture(autouse=True)
def without_umap(monkeypatch):
    """The machine may have UMAP or not."""
    monkeypatch.setitem(sys.modules, "umap", None)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        embedding_map.importlib.util,
        "find_spec",
        lambda name: None if name == "umap" else find_spec(name),
    )


def result_of(source, vector, tag="calm"):
    clip = Clip(str(source), 10.0)
    values = np.asarray(vector, np.float32)
    embedding = Embedding(values, np.zeros(1), "penultimate", "mean", 3, 3, "M", clip)
    tags = Tags((TagScore(tag, 0.5),), "M", clip)
    return FileResult(clip.source, EmbeddedTags((embedding,), tags), None)


def results_of(count, dimensions=20, folders=4, seed=0):
    generator = np.random.default_rng(seed)
    for index in range(count):
        vector = generator.normal(size=dimensions) * np.linspace(3, 0.1, dimensions)
        source = Path("music", f"folder {index % folders}", f"{index}.ogg")
        yield result_of(source, vector, f"tag {index % 3}")


@pytest.mark.platform
def test_the_points_are_principal_components() -> None:
    results = list(results_of(30))
    found = make_map(results)
    vectors = np.stack([result.value.embedding.values for result in results]).astype(np.float64)
    centred = vectors - vectors.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :2] * singular[:2]
    signs = np.sign((found.points * expected).sum(axis=0))
    np.testing.assert_allclose(found.points, expected * signs, atol=1e-4)
    # Where scikit-learn has them, signs included.
    np.testing.assert_allclose(found.points, PCA(2).fit_transform(vectors), atol=1e-4)
    parts = singular**2 / (singular**2).sum()
    assert found.explained_variance == pytest.approx(tuple(parts[:2]))
    assert found.method == "pca"
    assert found.sources[1] == os.path.join("music", "folder 1", "1.ogg")  # noqa: PTH118
    assert found.folders[:5] == ("folder 0", "folder 1", "folder 2", "folder 3", "folder 0")
    assert found.tags[:4] == ("tag 0", "tag 1", "tag 2", "tag 0")
    assert found.groups == found.folders
    assert make_map(results, colour_by="tag").groups == found.tags


@pytest.mark.parametrize(
    ("sources", "folders"),
    [
        (["a/1.ogg", "a/2.ogg", "a/3.ogg"], ["a", "a", "a"]),
        (["a/live/1.ogg", "b/live/2.ogg", "b/3.ogg"], ["a/live", "b/live", "b"]),
        (["m/1.ogg", "m/x/2.ogg", "m/x/y/3.ogg"], ["m", "x", "x/y"]),
    ],
)
def test_folders_are_named_from_the_one_that_holds_all(sources, folders) -> None:
    found = make_map([result_of(source, np.eye(3)[i]) for i, source in enumerate(sources)])
    assert list(found.folders) == folders


@pytest.mark.parametrize(
    ("vectors", "explained"),
    [(np.ones((3, 5)), (0, 0)), ([[1.0], [2.0], [4.0]], (1, 0))],
    ids=["all alike", "one dimension"],
)
def test_embeddings_of_less_than_two_dimensions_are_points_too(vectors, explained) -> None:
    found = make_map([result_of(f"{i}.ogg", vector) for i, vector in enumerate(vectors)])
    assert found.points.shape == (3, 2)
    assert np.isfinite(found.points).all()
    assert found.explained_variance == pytest.approx(explained)


def test_files_that_cannot_be_used_are_left_out_and_listed() -> None:
    bad = FileResult("bad.ogg", None, ValueError("bad.ogg: not audio"))
    found = make_map([bad, *results_of(3)])
    assert len(found) == 3
    assert found.errors == {"bad.ogg": "bad.ogg: not audio"}
    with pytest.raises(ArgumentError, match=r"needs at least 3 .*; received 2 \(bad.ogg: not aud"):
        make_map([bad, *results_of(2)])


@pytest.fixture
def umap(monkeypatch):
    """What the map needs of UMAP; remembers how it was made."""
    made = []

    class UMAP:
        def __init__(self, **options):
            made.append(options)

        def fit_transform(self, vectors):
            return np.asarray(vectors)[:, [1, 0]] * 2.0

    module = types.ModuleType("umap")
    module.UMAP = UMAP
    module.__spec__ = importlib.machinery.ModuleSpec("umap", None)
    monkeypatch.setitem(sys.modules, "umap", module)
    monkeypatch.setattr(
        embedding_map.importlib.util, "find_spec", lambda name: sys.modules[name].__spec__
    )
    return made


def test_umap_is_taken_if_it_is_there_and_there_are_enough_files(umap) -> None:
    results = list(results_of(12))
    found = make_map(results, seed=7)
    vectors = np.stack([result.value.embedding.values for result in results])
    np.testing.assert_allclose(found.points, 2 * vectors[:, [1, 0]])
    assert umap[0]["random_state"] == 7
    assert umap[0]["n_neighbors"] == 11
    assert (found.method, found.explained_variance) == ("umap", None)
    assert "UMAP" in str(found)
    assert make_map(results[:9]).method == "pca"
    assert make_map(results, method="pca").method == "pca"
    with pytest.raises(ArgumentError, match=r"needs at least 10 files .* received 9: take method"):
        make_map(results[:9], method="umap")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "umap"}, r"method='umap' needs UMAP: pip install umap-learn, or take 'pca'"),
        ({"method": "tsne"}, r"method must be one of auto, pca, umap; received 'tsne'"),
        ({"colour_by": "genre"}, r"colour_by must be one of folder, tag; received 'genre'"),
    ],
)
def test_unknown_options_are_refused_before_any_work(options, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        map_embeddings("no/such/folder", **options)


@pytest.fixture(scope="module")
def tagger():
    return Tagger("MTT_musicnn", engine="onnxruntime")


@pytest.fixture
def folder(tmp_path):
    """Two excerpts of each clip in a folder of its name, and a file that is no audio."""
    for clip in sorted(CLIPS.glob("*.ogg")):
        (tmp_path / clip.stem).mkdir()
        signal, rate = librosa.load(clip, sr=16000, duration=8)
        for number in range(2):
            excerpt = signal[4 * number * rate : 4 * (number + 1) * rate]
            soundfile.write(tmp_path / clip.stem / f"{number}.wav", excerpt, rate)
    (tmp_path / "techno_loop" / "words.mp3").write_text("These are only words.\n" * 50)
    return tmp_path


def test_a_folder_is_read_once_for_embeddings_and_tags(folder, tagger, monkeypatch) -> None:
    from musicnn_zoo.sound.read import AudioStream

    read = []
    original = AudioStream.__iter__
    monkeypatch.setattr(
        AudioStream, "__iter__", lambda stream: (read.append(stream.source), original(stream))[1]
    )
    found = map_embeddings(folder, model=tagger, colour_by="tag")
    assert len(read) == len(set(read)) == 7
    paths = [folder / name / f"{n}.wav" for name in sorted(
        ["bach_chorale_strings", "bach_prelude_harpsichord", "techno_loop"]) for n in range(2)
    ]  # fmt: skip
    assert list(found.sources) == [str(path) for path in paths]
    assert list(found.errors) == [str(folder / "techno_loop" / "words.mp3")]
    assert "not audio" in found.errors[str(folder / "techno_loop" / "words.mp3")]
    assert found.groups == tuple(tagger.tag(path).names[0] for path in paths)
    vectors = np.stack([tagger.embed(path).values for path in paths]).astype(np.float64)
    distances = np.linalg.norm(found.points - found.points[0], axis=1)
    by_hand = make_map([result_of(p, v) for p, v in zip(paths, vectors, strict=True)]).points
    np.testing.assert_allclose(distances, np.linalg.norm(by_hand - by_hand[0], axis=1), atol=1e-3)
    assert np.linalg.norm(found.points[0] - found.points[1]) < np.linalg.norm(
        found.points[0] - found.points[4]
    )


@pytest.mark.parametrize("layer", ["output", "timbral"])
def test_any_layer_can_be_mapped(folder, tagger, layer) -> None:
    paths = sorted(folder.glob("*/*.wav"))
    found = map_embeddings(paths, model=tagger, layer=layer)
    assert (found.layer, len(found)) == (layer, 6)
    vectors = np.stack([tagger.embed(path, layer=layer).values for path in paths])
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    assert (found.points**2).sum() == pytest.approx(
        (centred**2).sum() * sum(found.explained_variance), rel=1e-3
    )


def test_an_unknown_layer_is_refused(folder, tagger) -> None:
    with pytest.raises(UnknownNameError, match="did you mean penultimate"):
        map_embeddings(folder, model=tagger, layer="penultimat")


def test_what_a_map_becomes() -> None:
    found = make_map(results_of(4))
    as_dict = json.loads(found.to_json())
    assert as_dict["method"] == "pca"
    assert as_dict["explained_variance"] == list(found.explained_variance)
    assert as_dict["files"][1]["source"] == found.sources[1]
    assert np.float32(as_dict["files"][1]["x"]) == found.points[1, 0]
    frame = found.to_pandas()
    assert list(frame.columns) == ["x", "y", "folder", "tag"]
    assert list(frame.index) == list(found.sources)
    np.testing.assert_array_equal(frame[["x", "y"]].to_numpy(), found.points)
    assert str(found).splitlines()[0].startswith("4 files, M penultimate, PCA, ")
    assert str(found).splitlines()[1] == "  folder 0  1"
    assert repr(found).startswith("<EmbeddingMap of 4 files: M penultimate, PCA")


def test_a_file_of_points_gives_a_spreadsheet_no_formula(tmp_path: Path) -> None:
    odd = ["=1+1", "+x", "-x", "@x"]
    found = make_map([result_of(f"{name}.ogg", np.eye(4)[i], name) for i, name in enumerate(odd)])
    save_map(found, tmp_path / "map.csv")
    with (tmp_path / "map.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["source", "x", "y", "folder", "tag"]
    assert [row[0] for row in rows] == [f"./{name}.ogg" for name in odd]
    assert [row[4] for row in rows] == [f"'{name}" for name in odd]
    np.testing.assert_allclose([[float(x) for x in row[1:3]] for row in rows], found.points, 1e-4)
    save_map(found, tmp_path / "map.json")
    assert json.loads((tmp_path / "map.json").read_text()) == found.to_dict()
    with pytest.raises(ArgumentError, match=r"must end in \.json, \.csv"):
        save_map(found, tmp_path / "map.txt")
