"""From a configuration to a functional Keras model, waveform in, tags out."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any, get_type_hints

import keras
from keras import layers

from musicnn_zoo.errors import (
    ArgumentError,
    UnknownNameError,
    answered,
    check_whole,
    one_model_hint,
    shown,
)
from musicnn_zoo.machine.processes import refuse_forked_tensorflow
from musicnn_zoo.networks.architectures import get_architecture
from musicnn_zoo.networks.config import (
    MOST_TAGS,
    Block,
    Input,
    LogMelInput,
    ModelConfig,
    ModelSpec,
    Provenance,
    Role,
    TagThresholds,
    WaveformInput,
    block,
    block_function,
    block_spec,
    checked_tags,
    is_of_type,
    type_name,
)
from musicnn_zoo.networks.logmel import LogMel
from musicnn_zoo.networks.registry import PACKAGE


def finish_normalization(model: keras.Model) -> None:
    """Make the ``Normalization`` layers of a model compute with the weights that they have.

    After ``set_weights`` such a layer goes on with its old statistics.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
            # What Keras has compiled contains the old statistics.
            model.train_function = model.test_function = model.predict_function = None


DEFAULT_TAGS = 50
_ORIGINAL = "musicnn_zoo_original"

BlockLike = str | Block | Mapping[str, Any]


@keras.saving.register_keras_serializable(package=PACKAGE)
class TaggingModel(keras.Model):
    """A functional Keras model that knows its configuration and its tags.

    Input ``waveform`` is ``(batch, samples)``, float, at ``zoo_config.input.sample_rate``;
    output is ``(batch, len(tags))``. A log-mel model of ``f`` frames takes
    ``(f - 1) * hop + n_fft`` samples: 48,128 for the 187 frames of musicnn and vgg. Unless
    its input says otherwise there is no padding inside the graph; :class:`musicnn_zoo.Tagger`
    pads whole signals.

    Nothing else distinguishes it from ``keras.Model(inputs, outputs)``; it is made by
    :func:`build_model`, and revived by ``keras.saving.load_model`` once ``musicnn_zoo`` is
    imported. Waveforms that it cannot take are refused in words. ``keras.models.clone_model``
    gives another with the same configuration and tags; it has provenance and thresholds too if it
    has the same weights.
    """

    zoo_config: ModelConfig
    tags: tuple[str, ...]
    provenance: Provenance
    thresholds: TagThresholds | None
    folder: Path | None = None
    """Where it was loaded from, or trained into; of a fine-tuned model, that of its base."""

    def __init__(
        self,
        *args: Any,
        zoo_config: ModelConfig | dict[str, Any] | None = None,
        tags: Sequence[str] | None = None,
        provenance: Provenance | dict[str, Any] | None = None,
        thresholds: TagThresholds | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        # Keras saves a subclass as a graph only if its constructor is spelled like its own.
        super().__init__(*args, **kwargs)
        if zoo_config is None or tags is None:
            original = _original_of(self)
            zoo_config, tags = original.zoo_config, original.tags
            if {id(weight) for weight in self.weights} == {id(w) for w in original.weights}:
                provenance, thresholds = original.provenance, original.thresholds
        if isinstance(zoo_config, dict):
            zoo_config = ModelConfig.from_dict(zoo_config)
        if isinstance(provenance, dict):
            provenance = Provenance.from_dict(provenance)
        if isinstance(thresholds, dict):
            thresholds = TagThresholds.from_dict(thresholds, tags)
        self.zoo_config = zoo_config
        self.tags = tuple(tags)
        self.provenance = provenance or Provenance()
        self.thresholds = thresholds

    @property
    def spec(self) -> ModelSpec:
        """What the model computes."""
        return ModelSpec(self.name, self.zoo_config, self.tags, self.thresholds)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Layers whose activations people ask for, in order of depth."""
        return self.zoo_config.endpoints

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Check the waveforms, then do as ``keras.Model``."""
        if args:
            check_waveforms(self, args[0])
        return super().__call__(*args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Check the waveforms, then do as ``keras.Model.predict``."""
        check_waveforms(self, x)
        return super().predict(x, *args, **kwargs)

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Check the waveforms, then do as ``keras.Model.evaluate``."""
        check_waveforms(self, x)
        return super().evaluate(x, *args, **kwargs)

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Check the waveforms, then do as ``keras.Model.fit``."""
        check_waveforms(self, x)
        return super().fit(x, *args, **kwargs)

    def _run_through_graph(self, *args: Any, **kwargs: Any) -> Any:
        """Mark the outputs, which are all that ``keras.models.clone_model`` hands to a copy."""
        outputs = super()._run_through_graph(*args, **kwargs)
        for tensor in keras.tree.flatten(outputs):
            if isinstance(tensor, keras.KerasTensor):
                setattr(tensor, _ORIGINAL, weakref.ref(self))
        return outputs

    def get_config(self) -> dict[str, Any]:
        """Return the graph, the configuration, the tags, the provenance and the thresholds."""
        return {
            **super().get_config(),
            "zoo_config": self.zoo_config.to_dict(),
            "tags": list(self.tags),
            "provenance": self.provenance.to_dict(),
            "thresholds": self.thresholds and self.thresholds.to_dict(self.tags),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> TaggingModel:
        """Revive a model; imports the layers of its blocks first."""
        for role, chosen in ModelConfig.from_dict(config["zoo_config"]).blocks():
            block_function(chosen.kind, role)
        # Keras's HDF5 files name classes without their package.
        with keras.saving.custom_object_scope(_own_classes()):
            revived: TaggingModel = super().from_config(config, custom_objects=custom_objects)
        return revived


keras.saving.get_custom_objects()[TaggingModel.__name__] = TaggingModel


def check_waveforms(model: TaggingModel, waveforms: Any) -> None:
    """Refuse what is no batch of waveforms for a model; what has no shape is left to Keras.

    Raises
    ------
    ArgumentError
        If the shape is not ``(batch, samples)``, the samples are no floats, or they are fewer
        than the model needs.
    """
    if isinstance(waveforms, str | os.PathLike):
        raise ArgumentError(
            f"{model.name} takes waveforms (batch, samples); received a path, "
            f"{shown(os.fspath(waveforms))}: musicnn_zoo.tag reads files"
        )
    shape = getattr(waveforms, "shape", None)
    if shape is None or getattr(shape, "rank", 0) is None or callable(shape):
        return
    takes = f"{model.name} takes waveforms (batch, samples) of floats in ±1 at "
    takes += f"{model.zoo_config.input.sample_rate} Hz; received"
    if len(shape) != 2:
        hint = ": one waveform is model(waveform[None])" if len(shape) == 1 else ""
        raise ArgumentError(f"{takes} shape {tuple(shape)}{hint}")
    dtype = keras.backend.standardize_dtype(waveforms.dtype)
    if "float" not in dtype:
        raise ArgumentError(f"{takes} {dtype}: divide 16-bit integers by 32768")
    config, samples = model.zoo_config, shape[1]
    needed = config.grid.patch_samples if config.fixed_length else None
    if samples is None or samples == needed:
        return
    if needed is not None:
        raise ArgumentError(f"{takes} {samples} samples; it takes {needed} only")
    shortest = config.input.grid(1).patch_samples
    if samples < shortest:
        raise ArgumentError(f"{takes} {samples} samples; it takes {shortest} or more")


def _own_classes() -> dict[str, Any]:
    known = keras.saving.get_custom_objects()
    return {
        name.removeprefix(f"{PACKAGE}>"): found
        for name, found in known.items()
        if name.startswith(f"{PACKAGE}>")
    }


def _original_of(clone: TaggingModel) -> TaggingModel:
    """Return the model that ``keras.models.clone_model`` makes a copy of."""
    original: TaggingModel | None = getattr(clone.outputs[0], _ORIGINAL, lambda: None)()
    if original is None:
        raise ArgumentError(
            "a TaggingModel needs zoo_config and tags; musicnn_zoo.build_model makes one"
        )
    if clone.output_shape != original.output_shape:
        raise ArgumentError(
            f"a copy of {original.name} must give scores of the shape {original.output_shape}; "
            f"this one gives {clone.output_shape}: to change the layers after them, copy "
            "keras.Model(model.input, model.output)"
        )
    return original


@answered
def build_model(
    config: str | ModelConfig | None = None,
    *,
    input: Input | None = None,  # noqa: A002
    frontend: BlockLike | None = None,
    midend: BlockLike | None = None,
    backend: BlockLike | None = None,
    patch: int | None = None,
    tags: int | Sequence[str] = DEFAULT_TAGS,
    name: str | None = None,
    provenance: Provenance | None = None,
    thresholds: TagThresholds | None = None,
) -> TaggingModel:
    """Build a model with fresh random weights.

    Parameters
    ----------
    config : str or ModelConfig, optional
        Name of an architecture (see ``musicnn_zoo.list_models(pretrained=False)``) or a
        configuration. The keywords that follow replace parts of it, or make a model without it.
    input : LogMelInput or WaveformInput, optional
        By default what the front-end takes, at 16 kHz: the waveform, or 96 mel bands (128 for
        ``short_chunk``).
    frontend, midend, backend : str, Block or mapping, optional
        A block by name, of :func:`musicnn_zoo.list_frontends`,
        :func:`musicnn_zoo.list_midends` and :func:`musicnn_zoo.list_backends`; with
        options ``block("vgg", filters=64)`` or ``{"kind": "vgg", "filters": 64}``. The back-end is
        ``temporal_pooling`` by default.
    patch : int, optional
        Length of the training input, in frames for a log-mel, in samples for a waveform.
        By default about 3 s: 187 frames or 59,049 samples.
    tags : int or sequence of str
        The tags, or how many there are; they are then named ``tag_0``, ``tag_1``, …
    name : str, optional
        Name of the Keras model.
    provenance : Provenance, optional
        What is known of the weights that it will have.
    thresholds : TagThresholds, optional
        From what score on each tag is given, with the weights that it will have.

    Returns
    -------
    TaggingModel
        Input ``(batch, samples)``, output ``(batch, tags)``. ``samples`` is open where the
        architecture takes any length, and at least one frame long.

    Raises
    ------
    ArgumentError
        If there are no tags, or two of the same name; if two blocks do not fit together; if the
        patch is too short for the blocks.
    UnknownNameError
        If there is no such architecture or block, or a block has no such option.

    Examples
    --------
    >>> from musicnn_zoo import build_model
    >>> build_model("samplecnn").output_shape
    (None, 50)
    >>> build_model("musicnn", backend="attention", tags=["calm", "wild"]).tags
    ('calm', 'wild')
    """
    if isinstance(tags, Integral):
        tags = [f"tag_{i}" for i in range(check_whole("tags", tags, 0, MOST_TAGS))]
    names = checked_tags(tags)
    resolved = _resolve(
        config, input=input, patch=patch,
        frontend=_as_block(frontend), midend=_as_block(midend), backend=_as_block(backend),
    )  # fmt: skip
    waveform, features = build_features(resolved)
    outputs = _apply(
        resolved.backend, "backend", features, n_tags=len(names), activation=resolved.activation
    )
    if name is None and isinstance(config, str):
        name = config
    return TaggingModel(
        waveform, outputs, name=name, zoo_config=resolved, tags=names, provenance=provenance,
        thresholds=thresholds,
    )  # fmt: skip


def _resolve(config: str | ModelConfig | None, **parts: Any) -> ModelConfig:
    """Put parts that are not None in the place of those of a configuration, or of defaults."""
    chosen = {name: part for name, part in parts.items() if part is not None}
    if not isinstance(config, str | ModelConfig | None):
        raise ArgumentError(
            "config must be the name of an architecture or a ModelConfig; received "
            f"{shown(config)}{one_model_hint(config)}"
        )
    if config is not None:
        known = get_architecture(config) if isinstance(config, str) else config
        return replace(known, **chosen) if chosen else known
    if "frontend" not in chosen:
        raise ArgumentError("name an architecture, or at least a front-end: frontend='vgg'")
    first = block_spec(chosen["frontend"].kind, "frontend")
    usual = WaveformInput() if first.takes == "waveform" else LogMelInput(n_mels=first.bands)
    signal = chosen.setdefault("input", usual)
    chosen.setdefault("backend", block("temporal_pooling"))
    chosen.setdefault("patch", 59049 if signal.grid(1).frame_hop == 1 else 187)
    return ModelConfig(**chosen)


def _as_block(value: BlockLike | None) -> Block | None:
    if isinstance(value, str):
        return block(value)
    return value if value is None or isinstance(value, Block) else Block.from_dict(value)


def build_features(config: ModelConfig) -> tuple[Any, Any]:
    """Build all before the back-end; return the input and the feature map as Keras tensors."""
    refuse_forked_tensorflow()
    samples = config.grid.patch_samples if config.fixed_length else None
    waveform = keras.Input((samples,), dtype="float32", name="waveform")
    x = _represent(waveform, config.input)
    for role, chosen in config.blocks()[:-1]:
        x = _apply(chosen, role, x)
    return waveform, x


def adapt(model: TaggingModel, waveforms: Any) -> None:
    """Take the statistics of ``normalization="standardize"`` from data.

    Parameters
    ----------
    model : TaggingModel
    waveforms : ndarray, shape (batch, samples)
        From the training data. Every band gets the mean and variance that it has here.

    Raises
    ------
    ArgumentError
        If the model does not standardize its input.
    """
    signal = model.zoo_config.input
    if not isinstance(signal, LogMelInput) or signal.normalization != "standardize":
        raise ArgumentError(
            f"adapt goes with normalization='standardize'; this model's input is {signal}"
        )
    model.get_layer("input_normalization").adapt(model.get_layer("logmel")(waveforms))


def _represent(waveform: Any, signal: Input) -> Any:
    if isinstance(signal, WaveformInput):
        return layers.Reshape((-1, 1), name="waveform_channel")(waveform)
    x = LogMel.from_input(signal, name="logmel")(waveform)
    if signal.normalization == "batchnorm":
        return layers.BatchNormalization(epsilon=signal.bn_epsilon, name="input_bn")(x)
    if signal.normalization == "standardize":
        return layers.Normalization(axis=2, name="input_normalization")(x)
    return x


def _apply(chosen: Block, role: Role, x: Any, **context: Any) -> Any:
    function = block_function(chosen.kind, role)
    types = get_type_hints(function)
    known = types.keys() - {"x", "return", *context}
    for option, value in chosen.options:
        if option not in known:
            raise UnknownNameError(f"option of {role} {chosen.kind!r}", option, known)
        if not is_of_type(value, types[option]):
            raise ArgumentError(
                f"{role} {chosen.kind!r} cannot be built: {option} must be "
                f"{type_name(types[option])}; received {shown(value)}"
            )
    given = tuple(x.shape)
    try:
        if block_spec(chosen.kind, role).takes == "sequence" and len(x.shape) == 4:
            x = layers.Reshape((-1, x.shape[2] * x.shape[3]), name=f"{role}_bands_as_channels")(x)
        y = function(x, **dict(chosen.options), **context)
    except ArgumentError:
        raise
    except (ValueError, TypeError) as error:
        why = str(error).strip().splitlines()[0]
        raise ArgumentError(_misfit(role, chosen, given) + why) from error
    if 0 in y.shape:
        raise ArgumentError(_misfit(role, chosen, given) + f"it would give {tuple(y.shape)}")
    return y


def _misfit(role: Role, chosen: Block, shape: tuple[int | None, ...]) -> str:
    options = dict(chosen.options) or "its default options"
    return (
        f"{role} {chosen.kind!r} cannot be put on features of shape {shape} with {options} "
        "(a longer patch or more bands may help): "
    )


def receptive_field(config: ModelConfig) -> float:
    """Seconds of audio that one frame before the back-end comes from.

    Follows the layers from the input: a window of ``k`` frames that are ``j`` samples apart
    adds ``(k - 1) j`` samples, a stride of ``s`` makes them ``s j`` apart; where branches meet,
    the largest counts. What spans the whole input, as squeeze-and-excitation does, makes it
    infinite; so does a fully convolutional back-end, which goes on until one frame is left.
    """
    if config.backend.kind == "fully_convolutional":
        return math.inf
    waveform, features = build_features(config)
    model = keras.Model(waveform, features)
    fields: dict[str, tuple[float, float]] = {"waveform": (1, 1)}
    before = layers_before(model)
    for layer in model.layers[1:]:
        inputs = [fields[name] for name in before[layer.name]]
        field = max(size for size, _ in inputs)
        step = max(jump for _, jump in inputs)
        width, stride = _window(layer)
        fields[layer.name] = (field + (width - 1) * step, step * stride)
    return fields[model.layers[-1].name][0] / config.input.sample_rate


def layers_before(model: keras.Model) -> dict[str, list[str]]:
    """Names of the layers whose outputs each layer takes, in a model without shared layers."""
    makers = {id(layer.output): layer.name for layer in model.layers}
    return {
        layer.name: [makers[id(tensor)] for tensor in keras.tree.flatten(layer.input)]
        for layer in model.layers
        if not isinstance(layer, layers.InputLayer)
    }


def _window(layer: Any) -> tuple[float, int]:
    if isinstance(layer, LogMel):
        return layer.spectrogram.n_fft, layer.spectrogram.hop
    if isinstance(layer, layers.Conv1D | layers.Conv2D):
        return layer.kernel_size[0], layer.strides[0]
    if isinstance(layer, layers.MaxPooling1D | layers.MaxPooling2D | layers.AveragePooling2D):
        return layer.pool_size[0], layer.strides[0]
    if isinstance(layer, layers.GlobalAveragePooling1D):
        return math.inf, 1
    return 1, 1
