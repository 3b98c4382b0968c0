"""Crash-safe outputs of a library run: results of many files, written as they come.

A run can be killed at any moment and started again; it goes on where it was. See
:func:`open_store`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.library.stamp import Stamp, take_stamp, unchanged
from musicnn_zoo.library.store import Store
from musicnn_zoo.library.text_store import TextStore
from musicnn_zoo.library.writers import LIBRARY_SUFFIXES

__all__ = ["Stamp", "Store", "open_store", "take_stamp", "unchanged"]


def open_store(output: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> Store:
    """Return the store that writes ``output``; use it as a context manager.

    Parameters
    ----------
    output : Path
        ``.jsonl`` (one line a file), ``.csv`` (one line a tag) or ``.parquet`` (a folder of
        Parquet files, which together are one table). A folder ``<output>.run`` beside it
        holds what a later run needs to go on.
    settings : mapping
        All that the results depend on, as values that JSON knows. ``"kind"`` is ``"tags"``
        or ``"embeddings"``. A run with other settings does not go on with the output.
    overwrite : bool
        Start from nothing instead of going on.

    Raises
    ------
    ArgumentError
        If the store cannot hold such results, or ``output`` is no place for it.
    """
    suffix = output.suffix.lower()
    if suffix not in LIBRARY_SUFFIXES:
        raise ArgumentError(
            f"output {str(output)!r} must end in .parquet, .jsonl or .csv; received {suffix!r}"
        )
    if suffix == ".parquet":
        from musicnn_zoo.library.parquet_store import ParquetStore

        return ParquetStore(output, settings, overwrite=overwrite)
    return TextStore(output, settings, overwrite=overwrite)
