"""What the filters of a front-end have learned.

Filters on a log-mel spectrogram are small pictures: timbral (vertical) ones of some frames and many
bands, temporal (horizontal) ones of one band and many frames, rectangular ones of 3 × 3. Filters on
a waveform that are as long as an STFT window are small waveforms. Filters of a few samples say
nothing by themselves; they are shown by the input to which they respond most.

That input is found as in Lee et al. 2017, by gradient ascent from noise of 729 samples (more if the
layer sees more) on the mean over time of the positive part of the filter's response. Every step is
along the normalised gradient. Unlike there, the input keeps its norm and a mean of zero, because
0 Hz cannot be heard, and it is rolled by a random number of samples before each step. Otherwise the
mean over the moments that a stride leaves would be largest for multiples of the rate of the frames,
whatever band the filter passes.

References
----------
Erhan, Bengio, Courville, Vincent. "Visualizing higher-layer features of a deep network." 2009.
Lee, Park, Kim, Nam. "Sample-level deep convolutional neural networks for music auto-tagging using
raw waveforms." SMC 2017.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import (
    ArgumentError,
    UnknownNameError,
    check_tagging_model,
    check_whole,
    no_array,
)
from musicnn_zoo.networks.config import LogMelInput, ModelConfig, block
from musicnn_zoo.plots.drawing import picture
from musicnn_zoo.plots.filters import SHORTEST_WAVEFORM, FilterKind, draw_filters
from musicnn_zoo.plots.filters import FilterGroup as FilterGroup
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

    from musicnn_zoo.networks.build import TaggingModel


_MOST: dict[FilterKind, int] = {"image": 32, "curve": 8, "waveform": 128, "input": 32}
_DEEPEST = 6


@dataclass(frozen=True, eq=False)
class LearnedFilters:
    """Filters of the front-end ``frontend`` of a model: a group for each layer and spectrogram."""

    groups: tuple[FilterGroup, ...]
    model: str
    frontend: str

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the filters, and save them if ``path`` is given.

        See :func:`musicnn_zoo.plots.plot_filters`.
        """
        return picture(
            path, lambda: draw_filters(self.groups, model=self.model, frontend=self.frontend)
        )

    def __array__(self, *_: object, **__: object) -> NoReturn:
        raise no_array(self, "groups of filters", "learned.groups[0].patterns")

    def __repr__(self) -> str:
        groups = ", ".join(
            f"{group.layer} ({len(group)} of {group.n_filters}, {group.kind})"
            for group in self.groups
        )
        return f"<LearnedFilters of {self.model}, {self.frontend}: {groups}>"


def learned_filters(
    model: str | os.PathLike[str] | TaggingModel = DEFAULT_MODEL,
    *,
    layers: Sequence[str] | None = None,
    filters: int | None = None,
    steps: int = 100,
    seed: int = 0,
) -> LearnedFilters:
    """Take the filters out of a front-end.

    Parameters
    ----------
    model : str, path or TaggingModel
        As in :func:`musicnn_zoo.load_model`, or a model of one's own.
    layers : sequence of str, optional
        Convolutions of the front-end. By default those of the first layer; where they are shorter
        than 32 samples of a waveform, the first six. Of spectrograms only those of the first
        layer can be drawn.
    filters : int, optional
        How many of each layer: those of the largest norm, or evenly spaced where inputs are
        sought. By default 32 images, 8 curves, 128 waveforms, 32 inputs.
    steps : int
        Of gradient ascent, where inputs are sought; see :mod:`musicnn_zoo.zoo.filters`.
    seed : int
        Of the noise that it starts from.

    Returns
    -------
    LearnedFilters

    Raises
    ------
    UnknownNameError
        If there is no model, or no convolution in its front-end, of that name.
    ArgumentError
        If the front-end has no convolutions, or another argument cannot be used; if inputs are
        sought and Keras does not run on TensorFlow.
    DownloadError, WeightsError
        If the model cannot be found or loaded.

    References
    ----------
    Lee, Park, Kim, Nam. "Sample-level deep convolutional neural networks for music auto-tagging
    using raw waveforms." SMC 2017. Dieleman, Schrauwen. "End-to-end learning for music audio."
    ICASSP 2014. Pons, Serra. "musicnn." ISMIR late-breaking 2019.

    Examples
    --------
    >>> import musicnn_zoo
    >>> musicnn_zoo.learned_filters("MTT_vgg").groups[0].values.shape
    (32, 3, 3)
    """
    for name, number in (("filters", filters), ("steps", steps)):
        if number is not None:
            check_whole(name, number)
    if isinstance(model, str | os.PathLike):
        from musicnn_zoo.zoo.load import load_model

        model = load_model(model)
    check_tagging_model(model)
    config = model.zoo_config
    frontend = _frontend_of(model)
    convolutions = {layer.name: layer for layer in frontend.layers if _is_convolution(layer)}
    first = _first_convolutions(frontend)
    if not first:
        raise ArgumentError(f"the front-end {config.frontend.kind!r} has no convolutions to show")
    on_waveform = not isinstance(config.input, LogMelInput)
    if layers is not None:
        chosen = []
        for name in layers:
            if name not in convolutions:
                raise UnknownNameError("convolution of the front-end", name, convolutions)
            chosen.append(convolutions[name])
    elif on_waveform and all(_is_short(layer) for layer in first):
        chosen = [layer for layer in convolutions.values() if layer.kernel_size[0] > 1][:_DEEPEST]
    else:
        chosen = first
    groups: list[FilterGroup] = []
    step_s = 1 / config.input.sample_rate
    for layer in chosen:
        if isinstance(config.input, LogMelInput):
            if layer not in first:
                raise ArgumentError(
                    f"{layer.name} is no convolution on the spectrogram itself; those are "
                    + ", ".join(one.name for one in first)
                )
            groups += _on_spectrogram(layer, config.input, filters)
        elif layer in first and not _is_short(layer):
            groups.append(_on_waveform(layer, step_s, filters))
        else:
            groups.append(_by_inputs(frontend, layer, step_s, filters, steps=steps, seed=seed))
    return LearnedFilters(tuple(groups), model.name, config.frontend.kind)


def _frontend_of(model: TaggingModel) -> Any:
    """Make the front-end again, for an input of any length, with the weights of the model."""
    import keras

    from musicnn_zoo.networks.build import build_features

    config: ModelConfig = replace(model.zoo_config, midend=None, backend=block("temporal_pooling"))
    frontend = keras.Model(*build_features(config))
    for layer in frontend.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights())
    return frontend


def _is_convolution(layer: Any) -> bool:
    from keras import layers

    return isinstance(layer, layers.Conv1D | layers.Conv2D)


def _is_short(layer: Any) -> bool:
    return bool(layer.kernel_size[0] < SHORTEST_WAVEFORM)


def _first_convolutions(frontend: Any) -> list[Any]:
    """Convolutions that no other convolution comes before."""
    from musicnn_zoo.networks.build import layers_before

    after: set[str] = set()
    first = []
    before = layers_before(frontend)
    for layer in frontend.layers:
        given = set(before.get(layer.name, ()))
        if _is_convolution(layer) and not given & after:
            first.append(layer)
        if _is_convolution(layer) or given & after:
            after.add(layer.name)
    return first


def _on_spectrogram(
    layer: Any, spectrogram: LogMelInput, filters: int | None
) -> Iterator[FilterGroup]:
    """Split the filters of a layer by the spectrogram that they look at."""
    kernel = _kernel(layer)
    windows = (*spectrogram.shorter_windows, spectrogram.n_fft)
    if kernel.ndim == 3:
        frames, inputs, count = kernel.shape
        channels = len(windows) if inputs % len(windows) == 0 else 1
        kernel = kernel.reshape(frames, inputs // channels, channels, count)
    values = kernel.transpose(2, 3, 0, 1)
    strongest = _strongest(values.transpose(1, 0, 2, 3))
    is_curve = values.shape[3] == 1
    kind: FilterKind = "curve" if is_curve else "image"
    kept = strongest[: filters or _MOST[kind]]
    several = len(values) > 1
    for window, of_window in zip(windows, values, strict=False):
        yield FilterGroup(
            layer=layer.name,
            kind=kind,
            values=of_window[kept, :, 0] if is_curve else of_window[kept],
            indices=kept,
            n_filters=len(of_window),
            step_s=spectrogram.hop / spectrogram.sample_rate,
            window_s=window / spectrogram.sample_rate if several else None,
        )


def _on_waveform(layer: Any, step_s: float, filters: int | None) -> FilterGroup:
    values = _kernel(layer)[:, 0].T
    kept = _strongest(values)[: filters or _MOST["waveform"]]
    return _by_frequency(layer, "waveform", values[kept], kept, len(values), step_s)


def _by_inputs(
    frontend: Any, layer: Any, step_s: float, filters: int | None, *, steps: int, seed: int
) -> FilterGroup:
    most = min(filters or _MOST["input"], layer.filters)
    kept = np.linspace(0, layer.filters - 1, most).round().astype(np.int64)
    values = maximizing_inputs(frontend, layer, kept, steps=steps, seed=seed)
    return _by_frequency(layer, "input", values, kept, layer.filters, step_s)


def _by_frequency(
    layer: Any,
    kind: FilterKind,
    values: NDArray[np.float32],
    indices: NDArray[np.int64],
    n_filters: int,
    step_s: float,
) -> FilterGroup:
    group = FilterGroup(layer.name, kind, values, indices, n_filters, step_s)
    order = np.argsort(group.centre_frequencies, kind="stable")
    return replace(group, values=values[order], indices=indices[order])


def _kernel(layer: Any) -> NDArray[np.float32]:
    from keras import ops

    return np.asarray(ops.convert_to_numpy(layer.kernel))


def _strongest(values: NDArray[np.float32]) -> NDArray[np.int64]:
    norms = np.linalg.norm(values.reshape(len(values), -1), axis=1)
    return np.argsort(-norms, kind="stable")


SAMPLES = 729
"""Of an input, as in Lee et al. 2017: at 22,050 Hz 33 ms."""
RMS = 0.1
"""Of an input, which is about that of music between -1 and 1."""
_LEAK = 0.01
"""How much of a negative response counts; without it a filter at rest would have no gradient."""
_FIRST_STEP, _LAST_STEP = 0.5, 0.05
"""Length of a step, as a part of the norm of the input."""


def maximizing_inputs(
    frontend: keras.Model, layer: keras.Layer, filters: NDArray[np.int64], *, steps: int, seed: int
) -> NDArray[np.float32]:
    """Find the waveform to which each of some filters responds most.

    The method is described in :mod:`musicnn_zoo.zoo.filters`. A response is taken after BatchNorm
    where that comes before the activation. ``layer`` is a one-dimensional convolution of
    ``frontend``, which takes waveforms (batch, samples) of any length; ``filters`` are numbers of
    its filters. Return (filters, samples), float32, all of the same norm and with a mean of zero.
    """
    import keras

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
    return np.asarray(inputs.numpy())


def response_model(frontend: keras.Model, layer: keras.Layer) -> keras.Model:
    """Model of the response of a layer's filters before their activation."""
    import keras

    if keras.activations.serialize(layer.activation) != "linear":
        config = {**layer.get_config(), "activation": None, "name": f"{layer.name}_response"}
        linear = type(layer).from_config(config)
        response = linear(layer.input)
        linear.set_weights(layer.get_weights())
        return keras.Model(frontend.input, response)
    (following,) = [node.operation for node in layer._outbound_nodes][:1]
    is_normalized = isinstance(following, keras.layers.BatchNormalization)
    return keras.Model(frontend.input, following.output if is_normalized else layer.output)


def _has_frames(responses: keras.Model, samples: int) -> bool:
    try:
        return bool(responses.compute_output_shape((1, samples))[1])
    except ValueError:  # the input is too short
        return False
