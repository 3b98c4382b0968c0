"""The Hub of the tests answers as what is tested with it has to be answered."""

import hashlib
import http.client
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hub_server import HubServer, git_blob, patch_hub
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

REPO = "tester/model"
WEIGHTS = bytes(range(256)) * 1024


@pytest.fixture
def server(monkeypatch, tmp_path):
    with HubServer() as server:
        patch_hub(monkeypatch, server, tmp_path, token=server.token)
        yield server


def plain(url, method="GET", **headers):
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.netloc, timeout=10)) as connection:
        connection.request(method, parts.path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def test_a_download_is_cached_under_its_commit_and_etag(server, tmp_path):
    commit = server.add_repo(REPO, {"config.json": b"{}", "w.h5": WEIGHTS})
    assert Path(hf_hub_download(REPO, "config.json")).read_bytes() == b"{}"
    large = Path(hf_hub_download(REPO, "w.h5"))
    assert large.read_bytes() == WEIGHTS
    folder = tmp_path / "hub" / "models--tester--model"
    assert large == folder / "snapshots" / commit / "w.h5"
    blobs = {path.name for path in (folder / "blobs").iterdir()}
    assert blobs == {git_blob(b"{}"), hashlib.sha256(WEIGHTS).hexdigest()}


def test_an_uploaded_folder_is_there_to_download(server, tmp_path):
    (tmp_path / "sent" / "sub").mkdir(parents=True)
    (tmp_path / "sent" / "sub" / "w.h5").write_bytes(WEIGHTS)
    api = HfApi()
    repo = api.create_repo("tester/new", private=True).repo_id
    first = api.upload_folder(repo_id=repo, folder_path=tmp_path / "sent").oid
    assert Path(hf_hub_download(repo, "sub/w.h5", revision=first)).read_bytes() == WEIGHTS
    (tmp_path / "sent" / "sub" / "w.h5").rename(tmp_path / "sent" / "other")
    api.upload_folder(repo_id=repo, folder_path=tmp_path / "sent", delete_patterns=["*.h5"])
    assert server.files(repo) == {".gitattributes": b"", "other": WEIGHTS}
    assert server.files(repo, first) == {".gitattributes": b"", "sub/w.h5": WEIGHTS}
    with pytest.raises(RepositoryNotFoundError):
        HfApi(token=False).model_info(repo)
    with pytest.raises(RevisionNotFoundError):
        api.model_info(repo, revision="none")


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=262000-", 206, slice(262000, None)),
        ("bytes=262000-999999", 206, slice(262000, None)),
        ("bytes=262144-", 416, slice(0, 0)),
    ],
)
def test_ranges(server, asked, status, part):
    url = server.add_file("w.h5", WEIGHTS)
    assert plain(url, Range=asked)[::2] == (status, WEIGHTS[part])
    server.fail(ranges=False)
    assert plain(url, Range=asked)[::2] == (200, WEIGHTS)


def test_faults(server):
    url = server.add_file("files/a b.h5", WEIGHTS)
    server.fail(status=404, methods=("GET",), times=2)
    server.fail(status=500, path="none")
    assert [plain(url, method)[0] for method in ("GET", "HEAD", "GET")] == [404, 200, 404]
    server.fail(changed=-1, times=1)
    assert plain(url)[2] == WEIGHTS[:-1] + b"\0"
    server.fail(size=10, times=1)
    assert plain(url)[2] == WEIGHTS[:10]
    server.fail(cut=1000, times=1)
    with pytest.raises(http.client.IncompleteRead) as cut:
        plain(url)
    assert cut.value.partial == WEIGHTS[:1000]
    server.fail(cut=1000, reset=True, times=1)
    with pytest.raises(ConnectionResetError):
        plain(url)
    server.fail(hang_up=True, times=1)
    with pytest.raises(http.client.RemoteDisconnected):
        plain(url)
    server.down()
    with pytest.raises(ConnectionRefusedError):
        plain(url)
    server.up()
    assert plain(url)[2] == WEIGHTS


def test_an_error_of_the_server_fails_the_test(monkeypatch):
    monkeypatch.setattr(HubServer, "answer", lambda *_: 1 / 0)
    with (
        pytest.raises(ZeroDivisionError),
        HubServer() as broken,
        pytest.raises(http.client.RemoteDisconnected),
    ):
        plain(f"{broken.endpoint}/api/whoami-v2")
