"""A loaded model that tags and embeds, for many calls."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.audio import AudioSource, load_audio
from musicnn_zoo.blocks import block_spec
from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.patches import Patches, Tail, cut, patch_grid
from musicnn_zoo.presets import DEFAULT_MODEL
from musicnn_zoo.results import Clip, Embedding, Features, Taggram, Tags, check_ranking
from musicnn_zoo.sound_events import DEFAULT_THRESHOLD, Event

if TYPE_CHECKING:
    from musicnn_zoo.engine import KerasEngine
    from musicnn_zoo.models import TaggingModel

Pooling = Literal["mean", "max"] | None
POOLINGS: tuple[Pooling, ...] = ("mean", "max", None)
DEFAULT_BATCH_SIZE = 16


class Tagger:
    """A loaded model, ready for many calls; safe to use from several threads.

    Parameters
    ----------
    model : str or TaggingModel
        Name of a pretrained model (see :func:`musicnn_zoo.list_models`), or a model of
        one's own.
    device : str, optional
        ``"cpu"``, ``"gpu"`` or ``"gpu:1"``. By default the first GPU that TensorFlow sees,
        else the CPU. GPU memory is taken as it is needed.
    batch_size : int
        Patches computed at once.

    Raises
    ------
    UnknownNameError
        If there is no model of that name.
    WeightsError
        If the weights file is missing, damaged, or does not fit.
    DeviceError
        If there is no such device.

    Notes
    -----
    All methods take audio as a path, a binary file object, or an array ``(samples,)`` or
    ``(channels, samples)`` with its ``sample_rate`` in Hz. Audio is downmixed to mono and
    resampled to the model's rate as ``librosa.load`` does, then cut into patches.

    All methods share these options:

    patch_s : float, optional
        Length of a patch in seconds; by default what the model was trained on (2.992 s for
        musicnn and vgg; vgg takes no other).
    hop_s : float, optional
        Distance between the starts of two patches in seconds; by default one patch.
        See :mod:`musicnn_zoo.patches` for how seconds become frames.
    tail : {"drop", "pad"}
        What to do with the end that does not fill a patch: drop it (default), or repeat it
        until it fills one. A clip shorter than one patch is always repeated to fill one,
        and the result says so in ``clip.repeated``.

    All raise :class:`~musicnn_zoo.errors.AudioError` for audio that cannot be used and
    :class:`~musicnn_zoo.errors.ArgumentError` for arguments that cannot.
    """

    def __init__(
        self,
        model: str | TaggingModel = DEFAULT_MODEL,
        *,
        device: str | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> None:
        if batch_size < 1:
            raise ArgumentError(f"batch_size must be at least 1; received {batch_size}")
        from musicnn_zoo.engine import KerasEngine, device_scope
        from musicnn_zoo.zoo import load_model

        with device_scope(device):
            if isinstance(model, str):
                model = load_model(model)
        self.model = model
        self.batch_size = batch_size
        self._device = device
        self._engine = KerasEngine(model, device=device)
        self._frame_engine: KerasEngine | None = None
        self._lock = threading.Lock()

    @property
    def tags(self) -> tuple[str, ...]:
        """The model's tags, in the order of its outputs."""
        return self.model.tags

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Layers that :meth:`features` returns by default, in order of depth."""
        return self.model.endpoints

    def tag(
        self,
        audio: AudioSource,
        *,
        sample_rate: int | None = None,
        top_k: int | None = None,
        threshold: float | None = None,
        patch_s: float | None = None,
        hop_s: float | None = None,
        tail: Tail = "drop",
    ) -> Tags:
        """Ranked tags of a whole clip; see :func:`musicnn_zoo.tag`."""
        check_ranking(top_k, threshold)
        taggram = self.taggram(
            audio, sample_rate=sample_rate, patch_s=patch_s, hop_s=hop_s, tail=tail
        )
        return taggram.rank(top_k=top_k, threshold=threshold)

    def taggram(
        self,
        audio: AudioSource,
        *,
        sample_rate: int | None = None,
        patch_s: float | None = None,
        hop_s: float | None = None,
        tail: Tail = "drop",
    ) -> Taggram:
        """Scores over time; see :func:`musicnn_zoo.taggram`."""
        clip, patches = self._cut(audio, sample_rate, patch_s, hop_s, tail)
        scores = self._run(patches, ("output",))["output"]
        return Taggram(
            scores=scores,
            tags=self.tags,
            times=patches.grid.times(len(scores)),
            patch_s=patches.grid.patch_s,
            hop_s=patches.grid.hop_s,
            model=self.model.name,
            clip=clip,
        )

    def frames(
        self, audio: AudioSource, *, sample_rate: int | None = None, tail: Tail = "drop"
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
            (see :func:`musicnn_zoo.framewise.framewise_model`).
        """
        with self._lock:
            if self._frame_engine is None:
                from musicnn_zoo.engine import KerasEngine
                from musicnn_zoo.framewise import framewise_model

                self._frame_engine = KerasEngine(framewise_model(self.model), device=self._device)
        clip, patches = self._cut(audio, sample_rate, None, None, tail)
        scores = self._frame_engine.run(patches.windows, ("output",), batch_size=self.batch_size)[
            "output"
        ]
        n_patches, n_frames, n_tags = scores.shape
        frame_s = patches.grid.patch_s / n_frames
        return Taggram(
            scores=scores.reshape(-1, n_tags),
            tags=self.tags,
            times=np.arange(n_patches * n_frames, dtype=np.float64) * frame_s,
            patch_s=frame_s,
            hop_s=frame_s,
            model=self.model.name,
            clip=clip,
        )

    def events(
        self,
        audio: AudioSource,
        *,
        sample_rate: int | None = None,
        threshold: float = DEFAULT_THRESHOLD,
        release: float | None = None,
        min_length_s: float = 0.0,
        hop_s: float | None = None,
        tail: Tail = "drop",
    ) -> tuple[Event, ...]:
        """When each tag begins and ends; see :func:`musicnn_zoo.events`."""
        framewise = block_spec(self.model.zoo_config.backend.kind, "backend").framewise
        if framewise is not None and hop_s is None:
            over_time = self.frames(audio, sample_rate=sample_rate, tail=tail)
        else:
            over_time = self.taggram(audio, sample_rate=sample_rate, hop_s=hop_s, tail=tail)
        return over_time.events(threshold=threshold, release=release, min_length_s=min_length_s)

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
    ) -> Embedding:
        """Activations of one layer as vectors; see :func:`musicnn_zoo.embed`."""
        if pooling not in POOLINGS:
            raise ArgumentError(f"pooling must be 'mean', 'max' or None; received {pooling!r}")
        clip, patches = self._cut(audio, sample_rate, patch_s, hop_s, tail)
        activations = self._run(patches, (layer,))[layer]
        pool = np.max if pooling == "max" else np.mean
        values = pool(activations, axis=tuple(range(1, activations.ndim - 1)))
        return Embedding(
            values=values if pooling is None else pool(values, axis=0),
            times=patches.grid.times(len(activations)),
            layer=layer,
            pooling=pooling,
            patch_s=patches.grid.patch_s,
            hop_s=patches.grid.hop_s,
            model=self.model.name,
            clip=clip,
        )

    def features(
        self,
        audio: AudioSource,
        *,
        sample_rate: int | None = None,
        layers: Sequence[str] | None = None,
        patch_s: float | None = None,
        hop_s: float | None = None,
        tail: Tail = "drop",
    ) -> Features:
        """Activations of several layers; see :func:`musicnn_zoo.features`."""
        if isinstance(layers, str):
            layers = (layers,)
        chosen = self.endpoints if layers is None else tuple(dict.fromkeys(layers))
        if not chosen:
            raise ArgumentError("layers must name at least one layer; received none")
        clip, patches = self._cut(audio, sample_rate, patch_s, hop_s, tail)
        return Features(
            values_by_layer=self._run(patches, chosen),
            times=patches.grid.times(len(patches.windows)),
            patch_s=patches.grid.patch_s,
            hop_s=patches.grid.hop_s,
            model=self.model.name,
            clip=clip,
        )

    def _cut(
        self,
        audio: AudioSource,
        sample_rate: int | None,
        patch_s: float | None,
        hop_s: float | None,
        tail: Tail,
    ) -> tuple[Clip, Patches]:
        config = self.model.zoo_config
        grid = patch_grid(config, patch_s=patch_s, hop_s=hop_s)
        signal = load_audio(audio, sample_rate=sample_rate, target_rate=config.input.sample_rate)
        patches = cut(signal.samples, grid, tail=tail)
        clip = Clip(signal.source, signal.duration_s, patches.repeated, patches.dropped_s)
        return clip, patches

    def _run(self, patches: Patches, layers: tuple[str, ...]) -> dict[str, NDArray[np.float32]]:
        return self._engine.run(patches.windows, layers, batch_size=self.batch_size)
