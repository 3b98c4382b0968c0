"""Places that several test modules look at."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

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


BUNDLED = [preset.name for preset in PRESETS.values() if preset.source().kind == "bundled"]
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
    "test_onnx_graph": 219,
    "test_audio_clips": 216,
    "test_stores": 151,
    "test_docs_blocks": 146,
    "test_augmentation": 136,
    "test_training": 117,
    "test_export": 107,
    "test_hub": 106,
    "test_tagger_files": 106,
    "test_cli": 85,
    "test_parity": 84,
    "test_architectures": 72,
    "test_examples_data": 66,
    "test_engines": 63,
    "test_models": 61,
    "test_isolation": 60,
    "test_audio": 52,
    "test_examples": 49,
    "test_cli_learning": 42,
    "test_evaluation": 42,
    "test_tagger": 42,
    "test_blocks": 42,
    "test_folders": 38,
    "test_variants": 31,
    "test_downloads": 30,
    "test_odd_files": 28,
    "test_finetuning": 26,
    "test_patches": 26,
    "test_torch_names": 24,
    "test_sota_parity": 22,
    "test_embedder": 20,
    "test_framewise": 19,
    "test_training_batches": 18,
    "test_metrics": 17,
    "test_forks": 17,
    "test_listening": 16,
    "test_cli_listen": 15,
    "test_backends": 15,
    "test_live": 14,
    "test_calibration": 14,
    "test_writable_caches": 14,
    "test_library": 13,
    "test_gradient_ascent": 13,
    "test_logmel": 13,
    "test_publish": 13,
    "test_shared_taggers": 12,
    "test_plots_evaluation": 12,
}
"""What files of many seconds take, the slow tests aside: those of the most begin first."""


def _missing() -> dict[str, str]:
    """Why tests with a marker cannot run here."""
    missing = {}
    if importlib.util.find_spec("torch") is None:
        missing["torch"] = "PyTorch is not installed"
    if importlib.util.find_spec("playwright") is None:
        missing["browser"] = "Playwright is not installed"
    elif not (shutil.which("chromium") or shutil.which("chromium-browser")):
        missing["browser"] = "Chromium is not installed"
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


settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the graphs of test models out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSICNN_ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
