"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path

import click

from musicnn_zoo.cli.reporting import Command
from musicnn_zoo.engines.engine import ENGINES, PRECISIONS
from musicnn_zoo.presets import DEFAULT_MODEL
from musicnn_zoo.writers import FORMATS


def analysis_options(command: Command) -> Command:
    """Options that every command on audio files takes."""
    options = [
        click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path)),
        click.option("-m", "--model", default=DEFAULT_MODEL, show_default=True, metavar="MODEL",
                     help="One of those that 'musicnn-zoo models' lists, hf://user/repository, "
                     "or a folder."),
        click.option("--patch", "patch_s", type=float, metavar="SECONDS",
                     help="Length of a patch.  [default: as in training, 2.992]"),
        click.option("--hop", "hop_s", type=float, metavar="SECONDS",
                     help="Distance between the starts of two patches.  [default: one patch]"),
        click.option("--tail", type=click.Choice(["drop", "pad"]), default="drop",
                     show_default=True,
                     help="What to do with the end that does not fill a patch."),
        click.option("--engine", type=click.Choice(ENGINES), default="auto",
                     help="What computes.  [default: onnxruntime on a CPU, tensorflow on a GPU]"),
        click.option("--device", metavar="DEVICE",
                     help="cpu, gpu, gpu:1, gpu:0,gpu:1, …  [default: a GPU if there is one]"),
        click.option("--precision", type=click.Choice(PRECISIONS), default="float32",
                     show_default=True, help="Of the network on a GPU."),
        click.option("--batch-size", type=click.IntRange(min=1), metavar="N",
                     help="Patches computed at once.  [default: what suits the engine]"),
        click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N",
                     help="Threads that read files ahead.  [default: one a core]"),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def library_options(command: Command) -> Command:
    """Options of outputs that a later run goes on with."""
    options = [
        click.option("--overwrite", is_flag=True, help="Start the output anew."),
        click.option("--hash", "content_hash", is_flag=True,
                     help="Tell unchanged files by their content, not by their time."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def writer_options(command: Command) -> Command:
    """Options of commands whose results go to a file or to standard output."""
    options = [
        click.option("-f", "--format", "form", type=click.Choice(FORMATS),
                     help="[default: by the ending of --output, else text]"),
        click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
                     help="Write there instead of to standard output."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command
