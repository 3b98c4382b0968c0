import io
import os
import re
import sys

import av
import librosa
import numpy as np
import pytest
import soundfile
from helpers_audio import EXAMPLES, chirps, cut_in_half, encode
from hypothesis import given, settings
from hypothesis import strategies as st

from musicnn_zoo.errors import ArgumentError, AudioError
from musicnn_zoo.sound.find import AUDIO_SUFFIXES, find_audio
from musicnn_zoo.sound.read import AudioStream, Resampler, load_audio

pytestmark = pytest.mark.platform

RATES = [8000, 16000, 22050, 44100, 48000, 96000]
SUBTYPES = [
    ("wav", "PCM_U8"),
    ("wav", "PCM_16"),
    ("wav", "PCM_24"),
    ("wav", "PCM_32"),
    ("wav", "FLOAT"),
    ("wav", "DOUBLE"),
    ("aiff", "PCM_16"),
    ("flac", "PCM_16"),
    ("flac", "PCM_24"),
    ("ogg", "VORBIS"),
    ("mp3", "MPEG_LAYER_III"),
]
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux allows any byte in names")


def assert_as_librosa_loads(path):
    expected, rate = librosa.load(path, sr=16000)
    audio = load_audio(path)
    assert (audio.sample_rate, rate) == (16000, 16000)
    assert audio.samples.dtype == np.float32
    assert audio.samples.shape == expected.shape
    np.testing.assert_allclose(audio.samples, expected, rtol=0, atol=1e-6)


def assert_refused(path, pattern):
    with pytest.raises(AudioError, match=pattern) as caught:
        load_audio(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def reference_of(signal, rate):
    return librosa.resample(signal.mean(axis=0), orig_sr=rate, target_sr=16000, res_type="soxr_hq")


def likeness(first, second, most_shift=800):
    """Correlation where the two fit best: FFmpeg's encoders delay by up to 2048 samples."""
    middle = len(second) - 1
    products = np.correlate(first, second, "full")[middle - most_shift : middle + most_shift + 1]
    return products.max() / np.linalg.norm(first) / np.linalg.norm(second)


class Stream(io.BytesIO):
    def seekable(self):
        return False

    def seek(self, *args):
        raise io.UnsupportedOperation("seek")

    tell = seek


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("suffix", "subtype"), SUBTYPES)
def test_a_file_is_loaded_as_by_librosa(tmp_path, suffix, subtype, channels):
    path = tmp_path / f"sound.{suffix}"
    soundfile.write(path, chirps(channels=channels).T, 44100, subtype=subtype)
    assert_as_librosa_loads(path)


@pytest.mark.parametrize(
    ("suffix", "rate"),
    [
        *((suffix, rate) for suffix in ("wav", "flac", "ogg") for rate in RATES),
        *(("mp3", rate) for rate in RATES if rate <= 48000),
    ],
)
def test_a_sample_rate_is_converted_as_by_librosa(tmp_path, suffix, rate):
    path = tmp_path / f"sound.{suffix}"
    soundfile.write(path, chirps(rate=rate).T, rate)
    assert_as_librosa_loads(path)


def test_opus_is_loaded_as_by_librosa(tmp_path):
    path = tmp_path / "sound.opus"
    soundfile.write(path, chirps(rate=48000).T, 48000, format="OGG", subtype="OPUS")
    assert_as_librosa_loads(path)


def test_six_channels_are_averaged(tmp_path):
    path = tmp_path / "surround.wav"
    soundfile.write(path, chirps(channels=6).T, 44100, subtype="FLOAT")
    assert_as_librosa_loads(path)


@pytest.mark.parametrize("name", ["techno_loop", "bach_chorale_strings"])
def test_a_shipped_clip_is_loaded_as_by_librosa(name):
    assert_as_librosa_loads(EXAMPLES / f"{name}.ogg")


def test_another_target_rate(tmp_path):
    path = tmp_path / "sound.wav"
    soundfile.write(path, chirps().T, 44100)
    expected, _ = librosa.load(path, sr=22050)
    audio = load_audio(path, target_rate=22050)
    assert audio.sample_rate == 22050
    np.testing.assert_allclose(audio.samples, expected, rtol=0, atol=1e-6)


def test_the_source_and_the_duration_are_those_of_the_file(tmp_path):
    path = tmp_path / "sound.wav"
    soundfile.write(path, chirps(1.5).T, 44100)
    audio = load_audio(path)
    assert audio.source == str(path)
    assert audio.duration_s == 1.5
    assert load_audio(str(path)).source == str(path)


@pytest.mark.parametrize("channels", [1, 2])
def test_alac_is_exact_but_for_quantisation(tmp_path, channels):
    signal = chirps(channels=channels)
    path = encode(tmp_path / "sound.m4a", signal, 44100, "alac")
    samples = load_audio(path).samples
    np.testing.assert_allclose(samples, reference_of(signal, 44100), rtol=0, atol=2**-15)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "video"),
    [
        ("sound.m4a", "aac", 44100, False),
        ("sound.m4a", "aac", 16000, False),
        ("sound.mka", "aac", 48000, False),
        ("sound.wma", "wmav2", 44100, False),
        ("sound.webm", "libopus", 48000, False),
        ("film.mp4", "aac", 44100, True),
        ("film.mkv", "libopus", 48000, True),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_what_ffmpeg_decodes_is_the_signal_that_was_encoded(
    tmp_path, name, codec, rate, video, channels
):
    signal = chirps(rate=rate, channels=channels)
    path = encode(tmp_path / name, signal, rate, codec, video=video)
    samples, expected = load_audio(path).samples, reference_of(signal, rate)
    assert abs(len(samples) - len(expected)) < 0.05 * 16000
    assert likeness(samples, expected) > 0.98


def test_a_bare_aac_stream_is_decoded(tmp_path):
    path = encode(tmp_path / "sound.aac", chirps(), 44100, "aac")
    assert load_audio(path).duration_s == pytest.approx(2, abs=0.1)


def test_a_wrong_file_ending_is_no_obstacle(tmp_path):
    encode(tmp_path / "sound.m4a", chirps(), 44100, "alac").rename(tmp_path / "sound.mp3")
    assert load_audio(tmp_path / "sound.mp3").duration_s == 2


def test_a_variable_bit_rate_mp3_without_header_is_read_to_its_end(tmp_path):
    parts = [
        encode(
            tmp_path / f"{bit_rate}.mp3",
            chirps(5),
            44100,
            "libmp3lame",
            bit_rate=bit_rate,
            write_xing=0,
            id3v2_version=0,
        ).read_bytes()
        for bit_rate in (320_000, 64_000)
    ]
    path = tmp_path / "joined.mp3"
    path.write_bytes(b"".join(parts))
    assert load_audio(path).duration_s == pytest.approx(10, abs=0.3)


def test_an_open_file_is_read_and_left_open(tmp_path):
    path = tmp_path / "sound.flac"
    soundfile.write(path, chirps().T, 44100)
    with path.open("rb") as file:
        audio = load_audio(file)
        assert not file.closed
    np.testing.assert_array_equal(audio.samples, load_audio(path).samples)
    assert audio.source == str(path)


@pytest.mark.parametrize("wrap", [io.BytesIO, Stream])
@pytest.mark.parametrize(("name", "codec"), [("sound.ogg", None), ("sound.m4a", "alac")])
def test_bytes_in_memory_and_streams_are_read(tmp_path, wrap, name, codec):
    path = tmp_path / name
    if codec:
        encode(path, chirps(), 44100, codec)
    else:
        soundfile.write(path, chirps().T, 44100)
    audio = load_audio(wrap(path.read_bytes()))
    np.testing.assert_array_equal(audio.samples, load_audio(path).samples)
    assert audio.source == f"<{wrap.__name__}>"


def test_a_file_opened_by_its_descriptor_is_read(tmp_path):
    path = tmp_path / "sound.wav"
    soundfile.write(path, chirps().T, 44100)
    with os.fdopen(os.open(path, os.O_RDONLY), "rb") as file:
        np.testing.assert_array_equal(load_audio(file).samples, load_audio(path).samples)


class _Uneven(io.BytesIO):
    """Gives less than it is asked for, or more, as a faulty wrapper does."""

    def __init__(self, content, change):
        super().__init__(content)
        self._change = change

    def read(self, size=-1):
        return super().read(size if size is None or size < 0 else self._change(size))


@pytest.mark.parametrize(
    "change", [lambda size: min(size, 777), lambda size: size + 10], ids=["less", "more"]
)
def test_a_file_object_may_give_less_than_it_is_asked_for_or_more(tmp_path, change):
    path = tmp_path / "x.wav"
    soundfile.write(path, chirps().T, 44100)
    file = _Uneven(path.read_bytes(), change)
    np.testing.assert_array_equal(load_audio(file).samples, load_audio(path).samples)


def test_a_text_file_object_is_refused(tmp_path):
    path = tmp_path / "sound.wav"
    soundfile.write(path, chirps().T, 44100)
    with path.open() as file, pytest.raises(AudioError, match="open it in binary mode") as caught:
        load_audio(file)
    assert str(path) in str(caught.value)


def test_bytes_that_are_no_audio_are_refused_in_memory_too():
    with pytest.raises(AudioError, match="<BytesIO>: not audio"):
        load_audio(io.BytesIO(b"nothing of the kind" * 50))


_HUGE = b"\x7f" + 7 * b"\xff"


def _boxes(*names):
    """MP4 boxes, one in the other; the innermost is nothing but its head."""
    content = b""
    for name in reversed(names):
        content = (8 + len(content)).to_bytes(4, "big") + name + content
    return content


@pytest.mark.parametrize(
    "content",
    [
        b"caff\0\1\0\0desc" + _HUGE + bytes(60),
        b"FRM8" + _HUGE + b"DSD FVER" + _HUGE + bytes(60),
        b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0" + _HUGE[::-1]
        + b"wave\xf3\xac\xd3\x11\x8c\xd1\0\xc0\x4f\x8e\xdb\x8afmt "
        + b"\xf3\xac\xd3\x11\x8c\xd1\0\xc0\x4f\x8e\xdb\x8a" + _HUGE[::-1] + bytes(60),
        _boxes(b"ftyp") + _boxes(b"moov", b"trak", b"edts", b"elst") + bytes(200),
    ],
    ids=["CAF", "DFF", "Wave64", "an edit list without a list"],
)  # fmt: skip
def test_a_size_that_no_file_has_is_refused(tmp_path, content):
    path = tmp_path / "x"
    path.write_bytes(content)
    for source in path, io.BytesIO(content):
        with pytest.raises(AudioError, match=r"not audio|holds no|cut off"):
            load_audio(source)


@pytest.mark.parametrize("what", [None, 3, {}, [None, 1.0, 2.0], [[0.0], [1.0]], object(), str])
def test_what_is_no_source_is_refused(what):
    with pytest.raises(AudioError, match=r"audio (must be|as a dict needs).*; received "):
        load_audio(what)


def test_bytes_are_the_contents_of_a_file():
    with pytest.raises(AudioError, match="<BytesIO>: not audio"):
        load_audio(b"sound.wav")


@settings(deadline=None)
@given(st.integers(1, 5000), st.sampled_from(RATES), st.integers(1, 3))
def test_an_array_is_averaged_and_resampled(n_samples, rate, channels):
    array = np.random.default_rng(n_samples).uniform(-1, 1, (channels, max(n_samples, channels)))
    samples = load_audio(array, sample_rate=rate).samples
    expected = reference_of(array.astype(np.float32), rate)
    assert len(samples) == -(-array.shape[1] * 16000 // rate)
    np.testing.assert_allclose(samples, expected, rtol=0, atol=1e-6)


def test_one_dimension_is_one_channel():
    signal = chirps(channels=1)
    flat = load_audio(signal[0], sample_rate=44100)
    np.testing.assert_array_equal(flat.samples, load_audio(signal, sample_rate=44100).samples)
    assert flat.source is None


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32])
def test_the_full_scale_of_integers_becomes_one(dtype):
    extremes = np.array([np.iinfo(dtype).min, 0, np.iinfo(dtype).max], dtype)
    samples = load_audio(extremes, sample_rate=16000).samples
    np.testing.assert_allclose(samples, [-1, 0, 1], atol=2.0 ** (1 - 8 * extremes.itemsize))
    assert samples[0] == -1


def test_an_int16_array_equals_its_wav(tmp_path):
    whole = (chirps() * 32767).astype(np.int16)
    soundfile.write(tmp_path / "sound.wav", whole.T, 44100)
    from_file = load_audio(tmp_path / "sound.wav").samples
    np.testing.assert_allclose(
        load_audio(whole, sample_rate=44100).samples, from_file, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_any_floating_point_array_is_taken(dtype):
    samples = load_audio(np.array([0.5, -0.25, 0], dtype), sample_rate=16000).samples
    assert samples.dtype == np.float32
    assert samples.dtype.isnative
    np.testing.assert_array_equal(samples, [0.5, -0.25, 0])


def test_an_array_that_is_not_contiguous_is_taken():
    signal = chirps()
    expected = load_audio(signal[:, ::-2].copy(), sample_rate=44100).samples
    np.testing.assert_array_equal(load_audio(signal[:, ::-2], sample_rate=44100).samples, expected)


def test_an_array_is_left_as_it_was():
    signal = chirps()
    load_audio(signal, sample_rate=44100)
    np.testing.assert_array_equal(signal, chirps())


def test_samples_by_channels_are_turned_where_they_can_be_nothing_else():
    turned = load_audio(chirps().T, sample_rate=44100).samples
    np.testing.assert_array_equal(turned, load_audio(chirps(), sample_rate=44100).samples)
    with pytest.raises(AudioError, match=r"shape \(9, 100\) looks like 9 clips"):
        load_audio(np.zeros((9, 100)), sample_rate=44100)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, bool, complex, object, "U1"])
def test_another_dtype_is_refused(dtype):
    with pytest.raises(AudioError, match="must be floating point or signed integers"):
        load_audio(np.zeros(100).astype(dtype), sample_rate=16000)


@pytest.mark.parametrize("shape", [(), (1, 2, 100)])
def test_another_number_of_dimensions_is_refused(shape):
    with pytest.raises(AudioError, match=re.escape(f"received shape {shape}")):
        load_audio(np.zeros(shape), sample_rate=16000)


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 5), (0, 0)])
def test_an_empty_array_is_refused(shape):
    with pytest.raises(AudioError, match="array: holds no samples"):
        load_audio(np.zeros(shape), sample_rate=16000)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_an_array_with_a_sample_that_is_no_number_is_refused(wrong):
    array = np.zeros((2, 100))
    array[1, 50] = wrong
    with pytest.raises(AudioError, match="array: holds NaN or infinite samples"):
        load_audio(array, sample_rate=16000)


def test_samples_of_which_powers_overflow_are_refused():
    array = np.zeros(100, np.float32)
    array[50] = -2e30
    with pytest.raises(AudioError, match=r"array: holds samples as large as 2e\+30, .* full"):
        load_audio(array, sample_rate=16000)
    array[50] = -(2**31)
    with pytest.warns(UserWarning, match="array: samples reach 2147483648, where full scale is 1"):
        assert load_audio(array, sample_rate=16000).samples.min() == -(2**31)


def test_an_array_needs_its_sample_rate():
    with pytest.raises(ArgumentError, match="sample_rate=44100, for instance"):
        load_audio(np.zeros(100))


@pytest.mark.parametrize("name", ["sample_rate", "target_rate"])
@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (0, "a positive whole number of Hz; received 0"),
        (-16000, "a positive whole number"),
        (1.5, "a positive whole number"),
        (float("nan"), "a positive whole number"),
        ("44100", "a positive whole number of Hz; received '44100'"),
        (10**9, "at most 1,000,000 Hz; received 1000000000"),
    ],
)
def test_a_rate_must_be_positive_and_whole_and_not_huge(name, rate, words):
    with pytest.raises(ArgumentError, match=f"{name} must be {words}"):
        load_audio(np.zeros(100), **{"sample_rate": 8000, name: rate})


def test_a_file_takes_no_sample_rate(tmp_path):
    path = tmp_path / "sound.wav"
    soundfile.write(path, chirps().T, 44100)
    with pytest.raises(ArgumentError, match=r"goes with an array only.*sample_rate=22050"):
        load_audio(path, sample_rate=22050)


def resample(signal, source, target, block):
    resampler = Resampler(source, target)
    parts = [resampler.feed(signal[i : i + block]) for i in range(0, len(signal), block)]
    return np.concatenate([*parts, resampler.finish()])


@given(st.integers(1, 20_000), st.integers(1, 5000), st.sampled_from(RATES), st.sampled_from(RATES))
def test_resampling_in_blocks_equals_resampling_at_once(length, block, source, target):
    signal = np.random.default_rng(length).normal(0, 0.2, length).astype(np.float32)
    in_blocks = resample(signal, source, target, block)
    assert len(in_blocks) == int(np.ceil(length * target / source))
    at_once = librosa.resample(signal, orig_sr=source, target_sr=target, res_type="soxr_hq")
    # librosa's floating-point ratio makes it one sample longer now and then.
    np.testing.assert_allclose(in_blocks, at_once[: len(in_blocks)], atol=1e-6)


def test_the_same_rate_is_left_alone():
    signal = chirps(channels=1)[0]
    np.testing.assert_array_equal(load_audio(signal, sample_rate=16000).samples, signal)


@pytest.mark.parametrize("suffix", ["wav", "mp3", "m4a"])
def test_a_stream_gives_in_blocks_what_loading_gives_at_once(tmp_path, suffix):
    path = tmp_path / f"sound.{suffix}"
    codec = {"wav": "pcm_s16le", "mp3": "libmp3lame", "m4a": "aac"}[suffix]
    encode(path, chirps(65), 44100, codec)
    stream = AudioStream(path)
    blocks = list(stream)
    assert 5 < len(blocks) < 12
    assert max(map(len, blocks)) < 12 * 16000
    audio = load_audio(path)
    np.testing.assert_array_equal(np.concatenate(blocks), audio.samples)
    assert stream.duration_s == audio.duration_s == pytest.approx(65, abs=0.1)


def test_a_stream_says_where_it_ends_that_a_file_is_cut_off(tmp_path):
    path = encode(tmp_path / "sound.mp3", chirps(40), 44100, "libmp3lame")
    blocks = iter(AudioStream(cut_in_half(path)))
    assert len(next(blocks)) > 0
    with pytest.raises(AudioError, match="cut off"):
        list(blocks)


def test_a_missing_file_is_refused(tmp_path):
    assert_refused(tmp_path / "missing.wav", "there is no such file")


def test_a_directory_is_refused(tmp_path):
    assert_refused(tmp_path, "is a directory, not an audio file")


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.mp3").touch()
    assert_refused(tmp_path / "empty.mp3", "the file is empty")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads anything")
def test_a_file_without_permission_is_refused(tmp_path):
    path = tmp_path / "secret.wav"
    soundfile.write(path, chirps().T, 44100)
    path.chmod(0)
    assert_refused(path, "cannot be read")


@on_linux
def test_a_name_that_is_too_long_is_refused(tmp_path):
    assert_refused(tmp_path / f"{'x' * 300}.wav", "cannot be read|there is no such file")


@pytest.mark.parametrize("suffix", ["mp3", "wav", "flac", "ogg", "m4a", "txt"])
def test_text_is_refused_under_any_name(tmp_path, suffix):
    path = tmp_path / f"notes.{suffix}"
    path.write_text("These are only words about music.\n" * 100)
    assert_refused(path, "not audio that libsndfile or FFmpeg can decode|holds no ")


def test_noise_is_refused(tmp_path):
    path = tmp_path / "noise.m4a"
    path.write_bytes(np.random.default_rng(0).bytes(20_000))
    assert_refused(path, "not audio")


def test_a_film_without_sound_is_refused(tmp_path):
    path = encode(tmp_path / "film.mp4", chirps(), 44100, "aac", video=True)
    silent = tmp_path / "silent.mp4"
    with av.open(str(path)) as film, av.open(str(silent), "w") as copy:
        stream = copy.add_stream_from_template(film.streams.video[0])
        for packet in film.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    assert_refused(silent, "holds no audio stream")


def test_an_mp3_that_states_its_length_and_is_cut_off_is_refused(tmp_path):
    path = tmp_path / "sound.mp3"
    soundfile.write(path, chirps(10).T, 44100)
    assert b"Info" in path.read_bytes()[:2048] or b"Xing" in path.read_bytes()[:2048]
    assert load_audio(path).duration_s == pytest.approx(10)
    assert_refused(cut_in_half(path), r"cut off, \d\.\d s of the 10\.0 s")


def test_a_cut_mp3_behind_an_id3_tag_is_refused(tmp_path):
    path = tmp_path / "sound.mp3"
    soundfile.write(path, chirps(10).T, 44100)
    size = 5000
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, size >> 7, size & 0x7F]) + bytes(size)
    path.write_bytes(tag + path.read_bytes())
    assert load_audio(path).duration_s == pytest.approx(10)
    assert_refused(cut_in_half(path), "cut off")


def test_a_cut_mp3_in_memory_is_refused(tmp_path):
    path = tmp_path / "sound.mp3"
    soundfile.write(path, chirps(10).T, 44100)
    with pytest.raises(AudioError, match="<BytesIO>: cut off"):
        load_audio(io.BytesIO(cut_in_half(path).read_bytes()))


def test_an_mp3_that_states_no_length_is_taken_as_it_is(tmp_path):
    path = encode(tmp_path / "a.mp3", chirps(10), 44100, "libmp3lame", write_xing=0)
    assert not any(mark in path.read_bytes() for mark in (b"Xing", b"Info"))
    assert load_audio(cut_in_half(path)).duration_s == pytest.approx(5, abs=0.2)


def test_a_cut_flac_is_refused(tmp_path):
    path = tmp_path / "sound.flac"
    soundfile.write(path, chirps(10).T, 44100)
    assert_refused(cut_in_half(path), "cut off")


@pytest.mark.parametrize("codec", ["aac", "alac"])
@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}])
def test_a_cut_m4a_is_refused(tmp_path, codec, options):
    path = encode(tmp_path / "sound.m4a", chirps(10), 44100, codec, **options)
    assert load_audio(path).duration_s == pytest.approx(10, abs=0.1)
    assert_refused(cut_in_half(path), "cut off|not audio")


def test_a_cut_webm_is_refused(tmp_path):
    path = encode(tmp_path / "sound.webm", chirps(10, 48000), 48000, "libopus")
    assert_refused(cut_in_half(path), "cut off")


def test_a_wav_without_samples_is_refused(tmp_path):
    path = tmp_path / "nothing.wav"
    soundfile.write(path, np.zeros((0, 2)), 44100)
    assert_refused(path, "holds no samples")


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_file_with_samples_that_are_no_numbers_is_refused(tmp_path, wrong):
    path = tmp_path / "broken.wav"
    signal = chirps()
    signal[0, 1000] = wrong
    soundfile.write(path, signal.T, 44100, subtype="FLOAT")
    assert_refused(path, "holds NaN or infinite samples")


@on_linux
@pytest.mark.parametrize("name", ["Bach: Aria.m4a", "http:aria.m4a", "50%.m4a", "-i.m4a"])
def test_a_name_is_a_name_and_no_address(tmp_path, monkeypatch, name):
    encode(tmp_path / "plain.m4a", chirps(), 44100, "alac").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert load_audio(name).duration_s == 2


@on_linux
@pytest.mark.parametrize("suffix", ["wav", "m4a"])
def test_a_name_of_any_bytes_is_loaded(tmp_path, suffix):
    plain = tmp_path / f"plain.{suffix}"
    if suffix == "m4a":
        encode(plain, chirps(), 44100, "alac")
    else:
        soundfile.write(plain, chirps().T, 44100)
    latin1 = plain.rename(tmp_path / os.fsdecode(b"caf\xe9." + suffix.encode()))
    assert load_audio(latin1).duration_s == 2


def test_a_directory_is_searched_in_order_and_in_depth(tmp_path):
    for name in ["b.wav", "a.MP3", "B.Flac", "sub/z.ogg", "sub/deep/y.m4a", "apart/x.opus"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_audio(tmp_path)]
    assert found == ["B.Flac", "a.MP3", "b.wav", "apart/x.opus", "sub/z.ogg", "sub/deep/y.m4a"]


def test_the_order_is_not_that_of_the_file_system(tmp_path):
    names = [f"{number:02}" for number in np.random.default_rng(0).permutation(50)]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.wav").touch()
        (tmp_path / f"{name}.wav").touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_audio(tmp_path)]
    files = [f"{name}.wav" for name in sorted(names)]
    assert found == files + [f"{name}/a.wav" for name in sorted(names)]


def test_what_is_hidden_or_no_audio_is_left_out(tmp_path):
    for name in [".hidden.wav", ".git/a.wav", "notes.txt", "wav", "cover.jpg", "a.wav.part"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "kept.wav").touch()
    assert list(find_audio(tmp_path)) == [tmp_path / "kept.wav"]


@pytest.mark.parametrize("suffix", sorted(AUDIO_SUFFIXES))
def test_every_known_ending_is_found_in_either_case(tmp_path, suffix):
    (tmp_path / f"a{suffix}").touch()
    (tmp_path / f"b{suffix.upper()}").touch()
    assert len(list(find_audio(str(tmp_path)))) == 2


def test_an_empty_directory_holds_no_audio(tmp_path):
    assert list(find_audio(tmp_path)) == []
