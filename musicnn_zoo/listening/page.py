"""A page that plays a recording and shows its taggrams, in one file of HTML."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import string
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from musicnn_zoo import __version__
from musicnn_zoo.durable import replacing
from musicnn_zoo.errors import ArgumentError, OutputError
from musicnn_zoo.library.writers import check_writable, csv_lines, path_cell, taggram_columns
from musicnn_zoo.listening.envelope import Envelope
from musicnn_zoo.listening.recording import Recording
from musicnn_zoo.plain_text import printable
from musicnn_zoo.tagging.taggram import Taggram
from musicnn_zoo.text import path_to_text

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

    def html(self, *, audio_url: str | None = None) -> str:
        """Return the page as HTML, which asks nothing of any network.

        Parameters
        ----------
        audio_url : str, optional
            Where the page finds the sound; by default the sound is embedded, as
            :meth:`~musicnn_zoo.listening.recording.Recording.media` gives it.

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
        script, style = _part("page.js"), _part("page.css")
        name = printable(self.recording.name)
        return string.Template(_part("page.html")).substitute(
            policy=_policy(script, style),
            title=html.escape(f"{name} – musicnn-zoo"),
            style=style,
            script=script,
            version=html.escape(__version__),
            summary="".join(f"<li>{html.escape(line)}</li>" for line in self._summary()),
            data=_json_in_html(self._data(sound)),
            sound=embedded,
        )

    def save(self, path: str | os.PathLike[str], *, link: bool = False) -> Path:
        """Write the page.

        Parameters
        ----------
        path : path
            Ends in ``.html``; a listening page that is there is replaced, another file is not.
        link : bool
            Refer to the recording where it lies, relative to the page, instead of embedding it.

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
            If the disk does not take the page.
        """
        place = Path(path)
        check_place(place)
        url = _relative_url(self.recording, place) if link else None
        text = self.html(audio_url=url).encode("utf-8")
        try:
            with replacing(place, place.with_name(f"{place.name}.unfinished")) as file:
                file.write(text)
        except OSError as error:
            raise OutputError(
                f"{place}: the page cannot be written ({error.strerror or error})"
            ) from error
        return place

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
    """Refuse a page that cannot be written, or would replace a file that is not one.

    Raises
    ------
    ArgumentError
    """
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
        raise ArgumentError(f"{str(place)!r} is there and is not a listening page; name another")


def _relative_url(recording: Recording, page: Path) -> str:
    if recording.path is None:
        raise ArgumentError("only a file can be linked; leave out link to embed the sound")
    audio = recording.path.absolute()
    try:
        relative = os.path.relpath(audio, page.absolute().parent)
    except ValueError:  # another drive of Windows
        return audio.as_uri()
    return quote(os.fsencode(relative.replace(os.sep, "/")))


def _taggram_data(taggram: Taggram, name: str) -> dict[str, Any]:
    """Return what the page needs; names of folders stay at home."""
    return {
        "facts": {
            **taggram.clip.to_dict(),
            "source": path_to_text(name),
            "model": taggram.model,
            "patch_s": taggram.patch_s,
            "hop_s": taggram.hop_s,
        },
        "times": taggram.times.tolist(),
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
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; "
        "media-src 'self' file: blob:; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"


def _json_in_html(data: Mapping[str, Any]) -> str:
    """Write JSON that ends no script element, whatever it holds."""
    return json.dumps(data).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _base64(array: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _part(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
