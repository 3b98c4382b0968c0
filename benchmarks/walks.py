"""Count the files of the package that common calls pass through.

    python benchmarks/walks.py [-v]

Each call runs once before it is counted, so that imports and models that stay loaded are not part
of the walk. Prints, for each call, how many files of ``musicnn_zoo`` it enters, how many functions,
and how often the walk goes from one file to another; with ``-v``, the files too. All threads count.
Files named ``__init__.py`` count if one of their functions runs.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click

import musicnn_zoo

PACKAGE = str(Path(musicnn_zoo.__file__).parent)
AUDIO = Path(__file__).parent.parent / "examples" / "audio"


class Walk:
    """The files and functions entered while it is followed, and the changes of file."""

    def __init__(self) -> None:
        self.files: dict[str, None] = {}
        self.functions: set[CodeType] = set()
        self.changes = 0
        self._last: dict[int, str] = {}

    def _enter(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(PACKAGE):
            return
        if code.co_name == "<module>":
            return
        thread = threading.get_ident()
        if self._last.get(thread) not in (None, code.co_filename):
            self.changes += 1
        self._last[thread] = code.co_filename
        self.files.setdefault(code.co_filename)
        self.functions.add(code)

    def follow(self, call: Callable[[], Any]) -> None:
        """Run a call and note its way."""
        threading.setprofile(self._enter)
        sys.setprofile(self._enter)
        try:
            call()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]


def _command(*arguments: str) -> None:
    from musicnn_zoo.cli import main

    given, sys.argv = sys.argv, ["musicnn-zoo", *arguments]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            main()
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"musicnn-zoo {' '.join(arguments)} ended with {ended}") from None
    finally:
        sys.argv = given


def calls(work: Path) -> dict[str, Callable[[], Any]]:
    """Return the calls by what a user would write."""
    from musicnn_zoo.datasets import from_folder, split
    from musicnn_zoo.training import FROM_SCRATCH

    clip = str(AUDIO / "techno_loop.ogg")
    tagger = musicnn_zoo.Tagger("MTT_musicnn")
    library = work / "library"
    for label, name in (("loop", "techno_loop"), ("acoustic", "bach_chorale_strings")):
        for copy in range(6):
            (library / label).mkdir(parents=True, exist_ok=True)
            shutil.copy(AUDIO / f"{name}.ogg", library / label / f"{copy}.ogg")
    dataset = split(from_folder(library), (0.5, 0.25, 0.25))
    outputs = (work / f"run{count}" for count in range(1000))

    trained = []

    def train() -> None:
        model = musicnn_zoo.build_model("musicnn", tags=dataset.tags, name="walked")
        recipe = FROM_SCRATCH.with_phases(epochs=1)
        trained.append(next(outputs))
        musicnn_zoo.train_model(model, dataset, trained[-1], recipe=recipe)

    return {
        "tag(path)": lambda: musicnn_zoo.tag(clip),
        "Tagger.embed_files": lambda: list(tagger.embed_files([clip])),
        "load_model": lambda: musicnn_zoo.load_model("MTT_musicnn"),
        "tag DIR -o x.parquet": lambda: _command(
            "tag", str(library), "-o", str(next(outputs).with_suffix(".parquet"))
        ),
        "train_model": train,
        "evaluate_model": lambda: musicnn_zoo.evaluate_model(
            trained[-1], dataset, split="test", bootstrap=0
        ),
    }


@click.command()
@click.option("-v", "--verbose", is_flag=True, help="Name the files.")
def main(verbose: bool) -> None:
    """Walk each call and print the table."""
    with tempfile.TemporaryDirectory() as work:
        click.echo(f"{'call':24} {'files':>5} {'functions':>9} {'changes of file':>15}")
        for name, call in calls(Path(work)).items():
            call()
            walk = Walk()
            walk.follow(call)
            click.echo(f"{name:24} {len(walk.files):5} {len(walk.functions):9} {walk.changes:15}")
            if verbose:
                files = (str(Path(file).relative_to(PACKAGE)) for file in walk.files)
                click.echo(f"    {' '.join(files)}")


if __name__ == "__main__":
    main()
