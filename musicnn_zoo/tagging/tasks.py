"""What to compute for a file: which layers, and what becomes of their activations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.networks.config import ModelSpec
from musicnn_zoo.networks.patches import PatchGrid
from musicnn_zoo.networks.tag_thresholds import CALIBRATED, Calibrated, own_thresholds
from musicnn_zoo.tagging.clip import Clip
from musicnn_zoo.tagging.embedding import Embedding, Features
from musicnn_zoo.tagging.events import Events
from musicnn_zoo.tagging.results import Result
from musicnn_zoo.tagging.sound_events import check_event_rule
from musicnn_zoo.tagging.taggram import Taggram
from musicnn_zoo.tagging.tags import Tags, check_ranking

Pooling = Literal["mean", "max"] | None
POOLINGS: tuple[Pooling, ...] = ("mean", "max", None)

Activations = dict[str, NDArray[np.float32]]


class EmbeddedTags(NamedTuple):
    """An embedding of a clip, and its tags."""

    embedding: Embedding
    tags: Tags

    @property
    def clip(self) -> Clip:
        """The audio of both."""
        return self.tags.clip


@dataclass(frozen=True)
class Task(Generic[Result]):
    """A kind of result.

    Parameters
    ----------
    layers : tuple of str
        Whose activations it needs.
    finish : callable
        Makes the result of the activations of all patches of a file, ``{layer: (patches, …)}``,
        and its :class:`~musicnn_zoo.results.Clip`.
    reduce : callable, optional
        Applied to the activations of some patches at a time, before they are kept.
    """

    layers: tuple[str, ...]
    finish: Callable[[Activations, Clip], Result]
    reduce: Callable[[Activations], Activations] = lambda activations: activations


def taggram_task(spec: ModelSpec, grid: PatchGrid) -> Task[Taggram]:
    """Scores of every patch."""

    def finish(activations: Activations, clip: Clip) -> Taggram:
        scores = activations["output"]
        return Taggram(
            scores=scores,
            tags=spec.tags,
            times=grid.times(len(scores)),
            patch_s=grid.patch_s,
            hop_s=grid.hop_s,
            model=spec.name,
            clip=clip,
            thresholds=spec.thresholds,
            spectrogram=spec.spectrogram,
        )

    return Task(("output",), finish)


def frames_task(spec: ModelSpec, grid: PatchGrid) -> Task[Taggram]:
    """Scores of every frame of consecutive patches, of a model that gives them."""

    def finish(activations: Activations, clip: Clip) -> Taggram:
        scores = activations["output"]
        n_patches, n_frames, n_tags = scores.shape
        frame_s = grid.patch_s / n_frames
        return Taggram(
            scores=scores.reshape(-1, n_tags),
            tags=spec.tags,
            times=np.arange(n_patches * n_frames, dtype=np.float64) * frame_s,
            patch_s=frame_s,
            hop_s=frame_s,
            model=spec.name,
            clip=clip,
            thresholds=spec.thresholds,
            spectrogram=spec.spectrogram,
        )

    return Task(("output",), finish)


def events_task(
    over_time: Task[Taggram],
    *,
    threshold: float,
    release: float | None,
    min_length_s: float,
) -> Task[Events]:
    """When tags begin and end, from scores of patches or of frames."""
    release = check_event_rule(threshold, release, min_length_s)

    def finish(activations: Activations, clip: Clip) -> Events:
        scores = over_time.finish(activations, clip)
        return scores.events(threshold=threshold, release=release, min_length_s=min_length_s)

    return Task(over_time.layers, finish)


def tags_task(
    spec: ModelSpec, grid: PatchGrid, *, top_k: int | None, threshold: float | Calibrated | None
) -> Task[Tags]:
    """Ranked tags; the scores averaged over the patches."""
    check_ranking(top_k, threshold)
    if threshold == CALIBRATED:
        own_thresholds(spec.thresholds, spec.name)
    taggram = taggram_task(spec, grid)

    def finish(activations: Activations, clip: Clip) -> Tags:
        return taggram.finish(activations, clip).rank(top_k=top_k, threshold=threshold)

    return Task(taggram.layers, finish)


def embedding_task(model: str, grid: PatchGrid, *, layer: str, pooling: Pooling) -> Task[Embedding]:
    """Vectors: what is between the patch and the channel axis is pooled, then the patches."""
    if pooling not in POOLINGS:
        raise ArgumentError(f"pooling must be 'mean', 'max' or None; received {pooling!r}")
    pool: Any = np.max if pooling == "max" else np.mean

    def reduce(activations: Activations) -> Activations:
        values = activations[layer]
        return {layer: pool(values, axis=tuple(range(1, values.ndim - 1)))}

    def finish(activations: Activations, clip: Clip) -> Embedding:
        values = activations[layer]
        return Embedding(
            values=values if pooling is None else pool(values, axis=0),
            times=grid.times(len(values)),
            layer=layer,
            pooling=pooling,
            patch_s=grid.patch_s,
            hop_s=grid.hop_s,
            model=model,
            clip=clip,
        )

    return Task((layer,), finish, reduce)


def embedded_tags_task(spec: ModelSpec, grid: PatchGrid, *, layer: str) -> Task[EmbeddedTags]:
    """Mean vector of a layer and strongest tag, in one pass."""
    embedding = embedding_task(spec.name, grid, layer=layer, pooling="mean")
    tags = tags_task(spec, grid, top_k=1, threshold=None)

    def reduce(activations: Activations) -> Activations:
        return {**activations, **embedding.reduce(activations)}

    def finish(activations: Activations, clip: Clip) -> EmbeddedTags:
        return EmbeddedTags(embedding.finish(activations, clip), tags.finish(activations, clip))

    return Task(tuple(dict.fromkeys((layer, *tags.layers))), finish, reduce)


def features_task(model: str, grid: PatchGrid, layers: tuple[str, ...]) -> Task[Features]:
    """Activations as they are."""

    def finish(activations: Activations, clip: Clip) -> Features:
        return Features(
            values_by_layer=activations,
            times=grid.times(len(activations[layers[0]])),
            patch_s=grid.patch_s,
            hop_s=grid.hop_s,
            model=model,
            clip=clip,
        )

    return Task(layers, finish)
