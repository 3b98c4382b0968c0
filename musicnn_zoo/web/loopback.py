"""A server for this machine only: who may ask, what every answer says, how files are sent."""

from __future__ import annotations

import errno
import html
import logging
import os
import re
import stat
import threading
from abc import abstractmethod
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from musicnn_zoo.errors import ArgumentError

_log = logging.getLogger(__name__)

_HOST = "127.0.0.1"
_CONNECTIONS = 64
_SILENCE_S = 60.0
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class LoopbackServer:
    """Answers requests from this machine by a kind of :class:`LoopbackHandler`.

    Port 0 takes one that is free. ``url`` is the address, ``hosts`` are the names under which a
    browser on this machine asks for the server. An ArgumentError is raised if the port cannot be
    used.
    """

    def __init__(self, handler: type[LoopbackHandler], *, port: int = 0) -> None:
        bound = type("Handler", (handler,), {"local": self})
        try:
            self._server = _Server((_HOST, port), bound)
        except (OSError, OverflowError) as error:
            raise ArgumentError(f"port {port} cannot be used ({error}); choose another") from error
        port = self._server.server_port
        self.url = f"http://{_HOST}:{port}/"
        self.hosts = f"{_HOST}:{port}", f"localhost:{port}"

    def serve(self) -> None:
        """Answer requests until :meth:`stop`."""
        self._server.serve_forever(poll_interval=0.1)

    def stop(self) -> None:
        """End :meth:`serve`, from another thread."""
        self._server.shutdown()

    def close(self) -> None:
        """Give the port back."""
        self._server.server_close()


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


class LoopbackHandler(BaseHTTPRequestHandler):
    """Answers one connection; what :meth:`respond` leaves out, such as foreign hosts, is here."""

    protocol_version = "HTTP/1.1"
    timeout = _SILENCE_S
    local: LoopbackServer
    headers_of_all: ClassVar[Mapping[str, str]] = {}
    """What every answer says besides."""

    @abstractmethod
    def respond(self) -> None:
        """Answer a request that came from this machine, for ``self.path``."""

    def version_string(self) -> str:
        """Return the name of the server, without a version."""
        return "musicnn-zoo"

    def end_headers(self) -> None:
        """Add the headers of every answer, also of protocol errors."""
        for name, value in {**_ALWAYS, **self.headers_of_all}.items():
            self.send_header(name, value)
        super().end_headers()

    def do_GET(self) -> None:
        """Answer a request."""
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # its body stays unread and is no request
        # Another site's name that points here must not read the user's files.
        named = [host.lower() for host in self.headers.get_all("Host", [])]
        if len(named) != 1 or named[0] not in self.local.hosts:
            self.refuse(HTTPStatus.FORBIDDEN, "ask for 127.0.0.1")
            return
        try:
            self.respond()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    do_HEAD = do_GET  # noqa: N815

    def answer(self, text: str, status: HTTPStatus = HTTPStatus.OK, **more: str) -> None:
        """Send a page of HTML; ``Retry_After="5"`` is a header."""
        content = text.encode("utf-8")
        self._head(status, "text/html; charset=utf-8", len(content), **more)
        if self.command == "GET":
            self.wfile.write(content)

    def refuse(self, status: HTTPStatus, why: str) -> None:
        """Send an error."""
        self.answer(f"<!doctype html><title>{status.phrase}</title><p>{html.escape(why)}", status)

    def _head(self, status: HTTPStatus, kind: str, length: int, **more: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Type": kind, "Content_Length": str(length), **more}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def stream(self, path: Path, kind: str) -> None:
        """Send a file or the part of it that is asked for: players seek by that."""
        try:
            file = _open_unmoved(path)
        except OSError as error:
            self.refuse(HTTPStatus.NOT_FOUND, f"cannot be read ({error.strerror})")
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
