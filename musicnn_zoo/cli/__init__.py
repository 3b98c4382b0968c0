"""The command ``musicnn-zoo``.

Exit codes: 0 when all went well, 1 when audio could not be used, 2 when the command line
was wrong or needs what is not installed, 130 after Ctrl+C.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import click

from musicnn_zoo.cli import analysis, catalogue, learning, listen, selftest
from musicnn_zoo.cli.options import Failure, describe_unexpected, warnings_as_lines
from musicnn_zoo.errors import ArgumentError, MissingPackageError, MusicnnZooError
from musicnn_zoo.machine import __version__
from musicnn_zoo.machine.installation import explained
from musicnn_zoo.machine.processes import keep_libraries_to_usable_cores


def main() -> None:
    """Entry point: run the command without the chatter of native libraries."""
    if "--traceback" not in sys.argv:
        _silence_native_libraries()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    keep_libraries_to_usable_cores()
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


class _Commands(click.Group):
    """Commands with ``--traceback``, whose errors become one line and an exit code."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        cmd.params.append(_TRACEBACK)
        super().add_command(cmd, name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings_as_lines():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("\nstopped by Ctrl+C", err=True)
            ctx.exit(130)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if ctx.meta.get("traceback"):
                raise
            told = error
            if isinstance(error, ModuleNotFoundError):
                told = explained(error, f"musicnn-zoo {ctx.invoked_subcommand}")
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
    """


for command in (
    analysis.tag,
    analysis.taggram,
    analysis.events,
    analysis.embed,
    analysis.map_files,
    listen.listen,
    learning.train,
    learning.finetune,
    learning.evaluate,
    catalogue.models,
    catalogue.info,
    catalogue.export,
    catalogue.download,
    selftest.selftest,
):
    cli.add_command(command)
