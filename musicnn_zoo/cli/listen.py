"""The command listen: pages to see and hear, and live tags."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import click

from musicnn_zoo.cli.analysis import AudioFiles, progress_for, warn_of_damage
from musicnn_zoo.cli.failures import warn
from musicnn_zoo.cli.options import (
    MODEL_HELP,
    damaged_option,
    engine_options,
    jobs_option,
    patch_options,
    speed_options,
)
from musicnn_zoo.cli.parts import PATH, option, path_option
from musicnn_zoo.errors import ArgumentError, AudioError, MusicnnZooError
from musicnn_zoo.files import replacing
from musicnn_zoo.listening.listing import Listed, list_page, navigation
from musicnn_zoo.listening.page import (
    DEFAULT_HOP_S,
    ListeningPage,
    check_place,
    listening_page,
    listening_pages,
    relative_url,
)
from musicnn_zoo.tagging.results import Taggram, Tags, check_ranking
from musicnn_zoo.text import clock, printable
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL
from musicnn_zoo.zoo.load import find_pretrained

if TYPE_CHECKING:
    from musicnn_zoo.sound.decoders import Decoded
    from musicnn_zoo.tagging.tagger import Tagger


LiveFormat = Literal["text", "jsonl"]
LIVE_FORMATS: tuple[LiveFormat, ...] = get_args(LiveFormat)

_WIDEST_BAR = 40
_CLEAR_BELOW = "\x1b[J"
_UP = "\x1b[{}A"
_SILENT = "silent"


class LiveView:
    """Shows the ``top_k`` strongest tags of each row of a taggram, as the rows come.

    On a terminal the tags stay in place and their bars move. Elsewhere, or as JSON lines, every
    row is a line.
    """

    def __init__(self, top_k: int, form: LiveFormat) -> None:
        self._top_k = top_k
        self._form = form
        self._in_place = form == "text" and sys.stdout.isatty()
        self._bar = _encodable("█", otherwise="#")
        self._lines = 0

    def show(self, rows: Taggram) -> None:
        """Show every row of a taggram."""
        for index, time in enumerate(rows.times):
            at = slice(index, index + 1)
            silent = None if rows.silent is None else rows.silent[at]
            row = replace(rows, scores=rows.scores[at], times=rows.times[at], silent=silent)
            tags = row.rank(top_k=self._top_k)
            end_s = float(time) + rows.patch_s
            if self._form == "jsonl":
                scores = {tag: round(score, 6) for tag, score in tags}
                record = {"start_s": round(float(time), 3), "end_s": round(end_s, 3)}
                self._line(json.dumps({**record, "tags": scores}))
            elif self._in_place:
                self._redraw(end_s, tags)
            else:
                listed = ", ".join(f"{printable(tag)} {score:.2f}" for tag, score in tags)
                self._line(f"{clock(end_s):>7}  {listed or _SILENT}")

    def _redraw(self, end_s: float, tags: Tags) -> None:
        width = shutil.get_terminal_size().columns
        names = [printable(tag) for tag in tags.names]
        longest = min(max(map(len, names), default=0), max(4, width // 3))
        room = max(0, min(_WIDEST_BAR, width - longest - 9))
        head = f"heard until {clock(end_s)}" + ("" if names else f", {_SILENT}")
        lines = [head[: width - 1]]
        for name, (_, score) in zip(names, tags, strict=True):
            bar = self._bar * round(room * score)
            lines.append(f"{name[:longest]:>{longest}}  {score:.2f}  {bar}"[: width - 1])
        up = _UP.format(self._lines) if self._lines else ""
        self._lines = len(lines)
        self._line(up + _CLEAR_BELOW + "\n".join(lines))

    def _line(self, text: str) -> None:
        click.echo(text)
        sys.stdout.flush()


def _encodable(character: str, *, otherwise: str) -> str:
    """Return a character if standard output's encoding has it."""
    try:
        character.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return otherwise
    return character


_FILE_ENDING = re.compile(r"\.(?=.*[a-z])[a-z0-9]{1,7}", re.IGNORECASE)
"""What looks like the ending of a file; a folder may be called ``Vol. 2`` or ``pages-1.0``."""
_LARGE_BYTES = 100 * 2**20


@click.command()
@click.argument("files", nargs=-1, type=PATH)
@option("-m", "--model", "models", multiple=True, metavar="MODEL",
        help=f"{MODEL_HELP}; several times for several models on one page.  "
        f"[default: {DEFAULT_MODEL}]")  # fmt: skip
@path_option("-o", "--output", metavar="PLACE",
             help="Page, or folder for pages.  [default: the current folder]")  # fmt: skip
@option("--link", is_flag=True, help="Link to the audio file instead of embedding it.")
@option("--serve", is_flag=True, help="Write nothing; serve the pages to browsers on this machine.")
@option("--port", type=click.IntRange(0, 65535), metavar="N",
        help="Port of --serve.  [default: one that is free]")  # fmt: skip
@option("--microphone", is_flag=True, help="Show the tags of what the microphone hears.")
@option("--input-device", metavar="NAME",
        help="Microphone, by name or number.  [default: the system's]")  # fmt: skip
@option("--stdin", is_flag=True, help="Show the tags of what comes on standard input.")
@option("--raw", metavar="FORMAT",
        help="Samples on standard input without a header: s16le, f32le, …")  # fmt: skip
@option("--rate", type=int, metavar="HZ", help="Sample rate of --raw.  [default: 44100]")
@option("--channels", type=int, metavar="N", help="Channels of --raw.  [default: 2]")
@option("-k", "--top-k", type=int, metavar="K", help="Tags to show live.  [default: 5]")
@option("-f", "--format", "form", type=click.Choice(LIVE_FORMATS),
        help="Format of live tags.  [default: text]")  # fmt: skip
@patch_options(f"{DEFAULT_HOP_S:.0f} s")
@damaged_option
@engine_options
@speed_options
@jobs_option
def listen(
    files: tuple[Path, ...],
    models: tuple[str, ...],
    output: Path | None,
    link: bool,
    serve: bool,
    port: int | None,
    microphone: bool,
    input_device: str | None,
    stdin: bool,
    raw: str | None,
    rate: int | None,
    channels: int | None,
    top_k: int | None,
    form: LiveFormat | None,
    hop_s: float | None,
    patch_s: float | None,
    tail: Any,
    damaged: Any,
    jobs: int | None,
    **loading: Any,
) -> None:
    """See how the tags change, and hear whether they are right.

    With FILES it writes a page for each, with a player, the waveform and the taggram, in one HTML
    file that needs no network. With --microphone, or --stdin for instance behind ffmpeg, it
    shows the tags of what is heard just now:

    \b
        musicnn-zoo listen song.mp3 --model MTT_musicnn --model MSD_musicnn
        musicnn-zoo listen ~/Music --serve
        ffmpeg -v error -i URL -f wav - | musicnn-zoo listen --stdin
    """  # noqa: D301 (click keeps the lines of a paragraph after backspace)
    if [bool(files), microphone, stdin].count(True) != 1:
        raise ArgumentError("give files, --microphone or --stdin: one of the three")
    live = microphone or stdin
    _belong("--microphone", microphone, {"--input-device": input_device})
    _belong("--stdin", stdin, {"--raw": raw})
    _belong("--raw", raw is not None, {"--rate": rate, "--channels": channels})
    _belong("--microphone or --stdin", live, {"--top-k": top_k, "--format": form})
    _belong("files", not live, {"--output": output, "--link": link, "--serve": serve,
                                "--port": port, "--jobs": jobs,
                                "--damaged": None if damaged == "refuse" else damaged})  # fmt: skip
    _belong("--serve", serve, {"--port": port})
    _belong("pages that are written, not served", not serve, {"--output": output, "--link": link})
    found = [find_pretrained(model) for model in dict.fromkeys(models or (DEFAULT_MODEL,))]
    cutting = {"patch_s": patch_s, "hop_s": DEFAULT_HOP_S if hop_s is None else hop_s, "tail": tail}

    def load() -> list[Tagger]:
        from musicnn_zoo.tagging.tagger import Tagger

        return [Tagger(each, **loading) for each in found]

    if live:
        if len(found) > 1:
            raise ArgumentError(f"live tags are of one model; received {len(found)}")
        top_k, _ = check_ranking(top_k, None)
        source = _microphone(input_device) if microphone else _pipe(raw, rate, channels)
        (tagger,) = load()
        _show_live(tagger, source, cutting, LiveView(top_k or 1, form or "text"))
    elif serve:
        _serve(AudioFiles(files), load(), {**cutting, "damaged": damaged}, port or 0)
    else:
        making = {**cutting, "damaged": damaged, "jobs": jobs}
        _write_pages(AudioFiles(files), load, output or Path(), link, making)


def _belong(owner: str, given: bool, options: dict[str, Any]) -> None:
    for name, value in options.items():
        if value not in (None, False) and not given:
            raise ArgumentError(f"{name} goes with {owner}")


def _write_pages(
    files: AudioFiles,
    load: Callable[[], list[Tagger]],
    output: Path,
    link: bool,
    making: dict[str, Any],
) -> None:
    with files:
        places = _places(files, output)
        usable = []
        for path in files.paths:
            try:
                places[path].parent.mkdir(parents=True, exist_ok=True)
                check_place(places[path])
                usable.append(path)
            except (OSError, ArgumentError) as error:
                files.fail(path, ArgumentError(f"{path}: {error}"))
        if not usable:
            return
        index = _place_of_list(output, places) if len(usable) > 1 else None
        written: list[_Written] = []
        waiting: _Made | None = None
        for result in listening_pages(usable, load(), **making, progress=progress_for(usable)):
            path = str(result.source)
            try:
                made = _Made(path, places[path], result.unwrap())
            except MusicnnZooError as error:
                files.fail(path, error)
                continue
            _save(waiting, made, written, index, files, link=link)
            waiting = made
        _save(waiting, None, written, index, files, link=link)
        if index is not None and len(written) > 1:
            listed = [each.seen_from(index) for each in written]
            with replacing(index, failure="the list cannot be written") as file:
                file.write(list_page(listed).encode())
            click.echo(printable(str(index)))


class _Written(NamedTuple):
    """A page that was written, and the tags of its recording."""

    place: Path
    name: str
    tags: Tags

    def seen_from(self, page: Path) -> Listed:
        """Return it with its address relative to another page."""
        return Listed(relative_url(self.place, page), self.name, self.tags, self.tags.model)


class _Made(NamedTuple):
    """A page that is written when it is known which one comes next."""

    path: str
    place: Path
    page: ListeningPage

    def as_written(self) -> _Written:
        """Return what is listed of it."""
        tags = self.page.taggrams[0].rank()
        return _Written(self.place, self.page.recording.title, tags)


def _place_of_list(output: Path, places: dict[str, Path]) -> Path | None:
    """Return where the list of pages is written; None if something else is there."""
    place = output / "index.html"
    try:
        check_place(place)
    except ArgumentError as error:
        warn(f"{error}; there is no list of the pages")
        return None
    return None if place in places.values() else place


def _save(
    made: _Made | None,
    following: _Made | None,
    written: list[_Written],
    index: Path | None,
    files: AudioFiles,
    *,
    link: bool,
) -> None:
    """Write a page with links to those beside it, and say so."""
    if made is None:
        return
    path, place, page = made
    ways = ""
    if index is not None:
        back = written[-1].seen_from(place) if written else None
        on = None if following is None else following.as_written().seen_from(place)
        ways = navigation(relative_url(index, place), back, on)
    try:
        page.save(place, link=link, navigation=ways)
    except MusicnnZooError as error:
        files.fail(path, error)
        return
    written.append(made.as_written())
    click.echo(printable(str(place)))
    warn_of_damage(path, page.taggrams[0].clip)
    if link and page.recording.kind is None:
        warn(f"{path}: browsers do not play this format; leave out --link")
    elif not link and place.stat().st_size > _LARGE_BYTES:
        size = place.stat().st_size / 2**20
        warn(f"{place}: has {size:.0f} MiB; --link leaves the audio where it is")


def _places(files: AudioFiles, output: Path) -> dict[str, Path]:
    """Return where the page of each file is written: to ``output``, or below it if a folder."""
    if output.suffix.lower() in (".html", ".htm") and not output.is_dir():
        if len(files.paths) > 1 or files.folders:
            raise ArgumentError(
                f"output {str(output)!r} is one page; name a folder for those of several files"
            )
        return dict.fromkeys(files.paths, output)
    if _FILE_ENDING.fullmatch(output.suffix) and not output.is_dir():
        raise ArgumentError(
            f"output {str(output)!r} must end in .html, or be a folder; received {output.suffix!r} "
            "(a folder of that name must be there already)"
        )
    # In a folder, pages lie as the files do in the directory in which they were found.
    within = {
        path: Path(os.path.relpath(path, files.folders.get(path, Path(path).parent)))
        for path in files.paths
    }
    stems = Counter(each.with_suffix("") for each in within.values())
    places: dict[str, Path] = {}
    taken: Counter[Path] = Counter()
    for path, each in within.items():
        # Two files that differ in their endings keep them.
        stem = each.stem if stems[each.with_suffix("")] == 1 else each.name
        name = each.with_name(f"{stem}.html")
        taken[name] += 1
        if taken[name] > 1:
            name = name.with_name(f"{name.stem} ({taken[name]}).html")
        places[path] = output / name
    return places


def _serve(files: AudioFiles, taggers: list[Tagger], making: dict[str, Any], port: int) -> None:
    from musicnn_zoo.listening.server import PageServer

    with files:
        if not files.paths:
            return

        def make(path: str) -> Any:
            return listening_page(path, models=taggers, **making)

        def tag_files(paths: Any) -> Any:
            return taggers[0].tag_files(paths, jobs=1, damaged=making["damaged"])

        with (
            PageServer(files.paths, make, port=port, tag_files=tag_files) as server,
            suppress(KeyboardInterrupt),
        ):
            click.echo(f"{server.url}  {len(files.paths)} recordings; Ctrl+C ends it")
            sys.stdout.flush()
            server.serve()


def _microphone(device: str | None) -> AbstractContextManager[Decoded]:
    from musicnn_zoo.sound.live import microphone_audio

    return microphone_audio(int(device) if device and device.isdecimal() else device)


def _pipe(samples: Any, rate: int | None, channels: int | None) -> AbstractContextManager[Decoded]:
    from musicnn_zoo.sound.live import RawFormat, piped_audio

    given = {"samples": samples, "sample_rate": rate, "channels": channels}
    stated = {name: value for name, value in given.items() if value is not None}
    raw = RawFormat(**stated) if samples is not None else None
    if sys.stdin.isatty():
        raise ArgumentError(
            "standard input is the keyboard; pipe sound to it: ffmpeg -i URL -f wav - | "
            "musicnn-zoo listen --stdin"
        )
    return piped_audio(sys.stdin.buffer, raw=raw)


def _show_live(
    tagger: Tagger,
    source: AbstractContextManager[Decoded],
    cutting: dict[str, Any],
    view: LiveView,
) -> None:
    with suppress(KeyboardInterrupt), source as sound:
        stream = tagger.stream(sample_rate=sound.sample_rate, **cutting)
        heard = False
        for block in sound.blocks:
            view.show(stream.feed(block.samples, sample_rate=block.sample_rate))
            heard = heard or len(block.samples) > 0
        if not heard:
            raise AudioError("standard input: holds no samples")
        view.show(stream.finish())
