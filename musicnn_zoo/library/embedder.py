"""Embeddings as a scikit-learn transformer: sounds in, one row of numbers for each out."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from musicnn_zoo.errors import ArgumentError, AudioError, OutputError, check_choice
from musicnn_zoo.networks.config import ModelSpec, patch_grid
from musicnn_zoo.networks.patches import PatchGrid, Tail
from musicnn_zoo.runtimes.engine import EngineName
from musicnn_zoo.sound.read import AudioStream
from musicnn_zoo.sound.remote import as_address, place_of
from musicnn_zoo.tagging.functions import shared_tagger
from musicnn_zoo.tagging.pipeline import Cutting, embedding_task, process
from musicnn_zoo.tagging.results import Embedding, FileResult
from musicnn_zoo.text import printable
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL
from musicnn_zoo.zoo.folder import folder_stamp
from musicnn_zoo.zoo.load import Pretrained, find_pretrained

if TYPE_CHECKING:
    from musicnn_zoo.networks.build import TaggingModel
    from musicnn_zoo.tagging.tagger import Tagger

_log = logging.getLogger(__name__)

RowPooling = Literal["mean", "max"]
OnError = Literal["raise", "nan"]

Row: TypeAlias = "NDArray[np.float32] | AudioError"

_MOST_NAMED = 5
"""So many files that cannot be used are named in one message."""
_SILENT_WAIT_S = 1.0
"""So long a process waits for another before it logs that it waits."""


class Embedder(TransformerMixin, BaseEstimator):
    """Turns sounds into embeddings of a pretrained model, for a scikit-learn classifier.

    It learns nothing from the data, so that :meth:`transform` needs no :meth:`fit`. A model
    given by name or place is loaded when it is first needed, and shared by all embedders of the
    process. Only the parameters are pickled and copied.

    Parameters
    ----------
    model : str, path or TaggingModel
        Name of a pretrained model (see :func:`musicnn_zoo.list_models`),
        ``hf://user/repository``, a folder (see :func:`musicnn_zoo.load_model`), or a model of
        one's own, which ``clone`` copies.
    layer : str
        Any layer of the model; by default what its output layer receives.
    pooling : {"mean", "max"}
        How the patches of a sound become one row.
    patch_s, hop_s, tail, engine
        See :class:`musicnn_zoo.Tagger`.
    sample_rate : int, optional
        Of arrays, in Hz; must be given for arrays and only then.
    cache : str or path, optional
        Folder that keeps the embeddings of files, made if it does not exist. Files that have not
        changed (size and time of change) are not computed again, in this process or another.
        Embeddings of other models, weights and settings are kept apart. Processes that want the
        same embeddings at once wait for each other. Embeddings of arrays are not kept.
    jobs : int, optional
        Threads that read; by default one a core up to 8, then one for three cores.
    on_error : {"raise", "nan"}
        What to do about sounds that cannot be used, when the others are done: raise an
        :class:`~musicnn_zoo.errors.AudioError` that names them, or warn and give rows of NaN.

    Notes
    -----
    Engines agree to 1e-4, and share what is in the cache. ``cross_val_score(n_jobs=...)`` loads
    the model in each process; with a ``cache``, a file is computed by one of them.

    Examples
    --------
    >>> from musicnn_zoo import Embedder
    >>> rows = Embedder("MTT_musicnn").transform(["examples/audio/techno_loop.ogg"])
    >>> rows.shape, rows.dtype
    ((1, 200), dtype('float32'))

    As the first step of a classifier of files:

    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> classifier = make_pipeline(
    ...     Embedder("MSD_musicnn", cache="embeddings"), StandardScaler(), LogisticRegression()
    ... )
    >>> classifier.fit(paths, classes).predict(others)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | TaggingModel = DEFAULT_MODEL,
        *,
        layer: str = "penultimate",
        pooling: RowPooling = "mean",
        patch_s: float | None = None,
        hop_s: float | None = None,
        tail: Tail = "drop",
        engine: EngineName = "auto",
        sample_rate: int | None = None,
        cache: str | os.PathLike[str] | None = None,
        jobs: int | None = None,
        on_error: OnError = "raise",
    ) -> None:
        self.model = model
        self.layer = layer
        self.pooling = pooling
        self.patch_s = patch_s
        self.hop_s = hop_s
        self.tail = tail
        self.engine = engine
        self.sample_rate = sample_rate
        self.cache = cache
        self.jobs = jobs
        self.on_error = on_error

    def fit(self, X: Any = None, y: Any = None) -> Embedder:  # noqa: ARG002, N803
        """Check the parameters and return itself; ``X`` and ``y`` are ignored.

        Raises
        ------
        ArgumentError
            If a parameter cannot be used.
        UnknownNameError, DownloadError, WeightsError
            If the model cannot be found or loaded.
        """
        self._grid()
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """Embed sounds.

        Parameters
        ----------
        X : sequence of path, or of ndarray
            Files, also as a NumPy array, a pandas Series or a table of one column; or arrays
            ``(samples,)`` or ``(channels, samples)`` at ``sample_rate``, also as one array
            ``(sounds, samples)``. A file that comes several times is computed once.

        Returns
        -------
        ndarray, shape (sounds, dimensions), float32
            In the order of ``X``; a container of another kind if ``set_output`` asked for one.

        Raises
        ------
        AudioError
            If sounds cannot be used and ``on_error`` is ``"raise"``. They are named, arrays by
            their position.
        ArgumentError
            If ``X`` or a parameter cannot be used.
        OutputError
            If the cache cannot be written or read.
        """
        grid = self._grid()
        sounds = _list_sounds(X)
        if sounds and isinstance(sounds[0], np.ndarray):
            return self._stack(list(range(len(sounds))), self._embed_arrays(sounds, grid))
        return self._stack(sounds, self._embed_files(list(dict.fromkeys(sounds)), grid))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:  # noqa: ARG002
        """Return the names of the columns, such as ``MTT_musicnn_penultimate_0``.

        ``input_features`` is ignored; errors are those of :meth:`fit`.
        """
        self._grid()
        name = f"{self._spec().name}_{self.layer}"
        return np.array([f"{name}_{i}" for i in range(self._dimensions())], dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _grid(self) -> PatchGrid:
        """Check the parameters that do not need the loaded model; return where patches lie."""
        if not isinstance(self.pooling, str) or self.pooling not in get_args(RowPooling):
            raise ArgumentError(
                f"pooling must be 'mean' or 'max', which give a row for each sound; received "
                f"{self.pooling!r} (musicnn_zoo.embed_files(pooling=None) gives one for each patch)"
            )
        check_choice("on_error", self.on_error, get_args(OnError))
        return patch_grid(self._spec().config, patch_s=self.patch_s, hop_s=self.hop_s)

    def _spec(self) -> ModelSpec:
        if isinstance(self.model, str | os.PathLike):
            return _find(self.model).spec
        if not hasattr(self.model, "zoo_config"):
            raise ArgumentError(
                "model must be a name, a place or a TaggingModel; received one of type "
                f"{type(self.model).__name__}"
            )
        return self.model.spec

    def _digest(self) -> str:
        if isinstance(self.model, str | os.PathLike):
            return _find(self.model).digest()
        from musicnn_zoo.runtimes.onnx_engine import weights_digest

        return weights_digest(self.model)

    def _tagger(self) -> Tagger:
        return shared_tagger(self.model, self.engine, None)

    def _dimensions(self) -> int:
        silence = np.zeros(1, np.float32)
        return len(self._tagger().embed(silence, sample_rate=8000, layer=self.layer).values)

    def _embed_arrays(self, arrays: list[NDArray[Any]], grid: PatchGrid) -> dict[int, Row]:
        rows: dict[int, Row] = {}
        streams = {}
        for position, array in enumerate(arrays):
            try:
                streams[position] = AudioStream(
                    array, sample_rate=self.sample_rate, target_rate=grid.sample_rate
                )
            except AudioError as error:
                rows[position] = _renamed(error, position)
        tagger = self._tagger()
        cutting = Cutting(grid, self.tail)
        task = embedding_task(tagger.spec, cutting, layer=self.layer, pooling=self.pooling)
        engine = tagger.engine_for(task.layers, many=True)
        results = process(streams.values(), task, engine=engine, jobs=self.jobs)
        for position, result in zip(streams, results, strict=True):
            row = _row_of(result)
            rows[position] = _renamed(row, position) if isinstance(row, AudioError) else row
        return rows

    def _embed_files(self, paths: list[str], grid: PatchGrid) -> dict[str, Row]:
        if not paths:
            return {}
        if self.sample_rate is not None:
            raise ArgumentError(
                "sample_rate goes with arrays only; files state their own "
                f"(received sample_rate={self.sample_rate} with files)"
            )
        if self.cache is not None:
            return self._embed_cached(Path(self.cache), paths, grid)
        results = zip(paths, self._analyse(paths), strict=True)
        return {path: _row_of(result) for path, result in results}

    def _analyse(self, paths: list[str]) -> Iterator[FileResult[Embedding]]:
        return self._tagger().embed_files(
            paths, layer=self.layer, pooling=self.pooling, patch_s=self.patch_s,
            hop_s=self.hop_s, tail=self.tail, jobs=self.jobs,
        )  # fmt: skip

    def _embed_cached(self, cache: Path, paths: list[str], grid: PatchGrid) -> dict[str, Row]:
        from musicnn_zoo.library.store import Store, run_library

        settings = {
            "kind": "embeddings",
            "model": self._spec().name,
            "weights": self._digest(),
            "layer": self.layer,
            "pooling": self.pooling,
            "patch": grid.patch,
            "hop": grid.hop,
            "tail": self.tail,
            "silence": "skip",
        }
        output = cache / _store_name(settings)
        # The same file has the same name in the store, wherever the process stands.
        places = {path: as_address(path) or os.path.realpath(path) for path in paths}
        errors: dict[str, Row] = {}

        def failed(place: str, error: Exception) -> str:
            if not isinstance(error, AudioError):
                raise error
            errors[place] = error
            return str(error)

        with _locked(output):
            if not output.exists():  # first: without an engine no store is begun
                self._tagger().engine_for((self.layer,), many=True)
            with Store(output, settings) as store:
                run_library(places.values(), self._analyse, store, failed=failed)
            rows = _read_rows(output, set(places.values()) - errors.keys())
        rows |= errors
        return {path: rows[place] for path, place in places.items()}

    def _stack(self, keys: list[Any], rows: Mapping[Any, Row]) -> NDArray[np.float32]:
        """Return the rows in the order of ``keys``, and say which sounds could not be used."""
        vectors = {key: row for key, row in rows.items() if not isinstance(row, AudioError)}
        errors = [row for row in rows.values() if isinstance(row, AudioError)]
        if errors and self.on_error == "raise":
            raise errors[0] if len(errors) == 1 else AudioError(_summary(errors, len(rows)))
        if errors:
            warnings.warn(
                f"{_summary(errors, len(rows))}; their rows are NaN",
                stacklevel=4,  # scikit-learn wraps transform
            )
        dimensions = len(next(iter(vectors.values()))) if vectors else self._dimensions()
        table = np.full((len(keys), dimensions), np.nan, np.float32)
        for position, key in enumerate(keys):
            if key in vectors:
                table[position] = vectors[key]
        return table


def _find(model: str | os.PathLike[str]) -> Pretrained:
    place = os.fspath(model)
    return _find_once(place, folder_stamp(place))


@lru_cache(maxsize=64)
def _find_once(model: str, stamp: tuple[int, ...]) -> Pretrained:
    del stamp
    return find_pretrained(model)


def _list_sounds(sounds: Any) -> list[Any]:
    """Return X as a list that is all ``str`` or all ``ndarray``."""
    if isinstance(sounds, str | bytes | os.PathLike):
        raise ArgumentError(f"X must be several sounds; received one, {os.fspath(sounds)!r}")
    if hasattr(sounds, "to_numpy"):
        sounds = sounds.to_numpy()
    if isinstance(sounds, np.ndarray):
        of_names = sounds.dtype.kind in "OUT"
        if of_names and sounds.ndim == 2 and sounds.shape[1] == 1:
            sounds = sounds[:, 0]
        if sounds.ndim != 1 if of_names else sounds.ndim < 2:
            raise ArgumentError(
                "X must be a sequence of paths or of arrays, or one array (sounds, samples); "
                f"received one of shape {sounds.shape} and type {sounds.dtype}"
            )
    listed: list[Any] = []
    for position, sound in enumerate(sounds):
        path = os.fspath(sound) if isinstance(sound, str | os.PathLike) else None
        if isinstance(path, str):
            listed.append(place_of(path))
        elif isinstance(sound, np.ndarray):
            listed.append(sound)
        else:
            raise ArgumentError(
                f"X[{position}] is neither a path nor an array; received {type(sound).__name__}"
            )
        if isinstance(listed[-1], str) != isinstance(listed[0], str):
            raise ArgumentError("X must be paths or arrays, not some of each")
    return listed


def _row_of(result: FileResult[Embedding]) -> Row:
    return result.error if isinstance(result.error, AudioError) else result.unwrap().values


def _renamed(error: AudioError, position: int) -> AudioError:
    return AudioError(f"X[{position}]: {str(error).removeprefix('array: ')}")


def _summary(errors: list[AudioError], of: int) -> str:
    named = "; ".join(printable(str(error)) for error in errors[:_MOST_NAMED])
    more = f"; and {len(errors) - _MOST_NAMED} more" if len(errors) > _MOST_NAMED else ""
    return f"{len(errors)} of {of} sounds cannot be used: {named}{more}"


def _store_name(settings: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    readable = re.sub(r"[^\w.-]", "_", f"{settings['model']}-{settings['layer']}")[:80]
    return f"{readable}-{digest[:16]}.parquet"


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Wait until no other process or thread uses a store of the cache, then lock it."""
    from filelock import FileLock, Timeout

    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(output.with_suffix(".lock"), thread_local=False)
        try:
            lock.acquire(timeout=_SILENT_WAIT_S)
        except Timeout:
            _log.info("waiting for another process, which writes %s", output)
            lock.acquire()
    except OSError as error:
        raise OutputError(
            f"cache {str(output.parent)!r} cannot be written ({error.strerror or error})"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _read_rows(output: Path, wanted: set[str]) -> dict[str, Row]:
    """Read the rows of some files from a store that nothing writes now."""
    import pyarrow as pa

    from musicnn_zoo.library.parquet_store import read_shard

    rows: dict[str, Row] = {}
    for shard in sorted(output.glob("*.parquet")):
        table, files = read_shard(shard, ["embedding"])
        paths = [stamp.path for stamp, count in files for _ in range(count)]
        chosen = [position for position, path in enumerate(paths) if path in wanted]
        if chosen:
            vectors = table["embedding"].take(pa.array(chosen)).combine_chunks()
            values = vectors.flatten().to_numpy().reshape(len(chosen), -1)
            rows.update(zip((paths[position] for position in chosen), values, strict=True))
    return rows
