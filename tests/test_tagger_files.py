"""Many files, long files, models that change, and what is not imported."""

import itertools
import os
import subprocess
import sys
import threading

import keras
import librosa
import numpy as np
import pytest
import soundfile
from conftest import CLIPS, ROOT, bundled_graph
from helpers_audio import HARPSICHORD, TECHNO, chirps, cut_in_half, encode

import musicnn_zoo
from musicnn_zoo import ArgumentError, AudioError, Tagger, UnknownNameError, build_model
from musicnn_zoo.networks.config import LogMelInput
from musicnn_zoo.runtimes.onnx_engine import OnnxEngine


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("MUSICNN_ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr("musicnn_zoo.runtimes.engine._sees_gpu", lambda: False)


@pytest.fixture(scope="module")
def musicnn():
    return Tagger("MTT_musicnn", device="cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of different lengths, rates, formats and channels."""
    folder = tmp_path_factory.mktemp("files")
    paths = [folder / f"{number:02}.wav" for number in range(6)]
    for path, (seconds, rate) in zip(
        paths,
        [(3, 16000), (0.5, 44100), (7, 22050), (13, 8000), (4, 48000), (3.2, 16000)],
        strict=True,
    ):
        soundfile.write(path, chirps(seconds, rate).T, rate)
    coded = encode(folder / "06.mp3", chirps(11), 44100, "libmp3lame")
    return [*paths, coded, TECHNO]


def tiny(patch=20):
    signal = LogMelInput(sample_rate=8000, n_fft=256, hop=128, n_mels=24, f_max=4000)
    return build_model(input=signal, frontend="horizontal", patch=patch, tags=["calm", "loud"])


def change(model, seed):
    random = np.random.default_rng(seed)
    model.set_weights([w * random.uniform(0.5, 1.5, w.shape) for w in model.get_weights()])


def bare_scores(model, path):
    """What a bare model says, averaged over windows cut by hand: 20 frames of 128 samples."""
    signal, _ = librosa.load(path, sr=8000)
    padded = np.pad(signal, 128)
    size = 19 * 128 + 256
    starts = range(0, len(padded) - size + 1, 20 * 128)
    windows = np.stack([padded[start : start + size] for start in starts])
    return dict(zip(model.tags, np.asarray(model(windows)).mean(axis=0), strict=True))


def test_tags_of_many_files_are_those_of_each(musicnn, files):
    results = list(musicnn.tag_files(files, top_k=50))
    assert [result.source for result in results] == list(map(str, files))
    for path, result in zip(files, results, strict=True):
        expected = musicnn.tag(path, top_k=50)
        assert dict(result.unwrap()) == pytest.approx(dict(expected), abs=1e-6)
        assert result.unwrap().clip == expected.clip
        assert result.error is None


@pytest.mark.parametrize("options", [{"hop_s": 1}, {"tail": "pad"}, {"patch_s": 1.5}])
def test_taggrams_of_many_files_are_those_of_each(musicnn, files, options):
    results = list(musicnn.taggram_files(map(str, files[:4]), jobs=3, **options))
    for path, result in zip(files, results, strict=False):
        expected = musicnn.taggram(path, **options)
        np.testing.assert_allclose(result.unwrap().scores, expected.scores, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(result.unwrap().times, expected.times)
        assert result.unwrap().clip == expected.clip
    assert len(results) == 4


@pytest.mark.parametrize("pooling", ["mean", "max", None])
@pytest.mark.parametrize("layer", ["penultimate", "cnn2"])
def test_embeddings_of_many_files_are_those_of_each(musicnn, files, layer, pooling):
    results = list(musicnn.embed_files(files[:4], layer=layer, pooling=pooling))
    for path, result in zip(files, results, strict=False):
        expected = musicnn.embed(path, layer=layer, pooling=pooling)
        assert result.unwrap().values.shape == expected.values.shape
        np.testing.assert_allclose(result.unwrap().values, expected.values, rtol=1e-5, atol=1e-6)
        assert (result.unwrap().layer, result.unwrap().pooling) == (layer, pooling)
    assert len(results) == 4


def test_the_functions_for_many_files_say_the_same_as_a_tagger(musicnn, files):
    for ours, theirs in zip(
        musicnn_zoo.tag_files(files[:3], device="cpu", threshold=0.1),
        musicnn.tag_files(files[:3], threshold=0.1),
        strict=True,
    ):
        assert ours.unwrap().names == theirs.unwrap().names
        assert dict(ours.unwrap()) == pytest.approx(dict(theirs.unwrap()), abs=1e-6)
    for ours, theirs in zip(
        musicnn_zoo.embed_files(files[:3], model=musicnn, pooling="max"),
        musicnn.embed_files(files[:3], pooling="max"),
        strict=True,
    ):
        np.testing.assert_allclose(ours.unwrap().values, theirs.unwrap().values, atol=1e-6)


def test_scores_of_many_files_are_the_golden_ones(musicnn):
    golden = np.load(ROOT / "tests" / "golden" / "MTT_musicnn.npz")
    paths = sorted(CLIPS.glob("*.ogg"))
    for path, result in zip(paths, musicnn.taggram_files(paths), strict=True):
        expected = golden[f"{path.stem}.taggram"]
        np.testing.assert_allclose(result.unwrap().scores, expected, rtol=0, atol=1e-4)


def test_broken_files_spoil_none_of_the_others(musicnn, files, tmp_path):
    (tmp_path / "text.wav").write_text("no audio")
    cut = cut_in_half(encode(tmp_path / "cut.mp3", chirps(40), 44100, "libmp3lame"))
    paths = [files[0], tmp_path / "missing.wav", files[1], cut, tmp_path / "text.wav", files[2]]
    results = list(musicnn.tag_files(paths, top_k=50))
    assert [result.source for result in results] == list(map(str, paths))
    for position, message in {1: "no such file", 3: "cut off", 4: "not audio"}.items():
        result = results[position]
        assert result.value is None
        assert isinstance(result.error, AudioError)
        with pytest.raises(AudioError, match=message):
            result.unwrap()
    for position in (0, 2, 5):
        expected = dict(musicnn.tag(paths[position], top_k=50))
        assert dict(results[position].unwrap()) == pytest.approx(expected, abs=1e-6)


def test_no_files_give_no_results(musicnn):
    assert list(musicnn.tag_files([])) == []
    assert list(musicnn_zoo.tag_files(iter(()))) == []


@pytest.mark.parametrize("one", ["song.mp3", TECHNO], ids=["str", "Path"])
def test_a_single_path_in_place_of_several_is_refused(musicnn, one):
    for method in (musicnn.tag_files, musicnn.taggram_files, musicnn.embed_files):
        with pytest.raises(ArgumentError, match=r"must be several; received one, '.*\.(mp3|ogg)'"):
            method(one)
    with pytest.raises(ArgumentError, match="must be several"):
        musicnn_zoo.tag_files(one, device="cpu")


def unread():
    pytest.fail("read")
    yield


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("embed_files", {"layer": "penultimat"}, "'penultimat'; did you mean penultimate"),
        ("embed_files", {"pooling": "sum"}, "'mean', 'max' or None; received 'sum'"),
        ("tag_files", {"top_k": 0}, "top_k must be at least 1"),
        ("tag_files", {"threshold": 1.1}, "threshold must be between 0 and 1"),
        ("tag_files", {"jobs": 0}, "jobs must be at least 1"),
        ("taggram_files", {"hop_s": 0}, "hop_s must be a positive"),
        ("taggram_files", {"patch_s": float("nan")}, "patch_s must be a positive"),
    ],
)
@pytest.mark.parametrize("progress", [False, True])
def test_wrong_arguments_are_refused_before_anything_is_read(
    musicnn, method, options, message, progress
):
    with pytest.raises(ArgumentError, match=message):
        getattr(musicnn, method)(unread(), progress=progress, **options)


@pytest.mark.parametrize("progress", [False, True])
def test_a_wrong_tail_is_refused(musicnn, progress, files):
    with pytest.raises(ArgumentError, match="tail must be one of drop, pad"):
        list(musicnn.tag_files(files[:1], tail="keep", progress=progress))


def test_progress_goes_to_standard_error_alone(musicnn, files, capsys):
    quiet = list(musicnn.tag_files(files[:3]))
    assert capsys.readouterr() == ("", "")
    told = list(musicnn.tag_files(files[:3], progress=True))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "0/3" in captured.err
    assert [r.unwrap().names for r in told] == [r.unwrap().names for r in quiet]
    list(musicnn.embed_files((path for path in files[:2]), progress=True))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "0file" in captured.err


def threads_of_the_pipeline():
    return [thread for thread in threading.enumerate() if "_guarded" in thread.name]


@pytest.mark.parametrize("progress", [False, True])
def test_leaving_early_ends_the_threads(musicnn, files, progress):
    results = musicnn.tag_files(itertools.cycle(files[:2]), jobs=2, progress=progress)
    for _ in range(3):
        next(results)
    assert len(threads_of_the_pipeline()) == 3
    results.close()
    del results
    assert threads_of_the_pipeline() == []


IMPORTS = """
import sys
import musicnn_zoo
tagger = musicnn_zoo.Tagger("MTT_vgg", device="cpu")
after_init = set(sys.modules)
clip = sys.argv[1]
tagger.tag(clip), tagger.taggram(clip), tagger.embed(clip), tagger.features(clip)
tagger.events(clip)
list(tagger.tag_files([clip, clip]))
stream = tagger.stream(sample_rate=16000)
musicnn_zoo.tag(clip, device="cpu")
list(musicnn_zoo.embed_files([clip], device="cpu"))
heavy = {"tensorflow", "keras", "jax", "torch", "librosa", "kapre", "pandas", "scipy", "sklearn",
         "matplotlib", "numba", "onnx", "tf2onnx", "pyarrow", "av"}
assert not heavy & after_init, heavy & after_init
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert "onnxruntime" in sys.modules
"""


def test_tagging_by_the_name_of_a_model_imports_neither_keras_nor_librosa():
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORTS, HARPSICHORD],
        env=environment, capture_output=True, text=True, timeout=120, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert (done.stdout, done.stderr) == ("", "")


def test_a_layer_that_is_no_endpoint_is_computed_by_keras(files):
    tagger = Tagger("MTT_musicnn")
    assert tagger.engine == "onnxruntime"
    layer = "frontend_timbral_38"
    assert layer not in tagger.endpoints
    signal, _ = librosa.load(files[0], sr=16000)
    window = np.pad(signal, 256)[np.newaxis, :48128]
    part = keras.Model(tagger.model.input, tagger.model.get_layer(layer).output)
    expected = np.asarray(part(window, training=False))
    features = tagger.features(files[0], layers=[layer, "output"])
    assert features[layer].shape[1:] == expected.shape[1:]
    np.testing.assert_allclose(features[layer][:1], expected, rtol=1e-4, atol=1e-5)
    inner = tuple(range(1, expected.ndim - 1))
    (result,) = tagger.embed_files([files[0]], layer=layer, pooling=None)
    np.testing.assert_allclose(
        result.unwrap().values[:1], expected.mean(axis=inner), rtol=1e-4, atol=1e-5
    )
    assert tagger.engine == "onnxruntime"


def test_a_layer_that_is_no_endpoint_is_refused_where_onnx_runtime_is_named(files):
    tagger = Tagger("MTT_musicnn", engine="onnxruntime")
    message = r"'frontend_timbral_38' of MTT_musicnn is no output .*has timbral, .*leave out engine"
    with pytest.raises(ArgumentError, match=message) as raised:
        tagger.embed(files[0], layer="frontend_timbral_38")
    assert not isinstance(raised.value, UnknownNameError)
    with pytest.raises(ArgumentError, match=message):
        tagger.embed_files(unread(), layer="frontend_timbral_38")
    with pytest.raises(UnknownNameError, match="'timbra'; did you mean timbral"):
        tagger.embed(files[0], layer="timbra")


@pytest.mark.parametrize("engine", ["auto", "onnxruntime", "tensorflow"])
def test_a_model_is_taken_with_the_weights_that_it_has_now(files, engine):
    model = tiny()
    tagger = Tagger(model, engine=engine)
    seen = []
    for seed in range(2):
        expected = bare_scores(model, files[0])
        seen.append(expected)
        assert dict(tagger.tag(files[0])) == pytest.approx(expected, abs=1e-5)
        (result,) = tagger.tag_files([files[0]])
        assert dict(result.unwrap()) == pytest.approx(expected, abs=1e-5)
        stream = tagger.stream(sample_rate=16000)
        signal, _ = soundfile.read(files[0])
        taggrams = [stream.feed(signal.T), stream.finish()]
        scores = np.concatenate([taggram.scores for taggram in taggrams]).mean(axis=0)
        np.testing.assert_allclose(scores, list(expected.values()), rtol=0, atol=1e-5)
        change(model, seed)
    for one, other in itertools.pairwise(seen):
        assert max(abs(one[tag] - other[tag]) for tag in one) > 1e-3


def test_a_model_goes_through_onnx_runtime_for_many_files_alone(files):
    tagger = Tagger(tiny())
    tagger.tag(files[0])
    assert tagger._engines.onnx._made is None
    list(tagger.tag_files(files[:1]))
    assert tagger._engines.onnx._made is not None
    assert tagger.engine == "tensorflow"


def test_a_long_file_in_blocks_gives_what_it_gives_as_a_whole(musicnn, tmp_path):
    path = tmp_path / "long.wav"
    signal = chirps(65, 44100)
    signal += np.random.default_rng(0).normal(0, 0.01, signal.shape).astype(np.float32)
    soundfile.write(path, signal.T, 44100, subtype="FLOAT")
    whole, _ = librosa.load(path, sr=16000)
    padded = np.pad(whole, 256)
    starts = range(0, len(padded) - 48128 + 1, 187 * 256)
    windows = np.stack([padded[start : start + 48128] for start in starts])
    engine = OnnxEngine(bundled_graph("MTT_musicnn"))
    expected = engine.run(windows, ("output",))["output"]
    assert len(expected) == 21
    for taggram in (
        musicnn.taggram(path),
        musicnn.taggram(signal, sample_rate=44100),
        next(musicnn.taggram_files([path])).unwrap(),
    ):
        np.testing.assert_allclose(taggram.scores, expected, rtol=0, atol=1e-5)
        assert taggram.clip.duration_s == 65
        frames = 1 + 65 * 16000 // 256
        assert taggram.clip.dropped_s == pytest.approx((frames - 21 * 187) * 0.016)


PEAK = """
import sys
from pathlib import Path
from musicnn_zoo import Tagger
tagger = Tagger("MTT_vgg", device="cpu")
kind, path, seconds = sys.argv[1:]
if kind == "one":
    tags = tagger.tag(path)
else:
    (result,) = tagger.embed_files([path], jobs=2)
    tags = result.unwrap()
assert tags.clip.duration_s == float(seconds), tags.clip
# Not ru_maxrss, which a process inherits from the one that started it.
(peak,) = [line for line in Path("/proc/self/status").open() if line.startswith("VmHWM")]
print(int(peak.split()[1]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is counted as on Linux")
@pytest.mark.parametrize("kind", ["one", "many"])
def test_memory_does_not_grow_with_the_length_of_a_file(tmp_path, kind):
    noise = np.random.default_rng(0).normal(0, 3000, 16000 * 30).astype(np.int16)
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    peaks = []
    for seconds in (30, 1200):
        path = tmp_path / f"{seconds}.wav"
        with soundfile.SoundFile(path, "w", 16000, 1) as file:
            for _ in range(seconds // 30):
                file.write(noise)
        done = subprocess.run(
            [sys.executable, "-c", PEAK, kind, path, str(seconds)],
            env=environment, capture_output=True, text=True, timeout=600, cwd=ROOT,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        peaks.append(int(done.stdout))
    short, long = peaks
    assert long <= short + 60, f"{short} MiB, {long} MiB"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_tags_too():
    code = """
import multiprocessing, sys, warnings
import musicnn_zoo

warnings.simplefilter("ignore")
before = musicnn_zoo.tag(sys.argv[1])
with multiprocessing.get_context("fork").Pool(1) as pool:
    after = pool.apply_async(musicnn_zoo.tag, (sys.argv[1],)).get(timeout=60)
assert after.names == before.names
print("same")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, CLIPS / "techno_loop.ogg"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == "same\n", done.stderr
