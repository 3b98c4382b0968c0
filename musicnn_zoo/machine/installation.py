"""What is installed here, and where this package and its libraries keep files.

Keras, TensorFlow and scikit-learn are dependencies, but a light installation goes without them:
see ``docs/light.md``.

Numba, which librosa and Kapre import, ends the program if it can keep what it compiled nowhere;
Matplotlib warns of it. Both get a folder that ends with the process.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import importlib.util
import logging
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from musicnn_zoo.errors import MissingPackageError

_BACKENDS = {"tensorflow": "tensorflow", "jax": "keras jax", "torch": "keras torch"}
"""What Keras runs on, and what brings both."""
_KERAS = "Keras", _BACKENDS["tensorflow"]
_SKLEARN = "scikit-learn", "scikit-learn"
_NAMES_AND_PACKAGES = {"keras": _KERAS, "tensorflow": _KERAS, "sklearn": _SKLEARN}


def has_keras() -> bool:
    """Whether Keras and something that it can run on are installed.

    Nothing is imported, so that this takes no time.
    """
    return _is_installed("keras") and any(map(_is_installed, _BACKENDS))


def require_keras(what: str, *, backend: str = "tensorflow") -> None:
    """Refuse what needs Keras where :func:`has_keras` is false.

    Parameters
    ----------
    what : str
        What needs it, at the beginning of the message.
    backend : {"tensorflow", "jax", "torch"}
        What Keras would run on.

    Raises
    ------
    MissingPackageError
        If Keras is missing; the message has the command that brings it.
    """
    if not has_keras():
        raise _missing(what, "Keras", _BACKENDS[backend])


def require_sklearn(what: str) -> None:
    """Refuse what needs scikit-learn where it is not installed; see :func:`require_keras`.

    Raises
    ------
    MissingPackageError
        If it is missing; the message has the command that brings it.
    """
    if not _is_installed("sklearn"):
        raise _missing(what, *_SKLEARN)


def explained(error: ModuleNotFoundError, what: str) -> ModuleNotFoundError | MissingPackageError:
    """Say in one line what a failed import means, if a light installation goes without the module.

    Parameters
    ----------
    error : ModuleNotFoundError
    what : str
        What needed it.

    Returns
    -------
    MissingPackageError
        With the command that brings it; or ``error``, if the module is another.
    """
    module = (error.name or "").partition(".")[0]
    if module not in _NAMES_AND_PACKAGES:
        return error
    return _missing(what, *_NAMES_AND_PACKAGES[module])


def _missing(what: str, name: str, package: str) -> MissingPackageError:
    return MissingPackageError(
        f"{what} needs {name}, which is not installed: pip install {package}"
    )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


_log = logging.getLogger(__name__)

ENVIRONMENT_VARIABLE = "MUSICNN_ZOO_CACHE"

_OWNER_ONLY = 0o700
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_ROOT = 0


class ForeignFolderError(PermissionError):
    """A folder of the cache in which another user can change what is kept."""


def cache_folder() -> Path:
    """Folder named by ``MUSICNN_ZOO_CACHE``, by default the system's cache for this user."""
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    if chosen:
        return Path(chosen)
    import platformdirs

    return platformdirs.user_cache_path("musicnn-zoo", appauthor=False)


def own_folder(name: str, *, make: bool = False) -> Path:
    """Folder of the cache in which nobody but this user, or root, can change a file.

    It and the cache folder are judged. What is this user's and lets others write is closed to
    them. On systems without owners of files nothing is checked.

    Parameters
    ----------
    name : str
    make : bool
        Make it, and the cache folder, with mode 0700 if they are not there.

    Raises
    ------
    ForeignFolderError
        If one of them is another user's, or root's with others writing to it. In a cache folder
        of root's with the sticky bit, as ``/tmp`` has it, others may make folders of their own.
    OSError
        If it cannot be made or looked at.
    """
    parent = cache_folder()
    folder = parent / name
    if make:
        parent.mkdir(mode=_OWNER_ONLY, parents=True, exist_ok=True)
        folder.mkdir(mode=_OWNER_ONLY, exist_ok=True)
    if hasattr(os, "getuid"):
        with contextlib.suppress(FileNotFoundError):
            _close_to_others(parent, may_be_sticky=True)
            _close_to_others(folder, may_be_sticky=False)
    return folder


def _close_to_others(folder: Path, *, may_be_sticky: bool) -> None:
    link, target = folder.lstat(), folder.stat()
    if not {link.st_uid, target.st_uid} <= {os.getuid(), _ROOT}:
        raise ForeignFolderError(errno.EPERM, "it belongs to another user", str(folder))
    if not target.st_mode & _WRITABLE_BY_OTHERS:
        return
    if may_be_sticky and target.st_mode & stat.S_ISVTX:
        return
    if target.st_uid != os.getuid():
        raise ForeignFolderError(errno.EPERM, "other users can write to it", str(folder))
    with contextlib.suppress(OSError):  # on a disk without modes
        folder.chmod(_OWNER_ONLY)


@contextlib.contextmanager
def alone(name: str, lock: str) -> Iterator[None]:
    """Let no other process or thread do the same meanwhile, if the cache can be written.

    Parameters
    ----------
    name : str
        Folder of the cache.
    lock : str
        File in it; who uses the same waits.
    """
    from filelock import FileLock

    held = None
    try:
        held = FileLock(own_folder(name, make=True) / lock)
        held.acquire()
    except ForeignFolderError as error:
        _log.warning("%s is not used: %s", error.filename, error.strerror)
    except (OSError, NotImplementedError) as error:
        _log.info("%s cannot be locked (%s)", lock, error)
    try:
        yield
    finally:
        if held is not None:
            held.release()


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
