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
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from musicnn_zoo import __version__
from musicnn_zoo.errors import ArgumentError, AudioError, MusicnnZooError
from musicnn_zoo.presets import DEFAULT_MODEL, get_preset, list_models, model_info
from musicnn_zoo.results import check_ranking, printable
from musicnn_zoo.writers import FORMATS, Format, Writer, check_writable

if TYPE_CHECKING:
    from musicnn_zoo.tagger import Tagger

Command = Callable[..., None]


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
                     help="One of those that 'musicnn-zoo models' lists."),
        click.option("--patch", "patch_s", type=float, metavar="SECONDS",
                     help="Length of a patch.  [default: as in training, 2.992]"),
        click.option("--hop", "hop_s", type=float, metavar="SECONDS",
                     help="Distance between the starts of two patches.  [default: one patch]"),
        click.option("--tail", type=click.Choice(["drop", "pad"]), default="drop",
                     show_default=True,
                     help="What to do with the end that does not fill a patch."),
        click.option("--device", metavar="DEVICE",
                     help="cpu, gpu, gpu:1, …  [default: the first GPU, else the CPU]"),
        click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True,
                     help="Patches computed at once."),
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
    """


@cli.command()
@_analysis_options
@click.option("-k", "--top-k", type=int, help="Show the K best tags.  [default: 5]", metavar="K")
@click.option("-t", "--threshold", type=float, metavar="T",
              help="Show tags with a score of at least T, between 0 and 1.")  # fmt: skip
@_writer_options
@_reports_errors
def tag(
    files: tuple[Path, ...],
    top_k: int | None,
    threshold: float | None,
    form: Format | None,
    output: Path | None,
    hop_s: float | None,
    patch_s: float | None,
    tail: Any,
    **loading: Any,
) -> None:
    """Print the tags of each file with their scores."""
    check_ranking(top_k, threshold)
    with _Run(files, **loading) as run, Writer(output, form) as writer:
        for tagger, path in run.files():
            with run.one(path):
                writer.write(
                    tagger.tag(
                        path, top_k=top_k, threshold=threshold,
                        hop_s=hop_s, patch_s=patch_s, tail=tail,
                    )
                )  # fmt: skip


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
    **loading: Any,
) -> None:
    """Print the scores of each file over time.

    As text the three strongest tags of each patch, otherwise the scores of all tags.
    """
    with _Run(files, **loading) as run, Writer(output, form) as writer:
        for tagger, path in run.files():
            with run.one(path):
                writer.write(tagger.taggram(path, hop_s=hop_s, patch_s=patch_s, tail=tail))


@cli.command()
@_analysis_options
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE.npz",
              help="NumPy archive to write.")  # fmt: skip
@click.option("--layer", default="penultimate", show_default=True, metavar="LAYER",
              help="Any layer of the model.")  # fmt: skip
@click.option("--pooling", type=click.Choice(["mean", "max", "none"]), default="mean",
              show_default=True,
              help="How patches become one vector; none keeps one a patch.")  # fmt: skip
@_reports_errors
def embed(
    files: tuple[Path, ...],
    output: Path,
    layer: str,
    pooling: str,
    hop_s: float | None,
    patch_s: float | None,
    tail: Any,
    **loading: Any,
) -> None:
    """Write embeddings of the files to a NumPy archive.

    It holds 'embeddings' (rows, dimensions), and for each row its 'sources' (the file) and
    'times' (start in seconds); besides 'model', 'layer' and 'pooling'.
    """
    from musicnn_zoo.archive import EmbeddingArchive

    check_writable(output)
    with _Run(files, **loading) as run, EmbeddingArchive(output) as archive:
        for tagger, path in run.files():
            with run.one(path):
                archive.add(
                    tagger.embed(
                        path, layer=layer, pooling=None if pooling == "none" else pooling,  # type: ignore[arg-type]
                        hop_s=hop_s, patch_s=patch_s, tail=tail,
                    )
                )  # fmt: skip


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
        ("model", "pretrained", "input", "front-end → back-end", "parameters", "receptive field")
    ]
    for info in map(model_info, names):
        seen = info.receptive_field_s
        rows.append(
            (
                info.name,
                "yes" if info.pretrained else "no",
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


@cli.command()
@click.argument("model")
@_reports_errors
def info(model: str) -> None:
    """Describe MODEL: its tags, input, figures, licence and citation."""
    click.echo(str(model_info(model)))


class _Run:
    """One pass over the files of a command line.

    Loads the model when the first file needs it, shows a progress bar, goes on after a file
    that cannot be used, and reports those at the end with exit code 1.
    """

    def __init__(self, files: tuple[Path, ...], model: str, **options: Any) -> None:
        get_preset(model)
        self._model = model
        self._options = options
        self._failed: list[str] = []
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

    def files(self) -> Iterator[tuple[Tagger, Path]]:
        """Yield a loaded tagger with each file."""
        if not self._paths:
            return
        from tqdm import tqdm

        from musicnn_zoo.tagger import Tagger

        tagger = Tagger(self._model, **self._options)
        hidden = True if len(self._paths) == 1 else None
        for path in tqdm(self._paths, unit="file", file=sys.stderr, disable=hidden, leave=False):
            yield tagger, path

    @contextmanager
    def one(self, path: Path) -> Iterator[None]:
        """Note a failure of what is done inside as one of ``path``."""
        try:
            yield
        except AudioError as error:
            self._fail(str(error))
        except (MusicnnZooError, OSError):
            raise
        except Exception as error:
            self._fail(f"{path}: {_unexpected(error)}")

    def _fail(self, message: str) -> None:
        self._failed.append(message)
        context = click.get_current_context(silent=True)
        if context is not None and context.params.get("traceback"):
            tracebacks.print_exc()

    def _expand(self, files: tuple[Path, ...]) -> Iterator[Path]:
        from musicnn_zoo.audio import find_audio

        for path in files:
            try:
                exists, is_folder = path.exists(), path.is_dir()
            except OSError as error:
                self._failed.append(f"{path}: cannot be read ({error.strerror})")
                continue
            if is_folder:
                found = list(find_audio(path))
                if not found:
                    self._failed.append(f"{path}: the directory holds no audio files")
                yield from found
            elif not exists:
                self._failed.append(f"{path}: there is no such file or directory")
            else:
                yield path

    def _report(self) -> None:
        click.echo(f"{len(self._failed)} of {self._total} could not be used:", err=True)
        for message in self._failed:
            click.echo(f"  {printable(message)}", err=True)
