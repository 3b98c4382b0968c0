"""Decode by FFmpeg, packet by packet, through PyAV; and by libsndfile."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import AudioError
from musicnn_zoo.sound.blocks import (
    BLOCK_S,
    BLOCK_VALUES,
    HIGHEST_RATE,
    LONGEST_S,
    Block,
    Decoded,
    NotDecodedError,
    check_header_rate,
    downmix,
    is_little,
    is_little_part,
)
from musicnn_zoo.sound.parts import Span, find_broken_span, with_durations
from musicnn_zoo.sound.statements import (
    Statement,
    is_alone,
    is_torn_matroska,
    part_of_stated,
    read_statement,
    reading_beside,
    wav_options,
)

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

_TITLES_ARE_LENIENT = 19
"""PyAV from this version on reads titles that are not UTF-8 without being told how."""

_MOST_PLANES = 7
"""PyAV reads planar frames of more channels out of bounds."""

_DSD_RATE = 1 << 23
"""DSD comes as its bits divided by eight: 352,800 Hz for DSD64, 2.8 MHz for DSD512."""

_SCALES: Mapping[str, float] = {"u8": 2.0**-7, "s16": 2.0**-15, "s32": 2.0**-31}

_IN_NUMPY = frozenset(
    {"u8", "u8p", "s16", "s16p", "s32", "s32p", "flt", "fltp", "dbl", "dblp"}
)  # fmt: skip
"""Formats of samples that PyAV makes arrays of."""

_SYNC_WORDS = {
    "mp1": (0xFFE0, 0xFFE0), "mp2": (0xFFE0, 0xFFE0), "mp3": (0xFFE0, 0xFFE0),
    "aac": (0xFFE0, 0xFFE0), "ac3": (0xFFFF, 0x0B77), "eac3": (0xFFFF, 0x0B77),
}  # fmt: skip
"""Mask and value of the 16 bits with which a packet begins where it comes without a container."""
_BARE = ("mp3", "aac", "ac3", "eac3", "mpegts")

_UNREAD = 1 << 16
_MOST_FAILURES = 16
"""So many errors in a row are the end of a file."""
_NOTHING_S = 0.005
_GAP_S = 0.05
_BEGINNING_S = 10.0
_OPUS_RATE = 48_000


JudgeRisk: TypeAlias = (
    "Callable[[str | BinaryIO, av.container.InputContainer, av.AudioStream], None]"
)


class Pipe(Protocol):
    """What FFmpeg reads from, if it is no path."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes; none at the end."""


def open_container(
    opened: str | BinaryIO | Pipe, options: Mapping[str, str] | None = None, **how: Any
) -> av.container.InputContainer:
    """Open a path or a binary file by FFmpeg, as one recording and nothing else.

    Raises
    ------
    av.error.FFmpegError
        If FFmpeg cannot read it.
    """
    import av

    if isinstance(opened, str):
        # Without the prefix FFmpeg takes what stands before a colon for a protocol.
        opened = f"file:{opened}"
    elif hasattr(opened, "seek"):
        opened.seek(0)
    if int(av.__version__.split(".")[0]) < _TITLES_ARE_LENIENT:
        how["metadata_errors"] = "replace"
    container: av.container.InputContainer = av.open(
        opened, mode="r", container_options={"format_whitelist": FORMATS, **(options or {})}, **how
    )
    return container


def main_audio_stream(container: av.container.InputContainer) -> av.AudioStream:
    """Return the audio stream that is marked as default, else the first.

    Raises
    ------
    LookupError
        If there is none.
    """
    import av

    streams = container.streams.audio
    default = av.stream.Disposition.default
    return next((stream for stream in streams if stream.disposition & default), streams[0])


@contextlib.contextmanager
def decoded_by_ffmpeg(
    opened: str | BinaryIO,
    label: str,
    *,
    judge_risk: JudgeRisk | None = None,
    skip: int = 0,
) -> Iterator[Decoded]:
    """Decode a path or a seekable file, from a sample on.

    Parameters
    ----------
    opened : str or binary file object
    label : str
        How messages call it.
    judge_risk : callable, optional
        Receives file, container and stream before anything of them is decoded, and may raise.
    skip : int
        Samples that are decoded and left out.

    Raises
    ------
    NotDecodedError
        If FFmpeg does not take it.
    """
    with (
        with_durations(opened) as timed,
        decoded_container(
            lambda: open_container(timed, wav_options(opened)),
            label,
            judge_risk=None if judge_risk is None else partial(judge_risk, opened),
        ) as (decoded, container, stream),
    ):
        statement = read_statement(container, stream, opened)
        decoded.blocks = _to_the_end(decoded.blocks, decoded, container, stream, statement, opened)
        if skip:
            decoded.blocks = _without_the_first(skip, decoded.blocks, decoded)
        yield decoded


def _without_the_first(skip: int, blocks: Iterator[Block], decoded: Decoded) -> Iterator[Block]:
    left = skip
    for samples, rate in blocks:
        part = samples[left:]
        left -= len(samples) - len(part)
        if len(part):
            yield Block(part, rate)
    decoded.decoded_s -= (skip - left) / decoded.sample_rate


@contextlib.contextmanager
def decoded_container(
    open_it: Callable[[], av.container.InputContainer],
    label: str,
    *,
    block_s: float = BLOCK_S,
    judge_risk: Callable[[av.container.InputContainer, av.AudioStream], None] | None = None,
) -> Iterator[tuple[Decoded, av.container.InputContainer, av.AudioStream]]:
    """Decode what ``open_it`` opens, in blocks of about ``block_s``, and leave statements aside."""
    import av  # noqa: F401  (that it is missing is no fault of the file)

    try:
        container = open_it()
    except OSError as error:
        if _is_of_the_system(error):
            raise
        raise _not_decoded(label, error) from error
    except Exception as error:
        raise _not_decoded(label, error) from error
    with container:
        if not container.streams.audio:
            raise NotDecodedError(f"{label}: holds no audio stream")
        stream = main_audio_stream(container)
        codec = stream.codec_context
        if codec is None:
            raise NotDecodedError(f"{label}: holds sound that FFmpeg has no decoder for")
        if judge_risk is not None:
            judge_risk(container, stream)
        if codec.name == "flac":
            codec.options = {"err_detect": "crccheck+explode"}
        highest = _DSD_RATE if codec.name.startswith("dsd") else HIGHEST_RATE
        rate = codec.sample_rate
        if not rate:
            raise NotDecodedError(
                f"{label}: not audio that libsndfile or FFmpeg can decode (no sample rate)"
            )
        decoded = Decoded(check_header_rate(rate, label, highest=highest), iter(()))
        decoded.blocks = _ffmpeg_blocks(container, stream, decoded, label, block_s, highest)
        yield decoded, container, stream


def _not_decoded(label: str, error: Exception) -> NotDecodedError:
    what = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    return NotDecodedError(f"{label}: not audio that libsndfile or FFmpeg can decode ({what})")


def _is_of_the_system(error: OSError) -> bool:
    """Whether reading the file failed, not making sense of it."""
    import av

    return not isinstance(error, av.error.FFmpegError)


def _ffmpeg_blocks(
    container: av.container.InputContainer,
    stream: av.AudioStream,
    decoded: Decoded,
    label: str,
    block_s: float,
    highest: int,
) -> Iterator[Block]:
    gathered = _Gathered(block_s)
    codec = stream.codec_context.name.removesuffix("float")
    frame_s = 0.0
    for packet in _packets(container, stream, decoded):
        decoded.packets += packet.size > 0
        try:
            frames = cast("list[av.AudioFrame]", packet.decode())
        except Exception as error:
            if isinstance(error, OSError) and _is_of_the_system(error):
                raise
            if _is_sound(packet, codec, container.format.name):
                decoded.lost_s += _length_s(packet) or frame_s
            continue
        for frame in frames:
            if frame.sample_rate != gathered.sample_rate:
                check_header_rate(frame.sample_rate, label, highest=highest)
            frame_s = frame.samples / frame.sample_rate
            decoded.decoded_s += frame_s
            yield from gathered.add(frame)
    yield from gathered.rest()


def _packets(
    container: av.container.InputContainer, stream: av.AudioStream, decoded: Decoded
) -> Iterator[av.Packet[Any]]:
    """Yield the packets of a stream, also behind errors; note why they end before the file does."""
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
                    if expected_s is not None and start_s - expected_s > _GAP_S:
                        decoded.gaps_s += start_s - expected_s
                    expected_s = start_s + (packet.duration or 0) * time_base
                yield packet
            return
        except Exception as error:
            if isinstance(error, OSError) and _is_of_the_system(error):
                raise
            decoded.is_torn = True
            failures += 1
            if failures < _MOST_FAILURES:
                continue
            left = max(0, container.size - decoded.read_to)
            if left > _UNREAD and not is_little_part(left, container.size):
                decoded.broken = str(getattr(error, "strerror", None) or error)
            return


def _to_the_end(
    blocks: Iterator[Block],
    decoded: Decoded,
    container: av.container.InputContainer,
    stream: av.AudioStream,
    statement: Statement | None,
    opened: str | BinaryIO,
) -> Iterator[Block]:
    """Yield the blocks, and note at their end what the file states beyond them."""
    yield from blocks
    if container.format.name == "ogg" and (span := find_broken_span(opened)) is not None:
        missing_s = _missing_of_ogg(span, decoded, stream)
        decoded.lost_s += missing_s if missing_s > _NOTHING_S else 0.0
    if statement is None:
        decoded.lost_s += _missing_within(decoded, container, opened)
    if statement is None or container.size < 0:
        return
    if statement.packets is not None and decoded.packets >= statement.packets:
        decoded.broken = ""
        return
    had_s = decoded.decoded_s + decoded.lost_s
    stated_s = had_s / statement.part if statement.part else statement.length_s
    if stated_s > LONGEST_S:
        return
    missing_s = stated_s - had_s
    if not is_little(missing_s, stated_s):
        decoded.stated_s = stated_s
        decoded.lost_s += missing_s
        return
    decoded.broken = ""
    if statement.exact and missing_s > _NOTHING_S:
        decoded.lost_s += missing_s


def _missing_within(
    decoded: Decoded, container: av.container.InputContainer, opened: str | BinaryIO
) -> float:
    """Return how many seconds were left out of a Matroska that is there to its end."""
    if not container.format.name.startswith("matroska"):
        return 0.0
    had_s = decoded.decoded_s + decoded.lost_s
    whole_s = (container.duration or 0) / 1e6 if is_alone(container) else 0.0
    missing_s = max(decoded.gaps_s, whole_s - had_s)
    if not _GAP_S < missing_s < LONGEST_S:
        return 0.0
    unread = (container.size - decoded.read_to) / max(1, container.size)
    is_unread = whole_s > 0 and unread > 0.5 * missing_s / whole_s
    return missing_s if is_unread or decoded.is_torn or is_torn_matroska(opened) else 0.0


def _missing_of_ogg(span: Span, decoded: Decoded, stream: av.AudioStream) -> float:
    """Return how many seconds of its span a stream lacks that has broken pages."""
    codec = stream.codec_context
    if not codec.name.endswith(("opus", "vorbis")) or len(decoded.first_s) < 2:
        missing_s = span.end / decoded.sample_rate - decoded.decoded_s - decoded.lost_s
        return missing_s if 0 < missing_s - decoded.gaps_s < _BEGINNING_S else decoded.gaps_s
    begin_s, second_s = decoded.first_s
    if codec.name.endswith("opus"):
        # Times are those of what is heard: the delay comes before.
        delay_s = int.from_bytes((codec.extradata or b"")[10:12], "little") / _OPUS_RATE
        begin_s, end_s = begin_s + delay_s, span.end / _OPUS_RATE - delay_s
    else:
        # The first packet gives no sound.
        begin_s, end_s = second_s, span.end / decoded.sample_rate
    if span.from_start and begin_s < _BEGINNING_S:
        begin_s = 0.0
    return end_s - begin_s - decoded.decoded_s - decoded.lost_s


def _length_s(packet: av.Packet[Any]) -> float:
    return float(packet.duration or 0) * float(packet.time_base or 0)


def _is_sound(packet: av.Packet[Any], codec: str, form: str) -> bool:
    """Whether a packet that cannot be decoded is a frame, and not what lies between frames."""
    if packet.size == 0:
        return False
    if codec not in _SYNC_WORDS or form not in _BARE:
        return True
    mask, word = _SYNC_WORDS[codec]
    start = bytes(packet)[:2]
    return len(start) == 2 and int.from_bytes(start, "big") & mask == word


class _Gathered:
    """Frames of one form that wait to become a block."""

    def __init__(self, block_s: float) -> None:
        self._block_s = block_s
        self._form: tuple[int, str, int] = (0, "", 0)
        self._waiting: list[NDArray[Any]] = []
        self._samples = 0
        self._to_packed: av.AudioResampler | None = None
        self._packed_layout = ""

    @property
    def sample_rate(self) -> int:
        """Of what waits, in Hz; 0 at the beginning."""
        return self._form[0]

    def add(self, frame: av.AudioFrame) -> Iterator[Block]:
        """Take a frame; yield what is complete."""
        form = (frame.sample_rate, frame.format.name, frame.layout.nb_channels)
        if form != self._form:
            yield from self.rest()
            self._form = form
            self._to_packed = None
        rate, name, channels = form
        if (frame.format.is_planar and channels > _MOST_PLANES) or name not in _IN_NUMPY:
            import av

            if self._to_packed is None or self._packed_layout != frame.layout.name:
                self._packed_layout = frame.layout.name
                packed = frame.format.packed.name
                self._to_packed = av.AudioResampler(format=packed if packed in _IN_NUMPY else "dbl")
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
        yield Block(downmix(_to_float(by_channel, name.removesuffix("p"))), rate)


def _to_float(array: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Turn samples of a format of FFmpeg's into floats whose full scale is ±1."""
    if name == "u8":
        array = array.astype(np.float32) - np.float32(128)
    with np.errstate(over="ignore"):  # what is infinite then is refused
        floats: NDArray[np.float32] = array.astype(np.float32, copy=False)
    if name in _SCALES:
        floats = floats * np.float32(_SCALES[name])
    return floats


_BUFFER = 4096


@contextlib.contextmanager
def decode_pipe(
    pipe: BinaryIO, label: str, *, form: str | None = None, options: Mapping[str, str] | None = None
) -> Iterator[Decoded]:
    """Decode what comes out of a pipe, in blocks as short as they come.

    Parameters
    ----------
    pipe : binary file object
        Only read, never wound back.
    label : str
        How messages call it.
    form : str, optional
        FFmpeg's name of the format; by default it finds out.
    options : mapping of str to str, optional
        Of that format.

    Raises
    ------
    AudioError
        If it cannot be decoded.
    """
    with decoded_container(
        lambda: open_container(
            _Pipe(pipe),
            {
                **({"format_whitelist": form} if form else {}),
                # The shortest look at the sound before it is decoded: it is live.
                "analyzeduration": "0",
                "probesize": "32768",
                **(options or {}),
            },
            format=form,
            buffer_size=_BUFFER,
        ),
        label,
        block_s=0.0,
    ) as (decoded, _, _):
        yield decoded


class _Pipe:
    """A file that can only be read, and gives what is there instead of waiting for more."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._read = getattr(pipe, "read1", pipe.read)

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes; none at the end."""
        content: bytes = self._read(size)
        return content


_MOST_MP3_PADDING = 3 * 4096
"""Samples of an MP3 that are not sound: delay and padding have 12 bits each in LAME's header."""


@contextlib.contextmanager
def decoded_by_libsndfile(
    opened: str | BinaryIO, label: str, *, skip: int = 0, mp3_samples: int | None = None
) -> Iterator[Decoded]:
    """Decode a path or a seekable file, from a sample on.

    Parameters
    ----------
    opened : str or binary file object
    label : str
        How messages call it.
    skip : int
        Samples that are left out.
    mp3_samples : int, optional
        In the frames of a tidy MP3. Others are left to FFmpeg: libsndfile believes what headers
        state, and guesses where they state nothing.

    Raises
    ------
    NotDecodedError
        If libsndfile does not take it.
    """
    import soundfile

    class Forward(soundfile.SoundFile):
        """A file that is read from its beginning to its end.

        To soundfile a file that can seek is one to seek in after every block, and some decoders
        forget what they know when that happens.
        """

        def seekable(self) -> bool:
            return False

    if mp3_samples is None and _is_mpeg(opened):
        raise NotDecodedError(f"{label}: MPEG audio that is not tidy is decoded by FFmpeg only")
    with reading_beside(opened) as beside:
        part = part_of_stated(beside)
    if not isinstance(opened, str):
        opened.seek(0)
    try:
        file = Forward(opened)
    except Exception as error:  # of many kinds, for what is no sound
        what = getattr(error, "error_string", error)
        raise NotDecodedError(f"{label}: not audio that libsndfile can decode ({what})") from error
    with file:
        if skip and (skip >= file.frames or not _skipped(file, skip)):
            raise NotDecodedError(f"{label}: has no sample {skip}")
        decoded = Decoded(check_header_rate(file.samplerate, label), iter(()))
        decoded.blocks = _sndfile_blocks(file, decoded, skip, mp3_samples, part)
        yield decoded


def _skipped(file: object, skip: int) -> bool:
    try:
        return bool(file.seek(skip) == skip)  # type: ignore[attr-defined]
    except Exception:
        return False


def _sndfile_blocks(
    file: object, decoded: Decoded, skipped: int, mp3_samples: int | None, part: float | None
) -> Iterator[Block]:
    import soundfile

    assert isinstance(file, soundfile.SoundFile)
    rate = decoded.sample_rate
    step = max(1, min(round(BLOCK_S * rate), BLOCK_VALUES // max(1, file.channels)))
    while True:
        try:
            block = file.read(step, "float32", always_2d=True)
        except AudioError:
            raise
        except Exception as error:
            decoded.broken = str(getattr(error, "error_string", error))
            return
        if len(block) == 0:
            break
        decoded.decoded_s += len(block) / rate
        yield Block(downmix(block), rate)
    if mp3_samples is not None:
        if decoded.decoded_s * rate < mp3_samples - _MOST_MP3_PADDING:
            decoded.broken = "libsndfile ends before the last frame"
        return
    had_s = skipped / rate + decoded.decoded_s
    stated_s = max(file.frames / rate, had_s / (part or 1))
    if stated_s > LONGEST_S:
        return
    missing_s = stated_s - had_s
    if not is_little(missing_s, stated_s):
        decoded.stated_s = stated_s
        decoded.lost_s += missing_s


def _is_mpeg(opened: str | BinaryIO) -> bool:
    with reading_beside(opened) as file:
        file.seek(0)
        start = file.read(3)
    return start == b"ID3" or (len(start) > 1 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0)
