"""A loaded model that tags and embeds, for many calls."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from musicnn_zoo.errors import ArgumentError, ExportError, UnknownNameError
from musicnn_zoo.machine.installation import has_keras, require_keras
from musicnn_zoo.machine.processes import ForkedLock
from musicnn_zoo.networks.config import Calibrated, ModelSpec, block_spec, patch_grid
from musicnn_zoo.networks.patches import PatchGrid, Tail
from musicnn_zoo.runtimes.engine import ENGINES, Engine, EngineName, Precision, choose_engine
from musicnn_zoo.sound.decode import OnDamage
from musicnn_zoo.sound.read import AudioSource, AudioStream
from musicnn_zoo.tagging.live import TaggramStream
from musicnn_zoo.tagging.pipeline import (
    EmbeddedTags,
    Pooling,
    Task,
    embedded_tags_task,
    embedding_task,
    events_task,
    features_task,
    frames_task,
    process,
    taggram_task,
    tags_task,
)
from musicnn_zoo.tagging.results import (
    DEFAULT_THRESHOLD,
    Embedding,
    Events,
    Features,
    FileResult,
    Result,
    Taggram,
    Tags,
)
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL
from musicnn_zoo.zoo.load import Pretrained, find_pretrained

if TYPE_CHECKING:
    from musicnn_zoo.networks.build import TaggingModel

_log = logging.getLogger(__name__)

Paths: TypeAlias = Iterable[str | os.PathLike[str]]


class Reading(NamedTuple):
    """How files are read: what to do with damaged ones, and whether in a process of its own."""

    damaged: OnDamage
    isolate: bool


class Tagger:
    """A loaded model, ready for many calls; safe to use from several threads.

    Parameters
    ----------
    model : str, path, Pretrained or TaggingModel
        Name of a pretrained model (see :func:`musicnn_zoo.list_models`),
        ``hf://user/repository`` or a folder (see :func:`musicnn_zoo.load_model`), or a model of
        one's own, with the weights that it has at each call.
    engine : {"auto", "tensorflow", "onnxruntime"}
        What computes. ONNX Runtime is faster on a CPU and needs neither TensorFlow nor its
        memory; it computes the same to 1e-4. By default it is taken on a CPU, and Keras's backend,
        TensorFlow, if there is a GPU or ``device`` or ``precision`` ask for it. A model that
        is not bundled is converted once (``pip install "musicnn-zoo[onnx]"``), and the graph
        kept by the digest of the weights; what cannot be converted runs on TensorFlow, and
        the log says why. A model object is converted for many files at once, while single
        files go through Keras, which has it in memory already; with ``"onnxruntime"`` both
        do. ``"jax"`` and ``"torch"`` go with Keras on those backends.
    device : str, optional
        ``"cpu"``, ``"gpu"`` or ``"gpu:1"``; ``"gpu:0,gpu:1"`` share the work. By default the
        first GPU that TensorFlow sees, else the CPU. GPU memory is taken as it is needed.
    precision : {"float32", "float16", "bfloat16"}
        Of the network on Keras's backend, for GPUs that are faster in it. The log-mel and the
        scores are always computed in float32.
    batch_size : int, optional
        Patches computed at once, on each core or GPU; by default what suits the engine.

    Raises
    ------
    UnknownNameError
        If there is no model of that name.
    WeightsError
        If the weights file is missing, damaged, or does not fit.
    DeviceError
        If there is no such device.
    ArgumentError
        If engine, device and precision do not go together.
    MissingPackageError
        If Keras is needed and not installed.

    Notes
    -----
    All methods on one file take audio as a path, a binary file object, or an array
    ``(samples,)`` or ``(channels, samples)`` with its ``sample_rate`` in Hz. Audio is downmixed
    to mono and resampled to the model's rate as ``librosa.load`` does, then cut into patches.
    Files are read in blocks, so that memory does not grow with their length.

    All methods share these options:

    patch_s : float, optional
        Length of a patch in seconds; by default what the model was trained on (2.992 s for
        musicnn and vgg; vgg takes no other).
    hop_s : float, optional
        Distance between the starts of two patches in seconds; by default one patch.
        See :mod:`musicnn_zoo.networks.patches` for how seconds become frames.
    tail : {"drop", "pad"}
        What to do with the end that does not fill a patch: drop it (default), or repeat it
        until it fills one. A clip shorter than one patch is always repeated to fill one,
        and the result says so in ``clip.repeated``.
    damaged : {"refuse", "use"}
        What to do with a file of which more than a second or 2 % cannot be decoded, or is not
        there though the file states it: an error (default), or use what can be decoded. The
        result says in ``clip.damaged`` and ``clip.lost_s`` what is missing, also where it is less.
    isolate : bool
        Decode in a process of its own, which a file that crashes the decoder ends instead of
        this one, and a time limit, if it hangs. By default so for many files, and not for one,
        where files that are known to be dangerous are decoded in one nevertheless.

    All raise :class:`~musicnn_zoo.errors.AudioError` for audio that cannot be used and
    :class:`~musicnn_zoo.errors.ArgumentError` for arguments that cannot.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Pretrained | TaggingModel = DEFAULT_MODEL,
        *,
        engine: EngineName = "auto",
        device: str | None = None,
        precision: Precision = "float32",
        batch_size: int | None = None,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ArgumentError(f"batch_size must be at least 1; received {batch_size}")
        self._pretrained: Pretrained | None = None
        self._model: TaggingModel | None = None
        if isinstance(model, str | os.PathLike):
            self._pretrained = find_pretrained(model)
        elif isinstance(model, Pretrained):
            self._pretrained = model
        else:
            self._model = model
        self.spec: ModelSpec = (self._pretrained or self.model).spec
        self._device = device
        self._several = device is not None and "," in device
        self._precision = precision
        self._batch_size = batch_size
        self._lock = ForkedLock()
        self._keras_engine: Engine | None = None
        self._keras_digest: str | None = None
        self._frame_engine: Engine | None = None
        self._frame_digest: str | None = None
        self._onnx_engine: Engine | None = None
        self._onnx_digest: str | None = None
        self._automatic = engine == "auto"
        self._fetch(engine)
        chosen = choose_engine(engine, device=device, precision=precision)
        self._prefers_onnx = chosen == "onnxruntime"
        self._engine()

    @property
    def engine(self) -> str:
        """What computes single files: ``"onnxruntime"``, or the name of Keras's backend."""
        return self._engine().name

    @property
    def model(self) -> TaggingModel:
        """The Keras model; a pretrained one is loaded when it is first asked for."""
        if self._model is None:
            assert self._pretrained is not None
            with self._lock:
                self._model = self._model or self._pretrained.load()
        return self._model

    @property
    def tags(self) -> tuple[str, ...]:
        """The model's tags, in the order of its outputs."""
        return self.spec.tags

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Layers that :meth:`features` returns by default, in order of depth."""
        return self.spec.config.endpoints

    def tag(
        self,
        audio: AudioSource,
        *,
        sample_rate: int | None = None,
        top_k: int | None = None,
        threshold: float | Calibrated | None = None,
        patch_s: float | None = None,
        hop_s: float | None = None,
        tail: Tail = "drop",
        damaged: OnDamage = "refuse",
        isolate: bool = False,
    ) -> Tags:
        """Ranked tags of a whole clip; see :func:`musicnn_zoo.tag`."""
        grid = self._grid(patch_s, hop_s)
        task = self._tags_task(grid, top_k, threshold)
        reading = Reading(damaged, isolate)
        return self._one(audio, sample_rate, task, grid, tail, reading)

    def taggram(
        self,
        audio: AudioSource,
        *,
        sample_rate: int | None = None,
        patch_s: float | None = None,
        hop_s: float | None = None,
        tail: Tail = "drop",
        damaged: OnDamage = "refuse",
        isolate: bool = False,
    ) -> Taggram:
        """Scores over time; see :func:`musicnn_zoo.taggram`."""
        grid = self._grid(patch_s, hop_s)
        task = taggram_task(self.spec, grid)
        reading = Reading(damaged, isolate)
        return self._one(audio, sample_rate, task, grid, tail, reading)

    def frames(
        self,
        audio: AudioSource,
        *,
        sample_rate: int | None = None,
        patch_s: float | None = None,
        tail: Tail = "drop",
        damaged: OnDamage = "refuse",
        isolate: bool = False,
    ) -> Taggram:
        """Scores of single frames, from a back-end that has them.

        Returns
        -------
        Taggram
            One row a frame; ``patch_s`` and ``hop_s`` are the time between two frames.

        Raises
        ------
        ArgumentError
            If the back-end has no frame-wise scores
            (see :func:`musicnn_zoo.runtimes.variants.framewise_model`).
        """
        grid = self._grid(patch_s, None)
        task = frames_task(self.spec, grid)
        reading = Reading(damaged, isolate)
        return self._one(audio, sample_rate, task, grid, tail, reading, engine=self._in_frames())

    def events(
        self,
        audio: AudioSource,
        *,
        sample_rate: int | None = None,
        threshold: float = DEFAULT_THRESHOLD,
        release: float | None = None,
        min_length_s: float = 0.0,
        patch_s: float | None = None,
        hop_s: float | None = None,
        tail: Tail = "drop",
        damaged: OnDamage = "refuse",
        isolate: bool = False,
    ) -> Events:
        """When each tag begins and ends; see :func:`musicnn_zoo.events`."""
        grid = self._grid(patch_s, hop_s)
        task, engine = self._events_task(
            grid, hop_s, threshold=threshold, release=release, min_length_s=min_length_s
        )
        reading = Reading(damaged, isolate)
        return self._one(audio, sample_rate, task, grid, tail, reading, engine=engine)

    def embed(
        self,
        audio: AudioSource,
        *,
        sample_rate: int | None = None,
        layer: str = "penultimate",
        pooling: Pooling = "mean",
        patch_s: float | None = None,
        hop_s: float | None = None,
        tail: Tail = "drop",
        damaged: OnDamage = "refuse",
        isolate: bool = False,
    ) -> Embedding:
        """Activations of one layer as vectors; see :func:`musicnn_zoo.embed`."""
        grid = self._grid(patch_s, hop_s)
        task = embedding_task(self.spec.name, grid, layer=layer, pooling=pooling)
        reading = Reading(damaged, isolate)
        return self._one(audio, sample_rate, task, grid, tail, reading)

    def features(
        self,
        audio: AudioSource,
        *,
        sample_rate: int | None = None,
        layers: Sequence[str] | None = None,
        patch_s: float | None = None,
        hop_s: float | None = None,
        tail: Tail = "drop",
        damaged: OnDamage = "refuse",
        isolate: bool = False,
    ) -> Features:
        """Activations of several layers; see :func:`musicnn_zoo.features`."""
        if isinstance(layers, str):
            layers = (layers,)
        chosen = self.endpoints if layers is None else tuple(dict.fromkeys(layers))
        if not chosen:
            raise ArgumentError("layers must name at least one layer; received none")
        grid = self._grid(patch_s, hop_s)
        task = features_task(self.spec.name, grid, chosen)
        reading = Reading(damaged, isolate)
        return self._one(audio, sample_rate, task, grid, tail, reading)

    def tag_files(
        self,
        paths: Paths,
        *,
        top_k: int | None = None,
        threshold: float | Calibrated | None = None,
        patch_s: float | None = None,
        hop_s: float | None = None,
        tail: Tail = "drop",
        damaged: OnDamage = "refuse",
        isolate: bool = True,
        jobs: int | None = None,
        progress: bool = False,
    ) -> Iterator[FileResult[Tags]]:
        """Ranked tags of many files; see :func:`musicnn_zoo.tag_files`."""
        grid = self._grid(patch_s, hop_s)
        reading = Reading(damaged, isolate)
        return self._many(
            paths,
            self._tags_task(grid, top_k, threshold),
            grid,
            tail,
            reading,
            jobs,
            progress,
        )

    def taggram_files(
        self,
        paths: Paths,
        *,
        patch_s: float | None = None,
        hop_s: float | None = None,
        tail: Tail = "drop",
        damaged: OnDamage = "refuse",
        isolate: bool = True,
        jobs: int | None = None,
        progress: bool = False,
    ) -> Iterator[FileResult[Taggram]]:
        """Scores over time of many files; see :func:`musicnn_zoo.tag_files`."""
        grid = self._grid(patch_s, hop_s)
        reading = Reading(damaged, isolate)
        return self._many(
            paths,
            taggram_task(self.spec, grid),
            grid,
            tail,
            reading,
            jobs,
            progress,
        )

    def events_files(
        self,
        paths: Paths,
        *,
        threshold: float = DEFAULT_THRESHOLD,
        release: float | None = None,
        min_length_s: float = 0.0,
        patch_s: float | None = None,
        hop_s: float | None = None,
        tail: Tail = "drop",
        damaged: OnDamage = "refuse",
        isolate: bool = True,
        jobs: int | None = None,
        progress: bool = False,
    ) -> Iterator[FileResult[Events]]:
        """When each tag begins and ends in many files; see :func:`musicnn_zoo.events`."""
        grid = self._grid(patch_s, hop_s)
        task, engine = self._events_task(
            grid, hop_s, threshold=threshold, release=release, min_length_s=min_length_s
        )
        reading = Reading(damaged, isolate)
        return self._many(paths, task, grid, tail, reading, jobs, progress, engine=engine)

    def embedded_tags_files(
        self,
        paths: Paths,
        *,
        layer: str = "penultimate",
        patch_s: float | None = None,
        hop_s: float | None = None,
        tail: Tail = "drop",
        damaged: OnDamage = "refuse",
        isolate: bool = True,
        jobs: int | None = None,
        progress: bool = False,
    ) -> Iterator[FileResult[EmbeddedTags]]:
        """Mean embedding and strongest tag of many files, each file read and computed once."""
        grid = self._grid(patch_s, hop_s)
        task = embedded_tags_task(self.spec, grid, layer=layer)
        reading = Reading(damaged, isolate)
        return self._many(paths, task, grid, tail, reading, jobs, progress)

    def embed_files(
        self,
        paths: Paths,
        *,
        layer: str = "penultimate",
        pooling: Pooling = "mean",
        patch_s: float | None = None,
        hop_s: float | None = None,
        tail: Tail = "drop",
        damaged: OnDamage = "refuse",
        isolate: bool = True,
        jobs: int | None = None,
        progress: bool = False,
    ) -> Iterator[FileResult[Embedding]]:
        """Embeddings of many files; see :func:`musicnn_zoo.embed_files`."""
        grid = self._grid(patch_s, hop_s)
        task = embedding_task(self.spec.name, grid, layer=layer, pooling=pooling)
        reading = Reading(damaged, isolate)
        return self._many(paths, task, grid, tail, reading, jobs, progress)

    def stream(
        self,
        *,
        sample_rate: int,
        patch_s: float | None = None,
        hop_s: float | None = None,
        tail: Tail = "drop",
    ) -> TaggramStream:
        """Begin to tag audio that comes in blocks, such as that of a microphone.

        Parameters
        ----------
        sample_rate : int
            Of the blocks, in Hz.

        Returns
        -------
        TaggramStream
            Feed it blocks of any length; it gives the rows of a taggram as soon as their
            patches are complete.

        Examples
        --------
        >>> import numpy as np, musicnn_zoo
        >>> stream = musicnn_zoo.Tagger().stream(sample_rate=48000, hop_s=1.0)
        >>> [len(stream.feed(np.zeros(48000, np.float32))) for second in range(5)]
        [0, 0, 0, 1, 1]
        """
        grid = self._grid(patch_s, hop_s)
        return TaggramStream(self.spec, self._engine(), grid, sample_rate=sample_rate, tail=tail)

    def _fetch(self, engine: str) -> None:
        """Download weights that will be needed, before an engine is imported for them."""
        if self._pretrained is None or engine not in ENGINES:
            return
        from musicnn_zoo.runtimes.onnx_engine import has_graph

        if engine in ("auto", "onnxruntime"):
            if has_graph(self._pretrained):
                return
            require_keras(f"{self._pretrained.origin}, of which no ONNX graph is kept here,")
        if has_keras():
            self._pretrained.fetch()

    def _grid(self, patch_s: float | None, hop_s: float | None) -> PatchGrid:
        return patch_grid(self.spec.config, patch_s=patch_s, hop_s=hop_s)

    def _tags_task(
        self, grid: PatchGrid, top_k: int | None, threshold: float | Calibrated | None
    ) -> Task[Tags]:
        return tags_task(self.spec, grid, top_k=top_k, threshold=threshold)

    def _events_task(
        self, grid: PatchGrid, hop_s: float | None, **rule: Any
    ) -> tuple[Task[Events], Engine | None]:
        """Choose frames, where there are any, or patches to find events in, and what computes."""
        framewise = block_spec(self.spec.config.backend.kind, "backend").framewise
        if framewise is None or hop_s is not None:
            return events_task(taggram_task(self.spec, grid), **rule), None
        return events_task(frames_task(self.spec, grid), **rule), self._in_frames()

    def _one(
        self,
        audio: AudioSource,
        sample_rate: int | None,
        task: Task[Result],
        grid: PatchGrid,
        tail: Tail,
        reading: Reading,
        *,
        engine: Engine | None = None,
    ) -> Result:
        stream = AudioStream(
            audio, sample_rate=sample_rate, target_rate=grid.sample_rate, **reading._asdict()
        )
        engine = engine or self._engine_for(task.layers)
        (result,) = process([stream], task, engine=engine, grid=grid, tail=tail, jobs=1)
        return result.unwrap()

    def _many(
        self,
        paths: Paths,
        task: Task[Result],
        grid: PatchGrid,
        tail: Tail,
        reading: Reading,
        jobs: int | None,
        progress: bool,
        *,
        engine: Engine | None = None,
    ) -> Iterator[FileResult[Result]]:
        if isinstance(paths, str | os.PathLike):
            raise ArgumentError(f"paths must be several; received one, {os.fspath(paths)!r}")
        streams = (
            AudioStream(os.fspath(path), target_rate=grid.sample_rate, **reading._asdict())
            for path in paths
        )
        engine = engine or self._engine_for(task.layers, many=True)
        results = process(streams, task, engine=engine, grid=grid, tail=tail, jobs=jobs)
        if not progress:
            return results
        from tqdm import tqdm

        total = len(paths) if isinstance(paths, Sized) else None
        return iter(tqdm(results, total=total, unit="file", leave=False))

    def _engine_for(self, layers: tuple[str, ...], *, many: bool = False) -> Engine:
        engine = self._engine(many=many)
        missing = engine.missing(layers)
        if not missing:
            return engine
        if self._pretrained is not None:
            require_keras(
                f"layer {missing[0]!r}, none of the endpoints of {self.spec.name} "
                f"({', '.join(self.endpoints)}),"
            )
        if engine.name == "onnxruntime" and self._automatic:
            in_keras = self._in_keras()
            if not in_keras.missing(layers):
                _log.info("%s is no endpoint: Keras computes it", ", ".join(missing))
                return in_keras
        known = [layer.name for layer in self.model.layers]
        if engine.name == "onnxruntime" and missing[0] in known:
            raise ArgumentError(
                f"layer {missing[0]!r} of {self.spec.name} is no output of its ONNX graph, which "
                f"has {', '.join(self.endpoints)}; leave out engine='onnxruntime'"
            )
        raise UnknownNameError(f"layer of {self.spec.name}", missing[0], known)

    def _engine(self, *, many: bool = False) -> Engine:
        if not self._prefers_onnx or (self._pretrained is None and self._automatic and not many):
            return self._in_keras()
        try:
            return self._in_onnx()
        except ExportError as error:
            if not self._automatic:
                raise
            self._prefers_onnx = False
            engine = self._in_keras()
            _log.warning("%s; %s computes it", error, engine.name)
            return engine

    def _in_onnx(self) -> Engine:
        from musicnn_zoo.runtimes.onnx_engine import (
            OnnxEngine,
            find_graph,
            graph_of,
            weights_digest,
        )

        with self._lock:
            digest = None if self._pretrained else weights_digest(self.model)
            if self._onnx_engine is None or digest != self._onnx_digest:
                if digest is not None:
                    graph = graph_of(self.model, digest)
                else:
                    assert self._pretrained is not None
                    graph = find_graph(self._pretrained, lambda: self.model)
                self._onnx_engine = OnnxEngine(graph, batch_size=self._batch_size)
                self._onnx_digest = digest
            return self._onnx_engine

    def _in_keras(self) -> Engine:
        with self._lock:
            digest = self._digest_if_copied()
            if self._keras_engine is None or digest != self._keras_digest:
                self._keras_engine = self._make_keras_engine(None)
                self._keras_digest = digest
            return self._keras_engine

    def _in_frames(self) -> Engine:
        """Return what computes scores of single frames."""
        with self._lock:
            digest = self._digest_if_copied()
            if self._frame_engine is None or digest != self._frame_digest:
                original = self.model
                from musicnn_zoo.runtimes.variants import framewise_model

                model = framewise_model(original)
                self._frame_engine = self._make_keras_engine(model)
                self._frame_digest = digest
            return self._frame_engine

    def _digest_if_copied(self) -> str | None:
        """Digest of a model of one's own that the Keras engine computes a copy of."""
        if self._pretrained is not None or not (self._several or self._precision != "float32"):
            return None
        from musicnn_zoo.runtimes.onnx_engine import weights_digest

        return weights_digest(self.model)

    def _make_keras_engine(self, model: Any) -> Engine:
        from musicnn_zoo.runtimes.keras_engine import KerasEngine

        def make() -> Any:
            from musicnn_zoo.runtimes.variants import remake, with_precision

            original = self.model if model is None else model
            if self._several and self._precision == "float32":
                return remake(original)
            return with_precision(original, self._precision)

        return KerasEngine(make, device=self._device, batch_size=self._batch_size)
