"""Exports: each computes what the Keras model computes, and says what it is."""

import dataclasses
import errno
import importlib.util
import json
import os
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from conftest import BUNDLED, CLIPS, REPRESENTATIVES, ROOT
from tensorflow.lite.tools import flatbuffer_utils
from test_onnx_graph import randomize, tiny

from musicnn_zoo import (
    ArgumentError,
    ExportError,
    OutputError,
    UnknownNameError,
    __version__,
    build_model,
    load_model,
)
from musicnn_zoo.networks.architectures import ARCHITECTURES
from musicnn_zoo.networks.build import TaggingModel, adapt
from musicnn_zoo.networks.config import LogMelInput, patch_grid
from musicnn_zoo.networks.patches import PatchStream
from musicnn_zoo.runtimes import export as export_module
from musicnn_zoo.runtimes import formats
from musicnn_zoo.runtimes.engine import difference, probes
from musicnn_zoo.runtimes.export import TOLERANCES, export_model, quiet
from musicnn_zoo.runtimes.formats import EXPORTERS, Exporter
from musicnn_zoo.runtimes.onnx_engine import open_session
from musicnn_zoo.sound.read import load_audio
from musicnn_zoo.zoo.load import Pretrained

needs_litert = pytest.mark.skipif(
    importlib.util.find_spec("ai_edge_litert") is None, reason="musicnn-zoo[litert] is missing"
)
PRECISIONS = [
    pytest.param("float32", marks=needs_litert),
    pytest.param("float16", marks=[needs_litert, pytest.mark.slow]),
    pytest.param("int8", marks=[needs_litert, pytest.mark.slow]),
]
KINDS = [
    ("model.keras", "float32"),
    ("model", "float32"),
    ("model.onnx", "float32"),
    pytest.param("model.tflite", "float32", marks=needs_litert),
    pytest.param("model.tflite", "float16", marks=[needs_litert, pytest.mark.slow]),
    pytest.param("model.tflite", "int8", marks=[needs_litert, pytest.mark.slow]),
]
READERS = {
    "keras": formats.read_keras,
    "savedmodel": formats.read_saved_model,
    "onnx": formats.read_onnx,
    "litert": formats.read_litert,
}
LOSS_OF_INT8 = 0.06
"""More than is measured on the example clips, 0.053; the order of close tags may change."""


def patches_of(path, model):
    config = model.zoo_config
    stream = PatchStream(patch_grid(config))
    signal = load_audio(path, target_rate=config.input.sample_rate).samples
    return np.concatenate([stream.feed(signal), stream.finish()])


@pytest.fixture(
    scope="module",
    params=["MSD_vgg", pytest.param("MTT_musicnn", marks=pytest.mark.slow)],
)
def pretrained(request):
    """A pretrained model, and patches and scores of each example clip."""
    model = load_model(request.param)
    clips = [patches_of(path, model) for path in sorted(CLIPS.glob("*.ogg"))]
    return model, [(clip, model.predict_on_batch(clip)) for clip in clips]


@pytest.fixture(scope="module")
def exported(pretrained, tmp_path_factory):
    """Exports of a pretrained model, each made when it is first asked for."""
    made = {}

    def get(name, precision):
        if (name, precision) not in made:
            folder = tmp_path_factory.mktemp("exports")
            made[name, precision] = export_model(pretrained[0], folder / name, precision=precision)
        return made[name, precision]

    return get


@pytest.fixture(scope="module")
def one_model():
    """A model that is not changed."""
    return tiny()


def top_three(scores):
    return np.argsort(-scores.mean(axis=0))[:3].tolist()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def litert_entries(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


@pytest.mark.platform
@pytest.mark.parametrize(("name", "precision"), KINDS)
def test_an_export_agrees_with_the_model_on_real_clips(pretrained, exported, name, precision):
    export = exported(name, precision)
    scores_of = READERS[export.format](export.path)
    tolerance = LOSS_OF_INT8 if precision == "int8" else TOLERANCES[precision]
    assert len(pretrained[1]) >= 3
    for patches, expected in pretrained[1]:
        scores = scores_of(patches)
        assert scores.shape == expected.shape
        np.testing.assert_allclose(scores, expected, rtol=0, atol=tolerance)
        if precision != "int8":
            assert top_three(scores) == top_three(expected)


@pytest.mark.parametrize(("name", "precision"), KINDS)
def test_an_export_tells_what_was_found(exported, name, precision):
    export = exported(name, precision)
    assert export.path.name == name
    assert export.precision == precision
    assert export.signals == 7
    assert 0 <= export.difference <= min(TOLERANCES[precision], 0.1)
    if precision == "float32":
        assert export.top_tags_unchanged
    if precision == "int8":
        assert export.difference > 1e-4
    files = [export.path] if export.path.is_file() else export.path.rglob("*")
    assert export.size == sum(path.stat().st_size for path in files if path.is_file())
    text = str(export)
    assert "\n" not in text
    assert f"{export.path}: {export.format}, {precision}, {export.size / 1e6:.1f} MB;" in text
    assert f"at most {export.difference:.1e}, with the same top 3 tags" in text
    assert f"on {export.same_top_tags} of 7 test signals" in text


@needs_litert
@pytest.mark.slow
def test_smaller_weights_make_smaller_files(exported):
    sizes = [exported("model.tflite", one).size for one in ("float32", "float16", "int8")]
    # The spectrogram, 1.1 MB, stays in float32.
    assert sizes[0] > 1.3 * sizes[1]
    assert sizes[1] > 1.1 * sizes[2]


def expected_metadata(model, precision):
    return {
        "model": model.name,
        "tags": list(model.tags),
        "sample_rate": 16000,
        "patch_samples": 48128,
        "precision": precision,
        "config": model.zoo_config.to_dict(),
        "provenance": model.provenance.to_dict(),
        "musicnn_zoo": __version__,
    }


def test_a_savedmodel_has_its_metadata(pretrained, exported):
    model, _ = pretrained
    extra = exported("model", "float32").path / "assets.extra"
    assert names_in(extra) == ["metadata.json", "tags.txt"]
    metadata = json.loads((extra / "metadata.json").read_text(encoding="utf-8"))
    assert metadata == expected_metadata(model, "float32")
    assert tuple((extra / "tags.txt").read_text(encoding="utf-8").splitlines()) == model.tags


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_litert_file_has_its_metadata(pretrained, exported, precision):
    model, _ = pretrained
    entries = litert_entries(exported("model.tflite", precision).path)
    assert list(entries) == ["labels.txt", "metadata.json"]
    assert json.loads(entries["metadata.json"]) == expected_metadata(model, precision)
    assert tuple(entries["labels.txt"].splitlines()) == model.tags


def test_an_onnx_graph_has_its_metadata(pretrained, exported):
    model, _ = pretrained
    metadata = open_session(exported("model.onnx", "float32").path).get_modelmeta()
    entries = metadata.custom_metadata_map
    assert entries["model"] == model.name
    assert tuple(json.loads(entries["tags"])) == model.tags
    assert entries["sample_rate"] == "16000"
    assert json.loads(entries["config"]) == model.zoo_config.to_dict()
    provenance = json.loads(entries["provenance"])
    assert provenance == model.provenance.to_dict()
    assert "Permission to use, copy, modify" in provenance["notice"]


def test_the_onnx_of_a_bundled_model_is_that_of_its_graph(pretrained, exported, tmp_path):
    model, clips = pretrained
    converted = exported("model.onnx", "float32").path
    copied = export_model(model.name, tmp_path / "copied.onnx")
    assert (copied.difference, copied.top_tags_unchanged) == (0, True)
    assert copied.size == copied.path.stat().st_size
    assert "differs from the bundled graph by at most 0.0e+00" in str(copied)
    onnx.checker.check_model(onnx.load(copied.path), full_check=True)
    ours, theirs = (open_session(path) for path in (copied.path, converted))
    assert ours.get_modelmeta().custom_metadata_map == theirs.get_modelmeta().custom_metadata_map
    names = [output.name for output in theirs.get_outputs()]
    assert [output.name for output in ours.get_outputs()] == names
    waveforms = {"waveform": clips[0][0]}
    both = (session.run(names, waveforms) for session in (ours, theirs))
    for mine, expected in zip(*both, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


LIGHT = """
import sys
missing = ("tensorflow", "keras", "jax", "torch", "kapre", "librosa", "onnx", "tf2onnx")
sys.modules.update(dict.fromkeys(missing))
from click.testing import CliRunner
from musicnn_zoo.cli import cli
for command in sys.argv[1].split(";"):
    done = CliRunner().invoke(cli, command.split())
    print(done.exit_code, done.output.strip(), done.exception)
"""


def test_a_light_installation_exports_the_bundled_graphs_and_says_what_else_needs(tmp_path):
    commands = [f"export {model} -o {model}.onnx" for model in BUNDLED]
    refused = ["export MTT_vgg -o a.keras", "export MTT_vgg -o a", "info MTT_fcn --plot a.png",
               "export MTT_fcn -o a.onnx"]  # fmt: skip
    script = ";".join([*commands, *refused, "info MTT_vgg", "models"])
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, script], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for line, model in zip(lines, BUNDLED, strict=False):
        assert line.startswith(f"0 {model}.onnx: onnx, float32, ")
    for line in lines[len(BUNDLED) :][: len(refused)]:
        assert line.startswith("2 Error: MT")
        assert "needs Keras, which is not installed: pip install tensorflow" in line
    assert names_in(tmp_path) == sorted(f"{model}.onnx" for model in BUNDLED)
    for model in BUNDLED:
        metadata = open_session(tmp_path / f"{model}.onnx").get_modelmeta().custom_metadata_map
        assert (metadata["model"], metadata["precision"]) == (model, "float32")


def test_a_keras_file_is_the_model(pretrained, exported):
    model, _ = pretrained
    export = exported("model.keras", "float32")
    copy = keras.saving.load_model(export.path)
    assert isinstance(copy, TaggingModel)
    assert (copy.tags, copy.zoo_config, copy.provenance) == (
        model.tags, model.zoo_config, model.provenance,
    )  # fmt: skip
    assert export.difference == 0


def test_an_onnx_graph_runs_with_any_batch(pretrained, exported):
    patches, expected = pretrained[1][0]
    session = open_session(exported("model.onnx", "float32").path)
    for count in (1, 5):
        (scores,) = session.run(["output"], {"waveform": patches[:count]})
        np.testing.assert_allclose(scores, expected[:count], rtol=0, atol=1e-4)


def test_a_savedmodel_runs_with_any_batch(pretrained, exported):
    patches, expected = pretrained[1][0]
    scores_of = formats.read_saved_model(exported("model", "float32").path)
    for count in (1, 5):
        np.testing.assert_allclose(scores_of(patches[:count]), expected[:count], rtol=0, atol=1e-4)


FRESH = """
import sys
import numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
waveform = np.load(sys.argv[2])
np.save(sys.argv[3], model.signatures["serving_default"](waveform=waveform)["tags"])
print([name for name in sys.modules if name.partition(".")[0] in ("musicnn_zoo", "kapre")])
"""


@pytest.mark.slow
def test_a_savedmodel_needs_nothing_but_tensorflow(tmp_path):
    model = tiny()
    waveforms = probes(model.zoo_config)
    np.save(tmp_path / "waveform.npy", waveforms)
    places = [export_model(model, tmp_path / "model").path]
    places += [tmp_path / name for name in ("waveform.npy", "tags.npy")]
    done = subprocess.run(
        [sys.executable, "-c", FRESH, *map(str, places)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout == "[]\n"
    expected = model.predict_on_batch(waveforms)
    np.testing.assert_allclose(np.load(tmp_path / "tags.npy"), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_litert_file_runs_in_the_plain_interpreter(pretrained, exported, precision):
    patches, expected = pretrained[1][0]
    path = exported("model.tflite", precision).path
    from ai_edge_litert import interpreter as interpreters

    plain = interpreters.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = interpreters.Interpreter(str(path), experimental_op_resolver_type=plain)
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert taken["shape"].tolist() == [1, 48128]
    assert given["shape"].tolist() == [1, 50]
    assert taken["dtype"] == given["dtype"] == np.float32
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["waveform"], "outputs": ["tags"]}
    }
    interpreter.allocate_tensors()
    interpreter.set_tensor(taken["index"], patches[:1])
    interpreter.invoke()
    tolerance = LOSS_OF_INT8 if precision == "int8" else TOLERANCES[precision]
    scores = interpreter.get_tensor(given["index"])
    np.testing.assert_allclose(scores, expected[:1], rtol=0, atol=tolerance)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_litert_file_is_of_builtin_operations(exported, precision):
    graph = flatbuffer_utils.read_model(str(exported("model.tflite", precision).path))
    assert graph.operatorCodes
    assert not [code.customCode for code in graph.operatorCodes if code.customCode]


@needs_litert
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_the_spectrogram_stays_in_float32(exported, precision):
    graph = flatbuffer_utils.read_model(str(exported("model.tflite", precision).path))
    full = flatbuffer_utils.read_model(str(exported("model.tflite", "float32").path))

    def constant(of, shape):
        (found,) = [t for t in of.subgraphs[0].tensors if list(t.shape) == shape]
        return of.buffers[found.buffer].data

    # The two steps of the Fourier transform of 512 samples, and the mel filters.
    for shape in [34, 32], [17, 32, 32], [96, 272]:
        assert len(constant(graph, shape)) == 4 * np.prod(shape)
        assert np.array_equal(constant(graph, shape), constant(full, shape))


def test_the_ending_says_the_format(tmp_path, monkeypatch):
    seen = []

    def write(model, path, precision):
        seen.append(path.name)
        raise ExportError("enough")

    for name, exporter in EXPORTERS.items():
        monkeypatch.setitem(EXPORTERS, name, exporter._replace(write=write))
    (tmp_path / "folder.v2").mkdir()
    model = tiny()
    for name in ("a.keras", "a.onnx", "a.tflite", "a"):
        with pytest.raises(ExportError, match="enough"):
            export_model(model, tmp_path / name)
    with pytest.raises(ExportError, match="enough"):
        export_model(model, tmp_path / "folder.v2", overwrite=True)
    with pytest.raises(ExportError, match="enough"):
        export_model(model, tmp_path / "new.v2", format="savedmodel")
    with pytest.raises(ExportError, match="enough"):
        export_model(model, str(tmp_path / "a.onnx"), format="onnx")
    assert seen == ["model.keras", "model.onnx", "model.tflite", "model", "model", "model",
                    "model.onnx"]  # fmt: skip
    assert names_in(tmp_path) == ["folder.v2"]


@pytest.fixture
def no_work(monkeypatch):
    """Any work on a model fails the test."""
    for name, exporter in EXPORTERS.items():
        fail = exporter._replace(write=lambda *_: pytest.fail("work was done"))
        monkeypatch.setitem(EXPORTERS, name, fail)
    monkeypatch.setattr(export_module, "copy_onnx", lambda *_: pytest.fail("work was done"))
    monkeypatch.setattr(Pretrained, "load", lambda *_: pytest.fail("a model was loaded"))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.h5", {}, r"a\.h5.*names no format; use \.keras, \.onnx, \.tflite, none for a SavedM"),
        ("a.onnx", {"format": "litert"}, r"a\.onnx.*format litert needs \.tflite"),
        ("a", {"format": "keras"}, r"format keras needs \.keras"),
        ("a.onnx", {"format": "savedmodel"}, "savedmodel needs the name of a folder"),
        ("a.onnx", {"precision": "int8"}, "int8 goes with the format litert only; received onnx"),
        ("a", {"precision": "float16"}, "float16 goes with .*litert only; received savedmodel"),
        ("missing/a.onnx", {}, "there is no folder .*missing"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, no_work, name, options, message):
    with pytest.raises(ArgumentError, match=message):
        export_model("MTT_vgg", tmp_path / name, **options)
    assert names_in(tmp_path) == []


def test_unknown_names_are_refused(tmp_path, no_work):
    with pytest.raises(UnknownNameError, match=r"unknown export format 'tflite'.*litert"):
        export_model("MTT_vgg", tmp_path / "a.tflite", format="tflite")
    with pytest.raises(UnknownNameError, match="unknown precision 'float8'; did you mean"):
        export_model("MTT_vgg", tmp_path / "a.tflite", precision="float8")


def test_a_model_is_loaded_by_its_name(tmp_path):
    export = export_model("MTT_vgg", tmp_path / "vgg.keras")
    assert keras.saving.load_model(export.path).name == "MTT_vgg"
    with pytest.raises(UnknownNameError, match="MTT_vgg"):
        export_model("MTT_vg", tmp_path / "other.keras")
    assert names_in(tmp_path) == ["vgg.keras"]


def test_what_exists_is_refused(tmp_path, no_work):
    (tmp_path / "a.onnx").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling.onnx").symlink_to(tmp_path / "nowhere")
    for name in ("a.onnx", "folder", "dangling.onnx"):
        with pytest.raises(ArgumentError, match=rf"{name}' exists; overwrite replaces it"):
            export_model("MTT_vgg", tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == b"old"


def test_what_is_no_export_is_never_replaced(tmp_path, no_work):
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "song.mp3").touch()
    (tmp_path / "file").touch()
    (tmp_path / "folder.onnx").mkdir()
    for name, message in [
        ("music", "holds other things than a SavedModel"),
        ("file", "is a file; a SavedModel is a folder"),
        ("folder.onnx", "is a folder; name a file"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            export_model("MTT_vgg", tmp_path / name, overwrite=True)
    assert names_in(tmp_path) == ["file", "folder.onnx", "music"]
    assert names_in(tmp_path / "music") == ["song.mp3"]


@pytest.mark.parametrize(
    "name", ["a.keras", "a.onnx", pytest.param("a.tflite", marks=needs_litert)]
)
def test_overwrite_replaces_a_file_and_nothing_is_printed(tmp_path, capfd, name):
    (tmp_path / name).write_bytes(b"old")
    model = tiny()
    capfd.readouterr()
    precision = "int8" if name == "a.tflite" else "float32"
    export = export_model(model, tmp_path / name, precision=precision, overwrite=True)
    assert capfd.readouterr() == ("", "")
    assert export.size == (tmp_path / name).stat().st_size > 1000
    assert READERS[export.format](export.path)
    assert names_in(tmp_path) == [name]


def test_overwrite_replaces_a_savedmodel_and_an_empty_folder(tmp_path, capfd):
    first, second = tiny(), tiny(tags=("x", "y"))
    (tmp_path / "model").mkdir()
    capfd.readouterr()
    export_model(first, tmp_path / "model", overwrite=True)
    (tmp_path / "model" / "left over").touch()
    export_model(second, tmp_path / "model", overwrite=True)
    assert capfd.readouterr() == ("", "")
    tags = (tmp_path / "model" / "assets.extra" / "tags.txt").read_text(encoding="utf-8")
    assert tags == "x\ny\n"
    assert "left over" not in names_in(tmp_path / "model")
    assert names_in(tmp_path) == ["model"]


def test_the_old_folder_comes_back_if_the_new_one_cannot_be_put(tmp_path, monkeypatch):
    old, new = tmp_path / "model", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        (folder / folder.name).touch()
    rename = Path.rename

    def refused(path, target):
        if path == new:
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(OSError, match="No space"):
        export_module._put(new, old, tmp_path / "replaced")
    assert names_in(tmp_path) == ["model", "new"]
    assert names_in(old) == ["model"]


@pytest.mark.parametrize(
    ("name", "off", "message"),
    [
        ("a", 2e-4, r"differs from the Keras model by 2\.0e-04, more than 0\.0001"),
        ("a.keras", 2e-4, "differs .* by 2"),
        ("a.keras", np.nan, "differs .* by nan"),
        ("a.keras", np.inf, "differs .* by inf"),
    ],
)
def test_an_export_that_differs_is_refused_and_nothing_is_left(
    tmp_path, monkeypatch, one_model, name, off, message
):
    (tmp_path / "a").mkdir()
    (tmp_path / "a.keras").write_bytes(b"old")
    for form in ("keras", "savedmodel"):
        read = EXPORTERS[form].read
        shifted = EXPORTERS[form]._replace(
            read=lambda path, read=read: lambda batch: read(path)(batch) + off
        )
        monkeypatch.setitem(EXPORTERS, form, shifted)
    with pytest.raises(ExportError, match=f"tiny in .*{message}"):
        export_model(one_model, tmp_path / name, overwrite=True)
    assert names_in(tmp_path) == ["a", "a.keras"]
    assert names_in(tmp_path / "a") == []
    assert (tmp_path / "a.keras").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("precision", "off", "passes"),
    [("float16", 0.019, True), ("float16", 0.021, False), ("int8", 0.5, True),
     ("int8", np.inf, False), ("int8", np.nan, False)],
)  # fmt: skip
def test_the_limit_depends_on_the_precision(
    tmp_path, monkeypatch, one_model, precision, off, passes
):
    model = one_model

    def read(path):
        return lambda batch: np.asarray(model(batch, training=False)) + off

    stub = Exporter(lambda model, path, precision: path.write_bytes(b"graph"), read)
    monkeypatch.setitem(EXPORTERS, "litert", stub)
    if passes:
        export = export_model(model, tmp_path / "a.tflite", precision=precision)
        assert export.difference == pytest.approx(off, abs=1e-5)
        assert export.size == 5
    else:
        with pytest.raises(ExportError, match=f"litert .{precision}. differs"):
            export_model(model, tmp_path / "a.tflite", precision=precision)
        assert names_in(tmp_path) == []


def test_an_export_of_other_shape_is_refused(tmp_path, monkeypatch):
    zeros = EXPORTERS["keras"]._replace(read=lambda path: lambda batch: np.zeros((len(batch), 2)))
    monkeypatch.setitem(EXPORTERS, "keras", zeros)
    with pytest.raises(ExportError, match="differs from the Keras model by inf"):
        export_model(tiny(), tmp_path / "a.keras")


def test_the_difference_of_logits_is_relative_to_the_largest():
    expected = np.array([[40.0, -2.0, 1.0]], np.float32)
    off = expected + np.array([[0.0, 0.02, 0.0]], np.float32)
    assert difference(expected, off) == pytest.approx(5e-4, rel=1e-3)
    small = np.array([[0.5, 0.2]], np.float32)
    assert difference(small, small + 0.01) == pytest.approx(0.01)
    assert difference(small, small[:, :1]) == np.inf
    assert np.isnan(difference(small, small * np.nan))


def test_the_top_tags_are_those_of_the_highest_scores():
    expected = np.array([[0.9, 0.8, 0.7, 0.1], [0.5, 0.5, 0.5, 0.5], [0.4, 0.3, 0.2, 0.1]])
    received = np.array([[0.7, 0.8, 0.9, 0.2], [0.4, 0.6, 0.5, 0.6], [0.4, 0.3, 0.1, 0.2]])
    assert export_module._same_top_tags(expected, received) == 2
    assert export_module._same_top_tags(expected[:, :2], received[:, 2:]) == 3


def test_a_written_file_that_does_not_run_is_an_export_error(tmp_path, monkeypatch):
    text = EXPORTERS["keras"]._replace(write=lambda model, path, precision: path.write_text("no"))
    monkeypatch.setitem(EXPORTERS, "keras", text)
    with pytest.raises(ExportError, match="tiny was exported to keras, but does not run there"):
        export_model(tiny(), tmp_path / "a.keras")
    assert names_in(tmp_path) == []


@keras.saving.register_keras_serializable(package="tests")
class Unknown(keras.layers.Layer):
    """Of an operation that LiteRT does not have."""

    def call(self, x):
        return x + 0 * tf.math.digamma(x + 2)


@needs_litert
@pytest.mark.slow
def test_a_model_that_cannot_be_converted_is_an_export_error(tmp_path, capfd):
    model = tiny()
    unknown = Unknown(name="unknown")(model.output)
    model = TaggingModel(
        model.input, unknown, zoo_config=model.zoo_config, tags=model.tags, name="unconvertible"
    )
    with pytest.raises(ExportError, match=r"unconvertible cannot be exported to litert .*Digamma"):
        export_model(model, tmp_path / "a.tflite")
    assert names_in(tmp_path) == []
    assert capfd.readouterr() == ("", "")


def test_without_the_interpreter_the_message_tells_how_to_get_it(tmp_path, monkeypatch):
    for name in ("ai_edge_litert", "ai_edge_litert.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ExportError, match=r"of tiny needs .* pip install 'musicnn-zoo\[litert\]'"):
        export_model(tiny(), tmp_path / "a.tflite")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("a", "a SavedModel"),
        ("a.onnx", "an ONNX graph"),
        pytest.param("a.tflite", "a LiteRT file", marks=needs_litert),
    ],
)
def test_another_backend_of_keras_is_an_export_error(tmp_path, monkeypatch, name, what):
    model = tiny()
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ExportError, match=f"making {what} of tiny needs .*TensorFlow.* on jax"):
        export_model(model, tmp_path / name)
    assert names_in(tmp_path) == []


def test_a_folder_that_takes_nothing_is_an_output_error(tmp_path, monkeypatch):
    def refused(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(export_module.tempfile, "TemporaryDirectory", refused)
    with pytest.raises(OutputError, match=r"a\.keras: cannot be written .Read-only file system"):
        export_model(tiny(), tmp_path / "a.keras")


@pytest.mark.parametrize("name", ["a.keras", "a", "a.onnx", "a.tflite"])
def test_a_full_disk_is_an_output_error(tmp_path, monkeypatch, name):
    def write(model, path, precision):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    for name, exporter in EXPORTERS.items():
        monkeypatch.setitem(EXPORTERS, name, exporter._replace(write=write))
    with pytest.raises(OutputError, match=f"{name}: cannot be written .No space left"):
        export_model(tiny(), tmp_path / name)
    assert names_in(tmp_path) == []


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    def write(model, path, precision):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setitem(EXPORTERS, "keras", EXPORTERS["keras"]._replace(write=write))
    with pytest.raises(KeyboardInterrupt):
        export_model(tiny(), tmp_path / "a.keras")
    assert names_in(tmp_path) == []


def test_standard_error_works_again_afterwards(capfd):
    with quiet(), quiet():
        os.write(2, b"lost")
    with pytest.raises(RuntimeError), quiet():
        raise RuntimeError
    with ThreadPoolExecutor(4) as pool:
        together = threading.Barrier(4)

        def one(_):
            together.wait()
            with quiet():
                pass

        list(pool.map(one, range(4)))
    os.write(2, b"seen")
    assert capfd.readouterr().err == "seen"


@pytest.mark.parametrize("name", ["musicnn", "samplecnn", "schlueter_horizontal"])
def test_the_test_signals_are_of_many_kinds_and_the_same_each_time(name):
    config = ARCHITECTURES[name].config
    signals = probes(config)
    assert signals.shape == (7, patch_grid(config).patch_samples)
    assert signals.dtype == np.float32
    assert np.isfinite(signals).all()
    assert np.abs(signals).max() <= 1
    levels = signals.std(axis=1)
    assert levels[:4] == pytest.approx([0.3, 0.03, 0.0003, 0], rel=0.05)
    assert (levels[4:] > 0.02).all()
    assert np.array_equal(probes(config), signals)


def test_a_model_without_sigmoid_is_exported(tmp_path):
    model = tiny()
    config = dataclasses.replace(model.zoo_config, activation=None)
    logits = build_model(config, tags=model.tags, name="logits")
    logits.set_weights(model.get_weights())
    assert export_model(logits, tmp_path / "a").difference < 1e-4


@needs_litert
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_statistics_of_standardized_input_are_exported(tmp_path, precision):
    signal = LogMelInput(
        sample_rate=8000, n_fft=256, hop=128, n_mels=24, f_max=4000, shorter_windows=(128,),
        compression="decibel", padding="reflect", normalization="standardize",
    )  # fmt: skip
    model = build_model(input=signal, frontend="horizontal", patch=4000, tags=3)
    randomize(model)
    adapt(model, probes(model.zoo_config))
    export = export_model(model, tmp_path / "a.tflite", precision=precision)
    assert export.difference < (1e-4 if precision == "float32" else 2e-2)
    if precision == "float32":
        assert export_model(model, tmp_path / "a").difference < 1e-4


@needs_litert
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision"),
    [
        *((name, "float32") for name in REPRESENTATIVES),
        *((name, "float16") for name in ("short_chunk", "crnn", "musicnn")),
        *((name, "int8") for name in ("short_chunk", "crnn", "musicnn")),
    ],
)
def test_every_architecture_becomes_a_litert_file(tmp_path, name, precision):
    model = build_model(name)
    randomize(model)
    export = export_model(model, tmp_path / "a.tflite", precision=precision)
    assert export.difference < {"float32": 1e-4, "float16": 5e-3, "int8": 0.1}[precision]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zhu_multiscale", "crnn", "vgg", "musicnn_attention"])
def test_an_architecture_of_each_kind_becomes_a_savedmodel(tmp_path, name):
    """Of waveforms, recurrent, of one length, with attention: TensorFlow runs what it built."""
    model = build_model(name)
    randomize(model)
    assert export_model(model, tmp_path / "a").difference < 1e-4
