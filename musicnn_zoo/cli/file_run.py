"""One pass of a command over audio files."""

from __future__ import annotations

import os
import stat
import sys
import traceback as tracebacks
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from musicnn_zoo.cli.reporting import Failure, describe_unexpected, warn_of_damage
from musicnn_zoo.errors import MusicnnZooError
from musicnn_zoo.plain_text import printable
from musicnn_zoo.tagging.results import FileResult
from musicnn_zoo.zoo.pretrained import find_pretrained

if TYPE_CHECKING:
    from musicnn_zoo.tagging.tagger import Tagger

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
        from musicnn_zoo.library.opening import open_store
        from musicnn_zoo.library.run import run_library

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
