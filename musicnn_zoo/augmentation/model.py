"""A model that trains the layers of another with augmentation before them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import keras
from keras import ops

from musicnn_zoo.augmentation.description import Augmentation, Mixup
from musicnn_zoo.augmentation.layers import (
    ReplicaSeedGenerator,
    SpecAugment,
    TimeShift,
    symmetric_beta,
    value_of_silence,
)
from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.networks.build import TaggingModel
from musicnn_zoo.networks.config import LogMelInput, ModelConfig, block_function


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class AugmentedModel(keras.Model):
    """What :func:`musicnn_zoo.augment` makes: a Keras model, with mixup in its training step.

    Mixup is done at the start of ``train_step``, since that alone sees sound, labels and weights
    together, so that the loss, the metrics and the layers' own losses all are of the mixed batch
    on every backend. Metrics seen in training are therefore of mixed labels, where there is
    mixup, and all are of augmented sound; ``evaluate`` and ``predict`` have neither. Your
    own training loop that calls the model has all but mixup.

    Parameters
    ----------
    zoo_config : ModelConfig
        Of the model that is trained.
    mixup : Mixup, optional
    *args, **kwargs
        As for ``keras.Model``.
    """

    def __init__(
        self,
        *args: Any,
        zoo_config: ModelConfig | dict[str, Any],
        mixup: Mixup | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(zoo_config, dict):
            zoo_config = ModelConfig.from_dict(zoo_config)
        self.zoo_config = zoo_config
        self.mixup = Mixup(**mixup) if isinstance(mixup, dict) else mixup
        if self.mixup is not None:
            self.seed_generator = ReplicaSeedGenerator(self.mixup.seed)

    def train_step(self, *args: Any) -> Any:
        """Mix the batch, and train on it as Keras does."""
        *state, data = args
        if self.mixup is None:
            return super().train_step(*args)
        if keras.backend.backend() != "jax":
            return super().train_step(self.mix(data))
        trainable, others, *rest = state[0]
        seed = self.seed_generator.state
        at = next(i for i, one in enumerate(self.non_trainable_variables) if one is seed)
        with keras.StatelessScope(state_mapping=[(seed, others[at])]) as scope:
            data = self.mix(data)
        others = [*others[:at], scope.get_current_value(seed), *others[at + 1 :]]
        return super().train_step((trainable, others, *rest), data)

    def mix(self, data: Any) -> Any:
        """Mix a batch ``(waveforms, labels)`` or ``(waveforms, labels, weights)``."""
        waveforms, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        given = None if labels is None else tuple(labels.shape)
        if given is None or len(given) != 2 or given[1] not in (None, self.output_shape[1]):
            raise ArgumentError(
                f"mixup needs labels of the shape (batch, {self.output_shape[1]}), a number for "
                f"each tag; received {'no labels' if given is None else f'the shape {given}'}"
            )
        assert self.mixup is not None
        count = ops.shape(labels)[0]
        share = symmetric_beta((count,), self.mixup.alpha, self.seed_generator)
        other = keras.random.shuffle(ops.arange(count), seed=self.seed_generator)

        def blend(values: Any) -> Any:
            values = ops.cast(values, "float32")
            own = ops.reshape(share, (-1, *[1] * (len(values.shape) - 1)))
            return own * values + (1 - own) * ops.take(values, other, axis=0)

        return keras.utils.pack_x_y_sample_weight(
            keras.tree.map_structure(blend, waveforms),
            blend(labels),
            None if weights is None else blend(weights),
        )

    def get_config(self) -> dict[str, Any]:
        """Return the graph, the configuration of the trained model and the mixup."""
        return {
            **super().get_config(),
            "zoo_config": self.zoo_config.to_dict(),
            "mixup": None if self.mixup is None else asdict(self.mixup),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> AugmentedModel:
        """Revive a model; imports the layers of its blocks first."""
        for role, chosen in ModelConfig.from_dict(config["zoo_config"]).blocks():
            block_function(chosen.kind, role)
        revived: AugmentedModel = super().from_config(config, custom_objects=custom_objects)
        return revived


def augment(
    model: TaggingModel,
    augmentation: Augmentation | Sequence[keras.layers.Layer | Mixup],
    *,
    seed: int | None = None,
) -> AugmentedModel:
    """Make a model that trains ``model`` with augmentation.

    It has the layers and the variables of ``model``: what is trained, or frozen, or loaded in
    one is so in the other. ``model`` itself stays as it is, free of augmentation, and is what to
    evaluate, save or export afterwards. Under a ``tf.distribute`` strategy, call this in its
    scope.

    Parameters
    ----------
    model : TaggingModel
    augmentation : Augmentation or sequence
        What is done, or the layers that do it, which go in their order:
        :class:`~musicnn_zoo.augmentation.SpecAugment` right behind the log-mel, and all others,
        yours too, before it, on waveforms ``(batch, samples)``. A
        :class:`~musicnn_zoo.augmentation.Mixup` among them comes first.
    seed : int, optional
        Of an :class:`Augmentation`, all of whose random numbers follow from it; by default a
        random one. Layers have their own.

    Returns
    -------
    AugmentedModel
        To ``compile`` and ``fit``. ``predict`` and ``evaluate`` give what ``model`` gives.

    Raises
    ------
    ArgumentError
        If there is a SpecAugment for a model without a spectrogram; a mask can be wider than the
        model's spectrogram; a TimeShift has another sample rate than the model; there is more
        than one Mixup, or something that is no layer; or a seed goes with layers.

    Examples
    --------
    >>> from musicnn_zoo import build_model
    >>> from musicnn_zoo.augmentation import Mixup, SpecAugment, TimeShift, augment
    >>> model = build_model("musicnn", tags=["calm", "wild"])
    >>> layers = [TimeShift(0.5), SpecAugment(12, 20), Mixup(0.2)]
    >>> augment(model, layers).output_shape
    (None, 2)
    """
    signal = model.zoo_config.input
    if isinstance(augmentation, Augmentation):
        parts = augmentation.build(signal, seed=seed)
    elif seed is not None:
        raise ArgumentError(
            f"seed goes with an Augmentation; layers have their own: received seed={seed!r}"
        )
    else:
        parts = list(augmentation)
    mixups = [part for part in parts if isinstance(part, Mixup)]
    on_spectrogram = [part for part in parts if isinstance(part, SpecAugment)]
    on_waveform = [part for part in parts if not isinstance(part, Mixup | SpecAugment)]
    if len(mixups) > 1:
        raise ArgumentError(f"there can be one Mixup; received {mixups}")
    for part in on_waveform:
        if not isinstance(part, keras.layers.Layer):
            raise ArgumentError(
                f"an augmentation must be a Keras layer or Mixup; received {part!r}"
            )
        if isinstance(part, TimeShift) and part.sample_rate != signal.sample_rate:
            raise ArgumentError(
                f"the model takes {signal.sample_rate} Hz; received a TimeShift of "
                f"sample_rate={part.sample_rate}"
            )
    for part in on_spectrogram:
        if not isinstance(signal, LogMelInput):
            raise ArgumentError(
                f"SpecAugment needs a spectrogram, and {model.name!r} takes the waveform itself; "
                "leave it out"
            )
        if part.mask_value is None:
            part.mask_value = value_of_silence(signal)
    first = model.get_layer("logmel" if isinstance(signal, LogMelInput) else "waveform_channel")

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        if layer is not first:
            return layer(*args, **kwargs)
        (x,) = args
        for part in on_waveform:
            x = part(x)
        x = layer(x, **kwargs)
        for part in on_spectrogram:
            x = part(x)
        return x

    graph = keras.models.clone_model(
        keras.Model(model.input, model.output),
        clone_function=lambda layer: layer,
        call_function=call,
    )
    return AugmentedModel(
        graph.input,
        graph.output,
        name=f"{model.name}_augmented",
        zoo_config=model.zoo_config,
        mixup=mixups[0] if mixups else None,
    )
