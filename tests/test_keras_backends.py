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
for name in musicnn_zoo.list_models():
    tagger = musicnn_zoo.Tagger(name)
    for clip in sys.argv[3:]:
        scores = tagger.taggram(clip).scores
        stem = clip.rpartition("/")[2].partition(".")[0]
        expected = (
            np.load(f"{golden}/{name}.npz")[f"{stem}.taggram"] if clips == "golden"
            else np.load(f"{golden}/{stem}.{name}.npz")["taggram"]
        )
        print(name, stem, float(np.abs(scores - expected).max()))
assert keras.backend.backend() != "tensorflow"
assert not {"tensorflow", "kapre"} & set(sys.modules)
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
np.testing.assert_array_equal(copy.predict(x, verbose=0), model.predict(x, verbose=0))
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

        x = np.random.default_rng(0).normal(0, 0.1, (2, 48128)).astype("float32")
        here = keras.saving.load_model(path).predict(x, verbose=0)
        np.testing.assert_allclose(here, np.load(f"{path}.npy"), atol=1e-5)


BLOCKS = """
import numpy as np, musicnn_zoo
from musicnn_zoo.blocks import block_names, block_spec
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
import musicnn_zoo
from musicnn_zoo.logmel import LogMel
for attempt in (lambda: LogMel(implementation="kapre"), lambda: musicnn_zoo.Tagger(device="cpu")):
    try:
        attempt()
    except musicnn_zoo.ArgumentError as error:
        print(error)
"""
    kapre, device = run(backend, code).splitlines()
    assert f"implementation='kapre' under {backend}: use 'portable'" in kapre
    assert f"device='cpu' under {backend}" in device
