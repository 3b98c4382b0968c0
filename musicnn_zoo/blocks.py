"""The boxes of the tutorial's diagrams as data: which blocks exist and what fits where.

A tagging model is input → front-end → (mid-end) → back-end → tags. Each block is one
function on Keras tensors; this table says where the function stands, what it takes, what
it gives and which of its layers are named endpoints, so that lists, checks and help need
no Keras. To add a block: write the function, add a row.

Feature maps are of two shapes, channels last:

``map``
    ``(batch, frames, bands, channels)``: a spectrogram, or what 2-D filters make of it.
``sequence``
    ``(batch, frames, channels)``: one vector a frame.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from musicnn_zoo.errors import UnknownNameError

Role = Literal["frontend", "midend", "backend"]
Shape = Literal["waveform", "map", "sequence", "tags"]


@dataclass(frozen=True)
class BlockSpec:
    """One row of :data:`BLOCKS`.

    Parameters
    ----------
    role : {"frontend", "midend", "backend"}
    module : str
        Module inside ``musicnn_zoo`` that holds the function of the block's name.
    takes, gives : {"waveform", "map", "sequence", "tags"}
        Shape of the tensor that the function receives and returns.
    paper : str
        Where the block was described.
    endpoints : tuple of str
        Layers whose activations people ask for, in order of depth.
    fixed_length : bool
        Whether the block needs an input of one known length.
    """

    role: Role
    module: str
    takes: Shape
    gives: Shape
    paper: str
    endpoints: tuple[str, ...] = ()
    fixed_length: bool = False


BLOCKS: dict[str, BlockSpec] = {
    "timbral_temporal": BlockSpec(
        role="frontend",
        module="frontends.timbral_temporal",
        takes="map",
        gives="sequence",
        endpoints=("timbral", "temporal"),
        paper="Pons et al. 2016, Experimenting with musically motivated CNNs; Pons & Serra 2019",
    ),
    "vgg": BlockSpec(
        role="frontend",
        module="frontends.rectangular",
        takes="map",
        gives="map",
        endpoints=("pool1", "pool2", "pool3", "pool4", "pool5"),
        paper="Pons & Serra 2019, musicnn; after Choi et al. 2016",
    ),
    "dense_residual": BlockSpec(
        role="midend",
        module="midends",
        takes="sequence",
        gives="sequence",
        endpoints=("cnn1", "cnn2", "cnn3"),
        paper="Pons et al. 2018, End-to-end learning for music audio tagging at scale",
    ),
    "temporal_pooling": BlockSpec(
        role="backend",
        module="backends.temporal_pooling",
        takes="sequence",
        gives="tags",
        endpoints=("mean_pool", "max_pool", "penultimate"),
        paper="Dieleman & Schrauwen 2014; Pons et al. 2018",
    ),
    "mlp": BlockSpec(
        role="backend",
        module="backends.mlp",
        takes="map",
        gives="tags",
        paper="Schlüter & Böck 2014, Improved musical onset detection with CNNs",
        fixed_length=True,
    ),
}


def block_spec(name: str, role: Role) -> BlockSpec:
    """Look up one block.

    Raises
    ------
    UnknownNameError
        If there is no block ``name`` of that role.
    """
    spec = BLOCKS.get(name)
    if spec is None or spec.role != role:
        raise UnknownNameError(role, name, (n for n, s in BLOCKS.items() if s.role == role))
    return spec


def block_function(name: str, role: Role) -> Callable[..., Any]:
    """Import and return the function that builds block ``name`` (imports Keras)."""
    module = importlib.import_module(f"musicnn_zoo.{block_spec(name, role).module}")
    function: Callable[..., Any] = getattr(module, name)
    return function
