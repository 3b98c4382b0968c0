"""The same code on JAX and PyTorch: same numbers, no TensorFlow, no Kapre.

Keras takes one backend a process, so each test runs a script in a process of its own.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import CLIPS, ROOT, SHARED

BACKENDS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(name) is None, reason=f"{name} is not installed"
        ),
    )
    for name in ("jax", "torch")
]
pytestmark = pytest.mark.slow


def run(backend: str, code: str, *arguments: object) -> str:
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=900, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


PARITY = """
import sys, numpy as np, musicnn_zoo, keras
golden, clips = sys.argv[1:3]
backend = keras.backend.backend()
for name in ("MTT_musicnn", "MSD_musicnn", "MTT_vgg", "MSD_vgg"):
    tagger = musicnn_zoo.Tagger(name, engine=backend)
    assert tagger.engine == backend
    for clip in sys.argv[3:]:
        scores = tagger.taggram(clip).scores
        stem = clip.rpartition("/")[2].partition(".")[0]
        expected = (
            np.load(f"{golden}/{name}.npz")[f"{stem}.taggram"] if clips == "golden"
            else np.load(f"{golden}/{stem}.{name}.npz")["taggram"]
        )
        print(name, stem, float(np.abs(scores - expected).max()))
assert backend != "tensorflow"
assert not {"tensorflow", "kapre", "onnxruntime"} & set(sys.modules)
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_pretrained_models_give_the_golden_taggrams(backend: str) -> None:
    clips = [CLIPS / "techno_loop.ogg", CLIPS / "bach_prelude_harpsichord.ogg"]
    lines = run(backend, PARITY, ROOT / "tests" / "golden", "golden", *clips).splitlines()
    assert len(lines) == 8
    assert max(float(line.split()[-1]) for line in lines) < 1e-4


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the reference outputs are not at {SHARED}")
@pytest.mark.parametrize("backend", BACKENDS)
def test_pretrained_models_give_the_taggrams_of_the_original(backend: str) -> None:
    audio = SHARED / "reference" / "audio"
    clips = [audio / "joram.mp3", audio / "techno_loop.ogg"]
    lines = run(backend, PARITY, SHARED / "reference" / "musicnn", "original", *clips).splitlines()
    assert len(lines) == 8
    assert max(float(line.split()[-1]) for line in lines) < 1e-4


SAVE_AND_TRAIN = """
import sys, numpy as np, keras, musicnn_zoo
path = sys.argv[1]
x = np.random.default_rng(0).normal(0, 0.1, (2, 48128)).astype("float32")
model = musicnn_zoo.load_model("MTT_musicnn")
model.save(path)
copy = keras.saving.load_model(path)
for received, expected in zip(copy.get_weights(), model.get_weights(), strict=True):
    np.testing.assert_array_equal(received, expected)
expected = model.predict(x, verbose=0)
np.testing.assert_allclose(copy.predict(x, verbose=0), expected, rtol=0, atol=1e-6)
np.save(path + ".npy", model.predict(x, verbose=0))
for architecture in ("musicnn", "dieleman_waveform", "crnn", "musicnn_attention"):
    model = musicnn_zoo.build_model(architecture, tags=2)
    before = [np.array(keras.ops.convert_to_numpy(w)) for w in model.trainable_weights]
    model.compile("adam", "binary_crossentropy")
    history = model.fit(x, np.eye(2, dtype="float32"), verbose=0)
    after = [keras.ops.convert_to_numpy(w) for w in model.trainable_weights]
    assert np.isfinite(history.history["loss"][0])
    assert np.mean([not np.array_equal(a, b) for a, b in zip(before, after)]) > 0.8
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_saves_loads_and_trains(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    run(backend, SAVE_AND_TRAIN, path)
    if importlib.util.find_spec("tensorflow") is not None:
        import keras

        import musicnn_zoo.networks.build  # noqa: F401  (registers what the file names)

        x = np.random.default_rng(0).normal(0, 0.1, (2, 48128)).astype("float32")
        here = keras.saving.load_model(path).predict(x, verbose=0)
        np.testing.assert_allclose(here, np.load(f"{path}.npy"), atol=1e-5)


BLOCKS = """
import numpy as np, musicnn_zoo
from musicnn_zoo.networks.config import block_names, block_spec
x = np.random.default_rng(0).normal(0, 0.1, (2, 61000)).astype("float32")
backends = [b for b in block_names("backend") if not block_spec(b, "backend").fixed_length]
for frontend in block_names("frontend"):
    options = {"filters": [4, 4]} if frontend == "sample_level" else {}
    if frontend == "short_chunk":
        options = {"filters": [4, 4, 4]}
    for backend in backends if frontend == "vertical" else backends[:1]:
        model = musicnn_zoo.build_model(frontend={"kind": frontend, **options}, backend=backend)
        assert np.isfinite(model.predict(x, verbose=0)).all(), (frontend, backend)
        print(frontend, backend)
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_block_builds_and_runs(backend: str) -> None:
    assert len(run(backend, BLOCKS).splitlines()) == 14


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_backend_cannot_do_it_says(backend: str) -> None:
    code = """
import keras
import musicnn_zoo
from musicnn_zoo.networks.logmel import LogMel
backend = keras.backend.backend()
for attempt in (
    lambda: LogMel(implementation="kapre"),
    lambda: musicnn_zoo.Tagger(engine=backend, device="cpu"),
    lambda: musicnn_zoo.Tagger(device="gpu"),
    lambda: musicnn_zoo.Tagger(engine="tensorflow"),
    lambda: musicnn_zoo.Tagger(musicnn_zoo.build_model("fcn"), engine="onnxruntime"),
):
    try:
        attempt()
    except musicnn_zoo.MusicnnZooError as error:
        print(type(error).__name__, error)
"""
    kapre, cpu, gpu, engine, conversion = run(backend, code).splitlines()
    assert f"implementation='kapre' under {backend}: use 'portable'" in kapre
    assert cpu.startswith("DeviceError")
    assert f"device='cpu' under {backend}" in cpu
    assert f"device='gpu' under {backend}" in gpu
    assert f"runs on {backend} here; received engine='tensorflow'" in engine
    assert conversion.startswith("ExportError")
    assert "needs Keras's TensorFlow backend (KERAS_BACKEND=tensorflow)" in conversion
    assert f"it runs on {backend} here" in conversion


ENGINES = """
import sys, numpy as np, musicnn_zoo
clip, backend = sys.argv[1:]
in_keras = musicnn_zoo.Tagger("MTT_vgg", engine=backend)
by_default = musicnn_zoo.Tagger("MTT_vgg", device="cpu")
assert (in_keras.engine, by_default.engine) == (backend, "onnxruntime")
ours, theirs = in_keras.features(clip, hop_s=2.5), by_default.features(clip, hop_s=2.5)
for layer in in_keras.endpoints:
    print(layer, np.abs(ours[layer] - theirs[layer]).max() / np.abs(theirs[layer]).max())
model = musicnn_zoo.build_model("dieleman_mel", tags=2)
tagger = musicnn_zoo.Tagger(model, engine=backend)
many = [dict(r.unwrap()) for r in tagger.tag_files([clip, clip])]
model.set_weights([w * 0 for w in model.get_weights()])
assert set(dict(tagger.tag(clip)).values()) == {0.5} and 0.5 not in many[0].values()
np.testing.assert_allclose(list(many[0].values()), list(many[1].values()), atol=1e-6)
half = musicnn_zoo.Tagger("MTT_vgg", engine=backend, precision="bfloat16")
(one,), (other,) = (t.tag_files([clip], top_k=50) for t in (half, by_default))
assert one.unwrap()[0].tag == other.unwrap()[0].tag
half_scores = dict(one.unwrap())
assert max(abs(score - half_scores[tag]) for tag, score in other.unwrap()) < 5e-2
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_gives_the_same_as_onnx_runtime_beside_it(backend: str) -> None:
    lines = run(backend, ENGINES, CLIPS / "techno_loop.ogg", backend).splitlines()
    assert len(lines) == 6
    assert max(float(line.split()[-1]) for line in lines) < 1e-4
