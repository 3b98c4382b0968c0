"""The folder beside the output of a library run: lock, settings, failures, journals."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from musicnn_zoo.durable import GrowingFile, replacing, sync_folder
from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.library.writers import csv_lines, safe_cell
from musicnn_zoo.plain_text import printable
from musicnn_zoo.text import path_to_text

REMEDY = "name another output (--output), or start this one anew (--overwrite)"


class RunFolder:
    """The folder ``<output>.run``.

    Parameters
    ----------
    output : Path
    """

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(f"{output.name}.run")
        self._output = output
        self._settings = self.path / "settings.json"
        self._lock = FileLock(self.path / "lock", timeout=0, thread_local=False)
        self.failures = self.path / "failures.csv"
        self._failures: GrowingFile | None = None

    @property
    def started(self) -> bool:
        """Whether a run has written its settings here."""
        return self._settings.exists()

    def lock(self) -> None:
        """Make the folder, and see that no other run uses it while this process lives."""
        self.path.mkdir(exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise ArgumentError(
                f"output {str(self._output)!r}: another run is writing it; "
                "let it end, or name another output"
            ) from error

    def unlock(self) -> None:
        """Let others use the folder."""
        if self._failures is not None:
            self._failures.close()
            self._failures = None
        self._lock.release()

    def start_anew(self, settings: Mapping[str, Any], leftovers: Iterable[str]) -> None:
        """Delete what an earlier run left, then write the settings."""
        for name in leftovers:
            (self.path / name).unlink(missing_ok=True)
        sync_folder(self.path)
        with replacing(self._settings, self.path / "settings.next") as file:
            file.write(json.dumps(settings, indent=1).encode())

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Refuse to go on with other settings than the output was made with."""
        made = f"output {str(self._output)!r} was made with"
        try:
            old = dict(json.loads(self._settings.read_bytes()))
        except (ValueError, TypeError) as error:
            raise ArgumentError(f"{made} settings that cannot be read; {REMEDY}") from error
        different = [
            f"{name} {_shown(old, name)} (now {_shown(settings, name)})"
            for name in dict.fromkeys([*old, *settings])
            if _shown(old, name) != _shown(settings, name)
        ]
        if different:
            raise ArgumentError(f"{made} other settings: {', '.join(different)}; {REMEDY}")

    def open_failures(self) -> None:
        """Start the list of this run's failures, ``failures.csv``."""
        self._failures = GrowingFile(self.failures)
        self._failures.cut(0)
        self._failures.append(csv_lines([("path", "reason")]).encode())

    def record_failures(self, failures: Sequence[tuple[str, str]]) -> None:
        """Add files and why they failed, each on one line that is safe to look at."""
        assert self._failures is not None
        rows = [
            [safe_cell(printable(path_to_text(path))), safe_cell(printable(reason))]
            for path, reason in failures
        ]
        self._failures.append(csv_lines(rows).encode())


def _shown(settings: Mapping[str, Any], name: str) -> str:
    return json.dumps(settings[name], sort_keys=True) if name in settings else "not set"
