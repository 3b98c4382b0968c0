"""How a library run tells whether a file has changed since it was done."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicnn_zoo.errors import AudioError
from musicnn_zoo.sound.find import irregularity

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Stamp:
    """A file as it was when it was done.

    Parameters
    ----------
    source : str
        As the caller gave it.
    size : int
        In bytes.
    mtime_ns : int
        Time of the last change.
    sha256 : str or None
        Of the content, if it was asked for.
    path : str, optional
        Absolute, without links: what tells the file from others. By default ``source``.
    """

    source: str
    size: int
    mtime_ns: int
    sha256: str | None = None
    path: str = ""

    def __post_init__(self) -> None:
        if not self.path:
            object.__setattr__(self, "path", self.source)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Stamp:
        """Return the stamp that stands in a record among other fields.

        Records of earlier releases do not say the path; it is that of the source from here.
        """
        source: str = fields["source"]
        path = fields.get("path") or os.path.realpath(source)
        return cls(source, fields["size"], fields["mtime_ns"], fields["sha256"], path)


def take_stamp(path: str, *, content_hash: bool = False) -> Stamp:
    """Return the stamp of a file as it is now; ``content_hash`` reads it all.

    Raises
    ------
    AudioError
        If there is no such file, it cannot be read, or it is a pipe, a socket or a device.
    """
    try:
        status = Path(path).stat()
        irregular = irregularity(status.st_mode)
        if irregular is not None:
            raise AudioError(f"{path}: {irregular}")
        digest = _hash(path) if content_hash else None
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AudioError(f"{path}: there is no such file") from error
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror or error})") from error
    return Stamp(path, status.st_size, status.st_mtime_ns, digest, os.path.realpath(path))


def unchanged(old: Stamp, new: Stamp) -> bool:
    """Compare size and content if ``new`` has a hash, else size and time."""
    if new.sha256 is not None:
        return (old.size, old.sha256) == (new.size, new.sha256)
    return (old.size, old.mtime_ns) == (new.size, new.mtime_ns)


def _hash(path: str) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
