"""A data set as files and labels: what training and evaluation read from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.datasets.report import DatasetError, Report
from musicnn_zoo.errors import ArgumentError, UnknownNameError

Untagged = Literal["keep", "drop"]
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
        If there are no tracks or no tags, if a path or a tag stands twice, if the lengths
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
                raise DatasetError(f"{self.name}: {what} {twice!r} stands twice")
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
        """Number of tracks of each split that there is; empty without splits."""
        splits = self.splits or ()
        return {split: splits.count(split) for split in SPLITS if split in splits}

    @property
    def leaking_groups(self) -> tuple[str, ...]:
        """Groups with tracks in more than one split, sorted; empty if either is unknown."""
        if self.groups is None or self.splits is None:
            return ()
        where: dict[str, set[str]] = {}
        for group, split in zip(self.groups, self.splits, strict=True):
            where.setdefault(group, set()).add(split)
        return tuple(sorted(group for group, splits in where.items() if len(splits) > 1))

    def subset(self, which: str | Sequence[int] | NDArray[Any]) -> Dataset:
        """Return some of the tracks; tags and report stay.

        Parameters
        ----------
        which : str or sequence of int or of bool
            Name of a split, indices of tracks in the order wanted, or a mask of all tracks.

        Raises
        ------
        ArgumentError
            If there is no such split, or an index is no track or stands twice.
        DatasetError
            If no track is left.
        """
        if isinstance(which, str):
            return self._take(self._indices_of(which))
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
        """Leave tracks out and say so in the report.

        Parameters
        ----------
        which : iterable of int
            Indices of tracks.
        kind : str
            Why: one of :data:`musicnn_zoo.datasets.report.KINDS`.

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
        chosen = tuple(tags)
        column = {tag: index for index, tag in enumerate(self.tags)}
        for tag in chosen:
            if tag not in column:
                raise UnknownNameError("tag", tag, self.tags)
        check_untagged(untagged)
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
        return replace(self, groups=None if groups is None else tuple(groups))

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

        Each tag for itself is balanced as in :meth:`class_weights`: :math:`n / 2 (n - p)` where
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

    def _indices_of(self, split: str) -> NDArray[np.intp]:
        there = self.split_sizes
        if not there:
            raise ArgumentError(
                f"{self.name} has no splits; musicnn_zoo.datasets.split() makes some"
            )
        if split not in there:
            raise UnknownNameError("split", split, there)
        return np.flatnonzero(np.array(self.splits) == split)

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


def split_name(text: str) -> str | None:
    """Return which split a word means (``"val"`` is ``"validation"``), or None if none."""
    word = text.strip().casefold()
    return next((split for split, words in _SPELLINGS.items() if word in words), None)


def check_untagged(untagged: str) -> None:
    """Refuse what is neither "keep" nor "drop"."""
    if untagged not in ("keep", "drop"):
        raise ArgumentError(f"untagged must be keep or drop; received {untagged!r}")
