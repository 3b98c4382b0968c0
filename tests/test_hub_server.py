import hashlib
import http.client
import os
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub
import pytest
from hub_server import (
    Changed,
    Cut,
    Dribble,
    HangUp,
    HubServer,
    NoRange,
    Slow,
    Status,
    Truncated,
    git_blob,
    hub_environment,
    patch_hub,
)
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

REPO = "tester/model"
WEIGHTS = bytes(range(256)) * 1024
README = b"---\nlicense: isc\n---\n# A model\n"
VERSION = tuple(int(part) for part in huggingface_hub.__version__.split(".")[:2])
# From 1.0 on, errors of the connection are those of httpx or httpx2, which are no OSError; the
# parent of HfHubHTTPError is their parent. What is tried again differs between the versions, and
# 1.10 may use a client that it has closed: RuntimeError.
WITH_HTTPX = VERSION >= (1, 0)
LATE = VERSION >= (1, 33)
BROKEN = (HTTPError, OSError, RuntimeError)
if not WITH_HTTPX:  # which does not close the sockets of broken downloads
    pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def server():
    with HubServer() as server:
        server.add_repo(
            REPO, {"README.md": README, "config.json": b"{}", "sub/w.safetensors": WEIGHTS}
        )
        yield server


@pytest.fixture
def waits(monkeypatch, server, tmp_path):
    """The seconds huggingface_hub would have waited between its attempts, here skipped."""
    return patch_hub(monkeypatch, server, tmp_path)


@pytest.fixture(autouse=True)
def _patched(waits):
    pass


def weights(**options):
    return Path(hf_hub_download(REPO, "sub/w.safetensors", **options)).read_bytes()


def asked(server, *methods):
    return [request.method for request in server.requests if request.method in methods]


def plain(url, method="GET", **headers):
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.netloc, timeout=10)) as connection:
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(method, path, headers={k.replace("_", "-"): headers[k] for k in headers})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


# Downloads


def test_a_download_is_cached_under_its_commit_and_etag(server, tmp_path):
    commit = server.add_repo(REPO, {"config.json": b"{}", "w.h5": WEIGHTS})
    small = Path(hf_hub_download(REPO, "config.json"))
    large = Path(hf_hub_download(REPO, "w.h5"))
    assert small.read_bytes() == b"{}"
    assert large.read_bytes() == WEIGHTS
    folder = tmp_path / "hub" / "models--tester--model"
    assert large == folder / "snapshots" / commit / "w.h5"
    blobs = {path.name for path in (folder / "blobs").iterdir()}
    assert blobs == {git_blob(b"{}"), hashlib.sha256(WEIGHTS).hexdigest()}


def test_what_is_cached_is_asked_for_by_head_alone_and_by_commit_not_at_all(server):
    commit = server.add_repo(REPO, {"sub/w.safetensors": WEIGHTS})
    weights()
    server.requests.clear()
    assert weights() == WEIGHTS
    assert asked(server, "HEAD", "GET") == ["HEAD"]
    assert weights(revision=commit) == WEIGHTS
    assert len(server.requests) == 1


def test_revisions_are_branches_tags_and_commits(server):
    first = server.add_repo(REPO, {"a.txt": b"first"})
    server.add_tag(REPO, "v1")
    second = server.add_repo(REPO, {"a.txt": b"second"})
    server.add_repo(REPO, {"a.txt": b"third"}, revision="trial/one")
    assert len({first, second}) == 2
    for revision, content in {
        "main": b"second",
        "v1": b"first",
        first: b"first",
        second: b"second",
        "trial/one": b"third",
    }.items():
        assert Path(hf_hub_download(REPO, "a.txt", revision=revision)).read_bytes() == content
        assert server.files(REPO, revision) == {"a.txt": content}
    refs = HfApi().list_repo_refs(REPO)
    assert {ref.name for ref in refs.branches} == {"main", "trial/one"}
    assert {ref.name: ref.target_commit for ref in refs.tags} == {"v1": first}


def test_listings(server):
    api = HfApi()
    assert api.list_repo_files(REPO) == ["README.md", "config.json", "sub/w.safetensors"]
    info = api.model_info(REPO, files_metadata=True)
    sizes = {file.rfilename: file.size for file in info.siblings}
    assert sizes == {"README.md": len(README), "config.json": 2, "sub/w.safetensors": len(WEIGHTS)}
    assert info.siblings[2].lfs["sha256"] == hashlib.sha256(WEIGHTS).hexdigest()
    top = {entry.path for entry in api.list_repo_tree(REPO)}
    assert top == {"README.md", "config.json", "sub"}
    inside = {entry.path for entry in api.list_repo_tree(REPO, "sub")}
    assert inside == {"sub/w.safetensors"}
    paths = api.get_paths_info(REPO, ["config.json", "sub", "none"])
    assert [entry.path for entry in paths] == ["config.json", "sub"]
    assert api.file_exists(REPO, "config.json")
    assert not api.file_exists(REPO, "none")


def test_a_snapshot(server):
    folder = Path(snapshot_download(REPO))
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}
    assert found == server.files(REPO)


def test_another_process_finds_the_server_by_its_environment(server, tmp_path):
    script = "import huggingface_hub, sys; print(huggingface_hub.hf_hub_download(*sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", script, REPO, "config.json"],
        env={**os.environ, **hub_environment(server, tmp_path / "other")},
        capture_output=True,
        text=True,
        check=True,
    )
    path = Path(done.stdout.strip())
    assert path.read_bytes() == b"{}"
    assert tmp_path / "other" / "hub" in path.parents
    assert "authorization" not in server.requests[-1].headers


def test_everything_is_put_back(server, tmp_path):
    before = constants.ENDPOINT, constants.HF_HUB_CACHE, HfApi().endpoint
    with HubServer() as other, pytest.MonkeyPatch.context() as patch:
        patch_hub(patch, other, tmp_path / "other")
        assert HfApi().endpoint == huggingface_hub.hf_api.api.endpoint == other.endpoint
        with pytest.raises(RepositoryNotFoundError):
            weights()
    assert before == (constants.ENDPOINT, constants.HF_HUB_CACHE, HfApi().endpoint)
    assert huggingface_hub.hf_api.api.endpoint == server.endpoint
    assert weights() == WEIGHTS


# What is not there, and who may not see it


@pytest.mark.parametrize("logged_in", [False, True])
def test_what_is_missing(server, logged_in):
    token = server.read_token if logged_in else None
    with pytest.raises(RepositoryNotFoundError) as error:
        hf_hub_download("tester/none", "config.json", token=token)
    assert error.value.response.status_code == (404 if logged_in else 401)
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(REPO, "config.json", revision="none", token=token)
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(REPO, "config.json", revision="0" * 40, token=token)
    with pytest.raises(EntryNotFoundError) as missing:
        hf_hub_download(REPO, "none.json", token=token)
    assert not isinstance(missing.value, LocalEntryNotFoundError)
    with pytest.raises(RepositoryNotFoundError):
        HfApi(token=token).model_info("tester/none")


def test_a_gated_repository(server):
    server.add_repo("tester/gated", {"a.txt": b"a"}, gated=True)
    for token, status in ((None, 401), (server.stranger_token, 403)):
        with pytest.raises(GatedRepoError, match="is restricted") as error:
            hf_hub_download("tester/gated", "a.txt", token=token)
        assert error.value.response.status_code == status
        with pytest.raises(GatedRepoError):
            HfApi(token=token).auth_check("tester/gated")
    assert HfApi().model_info("tester/gated").gated == "auto"
    path = hf_hub_download("tester/gated", "a.txt", token=server.read_token)
    assert Path(path).read_bytes() == b"a"


def test_a_private_repository(server, monkeypatch, tmp_path):
    server.add_repo("tester/own", {"a.txt": b"a"}, private=True)
    for token in (None, server.stranger_token):
        with pytest.raises(RepositoryNotFoundError):
            hf_hub_download("tester/own", "a.txt", token=token)
    patch_hub(monkeypatch, server, tmp_path, token=server.read_token)
    assert Path(hf_hub_download("tester/own", "a.txt")).read_bytes() == b"a"
    assert HfApi().whoami()["name"] == server.user


def test_a_wrong_token_opens_nothing(server):
    with pytest.raises(HfHubHTTPError, match="Invalid credentials") as error:
        hf_hub_download(REPO, "config.json", token="hf_wrong")
    assert error.value.response.status_code == 401
    assert not isinstance(error.value, RepositoryNotFoundError)


# Faults


@pytest.mark.parametrize("code", [403, 404, 429, 500, 503])
def test_the_cache_stands_in_for_a_failing_head(server, waits, code):
    weights()
    server.fail(Status(code), methods=("HEAD",))
    assert weights() == WEIGHTS
    if LATE:
        assert waits == []


@pytest.mark.parametrize("code", [403, 404, 503])
def test_without_a_cached_file_a_failing_head_ends_in_an_error(server, waits, code):
    server.fail(Status(code), methods=("HEAD",))
    with pytest.raises(LocalEntryNotFoundError) as error:
        weights()
    assert isinstance(error.value.__cause__, HTTPError)
    assert error.value.__cause__.response.status_code == code
    if LATE:
        assert waits == ([1, 2, 4, 8, 8] if code == 503 else [])


def test_an_answer_that_is_not_of_the_hub(server):
    server.fail(Status(200))
    with pytest.raises(LocalEntryNotFoundError):
        weights()


def test_a_missing_entry_is_missing_though_it_is_cached(server):
    weights()
    server.fail(Status(404, "EntryNotFound", "Entry not found"))
    with pytest.raises(EntryNotFoundError) as error:
        weights()
    assert not isinstance(error.value, LocalEntryNotFoundError)


@pytest.mark.parametrize("code", [401, 404, 503])
def test_a_failing_get(server, code):
    server.fail(Status(code), methods=("GET",))
    with pytest.raises(HTTPError) as error:
        weights()
    assert error.value.response.status_code == code
    if LATE:
        assert asked(server, "GET") == ["GET"]


def test_a_fault_is_over_after_so_many_requests(server):
    server.fail(Status(404), path="config.json", times=2)
    server.fail(Status(599), path="none")
    url = f"{server.endpoint}/{REPO}/resolve/main"
    assert plain(f"{url}/README.md")[0] == 200
    statuses = [plain(f"{url}/config.json", method)[0] for method in ("GET", "HEAD", "GET")]
    assert statuses == [404, 404, 200]
    assert plain(f"{url}/none")[0] == 599
    server.heal()
    assert plain(f"{url}/none")[0] == 404


def test_a_download_goes_on_where_it_was_cut(server, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 65536)
    server.fail(Cut(100_000), times=1)
    if not LATE:  # then the next call does
        with pytest.raises(BROKEN):
            weights()
    assert weights() == WEIGHTS
    ranges = [r.headers.get("range") for r in server.requests if r.method == "GET"]
    assert ranges[0] is None
    assert len(ranges) == 2
    start = int(ranges[1].removeprefix("bytes=").removesuffix("-"))
    assert start == 65536


@pytest.mark.skipif(not LATE, reason="takes the whole file for the rest of it")
def test_a_server_without_ranges_sends_all_again(server, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 65536)
    server.fail(NoRange())
    server.fail(Cut(100_000), times=1)
    assert weights() == WEIGHTS
    assert asked(server, "GET") == ["GET", "GET"]


def test_a_connection_cut_for_ever(server, waits):
    server.fail(Cut(1000))
    with pytest.raises(BROKEN):
        weights()
    assert len(asked(server, "GET")) == (6 if LATE else 1)


def test_a_reset_connection_is_not_tried_again(server):
    server.fail(Cut(1000, reset=True))
    with pytest.raises(BROKEN) as error:
        weights()
    assert isinstance(error.value, OSError) != WITH_HTTPX
    assert asked(server, "GET") == ["GET"]


@pytest.mark.parametrize("reset", [False, True])
def test_a_head_without_an_answer_does_not_reach_the_cache(server, reset):
    weights()
    server.fail(HangUp(reset))
    if WITH_HTTPX:
        with pytest.raises(HTTPError) as error:
            weights()
        assert not isinstance(error.value, OSError)
    else:
        assert weights() == WEIGHTS


def test_changed_bytes_stay_unnoticed_and_in_the_cache(server):
    server.fail(Changed(at=7), times=1)
    wrong = WEIGHTS[:7] + bytes([WEIGHTS[7] ^ 0xFF]) + WEIGHTS[8:]
    assert weights() == wrong
    assert weights() == wrong
    assert weights(force_download=True) == WEIGHTS


def test_a_truncated_file_is_noticed_by_its_size(server):
    server.fail(Truncated(1000), times=1)
    with pytest.raises(OSError, match="should be of size 262144 but has size 1000"):
        weights()


def test_a_slow_server(server, monkeypatch, tmp_path):
    waits = patch_hub(monkeypatch, server, tmp_path, timeout=0.1)
    server.fail(Slow(5), methods=("HEAD",))
    with pytest.raises(LocalEntryNotFoundError) as error:
        weights()
    assert type(error.value.__cause__).__name__ == "ReadTimeout"
    server.heal()
    if LATE:
        assert waits == [1, 2, 4, 8, 8]
        server.fail(Slow(5), methods=("GET",), times=1)
    assert weights() == WEIGHTS
    server.fail(Slow(5))
    assert weights() == WEIGHTS


def test_a_dribbling_server(server):
    server.fail(Dribble(100_000, 0.05))
    assert weights() == WEIGHTS


def test_without_a_network(server, waits):
    server.down()
    with pytest.raises(BROKEN) as error:
        weights()
    if LATE:
        assert waits == [1, 2, 4, 8, 8]
        assert isinstance(error.value, LocalEntryNotFoundError)
        assert type(error.value.__cause__).__name__ == "ConnectError"
    server.up()
    assert weights() == WEIGHTS
    server.down()
    assert weights() == WEIGHTS
    with pytest.raises(ValueError, match="Force download failed"):
        weights(force_download=True)


def test_offline_by_the_environment(server, monkeypatch, tmp_path):
    commit = server.add_repo(REPO, {"sub/w.safetensors": WEIGHTS})
    patch_hub(monkeypatch, server, tmp_path, offline=True)
    with pytest.raises(LocalEntryNotFoundError):
        weights()
    patch_hub(monkeypatch, server, tmp_path)
    weights()
    server.requests.clear()
    patch_hub(monkeypatch, server, tmp_path, offline=True)
    assert weights() == weights(revision=commit) == WEIGHTS
    assert server.requests == []


# Uploads


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "upload"
    (folder / "sub").mkdir(parents=True)
    (folder / "README.md").write_bytes(README)
    (folder / "sub" / "w.safetensors").write_bytes(WEIGHTS * 12)
    (folder / "empty.npy").touch()
    return folder


def test_an_uploaded_folder_is_there_to_download(server, folder):
    api = HfApi(token=server.token)
    repo = api.create_repo("fresh", exist_ok=True).repo_id
    assert repo == "tester/fresh"
    assert api.create_repo("fresh", exist_ok=True).repo_id == repo
    first = api.upload_folder(repo_id=repo, folder_path=folder).oid
    sent = {"README.md": README, "empty.npy": b"", "sub/w.safetensors": WEIGHTS * 12}
    there = server.files(repo)
    assert {path: there[path] for path in there if path != ".gitattributes"} == sent
    assert asked(server, "PUT") == ["PUT"]
    for path, content in sent.items():
        assert Path(hf_hub_download(repo, path, revision=first)).read_bytes() == content

    (folder / "README.md").write_bytes(README + b"Better.\n")
    second = api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Better").oid
    assert second != first
    assert server.files(repo, first) == there
    assert server.files(repo) == {**there, "README.md": README + b"Better.\n"}
    assert asked(server, "PUT") == ["PUT"]
    unchanged = api.upload_folder(repo_id=repo, folder_path=folder).oid
    assert unchanged == second


def test_commits_add_and_delete(server):
    api = HfApi(token=server.token)
    operations = [
        CommitOperationAdd("b.bin", b"\0" * 100),
        CommitOperationDelete("config.json"),
        CommitOperationDelete("sub/"),
    ]
    before = api.model_info(REPO).sha
    commit = api.create_commit(REPO, operations, commit_message="x", parent_commit=before).oid
    assert server.files(REPO, commit) == {"README.md": README, "b.bin": b"\0" * 100}
    api.create_tag(REPO, tag="v1")
    assert server.files(REPO, "v1") == server.files(REPO)
    late = [CommitOperationAdd("c.txt", b"c")]
    with pytest.raises(HfHubHTTPError, match="A commit has happened since"):
        api.create_commit(REPO, late, commit_message="x", parent_commit=before)
    with pytest.raises(RevisionNotFoundError):
        api.upload_file(path_or_fileobj=b"", path_in_repo="a", repo_id=REPO, revision="none")


def test_a_card_without_metadata_is_warned_of(server):
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        HfApi(token=server.token).upload_file(
            path_or_fileobj=b"# None", path_in_repo="README.md", repo_id=REPO
        )


def test_who_may_upload(server, folder):
    for token, status in ((server.read_token, 403), (None, 401), ("hf_wrong", 401)):
        api = HfApi(token=token)
        with pytest.raises(HfHubHTTPError) as error:
            api.create_repo("tester/fresh", exist_ok=True)
        assert error.value.response.status_code == status
        with pytest.raises(HfHubHTTPError) as error:
            api.upload_folder(repo_id=REPO, folder_path=folder)
        assert error.value.response.status_code == status
    with pytest.raises(RepositoryNotFoundError):
        HfApi(token=server.token).upload_folder(repo_id="tester/none", folder_path=folder)
    assert "empty.npy" not in server.files(REPO)


def test_a_failing_upload_changes_nothing(server, folder):
    before = server.files(REPO)
    api = HfApi(token=server.token)
    server.fail(Status(503), path="/commit/", times=1)
    with pytest.raises(HfHubHTTPError):
        api.upload_folder(repo_id=REPO, folder_path=folder)
    assert server.files(REPO) == before
    server.fail(Status(503), path="/lfs-storage/", times=1)
    api.upload_folder(repo_id=REPO, folder_path=folder)
    assert server.files(REPO)["sub/w.safetensors"] == WEIGHTS * 12


# Plain files


def test_a_plain_file(server):
    url = server.add_file("files/a b.h5", WEIGHTS)
    assert url == f"{server.endpoint}/files/a%20b.h5"
    status, headers, body = plain(url)
    assert (status, body) == (200, WEIGHTS)
    assert headers["Accept-Ranges"] == "bytes"
    etag = headers["ETag"]
    status, headers, body = plain(url, "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "262144", b"")
    assert plain(url, If_None_Match=etag)[0] == 304
    assert plain(f"{url}?download=true")[2] == WEIGHTS
    assert plain(f"{server.endpoint}/files/none")[0] == 404


@pytest.mark.parametrize(
    ("asked", "part", "told"),
    [
        ("bytes=0-9", slice(0, 10), "bytes 0-9/262144"),
        ("bytes=262000-", slice(262000, None), "bytes 262000-262143/262144"),
        ("bytes=262000-999999", slice(262000, None), "bytes 262000-262143/262144"),
        ("bytes=-5", slice(-5, None), "bytes 262139-262143/262144"),
    ],
)
def test_ranges(server, asked, part, told):
    url = server.add_file("w.h5", WEIGHTS)
    status, headers, body = plain(url, Range=asked)
    assert (status, body, headers["Content-Range"]) == (206, WEIGHTS[part], told)
    assert plain(url, Range=asked, If_Range='"other"')[0] == 200


def test_a_range_beyond_the_end(server):
    status, headers, _ = plain(server.add_file("w.h5", WEIGHTS), Range="bytes=262144-")
    assert (status, headers["Content-Range"]) == (416, "bytes */262144")


def test_plain_files_have_the_same_faults(server):
    url = server.add_file("w.h5", WEIGHTS)
    server.fail(Changed(), times=1)
    status, headers, body = plain(url)
    assert (status, headers["Content-Length"]) == (200, "262144")
    assert sum(a != b for a, b in zip(body, WEIGHTS, strict=True)) == 1
    server.fail(Cut(1000), times=1)
    with pytest.raises(http.client.IncompleteRead) as cut:
        plain(url)
    assert cut.value.partial == WEIGHTS[:1000]
    server.fail(Cut(1000, reset=True), times=1)
    with pytest.raises(ConnectionResetError):
        plain(url)
    server.down()
    with pytest.raises(ConnectionRefusedError):
        plain(url)
    server.up()
    assert plain(url)[2] == WEIGHTS


# The server itself


def test_nothing_is_left_behind():
    before = set(threading.enumerate())
    with HubServer() as server:
        url = server.add_file("a", b"a")
        parts = urlsplit(url)
        with closing(http.client.HTTPConnection(parts.netloc)) as kept:
            kept.request("GET", parts.path)
            assert kept.getresponse().read() == b"a"
            server.fail(Slow(60))
            waiting = threading.Thread(target=pytest.raises, args=(OSError, plain, url))
            waiting.start()
            server.down()
            waiting.join(5)
            assert not waiting.is_alive()
            assert kept.sock.recv(1) == b""
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(5)
    assert not any(thread.is_alive() for thread in left)


def test_an_error_of_the_server_fails_the_test(monkeypatch):
    monkeypatch.setattr(HubServer, "_role", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), HubServer() as broken:
        assert plain(f"{broken.endpoint}/api/whoami-v2")[0] == 500
