"""What an evaluation gives: figures with their intervals, of all tags and of each.

References
----------
- B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7, 1979.
- B. Efron and R. J. Tibshirani, "An introduction to the bootstrap", Chapman & Hall 1993.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.text import (
    NAME_WIDTH,
    aligned,
    count,
    printable,
    safe_tag,
    shortened,
    statements,
)

_RESAMPLES_AT_ONCE = 64
_NO_SPREAD = 1e-12


@dataclass(frozen=True)
class Interval:
    """A confidence interval of a figure.

    Parameters
    ----------
    low, high : float
        Between 0 and 1.
    level : float
        How often such intervals hold the true figure, nominally; for instance 0.95.
    """

    low: float
    high: float
    level: float


@dataclass(frozen=True, eq=False)
class Ranking:
    """The tracks of one tag in order of score, for figures under many weightings of them.

    Sorting and comparing, which cost the most, are done once. A weighting then costs a gather and
    a sum over the tracks, and what else there is goes over the tracks with the tag.

    Parameters
    ----------
    positives, negatives : ndarray of int
        Tracks with and without the tag, by descending score.
    starts : ndarray of int, shape (steps,)
        Where in ``positives`` each distinct score starts.
    above, reached : ndarray of int, shape (steps,)
        Of ``negatives``, how many score higher than, and at least, that score.
    """

    positives: NDArray[np.intp]
    negatives: NDArray[np.intp]
    starts: NDArray[np.intp]
    above: NDArray[np.intp]
    reached: NDArray[np.intp]

    @classmethod
    def of(cls, labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> Ranking:
        """Sort the tracks; ``labels`` and ``scores`` have the shape (tracks,), both kinds occur."""
        order = np.argsort(-scores, kind="stable")
        positives, negatives = order[labels[order]], order[~labels[order]]
        descending = scores[positives]
        starts = np.flatnonzero(np.append(True, descending[1:] != descending[:-1]))
        steps = -descending[starts]
        return cls(
            positives=positives,
            negatives=negatives,
            starts=starts,
            above=np.searchsorted(-scores[negatives], steps, side="left"),
            reached=np.searchsorted(-scores[negatives], steps, side="right"),
        )

    def figures(
        self, weights: NDArray[np.int32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Compute ROC-AUC and average precision under each weighting.

        Parameters
        ----------
        weights : ndarray of int32, shape (tracks, weightings)
            How often each track counts.

        Returns
        -------
        roc_auc, average_precision : ndarray, shape (weightings,)
            NaN where no track with the tag counts, or none without.
        """
        of_step = np.add.reduceat(weights[self.positives], self.starts, axis=0, dtype=weights.dtype)
        true = np.cumsum(of_step, axis=0, dtype=np.float64)
        bounds = np.concatenate([self.above, self.reached, [len(self.negatives)]])
        false = _sums_before(weights[self.negatives], bounds)
        above, reached = false[: len(self.starts)], false[len(self.starts) : -1]
        n_positive, n_negative = true[-1], false[-1]
        below = n_negative - (above + reached) / 2
        precision = true / np.maximum(true + reached, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            roc_auc = (of_step * below).sum(axis=0) / (n_positive * n_negative)
            average_precision = (of_step * precision).sum(axis=0) / n_positive
        return roc_auc, np.where(n_negative > 0, average_precision, np.nan)


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """How intervals are made; ``units`` numbers the group (or track) that each track is of."""

    replicates: int
    level: float
    seed: int
    units: NDArray[np.intp]
    grouped: bool

    def __post_init__(self) -> None:
        if self.replicates < 0 or self.replicates == 1:
            raise ArgumentError(
                f"bootstrap must be a number of replicates of at least 2, better 1000, or 0 for no "
                f"intervals; received {self.replicates}"
            )
        if not 0 < self.level < 1:
            raise ArgumentError(f"level must be between 0 and 1, like 0.95; received {self.level}")
        if self.seed < 0:
            raise ArgumentError(f"seed must not be negative; received {self.seed}")

    @classmethod
    def over(
        cls,
        n_tracks: int,
        groups: Sequence[Hashable] | None,
        replicates: int,
        level: float,
        seed: int,
    ) -> Bootstrap:
        """Check the groups, one a track, and number them."""
        if groups is None:
            return cls(replicates, level, seed, np.arange(n_tracks), False)
        if len(groups) != n_tracks:
            raise ArgumentError(
                f"groups must name the group of every track; received {len(groups)} for "
                f"{n_tracks} tracks"
            )
        numbers: dict[Hashable, int] = {}
        units = np.array([numbers.setdefault(group, len(numbers)) for group in groups], np.intp)
        return cls(replicates, level, seed, units, True)

    def only(self, kept: NDArray[np.bool_]) -> Bootstrap:
        """Leave out tracks, and groups that have none left."""
        units = np.unique(self.units[kept], return_inverse=True)[1]
        return replace(self, units=units)

    def resamples(self) -> Iterator[NDArray[np.int32]]:
        """Yield how often resamples have each track, shape (tracks, some resamples)."""
        generator = np.random.default_rng(self.seed)
        n_units = int(self.units.max(initial=-1)) + 1
        for first in range(0, self.replicates, _RESAMPLES_AT_ONCE):
            n = min(_RESAMPLES_AT_ONCE, self.replicates - first)
            draws = [generator.integers(n_units, size=n_units) for _ in range(n)]
            counts = np.stack([np.bincount(draw, minlength=n_units) for draw in draws], axis=1)
            yield counts.astype(np.int32)[self.units]

    def interval(self, figure: float, replicates: NDArray[np.float64]) -> Interval | None:
        """Interval of a figure of an evaluation, if there is a spread."""
        known = replicates[np.isfinite(replicates)]
        if len(known) < 2 or not 0 < figure < 1 or np.ptp(known) <= _NO_SPREAD:
            return None
        slope = figure * (1 - figure)
        centre = math.log(figure / (1 - figure)) - float(known.mean() - figure) / slope
        reach = NormalDist().inv_cdf((1 + self.level) / 2) * float(known.std(ddof=1)) / slope
        low, high = ((1 + math.tanh((centre + side * reach) / 2)) / 2 for side in (-1, 1))
        return Interval(low, high, self.level)

    def describe(self, undefined: str) -> str:
        """Say in words what the intervals are."""
        if not self.replicates:
            return "none, hence no intervals"
        n_units = len(np.unique(self.units))
        return (
            f"{self.level * 100:g} % intervals from {self.replicates} resamples of "
            f"{count(n_units, 'group' if self.grouped else 'track')}, seed {self.seed}; normal on "
            f"the log-odds scale, the bootstrap's bias taken off; {undefined}"
        )


def mean_of_defined(values: NDArray[np.float64]) -> Any:
    """Mean over the last axis of what is not NaN; NaN if nothing is."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(axis=-1)
    n_known = known.sum(axis=-1)
    return np.divide(total, n_known, out=np.full(total.shape, np.nan), where=n_known > 0)


def _sums_before(weights: NDArray[np.int32], bounds: NDArray[np.intp]) -> NDArray[np.float64]:
    """Sum the first ``bound`` rows of ``weights`` for each of ``bounds``."""
    starts = np.unique(np.append(0, bounds))
    sums = np.add.reduceat(weights, starts[starts < len(weights)], axis=0, dtype=weights.dtype)
    before = np.concatenate([np.zeros_like(sums[:1]), sums]).cumsum(axis=0, dtype=np.float64)
    return before[np.searchsorted(starts, bounds)]


EVALUATION_COLUMNS = (
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
        return EVALUATION_COLUMNS

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain data, ready for JSON; None becomes null there."""
        return _plain_data(self)

    def to_json(self) -> str:
        """Return :meth:`to_dict` as a JSON text."""
        return json.dumps(self.to_dict())

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of a CSV, one row a tag under ``EVALUATION_COLUMNS``."""
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
