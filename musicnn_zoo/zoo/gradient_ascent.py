"""Inputs that drive single filters most, found by gradient ascent.

References
----------
Erhan, Bengio, Courville, Vincent. "Visualizing higher-layer features of a deep network." 2009.
Lee, Park, Kim, Nam. "Sample-level deep convolutional neural networks for music auto-tagging using
raw waveforms." SMC 2017.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError

SAMPLES = 729
"""Of an input, as in Lee et al. 2017: at 22,050 Hz 33 ms."""
RMS = 0.1
"""Of an input, which is about that of music between -1 and 1."""
_LEAK = 0.01
"""Part of a negative response that counts too, or a filter that rests would have no gradient."""
_FIRST_STEP, _LAST_STEP = 0.5, 0.05
"""Length of a step, as a part of the norm of the input."""


def maximizing_inputs(
    frontend: keras.Model, layer: keras.Layer, filters: NDArray[np.int64], *, steps: int, seed: int
) -> NDArray[np.float32]:
    """Look for the waveform that drives each of some filters most.

    What is made as large as possible is the mean over time of the positive part of the filter's
    response, after BatchNorm where that comes before the activation. The input keeps its norm and
    has no mean, since 0 Hz cannot be heard. Before each step it is rolled by a random number of
    samples, so that it does not lean on where the strides fall.

    Parameters
    ----------
    frontend : keras.Model
        From waveforms (batch, samples) of any length.
    layer : keras.Layer
        A one-dimensional convolution of it.
    filters : ndarray, shape (filters,)
        Which filters of the layer.
    steps : int
    seed : int
        Of the noise to start from.

    Returns
    -------
    ndarray, shape (filters, samples), float32
        All of the same norm and with a mean of zero.

    Raises
    ------
    ArgumentError
        If Keras does not run on TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise ArgumentError(
            "gradient ascent runs on Keras's TensorFlow backend; received "
            f"{keras.backend.backend()}: set the environment variable KERAS_BACKEND=tensorflow"
        )
    import tensorflow as tf

    responses = response_model(frontend, layer)
    samples = SAMPLES
    while not _has_frames(responses, samples):
        samples *= 3
    radius = RMS * samples**0.5
    which = tf.one_hot(filters, responses.output_shape[-1])

    def onto_sphere(inputs: Any) -> Any:
        centred = inputs - tf.reduce_mean(inputs, axis=1, keepdims=True)
        return radius * tf.math.l2_normalize(centred, axis=1)

    @tf.function  # type: ignore[untyped-decorator]
    def climb(inputs: Any, shift: Any, length: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            rolled = tf.roll(inputs, shift, axis=1)
            driven = tf.nn.leaky_relu(responses(rolled, training=False), _LEAK)
            total = tf.reduce_sum(tf.reduce_mean(driven, axis=1) * which)
        uphill = tf.math.l2_normalize(tape.gradient(total, inputs), axis=1)
        return onto_sphere(inputs + length * radius * uphill)

    generator = np.random.default_rng(seed)
    inputs = onto_sphere(tf.constant(generator.normal(size=(len(filters), samples)), tf.float32))
    # A function called by its signature is traced once, and TensorFlow does not warn of it.
    climb_once = climb.get_concrete_function(
        inputs, tf.TensorSpec((), tf.int32), tf.TensorSpec((), tf.float32)
    )
    for length in np.geomspace(_FIRST_STEP, _LAST_STEP, steps, dtype=np.float32):
        shift = generator.integers(samples, dtype=np.int32)
        inputs = climb_once(inputs, tf.constant(shift), tf.constant(length))
    found: NDArray[np.float32] = inputs.numpy()
    return found


def response_model(frontend: keras.Model, layer: keras.Layer) -> keras.Model:
    """Model of what the filters of a layer answer before their activation."""
    if keras.activations.serialize(layer.activation) != "linear":
        config = {**layer.get_config(), "activation": None, "name": f"{layer.name}_response"}
        linear = type(layer).from_config(config)
        response = linear(layer.input)
        linear.set_weights(layer.get_weights())
        return keras.Model(frontend.input, response)
    (following,) = [node.operation for node in layer._outbound_nodes][:1]
    is_normalized = isinstance(following, layers.BatchNormalization)
    return keras.Model(frontend.input, following.output if is_normalized else layer.output)


def _has_frames(responses: keras.Model, samples: int) -> bool:
    try:
        return bool(responses.compute_output_shape((1, samples))[1])
    except ValueError:  # Keras's word for an input that is too short
        return False
