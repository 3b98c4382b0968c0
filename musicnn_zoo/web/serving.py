"""Serve a site of :mod:`musicnn_zoo.web.site` to browsers on this machine."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import unquote, urlsplit

from musicnn_zoo.web.loopback import LoopbackHandler, LoopbackServer
from musicnn_zoo.web.site import Site

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".ogg": "audio/ogg",
    ".onnx": "application/octet-stream",
    ".bin": "application/octet-stream",
}
_PLAIN = "text/plain; charset=utf-8"


class SiteServer(LoopbackServer):
    """Serves the files of a site, and no others, on the loopback address."""

    def __init__(self, site: Site, *, port: int = 0) -> None:
        root = site.folder.resolve()
        self.files = {f"/{name}": root / name for name in site.files}
        self.files["/"] = self.files["/index.html"]
        super().__init__(_Handler, port=port)

    def __enter__(self) -> SiteServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Handler(LoopbackHandler):
    local: SiteServer
    # A page that is cross-origin isolated may compute in several threads.
    always = {  # noqa: RUF012 (a mapping that nobody changes, as in the base class)
        **LoopbackHandler.always,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Embedder-Policy": "require-corp",
    }

    def respond(self) -> None:
        """Send a file of the site."""
        path = self.local.files.get(unquote(urlsplit(self.path).path))
        if path is None:
            self.refuse(HTTPStatus.NOT_FOUND, "there is no such file in the site")
        else:
            self.stream(path, _KINDS.get(path.suffix, _PLAIN))
