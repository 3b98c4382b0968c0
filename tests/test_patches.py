from dataclasses import replace
from typing import NamedTuple

import librosa
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.networks.config import LogMelInput, ModelConfig, block, patch_grid
from musicnn_zoo.networks.patches import PatchGrid, PatchStream, patch_at
from musicnn_zoo.zoo.catalogue import PRESETS

MUSICNN = PRESETS["MTT_musicnn"].config
VGG = PRESETS["MTT_vgg"].config
RATE, FRAME_HOP, N_FFT = 16000, 256, 512
SMALL = ModelConfig(
    input=LogMelInput(sample_rate=1000, n_fft=32, hop=16, f_max=500),
    frontend=block("timbral_temporal"),
    backend=block("temporal_pooling"),
    patch=20,
)

lengths = st.integers(1, 30 * RATE)
small_lengths = st.integers(1, 4000)
patch_seconds = st.floats(0.016, 2)
hop_seconds = st.floats(0.032, 2)


class Cut(NamedTuple):
    windows: np.ndarray
    repeated: bool
    dropped_s: float


def cut(signal, grid, *, tail="drop", block=None):
    """Feed a signal at once, or in blocks of one or of changing lengths."""
    stream = PatchStream(grid, tail=tail)
    edges = [0, len(signal)] if block is None else [0, *range(block, len(signal), block)]
    parts = [stream.feed(part) for part in np.split(signal, edges[1:])]
    windows = np.concatenate([*parts, stream.finish()])
    assert stream.count == len(windows)
    assert stream.samples == len(signal)
    return Cut(windows, stream.repeated, stream.dropped_s)


def librosa_frames(seconds):
    return librosa.time_to_frames(seconds, sr=RATE, hop_length=FRAME_HOP, n_fft=N_FFT)


def small_grid(patch_s, hop_s):
    return patch_grid(SMALL, patch_s=patch_s, hop_s=hop_s)


def ramp(n_samples):
    return np.arange(1, n_samples + 1, dtype=np.float32)


@pytest.mark.parametrize(
    ("seconds", "frames"), [(1, 62), (2.992, 187), (3, 187), (5, 312), (10, 625), (0.016, 1)]
)
def test_a_patch_in_seconds_becomes_frames(seconds, frames):
    assert patch_grid(MUSICNN, patch_s=seconds).patch == frames


@pytest.mark.parametrize(("seconds", "frames"), [(1, 61), (3, 186), (10, 624), (0.032, 1)])
def test_a_hop_in_seconds_becomes_frames(seconds, frames):
    assert patch_grid(MUSICNN, hop_s=seconds).hop == frames


@settings(deadline=None)
@given(st.floats(0.033, 600))
def test_seconds_become_frames_as_in_librosa(seconds):
    in_frames = seconds * RATE / FRAME_HOP
    assume(abs(in_frames - round(in_frames)) > 1e-6)
    grid = patch_grid(MUSICNN, patch_s=seconds, hop_s=seconds)
    assert (grid.patch, grid.hop) == (librosa_frames(seconds) + 1, librosa_frames(seconds))


@given(st.integers(1, 50_000))
def test_rounding_of_seconds_loses_no_frame(frames):
    seconds = (frames * FRAME_HOP + N_FFT // 2) / RATE
    assert patch_grid(MUSICNN, hop_s=seconds).hop == frames
    assert patch_grid(MUSICNN, patch_s=seconds).patch == frames + 1


@given(st.floats(0.016, 600))
def test_the_length_of_a_patch_gives_the_same_patch_again(seconds):
    grid = patch_grid(MUSICNN, patch_s=seconds)
    assert patch_grid(MUSICNN, patch_s=grid.patch_s).patch == grid.patch


def test_patches_follow_each_other_without_overlap_by_default():
    assert patch_grid(MUSICNN).hop == patch_grid(MUSICNN).patch == 187
    assert patch_grid(MUSICNN, patch_s=5).hop == 312


def test_lengths_in_samples_and_seconds():
    grid = patch_grid(MUSICNN, hop_s=1)
    assert (grid.patch_samples, grid.hop_samples) == (48128, 61 * 256)
    assert (grid.patch_s, grid.hop_s) == (2.992, 0.976)


def test_the_geometry_is_that_of_the_models_input():
    grid = patch_grid(SMALL, patch_s=1, hop_s=0.5)
    assert (grid.patch, grid.hop) == (
        librosa.time_to_frames(1, sr=1000, hop_length=16, n_fft=32) + 1,
        librosa.time_to_frames(0.5, sr=1000, hop_length=16, n_fft=32),
    )
    assert (grid.padding, grid.window, grid.sample_rate) == (16, 32, 1000)


@given(lengths)
def test_frames_are_those_of_a_centred_stft(n_samples):
    assert patch_grid(MUSICNN).frames(n_samples) == 1 + n_samples // FRAME_HOP


@pytest.mark.parametrize("n_samples", [1, 255, 256, 257, 511, 512, 47615, 47616, 48000])
def test_frames_are_as_many_as_librosa_makes(n_samples):
    padded = np.pad(np.zeros(n_samples), N_FFT // 2)
    frames = librosa.util.frame(padded, frame_length=N_FFT, hop_length=FRAME_HOP)
    assert patch_grid(MUSICNN).frames(n_samples) == frames.shape[1]


@given(lengths, st.integers(1, 700), st.integers(1, 700))
def test_count_is_that_of_patches_that_fit(n_samples, patch, hop):
    grid = patch_grid(
        MUSICNN,
        patch_s=patch * FRAME_HOP / RATE,
        hop_s=(hop * FRAME_HOP + N_FFT // 2) / RATE,
    )
    starts = range(0, 1 + n_samples // FRAME_HOP - patch + 1, hop)
    assert grid.count(n_samples) == len(starts)


@pytest.mark.parametrize(("n_samples", "count"), [(47615, 0), (47616, 1), (95487, 1), (95488, 2)])
def test_a_patch_begins_to_count_with_its_last_sample(n_samples, count):
    assert patch_grid(MUSICNN).count(n_samples) == count
    assert patch_grid(MUSICNN).shortest == 47616


@given(small_lengths, patch_seconds, hop_seconds, st.sampled_from(["drop", "pad"]))
def test_a_patch_is_a_window_of_the_padded_signal(n_samples, patch_s, hop_s, tail):
    grid = small_grid(patch_s, hop_s)
    assume(grid.count(n_samples) > 0)
    padded = np.pad(ramp(n_samples), 16)
    patches = cut(ramp(n_samples), grid, tail=tail)
    assert len(patches.windows) >= grid.count(n_samples)
    for k in range(grid.count(n_samples)):
        start = k * grid.hop * 16
        expected = padded[start : start + (grid.patch - 1) * 16 + 32]
        np.testing.assert_array_equal(patches.windows[k], expected)


@given(small_lengths, patch_seconds, hop_seconds)
def test_dropping_the_tail_keeps_only_whole_patches(n_samples, patch_s, hop_s):
    grid = small_grid(patch_s, hop_s)
    count = grid.count(n_samples)
    patches = cut(ramp(n_samples), grid)
    assert len(patches.windows) == max(1, count)
    assert patches.repeated == (count == 0)


@given(small_lengths, patch_seconds, hop_seconds)
def test_dropped_seconds_are_the_frames_after_the_last_patch(n_samples, patch_s, hop_s):
    grid = small_grid(patch_s, hop_s)
    assume(grid.count(n_samples) > 0)
    ends = [
        start + grid.patch for start in range(0, 1 + n_samples // 16 - grid.patch + 1, grid.hop)
    ]
    dropped = cut(ramp(n_samples), grid).dropped_s
    assert dropped == pytest.approx((1 + n_samples // 16 - ends[-1]) * 16 / 1000)


@given(small_lengths, patch_seconds, hop_seconds)
def test_padding_the_tail_covers_every_frame(n_samples, patch_s, hop_s):
    grid = small_grid(patch_s, hop_s)
    assume(grid.hop <= grid.patch)
    patches = cut(ramp(n_samples), grid, tail="pad")
    last = (len(patches.windows) - 1) * grid.hop + grid.patch
    assert last >= grid.frames(n_samples)
    assert patches.dropped_s == 0


@given(small_lengths, patch_seconds, hop_seconds)
def test_padding_the_tail_adds_at_most_one_patch_and_leaves_the_others(n_samples, patch_s, hop_s):
    grid = small_grid(patch_s, hop_s)
    dropped = cut(ramp(n_samples), grid).windows
    padded = cut(ramp(n_samples), grid, tail="pad").windows
    assert len(padded) - len(dropped) in (0, 1)
    np.testing.assert_array_equal(padded[: len(dropped)], dropped)


@given(small_lengths, patch_seconds, hop_seconds)
def test_what_no_patch_covers_is_told_with_gaps_between_patches_too(n_samples, patch_s, hop_s):
    grid = small_grid(patch_s, hop_s)
    assume(grid.hop > grid.patch)
    patches = cut(ramp(n_samples), grid, tail="pad")
    last = (len(patches.windows) - 1) * grid.hop + grid.patch
    assert patches.dropped_s == pytest.approx(max(0, grid.frames(n_samples) - last) * 0.016)


def test_the_tail_is_repeated_to_a_patch():
    signal = ramp(60_000)
    patches = cut(signal, patch_grid(MUSICNN), tail="pad")
    rest = signal[187 * FRAME_HOP :]
    expected = np.pad(np.concatenate([signal[: 187 * FRAME_HOP], np.resize(rest, 47616)]), 256)
    assert len(patches.windows) == 2
    np.testing.assert_array_equal(patches.windows[1], expected[-48128:])


@pytest.mark.parametrize("tail", ["drop", "pad"])
@pytest.mark.parametrize("n_samples", [1, 7, 16000, 47615])
def test_a_short_clip_is_repeated_to_one_patch(n_samples, tail):
    patches = cut(ramp(n_samples), patch_grid(MUSICNN), tail=tail)
    assert patches.repeated
    assert patches.dropped_s == 0
    expected = np.pad(np.resize(ramp(n_samples), 47616), 256)
    np.testing.assert_array_equal(patches.windows, [expected])


@pytest.mark.parametrize("tail", ["drop", "pad"])
def test_a_clip_of_one_patch_is_not_repeated(tail):
    patches = cut(ramp(47616), patch_grid(MUSICNN), tail=tail)
    assert not patches.repeated
    np.testing.assert_array_equal(patches.windows, [np.pad(ramp(47616), 256)])


def test_a_repeated_tail_is_not_called_a_repeated_clip():
    assert not cut(ramp(60_000), patch_grid(MUSICNN), tail="pad").repeated


@given(small_lengths, patch_seconds, hop_seconds, st.sampled_from(["drop", "pad"]))
def test_cutting_leaves_the_signal_as_it_was(n_samples, patch_s, hop_s, tail):
    signal = ramp(n_samples)
    cut(signal, small_grid(patch_s, hop_s), tail=tail)
    np.testing.assert_array_equal(signal, ramp(n_samples))


@given(
    small_lengths, patch_seconds, hop_seconds, st.sampled_from(["drop", "pad"]), st.integers(1, 500)
)
def test_blocks_of_any_length_give_the_same_patches(n_samples, patch_s, hop_s, tail, block):
    grid = small_grid(patch_s, hop_s)
    whole, in_blocks = (cut(ramp(n_samples), grid, tail=tail, block=b) for b in (None, block))
    np.testing.assert_array_equal(in_blocks.windows, whole.windows)
    assert in_blocks[1:] == whole[1:]


@given(small_lengths, patch_seconds, hop_seconds)
def test_a_patch_comes_as_soon_as_its_last_sample_is_there(n_samples, patch_s, hop_s):
    grid = small_grid(patch_s, hop_s)
    stream = PatchStream(grid)
    stream.feed(ramp(n_samples))
    seen = n_samples + grid.padding - grid.patch_samples
    assert stream.count == (seen // grid.hop_samples + 1 if seen >= 0 else 0)


def test_no_signal_gives_no_patch():
    assert PatchStream(patch_grid(MUSICNN), tail="pad").finish().shape == (0, 48128)


def test_what_is_held_does_not_grow():
    stream = PatchStream(patch_grid(MUSICNN, hop_s=0.1))
    for _ in range(100):
        stream.feed(ramp(RATE))
        assert stream._held.base is None
        assert len(stream._held) < 48128


@given(st.integers(0, 1000), hop_seconds)
def test_times_are_the_starts_of_the_patches(count, hop_s):
    grid = patch_grid(MUSICNN, hop_s=hop_s)
    expected = [k * grid.hop * FRAME_HOP / RATE for k in range(count)]
    np.testing.assert_allclose(grid.times(count), expected, rtol=1e-12)


@settings(max_examples=20)
@given(st.sampled_from(["patch_s", "hop_s"]), st.floats(max_value=0))
def test_seconds_that_are_not_positive_are_refused(name, seconds):
    with pytest.raises(ArgumentError, match=f"{name} must be a positive number"):
        patch_grid(MUSICNN, **{name: seconds})


@pytest.mark.parametrize("name", ["patch_s", "hop_s"])
@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -float("inf")])
def test_seconds_that_are_not_finite_are_refused(name, seconds):
    with pytest.raises(ArgumentError, match=f"{name} must be a positive number.*{seconds}"):
        patch_grid(MUSICNN, **{name: seconds})


@pytest.mark.parametrize(("name", "least"), [("patch_s", 0.016), ("hop_s", 0.032)])
def test_less_than_a_frame_is_refused_and_the_least_named(name, least):
    with pytest.raises(ArgumentError, match=f"{name} must be at least {least}"):
        patch_grid(MUSICNN, **{name: least - 1e-6})
    patch_grid(MUSICNN, **{name: least})


@pytest.mark.parametrize("tail", ["keep", "", None, "DROP"])
def test_an_unknown_tail_is_refused(tail):
    with pytest.raises(ArgumentError, match="tail must be one of drop, pad"):
        cut(ramp(10), patch_grid(MUSICNN), tail=tail)


@pytest.mark.parametrize("seconds", [1, 2.9, 3.1, 5])
def test_vgg_takes_no_other_patch(seconds):
    with pytest.raises(ArgumentError, match=r"takes patches of .*187 frames.* only"):
        patch_grid(VGG, patch_s=seconds)


@pytest.mark.parametrize("seconds", [2.992, 3])
def test_vgg_takes_its_own_patch_by_any_name(seconds):
    assert patch_grid(VGG, patch_s=seconds, hop_s=1) == patch_grid(VGG, hop_s=1)


# --- one patch, anywhere

waveforms = st.builds(PatchGrid, st.integers(1, 60), *map(st.just, (1, 1, 1, 0, 1000)))


@st.composite
def framed(draw):
    """Grid of any geometry; what stands in models is padded by half a window."""
    window = draw(st.integers(1, 40))
    padding = draw(st.sampled_from([0, window // 2]) | st.integers(0, window))
    return PatchGrid(draw(st.integers(1, 15)), 1, draw(st.integers(1, 50)), window, padding, 1000)


class OnDisk:
    """A signal that notes which of its samples are read."""

    def __init__(self, signal):
        self.signal, self.read = signal, 0

    def __len__(self):
        return len(self.signal)

    def __getitem__(self, where):
        part = self.signal[where]
        self.read += len(part)
        return part


@settings(max_examples=300)
@given(framed() | waveforms, st.integers(1, 400))
def test_a_patch_at_any_frame_is_that_of_the_stream(grid, n_samples):
    expected = cut(ramp(n_samples), grid).windows
    assert grid.positions(n_samples) == len(expected)
    for frame, window in enumerate(expected):
        patch = patch_at(ramp(n_samples), grid, frame)
        assert patch.dtype == np.float32
        np.testing.assert_array_equal(patch, window)


@given(framed() | waveforms, st.integers(1, 60), st.integers(1, 400))
def test_every_patch_of_a_grid_is_at_one_of_its_positions(grid, hop, n_samples):
    windows = cut(ramp(n_samples), replace(grid, hop=hop)).windows
    assert (len(windows) - 1) * hop < grid.positions(n_samples)
    for number, window in enumerate(windows):
        np.testing.assert_array_equal(patch_at(ramp(n_samples), grid, number * hop), window)


@given(framed() | waveforms, st.integers(1, 2000), st.data())
def test_only_the_samples_of_a_patch_are_read(grid, n_samples, data):
    assume(grid.count(n_samples) > 0)
    frame = data.draw(st.integers(0, grid.positions(n_samples) - 1))
    signal = OnDisk(ramp(n_samples))
    patch = patch_at(signal, grid, frame)
    assert signal.read == np.count_nonzero(patch) <= grid.patch_samples


@pytest.mark.parametrize("n_samples", [100, 60_000])
def test_a_patch_of_a_mapped_file_is_an_array_of_its_own(tmp_path, n_samples):
    np.save(tmp_path / "signal.npy", ramp(n_samples))
    mapped = np.load(tmp_path / "signal.npy", mmap_mode="r")
    grid = patch_grid(MUSICNN)
    patch = patch_at(mapped, grid, 0)
    np.testing.assert_array_equal(patch, patch_at(ramp(n_samples), grid, 0))
    assert type(patch) is np.ndarray
    patch[:] = 0
    assert mapped[0] == 1


@given(
    n_samples=small_lengths,
    longest=small_lengths,
    block=st.integers(1, 500),
    tail=st.sampled_from(["drop", "pad"]),
)
def test_what_is_longer_is_cut_as_if_it_ended_there(n_samples, longest, block, tail):
    signal = ramp(n_samples)
    grid = small_grid(0.3, 0.1)
    stream = PatchStream(grid, tail=tail, longest=longest)
    parts = [stream.feed(signal[at : at + block]) for at in range(0, n_samples, block)]
    expected = cut(signal[:longest], grid, tail=tail)
    np.testing.assert_array_equal(np.concatenate([*parts, stream.finish()]), expected.windows)
    assert (stream.repeated, stream.dropped_s) == (expected.repeated, expected.dropped_s)
