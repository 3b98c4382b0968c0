"""Places that several test modules look at."""

from pathlib import Path

from hypothesis import settings

ROOT = Path(__file__).parent.parent
CLIPS = ROOT / "examples" / "audio"
SHARED = ROOT.parent / "shared"
"""Reference outputs that may not be committed; tests that need them are skipped without."""


settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
