"""One call for one file, and one for many."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from musicnn_zoo.errors import ArgumentError, answered
from musicnn_zoo.machine.processes import ForkedLock
from musicnn_zoo.networks.config import Calibrated
from musicnn_zoo.networks.patches import Tail
from musicnn_zoo.runtimes.engine import EngineName, check_engine
from musicnn_zoo.sound.read import OnDamage
from musicnn_zoo.sound.sources import AudioSource
from musicnn_zoo.tagging.pipeline import OnHeard, Pooling
from musicnn_zoo.tagging.results import (
    DEFAULT_THRESHOLD,
    Embedding,
    Events,
    Features,
    FileResult,
    Silence,
    Taggram,
    Tags,
)
from musicnn_zoo.tagging.tagger import Paths, Tagger, check_model
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL, PRESETS
from musicnn_zoo.zoo.folder import folder_stamp

if TYPE_CHECKING:
    from musicnn_zoo.networks.build import TaggingModel


ModelLike: TypeAlias = "str | os.PathLike[str] | TaggingModel | Tagger"

_KEPT = 4
_KEPT_WITH_MODEL = "_musicnn_zoo_taggers"


class _KeptTagger:
    """A Tagger that was made, or is to be made by the first who needs it.

    Parameters
    ----------
    last_use : int
        Number of the last call that took it, over all.
    kept_alive : object
        What must live as long, so that nothing else gets its identity.
    """

    def __init__(self, last_use: int, kept_alive: object) -> None:
        self.tagger: Tagger | None = None
        self.lock = ForkedLock()
        self.last_use = last_use
        self.kept_alive = kept_alive


class _Taggers:
    """The Taggers that were used last."""

    def __init__(self) -> None:
        self._lock = ForkedLock()
        self._kept: dict[tuple[object, ...], _KeptTagger] = {}
        self._uses = itertools.count()

    def get(
        self,
        model: str | TaggingModel,
        version: tuple[object, ...],
        engine: EngineName,
        device: str | None,
        *,
        kept_alive: object = None,
    ) -> Tagger:
        """Return the Tagger of a model as it is now; make it, if there is none."""
        key = (*version, engine, device)
        kept = self._kept.get(key) or self._add(key, kept_alive)
        kept.last_use = next(self._uses)
        if kept.tagger is None:
            with kept.lock:  # others wait for this Tagger only
                try:
                    kept.tagger = kept.tagger or Tagger(model, engine=engine, device=device)
                except BaseException:
                    with self._lock:
                        self._kept.pop(key, None)
                    raise
        return kept.tagger

    def _add(self, key: tuple[object, ...], kept_alive: object) -> _KeptTagger:
        with self._lock:
            kept = self._kept.setdefault(key, _KeptTagger(next(self._uses), kept_alive))
            if len(self._kept) > _KEPT:
                del self._kept[min(self._kept, key=lambda each: self._kept[each].last_use)]
            return kept


_of_places = _Taggers()


def shared_tagger(model: ModelLike, engine: EngineName, device: str | None) -> Tagger:
    """Return a Tagger that is kept between calls, for a model however it is named.

    That of a model object is kept with the model and ends with it. It has the weights that the
    model has at each call; a model that was given other variables or another spec gets a new one.
    """
    check_engine(engine, device)
    if isinstance(model, str | os.PathLike):
        place = os.fspath(model)
        stamp = () if place in PRESETS else folder_stamp(place)
        return _of_places.get(place, (place, *stamp), engine, device)
    if isinstance(model, Tagger):
        if device is not None or engine != "auto":
            raise ArgumentError(
                "engine and device are chosen when a Tagger is made: pass them to it"
            )
        return model
    check_model(model)
    # Past Keras, which would take it for a part of the model.
    taggers: _Taggers = model.__dict__.setdefault(_KEPT_WITH_MODEL, _Taggers())
    parts = (model.thresholds, *model.weights)
    version = (repr(model.spec), *map(id, parts))
    return taggers.get(model, version, engine, device, kept_alive=parts)


@answered
def tag(
    audio: AudioSource, *, model: ModelLike = DEFAULT_MODEL, sample_rate: int | None = None,
    top_k: int | None = None, threshold: float | Calibrated | None = None,
    patch_s: float | None = None, hop_s: float | None = None, tail: Tail = "drop",
    silence: Silence = "skip", offset: float = 0.0, duration: float | None = None,
    damaged: OnDamage = "refuse", isolate: bool = False,
    engine: EngineName = "auto", device: str | None = None,
) -> Tags:  # fmt: skip
    """Ranked tags of a clip with their scores.

    The scores are the model's sigmoid outputs, averaged over the patches of the clip.

    Parameters
    ----------
    audio : path, bytes, binary file object, array, or (array, rate)
        An array is ``(samples,)`` or ``(channels, samples)`` and needs ``sample_rate``; it may be
        a tensor. See :func:`musicnn_zoo.sound.sources.as_source` for all forms.
    model : str, path, TaggingModel or Tagger
        Name of a pretrained model, ``hf://user/repository`` or a folder (see
        :func:`musicnn_zoo.load_model`), a model of one's own, or a loaded :class:`Tagger`. A
        model given by name or place is loaded once and kept, a model of one's own is made ready
        once.
    sample_rate : int, optional
        Of an array, in Hz.
    top_k : int, optional
        Keep the best ``top_k`` tags.
    threshold : float or "calibrated", optional
        Keep tags with a score of at least ``threshold``, between 0 and 1; or of at least the
        model's own threshold for each tag, which :func:`musicnn_zoo.with_thresholds` gives it.
        With neither ``top_k`` nor ``threshold``, the best five tags are kept.
    patch_s, hop_s, tail, silence, offset, duration, damaged, isolate, engine, device
        See :class:`Tagger`.

    Returns
    -------
    Tags
        A sequence of (tag, score), best first; and a mapping from every tag to its score.

    Raises
    ------
    AudioError
        If the audio cannot be used.
    UnknownNameError
        If there is no model of that name.
    ArgumentError
        If another argument cannot be used.

    References
    ----------
    Pons, Serra. "musicnn: Pre-trained convolutional neural networks for music audio
    tagging." ISMIR late-breaking 2019.

    Examples
    --------
    >>> import musicnn_zoo
    >>> tags = musicnn_zoo.tag("examples/audio/bach_prelude_harpsichord.ogg")
    >>> tags.names[:2]
    ('harpsichord', 'classical')
    """
    return shared_tagger(model, engine, device).tag(
        audio, sample_rate=sample_rate, top_k=top_k, threshold=threshold,
        patch_s=patch_s, hop_s=hop_s, tail=tail, silence=silence,
        offset=offset, duration=duration, damaged=damaged, isolate=isolate,
    )  # fmt: skip


@answered
def taggram(
    audio: AudioSource, *, model: ModelLike = DEFAULT_MODEL, sample_rate: int | None = None,
    patch_s: float | None = None, hop_s: float | None = None, tail: Tail = "drop",
    offset: float = 0.0, duration: float | None = None,
    damaged: OnDamage = "refuse", isolate: bool = False,
    engine: EngineName = "auto", device: str | None = None,
) -> Taggram:  # fmt: skip
    """Scores of all tags over time, one row a patch.

    Parameters
    ----------
    audio, model, sample_rate
        See :func:`tag`, whose errors they raise.
    patch_s, hop_s, tail, offset, duration, damaged, isolate, engine, device
        See :class:`Tagger`.

    Returns
    -------
    Taggram
        ``scores`` (patches, tags) between 0 and 1, ``times`` (patches,) in seconds.
    """
    return shared_tagger(model, engine, device).taggram(
        audio, sample_rate=sample_rate, patch_s=patch_s, hop_s=hop_s, tail=tail,
        offset=offset, duration=duration, damaged=damaged, isolate=isolate,
    )  # fmt: skip


@answered
def events(
    audio: AudioSource, *, model: ModelLike = DEFAULT_MODEL, sample_rate: int | None = None,
    threshold: float = DEFAULT_THRESHOLD,
    release: float | None = None, min_length_s: float = 0.0,
    patch_s: float | None = None, hop_s: float | None = None, tail: Tail = "drop",
    silence: Silence = "skip", offset: float = 0.0, duration: float | None = None,
    damaged: OnDamage = "refuse", isolate: bool = False,
    engine: EngineName = "auto", device: str | None = None,
) -> Events:  # fmt: skip
    """When each tag begins and ends: sound events from a model of whole clips.

    Back-ends that have scores of single frames (autopool, attention) give events as sharp as
    their frames; with the others, and where ``hop_s`` is given, events are made of the rows of
    the taggram.

    Parameters
    ----------
    audio, model, sample_rate
        See :func:`tag`, whose errors they raise.
    patch_s, hop_s, tail, silence, offset, duration, damaged, isolate, engine, device
        See :class:`Tagger`.
    threshold : float
        Score that begins an event, between 0 and 1.
    release : float, optional
        Score that it must keep; by default 0.8 × ``threshold``.
    min_length_s : float
        Shortest event in seconds.

    Returns
    -------
    Events
        A sequence of (tag, start_s, end_s, score), by start.

    References
    ----------
    McFee, Salamon, Bello. "Adaptive pooling operators for weakly labeled sound event
    detection." 2018.
    """
    return shared_tagger(model, engine, device).events(
        audio, sample_rate=sample_rate, threshold=threshold, release=release,
        min_length_s=min_length_s, patch_s=patch_s, hop_s=hop_s, tail=tail, silence=silence,
        offset=offset, duration=duration, damaged=damaged, isolate=isolate,
    )  # fmt: skip


@answered
def embed(
    audio: AudioSource, *, model: ModelLike = DEFAULT_MODEL, sample_rate: int | None = None,
    layer: str = "penultimate", pooling: Pooling = "mean",
    patch_s: float | None = None, hop_s: float | None = None, tail: Tail = "drop",
    silence: Silence = "skip", offset: float = 0.0, duration: float | None = None,
    damaged: OnDamage = "refuse", isolate: bool = False,
    engine: EngineName = "auto", device: str | None = None,
) -> Embedding:  # fmt: skip
    """Activations of one layer as vectors, for transfer learning.

    Parameters
    ----------
    audio, model, sample_rate
        See :func:`tag`, whose errors they raise.
    patch_s, hop_s, tail, silence, offset, duration, damaged, isolate, engine, device
        See :class:`Tagger`.
    layer : str
        Any layer of the model; the default is what the output layer receives: 200
        dimensions of musicnn, 256 of vgg. Where a layer has a time or band
        axis inside the patch, it is pooled in the same way as the patches (by the mean if
        ``pooling`` is None).
    pooling : {"mean", "max"} or None
        One vector for the clip, or with None one for each patch.

    Returns
    -------
    Embedding
        ``values`` of shape (dimensions,), or (patches, dimensions) if ``pooling`` is None.
    """
    return shared_tagger(model, engine, device).embed(
        audio, sample_rate=sample_rate, layer=layer, pooling=pooling,
        patch_s=patch_s, hop_s=hop_s, tail=tail, silence=silence,
        offset=offset, duration=duration, damaged=damaged, isolate=isolate,
    )  # fmt: skip


@answered
def features(
    audio: AudioSource, *, model: ModelLike = DEFAULT_MODEL, sample_rate: int | None = None,
    layers: Sequence[str] | None = None,
    patch_s: float | None = None, hop_s: float | None = None, tail: Tail = "drop",
    offset: float = 0.0, duration: float | None = None,
    damaged: OnDamage = "refuse", isolate: bool = False,
    engine: EngineName = "auto", device: str | None = None,
) -> Features:  # fmt: skip
    """Activations of several layers, as they are.

    Parameters
    ----------
    audio, model, sample_rate
        See :func:`tag`, whose errors they raise.
    patch_s, hop_s, tail, offset, duration, damaged, isolate, engine, device
        See :class:`Tagger`.
    layers : sequence of str, optional
        Any layers of the model; by default its endpoints: ``timbral, temporal, cnn1, cnn2,
        cnn3, mean_pool, max_pool, penultimate`` of musicnn, ``pool1`` … ``pool5,
        penultimate`` of vgg.

    Returns
    -------
    Features
        A mapping from layer name to an array (patches, …).
    """
    return shared_tagger(model, engine, device).features(
        audio, sample_rate=sample_rate, layers=layers, patch_s=patch_s, hop_s=hop_s, tail=tail,
        offset=offset, duration=duration, damaged=damaged, isolate=isolate,
    )  # fmt: skip


@answered
def tag_files(
    paths: Paths, *, model: ModelLike = DEFAULT_MODEL,
    top_k: int | None = None, threshold: float | Calibrated | None = None,
    patch_s: float | None = None, hop_s: float | None = None, tail: Tail = "drop",
    silence: Silence = "skip", offset: float = 0.0, duration: float | None = None,
    damaged: OnDamage = "refuse", isolate: bool = True,
    engine: EngineName = "auto", device: str | None = None,
    jobs: int | None = None, progress: bool | OnHeard = False,
) -> Iterator[FileResult[Tags]]:  # fmt: skip
    """Ranked tags of many files, as they are ready.

    Files are read ahead in threads, and their patches share batches. Nothing but the results
    that were not taken yet is kept, so that any number of files will do.

    Parameters
    ----------
    paths : iterable of path
        May be a generator; for the files of a directory see
        :func:`musicnn_zoo.find_audio`.
    model, top_k, threshold
        See :func:`tag`.
    patch_s, hop_s, tail, silence, offset, duration, damaged, isolate, engine, device
        See :class:`Tagger`. Errors are those of :func:`tag`, except those of a file, which are in
        its result.
    jobs : int, optional
        Threads that read files; by default one a core up to 8, then one for three cores.
    progress : bool or callable
        Show a progress bar on standard error: files, or of one file its seconds. A function is
        called instead, by other threads, with the source of a file and how many seconds of it
        are computed.

    Yields
    ------
    FileResult
        In the order of ``paths``: the file as ``source``, and either its :class:`Tags` as
        ``value`` or what went wrong with it as ``error``.

    Examples
    --------
    >>> import musicnn_zoo
    >>> for result in musicnn_zoo.tag_files(musicnn_zoo.find_audio("examples/audio")):
    ...     print(result.source, result.value.names[0] if result.value else result.error)
    examples/audio/bach_chorale_strings.ogg classical
    examples/audio/bach_prelude_harpsichord.ogg harpsichord
    examples/audio/techno_loop.ogg techno
    """
    return shared_tagger(model, engine, device).tag_files(
        paths, top_k=top_k, threshold=threshold, patch_s=patch_s, hop_s=hop_s,
        tail=tail, silence=silence,
        offset=offset, duration=duration, damaged=damaged, isolate=isolate,
        jobs=jobs, progress=progress,
    )  # fmt: skip


@answered
def embed_files(
    paths: Paths, *, model: ModelLike = DEFAULT_MODEL,
    layer: str = "penultimate", pooling: Pooling = "mean",
    patch_s: float | None = None, hop_s: float | None = None, tail: Tail = "drop",
    silence: Silence = "skip", offset: float = 0.0, duration: float | None = None,
    damaged: OnDamage = "refuse", isolate: bool = True,
    engine: EngineName = "auto", device: str | None = None,
    jobs: int | None = None, progress: bool | OnHeard = False,
) -> Iterator[FileResult[Embedding]]:  # fmt: skip
    """Embeddings of many files, as they are ready.

    Parameters
    ----------
    layer, pooling
        See :func:`embed`.
    paths, model, patch_s, hop_s, tail, silence, offset, duration,
    damaged, isolate, engine, device, jobs, progress
        See :func:`tag_files`. Errors are those of :func:`tag_files`.

    Yields
    ------
    FileResult
        In the order of ``paths``: the file as ``source``, and either its :class:`Embedding` as
        ``value`` or what went wrong with it as ``error``.
    """
    return shared_tagger(model, engine, device).embed_files(
        paths, layer=layer, pooling=pooling, patch_s=patch_s, hop_s=hop_s,
        tail=tail, silence=silence,
        offset=offset, duration=duration, damaged=damaged, isolate=isolate,
        jobs=jobs, progress=progress,
    )  # fmt: skip
