"""Every fault of a network ends in the file, an earlier download of it, or one line of advice."""

import errno
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from hub_server import Fault, HubServer, git_blob, hub_environment, patch_hub

import musicnn_zoo
from musicnn_zoo import DownloadError, WeightsError
from musicnn_zoo.zoo import downloads
from musicnn_zoo.zoo.catalogue import HubFile, WebFile
from musicnn_zoo.zoo.downloads import fetch, hub_commit

REPO = "tester/model"
CONTENT = bytes(range(256)) * 1024
OTHER = CONTENT[::-1]
SMALL = b'{"a": 1}\n'
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PIECE = 65536
# Before 1.33 huggingface_hub goes on itself where it was cut, for which it leaves
# <etag>.incomplete, and says less; what comes of a fault is the same.
VERSION = tuple(int(part) for part in huggingface_hub.__version__.split(".")[:2])
LATE = VERSION >= (1, 33)
SOCKETS = "ignore::pytest.PytestUnraisableExceptionWarning"
pytestmark = [pytest.mark.filterwarnings(SOCKETS)] if VERSION < (1, 0) else []  # left open there


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub, and caches in ``tmp_path`` that hold nothing half-written in the end."""
    with HubServer() as server:
        use(server, monkeypatch, tmp_path)
        monkeypatch.setattr(downloads, "PAUSES_S", (0.0, 0.0))
        server.add_repo(REPO, {"w.safetensors": CONTENT, "config.json": SMALL})
        yield server
    assert_whole(tmp_path)


def use(server, monkeypatch, root, **options):
    monkeypatch.setenv("MUSICNN_ZOO_CACHE", str(root / "zoo"))
    return patch_hub(monkeypatch, server, root / "hf", **options)


def assert_whole(root):
    """Nothing in the caches is half a file, by its name or under a name that promises a whole."""
    for path in (root / "hf").rglob("*"):
        assert not LATE or path.suffix != ".incomplete", path
        assert path.exists(), f"{path} is a link to nothing"
    for path in (root / "hf").glob("hub/models--*/blobs/*"):
        if path.suffix == ".incomplete":
            continue
        content = path.read_bytes()
        assert path.name in (hashlib.sha256(content).hexdigest(), git_blob(content)), path
    for path in (root / "zoo").rglob("*"):
        kind = path.relative_to(root / "zoo").parts[0]
        if path.is_dir():
            assert path.parent == root / "zoo", path
        elif kind == "downloads":
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            assert path.suffix == ".incomplete" or path.name.startswith(digest[:16]), path
        elif kind == "digests":
            if path.suffix != ".lock":
                assert len(json.loads(path.read_text())["sha256"]) == 64
        elif path.suffix == ".onnx":
            digest = path.with_name(f"{path.name}.sha256").read_text().split()[0]
            assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.name.endswith(".weights.h5"):
            note = json.loads(path.with_suffix(".json").read_text())
            assert note["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            assert path.suffix in (".json", ".lock", ".sha256"), path


def complaint(kind, call, *words):
    """What ``call`` complains of, in one line that has all the words."""
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    message = str(caught.value)
    assert message.isprintable()
    assert "Traceback" not in message
    for word in words:
        assert word in message
    return message


def asked(server, *methods):
    return [request for request in server.requests if request.method in (methods or ("GET",))]


def hub_file(server, path="w.safetensors", **options):
    return HubFile(REPO, server.add_repo(REPO, server.files(REPO)), path, **options)


def web_file(server, name="w.pth", content=CONTENT):
    return WebFile(server.add_file(f"files/{name}", content), hashlib.sha256(content).hexdigest())


def unfinished(root):
    return list((root / "zoo" / "downloads").glob("*.incomplete"))


KINDS = {
    "hub": hub_file,
    "hub, pinned": partial(hub_file, sha256=DIGEST),
    "web": web_file,
}
each_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
both = pytest.mark.parametrize("make", [hub_file, web_file])


# What works


@pytest.mark.platform
@each_kind
def test_a_file_is_downloaded_once(hub, make):
    file = make(hub)
    assert fetch(file).read_bytes() == CONTENT
    assert len(asked(hub)) == 1
    hub.requests.clear()
    assert fetch(file).read_bytes() == CONTENT
    hub.down()
    assert fetch(file).read_bytes() == CONTENT
    assert hub.requests == []


def test_a_branch_stands_for_its_commit(hub):
    first = hub.add_repo(REPO, {"config.json": SMALL})
    hub.add_tag(REPO, "v1")
    second = hub.add_repo(REPO, {"config.json": b"{}"})
    for revision, commit in (("main", second), ("v1", first), (first, first), (second, second)):
        assert hub_commit(REPO, revision, "config.json") == commit
    assert fetch(HubFile(REPO, first, "config.json")).read_bytes() == SMALL
    assert fetch(HubFile(REPO, second, "config.json")).read_bytes() == b"{}"


def test_a_private_repository_is_read_with_hf_token(hub, monkeypatch, tmp_path):
    commit = hub.add_repo("tester/own", {"w.safetensors": CONTENT}, private=True)
    file = HubFile("tester/own", commit, "w.safetensors")
    complaint(DownloadError, lambda: fetch(file), file.address, "private", "set HF_TOKEN")
    use(hub, monkeypatch, tmp_path, token=hub.token)
    hub.fail(status=404, code="RepoNotFound")  # as it is for others
    complaint(DownloadError, lambda: fetch(file), file.address, "private", "set HF_TOKEN")
    hub.heal()
    assert fetch(file).read_bytes() == CONTENT
    assert asked(hub)[-1].headers["authorization"] == f"Bearer {hub.token}"


def test_the_token_is_for_the_hub_alone(hub, monkeypatch, tmp_path):
    use(hub, monkeypatch, tmp_path, token=hub.token)
    with HubServer() as elsewhere:
        assert fetch(web_file(elsewhere)).read_bytes() == CONTENT
        assert all("authorization" not in request.headers for request in elsewhere.requests)


def test_the_hub_is_told_who_asks(hub):
    fetch(hub_file(hub))
    hub_commit(REPO, "main", "config.json")
    assert {request.method for request in hub.requests} == {"HEAD", "GET"}
    for request in hub.requests:
        assert f"musicnn-zoo/{musicnn_zoo.__version__}" in request.headers["user-agent"]


# What passes


HEAD, GET = ("HEAD",), ("GET",)
PASSING = {
    "busy, HEAD": Fault(503, methods=HEAD),
    "busy, GET": Fault(503, methods=GET),
    "too many requests, GET": Fault(429, methods=GET),
    "error of the server": Fault(500, methods=GET),
    "closed, HEAD": Fault(hang_up=True, methods=HEAD),
    "closed, GET": Fault(hang_up=True, methods=GET),
    "reset, HEAD": Fault(hang_up=True, reset=True, methods=HEAD),
    "reset, GET": Fault(hang_up=True, reset=True, methods=GET),
    "cut": Fault(cut=1000),
    "cut by a reset": Fault(cut=1000, reset=True),
    "truncated": Fault(size=1000),
    "changed": Fault(changed=70_000),
    "a portal, GET": Fault(200, methods=GET),
}


def each_kind_with(faults):
    """Each kind of file with the faults that concern it: a plain file is not asked for by HEAD."""
    concerned = {"web": lambda fault: "HEAD" not in fault, "hub, pinned": {"changed"}.__contains__}
    return pytest.mark.parametrize(
        ("kind", "fault"),
        [(kind, fault) for kind in KINDS for fault in faults if concerned.get(kind, str)(fault)],
    )


@each_kind_with(PASSING)
def test_what_passes_is_tried_again(hub, kind, fault, tmp_path):
    hub.fail(PASSING[fault], times=1)
    assert fetch(KINDS[kind](hub)).read_bytes() == CONTENT
    assert len(asked(hub, *PASSING[fault].methods)) == 2 or not LATE
    assert unfinished(tmp_path) == []


@both
def test_a_cut_download_goes_on_where_it_was_cut(hub, make, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", PIECE)
    hub.fail(cut=100_000, times=1)
    assert fetch(make(hub)).read_bytes() == CONTENT
    assert [request.headers.get("range") for request in asked(hub)] == [None, f"bytes={PIECE}-"]


@both
def test_slow_but_fine(hub, make, monkeypatch, tmp_path):
    use(hub, monkeypatch, tmp_path, timeout=0.4)
    hub.fail(wait_s=0.1)
    hub.fail(piece=PIECE, pause_s=0.15)  # 0.6 s in all
    assert fetch(make(hub)).read_bytes() == CONTENT
    assert len(asked(hub)) == 1


@both
def test_slow_at_first(hub, make, monkeypatch, tmp_path):
    use(hub, monkeypatch, tmp_path, timeout=0.1)
    hub.fail(wait_s=5, times=2)
    assert fetch(make(hub)).read_bytes() == CONTENT
    assert len(hub.requests) > 2


# What does not pass


PERMANENT = {
    **PASSING,
    "a portal, HEAD": Fault(200, methods=HEAD),
    "no network": None,
    "slow, HEAD": Fault(wait_s=5, methods=HEAD),
    "slow, GET": Fault(wait_s=5, methods=GET),
}
ADVICE = {
    "busy, HEAD": "(status 503); try again later",
    "busy, GET": "(status 503); try again later",
    "too many requests, GET": "(status 429); try again later",
    "error of the server": "(status 500); try again later",
    "a portal, HEAD": "no Hugging Face Hub; log in to the network if it asks for that",
    "no network": "check the network, the proxy (HTTPS_PROXY) and HF_ENDPOINT, and try again",
    "slow, HEAD": "check the network, the proxy (HTTPS_PROXY) and HF_ENDPOINT, and try again",
}
DEFAULT_ADVICE = "check the network and try again"
REFUSED = "not kept; try again, and over another network if that does not help"


def strike(hub, name):
    if PERMANENT[name] is None:
        hub.down()
    else:
        hub.fail(PERMANENT[name])


@each_kind_with(PERMANENT)
def test_what_does_not_pass_is_one_line_with_advice(hub, kind, fault, monkeypatch, tmp_path):
    if fault.startswith("slow"):
        use(hub, monkeypatch, tmp_path, timeout=0.02)
    file = KINDS[kind](hub)
    strike(hub, fault)
    error, advice = DownloadError, ADVICE.get(fault, DEFAULT_ADVICE)
    if kind == "web" and fault == "no network":
        advice = "check the network and the proxy (HTTPS_PROXY), and try again"
    if advice.startswith("check the network") and not LATE:
        advice = "check the network"
    if fault == "changed" or (kind == "web" and fault in ("truncated", "a portal, GET")):
        error, advice = WeightsError, REFUSED
    message = complaint(error, lambda: fetch(file), advice)
    assert message.startswith(f"{file.address}: ")
    if error is WeightsError:
        assert f"its SHA-256 must be {DIGEST}, received " in message
    assert_whole(tmp_path)
    assert not any(path.is_file() for path in tmp_path.rglob("*w.pth"))
    assert not list(tmp_path.rglob("w.safetensors"))

    hub.up()
    hub.heal()
    assert fetch(file).read_bytes() == CONTENT
    assert unfinished(tmp_path) == []


@pytest.mark.platform
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"repo": "tester/none"}, ("no such repository", "check its name", "HF_TOKEN")),
        ({"revision": "none"}, ("no such revision", "name a branch, tag or commit")),
        ({"revision": "0" * 40}, ("no such revision", "name a branch, tag or commit")),
        ({"path": "none.safetensors"}, ("no such file", "check the repository, the revision")),
        ({"repo": "tester/a--b"}, ("no name of a repository", "check it")),
        ({"repo": "tester/a b"}, ("no name of a repository", "check it")),
    ],
)
@pytest.mark.parametrize("logged_in", [False, True])
def test_what_is_not_there(hub, change, words, logged_in, monkeypatch, tmp_path):
    use(hub, monkeypatch, tmp_path, token=hub.token if logged_in else None)
    file = replace(HubFile(REPO, "main", "w.safetensors"), **change)
    message = complaint(DownloadError, lambda: fetch(file), *words)
    assert message.startswith(f"hf://{file.repo}@{file.revision}/{file.path}: ")
    assert len(hub.requests) <= 1


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_plain_file_that_is_not_given(hub, code):
    file = WebFile(f"{hub.endpoint}/none.pth", DIGEST)
    hub.fail(status=code)
    complaint(
        DownloadError, lambda: fetch(file),
        file.url, f"(status {code})", "pip install --upgrade musicnn-zoo", "try again later",
    )  # fmt: skip
    assert len(hub.requests) == 1


def test_an_answer_of_404_that_is_not_the_hubs(hub):
    hub.fail(status=404)
    file = hub_file(hub)
    complaint(DownloadError, lambda: fetch(file), file.address, "no such file", "check")


@pytest.mark.platform
@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_repository(hub, status):
    file = hub_file(hub)
    hub.fail(status=status, code="GatedRepo", message="Access to it is restricted.")
    complaint(
        DownloadError, lambda: fetch(file),
        file.address, "gated", "accept its conditions", "hf auth login", "HF_TOKEN",
    )  # fmt: skip


@pytest.mark.parametrize("code", [401, 403])
def test_access_that_is_refused(hub, code):
    file = hub_file(hub)
    hub.fail(status=code, message="Invalid credentials in Authorization header")
    complaint(
        DownloadError, lambda: fetch(file),
        file.address, f"refuses access ({code})", "log in", "set HF_TOKEN",
    )  # fmt: skip


@pytest.mark.platform
@each_kind
def test_offline_before_the_first_download(hub, make, monkeypatch, tmp_path):
    use(hub, monkeypatch, tmp_path, offline=True)
    file = make(hub)
    complaint(DownloadError, lambda: fetch(file), file.address, "HF_HUB_OFFLINE", "unset it")
    assert hub.requests == []


@pytest.mark.platform
@both
def test_offline_after_it(hub, make, monkeypatch, tmp_path):
    file = make(hub)
    fetch(file)
    hub.requests.clear()
    use(hub, monkeypatch, tmp_path, offline=True)
    assert fetch(file).read_bytes() == CONTENT
    assert hub.requests == []


def test_how_long_is_waited(hub, monkeypatch, tmp_path):
    monkeypatch.undo()
    use(hub, monkeypatch, tmp_path)
    slept = []
    monkeypatch.setattr(downloads, "time", SimpleNamespace(sleep=slept.append))
    for file in (hub_file(hub), web_file(hub)):
        hub.fail(status=503, methods=GET)
        complaint(DownloadError, lambda file=file: fetch(file))
        assert slept == [1.0, 3.0]
        hub.heal()
        hub.fail(status=404)
        complaint(DownloadError, lambda file=file: fetch(file))
        hub.heal()
        use(hub, monkeypatch, tmp_path, offline=True)
        complaint(DownloadError, lambda file=file: fetch(file))
        assert slept == [1.0, 3.0], "what does not pass is not waited for"
        use(hub, monkeypatch, tmp_path)
        slept.clear()


@both
def test_a_server_that_cannot_be_reached_is_not_waited_for(hub, make, monkeypatch, tmp_path):
    monkeypatch.undo()
    waited = use(hub, monkeypatch, tmp_path)
    slept = []
    monkeypatch.setattr(downloads, "time", SimpleNamespace(sleep=slept.append))
    file = make(hub)
    hub.down()
    host = hub.endpoint.removeprefix("http://")
    message = complaint(DownloadError, lambda: fetch(file), "no connection to ", host, "refused")
    assert message.startswith(f"{file.address}: ")
    assert (waited, slept) == ([], [1.0])


def test_the_session_of_huggingface_hub_may_know_another_way(hub, monkeypatch):
    def request(method, url, **options):
        hub.up()
        monkeypatch.setattr("huggingface_hub.get_session", session)

    session = huggingface_hub.get_session
    monkeypatch.setattr("huggingface_hub.get_session", lambda: SimpleNamespace(request=request))
    file = hub_file(hub)
    hub.down()
    assert fetch(file).read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["http_proxy", "all_proxy"])
def test_behind_a_proxy_the_proxy_is_what_must_be_reached(hub, name, monkeypatch):
    for other in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(other, raising=False)
    address = "http://nowhere.invalid/file"
    for proxy in (hub.endpoint, hub.endpoint.removeprefix("http://")):
        monkeypatch.setenv(name, proxy)
        downloads._connect(address)
    monkeypatch.setenv(name, "http://[::")
    downloads._connect(address)
    monkeypatch.setenv(name, hub.endpoint)
    hub.down()
    with pytest.raises(ConnectionRefusedError):
        downloads._connect(address)
    monkeypatch.setenv("no_proxy", "nowhere.invalid")
    with pytest.raises(socket.gaierror):
        downloads._connect(address)


# What was downloaded before


CACHED = [name for name, fault in PERMANENT.items() if fault is None or fault.methods == HEAD]


@pytest.mark.parametrize("fault", CACHED)
def test_the_cache_stands_in_for_the_hub(hub, fault, monkeypatch, tmp_path):
    before = hub_commit(REPO, "main", "config.json")
    if fault.startswith("slow"):
        use(hub, monkeypatch, tmp_path, timeout=0.05)
    strike(hub, fault)
    assert hub_commit(REPO, "main", "config.json") == before
    hub.up()
    hub.heal()
    after = hub.add_repo(REPO, {"config.json": b"{}"})
    assert hub_commit(REPO, "main", "config.json") == after != before


@pytest.mark.parametrize("code", [401, 403, 404, 429, 500])
def test_so_it_does_for_other_answers(hub, code):
    before = hub_commit(REPO, "main", "config.json")
    hub.fail(status=code)
    assert hub_commit(REPO, "main", "config.json") == before


def test_a_branch_that_is_gone_is_said_to_be(hub):
    hub_commit(REPO, "main", "config.json")
    hub.fail(status=404, code="RevisionNotFound", message="Invalid rev id")
    complaint(
        DownloadError, lambda: hub_commit(REPO, "main", "config.json"),
        f"hf://{REPO}@main/config.json", "no such revision",
    )  # fmt: skip


# Digests


def damage(path, at=5):
    """Flip a byte of a file that may be a link."""
    path = path.resolve()
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


def record(root):
    (path,) = (root / "zoo" / "digests").glob("*.json")
    return path


@each_kind
def test_a_damaged_file_in_the_cache_is_downloaded_again(hub, make, tmp_path):
    file = make(hub)
    damage(fetch(file))
    hub.requests.clear()
    assert fetch(file).read_bytes() == CONTENT
    assert len(asked(hub)) == 1
    assert fetch(file).read_bytes() == CONTENT
    assert len(asked(hub)) == 1


def test_a_small_file_too_by_the_digest_of_its_first_download(hub, tmp_path):
    file = hub_file(hub, "config.json")
    damage(fetch(file))
    assert json.loads(record(tmp_path).read_text()) == {
        "address": file.address, "sha256": hashlib.sha256(SMALL).hexdigest(),
    }  # fmt: skip
    written = record(tmp_path).stat().st_ino
    assert fetch(file).read_bytes() == SMALL
    assert len(asked(hub)) == 2
    assert record(tmp_path).stat().st_ino == written


def test_a_large_file_too_by_the_digest_of_the_hub(hub, tmp_path):
    file = hub_file(hub)
    damage(fetch(file))
    record(tmp_path).unlink()
    assert fetch(file).read_bytes() == CONTENT
    assert len(asked(hub)) == 2


@pytest.mark.parametrize("path", ["config.json", "w.safetensors"])
def test_another_file_than_at_the_first_download_is_refused(hub, path, tmp_path):
    file = hub_file(hub, path)
    content = fetch(file).read_bytes()
    there = record(tmp_path)
    damage(fetch(file))
    hub.fail(changed=3)
    message = complaint(WeightsError, lambda: fetch(file), "was not kept", f"remove {there}")
    assert message.startswith(f"{file.address}: ")
    assert f"must be {hashlib.sha256(content).hexdigest()}, received " in message
    assert_whole(tmp_path)
    assert not list((tmp_path / "hf").rglob(path))

    there.unlink()
    if path == "config.json":  # as advised, if the change is meant
        changed = content[:3] + bytes([content[3] ^ 0xFF]) + content[4:]
        assert fetch(file).read_bytes() == changed
        damage(fetch(file), at=3)  # it is right again
    else:  # the Hub states another still
        complaint(WeightsError, lambda: fetch(file), "try again")
    hub.heal()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"sha256": 3}', b'{"sha256": "abc"}'])
def test_a_damaged_record_of_a_digest_is_written_anew(hub, content, tmp_path):
    file = hub_file(hub, "config.json")
    fetch(file)
    there = record(tmp_path)
    there.write_bytes(content)
    fetch(file)
    assert json.loads(there.read_text())["sha256"] == hashlib.sha256(SMALL).hexdigest()


def test_a_pinned_digest_that_is_wrong(hub, tmp_path):
    file = hub_file(hub, sha256="0" * 64)
    complaint(WeightsError, lambda: fetch(file), file.address, "0" * 64, DIGEST, REFUSED)
    assert not list((tmp_path / "hf").rglob("w.safetensors"))
    assert len(asked(hub)) == 2


def shared(path):
    """Lay a file of the Hub's cache as huggingface_hub 2 does: among all repositories' files.

    It is there under the digest that Xet has of it, which is not its SHA-256.
    """
    blob = path.resolve()
    place = blob.parents[2] / "blobs" / "ab" / ("ab" * 32)
    place.parent.mkdir(parents=True, exist_ok=True)
    blob.rename(place)
    blob.symlink_to(Path("..", "..", *place.parts[-3:]))
    assert path.read_bytes() == CONTENT
    return place


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right")
def test_a_file_that_repositories_share(hub, tmp_path):
    file = hub_file(hub)
    path = fetch(file)
    place = shared(path)
    record(tmp_path).unlink()
    hub.requests.clear()
    assert fetch(file).read_bytes() == CONTENT
    assert hub.requests == [], "the name of the shared file is no SHA-256"

    damage(place)
    assert fetch(file).read_bytes() == CONTENT
    assert len(asked(hub)) == 1
    assert not place.exists(), "else the damaged file is taken again"

    damage(shared(fetch(file)))
    hub.down()
    complaint(DownloadError, lambda: fetch(file), "check the network")
    assert not list((tmp_path / "hf").glob("hub/*/blobs/*")), "not even a link to nothing"


# Caches


@pytest.fixture
def blocked(tmp_path):
    """A folder that cannot be made, not even by root."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "cache"


USABLE = ("cannot be used", "set HF_HOME and MUSICNN_ZOO_CACHE to folders that can be written")


def test_a_cache_of_the_hub_that_cannot_be_made(hub, blocked, monkeypatch, tmp_path):
    file = hub_file(hub)
    patch_hub(monkeypatch, hub, blocked)
    message = complaint(DownloadError, lambda: fetch(file), str(blocked), *USABLE)
    assert message.startswith(f"{file.address}: ")


def test_a_cache_of_ours_that_cannot_be_made(hub, blocked, monkeypatch):
    monkeypatch.setenv("MUSICNN_ZOO_CACHE", str(blocked))
    file = web_file(hub)
    message = complaint(DownloadError, lambda: fetch(file), str(blocked), *USABLE)
    assert message.startswith(f"{file.url}: ")
    assert fetch(hub_file(hub)).read_bytes() == CONTENT, "the Hub's does without"


@each_kind
def test_caches_that_may_only_be_read(hub, make, tmp_path):
    file = make(hub)
    fetch(file)
    other = web_file(hub, "other.pth", OTHER)
    if isinstance(file, HubFile):
        other = replace(file, path="config.json", sha256=None)
    folders = [path for path in tmp_path.rglob("*") if path.is_dir() and not path.is_symlink()]
    try:
        for folder in folders:
            folder.chmod(0o555)
        if os.access(folders[0], os.W_OK):
            pytest.skip("root may write anything")
        assert fetch(file).read_bytes() == CONTENT
        complaint(DownloadError, lambda: fetch(other), other.address, *USABLE)
    finally:
        for folder in folders:
            folder.chmod(0o755)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT])
@both
def test_a_disk_that_takes_no_more(hub, make, code, monkeypatch):
    """As a system says it when a folder is made, for which tests would need one of their own."""
    file = make(hub)
    makedirs = os.makedirs

    def refuse(path, *args, **options):
        if "zoo" in str(path) or "models--" in str(path):
            raise OSError(code, os.strerror(code), str(path))
        makedirs(path, *args, **options)

    monkeypatch.setattr(os, "makedirs", refuse)
    monkeypatch.setattr(Path, "mkdir", lambda path, *_, **__: refuse(path, exist_ok=True))
    complaint(DownloadError, lambda: fetch(file), file.address, os.strerror(code), *USABLE)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
def test_a_disk_that_is_full_in_the_middle(hub, tmp_path):
    file = web_file(hub)
    fetch(file).unlink()
    place = tmp_path / "zoo" / "downloads" / f"{DIGEST[:16]}-w.pth.incomplete"
    place.symlink_to("/dev/full")
    complaint(DownloadError, lambda: fetch(file), file.url, "No space left", *USABLE)
    assert len(asked(hub)) == 2, "which trying again does not help"
    place.unlink()
    assert fetch(file).read_bytes() == CONTENT


def test_a_file_of_the_cache_that_cannot_be_read(hub, monkeypatch):
    file = hub_file(hub)
    path = fetch(file)

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(downloads, "sha256_of", refuse)
    complaint(DownloadError, lambda: fetch(file), file.address, str(path), *USABLE)


# Downloads that were ended


@pytest.mark.parametrize(
    ("there", "ranges"),
    [
        (CONTENT[:PIECE], [f"bytes={PIECE}-"]),
        (b"", [None]),
        (CONTENT, [f"bytes={len(CONTENT)}-", None]),
        (CONTENT + b"more", [f"bytes={len(CONTENT) + 4}-", None]),
        (OTHER[:PIECE], [f"bytes={PIECE}-", None]),
    ],
    ids=["half", "nothing", "all", "more", "something else"],
)
def test_what_an_ended_download_left(hub, there, ranges, tmp_path):
    file = web_file(hub)
    folder = tmp_path / "zoo" / "downloads"
    folder.mkdir(parents=True)
    (folder / f"{DIGEST[:16]}-w.pth.incomplete").write_bytes(there)
    assert fetch(file).read_bytes() == CONTENT
    assert [request.headers.get("range") for request in asked(hub)] == ranges
    assert [path.name for path in folder.iterdir()] == [f"{DIGEST[:16]}-w.pth"]


def test_what_it_left_on_a_server_without_ranges(hub, tmp_path):
    file = web_file(hub)
    folder = tmp_path / "zoo" / "downloads"
    folder.mkdir(parents=True)
    (folder / f"{DIGEST[:16]}-w.pth.incomplete").write_bytes(CONTENT[:PIECE])
    hub.fail(ranges=False)
    assert fetch(file).read_bytes() == CONTENT
    assert len(asked(hub)) == 1 or not LATE


SCRIPT = """
import sys
from huggingface_hub import constants
from musicnn_zoo.zoo.downloads import fetch
from musicnn_zoo.zoo.catalogue import HubFile, WebFile
constants.DOWNLOAD_CHUNK_SIZE = 16384
file = eval(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(fetch(file), flush=True)
"""


def process(server, root, file):
    """Start another process that fetches a file as soon as it is told to."""
    environment = hub_environment(server, root / "hf") | {"MUSICNN_ZOO_CACHE": str(root / "zoo")}
    package = str(Path(musicnn_zoo.__file__).parent.parent)
    started = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, repr(file)],
        env={**os.environ, **environment, "PYTHONPATH": package},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert started.stdout.readline() == "ready\n"
    return started


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@both
def test_a_process_that_is_killed_leaves_nothing_in_the_way(hub, make, tmp_path):
    file = make(hub)
    hub.fail(piece=16384, pause_s=0.1)
    with process(hub, tmp_path, file) as other:
        other.stdin.write("\n")
        other.stdin.flush()
        half = "hf/**/*.incomplete" if make is hub_file else "zoo/**/*.incomplete"
        wait_for(lambda: any(path.stat().st_size > 2**15 for path in tmp_path.glob(half)))
        other.kill()
    assert other.stdout.closed
    (left,) = tmp_path.glob(half)
    size = left.stat().st_size
    hub.heal()
    hub.requests.clear()
    assert fetch(file).read_bytes() == CONTENT
    (request,) = asked(hub)
    if make is web_file:
        assert request.headers["range"] == f"bytes={size}-"
        assert not left.exists()
    else:
        left.unlink()  # by its name nobody takes it for the file; huggingface_hub leaves it


@both
def test_processes_that_ask_at_once_share_a_download(hub, make, tmp_path):
    file = make(hub)
    hub.fail(piece=PIECE, pause_s=0.1)
    others = [process(hub, tmp_path, file) for _ in range(2)]
    for other in others:
        other.stdin.write("\n")
        other.stdin.flush()
    here = fetch(file)
    for other in others:
        said, complained = other.communicate(timeout=30)
        assert (other.returncode, Path(said.strip())) == (0, here), complained
    assert here.read_bytes() == CONTENT
    assert len(asked(hub)) == 1


@pytest.mark.parametrize("state", ["nothing", "damaged"])
@both
def test_threads_that_ask_at_once_share_a_download(hub, make, state):
    file = make(hub)
    if state == "damaged":
        damage(fetch(file))
    hub.requests.clear()
    hub.fail(piece=PIECE, pause_s=0.05)
    together = threading.Barrier(6)

    def ask(_):
        together.wait()
        return fetch(file).read_bytes()

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(ask, range(6))) == [CONTENT] * 6
    assert len(asked(hub)) == 1


@both
def test_different_files_do_not_wait_for_each_other(hub, make):
    slow, quick = make(hub), web_file(hub, "quick.pth", OTHER)
    fetching = threading.Event()
    hub.fail(wait_s=0.6, path=slow.path if isinstance(slow, HubFile) else "w.pth")
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(lambda: (fetching.set(), fetch(slow))[1])
        fetching.wait()
        wait_for(lambda: hub.requests)
        assert fetch(quick).read_bytes() == OTHER
        assert not first.done()
        assert first.result().read_bytes() == CONTENT
