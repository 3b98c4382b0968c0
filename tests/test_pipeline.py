"""Many files through one engine: order, errors, shared batches, bounds, and no thread left."""

import dataclasses
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from musicnn_zoo import ArgumentError, AudioError
from musicnn_zoo.networks.patches import PatchGrid
from musicnn_zoo.sound.read import AudioStream
from musicnn_zoo.tagging import pipeline
from musicnn_zoo.tagging.pipeline import Cutting, Task, process

RATE = 1000
GRID = PatchGrid(patch=20, hop=12, frame_hop=16, window=32, padding=16, sample_rate=RATE)
CUTTING = Cutting(GRID)
PATCH, HOP, SHORTEST = 336, 192, 304  # in samples
BLOCK = 10 * RATE
PATIENCE_S = 20


class Means:
    """An engine that says mean, first and last sample of each patch, and what it was asked."""

    name = "means"

    def __init__(self, patches_per_call=4, calls=1):
        self.patches_per_call = patches_per_call
        self.calls = calls
        self.batches = []

    def missing(self, layers):
        return ()

    def run(self, windows, layers):
        self.batches.append(len(windows))
        return {layer: summary(windows) for layer in layers}


class Waiting(Means):
    """One that begins to compute when it is told to."""

    def __init__(self, patches_per_call=4):
        super().__init__(patches_per_call)
        self.may_begin = threading.Event()
        self.breaks = False

    def run(self, windows, layers):
        assert self.may_begin.wait(PATIENCE_S)
        if self.breaks:
            raise ZeroDivisionError
        return super().run(windows, layers)


class Endless(AudioStream):
    """A file without an end, which counts how many blocks were taken from it."""

    def __init__(self):
        super().__init__(np.zeros(1), sample_rate=RATE, target_rate=RATE)
        self.blocks = 0

    def __iter__(self):
        while True:
            self.blocks += 1
            yield signal(BLOCK)


class Failing(AudioStream):
    """A file that gives one block and then fails in a way that no decoder announces."""

    def __init__(self):
        super().__init__(np.zeros(1), sample_rate=RATE, target_rate=RATE)

    def __iter__(self):
        yield signal(BLOCK)
        raise RuntimeError("the decoder broke")


MEANS = Task(CUTTING, ("output",), lambda activations, silent, clip: (activations["output"], clip))


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def summary(windows):
    return np.stack([windows.mean(axis=1), windows[:, 0], windows[:, -1]], axis=1)


def signal(length, seed=0):
    return np.random.default_rng([seed, length]).normal(0, 0.1, length).astype(np.float32)


def stream(samples):
    return AudioStream(samples, sample_rate=RATE, target_rate=RATE)


def by_hand(samples):
    """Cut and summarise one signal as a whole."""
    if len(samples) < SHORTEST:
        samples = np.resize(samples, SHORTEST)
    padded = np.pad(samples, 16)
    starts = range(0, len(padded) - PATCH + 1, HOP)
    return summary(np.stack([padded[start : start + PATCH] for start in starts]))


def run(streams, engine=None, tail="drop", **options):
    task = dataclasses.replace(MEANS, cutting=Cutting(GRID, tail))
    return process(streams, task, engine=engine or Means(), **options)


def values(results):
    return [result.unwrap()[0] for result in results]


def assert_all_equal(ours, expected):
    assert len(ours) == len(expected)
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-7)


def settled(count):
    """Value of ``count()`` once it stays the same for a while."""
    deadline = time.monotonic() + PATIENCE_S
    value, since = count(), time.monotonic()
    while time.monotonic() < deadline:
        time.sleep(0.02)
        if count() != value:
            value, since = count(), time.monotonic()
        elif time.monotonic() - since > 0.8:
            return value
    raise AssertionError(f"still grows, now {value}")


def rises_to(bound, count):
    """Wait until ``count()`` reaches a number, and see that it goes no further."""
    deadline = time.monotonic() + PATIENCE_S
    while count() < bound and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    assert count() == bound


@pytest.mark.parametrize("jobs", [1, 2, 8, None])
@pytest.mark.parametrize("patches_per_call", [1, 3, 64])
def test_results_are_those_of_single_files_in_order(jobs, patches_per_call):
    signals = [signal(length, seed) for seed, length in enumerate([900, 5, 25_000, 304, 2000] * 4)]
    engine = Means(patches_per_call)
    results = values(run(map(stream, signals), engine, jobs=jobs))
    assert_all_equal(results, [by_hand(one) for one in signals])
    assert sum(engine.batches) == sum(map(len, results))
    assert max(engine.batches) <= patches_per_call


@settings(max_examples=60)
@given(
    st.lists(st.one_of(st.integers(1, 2000), st.integers(9_800, 21_000)), max_size=8),
    st.integers(1, 5),
    st.integers(1, 40),
    st.integers(1, 3),
)
def test_neither_jobs_nor_batches_change_a_result(lengths, jobs, patches_per_call, calls):
    signals = [signal(length, seed) for seed, length in enumerate(lengths)]
    results = values(run(map(stream, signals), Means(patches_per_call, calls), jobs=jobs))
    assert_all_equal(results, [by_hand(one) for one in signals])


def test_calls_that_end_in_another_order_leave_the_rows_in_theirs():
    class Overtaking(Means):
        def run(self, windows, layers):
            rows = super().run(windows, layers)
            time.sleep(0.02 * (len(self.batches) % 2))
            return rows

    signals = [signal(9000, seed) for seed in range(3)]
    results = values(run(map(stream, signals), Overtaking(5, calls=2), jobs=1))
    assert_all_equal(results, [by_hand(one) for one in signals])


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 2), (8, 8), (16, 8), (64, 21)])
def test_many_cores_do_not_need_as_many_readers(monkeypatch, cores, threads):
    monkeypatch.setattr(pipeline, "usable_cores", lambda: cores)
    assert pipeline.reading_threads() == threads


def test_a_file_that_is_ready_late_still_comes_first():
    others_are_open = threading.Event()

    class Slow(AudioStream):
        def __iter__(self):
            assert others_are_open.wait(PATIENCE_S)
            yield from super().__iter__()

    def streams():
        yield Slow(signal(900, 0), sample_rate=RATE, target_rate=RATE)
        yield stream(signal(900, 1))
        yield stream(signal(900, 2))
        others_are_open.set()

    results = values(run(streams(), jobs=2))
    assert_all_equal(results, [by_hand(signal(900, seed)) for seed in range(3)])


def test_the_clip_tells_source_length_and_what_was_dropped(tmp_path):
    paths = [tmp_path / "long.wav", tmp_path / "short.wav"]
    for path, length in zip(paths, (1000, 100), strict=True):
        soundfile.write(path, signal(length), RATE, subtype="FLOAT")
    results = list(run([AudioStream(path, target_rate=RATE) for path in paths]))
    clips = [result.unwrap()[1] for result in results]
    assert [result.source for result in results] == [clip.source for clip in clips]
    assert [clip.source for clip in clips] == list(map(str, paths))
    assert [clip.duration_s for clip in clips] == [1.0, 0.1]
    assert [clip.repeated for clip in clips] == [False, True]
    frames = 1 + 1000 // 16
    assert clips[0].dropped_s == pytest.approx((frames - (3 * 12 + 20)) * 0.016)


def test_the_tail_can_be_covered():
    (dropped,), (padded,) = (values(run([stream(signal(1000))], tail=t)) for t in ("drop", "pad"))
    assert len(padded) == len(dropped) + 1
    np.testing.assert_array_equal(padded[:-1], dropped)


def test_what_is_wrong_with_a_file_is_its_result_alone(tmp_path):
    good = [signal(700, seed) for seed in range(4)]
    late_nan = signal(15_000)
    late_nan[-1] = np.nan
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("no audio")
    results = list(
        run(
            [
                stream(good[0]),
                AudioStream(tmp_path / "missing.wav", target_rate=RATE),
                stream(good[1]),
                AudioStream(tmp_path / "empty.wav", target_rate=RATE),
                AudioStream(tmp_path / "text.wav", target_rate=RATE),
                stream(late_nan),
                stream(np.zeros(0)),
                stream(good[2]),
                Failing(),
                stream(good[3]),
            ]
        )
    )
    wrong = {1: "no such file", 3: "empty", 4: "not audio", 5: "NaN", 6: "no samples", 8: "broke"}
    for position, result in enumerate(results):
        if position not in wrong:
            assert result.error is None
            continue
        assert result.value is None
        assert wrong[position] in str(result.error)
        assert isinstance(result.error, RuntimeError if position == 8 else AudioError)
        with pytest.raises(type(result.error), match=wrong[position]):
            result.unwrap()
    assert results[1].source == str(tmp_path / "missing.wav")
    right = [result for position, result in enumerate(results) if position not in wrong]
    assert_all_equal(values(right), [by_hand(one) for one in good])


def test_only_broken_files_are_only_errors(tmp_path):
    engine = Means()
    missing = [AudioStream(tmp_path / f"{number}.wav", target_rate=RATE) for number in range(20)]
    results = list(run(missing, engine, jobs=4))
    assert [result.source for result in results] == [one.source for one in missing]
    assert all(isinstance(result.error, AudioError) for result in results)
    assert engine.batches == []


def test_short_clips_share_batches():
    engine = Waiting(patches_per_call=16)

    def streams():
        yield from (stream(signal(SHORTEST, seed)) for seed in range(60))
        engine.may_begin.set()

    results = values(run(streams(), engine, jobs=2))
    assert_all_equal(results, [by_hand(signal(SHORTEST, seed)) for seed in range(60)])
    assert sum(engine.batches) == 60
    assert len(engine.batches) <= 8


def test_a_batch_holds_patches_of_the_end_of_one_file_and_the_start_of_the_next():
    engine = Waiting(patches_per_call=5)

    def streams():
        yield from (stream(signal(1000, seed)) for seed in range(4))
        engine.may_begin.set()

    results = values(run(streams(), engine, jobs=1))
    assert [len(one) for one in results] == [4, 4, 4, 4]
    assert_all_equal(results, [by_hand(signal(1000, seed)) for seed in range(4)])
    assert 5 in engine.batches


def test_activations_are_reduced_before_they_are_kept():
    reduced = []

    def reduce(activations):
        reduced.append(activations["output"].shape)
        return {"output": activations["output"][:, :1]}

    task = Task(
        CUTTING, ("output",), lambda activations, silent, clip: activations["output"], reduce
    )
    signals = [signal(1000), signal(3000)]
    results = process(map(stream, signals), task, engine=Means(3))
    assert_all_equal(
        [result.unwrap() for result in results], [by_hand(one)[:, :1] for one in signals]
    )
    assert {shape[1:] for shape in reduced} == {(3,)}
    assert sum(count for count, _ in reduced) == sum(len(by_hand(one)) for one in signals)


def test_every_layer_of_a_task_is_given():
    task = Task(CUTTING, ("first", "second"), lambda activations, silent, clip: activations)
    (result,) = process([stream(signal(1000))], task, engine=Means())
    assert list(result.unwrap()) == ["first", "second"]
    assert_all_equal(list(result.unwrap().values()), [by_hand(signal(1000))] * 2)


@pytest.mark.parametrize("jobs", [0, -1])
def test_less_than_one_job_is_refused_before_anything_is_read(jobs):
    def streams():
        pytest.fail("read")
        yield

    with pytest.raises(ArgumentError, match=f"jobs must be at least 1; received {jobs}"):
        run(streams(), jobs=jobs)


@pytest.mark.parametrize("jobs", [1, 3])
def test_no_files_give_no_results(jobs):
    engine = Means()
    assert list(run(iter(()), engine, jobs=jobs)) == []
    assert engine.batches == []


def test_nothing_is_read_before_the_first_result_is_asked_for():
    taken = []

    def streams():
        for number in itertools.count():
            taken.append(number)
            yield stream(signal(500))

    results = run(streams())
    time.sleep(0.05)
    assert taken == []
    results.close()
    assert taken == []


def test_files_are_not_taken_far_ahead_of_a_consumer_that_stops():
    taken = []

    def streams():
        for number in itertools.count():
            taken.append(number)
            yield stream(signal(500, number))

    results = run(streams(), Means(64), jobs=3)
    for number in range(10):
        np.testing.assert_allclose(
            next(results).unwrap()[0], by_hand(signal(500, number)), atol=1e-7
        )
    rises_to(266, lambda: len(taken))
    next(results)
    rises_to(267, lambda: len(taken))
    results.close()
    assert len(taken) == 267


def test_patches_are_not_read_far_ahead_of_an_engine_that_is_slow():
    engine = Waiting(patches_per_call=2)
    opened = []

    def streams():
        for number in itertools.count():
            opened.append(stream(signal(SHORTEST, number)))
            yield opened[-1]

    results = run(streams(), engine, jobs=3)
    with ThreadPoolExecutor(1) as consumer:
        first = consumer.submit(next, results)
        read = settled(lambda: sum(one.samples for one in opened) // SHORTEST)
        in_the_engine, queued, in_the_hands_of_jobs = 2, 4 * 2, 3
        assert queued <= read <= in_the_engine + queued + in_the_hands_of_jobs
        engine.may_begin.set()
        first.result(PATIENCE_S)
    results.close()


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_file_without_end_is_not_read_far_ahead_either(jobs):
    engine = Waiting(patches_per_call=8)
    endless = Endless()
    results = run([endless], engine, jobs=jobs)
    with ThreadPoolExecutor(1) as consumer:
        end = consumer.submit(list, results)
        patches_of_a_block = BLOCK // HOP
        blocks = settled(lambda: endless.blocks)
        assert (
            1
            <= blocks
            <= 2 + (4 * engine.patches_per_call + engine.patches_per_call) / patches_of_a_block
        )
        engine.breaks = True
        engine.may_begin.set()
        assert isinstance(end.exception(PATIENCE_S), ZeroDivisionError)


@pytest.mark.parametrize("taken", [1, 5])
@pytest.mark.parametrize("jobs", [1, 4])
def test_closing_early_ends_all_threads(taken, jobs):
    before = threading.active_count()
    results = run((stream(signal(500, seed)) for seed in itertools.count()), jobs=jobs)
    for _ in range(taken):
        next(results)
    assert threading.active_count() == before + jobs + 1
    results.close()
    assert threading.active_count() == before


def test_closing_ends_threads_that_are_in_the_middle_of_a_file():
    before = threading.active_count()
    endless = Endless()
    results = run([stream(signal(500)), endless, Endless()], jobs=2)
    next(results)
    results.close()
    assert threading.active_count() == before


def test_results_that_are_forgotten_end_all_threads():
    before = threading.active_count()
    results = run(stream(signal(500, seed)) for seed in itertools.count())
    next(results)
    assert threading.active_count() > before
    del results
    assert threading.active_count() == before


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("good_calls", [0, 2])
def test_what_the_engine_raises_ends_the_run(jobs, good_calls):
    broken = MemoryError("the accelerator is full")

    class Breaking(Means):
        def run(self, windows, layers):
            if len(self.batches) == good_calls:
                raise broken
            return super().run(windows, layers)

    results = run((stream(signal(500, seed)) for seed in itertools.count()), Breaking(), jobs=jobs)
    with pytest.raises(MemoryError) as raised:
        list(results)
    assert raised.value is broken
    assert list(results) == []


@pytest.mark.parametrize("jobs", [1, 3])
def test_what_the_list_of_files_raises_ends_the_run(jobs):
    broken = OSError("the disk with the list is gone")

    def streams():
        for seed in range(5):
            yield stream(signal(500, seed))
        raise broken

    with pytest.raises(OSError, match="list is gone") as raised:
        list(run(streams(), jobs=jobs))
    assert raised.value is broken


def test_what_the_task_raises_is_raised_where_the_result_is_taken():
    def finish(activations, silent, clip):
        raise ZeroDivisionError

    streams = (stream(signal(500, seed)) for seed in itertools.count())
    results = process(streams, Task(CUTTING, ("output",), finish), engine=Means())
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_two_runs_at_once_do_not_mix():
    engine = Means(8)
    runs = [
        run((stream(signal(700, seed)) for seed in range(start, start + 30)), engine, jobs=2)
        for start in (0, 100)
    ]
    for number, (first, second) in enumerate(zip(*runs, strict=True)):
        assert_all_equal(
            values([first, second]), [by_hand(signal(700, s)) for s in (number, 100 + number)]
        )
