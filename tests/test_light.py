"""The light installation of docs/light.md: its list is true, and what it promises works with it.

The commands run in a process that can import what the list brings, and nothing else that is
installed here.
"""

import json
import re
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any

import pytest
import soundfile
from conftest import CLIPS, ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from musicnn_zoo.runtimes.engine import choose_engine
from musicnn_zoo.zoo.catalogue import PRESETS

pytestmark = [pytest.mark.platform, pytest.mark.light]

LIGHT = ROOT / "docs" / "light"
WITHOUT = {"tensorflow", "keras", "kapre", "librosa", "scikit-learn"}
"""Dependencies that the light installation leaves out."""
ABSENT = {
    *("tensorflow", "keras", "kapre", "librosa", "numba", "sklearn", "scipy"),
    *("matplotlib", "pandas", "onnx", "tf2onnx", "jax", "torch", "umap"),
}
"""Modules that must be blocked, whatever the list brings."""

WORKS = """
tag techno.wav
tag music --output tags.parquet
tag music --output tags.csv
tag music --output tags.jsonl --model MSD_vgg
taggram techno.wav --hop 1
events techno.wav --output events.jsonl
embed music --output embeddings.parquet
embed music --output pools.npz --model MTT_vgg --layer pool5
map music --output map.csv
listen techno.wav --output page.html
index music --library library.sqlite --layer penultimate --layer timbral
find 'techno > 0' --library library.sqlite --output found.m3u8
similar techno.wav --library library.sqlite --format json
playlist --cluster 2 --library library.sqlite
describe techno.wav --library library.sqlite
app --only-models models --model MTT_vgg
export MSD_musicnn --output MSD_musicnn.onnx
models
models --untrained
info MTT_musicnn
info MTT_fcn
info samplecnn
""".strip().splitlines()

NEEDS = {
    "tag techno.wav --engine tensorflow": "tensorflow",
    "tag techno.wav --engine jax": "keras jax",
    "tag techno.wav --device gpu": "tensorflow",
    "taggram techno.wav --precision float16": "tensorflow",
    "tag techno.wav --model MTT_fcn": "tensorflow",
    "embed music --output x.npz --layer logits": "tensorflow",
    "index music --library other.sqlite --layer logits": "tensorflow",
    "export MTT_vgg --output MTT_vgg.keras": "tensorflow",
    "export MTT_vgg --output MTT_vgg.tflite": "tensorflow",
    "export MTT_vgg --format savedmodel --output saved": "tensorflow",
    "export MTT_fcn --output MTT_fcn.onnx": "tensorflow",
    "train --architecture vgg --data music --output trained": "tensorflow",
    "finetune music --output tuned": "tensorflow",
    "evaluate MTT_vgg music": "scikit-learn",
}


def stated() -> list[Requirement]:
    lines = (LIGHT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def project() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8")))


def blocked() -> set[str]:
    """Modules of all packages but those that the list brings."""
    brought: set[str] = set()
    waiting = stated()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        of_here = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if name in brought or not of_here:
            continue
        brought.add(name)
        try:
            waiting += map(Requirement, requires(name) or ())
        except PackageNotFoundError:
            continue
    others = {
        module
        for module, packages in packages_distributions().items()
        if not {canonicalize_name(package) for package in packages} & brought
    }
    return (others | ABSENT) - {"musicnn_zoo"}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the commands gave, in a folder with some music."""
    folder = tmp_path_factory.mktemp("light")
    for clip in sorted(CLIPS.glob("*.ogg")):
        samples, rate = soundfile.read(clip, frames=4 * 44_100)
        (folder / "music" / clip.stem).mkdir(parents=True)
        soundfile.write(folder / "music" / clip.stem / "beginning.flac", samples, rate)
    soundfile.write(folder / "techno.wav", samples, rate)
    order = {
        "blocked": sorted(blocked()),
        "commands": [shlex.split(command) for command in (*WORKS, *NEEDS)],
        "page": "techno.wav",
    }
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("light_session.py")],
        input=json.dumps(order), capture_output=True, text=True, cwd=folder, timeout=300,
        check=False,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    found["commands"] = dict(zip((*WORKS, *NEEDS), found["commands"], strict=True))
    return found


def test_the_list_has_the_bounds_of_the_project() -> None:
    ours = [Requirement(line) for line in project()["project"]["dependencies"]]
    assert {requirement.name for requirement in ours} >= WITHOUT
    kept = [str(requirement) for requirement in ours if requirement.name not in WITHOUT]
    assert list(map(str, stated())) == kept


def test_the_dockerfile_copies_all_that_the_package_is_built_of() -> None:
    text = (LIGHT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert all((ROOT / source).exists() for source in copied)
    metadata = project()
    wheel = metadata["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        "pyproject.toml", metadata["project"]["readme"], *metadata["project"]["license-files"],
        *wheel["packages"], *wheel["force-include"],
    }  # fmt: skip
    assert not {path for path in needed if path not in copied and Path(path).parts[0] not in copied}
    assert "docs/light/requirements.txt" in copied


@pytest.mark.parametrize("command", WORKS)
def test_works_without(session: dict[str, Any], command: str) -> None:
    code, printed = session["commands"][command]
    assert code == 0, printed


@pytest.mark.parametrize(("command", "package"), NEEDS.items())
def test_says_what_it_needs(session: dict[str, Any], command: str, package: str) -> None:
    code, printed = session["commands"][command]
    assert re.fullmatch(
        rf"Error: .+ needs (Keras|scikit-learn), which is not installed: pip install {package}\n",
        printed,
    )
    assert code == 2


def test_names_that_need_keras_say_so(session: dict[str, Any]) -> None:
    raised = session["names"]
    assert {"build_model", "TaggingModel", "augment", "train_model", "Embedder"} <= set(raised)
    assert not {"Tagger", "load_model", "evaluate_model", "export_model", "tag"} & set(raised)
    for name, told in raised.items():
        assert told.startswith(f"MissingPackageError: musicnn_zoo.{name} needs "), told
    assert raised["Embedder"].endswith("pip install scikit-learn")
    *bases, message = session["loading"]
    assert {"MusicnnZooError", "ImportError"} <= set(bases)
    assert message.endswith("needs Keras, which is not installed: pip install tensorflow")


def test_a_gpu_without_keras_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musicnn_zoo.runtimes.engine._may_have_gpu", lambda: True)
    monkeypatch.setattr("musicnn_zoo.runtimes.engine.has_keras", lambda: False)
    assert choose_engine("auto", device=None, precision="float32") == "onnxruntime"


def test_pages_and_features(session: dict[str, Any]) -> None:
    assert session["page"] == 200
    assert tuple(session["endpoints"]) == PRESETS["MTT_musicnn"].spec.config.endpoints
