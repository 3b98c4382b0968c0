"""Whether a value read from JSON is of the type that a block's function declares."""

from __future__ import annotations

import types
from collections.abc import Sequence
from math import isfinite
from typing import Any, Literal, Union, get_args, get_origin

LARGEST = 2**24
"""Of whole numbers: more filters, frames or units than any layer that fits a memory."""


def is_of_type(value: object, declared: Any) -> bool:
    """Compare a value with an annotation.

    Parameters
    ----------
    value : str, number, bool, None or tuple of those
    declared : type
        Made of ``int``, ``float``, ``bool``, ``str``, ``None``, ``Literal``, unions, ``tuple[…]``
        and ``Sequence[…]``.

    Returns
    -------
    bool
        A boolean is no number, a whole number is a ``float`` too, numbers are finite, and whole
        ones within plus and minus 2**24.
    """
    origin, inner = get_origin(declared), get_args(declared)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in inner)
    if origin in (Union, types.UnionType):
        return any(is_of_type(value, one) for one in inner)
    if origin is tuple:
        return (
            isinstance(value, tuple)
            and len(value) == len(inner)
            and all(map(is_of_type, value, inner))
        )
    if origin is Sequence:
        return isinstance(value, tuple) and all(is_of_type(item, inner[0]) for item in value)
    if declared in (int, float):
        if isinstance(value, int):
            return not isinstance(value, bool) and abs(value) <= LARGEST
        return declared is float and isinstance(value, float) and isfinite(value)
    return isinstance(value, type(None) if declared is None else declared)


def type_name(declared: Any) -> str:
    """Write an annotation as the documentation does."""
    origin, inner = get_origin(declared), get_args(declared)
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin in (Union, types.UnionType):
        return " or ".join(map(type_name, inner))
    if origin is tuple:
        return f"({', '.join(map(type_name, inner))})"
    if origin is Sequence:
        return f"a list of {type_name(inner[0])}"
    names = {int: "a whole number", float: "a finite number", str: "a string", bool: "a boolean"}
    return names.get(declared, "None")
