"""Tracks of a library in order, as they are answered: JSON, DataFrames, playlists, lines."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, overload

from musicnn_zoo.library.playlists import Entry, write_playlist
from musicnn_zoo.text import path_from_text, path_to_text, printable

if TYPE_CHECKING:
    import pandas

TRACK_COLUMNS = "f.path, f.title, f.artist, f.album, s.duration_s"
"""Of the tables files and sounds, what :func:`track_of` reads."""


@dataclass(frozen=True)
class Track:
    """A track of a library.

    Parameters
    ----------
    path : str
        Absolute.
    duration_s : float
    title, artist, album : str
        As they are in the file; empty if it has none.
    values : dict of str to float
        What was asked for, by name: ``similarity``, the scores of tags.
    duplicate_of : str or None
        A track before it in the list, or a seed, that is the same recording or nearly so.
    """

    path: str
    duration_s: float
    title: str = ""
    artist: str = ""
    album: str = ""
    values: dict[str, float] = field(default_factory=dict)
    duplicate_of: str | None = None

    @property
    def shown(self) -> str:
        """Artist and title, or the name of the file without its ending."""
        if self.title:
            return f"{self.artist} - {self.title}" if self.artist else self.title
        return PurePath(self.path).stem

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON; the path as ``musicnn_zoo.text.path_to_text`` does."""
        return {
            "path": path_to_text(self.path),
            "title": self.title,
            "artist": self.artist,
            "album": self.album,
            "duration_s": round(self.duration_s, 3),
            "values": {name: round(value, 6) for name, value in self.values.items()},
            "duplicate_of": self.duplicate_of and path_to_text(self.duplicate_of),
        }


@dataclass(frozen=True)
class TrackList(Sequence[Track]):
    """Tracks in order, and what was asked.

    Parameters
    ----------
    tracks : tuple of Track
    kind : str
        similar, found, path or cluster.
    name : str
        Of a playlist of them.
    model : str
    asked : dict
        What was asked for, ready for JSON.
    """

    tracks: tuple[Track, ...]
    kind: str
    name: str
    model: str
    asked: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tracks)

    @overload
    def __getitem__(self, index: int) -> Track: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Track, ...]: ...
    def __getitem__(self, index: int | slice) -> Track | tuple[Track, ...]:
        return self.tracks[index]

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the tracks."""
        return tuple(track.path for track in self.tracks)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {
            "kind": self.kind,
            "name": self.name,
            "model": self.model,
            **self.asked,
            "tracks": [track.to_dict() for track in self.tracks],
        }

    def to_json(self) -> str:
        """Return :meth:`to_dict` as a JSON text."""
        return json.dumps(self.to_dict())

    def to_pandas(self) -> pandas.DataFrame:
        """Return a DataFrame: a row a track, a column a field, and one for each of the values."""
        from musicnn_zoo.tagging.results import require_pandas

        names = list(dict.fromkeys(name for track in self.tracks for name in track.values))
        columns = ["path", "title", "artist", "album", "duration_s", *names, "duplicate_of"]
        rows = [{**vars(track), **track.values} for track in self.tracks]
        frame: pandas.DataFrame = require_pandas().DataFrame(rows, columns=columns)
        return frame

    def to_m3u(self, path: str | os.PathLike[str], *, absolute: bool = False) -> list[str]:
        """Write a playlist; see :func:`musicnn_zoo.library.playlists.write_playlist`."""
        entries = [Entry(track.path, track.duration_s, track.shown) for track in self.tracks]
        return write_playlist(entries, path, name=self.name, absolute=absolute)

    def __str__(self) -> str:
        lines = []
        for track in self.tracks:
            values = "  ".join(
                f"{value:.3f}" if name == "similarity" else f"{printable(name)} {value:.2f}"
                for name, value in track.values.items()
            )
            mark = "  (the same recording)" if track.duplicate_of else ""
            lines.append(f"{values}  {printable(track.path)}{mark}".strip())
        return "\n".join(lines)


def track_of(row: Sequence[Any], values: Mapping[str, float] | None = None) -> Track:
    """Return the track of a row that begins with ``TRACK_COLUMNS``."""
    path, title, artist, album, duration_s = row[:5]
    return Track(path_from_text(path), duration_s, title, artist, album, dict(values or {}))
