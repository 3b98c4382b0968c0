"""Write models for other runtimes, compared with the model before they take their place.

Every export is read again by the runtime that it is for, and compared with the model on the
signals of :func:`probes`, before it takes its place. A copy of a bundled
graph, which was compared with its model when it was made, is compared with that graph.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
)
from musicnn_zoo.library.writers import check_parent
from musicnn_zoo.networks.config import ModelConfig, ModelSpec, patch_grid
from musicnn_zoo.runtimes.formats import (
    EXPORTERS,
    Exporter,
    ExportFormat,
    Scores,
    copy_onnx,
    read_onnx,
)
from musicnn_zoo.zoo.load import Pretrained, find_pretrained
from musicnn_zoo.zoo.weights import bundled

if TYPE_CHECKING:
    from musicnn_zoo.networks.build import TaggingModel


_LOGGERS = ("absl", "tensorflow")
_one_at_a_time = threading.RLock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send to nowhere warnings, TensorFlow's log, and what C++ writes to standard error.

    What goes wrong must be raised. It holds for the whole process; a second thread waits.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    with _one_at_a_time, warnings.catch_warnings(), _no_standard_error():
        warnings.simplefilter("ignore")
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


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


_LOUDNESS = (0.3, 0.03, 0.0003)
_NOISE_FLOOR = 0.0003
_CHORDS = ((110.0, 220.0, 277.2, 329.6), (92.5, 185.0, 220.0, 277.2), (73.4, 146.8, 185.0, 220.0))
_CHORD_S, _BEAT_S = 0.7, 0.25


def probes(config: ModelConfig) -> NDArray[np.float32]:
    """Make noise of three levels, silence, chords that fade, a beat, and both together.

    The last three have the noise floor of a recording, -70 dB. Between pure digital tones there
    would be nothing but the rounding errors of the Fourier transform, which a logarithm
    brings to light, and those of two transforms differ.

    Parameters
    ----------
    config : ModelConfig

    Returns
    -------
    ndarray, shape (signals, samples), float32
        One patch each, in ±1, the same at every call.
    """
    rate, samples = config.input.sample_rate, patch_grid(config).patch_samples
    random = np.random.default_rng(0)
    seconds = np.arange(samples) / rate
    noise = [random.normal(0, loudness, samples) for loudness in _LOUDNESS]
    chords, beat = _chords(seconds, rate), _beat(seconds, random)
    music = np.stack([chords, beat, 0.5 * (chords + beat)])
    music += random.normal(0, _NOISE_FLOOR, music.shape)
    signals = [*noise, np.zeros(samples), *music]
    return np.asarray(np.clip(signals, -1, 1), np.float32)


def _chords(seconds: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """Chords of tones with overtones below half the sample rate, one after the other."""
    count, since = np.divmod(seconds, _CHORD_S)
    signal: NDArray[np.float64] = np.zeros_like(seconds)
    for turn, chord in enumerate(_CHORDS):
        for tone in chord:
            for overtone in range(1, min(9, int(rate / 2 / tone))):
                wave = np.sin(2 * np.pi * tone * overtone * since) / overtone
                signal += np.where(count % len(_CHORDS) == turn, wave, 0)
    return np.asarray(0.15 * signal * np.exp(-3 * since))


def _beat(seconds: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Bass drum and cymbal in turn."""
    count, since = np.divmod(seconds, _BEAT_S)
    drum = np.sin(2 * np.pi * 55 * since) * np.exp(-12 * since)
    cymbal = 0.5 * np.diff(random.normal(0, 0.5, len(seconds)), prepend=0) * np.exp(-40 * since)
    return np.asarray(np.where(count % 2 == 0, 0.8 * drum, cymbal))


FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)
ExportPrecision = Literal["float32", "float16", "int8"]
PRECISIONS: tuple[ExportPrecision, ...] = get_args(ExportPrecision)
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
    path = Path(output)
    chosen = _format_of(path, format)
    _check_precision(chosen, precision)
    _check_output(path, chosen, overwrite=overwrite)
    exporter = EXPORTERS[chosen]
    source = _find(model, chosen, precision)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            unfinished = Path(folder, f"model{_ENDINGS.get(chosen, '')}")
            with quiet():
                _write(source, unfinished, chosen)
                expected, received = _compare(exporter, source, unfinished, chosen)
            logits = source.spec.config.activation is None
            difference = _difference(expected, received, logits=logits)
            if not (math.isfinite(difference) and difference <= TOLERANCES[precision]):
                raise ExportError(
                    f"{source.spec.name} in {chosen} ({precision}) differs from "
                    f"{source.reference} by {difference:.1e}, more than {TOLERANCES[precision]}"
                )
            size = _size(unfinished)
            _put(unfinished, path, Path(folder, "replaced"))
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    return Export(
        path=path,
        format=chosen,
        precision=precision,
        difference=difference,
        signals=len(expected),
        same_top_tags=_same_top_tags(expected, received),
        size=size,
        reference=source.reference,
    )


def _find(
    model: str | os.PathLike[str] | TaggingModel, chosen: ExportFormat, precision: str
) -> _Source:
    if not isinstance(model, str | os.PathLike):
        return _from_model(model, chosen, precision)
    pretrained = find_pretrained(model)
    if chosen == "onnx" and pretrained.graph is not None:
        return _from_graph(pretrained, bundled(pretrained.graph))
    return _from_model(pretrained.load(), chosen, precision)


def _from_model(model: TaggingModel, chosen: ExportFormat, precision: str) -> _Source:
    import keras

    def scores(waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(keras.ops.convert_to_numpy(model(waveforms, training=False)))

    def write(path: Path) -> None:
        EXPORTERS[chosen].write(model, path, precision)

    return _Source(model.spec, "the Keras model", write, scores)


def _from_graph(pretrained: Pretrained, graph: Path) -> _Source:
    def write(path: Path) -> None:
        copy_onnx(graph, pretrained.spec, pretrained.provenance, path)

    return _Source(pretrained.spec, "the bundled graph", write, read_onnx(graph))


def _format_of(path: Path, given: ExportFormat | None) -> ExportFormat:
    by_ending = next((one for one, ending in _ENDINGS.items() if path.suffix == ending), None)
    if given is None:
        if by_ending is None and path.suffix and not path.is_dir():
            raise ArgumentError(
                f"output {str(path)!r}: its ending names no format; use "
                f"{', '.join(_ENDINGS.values())}, none for a SavedModel, or say the format"
            )
        return by_ending or "savedmodel"
    if given not in FORMATS:
        raise UnknownNameError("export format", given, FORMATS)
    if by_ending != (None if given == "savedmodel" else given):
        needed = _ENDINGS.get(given, "the name of a folder, without the ending of another format")
        raise ArgumentError(f"output {str(path)!r}: the format {given} needs {needed}")
    return given


def _check_precision(chosen: ExportFormat, precision: str) -> None:
    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, PRECISIONS)
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


def _write(source: _Source, path: Path, chosen: ExportFormat) -> None:
    try:
        source.write(path)
    except (MusicnnZooError, OSError):
        raise
    except Exception as error:  # converters' errors have no common base
        raise ExportError(
            f"{source.spec.name} cannot be exported to {chosen} ({_first_line(error)})"
        ) from error


def _compare(
    exporter: Exporter, source: _Source, path: Path, chosen: ExportFormat
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scores of the test signals (signals, tags), of the source and of what was written."""
    signals = probes(source.spec.config)
    batches = np.array_split(signals, math.ceil(len(signals) / _BATCH))
    expected = [source.scores(batch) for batch in batches]
    try:
        scores = exporter.read(path)
        received = [scores(batch) for batch in batches]
    except (MusicnnZooError, OSError):
        raise
    except Exception as error:  # runtimes' errors have no common base
        raise ExportError(
            f"{source.spec.name} was exported to {chosen}, but does not run there "
            f"({_first_line(error)})"
        ) from error
    return np.concatenate(expected), np.concatenate(received)


def _difference(
    expected: NDArray[np.float32], received: NDArray[np.float32], *, logits: bool
) -> float:
    if expected.shape != received.shape:
        return math.inf
    scale = max(1.0, float(np.abs(expected).max())) if logits else 1.0
    return float(np.abs(received - expected).max()) / scale


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


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
