"""A small server of listening pages, for this machine only."""

from __future__ import annotations

import errno
import html
import logging
import os
import re
import stat
import string
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, wait
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

from musicnn_zoo.errors import ArgumentError, AudioError, MusicnnZooError
from musicnn_zoo.listening.page import ListeningPage
from musicnn_zoo.listening.recording import Recording
from musicnn_zoo.text import printable
from musicnn_zoo.web.scripts import read_asset

_log = logging.getLogger(__name__)

_AT_ONCE = 2
_WAITING = 32
_KEPT = 8
_HOST = "127.0.0.1"
_CONNECTIONS = 64
_SILENCE_S = 60.0
_PAGE_PATIENCE_S = 10.0
_SOUND_PATIENCE_S = 300.0
_AGAIN_S = 5
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_PLACE = re.compile(r"/(page|audio)/(\d{1,9})")
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class NotYet(Exception):  # noqa: N818
    """The work is not finished; ask again later."""


class BackgroundWork:
    """Work in threads; the last results are kept, each under a key.

    Two are done at once, so that a long one does not keep all others waiting. Their threads do not
    keep the process from ending.
    """

    def __init__(self) -> None:
        self._turns = threading.Semaphore(_AT_ONCE)
        self._lock = threading.Lock()
        self._begun: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._stopped = False

    def result(self, key: Hashable, work: Callable[[], Any], *, patience_s: float) -> Any:
        """Return the result of the work; start the work if nobody has.

        Raises :class:`NotYet` if it takes longer than ``patience_s``, or too much is waiting
        already. Work that raises an error starts again at the next call.
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
        return future.result()

    def stop(self) -> None:
        """Start no further work."""
        self._stopped = True

    def _do(self, key: Hashable, work: Callable[[], Any], future: Future[Any]) -> None:
        with self._turns:
            try:
                if self._stopped:
                    raise NotYet
                future.set_result(work())
            except BaseException as error:
                with self._lock:
                    self._begun.pop(key, None)
                future.set_exception(error)
        with self._lock:
            done = [each for each, kept in self._begun.items() if kept.done()]
            for each in done[:-_KEPT]:
                del self._begun[each]


class PageServer:
    """Serves listening pages of files on the loopback address, made when they are asked for.

    Pages are made by ``make_page``. The server gives no files but ``paths``. Port 0 takes one that
    is free. ``url`` is the address of the list of files, ``hosts`` are the names under which a
    browser on this machine asks for the server.
    """

    def __init__(
        self, paths: Sequence[str], make_page: Callable[[str], ListeningPage], *, port: int = 0
    ) -> None:
        self._recordings = [Recording(path) for path in paths]
        self._paths = list(paths)
        self._places = [Path(path).resolve() for path in paths]
        self._make_page = make_page
        self._works = BackgroundWork()
        self._converted = tempfile.TemporaryDirectory(prefix="musicnn-zoo-")
        handler = type("Handler", (_Handler,), {"pages": self})
        try:
            self._server = _Server((_HOST, port), handler)
        except (OSError, OverflowError) as error:
            self._converted.cleanup()
            raise ArgumentError(f"port {port} cannot be used ({error}); choose another") from error
        port = self._server.server_port
        self.url = f"http://{_HOST}:{port}/"
        self.hosts = f"{_HOST}:{port}", f"localhost:{port}"

    def __enter__(self) -> PageServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._works.stop()
        self._server.server_close()
        self._converted.cleanup()

    def serve(self) -> None:
        """Answer requests until :meth:`stop`."""
        self._server.serve_forever(poll_interval=0.1)

    def stop(self) -> None:
        """End :meth:`serve`, from another thread."""
        self._server.shutdown()

    def index(self) -> str:
        """Return the list of files as HTML."""
        root = os.path.commonpath([Path(path).absolute().parent for path in self._paths])
        items = "".join(
            f'<li><a href="/page/{number}" dir="auto">'
            f"{html.escape(printable(os.path.relpath(Path(path).absolute(), root)))}</a></li>"
            for number, path in enumerate(self._paths)
        )
        return string.Template(read_asset("listening/index.html")).substitute(
            items=items, count=len(self._paths)
        )

    def page(self, number: int) -> str:
        """Return the page of a file as HTML, or raise :class:`NotYet` while it is being made."""
        path = self._unmoved(number)
        made: ListeningPage = self._works.result(
            ("page", number), lambda: self._make_page(path), patience_s=_PAGE_PATIENCE_S
        )
        return made.html(audio_url=f"/audio/{number}")

    def sound(self, number: int) -> tuple[Path, str]:
        """Return a file that browsers play, and its MIME type, or raise :class:`NotYet`."""
        self._unmoved(number)
        kind = self._recordings[number].kind
        if kind is not None:
            return self._places[number], kind
        converted = Path(self._converted.name).resolve() / f"{number}.webm"

        def convert() -> Path:
            unfinished = converted.with_suffix(".unfinished")
            unfinished.write_bytes(self._recordings[number].as_opus().content)
            return unfinished.replace(converted)

        if not converted.exists():
            self._works.result(("audio", number), convert, patience_s=_SOUND_PATIENCE_S)
        return converted, "audio/webm"

    def _unmoved(self, number: int) -> str:
        """Return the path of a file, if it still is in the place where it was."""
        path, place = self._paths[number], self._places[number]
        try:
            same = Path(path).resolve() == place and stat.S_ISREG(place.stat().st_mode)
        except FileNotFoundError:
            same = True  # the decoder has a better message for a missing file
        except (OSError, RuntimeError):
            same = False
        if not same:
            raise AudioError(f"{path}: has been replaced since the server started; start it again")
        return path

    def __len__(self) -> int:
        return len(self._paths)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._free = threading.BoundedSemaphore(_CONNECTIONS)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; close the connection if there are too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Make room when the connection ends."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Log browsers that hang up and the like; the terminal stays quiet."""
        del request
        _log.debug("request of %s failed", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _SILENCE_S
    pages: PageServer

    def version_string(self) -> str:
        """Return the name of the server, without a version."""
        return "musicnn-zoo"

    def end_headers(self) -> None:
        """Add the headers of every answer, also of protocol errors."""
        for name, value in _ALWAYS.items():
            self.send_header(name, value)
        super().end_headers()

    def do_GET(self) -> None:
        """Answer a request."""
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # its body stays unread and is no request
        # Another site's name that points here must not read the user's files.
        named = [host.lower() for host in self.headers.get_all("Host", [])]
        if len(named) != 1 or named[0] not in self.pages.hosts:
            self._refuse(HTTPStatus.FORBIDDEN, "ask for 127.0.0.1")
            return
        try:
            if self.path == "/":
                self._answer(self.pages.index())
                return
            asked = _PLACE.fullmatch(self.path)
            if asked is None or int(asked[2]) >= len(self.pages):
                self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")
            elif asked[1] == "page":
                self._answer(self.pages.page(int(asked[2])))
            else:
                path, kind = self.pages.sound(int(asked[2]))
                self._stream(path, kind)
        except NotYet:
            self._ask_again()
        except MusicnnZooError as error:
            self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, printable(str(error)))
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    do_HEAD = do_GET  # noqa: N815

    def _ask_again(self) -> None:
        """Tell a browser to come back; it does so by itself."""
        self._answer(
            f'<!doctype html><meta http-equiv="refresh" content="{_AGAIN_S}"><title>Not yet</title>'
            "<p>This is being made, and will be here when it is ready.",
            HTTPStatus.SERVICE_UNAVAILABLE,
            Retry_After=str(_AGAIN_S),
        )

    def _answer(self, text: str, status: HTTPStatus = HTTPStatus.OK, **more: str) -> None:
        content = text.encode("utf-8")
        self._head(status, "text/html; charset=utf-8", len(content), **more)
        if self.command == "GET":
            self.wfile.write(content)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._answer(f"<!doctype html><title>{status.phrase}</title><p>{html.escape(why)}", status)

    def _head(self, status: HTTPStatus, kind: str, length: int, **more: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Type": kind, "Content_Length": str(length), **more}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def _stream(self, path: Path, kind: str) -> None:
        """Send a file or the part of it that is asked for: players seek by that."""
        try:
            file = _open_unmoved(path)
        except OSError as error:
            self._refuse(HTTPStatus.NOT_FOUND, f"cannot be read ({error.strerror})")
            return
        with file:
            status_of_file = os.fstat(file.fileno())
            size = status_of_file.st_size
            version = f'"{size:x}-{status_of_file.st_mtime_ns:x}"'
            asked = self.headers.get("Range")
            if self.headers.get("If-Range", version) != version:
                asked = None  # parts of two versions of a file do not fit together
            part = _byte_range(asked, size)
            if part is None:
                self._head(
                    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, kind, 0,
                    Content_Range=f"bytes */{size}",
                )  # fmt: skip
                return
            first, last = part
            length = last - first + 1
            more = {"Accept_Ranges": "bytes", "ETag": version}
            status = HTTPStatus.OK
            if asked is not None:
                status = HTTPStatus.PARTIAL_CONTENT
                more["Content_Range"] = f"bytes {first}-{last}/{size}"
            self._head(status, kind, length, **more)
            if self.command == "GET" and length:
                sent = self.connection.sendfile(file, first, length)
                self.close_connection |= sent < length  # it has become shorter

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log requests; the terminal stays quiet."""
        _log.debug(format, *args)


def _open_unmoved(path: Path) -> BinaryIO:
    """Open a resolved path, unless a part of it is a link now, or it is no file any more."""
    more = (getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
    number = os.open(path, sum(more, os.O_RDONLY))
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode) or path.resolve() != path:
            raise OSError(errno.ELOOP, "has been replaced since the server started")
        return os.fdopen(number, "rb")
    except OSError:
        os.close(number)
        raise


def _byte_range(asked: str | None, size: int) -> tuple[int, int] | None:
    """Return first and last byte of a range (RFC 9110, section 14); None if there are none."""
    if asked is None:
        return 0, size - 1
    found = _RANGE.fullmatch(asked.strip())
    if found is None or not any(found.groups()) or size == 0:
        return None
    first, last = found.groups()
    if not first:
        return (max(0, size - int(last)), size - 1) if int(last) else None
    end = min(int(last), size - 1) if last else size - 1
    return (int(first), end) if int(first) <= end else None
