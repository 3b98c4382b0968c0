r"""The HEAR 2021 common API: every model of the zoo for the community's evaluation kits.

``heareval`` and ``hear-validator`` take the name of this module::

    python -m heareval.embeddings.runner musicnn_zoo.hear --tasks-dir tasks \
        --model-options '{"model_file_path": "MSD_vgg", "layer": "pool5"}'
    hear-validator musicnn_zoo.hear --model MSD_vgg

Timestamps come every 50 ms, as HEAR recommends, and the embedding of each is that of a whole
patch around it: of musicnn 20 patches of 3 s for each second of audio, 60 times the work of a
scene embedding. ``timestamp_hop_ms`` and ``patch_s`` make it cheaper.

References
----------
Turian et al. "HEAR: Holistic Evaluation of Audio Representations." NeurIPS 2021 Competitions
and Demonstrations Track, PMLR 176. https://hearbenchmark.com/hear-api.html
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError, AudioError, check_choice
from musicnn_zoo.networks.config import patch_grid
from musicnn_zoo.networks.patches import TAILS, Tail
from musicnn_zoo.runtimes.engine import EngineName
from musicnn_zoo.sound.read import AudioStream
from musicnn_zoo.tagging.pipeline import Cutting, Pooling, Task, embedding_task, process
from musicnn_zoo.tagging.results import Embedding
from musicnn_zoo.tagging.tagger import Tagger
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL

__all__ = ["HearModel", "get_scene_embeddings", "get_timestamp_embeddings", "load_model"]

Tensor: TypeAlias = Any
"""A TensorFlow tensor, a PyTorch tensor or a NumPy array."""

TIMESTAMP_HOP_MS = 50.0


class HearModel(tf.Module):
    """A loaded model with what the HEAR API asks of it; made by :func:`load_model`.

    Attributes
    ----------
    sample_rate : int
        Of the audio it takes, in Hz.
    scene_embedding_size, timestamp_embedding_size : int
        Dimensions of an embedding; both are the same.
    timestamp_hop_ms : float
        Time between two timestamps.
    tagger : Tagger
        What computes.
    """

    def __init__(self, tagger: Tagger, task: Task[Embedding], timestamp_hop_ms: float) -> None:
        super().__init__(name="hear_model")
        self._task = task
        self._grid = task.cutting.grid
        self._engine = tagger.engine_for(task.layers, many=True)
        self.tagger = tagger
        self.sample_rate: int = self._grid.sample_rate
        shortest = 1000 / self.sample_rate
        if not (np.isfinite(timestamp_hop_ms) and timestamp_hop_ms >= shortest):
            raise ArgumentError(
                f"timestamp_hop_ms must be at least {shortest} (one sample); "
                f"received {timestamp_hop_ms}"
            )
        self.timestamp_hop_ms = float(timestamp_hop_ms)
        silence = np.zeros((1, self._grid.patch_samples), np.float32)
        self.scene_embedding_size: int = self._vectors(silence).shape[1]
        self.timestamp_embedding_size: int = self.scene_embedding_size

    def scenes(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed whole sounds, ``(n_sounds, n_samples)``; see :func:`get_scene_embeddings`."""
        streams = [
            AudioStream(sound, sample_rate=self.sample_rate, target_rate=self.sample_rate)
            for sound in audio
        ]
        results = process(streams, self._task, engine=self._engine)
        embeddings = np.empty((len(audio), self.scene_embedding_size), np.float32)
        for row, result in zip(embeddings, results, strict=True):
            row[:] = result.unwrap().values
        return embeddings

    def timestamps(
        self, audio: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Embed moments of sounds, ``(n_sounds, n_samples)``.

        See :func:`get_timestamp_embeddings`.
        """
        n_sounds, n_samples = audio.shape
        length_ms = n_samples * 1000 / self.sample_rate
        count = int(length_ms / self.timestamp_hop_ms + 1e-9) + 1
        # Each time is rounded to a sample by itself, so that the error of one does not add up.
        times_ms = np.arange(count) * self.timestamp_hop_ms
        centres = np.rint(times_ms * self.sample_rate / 1000).astype(np.int64)
        size = self._grid.patch_samples
        padded = np.pad(audio, ((0, 0), (size // 2, size - size // 2)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)
        embeddings = np.empty((n_sounds * count, self.timestamp_embedding_size), np.float32)
        for start in range(0, len(embeddings), self._engine.patches_per_call):
            stop = min(start + self._engine.patches_per_call, len(embeddings))
            sounds, moments = np.divmod(np.arange(start, stop), count)
            embeddings[start:stop] = self._vectors(windows[sounds, centres[moments]])
        times = np.tile(times_ms.astype(np.float32), (n_sounds, 1))
        return embeddings.reshape(n_sounds, count, self.timestamp_embedding_size), times

    def _vectors(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        activations = self._engine.run(windows, self._task.layers)
        (vectors,) = self._task.reduce(activations).values()
        return vectors


def load_model(
    model_file_path: str | os.PathLike[str] = "",
    *,
    layer: str = "penultimate",
    pooling: Pooling = "mean",
    patch_s: float | None = None,
    scene_hop_s: float | None = None,
    tail: Tail = "pad",
    timestamp_hop_ms: float = TIMESTAMP_HOP_MS,
    engine: EngineName = "auto",
    device: str | None = None,
) -> HearModel:
    """Load a model for HEAR; errors are those of :class:`musicnn_zoo.Tagger`.

    Parameters
    ----------
    model_file_path : str or path
        Name of a pretrained model, ``hf://user/repository`` or a folder, as in
        :func:`musicnn_zoo.tag`, and with the same default.
    layer, pooling
        See :func:`musicnn_zoo.embed`; ``pooling`` is not None.
    patch_s : float, optional
        Length of a patch of scenes and of timestamps in seconds; see
        :class:`musicnn_zoo.Tagger`.
    scene_hop_s : float, optional
        Distance between the patches of a scene in seconds; by default one patch.
    tail : {"drop", "pad"}
        What becomes of the end of a scene that does not fill a patch. It is repeated to fill
        one by default here, since a scene embedding is to be of all the audio.
    timestamp_hop_ms : float
        Time between two timestamps in milliseconds.
    engine, device
        See :class:`musicnn_zoo.Tagger`.

    Returns
    -------
    HearModel
        A ``tf.Module``, as the API asks for.
    """
    tagger = Tagger(model_file_path or DEFAULT_MODEL, engine=engine, device=device)
    if pooling is None:
        raise ArgumentError("pooling must be 'mean' or 'max'; received None")
    check_choice("tail", tail, TAILS)
    cutting = Cutting(patch_grid(tagger.spec.config, patch_s=patch_s, hop_s=scene_hop_s), tail)
    task = embedding_task(tagger.spec, cutting, layer=layer, pooling=pooling, silence="keep")
    return HearModel(tagger, task, timestamp_hop_ms)


def get_timestamp_embeddings(audio: Tensor, model: HearModel) -> tuple[Tensor, Tensor]:
    """Embeddings at regular times.

    The patch of a timestamp is centred on it. Where the patch reaches beyond the audio there is
    silence.

    Parameters
    ----------
    audio : tensor, shape (n_sounds, n_samples), floating point
        Mono, between -1 and 1, at ``model.sample_rate``; of TensorFlow, PyTorch or NumPy.
    model : HearModel

    Returns
    -------
    embeddings : tensor, shape (n_sounds, n_timestamps, model.timestamp_embedding_size), float32
        Of the same kind as ``audio`` and on the same device, without gradients.
    timestamps : tensor, shape (n_sounds, n_timestamps), float32
        In milliseconds: 0, ``model.timestamp_hop_ms``, … up to the length of the audio.

    Raises
    ------
    AudioError
        If the audio has another shape or type, or holds no samples or NaN or infinite ones.
    ArgumentError
        If ``audio`` is no such tensor.
    """
    array, like = _take(audio)
    embeddings, timestamps = model.timestamps(array)
    return like(embeddings), like(timestamps)


def get_scene_embeddings(audio: Tensor, model: HearModel) -> Tensor:
    """One embedding for each sound, as :meth:`musicnn_zoo.Tagger.embed` gives it.

    A sound shorter than a patch is repeated to fill one. Parameters and errors are those of
    :func:`get_timestamp_embeddings`.

    Returns
    -------
    tensor, shape (n_sounds, model.scene_embedding_size), float32
        Of the same kind as ``audio`` and on the same device, without gradients.
    """
    array, like = _take(audio)
    return like(model.scenes(array))


def _take(audio: Tensor) -> tuple[NDArray[np.float32], Callable[[NDArray[np.float32]], Tensor]]:
    """Return audio as an array, and what turns an array into a tensor like it."""
    array, like = _to_numpy(audio)
    if not np.issubdtype(array.dtype, np.floating):
        raise AudioError(f"audio: must be floating point between -1 and 1; received {array.dtype}")
    if array.ndim != 2:
        raise AudioError(f"audio: must be (n_sounds, n_samples); received shape {array.shape}")
    if array.shape[1] == 0:
        raise AudioError("audio: holds no samples")
    if not np.isfinite(array).all():
        raise AudioError("audio: holds NaN or infinite samples")
    return np.ascontiguousarray(array, dtype=np.float32), like


def _to_numpy(audio: Tensor) -> tuple[NDArray[Any], Callable[[NDArray[np.float32]], Tensor]]:
    if isinstance(audio, np.ndarray):
        return audio, lambda array: array
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(audio, torch.Tensor):
        device = audio.device
        plain = audio.detach().float() if audio.is_floating_point() else audio.detach()
        return plain.cpu().numpy(), lambda array: torch.from_numpy(array).to(device)
    if tf.is_tensor(audio) and hasattr(audio, "numpy"):

        def like(array: NDArray[np.float32]) -> Tensor:
            with tf.device(audio.device):
                return tf.identity(array)

        plain = tf.cast(audio, tf.float32) if audio.dtype.is_floating else audio
        return plain.numpy(), like
    raise ArgumentError(
        "audio must be a tensor of TensorFlow or PyTorch that has values, or a NumPy array; "
        f"received {type(audio).__name__}"
    )
