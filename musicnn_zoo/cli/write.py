"""The command that writes tags into the files: write."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from musicnn_zoo.cli.analysis import Count, FileRun, Threshold
from musicnn_zoo.cli.options import (
    MODEL_HELP,
    PLACE,
    damaged_option,
    engine_options,
    jobs_option,
    patch_options,
    report_unusable,
    selection_options,
    silence_option,
    speed_options,
)
from musicnn_zoo.cli.parts import option, option_group, path_option
from musicnn_zoo.errors import ArgumentError, AudioError
from musicnn_zoo.library.tag_fields import require_mutagen
from musicnn_zoo.library.write_back import (
    Links,
    PlanFile,
    WritingSummary,
    WrittenFile,
    apply_plan,
    plan_writing,
    undo_writing,
)
from musicnn_zoo.library.writing_rules import CUSTOM, KEPT_FIELDS, WritingRules, check_fields
from musicnn_zoo.networks.config import Calibrated
from musicnn_zoo.sound.remote import Address
from musicnn_zoo.tagging.results import check_ranking
from musicnn_zoo.text import printable
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL

what_options = option_group(
    path_option("--plan", help="Write there what would be done: .jsonl. Nothing else is changed."),
    path_option("--apply", "applied", metavar="PLAN", help="Do what a plan says."),
    path_option("--undo", "undone", metavar="JOURNAL",
                help="Make the files what they were before they were written."),
)  # fmt: skip

choice_options = option_group(
    option("--fields", default=CUSTOM, metavar="LIST",
           help="custom (MUSICNN_TAGS, MUSICNN_MODEL), genre, mood, instrument, voice, era, "
           "character; several with commas between them."),
    option("-k", "--top-k", type=Count(), metavar="K",
           help="Write the K best tags.  [default: 5]"),
    option("-t", "--threshold", type=Threshold(), metavar="T",
           help="Write tags with a score of at least T, and all genres and moods for which one "
           "stands; or 'calibrated'."),
    path_option("--map", "rules", help="TOML file that says which tags become which words."),
    option("--overwrite", is_flag=True, help="Replace a genre and a mood that are there."),
)  # fmt: skip

writing_options = option_group(
    path_option("--journal", help="Where --apply writes the way back.  "
                "[default: the plan's name with .journal.jsonl]", show_default=False),
    option("--keep-times", is_flag=True, help="Keep the times of the files."),
    option("--part-links", is_flag=True,
           help="Write files that have several names (hard links); the others stay as they are."),
)  # fmt: skip


@click.command()
@click.argument("files", nargs=-1, type=PLACE)
@what_options
@choice_options
@writing_options
@selection_options
@option("-m", "--model", default=DEFAULT_MODEL, metavar="MODEL", help=f"{MODEL_HELP}.")
@patch_options("one patch")
@damaged_option
@silence_option
@engine_options
@speed_options
@jobs_option
def write(
    files: tuple[Path | Address, ...],
    plan: Path | None,
    applied: Path | None,
    undone: Path | None,
    journal: Path | None,
    keep_times: bool,
    part_links: bool,
    **options: Any,
) -> None:
    """Write tags into the files themselves: first a plan, then what it says.

    'write FILES --plan plan.jsonl' shows what would be done, 'write --apply plan.jsonl' does it,
    and 'write --undo plan.journal.jsonl' takes it back.

    Only the fields of the plan change; genres and moods that are there are kept. The sound is not
    touched. Needs mutagen: pip install 'musicnn-zoo[write]'.
    """
    given = [each for each in (plan, applied, undone) if each is not None]
    if len(given) != 1:
        raise ArgumentError("write needs one of --plan, --apply and --undo; see --help")
    if plan is not None:
        if not files:
            raise ArgumentError("--plan needs FILES: audio files or directories")
        _refuse("--plan", *_OF_APPLYING)
        for each in files:
            if isinstance(each, Address):
                raise ArgumentError(f"only files of this machine are written; received {each}")
        _plan(files, plan, **options)
        return
    if files:
        raise ArgumentError(f"--apply and --undo take no FILES; received {str(files[0])!r}")
    if applied is not None:
        _refuse("--apply", *options)
        journal = journal or applied.with_name(f"{applied.stem}.journal.jsonl")
        links: Links = "part" if part_links else "refuse"
        done = apply_plan(applied, journal=journal, keep_times=keep_times, links=links, told=_tell)
        _sum_up(done, f"undo: musicnn-zoo write --undo {journal}" if done.number("written") else "")
    elif undone is not None:
        _refuse("--undo", *options, *_OF_APPLYING)
        _sum_up(undo_writing(undone, told=_tell), "")


_OF_APPLYING = ("journal", "keep_times", "part_links")


def _refuse(given: str, *names: str) -> None:
    """Refuse options that belong to another step, and would do nothing."""
    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is ParameterSource.COMMANDLINE:
            raise ArgumentError(f"{parameter.opts[-1]} does not go with {given}")


def _plan(
    files: tuple[Path | Address, ...],
    plan: Path,
    *,
    fields: str,
    top_k: int | None,
    threshold: float | Calibrated | None,
    rules: Path | None,
    overwrite: bool,
    silence: str,
    **options: Any,
) -> None:
    require_mutagen()
    check_ranking(top_k, threshold)
    chosen = check_fields(fields)
    words = WritingRules.built_in() if rules is None else WritingRules.load(rules)
    if rules is not None and chosen == (CUSTOM,):
        raise ArgumentError(f"--map {rules} does nothing for {CUSTOM}: name its fields by --fields")
    if overwrite and not {*chosen} & {*KEPT_FIELDS}:
        raise ArgumentError(f"--overwrite is for {' and '.join(KEPT_FIELDS)}: name one by --fields")
    own = {"top_k": top_k, "threshold": threshold, "silence": silence}
    run = FileRun(files, kind="tags", own=own, **options)
    settings = {
        **run.settings,
        "fields": chosen,
        "overwrite": overwrite,
        "words": {field: words.words[field] for field in chosen if field != CUSTOM},
    }
    changing = 0
    with run, closing(PlanFile(plan, settings)) as stored:
        run.paths = [path for path in run.paths if not stored.holds(path)]
        for planned in plan_writing(run.results(), fields=chosen, rules=words, overwrite=overwrite):
            stored.add(planned)
            if planned.error is None:
                changing += bool(planned.changes)
                click.echo("\n".join(map(printable, planned.describe())))
            elif planned.path:
                run.fail(planned.source, AudioError(planned.error))
        there = f", {stored.known:,} were there already" if stored.known else ""
        click.echo(
            printable(f"{plan}: {changing:,} of {len(run.paths):,} files would be written{there}"),
            err=True,
        )


def _tell(done: WrittenFile) -> None:
    if done.outcome != "failed":
        click.echo(printable(f"{done.outcome}: {done.path}"))


def _sum_up(done: WritingSummary, then: str) -> None:
    click.echo(printable(f"{done}"), err=True)
    if then:
        click.echo(printable(then), err=True)
    if done.failures:
        report_unusable([one.reason for one in done.failures], len(done.files))
        raise click.exceptions.Exit(1)
