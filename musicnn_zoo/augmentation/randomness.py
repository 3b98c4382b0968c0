"""Random numbers whose state is among the variables of a model."""

from __future__ import annotations

from math import pi
from typing import Any

import keras
from keras import ops

from musicnn_zoo.augmentation.checks import check_seed

_REPLICA_STRIDE = 1_000_003


class ReplicaSeedGenerator(keras.random.SeedGenerator):
    """A seed generator that gives every replica of a ``tf.distribute`` strategy other seeds.

    Keras's own gives them all the same, so that the first signal of every replica would be
    changed in the same way.

    Parameters
    ----------
    seed : int, optional
        From 0 to 2 ** 31 - 1; by default a random one.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(check_seed(seed), **kwargs)

    def next(self, ordered: bool = True) -> Any:
        """Return a seed and move on."""
        seed = super().next(ordered=ordered)
        if keras.backend.backend() != "tensorflow":
            return seed
        import tensorflow as tf

        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            return seed
        number = tf.cast(replica.replica_id_in_sync_group, seed.dtype)
        return seed + tf.stack([number * _REPLICA_STRIDE, tf.zeros_like(number)])


def symmetric_beta(shape: tuple[Any, ...], alpha: float, seed: keras.random.SeedGenerator) -> Any:
    """Draw from Beta(alpha, alpha).

    By the polar method, two uniform numbers for each: XLA, which Keras uses by itself on a GPU,
    cannot compile the gamma variates that ``keras.random.beta`` is made of.

    Parameters
    ----------
    shape : tuple of int
    alpha : float
        Above 0.
    seed : keras.random.SeedGenerator

    Returns
    -------
    tensor, float32
        From 0 to 1.

    References
    ----------
    Devroye. "Non-uniform random variate generation." 1986, IX.3.

    Bailey. "Polar generation of random variates with the t-distribution." Mathematics of
    Computation 62, 1994.
    """
    # t = cosine * sqrt(1 / q - 1) has the t-distribution of 2 alpha degrees, but for a factor.
    q = ops.power(keras.random.uniform(shape, dtype="float32", seed=seed), 1 / alpha)
    cosine = ops.cos(2 * pi * keras.random.uniform(shape, dtype="float32", seed=seed))
    square = (1 - q) * ops.square(cosine)
    spread = ops.sqrt(square / ops.maximum(q + square, 1e-37))
    return 0.5 + 0.5 * ops.sign(cosine) * spread
