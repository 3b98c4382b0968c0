"""Render a data set of instruments: ``python -m benchmarks.instruments OUTPUT``.

Excerpts of Bach's chorales, played by the sounds of a General MIDI soundfont: which instrument is
it? For the table of :mod:`benchmarks.transfer`. The folder is one for
``musicnn_zoo.datasets.from_folder``, the table in it, which has the chorales as groups, one for
``from_table``::

    OUTPUT/train/flute/bwv253.flac
    OUTPUT/clips.csv

There is nothing to go by but how an instrument sounds:

* **Test clips are played by another soundfont.** Training and validation clips are rendered with
  FluidR3, test clips with TimGM6mb. Validation is on known sounds, the test on unknown ones. The
  two share no recording. (Small soundfonts often do: csound's ``sf_GMbank`` has most recordings of
  TimGM6mb, and must not stand on the other side.)
* **All classes play the same chorales.** Each split has its own, all with different tunes, and
  every class plays each of them once. Excerpt, key, octave, tempo, number of voices and touch are
  drawn for every clip, for all classes in the same way.
* **A class is a family** of one to four General MIDI programs, each in its natural range.
* **No two clips are recorded alike**: reverberation, tone (a tilt of up to 2 dB an octave), hiss
  and level are drawn, too.

It needs ``apt-get install fluidsynth fluid-soundfont-gm timgm6mb-soundfont`` and ``pip install
".[instruments]"``. The chorales are in the public domain and come encoded with music21 (BSD;
its corpus is for use, not for passing on). FluidR3 is under the MIT licence, TimGM6mb under the
GPL 2. No clip is part of this repository. With the same versions of all these, the same seed
renders the same clips.
"""

from __future__ import annotations

import csv
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import pretty_midi
import soundfile
import soxr
from music21 import corpus
from numpy.typing import NDArray
from tqdm import tqdm

from musicnn_zoo.datasets import Dataset, split

INSTRUMENTS: dict[str, dict[int, tuple[int, int]]] = {
    "piano": {0: (36, 96), 1: (36, 96), 3: (36, 96)},
    "harpsichord": {6: (36, 89)},
    "mallets": {11: (53, 89), 12: (48, 96), 13: (65, 96)},
    "organ": {16: (36, 96), 17: (36, 96), 19: (36, 96)},
    "acoustic guitar": {24: (40, 83), 25: (40, 83)},
    "electric guitar": {26: (40, 86), 27: (40, 86), 29: (40, 86), 30: (40, 86)},
    "strings": {40: (55, 96), 41: (48, 88), 42: (36, 76), 48: (36, 96)},
    "choir": {52: (43, 79), 53: (43, 79)},
    "brass": {56: (55, 82), 57: (40, 72), 60: (41, 77)},
    "saxophone": {64: (56, 87), 65: (49, 80), 66: (44, 75), 67: (37, 68)},
    "reeds": {68: (58, 91), 70: (34, 72), 71: (50, 89)},
    "flutes": {72: (74, 102), 73: (60, 96), 74: (60, 96)},
}
"""For each class its General MIDI programs, counted from 0, with their lowest and highest key."""

FRACTIONS = (4 / 7, 1 / 7, 2 / 7)
SOUNDFONTS = Path("/usr/share/sounds/sf2")
SYNTH_RATE, RATE = 44100, 22050
VOICES = 4
TUNE = 8
REVERB_CONTROL = 91

SOUNDFONT = click.Path(exists=True, dir_okay=False, path_type=Path)


class Note(NamedTuple):
    """A note of a score; times in quarters."""

    start: float
    end: float
    key: int


class Chorale(NamedTuple):
    """A score in four voices, the highest first."""

    name: str
    voices: list[list[Note]]


class Clip(NamedTuple):
    """What is to be rendered, and where to."""

    chorale: Chorale
    instrument: str
    soundfont: Path
    output: Path
    random: np.random.Generator


def read_chorales(random: np.random.Generator) -> Iterator[Chorale]:
    """Read four-part chorales in random order, of each tune the first that comes."""
    paths = sorted(corpus.getComposer("bach"))
    tunes: set[tuple[int, ...]] = set()
    for index in random.permutation(len(paths)):
        score = corpus.parse(paths[index])
        voices = [
            [
                Note(float(note.offset), float(note.offset + note.quarterLength), pitch.midi)
                for note in part.flatten().stripTies().notes
                for pitch in note.pitches[-1:]
            ]
            for part in score.parts
        ]
        if len(voices) != VOICES or min(map(len, voices)) < TUNE:
            continue
        tune = tuple(np.diff([note.key for note in voices[0][:TUNE]]).tolist())
        if tune not in tunes:
            tunes.add(tune)
            yield Chorale(paths[index].stem, voices)


def arrange(clip: Clip, seconds: float) -> pretty_midi.PrettyMIDI:
    """Draw an excerpt of a chorale and how the instrument plays it."""
    random, chorale = clip.random, clip.chorale
    programs = INSTRUMENTS[clip.instrument]
    program = int(random.choice(list(programs)))
    lowest, highest = programs[program]
    quarter_s = 60 / random.uniform(55, 120)
    length = seconds / quarter_s
    begin = math.floor(random.uniform(0, max(chorale.voices[0][-1].end - length, 0)))
    voices = [(0,), (0, 3), (0, 1, 2, 3)][random.integers(3)]
    transposition = int(random.integers(-6, 6) + 12 * random.integers(-1, 2))
    touch, legato = random.uniform(55, 115), random.uniform(0.75, 1)
    player = pretty_midi.Instrument(program)
    reverb = int(random.integers(0, 110))
    player.control_changes.append(pretty_midi.ControlChange(REVERB_CONTROL, reverb, 0))
    for voice in voices:
        notes = chorale.voices[voice]
        centre = np.mean([note.key for note in notes]) + transposition
        octaves = round((float(np.clip(centre, lowest + 8, highest - 8)) - centre) / 12)
        for note in notes:
            if note.end <= begin or note.start >= begin + length:
                continue
            start = max(note.start - begin, 0) * quarter_s + random.uniform(0, 0.02)
            held = (note.end - begin) * quarter_s - start
            velocity = int(np.clip(touch + random.normal(0, 6), 20, 127))
            key = _into_range(note.key + transposition + 12 * octaves, lowest, highest)
            end = start + max(held * legato, 0.08)
            player.notes.append(pretty_midi.Note(velocity, key, start, end))
    score = pretty_midi.PrettyMIDI()
    score.instruments.append(player)
    return score


def synthesise(
    score: pretty_midi.PrettyMIDI, soundfont: Path, room: float, seconds: float
) -> NDArray[np.float64]:
    """Play a score by FluidSynth; return mono at ``RATE``."""
    with tempfile.TemporaryDirectory() as folder:
        midi, wave = Path(folder, "score.mid"), Path(folder, "score.wav")
        score.write(str(midi))
        settings = {
            "synth.dynamic-sample-loading": 1,
            "synth.gain": 0.4,
            "synth.reverb.room-size": f"{room:.2f}",
            "synth.sample-rate": SYNTH_RATE,
        }
        options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        command = ["fluidsynth", "-niq", *options, "-T", "wav", "-F", wave, soundfont, midi]
        subprocess.run(command, check=True, capture_output=True)
        stereo, _ = soundfile.read(wave, always_2d=True)
    count = round(seconds * SYNTH_RATE)
    mono = stereo.mean(axis=1)[:count]
    return soxr.resample(np.pad(mono, (0, count - len(mono))), SYNTH_RATE, RATE)


def record(sound: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Change the tone, add hiss and set the level."""
    frequencies = np.fft.rfftfreq(2 * len(sound), 1 / RATE)
    octaves = np.log2(np.maximum(frequencies, 50) / 1000)
    tone = 10 ** (random.uniform(-2, 2) * octaves / 20)
    sound = np.fft.irfft(np.fft.rfft(sound, 2 * len(sound)) * tone)[: len(sound)]
    white = np.fft.rfft(random.normal(size=2 * len(sound)))
    pink = np.fft.irfft(white * 2 ** (-octaves / 2))[: len(sound)]
    sound = sound / sound.std() + pink / pink.std() * _gain(-random.uniform(15, 45))
    return sound / np.abs(sound).max() * _gain(-random.uniform(1, 20))


def render(clip: Clip, seconds: float) -> None:
    """Render one clip."""
    score = arrange(clip, seconds)
    room = clip.random.uniform(0.2, 0.9)
    sound = synthesise(score, clip.soundfont, room, seconds)
    clip.output.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(clip.output, record(sound, clip.random), RATE)


def plan(chorales: list[Chorale], seed: int) -> Dataset:
    """Let every class play every chorale, and divide the chorales among the splits."""
    pairs = [(name, chorale.name) for chorale in chorales for name in INSTRUMENTS]
    planned = Dataset(
        name="instruments",
        tags=tuple(INSTRUMENTS),
        paths=tuple(f"{name}/{piece}.flac" for name, piece in pairs),
        labels=np.array([[name == tag for tag in INSTRUMENTS] for name, _ in pairs]),
        groups=tuple(piece for _, piece in pairs),
    )
    return split(planned, FRACTIONS, by="group", seed=seed)


def render_all(
    output: Path, clips_per_class: int, seconds: float, seed: int, soundfonts: dict[str, Path]
) -> None:
    """Render the clips and write the table of them.

    Parameters
    ----------
    output : Path
    clips_per_class : int
    seconds : float
    seed : int
    soundfonts : dict of str to Path
        That of each split.
    """
    found = read_chorales(np.random.default_rng(seed))
    chorales = {chorale.name: chorale for chorale in islice(found, clips_per_class)}
    planned = plan(list(chorales.values()), seed)
    clips, rows = [], []
    for number, (path, piece, part) in enumerate(
        zip(planned.paths, planned.groups or (), planned.splits or (), strict=True)
    ):
        instrument = Path(path).parent.name
        random = np.random.default_rng([seed, number])
        place = Path(part, path)
        clips.append(Clip(chorales[piece], instrument, soundfonts[part], output / place, random))
        rows.append((place.as_posix(), instrument, piece, part))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rendered = pool.map(lambda clip: render(clip, seconds), clips)
        list(tqdm(rendered, total=len(clips), unit="clip"))
    with (output / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "tags", "group", "split"), *rows])


def _into_range(key: int, lowest: int, highest: int) -> int:
    """Move a key by octaves."""
    if key < lowest:
        return key + 12 * math.ceil((lowest - key) / 12)
    return key - 12 * math.ceil(max(key - highest, 0) / 12)


def _gain(decibels: float) -> float:
    return float(10 ** (decibels / 20))


@click.command(help="Render a data set of instruments into the folder OUTPUT.")
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@click.option("--clips-per-class", default=70, show_default=True, type=click.IntRange(7, 200))
@click.option("--seconds", default=6.0, show_default=True, type=click.FloatRange(1))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option(
    "--soundfont",
    default=SOUNDFONTS / "FluidR3_GM.sf2",
    show_default=True,
    type=SOUNDFONT,
    help="For training and validation.",
)
@click.option(
    "--test-soundfont",
    default=SOUNDFONTS / "TimGM6mb.sf2",
    show_default=True,
    type=SOUNDFONT,
    help="For the test.",
)
def main(
    output: Path,
    clips_per_class: int,
    seconds: float,
    seed: int,
    soundfont: Path,
    test_soundfont: Path,
) -> None:
    """Check what is needed, and render."""
    if shutil.which("fluidsynth") is None:
        raise click.ClickException("fluidsynth is not installed: apt-get install fluidsynth")
    if output.exists() and any(output.iterdir()):
        raise click.ClickException(f"{output} is not empty")
    soundfonts = {"train": soundfont, "validation": soundfont, "test": test_soundfont}
    render_all(output, clips_per_class, seconds, seed, soundfonts)


if __name__ == "__main__":
    main()
