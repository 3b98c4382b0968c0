"""The Million Song Dataset (Bertin-Mahieux et al. 2011) with its Last.fm tags.

T. Bertin-Mahieux, D. P. W. Ellis, B. Whitman and P. Lamere, "The Million Song Dataset", ISMIR
2011. The 50 tags and the split are Choi's (https://github.com/keunwoochoi/MSD_split_for_tagging),
of which Lee keeps the clips longer than 29.1 s: 201,680 to train on, 11,774 to validate, 28,435 to
test. Pons (musicnn-training) and Won (sota-music-tagging-models) use Lee's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from musicnn_zoo.datasets.dataset import (
    Dataset,
    DatasetError,
    Findings,
    Track,
    assemble,
    audio_folder,
    merge_repeated,
)
from musicnn_zoo.datasets.mtt import has_index, read_ground_truth
from musicnn_zoo.datasets.table import (
    clean,
    columns_of,
    cut,
    one_spelling,
    read_split,
    read_table,
    separators_of,
)
from musicnn_zoo.errors import answered
from musicnn_zoo.zoo.catalogue import MSD_TAGS

COLUMNS = {
    "track": ("track_id", "msd_id", "id"),
    "tags": ("tags",),
    "split": ("split",),
    "path": ("path",),
    "group": ("artist", "artist_id", "group"),
}
"""Names of columns, or of the entries of a JSON object, by what they hold."""


@answered
def million_song(
    source: str | os.PathLike[str],
    *,
    audio_root: str | os.PathLike[str] | None = None,
    check_files: bool = True,
) -> Dataset:
    """Read the Million Song Dataset with the 50 Last.fm tags that the models of the zoo know.

    The tags are :data:`musicnn_zoo.zoo.catalogue.MSD_TAGS`, in that order. The audio is not
    distributed with the data set.

    What is published of the split are pickles (``filtered_list_train.cP``,
    ``msd_id_to_tag_vector.cP`` …) and NumPy arrays. A pickle can run any code when it is opened,
    so this function opens none. It reads

    * a folder with musicnn-training's ``index_msd.tsv`` (``id<TAB>path``) and one or more of
      ``{train,val,test}_gt_msd.tsv`` (``id<TAB>[0, 1, …]``, 50 numbers), which the script
      ``create_MSD_gt.py`` of its repository makes of the pickles;
    * a CSV or TSV with the columns ``track_id``, ``tags`` (names separated by ``;`` or ``|``) and
      optionally ``split``, ``path`` and ``artist``;
    * a JSON file ``{"TRAAAAW128F429D538": {"tags": ["rock", …], "split": "train"}, …}`` with
      the same entries.

    If you have the pickles, and trust them, convert them once, elsewhere. Each track needs its
    id, the names of its tags and its split: of ``filtered_list_train.cP`` the first 201,680 ids
    are for training, the rest for validation; ``filtered_list_test.cP`` has those for testing.

    Parameters
    ----------
    source : path
    audio_root : path, optional
        Where relative paths start; by default the folder of ``source``. A track without a path
        is looked for as Pons and Won store it: ``A/A/A/TRAAAAW128F429D538.mp3``, after the
        third to fifth letter of its id.
    check_files : bool
        Whether to look for the audio and leave out what is missing or empty.

    Returns
    -------
    Dataset
        Tracks with none of the 50 tags are left out, as in the published split.

    Raises
    ------
    DatasetError
        If files are missing or not as described, or nothing is left.
    """
    source = Path(source)
    audio = audio_folder(source, audio_root)
    found = Findings()
    if source.is_dir():
        if not has_index(source, "msd"):
            raise DatasetError(
                f"{source}: has no index_msd.tsv with *_gt_msd.tsv; pass a folder that has, or a "
                ".csv, .tsv or .json file (pickles are not opened, see help(million_song))"
            )
        tracks = read_ground_truth(source, "msd", MSD_TAGS, found, audio_root=audio)
    else:
        ending = source.suffix.lower()
        if ending not in (".json", ".csv", ".tsv"):
            raise DatasetError(
                f"{source}: must end in .csv, .tsv or .json, or be a folder; what is published as "
                "a pickle or an array must be converted first, see help(million_song)"
            )
        rows = (_objects if ending == ".json" else _rows)(source, audio, found)
        tracks = merge_repeated(one_spelling(rows, found, MSD_TAGS), found)
    return assemble(
        "Million Song Dataset", tracks, found, vocabulary=MSD_TAGS, check_files=check_files
    )


def _rows(source: Path, audio: Path, found: Findings) -> Iterator[Track]:
    table = read_table(source, found)
    columns = columns_of(table, COLUMNS)
    for needed in ("track", "tags"):
        if needed not in columns:
            raise DatasetError(
                f"{source}: needs a column {COLUMNS[needed][0]!r}; its columns are "
                f"{', '.join(map(repr, table.header))}"
            )
    for where, cells in table.rows:
        entry = {role: cells[at].strip() for role, at in columns.items()}
        tags = cut(entry.pop("tags"), separators_of(table))
        yield from _track(where, entry, tags, audio, found)


def _objects(source: Path, audio: Path, found: Findings) -> Iterator[Track]:
    try:
        entries = json.loads(source.read_bytes())
    except OSError as error:
        raise DatasetError(f"{source}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise DatasetError(f"{source}: is not JSON ({error})") from error
    if not isinstance(entries, dict):
        raise DatasetError(f"{source}: must be an object with an entry for each track")
    for identity, values in entries.items():
        entry = _entry(values)
        if entry is None:
            found.add("unreadable_rows", f"{identity}: no object with a list of tags")
            continue
        tags = tuple(dict.fromkeys(tag for text in entry.pop("tags") if (tag := clean(text))))
        yield from _track(identity, {**entry, "track": identity}, tags, audio, found)


def _entry(values: Any) -> dict[str, Any] | None:
    """Return the entries of a track by role, or None if they are not as they should be."""
    if not isinstance(values, dict):
        return None
    entry = {
        role: values[name] for role, names in COLUMNS.items() for name in names if name in values
    }
    tags = entry.get("tags")
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        return None
    if not all(isinstance(value, str) for role, value in entry.items() if role != "tags"):
        return None
    return entry


def _track(
    where: str, entry: dict[str, str], tags: tuple[str, ...], audio: Path, found: Findings
) -> Iterator[Track]:
    identity, path = entry["track"], entry.get("path")
    if not path and len(identity) < 5:
        found.add("unreadable_rows", f"{where}: {identity!r} is no track id")
        return
    path = path or f"{identity[2]}/{identity[3]}/{identity[4]}/{identity}.mp3"
    split = read_split(entry.get("split", ""), where)
    yield Track(str(audio / path), tags, entry.get("group") or None, split, where)
