"""A TensorFlow SavedModel: a folder for TensorFlow Serving and ``tf.saved_model.load``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ExportError
from musicnn_zoo.runtimes.metadata import metadata_json, tag_lines

if TYPE_CHECKING:
    import keras

    from musicnn_zoo.networks.build import TaggingModel

SIGNATURE = "serving_default"


def write(model: TaggingModel, path: Path, precision: str) -> None:
    """Write a model, with ``metadata.json`` and ``tags.txt`` in the folder ``assets.extra``.

    The signature ``serving_default`` takes ``waveform`` (batch, samples) and returns ``tags``
    (batch, tags). Neither musicnn_zoo nor Keras is needed to run it.

    Raises
    ------
    ExportError
        If Keras's backend is not TensorFlow.
    """
    require_tensorflow(model, "a SavedModel")
    save_function(model, path, model.input_shape)
    extra = path / "assets.extra"
    extra.mkdir()
    (extra / "metadata.json").write_text(metadata_json(model, precision), encoding="utf-8")
    (extra / "tags.txt").write_text(tag_lines(model), encoding="utf-8")


def read(path: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Load a written model, and return what computes its scores of waveforms."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))

    def scores(waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        outputs = loaded.signatures[SIGNATURE](waveform=tf.constant(waveforms))
        return np.asarray(outputs["tags"])

    return scores


def save_function(model: keras.Model, path: Path, shape: tuple[int | None, ...]) -> None:
    """Write what a Keras model of one input computes, from ``waveform`` to ``tags``.

    Parameters
    ----------
    model : keras.Model
    path : Path
    shape : tuple of int or None
        Of the input; None where it is open.
    """
    import tensorflow as tf

    def serve(waveform: Any) -> dict[str, Any]:
        return {"tags": model(waveform, training=False)}

    # Keras's own export writes every weight twice.
    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    module.serve = tf.function(serve, [tf.TensorSpec(shape, tf.float32, "waveform")])
    tf.saved_model.save(module, str(path), signatures={SIGNATURE: module.serve})


def require_tensorflow(model: keras.Model, what: str) -> None:
    """Refuse to convert a model on another backend of Keras.

    Raises
    ------
    ExportError
        If Keras's backend is not TensorFlow.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            f"making {what} of {model.name} needs Keras's TensorFlow backend "
            f"(KERAS_BACKEND=tensorflow); it runs on {keras.backend.backend()} here"
        )
