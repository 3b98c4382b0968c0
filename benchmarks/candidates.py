"""Who takes part, and under which interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parent.parent

# What pip installs, and what it installs without dependencies.
_PEERS: dict[str, tuple[list[str], list[str]]] = {
    "essentia": (["essentia-tensorflow==2.1b6.dev1389", "numpy"], []),
    "original": (
        ["tensorflow==2.18.1", "tf-keras==2.18.0", "librosa==0.11.0", "numpy==1.26.4"],
        ["musicnn==0.1.0"],
    ),
}


@dataclass(frozen=True)
class Candidate:
    """One row of a table: what :mod:`benchmarks.worker` loads, with which options, by whom."""

    name: str
    kind: str
    options: dict[str, Any]
    python: str = sys.executable
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Setup:
    """What the candidates need from outside: a model, a cache folder and interpreters.

    ``previous`` is a revision of this project that takes part too, if one is named.
    """

    model: str
    cache: Path
    python: str
    torch_python: str
    names: tuple[str, ...]
    previous: str | None = None

    def candidates(self, part: str) -> Iterator[Candidate]:
        """Give those of a part, in the order of their turns, the first being the reference."""
        peers = ["essentia", "original"]
        if part == "network":
            peers = ["onnxruntime", "keras", "keras-without-onednn", "torch"]
        for name in ("ours", "previous", "ours-tensorflow", *peers):
            if self.names and name not in self.names:
                continue
            if name == "previous" and self.previous is None:
                continue
            try:
                yield self._make(name, part)
            except subprocess.CalledProcessError as error:
                said = (error.stderr or "").strip().splitlines() or ["no message"]
                click.echo(f"{name} is left out, it cannot be set up: {said[-1]}", err=True)

    def _make(self, name: str, part: str) -> Candidate:
        model = {"model": self.model}
        if name == "original":
            return Candidate(name, name, model, self._installed(name))
        if name == "essentia":
            options = {"graph": self._exported("essentia.pb")}
            return Candidate(name, name, options, self._installed(name))
        if name == "torch":
            options = {"weights": self._exported("torch.npz")}
            return Candidate(name, name, options, self.torch_python)
        if name == "onnxruntime":
            return Candidate(name, name, {"graph": self._exported("whole.onnx")})
        if name.startswith("keras"):
            return Candidate(name, "keras", model | {"onednn": name == "keras"})
        kind = "engine" if part == "network" else "project"
        engine = "tensorflow" if name.endswith("tensorflow") else "onnxruntime"
        found = {"PYTHONPATH": str(self._checked_out())} if name == "previous" else {}
        return Candidate(name, kind, model | {"engine": engine}, environment=found)

    def _checked_out(self) -> Path:
        """Folder with the sources of the previous revision; its libraries are those of now."""
        folder = self.cache.resolve() / f"previous-{self.previous}"
        if not folder.exists():
            _call(["git", "worktree", "prune"])
            _call(["git", "worktree", "add", "--detach", str(folder), str(self.previous)])
        return folder

    def _exported(self, file: str) -> str:
        path = self.cache.resolve() / "exported" / self.model / file
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            module = [sys.executable, "-m", "benchmarks.export"]
            _call([*module, str(path.parent), "--model", self.model])
        return str(path)

    def _installed(self, name: str) -> str:
        """Interpreter of a peer, whose environment is made the first time."""
        folder = self.cache.resolve() / f"venv-{name}"
        python = str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")
        complete = folder / "complete"
        if not complete.exists():
            click.echo(f"installing {name} …", err=True)
            pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            with_dependencies, alone = _PEERS[name]
            _call([self.python, "-m", "venv", "--clear", str(folder)])
            _call([*pip, *with_dependencies])
            if alone:
                _call([*pip, "--no-deps", *alone])
            complete.touch()
        return python


def quiet_environment(candidate: Candidate | None = None) -> dict[str, str]:
    """Return the environment of all processes started here, or of a candidate's."""
    own = candidate.environment if candidate else {}
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | own


def _call(command: list[str]) -> None:
    environment = quiet_environment()
    subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment)
