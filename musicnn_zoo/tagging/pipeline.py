"""Many files at once: what is computed for each, read ahead in threads, and computed together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError, AudioError, check_whole, shown
from musicnn_zoo.machine.processes import usable_cores
from musicnn_zoo.networks.config import CALIBRATED, Calibrated, ModelSpec, own_thresholds
from musicnn_zoo.networks.patches import PatchGrid, PatchStream, Tail
from musicnn_zoo.runtimes.engine import Engine
from musicnn_zoo.sound.read import AudioStream
from musicnn_zoo.tagging.results import (
    SILENT_DBFS,
    Clip,
    Embedding,
    Events,
    Features,
    FileResult,
    Result,
    Silence,
    Taggram,
    Tags,
    check_event_rule,
    check_ranking,
    check_silence,
)

Pooling = Literal["mean", "max"] | None
POOLINGS: tuple[Pooling, ...] = ("mean", "max", None)

Activations = dict[str, NDArray[np.float32]]
OnHeard = Callable[[str | None, float], None]
"""Receives the source of a file, and how many seconds of it are computed."""
Other = TypeVar("Other")


class EmbeddedTags(NamedTuple):
    """Embeddings of a clip, one a layer, and its tags."""

    embeddings: tuple[Embedding, ...]
    tags: Tags

    @property
    def embedding(self) -> Embedding:
        """The first of the embeddings."""
        return self.embeddings[0]

    @property
    def clip(self) -> Clip:
        """The audio of both."""
        return self.tags.clip


def silent_rows(windows: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which patches ``(patches, samples)`` have an RMS level below ``SILENT_DBFS``."""
    power = np.einsum("ij,ij->i", windows, windows) / windows.shape[1]
    return np.asarray(power < 10 ** (SILENT_DBFS / 10))


class Cutting(NamedTuple):
    """How signals are cut: the patches, the end that fills none, and how many samples count."""

    grid: PatchGrid
    tail: Tail = "drop"
    longest: int | None = None


@dataclass(frozen=True)
class Task(Generic[Result]):
    """What is computed of a file.

    Parameters
    ----------
    cutting : Cutting
    layers : tuple of str
        Whose activations it needs.
    finish : callable
        Makes the result of the activations of all patches of a file, ``{layer: (patches, …)}``,
        of which patches are silent, and its :class:`~musicnn_zoo.tagging.results.Clip`.
    reduce : callable, optional
        Applied to the activations of some patches at a time, before they are kept.
    framewise : bool
        Whether ``"output"`` must be the scores of single frames, ``(patches, frames, tags)``.
    """

    cutting: Cutting
    layers: tuple[str, ...]
    finish: Callable[[Activations, NDArray[np.bool_], Clip], Result]
    reduce: Callable[[Activations], Activations] = lambda activations: activations
    framewise: bool = False

    def then(self, make: Callable[[Result], Other]) -> Task[Other]:
        """Return the task that goes on to make something of the result."""

        def finish(activations: Activations, silent: NDArray[np.bool_], clip: Clip) -> Other:
            return make(self.finish(activations, silent, clip))

        return Task(self.cutting, self.layers, finish, self.reduce, self.framewise)


def taggram_of(
    spec: ModelSpec,
    scores: NDArray[np.float32],
    times: NDArray[np.float64],
    patch_s: float,
    hop_s: float,
    clip: Clip,
    silent: NDArray[np.bool_],
) -> Taggram:
    """Put scores together with what is known of the model that gave them."""
    return Taggram(
        scores, spec.tags, times, patch_s, hop_s, spec.name, clip,
        spec.thresholds, spec.spectrogram, silent,
    )  # fmt: skip


def taggram_task(spec: ModelSpec, cutting: Cutting, *, framewise: bool = False) -> Task[Taggram]:
    """Scores of every patch, or of every frame of consecutive patches."""
    grid = cutting.grid

    def of_patches(activations: Activations, silent: NDArray[np.bool_], clip: Clip) -> Taggram:
        scores = activations["output"]
        times = grid.times(len(scores))
        return taggram_of(spec, scores, times, grid.patch_s, grid.hop_s, clip, silent)

    def of_frames(activations: Activations, silent: NDArray[np.bool_], clip: Clip) -> Taggram:
        n_patches, n_frames, n_tags = activations["output"].shape
        scores = activations["output"].reshape(-1, n_tags)
        frame_s = grid.patch_s / n_frames
        times = np.arange(n_patches * n_frames, dtype=np.float64) * frame_s
        in_silence = np.repeat(silent, n_frames)
        return taggram_of(spec, scores, times, frame_s, frame_s, clip, in_silence)

    return Task(cutting, ("output",), of_frames if framewise else of_patches, framewise=framewise)


def tags_task(
    spec: ModelSpec,
    cutting: Cutting,
    *,
    top_k: int | None = None,
    threshold: float | Calibrated | None = None,
    silence: Silence = "skip",
) -> Task[Tags]:
    """Ranked tags; the scores averaged over the patches."""
    check_ranking(top_k, threshold)
    check_silence(silence)
    if threshold == CALIBRATED:
        own_thresholds(spec.thresholds, spec.name)
    taggram = taggram_task(spec, cutting)
    return taggram.then(
        lambda scores: scores.rank(top_k=top_k, threshold=threshold, silence=silence)
    )


def events_task(
    spec: ModelSpec,
    cutting: Cutting,
    *,
    framewise: bool,
    threshold: float,
    release: float | None,
    min_length_s: float,
    silence: Silence,
) -> Task[Events]:
    """When tags begin and end, from scores of patches or of frames."""
    release = check_event_rule(threshold, release, min_length_s)
    check_silence(silence)
    taggram = taggram_task(spec, cutting, framewise=framewise)
    return taggram.then(
        lambda scores: scores.events(
            threshold=threshold, release=release, min_length_s=min_length_s, silence=silence
        )
    )


def embedding_task(
    spec: ModelSpec,
    cutting: Cutting,
    *,
    layer: str,
    pooling: Pooling,
    silence: Silence = "skip",
) -> Task[Embedding]:
    """Vectors: what is between the patch and the channel axis is pooled, then the patches."""
    check_silence(silence)
    if not isinstance(pooling, str | None) or pooling not in POOLINGS:
        raise ArgumentError(f"pooling must be 'mean', 'max' or None; received {shown(pooling)}")
    pool: Any = np.max if pooling == "max" else np.mean
    grid = cutting.grid

    def reduce(activations: Activations) -> Activations:
        values = activations[layer]
        return {layer: pool(values, axis=tuple(range(1, values.ndim - 1)))}

    def finish(activations: Activations, silent: NDArray[np.bool_], clip: Clip) -> Embedding:
        values = activations[layer]
        heard = values if silence == "keep" or silent.all() else values[~silent]
        pooled = values if pooling is None else pool(heard, axis=0)
        return Embedding(
            pooled, grid.times(len(values)), layer, pooling, grid.patch_s, grid.hop_s,
            spec.name, clip,
        )  # fmt: skip

    return Task(cutting, (layer,), finish, reduce)


def embedded_tags_task(
    spec: ModelSpec, cutting: Cutting, *, layers: tuple[str, ...], silence: Silence
) -> Task[EmbeddedTags]:
    """Mean vectors of layers and strongest tag, in one pass."""
    embeddings = [
        embedding_task(spec, cutting, layer=layer, pooling="mean", silence=silence)
        for layer in layers
    ]
    tags = tags_task(spec, cutting, top_k=1, silence=silence)

    def reduce(activations: Activations) -> Activations:
        for embedding in embeddings:
            activations = {**activations, **embedding.reduce(activations)}
        return activations

    def finish(activations: Activations, silent: NDArray[np.bool_], clip: Clip) -> EmbeddedTags:
        return EmbeddedTags(
            tuple(embedding.finish(activations, silent, clip) for embedding in embeddings),
            tags.finish(activations, silent, clip),
        )

    return Task(cutting, tuple(dict.fromkeys((*layers, *tags.layers))), finish, reduce)


def features_task(spec: ModelSpec, cutting: Cutting, layers: tuple[str, ...]) -> Task[Features]:
    """Activations as they are."""
    grid = cutting.grid

    def finish(activations: Activations, silent: NDArray[np.bool_], clip: Clip) -> Features:
        del silent
        times = grid.times(len(activations[layers[0]]))
        return Features(activations, times, grid.patch_s, grid.hop_s, spec.name, clip)

    return Task(cutting, layers, finish)


NOT_FINITE = "has samples so large that scores of them are no numbers; bring them to ±1"

_CALLS_QUEUED = 4
_MANY_READERS = 8
_FILES_AHEAD = 256
_PATIENCE_S = 5.0


def process(
    streams: Iterable[AudioStream],
    task: Task[Result],
    *,
    engine: Engine,
    jobs: int | None = None,
    on_heard: OnHeard | None = None,
) -> Iterator[FileResult[Result]]:
    """Run a task on many files.

    Threads decode, resample and cut files ahead, and others have the engine compute their patches,
    which share batches whatever file they come from. Neither waits for the other as long as there
    is work, and no more than a few batches of audio are held at a time, however long the files
    are.

    Parameters
    ----------
    streams : iterable of AudioStream
        Taken as they are needed.
    task : Task
    engine : Engine
    jobs : int, optional
        Threads that read files; by default one a core up to 8, then one for three cores, since
        decoding and resampling take about a third of the time. Each holds some 15 MB.
    on_heard : callable, optional
        Is called by the threads that compute, after each batch, for each file in it.

    Yields
    ------
    FileResult
        In the order of ``streams``. What went wrong with a file is its result. Closing the
        generator ends the threads.

    Raises
    ------
    ArgumentError
        If ``jobs`` is less than one.
    Exception
        What the engine raises ends the run.
    """
    if jobs is not None:
        jobs = check_whole("jobs", jobs)
    return _Pipeline(streams, task, engine, jobs or reading_threads(), on_heard).results()


def reading_threads() -> int:
    """Return how many threads read files by default."""
    cores = usable_cores()
    return min(cores, max(_MANY_READERS, cores // 3))


@dataclass(eq=False)
class _File:
    """A file between being opened and its result."""

    stream: AudioStream
    patches: PatchStream
    computed: list[Activations | None] = field(default_factory=list)
    silent: list[NDArray[np.bool_]] = field(default_factory=list)
    outstanding: int = 0
    heard: int = 0
    read: bool = False
    error: Exception | None = None

    @property
    def finished(self) -> bool:
        return self.error is not None or (self.read and self.outstanding == 0)


class _Part(NamedTuple):
    """Patches of a file that are computed in one call, and where their activations go."""

    file: _File
    place: int
    windows: NDArray[np.float32]


class _Stop(Exception):  # noqa: N818
    """Ends a thread whose work nobody needs any more."""


class _Pipeline(Generic[Result]):
    """Files on their way through the threads.

    One condition guards all state; the iterator of streams has a lock of its own.
    """

    def __init__(
        self,
        streams: Iterable[AudioStream],
        task: Task[Result],
        engine: Engine,
        jobs: int,
        on_heard: OnHeard | None,
    ) -> None:
        self._on_heard = on_heard
        self._streams = iter(streams)
        self._task = task
        self._engine = engine
        self._jobs = jobs
        self._changed = threading.Condition()
        self._turn = threading.Lock()
        self._files: deque[_File] = deque()
        self._queue: deque[tuple[_File, NDArray[np.float32]]] = deque()
        self._queued = 0
        self._exhausted = False
        self._stopped = False
        self._failure: BaseException | None = None

    def results(self) -> Iterator[FileResult[Result]]:
        threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True)
            for work in (
                *[self._read_files] * self._jobs,
                *[self._compute] * self._engine.calls,
            )
        ]
        try:
            for thread in threads:
                thread.start()
            while (file := self._next_finished()) is not None:
                yield self._result(file)
        finally:
            with self._changed:
                self._stopped = True
                self._changed.notify_all()
            for thread in threads:
                if thread.ident is not None:
                    thread.join(_PATIENCE_S)  # one may hang in an iterator of the caller's
            self._streams = iter(())  # errors of files keep this object, but not what is fetched

    def _next_finished(self) -> _File | None:
        with self._changed:
            while not (self._failure or (self._files and self._files[0].finished)):
                if self._exhausted and not self._files:
                    return None
                self._changed.wait()
            if self._failure is not None:
                raise self._failure
            self._changed.notify_all()
            return self._files.popleft()

    def _result(self, file: _File) -> FileResult[Result]:
        source = file.stream.source
        if file.error is not None:
            return FileResult(source, None, file.error)
        activations = {
            layer: np.concatenate([part[layer] for part in file.computed if part is not None])
            for layer in self._task.layers
        }
        if not all(np.isfinite(values).all() for values in activations.values()):
            return FileResult(source, None, AudioError(f"{source or 'array'}: {NOT_FINITE}"))
        patches, stream = file.patches, file.stream
        silent = np.concatenate(file.silent)
        clip = Clip(
            source, stream.duration_s, patches.repeated, patches.dropped_s,
            stream.damaged, stream.lost_s, float(silent.mean()), stream.offset_s,
        )  # fmt: skip
        return FileResult(source, self._task.finish(activations, silent, clip), None)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except _Stop:
            pass
        except BaseException as error:
            with self._changed:
                self._failure = self._failure or error
                self._stopped = True
                self._changed.notify_all()

    def _read_files(self) -> None:
        while (file := self._next_file()) is not None:
            try:
                for block in file.stream:
                    self._offer(file, file.patches.feed(block))
                self._offer(file, file.patches.finish())
            except _Stop:
                raise
            except Exception as error:
                file.error = error
            with self._changed:
                file.read = True
                self._changed.notify_all()

    def _next_file(self) -> _File | None:
        with self._turn:
            with self._changed:
                self._wait_until(lambda: len(self._files) < _FILES_AHEAD)
            # Outside of the condition: finding the next file may itself take its time.
            stream = None if self._exhausted else next(self._streams, None)
            with self._changed:
                self._changed.notify_all()
                if stream is None:
                    self._exhausted = True
                    return None
                grid, tail, longest = self._task.cutting
                file = _File(stream, PatchStream(grid, tail=tail, longest=longest))
                self._files.append(file)
                return file

    def _offer(self, file: _File, windows: NDArray[np.float32]) -> None:
        if len(windows) == 0:
            return
        file.silent.append(silent_rows(windows))
        capacity = _CALLS_QUEUED * self._engine.patches_per_call
        with self._changed:
            self._wait_until(lambda: self._queued < capacity)
            file.outstanding += len(windows)
            self._queued += len(windows)
            self._queue.append((file, windows))
            self._changed.notify_all()

    def _compute(self) -> None:
        while True:
            with self._changed:
                self._wait_until(lambda: self._queue or self._all_read())
                if not self._queue:
                    return
                batch = self._take()
                self._changed.notify_all()
            windows = np.concatenate([part.windows for part in batch])
            activations = self._engine.run(windows, self._task.layers)
            start = 0
            for part in batch:
                rows = slice(start, start + len(part.windows))
                start += len(part.windows)
                part.file.computed[part.place] = self._task.reduce(
                    {layer: a[rows] for layer, a in activations.items()}
                )
            with self._changed:
                for part in batch:
                    part.file.outstanding -= len(part.windows)
                    part.file.heard += len(part.windows)
                self._changed.notify_all()
            if self._on_heard is not None:
                for part in batch:
                    seconds = part.file.heard * self._task.cutting.grid.hop_s
                    self._on_heard(part.file.stream.source, seconds)

    def _take(self) -> list[_Part]:
        """Take patches for one call of the engine from the front of the queue."""
        batch = []
        room = self._engine.patches_per_call
        while room and self._queue:
            file, windows = self._queue.popleft()
            if len(windows) > room:
                self._queue.appendleft((file, windows[room:]))
                windows = windows[:room]
            batch.append(_Part(file, len(file.computed), windows))
            file.computed.append(None)
            room -= len(windows)
            self._queued -= len(windows)
        return batch

    def _all_read(self) -> bool:
        return self._exhausted and all(file.read for file in self._files)

    def _wait_until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition; the lock is held."""
        while not condition():
            if self._stopped:
                raise _Stop
            self._changed.wait()
        if self._stopped:
            raise _Stop
