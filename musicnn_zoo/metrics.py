"""The figures of an evaluation: from labels and scores alone, whatever gave the scores.

:func:`evaluate_scores` is for tags, of which a track has any number, and
:func:`evaluate_classes` for classes, of which it has exactly one. Both give figures with
confidence intervals, and say in words what convention each figure follows, since figures
under different conventions are not comparable.

The area under the ROC curve of a tag is the probability that a track with the tag scores
higher than one without, ties counted half (Fawcett 2006); chance is 0.5. Average precision is
``Σ (R_k - R_{k-1}) P_k`` over the distinct scores ``k`` in descending order, where ``P_k`` and
``R_k`` are the precision and the recall of the tracks that score at least as high. It
summarises the precision-recall curve without the linear interpolation that makes areas under
it too large (Davis & Goadrich 2006); chance is the fraction of tracks with the tag.

References
----------
- T. Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27, 2006.
- J. Davis and M. Goadrich, "The relationship between precision-recall and ROC curves",
  ICML 2006.
- B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7, 1979.
- B. Efron and R. J. Tibshirani, "An introduction to the bootstrap", Chapman & Hall 1993.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.results import printable
from musicnn_zoo.thresholds import (
    best_f1_thresholds,
    check_classes,
    check_labels_and_scores,
    check_names,
    check_scores,
    check_thresholds,
    decide,
    ratio,
)
from musicnn_zoo.writers import safe_cell

Untagged = Literal["keep", "drop"]
UNTAGGED: tuple[Untagged, ...] = get_args(Untagged)

NOT_STATED = "not stated"
TAG_COLUMNS = (
    "tag", "positives", "roc_auc", "roc_auc_low", "roc_auc_high", "average_precision",
    "average_precision_low", "average_precision_high", "threshold", "precision", "recall", "f1",
)  # fmt: skip
CLASS_COLUMNS = ("class", "tracks", "precision", "recall", "f1")

_WIDTH = 80
_NAME_WIDTH = 16
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

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain data, ready for JSON; None becomes null there."""
        return _as_plain_data(self)

    def to_json(self) -> str:
        """Return :meth:`to_dict` as a JSON text."""
        return json.dumps(self.to_dict())

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of a CSV, one row a tag under ``TAG_COLUMNS``."""
        return [
            (
                safe_cell(tag.tag),
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
            f"{_count(self.tracks, 'track')}, {_count(n_averaged, 'tag')}, figures in percent",
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
        table = _table(("tag", "tracks", "ROC-AUC", "PR-AUC", "threshold", "F1"), rows)
        return "\n".join([*head, "", *table, "", *_statements(self.conventions)])


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

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain data, ready for JSON; None becomes null there."""
        return _as_plain_data(self)

    def to_json(self) -> str:
        """Return :meth:`to_dict` as a JSON text."""
        return json.dumps(self.to_dict())

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of a CSV, one row a class under ``CLASS_COLUMNS``."""
        return [
            (
                safe_cell(found.name),
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
            f"{_count(self.tracks, 'track')}, {n_averaged} classes, figures in percent",
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
        table = _table(("class", "tracks", "precision", "recall", "F1", "mistaken for"), rows)
        return "\n".join([*head, "", *table, "", *_statements(self.conventions)])


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


def evaluate_scores(
    labels: ArrayLike,
    scores: ArrayLike,
    tags: Sequence[str],
    *,
    untagged: Untagged = "keep",
    thresholds: ArrayLike | None = None,
    bootstrap: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    groups: Sequence[Hashable] | None = None,
    split: str | None = None,
    patches: str | None = None,
) -> Evaluation:
    """Compare scores with the tags that tracks have.

    Tags on no track, and tags on every one, have neither figure; they are listed and no average
    contains them. The point figures are scikit-learn's.

    Parameters
    ----------
    labels : array-like of bool (or 0 and 1), shape (tracks, tags)
    scores : array-like, shape (tracks, tags)
        Finite. Their order alone matters, except to the thresholds.
    tags : sequence of str
        Names, each once.
    untagged : {"keep", "drop"}
        What becomes of tracks without any tag. Pons's MagnaTagATune test split keeps them, Won's
        leaves them out; PR-AUCs of the two are not comparable.
    thresholds : array-like, shape (tags,), optional
        From what score on each tag is given; NaN for none. By default what
        :func:`~musicnn_zoo.thresholds.best_f1_thresholds` finds on these very tracks, whose F1 is
        optimistic.
    bootstrap : int
        Replicates for the intervals; 0 for no intervals.
    level : float
        Of the intervals, between 0 and 1.
    seed : int
        Of the bootstrap; the same gives the same intervals.
    groups : sequence, length tracks, optional
        For instance artists. The bootstrap then draws groups, whose tracks stay together. Without,
        it draws tracks, and gives intervals too narrow if those of an artist are alike.
    split, patches : str, optional
        Whence the tracks are, and how the scores of their patches became theirs; goes into
        ``conventions``, as "not stated" by default.

    Returns
    -------
    Evaluation

    Raises
    ------
    ArgumentError
        If an argument cannot be used, or no tag has both tracks with and tracks without it.

    Notes
    -----
    The figure ``θ`` is computed again on each of many resamples of the tracks, drawn with
    replacement (Efron 1979). From the mean ``m`` and the standard deviation ``s`` of the
    replicates, with ``z`` the normal quantile, the interval on the log-odds scale is
    ``logit(θ) - (m - θ) / v ± z s / v``, where ``v = θ (1 - θ)`` is the derivative of ``θ`` with
    respect to its log-odds. It stays between 0 and 1, and takes off the bootstrap's bias,
    ``m - θ``. Average precision needs that: a track drawn twice ties with itself, which raises it,
    and the mean over many tags has the bias of one tag and a much smaller spread. With 50 tags of
    known average precision and 3,000 tracks, the plain percentile interval of the mean held the
    truth in 77 % of 120 trials, this one in 95 %. No bootstrap mends tags of a handful of
    positives: their intervals are too narrow.
    """
    truth, values = check_labels_and_scores(labels, scores)
    names = check_names(tags, values.shape[1], "tags")
    if untagged not in UNTAGGED:
        raise ArgumentError(f"untagged must be 'keep' or 'drop'; received {untagged!r}")
    resampling = _Bootstrap.over(len(truth), groups, bootstrap, level, seed)
    has_tag: NDArray[np.bool_] = np.any(truth, axis=1)
    if untagged == "drop":
        truth, values, resampling = truth[has_tag], values[has_tag], resampling.only(has_tag)
    positives = truth.sum(axis=0)
    defined = (positives > 0) & (positives < len(truth))
    if not defined.any():
        raise ArgumentError(
            f"some tag must be on some tracks and not on all; received {len(truth)} tracks that no "
            f"tag tells apart: check that labels and tags belong together"
        )
    if thresholds is None:
        limits = best_f1_thresholds(truth, values)
    else:
        limits = check_thresholds(thresholds, len(names))
    points = _point_figures(truth, values, defined)
    replicates = _replicates(truth, values, defined, resampling)
    decisions = [decide(*tag) for tag in zip(truth.T, values.T, limits, strict=True)]
    per_tag = tuple(
        TagFigures(
            tag=name,
            positives=int(positives[i]),
            roc_auc=_number(points[0, i]),
            average_precision=_number(points[1, i]),
            roc_auc_interval=resampling.interval(points[0, i], replicates[0, :, i]),
            average_precision_interval=resampling.interval(points[1, i], replicates[1, :, i]),
            threshold=_number(limits[i]),
            precision=_number(decisions[i].precision),
            recall=_number(decisions[i].recall),
            f1=_number(decisions[i].f1),
        )
        for i, name in enumerate(names)
    )
    roc_auc, pr_auc = (float(point[defined].mean()) for point in points)
    roc_aucs, pr_aucs = _mean_of_defined(replicates)
    f1 = np.array([decision.f1 for decision in decisions])[defined]
    left_out = tuple(name for name, kept in zip(names, defined, strict=True) if not kept)
    n_untagged = int(np.count_nonzero(~has_tag))
    return Evaluation(
        roc_auc=roc_auc,
        pr_auc=pr_auc,
        roc_auc_interval=resampling.interval(roc_auc, roc_aucs),
        pr_auc_interval=resampling.interval(pr_auc, pr_aucs),
        f1=_number(_mean_of_defined(f1)),
        per_tag=per_tag,
        tracks=len(truth),
        untagged=n_untagged,
        tags_left_out=left_out,
        conventions={
            "split": split or NOT_STATED,
            "patches": patches or NOT_STATED,
            "figures": "ROC-AUC by trapezoids, ties counted half; PR-AUC is average precision, "
            "not interpolated; both by scikit-learn",
            "averages": f"macro, the mean over {_count(int(defined.sum()), 'tag')}; "
            + _left_out("tags on no track or on every one", left_out),
            "untagged": _untagged_statement(n_untagged, untagged),
            "thresholds": "best F1 on these very tracks, hence optimistic F1"
            if thresholds is None
            else "as given, not chosen on these tracks",
            "bootstrap": resampling.describe(
                "a tag that a resample cannot tell is left out of its averages"
            ),
        },
    )


def evaluate_classes(
    labels: ArrayLike,
    scores: ArrayLike,
    classes: Sequence[str],
    *,
    bootstrap: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    groups: Sequence[Hashable] | None = None,
    split: str | None = None,
    patches: str | None = None,
) -> ClassEvaluation:
    """Compare scores with the one class that each track has.

    A track is taken for the class with the highest score, the first of several.

    Parameters
    ----------
    labels : array-like of int, shape (tracks,)
        Number of the class of each track, from 0.
    scores : array-like, shape (tracks, classes)
        Finite.
    classes : sequence of str
        Names, each once.
    bootstrap, level, seed, groups, split, patches
        As in :func:`evaluate_scores`, and the intervals too.

    Returns
    -------
    ClassEvaluation

    Raises
    ------
    ArgumentError
        If an argument cannot be used.
    """
    from sklearn.metrics import confusion_matrix

    values = check_scores(scores, "classes")
    names = check_names(classes, values.shape[1], "classes")
    if len(names) < 2:
        raise ArgumentError(f"classes must be at least two to be told apart; received {len(names)}")
    truth = check_classes(labels, *values.shape)
    resampling = _Bootstrap.over(len(truth), groups, bootstrap, level, seed)
    taken_for = values.argmax(axis=1)
    confusion = confusion_matrix(truth, taken_for, labels=range(len(names)))
    right, of_class, taken = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    per_class = tuple(
        ClassFigures(
            name=name,
            tracks=int(of_class[i]),
            precision=_number(ratio(right[i], taken[i])),
            recall=_number(ratio(right[i], of_class[i])),
            f1=_number(ratio(2 * right[i], taken[i] + of_class[i])),
        )
        for i, name in enumerate(names)
    )
    members = np.eye(len(names))[truth]
    hits = members * (taken_for == truth)[:, np.newaxis]
    resampled = [np.stack([w.T @ hits, w.T @ members]) for w in resampling.resamples()]
    replicates = np.concatenate([np.empty((2, 0, len(names))), *resampled], axis=1)
    accuracy, balanced = (float(figure) for figure in _accuracies(right, of_class))
    accuracies, balanced_accuracies = _accuracies(*replicates)
    left_out = tuple(found.name for found in per_class if not found.tracks)
    return ClassEvaluation(
        accuracy=accuracy,
        balanced_accuracy=balanced,
        accuracy_interval=resampling.interval(accuracy, accuracies),
        balanced_accuracy_interval=resampling.interval(balanced, balanced_accuracies),
        per_class=per_class,
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        tracks=len(truth),
        classes_left_out=left_out,
        conventions={
            "split": split or NOT_STATED,
            "patches": patches or NOT_STATED,
            "figures": "a track is taken for the class with the highest score, the first of "
            "several; balanced accuracy is the mean of the recalls",
            "averages": f"over {len(names) - len(left_out)} classes; "
            + _left_out("classes without tracks", left_out),
            "bootstrap": resampling.describe(
                "a class that a resample does not have is left out of its balanced accuracy"
            ),
        },
    )


@dataclass(frozen=True, eq=False)
class _Bootstrap:
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
    ) -> _Bootstrap:
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

    def only(self, kept: NDArray[np.bool_]) -> _Bootstrap:
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
        """Return the interval that :func:`evaluate_scores` describes, if there is a spread."""
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
            f"{_count(n_units, 'group' if self.grouped else 'track')}, seed {self.seed}; normal on "
            f"the log-odds scale, the bootstrap's bias taken off; {undefined}"
        )


def _point_figures(
    labels: NDArray[np.bool_], scores: NDArray[np.float64], defined: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """ROC-AUC and average precision of each tag, shape (2, tags); NaN where not defined."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    figures = np.full((2, len(defined)), np.nan)
    for tag in np.flatnonzero(defined):
        column = labels[:, tag], scores[:, tag]
        figures[:, tag] = roc_auc_score(*column), average_precision_score(*column)
    return figures


def _replicates(
    labels: NDArray[np.bool_],
    scores: NDArray[np.float64],
    defined: NDArray[np.bool_],
    resampling: _Bootstrap,
) -> NDArray[np.float64]:
    """Both figures of each resample and tag, shape (2, resamples, tags); NaN likewise."""
    rankings = {tag: Ranking.of(labels[:, tag], scores[:, tag]) for tag in np.flatnonzero(defined)}
    figures = np.full((2, resampling.replicates, len(defined)), np.nan)
    first = 0
    for weights in resampling.resamples():
        rows = slice(first, first + weights.shape[1])
        for tag, ranking in rankings.items():
            figures[:, rows, tag] = ranking.figures(weights)
        first = rows.stop
    return figures


def _accuracies(
    right: NDArray[Any], of_class: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accuracy and balanced accuracy of tracks counted by class along the last axis."""
    recalls = np.divide(right, of_class, out=np.full(right.shape, np.nan), where=of_class > 0)
    return right.sum(axis=-1) / of_class.sum(axis=-1), _mean_of_defined(recalls)


def _mean_of_defined(values: NDArray[np.float64]) -> Any:
    """Mean over the last axis of what is not NaN; NaN if nothing is."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(axis=-1)
    count = known.sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _sums_before(weights: NDArray[np.int32], bounds: NDArray[np.intp]) -> NDArray[np.float64]:
    """Sum the first ``bound`` rows of ``weights`` for each of ``bounds``."""
    starts = np.unique(np.append(0, bounds))
    sums = np.add.reduceat(weights, starts[starts < len(weights)], axis=0, dtype=weights.dtype)
    before = np.concatenate([np.zeros_like(sums[:1]), sums]).cumsum(axis=0, dtype=np.float64)
    return before[np.searchsorted(starts, bounds)]


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _as_plain_data(evaluation: Any) -> dict[str, Any]:
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


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _left_out(what: str, names: Sequence[str]) -> str:
    return f"{what} left out: {', '.join(names) or 'none'}"


def _untagged_statement(number: int, untagged: Untagged) -> str:
    if untagged == "drop":
        return f"{_count(number, 'track')} without any tag dropped"
    return f"{_count(number, 'track')} without any tag kept, as negatives of every tag"


def _most_often(index: int, names: Sequence[str], counts: Sequence[int]) -> str:
    """Name the class that tracks of the class ``index`` are most often mistaken for."""
    others = [0 if other == index else count for other, count in enumerate(counts)]
    most = max(others)
    if not most:
        return "–"
    return f"{_shortened(printable(names[others.index(most)]), _NAME_WIDTH)} {most}"


def _statements(conventions: dict[str, str]) -> list[str]:
    return [
        line
        for name, statement in conventions.items()
        for line in textwrap.wrap(printable(f"{name}: {statement}"), _WIDTH, subsequent_indent="  ")
    ]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Align columns, the first to the left; what is in it is shortened to fit the width."""
    columns = list(zip(head, *rows, strict=True))
    names = [printable(name) for name in columns[0]]
    widths = [max(map(len, column)) for column in (names, *columns[1:])]
    widths[0] = min(widths[0], max(_NAME_WIDTH, _WIDTH - sum(widths[1:]) - 2 * len(widths)))
    return [
        "  ".join(
            ["", f"{_shortened(name, widths[0]):{widths[0]}}"]
            + [f"{cell:>{width}}" for cell, width in zip(cells[1:], widths[1:], strict=True)]
        )
        for name, cells in zip(names, (head, *rows), strict=True)
    ]


def _shortened(name: str, width: int) -> str:
    """Take out the middle of what is too long: names often begin alike."""
    if len(name) <= width:
        return name
    kept = (width - 1) // 3
    return f"{name[:kept]}…{name[kept + 1 - width :]}"
