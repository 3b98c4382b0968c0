"""The same numbers each time."""

from __future__ import annotations

from musicnn_zoo.errors import ArgumentError


def make_deterministic(seed: int = 0) -> None:
    """Have this process compute the same weights each time that it trains, on a CPU.

    Seeds Python, NumPy and Keras; has TensorFlow take the deterministic kernel of each operation;
    and lets it run one operation at a time, since two that share the cores add in an order that
    depends on their luck. Training is then slower. It stays so for the process.

    Parameters
    ----------
    seed : int
        From it come fresh weights and dropout; from 0 to 2**32 - 1.

    Raises
    ------
    ArgumentError
        If TensorFlow has computed something in this process already: call it first.
    """
    import keras

    if not 0 <= seed < 2**32:
        raise ArgumentError(f"seed must be from 0 to {2**32 - 1}; received {seed}")
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    try:
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        raise ArgumentError(
            "TensorFlow has computed something already; make_deterministic must come before that"
        ) from error
    tf.config.experimental.enable_op_determinism()
