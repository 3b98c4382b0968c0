"""The command ``musicnn-zoo``.

Exit codes: 0 when all went well, 1 when audio could not be used, 2 when the command line
was wrong.
"""

from __future__ import annotations

import functools
import io
import math
import os
import sys
import traceback as tracebacks
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from musicnn_zoo import __version__
from musicnn_zoo.engines.engine import ENGINES, PRECISIONS
from musicnn_zoo.errors import ArgumentError, MusicnnZooError
from musicnn_zoo.export import FORMATS as EXPORT_FORMATS
from musicnn_zoo.export import PRECISIONS as EXPORT_PRECISIONS
from musicnn_zoo.export import export_model
from musicnn_zoo.info import ModelInfo, model_info
from musicnn_zoo.presets import DEFAULT_MODEL, list_models
from musicnn_zoo.pretrained import find_pretrained
from musicnn_zoo.results import FileResult, check_ranking, printable
from musicnn_zoo.writers import FORMATS, LIBRARY_SUFFIXES, Format, Writer, check_writable

if TYPE_CHECKING:
    from musicnn_zoo.tagger import Tagger

Command = Callable[..., None]
Results = Iterator[FileResult[Any]]
Analyse = Callable[["Tagger", list[str], bool], Results]

_REPORTED = 20


def main() -> None:
    """Entry point: run the command without the chatter of native libraries."""
    if "--traceback" not in sys.argv:
        _silence_native_libraries()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    cli()


def _silence_native_libraries() -> None:
    """Send to nowhere what C and C++ code writes to standard error.

    TensorFlow reports its start and libmpg123 every odd byte of an MP3 there, past Python.
    Python's own ``sys.stderr`` keeps working on a copy of the descriptor.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    try:
        terminal = os.dup(2)
    except OSError:
        return
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    sys.stderr = os.fdopen(terminal, "w", buffering=1, errors="backslashreplace")


class _Failure(click.ClickException):
    """A one-line message with its exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(printable(message))
        self.exit_code = exit_code  # type: ignore[misc]


def _reports_errors(command: Command) -> Command:
    """Give a command ``--traceback`` and turn what it raises into one line."""

    @click.option("--traceback", is_flag=True, help="Show where an error came from.")
    @functools.wraps(command)
    def wrapped(*args: Any, traceback: bool, **options: Any) -> None:
        try:
            command(*args, **options)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if traceback:
                raise
            if isinstance(error, MusicnnZooError):
                raise _Failure(str(error), 2 if isinstance(error, ArgumentError) else 1) from error
            if isinstance(error, OSError) and isinstance(error, BrokenPipeError):
                raise
            raise _Failure(_unexpected(error), 1) from error

    return wrapped


def _unexpected(error: Exception) -> str:
    detail = (str(error).strip().splitlines() or [""])[0]
    return f"unexpected {type(error).__name__}: {detail} (--traceback shows where)"


def _analysis_options(command: Command) -> Command:
    """Options that every command on audio files takes."""
    options = [
        click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path)),
        click.option("-m", "--model", default=DEFAULT_MODEL, show_default=True, metavar="MODEL",
                     help="One of those that 'musicnn-zoo models' lists, hf://user/repository, "
                     "or a folder."),
        click.option("--patch", "patch_s", type=float, metavar="SECONDS",
                     help="Length of a patch.  [default: as in training, 2.992]"),
        click.option("--hop", "hop_s", type=float, metavar="SECONDS",
                     help="Distance between the starts of two patches.  [default: one patch]"),
        click.option("--tail", type=click.Choice(["drop", "pad"]), default="drop",
                     show_default=True,
                     help="What to do with the end that does not fill a patch."),
        click.option("--engine", type=click.Choice(ENGINES), default="auto",
                     help="What computes.  [default: onnxruntime on a CPU, tensorflow on a GPU]"),
        click.option("--device", metavar="DEVICE",
                     help="cpu, gpu, gpu:1, gpu:0,gpu:1, …  [default: a GPU if there is one]"),
        click.option("--precision", type=click.Choice(PRECISIONS), default="float32",
                     show_default=True, help="Of the network on a GPU."),
        click.option("--batch-size", type=click.IntRange(min=1), metavar="N",
                     help="Patches computed at once.  [default: what suits the engine]"),
        click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N",
                     help="Threads that read files ahead.  [default: one a core]"),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def _library_options(command: Command) -> Command:
    """Options of outputs that a later run goes on with."""
    options = [
        click.option("--overwrite", is_flag=True, help="Start the output anew."),
        click.option("--hash", "content_hash", is_flag=True,
                     help="Tell unchanged files by their content, not by their time."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def _writer_options(command: Command) -> Command:
    options = [
        click.option("-f", "--format", "form", type=click.Choice(FORMATS),
                     help="[default: by the ending of --output, else text]"),
        click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
                     help="Write there instead of to standard output."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="musicnn-zoo %(version)s")
def cli() -> None:
    """Tag and embed music with pretrained Keras models.

    FILES are audio files, or directories, which mean all audio files below them.

    An --output that ends in .parquet, .jsonl or .csv is written file by file: a run that was
    ended goes on when it is started again, and leaves out files that have not changed.
    """


@cli.command()
@_analysis_options
@click.option("-k", "--top-k", type=int, help="Show the K best tags.  [default: 5]", metavar="K")
@click.option("-t", "--threshold", type=float, metavar="T",
              help="Show tags with a score of at least T, between 0 and 1.")  # fmt: skip
@_writer_options
@_library_options
@_reports_errors
def tag(
    files: tuple[Path, ...],
    top_k: int | None,
    threshold: float | None,
    form: Format | None,
    output: Path | None,
    overwrite: bool,
    content_hash: bool,
    hop_s: float | None,
    patch_s: float | None,
    tail: Any,
    jobs: int | None,
    **loading: Any,
) -> None:
    """Print the tags of each file with their scores."""
    check_ranking(top_k, threshold)
    run = _Run(files, **loading)
    cutting = {"hop_s": hop_s, "patch_s": patch_s, "tail": tail}
    ranking = {"top_k": top_k, "threshold": threshold}

    def analyse(tagger: Tagger, paths: list[str], progress: bool) -> Results:
        return tagger.tag_files(
            paths, **ranking, **cutting, jobs=jobs, progress=progress  # type: ignore[arg-type]
        )  # fmt: skip

    if output is not None and _goes_on(output) and form in (None, output.suffix[1:].lower()):
        settings = {"kind": "tags", **ranking, **cutting}
        run.to_store(analyse, output, settings, overwrite=overwrite, content_hash=content_hash)
        return
    _refuse_library_options(output, overwrite, content_hash)
    with run, Writer(output, form) as writer:
        for value in run.values(analyse):
            writer.write(value)


@cli.command()
@_analysis_options
@_writer_options
@_reports_errors
def taggram(
    files: tuple[Path, ...],
    form: Format | None,
    output: Path | None,
    hop_s: float | None,
    patch_s: float | None,
    tail: Any,
    jobs: int | None,
    **loading: Any,
) -> None:
    """Print the scores of each file over time.

    As text the three strongest tags of each patch, otherwise the scores of all tags.
    """

    def analyse(tagger: Tagger, paths: list[str], progress: bool) -> Results:
        return tagger.taggram_files(
            paths, hop_s=hop_s, patch_s=patch_s, tail=tail, jobs=jobs, progress=progress
        )

    with _Run(files, **loading) as run, Writer(output, form) as writer:
        for value in run.values(analyse):
            writer.write(value)


@cli.command()
@_analysis_options
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE",
              help="File to write: .npz, .parquet or .jsonl.")  # fmt: skip
@click.option("--layer", default="penultimate", show_default=True, metavar="LAYER",
              help="Any layer of the model.")  # fmt: skip
@click.option("--pooling", type=click.Choice(["mean", "max", "none"]), default="mean",
              show_default=True,
              help="How patches become one vector; none keeps one a patch.")  # fmt: skip
@_library_options
@_reports_errors
def embed(
    files: tuple[Path, ...],
    output: Path,
    layer: str,
    pooling: Any,
    overwrite: bool,
    content_hash: bool,
    hop_s: float | None,
    patch_s: float | None,
    tail: Any,
    jobs: int | None,
    **loading: Any,
) -> None:
    """Write embeddings of the files.

    FILE.parquet has a row for each file, or with --pooling none for each patch, with its
    'source', its start 'time_s' and its 'embedding'; FILE.jsonl has a line for each file. Both
    grow as files are done. A NumPy archive FILE.npz is written at the end; it holds 'embeddings'
    (rows, dimensions), and for each row its 'sources' (the file) and 'times' (start in
    seconds), besides 'model', 'layer' and 'pooling'.
    """
    run = _Run(files, **loading)
    cutting = {"hop_s": hop_s, "patch_s": patch_s, "tail": tail}
    kind = {"layer": layer, "pooling": None if pooling == "none" else pooling}

    def analyse(tagger: Tagger, paths: list[str], progress: bool) -> Results:
        return tagger.embed_files(
            paths, **kind, **cutting, jobs=jobs, progress=progress  # type: ignore[arg-type]
        )  # fmt: skip

    if _goes_on(output):
        settings = {"kind": "embeddings", **kind, **cutting}
        run.to_store(analyse, output, settings, overwrite=overwrite, content_hash=content_hash)
        return
    _refuse_library_options(output, overwrite, content_hash)
    check_writable(output)
    if output.suffix.lower() != ".npz":
        raise ArgumentError(f"output {str(output)!r} must end in .npz, .parquet or .jsonl")
    from musicnn_zoo.archive import EmbeddingArchive

    with run, EmbeddingArchive(output) as archive:
        for value in run.values(analyse):
            archive.add(value)


def _goes_on(output: Path) -> bool:
    """Whether an output is one that a later run goes on with."""
    return output.suffix.lower() in LIBRARY_SUFFIXES


def _refuse_library_options(output: Path | None, overwrite: bool, content_hash: bool) -> None:
    for given, option in ((overwrite, "--overwrite"), (content_hash, "--hash")):
        if given:
            raise ArgumentError(
                f"{option} goes with an output that ends in {', '.join(LIBRARY_SUFFIXES)}; "
                f"received {'none' if output is None else str(output)!r}"
            )


@cli.command()
@click.argument("pattern", required=False)
@click.option("--pretrained/--untrained", default=None,
              help="List only models with weights, or only architectures.")  # fmt: skip
@_reports_errors
def models(pattern: str | None, pretrained: bool | None) -> None:
    """List the models, or those whose names fit PATTERN (such as 'MTT_*')."""
    names = list_models(pattern, pretrained=pretrained)
    if not names:
        known = ", ".join(list_models(pretrained=pretrained))
        raise ArgumentError(f"no model fits {pattern!r}; there are {known}")
    rows: list[tuple[str, ...]] = [
        ("model", "weights", "input", "front-end → back-end", "parameters", "receptive field")
    ]
    for info in map(model_info, names):
        seen = info.receptive_field_s
        rows.append(
            (
                info.name,
                _weights_column(info),
                info.input,
                info.architecture,
                f"{info.parameters:,}",
                f"{seen:.2f} s" if math.isfinite(seen) else "whole input",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _weights_column(info: ModelInfo) -> str:
    if not info.pretrained:
        return "none"
    return "bundled" if "bundled" in info.weights else "download"


@cli.command()
@click.argument("model")
@_reports_errors
def info(model: str) -> None:
    """Describe MODEL: its tags, input, figures, licence and citation."""
    click.echo(str(model_info(model)))


@cli.command()
@click.argument("model")
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(EXPORT_FORMATS),
    help="[default: by the ending of --output: .keras, .onnx, .tflite, none]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="PATH",
    help="File to write, or folder for a SavedModel.",
)
@click.option(
    "--precision",
    type=click.Choice(EXPORT_PRECISIONS),
    default="float32",
    show_default=True,
    help="Of the weights; the last two with litert.",
)
@click.option("--overwrite", is_flag=True, help="Replace an export that is there.")
@_reports_errors
def export(
    model: str, form: Any, output: Path, precision: Any, overwrite: bool
) -> None:  # fmt: skip
    """Write MODEL for another runtime: waveform in, tags out.

    MODEL is one of those that 'musicnn-zoo models' lists, hf://user/repository, or a folder. The
    spectrogram is inside the exported graph, tags and sample rate are in the metadata. What was
    written is run and compared with the Keras model before it takes its place.
    """
    done = export_model(model, output, format=form, precision=precision, overwrite=overwrite)
    click.echo(printable(str(done)))


class _Run:
    """One pass over the files of a command line.

    Loads the model when the first file needs it, shows a progress bar, goes on after a file
    that cannot be used, and reports those at the end with exit code 1.
    """

    def __init__(self, files: tuple[Path, ...], model: str, **options: Any) -> None:
        self._model = find_pretrained(model)
        self._options = options
        self._failed: list[str] = []
        self._not_found: list[tuple[str, str]] = []
        self._paths = list(self._expand(files))
        self._total = len(self._paths) + len(self._failed)

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None and issubclass(kind, Exception):
            return
        if not self._failed:
            return
        if kind is not None:
            self._report()
            return
        if self._total == 1:
            raise _Failure(self._failed[0], 1)
        self._report()
        raise click.exceptions.Exit(1)

    def values(self, analyse: Analyse) -> Iterator[Any]:
        """Yield what ``analyse`` makes of the files that can be used."""
        for result in self._results(analyse, self._paths):
            if result.error is None:
                yield result.value
            else:
                self._fail(str(result.source), result.error)

    def to_store(
        self,
        analyse: Analyse,
        output: Path,
        settings: dict[str, Any],
        *,
        overwrite: bool,
        content_hash: bool,
    ) -> None:
        """Write results to an output that a later run goes on with, and sum up."""
        from musicnn_zoo.library import run_library
        from musicnn_zoo.stores import open_store

        settings = {
            **settings,
            "model": self._model.spec.name,
            "weights": self._model.digest(),
            "precision": self._options["precision"],
        }
        with self:
            with open_store(output, settings, overwrite=overwrite) as store:
                summary = run_library(
                    self._paths,
                    lambda paths: self._results(analyse, paths),
                    store,
                    content_hash=content_hash,
                    failed=self._fail,
                )
                store.record_failures(self._not_found)
            summary.failed += len(self._not_found)
            click.echo(f"{printable(str(output))}: {summary}", err=True)
            if summary.failed:
                click.echo(f"reasons: {printable(str(store.failures))}", err=True)

    def _results(self, analyse: Analyse, paths: list[str]) -> Results:
        if not paths:
            return
        from musicnn_zoo.tagger import Tagger

        progress = len(paths) > 1 and sys.stderr.isatty()
        yield from analyse(Tagger(self._model, **self._options), paths, progress)

    def _fail(self, path: str, error: Exception) -> str:
        message = (
            str(error) if isinstance(error, MusicnnZooError) else f"{path}: {_unexpected(error)}"
        )
        self._failed.append(message)
        context = click.get_current_context(silent=True)
        if context is not None and context.params.get("traceback"):
            tracebacks.print_exception(error)
        return message

    def _expand(self, files: tuple[Path, ...]) -> Iterator[str]:
        from musicnn_zoo.audio import find_audio

        for path in files:
            try:
                exists, is_folder = path.exists(), path.is_dir()
            except OSError as error:
                self._miss(path, f"cannot be read ({error.strerror})")
                continue
            if is_folder:
                found = [os.fspath(audio) for audio in find_audio(path)]
                if not found:
                    self._miss(path, "the directory holds no audio files")
                yield from found
            elif not exists:
                self._miss(path, "there is no such file or directory")
            else:
                yield os.fspath(path)

    def _miss(self, path: Path, reason: str) -> None:
        self._failed.append(f"{path}: {reason}")
        self._not_found.append((os.fspath(path), self._failed[-1]))

    def _report(self) -> None:
        click.echo(f"{len(self._failed)} of {self._total} could not be used:", err=True)
        for message in self._failed[:_REPORTED]:
            click.echo(f"  {printable(message)}", err=True)
        if len(self._failed) > _REPORTED:
            click.echo(f"  … and {len(self._failed) - _REPORTED} more", err=True)
