"""What runs in a process of its own: functions that may crash it; see :mod:`musicnn_zoo.machine.isolation`.

A request is a line of JSON, and as many bytes as it says. Answers are messages of one letter, a
length of four bytes, and so many bytes: ``R`` ready; ``B`` a piece of the result; ``E`` its end,
with what the function returned as JSON; ``A`` an AudioError, as JSON of its class and its text;
``X`` another exception.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

from musicnn_zoo.errors import AudioError

MEMORY_BYTES = 1 << 30
"""Most memory that a worker gets from the system, beside that of a file that it is sent."""
_WATCH_S = 1.0


def serve() -> None:
    """Answer requests from standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    # What a native library prints is for the log.
    os.dup2(2, 1)
    _limit_memory()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    for module in ("av", "soxr", "musicnn_zoo.sound.read"):
        importlib.import_module(module)
    _send(answers, b"R")
    requests = sys.stdin.buffer
    with contextlib.suppress(BrokenPipeError):
        while line := requests.readline():
            request = json.loads(line)
            content = None
            if request["content"] is not None:
                _limit_memory(beside=request["content"])
                content = requests.read(request["content"])
            _answer(answers, request, content)


def _answer(answers: BinaryIO, request: dict[str, Any], content: bytes | None) -> None:
    arguments = request["arguments"]
    if content is not None:
        arguments["audio"] = io.BytesIO(content)
    module, name = request["function"].split(":")
    try:
        pieces: Iterator[bytes] = getattr(importlib.import_module(module), name)(**arguments)
        while True:
            try:
                piece = next(pieces)
            except StopIteration as end:
                _send(answers, b"E", json.dumps(end.value).encode())
                return
            _send(answers, b"B", piece)
    except BrokenPipeError:
        raise
    except AudioError as error:
        _send(answers, b"A", json.dumps([type(error).__name__, str(error)]).encode())
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        _send(answers, b"X", text.encode(errors="surrogatepass"))


def _send(answers: BinaryIO, kind: bytes, payload: bytes = b"") -> None:
    answers.write(kind + struct.pack("<I", len(payload)))
    answers.write(payload)
    answers.flush()


def _limit_memory(*, beside: int = 0) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = MEMORY_BYTES + beside
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end_with(parent: int) -> None:
    """End when the process that asked has gone, also while a decoder does not come back."""
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os._exit(1)
