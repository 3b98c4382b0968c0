"""Splits that keep the proportions of the tags and tear no group apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.datasets.dataset import (
    SPLITS,
    Dataset,
    DatasetError,
    Report,
    announce,
    check_dataset,
)
from musicnn_zoo.errors import ArgumentError, answered, check_choice, check_whole, shown

By = Literal["track", "group"]

_EXAMPLES = 5
_TIES = 9
"""Decimals beyond which scores are equal, so that all processors choose alike."""


@answered
def split(
    dataset: Dataset,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    *,
    by: By | None = None,
    seed: int = 0,
) -> Dataset:
    r"""Divide tracks into train, validation and test.

    A small choice of tracks (or groups) that has every tag is put into train. The others follow
    in random order, large groups first, and each goes where most of what it has is missing: to
    the part p with the greatest
    :math:`\sum_k c_k (f_p - a_{pk} / n_k)`, where the sum runs over its tags and, as one more, its
    tracks; :math:`c_k` is how many it has of k, :math:`n_k` how many there are in all,
    :math:`f_p` the fraction of the part and :math:`a_{pk}` what the part has already. This is
    the greedy idea of Sechidis, Tsoumakas and Vlahavas ("On the stratification of multi-label
    data", ECML PKDD 2011), for groups and for all tags of a track at once. With one tag a track
    and no groups, each part has each class in proportion, apart from rounding. Where a part then
    lacks a tag that another part can spare, that goes before the proportions: each part has
    every tag of which there are enough tracks (or groups).

    Parameters
    ----------
    dataset : Dataset
        Splits that it has are replaced.
    fractions : sequence of 3 float
        Of the tracks in train, validation and test; together 1. A part of 0 stays empty.
        With groups, these are aims.
    by : {"track", "group"}, optional
        What must not be torn apart. By default groups where they are known, else tracks.
    seed : int
        The same seed gives the same split of the same data set.

    Returns
    -------
    Dataset
        With ``splits``; tags that a part has no track of are in its report.

    Raises
    ------
    ArgumentError
        If the fractions do not add up to 1, or groups are asked for and not known.
    DatasetError
        If train cannot have every tag, or a part that should have tracks would have none.

    Warns
    -----
    DatasetWarning
        If validation or test have no track of some tag, which too few tracks (or groups) have.
    """
    check_dataset(dataset)
    check_whole("seed", seed, least=0)
    wanted = _check_fractions(fractions)
    if by is not None:
        check_choice("by", by, get_args(By))
    if by == "group" and dataset.groups is None:
        raise ArgumentError(
            f"{dataset.name} has no groups; give it some with with_groups(), or split by='track'"
        )
    groups = dataset.groups if by != "track" else None
    of_track, counts = _units(groups or dataset.paths, dataset.labels)
    empty = [tag for tag, count in zip(dataset.tags, dataset.positives, strict=True) if not count]
    if empty:
        raise DatasetError(
            f"{dataset.name}: no track has {_examples(empty)}, so train cannot have it; leave such "
            "tags out with with_tags()"
        )
    random = np.random.default_rng(seed)
    parts = np.flatnonzero(wanted)
    reserved = _cover(counts[:, :-1] > 0, random)
    if len(counts) - len(reserved) < len(parts) - 1:
        raise DatasetError(_too_few(dataset, counts, len(parts), "group" if groups else "track"))
    assigned = _assign(counts, wanted, reserved, random)
    _fill_empty(assigned, counts[:, -1], parts, reserved)
    _spread(assigned, counts, parts)
    divided = replace(dataset, splits=tuple(SPLITS[part] for part in assigned[of_track]))
    absent = [
        f"{tag} in {name}"
        for name in divided.split_sizes
        for tag, count in zip(divided.tags, divided.subset(name).positives, strict=True)
        if count == 0
    ]
    divided = replace(divided, report=dataset.report.adding("absent_from_split", absent))
    announce(dataset.name, Report().adding("absent_from_split", absent))
    return divided


def _units(names: Sequence[str], labels: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the number of the unit of each track, and the counts of each unit.

    A unit is all tracks with one name; no split divides it. Its counts, in an array of shape
    (units, tags + 1), are its tracks with each tag, and in the last column all of its tracks.
    """
    number = {name: at for at, name in enumerate(dict.fromkeys(names))}
    of_track = np.array([number[name] for name in names], np.intp)
    counts = np.zeros((len(number), labels.shape[1] + 1), np.int64)
    np.add.at(counts[:, :-1], of_track, labels)
    np.add.at(counts[:, -1], of_track, 1)
    return of_track, counts


def _check_fractions(fractions: Sequence[float]) -> NDArray[np.float64]:
    try:
        wanted = np.array(fractions, dtype=float)
    except (TypeError, ValueError):
        wanted = np.array(np.nan)
    if (
        wanted.shape != (len(SPLITS),)
        or not (wanted >= 0).all()
        or not math.isclose(wanted.sum(), 1, abs_tol=1e-6)
        or wanted[0] == 0
    ):
        raise ArgumentError(
            "fractions must be three numbers for train, validation and test that add up to 1, "
            f"the first above 0; received {shown(fractions)}"
        )
    return wanted


def _cover(has: NDArray[np.bool_], random: np.random.Generator) -> NDArray[np.intp]:
    """Choose units that together have every tag, none of which could be spared.

    ``has`` says which unit has which tag, shape (units, tags).
    """
    order = random.permutation(len(has))
    rarest_first = np.argsort(has.sum(axis=0), kind="stable")
    chosen: list[int] = []
    covered = np.zeros(has.shape[1], bool)
    for tag in rarest_first:
        if covered[tag]:
            continue
        candidates = order[has[order, tag]]
        best = candidates[np.argmax((has[candidates] & ~covered).sum(axis=1))]
        chosen.append(int(best))
        covered |= has[best]
    times = has[chosen].sum(axis=0)
    for unit in list(chosen):
        if (times[has[unit]] > 1).all():
            chosen.remove(unit)
            times -= has[unit]
    return np.array(chosen, np.intp)


def _assign(
    counts: NDArray[np.int64],
    wanted: NDArray[np.float64],
    reserved: NDArray[np.intp],
    random: np.random.Generator,
) -> NDArray[np.intp]:
    """Return the part of each unit; those reserved are in train, part 0."""
    shares = counts / counts.sum(axis=0)
    wanting = np.tile(np.where(wanted > 0, wanted, -np.inf)[:, np.newaxis], shares.shape[1])
    assigned = np.zeros(len(counts), np.intp)
    wanting[0] -= shares[reserved].sum(axis=0)
    rest = random.permutation(np.setdiff1d(np.arange(len(counts)), reserved))
    rest = rest[np.argsort(-counts[rest, -1], kind="stable")]
    for unit in rest:
        has = np.flatnonzero(counts[unit])
        scores = wanting[:, has] @ counts[unit, has]
        part = int(np.argmax(scores.round(_TIES)))
        assigned[unit] = part
        wanting[part] -= shares[unit]
    return assigned


def _fill_empty(
    assigned: NDArray[np.intp],
    sizes: NDArray[np.int64],
    parts: NDArray[np.intp],
    reserved: NDArray[np.intp],
) -> None:
    """Give each part that should have tracks and has none the smallest unit that can be spared."""
    spare = np.ones(len(assigned), bool)
    spare[reserved] = False
    for part in parts[1:]:
        if (assigned == part).any():
            continue
        held = np.bincount(assigned, minlength=len(SPLITS))
        movable = np.flatnonzero(spare & ((assigned == 0) | (held[assigned] > 1)))
        assigned[movable[np.argmin(sizes[movable])]] = part


def _spread(assigned: NDArray[np.intp], counts: NDArray[np.int64], parts: NDArray[np.intp]) -> None:
    """Move single units to parts that lack a tag, rare tags and small units first.

    A unit stays where its part would lose the last unit of any tag, or of all.
    """
    has = counts[:, :-1] > 0
    held = np.array([has[assigned == part].sum(axis=0) for part in range(len(SPLITS))])
    for tag in np.argsort(has.sum(axis=0), kind="stable"):
        for part in parts[1:]:
            if held[part, tag]:
                continue
            units = np.flatnonzero(has[:, tag])
            movable = [unit for unit in units if (held[assigned[unit], has[unit]] > 1).all()]
            if movable:
                unit = min(movable, key=lambda unit: (assigned[unit], counts[unit, -1]))
                held[assigned[unit]] -= has[unit]
                held[part] += has[unit]
                assigned[unit] = part


def _too_few(dataset: Dataset, counts: NDArray[np.int64], parts: int, what: str) -> str:
    occurrences = (counts[:, :-1] > 0).sum(axis=0)
    single = [tag for tag, times in zip(dataset.tags, occurrences, strict=True) if times == 1]
    because = f"; {_examples(single)} is in a single {what} each" if single else ""
    return (
        f"{dataset.name}: cannot be split into {parts} parts by {what}: its {len(counts)} "
        f"{what}s are too few for every tag to be in train and something in the others{because}"
    )


def _examples(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_EXAMPLES]))
    return f"{shown} and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else shown
