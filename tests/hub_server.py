"""A small Hugging Face Hub on 127.0.0.1, with faults on demand, and plain files beside it.

It gives the files of model repositories by branch, tag or commit, and takes commits, as
`huggingface_hub` 0.36 to 2.4 asks for them. It knows no users: a token is only asked for where a
repository is private, and what else the Hub refuses is a `Fault` with its status and code.
"""

import base64
import functools
import hashlib
import importlib
import json
import math
import re
import runpy
import socket
import struct
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest

_SMALL = ("", ".json", ".md", ".py", ".txt")
"""Endings of files that the Hub names after git's digest and not after their SHA-256."""


@dataclass(frozen=True)
class Request:
    """What a client has asked for; the names of the headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class _Answer(Exception):  # noqa: N818
    """What is sent; raised where it is a refusal."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def _json(said: Any, status: int = 200, **headers: str) -> _Answer:
    headers = {"Content-Type": "application/json", **headers}
    return _Answer(json.dumps(said).encode(), status, headers)


def _refused(status: int, message: str, code: str | None = None) -> _Answer:
    headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
    return _json({"error": message}, status, **headers)


@dataclass
class Fault:
    """What goes wrong with requests; `methods`, `path` and `times` say with which.

    `wait_s` comes before the answer; `hang_up` closes the connection instead. An answer of
    `status` is the Hub's with a `code` (`X-Error-Code`) or `message`, and else that of some proxy.
    Of the body, `cut` sends so many bytes and closes the connection, `size` sends so many as if
    that were all, `changed` flips the bits of this byte, and `piece` sends pieces of so many bytes
    with a pause after each. Connections are closed by FIN, or with `reset` by RST, as a firewall
    or a crash does. Without `ranges`, who asks for a range gets the whole file.
    """

    status: int | None = None
    code: str | None = None
    message: str | None = None
    wait_s: float = 0
    hang_up: bool = False
    cut: int | None = None
    reset: bool = False
    size: int | None = None
    changed: int | None = None
    piece: int | None = None
    pause_s: float = 0
    ranges: bool = True
    methods: tuple[str, ...] = ()
    path: str = ""
    times: float = math.inf

    def hits(self, method: str, path: str, body: bytes | None) -> bool:
        """Say whether it concerns a request, or the body that is sent for it."""
        if (self.methods and method not in self.methods) or self.path not in path:
            return False
        of_body = any(x is not None for x in (self.cut, self.size, self.changed, self.piece))
        if body is None or not of_body:
            return (body is None) != of_body
        return method == "GET" and len(body) > (self.cut or self.size or 0)

    def answer(self) -> _Answer | None:
        """Return what is answered instead of what was asked for."""
        if self.status is None or self.code or self.message:
            return self.status and _refused(self.status, self.message or "", self.code)
        body = f"<html><body>{self.status}</body></html>".encode()
        return _Answer(body, self.status, {"Content-Type": "text/html"})


@dataclass
class _Repo:
    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: Mapping[str, bytes]) -> str:
        commit = git_blob(repr((len(self.commits), branch, sorted(files.items()))).encode())
        self.commits[commit] = dict(files)
        self.refs[branch] = commit
        return commit

    def resolve(self, revision: str) -> str:
        commit = self.refs.get(revision, revision)
        if commit not in self.commits:
            raise _refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit


def git_blob(content: bytes) -> str:
    """Return the name git gives to a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"

    def log_message(self, *args: object) -> None:
        pass

    def _handle(self) -> None:
        hub, answer = self.server.hub, None
        headers = {name.lower(): value for name, value in self.headers.items()}
        sent = self.rfile.read(int(headers.get("content-length", 0)))
        hub.requests.append(Request(self.command, self.path, dict(headers)))
        for fault in hub.struck(self.command, self.path):
            if self.server.closing.wait(fault.wait_s):
                return
            if fault.hang_up:
                self._hang_up(fault)
                return
            if not fault.ranges:
                headers.pop("range", None)
            answer = fault.answer() or answer
        try:
            answer = answer or hub.answer(self.command, self.path, headers, sent)
        except _Answer as refused:
            answer = refused
        self._send(answer)

    do_GET = do_HEAD = do_POST = _handle  # noqa: N815

    def _send(self, answer: _Answer) -> None:
        body, cut, dribble = answer.body, Fault(), Fault()
        for fault in self.server.hub.struck(self.command, self.path, body):
            if fault.changed is not None:
                at = fault.changed % len(body)
                body = body[:at] + bytes([body[at] ^ 0xFF]) + body[at + 1 :]
            body = body[: fault.size]
            cut = fault if fault.cut is not None else cut
            dribble = fault if fault.piece is not None else dribble
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        body, piece = body[: cut.cut], dribble.piece or len(body) or 1
        for start in range(0, len(body), piece):
            self.wfile.write(body[start : start + piece])
            if self.server.closing.wait(dribble.pause_s):
                return
        self._hang_up(cut)

    def _hang_up(self, fault: Fault) -> None:
        """End the connection, which each answer does, in the way of a fault."""
        if fault.reset:
            linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.rfile.close()
            self.connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: "HubServer", port: int) -> None:
        self.hub = hub
        self.closing = threading.Event()
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError):
            self.hub.errors.append(error)


class HubServer:
    """A Hub of its own on a free port, in a `with` block; what it holds is in memory."""

    token = "hf_token"

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.errors: list[BaseException] = []
        """What went wrong in the server itself; the end of the `with` block raises the first."""
        self._lock = threading.RLock()
        self._faults: list[Fault] = []
        self._repos: dict[str, _Repo] = {}
        self._plain: dict[str, bytes] = {}
        self._server: _Server | None = None
        self._hold(0)
        self._port = self._held.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> "HubServer":
        self.up()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.down()
        self._held.close()
        if self.errors and error is None:
            raise self.errors[0]

    def up(self) -> None:
        """Answer, always on the same port."""
        if self._server is None:
            self._held.close()
            self._server = _Server(self, self._port)
            serve = self._server.serve_forever
            threading.Thread(target=serve, args=(0.02,), name="hub", daemon=True).start()

    def down(self) -> None:
        """Refuse connections, until `up`."""
        if self._server is not None:
            self._server.closing.set()
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            self._hold(self._port)

    def _hold(self, port: int) -> None:
        """Bind a port without listening, so that nobody else gets it."""
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", port))

    def fail(self, fault: Fault | None = None, **changes: Any) -> None:
        """Let requests fail like this from now on; a fault may be given by its fields.

        Of several, the last status is answered, and the others come together.
        """
        with self._lock:
            self._faults.append(replace(fault or Fault(), **changes))

    def heal(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._faults.clear()

    def struck(self, method: str, path: str, body: bytes | None = None) -> list[Fault]:
        """Return the faults that concern a request, or the body of its answer."""
        with self._lock:
            struck = [fault for fault in self._faults if fault.hits(method, unquote(path), body)]
            for fault in struck:
                fault.times -= 1
            self._faults = [fault for fault in self._faults if fault.times > 0]
        return struck

    def add_repo(
        self,
        name: str,
        files: Mapping[str, bytes],
        *,
        revision: str = "main",
        private: bool = False,
    ) -> str:
        """Make `files` all there is on a branch, in a new commit whose hash is returned."""
        with self._lock:
            repo = self._repos.setdefault(name, _Repo())
            repo.private = private
            return repo.commit(revision, files)

    def add_tag(self, name: str, tag: str) -> None:
        """Name the commit of the main branch."""
        repo = self._repos[name]
        repo.refs[tag] = repo.refs["main"]

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """Return what is there by branch, tag or commit."""
        repo = self._repos[name]
        return dict(sorted(repo.commits[repo.resolve(revision)].items()))

    def add_file(self, path: str, content: bytes) -> str:
        """Serve a plain file, beside the Hub; returns its address."""
        self._plain[f"/{path}"] = content
        return f"{self.endpoint}/{quote(path)}"

    def answer(self, method: str, address: str, headers: dict[str, str], sent: bytes) -> _Answer:
        """Answer a request with which nothing is wrong."""
        path = urlsplit(address).path
        if unquote(path) in self._plain:
            return _content(headers, self._plain[unquote(path)], {})
        may_see = "authorization" in headers
        with self._lock:
            if path == "/api/repos/create":
                return self._create(json.loads(sent))
            if path == "/api/validate-yaml":
                return _json({"warnings": [], "errors": []})
            if found := re.fullmatch("/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                name, revision, file = map(unquote, found.groups())
                return self._file(self._repo(name, may_see=may_see), revision, file, headers)
            if found := re.fullmatch("/api/models/([^/]+/[^/]+)(?:/([a-z]+)/([^/]+))?", path):
                name, what, revision = (unquote(part or "main") for part in found.groups())
                repo = self._repo(name, may_see=may_see)
                commit = repo.resolve(revision)
                files = repo.commits[commit]
                if what == "preupload":
                    regular = {"uploadMode": "regular", "shouldIgnore": False}
                    wanted = json.loads(sent)["files"]
                    return _json({"files": [{"path": file["path"], **regular} for file in wanted]})
                if what == "commit":
                    return self._commit(repo, name, revision, sent)
                if what == "tree":
                    return _json([_entry(path, content) for path, content in files.items()])
                siblings = [{"rfilename": file} for file in files]
                return _json({"id": name, "sha": commit, "tags": [], "siblings": siblings})
        raise _refused(404, "Sorry, we can't find the page you are looking for.")

    def _repo(self, name: str, *, may_see: bool) -> _Repo:
        repo = self._repos.get(name)
        if repo is not None and (may_see or not repo.private):
            return repo
        raise _refused(404 if may_see else 401, "Repository not found", "RepoNotFound")

    def _file(self, repo: _Repo, revision: str, path: str, headers: Mapping[str, str]) -> _Answer:
        commit = repo.resolve(revision)
        there = {"X-Repo-Commit": commit}
        content = repo.commits[commit].get(path)
        if content is None:
            refused = _refused(404, "Entry not found", "EntryNotFound")
            refused.headers |= there
            raise refused
        if Path(path).suffix not in _SMALL:
            etag = hashlib.sha256(content).hexdigest()
            there |= {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{etag}"'}
        return _content(headers, content, {"ETag": f'"{git_blob(content)}"', **there})

    def _create(self, wanted: dict[str, Any]) -> _Answer:
        name = f"{wanted.get('organization') or 'tester'}/{wanted['name']}"
        there = {"url": f"{self.endpoint}/{name}", "name": name}
        if name in self._repos:
            return _json({"error": "You already created this", **there}, 409)
        private = bool(wanted.get("private")) or wanted.get("visibility") == "private"
        self.add_repo(name, {".gitattributes": b""}, private=private)
        return _json(there)

    def _commit(self, repo: _Repo, name: str, branch: str, sent: bytes) -> _Answer:
        files = dict(repo.commits[repo.refs[branch]])
        for operation in map(json.loads, sent.splitlines()):
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
        commit = repo.commit(branch, files)
        url = f"{self.endpoint}/{name}/commit/{commit}"
        return _json({"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})


def _entry(path: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "oid": git_blob(content), "size": len(content), "path": path}


def _content(headers: Mapping[str, str], content: bytes, there: dict[str, str]) -> _Answer:
    """Answer with a file or the asked part of it, ``bytes=FIRST-``."""
    there = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **there}
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
    if asked is None:
        return _Answer(content, headers=there)
    size, first = len(content), int(asked[1])
    last = min(int(asked[2] or size), size - 1)
    if first > last:
        return _Answer(b"", 416, {**there, "Content-Range": f"bytes */{size}"})
    there["Content-Range"] = f"bytes {first}-{last}/{size}"
    return _Answer(content[first : last + 1], 206, there)


def hub_environment(
    server: HubServer, cache: Path, *, token: str | None = None, offline: bool = False
) -> dict[str, str]:
    """Return what a process has to find in its environment to use `server` and nothing else.

    `cache` is `HF_HOME`, in which `hub` holds the downloads. Without `token`, one of the user is
    not sent either.
    """
    off = ("XET", "TELEMETRY", "PROGRESS_BARS", "UPDATE_CHECK", "SYMLINKS_WARNING")
    return {
        "HF_ENDPOINT": server.endpoint,
        "HF_HOME": str(cache),
        "HF_HUB_CACHE": str(cache / "hub"),
        "HUGGINGFACE_HUB_CACHE": str(cache / "hub"),
        "HUGGINGFACE_ASSETS_CACHE": str(cache / "assets"),
        "HF_ASSETS_CACHE": str(cache / "assets"),
        "HF_XET_CACHE": str(cache / "xet"),
        "HF_TOKEN_PATH": str(cache / "token"),
        "HF_TOKEN": token or "",
        "HUGGING_FACE_HUB_TOKEN": "",
        "HF_HUB_OFFLINE": str(int(offline)),
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0",
        **dict.fromkeys((f"HF_HUB_DISABLE_{what}" for what in off), "1"),
        "HF_HUB_ENABLE_HF_TRANSFER": "0",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


_READERS = ("constants", "hf_api", "file_download", "_snapshot_download", "utils._http",
            "utils.tqdm", "utils._cache_manager", "utils._cache_assets")  # fmt: skip
_TIMEOUTS = ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT", "_ETAG_RETRY_TIMEOUT")


def patch_hub(
    monkeypatch: pytest.MonkeyPatch,
    server: HubServer,
    cache: Path,
    *,
    token: str | None = None,
    offline: bool = False,
    timeout: float = 10,
) -> list[float]:
    """Let `huggingface_hub` use `server` in this process, as `hub_environment` does in another.

    `timeout` is in seconds, for an answer to HEAD and between two pieces of a body. What is
    returned gets the seconds that `huggingface_hub` would have waited between two attempts.
    """
    # First of all, as what is imported later would keep what we set.
    readers = {}
    for name in _READERS:
        with suppress(ImportError):
            readers[name] = importlib.import_module(f"huggingface_hub.{name}")
    for name, value in hub_environment(server, cache, token=token, offline=offline).items():
        monkeypatch.setenv(name, value)
    http, constants = readers["utils._http"], readers["constants"]
    # What the constants are in a process that is started now.
    fresh = {k: v for k, v in runpy.run_path(constants.__file__).items() if k.lstrip("_").isupper()}
    values = {**fresh, **dict.fromkeys(_TIMEOUTS, timeout)}
    for module_name, module in sys.modules.copy().items():
        if module is not None and module_name.split(".")[0] == "huggingface_hub":
            for name in values.keys() & vars(module).keys():
                monkeypatch.setattr(module, name, values[name])
    monkeypatch.setattr(readers["hf_api"].api, "endpoint", server.endpoint)
    if hasattr(http, "_HUB_ORIGINS"):
        origins = http._HUB_ORIGINS | {http._url_origin(server.endpoint)}
        monkeypatch.setattr(http, "_HUB_ORIGINS", origins)
    # The sessions of 0.36 know whether we are offline; the client of 1.0 and later does not.
    if hasattr(http, "_get_session_from_cache"):
        sessions = functools.lru_cache(http._get_session_from_cache.__wrapped__)
        monkeypatch.setattr(http, "_get_session_from_cache", sessions)
    slept: list[float] = []
    clock = SimpleNamespace(**{**vars(time), "sleep": slept.append})
    for name in ("utils._http", "file_download"):
        monkeypatch.setattr(readers[name], "time", clock)
    return slept
