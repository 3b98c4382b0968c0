"""The process that decodes, which is started while what computes is still loaded.

This module imports nothing that takes long: that is its use.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from musicnn_zoo.sound.isolation import prepare_worker
from musicnn_zoo.sound.mpeg import START_BYTES, late_imports

_MODULE = "musicnn_zoo.sound.read"


def prepare_decoding(arguments: Sequence[str]) -> None:
    """Start the process that will decode the first of ``arguments`` that is a file, if one is.

    It returns at once; the process takes as long to start as what computes takes to load. Nothing
    depends on it: a process that is not needed ends with this one.
    """
    for path in map(Path, arguments):
        try:
            if not path.is_file():  # what comes through a pipe can be read only once
                continue
            with path.open("rb") as file:
                start = file.read(START_BYTES)
        except (OSError, ValueError):
            continue
        prepare_worker([*late_imports(start), _MODULE])
        return
