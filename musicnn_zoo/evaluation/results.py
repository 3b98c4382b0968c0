"""What an evaluation gives: figures with their intervals, in total and of each tag or class."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.text import NAME_WIDTH, aligned, count, printable, safe_tag, shortened, statements

AUTO, UNSEEN = "auto", "unseen"
"""Which tracks are evaluated, besides the names of splits."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval of a figure.

    Parameters
    ----------
    low, high : float
        Between 0 and 1.
    level : float
        The part of such intervals that hold the true figure, nominally; for instance 0.95.
    """

    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Seen:
    """How many of the tracks evaluated a model knows from its training, by their encoded sound.

    Parameters
    ----------
    train : int
        Were trained on, also by the model from which it was fine-tuned.
    validation : int
        Chose its weights or its thresholds.
    test : int
        Were its test part, which nothing was learned from.
    new : int
        Had no part in it, unless they were encoded anew since.
    namesakes : int
        Of those that are new: are at the place and have the name of a track that it was trained on
        or that chose its weights, apart from the ending.
    """

    train: int
    validation: int
    test: int
    new: int
    namesakes: int = 0

    @property
    def flatters(self) -> bool:
        """Whether figures are of tracks that it learned from."""
        return self.train + self.validation > 0

    @property
    def warning(self) -> dict[str, str]:
        """What must be said before the figures, by what it says of them; empty if nothing."""
        if self.flatters:
            return {"these figures flatter": self.describe()}
        return {"these figures may flatter": self._namesakes} if self.namesakes else {}

    @property
    def _namesakes(self) -> str:
        return (
            f"{self.namesakes:,} of the {count(self.new, 'new track')} have another sound, but the "
            "names of those that the model learned from; if they were encoded anew, it knows them"
        )

    def describe(self) -> str:
        """Return a sentence."""
        doubt = f"; {self._namesakes}" if self.namesakes else ""
        total = self.train + self.validation + self.test + self.new
        if not self.flatters:
            return (
                f"none of the {count(total, 'track')}; {self.test:,} were the model's test part, "
                f"{self.new:,} had no part in its training{doubt}"
            )
        return (
            f"the model was trained on {self.train:,} of the {count(total, 'track')}, and "
            f"{self.validation:,} chose its weights; {self.test:,} were its test part, "
            f"{self.new:,} had no part in its training{doubt}"
        )


EVALUATION_COLUMNS = (
    "tag", "positives", "roc_auc", "roc_auc_low", "roc_auc_high", "average_precision",
    "average_precision_low", "average_precision_high", "threshold", "precision", "recall", "f1",
)  # fmt: skip
CLASS_COLUMNS = ("class", "tracks", "precision", "recall", "f1")


@dataclass(frozen=True)
class _Figures:
    """What evaluations of tags and of classes share."""

    columns: ClassVar[tuple[str, ...]]
    """What the cells of ``rows()`` are."""

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain data, ready for JSON; None becomes null there."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return plain

    def to_json(self) -> str:
        """Return :meth:`to_dict` as a JSON text."""
        return json.dumps(self.to_dict())


@dataclass(frozen=True)
class TagFigures:
    """The figures of one tag, between 0 and 1; None where a figure is not defined.

    Parameters
    ----------
    tag : str
    positives : int
        Tracks with the tag.
    roc_auc, average_precision : float or None
        None without positives or without negatives.
    roc_auc_interval, average_precision_interval : Interval or None
        None also without a bootstrap, and where all its replicates agree, as for a tag that is
        predicted perfectly: they then say nothing about the error.
    threshold : float or None
        The score from which on the tag is given, for the figures below; None without positives.
    precision, recall, f1 : float or None
        At that threshold.
    """

    tag: str
    positives: int
    roc_auc: float | None
    average_precision: float | None
    roc_auc_interval: Interval | None
    average_precision_interval: Interval | None
    threshold: float | None
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Evaluation(_Figures):
    """How well scores predict tags, in total and tag by tag; prints as a table in percent.

    Parameters
    ----------
    roc_auc, pr_auc : float
        Macro averages between 0 and 1 of ROC-AUC and of average precision.
    roc_auc_interval, pr_auc_interval : Interval or None
        None as in :class:`TagFigures`.
    f1 : float or None
        Macro average of F1 over the tags that have a threshold.
    per_tag : tuple of TagFigures
        In the order of the tags received.
    tracks : int
        Tracks evaluated.
    untagged : int
        Tracks without any tag, kept or dropped as ``conventions["untagged"]`` says.
    tags_left_out : tuple of str
        Tags on no track or on every one, which no average contains.
    conventions : dict of str to str
        What to know before comparing the figures with others, in words: ``split``, ``patches``,
        ``figures``, ``averages``, ``untagged``, ``thresholds`` and ``bootstrap``.
    """

    columns = EVALUATION_COLUMNS

    roc_auc: float
    pr_auc: float
    roc_auc_interval: Interval | None
    pr_auc_interval: Interval | None
    f1: float | None
    per_tag: tuple[TagFigures, ...]
    tracks: int
    untagged: int
    tags_left_out: tuple[str, ...]
    conventions: dict[str, str]

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of a CSV, one row a tag under ``EVALUATION_COLUMNS``."""
        return [
            (
                safe_tag(tag.tag),
                str(tag.positives),
                *_interval_cells(tag.roc_auc, tag.roc_auc_interval),
                *_interval_cells(tag.average_precision, tag.average_precision_interval),
                *_cells(tag.threshold, tag.precision, tag.recall, tag.f1),
            )
            for tag in self.per_tag
        ]

    def __str__(self) -> str:
        n_averaged = len(self.per_tag) - len(self.tags_left_out)
        head = [
            f"{count(self.tracks, 'track')}, {count(n_averaged, 'tag')}, figures in percent",
            f"ROC-AUC {percent(self.roc_auc, self.roc_auc_interval, digits=2)}",
            f"PR-AUC  {percent(self.pr_auc, self.pr_auc_interval, digits=2)}",
            f"F1      {percent(self.f1, digits=2)}",
        ]
        rows = [
            (
                tag.tag,
                str(tag.positives),
                percent(tag.roc_auc, tag.roc_auc_interval),
                percent(tag.average_precision, tag.average_precision_interval),
                "–" if tag.threshold is None else f"{tag.threshold:.3g}",
                percent(tag.f1),
            )
            for tag in self.per_tag
        ]
        table = aligned(("tag", "tracks", "ROC-AUC", "PR-AUC", "threshold", "F1"), rows)
        return "\n".join([*head, "", *table, "", *statements(self.conventions)])


@dataclass(frozen=True)
class ClassFigures:
    """The figures of one class, between 0 and 1; None where a figure is 0 / 0.

    Parameters
    ----------
    name : str
    tracks : int
        Tracks of the class.
    precision : float or None
        Of the tracks taken for the class, the fraction that are of it; None if there are none.
    recall : float or None
        Of the tracks of the class, the fraction taken for it; None if there are none.
    f1 : float or None
        Harmonic mean of the two; None without tracks both of the class and taken for it.
    """

    name: str
    tracks: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class ClassEvaluation(_Figures):
    """How well scores predict classes, in total and class by class; prints as a table in percent.

    Parameters
    ----------
    accuracy : float
        Fraction of the tracks that are taken for their class.
    balanced_accuracy : float
        Mean of the recalls of the classes that have tracks.
    accuracy_interval, balanced_accuracy_interval : Interval or None
        None as in :class:`TagFigures`.
    per_class : tuple of ClassFigures
        In the order of the classes received.
    confusion : tuple of tuple of int
        Tracks by their class (outer) and the class they are taken for (inner).
    tracks : int
    classes_left_out : tuple of str
        Classes without tracks, which the balanced accuracy does not contain.
    conventions : dict of str to str
        As in :class:`Evaluation`: ``split``, ``patches``, ``figures``, ``averages`` and
        ``bootstrap``.
    """

    columns = CLASS_COLUMNS

    accuracy: float
    balanced_accuracy: float
    accuracy_interval: Interval | None
    balanced_accuracy_interval: Interval | None
    per_class: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    tracks: int
    classes_left_out: tuple[str, ...]
    conventions: dict[str, str]

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of a CSV, one row a class under ``CLASS_COLUMNS``."""
        return [
            (
                safe_tag(found.name),
                str(found.tracks),
                *_cells(found.precision, found.recall, found.f1),
            )
            for found in self.per_class
        ]

    def __str__(self) -> str:
        names = [found.name for found in self.per_class]
        n_averaged = len(names) - len(self.classes_left_out)
        balanced = percent(self.balanced_accuracy, self.balanced_accuracy_interval, digits=2)
        head = [
            f"{count(self.tracks, 'track')}, {n_averaged} classes, figures in percent",
            f"accuracy          {percent(self.accuracy, self.accuracy_interval, digits=2)}",
            f"balanced accuracy {balanced}",
        ]
        rows = [
            (
                found.name,
                str(found.tracks),
                percent(found.precision),
                percent(found.recall),
                percent(found.f1),
                _most_often(index, names, counts),
            )
            for index, (found, counts) in enumerate(
                zip(self.per_class, self.confusion, strict=True)
            )
        ]
        table = aligned(("class", "tracks", "precision", "recall", "F1", "mistaken for"), rows)
        return "\n".join([*head, "", *table, "", *statements(self.conventions)])


def _cells(*values: float | None) -> list[str]:
    return ["" if value is None else f"{value:.9g}" for value in values]


def _interval_cells(value: float | None, interval: Interval | None) -> list[str]:
    if interval is None:
        return _cells(value, None, None)
    return _cells(value, interval.low, interval.high)


def ends(intervals: Sequence[Interval | None]) -> NDArray[np.float64]:
    """Return the ends of intervals, shape (intervals, 2); NaN for None."""
    return np.array([(one.low, one.high) if one else (np.nan, np.nan) for one in intervals])


def percent(
    value: float | None, interval: Interval | None = None, *, digits: int = 1, unit: str = ""
) -> str:
    """Write a figure in percent, with its interval in brackets."""
    if value is None:
        return "–"
    text = f"{100 * value:.{digits}f}{unit}"
    if interval is None:
        return text
    return f"{text} ({100 * interval.low:.{digits}f}–{100 * interval.high:.{digits}f})"


def _most_often(index: int, names: Sequence[str], counts: Sequence[int]) -> str:
    """Name the class that tracks of the class ``index`` are most often mistaken for."""
    others = [0 if other == index else number for other, number in enumerate(counts)]
    most = max(others)
    if not most:
        return "–"
    return f"{shortened(printable(names[others.index(most)]), NAME_WIDTH)} {most}"
