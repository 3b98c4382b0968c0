"""What options are made of; nothing heavy is imported."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, reduce
from pathlib import Path
from typing import Any

import click

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.sound.remote import as_address

Command = Callable[..., None]


Options = Callable[[Command], Command]


def option_group(*options: Options) -> Options:
    """Make one decorator of several; ``--help`` shows the options in this order."""
    return lambda command: reduce(lambda made, each: each(made), reversed(options), command)


option = partial(click.option, show_default=True)


class Named(click.Path):
    """A path that has a name: an empty one, as of a variable that is not set, is not the folder."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the path."""
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


PATH = Named(path_type=Path)


class Local(Named):
    """A path of this machine, where no address is taken."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the path; refuse an address, of which a folder ``s3:`` would be made."""
        if (address := as_address(value)) is not None:
            raise ArgumentError(
                f"{address}: no address is taken here; name a file or a folder of this machine"
            )
        return super().convert(value, param, ctx)


LOCAL = Local(path_type=Path)
WHOLE = click.IntRange(min=1)


class FiniteRange(click.FloatRange):
    """A range of numbers that "nan" and "inf" are not in."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


POSITIVE = FiniteRange(min=0, min_open=True)


class ChoiceOrNone(click.Choice[str]):
    """One of some words, of which ``none`` stands for None."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the word that was given, or None."""
        word = super().convert(value, param, ctx)
        return None if word == "none" else word


def path_option(
    *names: str,
    metavar: str = "FILE",
    kind: click.ParamType = LOCAL,  # type: ignore[type-arg]
    **more: Any,
) -> Options:
    """Return an option that names a file or a folder."""
    return option(*names, type=kind, metavar=metavar, **more)


library_option = path_option(
    "--library", "place",
    help="The library file.  [default: MUSICNN_ZOO_LIBRARY, or one in the user's data folder]",
)  # fmt: skip
