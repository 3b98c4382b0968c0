"""What a training run keeps beside its model: settings, progress, logs."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError, OutputError, WeightsError
from musicnn_zoo.files import replacing

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
    file is replaced whole. With ``overwrite``, :meth:`settle` removes what an earlier run left:
    what fails before that costs nothing.

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
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise OutputError(f"{model_folder}: another run is writing it") from error
        except OSError as error:
            raise OutputError(
                f"{model_folder}: cannot be written ({error.strerror or error})"
            ) from error

    def close(self) -> None:
        """Let other runs write the folder."""
        self._lock.release()

    @property
    def tensorboard(self) -> Path:
        """Folder for TensorBoard."""
        return self.path / "tensorboard"

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
        self._write(path, json.dumps(wanted, indent=2).encode())

    def save(self, arrays: Sequence[NDArray[Any]], progress: Progress) -> None:
        """Write a checkpoint and the log."""
        from safetensors.numpy import save

        named = {f"{number:05d}": np.ascontiguousarray(a) for number, a in enumerate(arrays)}
        # ascontiguousarray gives an axis to arrays without one.
        shapes = json.dumps([list(np.shape(a)) for a in arrays])
        metadata = {"progress": json.dumps(asdict(progress)), "shapes": shapes}
        self._write(self.path / "checkpoint.safetensors", save(named, metadata=metadata))
        self._write(self.path / "log.csv", _table(progress.history).encode())

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
            # Settings go last: what is left of a run is never taken for one with other settings.
            for entry in sorted(self.path.iterdir(), key=lambda entry: entry == self._settings):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                elif entry.name != "lock":
                    entry.unlink()
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be removed ({error.strerror or error})"
            ) from error

    def _write(self, path: Path, content: bytes) -> None:
        try:
            with replacing(path, path.with_name(f"{path.name}.unfinished")) as file:
                file.write(content)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error

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


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
