"""What a command says when something is wrong: one line, and an exit code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from musicnn_zoo.errors import ArgumentError, MissingPackageError, MusicnnZooError
from musicnn_zoo.machine.installation import explained
from musicnn_zoo.plain_text import printable
from musicnn_zoo.tagging.clip import Clip

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
