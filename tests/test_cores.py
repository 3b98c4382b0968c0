"""How many cores a process may use: affinity, and quotas of control groups of both versions."""

import os

import pytest

from musicnn_zoo.machine import processes as cores
from musicnn_zoo.machine.processes import keep_libraries_to_usable_cores, usable_cores

V2 = "30 23 0:26 {mounted} {point} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1 = "33 25 0:30 {mounted} {point} rw shared:9 - cgroup cgroup rw,cpu,cpuacct"
V1_CPUSET = "34 25 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset"


@pytest.fixture(autouse=True)
def sixteen_seen(monkeypatch):
    monkeypatch.setattr(cores, "_seen_cores", lambda: 16)


def machine(root, groups, mounts, quotas=()):
    """Write what a process is told, and the files of its groups: ``{path: text}``."""
    files = {"proc/self/cgroup": groups, "proc/self/mountinfo": "\n".join(mounts), **dict(quotas)}
    for path, text in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{text}\n")
    return root


def version_2(root, quotas, *, group="/", mounted="/", point="/sys/fs/cgroup"):
    mount = V2.format(mounted=mounted, point=point.replace(" ", r"\040"))
    files = {f"{point.strip('/')}/{place}cpu.max": text for place, text in quotas.items()}
    return machine(root, f"0::{group}", [mount], files)


def version_1(root, quota, period="100000", *, group="/", mounted="/", place=""):
    folder = f"sys/fs/cgroup/cpu,cpuacct/{place}"
    files = {f"{folder}cpu.cfs_quota_us": quota, f"{folder}cpu.cfs_period_us": period}
    mount = V1.format(mounted=mounted, point="/sys/fs/cgroup/cpu,cpuacct")
    return machine(root, f"5:cpuset:/\n4:cpu,cpuacct:{group}\n0::/", [V1_CPUSET, mount], files)


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("1000 1000000", 1),
        ("50000", 1), ("max 100000", 16), ("max", 16), ("6400000 100000", 16), ("", 16),
        ("lots 100000", 16), ("200000 0", 16), ("-1 100000", 16), ("9" * 5000 + " 1", 16),
    ],
)  # fmt: skip
def test_a_quota_of_version_2(tmp_path, quota: str, expected: int) -> None:
    assert usable_cores(root=version_2(tmp_path, {"": quota})) == expected


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [
        ("400000", "100000", 4), ("110000", "50000", 3), ("-1", "100000", 16), ("0", "100000", 16),
        ("100000", "0", 16), ("x", "100000", 16),
    ],
)  # fmt: skip
def test_a_quota_of_version_1(tmp_path, quota: str, period: str, expected: int) -> None:
    assert usable_cores(root=version_1(tmp_path, quota, period)) == expected


@pytest.mark.parametrize(
    ("quotas", "expected"),
    [
        ({"a/b/c/": "max 100000", "a/b/": "300000 100000", "a/": "900000 100000"}, 3),
        ({"a/b/c/": "500000 100000", "a/": "200000 100000"}, 2),
        ({"a/b/c/": "200000 100000", "": "max 100000", "d/": "100000 100000"}, 2),
    ],
)
def test_the_quotas_of_all_groups_around_count(tmp_path, quotas, expected: int) -> None:
    assert usable_cores(root=version_2(tmp_path, quotas, group="/a/b/c")) == expected


@pytest.mark.parametrize("make", [version_1, version_2])
@pytest.mark.parametrize(
    ("group", "mounted", "place"),
    [
        ("/docker/f00", "/docker/f00", ""),  # a container without a namespace of its own
        ("/docker/f00/job", "/docker/f00", "job/"),
        ("/docker/f00", "/", ""),  # the host's path, which is not there inside
        ("/", "/../../f00", ""),
        ("/kube pods/é", "/", "kube pods/é/"),
    ],
)
def test_what_is_mounted_need_not_be_the_whole_hierarchy(tmp_path, make, group, mounted, place):
    quota = ("200000",) if make is version_1 else ({place: "200000 100000"},)
    more = {"place": place} if make is version_1 else {}
    assert usable_cores(root=make(tmp_path, *quota, group=group, mounted=mounted, **more)) == 2


def test_the_mount_may_be_anywhere(tmp_path) -> None:
    assert usable_cores(root=version_2(tmp_path, {"": "300000 100000"}, point="/my groups/v2")) == 3


def test_without_control_groups_what_is_seen_counts(tmp_path) -> None:
    assert usable_cores(root=tmp_path) == 16
    assert usable_cores(root=machine(tmp_path / "odd", "no\n::\n", ["1 2", "", "a - b"])) == 16
    (tmp_path / "proc" / "self" / "cgroup").mkdir(parents=True)  # cannot be read
    assert usable_cores(root=tmp_path) == 16


def test_files_that_are_no_text_do_not_count(tmp_path) -> None:
    root = version_2(tmp_path, {"": "200000 100000"})
    (root / "sys/fs/cgroup/cpu.max").write_bytes(b"\xff\xfe")
    assert usable_cores(root=root) == 16
    (root / "proc/self/cgroup").write_bytes(b"\xff")
    assert usable_cores(root=root) == 16


def test_python_says_how_many_it_may_use(monkeypatch, tmp_path) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(os, "process_cpu_count", lambda: 3, raising=False)
    assert usable_cores(root=tmp_path) == 3
    monkeypatch.delattr(os, "process_cpu_count")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5}, raising=False)
    assert usable_cores(root=tmp_path) == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores(root=tmp_path) == 1


def test_libraries_are_told_of_a_quota_and_only_then(monkeypatch) -> None:
    for name in cores._COUNTED_BY_LIBRARIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cores, "usable_cores", lambda: 16)
    keep_libraries_to_usable_cores()
    assert "TF_NUM_INTRAOP_THREADS" not in os.environ
    monkeypatch.setattr(cores, "usable_cores", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with monkeypatch.context() as patch:
        for name in cores._COUNTED_BY_LIBRARIES[1:]:
            patch.setenv(name, "")  # so that it is taken away again
            del os.environ[name]
        keep_libraries_to_usable_cores()
        assert os.environ["TF_NUM_INTRAOP_THREADS"] == "2"
        assert os.environ["OMP_NUM_THREADS"] == "7"
