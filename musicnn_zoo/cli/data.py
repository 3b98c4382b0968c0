"""Options of the commands that read a data set, and what they say of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from musicnn_zoo.cli.reporting import Command
from musicnn_zoo.datasets.opening import LAYOUTS
from musicnn_zoo.results import printable


def data_options(command: Command) -> Command:
    """``--layout`` and ``--audio-root``; the command has an argument ``data`` of its own."""
    options = [
        click.option("--layout", type=click.Choice(LAYOUTS),
                     help="What DATA is.  [default: a folder of classes, or a table if a file]"),
        click.option("--audio-root", type=click.Path(path_type=Path), metavar="DIR",
                     help="Where the paths of a table start.  [default: where it lies]"),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print each warning on a line of standard error, without the place in the code."""

    def show(message: Warning | str, *rest: object, **named: object) -> None:
        del rest, named
        click.echo(f"Warning: {printable(str(message))}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield
