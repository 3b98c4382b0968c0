from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from helpers_clips import RATE, ramp, write_clips
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from musicnn_zoo import ArgumentError, AudioError
from musicnn_zoo.networks.patches import PatchGrid, PatchStream
from musicnn_zoo.training import Clips, evaluation_batches, open_clips, training_batches
from musicnn_zoo.training.batches import batch_size_for_all

# Frames of ten samples that look at twenty; a patch is four of them, fifty samples.
GRID = PatchGrid(patch=4, hop=3, frame_hop=10, window=20, padding=10, sample_rate=RATE)
WAVEFORM = PatchGrid(patch=50, hop=20, frame_hop=1, window=1, padding=0, sample_rate=RATE)
GRIDS = pytest.mark.parametrize("grid", [GRID, WAVEFORM], ids=["frames", "samples"])
LENGTHS = [150, 30, 12, 70, 299, 31, 64]
"""The third is shorter than a patch in frames, more of them in samples."""


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Clips:
    return open_clips(write_clips(tmp_path_factory.mktemp("audio"), LENGTHS), sample_rate=RATE)


def rows(batches) -> tuple[np.ndarray, ...]:
    """All batches, one after the other."""
    parts = list(batches.as_numpy_iterator())
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def patches_of(clip: int, grid: PatchGrid) -> np.ndarray:
    """What a tagger cuts of a clip."""
    stream = PatchStream(grid)
    first = stream.feed(ramp(clip, LENGTHS[clip]))
    return np.concatenate([first, stream.finish()])


def places(patches: np.ndarray, grid: PatchGrid) -> list[tuple[int, int]]:
    """Clip and frame of each patch, by its samples alone."""
    every = replace(grid, hop=1)
    known = {
        patch.tobytes(): (clip, frame)
        for clip in range(len(LENGTHS))
        for frame, patch in enumerate(patches_of(clip, every))
    }
    return [known[patch.tobytes()] for patch in patches]


def assert_equal(one: tuple, other: tuple) -> None:
    for values, expected in zip(one, other, strict=True):
        np.testing.assert_array_equal(values, expected)


# --- to train on


@GRIDS
def test_each_pass_has_one_patch_of_every_clip_with_its_labels(clips, grid) -> None:
    patches, labels = rows(training_batches(clips, grid, batch_size=7, steps=6))
    assert (patches.dtype, labels.dtype) == (np.float32, np.float32)
    found = np.array(places(patches, grid)).reshape(6, 7, 2)
    for one_pass in found:
        assert sorted(one_pass[:, 0]) == list(range(7))
    assert len({tuple(one_pass[:, 0]) for one_pass in found}) == 6
    assert len({tuple(one_pass[:, 1]) for one_pass in found}) == 6
    np.testing.assert_array_equal(labels, clips.dataset.labels[found[..., 0].ravel()])


@GRIDS
def test_frames_are_uniform_from_the_first_to_the_last(clips, grid) -> None:
    passes = 400
    patches, _ = rows(training_batches(clips, grid, batch_size=7, steps=passes))
    for clip, samples in enumerate(LENGTHS):
        frames = [frame for of, frame in places(patches, grid) if of == clip]
        positions = grid.positions(samples)
        counts = np.bincount(frames, minlength=positions)
        assert (len(frames), len(counts)) == (passes, positions)
        expected = passes / positions
        assert counts[0] * counts[-1] > 0 or expected < 10
        chi_square = ((counts - expected) ** 2 / expected).sum()
        freedom = positions - 1
        assert chi_square <= freedom + 5 * np.sqrt(2 * freedom)


def test_order_and_frames_do_not_go_together(clips) -> None:
    """The frame of a clip says nothing of its place in the pass."""
    patches, _ = rows(training_batches(clips, WAVEFORM, batch_size=7, steps=400))
    found = np.array(places(patches, WAVEFORM)).reshape(400, 7, 2)
    place = np.argmax(found[..., 0] == 4, axis=1)
    frame = found[np.arange(400), place, 1]
    assert abs(np.corrcoef(place, frame)[0, 1]) < 0.15
    assert np.bincount(place, minlength=7).min() > 30


@settings(max_examples=8, phases=(Phase.reuse, Phase.generate))  # to shrink takes minutes
@given(st.integers(0, 9), st.integers(1, 9), st.integers(0, 2**32), st.sampled_from([1, 3, None]))
def test_from_a_later_step_on_they_are_those_that_would_have_come(
    clips, first_step, batch_size, seed, jobs
) -> None:
    options = {"batch_size": batch_size, "seed": seed, "jobs": jobs}
    whole = rows(training_batches(clips, GRID, steps=10, **options))
    tail = rows(training_batches(clips, GRID, first_step=first_step, steps=10 - first_step,
                                 **options))  # fmt: skip
    endless = training_batches(clips, GRID, first_step=first_step, **options)
    assert len(whole[0]) == 10 * batch_size
    assert_equal(tail, [values[first_step * batch_size :] for values in whole])
    assert_equal(rows(endless.take(10 - first_step)), tail)


def test_the_sequence_does_not_depend_on_the_size_of_a_batch(clips) -> None:
    one, other = (rows(training_batches(clips, GRID, batch_size=size, steps=36 // size))
                  for size in (4, 9))  # fmt: skip
    assert_equal(one, other)


def test_a_step_far_away_is_there_at_once(clips) -> None:
    far = training_batches(clips, GRID, batch_size=7, first_step=10**14, steps=1)
    assert sorted(clip for clip, _ in places(rows(far)[0], GRID)) == list(range(7))


def test_another_seed_gives_other_batches(clips) -> None:
    def batches(seed):
        return rows(training_batches(clips, GRID, batch_size=7, steps=2, seed=seed))

    assert_equal(batches(3), batches(3))
    assert not np.array_equal(batches(3)[0], batches(4)[0])
    assert not np.array_equal(batches(3)[0][:7], batches(4)[0][:7])
    assert not np.array_equal(batches(3)[0][7:], batches(4)[0][:7])


def test_iterating_twice_gives_the_same(clips) -> None:
    batches = training_batches(clips, GRID, steps=3)
    assert_equal(rows(batches), rows(batches))


def test_shapes_and_sizes_are_known(clips) -> None:
    endless = training_batches(clips, GRID, batch_size=4)
    assert endless.cardinality() == tf.data.INFINITE_CARDINALITY
    assert training_batches(clips, GRID, batch_size=4, steps=5).cardinality() == 5
    assert [tuple(spec.shape) for spec in endless.element_spec] == [(4, 50), (4, 3)]
    weighed = training_batches(clips, GRID, batch_size=4, class_weights=np.ones(3))
    assert [tuple(spec.shape) for spec in weighed.element_spec] == [(4, 50), (4, 3), (4,)]
    whole = evaluation_batches(clips, GRID, batch_size=4)
    assert [tuple(spec.shape) for spec in whole.element_spec] == [(None, 50), (None, 3)]


def test_no_step_is_none(clips) -> None:
    assert list(training_batches(clips, GRID, steps=0)) == []


@pytest.mark.parametrize("make", [training_batches, evaluation_batches])
def test_several_devices_share_each_batch(clips, make) -> None:
    options = make(clips, GRID).options()
    policy = options.experimental_distribute.auto_shard_policy
    assert policy == tf.data.experimental.AutoShardPolicy.OFF


def test_keras_trains_on_them(clips) -> None:
    import keras

    model = keras.Sequential([keras.Input((50,)), keras.layers.Dense(3, activation="softmax")])
    model.compile("adam", "categorical_crossentropy")
    batches = training_batches(clips, GRID, batch_size=4, class_weights=np.ones(3))
    model.fit(batches, steps_per_epoch=2, epochs=2, verbose=0,
              validation_data=evaluation_batches(clips, GRID))  # fmt: skip


# --- to evaluate on


@GRIDS
@pytest.mark.parametrize("batch_size", [1, 4, 1000])
def test_all_patches_that_a_tagger_cuts_are_there_in_order(clips, grid, batch_size) -> None:
    expected = [patches_of(clip, grid) for clip in range(7)]
    counts = [len(patches) for patches in expected]
    assert counts == [max(1, grid.count(samples)) for samples in LENGTHS]
    assert (1 in counts, max(counts) > 5) == (True, True)
    batches = evaluation_batches(clips, grid, batch_size=batch_size)
    sizes = [len(x) for x, _ in batches]
    assert batches.cardinality() == len(sizes) == -(-sum(counts) // batch_size)
    assert set(sizes[:-1]) <= {batch_size}
    assert_equal(
        rows(batches), (np.concatenate(expected), np.repeat(clips.dataset.labels, counts, axis=0))
    )


def test_patches_of_one_clip_stay_together_with_many_threads(clips) -> None:
    assert_equal(
        rows(evaluation_batches(clips, GRID, jobs=4)), rows(evaluation_batches(clips, GRID, jobs=1))
    )


# --- both


@pytest.mark.parametrize("make", [training_batches, evaluation_batches])
def test_a_sample_weighs_as_much_as_its_class(clips, make) -> None:
    weights = np.array([0.5, 1.0, 7.0])
    options = {"steps": 5} if make is training_batches else {}
    plain = rows(make(clips, GRID, **options))
    patches, labels, found = rows(make(clips, GRID, class_weights=weights, **options))
    assert_equal((patches, labels), plain)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, weights[labels.argmax(axis=1)])
    assert set(found) == {0.5, 1.0, 7.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1; received 0"),
        ({"batch_size": -3}, "received -3"),
        ({"jobs": 0}, "jobs must be at least 1; received 0"),
        ({"jobs": -1}, "jobs must be at least 1; received -1"),
        ({"class_weights": np.ones(2)}, r"shape \(3,\), one for each tag; received \(2,\)"),
        ({"class_weights": np.ones((3, 2))}, r"received \(3, 2\)"),
        ({"seed": -1}, "seed must be at least 0; received -1"),
        ({"first_step": -1}, "first_step must be at least 0; received -1"),
        ({"steps": -1}, "steps must be at least 0; received -1"),
    ],
)
def test_arguments_out_of_range_are_refused(clips, options, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        training_batches(clips, GRID, **options)
    if not options.keys() & {"seed", "first_step", "steps"}:
        with pytest.raises(ArgumentError, match=message):
            evaluation_batches(clips, GRID, **options)


@pytest.mark.parametrize("make", [training_batches, evaluation_batches])
def test_a_file_that_cannot_be_read_any_more_ends_it(tmp_path, make) -> None:
    clips = open_clips(write_clips(tmp_path, [60, 60, 60]), sample_rate=RATE, memory_bytes=0)
    batches = make(clips, GRID, batch_size=1)
    rows(batches.take(3))
    Path(clips.dataset.paths[1]).write_text("no audio")
    with pytest.raises(tf.errors.OpError, match=r"1\.wav: not audio"):
        rows(batches.take(3))
    assert clips.failures
    assert all(isinstance(failure, AudioError) for failure in clips.failures)
    assert "1.wav: not audio" in str(clips.failures[0])


@given(st.integers(1, 200), st.integers(1, 64), st.integers(2, 4))
def test_no_device_is_left_without_a_patch(count: int, batch_size: int, devices: int) -> None:
    def parts(size: int) -> list[list[int]]:
        batches = [min(size, count - start) for start in range(0, count, size)]
        part = -(-size // devices)
        return [
            [min(part, max(0, patches - part * number)) for number in range(devices)]
            for patches in batches
        ]

    def fits(size: int) -> bool:
        return len(set(parts(size)[0])) == 1 and all(map(all, parts(size)))

    sizes = [size for size in range(devices, batch_size + 1, devices) if fits(size)]
    sizes = [size for size in sizes if size <= count]
    if sizes:
        assert batch_size_for_all(count, batch_size, devices) == max(sizes)
    else:
        with pytest.raises(ArgumentError, match="cannot be shared"):
            batch_size_for_all(count, batch_size, devices)
    assert batch_size_for_all(count, batch_size, 1) == batch_size
