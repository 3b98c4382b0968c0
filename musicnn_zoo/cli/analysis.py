"""Commands on audio files: tag, taggram, events, embed, map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from musicnn_zoo.cli.options import (
    ChoiceOrNone,
    FileRun,
    analysis_options,
    check_plot,
    layer_option,
    library_options,
    option,
    path_option,
    plot_option,
    reports_errors,
    silence_option,
    writer_options,
)
from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.files import check_ending, check_writable
from musicnn_zoo.library.run import LIBRARY_SUFFIXES
from musicnn_zoo.library.text_store import Format, Writer
from musicnn_zoo.networks.config import CALIBRATED, Calibrated
from musicnn_zoo.tagging.results import DEFAULT_THRESHOLD, check_event_rule, check_ranking


class _Threshold(click.ParamType):  # type: ignore[type-arg]
    """A number, or the word for the model's own thresholds."""

    name = "number or 'calibrated'"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return value if value == CALIBRATED else click.FLOAT.convert(value, param, ctx)


@click.command()
@analysis_options
@option("-k", "--top-k", type=int, help="Show the K best tags.  [default: 5]", metavar="K")
@option("-t", "--threshold", type=_Threshold(), metavar="T",
        help="Show tags with a score of at least T, between 0 and 1; with 'calibrated', of at "
        "least the model's own threshold for the tag.")  # fmt: skip
@silence_option
@writer_options
@library_options
@plot_option("the result for one file")
@reports_errors
def tag(
    top_k: int | None, threshold: float | Calibrated | None, silence: str, **options: Any
) -> None:
    """Print the tags of each file with their scores."""
    check_ranking(top_k, threshold)
    settings = {"top_k": top_k, "threshold": threshold, "silence": silence}
    _write("tags", settings, **options)


@click.command()
@analysis_options
@writer_options
@library_options
@plot_option("the result for one file")
@reports_errors
def taggram(**options: Any) -> None:
    """Print the scores of each file over time.

    As text the three strongest tags of each patch, otherwise the scores of all tags.
    """
    _write("taggrams", {}, **options)


@click.command()
@analysis_options
@option("-t", "--threshold", type=float, default=DEFAULT_THRESHOLD, metavar="T",
        help="Score that begins an event, between 0 and 1.")  # fmt: skip
@option("--release", type=float, metavar="R", help="Score that it must keep.  [default: 0.8 × T]")
@option("--min-length", "min_length_s", type=float, default=0.0, metavar="SECONDS",
        help="Length of the shortest event.")  # fmt: skip
@silence_option
@writer_options
@library_options
@plot_option("the result for one file")
@reports_errors
def events(
    threshold: float,
    release: float | None,
    min_length_s: float,
    silence: str,
    **options: Any,
) -> None:
    """Print when each tag begins and ends in each file.

    Models that score single frames (autopool, attention) give events as sharp as their frames; the
    others, and all with --hop, events made of patches.
    """
    check_event_rule(threshold, release, min_length_s)
    rule = {"threshold": threshold, "release": release, "min_length_s": min_length_s}
    _write("events", {**rule, "silence": silence}, **options)


@click.command()
@analysis_options
@path_option("-o", "--output", required=True, help="File to write: .npz, .parquet or .jsonl.")
@layer_option
@option("--pooling", type=ChoiceOrNone(["mean", "max", "none"]), default="mean",
        help="How patches become one vector; none keeps one a patch.")  # fmt: skip
@silence_option
@library_options
@reports_errors
def embed(
    files: tuple[Path, ...],
    model: str,
    output: Path,
    layer: str,
    pooling: str | None,
    silence: str,
    overwrite: bool,
    content_hash: bool,
    **options: Any,
) -> None:
    """Write embeddings of the files.

    FILE.parquet has a row for each file, or with --pooling none for each patch, with its
    'source', its start 'time_s' and its 'embedding'; FILE.jsonl has a line for each file. Both
    grow as files are done. A NumPy archive FILE.npz is written at the end; it holds 'embeddings'
    (rows, dimensions), and for each row its 'sources' (the file) and 'times' (start in
    seconds), besides 'model', 'layer' and 'pooling'.
    """
    settings = {"layer": layer, "pooling": pooling, "silence": silence}
    run = FileRun(files, model, "embeddings", settings, **options)
    if _goes_on(output):
        run.to_store(output, overwrite=overwrite, content_hash=content_hash)
        return
    _refuse_library_options(output, overwrite, content_hash)
    check_writable(output)
    if output.suffix.lower() != ".npz":
        raise ArgumentError(f"output {str(output)!r} must end in .npz, .parquet or .jsonl")
    from musicnn_zoo.library.text_store import EmbeddingArchive

    with run, EmbeddingArchive(output) as archive:
        for value in run.values():
            archive.add(value)


@click.command(name="map")
@analysis_options
@layer_option
@option("--method", default="auto", show_default=False, metavar="METHOD",
        help="pca, or umap (pip install umap-learn).  [default: umap if it is installed]",
        )  # fmt: skip
@option("--colour-by", default="folder", metavar="WHAT",
        help="folder, or tag: the strongest of each file.")  # fmt: skip
@plot_option("the map")
@path_option("-o", "--output", help="Write the points: .json or .csv.")
@reports_errors
def map_files(
    files: tuple[Path, ...],
    model: str,
    layer: str,
    method: Any,
    colour_by: Any,
    plot: Path | None,
    output: Path | None,
    **options: Any,
) -> None:
    """Place the files on a plane: those that sound alike to the model are close together.

    Prints how many files there are of each folder, or of each strongest tag.
    """
    from musicnn_zoo.library.embedding_map import MAP_ENDINGS, check_map, make_map, save_map

    check_map(method, colour_by)
    if output is not None:
        check_ending(output, MAP_ENDINGS)
    check_plot(plot)
    with FileRun(files, model, "embedded tags", {"layer": layer}, **options) as run:
        found = make_map(run.results(), method=method, colour_by=colour_by)
        click.echo(str(found))
        if output is not None:
            save_map(found, output)
        if plot is not None:
            found.plot(plot)


def _write(
    kind: str,
    settings: dict[str, Any],
    *,
    files: tuple[Path, ...],
    model: str,
    form: Format | None,
    output: Path | None,
    overwrite: bool,
    content_hash: bool,
    plot: Path | None,
    **options: Any,
) -> None:
    """Write results to an output that a later run goes on with, or one after the other."""
    if plot is not None:
        _check_one_file(files)
    check_plot(plot)
    run = FileRun(files, model, kind, settings, **options)
    if output == Path("-"):
        output = None
    if output is not None and _goes_on(output) and form in (None, output.suffix[1:].lower()):
        if plot is not None:
            raise ArgumentError(
                f"--plot does not go with output {str(output)!r}, which may hold the file already; "
                "write .json or .txt, or draw in a run of its own"
            )
        run.to_store(output, overwrite=overwrite, content_hash=content_hash)
        return
    _refuse_library_options(output, overwrite, content_hash)
    with run, Writer(output, form) as writer:
        for value in run.values():
            writer.write(value)
            if plot is not None:
                value.plot(plot)


def _check_one_file(files: tuple[Path, ...]) -> None:
    received = f"{len(files)} files"
    if len(files) == 1:
        if not files[0].is_dir():
            return
        received = f"the directory {str(files[0])!r}"
    raise ArgumentError(f"--plot draws the result for one file; received {received}")


def _goes_on(output: Path) -> bool:
    """Whether an output is one that a later run goes on with."""
    return output.suffix.lower() in LIBRARY_SUFFIXES


def _refuse_library_options(output: Path | None, overwrite: bool, content_hash: bool) -> None:
    for given, name in ((overwrite, "--overwrite"), (content_hash, "--hash")):
        if given:
            raise ArgumentError(
                f"{name} goes with an output that ends in {', '.join(LIBRARY_SUFFIXES)}; "
                f"received {'none' if output is None else str(output)!r}"
            )
