"""What several commands share: options, passes over files, and what is said of errors."""

from __future__ import annotations

import functools
import os
import stat
import sys
import traceback as tracebacks
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from musicnn_zoo.errors import ArgumentError, MissingPackageError, MusicnnZooError
from musicnn_zoo.library.text_store import FORMATS
from musicnn_zoo.machine.installation import explained
from musicnn_zoo.runtimes.engine import ENGINES, PRECISIONS
from musicnn_zoo.sound.read import OnDamage
from musicnn_zoo.tagging.results import Clip, FileResult
from musicnn_zoo.text import printable
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL
from musicnn_zoo.zoo.load import find_pretrained

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
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
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
            raise Failure(describe_unexpected(error), 1) from error

    return wrapped


def warn(line: str) -> None:
    """Print a warning on a line of standard error."""
    click.echo(f"Warning: {printable(line)}", err=True)


def warn_of_damage(path: str, clip: Clip) -> None:
    """Say how much of a file could not be decoded, if it is damaged."""
    if clip.damaged:
        warn(f"{path}: damaged, {clip.lost_s:.1f} s could not be decoded")


def describe_unexpected(error: Exception) -> str:
    """Return one line on an unexpected error."""
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


def option(*names: str, **attributes: Any) -> Options:
    """Return the option that ``click.option`` does; ``--help`` shows its default, if it has one."""
    if "default" in attributes:
        attributes.setdefault("show_default", True)
    return click.option(*names, **attributes)


PATH = click.Path(path_type=Path)
WHOLE = click.IntRange(min=1)
POSITIVE = click.FloatRange(min=0, min_open=True)


class ChoiceOrNone(click.Choice[str]):
    """One of some words, of which ``none`` stands for None."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the word that was given, or None."""
        word = super().convert(value, param, ctx)
        return None if word == "none" else word


def path_option(*names: str, metavar: str = "FILE", **more: Any) -> Options:
    """Return an option that names a file or a folder."""
    return option(*names, type=PATH, metavar=metavar, **more)


def plot_option(what: str) -> Options:
    """Return ``--plot``, which draws ``what``."""
    return path_option("--plot", help=f"Draw {what}: .png, .svg or .pdf.")


def check_plot(plot: Path | None) -> None:
    """Refuse a picture that could not be drawn, before any work."""
    if plot is not None:
        from musicnn_zoo.plots.drawing import check_picture

        check_picture(plot)


files_argument = click.argument("files", nargs=-1, required=True, type=PATH)

MODEL_HELP = "One of those that 'musicnn-zoo models' lists, hf://user/repository, or a folder"

layer_option = option(
    "--layer", default="penultimate", metavar="LAYER", help="Any layer of the model."
)


def patch_options(default_hop: str) -> Options:
    """How audio is cut into patches: ``patch_s``, ``hop_s``, ``tail``."""
    return option_group(
        option("--patch", "patch_s", type=float, metavar="SECONDS",
               help="Length of a patch.  [default: as in training]"),
        option("--hop", "hop_s", type=float, metavar="SECONDS",
               help="Distance between the starts of two patches.  "
               f"[default: {default_hop}]"),
        option("--tail", type=click.Choice(["drop", "pad"]), default="drop",
               help="What to do with the end that does not fill a patch."))  # fmt: skip


damaged_option = option(
    "--damaged", type=click.Choice(get_args(OnDamage)), default="refuse",
    help="What to do with files of which more than a second or 2 % cannot be decoded.",
)  # fmt: skip

engine_options = option_group(
    option("--engine", type=click.Choice(ENGINES), default="auto", show_default=False,
           help="What runs the model.  [default: onnxruntime on a CPU, tensorflow on a GPU]"),
    option("--device", metavar="DEVICE",
           help="cpu, gpu, gpu:1, gpu:0,gpu:1, …  [default: a GPU if there is one]"),
)  # fmt: skip

speed_options = option_group(
    option("--precision", type=click.Choice(PRECISIONS), default="float32",
           help="Precision of the network on a GPU."),
    option("--batch-size", type=WHOLE, metavar="N",
           help="Patches computed at once.  [default: what suits the engine]"),
)  # fmt: skip

jobs_option = option(
    "-j", "--jobs", type=WHOLE, metavar="N",
    help="Threads that read files ahead.  [default: one a core, from 8 cores on fewer]",
)  # fmt: skip

analysis_options = option_group(
    files_argument,
    option("-m", "--model", default=DEFAULT_MODEL, metavar="MODEL", help=f"{MODEL_HELP}."),
    patch_options("one patch"), damaged_option, engine_options, speed_options, jobs_option,
)  # fmt: skip
"""What :class:`FileRun` takes."""

library_options = option_group(
    option("--overwrite", is_flag=True, help="Replace the output instead of continuing it."),
    option("--hash", "content_hash", is_flag=True,
           help="Recognise unchanged and moved files by their content, not by their time."),
)  # fmt: skip
"""Options of outputs that a later run goes on with."""

writer_options = option_group(
    option("-f", "--format", "form", type=click.Choice(FORMATS),
           help="[default: by the ending of --output, else text]"),
    path_option("-o", "--output",
                help="Write there instead of to standard output (-): .txt, .json, .jsonl, .csv "
                "or .parquet."),
)  # fmt: skip
"""Options of commands whose results go to a file or to standard output."""


_REPORTED = 20


def report_unusable(messages: Sequence[str], total: int) -> None:
    """Print which files could not be used, and why."""
    click.echo(f"{len(messages)} of {total} could not be used:", err=True)
    for message in messages[:_REPORTED]:
        click.echo(f"  {printable(message)}", err=True)
    if len(messages) > _REPORTED:
        click.echo(f"  … and {len(messages) - _REPORTED} more", err=True)


Files = TypeVar("Files", bound="AudioFiles")


class AudioFiles:
    """The audio files of a command line: those that exist, and those that could not be used.

    As a context manager it ends with a report of the latter and exit code 1.

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
        if not self._failed or (kind is not None and issubclass(kind, Exception)):
            return
        if kind is None and self._total == 1:
            raise Failure(self._failed[0], 1)
        report_unusable(self._failed, self._total)
        if kind is None:
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


class FileRun(AudioFiles):
    """One analysis of the files of a command line, with the options of ``analysis_options``.

    ``kind`` is what is made of each file, and ``settings`` are the options that only this kind
    has. The model is loaded when the first file needs it.
    """

    def __init__(
        self,
        files: tuple[Path, ...],
        model: str,
        kind: str,
        settings: dict[str, Any],
        *,
        patch_s: float | None,
        hop_s: float | None,
        tail: str,
        damaged: str,
        jobs: int | None,
        **loading: Any,
    ) -> None:
        self._model = find_pretrained(model)
        self._kind = kind
        self._settings = {**settings, "hop_s": hop_s, "patch_s": patch_s, "tail": tail}
        self._reading = {"damaged": damaged, "jobs": jobs}
        self._loading = loading
        super().__init__(files)

    def results(self) -> Iterator[FileResult[Any]]:
        """Yield what comes of each file, and tell of those that cannot be used."""
        for result in self._analyse(self.paths):
            if result.error is not None:
                self.fail(str(result.source), result.error)
            else:
                warn_of_damage(str(result.source), result.unwrap().clip)
            yield result

    def values(self) -> Iterator[Any]:
        """Yield what comes of the files that can be used."""
        return (result.unwrap() for result in self.results() if result.error is None)

    def to_store(self, output: Path, *, overwrite: bool, content_hash: bool) -> None:
        """Write results to an output that a later run goes on with, and sum up."""
        from musicnn_zoo.library.run import open_store, run_library

        # A table of taggrams has a column for each tag.
        columns = {"tags": self._model.spec.tags} if self._kind == "taggrams" else {}
        settings = {
            "kind": self._kind,
            **columns,
            **self._settings,
            "model": self._model.spec.name,
            "weights": self._model.digest(),
            "precision": self._loading["precision"],
        }
        with self:
            with open_store(output, settings, overwrite=overwrite) as store:
                summary = run_library(
                    self.paths, self._analyse, store, content_hash=content_hash, failed=self.fail
                )
                store.record_failures(self._not_found)
            summary.failed += len(self._not_found)
            click.echo(f"{printable(str(output))}: {summary}", err=True)
            if summary.damaged:
                click.echo(f"damaged: {printable(str(store.damage))}", err=True)
            if summary.failed:
                click.echo(f"reasons: {printable(str(store.failures))}", err=True)

    def _analyse(self, paths: list[str]) -> Iterator[FileResult[Any]]:
        if not paths:
            return
        from musicnn_zoo.tagging.tagger import Tagger

        tagger = Tagger(self._model, **self._loading)
        methods: dict[str, Callable[..., Iterator[FileResult[Any]]]] = {
            "tags": tagger.tag_files,
            "taggrams": tagger.taggram_files,
            "events": tagger.events_files,
            "embeddings": tagger.embed_files,
            "embedded tags": tagger.embedded_tags_files,
        }
        progress = len(paths) > 1 and sys.stderr.isatty()
        yield from methods[self._kind](paths, **self._settings, **self._reading, progress=progress)


def _is_handed_over(path: Path, mode: int) -> bool:
    """Whether a path is a pipe that a shell has opened for this process: ``<(command)``, ``|``."""
    place = os.fspath(path)
    return stat.S_ISFIFO(mode) and place.startswith(("/dev/fd/", "/dev/stdin", "/proc/self/fd/"))
