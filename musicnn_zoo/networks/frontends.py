"""Front-ends and mid-ends: from a waveform or a log-mel spectrogram to a feature map.

In all of them ``filters`` has one number for each convolution, ``order`` and ``bn_epsilon`` are
those of :func:`convolution`, and ``stack``, ``stack_width`` and ``stack_pool`` are ``filters``,
``width`` and ``pool`` of :func:`temporal_stack`.

References
----------
Choi, Fazekas, Sandler. "Automatic tagging using deep convolutional neural networks." ISMIR 2016.
Dieleman, Schrauwen. "End-to-end learning for music audio." ICASSP 2014. Kim, Lee, Nam.
"Sample-level CNN architectures for music auto-tagging using raw waveforms." ICASSP 2018. Lee, Park,
Kim, Nam. "Sample-level deep convolutional neural networks for music auto-tagging using raw
waveforms." SMC 2017. Lee, Pham, Largman, Ng. "Unsupervised feature learning for audio
classification using convolutional deep belief networks." NIPS 2009. Pons, Lidy, Serra.
"Experimenting with musically motivated convolutional neural networks." CBMI 2016. Pons,
Slizovskaia, Gong, Gómez, Serra. "Timbre analysis of music audio signals with convolutional neural
networks." EUSIPCO 2017. Pons et al. "End-to-end learning for music audio tagging at scale." ISMIR
2018. Pons, Serra. "musicnn: Pre-trained convolutional neural networks for music audio tagging."
ISMIR late-breaking 2019 (also the vgg here). Schlüter, Böck. "Improved musical onset detection with
convolutional neural networks." ICASSP 2014. Won, Ferraro, Bogdanov, Serra. "Evaluation of CNN-based
automatic music tagging models." SMC 2020. Zhu, Engel, Hannun. "Learning multiscale features
directly from waveforms." arXiv:1603.09509, 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from keras import layers

from musicnn_zoo.errors import ArgumentError

Order = Literal["relu_bn", "bn_relu", "relu"]


def convolution(
    x: Any,
    filters: int,
    kernel: int | tuple[int, int],
    *,
    name: str,
    order: Order = "relu_bn",
    activation: str | None = "relu",
    strides: int | tuple[int, int] = 1,
    padding: str = "same",
    output: str | None = None,
    bn_epsilon: float = 1e-3,
) -> Any:
    """Convolve, activate and normalise.

    Parameters
    ----------
    x : tensor
        A sequence (batch, frames, channels) for a kernel that is one number, a map (batch,
        frames, bands, channels) for a pair.
    kernel : int or (int, int)
        Frames, or frames × bands.
    name : str
        Of the convolution layer; the others carry it as a prefix.
    order : {"relu_bn", "bn_relu", "relu"}
        Convolution → activation → BatchNorm (musicnn and Pons's other models), convolution →
        BatchNorm → activation (Lee, Choi, Won), or no BatchNorm (Dieleman, Schlüter).
    activation : str or None
        None leaves it out.
    output : str, optional
        Name of the last layer, if it is an endpoint.
    bn_epsilon : float
        What BatchNorm adds to the variance: 1e-3 in Keras and musicnn, 1e-5 in PyTorch.
    """
    layer = layers.Conv1D if isinstance(kernel, int) else layers.Conv2D
    first = activation is None or order != "bn_relu"
    x = layer(
        filters,
        kernel,
        strides=strides,
        padding=padding,
        data_format="channels_last",
        activation=activation if first else None,
        name=output if output and order == "relu" else name,
    )(x)
    if order == "relu":
        return x
    last = output or f"{name}_{'bn' if first else activation}"
    x = layers.BatchNormalization(epsilon=bn_epsilon, name=last if first else f"{name}_bn")(x)
    return x if first else layers.Activation(activation, name=last)(x)


def max_pool(x: Any, size: int | tuple[int, int], name: str, **options: Any) -> Any:
    """Take the maximum over frames of a sequence, or over frames × bands of a map."""
    layer = layers.MaxPooling1D if isinstance(size, int) else layers.MaxPooling2D
    return layer(size, data_format="channels_last", name=name, **options)(x)


def frame_level(
    x: Any,
    *,
    filters: int = 128,
    length: int = 512,
    stride: int = 256,
    stack: Sequence[int] = (32, 32),
    stack_width: int = 8,
    stack_pool: int = 4,
) -> Any:
    """One filter shape, as long as an STFT window: Dieleman & Schrauwen 2014.

    The first layer stands where an STFT would, with 128 filters of 512 samples every 256, and
    learns its own bands. (Their best raw waveform model had 256 and 256.)

    Parameters
    ----------
    x : tensor, shape (batch, samples, 1)
    filters : int
        Bands to learn.
    length, stride : int
        "Window length" and "hop" of the first layer in samples.

    Returns
    -------
    tensor, shape (batch, frames', stack[-1])
    """
    x = convolution(
        x, filters, length, name="frontend_bank", order="relu", strides=stride, padding="valid"
    )
    return temporal_stack(x, filters=stack, width=stack_width, pool=stack_pool)


def frame_level_multiscale(
    x: Any,
    *,
    filters: Sequence[int] = (32, 32, 32),
    lengths: Sequence[int] = (64, 256, 1024),
    strides: Sequence[int] = (16, 64, 256),
    stack: Sequence[int] = (32, 32),
    stack_width: int = 8,
    stack_pool: int = 4,
) -> Any:
    """Filter banks of several lengths side by side: Zhu et al. 2016.

    Short filters, moved often, resolve high frequencies in time; long ones, moved seldom,
    resolve low frequencies. Each bank is max-pooled to the rate of the slowest and all are
    concatenated. The paper's idea for speech; its window and stride values could not be
    verified here, so these are ours: 4, 16 and 64 ms at 16 kHz, each moved by a quarter.

    Parameters
    ----------
    x : tensor, shape (batch, samples, 1)
    filters, lengths, strides : sequence of int
        Of each bank; lengths and strides in samples. The strides divide the longest one.

    Returns
    -------
    tensor, shape (batch, frames', stack[-1])
    """
    slowest = max(strides)
    if any(slowest % stride for stride in strides):
        raise ArgumentError(f"each of strides must divide the longest; received {strides!r}")
    banks = []
    for count, length, stride in zip(filters, lengths, strides, strict=True):
        name = f"frontend_bank_{length}"
        y = convolution(x, count, length, name=name, strides=stride)
        if stride < slowest:
            y = max_pool(y, slowest // stride, f"{name}_pool", padding="same")
        banks.append(y)
    x = layers.Concatenate(name="frontend_banks")(banks)
    return temporal_stack(x, filters=stack, width=stack_width, pool=stack_pool)


def vertical(x: Any, *, filters: Sequence[int] = (32, 32), width: int = 8, pool: int = 4) -> Any:
    """Move filters as high as the spectrogram over time only.

    The defaults are Dieleman & Schrauwen's. ``filters=(300, 300), width=6, pool=3`` is Lee et
    al.'s network with ordinary convolutions in the place of convolutional deep belief
    networks: its bases and pools, trained by back-propagation instead of layer by layer, with
    mel bands in the place of PCA-whitened spectra.

    Parameters
    ----------
    x : tensor, shape (batch, frames, bands, channels)
    width, pool : int
        See :func:`temporal_stack`.

    Returns
    -------
    tensor, shape (batch, frames', filters[-1])
    """
    x = layers.Reshape((-1, x.shape[2] * x.shape[3]), name="frontend_bands_as_channels")(x)
    return temporal_stack(x, filters=filters, width=width, pool=pool)


def horizontal(
    x: Any,
    *,
    filters: Sequence[int] = (10, 20),
    kernels: Sequence[tuple[int, int]] = ((7, 3), (3, 3)),
    pool_bands: int = 3,
    activation: str = "tanh",
) -> Any:
    """Convolutions with pooling over the bands only, so that time stays sharp.

    Parameters
    ----------
    x : tensor, shape (batch, frames, bands, channels)
        Schlüter & Böck use 15 frames of 80 bands, and three channels: spectrograms with
        windows of 23, 46 and 93 ms.
    kernels : sequence of (int, int)
        Frames × bands of each convolution. Without padding.
    pool_bands : int
        Bands that become one after each convolution.
    activation : str
        The paper's is tanh.

    Returns
    -------
    tensor, shape (batch, frames', bands', filters[-1])
    """
    for number, (count, kernel) in enumerate(zip(filters, kernels, strict=True), start=1):
        name = f"frontend_conv{number}"
        x = convolution(
            x, count, kernel, name=name, order="relu", activation=activation, padding="valid"
        )
        x = max_pool(x, (1, pool_bands), f"frontend_pool{number}")
    return x


Pool = tuple[int, int]


def vgg(x: Any, *, filters: int = 128, dropout: float = 0.25) -> Any:
    """Five 3 × 3 convolutions, each followed by BatchNorm and max-pooling.

    The released checkpoints have 128 filters in each. The pools are (frames, bands): a window of
    4 × 1 moved by 2 × 2 first, then 2 × 2 three times, then 4 × 4.

    Parameters
    ----------
    x : tensor, shape (batch, frames, bands, channels)
    dropout : float
        Rate after the first four pools.

    Returns
    -------
    tensor, shape (batch, frames', bands', filters)
        (batch, 2, 1, 128) for 187 frames of 96 bands. Endpoints ``pool1`` … ``pool5``.
    """
    halves = ((2, 2), (2, 2))
    pools = [((4, 1), (2, 2)), halves, halves, halves, ((4, 4), (4, 4))]
    for number, (size, strides) in enumerate(pools, start=1):
        if number > 1:
            x = layers.Dropout(dropout, name=f"frontend_dropout{number - 1}")(x)
        x = convolution(x, filters, (3, 3), name=f"frontend_conv{number}")
        x = max_pool(x, size, f"pool{number}", strides=strides)
    return x


def rectangular(
    x: Any,
    *,
    filters: Sequence[int] = (64, 128, 128, 128),
    pools: Sequence[Pool] = ((2, 2), (3, 3), (4, 4), (4, 4)),
    order: Order = "bn_relu",
    bn_epsilon: float = 1e-3,
) -> Any:
    """3 × 3 convolutions with max-pooling; the defaults are the CRNN's of Won et al. 2020.

    Parameters
    ----------
    x : tensor, shape (batch, frames, bands, channels)
    pools : sequence of (int, int)
        Frames × bands that become one after each convolution.

    Returns
    -------
    tensor, shape (batch, frames', bands', filters[-1])
    """
    return rectangular_stack("frontend", x, filters, pools, order, bn_epsilon)


def rectangular_stack(
    role: str,
    x: Any,
    filters: Sequence[int],
    pools: Sequence[Pool],
    order: Order,
    bn_epsilon: float,
) -> Any:
    """Put 3 × 3 convolutions with max-pooling on ``x``, for a front-end or a back-end."""
    for number, (count, pool) in enumerate(zip(filters, pools, strict=True), start=1):
        name = f"{role}_conv{number}"
        x = convolution(x, count, (3, 3), name=name, order=order, bn_epsilon=bn_epsilon)
        x = max_pool(x, pool, f"{role}_pool{number}")
    return x


def short_chunk(
    x: Any,
    *,
    filters: Sequence[int] = (128, 128, 256, 256, 256, 256, 512),
    residual: bool = False,
    bn_epsilon: float = 1e-3,
) -> Any:
    """Seven 3 × 3 convolutions that halve time and frequency: the short-chunk CNN.

    Plain, each is convolution → BatchNorm → ReLU → max-pooling of 2 × 2. Residual, each is two
    convolutions, the first of stride 2, beside a third of stride 2.

    Parameters
    ----------
    x : tensor, shape (batch, frames, bands, channels)
        Won et al. use 3.69 s of 128 bands, of which 1 × 1 is left.

    Returns
    -------
    tensor, shape (batch, frames / 128, bands / 128, filters[-1])
    """
    if not residual:
        pools = [(2, 2)] * len(filters)
        return rectangular(x, filters=filters, pools=pools, bn_epsilon=bn_epsilon)
    for number, count in enumerate(filters, start=1):
        name = f"frontend_conv{number}"
        making: dict[str, Any] = {"order": "bn_relu", "bn_epsilon": bn_epsilon}
        y = convolution(x, count, (3, 3), name=f"{name}a", strides=2, **making)
        y = convolution(y, count, (3, 3), name=f"{name}b", activation=None, **making)
        shortcut = convolution(
            x, count, (3, 3), name=f"{name}_shortcut", activation=None, strides=2, **making
        )
        x = layers.Add(name=f"{name}_add")([y, shortcut])
        x = layers.ReLU(name=f"{name}_relu")(x)
    return x


Timbral = Sequence[tuple[float, int, int]]
"""Branches as (part of the bands, width in frames, filters)."""

MUSICNN_TIMBRAL: Timbral = ((0.4, 7, 204), (0.7, 7, 204))
MUSICNN_TEMPORAL: Sequence[tuple[int, int]] = ((128, 51), (64, 51), (32, 51))
TIMBRE_CNN: Timbral = (
    (0.8, 7, 3), (0.8, 5, 3), (0.8, 3, 6), (0.8, 1, 10),
    (0.6, 7, 5), (0.6, 5, 5), (0.6, 3, 10), (0.6, 1, 15),
    (0.2, 7, 5), (0.2, 5, 5), (0.2, 3, 10), (0.2, 1, 15),
)  # fmt: skip


def timbral_temporal(
    x: Any,
    *,
    timbral: Timbral = MUSICNN_TIMBRAL,
    temporal: Sequence[tuple[int, int]] = MUSICNN_TEMPORAL,
    temporal_input: Literal["bands", "mean"] = "bands",
    order: Order = "relu_bn",
    bn_epsilon: float = 1e-3,
) -> Any:
    """Timbral (vertical) beside temporal (horizontal) filters.

    A timbral branch looks at a few frames and a part of the bands at once and keeps the
    maximum over all positions on the bands, so that it answers to a timbre whatever its
    pitch. A temporal branch looks at one band over many frames and keeps the maximum over the
    bands, or looks at the mean of all bands.

    Parameters
    ----------
    x : tensor, shape (batch, frames, bands, channels)
    timbral : sequence of (float, int, int)
        Branches as (part of the bands, width in frames, filters). The default is musicnn's;
        0.4 and 0.7 of 96 bands are 38 and 67.
    temporal : sequence of (int, int)
        Branches as (length in frames, filters).
    temporal_input : {"bands", "mean"}
        What a temporal branch looks at: each band, as in musicnn, or their mean, as in Pons et
        al. 2018.

    Returns
    -------
    tensor, shape (batch, frames, channels)
        The branches side by side: 2 × 204 + 3 × 51 = 561 channels by default. Endpoints
        ``timbral`` and ``temporal`` are its two parts.
    """
    making: dict[str, Any] = {"order": order, "bn_epsilon": bn_epsilon}
    branches = [_timbral_branches(x, timbral, output="timbral", **making)]
    columns = []
    bands = x.shape[2]
    if temporal_input == "mean":
        x = layers.AveragePooling2D(
            (1, bands), data_format="channels_last", name="frontend_temporal_mean"
        )(x)
    for length, filters in temporal:
        name = f"frontend_temporal_{length}"
        y = convolution(x, filters, (length, 1), name=name, **making)
        columns.append(_max_over_bands(y, name))
    branches.append(layers.Concatenate(name="temporal")(columns))
    return layers.Concatenate(name="frontend")(branches)


def timbral(
    x: Any,
    *,
    branches: Timbral = TIMBRE_CNN,
    order: Order = "relu_bn",
    stack: Sequence[int] = (32,),
    stack_width: int = 8,
    stack_pool: int = 4,
) -> Any:
    """Vertical filters of several heights: the timbre CNN of Pons et al. 2017.

    After musicnn-training's version: 92 filters in 12 shapes, then convolutions over time as
    in Dieleman & Schrauwen 2014.

    Parameters
    ----------
    x : tensor, shape (batch, frames, bands, channels)
    branches : sequence of (float, int, int)
        As ``timbral`` of :func:`timbral_temporal`.

    Returns
    -------
    tensor, shape (batch, frames', stack[-1])
        Endpoint ``timbral`` is the output of the first layer, (batch, frames, 92).
    """
    x = _timbral_branches(x, branches, order=order, output="timbral")
    return temporal_stack(x, filters=stack, width=stack_width, pool=stack_pool)


def _timbral_branches(x: Any, branches: Timbral, *, output: str, **making: Any) -> Any:
    bands = x.shape[2]
    widths = {width for _, width, _ in branches}
    padded = {width: _pad_time(x, width) for width in sorted(widths)}
    columns = []
    for part, width, filters in branches:
        height = int(part * bands)
        shape = f"{height}" if len(widths) == 1 else f"{height}x{width}"
        name = f"frontend_timbral_{shape}"
        y = convolution(
            padded[width], filters, (width, height), name=name, padding="valid", **making
        )
        columns.append(_max_over_bands(y, name))
    return layers.Concatenate(name=output)(columns)


def _pad_time(x: Any, width: int) -> Any:
    """Zeros before and after, so that a filter of that width keeps the number of frames."""
    if width == 1:
        return x
    before = (width - 1) // 2
    after = width - 1 - before
    return layers.ZeroPadding2D(
        ((before, after), (0, 0)),
        data_format="channels_last",
        name=f"frontend_timbral_padding_{width}",
    )(x)


def _max_over_bands(x: Any, name: str) -> Any:
    filters = x.shape[3]
    x = max_pool(x, (1, x.shape[2]), f"{name}_max")
    return layers.Reshape((-1, filters), name=f"{name}_flat")(x)


def temporal_stack(x: Any, *, filters: Sequence[int], width: int, pool: int) -> Any:
    """Convolution → ReLU → max-pooling over time, once for each of ``filters``.

    ``x`` is (batch, frames, channels). A filter looks at ``width`` frames, without padding;
    ``pool`` frames become one.
    """
    for number, count in enumerate(filters, start=1):
        name = f"frontend_conv{number}"
        x = convolution(x, count, width, name=name, order="relu", padding="valid")
        x = max_pool(x, pool, f"frontend_pool{number}")
    return x


LEE_FILTERS = (128, 128, 128, 256, 256, 256, 256, 256, 256, 512)


def sample_level(
    x: Any,
    *,
    width: int = 3,
    filters: Sequence[int] = LEE_FILTERS,
    variant: Literal["basic", "se", "res", "rese"] = "basic",
    pointwise: int | None = 512,
    se_ratio: float = 1.0,
    order: Order = "bn_relu",
    padding: Literal["same", "valid"] = "same",
) -> Any:
    """Stack filters of a few samples until one frame has seen seconds.

    The mⁿ network of Lee et al. 2017: a strided convolution of ``m = width`` samples, then
    ``n = len(filters) - 1`` modules of convolution and max-pooling by m. With the defaults, 3⁹,
    one output frame comes from 3¹⁰ = 59,049 samples, counting strides and pools as the paper
    does; the edges of the padded convolutions reach about as far again.

    Kim et al. 2018 change the modules. ``se``: squeeze-and-excitation, the mean over time
    through two dense layers scales the channels. ``res``: two convolutions beside a shortcut.
    ``rese``: both. Read differently from their paper: the hidden dense layer has ``se_ratio`` ×
    channels units, 1 by default as in Won et al. 2020, and the features of the last module only
    go on (they also pool and join those of the two before).

    Parameters
    ----------
    x : tensor, shape (batch, samples, 1)
    width : int
        m: length and stride of the first filters, length and pool of the others.
    pointwise : int or None
        Filters of a last convolution of width 1; None leaves it out.
    order : {"relu_bn", "bn_relu", "relu"}
        Of the basic and the se modules.
    padding : {"same", "valid"}
        Of the modules' convolutions: Lee et al. pad, Pons et al. 2018 do not.

    Returns
    -------
    tensor, shape (batch, samples / mⁿ⁺¹, channels)
    """
    first, *modules = filters
    x = convolution(
        x, first, width, name="frontend_conv0", order=order, strides=width, padding="valid"
    )
    for number, count in enumerate(modules, start=1):
        name = f"frontend_conv{number}"
        if variant in ("basic", "se"):
            x = convolution(x, count, width, name=name, order=order, padding=padding)
        else:
            y = _two_convolutions(x, count, width, name, padding=padding)
            if variant == "rese":
                y = _squeeze_and_excite(y, se_ratio, name)
            x = layers.Add(name=f"{name}_add")([y, _shortcut(x, count, name)])
            x = layers.ReLU(name=f"{name}_out")(x)
        x = max_pool(x, width, f"frontend_pool{number}")
        if variant == "se":
            x = _squeeze_and_excite(x, se_ratio, name)
    if pointwise is not None:
        x = convolution(x, pointwise, 1, name="frontend_pointwise", order=order)
    return x


def _two_convolutions(x: Any, filters: int, width: int, name: str, *, padding: str) -> Any:
    if padding != "same":
        raise ArgumentError("a residual module needs padding='same', or its branches differ")
    x = convolution(x, filters, width, name=f"{name}a", order="bn_relu")
    x = layers.Dropout(0.2, name=f"{name}_dropout")(x)
    return convolution(x, filters, width, name=f"{name}b", activation=None)


def _shortcut(x: Any, filters: int, name: str) -> Any:
    if x.shape[-1] == filters:
        return x
    return convolution(x, filters, 1, name=f"{name}_shortcut", activation=None, padding="valid")


def _squeeze_and_excite(x: Any, ratio: float, name: str) -> Any:
    channels = x.shape[-1]
    y = layers.GlobalAveragePooling1D(
        keepdims=True, data_format="channels_last", name=f"{name}_squeeze"
    )(x)
    y = layers.Dense(int(ratio * channels), activation="relu", name=f"{name}_se1")(y)
    y = layers.Dense(channels, activation="sigmoid", name=f"{name}_se2")(y)
    return layers.Multiply(name=f"{name}_excite")([x, y])


def dense_residual(
    x: Any,
    *,
    filters: int = 64,
    width: int = 7,
    order: Order = "relu_bn",
    bn_epsilon: float = 1e-3,
) -> Any:
    """Three convolutions over time, the last two residual, all densely connected.

    What the back-end receives is the front-end's features beside the output of every
    convolution.

    Parameters
    ----------
    x : tensor, shape (batch, frames, channels)
    filters : int
        Of each convolution: 64 in musicnn, 512 in its big variant.
    width : int
        Frames that a filter looks at.

    Returns
    -------
    tensor, shape (batch, frames, channels + 3 * filters)
        Endpoints ``cnn1``, ``cnn2`` and ``cnn3`` are the outputs of the convolutions, the
        last two with their residual connections.
    """
    features = [x]
    for number in (1, 2, 3):
        y = convolution(
            features[-1], filters, width, name=f"midend_conv{number}", order=order,
            output="cnn1" if number == 1 else None, bn_epsilon=bn_epsilon,
        )  # fmt: skip
        if number > 1:
            y = layers.Add(name=f"cnn{number}")([y, features[-1]])
        features.append(y)
    return layers.Concatenate(name="midend")(features)


def residual(x: Any, *, filters: int = 512, width: int = 7, pool: int = 2) -> Any:
    """Three wide convolutions over time, the last two residual: Pons et al. 2018.

    The first is not padded. Between the second and the third, time is max-pooled. As in the
    authors' code, the second and third BatchNorm have one scale and one offset for all
    channels together.

    Parameters
    ----------
    x : tensor, shape (batch, frames, channels)
    width, pool : int
        Frames that a filter looks at, and that become one.

    Returns
    -------
    tensor, shape (batch, (frames - width + 1) / pool, filters)
        Endpoints ``cnn1``, ``cnn2`` and ``cnn3``, as of :func:`dense_residual`.
    """
    x = convolution(x, filters, width, name="midend_conv1", padding="valid", output="cnn1")
    y = _jointly_normalized(x, filters, width, "midend_conv2")
    x = layers.Add(name="cnn2")([y, x])
    x = max_pool(x, pool, "midend_pool")
    y = _jointly_normalized(x, filters, width, "midend_conv3")
    return layers.Add(name="cnn3")([y, x])


def _jointly_normalized(x: Any, filters: int, width: int, name: str) -> Any:
    x = convolution(x, filters, width, name=name, order="relu")
    x = layers.Reshape((-1, filters, 1), name=f"{name}_column")(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.Reshape((-1, filters), name=f"{name}_flat")(x)
