"""Candidates that take turns."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from benchmarks.candidates import Candidate, quiet_environment

Turn = Callable[[dict[str, Any]], dict[str, Any]]
"""From a job to ``seconds`` and maybe more."""

_PAUSE_S = 0.3
"""Until the threads of the one before sleep: ONNX Runtime's spin for 0.06 s after a run."""


class CandidateError(Exception):
    """A candidate could not be loaded or failed at a job."""


@dataclass
class Measured:
    """What a candidate took in each round, and what it said in the last one."""

    seconds: list[float] = field(default_factory=list)
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def median_s(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.seconds)

    def ratio(self, reference: Measured) -> tuple[float, float, float]:
        """Return the ratio of the medians, the smallest and the largest of one round."""
        pairs = zip(self.seconds, reference.seconds, strict=True)
        ratios = [mine / theirs for mine, theirs in pairs]
        return self.median_s / reference.median_s, min(ratios), max(ratios)


class Worker:
    """A candidate loaded in its own process; leave the context to end it."""

    def __init__(self, candidate: Candidate, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                worker_command(candidate),
                env=quiet_environment(candidate),
                text=True,
                encoding="utf-8",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self.versions: dict[str, str] = self._answer()["versions"]

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()

    def __call__(self, job: dict[str, Any]) -> dict[str, Any]:
        """Do a job."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the missing answer says why
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            said = self._log.read_text(errors="replace").strip().splitlines() or ["no message"]
            raise CandidateError(f"{said[-1]} (exit {self._process.returncode}, see {self._log})")
        answer: dict[str, Any] = json.loads(line)
        return answer


def fresh_process(command: list[str], environment: dict[str, str]) -> Turn:
    """Return a turn that runs a command on the files of its job, and waits for its end."""

    def turn(job: dict[str, Any]) -> dict[str, Any]:
        start = time.perf_counter()
        ended = subprocess.run(
            [*command, *job["paths"]], env=environment, capture_output=True, check=False
        )
        seconds = time.perf_counter() - start
        if ended.returncode:
            raise CandidateError(f"exit {ended.returncode}: {ended.stderr.decode()[-300:]}")
        return {"seconds": seconds}

    return turn


def worker_command(candidate: Candidate) -> list[str]:
    """Command that loads a candidate."""
    script = str(Path(__file__).with_name("worker.py"))
    return [candidate.python, script, candidate.kind, json.dumps(candidate.options)]


def alternate(
    turns: dict[str, Turn], job: dict[str, Any], *, warm_up: dict[str, Any], rounds: int
) -> dict[str, Measured]:
    """Let all take turns after a round with another job; those that fail are left out, aloud."""
    measured = {name: Measured() for name in turns}
    for number in range(rounds + 1):
        for name in list(measured):
            time.sleep(_PAUSE_S)
            try:
                answer = turns[name](job if number else warm_up)
            except CandidateError as error:
                click.echo(f"{name} is left out: {error}", err=True)
                del measured[name]
                continue
            if number:
                measured[name].seconds.append(answer["seconds"])
                measured[name].answer = answer
            click.echo(f"round {number}/{rounds} {name}: {answer['seconds']:.2f} s", err=True)
    return measured
