"""Bring a library file up to date: what is new is computed, what is known by its sound is not."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import AudioError, DecoderCrashError
from musicnn_zoo.files import mode_at
from musicnn_zoo.library.library_file import Analysis, LibraryFile
from musicnn_zoo.sound.contents import TITLES, Contents, read_contents
from musicnn_zoo.sound.find import Selection, Stamp, is_below, take_stamp, unchanged, walk_audio
from musicnn_zoo.tagging.pipeline import EmbeddedTags, reading_threads
from musicnn_zoo.tagging.results import FileResult
from musicnn_zoo.text import path_from_text

Analyse = Callable[[Iterable[str]], Iterator[FileResult[EmbeddedTags]]]
NOT_THERE = "there is no such folder (is its disk mounted?); its files stay as they were"
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
    At its end queries take the analysis that was asked for, if its vectors are this package's own.

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
    if analysis.compatible is None:
        library.choose(analysis)
    library.tell_failures(folders, run.summary.failures)
    library.commit()
    run.summary.elapsed_s = time.monotonic() - begun
    return run.summary


class _Waiting(NamedTuple):
    """A file that is being computed."""

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
        self._unlisted: set[str] = set()
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
                self._unlisted.add(folder)
                self._fail(folder, None, AudioError(f"{folder}: {NOT_THERE}"))
                continue
            for path, kind, reason in walk_audio(folder, selection):
                if kind == "audio":
                    yield str(path)
                elif kind == "unread_folder":
                    self._unlisted.add(os.path.realpath(path))
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
        self._waiting.append(_Waiting(stamp, contents))
        return True

    def compute(self, paths: Iterator[str], analyse: Analyse) -> None:
        """Compute files and write down what comes of them."""
        first = next(paths, None)
        if first is None:
            return
        for result in analyse(chain([first], paths)):
            stamp, contents = self._waiting.popleft()
            path = stamp.path
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
        """Mark the files that are not there any more, or left out; forget those that moved.

        A file that moved may have been anywhere.
        """
        remembered = set(self._library.folders())
        for number, text, sound, state in self._library.all_files():
            path = path_from_text(text)
            if (
                state != "gone"
                and not (sound in self._gained and self._is_nowhere(path))
                and not self._has_gone(path, folders, remembered)
            ):
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

    def _is_nowhere(self, path: str) -> bool:
        return not (path in self._seen or is_below(path, self._unlisted) or os.path.lexists(path))

    def _has_gone(
        self, path: str, folders: Mapping[str, Selection], remembered: Collection[str]
    ) -> bool:
        if path in self._seen or is_below(path, self._unlisted):
            return False
        if is_below(path, folders):
            others = {each for each in remembered if each not in folders}
            return not os.path.lexists(path) or (
                _is_left_out(path, folders) and not is_below(path, others)
            )
        if is_below(path, remembered):
            return False  # a run of its folder will tell
        return not os.path.lexists(path) and mode_at(Path(path).parent) is not None


def _is_as_it_was(stamp: Stamp) -> bool:
    """Whether a file is still that of which the digest was read, now that it has been decoded."""
    try:
        return unchanged(stamp, take_stamp(stamp.path))
    except AudioError:
        return False


def _is_left_out(path: str, folders: Mapping[str, Selection]) -> bool:
    """Whether no search of the folders that a file is below takes it, whatever its ending."""
    covering = [
        (PurePath(path).relative_to(folder), selection)
        for folder, selection in folders.items()
        if path != folder and is_below(path, [folder])
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
