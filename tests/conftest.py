"""Places that several test modules look at."""

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from musicnn_zoo.architectures import ARCHITECTURES
from musicnn_zoo.installation import has_keras
from musicnn_zoo.presets import PRESETS
from musicnn_zoo.weights import bundled

ROOT = Path(__file__).parent.parent
CLIPS = ROOT / "examples" / "audio"
SHARED = ROOT.parent / "shared"
"""Reference outputs that may not be committed; tests that need them are skipped without."""


BUNDLED = [preset.name for preset in PRESETS.values() if preset.source().kind == "bundled"]
"""Models whose weights and graphs are in the package; the others are downloaded."""


def _smallest_of_each_pair() -> list[str]:
    """Architectures that differ in their blocks; the others differ from one of them in size."""
    by_size = sorted(ARCHITECTURES.values(), key=lambda architecture: architecture.parameters)
    pairs: dict[tuple[str, str], str] = {}
    for one in by_size:
        pairs.setdefault((one.config.frontend.kind, one.config.backend.kind), one.name)
    return sorted(pairs.values())


REPRESENTATIVES = _smallest_of_each_pair()


def bundled_graph(name: str) -> Path:
    graph = PRESETS[name].graph
    assert graph is not None
    return bundled(graph)


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
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
