"""Export models to other runtimes.

Every export is read again by its runtime and compared with the model on the signals of
:func:`musicnn_zoo.runtimes.engine.probes`, before it takes its place. A copy of a bundled graph,
which was compared with its model when it was made, is compared with that graph.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import (
    ArgumentError,
    ExportError,
    MusicnnZooError,
    OutputError,
    UnknownNameError,
    check_path,
    check_tagging_model,
)
from musicnn_zoo.files import check_parent, raising
from musicnn_zoo.networks.config import ModelSpec
from musicnn_zoo.runtimes.engine import difference, probes
from musicnn_zoo.runtimes.formats import (
    EXPORTERS,
    ExportFormat,
    Scores,
    copy_onnx,
    read_onnx,
    scores_of,
)
from musicnn_zoo.runtimes.onnx_engine import muted
from musicnn_zoo.text import first_line
from musicnn_zoo.zoo.load import find_pretrained
from musicnn_zoo.zoo.weights import bundled

if TYPE_CHECKING:
    from musicnn_zoo.networks.build import TaggingModel


_one_at_a_time = threading.RLock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings, TensorFlow's log, and what C++ writes to standard error.

    What goes wrong must be raised. It holds for the whole process; a second thread waits.
    """
    with _one_at_a_time, muted("absl", "tensorflow"), _no_standard_error():
        yield


@contextlib.contextmanager
def _no_standard_error() -> Iterator[None]:
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


EXPORT_FORMATS = tuple(EXPORTERS)
ExportPrecision = Literal["float32", "float16", "int8"]
EXPORT_PRECISIONS: tuple[ExportPrecision, ...] = get_args(ExportPrecision)
TOLERANCES = {"float32": 1e-4, "float16": 2e-2, "int8": math.inf}
"""How far the scores of an export may be from the model's."""

_ENDINGS: dict[ExportFormat, str] = {"keras": ".keras", "onnx": ".onnx", "litert": ".tflite"}
_TOP = 3
_TIE = 1e-6
_BATCH = 2


@dataclass(frozen=True)
class Export:
    """A model in a file or a folder, and how well it agrees with the Keras model.

    Parameters
    ----------
    path : Path
    format : {"keras", "savedmodel", "onnx", "litert"}
    precision : {"float32", "float16", "int8"}
        Of the weights.
    difference : float
        Largest absolute difference of a score from that of ``reference`` on the test signals; of
        logits beyond ±1, relative to the largest.
    signals : int
        How many test signals there are.
    same_top_tags : int
        Of how many of them the same three tags have the highest scores.
    size : int
        In bytes, of a folder with all that is in it.
    reference : str
        What it was compared with: ``"the Keras model"``, or for a copy ``"the bundled graph"``.
    """

    path: Path
    format: ExportFormat
    precision: ExportPrecision
    difference: float
    signals: int
    same_top_tags: int
    size: int
    reference: str = "the Keras model"

    @property
    def top_tags_unchanged(self) -> bool:
        """Whether the same three tags have the highest scores of every test signal."""
        return self.same_top_tags == self.signals

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.format}, {self.precision}, {self.size / 1e6:.1f} MB; differs from "
            f"{self.reference} by at most {self.difference:.1e}, with the same top {_TOP} tags on "
            f"{self.same_top_tags} of {self.signals} test signals"
        )


@dataclass(frozen=True)
class _Source:
    """What is exported: how it is written, and what it computes."""

    spec: ModelSpec
    reference: str
    write: Callable[[Path], None]
    scores: Scores


def export_model(
    model: str | os.PathLike[str] | TaggingModel,
    output: str | os.PathLike[str],
    *,
    format: ExportFormat | None = None,  # noqa: A002
    precision: ExportPrecision = "float32",
    overwrite: bool = False,
) -> Export:
    """Export a model for another runtime, and check that it computes the same there.

    Parameters
    ----------
    model : str, path or TaggingModel
        A model, or what :func:`musicnn_zoo.load_model` takes.
    output : str or path
        A file, or for a SavedModel a folder. It appears whole or not at all.
    format : {"keras", "savedmodel", "onnx", "litert"}, optional
        By default what the ending says: ``.keras``, ``.onnx``, ``.tflite``, or none for a
        SavedModel. All take the waveform and compute the spectrogram inside.

        ``keras``
            As ``model.save`` writes it.
        ``savedmodel``
            Signature ``serving_default``: ``waveform`` (batch, samples) → ``tags``
            (batch, tags). ``assets.extra`` holds ``metadata.json`` and ``tags.txt``.
        ``onnx``
            ``waveform`` (batch, samples) → ``output`` (batch, tags) and the model's endpoints;
            tags, sample rate, configuration and licence in the metadata. A bundled model, by its
            name, is a copy of its bundled graph, for which neither Keras nor a converter is
            needed; others need ``musicnn-zoo[onnx]``.
        ``litert``
            Signature ``serving_default``: ``waveform`` (1, samples of one patch) → ``tags``
            (1, tags). A zip archive at its end holds ``metadata.json`` and ``labels.txt``.
            Needs ``musicnn-zoo[litert]``.
    precision : {"float32", "float16", "int8"}
        Of the weights; the last two with litert only. With float16 all is computed in float32.
        With int8 the large convolutions and matrix products are computed in 8 bits, their
        inputs scaled as they come ("dynamic range"). The log-mel is always float32.
    overwrite : bool
        Replace what is there, if it is a file, an empty folder or a SavedModel.

    Returns
    -------
    Export
        With the difference found.

    Raises
    ------
    UnknownNameError
        If there is no such format, precision or model.
    ArgumentError
        If format, precision and output do not go together; if the output exists, or its folder
        does not.
    ExportError
        If the model cannot be converted, or if its scores on noise, silence and synthetic music
        differ by more than 1e-4, with float16 2e-2. With int8 there is no limit.
    OutputError
        If the output cannot be written, for instance on a full disk.
    WeightsError, DownloadError, MissingPackageError
        If the model is not loaded yet and cannot be.

    Examples
    --------
    >>> import tempfile
    >>> from musicnn_zoo.runtimes.export import export_model
    >>> export = export_model("MTT_vgg", tempfile.mkdtemp() + "/MTT_vgg.keras")
    >>> export.difference
    0.0
    """
    if not isinstance(model, str | os.PathLike):
        check_tagging_model(model)
    check_path("output", output)
    path = Path(output)
    chosen = _format_of(path, format)
    _check_precision(chosen, precision)
    _check_output(path, chosen, overwrite=overwrite)
    source = _source_of(model, chosen, precision)
    name = source.spec.name
    with (
        raising(OutputError, f"{path}: cannot be written"),
        tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder,
    ):
        unfinished = Path(folder, f"model{_ENDINGS.get(chosen, '')}")
        with quiet():
            with _explained(f"{name} cannot be exported to {chosen}"):
                source.write(unfinished)
            signals = probes(source.spec.config)
            expected = _in_batches(source.scores, signals)
            with _explained(f"{name} was exported to {chosen}, but does not run there"):
                received = _in_batches(EXPORTERS[chosen].read(unfinished), signals)
        found = difference(expected, received)
        if not (math.isfinite(found) and found <= TOLERANCES[precision]):
            raise ExportError(
                f"{name} in {chosen} ({precision}) differs from "
                f"{source.reference} by {found:.1e}, more than {TOLERANCES[precision]}"
            )
        size = _size(unfinished)
        _put(unfinished, path, Path(folder, "replaced"))
    return Export(
        path=path,
        format=chosen,
        precision=precision,
        difference=found,
        signals=len(signals),
        same_top_tags=_same_top_tags(expected, received),
        size=size,
        reference=source.reference,
    )


def _source_of(
    model: str | os.PathLike[str] | TaggingModel, chosen: ExportFormat, precision: str
) -> _Source:
    if isinstance(model, str | os.PathLike):
        pretrained = find_pretrained(model)
        if chosen == "onnx" and pretrained.graph is not None:
            graph, spec = bundled(pretrained.graph), pretrained.spec
            copy = partial(copy_onnx, graph, spec, pretrained.provenance)
            return _Source(spec, "the bundled graph", copy, read_onnx(graph))
        model = pretrained.load()
    built, exporter = model, EXPORTERS[chosen]
    return _Source(
        built.spec, "the Keras model",
        lambda path: exporter.write(built, path, precision), scores_of(built),
    )  # fmt: skip


def _format_of(path: Path, given: ExportFormat | None) -> ExportFormat:
    by_ending = next((one for one, ending in _ENDINGS.items() if path.suffix == ending), None)
    if given is None:
        if by_ending is None and path.suffix and not path.is_dir():
            raise ArgumentError(
                f"output {str(path)!r}: its ending names no format; use "
                f"{', '.join(_ENDINGS.values())}, none for a SavedModel, or say the format"
            )
        return by_ending or "savedmodel"
    if given not in EXPORT_FORMATS:
        raise UnknownNameError("export format", given, EXPORT_FORMATS)
    if by_ending != (None if given == "savedmodel" else given):
        needed = _ENDINGS.get(given, "the name of a folder, without the ending of another format")
        raise ArgumentError(f"output {str(path)!r}: the format {given} needs {needed}")
    return given


def _check_precision(chosen: ExportFormat, precision: str) -> None:
    if precision not in EXPORT_PRECISIONS:
        raise UnknownNameError("precision", precision, EXPORT_PRECISIONS)
    if precision != "float32" and chosen != "litert":
        raise ArgumentError(
            f"precision {precision} goes with the format litert only; received {chosen}"
        )


def _check_output(path: Path, chosen: ExportFormat, *, overwrite: bool) -> None:
    check_parent(path)
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise ArgumentError(f"output {str(path)!r} exists; overwrite replaces it")
    if chosen != "savedmodel":
        if path.is_dir():
            raise ArgumentError(f"output {str(path)!r} is a folder; name a file")
    elif not path.is_dir():
        raise ArgumentError(f"output {str(path)!r} is a file; a SavedModel is a folder")
    elif any(path.iterdir()) and not (path / "saved_model.pb").is_file():
        raise ArgumentError(f"output {str(path)!r} holds other things than a SavedModel")


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn the errors of converters and runtimes, which have no common base, into our own."""
    try:
        yield
    except (MusicnnZooError, OSError):
        raise
    except Exception as error:
        raise ExportError(f"{what} ({first_line(error)})") from error


def _in_batches(scores: Scores, signals: NDArray[np.float32]) -> NDArray[np.float32]:
    batches = np.array_split(signals, math.ceil(len(signals) / _BATCH))
    return np.concatenate([scores(batch) for batch in batches])


def _same_top_tags(expected: NDArray[np.float32], received: NDArray[np.float32]) -> int:
    """On how many signals the same tags lead; tags of equal scores count as the same."""
    top = min(_TOP, expected.shape[1])
    least = np.sort(expected, axis=1)[:, -top] - _TIE
    leading = np.argsort(received, axis=1)[:, -top:]
    same = np.take_along_axis(expected, leading, axis=1) >= least[:, np.newaxis]
    return int(same.all(axis=1).sum())


def _put(unfinished: Path, path: Path, replaced: Path) -> None:
    """Move a file or folder to its place; a folder that is there goes to ``replaced``."""
    if not path.is_dir():
        unfinished.replace(path)
        return
    path.rename(replaced)
    try:
        unfinished.rename(path)
    except BaseException:
        replaced.rename(path)
        raise


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files)
