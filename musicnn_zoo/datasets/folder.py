"""A folder whose subfolders are the classes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from musicnn_zoo.datasets.dataset import (
    Dataset,
    DatasetError,
    Findings,
    Track,
    assemble,
    split_name,
)
from musicnn_zoo.datasets.table import clean, one_spelling
from musicnn_zoo.errors import answered, check_choice, check_path
from musicnn_zoo.sound.find import has_audio_name, is_left_out, walk_audio

GroupBy = Literal["subfolder"]


@answered
def from_folder(
    folder: str | os.PathLike[str], *, name: str | None = None, group_by: GroupBy | None = None
) -> Dataset:
    """Read a folder of classes: ``folder/CLASS/…/file.wav``.

    Files count at any depth below their class. What :func:`musicnn_zoo.find_audio`
    leaves out does not count. Classes are sorted; names that differ in case or in hyphens and
    spaces are one class. If the subfolders are called after splits (``train``, ``val``,
    ``test``) and hold folders only, the classes are the folders in them, and the splits are
    kept.

    Parameters
    ----------
    folder : path
    name : str, optional
        By default that of the folder.
    group_by : {"subfolder"}, optional
        With ``folder/CLASS/ARTIST/…``, take the folder below the class as the group of a
        track, which a split does not tear apart; folders of one name in several classes are
        one group. A file right in its class is a group of its own.

    Raises
    ------
    DatasetError
        If there is no such folder, if it has no subfolders, or none of them holds audio.
    """
    check_path("a folder", folder)
    root = Path(folder)
    if group_by is not None:
        check_choice("group_by", group_by, ("subfolder",))
    if not root.is_dir():
        raise DatasetError(f"{root}: there is no such folder")
    found = Findings()
    tracks: list[Track] = []
    try:
        if not _subfolders(root):
            raise DatasetError(
                f"{root}: has no subfolders; each class needs one that holds its audio: "
                f"{root.name}/CLASS/file.wav"
            )
        for part, split in _splits(root).items():
            tracks += _classes(part, split, group_by, found)
    except OSError as error:
        raise DatasetError(f"{root}: cannot be read ({error.strerror or error})") from error
    name = name or root.resolve().name or str(root)
    return assemble(name, one_spelling(tracks, found), found, judge=True)


def _classes(
    root: Path, split: str | None, group_by: GroupBy | None, found: Findings
) -> Iterator[Track]:
    for entry in sorted(root.iterdir()):
        if entry.is_dir() or is_left_out(entry.name):
            continue
        found.add("unclassed_files" if has_audio_name(entry) else "not_audio", str(entry))
    for folder in _subfolders(root):
        files = list(_audio_below(folder, found))
        if not files:
            found.add("empty_classes", str(folder.relative_to(root.parent if split else root)))
        for path in files:
            inner = path.relative_to(folder).parts
            group = None
            if group_by:
                group = clean(inner[0]) if len(inner) > 1 else str(path)
            yield Track(str(path), (clean(folder.name),), group, split)


def _splits(root: Path) -> dict[Path, str | None]:
    """Return the folders that hold classes, and of which split they are."""
    parts = {part: split_name(part.name) for part in _subfolders(root)}
    names = [split for split in parts.values() if split]
    layered = len(names) == len(parts) == len(set(names)) and all(
        _subfolders(part) and not any(map(has_audio_name, part.iterdir())) for part in parts
    )
    return parts if layered else {root: None}


def _subfolders(folder: Path) -> list[Path]:
    return sorted(
        entry for entry in folder.iterdir() if entry.is_dir() and not is_left_out(entry.name)
    )


def _audio_below(folder: Path, found: Findings) -> Iterator[Path]:
    for path, kind, _ in walk_audio(folder):
        if kind == "audio":
            yield Path(path)
        else:
            found.add("unread_folders" if kind.endswith("_folder") else kind, str(path))
