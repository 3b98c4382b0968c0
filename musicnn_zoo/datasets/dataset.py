"""A data set as files and labels, and the report of what was left out of it and why."""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import (
    ArgumentError,
    AudioError,
    UnknownNameError,
    check_choice,
    listed,
    shown,
)
from musicnn_zoo.sound.find import Stamp, take_stamps
from musicnn_zoo.sound.remote import as_address
from musicnn_zoo.text import path_to_text, printable

EXAMPLES = 3
"""Items of each kind that the summary names; the report lists all."""


class DatasetError(ArgumentError):
    """A data set that cannot be read, or of which nothing is left."""


class DatasetWarning(UserWarning):
    """A data set of which something was left out or changed, or that a model has seen."""


class Kind(NamedTuple):
    """The words for one kind of finding; of ``[one|many]`` the first stands after the number 1.

    ``warns`` says whether to warn the caller, who may have asked for it.
    """

    words: str
    warns: bool = True

    def after(self, number: int) -> str:
        """Return the words that follow a number."""
        return re.sub(r"\[(.*?)\|(.*?)\]", r"\1" if number == 1 else r"\2", self.words)


KINDS: dict[str, Kind] = {
    # Files.
    "missing_files": Kind("missing file[|s] left out"),
    "empty_files": Kind("file[|s] of zero bytes left out"),
    "broken_files": Kind("file[|s] that cannot be decoded left out"),
    "known_broken": Kind("clip[|s] known to be broken left out", warns=False),
    "not_audio": Kind(
        "file[|s] that [is no audio by its name|are no audio by their names] left out"
    ),
    "not_regular": Kind("pipe[|s], device[|s] or broken link[|s] left out"),
    "unclassed_files": Kind("audio file[|s] outside the class folders left out"),
    "unread_folders": Kind("folder[|s] left out that [is a link|are links] or cannot be opened"),
    # Rows.
    "unreadable_rows": Kind("unreadable row[|s] left out"),
    "duplicates": Kind("row[|s] left out that [repeats an earlier one|repeat earlier ones]"),
    "conflicts": Kind(
        "row[|s] that contradict[s|] the group or split of an earlier row for [its|their] file, "
        "which stands"
    ),
    "merged_rows": Kind(
        "file[|s] on several rows with different tags, which were put together", warns=False
    ),
    "without_split": Kind("track[|s] left out that [is|are] in no split"),
    "absent_splits": Kind("split[|s] without [its file|their files]"),
    "without_group": Kind("track[|s] without a group, [|each ]taken for a group of its own"),
    "unlabelled": Kind("track[|s] of the index left out that no ground truth names"),
    "unindexed": Kind("track[|s] of the ground truth left out that the index does not name"),
    # Tags.
    "untagged": Kind("track[|s] without a tag left out"),
    "untagged_by_request": Kind("track[|s] without a tag left out, as asked", warns=False),
    "unknown_tags": Kind("tag[|s] ignored that [is|are] not in the vocabulary"),
    "unused_tags": Kind("tag[|s] not used, as asked", warns=False),
    "tags_without_tracks": Kind("tag[|s] that no track has"),
    "merged_tags": Kind("tag[|s] merged, as asked", warns=False),
    "merged_spellings": Kind("tag[|s] in several spellings, merged into the most frequent"),
    "commas": Kind(
        "tag[ with a comma,|s with commas, each] taken for one tag "
        "(separators=',' splits [it|them])"
    ),
    # Classes.
    "empty_classes": Kind("class[|es] without usable audio left out"),
    "single_file_classes": Kind("class[|es] with a single file, which cannot be split"),
    "only_class": Kind("class[ and no other: there is nothing to tell apart|es]"),
    "seldom_several": Kind(
        "track[|s] with several tags where nearly all have one, which makes this multi-label"
    ),
    "absent_from_split": Kind("tag[|s] without a track in one of the splits"),
}
"""Kinds of findings, in the order of the summary."""


@dataclass(frozen=True, eq=False)
class Report:
    """What was left out of a data set or changed, and why.

    ``report["missing_files"]`` is a tuple, empty if there are none; iterating gives the kinds
    that have items; ``str(report)`` is a paragraph.

    Parameters
    ----------
    found : mapping of str to tuple of str
        Items (paths, rows, tags …) by their kind, one of
        :data:`~musicnn_zoo.datasets.dataset.KINDS`.

    Raises
    ------
    UnknownNameError
        If there is no such kind.
    """

    found: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in self.found:
            _check(kind)
        ordered = {kind: tuple(self.found[kind]) for kind in KINDS if self.found.get(kind)}
        object.__setattr__(self, "found", ordered)

    def __getitem__(self, kind: str) -> tuple[str, ...]:
        _check(kind)
        return self.found.get(kind, ())

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __contains__(self, kind: object) -> bool:
        return kind in self.found

    @property
    def counts(self) -> dict[str, int]:
        """Number of items of each kind that has any."""
        return {kind: len(items) for kind, items in self.found.items()}

    @property
    def alarming(self) -> Report:
        """What the caller did not ask for."""
        return Report({kind: items for kind, items in self.found.items() if KINDS[kind].warns})

    def adding(self, kind: str, items: Iterable[str]) -> Report:
        """Return a report with more items of one kind."""
        return Report({**self.found, kind: (*self[kind], *items)})

    def to_dict(self) -> dict[str, list[str]]:
        """Return all items by kind, ready for JSON."""
        return {kind: [path_to_text(item) for item in items] for kind, items in self.found.items()}

    def __str__(self) -> str:
        if not self.found:
            return "nothing was left out."
        return "; ".join(_clause(kind, items) for kind, items in self.found.items()) + "."


class Findings:
    """Collects a :class:`Report` while a data set is read."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def add(self, kind: str, *items: str) -> None:
        """Note items of one kind."""
        self._found.setdefault(kind, []).extend(items)

    def report(self) -> Report:
        """Return what was found so far."""
        return Report({kind: tuple(items) for kind, items in self._found.items()})


def announce(name: str, report: Report, *, stacklevel: int = 4) -> None:
    """Warn once with a summary of what the caller did not ask for, if there is any.

    By default the warning names the line that called the function that calls this one, if that
    function is :func:`~musicnn_zoo.errors.answered`.
    """
    alarming = report.alarming
    if alarming:
        warnings.warn(
            f"{printable(name)}: {alarming} The data set's .report lists all.",
            DatasetWarning,
            stacklevel=stacklevel,
        )


def _check(kind: str) -> None:
    if kind not in KINDS:
        raise UnknownNameError("kind of finding", kind, KINDS)


def _clause(kind: str, items: tuple[str, ...]) -> str:
    words = KINDS[kind].after(len(items))
    shown = ", ".join(printable(item) for item in items[:EXAMPLES])
    return f"{len(items)} {words} ({shown}{', …' if len(items) > EXAMPLES else ''})"


Untagged = Literal["keep", "drop"]
UNTAGGED: tuple[Untagged, ...] = get_args(Untagged)
SPLITS: tuple[str, ...] = ("train", "validation", "test")
"""Names of the parts of a data set, as everywhere in this package."""

_SPELLINGS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True, eq=False)
class Dataset:
    """Audio files and the tags of each.

    The arrays cannot be written to; methods return new data sets.

    Parameters
    ----------
    name : str
    tags : tuple of str
        The vocabulary, in the order of the columns of ``labels``.
    paths : tuple of str
        One file a track, no file twice.
    labels : ndarray, shape (tracks, tags), bool
    groups : tuple of str, optional
        For each track what must not be torn apart by a split: its artist, album or recording.
    splits : tuple of str, optional
        For each track ``"train"``, ``"validation"`` or ``"test"``.
    report : Report
        What was left out when the data set was read, and why.

    Raises
    ------
    DatasetError
        If there are no tracks or no tags, if a path or a tag is there twice, if the lengths
        differ or a split has another name.
    """

    name: str
    tags: tuple[str, ...]
    paths: tuple[str, ...]
    labels: NDArray[np.bool_]
    groups: tuple[str, ...] | None = None
    splits: tuple[str, ...] | None = None
    report: Report = field(default_factory=Report)

    def __post_init__(self) -> None:
        for attribute in ("tags", "paths", "groups", "splits"):
            values = getattr(self, attribute)
            object.__setattr__(self, attribute, None if values is None else tuple(values))
        labels = np.array(self.labels, dtype=bool)
        labels.flags.writeable = False
        object.__setattr__(self, "labels", labels)
        if not self.paths:
            raise DatasetError(f"{self.name}: no track is left")
        if not self.tags:
            raise DatasetError(f"{self.name}: there are no tags")
        if labels.shape != (len(self.paths), len(self.tags)):
            raise DatasetError(
                f"{self.name}: labels must be (tracks, tags) = "
                f"({len(self.paths)}, {len(self.tags)}); received {labels.shape}"
            )
        for what, values in (("tag", self.tags), ("path", self.paths)):
            if len(set(values)) < len(values):
                twice = next(value for value in values if values.count(value) > 1)
                raise DatasetError(f"{self.name}: {what} {twice!r} is there twice")
        for what, of_track in (("group", self.groups), ("split", self.splits)):
            if of_track is not None and len(of_track) != len(self.paths):
                raise DatasetError(
                    f"{self.name}: every track needs a {what}: "
                    f"{len(of_track)} for {len(self.paths)} tracks"
                )
        for split in sorted(set(self.splits or ())):
            if split not in SPLITS:
                raise DatasetError(
                    f"{self.name}: a split must be one of {', '.join(SPLITS)}; received {split!r}"
                )

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.labels.flags.writeable = False

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def single_label(self) -> bool:
        """Whether every track has exactly one tag: a softmax classification."""
        return bool((self.labels.sum(axis=1) == 1).all())

    @property
    def positives(self) -> NDArray[np.int64]:
        """Number of tracks that have each tag, shape (tags,)."""
        return np.asarray(self.labels.sum(axis=0), np.int64)

    @property
    def split_sizes(self) -> dict[str, int]:
        """Number of tracks of each split that has any; empty without splits."""
        splits = self.splits or ()
        return {split: splits.count(split) for split in SPLITS if split in splits}

    @property
    def leaking_groups(self) -> tuple[str, ...]:
        """Groups with tracks in more than one split, sorted; empty if either is unknown."""
        if self.groups is None or self.splits is None:
            return ()
        pairs = set(zip(self.groups, self.splits, strict=True))
        in_splits = Counter(group for group, _ in pairs)
        return tuple(sorted(group for group, number in in_splits.items() if number > 1))

    def subset(self, which: str | Sequence[int] | NDArray[Any]) -> Dataset:
        """Return some of the tracks, with the same tags and report.

        Parameters
        ----------
        which : str or sequence of int or of bool
            Name of a split, indices of tracks in the order wanted, or a mask of all tracks.

        Raises
        ------
        ArgumentError
            If there is no such split, or an index is not that of a track or is there twice.
        DatasetError
            If no track is left.
        """
        if isinstance(which, str):
            if not self.splits:
                raise ArgumentError(
                    f"{self.name} has no splits; musicnn_zoo.datasets.split() makes some"
                )
            if which not in self.splits:
                raise UnknownNameError("split", which, self.split_sizes)
            which = np.array(self.splits) == which
        indices = np.asarray(which)
        if indices.dtype == bool:
            if indices.shape != (len(self),):
                raise ArgumentError(
                    f"a mask must have {len(self)} entries, one a track; "
                    f"received shape {indices.shape}"
                )
            return self._take(np.flatnonzero(indices))
        if indices.size and not np.issubdtype(indices.dtype, np.integer):
            raise ArgumentError(f"indices must be whole numbers; received {indices.dtype}")
        if indices.ndim != 1 or ((indices < 0) | (indices >= len(self))).any():
            raise ArgumentError(
                f"indices must be a list of numbers from 0 to {len(self) - 1}; received {which!r}"
            )
        if len(np.unique(indices)) < len(indices):
            raise ArgumentError("indices must name each track once")
        return self._take(indices)

    def without(self, which: Iterable[int], kind: str = "broken_files") -> Dataset:
        """Leave tracks out, and note them in the report.

        Parameters
        ----------
        which : iterable of int
            Indices of tracks.
        kind : str
            Why: one of :data:`musicnn_zoo.datasets.dataset.KINDS`.

        Raises
        ------
        ArgumentError
            If an index is no track.
        DatasetError
            If no track is left; the message has the report.
        """
        out = sorted(set(which))
        if out and not 0 <= out[0] <= out[-1] < len(self):
            raise ArgumentError(f"indices must be from 0 to {len(self) - 1}; received {out}")
        report = self.report.adding(kind, [self.paths[index] for index in out])
        if len(out) == len(self):
            raise DatasetError(f"{self.name}: no track is left: {report}")
        mask = np.ones(len(self), bool)
        mask[out] = False
        return replace(self._take(np.flatnonzero(mask)), report=report)

    def with_tags(self, tags: Iterable[str], *, untagged: Untagged = "keep") -> Dataset:
        """Return the data set with some of its tags, in the order given.

        Parameters
        ----------
        tags : iterable of str
        untagged : {"keep", "drop"}
            What becomes of tracks that have none of them. Those dropped are in the report.

        Raises
        ------
        UnknownNameError
            If the data set has no such tag.
        DatasetError
            If no tag or no track is left.
        """
        chosen = listed("tags", tags)
        column = {tag: index for index, tag in enumerate(self.tags)}
        for tag in chosen:
            if tag not in column:
                raise UnknownNameError("tag", tag, self.tags)
        check_choice("untagged", untagged, UNTAGGED)
        unused = [tag for tag in self.tags if tag not in chosen]
        changed = replace(
            self,
            tags=chosen,
            labels=self.labels[:, [column[tag] for tag in chosen]],
            report=self.report.adding("unused_tags", unused),
        )
        if untagged == "keep":
            return changed
        return changed.without(np.flatnonzero(~changed.labels.any(axis=1)), "untagged_by_request")

    def with_groups(self, groups: Callable[[str], str] | Iterable[str] | None) -> Dataset:
        """Return the data set with other groups.

        Parameters
        ----------
        groups : callable, iterable of str or None
            A group for each track, or a function that takes its path and returns one, as
            ``lambda path: Path(path).stem.split("_")[0]`` for excerpts of one recording.
        """
        if callable(groups):
            groups = [groups(path) for path in self.paths]
        return replace(self, groups=None if groups is None else listed("groups", groups))

    def class_weights(self) -> NDArray[np.float64]:
        r"""Weights that give all classes the same part of the loss, shape (tags,).

        :math:`n / (K n_k)` for class k with :math:`n_k` of the n tracks, K being the number of
        classes: what scikit-learn calls "balanced". A class without tracks has weight 1.

        Raises
        ------
        ArgumentError
            If tracks have several tags or none: see :meth:`label_weights`.
        """
        if not self.single_label:
            raise ArgumentError(
                f"{self.name}: class weights need exactly one tag a track; use label_weights()"
            )
        positives = self.positives
        weights = np.ones(len(self.tags))
        np.divide(len(self), positives * np.count_nonzero(positives), weights, where=positives > 0)
        return weights

    def label_weights(self) -> NDArray[np.float64]:
        r"""Weights of the binary decisions of each tag, shape (tags, 2): absent, present.

        Each tag is balanced by itself, as in :meth:`class_weights`: :math:`n / 2 (n - p)` where
        it is absent and :math:`n / 2 p` where it is present, p being its positives. Both sides
        then weigh the same, and the weights of a tag over the n tracks average 1. A tag that no
        track or every track has weighs 1.
        """
        present = self.positives
        counts = np.stack([len(self) - present, present], axis=1)
        weights = np.ones(counts.shape)
        np.divide(len(self), 2 * counts, weights, where=counts.all(axis=1, keepdims=True))
        return weights

    def __repr__(self) -> str:
        kind = "one" if self.single_label else f"{self.labels.sum(axis=1).mean():.2f}"
        parts = [f"{len(self)} tracks", f"{len(self.tags)} tags, {kind} a track"]
        if self.groups is not None:
            parts.append(f"{len(set(self.groups))} groups")
        parts += [f"{split} {size}" for split, size in self.split_sizes.items()]
        return f"<Dataset {self.name}: {'; '.join(parts)}>"

    def _take(self, indices: NDArray[Any]) -> Dataset:
        def of(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
            return None if values is None else tuple(values[index] for index in indices)

        return replace(
            self,
            paths=tuple(self.paths[index] for index in indices),
            labels=self.labels[indices.astype(np.intp)],
            groups=of(self.groups),
            splits=of(self.splits),
        )


def check_dataset(dataset: object) -> None:
    """Refuse what is no data set."""
    if isinstance(dataset, Dataset):
        return
    hint = ""
    if isinstance(dataset, str | os.PathLike):
        hint = f": musicnn_zoo.datasets.open_dataset({os.fspath(dataset)!r}) reads one"
    raise ArgumentError(f"dataset must be a Dataset; received {shown(dataset)}{hint}")


def split_name(text: str) -> str | None:
    """Return which split a word means (``"val"`` is ``"validation"``), or None if none."""
    word = text.strip().casefold()
    return next((split for split, words in _SPELLINGS.items() if word in words), None)


_SELDOM = 0.05


class Track(NamedTuple):
    """A file with its tags, as read; ``where`` names the row or the entry for the report."""

    path: str
    tags: tuple[str, ...]
    group: str | None = None
    split: str | None = None
    where: str = ""


def audio_folder(source: Path, audio_root: str | os.PathLike[str] | None) -> Path:
    """Return where relative paths start: at ``audio_root``, or in the folder of the source."""
    if audio_root is not None:
        return Path(audio_root)
    return source if source.is_dir() else source.parent


def assemble(
    name: str,
    tracks: Iterable[Track],
    found: Findings,
    *,
    vocabulary: Sequence[str] | None = None,
    untagged: Untagged = "drop",
    check_files: bool = True,
    judge: bool = False,
) -> Dataset:
    """Make a data set of tracks, leaving out what cannot be used; the last step of every reader.

    What was found becomes the report, and the caller of the reader is warned of it. That nothing
    is left is a :class:`DatasetError` with the report.

    Parameters
    ----------
    name : str
    tracks : iterable of Track
        Each path once.
    found : Findings
    vocabulary : sequence of str, optional
        The tags and their order; others are ignored. By default all there are, sorted.
    untagged, check_files
        As in :func:`musicnn_zoo.datasets.from_table`.
    judge : bool
        Note also what harms training: a single class, classes of a single file, and a few tracks
        with several tags that make multi-label what looks single-label.
    """
    check_choice("untagged", untagged, UNTAGGED)
    kept = list(tracks)
    present = {tag for track in kept for tag in track.tags}
    known = sorted(present, key=_alphabetically)
    if vocabulary is not None:
        known = list(dict.fromkeys(vocabulary))
        unknown = present.difference(known)
        found.add("unknown_tags", *sorted(unknown, key=_alphabetically))
        kept = [
            track._replace(tags=tuple(tag for tag in track.tags if tag not in unknown))
            for track in kept
        ]
    if check_files:
        remote = dict(take_stamps(filter(as_address, (track.path for track in kept))))
        kept = [track for track in kept if _usable(track.path, remote, found)]
    if any(track.split is not None for track in kept):
        found.add("without_split", *(track.path for track in kept if track.split is None))
        kept = [track for track in kept if track.split is not None]
    if untagged == "drop":
        found.add("untagged", *(track.path for track in kept if not track.tags))
        kept = [track for track in kept if track.tags]
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
    dataset = Dataset(
        name=name,
        tags=tuple(known),
        paths=tuple(track.path for track in kept),
        labels=labels,
        groups=_groups(kept, found),
        splits=tuple(track.split for track in kept if track.split is not None) or None,
    )
    if judge:
        _judge_classes(dataset, found)
    report = found.report()
    announce(name, report, stacklevel=5)
    return replace(dataset, report=report)


def _judge_classes(dataset: Dataset, found: Findings) -> None:
    if len(dataset.tags) == 1:
        found.add("only_class", *dataset.tags)
    counts = zip(dataset.tags, dataset.positives, strict=True)
    found.add("single_file_classes", *(tag for tag, count in counts if count == 1))
    several = np.flatnonzero(dataset.labels.sum(axis=1) > 1)
    if len(several) <= _SELDOM * len(dataset):
        found.add("seldom_several", *(dataset.paths[row] for row in several))


def merge_repeated(tracks: Iterable[Track], found: Findings) -> list[Track]:
    """Put the rows of one file together.

    Rows with further tags add them; rows that repeat are noted as duplicates. The group and
    the split of the first row that states them stand, and rows that contradict are noted.
    """
    merged: dict[str, Track] = {}
    grown: dict[str, None] = {}
    for track in tracks:
        key = os.path.normpath(track.path)
        first = merged.setdefault(key, track)
        if first is track:
            continue
        new = [tag for tag in track.tags if tag not in first.tags]
        pairs = ((first.group, track.group), (first.split, track.split))
        if any(old and other and old != other for old, other in pairs):
            found.add("conflicts", f"{track.where}: {track.path}")
        elif not new:
            found.add("duplicates", f"{track.where}: {track.path}")
        if new:
            grown[first.path] = None
        merged[key] = first._replace(
            tags=(*first.tags, *new),
            group=first.group or track.group,
            split=first.split or track.split,
        )
    found.add("merged_rows", *grown)
    return list(merged.values())


def _usable(path: str, remote: Mapping[str, Stamp | AudioError], found: Findings) -> bool:
    size = _size_of(path, remote.get(path))
    if size is None:
        found.add("missing_files", path)
        return False
    if size == 0:
        found.add("empty_files", path)
    return size != 0


def _size_of(path: str, remote: Stamp | AudioError | None) -> int | None:
    if remote is not None:
        return remote.size if isinstance(remote, Stamp) else None
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _groups(tracks: list[Track], found: Findings) -> tuple[str, ...] | None:
    if all(track.group is None for track in tracks):
        return None
    found.add("without_group", *(track.path for track in tracks if track.group is None))
    return tuple(track.path if track.group is None else track.group for track in tracks)


def _alphabetically(tag: str) -> tuple[str, str]:
    return tag.casefold(), tag
