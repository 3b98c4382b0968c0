"""What the command line says when something goes wrong; it imports nothing that may be missing."""

from __future__ import annotations

import click

from musicnn_zoo.sound.remote import without_secrets
from musicnn_zoo.text import printable


class Failure(click.ClickException):
    """A one-line message with its exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(printable(without_secrets(message)))
        self.exit_code = exit_code  # type: ignore[misc]


def describe_unexpected(error: Exception) -> str:
    """Return one line on an unexpected error."""
    detail = (str(error).strip().splitlines() or [""])[0]
    return f"unexpected {type(error).__name__}: {detail} (--traceback shows where)"


def warn(line: str) -> None:
    """Print a warning on a line of standard error, unless the command is quiet."""
    context = click.get_current_context(silent=True)
    if context is not None and context.meta.get("quiet"):
        return
    click.echo(f"Warning: {printable(without_secrets(line))}", err=True)
