"""Sinusoidal positions, for layers that would not know the order of frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

WAVELENGTH = 10000.0


def sinusoidal_positions(frames: Any, channels: int, *, paired: bool = True) -> Any:
    """Sines and cosines of the time at geometrically spaced frequencies.

    Parameters
    ----------
    frames : int or tensor
    channels : int
    paired : bool
        Whether channels 2i and 2i + 1 share the frequency ``10000 ** (-2i / channels)``
        (Vaswani et al. 2017), or channel i has ``10000 ** (-2i / channels)`` for itself
        (musicnn-training).

    Returns
    -------
    tensor, shape (1, frames, channels)
    """
    index = np.arange(channels)
    exponent = 2 * (index // 2) if paired else 2 * index
    frequency = (WAVELENGTH ** (-exponent / channels)).astype(np.float32)
    phase = (index % 2 * np.pi / 2).astype(np.float32)
    time = ops.cast(ops.arange(frames), "float32")[:, None]
    return ops.sin(time * frequency + phase)[None]
