"""How fast a library answers: ``python -m benchmarks.collection FOLDER --rows 100000``.

It makes a library of random rows in FOLDER, unless it is there, and asks it in processes of their
own: for the seconds and the memory of the whole command, and for those of the question alone.
Seconds of a processor say how fast it is where others are at work, too. Then it asks as players ask
``musicnn-zoo serve``, for the seconds of an answer.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np

from musicnn_zoo.library.library_file import LibraryFile
from musicnn_zoo.library.neighbours import cosines, scan, unit, vectors_of
from musicnn_zoo.library.subsonic import API_VERSION, OpenSubsonic, Request
from musicnn_zoo.zoo.catalogue import MTT_TAGS
from musicnn_zoo.zoo.load import find_pretrained

QUERY = "piano > 0.4 and slow > 0.2 and not vocals > 0.3"
SEED = "/music/artist 7/track 7.flac"
_DIMENSIONS = 200
_BLOCK = 10_000
_ASK = """
import json, resource, sys, time
from musicnn_zoo import Library
import numpy
library = Library(sys.argv[1])
begun, worked = time.perf_counter(), time.process_time()
found = {call}
took = time.perf_counter() - begun, time.process_time() - worked
print(json.dumps([*took, len(found)]))
"""
_PEAK = """
import re, sys
from pathlib import Path
from musicnn_zoo.cli import cli
cli(sys.argv[1:], standalone_mode=False)
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1], file=sys.stderr)
"""
"""Linux counts in a process's own ``ru_maxrss`` what the one that started it had."""
CALLS = {
    "similar": f"library.similar({SEED!r})",
    "find": f"library.find({QUERY!r})",
    "playlist": f"library.playlist({SEED!r}, '/music/artist 9/track 9.flac')",
    "clusters": "library.clusters(12, n=20)",
}
COMMANDS = {
    "similar": ["similar", SEED],
    "find": ["find", QUERY],
    "playlist": ["playlist", "--from", SEED, "--to", "/music/artist 9/track 9.flac"],
    "clusters": ["playlist", "--cluster", "12", "-n", "20"],
}


def make_library(path: Path, rows: int) -> None:
    """Make a library of random rows: vectors in a thousand crowds, scores that are mostly low."""
    random = np.random.default_rng(0)
    with LibraryFile(path, write=True) as library:
        model = find_pretrained("MTT_musicnn")
        analysis = library.make_analysis(
            model="MTT_musicnn", place="MTT_musicnn", weights=model.digest(),
            settings={"patch_s": 2.992, "hop_s": 2.992, "tail": "drop", "silence": "skip"},
            tags=MTT_TAGS,
        )  # fmt: skip
        space = library.make_space(analysis, "penultimate", _DIMENSIONS)
        crowds = random.normal(size=(1000, _DIMENSIONS))
        places = ", ".join("?" * (1 + len(MTT_TAGS)))
        for first in range(1, rows + 1, _BLOCK):
            numbers = range(first, min(first + _BLOCK, rows + 1))
            vectors = crowds[random.integers(len(crowds), size=len(numbers))]
            halves = unit(vectors + random.normal(size=vectors.shape)).astype("<f2")
            scores = random.beta(0.3, 2, size=(len(numbers), len(MTT_TAGS))).astype(np.float32)
            with library.changing() as connection:
                connection.executemany(
                    "INSERT INTO sounds VALUES (?, ?, ?)",
                    ((number, f"{number:064x}", 60 + number % 300) for number in numbers),
                )
                connection.executemany(
                    "INSERT INTO files (path, size, mtime_ns, sound, state, title, artist) "
                    "VALUES (?, 1, 1, ?, 'present', ?, ?)",
                    (
                        (
                            f"/music/artist {number % 997}/track {number}.flac", number,
                            f"Track {number}", f"Artist {number % 997}",
                        )
                        for number in numbers
                    ),
                )  # fmt: skip
                connection.executemany(
                    f"INSERT INTO {analysis.table} VALUES ({places})",
                    ((n, *row) for n, row in zip(numbers, scores.tolist(), strict=True)),
                )
                connection.executemany(
                    f"INSERT INTO {space.table} VALUES (?, 1.0, ?)",
                    ((n, row.tobytes()) for n, row in zip(numbers, halves, strict=True)),
                )


def ask(path: Path, name: str, rounds: int) -> dict[str, Any]:
    """Ask in processes of their own; return medians of seconds and the peak of memory in MB."""
    told: dict[str, list[float]] = {
        "shell_s": [], "shell_cpu_s": [], "question_s": [], "question_cpu_s": [], "peak_mb": [],
    }  # fmt: skip
    for _ in range(rounds):
        command = [sys.executable, "-m", "musicnn_zoo", *COMMANDS[name], "--library", str(path)]
        begun, worked = time.perf_counter(), _worked()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        told["shell_s"].append(time.perf_counter() - begun)
        told["shell_cpu_s"].append(_worked() - worked)
        asking = [sys.executable, "-c", _ASK.replace("{call}", CALLS[name]), str(path)]
        took, worked, found = json.loads(
            subprocess.run(asking, check=True, capture_output=True).stdout
        )
        told["question_s"].append(took)
        told["question_cpu_s"].append(worked)
        peak = [sys.executable, "-c", _PEAK, *command[3:]]
        printed = subprocess.run(
            peak, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ).stderr
        told["peak_mb"].append(int(printed.split()[-1]) / 1024)
    medians = {name: round(median(values), 3) for name, values in told.items()}
    return medians | {"peak_mb": round(max(told["peak_mb"])), "found": found}


def _worked() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def time_faiss(path: Path, k: int = 20) -> dict[str, Any]:
    """Ask all vectors as the library does, and an exact index of FAISS; seconds of processors."""
    import faiss

    marks = [time.process_time()]
    with LibraryFile(path) as library:
        space = library.space(library.analysis())
        query = vectors_of(library, space, [7])
        sounds, similarities = cosines(library, space, query)
        nearest = sounds[np.argsort(-similarities[0], kind="stable")[:k]]
        marks.append(time.process_time())
        index = faiss.IndexFlatIP(space.dimensions)
        for _, vectors in scan(library, space):
            index.add(vectors)
    marks.append(time.process_time())
    _, found = index.search(query, k)
    marks.append(time.process_time())
    asked, built, searched = np.diff(marks).round(2)
    return {
        "asked_s": asked, "faiss_built_s": built, "faiss_searched_s": searched,
        "faiss_mb": round(index.ntotal * 4 * index.d / 1e6),
        "same": len(set(nearest.tolist()) & set(sounds[found[0]].tolist())),
    }  # fmt: skip


def answer(path: Path, rounds: int) -> dict[str, float]:
    """Ask as players do; return medians of seconds by method."""
    api = OpenSubsonic(path)
    seed, end = f"{7:064x}", f"{9:064x}"
    asked = {
        "search3": {"query": "track 777"},
        "getSonicSimilarTracks": {"id": seed, "count": "50"},
        "findSonicPath": {"startSongId": seed, "endSongId": end},
    }
    seconds = {}
    for method, parameters in asked.items():
        took = []
        for _ in range(rounds):
            begun = time.perf_counter()
            api.answer(Request(method, {"v": API_VERSION, "c": "benchmark", **parameters}))
            took.append(time.perf_counter() - begun)
        seconds[method] = round(median(took), 3)
    return seconds


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--rows", type=click.IntRange(min=1000), default=100_000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=9, show_default=True)
@click.option("--faiss", is_flag=True, help="Time an index of faiss-cpu instead.")
def main(folder: Path, rows: int, rounds: int, faiss: bool) -> None:
    """Make a library in FOLDER and ask it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"rows_{rows}.sqlite"
    if not path.exists():
        make_library(path, rows)
    click.echo(f"{rows:,} rows, {path.stat().st_size / 1e6:.0f} MB")
    if faiss:
        click.echo(json.dumps(time_faiss(path)))
        return
    for name in COMMANDS:
        click.echo(f"{name}: {json.dumps(ask(path, name, rounds))}")
    click.echo(f"serve: {json.dumps(answer(path, rounds))}")


if __name__ == "__main__":
    main()
