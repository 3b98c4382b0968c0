"""Blocks in, rows out: the same rows as from the whole signal, as early as there can be."""

import numpy as np
import pytest
import soundfile
from conftest import ROOT
from helpers_audio import HARPSICHORD, TECHNO, chirps
from hypothesis import given, settings
from hypothesis import strategies as st

from musicnn_zoo import ArgumentError, AudioError, Tagger
from musicnn_zoo.networks.architectures import ARCHITECTURES
from musicnn_zoo.networks.config import ModelSpec
from musicnn_zoo.networks.patches import patch_grid
from musicnn_zoo.tagging.live import TaggramStream

RATE = 16000
FIRST_PATCH, HOP = 48128 - 256, 61 * 256
"""Samples until the first patch is whole, which begins with 256 zeros, and between two."""


@pytest.fixture(scope="module")
def tagger():
    return Tagger("MTT_musicnn", engine="onnxruntime")


@pytest.fixture(scope="module")
def seven_seconds():
    return chirps(7, RATE, channels=1)[0]


def blocks_of(signal, *lengths):
    """Blocks of these lengths in turn, and again, until the signal ends."""
    start = turn = 0
    while start < signal.shape[-1]:
        length = lengths[turn % len(lengths)]
        yield signal[..., start : start + length]
        start, turn = start + length, turn + 1


def through(stream, blocks):
    return [*(stream.feed(block) for block in blocks), stream.finish()]


def scores_of(taggrams):
    return np.concatenate([taggram.scores for taggram in taggrams])


def times_of(taggrams):
    return np.concatenate([taggram.times for taggram in taggrams])


@settings(max_examples=15)
@given(
    st.sampled_from([8000, 16000, 22050, 44100, 48000]),
    st.lists(st.integers(100, 60_000), min_size=1, max_size=4),
    st.sampled_from([1.0, None]),
    st.sampled_from(["drop", "pad"]),
)
def test_all_rows_are_those_of_the_whole_signal(tagger, rate, lengths, hop_s, tail):
    signal = chirps(7, rate, channels=1)[0]
    stream = tagger.stream(sample_rate=rate, hop_s=hop_s, tail=tail)
    rows = through(stream, blocks_of(signal, *lengths))
    whole = tagger.taggram(signal, sample_rate=rate, hop_s=hop_s, tail=tail)
    assert len(whole) > 1
    np.testing.assert_allclose(scores_of(rows), whole.scores, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(times_of(rows), whole.times)
    assert rows[-1].clip == whole.clip
    assert {(row.tags, row.patch_s, row.hop_s, row.model) for row in rows} == {
        (whole.tags, whole.patch_s, whole.hop_s, whole.model)
    }


@pytest.mark.parametrize("clip", [HARPSICHORD, TECHNO], ids=lambda clip: clip.stem)
def test_a_clip_in_stereo_blocks_gives_the_golden_taggram(tagger, clip):
    golden = np.load(ROOT / "tests" / "golden" / "MTT_musicnn.npz")[f"{clip.stem}.taggram"]
    signal, rate = soundfile.read(clip, dtype="float32")
    assert signal.shape[1] == 2
    rows = through(tagger.stream(sample_rate=rate), blocks_of(signal.T, 1024, 30_000))
    np.testing.assert_allclose(scores_of(rows), golden, rtol=0, atol=1e-4)


def test_a_row_comes_with_the_last_sample_of_its_patch(tagger, seven_seconds):
    stream = tagger.stream(sample_rate=RATE, hop_s=1)
    edges = [FIRST_PATCH, FIRST_PATCH + HOP, FIRST_PATCH + 2 * HOP]
    whole = tagger.taggram(seven_seconds, sample_rate=RATE, hop_s=1).scores
    for number, (start, end) in enumerate(zip([0, *edges], edges, strict=False)):
        assert len(stream.feed(seven_seconds[start : end - 1])) == 0
        (row,) = stream.feed(seven_seconds[end - 1 : end]).scores
        np.testing.assert_allclose(row, whole[number], rtol=0, atol=1e-6)


def test_times_and_length_count_from_the_start_of_the_stream(tagger, seven_seconds):
    stream = tagger.stream(sample_rate=RATE, hop_s=1)
    first = stream.feed(seven_seconds[: FIRST_PATCH + HOP])
    np.testing.assert_allclose(first.times, [0, 0.976])
    assert first.clip.duration_s == (FIRST_PATCH + HOP) / RATE
    second = stream.feed(seven_seconds[FIRST_PATCH + HOP : FIRST_PATCH + 3 * HOP])
    np.testing.assert_allclose(second.times, [1.952, 2.928])
    assert second.clip.duration_s == (FIRST_PATCH + 3 * HOP) / RATE
    assert (second.clip.source, second.clip.repeated) == (None, False)


def test_resampling_delays_a_row_by_less_than_a_tenth_of_a_second(tagger):
    stream = tagger.stream(sample_rate=48000)
    signal = chirps(3.1, 48000, channels=1)[0]
    assert len(stream.feed(signal[: 3 * FIRST_PATCH - 1])) == 0
    assert len(stream.feed(signal[3 * FIRST_PATCH - 1 :])) == 1


def test_stereo_is_averaged(tagger, seven_seconds):
    left, right = seven_seconds, np.roll(seven_seconds, 7000)
    stereo = through(
        tagger.stream(sample_rate=RATE), blocks_of(np.stack([left, right]), 9000, 20_000)
    )
    mono = tagger.taggram((left + right) / 2, sample_rate=RATE)
    np.testing.assert_allclose(scores_of(stereo), mono.scores, rtol=0, atol=1e-6)


def test_integers_are_fractions_of_their_full_scale(tagger, seven_seconds):
    integers = np.round(seven_seconds * 32768).astype(np.int16)
    rows = through(tagger.stream(sample_rate=RATE), blocks_of(integers, 4800))
    whole = tagger.taggram(integers.astype(np.float64) / 32768, sample_rate=RATE)
    np.testing.assert_allclose(scores_of(rows), whole.scores, rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2])
def test_blocks_may_be_single_samples(tagger, channels):
    signal = chirps(0.9, RATE, channels=channels)
    options = {"sample_rate": RATE, "patch_s": 0.4, "hop_s": 0.2}
    rows = through(tagger.stream(**options), blocks_of(signal, 1))
    whole = tagger.taggram(signal, **options)
    assert len(whole) == 3
    np.testing.assert_allclose(scores_of(rows), whole.scores, rtol=0, atol=1e-6)
    assert max(map(len, rows)) == 1


def test_blocks_may_be_empty_and_longer_than_several_patches(tagger, seven_seconds):
    stream = tagger.stream(sample_rate=RATE, hop_s=1)
    assert len(stream.feed(np.zeros(0, np.float32))) == 0
    rows = stream.feed(seven_seconds)
    whole = tagger.taggram(seven_seconds, sample_rate=RATE, hop_s=1)
    assert len(rows) >= 4
    np.testing.assert_allclose(rows.scores, whole.scores[: len(rows)], rtol=0, atol=1e-6)


def test_a_signal_shorter_than_a_patch_is_repeated_at_the_end(tagger):
    second = chirps(1, RATE, channels=1)[0]
    stream = tagger.stream(sample_rate=RATE)
    assert len(stream.feed(second)) == 0
    end = stream.finish()
    assert end.clip.repeated
    assert end.clip.duration_s == 1
    repeated = tagger.taggram(np.resize(second, 47616), sample_rate=RATE)
    np.testing.assert_allclose(end.scores, repeated.scores, rtol=0, atol=1e-6)


def test_the_end_that_fills_no_patch_is_dropped_and_told_or_covered(tagger, seven_seconds):
    dropped, padded = (tagger.stream(sample_rate=RATE, tail=tail) for tail in ("drop", "pad"))
    for stream in (dropped, padded):
        assert len(stream.feed(seven_seconds)) == 2
    frames = 1 + len(seven_seconds) // 256
    without, covering = dropped.finish(), padded.finish()
    assert (len(without), len(covering)) == (0, 1)
    assert without.clip.dropped_s == pytest.approx((frames - 2 * 187) * 0.016)
    assert covering.clip.dropped_s == 0
    np.testing.assert_allclose(covering.times, [2 * 2.992])


def test_no_signal_gives_no_row(tagger):
    for blocks in ([], [np.zeros(0)], [np.zeros((2, 0))]):
        end = through(tagger.stream(sample_rate=44100, tail="pad"), blocks)[-1]
        assert end.scores.shape == (0, 50)
        assert end.times.shape == (0,)
        assert end.clip.duration_s == 0
        assert not end.clip.repeated


def test_a_finished_stream_takes_nothing_more(tagger, seven_seconds):
    stream = tagger.stream(sample_rate=RATE)
    stream.feed(seven_seconds)
    stream.finish()
    for use in (stream.finish, lambda: stream.feed(seven_seconds)):
        with pytest.raises(ArgumentError, match="finished; make another one"):
            use()


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (np.full(3, np.nan), "NaN or infinite"),
        (np.array([0, np.inf]), "NaN or infinite"),
        (np.array([[0.0, 0.0], [np.nan, 0.0]]), "NaN or infinite"),
        (np.full(3, 1e300), "NaN or infinite"),
        (np.zeros((1, 2, 3)), "received shape"),
        (np.float32(0), "received shape"),
        (np.zeros(3, np.uint8), "received uint8"),
        (np.zeros(3, np.complex64), "received complex64"),
    ],
)
@pytest.mark.parametrize("rate", [RATE, 44100])
def test_a_block_that_is_refused_leaves_the_stream_as_it_was(tagger, rate, block, message):
    signal = chirps(4, rate, channels=1)[0]
    stream = tagger.stream(sample_rate=rate)
    before = stream.feed(signal[:50_000])
    with pytest.raises(AudioError, match=message):
        stream.feed(block)
    rows = [before, stream.feed(signal[50_000:]), stream.finish()]
    whole = tagger.taggram(signal, sample_rate=rate)
    np.testing.assert_allclose(scores_of(rows), whole.scores, rtol=0, atol=1e-6)
    assert rows[-1].clip == whole.clip


@pytest.mark.parametrize("rate", [0, -16000, 44100.5, float("nan")])
def test_a_rate_that_is_none_is_refused(tagger, rate):
    with pytest.raises(ArgumentError, match="sample_rate must be a positive whole number"):
        tagger.stream(sample_rate=rate)


@pytest.mark.parametrize("options", [{"hop_s": 0}, {"patch_s": -1}, {"tail": "keep"}])
def test_wrong_options_are_refused_when_the_stream_is_made(tagger, options):
    with pytest.raises(ArgumentError, match=next(iter(options))):
        tagger.stream(sample_rate=RATE, **options)


class Loud:
    """An engine that gives every tag the highest score."""

    def run(self, windows, layers):
        return {"output": np.ones((len(windows), 1), np.float32)}


@pytest.mark.parametrize("name", ["musicnn", "short_chunk", "samplecnn"])
def test_rows_and_events_know_what_the_model_looks_at(name):
    config = ARCHITECTURES[name].config
    grid, rate = patch_grid(config), config.input.sample_rate
    spec = ModelSpec("own", config, ("loud",))
    stream = TaggramStream(spec, Loud(), grid, sample_rate=rate, tail="drop")
    expected = config.input if config.input.kind == "logmel" else None
    signal = np.zeros(2 * grid.patch_samples, np.float32)
    for rows in (stream.feed(signal), stream.finish()):
        assert rows.spectrogram == rows.events().spectrogram == expected
    assert (expected is None) == (name == "samplecnn")


def test_streams_of_one_tagger_do_not_mix(tagger, seven_seconds):
    signals = [seven_seconds, seven_seconds[::-1] * 0.3]
    streams = [tagger.stream(sample_rate=RATE) for _ in signals]
    rows = [[], []]
    for blocks in zip(*(blocks_of(signal, 5000) for signal in signals), strict=True):
        for stream, block, mine in zip(streams, blocks, rows, strict=True):
            mine.append(stream.feed(block))
    for stream, mine, signal in zip(streams, rows, signals, strict=True):
        whole = tagger.taggram(signal, sample_rate=RATE)
        np.testing.assert_allclose(
            scores_of([*mine, stream.finish()]), whole.scores, rtol=0, atol=1e-6
        )


def test_a_block_of_frames_by_channels_is_refused():
    stream = Tagger().stream(sample_rate=48000)
    with pytest.raises(AudioError, match=r"shape \(480, 2\), which looks transposed"):
        stream.feed(np.zeros((480, 2), np.float32))
    stream.feed(np.zeros((2, 1), np.float32))
