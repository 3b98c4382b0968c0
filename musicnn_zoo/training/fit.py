"""The training loop: phases, checkpoints, and resuming exactly."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from musicnn_zoo.augmentation import NO_AUGMENTATION, Augmentation, augment
from musicnn_zoo.datasets.dataset import Dataset, DatasetError
from musicnn_zoo.errors import ArgumentError, TrainingError, WeightsError
from musicnn_zoo.networks.build import TaggingModel, adapt, build_model, finish_normalization
from musicnn_zoo.networks.config import LogMelInput, Provenance, patch_grid
from musicnn_zoo.networks.logmel import LogMel
from musicnn_zoo.networks.patches import PatchGrid
from musicnn_zoo.runtimes.engine import PRECISIONS
from musicnn_zoo.runtimes.keras_engine import device_scope, split_devices
from musicnn_zoo.runtimes.variants import SCORE_LAYERS
from musicnn_zoo.text import printable
from musicnn_zoo.training.batches import (
    batch_size_for_all,
    count_patches,
    evaluation_batches,
    training_batches,
)
from musicnn_zoo.training.clips import Clips, open_clips
from musicnn_zoo.training.finetuning import set_trainable
from musicnn_zoo.training.recipes import FROM_SCRATCH, Phase, Recipe
from musicnn_zoo.training.run_folder import Progress, RunFolder
from musicnn_zoo.zoo.folder import WEIGHTS, read_folder, save_pretrained
from musicnn_zoo.zoo.weights import arrays_of, read_safetensors


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class BalancedBinaryCrossentropy(keras.losses.Loss):
    r"""Binary cross-entropy with a weight for each tag where it is present and where it is absent.

    :math:`-\frac{1}{K} \sum_k w_{k1} y_k \log p_k + w_{k0} (1 - y_k) \log (1 - p_k)` for labels y
    and scores p of K tags.

    Parameters
    ----------
    weights : array-like, shape (tags, 2)
        Absent, present; see :meth:`musicnn_zoo.datasets.Dataset.label_weights`.
    """

    def __init__(
        self, weights: Any, name: str = "balanced_binary_crossentropy", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.weights = [[float(weight) for weight in pair] for pair in weights]

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each example, shape (batch,)."""
        weights = ops.convert_to_tensor(self.weights, y_pred.dtype)
        chosen = weights[:, 0] + y_true * (weights[:, 1] - weights[:, 0])
        return ops.mean(chosen * ops.binary_crossentropy(y_true, y_pred), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "weights": self.weights}


_log = logging.getLogger(__name__)

_ADAPTING_STEPS = 16


@dataclass(frozen=True, eq=False)
class Training:
    """What a training run did.

    Parameters
    ----------
    model : TaggingModel
        With the best weights.
    output : Path
        Folder of the model.
    history : tuple of dict
        A row for each epoch: ``epoch``, ``trainable``, ``learning_rate``, ``loss``,
        ``val_loss`` and further figures.
    best_epoch : int
        Epoch of the weights, from 1.
    best_loss : float
        Its validation loss.
    resumed_at : int
        Epochs that an earlier call had done; 0 if none.
    dataset : Dataset
        What was trained and validated on; files that could not be decoded are in its report.
    """

    model: TaggingModel
    output: Path
    history: tuple[dict[str, float | str], ...]
    best_epoch: int
    best_loss: float
    resumed_at: int
    dataset: Dataset

    def __str__(self) -> str:
        sizes = self.dataset.split_sizes
        resumed = f", {self.resumed_at} of them in an earlier run" if self.resumed_at else ""
        return (
            f"{printable(str(self.output))}: {self.model.name} trained for "
            f"{len(self.history)} epochs{resumed} on {sizes['train']} clips with "
            f"{len(self.dataset.tags)} tags; best after epoch {self.best_epoch}, validation loss "
            f"{self.best_loss:.4f} on {sizes['validation']} clips"
        )


def train_model(
    model: TaggingModel,
    dataset: Dataset,
    output: str | os.PathLike[str],
    *,
    recipe: Recipe = FROM_SCRATCH,
    augmentation: Augmentation = NO_AUGMENTATION,
    cache: str | os.PathLike[str] | None = None,
    precision: str = "float32",
    device: str | None = None,
    seed: int = 0,
    jobs: int | None = None,
    overwrite: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: bool = False,
) -> Training:
    """Train a model, and keep the weights of the lowest validation loss.

    Every epoch sees one random patch of each clip, then the loss on all patches of the
    validation clips. After each a checkpoint is written. A run that was killed goes on from there
    when it is started again with the same arguments, and gives the weights that it would have
    given (to 1e-6 on a CPU after :func:`musicnn_zoo.training.make_deterministic`).

    Parameters
    ----------
    model : TaggingModel
        Of :func:`musicnn_zoo.build_model` or :func:`musicnn_zoo.finetune_model`. It has the best
        weights in the end.
    dataset : Dataset
        With the splits ``train`` and ``validation``, see :func:`musicnn_zoo.datasets.split`; of
        the model's tags. With ``softmax``, one tag a track.
    output : path
        Folder for the model, which :func:`musicnn_zoo.load_model` takes, and, in ``training``
        inside it, for settings, checkpoint, ``log.csv`` and, if TensorBoard is installed, its logs.
    recipe : Recipe
        By default that of musicnn, see :data:`~musicnn_zoo.training.recipes.FROM_SCRATCH`.
    augmentation : Augmentation
        By default none.
    cache : path, optional
        Folder for decoded audio, see :func:`musicnn_zoo.training.open_clips`.
    precision : {"float32", "float16", "bfloat16"}
        Of the network; weights, log-mel, scores and loss stay in float32 ("mixed precision").
    device : str, optional
        As of :class:`musicnn_zoo.Tagger`; several share each batch by
        ``tf.distribute.MirroredStrategy``.
    seed : int
        Of batches and augmentation. Fresh weights and dropout are from the seed that Keras had
        when ``model`` was made: ``keras.utils.set_random_seed``.
    jobs : int, optional
        Threads that read audio; by default one a core.
    overwrite : bool
        Begin anew in place of going on.
    callbacks : sequence of keras.callbacks.Callback
        Further ones. What they keep to themselves is not in the checkpoint.
    progress : bool
        Show progress bars on standard error and Keras's lines on standard output.

    Returns
    -------
    Training

    Raises
    ------
    ArgumentError
        If arguments do not go together, or the folder holds a run with others.
    DatasetError
        If there are no splits, no file can be decoded, or the tags are not those of the model.
    AudioError
        If a file changes while the run lasts.
    OutputError
        If the folder cannot be written, or another run is writing it.
    DeviceError
        If there is no such device.

    Warns
    -----
    DatasetWarning
        Of files that cannot be decoded, which are left out.
    """
    _check(model, dataset, precision)
    dataset = dataset.with_tags(model.tags)
    devices = split_devices(device)
    if len(devices) > 1 and keras.backend.backend() != "tensorflow":
        raise ArgumentError("several devices need Keras's TensorFlow backend")
    if recipe.batch_size % len(devices):
        raise ArgumentError(
            f"batch_size must be a multiple of the {len(devices)} devices that share each batch; "
            f"received {recipe.batch_size}"
        )
    grid = patch_grid(model.zoo_config)
    with RunFolder(Path(output), overwrite=overwrite) as folder:
        clips = open_clips(
            _used(dataset), sample_rate=grid.sample_rate, cache=cache, jobs=jobs, progress=progress
        )
        _refuse_empty(clips.dataset, dataset.name)
        folder.settle(_settings(model, clips, recipe, augmentation, precision, seed))
        run = _Run(
            model=model,
            clips=clips,
            grid=grid,
            output=Path(output),
            folder=folder,
            recipe=recipe,
            augmentation=augmentation,
            precision=precision,
            devices=devices,
            seed=seed,
            jobs=jobs,
            callbacks=tuple(callbacks),
            verbose=progress,
        )
        return run.train()


@dataclass(eq=False)
class _Run:
    model: TaggingModel
    clips: Clips
    grid: PatchGrid
    output: Path
    folder: RunFolder
    recipe: Recipe
    augmentation: Augmentation
    precision: str
    devices: tuple[str | None, ...]
    seed: int
    jobs: int | None
    callbacks: tuple[keras.callbacks.Callback, ...]
    verbose: bool

    def train(self) -> Training:
        checkpoint = self.folder.load()
        arrays, self.progress = checkpoint or ([], Progress())
        n_state = len(arrays) - len(self.model.weights)
        self.state, self.best = arrays[:n_state], arrays[n_state:]
        resumed_at = self.progress.epoch
        self.parts = {split: self.clips.subset(split) for split in ("train", "validation")}
        batch_size = self.recipe.batch_size
        self.steps = self.recipe.steps_per_epoch or -(-len(self.parts["train"]) // batch_size)
        self.model.thresholds = None  # they were those of other weights
        if checkpoint is None:
            _adapt(self.model, self.parts["train"], self.grid, self.recipe, self.seed)
        self.strategy = _strategy(self.devices)
        with self._scope():
            self.trained = self.model if self.strategy is None else _copy(self.model)
        if checkpoint is not None:
            # A run may be killed between writing its best weights and writing its checkpoint.
            self._take_best()
            if not self._is_saved():
                self._save_best()
        phases = self.recipe.phases
        while True:
            self._train_phase(phases[self.progress.phase])
            if self.progress.phase + 1 == len(phases):
                break
            self.progress.begin_phase(self.progress.phase + 1)
            self.state = []
            self._take_best()
        self._take_best()
        assert self.progress.best is not None
        return Training(
            model=self.model,
            output=self.output,
            history=tuple(self.progress.history),
            best_epoch=self.progress.best_epoch,
            best_loss=self.progress.best,
            resumed_at=resumed_at,
            dataset=self.clips.dataset,
        )

    def _train_phase(self, phase: Phase) -> None:
        last = self.progress.phase_start + phase.epochs
        set_trainable(self.trained, phase.trainable, batchnorm=phase.batchnorm)
        with self._scope(), _mixed_precision(self.trained, self.precision):
            model = augment(self.trained, self.augmentation, seed=self.seed)
            self._compile(model, phase)
            if self.state:
                _put(model, self.state)
            if self.progress.phase_done or self.progress.epoch >= last:
                return
            weights = self._class_weights()
            batches = training_batches(
                self.parts["train"],
                self.grid,
                batch_size=self.recipe.batch_size,
                seed=self.seed,
                first_step=self.progress.epoch * self.steps,
                class_weights=weights,
                jobs=self.jobs,
            )
            to_validate = self.parts["validation"]
            validation = evaluation_batches(
                to_validate,
                self.grid,
                batch_size=batch_size_for_all(
                    count_patches(to_validate, self.grid),
                    self.recipe.batch_size,
                    len(self.devices),
                ),
                class_weights=weights,
                jobs=self.jobs,
            )
            try:
                _regularize(self.trained, self.recipe.l2)
                model.fit(
                    batches,
                    initial_epoch=self.progress.epoch,
                    epochs=last,
                    steps_per_epoch=self.steps,
                    validation_data=validation,
                    shuffle=False,  # they are shuffled
                    callbacks=[*self.callbacks, *self._tensorboard(), _Keeper(self, phase)],
                    verbose=1 if self.verbose else 0,
                )
            except Exception as error:
                if self.clips.failures:  # TensorFlow makes a page of its own of it
                    raise self.clips.failures[0] from error
                raise
            finally:
                _regularize(self.trained, 0)

    def end_epoch(self, model: keras.Model, phase: Phase, logs: Mapping[str, float]) -> None:
        """Judge an epoch, keep its weights if they are the best, and write the checkpoint."""
        loss = float(logs["val_loss"])
        if not math.isfinite(loss) or not math.isfinite(logs["loss"]):
            kept = "nothing was" if self.progress.best is None else "the best weights before are"
            raise TrainingError(
                f"{self.output}: the loss is no number any more after epoch "
                f"{self.progress.epoch + 1} ({logs['loss']}, validation {loss}); {kept} kept. "
                "Begin anew with a lower learning rate"
            )
        rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
        improved = self.progress.note(loss)
        self.progress.history.append(
            {
                "epoch": self.progress.epoch,
                "trainable": phase.trainable,
                "learning_rate": rate,
                **{name: float(value) for name, value in logs.items()},
            }
        )
        if improved:
            self.best = [_numpy(weight) for weight in self.trained.weights]
            self._save_best()
        elif self.progress.since_halved >= phase.halve_after:
            model.optimizer.learning_rate = rate / 2
            self.progress.since_halved = 0
        if phase.stop_after is not None and self.progress.since_best >= phase.stop_after:
            self.progress.phase_done = model.stop_training = True
        state = [_numpy(variable) for variable in _state(model)]
        self.folder.save([*state, *self.best], self.progress)

    def _compile(self, model: keras.Model, phase: Phase) -> None:
        optimizer = keras.optimizers.Adam(phase.learning_rate)
        if self.precision == "float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        n_tags = len(self.model.tags)
        loss: keras.losses.Loss
        if self.model.zoo_config.activation == "softmax":
            loss = keras.losses.CategoricalCrossentropy()
            metrics = [keras.metrics.CategoricalAccuracy(name="accuracy")]
        else:
            loss = keras.losses.BinaryCrossentropy()
            if self.recipe.balance:
                loss = BalancedBinaryCrossentropy(self.parts["train"].dataset.label_weights())
            metrics = [
                keras.metrics.AUC(curve=curve, multi_label=True, num_labels=n_tags, name=name)
                for curve, name in (("ROC", "roc_auc"), ("PR", "pr_auc"))
            ]
        # Kapre's Fourier transform is not for XLA on every device.
        jit = False if keras.backend.backend() == "tensorflow" else "auto"
        model.compile(optimizer, loss, metrics=metrics, jit_compile=jit)
        optimizer.build(model.trainable_variables)

    def _class_weights(self) -> NDArray[np.float64] | None:
        if not self.recipe.balance or self.model.zoo_config.activation != "softmax":
            return None
        return self.parts["train"].dataset.class_weights()

    def _take_best(self) -> None:
        """Put the best weights so far into the model that the caller has, and into the copy."""
        for model in {id(one): one for one in (self.model, self.trained)}.values():
            _assign(model.weights, self.best)
            finish_normalization(model)

    def _save_best(self) -> None:
        save_pretrained(self.trained, self.output, provenance=self._provenance())

    def _is_saved(self) -> bool:
        """Whether the folder has these weights; thresholds that were found for them then stay."""
        try:
            read_folder(self.output, origin=str(self.output))
            saved = read_safetensors(self.output / WEIGHTS)
        except WeightsError:
            return False
        best = arrays_of(self.trained)
        return saved.keys() == best.keys() and all(
            np.array_equal(saved[name], values) for name, values in best.items()
        )

    def _provenance(self) -> Provenance:
        dataset = self.parts["train"].dataset
        return replace(
            self.model.provenance,
            trained_on=f"{dataset.name} ({len(dataset)} clips)",
            metrics={},
            test_set="",
        )

    def _tensorboard(self) -> list[keras.callbacks.Callback]:
        """Return what writes for TensorBoard; TensorFlow from 2.21 on does not bring it."""
        if importlib.util.find_spec("tensorboard") is None:
            _log.info("TensorBoard is not installed: there will be no logs for it")
            return []
        return [keras.callbacks.TensorBoard(str(self.folder.tensorboard), write_graph=False)]

    def _scope(self) -> contextlib.AbstractContextManager[Any]:
        if self.strategy is not None:
            scope: contextlib.AbstractContextManager[Any] = self.strategy.scope()
            return scope
        return device_scope(self.devices[0])


class _Keeper(keras.callbacks.Callback):
    """Hands the end of each epoch to the run; the last of the callbacks."""

    def __init__(self, run: _Run, phase: Phase) -> None:
        super().__init__()
        self._run, self._phase = run, phase

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        del epoch
        self._run.end_epoch(self.model, self._phase, logs or {})


def _check(model: TaggingModel, dataset: Dataset, precision: str) -> None:
    if precision not in PRECISIONS:
        raise ArgumentError(
            f"precision must be one of {', '.join(PRECISIONS)}; received {precision!r}"
        )
    if set(dataset.tags) != set(model.tags):
        only = sorted(set(dataset.tags) ^ set(model.tags))
        raise DatasetError(
            f"{dataset.name}: its tags must be those of the model; only one of them has "
            f"{', '.join(map(repr, only[:3]))}{' …' if len(only) > 3 else ''}: make the model with "
            "tags=dataset.tags, or choose dataset.with_tags(model.tags)"
        )
    activation = model.zoo_config.activation
    if activation is None:
        raise ArgumentError("the model gives logits; training needs activation sigmoid or softmax")
    if activation == "softmax" and not dataset.single_label:
        raise DatasetError(
            f"{dataset.name}: has tracks with several tags or none, and the model gives exactly "
            "one (softmax): make it with activation='sigmoid'"
        )
    missing = [split for split in ("train", "validation") if split not in dataset.split_sizes]
    if missing:
        raise DatasetError(
            f"{dataset.name}: has no tracks for {' and '.join(missing)}; "
            "musicnn_zoo.datasets.split() divides it"
        )


def _used(dataset: Dataset) -> Dataset:
    """Leave out what is neither trained nor validated on."""
    assert dataset.splits is not None
    return dataset.subset([i for i, split in enumerate(dataset.splits) if split != "test"])


def _refuse_empty(dataset: Dataset, name: str) -> None:
    for split in ("train", "validation"):
        if split not in dataset.split_sizes:
            raise DatasetError(f"{name}: no file of {split} can be decoded: {dataset.report}")


def _settings(
    model: TaggingModel,
    clips: Clips,
    recipe: Recipe,
    augmentation: Augmentation,
    precision: str,
    seed: int,
) -> dict[str, Any]:
    dataset = clips.dataset
    digest = hashlib.sha256(dataset.labels.tobytes())
    digest.update(json.dumps([dataset.paths, dataset.splits, clips.samples]).encode())
    return {
        "model": {"name": model.name, "source": model.provenance.source, "tags": list(model.tags),
                  "config": model.zoo_config.to_dict()},
        "data": {"name": dataset.name, "clips": len(dataset), "digest": digest.hexdigest()},
        "recipe": recipe.to_dict(),
        "augmentation": augmentation.to_dict(),
        "precision": precision,
        "seed": seed,
    }  # fmt: skip


def _strategy(devices: tuple[str | None, ...]) -> Any:
    if len(devices) == 1:
        return None
    import tensorflow as tf

    return tf.distribute.MirroredStrategy([f"/{device}" for device in devices])


def _copy(model: TaggingModel) -> TaggingModel:
    """Make the model anew, for variables on other devices."""
    copied = build_model(
        model.zoo_config, tags=model.tags, name=model.name, provenance=model.provenance
    )
    copied.set_weights(model.get_weights())
    finish_normalization(copied)
    return copied


def _adapt(model: TaggingModel, clips: Clips, grid: PatchGrid, recipe: Recipe, seed: int) -> None:
    """Give an untrained model that standardizes its input the statistics of the data."""
    signal = model.zoo_config.input
    if not isinstance(signal, LogMelInput) or signal.normalization != "standardize":
        return
    if int(keras.ops.convert_to_numpy(model.get_layer("input_normalization").count)):
        return
    batches = training_batches(
        clips, grid, batch_size=recipe.batch_size, seed=seed, steps=_ADAPTING_STEPS
    )
    adapt(model, np.concatenate([waveforms for waveforms, _ in batches.as_numpy_iterator()]))


def _regularize(model: TaggingModel, l2: float) -> None:
    """Put L2 on the kernels; Keras counts it for those that are trained. 0 takes it off."""
    for variable in model.variables:
        if variable.name == "kernel":
            variable.regularizer = keras.regularizers.L2(l2) if l2 else None


@contextlib.contextmanager
def _mixed_precision(model: TaggingModel, precision: str) -> Iterator[None]:
    """Have the layers of a model compute in half precision for a while, on the same weights."""
    if precision == "float32":
        yield
        return
    chosen = [
        layer
        for layer in model.layers
        if not isinstance(layer, LogMel) and layer.name not in SCORE_LAYERS
    ]
    before = [layer.dtype_policy for layer in chosen]
    try:
        for layer in chosen:
            layer.dtype_policy = keras.DTypePolicy(f"mixed_{precision}")
        yield
    finally:
        for layer, policy in zip(chosen, before, strict=True):
            layer.dtype_policy = policy


def _state(model: keras.Model) -> list[Any]:
    """All that a step changes: weights, statistics, seeds, and the optimizer's memory."""
    return [*model.variables, *model.optimizer.variables]


def _put(model: keras.Model, state: Sequence[NDArray[Any]]) -> None:
    _assign(_state(model), state)
    finish_normalization(model)


def _assign(variables: Sequence[Any], arrays: Sequence[NDArray[Any]]) -> None:
    if [tuple(variable.shape) for variable in variables] != [array.shape for array in arrays]:
        raise WeightsError("the checkpoint is of another model or version; overwrite the run")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _numpy(variable: Any) -> NDArray[Any]:
    return np.array(keras.ops.convert_to_numpy(variable))
