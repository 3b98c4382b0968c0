"""Where this package keeps what it made or fetched, for one user alone."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path

_log = logging.getLogger(__name__)

ENVIRONMENT_VARIABLE = "MUSICNN_ZOO_CACHE"

_OWNER_ONLY = 0o700
_WRITABLE_BY_OTHERS = 0o022
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

    If it is this user's and others may write to it, that is ended. On systems without owners of
    files nothing is checked.

    Parameters
    ----------
    name : str
    make : bool
        Make it, and the cache folder, with mode 0700 if they are not there.

    Raises
    ------
    ForeignFolderError
        If it is another user's, or root's with others writing to it.
    OSError
        If it cannot be made or looked at.
    """
    folder = cache_folder() / name
    if make:
        folder.parent.mkdir(mode=_OWNER_ONLY, parents=True, exist_ok=True)
        folder.mkdir(mode=_OWNER_ONLY, exist_ok=True)
    if not hasattr(os, "getuid"):
        return folder
    try:
        link, target = folder.lstat(), folder.stat()
    except FileNotFoundError:
        return folder
    if not {link.st_uid, target.st_uid} <= {os.getuid(), _ROOT}:
        raise ForeignFolderError(errno.EPERM, "it belongs to another user", str(folder))
    if target.st_mode & _WRITABLE_BY_OTHERS:
        if target.st_uid != os.getuid():
            raise ForeignFolderError(errno.EPERM, "other users can write to it", str(folder))
        with contextlib.suppress(OSError):  # on a disk without modes
            folder.chmod(_OWNER_ONLY)
    return folder


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
