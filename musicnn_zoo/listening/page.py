"""A page that plays a recording and shows its taggrams, in one file of HTML."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import os
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

import numpy as np

from musicnn_zoo.errors import ArgumentError, MusicnnZooError, answered, check_path, no_array
from musicnn_zoo.files import check_writable, replacing
from musicnn_zoo.library.text_store import taggram_columns
from musicnn_zoo.listening.recording import Recording
from musicnn_zoo.machine import __version__
from musicnn_zoo.networks.patches import Tail
from musicnn_zoo.runtimes.engine import EngineName
from musicnn_zoo.sound.envelope import Envelope, find_envelope
from musicnn_zoo.sound.read import AudioStream, OnDamage, check_rate
from musicnn_zoo.sound.sources import AudioSource, as_source, check_one, local_path
from musicnn_zoo.tagging.results import FileResult, Taggram
from musicnn_zoo.text import csv_lines, path_cell, path_to_text, printable
from musicnn_zoo.web.scripts import joined_modules, read_asset
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL

if TYPE_CHECKING:
    from musicnn_zoo.tagging.functions import ModelLike
    from musicnn_zoo.tagging.pipeline import OnHeard
    from musicnn_zoo.tagging.tagger import Tagger


DEFAULT_HOP_S = 1.0
_ENVELOPE_RATE = 16_000
_MARK = b'name="generator" content="musicnn-zoo listening page'
_HEAD_BYTES = 1000
_NOTEBOOK_HEIGHT = 640


@dataclass(frozen=True, eq=False)
class ListeningPage:
    """A player with the waveform and the taggrams of one recording.

    Parameters
    ----------
    recording : Recording
    envelope : Envelope
        Of the waveform.
    taggrams : tuple of Taggram
        One for each model.
    """

    recording: Recording
    envelope: Envelope
    taggrams: tuple[Taggram, ...]

    def html(self, *, audio_url: str | None = None, navigation: str = "") -> str:
        """Return the page as HTML; it loads nothing from a network.

        Parameters
        ----------
        audio_url : str, optional
            Where the page finds the sound; by default the sound is embedded, as
            :meth:`~musicnn_zoo.listening.recording.Recording.media` gives it.
        navigation : str
            HTML that leads to other pages; by default none.

        Raises
        ------
        AudioError
            If the sound is to be embedded and cannot be read any more.
        """
        sound: dict[str, Any] = {"url": audio_url}
        embedded = ""
        if audio_url is None:
            media = self.recording.media()
            sound = {"kind": media.kind, "converted": media.converted}
            embedded = base64.b64encode(media.content).decode("ascii")
        script, style = joined_modules("listening/page.js"), read_asset("web/player/player.css")
        name = printable(self.recording.name)
        return string.Template(read_asset("listening/page.html")).substitute(
            policy=_policy(script, style),
            title=html.escape(f"{name} – musicnn-zoo"),
            style=style,
            script=script,
            version=html.escape(__version__),
            navigation=navigation,
            summary="".join(f"<li>{html.escape(line)}</li>" for line in self._summary()),
            data=_json_in_html(self._data(sound)),
            sound=embedded,
        )

    def save(
        self, path: str | os.PathLike[str], *, link: bool = False, navigation: str = ""
    ) -> Path:
        """Write the page.

        Parameters
        ----------
        path : path
            Ends in ``.html``; a listening page that is there is replaced, another file is not.
        link : bool
            Refer to the recording where it lies, relative to the page, instead of embedding it.
        navigation : str
            As of :meth:`html`.

        Returns
        -------
        Path
            Of the page.

        Raises
        ------
        ArgumentError
            If the path cannot be written, or ``link`` is asked for what is not a file.
        AudioError
            If the recording cannot be read any more.
        OutputError
            If the page cannot be written to the disk.
        """
        check_path("a page", path)
        place = Path(path)
        check_place(place)
        url = _audio_url(self.recording, place) if link else None
        text = self.html(audio_url=url, navigation=navigation).encode("utf-8")
        with replacing(place, failure="the page cannot be written") as file:
            file.write(text)
        return place

    def __array__(self, *_: object, **__: object) -> NoReturn:
        raise no_array(self, "a page", "np.asarray(page.taggrams[0])")

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{html.escape(self.html())}" width="100%" '
            f'height="{_NOTEBOOK_HEIGHT}" title="listening page"></iframe>'
        )

    def __repr__(self) -> str:
        models = ", ".join(taggram.model for taggram in self.taggrams)
        return f"<ListeningPage of {self.taggrams[0].clip.describe()}: {models}>"

    def _summary(self) -> list[str]:
        clip = self.taggrams[0].clip
        damage = [f"damaged: {clip.lost_s:.1f} s lost"] if clip.damaged else []
        return damage + [
            f"{taggram.model}: "
            + ", ".join(f"{tag} {score:.2f}" for tag, score in taggram.rank(top_k=5))
            for taggram in self.taggrams
        ]

    def _data(self, sound: Mapping[str, Any]) -> dict[str, Any]:
        name = self.recording.name
        return {
            "name": name,
            "title": self.recording.title,
            "stem": Path(name).stem,
            "duration_s": self.taggrams[0].clip.duration_s,
            "sound": sound,
            "envelope": {
                "stretch_s": self.envelope.stretch_s,
                "lowest": _base64(self.envelope.lowest),
                "highest": _base64(self.envelope.highest),
            },
            "taggrams": [_taggram_data(taggram, name) for taggram in self.taggrams],
        }


def check_place(place: Path) -> None:
    """Refuse a page that cannot be written, or would replace a file that is not one."""
    if place.suffix.lower() not in (".html", ".htm"):
        raise ArgumentError(f"a page must end in .html; received {str(place)!r}")
    check_writable(place)
    try:
        with place.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ArgumentError(f"{place}: cannot be read ({error.strerror})") from error
    if head and _MARK not in head:
        raise ArgumentError(f"{str(place)!r} exists and is not a listening page; name another file")


def _audio_url(recording: Recording, page: Path) -> str:
    if recording.path is None:
        raise ArgumentError("only a file can be linked; leave out link to embed the sound")
    return relative_url(recording.path, page)


def relative_url(file: Path, page: Path) -> str:
    """Return the address under which a page finds a file."""
    file = file.absolute()
    try:
        relative = os.path.relpath(file, page.absolute().parent)
    except ValueError:  # another drive of Windows
        return file.as_uri()
    return quote(os.fsencode(relative.replace(os.sep, "/")))


def _taggram_data(taggram: Taggram, name: str) -> dict[str, Any]:
    """Return what the page needs of a taggram; the file is named without its folders."""
    return {
        "facts": {
            **taggram.clip.to_dict(),
            "source": path_to_text(name),
            "model": taggram.model,
            "patch_s": taggram.patch_s,
            "hop_s": taggram.hop_s,
        },
        "times": taggram.times.tolist(),
        "silent": [] if taggram.silent is None else taggram.silent.tolist(),
        "tags": list(taggram.tags),
        "scores": _base64(taggram.scores.astype("<f4")),
        "csv": {
            "head": csv_lines([taggram_columns(taggram.tags)]),
            "source": csv_lines([[path_cell(name)]]).removesuffix("\n"),
        },
    }


def _policy(script: str, style: str) -> str:
    """Return a policy under which the page can load nothing but its own sound."""
    return (
        f"default-src 'none'; script-src {source_digest(script)}; "
        f"style-src {source_digest(style)}; "
        "media-src 'self' file: blob:; img-src data:; base-uri 'none'; form-action 'none'"
    )


def source_digest(text: str) -> str:
    """Return what a policy calls a script or a style of this text."""
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"


def _json_in_html(data: Mapping[str, Any]) -> str:
    """Write JSON that ends no script element, whatever it holds."""
    return json.dumps(data).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _base64(array: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


@answered
def listening_page(
    audio: AudioSource,
    *,
    models: ModelLike | Sequence[ModelLike] = DEFAULT_MODEL,
    sample_rate: int | None = None,
    patch_s: float | None = None,
    hop_s: float | None = DEFAULT_HOP_S,
    tail: Tail = "drop",
    damaged: OnDamage = "refuse",
    engine: EngineName = "auto",
    device: str | None = None,
) -> ListeningPage:
    """Make a page that plays a recording and shows how its tags change.

    Parameters
    ----------
    audio, sample_rate
        As in :func:`musicnn_zoo.tag`.
    models : model or sequence of models
        Each as ``model`` in :func:`musicnn_zoo.tag`; the page shows them below
        each other, with one time axis and one scale.
    patch_s : float, optional
        As in :func:`musicnn_zoo.taggram`.
    hop_s : float, optional
        Distance between the starts of two patches in seconds, by default 1 s; None for one
        patch.
    tail, damaged, engine, device
        See :class:`musicnn_zoo.Tagger`. The page of a damaged recording says so.

    Returns
    -------
    ListeningPage
        Save it with :meth:`~musicnn_zoo.ListeningPage.save`; a notebook shows it.

    Raises
    ------
    AudioError, UnknownNameError, ArgumentError
        As in :func:`musicnn_zoo.tag`.

    Examples
    --------
    >>> import musicnn_zoo
    >>> page = musicnn_zoo.listening_page(
    ...     "examples/audio/techno_loop.ogg", models=["MTT_musicnn", "MSD_musicnn"]
    ... )
    >>> page.save("techno.html")  # doctest: +SKIP
    """
    from musicnn_zoo.tagging.functions import shared_tagger

    if isinstance(models, str) or not isinstance(models, Sequence):
        models = (models,)
    if not models:
        raise ArgumentError("models must name at least one model; received none")
    check_one(audio, "listening_page", None)
    audio, rate = as_source(audio, sample_rate)
    if rate is not None:
        check_rate(rate)
    sample_rate = None if rate is None else int(rate)
    if isinstance(audio, str):
        audio = local_path(audio)
    elif hasattr(audio, "read"):
        audio = _copied(audio)
    cutting: Any = {"patch_s": patch_s, "hop_s": hop_s, "tail": tail}
    taggrams = [
        shared_tagger(model, engine, device).taggram(
            audio, sample_rate=sample_rate, damaged=damaged, isolate=True, **cutting
        )
        for model in models
    ]
    return _make(audio, sample_rate, taggrams, damaged)


def listening_pages(
    paths: Sequence[str],
    taggers: Sequence[Tagger],
    *,
    patch_s: float | None = None,
    hop_s: float | None = DEFAULT_HOP_S,
    tail: Tail = "drop",
    damaged: OnDamage = "refuse",
    jobs: int | None = None,
    progress: bool | OnHeard = False,
) -> Iterator[FileResult[ListeningPage]]:
    """Yield the pages of many files, in order, each as soon as it is ready.

    There is a Tagger for each model. The options are those of :func:`listening_page` and
    :func:`musicnn_zoo.tag_files`.
    """
    cutting: Any = {"patch_s": patch_s, "hop_s": hop_s, "tail": tail}
    runs = [
        tagger.taggram_files(
            paths,
            **cutting,
            damaged=damaged,
            jobs=jobs,
            progress=progress if number == 0 or len(paths) == 1 else False,
        )
        for number, tagger in enumerate(taggers)
    ]
    for path, results in zip(paths, zip(*runs, strict=True), strict=True):
        try:
            page = _make(path, None, [result.unwrap() for result in results], damaged)
        except MusicnnZooError as error:
            yield FileResult(path, None, error)
        else:
            yield FileResult(path, page)


def _make(
    audio: AudioSource, sample_rate: int | None, taggrams: list[Taggram], damaged: OnDamage
) -> ListeningPage:
    blocks = AudioStream(
        audio, sample_rate=sample_rate, target_rate=_ENVELOPE_RATE, damaged=damaged, isolate=True
    )
    return ListeningPage(
        Recording(audio, sample_rate=sample_rate),
        find_envelope(blocks, _ENVELOPE_RATE),
        tuple(taggrams),
    )


def _copied(audio: Any) -> AudioSource:
    """Return the rest of a file object as one that can be read several times."""
    copy = io.BytesIO(audio.read())
    copy.name = getattr(audio, "name", "audio")
    return copy
