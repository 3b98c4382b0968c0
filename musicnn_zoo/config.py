"""A model as data: frozen configurations that go to JSON and back.

A preset, a saved model and a user's own variant are all a :class:`ModelConfig`;
:func:`musicnn_zoo.build_model` turns any of them into a Keras model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from musicnn_zoo.blocks import Role, block_spec
from musicnn_zoo.errors import ArgumentError, UnknownNameError

Compression = Literal["log10", "decibel"]
MelScale = Literal["slaney", "htk"]
Normalization = Literal["batchnorm"] | None
Padding = Literal["constant", "reflect"] | None

Option = str | int | float | bool | None | tuple["Option", ...]


@dataclass(frozen=True)
class Block:
    """A block by name, with the options that differ from its function's defaults.

    Parameters
    ----------
    kind : str
        Name in :data:`musicnn_zoo.blocks.BLOCKS`.
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
        options = {name: value for name, value in values.items() if name != "kind"}
        if not isinstance(values.get("kind"), str):
            raise ArgumentError(f"a block needs a 'kind' that is a string; received {values!r}")
        return block(values["kind"], **options)


def block(kind: str, **options: Any) -> Block:
    """Write a :class:`Block` with its options as keywords: ``block("vgg", filters=128)``."""
    return Block(kind, tuple(sorted((name, _freeze(value)) for name, value in options.items())))


@dataclass(frozen=True)
class LogMelInput:
    """Log-mel spectrogram of the waveform, computed inside the graph.

    The defaults are musicnn's input representation.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    n_fft, hop : int
        Length and step of the periodic Hann window, in samples.
    n_mels : int
        Number of mel bands.
    f_min, f_max : float
        Edges of the lowest and the highest band, in Hz.
    mel_scale : {"slaney", "htk"}
        Formula of the mel scale.
    mel_norm : {"slaney"} or None
        Divide each filter by its width in Hz, or let all peak at 1.
    compression : {"log10", "decibel"}
        ``log10(10000 x + 1)`` or ``10 log10(max(x, 1e-10))`` of the mel power ``x``.
    padding : {"constant", "reflect"} or None
        Put ``n_fft // 2`` zeros, or the reflected signal, on both sides of the input inside
        the graph. With None the graph pads nothing: the frames of a patch are then those of
        the whole signal, which is padded once by who cuts it into patches.
    normalization : {"batchnorm"} or None
        What stands between the log-mel and the front-end.
    """

    sample_rate: int = 16000
    n_fft: int = 512
    hop: int = 256
    n_mels: int = 96
    f_min: float = 0.0
    f_max: float = 8000.0
    mel_scale: MelScale = "slaney"
    mel_norm: Literal["slaney"] | None = "slaney"
    compression: Compression = "log10"
    padding: Padding = None
    normalization: Normalization = "batchnorm"

    def frames(self, samples: int) -> int:
        """Frames that the graph makes of an input of ``samples`` samples."""
        usable = samples - self.n_fft
        if self.padding is not None:
            usable += 2 * (self.n_fft // 2)
        return usable // self.hop + 1 if usable >= 0 else 0


@dataclass(frozen=True)
class ModelConfig:
    """Everything that defines a model except its tags and its weights.

    Parameters
    ----------
    input : LogMelInput
    frontend, backend : Block
    midend : Block or None
    patch : int
        Length of the input that the model was or will be trained on, in frames.
    activation : {"sigmoid", "softmax"} or None
        Of the output; None gives logits.
    """

    input: LogMelInput
    frontend: Block
    backend: Block
    midend: Block | None = None
    patch: int = 187
    activation: Literal["sigmoid", "softmax"] | None = "sigmoid"

    def __post_init__(self) -> None:
        for role, chosen in self._chain():
            block_spec(chosen.kind, role)

    def _chain(self) -> list[tuple[Role, Block]]:
        chain: list[tuple[Role, Block]] = [("frontend", self.frontend)]
        if self.midend is not None:
            chain.append(("midend", self.midend))
        chain.append(("backend", self.backend))
        return chain

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Names of the layers that `features` offers, in order of depth."""
        specs = [block_spec(chosen.kind, role) for role, chosen in self._chain()]
        return tuple(name for spec in specs for name in spec.endpoints)

    @property
    def embedding(self) -> str:
        """The endpoint that `embed` takes by default: the deepest one."""
        return self.endpoints[-1]

    @property
    def fixed_length(self) -> bool:
        """Whether the model takes patches of one length only."""
        return any(block_spec(chosen.kind, role).fixed_length for role, chosen in self._chain())

    def to_dict(self) -> dict[str, Any]:
        """Return nested dicts, lists and numbers, ready for JSON."""
        return {
            "input": asdict(self.input),
            "frontend": self.frontend.to_dict(),
            "midend": self.midend.to_dict() if self.midend else None,
            "backend": self.backend.to_dict(),
            "patch": self.patch,
            "activation": self.activation,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Inverse of :meth:`to_dict`.

        Raises
        ------
        ArgumentError
            If a key or a block is unknown, or one that is needed is missing.
        """
        _refuse_unknown(values, cls)
        given = dict(values)
        try:
            _refuse_unknown(given["input"], LogMelInput)
            given["input"] = LogMelInput(**given["input"])
            given["frontend"] = Block.from_dict(given["frontend"])
            given["backend"] = Block.from_dict(given["backend"])
            if given.get("midend") is not None:
                given["midend"] = Block.from_dict(given["midend"])
        except KeyError as error:
            raise ArgumentError(f"the model configuration lacks {error.args[0]!r}") from error
        return cls(**given)

    def to_json(self) -> str:
        """Return the configuration as a JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Inverse of :meth:`to_json`."""
        return cls.from_dict(json.loads(text))


def _refuse_unknown(values: Mapping[str, Any], of: type) -> None:
    known = {field.name for field in fields(of)}
    for name in values:
        if name not in known:
            raise UnknownNameError(f"{of.__name__} entry", name, known)


def _freeze(value: Any) -> Option:
    if isinstance(value, list | tuple):
        return tuple(_freeze(item) for item in value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise ArgumentError(
        f"a block option must be a string, number, boolean, None or a list of those; "
        f"received {value!r} of type {type(value).__name__}"
    )


def _thaw(value: Option) -> Any:
    return [_thaw(item) for item in value] if isinstance(value, tuple) else value
