"""Decode by FFmpeg, through PyAV, or by libsndfile: blocks of mono samples, and what was lost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import AudioError

if TYPE_CHECKING:
    import av

FORMATS = (
    "3dostr,aa,aac,aax,ac3,ac4,acm,act,adp,ads,adx,aea,afc,aiff,aix,amr,amrnb,amrwb,apac,apc,ape,"
    "aptx,aptx_hd,asf,asf_o,ast,au,avi,avr,bfstm,binka,bonk,boa,brstm,caf,codec2,dcstr,dfpwm,dsf,"
    "dss,dts,dtshd,dv,eac3,epaf,flac,flv,fsb,fwse,g722,gsm,gxf,hca,hcom,iamf,iff,ircam,iss,kvag,"
    "laf,lc3,live_flv,loas,matroska,mca,mlp,mmf,mov,mp3,mpc,mpc8,mpeg,mpegts,msf,mtaf,musx,mxf,"
    "nistsphere,nsp,nut,nuv,ogg,oma,osq,paf,pvf,qcp,qoa,r3d,rka,rm,rso,sbc,sds,sdx,shn,sol,sox,"
    "spdif,svag,svs,swf,tak,truehd,tta,ty,vag,voc,vpk,vqf,w64,wady,wav,wavarc,webm,wsd,wtv,wv,wve,"
    "xa,xvag,xwma"
)
"""What FFmpeg plays as one recording: no playlists and nothing else that opens other files."""

BLOCK_S = 10.0
"""About how many seconds are decoded at once."""
BLOCK_VALUES = 1 << 22
"""So many samples of all channels are held at most, whatever rate and channels a header claims."""

LONGEST_S = 30 * 86400.0
"""A month. A file that states a longer duration is not believed."""

LOWEST_RATE = 1_000
HIGHEST_RATE = 1_000_000
_DSD_RATE = 1 << 23
"""FFmpeg divides the bits of DSD by eight: 352,800 Hz for DSD64, 2.8 MHz for DSD512."""

_TOLERATED_S = 1.0
_TOLERATED_PART = 0.02
_NEGLIGIBLE_S = 0.005

_TITLES_ARE_LENIENT = 19
"""PyAV from this version on reads titles that are not UTF-8 without being told how."""

_MOST_PLANES = 7
"""PyAV reads planar frames of more channels out of bounds."""
_SCALES: Mapping[str, float] = {"u8": 2.0**-7, "s16": 2.0**-15, "s32": 2.0**-31}
_NUMPY_FORMATS = frozenset(
    {"u8", "u8p", "s16", "s16p", "s32", "s32p", "flt", "fltp", "dbl", "dblp"}
)  # fmt: skip
"""Sample formats that PyAV turns into arrays."""

_SYNC_WORDS = {
    "mp1": (0xFFE0, 0xFFE0), "mp2": (0xFFE0, 0xFFE0), "mp3": (0xFFE0, 0xFFE0),
    "aac": (0xFFE0, 0xFFE0), "ac3": (0xFFFF, 0x0B77), "eac3": (0xFFFF, 0x0B77),
}  # fmt: skip
"""Mask and value of the first 16 bits of a packet, in the formats of ``_BARE``."""
_BARE = ("mp3", "aac", "ac3", "eac3", "mpegts")

_UNREAD = 1 << 16
_MOST_FAILURES = 16
"""After so many errors in a row a file is taken to end."""
GAP_S = 0.05
_MOST_MP3_PADDING = 3 * 4096
"""Samples of an MP3 that are not sound: delay and padding have 12 bits each in LAME's header."""


class NotDecodedError(AudioError):
    """A decoder does not take a file; another may."""


class Block(NamedTuple):
    """Some of the sound: the mean of all channels, (samples,), at a rate that may change, in Hz."""

    samples: NDArray[np.float32]
    sample_rate: int


@dataclass(eq=False)
class Decoded:
    """A recording that is being decoded.

    Parameters
    ----------
    sample_rate : int
        Of its beginning, in Hz.
    blocks : iterator of Block
        Running through it may raise :class:`~musicnn_zoo.errors.AudioError`.
    skipped_s, decoded_s, lost_s : float
        Seconds at the beginning that were not asked for, that were decoded so far, and that could
        not be decoded. When the blocks have ended, what the file states beyond them counts as lost.
    stated_s : float or None
        The duration that the file states, if much of it is missing.
    broken : str
        Why the decoder stopped before the end of the file; empty if it did not.
    """

    sample_rate: int
    blocks: Iterator[Block]
    skipped_s: float = 0.0
    decoded_s: float = 0.0
    lost_s: float = 0.0
    stated_s: float | None = None
    broken: str = ""

    @property
    def ended_early(self) -> bool:
        """Whether the end of the recording was not reached."""
        return bool(self.broken) or self.stated_s is not None

    @property
    def damaged(self) -> bool:
        """Whether any part of the recording could not be decoded."""
        return self.ended_early or self.lost_s > 0

    @property
    def end_s(self) -> float:
        """Where in the recording the decoder is."""
        return self.skipped_s + self.decoded_s + self.lost_s

    def expect(self, stated_s: float, *, exact: bool = False) -> None:
        """Note at the end of the blocks what is missing of a duration that the file states.

        That the decoder stopped does not matter where little is missing. That counts as lost if the
        statement is exact.
        """
        if stated_s > LONGEST_S:
            return
        missing_s = stated_s - self.end_s
        if not is_tolerated(missing_s, stated_s):
            self.stated_s = stated_s
            self.lost_s += missing_s
            return
        self.broken = ""
        if exact:
            self.lose(missing_s)

    def lose(self, missing_s: float) -> None:
        """Count seconds as lost, unless they are rounding of times."""
        if missing_s > _NEGLIGIBLE_S:
            self.lost_s += missing_s

    def judge(self, label: str) -> None:
        """Raise an AudioError if more than a second and more than 2 % are missing."""
        had_s, whole_s = f"{self.decoded_s:.1f} s", self.decoded_s + self.lost_s
        if self.stated_s is not None:
            problem = (
                f"cut off, {had_s} of the {self.stated_s:.1f} s that it states could be decoded"
            )
        elif self.broken:
            problem = f"damaged or cut off after {had_s} ({self.broken})"
        elif is_tolerated(self.lost_s, whole_s):
            return
        else:
            problem = f"damaged, {self.lost_s:.1f} s of its {whole_s:.1f} s cannot be decoded"
        remedy = "get the whole file, or take what is there: damaged='use' (--damaged use)"
        raise AudioError(f"{label}: {problem}; {remedy}")


@dataclass(eq=False)
class DecodedByFFmpeg(Decoded):
    """A recording that FFmpeg decodes, and what its packets say.

    ``header_s`` and ``header_packets`` are the duration and the number of packets that the header
    states, or 0. ``packets`` were read so far, up to the byte ``read_to``; the times of the first
    two are ``first_s``, and for ``gaps_s`` seconds there are none. Where the container could not be
    read, it ``is_torn``.
    """

    container: av.container.InputContainer = field(kw_only=True)
    stream: av.AudioStream = field(kw_only=True)
    header_s: float = field(kw_only=True)
    header_packets: int = field(kw_only=True)
    packets: int = 0
    gaps_s: float = 0.0
    first_s: tuple[float, ...] = ()
    read_to: int = 0
    is_torn: bool = False


def is_tolerated(missing_s: float, of_s: float) -> bool:
    """Whether so many seconds may be missing: one bad frame does not spoil a track."""
    return missing_s <= max(_TOLERATED_S, _TOLERATED_PART * of_s)


def is_tolerated_part(size: int, whole: int) -> bool:
    """Whether so many bytes may be missing of a file."""
    return size <= _TOLERATED_PART * whole


def _check_header_rate(sample_rate: object, label: str, *, highest: int = HIGHEST_RATE) -> int:
    """Refuse a sample rate that no recording has, before anything of that size is allocated."""
    if not isinstance(sample_rate, int) or not LOWEST_RATE <= sample_rate <= highest:
        raise AudioError(
            f"{label}: states a sample rate of {sample_rate} Hz, which no recording has; "
            "convert it to 44100 Hz if it is one"
        )
    return sample_rate


def _downmix(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average the channels of (samples, channels)."""
    mono: NDArray[np.float32]
    if block.shape[1] == 2:  # the same as mean(axis=1), several times as fast
        mono = (block[:, 0] + block[:, 1]) * np.float32(0.5)
    else:
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
    return mono


def open_container(
    opened: str | BinaryIO,
    options: Mapping[str, str] | None = None,
    *,
    form: str | None = None,
    buffer_size: int = 1 << 15,
) -> av.container.InputContainer:
    """Open a path or a binary file by FFmpeg, as one recording and nothing else.

    Of a pipe, only ``read`` is needed. ``options`` are those of the format, and ``form`` its name,
    as FFmpeg has them; by default FFmpeg finds out which of ``FORMATS`` it is. It reads
    ``buffer_size`` bytes at once.
    """
    import av

    if isinstance(opened, str):
        # Without the prefix FFmpeg takes what stands before a colon for a protocol.
        opened = f"file:{opened}"
    elif hasattr(opened, "seek"):
        opened.seek(0)
    titles: dict[str, Any] = {"metadata_errors": "replace"}
    if int(av.__version__.split(".")[0]) >= _TITLES_ARE_LENIENT:
        titles = {}
    container: av.container.InputContainer = av.open(
        opened, mode="r", format=form, buffer_size=buffer_size,
        container_options={"format_whitelist": form or FORMATS, **(options or {})}, **titles,
    )  # fmt: skip
    return container


def main_audio_stream(container: av.container.InputContainer) -> av.AudioStream:
    """Return the audio stream that is marked as default, else the first; there must be one."""
    import av

    streams = container.streams.audio
    default = av.stream.Disposition.default
    return next((stream for stream in streams if stream.disposition & default), streams[0])


@contextlib.contextmanager
def decoded_by_ffmpeg(
    opened: str | BinaryIO,
    label: str,
    *,
    skip: int = 0,
    check_risk: Callable[[av.container.InputContainer, av.AudioStream], None] | None = None,
    block_s: float = BLOCK_S,
    **options: Any,
) -> Iterator[DecodedByFFmpeg]:
    """Decode a path, a file or a pipe by FFmpeg; a NotDecodedError says that it does not take it.

    The first ``skip`` samples are left out. ``check_risk`` receives container and stream before
    anything of them is decoded, and may raise. A block has about ``block_s`` seconds. ``options``
    are those of :func:`open_container`.
    """
    import av  # noqa: F401  (that it is missing is no fault of the file)

    try:
        container = open_container(opened, **options)
    except Exception as error:
        _raise_if_unreadable(error)
        what = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise NotDecodedError(
            f"{label}: not audio that libsndfile or FFmpeg can decode ({what})"
        ) from error
    with container:
        if not container.streams.audio:
            raise NotDecodedError(f"{label}: holds no audio stream")
        stream = main_audio_stream(container)
        codec = stream.codec_context
        if codec is None:
            raise NotDecodedError(f"{label}: holds sound that FFmpeg has no decoder for")
        if check_risk is not None:
            check_risk(container, stream)
        if codec.name == "flac":
            codec.options = {"err_detect": "crccheck+explode"}
        highest = _DSD_RATE if codec.name.startswith("dsd") else HIGHEST_RATE
        rate = codec.sample_rate
        if not rate:
            raise NotDecodedError(
                f"{label}: not audio that libsndfile or FFmpeg can decode (no sample rate)"
            )
        _check_header_rate(rate, label, highest=highest)
        decoded = DecodedByFFmpeg(
            rate, iter(()), container=container, stream=stream, header_packets=stream.frames,
            header_s=float(stream.duration or 0) * float(stream.time_base or 0),
        )  # fmt: skip
        blocks = _ffmpeg_blocks(decoded, label, block_s, highest)
        decoded.blocks = _without_the_first(skip, blocks, decoded) if skip else blocks
        yield decoded


def _raise_if_unreadable(error: Exception) -> None:
    """Raise an error of the system again: the file could not be read, whatever is in it."""
    import av

    if isinstance(error, OSError) and not isinstance(error, av.error.FFmpegError):
        raise error


def _without_the_first(skip: int, blocks: Iterator[Block], decoded: Decoded) -> Iterator[Block]:
    left = skip
    for samples, rate in blocks:
        part = samples[left:]
        skipped = len(samples) - len(part)
        left -= skipped
        decoded.skipped_s += skipped / rate
        decoded.decoded_s -= skipped / rate
        if len(part):
            yield Block(part, rate)


def _ffmpeg_blocks(
    decoded: DecodedByFFmpeg, label: str, block_s: float, highest: int
) -> Iterator[Block]:
    gathered = _Gathered(block_s)
    codec = decoded.stream.codec_context.name.removesuffix("float")
    rate, frame_s = 0, 0.0
    for packet in _packets(decoded):
        decoded.packets += packet.size > 0
        try:
            frames = cast("list[av.AudioFrame]", packet.decode())
        except Exception as error:
            _raise_if_unreadable(error)
            if _is_frame(packet, codec, decoded.container.format.name):
                duration_s = float(packet.duration or 0) * float(packet.time_base or 0)
                decoded.lost_s += duration_s or frame_s
            continue
        for frame in frames:
            if frame.sample_rate != rate:
                rate = _check_header_rate(frame.sample_rate, label, highest=highest)
            frame_s = frame.samples / frame.sample_rate
            decoded.decoded_s += frame_s
            yield from gathered.add(frame)
    yield from gathered.rest()


def _packets(decoded: DecodedByFFmpeg) -> Iterator[av.Packet[Any]]:
    """Yield the packets of a stream, also behind errors; note why they end before the file does."""
    container, stream = decoded.container, decoded.stream
    failures = 0
    time_base = float(stream.time_base or 0)
    expected_s: float | None = None
    while True:
        try:
            for packet in container.demux(stream):
                failures = 0
                decoded.read_to = max(decoded.read_to, (packet.pos or 0) + packet.size)
                if packet.pts is not None and time_base:
                    start_s = packet.pts * time_base
                    if len(decoded.first_s) < 2:
                        decoded.first_s += (start_s,)
                    if expected_s is not None and start_s - expected_s > GAP_S:
                        decoded.gaps_s += start_s - expected_s
                    expected_s = start_s + (packet.duration or 0) * time_base
                yield packet
            return
        except Exception as error:
            _raise_if_unreadable(error)
            decoded.is_torn = True
            failures += 1
            if failures < _MOST_FAILURES:
                continue
            size = container.size or 0
            left = max(0, size - decoded.read_to)
            if left > _UNREAD and not is_tolerated_part(left, size):
                decoded.broken = str(getattr(error, "strerror", None) or error)
            return


def _is_frame(packet: av.Packet[Any], codec: str, form: str) -> bool:
    """Whether a packet that cannot be decoded is a frame, and not what lies between frames."""
    if packet.size == 0:
        return False
    if codec not in _SYNC_WORDS or form not in _BARE:
        return True
    mask, word = _SYNC_WORDS[codec]
    start = bytes(packet)[:2]
    return len(start) == 2 and int.from_bytes(start, "big") & mask == word


class _Gathered:
    """Frames of one sample format that wait to become a block."""

    def __init__(self, block_s: float) -> None:
        self._block_s = block_s
        self._form: tuple[int, str, int] = (0, "", 0)
        self._waiting: list[NDArray[Any]] = []
        self._samples = 0
        self._to_packed: av.AudioResampler | None = None
        self._packed_layout = ""

    def add(self, frame: av.AudioFrame) -> Iterator[Block]:
        """Take a frame; yield what is complete."""
        form = (frame.sample_rate, frame.format.name, frame.layout.nb_channels)
        if form != self._form:
            yield from self.rest()
            self._form = form
            self._to_packed = None
        rate, name, channels = form
        if (frame.format.is_planar and channels > _MOST_PLANES) or name not in _NUMPY_FORMATS:
            import av

            if self._to_packed is None or self._packed_layout != frame.layout.name:
                self._packed_layout = frame.layout.name
                packed = frame.format.packed.name
                if packed not in _NUMPY_FORMATS:
                    packed = "dbl"
                self._to_packed = av.AudioResampler(format=packed)
            self._waiting += [part.to_ndarray() for part in self._to_packed.resample(frame)]
        else:
            self._waiting.append(frame.to_ndarray())
        self._samples += frame.samples
        if self._samples >= min(self._block_s * rate, BLOCK_VALUES / channels):
            yield from self.rest()

    def rest(self) -> Iterator[Block]:
        """Yield what waits."""
        if not self._waiting:
            return
        rate, name, channels = self._form
        array = np.concatenate(self._waiting, axis=1)
        self._waiting, self._samples = [], 0
        planar = len(array) == channels and (channels == 1 or name.endswith("p"))
        by_channel = array.T if planar else array.reshape(-1, channels)
        yield Block(_downmix(_to_float(by_channel, name.removesuffix("p"))), rate)


def _to_float(array: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Turn samples of one of FFmpeg's formats into floats whose full scale is ±1."""
    if name == "u8":
        array = array.astype(np.float32) - np.float32(128)
    with np.errstate(over="ignore"):  # samples that become infinite are refused later
        floats: NDArray[np.float32] = array.astype(np.float32, copy=False)
    if name in _SCALES:
        floats = floats * np.float32(_SCALES[name])
    return floats


@contextlib.contextmanager
def decoded_by_libsndfile(
    opened: str | BinaryIO,
    label: str,
    *,
    skip: int = 0,
    mp3_samples: int | None = None,
    present: float = 1.0,
) -> Iterator[Decoded]:
    """Decode a path or a seekable file, as :func:`decoded_by_ffmpeg` does.

    ``mp3_samples`` are those in the frames of an MP3; the duration that libsndfile states is not
    used then. ``present`` is the part of the stated bytes that the file has.
    """
    import soundfile

    class Forward(soundfile.SoundFile):
        """A file that is read from its beginning to its end.

        soundfile seeks after every block of a file that can seek, and some decoders lose their
        state when that happens.
        """

        def seekable(self) -> bool:
            return False

    if not isinstance(opened, str):
        opened.seek(0)
    try:
        file = Forward(opened)
    except Exception as error:  # of many kinds, for what is no sound
        what = getattr(error, "error_string", error)
        raise NotDecodedError(f"{label}: not audio that libsndfile can decode ({what})") from error
    with file:
        if skip and not _can_seek(file, skip):
            raise NotDecodedError(f"{label}: has no sample {skip}")
        rate = _check_header_rate(file.samplerate, label)
        decoded = Decoded(rate, iter(()), skipped_s=skip / rate)
        decoded.blocks = _sndfile_blocks(file, decoded, mp3_samples, present)
        yield decoded


def _can_seek(file: Any, sample: int) -> bool:
    try:
        return sample < file.frames and bool(file.seek(sample) == sample)
    except Exception:
        return False


def _sndfile_blocks(
    file: Any, decoded: Decoded, mp3_samples: int | None, present: float
) -> Iterator[Block]:
    rate = decoded.sample_rate
    step = max(1, min(round(BLOCK_S * rate), BLOCK_VALUES // max(1, file.channels)))
    while True:
        try:
            block = file.read(step, "float32", always_2d=True)
        except Exception as error:
            decoded.broken = str(getattr(error, "error_string", error))
            return
        if len(block) == 0:
            break
        decoded.decoded_s += len(block) / rate
        yield Block(_downmix(block), rate)
    if mp3_samples is None:
        decoded.expect(max(file.frames / rate, decoded.end_s / present))
    elif decoded.decoded_s * rate < mp3_samples - _MOST_MP3_PADDING:
        decoded.broken = "libsndfile ends before the last frame"
