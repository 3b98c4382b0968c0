"""Commands on audio files: tag, taggram, events, embed, map."""

from __future__ import annotations

import os
import stat
import sys
import time
import traceback as tracebacks
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from musicnn_zoo.cli.failures import Failure, describe_unexpected, warn
from musicnn_zoo.cli.options import (
    PLACE,
    USUAL,
    Telling,
    analysis_options,
    check_plot,
    layer_option,
    library_options,
    plot_option,
    report_unusable,
    say_drawn,
    silence_option,
    telling_of,
    writer_options,
)
from musicnn_zoo.cli.parts import ChoiceOrNone, option, option_group, path_option
from musicnn_zoo.errors import ArgumentError, AudioError, MusicnnZooError
from musicnn_zoo.files import check_ending, check_writable
from musicnn_zoo.library.remote_store import landed, store_at
from musicnn_zoo.library.store import (
    LIBRARY_SUFFIXES,
    NOWHERE,
    Searched,
    Store,
    Summary,
    run_library,
)
from musicnn_zoo.library.text_store import ASIDE, METHODS, EmbeddingArchive, Format, Writer
from musicnn_zoo.networks.config import CALIBRATED, Calibrated
from musicnn_zoo.sound import read
from musicnn_zoo.sound.find import WHOLE, Shard, find_audio, irregularity, is_pattern
from musicnn_zoo.sound.isolation import prepare_decoding
from musicnn_zoo.sound.remote import Address, as_address, without_secrets
from musicnn_zoo.sound.sources import local_path
from musicnn_zoo.tagging.results import (
    DEFAULT_THRESHOLD,
    Clip,
    FileResult,
    check_event_rule,
    check_ranking,
)
from musicnn_zoo.text import clock, first_line, printable
from musicnn_zoo.zoo.load import find_pretrained

if TYPE_CHECKING:
    from musicnn_zoo.library.blocks import Blocks
    from musicnn_zoo.library.cluster_run import Progress


def warn_of_damage(path: str, clip: Clip) -> None:
    """Say how much of a file could not be decoded, if it is damaged."""
    if clip.damaged:
        warn(f"{path}: damaged, {clip.lost_s:.1f} s could not be decoded")


class AudioFiles:
    """The audio files of a command line: those that exist, and those that could not be used.

    As a context manager it ends with a report of the latter and exit code 1. ``paths`` are the
    files that are there, in place of directories the audio files below them, and ``folders`` the
    directories in which they were found.
    """

    def __init__(
        self,
        files: tuple[Path | Address, ...],
        *,
        shard: Shard | None = None,
        telling: Telling = USUAL,
        **selection: Any,
    ) -> None:
        self._selection = selection
        self._telling = telling
        self.shard = shard or WHOLE
        self._failed: list[str] = []
        self._failed_as_before: Callable[[str], bool] | None = None
        self._not_found: list[tuple[str, str]] = []
        self._missed: set[str] = set()
        self.folders: dict[str, Path | Address] = {}
        self.paths = list(self._expand(files))
        self._total = len(self.paths) + len(self._failed)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if not self._failed or (kind is not None and issubclass(kind, Exception)):
            return
        ignored = self._telling.ignores(self._failed, self._failed_as_before)
        if kind is None and self._total == 1 and not ignored:
            raise Failure(self._failed[0], 1)
        if not (ignored and self._telling.quiet):
            report_unusable(self._failed, self._total, again=self._failed_as_before)
        if kind is None and not ignored:
            raise click.exceptions.Exit(1)

    def fail(self, path: str, error: Exception) -> str:
        """Note that a file could not be used; return the line that says so."""
        if isinstance(error, MusicnnZooError):
            message = str(error)
        else:
            message = f"{path}: {describe_unexpected(error)}"
        self._failed.append(message)
        if click.get_current_context().meta["traceback"]:
            tracebacks.print_exception(error)
        return message

    def _expand(self, files: tuple[Path | Address, ...]) -> Iterator[str]:
        for given in files:
            if isinstance(given, Address):
                yield from self._found_below(given)
                continue
            path = given
            try:
                path = given if os.path.lexists(given) else Path(local_path(given))
                mode = path.stat().st_mode
            except AudioError as error:
                self._miss(given, str(error).partition(": ")[2])
                continue
            except (FileNotFoundError, NotADirectoryError):
                self._miss(path, "there is no such file or directory")
                continue
            except OSError as error:
                self._miss(path, f"cannot be read ({error.strerror})")
                continue
            if stat.S_ISDIR(mode):
                yield from self._found_below(path)
            elif not self.shard.holds(given):
                continue
            elif (irregular := irregularity(mode)) and not _is_handed_over(path, mode):
                self._miss(path, irregular)
            else:
                yield os.fspath(path)

    def _found_below(self, folder: Path | Address) -> list[str]:
        failed = len(self._failed)
        share = str(self.shard)
        audio = find_audio(folder, **self._selection, shard=share, on_problem=self._miss)
        found = [each if isinstance(each, Address) else os.fspath(each) for each in audio]
        if found != [folder]:
            self.folders.update(dict.fromkeys(found, folder))
        if not found and len(self._failed) == failed and self.shard == WHOLE:
            chosen = any(self._selection.values())
            fits = " that fit --include, --exclude and --hidden" if chosen else ""
            what = "no audio file fits the pattern" if is_pattern(folder) else None
            self._miss(folder, what or f"the directory holds no audio files{fits}")
        return found

    def _miss(self, path: Path | Address, reason: str) -> None:
        if isinstance(path, Address):
            place = str(path)
        else:  # A link is identified by its own place, not by its target.
            place = os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118
        if place in self._missed:
            return
        self._missed.add(place)
        self._failed.append(f"{path}: {reason}")
        self._not_found.append((str(path), self._failed[-1]))


_CUTTING = ("patch_s", "hop_s", "tail")
_METHODS = {**METHODS, "embedded tags": "embedded_tags_files"}
"""Methods of a Tagger by what is made of each file."""


class FileRun(AudioFiles):
    """One analysis of the files of a command line, with the options of ``analysis_options``.

    ``kind`` is what is made of each file, and ``own`` are the options that only this kind has. The
    model is loaded when the first file needs it.
    """

    def __init__(
        self,
        files: tuple[Path | Address, ...],
        model: str,
        kind: str,
        own: dict[str, Any],
        **options: Any,
    ) -> None:
        self._model = find_pretrained(model)
        self._kind = kind
        excerpt = {name: options.pop(name, None) for name in ("offset", "duration")}
        self._settings = {**own, **{name: options.pop(name) for name in _CUTTING}}
        self._settings |= {name: value for name, value in excerpt.items() if value is not None}
        self._reading = {name: options.pop(name) for name in ("damaged", "jobs")}
        self._storing = {name: options.pop(name, False) for name in ("overwrite", "content_hash")}
        selection = {name: options.pop(name) for name in ("include", "exclude", "hidden")}
        shard, telling = options.pop("shard", None), telling_of(options)
        self._prune = options.pop("prune", False)
        self._cluster, self._gpus = options.pop("cluster", None), options.pop("gpus", 0.0)
        self._loading = options
        super().__init__(files, shard=shard, telling=telling, **selection)

    @property
    def tags(self) -> tuple[str, ...]:
        """The model's tags."""
        return self._model.spec.tags

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides what comes of a file, ready for JSON."""
        return {
            "kind": self._kind,
            **self._settings,
            "model": self._model.spec.name,
            "weights": self._model.digest(),
            "precision": self._loading["precision"],
        }

    def results(self) -> Iterator[FileResult[Any]]:
        """Yield what comes of each file, and tell of those that cannot be used."""
        for result in self._analyse(self.paths):
            if result.error is not None:
                self.fail(str(result.source), result.error)
            else:
                warn_of_damage(str(result.source), result.unwrap().clip)
            yield result

    def values(self) -> Iterator[Any]:
        """Yield what comes of the files that can be used."""
        return (result.unwrap() for result in self.results() if result.error is None)

    def stored(self, output: Path | Address) -> bool:
        """Write results to an output that a later run continues, if it is one, and sum up."""
        if output.suffix.lower() not in LIBRARY_SUFFIXES:
            return False
        settings = self.settings
        if self._kind == "taggrams" or "wide" in settings:  # a column for each tag
            settings["tags"] = self.tags
        if self._cluster is not None:
            self._store_by_cluster(output, settings)
            return True
        with self:
            with store_at(output, settings, overwrite=self._storing["overwrite"]) as store:
                hashing = self._storing["content_hash"]
                summary = run_library(
                    self.paths, self._analyse, store,
                    content_hash=hashing, shard=self.shard, failed=self.fail,
                    pruned=self._searched,
                )  # fmt: skip
                store.record_failures(self._not_found)
                self._failed_as_before = store.failed_as_before
            self._sum_up(output, summary, store)
        return True

    def _store_by_cluster(self, output: Path | Address, settings: dict[str, Any]) -> None:
        if output.suffix.lower() != ".parquet":
            raise ArgumentError(f"--cluster writes .parquet; received output {str(output)!r}")
        from musicnn_zoo.library.cluster import Workers
        from musicnn_zoo.library.cluster_run import run_on_cluster

        told = time.monotonic()

        def tell(progress: Progress) -> None:
            nonlocal told
            every_s = 1 if sys.stderr.isatty() else _TOLD_EVERY_S
            if time.monotonic() - told >= every_s and not self._telling.quiet:
                told = time.monotonic()
                click.echo(str(progress), err=True)

        with self:
            summary, blocks = run_on_cluster(
                self.paths, output, settings, model=self._model, cluster=self._cluster,
                loading=self._loading, damaged=self._reading["damaged"], shard=self.shard,
                workers=Workers(cores=self._reading["jobs"] or 1, gpus=self._gpus),
                missed=self._not_found, failed=self.fail, progress=tell, pruned=self._searched,
                **self._storing,
            )  # fmt: skip
            self._failed_as_before = blocks.failed_as_before
            self._sum_up(output, summary, blocks)

    def _sum_up(self, output: Path | Address, summary: Summary, store: Store | Blocks) -> None:
        summary.failed += len(self._not_found)
        if self._telling.quiet:
            return
        click.echo(f"{printable(str(output))}: {summary}", err=True)
        if summary.damaged:
            click.echo(f"damaged: {printable(store.place_of('damaged.csv'))}", err=True)
        if summary.failed:
            click.echo(f"reasons: {printable(store.place_of('failures.csv'))}", err=True)

    @property
    def _searched(self) -> Searched:
        """Directories below which rows of files that are gone are dropped, if that was asked for.

        Nothing is dropped below one in which nothing was found, whose disk may not be mounted.
        """
        if not self._prune:
            return NOWHERE
        folders, unread = self.folders.values(), [path for path, _ in self._not_found]
        return Searched(frozenset(map(_identity, folders)), frozenset(map(_identity, unread)))

    def refuse_storing(self, output: Path | Address | None) -> None:
        """Refuse options that do not go with an output that is written in one go."""
        for name, given in {**self._storing, "prune": self._prune}.items():
            if given:
                raise ArgumentError(
                    f"--{name.removeprefix('content_')} goes with an output that ends in "
                    f"{', '.join(LIBRARY_SUFFIXES)}; "
                    f"received {'none' if output is None else str(output)!r}"
                )
        if self._cluster is not None:
            raise ArgumentError(
                "--cluster goes with an output that ends in .parquet; "
                f"received {'none' if output is None else str(output)!r}"
            )

    def _analyse(self, paths: list[str]) -> Iterator[FileResult[Any]]:
        if not paths:
            return
        prepare_decoding(read.__name__, paths[:1])
        from musicnn_zoo.tagging.tagger import Tagger

        analyse = getattr(Tagger(self._model, **self._loading), _METHODS[self._kind])
        settings = {name: value for name, value in self._settings.items() if name not in ASIDE}
        how = progress_for(paths, self._telling)
        results = analyse(paths, **settings, **self._reading, progress=how)
        if not (self._telling.quiet or self._telling.verbose or how):
            results = _told(results, len(paths))
        for result in results:
            if self._telling.verbose:
                told = f"done: {result.source}"
                if result.error is not None:
                    told = f"failed: {first_line(without_secrets(str(result.error)))}"
                click.echo(printable(told), err=True)
            yield result


_TOLD_EVERY_S = 30.0


def progress_for(paths: list[str], telling: Telling = USUAL) -> Any:
    """Return the ``progress`` of a Tagger: a bar on a terminal, lines of one file elsewhere."""
    if telling.quiet or telling.verbose:
        return False
    if sys.stderr.isatty():
        return True
    return _SecondsTold() if len(paths) == 1 else False


class _SecondsTold:
    """Says on standard error every 30 s how far one file is, where no bar can be drawn."""

    def __init__(self) -> None:
        self._started = self._told = time.monotonic()

    def __call__(self, source: str | None, seconds: float) -> None:
        from musicnn_zoo.tagging.tagger import length_of

        now = time.monotonic()
        if now - self._told < _TOLD_EVERY_S:
            return
        self._told = now
        total = length_of(source)
        line = f"{clock(seconds)} heard"
        if total is not None and total > seconds:
            rest_s = (now - self._started) / seconds * (total - seconds)
            line = f"{clock(seconds)} of {clock(total)} heard, about {clock(rest_s)} left"
        click.echo(f"{printable(str(source))}: {line}", err=True)


def _told(results: Iterator[FileResult[Any]], total: int) -> Iterator[FileResult[Any]]:
    """Say on standard error every 30 s how far it is, where no progress bar can be drawn."""
    started = told = time.monotonic()
    failed = 0
    for done, result in enumerate(results, start=1):
        yield result
        failed += result.error is not None
        now = time.monotonic()
        if now - told >= _TOLD_EVERY_S and done < total:
            told = now
            rest_s = (now - started) / done * (total - done)
            click.echo(
                f"{done} of {total} files, {failed} failed, about {clock(rest_s)} left", err=True
            )


def _identity(place: str | Path | Address) -> str:
    """Return the absolute path without links, or the address, by which a place is known."""
    address = as_address(place)
    return os.path.realpath(place) if address is None else str(address)


def _is_handed_over(path: Path, mode: int) -> bool:
    """Whether a path is a pipe that a shell has opened for this process: ``<(command)``, ``|``."""
    place = os.fspath(path)
    return stat.S_ISFIFO(mode) and place.startswith(("/dev/fd/", "/dev/stdin", "/proc/self/fd/"))


class Threshold(click.ParamType):  # type: ignore[type-arg]
    """A number, or the word for the model's own thresholds."""

    name = "number or 'calibrated'"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the number or the word that was given."""
        return value if value == CALIBRATED else click.FLOAT.convert(value, param, ctx)


class Count(click.ParamType):  # type: ignore[type-arg]
    """How many tags; the word ``all`` is answered."""

    name = "integer"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the number that was given."""
        if value == "all":
            raise ArgumentError("--top-k is a number; received 'all': --threshold 0 shows all tags")
        return click.INT.convert(value, param, ctx)


result_options = option_group(
    writer_options, library_options, plot_option("the result for one file")
)


@click.command()
@analysis_options
@option("-k", "--top-k", type=Count(), help="Show the K best tags.  [default: 5]", metavar="K")
@option("-t", "--threshold", type=Threshold(), metavar="T",
        help="Show tags with a score of at least T, between 0 and 1; with 'calibrated', of at "
        "least the model's own threshold for the tag.")  # fmt: skip
@silence_option
@option("--wide", is_flag=True, help="CSV with a line for each file and a column for each tag.")
@result_options
def tag(
    top_k: int | None,
    threshold: float | Calibrated | None,
    silence: str,
    wide: bool,
    **options: Any,
) -> None:
    """Print the tags of each file with their scores."""
    check_ranking(top_k, threshold)
    own: dict[str, Any] = {"top_k": top_k, "threshold": threshold, "silence": silence}
    if wide:
        if not (top_k is None and threshold is None):
            raise ArgumentError("--wide writes all tags: leave out --top-k and --threshold")
        own["wide"] = True
    _write("tags", own, **options)


@click.command()
@analysis_options
@result_options
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
@result_options
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
@path_option("-o", "--output", required=True, kind=PLACE,
             help="File to write: .npz, .parquet or .jsonl.")  # fmt: skip
@layer_option
@option("--pooling", type=ChoiceOrNone(["mean", "max", "none"]), default="mean",
        help="How patches become one vector; none keeps one a patch.")  # fmt: skip
@silence_option
@library_options
def embed(
    output: Path | Address, layer: str, pooling: str | None, silence: str, **options: Any
) -> None:
    """Write embeddings of the files.

    FILE.parquet has a row for each file, or with --pooling none for each patch, with its
    'source', its start 'time_s' and its 'embedding'; FILE.jsonl has a line for each file. Both
    grow as files are done. A NumPy archive FILE.npz is written at the end; it holds 'embeddings'
    (rows, dimensions), and for each row its 'sources' (the file) and 'times' (start in
    seconds), besides 'model', 'layer' and 'pooling'.
    """
    own = {"layer": layer, "pooling": pooling, "silence": silence}
    run = FileRun(kind="embeddings", own=own, **options)
    if run.stored(output):
        return
    run.refuse_storing(output)
    if isinstance(output, Path):
        check_writable(output)
    if output.suffix.lower() != ".npz":
        raise ArgumentError(f"output {str(output)!r} must end in .npz, .parquet or .jsonl")
    with run, landed(output) as place, EmbeddingArchive(place) as archive:
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
@path_option("-o", "--output", kind=PLACE, help="Write the points: .json or .csv.")
def map_files(
    layer: str,
    method: Any,
    colour_by: Any,
    plot: Path | None,
    output: Path | Address | None,
    **options: Any,
) -> None:
    """Place the files on a plane: those that sound alike to the model are close together.

    Prints how many files there are of each folder, or of each strongest tag.
    """
    from musicnn_zoo.library.embedding_map import MAP_ENDINGS, check_map, make_map, save_map

    check_map(method, colour_by)
    with ExitStack() as stack:
        place = None
        if output is not None:
            place = check_ending(stack.enter_context(landed(output)), MAP_ENDINGS)
        check_plot(plot)
        run = stack.enter_context(FileRun(kind="embedded tags", own={"layer": layer}, **options))
        found = make_map(run.results(), method=method, colour_by=colour_by)
        click.echo(str(found))
        if place is not None:
            save_map(found, place)
        if plot is not None:
            found.plot(plot)
            say_drawn(plot)


def _write(
    kind: str,
    own: dict[str, Any],
    *,
    files: tuple[Path | Address, ...],
    form: Format | None,
    output: Path | Address | None,
    plot: Path | None,
    **options: Any,
) -> None:
    """Write results to an output that a later run continues, or one after the other."""
    if plot is not None:
        _check_one_file(files, "--plot draws the result for one file")
        check_plot(plot)
    run = FileRun(files, kind=kind, own=own, **options)
    if output == Path("-"):
        output = None
    if "wide" in own and output is not None and output.suffix.lower() in (".parquet", ".jsonl"):
        raise ArgumentError(f"--wide goes with CSV; received output {str(output)!r}")
    if output is not None and form in (None, output.suffix[1:].lower()):
        if plot is not None and output.suffix.lower() in LIBRARY_SUFFIXES:
            raise ArgumentError(
                f"--plot does not go with output {str(output)!r}, which may hold the file already; "
                "write .json or .txt, or draw in a run of its own"
            )
        if run.stored(output):
            return
    run.refuse_storing(output)
    with ExitStack() as stack:
        place = None if output is None else stack.enter_context(landed(output))
        writer = Writer(place, form, wide=run.tags if "wide" in own else None)
        if writer.form == "jams":
            _check_one_file(files, "a JAMS file holds one recording")
        stack.enter_context(run)
        stack.enter_context(writer)
        for value in run.values():
            writer.write(value)
            if plot is not None:
                value.plot(plot)
                say_drawn(plot)


def _check_one_file(files: tuple[Path | Address, ...], why: str) -> None:
    received = f"{len(files)} files"
    if len(files) == 1:
        if isinstance(files[0], Address) or not files[0].is_dir():
            return
        received = f"the directory {str(files[0])!r}"
    raise ArgumentError(f"{why}; received {received}")
