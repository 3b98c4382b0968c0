"""Models that are trained: a new head for a pretrained one, and the loop that can be resumed."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from musicnn_zoo.augmentation import NO_AUGMENTATION, Augmentation, augment
from musicnn_zoo.datasets.dataset import Dataset, DatasetError, check_dataset
from musicnn_zoo.errors import (
    ArgumentError,
    TrainingError,
    WeightsError,
    answered,
    check_choice,
    check_tagging_model,
)
from musicnn_zoo.networks.build import (
    TaggingModel,
    adapt,
    build_features,
    build_model,
    finish_normalization,
)
from musicnn_zoo.networks.config import (
    LogMelInput,
    ModelConfig,
    OutputActivation,
    Provenance,
    patch_grid,
)
from musicnn_zoo.networks.logmel import LogMel
from musicnn_zoo.runtimes.engine import PRECISIONS, check_device
from musicnn_zoo.runtimes.keras_engine import device_scope, split_devices
from musicnn_zoo.runtimes.variants import SCORE_LAYERS
from musicnn_zoo.text import printable
from musicnn_zoo.training.batches import (
    Clips,
    batch_size_for_all,
    count_patches,
    evaluation_batches,
    open_clips,
    training_batches,
)
from musicnn_zoo.training.kept_split import keep_split
from musicnn_zoo.training.recipes import (
    BATCHNORM_MODES,
    FROM_SCRATCH,
    TRAINABLE,
    BatchNormMode,
    Phase,
    Progress,
    Recipe,
    Trainable,
    TrainingFolder,
)
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL
from musicnn_zoo.zoo.folder import WEIGHTS, read_folder, save_pretrained
from musicnn_zoo.zoo.load import find_pretrained
from musicnn_zoo.zoo.weights import arrays_of, read_safetensors

_log = logging.getLogger(__name__)

_ADAPTING_STEPS = 16


@answered
def finetune_model(
    model: str | os.PathLike[str] | TaggingModel = DEFAULT_MODEL,
    *,
    tags: Sequence[str],
    trainable: Trainable = "head",
    activation: OutputActivation = "sigmoid",
    batchnorm: BatchNormMode = "frozen",
    name: str | None = None,
) -> TaggingModel:
    """Give a pretrained model a new head for other tags.

    Everything up to the penultimate layer keeps its weights; what follows it is new, with
    random weights.

    Parameters
    ----------
    model : str, path or TaggingModel
        What :func:`musicnn_zoo.load_model` takes, or your own model, which is not changed.
    tags : sequence of str
        What the new head gives out.
    trainable : {"head", "backend", "midend", "all"}
        From where on the weights are trained: the new head only; also the back-end; also the
        mid-end, if there is one; or all. :func:`set_trainable` changes it later, before another
        ``compile``.
    activation : {"sigmoid", "softmax"} or None
        ``sigmoid`` where a sound has any number of tags (with the loss ``binary_crossentropy``),
        ``softmax`` where it has exactly one (``categorical_crossentropy``), None for logits.
    batchnorm : {"frozen", "trainable"}
        Whether the pretrained BatchNorm layers keep their statistics, scale and offset. With few
        sounds, statistics of single batches do more harm than good (Kornblith et al. 2019).
    name : str, optional
        Of the new model; by default that of the old one with ``_finetuned``.

    Returns
    -------
    TaggingModel
        A plain ``keras.Model``, not compiled. ``model.provenance`` keeps licence and notice of the
        pretrained weights and says what they were.

    Raises
    ------
    ArgumentError
        If there are no tags or two of the same name, or ``trainable`` or ``batchnorm`` is
        something else.

    References
    ----------
    Kornblith, Shlens, Le. "Do better ImageNet models transfer better?" CVPR 2019.

    Examples
    --------
    >>> import musicnn_zoo
    >>> model = musicnn_zoo.finetune_model("MTT_vgg", tags=["calm", "wild"])
    >>> len(model.trainable_weights), model.output_shape
    (2, (None, 2))
    """
    check_choice("trainable", trainable, TRAINABLE)
    check_choice("batchnorm", batchnorm, BATCHNORM_MODES)
    if not isinstance(model, TaggingModel):
        model = find_pretrained(model).load()
    tuned = build_model(
        replace(model.zoo_config, activation=activation),
        tags=tags,
        name=name or f"{model.name}_finetuned",
        provenance=Provenance(
            source=f"fine-tuned from {model.name} ({model.provenance.source or 'not stated'})",
            license=model.provenance.license,
            citation=model.provenance.citation,
            notice=model.provenance.notice,
        ),
    )
    tuned.folder = model.folder
    head = head_layers(tuned)
    for layer in tuned.layers:
        if layer.name not in head:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    finish_normalization(tuned)
    set_trainable(tuned, trainable, batchnorm=batchnorm)
    return tuned


def set_trainable(
    model: TaggingModel,
    trainable: Trainable,
    *,
    batchnorm: BatchNormMode = "frozen",
) -> None:
    """Choose which weights of a model are trained; takes effect at the next ``compile``.

    Parameters
    ----------
    model : TaggingModel
    trainable, batchnorm
        See :func:`finetune_model`.
    """
    check_tagging_model(model)
    check_choice("trainable", trainable, TRAINABLE)
    check_choice("batchnorm", batchnorm, BATCHNORM_MODES)
    parts = _parts(model)
    first = TRAINABLE.index(trainable)
    chosen = set().union(*(parts[part] for part in TRAINABLE[: first + 1]))
    for layer in model.layers:
        kept = batchnorm == "frozen" and isinstance(layer, layers.BatchNormalization)
        layer.trainable = layer.name in chosen and not kept


def head_layers(model: TaggingModel) -> frozenset[str]:
    """Return the names of the layers after the penultimate one."""
    before = keras.Model(model.input, model.get_layer("penultimate").output)
    return frozenset({layer.name for layer in model.layers} - {one.name for one in before.layers})


def _parts(model: TaggingModel) -> dict[Trainable, set[str]]:
    """Return the names of the layers of each part of the model."""
    config = model.zoo_config
    every = {layer.name for layer in model.layers}
    head = set(head_layers(model))
    features = _names_before_backend(config)
    frontend = _names_before_backend(replace(config, midend=None))
    return {
        "head": head,
        "backend": every - head - features,
        "midend": features - frontend,
        "all": frontend,
    }


def _names_before_backend(config: ModelConfig) -> set[str]:
    waveform, features = build_features(config)
    return {layer.name for layer in keras.Model(waveform, features).layers}


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


@answered
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
        inside it, for settings, checkpoint, ``log.csv``, the split (``split.json``, by which
        :func:`musicnn_zoo.evaluate_model` tells what the model has seen) and, if TensorBoard is
        installed, its logs.
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
        Begin again instead of going on.
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
    check_device(device)
    devices = split_devices(device)
    if len(devices) > 1 and keras.backend.backend() != "tensorflow":
        raise ArgumentError("several devices need Keras's TensorFlow backend")
    if recipe.batch_size % len(devices):
        raise ArgumentError(
            f"batch_size must be a multiple of the {len(devices)} devices that share each batch; "
            f"received {recipe.batch_size}"
        )
    with TrainingFolder(Path(output), overwrite=overwrite) as folder:
        rate = patch_grid(model.zoo_config).sample_rate
        used = dataset.subset(np.array(dataset.splits) != "test")
        clips = open_clips(used, sample_rate=rate, cache=cache, jobs=jobs, progress=progress)
        for split in ("train", "validation"):
            if split not in clips.dataset.split_sizes:
                raise DatasetError(
                    f"{dataset.name}: no file of {split} can be decoded: {clips.dataset.report}"
                )
        folder.settle(
            {
                **_identity(model, clips),
                "recipe": asdict(recipe),
                "augmentation": asdict(augmentation),
                "precision": precision,
                "seed": seed,
            }
        )
        place = folder.path.parent.absolute()
        keep_split(place, dataset, set(clips.dataset.paths), base=model.folder, jobs=jobs)
        model.folder = place
        batches = _Batches(model, clips, recipe, seed=seed, jobs=jobs, devices=len(devices))
        checkpoint = folder.load()
        model.thresholds = None  # they were found for other weights
        if checkpoint is None:
            _adapt(model, batches)
        placed = _Placed(model, devices, precision)
        keeper = _Keeper(folder, placed, batches.train.dataset, *(checkpoint or ([], Progress())))
        done = keeper.progress
        resumed_at = done.epoch
        if checkpoint is not None:
            keeper.restore()
            keeper.write_if_lost()
        for number in range(done.phase, len(recipe.phases)):
            if number > done.phase:
                done.begin_phase(number)
                keeper.restore()
                keeper.state = []
            try:
                _train_phase(
                    placed, batches, keeper, augmentation, callbacks=callbacks, verbose=progress
                )
            except Exception as error:
                if clips.failures:  # TensorFlow's own error of them is a page long
                    raise clips.failures[0] from error
                raise
        keeper.restore()
        assert done.best is not None
        return Training(
            model=model,
            output=keeper.output,
            history=tuple(done.history),
            best_epoch=done.best_epoch,
            best_loss=done.best,
            resumed_at=resumed_at,
            dataset=clips.dataset,
        )


def _identity(model: TaggingModel, clips: Clips) -> dict[str, Any]:
    """Return what tells model and clips from others; the weights depend on it."""
    dataset = clips.dataset
    digest = hashlib.sha256(dataset.labels.tobytes())
    digest.update(json.dumps([dataset.paths, dataset.splits, clips.samples]).encode())
    return {
        "model": {"name": model.name, "source": model.provenance.source,
                  "tags": list(model.tags), "config": model.zoo_config.to_dict()},
        "data": {"name": dataset.name, "clips": len(dataset), "digest": digest.hexdigest()},
    }  # fmt: skip


class _Batches:
    """The clips of a run, cut into batches."""

    def __init__(
        self, model: TaggingModel, clips: Clips, recipe: Recipe,
        *, seed: int, jobs: int | None, devices: int,
    ) -> None:  # fmt: skip
        self.train, self._validation = clips.subset("train"), clips.subset("validation")
        self.recipe, self.seed = recipe, seed
        self.steps = recipe.steps_per_epoch or -(-len(self.train) // recipe.batch_size)
        """Batches of an epoch."""
        self._grid, self._devices = patch_grid(model.zoo_config), devices
        by_class = recipe.balance and model.zoo_config.activation == "softmax"
        weights = self.train.dataset.class_weights() if by_class else None
        self._options: dict[str, Any] = {"class_weights": weights, "jobs": jobs}

    def from_epoch(self, epoch: int) -> Any:
        """Return the training batches from an epoch on, without end."""
        return training_batches(
            self.train, self._grid, batch_size=self.recipe.batch_size, seed=self.seed,
            first_step=epoch * self.steps, **self._options,
        )  # fmt: skip

    def to_validate(self) -> Any:
        """Return the batches of all validation clips."""
        count = count_patches(self._validation, self._grid)
        size = batch_size_for_all(count, self.recipe.batch_size, self._devices)
        return evaluation_batches(self._validation, self._grid, batch_size=size, **self._options)


class _Placed:
    """A model on the devices that train it: itself, or a copy with variables on several."""

    def __init__(
        self, model: TaggingModel, devices: tuple[str | None, ...], precision: str
    ) -> None:
        self.model, self.precision = model, precision
        self._device, self._strategy = devices[0], None
        if len(devices) > 1:
            import tensorflow as tf

            self._strategy = tf.distribute.MirroredStrategy([f"/{device}" for device in devices])
        with self._scope():
            self.trained = model if self._strategy is None else _copy(model)

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Compute on the devices and in the precision of the run."""
        with self._scope(), _mixed_precision(self.trained, self.precision):
            yield

    def assign(self, weights: Sequence[NDArray[Any]]) -> None:
        """Put weights into the caller's model and into the copy."""
        for model in {id(one): one for one in (self.model, self.trained)}.values():
            _assign(model.weights, weights)
            finish_normalization(model)

    def _scope(self) -> contextlib.AbstractContextManager[Any]:
        return device_scope(self._device) if self._strategy is None else self._strategy.scope()


class _Keeper:
    """Judges each epoch, writes the checkpoint, and keeps the weights of the lowest loss.

    ``state`` is what training goes on from, empty at the start of a phase. The best weights are
    in memory and in the folder of the model.
    """

    def __init__(
        self, folder: TrainingFolder, placed: _Placed, trained_on: Dataset,
        arrays: list[NDArray[Any]], progress: Progress,
    ) -> None:  # fmt: skip
        self.folder, self.output, self.progress = folder, folder.path.parent, progress
        n_state = len(arrays) - len(placed.model.weights)
        self.state, self._best = arrays[:n_state], arrays[n_state:]
        self._placed = placed
        self._provenance = replace(
            placed.model.provenance,
            trained_on=f"{trained_on.name} ({len(trained_on)} clips)",
            metrics={},
            test_set="",
        )

    def restore(self) -> None:
        """Put the best weights back into the model."""
        self._placed.assign(self._best)

    def write_if_lost(self) -> None:
        """Write the folder unless it has these weights, with the thresholds found for them.

        A run may be killed between writing its best weights and writing its checkpoint.
        """
        best = arrays_of(self._placed.trained)
        try:
            read_folder(self.output, origin=str(self.output))
            saved = read_safetensors(self.output / WEIGHTS)
        except WeightsError:
            saved = {}
        if saved.keys() != best.keys() or not all(
            np.array_equal(saved[name], values) for name, values in best.items()
        ):
            self._write()

    def end_epoch(self, model: keras.Model, phase: Phase, logs: Mapping[str, float]) -> None:
        """Note an epoch; ``logs`` are Keras's."""
        progress = self.progress
        loss = float(logs["val_loss"])
        if not math.isfinite(loss) or not math.isfinite(logs["loss"]):
            kept = "nothing was" if progress.best is None else "the best weights before are"
            raise TrainingError(
                f"{self.output}: the loss is not a number after epoch "
                f"{progress.epoch + 1} ({logs['loss']}, validation {loss}); {kept} kept. "
                "Begin again with a lower learning rate"
            )
        rate = float(ops.convert_to_numpy(model.optimizer.learning_rate))
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
            self._best = _numpy(self._placed.trained.weights)
            self._write()
        elif progress.since_halved >= phase.halve_after:
            model.optimizer.learning_rate = rate / 2
            progress.since_halved = 0
        if phase.stop_after is not None and progress.since_best >= phase.stop_after:
            progress.phase_done = model.stop_training = True
        self.folder.save([*_numpy(_state(model)), *self._best], progress)

    def _write(self) -> None:
        save_pretrained(self._placed.trained, self.output, provenance=self._provenance)


def _train_phase(
    placed: _Placed,
    batches: _Batches,
    keeper: _Keeper,
    augmentation: Augmentation,
    *,
    callbacks: Sequence[keras.callbacks.Callback],
    verbose: bool,
) -> None:
    """Train the phase that a run has come to, from the keeper's state if there is one."""
    recipe, progress, trained = batches.recipe, keeper.progress, placed.trained
    phase = recipe.phases[progress.phase]
    last = progress.phase_start + phase.epochs
    set_trainable(trained, phase.trainable, batchnorm=phase.batchnorm)
    with placed.computing():
        if augmentation == NO_AUGMENTATION:
            model = keras.Model(trained.input, trained.output)
        else:
            model = augment(trained, augmentation, seed=batches.seed)
        _compile(model, placed, phase, batches)
        if keeper.state:
            _assign(_state(model), keeper.state)
            finish_normalization(model)
        if progress.phase_done or progress.epoch >= last:
            return
        keep = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda _, logs: keeper.end_epoch(model, phase, logs)
        )
        try:
            _regularize(trained, recipe.l2)
            model.fit(
                batches.from_epoch(progress.epoch),
                initial_epoch=progress.epoch,
                epochs=last,
                steps_per_epoch=batches.steps,
                validation_data=batches.to_validate(),
                shuffle=False,  # the batches are already
                callbacks=[*callbacks, *_tensorboard(keeper.folder), keep],
                verbose=1 if verbose else 0,
            )
        finally:
            _regularize(trained, 0)


def _compile(model: keras.Model, placed: _Placed, phase: Phase, batches: _Batches) -> None:
    optimizer = keras.optimizers.Adam(phase.learning_rate)
    if placed.precision == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    loss: keras.losses.Loss
    if placed.model.zoo_config.activation == "softmax":
        loss = keras.losses.CategoricalCrossentropy()
        metrics = [keras.metrics.CategoricalAccuracy(name="accuracy")]
    else:
        loss = keras.losses.BinaryCrossentropy()
        if batches.recipe.balance:
            loss = BalancedBinaryCrossentropy(batches.train.dataset.label_weights())
        n_tags = len(placed.model.tags)
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
    check_tagging_model(model)
    check_dataset(dataset)
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
    if int(ops.convert_to_numpy(model.get_layer("input_normalization").count)):
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


def _numpy(variables: Sequence[Any]) -> list[NDArray[Any]]:
    return [np.array(ops.convert_to_numpy(variable)) for variable in variables]
