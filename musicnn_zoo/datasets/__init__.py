"""Data sets as files and labels: read, check, split. No audio is decoded here.

Every reader returns a :class:`Dataset`, whose ``report`` counts and lists all that was left out,
and warns with a :class:`DatasetWarning` of what the caller did not ask for. It raises a
:class:`DatasetError` if the data set cannot be read or nothing is left of it, and an
:class:`~musicnn_zoo.ArgumentError` for a wrong option.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from musicnn_zoo.datasets.dataset import SPLITS, Dataset, DatasetError, DatasetWarning, Report
from musicnn_zoo.datasets.folder import GroupBy, from_folder
from musicnn_zoo.datasets.msd import million_song
from musicnn_zoo.datasets.mtg_jamendo import jamendo
from musicnn_zoo.datasets.mtt import BROKEN_CLIPS, MTT_SYNONYMS, magnatagatune
from musicnn_zoo.datasets.splitting import split
from musicnn_zoo.datasets.table import from_table
from musicnn_zoo.errors import ArgumentError, answered, check_choice, check_path

__all__ = [
    "BROKEN_CLIPS",
    "LAYOUTS",
    "MTT_SYNONYMS",
    "SPLITS",
    "Dataset",
    "DatasetError",
    "DatasetWarning",
    "Report",
    "from_folder",
    "from_table",
    "jamendo",
    "magnatagatune",
    "million_song",
    "open_dataset",
    "split",
]


Layout = Literal["folder", "table", "magnatagatune", "jamendo", "million-song"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


@answered
def open_dataset(
    place: str | os.PathLike[str],
    *,
    layout: Layout | None = None,
    audio_root: str | os.PathLike[str] | None = None,
    group_by: GroupBy | None = "subfolder",
) -> Dataset:
    """Read a data set: a folder of classes, a table, or a published data set.

    Parameters
    ----------
    place : path
    layout : {"folder", "table", "magnatagatune", "jamendo", "million-song"}, optional
        Which reader takes it: :func:`~musicnn_zoo.datasets.from_folder`,
        :func:`~musicnn_zoo.datasets.from_table`, :func:`~musicnn_zoo.datasets.magnatagatune`,
        :func:`~musicnn_zoo.datasets.jamendo` or :func:`~musicnn_zoo.datasets.million_song`. By
        default a folder is a folder of classes and a file is a table.
    audio_root : path, optional
        Where the paths of a table or of a published data set start; by default the folder of
        the table.
    group_by : {"subfolder"}, optional
        Of a folder of classes: what :func:`~musicnn_zoo.datasets.from_folder` says of it; without
        effect where the classes have no subfolders.

    Raises
    ------
    ArgumentError
        If there is no such layout, or ``audio_root`` is given with a folder of classes.
    DatasetError
        If it cannot be read, or nothing is left of it.

    Warns
    -----
    DatasetWarning
        Of all that was left out without being asked for.
    """
    if layout is not None:
        check_choice("layout", layout, LAYOUTS)
    check_path("a data set", place)
    if not Path(place).exists():
        raise DatasetError(f"{os.fspath(place)}: there is no such folder or table")
    if layout is None:
        layout = "folder" if Path(place).is_dir() else "table"
    if layout == "folder":
        if audio_root is not None:
            raise ArgumentError(
                "audio_root goes with tables and published data sets; a folder of classes holds "
                f"its audio (received audio_root={os.fspath(audio_root)!r})"
            )
        dataset = from_folder(place, group_by=group_by)
        alone = dataset.groups is not None and len(set(dataset.groups)) == len(dataset)
        return dataset.with_groups(None) if alone else dataset
    readers: dict[Layout, Callable[..., Dataset]] = {
        "table": from_table,
        "magnatagatune": magnatagatune,
        "jamendo": jamendo,
        "million-song": million_song,
    }
    return readers[layout](place, audio_root=audio_root)
