"""What several commands share: options, passes over files, and what is said of errors."""

from __future__ import annotations

import functools
import os
import stat
import sys
import traceback as tracebacks
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from musicnn_zoo.errors import ArgumentError, MissingPackageError, MusicnnZooError
from musicnn_zoo.library.text_store import FORMATS
from musicnn_zoo.machine.installation import explained
from musicnn_zoo.runtimes.engine import ENGINES, PRECISIONS
from musicnn_zoo.sound.decode import OnDamage
from musicnn_zoo.tagging.results import Clip, FileResult
from musicnn_zoo.text import printable
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL
from musicnn_zoo.zoo.load import find_pretrained

if TYPE_CHECKING:
    from musicnn_zoo.tagging.tagger import Tagger


Command = Callable[..., None]


class Failure(click.ClickException):
    """A one-line message with its exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(printable(message))
        self.exit_code = exit_code  # type: ignore[misc]


def reports_errors(command: Command) -> Command:
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
            told = error
            if isinstance(error, ModuleNotFoundError):
                told = explained(error, f"musicnn-zoo {click.get_current_context().info_name}")
            if isinstance(told, MusicnnZooError):
                of_arguments = isinstance(told, ArgumentError | MissingPackageError)
                raise Failure(str(told), 2 if of_arguments else 1) from error
            if isinstance(error, OSError) and isinstance(error, BrokenPipeError):
                raise
            raise Failure(describe_unexpected(error), 1) from error

    return wrapped


def warn(line: str) -> None:
    """Print what ends nothing, but should be known."""
    click.echo(f"Warning: {printable(line)}", err=True)


def warn_of_damage(path: str, clip: Clip) -> None:
    """Say how much of a file could not be decoded, if it is damaged."""
    if clip.damaged:
        warn(f"{path}: damaged, {clip.lost_s:.1f} s could not be decoded")


def describe_unexpected(error: Exception) -> str:
    """Return one line on an error that nobody foresaw."""
    detail = (str(error).strip().splitlines() or [""])[0]
    return f"unexpected {type(error).__name__}: {detail} (--traceback shows where)"


Options = Callable[[Command], Command]


def option_group(*options: Options) -> Options:
    """Make one decorator of several; ``--help`` shows the options in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


files_argument = click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path)
)  # fmt: skip
"""The audio files of a command, one or more."""

model_option = click.option(
    "-m", "--model", default=DEFAULT_MODEL, show_default=True, metavar="MODEL",
    help="One of those that 'musicnn-zoo models' lists, hf://user/repository, or a folder.",
)  # fmt: skip
"""The one model of a command."""


def cutting_options_with(default_hop: str) -> Options:
    """How audio is cut into patches: ``patch_s``, ``hop_s``, ``tail``."""
    return option_group(
        click.option("--patch", "patch_s", type=float, metavar="SECONDS",
                     help="Length of a patch.  [default: as in training]"),
        click.option("--hop", "hop_s", type=float, metavar="SECONDS",
                     help="Distance between the starts of two patches.  "
                     f"[default: {default_hop}]"),
        click.option("--tail", type=click.Choice(["drop", "pad"]), default="drop",
                     show_default=True,
                     help="What to do with the end that does not fill a patch."),
    )  # fmt: skip


cutting_options = cutting_options_with("one patch")

engine_options = option_group(
    click.option("--engine", type=click.Choice(ENGINES), default="auto",
                 help="What computes.  [default: onnxruntime on a CPU, tensorflow on a GPU]"),
    click.option("--device", metavar="DEVICE",
                 help="cpu, gpu, gpu:1, gpu:0,gpu:1, …  [default: a GPU if there is one]"),
)  # fmt: skip
"""What computes, and on what: ``engine``, ``device``."""

speed_options = option_group(
    click.option("--precision", type=click.Choice(PRECISIONS), default="float32",
                 show_default=True, help="Of the network on a GPU."),
    click.option("--batch-size", type=click.IntRange(min=1), metavar="N",
                 help="Patches computed at once.  [default: what suits the engine]"),
)  # fmt: skip
"""What makes the network faster on some devices: ``precision``, ``batch_size``."""

jobs_option = click.option(
    "-j", "--jobs", type=click.IntRange(min=1), metavar="N",
    help="Threads that read files ahead.  [default: one a core, from 8 cores on fewer]",
)  # fmt: skip
"""How many files are read at once."""

damaged_option = click.option(
    "--damaged", type=click.Choice(get_args(OnDamage)), default="refuse", show_default=True,
    help="What to do with files of which more than a second or 2 % cannot be decoded.",
)  # fmt: skip
"""Whether what can be decoded of a damaged file is used."""

analysis_options = option_group(
    files_argument, model_option, cutting_options, damaged_option, engine_options, speed_options,
    jobs_option,
)  # fmt: skip
"""What every command on audio files takes."""

library_options = option_group(
    click.option("--overwrite", is_flag=True, help="Start the output anew."),
    click.option("--hash", "content_hash", is_flag=True,
                 help="Tell unchanged and moved files by their content, not by their time."),
)  # fmt: skip
"""Options of outputs that a later run goes on with."""

writer_options = option_group(
    click.option("-f", "--format", "form", type=click.Choice(FORMATS),
                 help="[default: by the ending of --output, else text]"),
    click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
                 help="Write there instead of to standard output (-): .txt, .json, .jsonl, .csv or "
                 ".parquet."),
)  # fmt: skip
"""Options of commands whose results go to a file or to standard output."""


Results = Iterator[FileResult[Any]]
Analyse = Callable[["Tagger", list[str], bool], Results]

Files = TypeVar("Files", bound="AudioFiles")

_REPORTED = 20


class AudioFiles:
    """The audio files of a command line: those that are there, and those that failed.

    As a context manager it reports at its end the files that could not be used, with exit
    code 1.

    Attributes
    ----------
    paths : list of str
        Files that are there; directories became the audio files below them.
    folders : dict of str to Path
        For a file that was found in a directory, that directory.
    """

    def __init__(self, files: tuple[Path, ...]) -> None:
        self._failed: list[str] = []
        self._not_found: list[tuple[str, str]] = []
        self._missed: set[str] = set()
        self.folders: dict[str, Path] = {}
        self.paths = list(self._expand(files))
        self._total = len(self.paths) + len(self._failed)

    def __enter__(self: Files) -> Files:
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
            raise Failure(self._failed[0], 1)
        self._report()
        raise click.exceptions.Exit(1)

    def fail(self, path: str, error: Exception) -> str:
        """Note that a file could not be used; return the line that says so."""
        if isinstance(error, MusicnnZooError):
            message = str(error)
        else:
            message = f"{path}: {describe_unexpected(error)}"
        self._failed.append(message)
        context = click.get_current_context(silent=True)
        if context is not None and context.params.get("traceback"):
            tracebacks.print_exception(error)
        return message

    def _expand(self, files: tuple[Path, ...]) -> Iterator[str]:
        from musicnn_zoo.sound.find import find_audio, irregularity

        for path in files:
            try:
                mode = path.stat().st_mode
            except (FileNotFoundError, NotADirectoryError):
                self._miss(path, "there is no such file or directory")
                continue
            except OSError as error:
                self._miss(path, f"cannot be read ({error.strerror})")
                continue
            if stat.S_ISDIR(mode):
                failed = len(self._failed)
                found = [os.fspath(each) for each in find_audio(path, on_problem=self._miss)]
                self.folders.update(dict.fromkeys(found, path))
                if not found and len(self._failed) == failed:
                    self._miss(path, "the directory holds no audio files")
                yield from found
            elif (irregular := irregularity(mode)) and not _is_handed_over(path, mode):
                self._miss(path, irregular)
            else:
                yield os.fspath(path)

    def _miss(self, path: Path, reason: str) -> None:
        # A link counts where it is, not where it leads to.
        place = os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118
        if place in self._missed:
            return
        self._missed.add(place)
        self._failed.append(f"{path}: {reason}")
        self._not_found.append((os.fspath(path), self._failed[-1]))

    def _report(self) -> None:
        click.echo(f"{len(self._failed)} of {self._total} could not be used:", err=True)
        for message in self._failed[:_REPORTED]:
            click.echo(f"  {printable(message)}", err=True)
        if len(self._failed) > _REPORTED:
            click.echo(f"  … and {len(self._failed) - _REPORTED} more", err=True)


class FileRun(AudioFiles):
    """One pass of a model over the files of a command line.

    Loads the model when the first file needs it, shows a progress bar, and goes on after a file
    that cannot be used.

    Attributes
    ----------
    tags : tuple of str
        Those of the model.
    """

    def __init__(self, files: tuple[Path, ...], model: str, **options: Any) -> None:
        self._model = find_pretrained(model)
        self.tags = self._model.spec.tags
        self._options = options
        super().__init__(files)

    def values(self, analyse: Analyse) -> Iterator[Any]:
        """Yield what ``analyse`` makes of the files that can be used."""
        for result in self._results(analyse, self.paths):
            if result.error is not None:
                self.fail(str(result.source), result.error)
                continue
            value = result.unwrap()
            warn_of_damage(str(result.source), value.clip)
            yield value

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
        from musicnn_zoo.library.run import open_store, run_library

        settings = {
            **settings,
            "model": self._model.spec.name,
            "weights": self._model.digest(),
            "precision": self._options["precision"],
        }
        with self:
            with open_store(output, settings, overwrite=overwrite) as store:
                summary = run_library(
                    self.paths,
                    lambda paths: self._results(analyse, paths),
                    store,
                    content_hash=content_hash,
                    failed=self.fail,
                )
                store.record_failures(self._not_found)
            summary.failed += len(self._not_found)
            click.echo(f"{printable(str(output))}: {summary}", err=True)
            if summary.damaged:
                click.echo(f"damaged: {printable(str(store.damage))}", err=True)
            if summary.failed:
                click.echo(f"reasons: {printable(str(store.failures))}", err=True)

    def _results(self, analyse: Analyse, paths: list[str]) -> Results:
        if not paths:
            return
        from musicnn_zoo.tagging.tagger import Tagger

        progress = len(paths) > 1 and sys.stderr.isatty()
        yield from analyse(Tagger(self._model, **self._options), paths, progress)


def _is_handed_over(path: Path, mode: int) -> bool:
    """Whether a path is a pipe that a shell has opened for this process: ``<(command)``, ``|``."""
    place = os.fspath(path)
    return stat.S_ISFIFO(mode) and place.startswith(("/dev/fd/", "/dev/stdin", "/proc/self/fd/"))
