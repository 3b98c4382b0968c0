"""From a configuration to a functional Keras model, waveform in, tags out."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from musicnn_zoo.blocks import Role, block_function
from musicnn_zoo.config import Block, ModelConfig
from musicnn_zoo.errors import ArgumentError, UnknownNameError
from musicnn_zoo.logmel import LogMel
from musicnn_zoo.patches import patch_grid


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class TaggingModel(keras.Model):
    """A functional Keras model that knows its configuration and its tags.

    Input ``waveform`` is ``(batch, samples)``, float, at ``config.input.sample_rate``;
    output is ``(batch, len(tags))``. A log-mel model of ``f`` frames takes
    ``(f - 1) * hop + n_fft`` samples: 48,128 for the 187 frames of musicnn and vgg. There
    is no padding inside the graph; :class:`musicnn_zoo.Tagger` pads whole signals.

    Nothing else distinguishes it from ``keras.Model(inputs, outputs)``; it is made by
    :func:`build_model`, and revived by ``keras.saving.load_model`` once
    ``musicnn_zoo.models`` is imported.
    """

    def __init__(
        self,
        *args: Any,
        zoo_config: ModelConfig | dict[str, Any],
        tags: Sequence[str],
        **kwargs: Any,
    ) -> None:
        # Keras saves a subclass as a graph only if its constructor is spelled like its own.
        super().__init__(*args, **kwargs)
        if isinstance(zoo_config, dict):
            zoo_config = ModelConfig.from_dict(zoo_config)
        self.zoo_config = zoo_config
        self.tags = tuple(tags)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Layers whose activations people ask for, in order of depth."""
        return self.zoo_config.endpoints

    def get_config(self) -> dict[str, Any]:
        """Return the graph, the configuration and the tags."""
        return {
            **super().get_config(),
            "zoo_config": self.zoo_config.to_dict(),
            "tags": list(self.tags),
        }


def build_model(
    config: ModelConfig, *, tags: int | Sequence[str] = 50, name: str | None = None
) -> TaggingModel:
    """Build a model with fresh random weights.

    Parameters
    ----------
    config : ModelConfig
    tags : int or sequence of str
        The tags, or how many there are; they are then named ``tag_0``, ``tag_1``, …
    name : str, optional
        Name of the Keras model.

    Returns
    -------
    TaggingModel
        Input ``(batch, samples)``, output ``(batch, tags)``. ``samples`` is open where the
        architecture takes any length, and at least one frame long.

    Raises
    ------
    ArgumentError
        If there are no tags, or two of the same name.
    UnknownNameError
        If the configuration names a block, or an option of one, that does not exist.
    """
    names = tuple(f"tag_{i}" for i in range(tags)) if isinstance(tags, int) else tuple(tags)
    if not names or len(set(names)) != len(names):
        raise ArgumentError(f"tags must be one or more different names; received {tags!r}")
    samples = patch_grid(config).patch_samples if config.fixed_length else None
    waveform = keras.Input((samples,), name="waveform")
    x = LogMel.from_input(config.input, name="logmel")(waveform)
    if config.input.normalization == "batchnorm":
        x = layers.BatchNormalization(name="input_bn")(x)
    x = _apply(config.frontend, "frontend", x)
    if config.midend is not None:
        x = _apply(config.midend, "midend", x)
    outputs = _apply(config.backend, "backend", x, n_tags=len(names), activation=config.activation)
    return TaggingModel(waveform, outputs, name=name, zoo_config=config, tags=names)


def _apply(chosen: Block, role: Role, x: Any, **context: Any) -> Any:
    function = block_function(chosen.kind, role)
    known = set(inspect.signature(function).parameters) - {"x", *context}
    options = dict(chosen.options)
    for option in options:
        if option not in known:
            raise UnknownNameError(f"option of {role} {chosen.kind!r}", option, known)
    return function(x, **options, **context)
