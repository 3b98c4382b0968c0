"""MTG-Jamendo (Bogdanov et al. 2019): full tracks under Creative Commons licences.

D. Bogdanov, M. Won, P. Tovstogan, A. Porter and X. Serra, "The MTG-Jamendo dataset for automatic
music tagging", Machine Learning for Music Discovery Workshop, ICML 2019.
https://github.com/MTG/mtg-jamendo-dataset

No artist is in two splits. The 50 most frequent tags are on 54,380 tracks; in the split that
sota-music-tagging-models uses, 32,136 are for training, 10,888 for validation and 11,356 for
testing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from musicnn_zoo.datasets.dataset import (
    SPLITS,
    Dataset,
    DatasetError,
    Findings,
    Track,
    assemble,
    audio_folder,
    merge_repeated,
    split_name,
)
from musicnn_zoo.datasets.table import read_table
from musicnn_zoo.errors import answered, check_choice
from musicnn_zoo.zoo.catalogue import JAMENDO_TAGS

JamendoGroup = Literal["artist", "album"]

_HEADER = ("TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS")


@answered
def jamendo(
    source: str | os.PathLike[str],
    *,
    audio_root: str | os.PathLike[str] | None = None,
    subset: str = "autotagging_top50tags",
    group_by: JamendoGroup = "artist",
    check_files: bool = True,
) -> Dataset:
    """Read MTG-Jamendo.

    The tags come in the order that the models of the zoo know,
    :data:`musicnn_zoo.zoo.catalogue.JAMENDO_TAGS`, if all are among these; else sorted.

    Parameters
    ----------
    source : path
        A folder with ``SUBSET-train.tsv``, ``SUBSET-validation.tsv`` and ``SUBSET-test.tsv``,
        such as ``data/splits/split-0`` of the data set's repository, or one TSV, whose split
        is taken from its name if it has one.
    audio_root : path, optional
        The folder with the folders ``00`` to ``99``; by default that of ``source``. Where
        ``15/215.mp3`` is missing, ``15/215.low.mp3`` of the smaller download is taken.
    subset : str
        ``autotagging_top50tags``, ``autotagging_genre``, ``autotagging_instrument``,
        ``autotagging_moodtheme`` or ``autotagging``.
    group_by : {"artist", "album"}
        What the groups are.
    check_files : bool
        Whether to look for the audio and leave out what is missing or empty. Without, the
        paths are as in the TSV.

    Raises
    ------
    DatasetError
        If files are missing or not as described, or nothing is left.
    """
    check_choice("group_by", group_by, get_args(JamendoGroup))
    source = Path(source)
    audio = audio_folder(source, audio_root)
    found = Findings()
    locate = partial(_stored, audio, check_files=check_files)
    files = _files(source, subset, found)
    tracks = merge_repeated(
        (row for path, split in files for row in _tracks(path, split, group_by, locate, found)),
        found,
    )
    used = {tag for track in tracks for tag in track.tags}
    return assemble(
        "MTG-Jamendo", tracks, found,
        vocabulary=JAMENDO_TAGS if used <= set(JAMENDO_TAGS) else sorted(used),
        check_files=check_files,
    )  # fmt: skip


def _files(source: Path, subset: str, found: Findings) -> list[tuple[Path, str | None]]:
    if source.is_file():
        return [(source, split_name(source.stem.rpartition("-")[2]))]
    paths = {split: source / f"{subset}-{split}.tsv" for split in SPLITS}
    there = [(path, split) for split, path in paths.items() if path.is_file()]
    if not there:
        raise DatasetError(
            f"{source}: has none of {', '.join(path.name for path in paths.values())}"
        )
    found.add("absent_splits", *(split for split, path in paths.items() if not path.is_file()))
    return [(path, split) for path, split in there]


def _tracks(
    path: Path,
    split: str | None,
    group_by: JamendoGroup,
    locate: Callable[[str], str],
    found: Findings,
) -> Iterator[Track]:
    table = read_table(path, found, delimiter="\t", quoted=False, more_cells=True)
    if table.header != _HEADER:
        raise DatasetError(
            f"{path}: must have the columns {', '.join(_HEADER)}, separated by tabs; "
            f"found {', '.join(table.header)}"
        )
    for where, cells in table.rows:
        _, artist, album, audio, _, *tags = map(str.strip, cells)
        group = artist if group_by == "artist" else album
        if not audio:
            found.add("unreadable_rows", f"{where}: no path")
            continue
        different = tuple(dict.fromkeys(tag for tag in tags if tag))
        yield Track(locate(audio), different, group or None, split, where)


def _stored(audio: Path, path: str, *, check_files: bool) -> str:
    """Return where a track is: in full quality, or in that of the smaller download."""
    full = audio / path
    low = full.with_suffix(f".low{full.suffix}")
    return str(low if check_files and not full.exists() and low.exists() else full)
