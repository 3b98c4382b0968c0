"""Clips of every codec, container and oddity, and what was put into each.

A row of :data:`CLIPS` says how a file is made and of which sounds it consists. A sound is music of
a given seed; it is band-limited below 3 kHz and made from its spectrum, so that it is the very
same at every sample rate.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, lru_cache

import audio_bytes as by_hand
import av
import numpy as np
import soundfile

HEARD_RATE = 16000
SECONDS = 3.2

_BASE_RATE = 8000
_HIGHEST_HZ = 3000
_RINGS_S = 2.0

_LAYOUTS = {
    1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1",
}  # fmt: skip
_LOW_FREQUENCIES = 3
"""The channel for low frequencies where there are six and more; coders keep little of it."""


DSD = "DSD64"

# Sounds


@dataclass(frozen=True)
class Sound:
    """Music, and how it is encoded.

    Parameters
    ----------
    codec : str
        FFmpeg's encoder, or libsndfile's subtype.
    form : str
        FFmpeg's container in lower case, or libsndfile's in upper case.
    channels, rate, bit_rate : int
    seed : int
    seconds : float
    level : float
        Of the music; 1 is loud.
    sample_format : str, optional
        What FFmpeg's encoder is given.
    options, form_options : tuple of (str, str)
        FFmpeg's, of the codec and of the container.
    """

    codec: str
    form: str
    channels: int = 2
    rate: int = 44100
    bit_rate: int = 0
    seed: int = 0
    seconds: float = SECONDS
    level: float = 1.0
    sample_format: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    form_options: tuple[tuple[str, str], ...] = ()

    def at(self, rate: int) -> np.ndarray:
        """Samples of each channel (channels, samples) at a rate."""
        return _at_rate(self.seed, self.seconds, self.channels, self.level, rate)

    def heard(self) -> np.ndarray:
        """The mean of its channels at the models' rate, (samples,)."""
        return self.at(HEARD_RATE).mean(axis=0)


@cache
def _spectrum(seed, seconds, channels):
    """Spectra of notes and noises that all channels share, and of some of each channel's own."""
    count = round(seconds * _BASE_RATE)
    t = np.arange(count) / _BASE_RATE
    random = np.random.default_rng(seed)
    played = np.zeros((channels + 1, count))
    for voice in range(channels + 1):
        start = 0.0
        while start < seconds:
            length = random.uniform(0.1, 0.5)
            pitch = 110 * 2 ** (random.integers(0, 30) / 12)
            rings = slice(int(np.ceil(start * _BASE_RATE)), int((start + _RINGS_S) * _BASE_RATE))
            strike = np.exp(-5 * (t[rings] - start))
            for harmonic in range(1, 1 + min(6, int(_HIGHEST_HZ / pitch))):
                phase = random.uniform(0, 2 * np.pi)
                wave = np.sin(2 * np.pi * harmonic * pitch * t[rings] + phase)
                played[voice, rings] += strike * wave / harmonic
            start += length
        knots = np.arange(0, seconds + 0.5, 0.25)
        swell = np.interp(t, knots, random.uniform(size=len(knots)))
        played[voice] += 0.5 * swell**2 * random.standard_normal(count)
    mixed = 0.7 * played[:1] + 0.3 * played[1:]
    fade = np.clip(np.minimum(t, seconds - t) / 0.01, 0, 1)
    spectrum = np.fft.rfft(mixed * fade, axis=1) / count
    spectrum[:, round(_HIGHEST_HZ * seconds) :] = 0
    loudest = np.abs(np.fft.irfft(spectrum, n=8 * count, axis=1) * 8 * count).max()
    return spectrum * (0.5 / loudest)


@lru_cache(maxsize=50)
def _at_rate(seed, seconds, channels, level, rate):
    spectrum = _spectrum(seed, seconds, channels)
    count = round(seconds * rate)
    assert count == seconds * rate, "a whole number of samples, or it is not the same music"
    samples = np.fft.irfft(spectrum, n=count, axis=1) * count * level
    if channels > 5:
        samples[_LOW_FREQUENCIES] = 0
    return samples.astype(np.float32)


# Encoding


_ENCODER_OPTIONS = {"strict": "experimental", "aac_coder": "fast"}


def _has_encoder(sound):
    if sound.form.isupper() or sound.codec == DSD:
        return True
    try:
        av.codec.Codec(sound.codec, "w")
    except ValueError:
        return False
    return True


@cache
def encode(sound: Sound) -> bytes:
    """The file of a sound."""
    samples = sound.at(sound.rate)
    if sound.form.isupper():
        return _by_libsndfile(samples, sound.rate, sound.form, sound.codec)
    file = io.BytesIO()
    with _written(file, sound.form, dict(sound.form_options)) as container:
        _add(container, sound)()
    return file.getvalue()


def _by_libsndfile(samples, rate, form, subtype):
    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", rate, len(samples), subtype, format=form.split(":")[0],
        endian=[*form.split(":"), "FILE"][1],
    ) as written:  # fmt: skip
        for start in range(0, samples.shape[1], rate):  # Vorbis: not at once, which crashes
            written.write(samples.T[start : start + rate])
    return file.getvalue()


def _written(file, form, options=None):
    return av.open(file, "w", format=form, container_options=options or {})


def _add(container, sound, *, default=None):
    """Add a stream; return what encodes the sound into it."""
    stream = container.add_stream(
        sound.codec, rate=sound.rate, layout=_LAYOUTS[sound.channels],
        options={**_ENCODER_OPTIONS, **dict(sound.options)},
    )  # fmt: skip
    if sound.bit_rate:
        stream.bit_rate = sound.bit_rate
    if sound.sample_format:
        stream.codec_context.format = sound.sample_format
    if default is not None:
        stream.disposition = av.stream.Disposition.default.value if default else 0
    stream.time_base = Fraction(1, sound.rate)

    def write():
        samples = sound.at(sound.rate)
        step = sound.rate
        for start in range(0, samples.shape[1], step):
            part = samples[:, start : start + step].T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(part), format="flt", layout=_LAYOUTS[sound.channels]
            )
            frame.sample_rate = sound.rate
            frame.pts = start
            frame.time_base = Fraction(1, sound.rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    return write


def with_picture(sound, form, codec, seconds):
    """A film whose picture lasts other than its sound."""
    file = io.BytesIO()
    with _written(file, form) as container:
        picture = container.add_stream(codec, rate=5)
        picture.width = picture.height = 32
        picture.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        write = _add(container, sound)
        for number in range(round(5 * seconds)):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), number, np.uint8))
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        write()
    return file.getvalue()


def with_cover(sound, form):
    """A file with a picture that is attached to it, in FFmpeg's way."""
    file = io.BytesIO()
    with _written(file, form) as container:
        write = _add(container, sound)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 64
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic.value
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 128, np.uint8))
        container.mux(cover.encode(frame))
        container.mux(cover.encode(None))
        write()
    return file.getvalue()


def multiplexed(*sounds, form, default=None, **form_options):
    """A file of several sounds, of which one, by its number, is marked as the default."""
    file = io.BytesIO()
    options = {name: str(value) for name, value in form_options.items()}
    with _written(file, form, options) as container:
        writers = [
            _add(container, sound, default=number == default) for number, sound in enumerate(sounds)
        ]
        for write in writers:
            write()
    return file.getvalue()


class _Forward(io.RawIOBase):
    """A file that can be written forwards only: no header can be mended at the end."""

    def __init__(self):
        self.data = bytearray()

    def writable(self):
        return True

    def seekable(self):
        return False

    def write(self, data):
        self.data += data
        return len(data)


def streamed(sound):
    """A file that was written to a pipe, so that it does not state how long it is."""
    file = _Forward()
    with _written(file, sound.form, dict(sound.form_options)) as container:
        _add(container, sound)()
    return bytes(file.data)


# The table


@dataclass(frozen=True)
class Clip:
    """A row of the table.

    Parameters
    ----------
    name : str
    suffix : str
        Of the file.
    make : callable
        Returns the bytes of the file.
    sounds : tuple of Sound
        What it consists of, one after the other.
    likeness : float
        Least correlation with what was put in.
    slack_s : float
        By how much length and place may differ: the delay that a codec adds and no container
        states, once more for each file that is joined. ADTS, LATM, MPEG-TS, FLV and MP3s without
        a Xing header state none; encoders add 1024 or 2112 samples to AAC and 1105 to MP3, and
        fill the last frame.
    scores : float
        How far any of the tags' scores may be from that of the clean sound.
    drift_s : float
        By how much the place of a sound may differ from one part of it to another: more where a
        coder of speech changes the wave, and where FFmpeg leaves out the padding at the stated
        end of an MP3 that goes on.
    """

    name: str
    suffix: str
    make: Callable[[], bytes]
    sounds: tuple[Sound, ...]
    likeness: float = 0.95
    slack_s: float = 0.05
    scores: float = 0.1
    drift_s: float = 0.002

    @property
    def can_be_made(self) -> bool:
        """Whether this FFmpeg has the encoders."""
        return all(map(_has_encoder, self.sounds))

    def heard(self) -> np.ndarray:
        """What was put in, at the models' rate, (samples,)."""
        return np.concatenate([sound.heard() for sound in self.sounds])


MP3 = Sound("libmp3lame", "mp3", bit_rate=128_000)
MP3_OTHER = replace(MP3, channels=1, rate=22050, bit_rate=64_000, seed=1)
ADTS = Sound("aac", "adts", bit_rate=128_000)
M4A = Sound("aac", "ipod", bit_rate=128_000)
VORBIS = Sound("VORBIS", "OGG")
OPUS = Sound("libopus", "ogg", rate=48000, bit_rate=96_000)
FLAC = Sound("flac", "flac", sample_format="s16")
MKA = Sound("aac", "matroska", bit_rate=128_000)
PCM = Sound("pcm_s16le", "wav")
TS = Sound("aac", "mpegts", bit_rate=128_000)
AC3 = Sound("ac3", "ac3", rate=48000, bit_rate=192_000)
MP2 = Sound("mp2", "mp2", bit_rate=192_000)
XING = (("write_xing", "0"),)
FRAGMENTS = replace(M4A, form="mp4", form_options=(
    ("movflags", "frag_keyframe+empty_moov+default_base_moof"), ("frag_duration", "500000"),
))  # fmt: skip
DELAYED = (("movflags", "frag_keyframe+delay_moov"), ("frag_duration", "1000000"))


def _plain(suffix, sound, note="", **more):
    name = f"{sound.codec} in {sound.form}, {sound.channels} of {sound.rate} Hz"
    if sound.bit_rate:
        name += f", {sound.bit_rate // 1000} kbit/s"
    return Clip(
        name + (f", {note}" if note else ""), suffix, lambda: encode(sound), (sound,), **more
    )


def _lame(rate, channels, kbit_s, note="", *, form=(), likeness=0.95, **options):
    sound = Sound(
        "libmp3lame", "mp3", channels, rate, 1000 * kbit_s, form_options=form,
        options=tuple(options.items()),
    )  # fmt: skip
    return _plain("mp3", sound, note, likeness=likeness)


def _mp3_rows():
    yield _lame(44100, 2, 320)
    yield _lame(44100, 2, 128)
    yield _lame(48000, 2, 192, "no joint stereo", joint_stereo="0")
    yield _lame(32000, 2, 96)
    yield _lame(44100, 1, 32, likeness=0.9)
    yield _lame(24000, 1, 64)
    yield _lame(22050, 2, 56)
    yield _lame(16000, 2, 32, likeness=0.9)
    yield _lame(12000, 1, 24, likeness=0.9)
    yield _lame(11025, 2, 40, likeness=0.9)
    yield _lame(8000, 1, 16, likeness=0.9)
    for quality in "0", "4", "9":
        yield _lame(
            44100,
            2,
            0,
            f"variable {quality}",
            global_quality=str(118 * int(quality)),
            flags="+qscale",
        )
    yield _lame(44100, 2, 112, "average bit rate", abr="1")
    yield _lame(44100, 2, 128, "no Xing", form=XING)
    yield _lame(44100, 2, 0, "variable, no Xing", form=XING, global_quality="472", flags="+qscale")
    yield _plain("mp3", Sound("MPEG_LAYER_III", "MP3"))
    yield _plain("mp3", Sound("MPEG_LAYER_III", "MP3", 1, 22050))


def _lossy_rows():
    yield _plain("mp2", MP2)
    yield _plain("mp2", replace(MP2, channels=1, rate=48000, bit_rate=64_000))
    yield _plain("mp2", replace(MP2, rate=22050, bit_rate=96_000))
    yield _plain("mpg", replace(MP2, form="mpeg"))
    yield _plain("mka", replace(MP2, form="matroska", rate=32000))
    for rate, channels, bit_rate in (
        (44100, 1, 64), (48000, 2, 128), (48000, 6, 320), (24000, 2, 64), (96000, 2, 192),
    ):  # fmt: skip
        yield _plain("aac", replace(ADTS, rate=rate, channels=channels, bit_rate=1000 * bit_rate))
    for rate, channels, bit_rate in (
        (44100, 2, 128), (8000, 1, 24), (96000, 2, 192), (48000, 3, 192), (44100, 5, 256),
        (48000, 6, 320), (48000, 8, 448), (32000, 2, 96), (16000, 1, 32),
    ):  # fmt: skip
        yield _plain("m4a", replace(M4A, rate=rate, channels=channels, bit_rate=1000 * bit_rate))
    for suffix, form in (
        ("mka", "matroska"), ("mkv", "matroska"), ("ts", "mpegts"), ("mov", "mov"), ("flv", "flv"),
        ("3gp", "3gp"), ("aac", "latm"), ("avi", "avi"), ("nut", "nut"),
    ):  # fmt: skip
        yield _plain(suffix, replace(M4A, form=form), f".{suffix}")
    for suffix, form in (
        ("mka", "matroska"), ("avi", "avi"), ("flv", "flv"), ("mp4", "mp4"), ("ts", "mpegts"),
        ("wav", "wav"), ("nut", "nut"),
    ):  # fmt: skip
        yield _plain(suffix, replace(MP3, form=form))
    for rate, channels in (
        (44100, 1), (44100, 2), (48000, 6), (48000, 8), (8000, 1), (96000, 2), (192000, 1),
        (22050, 3),
    ):  # fmt: skip
        yield _plain("ogg", replace(VORBIS, rate=rate, channels=channels))
    yield _plain("ogg", Sound("vorbis", "ogg"), "FFmpeg's")
    yield _plain("mka", Sound("vorbis", "matroska"), "FFmpeg's")
    yield _plain("webm", Sound("vorbis", "webm", rate=48000), "FFmpeg's")
    for rate, channels, bit_rate, likeness, scores in (
        (48000, 2, 96, 0.95, 0.1), (48000, 1, 24, 0.9, 0.1), (48000, 6, 256, 0.95, 0.1),
        (48000, 8, 320, 0.95, 0.1), (48000, 4, 192, 0.95, 0.1), (24000, 1, 48, 0.95, 0.1),
        (16000, 1, 24, 0.9, 0.1), (12000, 1, 20, 0.9, 0.1), (8000, 1, 16, 0.8, 0.3),
    ):  # fmt: skip
        yield _plain(
            "opus", replace(OPUS, rate=rate, channels=channels, bit_rate=1000 * bit_rate),
            likeness=likeness, scores=scores,
        )  # fmt: skip
    yield _plain("opus", Sound("OPUS", "OGG", rate=48000))
    for suffix, form in ("webm", "webm"), ("mka", "matroska"), ("mp4", "mp4"), ("ts", "mpegts"):
        yield _plain(suffix, replace(OPUS, form=form))
    for version in "wmav1", "wmav2":
        yield _plain("wma", Sound(version, "asf", bit_rate=128_000))
    yield _plain("wma", Sound("wmav2", "asf", 1, 22050, 48_000))
    for rate, channels, bit_rate in (48000, 2, 192), (44100, 1, 96), (32000, 6, 448):
        yield _plain("ac3", replace(AC3, rate=rate, channels=channels, bit_rate=1000 * bit_rate))
    yield _plain("mka", replace(AC3, form="matroska", channels=6, bit_rate=448_000))
    yield _plain("mpg", replace(AC3, form="mpeg"))
    yield _plain("eac3", Sound("eac3", "eac3", 2, 48000, 192_000))
    yield _plain("eac3", Sound("eac3", "eac3", 6, 48000, 384_000))
    yield _plain("mp4", Sound("eac3", "mp4", 2, 44100, 192_000))
    yield _plain(
        "amr", Sound("libopencore_amrnb", "amr", 1, 8000, 12_200), likeness=0.5, scores=0.3,
        drift_s=0.01,
    )  # fmt: skip
    yield _plain("flv", Sound("nellymoser", "flv", 1, 44100), likeness=0.9)
    yield _plain("rm", Sound("real_144", "rm", 1, 8000), likeness=0.5, scores=0.3)
    yield _plain("g722", Sound("g722", "g722", 1, 16000))


def _lossless_rows():
    for rate, channels in (
        (44100, 2), (8000, 1), (48000, 3), (96000, 4), (44100, 5), (48000, 6), (44100, 7),
        (48000, 8), (192000, 2), (11025, 1), (22050, 2),
    ):  # fmt: skip
        yield _plain("flac", replace(FLAC, rate=rate, channels=channels))
    yield _plain("flac", Sound("PCM_S8", "FLAC", 1, 16000), likeness=0.9)
    yield _plain("flac", Sound("PCM_24", "FLAC", 2, 88200))
    yield _plain("flac", replace(FLAC, rate=176400, sample_format="s32"))
    for suffix, form in ("oga", "ogg"), ("mka", "matroska"), ("mp4", "mp4"), ("caf", "caf"):
        yield _plain(suffix, replace(FLAC, form=form))
    for rate, channels, depth in (44100, 2, "s16p"), (96000, 2, "s32p"), (48000, 1, "s16p"):
        yield _plain("m4a", Sound("alac", "ipod", channels, rate, sample_format=depth))
    yield _plain("m4a", Sound("alac", "ipod", 6, 48000, sample_format="s16p"))
    yield _plain("caf", Sound("alac", "caf", sample_format="s16p"))
    for channels, depth in (2, "s16p"), (1, "s32p"), (6, "s16p"), (8, "fltp"):
        yield _plain("wv", Sound("wavpack", "wv", channels, sample_format=depth), depth)
    yield _plain("mka", Sound("wavpack", "matroska", 2, sample_format="s16p"))
    for channels, depth in (2, "s16"), (1, "s32"), (6, "s16"):
        yield _plain("tta", Sound("tta", "tta", channels, sample_format=depth), depth)
    yield _plain("mka", Sound("tta", "matroska", 2, sample_format="s16"))


def _dsd_rows():
    dsd = Sound(DSD, "dsf", rate=by_hand.DSD_RATE // by_hand.DSD_HELD)
    for suffix, write in ("dsf", by_hand.dsf), ("dff", by_hand.dff):
        for channels in 1, 2:
            sound = replace(dsd, channels=channels)
            yield Clip(
                f"DSD in {suffix}, {channels}", suffix,
                lambda sound=sound, write=write: write(sound.at(sound.rate)), (sound,),
            )  # fmt: skip
    tag = by_hand.id3v2(b"Information", size=4000)
    yield Clip(
        "DSD in dsf with an ID3 tag", "dsf",
        lambda: by_hand.dsf(dsd.at(dsd.rate), tag=tag), (dsd,),
    )  # fmt: skip


def _pcm_rows():
    for subtype, likeness in (
        ("PCM_U8", 0.9), ("PCM_16", 0.95), ("PCM_24", 0.95), ("PCM_32", 0.95), ("FLOAT", 0.95),
        ("DOUBLE", 0.95), ("ALAW", 0.95), ("ULAW", 0.95), ("IMA_ADPCM", 0.95), ("MS_ADPCM", 0.95),
    ):  # fmt: skip
        yield _plain("wav", Sound(subtype, "WAV"), likeness=likeness)
    yield _plain("wav", Sound("GSM610", "WAV", 1, 8000), likeness=0.8)
    for rate, channels in (8000, 1), (48000, 3), (192000, 4), (44100, 5), (48000, 7), (48000, 8):
        yield _plain("wav", Sound("PCM_16", "WAVEX", channels, rate))
    yield _plain("wav", Sound("FLOAT", "WAVEX", 6, 96000))
    yield _plain("rf64", Sound("PCM_16", "RF64"))
    yield _plain("rf64", Sound("PCM_24", "RF64", 6, 48000))
    yield _plain("w64", Sound("PCM_16", "W64"))
    yield _plain("w64", Sound("DOUBLE", "W64", 1, 96000))
    for subtype, form, rate in (
        ("PCM_16", "AIFF", 44100), ("PCM_S8", "AIFF", 16000), ("PCM_24", "AIFF", 96000),
        ("PCM_32", "AIFF", 48000), ("FLOAT", "AIFF", 44100), ("DOUBLE", "AIFF", 44100),
        ("ALAW", "AIFF", 8000), ("ULAW", "AIFF", 22050), ("PCM_16", "AIFF:LITTLE", 44100),
        ("IMA_ADPCM", "AIFF", 44100),
    ):  # fmt: skip
        yield _plain(
            "aiff", Sound(subtype, form, 1 if subtype == "IMA_ADPCM" else 2, rate), likeness=0.9
        )
    yield _plain("aif", Sound("PCM_16", "AIFF", 8, 48000))
    for subtype, rate in ("PCM_16", 44100), ("FLOAT", 48000), ("ULAW", 8000), ("PCM_24", 32000):
        yield _plain("au", Sound(subtype, "AU", 2, rate))
    yield _plain("au", Sound("PCM_16", "AU:LITTLE"))
    for subtype, channels, rate in (
        ("PCM_16", 2, 44100), ("PCM_24", 1, 96000), ("FLOAT", 2, 48000), ("ALAC_16", 2, 44100),
        ("ALAC_24", 1, 44100), ("ULAW", 2, 44100), ("PCM_16", 6, 48000),
    ):  # fmt: skip
        yield _plain("caf", Sound(subtype, "CAF", channels, rate))
    for form, suffix, channels in (
        ("VOC", "voc", 2), ("NIST", "sph", 2), ("IRCAM", "sf", 2), ("AVR", "avr", 2),
        ("SVX", "iff", 1), ("PVF", "pvf", 2), ("PAF", "paf", 2), ("MAT4", "mat", 2),
    ):  # fmt: skip
        yield _plain(suffix, Sound("PCM_16", form, channels))
    yield _plain("htk", Sound("PCM_16", "HTK", 1, 16000))  # states its period in 100 ns
    for codec, form, suffix in (
        ("pcm_s16be", "mov", "mov"), ("pcm_s24be", "caf", "caf"), ("pcm_s24le", "matroska", "mka"),
        ("pcm_f32le", "matroska", "mka"), ("pcm_s16le", "avi", "avi"), ("pcm_s16le", "nut", "nut"),
        ("adpcm_ima_qt", "mov", "mov"),
        ("adpcm_yamaha", "wav", "wav"), ("pcm_s64le", "wav", "wav"),
        ("pcm_s16le_planar", "nut", "nut"),
    ):  # fmt: skip
        yield _plain(suffix, Sound(codec, form))
    yield _plain("caf", Sound("pcm_s24be", "caf", 8, 48000))
    yield _plain("flv", Sound("adpcm_swf", "flv"), slack_s=0.1)  # packets of 93 ms
    yield _plain("vob", Sound("pcm_dvd", "vob", 2, 48000))
    blu_ray = Sound("pcm_bluray", "mpegts", 2, 48000, form_options=(("mpegts_m2ts_mode", "1"),))
    yield _plain("m2ts", blu_ray)


def _odd(name, suffix, make, *sounds, **more):
    return Clip(name, suffix, make, sounds, **more)


def _joined(name, suffix, *sounds, **more):
    return _odd(name, suffix, lambda: b"".join(map(encode, sounds)), *sounds, **more)


def _bare(sound):
    return by_hand.without_id3v2(encode(sound))


def _joined_rows():
    other = MP3_OTHER
    yield _joined("MP3 twice", "mp3", MP3, MP3)
    yield _joined("MP3 and another of other rate and channels", "mp3", MP3, other)
    yield _joined("MP3 and another the other way round", "mp3", other, MP3)
    thrice = [replace(MP3, seed=seed) for seed in range(3)]
    yield _joined("three MP3s", "mp3", *thrice)
    yield _odd(
        "MP3 without Xing and another with it", "mp3",
        lambda: encode(replace(MP3, form_options=XING)) + encode(replace(MP3, seed=1)),
        MP3, replace(MP3, seed=1),
    )  # fmt: skip
    frames = replace(MP3, form_options=XING)
    yield _joined("MP3s without Xing", "mp3", frames, replace(frames, seed=1), slack_s=0.1)
    loud = replace(MP3, seed=2, bit_rate=320_000)
    yield _joined("MP3s of other bit rates", "mp3", MP3, loud)
    tagged = by_hand.id3v2(b"Information about LAME", size=3000)
    yield _odd(
        "MP3s with ID3 at both ends of both", "mp3",
        lambda: (tagged + _bare(MP3) + by_hand.id3v1(b"Info")) * 2, MP3, MP3,
    )  # fmt: skip
    yield _joined("MP2 twice", "mp2", MP2, MP2, slack_s=0.1)
    yield _joined("ADTS twice", "aac", ADTS, ADTS, slack_s=0.1)
    adts = replace(ADTS, channels=1, rate=22050, bit_rate=64_000, seed=1)
    yield _joined("ADTS and another of other rate and channels", "aac", ADTS, adts, slack_s=0.2)
    yield _joined("AC-3 twice", "ac3", AC3, AC3)
    surround = replace(AC3, channels=6, rate=32000, bit_rate=448_000, seed=1)
    yield _joined("AC-3 stereo and surround", "ac3", AC3, surround)
    eac3 = Sound("eac3", "eac3", 2, 48000, 192_000)
    yield _joined("E-AC-3 twice", "eac3", eac3, eac3)
    yield _joined("FLAC twice", "flac", FLAC, FLAC)
    yield _joined("FLAC and another", "flac", FLAC, replace(FLAC, seed=1, seconds=6.0))
    for name, changes in {"rate": {"rate": 22050}, "channels": {"channels": 1}}.items():
        other = replace(FLAC, seed=1, **changes)
        yield _joined(f"FLAC and another of other {name}", "flac", FLAC, other)
    yield _joined("transport streams", "ts", TS, TS, slack_s=0.1)
    mpeg = replace(MP2, form="mpeg")
    yield _joined("programme streams", "mpg", mpeg, mpeg, slack_s=0.1)
    g722 = Sound("g722", "g722", 1, 16000)
    yield _joined("G.722 twice", "g722", g722, g722)
    yield _joined("Matroska twice", "mka", MKA, MKA, slack_s=0.2)
    latm = replace(ADTS, form="latm")
    yield _joined("LATM twice", "aac", latm, latm, slack_s=0.2)
    yield _joined("chained Vorbis", "ogg", VORBIS, replace(VORBIS, seed=1))
    yield _joined("Vorbis three times", "ogg", *[replace(VORBIS, seed=seed) for seed in range(3)])
    yield _joined("chained Opus", "opus", OPUS, replace(OPUS, seed=1), slack_s=0.1)
    oga = replace(FLAC, form="ogg")
    yield _joined("chained FLAC", "oga", oga, replace(oga, seed=1))
    for name, before in ("junk", _noise(900)), ("an ID3 tag", tagged):
        for kind, suffix, sound in (
            ("Vorbis", "ogg", VORBIS), ("Opus", "opus", OPUS), ("FLAC", "oga", oga),
        ):  # fmt: skip
            pair = sound, replace(sound, seed=1)
            yield _odd(
                f"chained {kind} after {name}",
                suffix,
                lambda before=before, pair=pair: before + b"".join(map(encode, pair)),
                *pair,
                slack_s=0.1,
            )


def _ended_rows():
    """Joined, where the first has an end at which decoders stop."""
    wavpack, tta = Sound("wavpack", "wv", sample_format="s16p"), Sound("tta", "tta")
    for suffix, sound, note in (
        ("wv", wavpack, "WavPack"), ("wv", replace(wavpack, channels=6), "WavPack of 5.1"),
        ("tta", replace(tta, sample_format="s16"), "TTA"), ("wav", PCM, "WAV"),
        ("rf64", Sound("PCM_16", "RF64"), "RF64"), ("w64", Sound("PCM_16", "W64"), "W64"),
        ("aiff", Sound("PCM_16", "AIFF"), "AIFF"), ("au", Sound("PCM_16", "AU"), "AU"),
        ("caf", Sound("PCM_16", "CAF"), "CAF"), ("iff", Sound("PCM_16", "SVX", 1), "16SV"),
        ("voc", Sound("PCM_16", "VOC"), "VOC"), ("sph", Sound("PCM_16", "NIST"), "NIST"),
        ("m4a", M4A, "M4A"), ("m4a", Sound("alac", "ipod", sample_format="s16p"), "ALAC"),
        ("mov", Sound("pcm_s16be", "mov"), "QuickTime"), ("m4a", FRAGMENTS, "fragmented M4A"),
        ("flv", replace(MP3, form="flv"), "FLV"), ("nut", replace(M4A, form="nut"), "NUT"),
        ("wma", Sound("wmav2", "asf", bit_rate=128_000), "WMA"),
    ):  # fmt: skip
        slack_s = 0.15 if suffix == "flv" else 0.1 if sound.bit_rate else 0.05
        other = replace(sound, seed=1, channels=1, rate=22050)
        yield _joined(f"{note} and another of other rate", suffix, sound, other, slack_s=slack_s)
    amr = Sound("libopencore_amrnb", "amr", 1, 8000, 12_200)
    yield _joined("AMR twice", "amr", amr, amr, likeness=0.5, scores=0.3, drift_s=0.01)
    rm = Sound("real_144", "rm", 1, 8000)
    yield _joined("RealMedia twice", "rm", rm, rm, likeness=0.5, scores=0.3)
    dsd = Sound(DSD, "dsf", rate=by_hand.DSD_RATE // by_hand.DSD_HELD)
    for suffix, write in ("dsf", by_hand.dsf), ("dff", by_hand.dff):
        yield _odd(
            f"{suffix} twice", suffix, lambda write=write: write(dsd.at(dsd.rate)) * 2, dsd, dsd
        )
    odd = by_hand.chunk(b"LIST", b"INFOINAM\x05\0\0\0abcd\0")
    pcm = PCM.at(PCM.rate)
    yield _odd(
        "WAVs with LIST and zeros between", "wav",
        lambda: by_hand.wav(pcm, PCM.rate, after=odd) + bytes(700) + by_hand.wav(pcm, PCM.rate),
        PCM, PCM,
    )  # fmt: skip
    ttas = [replace(tta, sample_format="s16", seed=seed) for seed in (0, 1)]
    yield _odd(
        "TTAs with tags between", "tta",
        lambda: b"".join(
            by_hand.id3v2(b"TTA1", size=900) + encode(sound) + by_hand.ape(b"Title", b"A")
            + by_hand.id3v1(b"A") for sound in ttas
        ), *ttas,
    )  # fmt: skip


def _length_rows():
    yield _odd(
        "FLAC of no stated length",
        "flac",
        lambda: by_hand.patched_flac(encode(FLAC), total=lambda _: 0),
        FLAC,
    )
    yield _odd(
        "FLAC that states half its length",
        "flac",
        lambda: by_hand.patched_flac(encode(FLAC), total=lambda all_: all_ // 2),
        FLAC,
    )
    yield _odd("FLAC from a pipe", "flac", lambda: streamed(FLAC), FLAC)

    def wav(**how):
        return by_hand.wav(PCM.at(PCM.rate), PCM.rate, **how)

    yield _odd("WAV of data size 0", "wav", lambda: wav(size=0), PCM)
    yield _odd("WAV of data size -1", "wav", lambda: wav(size=0xFFFFFFFF), PCM)
    yield _odd("WAV of data size 2 GB", "wav", lambda: wav(size=0x7FFFFFFF), PCM)
    yield _odd("WAV of data size 4 GB less a header", "wav", lambda: wav(size=0xFFFFFFDB), PCM)
    for sound, suffix in (
        (PCM, "wav"), (replace(PCM, codec="pcm_s16be", form="au"), "au"), (MKA, "mka"),
        (replace(OPUS, form="webm"), "webm"), (replace(MP3, form="flv"), "flv"), (MP3, "mp3"),
        (Sound("wavpack", "wv", sample_format="s16p"), "wv"), (replace(MP3, form="avi"), "avi"),
        (Sound("wmav2", "asf", bit_rate=128_000), "wma"), (OPUS, "opus"),
        (replace(PCM, codec="pcm_s16be", form="caf"), "caf"),
    ):  # fmt: skip
        yield _odd(
            f"{sound.codec} in {sound.form} from a pipe",
            suffix,
            lambda sound=sound: streamed(sound),
            sound,
        )
    live = replace(MKA, form_options=(("live", "1"),))
    yield _odd("live Matroska", "mka", lambda: encode(live), live)
    yield _odd("MP4 in fragments", "m4a", lambda: encode(FRAGMENTS), FRAGMENTS)
    delayed = replace(FRAGMENTS, form_options=DELAYED)
    yield _odd("MP4 in fragments, delayed header", "m4a", lambda: encode(delayed), delayed)
    alac = replace(FRAGMENTS, codec="alac", sample_format="s16p", bit_rate=0)
    yield _odd("ALAC in fragments", "m4a", lambda: encode(alac), alac)
    yield _odd(
        "CAF of data size -1", "caf", lambda: by_hand.caf(PCM.at(44100), 44100, size=-1), PCM
    )
    yield _odd(
        "AU of data size -1", "au", lambda: by_hand.au(PCM.at(44100), 44100, size=0xFFFFFFFF), PCM
    )

    def xing(**changes):
        return lambda: by_hand.patched_xing(encode(MP3), **changes)

    yield _odd(
        "Xing of half the frames", "mp3", xing(frames=lambda all_: all_ // 2), MP3, likeness=0.65,
        drift_s=0.02,
    )  # fmt: skip
    yield _odd(
        "Xing of half the frames and bytes",
        "mp3",
        xing(frames=lambda all_: all_ // 2, size=lambda all_: all_ // 2),
        MP3,
    )
    yield _odd("Xing of no frames", "mp3", xing(frames=lambda _: 0), MP3)
    yield _odd("Xing of one frame", "mp3", xing(frames=lambda _: 1), MP3)
    yield _odd(
        "Xing of twice the frames and its bytes", "mp3", xing(frames=lambda all_: 2 * all_), MP3
    )
    yield _odd("Xing in a file of constant bit rate", "mp3", xing(name=b"Xing"), MP3)
    yield _odd("VBRI", "mp3", lambda: by_hand.with_vbri(encode(MP3)), MP3)
    yield _odd(
        "VBRI of half the frames", "mp3", lambda: by_hand.with_vbri(encode(MP3), factor=0.5), MP3
    )

    def longer_m4a(*names):
        def change(name, whole):
            if name not in names:
                return whole
            at = {b"mvhd": 24, b"mdhd": 24, b"tkhd": 28}[name]
            assert whole[8] == 0
            stated = int.from_bytes(whole[at : at + 4], "big")
            return whole[:at] + (3 * stated).to_bytes(4, "big") + whole[at + 4 :]

        return lambda: by_hand.changed_atoms(encode(M4A), change)

    yield _odd("M4A whose film lasts thrice as long", "m4a", longer_m4a(b"mvhd", b"tkhd"), M4A)
    yield _odd(
        "M4A whose media lasts thrice as long", "m4a", longer_m4a(b"mvhd", b"tkhd", b"mdhd"), M4A
    )


def _quiet_rows():
    """Quiet at first, so that an estimate from the first frames is far off."""
    for name, suffix, sound in (
        ("ADTS", "aac", replace(ADTS, rate=48000)),
        ("variable MP3 without Xing", "mp3",
         replace(MP3, bit_rate=0, form_options=XING,
                 options=(("global_quality", "236"), ("flags", "+qscale")))),
        ("transport stream", "ts", TS), ("FLAC", "flac", FLAC), ("Vorbis", "ogg", VORBIS),
        ("LATM", "aac", replace(ADTS, form="latm")),
    ):  # fmt: skip
        quiet = replace(sound, level=0.01, seed=3)
        yield _joined(
            f"quiet and then loud {name}", suffix, quiet, sound, likeness=0.9, slack_s=0.15
        )


def _picture_rows():
    for form, codec, sound in (
        ("matroska", "mpeg4", MKA), ("mp4", "mpeg4", M4A), ("mov", "mjpeg", M4A),
        ("webm", "libvpx", OPUS), ("avi", "mpeg4", MP3),
        ("matroska", "mjpeg", replace(OPUS, channels=1)),
        ("asf", "mpeg4", Sound("wmav2", "asf", bit_rate=128_000)),
        ("mpegts", "mpeg2video", MP2), ("flv", "flv1", MP3),
    ):  # fmt: skip
        suffix = {"matroska": "mkv", "asf": "wmv", "mpegts": "ts"}.get(form, form)
        for seconds, what in (9.0, "longer"), (1.0, "shorter"):
            if form in ("mpegts", "flv") and seconds < SECONDS:
                continue
            yield _odd(
                f"{codec} {what} than {sound.codec} in {form}", suffix,
                lambda sound=sound, form=form, codec=codec, seconds=seconds: with_picture(
                    sound, form, codec, seconds
                ), sound,
            )  # fmt: skip
    for suffix, sound, form in (
        ("mp3", MP3, "mp3"), ("m4a", M4A, "mp4"), ("flac", FLAC, "flac"), ("mka", MKA, "matroska"),
    ):  # fmt: skip
        yield _odd(f"{form} with a cover", suffix, lambda s=sound, f=form: with_cover(s, f), sound)
    yield _odd(
        "FLAC with a cover of 2 MB",
        "flac",
        lambda: by_hand.patched_flac(encode(FLAC), blocks=by_hand.flac_picture(2 << 20)),
        FLAC,
    )
    cover = b"METADATA_BLOCK_PICTURE=" + b"QUJD" * 200_000
    for kind, suffix, sound in ("vorbis", "ogg", VORBIS), ("opus", "opus", OPUS):
        yield _odd(
            f"{kind} with a cover of 800 kB in its comments", suffix,
            lambda sound=sound, kind=kind: by_hand.ogg_comment(encode(sound), kind, cover), sound,
        )  # fmt: skip


def _tag_rows():
    for word in b"Info", b"Xing", b"LAME", b"VBRI", b"fLaC", b"OggS", b"RIFF1234WAVE", b"ftypM4A ":
        yield _odd(
            f"MP3 with {word.decode()} in its title", "mp3",
            lambda word=word: by_hand.id3v2(b"A " + word + b"\xff" * 8, size=999) + _bare(MP3), MP3,
        )  # fmt: skip
    fake = b"\xff\xfb\x90\x64" + bytes(32) + b"Info\0\0\0\x03\0\0\0\x20\0\0\x30\0"
    yield _odd(
        "MP3 with a whole Info header in a tag",
        "mp3",
        lambda: by_hand.id3v2(fake, name=b"PRIV", size=5000) + _bare(MP3),
        MP3,
    )
    frames = replace(MP3, form_options=XING)
    yield _odd(
        "MP3 without Xing with Info in its title",
        "mp3",
        lambda: by_hand.id3v2(b"Info Xing", size=2000) + _bare(frames),
        frames,
    )
    huge = 12 << 20
    for name, suffix, sound in ("MP3", "mp3", MP3), ("ADTS", "aac", ADTS), ("MP2", "mp2", MP2):
        yield _odd(
            f"{name} with an ID3 tag of 12 MB",
            suffix,
            lambda sound=sound: by_hand.id3v2(size=huge) + _bare(sound),
            sound,
        )
    yield _odd(
        "MP3 with two ID3 tags and a footer",
        "mp3",
        lambda: by_hand.id3v2(b"one", footer=True) + by_hand.id3v2(b"two", size=900) + _bare(MP3),
        MP3,
    )
    yield _odd(
        "MP3 with ID3v1 and APE after",
        "mp3",
        lambda: encode(MP3) + by_hand.ape(b"Title", b"Info") + by_hand.id3v1(b"Xing"),
        MP3,
    )
    yield _odd(
        "MP3 with APE before", "mp3", lambda: by_hand.ape(b"Title", b"Info" * 50) + _bare(MP3), MP3
    )
    yield _odd(
        "ADTS with ID3v1 and APE after",
        "aac",
        lambda: encode(ADTS) + by_hand.ape(b"Title", b"A") + by_hand.id3v1(b"B"),
        ADTS,
    )
    for name, suffix, sound in (
        ("FLAC", "flac", FLAC), ("AC-3", "ac3", AC3),
        ("TTA", "tta", Sound("tta", "tta", sample_format="s16")),
    ):  # fmt: skip
        yield _odd(
            f"{name} after an ID3 tag",
            suffix,
            lambda sound=sound: by_hand.id3v2(b"Info", size=3000) + encode(sound),
            sound,
        )
    yield _odd(
        "FLAC with ID3v1 after", "flac", lambda: encode(FLAC) + by_hand.id3v1(b"\xff\xf8"), FLAC
    )


def _noise(size, seed=0):
    """Bytes among which no sync word of MPEG is."""
    return np.random.default_rng(seed).integers(0, 0x7F, size, np.uint8).tobytes()


def _junk_rows():
    for name, suffix, sound in (
        ("MP3", "mp3", MP3), ("ADTS", "aac", ADTS), ("AC-3", "ac3", AC3), ("MP2", "mp2", MP2),
        ("Vorbis", "ogg", VORBIS), ("transport stream", "ts", TS),
    ):  # fmt: skip
        yield _odd(
            f"{name} after 1000 bytes of junk",
            suffix,
            lambda sound=sound: _noise(1000) + _bare(sound),
            sound,
        )
        if sound is not TS:
            yield _odd(
                f"{name} after 20 kB of zeros",
                suffix,
                lambda sound=sound: bytes(20_000) + _bare(sound),
                sound,
            )
    for name, suffix, sound in (
        ("MP3", "mp3", MP3), ("ADTS", "aac", ADTS), ("AC-3", "ac3", AC3), ("FLAC", "flac", FLAC),
        ("Vorbis", "ogg", VORBIS), ("Opus", "opus", OPUS), ("M4A", "m4a", M4A), ("WAV", "wav", PCM),
        ("transport stream", "ts", TS), ("Matroska", "mka", MKA), ("MP2", "mp2", MP2),
        ("WMA", "wma", Sound("wmav2", "asf", bit_rate=128_000)),
        ("AIFF", "aiff", Sound("PCM_16", "AIFF")),
        ("WavPack", "wv", Sound("wavpack", "wv", sample_format="s16p")),
        ("TTA", "tta", Sound("tta", "tta", sample_format="s16")),
    ):  # fmt: skip
        yield _odd(
            f"{name} with 20 kB of zeros after",
            suffix,
            lambda sound=sound: encode(sound) + bytes(20_000),
            sound,
        )
        yield _odd(
            f"{name} with junk after",
            suffix,
            lambda sound=sound: encode(sound) + _noise(3000),
            sound,
        )
    low = replace(MP3, channels=1, rate=8000, bit_rate=16_000)
    for name, sound, before in (
        ("MP3 after 300 kB of zeros", MP3, bytes(300_000)),
        ("MP3 after zeros and its ID3 tag", MP3, bytes(5000) + by_hand.id3v2(b"Info", size=900)),
        ("MP3 of 8 kHz after junk", low, _noise(30_000)),
    ):
        yield _odd(
            name, "mp3", lambda before=before, sound=sound: before + _bare(sound), sound,
            likeness=0.9,
        )  # fmt: skip
    other = replace(MP3, seed=1)
    for name, junk in ("junk", _noise(5000)), ("zeros", bytes(5000)), ("text", b"<html>" * 500):
        yield _odd(
            f"MP3s with {name} between",
            "mp3",
            lambda junk=junk: encode(MP3) + junk + _bare(other),
            MP3,
            other,
        )
        yield _odd(
            f"ADTS with {name} between",
            "aac",
            lambda junk=junk: encode(ADTS) + junk + encode(replace(ADTS, seed=1)),
            ADTS,
            replace(ADTS, seed=1),
            slack_s=0.15,
        )
    yield _odd(
        "FLACs with junk between",
        "flac",
        lambda: encode(FLAC) + _noise(5000) + encode(replace(FLAC, seed=1)),
        FLAC,
        replace(FLAC, seed=1),
    )
    frames = replace(MP3, form_options=XING)
    yield _odd("MP3 from the middle of a frame on", "mp3", lambda: _bare(frames)[150:], frames)
    yield _odd("ADTS from the middle of a frame on", "aac", lambda: encode(ADTS)[150:], ADTS)
    yield _odd(
        "transport stream from the middle of a packet on",
        "ts",
        lambda: encode(TS)[60:],
        TS,
        slack_s=0.1,
    )


def _riff_rows():
    def wav(**how):
        return lambda: by_hand.wav(PCM.at(PCM.rate), PCM.rate, **how)

    odd = by_hand.chunk(b"LIST", b"INFOINAM\x05\0\0\0abcd\0")
    for name, how in {
        "LIST before the data": {"before": odd},
        "an odd chunk before the data": {"before": by_hand.chunk(b"note", b"abc")},
        "bext and JUNK before the data": {
            "before": by_hand.chunk(b"bext", bytes(602)) + by_hand.chunk(b"JUNK", bytes(3001))
        },
        "3 MB before the data": {"before": by_hand.chunk(b"PAD ", bytes(3 << 20))},
        "an ID3 chunk before the data": {
            "before": by_hand.chunk(b"id3 ", by_hand.id3v2(b"Information", size=2000))
        },
        "the word data in a chunk before the data": {
            "before": by_hand.chunk(b"LIST", b"INFOISFT\x0c\0\0\0data\x10\0\0\0abcd")
        },
        "LIST, cue and smpl after the data": {
            "after": odd + by_hand.chunk(b"cue ", bytes(28)) + by_hand.chunk(b"smpl", bytes(60))
        },
        "an fmt of 18 bytes": {"fmt_size": 18},
        "an fmt of 50 bytes": {"fmt_size": 50},
        "an fmt for extensions": {"extensible": True},
        "an fmt for extensions, 12 bits": {"extensible": True, "valid_bits": 12},
    }.items():
        yield _odd(f"WAV with {name}", "wav", wav(**how), PCM)

    def samples():
        return PCM.at(PCM.rate)

    for name, how in {
        "its sound first": {"sound_first": True}, "an offset": {"offset": 16},
        "odd chunks before": {"extra": by_hand.chunk(b"NAME", b"abc", ">")
                              + by_hand.chunk(b"ANNO", b"x" * 5001, ">")},
        "ID3 before": {"extra": by_hand.chunk(b"ID3 ", by_hand.id3v2(b"Information"), ">")},
    }.items():  # fmt: skip
        yield _odd(
            f"AIFF with {name}",
            "aiff",
            lambda how=how: by_hand.aiff(samples(), PCM.rate, **how),
            PCM,
        )
    yield _odd(
        "AU with a long note",
        "au",
        lambda: by_hand.au(samples(), PCM.rate, note=b"Info" * 1000),
        PCM,
    )
    yield _odd(
        "CAF with free and unknown chunks",
        "caf",
        lambda: by_hand.caf(
            samples(),
            PCM.rate,
            extra=by_hand.caf_chunk(b"free", bytes(5000)) + by_hand.caf_chunk(b"uuid", bytes(33)),
        ),
        PCM,
    )


def _flac_rows():
    for name, how in {
        "padding of 1 MB": {"blocks": by_hand.flac_block(1, bytes(1 << 20))},
        "an application's block": {"blocks": by_hand.flac_block(2, b"ATCHfLaC" * 50)},
        "an empty seek table": {"blocks": by_hand.flac_block(3, b"\xff" * 8 + bytes(10))},
        "an unknown block": {"blocks": by_hand.flac_block(100, b"\xff\xf8" * 500)},
        "no MD5": {"md5": bytes(16)},
        "a wrong MD5": {"md5": b"0123456789abcdef"},
    }.items():
        yield _odd(
            f"FLAC with {name}",
            "flac",
            lambda how=how: by_hand.patched_flac(encode(FLAC), **how),
            FLAC,
        )
    for name, options in {
        "blocks of 16 ms": (("frame_size", "720"),),
        "no compression": (("compression_level", "0"),),
        "most compression": (("compression_level", "12"), ("strict", "experimental")),
    }.items():  # fmt: skip
        sound = replace(FLAC, options=options)
        yield _odd(f"FLAC with {name}", "flac", lambda sound=sound: encode(sound), sound)


def _ogg_rows():
    def opus_pages():
        return by_hand.ogg_pages(encode(OPUS))

    yield _odd(
        "Opus with a packet a page",
        "opus",
        lambda: by_hand.one_packet_a_page(encode(OPUS), 960),
        OPUS,
    )
    short = replace(OPUS, options=(("frame_duration", "2.5"),), bit_rate=128_000)
    yield _odd("Opus in packets of 2.5 ms", "opus", lambda: encode(short), short)
    long = replace(OPUS, options=(("frame_duration", "60"),))
    yield _odd("Opus in packets of 60 ms", "opus", lambda: encode(long), long, slack_s=0.07)

    def shifted(by):
        def make():
            return by_hand.ogg(
                [
                    page._replace(granule=page.granule + by) if page.granule > 0 else page
                    for page in opus_pages()
                ]
            )

        return make

    yield _odd("Opus whose clock begins at two hours", "opus", shifted(2 * 3600 * 48000), OPUS)
    yield _odd("Opus whose clock runs 400 samples ahead", "opus", lambda: by_hand.ogg([
        page._replace(granule=page.granule + 400)
        if page.granule > 0 and not page.flags & 4 else page for page in opus_pages()
    ]), OPUS)  # fmt: skip

    def vorbis_from_the_air():
        pages = by_hand.ogg_pages(encode(VORBIS))
        return by_hand.ogg(
            [
                page._replace(granule=page.granule + 10**8) if page.granule > 0 else page
                for page in pages
            ]
        )

    yield _odd("Vorbis whose clock begins late", "ogg", vorbis_from_the_air, VORBIS)

    def without_end():
        pages = by_hand.ogg_pages(encode(VORBIS))
        return by_hand.ogg([page._replace(flags=page.flags & ~4) for page in pages])

    yield _odd("Vorbis without a last page", "ogg", without_end, VORBIS)

    def empty_pages():
        pages = []
        for page in by_hand.ogg_pages(encode(VORBIS)):
            pages.append(page._replace(number=len(pages)))
            if page.granule > 0 and not page.flags & 4:
                empty = page._replace(number=len(pages), lacing=b"", body=b"", flags=0)
                pages.append(empty)
        return by_hand.ogg(pages)

    yield _odd("Vorbis with empty pages", "ogg", empty_pages, VORBIS)
    small = Sound("vorbis", "ogg", form_options=(("page_duration", "20000"),))
    yield _odd("Vorbis in small pages", "ogg", lambda: encode(small), small)
    yield _odd(
        "Vorbis with a skeleton", "ogg", lambda: by_hand.with_skeleton(encode(VORBIS)), VORBIS
    )


def _mpeg4_rows():
    def free(size, name=b"free"):
        return by_hand.atom(name, bytes(size))

    def parts(sound=M4A):
        return dict(by_hand.atoms(encode(sound)))

    def header_first(*between, media=None, change=None):
        """The header before the sound, and other atoms between them."""

        def make():
            found = parts()
            order = [name for name, _ in by_hand.atoms(encode(M4A))]
            was = sum(len(found[name]) for name in order[: order.index(b"mdat")])
            moov = change(found[b"moov"]) if change else found[b"moov"]
            filling = b"".join(between)
            body = found[b"mdat"][8:]
            mdat = (media or (lambda body: by_hand.atom(b"mdat", body)))(body)
            now = len(found[b"ftyp"]) + len(moov) + len(filling) + len(mdat) - len(body) - 8
            return found[b"ftyp"] + by_hand.moved(moov, now - was) + filling + mdat

        return make

    yield _odd(
        "M4A with free, skip and wide",
        "m4a",
        header_first(free(5000), free(0), free(77, b"skip"), free(0, b"wide")),
        M4A,
    )
    yield _odd(
        "M4A with uuid and an unknown atom",
        "m4a",
        header_first(free(500, b"uuid"), free(33, b"Info")),
        M4A,
    )
    yield _odd(
        "M4A with a size of 64 bits",
        "m4a",
        header_first(
            media=lambda body: b"\0\0\0\1mdat" + (16 + len(body)).to_bytes(8, "big") + body
        ),
        M4A,
    )
    yield _odd(
        "M4A whose sound lasts to the end",
        "m4a",
        header_first(media=lambda body: b"\0\0\0\0mdat" + body),
        M4A,
    )
    yield _odd(
        "M4A with atoms at its end", "m4a", lambda: encode(M4A) + free(900) + free(90, b"abcd"), M4A
    )
    yield _odd(
        "M4A without its file type", "m4a", lambda: encode(M4A).replace(b"ftyp", b"free", 1), M4A
    )

    def wide_offsets():
        names = by_hand.atoms(encode(M4A))
        return b"".join(
            by_hand.with_co64(whole) if name == b"moov" else whole for name, whole in names
        )

    yield _odd("M4A with offsets of 64 bits", "m4a", wide_offsets, M4A)
    yield _odd("M4A with its header first", "m4a", header_first(), M4A)
    alac = Sound("alac", "ipod", sample_format="s16p")
    for name, sound, *edits in (
        ("AAC", M4A, (0, 1024)), ("ALAC", alac, (0, 0)),
        ("ALAC behind a pause", alac, (87, -1), (0, 0)), ("PCM", Sound("pcm_s16be", "mov"), (0, 0)),
        ("AAC in fragments", replace(FRAGMENTS, form_options=DELAYED), (0, 1024)),
    ):  # fmt: skip
        yield _odd(
            f"{name} with an edit of no duration", "m4a",
            lambda sound=sound, edits=edits: by_hand.edited(encode(sound), *edits), sound,
        )  # fmt: skip


def _he_aac_rows():
    """Decoders add 481 samples of the core's rate, 22 ms, which no container states."""
    for rate, channels, kind in (
        (22050, 2, 5), (24000, 1, 5), (16000, 2, 5), (22050, 1, 29), (24000, 1, 29),
    ):  # fmt: skip
        sound = replace(M4A, rate=rate, channels=channels, bit_rate=64_000)
        yield _odd(
            f"HE-AAC v{1 if kind == 5 else 2} in M4A, {channels} of {2 * rate} Hz", "m4a",
            lambda sound=sound, kind=kind: by_hand.he_aac(
                encode(sound), sound.rate, sound.channels, kind=kind
            ), sound,
        )  # fmt: skip
    for rate, channels in (22050, 2), (24000, 1):
        sound = replace(ADTS, rate=rate, channels=channels, bit_rate=64_000)
        yield _odd(
            f"HE-AAC in ADTS, {channels} of {2 * rate} Hz", "aac",
            lambda sound=sound: by_hand.he_adts(encode(sound)), sound, slack_s=0.075,
        )  # fmt: skip
    plain = replace(ADTS, seed=1)
    high = replace(ADTS, rate=22050, bit_rate=64_000)
    yield _odd(
        "ADTS and HE-AAC in ADTS", "aac", lambda: encode(plain) + by_hand.he_adts(encode(high)),
        plain, high, slack_s=0.15,
    )  # fmt: skip


def _stream_rows():
    first, second = replace(MKA, seed=0), replace(MKA, seed=1)
    for form, suffix in ("matroska", "mka"), ("mp4", "mp4"):
        yield _odd(
            f"{form} whose second sound is the default",
            suffix,
            lambda form=form: multiplexed(first, second, form=form, default=1),
            second,
        )
        yield _odd(
            f"{form} whose first sound is the default",
            suffix,
            lambda form=form: multiplexed(first, second, form=form, default=0),
            first,
        )
    surround = replace(MKA, seed=2, channels=6, bit_rate=320_000)
    yield _odd(
        "Matroska whose second sound has more channels and is not the default",
        "mka",
        lambda: multiplexed(first, surround, form="matroska", default=0),
        first,
    )
    opus = replace(OPUS, seed=3, channels=1)
    yield _odd(
        "WebM whose third sound is the default",
        "webm",
        lambda: multiplexed(OPUS, replace(OPUS, seed=1), opus, form="webm", default=2),
        opus,
    )
    yield _odd(
        "Matroska of two sounds without a default",
        "mka",
        lambda: multiplexed(first, second, form="matroska", default_mode="passthrough"),
        first,
    )
    for form, suffix in ("mpegts", "ts"), ("avi", "avi"), ("mov", "mov"):
        yield _odd(
            f"{form} of two sounds without a default",
            suffix,
            lambda form=form: multiplexed(first, second, form=form),
            first,
        )
    oggs = VORBIS, replace(VORBIS, seed=1)

    def multiplexed_ogg():
        groups = [by_hand.ogg_pages(encode(sound)) for sound in oggs]
        pages = [groups[0][0], groups[1][0]._replace(serial=7)]
        for one, two in zip(groups[0][1:], groups[1][1:], strict=False):
            pages += [one, two._replace(serial=7)]
        return by_hand.ogg(pages)

    yield _odd("Ogg of two sounds", "ogg", multiplexed_ogg, oggs[0])
    yield _odd(
        "transport stream with empty packets",
        "ts",
        lambda: by_hand.with_null_packets(encode(TS)),
        TS,
    )
    for name, options in {
        "clusters of 100 ms": (("cluster_time_limit", "100"),),
        "its cues first": (("reserve_index_space", "5000"),),
        "no CRC-32": (("write_crc32", "0"),),
    }.items():
        sound = replace(MKA, form_options=options)
        yield _odd(f"Matroska with {name}", "mka", lambda sound=sound: encode(sound), sound)
    m2ts = replace(TS, form_options=(("mpegts_m2ts_mode", "1"),))
    yield _odd("transport stream in packets of 192 bytes", "m2ts", lambda: encode(m2ts), m2ts)


def _beyond_rows():
    """What FFmpeg's program stops at or gets wrong, though the file says it all."""
    low = replace(FLAC, seed=1, channels=1, rate=22050)
    yield _joined("FLAC and another of other rate and channels", "flac", FLAC, low)
    yield _joined("FLAC and another the other way round", "flac", low, FLAC)
    yield _odd(
        "FLACs with ID3 at both ends of both", "flac",
        lambda: b"".join(
            by_hand.id3v2(b"fLaC", size=9000) + encode(sound) + by_hand.id3v1(b"fLaC")
            for sound in (FLAC, low)
        ),
        FLAC, low,
    )  # fmt: skip
    for name, changes in {
        "rate": {"rate": 22050},
        "channels": {"channels": 1},
        "rate and channels": {"rate": 22050, "channels": 1},
    }.items():
        other = replace(VORBIS, seed=1, **changes)
        yield _joined(f"chained Vorbis of other {name}", "ogg", VORBIS, other)
    yield _joined(
        "chained Opus of other channels",
        "opus",
        OPUS,
        replace(OPUS, seed=1, channels=1, bit_rate=48_000),
        slack_s=0.1,
    )
    pcm = PCM.at(PCM.rate)
    half = pcm.shape[1] * 2
    yield _odd(
        "WAV of half its data size", "wav", lambda: by_hand.wav(pcm, PCM.rate, size=half), PCM
    )
    yield _odd(
        "WAV with big-endian numbers", "wav", lambda: by_hand.wav(pcm, PCM.rate, order=">"), PCM
    )


def _rows():
    for part in (
        _mp3_rows, _lossy_rows, _lossless_rows, _dsd_rows, _pcm_rows, _joined_rows, _ended_rows,
        _length_rows, _quiet_rows, _picture_rows, _tag_rows, _junk_rows, _riff_rows, _flac_rows,
        _ogg_rows, _mpeg4_rows, _he_aac_rows, _stream_rows, _beyond_rows,
    ):  # fmt: skip
        yield from part()


CLIPS = tuple(_rows())
