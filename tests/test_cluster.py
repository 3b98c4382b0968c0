"""Library runs on Ray: the rows of a local run, whatever is killed."""

import errno
import gc
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from test_library import SCRIPT, make_clips

from musicnn_zoo import find_audio
from musicnn_zoo.cli import cli
from musicnn_zoo.errors import ArgumentError, ClusterError
from musicnn_zoo.library.blocks import open_blocks
from musicnn_zoo.library.cluster import DatasetAnalyst, Workers
from musicnn_zoo.library.cluster_run import BlockAnalyst, tag_on_cluster
from musicnn_zoo.library.parquet_store import make_entry, make_table
from musicnn_zoo.sound.find import Stamp, take_stamp
from musicnn_zoo.tagging.results import Clip, Tags, TagScore

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": "/tmp", "TF_CPP_MIN_LOG_LEVEL": "3",
}  # fmt: skip


def invoke(*arguments):
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def rows_of(path):
    table = pandas.read_parquet(path).sort_values("source").reset_index(drop=True)
    assert table["source"].is_unique
    return table


def assert_same_rows(some, other, column="scores"):
    some, other = rows_of(some), rows_of(other)
    pandas.testing.assert_frame_equal(some.drop(columns=column), other.drop(columns=column))
    for one, two in zip(some[column], other[column], strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


SETTINGS = {"kind": "tags", "model": "m", "silence": "skip"}


@pytest.fixture(params=["disk", "store"])
def place(request, tmp_path):
    """The output of a cluster: a folder, and one in a file system of fsspec."""
    if request.param == "store":
        pytest.importorskip("fsspec")
        return f"memory://{tmp_path}/tags.parquet"
    return str(tmp_path / "tags.parquet")


def put(blocks, names, version=1):
    stamps = [Stamp(name, 10, version) for name in names]
    results = [
        Tags(
            (TagScore("rock", version / 10),), "m", Clip(name, 3.0, damaged=name == "d", lost_s=1.5)
        )
        for name in names
    ]
    entries = [make_entry(one, result) for one, result in zip(stamps, results, strict=True)]
    blocks.writer.write(make_table(SETTINGS, entries), [(stamp, 1) for stamp in stamps])


def found(place):
    table = pandas.read_parquet(place)
    assert table["source"].is_unique
    return {row.source: round(row.scores[0] * 10) for row in table.itertuples()}


def test_a_block_that_is_written_again_is_there_once(place):
    with open_blocks(place, SETTINGS, overwrite=False) as blocks:
        put(blocks, "ab")
        put(blocks, "ab")
        put(blocks, "c")
        blocks.reread()
        assert sorted(blocks.known) == ["a", "b", "c"]
    assert found(place) == {"a": 1, "b": 1, "c": 1}


def test_what_overlaps_after_a_kill_is_dropped_by_the_next_run(place):
    with open_blocks(place, SETTINGS, overwrite=False) as blocks:
        put(blocks, "abc")
        put(blocks, "cd")  # of a run that did not know of the first
    with open_blocks(place, SETTINGS, overwrite=False) as blocks:
        assert sorted(blocks.known) == ["a", "b", "c", "d"]
    assert found(place) == {"a": 1, "b": 1, "c": 1, "d": 1}
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open(f"{place}.run/damaged.csv", "rt") as file:
        assert file.read() == "source,lost_s\nd,1.500\n"


def test_a_run_that_was_taken_over_writes_nothing_more(place):
    with open_blocks(place, SETTINGS, overwrite=False) as first:
        put(first, "a")
    with open_blocks(place, SETTINGS, overwrite=False) as second:
        with pytest.raises(ClusterError, match="another run"):
            put(first, "b")
        put(second, "c")
    assert found(place) == {"a": 1, "c": 1}


def test_changed_files_lose_their_rows_and_moved_ones_take_them_along(place):
    with open_blocks(place, SETTINGS, overwrite=False) as blocks:
        put(blocks, "abc")
        blocks.reread()
        blocks.discard(["a"])
        blocks.move({"b": Stamp("x", 10, 1)})
        put(blocks, "a", version=2)
    assert found(place) == {"a": 2, "x": 1, "c": 1}


def test_other_settings_are_refused_and_overwrite_starts_anew(place):
    with open_blocks(place, SETTINGS, overwrite=False) as blocks:
        put(blocks, "a")
        blocks.record_failures([("e.mp3", "broken")])
        blocks.record_crash(Stamp("f", 1, 1))
    refused = pytest.raises(ArgumentError, match=r"other settings: --model m \(now n\)")
    with refused, open_blocks(place, {**SETTINGS, "model": "n"}, overwrite=False):
        pass
    with open_blocks(place, SETTINGS, overwrite=False) as blocks:
        assert blocks.failed_as_before("broken")
        assert list(blocks.crashed) == ["f"]
    with open_blocks(place, {**SETTINGS, "model": "n"}, overwrite=True) as blocks:
        assert (blocks.known, blocks.crashed) == ({}, {})
        put(blocks, "b")
    assert found(place) == {"b": 1}


def test_a_name_that_is_not_utf8_is_exact_in_a_block(place):
    name = os.fsdecode(b"caf\xe9")
    with open_blocks(place, SETTINGS, overwrite=False) as blocks:
        put(blocks, [name])
        blocks.reread()
        assert list(blocks.known) == [name]
    assert list(found(place)) == [r"caf\udce9"]


def test_without_ray_the_command_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("musicnn_zoo.machine.installation._is_installed", lambda _: False)
    make_clips(tmp_path / "music", [3.0])
    ran = invoke("tag", tmp_path / "music", "-o", tmp_path / "x.parquet", "--cluster", "local")
    assert ran.exit_code == 2
    assert 'pip install "musicnn-zoo[ray]"' in ran.output


@pytest.mark.parametrize("output", [["-o", "x.csv"], ["-o", "x.txt"], []])
def test_a_cluster_writes_parquet_only(tmp_path, monkeypatch, output):
    monkeypatch.chdir(tmp_path)
    make_clips(tmp_path / "music", [3.0])
    ran = invoke("tag", "music", "--cluster", "local", *output)
    assert ran.exit_code == 2
    assert ".parquet" in ran.output


@pytest.mark.parametrize("workers", [{"cores": 0}, {"gpus": -1}, {"least": 3, "most": 2}])
def test_workers_that_cannot_be_are_refused(workers):
    with pytest.raises(ArgumentError, match="must be"):
        Workers(**workers)


# What follows starts Ray.


@pytest.fixture(scope="module")
def ray():
    """Ray with two cores; the tests of this process share it."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    ray = pytest.importorskip("ray")
    ray.init(
        num_cpus=2, object_store_memory=100 << 20, include_dashboard=False,
        logging_level="ERROR", log_to_driver=False,
    )  # fmt: skip
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Sixty clips, two of them no audio; and what a run on one machine makes of them."""
    folder = tmp_path_factory.mktemp("library")
    make_clips(folder / "music", [3.0] * 40 + [12.0] * 18)
    (folder / "music" / "broken.wav").write_bytes(b"RIFF")
    (folder / "music" / "empty.mp3").touch()
    assert invoke("tag", folder / "music", "-o", folder / "local.parquet").exit_code == 1
    return folder


def tag_all(library, output, **options):
    return tag_on_cluster(find_audio(library / "music"), output, **options)


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_the_rows_are_those_of_a_local_run_and_either_continues_the_other(ray, library, tmp_path):
    output = tmp_path / "cluster.parquet"
    heard = []
    summary = tag_all(library, output, progress=lambda told: heard.append(str(told)))
    assert (summary.done, summary.skipped, summary.failed) == (58, 0, 2)
    assert "58 of 60 files, 2 failed" in heard[-1]
    assert_same_rows(output, library / "local.parquet")
    schemas = {
        pq.read_schema(file).remove_metadata()
        for folder in (output, library / "local.parquet")
        for file in folder.iterdir()
    }
    assert len(schemas) == 1
    listed = [
        Path(f"{path}.run/failures.csv").read_text() for path in (output, library / "local.parquet")
    ]
    assert sorted(listed[0].splitlines()) == sorted(listed[1].splitlines())
    again = invoke("tag", library / "music", "-o", output)
    assert "0 done, 58 unchanged, 2 failed" in again.output
    assert "as in the run before" in again.output
    summary = tag_all(library, library / "local.parquet")
    assert (summary.done, summary.skipped, summary.failed) == (0, 58, 2)


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_workers_that_the_machine_cannot_hold_are_refused(ray, library, tmp_path):
    for workers, said in [
        (Workers(gpus=1), "1 GPU, and this machine has 0"),
        (Workers(99), "99 CPU"),
    ]:
        with pytest.raises(ArgumentError, match=said):
            tag_all(library, tmp_path / "x.parquet", workers=workers)


@pytest.mark.ray
def test_a_cluster_that_does_not_answer_is_named(library, tmp_path):
    pytest.importorskip("ray")
    output = tmp_path / "x.parquet"
    command = [SCRIPT, "tag", library / "music", "-o", output, "--cluster", "127.0.0.1:1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cluster '127.0.0.1:1': cannot be reached" in done.stderr


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        ({"file": ["a.wav"]}, {}, "needs a column 'path' of addresses or 'bytes'"),
        ({"path": [3]}, {}, "column 'path' must hold text; received int64"),
        ({"bytes": ["a"]}, {}, "column 'bytes' must hold bytes; received string"),
        ({"path": [__file__]}, {"top_k": 0}, "top_k must be at least 1"),
    ],
)
def test_what_is_wrong_with_all_files_of_a_dataset_is_no_reason(columns, options, said):
    analyst = DatasetAnalyst({"kind": "tags", **options})
    with pytest.raises(ArgumentError, match=said):
        analyst(pa.table(columns))


class FullDisk:
    def write(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_block_that_cannot_be_written_is_a_row_that_says_why(library):
    path = str(library / "music" / "000.wav")
    block = {"stamp": [json.dumps(asdict(take_stamp(path)))], "address": ["null"]}
    (row,) = BlockAnalyst({"kind": "tags"}, writer=FullDisk())(pa.table(block)).to_pylist()
    assert row["path"] is None
    assert pickle.loads(row["end"]).errno == errno.ENOSPC


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_what_ends_a_run_is_said_in_its_own_words(ray, library, tmp_path):
    files = [library / "music" / "000.wav"]
    with pytest.raises(ArgumentError, match="top_k must be at least 1; received 0"):
        tag_on_cluster(files, tmp_path / "a.parquet", top_k=0)


def test_rows_of_a_dataset_can_be_done_again(library):
    analyst = DatasetAnalyst({"kind": "tags"})
    once = analyst(pa.table({"path": [str(library / "music" / "000.wav"), "no.wav"], "n": [1, 2]}))
    again = analyst(once)
    assert again.column_names == once.column_names
    assert again["scores"].to_pylist() == once["scores"].to_pylist()


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_a_dataset_of_addresses_or_of_bytes_becomes_rows(ray, library):
    import musicnn_zoo

    local = rows_of(library / "local.parquet")
    paths = [str(library / "music" / name) for name in ("000.wav", "broken.wav", "041.wav", "no")]
    items = [{"path": path, "label": number} for number, path in enumerate(paths)]
    table = musicnn_zoo.tag_dataset(ray.data.from_items(items)).to_pandas().set_index("label")
    assert list(table.columns) == [*local.columns, "path", "reason"]
    assert list(table.loc[[0, 2], "tags"].map(list)) == [
        list(local.set_index("source").loc[paths[n], "tags"]) for n in (0, 2)
    ]
    assert table.loc[[0, 2], "reason"].isna().all()
    assert "not audio that libsndfile" in table.loc[1, "reason"]
    assert "there is no such file" in table.loc[3, "reason"]
    assert table.loc[[1, 3], "scores"].isna().all()
    contents = ray.data.from_items([{"bytes": Path(path).read_bytes()} for path in paths[:3]])
    rows = musicnn_zoo.embed_dataset(contents, pooling=None).to_pandas()
    assert sorted(rows["source"]) == ["row 0", "row 1", "row 2", "row 2", "row 2", "row 2"]
    assert list(rows.loc[rows["source"] == "row 1", "reason"]) != [None]
    assert {len(one) for one in rows["embedding"].dropna()} == {200}


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_hardly_anything_of_the_audio_crosses_the_object_store(ray, library):
    import musicnn_zoo

    paths = sorted(str(path) for path in (library / "music").glob("04*.wav"))
    rows = musicnn_zoo.tag_dataset(ray.data.from_items([{"path": path} for path in paths]))
    moved = rows.materialize()
    decoded = sum(moved.to_pandas()["duration_s"]) * 16000 * 4
    assert 0 < moved.size_bytes() < decoded / 100
    assert "decoded" not in moved.stats()


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_actors_that_are_killed_cost_nothing_but_time(ray, library, tmp_path):
    """Five: by ray.kill, with and without a restart by Ray, and as the kernel does it."""
    random_ = random.Random(3)
    kills = []

    def kill(told):
        if len(kills) == 5 or told.done + told.failed < 4 * (len(kills) + 1):
            return
        actors = [each for each in gc.get_objects() if type(each) is ray.actor.ActorHandle]
        workers = [each for each in actors if "MapWorker" in repr(each)]
        if len(kills) % 2 == 0 and workers:
            ray.kill(random_.choice(workers), no_restart=len(kills) == 0)
            kills.append("ray.kill")
        elif pids := worker_pids():
            os.kill(random_.choice(pids), signal.SIGKILL)
            kills.append("kill -9")

    output = tmp_path / "killed.parquet"
    summary = tag_all(library, output, progress=kill)
    assert kills == ["ray.kill", "kill -9", "ray.kill", "kill -9", "ray.kill"]
    assert (summary.done, summary.failed) == (58, 2)
    assert_same_rows(output, library / "local.parquet")


def worker_pids(below=None):
    """The processes of actors that compute; those below a process, if it is given."""
    listed = subprocess.run(
        ["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()[1:]]
    parents = {int(pid): int(parent) for pid, parent, *_ in rows}
    found = []
    for pid, _, *arguments in rows:
        if arguments and arguments[0].startswith("ray::MapWorker"):
            above = int(pid)
            while above > 1 and above != (below or os.getpid()):
                above = parents.get(above, 0)
            if above > 1:
                found.append(int(pid))
    return found


@pytest.mark.ray
def test_drivers_that_are_killed_at_any_moment_leave_a_run_that_goes_on(library, tmp_path):
    pytest.importorskip("ray")
    output = tmp_path / "killed.parquet"
    command = [SCRIPT, "tag", library / "music", "-o", output, "--cluster", "local"]
    random_ = random.Random(5)
    for number in range(4):
        running = subprocess.Popen(
            command, env={**os.environ, **ENVIRONMENT}, stderr=subprocess.DEVNULL
        )
        limit = time.monotonic() + 90
        wanted = min(20, 6 * (number + 1))
        while len(list(output.glob("block-*"))) < wanted and time.monotonic() < limit:
            time.sleep(0.05)
        if number == 1:
            for pid in worker_pids(running.pid):
                os.kill(pid, signal.SIGKILL)
        time.sleep(random_.uniform(0, 0.5))
        running.send_signal(signal.SIGKILL)
        running.wait()
    done = subprocess.run(
        command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "could not be used" in done.stderr
    assert_same_rows(output, library / "local.parquet")
    assert not [path for path in output.iterdir() if path.name.startswith(".")]


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_of_two_nodes_goes_on_when_one_is_killed(library, tmp_path):
    """In a process of its own, as this one may be connected to another cluster."""
    pytest.importorskip("ray")
    output = tmp_path / "nodes.parquet"
    done = subprocess.run(
        [sys.executable, __file__, library / "music", output],
        env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == {"done": 58, "failed": 2, "killed": True}
    assert_same_rows(output, library / "local.parquet")


@pytest.fixture
def bucket(monkeypatch):
    """A store of the S3 protocol on the loopback address, and what reads it here and in workers."""
    server = pytest.importorskip("moto.server", reason="moto's server is not installed")
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    host, port = running.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "key-of-the-test",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-test", "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    system = s3fs.S3FileSystem(
        endpoint_url=environment["AWS_ENDPOINT_URL"], skip_instance_cache=True
    )
    system.mkdir("bucket")
    yield system
    running.stop()


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_a_store_is_read_and_written_and_a_second_run_continues(library, bucket, tmp_path):
    bucket.put(f"{library}/music", "bucket/music", recursive=True)
    places = "s3://bucket/music", "s3://bucket/tags.parquet"
    code = (
        "import sys; from musicnn_zoo import find_audio, tag_on_cluster; "
        "print(tag_on_cluster(find_audio(sys.argv[1]), sys.argv[2]))"
    )
    command = [SCRIPT, "tag", places[0], "--output", places[1], "--cluster", "local"]
    said = ""
    for call, expected in (
        (command, "58 done, 0 unchanged, 2 failed"),
        ([sys.executable, "-c", code, *places], "0 done, 58 unchanged, 2 failed"),
        (command[:-2], "0 done, 58 unchanged, 2 failed"),  # by one process
        (command, "0 done, 58 unchanged, 2 failed"),
    ):
        done = subprocess.run(
            call, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False
        )
        assert expected in done.stdout + done.stderr
        said += done.stdout + done.stderr
    bucket.invalidate_cache()
    bucket.get("bucket/tags.parquet", f"{tmp_path}/tags.parquet", recursive=True)
    bucket.get("bucket/tags.parquet.run", f"{tmp_path}/run", recursive=True)
    local = rows_of(library / "local.parquet")
    rows = rows_of(tmp_path / "tags.parquet")
    below = [Path(source).relative_to(library).as_posix() for source in local["source"]]
    assert list(rows["source"]) == [f"s3://bucket/{place}" for place in below]
    assert list(rows["tags"].map(tuple)) == list(local["tags"].map(tuple))
    for one, two in zip(rows["scores"], local["scores"], strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert "broken.wav" in written.decode("latin-1")
    for secret in ("key-of-the-test", "secret-of-the-test"):
        assert secret not in said
        assert secret.encode() not in written


def run_on_two_nodes(music, output):
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    second = cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    killed = []

    def kill(told):
        if told.done >= 20 and not killed:
            killed.append(True)
            cluster.remove_node(second, allow_graceful=False)

    summary = tag_on_cluster(find_audio(music), output, progress=kill)
    told = {"done": summary.done, "failed": summary.failed, "killed": bool(killed)}
    ray.shutdown()
    cluster.shutdown()
    sys.stdout.write(f"\n{json.dumps(told)}\n")


if __name__ == "__main__":
    run_on_two_nodes(*sys.argv[1:])
