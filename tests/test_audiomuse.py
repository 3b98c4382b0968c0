"""Vectors as AudioMuse-AI computes them, against its preprocessing by librosa and NumPy."""

import json
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import h5py
import librosa
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from conftest import CLIPS, ROOT
from helpers_audio import HARPSICHORD, TECHNO, chirps, encode

import musicnn_zoo
from musicnn_zoo import Library
from musicnn_zoo.cli import cli
from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.library import audiomuse
from musicnn_zoo.library.library_file import LibraryFile
from musicnn_zoo.zoo.catalogue import PRESETS
from musicnn_zoo.zoo.load import find_pretrained

WEIGHTS = ROOT / "weights" / "MSD_musicnn.weights.h5"


class AudioMuse:
    """Its description, written anew: librosa before the network, NumPy after its last pooling."""

    def __init__(self):
        import keras

        model = musicnn_zoo.load_model("MSD_musicnn")
        pooled = model.get_layer("backend_flat").output
        self._network = keras.Model(model.get_layer("logmel").output, pooled)
        with h5py.File(WEIGHTS) as file:
            norm, dense = (file[f"layers/{name}/vars"] for name in _layers_of(file))
            self._norm = [norm[str(each)][:] for each in range(4)]
            self._dense = [dense[str(each)][:] for each in range(2)]

    def __call__(self, path, *, center=False, duration=600):
        patches = self.patches(path, center=center, duration=duration)
        pooled = np.asarray(self._network(patches), np.float64)
        gamma, beta, mean, variance = self._norm
        kernel, bias = self._dense
        normal = gamma * (pooled - mean) / np.sqrt(variance + 1e-3) + beta
        return (normal @ kernel + bias).mean(axis=0)

    @staticmethod
    def patches(path, *, center=False, duration=600):
        signal, rate = librosa.load(path, sr=16000, mono=True, duration=duration)
        mel = librosa.feature.melspectrogram(
            y=signal, sr=rate, n_fft=512, hop_length=256, n_mels=96, window="hann",
            center=center, power=2.0, norm="slaney", htk=False,
        )  # fmt: skip
        frames = np.log10(1 + 10000 * np.maximum(mel, 0)).T
        whole = [frames[at : at + 187] for at in range(0, len(frames) - 186, 187)]
        return np.stack(whole)[..., np.newaxis].astype(np.float32)


def _layers_of(file):
    """Names of the BatchNorm before the dense layer of 200, and of that, by their shapes."""
    names = {
        name: tuple(group["vars/0"].shape)
        for name, group in file["layers"].items()
        if "0" in group.get("vars", ())
    }
    (dense,) = [name for name, shape in names.items() if shape == (1506, 200)]
    (norm,) = [name for name, shape in names.items() if shape == (1506,)]
    return norm, dense


def cosine(one, other):
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.fixture(scope="module")
def reference():
    return AudioMuse()


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """The clips, and files of other rates, channels and codecs, with silence, and too short."""
    folder = tmp_path_factory.mktemp("music")
    for clip in CLIPS.glob("*.ogg"):
        shutil.copy(clip, folder)
    pause = np.zeros((2, 5 * 48_000), np.float32)
    parts = [chirps(5, 48_000), pause, 0.3 * chirps(4, 48_000)]
    soundfile.write(folder / "pause.flac", np.concatenate(parts, axis=1).T, 48_000)
    encode(folder / "chirps.mp3", chirps(9, 44_100), 44_100, "libmp3lame")
    soundfile.write(folder / "mono.wav", chirps(3.1, 22_050, 1).T, 22_050)
    soundfile.write(folder / "short.wav", chirps(2.9, 16_000, 1).T, 16_000)
    return folder


@pytest.fixture(scope="module")
def library(music, tmp_path_factory):
    library = Library(tmp_path_factory.mktemp("library") / "library.sqlite")
    library.index(music, compatible="audiomuse")
    return library


def test_vectors_are_those_of_audiomuse(library, reference, music):
    paths, vectors = library.vectors(model="audiomuse")
    assert vectors.shape == (6, 200)
    assert vectors.dtype == np.float32
    for path, vector in zip(paths, vectors, strict=True):
        expected = reference(path)
        assert cosine(vector, expected) >= 0.9999, path
        assert np.linalg.norm(vector - expected) < 0.01 * np.linalg.norm(expected), path


def test_a_sound_without_a_whole_patch_has_no_vector_there(library, music):
    paths, _ = library.vectors(model="audiomuse")
    assert {Path(path).name for path in paths} == {each.name for each in music.iterdir()} - {
        "short.wav"
    }
    assert len(library.vectors()[0]) == 6
    assert len(library.similar(music / "short.wav", k=9)) == 6


def test_how_far_they_are_from_ours(library, reference):
    """What docs/serve.md states."""
    paths, vectors = library.vectors(model="audiomuse")
    by_name = {Path(path).name: vector for path, vector in zip(paths, vectors, strict=True)}
    frames, layers = [], []
    for clip in sorted(CLIPS.glob("*.ogg")):
        theirs = by_name[clip.name]
        frames.append(cosine(theirs, reference(clip, center=True)))
        layers.append(cosine(theirs, musicnn_zoo.embed(clip, model="MSD_musicnn").values))
    assert [round(each, 5) for each in frames] == pytest.approx(
        [0.99984, 0.99982, 0.99994], abs=2e-5
    )
    assert [round(each, 2) for each in layers] == pytest.approx([0.63, 0.78, 0.73], abs=0.01)


def test_no_more_than_ten_minutes_are_read(library, reference, music, monkeypatch):
    cutting = audiomuse.uncentred(PRESETS["MSD_musicnn"].config)
    frames = 1 + (600 * 16000 - 512) // 256
    assert cutting.grid.count(cutting.longest) == frames // 187 == 200
    monkeypatch.setattr(audiomuse, "LONGEST_S", 7)
    analyst = audiomuse.AudioMuseAnalyst(find_pretrained(audiomuse.MODEL))
    (result,) = analyst([str(music / "pause.flac")])
    assert result.value.clip.duration_s == 14
    vector = result.value.embedding.values
    assert cosine(vector, reference(music / "pause.flac", duration=7)) >= 0.9999
    assert cosine(vector, reference(music / "pause.flac")) < 0.999


def test_they_are_never_taken_for_ours(library, music, tmp_path):
    place = tmp_path / "library.sqlite"
    shutil.copy(library.path, place)
    both = Library(place)
    both.index(music, model="MSD_musicnn")
    both.index(compatible="audiomuse")  # now the latest, but no question goes to it
    with LibraryFile(place) as file:
        analyses = {each.model: each for each in file.analyses()}
        assert [each.model for each in file.analyses()] == ["MSD_musicnn", "audiomuse"]
        assert len({each.weights for each in analyses.values()}) == 1
        stamp = analyses["audiomuse"].settings
        assert (stamp["compatible"], stamp["frames"]) == ("audiomuse", "uncentred")
        assert [each.layer for each in file.spaces(analyses["audiomuse"])] == ["dense_sums"]
        assert [each.layer for each in file.spaces(analyses["MSD_musicnn"])] == ["penultimate"]
    seed = music / TECHNO.name
    assert (
        both.similar(seed).model == both.similar(seed, model="MSD_musicnn").model == "MSD_musicnn"
    )
    theirs = both.similar(seed, model="audiomuse")
    assert theirs.model == "audiomuse"
    with pytest.raises(ArgumentError, match=r"layer 'penultimate', but of dense_sums$"):
        both.similar(seed, model="audiomuse", layer="penultimate")
    found = dict(zip(*both.vectors(model="audiomuse"), strict=True))
    own = found[str(seed.resolve())]
    for track in theirs:
        if "short" not in track.path:
            expected = cosine(own, found[track.path])
            assert track.values["similarity"] == pytest.approx(expected, abs=1e-3)
    ours = dict(zip(*both.vectors(), strict=True))
    embedded = musicnn_zoo.embed(seed, model="MSD_musicnn").values
    np.testing.assert_allclose(ours[str(seed.resolve())], embedded, rtol=1e-3, atol=1e-4)
    summary = both.index()  # goes on with ours
    assert (summary.done, summary.unchanged) == (0, 7)
    with closing(sqlite3.connect(place)) as connection:
        settings = connection.execute("SELECT settings FROM analyses ORDER BY id").fetchall()
    assert "compatible" in json.loads(settings[0][0])
    assert "compatible" not in json.loads(settings[1][0])


def test_a_track_that_is_not_in_the_library_is_computed_likewise(library, tmp_path):
    elsewhere = shutil.copy(HARPSICHORD, tmp_path / "elsewhere.ogg")
    first = library.similar(elsewhere, k=1, model="audiomuse")[0]
    assert Path(first.path).name == HARPSICHORD.name
    assert first.values["similarity"] == pytest.approx(1, abs=1e-4)


def test_what_it_decides_on_cannot_be_asked_for(music, tmp_path):
    library = Library(tmp_path / "library.sqlite")
    with pytest.raises(ArgumentError, match="compatible must be one of audiomuse; received 'x'"):
        library.index(music, compatible="x")
    for option in ({"model": "MTT_vgg"}, {"hop_s": 1.0}, {"silence": "skip"}, {"engine": "jax"}):
        (name,) = option
        with pytest.raises(ArgumentError, match=f"decides on {name} itself"):
            library.index(music, compatible="audiomuse", **option)
    arguments = ["index", music, "--library", library.path, "--compatible", "audiomuse"]
    result = CliRunner().invoke(cli, [*map(str, arguments), "--layer", "timbral"])
    assert result.exit_code == 2
    assert "decides on layer itself" in result.output


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is counted as on Linux")
def test_ten_minutes_need_less_than_190_mb(tmp_path):
    from benchmarks.audiomuse import peak_memory

    path = tmp_path / "long.flac"
    random = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", 44_100, 2) as file:
        for _ in range(10):
            file.write(random.normal(0, 0.1, (60 * 44_100, 2)).astype(np.float32))
    library = tmp_path / "library.sqlite"
    command = [sys.executable, "-m", "musicnn_zoo", "index", path, "--library", library]
    assert 20 < peak_memory([*map(str, command), "--compatible", "audiomuse"]) < 190
    assert len(Library(library).vectors(model="audiomuse")[0]) == 1
