"""How models are trained, as data; and how to train the same weights each time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from numbers import Real
from typing import Any, Literal

from musicnn_zoo.errors import ArgumentError, UnknownNameError

Trainable = Literal["head", "backend", "midend", "all"]
TRAINABLE: tuple[Trainable, ...] = ("head", "backend", "midend", "all")
"""From where on weights are trained: each also trains what stands before it in this list."""

BatchNormMode = Literal["frozen", "trainable"]


@dataclass(frozen=True)
class Phase:
    """A stretch of training with the same weights being trained.

    Parameters
    ----------
    trainable : {"head", "backend", "midend", "all"}
        See :func:`musicnn_zoo.finetune_model`.
    learning_rate : float
        Of Adam, at the start.
    epochs : int
        At most.
    halve_after : int
        Epochs without a lower validation loss after which the learning rate is halved.
    stop_after : int or None
        Epochs without a lower validation loss after which the phase ends; None for never.
    batchnorm : {"frozen", "trainable"}
        Whether BatchNorm layers keep their statistics, scale and offset.

    Raises
    ------
    ArgumentError
        If a number is out of its range.
    """

    trainable: Trainable = "all"
    learning_rate: float = 1e-3
    epochs: int = 600
    halve_after: int = 75
    stop_after: int | None = None
    batchnorm: BatchNormMode = "trainable"

    def __post_init__(self) -> None:
        if self.trainable not in TRAINABLE:
            raise ArgumentError(
                f"trainable must be one of {', '.join(TRAINABLE)}; received {self.trainable!r}"
            )
        if self.batchnorm not in ("frozen", "trainable"):
            raise ArgumentError(
                f"batchnorm must be frozen or trainable; received {self.batchnorm!r}"
            )
        _check_positive("learning_rate", self.learning_rate)
        _check_count("epochs", self.epochs)
        _check_count("halve_after", self.halve_after)
        if self.stop_after is not None:
            _check_count("stop_after", self.stop_after)


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: phases one after the other, each from the best weights so far.

    Parameters
    ----------
    phases : tuple of Phase
    batch_size : int
        Patches in a step.
    l2 : float
        Added to the loss is this times the sum of the squares of all kernels being trained.
    steps_per_epoch : int or None
        Steps between two looks at the validation data; by default as many as it takes to see
        one patch of every clip.
    balance : bool
        Weigh classes so that all have the same part in the loss; with several tags a track, the
        presence and the absence of each tag.

    Raises
    ------
    ArgumentError
        If there is no phase, or a number is out of its range.
    """

    phases: tuple[Phase, ...]
    batch_size: int = 32
    l2: float = 1e-5
    steps_per_epoch: int | None = None
    balance: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "phases", tuple(self.phases))
        if not self.phases:
            raise ArgumentError("a recipe needs at least one phase; received none")
        _check_count("batch_size", self.batch_size)
        if self.steps_per_epoch is not None:
            _check_count("steps_per_epoch", self.steps_per_epoch)
        if not (_is_number(self.l2) and self.l2 >= 0):
            raise ArgumentError(f"l2 must be a number of at least 0; received {self.l2!r}")
        if not isinstance(self.balance, bool):
            raise ArgumentError(f"balance must be True or False; received {self.balance!r}")

    def with_phases(self, **changes: Any) -> Recipe:
        """Return the recipe with some settings changed in every phase."""
        return replace(self, phases=tuple(replace(phase, **changes) for phase in self.phases))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return {**asdict(self), "phases": [asdict(phase) for phase in self.phases]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Inverse of :meth:`to_dict`.

        Raises
        ------
        UnknownNameError
            If an entry of the recipe or of a phase is unknown.
        ArgumentError
            If a value is out of its range.
        """
        _check_entries("recipe", cls, values)
        phases = values.get("phases", ())
        if not isinstance(phases, list | tuple):
            raise ArgumentError(f"phases must be a list; received {phases!r}")
        for phase in phases:
            _check_entries("phase", Phase, phase)
        return cls(**{**values, "phases": tuple(Phase(**phase) for phase in phases)})


def _check_entries(what: str, kind: type[Phase] | type[Recipe], entries: Any) -> None:
    if not isinstance(entries, Mapping):
        raise ArgumentError(f"a {what} must be a mapping; received {entries!r}")
    known = [field.name for field in fields(kind)]
    for entry in entries:
        if entry not in known:
            raise UnknownNameError(f"{what} entry", entry, known)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(f"{name} must be a whole number of at least 1; received {value!r}")


def _check_positive(name: str, value: Any) -> None:
    if not (_is_number(value) and value > 0):
        raise ArgumentError(f"{name} must be a positive number; received {value!r}")


FROM_SCRATCH = Recipe((Phase(),))
"""That of musicnn (Pons & Serra 2019): Adam at 1e-3, 32 patches a step, L2 of 1e-5, the learning
rate halved after 75 epochs without progress."""

FINETUNE = Recipe(
    phases=(
        Phase("head", 1e-2, epochs=30, halve_after=3, stop_after=6, batchnorm="frozen"),
        Phase("all", 1e-4, epochs=20, halve_after=3, stop_after=6, batchnorm="frozen"),
    )
)
"""The new head first; then all at a hundredth of its learning rate, BatchNorm frozen throughout."""


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
