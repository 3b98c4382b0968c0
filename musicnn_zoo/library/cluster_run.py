"""A library run on a cluster: what is to be done is found, and the actors write it in blocks."""

from __future__ import annotations

import json
import logging
import os
import pickle
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from musicnn_zoo.errors import (
    AudioError,
    ClusterError,
    DecoderCrashError,
    MusicnnZooError,
    OutputError,
)
from musicnn_zoo.library.blocks import Blocks, BlockWriter, open_blocks
from musicnn_zoo.library.cluster import DatasetAnalyst, Workers, as_ours, loading_of
from musicnn_zoo.library.parquet_store import count_rows, make_entry, make_table
from musicnn_zoo.library.store import NOWHERE, Searched, Summary, find_todo
from musicnn_zoo.machine.installation import require_ray
from musicnn_zoo.machine.processes import usable_cores
from musicnn_zoo.networks.config import Calibrated
from musicnn_zoo.networks.patches import Tail
from musicnn_zoo.sound.find import WHOLE, Shard, Stamp
from musicnn_zoo.sound.read import OnDamage
from musicnn_zoo.sound.remote import Address, clean_address, without_secrets
from musicnn_zoo.tagging.pipeline import Pooling
from musicnn_zoo.tagging.results import Silence
from musicnn_zoo.text import clock, first_line, path_from_text, path_to_text
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL
from musicnn_zoo.zoo.load import find_pretrained

_BLOCK_FILES = 256
"""So many files at most are done by one call, and so many are done again if its actor is lost."""
_BLOCKS_PER_WORKER = 8
_FRUITLESS = 3
"""So often the cluster may end a run one after the other before any file is done."""
_STORE_BYTES = 128 << 20
"""Memory for what Ray moves between processes of one machine: addresses and rows."""
_ANSWER_S = 10.0
_ONE_CORE = Workers()


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
        "end": pa.binary(),
    }
)  # fmt: skip
"""Of each file; or one row with the error, pickled, that ends the run."""


class BlockAnalyst(DatasetAnalyst):
    """Writes the results of the files of a block, and returns what became of each.

    :meta private:
    """

    def __init__(self, settings: Mapping[str, Any], *, writer: BlockWriter, **more: Any) -> None:
        super().__init__(settings, **more)
        self._writer = writer

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Take the column ``stamp``, JSON, and ``address``, if that is not the source.

        What ends the run is a row, too: of an exception Ray brings its own words, not the cause.
        """
        try:
            return self._done(batch)
        except (MusicnnZooError, OSError) as error:
            return pa.Table.from_pylist([{"end": pickle.dumps(error)}], _STATUS)

    def _done(self, batch: pa.Table) -> pa.Table:
        begun = time.monotonic()
        told = map(json.loads, batch["stamp"].to_pylist())
        stamps = [Stamp.of({"path": one["source"], **one}) for one in told]
        addresses = map(json.loads, batch["address"].to_pylist())
        sounds = [
            Address(told[0], **told[1]) if told else one.path
            for told, one in zip(addresses, stamps, strict=True)
        ]
        rows: list[dict[str, Any]] = []
        done = []
        for stamp, result in zip(stamps, self.analyse(sounds), strict=True):
            status: dict[str, Any] = {"path": path_to_text(stamp.path), "crashed": False}
            if result.error is not None:
                status["reason"] = path_to_text(str(as_ours(result.error, stamp)))
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
    pruned: Searched = NOWHERE,
) -> tuple[Summary, Blocks]:
    """Do a library run on a cluster; the commands, and :func:`tag_on_cluster`, do it by this.

    ``settings`` are those of a :class:`.store.Store`. ``missed`` are files that were not found, for
    the list of failures; rows of files that are gone go as ``pruned`` says. Return what was done,
    and the output, which is left.

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
        todo = find_todo(
            paths, blocks, summary, note_failure, content_hash=content_hash, pruned=pruned
        )
        if todo:
            with connected(cluster), _quiet():
                if cluster == "local":
                    workers.check_room()
                told = Progress(len(todo), cores=workers.cores)
                made = {
                    "settings": settings, "model": model, "damaged": damaged,
                    "writer": blocks.writer, "loading": loading_of(workers, loading or {}),
                }  # fmt: skip
                for status in _statuses(todo, workers, made, told, blocks):
                    stamp = todo.pop(path_from_text(status["path"]))
                    if status["reason"] is not None:
                        if status["crashed"]:
                            blocks.record_crash(stamp)
                        note_failure(stamp.source, AudioError(path_from_text(status["reason"])))
                        told.failed += 1
                    else:
                        blocks.note_written([stamp])
                        told.done += 1
                        summary.damaged += status["damaged"]
                        summary.audio_s += status["duration_s"]
                    told.audio_s, told.busy_s = summary.audio_s, told.busy_s + status["busy_s"]
                    if status["last"]:
                        progress(told)
                summary.done = told.done
            blocks.reread()
        blocks.note_share(str(shard), finished=True)
        blocks.record_failures(missed)
        summary.elapsed_s = time.monotonic() - begun
    return summary, blocks


def _statuses(
    todo: dict[str, Stamp],
    workers: Workers,
    made: Mapping[str, Any],
    told: Progress,
    blocks: Blocks,
) -> Iterator[dict[str, Any]]:
    """Yield what became of each file of ``todo``, which loses them, as the blocks are written.

    Ray does a block again whose worker was lost. Where it gives up, as it does if an actor was
    killed for good, the rest is begun anew, as long as that brings something.
    """
    import ray

    begun = time.monotonic()
    lost = ray.exceptions.RayActorError, ray.exceptions.RaySystemError
    fruitless = 0
    while todo:
        before = len(todo)
        room = workers.room()
        size = max(1, min(_BLOCK_FILES, len(todo) // (room * _BLOCKS_PER_WORKER)))
        source = ray.data.from_arrow(list(_tables(todo, size)))
        # A block at once is a batch of any size, but with GPUs Ray wants to know one.
        batch_size = size if workers.gpus else None
        dataset = workers.map(source, BlockAnalyst, batch_size=batch_size, begun=room, **made)
        try:
            for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
                told.elapsed_s = time.monotonic() - begun
                rows = block.to_pylist()
                for at, row in enumerate(rows, start=1):
                    if row.pop("end") is not None:
                        raise _explained(pickle.loads(block["end"][at - 1].as_py()))
                    yield {**row, "last": at == len(rows)}
        except ray.exceptions.RayError as error:
            explained = _explained(error)
            fruitless = fruitless + 1 if len(todo) == before else 0
            if not (isinstance(error, lost) and isinstance(explained, ClusterError)):
                raise explained from error
            if fruitless == _FRUITLESS:
                raise explained from error
            blocks.reread()
            for path in todo.keys() & blocks.known.keys():
                del todo[path]  # its block was written, and the word of it lost
                told.done += 1


def _tables(todo: Mapping[str, Stamp], size: int) -> Iterator[pa.Table]:
    """Yield the files in blocks."""
    stamps = list(todo.values())
    for start in range(0, len(stamps), size):
        some = stamps[start : start + size]
        # What is secret in an address is not in its text.
        addresses = [
            (stamp.source.whole, stamp.source.storage_options)
            if isinstance(stamp.source, Address)
            else None
            for stamp in some
        ]
        yield pa.table(
            {
                "stamp": [json.dumps(_told(stamp)) for stamp in some],
                "address": [json.dumps(address) for address in addresses],
            }
        )


def _told(stamp: Stamp) -> dict[str, Any]:
    """Return the fields of a stamp, the path only if it is not the source."""
    fields = asdict(stamp)
    if stamp.path == stamp.source:
        del fields["path"]
    return fields


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
            _call_at(cluster)
            ray.init(address=cluster, **quiet)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError, OSError) as error:
        raise ClusterError(
            f"cluster {clean_address(cluster)!r}: cannot be reached "
            f"({without_secrets(first_line(error))}); 'ray start --head' "
            "starts one, and --cluster local needs none"
        ) from error
    try:
        yield
    finally:
        with suppress(Exception):
            ray.shutdown()


def _call_at(cluster: str) -> None:
    """See that something answers at an address, for which Ray would wait for minutes."""
    host, _, port = cluster.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()


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
