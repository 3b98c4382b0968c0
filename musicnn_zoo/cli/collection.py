"""Commands that ask a library: find, similar, playlist, describe.

They import neither what decodes nor what computes, until a track that the library does not know
must be analysed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

import click

from musicnn_zoo.cli.failures import warn
from musicnn_zoo.cli.parts import PATH, WHOLE, library_option, option, option_group, path_option
from musicnn_zoo.errors import ArgumentError, AudioError
from musicnn_zoo.library.collection import (
    DEFAULT_K,
    DEFAULT_LENGTH,
    MOST_CLUSTERS,
    Library,
)
from musicnn_zoo.library.playlists import PLAYLIST_ENDINGS, playlist_name
from musicnn_zoo.library.tracks import TrackList
from musicnn_zoo.text import count, csv_lines, folded, path_cell, printable, safe_tag

Form = Literal["text", "json", "csv"]

_asking_options = option_group(
    library_option,
    option("-m", "--model", metavar="MODEL",
           help="Ask what this model said, if several were indexed.  [default: the last]"),
    option("-f", "--format", "form", type=click.Choice(get_args(Form)), default="text",
           help="How tracks are printed."),
)  # fmt: skip
_layer_option = option(
    "--layer", metavar="LAYER", help="Compare vectors of this layer.  [default: the first indexed]"
)
_output_options = option_group(
    path_option("-o", "--output", help="Write a playlist instead: .m3u8 or .m3u."),
    option("--absolute", is_flag=True, help="Write absolute paths to it, not relative ones."),
)


@click.command()
@click.argument("query")
@option("--sort", metavar="NAME",
        help="Highest first by a tag, or in order of duration, title, artist, album, genre or "
        "path.  [default: the first tag asked to be high]")  # fmt: skip
@option("-n", "--limit", type=WHOLE, metavar="N", help="Show at most N tracks.")
@_output_options
@_asking_options
def find(
    query: str,
    sort: str | None,
    limit: int | None,
    output: Path | None,
    absolute: bool,
    place: Path | None,
    model: str | None,
    form: Form,
) -> None:
    """Find the tracks of the library that fulfil QUERY.

    \b
    musicnn-zoo find "piano > 0.4 and slow > 0.2 and not vocals > 0.3"
    musicnn-zoo find "calm and duration < 6:00" --limit 50 --output calm.m3u8
    musicnn-zoo find "artist = 'J. S. Bach' and (harpsichord or 'no vocals' > 0.3)"

    A tag by itself means a score of at least 0.5. Tags are those of 'musicnn-zoo info MODEL';
    words such as calm, lively or 'female vocals' stand for several. Names with spaces may have
    quotes or underscores. Fields: duration (in seconds, or 3:30), title, artist, album, genre and
    path, compared by =, != and ~ (contains).
    """  # noqa: D301 (click keeps the lines of a paragraph after backspace)
    library = Library(place)
    found = library.find(query, sort=sort, limit=limit, model=model)
    if not found.tracks:
        warn(f"nothing fits{_why_nothing(library, found)}")
    _deliver([found], form, output, absolute=absolute)


def _why_nothing(library: Library, found: TrackList) -> str:
    if not library.counts().get("present"):
        return "; the library holds no tracks: fill it with 'musicnn-zoo index FOLDER'"
    if not found.asked["tags"]:
        return ""
    return "; many scores are low: what is the highest, say find 'TAG > 0'"


@click.command()
@click.argument("tracks", nargs=-1, required=True, type=PATH, metavar="TRACK...")
@option("-k", "--top-k", "k", type=WHOLE, default=DEFAULT_K, metavar="K",
        help="Show the K most similar.")  # fmt: skip
@option("--each", is_flag=True, help="Of several tracks, ask for each, not for their mean.")
@option("--like", multiple=True, metavar="TAG", help="Prefer tracks with more of this tag.")
@option("--unlike", multiple=True, metavar="TAG", help="Prefer tracks with less of this tag.")
@option("--distinct", is_flag=True,
        help="Leave out what is the same recording in another file.")  # fmt: skip
@_layer_option
@_output_options
@_asking_options
def similar(
    tracks: tuple[Path, ...],
    k: int,
    each: bool,
    like: tuple[str, ...],
    unlike: tuple[str, ...],
    distinct: bool,
    layer: str | None,
    output: Path | None,
    absolute: bool,
    place: Path | None,
    model: str | None,
    form: Form,
) -> None:
    """Find the tracks of the library that sound most like each TRACK, which need not be in it.

    The number is the cosine of their embeddings: 1 is the same.
    """
    if each and output is not None and len(tracks) > 1:
        raise ArgumentError("--each makes several lists; --output takes one")
    library = Library(place)
    asked: Sequence[Sequence[Path]] = [[track] for track in tracks] if each else [tracks]
    lists = [
        library.similar(
            seeds, k=k, like=like, unlike=unlike, distinct=distinct, layer=layer, model=model
        )
        for seeds in asked
    ]
    _deliver(lists, form, output, absolute=absolute)


@click.command()
@path_option("--from", "start", metavar="TRACK", help="Begin with this track, and go to --to.")
@path_option("--to", "end", metavar="TRACK", help="End with this track.")
@path_option("--similar-to", "seeds", multiple=True, metavar="TRACK",
             help="Begin with this track, and go on with those most like it; several times for "
             "the mean of several.")  # fmt: skip
@option("--cluster", "clusters", type=click.IntRange(1, MOST_CLUSTERS), metavar="N",
        help="Make N lists of tracks that sound alike, each named by its tags; --output is a "
        "folder then.")  # fmt: skip
@option("-n", "--length", "n", type=WHOLE, metavar="N",
        help="Tracks in a list; a way has fewer where no more are between its ends.  "
        f"[default: {DEFAULT_LENGTH}, of clusters all]")  # fmt: skip
@_layer_option
@_output_options
@_asking_options
def playlist(
    start: Path | None,
    end: Path | None,
    seeds: tuple[Path, ...],
    clusters: int | None,
    n: int | None,
    layer: str | None,
    output: Path | None,
    absolute: bool,
    place: Path | None,
    model: str | None,
    form: Form,
) -> None:
    """Make a playlist: a smooth way between two tracks, more of the same, or one a cluster.

    \b
    musicnn-zoo playlist --from a.mp3 --to b.mp3 -n 15 --output way.m3u8
    musicnn-zoo playlist --similar-to a.mp3 --output more.m3u8
    musicnn-zoo playlist --cluster 12 --output lists/
    """  # noqa: D301 (as above)
    ways = [start is not None or end is not None, bool(seeds), clusters is not None]
    if sum(ways) != 1 or (start is None) != (end is None):
        raise ArgumentError("give --from and --to, or --similar-to, or --cluster")
    library = Library(place)
    if clusters is not None:
        lists = library.clusters(clusters, n=n, layer=layer, model=model)
        if output is not None:
            _write_folder(lists, output, absolute=absolute)
            return
        _deliver(lists, form, None)
        return
    length = DEFAULT_LENGTH if n is None else n
    if seeds:
        made = library.more_like(seeds, n=length, layer=layer, model=model)
    else:
        assert start is not None
        assert end is not None
        if os.path.realpath(start) == os.path.realpath(end):
            raise ArgumentError(f"a way leads to another track; received {str(start)!r} twice")
        made = library.playlist(start, end, n=length, layer=layer, model=model)
        if len(made) < length:
            warn(f"the library has a smooth way of {count(len(made), 'track')}, not of {length}")
    _deliver([made], form, output, absolute=absolute)


@click.command()
@click.argument("tracks", nargs=-1, required=True, type=PATH, metavar="TRACK...")
@library_option
@option("-m", "--model", metavar="MODEL", help="As of 'find'.")
def describe(tracks: tuple[Path, ...], place: Path | None, model: str | None) -> None:
    """Say of each TRACK what its genre, mood, instrument, voice, era and character are, as JSON.

    The shape is that of AcousticBrainz's high-level data, a line for each TRACK. A group is null
    where the scores do not tell.
    """
    library = Library(place)
    unusable = []
    for track in tracks:
        try:
            click.echo(json.dumps(library.describe(track, model=model)))
        except AudioError as error:
            unusable.append(str(error))
    if unusable:
        from musicnn_zoo.cli.options import report_unusable

        report_unusable(unusable, len(tracks))
        raise click.exceptions.Exit(1)


def _deliver(
    lists: Sequence[TrackList], form: Form, output: Path | None, *, absolute: bool = False
) -> None:
    """Write a playlist, or print lists."""
    if output is not None:
        _write(lists[0], output, absolute=absolute)
    elif form == "json":
        shown = [each.to_dict() for each in lists]
        click.echo(json.dumps(shown[0] if len(shown) == 1 else shown))
    elif form == "csv":
        click.echo(_as_csv(lists), nl=False)
    else:
        for each in lists:
            if len(lists) > 1:
                click.echo(f"{printable(each.name)} ({count(len(each), 'track')}):")
            if each.tracks:
                click.echo(str(each))


def _as_csv(lists: Sequence[TrackList]) -> str:
    names = list(dict.fromkeys(name for each in lists for track in each for name in track.values))

    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:.6f}"

    head = ["list", "path", "title", "artist", "album", "duration_s", *names, "duplicate_of"]
    rows: list[Iterable[str]] = [[safe_tag(name) for name in head]]
    for each in lists:
        for track in each:
            rows.append(
                [
                    safe_tag(each.name), path_cell(track.path), safe_tag(track.title),
                    safe_tag(track.artist), safe_tag(track.album), f"{track.duration_s:.3f}",
                    *(cell(track.values.get(name)) for name in names),
                    path_cell(track.duplicate_of or ""),
                ]
            )  # fmt: skip
    return csv_lines(rows)


def _write_folder(lists: Sequence[TrackList], folder: Path, *, absolute: bool) -> None:
    if folder.suffix.lower() in PLAYLIST_ENDINGS:
        raise ArgumentError(f"--cluster writes a list each: name a folder, not {str(folder)!r}")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ArgumentError(f"{str(folder)!r} cannot be a folder ({error.strerror})") from error
    taken: set[str] = set()
    for each in lists:
        name, number = playlist_name(each.name), 1
        while folded(name) in taken:
            number += 1
            name = f"{playlist_name(each.name)} {number}"
        taken.add(folded(name))
        _write(each, folder / f"{name}.m3u8", absolute=absolute)


def _write(tracks: TrackList, output: Path, *, absolute: bool) -> None:
    left_out = tracks.to_m3u(output, absolute=absolute)
    for path in left_out:
        warn(f"{path}: left out, since a playlist cannot hold its name")
    written = count(len(tracks) - len(left_out), "track")
    click.echo(f"{printable(str(output))}: {written}", err=True)
