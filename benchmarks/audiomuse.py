"""Tracks an hour, and memory, of AudioMuse-AI's vectors: ``python -m benchmarks.audiomuse``.

Tracks of four minutes, MP3 at 44.1 kHz in stereo, are indexed with ``--compatible audiomuse`` and,
taking turns, with ``--model MSD_musicnn``, each time into a new library. Numbers go to standard
output as JSON lines: medians of the rounds, and the most memory that the command and what it starts
had at any time, what they share counted once.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

import click
import numpy as np
import soundfile

_TRACK_S = 240
_RATE = 44_100
_WATCHED_S = 0.03
WAYS = {
    "audiomuse": ["--compatible", "audiomuse"],
    "ours": ["--model", "MSD_musicnn"],
}


def memory_of_family(process: int) -> float:
    """Return the memory of a process and of what it started, in MiB (on Linux)."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(status.parent.name))
    family, held = [process], 0
    for each in family:
        family += children.get(each, [])
        with suppress(OSError):
            shares = re.search(
                r"^Pss: +(\d+)", Path(f"/proc/{each}/smaps_rollup").read_text(), re.M
            )
            held += int(shares[1]) if shares else 0
    return held / 1024


def peak_memory(command: list[str]) -> float:
    """Run a command to its end and return the most memory that it and its children had, in MiB."""
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0.0
    while running.poll() is None:
        peak = max(peak, memory_of_family(running.pid))
        time.sleep(_WATCHED_S)
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, command)
    return peak


def make_tracks(folder: Path, count: int) -> None:
    """Write tracks that differ."""
    random = np.random.default_rng(0)
    for number in range(count):
        with soundfile.SoundFile(folder / f"{number}.mp3", "w", _RATE, 2) as file:
            for _ in range(_TRACK_S // 10):
                noise = random.normal(0, 0.1, (10 * _RATE, 2))
                file.write((noise * random.uniform(0.1, 1)).astype(np.float32))


@click.command()
@click.option("--tracks", type=click.IntRange(min=1), default=12, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
def main(tracks: int, rounds: int) -> None:
    """Index tracks of four minutes as AudioMuse-AI does, and as this package does."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    peaks: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "music")
        folder.mkdir()
        make_tracks(folder, tracks)
        for number in range(rounds):
            for way, options in WAYS.items():
                library = str(Path(place, f"{way}{number}.sqlite"))
                command = [
                    sys.executable, "-m", "musicnn_zoo", "index", str(folder),
                    "--library", library, *options,
                ]  # fmt: skip
                begun = time.perf_counter()
                peaks[way].append(peak_memory(command))
                seconds[way].append(time.perf_counter() - begun)
    for way, took in seconds.items():
        figures = {
            "tracks_an_hour": round(3600 * tracks / median(took)),
            "times_real_time": round(_TRACK_S * tracks / median(took)),
            "peak_MiB": round(max(peaks[way])),
        }
        click.echo(json.dumps({"way": way, **figures}))


if __name__ == "__main__":
    main()
