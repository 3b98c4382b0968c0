"""The audio of a data set: decoded once, checked, and kept in memory or on disk."""

from __future__ import annotations

import hashlib
import logging
import os
import uuid
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.datasets.dataset import Dataset, DatasetError, DatasetWarning
from musicnn_zoo.errors import AudioError, MusicnnZooError, OutputError, check_whole
from musicnn_zoo.files import replacing
from musicnn_zoo.machine.processes import usable_cores
from musicnn_zoo.sound.read import check_rate, load_audio
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
    """Return where the decoded audio of a file as it is now belongs."""
    try:
        status = Path(path).stat()
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror or error})") from error
    identity = f"{Path(path).resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0{sample_rate}"
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
