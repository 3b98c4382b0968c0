"""The command index: bring a library up to date."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args

import click

from musicnn_zoo.cli.failures import warn
from musicnn_zoo.cli.options import (
    MODEL_HELP,
    Telling,
    damaged_option,
    engine_options,
    jobs_option,
    prune_option,
    report_unusable,
    selection_options,
    telling_of,
    telling_options,
)
from musicnn_zoo.cli.parts import PATH, POSITIVE, library_option, option
from musicnn_zoo.errors import MusicnnZooError
from musicnn_zoo.library.collection import Library
from musicnn_zoo.library.filling import DEFAULT_LAYER, Compatible
from musicnn_zoo.library.indexing import IndexSummary, Progress
from musicnn_zoo.text import path_to_text, printable

_TOLD_EVERY_S = 30.0


@click.command()
@click.argument("folders", nargs=-1, type=PATH)
@library_option
@option("--watch", type=POSITIVE, metavar="MIN",
        help="Do not end, but look for changes again after so many minutes.")  # fmt: skip
@prune_option
@option("--forget-gone", is_flag=True,
        help="As --prune, and forget folders that are gone, and what was in folders that are "
        "empty now. Not where a disk may be unmounted.")  # fmt: skip
@telling_options
@selection_options
@option("-m", "--model", metavar="MODEL",
        help=f"{MODEL_HELP}.  [default: that of the run before, at first MTT_musicnn]")  # fmt: skip
@option("--layer", "layers", multiple=True, metavar="LAYER",
        help="Keep vectors of this layer, for 'similar'; several times for several.  "
        f"[default: as before, at first {DEFAULT_LAYER}]")  # fmt: skip
@option("--patch", "patch_s", type=float, metavar="SECONDS",
        help="Length of a patch.  [default: as before, at first as in training]")  # fmt: skip
@option("--hop", "hop_s", type=float, metavar="SECONDS",
        help="Distance between the starts of two patches.  "
        "[default: as before, at first one patch]")  # fmt: skip
@option("--tail", type=click.Choice(["drop", "pad"]),
        help="What to do with the end that does not fill a patch.  "
        "[default: as before, at first drop]")  # fmt: skip
@option("--silence", type=click.Choice(["skip", "keep"]),
        help="Leave silent patches out, or keep them.  "
        "[default: as before, at first skip]")  # fmt: skip
@option("--compatible", type=click.Choice(get_args(Compatible)),
        help="Compute the vectors that AudioMuse-AI's MusiCNN gives instead, beside those that are "
        "there; it decides on model, layer and patches.")  # fmt: skip
@damaged_option
@engine_options
@jobs_option
@option("--progress", type=click.Choice(["text", "json"]), default="text",
        help="How progress is told on standard error; json: a line for each file.")  # fmt: skip
@option("-f", "--format", "form", type=click.Choice(["text", "json"]), default="text",
        help="How the summary is printed.")  # fmt: skip
def index(
    folders: tuple[Path, ...],
    place: Path | None,
    watch: float | None,
    prune: bool,
    forget_gone: bool,
    layers: tuple[str, ...],
    progress: str,
    form: str,
    **options: Any,
) -> None:
    """Bring the library up to date with FOLDERS, by default with those of earlier runs.

    Tags and embeddings are computed of what is new or has changed. Files that were moved, copied
    or given other titles are known by their sound, and nothing is computed. It may end at any
    time; the next run goes on from there.
    """
    library = Library(place)
    telling = telling_of(options)
    while True:
        try:
            known = _messages(library.told_failures() if library.path.exists() else ())
            summary = library.index(
                folders, layer=layers or None, on_progress=_teller(progress, telling), **options
            )
        except MusicnnZooError as error:
            if watch is None or not library.path.exists():
                raise
            warn(str(error))
        else:
            messages = _messages(summary.failures)
            ignored = telling.ignores(messages, known.__contains__)
            if form == "json" or not telling.quiet:
                _report(library, summary, form)
            elif summary.failures and not ignored:
                _report_failures(summary)
            if prune or forget_gone:
                library.forget_gone(unmounted=forget_gone)
            if watch is None:
                if summary.failed and not ignored:
                    raise click.exceptions.Exit(1)
                return
        assert watch is not None
        time.sleep(60 * watch)


def _report(library: Library, summary: IndexSummary, form: str) -> None:
    if form == "json":
        held = {"kind": "index", "library": path_to_text(library.path), **summary.to_dict()}
        for failure in held["failures"]:
            failure["path"] = path_to_text(failure["path"])
        click.echo(json.dumps(held))
        return
    click.echo(f"{printable(str(library.path))}: {summary}")
    if not summary.looked_at:
        warn("there is no audio in what was looked through")
    if summary.failures:
        _report_failures(summary)


def _report_failures(summary: IndexSummary) -> None:
    report_unusable(_messages(summary.failures), summary.looked_at)


def _messages(failures: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{path}: {reason}" for path, reason in failures]


def _teller(form: str, telling: Telling) -> Callable[[Progress], None]:
    if form == "json":

        def tell_all(progress: Progress) -> None:
            record = {"event": "file", **progress._asdict()}
            record["path"] = path_to_text(progress.path)
            click.echo(json.dumps(record), err=True)

        return tell_all
    on_terminal = sys.stderr.isatty() and not telling.verbose
    told = time.monotonic()

    def tell(progress: Progress) -> None:
        nonlocal told
        now = time.monotonic()
        if telling.quiet:
            return
        if telling.verbose:
            click.echo(printable(progress.path), err=True)
            return
        if now - told < (1.0 if on_terminal else _TOLD_EVERY_S):
            return
        told = now
        line = f"{progress.looked_at} files, {progress.done} computed, {progress.failed} failed"
        click.echo(f"\r{line}" if on_terminal else line, err=True, nl=not on_terminal)

    return tell
