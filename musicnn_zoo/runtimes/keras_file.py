"""A ``.keras`` file: the model as it is, to load and train on in Keras."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from musicnn_zoo.networks.build import TaggingModel


def write(model: TaggingModel, path: Path, precision: str) -> None:
    """Write a model; its tags and its configuration are in the file's own ``config.json``."""
    del precision
    model.save(path)


def read(path: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Load a written model, and return what computes its scores of waveforms."""
    import keras

    model = keras.saving.load_model(path)

    def scores(waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(keras.ops.convert_to_numpy(model(waveforms, training=False)))

    return scores
