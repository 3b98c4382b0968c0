"""The audio of a data set: decoded once, checked, kept, and cut into patches."""

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
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.datasets.dataset import Dataset, DatasetError, DatasetWarning
from musicnn_zoo.errors import ArgumentError, AudioError, MusicnnZooError, OutputError
from musicnn_zoo.files import replacing
from musicnn_zoo.machine.processes import usable_cores
from musicnn_zoo.sound.read import check_rate, load_audio
from musicnn_zoo.text import printable

_log = logging.getLogger(__name__)

MEMORY_BYTES = 1 << 30
"""How much decoded audio is kept in memory: about four and a half hours at 16 kHz."""


class _Decoded(NamedTuple):
    samples: int
    signal: NDArray[np.float32] | None
    error: AudioError | None


@dataclass(frozen=True, eq=False)
class Clips:
    """A data set whose audio was seen to be good.

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
        What :meth:`signal` raised, here and in subsets: what is read in the threads of
        ``tf.data`` comes out of it as an error of TensorFlow's.
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

        From memory, from the cache, or decoded anew.

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
            return self._read_again(path, self.samples[index])
        except MusicnnZooError as error:
            self.failures.append(error)
            raise

    def _read_again(self, path: str, samples: int) -> NDArray[np.float32]:
        decoded = _decode(path, self.sample_rate, self.cache)
        if decoded.error is not None:
            raise decoded.error
        if decoded.signal is None or decoded.samples != samples:
            raise AudioError(
                f"{path}: has changed since it was checked ({decoded.samples} samples at "
                f"{self.sample_rate} Hz, before {samples}); start again"
            )
        return decoded.signal

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
    """Decode every file of a data set once, and leave out those that cannot be.

    Training must not end on file 9,312, nor pass it over in silence. So all files are decoded
    before it begins, and what was decoded is kept.

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
    if jobs is not None and jobs < 1:
        raise ArgumentError(f"jobs must be at least 1; received {jobs}")
    check_rate(sample_rate)
    folder = None if cache is None else Path(cache)
    kept: dict[str, NDArray[np.float32]] = {}
    lengths: list[int] = []
    broken: dict[int, AudioError] = {}
    free = memory_bytes
    for index, decoded in enumerate(_decode_all(dataset, sample_rate, folder, jobs, progress)):
        lengths.append(decoded.samples)
        if decoded.error is not None:
            broken[index] = decoded.error
        elif decoded.signal is not None and folder is None and decoded.signal.nbytes <= free:
            kept[dataset.paths[index]] = decoded.signal
            free -= decoded.signal.nbytes
    if broken:
        reasons = "; ".join(printable(str(error)) for error in list(broken.values())[:3])
        more = f"; and {len(broken) - 3} more" if len(broken) > 3 else ""
        told = f"{len(broken)} of {len(dataset)} files cannot be decoded: {reasons}{more}"
        if len(broken) == len(dataset):
            raise DatasetError(f"{dataset.name}: {told}")
        warnings.warn(f"{printable(dataset.name)}: left out {told}", DatasetWarning, stacklevel=2)
    return Clips(
        dataset.without(broken),
        sample_rate,
        tuple(length for index, length in enumerate(lengths) if index not in broken),
        folder,
        _kept=kept,
    )


def _decode_all(
    dataset: Dataset, sample_rate: int, cache: Path | None, jobs: int | None, progress: bool
) -> Iterator[_Decoded]:
    from tqdm import tqdm

    jobs = jobs or usable_cores()
    with ThreadPoolExecutor(jobs) as pool:
        step = 4 * jobs  # no more than these wait in memory
        with tqdm(total=len(dataset), unit="file", desc="audio", disable=not progress) as bar:
            for start in range(0, len(dataset), step):
                paths = dataset.paths[start : start + step]
                for decoded in pool.map(lambda path: _decode(path, sample_rate, cache), paths):
                    bar.update()
                    yield decoded


def _decode(path: str, sample_rate: int, cache: Path | None) -> _Decoded:
    try:
        place = None if cache is None else _place(path, sample_rate, cache)
        if place is not None and (found := _read(place)) is not None:
            return _Decoded(len(found), found, None)
        signal = load_audio(path, target_rate=sample_rate, isolate=True).samples
    except AudioError as error:
        return _Decoded(0, None, error)
    if place is not None:
        _write(place, signal)
    signal.flags.writeable = False
    return _Decoded(len(signal), signal, None)


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
    except Exception:  # those of NumPy's reader are of all kinds, a tokenizer's among them
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
            return  # another process was faster, and Windows lets none replace what it reads
        raise OutputError(
            f"cache {str(place.parent.parent)!r} cannot be written ({error.strerror or error})"
        ) from error
