"""Call functions in processes of their own, so that a crash or a hang does not end this one.

A request is a line of JSON and the bytes of a file, if there is one. An answer is a letter, a
length in four bytes and a payload of that length: ``R`` ready; ``B`` a piece of the result; ``E``
its end, with what the function returned as JSON; ``A`` an AudioError, as JSON of its class and its
text; ``X`` another exception.

Decoders are native code, and files come from anywhere. A worker is kept for the next call; one that
died is replaced. This module imports nothing that takes long, so that a worker can be started while
what computes is still loaded.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import io
import json
import logging
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO

from musicnn_zoo.errors import AudioError, DecoderCrashError, DecoderTimeoutError
from musicnn_zoo.machine.processes import ForkedLock

MEMORY_BYTES = 1 << 30
"""Most memory that a worker may take, beside that of a file that it is sent."""
_PARENT_WATCH_S = 1.0


def serve(modules: Sequence[str]) -> None:
    """Import modules, and answer requests from standard input until it ends."""
    answers = os.fdopen(os.dup(1), "wb")
    # What a native library prints goes to the log.
    os.dup2(2, 1)
    _limit_memory()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    for module in modules:
        importlib.import_module(module)
    _send(answers, b"R")
    requests = sys.stdin.buffer
    with contextlib.suppress(BrokenPipeError):
        while line := requests.readline():
            request = json.loads(line)
            if "imports" in request:
                for module in request["imports"]:
                    importlib.import_module(module)
                _send(answers, b"R")
                continue
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
        time.sleep(_PARENT_WATCH_S)
    os._exit(1)


_log = logging.getLogger(__name__)

_PATIENCE_S = 15.0
_PATIENCE_OF_A_BYTE_S = 1 / (4 << 20)
"""How long a piece of the result may take: 15 s, and one more for each 4 MiB of the file."""
_START_S = 120.0
_IDLE_S = 30.0
_ATTEMPTS = 2
_WATCH_S = 0.2
_START = (
    "import sys; sys.path[:] = [path for path in sys.path if path]; "
    "import json; sys.path[:], modules = json.loads(sys.stdin.buffer.readline()); "
    "from musicnn_zoo.sound.isolation import serve; serve(modules)"
)
"""Nothing is imported from the folder in which the user happens to be."""


class _WorkerDiedError(Exception):
    """A worker ended during a call."""


class WorkerStartError(Exception):
    """No worker can be started here, as where Python is part of another program."""


def call_isolated(
    function: str,
    label: str,
    *,
    content: bytes | None = None,
    size: int = 0,
    imports: Sequence[str] = (),
    **arguments: Any,
) -> Generator[bytes, None, Any]:
    """Call a generator function ``"module:name"`` in a worker; yield and return what it does.

    It yields bytes; its arguments, and what it returns, are what JSON can hold. ``content`` becomes
    its argument ``audio``, as a binary file object. Messages call the file ``label``; one that has
    more bytes, ``size``, may take longer. A worker imports the modules ``imports`` before the
    call, so that no time of a call is spent on them.

    Raises
    ------
    AudioError
        As the function does.
    DecoderCrashError
        If the file crashes two workers.
    DecoderTimeoutError
        If a worker does not answer in time.
    WorkerStartError
        If there can be no workers.
    """
    request = {
        "function": function,
        "arguments": arguments,
        "content": None if content is None else len(content),
    }
    patience_s = _PATIENCE_S + size * _PATIENCE_OF_A_BYTE_S
    taken = 0
    for attempt in range(_ATTEMPTS):
        try:
            worker = _workers.take((*imports, function.partition(":")[0]), new=attempt > 0)
        except WorkerStartError as error:
            if attempt == 0:
                raise
            raise DecoderCrashError(
                f"{label}: crashes the decoder, and no other can be started ({error})"
            ) from error
        try:
            number = 0
            for kind, payload in worker.ask(request, content, patience_s):
                if kind == b"B":
                    number += 1
                    if number > taken:
                        taken = number
                        yield payload
                    continue
                _workers.give_back(worker, label)
                if kind == b"E":
                    return json.loads(payload)
                if kind == b"A":
                    raise _audio_error(*json.loads(payload))
                text = payload.decode(errors="surrogatepass")
                raise AudioError(f"{label}: cannot be decoded ({text})")
        except _WorkerDiedError as death:
            worker.end(label)
            if worker.timed_out:
                raise DecoderTimeoutError(
                    f"{label}: the decoder gave nothing for {patience_s:.0f} s and was ended"
                ) from death
            if attempt + 1 == _ATTEMPTS:
                raise DecoderCrashError(
                    f"{label}: crashes the decoder ({worker.reason}), tried {_ATTEMPTS} times"
                ) from death
        finally:
            if worker.busy:
                worker.end(label)
    raise AssertionError


START_BYTES = 512
_BY_LIBSNDFILE = re.compile(
    rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]|OggS.{0,255}\x01vorbis", re.DOTALL
)


def late_imports(start: bytes) -> tuple[str, ...]:
    """Guess what must be imported to decode a file that starts with these bytes.

    libsndfile decodes MP3 and Vorbis, FFmpeg the rest, and what is odd.
    """
    return ("soundfile" if _BY_LIBSNDFILE.match(start) else "av"), "soxr"


def prepare_decoding(module: str, arguments: Sequence[str]) -> None:
    """Start the process in which a module will decode the first of ``arguments`` that is a file.

    It returns at once; the process takes as long to start as what computes takes to load. Nothing
    depends on it: a process that is not needed ends with this one.
    """
    for path in map(Path, arguments):
        try:
            if not path.is_file():  # what comes through a pipe can be read only once
                continue
            with path.open("rb") as file:
                start = file.read(START_BYTES)
        except (OSError, ValueError):
            continue
        with contextlib.suppress(WorkerStartError):
            _workers.prepare([*late_imports(start), module])
        return


def _audio_error(name: str, text: str) -> AudioError:
    """Return the error of that class, or an AudioError where this process lacks the class."""
    classes = [AudioError]
    for each in classes:
        classes += each.__subclasses__()
    return next((each for each in classes if each.__name__ == name), AudioError)(text)


def _scratch_file() -> IO[bytes]:
    """Return a file for what decoders print; without a temporary folder it is lost."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return Path(os.devnull).open("w+b")


class _Worker:
    """One process, for one call at a time."""

    def __init__(self) -> None:
        self.busy = False
        self.timed_out = False
        self.idle_since = 0.0
        self._deadline: float | None = None
        if not sys.executable or getattr(sys, "frozen", False):
            raise WorkerStartError("Python is part of another program")
        self._errors = _scratch_file()
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
                env={**os.environ, **threads},
                start_new_session=True,  # Ctrl+C is for who asked; it would end one that starts
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )  # fmt: skip
        except OSError as error:
            self._errors.close()
            raise WorkerStartError(str(error)) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._asked_for: set[str] = set()
        self._imported: set[str] = set()

    @property
    def reason(self) -> str:
        code = self._process.wait()
        if code >= 0:
            return f"exit code {code}"
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
        return f"signal {-code}"

    def begin(self, modules: Sequence[str]) -> None:
        """Tell a new process what to import, and do not wait for it."""
        paths = [path for path in sys.path if isinstance(path, str)]
        self._asked_for.update(modules)
        with self._explained():
            self._send([paths, modules], None, _START_S)

    def start(self, modules: Sequence[str]) -> None:
        """Wait until it has imported modules and takes requests."""
        if not self._asked_for:
            self.begin(modules)
        with self._explained():
            if self._asked_for != self._imported:
                self._wait_for_imports()
            if missing := [module for module in modules if module not in self._imported]:
                self._asked_for.update(missing)
                self._send({"imports": missing}, None, _START_S)
                self._wait_for_imports()

    def _wait_for_imports(self) -> None:
        kind, _ = self._receive(_START_S)
        assert kind == b"R"
        self._imported.update(self._asked_for)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except _WorkerDiedError as error:
            printed = self._printed()
            self.end("")
            raise WorkerStartError(printed or str(error)) from error

    def ask(
        self, request: dict[str, Any], content: bytes | None, patience_s: float
    ) -> Iterator[tuple[bytes, bytes]]:
        """Send a request; yield kind and payload of each answer, of which the last is no piece."""
        self._send(request, content, patience_s)
        kind = b"B"
        while kind == b"B":
            kind, payload = self._receive(patience_s)
            yield kind, payload

    def end(self, label: str) -> None:
        self.busy = False
        self._process.kill()
        self._process.wait()
        self.log(label)
        for file in (self._requests, self._answers, self._errors):
            with contextlib.suppress(OSError):
                file.close()

    def leave_to_parent(self) -> None:
        """Leave the process alone: it belongs to the process that forked this one."""
        self._process.returncode = 0

    def log(self, label: str) -> None:
        """Log what decoders printed."""
        if printed := self._printed():
            _log.debug("%s: %s", label, printed)

    def kill_if_late(self, now: float) -> None:
        """End the process if it is late; the closed pipe tells whoever waits for it."""
        deadline = self._deadline
        if deadline is not None and now > deadline:
            self.timed_out = True
            self._process.kill()

    def alive(self) -> bool:
        return self._process.poll() is None

    @contextlib.contextmanager
    def _within(self, patience_s: float) -> Iterator[None]:
        """Read or write before the watcher ends the process; a closed pipe says that it ended."""
        self._deadline = time.monotonic() + patience_s
        try:
            yield
        except OSError as error:
            raise _WorkerDiedError(str(error)) from error
        finally:
            self._deadline = None

    def _send(self, request: object, content: bytes | None, patience_s: float) -> None:
        with self._within(patience_s):
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.write(content or b"")
            self._requests.flush()

    def _receive(self, patience_s: float) -> tuple[bytes, bytes]:
        with self._within(patience_s):
            header = self._answers.read(5)
            length = struct.unpack("<I", header[1:])[0] if len(header) == 5 else 0
            payload = self._answers.read(length)
        if len(header) < 5 or len(payload) < length:
            raise _WorkerDiedError
        return header[:1], payload

    def _printed(self) -> str:
        try:
            self._errors.seek(0)
            printed = self._errors.read().decode(errors="replace")
            self._errors.seek(0)
            self._errors.truncate()
        except (OSError, ValueError):
            return ""
        return " | ".join(printed.split("\n")).strip(" |")


class _Workers:
    """All workers of this process."""

    def __init__(self) -> None:
        self._lock = ForkedLock()
        self._of_parents: list[_Worker] = []
        self._forget()

    def _forget(self) -> None:
        self._owner = os.getpid()
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._watcher: threading.Thread | None = None

    def take(self, modules: Sequence[str], *, new: bool = False) -> _Worker:
        """Return a worker that waits for a request and has modules; start one, if there is none.

        A file that ended one worker is tried in a ``new`` one: the waiting ones may have been ended
        from outside, or damaged by an earlier file.
        """
        with self._lock:
            self._leave_those_of_parents()
            while self._idle and not new:
                worker = self._idle.pop()
                if worker.alive():
                    break
                worker.end("")
            else:
                worker = _Worker()
            worker.busy = True
            self._busy.add(worker)
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, daemon=True)
                self._watcher.start()
        worker.start(modules)
        return worker

    def prepare(self, modules: Sequence[str]) -> None:
        """Start a worker, if none waits, and do not wait until it has imported modules."""
        with self._lock:
            self._leave_those_of_parents()
            if self._idle:
                return
            worker = _Worker()
            worker.begin(modules)
            worker.idle_since = time.monotonic()
            self._idle.append(worker)

    def _leave_those_of_parents(self) -> None:
        if self._owner != os.getpid():
            self._of_parents += {*self._idle, *self._busy}
            for worker in self._of_parents:
                worker.leave_to_parent()
            self._forget()

    def give_back(self, worker: _Worker, label: str) -> None:
        """Keep a worker for the next call."""
        worker.log(label)
        with self._lock:
            worker.busy = False
            worker.idle_since = time.monotonic()
            self._idle.append(worker)

    def close(self) -> None:
        """End the workers that nobody uses."""
        with self._lock:
            if self._owner == os.getpid():
                while self._idle:
                    self._idle.pop().end("")

    def _watch(self) -> None:
        while True:
            time.sleep(_WATCH_S)
            now = time.monotonic()
            with self._lock:
                self._busy = {worker for worker in self._busy if worker.busy}
                for worker in self._busy:
                    worker.kill_if_late(now)
                old = [
                    each
                    for each in self._idle
                    if now - each.idle_since > _IDLE_S or not each.alive()
                ]
                self._idle = [each for each in self._idle if each not in old]
                for worker in old:
                    worker.end("")
                if not self._busy and not self._idle:
                    self._watcher = None
                    return


_workers = _Workers()
atexit.register(_workers.close)
