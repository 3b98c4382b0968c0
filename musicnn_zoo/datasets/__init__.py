"""Data sets as files and labels: read, check, split. No audio is decoded here.

Every reader returns a :class:`Dataset`, whose ``report`` counts and lists all that was left out,
and warns with a :class:`DatasetWarning` of what the caller did not ask for.
"""

from __future__ import annotations

from musicnn_zoo.datasets.dataset import SPLITS, Dataset
from musicnn_zoo.datasets.folder import from_folder
from musicnn_zoo.datasets.msd import million_song
from musicnn_zoo.datasets.mtg_jamendo import jamendo
from musicnn_zoo.datasets.mtt import BROKEN_CLIPS, MTT_SYNONYMS, magnatagatune
from musicnn_zoo.datasets.opening import LAYOUTS, open_dataset
from musicnn_zoo.datasets.report import DatasetError, DatasetWarning, Report
from musicnn_zoo.datasets.splitting import split
from musicnn_zoo.datasets.table import from_table

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
