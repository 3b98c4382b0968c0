"""Sound events: when a tag begins and ends, from scores over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError

DEFAULT_THRESHOLD = 0.5
DEFAULT_RELEASE = 0.8


class Event(NamedTuple):
    """A tag that lasts from ``start_s`` to ``end_s`` seconds, with its mean score."""

    tag: str
    start_s: float
    end_s: float
    score: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return self._asdict()


def find_events(
    scores: NDArray[np.floating[Any]],
    tags: Sequence[str],
    times: NDArray[np.floating[Any]],
    end_s: float,
    *,
    threshold: float = DEFAULT_THRESHOLD,
    release: float | None = None,
    min_length_s: float = 0.0,
) -> tuple[Event, ...]:
    """Turn scores over time into events, by a threshold with hysteresis.

    An event begins where the score reaches ``threshold``, goes on while it is at least
    ``release``, in both directions, and counts if it lasts ``min_length_s``.

    Parameters
    ----------
    scores : ndarray, shape (rows, tags)
    tags : sequence of str
    times : ndarray, shape (rows,)
        Start of each row in seconds; a row lasts to the start of the next.
    end_s : float
        End of the last row in seconds.
    threshold : float
        Between 0 and 1.
    release : float, optional
        Between 0 and ``threshold``; by default 0.8 × ``threshold``.
    min_length_s : float
        In seconds.

    Returns
    -------
    tuple of Event
        By start, then in the order of ``tags``.

    Raises
    ------
    ArgumentError
        If an argument is out of range.
    """
    release = check_event_rule(threshold, release, min_length_s)
    edges = np.append(times, end_s)
    events = []
    for index, tag in enumerate(tags):
        column = scores[:, index]
        for first, last in _runs(column >= release):
            held = column[first:last]
            start, end = (round(float(edges[at]), 6) for at in (first, last))
            if held.max() >= threshold and end - start >= min_length_s:
                found = Event(tag, start, end, float(held.mean()))
                events.append((start, index, found))
    return tuple(event for _, _, event in sorted(events, key=lambda found: found[:2]))


def check_event_rule(threshold: float, release: float | None, min_length_s: float) -> float:
    """Check the options of :func:`find_events` and return the release.

    Raises
    ------
    ArgumentError
        If one is out of range.
    """
    if not 0 <= threshold <= 1:
        raise ArgumentError(f"threshold must be between 0 and 1; received {threshold}")
    if release is None:
        release = DEFAULT_RELEASE * threshold
    if not 0 <= release <= threshold:
        raise ArgumentError(
            f"release must be between 0 and the threshold {threshold}; received {release}"
        )
    if not min_length_s >= 0:
        raise ArgumentError(f"min_length_s must not be negative; received {min_length_s}")
    return release


def _runs(held: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and one past the last index of each run of True."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], held, [False]]).astype(np.int8)))
    return [(int(first), int(last)) for first, last in changes.reshape(-1, 2)]
