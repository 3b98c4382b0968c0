"""The command that joins outputs: merge."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from musicnn_zoo.cli.options import PLACE, ignore_failures_option, report_unusable
from musicnn_zoo.cli.parts import option
from musicnn_zoo.library.merging import Twice, merge_outputs
from musicnn_zoo.sound.remote import Address
from musicnn_zoo.text import printable


@click.command()
@click.argument("output", type=PLACE)
@click.argument("parts", nargs=-1, required=True, type=PLACE, metavar="PART...")
@option("--twice", type=click.Choice(get_args(Twice)), default="refuse",
        help="Which results to take of a file that has different ones in two parts.",
        )  # fmt: skip
@option("--overwrite", is_flag=True, help="Replace the output instead of adding to it.")
@ignore_failures_option
def merge(
    output: Path | Address,
    parts: tuple[Path | Address, ...],
    twice: Any,
    overwrite: bool,
    ignore_failures: bool,
) -> None:
    """Join the outputs PART... of library runs to one OUTPUT, which a later run continues.

    It says which shares of --shard are missing or were not finished, how many files were there
    twice, and what failed. The exit code is 1 if anything is missing.
    """
    done = merge_outputs(output, parts, twice=twice, overwrite=overwrite)
    for line in f"{output}: {done}".split("\n"):
        click.echo(printable(line), err=True)
    if done.failures:
        messages = [reason for _, reason in done.failures]
        report_unusable(messages, done.files + len(messages))
    if done.missing or done.unfinished or (done.failures and not ignore_failures):
        raise click.exceptions.Exit(1)
