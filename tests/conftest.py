"""Places that several test modules look at."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CLIPS = ROOT / "examples" / "audio"
SHARED = ROOT.parent / "shared"
"""Reference outputs that may not be committed; tests that need them are skipped without."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than about 20 seconds")
