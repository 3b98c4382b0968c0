"""A music library that is asked: what is similar, what fits, what leads from here to there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from musicnn_zoo.errors import ArgumentError, answered, check_whole, listed, shown
from musicnn_zoo.library.asking import Asking, names_of, order_by
from musicnn_zoo.library.descriptors import to_acousticbrainz
from musicnn_zoo.library.library_file import Analysis, LibraryFile, default_library
from musicnn_zoo.library.queries import parse_condition
from musicnn_zoo.library.tracks import TRACK_COLUMNS, Track, TrackList, track_of
from musicnn_zoo.machine import __version__
from musicnn_zoo.text import path_from_text, path_to_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from musicnn_zoo.library.filling import Compatible
    from musicnn_zoo.library.indexing import IndexSummary, OnProgress
    from musicnn_zoo.networks.patches import Tail
    from musicnn_zoo.runtimes.engine import EngineName
    from musicnn_zoo.sound.read import OnDamage
    from musicnn_zoo.tagging.pipeline import EmbeddedTags
    from musicnn_zoo.tagging.results import Silence

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

DEFAULT_K = 20
DEFAULT_LENGTH = 15
LONGEST_WAY = 500
MOST_CLUSTERS = 1000
_ALL = 2**62


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
        if path is not None and not isinstance(path, str | os.PathLike):
            raise ArgumentError(f"a library must be a path; received {shown(path)}")
        given = default_library() if path is None else Path(path).expanduser()
        self.path = Path(os.path.abspath(given))  # noqa: PTH100
        self.as_indexed = as_indexed
        self._analysts: dict[int, Any] = {}

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
        include: str | Sequence[str] = (),
        exclude: str | Sequence[str] = (),
        hidden: bool = False,
        engine: EngineName = "auto",
        device: str | None = None,
        jobs: int | None = None,
        compatible: Compatible | None = None,
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
        compatible : {"audiomuse"}, optional
            Compute vectors as another program does, which decides on the model, the layer and the
            patches; see :mod:`musicnn_zoo.library.audiomuse`. They are kept apart, and asked for
            by ``model="audiomuse"`` alone.
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
        from musicnn_zoo.library.filling import Wanted, fill
        from musicnn_zoo.sound.find import Selection

        given = _given(folders, "a folder")
        layers = () if layer is None else tuple(dict.fromkeys(listed("layer", layer)))
        if not layers and layer is not None:
            raise ArgumentError("layer must name at least one layer; received none")
        wanted = Wanted(
            model, layers, {"patch_s": patch_s, "hop_s": hop_s, "tail": tail, "silence": silence},
            damaged=damaged, engine=engine, device=device, jobs=jobs, compatible=compatible,
        )  # fmt: skip
        selection = Selection(listed("include", include), listed("exclude", exclude), hidden)
        return fill(self.path, given, selection, wanted, on_progress)

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
        if not isinstance(sort, str | None):
            raise ArgumentError(
                f"sort must be the name of a tag or a field; received {shown(sort)}"
            )
        with LibraryFile(self.path) as library:
            analysis = library.analysis(model)
            names = names_of(analysis)
            condition = parse_condition(query, names)
            order = order_by(sort if sort is not None else condition.wanted, names)
            shown_tags = list(condition.tags)
            if sort is not None and sort in names and names.tag(sort) not in shown_tags:
                shown_tags.append(names.tag(sort))
            columns = "".join(f", {names.sql(tag)}" for tag in shown_tags)
            rows = library.rows(
                f"SELECT {TRACK_COLUMNS}{columns} FROM {analysis.table} t "
                "CROSS JOIN files f ON f.sound = t.sound AND f.state = 'present' "
                f"JOIN sounds s ON s.id = t.sound WHERE {condition.sql} ORDER BY {order} LIMIT ?",
                (*condition.values, -1 if limit is None else min(limit, _ALL)),
            )
        tracks = tuple(track_of(row, dict(zip(shown_tags, row[5:], strict=True))) for row in rows)
        asked = {"query": query, "tags": shown_tags}
        return TrackList(tracks, "found", query, analysis.model, asked)

    @answered
    def similar(
        self,
        seeds: Paths,
        *,
        k: int = DEFAULT_K,
        like: str | Sequence[str] = (),
        unlike: str | Sequence[str] = (),
        distinct: bool = False,
        among: Paths | None = None,
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
        like, unlike : str or sequence of str
            Tags of which a track should have more, or less: a quarter of their mean score is added
            to the cosine or taken from it, and the sum is the order.
        distinct : bool
            Leave out what is the same recording as a seed or as a track before it: a cosine of at
            least 0.98 and the same length to 1 s or 1 %.
        among : path or sequence of path, optional
            Files to choose from; by default all of the library.
        layer : str, optional
            Whose vectors are compared, of those that were indexed; by default the first.
        model : str, optional
            As in :meth:`find`.

        Returns
        -------
        TrackList
            Without the seeds; ``values["similarity"]`` is the cosine.
        """
        given = _some(seeds)
        check_whole("k", k)
        with LibraryFile(self.path) as library:
            asking = self._asking(library, model, layer)
            if among is not None:
                asking.choose_among(_given(among))
            tracks = asking.nearest(
                asking.seeds(given), k, distinct=distinct,
                like=listed("like", like), unlike=listed("unlike", unlike),
            )  # fmt: skip
        return _similar_to(given, tracks, asking)

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

        Each track is at most as similar to the start, and at least as similar to the end, as the
        one before it, and no recording is in it twice (``musicnn_zoo.library.neighbours``).

        Parameters
        ----------
        start, end : path
            In the library or not.
        n : int
            How many tracks, with the two: at most 500. There are fewer if no more tracks of the
            library are between the two in that order.
        layer, model
            As in :meth:`similar`.

        Returns
        -------
        TrackList
            With ``to_start`` and ``to_end``, the cosines with the two.
        """
        check_whole("n", n, least=2, most=LONGEST_WAY)
        given = _some([start, end])
        with LibraryFile(self.path) as library:
            asking = self._asking(library, model, layer)
            ends = asking.seeds(given)
            tracks = asking.way(ends, n - 2)
        name = f"From {ends.tracks[0].shown} to {ends.tracks[1].shown}"
        asked = {
            "start": path_to_text(given[0]), "end": path_to_text(given[1]),
            "layer": asking.space.layer,
        }  # fmt: skip
        return TrackList(tracks, "path", name, asking.analysis.model, asked)

    @answered
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
        given = _some(seeds)
        with LibraryFile(self.path) as library:
            asking = self._asking(library, model, layer)
            found = asking.seeds(given)
            tracks = asking.nearest(found, n, distinct=True)
        begun = [replace(track, values={"similarity": 1.0}) for track in found.distinct()]
        return _similar_to(given, (*begun, *tracks)[:n], asking)

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
            How many groups: at most 1000.
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
        check_whole("k", k, most=MOST_CLUSTERS)
        check_whole("seed", seed, least=0)
        if n is not None:
            check_whole("n", n)
        with LibraryFile(self.path) as library:
            asking = self._asking(library, model, layer)
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
        path, *others = _some(track)
        if others:
            raise ArgumentError(f"describe takes one track; received {shown(track)}")
        with LibraryFile(self.path) as library:
            asking = self._asking(library, model, None)
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

    @answered
    def vectors(
        self, *, layer: str | None = None, model: str | None = None
    ) -> tuple[tuple[str, ...], NDArray[np.float32]]:
        """Return the vectors of all files that are there.

        Of vectors of another program, those that it would not have are left out.

        Parameters
        ----------
        layer, model : str, optional
            As in :meth:`similar`.

        Returns
        -------
        paths : tuple of str
            In order.
        vectors : ndarray, shape (files, dimensions)
            Means over the patches, to the precision that the library keeps: 11 bits.
        """
        import numpy as np

        with LibraryFile(self.path) as library:
            analysis = library.analysis(model)
            space = library.space(analysis, layer)
            rows = library.rows(
                f"SELECT f.path, v.length, v.vector FROM files f JOIN {space.table} v "
                "ON v.sound = f.sound JOIN sounds s ON s.id = f.sound "
                "WHERE f.state = 'present' AND s.duration_s >= ? ORDER BY f.path",
                (analysis.settings.get("shortest_s", 0),),
            )
        values = np.zeros((len(rows), space.dimensions), np.float32)
        for value, (_, length, vector) in zip(values, rows, strict=True):
            value[:] = length * np.frombuffer(vector, "<f2").astype(np.float32)
        return tuple(path_from_text(row[0]) for row in rows), values

    @answered
    def look_up(self, tracks: Paths, *, model: str | None = None) -> TrackList:
        """Look up what the library knows of tracks; nothing is analysed.

        Parameters
        ----------
        tracks : path or sequence of path
        model : str, optional
            As in :meth:`find`.

        Returns
        -------
        TrackList
            The tracks that are in the library as they are now, in the order in which they were
            given, with the scores of all tags; the others are left out.
        """
        given = _given(tracks)
        with LibraryFile(self.path) as library:
            analysis = library.analysis(model)
            if not library.spaces(analysis):
                return TrackList((), "found", "Known", analysis.model)
            asking = self._asking(library, model, None)
            known = {track.path: asking.held_scores(sound, track)
                     for sound, track in filter(None, map(asking.known, given))}  # fmt: skip
        return TrackList(tuple(known.values()), "found", "Known", analysis.model)

    def models(self) -> dict[str, tuple[str, ...]]:
        """Return the models in the library and their tags, that of the latest run first.

        There are none if there is no file yet. Those of ``compatible`` vectors are left out.
        """
        if not self.path.exists():
            return {}
        with LibraryFile(self.path) as library:
            found: dict[str, tuple[str, ...]] = {}
            for each in library.analyses():
                if each.compatible is None:
                    found.setdefault(each.model, each.tags)
            return found

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

    def told_failures(self) -> list[tuple[str, str]]:
        """Return what could not be used when a run last came to its end, and why.

        Unlike :meth:`failures` it has folders, too, and nothing of a run that was ended.
        """
        with LibraryFile(self.path) as library:
            return library.told_failures()

    def forget_gone(self, *, unmounted: bool = True) -> int:
        """Forget the files and folders that are gone; return how many files there were.

        Parameters
        ----------
        unmounted : bool, default True
            Also folders that are not there, and files below a folder in which no file is left;
            False keeps those, since their disk may not be mounted.
        """
        LibraryFile(self.path).close()  # says if there is none
        with LibraryFile(self.path, write=True) as library:
            return library.forget_gone(unmounted=unmounted)

    def _asking(self, library: LibraryFile, model: str | None, layer: str | None) -> Asking:
        analyse = None if self.as_indexed else self._analysed
        return Asking(library, analyse, model, layer)

    def _analysed(self, path: str, analysis: Analysis, layer: str) -> EmbeddedTags:
        """Analyse a file that is not in the library as the library's files were."""
        if analysis.id not in self._analysts:
            self._analysts[analysis.id] = _analyst_of(analysis)
        analyst = self._analysts[analysis.id]
        if analysis.compatible is not None:
            (result,) = analyst([path], jobs=1)
        else:
            asked = analysis.settings
            (result,) = analyst.embedded_tags_files(
                [path], layer=layer, patch_s=asked["patch_s"], hop_s=asked["hop_s"],
                tail=asked["tail"], silence=asked["silence"], jobs=1,
            )  # fmt: skip
        analysed: EmbeddedTags = result.unwrap()
        return analysed


def _analyst_of(analysis: Analysis) -> Any:
    """Load the model of an analysis, as a Tagger or as what computes compatible vectors."""
    from musicnn_zoo.zoo.load import find_pretrained

    pretrained = find_pretrained(analysis.place)
    if pretrained.digest() != analysis.weights:
        raise ArgumentError(
            f"model {analysis.place!r} has other weights now than those that the library was made "
            "with, so that nothing can be compared with it; run 'musicnn-zoo index' again"
        )
    if analysis.compatible is not None:
        from musicnn_zoo.library.audiomuse import AudioMuseAnalyst

        return AudioMuseAnalyst(pretrained)
    from musicnn_zoo.tagging.tagger import Tagger

    return Tagger(pretrained)


def _similar_to(seeds: list[str], tracks: tuple[Track, ...], asking: Asking) -> TrackList:
    asked = {"seeds": [path_to_text(each) for each in seeds], "layer": asking.space.layer}
    names = " and ".join(PurePath(each).stem for each in seeds[:2])
    return TrackList(tracks, "similar", f"Like {names}", asking.analysis.model, asked)


def _given(paths: Paths, what: str = "a track") -> list[str]:
    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    try:
        given = [os.fspath(each) for each in several]
    except TypeError as error:
        raise ArgumentError(f"{what} must be a path; received {shown(paths)}") from error
    for each in given:
        if not isinstance(each, str) or not each or "\0" in each:
            raise ArgumentError(f"{what} must be a path; received {shown(each)}")
    return given


def _some(tracks: Paths) -> list[str]:
    given = _given(tracks)
    if not given:
        raise ArgumentError("name at least one track; received none")
    return given
