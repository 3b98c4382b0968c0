"""Places that several test modules look at."""

import importlib.util
import os
import random
import shutil
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from musicnn_zoo.machine.installation import has_keras
from musicnn_zoo.networks.architectures import ARCHITECTURES
from musicnn_zoo.zoo.catalogue import PRESETS
from musicnn_zoo.zoo.weights import bundled

if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has a core
    for _count in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(_count, "1")

ROOT = Path(__file__).parent.parent
CLIPS = ROOT / "examples" / "audio"
SHARED = ROOT.parent / "shared"
"""Reference outputs that may not be committed; tests that need them are skipped without."""


BUNDLED = [preset.name for preset in PRESETS.values() if preset.sources[0].kind == "bundled"]
"""Models whose weights and graphs are in the package; the others are downloaded."""


def _smallest_with_each_block() -> list[str]:
    """Architectures that have all blocks between them; the others differ in size and pairs."""
    chosen: list[str] = []
    seen: set[str] = set()
    for one in sorted(ARCHITECTURES.values(), key=lambda architecture: architecture.parameters):
        blocks = {block.kind for _, block in one.config.blocks()}
        if not blocks <= seen:
            chosen.append(one.name)
            seen |= blocks
    return sorted(chosen)


REPRESENTATIVES = _smallest_with_each_block()


def bundled_graph(name: str) -> Path:
    graph = PRESETS[name].graph
    assert graph is not None
    return bundled(graph)


SECONDS = {
    "test_export": 37,
    "test_training": 37,
    "test_stores": 34,
    "test_audio_clips": 28,
    "test_docs_blocks": 26,
    "test_onnx_graph": 24,
    "test_tagger_files": 20,
    "test_collection": 20,
    "test_isolation": 19,
    "test_cli_learning": 28,
    "test_cli_runs": 12,
    "test_cli": 16,
    "test_augmentation": 16,
    "test_models": 15,
    "test_remote": 15,
    "test_write_back": 20,
    "test_beets": 20,
    "test_blocks": 13,
    "test_audiomuse": 13,
    "test_hub": 11,
    "test_tagger": 11,
    "test_web_tutorial": 11,
    "test_evaluation": 11,
    "test_parity": 10,
    "test_engines": 10,
    "test_downloads": 8,
    "test_folders": 8,
    "test_audio": 8,
    "test_architectures": 6,
    "test_forks": 6,
    "test_subsonic": 6,
}
"""What files of many seconds take, the slow tests aside: those of the most begin first."""


def _missing() -> dict[str, str]:
    """Why tests with a marker cannot run here."""
    missing = {}
    if importlib.util.find_spec("torch") is None:
        missing["torch"] = "PyTorch is not installed"
    if importlib.util.find_spec("ray") is None:
        missing["ray"] = "Ray is not installed: the extra 'ray'"
    if importlib.util.find_spec("playwright") is None:
        missing["browser"] = "Playwright is not installed"
    elif not (shutil.which("chromium") or shutil.which("chromium-browser")):
        missing["browser"] = "Chromium is not installed"
    if shutil.which("node") is None:
        missing["node"] = "Node.js is not installed"
    return missing


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out what imports Keras where there is none, as in a light installation."""
    if collection_path.suffix != ".py" or has_keras():
        return None
    return "pytest.mark.light" not in collection_path.read_text(encoding="utf-8") or None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Let pytest-xdist hand out the files in the order of collection, not by numbers of tests."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: -SECONDS.get(item.path.stem, 0))
    missing = _missing()
    for item in items:
        for marker, reason in missing.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("new_examples", deadline=None)
settings.load_profile("repeatable")


def _seed(name: str) -> None:
    """Make weights, dropout and shuffling depend on a name only, not on the day."""
    number = zlib.crc32(name.encode())
    random.seed(number)
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(number)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: Any) -> Iterator[None]:
    parameter = getattr(request, "param_index", 0)
    _seed(f"{fixturedef.baseid}::{fixturedef.argname}[{parameter}]")
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    _seed(item.nodeid)
    return (yield)


@pytest.fixture(autouse=True, scope="session")
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the graphs of test models out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSICNN_ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="module")
def _folder_as_it_was() -> Iterator[None]:
    """See that the tests of a file leave the process where they found it."""
    before = Path.cwd()
    yield
    assert Path.cwd() == before


@pytest.fixture(scope="session")
def web_runtime(_cache_of_its_own: None) -> Path:
    """Folder of onnxruntime-web, taken from where MUSICNN_ZOO_RUNTIME says; mediabunny as well."""
    from musicnn_zoo.web.runtime import ONNXRUNTIME, PACKAGES, find_runtime

    place = os.environ.get("MUSICNN_ZOO_RUNTIME")
    if not place:
        packages = " ".join(map(str, PACKAGES))
        pytest.skip(f"no runtime: npm pack {packages}, and MUSICNN_ZOO_RUNTIME names the first")
    return next(iter(find_runtime(Path(place))[ONNXRUNTIME.name].values())).parent


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("chromium-browser"),
            args=[
                "--no-sandbox",
                "--autoplay-policy=no-user-gesture-required",
                "--use-fake-device-for-media-stream",
            ],
        )
        yield browser
        browser.close()
