"""Where this package keeps what it made or fetched, for one user alone."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

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
