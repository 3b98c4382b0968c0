"""The data of the tutorial to play with: what the page shows is what the library computes."""

import json
import re
import shutil
import sys
from functools import cache

import librosa
import numpy as np
import pytest
import soundfile
from conftest import BUNDLED
from helpers_audio import HARPSICHORD, TECHNO

import musicnn_zoo
from musicnn_zoo.networks.architectures import get_architecture
from musicnn_zoo.networks.config import BLOCKS
from musicnn_zoo.web import tutorial
from musicnn_zoo.web.scripts import read_asset
from musicnn_zoo.web.tutorial import DATA, INDEX, SHAPES, STRETCH, tutorial_files

PARTS = ("inputs", "frontends", "backends")
WORDS = json.loads(read_asset("web/page/tutorial.json"))
PATCH = 187
POOLED = ["timbral", "temporal", "cnn1", "cnn2", "cnn3"]
PLACES = {
    "frontend_timbral_38": ("timbral", 0), "frontend_timbral_67": ("timbral", 204),
    "frontend_temporal_128": ("temporal", 0), "frontend_temporal_64": ("temporal", 51),
    "frontend_temporal_32": ("temporal", 102),
}  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two patches of two clips, at the models' rate."""
    folder = tmp_path_factory.mktemp("clips")
    paths = []
    for whole in (TECHNO, HARPSICHORD):
        samples = musicnn_zoo.load_audio(whole).samples[: 16000 * 6]
        paths.append(folder / f"{whole.stem}.wav")
        soundfile.write(paths[-1], samples, 16000, subtype="FLOAT")
    return tuple((path, path.stem.replace("_", " ")) for path in paths)


class Written:
    """The files as the page reads them."""

    def __init__(self, files):
        self.index = json.loads(files[INDEX])
        self.data = files[DATA]
        self.models = {model["name"]: model for model in self.index["models"]}

    def array(self, given):
        count = int(np.prod(given["shape"]))
        array = np.frombuffer(self.data, f"<{given['type']}", count, given["at"])
        array = array.reshape(given["shape"])
        if "low" not in given:
            return array
        return given["low"] + array / 255 * (given["high"] - given["low"])

    def step(self, given):
        return (given["high"] - given["low"]) / 255


@pytest.fixture(scope="module")
def written(clips):
    return Written(tutorial_files(clips))


@cache
def features(path, model, *layers):
    return musicnn_zoo.features(path, model=model, layers=list(layers))


def test_the_log_mel_is_librosas(clips, written) -> None:
    for (path, title), clip in zip(clips, written.index["clips"], strict=True):
        samples, rate = soundfile.read(path, dtype="float32")
        mel = librosa.feature.melspectrogram(
            y=samples, sr=rate, n_fft=512, hop_length=256, n_mels=96, pad_mode="constant"
        )
        logmel = np.log10(10000 * mel + 1)[:, : 2 * PATCH].reshape(96, -1, 2).mean(axis=2)
        given = clip["logmel"]
        assert given["step_s"] == pytest.approx(0.032)
        np.testing.assert_allclose(written.array(given), logmel, atol=written.step(given))
        assert clip["title"] == title
        assert clip["facts"] == musicnn_zoo.taggram(path).clip.to_dict() | {"source": path.name}
    hertz = librosa.mel_frequencies(98, fmin=0, fmax=8000)[1:-1]
    assert written.index["bands_hz"] == np.rint(hertz).astype(int).tolist()


def test_an_envelope_holds_the_waveform(clips, written) -> None:
    for (path, _), clip in zip(clips, written.index["clips"], strict=True):
        samples, rate = soundfile.read(path, dtype="float32")
        envelope = clip["envelope"]
        parts = samples.reshape(-1, round(envelope["stretch_s"] * rate))
        for name, value in (("lowest", parts.min(axis=1)), ("highest", parts.max(axis=1))):
            np.testing.assert_allclose(written.array(envelope[name]) / 127, value, atol=0.5 / 127)


@pytest.mark.parametrize("model", BUNDLED)
def test_answers_are_the_activations_of_the_model(clips, written, model) -> None:
    vgg = model.endswith("vgg")
    for layer, models in written.index["layers"].items():
        if model not in models:
            continue
        of_model = models[model]
        counts = musicnn_zoo.model_info(model).filters[layer]
        assert (of_model["alive"], of_model["of"]) == counts
        assert 1 <= len(of_model["filters"]) <= of_model["alive"]
        for one in of_model["filters"]:
            for path, _ in clips:
                given = one["answers"][path.name]
                if vgg:
                    pool1 = features(path, model, "pool1")["pool1"][..., one["filter"]]
                    assert written.array(given).max() >= pool1.max() - written.step(given)
                    continue
                endpoint, first = PLACES[layer]
                channel = features(path, model, *POOLED)[endpoint][..., first + one["filter"]]
                parts = np.split(channel.ravel(), range(5, channel.size, 5))
                answer = [part.max() for part in parts]
                best = written.array(given).max(axis=0)
                np.testing.assert_allclose(best, answer, atol=written.step(given))


@pytest.mark.parametrize("model", [name for name in BUNDLED if name.endswith("vgg")])
def test_answers_of_squares_pool_to_the_first_endpoint(clips, written, model) -> None:
    path, _ = clips[0]
    (shape,) = (shape for shape in SHAPES if shape.architecture == "vgg")
    given = written.index["layers"][shape.layer][model]["filters"]
    which = [one["filter"] for one in given]
    logmel = tutorial._hear(path, model).logmel
    maps = tutorial._first_layers(model)[shape.layer].answers(logmel, which)
    windows = [maps[:, :, frame : frame + 2 * 92 : 2] for frame in range(4)]
    pooled = np.moveaxis(np.max(windows, axis=0)[..., ::2], 0, -1)
    expected = features(path, model, "pool1")["pool1"][..., which]
    np.testing.assert_allclose(pooled, expected, atol=1e-4)
    for answers, one in zip(maps, given, strict=True):
        picture = one["answers"][path.name]
        columns = answers.reshape(-1, 96)[:370].reshape(-1, 5, 24, 4)
        values = written.array(picture)[:, : len(columns)]
        np.testing.assert_allclose(values, columns.max(axis=(1, 3)).T, atol=written.step(picture))


@pytest.mark.slow
def test_filters_are_the_strongest_that_the_library_finds(written) -> None:
    for group in musicnn_zoo.learned_filters("MTT_musicnn", filters=12).groups:
        order = group.indices.tolist()
        shown = written.index["layers"][group.layer]["MTT_musicnn"]["filters"]
        places = [order.index(one["filter"]) for one in shown]
        assert places == sorted(places)
        for one, place in zip(shown, places, strict=True):
            weights = group.values[place].reshape(len(group.values[place]), -1).T
            found = written.array(one["weights"])
            np.testing.assert_allclose(found, weights, atol=written.step(one["weights"]))


@pytest.mark.parametrize("model", BUNDLED)
def test_scores_are_those_of_the_library(clips, written, model) -> None:
    for path, _ in clips:
        found = written.models[model]["clips"][path.name]
        taggram = musicnn_zoo.taggram(path, model=model)
        np.testing.assert_allclose(written.array(found["scores"]), taggram.scores, atol=1e-5)
        assert written.models[model]["tags"] == list(taggram.tags)
        names = [taggram.tags[tag] for tag in found["strongest"]]
        assert names == list(taggram.rank(top_k=10).names)


@pytest.mark.parametrize("model", BUNDLED)
def test_a_moment_is_worth_what_is_lost_without_it(clips, written, model) -> None:
    path, _ = clips[0]
    found = written.models[model]["clips"][path.name]
    lost = written.array(found["lost"])
    stretches = PATCH // STRETCH
    assert lost.shape == (10, 2 * stretches)
    assert found["lost"]["step_s"] == pytest.approx(STRETCH * 256 / 16000)
    samples, rate = soundfile.read(path, dtype="float32")
    scores = musicnn_zoo.taggram((samples, rate), model=model).scores
    for patch, stretch in ((0, 4), (1, 7)):
        first = patch * PATCH + stretch * STRETCH
        start, stop = (256 * frame - 128 for frame in (first, first + STRETCH))
        rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(256) + 0.5) / 256)
        silenced = samples.copy()
        silenced[start:stop] = 0
        silenced[start - 256 : start] *= rise[::-1]
        silenced[stop : stop + 256] *= rise
        without = musicnn_zoo.taggram((silenced, rate), model=model).scores
        expected = (scores - without)[patch, found["strongest"]]
        np.testing.assert_allclose(lost[:, patch * stretches + stretch], expected, atol=1e-4)
        assert np.abs(expected).max() > 0.01


@pytest.mark.parametrize("model", [name for name in BUNDLED if name.endswith("musicnn")])
def test_frames_win_the_maxima_that_the_model_pools(clips, written, model) -> None:
    for path, _ in clips:
        found = written.models[model]["clips"][path.name]
        layers = features(path, model, *POOLED)
        channels = np.concatenate([layers[name] for name in POOLED], axis=2)
        pooled = features(path, model, "max_pool")["max_pool"]
        np.testing.assert_allclose(
            np.sort(channels.max(axis=1)), np.sort(pooled), atol=1e-4, rtol=1e-5
        )
        wins = written.array(found["wins"]).reshape(-1, PATCH)
        assert wins.sum(axis=1).tolist() == found["living"]
        for patch, counts, living in zip(channels, wins, found["living"], strict=True):
            moving = patch[:, patch.max(axis=0) - patch.min(axis=0) > 1e-4]
            assert moving.shape[1] == living
            expected = np.zeros(PATCH, int)
            for channel in moving.T:
                expected[np.flatnonzero(channel == channel.max())[0]] += 1
            assert np.abs(counts.astype(int) - expected).sum() <= 4  # all but equal maxima
            assert 20 < (counts > 0).sum() < PATCH


def test_the_same_clips_give_the_same_bytes(clips) -> None:
    assert tutorial_files.__wrapped__(clips[:1]) == tutorial_files.__wrapped__(clips[:1])


def test_without_h5py_it_says_what_is_missing(clips, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    (content,) = tutorial_files.__wrapped__(clips).values()
    assert "pip install h5py" in json.loads(content)["missing"]


def test_every_block_is_told_of() -> None:
    text = json.dumps(WORDS).replace("\\", "")
    for role in ("frontend", "backend"):
        blocks = [name for name, block in BLOCKS.items() if block.role == role]
        lines = {*re.findall(rf'{role}="(\w+)"', text)}
        assert lines <= set(blocks)
        for name in blocks:
            assert name in lines or (role == "frontend" and name in WORDS["frontends"][-1]["text"])
    assert [each["layer"] for each in WORDS["frontends"][:-1]] == [each.layer for each in SHAPES]
    for each, shape in zip(WORDS["frontends"], SHAPES, strict=False):
        kind = get_architecture(shape.architecture).frontend.kind
        assert each["python"][0].endswith(f'"{shape.architecture}", frontend="{kind}")')
    for backend in WORDS["backends"]:
        if "architecture" in backend:
            kind = get_architecture(backend["architecture"]).backend.kind
            assert f'backend="{kind}"' in backend["python"][0]


@pytest.mark.slow
def test_the_lines_run(clips, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(clips[0][0], tmp_path)
    steps = [(each["python"], each) for part in PARTS for each in WORDS[part]]
    known, done = {"musicnn_zoo": musicnn_zoo}, set()
    for lines, each in [*steps, (WORDS["output"], {})]:
        is_vgg = "vgg" in lines[0]
        names = {
            "clip": clips[0][0].name,
            "model": "MSD_vgg" if is_vgg else "MTT_musicnn",
            "layer": each.get("layer"),
        }
        for line in lines:
            filled = re.sub(r"\{(\w+)\}", lambda found, names=names: repr(names[found[1]]), line)
            if filled not in done:
                done.add(filled)
                exec(filled, known)
    assert len(done) > 20
    assert known["heard"].shape[-1] == 128
    assert known["tags"].names[0] == "techno"
