"""The audio of a data set as batches: decoded once, checked, and cut into patches.

What a training step sees depends on the seed and the number of the step alone. So a run that was
killed goes on with the batches that it would have had.
"""

from __future__ import annotations

import hashlib
import logging
import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.datasets.dataset import Dataset, DatasetError, DatasetWarning
from musicnn_zoo.errors import (
    ArgumentError,
    AudioError,
    MusicnnZooError,
    OutputError,
    check_whole,
)
from musicnn_zoo.files import replacing
from musicnn_zoo.machine.processes import usable_cores
from musicnn_zoo.networks.patches import PatchGrid, patch_at
from musicnn_zoo.sound.find import take_stamp
from musicnn_zoo.sound.read import check_rate, load_audio
from musicnn_zoo.sound.remote import as_address
from musicnn_zoo.text import printable

_log = logging.getLogger(__name__)

MEMORY_BYTES = 1 << 30
"""How much decoded audio is kept in memory: about four and a half hours at 16 kHz."""


@dataclass(frozen=True, eq=False)
class Clips:
    """A data set whose audio can be decoded.

    Parameters
    ----------
    dataset : Dataset
        Without the files that cannot be decoded, which are in its report.
    sample_rate : int
        In Hz.
    samples : tuple of int
        Length of each clip at that rate.
    cache : Path or None
        Folder of decoded audio.
    failures : list of MusicnnZooError
        What :meth:`signal` raised, here and in subsets: ``tf.data``, which calls it in its own
        threads, raises an error of TensorFlow's instead.
    """

    dataset: Dataset
    sample_rate: int
    samples: tuple[int, ...]
    cache: Path | None
    failures: list[MusicnnZooError] = field(default_factory=list, repr=False)
    _kept: dict[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def hours(self) -> float:
        """Length of all clips together."""
        return sum(self.samples) / self.sample_rate / 3600

    def signal(self, index: int) -> NDArray[np.float32]:
        """Audio of one clip, shape (samples,), float32, mono at ``sample_rate``; read-only.

        From memory, from the cache, or decoded again.

        Raises
        ------
        AudioError
            If the file is gone or broken, or not as long as it was.
        OutputError
            If the cache cannot be written.
        """
        path = self.dataset.paths[index]
        if path in self._kept:
            return self._kept[path]
        try:
            signal = _decode(path, self.sample_rate, self.cache)
            if len(signal) != self.samples[index]:
                raise AudioError(
                    f"{path}: has changed since it was checked ({len(signal)} samples at "
                    f"{self.sample_rate} Hz, before {self.samples[index]}); start again"
                )
        except MusicnnZooError as error:
            self.failures.append(error)
            raise
        return signal

    def subset(self, split: str) -> Clips:
        """Return the clips of one split.

        Raises
        ------
        ArgumentError, UnknownNameError
            If there is no such split.
        """
        chosen = self.dataset.subset(split)
        lengths = dict(zip(self.dataset.paths, self.samples, strict=True))
        return Clips(
            chosen, self.sample_rate, tuple(lengths[path] for path in chosen.paths), self.cache,
            self.failures, self._kept,
        )  # fmt: skip


def open_clips(
    dataset: Dataset,
    *,
    sample_rate: int = 16000,
    cache: str | os.PathLike[str] | None = None,
    memory_bytes: int = MEMORY_BYTES,
    jobs: int | None = None,
    progress: bool = False,
) -> Clips:
    """Decode every file of a data set once, and leave out those that cannot be decoded.

    A broken file must neither end a training run nor be skipped in silence. So all files are
    decoded before training begins, and what was decoded is kept.

    Parameters
    ----------
    dataset : Dataset
    sample_rate : int
        In Hz; that of the model.
    cache : path, optional
        Folder for decoded audio: 64 kB for each second at 16 kHz (NumPy files of float32), 5.8 GB
        for 25 hours. Files are found again by path, size and time of change, so that several
        data sets and runs may share it. By default nothing is written.
    memory_bytes : int
        Without a cache: how much decoded audio is kept in memory. The rest is decoded each time
        that it is needed.
    jobs : int, optional
        Threads that decode; by default one a core.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    Clips

    Raises
    ------
    DatasetError
        If no file can be decoded.
    OutputError
        If the cache cannot be written.
    ArgumentError
        If ``jobs`` is less than one, or there is no such sample rate.

    Warns
    -----
    DatasetWarning
        If files cannot be decoded: how many, and the reasons of the first; the data set's report
        has all.
    """
    if jobs is not None:
        check_whole("jobs", jobs)
    check_rate(sample_rate)
    folder = None if cache is None else Path(cache)
    kept: dict[str, NDArray[np.float32]] = {}
    lengths: list[int] = []
    broken: dict[int, AudioError] = {}
    free = memory_bytes
    for index, decoded in enumerate(_decode_all(dataset, sample_rate, folder, jobs, progress)):
        if isinstance(decoded, AudioError):
            broken[index] = decoded
            continue
        lengths.append(len(decoded))
        if folder is None and decoded.nbytes <= free:
            kept[dataset.paths[index]] = decoded
            free -= decoded.nbytes
    if broken:
        reasons = "; ".join(printable(str(error)) for error in list(broken.values())[:3])
        more = f"; and {len(broken) - 3} more" if len(broken) > 3 else ""
        summary = f"{len(broken)} of {len(dataset)} files cannot be decoded: {reasons}{more}"
        if len(broken) == len(dataset):
            raise DatasetError(f"{dataset.name}: {summary}")
        warnings.warn(
            f"{printable(dataset.name)}: left out {summary}", DatasetWarning, stacklevel=2
        )
    return Clips(dataset.without(broken), sample_rate, tuple(lengths), folder, _kept=kept)


def _decode_all(
    dataset: Dataset, sample_rate: int, cache: Path | None, jobs: int | None, progress: bool
) -> Iterator[NDArray[np.float32] | AudioError]:
    from tqdm import tqdm

    def attempt(path: str) -> NDArray[np.float32] | AudioError:
        try:
            return _decode(path, sample_rate, cache)
        except AudioError as error:
            return error

    jobs = jobs or usable_cores()
    with (
        ThreadPoolExecutor(jobs) as pool,
        tqdm(total=len(dataset), unit="file", desc="audio", disable=not progress) as bar,
    ):
        step = 4 * jobs  # no more than these wait in memory
        for start in range(0, len(dataset), step):
            for decoded in pool.map(attempt, dataset.paths[start : start + step]):
                bar.update()
                yield decoded


def _decode(path: str, sample_rate: int, cache: Path | None) -> NDArray[np.float32]:
    place = None if cache is None else _place(path, sample_rate, cache)
    if place is not None and (found := _read(place)) is not None:
        return found
    signal = load_audio(path, target_rate=sample_rate, isolate=True).samples
    if place is not None:
        _write(place, signal)
    signal.flags.writeable = False
    return signal


def _place(path: str, sample_rate: int, cache: Path) -> Path:
    """Return the path in the cache for a file with its present size and time of change."""
    if as_address(path) is not None:
        stamp = take_stamp(path)
        identity = f"{stamp.path}\0{stamp.size}\0{stamp.etag or stamp.mtime_ns}\0{sample_rate}"
    else:
        try:
            status = Path(path).stat()
        except OSError as error:
            raise AudioError(f"{path}: cannot be read ({error.strerror or error})") from error
        place = Path(path).resolve()
        identity = f"{place}\0{status.st_size}\0{status.st_mtime_ns}\0{sample_rate}"
    name = hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()
    return cache / name[:2] / f"{name}.npy"


def _read(place: Path) -> NDArray[np.float32] | None:
    try:
        signal = np.load(place, mmap_mode="r", allow_pickle=False)
        filled = signal.offset + signal.nbytes == place.stat().st_size
        whole = filled and signal.dtype == np.float32 and signal.ndim == 1 and len(signal) > 0
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception:  # NumPy's reader raises errors of many kinds, even a tokenizer's
        whole = False
    if not whole:
        _log.warning("%s is damaged; decoding the file again", place)
        return None
    return np.asarray(signal)


def _write(place: Path, signal: NDArray[np.float32]) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = place.with_name(f"{place.stem}.{uuid.uuid4().hex}.unfinished")
        with replacing(place, unfinished) as file:
            np.save(file, signal)
    except OSError as error:
        if _read(place) is not None:
            return  # another process wrote it, and Windows replaces no file that is being read
        raise OutputError(
            f"cache {str(place.parent.parent)!r} cannot be written ({error.strerror or error})"
        ) from error


BATCH_SIZE = 32
"""As musicnn was trained (Pons & Serra 2019)."""


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
    """Make batches of random patches.

    Each pass over the clips has every clip once, in an order of its own, with one patch at a
    random frame (Pons & Serra 2019).

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
    labels = clips.dataset.labels.astype(np.float32)

    @lru_cache(maxsize=2)
    def draw(number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the order of the clips in a pass, and the frame at which each is cut."""
        random = np.random.default_rng((seed, number))
        order = random.permutation(len(clips))
        positions = np.array([grid.positions(count) for count in clips.samples])
        return order, random.integers(positions)[order]

    def patch(position: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        number, place = divmod(int(position), len(clips))
        order, frames = draw(number)
        index = int(order[place])
        return patch_at(clips.signal(index), grid, int(frames[place])), labels[index]

    positions = tf.data.Dataset.counter(first_step * batch_size)
    if steps is not None:
        positions = positions.take(check_whole("steps", steps, least=0) * batch_size)
    patches = _mapped(positions, patch, clips, grid, jobs)
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
        signal = clips.signal(int(index))
        count = max(1, grid.count(len(signal)))
        patches = np.stack([patch_at(signal, grid, number * grid.hop) for number in range(count)])
        return patches, np.repeat(labels[index : index + 1], count, axis=0)

    indices = tf.data.Dataset.range(len(clips))
    patches = _mapped(indices, patches_of, clips, grid, jobs, several=True).unbatch()
    counted = tf.data.experimental.assert_cardinality(count_patches(clips, grid))
    return _batched(patches.apply(counted).batch(batch_size), class_weights)


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
    """Return the largest size, up to ``batch_size``, of batches that all devices can share.

    ``tf.distribute`` gives the first devices equal parts of a batch and the last device the rest.
    Keras needs equal parts in the first batch. No part may be empty, since convolutions of nothing
    fail; so the last batch must be large enough for all.

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


def _mapped(
    numbers: Any,
    function: Callable[[int], tuple[NDArray[np.float32], NDArray[np.float32]]],
    clips: Clips,
    grid: PatchGrid,
    jobs: int | None,
    *,
    several: bool = False,
) -> Any:
    """Map numbers to patches and labels by a function of NumPy arrays; their shapes are known."""
    import tensorflow as tf

    shapes = ((grid.patch_samples,), (len(clips.dataset.tags),))

    def call(position: Any) -> tuple[Any, Any]:
        values = tf.numpy_function(function, [position], [tf.float32] * 2, stateful=False)
        for value, shape in zip(values, shapes, strict=True):
            value.set_shape((None, *shape) if several else shape)
        return tuple(values)

    return numbers.map(call, num_parallel_calls=jobs or tf.data.AUTOTUNE, deterministic=True)


def _batched(batches: Any, class_weights: NDArray[Any] | None) -> Any:
    """Add sample weights, read ahead, and have one process feed all devices."""
    import tensorflow as tf

    if class_weights is not None:
        weights = tf.constant(class_weights, tf.float32)
        batches = batches.map(lambda x, y: (x, y, tf.linalg.matvec(y, weights)))
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)
