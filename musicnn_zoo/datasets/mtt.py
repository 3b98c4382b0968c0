"""MagnaTagATune (Law et al. 2009): 25,863 clips of 29 s with 188 tags.

``index_mtt.tsv`` has a line ``id<TAB>path`` for each track, ``train_gt_mtt.tsv``,
``val_gt_mtt.tsv`` and ``test_gt_mtt.tsv`` a line ``id<TAB>[0.0, 1.0, …]`` for each track of
their split, with a number for each tag; none has a header.
https://github.com/jordipons/musicnn-training

E. Law, K. West, M. Mandel, M. Bay and J. S. Downie, "Evaluation of algorithms using games: the
case of music tagging", ISMIR 2009.

The usual split goes by the sixteen folders that the audio comes in: ``0`` to ``b`` train, ``c``
validation, ``d`` to ``f`` test (12:1:3; Dieleman and Schrauwen 2014, "End-to-end learning for
music audio"). Two conventions of what is tested are in use; their figures cannot be compared:

* musicnn-training (Pons) keeps clips that have none of the 50 tags: 18,706 clips to train on,
  1,825 to validate, 5,329 to test.
* Lee (sampleCNN) and after him Won (sota-music-tagging-models) leave these clips out. Of the
  above, 1,529 and 4,332 remain for validation and test.

No album stands in two folders, but artists do: models are tested on artists that they were
trained on.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from musicnn_zoo.datasets.dataset import (
    SPLITS,
    UNTAGGED,
    Dataset,
    DatasetError,
    Findings,
    Track,
    Untagged,
    assemble,
    audio_folder,
)
from musicnn_zoo.datasets.table import TextTable, read_rows, read_table
from musicnn_zoo.errors import ArgumentError, answered, check_choice, check_whole
from musicnn_zoo.zoo.catalogue import MTT_TAGS

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
    """Read ``index_SUFFIX.tsv`` and those of ``{train,val,test}_gt_SUFFIX.tsv`` that are there.

    They stand in ``folder``, their names in any case. ``tags`` are what the numbers mean, and
    ``group_of`` takes a path of the index. ``known_broken`` are tracks that the splits leave out
    because their files are broken. That there is no ground truth is a DatasetError.
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
    """Whether a folder holds an index for :func:`read_ground_truth`."""
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


MttGroup = Literal["artist", "album", "recording"]

BROKEN_CLIPS = ("35644", "55753", "57881")
"""Ids of clips whose files are missing or broken in the published audio.

They are in the folders 6, 8 and 9; musicnn-training leaves them out (aux/mtt/partition_gt.py).
"""

MTT_SYNONYMS: dict[str, tuple[str, ...]] = {
    "beat": ("beats",),
    "chant": ("chanting",),
    "choir": ("choral",),
    "classical": ("clasical", "classic"),
    "drum": ("drums",),
    "electro": ("electronic", "electronica", "electric"),
    "fast": ("fast beat", "quick"),
    "female": (
        "female singer", "female singing", "female vocals", "female voice", "woman",
        "woman singing", "women",
    ),
    "flute": ("flutes",),
    "guitar": ("guitars",),
    "hard": ("hard rock",),
    "harpsichord": ("harpsicord",),
    "heavy": ("heavy metal", "metal"),
    "horn": ("horns",),
    "india": ("indian",),
    "jazz": ("jazzy",),
    "male": (
        "male singer", "male vocal", "male vocals", "male voice", "man", "man singing", "men",
    ),
    "no beat": ("no drums",),
    "no singer": (
        "no singing", "no vocal", "no vocals", "no voice", "no voices", "instrumental",
    ),
    "opera": ("operatic",),
    "orchestra": ("orchestral",),
    "quiet": ("silence",),
    "singer": ("singing",),
    "space": ("spacey",),
    "string": ("strings",),
    "synth": ("synthesizer",),
    "violin": ("violins",),
    "vocal": ("vocals", "voice", "voices"),
    "strange": ("weird",),
}  # fmt: skip
"""Synonyms that Choi proposes to merge; the first of each stands for all.

From "Proposed tag preprocessing" in https://github.com/keunwoochoi/magnatagatune-list, whose
author is not sure of "opera" and "hard". The published splits and models merge nothing.
"""

_FOLDERS = "0123456789abcdef"


@answered
def magnatagatune(
    source: str | os.PathLike[str],
    *,
    audio_root: str | os.PathLike[str] | None = None,
    top: int | None = 50,
    merge: Mapping[str, Sequence[str]] | None = None,
    untagged: Untagged = "keep",
    group_by: MttGroup = "artist",
    check_files: bool = True,
) -> Dataset:
    """Read MagnaTagATune with its usual split, see :mod:`musicnn_zoo.datasets.mtt`.

    Parameters
    ----------
    source : path
        ``annotations_final.csv`` as published (tab-separated: ``clip_id``, 188 tags of 0 or 1,
        ``mp3_path``), a folder with it, or a folder with musicnn-training's ``index_mtt.tsv``
        and one or more of ``{train,val,test}_gt_mtt.tsv``.
    audio_root : path, optional
        The folder with the folders ``0`` to ``f``; by default that of the annotations.
    top : int or None
        Keep the most frequent tags over all clips, the most frequent first; None keeps all in
        the order of their columns. The 50 that the models of the zoo know come in their order,
        :data:`musicnn_zoo.zoo.catalogue.MTT_TAGS`. musicnn-training's files have these only.
    merge : mapping of str to sequence of str, optional
        Synonyms by the tag that is to stand for them, merged before the most frequent are
        chosen; :data:`~musicnn_zoo.datasets.mtt.MTT_SYNONYMS` is a list in use. The published
        splits merge nothing.
    untagged : {"keep", "drop"}
        What becomes of clips without any of the tags: "keep" as Pons, "drop" as Lee and Won
        (who also leave out clips shorter than 29.1 s, for which see the audio).
    group_by : {"artist", "album", "recording"}
        What the groups are: all taken from the names of the files. Artists leak in the usual
        split, see :attr:`Dataset.leaking_groups`; albums and recordings do not.
    check_files : bool
        Whether to look for the audio and leave out what is missing or empty.

    Raises
    ------
    DatasetError
        If files are missing or not as described, or nothing is left.
    """
    check_choice("untagged", untagged, UNTAGGED)
    check_choice("group_by", group_by, get_args(MttGroup))
    if top is not None:
        check_whole("top", top)
    source = Path(source)
    annotations = _annotations(source)
    found = Findings()
    audio = audio_folder(source, audio_root)
    group_of = partial(_group, group_by=group_by)
    if annotations is None:
        if top != 50 or merge:
            raise ArgumentError(
                "musicnn-training's files have the 50 most frequent tags, unmerged; for others "
                "pass annotations_final.csv"
            )
        vocabulary: Sequence[str] = MTT_TAGS
        tracks = read_ground_truth(
            source, "mtt", MTT_TAGS, found,
            audio_root=audio, group_of=group_of, known_broken=BROKEN_CLIPS,
        )  # fmt: skip
    else:
        table = read_table(annotations, found, delimiter="\t")
        clips = list(_clips(table, found))
        names = [name for name in table.header if name not in ("clip_id", "mp3_path")]
        stand_ins = _stand_ins(names, merge or {}, found)
        tagged = [{stand_ins[tag] for tag in tags} for _, _, tags in clips]
        vocabulary = _most_frequent(tagged, tuple(dict.fromkeys(stand_ins.values())), top, found)
        tracks = []
        for (identity, path, _), tags in zip(clips, tagged, strict=True):
            if identity in BROKEN_CLIPS:
                found.add("known_broken", path)
                continue
            known = tuple(tag for tag in vocabulary if tag in tags)
            tracks.append(Track(str(audio / path), known, group_of(path), _split_of(path)))
    if untagged == "drop":
        found.add("untagged_by_request", *(track.path for track in tracks if not track.tags))
        tracks = [track for track in tracks if track.tags]
    return assemble(
        "MagnaTagATune", tracks, found,
        vocabulary=vocabulary, untagged="keep", check_files=check_files,
    )  # fmt: skip


def _annotations(source: Path) -> Path | None:
    """Return the annotations, or None where musicnn-training's files are."""
    if source.is_file():
        return source
    if not source.is_dir():
        raise DatasetError(f"{source}: there is no such file or folder")
    annotations = source / "annotations_final.csv"
    if has_index(source, "mtt"):
        if annotations.exists():
            raise DatasetError(
                f"{source}: has both annotations_final.csv and index_mtt.tsv; pass the path of "
                "annotations_final.csv, or a folder without it"
            )
        return None
    if not annotations.exists():
        raise DatasetError(
            f"{source}: has neither annotations_final.csv nor index_mtt.tsv with *_gt_mtt.tsv"
        )
    return annotations


def _clips(table: TextTable, found: Findings) -> Iterator[tuple[str, str, set[str]]]:
    """Yield id, path and tags of each clip."""
    for needed in ("clip_id", "mp3_path"):
        if needed not in table.header:
            raise DatasetError(
                f"{table.path}: is not annotations_final.csv: it has no column {needed!r} "
                f"separated by tabs but {', '.join(map(repr, table.header[:5]))}"
            )
    seen: set[str] = set()
    for where, cells in table.rows:
        answers = dict(zip(table.header, map(str.strip, cells), strict=True))
        identity, path = answers.pop("clip_id"), answers.pop("mp3_path")
        if not {"0", "1"}.issuperset(answers.values()):
            found.add("unreadable_rows", f"{where}: holds other than 0 and 1")
        elif path[:1].lower() not in _FOLDERS or path[1:2] != "/":
            found.add("unreadable_rows", f"{where}: {path!r} is not in a folder 0 to f")
        elif path in seen:
            found.add("duplicates", f"{where}: {path}")
        else:
            seen.add(path)
            yield identity, path, {name for name, cell in answers.items() if cell == "1"}


def _stand_ins(
    names: Sequence[str], merge: Mapping[str, Sequence[str]], found: Findings
) -> dict[str, str]:
    """Return the tag that each column counts for."""
    stands_for: dict[str, str] = {}
    for tag, synonyms in merge.items():
        for synonym in (tag, *synonyms):
            if stands_for.setdefault(synonym, tag) != tag:
                raise ArgumentError(
                    f"merge puts {synonym!r} under both {stands_for[synonym]!r} and {tag!r}"
                )
        found.add("unknown_tags", *(synonym for synonym in synonyms if synonym not in names))
        found.add(
            "merged_tags", *(f"{synonym!r} → {tag!r}" for synonym in synonyms if synonym in names)
        )
    return {name: stands_for.get(name, name) for name in names}


def _most_frequent(
    tagged: list[set[str]], tags: Sequence[str], top: int | None, found: Findings
) -> tuple[str, ...]:
    if top is None:
        return tuple(tags)
    counts = Counter(tag for of_clip in tagged for tag in of_clip)
    ranked = sorted(tags, key=lambda tag: -counts[tag])
    found.add("unused_tags", *ranked[top:])
    chosen = tuple(ranked[:top])
    return MTT_TAGS if set(chosen) == set(MTT_TAGS) else chosen


def _split_of(path: str) -> str:
    folder = _FOLDERS.index(path[0].lower())
    return "train" if folder < 12 else "validation" if folder < 13 else "test"


def _group(path: str, group_by: MttGroup) -> str:
    """Take a group from ARTIST-ALBUM-NUMBER-TITLE-START-END.mp3."""
    parts = PurePosixPath(path).stem.split("-")
    return "-".join(parts[: {"artist": 1, "album": 2, "recording": -2}[group_by]])
