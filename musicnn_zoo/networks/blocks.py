"""The boxes of the tutorial's diagrams as data: which blocks exist and what fits where.

A tagging model is input → front-end → (mid-end) → back-end → tags. Each block is one
function on Keras tensors; this table says where the function stands, what it takes, what
it gives and which of its layers are named endpoints, so that lists, checks and help need
no Keras. To add a block: write the function, add a row.

Tensors between blocks are of three shapes, channels last:

``waveform``
    ``(batch, samples, 1)``.
``map``
    ``(batch, frames, bands, channels)``: a spectrogram, or what 2-D filters make of it.
``sequence``
    ``(batch, frames, channels)``: one vector a frame. Where a block takes a sequence and is
    given a map, bands and channels are merged.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from musicnn_zoo.errors import UnknownNameError
from musicnn_zoo.plain_text import shortened

Role = Literal["frontend", "midend", "backend"]
Shape = Literal["waveform", "map", "sequence", "tags"]
Framewise = Literal["scores", "head"] | None


@dataclass(frozen=True)
class BlockSpec:
    """One row of :data:`BLOCKS`.

    Parameters
    ----------
    role : {"frontend", "midend", "backend"}
    module : str
        Module inside ``musicnn_zoo`` that holds the function of the block's name.
    takes, gives : {"waveform", "map", "sequence", "tags"}
        Shape of the tensor that the function receives and returns. A back-end that takes a
        map also takes a sequence if ``takes_any``.
    paper : str
        Where the block was described.
    endpoints : tuple of str
        Layers whose activations people ask for, in order of depth.
    endpoints_if : mapping of (option, value) to tuple of str
        Endpoints under certain options.
    fixed_length : bool
        Whether the block needs an input of one known length.
    takes_any : bool
    framewise : {"scores", "head"} or None
        How a back-end offers scores of single frames: as the layer ``frame_scores``, or by its
        head put on the layer ``frames``.
    domain_knowledge, shapes : str
        Of a front-end: the answers to the tutorial's questions, whether domain knowledge went
        into the design, and how many filter shapes the first layer has.
    """

    role: Role
    module: str
    takes: Shape
    gives: Shape
    paper: str
    endpoints: tuple[str, ...] = ()
    endpoints_if: Mapping[tuple[str, object], tuple[str, ...]] = field(default_factory=dict)
    fixed_length: bool = False
    takes_any: bool = False
    framewise: Framewise = None
    domain_knowledge: bool = False
    shapes: Literal["minimal", "one", "many"] = "minimal"

    def endpoints_of(self, options: Mapping[str, object]) -> tuple[str, ...]:
        """Endpoints of the block under ``options``."""
        for choice, endpoints in self.endpoints_if.items():
            if choice in options.items():
                return endpoints
        return self.endpoints


def _frontend(module: str, takes: Shape, gives: Shape, paper: str, **more: Any) -> BlockSpec:
    return BlockSpec("frontend", module, takes, gives, paper, **more)


def _midend(paper: str) -> BlockSpec:
    endpoints = ("cnn1", "cnn2", "cnn3")
    return BlockSpec("midend", "frontends", "sequence", "sequence", paper, endpoints=endpoints)


def _backend(module: str, paper: str, *pools: str, **more: Any) -> BlockSpec:
    takes: Shape = "map" if more.get("fixed_length") else "sequence"
    endpoints = (*pools, "penultimate")
    return BlockSpec("backend", module, takes, "tags", paper, endpoints=endpoints, **more)


BLOCKS: dict[str, BlockSpec] = {
    "sample_level": _frontend(
        "sample_level", "waveform", "sequence", "Lee et al. 2017; Kim et al. 2018"
    ),
    "frame_level": _frontend(
        "frame_level", "waveform", "sequence", "Dieleman & Schrauwen 2014",
        domain_knowledge=True, shapes="one",
    ),
    "frame_level_multiscale": _frontend(
        "frame_level", "waveform", "sequence", "Zhu et al. 2016",
        domain_knowledge=True, shapes="many",
    ),
    "vgg": _frontend(
        "rectangular", "map", "map", "Pons & Serra 2019",
        endpoints=("pool1", "pool2", "pool3", "pool4", "pool5"),
    ),
    "rectangular": _frontend("rectangular", "map", "map", "Choi et al. 2016"),
    "short_chunk": _frontend("rectangular", "map", "map", "Won et al. 2020"),
    "vertical": _frontend(
        "vertical", "map", "sequence", "Lee et al. 2009; Dieleman & Schrauwen 2014",
        domain_knowledge=True, shapes="one",
    ),
    "timbral": _frontend(
        "timbral_temporal", "map", "sequence", "Pons et al. 2017",
        endpoints=("timbral",), domain_knowledge=True, shapes="one",
    ),
    "horizontal": _frontend(
        "horizontal", "map", "map", "Schlüter & Böck 2014",
        domain_knowledge=True, shapes="one",
    ),
    "timbral_temporal": _frontend(
        "timbral_temporal", "map", "sequence", "Pons et al. 2016",
        endpoints=("timbral", "temporal"), domain_knowledge=True, shapes="many",
    ),
    "dense_residual": _midend("Pons & Serra 2019"),
    "residual": _midend("Pons et al. 2018"),
    "temporal_pooling": _backend(
        "temporal_pooling", "Dieleman & Schrauwen 2014; Pons et al. 2018", "mean_pool", "max_pool",
        endpoints_if={
            ("mode", "max"): ("max_pool", "penultimate"),
            ("mode", "mean"): ("mean_pool", "penultimate"),
        },
    ),
    "autopool": _backend("autopool", "McFee et al. 2018", framewise="scores"),
    "attention": _backend("attention", "Raffel 2016", "attention_pool", framewise="head"),
    "recurrent": _backend("recurrent", "Vogl et al. 2018; Choi et al. 2017", "last_state"),
    "self_attention": _backend("self_attention", "Won et al. 2019", "class_token"),
    "fully_convolutional": _backend("backends", "Choi et al. 2016", fixed_length=True),
    "mlp": _backend("mlp", "Schlüter & Böck 2014", fixed_length=True, takes_any=True),
}  # fmt: skip
"""All blocks by name."""


def block_spec(name: str, role: Role) -> BlockSpec:
    """Look up one block.

    Raises
    ------
    UnknownNameError
        If there is no block ``name`` of that role.
    """
    spec = BLOCKS.get(name)
    if spec is None or spec.role != role:
        raise UnknownNameError(role, shortened(name, 80), block_names(role))
    return spec


def block_names(role: Role) -> list[str]:
    """Names of all blocks of one role."""
    return [name for name, spec in BLOCKS.items() if spec.role == role]


def block_function(name: str, role: Role) -> Callable[..., Any]:
    """Import and return the function that builds block ``name`` (imports Keras)."""
    module = importlib.import_module(f"musicnn_zoo.networks.{block_spec(name, role).module}")
    function: Callable[..., Any] = getattr(module, name)
    return function
