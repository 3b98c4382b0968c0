"""The outline of a signal: lowest and highest sample of each stretch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FULL_SCALE = 127


@dataclass(frozen=True, eq=False)
class Envelope:
    """Lowest and highest sample of each stretch of a signal.

    Parameters
    ----------
    lowest, highest : ndarray, shape (stretches,), int8
        ±127 is full scale.
    stretch_s : float
        Length of a stretch in seconds; the last may be shorter.
    """

    lowest: NDArray[np.int8]
    highest: NDArray[np.int8]
    stretch_s: float

    def __len__(self) -> int:
        return len(self.lowest)


def find_envelope(
    blocks: Iterable[NDArray[np.float32]],
    sample_rate: int,
    *,
    finest_s: float = 0.005,
    most: int = 60_000,
) -> Envelope:
    """Take the envelope of a mono signal that comes in blocks of any lengths.

    A stretch is ``finest_s`` seconds long. It is doubled until the signal has no more than ``most``
    stretches.
    """
    step = max(1, round(finest_s * sample_rate))
    lowest, highest = [], []
    rest: NDArray[np.float32] = np.zeros(0, np.float32)
    for block in blocks:
        signal = np.concatenate([rest, block])
        whole = len(signal) // step * step
        stretches = signal[:whole].reshape(-1, step)
        lowest.append(stretches.min(axis=1))
        highest.append(stretches.max(axis=1))
        rest = signal[whole:]
    if len(rest):
        lowest.append(rest.min(keepdims=True))
        highest.append(rest.max(keepdims=True))
    low, high = (np.concatenate([np.zeros(0, np.float32), *parts]) for parts in (lowest, highest))
    stretch_s = step / sample_rate
    while len(low) > most:
        pairs = np.arange(0, len(low), 2)
        low, high = np.minimum.reduceat(low, pairs), np.maximum.reduceat(high, pairs)
        stretch_s *= 2
    return Envelope(_as_bytes(low), _as_bytes(high), stretch_s)


def _as_bytes(values: NDArray[np.float32]) -> NDArray[np.int8]:
    return np.rint(np.clip(values, -1, 1) * _FULL_SCALE).astype(np.int8)
