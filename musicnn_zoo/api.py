"""One call for one file: tag, taggram, events, embed, features."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from musicnn_zoo.audio import AudioSource
from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.patches import Tail
from musicnn_zoo.presets import DEFAULT_MODEL
from musicnn_zoo.results import Embedding, Features, Taggram, Tags
from musicnn_zoo.sound_events import DEFAULT_THRESHOLD, Event
from musicnn_zoo.tagger import Pooling, Tagger

if TYPE_CHECKING:
    from musicnn_zoo.models import TaggingModel

_loading = threading.Lock()


@lru_cache(maxsize=4)
def _cached_tagger(model: str, device: str | None) -> Tagger:
    return Tagger(model, device=device)


def _tagger(model: str | TaggingModel | Tagger, device: str | None) -> Tagger:
    if isinstance(model, str):
        with _loading:
            return _cached_tagger(model, device)
    if isinstance(model, Tagger):
        if device is not None:
            raise ArgumentError("device is chosen when a Tagger is made; received both")
        return model
    return Tagger(model, device=device)


def tag(
    audio: AudioSource,
    *,
    model: str | TaggingModel | Tagger = DEFAULT_MODEL,
    sample_rate: int | None = None,
    top_k: int | None = None,
    threshold: float | None = None,
    patch_s: float | None = None,
    hop_s: float | None = None,
    tail: Tail = "drop",
    device: str | None = None,
) -> Tags:
    """Ranked tags of a clip with their scores.

    The scores are the model's sigmoid outputs, averaged over the patches of the clip.

    Parameters
    ----------
    audio : path, binary file object, or ndarray
        An array is ``(samples,)`` or ``(channels, samples)`` and needs ``sample_rate``.
    model : str, TaggingModel or Tagger
        Name of a pretrained model, a model of one's own, or a loaded :class:`Tagger`. A
        model given by name is loaded once and kept.
    sample_rate : int, optional
        Of an array, in Hz.
    top_k : int, optional
        Keep the best ``top_k`` tags.
    threshold : float, optional
        Keep tags with a score of at least ``threshold``, between 0 and 1.
        With neither ``top_k`` nor ``threshold``, the best five tags are kept.
    patch_s, hop_s, tail, device
        See :class:`Tagger`.

    Returns
    -------
    Tags
        A sequence of (tag, score), best first.

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
    return _tagger(model, device).tag(
        audio, sample_rate=sample_rate, top_k=top_k, threshold=threshold,
        patch_s=patch_s, hop_s=hop_s, tail=tail,
    )  # fmt: skip


def taggram(
    audio: AudioSource,
    *,
    model: str | TaggingModel | Tagger = DEFAULT_MODEL,
    sample_rate: int | None = None,
    patch_s: float | None = None,
    hop_s: float | None = None,
    tail: Tail = "drop",
    device: str | None = None,
) -> Taggram:
    """Scores of all tags over time, one row a patch.

    Parameters
    ----------
    audio, model, sample_rate
        As in :func:`tag`.
    patch_s : float, optional
        Length of a patch in seconds; by default 2.992 s (187 frames), what musicnn and vgg
        were trained on. vgg takes no other.
    hop_s : float, optional
        Distance between the starts of two patches in seconds; by default one patch. 1 s
        becomes 61 frames, 0.976 s (see :mod:`musicnn_zoo.patches`).
    tail, device
        See :class:`Tagger`.

    Returns
    -------
    Taggram
        ``scores`` (patches, tags) between 0 and 1, ``times`` (patches,) in seconds.

    Raises
    ------
    AudioError, UnknownNameError, ArgumentError
        As in :func:`tag`.
    """
    return _tagger(model, device).taggram(
        audio, sample_rate=sample_rate, patch_s=patch_s, hop_s=hop_s, tail=tail
    )


def events(
    audio: AudioSource,
    *,
    model: str | TaggingModel | Tagger = DEFAULT_MODEL,
    sample_rate: int | None = None,
    threshold: float = DEFAULT_THRESHOLD,
    release: float | None = None,
    min_length_s: float = 0.0,
    hop_s: float | None = None,
    tail: Tail = "drop",
    device: str | None = None,
) -> tuple[Event, ...]:
    """When each tag begins and ends: sound events from a model of whole clips.

    Back-ends that have scores of single frames (autopool, attention) give events as sharp as
    their frames; with the others, and where ``hop_s`` is given, events are made of the rows of
    the taggram.

    Parameters
    ----------
    audio, model, sample_rate
        As in :func:`tag`.
    threshold : float
        Score that begins an event, between 0 and 1.
    release : float, optional
        Score that it must keep; by default 0.8 × ``threshold``.
    min_length_s : float
        Shortest event in seconds.
    hop_s, tail, device
        See :class:`Tagger`.

    Returns
    -------
    tuple of Event
        (tag, start_s, end_s, score), by start.

    Raises
    ------
    AudioError, UnknownNameError, ArgumentError
        As in :func:`tag`.

    References
    ----------
    McFee, Salamon, Bello. "Adaptive pooling operators for weakly labeled sound event
    detection." 2018.
    """
    return _tagger(model, device).events(
        audio, sample_rate=sample_rate, threshold=threshold, release=release,
        min_length_s=min_length_s, hop_s=hop_s, tail=tail,
    )  # fmt: skip


def embed(
    audio: AudioSource,
    *,
    model: str | TaggingModel | Tagger = DEFAULT_MODEL,
    sample_rate: int | None = None,
    layer: str = "penultimate",
    pooling: Pooling = "mean",
    patch_s: float | None = None,
    hop_s: float | None = None,
    tail: Tail = "drop",
    device: str | None = None,
) -> Embedding:
    """Activations of one layer as vectors, for transfer learning.

    Parameters
    ----------
    audio, model, sample_rate
        As in :func:`tag`.
    layer : str
        Any layer of the model; the default is what the output layer receives: 200
        dimensions of musicnn, 256 of vgg. Where a layer has a time or band
        axis inside the patch, it is pooled in the same way as the patches (by the mean if
        ``pooling`` is None).
    pooling : {"mean", "max"} or None
        One vector for the clip, or with None one for each patch.
    patch_s, hop_s, tail, device
        See :class:`Tagger`.

    Returns
    -------
    Embedding
        ``values`` of shape (dimensions,), or (patches, dimensions) if ``pooling`` is None.

    Raises
    ------
    AudioError, UnknownNameError, ArgumentError
        As in :func:`tag`.
    """
    return _tagger(model, device).embed(
        audio, sample_rate=sample_rate, layer=layer, pooling=pooling,
        patch_s=patch_s, hop_s=hop_s, tail=tail,
    )  # fmt: skip


def features(
    audio: AudioSource,
    *,
    model: str | TaggingModel | Tagger = DEFAULT_MODEL,
    sample_rate: int | None = None,
    layers: Sequence[str] | None = None,
    patch_s: float | None = None,
    hop_s: float | None = None,
    tail: Tail = "drop",
    device: str | None = None,
) -> Features:
    """Activations of several layers, as they are.

    Parameters
    ----------
    audio, model, sample_rate
        As in :func:`tag`.
    layers : sequence of str, optional
        Any layers of the model; by default its endpoints: ``timbral, temporal, cnn1, cnn2,
        cnn3, mean_pool, max_pool, penultimate`` of musicnn, ``pool1`` … ``pool5,
        penultimate`` of vgg.
    patch_s, hop_s, tail, device
        See :class:`Tagger`.

    Returns
    -------
    Features
        A mapping from layer name to an array (patches, …).

    Raises
    ------
    AudioError, UnknownNameError, ArgumentError
        As in :func:`tag`.
    """
    return _tagger(model, device).features(
        audio, sample_rate=sample_rate, layers=layers, patch_s=patch_s, hop_s=hop_s, tail=tail
    )
