"""Which sounds are close to each other: exact search, paths and clusters by cosine."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.library.library_file import LibraryFile, Space

Vectors = NDArray[np.float32]
Numbers = NDArray[np.int64]

_ROWS = 1024
"""More would not stay in the caches of the processor."""
_FITTED = 10_000
"""Clusters are found among so many sounds, drawn by chance, and all are put into them."""
_ROUNDS = 50
_STARTS = 4
_BESIDE_WAY = 600
"""So many sounds that are closest to a way are looked at for it."""
_FLAT = 1e-4


def scan(library: LibraryFile, space: Space) -> Iterator[tuple[Numbers, Vectors]]:
    """Yield the sounds of a space with their unit vectors, some thousand at a time, by number."""
    query = f"SELECT sound, vector FROM {space.table} ORDER BY sound"
    for block in library.blocks(query, _ROWS):
        sounds, vectors = zip(*block, strict=True)
        halves = np.frombuffer(b"".join(vectors), "<f2").reshape(len(sounds), -1)
        yield np.array(sounds, np.int64), halves.astype(np.float32)


def cosines(
    library: LibraryFile, space: Space, queries: Vectors
) -> tuple[Numbers, NDArray[np.float32]]:
    """Compare all sounds with unit vectors ``(queries, dimensions)``.

    Returns
    -------
    sounds : ndarray, shape (sounds,)
        Their numbers, in order.
    similarities : ndarray, shape (queries, sounds)
    """
    sounds: list[Numbers] = [np.zeros(0, np.int64)]
    found = [np.zeros((len(queries), 0), np.float32)]
    for numbers, vectors in scan(library, space):
        sounds.append(numbers)
        found.append(np.stack([vectors @ query for query in queries]))  # faster than one product
    return np.concatenate(sounds), np.concatenate(found, axis=1).clip(-1, 1)


def vectors_of(library: LibraryFile, space: Space, sounds: Sequence[int]) -> Vectors:
    """Return the unit vectors of some sounds, a row each."""
    rows = []
    for sound in sounds:
        vector = library.value(f"SELECT vector FROM {space.table} WHERE sound = ?", (int(sound),))
        rows.append(np.frombuffer(vector, "<f2").astype(np.float32))
    return np.stack(rows) if rows else np.zeros((0, space.dimensions), np.float32)


def unit(vectors: NDArray[np.floating]) -> Vectors:
    """Divide rows by their lengths; rows of zeros stay."""
    exact = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(exact, axis=-1, keepdims=True)
    return np.asarray(exact / np.where(lengths, lengths, 1), np.float32)


def find_way(
    to_start: NDArray[np.float32], to_end: NDArray[np.float32], between: float, steps: int
) -> list[int]:
    """Find sounds that lead from one to another in even steps.

    No step is closer to the start, or farther from the end, than the one before, by construction:
    the sounds are a chain in the order of both cosines. Of the chains of the length that is asked
    for, among the sounds that are closest to the shorter arc between the two vectors, it is that
    whose sum of cosines with even points of the arc is largest. Where there is none among them,
    the longest chain of all sounds (of the points of a plane, a longest increasing subsequence)
    joins them.

    Parameters
    ----------
    to_start, to_end : ndarray, shape (sounds,)
        Cosines of all sounds that may be taken with the two.
    between : float
        Cosine of the two with each other.
    steps : int
        How many sounds to find.

    Returns
    -------
    list of int
        Their places among all, in order: as many as were asked for, or as the longest chain has.

    References
    ----------
    Fredman. "On computing the length of longest increasing subsequences." 1975.
    """
    inside = np.flatnonzero((to_start >= between) & (to_end >= between))
    if steps < 1 or not len(inside):
        return []
    inside = inside[np.lexsort((to_end[inside], -to_start[inside]))]
    starts, ends = to_start[inside], to_end[inside]
    near = _nearest(starts, ends, between, steps)
    chain = _best_chain(starts[near], ends[near], between, steps)
    if len(chain) < steps and len(near) < len(inside):
        near = np.union1d(near, _longest_chain(ends))
        chain = _best_chain(starts[near], ends[near], between, steps)
    if len(chain) < steps:
        chain = _best_chain(starts[near], ends[near], between, len(chain))
    return [int(inside[near[place]]) for place in chain]


def _arc(between: float, steps: int) -> Iterator[tuple[np.float32, np.float32]]:
    """Yield what the even points of the arc between two vectors have of the first and the second.

    A cosine with a point is the same sum of the cosines with the two.
    """
    angle = float(np.arccos(np.clip(between, -1, 1)))
    for part in np.arange(1, steps + 1) / (steps + 1):
        if np.sin(angle) < _FLAT:
            yield np.float32(1 - part), np.float32(part)
        else:
            of_start, of_end = np.sin([(1 - part) * angle, part * angle]) / np.sin(angle)
            yield np.float32(of_start), np.float32(of_end)


def _nearest(
    starts: NDArray[np.float32], ends: NDArray[np.float32], between: float, steps: int
) -> Numbers:
    """Return the places of the sounds that are closest to the points of the arc."""
    if len(starts) <= _BESIDE_WAY:
        return np.arange(len(starts))
    each = _BESIDE_WAY // steps + 1
    near = [  # copied, since a part of an array would hold all of it
        np.argpartition(-(of_start * starts + of_end * ends), each)[:each].copy()
        for of_start, of_end in _arc(between, steps)
    ]
    return np.unique(np.concatenate(near))


def _longest_chain(ends: NDArray[np.float32]) -> Numbers:
    """Return the places of a longest subsequence that never falls, evenly thinned if it is long."""
    lowest: list[float] = []
    last: list[int] = []
    before = np.full(len(ends), -1)
    for place, value in enumerate(ends.tolist()):
        length = bisect_right(lowest, value)
        if length:
            before[place] = last[length - 1]
        lowest[length : length + 1] = [value]
        last[length : length + 1] = [place]
    chain = [last[-1]]
    while before[chain[-1]] >= 0:
        chain.append(int(before[chain[-1]]))
    kept = np.linspace(0, len(chain) - 1, min(len(chain), _BESIDE_WAY)).round()
    return np.asarray(np.array(chain[::-1])[kept.astype(int)])


def _best_chain(
    starts: NDArray[np.float32], ends: NDArray[np.float32], between: float, steps: int
) -> list[int]:
    """Return the chain that fits best to the points of the arc, of as many steps as there can be.

    The sounds are in the order of the cosines with the start, the closest first.
    """
    follows = np.triu(np.ones((len(ends), len(ends)), bool), 1) & (ends[:, None] <= ends)
    points = _arc(between, steps)
    of_start, of_end = next(points)
    best = (of_start * starts + of_end * ends).astype(np.float64)
    came_from: list[Numbers] = []
    for of_start, of_end in points:
        reached = np.where(follows, best[:, None], -np.inf)
        before = reached.argmax(axis=0)
        best_here = of_start * starts + of_end * ends + reached[before, np.arange(len(ends))]
        if not np.isfinite(best_here).any():
            break
        came_from.append(before)
        best = best_here
    chain = [int(best.argmax())]
    for before in reversed(came_from):
        chain.append(int(before[chain[-1]]))
    return chain[::-1]


class Clusters(NamedTuple):
    """All sounds of a space in clusters.

    Parameters
    ----------
    sounds : ndarray, shape (sounds,)
        Their numbers, in order.
    clusters : ndarray, shape (sounds,)
        From 0; some may be empty.
    closeness : ndarray, shape (sounds,)
        Cosine of each sound with the middle of its cluster.
    """

    sounds: Numbers
    clusters: Numbers
    closeness: NDArray[np.float32]


def find_clusters(library: LibraryFile, space: Space, count: int, seed: int) -> Clusters:
    """Divide all sounds into clusters, by k-means of unit vectors.

    It is written here since a light installation has no scikit-learn, which alone takes the
    200 MB in which a NAS has to do with the whole program.

    References
    ----------
    Arthur, Vassilvitskii. "k-means++: The advantages of careful seeding." 2007.
    Dhillon, Modha. "Concept decompositions for large sparse text data using clustering." 2001.
    """
    random = np.random.default_rng(seed)
    total = library.value(f"SELECT count(*) FROM {space.table}")
    part = min(1.0, _FITTED / max(total, 1))
    drawn = [vectors[random.random(len(vectors)) < part] for _, vectors in scan(library, space)]
    sample = np.concatenate([np.zeros((0, space.dimensions), np.float32), *drawn])
    if not len(sample):
        return Clusters(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    tried = [_centres(sample, min(count, len(sample)), random) for _ in range(_STARTS)]
    centres = max(tried, key=lambda each: _closeness(sample, each))
    sounds: list[Numbers] = [np.zeros(0, np.int64)]
    clusters = [np.zeros(0, np.int64)]
    closeness = [np.zeros(0, np.float32)]
    for numbers, vectors in scan(library, space):
        to_centres = vectors @ centres.T
        sounds.append(numbers)
        clusters.append(to_centres.argmax(axis=1))
        closeness.append(to_centres.max(axis=1))
    return Clusters(
        np.concatenate(sounds), np.concatenate(clusters), np.concatenate(closeness).clip(-1, 1)
    )


def _closeness(sample: Vectors, centres: Vectors) -> float:
    return float((sample @ centres.T).max(axis=1, initial=-1).sum(dtype=np.float64))


def _centres(sample: Vectors, count: int, random: np.random.Generator) -> Vectors:
    chosen = [int(random.integers(len(sample)))] if count else []
    away = np.full(len(sample), np.inf)
    while len(chosen) < count:
        away = np.minimum(away, np.maximum(0, 1 - sample @ sample[chosen[-1]]))
        weights = away / away.sum() if away.sum() > 0 else None
        chosen.append(int(random.choice(len(sample), p=weights)))
    centres = sample[chosen]
    previous = None
    for _ in range(_ROUNDS):
        nearest = (sample @ centres.T).argmax(axis=1)
        if previous is not None and np.array_equal(nearest, previous):
            break
        previous = nearest
        sums = np.stack([sample[nearest == each].sum(axis=0) for each in range(len(centres))])
        moved = unit(sums)
        empty = ~sums.any(axis=1)
        moved[empty] = centres[empty]
        centres = moved
    return centres
