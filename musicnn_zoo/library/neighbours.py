"""Which sounds are close to each other: exact search, paths and clusters by cosine."""

from __future__ import annotations

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
_BESIDE_PATH = 600
"""So many sounds that are closest to a path are looked at for it."""


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
    sounds, found = [np.zeros(0, np.int64)], [np.zeros((len(queries), 0), np.float32)]
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


class Way(NamedTuple):
    """A way from one sound to another.

    Parameters
    ----------
    places : list of int
        Rows of the sounds between the two, in order.
    monotone : bool
        Whether each step is at least as close to the end and as far from the start as the one
        before; else only the difference of the two grows.
    """

    places: list[int]
    monotone: bool


def find_way(
    to_start: NDArray[np.float32], to_end: NDArray[np.float32], between: float, steps: int
) -> Way:
    """Find sounds that lead from one to another in even steps.

    The ideal is the shorter arc between the two vectors. Among the sounds closest to it, those
    are chosen whose sum of cosines with its points is largest, under the condition that the
    similarity to the start never grows and that to the end never falls.

    Parameters
    ----------
    to_start, to_end : ndarray, shape (sounds,)
        Cosines of all sounds that may be taken with the two.
    between : float
        Cosine of the two with each other.
    steps : int
        How many sounds to find; there may be fewer.
    """
    angle = float(np.arccos(np.clip(between, -1, 1)))
    parts = np.arange(1, steps + 1) / (steps + 1)
    sine = np.sin(angle)
    if sine < 1e-4:
        of_start, of_end = 1 - parts, parts
    else:
        of_start, of_end = np.sin((1 - parts) * angle) / sine, np.sin(parts * angle) / sine
    if steps < 1 or not len(to_start):
        return Way([], monotone=True)
    fit = np.outer(of_start.astype(np.float32), to_start)
    fit += np.outer(of_end.astype(np.float32), to_end)
    inside = np.flatnonzero((to_start >= between) & (to_end >= between))
    places = inside[_nearest(fit[:, inside])]
    starts, ends = to_start[places], to_end[places]
    ordered = (starts[:, None] >= starts) & (ends[:, None] <= ends)
    ordered &= np.arange(len(places))[:, None] != np.arange(len(places))
    ordered &= ~(ordered & ordered.T) | _earlier(len(places))
    found = _best_chain(fit[:, places], ordered)
    if len(found) == steps:
        return Way([int(places[place]) for place in found], monotone=True)
    places = _nearest(fit)
    places = places[np.argsort(to_end[places] - to_start[places], kind="stable")]
    found = _best_chain(fit[:, places], _earlier(len(places)))
    return Way([int(places[place]) for place in found], monotone=False)


def _nearest(fit: NDArray[np.floating]) -> Numbers:
    """Return the sounds that fit best to the points of a path ``(points, sounds)``."""
    if fit.shape[1] <= _BESIDE_PATH:
        near = np.arange(fit.shape[1])
    else:
        each = _BESIDE_PATH // len(fit) + 1
        near = np.unique([np.argpartition(-row, each)[:each] for row in fit])
    return np.asarray(near)


def _earlier(count: int) -> NDArray[np.bool_]:
    return np.arange(count)[:, None] < np.arange(count)


def _best_chain(fit: NDArray[np.floating], ordered: NDArray[np.bool_]) -> list[int]:
    """Return the chain of the largest sum, of as many steps as there can be."""
    if not fit.size:
        return []
    best = fit[0].astype(np.float64)
    came_from: list[NDArray[np.int64]] = []
    for row in fit[1:]:
        reached = np.where(ordered, best[:, None], -np.inf)
        before = reached.argmax(axis=0)
        following = row + reached[before, np.arange(len(row))]
        if not np.isfinite(following).any():
            break
        came_from.append(before)
        best = following
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
    tried = [_centres(sample, min(count, len(sample)), random) for _ in range(_STARTS)]
    centres = max(tried, key=lambda each: _closeness(sample, each))
    sounds, clusters = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    closeness = [np.zeros(0, np.float32)]
    for numbers, vectors in scan(library, space):
        cosines = vectors @ centres.T
        sounds.append(numbers)
        clusters.append(cosines.argmax(axis=1))
        closeness.append(cosines.max(axis=1))
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
