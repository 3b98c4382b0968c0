"""What is heard of a clip of any codec, container and oddity is what was put into it."""

import io
import struct
from dataclasses import replace

import audio_bytes as by_hand
import av
import numpy as np
import pytest
import soundfile
import soxr
from audio_bytes import dts_wav, wav
from audio_clips import (
    ADTS,
    CLIPS,
    DSD,
    FLAC,
    HEARD_RATE,
    M4A,
    MKA,
    MP3,
    OPUS,
    PCM,
    VORBIS,
    Sound,
    encode,
)

from musicnn_zoo import Tagger
from musicnn_zoo.errors import AudioError
from musicnn_zoo.sound.decoders import (
    decoded_by_ffmpeg,
    decoded_by_libsndfile,
    main_audio_stream,
    open_container,
)
from musicnn_zoo.sound.mpeg import count_samples
from musicnn_zoo.sound.parts import find_data, find_joined
from musicnn_zoo.sound.read import AudioStream, load_audio, wav_options

LEAST_CLIPS = 120
WINDOW = HEARD_RATE // 2
MARGIN = HEARD_RATE // 20
MOST_SHIFT = HEARD_RATE // 4

UNDER_EVERY_FFMPEG = {
    "libmp3lame in mp3, 2 of 44100 Hz, 128 kbit/s", "aac in adts, 2 of 48000 Hz, 128 kbit/s",
    "aac in ipod, 8 of 48000 Hz, 448 kbit/s", "VORBIS in OGG, 2 of 44100 Hz",
    "libopus in webm, 2 of 48000 Hz, 96 kbit/s", "flac in flac, 8 of 48000 Hz",
    "alac in ipod, 2 of 96000 Hz", "PCM_24 in RF64, 6 of 48000 Hz", "DSD in dsf, 2",
    "ac3 in ac3, 6 of 32000 Hz, 448 kbit/s", "wavpack in wv, 8 of 44100 Hz, fltp",
    "MP3 and another of other rate and channels", "chained Vorbis", "chained Opus", "FLAC twice",
    "MP4 in fragments", "live Matroska", "libvpx longer than libopus in webm",
    "matroska whose second sound is the default", "MP3s with junk between",
}  # fmt: skip


@pytest.fixture(scope="module")
def scores_of():
    tagger = Tagger("MTT_musicnn", engine="onnxruntime")
    known = {}

    def scores(samples):
        key = samples.tobytes()
        if key not in known:
            known[key] = dict(tagger.tag(samples, sample_rate=HEARD_RATE, top_k=50).ranked)
        return known[key]

    return scores


def rows():
    for clip in CLIPS:
        marks = [pytest.mark.platform] if clip.name in UNDER_EVERY_FFMPEG else []
        if not clip.can_be_made:
            marks.append(pytest.mark.skip(reason="this FFmpeg has no such encoder"))
        yield pytest.param(clip, id=clip.name, marks=marks)


def find(window, heard, start):
    """Likeness, shift in seconds and gain of where in ``heard`` a part is, near ``start``."""
    first = max(0, start - MOST_SHIFT)
    near = heard[first : start + len(window) + MOST_SHIFT].astype(float)
    if len(near) < len(window):
        return 0.0, 0.0, 0.0
    size = 1 << (len(near) + len(window)).bit_length()
    product = np.fft.rfft(near, size) * np.fft.rfft(window, size).conj()
    matches = np.fft.irfft(product, size)[: len(near) - len(window) + 1]
    energies = np.cumsum(np.concatenate([[0.0], near**2]))
    norms = np.sqrt(np.maximum(energies[len(window) :] - energies[: -len(window)], 1e-12))
    norm = np.linalg.norm(window)
    likeness = matches / (norm * norms)
    best = int(np.argmax(likeness))
    return likeness[best], (first + best - start) / HEARD_RATE, norms[best] / norm


def placed(parts, starts, length):
    """Parts where they were heard, in a signal of ``length`` samples.

    Scores of so short a clip may change a lot with the place of the patches in it.
    """
    signal = np.zeros(length, np.float32)
    for part, start in zip(parts, starts, strict=True):
        part = part[max(0, -start) :][: length - max(0, start)]
        signal[max(0, start) :][: len(part)] = part
    return signal


@pytest.mark.parametrize("clip", rows())
def test_all_of_a_clip_is_heard(clip, tmp_path, scores_of):
    path = tmp_path / f"clip.{clip.suffix}"
    path.write_bytes(clip.make())
    heard = load_audio(path).samples
    parts = [sound.heard() for sound in clip.sounds]
    ends = np.cumsum([len(part) for part in parts])
    assert len(heard) / HEARD_RATE == pytest.approx(ends[-1] / HEARD_RATE, abs=clip.slack_s)
    places = []
    for part, end in zip(parts, ends, strict=True):
        windows = MARGIN, (len(part) - WINDOW) // 2, len(part) - MARGIN - WINDOW
        begin = end - len(part)
        found = [find(part[at : at + WINDOW], heard, begin + at) for at in windows]
        likeness, shifts, gains = np.transpose(found)
        assert min(likeness) > clip.likeness, found
        assert np.abs(shifts).max() <= clip.slack_s, found
        assert np.ptp(shifts) <= clip.drift_s, found
        assert gains == pytest.approx(1, abs=0.2), found
        places.append(begin + round(np.median(shifts) * HEARD_RATE))
    clean = placed(parts, places, len(heard))
    assert scores_of(heard) == pytest.approx(scores_of(clean), abs=clip.scores)


def test_the_table_is_wide_enough():
    made = [clip for clip in CLIPS if clip.can_be_made]
    assert len({clip.name for clip in made}) == len(made) >= LEAST_CLIPS
    sounds = [sound for clip in made for sound in clip.sounds]
    assert {sound.channels for sound in sounds} == set(range(1, 9))
    rates = {sound.rate for sound in sounds}
    assert {8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 96000, 192000} <= rates
    assert {clip.name for clip in CLIPS} >= UNDER_EVERY_FFMPEG


def decoded_whole(path):
    """All that FFmpeg decodes of an MP3 at once, as one signal at the models' rate."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    return soxr.resample(np.concatenate(frames, axis=1).mean(axis=0), rate, HEARD_RATE, "HQ")


@pytest.mark.parametrize("silence", [0, 40_000, 400_000])
def test_dts_in_the_place_of_samples_is_no_noise(tmp_path, silence):
    path = tmp_path / "disc.wav"
    path.write_bytes(dts_wav(silence=silence))
    with path.open("rb") as file:
        options = wav_options(file, find_data(file))
    with open_container(str(path), options) as container:
        assert main_audio_stream(container).codec_context.name == "dca"


VARIABLE = {quality: (("global_quality", str(118 * quality)), ("flags", "+qscale"))
            for quality in (0, 5, 9)}  # fmt: skip
LONG_S = 21.0
LONG_MP3S = {
    "16 kbit/s": {"bit_rate": 16_000, "rate": 16000, "channels": 1},
    "32 kbit/s": {"bit_rate": 32_000, "channels": 1},
    "32 kbit/s, stereo": {"bit_rate": 32_000, "rate": 22050},
    "48 kbit/s, quiet": {"bit_rate": 48_000, "rate": 24000, "level": 0.005},
    "64 kbit/s, quiet": {"bit_rate": 64_000, "channels": 1, "level": 0.005},
    "96 kbit/s, very quiet": {"bit_rate": 96_000, "level": 0.0005},
    "128 kbit/s": {"bit_rate": 128_000},
    "192 kbit/s, no Xing": {"bit_rate": 192_000, "form_options": (("write_xing", "0"),)},
    "320 kbit/s": {"bit_rate": 320_000, "rate": 48000},
    "best variable bit rate": {"options": VARIABLE[0]},
    "variable bit rate, quiet": {"options": VARIABLE[5], "channels": 1, "level": 0.005},
    "least variable bit rate": {"options": VARIABLE[9], "rate": 22050},
}


@pytest.mark.parametrize("how", [pytest.param(how, id=name) for name, how in LONG_MP3S.items()])
def test_an_mp3_block_by_block_is_the_whole_without_drop_outs(tmp_path, how):
    path = tmp_path / "long.mp3"
    path.write_bytes(encode(Sound("libmp3lame", "mp3", **({"seconds": LONG_S} | how))))
    blocks = list(AudioStream(path))
    assert len(blocks) > 2
    put_together = np.concatenate(blocks)
    np.testing.assert_array_equal(put_together, load_audio(path).samples)
    whole = decoded_whole(path)
    assert len(put_together) - len(whole) in (0, 1)  # part of a sample at the end is one, or none
    difference = np.abs(put_together[: len(whole)] - whole).max()
    assert difference < 1e-5 * how.get("level", 1) + 1e-7  # of 16-bit samples a three-hundredth


def _by_hand(make):
    if make is by_hand.rifx:
        return make(PCM.at(PCM.rate), PCM.rate)
    return make(Sound(DSD, "DSD", seconds=3.2).at(by_hand.DSD_RATE // by_hand.DSD_HELD))


@pytest.mark.parametrize(
    "sound",
    [
        Sound("pcm_s16le", "w64"), Sound("PCM_16", "RF64"), Sound("pcm_s16le", "avi"),
        Sound("PCM_16", "NIST"), Sound("adpcm_ms", "wav"), Sound("wmav2", "asf", bit_rate=128_000),
        replace(MP3, form="flv"), by_hand.dsf, by_hand.dff, by_hand.rifx,
        *(Sound("PCM_16", form) for form in ("AIFF", "AU", "AU:LITTLE", "CAF", "AVR", "VOC")),
        Sound("PCM_16", "MAT4"), Sound("PCM_16", "MAT5"), Sound("PCM_16", "SVX", 1),
        Sound("ALAW", "WVE", 1, 8000), Sound("ALAC_16", "CAF"),
    ],
    ids=lambda sound: str(getattr(sound, "form", getattr(sound, "__name__", ""))),
)  # fmt: skip
def test_what_states_more_bytes_than_there_are_is_cut_off(sound):
    data = _by_hand(sound) if callable(sound) else encode(sound)
    cut = data[: len(data) // 2]
    with pytest.raises(AudioError, match="cut off"):
        load_audio(io.BytesIO(cut))
    part = load_audio(io.BytesIO(cut), damaged="use")
    assert part.damaged
    assert part.duration_s == pytest.approx(1.6, abs=0.12)
    assert part.lost_s == pytest.approx(1.6, abs=0.15)


SIZES = {
    "WAV": (PCM, b"data", "<I", 4),
    "RIFX": (by_hand.rifx, b"data", ">I", 4),
    "RF64": (Sound("PCM_16", "RF64"), b"ds64", "<Q", 16),
    "Wave64": (Sound("PCM_16", "W64"), b"data", "<Q", 16),
    "AIFF": (Sound("PCM_16", "AIFF"), b"SSND", ">I", 4),
    "AU": (Sound("PCM_16", "AU"), b".snd", ">I", 8),
    "little-endian AU": (Sound("PCM_16", "AU:LITTLE"), b"dns.", "<I", 8),
    "8SVX": (Sound("PCM_16", "SVX", 1), b"BODY", ">I", 4),
    "CAF": (Sound("pcm_s24be", "caf"), b"data", ">Q", 4),
    "ALAC in CAF": (Sound("ALAC_16", "CAF"), b"data", ">Q", 4),
    "DSDIFF": (by_hand.dff, b"DSD \0", ">Q", 4),
    "DSF": (by_hand.dsf, b"data", "<Q", 4),
}
"""Name before the field with the size of the samples, the field, and how far behind it is."""


@pytest.mark.parametrize("name", SIZES)
def test_a_stated_size_that_is_wrong_changes_nothing(name):
    sound, before, field, offset = SIZES[name]
    data = bytearray(_by_hand(sound) if callable(sound) else encode(sound))
    right = load_audio(io.BytesIO(data)).samples
    at = data.index(before) + offset
    (size,) = struct.unpack_from(field, data, at)
    for wrong in size // 16 * 8, 0, (1 << 8 * struct.calcsize(field)) - 1:
        struct.pack_into(field, data, at, wrong)
        audio = load_audio(io.BytesIO(data))
        assert (audio.damaged, audio.lost_s) == (False, 0)
        np.testing.assert_array_equal(audio.samples, right)


@pytest.mark.parametrize(
    ("name", "behind"),
    [
        ("WAV", by_hand.chunk(b"abcd", bytes(range(200)))),
        ("RIFX", by_hand.chunk(b"bext", bytes(range(200)), ">")),
        ("RF64", by_hand.chunk(b"LIST", b"INFO") + by_hand.chunk(b"id3 ", bytes(range(200)))),
        ("Wave64", b"bext" + bytes(12) + struct.pack("<Q", 224) + bytes(range(200))),
        ("AIFF", by_hand.chunk(b"ANNO", bytes(range(201)), ">")),
        ("CAF", by_hand.caf_chunk(b"midi", bytes(range(200)))),
        ("8SVX", by_hand.chunk(b"ANNO", bytes(range(201)), ">")),
        ("DSF", by_hand.id3v2(b"Information")),
    ],
)  # fmt: skip
def test_chunks_behind_the_samples_are_no_sound(name, behind):
    sound = SIZES[name][0]
    data = _by_hand(sound) if callable(sound) else encode(sound)
    audio = load_audio(io.BytesIO(data + behind))
    assert not audio.damaged
    np.testing.assert_array_equal(audio.samples, load_audio(io.BytesIO(data)).samples)


@pytest.mark.parametrize("times", [0, 0.5, 2])
def test_an_aiff_is_as_long_as_its_samples(times):
    samples = PCM.at(PCM.rate)
    data = by_hand.aiff(samples, PCM.rate, frames=int(times * samples.shape[1]))
    audio = load_audio(io.BytesIO(data))
    assert (audio.duration_s, audio.damaged) == (3.2, False)


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_both_decoders_read_the_same_of_an_aiff(subtype):
    file = io.BytesIO(encode(Sound(subtype, "AIFF", seconds=1.0)))
    both = []
    for decoded_by in decoded_by_ffmpeg, decoded_by_libsndfile:
        with decoded_by(file, "x.aiff") as decoded:
            both.append(np.concatenate([block.samples for block in decoded.blocks]))
    np.testing.assert_array_equal(*both)


def test_a_voc_goes_on_where_its_size_has_no_more_bits(tmp_path):
    path = tmp_path / "x.voc"
    samples = np.zeros((1 << 23, 2), np.int16)
    soundfile.write(path, samples, 1 << 19, subtype="PCM_16", format="VOC")
    audio = load_audio(path)
    assert (audio.duration_s, audio.damaged) == (16.0, False)


def test_little_that_a_wav_lacks_is_said():
    data = encode(PCM)
    audio = load_audio(io.BytesIO(data[: -44100 * 2]))
    assert audio.damaged
    assert audio.lost_s == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize(
    "sound", [VORBIS, OPUS, replace(FLAC, form="ogg")], ids=["Vorbis", "Opus", "FLAC"]
)
def test_a_damaged_page_of_an_ogg_is_a_loss(sound):
    data = bytearray(encode(replace(sound, seconds=32.0)))
    for part in 0.2, 0.5, 0.8:
        data[int(part * len(data))] ^= 0x10
    with pytest.raises(AudioError, match="damaged"):
        load_audio(io.BytesIO(data))
    audio = load_audio(io.BytesIO(data), damaged="use")
    assert audio.damaged
    assert audio.duration_s + audio.lost_s == pytest.approx(32.0, abs=0.05)


@pytest.mark.parametrize("page", [0, 1, -2, -1])
@pytest.mark.parametrize(
    "sound",
    [VORBIS, Sound("vorbis", "ogg"), OPUS, replace(FLAC, form="ogg")],
    ids=["Vorbis", "FFmpeg's Vorbis", "Opus", "FLAC"],
)
def test_each_page_that_is_lost_counts(sound, page):
    pages = by_hand.ogg_pages(encode(sound))
    numbers = [number for number, each in enumerate(pages) if each.granule > 0]
    whole = load_audio(io.BytesIO(by_hand.ogg(pages)))
    data = [each.to_bytes() for each in pages]
    broken = bytearray(data[numbers[page]])
    broken[len(broken) // 2] ^= 0x10
    data[numbers[page]] = bytes(broken)
    audio = load_audio(io.BytesIO(b"".join(data)), damaged="use")
    assert audio.damaged
    assert audio.lost_s == pytest.approx(whole.duration_s - audio.duration_s, abs=0.03)
    assert audio.lost_s > 0.05


def test_a_page_of_one_packet_counts():
    pages = [page.to_bytes() for page in by_hand.ogg_pages(
        by_hand.one_packet_a_page(encode(OPUS), 960)
    )]  # fmt: skip
    audio = load_audio(io.BytesIO(b"".join(pages[:50] + pages[51:])))
    assert (audio.damaged, audio.lost_s) == (True, pytest.approx(0.02, abs=0.001))


@pytest.mark.parametrize("later", [0, 10**8])
@pytest.mark.parametrize("renumbered", [False, True])
@pytest.mark.parametrize(
    "sound", [VORBIS, OPUS, replace(FLAC, form="ogg")], ids=["Vorbis", "Opus", "FLAC"]
)
def test_an_ogg_may_begin_in_mid_stream(sound, renumbered, later):
    pages = by_hand.ogg_pages(encode(replace(sound, seconds=8.0)))
    heads = [page for page in pages if page.granule <= 0]
    sounds = [page for page in pages if page.granule > 0]
    length_s = (sounds[-1].granule - sounds[1].granule) / sound.rate
    kept = [page._replace(granule=page.granule + later) for page in sounds[2:]]
    if renumbered:
        kept = [page._replace(number=len(heads) + n) for n, page in enumerate(kept)]
    audio = load_audio(io.BytesIO(by_hand.ogg(heads + kept)))
    assert (audio.damaged, audio.lost_s) == (False, 0)
    assert audio.duration_s == pytest.approx(length_s, abs=0.03)


@pytest.mark.parametrize("sound", [MP3, MKA, replace(OPUS, form="webm")], ids=str)
@pytest.mark.parametrize("size", [200, 2000])
@pytest.mark.parametrize("cut", [False, True])
def test_what_is_missing_in_the_middle_counts(sound, size, cut):
    data = encode(sound)
    whole = load_audio(io.BytesIO(data))
    assert not whole.damaged
    at = 2 * len(data) // 5
    random = np.random.default_rng(1)
    torn = data[:at] + (b"" if cut else random.bytes(size)) + data[at + size :]
    audio = load_audio(io.BytesIO(torn), damaged="use")
    assert audio.damaged
    assert audio.lost_s == pytest.approx(whole.duration_s - audio.duration_s, abs=0.03)
    assert audio.lost_s > 0.02


@pytest.mark.parametrize("channels", [1, 2])
def test_he_aac_is_decoded_at_twice_the_rate_of_its_core(tmp_path, channels):
    path = tmp_path / "x.aac"
    path.write_bytes(by_hand.he_adts(encode(replace(ADTS, rate=24000, channels=channels))))
    with decoded_by_ffmpeg(str(path), "x.aac") as decoded:
        rates = {block.sample_rate for block in decoded.blocks}
    assert rates == {48000}


def test_channels_may_change_their_order():
    """Bytes of a 7.1 AAC that state another layout of as many channels."""
    sound = replace(M4A, channels=8, rate=48000, bit_rate=448_000)
    data = bytearray(encode(sound))
    random = np.random.default_rng(3)
    at = int(random.integers(len(data) * 0.15, len(data) * 0.8))
    data[at : at + 2000] = random.bytes(2000)
    assert load_audio(io.BytesIO(data), damaged="use").damaged


def test_a_pause_of_an_ogg_is_no_loss():
    pages = by_hand.ogg_pages(encode(OPUS))
    paused = [
        page._replace(granule=page.granule + 48000 * 5 * (number > 3))
        for number, page in enumerate(pages)
    ]
    audio = load_audio(io.BytesIO(by_hand.ogg(paused)))
    assert (audio.damaged, audio.lost_s) == (False, 0)


class _Sparing(io.BytesIO):
    """A file that gives less than it is asked for."""

    def read(self, size=-1):
        return super().read(min(size, 777) if size is not None and size > 0 else size)


@pytest.mark.parametrize("sound", [MP3, VORBIS, FLAC, PCM, M4A], ids=str)
def test_a_file_that_gives_less_than_it_is_asked_for_is_heard_to_its_end(sound):
    data = encode(sound)
    whole, sparing = load_audio(io.BytesIO(data)), load_audio(_Sparing(data))
    np.testing.assert_array_equal(sparing.samples, whole.samples)


def test_a_wav_that_states_too_little_goes_on_behind_silence(tmp_path):
    sound = 0.5 * np.sin(np.arange(32000))[np.newaxis]
    sound[0, 15990:20000] = 0
    path = tmp_path / "x.wav"
    path.write_bytes(wav(sound, 16000, size=32000))
    assert load_audio(path).duration_s == 2.0
    path.write_bytes(wav(sound, 16000, after=bytes(100_000)))
    assert load_audio(path).duration_s == 2.0


@pytest.mark.parametrize("broken", [0, 1])
def test_a_broken_link_is_said_and_the_other_can_be_had(tmp_path, broken):
    links = [bytearray(encode(replace(VORBIS, seed=seed))) for seed in range(2)]
    links[broken][40:60] = bytes(20)
    path = tmp_path / "x.ogg"
    path.write_bytes(links[0] + links[1])
    reason = r"after 3.2 s \(not audio that libsndfile .*can decode \([EF]"
    with pytest.raises(AudioError, match=reason):
        load_audio(path)
    audio = load_audio(path, damaged="use")
    assert audio.damaged
    assert audio.duration_s == pytest.approx(3.2, abs=0.01)


def test_a_link_that_has_hardly_begun_is_nothing_lost(tmp_path):
    path = tmp_path / "x.ogg"
    path.write_bytes(encode(VORBIS) + encode(replace(VORBIS, seed=1))[:60])
    assert load_audio(path).duration_s == pytest.approx(3.2, abs=0.01)


@pytest.mark.parametrize(
    "head",
    [b"MAC \x96\x0f\0\0\x34\0\0\0", b"MPCKSH", b"tBaK\x01\x1f\0\0", b"#!AMR-WB\n"],
    ids=["APE", "Musepack", "TAK", "AMR-WB"],
)
@pytest.mark.parametrize("size", [999, (1 << 20) - 2])
def test_files_that_no_encoder_here_makes_are_found_where_they_are_joined(head, size):
    """Also where the beginning of one lies across the border of two blocks that are searched."""
    one = head + bytes(size - len(head))
    assert find_joined(io.BytesIO(one)) == []
    assert find_joined(io.BytesIO(one * 3)) == [0, size, 2 * size]


def test_a_file_within_a_chunk_of_another_is_not_joined_to_it():
    samples = PCM.at(PCM.rate)
    inner = wav(samples[:, :1000], PCM.rate)
    for where in "before", "after":
        outer = wav(samples, PCM.rate, **{where: by_hand.chunk(b"LIST", inner)})
        assert find_joined(io.BytesIO(outer)) == []
        assert find_joined(io.BytesIO(outer + outer)) == [0, len(outer)]


@pytest.mark.parametrize("frames_more", [0, 100])
def test_libsndfile_says_if_it_leaves_out_frames_of_an_mp3(tmp_path, frames_more):
    path = tmp_path / "x.mp3"
    path.write_bytes(encode(MP3))
    with path.open("rb") as file:
        samples = count_samples(file) + frames_more * 1152
    with decoded_by_libsndfile(str(path), "x.mp3", mp3_samples=samples) as decoded:
        assert sum(len(block.samples) for block in decoded.blocks) == 3.2 * MP3.rate
    assert decoded.ended_early == bool(frames_more)


def test_a_length_that_no_recording_has_is_no_statement(tmp_path):
    path = tmp_path / "x.caf"
    path.write_bytes(by_hand.caf(FLAC.at(44100), 44100, size=1 << 62))
    assert load_audio(path).duration_s == pytest.approx(3.2, abs=0.01)
