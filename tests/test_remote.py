import importlib
import json
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from conftest import CLIPS
from hub_server import HubServer, patch_hub
from store_front import Door, Trouble
from test_library import make_clips

import musicnn_zoo
from musicnn_zoo import Tagger, find_audio
from musicnn_zoo.cli import cli
from musicnn_zoo.datasets import from_table
from musicnn_zoo.errors import (
    ArgumentError,
    AudioError,
    MissingPackageError,
    OutputError,
    RemoteError,
)
from musicnn_zoo.library import remote_store
from musicnn_zoo.library.embedder import Embedder
from musicnn_zoo.machine.installation import temporary_folder
from musicnn_zoo.sound import remote
from musicnn_zoo.sound.find import take_stamp, unchanged
from musicnn_zoo.sound.remote import Address, as_address, clean_address, fetched

MODEL = "MTT_vgg"
KEY_ID, SECRET = "AKIAQWERTYUIOPASDFGH", "wJalrXUtnFEMIsecretEXAMPLEKEY"
TECHNO = CLIPS / "techno_loop.ogg"
FILES = 60


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch):
    monkeypatch.setattr(remote, "WAITS_S", (0.01,) * 3)


@pytest.fixture(scope="module")
def door():
    """An S3 server behind a door that makes faults, as the environment names it."""
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    front = Door(port)
    front.moto = f"http://127.0.0.1:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", front.address)
        patch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        import s3fs

        patch.setattr(s3fs.S3FileSystem, "retries", 1)
        yield front
        s3fs.S3FileSystem.clear_instance_cache()
    front.close()
    server.stop()


@pytest.fixture(scope="module")
def store(door):
    import s3fs

    store = s3fs.S3FileSystem(use_listings_cache=False)
    store.mkdir("bucket")
    return store


@pytest.fixture
def troubles(door):
    door.troubles.clear()
    door.asked.clear()
    yield door.troubles
    door.troubles.clear()


@pytest.fixture
def web():
    with HubServer() as server:
        yield server


@pytest.fixture(scope="module")
def music(tmp_path_factory, store):
    """Sixty clips in a folder, and the same in a bucket."""
    folder = tmp_path_factory.mktemp("music") / "music"
    make_clips(folder, [3.1] * FILES)
    (folder / "notes.txt").write_text("no audio")
    store.put(f"{folder}/", "bucket/music/", recursive=True)
    return folder


@pytest.fixture
def memory():
    """The memory file system of fsspec, empty at the end."""
    import fsspec

    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def run(*arguments, cache=None):
    env = {} if cache is None else {"MUSICNN_ZOO_CACHE": str(cache)}
    return CliRunner(env=env).invoke(cli, [str(argument) for argument in arguments])


def rows_of(table):
    rows = {row["source"].rpartition("/")[2]: row for row in table.to_pylist()}
    assert len(rows) == table.num_rows
    return rows


def shards(store, output):
    import pyarrow

    parts = sorted(path for path in store.ls(output) if path.endswith(".parquet"))
    tables = []
    for part in parts:
        with store.open(part) as file:
            tables.append(pq.read_table(file))
    return pyarrow.concat_tables(tables)


# Names


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("s3://bucket/a b.flac", "s3://bucket/a b.flac"),
        ("https://me:pass@example.org/a.mp3?id=5", "https://example.org/a.mp3?id=5"),
        (
            "https://b.s3.amazonaws.com/a.mp3?X-Amz-Credential=AKIA%2F1&X-Amz-Signature=4f",
            "https://b.s3.amazonaws.com/a.mp3",
        ),
        ("https://x.blob.core.windows.net/c/a.mp3?sv=2024&se=2026&sp=r&sig=k%3D",
         "https://x.blob.core.windows.net/c/a.mp3"),
        ("https://example.org/get?st=4&sp=1", "https://example.org/get?st=4&sp=1"),
        ("https://example.org/get?key=one.mp3", "https://example.org/get?key=one.mp3"),
        ("sftp://me:p@ss@example.org/a.mp3", "sftp://example.org/a.mp3"),
        ("abfs://container@account.dfs.core.windows.net/a.mp3",) * 2,
        ("hf://datasets/me/music@main/a.mp3",) * 2,
        ("zip://a.flac::https://me:pass@example.org/a.zip", "zip://a.flac::https://example.org/a.zip"),
        ("s3:/bucket/a.flac", "s3://bucket/a.flac"),
    ],
)  # fmt: skip
def test_an_address_shows_no_credential(given, shown):
    address = Address(given)
    assert str(address) == repr(address)[1:-1] == f"{address}" == clean_address(shown) == shown
    copy = pickle.loads(pickle.dumps(address))
    assert (copy, copy.whole) == (address, address.whole)


@pytest.mark.parametrize("given", ["C:/music/a.mp3", "music/a.mp3", "file:///music/a.mp3", "a::b"])
def test_paths_are_no_addresses(given):
    assert as_address(given) is None


def test_a_file_that_is_there_is_no_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s3:", "bucket").mkdir(parents=True)
    assert as_address("s3:/bucket") is None


def test_the_parts_of_an_address():
    address = Address("https://me:pass@example.org/music/song.tar.mp3?id=5")
    assert (address.name, address.stem, address.suffix) == ("song.tar.mp3", "song.tar", ".mp3")
    inside = Address("zip://music::s3://bucket/a.zip").below("a.flac")
    assert inside.whole == "zip://music/a.flac::s3://bucket/a.zip"


def test_nothing_of_it_is_imported_where_nothing_is_remote(tmp_path):
    code = (
        "import sys, musicnn_zoo.sound.read, musicnn_zoo.cli.analysis\n"
        f"musicnn_zoo.load_audio({str(TECHNO)!r})\n"
        f"list(musicnn_zoo.find_audio({str(CLIPS)!r}))\n"
        "print([name for name in ('fsspec', 's3fs', 'aiohttp') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("scheme", "install"), [("s3", r"musicnn-zoo\[remote\]"), ("gs", "gcsfs"), ("az", "adlfs")]
)
def test_a_missing_driver_is_named(monkeypatch, scheme, install):
    known = importlib.import_module("fsspec.registry")._registry
    monkeypatch.delitem(known, scheme, raising=False)
    for module in ("s3fs", "gcsfs", "adlfs"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackageError, match=f"pip install .*{install}"):
        musicnn_zoo.load_audio(f"{scheme}://bucket/a.mp3")


def test_an_unknown_kind_of_address_is_named():
    with pytest.raises(RemoteError, match="no addresses that begin with s4://"):
        musicnn_zoo.load_audio("s4://bucket/a.mp3")


# From a store to a store


def test_a_library_goes_from_a_store_to_a_store(music, store, door, troubles, tmp_path):
    options = ("-m", MODEL)
    assert run("tag", music, "-o", tmp_path / "tags.parquet", *options).exit_code == 0
    local = rows_of(pq.read_table(tmp_path / "tags.parquet"))
    output = "s3://bucket/out/tags.parquet"
    first = run("tag", "s3://bucket/music", "-o", output, *options, cache=tmp_path / "one")
    assert (first.exit_code, f"{FILES} done, 0 unchanged" in first.stderr) == (0, True), (
        first.stderr
    )
    table = shards(store, "bucket/out/tags.parquet")
    assert table.schema.remove_metadata().equals(
        pq.read_table(tmp_path / "tags.parquet").schema.remove_metadata()
    )
    far = rows_of(table)
    assert far.keys() == local.keys()
    for name, row in far.items():
        assert row["source"] == f"s3://bucket/music/{name}"
        assert row["tags"] == local[name]["tags"]
        np.testing.assert_allclose(row["scores"], local[name]["scores"], atol=1e-6)
        assert row["size"] == local[name]["size"]

    door.asked.clear()
    again = run("tag", "s3://bucket/music", "-o", output, *options, cache=tmp_path / "one")
    assert f"0 done, {FILES} unchanged" in again.stderr
    assert not [path for method, path in door.asked if ".wav" in path]  # listed, and not read

    # Another machine goes on, with one file more and one that has changed.
    store.cp("bucket/music/001.wav", "bucket/music/more.wav")
    store.cp("bucket/music/001.wav", "bucket/music/000.wav")
    try:
        other = run("tag", "s3://bucket/music", "-o", output, *options, cache=tmp_path / "two")
        assert f"2 done, {FILES - 1} unchanged" in other.stderr, other.stderr
        back = run("tag", "s3://bucket/music", "-o", output, *options, cache=tmp_path / "one")
        assert f"0 done, {FILES + 1} unchanged" in back.stderr, back.stderr
    finally:
        store.rm("bucket/music/more.wav")
        store.put(str(music / "000.wav"), "bucket/music/000.wav")
    far = rows_of(shards(store, "bucket/out/tags.parquet"))
    assert far.keys() == {*local, "more.wav"}
    assert far["000.wav"]["scores"] == far["001.wav"]["scores"]


@pytest.mark.parametrize("page", [7, 1000])
def test_patterns_and_selections_are_listed(music, store, monkeypatch, page):
    monkeypatch.setattr(remote, "_PAGE", page)
    names = [path.name for path in find_audio("s3://bucket/**/00*.wav")]
    assert names == [f"00{n}.wav" for n in range(10)]
    assert len(list(find_audio("s3://bucket/music/*"))) == FILES
    assert list(find_audio("s3://bucket/*.wav")) == []
    some = find_audio("s3://bucket", include="05*.wav", exclude=["051.wav", "out"])
    assert [path.stem for path in some] == ["050", *(f"05{n}" for n in range(2, 10))]


def test_single_files_are_as_local_ones(music, store):
    tagger = Tagger(MODEL)
    near, far = str(music / "007.wav"), "s3://bucket/music/007.wav"
    assert tagger.tag(far).names == tagger.tag(near).names
    np.testing.assert_array_equal(tagger.embed(far).values, tagger.embed(near).values)
    np.testing.assert_array_equal(
        tagger.taggram(far, isolate=True).scores, tagger.taggram(near).scores
    )
    assert tagger.tag(far).clip.source == far
    np.testing.assert_array_equal(
        Embedder(MODEL).transform([far, near])[0], Embedder(MODEL).transform([near])[0]
    )


def test_parts_in_a_store_are_merged_there(music, store, tmp_path):
    parts = [f"s3://bucket/parts/{k}.parquet" for k in (1, 2)]
    for k, part in enumerate(parts, start=1):
        one = run("tag", "s3://bucket/music/00*.wav", "-m", MODEL, "-o", part, "--shard", f"{k}/2")
        assert one.exit_code == 0, one.stderr
    merged = run("merge", "s3://bucket/parts/all.parquet", *parts, cache=tmp_path / "other")
    assert "2 parts, 10 files (10 new, 0 twice), 0 failed" in merged.stderr, merged.stderr
    assert len(rows_of(shards(store, "bucket/parts/all.parquet"))) == 10
    here = run("merge", tmp_path / "all.parquet", parts[0])
    assert (here.exit_code, "missing shards: 2/2" in here.stderr) == (1, True), here.stderr
    gone = run("merge", tmp_path / "all.parquet", "s3://bucket/parts/3.parquet")
    assert "s3://bucket/parts/3.parquet: there is no output of a library run" in gone.stderr


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_texts_grow_at_an_address(music, store, ending, tmp_path):
    output = f"s3://bucket/text/tags{ending}"
    first = run("tag", "s3://bucket/music/00*.wav", "-m", MODEL, "-o", output, cache=tmp_path / "1")
    assert "10 done" in first.stderr, first.stderr
    more = run(
        "tag", "s3://bucket/music/0[01]*.wav", "-m", MODEL, "-o", output, cache=tmp_path / "2"
    )
    assert "10 done, 10 unchanged" in more.stderr, more.stderr
    lines = store.cat(f"bucket/text/tags{ending}").decode().splitlines()
    sources = {line.partition(",")[0] if ending == ".csv" else json.loads(line)["source"]
               for line in lines[ending == ".csv":]}  # fmt: skip
    assert sources == {f"s3://bucket/music/{n:03}.wav" for n in range(20)}


def test_other_outputs_go_up_whole(music, store, tmp_path):
    done = run("tag", "s3://bucket/music/000.wav", "-m", MODEL, "-o", "s3://bucket/one/tags.json")
    assert (done.exit_code, done.stderr) == (0, "")
    (said,) = json.loads(store.cat("bucket/one/tags.json"))
    assert said["source"] == "s3://bucket/music/000.wav"
    done = run("embed", "s3://bucket/music/00[0-2].wav", "-m", MODEL, "-o", "s3://bucket/one/e.npz")
    assert done.exit_code == 0, done.output
    with store.open("bucket/one/e.npz") as file, np.load(file) as arrays:
        assert len(arrays["embeddings"]) == 3
    assert [path.rpartition("/")[2] for path in store.ls("bucket/one")] == ["e.npz", "tags.json"]


def test_a_killed_run_goes_on_with_what_it_had(music, store, tmp_path):
    output = "s3://bucket/killed/tags.parquet"
    code = (
        "import os\n"
        "from musicnn_zoo.library import store\n"
        "from musicnn_zoo.cli import main\n"
        "add, count = store.Store.add, [0]\n"
        "def killed(self, *result):\n"
        "    add(self, *result)\n"
        "    count[0] += 1\n"
        "    if count[0] == 7: os._exit(9)\n"
        "store.Store.add = killed\n"
        "main()\n"
    )
    command = ["tag", "s3://bucket/music/00*.wav", "-m", MODEL, "-o", output]
    env = {**os.environ, "MUSICNN_ZOO_CACHE": str(tmp_path / "1")}
    died = subprocess.run(
        [sys.executable, "-c", code, *command], env=env, capture_output=True, check=False
    )
    assert died.returncode == 9, died.stderr
    assert not store.exists("bucket/killed/tags.parquet/part-00000.parquet")
    # Another machine has nothing of it; the same one goes on.
    same = run(*command, cache=tmp_path / "1")
    assert "3 done, 7 unchanged" in same.stderr, same.stderr
    assert len(rows_of(shards(store, "bucket/killed/tags.parquet"))) == 10


def test_two_machines_that_write_at_once_meet(music, store, tmp_path, monkeypatch):
    output, settings = Address("s3://bucket/both/tags.jsonl"), {"kind": "tags"}
    tagger = Tagger(MODEL)
    results = [tagger.tag(str(music / f"00{n}.wav")) for n in range(2)]
    stamps = [take_stamp(str(music / f"00{n}.wav")) for n in range(2)]
    monkeypatch.setenv("MUSICNN_ZOO_CACHE", str(tmp_path / "1"))
    mine = remote_store.RemoteStore(output, settings)
    mine.__enter__()
    with pytest.raises(ArgumentError, match="another run is writing it"):
        remote_store.RemoteStore(output, settings).__enter__()
    monkeypatch.setenv("MUSICNN_ZOO_CACHE", str(tmp_path / "2"))
    with remote_store.RemoteStore(output, settings) as other:
        other.add(stamps[0], results[0])
    mine.add(stamps[1], results[1])
    with pytest.raises(OutputError, match="another run has written"):
        mine.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("https://example.org/tags.parquet", "nothing can be written there"),
        ("zip://tags.parquet::s3://bucket/a.zip", "nothing can be written there"),
        ("s3://bucket/tags.xlsx", "must end in"),
    ],
)
def test_outputs_that_cannot_be_are_refused(store, output, said):
    result = run("tag", TECHNO, "-m", MODEL, "-o", output)
    assert (result.exit_code, said in result.stderr) == (2, True), result.output


# What goes wrong in a store


def failures_of(tmp_path, *files):
    output = tmp_path / "failed.parquet"
    result = run("tag", *files, "-m", MODEL, "-o", output)
    assert result.exit_code == 1, result.output
    return result.stderr, (tmp_path / "failed.parquet.run" / "failures.csv").read_text()


def test_wrong_credentials_are_denied(music, store, door, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "musicnn_zoo")

    def demand(count):
        kind = {"Content-Type": "text/plain"}
        asked = urllib.request.Request(f"{door.moto}/moto-api/reset-auth", count, kind)
        urllib.request.urlopen(asked).close()

    demand(b"0")
    try:
        said, listed = failures_of(tmp_path, "s3://bucket/music", "s3://bucket/music/000.wav")
        output = run("tag", music / "000.wav", "-m", MODEL, "-o", "s3://bucket/denied.parquet")
        single = run("tag", "s3://bucket/music/000.wav", "--traceback")
    finally:
        demand(b"inf")
    assert "access is denied" in listed
    assert "check the credentials" in said
    assert output.exit_code == 1
    assert "access is denied" in output.stderr
    assert isinstance(single.exception, SystemExit | AudioError)
    assert_no_credential(said, listed, output.output, single.output, caplog.text, tmp_path)


def test_a_missing_bucket_is_said(store, tmp_path):
    _, listed = failures_of(tmp_path, "s3://no-such-bucket/music", TECHNO)
    assert "bucket does not exist" in listed
    output = run("tag", TECHNO, "-m", MODEL, "-o", "s3://no-such-bucket/tags.parquet")
    assert (output.exit_code, "bucket does not exist" in output.stderr) == (1, True), output.stderr


def test_a_key_that_vanishes_is_a_failure(music, store, tmp_path):
    found = list(find_audio("s3://bucket/music/00[0-2].wav"))
    store.rm("bucket/music/001.wav")
    try:
        results = list(Tagger(MODEL).tag_files(found))
    finally:
        store.put(str(music / "001.wav"), "bucket/music/001.wav")
    assert [result.source for result in results] == found
    assert [result.error is None for result in results] == [True, False, True]
    assert "there is no such file" in str(results[1].error)


@pytest.mark.parametrize(
    "trouble",
    [Trouble("001.wav", cut=0.5), Trouble("001.wav", cut=0.5, times=2), Trouble("001.wav", 503),
     Trouble("001.wav", 500, "InternalError", times=3), Trouble("001.wav", 503, method="HEAD"),
     Trouble("list-type", 503)],
    ids=lambda each: f"{each.method}-{each.status or 'cut'}-{each.times}",
)  # fmt: skip
def test_passing_errors_are_tried_again(music, store, troubles, trouble):
    troubles.append(trouble)
    (found,) = find_audio("s3://bucket/music/001.w*")
    (result,) = Tagger(MODEL).tag_files([found])
    assert result.unwrap().items() == Tagger(MODEL).tag(str(music / "001.wav")).items()
    assert trouble.times == 0


@pytest.mark.parametrize(
    "trouble", [Trouble("001.wav", cut=0.5, times=99), Trouble("001.wav", 503, times=99)],
    ids=["cut", "503"],
)  # fmt: skip
def test_lasting_errors_are_failures_after_a_few_tries(music, store, troubles, trouble, tmp_path):
    troubles.append(trouble)
    said, listed = failures_of(tmp_path, "s3://bucket/music/000.wav", "s3://bucket/music/001.wav")
    assert "1 of 2 could not be used" in said
    assert "s3://bucket/music/001.wav: cannot be reached or read" in listed
    assert "tried 4 times" in listed
    assert 99 - trouble.times == 4
    troubles.clear()
    again = run(
        "tag", "s3://bucket/music/00[01].wav", "-m", MODEL, "-o", tmp_path / "failed.parquet"
    )
    assert "1 done, 1 unchanged, 0 failed" in again.stderr


def test_a_file_that_is_replaced_while_it_is_read_is_read_anew(music, store, monkeypatch):
    monkeypatch.setattr(remote, "BLOCK_BYTES", 1 << 15)
    store.put(str(music / "001.wav"), "bucket/replaced.wav")
    keep, pieces = remote._Fetch._keep, []

    def replaced(self, piece):
        keep(self, piece)
        pieces.append(piece)
        if len(pieces) == 2:
            store.put(str(music / "002.wav"), "bucket/replaced.wav")

    monkeypatch.setattr(remote._Fetch, "_keep", replaced)
    with fetched(Address("s3://bucket/replaced.wav")) as place:
        assert place.read_bytes() == (music / "002.wav").read_bytes()


def test_an_output_that_cannot_go_up_stays_and_goes_up_later(music, store, troubles, tmp_path):
    command = ("tag", music / "000.wav", "-m", MODEL, "-o", "s3://bucket/later/tags.parquet")
    troubles.append(Trouble("part-00000", 503, method="PUT", times=99))
    failed = run(*command, cache=tmp_path / "1")
    assert (failed.exit_code, "go up when the same command is run again" in failed.stderr) == (
        1,
        True,
    )
    troubles.clear()
    done = run(*command, cache=tmp_path / "1")
    assert "0 done, 1 unchanged" in done.stderr, done.stderr
    assert shards(store, "bucket/later/tags.parquet").num_rows == 1


# HTTP


def test_files_of_http_are_read_and_known_again(web, tmp_path, door):
    address = web.add_file("techno.ogg", TECHNO.read_bytes())
    command = ("tag", address, "-m", MODEL, "-o", tmp_path / "tags.jsonl")
    assert "1 done" in run(*command).stderr
    again = run(*command).stderr
    assert ("0 done" if unchanged(take_stamp(address), take_stamp(address)) else "1 done") in again
    missing = run("tag", address.replace("techno", "none"), "-m", MODEL)
    assert (missing.exit_code, "there is no such file" in missing.stderr) == (1, True)


@pytest.mark.parametrize(
    "fault",
    [{"cut": 60_000, "times": 1}, {"cut": 60_000, "times": 1, "ranges": False},
     {"status": 503, "times": 2}, {"hang_up": True, "times": 1}, {"ranges": False},
     {"piece": 16_000, "pause_s": 0.01}],
    ids=["cut", "cut-no-ranges", "503", "hang-up", "no-ranges", "slow"],
)  # fmt: skip
def test_http_that_is_fit_to_use_in_the_end(web, fault):
    address = web.add_file("techno.ogg", TECHNO.read_bytes())
    web.fail(path="techno", methods=("GET",), **fault)
    with fetched(Address(address)) as place:
        assert place.read_bytes() == TECHNO.read_bytes()


@pytest.mark.parametrize("status", [403, 500])
def test_http_that_is_not_is_one_error(web, status, monkeypatch):
    address = web.add_file("techno.ogg", TECHNO.read_bytes())
    web.fail(path="techno", status=status)
    said = "access is denied" if status == 403 else "tried 4 times"
    with pytest.raises(RemoteError, match=said):
        take_stamp(address)
    with pytest.raises(RemoteError, match=said):
        musicnn_zoo.load_audio(address)


class Raw:
    """A server that sends the very bytes it is told, to everyone."""

    def __init__(self, head, body, *, pause_s=0.0):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}/song.wav"
        self._answer = (head, body, pause_s)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        head, body, pause_s = self._answer
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with client:
                asked = client.recv(65536)
                try:
                    client.sendall(f"HTTP/1.1 200 OK\r\n{head}Connection: close\r\n\r\n".encode())
                    if not asked.startswith(b"HEAD"):
                        for at in range(0, len(body), 1000 if pause_s else len(body)):
                            client.sendall(body[at:][: 1000 if pause_s else None])
                            time.sleep(pause_s)
                except OSError:
                    pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._socket.close()


@pytest.mark.parametrize(
    ("stated", "said"),
    [(lambda size: size + 5000, "cannot be reached or read.*tried 4 times"),
     (lambda size: size // 2, "Data after|cut off|damaged")],
    ids=["too long", "too short"],
)  # fmt: skip
def test_a_server_that_lies_about_the_length_is_one_error(music, stated, said):
    body = (music / "001.wav").read_bytes()
    with (
        Raw(f"Content-Length: {stated(len(body))}\r\n", body) as server,
        pytest.raises(AudioError, match=said) as caught,
    ):
        musicnn_zoo.load_audio(server.address)
    assert str(caught.value).startswith(server.address)


def test_a_server_that_states_no_length_is_read_to_the_end(music):
    body = (music / "001.wav").read_bytes()
    with Raw("", body) as server:
        np.testing.assert_array_equal(
            musicnn_zoo.load_audio(server.address).samples,
            musicnn_zoo.load_audio(music / "001.wav").samples,
        )


def test_what_comes_too_slowly_or_has_no_end_is_given_up(music, monkeypatch):
    body = (music / "001.wav").read_bytes()
    monkeypatch.setattr(remote, "PATIENCE_S", 0.2)
    monkeypatch.setattr(remote, "LEAST_BYTES_S", 50_000)
    with (
        Raw("", body, pause_s=0.05) as server,
        pytest.raises(RemoteError, match="comes too slowly"),
    ):
        musicnn_zoo.load_audio(server.address)
    monkeypatch.setattr(remote, "PATIENCE_S", 60)
    monkeypatch.setattr(remote, "MOST_BYTES", 10_000)
    with Raw("", body) as server, pytest.raises(AudioError, match="is longer than"):
        musicnn_zoo.load_audio(server.address)
    with (
        Raw("icy-name: Radio\r\n", body) as server,
        pytest.raises(RemoteError, match="live stream"),
    ):
        musicnn_zoo.load_audio(server.address)


def test_a_server_that_falls_silent_is_given_up(music, monkeypatch):
    body = (music / "001.wav").read_bytes()
    monkeypatch.setattr(remote, "_SILENCE_S", 0.2)
    with (
        Raw("Content-Length: 99999\r\n", body[:2000], pause_s=2) as server,
        pytest.raises(RemoteError, match="tried 4 times"),
    ):
        musicnn_zoo.load_audio(server.address)


# Other stores


def test_memory_and_zip_are_stores_too(memory, tmp_path):
    for name in ("a.ogg", "sub/b.ogg", "sub/.hidden.ogg"):
        memory.pipe(f"/music/{name}", TECHNO.read_bytes())
    found = list(find_audio("memory://music"))
    assert found == ["memory://music/a.ogg", "memory://music/sub/b.ogg"]
    near = Tagger(MODEL).tag(TECHNO)
    for result in Tagger(MODEL).tag_files(found):
        assert result.unwrap().items() == near.items()
    with zipfile.ZipFile(tmp_path / "music.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(TECHNO, "deep/song.ogg")
    inside = f"zip://deep/song.ogg::{tmp_path / 'music.zip'}"
    assert Tagger(MODEL).tag(inside).items() == near.items()
    assert list(find_audio(f"zip://::{tmp_path / 'music.zip'}")) == [inside]
    memory.pipe("/music.zip", (tmp_path / "music.zip").read_bytes())
    (result,) = Tagger(MODEL).tag_files(find_audio("zip://*/*.ogg::memory://music.zip"))
    assert result.unwrap().items() == near.items()


def test_names_that_no_address_can_have_are_failures(memory, tmp_path):
    for name in ("a::b.ogg", "c.ogg", "d::e/f.ogg", "::notes.txt"):
        memory.pipe(f"/music/{name}", TECHNO.read_bytes())
    ran = run("tag", "memory://music", "memory://music/a::b.ogg", "-o", tmp_path / "tags.csv")
    assert "1 done" in ran.stderr, ran.stderr
    assert ran.stderr.count("'::' joins two addresses") == 2  # a file, once, and a folder
    assert "notes" not in ran.stderr


def test_tables_may_hold_addresses(memory, tmp_path):
    memory.pipe("/music/a.ogg", TECHNO.read_bytes())
    table = tmp_path / "table.csv"
    table.write_text("path,tags\nmemory://music/a.ogg,one\nmemory://music/none.ogg,one\n")
    with pytest.warns(UserWarning, match="none.ogg"):
        data = from_table(table)
    assert data.paths == ("memory://music/a.ogg",)
    table.write_text("path,tags\na.ogg,one\n")
    with pytest.warns(UserWarning, match="single file"):
        rooted = from_table(table, audio_root="memory://music")
    assert rooted.paths == data.paths


def test_embeddings_of_addresses_are_kept(memory, tmp_path):
    memory.pipe("/music/a.ogg", TECHNO.read_bytes())
    first, second = (
        Embedder(MODEL, cache=tmp_path).transform(["memory://music/a.ogg"]) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    memory.pipe("/music/a.ogg", (CLIPS / "bach_chorale_strings.ogg").read_bytes())
    assert (Embedder(MODEL, cache=tmp_path).transform(["memory://music/a.ogg"]) != first).any()


def test_repositories_of_the_hub_hold_audio(web, tmp_path, monkeypatch):
    patch_hub(monkeypatch, web, tmp_path)
    web.add_repo("me/music", {"techno.ogg": TECHNO.read_bytes(), "README.md": b""})
    assert (
        Tagger(MODEL).tag("hf://me/music/techno.ogg").items() == Tagger(MODEL).tag(TECHNO).items()
    )
    assert list(find_audio("hf://me/music")) == ["hf://me/music/techno.ogg"]


def test_a_cache_that_cannot_be_written_is_named(store, tmp_path):
    (tmp_path / "file").touch()
    said = run(
        "tag", TECHNO, "-m", MODEL, "-o", "s3://bucket/x.csv", cache=tmp_path / "file"
    ).stderr
    assert "set MUSICNN_ZOO_CACHE to a folder that can" in said


def test_several_addresses_for_one_recording_are_refused(memory):
    with pytest.raises(AudioError, match=r"find_audio\('memory://music/\*.ogg'\)"):
        musicnn_zoo.tag("memory://music/*.ogg")
    with pytest.raises(ArgumentError, match=r"find_audio\('memory://music/\*.ogg'\)"):
        musicnn_zoo.tag_files("memory://music/*.ogg")


def test_no_file_stays_behind(memory):
    for number in range(30):
        memory.pipe(f"/music/{number:02}.ogg", TECHNO.read_bytes() if number % 3 else b"no audio")
    results = Tagger(MODEL).tag_files(find_audio("memory://music"))
    next(results)
    folder = temporary_folder()
    assert list(folder.iterdir())
    results.close()
    del results
    deadline = time.monotonic() + 30
    while list(folder.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl+C of another process")
def test_no_file_stays_behind_after_ctrl_c(store, tmp_path):
    store.pipe({f"bucket/long/{n}.ogg": TECHNO.read_bytes() for n in range(9)})
    command = "-m", "musicnn_zoo", "tag", "s3://bucket/long", "--hop", "0.032", "-f", "jsonl"
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, *command],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A shell lets what runs in the background ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:
        deadline = time.monotonic() + 60
        while not (begun := list(tmp_path.rglob("*.ogg"))) and time.monotonic() < deadline:
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
    assert begun
    assert running.returncode == 130
    assert list(tmp_path.glob("musicnn-zoo-*")) == []


# Credentials


@pytest.mark.parametrize(
    "arguments",
    [
        ("tag", TECHNO, "-m", "{}"),
        ("tag", TECHNO, "-o", "x.csv", "--plot", "{}"),
        ("listen", "{}"),
        ("listen", TECHNO, "-o", "{}/a.html"),
        ("finetune", "{}", "-o", "x"),
        ("merge", "x.parquet", "{}"),
    ],
)
def test_where_no_address_is_taken_none_is_shown_whole(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address = "http://user:hunter2222@127.0.0.1:1/a.wav?token=hunter3333"
    ran = run(*(str(each).format(address) for each in arguments))
    assert ran.exit_code != 0
    assert "127.0.0.1" in ran.output
    assert "hunter" not in ran.output


def assert_no_credential(*places, secrets=(KEY_ID, SECRET)):
    """Grep texts, and all files below folders."""
    held = 0
    for place in places:
        paths = (
            [path for path in place.rglob("*") if path.is_file()] if isinstance(place, Path) else []
        )
        contents = [path.read_bytes() for path in paths] if paths else [str(place).encode()]
        for content in contents:
            held += len(content)
            for secret in secrets:
                assert secret.encode() not in content
    assert held


@pytest.mark.parametrize(
    "fault", [None, {"status": 403}, {"status": 500}, {"status": 404}, {"cut": 9000}]
)
def test_no_credential_is_said_or_written(web, store, fault, tmp_path, caplog, troubles):
    caplog.set_level(logging.DEBUG, "musicnn_zoo")
    password, signature, token = "hunter2secret", "4f0c5d6e7a8b9c", "eyJhbGciOiJIUzI1NiJ9.e30.x"
    plain = web.add_file("techno.ogg", TECHNO.read_bytes())
    signed = (
        f"{plain.replace('://', f'://me:{password}@')}?X-Amz-Signature={signature}&token={token}"
    )
    if fault:
        web.fail(path="techno", **fault)
    remote_output = run(
        "tag", signed, "-m", MODEL, "-o", "s3://bucket/clean/tags.parquet", "--overwrite",
        cache=tmp_path / "cache",
    )  # fmt: skip
    local_output = run("tag", signed, "-m", MODEL, "-o", tmp_path / "tags.jsonl", "--traceback")
    single = run("tag", signed, "-m", MODEL, "-f", "json", "--traceback")
    raised = ""
    try:
        musicnn_zoo.load_audio(signed)
    except AudioError as error:
        import traceback

        raised = "".join(traceback.format_exception(error))
    for result in (remote_output, local_output, single):
        assert result.exit_code == (1 if fault else 0), result.output
    store.get("bucket/clean/", f"{tmp_path / 'up'}/", recursive=True)
    assert_no_credential(
        remote_output.output, local_output.output, single.output, single.exception, raised,
        caplog.text, tmp_path, secrets=(KEY_ID, SECRET, password, signature, token),
    )  # fmt: skip
    if not fault:
        assert pq.read_table(tmp_path / "up" / "tags.parquet")["source"].to_pylist() == [plain]
