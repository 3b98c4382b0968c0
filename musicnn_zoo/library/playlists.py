"""Playlists in M3U8, which VLC, mpd, Navidrome and Jellyfin read."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from musicnn_zoo.files import check_ending, replacing
from musicnn_zoo.text import path_to_text, printable

PLAYLIST_ENDINGS = (".m3u8", ".m3u")
_MISREAD = re.compile(r"#|\s|[^/]*:")
"""How a path begins that is read as a comment, without its spaces, or as an address."""


class Entry(NamedTuple):
    """A track of a playlist: its absolute path, its length in seconds and what is shown."""

    path: str
    duration_s: float
    shown: str


def write_playlist(
    entries: Iterable[Entry],
    output: str | os.PathLike[str],
    *,
    name: str | None = None,
    absolute: bool = False,
) -> list[str]:
    """Write a playlist, whole or not at all.

    Paths are relative to its folder, so that both can be moved together, unless they are on
    another drive or ``absolute`` is chosen.

    Returns
    -------
    list of str
        The paths that no playlist can hold, as they are not UTF-8 or have line breaks; left out.

    Raises
    ------
    ArgumentError
        If the output has another ending than .m3u8 or .m3u, or cannot be a file.
    OutputError
        If it cannot be written.
    """
    place = check_ending(output, PLAYLIST_ENDINGS)
    folder = os.path.realpath(place.parent)
    lines = ["#EXTM3U"]
    if name is not None:
        lines.append(f"#PLAYLIST:{_on_a_line(name)}")
    left_out = []
    for path, duration_s, shown in entries:
        if not path.isprintable() and (path_to_text(path) != path or "\n" in path or "\r" in path):
            left_out.append(path)
            continue
        lines += [f"#EXTINF:{round(duration_s)},{_on_a_line(shown)}", _line(path, folder, absolute)]
    with replacing(place, failure="the playlist cannot be written") as file:
        file.write(("\n".join(lines) + "\n").encode())
    return left_out


def _line(path: str, folder: str, absolute: bool) -> str:
    if absolute:
        return path
    try:
        line = Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # on another drive
        return path
    return f"./{line}" if _MISREAD.match(line) else line


def _on_a_line(text: str) -> str:
    """Escape what breaks a line or is no text; spaces and joiners of all scripts stay."""
    return "".join(
        character if unicodedata.category(character) in ("Zs", "Cf") else printable(character)
        for character in text
    )


def playlist_name(text: str) -> str:
    """Return a text as the name of a file that every system takes."""
    kept = "".join(
        character if character.isalnum() or character in " -_,&'" else "_" for character in text
    )
    return kept.strip()[:80].strip() if kept.strip(" _") else "playlist"
