"""Scores of single frames, from back-ends that pool scored or scorable frames.

Trained on tags of whole clips, such a model also says when: that is weakly labelled sound
event detection (McFee, Salamon, Bello 2018).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import layers, ops

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.networks.blocks import block_names, block_spec

if TYPE_CHECKING:
    from musicnn_zoo.networks.models import TaggingModel


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class OnEveryFrame(layers.Wrapper):
    """Put a layer that takes (batch, channels) on every frame of (batch, frames, channels)."""

    def call(self, x: Any) -> Any:
        """Return (batch, frames, outputs)."""
        batch, frames = ops.shape(x)[:2]
        y = self.layer(ops.reshape(x, (-1, x.shape[-1])))
        return ops.reshape(y, (batch, frames, y.shape[-1]))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (batch, frames, outputs)."""
        outputs = self.layer.compute_output_shape((None, input_shape[-1]))[-1]
        return (*input_shape[:2], outputs)


def framewise_model(model: TaggingModel) -> keras.Model:
    """Make a model of the same weights that scores every frame.

    Parameters
    ----------
    model : TaggingModel
        With the back-end ``autopool``, whose pooled scores it gives, or ``attention``, whose
        head it puts on every frame instead of on their weighted mean.

    Returns
    -------
    keras.Model
        From (batch, samples) to (batch, frames, tags).

    Raises
    ------
    ArgumentError
        If the back-end has no frame-wise scores.
    """
    backend = model.zoo_config.backend.kind
    kind = block_spec(backend, "backend").framewise
    if kind == "scores":
        return keras.Model(model.input, model.get_layer("frame_scores").output, name=model.name)
    if kind == "head":
        frames = model.get_layer("frames").output
        vector = start = keras.Input((frames.shape[-1],))
        names = [layer.name for layer in model.layers]
        for layer in model.layers[names.index("attention_pool") + 1 :]:
            vector = layer(vector)
        head = keras.Model(start, vector)
        return keras.Model(model.input, OnEveryFrame(head)(frames), name=model.name)
    able = [name for name in block_names("backend") if block_spec(name, "backend").framewise]
    raise ArgumentError(
        f"the back-end {backend!r} of {model.name} has no frame-wise scores; "
        f"{' and '.join(able)} have: take the taggram instead"
    )
