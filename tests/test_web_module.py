"""The JavaScript module in Node: it gives what the Python package gives."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import soundfile
import soxr
from conftest import BUNDLED, CLIPS, ROOT
from docs_blocks import blocks_of
from helpers_audio import TECHNO
from helpers_web import MODULE, as_sound, in_node

import musicnn_zoo
from musicnn_zoo.networks.config import ModelConfig
from musicnn_zoo.networks.patches import PatchGrid, PatchStream
from musicnn_zoo.sound.read import load_audio
from musicnn_zoo.web.site import write_models

pytestmark = pytest.mark.node

MODELS = ["MSD_musicnn", "MTT_vgg"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Folder with the folders of the models."""
    folder = tmp_path_factory.mktemp("web") / "a b#c?d%20é"
    write_models(folder, models=MODELS)
    return folder


def expected(signal, rate, model, hop_s):
    given = {"model": model, "sample_rate": rate}
    return (
        musicnn_zoo.tag(signal, top_k=50, **given),
        musicnn_zoo.taggram(signal, hop_s=hop_s, **given),
        musicnn_zoo.embed(signal, **given),
    )


def assert_equal(found, wanted, tolerance):
    tags, taggram, embedding = wanted
    received = {each["tag"]: each["score"] for each in found["tags"]}
    wanted_scores = dict(tags) if len(tags) else {}  # of silence nothing is ranked
    assert received == pytest.approx(wanted_scores, abs=tolerance)
    assert [each["tag"] for each in found["tags"][:3]] == list(tags.names[:3])
    times, scores, silent = (
        [row[name] for row in found["rows"]] for name in ("time", "scores", "silent")
    )
    np.testing.assert_allclose(times, taggram.times, atol=1e-9)
    np.testing.assert_allclose(scores, taggram.scores, atol=tolerance)
    assert silent == taggram.silent.tolist()
    assert list(found["clip"].values()) == pytest.approx(
        [taggram.clip.duration_s, taggram.clip.repeated, taggram.clip.dropped_s,
         taggram.clip.silent], abs=1e-9)  # fmt: skip
    spread = np.abs(embedding.values).max()
    np.testing.assert_allclose(found["embedding"], embedding.values, atol=tolerance * spread)


@pytest.mark.parametrize(("model", "hop_s"), zip(MODELS, (1, None), strict=True))
def test_the_shipped_clips_have_the_same_scores(base, web_runtime, tmp_path, model, hop_s) -> None:
    clips = [load_audio(path).samples for path in sorted(CLIPS.glob("*.ogg"))]
    sounds = [as_sound(tmp_path / f"{n}", clip, 16_000) for n, clip in enumerate(clips)]
    ran = in_node("score", model=model, base=base, runtime=web_runtime, sounds=sounds, hopS=hop_s)
    assert ran["info"]["tags"] == list(musicnn_zoo.model_info(model).tags)
    assert len(clips) == len(ran["found"]) == 3
    for clip, found in zip(clips, ran["found"], strict=True):
        assert_equal(found, expected(clip, 16_000, model, hop_s), 1e-5)


def at_rate(signal, rate):
    return soxr.resample(signal.T, 44_100, rate).T


def odd_signals():
    """What is none of the ordinary: rates, channels, lengths, silence."""
    signal, rate = soundfile.read(TECHNO, dtype="float32", always_2d=True, frames=7 * 44_100)
    techno = signal.T
    assert rate == 44_100
    gains = np.linspace(-0.2, 1, 8, dtype=np.float32)[:, np.newaxis]
    silence = np.zeros(4 * 44_100, np.float32)
    return {
        "44.1 kHz": (techno, rate),
        "48 kHz": (at_rate(techno, 48_000), 48_000),
        "192 kHz": (at_rate(techno, 192_000), 192_000),
        "8 kHz": (at_rate(techno, 8_000), 8_000),
        "44,101 Hz": (at_rate(techno, 44_101), 44_101),
        "8 channels": (gains * techno[0], rate),
        "half a second": (techno[:, :22_050], rate),
        "silence": (silence, rate),
        "silence first": (np.concatenate([silence, techno[0]]), rate),
        "quiet": (techno * 1e-4, rate),
    }


def test_any_rate_length_and_number_of_channels(base, web_runtime, tmp_path) -> None:
    given = odd_signals()
    sounds = [as_sound(tmp_path / name, *sound) for name, sound in given.items()]
    model = MODELS[0]
    ran = in_node("score", model=model, base=base, runtime=web_runtime, sounds=sounds, hopS=None)
    for name, found in zip(given, ran["found"], strict=True):
        assert len(found["tags"]) == (0 if name in ("silence", "quiet") else 50), name
        assert_equal(found, expected(*given[name], model, None), 5e-3)


def test_blocks_give_what_the_whole_gives(base, web_runtime, tmp_path) -> None:
    signal, rate = odd_signals()["44.1 kHz"]
    whole = [signal.shape[1]]
    ran = in_node(
        "blocks", model=MODELS[0], base=base, runtime=web_runtime,
        sound=as_sound(tmp_path / "s", signal, rate), sizes=[whole, [4096], [1, 7, 100_000]],
    )  # fmt: skip
    first, *others = ran
    assert len(first["rows"]) == 5
    assert all(other == first for other in others)


def test_what_goes_wrong_is_said(base, web_runtime, tmp_path) -> None:
    damaged = shutil.copytree(base / "models" / MODELS[0], tmp_path / "damaged")
    graph = damaged / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"?")
    ran = in_node(
        "failures", model=MODELS[0], base=base, runtime=web_runtime, damaged=damaged.as_uri()
    )
    best, rows, afterwards, is_audio_error = (
        ran.pop(name) for name in ("best", "rows", "afterwards", "isAudioError")
    )
    assert (best, rows, afterwards, is_audio_error) == (5, 1, 1, True)
    said = {name: (each["name"], each["message"]) for name, each in ran.items()}
    for name, (kind, part) in {
        "name": ("ModelError", "MTT_nothing/model.json: the model cannot be read"),
        "runtime": ("RuntimeLoadError", "nowhere"),
        "damaged": ("ModelError", "the graph was changed or damaged; its SHA-256 must be"),
        "threads": ("ArgumentError", "threads must be a whole number from 1; received 0"),
        "topK": ("ArgumentError", "topK must be a whole number from 1; received 0"),
        "hopS": ("ArgumentError", "hopS must be a positive number of seconds"),
        "short": ("ArgumentError", "hopS must be at least 0.032 (one frame); received 0.001"),
        "rate": ("ArgumentError", "sampleRate must be a whole number from 1000"),
        "noRate": ("ArgumentError", "sampleRate must be a whole number from 1000"),
        "list": ("ArgumentError", "samples must be a Float32Array, or an array of them"),
        "kind": ("ArgumentError", "audio must be an AudioBuffer"),
        "channels": ("ArgumentError", "all channels must have one length; received 16000, 5"),
        "empty": ("AudioError", "the sound holds no samples"),
        "nan": ("AudioError", "the sound has a sample of NaN"),
        "source": ("RangeError", "the source broke"),
        "aborted": ("AbortError", ""),
        "abortedBefore": ("AbortError", ""),
        "abortedLoad": ("AbortError", ""),
        "disposed": ("TaggerError", "the tagger was disposed of"),
        "afterDispose": ("TaggerError", "the tagger was disposed of"),
    }.items():
        assert said[name][0] == kind, name
        assert part in said[name][1], name
    assert len(said) == 20


@pytest.mark.parametrize("page", [ROOT / "docs" / "web.md", MODULE / "README.md"], ids=str)
def test_the_example_of_the_documentation_runs(base, web_runtime, tmp_path, page) -> None:
    (block,) = (each.code for each in blocks_of(page) if each.language == "js")
    sound = as_sound(tmp_path / "techno", load_audio(TECHNO).samples, 16_000)
    options = json.dumps({"base": str(base), "runtime": str(web_runtime)})
    code, changes = re.subn(r"\{ runtime: .*? \}", lambda _: options, block)
    assert changes == 1
    before = f"""
        import {{ readFileSync }} from "node:fs";
        const bytes = new Uint8Array(readFileSync({json.dumps(sound["file"])}));
        const audioBuffer = {{ samples: new Float32Array(bytes.buffer), sampleRate: 16000 }};
        let drawn = 0;
        const draw = (time, scores) => (drawn += scores.length);
    """
    script = tmp_path / "example.mjs"
    code = code.replace('"musicnn-zoo-web"', json.dumps((MODULE / "tagger.js").as_uri()))
    script.write_text(f"{before}\n{code}\nconsole.log(drawn, vector.length);", encoding="utf-8")
    ran = subprocess.run(["node", script], capture_output=True, text=True, check=True, timeout=60)
    shown, numbers = ran.stdout.rsplit("\n", 2)[:2]
    assert re.findall(r"tag: '(\w+)', score: (0\.\d\d)", shown)[0] == ("electronic", "0.33")
    assert numbers == "1500 200"


def test_patches_lie_where_they_lie_in_python() -> None:
    """Hops longer than a patch, signals shorter than one, blocks of any size, no padding."""
    draw = np.random.default_rng(0)
    grids = []
    for _ in range(150):
        padded = draw.random() < 0.7
        hop, window = (int(draw.integers(1, 5)), int(draw.integers(4, 9))) if padded else (1, 1)
        hop_s = None if draw.random() < 0.4 else float(draw.integers(2, 50)) / 2
        grids.append(
            {
                "grid": {"patch": int(draw.integers(2, 12)), "frameHop": hop, "window": window,
                         "padding": window // 2 if padded else 0},
                "rate": 10, "hopS": hop_s,
                "length": int(draw.integers(1, 200)),
                "sizes": draw.integers(1, 60, 4).tolist(),
            }
        )  # fmt: skip
    for order, found in zip(grids, in_node("patches", grids=grids), strict=True):
        given = order["grid"]
        grid = PatchGrid(
            given["patch"], given["patch"], given["frameHop"], given["window"], given["padding"],
            order["rate"],
        ).of_lengths(None, order["hopS"])  # fmt: skip
        stream = PatchStream(grid)
        signal = np.arange(1, order["length"] + 1, dtype=np.float32)
        patches = np.concatenate([stream.feed(signal), stream.finish()])
        np.testing.assert_array_equal(np.reshape(found["patches"], patches.shape), patches)
        assert found["repeated"] == stream.repeated
        if not stream.repeated:
            assert found["dropped"] == pytest.approx(stream.dropped_s)


RATES = (8_000, 11_025, 22_050, 44_100, 44_101, 48_000, 96_000, 176_400, 192_000)


def test_it_resamples_as_well_as_soxr(tmp_path) -> None:
    """A sweep to 0.9 of the lower Nyquist frequency, against the sweep at the target rate."""
    seconds = 2

    def sweep(rate, top):
        t = np.arange(seconds * rate) / rate
        return 0.5 * np.sin(np.pi * top * t**2 / seconds)

    def error(signal, wanted):
        inside = slice(1600, len(wanted) - 1600)
        difference = signal[inside] - wanted[inside]
        return 10 * np.log10(np.mean(difference**2) / np.mean(wanted[inside] ** 2))

    rates = []
    for rate in RATES:
        top = 0.45 * min(rate, 16_000)
        file = as_sound(tmp_path / f"{rate}", sweep(rate, top), rate)["file"]
        rates.append({"rate": rate, "file": file})
    in_node("resample", rates=rates, sizes=[997, 44_100])
    for rate in RATES:
        top = 0.45 * min(rate, 16_000)
        wanted = sweep(16_000, top)
        ours = np.fromfile(tmp_path / f"{rate}.16k", "<f4")
        assert len(ours) == seconds * 16_000
        theirs = soxr.resample(sweep(rate, top).astype(np.float32), rate, 16_000, quality="HQ")
        assert error(ours, wanted) < max(-110, error(theirs, wanted) + 3), rate


def test_what_would_fold_back_is_stopped(tmp_path) -> None:
    t = np.arange(2 * 48_000) / 48_000
    file = as_sound(tmp_path / "high", 0.5 * np.sin(2 * np.pi * 8_100 * t), 48_000)["file"]
    in_node("resample", rates=[{"rate": 48_000, "file": file}], sizes=[10_000])
    rest = np.fromfile(tmp_path / "high.16k", "<f4")[2_000:-2_000]
    assert 20 * np.log10(np.abs(rest).max() / 0.5) < -110


def test_the_package_that_npm_packs_works(web_runtime, tmp_path) -> None:
    """Packed in a copy of the repository, unpacked beside the runtime, and imported by its name."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    ignored = shutil.ignore_patterns("__pycache__", "models", "node_modules")
    shutil.copytree(ROOT / "musicnn_zoo", tmp_path / "copy" / "musicnn_zoo", ignore=ignored)
    (tmp_path / "copy" / "weights").symlink_to(ROOT / "weights")
    paths = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])  # noqa: PTH120
    environment = {**os.environ, "PATH": paths, "npm_config_offline": "true",
                   "npm_config_update_notifier": "false"}  # fmt: skip
    environment.pop("PYTHONPATH", None)
    subprocess.run(
        [npm, "pack", "--silent", "--pack-destination", str(tmp_path)],
        cwd=tmp_path / "copy" / "musicnn_zoo" / "web", env=environment, check=True, timeout=120,
        capture_output=True,
    )  # fmt: skip
    (packed,) = tmp_path.glob("musicnn-zoo-web-*.tgz")
    assert packed.name == f"musicnn-zoo-web-{musicnn_zoo.__version__}.tgz"
    with tarfile.open(packed) as archive:
        names = {name.removeprefix("package/") for name in archive.getnames()}
        archive.extractall(tmp_path, filter="data")
    code = {path.name for pattern in ("*.js", "*.d.ts") for path in MODULE.glob(pattern)}
    models = {
        f"models/{name}/{file}"
        for name in BUNDLED
        for file in ("model.json", "model.onnx", "LICENSE")
    }
    assert names == {*code, *models, "package.json", "README.md", "LICENSE"}
    modules = tmp_path / "node_modules"
    modules.mkdir()
    (tmp_path / "package").rename(modules / "musicnn-zoo-web")
    (modules / "onnxruntime-web").mkdir()
    (modules / "onnxruntime-web" / "package.json").write_text(
        '{"name": "onnxruntime-web", "type": "module",'
        ' "exports": {"./wasm": "./dist/ort.wasm.min.mjs"}}'
    )
    (modules / "onnxruntime-web" / "dist").symlink_to(web_runtime)
    script = tmp_path / "main.mjs"
    script.write_text(
        'import { load } from "musicnn-zoo-web";\n'
        'const tagger = await load("MTT_musicnn");\n'
        "const samples = Float32Array.from({ length: 64000 }, (_, n) => Math.sin(0.17 * n) / 2);\n"
        "const [best] = await tagger.tag({ samples, sampleRate: 16000 });\n"
        "console.log(best.tag, best.score);\n"
    )
    ran = subprocess.run(["node", script], capture_output=True, text=True, check=True, timeout=60)
    samples = np.sin(0.17 * np.arange(64_000)).astype(np.float32) / 2
    ((tag, score),) = musicnn_zoo.tag(samples, sample_rate=16_000, top_k=1)
    said, number = ran.stdout.rsplit(" ", 1)
    assert said == tag
    assert float(number) == pytest.approx(score, abs=1e-5)


@pytest.mark.slow
def test_a_model_of_ones_own_on_the_waveform(web_runtime, tmp_path) -> None:
    """A graph that is not bundled, of patches of samples."""
    from musicnn_zoo import build_model

    config = {
        "input": {"kind": "waveform", "sample_rate": 22_050},
        "frontend": {"kind": "frame_level", "filters": 6, "stack": [4, 5]},
        "backend": {"kind": "temporal_pooling", "units": 8},
        "patch": 30_000,
    }
    model = build_model(ModelConfig.from_dict(config), tags=["a", "b"], name="mine")
    saved = tmp_path / "saved.keras"
    model.save(saved)
    (place,) = write_models(tmp_path, models=[saved])
    signal = np.asarray(load_audio(TECHNO, target_rate=22_050))[: 5 * 22_050]
    ran = in_node(
        "score", model=place.as_uri(), runtime=web_runtime, hopS=1.5,
        sounds=[as_sound(tmp_path / "s", signal, 22_050)],
    )  # fmt: skip
    assert_equal(ran["found"][0], expected(signal, 22_050, saved, 1.5), 1e-5)
