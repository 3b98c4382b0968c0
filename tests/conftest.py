"""Places that several test modules look at."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent
CLIPS = ROOT / "examples" / "audio"
SHARED = ROOT.parent / "shared"
"""Reference outputs that may not be committed; tests that need them are skipped without."""


settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the graphs of test models out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSICNN_ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
