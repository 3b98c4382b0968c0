"""The index and ground-truth files of musicnn-training (Pons), for MagnaTagATune and MSD.

``index_mtt.tsv`` has a line ``id<TAB>path`` for each track, ``train_gt_mtt.tsv``,
``val_gt_mtt.tsv`` and ``test_gt_mtt.tsv`` a line ``id<TAB>[0.0, 1.0, …]`` for each track of
their split, with a number for each tag; none has a header.
https://github.com/jordipons/musicnn-training
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from musicnn_zoo.datasets.dataset import SPLITS
from musicnn_zoo.datasets.report import DatasetError, Findings
from musicnn_zoo.datasets.rows import read_rows
from musicnn_zoo.datasets.tracks import Track

_FILE_OF = dict(zip(SPLITS, ("train", "val", "test"), strict=True))


def read_ground_truth(
    folder: Path,
    suffix: str,
    tags: Sequence[str],
    found: Findings,
    *,
    audio_root: Path,
    group_of: Callable[[str], str] | None = None,
    known_broken: Sequence[str] = (),
) -> list[Track]:
    """Read an index and the ground truth of the splits that are there.

    Parameters
    ----------
    folder : Path
        Has ``index_SUFFIX.tsv`` and one or more of ``{train,val,test}_gt_SUFFIX.tsv``, in any
        case.
    suffix : str
        ``"mtt"`` or ``"msd"``.
    tags : sequence of str
        The meaning of the numbers.
    found : Findings
    audio_root : Path
        Where the paths of the index start.
    group_of : callable, optional
        From a path of the index to a group.
    known_broken : sequence of str
        Tracks that the splits leave out because their files are broken.

    Raises
    ------
    DatasetError
        If there is no index or no ground truth.
    """
    files = {entry.name.lower(): entry for entry in sorted(folder.iterdir())}
    index = _read_index(files[f"index_{suffix}.tsv"], found)
    there = {split: files.get(f"{part}_gt_{suffix}.tsv") for split, part in _FILE_OF.items()}
    if not any(there.values()):
        raise DatasetError(
            f"{folder}: has index_{suffix}.tsv but no ground truth; it needs one or more of "
            + ", ".join(f"{part}_gt_{suffix}.tsv" for part in _FILE_OF.values())
        )
    tracks: dict[str, Track] = {}
    for split, path in there.items():
        if path is None:
            found.add("absent_splits", split)
            continue
        for where, identity, labels in _read_labels(path, len(tags), found):
            if identity not in index:
                found.add("unindexed", f"{where}: {identity}")
            elif identity in tracks:
                same = tracks[identity].split == split
                found.add("duplicates" if same else "conflicts", f"{where}: {identity}")
            else:
                tracks[identity] = Track(
                    str(audio_root / index[identity]),
                    tuple(tag for tag, has in zip(tags, labels, strict=True) if has),
                    group_of(index[identity]) if group_of else None,
                    split,
                )
    for identity in index:
        if identity not in tracks:
            kind = "known_broken" if identity in known_broken else "unlabelled"
            found.add(kind, index[identity])
    return list(tracks.values())


def has_index(folder: Path, suffix: str) -> bool:
    """Whether a folder holds such an index."""
    return any(entry.name.lower() == f"index_{suffix}.tsv" for entry in folder.iterdir())


def _read_index(path: Path, found: Findings) -> dict[str, str]:
    index: dict[str, str] = {}
    for line, row in read_rows(path, delimiter="\t", quoted=False)[1]:
        where = f"{path.name} line {line}"
        if len(row) != 2:
            found.add("unreadable_rows", f"{where}: {len(row)} cells, not an id and a path")
        elif row[0] in index:
            found.add("duplicates", f"{where}: {row[0]}")
        else:
            index[row[0]] = row[1]
    return index


def _read_labels(
    path: Path, n_tags: int, found: Findings
) -> Iterator[tuple[str, str, list[float]]]:
    for line, row in read_rows(path, delimiter="\t", quoted=False)[1]:
        where = f"{path.name} line {line}"
        try:
            identity, text = row
            labels = json.loads(text)
        except ValueError:
            labels = None
        if not isinstance(labels, list) or any(label not in (0, 1) for label in labels):
            found.add("unreadable_rows", f"{where}: not an id and a list of 0 and 1")
        elif len(labels) != n_tags:
            found.add("unreadable_rows", f"{where}: {len(labels)} labels for {n_tags} tags")
        else:
            yield where, identity, labels
