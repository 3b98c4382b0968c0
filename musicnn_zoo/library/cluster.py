"""Many files on many machines, by Ray Data: the pieces for a dataset, and a whole library run.

Ray brings addresses to the actors and small rows back. Each actor has the model loaded, and decodes
the files itself, in a process of its own as a local run does; decoded audio is never sent.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from musicnn_zoo.errors import (
    ArgumentError,
    AudioError,
    ClusterError,
    DecoderCrashError,
    MusicnnZooError,
    OutputError,
    check_whole,
)
from musicnn_zoo.library.blocks import Blocks, BlockWriter, open_blocks
from musicnn_zoo.library.parquet_store import count_rows, make_entry, make_table
from musicnn_zoo.library.store import Summary, find_todo
from musicnn_zoo.library.text_store import ASIDE, METHODS
from musicnn_zoo.machine.installation import require_ray
from musicnn_zoo.machine.processes import limit_cores, usable_cores
from musicnn_zoo.networks.config import Calibrated
from musicnn_zoo.networks.patches import Tail
from musicnn_zoo.sound.find import WHOLE, Shard, Stamp, take_stamp
from musicnn_zoo.sound.read import OnDamage
from musicnn_zoo.tagging.pipeline import Pooling
from musicnn_zoo.tagging.results import FileResult, Silence
from musicnn_zoo.text import clock, first_line, path_from_text, path_to_text
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL
from musicnn_zoo.zoo.load import find_pretrained

if TYPE_CHECKING:
    import ray.data

    from musicnn_zoo.tagging.tagger import Tagger

Dataset: TypeAlias = "ray.data.Dataset"
Model: TypeAlias = "str | os.PathLike[str] | Tagger"

BATCH_FILES = 32
"""So many files an actor takes at once."""
_BLOCK_FILES = 256
"""So many files at most are done by one call, and so many are done again if its actor is lost."""
_BLOCKS_PER_WORKER = 8
_STORE_BYTES = 128 << 20
"""Memory for what Ray moves between processes of one machine: addresses and rows."""


class DatasetAnalyst:
    """Tags or embeds the files of a batch: a class for :meth:`ray.data.Dataset.map_batches`.

    An actor of Ray makes it once, and with it loads the model. :func:`tag_dataset` and
    :func:`embed_dataset` do both.

    Parameters
    ----------
    settings : mapping
        ``kind`` (``"tags"`` or ``"embeddings"``), and arguments of :meth:`Tagger.tag_files` or
        :meth:`Tagger.embed_files`.
    model : str, path or Tagger
        See :class:`Tagger`. A folder must be there on each machine.
    loading : mapping, optional
        ``engine``, ``device``, ``precision`` and ``batch_size`` of the :class:`Tagger`.
    damaged : {"refuse", "use"}
        See :class:`Tagger`.
    cores : int, optional
        So many threads compute and read, in ONNX Runtime and in what BLAS, OpenMP and TensorFlow
        start; by default those that the process may use.
    path, content : str
        The columns that hold the address of a file, and its bytes. Where a batch has ``content``,
        that is decoded, and ``path`` is only its name.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        model: Model = DEFAULT_MODEL,
        loading: Mapping[str, Any] | None = None,
        damaged: OnDamage = "refuse",
        cores: int | None = None,
        path: str = "path",
        content: str = "bytes",
    ) -> None:
        if cores is not None:
            limit_cores(cores)
        from musicnn_zoo.tagging.tagger import Tagger

        self._settings = dict(settings)
        self._tagger = Tagger(model, **(loading or {}))
        self._settings.setdefault("tags", self._tagger.tags)
        self._analyse = getattr(self._tagger, METHODS[self._settings["kind"]])
        self._options = {name: one for name, one in settings.items() if name not in ASIDE}
        self._options |= {"damaged": damaged, "jobs": cores}
        self._path, self._content = path, content

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return a row for each file, or for each patch with ``pooling=None``.

        The columns are those of the Parquet output of a library run (``source``, ``duration_s``,
        …, and ``tags`` and ``scores``, or ``time_s`` and ``embedding``); then those of the batch,
        without the bytes; and ``reason``, which says why a file could not be used, and else is
        null. What is not known is null.
        """
        names = batch.column_names
        if self._content not in names and self._path not in names:
            raise ArgumentError(
                f"the dataset needs a column {self._path!r} of addresses or {self._content!r} of "
                f"the content of files; received {', '.join(names)}"
            )
        texts = batch[self._path].to_pylist() if self._path in names else [None] * len(batch)
        contents = batch[self._content].to_pylist() if self._content in names else None
        entries: list[dict[str, Any]] = []
        reasons: dict[int, str] = {}
        for at, result in enumerate(self._results(texts, contents)):
            if isinstance(result, MusicnnZooError):
                reasons[at] = str(result)
            else:
                entries.append({**result, "at": at})
        table = make_table(self._settings, entries)
        kind = self._settings["kind"]
        places = [entry["at"] for entry in entries for _ in range(count_rows(kind, entry))]
        failed = pa.table({"source": [texts[at] for at in reasons]}, pa.schema([_SOURCE]))
        table = pa.concat_tables([table, failed], promote_options="default")
        kept = [name for name in names if name not in (self._content, *table.column_names)]
        rows = batch.select(kept).take(pa.array([*places, *reasons], pa.int64()))
        for name in kept:
            table = table.append_column(batch.schema.field(name), rows[name])
        whys = pa.array([*[None] * len(places), *reasons.values()], pa.string())
        return table.append_column(pa.field("reason", pa.string()), whys)

    def _results(
        self, texts: Sequence[str | None], contents: Sequence[bytes | None] | None
    ) -> Iterator[dict[str, Any] | MusicnnZooError]:
        """Yield of each file the entry that becomes its rows, or what is wrong with it."""
        stamps: list[Stamp | MusicnnZooError] = []
        sounds: list[Any] = []
        for at, text in enumerate(texts):
            source = f"row {at}" if text is None else path_from_text(text)
            content = None if contents is None else contents[at]
            stamp: Stamp | MusicnnZooError
            if content is not None:
                stamp = Stamp(source, len(content), _NO_TIME)
            elif text is None:
                stamp = AudioError(f"{source}: there is neither an address nor content")
            else:
                stamp = _stamped(source)
            stamps.append(stamp)
            if isinstance(stamp, Stamp):
                sounds.append(source if content is None else content)
        results = iter(self.analyse(sounds))
        for stamp in stamps:
            if isinstance(stamp, MusicnnZooError):
                yield stamp
                continue
            result = next(results)
            if result.error is not None:
                yield _as_ours(result.error, stamp)
            else:
                entry = make_entry(stamp, result.unwrap())
                yield {**entry, "mtime_ns": None} if stamp.mtime_ns == _NO_TIME else entry

    def analyse(self, sounds: Sequence[Any]) -> list[FileResult[Any]]:
        """Return the results of files; what an engine raises is that of the file it fails with."""
        if not sounds:
            return []
        try:
            return list(self._analyse(sounds, **self._options))
        except Exception as error:
            if len(sounds) == 1:
                return [FileResult(None, None, error)]
        return [result for sound in sounds for result in self.analyse([sound])]


_SOURCE = pa.field("source", pa.string())
_CONTENT = "<BytesIO>"
"""What errors call the content of a file."""
_NO_TIME = -1
"""Instead of the time of change, of what is no file."""


def _stamped(source: str) -> Stamp | MusicnnZooError:
    try:
        return take_stamp(source)
    except MusicnnZooError as error:
        return error


def _as_ours(error: Exception, of: Stamp) -> MusicnnZooError:
    """Return what is wrong with a file, under the name that it was given."""
    if not isinstance(error, MusicnnZooError):
        return AudioError(f"{of.source}: unexpected {type(error).__name__}: {first_line(error)}")
    for name in (of.path, _CONTENT):
        if str(error).startswith(f"{name}: "):
            return AudioError(f"{of.source}: {str(error).removeprefix(f'{name}: ')}")
    return error


@dataclass(frozen=True)
class Workers:
    """What of a cluster an actor takes, and how many there are.

    Parameters
    ----------
    cores : int
        Of each actor; with one, the actors share nothing and wait for nothing.
    gpus : float
        Of each actor: 0.5 lets two share one. With 0 it computes on the CPU.
    least, most : int, optional
        How many actors there are; by default one at least, and as many as the cluster has room
        for, also when it grows.
    """

    cores: int = 1
    gpus: float = 0.0
    least: int = 1
    most: int | None = None

    def __post_init__(self) -> None:
        check_whole("cores", self.cores)
        check_whole("least", self.least)
        if self.most is not None:
            check_whole("most", self.most, self.least)
        if not self.gpus >= 0:
            raise ArgumentError(f"gpus must be 0 or more; received {self.gpus!r}")

    def map(
        self, dataset: Dataset, kind: type, *, batch_size: int | None, begun: int | None = None,
        **made: Any,
    ) -> Dataset:  # fmt: skip
        """Map the batches of a dataset by actors that each make a ``kind`` of ``made``.

        ``begun`` of them are there from the beginning; by default the least, since what reads the
        dataset needs cores, too.
        """
        require_ray("a dataset")
        from ray.data import ActorPoolStrategy

        pool = ActorPoolStrategy(min_size=self.least, max_size=self.most, initial_size=begun)
        return dataset.map_batches(
            kind,
            fn_constructor_kwargs={**made, "cores": self.cores},
            batch_size=batch_size,
            batch_format="pyarrow",
            compute=pool,
            num_cpus=self.cores,
            num_gpus=self.gpus or None,
        )

    def room(self) -> int:
        """Return how many of them the cluster holds now, at least one."""
        import ray

        there = ray.cluster_resources()
        count = int(there.get("CPU", 1) // self.cores)
        if self.gpus:
            count = min(count, int(there.get("GPU", 0) / self.gpus))
        return max(self.least, min(count, self.most or count))


_ONE_CORE = Workers()


def _loading(workers: Workers, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return how actors load the model: on a GPU, if they have one."""
    loading = {name: value for name, value in options.items() if value is not None}
    if workers.gpus and loading.get("engine") in (None, "auto"):
        loading.setdefault("device", "gpu")
    return loading


def tag_dataset(
    dataset: Dataset, *, model: Model = DEFAULT_MODEL,
    top_k: int | None = None, threshold: float | Calibrated | None = None,
    patch_s: float | None = None, hop_s: float | None = None, tail: Tail = "drop",
    silence: Silence = "skip", damaged: OnDamage = "refuse",
    path: str = "path", content: str = "bytes", batch_files: int = BATCH_FILES,
    workers: Workers = _ONE_CORE, loading: Mapping[str, Any] | None = None,
) -> Dataset:  # fmt: skip
    """Tag the files of a Ray dataset.

    Parameters
    ----------
    dataset : ray.data.Dataset
        With a column ``path`` of addresses that every machine can read, or ``content`` of the bytes
        of files, as ``ray.data.read_binary_files(…, include_paths=True)`` has both.
    model, top_k, threshold, patch_s, hop_s, tail, silence, damaged
        See :func:`musicnn_zoo.tag_files`.
    path, content : str
        What the columns are called.
    batch_files : int
        So many files an actor takes at once. It decodes while it computes, but only within a batch.
    workers : Workers
        The actors: cores, GPUs, how many.
    loading : mapping, optional
        ``engine``, ``device``, ``precision`` and ``batch_size`` of the :class:`Tagger`.

    Returns
    -------
    ray.data.Dataset
        A row for each file: the columns of a library's Parquet output, those of the dataset but the
        bytes, and ``reason``, which is null unless the file could not be used. Nothing that is
        wrong with a file ends the job.

    Raises
    ------
    MissingPackageError
        If Ray is not installed.

    Examples
    --------
    >>> import ray, musicnn_zoo
    >>> files = ray.data.from_items([{"path": "song.mp3"}])
    >>> musicnn_zoo.tag_dataset(files).write_parquet("tags")  # doctest: +SKIP
    """
    settings = {
        "kind": "tags", "top_k": top_k, "threshold": threshold, "silence": silence,
        "patch_s": patch_s, "hop_s": hop_s, "tail": tail,
    }  # fmt: skip
    return workers.map(
        dataset, DatasetAnalyst, batch_size=batch_files, settings=settings, model=model,
        loading=_loading(workers, loading or {}), damaged=damaged, path=path, content=content,
    )  # fmt: skip


def embed_dataset(
    dataset: Dataset, *, model: Model = DEFAULT_MODEL,
    layer: str = "penultimate", pooling: Pooling = "mean",
    patch_s: float | None = None, hop_s: float | None = None, tail: Tail = "drop",
    silence: Silence = "skip", damaged: OnDamage = "refuse",
    path: str = "path", content: str = "bytes", batch_files: int = BATCH_FILES,
    workers: Workers = _ONE_CORE, loading: Mapping[str, Any] | None = None,
) -> Dataset:  # fmt: skip
    """Embed the files of a Ray dataset: :func:`tag_dataset`, and :func:`musicnn_zoo.embed_files`.

    With ``pooling=None`` there is a row for each patch, with its start ``time_s`` in seconds.
    """
    settings = {
        "kind": "embeddings", "layer": layer, "pooling": pooling, "silence": silence,
        "patch_s": patch_s, "hop_s": hop_s, "tail": tail,
    }  # fmt: skip
    return workers.map(
        dataset, DatasetAnalyst, batch_size=batch_files, settings=settings, model=model,
        loading=_loading(workers, loading or {}), damaged=damaged, path=path, content=content,
    )  # fmt: skip


def tag_on_cluster(
    paths: Iterable[str | os.PathLike[str]], output: str | os.PathLike[str], *,
    cluster: str = "local", model: str | os.PathLike[str] = DEFAULT_MODEL,
    top_k: int | None = None, threshold: float | Calibrated | None = None,
    patch_s: float | None = None, hop_s: float | None = None, tail: Tail = "drop",
    silence: Silence = "skip", damaged: OnDamage = "refuse", overwrite: bool = False,
    workers: Workers = _ONE_CORE, loading: Mapping[str, Any] | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Summary:  # fmt: skip
    """Tag files on a cluster and write their rows: ``musicnn-zoo tag --output … --cluster …``.

    It can be killed at any moment, as can each worker; the next call with the same output goes on
    from there, here or on one machine. Nothing is written twice.

    Parameters
    ----------
    paths : iterable of path
        Each machine must be able to read them, such as ``find_audio("s3://bucket/music")``.
    output : path
        A folder ``.parquet``, on a disk that each machine has, or an address. Beside it is the run
        folder, ``<output>.run``, as of a local run.
    cluster : str
        ``"local"``: the cores of this machine; ``"auto"``: the cluster that runs here or that
        ``RAY_ADDRESS`` names; or the address of one. One that this process is connected to already
        is taken as it is.
    model, top_k, threshold, patch_s, hop_s, tail, silence, damaged
        See :func:`musicnn_zoo.tag_files`.
    overwrite : bool
        Start anew, instead of leaving out files that are there and have not changed.
    workers : Workers
        The actors: cores, GPUs, how many.
    loading : mapping, optional
        ``engine``, ``device``, ``precision`` and ``batch_size`` of the :class:`Tagger`.
    progress : callable, optional
        Receives a :class:`Progress` after each block of files.

    Returns
    -------
    Summary
        Files that were done, unchanged and failed, and the time. Reasons are in
        ``<output>.run/failures.csv``.

    Raises
    ------
    ArgumentError
        If the output was made with other settings.
    ClusterError
        If the cluster cannot be reached, or ends the run.
    OutputError
        If the output cannot be written.
    MissingPackageError
        If Ray is not installed.
    """
    own = {"top_k": top_k, "threshold": threshold, "silence": silence}
    cutting = {"patch_s": patch_s, "hop_s": hop_s, "tail": tail}
    return _on_cluster(
        "tags", {**own, **cutting}, paths, output, model, loading, cluster=cluster,
        damaged=damaged, overwrite=overwrite, workers=workers, progress=progress,
    )  # fmt: skip


def embed_on_cluster(
    paths: Iterable[str | os.PathLike[str]], output: str | os.PathLike[str], *,
    cluster: str = "local", model: str | os.PathLike[str] = DEFAULT_MODEL,
    layer: str = "penultimate", pooling: Pooling = "mean",
    patch_s: float | None = None, hop_s: float | None = None, tail: Tail = "drop",
    silence: Silence = "skip", damaged: OnDamage = "refuse", overwrite: bool = False,
    workers: Workers = _ONE_CORE, loading: Mapping[str, Any] | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Summary:  # fmt: skip
    """Embed files on a cluster: see :func:`tag_on_cluster` and :func:`musicnn_zoo.embed_files`."""
    own = {"layer": layer, "pooling": pooling, "silence": silence}
    cutting = {"patch_s": patch_s, "hop_s": hop_s, "tail": tail}
    return _on_cluster(
        "embeddings", {**own, **cutting}, paths, output, model, loading, cluster=cluster,
        damaged=damaged, overwrite=overwrite, workers=workers, progress=progress,
    )  # fmt: skip


def _on_cluster(
    kind: str,
    own: Mapping[str, Any],
    paths: Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    model: str | os.PathLike[str],
    loading: Mapping[str, Any] | None,
    **options: Any,
) -> Summary:
    found = find_pretrained(model)
    settings = {
        "kind": kind, **own, "model": found.spec.name, "weights": found.digest(),
        "precision": (loading or {}).get("precision", "float32"),
    }  # fmt: skip
    places = [os.fspath(path) for path in paths]
    return run_on_cluster(places, output, settings, model=found, loading=loading, **options)[0]


_STATUS = pa.schema(
    {
        "path": pa.string(), "reason": pa.string(), "crashed": pa.bool_(),
        "damaged": pa.bool_(), "duration_s": pa.float64(), "busy_s": pa.float64(),
    }
)  # fmt: skip


class BlockAnalyst(DatasetAnalyst):
    """Writes the results of the files of a block, and returns what became of each.

    :meta private:
    """

    def __init__(self, settings: Mapping[str, Any], *, writer: BlockWriter, **more: Any) -> None:
        super().__init__(settings, **more)
        self._writer = writer

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Take the column ``stamp``, JSON, and ``address``, if that is not the source."""
        begun = time.monotonic()
        stamps = [Stamp.of(json.loads(text)) for text in batch["stamp"].to_pylist()]
        addresses = map(json.loads, batch["address"].to_pylist())
        sounds = [address or one.path for address, one in zip(addresses, stamps, strict=True)]
        rows: list[dict[str, Any]] = []
        done = []
        for stamp, result in zip(stamps, self.analyse(sounds), strict=True):
            status: dict[str, Any] = {"path": path_to_text(stamp.path), "crashed": False}
            if result.error is not None:
                status["reason"] = path_to_text(str(_as_ours(result.error, stamp)))
                status["crashed"] = isinstance(result.error, DecoderCrashError)
            else:
                value = result.unwrap()
                done.append((stamp, make_entry(stamp, value)))
                status |= {"damaged": value.clip.damaged, "duration_s": value.clip.duration_s}
            rows.append(status)
        kind = self._settings["kind"]
        files = [(stamp, count_rows(kind, entry)) for stamp, entry in done]
        self._writer.write(make_table(self._settings, [entry for _, entry in done]), files)
        share_s = (time.monotonic() - begun) / max(1, len(rows))
        return pa.Table.from_pylist([{**row, "busy_s": share_s} for row in rows], _STATUS)


@dataclass
class Progress:
    """How far a run on a cluster is.

    Parameters
    ----------
    total, done, failed : int
        Files that are to be done, and what became of those that were.
    audio_s, busy_s, elapsed_s : float
        Seconds of audio that were done, of the actors' work on it, and since the first began.
    cores : int
        Of each actor.
    """

    total: int
    done: int = 0
    failed: int = 0
    audio_s: float = 0.0
    busy_s: float = 0.0
    elapsed_s: float = 0.0
    cores: int = 1

    @property
    def left_s(self) -> float:
        """An estimate of how long the rest takes, in seconds."""
        over = self.done + self.failed
        return self.elapsed_s / over * (self.total - over) if over else float("nan")

    def __str__(self) -> str:
        text = f"{self.done:,} of {self.total:,} files, {self.failed:,} failed"
        if self.audio_s and self.busy_s:
            speed = self.audio_s / max(self.elapsed_s, 1e-9)
            each = self.audio_s / self.busy_s / self.cores
            text += f", {speed:.0f} × real time ({each:.0f} × a core)"
            text += f", about {clock(self.left_s)} left"
        return text


def run_on_cluster(
    paths: Iterable[str],
    output: str | os.PathLike[str],
    settings: Mapping[str, Any],
    *,
    model: Any,
    cluster: str = "local",
    loading: Mapping[str, Any] | None = None,
    damaged: OnDamage = "refuse",
    overwrite: bool = False,
    content_hash: bool = False,
    shard: Shard = WHOLE,
    workers: Workers = _ONE_CORE,
    missed: Sequence[tuple[str, str]] = (),
    failed: Callable[[str, Exception], str] = lambda _, error: str(error),
    progress: Callable[[Progress], None] = lambda _: None,
) -> tuple[Summary, Blocks]:
    """Do a library run on a cluster; the commands, and :func:`tag_on_cluster`, do it by this.

    ``settings`` are those of a :class:`.store.Store`. ``missed`` are files that were not found, for
    the list of failures. Return what was done, and the output, which is left.

    :meta private:
    """
    require_ray("--cluster")
    begun = time.monotonic()
    summary = Summary()
    with open_blocks(output, settings, overwrite=overwrite) as blocks:

        def note_failure(path: str, error: Exception) -> None:
            summary.failed += 1
            blocks.record_failures([(path, failed(path, error))])

        blocks.note_share(str(shard), finished=False)
        todo = find_todo(paths, blocks, summary, note_failure, content_hash=content_hash)
        if todo:
            with connected(cluster), _quiet():
                told = Progress(len(todo), cores=workers.cores)
                made = {
                    "settings": settings, "model": model, "damaged": damaged,
                    "writer": blocks.writer, "loading": _loading(workers, loading or {}),
                }  # fmt: skip
                for status in _statuses(todo, workers, made, told):
                    stamp = todo[path_from_text(status["path"])]
                    if status["reason"] is not None:
                        if status["crashed"]:
                            blocks.record_crash(stamp)
                        reason = path_from_text(status["reason"])
                        note_failure(stamp.source, AudioError(reason))
                        told.failed += 1
                    else:
                        blocks.note_written([stamp])
                        told.done += 1
                        summary.done += 1
                        summary.damaged += status["damaged"]
                        summary.audio_s += status["duration_s"]
                    told.audio_s, told.busy_s = summary.audio_s, told.busy_s + status["busy_s"]
                    if status["last"]:
                        progress(told)
            blocks.reread()
        blocks.note_share(str(shard), finished=True)
        blocks.record_failures(missed)
        summary.elapsed_s = time.monotonic() - begun
    return summary, blocks


def _statuses(
    todo: Mapping[str, Stamp],
    workers: Workers,
    made: Mapping[str, Any],
    told: Progress,
) -> Iterator[dict[str, Any]]:
    """Yield what became of each file, as the blocks are written."""
    import ray

    begun = time.monotonic()
    room = workers.room()
    source = ray.data.from_arrow(list(_tables(todo, room)))
    dataset = workers.map(source, BlockAnalyst, batch_size=None, begun=room, **made)
    try:
        for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            told.elapsed_s = time.monotonic() - begun
            rows = block.to_pylist()
            for at, row in enumerate(rows, start=1):
                yield {**row, "last": at == len(rows)}
    except ray.exceptions.RayError as error:
        raise _explained(error) from error


def _tables(todo: Mapping[str, Stamp], room: int) -> Iterator[pa.Table]:
    """Yield the files in blocks: large ones, but several for each actor."""
    size = max(1, min(_BLOCK_FILES, len(todo) // (room * _BLOCKS_PER_WORKER)))
    stamps = list(todo.values())
    for start in range(0, len(stamps), size):
        some = stamps[start : start + size]
        # What is secret in an address is not in its text.
        addresses = [getattr(stamp.source, "whole", None) for stamp in some]
        yield pa.table(
            {
                "stamp": [json.dumps(asdict(stamp)) for stamp in some],
                "address": [json.dumps(address) for address in addresses],
            }
        )


def _explained(error: Exception) -> MusicnnZooError:
    """Return the error of this package that ended a job, or one that says what Ray says."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MusicnnZooError):
            return cause
        if isinstance(cause, OSError):
            return OutputError(
                f"the output cannot be written ({cause.strerror or cause}); the same command goes "
                "on from there when it is run again"
            )
        cause = getattr(cause, "cause", None) or cause.__cause__
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    said = lines[-1].strip() if lines else type(error).__name__
    return ClusterError(
        f"the cluster ended the run ({said}); the same command goes on from there when it is run "
        "again"
    )


@contextmanager
def connected(cluster: str) -> Iterator[None]:
    """Connect to a cluster, unless this process is; leave it as it was.

    ``"local"`` is a cluster of this machine's cores that ends with this, ``"auto"`` that which runs
    here or ``RAY_ADDRESS`` names, and else an address of Ray, such as ``10.0.0.1:6379``.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    own = {
        "num_cpus": usable_cores(), "include_dashboard": False,
        "object_store_memory": _STORE_BYTES,
    }  # fmt: skip
    try:
        if cluster == "local":
            ray.init(address="local", **own, **quiet)
        else:
            ray.init(address=cluster, **quiet)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError, OSError) as error:
        raise ClusterError(
            f"cluster {cluster!r}: cannot be reached ({first_line(error)}); 'ray start --head' "
            "starts one, and --cluster local needs none"
        ) from error
    try:
        yield
    finally:
        with suppress(Exception):
            ray.shutdown()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray Data from telling of its own progress."""
    import ray.data

    context, log = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    before = context.enable_progress_bars, log.level
    context.enable_progress_bars = False
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        context.enable_progress_bars = before[0]
        log.setLevel(before[1])
