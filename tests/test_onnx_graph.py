"""Graphs for ONNX Runtime: equal to the Keras models, made once, and never in the way."""

import dataclasses
import errno
import hashlib
import json
import logging
import os
import stat
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import platformdirs
import pytest
import soundfile
import tensorflow as tf
from conftest import BUNDLED, CLIPS, REPRESENTATIVES, ROOT, SHARED, bundled_graph
from helpers_audio import TECHNO, chirps
from test_blocks import MIDENDS, SMALL_BACKENDS, SMALL_FRONTENDS

from musicnn_zoo import ExportError, Tagger, build_model, load_model
from musicnn_zoo.machine.installation import cache_folder, cache_lock
from musicnn_zoo.networks.build import TaggingModel, adapt
from musicnn_zoo.networks.config import LogMelInput, ModelConfig, patch_grid
from musicnn_zoo.runtimes import onnx_engine as onnx_graph
from musicnn_zoo.runtimes.onnx_engine import (
    convert,
    find_graph,
    graph_of,
    open_session,
    weights_digest,
)
from musicnn_zoo.sound.read import load_audio
from musicnn_zoo.zoo.catalogue import PRESETS
from musicnn_zoo.zoo.load import Pretrained, find_pretrained

AUDIO = SHARED / "reference" / "audio"
SHIPPED = sorted(CLIPS.glob("*.ogg"))
OTHERS = sorted(path for path in AUDIO.glob("*.*") if not (CLIPS / path.name).exists())
TOLERANCE = 1e-4


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Folder of the graphs, new in every test."""
    monkeypatch.setenv("MUSICNN_ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "onnx"


@pytest.fixture(scope="module")
def converted():
    """Content and difference of the graphs that were made, by the digests of their models."""
    return {}


@pytest.fixture
def conversions(monkeypatch, converted):
    """Paths of the graphs that are made; of equal models only the first is really converted."""
    made = []

    def counted(model, path):
        made.append(path)
        digest = weights_digest(model)
        if digest not in converted:
            difference = convert(model, path)
            converted[digest] = path.read_bytes(), difference
        content, difference = converted[digest]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return difference

    monkeypatch.setattr(onnx_graph, "convert", counted)
    return made


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr("musicnn_zoo.runtimes.engine._sees_gpu", lambda: False)


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, chirps(2, 8000, channels=1)[0], 8000, subtype="FLOAT")
    return path


@pytest.fixture(scope="module", params=BUNDLED)
def both(request):
    """A pretrained model in both engines."""
    return (
        Tagger(request.param, engine="onnxruntime"),
        Tagger(request.param, engine="tensorflow", device="cpu"),
    )


def tiny(name="tiny", tags=("calm", "loud", "odd"), seed=0, **signal_options):
    """A model of any length that is converted in a second, with the same weights each time."""
    keras.utils.set_random_seed(seed)
    options = {"sample_rate": 8000, "n_fft": 256, "hop": 128, "n_mels": 24, "f_max": 4000}
    signal = LogMelInput(**{**options, **signal_options})
    model = build_model(input=signal, frontend="horizontal", patch=20, tags=tags, name=name)
    randomize(model, seed)
    return model


def randomize(model, seed=0):
    """Weights as after training: BatchNorm that scales, turns round and shifts."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.moving_mean.shape
            gamma = random.uniform(0.5, 1.5, shape) * random.choice([-1, 1], shape)
            beta, mean = random.normal(0, 0.3, (2, *shape))
            layer.set_weights([gamma, beta, mean, random.uniform(0.5, 2, shape)])


def noise_for(model, count=2, patches=1.0, seed=1):
    samples = round(patch_grid(model.zoo_config).patch_samples * patches)
    return np.random.default_rng(seed).normal(0, 0.1, (count, samples)).astype(np.float32)


def run_graph(path, waveforms):
    session = open_session(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"waveform": waveforms}), strict=True))


def run_model(model, waveforms):
    outputs = {name: model.get_layer(name).output for name in model.endpoints}
    part = keras.Model(model.input, outputs | {"output": model.output})
    return {name: np.asarray(a) for name, a in part(waveforms, training=False).items()}


def assert_agree(ours, theirs):
    assert set(ours) == set(theirs)
    np.testing.assert_allclose(ours["output"], theirs["output"], rtol=0, atol=TOLERANCE)
    for layer in theirs:
        assert ours[layer].shape == theirs[layer].shape, layer
        difference = np.abs(ours[layer] - theirs[layer]).max()
        assert difference <= TOLERANCE * np.abs(theirs[layer]).max(), layer


def assert_engines_agree_on(path, both, **options):
    onnx, in_keras = both
    layers = [*in_keras.endpoints, "output"]
    ours, theirs = (tagger.features(path, layers=layers, **options) for tagger in both)
    assert (onnx.engine, in_keras.engine) == ("onnxruntime", "tensorflow")
    assert list(ours) == list(theirs) == layers
    assert_agree(dict(ours), dict(theirs))


def names_in(folder):
    return [path.name for path in folder.iterdir()]


def warnings_in(caplog):
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("musicnn_zoo") and record.levelno >= logging.WARNING
    ]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_both_engines_agree_on_the_shipped_clips(both, path):
    assert_engines_agree_on(path, both)


@pytest.mark.skipif(not AUDIO.is_dir(), reason=f"the reference clips are not at {AUDIO}")
@pytest.mark.parametrize("path", OTHERS, ids=[path.stem for path in OTHERS])
def test_both_engines_agree_on_the_other_reference_clips(both, path):
    assert_engines_agree_on(path, both)


def test_both_engines_agree_on_silence_noise_and_full_scale(both):
    random = np.random.default_rng(0)
    signals = {
        "silence": np.zeros(48_000),
        "nearly silence": random.normal(0, 1e-5, 48_000),
        "noise": random.normal(0, 0.3, 48_000),
        "full scale": np.sign(random.normal(size=48_000)),
        "one sample": np.array([0.5]),
    }
    for name, signal in signals.items():
        ours, theirs = (tagger.taggram(signal, sample_rate=16_000).scores for tagger in both)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize("patch_s", [0.5, 10.0])
def test_both_engines_agree_on_patches_of_other_lengths(patch_s):
    both = [Tagger("MSD_musicnn", engine=engine) for engine in ("onnxruntime", "tensorflow")]
    assert_engines_agree_on(TECHNO, both, patch_s=patch_s, hop_s=8.0)


def test_a_graph_tells_what_it_computes(both):
    tagger, in_keras = both
    spec = tagger.spec
    session = open_session(bundled_graph(spec.name))
    (waveform,) = session.get_inputs()
    length = 48128 if spec.config.fixed_length else "samples"
    assert (waveform.name, waveform.type) == ("waveform", "tensor(float)")
    assert waveform.shape == ["batch", length]
    outputs = {output.name: output.shape for output in session.get_outputs()}
    assert set(outputs) == {"output", *tagger.endpoints}
    assert {shape[0] for shape in outputs.values()} == {"batch"}
    assert outputs["output"][1:] == [50]
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["model"] == spec.name
    assert metadata["sample_rate"] == "16000"
    assert tuple(json.loads(metadata["tags"])) == spec.tags
    assert ModelConfig.from_json(metadata["config"]) == in_keras.model.zoo_config
    assert metadata["format"] == str(onnx_graph.FORMAT)


def test_a_graph_takes_any_number_of_patches(both):
    model = both[1].model
    session = open_session(bundled_graph(model.name))
    patches = noise_for(model, count=5)
    expected = np.asarray(model(patches, training=False))
    for count in (1, 2, 5):
        (scores,) = session.run(["output"], {"waveform": patches[:count]})
        np.testing.assert_allclose(scores, expected[:count], rtol=0, atol=TOLERANCE)


@pytest.mark.platform
def test_a_model_of_ones_own_becomes_an_equal_graph_of_any_length(tmp_path):
    model = tiny()
    path = tmp_path / "made" / "tiny.onnx"
    difference = convert(model, path)
    assert 0 < difference < 1e-5
    assert names_in(path.parent) == ["tiny.onnx"]
    for patches in (0.5, 1, 7.3):
        waveforms = noise_for(model, count=3, patches=patches)
        assert_agree(run_graph(path, waveforms), run_model(model, waveforms))
    metadata = open_session(path).get_modelmeta().custom_metadata_map
    assert json.loads(metadata["tags"]) == ["calm", "loud", "odd"]
    assert (metadata["model"], metadata["sample_rate"]) == ("tiny", "8000")


@pytest.mark.parametrize(
    "options",
    [
        {"shorter_windows": (128, 200), "compression": "decibel"},
        {"hop": 320, "mel_scale": "htk", "mel_norm": None},
        {"hop": 127},
        {"n_fft": 251, "hop": 251},
    ],
    ids=str,
)
def test_every_log_mel_becomes_an_equal_graph_of_any_length(options, tmp_path):
    model = tiny(**options)
    convert(model, tmp_path / "tiny.onnx")
    for patches in (0.51, 1, 7.3):
        waveforms = noise_for(model, count=3, patches=patches)
        assert_agree(run_graph(tmp_path / "tiny.onnx", waveforms), run_model(model, waveforms))


def test_converting_leaves_the_model_as_it_was(tmp_path):
    model = tiny()
    waveforms = noise_for(model)
    before, weights = run_model(model, waveforms), model.get_weights()
    convert(model, tmp_path / "tiny.onnx")
    assert_agree(run_model(model, waveforms), before)
    for weight, same in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, same)


def test_the_statistics_of_a_standardized_input_are_in_the_graph(tmp_path):
    model = tiny(normalization="standardize")
    waveforms = noise_for(model)
    fresh = run_model(model, waveforms)["output"]
    adapt(model, waveforms * 0.01)
    convert(model, tmp_path / "standardized.onnx")
    expected = run_model(model, waveforms)
    assert np.abs(expected["output"] - fresh).max() > 1e-3
    assert_agree(run_graph(tmp_path / "standardized.onnx", waveforms), expected)


@pytest.mark.parametrize(
    ("difference", "name"),
    [(1.1e-4, "tiny.onnx"), (1.0, "new.onnx"), (np.nan, "tiny.onnx"), (np.inf, "new.onnx")],
)
def test_a_graph_that_differs_is_refused_and_not_kept(tmp_path, monkeypatch, difference, name):
    monkeypatch.setattr(onnx_graph, "_difference", lambda *_: difference)
    old = tmp_path / "graphs" / "tiny.onnx"
    old.parent.mkdir()
    old.write_bytes(b"an older one")
    with pytest.raises(ExportError, match=r"graph of tiny differs .* by .*more than 0\.0001"):
        convert(tiny(), old.parent / name)
    assert names_in(old.parent) == ["tiny.onnx"]
    assert old.read_bytes() == b"an older one"


def test_the_difference_is_that_of_all_outputs(tmp_path):
    model, other = tiny(), tiny()
    path = tmp_path / "tiny.onnx"
    convert(model, path)
    waveforms = noise_for(model)
    assert onnx_graph._difference(path, model, waveforms) < 1e-5
    kernel, bias = other.get_layer("logits").get_weights()
    other.set_weights(model.get_weights())
    other.get_layer("logits").set_weights([kernel, bias + 0.02])
    ours, theirs = (run_model(m, waveforms)["output"] for m in (model, other))
    expected = np.abs(ours - theirs).max()
    assert onnx_graph._difference(path, other, waveforms) == pytest.approx(expected, rel=1e-2)
    other.set_weights(model.get_weights())
    name = "penultimate"
    gamma, *rest = other.get_layer(name).get_weights()
    other.get_layer(name).set_weights([gamma * 1.01, *rest])
    kernel, bias = other.get_layer("logits").get_weights()
    other.get_layer("logits").set_weights([kernel * 0, bias])
    model.get_layer("logits").set_weights([kernel * 0, bias])
    convert(model, path)
    assert onnx_graph._difference(path, other, waveforms) > 1e-3


class Unknown(keras.layers.Layer):
    """Of an operation that the converter does not know."""

    def call(self, x):
        return x + 0 * tf.math.lgamma(x + 2)


def unconvertible():
    model = tiny()
    return TaggingModel(
        model.input,
        Unknown(name="unknown")(model.output),
        zoo_config=model.zoo_config,
        tags=model.tags,
        name="unconvertible",
    )


def test_a_model_that_cannot_be_converted_is_an_export_error(tmp_path, capfd):
    with pytest.raises(ExportError, match=r"graph of unconvertible.*Lgamma"):
        convert(unconvertible(), tmp_path / "graph.onnx")
    assert names_in(tmp_path) == []
    assert "Lgamma" not in capfd.readouterr().err


def test_what_cannot_be_converted_is_computed_by_keras(no_gpu, clip, caplog, conversions):
    model = unconvertible()
    tagger = Tagger(model)
    expected = Tagger(model, engine="tensorflow").tag(clip)
    for _ in range(2):
        (result,) = tagger.tag_files([clip])
        assert dict(result.unwrap()) == pytest.approx(dict(expected), abs=1e-6)
    (warning,) = warnings_in(caplog)
    assert "Lgamma" in warning
    assert warning.endswith("tensorflow computes it")
    assert len(conversions) == 1
    with pytest.raises(ExportError, match="graph of unconvertible"):
        Tagger(model, engine="onnxruntime")


def test_without_the_converter_keras_computes_and_the_log_tells_how_to_get_it(
    no_gpu, clip, caplog, monkeypatch
):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    model = tiny()
    tagger = Tagger(model)
    expected = Tagger(model, engine="tensorflow").tag(clip)
    assert warnings_in(caplog) == []
    for _ in range(2):
        (result,) = tagger.tag_files([clip])
        assert dict(result.unwrap()) == pytest.approx(dict(expected), abs=1e-6)
    (warning,) = warnings_in(caplog)
    assert "of tiny needs the converter: pip install 'musicnn-zoo[onnx]'" in warning


@pytest.mark.parametrize("missing", ["tf2onnx", "onnx"])
def test_without_the_converter_onnx_runtime_is_refused_where_it_is_named(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ExportError, match=r"pip install 'musicnn-zoo\[onnx\]'"):
        Tagger(tiny(), engine="onnxruntime")


def test_a_graph_that_is_there_needs_no_converter(monkeypatch, clip, conversions):
    model = tiny()
    expected = Tagger(model, engine="onnxruntime").tag(clip)
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    assert dict(Tagger(model, engine="onnxruntime").tag(clip)) == dict(expected)
    assert len(conversions) == 1


def test_another_backend_of_keras_is_an_export_error(monkeypatch, tmp_path):
    model = tiny()
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ExportError, match=r"needs Keras's TensorFlow backend .*; it runs on jax"):
        convert(model, tmp_path / "tiny.onnx")


def test_a_graph_is_made_once_and_used_again(cache, conversions):
    model = tiny()
    digest = weights_digest(model)
    path = graph_of(model, digest)
    assert path.parent == cache
    assert digest[:24] in path.name
    assert "tiny" in path.name
    content = path.read_bytes()
    assert graph_of(model, digest) == path
    assert graph_of(tiny(), digest) == path
    assert conversions == [path]
    assert path.read_bytes() == content
    assert set(names_in(cache)) == {path.name, f"{path.name}.sha256", f"{path.name}.lock"}
    noted = (cache / f"{path.name}.sha256").read_text()
    assert noted == f"{hashlib.sha256(content).hexdigest()}  {path.name}\n"


def cut(path, other):
    path.write_bytes(path.read_bytes()[:1000])


def replaced(path, other):
    path.write_bytes(other)


def replaced_by_a_link(path, other):
    path.unlink()
    place = path.parents[1] / "elsewhere.onnx"
    place.write_bytes(other)
    path.symlink_to(place)


def replaced_with_a_damaged_note(path, other):
    path.write_bytes(other)
    path.with_name(f"{path.name}.sha256").write_bytes(b"\xff" * 64)


def left_without_its_note(path, other):
    """As by a crash between the two files, or by a version that kept no SHA-256."""
    path.write_bytes(other)
    path.with_name(f"{path.name}.sha256").unlink()


@pytest.mark.parametrize(
    "change",
    [cut, replaced, replaced_by_a_link, replaced_with_a_damaged_note, left_without_its_note],
)
def test_a_graph_that_was_changed_is_made_again(kept, monkeypatch, caplog, change):
    path, content, other = kept
    change(path, other)
    monkeypatch.setattr(onnx_graph, "convert", lambda model, path: path.write_bytes(content))
    assert onnx_graph._cached("tiny", lambda: None) == path
    assert path.read_bytes() == content
    (warning,) = warnings_in(caplog)
    assert str(path) in warning
    assert warning.endswith("making it again")
    monkeypatch.setattr(onnx_graph, "convert", lambda *_: pytest.fail("made again"))
    assert onnx_graph._cached("tiny", lambda: None) == path


@pytest.fixture(scope="module")
def graphs(tmp_path_factory, converted):
    """Graphs of two models of the same shape."""
    path = tmp_path_factory.mktemp("graphs") / "graph.onnx"
    for seed in (0, 1):
        digest = weights_digest(tiny(seed=seed))
        if digest not in converted:
            difference = convert(tiny(seed=seed), path)
            converted[digest] = path.read_bytes(), difference
    return [converted[weights_digest(tiny(seed=seed))][0] for seed in (0, 1)]


@pytest.fixture
def kept(graphs, cache, monkeypatch):
    """A graph in the cache, its content, and that of another."""
    with monkeypatch.context() as patch:
        patch.setattr(onnx_graph, "convert", lambda model, path: path.write_bytes(graphs[0]))
        return onnx_graph._cached("tiny", lambda: None), *graphs


def test_the_cache_is_for_this_user_alone(kept, cache):
    for folder in (cache, cache.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for folder in (cache, cache.parent):
        folder.chmod(0o777)
    assert onnx_graph._cached("tiny", lambda: pytest.fail("made again")) == kept[0]
    for folder in (cache, cache.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_folder_above_may_be_everybodys_if_it_is_sticky(kept, cache, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: cache.stat().st_uid + 1)
    monkeypatch.setattr("musicnn_zoo.machine.installation._ROOT", cache.stat().st_uid)
    cache.parent.chmod(0o1777)
    assert onnx_graph._cached("tiny", lambda: pytest.fail("made again")) == kept[0]
    cache.parent.chmod(0o777)
    with pytest.raises(ExportError, match="other users can write to it"):
        onnx_graph._cached("tiny", lambda: pytest.fail("made again"))


def test_a_folder_of_another_user_is_refused(kept, cache, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: cache.stat().st_uid + 1)
    monkeypatch.setattr("musicnn_zoo.machine.installation._ROOT", -1)
    with pytest.raises(ExportError, match=r"belongs to another user.*set MUSICNN_ZOO_CACHE"):
        onnx_graph._cached("tiny", lambda: pytest.fail("made again"))
    monkeypatch.delattr(os, "getuid")
    assert onnx_graph._cached("tiny", lambda: pytest.fail("made again")) == kept[0]


def test_a_folder_of_roots_is_taken_unless_others_write_to_it(kept, cache, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: cache.stat().st_uid + 1)
    monkeypatch.setattr("musicnn_zoo.machine.installation._ROOT", cache.stat().st_uid)
    cache.chmod(0o755)
    assert onnx_graph._cached("tiny", lambda: pytest.fail("made again")) == kept[0]
    cache.chmod(0o777)
    with pytest.raises(ExportError, match="other users can write to it"):
        onnx_graph._cached("tiny", lambda: pytest.fail("made again"))


def test_a_link_to_a_folder_of_ones_own_is_followed(kept, cache):
    cache.rename(cache.parent / "elsewhere")
    cache.symlink_to("elsewhere")
    assert onnx_graph._cached("tiny", lambda: pytest.fail("made again")) == kept[0]


def test_who_reads_while_another_writes_waits_for_it(kept, cache, monkeypatch, caplog):
    path, _, other = kept
    note = path.with_name(f"{path.name}.sha256")
    half_written = threading.Event()

    def write():
        with cache_lock("onnx", f"{path.name}.lock"):
            path.write_bytes(other)
            half_written.set()
            time.sleep(0.3)
            note.write_text(f"{hashlib.sha256(other).hexdigest()}  {path.name}\n")

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        half_written.wait()
        assert onnx_graph._cached("tiny", lambda: pytest.fail("made again")) == path
        writing.result()
    assert path.read_bytes() == other
    assert warnings_in(caplog) == []


def test_a_cache_that_may_only_be_read_is_read(kept, cache, monkeypatch):
    def refused(*args, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for module, name in ((os, "utime"), (Path, "chmod"), (Path, "unlink")):
        monkeypatch.setattr(module, name, refused)
    monkeypatch.setattr("filelock.FileLock.acquire", refused)
    assert onnx_graph._cached("tiny", lambda: pytest.fail("made again")) == kept[0]
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ExportError, match=r"cannot keep the ONNX graph there \(Permission denied"):
        onnx_graph._cached("other", lambda: pytest.fail("was loaded to no avail"))


def test_other_weights_tags_and_configurations_have_other_graphs():
    model = tiny()
    same, renamed = tiny(), tiny(tags=("calm", "loud", "new"))
    for other in (same, renamed):
        other.set_weights(model.get_weights())
    digests = [weights_digest(model), weights_digest(renamed)]
    assert weights_digest(same) == digests[0]
    weights = model.get_weights()
    model.set_weights([*weights[:-1], weights[-1] + 1e-6])
    digests.append(weights_digest(model))
    model.set_weights(weights)
    assert weights_digest(model) == digests[0]
    config = dataclasses.replace(model.zoo_config, patch=21)
    other = TaggingModel(model.input, model.output, zoo_config=config, tags=model.tags, name="tiny")
    digests.append(weights_digest(other))
    assert len(set(digests)) == 4


def test_graphs_of_old_and_new_weights_are_both_kept(cache, conversions, clip):
    model = tiny()
    tagger = Tagger(model, engine="onnxruntime")
    old = model.get_weights()
    before = dict(tagger.tag(clip))
    model.set_weights([weight * 0.5 for weight in old])
    halved = dict(tagger.tag(clip))
    assert halved == pytest.approx(dict(Tagger(model, engine="tensorflow").tag(clip)), abs=1e-4)
    assert max(abs(halved[tag] - before[tag]) for tag in before) > 1e-3
    model.set_weights(old)
    assert dict(tagger.tag(clip)) == pytest.approx(before, abs=1e-6)
    assert len(conversions) == len(list(cache.glob("*.onnx"))) == 2


@pytest.mark.usefixtures("conversions")
def test_no_more_than_16_graphs_are_kept_and_the_newest_of_them(cache):
    cache.mkdir(parents=True)
    for age in range(20):
        old = cache / f"old{age}.onnx"
        old.write_bytes(b"")
        os.utime(old, (1e9 - age, 1e9 - age))
        (cache / f"{old.name}.sha256").touch()
    (cache / "notes.txt").touch()
    model = tiny()
    path = graph_of(model, weights_digest(model))
    kept = {path.name, *(f"old{age}.onnx" for age in range(15))}
    notes = {f"{name}.sha256" for name in kept}
    assert set(names_in(cache)) == kept | notes | {f"{path.name}.lock", "notes.txt"}


@pytest.mark.usefixtures("conversions")
def test_a_graph_that_is_used_counts_as_new(cache):
    first, second = tiny(), tiny(seed=1)
    paths = [graph_of(model, weights_digest(model)) for model in (first, second)]
    for path in paths:
        os.utime(path, (1e9, 1e9))
    assert graph_of(first, weights_digest(first)) == paths[0]
    assert paths[0].stat().st_mtime > paths[1].stat().st_mtime == 1e9


@pytest.mark.usefixtures("conversions")
def test_a_name_that_is_no_file_name_makes_one(cache):
    model = tiny()
    path = onnx_graph._cached("../my model/ü:1", lambda: model)
    assert path.parent == cache
    assert path.is_file()


def test_several_threads_make_a_graph_once(no_gpu, conversions, clip):
    tagger = Tagger(tiny(seed=9))  # which takes its time, as no other test has converted it
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: list(tagger.tag_files([clip] * 3)), range(4)))
    assert len(conversions) == 1
    scores = [dict(result.unwrap()) for run in runs for result in run]
    assert len(scores) == 12
    assert all(one == pytest.approx(scores[0], abs=1e-6) for one in scores)


@pytest.mark.usefixtures("conversions")
def test_the_folder_of_graphs_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("MUSICNN_ZOO_CACHE", str(tmp_path / "chosen"))
    assert cache_folder() == tmp_path / "chosen"
    model = tiny()
    assert graph_of(model, weights_digest(model)).parent == tmp_path / "chosen" / "onnx"


@pytest.mark.parametrize("value", [None, ""])
def test_the_folder_of_graphs_is_the_users_cache_by_default(monkeypatch, value):
    monkeypatch.delenv("MUSICNN_ZOO_CACHE")
    if value is not None:
        monkeypatch.setenv("MUSICNN_ZOO_CACHE", value)
    assert cache_folder() == platformdirs.user_cache_path("musicnn-zoo", appauthor=False)
    assert cache_folder().is_absolute()


def unwritable_by_a_file_in_the_way(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MUSICNN_ZOO_CACHE", str(tmp_path / "file"))


def unwritable_by_a_full_disk(tmp_path, monkeypatch):
    def mkdir(path, *args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "mkdir", mkdir)


def unwritable_by_a_folder_that_may_not_be_looked_into(tmp_path, monkeypatch):
    is_file = Path.is_file

    def refused(path):
        if path.is_relative_to(tmp_path / "cache"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refused)


@pytest.mark.parametrize(
    "spoil",
    [
        unwritable_by_a_file_in_the_way,
        unwritable_by_a_full_disk,
        unwritable_by_a_folder_that_may_not_be_looked_into,
    ],
)
def test_where_no_graph_can_be_kept_keras_computes(
    no_gpu, clip, caplog, tmp_path, monkeypatch, spoil
):
    model = tiny()
    tagger = Tagger(model)
    expected = Tagger(model, engine="tensorflow").tag(clip)
    spoil(tmp_path, monkeypatch)
    with pytest.raises(ExportError, match="cannot keep the ONNX graph there"):
        graph_of(model, weights_digest(model))
    for _ in range(2):
        (result,) = tagger.tag_files([clip])
        assert dict(result.unwrap()) == pytest.approx(dict(expected), abs=1e-6)
    (warning,) = warnings_in(caplog)
    assert "cannot keep the ONNX graph there" in warning
    assert warning.endswith("tensorflow computes it")
    with pytest.raises(ExportError, match="cannot keep"):
        Tagger(model, engine="onnxruntime")


def test_a_pretrained_model_whose_graph_is_not_bundled_is_converted_once(
    no_gpu, monkeypatch, cache, conversions
):
    preset = dataclasses.replace(PRESETS["MTT_vgg"], graph=None)
    monkeypatch.setitem(PRESETS, "MTT_vgg", preset)
    tagger = Tagger("MTT_vgg")
    assert tagger.engine == "onnxruntime"
    golden = np.load(ROOT / "tests" / "golden" / "MTT_vgg.npz")[f"{TECHNO.stem}.taggram"]
    np.testing.assert_allclose(tagger.taggram(TECHNO).scores, golden, rtol=0, atol=TOLERANCE)
    assert len(conversions) == 1
    monkeypatch.setattr(Pretrained, "load", lambda self: pytest.fail("loaded"))
    assert Tagger("MTT_vgg").engine == "onnxruntime"
    (path,) = conversions
    assert find_graph(find_pretrained("MTT_vgg"), lambda: pytest.fail("loaded")) == path
    assert preset.sources[0].sha256[:24] in path.name


@pytest.mark.slow
@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_every_architecture_becomes_an_equal_graph(name, tmp_path):
    model = build_model(name, tags=3)
    randomize(model)
    convert(model, tmp_path / "graph.onnx")
    rate, samples = model.zoo_config.input.sample_rate, patch_grid(model.zoo_config).patch_samples
    signal = load_audio(TECHNO, target_rate=rate).samples
    for patches in (1,) if model.zoo_config.fixed_length else (1, 1.7):
        windows = np.resize(signal, (2, round(samples * patches)))
        assert_agree(run_graph(tmp_path / "graph.onnx", windows), run_model(model, windows))


FRONTENDS = [one for several in SMALL_FRONTENDS.values() for one in several]
BACKENDS = [one for several in SMALL_BACKENDS.values() for one in several]


@pytest.mark.slow
@pytest.mark.parametrize(
    "blocks",
    [
        *({"frontend": one, "backend": "temporal_pooling"} for one in FRONTENDS),
        *({"frontend": SMALL_FRONTENDS["vertical"][0], "backend": one} for one in BACKENDS),
        *({"frontend": SMALL_FRONTENDS["horizontal"][0], "midend": one} for one in MIDENDS),
    ],
    ids=lambda blocks: "-".join(getattr(one, "kind", str(one)) for one in blocks.values()),
)
def test_every_block_becomes_an_equal_graph(blocks, tmp_path):
    model = build_model(**blocks, tags=3)
    randomize(model)
    convert(model, tmp_path / "graph.onnx")
    for patches in (1, 1.7):
        waveforms = noise_for(model, patches=patches)
        assert_agree(run_graph(tmp_path / "graph.onnx", waveforms), run_model(model, waveforms))


def test_the_bundled_graphs_are_those_of_the_bundled_weights(both):
    model = load_model(both[0].spec.name)
    waveforms = noise_for(model, count=1)
    path = bundled_graph(model.name)
    assert_agree(run_graph(path, waveforms), run_model(model, waveforms))
