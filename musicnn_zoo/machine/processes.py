"""What a forked process must not inherit: locks that nobody will release, a TensorFlow that runs.

A fork has the memory of its parent, but only the thread that forked. This module is imported
before anything that it looks after, since it must know of the fork.
"""

from __future__ import annotations

import os
import sys
import threading
from weakref import WeakSet

from musicnn_zoo.errors import DeviceError

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
        """Free it, if a thread holds it that was not forked."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lock = threading.RLock()


def refuse_forked_tensorflow() -> None:
    """Say what to do, where TensorFlow would wait for ever for threads that were not forked.

    Raises
    ------
    DeviceError
        If TensorFlow had begun to run before this process was forked.
    """
    if _has_forked_tensorflow:
        raise DeviceError(
            "TensorFlow had begun to run before this process was forked, and cannot go on in it: "
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
