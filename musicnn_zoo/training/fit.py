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

from musicnn_zoo.augmentation import NO_AUGMENTATION, Augmentation, AugmentedModel, augment
from musicnn_zoo.datasets.dataset import Dataset, DatasetError
from musicnn_zoo.errors import (
    ArgumentError,
    TrainingError,
    WeightsError,
    check_choice,
)
from musicnn_zoo.networks.build import TaggingModel, adapt, build_model, finish_normalization
from musicnn_zoo.networks.config import LogMelInput, patch_grid
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
from musicnn_zoo.training.run_folder import Progress, TrainingFolder
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

    An epoch trains on one random patch of each clip, computes the loss on all patches of the
    validation clips, and writes a checkpoint. A run that was killed goes on from there when it is
    started again with the same arguments, and gives the weights that it would have given (to 1e-6
    on a CPU after :func:`musicnn_zoo.training.make_deterministic`).

    Parameters
    ----------
    model : TaggingModel
        Of :func:`musicnn_zoo.build_model` or :func:`musicnn_zoo.finetune_model`. At the end it
        has the best weights.
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
        Begin again in place of going on.
    callbacks : sequence of keras.callbacks.Callback
        Further ones. Their own state is not in the checkpoint.
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
    settings = _Settings(recipe, augmentation, precision, seed)
    grid = patch_grid(model.zoo_config)
    with TrainingFolder(Path(output), overwrite=overwrite) as folder:
        clips = open_clips(
            _used(dataset), sample_rate=grid.sample_rate, cache=cache, jobs=jobs, progress=progress
        )
        _refuse_empty(clips.dataset, dataset.name)
        folder.settle(settings.to_dict(model, clips))
        batches = _Batches.of(model, clips, recipe, seed=seed, jobs=jobs, devices=len(devices))
        checkpoint = folder.load()
        arrays, done = checkpoint or ([], Progress())
        resumed_at = done.epoch
        n_state = len(arrays) - len(model.weights)
        model.thresholds = None  # they were found for other weights
        if checkpoint is None:
            _adapt(model, batches)
        placed = _Placed(model, devices, precision)
        best = _Best(placed, Path(output), batches.train.dataset, arrays[n_state:])
        if checkpoint is not None:
            best.restore()
            best.write_if_lost()
        keeper = _Keeper(folder, done, best)
        state = arrays[:n_state]
        for number in range(done.phase, len(recipe.phases)):
            if number > done.phase:
                done.begin_phase(number)
                best.restore()
                state = []
            try:
                _train_phase(
                    settings, placed, batches, keeper, state, callbacks=callbacks, verbose=progress
                )
            except Exception as error:
                if clips.failures:  # TensorFlow's own error of them is a page long
                    raise clips.failures[0] from error
                raise
        best.restore()
        assert done.best is not None
        return Training(
            model=model,
            output=Path(output),
            history=tuple(done.history),
            best_epoch=done.best_epoch,
            best_loss=done.best,
            resumed_at=resumed_at,
            dataset=clips.dataset,
        )


@dataclass(frozen=True)
class _Settings:
    """What the trained weights depend on; a run goes on with the same settings only."""

    recipe: Recipe
    augmentation: Augmentation
    precision: str
    seed: int

    def to_dict(self, model: TaggingModel, clips: Clips) -> dict[str, Any]:
        """Return plain data, ready for JSON, with what tells model and clips from others."""
        dataset = clips.dataset
        digest = hashlib.sha256(dataset.labels.tobytes())
        digest.update(json.dumps([dataset.paths, dataset.splits, clips.samples]).encode())
        return {
            "model": {"name": model.name, "source": model.provenance.source,
                      "tags": list(model.tags), "config": model.zoo_config.to_dict()},
            "data": {"name": dataset.name, "clips": len(dataset), "digest": digest.hexdigest()},
            "recipe": self.recipe.to_dict(),
            "augmentation": self.augmentation.to_dict(),
            "precision": self.precision,
            "seed": self.seed,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Batches:
    """The clips of a run, cut into batches."""

    train: Clips
    validation: Clips
    grid: PatchGrid
    recipe: Recipe
    seed: int
    jobs: int | None
    devices: int
    class_weights: NDArray[np.float64] | None

    @classmethod
    def of(cls, model: TaggingModel, clips: Clips, recipe: Recipe, **options: Any) -> _Batches:
        train = clips.subset("train")
        by_class = recipe.balance and model.zoo_config.activation == "softmax"
        return cls(
            train,
            clips.subset("validation"),
            patch_grid(model.zoo_config),
            recipe,
            class_weights=train.dataset.class_weights() if by_class else None,
            **options,
        )

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return self.recipe.steps_per_epoch or -(-len(self.train) // self.recipe.batch_size)

    def from_epoch(self, epoch: int) -> Any:
        """Return the training batches from an epoch on, without end."""
        return training_batches(
            self.train,
            self.grid,
            batch_size=self.recipe.batch_size,
            seed=self.seed,
            first_step=epoch * self.steps,
            class_weights=self.class_weights,
            jobs=self.jobs,
        )

    def to_validate(self) -> Any:
        """Return the batches of all validation clips."""
        count = count_patches(self.validation, self.grid)
        return evaluation_batches(
            self.validation,
            self.grid,
            batch_size=batch_size_for_all(count, self.recipe.batch_size, self.devices),
            class_weights=self.class_weights,
            jobs=self.jobs,
        )


class _Placed:
    """A model on the devices that train it: itself, or a copy with variables on several."""

    def __init__(
        self, model: TaggingModel, devices: tuple[str | None, ...], precision: str
    ) -> None:
        self.model = model
        self._device, self._precision = devices[0], precision
        self._strategy = _strategy(devices)
        with self._scope():
            self.trained = model if self._strategy is None else _copy(model)

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Compute on the devices and in the precision of the run."""
        with self._scope(), _mixed_precision(self.trained, self._precision):
            yield

    def assign(self, weights: Sequence[NDArray[Any]]) -> None:
        """Put weights into the caller's model and into the copy."""
        for model in {id(one): one for one in (self.model, self.trained)}.values():
            _assign(model.weights, weights)
            finish_normalization(model)

    def _scope(self) -> contextlib.AbstractContextManager[Any]:
        if self._strategy is None:
            return device_scope(self._device)
        scope: contextlib.AbstractContextManager[Any] = self._strategy.scope()
        return scope


class _Best:
    """The weights of the lowest validation loss, in memory and in the folder of the model."""

    def __init__(
        self, placed: _Placed, output: Path, trained_on: Dataset, weights: list[NDArray[Any]]
    ) -> None:
        self.weights = weights
        self._placed, self._output = placed, output
        self._provenance = replace(
            placed.model.provenance,
            trained_on=f"{trained_on.name} ({len(trained_on)} clips)",
            metrics={},
            test_set="",
        )

    def keep(self) -> None:
        """Take the weights that the model has now."""
        self.weights = [_numpy(weight) for weight in self._placed.trained.weights]
        self._write()

    def restore(self) -> None:
        """Put the best weights back into the model."""
        self._placed.assign(self.weights)

    def write_if_lost(self) -> None:
        """Write the folder unless it has these weights, with the thresholds found for them.

        A run may be killed between writing its best weights and writing its checkpoint.
        """
        best = arrays_of(self._placed.trained)
        try:
            read_folder(self._output, origin=str(self._output))
            saved = read_safetensors(self._output / WEIGHTS)
        except WeightsError:
            saved = {}
        if saved.keys() != best.keys() or not all(
            np.array_equal(saved[name], values) for name, values in best.items()
        ):
            self._write()

    def _write(self) -> None:
        save_pretrained(self._placed.trained, self._output, provenance=self._provenance)


class _Keeper:
    """Judges each epoch, keeps the weights of the best, and writes the checkpoint."""

    def __init__(self, folder: TrainingFolder, progress: Progress, best: _Best) -> None:
        self.folder, self.progress, self.best = folder, progress, best

    def end_epoch(self, model: keras.Model, phase: Phase, logs: Mapping[str, float]) -> None:
        """Note an epoch; ``logs`` are Keras's."""
        progress = self.progress
        loss = float(logs["val_loss"])
        if not math.isfinite(loss) or not math.isfinite(logs["loss"]):
            kept = "nothing was" if progress.best is None else "the best weights before are"
            raise TrainingError(
                f"{self.folder.path.parent}: the loss is not a number after epoch "
                f"{progress.epoch + 1} ({logs['loss']}, validation {loss}); {kept} kept. "
                "Begin again with a lower learning rate"
            )
        rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
        improved = progress.note(loss)
        progress.history.append(
            {
                "epoch": progress.epoch,
                "trainable": phase.trainable,
                "learning_rate": rate,
                **{name: float(value) for name, value in logs.items()},
            }
        )
        if improved:
            self.best.keep()
        elif progress.since_halved >= phase.halve_after:
            model.optimizer.learning_rate = rate / 2
            progress.since_halved = 0
        if phase.stop_after is not None and progress.since_best >= phase.stop_after:
            progress.phase_done = model.stop_training = True
        state = [_numpy(variable) for variable in _state(model)]
        self.folder.save([*state, *self.best.weights], progress)


def _train_phase(
    settings: _Settings,
    placed: _Placed,
    batches: _Batches,
    keeper: _Keeper,
    state: Sequence[NDArray[Any]],
    *,
    callbacks: Sequence[keras.callbacks.Callback],
    verbose: bool,
) -> None:
    """Train the phase that a run has come to, from ``state`` if there is one."""
    recipe, progress = settings.recipe, keeper.progress
    phase = recipe.phases[progress.phase]
    last = progress.phase_start + phase.epochs
    set_trainable(placed.trained, phase.trainable, batchnorm=phase.batchnorm)
    with placed.computing():
        model = augment(placed.trained, settings.augmentation, seed=settings.seed)
        _compile(model, phase, settings, batches.train.dataset)
        if state:
            _assign(_state(model), state)
            finish_normalization(model)
        if progress.phase_done or progress.epoch >= last:
            return
        keep = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda _, logs: keeper.end_epoch(model, phase, logs)
        )
        try:
            _regularize(placed.trained, recipe.l2)
            model.fit(
                batches.from_epoch(progress.epoch),
                initial_epoch=progress.epoch,
                epochs=last,
                steps_per_epoch=batches.steps,
                validation_data=batches.to_validate(),
                shuffle=False,  # they are shuffled
                callbacks=[*callbacks, *_tensorboard(keeper.folder), keep],
                verbose=1 if verbose else 0,
            )
        finally:
            _regularize(placed.trained, 0)


def _compile(model: AugmentedModel, phase: Phase, settings: _Settings, dataset: Dataset) -> None:
    optimizer = keras.optimizers.Adam(phase.learning_rate)
    if settings.precision == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    loss: keras.losses.Loss
    if model.zoo_config.activation == "softmax":
        loss = keras.losses.CategoricalCrossentropy()
        metrics = [keras.metrics.CategoricalAccuracy(name="accuracy")]
    else:
        loss = keras.losses.BinaryCrossentropy()
        if settings.recipe.balance:
            loss = BalancedBinaryCrossentropy(dataset.label_weights())
        n_tags = len(dataset.tags)
        metrics = [
            keras.metrics.AUC(curve=curve, multi_label=True, num_labels=n_tags, name=name)
            for curve, name in (("ROC", "roc_auc"), ("PR", "pr_auc"))
        ]
    # Kapre's Fourier transform is not for XLA on every device.
    jit = False if keras.backend.backend() == "tensorflow" else "auto"
    model.compile(optimizer, loss, metrics=metrics, jit_compile=jit)
    optimizer.build(model.trainable_variables)


def _tensorboard(folder: TrainingFolder) -> list[keras.callbacks.Callback]:
    """Return what writes for TensorBoard, which TensorFlow from 2.21 on does not install."""
    if importlib.util.find_spec("tensorboard") is None:
        _log.info("TensorBoard is not installed: there will be no logs for it")
        return []
    return [keras.callbacks.TensorBoard(str(folder.tensorboard), write_graph=False)]


def _check(model: TaggingModel, dataset: Dataset, precision: str) -> None:
    check_choice("precision", precision, PRECISIONS)
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


def _strategy(devices: tuple[str | None, ...]) -> Any:
    if len(devices) == 1:
        return None
    import tensorflow as tf

    return tf.distribute.MirroredStrategy([f"/{device}" for device in devices])


def _copy(model: TaggingModel) -> TaggingModel:
    """Build the model again, with variables on other devices."""
    copied = build_model(
        model.zoo_config, tags=model.tags, name=model.name, provenance=model.provenance
    )
    copied.set_weights(model.get_weights())
    finish_normalization(copied)
    return copied


def _adapt(model: TaggingModel, batches: _Batches) -> None:
    """Give an untrained model that standardizes its input the statistics of the data."""
    signal = model.zoo_config.input
    if not isinstance(signal, LogMelInput) or signal.normalization != "standardize":
        return
    if int(keras.ops.convert_to_numpy(model.get_layer("input_normalization").count)):
        return
    first = batches.from_epoch(0).take(_ADAPTING_STEPS)
    adapt(model, np.concatenate([waveforms for waveforms, *_ in first.as_numpy_iterator()]))


def _regularize(model: TaggingModel, l2: float) -> None:
    """Put L2 on the kernels; Keras counts it for those that are trained. 0 takes it off."""
    for variable in model.variables:
        if variable.name == "kernel":
            variable.regularizer = keras.regularizers.L2(l2) if l2 else None


@contextlib.contextmanager
def _mixed_precision(model: TaggingModel, precision: str) -> Iterator[None]:
    """Have the layers of a model compute in half precision, on the same weights, until the end."""
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


def _assign(variables: Sequence[Any], arrays: Sequence[NDArray[Any]]) -> None:
    if [tuple(variable.shape) for variable in variables] != [array.shape for array in arrays]:
        raise WeightsError("the checkpoint is of another model or version; overwrite the run")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _numpy(variable: Any) -> NDArray[Any]:
    return np.array(keras.ops.convert_to_numpy(variable))
