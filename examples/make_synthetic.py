"""Make a data set of music-like clips out of nothing, to try things on.

    python examples/make_synthetic.py OUTPUT --clips 200
    python examples/make_synthetic.py OUTPUT --clips 200 --classes

The first makes a multi-label data set, ``OUTPUT/clips.csv`` with the columns path, tags, group and
split. The second makes a folder of classes, the timbres, ``OUTPUT/TIMBRE/SONG/1.flac``, without
drums and noise. The tags:

* sine, saw, square, bell: the timbre of the notes
* high, low: the register, if it is not in the middle
* fast, slow: 150 to 190 or 60 to 80 beats a minute, if it is not in between
* chords: triads instead of single notes
* tremolo: the notes tremble in loudness, 4 to 8 times a second
* drums: a bass drum and a snare, which may be much softer than the notes
* noise: as of a bad radio, 0 to 20 dB below the notes

Two clips each are excerpts of one song: they have its tags, key and sound, not the same notes.
Songs are the groups, and no song is in two splits. The same seed makes the same files.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from musicnn_zoo.datasets import Dataset, split

RATE = 16000
CLIPS_PER_SONG = 2
FRACTIONS = (0.7, 0.1, 0.2)

TIMBRES: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {
    "sine": (np.ones(1), np.ones(1)),
    "saw": (np.arange(1, 25), 1 / np.arange(1, 25)),
    "square": (np.arange(1, 25, 2), 1 / np.arange(1, 25, 2)),
    "bell": (np.array([1, 2.76, 5.4, 8.93]), np.array([1, 0.6, 0.4, 0.25])),
}
"""For each timbre the frequencies of its partials, as multiples of the lowest, and their levels."""

REGISTERS = {"low": (36, 47), "": (55, 64), "high": (72, 83)}
"""Lowest and highest MIDI key of the tonic; no tag for the middle."""
PACES = {"slow": (60, 80), "": (95, 125), "fast": (150, 190)}
"""Beats a minute; no tag for the middle."""
TONAL = ("chords", "tremolo")
EXTRAS = (*TONAL, "drums", "noise")
TAGS = (*TIMBRES, "high", "low", "fast", "slow", *EXTRAS)

PENTATONIC = (0, 2, 4, 7, 9, 12)
TRIAD = (0, 4, 7)

Sound = NDArray[np.float64]


@dataclass(frozen=True)
class Song:
    """What the clips of a song have in common.

    Parameters
    ----------
    name, timbre, register, pace : str
        ``register`` and ``pace`` may be empty.
    extras : tuple of str
        Those of ``EXTRAS`` that it has.
    tonic : int
        MIDI key.
    beat_s : float
    decay : float
        Of a note, in 1/s.
    brightness : float
        Partials change in level by this power of their frequency.
    tremolo_hz, tremolo_depth : float
    drums_db, noise_db : float
        Relative to the notes.
    """

    name: str
    timbre: str
    register: str
    pace: str
    extras: tuple[str, ...]
    tonic: int
    beat_s: float
    decay: float
    brightness: float
    tremolo_hz: float
    tremolo_depth: float
    drums_db: float
    noise_db: float

    @property
    def tags(self) -> tuple[str, ...]:
        """What can be heard, in the order of ``TAGS``."""
        heard = {self.timbre, self.register, self.pace, *self.extras}
        return tuple(tag for tag in TAGS if tag in heard)


def draw_song(number: int, seed: int, extras: Sequence[str] = EXTRAS) -> Song:
    """Draw a song with some of the extras; the timbres take turns."""
    random = np.random.default_rng([seed, number])
    register, pace = random.choice(list(REGISTERS)), random.choice(list(PACES))
    return Song(
        name=f"song_{number:04}",
        timbre=list(TIMBRES)[number % len(TIMBRES)],
        register=str(register),
        pace=str(pace),
        extras=tuple(extra for extra in extras if random.random() < 0.4),
        tonic=int(random.integers(*REGISTERS[register], endpoint=True)),
        beat_s=60 / random.uniform(*PACES[pace]),
        decay=random.uniform(0.5, 5),
        brightness=random.uniform(-0.5, 0.2),
        tremolo_hz=random.uniform(4, 8),
        tremolo_depth=random.uniform(0.4, 0.9),
        drums_db=random.uniform(-18, 0),
        noise_db=random.uniform(-20, 0),
    )


def play(song: Song, seconds: float, random: np.random.Generator) -> Sound:
    """Play an excerpt of a song."""
    count = round(seconds * RATE)
    beats = math.ceil(seconds / song.beat_s)
    notes, drums = np.zeros(count), np.zeros(count)
    for beat in range(beats):
        start = round(beat * song.beat_s * RATE)
        _mix(drums, start, _drum(beat, random))
        if beat and random.random() < 0.15:
            continue
        key = song.tonic + int(random.choice(PENTATONIC))
        for interval in TRIAD if "chords" in song.extras else (0,):
            _mix(notes, start, _note(song, key + interval))
    if "tremolo" in song.extras:
        turns = song.tremolo_hz * np.arange(count) / RATE + random.random()
        notes *= 1 - song.tremolo_depth * (0.5 + 0.5 * np.sin(2 * np.pi * turns))
    sound = notes / notes.std()
    if "drums" in song.extras:
        sound += drums / drums.std() * _gain(song.drums_db)
    noise_db = song.noise_db if "noise" in song.extras else random.uniform(-60, -40)
    sound += random.normal(size=count) * _gain(noise_db)
    return sound / np.abs(sound).max() * _gain(random.uniform(-18, -1))


def make_table(output: Path, clips: int, seconds: float, seed: int) -> None:
    """Write a multi-label data set: a table, and its clips beside it."""
    made = write_clips(output, "clips/{song.name}_{number}.flac", EXTRAS, clips, seconds, seed)
    heard = [tag for tag in TAGS if any(tag in song.tags for song in made.values())]
    dataset = split(
        Dataset(
            name=output.name,
            tags=tuple(heard),
            paths=tuple(made),
            labels=np.array([[tag in song.tags for tag in heard] for song in made.values()]),
            groups=tuple(song.name for song in made.values()),
        ),
        FRACTIONS,
        seed=seed,
    )
    with (output / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "tags", "group", "split"))
        for (path, song), part in zip(made.items(), dataset.splits or (), strict=True):
            writer.writerow((path, ";".join(song.tags), song.name, part))


def make_classes(output: Path, clips: int, seconds: float, seed: int) -> None:
    """Write a folder of classes, in which each song has a folder."""
    write_clips(output, "{song.timbre}/{song.name}/{number}.flac", TONAL, clips, seconds, seed)


def write_clips(
    output: Path, pattern: str, extras: Sequence[str], clips: int, seconds: float, seed: int
) -> dict[str, Song]:
    """Write clips; return of which song each is, by its path in ``output``."""
    made = {}
    for index in range(clips):
        number, excerpt = divmod(index, CLIPS_PER_SONG)
        song = draw_song(number, seed, extras)
        sound = play(song, seconds, np.random.default_rng([seed, number, excerpt + 1]))
        path = pattern.format(song=song, number=excerpt + 1)
        (output / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(output / path, sound, RATE)
        made[path] = song
    return made


def main() -> None:
    """Make what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--classes", action="store_true", help="make a folder of classes")
    arguments = parser.parse_args()
    make = make_classes if arguments.classes else make_table
    make(arguments.output, arguments.clips, arguments.seconds, arguments.seed)


def _note(song: Song, key: int) -> Sound:
    time = np.arange(round(0.95 * song.beat_s * RATE)) / RATE
    multiples, levels = TIMBRES[song.timbre]
    frequencies = 440 * 2 ** ((key - 69) / 12) * multiples
    levels = levels * multiples**song.brightness * (frequencies < 0.45 * RATE)
    wave = levels @ np.sin(2 * np.pi * np.outer(frequencies, time))
    fades = np.minimum(time, time[::-1]).clip(max=0.02) / 0.02
    return wave * np.exp(-song.decay * time) * fades


def _drum(beat: int, random: np.random.Generator) -> Sound:
    """Sound a bass drum on even beats, a snare on odd ones."""
    time = np.arange(round(0.15 * RATE)) / RATE
    if beat % 2:
        return 0.5 * random.normal(size=len(time)) * np.exp(-40 * time)
    return np.sin(2 * np.pi * (50 * time - 2 * np.exp(-30 * time))) * np.exp(-20 * time)


def _mix(sound: Sound, start: int, part: Sound) -> None:
    room = sound[start : start + len(part)]
    room += part[: len(room)]


def _gain(decibels: float) -> float:
    return float(10 ** (decibels / 20))


if __name__ == "__main__":
    main()
