"""Frame-level filters: a learned filter bank on the raw waveform.

References
----------
Dieleman, Schrauwen. "End-to-end learning for music audio." ICASSP 2014. Zhu, Engel, Hannun.
"Learning multiscale features directly from waveforms." arXiv:1603.09509, 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import layers

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.networks.convolution import convolution
from musicnn_zoo.networks.temporal_stack import temporal_stack


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
    stack, stack_width, stack_pool
        See :func:`musicnn_zoo.networks.temporal_stack.temporal_stack`.

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
    What follows the bank is as in :func:`frame_level`.

    Parameters
    ----------
    x : tensor, shape (batch, samples, 1)
    filters, lengths, strides : sequence of int
        Of each bank; lengths and strides in samples. The strides divide the longest one.
    stack, stack_width, stack_pool
        See :func:`musicnn_zoo.networks.temporal_stack.temporal_stack`.

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
            y = layers.MaxPooling1D(
                slowest // stride, padding="same", data_format="channels_last", name=f"{name}_pool"
            )(y)
        banks.append(y)
    x = layers.Concatenate(name="frontend_banks")(banks)
    return temporal_stack(x, filters=stack, width=stack_width, pool=stack_pool)
