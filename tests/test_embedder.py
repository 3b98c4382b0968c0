"""Embeddings for scikit-learn: conventions, input of all kinds, and the cache."""

import copy
import itertools
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas
import pytest
import soundfile
from conftest import ROOT
from helpers_audio import HARPSICHORD, STRINGS, TECHNO
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_is_fitted
from synthetic import sounds

import musicnn_zoo
from musicnn_zoo import (
    ArgumentError,
    AudioError,
    LogMelInput,
    OutputError,
    Tagger,
    UnknownNameError,
    build_model,
)
from musicnn_zoo.library.embedder import Embedder

EXAMPLES = [TECHNO, HARPSICHORD, STRINGS]
MODEL = "MTT_vgg"


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr("musicnn_zoo.runtimes.engine._sees_gpu", lambda: False)


@pytest.fixture(scope="module")
def tagger():
    return Tagger(MODEL, device="cpu")


@pytest.fixture
def computed(monkeypatch):
    """Names of the files that are computed, as they are."""
    names = []
    original = Tagger.embed_files

    def counting(self, paths, **options):
        names.extend(Path(path).name for path in paths)
        return original(self, paths, **options)

    monkeypatch.setattr(Tagger, "embed_files", counting)
    return names


def write_clips(folder):
    """Write three short files, each with a sound of its own."""
    folder.mkdir()
    waveforms, _ = sounds(1, 100000, 16000, seed=0)
    for name, waveform in zip("abc", waveforms, strict=True):
        soundfile.write(folder / f"{name}.wav", waveform, 16000)
    return sorted(folder.iterdir())


@pytest.fixture
def clips(tmp_path):
    return write_clips(tmp_path / "clips")


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    """Clips that no test changes."""
    return write_clips(tmp_path_factory.mktemp("lasting") / "clips")


def expected(tagger, paths, **options):
    return np.stack([tagger.embed(path, **options).values for path in paths])


def overwrite(path, seed):
    """Put another sound of the same length into a file."""
    soundfile.write(path, sounds(1, 100000, 16000, seed=seed)[0][0], 16000)
    changed = path.stat().st_mtime_ns + 1_000_000
    os.utime(path, ns=(changed, changed))


FORMS = {
    "list of str": lambda paths: [str(path) for path in paths],
    "list of Path": list,
    "tuple": tuple,
    "array of str": lambda paths: np.array([str(path) for path in paths]),
    "array of objects": lambda paths: np.array(paths, dtype=object),
    "column": lambda paths: np.array(paths, dtype=object)[:, np.newaxis],
    "Series": lambda paths: pandas.Series([str(path) for path in paths], index=[7, 3, 5, 4]),
    "table": lambda paths: pandas.DataFrame({"path": [str(path) for path in paths]}),
}


@pytest.mark.platform
def test_rows_are_the_embeddings_of_the_files(tagger):
    rows = Embedder(MODEL).fit_transform(EXAMPLES)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected(tagger, EXAMPLES), rtol=1e-5, atol=1e-6)
    assert min(np.abs(rows[i] - rows[i - 1]).max() for i in range(3)) > 0.1


@pytest.mark.parametrize("form", FORMS)
def test_files_come_in_many_forms_and_rows_in_their_order(tagger, lasting, form):
    paths = [lasting[2], lasting[0], lasting[1], lasting[2]]
    rows = Embedder(MODEL).fit_transform(FORMS[form](paths))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected(tagger, paths), rtol=1e-5, atol=1e-6)
    assert np.abs(rows[0] - rows[1]).max() > 1e-3


@pytest.mark.parametrize(
    "options",
    [
        {"layer": "pool3"},
        {"pooling": "max"},
        {"hop_s": 1.0},
        {"tail": "pad"},
        {"layer": "pool5", "pooling": "max", "hop_s": 1.2, "tail": "pad"},
    ],
)
def test_options_are_those_of_a_tagger(tagger, lasting, options):
    rows = Embedder(MODEL, **options).transform(lasting[:1])
    np.testing.assert_allclose(rows, expected(tagger, lasting[:1], **options), rtol=1e-5, atol=1e-6)
    default = expected(tagger, lasting[:1])
    assert rows.shape != default.shape or np.abs(rows - default).max() > 1e-4


def test_patch_s_and_engine_are_passed_on(lasting):
    options = {"patch_s": 1.5, "engine": "onnxruntime"}
    rows = Embedder("MTT_musicnn", **options).transform(lasting[:1])
    vector = musicnn_zoo.embed(lasting[0], model="MTT_musicnn", patch_s=1.5).values
    np.testing.assert_allclose(rows[0], vector, rtol=1e-5, atol=1e-6)
    with pytest.raises(ArgumentError, match=r"takes patches of 2\.992 s"):
        Embedder(MODEL, patch_s=1.5).fit()
    with pytest.raises(ArgumentError, match="engine must be one of"):
        Embedder(MODEL, engine="abacus").transform(lasting)


def test_arrays_of_any_length_and_rate(tagger):
    random = np.random.default_rng(0)
    arrays = [random.normal(0, 0.1, size).astype(np.float32) for size in (20000, 90000, 72050)]
    arrays.append(np.stack([arrays[1], arrays[1][::-1]]))
    rows = Embedder(MODEL, sample_rate=22050).transform(arrays)
    each = [tagger.embed(array, sample_rate=22050).values for array in arrays]
    np.testing.assert_allclose(rows, each, rtol=1e-5, atol=1e-6)
    table = random.normal(0, 0.1, (2, 30000)).astype(np.float32)
    rows = Embedder(MODEL, sample_rate=22050, layer="pool4").transform(table)
    each = [tagger.embed(array, sample_rate=22050, layer="pool4").values for array in table]
    np.testing.assert_allclose(rows, each, rtol=1e-5, atol=1e-6)
    assert np.abs(rows[0] - rows[1]).max() > 1e-3


def test_nothing_gives_a_table_without_rows():
    for nothing in ([], np.array([], dtype=object), pandas.Series([], dtype=object)):
        assert Embedder(MODEL).transform(nothing).shape == (0, 256)


def test_a_file_that_comes_twice_is_computed_once(computed, clips):
    rows = Embedder(MODEL).transform([clips[0], clips[1], clips[0]])
    assert computed == ["a.wav", "b.wav"]
    np.testing.assert_array_equal(rows[0], rows[2])


@pytest.mark.platform
@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_valid_tag_types,
    ],
    ids=lambda check: check.__name__,
)
def test_conventions_of_scikit_learn(check):
    check("Embedder", Embedder())


def test_parameters_are_stored_as_they_are_and_cloned():
    parameters = {
        "model": ROOT, "layer": "no such", "pooling": None, "patch_s": "3", "hop_s": -1,
        "tail": "", "engine": "?", "sample_rate": 0, "cache": ROOT, "jobs": 0, "on_error": "?",
    }  # fmt: skip
    embedder = Embedder(**parameters)
    assert set(embedder.get_params()) == set(parameters)
    for name, value in parameters.items():
        assert getattr(embedder, name) is value
        assert getattr(clone(embedder), name) == value
    assert vars(embedder) == parameters


def test_it_needs_no_fit_and_keeps_no_state(lasting):
    embedder = Embedder(MODEL)
    check_is_fitted(embedder)
    before = dict(vars(embedder))
    assert embedder.fit(lasting, [0, 1, 0]) is embedder
    embedder.transform(lasting[:1])
    assert vars(embedder) == before


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, clone, lambda embedder: pickle.loads(pickle.dumps(embedder))],
    ids=["deepcopy", "clone", "pickle"],
)
def test_copies_give_the_same_rows_without_carrying_the_model(lasting, copied):
    embedder = Embedder(MODEL, layer="pool4")
    rows = embedder.transform(lasting[:1])
    assert len(pickle.dumps(embedder)) < 1000
    np.testing.assert_array_equal(copied(embedder).transform(lasting[:1]), rows)


def tiny():
    signal = LogMelInput(sample_rate=8000, n_fft=256, hop=128, n_mels=24, f_max=4000)
    return build_model(input=signal, frontend="horizontal", patch=20, tags=["calm", "loud"])


def test_a_model_of_ones_own_is_cloned_with_its_weights(tmp_path, clips, computed):
    model = tiny()
    embedder = clone(Embedder(model, engine="tensorflow", cache=tmp_path / "kept"))
    assert embedder.model is not model
    rows = embedder.transform(clips[:1])
    values = musicnn_zoo.embed(clips[0], model=model).values
    np.testing.assert_allclose(rows[0], values, rtol=1e-4, atol=1e-5)
    embedder.transform(clips[:1])
    assert computed == ["a.wav"]
    embedder.model.set_weights([weight * 1.5 for weight in model.get_weights()])
    assert np.abs(embedder.transform(clips[:1])[0] - values).max() > 1e-3
    assert computed == ["a.wav", "a.wav"]


def test_a_tagger_in_place_of_a_model_is_refused(tagger):
    with pytest.raises(ArgumentError, match=r"a place or a TaggingModel; received .* Tagger"):
        Embedder(tagger).fit()


def test_columns_have_names_and_tables_keep_their_index(lasting, tagger):
    embedder = Embedder(MODEL, layer="pool5")
    names = embedder.get_feature_names_out()
    assert (len(names), names[0], names[-1]) == (128, "MTT_vgg_pool5_0", "MTT_vgg_pool5_127")
    table = embedder.set_output(transform="pandas").transform(
        pandas.Series([str(path) for path in lasting[:2]], index=["x", "y"])
    )
    assert list(table.columns) == list(names)
    assert list(table.index) == ["x", "y"]
    np.testing.assert_allclose(
        table.to_numpy(), expected(tagger, lasting[:2], layer="pool5"), rtol=1e-5, atol=1e-6
    )
    pipeline = make_pipeline(embedder, StandardScaler())
    assert list(pipeline.fit(lasting).get_feature_names_out()) == list(names)


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    """Files of three kinds of sound, and which kind each is of."""
    folder = tmp_path_factory.mktemp("problem")
    waveforms, kinds = sounds(5, 48000, 16000, seed=1)
    paths = [folder / f"{number:02}.wav" for number in range(len(waveforms))]
    for path, waveform in zip(paths, waveforms, strict=True):
        soundfile.write(path, waveform, 16000)
    return paths, waveforms, kinds.argmax(axis=1)


@pytest.mark.slow
def test_a_classifier_of_files_is_cross_validated_by_two_processes(problem, tmp_path):
    paths, _, kinds = problem
    cache = tmp_path / "kept"
    classifier = make_pipeline(Embedder(MODEL, cache=cache), StandardScaler(), LogisticRegression())
    scores = cross_val_score(classifier, paths, kinds, cv=2, n_jobs=2, error_score="raise")
    assert len(scores) == 2
    assert scores.mean() >= 0.9
    (store,) = cache.glob("*.parquet")
    kept = pandas.read_parquet(store)
    assert sorted(kept["source"]) == sorted(map(str, paths))
    # Names that say nothing about the sounds: it is the sounds that are told apart.
    mixed = np.random.default_rng(0).permutation(kinds)
    assert cross_val_score(classifier, paths, mixed, cv=2).mean() < 0.7


@pytest.mark.slow
def test_a_grid_search_goes_over_models_and_layers(problem, tmp_path, computed):
    paths, waveforms, kinds = problem
    grid = [
        {"embedder__model": ["MTT_vgg"], "embedder__layer": ["pool1", "penultimate"]},
        {"embedder__model": ["MSD_vgg"], "embedder__pooling": ["max"]},
    ]
    pipeline = make_pipeline(Embedder(cache=tmp_path), StandardScaler(), LogisticRegression())
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(paths, kinds)
    assert search.best_score_ >= 0.9
    assert (search.predict(paths[::5]) == kinds[::5]).all()
    assert sorted(computed) == sorted(path.name for path in paths for _ in range(3))
    assert len(list(tmp_path.glob("*.parquet"))) == 3
    pipeline.set_params(embedder=Embedder(MODEL, sample_rate=16000))
    assert pipeline.fit(waveforms, kinds).score(waveforms, kinds) == 1.0


def test_a_file_that_cannot_be_used_is_named(clips, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_text("no audio")
    with pytest.raises(AudioError, match=r"broken\.wav: .*not audio"):
        Embedder(MODEL).transform([clips[0], broken])
    missing = [tmp_path / f"{number}.wav" for number in range(7)]
    with pytest.raises(
        AudioError, match=r"^8 of 9 sounds .*broken\.wav: .*; and 3 more$"
    ) as raised:
        Embedder(MODEL).transform([clips[0], broken, *missing, broken])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("cached", [False, True])
def test_rows_of_files_that_cannot_be_used_are_nan_on_request(tagger, clips, tmp_path, cached):
    broken = tmp_path / "broken.wav"
    broken.write_text("no audio")
    paths = [broken, clips[0], tmp_path / "missing.wav", clips[1], broken]
    embedder = Embedder(MODEL, on_error="nan", cache=tmp_path / "kept" if cached else None)
    message = (
        r"^2 of 4 sounds cannot be used: .*/(broken|missing).*no such file.*their rows are NaN"
    )
    with pytest.warns(UserWarning, match=message) as warned:
        rows = embedder.transform(paths)
    assert len(warned) == 1
    assert warned[0].filename == __file__
    assert "broken.wav" in str(warned[0].message)
    assert np.isnan(rows[[0, 2, 4]]).all()
    np.testing.assert_allclose(rows[[1, 3]], expected(tagger, clips[:2]), rtol=1e-5, atol=1e-6)
    with pytest.warns(UserWarning, match="1 of 1 sounds"):
        rows = embedder.transform([broken])
    assert rows.shape == (1, 256)
    assert np.isnan(rows).all()


def test_an_array_that_cannot_be_used_is_named_by_its_position(tagger):
    good = np.sin(np.arange(48000, dtype=np.float32))
    arrays = [good, np.full(48000, np.nan, np.float32), good.reshape(-1, 16), good[:0]]
    message = (
        r"^3 of 4 sounds cannot be used: X\[2\]: shape \(3000, 16\) looks like 16 clips.*; "
        r"X\[1\]: holds NaN.*; X\[3\]: holds no samples"
    )
    with pytest.raises(AudioError, match=message):
        Embedder(MODEL, sample_rate=16000).transform(arrays)
    with pytest.warns(UserWarning, match=message):
        rows = Embedder(MODEL, sample_rate=16000, on_error="nan").transform(arrays)
    assert np.isnan(rows).all(axis=1).tolist() == [False, True, True, True]
    one = tagger.embed(good, sample_rate=16000).values
    np.testing.assert_allclose(rows[0], one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": None}, "pooling must be 'mean' or 'max', .* received None .*embed_files"),
        ({"pooling": "sum"}, "pooling must be .* received 'sum'"),
        ({"on_error": "ignore"}, "on_error must be one of raise, nan; received 'ignore'"),
        ({"hop_s": 0}, "hop_s must be a positive"),
        ({"model": "MTT_vg"}, "unknown model 'MTT_vg'; did you mean MTT_vgg"),
        ({"model": None}, "received one of type NoneType"),
    ],
)
def test_wrong_parameters_are_refused_by_fit_and_transform(lasting, options, message):
    embedder = Embedder(**{"model": MODEL} | options)
    for method in (embedder.fit, embedder.transform, embedder.get_feature_names_out):
        with pytest.raises(ArgumentError, match=message) as raised:
            method(lasting)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": "pool9"}, UnknownNameError, "'pool9'; did you mean pool"),
        ({"tail": "keep"}, ArgumentError, "tail must be one of drop, pad"),
        ({"jobs": 0}, ArgumentError, "jobs must be at least 1"),
        ({"sample_rate": 16000}, ArgumentError, "goes with arrays only; files state their own"),
    ],
)
def test_wrong_parameters_are_refused_by_transform(
    lasting, tmp_path, options, error, message, cached
):
    cache = tmp_path / "kept" if cached else None
    with pytest.raises(error, match=message):
        Embedder(MODEL, cache=cache, **options).transform(lasting)
    if "layer" in options:
        assert list(tmp_path.glob("*/*.parquet*")) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("song.mp3", "X must be several sounds; received one, 'song.mp3'"),
        (TECHNO, "X must be several sounds; received one"),
        (np.zeros(48000), r"received one of shape \(48000,\) and type float64"),
        (np.array([["a.wav", "b.wav"]]), r"received one of shape \(1, 2\)"),
        (np.array(["a.wav"]).reshape(1, 1, 1), r"received one of shape \(1, 1, 1\)"),
        ([TECHNO, 3], r"X\[1\] is neither a path nor an array; received int"),
        ([TECHNO, None], r"X\[1\] is neither .* NoneType"),
        ([b"song.mp3"], r"X\[0\] is neither .* bytes"),
        ([TECHNO, np.zeros(48000)], "not some of each"),
        ([np.zeros(48000)], "an array needs its sample rate"),
    ],
)
def test_other_things_than_sounds_are_refused(wrong, message):
    with pytest.raises(ArgumentError, match=message):
        Embedder(MODEL).transform(wrong)


def test_what_is_in_the_cache_is_not_computed_again(tagger, computed, clips, tmp_path, monkeypatch):
    embedder = Embedder(MODEL, cache=tmp_path / "deep" / "kept")
    first = embedder.transform(clips)
    np.testing.assert_allclose(first, expected(tagger, clips), rtol=1e-5, atol=1e-6)
    assert computed == ["a.wav", "b.wav", "c.wav"]
    # Not even the model is loaded.
    monkeypatch.setattr(
        "musicnn_zoo.library.embedder.shared_tagger", lambda *_: pytest.fail("loaded")
    )
    order = [2, 0, 0, 1, 2]
    again = clone(embedder).transform([clips[i] for i in order])
    np.testing.assert_array_equal(again, first[order])
    assert len(computed) == 3


def test_new_and_changed_files_alone_are_computed(tagger, computed, clips, tmp_path):
    embedder = Embedder(MODEL, cache=tmp_path / "kept")
    first = embedder.transform(clips[:2])
    overwrite(clips[0], seed=5)
    second = embedder.transform(clips)
    assert computed == ["a.wav", "b.wav", "a.wav", "c.wav"]
    np.testing.assert_allclose(second, expected(tagger, clips), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(second[1], first[1])
    assert np.abs(second[0] - first[0]).max() > 1e-3
    clips[1].unlink()
    with pytest.raises(AudioError, match=r"b\.wav: there is no such file"):
        embedder.transform(clips)


def test_what_was_done_beside_a_broken_file_is_kept(computed, clips, tmp_path):
    whole = clips[1].read_bytes()
    clips[1].write_text("no audio")
    embedder = Embedder(MODEL, cache=tmp_path / "kept")
    with pytest.raises(AudioError, match=r"b\.wav"):
        embedder.transform(clips)
    clips[1].write_bytes(whole)
    rows = embedder.transform(clips)
    assert computed == ["a.wav", "b.wav", "c.wav", "b.wav"]
    assert np.isfinite(rows).all()


def test_models_and_settings_do_not_mix_in_a_cache(lasting, computed, tmp_path):
    settings = [
        {}, {"layer": "pool5"}, {"pooling": "max"}, {"tail": "pad"}, {"hop_s": 1.0},
        {"model": "MSD_vgg"},
    ]  # fmt: skip
    clip = lasting[:1]
    rows = [
        Embedder(**{"model": MODEL, "cache": tmp_path} | options).transform(clip)
        for options in settings
    ]
    assert len(computed) == len(list(tmp_path.glob("*.parquet"))) == len(settings)
    for options, row in zip(settings, rows, strict=True):
        alone = Embedder(**{"model": MODEL} | options).transform(clip)
        np.testing.assert_allclose(row, alone, rtol=1e-5, atol=1e-6)
    for one, other in itertools.combinations(rows, 2):
        assert one.shape != other.shape or np.abs(one - other).max() > 1e-4
    # The same settings in other words.
    Embedder(MODEL, cache=str(tmp_path), hop_s=1).transform(clip)
    Embedder(MODEL, cache=tmp_path, patch_s=3, engine="onnxruntime", jobs=1).transform(clip)
    assert len(computed) == 2 * len(settings)


def test_relative_names_are_of_the_folder_where_they_are_used(clips, tmp_path, monkeypatch):
    embedder = Embedder(MODEL, cache=tmp_path / "kept")
    rows = []
    for number, clip in enumerate(clips[:2]):
        folder = tmp_path / str(number)
        folder.mkdir()
        soundfile.write(folder / "same.wav", soundfile.read(clip)[0], 16000)
        os.utime(folder / "same.wav", ns=(10**18, 10**18))
        monkeypatch.chdir(folder)
        rows.append(embedder.transform(["same.wav", "./same.wav", folder / "same.wav"]))
    for row, clip in zip(rows, clips, strict=False):
        np.testing.assert_array_equal(row, embedder.transform([clip] * 3))
    assert np.abs(rows[0] - rows[1]).max() > 1e-3


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names of any bytes")
def test_names_that_are_no_text_are_kept_apart(clips, tmp_path, computed):
    odd = [clips[0].with_name("caf\udce9.wav"), clips[0].with_name(r"caf\udce9.wav")]
    for path, clip in zip(odd, clips, strict=False):
        path.write_bytes(clip.read_bytes())
    embedder = Embedder(MODEL, cache=tmp_path / "kept")
    for _ in range(2):
        rows = embedder.transform(odd)
        np.testing.assert_array_equal(rows, embedder.transform(clips[:2]))
    assert len(computed) == 4


def test_a_cache_that_cannot_be_is_refused(lasting, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cache '.*file' cannot be written \(File exists\)"):
        Embedder(MODEL, cache=tmp_path / "file").transform(lasting)


def test_threads_that_want_the_same_wait_for_each_other(computed, clips, tmp_path):
    embedder = Embedder(MODEL, cache=tmp_path / "kept")
    with ThreadPoolExecutor(3) as pool:
        tables = list(pool.map(embedder.transform, [clips, clips[::-1], clips]))
    assert sorted(computed) == ["a.wav", "b.wav", "c.wav"]
    np.testing.assert_array_equal(tables[0], tables[2])
    np.testing.assert_array_equal(tables[0], tables[1][::-1])


PROCESS = """
import sys, time
from musicnn_zoo.library.embedder import Embedder
from musicnn_zoo.tagging.tagger import Tagger
original, computed = Tagger.embed_files, []
def slow(self, paths, **options):
    for result in original(self, paths, **options):
        computed.append(result.source)
        time.sleep(0.3)
        yield result
Tagger.embed_files = slow
heavy = {"tensorflow", "keras", "torch", "librosa", "kapre"}
cache, *paths = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
rows = Embedder("MTT_vgg", cache=cache).transform(paths)
assert not heavy & set(sys.modules), heavy & set(sys.modules)
print(len(computed), rows.sum())
"""


@pytest.mark.slow
def test_processes_that_want_the_same_wait_for_each_other_and_load_no_tensorflow(clips, tmp_path):
    arguments = [sys.executable, "-W", "error", "-c", PROCESS, tmp_path / "kept", *clips]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    pair = [
        subprocess.Popen(
            arguments, cwd=ROOT, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in pair:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    for process in pair:
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], answers
    counts, sums = zip(*(answer[0].split() for answer in answers), strict=True)
    assert sorted(counts) == ["0", "3"]
    assert sums[0] == sums[1]
