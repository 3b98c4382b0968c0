"""Bring a library file up to date: what is new is computed, what is known by its sound is not."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path, PurePath
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import (
    ArgumentError,
    AudioError,
    DecoderCrashError,
    OutputError,
    check_choice,
    check_whole,
    shown,
)
from musicnn_zoo.files import mode_at, raising
from musicnn_zoo.library.library_file import Analysis, LibraryFile
from musicnn_zoo.runtimes.engine import ENGINES, EngineName
from musicnn_zoo.sound.contents import TITLES, Contents, read_contents
from musicnn_zoo.sound.find import Selection, Stamp, take_stamp, walk_audio
from musicnn_zoo.sound.read import OnDamage
from musicnn_zoo.sound.remote import as_address, place_of
from musicnn_zoo.sound.sources import local_path
from musicnn_zoo.tagging.pipeline import EmbeddedTags, reading_threads
from musicnn_zoo.tagging.results import FileResult
from musicnn_zoo.text import path_from_text

DEFAULT_LAYER = "penultimate"
Analyse = Callable[[Iterable[str]], Iterator[FileResult[EmbeddedTags]]]
_NOT_THERE = "there is no such folder (is its disk mounted?); its files stay as they were"
_CHANGED = "it changed while it was read; the next run takes it"
_AHEAD = 4
"""Files that each thread looks into before they are decoded: what was read is still in memory."""


@dataclass
class IndexSummary:
    """What a run did: files by what became of them, seconds of audio, and the time it took.

    Parameters
    ----------
    done : int
        New or changed, and computed.
    unchanged : int
        Same size and time as before.
    copied : int
        New, with the sound of another file of the library; nothing was computed.
    moved : int
        As ``copied``, and the other file is gone.
    retagged : int
        Changed, with the same sound: only the titles were read anew.
    returned : int
        Were gone, and are there again as they were.
    gone : int
        Were there in the run before. The library keeps what it knows of them.
    failed : int
        Could not be used.
    failures : list of (path, reason)
    audio_s, elapsed_s : float
    """

    done: int = 0
    unchanged: int = 0
    copied: int = 0
    moved: int = 0
    retagged: int = 0
    returned: int = 0
    gone: int = 0
    failed: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    audio_s: float = 0.0
    elapsed_s: float = 0.0

    @property
    def looked_at(self) -> int:
        """How many files were there, or could not be used."""
        there = (self.unchanged, self.copied, self.moved, self.retagged, self.returned)
        return self.done + sum(there) + self.failed

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {
            **asdict(self),
            "failures": [{"path": path, "reason": reason} for path, reason in self.failures],
            "audio_s": round(self.audio_s, 3),
            "elapsed_s": round(self.elapsed_s, 3),
        }

    def __str__(self) -> str:
        always = ("done", "unchanged")
        names = ("done", "unchanged", "copied", "moved", "retagged", "returned", "gone", "failed")
        counted = {name: getattr(self, name) for name in names}
        text = ", ".join(f"{n} {name}" for name, n in counted.items() if n or name in always)
        if self.done:
            speed = self.audio_s / max(self.elapsed_s, 1e-9)
            text += f"; {self.audio_s / 3600:.2f} hours of audio at {speed:.0f} × real time"
        return text


class Progress(NamedTuple):
    """How far a run is: the file that was looked at last, and how many there were."""

    path: str
    done: int
    failed: int
    looked_at: int


OnProgress = Callable[[Progress], None]


def unit_vector(values: NDArray[np.float32]) -> tuple[float, bytes]:
    """Return the length of a vector, and the vector of length 1 as little-endian float16."""
    exact = np.asarray(values, np.float64)
    length = float(np.linalg.norm(exact))
    return length, (exact / (length or 1.0)).astype("<f2").tobytes()


def run_index(
    library: LibraryFile,
    folders: Mapping[str, Selection],
    analysis: Analysis,
    layers: Sequence[str],
    analyse: Analyse,
    *,
    jobs: int | None = None,
    on_progress: OnProgress | None = None,
) -> IndexSummary:
    """Bring a library up to date with folders or files.

    A file with the size and time that it had is left alone. Of every other its titles and the
    digest of its sound are read; if the library knows the sound, nothing is computed. Files
    below the folders that are no longer there are marked as gone and keep what is known of them,
    and so do all files below a folder that cannot be listed. Failed files are tried again, except
    those that crashed the decoder and have not changed.

    Each file's row is written with its results; a run that ends early is continued by the next.
    At its end queries take the analysis that was asked for.

    Parameters
    ----------
    library : LibraryFile
    folders : mapping of str to Selection
        Absolute paths without links, and which files of them. One that is not there is a failure,
        and nothing below it is gone.
    analysis : Analysis
    layers : sequence of str
        Whose vectors are kept.
    analyse : callable
        Computes files, such as :meth:`musicnn_zoo.Tagger.embedded_tags_files`; it is called if
        there is something to compute.
    jobs : int, optional
        Threads that look into files; by default those that read files.
    on_progress : callable, optional
        Is called with a :class:`Progress` after each file.
    """
    begun = time.monotonic()
    run = _Run(library, analysis, tuple(layers), on_progress)
    paths = run.changed(folders)
    jobs = jobs or reading_threads()
    with ThreadPoolExecutor(jobs) as threads:
        run.compute(run.unknown(paths, threads, _AHEAD * jobs), analyse)
        while run.postponed:
            again, run.postponed = run.postponed, []
            run.awaited.clear()
            run.compute(run.unknown(iter(again), threads, _AHEAD * jobs), analyse)
    run.mark_gone(folders)
    library.choose(analysis)
    library.commit()
    run.summary.elapsed_s = time.monotonic() - begun
    return run.summary


class _Waiting(NamedTuple):
    """A file that is being computed."""

    path: str
    stamp: Stamp
    contents: Contents


class _Run:
    """One run; what computes takes files from it in threads of its own."""

    def __init__(
        self,
        library: LibraryFile,
        analysis: Analysis,
        layers: tuple[str, ...],
        on_progress: OnProgress | None,
    ) -> None:
        self._library = library
        self._analysis = analysis
        self._layers = layers
        self._on_progress = on_progress
        self.summary = IndexSummary()
        self.postponed: list[Stamp] = []
        self.awaited: set[str] = set()
        self._seen: set[str] = set()
        self._unlisted: list[str] = []
        self._gained: set[int] = set()
        self._waiting: deque[_Waiting] = deque()
        self._looked_at = 0
        self._counting = threading.RLock()

    def changed(self, folders: Mapping[str, Selection]) -> Iterator[Stamp]:
        """Yield the files below folders that are new or not as they were."""
        for found in self._walk(folders):
            try:
                stamp = take_stamp(found)
            except AudioError as error:
                self._fail(found, None, error)
                continue
            if stamp.path in self._seen:
                continue
            self._seen.add(stamp.path)
            known = self._library.file(stamp.path)
            if known is None or (known.size, known.mtime_ns) != (stamp.size, stamp.mtime_ns):
                yield stamp
            elif known.crashed:
                reason = known.reason or "crashed the decoder in an earlier run"
                self._fail(stamp.path, stamp, DecoderCrashError(reason))
            elif known.state == "failed" or not self._is_complete(known.sound):
                yield stamp
            elif known.state == "gone":
                self._library.change("UPDATE files SET state = 'present' WHERE id = ?", (known.id,))
                self.summary.returned += 1
                self._tell(stamp.path)
            else:
                self.summary.unchanged += 1
                self._tell(stamp.path)

    def _walk(self, folders: Mapping[str, Selection]) -> Iterator[str]:
        for folder, selection in folders.items():
            if Path(folder).is_file():
                yield folder
                continue
            if mode_at(folder) is None:
                self._unlisted.append(folder)
                self._fail(folder, None, AudioError(f"{folder}: {_NOT_THERE}"))
                continue
            for path, kind, reason in walk_audio(folder, selection):
                if kind == "audio":
                    yield str(path)
                elif kind == "unread_folder":
                    self._unlisted.append(os.path.realpath(path))
                    self._fail(str(path), None, AudioError(f"{path}: {reason}"))
                elif kind == "not_regular":
                    self._fail(str(path), None, AudioError(f"{path}: {reason}"))

    def unknown(
        self, stamps: Iterator[Stamp], threads: ThreadPoolExecutor, ahead: int
    ) -> Iterator[str]:
        """Look into files; yield those whose sound must be computed, and write down the others."""
        looking: deque[tuple[Stamp, Future[Contents]]] = deque()
        while True:
            for stamp in islice(stamps, ahead - len(looking)):
                contents = threads.submit(read_contents, stamp.path, size=stamp.size)
                looking.append((stamp, contents))
            if not looking:
                return
            stamp, contents = looking.popleft()
            if self._must_be_computed(stamp, contents):
                yield stamp.path

    def _must_be_computed(self, stamp: Stamp, reading: Future[Contents]) -> bool:
        try:
            contents = reading.result()
        except AudioError as error:
            self._fail(stamp.path, stamp, error)
            return False
        sound = self._library.sound(contents.digest)
        if sound is not None and self._is_complete(sound):
            known = self._library.file(stamp.path)
            if known is not None and known.sound == sound:
                self.summary.retagged += 1
            else:
                self.summary.copied += 1
                self._gained.add(sound)
            self._put(stamp, contents, sound)
            self._tell(stamp.path)
            return False
        if contents.digest in self.awaited:
            self.postponed.append(stamp)
            return False
        self.awaited.add(contents.digest)
        self._waiting.append(_Waiting(stamp.path, stamp, contents))
        return True

    def compute(self, paths: Iterator[str], analyse: Analyse) -> None:
        """Compute files and write down what comes of them."""
        first = next(paths, None)
        if first is None:
            return
        for result in analyse(chain([first], paths)):
            path, stamp, contents = self._waiting.popleft()
            assert result.source == path
            if result.value is None:
                assert result.error is not None
                self._fail(path, stamp, result.error)
            elif not _is_as_it_was(stamp):
                self._fail(path, None, AudioError(f"{path}: {_CHANGED}"))
            else:
                self._add(stamp, contents, result.value)

    def _add(self, stamp: Stamp, contents: Contents, value: EmbeddedTags) -> None:
        scores = [value.tags[tag] for tag in self._analysis.tags]
        vectors = {}
        for embedding in value.embeddings:
            vector = embedding.values
            space = self._library.make_space(self._analysis, embedding.layer, len(vector))
            vectors[space.id] = unit_vector(vector)
        with self._library.changing():
            sound = self._library.put_sound(
                contents.digest, value.clip.duration_s, self._analysis, scores, vectors
            )
            self._put(stamp, contents, sound)
        self._library.commit()
        with self._counting:
            self.summary.done += 1
            self.summary.audio_s += value.clip.duration_s
        self._tell(stamp.path)

    def _put(self, stamp: Stamp, contents: Contents, sound: int) -> None:
        titles = {name: getattr(contents, name) for name in TITLES}
        self._library.put_file(stamp.path, stamp.size, stamp.mtime_ns, sound=sound, **titles)

    def _fail(self, path: str, stamp: Stamp | None, error: Exception) -> None:
        reason = str(error).removeprefix(f"{path}: ")
        with self._counting:
            self.summary.failed += 1
            self.summary.failures.append((path, reason))
        if stamp is not None:
            crashed = int(isinstance(error, DecoderCrashError))
            self._library.put_file(
                path, stamp.size, stamp.mtime_ns,
                sound=None, state="failed", reason=reason, crashed=crashed,
                **dict.fromkeys(TITLES, ""),
            )  # fmt: skip
        self._tell(path)

    def _is_complete(self, sound: int | None) -> bool:
        return self._library.is_complete(sound, self._analysis, self._layers)

    def _tell(self, path: str) -> None:
        with self._counting:
            self._looked_at += 1
            if self._on_progress is not None:
                done, failed = self.summary.done, self.summary.failed
                self._on_progress(Progress(path, done, failed, self._looked_at))

    def mark_gone(self, folders: Mapping[str, Selection]) -> None:
        """Mark the files that are not there any more, or left out; forget those that moved."""
        remembered = set(self._library.folders())
        for number, text, sound, state in self._library.all_files():
            path = path_from_text(text)
            if state != "gone" and not self._has_gone(path, folders, remembered):
                continue
            if sound in self._gained:
                self._library.change("DELETE FROM files WHERE id = ?", (number,))
                self._gained.discard(sound)
                self.summary.moved += 1
                self.summary.copied -= 1
            elif state != "gone":
                self._library.change("UPDATE files SET state = 'gone' WHERE id = ?", (number,))
                self.summary.gone += 1
        self._library.drop_unheard()

    def _has_gone(
        self, path: str, folders: Mapping[str, Selection], remembered: Collection[str]
    ) -> bool:
        if path in self._seen or _is_below(path, self._unlisted):
            return False
        if _is_below(path, folders):
            others = [each for each in remembered if each not in folders]
            return not os.path.lexists(path) or (
                _is_left_out(path, folders) and not _is_below(path, others)
            )
        if _is_below(path, remembered):
            return False  # a run of its folder will tell
        return not os.path.lexists(path) and mode_at(Path(path).parent) is not None


def _is_as_it_was(stamp: Stamp) -> bool:
    """Whether a file is still that of which the digest was read, now that it has been decoded."""
    try:
        now = take_stamp(stamp.path)
    except AudioError:
        return False
    return (now.size, now.mtime_ns) == (stamp.size, stamp.mtime_ns)


def _is_left_out(path: str, folders: Mapping[str, Selection]) -> bool:
    """Whether no search of the folders that a file is below takes it, whatever its ending."""
    covering = [
        (PurePath(path).relative_to(folder), selection)
        for folder, selection in folders.items()
        if path != folder and _is_below(path, [folder])
    ]
    return bool(covering) and all(
        selection.leaves_out(below.name, below.as_posix(), folder=False)
        or any(
            selection.leaves_out(each.name, each.as_posix(), folder=True)
            for each in below.parents
            if each.name
        )
        for below, selection in covering
    )


def _is_below(path: str, places: Collection[str]) -> bool:
    return any(path == place or path.startswith(place.rstrip(os.sep) + os.sep) for place in places)


class Wanted(NamedTuple):
    """What a run is asked for; what is not said (None, no layers) is as in the run before.

    Parameters
    ----------
    model : str or path or None
    layers : tuple of str
    cut : dict
        ``patch_s``, ``hop_s``, ``tail`` and ``silence``.
    damaged, engine, device, jobs
        As in :func:`musicnn_zoo.tag_files`.
    """

    model: str | os.PathLike[str] | None
    layers: tuple[str, ...]
    cut: dict[str, Any]
    damaged: OnDamage
    engine: EngineName
    device: str | None
    jobs: int | None


def fill(
    path: Path,
    folders: Sequence[str | os.PathLike[str]],
    selection: Selection,
    wanted: Wanted,
    on_progress: OnProgress | None = None,
) -> IndexSummary:
    """Bring the library file at ``path`` up to date with folders, by default with those it knows.

    Raises
    ------
    ArgumentError
        If a folder is not there, another run is filling the file, or what is wanted cannot be.
    OutputError
        If the file cannot be written.
    """
    check_choice("damaged", wanted.damaged, get_args(OnDamage))
    check_choice("engine", wanted.engine, ENGINES)
    if wanted.jobs is not None:
        check_whole("jobs", wanted.jobs)
    places = dict.fromkeys(_present(folders), selection)
    with _alone(path), LibraryFile(path, write=True) as library:
        if not places:
            places = {
                place: Selection(tuple(included), tuple(excluded), with_hidden)
                for place, (included, excluded, with_hidden) in library.folders().items()
            }
        if not places:
            raise ArgumentError("name a folder to index; the library has none yet")
        chosen = _chosen_model(library, wanted.model)
        cut, layers = _settled(library, wanted, chosen.weights)
        usual = chosen.spec.config.grid
        grid = usual.of_lengths(cut["patch_s"], cut["hop_s"])
        if grid == usual.of_lengths(None, None):
            cut |= {"patch_s": None, "hop_s": None}
        settings = {
            **cut, "patch_frames": grid.patch, "hop_frames": grid.hop,
            "sample_rate": grid.sample_rate, "pooling": "mean",
        }  # fmt: skip
        analysis = library.make_analysis(
            model=chosen.spec.name, place=chosen.place, weights=chosen.weights,
            settings=settings, tags=chosen.spec.tags,
        )  # fmt: skip
        library.remember_folders(
            {
                place: (one.include, one.exclude, one.hidden)
                for place, one in places.items()
                if Path(place).is_dir()
            }
        )

        def analyse(paths: Iterable[str]) -> Iterator[FileResult[EmbeddedTags]]:
            from musicnn_zoo.tagging.tagger import Tagger

            tagger = Tagger(chosen.pretrained, engine=wanted.engine, device=wanted.device)
            return tagger.embedded_tags_files(
                paths, layer=layers, **cut, damaged=wanted.damaged, jobs=wanted.jobs
            )

        return run_index(
            library, places, analysis, layers, analyse,
            jobs=wanted.jobs, on_progress=on_progress,
        )  # fmt: skip


def _present(folders: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return the absolute paths of folders, all of which must be there.

    An unmounted disk is then an error and not a folder whose files are all gone.
    """
    found = []
    for given in folders:
        if as_address(given) is not None:
            raise ArgumentError(
                f"{place_of(given)}: a library is of files of this machine; mount the store, or "
                "'musicnn-zoo tag' and 'embed' write tables of what lies at addresses"
            )
        folder = local_path(given)
        if mode_at(folder) is None:
            raise ArgumentError(f"{folder}: {_NOT_THERE}")
        found.append(os.path.realpath(folder))
    return list(dict.fromkeys(found))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """See that no other run fills a library meanwhile."""
    from filelock import FileLock, Timeout

    with raising(OutputError, f"library {str(path)!r} cannot be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise ArgumentError(
                f"library {str(path)!r}: another run is filling it; let it end"
            ) from error
    try:
        yield
    finally:
        lock.release()


class _Chosen:
    """A model that a library is filled by."""

    def __init__(self, place: str) -> None:
        from musicnn_zoo.zoo.load import find_pretrained, looks_like_place

        self.pretrained = find_pretrained(place)
        self.spec = self.pretrained.spec
        self.weights = self.pretrained.digest()
        is_folder = looks_like_place(place) and not place.startswith("hf://")
        self.place = str(Path(place).expanduser().absolute()) if is_folder else place


def _chosen_model(library: LibraryFile, model: str | os.PathLike[str] | None) -> _Chosen:
    from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL

    if model is None:
        known = library.analyses()
        model = known[0].place if known else DEFAULT_MODEL
    if not isinstance(model, str | os.PathLike):
        raise ArgumentError(
            "model must be the name or the place of a model, since later runs load it again; "
            f"received {shown(model)}: save it by save_pretrained"
        )
    return _Chosen(os.fspath(model))


def _settled(
    library: LibraryFile, wanted: Wanted, weights: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return how patches are cut, and the layers, with those of the run before for what is open."""
    cut, layers = wanted.cut, wanted.layers
    before = library.analyses()[:1]
    if before and (wanted.model is None or before[0].weights == weights):
        old = before[0].settings
        cut = {name: old[name] if value is None else value for name, value in cut.items()}
        layers = layers or tuple(each.layer for each in library.spaces(before[0]))
    cut = {**cut, "tail": cut["tail"] or "drop", "silence": cut["silence"] or "skip"}
    return cut, layers or (DEFAULT_LAYER,)
