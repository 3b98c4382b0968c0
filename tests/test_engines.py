"""Which engine computes, and that each computes the same however it is asked."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, bundled_graph
from helpers_audio import TECHNO

from musicnn_zoo import (
    ArgumentError,
    DeviceError,
    Tagger,
    UnknownNameError,
    WeightsError,
    build_model,
    load_model,
)
from musicnn_zoo.networks.build import adapt
from musicnn_zoo.networks.logmel import LogMel
from musicnn_zoo.runtimes import engine as engines
from musicnn_zoo.runtimes import onnx_engine
from musicnn_zoo.runtimes.engine import choose_engine
from musicnn_zoo.runtimes.keras_engine import KerasEngine
from musicnn_zoo.runtimes.onnx_engine import OnnxEngine
from musicnn_zoo.runtimes.variants import remake, with_precision
from musicnn_zoo.sound.read import load_audio

KERAS = keras.backend.backend()
LAYERS = ("output", "penultimate", "mean_pool")


@pytest.fixture(params=[False, True], ids=["no gpu", "a gpu"])
def gpu(request, monkeypatch):
    monkeypatch.setattr(engines, "_sees_gpu", lambda: request.param)
    return request.param


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(engines, "_sees_gpu", lambda: False)


@pytest.fixture(scope="module")
def windows():
    """Seven patches of a techno loop."""
    signal = np.pad(load_audio(TECHNO).samples, 256)
    return np.stack([signal[start : start + 48128] for start in range(0, 7 * 47872, 47872)])


@pytest.fixture(scope="module")
def model():
    return load_model("MTT_musicnn")


@pytest.fixture(scope="module")
def graph():
    return bundled_graph("MTT_musicnn")


@pytest.fixture(scope="module")
def onnx(graph):
    return OnnxEngine(graph)


@pytest.fixture(scope="module")
def in_keras(model):
    return KerasEngine(lambda: model, device="cpu")


@pytest.fixture(scope="module")
def expected(model, windows):
    """What the bare model says, one patch at a time."""
    outputs = [model.output, *(model.get_layer(layer).output for layer in LAYERS[1:])]
    part = keras.Model(model.input, outputs)
    rows = [part(window[np.newaxis], training=False) for window in windows]
    return {
        layer: np.concatenate([np.asarray(row[i]) for row in rows])
        for i, layer in enumerate(LAYERS)
    }


def assert_same(ours, expected, atol=1e-5):
    assert set(ours) == set(expected)
    for layer, values in expected.items():
        assert ours[layer].dtype == np.float32
        np.testing.assert_allclose(ours[layer], values, rtol=1e-4, atol=atol)


def choose(engine="auto", device=None, precision="float32"):
    return choose_engine(engine, device=device, precision=precision)


def test_onnx_runtime_is_chosen_where_there_is_no_gpu(gpu):
    assert choose() == (KERAS if gpu else "onnxruntime")


@pytest.mark.parametrize("device", ["cpu", "CPU", "cpu:0"])
def test_onnx_runtime_is_chosen_where_the_cpu_is_asked_for(gpu, device):
    assert choose(device=device) == "onnxruntime"


@pytest.mark.parametrize(
    "options",
    [
        {"device": "gpu"},
        {"device": "gpu:1"},
        {"device": "cpu:1"},
        {"device": "cpu:0,cpu:1"},
        {"precision": "float16"},
        {"precision": "bfloat16"},
        {"device": "cpu", "precision": "bfloat16"},
    ],
)
def test_keras_is_chosen_for_other_devices_and_precisions(gpu, options):
    assert choose(**options) == KERAS


def test_the_engine_that_is_named_is_taken(gpu):
    assert choose(KERAS) == choose(KERAS, device="gpu") == KERAS
    assert choose("onnxruntime") == choose("onnxruntime", device="cpu") == "onnxruntime"


@pytest.mark.parametrize("engine", ["", "onnx", "Auto", "keras", None])
def test_an_unknown_engine_is_refused(engine):
    with pytest.raises(ArgumentError, match="engine must be one of auto, tensorflow, jax"):
        choose(engine)


@pytest.mark.parametrize("precision", ["", "half", "float64", "mixed_float16", None])
def test_an_unknown_precision_is_refused(precision):
    with pytest.raises(ArgumentError, match="precision must be one of float32, float16, bfloat16"):
        choose(precision=precision)


@pytest.mark.parametrize("device", ["gpu", "gpu:0", "cpu:1", "cpu:0,cpu:1"])
def test_onnx_runtime_is_refused_on_other_devices(gpu, device):
    with pytest.raises(ArgumentError, match=rf"on the CPU here; received device='{device}'"):
        choose("onnxruntime", device=device)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_onnx_runtime_is_refused_in_other_precisions(gpu, precision):
    with pytest.raises(ArgumentError, match=rf"float32 here; received precision='{precision}'"):
        choose("onnxruntime", precision=precision)


@pytest.mark.parametrize("engine", sorted({"tensorflow", "jax", "torch"} - {KERAS}))
def test_an_engine_that_keras_does_not_run_on_is_refused_and_the_way_told(gpu, engine):
    expected = rf"runs on {KERAS} here; received engine='{engine}'.*KERAS_BACKEND={engine}$"
    with pytest.raises(ArgumentError, match=expected):
        choose(engine)


def test_a_machine_that_hides_its_gpus_is_not_asked_for_them(monkeypatch):
    monkeypatch.setattr(engines, "_keras_backend", lambda: pytest.fail("asked"))
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert choose() == "onnxruntime"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "onnxruntime"),
        ({"device": "cpu"}, "onnxruntime"),
        ({"engine": "onnxruntime"}, "onnxruntime"),
        ({"engine": KERAS}, KERAS),
        ({"precision": "bfloat16"}, KERAS),
    ],
)
def test_a_tagger_tells_what_computes(no_gpu, options, expected):
    assert Tagger("MTT_vgg", **options).engine == expected


def test_a_model_object_goes_through_keras_unless_onnx_runtime_is_named(no_gpu, model):
    assert Tagger(model).engine == KERAS


@pytest.mark.platform
def test_both_engines_give_what_the_bare_model_gives(onnx, in_keras, windows, expected):
    assert_same(onnx.run(windows, LAYERS), expected)
    assert_same(in_keras.run(windows, LAYERS), expected)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_part_of_the_patches_gives_a_part_of_the_rows(onnx, in_keras, windows, expected, count):
    for engine in (onnx, in_keras):
        rows = engine.run(windows[2 : 2 + count], LAYERS)
        assert_same(rows, {layer: a[2 : 2 + count] for layer, a in expected.items()})


def test_onnx_runtime_gives_a_patch_the_same_numbers_whatever_comes_with_it(onnx, windows):
    together = onnx.run(windows, LAYERS)
    for number in range(len(windows)):
        alone = onnx.run(windows[number : number + 1], LAYERS)
        for layer in LAYERS:
            np.testing.assert_array_equal(alone[layer][0], together[layer][number])


@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
def test_the_batch_size_makes_no_difference(graph, model, windows, expected, batch_size):
    for engine in (
        OnnxEngine(graph, batch_size=batch_size),
        KerasEngine(lambda: model, device="cpu", batch_size=batch_size),
    ):
        assert engine.patches_per_call >= batch_size
        assert_same(engine.run(windows, LAYERS), expected)


@pytest.mark.parametrize(
    ("cores", "patches_per_call", "calls"),
    [(1, 8, 1), (2, 16, 1), (8, 64, 1), (16, 64, 2), (128, 128, 2)],
)
def test_many_cores_do_not_hold_much_audio(graph, monkeypatch, cores, patches_per_call, calls):
    monkeypatch.setattr(onnx_engine, "usable_cores", lambda: cores)
    engine = OnnxEngine(graph)
    assert (engine.patches_per_call, engine.calls) == (patches_per_call, calls)


def test_patches_may_be_a_view_that_is_read_only_and_overlaps(onnx, in_keras, windows):
    signal = np.concatenate(list(windows[:2]))
    view = np.lib.stride_tricks.sliding_window_view(signal, 48128)[::16000]
    for engine in (onnx, in_keras):
        rows = engine.run(view, ("output",))["output"]
        copied = engine.run(np.array(view), ("output",))["output"]
        assert len(rows) == 4
        np.testing.assert_allclose(rows, copied, rtol=0, atol=1e-6)


@pytest.mark.platform
def test_several_threads_at_once_get_their_own_rows(onnx, in_keras, windows, expected):
    jobs = [(engine, number) for engine in (onnx, in_keras) for number in range(7)] * 2
    with ThreadPoolExecutor(6) as pool:
        rows = list(
            pool.map(lambda job: job[0].run(windows[job[1] : job[1] + 1], ("output",)), jobs)
        )
    for (_, number), row in zip(jobs, rows, strict=True):
        assert_same(row, {"output": expected["output"][number : number + 1]})


def test_layers_that_an_engine_has_not_are_told(onnx, in_keras):
    wanted = ("output", "frontend_timbral_38", "nothing", "cnn1")
    assert onnx.missing(wanted) == ("frontend_timbral_38", "nothing")
    assert in_keras.missing(wanted) == ("nothing",)


def test_an_unknown_output_is_refused_with_the_nearest(onnx, in_keras, windows):
    for engine in (onnx, in_keras):
        with pytest.raises(UnknownNameError, match="'penultimat'; did you mean penultimate"):
            engine.run(windows[:1], ("output", "penultimat"))


def test_a_damaged_graph_is_a_weights_error_that_names_it(graph, tmp_path):
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(graph.read_bytes()[:100_000])
    with pytest.raises(WeightsError, match=r"damaged\.onnx: ONNX Runtime cannot read this graph"):
        OnnxEngine(damaged)
    with pytest.raises(WeightsError, match=r"missing\.onnx: ONNX Runtime cannot read this graph"):
        OnnxEngine(tmp_path / "missing.onnx")


def test_a_changed_bundled_graph_is_refused_for_its_digest(tmp_path, monkeypatch, no_gpu, graph):
    content = bytearray(graph.read_bytes())
    content[-1] ^= 1
    (tmp_path / graph.name).write_bytes(content)
    monkeypatch.setattr("musicnn_zoo.zoo.weights.bundled_folder", lambda: tmp_path)
    with pytest.raises(WeightsError, match=r"MTT_musicnn\.onnx.*SHA-256"):
        Tagger("MTT_musicnn")
    shutil.copy(graph, tmp_path)
    assert Tagger("MTT_musicnn").engine == "onnxruntime"


@pytest.mark.parametrize(
    ("name", "precision", "tolerance"),
    [
        ("MTT_musicnn", "bfloat16", 5e-2),
        ("MTT_vgg", "float16", 2e-2),
        pytest.param("MTT_musicnn", "float16", 2e-2, marks=pytest.mark.slow),
        pytest.param("MTT_vgg", "bfloat16", 5e-2, marks=pytest.mark.slow),
    ],
)
def test_half_precision_stays_near_and_keeps_the_best_tag(windows, name, precision, tolerance):
    signal = np.concatenate([windows[0][256:], windows[3], windows[5]])
    exact = Tagger(name, engine=KERAS).taggram(signal, sample_rate=16000)
    half = Tagger(name, precision=precision).taggram(signal, sample_rate=16000)
    assert half.scores.dtype == np.float32
    difference = np.abs(half.scores - exact.scores).max()
    assert 1e-6 < difference < tolerance
    assert half.rank(top_k=1).names == exact.rank(top_k=1).names == ("techno",)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_log_mel_scores_and_weights_stay_in_single_precision(model, windows, precision):
    half = with_precision(model, precision)
    types = {layer.name: layer.compute_dtype for layer in half.layers}
    single = {name for name, dtype in types.items() if dtype == "float32"}
    assert single == {"waveform", "logmel", "tags"}
    assert set(types.values()) == {"float32", precision}
    assert {weight.dtype for weight in half.weights} == {"float32"}
    ours, theirs = (
        keras.Model(m.input, m.get_layer("logmel").output)(windows[:1]) for m in (half, model)
    )
    assert isinstance(half.get_layer("logmel"), LogMel)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_a_copy_standardizes_its_input_as_the_model_does():
    model = build_model("schlueter_horizontal", tags=2)
    rate = model.zoo_config.input.sample_rate
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 4 * rate)).astype(np.float32)
    noise = noise[:, : model.input_shape[1]]
    before = np.asarray(model(noise))
    adapt(model, noise * 0.01)
    expected = np.asarray(model(noise))
    assert np.abs(expected - before).max() > 1e-3
    np.testing.assert_allclose(remake(model)(noise), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(with_precision(model, "float16")(noise), expected, atol=2e-2)


TWO_CPUS = """
import sys
import numpy as np
import tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from musicnn_zoo import Tagger, load_model
signal = np.load(sys.argv[1])
two = Tagger("MTT_vgg", device="cpu:0,cpu:1", batch_size=2)
assert two.engine == "tensorflow"
replicas = two._engines.keras.get()._replicas
placed = [{v.value.device[-5:] for v in r._model.weights} for r in replicas]
assert placed == [{"CPU:0"}, {"CPU:1"}], placed
np.save(sys.argv[2], two.taggram(signal, sample_rate=16000, hop_s=1).scores)
model = load_model("MTT_vgg")
of_model = Tagger(model, device="cpu:1,cpu:0", batch_size=3)
of_model.tag(signal, sample_rate=16000)
model.set_weights([weight * 0 for weight in model.get_weights()])
assert set(dict(of_model.tag(signal, sample_rate=16000, top_k=50)).values()) == {0.5}
"""


@pytest.mark.slow
def test_two_devices_give_what_one_gives_in_the_same_order(tmp_path, windows):
    signal, scores = tmp_path / "signal.npy", tmp_path / "scores.npy"
    np.save(signal, np.concatenate([windows[0][256:], *windows[1:4]]))
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(
        [sys.executable, "-c", TWO_CPUS, signal, scores],
        env=environment, capture_output=True, text=True, timeout=300, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    one = Tagger("MTT_vgg", engine="onnxruntime").taggram(
        np.load(signal), sample_rate=16000, hop_s=1
    )
    assert len(one) == 10
    assert np.abs(np.diff(one.scores, axis=0)).max(axis=1).min() > 1e-3
    np.testing.assert_allclose(np.load(scores), one.scores, rtol=0, atol=1e-5)


@pytest.mark.parametrize("device", ["cpu:0,cpu:7", "cpu:7", "cpu:0,", "cpu:0,tpu"])
def test_a_device_that_is_not_there_is_refused_before_the_model_is_made(device):
    with pytest.raises(DeviceError, match=r"TensorFlow sees .*cpu:0"):
        KerasEngine(lambda: pytest.fail("made"), device=device)


def test_the_same_device_twice_gives_the_same(model, windows, expected):
    engine = KerasEngine(lambda: remake(model), device="cpu:0, cpu:0", batch_size=2)
    assert_same(engine.run(windows, LAYERS), expected)
    assert_same(engine.run(windows[:1], LAYERS), {k: a[:1] for k, a in expected.items()})


@pytest.mark.parametrize(
    "options",
    [{"engine": "tensorflow"}, {"precision": "float16"}, {"device": "cpu:0,cpu:0"}],
    ids=["keras", "precision", "devices"],
)
def test_copies_of_a_model_follow_its_weights(options):
    model = build_model("dieleman_mel", tags=2)
    tagger = Tagger(model, **options)
    noise = np.random.default_rng(0).normal(0, 0.1, 64_000).astype(np.float32)
    before = tagger.taggram(noise, sample_rate=16000).scores
    assert np.abs(before - 0.5).max() > 1e-3
    model.set_weights([weight * 0 for weight in model.get_weights()])
    np.testing.assert_array_equal(tagger.taggram(noise, sample_rate=16000).scores, 0.5)


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
def test_precision_on_an_absent_gpu_is_a_device_error():
    with pytest.raises(DeviceError, match="'gpu' is not there"):
        Tagger("MTT_vgg", device="gpu", precision="float16")


def test_only_what_is_asked_for_is_computed_and_is_the_same_as_with_the_rest() -> None:
    engine = OnnxEngine(bundled_graph("MTT_vgg"))
    windows = np.random.default_rng(0).normal(0, 0.1, (2, 48128)).astype(np.float32)
    together = engine.run(windows, engine.outputs)
    asked = [(name,) for name in engine.outputs] + [("output", "pool1"), ("pool1", "output")]
    for layers in asked:
        received = engine.run(windows, layers)
        assert tuple(received) == layers
        for name, values in received.items():
            np.testing.assert_allclose(values, together[name], rtol=0, atol=1e-5)
    sessions = engine._runner()._sessions
    assert frozenset({"output"}) in sessions
    assert frozenset(engine.outputs) in sessions
    assert len(sessions) <= 4
