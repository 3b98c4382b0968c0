import errno
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers_clips import RATE, ramp, write_clips
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musicnn_zoo import ArgumentError, AudioError
from musicnn_zoo.datasets import DatasetError, DatasetWarning
from musicnn_zoo.errors import OutputError, UnknownNameError
from musicnn_zoo.sound.read import load_audio
from musicnn_zoo.training import batches as module
from musicnn_zoo.training import open_clips

LENGTHS = [300, 40, 120, 1, 500]


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "audio").mkdir()
    return write_clips(tmp_path / "audio", LENGTHS)


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Names of the files that were decoded, in the order in which that ended."""
    names: list[str] = []

    def counted(path, **options):
        names.append(Path(path).name)
        return load_audio(path, **options)

    monkeypatch.setattr(module, "load_audio", counted)
    return names


def opened(dataset, **options):
    return open_clips(dataset, **{"sample_rate": RATE, **options})


def assert_whole(clips, lengths=LENGTHS) -> None:
    assert clips.samples == tuple(lengths)
    for clip, samples in enumerate(lengths):
        np.testing.assert_array_equal(clips.signal(clip), ramp(clip, samples))


def cached(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


@pytest.mark.parametrize("options", [{}, {"memory_bytes": 0}, {"jobs": 1}, {"jobs": 7}])
def test_every_clip_is_there_in_order(dataset, options) -> None:
    clips = opened(dataset, **options)
    assert (len(clips), clips.sample_rate, clips.cache) == (5, RATE, None)
    assert clips.dataset.paths == dataset.paths
    assert clips.hours == pytest.approx(961 / 1000 / 3600)
    assert_whole(clips)
    assert clips.failures == []


def test_more_files_than_are_decoded_at_a_time_keep_their_order(tmp_path) -> None:
    lengths = [1 + number % 7 for number in range(30)]
    assert_whole(opened(write_clips(tmp_path, lengths), jobs=2), lengths)


def test_they_come_at_the_rate_asked_for(dataset) -> None:
    clips = opened(dataset, sample_rate=500)
    assert clips.samples == (150, 20, 60, 1, 250)
    expected = load_audio(dataset.paths[0], target_rate=500).samples
    np.testing.assert_array_equal(clips.signal(0), expected)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("memory_bytes", [0, 1 << 20])
def test_no_signal_can_be_written_to(dataset, tmp_path, cached, memory_bytes) -> None:
    cache = tmp_path / "cache" if cached else None
    for clips in (opened(dataset, cache=cache, memory_bytes=memory_bytes) for _ in range(2)):
        with pytest.raises(ValueError, match="read-only"):
            clips.signal(0)[0] = 1


# --- broken files


def spoil(dataset, *clips: int) -> None:
    for clip in clips:
        Path(dataset.paths[clip]).write_text("no audio")


def test_broken_files_are_counted_named_listed_and_left_out(dataset) -> None:
    spoil(dataset, 1, 4)
    Path(dataset.paths[2]).unlink()
    with pytest.warns(DatasetWarning) as caught:
        clips = opened(dataset)
    assert [warning.filename for warning in caught] == [__file__]
    told = str(caught[0].message)
    assert told.startswith("ramps: left out 3 of 5 files cannot be decoded: ")
    assert all(dataset.paths[clip] in told for clip in (1, 2, 4))
    assert "more" not in told
    left = [0, 3]
    assert clips.dataset.paths == tuple(dataset.paths[clip] for clip in left)
    assert clips.dataset.report["broken_files"] == tuple(dataset.paths[clip] for clip in (1, 2, 4))
    np.testing.assert_array_equal(clips.dataset.labels, dataset.labels[left])
    assert clips.samples == (300, 1)
    for index, clip in enumerate(left):
        np.testing.assert_array_equal(clips.signal(index), ramp(clip, LENGTHS[clip]))


def test_of_many_broken_files_the_first_are_named_and_all_listed(tmp_path) -> None:
    dataset = write_clips(tmp_path, [10] * 7)
    spoil(dataset, *range(1, 6))
    with pytest.warns(DatasetWarning, match=r"5 of 7 files .*; and 2 more$") as caught:
        clips = opened(dataset)
    assert [path in str(caught[0].message) for path in dataset.paths] == [
        False, True, True, True, False, False, False,
    ]  # fmt: skip
    assert len(clips.dataset.report["broken_files"]) == 5


def test_nothing_is_said_of_good_files(dataset) -> None:
    assert opened(dataset).dataset.report.counts == {}  # a warning would be an error here


def test_a_broken_file_is_broken_with_a_cache_too_and_not_kept(dataset, tmp_path) -> None:
    spoil(dataset, 0)
    for _ in range(2):
        with pytest.warns(DatasetWarning, match="1 of 5"):
            clips = opened(dataset, cache=tmp_path / "cache")
        assert clips.samples == (40, 120, 1, 500)
    assert len(cached(tmp_path / "cache")) == 4


def test_where_no_file_can_be_decoded_there_is_no_data_set(dataset) -> None:
    spoil(dataset, *range(5))
    with pytest.raises(DatasetError, match=r"^ramps: 5 of 5 files cannot be .* and 2 more$"):
        opened(dataset)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jobs": 0}, "jobs must be at least 1; received 0"),
        ({"jobs": -1}, "jobs must be at least 1; received -1"),
        ({"sample_rate": 0}, "positive whole number"),
        ({"sample_rate": 0.5}, "positive whole number"),
    ],
)
def test_numbers_out_of_range_are_refused(dataset, options, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        opened(dataset, **options)


# --- memory


@pytest.mark.parametrize(
    ("samples", "kept"), [(0, ()), (299, (1, 2, 3)), (300, (0,)), (461, (0, 1, 2, 3)), (961, None)]
)
def test_no_more_is_kept_in_memory_than_allowed(dataset, decoded, samples, kept) -> None:
    clips = opened(dataset, memory_bytes=4 * samples)
    decoded.clear()
    assert_whole(clips)
    from_memory = range(5) if kept is None else kept
    assert decoded == [f"{clip}.wav" for clip in range(5) if clip not in from_memory]


# --- the cache


def test_what_is_in_the_cache_is_decoded_once(dataset, decoded, tmp_path) -> None:
    cache = tmp_path / "new" / "cache"
    clips = opened(dataset, cache=cache)
    assert sorted(decoded) == [f"{clip}.wav" for clip in range(5)]
    assert_whole(clips)
    again = opened(dataset.subset([4, 0]), cache=str(cache))
    np.testing.assert_array_equal(again.signal(0), ramp(4, 500))
    assert len(decoded) == 5
    assert len(cached(cache)) == 5
    assert {path.suffix for path in cached(cache)} == {".npy"}
    header = 128
    assert sum(path.stat().st_size for path in cached(cache)) == 5 * header + 4 * 961


def test_another_rate_is_another_entry_of_the_cache(dataset, decoded, tmp_path) -> None:
    opened(dataset, cache=tmp_path)
    assert opened(dataset, cache=tmp_path, sample_rate=500).samples[0] == 150
    assert len(decoded) == 10
    assert_whole(opened(dataset, cache=tmp_path))
    assert len(decoded) == 10


@pytest.mark.parametrize("change", ["time", "size"])
def test_a_file_that_changed_is_decoded_again(dataset, decoded, tmp_path, change) -> None:
    opened(dataset, cache=tmp_path / "cache")
    path = Path(dataset.paths[1])
    before = path.stat()
    time = before.st_mtime_ns + (change == "time")
    other = write_clips(tmp_path, [40 if change == "time" else 41] * 4).paths[3]
    shutil.copy(other, path)
    os.utime(path, ns=(time, time))
    assert (path.stat().st_size == before.st_size) == (change == "time")
    decoded.clear()
    clips = opened(dataset, cache=tmp_path / "cache")
    assert decoded == ["1.wav"]
    np.testing.assert_array_equal(clips.signal(1), ramp(3, clips.samples[1]))


def test_one_file_by_several_paths_is_one_entry(dataset, decoded, tmp_path) -> None:
    cache = tmp_path / "cache"
    opened(dataset, cache=cache)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "audio")
    other = replace(dataset, paths=tuple(str(link / f"{clip}.wav") for clip in range(5)))
    decoded.clear()
    assert_whole(opened(other, cache=cache))
    assert decoded == []


def test_threads_that_decode_the_same_file_at_once_do_not_meet(
    dataset, tmp_path, monkeypatch
) -> None:
    """A data set may name one file by two paths; both then are written to one place."""
    link = tmp_path / "other.wav"
    link.symlink_to(dataset.paths[0])
    twice = replace(dataset.subset([0, 1]), paths=(dataset.paths[0], str(link)))
    together, save, names = threading.Barrier(2, timeout=20), np.save, set()

    def save_at_once(file, signal):
        names.add(file.name)
        together.wait()
        save(file, signal)
        together.wait()

    monkeypatch.setattr(np, "save", save_at_once)
    clips = opened(twice, cache=tmp_path / "cache", jobs=2)
    assert len(names) == 2
    assert clips.samples == (300, 300)
    np.testing.assert_array_equal(clips.signal(1), ramp(0, 300))
    assert len(cached(tmp_path / "cache")) == 1


def test_processes_may_share_a_cache_at_once(dataset, tmp_path) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from musicnn_zoo.datasets import Dataset\n"
        "from musicnn_zoo.training.batches import open_clips\n"
        "cache, go, *paths = sys.argv[1:]\n"
        "dataset = Dataset('x', ('a',), tuple(paths), np.ones((len(paths), 1), bool))\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "for turn in range(20):\n"
        "    clips = open_clips(dataset, sample_rate=1000, cache=Path(cache, str(turn)), jobs=2)\n"
        "    print(*(float(clips.signal(i).sum()) for i in range(len(clips))))\n"
    )
    cache = tmp_path / "cache"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, cache, "go", *dataset.paths],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    sums = [float(ramp(clip, samples).sum()) for clip, samples in enumerate(LENGTHS)]
    for output in outputs:
        for line in output.splitlines():
            assert [float(value) for value in line.split()] == pytest.approx(sums)
    assert len(cached(cache)) == 20 * 5


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_entry_of_the_cache_is_decoded_again(dataset, tmp_path, data) -> None:
    cache = tmp_path / "cache"
    opened(dataset, cache=cache)
    place = data.draw(st.sampled_from(cached(cache)))
    whole = place.read_bytes()
    size = data.draw(st.integers(0, len(whole) - 1))
    place.write_bytes(whole[:size])
    try:
        assert_whole(opened(dataset, cache=cache))
        assert place.read_bytes() == whole
    finally:
        place.write_bytes(whole)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 127), st.binary(min_size=1, max_size=12))
def test_a_damaged_header_in_the_cache_neither_ends_the_run_nor_changes_a_clip(
    dataset, tmp_path, at, noise
) -> None:
    cache = tmp_path / "cache"
    opened(dataset, cache=cache)
    place = cached(cache)[0]
    whole = place.read_bytes()
    place.write_bytes(whole[:at] + noise + whole[at + len(noise) :])
    try:
        assert_whole(opened(dataset, cache=cache))
    finally:
        place.write_bytes(whole)


def test_a_header_that_tells_another_length_is_damaged(dataset, tmp_path) -> None:
    opened(dataset, cache=tmp_path / "cache")
    for place in cached(tmp_path / "cache"):
        place.write_bytes(place.read_bytes().replace(b"(300,)", b"(30,) "))
    assert_whole(opened(dataset, cache=tmp_path / "cache"))


@pytest.mark.parametrize(
    "other",
    [np.zeros(0, "f4"), np.zeros((2, 2), "f4"), np.zeros(300, "f8"), np.zeros(300, ">f4"),
     np.array(["pickle", None], object)],
)  # fmt: skip
def test_other_arrays_in_the_cache_are_not_taken_for_audio(dataset, tmp_path, other) -> None:
    opened(dataset, cache=tmp_path / "cache")
    for place in cached(tmp_path / "cache"):
        np.save(place, other, allow_pickle=True)
    assert_whole(opened(dataset, cache=tmp_path / "cache"))


def test_an_entry_that_is_gone_later_is_made_again(dataset, tmp_path) -> None:
    cache = tmp_path / "cache"
    clips = opened(dataset, cache=cache)
    for place in cached(cache):
        place.unlink()
    assert_whole(clips)
    assert len(cached(cache)) == 5


def test_a_cache_that_cannot_be_written_is_named(dataset, tmp_path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OutputError, match=r"cache '.*file' cannot be written \(.+\)"):
        opened(dataset, cache=file)


def test_a_full_disk_is_told_and_leaves_no_torn_file(dataset, tmp_path, monkeypatch) -> None:
    def full(file, signal):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    clips = opened(dataset, cache=tmp_path / "cache")
    for place in cached(tmp_path / "cache"):
        place.unlink()
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OutputError, match=r"No space left on device") as caught:
        clips.signal(0)
    assert clips.failures == [caught.value]
    with pytest.raises(OutputError, match=r"No space left on device"):
        opened(dataset, cache=tmp_path / "cache")
    assert cached(tmp_path / "cache") == []


def test_where_another_was_faster_nothing_is_wrong(dataset, tmp_path, monkeypatch) -> None:
    """Windows lets no process replace a file that another has open."""
    plainly = Path.replace

    def refused(self, target):
        plainly(self, target)
        raise PermissionError(errno.EACCES, "Access is denied")

    monkeypatch.setattr(Path, "replace", refused)
    assert_whole(opened(dataset, cache=tmp_path / "cache"))


# --- later


@pytest.mark.parametrize("with_cache", [False, True])
def test_a_file_that_changes_after_the_check_is_told(dataset, tmp_path, with_cache) -> None:
    cache = tmp_path / "cache" if with_cache else None
    clips = opened(dataset, memory_bytes=0, cache=cache)
    write_clips(tmp_path / "audio", [300, 41])
    with pytest.raises(AudioError, match=r"1\.wav: has changed .*41 samples .* before 40") as one:
        clips.signal(1)
    spoil(dataset, 2)
    with pytest.raises(AudioError, match=r"2\.wav: not audio") as two:
        clips.signal(2)
    Path(dataset.paths[3]).unlink()
    with pytest.raises(AudioError, match=r"3\.wav") as three:
        clips.signal(3)
    assert clips.failures == [one.value, two.value, three.value]
    np.testing.assert_array_equal(clips.signal(4), ramp(4, 500))


def test_what_is_in_memory_does_not_change(dataset) -> None:
    clips = opened(dataset)
    spoil(dataset, *range(5))
    assert_whole(clips)


def test_subsets_have_their_own_lengths_and_share_all_else(dataset, tmp_path, decoded) -> None:
    (tmp_path / "other").mkdir()
    split = write_clips(
        tmp_path / "other", LENGTHS, splits=("train", "test", "train", "validation", "test")
    )
    clips = opened(split, memory_bytes=4 * 700)
    test = clips.subset("test")
    assert (test.dataset.paths, test.samples) == ((split.paths[1], split.paths[4]), (40, 500))
    assert (test.sample_rate, test.cache) == (RATE, None)
    decoded.clear()
    np.testing.assert_array_equal(test.signal(0), ramp(1, 40))
    assert decoded == []
    np.testing.assert_array_equal(test.signal(1), ramp(4, 500))
    assert decoded == ["4.wav"]
    spoil(split, 4)
    with pytest.raises(AudioError):
        test.signal(1)
    assert len(clips.failures) == 1
    with pytest.raises(UnknownNameError, match="unknown split 'dev'"):
        clips.subset("dev")
    with pytest.raises(ArgumentError, match="no splits"):
        opened(dataset).subset("train")


def test_a_bar_shows_how_far_it_is(dataset, capsys) -> None:
    opened(dataset)
    assert capsys.readouterr().err == ""
    opened(dataset, progress=True)
    assert "5/5" in capsys.readouterr().err
