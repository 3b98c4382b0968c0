"""Places where libraries may write, in an installation and a home that are read-only.

Numba, which librosa and Kapre import, ends the program if it can keep what it compiled nowhere;
Matplotlib warns of it. Both get a folder that ends with the process.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

_NUMBA = "NUMBA_CACHE_DIR"
_MATPLOTLIB = "MPLCONFIGDIR"


def provide_writable_caches() -> None:
    """Give Numba and Matplotlib a temporary folder each, if they have no other.

    To be called before librosa, Kapre or Matplotlib is imported. What the environment says already
    is left as it is.
    """
    if not os.environ.get(_NUMBA) and not _numba_can_write():
        folder = _temporary_folder()
        if folder is not None:
            os.environ[_NUMBA] = str(folder / "numba")
            settings = getattr(sys.modules.get("numba"), "config", None)
            if settings is not None:  # it has read the environment already
                settings.CACHE_DIR = os.environ[_NUMBA]
    if not os.environ.get(_MATPLOTLIB) and not _is_writable(_matplotlib_folder()):
        folder = _temporary_folder()
        if folder is not None:
            os.environ[_MATPLOTLIB] = str(folder / "matplotlib")


def _numba_can_write() -> bool:
    """Whether Numba finds a place: beside the code of librosa, or in the user's cache."""
    spec = importlib.util.find_spec("librosa")
    if spec is None or spec.origin is None:
        return True
    package = Path(spec.origin).parent
    if all(_is_writable(package / part / "__pycache__") for part in ("core", "util")):
        return True
    import platformdirs

    return _is_writable(platformdirs.user_cache_path("numba", appauthor=False))


def _matplotlib_folder() -> Path | None:
    if not sys.platform.startswith(("linux", "freebsd")):
        return _home(".matplotlib")
    chosen = os.environ.get("XDG_CONFIG_HOME")
    return Path(chosen, "matplotlib") if chosen else _home(".config", "matplotlib")


def _home(*parts: str) -> Path | None:
    try:
        return Path.home().joinpath(*parts)
    except RuntimeError:  # there is none
        return None


def _is_writable(folder: Path | None) -> bool:
    """Whether files can be made in a folder, which need not be there yet."""
    if folder is None:
        return False
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


@functools.cache
def _temporary_folder() -> Path | None:
    """Return a folder of this user alone, which the process that made it removes at its end."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="musicnn-zoo-"))
    except OSError:
        return None
    maker = os.getpid()

    def remove() -> None:
        if os.getpid() == maker:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
