"""What the arguments of an augmentation must be."""

from __future__ import annotations

from math import isfinite
from numbers import Integral, Real

from musicnn_zoo.errors import ArgumentError

LARGEST_SEED = 2**31 - 1


def check_seed(seed: object) -> int | None:
    """Return the seed as an ``int`` that every Keras backend takes."""
    if seed is None:
        return None
    if (
        isinstance(seed, bool)
        or not isinstance(seed, Integral)
        or not 0 <= int(seed) <= LARGEST_SEED
    ):
        raise ArgumentError(
            f"seed must be a whole number from 0 to {LARGEST_SEED}, or None; received {seed!r}"
        )
    return int(seed)


def check_number(name: str, value: object) -> float:
    """Return a finite number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
        raise ArgumentError(f"{name} must be a finite number; received {value!r}")
    return float(value)


def check_positive(name: str, value: object) -> float:
    """Return a finite number above 0."""
    number = check_number(name, value)
    if number <= 0:
        raise ArgumentError(f"{name} must be above 0; received {value!r}")
    return number


def check_count(name: str, value: object) -> int:
    """Return a whole number from 0 on."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise ArgumentError(f"{name} must be a whole number from 0 on; received {value!r}")
    return int(value)


def check_range(low: object, high: object) -> tuple[float, float]:
    """Return the ends of a range in dB."""
    ends = check_number("low_db", low), check_number("high_db", high)
    if ends[0] > ends[1]:
        raise ArgumentError(f"low_db must be at most high_db; received {low!r} and {high!r}")
    return ends
