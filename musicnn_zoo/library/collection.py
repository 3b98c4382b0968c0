"""A music library that is asked: what is similar, what fits, what leads from here to there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, overload

from musicnn_zoo.errors import ArgumentError, AudioError, answered, check_whole, shown
from musicnn_zoo.library.descriptors import names_for, to_acousticbrainz
from musicnn_zoo.library.library_file import Analysis, LibraryFile, Space, default_library
from musicnn_zoo.library.playlists import Entry, write_playlist
from musicnn_zoo.library.queries import FIELDS, TEXT_FIELDS, Names, parse_condition
from musicnn_zoo.machine import __version__
from musicnn_zoo.text import path_from_text, path_to_text, printable

if TYPE_CHECKING:
    import numpy as np
    import pandas
    from numpy.typing import NDArray

    from musicnn_zoo.library.indexing import IndexSummary, OnProgress
    from musicnn_zoo.networks.patches import Tail
    from musicnn_zoo.runtimes.engine import EngineName
    from musicnn_zoo.sound.read import OnDamage
    from musicnn_zoo.tagging.pipeline import EmbeddedTags
    from musicnn_zoo.tagging.results import Silence

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

DEFAULT_LAYER = "penultimate"
DEFAULT_K = 20
DEFAULT_LENGTH = 15
SAME_SOUND = 0.98
"""Sounds with at least this cosine and the same length are taken for one recording."""
_SAME_LENGTH_S = 1.0
_SAME_LENGTH_PART = 0.01
_LIKING = 0.25
"""What a tag's score of 1 adds to the cosine if it is liked."""
_NAMING_TAGS = 2
_FILE_COLUMNS = "f.path, f.title, f.artist, f.album, s.duration_s"


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


class Library:
    """A library file, and what one asks of it.

    Parameters
    ----------
    path : path, optional
        By default the file that ``musicnn-zoo index`` makes in the user's data folder; see
        :func:`musicnn_zoo.library.library_file.default_library`. It need not be there before
        :meth:`index`.
    as_indexed : bool
        Answer by what the library knows alone: no track is looked at or analysed, even if it has
        changed since, and one that is not in the library is an AudioError.

    Notes
    -----
    All questions go to the analysis of the latest :meth:`index`, or with ``model`` to that of
    another model; vectors of different models, weights, settings or layers are never compared.
    Every call opens and closes the file, so that other processes may use it, too.

    Examples
    --------
    >>> import musicnn_zoo
    >>> library = musicnn_zoo.Library("music.sqlite")  # doctest: +SKIP
    >>> library.index("~/Music")  # doctest: +SKIP
    >>> library.find("piano > 0.4 and not vocals > 0.3").to_pandas()  # doctest: +SKIP
    """

    @answered
    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, as_indexed: bool = False
    ) -> None:
        given = default_library() if path is None else Path(path).expanduser()
        self.path = Path(os.path.abspath(given))  # noqa: PTH100
        self.as_indexed = as_indexed
        self._taggers: dict[int, Any] = {}

    def __repr__(self) -> str:
        return f"<Library {str(self.path)!r}>"

    @answered
    def index(
        self,
        folders: Paths = (),
        *,
        model: str | os.PathLike[str] | None = None,
        layer: str | Sequence[str] | None = None,
        patch_s: float | None = None,
        hop_s: float | None = None,
        tail: Tail | None = None,
        silence: Silence | None = None,
        damaged: OnDamage = "refuse",
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        hidden: bool = False,
        engine: EngineName = "auto",
        device: str | None = None,
        jobs: int | None = None,
        on_progress: OnProgress | None = None,
    ) -> IndexSummary:
        """Bring the library up to date with folders.

        Tags and embeddings of each new or changed file are computed in one pass.

        Parameters
        ----------
        folders : path or sequence of path, optional
            Folders, or files; by default all folders of earlier runs, with ``include``,
            ``exclude`` and ``hidden`` as they were then.
        model : str or path, optional
            As in :func:`musicnn_zoo.tag`, but no model object, since a later run loads it again.
            By default that of the run before, at first MTT_musicnn.
        layer : str or sequence of str, optional
            Whose mean vectors are kept; by default as in the run before, at first penultimate.
        patch_s, hop_s, tail, silence : optional
            As in :func:`musicnn_zoo.tag_files`; by default as in the run before with this model.
        damaged, engine, device, jobs
            As in :func:`musicnn_zoo.tag_files`.
        include, exclude, hidden
            As in :func:`musicnn_zoo.find_audio`.
        on_progress : callable, optional
            Is called with a :class:`musicnn_zoo.library.indexing.Progress` after each file.

        Returns
        -------
        IndexSummary

        Raises
        ------
        ArgumentError
            If a folder is not there, or an argument cannot be used.
        OutputError
            If the library file cannot be written.
        """
        from filelock import FileLock, Timeout

        from musicnn_zoo.errors import OutputError
        from musicnn_zoo.files import raising
        from musicnn_zoo.library.indexing import present_folders, run_index
        from musicnn_zoo.sound.find import Selection
        from musicnn_zoo.sound.sources import local_path

        given = [folders] if isinstance(folders, str | os.PathLike) else list(folders)
        selection = Selection(tuple(include), tuple(exclude), hidden)
        places = dict.fromkeys(present_folders([local_path(each) for each in given]), selection)
        layers = (layer,) if isinstance(layer, str) else tuple(dict.fromkeys(layer or ()))
        if not layers and layer is not None:
            raise ArgumentError("layer must name at least one layer; received none")
        with raising(OutputError, f"library {str(self.path)!r} cannot be made"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(f"{self.path}.lock", timeout=0)
            try:
                lock.acquire()
            except Timeout as error:
                raise ArgumentError(
                    f"library {str(self.path)!r}: another run is filling it; let it end"
                ) from error
        try:
            with LibraryFile(self.path, write=True) as library:
                if not places:
                    places = {
                        path: Selection(tuple(included), tuple(excluded), with_hidden)
                        for path, (included, excluded, with_hidden) in library.folders().items()
                    }
                if not places:
                    raise ArgumentError("name a folder to index; the library has none yet")
                chosen, tagger = _tagger_maker(library, model, engine, device)
                asked: dict[str, Any] = {
                    "patch_s": patch_s, "hop_s": hop_s, "tail": tail, "silence": silence,
                }  # fmt: skip
                before = library.analyses()[:1]
                if before and (model is None or before[0].weights == chosen.weights):
                    old = before[0].settings
                    asked = {n: old[n] if value is None else value for n, value in asked.items()}
                    layers = layers or tuple(each.layer for each in library.spaces(before[0]))
                layers = layers or (DEFAULT_LAYER,)
                asked["tail"], asked["silence"] = (
                    asked["tail"] or "drop",
                    asked["silence"] or "skip",
                )
                cutting = chosen.spec.config.grid.of_lengths(asked["patch_s"], asked["hop_s"])
                settings = {
                    **asked, "patch_frames": cutting.patch, "hop_frames": cutting.hop,
                    "sample_rate": cutting.sample_rate, "pooling": "mean",
                }  # fmt: skip
                analysis = library.make_analysis(
                    model=chosen.spec.name, place=chosen.place, weights=chosen.weights,
                    settings=settings, tags=chosen.spec.tags,
                )  # fmt: skip
                library.remember_folders(
                    {
                        path: (one.include, one.exclude, one.hidden)
                        for path, one in places.items()
                        if Path(path).is_dir()
                    }
                )

                def analyse(paths: Any) -> Iterator[Any]:
                    results: Iterator[Any] = tagger().embedded_tags_files(
                        paths, layer=layers, **asked, damaged=damaged, jobs=jobs
                    )
                    return results

                return run_index(
                    library, places, analysis, layers, analyse,
                    jobs=jobs, on_progress=on_progress,
                )  # fmt: skip
        finally:
            lock.release()

    @answered
    def find(
        self,
        query: str,
        *,
        sort: str | None = None,
        limit: int | None = None,
        model: str | None = None,
    ) -> TrackList:
        """Find the tracks that fulfil a condition.

        Parameters
        ----------
        query : str
            Such as ``"piano > 0.4 and slow > 0.2 and not vocals > 0.3"``; see
            :mod:`musicnn_zoo.library.queries`.
        sort : str, optional
            A tag, whose highest scores come first, or a field: duration (longest first), title,
            artist, album, genre, path. By default the first tag that is asked to be high.
        limit : int, optional
            How many tracks at most.
        model : str, optional
            Whose tags are meant; by default those of the latest run of :meth:`index`.

        Returns
        -------
        TrackList
            With the scores of the tags in the query.
        """
        if limit is not None:
            check_whole("limit", limit)
        with LibraryFile(self.path) as library:
            analysis = library.analysis(model)
            names = _names_of(analysis)
            condition = parse_condition(query, names)
            order = _order(sort if sort is not None else condition.wanted, names)
            shown_tags = list(condition.tags)
            if sort is not None and sort in names and names.tag(sort) not in shown_tags:
                shown_tags.append(names.tag(sort))
            columns = "".join(f", {names.sql(tag)}" for tag in shown_tags)
            rows = library.rows(
                f"SELECT {_FILE_COLUMNS}{columns} FROM {analysis.table} t "
                "CROSS JOIN files f ON f.sound = t.sound AND f.state = 'present' "
                f"JOIN sounds s ON s.id = t.sound WHERE {condition.sql} ORDER BY {order} LIMIT ?",
                (*condition.values, -1 if limit is None else limit),
            )
        tracks = tuple(_track(row, dict(zip(shown_tags, row[5:], strict=True))) for row in rows)
        return TrackList(tracks, "found", query, analysis.model, {"query": query})

    @answered
    def similar(
        self,
        seeds: Paths,
        *,
        k: int = DEFAULT_K,
        like: Sequence[str] = (),
        unlike: Sequence[str] = (),
        distinct: bool = False,
        layer: str | None = None,
        model: str | None = None,
    ) -> TrackList:
        """Find the tracks that sound most like one track, or like the mean of several.

        Parameters
        ----------
        seeds : path or sequence of path
            In the library or not; others are analysed by the library's model.
        k : int
            How many tracks.
        like, unlike : sequence of str
            Tags of which a track should have more, or less: a quarter of their mean score is added
            to the cosine or taken from it, and the sum is the order.
        distinct : bool
            Leave out what is the same recording as a seed or as a track before it: a cosine of at
            least 0.98 and the same length to 1 s or 1 %.
        layer : str, optional
            Whose vectors are compared, of those that were indexed; by default the first.
        model : str, optional
            As in :meth:`find`.

        Returns
        -------
        TrackList
            Without the seeds; ``values["similarity"]`` is the cosine.
        """
        given = _given(seeds)
        check_whole("k", k)
        with LibraryFile(self.path) as library:
            asking = _Asking(library, self, model, layer)
            found = asking.seeds(given)
            from musicnn_zoo.library.neighbours import cosines, unit

            mean = unit(found.vectors.mean(axis=0, keepdims=True))
            sounds, similarities = cosines(library, asking.space, mean)
            order = similarities[0] + asking.liking(sounds, like, unlike)
            tracks = asking.ranked(sounds, similarities[0], order, found, k, distinct=distinct)
        asked = {"seeds": [path_to_text(each) for each in given], "layer": asking.space.layer}
        names = " and ".join(PurePath(each).stem for each in given[:2])
        return TrackList(tracks, "similar", f"Like {names}", asking.analysis.model, asked)

    @answered
    def playlist(
        self,
        start: str | os.PathLike[str],
        end: str | os.PathLike[str],
        *,
        n: int = DEFAULT_LENGTH,
        layer: str | None = None,
        model: str | None = None,
    ) -> TrackList:
        """Find a smooth way from one track to another.

        Each track is at most as similar to the start and at least as similar to the end as the one
        before it (``asked["monotone"]``), where the library has enough tracks for that; else the
        difference of the two similarities grows from track to track.

        Parameters
        ----------
        start, end : path
            In the library or not.
        n : int
            How many tracks, with the two; there are fewer if there are not enough between them.
        layer, model
            As in :meth:`similar`.

        Returns
        -------
        TrackList
            With ``to_start`` and ``to_end``, the cosines with the two.
        """
        check_whole("n", n, least=2)
        given = _given([start, end])
        with LibraryFile(self.path) as library:
            asking = _Asking(library, self, model, layer)
            ends = asking.seeds(given)
            from musicnn_zoo.library.neighbours import cosines, find_way

            sounds, similarities = cosines(library, asking.space, ends.vectors)
            free = asking.may_be_taken(sounds, ends)
            to_start, to_end = similarities[:, free]
            between = float(ends.vectors[0] @ ends.vectors[1])
            way = find_way(to_start, to_end, between, n - 2)
            middle = [int(sounds[free][place]) for place in way.places]
            tracks = asking.tracks_of(middle)
            values = [
                {"to_start": 1.0, "to_end": between},
                *(
                    {"to_start": float(to_start[place]), "to_end": float(to_end[place])}
                    for place in way.places
                ),
                {"to_start": between, "to_end": 1.0},
            ]
            whole = [ends.tracks[0], *tracks, ends.tracks[1]]
        name = f"From {ends.tracks[0].shown} to {ends.tracks[1].shown}"
        asked = {
            "start": path_to_text(given[0]), "end": path_to_text(given[1]),
            "layer": asking.space.layer, "monotone": way.monotone,
        }  # fmt: skip
        valued = tuple(
            replace(track, values=value) for track, value in zip(whole, values, strict=True)
        )
        return TrackList(valued, "path", name, asking.analysis.model, asked)

    def more_like(
        self,
        seeds: Paths,
        *,
        n: int = DEFAULT_LENGTH,
        layer: str | None = None,
        model: str | None = None,
    ) -> TrackList:
        """Return a playlist of ``n`` tracks: the seeds, and what is most like them.

        No recording is in it twice. The parameters are those of :meth:`similar`.
        """
        check_whole("n", n)
        given = _given(seeds)
        with LibraryFile(self.path) as library:
            first = _Asking(library, self, model, layer).seeds(given).tracks
        found = self.similar(given, k=n, distinct=True, layer=layer, model=model)
        begun = [replace(track, values={"similarity": 1.0}) for track in first]
        return replace(found, tracks=(*begun, *found)[:n])

    @answered
    def clusters(
        self,
        k: int = 12,
        *,
        n: int | None = None,
        layer: str | None = None,
        model: str | None = None,
        seed: int = 0,
    ) -> list[TrackList]:
        """Divide the library into groups of tracks that sound alike.

        Parameters
        ----------
        k : int
            How many groups.
        n : int, optional
            How many tracks of each, by default all.
        layer, model
            As in :meth:`similar`.
        seed : int
            Of the random start.

        Returns
        -------
        list of TrackList
            The largest first, each by closeness to its middle; named by the tags whose scores in
            it differ most from those of the others.
        """
        check_whole("k", k)
        if n is not None:
            check_whole("n", n)
        with LibraryFile(self.path) as library:
            asking = _Asking(library, self, model, layer)
            return asking.clusters(k, n, seed)

    @answered
    def describe(
        self, track: str | os.PathLike[str], *, model: str | None = None
    ) -> dict[str, Any]:
        """Say what a track is in the shape of AcousticBrainz's high-level data.

        See :mod:`musicnn_zoo.library.descriptors`.

        Parameters
        ----------
        track : path
            In the library or not.
        model : str, optional
            As in :meth:`find`.
        """
        (path,) = _given(track)
        with LibraryFile(self.path) as library:
            asking = _Asking(library, self, model, None)
            scores, about = asking.scores_of(path)
            analysis = asking.analysis
        said = to_acousticbrainz(
            scores, model=analysis.model, weights=analysis.weights, version=__version__
        )
        said["metadata"]["tags"] = {
            "file_name": PurePath(about.path).name,
            **{
                name: [text]
                for name in ("title", "artist", "album")
                if (text := getattr(about, name))
            },
        }
        said["metadata"]["audio_properties"] = {"length": round(about.duration_s, 3)}
        return said

    def counts(self) -> dict[str, int]:
        """Return how many files are present, gone and failed."""
        with LibraryFile(self.path) as library:
            return library.counts()

    def failures(self) -> list[tuple[str, str]]:
        """Return the files that could not be used, and why."""
        with LibraryFile(self.path) as library:
            rows = library.rows(
                "SELECT path, reason FROM files WHERE state = 'failed' ORDER BY path"
            )
        return [(path_from_text(path), reason) for path, reason in rows]

    def forget_gone(self) -> int:
        """Forget the files and folders that are gone; return how many files there were."""
        LibraryFile(self.path).close()  # says if there is none
        with LibraryFile(self.path, write=True) as library:
            for folder in library.folders():
                if not os.path.lexists(folder):
                    library.forget_folder(folder)
            number = library.change("DELETE FROM files WHERE state = 'gone'")
            library.drop_unheard()
        return number

    def _analysed(self, path: str, analysis: Analysis, layer: str) -> EmbeddedTags:
        """Analyse a file that is not in the library as the library's files were."""
        if analysis.id not in self._taggers:
            from musicnn_zoo.tagging.tagger import Tagger
            from musicnn_zoo.zoo.load import find_pretrained

            pretrained = find_pretrained(analysis.place)
            if pretrained.digest() != analysis.weights:
                raise ArgumentError(
                    f"model {analysis.place!r} has other weights now than those that the library "
                    "was made with, so that nothing can be compared with it; run "
                    "'musicnn-zoo index' again"
                )
            self._taggers[analysis.id] = Tagger(pretrained)
        asked = analysis.settings
        (result,) = self._taggers[analysis.id].embedded_tags_files(
            [path], layer=layer, patch_s=asked["patch_s"], hop_s=asked["hop_s"],
            tail=asked["tail"], silence=asked["silence"], jobs=1,
        )  # fmt: skip
        analysed: EmbeddedTags = result.unwrap()
        return analysed


def _given(paths: Paths) -> list[str]:
    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    try:
        given = [os.fspath(each) for each in several]
    except TypeError as error:
        raise ArgumentError(f"a track must be a path; received {shown(paths)}") from error
    if not given:
        raise ArgumentError("name at least one track; received none")
    return given


class _Chosen:
    """A model that a library is filled by."""

    def __init__(self, place: str) -> None:
        from musicnn_zoo.zoo.load import find_pretrained, looks_like_place

        self.pretrained = find_pretrained(place)
        self.spec = self.pretrained.spec
        self.weights = self.pretrained.digest()
        is_folder = looks_like_place(place) and not place.startswith("hf://")
        self.place = str(Path(place).expanduser().absolute()) if is_folder else place


def _tagger_maker(
    library: LibraryFile, model: str | os.PathLike[str] | None, engine: Any, device: str | None
) -> tuple[_Chosen, Callable[[], Any]]:
    """Return the model that is meant, and what loads it when it is needed."""
    from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL

    if model is None:
        known = library.analyses()
        model = known[0].place if known else DEFAULT_MODEL
    if not isinstance(model, str | os.PathLike):
        raise ArgumentError(
            "model must be the name or the place of a model, since later runs load it again; "
            f"received {shown(model)}: save it by save_pretrained"
        )
    chosen = _Chosen(os.fspath(model))

    def make() -> Any:
        from musicnn_zoo.tagging.tagger import Tagger

        return Tagger(chosen.pretrained, engine=engine, device=device)

    return chosen, make


def _names_of(analysis: Analysis) -> Names:
    columns = dict(zip(analysis.tags, analysis.columns, strict=True))
    sql = {}
    for name, meant in names_for(analysis.tags).items():
        listed = ", ".join(f"t.{columns[tag]}" for tag in meant)
        sql[name] = f"max({listed})" if len(meant) > 1 else listed
    return Names(sql)


def _order(name: str | None, names: Names) -> str:
    if name is None or (name.lower() == "path" and name not in names):
        return "f.path"
    if name not in names:
        if name.lower() in TEXT_FIELDS:
            return f"fold({TEXT_FIELDS[name.lower()]}), f.path"
        if name.lower() in FIELDS:
            return f"{FIELDS[name.lower()]} DESC, f.path"
    return f"{names.sql(name)} DESC, f.path"


def _track(row: Sequence[Any], values: Mapping[str, float] | None = None) -> Track:
    path, title, artist, album, duration_s = row[:5]
    return Track(path_from_text(path), duration_s, title, artist, album, dict(values or {}))


class _Seeds:
    """Tracks that are asked about: their unit vectors, their sounds if the library has them."""

    def __init__(self, vectors: NDArray[np.float32], sounds: list[int | None], tracks: list[Track]):
        self.vectors = vectors
        self.sounds = sounds
        self.tracks = tracks


class _Asking:
    """One question to one analysis of an open library."""

    def __init__(
        self, library: LibraryFile, asker: Library, model: str | None, layer: str | None
    ) -> None:
        self._library = library
        self._asker = asker
        self.analysis = library.analysis(model)
        self.space: Space = library.space(self.analysis, layer)

    def _known(self, path: str) -> tuple[int, Track] | None:
        """Return the sound of a file of the library, and the track."""
        from musicnn_zoo.sound.sources import local_path

        place = path
        if not self._asker.as_indexed:
            place = os.path.realpath(path if os.path.lexists(path) else local_path(path))
        rows = self._library.rows(
            f"SELECT {_FILE_COLUMNS}, f.sound, f.size, f.mtime_ns, f.state FROM files f "
            f"JOIN sounds s ON s.id = f.sound JOIN {self.space.table} v ON v.sound = f.sound "
            f"JOIN {self.analysis.table} t ON t.sound = f.sound WHERE f.path = ?",
            (path_to_text(place),),
        )
        if not rows:
            return None
        row = rows[0]
        if self._asker.as_indexed:
            return row[5], _track(row)
        try:
            status = Path(place).stat()
        except OSError:  # the library still knows how it sounded
            return row[5], _track(row)
        same = (status.st_size, status.st_mtime_ns) == (row[6], row[7])
        return (row[5], _track(row)) if same else None

    def _analyse(self, path: str) -> tuple[EmbeddedTags, Track]:
        from musicnn_zoo.sound.sources import local_path

        place = path if os.path.lexists(path) else local_path(path)
        if self._asker.as_indexed or not Path(place).is_file():
            raise AudioError(
                f"{path}: is neither a file nor in the library {str(self._asker.path)!r}"
            )
        value = self._asker._analysed(place, self.analysis, self.space.layer)
        return value, Track(os.path.realpath(place), value.tags.clip.duration_s)

    def seeds(self, paths: Sequence[str]) -> _Seeds:
        """Look up or analyse tracks."""
        import numpy as np

        from musicnn_zoo.library.neighbours import unit, vectors_of

        vectors = []
        sounds: list[int | None] = []
        tracks = []
        for path in paths:
            known = self._known(path)
            if known is not None:
                sound, track = known
                vectors.append(vectors_of(self._library, self.space, [sound])[0])
                sounds.append(sound)
            else:
                value, track = self._analyse(path)
                vectors.append(unit(value.embedding.values))
                sounds.append(None)
            tracks.append(track)
        return _Seeds(np.stack(vectors), sounds, tracks)

    def scores_of(self, path: str) -> tuple[dict[str, float], Track]:
        """Return the scores of all tags of a track."""
        known = self._known(path)
        if known is None:
            value, track = self._analyse(path)
            return {tag: value.tags[tag] for tag in self.analysis.tags}, track
        columns = ", ".join(self.analysis.columns)
        (row,) = self._library.rows(
            f"SELECT {columns} FROM {self.analysis.table} WHERE sound = ?", (known[0],)
        )
        return dict(zip(self.analysis.tags, row, strict=True)), known[1]

    def liking(
        self, sounds: NDArray[np.int64], like: Sequence[str], unlike: Sequence[str]
    ) -> NDArray[np.float32] | float:
        """Return what is added to the cosines for tags that are liked or not."""
        names = _names_of(self.analysis)
        parts = [
            f"{sign} ({' + '.join(names.sql(tag) for tag in tags)}) / {len(tags)}"
            for sign, tags in (("+", _listed(like)), ("-", _listed(unlike)))
            if tags
        ]
        if not parts:
            return 0.0
        import numpy as np

        query = f"SELECT t.sound, {_LIKING} * (0 {' '.join(parts)}) FROM {self.analysis.table} t"
        added = np.array(self._library.rows(f"{query} ORDER BY t.sound"), np.float64)
        places = np.searchsorted(added[:, 0], sounds)
        return np.asarray(added[places, 1], np.float32)

    def may_be_taken(self, sounds: NDArray[np.int64], seeds: _Seeds) -> NDArray[np.bool_]:
        """Say which sounds have a present file and are none of the seeds."""
        import numpy as np

        present = np.fromiter(
            (
                row[0]
                for block in self._library.blocks(
                    "SELECT DISTINCT sound FROM files WHERE state = 'present'",
                    4096,
                )
                for row in block
            ),
            np.int64,
        )
        own = [sound for sound in seeds.sounds if sound is not None]
        allowed = np.isin(sounds, present) & ~np.isin(sounds, own)
        return np.asarray(allowed)

    def tracks_of(self, sounds: Sequence[int]) -> list[Track]:
        """Return the first present file of each sound."""
        tracks = []
        for sound in sounds:
            track = self._present(sound)
            assert track is not None
            tracks.append(track)
        return tracks

    def _present(self, sound: int) -> Track | None:
        rows = self._library.rows(
            f"SELECT {_FILE_COLUMNS} FROM files f JOIN sounds s ON s.id = f.sound "
            "WHERE f.sound = ? AND f.state = 'present' ORDER BY f.path LIMIT 1",
            (sound,),
        )
        return _track(rows[0]) if rows else None

    def ranked(
        self,
        sounds: NDArray[np.int64],
        similarities: NDArray[np.float32],
        order: NDArray[np.float32],
        seeds: _Seeds,
        k: int,
        *,
        distinct: bool,
    ) -> tuple[Track, ...]:
        """Return the first ``k`` tracks in an order, with what each is a duplicate of."""
        import numpy as np

        from musicnn_zoo.library.neighbours import vectors_of

        heard = list(zip(seeds.vectors, seeds.tracks, strict=True))
        own = {sound for sound in seeds.sounds if sound is not None}
        tracks: list[Track] = []
        for place in _descending(np.asarray(order)):
            if len(tracks) == k:
                break
            sound = int(sounds[place])
            track = None if sound in own else self._present(sound)
            if track is None:
                continue
            (vector,) = vectors_of(self._library, self.space, [sound])
            same = next(
                (
                    other.path
                    for their, other in heard
                    if _same_length(track.duration_s, other.duration_s)
                    and float(their @ vector) >= SAME_SOUND
                ),
                None,
            )
            if same is not None and distinct:
                continue
            values = {"similarity": float(similarities[place])}
            track = replace(track, values=values, duplicate_of=same)
            heard.append((vector, track))
            tracks.append(track)
        return tuple(tracks)

    def clusters(self, k: int, n: int | None, seed: int) -> list[TrackList]:
        """Divide the present sounds into clusters, and give the first ``n`` of each."""
        import numpy as np

        from musicnn_zoo.library.neighbours import find_clusters

        found = find_clusters(self._library, self.space, k, seed)
        present = self.may_be_taken(found.sounds, _Seeds(np.zeros((0, 0), np.float32), [], []))
        columns = ", ".join(f"t.{column}" for column in self.analysis.columns)
        query = (
            f"SELECT {columns} FROM {self.space.table} v CROSS JOIN {self.analysis.table} t "
            "ON t.sound = v.sound ORDER BY v.sound"
        )
        scores = np.concatenate(
            [np.array(block, np.float32) for block in self._library.blocks(query, 1024)]
        )
        lists = []
        names: set[str] = set()
        sizes = np.bincount(found.clusters[present], minlength=k)
        for cluster in np.argsort(-sizes, kind="stable"):
            members = np.flatnonzero(present & (found.clusters == cluster))
            if not len(members):
                continue
            members = members[np.argsort(-found.closeness[members], kind="stable")]
            name = _distinguishing(scores, members, self.analysis.tags, names)
            names.add(name)
            tracks = self.tracks_of([int(found.sounds[place]) for place in members[:n]])
            valued = tuple(
                replace(track, values={"similarity": float(found.closeness[place])})
                for track, place in zip(tracks, members[:n], strict=True)
            )
            asked = {"layer": self.space.layer, "clusters": k, "size": len(members)}
            lists.append(TrackList(valued, "cluster", name, self.analysis.model, asked))
        return lists


def _distinguishing(
    scores: NDArray[np.float32], members: NDArray[np.int64], tags: Sequence[str], taken: set[str]
) -> str:
    """Name a cluster by the tags whose mean in it is most above that of all, in deviations."""
    import numpy as np

    deviation = scores.std(axis=0) + 1e-3
    above = (scores[members].mean(axis=0) - scores.mean(axis=0)) / deviation
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


def _same_length(one: float, other: float) -> bool:
    return abs(one - other) <= max(_SAME_LENGTH_S, _SAME_LENGTH_PART * max(one, other))


def _listed(tags: str | Sequence[str]) -> list[str]:
    return [tags] if isinstance(tags, str) else list(tags)
