"""What the commands on audio share: options, and what is said of errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import click

from musicnn_zoo.cli.parts import (
    PATH,
    POSITIVE,
    WHOLE,
    FiniteRange,
    Options,
    option,
    option_group,
    path_option,
)
from musicnn_zoo.library.text_store import FORMATS
from musicnn_zoo.runtimes.engine import ENGINES, PRECISIONS
from musicnn_zoo.sound.find import Shard
from musicnn_zoo.sound.read import OnDamage
from musicnn_zoo.sound.remote import as_address, without_secrets
from musicnn_zoo.tagging.results import Silence
from musicnn_zoo.text import printable
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL


class Place(click.ParamType):  # type: ignore[type-arg]
    """A path, or an address that fsspec knows."""

    name = "path"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return an address as one, and all else as a path."""
        return as_address(value) or PATH.convert(value, param, ctx)


PLACE = Place()


class ShardType(click.ParamType):  # type: ignore[type-arg]
    """A share of a library."""

    name = "K/N"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the :class:`Shard` that was given."""
        del param, ctx
        return value if isinstance(value, Shard) else Shard.parse(value)


def plot_option(what: str) -> Options:
    """Return ``--plot``, which draws ``what``."""
    return path_option("--plot", help=f"Draw {what}: .png, .svg or .pdf.")


def check_plot(plot: Path | None) -> None:
    """Refuse a picture that could not be drawn, before any work."""
    if plot is not None:
        from musicnn_zoo.plots.drawing import check_picture

        check_picture(plot)


def say_drawn(plot: Path) -> None:
    """Say which picture was written, unless the command is quiet."""
    if not click.get_current_context().meta.get("quiet"):
        click.echo(printable(f"{plot}: drawn"), err=True)


files_argument = click.argument("files", nargs=-1, required=True, type=PLACE)

MODEL_HELP = "One of those that 'musicnn-zoo models' lists, hf://user/repository, or a folder"

layer_option = option(
    "--layer", default="penultimate", metavar="LAYER", help="Any layer of the model."
)


def patch_options(default_hop: str) -> Options:
    """How audio is cut into patches: ``patch_s``, ``hop_s``, ``tail``."""
    return option_group(
        option("--patch", "patch_s", type=float, metavar="SECONDS",
               help="Length of a patch.  [default: as in training]"),
        option("--hop", "hop_s", type=float, metavar="SECONDS",
               help="Distance between the starts of two patches.  "
               f"[default: {default_hop}]"),
        option("--tail", type=click.Choice(["drop", "pad"]), default="drop",
               help="What to do with the end that does not fill a patch."))  # fmt: skip


excerpt_options = option_group(
    option("--offset", type=FiniteRange(min=0), metavar="SECONDS",
           help="Hear each file from there on.  [default: from its start]"),
    option("--duration", type=POSITIVE, metavar="SECONDS",
           help="Hear at most so much of each file.  [default: to its end]"),
)  # fmt: skip
"""Which excerpt of each file is heard: ``offset``, ``duration``."""

damaged_option = option(
    "--damaged", type=click.Choice(get_args(OnDamage)), default="refuse",
    help="What to do with files of which more than a second or 2 % cannot be decoded.",
)  # fmt: skip

silence_option = option(
    "--silence", type=click.Choice(get_args(Silence)), default="skip",
    help="Leave silent patches (below -60 dBFS) out, or keep them as the original musicnn does.",
)  # fmt: skip

engine_options = option_group(
    option("--engine", type=click.Choice(ENGINES), default="auto", show_default=False,
           help="What runs the model.  [default: onnxruntime on a CPU, tensorflow on a GPU]"),
    option("--device", metavar="DEVICE",
           help="cpu, gpu, gpu:1, gpu:0,gpu:1, …  [default: a GPU if there is one]"),
)  # fmt: skip

speed_options = option_group(
    option("--precision", type=click.Choice(PRECISIONS), default="float32",
           help="Precision of the network on a GPU."),
    option("--batch-size", type=WHOLE, metavar="N",
           help="Patches computed at once.  [default: what suits the engine]"),
)  # fmt: skip

jobs_option = option(
    "-j", "--jobs", type=WHOLE, metavar="N",
    help="Threads that read files ahead.  [default: one a core, from 8 cores on fewer]",
)  # fmt: skip

selection_options = option_group(
    option("--include", multiple=True, metavar="PATTERN",
           help="In directories, take only files that fit, such as '*.flac'; several times for "
           "several patterns."),
    option("--exclude", multiple=True, metavar="PATTERN",
           help="Leave out files and directories that fit, such as 'Podcasts' or 'Live/*.mp3'."),
    option("--hidden", is_flag=True, help="Search hidden files and directories, too."),
)  # fmt: skip
"""What is taken of the directories among the files."""

analysis_options = option_group(
    files_argument, selection_options,
    option("-m", "--model", default=DEFAULT_MODEL, metavar="MODEL", help=f"{MODEL_HELP}."),
    patch_options("one patch"), excerpt_options, damaged_option, engine_options, speed_options,
    jobs_option,
)  # fmt: skip
"""What ``FileRun`` takes."""


@dataclass(frozen=True)
class Telling:
    """What a run says on standard error, and what its exit code says."""

    quiet: bool = False
    verbose: bool = False
    ignore_failures: bool = False
    ignore_known_failures: bool = False

    def ignores(self, messages: Iterable[str], known: Callable[[str], bool] | None) -> bool:
        """Whether failures leave the exit code at 0."""
        if self.ignore_failures:
            return True
        return self.ignore_known_failures and known is not None and all(map(known, messages))


USUAL = Telling()


def _note_quiet(context: click.Context, _: click.Parameter, given: bool) -> bool:
    context.meta["quiet"] = given
    return given


ignore_failures_option = option(
    "--ignore-failures", is_flag=True,
    help="Exit with 0 even if audio could not be used, which is listed all the same.",
)  # fmt: skip

telling_options = option_group(
    ignore_failures_option,
    option("--ignore-known-failures", is_flag=True,
           help="Exit with 0 if all that could not be used failed in the run before, too."),
    option("-q", "--quiet", is_flag=True, callback=_note_quiet,
           help="Say nothing on standard error but what makes the exit code."),
    option("-v", "--verbose", is_flag=True, help="Say what became of each file."),
)  # fmt: skip
"""What a :class:`Telling` takes."""


def telling_of(options: dict[str, Any]) -> Telling:
    """Take those options out of others."""
    return Telling(**{each.name: options.pop(each.name, False) for each in fields(Telling)})


prune_option = option(
    "--prune", is_flag=True,
    help="Forget the files that are gone from directories in which others are.",
)  # fmt: skip

library_options = option_group(
    option("--overwrite", is_flag=True, help="Replace the output instead of continuing it."),
    option("--hash", "content_hash", is_flag=True,
           help="Recognise unchanged and moved files by their content, not by their time."),
    option("--cluster", metavar="local|auto|ADDRESS",
           help="Do it by Ray, on the cores of this machine, on the cluster that runs here, or on "
           "that at an address (pip install 'musicnn-zoo[ray]')."),
    option("--gpus", type=click.FloatRange(min=0), default=0.0, show_default=False, metavar="G",
           help="Share of a GPU for each worker of a cluster.  [default: none]"),
    option("--shard", type=ShardType(), metavar="K/N",
           help="Do only the K-th of N shares of the files; 'musicnn-zoo merge' joins them."),
    prune_option,
    telling_options,
)  # fmt: skip
"""Options of outputs that a later run continues."""

writer_options = option_group(
    option("-f", "--format", "form", type=click.Choice(FORMATS),
           help="[default: by the ending of --output, else text]"),
    path_option("-o", "--output", kind=PLACE,
                help="Write there instead of to standard output (-): .txt, .json, .jsonl, .csv "
                "or .parquet."),
)  # fmt: skip
"""Options of commands whose results go to a file or to standard output."""


_REPORTED = 20


def report_unusable(
    messages: Sequence[str], total: int, *, again: Callable[[str], bool] | None = None
) -> None:
    """Print which files could not be used, and why; of those that failed ``again``, how many."""
    new = [message for message in messages if not (again and again(message))]
    known = len(messages) - len(new)
    repeated = f"{known} as in the run before" if known else ""
    if not new:
        click.echo(f"{known} of {total} could not be used, as in the run before", err=True)
        return
    head = f"{len(messages)} of {total} could not be used" + (f", {repeated}" if repeated else "")
    click.echo(f"{head}:", err=True)
    for message in new[:_REPORTED]:
        click.echo(f"  {printable(without_secrets(message))}", err=True)
    if len(new) > _REPORTED:
        click.echo(f"  … and {len(new) - _REPORTED} more", err=True)
