"""A small web server that withstands what is sent to it; what it answers is said elsewhere."""

from __future__ import annotations

import io
import logging
import re
import socket
import socketserver
import threading
import time
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from musicnn_zoo.errors import ArgumentError

_log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
"""The address that only this machine reaches."""
_CONNECTIONS = 64
_LINGERING_S = 1.0
_BLOCK = 65_536
_QUERY = re.compile(r"\?\S*")


class WebServer(ThreadingHTTPServer):
    """Answers each connection in a thread; closes connections if there are too many.

    Port 0 takes one that is free. An :class:`~musicnn_zoo.errors.ArgumentError` says that the
    address cannot be used.
    """

    daemon_threads = True

    def __init__(self, address: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        if not address:  # which the system takes for all addresses
            raise ArgumentError(f"an address must not be empty; {LOOPBACK} is this machine alone")
        self._free = threading.BoundedSemaphore(_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            super().__init__((address, port), handler)
        except (OSError, OverflowError, UnicodeError) as error:
            where = f"port {port}" if address == LOOPBACK else f"address {address}, port {port}"
            raise ArgumentError(f"{where} cannot be used ({error}); choose another") from error

    def server_bind(self) -> None:
        """Bind the socket, without asking the network for the name of the address."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; close the connection if there are too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except Exception:  # no thread began; after Ctrl+C one may have, which makes room itself
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Make room when the connection ends."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Log clients that hang up and the like; the terminal stays quiet."""
        del request
        _log.debug("request of %s failed", client_address, exc_info=True)


class _Received(io.RawIOBase):
    """What a client sends, which must be there in time."""

    def __init__(self, connection: socket.socket, patience_s: float) -> None:
        self._connection = connection
        self._patience_s = patience_s
        self._ends = 0.0

    def begin(self) -> None:
        """Wait from now on for the next request."""
        self._ends = time.monotonic() + self._patience_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(self._patience_s)


class WebHandler(BaseHTTPRequestHandler):
    """One connection to a :class:`WebServer`; a request must have come within ``timeout`` s."""

    protocol_version = "HTTP/1.1"
    timeout = 60.0
    always: Mapping[str, str] = {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
        "X-Frame-Options": "DENY",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    """Headers of every answer, also of protocol errors."""
    host_hint = f"ask for {LOOPBACK}"

    @abstractmethod
    def is_asked_as(self, host: str) -> bool:
        """Whether the server may be asked under a name, such as ``localhost:8080``, in lower case.

        Another site's name that points to this machine must not read what is for its user alone.
        """

    @abstractmethod
    def respond(self) -> None:
        """Answer a request for a host that may be asked for."""

    @abstractmethod
    def refuse(self, status: HTTPStatus, why: str) -> None:
        """Answer that something cannot be had."""

    def setup(self) -> None:
        """Read what the client sends with a limit in time."""
        super().setup()
        self.rfile.close()
        self._received = _Received(self.connection, self.timeout)
        self.rfile = io.BufferedReader(self._received)

    def finish(self) -> None:
        """End the connection; what is still being sent is taken, or the answer would be lost."""
        super().finish()
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            ends = time.monotonic() + _LINGERING_S
            while (left := ends - time.monotonic()) > 0:
                self.connection.settimeout(left)
                if not self.connection.recv(_BLOCK):
                    break

    def handle_one_request(self) -> None:
        """Answer one request, if it comes in time."""
        self._received.begin()
        super().handle_one_request()

    def version_string(self) -> str:
        """Return the name of the server, without a version."""
        return "musicnn-zoo"

    def end_headers(self) -> None:
        """Add the headers of every answer."""
        for name, value in self.always.items():
            self.send_header(name, value)
        super().end_headers()

    def do_GET(self) -> None:
        """Answer a request that has no body."""
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # its body stays unread and is no request
        self.respond_to_known_host()

    do_HEAD = do_GET  # noqa: N815

    def respond_to_known_host(self) -> None:
        """Answer a request, unless it is for another host."""
        named = [host.lower() for host in self.headers.get_all("Host", [])]
        try:
            if len(named) == 1 and self.is_asked_as(named[0]):
                self.respond()
            else:
                self.refuse(HTTPStatus.FORBIDDEN, self.host_hint)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def send_head(self, status: HTTPStatus, kind: str, length: int, **more: str) -> None:
        """Begin an answer of a MIME type and a length; ``more`` headers have ``_`` for ``-``."""
        self.send_response(status)
        for name, value in {"Content_Type": kind, "Content_Length": str(length), **more}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send_text(self, status: HTTPStatus, kind: str, text: str, **more: str) -> None:
        """Send a whole answer."""
        content = text.encode("utf-8")
        self.send_head(status, f"{kind}; charset=utf-8", len(content), **more)
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log requests, without queries, which may hold passwords; the terminal stays quiet."""
        _log.debug("%s", _QUERY.sub("?…", format % args))
