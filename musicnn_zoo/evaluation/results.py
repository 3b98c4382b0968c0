"""What an evaluation found: typed figures that print as a table and convert to plain data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from musicnn_zoo.evaluation.bootstrap import Interval
from musicnn_zoo.library.writers import safe_tag
from musicnn_zoo.plain_text import NAME_WIDTH, aligned, count, printable, shortened, statements

TAG_COLUMNS = (
    "tag", "positives", "roc_auc", "roc_auc_low", "roc_auc_high", "average_precision",
    "average_precision_low", "average_precision_high", "threshold", "precision", "recall", "f1",
)  # fmt: skip
CLASS_COLUMNS = ("class", "tracks", "precision", "recall", "f1")


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
        None also without a bootstrap, and where all its replicates agree, as they do for a tag
        that is told perfectly: they then say nothing about the error.
    threshold : float or None
        From what score on the tag is given, for the figures below; None without positives.
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
class Evaluation:
    """How well scores tell tags, in total and tag by tag; prints as a table in percent.

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

    @property
    def columns(self) -> tuple[str, ...]:
        """What the cells of :meth:`rows` are."""
        return TAG_COLUMNS

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain data, ready for JSON; None becomes null there."""
        return _plain_data(self)

    def to_json(self) -> str:
        """Return :meth:`to_dict` as a JSON text."""
        return json.dumps(self.to_dict())

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of a CSV, one row a tag under ``TAG_COLUMNS``."""
        return [
            (
                safe_tag(tag.tag),
                str(tag.positives),
                *_interval_cells(tag.roc_auc, tag.roc_auc_interval),
                *_interval_cells(tag.average_precision, tag.average_precision_interval),
                *(_cell(value) for value in (tag.threshold, tag.precision, tag.recall, tag.f1)),
            )
            for tag in self.per_tag
        ]

    def __str__(self) -> str:
        n_averaged = len(self.per_tag) - len(self.tags_left_out)
        head = [
            f"{count(self.tracks, 'track')}, {count(n_averaged, 'tag')}, figures in percent",
            f"ROC-AUC {_percent(self.roc_auc, self.roc_auc_interval, digits=2)}",
            f"PR-AUC  {_percent(self.pr_auc, self.pr_auc_interval, digits=2)}",
            f"F1      {_percent(self.f1, digits=2)}",
        ]
        rows = [
            (
                tag.tag,
                str(tag.positives),
                _percent(tag.roc_auc, tag.roc_auc_interval),
                _percent(tag.average_precision, tag.average_precision_interval),
                "–" if tag.threshold is None else f"{tag.threshold:.3g}",
                _percent(tag.f1),
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
class ClassEvaluation:
    """How well scores tell classes, in total and class by class; prints as a table in percent.

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

    accuracy: float
    balanced_accuracy: float
    accuracy_interval: Interval | None
    balanced_accuracy_interval: Interval | None
    per_class: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    tracks: int
    classes_left_out: tuple[str, ...]
    conventions: dict[str, str]

    @property
    def columns(self) -> tuple[str, ...]:
        """What the cells of :meth:`rows` are."""
        return CLASS_COLUMNS

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain data, ready for JSON; None becomes null there."""
        return _plain_data(self)

    def to_json(self) -> str:
        """Return :meth:`to_dict` as a JSON text."""
        return json.dumps(self.to_dict())

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of a CSV, one row a class under ``CLASS_COLUMNS``."""
        return [
            (
                safe_tag(found.name),
                str(found.tracks),
                *(_cell(value) for value in (found.precision, found.recall, found.f1)),
            )
            for found in self.per_class
        ]

    def __str__(self) -> str:
        names = [found.name for found in self.per_class]
        n_averaged = len(names) - len(self.classes_left_out)
        balanced = _percent(self.balanced_accuracy, self.balanced_accuracy_interval, digits=2)
        head = [
            f"{count(self.tracks, 'track')}, {n_averaged} classes, figures in percent",
            f"accuracy          {_percent(self.accuracy, self.accuracy_interval, digits=2)}",
            f"balanced accuracy {balanced}",
        ]
        rows = [
            (
                found.name,
                str(found.tracks),
                _percent(found.precision),
                _percent(found.recall),
                _percent(found.f1),
                _most_often(index, names, counts),
            )
            for index, (found, counts) in enumerate(
                zip(self.per_class, self.confusion, strict=True)
            )
        ]
        table = aligned(("class", "tracks", "precision", "recall", "F1", "mistaken for"), rows)
        return "\n".join([*head, "", *table, "", *statements(self.conventions)])


def _plain_data(evaluation: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(evaluation), allow_nan=False))
    return plain


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.9g}"


def _interval_cells(value: float | None, interval: Interval | None) -> tuple[str, str, str]:
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return _cell(value), _cell(low), _cell(high)


def _percent(value: float | None, interval: Interval | None = None, *, digits: int = 1) -> str:
    if value is None:
        return "–"
    text = f"{100 * value:.{digits}f}"
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
