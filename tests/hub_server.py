"""A small Hugging Face Hub on 127.0.0.1, with faults on demand, and plain files beside it.

It speaks what `huggingface_hub` 0.36 to 2.4 asks for model repositories: downloads by branch, tag
or commit, listings, and uploads by commit with LFS over plain HTTP. Known departures from the
real Hub: files are answered in place instead of by a redirect to a CDN, there is no Xet, listings
have one page, and a 401 for a missing repository carries `X-Error-Code: RepoNotFound`, as
`huggingface_hub` understands one without only from an https:// address.
"""

import base64
import functools
import hashlib
import importlib
import json
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

if TYPE_CHECKING:
    import pytest

LFS_ENDINGS = (
    "bin", "ckpt", "gz", "h5", "keras", "msgpack", "npy", "npz", "onnx", "parquet", "pb", "pt",
    "pth", "safetensors", "tflite", "zip",
)  # fmt: skip
LFS_SIZE = 10 * 2**20
GITATTRIBUTES = "".join(f"*.{e} filter=lfs diff=lfs merge=lfs -text\n" for e in LFS_ENDINGS)


@dataclass(frozen=True)
class Status:
    """Answer with this status, before anything is done."""

    code: int
    error: str | None = None
    """`X-Error-Code`, if the Hub itself is to have answered and no proxy."""
    message: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Slow:
    """Wait before answering."""

    seconds: float


@dataclass(frozen=True)
class HangUp:
    """Close the connection instead of answering."""

    reset: bool = False
    """By RST, as a firewall or a crash does, instead of FIN."""


@dataclass(frozen=True)
class NoRange:
    """Answer a request for a range with the whole file."""


@dataclass(frozen=True)
class Cut:
    """Close the connection after so many bytes of a body longer than that."""

    after: int
    reset: bool = False
    """As in `HangUp`."""


@dataclass(frozen=True)
class Truncated:
    """Send only so many bytes of a longer body, as if that were all."""

    size: int


@dataclass(frozen=True)
class Changed:
    """Flip the bits of one byte of the body; length and headers stay right."""

    at: int = -1


@dataclass(frozen=True)
class Dribble:
    """Send the body in pieces of so many bytes, with a pause after each."""

    piece: int
    pause: float


Fault = Status | Slow | HangUp | NoRange | Cut | Truncated | Changed | Dribble
_BEFORE = (Status, Slow, HangUp, NoRange)
_ON_BODY = (Cut, Truncated, Changed, Dribble)


@dataclass(frozen=True)
class Request:
    """What a client has asked for; the names of the headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class _Armed:
    fault: Fault
    path: str | None
    methods: tuple[str, ...] | None
    left: int | None

    def hits(self, method: str, path: str, length: int) -> bool:
        if self.methods is not None and method not in self.methods:
            return False
        if self.path is not None and self.path not in path:
            return False
        if isinstance(self.fault, Cut):
            return length > self.fault.after
        return length > self.fault.size if isinstance(self.fault, Truncated) else True


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class _Refused(Exception):  # noqa: N818
    """The request is answered with an error."""

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        super().__init__(message)
        named = {"X-Error-Message": message, "Content-Type": "application/json; charset=utf-8"}
        if code is not None:
            named["X-Error-Code"] = code
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer = _Answer(status, named, json.dumps({"error": message}).encode())


def git_blob(content: bytes) -> str:
    """Return the name git gives to a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_lfs(path: str, size: int, sample: bytes) -> bool:
    """Say whether the Hub stores a file as LFS: by its ending, large, or binary."""
    if size == 0:
        return False
    return path.rpartition(".")[2] in LFS_ENDINGS or size > LFS_SIZE or b"\0" in sample[:512]


@dataclass(frozen=True)
class _File:
    content: bytes
    lfs: bool

    @functools.cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def pointer(self) -> bytes:
        size = len(self.content)
        return (
            "version https://git-lfs.github.com/spec/v1\n"
            f"oid sha256:{self.sha256}\nsize {size}\n".encode()
        )

    @functools.cached_property
    def blob(self) -> str:
        return git_blob(self.pointer if self.lfs else self.content)

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.blob


@dataclass
class _Repo:
    name: str
    gated: bool = False
    private: bool = False
    commits: dict[str, dict[str, _File]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, revision: str, files: dict[str, _File]) -> str:
        parts = [self.name, str(len(self.commits)), revision]
        parts += [f"{path} {file.blob}" for path, file in sorted(files.items())]
        commit = hashlib.sha1("\n".join(parts).encode()).hexdigest()
        self.commits[commit] = files
        self.branches[revision] = commit
        return commit

    def resolve(self, revision: str) -> str:
        commit = self.branches.get(revision) or self.tags.get(revision)
        if commit is None and revision in self.commits:
            commit = revision
        if commit is None:
            raise _Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit


class _Connections(ThreadingHTTPServer):
    daemon_threads = True
    hub: "HubServer"

    def __init__(self, hub: "HubServer", port: int) -> None:
        self.hub = hub
        self.closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # that of HTTPServer asks a name server about us
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self._changed:
            self._open.add(connection)
        return connection, address

    def close_request(self, request: Any) -> None:
        super().close_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError) and error is not None:
            self.hub.errors.append(error)

    def close(self) -> None:
        """Stop listening and drop the connections; their threads have ended afterwards."""
        self.closing.set()
        self.shutdown()
        self.server_close()
        with self._changed:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._open, timeout=5)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Connections

    def log_message(self, *args: object) -> None:
        pass

    def send_error(self, code: int, *args: Any) -> None:
        self._send(_Answer(code))  # what was no HTTP
        self.close_connection = True

    def _read(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self._exactly(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            chunks.append(self._exactly(size + 2)[:-2])
        self._exactly(2)
        return b"".join(chunks)

    def _exactly(self, size: int) -> bytes:
        sent = self.rfile.read(size)
        if len(sent) < size:
            raise ConnectionResetError("The client has gone")
        return sent

    def _handle(self) -> None:
        hub = self.server.hub
        sent = self._read()
        headers = {name.lower(): value for name, value in self.headers.items()}
        hub.requests.append(Request(self.command, self.path, dict(headers)))
        answer: _Answer | None = None
        for fault in hub._struck(_BEFORE, self.command, self.path):
            if isinstance(fault, Slow):
                if self.server.closing.wait(fault.seconds):
                    raise ConnectionAbortedError("The server goes down")
            elif isinstance(fault, HangUp):
                self._hang_up(fault.reset)
                return
            elif isinstance(fault, NoRange):
                headers.pop("range", None)
            elif isinstance(fault, Status):
                answer = answer or _status(fault)
        if answer is None:
            try:
                answer = hub._answer(self.command, self.path, headers, sent)
            except _Refused as refused:
                answer = refused.answer
            except Exception as error:
                hub.errors.append(error)
                answer = _Refused(500, f"{type(error).__name__} in the server of the test").answer
        self._send(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815

    def _send(self, answer: _Answer) -> None:
        hub = self.server.hub
        body = answer.body
        method = self.command or "GET"
        cut: Cut | None = None
        dribble = Dribble(max(len(body), 1), 0)
        for fault in hub._struck(_ON_BODY, method, getattr(self, "path", ""), len(body)):
            if isinstance(fault, Changed) and body:
                at = fault.at % len(body)
                body = body[:at] + bytes([body[at] ^ 0xFF]) + body[at + 1 :]
            elif isinstance(fault, Truncated):
                body = body[: fault.size]
            elif isinstance(fault, Cut):
                cut = fault
            elif isinstance(fault, Dribble):
                dribble = fault
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        empty = answer.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
        if not empty:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if method == "HEAD" or empty:
            return
        for start in range(0, len(body) if cut is None else cut.after, dribble.piece):
            end = start + dribble.piece
            self.wfile.write(body[start : end if cut is None else min(end, cut.after)])
            if dribble.pause and self.server.closing.wait(dribble.pause):
                break
        if cut is not None:
            self._hang_up(cut.reset)

    def _hang_up(self, reset: bool) -> None:
        self.close_connection = True
        if reset:
            linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.rfile.close()
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_RDWR)


class HubServer:
    """A Hub of its own on a free port, in a `with` block.

    Its repositories and uploads are in memory. `token` may write anything, `read_token` may read
    anything, `stranger_token` is valid but has been let into no gated or private repository.
    """

    def __init__(self) -> None:
        self.token = "hf_writeToken"
        self.read_token = "hf_readToken"
        self.stranger_token = "hf_strangerToken"
        self.user = "tester"
        self.requests: list[Request] = []
        self.errors: list[BaseException] = []
        """What went wrong in the server itself; the end of the `with` block raises the first."""
        self._lock = threading.RLock()
        self._armed: list[_Armed] = []
        self._repos: dict[str, _Repo] = {}
        self._static: dict[str, bytes] = {}
        self._objects: dict[str, bytes] = {}
        self._server: _Connections | None = None
        self._held: socket.socket | None = None
        self._port = 0

    @property
    def endpoint(self) -> str:
        """The address, for `HF_ENDPOINT`."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> "HubServer":
        self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()
        if self._held is not None:
            self._held.close()
            self._held = None
        if self.errors and error is None:
            raise self.errors[0]

    def up(self) -> None:
        """Answer again, on the same port."""
        if self._server is not None:
            return
        if self._held is not None:
            self._held.close()
            self._held = None
        self._server = _Connections(self, self._port)
        self._port = self._server.server_address[1]
        serve = self._server.serve_forever
        threading.Thread(target=serve, args=(0.02,), name="hub", daemon=True).start()

    def down(self) -> None:
        """Drop the connections and refuse new ones, until `up`."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        # Bound without listening: nobody else gets the port meanwhile.
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", self._port))

    def fail(
        self,
        fault: Fault,
        *,
        path: str | None = None,
        times: int | None = None,
        methods: tuple[str, ...] | None = None,
    ) -> None:
        """Answer with this fault from now on.

        Parameters
        ----------
        fault
            Several may be set: the first status wins, the others come together.
        path
            Only requests with this in their address, unquoted.
        times
            So many requests, then never again; by default until `heal`.
        methods
            Only these, as ("HEAD",). By default GET for what concerns the body, else all.
        """
        if methods is None and isinstance(fault, _ON_BODY):
            methods = ("GET",)
        with self._lock:
            self._armed.append(_Armed(fault, path, methods, times))

    def heal(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._armed.clear()

    def _struck(
        self, kinds: tuple[type, ...], method: str, path: str, length: int = 0
    ) -> list[Fault]:
        struck = []
        with self._lock:
            for armed in list(self._armed):
                if isinstance(armed.fault, kinds) and armed.hits(method, unquote(path), length):
                    struck.append(armed.fault)
                    if armed.left is not None:
                        armed.left -= 1
                        if armed.left <= 0:
                            self._armed.remove(armed)
        return struck

    def add_repo(
        self,
        repo: str,
        files: Mapping[str, bytes],
        *,
        revision: str = "main",
        gated: bool = False,
        private: bool = False,
    ) -> str:
        """Make `files` all there is on a branch, in a new commit whose hash is returned.

        The repository is made if it is not there; whether it is gated or private is as last said.
        """
        with self._lock:
            target = self._repos.setdefault(repo, _Repo(repo))
            target.gated, target.private = gated, private
            stored = {path: _stored(path, content) for path, content in files.items()}
            return target.commit(revision, stored)

    def add_tag(self, repo: str, tag: str, revision: str = "main") -> None:
        """Name a commit."""
        with self._lock:
            self._repos[repo].tags[tag] = self._repos[repo].resolve(revision)

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        """Return what is there by branch, tag or commit."""
        with self._lock:
            target = self._repos[repo]
            stored = target.commits[target.resolve(revision)]
            return {path: file.content for path, file in sorted(stored.items())}

    def add_file(self, path: str, content: bytes) -> str:
        """Serve a plain file, beside the Hub; returns its address."""
        path = "/" + path.lstrip("/")
        with self._lock:
            self._static[path] = content
        return self.endpoint + quote(path)

    # What follows answers requests.

    def _answer(
        self, method: str, address: str, headers: Mapping[str, str], sent: bytes
    ) -> _Answer:
        parts = urlsplit(address)
        with self._lock:
            content = self._static.get(unquote(parts.path))
            if content is not None:
                etag = hashlib.sha256(content).hexdigest()
                return _content(method, headers, content, etag, {})
            role = self._role(headers)
            for (wanted, pattern), answer in _ROUTES.items():
                found = re.fullmatch(pattern, parts.path)
                if found and method in wanted:
                    call = _Call(method, headers, sent, parse_qs(parts.query), role)
                    return answer(self, call, *map(unquote, found.groups()))
        raise _Refused(404, "Sorry, we can't find the page you are looking for.")

    def _role(self, headers: Mapping[str, str]) -> str | None:
        said = headers.get("authorization")
        if said is None:
            return None
        roles = {self.token: "write", self.read_token: "read", self.stranger_token: "stranger"}
        role = roles.get(said.removeprefix("Bearer "))
        if role is None:
            raise _Refused(401, "Invalid credentials in Authorization header")
        return role

    def _repo(self, name: str, role: str | None) -> _Repo:
        repo = self._repos.get(name)
        if repo is None or (repo.private and role in (None, "stranger")):
            if role is None:
                raise _Refused(401, "Invalid username or password.", "RepoNotFound")
            raise _Refused(404, "Repository not found", "RepoNotFound")
        return repo

    def _writable(self, name: str, role: str | None) -> _Repo:
        repo = self._repo(name, role)
        if role is None:
            raise _Refused(401, "Invalid username or password.")
        if role != "write":
            raise _Refused(
                403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request"
            )
        return repo

    def _resolve(self, call: "_Call", name: str, revision: str, path: str) -> _Answer:
        repo = self._repo(name, call.role)
        self._admit(repo, call.role)
        commit = repo.resolve(revision)
        there = {"X-Repo-Commit": commit}
        file = repo.commits[commit].get(path)
        if file is None:
            raise _Refused(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit)
        base = path.rsplit("/", 1)[-1]
        there["Content-Disposition"] = (
            f"inline; filename*=UTF-8''{quote(base)}; filename=\"{quote(base)}\";"
        )
        if file.lfs:
            there["X-Linked-Size"] = str(len(file.content))
            there["X-Linked-Etag"] = f'"{file.sha256}"'
        return _content(call.method, call.headers, file.content, file.etag, there)

    def _admit(self, repo: _Repo, role: str | None) -> None:
        if repo.gated and role is None:
            raise _Refused(
                401,
                f"Access to model {repo.name} is restricted. You must have access to it and be "
                "authenticated to access it. Please log in.",
                "GatedRepo",
            )
        if repo.gated and role == "stranger":
            raise _Refused(
                403,
                f"Access to model {repo.name} is restricted and you are not in the authorized "
                f"list. Visit {self.endpoint}/{repo.name} to ask for access.",
                "GatedRepo",
            )

    def _model(self, call: "_Call", name: str, revision: str = "main") -> _Answer:
        repo = self._repo(name, call.role)
        commit = repo.resolve(revision)
        siblings: list[dict[str, Any]] = []
        for path, file in sorted(repo.commits[commit].items()):
            sibling: dict[str, Any] = {"rfilename": path}
            if call.asks("blobs"):
                sibling |= {"size": len(file.content), "blobId": file.blob}
                if file.lfs:
                    size, pointer = len(file.content), len(file.pointer)
                    lfs = {"size": size, "sha256": file.sha256, "pointerSize": pointer}
                    sibling["lfs"] = lfs
            siblings.append(sibling)
        info = {
            "id": name,
            "modelId": name,
            "author": name.split("/")[0],
            "sha": commit,
            "createdAt": "2024-01-01T00:00:00.000Z",
            "lastModified": "2024-01-01T00:00:00.000Z",
            "private": repo.private,
            "gated": "auto" if repo.gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "siblings": siblings,
        }
        return _json(info)

    def _tree(self, call: "_Call", name: str, revision: str, folder: str = "") -> _Answer:
        repo = self._repo(name, call.role)
        files = repo.commits[repo.resolve(revision)]
        inside = f"{folder}/" if folder else ""
        entries: dict[str, dict[str, Any]] = {}
        for path, file in sorted(files.items()):
            if not path.startswith(inside):
                continue
            for depth, letter in enumerate(path):
                if letter == "/" and depth >= len(inside):
                    entries.setdefault(path[:depth], _folder_entry(path[:depth]))
            entries[path] = _file_entry(path, file)
        if folder and not entries:
            raise _Refused(404, f"{folder} does not exist on {revision!r}", "EntryNotFound")
        if not call.asks("recursive"):
            entries = {p: e for p, e in entries.items() if "/" not in p[len(inside) :]}
        return _json(list(entries.values()))

    def _paths(self, call: "_Call", name: str, revision: str) -> _Answer:
        repo = self._repo(name, call.role)
        files = repo.commits[repo.resolve(revision)]
        if "json" in call.headers.get("content-type", ""):
            paths = json.loads(call.sent)["paths"]
        else:
            paths = parse_qs(call.sent.decode())["paths"]
        found = []
        for path in paths:
            if path in files:
                found.append(_file_entry(path, files[path]))
            elif any(known.startswith(f"{path}/") for known in files):
                found.append(_folder_entry(path))
        return _json(found)

    def _refs(self, call: "_Call", name: str) -> _Answer:
        repo = self._repo(name, call.role)
        listed = {}
        for kind, prefix, refs in (
            ("branches", "refs/heads/", repo.branches),
            ("tags", "refs/tags/", repo.tags),
        ):
            listed[kind] = [
                {"name": ref, "ref": prefix + ref, "targetCommit": commit}
                for ref, commit in refs.items()
            ]
        return _json({**listed, "converts": []})

    def _check(self, call: "_Call", name: str) -> _Answer:
        self._admit(self._repo(name, call.role), call.role)
        return _json({})

    def _whoami(self, call: "_Call") -> _Answer:
        if call.role is None:
            raise _Refused(401, "Invalid username or password.")
        access = {"displayName": "tests", "role": "write" if call.role == "write" else "read"}
        name = "stranger" if call.role == "stranger" else self.user
        auth = {"type": "access_token", "accessToken": access}
        return _json({"type": "user", "id": name, "name": name, "orgs": [], "auth": auth})

    def _create(self, call: "_Call") -> _Answer:
        wanted = json.loads(call.sent)
        owner = wanted.get("organization") or self.user
        name = f"{owner}/{wanted['name']}"
        if call.role is None:
            raise _Refused(401, "Invalid username or password.")
        if call.role != "write":
            raise _Refused(
                403, f"You don't have the rights to create a model under the namespace {owner!r}"
            )
        there = {"url": f"{self.endpoint}/{name}", "name": name}
        if name in self._repos:
            return _json({"error": "You already created this model repo", **there}, 409)
        private = bool(wanted.get("private")) or wanted.get("visibility") == "private"
        self.add_repo(name, {".gitattributes": GITATTRIBUTES.encode()}, private=private)
        return _json(there)

    def _yaml(self, call: "_Call") -> _Answer:
        warnings = []
        if not json.loads(call.sent)["content"].startswith("---"):
            warnings.append({"message": "empty or missing yaml metadata in repo card"})
        return _json({"warnings": warnings, "errors": []})

    def _preupload(self, call: "_Call", name: str, revision: str) -> _Answer:
        repo = self._writable(name, call.role)
        there = repo.commits[repo.resolve(revision)]
        modes = []
        for asked in json.loads(call.sent)["files"]:
            path = asked["path"]
            lfs = is_lfs(path, asked["size"], base64.b64decode(asked["sample"]))
            mode = {"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
            if path in there:
                mode["oid"] = there[path].etag
            modes.append(mode)
        return _json({"files": modes})

    def _batch(self, call: "_Call", name: str) -> _Answer:
        self._writable(name, call.role)
        objects = []
        for asked in json.loads(call.sent)["objects"]:
            oid = asked["oid"]
            if oid in self._objects:
                objects.append(asked)
                continue
            actions = {
                "upload": {"href": f"{self.endpoint}/lfs-storage/{oid}", "header": {}},
                "verify": {"href": f"{self.endpoint}/{name}.git/info/lfs/verify", "header": {}},
            }
            objects.append({**asked, "authenticated": True, "actions": actions})
        return _json({"transfer": "basic", "objects": objects})

    def _put(self, call: "_Call", oid: str) -> _Answer:
        if hashlib.sha256(call.sent).hexdigest() != oid:
            raise _Refused(400, "The object is not what its name says")
        self._objects[oid] = call.sent
        return _Answer(200)

    def _verify(self, call: "_Call", name: str) -> _Answer:
        self._writable(name, call.role)
        said = json.loads(call.sent)
        if len(self._objects.get(said["oid"], b"")) != said["size"]:
            raise _Refused(404, "The object has not been uploaded")
        return _json({})

    def _commit(self, call: "_Call", name: str, revision: str) -> _Answer:
        repo = self._writable(name, call.role)
        if call.asks("create_pr"):
            raise _Refused(400, "This Hub of the tests has no pull requests")
        if revision not in repo.branches:
            raise _Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        files = dict(repo.commits[repo.branches[revision]])
        for line in call.sent.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "header":
                parent = value.get("parentCommit")
                if parent and not repo.branches[revision].startswith(parent):
                    raise _Refused(
                        412, "A commit has happened since. Please refresh and try again."
                    )
            elif operation["key"] == "file":
                content = base64.b64decode(value["content"])
                files[value["path"]] = _File(content, lfs=False)
            elif operation["key"] == "lfsFile":
                if value["oid"] not in self._objects:
                    raise _Refused(400, f"LFS object {value['oid']} does not exist")
                files[value["path"]] = _File(self._objects[value["oid"]], lfs=True)
            elif operation["key"] == "deletedFile":
                if files.pop(value["path"], None) is None:
                    raise _Refused(404, "A file with this name doesn't exist", "EntryNotFound")
            elif operation["key"] == "deletedFolder":
                start = value["path"].rstrip("/") + "/"
                files = {path: file for path, file in files.items() if not path.startswith(start)}
            else:
                raise _Refused(400, f"Unknown operation {operation['key']}")
        commit = repo.commit(revision, files)
        url = f"{self.endpoint}/{name}/commit/{commit}"
        return _json({"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})

    def _tag(self, call: "_Call", name: str, revision: str) -> _Answer:
        repo = self._writable(name, call.role)
        tag = json.loads(call.sent)["tag"]
        if tag in repo.tags:
            return _json({"error": "Tag reference exists already"}, 409)
        repo.tags[tag] = repo.resolve(revision)
        return _json({})


@dataclass(frozen=True)
class _Call:
    method: str
    headers: Mapping[str, str]
    sent: bytes
    query: Mapping[str, list[str]]
    role: str | None

    def asks(self, name: str) -> bool:
        return self.query.get(name, [""])[-1].lower() in ("1", "true")


_NAME = "([^/]+/[^/]+)"
_MODEL = f"/api/models/{_NAME}"
_ROUTES: dict[tuple[str, str], Callable[..., _Answer]] = {
    ("GET HEAD", f"/{_NAME}/resolve/([^/]+)/(.+)"): HubServer._resolve,
    ("GET", _MODEL): HubServer._model,
    ("GET", f"{_MODEL}/revision/([^/]+)"): HubServer._model,
    ("GET", f"{_MODEL}/tree/([^/]+)"): HubServer._tree,
    ("GET", f"{_MODEL}/tree/([^/]+)/(.+)"): HubServer._tree,
    ("POST", f"{_MODEL}/paths-info/([^/]+)"): HubServer._paths,
    ("GET", f"{_MODEL}/refs"): HubServer._refs,
    ("GET", f"{_MODEL}/auth-check"): HubServer._check,
    ("GET", "/api/whoami-v2"): HubServer._whoami,
    ("POST", "/api/repos/create"): HubServer._create,
    ("POST", "/api/validate-yaml"): HubServer._yaml,
    ("POST", f"{_MODEL}/preupload/([^/]+)"): HubServer._preupload,
    ("POST", rf"/{_NAME}\.git/info/lfs/objects/batch"): HubServer._batch,
    ("PUT", "/lfs-storage/([0-9a-f]{64})"): HubServer._put,
    ("POST", rf"/{_NAME}\.git/info/lfs/verify"): HubServer._verify,
    ("POST", f"{_MODEL}/commit/([^/]+)"): HubServer._commit,
    ("POST", f"{_MODEL}/tag/([^/]+)"): HubServer._tag,
}


def _stored(path: str, content: bytes) -> _File:
    return _File(bytes(content), is_lfs(path, len(content), content))


def _status(fault: Status) -> _Answer:
    known = fault.code in list(HTTPStatus)
    message = fault.message or (HTTPStatus(fault.code).phrase if known else "Unknown")
    if fault.error is None and fault.message is None:  # some proxy or portal, and not the Hub
        body = f"<html><body>{fault.code} {message}</body></html>".encode()
        answer = _Answer(fault.code, {"Content-Type": "text/html"}, body)
    else:
        answer = _Refused(fault.code, message, fault.error).answer
    return replace(answer, headers={**answer.headers, **fault.headers})


def _json(said: Any, status: int = 200) -> _Answer:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    return _Answer(status, headers, json.dumps(said).encode())


def _file_entry(path: str, file: _File) -> dict[str, Any]:
    size = len(file.content)
    entry = {"type": "file", "oid": file.blob, "size": size, "path": path}
    if file.lfs:
        entry["lfs"] = {"oid": file.sha256, "size": size, "pointerSize": len(file.pointer)}
    return entry


def _folder_entry(path: str) -> dict[str, Any]:
    oid = hashlib.sha1(path.encode()).hexdigest()
    return {"type": "directory", "oid": oid, "size": 0, "path": path}


def _content(
    method: str, headers: Mapping[str, str], content: bytes, etag: str, extra: Mapping[str, str]
) -> _Answer:
    """Answer with a file or the asked part of it."""
    if method not in ("GET", "HEAD"):
        raise _Refused(405, "Only for reading")
    quoted = f'"{etag}"'
    there = {"ETag": quoted, "Accept-Ranges": "bytes", **extra}
    if headers.get("if-none-match") == quoted:
        return _Answer(304, there)
    there["Content-Type"] = "application/octet-stream"
    part = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("range", ""))
    if part is None or part[0] == "bytes=-" or headers.get("if-range", quoted) != quoted:
        return _Answer(200, there, content)
    size = len(content)
    if part[1]:
        first, last = int(part[1]), min(int(part[2] or size), size - 1)
    else:
        first, last = max(size - int(part[2]), 0), size - 1
    if first > last:
        return _Answer(416, {**there, "Content-Range": f"bytes */{size}"})
    there["Content-Range"] = f"bytes {first}-{last}/{size}"
    return _Answer(206, there, content[first : last + 1])


def hub_environment(
    server: HubServer, cache: Path, *, token: str | None = None, offline: bool = False
) -> dict[str, str]:
    """Return what a process has to find in its environment to use `server` and nothing else.

    `cache` is `HF_HOME`, in which `hub` holds the downloads. Without `token`, one of the user is
    not sent either.
    """
    return {
        "HF_ENDPOINT": server.endpoint,
        "HF_HOME": str(cache),
        "HF_HUB_CACHE": str(cache / "hub"),
        "HUGGINGFACE_HUB_CACHE": str(cache / "hub"),
        "HF_ASSETS_CACHE": str(cache / "assets"),
        "HF_XET_CACHE": str(cache / "xet"),
        "HF_TOKEN_PATH": str(cache / "token"),
        "HF_TOKEN": token or "",
        "HUGGING_FACE_HUB_TOKEN": "",
        "HF_HUB_OFFLINE": str(int(offline)),
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_SYMLINKS_WARNING": "1",
        "HF_HUB_ENABLE_HF_TRANSFER": "0",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


class _QuickTime:
    """The module `time`, except that nothing sleeps."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


_READERS = (
    "constants", "hf_api", "file_download", "_snapshot_download", "hf_file_system", "utils._http",
    "utils.tqdm", "utils._cache_manager", "utils._cache_assets", "utils._git_credential",
)  # fmt: skip


def _hub_modules() -> Iterator[Any]:
    for name, module in list(sys.modules.items()):
        if module is not None and name.split(".")[0] == "huggingface_hub":
            yield module


def patch_hub(
    monkeypatch: "pytest.MonkeyPatch",
    server: HubServer,
    cache: Path,
    *,
    token: str | None = None,
    offline: bool = False,
    timeout: float = 10,
    quick: bool = True,
) -> list[float]:
    """Let `huggingface_hub` use `server` in this process, as `hub_environment` does in another.

    Parameters
    ----------
    monkeypatch
        Puts everything back.
    server
        That of the test.
    cache
        `HF_HOME`; downloads are in its folder `hub`.
    token
        As if the user had logged in.
    offline
        As if `HF_HUB_OFFLINE` were set.
    timeout
        In seconds, for an answer to HEAD and between two pieces of a body.
    quick
        Do not wait between two attempts.

    Returns
    -------
    list of float
        Gets the seconds `huggingface_hub` would have waited, if `quick`.
    """
    # First of all, as what is imported later would keep what we set.
    readers = {}
    for name in _READERS:
        with suppress(ImportError):
            readers[name] = importlib.import_module(f"huggingface_hub.{name}")
    environment = hub_environment(server, cache, token=token, offline=offline)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    values: dict[str, Any] = {
        **{name: path for name, path in environment.items() if path.startswith(str(cache))},
        "ENDPOINT": server.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": server.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HUGGINGFACE_ASSETS_CACHE": environment["HF_ASSETS_CACHE"],
        "HF_STORED_TOKENS_PATH": str(cache / "stored_tokens"),
        "AGENT_HARNESSES_PATH": str(cache / ".agent_harnesses.json"),
        "CHECK_FOR_UPDATE_DONE_PATH": str(cache / ".check_for_update_done"),
        "HF_HUB_OFFLINE": offline,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_DISABLE_PROGRESS_BARS": True,
        "HF_HUB_DISABLE_UPDATE_CHECK": True,
        "HF_HUB_DISABLE_SYMLINKS_WARNING": True,
        "HF_HUB_ENABLE_HF_TRANSFER": False,
        "HF_HUB_ETAG_TIMEOUT": timeout,
        "HF_HUB_DOWNLOAD_TIMEOUT": timeout,
        "_ETAG_RETRY_TIMEOUT": timeout,
    }
    for module in _hub_modules():
        for name in values.keys() & vars(module).keys():
            monkeypatch.setattr(module, name, values[name])
    monkeypatch.setattr(readers["hf_api"].api, "endpoint", server.endpoint)
    files = getattr(readers.get("hf_file_system"), "hffs", None)
    for holder in (files, getattr(files, "_api", None)):
        if holder is not None:
            monkeypatch.setattr(holder, "endpoint", server.endpoint)
    http, constants = readers["utils._http"], readers["constants"]
    if hasattr(constants, "HF_URL_HOSTS"):
        monkeypatch.setattr(constants, "HF_URL_HOSTS", constants.HF_URL_HOSTS | {"127.0.0.1"})
    if hasattr(http, "_HUB_ORIGINS"):
        origins = http._HUB_ORIGINS | {http._url_origin(server.endpoint)}
        monkeypatch.setattr(http, "_HUB_ORIGINS", origins)
    # The client of 1.0 and later stays: it knows nothing of what is set here, and making one takes
    # 0.15 s. The sessions of 0.36 know whether we are offline.
    if hasattr(http, "_get_session_from_cache"):
        sessions = functools.lru_cache(http._get_session_from_cache.__wrapped__)
        monkeypatch.setattr(http, "_get_session_from_cache", sessions)
    clock = _QuickTime()
    if quick:
        for name in ("utils._http", "file_download"):
            monkeypatch.setattr(readers[name], "time", clock)
    return clock.slept
