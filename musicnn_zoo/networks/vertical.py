"""One vertical filter shape: filters over all bands at once.

References
----------
Lee, Pham, Largman, Ng. "Unsupervised feature learning for audio classification using
convolutional deep belief networks." NIPS 2009. Dieleman, Schrauwen. "End-to-end learning for
music audio." ICASSP 2014.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import layers

from musicnn_zoo.networks.temporal_stack import temporal_stack


def vertical(x: Any, *, filters: Sequence[int] = (32, 32), width: int = 8, pool: int = 4) -> Any:
    """Move filters as high as the spectrogram over time only.

    The defaults are Dieleman & Schrauwen's. ``filters=(300, 300), width=6, pool=3`` is Lee et
    al.'s network with ordinary convolutions in the place of convolutional deep belief
    networks: its bases and pools, trained by back-propagation instead of layer by layer, with
    mel bands in the place of PCA-whitened spectra.

    Parameters
    ----------
    x : tensor, shape (batch, frames, bands, channels)
    filters, width, pool
        See :func:`musicnn_zoo.networks.temporal_stack.temporal_stack`.

    Returns
    -------
    tensor, shape (batch, frames', filters[-1])
    """
    x = layers.Reshape((-1, x.shape[2] * x.shape[3]), name="frontend_bands_as_channels")(x)
    return temporal_stack(x, filters=filters, width=width, pool=pool)
