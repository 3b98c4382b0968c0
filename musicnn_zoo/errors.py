"""Errors that this package raises on purpose.

Every one derives from :class:`MusicnnZooError`, so a caller that wants to go on after a
bad file or a bad argument catches that one class. The command line shows the message
alone; a message therefore says what was wrong, what was received and what to do. The checks
of arguments that many functions share stand here too.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, NoReturn, ParamSpec, TypeVar

Params = ParamSpec("Params")
Returned = TypeVar("Returned")

_LONGEST_SHOWN = 200
_LONGEST_NAME = 80


class MusicnnZooError(Exception):
    """Base of all errors raised by musicnn_zoo."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Go to other processes as it is, whatever arguments its class takes."""
        return _remade, (type(self), self.args, self.__dict__)


def _remade(kind: type[MusicnnZooError], said: tuple[Any, ...], state: dict[str, Any]) -> Any:
    error = kind.__new__(kind, *said)
    error.__dict__.update(state)
    return error


class ArgumentError(MusicnnZooError, ValueError):
    """An argument has a value that cannot be used."""


class UnknownNameError(ArgumentError):
    """A model, block, layer or option name that does not exist.

    Parameters
    ----------
    what : str
        What the name should have named, for instance ``"model"``.
    name : str
        The name received.
    known : iterable of str
        The names that exist; the nearest ones are suggested.
    """

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        candidates = sorted(known)
        by_lower = {candidate.lower(): candidate for candidate in candidates}
        near = difflib.get_close_matches(str(name).lower(), list(by_lower), n=3, cutoff=0.5)
        if near:
            hint = "did you mean " + " or ".join(by_lower[match] for match in near) + "?"
        elif candidates:
            hint = "known are: " + ", ".join(candidates)
        else:
            hint = "there are none here"
        super().__init__(f"unknown {what} {name!r}; {hint}")


class UnknownKeyError(UnknownNameError, KeyError):
    """A tag or layer that a result does not have."""

    __str__ = Exception.__str__


class AudioError(MusicnnZooError):
    """A file, file object or array that cannot be used as audio."""


class RemoteError(AudioError):
    """A file or a folder at an address that cannot be reached, listed or read."""


class DecoderCrashError(AudioError):
    """A file that ended the process which decoded it, twice."""


class DecoderTimeoutError(AudioError):
    """A file from which the decoder returned nothing for a long time."""


class WeightsError(MusicnnZooError):
    """A weights file that is missing, damaged or does not fit its model."""


class DownloadError(MusicnnZooError):
    """A file that cannot be downloaded from the Hugging Face Hub or from another address."""


class UploadError(MusicnnZooError):
    """A model that the Hugging Face Hub does not accept."""


class ExportError(MusicnnZooError):
    """A model that cannot be converted to another format."""


class MissingPackageError(MusicnnZooError, ImportError):
    """A package that is needed and not installed; the message has the command that installs it."""


class TrainingError(MusicnnZooError):
    """Training that cannot go on."""


class OutputError(MusicnnZooError):
    """An output that cannot be written or read any more, for instance on a full disk."""


class ClusterError(MusicnnZooError):
    """A cluster that cannot be reached, or on which a run cannot go on."""


class DeviceError(ArgumentError):
    """A device that is not there, or cannot compute in this process."""


def shown(value: object) -> str:
    """Write a value for a message, in short and on one line."""
    try:
        text = " ".join(map(str.strip, repr(value).splitlines()))
    except (ValueError, RecursionError):  # a number of thousands of digits, a list in itself
        text = f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def finite(value: object) -> int | float | None:
    """Return a finite number as one of Python's, and None for all else; a boolean is no number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    number = int(value) if isinstance(value, Integral) else float(value)
    return number if abs(number) <= sys.float_info.max else None


def check_whole(name: str, value: object, least: int = 1, most: int | None = None) -> int:
    """Return a whole number within its bounds as an ``int``; ``True`` and 2.0 are none.

    Raises
    ------
    ArgumentError
        If it is none, or out of bounds. This holds for all checks of this module.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ArgumentError(f"{name} must be a whole number; received {shown(value)}")
    number = int(value)
    if number < least:
        raise ArgumentError(f"{name} must be at least {least}; received {shown(value)}")
    if most is not None and number > most:
        raise ArgumentError(f"{name} must be at most {most}; received {shown(value)}")
    return number


def check_number(
    name: str, value: object, *, least: float | None = None, above: float | None = None
) -> float:
    """Return a finite number within its bounds as a ``float``; ``True`` is none."""
    number = finite(value)
    if number is None:
        raise ArgumentError(f"{name} must be a finite number; received {shown(value)}")
    if least is not None and number < least:
        raise ArgumentError(f"{name} must be at least {least}; received {shown(value)}")
    if above is not None and number <= above:
        raise ArgumentError(f"{name} must be above {above}; received {shown(value)}")
    return float(number)


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Refuse a value that is not one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ArgumentError(f"{name} must be one of {', '.join(choices)}; received {shown(value)}")


def check_path(name: str, value: object) -> None:
    """Refuse what is no path."""
    if not isinstance(value, str | os.PathLike):
        raise ArgumentError(f"{name} must be a path; received {shown(value)}")


def listed(name: str, value: object) -> tuple[str, ...]:
    """Return a text, or several, as texts; refuse all else."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Iterable):
        several = tuple(value)
        if all(isinstance(each, str) for each in several):
            return several
    raise ArgumentError(f"{name} must be a text, or a list of texts; received {shown(value)}")


def check_entries(values: object, of: type, what: str) -> dict[str, Any]:
    """Return the entries of a JSON object that stands for a dataclass."""
    if not isinstance(values, Mapping):
        raise ArgumentError(f"{what} must be an object; received {shown(values)}")
    known = {entry.name for entry in fields(of)}
    for name in values:
        if name not in known:
            raise UnknownNameError(f"{of.__name__} entry", str(name)[:_LONGEST_NAME], known)
    return dict(values)


_KEYWORDS_ELSEWHERE = {
    "audio_path": ("audio",),
    "classes": ("tags",),
    "begin": ("offset",),
    "cuts": ("patch_s",),
    "dur": ("duration",),
    "duration_s": ("duration",),
    "length": ("duration",),
    "seconds": ("duration",),
    "start": ("offset",),
    "start_s": ("offset",),
    "filename": ("audio",),
    "file": ("audio",),
    "filter": ("pattern",),
    "fs": ("sample_rate", "target_rate"),
    "hop": ("hop_s",),
    "hop_length": ("hop_s",),
    "input_length": ("patch_s",),
    "input_overlap": ("hop_s",),
    "k": ("top_k",),
    "max_workers": ("jobs",),
    "min_score": ("threshold",),
    "model_id": ("model",),
    "model": ("models",),
    "model_name": ("model",),
    "n": ("k", "top_k"),
    "n_jobs": ("jobs",),
    "name": ("model",),
    "num_workers": ("jobs",),
    "num_classes": ("tags",),
    "overlap": ("hop_s",),
    "path": ("audio", "paths"),
    "pool": ("pooling",),
    "rate": ("sample_rate", "target_rate"),
    "sampling_rate": ("sample_rate", "target_rate"),
    "sr": ("sample_rate", "target_rate"),
    "target_sr": ("target_rate",),
    "threads": ("jobs",),
    "topk": ("top_k",),
    "topn": ("top_k",),
    "top_n": ("top_k",),
    "window": ("patch_s",),
    "workers": ("jobs",),
}
"""What options are called in librosa, soundfile, scikit-learn, Keras, PyTorch and musicnn."""

_NOT_HERE = {
    "batch_size": "Tagger(batch_size=…) takes it",
    "duration": "load_audio takes it, and its result can be given here",
    "offset": "load_audio takes it, and its result can be given here",
    "precision": "Tagger(precision=…) takes it",
    "tags": "finetune_model gives a pretrained model other tags",
    "top_k": "tag takes it",
}
"""Options of other calls than those that people look for them in."""

_NAMES_ELSEWHERE = {
    "analyze": ("tag",),
    "available_models": ("list_models",),
    "best": ("top",),
    "classify": ("tag",),
    "columns": ("tags",),
    "df": ("to_pandas",),
    "download": ("load_model",),
    "duration": ("duration_s",),
    "embedding": ("embed",),
    "embeddings": ("embed",),
    "encode": ("embed",),
    "events_files": ("Tagger",),
    "extract": ("embed",),
    "extractor": ("taggram",),
    "finetune": ("finetune_model",),
    "from_pretrained": ("load_model",),
    "get_audio_embedding": ("embed",),
    "get_embedding": ("embed",),
    "get_model": ("load_model",),
    "labels": ("tags",),
    "load": ("load_model",),
    "model": ("load_model",),
    "models": ("list_models",),
    "most_common": ("top",),
    "name": ("spec",),
    "names": ("tags",),
    "numpy": ("values",),
    "plot": ("plots",),
    "predict": ("tag",),
    "read": ("load_audio",),
    "sr": ("sample_rate",),
    "taggram_files": ("Tagger",),
    "tags": ("names",),
    "to_csv": ("to_pandas",),
    "to_dataframe": ("to_pandas",),
    "to_df": ("to_pandas",),
    "to_numpy": ("values", "scores"),
    "top_tags": ("tag",),
    "train": ("train_model",),
    "transcribe": ("tag",),
    "vector": ("values",),
}
"""What people look for who know musicnn, openl3, Keras, scikit-learn, Whisper or timm."""


def answered(function: Callable[Params, Returned]) -> Callable[Params, Returned]:
    """Have a function answer options by wrong names, and options that are not named.

    A ``TypeError`` then says which option may be meant.
    """
    parameters = inspect.signature(function).parameters.values()
    named = {each.name for each in parameters}
    positional = [each.name for each in parameters if each.kind == each.POSITIONAL_OR_KEYWORD]
    name = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]

    @functools.wraps(function)
    def called(*args: Params.args, **options: Params.kwargs) -> Returned:
        if len(args) > len(positional) or not named.issuperset(options):
            _refuse_call(name, positional, named, args, options)
        return function(*args, **options)

    return called


_OF_ARRAYS = frozenset(
    {
        "T", "argmax", "argsort", "astype", "copy", "dot", "dtype", "flatten", "max", "mean", "min",
        "ndim", "ravel", "reshape", "squeeze", "std", "sum", "transpose", "tolist",
    }
)  # fmt: skip
_PARTS = {
    "clip": frozenset({"damaged", "duration_s", "lost_s", "repeated", "silent", "source"}),
    "value": frozenset({"clip", "items", "names", "scores", "tags", "top", "values"}),
    "values": _OF_ARRAYS,
    "scores": _OF_ARRAYS,
}
"""What people look for on a result that is an attribute of one of its parts."""

_ALIKE = 0.75
"""How alike names must be for one to be taken for the other."""
_LIKE_A_RATE = 1000
"""Numbers from here on are taken for a sample rate, smaller ones for a count."""


def _likely_options(value: object) -> tuple[str, ...]:
    """Return what a value that was not named may be meant for."""
    number = finite(value)
    if number is not None and number >= _LIKE_A_RATE:
        return "target_rate", "sample_rate"
    if isinstance(number, int):
        return "k", "top_k", "jobs"
    if number is not None:
        return ("threshold",)
    if isinstance(value, str) and "." in value:
        return ()
    return () if isinstance(value, list | tuple) else ("model",)


def _refuse_call(
    name: str,
    positional: list[str],
    named: set[str],
    args: tuple[object, ...],
    options: Mapping[str, object],
) -> NoReturn:
    if len(args) > len(positional):
        taken = ", ".join(each for each in positional if each != "self")
        extra = args[len(positional)]
        likely = next((each for each in _likely_options(extra) if each in named), None)
        example = f": {likely}={shown(extra)}, for instance" if likely else ""
        raise TypeError(f"{name}({taken}, …) takes options by name only{example}")
    wrong = next(option for option in options if option not in named)
    meant = _KEYWORDS_ELSEWHERE.get(wrong.lower(), ())
    near = [each for each in meant if each in named]
    near = near or difflib.get_close_matches(wrong, named, n=1, cutoff=_ALIKE)
    if near:
        hint = f"did you mean {'= or '.join(near)}=?"
    else:
        elsewhere = next((each for each in (wrong, *meant) if each in _NOT_HERE), None)
        taken = ", ".join(sorted(named - {"self"}))
        hint = _NOT_HERE[elsewhere] if elsewhere else f"it takes {taken}"
    raise TypeError(f"{name}() takes no {wrong}=; {hint}")


def no_array(holder: object, what: str, instead: str) -> TypeError:
    """Return the error for what NumPy would otherwise take for an array of one object."""
    return TypeError(f"{type(holder).__name__} is {what} and no array; did you mean {instead}?")


def one_model_hint(given: object) -> str:
    """Say how several models are used, where a call takes one."""
    if not isinstance(given, list | tuple | set | frozenset):
        return ""
    return (
        ": one call takes one model, so call it for each (listening_page(models=…) takes several)"
    )


def check_tagging_model(model: object, name: str = "model") -> None:
    """Refuse what is no model object of this package."""
    if hasattr(model, "zoo_config"):
        return
    hint = one_model_hint(model)
    if isinstance(model, str | os.PathLike):
        hint = f": load_model({os.fspath(model)!r}) gives one"
    raise ArgumentError(f"{name} must be a TaggingModel; received {shown(model)}{hint}")


def unknown_attribute(holder: object, name: str) -> AttributeError:
    """Return the error for a name that a module or an object does not have."""
    kind = type(holder).__name__
    what = "module 'musicnn_zoo'" if inspect.ismodule(holder) else f"{kind!r} object"
    hint = "" if name.startswith("_") else _meant(holder, name)
    return AttributeError(f"{what} has no attribute {name!r}{hint}", name=name, obj=holder)


def _meant(holder: object, name: str) -> str:
    known = [each for each in dir(holder) if not each.startswith("_")]
    for part in ("clip", "value", "values", "scores"):
        if part in known and name in _PARTS[part]:
            return f"; did you mean .{part}.{name}?"
    meant = [each for each in _NAMES_ELSEWHERE.get(name.lower(), ()) if each in known]
    near = meant or difflib.get_close_matches(name, known, n=1, cutoff=_ALIKE)
    return f"; did you mean {near[0]}?" if near else ""
