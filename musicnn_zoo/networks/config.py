"""A model as data: the table of blocks, configurations, thresholds and provenance.

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

A preset, a saved model and a user's own variant are all a :class:`ModelConfig`;
:func:`musicnn_zoo.build_model` turns any of them into a Keras model.
"""

from __future__ import annotations

import importlib
import json
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from math import isfinite
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from musicnn_zoo.errors import (
    ArgumentError,
    UnknownNameError,
    answered,
    check_choice,
    check_entries,
    check_whole,
    finite,
    shown,
)
from musicnn_zoo.networks.patches import PatchGrid as PatchGrid
from musicnn_zoo.networks.patches import PatchStream as PatchStream
from musicnn_zoo.networks.patches import patch_at as patch_at
from musicnn_zoo.sound.decoders import HIGHEST_RATE
from musicnn_zoo.text import shortened

LARGEST = 2**24
"""Of whole numbers: more filters, frames or units than any layer that fits a memory."""


def is_of_type(value: object, declared: Any) -> bool:
    """Whether a value made of JSON's types, with tuples for lists, is of an annotated type.

    The annotation is made of ``int``, ``float``, ``bool``, ``str``, ``None``, ``Literal``, unions,
    ``tuple[…]`` and ``Sequence[…]``. A boolean is no number, a whole number is a ``float`` too,
    numbers are finite, and whole ones within plus and minus 2**24.
    """
    origin, inner = get_origin(declared), get_args(declared)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in inner)
    if origin in (Union, types.UnionType):
        return any(is_of_type(value, one) for one in inner)
    if origin is tuple:
        return (
            isinstance(value, tuple)
            and len(value) == len(inner)
            and all(map(is_of_type, value, inner))
        )
    if origin is Sequence:
        return isinstance(value, tuple) and all(is_of_type(item, inner[0]) for item in value)
    if declared in (int, float):
        if isinstance(value, int):
            return not isinstance(value, bool) and abs(value) <= LARGEST
        return declared is float and isinstance(value, float) and isfinite(value)
    return isinstance(value, type(None) if declared is None else declared)


def type_name(declared: Any) -> str:
    """Write an annotation as the documentation does."""
    origin, inner = get_origin(declared), get_args(declared)
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin in (Union, types.UnionType):
        return " or ".join(map(type_name, inner))
    if origin is tuple:
        return f"({', '.join(map(type_name, inner))})"
    if origin is Sequence:
        return f"a list of {type_name(inner[0])}"
    names = {
        int: "a whole number", float: "a finite number", str: "a string", bool: "a boolean",
        type(None): "None",
    }  # fmt: skip
    return names.get(declared, f"a {declared.__name__}")


Role = Literal["frontend", "midend", "backend"]
Shape = Literal["waveform", "map", "sequence", "tags"]


@dataclass(frozen=True)
class BlockSpec:
    """One row of :data:`BLOCKS`.

    Parameters
    ----------
    role : {"frontend", "midend", "backend"}
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
    bands : int
        Mel bands that a front-end is given if nobody says how many.
    domain_knowledge, shapes : str
        Of a front-end: the answers to the tutorial's questions, whether domain knowledge went
        into the design, and how many filter shapes the first layer has.
    """

    role: Role
    takes: Shape
    gives: Shape
    paper: str
    endpoints: tuple[str, ...] = ()
    endpoints_if: Mapping[tuple[str, object], tuple[str, ...]] = field(default_factory=dict)
    fixed_length: bool = False
    takes_any: bool = False
    framewise: Literal["scores", "head"] | None = None
    bands: int = 96
    domain_knowledge: bool = False
    shapes: Literal["minimal", "one", "many"] = "minimal"

    @property
    def module(self) -> str:
        """Module of ``musicnn_zoo.networks`` that holds the function of the block's name."""
        return "backends" if self.role == "backend" else "frontends"

    def endpoints_of(self, options: Mapping[str, object]) -> tuple[str, ...]:
        """Endpoints of the block under ``options``."""
        for choice, endpoints in self.endpoints_if.items():
            if choice in options.items():
                return endpoints
        return self.endpoints


def _frontend(takes: Shape, gives: Shape, paper: str, **more: Any) -> BlockSpec:
    return BlockSpec("frontend", takes, gives, paper, **more)


def _midend(paper: str) -> BlockSpec:
    endpoints = ("cnn1", "cnn2", "cnn3")
    return BlockSpec("midend", "sequence", "sequence", paper, endpoints=endpoints)


def _backend(paper: str, *pools: str, **more: Any) -> BlockSpec:
    takes: Shape = "map" if more.get("fixed_length") else "sequence"
    endpoints = (*pools, "penultimate")
    return BlockSpec("backend", takes, "tags", paper, endpoints=endpoints, **more)


BLOCKS: dict[str, BlockSpec] = {
    "sample_level": _frontend("waveform", "sequence", "Lee et al. 2017; Kim et al. 2018"),
    "frame_level": _frontend(
        "waveform", "sequence", "Dieleman & Schrauwen 2014", domain_knowledge=True, shapes="one",
    ),
    "frame_level_multiscale": _frontend(
        "waveform", "sequence", "Zhu et al. 2016", domain_knowledge=True, shapes="many",
    ),
    "vgg": _frontend(
        "map", "map", "Pons & Serra 2019", endpoints=("pool1", "pool2", "pool3", "pool4", "pool5"),
    ),
    "rectangular": _frontend("map", "map", "Choi et al. 2016"),
    "short_chunk": _frontend("map", "map", "Won et al. 2020", bands=128),
    "vertical": _frontend(
        "map", "sequence", "Lee et al. 2009; Dieleman & Schrauwen 2014",
        domain_knowledge=True, shapes="one",
    ),
    "timbral": _frontend(
        "map", "sequence", "Pons et al. 2017",
        endpoints=("timbral",), domain_knowledge=True, shapes="one",
    ),
    "horizontal": _frontend(
        "map", "map", "Schlüter & Böck 2014", domain_knowledge=True, shapes="one",
    ),
    "timbral_temporal": _frontend(
        "map", "sequence", "Pons et al. 2016",
        endpoints=("timbral", "temporal"), domain_knowledge=True, shapes="many",
    ),
    "dense_residual": _midend("Pons & Serra 2019"),
    "residual": _midend("Pons et al. 2018"),
    "temporal_pooling": _backend(
        "Dieleman & Schrauwen 2014; Pons et al. 2018", "mean_pool", "max_pool",
        endpoints_if={
            ("mode", "max"): ("max_pool", "penultimate"),
            ("mode", "mean"): ("mean_pool", "penultimate"),
        },
    ),
    "autopool": _backend("McFee et al. 2018", framewise="scores"),
    "attention": _backend("Raffel 2016", "attention_pool", framewise="head"),
    "recurrent": _backend("Vogl et al. 2018; Choi et al. 2017", "last_state"),
    "self_attention": _backend("Won et al. 2019", "class_token"),
    "fully_convolutional": _backend("Choi et al. 2016", fixed_length=True),
    "mlp": _backend("Schlüter & Böck 2014", fixed_length=True, takes_any=True),
}  # fmt: skip
"""All blocks by name."""


def block_spec(name: str, role: Role) -> BlockSpec:
    """Look up one block, or raise an UnknownNameError if there is none of that role."""
    spec = BLOCKS.get(name)
    if spec is None or spec.role != role:
        raise UnknownNameError(role, shortened(name, 80), block_names(role))
    return spec


def block_names(role: Role) -> list[str]:
    """Names of all blocks of one role."""
    return [name for name, spec in BLOCKS.items() if spec.role == role]


def list_frontends() -> list[str]:
    """Names of the front-ends that :func:`musicnn_zoo.build_model` takes.

    Examples
    --------
    >>> import musicnn_zoo
    >>> musicnn_zoo.list_frontends()[:3]
    ['sample_level', 'frame_level', 'frame_level_multiscale']
    """
    return block_names("frontend")


def list_midends() -> list[str]:
    """Names of the mid-ends, which may stand between a front-end and a back-end."""
    return block_names("midend")


@answered
def list_backends(frontend: str | None = None) -> list[str]:
    """Names of the back-ends that :func:`musicnn_zoo.build_model` takes.

    Parameters
    ----------
    frontend : str, optional
        List only those that can follow this front-end.

    Raises
    ------
    UnknownNameError
        If there is no such front-end.

    Examples
    --------
    >>> import musicnn_zoo
    >>> "fully_convolutional" in musicnn_zoo.list_backends("vertical")
    False
    """
    names = block_names("backend")
    if frontend is None:
        return names
    if not isinstance(frontend, str):
        check_choice("frontend", frontend, list_frontends())
    gives = block_spec(frontend, "frontend").gives
    return [name for name in names if _fits(gives, block_spec(name, "backend"))]


def _fits(given: Shape, spec: BlockSpec) -> bool:
    """Whether a block takes a tensor of a shape; bands and channels of a map may be merged."""
    merges = spec.takes == "sequence" and given == "map"
    return spec.takes == given or merges or (spec.takes_any and given == "sequence")


def block_function(name: str, role: Role) -> Callable[..., Any]:
    """Import and return the function that builds block ``name`` (imports Keras)."""
    module = importlib.import_module(f"musicnn_zoo.networks.{block_spec(name, role).module}")
    function: Callable[..., Any] = getattr(module, name)
    return function


Calibrated = Literal["calibrated"]
CALIBRATED: Calibrated = "calibrated"
"""What to pass as ``threshold`` for a model's own thresholds."""

_LONGEST_ORIGIN = 1000


@dataclass(frozen=True)
class TagThresholds:
    """A threshold for each tag of a model.

    Parameters
    ----------
    values : tuple of float or None
        In the order of the model's tags, between 0 and 1. A tag is given if its score, averaged
        over the patches of a track, is at least this; a tag with None never is.
    origin : str
        How and on which tracks they were found.

    Raises
    ------
    ArgumentError
        If a threshold is no number between 0 and 1.
    """

    values: tuple[float | None, ...]
    origin: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(map(_threshold, self.values)))
        if not isinstance(self.origin, str) or len(self.origin) > _LONGEST_ORIGIN:
            raise ArgumentError(
                f"the origin of thresholds must be a text of at most {_LONGEST_ORIGIN} characters; "
                f"received {str(self.origin)[:60]!r}"
            )

    def __len__(self) -> int:
        return len(self.values)

    def to_dict(self, tags: Sequence[str]) -> dict[str, Any]:
        """Return ``{"thresholds": {tag: number or None}, "from": origin}``, ready for JSON."""
        by_tag = dict(zip(tags, self.values, strict=True))
        return {"thresholds": by_tag, "from": self.origin}

    @classmethod
    def from_dict(cls, values: Any, tags: Sequence[str]) -> TagThresholds:
        """Inverse of :meth:`to_dict`; an ArgumentError says what is unknown, missing or wrong."""
        if not isinstance(values, Mapping) or set(values) != {"thresholds", "from"}:
            raise ArgumentError(
                "it must be an object with 'thresholds', a number or null by each tag, and 'from', "
                "a text"
            )
        by_tag = values["thresholds"]
        if not isinstance(by_tag, Mapping):
            raise ArgumentError(f"'thresholds' must be an object; received {by_tag!r}"[:200])
        lacking = [tag for tag in tags if tag not in by_tag]
        known = set(tags)
        unknown = [tag for tag in by_tag if tag not in known]
        if lacking or unknown:
            what = f"lacks {lacking[0]!r}" if lacking else f"has {unknown[0]!r}, which is no tag"
            raise ArgumentError(f"'thresholds' must name the tags of the model; it {what}")
        return cls(tuple(by_tag[tag] for tag in tags), values["from"])

    def describe(self) -> str:
        """Return a summary in words."""
        known = sum(value is not None for value in self.values)
        return f"for {known} of {len(self)} tags, {self.origin or 'not stated how found'}"


def own_thresholds(thresholds: TagThresholds | None, model: str) -> TagThresholds:
    """Return the thresholds of a model, or say how to find some."""
    if thresholds is None:
        raise ArgumentError(
            f"{model} has no calibrated thresholds; find them on a validation split with "
            "'musicnn-zoo evaluate FOLDER DATA --store-thresholds' or "
            "musicnn_zoo.with_thresholds(model, evaluation), or pass a number as threshold"
        )
    return thresholds


def _threshold(value: Any) -> float | None:
    if value is None:
        return None
    number = finite(value)
    if number is None or not 0 <= number <= 1:
        raise ArgumentError(
            f"a threshold must be a number between 0 and 1, or none; received {str(value)[:40]!r}"
        )
    return float(number)


@dataclass(frozen=True)
class Provenance:
    """What is known of trained weights besides what they compute.

    Parameters
    ----------
    trained_on : str
        The training data.
    metrics : mapping of str to float
        ``roc_auc`` and ``pr_auc`` in percent, macro-averaged over the tags, the patches of a
        track averaged.
    test_set : str
        What the metrics were measured on.
    source, license, citation : str
        Of the weights; the licence by its SPDX name.
    notice : str
        What must go with every copy: copyright and permission.
    """

    trained_on: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    test_set: str = ""
    source: str = ""
    license: str = ""
    citation: str = ""
    notice: str = ""

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name != "metrics" and not isinstance(value, str):
                raise ArgumentError(
                    f"provenance {entry.name!r} must be a string; received {shown(value)}"
                )
        metrics = self.metrics
        if not isinstance(metrics, Mapping) or None in map(finite, metrics.values()):
            raise ArgumentError(f"provenance 'metrics' must be numbers; received {shown(metrics)}")
        figures = {str(name): float(figure) for name, figure in metrics.items()}
        object.__setattr__(self, "metrics", figures)

    def to_dict(self) -> dict[str, Any]:
        """Return strings and numbers, ready for JSON."""
        return {**asdict(self), "metrics": dict(self.metrics)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Provenance:
        """Inverse of :meth:`to_dict`; an ArgumentError says what is unknown, missing or wrong."""
        return cls(**check_entries(values, cls, "a provenance"))


SHORTEST_WINDOW, LONGEST_WINDOW = 16, 2**14
"""In samples. A spectrum of fewer has too few bins to speak of; the longest is 0.34 s at 48 kHz."""
MOST_WINDOWS = 16
LONGEST_PATCH = 2**28
"""In samples: more than an hour at 48 kHz, 1 GiB."""
MOST_TAGS = 100_000
"""Several times what the largest vocabularies of music hold."""


OutputActivation = Literal["sigmoid", "softmax"] | None

Option = str | int | float | bool | None | tuple["Option", ...]


@dataclass(frozen=True)
class Block:
    """A block by name, with the options that differ from its function's defaults.

    Parameters
    ----------
    kind : str
        Name in :data:`musicnn_zoo.networks.config.BLOCKS`.
    options : tuple of (str, value)
        Keyword arguments of the block's function, sorted by name. Use :func:`block` to
        write them as keywords.
    """

    kind: str
    options: tuple[tuple[str, Option], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"kind": …, option: value, …}``, ready for JSON."""
        return {"kind": self.kind, **{name: _thaw(value) for name, value in self.options}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Block:
        """Inverse of :meth:`to_dict`."""
        if not isinstance(values, Mapping) or not isinstance(values.get("kind"), str):
            raise ArgumentError(
                f"a block needs a 'kind' that is a string; received {shown(values)}"
            )
        return block(**values)


def block(kind: str, **options: Any) -> Block:
    """Write a :class:`Block` with its options as keywords: ``block("vgg", filters=128)``."""
    return Block(kind, tuple(sorted((name, _freeze(value)) for name, value in options.items())))


def _check_fields(config: Any, **bounds: tuple[int, int]) -> None:
    """Check the fields of a dataclass by their annotations, and make numbers Python's own.

    A whole number must be within its ``bounds``, a ``float`` finite and from 0 on. Tuples are left
    to the caller.
    """
    declared = get_type_hints(type(config))
    for name in (entry.name for entry in fields(config)):
        value = getattr(config, name)
        if name in bounds:
            object.__setattr__(config, name, check_whole(name, value, *bounds[name]))
        elif declared[name] is float:
            number = finite(value)
            if number is None or number < 0:
                raise ArgumentError(f"{name} must be a number from 0 on; received {shown(value)}")
            object.__setattr__(config, name, number)
        elif get_origin(declared[name]) is not tuple and not is_of_type(value, declared[name]):
            expected = type_name(declared[name])
            raise ArgumentError(f"{name} must be {expected}; received {shown(value)}")


@dataclass(frozen=True)
class WaveformInput:
    """The raw waveform.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    """

    kind: ClassVar[str] = "waveform"

    sample_rate: int = 16000

    def __post_init__(self) -> None:
        _check_fields(self, sample_rate=(1, HIGHEST_RATE))

    def grid(self, patch: int) -> PatchGrid:
        """Patches of so many samples, one after the other."""
        return PatchGrid(
            patch, patch, frame_hop=1, window=1, padding=0, sample_rate=self.sample_rate
        )


@dataclass(frozen=True)
class LogMelInput:
    """Log-mel spectrogram of the waveform, computed inside the graph.

    The defaults are musicnn's input representation.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    n_fft, hop : int
        Length and step of the periodic Hann window, in samples. A step longer than the window
        leaves samples out.
    n_mels : int
        Number of mel bands. Those that are narrower than a bin of the spectrum may stay empty.
    f_min, f_max : float
        Edges of the lowest and the highest band, in Hz.
    mel_scale : {"slaney", "htk"}
        Formula of the mel scale.
    mel_norm : {"slaney"} or None
        Divide each filter by its width in Hz, or let all peak at 1.
    compression : {"log10", "decibel"}
        ``log10(10000 x + 1)`` or ``10 log10(max(x, 1e-10))`` of the mel power ``x``.
    shorter_windows : tuple of int
        Lengths below ``n_fft`` of further windows. Each gives a spectrogram of its own, centred
        on the same frames, as one more channel before that of ``n_fft``.
    padding : {"constant", "reflect"} or None
        Put ``n_fft // 2`` zeros, or the reflected signal, on both sides of the input inside
        the graph. With None the graph pads nothing: the frames of a patch are then those of
        the whole signal, which is padded once where it is cut into patches.
    normalization : {"batchnorm", "standardize"} or None
        What stands between the log-mel and the front-end: BatchNorm of each channel, or every
        band brought to zero mean and unit variance with statistics of the training data
        (:func:`musicnn_zoo.networks.build.adapt`).
    bn_epsilon : float
        What that BatchNorm adds to the variance.
    """

    kind: ClassVar[str] = "logmel"

    sample_rate: int = 16000
    n_fft: int = 512
    hop: int = 256
    n_mels: int = 96
    f_min: float = 0.0
    f_max: float = 8000.0
    mel_scale: Literal["slaney", "htk"] = "slaney"
    mel_norm: Literal["slaney"] | None = "slaney"
    compression: Literal["log10", "decibel"] = "log10"
    shorter_windows: tuple[int, ...] = ()
    padding: Literal["constant", "reflect"] | None = None
    normalization: Literal["batchnorm", "standardize"] | None = "batchnorm"
    bn_epsilon: float = 1e-3

    def __post_init__(self) -> None:
        _check_fields(
            self,
            sample_rate=(1, HIGHEST_RATE),
            n_fft=(SHORTEST_WINDOW, LONGEST_WINDOW),
            hop=(1, LONGEST_PATCH),
            n_mels=(1, LONGEST_WINDOW),
        )
        windows = self.shorter_windows
        if (
            isinstance(windows, str)
            or not isinstance(windows, Collection)
            or len(windows) > MOST_WINDOWS
        ):
            raise ArgumentError(
                f"shorter_windows must be at most {MOST_WINDOWS} lengths; received {shown(windows)}"
            )
        lengths = [
            check_whole("shorter_windows", w, SHORTEST_WINDOW, LONGEST_WINDOW) for w in windows
        ]
        object.__setattr__(self, "shorter_windows", tuple(lengths))
        if any(window > self.n_fft for window in self.shorter_windows):
            raise ArgumentError(
                f"shorter_windows must be at most n_fft={self.n_fft}; "
                f"received {self.shorter_windows}"
            )
        if self.f_max > self.sample_rate / 2:
            raise ArgumentError(
                f"f_max must be at most half the sample rate, {self.sample_rate / 2} Hz; "
                f"received {self.f_max}"
            )
        if self.f_min >= self.f_max:
            raise ArgumentError(
                f"f_min must be below f_max={self.f_max}; received f_min={self.f_min}"
            )

    def grid(self, patch: int) -> PatchGrid:
        """Patches of so many frames, or samples where the graph pads, one after the other."""
        if self.padding is not None:
            return WaveformInput(self.sample_rate).grid(patch)
        return PatchGrid(
            patch, patch, frame_hop=self.hop, window=self.n_fft, padding=self.n_fft // 2,
            sample_rate=self.sample_rate,
        )  # fmt: skip

    def frames(self, samples: int) -> int:
        """Frames that the graph makes of an input of ``samples`` samples."""
        usable = samples - self.n_fft
        if self.padding is not None:
            usable += 2 * (self.n_fft // 2)
        return usable // self.hop + 1 if usable >= 0 else 0


Input = WaveformInput | LogMelInput
INPUTS = {kind.kind: kind for kind in (WaveformInput, LogMelInput)}


def _input_from_dict(values: Mapping[str, Any]) -> Input:
    if not isinstance(values, Mapping):
        raise ArgumentError(f"an input must be an object with a 'kind'; received {shown(values)}")
    options = dict(values)
    kind = options.pop("kind", None)
    if kind is None:
        raise ArgumentError(f"an input needs a 'kind': one of {', '.join(INPUTS)}")
    if not isinstance(kind, str) or kind not in INPUTS:
        raise UnknownNameError("input", shortened(str(kind), 80), INPUTS)
    return INPUTS[kind](**check_entries(options, INPUTS[kind], "an input"))


@dataclass(frozen=True)
class ModelConfig:
    """Everything that defines a model except its tags and its weights.

    Parameters
    ----------
    input : LogMelInput or WaveformInput
    frontend, backend : Block
    midend : Block or None
    patch : int
        Length of the input that the model was or will be trained on: in frames for a log-mel
        that the graph does not pad, else in samples.
    activation : {"sigmoid", "softmax"} or None
        Of the output; None gives logits.

    Raises
    ------
    UnknownNameError
        If there is no such block.
    ArgumentError
        If two blocks do not fit together, or a value cannot be; the message says why.
    """

    input: Input
    frontend: Block
    backend: Block
    midend: Block | None = None
    patch: int = 187
    activation: OutputActivation = "sigmoid"

    def __post_init__(self) -> None:
        _check_fields(self, patch=(1, LONGEST_PATCH))
        samples = self.input.grid(self.patch).patch_samples
        if samples > LONGEST_PATCH:
            raise ArgumentError(
                f"patch must be at most {LONGEST_PATCH} samples long; received {self.patch} "
                f"frames, which are {samples} samples"
            )
        chain = [(chosen.kind, block_spec(chosen.kind, role)) for role, chosen in self.blocks()]
        given: Shape = "waveform" if self.input.kind == "waveform" else "map"
        giver = "the input"
        for name, spec in chain:
            if not _fits(given, spec):
                raise ArgumentError(
                    f"{spec.role} {name!r} takes a {spec.takes}, but {giver} gives a {given}: "
                    + _REMEDY[spec.takes]
                )
            given, giver = spec.gives, f"{spec.role} {name!r}"

    def blocks(self) -> list[tuple[Role, Block]]:
        """Front-end, mid-end if there is one, and back-end."""
        chain: list[tuple[Role, Block | None]] = [
            ("frontend", self.frontend), ("midend", self.midend), ("backend", self.backend),
        ]  # fmt: skip
        return [(role, chosen) for role, chosen in chain if chosen is not None]

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Names of the layers that `features` offers, in order of depth."""
        return tuple(
            name
            for role, chosen in self.blocks()
            for name in block_spec(chosen.kind, role).endpoints_of(dict(chosen.options))
        )

    @cached_property
    def fixed_length(self) -> bool:
        """Whether the model takes patches of one length only."""
        return any(block_spec(chosen.kind, role).fixed_length for role, chosen in self.blocks())

    @cached_property
    def grid(self) -> PatchGrid:
        """Patches as the model was or will be trained on, one after the other."""
        return replace(self.input.grid(self.patch), fixed_length=self.fixed_length)

    def to_dict(self) -> dict[str, Any]:
        """Return nested dicts, lists and numbers, ready for JSON."""
        signal = {name: _thaw(value) for name, value in asdict(self.input).items()}
        return {
            "input": {"kind": self.input.kind, **signal},
            "frontend": self.frontend.to_dict(),
            "midend": self.midend.to_dict() if self.midend else None,
            "backend": self.backend.to_dict(),
            "patch": self.patch,
            "activation": self.activation,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Inverse of :meth:`to_dict`; an ArgumentError says what is unknown, missing or wrong."""
        given = check_entries(values, cls, "a model configuration")
        if "input" in given:
            given["input"] = _input_from_dict(given["input"])
        for part in ("frontend", "midend", "backend"):
            if given.get(part) is not None:
                given[part] = Block.from_dict(given[part])
        missing = [name for name in ("input", "frontend", "backend") if name not in given]
        if missing:
            raise ArgumentError(f"the model configuration lacks {missing[0]!r}")
        return cls(**given)

    def to_json(self) -> str:
        """Return the configuration as a JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Inverse of :meth:`to_json`."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ArgumentError(f"the model configuration is not JSON: {error}") from error
        return cls.from_dict(values)


def patch_grid(
    config: ModelConfig, *, patch_s: float | None = None, hop_s: float | None = None
) -> PatchGrid:
    """Grid of a model, in the frames of its input; see :meth:`PatchGrid.of_lengths`."""
    return config.grid.of_lengths(patch_s, hop_s)


@dataclass(frozen=True)
class ModelSpec:
    """What a model computes, without its weights.

    ``tags`` are in the order of the outputs. ``thresholds`` say from what score on each tag is
    given, if that was calibrated; an ArgumentError is raised if there is not one for each tag.
    """

    name: str
    config: ModelConfig
    tags: tuple[str, ...]
    thresholds: TagThresholds | None = None

    def __post_init__(self) -> None:
        if self.thresholds is not None and len(self.thresholds) != len(self.tags):
            raise ArgumentError(
                f"{self.name}: thresholds must be one for each of the {len(self.tags)} tags; "
                f"received {len(self.thresholds)}"
            )

    @cached_property
    def spectrogram(self) -> LogMelInput | None:
        """What the model looks at, if that is a log-mel spectrogram."""
        return self.config.input if isinstance(self.config.input, LogMelInput) else None


def checked_tags(tags: Any) -> tuple[str, ...]:
    """Return the tags of a model: one or more different strings, not too many of them."""
    if isinstance(tags, str) or not isinstance(tags, Sequence):
        raise ArgumentError(f"tags must be a list of different names; received {shown(tags)}")
    if len(tags) > MOST_TAGS:
        raise ArgumentError(f"tags must be at most {MOST_TAGS:,}; received {len(tags):,}")
    if not all(isinstance(tag, str) and tag for tag in tags) or not 0 < len(set(tags)) == len(tags):
        raise ArgumentError(
            f"tags must be one or more different names, which are strings; received {shown(tags)}"
        )
    return tuple(tags)


_REMEDY = {
    "waveform": "give it input=WaveformInput()",
    "map": "choose a front-end that keeps the bands, or for spectrograms input=LogMelInput()",
}


def _freeze(value: Any) -> Option:
    if isinstance(value, list | tuple):
        return tuple(_freeze(item) for item in value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise ArgumentError(
        f"a block option must be a string, number, boolean, None or a list of those; "
        f"received {shown(value)} of type {type(value).__name__}"
    )


def _thaw(value: Any) -> Any:
    return [_thaw(item) for item in value] if isinstance(value, tuple) else value
