"""Install the package under every CPython found, and run the tests marked "platform" there.

    python .ci/matrix.py WORK_FOLDER [--tested] [--only TEXT]

With --tested, the environment that runs this has passed the whole suite already, and is a row as
it is. Rows: each interpreter with what pip chooses today; the oldest with the lowest versions that
pyproject.toml admits; the newest that TensorFlow has a wheel for, with the newest of everything,
without Kapre, which caps TensorFlow, Keras and librosa; and the newest with the light
installation of docs/light, which has none of them. Prints one line a row with the versions and
what the tests said, and exits with 1 if a row failed or fewer than two interpreters were found.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
MINORS = range(10, 15)
SHOWN = (
    "tensorflow",
    "keras",
    "kapre",
    "librosa",
    "numpy",
    "av",
    "soundfile",
    "onnxruntime",
    "beets",
)
LIGHT = ROOT / "docs" / "light" / "requirements.txt"
LIMIT_S = 1500
"""Of the tests of one row, in seconds: they take two to three minutes."""


@dataclass
class Row:
    """One environment: an interpreter and what is installed in it."""

    name: str
    python: Path
    install: list[list[str]]
    tests: list[str]
    versions: dict[str, str] = field(default_factory=dict)
    said: str = ""
    passed: bool = False
    seconds: float = 0.0

    def line(self) -> str:
        """Return versions, result and time in one line."""
        versions = "  ".join(f"{name} {self.versions.get(name, '-')}" for name in SHOWN)
        result = "passed" if self.passed else "FAILED"
        return f"{self.name:30}  {versions}  {result}: {self.said} ({self.seconds:.0f} s)"


def interpreters() -> dict[int, Path]:
    """Find a CPython of each minor version that runs, and say which is missing."""
    folders = [Path(place) for place in os.environ.get("PATH", "").split(os.pathsep) if place]
    pyenv = shutil.which("pyenv")
    if pyenv is not None:
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=True)
        folders += sorted(Path(root.stdout.strip()).glob("versions/3.*/bin"))
    found: dict[int, Path] = {}
    for minor in MINORS:
        for folder in folders:
            candidate = folder / f"python3.{minor}"
            if candidate.exists() and _is(candidate, minor):
                found[minor] = candidate
                break
        where = found.get(minor)
        print(f"Python 3.{minor}: {'found' if where else 'not found'}", flush=True)
    return found


def _is(python: Path, minor: int) -> bool:
    code = "import sys, venv, ensurepip; print(sys.implementation.name, sys.version_info[1])"
    ran = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return ran.stdout.split() == ["cpython", str(minor)]


def has_tensorflow(uv: str, minor: int) -> bool:
    """Whether a released TensorFlow has a wheel for this Python."""
    compiled = subprocess.run(
        [uv, "pip", "compile", "-q", "--python-version", f"3.{minor}", "--only-binary", ":all:",
         "--prerelease", "disallow", "--no-header", "-"],
        input="tensorflow", capture_output=True, text=True, check=False,
    )  # fmt: skip
    return compiled.returncode == 0


def rows(found: dict[int, Path], uv: str, work: Path, tested: int | None) -> list[Row]:
    """Plan the rows to run: all but that of the minor version that was tested."""
    full = [minor for minor in found if has_tensorflow(uv, minor)]
    package = f"{ROOT}[test]"
    no_kapre = work / "without-kapre.txt"
    no_kapre.write_text("kapre\n")
    planned = [
        Row(f"Python 3.{minor}", found[minor], [[package]], ["-m", "platform and not slow"])
        for minor in full
        if minor != tested
    ]
    if not full:
        sys.exit("TensorFlow has a wheel for none of these, or the registry was not reached")
    lowest, newest = min(full), max(full)
    planned.append(
        Row(
            f"Python 3.{lowest}, lowest versions", found[lowest],
            [["--resolution", "lowest-direct", package]], ["-m", "platform and not slow"],
        )
    )  # fmt: skip
    planned.append(
        Row(
            f"Python 3.{newest}, newest, no Kapre", found[newest],
            [["--excludes", str(no_kapre), package]], ["-m", "platform and not slow"],
        )
    )  # fmt: skip
    planned.append(
        Row(
            f"Python 3.{max(found)}, light", found[max(found)],
            [["-r", str(LIGHT), "pytest", "pytest-xdist", "hypothesis"], ["--no-deps", str(ROOT)]],
            ["-m", "light"],
        )
    )  # fmt: skip
    return planned


def run(row: Row, uv: str, work: Path) -> None:
    """Install and test one row."""
    begun = time.monotonic()
    place = work / re.sub(r"\W+", "-", row.name)
    log = place.with_suffix(".log")
    commands = [[uv, "venv", "-q", "--clear", "-p", str(row.python), str(place)]]
    commands += [
        [uv, "pip", "install", "-q", "--compile-bytecode", "-p", str(place), *what]
        for what in row.install
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=work)
        if done.returncode:
            row.said = "not installed"
            print(done.stdout, done.stderr, sep="\n", flush=True)
            return
    python = next(place.glob("*/python"))
    row.versions = _versions(python)
    with log.open("w") as output:
        try:
            done = subprocess.run(
                [python.with_name("pytest"), "-n", "2", "--dist", "loadfile",
                 "-p", "no:cacheprovider", "--durations", "15", *row.tests],
                cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, check=False, timeout=LIMIT_S,
            )  # fmt: skip
            row.passed = done.returncode == 0
        except subprocess.TimeoutExpired:
            output.write(f"\nended after {LIMIT_S} s\n")
    lines = log.read_text().splitlines() or [""]
    row.said = next((line for line in reversed(lines) if re.search(r"\d+ \w+.* in ", line)), "")
    row.seconds = time.monotonic() - begun
    print("\n".join(lines[-80:] if not row.passed else lines[-20:]), flush=True)
    shutil.rmtree(place)


def _versions(python: Path) -> dict[str, str]:
    code = (
        "import importlib.metadata as m, sys\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(name, m.version(name))\n"
        "    except m.PackageNotFoundError: pass\n"
    )
    listed = subprocess.run(
        [python, "-c", code, *SHOWN], capture_output=True, text=True, check=True
    )
    return dict(line.split() for line in listed.stdout.splitlines())


def main() -> None:
    """Run all rows, print the table, and exit with 1 if one of them failed."""
    arguments = argparse.ArgumentParser(description="The matrix of Pythons and versions.")
    arguments.add_argument("work", type=Path, help="folder for environments and wheels")
    arguments.add_argument("--tested", action="store_true", help="this Python passed all tests")
    arguments.add_argument("--only", default="", metavar="TEXT", help="rows with this in the name")
    given = arguments.parse_args()
    work = given.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("UV_CACHE_DIR", str(work / "wheels"))
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        sys.exit("uv is not installed: pip install uv")
    found = interpreters()
    if len(found) < 2:
        sys.exit("the matrix needs at least two of these interpreters")
    done = []
    if given.tested:
        here = Path(sys.executable)
        row = Row(f"Python 3.{sys.version_info[1]}", here, [], [], _versions(here))
        row.passed, row.said = True, "the whole suite"
        done.append(row)
    tested = sys.version_info[1] if given.tested else None
    planned = [row for row in rows(found, uv, work, tested) if given.only in row.name]
    for row in planned:
        print(f"\n=== {row.name}", flush=True)
        run(row, uv, work)
        print(row.line(), flush=True)
    print("\n=== Matrix")
    print("\n".join(row.line() for row in [*done, *planned]), flush=True)
    if not all(row.passed for row in planned):
        sys.exit(1)


if __name__ == "__main__":
    main()
