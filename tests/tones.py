"""A small data set whose classes anything that learns can tell."""

from pathlib import Path

import numpy as np
import soundfile

RATE = 16000


def tone(pitch: float, seconds: float, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    noise = random.normal(0, 0.02, len(time))
    return (0.3 * np.sin(2 * np.pi * pitch * random.uniform(0.9, 1.1) * time) + noise).astype("f4")


def write_tones(root: Path) -> Path:
    """Write three classes of tones of low, middle and high pitch, eight clips each."""
    for name, pitch in (("low", 200), ("middle", 900), ("top", 4000)):
        (root / name).mkdir()
        for number in range(8):
            signal = tone(pitch, 1 + number / 8, seed=number)
            soundfile.write(root / name / f"{number}.wav", signal, RATE, subtype="FLOAT")
    return root
