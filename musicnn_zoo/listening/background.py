"""Work in the background, a few pieces at a time, for requests that do not wait for ever."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

Value = TypeVar("Value")

_AT_ONCE = 2
_WAITING = 32
_KEPT = 8


class NotYet(Exception):  # noqa: N818
    """The work goes on; ask again."""


class BackgroundWork:
    """Pieces of work by key; what was made last is kept.

    Two are done at once, so that a long one does not keep all others waiting. Their threads do not
    keep the process from ending.
    """

    def __init__(self) -> None:
        self._turns = threading.Semaphore(_AT_ONCE)
        self._lock = threading.Lock()
        self._begun: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._stopped = False

    def result(self, key: Hashable, work: Callable[[], Value], *, patience_s: float) -> Value:
        """Return what the work gives; begin it, if it was not begun.

        Raises
        ------
        NotYet
            If it takes longer than ``patience_s``, or too much is waiting already.
        Exception
            What the work raises; it is begun anew when it is asked for again.
        """
        with self._lock:
            future = self._begun.get(key)
            if future is None:
                if sum(not each.done() for each in self._begun.values()) >= _WAITING:
                    raise NotYet
                future = Future()
                thread = threading.Thread(target=self._do, args=(key, work, future), daemon=True)
                thread.start()
                self._begun[key] = future
            self._begun.move_to_end(key)
        wait([future], patience_s)
        if not future.done():
            raise NotYet
        value: Value = future.result()
        return value

    def stop(self) -> None:
        """Begin nothing any more."""
        self._stopped = True

    def _do(self, key: Hashable, work: Callable[[], Any], future: Future[Any]) -> None:
        with self._turns:
            try:
                if self._stopped:
                    raise NotYet
                made = work()
            except BaseException as error:
                with self._lock:
                    self._begun.pop(key, None)
                future.set_exception(error)
                return
            future.set_result(made)
        with self._lock:
            done = [each for each, kept in self._begun.items() if kept.done()]
            for each in done[: max(0, len(done) - _KEPT)]:
                del self._begun[each]
