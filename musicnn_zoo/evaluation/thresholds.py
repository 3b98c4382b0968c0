"""Per-tag thresholds: from what score on a tag is said to be there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from musicnn_zoo.errors import ArgumentError


class Decisions(NamedTuple):
    """How well a threshold decides about a tag; NaN where a ratio is 0 / 0."""

    precision: float
    recall: float
    f1: float


def best_f1_thresholds(labels: ArrayLike, scores: ArrayLike) -> NDArray[np.float64]:
    """Find the threshold of each tag that maximises its F1.

    A tag is said to be there if its score is at least the threshold, as in
    :meth:`musicnn_zoo.Taggram.rank`. With ``TP`` tracks rightly given the tag, ``FP``
    wrongly, and ``FN`` wrongly denied it, ``F1 = 2 TP / (2 TP + FP + FN)``.

    Every threshold between two neighbouring scores gives the same F1. The middle of them is
    returned, in float32 where that still lies between, so that what another engine computes a
    little differently is decided the same. Of several best ones the highest is returned, which
    gives the fewest tags. If the best is to give the tag to every track, that is the lowest score.

    F1 on the tracks that the thresholds were chosen on is optimistic: choose them on a
    validation split.

    Parameters
    ----------
    labels : array-like of bool (or 0 and 1), shape (tracks, tags)
    scores : array-like, shape (tracks, tags)
        Finite; for thresholds of a model, what it gives, averaged over the patches of a track.

    Returns
    -------
    ndarray, shape (tags,), float64
        In the unit of ``scores``; NaN for a tag without positives, for which F1 is 0 at best.

    Raises
    ------
    ArgumentError
        If the arrays do not fit each other or have values that cannot be used.

    References
    ----------
    Z. C. Lipton, C. Elkan and B. Naryanaswamy, "Optimal thresholding of classifiers to maximize
    F1 measure", ECML PKDD 2014.
    """
    truth, values = check_labels_and_scores(labels, scores)
    return np.array([_best_f1_threshold(*column) for column in zip(truth.T, values.T, strict=True)])


def decide(labels: NDArray[np.bool_], scores: NDArray[np.float64], threshold: float) -> Decisions:
    """Compare ``scores >= threshold`` with the labels of one tag, both of shape (tracks,).

    A threshold of NaN decides nothing, and all is NaN.
    """
    if np.isnan(threshold):
        return Decisions(threshold, threshold, threshold)
    given = scores >= threshold
    right, n_given, n_positive = ((given & labels).sum(), given.sum(), labels.sum())
    return Decisions(
        precision=ratio(right, n_given),
        recall=ratio(right, n_positive),
        f1=ratio(2 * right, n_given + n_positive),
    )


def ratio(part: Any, whole: Any) -> float:
    """Divide; 0 / 0 is NaN."""
    return float(part / whole) if whole else float("nan")


def check_labels_and_scores(
    labels: ArrayLike, scores: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return both as arrays of shape (tracks, tags), or say what is wrong with them."""
    values = check_scores(scores, "tags")
    truth = _numbers(labels, "labels")
    if truth.shape != values.shape:
        raise ArgumentError(
            f"labels and scores must have the same shape (tracks, tags); received {truth.shape} "
            f"and {values.shape}"
        )
    wrong = np.argwhere((truth != 0) & (truth != 1))
    if len(wrong):
        track, tag = wrong[0]
        raise ArgumentError(
            f"labels must be 0 or 1; received {truth[track, tag]} at track {track}, tag {tag}: "
            f"say from what value on a track has a tag, for instance labels >= 0.5"
        )
    return truth.astype(bool), values


def check_scores(scores: ArrayLike, columns: str) -> NDArray[np.float64]:
    """Return finite scores of shape (tracks, ``columns``), or say what is wrong with them."""
    values = _numbers(scores, "scores")
    if values.ndim != 2 or not values.size:
        raise ArgumentError(
            f"scores must have the shape (tracks, {columns}), at least one of each; "
            f"received {values.shape}"
        )
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        track, column = wrong[0]
        raise ArgumentError(
            f"scores must be finite; received {values[track, column]} at track {track}, column "
            f"{column} ({len(wrong)} such values): leave out tracks that could not be scored"
        )
    return values.astype(np.float64)


def check_names(names: Sequence[str], n_columns: int, what: str) -> tuple[str, ...]:
    """Return a different name for each column, or say what is wrong with them."""
    if isinstance(names, str) or len(names) != n_columns:
        received = repr(names) if isinstance(names, str) else str(len(names))
        raise ArgumentError(
            f"{what} must name each of the {n_columns} columns of the scores; received {received}"
        )
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise ArgumentError(f"{what} must be different names; received {repeated[0]!r} twice")
    return tuple(names)


def check_classes(labels: ArrayLike, n_tracks: int, n_classes: int) -> NDArray[np.intp]:
    """Return the number of the class of each track, or say what is wrong with them."""
    truth = _numbers(labels, "labels")
    if truth.shape != (n_tracks,) or truth.dtype.kind not in "iu":
        raise ArgumentError(
            f"labels must be the number of the class of each of the {n_tracks} tracks; received "
            f"shape {truth.shape}, dtype {truth.dtype}"
        )
    wrong = np.flatnonzero((truth < 0) | (truth >= n_classes))
    if len(wrong):
        raise ArgumentError(
            f"labels must be from 0 to {n_classes - 1}, one for each class; received "
            f"{truth[wrong[0]]} at track {wrong[0]}"
        )
    return truth.astype(np.intp)


def check_thresholds(thresholds: ArrayLike, n_tags: int) -> NDArray[np.float64]:
    """Return the threshold of each tag, or say what is wrong with them."""
    limits = _numbers(thresholds, "thresholds")
    if limits.shape != (n_tags,) or limits.dtype.kind not in "iuf":
        raise ArgumentError(
            f"thresholds must be one number for each of the {n_tags} tags (NaN for none); received "
            f"shape {limits.shape}, dtype {limits.dtype}"
        )
    return limits.astype(np.float64)


def _numbers(values: ArrayLike, name: str) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ArgumentError(
            f"{name} must be one array; received rows of different lengths"
        ) from error
    if array.dtype.kind not in "biuf":
        raise ArgumentError(f"{name} must be an array of numbers; received dtype {array.dtype}")
    return array


def _best_f1_threshold(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    n_positive = np.count_nonzero(labels)
    if not n_positive:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    descending = scores[order]
    last = np.flatnonzero(np.append(descending[1:] != descending[:-1], True))
    f1 = 2 * np.cumsum(labels[order])[last] / (last + 1 + n_positive)
    best = int(np.argmax(f1))
    lowest_given = float(descending[last[best]])
    if best == len(last) - 1:
        return lowest_given
    return _between(float(descending[last[best + 1]]), lowest_given)


def _between(below: float, above: float) -> float:
    """Return the middle, in float32 if that is above ``below``, else ``above``."""
    with np.errstate(over="ignore"):
        middle = float(np.float32((below + above) / 2))
    return middle if below < middle <= above else above
