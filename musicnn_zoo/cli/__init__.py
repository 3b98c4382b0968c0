"""The command ``musicnn-zoo``.

Exit codes: 0 when all went well, 1 when audio could not be used, 2 when the command line
was wrong or needs what is not installed, 130 after Ctrl+C.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from musicnn_zoo.cli.failures import Failure, describe_unexpected, warn
from musicnn_zoo.errors import ArgumentError, MissingPackageError, MusicnnZooError
from musicnn_zoo.machine import __version__
from musicnn_zoo.machine.installation import explained
from musicnn_zoo.machine.processes import keep_libraries_to_usable_cores
from musicnn_zoo.sound.isolation import prepare_decoding


def main() -> None:
    """Entry point: run the command without the chatter of native libraries."""
    if "--traceback" not in sys.argv:
        _silence_native_libraries()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    keep_libraries_to_usable_cores()
    command, *arguments = sys.argv[1:] or [""]
    if command in _DECODING:
        prepare_decoding(_DECODER, arguments)
    cli()


def _silence_native_libraries() -> None:
    """Discard what C and C++ code writes to standard error.

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


_COMMANDS = {
    "tag": "musicnn_zoo.cli.analysis:tag",
    "taggram": "musicnn_zoo.cli.analysis:taggram",
    "events": "musicnn_zoo.cli.analysis:events",
    "embed": "musicnn_zoo.cli.analysis:embed",
    "merge": "musicnn_zoo.cli.merging:merge",
    "map": "musicnn_zoo.cli.analysis:map_files",
    "index": "musicnn_zoo.cli.indexing:index",
    "find": "musicnn_zoo.cli.collection:find",
    "similar": "musicnn_zoo.cli.collection:similar",
    "playlist": "musicnn_zoo.cli.collection:playlist",
    "describe": "musicnn_zoo.cli.collection:describe",
    "write": "musicnn_zoo.cli.write:write",
    "listen": "musicnn_zoo.cli.listen:listen",
    "app": "musicnn_zoo.cli.app:app",
    "serve": "musicnn_zoo.cli.serve:serve",
    "train": "musicnn_zoo.cli.learning:train",
    "finetune": "musicnn_zoo.cli.learning:finetune",
    "evaluate": "musicnn_zoo.cli.learning:evaluate",
    "models": "musicnn_zoo.cli.catalogue:models",
    "info": "musicnn_zoo.cli.catalogue:info",
    "export": "musicnn_zoo.cli.catalogue:export",
    "download": "musicnn_zoo.cli.catalogue:download",
    "selftest": "musicnn_zoo.cli.selftest:selftest",
}
_DECODING = ("tag", "taggram", "events", "embed", "map", "write")
"""Commands that decode files at once."""
_DECODER = "musicnn_zoo.sound.read"


@contextlib.contextmanager
def _stopping_in_one_line() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        click.echo("\nstopped by Ctrl+C", err=True)
        raise click.exceptions.Exit(130) from None


@contextlib.contextmanager
def _warnings_as_lines(context: click.Context) -> Iterator[None]:
    """Print each warning on a line of standard error, without the place in the code."""

    def show(message: Warning | str, *rest: object, **named: object) -> None:
        del rest, named
        if not context.meta.get("quiet"):  # here, for other threads have no context
            warn(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


class _Commands(click.Group):
    """Commands with ``--traceback``, whose errors become one line and an exit code.

    A command is imported when it is asked for, so that none waits for what others import.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.commands and cmd_name in _COMMANDS:
            module, _, function = _COMMANDS[cmd_name].partition(":")
            command: click.Command = getattr(importlib.import_module(module), function)
            command.params.append(_TRACEBACK)
            self.add_command(command, cmd_name)
        return super().get_command(ctx, cmd_name)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _stopping_in_one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _stopping_in_one_line(), _warnings_as_lines(ctx):
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if ctx.meta.get("traceback"):
                raise
            told = error
            if isinstance(error, ModuleNotFoundError):
                told = explained(error, f"musicnn-zoo {ctx.invoked_subcommand or ''}".rstrip())
            if isinstance(told, MusicnnZooError):
                of_arguments = isinstance(told, ArgumentError | MissingPackageError)
                raise Failure(str(told), 2 if of_arguments else 1) from error
            raise Failure(describe_unexpected(error), 1) from error


_TRACEBACK = click.Option(
    ["--traceback"],
    is_flag=True,
    expose_value=False,
    callback=lambda context, _, given: context.meta.update(traceback=given),
    help="Show where an error came from.",
)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="musicnn-zoo %(version)s")
def cli() -> None:
    """Tag and embed music with pretrained Keras models.

    FILES are audio files, or directories, which mean all audio files below them.

    With tag, taggram, events and embed, an --output that ends in .parquet, .jsonl or .csv is
    written file by file: an interrupted run continues when it is started again, and leaves out
    files that have not changed.

    A music library is filled by index; find, similar, playlist and describe ask it.

    Exit codes: 0, all went well; 1, audio could not be used (unless --ignore-failures) or an output
    not written; 2, the command line is wrong or needs what is not installed; 130, after Ctrl+C.
    """
