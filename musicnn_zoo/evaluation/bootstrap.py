"""Intervals of figures by the bootstrap: figures under many weightings of the tracks.

References
----------
- B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7, 1979.
- B. Efron and R. J. Tibshirani, "An introduction to the bootstrap", Chapman & Hall 1993.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.plain_text import count

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
        """Interval of :func:`musicnn_zoo.evaluation.metrics.evaluate_scores`, if there is a spread."""
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
