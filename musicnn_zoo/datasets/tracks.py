"""From tracks as they were read to a data set: what every loader does at its end."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from musicnn_zoo.datasets.dataset import Dataset, Untagged, check_untagged
from musicnn_zoo.datasets.report import DatasetError, Findings

_SELDOM = 0.05


class Track(NamedTuple):
    """A file with its tags, as read.

    Parameters
    ----------
    path : str
    tags : tuple of str
    group, split : str or None
    """

    path: str
    tags: tuple[str, ...]
    group: str | None = None
    split: str | None = None


def assemble(
    name: str,
    tracks: Iterable[Track],
    found: Findings,
    *,
    vocabulary: Sequence[str] | None = None,
    untagged: Untagged = "drop",
    check_files: bool = True,
) -> Dataset:
    """Make a data set of tracks, leaving out and noting what cannot be used.

    Parameters
    ----------
    name : str
    tracks : iterable of Track
        Each path once.
    found : Findings
        What was found so far; becomes the report.
    vocabulary : sequence of str, optional
        The tags and their order; others are ignored. By default all there are, sorted.
    untagged : {"keep", "drop"}
        What becomes of tracks without a tag.
    check_files : bool
        Whether to look for the files and leave out those that are missing or have no bytes.

    Raises
    ------
    DatasetError
        If nothing is left; the message has the report.
    """
    check_untagged(untagged)
    kept = list(tracks)
    if vocabulary is None:
        known = sorted({tag for track in kept for tag in track.tags}, key=_alphabetically)
    else:
        known = list(dict.fromkeys(vocabulary))
        kept = _within(known, kept, found)
    if check_files:
        kept = [track for track in kept if _usable(track.path, found)]
    if any(track.split is not None for track in kept):
        kept = _sift(kept, found, "without_split", lambda track: track.split is not None)
    if untagged == "drop":
        kept = _sift(kept, found, "untagged", lambda track: bool(track.tags))
    used = {tag for track in kept for tag in track.tags}
    unused = [tag for tag in known if tag not in used]
    if vocabulary is None:
        found.add("empty_classes", *unused)
        known = [tag for tag in known if tag in used]
    if not kept or not known:
        raise DatasetError(
            f"{name}: nothing is left: {found.report()} "
            "Are the paths right, and is audio_root the folder they start from?"
        )
    if vocabulary is not None:
        found.add("tags_without_tracks", *unused)
    column = {tag: index for index, tag in enumerate(known)}
    labels = np.zeros((len(kept), len(known)), bool)
    for row, track in enumerate(kept):
        labels[row, [column[tag] for tag in track.tags]] = True
    return Dataset(
        name=name,
        tags=tuple(known),
        paths=tuple(track.path for track in kept),
        labels=labels,
        groups=_groups(kept, found),
        splits=tuple(track.split for track in kept if track.split is not None) or None,
        report=found.report(),
    )


def judge_classes(dataset: Dataset) -> Dataset:
    """Note in the report what will not do for training: lonely classes, lonely files.

    Also where a few tracks with several tags make multi-label what looks like single-label.
    """
    report = dataset.report
    if len(dataset.tags) == 1:
        report = report.adding("only_class", dataset.tags)
    lonely = [tag for tag, count in zip(dataset.tags, dataset.positives, strict=True) if count == 1]
    report = report.adding("single_file_classes", lonely)
    several = np.flatnonzero(dataset.labels.sum(axis=1) > 1)
    if len(several) <= _SELDOM * len(dataset):
        report = report.adding("seldom_several", [dataset.paths[row] for row in several])
    return replace(dataset, report=report)


def merge_repeated(tracks: Iterable[tuple[str, Track]], found: Findings) -> list[Track]:
    """Put the rows of one file together.

    Rows with further tags add them; rows that repeat are noted as duplicates. The group and
    the split of the first row that states them stand, and rows that contradict are noted.

    Parameters
    ----------
    tracks : iterable of (str, Track)
        Where each stands, for the report, and what it is.
    found : Findings
    """
    merged: dict[str, Track] = {}
    grown: dict[str, None] = {}
    for where, track in tracks:
        key = os.path.normpath(track.path)
        first = merged.setdefault(key, track)
        if first is track:
            continue
        new = [tag for tag in track.tags if tag not in first.tags]
        pairs = ((first.group, track.group), (first.split, track.split))
        if any(old and other and old != other for old, other in pairs):
            found.add("conflicts", f"{where}: {track.path}")
        elif not new:
            found.add("duplicates", f"{where}: {track.path}")
        if new:
            grown[first.path] = None
        merged[key] = first._replace(
            tags=(*first.tags, *new),
            group=first.group or track.group,
            split=first.split or track.split,
        )
    found.add("merged_rows", *grown)
    return list(merged.values())


def _within(vocabulary: Sequence[str], tracks: list[Track], found: Findings) -> list[Track]:
    known = set(vocabulary)
    unknown = sorted({tag for track in tracks for tag in track.tags} - known, key=_alphabetically)
    found.add("unknown_tags", *unknown)
    if not unknown:
        return tracks
    return [
        track._replace(tags=tuple(tag for tag in track.tags if tag in known)) for track in tracks
    ]


def _usable(path: str, found: Findings) -> bool:
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        status = None
    if status is None or not stat.S_ISREG(status.st_mode):
        found.add("missing_files", path)
        return False
    if status.st_size == 0:
        found.add("empty_files", path)
    return status.st_size > 0


def _sift(
    tracks: list[Track], found: Findings, kind: str, keep: Callable[[Track], bool]
) -> list[Track]:
    found.add(kind, *(track.path for track in tracks if not keep(track)))
    return [track for track in tracks if keep(track)]


def _groups(tracks: list[Track], found: Findings) -> tuple[str, ...] | None:
    if all(track.group is None for track in tracks):
        return None
    found.add("without_group", *(track.path for track in tracks if track.group is None))
    return tuple(track.path if track.group is None else track.group for track in tracks)


def _alphabetically(tag: str) -> tuple[str, str]:
    return tag.casefold(), tag
