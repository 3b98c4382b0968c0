"""Have Keras refuse layers of more weights than there are to put into them."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from musicnn_zoo.errors import ArgumentError

_one_at_a_time = threading.RLock()


@dataclass(frozen=True)
class WeightLimit:
    """How much a model may hold.

    Parameters
    ----------
    numbers : int
        In all weights together.
    weights : int
        Arrays of them, which bounds the number of layers.
    """

    numbers: int
    weights: int


@contextlib.contextmanager
def limited_weights(limit: WeightLimit) -> Iterator[None]:
    """Refuse to make more weights than that, before they are allocated.

    It holds for this thread. Keras asks no other place what a layer is about to allocate.

    Raises
    ------
    ArgumentError
        From the layer that goes beyond.
    """
    import keras

    add_weight = keras.layers.Layer.add_weight
    thread = threading.get_ident()
    numbers = weights = 0

    def add_counted(self: Any, shape: Any = None, *args: Any, **kwargs: Any) -> Any:
        nonlocal numbers, weights
        if threading.get_ident() == thread:
            numbers += math.prod(shape or ())
            weights += 1
            if numbers > limit.numbers or weights > limit.weights:
                raise ArgumentError(
                    f"the configuration asks for more weights than there are: with the layer "
                    f"{self.name} for {numbers:,} numbers in {weights:,} arrays, and at most "
                    f"{limit.numbers:,} in {limit.weights:,} could fit"
                )
        return add_weight(self, shape, *args, **kwargs)

    with _one_at_a_time:
        keras.layers.Layer.add_weight = add_counted
        try:
            yield
        finally:
            keras.layers.Layer.add_weight = add_weight
