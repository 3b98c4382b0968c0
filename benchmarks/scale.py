"""How much memory and time many files take, and what a cluster costs beside one process.

    python -m benchmarks.scale files --files 200000      # the local run and Ray, 200 and 200,000
    python -m benchmarks.scale throughput --rounds 5     # 100 clips of 30 s, taking turns

``files`` simulates: the files are links to a WAV of 0.1 s, which are found, decoded and written as
any, but the network is a stub that gives each patch the same scores. Each step is a process of its
own: its largest memory, that of its workers at a tenth of the run and at the end, and its seconds;
then the same once more, with nothing left to do. ``throughput`` computes in earnest. Numbers go to
standard output as JSON lines. Ray needs ``pip install "musicnn-zoo[ray]"``.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import soundfile

_LINKS = 20_000
"""So many names a file has at most; file systems have a limit."""
_IN_A_FOLDER = 1000
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "TF_CPP_MIN_LOG_LEVEL": "3"}
_RAY = {
    "num_cpus": 2, "object_store_memory": 128 << 20, "include_dashboard": False,
    "logging_level": "ERROR", "log_to_driver": False,
}  # fmt: skip


@click.group()
def cli() -> None:
    """Many files, in one process and on Ray."""


def stub_network() -> None:
    """Let ONNX Runtime's place be taken by what gives each patch the same scores."""
    from musicnn_zoo.runtimes.onnx_engine import OnnxEngine

    def run(_: Any, windows: Any, layers: tuple[str, ...]) -> dict[str, Any]:
        return {layer: np.full((len(windows), 50), 0.25, np.float32) for layer in layers}

    OnnxEngine.run = run  # type: ignore[method-assign]


def make_links(folder: Path, count: int) -> None:
    """Make ``count`` names of short WAV files."""
    sound = np.random.default_rng(0).normal(0, 0.1, 1600).astype(np.float32)
    first = folder
    for number in range(count):
        if number % _IN_A_FOLDER == 0:
            (folder / f"{number // _IN_A_FOLDER:04}").mkdir(parents=True)
        place = folder / f"{number // _IN_A_FOLDER:04}" / f"{number:06}.wav"
        if number % _LINKS == 0:
            soundfile.write(place, sound, 16000)
            first = place
        else:
            os.link(first, place)


def _memory_of_workers() -> int:
    """Memory of what computes and decodes for this process, in MiB; the most of one process."""
    listed = subprocess.run(
        ["ps", "-eo", "ppid,pid,args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[1:]
    rows = [
        (int(parent), int(pid), arguments)
        for parent, pid, arguments in (line.split(None, 2) for line in listed)
    ]
    below = {os.getpid()}
    for _ in range(6):
        below |= {pid for parent, pid, _ in rows if parent in below}
    return max(
        (
            memory_of(pid)
            for _, pid, arguments in rows
            if pid in below - {os.getpid()}
            and ("ray::MapWorker" in arguments or "isolation" in arguments)
        ),
        default=0,
    )


def memory_of(pid: int | str = "self") -> int:
    """Return the memory of a process in MiB, without what it shares, such as Ray's object store."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:  # it has ended meanwhile
        return 0
    found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) >> 10 if found else 0


@cli.command()
@click.option("--engine", type=click.Choice(["local", "ray"]), required=True)
@click.option("--folder", type=Path, required=True)
@click.option("--output", type=Path, required=True)
def step(engine: str, folder: Path, output: Path) -> None:
    """Do one run over a folder, and print what it took."""
    from musicnn_zoo import find_audio
    from musicnn_zoo.library.cluster_run import Progress, run_on_cluster
    from musicnn_zoo.library.store import Store, run_library
    from musicnn_zoo.tagging.tagger import Tagger
    from musicnn_zoo.zoo.load import find_pretrained

    stub_network()
    found = find_pretrained("MTT_musicnn")
    settings = {"kind": "tags", "model": found.spec.name, "weights": "stub", "silence": "skip"}
    begun = time.monotonic()
    paths = [os.fspath(path) for path in find_audio(folder)]
    listed_s = time.monotonic() - begun
    memory: list[int] = []
    driver = [0, memory_of()]

    def look(done: int) -> None:
        driver.append(memory_of())
        if done >= len(paths) * (len(memory) + 1) / 10:
            memory.append(_memory_of_workers())

    if engine == "local":

        def analyse(sources: list[str]) -> Any:
            results = Tagger(found, engine="onnxruntime").tag_files(sources)
            for done, result in enumerate(results, start=1):
                yield result
                if done % 256 == 0:
                    look(done)

        with Store(output, settings) as store:
            summary = run_library(paths, analyse, store)
    else:
        import ray

        def tell(told: Progress) -> None:
            look(told.done)

        if not output.exists():
            hook = {"worker_process_setup_hook": stub_network}
            ray.init(runtime_env=hook, **_RAY)
        summary = run_on_cluster(paths, output, settings, model=found, progress=tell)[0]
    click.echo(
        json.dumps(
            {
                "engine": engine, "files": len(paths), "done": summary.done,
                "skipped": summary.skipped, "failed": summary.failed,
                "list_s": round(listed_s, 1), "seconds": round(time.monotonic() - begun, 1),
                "driver_MiB": max(memory_of(), *driver),
                "driver_with_shared_MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
                "cpu_s": round(time.process_time(), 1),
                "worker_MiB_by_tenths": memory,
                "output_bytes": sum(one.stat().st_size for one in output.iterdir()),
                "output_files": len(list(output.iterdir())),
            }
        )
    )  # fmt: skip


def _call(*arguments: object) -> None:
    command = [sys.executable, "-m", "benchmarks.scale", *map(str, arguments)]
    subprocess.run(command, check=True, env={**os.environ, **_ENVIRONMENT})


@cli.command()
@click.option("--files", default=200_000)
@click.option("--few", default=200)
@click.option("--engine", "engines", multiple=True, default=("local", "ray"))
@click.option("--folder", type=Path, help="Where to make the files.  [default: a temporary folder]")
def files(files: int, few: int, engines: tuple[str, ...], folder: Path | None) -> None:
    """Run over few and over many files, and again with nothing to do."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        for count in (few, files):
            place = Path(made, str(count))
            make_links(place, count)
            for engine in engines:
                output = Path(made, f"{engine}{count}.parquet")
                for _ in ("first", "nothing to do"):
                    _call("step", "--engine", engine, "--folder", place, "--output", output)


@cli.command()
@click.option("--rounds", default=5)
@click.option("--clips", default=100)
@click.option("--seconds", default=30)
def throughput(rounds: int, clips: int, seconds: int) -> None:
    """Tag clips in one process and on Ray, in turns, both warm; print the ratio."""
    os.environ.update(_ENVIRONMENT)
    import ray

    from musicnn_zoo.library.cluster_run import run_on_cluster
    from musicnn_zoo.library.store import Store, run_library
    from musicnn_zoo.tagging.tagger import Tagger
    from musicnn_zoo.zoo.load import find_pretrained

    found = find_pretrained("MTT_musicnn")
    settings = {"kind": "tags", "model": found.spec.name, "weights": "w", "silence": "skip"}
    folder = Path(tempfile.mkdtemp())
    random = np.random.default_rng(1)
    paths = []
    for number in range(clips):
        paths.append(str(folder / f"{number:03}.flac"))
        sound = np.convolve(random.normal(0, 0.1, 16000 * seconds), np.ones(1 + number % 7), "same")
        soundfile.write(paths[-1], sound.astype(np.float32) / 4, 16000)
    tagger = Tagger(found, engine="onnxruntime")

    def local() -> float:
        begun = time.monotonic()
        with Store(folder / "local.parquet", settings, overwrite=True) as store:
            assert run_library(paths, tagger.tag_files, store).done == clips
        return time.monotonic() - begun

    def on_ray() -> float:
        told: list[tuple[float, int]] = []
        summary = run_on_cluster(
            paths, folder / "ray.parquet", settings, model=found, overwrite=True,
            progress=lambda one: told.append((time.monotonic(), one.done)),
        )[0]  # fmt: skip
        assert summary.done == clips
        # Warm: from the first blocks, which wait for the actors, to the last.
        (begun, before), (ended, after) = told[3], told[-1]
        return (ended - begun) / (after - before) * clips

    ray.init(**_RAY)
    turns: dict[Callable[[], float], list[float]] = {local: [], on_ray: []}
    for turn in range(rounds + 1):
        for each, taken in turns.items():
            seconds_taken = each()
            if turn:
                taken.append(seconds_taken)
    ratios = [one / two for one, two in zip(turns[local], turns[on_ray], strict=True)]
    click.echo(
        json.dumps(
            {
                "clips": clips, "clip_s": seconds,
                "local_s": [round(one, 2) for one in turns[local]],
                "ray_s": [round(one, 2) for one in turns[on_ray]],
                "ray_throughput_by_local": round(statistics.median(ratios), 3),
                "spread": [round(min(ratios), 3), round(max(ratios), 3)],
            }
        )
    )  # fmt: skip
    ray.shutdown()
    shutil.rmtree(folder)


if __name__ == "__main__":
    cli()
