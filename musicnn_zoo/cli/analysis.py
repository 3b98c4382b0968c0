"""Commands on audio files: tag, taggram, embed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from musicnn_zoo.cli.file_run import FileRun, Results
from musicnn_zoo.cli.options import analysis_options, library_options, writer_options
from musicnn_zoo.cli.reporting import reports_errors
from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.results import check_ranking
from musicnn_zoo.tag_thresholds import CALIBRATED, Calibrated
from musicnn_zoo.writers import LIBRARY_SUFFIXES, Format, Writer, check_writable

if TYPE_CHECKING:
    from musicnn_zoo.tagger import Tagger


class _Threshold(click.ParamType):  # type: ignore[type-arg]
    """A number, or the word for the model's own thresholds."""

    name = "number or 'calibrated'"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return value if value == CALIBRATED else click.FLOAT.convert(value, param, ctx)


@click.command()
@analysis_options
@click.option("-k", "--top-k", type=int, help="Show the K best tags.  [default: 5]", metavar="K")
@click.option("-t", "--threshold", type=_Threshold(), metavar="T",
              help="Show tags with a score of at least T, between 0 and 1; or 'calibrated', of at "
              "least the model's own threshold for the tag.")  # fmt: skip
@writer_options
@library_options
@reports_errors
def tag(
    files: tuple[Path, ...],
    top_k: int | None,
    threshold: float | Calibrated | None,
    form: Format | None,
    output: Path | None,
    overwrite: bool,
    content_hash: bool,
    hop_s: float | None,
    patch_s: float | None,
    tail: Any,
    jobs: int | None,
    **loading: Any,
) -> None:
    """Print the tags of each file with their scores."""
    check_ranking(top_k, threshold)
    run = FileRun(files, **loading)
    cutting = {"hop_s": hop_s, "patch_s": patch_s, "tail": tail}
    ranking = {"top_k": top_k, "threshold": threshold}

    def analyse(tagger: Tagger, paths: list[str], progress: bool) -> Results:
        return tagger.tag_files(
            paths, **ranking, **cutting, jobs=jobs, progress=progress  # type: ignore[arg-type]
        )  # fmt: skip

    if output is not None and _goes_on(output) and form in (None, output.suffix[1:].lower()):
        settings = {"kind": "tags", **ranking, **cutting}
        run.to_store(analyse, output, settings, overwrite=overwrite, content_hash=content_hash)
        return
    _refuse_library_options(output, overwrite, content_hash)
    with run, Writer(output, form) as writer:
        for value in run.values(analyse):
            writer.write(value)


@click.command()
@analysis_options
@writer_options
@reports_errors
def taggram(
    files: tuple[Path, ...],
    form: Format | None,
    output: Path | None,
    hop_s: float | None,
    patch_s: float | None,
    tail: Any,
    jobs: int | None,
    **loading: Any,
) -> None:
    """Print the scores of each file over time.

    As text the three strongest tags of each patch, otherwise the scores of all tags.
    """

    def analyse(tagger: Tagger, paths: list[str], progress: bool) -> Results:
        return tagger.taggram_files(
            paths, hop_s=hop_s, patch_s=patch_s, tail=tail, jobs=jobs, progress=progress
        )

    with FileRun(files, **loading) as run, Writer(output, form) as writer:
        for value in run.values(analyse):
            writer.write(value)


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
            paths, **kind, **cutting, jobs=jobs, progress=progress  # type: ignore[arg-type]
        )  # fmt: skip

    if _goes_on(output):
        settings = {"kind": "embeddings", **kind, **cutting}
        run.to_store(analyse, output, settings, overwrite=overwrite, content_hash=content_hash)
        return
    _refuse_library_options(output, overwrite, content_hash)
    check_writable(output)
    if output.suffix.lower() != ".npz":
        raise ArgumentError(f"output {str(output)!r} must end in .npz, .parquet or .jsonl")
    from musicnn_zoo.archive import EmbeddingArchive

    with run, EmbeddingArchive(output) as archive:
        for value in run.values(analyse):
            archive.add(value)


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
