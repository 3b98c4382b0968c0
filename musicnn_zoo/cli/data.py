"""Options of the commands that read a data set, and what they say of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from musicnn_zoo.cli.reporting import Command, warn
from musicnn_zoo.datasets.dataset import Dataset
from musicnn_zoo.datasets.opening import LAYOUTS, open_dataset


def data_options(command: Command) -> Command:
    """``--layout``, ``--audio-root``, ``--group-by``; the command has ``data`` of its own."""
    options = [
        click.option("--layout", type=click.Choice(LAYOUTS),
                     help="What DATA is.  [default: a folder of classes, or a table if a file]"),
        click.option("--audio-root", type=click.Path(path_type=Path), metavar="DIR",
                     help="Where the paths of a table start.  [default: where it lies]"),
        click.option("--group-by", type=click.Choice(["subfolder", "none"]), default="subfolder",
                     show_default=True,
                     help="Whether files of one subfolder of a class, such as an artist's, stay "
                     "together when a folder is split."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def read_data(data: Path, *, layout: Any, audio_root: Path | None, group_by: str) -> Dataset:
    """Read the data set that these options name."""
    return open_dataset(
        data,
        layout=layout,
        audio_root=audio_root,
        group_by="subfolder" if group_by == "subfolder" else None,
    )


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print each warning on a line of standard error, without the place in the code."""

    def show(message: Warning | str, *rest: object, **named: object) -> None:
        del rest, named
        warn(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield
