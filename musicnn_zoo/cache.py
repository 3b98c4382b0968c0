"""Where this package keeps what it made or fetched."""

from __future__ import annotations

import os
from pathlib import Path

ENVIRONMENT_VARIABLE = "MUSICNN_ZOO_CACHE"


def cache_folder() -> Path:
    """Folder named by ``MUSICNN_ZOO_CACHE``, by default the system's cache for this user."""
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    if chosen:
        return Path(chosen)
    import platformdirs

    return platformdirs.user_cache_path("musicnn-zoo", appauthor=False)
