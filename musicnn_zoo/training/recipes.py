"""How models are trained, as data; and how to train the same weights each time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from musicnn_zoo.errors import (
    ArgumentError,
    check_choice,
    check_entries,
    check_number,
    check_whole,
)

Trainable = Literal["head", "backend", "midend", "all"]
TRAINABLE: tuple[Trainable, ...] = get_args(Trainable)
"""What is trained: each part together with those before it in this list."""

BatchNormMode = Literal["frozen", "trainable"]
BATCHNORM_MODES: tuple[BatchNormMode, ...] = get_args(BatchNormMode)


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
        check_choice("trainable", self.trainable, TRAINABLE)
        check_choice("batchnorm", self.batchnorm, BATCHNORM_MODES)
        check_number("learning_rate", self.learning_rate, above=0)
        _set_whole(self, "epochs")
        _set_whole(self, "halve_after")
        if self.stop_after is not None:
            _set_whole(self, "stop_after")


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
        _set_whole(self, "batch_size")
        if self.steps_per_epoch is not None:
            _set_whole(self, "steps_per_epoch")
        check_number("l2", self.l2, least=0)
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
        given = check_entries(values, cls, "a recipe")
        phases = given.get("phases", ())
        if not isinstance(phases, list | tuple):
            raise ArgumentError(f"phases must be a list; received {phases!r}")
        given["phases"] = tuple(Phase(**check_entries(phase, Phase, "a phase")) for phase in phases)
        return cls(**given)


def _set_whole(settings: Phase | Recipe, name: str) -> None:
    object.__setattr__(settings, name, check_whole(name, getattr(settings, name)))


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
    changes from run to run. Training is then slower. This holds until the process ends.

    Parameters
    ----------
    seed : int
        Of fresh weights and dropout; from 0 to 2**32 - 1.

    Raises
    ------
    ArgumentError
        If TensorFlow has computed something in this process already: call it first.
    """
    import keras

    keras.utils.set_random_seed(check_whole("seed", seed, least=0, most=2**32 - 1))
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
