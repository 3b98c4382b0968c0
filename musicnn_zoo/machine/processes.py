"""How many cores this process may use, and what must be done when it is forked.

A container sees all cores of its machine, and is paused whenever it has used its share of them, the
quota of a control group. More threads than that cost memory and gain nothing.

A fork has the memory of its parent, but only the thread that forked. This module is imported before
everything that it protects, because it must see the fork.
"""

from __future__ import annotations

import math
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from weakref import WeakSet

from musicnn_zoo.errors import DeviceError

_PERIOD_US = 100_000
_limits: list[int] = []
_ESCAPED = re.compile(r"\\([0-7]{3})")
_COUNTED_BY_LIBRARIES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


def usable_cores(*, root: Path = Path("/")) -> int:
    """Return how many cores this process may keep busy, at least 1.

    The least of what Python sees (the affinity; since Python 3.13 also ``PYTHON_CPU_COUNT``), the
    CPU quotas of its control groups, of version 1 and 2, rounded up, and what
    :func:`limit_cores` was told. ``proc`` and the mounted control groups are looked for below
    ``root``.
    """
    seen = min(_seen_cores(), *_limits) if _limits else _seen_cores()
    quotas = [quota for quota in _quotas(root) if 0 < quota < math.inf]
    return max(1, min([seen, *(math.ceil(quota) for quota in quotas)]))


def limit_cores(count: int) -> None:
    """Keep this process to a share of the machine, as a scheduler has given it.

    That holds for what begins to run afterwards.
    """
    _limits[:] = [max(1, count)]
    keep_libraries_to_usable_cores()


def keep_libraries_to_usable_cores() -> None:
    """Tell libraries that are not loaded yet of a quota or limit, by variables of the environment.

    TensorFlow and OpenBLAS count the cores that they see. Variables that are set already stay as
    they are.
    """
    cores = usable_cores()
    if cores < _seen_cores():
        for name in _COUNTED_BY_LIBRARIES:
            os.environ.setdefault(name, str(cores))


def _seen_cores() -> int:
    count = getattr(os, "process_cpu_count", None)  # since Python 3.13
    if count is not None:
        return count() or 1
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quotas of the process's groups and of those around them, in cores."""
    try:
        groups = (root / "proc/self/cgroup").read_text(encoding="utf-8")
        mounts = (root / "proc/self/mountinfo").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return
    version_1, version_2 = _group_paths(groups)
    for mount in mounts.splitlines():
        before, _, after = mount.partition(" - ")
        place, kind = before.split(), after.split()
        if len(place) < 5 or not kind:
            continue
        if kind[0] == "cgroup2" and version_2 is not None:
            group, read = version_2, _quota_of_version_2
        elif kind[0] == "cgroup" and "cpu" in kind[-1].split(",") and version_1 is not None:
            group, read = version_1, _quota_of_version_1
        else:
            continue
        mounted, point = (_unescaped(each) for each in place[3:5])
        for folder in _folders(root / point.lstrip("/"), mounted, group):
            try:
                yield read(folder)
            except (OSError, ValueError, ZeroDivisionError):
                continue


def _group_paths(groups: str) -> tuple[str | None, str | None]:
    """Return where the process is in the hierarchy of the CPU controller, of version 1 and 2."""
    version_1 = version_2 = None
    for line in groups.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            version_2 = path
        elif "cpu" in controllers.split(","):
            version_1 = path
    return version_1, version_2


def _folders(point: Path, mounted: str, group: str) -> Iterator[Path]:
    """Yield the folders of a group and of those around it that are mounted.

    Without a namespace of its own, a container is told the group's path on the host, and has that
    group, or one around it, mounted.
    """
    try:
        inside = PurePosixPath(group).relative_to(mounted)
    except ValueError:  # another part of the hierarchy is mounted: all that can be seen of it
        inside = PurePosixPath()
    yield point / inside
    for outer in inside.parents:
        yield point / outer


def _quota_of_version_2(folder: Path) -> float:
    quota, *period = (folder / "cpu.max").read_text(encoding="ascii").split()
    return math.inf if quota == "max" else int(quota) / int(period[0] if period else _PERIOD_US)


def _quota_of_version_1(folder: Path) -> float:
    quota = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
    period = int((folder / "cpu.cfs_period_us").read_text(encoding="ascii"))
    return math.inf if quota < 0 else quota / period


def _unescaped(path: str) -> str:
    """Undo the octal numbers by which mountinfo writes spaces."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), path)


_has_forked_tensorflow = False
_locks: WeakSet[ForkedLock] = WeakSet()


class ForkedLock:
    """A reentrant lock that is free in a forked process, unless its only thread holds it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def forget_other_threads(self) -> None:
        """Free the lock, if the thread that holds it was left behind by the fork."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lock = threading.RLock()


def refuse_forked_tensorflow() -> None:
    """Raise a DeviceError where TensorFlow would wait forever for threads left behind by a fork.

    That is where TensorFlow was running before this process was forked.
    """
    if _has_forked_tensorflow:
        raise DeviceError(
            "TensorFlow was running before this process was forked, and cannot continue in it: "
            "start processes by 'spawn' or 'forkserver', load models only after the fork, or take "
            "engine='onnxruntime', which may be forked"
        )


def _after_fork() -> None:
    global _has_forked_tensorflow
    _has_forked_tensorflow = _has_forked_tensorflow or _tensorflow_runs()
    for lock in list(_locks):
        lock.forget_other_threads()


def _tensorflow_runs() -> bool:
    """Whether TensorFlow has made its threads, which it does at its first operation."""
    module = sys.modules.get("tensorflow.python.eager.context")
    if module is None:
        return False
    context = getattr(module, "_context", None)
    return context is not None and bool(getattr(context, "_initialized", True))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
