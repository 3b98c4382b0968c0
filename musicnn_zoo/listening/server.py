"""A small server of listening pages, for this machine only."""

from __future__ import annotations

import html
import logging
import os
import re
import string
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import BinaryIO

from musicnn_zoo.errors import ArgumentError, MusicnnZooError
from musicnn_zoo.listening.page import ListeningPage
from musicnn_zoo.listening.recording import Recording
from musicnn_zoo.plain_text import printable

_log = logging.getLogger(__name__)

_HOST = "127.0.0.1"
_PAGES_KEPT = 8
_CHUNK = 2**18
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_PLACE = re.compile(r"/(page|audio)/(\d{1,9})")


class PageServer:
    """Serves listening pages of files on the loopback address, made when they are asked for.

    Parameters
    ----------
    paths : sequence of str
        Audio files. No other file can be had from the server.
    make_page : callable
        Makes the page of a path.
    port : int
        0 takes one that is free.

    Attributes
    ----------
    url : str
        Of the list of files.

    Raises
    ------
    ArgumentError
        If the port cannot be had.
    """

    def __init__(
        self, paths: Sequence[str], make_page: Callable[[str], ListeningPage], *, port: int = 0
    ) -> None:
        self._recordings = [Recording(path) for path in paths]
        self._paths = list(paths)
        self._making = threading.Lock()
        self._make_page = lru_cache(_PAGES_KEPT)(make_page)
        self._converted = tempfile.TemporaryDirectory(prefix="musicnn-zoo-")
        handler = type("Handler", (_Handler,), {"pages": self})
        try:
            self._server = _Server((_HOST, port), handler)
        except (OSError, OverflowError) as error:
            self._converted.cleanup()
            raise ArgumentError(f"port {port} cannot be had ({error}); name another") from error
        self.url = f"http://{_HOST}:{self._server.server_port}/"

    def __enter__(self) -> PageServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()
        self._converted.cleanup()

    def serve(self) -> None:
        """Answer requests until :meth:`stop`."""
        self._server.serve_forever(poll_interval=0.1)

    def stop(self) -> None:
        """End :meth:`serve`, from another thread."""
        self._server.shutdown()

    @property
    def hosts(self) -> frozenset[str]:
        """Names under which a browser on this machine asks for the server."""
        return frozenset(f"{name}:{self._server.server_port}" for name in (_HOST, "localhost"))

    def index(self) -> str:
        """Return the list of files as HTML."""
        root = os.path.commonpath([Path(path).absolute().parent for path in self._paths])
        items = "".join(
            f'<li><a href="/page/{number}" dir="auto">'
            f"{html.escape(printable(os.path.relpath(Path(path).absolute(), root)))}</a></li>"
            for number, path in enumerate(self._paths)
        )
        template = resources.files(__package__).joinpath("index.html").read_text(encoding="utf-8")
        return string.Template(template).substitute(items=items, count=len(self._paths))

    def page(self, number: int) -> str:
        """Return the page of a file as HTML."""
        with self._making:
            made = self._make_page(self._paths[number])
        return made.html(audio_url=f"/audio/{number}")

    def sound(self, number: int) -> tuple[Path, str]:
        """Return a file that browsers play, and its MIME type."""
        recording = self._recordings[number]
        if recording.kind is not None:
            return Path(self._paths[number]), recording.kind
        converted = Path(self._converted.name) / f"{number}.webm"
        with self._making:
            if not converted.exists():
                media = recording.as_opus()
                converted.write_bytes(media.content)
        return converted, "audio/webm"

    def __len__(self) -> int:
        return len(self._paths)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Tell the log, not the terminal, of browsers that hang up and the like."""
        del request
        _log.debug("request of %s failed", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    pages: PageServer

    def do_GET(self) -> None:
        """Answer a request."""
        # Another site's name that points here must not read the user's files.
        if self.headers.get("Host") not in self.pages.hosts:
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
        except MusicnnZooError as error:
            self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, printable(str(error)))
        except ConnectionError:
            self.close_connection = True

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, text: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        content = text.encode("utf-8")
        self._head(status, "text/html; charset=utf-8", len(content))
        if self.command == "GET":
            self.wfile.write(content)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._answer(f"<!doctype html><title>{status.phrase}</title><p>{html.escape(why)}", status)

    def _head(self, status: HTTPStatus, kind: str, length: int, **more: str) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(length),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
            "X-Frame-Options": "DENY",
            **{name.replace("_", "-"): value for name, value in more.items()},
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _stream(self, path: Path, kind: str) -> None:
        """Send a file or the part of it that is asked for: players seek by that."""
        try:
            file: BinaryIO = path.open("rb")
        except OSError as error:
            self._refuse(HTTPStatus.NOT_FOUND, f"cannot be read ({error.strerror})")
            return
        with file:
            size = os.fstat(file.fileno()).st_size
            part = _part(self.headers.get("Range"), size)
            if part is None:
                self._head(
                    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, kind, 0,
                    Content_Range=f"bytes */{size}",
                )  # fmt: skip
                return
            first, last = part
            more = {"Accept_Ranges": "bytes"}
            status = HTTPStatus.OK
            if self.headers.get("Range"):
                status = HTTPStatus.PARTIAL_CONTENT
                more["Content_Range"] = f"bytes {first}-{last}/{size}"
            self._head(status, kind, last - first + 1, **more)
            if self.command == "GET":
                self._copy(file, first, last)

    def _copy(self, file: BinaryIO, first: int, last: int) -> None:
        file.seek(first)
        left = last - first + 1
        while left > 0:
            block = file.read(min(_CHUNK, left))
            if not block:
                self.close_connection = True
                return
            self.wfile.write(block)
            left -= len(block)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Tell the log instead of the terminal."""
        _log.debug(format, *args)


def _part(asked: str | None, size: int) -> tuple[int, int] | None:
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
