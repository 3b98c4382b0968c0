"""Data sets of tiny files, in which every sample says which clip it is of and where."""

from pathlib import Path

import numpy as np
import soundfile

from musicnn_zoo.datasets import Dataset

RATE = 1000


def ramp(clip: int, samples: int) -> np.ndarray:
    """Signal of a clip: no two samples of up to sixty clips of a thousand are equal, none is 0."""
    return ((1 + 1000 * clip + np.arange(samples)) / 2**16).astype(np.float32)


def write_clips(folder: Path, lengths: list[int], *, rate: int = RATE, **changes) -> Dataset:
    """Write a file of each length; clip ``i`` has tag ``i % 3`` of three."""
    paths = [folder / f"{clip}.wav" for clip in range(len(lengths))]
    for clip, (path, samples) in enumerate(zip(paths, lengths, strict=True)):
        soundfile.write(path, ramp(clip, samples), rate, subtype="FLOAT")
    made = {
        "name": "ramps",
        "tags": ("a", "b", "c"),
        "paths": tuple(map(str, paths)),
        "labels": np.eye(3, dtype=bool)[np.arange(len(lengths)) % 3],
    }
    return Dataset(**(made | changes))
