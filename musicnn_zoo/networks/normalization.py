"""Keras's ``Normalization`` layer computes with what it made of its weights, not with them."""

from __future__ import annotations

import keras


def finish_normalization(model: keras.Model) -> None:
    """Have the ``Normalization`` layers of a model compute with the weights that they have.

    Parameters
    ----------
    model : keras.Model
        Whose weights were assigned, by ``set_weights`` say, after which such a layer goes on with
        the statistics of before.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
            # What Keras compiled before has the statistics of before in it.
            model.train_function = model.test_function = model.predict_function = None
