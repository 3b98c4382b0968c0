"""One question to a library: the tracks it is about, and others in the order of likeness."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from musicnn_zoo.errors import AudioError
from musicnn_zoo.files import mode_at
from musicnn_zoo.library.descriptors import names_for
from musicnn_zoo.library.library_file import Analysis, LibraryFile, Space
from musicnn_zoo.library.queries import FIELDS, TEXT_FIELDS, Names
from musicnn_zoo.library.tracks import TRACK_COLUMNS, Track, TrackList, track_of
from musicnn_zoo.text import path_to_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from musicnn_zoo.tagging.pipeline import EmbeddedTags

Analyse = Callable[[str, Analysis, str], "EmbeddedTags"]
"""Analyses a file that is not in the library, with a layer, as the library's files were."""

SAME_SOUND = 0.98
"""Sounds with at least this cosine and the same length are taken for one recording."""
_SAME_LENGTH_S = 1.0
_SAME_LENGTH_PART = 0.01
_LIKING = 0.25
"""What a tag's score of 1 adds to the cosine if it is liked."""
_NAMING_TAGS = 2


def names_of(analysis: Analysis) -> Names:
    """Return what a query to an analysis may name."""
    columns = dict(zip(analysis.tags, analysis.columns, strict=True))
    sql = {}
    for name, meant in names_for(analysis.tags).items():
        listed = ", ".join(f"t.{columns[tag]}" for tag in meant)
        sql[name] = f"max({listed})" if len(meant) > 1 else listed
    return Names(sql, _model_with)


def _model_with(name: str) -> str | None:
    """Return a model that has a tag or a word."""
    from musicnn_zoo.zoo.catalogue import VOCABULARIES

    for vocabulary, tags in VOCABULARIES.items():
        if name in Names(dict.fromkeys(names_for(tags), "")):
            return f"{vocabulary}_musicnn"
    return None


def order_by(name: str | None, names: Names) -> str:
    """Return the order of a tag, or a field, in SQL; by default that of the paths."""
    if name is None or (name.lower() == "path" and name not in names):
        return "f.path"
    if name not in names:
        if name.lower() in TEXT_FIELDS:
            return f"fold({TEXT_FIELDS[name.lower()]}), f.path"
        if name.lower() in FIELDS:
            return f"{FIELDS[name.lower()]} DESC, f.path"
    return f"{names.sql(name)} DESC, f.path"


class Seeds:
    """Tracks that are asked about: their unit vectors, and which sounds of the library they are."""

    def __init__(self, vectors: NDArray[np.float32], known_sounds: set[int], tracks: list[Track]):
        self.vectors = vectors
        self.known_sounds = known_sounds
        self.tracks = tracks

    def are_at(self, path: str) -> bool:
        """Whether one of them is at a path, where the library may know what was there before."""
        return any(track.path == path for track in self.tracks)

    def distinct(self) -> list[Track]:
        """Return the tracks without those that are the same recording as one before."""
        heard = _Heard(self.vectors.shape[1])
        return [
            track
            for vector, track in zip(self.vectors, self.tracks, strict=True)
            if heard.add_new(vector, track)
        ]


class Asking:
    """One question to one analysis of an open library.

    Without ``analyse``, tracks are not looked at: what the library knows of them is taken.
    """

    def __init__(
        self, library: LibraryFile, analyse: Analyse | None, model: str | None, layer: str | None
    ) -> None:
        self._library = library
        self._analyse = analyse
        self.analysis = library.analysis(model)
        self.space: Space = library.space(self.analysis, layer)
        self._among: dict[int, str] | None = None

    def choose_among(self, paths: Sequence[str]) -> None:
        """Take only these files for answers."""
        wanted = {path_to_text(os.path.realpath(path)) for path in paths}
        query = "SELECT sound, path FROM files WHERE state = 'present' ORDER BY path DESC"
        self._among = {
            sound: path
            for block in self._library.blocks(query, 4096)
            for sound, path in block
            if path in wanted
        }

    def known(self, path: str) -> tuple[int, Track] | None:
        """Return the sound of a file of the library, and the track."""
        from musicnn_zoo.sound.sources import local_path

        place = path
        if self._analyse is not None:
            place = os.path.realpath(path if os.path.lexists(path) else local_path(path))
        rows = self._library.rows(
            f"SELECT {TRACK_COLUMNS}, f.sound, f.size, f.mtime_ns, f.state FROM files f "
            f"JOIN sounds s ON s.id = f.sound JOIN {self.space.table} v ON v.sound = f.sound "
            f"JOIN {self.analysis.table} t ON t.sound = f.sound WHERE f.path = ?",
            (path_to_text(place),),
        )
        if not rows:
            return None
        row = rows[0]
        if self._analyse is None:
            return row[5], track_of(row)
        try:
            status = Path(place).stat()
        except OSError:  # the library still knows how it sounded
            return row[5], track_of(row)
        same = (status.st_size, status.st_mtime_ns) == (row[6], row[7])
        return (row[5], track_of(row)) if same else None

    def _heard(self, path: str) -> tuple[EmbeddedTags, Track]:
        from musicnn_zoo.sound.sources import local_path

        place = path if os.path.lexists(path) else local_path(path)
        if self._analyse is None or not stat.S_ISREG(mode_at(place) or 0):
            raise AudioError(
                f"{path}: is neither a file nor in the library {str(self._library.path)!r}"
            )
        value = self._analyse(place, self.analysis, self.space.layer)
        return value, Track(os.path.realpath(place), value.tags.clip.duration_s)

    def seeds(self, paths: Sequence[str]) -> Seeds:
        """Look up or analyse tracks."""
        import numpy as np

        from musicnn_zoo.library.neighbours import unit, vectors_of

        vectors = []
        sounds = set()
        tracks = []
        for path in paths:
            known = self.known(path)
            if known is not None:
                sound, track = known
                vectors.append(vectors_of(self._library, self.space, [sound])[0])
                sounds.add(sound)
            else:
                value, track = self._heard(path)
                vectors.append(unit(value.embedding.values))
            tracks.append(track)
        return Seeds(np.stack(vectors), sounds, tracks)

    def scores_of(self, path: str) -> tuple[dict[str, float], Track]:
        """Return the scores of all tags of a track."""
        known = self.known(path)
        if known is None:
            value, track = self._heard(path)
            return {tag: value.tags[tag] for tag in self.analysis.tags}, track
        held = self.held_scores(*known)
        return held.values, held

    def held_scores(self, sound: int, track: Track) -> Track:
        """Give a track of the library the scores of all tags."""
        columns = ", ".join(self.analysis.columns)
        (row,) = self._library.rows(
            f"SELECT {columns} FROM {self.analysis.table} WHERE sound = ?", (sound,)
        )
        return replace(track, values=dict(zip(self.analysis.tags, row, strict=True)))

    def _liking(
        self, sounds: NDArray[np.int64], like: Sequence[str], unlike: Sequence[str]
    ) -> NDArray[np.float32] | float:
        """Return what is added to the cosines for tags that are liked or not."""
        names = names_of(self.analysis)
        parts = [
            f"{sign} ({' + '.join(names.sql_of_tag(tag) for tag in tags)}) / {len(tags)}"
            for sign, tags in (("+", like), ("-", unlike))
            if tags
        ]
        if not parts:
            return 0.0
        import numpy as np

        query = f"SELECT t.sound, {_LIKING} * (0 {' '.join(parts)}) FROM {self.analysis.table} t"
        blocks = self._library.blocks(f"{query} ORDER BY t.sound", 4096)
        added = np.concatenate([np.zeros((0, 2)), *map(np.array, blocks)])
        if not np.isin(sounds, added[:, 0]).all():
            raise self._library.damaged("sounds without tags")
        return np.asarray(added[np.searchsorted(added[:, 0], sounds), 1], np.float32)

    def _are_present(self, sounds: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say which sounds have a present file."""
        import numpy as np

        present = np.zeros(int(sounds[-1]) + 1 if len(sounds) else 0, bool)
        query = "SELECT sound FROM files WHERE state = 'present' AND sound <= ?"
        for block in self._library.blocks(query, 4096, (len(present) - 1,)):
            present[[sound for (sound,) in block]] = True
        return present[sounds]

    def _tracks_of(self, sounds: Sequence[int]) -> list[Track]:
        """Return the first present file of each sound."""
        tracks = []
        for sound in sounds:
            track = self._present(sound)
            assert track is not None
            tracks.append(track)
        return tracks

    def _present(self, sound: int) -> Track | None:
        path = None if self._among is None else self._among[sound]
        rows = self._library.rows(
            f"SELECT {TRACK_COLUMNS} FROM files f JOIN sounds s ON s.id = f.sound WHERE f.sound = "
            "? AND f.state = 'present' AND f.path = coalesce(?, f.path) ORDER BY f.path LIMIT 1",
            (sound, path),
        )
        return track_of(rows[0]) if rows else None

    def nearest(
        self,
        seeds: Seeds,
        k: int,
        *,
        like: Sequence[str] = (),
        unlike: Sequence[str] = (),
        distinct: bool,
    ) -> tuple[Track, ...]:
        """Return the ``k`` tracks most like the seeds' mean, with what each is a duplicate of."""
        import numpy as np

        from musicnn_zoo.library.neighbours import cosines, unit, vectors_of

        mean = unit(seeds.vectors.mean(axis=0, keepdims=True))
        sounds, (similarities,) = cosines(self._library, self.space, mean)
        if self._among is not None:
            chosen = np.isin(sounds, list(self._among))
            sounds, similarities = sounds[chosen], similarities[chosen]
        order = similarities + self._liking(sounds, like, unlike)
        heard = _Heard(self.space.dimensions, seeds)
        tracks: list[Track] = []
        for place in _descending(order):
            if len(tracks) == k:
                break
            sound = int(sounds[place])
            track = None if sound in seeds.known_sounds else self._present(sound)
            if track is None or seeds.are_at(track.path):
                continue
            (vector,) = vectors_of(self._library, self.space, [sound])
            same = heard.same_as(vector, track)
            if same is not None and distinct:
                continue
            values = {"similarity": float(similarities[place])}
            track = replace(track, values=values, duplicate_of=same)
            heard.add(vector, track)
            tracks.append(track)
        return tuple(tracks)

    def way(self, ends: Seeds, steps: int) -> tuple[Track, ...]:
        """Return a way between two seeds, with them, in which no recording is twice."""
        import numpy as np

        from musicnn_zoo.library.neighbours import cosines, find_way, vectors_of

        sounds, (to_start, to_end) = cosines(self._library, self.space, ends.vectors)
        free = self._are_present(sounds) & ~np.isin(sounds, list(ends.known_sounds))
        between = float(np.clip(np.float32(ends.vectors[0] @ ends.vectors[1]), -1, 1))
        while True:
            taken = np.flatnonzero(free)
            places = taken[find_way(to_start[taken], to_end[taken], between, steps)]
            middle = [int(sounds[place]) for place in places]
            tracks = self._tracks_of(middle)
            heard = _Heard(self.space.dimensions, ends)
            vectors = vectors_of(self._library, self.space, middle)
            again = [
                place
                for place, vector, track in zip(places, vectors, tracks, strict=True)
                if ends.are_at(track.path) or not heard.add_new(vector, track)
            ]
            if not again:
                break
            free[again] = False
        first, last = ends.tracks
        values = [
            (1.0, between),
            *((float(to_start[place]), float(to_end[place])) for place in places),
            (between, 1.0),
        ]
        return tuple(
            replace(track, values={"to_start": one, "to_end": other})
            for track, (one, other) in zip([first, *tracks, last], values, strict=True)
        )

    def clusters(self, k: int, n: int | None, seed: int) -> list[TrackList]:
        """Divide the present sounds into clusters, and give the first ``n`` of each."""
        import numpy as np

        from musicnn_zoo.library.neighbours import find_clusters

        found = find_clusters(self._library, self.space, k, seed)
        present = self._are_present(found.sounds)
        sizes = np.bincount(found.clusters[present])
        above = self._above_the_rest(found.clusters, present, sizes)
        lists = []
        names: set[str] = set()
        for cluster in np.argsort(-sizes, kind="stable"):
            members = np.flatnonzero(present & (found.clusters == cluster))
            if not len(members):
                continue
            members = members[np.argsort(-found.closeness[members], kind="stable")]
            name = _distinguishing(above[cluster], self.analysis.tags, names)
            names.add(name)
            tracks = self._tracks_of([int(found.sounds[place]) for place in members[:n]])
            valued = tuple(
                replace(track, values={"similarity": float(found.closeness[place])})
                for track, place in zip(tracks, members[:n], strict=True)
            )
            asked = {"layer": self.space.layer, "clusters": k, "size": len(members)}
            lists.append(TrackList(valued, "cluster", name, self.analysis.model, asked))
        return lists

    def _above_the_rest(
        self, clusters: NDArray[np.int64], present: NDArray[np.bool_], sizes: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return how much the mean of each tag in each cluster is above that of all.

        In deviations; the scores are read block by block, since those of a million tracks would
        fill the memory of a NAS.
        """
        import numpy as np

        columns = ", ".join(f"t.{column}" for column in self.analysis.columns)
        query = (
            f"SELECT {columns} FROM {self.space.table} v CROSS JOIN {self.analysis.table} t "
            "ON t.sound = v.sound ORDER BY v.sound"
        )
        sums = np.zeros((len(sizes), len(self.analysis.tags)))
        squares = np.zeros(len(self.analysis.tags))
        done = 0
        for block in self._library.blocks(query, 1024):
            here = slice(done, done + len(block))
            done += len(block)
            scores = np.array(block)[present[here]]
            np.add.at(sums, clusters[here][present[here]], scores)
            squares += (scores**2).sum(axis=0)
        if done != len(clusters):
            raise self._library.damaged("sounds without tags")
        total = max(1, int(sizes.sum()))
        mean = sums.sum(axis=0) / total
        deviation = np.sqrt(np.maximum(0, squares / total - mean**2)) + 1e-3
        return np.asarray((sums / np.maximum(1, sizes)[:, None] - mean) / deviation)


def _distinguishing(above: NDArray[np.float64], tags: Sequence[str], taken: set[str]) -> str:
    """Name a cluster by the tags that are most above those of all."""
    import numpy as np

    first = [tags[place] for place in np.argsort(-above)]
    for length in range(_NAMING_TAGS, len(first) + 1):
        name = ", ".join(first[:length])
        if name not in taken:
            return name
    number = 2
    while (name := f"{', '.join(first[:_NAMING_TAGS])} {number}") in taken:
        number += 1
    return name


def _descending(order: NDArray[np.float32]) -> Iterator[int]:
    """Yield places from the highest value to the lowest, sorting no more than is asked for."""
    import numpy as np

    told: set[int] = set()  # of equal values, any may come first
    size = 256
    while len(told) < len(order):
        size = min(size, len(order))
        top = np.argpartition(-order, size - 1)[:size]
        for place in map(int, top[np.argsort(-order[top], kind="stable")]):
            if place not in told:
                told.add(place)
                yield place
        size *= 8


class _Heard:
    """Tracks of a list so far, among which those are found that are the same recording."""

    def __init__(self, dimensions: int, seeds: Seeds | None = None) -> None:
        import numpy as np

        self._paths: list[str] = []
        self._vectors: NDArray[np.float32] = np.zeros((64, dimensions), np.float32)
        self._lengths: NDArray[np.float64] = np.zeros(64)
        if seeds is not None:
            for vector, track in zip(seeds.vectors, seeds.tracks, strict=True):
                self.add(vector, track)

    def add_new(self, vector: NDArray[np.float32], track: Track) -> bool:
        """Add a track that is none of them; return whether it was."""
        new = self.same_as(vector, track) is None
        if new:
            self.add(vector, track)
        return new

    def add(self, vector: NDArray[np.float32], track: Track) -> None:
        """Add a track."""
        import numpy as np

        count = len(self._paths)
        if count == len(self._lengths):
            self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
            self._lengths = np.concatenate([self._lengths, np.zeros_like(self._lengths)])
        self._vectors[count] = vector
        self._lengths[count] = track.duration_s
        self._paths.append(track.path)

    def same_as(self, vector: NDArray[np.float32], track: Track) -> str | None:
        """Return the first of them that is the same recording as a track."""
        import numpy as np

        lengths = self._lengths[: len(self._paths)]
        longer = np.maximum(lengths, track.duration_s)
        allowed = np.maximum(_SAME_LENGTH_S, _SAME_LENGTH_PART * longer)
        alike = np.flatnonzero(np.abs(lengths - track.duration_s) <= allowed)
        same = alike[self._vectors[alike] @ vector >= SAME_SOUND]
        return self._paths[same[0]] if len(same) else None
