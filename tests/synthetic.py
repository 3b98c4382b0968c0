"""Sounds of three kinds, made of random numbers: tones, noise bursts and chirps."""

import numpy as np

KINDS = ("tone", "burst", "chirp")


def tone(seconds: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return np.sin(2 * np.pi * random.uniform(200, 1500) * seconds + random.uniform(0, 6))


def burst(seconds: np.ndarray, random: np.random.Generator) -> np.ndarray:
    rate = random.uniform(3, 6)
    gate = (seconds * rate + random.uniform()) % 1 < 0.3
    return random.normal(0, 0.5, len(seconds)) * gate


def chirp(seconds: np.ndarray, random: np.random.Generator) -> np.ndarray:
    rate = random.uniform(1, 3)
    sweep = (seconds * rate + random.uniform()) % 1
    frequency = 200 + 3000 * sweep
    return np.sin(2 * np.pi * np.cumsum(frequency) * (seconds[1] - seconds[0]))


def sounds(
    per_kind: int, samples: int, sample_rate: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Waveforms (clips, samples) and one-hot kinds (clips, 3)."""
    random = np.random.default_rng(seed)
    seconds = np.arange(samples) / sample_rate
    makers = (tone, burst, chirp)
    clips = [
        0.5 * make(seconds, random) + random.normal(0, 0.003, samples)
        for make in makers
        for _ in range(per_kind)
    ]
    kinds = np.repeat(np.eye(3, dtype=np.float32), per_kind, axis=0)
    return np.array(clips, np.float32), kinds
