"""Options that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import click

from musicnn_zoo.cli.reporting import Command
from musicnn_zoo.library.writers import FORMATS
from musicnn_zoo.runtimes.engine import ENGINES, PRECISIONS
from musicnn_zoo.sound.decode import OnDamage
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL

Options = Callable[[Command], Command]


def option_group(*options: Options) -> Options:
    """Make one decorator of several; ``--help`` shows the options in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


files_argument = click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path)
)  # fmt: skip
"""The audio files of a command, one or more."""

model_option = click.option(
    "-m", "--model", default=DEFAULT_MODEL, show_default=True, metavar="MODEL",
    help="One of those that 'musicnn-zoo models' lists, hf://user/repository, or a folder.",
)  # fmt: skip
"""The one model of a command."""


def cutting_options_with(default_hop: str) -> Options:
    """How audio is cut into patches: ``patch_s``, ``hop_s``, ``tail``."""
    return option_group(
        click.option("--patch", "patch_s", type=float, metavar="SECONDS",
                     help="Length of a patch.  [default: as in training]"),
        click.option("--hop", "hop_s", type=float, metavar="SECONDS",
                     help="Distance between the starts of two patches.  "
                     f"[default: {default_hop}]"),
        click.option("--tail", type=click.Choice(["drop", "pad"]), default="drop",
                     show_default=True,
                     help="What to do with the end that does not fill a patch."),
    )  # fmt: skip


cutting_options = cutting_options_with("one patch")

engine_options = option_group(
    click.option("--engine", type=click.Choice(ENGINES), default="auto",
                 help="What computes.  [default: onnxruntime on a CPU, tensorflow on a GPU]"),
    click.option("--device", metavar="DEVICE",
                 help="cpu, gpu, gpu:1, gpu:0,gpu:1, …  [default: a GPU if there is one]"),
)  # fmt: skip
"""What computes, and on what: ``engine``, ``device``."""

speed_options = option_group(
    click.option("--precision", type=click.Choice(PRECISIONS), default="float32",
                 show_default=True, help="Of the network on a GPU."),
    click.option("--batch-size", type=click.IntRange(min=1), metavar="N",
                 help="Patches computed at once.  [default: what suits the engine]"),
)  # fmt: skip
"""What makes the network faster on some devices: ``precision``, ``batch_size``."""

jobs_option = click.option(
    "-j", "--jobs", type=click.IntRange(min=1), metavar="N",
    help="Threads that read files ahead.  [default: one a core, from 8 cores on fewer]",
)  # fmt: skip
"""How many files are read at once."""

damaged_option = click.option(
    "--damaged", type=click.Choice(get_args(OnDamage)), default="refuse", show_default=True,
    help="What to do with files of which more than a second or 2 % cannot be decoded.",
)  # fmt: skip
"""Whether what can be decoded of a damaged file is used."""

analysis_options = option_group(
    files_argument, model_option, cutting_options, damaged_option, engine_options, speed_options,
    jobs_option,
)  # fmt: skip
"""What every command on audio files takes."""

library_options = option_group(
    click.option("--overwrite", is_flag=True, help="Start the output anew."),
    click.option("--hash", "content_hash", is_flag=True,
                 help="Tell unchanged and moved files by their content, not by their time."),
)  # fmt: skip
"""Options of outputs that a later run goes on with."""

writer_options = option_group(
    click.option("-f", "--format", "form", type=click.Choice(FORMATS),
                 help="[default: by the ending of --output, else text]"),
    click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
                 help="Write there instead of to standard output (-): .txt, .json, .jsonl, .csv or "
                 ".parquet."),
)  # fmt: skip
"""Options of commands whose results go to a file or to standard output."""
