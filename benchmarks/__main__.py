"""Command line; see :mod:`benchmarks`."""

from __future__ import annotations

import json
import random
import sys
from contextlib import ExitStack
from functools import partial
from operator import truediv
from pathlib import Path
from typing import Any

import click

from benchmarks import report
from benchmarks.candidates import Candidate, Setup, quiet_environment
from benchmarks.data import make_files, make_plain_clip
from benchmarks.schedule import (
    CandidateError,
    Turn,
    Worker,
    alternate,
    fresh_process,
    worker_command,
)
from musicnn_zoo.zoo.catalogue import PRESETS

FOLDER = Path(__file__).parent
PARTS = ("network", "endtoend", "memory", "coldstart")
BATCH, REPEATS = 16, 3


class Benchmark:
    """All parts on one machine, with what they found."""

    def __init__(self, setup: Setup, rounds: int | None, quick: bool) -> None:
        self._setup = setup
        self._rounds = rounds
        self._quick = quick
        self.found: dict[str, Any] = {}
        self.versions: dict[str, dict[str, str]] = {}

    def network(self) -> None:
        """Run patches through the network."""
        job = {"batch": BATCH, "repeats": REPEATS}
        with ExitStack() as stack:
            turns = self._load(stack, "network")
            measured = alternate(turns, job, warm_up=job, rounds=self._count(9))
        each = REPEATS * BATCH
        self._show("network", report.timing(measured, "ms a patch", lambda s: s / each * 1000))
        self._show("network, agreement", report.agreement(measured, "patches", slice(None)))

    def endtoend(self) -> None:
        """Tag folders; the first file is one that needs no resampling."""
        draw = random.Random(0)
        tracks, clips = [float(draw.randint(60, 240)) for _ in range(50)], [10.0] * 300
        if self._quick:
            tracks, clips = [25.0, 40.0], [10.0] * 4
        plain = make_plain_clip(self._data("plain"))
        for name, lengths_s in (("tracks", tracks), ("clips", clips)):
            paths = [plain, *make_files(self._data(name), lengths_s)]
            with ExitStack() as stack:
                turns = self._load(stack, "endtoend")
                job, warm_up = {"paths": paths}, {"paths": paths[:4]}
                measured = alternate(turns, job, warm_up=warm_up, rounds=self._count(3))
            audio_s = 30 + sum(lengths_s)
            part = f"endtoend, {len(lengths_s)} {name}"
            realtime = partial(truediv, audio_s)
            self._show(part, report.timing(measured, "× real time", realtime))
            compared = report.agreement(measured, "a clip of 16 kHz", slice(1))
            self._show(f"{part}, agreement without resampling", compared)
            compared = report.agreement(measured, "the others' mean scores", slice(1, None))
            self._show(f"{part}, agreement", compared)

    def memory(self) -> None:
        """Tag files of several lengths, each in a fresh process."""
        lengths_s = {"30 s": 30.0, "10 min": 600.0, "2 h": 7200.0}
        if self._quick:
            lengths_s = {"30 s": 30.0, "2 min": 120.0}
        paths = make_files(self._data("lengths"), lengths_s.values())
        peaks: dict[str, dict[str, float]] = {}
        for candidate in self._setup.candidates("memory"):
            mine = peaks[candidate.name] = {}
            for label, path in zip(lengths_s, paths, strict=True):
                try:
                    with self._worker(candidate) as worker:
                        mine[label] = worker({"paths": [path]})["peak_mib"]
                except CandidateError as error:
                    click.echo(f"{candidate.name}, {label}: {error}", err=True)
                click.echo(f"memory {candidate.name}, {label}: {mine.get(label)} MiB", err=True)
        rows = []
        for name, mine in peaks.items():
            start = mine.get("30 s", float("nan"))
            values = [mine.get(label, float("nan")) for label in lengths_s]
            rows.append([name, f"{start:.0f}", *(f"{value / start:.2f}" for value in values[1:])])
        header = ["candidate", "30 s, MiB", *(f"{label} / 30 s" for label in list(lengths_s)[1:])]
        self._show("memory", (report.table(header, rows), peaks))

    def coldstart(self) -> None:
        """Tag one clip in a fresh process."""
        job = {"paths": make_files(self._data("coldstart"), [30.0])}
        turns = {
            candidate.name: fresh_process(_whole_command(candidate), quiet_environment(candidate))
            for candidate in self._setup.candidates("coldstart")
        }
        measured = alternate(turns, job, warm_up=job, rounds=self._count(5))
        self._show("coldstart", report.timing(measured, "s", lambda s: s))

    def _load(self, stack: ExitStack, part: str) -> dict[str, Turn]:
        turns: dict[str, Turn] = {}
        for candidate in self._setup.candidates(part):
            try:
                turns[candidate.name] = stack.enter_context(self._worker(candidate))
            except CandidateError as error:
                click.echo(f"{candidate.name} is left out: {error}", err=True)
        return turns

    def _worker(self, candidate: Candidate) -> Worker:
        worker = Worker(candidate, self._setup.cache / "logs" / f"{candidate.name}.log")
        self.versions[candidate.name] = worker.versions
        return worker

    def _count(self, usual: int) -> int:
        return self._rounds or (2 if self._quick else usual)

    def _data(self, name: str) -> Path:
        return self._setup.cache / "audio" / (f"quick-{name}" if self._quick else name)

    def _show(self, title: str, result: tuple[str, Any]) -> None:
        text, data = result
        if data:
            self.found[title] = data
            click.echo(f"\n## {title}\n\n{text}")


def _whole_command(candidate: Candidate) -> list[str]:
    if candidate.kind != "project":
        return worker_command(candidate)
    engine, model = candidate.options["engine"], candidate.options["model"]
    # The folder from which this runs must not come before the previous revision.
    run = "import runpy, sys; sys.path.pop(0); runpy.run_module('musicnn_zoo', None, '__main__')"
    return [sys.executable, "-c", run, "tag", "--engine", engine, "--model", model]


def _listed(_context: Any, _option: Any, value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


@click.command(context_settings={"show_default": True})
@click.option("--only", default=",".join(PARTS), callback=_listed, help="Parts, with commas.")
@click.option("--candidates", default="", callback=_listed, help="These only, with commas.")
@click.option("--rounds", type=click.IntRange(1), help="By default 9, 3 or 5, after the part.")
@click.option("--quick", is_flag=True, help="A few small files and two rounds: a test.")
@click.option("--name", help="Of the results; by default 'quick' or 'latest'.")
@click.option("--cache", type=click.Path(path_type=Path), default=FOLDER / ".cache")
@click.option(
    "--model",
    type=click.Choice([name for name, preset in PRESETS.items() if preset.graph]),
    default="MTT_musicnn",
    help="One that is bundled.",
)
@click.option("--previous", metavar="REVISION", help="Of git: takes part beside what is here.")
@click.option("--python", default=sys.executable, help="Makes the peers' environments.")
@click.option("--torch-python", default=sys.executable, help="Has PyTorch.")
def main(
    only: tuple[str, ...], candidates: tuple[str, ...], rounds: int | None, quick: bool,
    name: str | None, cache: Path, model: str, previous: str | None, python: str,
    torch_python: str,
) -> None:  # fmt: skip
    """Compare speed and memory with what else tags music; see `python -m pydoc benchmarks`."""
    unknown = ", ".join(set(only) - set(PARTS))
    if unknown:
        raise click.UsageError(f"no such part: {unknown}; there are {', '.join(PARTS)}")
    if model != "MTT_musicnn" and "torch" in candidates:
        raise click.UsageError("torch is MTT_musicnn only")
    machine = report.machine()
    click.echo("\n".join(f"- {key}: {value}" for key, value in machine.items()))
    setup = Setup(model, cache, python, torch_python, candidates, previous)
    benchmark = Benchmark(setup, rounds, quick)
    path = FOLDER / "results" / f"{name or ('quick' if quick else 'latest')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    for part in only:
        getattr(benchmark, part)()
        results = {
            "machine": machine,
            "model": model,
            "versions": benchmark.versions,
            "parts": benchmark.found,
        }
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
