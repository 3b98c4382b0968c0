"""A server of pages and files for this machine only."""

from __future__ import annotations

import errno
import html
import os
import re
import stat
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from musicnn_zoo.machine.web_server import LOOPBACK, WebHandler, WebServer

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class LoopbackServer:
    """Answers requests from this machine by a kind of :class:`LoopbackHandler`.

    Port 0 takes one that is free. ``url`` is the address, ``hosts`` are the names under which a
    browser on this machine asks for the server. An ArgumentError is raised if the port cannot be
    used.
    """

    def __init__(self, handler: type[LoopbackHandler], *, port: int = 0) -> None:
        self._server = WebServer(LOOPBACK, port, type("Handler", (handler,), {"local": self}))
        port = self._server.server_port
        self.url = f"http://{LOOPBACK}:{port}/"
        self.hosts = f"{LOOPBACK}:{port}", f"localhost:{port}"

    def serve(self) -> None:
        """Answer requests until :meth:`stop`."""
        self._server.serve_forever(poll_interval=0.1)

    def stop(self) -> None:
        """End :meth:`serve`, from another thread."""
        self._server.shutdown()

    def close(self) -> None:
        """Give the port back."""
        self._server.server_close()


class LoopbackHandler(WebHandler):
    """Answers by pages of HTML and by files."""

    local: LoopbackServer

    def is_asked_as(self, host: str) -> bool:
        """Whether a browser on this machine asks."""
        return host in self.local.hosts

    def answer(self, text: str, status: HTTPStatus = HTTPStatus.OK, **more: str) -> None:
        """Send a page of HTML; ``Retry_After="5"`` is a header."""
        self.send_text(status, "text/html", text, **more)

    def refuse(self, status: HTTPStatus, why: str) -> None:
        """Say why as a page."""
        self.answer(f"<!doctype html><title>{status.phrase}</title><p>{html.escape(why)}", status)

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
                self.send_head(
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
            self.send_head(status, kind, length, **more)
            if self.command == "GET" and length:
                sent = self.connection.sendfile(file, first, length)
                self.close_connection |= sent < length  # it has become shorter


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
