"""``tf.data`` pipelines: random patches to train on, all patches to evaluate on.

What a training step sees depends on the seed and the number of the step alone. So a run that was
killed goes on with the batches that it would have had.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError, check_whole
from musicnn_zoo.networks.patches import PatchGrid, patch_at
from musicnn_zoo.training.clips import Clips

BATCH_SIZE = 32
"""As musicnn was trained (Pons & Serra 2019)."""


class PatchSampler:
    """An endless sequence of patches.

    Each pass over the clips has every clip once, in an order of its own, with one patch at a
    random frame (Pons & Serra 2019).
    """

    def __init__(self, clips: Clips, grid: PatchGrid, *, seed: int) -> None:
        self._clips, self._grid, self._seed = clips, grid, seed
        self._labels = clips.dataset.labels.astype(np.float32)
        self._pass = lru_cache(maxsize=2)(self._draw)

    def patch(self, position: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the patch at a position, (samples,), and the labels of its clip, (tags,)."""
        number, place = divmod(position, len(self._clips))
        order, frames = self._pass(number)
        index = int(order[place])
        signal = self._clips.signal(index)
        return patch_at(signal, self._grid, int(frames[place])), self._labels[index]

    def _draw(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        random = np.random.default_rng((self._seed, number))
        order = random.permutation(len(self._clips))
        positions = np.array([self._grid.positions(count) for count in self._clips.samples])
        return order, random.integers(positions)[order]


def training_batches(
    clips: Clips,
    grid: PatchGrid,
    *,
    batch_size: int = BATCH_SIZE,
    seed: int = 0,
    first_step: int = 0,
    steps: int | None = None,
    class_weights: NDArray[Any] | None = None,
    jobs: int | None = None,
) -> Any:
    """Make batches of random patches: one of each clip in every pass over the clips.

    Parameters
    ----------
    clips : Clips
        Of the training split.
    grid : PatchGrid
        Of the model: ``patch_grid(model.zoo_config)``.
    batch_size : int
    seed : int
        The same seed gives the same batches.
    first_step, steps : int
        Which batches of the sequence; by default from the first on, without end: ``model.fit``
        then needs ``steps_per_epoch``.
    class_weights : ndarray, shape (tags,), optional
        Weight of a clip by its one tag, from :meth:`~musicnn_zoo.datasets.Dataset.class_weights`.
    jobs : int, optional
        Threads that read and cut; by default as many as ``tf.data`` finds best.

    Returns
    -------
    tf.data.Dataset
        Of waveforms ``(batch_size, samples)`` and labels ``(batch_size, tags)``, both float32,
        and with ``class_weights`` of sample weights ``(batch_size,)``; for ``model.fit``.

    Raises
    ------
    ArgumentError
        If a number is out of its range, or there is not one weight for each tag.
    """
    import tensorflow as tf

    _check(clips, batch_size, class_weights, jobs)
    check_whole("seed", seed, least=0)
    check_whole("first_step", first_step, least=0)
    sampler = PatchSampler(clips, grid, seed=seed)
    positions = tf.data.Dataset.counter(first_step * batch_size)
    if steps is not None:
        positions = positions.take(check_whole("steps", steps, least=0) * batch_size)
    patches = positions.map(
        _graph_function(lambda position: sampler.patch(int(position)), clips, grid),
        num_parallel_calls=jobs or tf.data.AUTOTUNE,
        deterministic=True,
    )
    return _batched(patches.batch(batch_size, drop_remainder=True), class_weights)


def evaluation_batches(
    clips: Clips,
    grid: PatchGrid,
    *,
    batch_size: int = BATCH_SIZE,
    class_weights: NDArray[Any] | None = None,
    jobs: int | None = None,
) -> Any:
    """Make batches of all patches of all clips, in order.

    Parameters
    ----------
    clips : Clips
    grid : PatchGrid
        Of the model; its hop is the distance between two patches. The end of a clip that does
        not fill a patch is dropped, and a clip shorter than one is repeated to fill it.
    batch_size, class_weights, jobs
        As in :func:`training_batches`.

    Returns
    -------
    tf.data.Dataset
        As of :func:`training_batches`, but finite, and the last batch may be smaller.

    Raises
    ------
    ArgumentError
        If a number is out of its range, or there is not one weight for each tag.
    """
    import tensorflow as tf

    _check(clips, batch_size, class_weights, jobs)
    labels = clips.dataset.labels.astype(np.float32)

    def patches_of(index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        signal = clips.signal(index)
        count = max(1, grid.count(len(signal)))
        patches = np.stack([patch_at(signal, grid, number * grid.hop) for number in range(count)])
        return patches, np.repeat(labels[index : index + 1], count, axis=0)

    patches = (
        tf.data.Dataset.range(len(clips))
        .map(
            _graph_function(lambda index: patches_of(int(index)), clips, grid, several=True),
            num_parallel_calls=jobs or tf.data.AUTOTUNE,
            deterministic=True,
        )
        .unbatch()
        .apply(tf.data.experimental.assert_cardinality(count_patches(clips, grid)))
    )
    return _batched(patches.batch(batch_size), class_weights)


def _check(
    clips: Clips, batch_size: int, class_weights: NDArray[Any] | None, jobs: int | None
) -> None:
    check_whole("batch_size", batch_size)
    if jobs is not None:
        check_whole("jobs", jobs)
    n_tags = len(clips.dataset.tags)
    if class_weights is not None and np.shape(class_weights) != (n_tags,):
        raise ArgumentError(
            f"class_weights must have shape ({n_tags},), one for each tag; "
            f"received {np.shape(class_weights)}"
        )


def count_patches(clips: Clips, grid: PatchGrid) -> int:
    """Return the number of patches that :func:`evaluation_batches` gives in all."""
    return sum(max(1, grid.count(samples)) for samples in clips.samples)


def batch_size_for_all(count: int, batch_size: int, devices: int) -> int:
    """Return the largest size, up to ``batch_size``, of batches of which every device has a part.

    ``tf.distribute`` gives the first devices a whole part of a batch and the last what is left.
    Keras needs parts of equal size in the first batch, and convolutions of nothing fail, so the
    last batch must have something for each.

    Raises
    ------
    ArgumentError
        If ``count`` patches cannot be shared so.
    """
    if devices == 1:
        return batch_size
    for size in range(batch_size - batch_size % devices, 0, -devices):
        rest = count % size
        if size <= count and (rest == 0 or rest > (devices - 1) * size // devices):
            return size
    raise ArgumentError(
        f"{count} patches in batches of up to {batch_size} cannot be shared by {devices} devices; "
        "use other batches, fewer devices, or more patches"
    )


def _graph_function(
    function: Callable[[Any], tuple[NDArray[np.float32], NDArray[np.float32]]],
    clips: Clips,
    grid: PatchGrid,
    *,
    several: bool = False,
) -> Callable[[Any], tuple[Any, Any]]:
    """Turn a function of NumPy arrays into one of the graph, with known shapes."""
    import tensorflow as tf

    shapes = ((grid.patch_samples,), (len(clips.dataset.tags),))

    def call(position: Any) -> tuple[Any, Any]:
        values = tf.numpy_function(function, [position], [tf.float32] * 2, stateful=False)
        for value, shape in zip(values, shapes, strict=True):
            value.set_shape((None, *shape) if several else shape)
        return tuple(values)

    return call


def _batched(batches: Any, class_weights: NDArray[Any] | None) -> Any:
    """Add sample weights, read ahead, and have one process feed all devices."""
    import tensorflow as tf

    if class_weights is not None:
        weights = tf.constant(class_weights, tf.float32)
        batches = batches.map(lambda x, y: (x, y, tf.linalg.matvec(y, weights)))
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)
