"""Commands on audio files: tag, taggram, events, embed, map."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from musicnn_zoo.cli.options import (
    Analyse,
    FileRun,
    Results,
    analysis_options,
    library_options,
    reports_errors,
    writer_options,
)
from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.files import check_ending, check_writable
from musicnn_zoo.library.run import LIBRARY_SUFFIXES
from musicnn_zoo.library.text_store import Format, Writer
from musicnn_zoo.networks.config import CALIBRATED, Calibrated
from musicnn_zoo.tagging.results import (
    DEFAULT_THRESHOLD,
    FileResult,
    check_event_rule,
    check_ranking,
)

if TYPE_CHECKING:
    from musicnn_zoo.tagging.tagger import Tagger


class _Threshold(click.ParamType):  # type: ignore[type-arg]
    """A number, or the word for the model's own thresholds."""

    name = "number or 'calibrated'"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return value if value == CALIBRATED else click.FLOAT.convert(value, param, ctx)


plot_option = click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE",
    help="Draw the result for one file: .png, .svg or .pdf.",
)  # fmt: skip


@click.command()
@analysis_options
@click.option("-k", "--top-k", type=int, help="Show the K best tags.  [default: 5]", metavar="K")
@click.option("-t", "--threshold", type=_Threshold(), metavar="T",
              help="Show tags with a score of at least T, between 0 and 1; or 'calibrated', of at "
              "least the model's own threshold for the tag.")  # fmt: skip
@writer_options
@library_options
@plot_option
@reports_errors
def tag(
    files: tuple[Path, ...],
    top_k: int | None,
    threshold: float | Calibrated | None,
    form: Format | None,
    output: Path | None,
    overwrite: bool,
    content_hash: bool,
    plot: Path | None,
    hop_s: float | None,
    patch_s: float | None,
    tail: Any,
    damaged: Any,
    jobs: int | None,
    **loading: Any,
) -> None:
    """Print the tags of each file with their scores."""
    check_ranking(top_k, threshold)
    _check_plot(plot, files)
    run = FileRun(files, **loading)
    cutting = {"hop_s": hop_s, "patch_s": patch_s, "tail": tail}
    ranking = {"top_k": top_k, "threshold": threshold}

    def analyse(tagger: Tagger, paths: list[str], progress: bool) -> Results:
        return tagger.tag_files(
            paths, **ranking, **cutting, damaged=damaged, jobs=jobs, progress=progress  # type: ignore[arg-type]
        )  # fmt: skip

    settings = {"kind": "tags", **ranking, **cutting}
    _write(run, analyse, settings, form=form, output=output, overwrite=overwrite,
           content_hash=content_hash, plot=plot)  # fmt: skip


@click.command()
@analysis_options
@writer_options
@library_options
@plot_option
@reports_errors
def taggram(
    files: tuple[Path, ...],
    form: Format | None,
    output: Path | None,
    overwrite: bool,
    content_hash: bool,
    plot: Path | None,
    hop_s: float | None,
    patch_s: float | None,
    tail: Any,
    damaged: Any,
    jobs: int | None,
    **loading: Any,
) -> None:
    """Print the scores of each file over time.

    As text the three strongest tags of each patch, otherwise the scores of all tags.
    """
    _check_plot(plot, files)
    run = FileRun(files, **loading)
    cutting = {"hop_s": hop_s, "patch_s": patch_s, "tail": tail}

    def analyse(tagger: Tagger, paths: list[str], progress: bool) -> Results:
        return tagger.taggram_files(paths, **cutting, damaged=damaged, jobs=jobs, progress=progress)

    settings = {"kind": "taggrams", "tags": run.tags, **cutting}
    _write(run, analyse, settings, form=form, output=output, overwrite=overwrite,
           content_hash=content_hash, plot=plot)  # fmt: skip


@click.command()
@analysis_options
@click.option("-t", "--threshold", type=float, default=DEFAULT_THRESHOLD, show_default=True,
              metavar="T", help="Score that begins an event, between 0 and 1.")  # fmt: skip
@click.option("--release", type=float, metavar="R",
              help="Score that it must keep.  [default: 0.8 × T]")  # fmt: skip
@click.option("--min-length", "min_length_s", type=float, default=0.0, show_default=True,
              metavar="SECONDS", help="Of the shortest event.")  # fmt: skip
@writer_options
@library_options
@plot_option
@reports_errors
def events(
    files: tuple[Path, ...],
    threshold: float,
    release: float | None,
    min_length_s: float,
    form: Format | None,
    output: Path | None,
    overwrite: bool,
    content_hash: bool,
    plot: Path | None,
    hop_s: float | None,
    patch_s: float | None,
    tail: Any,
    damaged: Any,
    jobs: int | None,
    **loading: Any,
) -> None:
    """Print when each tag begins and ends in each file.

    Models that score single frames (autopool, attention) give events as sharp as their frames; the
    others, and all with --hop, events made of patches.
    """
    check_event_rule(threshold, release, min_length_s)
    _check_plot(plot, files)

    run = FileRun(files, **loading)
    cutting = {"hop_s": hop_s, "patch_s": patch_s, "tail": tail}
    rule = {"threshold": threshold, "release": release, "min_length_s": min_length_s}

    def analyse(tagger: Tagger, paths: list[str], progress: bool) -> Results:
        return tagger.events_files(
            paths, **rule, **cutting, damaged=damaged, jobs=jobs, progress=progress  # type: ignore[arg-type]
        )  # fmt: skip

    settings = {"kind": "events", **rule, **cutting}
    _write(run, analyse, settings, form=form, output=output, overwrite=overwrite,
           content_hash=content_hash, plot=plot)  # fmt: skip


@click.command()
@analysis_options
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE",
              help="File to write: .npz, .parquet or .jsonl.")  # fmt: skip
@click.option("--layer", default="penultimate", show_default=True, metavar="LAYER",
              help="Any layer of the model.")  # fmt: skip
@click.option("--pooling", type=click.Choice(["mean", "max", "none"]), default="mean",
              show_default=True,
              help="How patches become one vector; none keeps one a patch.")  # fmt: skip
@library_options
@reports_errors
def embed(
    files: tuple[Path, ...],
    output: Path,
    layer: str,
    pooling: Any,
    overwrite: bool,
    content_hash: bool,
    hop_s: float | None,
    patch_s: float | None,
    tail: Any,
    damaged: Any,
    jobs: int | None,
    **loading: Any,
) -> None:
    """Write embeddings of the files.

    FILE.parquet has a row for each file, or with --pooling none for each patch, with its
    'source', its start 'time_s' and its 'embedding'; FILE.jsonl has a line for each file. Both
    grow as files are done. A NumPy archive FILE.npz is written at the end; it holds 'embeddings'
    (rows, dimensions), and for each row its 'sources' (the file) and 'times' (start in
    seconds), besides 'model', 'layer' and 'pooling'.
    """
    run = FileRun(files, **loading)
    cutting = {"hop_s": hop_s, "patch_s": patch_s, "tail": tail}
    kind = {"layer": layer, "pooling": None if pooling == "none" else pooling}

    def analyse(tagger: Tagger, paths: list[str], progress: bool) -> Results:
        return tagger.embed_files(
            paths, **kind, **cutting, damaged=damaged, jobs=jobs, progress=progress  # type: ignore[arg-type]
        )  # fmt: skip

    if _goes_on(output):
        settings = {"kind": "embeddings", **kind, **cutting}
        run.to_store(analyse, output, settings, overwrite=overwrite, content_hash=content_hash)
        return
    _refuse_library_options(output, overwrite, content_hash)
    check_writable(output)
    if output.suffix.lower() != ".npz":
        raise ArgumentError(f"output {str(output)!r} must end in .npz, .parquet or .jsonl")
    from musicnn_zoo.library.text_store import EmbeddingArchive

    with run, EmbeddingArchive(output) as archive:
        for value in run.values(analyse):
            archive.add(value)


@click.command(name="map")
@analysis_options
@click.option("--layer", default="penultimate", show_default=True, metavar="LAYER",
              help="Any layer of the model.")  # fmt: skip
@click.option(
    "--method",
    default="auto",
    metavar="METHOD",
    help="pca, or umap (pip install umap-learn).  [default: umap if it is installed]",
)
@click.option("--colour-by", default="folder", show_default=True, metavar="WHAT",
              help="folder, or tag: the strongest of each file.")  # fmt: skip
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE",
              help="Draw the map: .png, .svg or .pdf.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
              help="Write the points: .json or .csv.")  # fmt: skip
@reports_errors
def map_files(
    files: tuple[Path, ...],
    layer: str,
    method: Any,
    colour_by: Any,
    plot: Path | None,
    output: Path | None,
    hop_s: float | None,
    patch_s: float | None,
    tail: Any,
    damaged: Any,
    jobs: int | None,
    **loading: Any,
) -> None:
    """Bring the files to a plane, where those that sound alike to the model are close together.

    Prints how many files there are of each folder, or of each strongest tag.
    """
    from musicnn_zoo.library.embedding_map import MAP_ENDINGS, check_map, make_map, save_map

    check_map(method, colour_by)
    if output is not None:
        check_ending(output, MAP_ENDINGS)
    if plot is not None:
        from musicnn_zoo.plots.drawing import check_picture

        check_picture(plot)
    results: list[FileResult[Any]] = []

    def analyse(tagger: Tagger, paths: list[str], progress: bool) -> Results:
        for result in tagger.embedded_tags_files(
            paths, layer=layer, hop_s=hop_s, patch_s=patch_s, tail=tail, damaged=damaged, jobs=jobs,
            progress=progress,
        ):  # fmt: skip
            results.append(result)
            yield result

    with FileRun(files, **loading) as run:
        for _ in run.values(analyse):
            pass
        found = make_map(results, method=method, colour_by=colour_by)
        click.echo(str(found))
        if output is not None:
            save_map(found, output)
        if plot is not None:
            found.plot(plot)


def _write(
    run: FileRun,
    analyse: Analyse,
    settings: dict[str, Any],
    *,
    form: Format | None,
    output: Path | None,
    overwrite: bool,
    content_hash: bool,
    plot: Path | None,
) -> None:
    """Write results to an output that a later run goes on with, or one after the other."""
    if output == Path("-"):
        output = None
    if output is not None and _goes_on(output) and form in (None, output.suffix[1:].lower()):
        if plot is not None:
            raise ArgumentError(
                f"--plot does not go with output {str(output)!r}, which may hold the file already; "
                "write .json or .txt, or draw in a run of its own"
            )
        run.to_store(analyse, output, settings, overwrite=overwrite, content_hash=content_hash)
        return
    _refuse_library_options(output, overwrite, content_hash)
    with run, Writer(output, form) as writer:
        for value in run.values(analyse):
            writer.write(value)
            if plot is not None:
                value.plot(plot)


def _check_plot(plot: Path | None, files: tuple[Path, ...]) -> None:
    """Refuse a picture that could not be drawn, before any work."""
    if plot is None:
        return
    from musicnn_zoo.plots.drawing import check_picture

    if len(files) != 1:
        raise ArgumentError(f"--plot draws the result for one file; received {len(files)} files")
    if files[0].is_dir():
        raise ArgumentError(
            f"--plot draws the result for one file; received the directory {str(files[0])!r}"
        )
    check_picture(plot)


def _goes_on(output: Path) -> bool:
    """Whether an output is one that a later run goes on with."""
    return output.suffix.lower() in LIBRARY_SUFFIXES


def _refuse_library_options(output: Path | None, overwrite: bool, content_hash: bool) -> None:
    for given, option in ((overwrite, "--overwrite"), (content_hash, "--hash")):
        if given:
            raise ArgumentError(
                f"{option} goes with an output that ends in {', '.join(LIBRARY_SUFFIXES)}; "
                f"received {'none' if output is None else str(output)!r}"
            )
