"""How models are trained, as data; and what a run keeps beside its model."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import (
    ArgumentError,
    OutputError,
    WeightsError,
    check_choice,
    check_entries,
    check_number,
    check_whole,
)
from musicnn_zoo.files import LOCK_PATIENCE_S, replacing

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
        The loss has this times the sum of the squares of all kernels being trained added to it.
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


FOLDER = "training"
"""Name of the folder in that of the model."""

_MAY_CHANGE = "epochs"


@dataclass
class Progress:
    """How far a run has come, in numbers that go to JSON and back."""

    phase: int = 0
    """Number of the phase, from 0."""
    epoch: int = 0
    """Epochs done in all phases."""
    phase_start: int = 0
    """Epochs done before this phase."""
    best: float | None = None
    """Lowest validation loss so far."""
    best_epoch: int = 0
    """Epoch that had it, from 1."""
    since_best: int = 0
    """Epochs of this phase since the best."""
    since_halved: int = 0
    """Epochs of this phase since the best, or since the learning rate was halved."""
    phase_done: bool = False
    """Whether the phase ended early."""
    history: list[dict[str, float | str]] = field(default_factory=list)
    """A row for each epoch."""

    def begin_phase(self, phase: int) -> None:
        """Begin a phase; the best so far stays."""
        self.phase, self.phase_start, self.phase_done = phase, self.epoch, False
        self.since_best = self.since_halved = 0

    def note(self, loss: float) -> bool:
        """Count an epoch with its validation loss; return whether it is the lowest so far."""
        self.epoch += 1
        if self.best is None or loss < self.best:
            self.best, self.best_epoch = loss, self.epoch
            self.since_best = self.since_halved = 0
            return True
        self.since_best += 1
        self.since_halved += 1
        return False


class TrainingFolder:
    """The folder of a run inside the folder of its model, which one run at a time may write.

    ``settings.json`` tells runs apart, ``checkpoint.safetensors`` holds all that the next epoch
    depends on, ``log.csv`` has a row for each epoch, ``tensorboard`` is for TensorBoard. Each
    file is replaced whole. With ``overwrite``, :meth:`settle` removes what an earlier run left;
    if the new run fails before that, nothing is lost.

    Raises
    ------
    OutputError
        If the folder cannot be written, or another run is writing it.
    ArgumentError
        If it holds a model and no settings of a run.
    """

    def __init__(self, model_folder: Path, *, overwrite: bool = False) -> None:
        from filelock import FileLock, Timeout

        self.path = model_folder / FOLDER
        self.tensorboard = self.path / "tensorboard"
        self._settings = self.path / "settings.json"
        self._overwrite = overwrite
        try:
            there = (model_folder / "config.json").exists()
            if there and not overwrite and not self._settings.exists():
                raise ArgumentError(
                    f"{model_folder} holds a model that was not trained there; use another output, "
                    "or overwrite it"
                )
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.path / "lock")
            self._lock.acquire(timeout=LOCK_PATIENCE_S)
        except Timeout as error:
            raise OutputError(f"{model_folder}: another run is writing it") from error
        except OSError as error:
            raise OutputError(
                f"{model_folder}: cannot be written ({error.strerror or error})"
            ) from error

    def close(self) -> None:
        """Let other runs write the folder."""
        self._lock.release()

    def settle(self, settings: Mapping[str, Any]) -> None:
        """Write the settings, or compare them with those of the run that is there.

        Raises
        ------
        ArgumentError
            If they differ in more than the number of epochs.
        OutputError
            If they cannot be read or written, or what is to be overwritten cannot be removed.
        """
        if self._overwrite:
            self._clear()
        path = self._settings
        wanted = json.loads(json.dumps(settings))
        if path.exists():
            try:
                earlier = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise OutputError(f"{path}: cannot be read ({error}); overwrite the run") from error
            changed = sorted(_differences(earlier, wanted))
            if changed:
                raise ArgumentError(
                    f"{self.path.parent} holds a run with other settings ({', '.join(changed)}); "
                    "use the same ones to go on with it, another output, or overwrite it"
                )
        self._write(path.name, json.dumps(wanted, indent=2).encode())

    def save(self, arrays: Sequence[NDArray[Any]], progress: Progress) -> None:
        """Write a checkpoint and the log."""
        from safetensors.numpy import save

        named = {f"{number:05d}": np.ascontiguousarray(a) for number, a in enumerate(arrays)}
        # ascontiguousarray gives an axis to arrays without one.
        shapes = json.dumps([list(np.shape(a)) for a in arrays])
        metadata = {"progress": json.dumps(asdict(progress)), "shapes": shapes}
        self._write("checkpoint.safetensors", save(named, metadata=metadata))
        table = io.StringIO()
        columns = dict.fromkeys(key for row in progress.history for key in row)
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(progress.history)
        self._write("log.csv", table.getvalue().encode())

    def load(self) -> tuple[list[NDArray[Any]], Progress] | None:
        """Read the checkpoint, or None if there is none yet.

        Raises
        ------
        WeightsError
            If it is damaged.
        """
        from safetensors import SafetensorError, safe_open

        path = self.path / "checkpoint.safetensors"
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata()
                progress = Progress(**json.loads(metadata["progress"]))
                shapes = json.loads(metadata["shapes"])
                arrays = [
                    file.get_tensor(f"{number:05d}").reshape(shape)
                    for number, shape in enumerate(shapes)
                ]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise WeightsError(
                f"{path}: damaged ({error}); delete it to begin again from the start"
            ) from error
        return arrays, progress

    def _clear(self) -> None:
        try:
            # Settings go last, so that what is left of a run still has those that it was made with.
            for entry in sorted(self.path.iterdir(), key=lambda entry: entry == self._settings):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                elif entry.name != "lock":
                    entry.unlink()
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be removed ({error.strerror or error})"
            ) from error

    def _write(self, name: str, content: bytes) -> None:
        with replacing(self.path / name, failure="cannot be written") as file:
            file.write(content)

    def __enter__(self) -> TrainingFolder:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _differences(one: Any, other: Any, name: str = "") -> set[str]:
    """Return the names of the settings that differ and may not."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {
            found
            for key in one.keys() | other.keys()
            if key != _MAY_CHANGE
            for found in _differences(one.get(key), other.get(key), f"{name}.{key}".lstrip("."))
        }
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return {
            found
            for number, pair in enumerate(zip(one, other, strict=True))
            for found in _differences(*pair, f"{name}[{number}]")
        }
    return set() if one == other else {name}
