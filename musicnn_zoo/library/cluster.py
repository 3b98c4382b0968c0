"""Many files on many machines, by Ray Data: the pieces for a dataset, and a whole library run.

Ray brings addresses to the actors and small rows back. Each actor has the model loaded, and decodes
the files itself, in a process of its own as a local run does; decoded audio is never sent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from musicnn_zoo.errors import (
    ArgumentError,
    AudioError,
    MusicnnZooError,
    check_whole,
)
from musicnn_zoo.library.parquet_store import count_rows, make_entry, make_table
from musicnn_zoo.library.text_store import ASIDE, METHODS
from musicnn_zoo.machine.installation import require_ray
from musicnn_zoo.machine.processes import limit_cores
from musicnn_zoo.networks.config import Calibrated
from musicnn_zoo.networks.patches import Tail
from musicnn_zoo.sound.find import Stamp, take_stamp
from musicnn_zoo.sound.read import OnDamage
from musicnn_zoo.tagging.pipeline import Pooling
from musicnn_zoo.tagging.results import FileResult, Silence
from musicnn_zoo.text import first_line, path_from_text, path_to_text
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL

if TYPE_CHECKING:
    import ray.data

    from musicnn_zoo.tagging.tagger import Tagger

Dataset: TypeAlias = "ray.data.Dataset"
Model: TypeAlias = "str | os.PathLike[str] | Tagger"

BATCH_FILES = 32
"""So many files an actor takes at once."""


class DatasetAnalyst:
    """Tags or embeds the files of a batch: a class for ``ray.data.Dataset.map_batches``.

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
        without the bytes and those that are called like one of these; and ``reason``, which says
        why a file could not be used, and else is null. What is not known is null.
        """
        names = batch.column_names
        if self._content not in names and self._path not in names:
            raise ArgumentError(
                f"the dataset needs a column {self._path!r} of addresses or {self._content!r} of "
                f"the content of files; received {', '.join(names)}"
            )
        _check_columns(batch, {self._path: _TEXTS, self._content: _BYTES})
        texts = batch[self._path].to_pylist() if self._path in names else [None] * len(batch)
        contents = batch[self._content].to_pylist() if self._content in names else None
        entries: list[dict[str, Any]] = []
        reasons: dict[int, str] = {}
        for at, result in enumerate(self._results(texts, contents)):
            if isinstance(result, MusicnnZooError):
                reasons[at] = path_to_text(str(result))
            else:
                entries.append({**result, "at": at})
        table = make_table(self._settings, entries)
        kind = self._settings["kind"]
        places = [entry["at"] for entry in entries for _ in range(count_rows(kind, entry))]
        sources = [texts[at] or _row(at) for at in reasons]
        failed = pa.table({"source": sources}, pa.schema([_SOURCE]))
        table = pa.concat_tables([table, failed], promote_options="default")
        aside = {self._content, "reason", *table.column_names}
        kept = [name for name in names if name not in aside]
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
            source = _row(at) if text is None else path_from_text(text)
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
                yield as_ours(result.error, stamp)
            else:
                entry = make_entry(stamp, result.unwrap())
                yield {**entry, "mtime_ns": None} if stamp.mtime_ns == _NO_TIME else entry

    def analyse(self, sounds: Sequence[Any]) -> list[FileResult[Any]]:
        """Return the results of files; what an engine raises is that of the file it fails with.

        An :class:`ArgumentError` is not: it says which of the settings cannot be.
        """
        if not sounds:
            return []
        try:
            return list(self._analyse(sounds, **self._options))
        except ArgumentError:
            raise
        except Exception as error:
            if len(sounds) == 1:
                return [FileResult(None, None, error)]
        return [result for sound in sounds for result in self.analyse([sound])]


_TEXTS = "text", (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BYTES = "bytes", (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)


def _check_columns(
    batch: pa.Table, kinds: Mapping[str, tuple[str, Sequence[Callable[[pa.DataType], bool]]]]
) -> None:
    for name, (wanted, tests) in kinds.items():
        kind = batch.schema.field(name).type if name in batch.column_names else pa.null()
        held = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_null(held) or any(test(held) for test in tests)):
            raise ArgumentError(f"column {name!r} must hold {wanted}; received {kind}")


_SOURCE = pa.field("source", pa.string())
_CONTENT = "<BytesIO>"
"""What errors call the content of a file."""
_NO_TIME = -1
"""Instead of the time of change, of what is no file."""


def _row(at: int) -> str:
    """Return the name of what has none: its place in the batch."""
    return f"row {at}"


def _stamped(source: str) -> Stamp | MusicnnZooError:
    try:
        return take_stamp(source)
    except MusicnnZooError as error:
        return error


def as_ours(error: Exception, of: Stamp) -> MusicnnZooError:
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

    def check_room(self) -> None:
        """Refuse actors of which a cluster that does not grow holds none: they would never start.

        Raises
        ------
        ArgumentError
            With what is there.
        """
        import ray

        there = ray.cluster_resources()
        for name, wanted in {"CPU": self.cores, "GPU": self.gpus}.items():
            if wanted > there.get(name, 0):
                raise ArgumentError(
                    f"each worker wants {wanted:g} {name}, and this machine has "
                    f"{there.get(name, 0):g}"
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


def loading_of(workers: Workers, options: Mapping[str, Any]) -> dict[str, Any]:
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
        loading=loading_of(workers, loading or {}), damaged=damaged, path=path, content=content,
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
        loading=loading_of(workers, loading or {}), damaged=damaged, path=path, content=content,
    )  # fmt: skip
