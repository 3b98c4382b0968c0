"""A loaded model that tags and embeds, for many calls."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

from musicnn_zoo.errors import (
    ArgumentError,
    AudioError,
    ExportError,
    MusicnnZooError,
    UnknownNameError,
    answered,
    check_whole,
    one_model_hint,
    shown,
    unknown_attribute,
)
from musicnn_zoo.machine.installation import has_keras, require_keras
from musicnn_zoo.machine.processes import ForkedLock
from musicnn_zoo.networks.architectures import layer_names
from musicnn_zoo.networks.config import Calibrated, ModelSpec, block_spec
from musicnn_zoo.networks.patches import Tail
from musicnn_zoo.runtimes.engine import Engine, EngineName, Precision, check_engine, choose_engine
from musicnn_zoo.sound.contents import stated_length
from musicnn_zoo.sound.read import AudioStream, OnDamage
from musicnn_zoo.sound.remote import as_address, fetched_ahead, place_of
from musicnn_zoo.sound.sources import AudioSource, check_one, is_folder, local_path, source_name
from musicnn_zoo.tagging.live import TaggramStream
from musicnn_zoo.tagging.pipeline import (
    Cutting,
    EmbeddedTags,
    OnHeard,
    Pooling,
    Task,
    embedded_tags_task,
    embedding_task,
    events_task,
    features_task,
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
    Silence,
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
    """How files are read: damaged ones, in a process of its own or not, and which excerpt."""

    damaged: OnDamage
    isolate: bool
    offset: float = 0.0
    duration: float | None = None


_PATIENCE_S = 1.0
"""A bar of a single file comes after so long."""


def _with_seconds(
    path: object, begin: Callable[[OnHeard], Iterator[FileResult[Result]]]
) -> Iterator[FileResult[Result]]:
    """Show how many seconds of a file are computed, if that takes a while."""
    from tqdm import tqdm

    total = length_of(path)
    shape = "{percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of audio [{elapsed}<{remaining}]"
    with tqdm(
        total=total, unit="s", leave=False, delay=_PATIENCE_S, bar_format=shape if total else None
    ) as bar:

        def heard(_: str | None, seconds: float) -> None:
            bar.update(min(seconds, total or seconds) - bar.n)

        yield from begin(heard)


def length_of(path: object) -> float | None:
    """Return how many seconds long a file of this machine states to be, if it does."""
    if not isinstance(path, str | os.PathLike) or as_address(path) is not None:
        return None
    place = local_path(path)
    return stated_length(place) if Path(place).is_file() else None


def check_model(model: object) -> None:
    """Refuse what is no model of this package."""
    if not hasattr(model, "zoo_config"):
        raise ArgumentError(
            "model must be the name of a model, a folder, a .keras file, a TaggingModel or a "
            f"Tagger; received {shown(model)}{one_model_hint(model)}"
        )


class _Refused(AudioStream):
    """What was given as one of many files and is none; reading it says so."""

    def __init__(self, given: object, error: MusicnnZooError) -> None:
        self.source = source_name(given)
        self.address = None
        self._error = error

    def __iter__(self) -> Iterator[Any]:
        raise self._error


def streams_of(paths: Iterable[Any], rate: int, reading: Reading) -> Iterator[AudioStream]:
    """Open many files, each when it is needed; those that are far away are fetched ahead."""
    return fetched_ahead(_stream_of(path, rate, reading) for path in paths)


def _stream_of(audio: Any, rate: int, reading: Reading) -> AudioStream:
    given = os.fspath(audio) if isinstance(audio, os.PathLike) else audio
    try:
        return AudioStream(given, target_rate=rate, **reading._asdict())
    except MusicnnZooError as error:
        return _Refused(given, error)


class _Source:
    """The model of a Tagger; a pretrained one is loaded when it is first needed."""

    def __init__(self, model: str | os.PathLike[str] | Pretrained | TaggingModel) -> None:
        self.pretrained: Pretrained | None = None
        self._loaded: TaggingModel | None = None
        if isinstance(model, str | os.PathLike):
            self.pretrained = find_pretrained(model)
        elif isinstance(model, Pretrained):
            self.pretrained = model
        else:
            check_model(model)
            self._loaded = model
        self.lock = ForkedLock()

    @property
    def spec(self) -> ModelSpec:
        return (self.pretrained or self.load()).spec

    @property
    def folder(self) -> Path | None:
        return self.load().folder if self.pretrained is None else self.pretrained.folder

    def load(self) -> TaggingModel:
        if self._loaded is None:
            assert self.pretrained is not None
            with self.lock:
                self._loaded = self._loaded or self.pretrained.load()
        return self._loaded

    def close(self) -> None:
        """Forget the Keras model of a pretrained one."""
        if self.pretrained is not None:
            self._loaded = None

    def digest(self) -> str | None:
        """Digest of the weights as they are now; None for a pretrained model, which keeps its."""
        if self.pretrained is not None:
            return None
        from musicnn_zoo.runtimes.onnx_engine import weights_digest

        return weights_digest(self.load())

    def fetch(self, engine: str) -> None:
        """Download weights that will be needed, before an engine is imported for them."""
        if self.pretrained is None:
            return
        from musicnn_zoo.runtimes.onnx_engine import has_graph

        if engine in ("auto", "onnxruntime"):
            if has_graph(self.pretrained):
                return
            require_keras(f"{self.pretrained.origin}, of which no ONNX graph is kept here,")
        if has_keras():
            self.pretrained.fetch()


class _CurrentEngine:
    """An engine, made when it is first needed.

    It has copies of the weights, so it is made again when the model has others.
    """

    def __init__(self, source: _Source, make: Callable[[str | None], Engine]) -> None:
        self._source = source
        self._make = make
        self._made: tuple[Engine, str | None] | None = None

    def get(self) -> Engine:
        made = self._made
        if made is None or made[1] != self._source.digest():
            with self._source.lock:
                made, digest = self._made, self._source.digest()
                if made is None or made[1] != digest:
                    made = self._made = self._make(digest), digest
        return made[0]

    def close(self) -> None:
        self._made = None


class _Engines:
    """What computes a model: Keras, or ONNX Runtime; and Keras for the scores of frames."""

    def __init__(
        self,
        source: _Source,
        *,
        engine: EngineName,
        device: str | None,
        precision: Precision,
        batch_size: int | None,
    ) -> None:
        source.fetch(engine)
        self.automatic = engine == "auto"
        chosen = choose_engine(engine, device=device, precision=precision)
        self._prefers_onnx = chosen == "onnxruntime"
        self._source = source
        self._device = device
        self._precision = precision
        self._batch_size = batch_size
        self._on_several = device is not None and "," in device
        self.keras = _CurrentEngine(source, self._make_keras)
        self.frames = _CurrentEngine(source, self._make_frames)
        self.onnx = _CurrentEngine(source, self._make_onnx)

    def close(self) -> None:
        for engine in (self.keras, self.frames, self.onnx):
            engine.close()

    def get(self, *, many: bool = False) -> Engine:
        """Return the engine for one file or for many."""
        is_pretrained = self._source.pretrained is not None
        worth_converting = is_pretrained or many or not self.automatic
        if not (self._prefers_onnx and worth_converting):
            return self.keras.get()
        try:
            return self.onnx.get()
        except ExportError as error:
            if not self.automatic:
                raise
            self._prefers_onnx = False
            engine = self.keras.get()
            _log.warning("%s; %s computes it", error, engine.name)
            return engine

    def _make_onnx(self, digest: str | None) -> Engine:
        from musicnn_zoo.runtimes.onnx_engine import OnnxEngine, find_graph, graph_of

        if self._source.pretrained is not None:
            graph = find_graph(self._source.pretrained, self._source.load)
        else:
            assert digest is not None
            graph = graph_of(self._source.load(), digest)
        return OnnxEngine(graph, batch_size=self._batch_size)

    def _make_keras(self, _: str | None) -> Engine:
        return self._keras_engine_of(self._source.load)

    def _make_frames(self, _: str | None) -> Engine:
        original = self._source.load()
        from musicnn_zoo.runtimes.variants import framewise_model

        model = framewise_model(original)
        return self._keras_engine_of(lambda: model)

    def _keras_engine_of(self, load: Callable[[], Any]) -> Engine:
        from musicnn_zoo.runtimes.keras_engine import KerasEngine

        def make() -> Any:
            from musicnn_zoo.runtimes.variants import remake, with_precision

            model = load()
            if self._on_several and self._precision == "float32":
                return remake(model)
            return with_precision(model, self._precision)

        return KerasEngine(make, device=self._device, batch_size=self._batch_size)


def _made_again(model: Pretrained | TaggingModel, options: dict[str, Any]) -> Tagger:
    return Tagger(model, **options)


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
        Length of a patch in seconds; by default what the model was trained on: 2.992 s (187
        frames) for musicnn and vgg. vgg takes no other.
    hop_s : float, optional
        Distance between the starts of two patches in seconds; by default one patch. 1 s becomes
        61 frames, 0.976 s (see :mod:`musicnn_zoo.networks.patches`).
    tail : {"drop", "pad"}
        What to do with the end that does not fill a patch: drop it (default), or repeat it
        until it fills one. A clip shorter than one patch is always repeated to fill one,
        and the result says so in ``clip.repeated``.
    silence : {"skip", "keep"}
        Leave silent patches out of means and events, since what a model says of silence is noise
        (default), or treat them as any other, as the original musicnn does. A patch is silent if
        its RMS level is below -60 dBFS; ``clip.silent`` is the share of those that are. The mean
        embedding of a clip that is silent throughout is that of all its patches.
    offset, duration : float
        Hear only an excerpt, as ``librosa.load`` does: from ``offset`` seconds on, at most
        ``duration`` seconds; by default all. Times count from the start of the excerpt, whose
        length is that of the ``clip``.
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

    @answered
    def __init__(
        self,
        model: str | os.PathLike[str] | Pretrained | TaggingModel | Tagger = DEFAULT_MODEL,
        *,
        engine: EngineName = "auto",
        device: str | None = None,
        precision: Precision = "float32",
        batch_size: int | None = None,
    ) -> None:
        if batch_size is not None:
            check_whole("batch_size", batch_size)
        check_engine(engine, device)
        self._options: dict[str, Any] = {
            "engine": engine,
            "device": device,
            "precision": precision,
            "batch_size": batch_size,
        }
        made_of: Any = model._made_of() if isinstance(model, Tagger) else model
        self._source: _Source = _Source(made_of)
        self.spec: ModelSpec = self._source.spec
        self._engines = _Engines(self._source, **self._options)
        self._engines.get()

    def __repr__(self) -> str:
        grid = self.spec.config.grid
        return (
            f"<Tagger {self.spec.name}: {len(self.tags)} tags of patches of {grid.patch_s:.3f} s "
            f"at {grid.sample_rate} Hz, by {self.engine}>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what it was made of; the copy loads its model again."""
        return _made_again, (self._made_of(), self._options)

    def _made_of(self) -> Pretrained | TaggingModel:
        return self._source.pretrained or self._source.load()

    def __enter__(self) -> Tagger:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the engines, and of the Keras model of a pretrained one.

        The next call makes them again.
        """
        self._engines.close()
        self._source.close()

    @property
    def engine(self) -> str:
        """What computes single files: ``"onnxruntime"``, or the name of Keras's backend."""
        return self._engines.get().name

    @property
    def model(self) -> TaggingModel:
        """The Keras model; a pretrained one is loaded when it is first asked for."""
        return self._source.load()

    @property
    def folder(self) -> Path | None:
        """Folder that the model was loaded from or trained into; None if there is none."""
        return self._source.folder

    @property
    def tags(self) -> tuple[str, ...]:
        """The model's tags, in the order of its outputs."""
        return self.spec.tags

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Layers that :meth:`features` returns by default, in order of depth."""
        return self.spec.config.endpoints

    @answered
    def tag(
        self, audio: AudioSource, *, sample_rate: int | None = None,
        top_k: int | None = None, threshold: float | Calibrated | None = None,
        patch_s: float | None = None, hop_s: float | None = None, tail: Tail = "drop",
        silence: Silence = "skip", offset: float = 0.0, duration: float | None = None,
        damaged: OnDamage = "refuse", isolate: bool = False,
    ) -> Tags:  # fmt: skip
        """Ranked tags of a whole clip; see :func:`musicnn_zoo.tag`."""
        cutting = self._cutting(patch_s, hop_s, tail)
        task = tags_task(self.spec, cutting, top_k=top_k, threshold=threshold, silence=silence)
        reading = Reading(damaged, isolate, offset, duration)
        return self._one(audio, sample_rate, task, reading, "tag")

    __call__ = tag

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            raise unknown_attribute(self, name)

    @answered
    def taggram(
        self, audio: AudioSource, *, sample_rate: int | None = None,
        patch_s: float | None = None, hop_s: float | None = None, tail: Tail = "drop",
        offset: float = 0.0, duration: float | None = None,
        damaged: OnDamage = "refuse", isolate: bool = False,
    ) -> Taggram:  # fmt: skip
        """Scores over time; see :func:`musicnn_zoo.taggram`."""
        task = taggram_task(self.spec, self._cutting(patch_s, hop_s, tail))
        reading = Reading(damaged, isolate, offset, duration)
        return self._one(audio, sample_rate, task, reading, "taggram")

    @answered
    def frames(
        self, audio: AudioSource, *, sample_rate: int | None = None,
        patch_s: float | None = None, tail: Tail = "drop",
        offset: float = 0.0, duration: float | None = None,
        damaged: OnDamage = "refuse", isolate: bool = False,
    ) -> Taggram:  # fmt: skip
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
        cutting = self._cutting(patch_s, None, tail)
        task = taggram_task(self.spec, cutting, framewise=True)
        reading = Reading(damaged, isolate, offset, duration)
        return self._one(audio, sample_rate, task, reading, "frames")

    @answered
    def events(
        self, audio: AudioSource, *, sample_rate: int | None = None,
        threshold: float = DEFAULT_THRESHOLD,
        release: float | None = None, min_length_s: float = 0.0,
        patch_s: float | None = None, hop_s: float | None = None, tail: Tail = "drop",
        silence: Silence = "skip", offset: float = 0.0, duration: float | None = None,
        damaged: OnDamage = "refuse", isolate: bool = False,
    ) -> Events:  # fmt: skip
        """When each tag begins and ends; see :func:`musicnn_zoo.events`."""
        task = self._events_task(
            patch_s, hop_s, tail, threshold=threshold, release=release, min_length_s=min_length_s,
            silence=silence,
        )  # fmt: skip
        reading = Reading(damaged, isolate, offset, duration)
        return self._one(audio, sample_rate, task, reading, "events")

    @answered
    def embed(
        self, audio: AudioSource, *, sample_rate: int | None = None,
        layer: str = "penultimate", pooling: Pooling = "mean",
        patch_s: float | None = None, hop_s: float | None = None, tail: Tail = "drop",
        silence: Silence = "skip", offset: float = 0.0, duration: float | None = None,
        damaged: OnDamage = "refuse", isolate: bool = False,
    ) -> Embedding:  # fmt: skip
        """Activations of one layer as vectors; see :func:`musicnn_zoo.embed`."""
        cutting = self._cutting(patch_s, hop_s, tail)
        task = embedding_task(self.spec, cutting, layer=layer, pooling=pooling, silence=silence)
        reading = Reading(damaged, isolate, offset, duration)
        return self._one(audio, sample_rate, task, reading, "embed")

    @answered
    def features(
        self, audio: AudioSource, *, sample_rate: int | None = None,
        layers: Sequence[str] | None = None,
        patch_s: float | None = None, hop_s: float | None = None, tail: Tail = "drop",
        offset: float = 0.0, duration: float | None = None,
        damaged: OnDamage = "refuse", isolate: bool = False,
    ) -> Features:  # fmt: skip
        """Activations of several layers; see :func:`musicnn_zoo.features`."""
        if isinstance(layers, str):
            layers = (layers,)
        if not isinstance(layers, Iterable | None):
            raise ArgumentError(f"layers must be names of layers; received {shown(layers)}")
        chosen = self.endpoints if layers is None else tuple(dict.fromkeys(layers))
        if not chosen:
            raise ArgumentError("layers must name at least one layer; received none")
        task = features_task(self.spec, self._cutting(patch_s, hop_s, tail), chosen)
        reading = Reading(damaged, isolate, offset, duration)
        return self._one(audio, sample_rate, task, reading, "features")

    @answered
    def tag_files(
        self, paths: Paths, *,
        top_k: int | None = None, threshold: float | Calibrated | None = None,
        patch_s: float | None = None, hop_s: float | None = None, tail: Tail = "drop",
        silence: Silence = "skip", offset: float = 0.0, duration: float | None = None,
        damaged: OnDamage = "refuse", isolate: bool = True,
        jobs: int | None = None, progress: bool | OnHeard = False,
    ) -> Iterator[FileResult[Tags]]:  # fmt: skip
        """Ranked tags of many files; see :func:`musicnn_zoo.tag_files`."""
        cutting = self._cutting(patch_s, hop_s, tail)
        task = tags_task(self.spec, cutting, top_k=top_k, threshold=threshold, silence=silence)
        reading = Reading(damaged, isolate, offset, duration)
        return self._many(paths, task, reading, jobs, progress, "tag_files")

    @answered
    def taggram_files(
        self, paths: Paths, *,
        patch_s: float | None = None, hop_s: float | None = None, tail: Tail = "drop",
        offset: float = 0.0, duration: float | None = None,
        damaged: OnDamage = "refuse", isolate: bool = True,
        jobs: int | None = None, progress: bool | OnHeard = False,
    ) -> Iterator[FileResult[Taggram]]:  # fmt: skip
        """Scores over time of many files; see :func:`musicnn_zoo.tag_files`."""
        task = taggram_task(self.spec, self._cutting(patch_s, hop_s, tail))
        reading = Reading(damaged, isolate, offset, duration)
        return self._many(paths, task, reading, jobs, progress, "taggram_files")

    @answered
    def events_files(
        self, paths: Paths, *,
        threshold: float = DEFAULT_THRESHOLD,
        release: float | None = None, min_length_s: float = 0.0,
        patch_s: float | None = None, hop_s: float | None = None, tail: Tail = "drop",
        silence: Silence = "skip", offset: float = 0.0, duration: float | None = None,
        damaged: OnDamage = "refuse", isolate: bool = True,
        jobs: int | None = None, progress: bool | OnHeard = False,
    ) -> Iterator[FileResult[Events]]:  # fmt: skip
        """When each tag begins and ends in many files; see :func:`musicnn_zoo.events`."""
        task = self._events_task(
            patch_s, hop_s, tail, threshold=threshold, release=release, min_length_s=min_length_s,
            silence=silence,
        )  # fmt: skip
        reading = Reading(damaged, isolate, offset, duration)
        return self._many(paths, task, reading, jobs, progress, "events_files")

    def embedded_tags_files(
        self, paths: Paths, *,
        layer: str | Sequence[str] = "penultimate",
        patch_s: float | None = None, hop_s: float | None = None, tail: Tail = "drop",
        silence: Silence = "skip", offset: float = 0.0, duration: float | None = None,
        damaged: OnDamage = "refuse", isolate: bool = True,
        jobs: int | None = None, progress: bool | OnHeard = False,
    ) -> Iterator[FileResult[EmbeddedTags]]:  # fmt: skip
        """Mean embeddings and strongest tag of many files, each file read and computed once.

        ``layer`` may be several.
        """
        cutting = self._cutting(patch_s, hop_s, tail)
        layers = (layer,) if isinstance(layer, str) else tuple(dict.fromkeys(layer))
        task = embedded_tags_task(self.spec, cutting, layers=layers, silence=silence)
        reading = Reading(damaged, isolate, offset, duration)
        return self._many(paths, task, reading, jobs, progress, "embedded_tags_files")

    @answered
    def embed_files(
        self, paths: Paths, *,
        layer: str = "penultimate", pooling: Pooling = "mean",
        patch_s: float | None = None, hop_s: float | None = None, tail: Tail = "drop",
        silence: Silence = "skip", offset: float = 0.0, duration: float | None = None,
        damaged: OnDamage = "refuse", isolate: bool = True,
        jobs: int | None = None, progress: bool | OnHeard = False,
    ) -> Iterator[FileResult[Embedding]]:  # fmt: skip
        """Embeddings of many files; see :func:`musicnn_zoo.embed_files`."""
        cutting = self._cutting(patch_s, hop_s, tail)
        task = embedding_task(self.spec, cutting, layer=layer, pooling=pooling, silence=silence)
        reading = Reading(damaged, isolate, offset, duration)
        return self._many(paths, task, reading, jobs, progress, "embed_files")

    @answered
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
        grid = self._cutting(patch_s, hop_s, tail).grid
        return TaggramStream(
            self.spec, self._engines.get(), grid, sample_rate=sample_rate, tail=tail
        )

    def engine_for(self, layers: tuple[str, ...], *, many: bool = False) -> Engine:
        """Return what computes layers; for the rooms of this package that run it themselves.

        With ``many`` files, a model of one's own is worth converting.

        Raises
        ------
        UnknownNameError
            If the model has no such layer.
        ArgumentError
            If it has, but its ONNX graph has not, and ``engine="onnxruntime"`` was chosen.

        :meta private:
        """
        for layer in layers:
            if not isinstance(layer, str):
                raise ArgumentError(f"layer must be the name of one layer; received {shown(layer)}")
        engine = self._engines.get(many=many)
        missing = engine.missing(layers)
        if not missing:
            return engine
        if self._source.pretrained is not None:
            stated = layer_names(self.spec.config)
            if stated and missing[0] not in stated:
                raise UnknownNameError(f"layer of {self.spec.name}", missing[0], stated)
            require_keras(
                f"layer {missing[0]!r}, none of the endpoints of {self.spec.name} "
                f"({', '.join(self.endpoints)}),"
            )
        if engine.name == "onnxruntime" and self._engines.automatic:
            in_keras = self._engines.keras.get()
            if not in_keras.missing(layers):
                _log.info("%s is no endpoint: Keras computes it", ", ".join(missing))
                return in_keras
        known = tuple(layer.name for layer in self.model.layers)
        if engine.name == "onnxruntime" and missing[0] in known:
            raise ArgumentError(
                f"layer {missing[0]!r} of {self.spec.name} is no output of its ONNX graph, which "
                f"has {', '.join(self.endpoints)}; leave out engine='onnxruntime'"
            )
        raise UnknownNameError(f"layer of {self.spec.name}", missing[0], known)

    def _cutting(self, patch_s: float | None, hop_s: float | None, tail: Tail) -> Cutting:
        return Cutting(self.spec.config.grid.of_lengths(patch_s, hop_s), tail)

    def _events_task(
        self, patch_s: float | None, hop_s: float | None, tail: Tail, **rule: Any
    ) -> Task[Events]:
        """Find events in frames, where there are any, or in patches."""
        backend = block_spec(self.spec.config.backend.kind, "backend")
        framewise = backend.framewise is not None and hop_s is None
        cutting = self._cutting(patch_s, hop_s, tail)
        return events_task(self.spec, cutting, framewise=framewise, **rule)

    def _one(
        self,
        audio: AudioSource,
        sample_rate: int | None,
        task: Task[Result],
        reading: Reading,
        call: str,
    ) -> Result:
        rate = task.cutting.grid.sample_rate
        try:
            stream = AudioStream(
                audio, sample_rate=sample_rate, target_rate=rate, **reading._asdict()
            )
            (result,) = process([stream], task, engine=self._engine_of(task), jobs=1)
            return result.unwrap()
        except AudioError:
            many = f"{call}_files"
            if call in ("taggram", "events"):
                many = f"Tagger().{many}"
            check_one(audio, call, many if call != "features" and call != "frames" else None)
            raise

    def _many(
        self,
        paths: Paths,
        task: Task[Result],
        reading: Reading,
        jobs: int | None,
        progress: bool | OnHeard,
        call: str,
    ) -> Iterator[FileResult[Result]]:
        if isinstance(paths, str | os.PathLike):
            given = place_of(paths)
            hint = f"for one file, {call.removesuffix('_files')}({given!r})"
            if not as_address(given) and is_folder(local_path(given)):
                hint = f"those in a folder: find_audio({given!r})"
            elif "*" in given and as_address(given):
                hint = f"those that fit a pattern: find_audio({given!r})"
            elif "*" in given:
                hint = f"those that fit a pattern: glob.glob({given!r}, recursive=True)"
            raise ArgumentError(f"paths must be several; received one, {given!r}: {hint}")
        if not isinstance(paths, Iterable):
            raise ArgumentError(f"paths must be an iterable of paths; received {shown(paths)}")
        rate = task.cutting.grid.sample_rate
        streams = streams_of(paths, rate, reading)
        engine = self._engine_of(task, many=True)
        on_heard = progress if callable(progress) else None
        total = len(paths) if isinstance(paths, Sized) else None
        if progress and on_heard is None and total == 1:
            (path,) = paths
            return _with_seconds(
                path, lambda heard: process(streams, task, engine=engine, jobs=jobs, on_heard=heard)
            )
        results = process(streams, task, engine=engine, jobs=jobs, on_heard=on_heard)
        if not progress or on_heard is not None:
            return results
        from tqdm import tqdm

        return iter(tqdm(results, total=total, unit="file", leave=False))

    def _engine_of(self, task: Task[Any], *, many: bool = False) -> Engine:
        if task.framewise:
            return self._engines.frames.get()
        return self.engine_for(task.layers, many=many)
