"""What is installed here, and where this package and its libraries keep files.

Keras, TensorFlow and scikit-learn are dependencies, but a light installation does without them:
see ``docs/light.md``.

Numba, which librosa and Kapre import, ends the program if it cannot write its cache; Matplotlib
warns. Where they cannot write, both get a temporary folder.
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

_log = logging.getLogger(__name__)

_BACKENDS = {"tensorflow": "tensorflow", "jax": "keras jax", "torch": "keras torch"}
"""What Keras runs on, and the packages to install for both."""
_KERAS = "Keras", _BACKENDS["tensorflow"]
_SKLEARN = "scikit-learn", "scikit-learn"
_NAMES_AND_PACKAGES = {"keras": _KERAS, "tensorflow": _KERAS, "sklearn": _SKLEARN}


def has_keras() -> bool:
    """Whether Keras and one of its backends are installed; nothing is imported."""
    return _is_installed("keras") and any(map(_is_installed, _BACKENDS))


def require_keras(what: str, *, backend: str = "tensorflow") -> None:
    """Raise a :class:`MissingPackageError` with the command to install Keras, if it is missing.

    ``what`` needs it, and begins the message; Keras would run on ``backend``.
    """
    if not has_keras():
        raise _missing(what, "Keras", _BACKENDS[backend])
    provide_writable_caches()


def require_sklearn(what: str) -> None:
    """Raise a :class:`MissingPackageError` as :func:`require_keras` does, for scikit-learn."""
    if not _is_installed("sklearn"):
        raise _missing(what, *_SKLEARN)


def require_ray(what: str) -> None:
    """Raise a :class:`MissingPackageError` as :func:`require_keras` does, for Ray Data."""
    if not _is_installed("ray"):
        raise _missing(what, "Ray", '"musicnn-zoo[ray]"')


def explained(error: ModuleNotFoundError, what: str) -> ModuleNotFoundError | MissingPackageError:
    """Return a readable error for a failed import, if a light installation lacks the module.

    For any other module that is ``error`` itself. ``what`` needed the module.
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


ENVIRONMENT_VARIABLE = "MUSICNN_ZOO_CACHE"

_OWNER_ONLY = 0o700
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_ROOT = 0


class ForeignFolderError(PermissionError):
    """A folder of the cache whose files another user can change."""


def cache_folder() -> Path:
    """Folder named by ``MUSICNN_ZOO_CACHE``, by default the system's cache for this user."""
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    if chosen:
        return Path(chosen)
    import platformdirs

    return platformdirs.user_cache_path("musicnn-zoo", appauthor=False)


def own_folder(name: str, *, make: bool = False) -> Path:
    """Folder of the cache in which only this user, or root, can change a file.

    It and the cache folder are checked, and made with mode 0700 if ``make`` and they are not there.
    Where this user owns one that others can write to, they lose that right. Nothing is checked on
    systems whose files have no owners.

    Raises
    ------
    ForeignFolderError
        If another user owns one of them, or root owns it and others can write to it. A cache
        folder of root's may have the sticky bit, as ``/tmp`` has: others can only add to it.
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
def cache_lock(name: str, lock: str) -> Iterator[None]:
    """Hold a lock that other processes and threads wait for, if the cache can be written.

    It is the file ``lock`` in the folder ``name`` of the cache.
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
_TEMPORARY = {_NUMBA: "numba", _MATPLOTLIB: "matplotlib"}


def provide_writable_caches() -> None:
    """Give Numba and Matplotlib a temporary folder each, where they cannot write to their own.

    To be called before librosa, Kapre, Matplotlib, or Keras, which imports it. Variables of the
    environment that are set already stay as they are.
    """
    if not os.environ.get(_NUMBA) and not _numba_can_write() and _use_temporary(_NUMBA):
        settings = getattr(sys.modules.get("numba"), "config", None)
        if settings is not None:  # it has read the environment already
            settings.CACHE_DIR = os.environ[_NUMBA]
    if not os.environ.get(_MATPLOTLIB) and not _is_writable(_matplotlib_folder()):
        _use_temporary(_MATPLOTLIB)


def _use_temporary(variable: str) -> bool:
    folder = temporary_folder()
    if folder is not None:
        os.environ[variable] = str(folder / _TEMPORARY[variable])
    return folder is not None


def _numba_can_write() -> bool:
    """Whether Numba can write its cache: beside librosa's code, or in the user's cache folder."""
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
    """Whether files can be made in a folder, or in the one that it would be made in."""
    if folder is None:
        return False
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


@functools.cache
def temporary_folder() -> Path | None:
    """Return a private folder, which the process that made it removes when it ends.

    None if there can be none.
    """
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
