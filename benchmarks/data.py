"""Audio to tag, made from the example clips and from scratch, from fixed seeds."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 44100
EXAMPLES = Path(__file__).parent.parent / "examples" / "audio"

Stereo = NDArray[np.float32]


def make_files(folder: Path, lengths_s: Iterable[float]) -> list[str]:
    """Make one stereo MP3 (Ogg, if libsndfile is too old) for each length, or find it."""
    suffix = "mp3" if "MP3" in soundfile.available_formats() else "ogg"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for seed, length_s in enumerate(lengths_s):
        path = folder / f"{seed:03}_{length_s:g}s.{suffix}"
        if not path.exists():
            unfinished = path.with_name(f"unfinished.{suffix}")
            with soundfile.SoundFile(unfinished, "w", RATE, 2, format=suffix) as file:
                for scene in _music(length_s, seed):
                    file.write(scene.T)
            unfinished.rename(path)
        paths.append(str(path))
    return paths


def make_plain_clip(folder: Path) -> str:
    """Make 30 s of 16 kHz mono FLAC, which nobody needs to resample, downmix or guess."""
    path = folder / "plain.flac"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        mono = np.concatenate(list(_music(30, seed=1000)), axis=1).mean(axis=0)
        times = np.arange(30 * 16000) * (RATE / 16000)
        soundfile.write(path, np.interp(times, np.arange(mono.size), mono), 16000)
    return str(path)


def _music(length_s: float, seed: int) -> Iterator[Stereo]:
    """Scenes of 5 to 20 s: a piece of an example clip, faster or slower, or a made-up band."""
    rng = np.random.default_rng(seed)
    missing = round(length_s * RATE)
    while missing > 0:
        count = min(missing, int(rng.uniform(5, 20) * RATE))
        scene = _excerpt(rng, count) if rng.random() < 0.6 else _band(rng, count)
        yield scene.clip(-1, 1).astype(np.float32)
        missing -= count


def _excerpt(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    clips = _examples()
    clip = clips[rng.integers(len(clips))]
    times = rng.uniform(0, clip.shape[1]) + np.arange(count) * rng.uniform(0.9, 1.1)
    before = times.astype(int)
    left, right = (clip.take(before + step, axis=1, mode="wrap") for step in (0, 1))
    mixed: NDArray[np.float64] = left + (right - left) * (times - before)
    return mixed


@functools.cache
def _examples() -> tuple[Stereo, ...]:
    paths = sorted(EXAMPLES.glob("*.ogg"))
    return tuple(soundfile.read(path, dtype="float32", always_2d=True)[0].T for path in paths)


def _band(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Chords of decaying harmonics over drums."""
    beat = int(RATE * 60 / rng.uniform(70, 150))
    time = np.arange(beat) / RATE
    drum = rng.normal(0, 0.3, (2, beat)) * np.exp(-time * 30)
    decays = {harmonic: 0.12 * np.exp(-time * 3 * harmonic) for harmonic in (1, 2, 3, 5)}
    root = rng.uniform(80, 240)
    sound = np.zeros((2, count + beat))
    for start in range(0, count, beat):
        here = sound[:, start : start + beat]
        here += drum * rng.uniform(0, 1)
        for step in rng.integers(0, 12) + np.array([0, 4, 7]):
            turns = 2 * np.pi * root * 2 ** (step / 12) * time
            note = sum(decay * np.sin(turns * harmonic) for harmonic, decay in decays.items())
            pan = rng.uniform(0.2, 0.8)
            here += np.outer([pan, 1 - pan], note)
    return sound[:, :count]
