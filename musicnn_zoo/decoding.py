"""Decode audio files block by block to mono at their own sample rate.

Files are decoded by libsndfile (wav, flac, ogg, mp3, opus, aiff, …) and, where that does not
know the format, by FFmpeg through PyAV (m4a, aac, alac, wma, webm, the sound of videos).
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import AudioError

if TYPE_CHECKING:
    import av

BLOCK_S = 10.0
"""About how many seconds are decoded at once."""

_TRUNCATED_S = 1.0
_TRUNCATED_PART = 0.02
_GUESSED_LENGTH_TOLERANCE_S = 0.2

# Only what is one recording: no playlists, which would open other files.
_FFMPEG_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "ogg,tta,w64,wav,webm,wv"
)

_PIPE_BUFFER = 4096

_TITLES_ARE_LENIENT = 19
"""PyAV from this version on reads titles that are not UTF-8 without being told how."""

MonoBlocks = Iterator[NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Decoded:
    """A file that is being decoded.

    Parameters
    ----------
    sample_rate : int
        Of the file, in Hz.
    blocks : iterator of ndarray, shape (samples,), float32
        The mean of all channels. Running through it may raise
        :class:`~musicnn_zoo.errors.AudioError`, at the end too, when the file turns out to be
        cut off.
    """

    sample_rate: int
    blocks: MonoBlocks


@contextlib.contextmanager
def decode(audio: str | os.PathLike[str] | BinaryIO, label: str) -> Iterator[Decoded]:
    """Open a file for decoding.

    Parameters
    ----------
    audio : path or binary file object
        A file object is left open.
    label : str
        How messages call it.

    Raises
    ------
    AudioError
        If there is no such file, or it cannot be decoded.
    """
    with contextlib.ExitStack() as opened_files:
        if isinstance(audio, str | os.PathLike):
            path = Path(audio)
            _check_file(path)
            opened: str | BinaryIO = str(path)
            if not path.is_file() or not _is_utf8(path):
                opened = _seekable(opened_files.enter_context(path.open("rb")))
        elif isinstance(audio, io.TextIOBase):
            raise AudioError(f"{label}: is open as text; open it in binary mode ('rb')")
        elif callable(getattr(audio, "read", None)):
            opened = _seekable(audio)
        else:
            raise AudioError(
                f"audio must be a path, a binary file object or a NumPy array; "
                f"received {type(audio).__name__}"
            )
        with _open_by_libsndfile(opened, label) or _open_by_ffmpeg(opened, label) as decoded:
            yield decoded


def downmix(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average the channels of (samples, channels)."""
    mono: NDArray[np.float32]
    if block.shape[1] == 2:  # the same as mean(axis=1), several times as fast
        mono = (block[:, 0] + block[:, 1]) * np.float32(0.5)
    else:
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
    return mono


def _open_by_libsndfile(
    opened: str | BinaryIO, label: str
) -> contextlib.AbstractContextManager[Decoded] | None:
    """Return None if libsndfile does not know the format, or would not read all of the file."""
    import soundfile

    try:
        file = soundfile.SoundFile(opened)
    except (soundfile.LibsndfileError, TypeError):
        return None
    length_is_known = file.format != "MP3" or _states_length(opened)
    if not length_is_known and _is_longer(opened, file.frames / file.samplerate):
        file.close()
        return None
    if not isinstance(opened, str):
        file.seek(0)

    def blocks() -> MonoBlocks:
        decoded = 0
        while True:
            try:
                block = file.read(round(BLOCK_S * file.samplerate), "float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise AudioError(f"{label}: damaged or cut off ({error.error_string})") from error
            if len(block) == 0:
                break
            decoded += len(block)
            yield downmix(block)
        if length_is_known:
            _refuse_truncated(label, decoded, file.frames, file.samplerate)

    @contextlib.contextmanager
    def opening() -> Iterator[Decoded]:
        with file:
            yield Decoded(file.samplerate, blocks())

    return opening()


def _open_by_ffmpeg(
    opened: str | BinaryIO, label: str
) -> contextlib.AbstractContextManager[Decoded]:
    return _decode_container(lambda: ffmpeg_container(opened), label, BLOCK_S, whole=True)


@contextlib.contextmanager
def _decode_container(
    open_container: Callable[[], av.container.InputContainer],
    label: str,
    block_s: float,
    *,
    whole: bool,
) -> Iterator[Decoded]:
    """Decode in blocks of at least ``block_s``; ``whole`` refuses less than is stated."""
    import av

    def described(error: av.error.FFmpegError, begun: bool) -> AudioError:
        what = "damaged or cut off" if begun else "not audio that libsndfile or FFmpeg can decode"
        return AudioError(f"{label}: {what} ({error.strerror})")

    try:
        container = open_container()
    except av.error.FFmpegError as error:
        raise described(error, begun=False) from error
    with container:
        if not container.streams.audio:
            raise AudioError(f"{label}: holds no audio stream")
        stream = container.streams.audio[0]
        rate = stream.rate
        if not rate:
            raise AudioError(f"{label}: not audio that libsndfile or FFmpeg can decode")
        to_float = av.AudioResampler(format="fltp")

        def blocks() -> MonoBlocks:
            decoded = 0
            waiting: list[NDArray[np.float32]] = []
            waiting_samples = 0
            try:
                for frame in container.decode(stream):
                    for part in to_float.resample(frame):
                        waiting.append(downmix(part.to_ndarray().T))
                        waiting_samples += len(waiting[-1])
                    if waiting and waiting_samples >= block_s * rate:
                        yield np.concatenate(waiting)
                        decoded += waiting_samples
                        waiting, waiting_samples = [], 0
            except av.error.FFmpegError as error:
                raise described(error, begun=bool(decoded or waiting)) from error
            if waiting:
                yield np.concatenate(waiting)
                decoded += waiting_samples
            if stream.duration is not None and stream.time_base is not None:
                stated = stream.duration * float(stream.time_base)
            else:
                stated = (container.duration or 0) / av.time_base
            if decoded and whole:
                _refuse_truncated(label, decoded, round(stated * rate), rate)

        yield Decoded(rate, blocks())


def decode_stream(
    pipe: BinaryIO, label: str, *, form: str | None = None, options: Mapping[str, str] | None = None
) -> contextlib.AbstractContextManager[Decoded]:
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

    def open_container() -> av.container.InputContainer:
        return _open_container(
            _Pipe(pipe),
            {
                "format_whitelist": form or _FFMPEG_FORMATS,
                # The shortest look at the sound before it is decoded: it is live.
                "analyzeduration": "0",
                "probesize": "32768",
                **(options or {}),
            },
            format=form,
            buffer_size=_PIPE_BUFFER,
        )

    return _decode_container(open_container, label, 0.0, whole=False)


class _Pipe:
    """A file that can only be read, and gives what is there instead of waiting for more."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._read = getattr(pipe, "read1", pipe.read)

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes; none at the end."""
        content: bytes = self._read(size)
        return content


def ffmpeg_container(opened: str | BinaryIO) -> av.container.InputContainer:
    """Open a path or a seekable file by FFmpeg, as one recording and nothing else.

    Raises
    ------
    av.error.FFmpegError
        If FFmpeg cannot read it.
    """
    if isinstance(opened, str):
        # Without the prefix FFmpeg takes what stands before a colon for a protocol.
        opened = f"file:{opened}"
    else:
        opened.seek(0)
    return _open_container(opened, {"format_whitelist": _FFMPEG_FORMATS})


def _open_container(
    opened: str | BinaryIO | _Pipe, options: dict[str, str], **how: Any
) -> av.container.InputContainer:
    import av

    if int(av.__version__.split(".")[0]) < _TITLES_ARE_LENIENT:
        how["metadata_errors"] = "replace"
    container: av.container.InputContainer = av.open(
        opened, mode="r", container_options=options, **how
    )
    return container


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise AudioError(f"{path}: is a directory, not an audio file")
        if not path.exists():
            raise AudioError(f"{path}: there is no such file")
        if path.is_file():
            if path.stat().st_size == 0:
                raise AudioError(f"{path}: the file is empty")
            with path.open("rb"):
                pass
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from error


def _is_utf8(path: Path) -> bool:
    """Whether the name is text: the decoders take no other names, but open files."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _seekable(file: BinaryIO) -> BinaryIO:
    seekable = getattr(file, "seekable", None)
    return file if seekable is not None and seekable() else io.BytesIO(file.read())


def _states_length(opened: str | BinaryIO) -> bool:
    """Whether an MP3 says its length (Xing, Info or VBRI header in its first frame).

    Without one, libsndfile's number of frames is a guess from the bit rate.
    """
    with contextlib.ExitStack() as opened_files:
        if isinstance(opened, str):
            file: BinaryIO = opened_files.enter_context(Path(opened).open("rb"))
        else:
            file = opened
            opened_files.callback(file.seek, file.tell())
        file.seek(0)
        head = file.read(10)
        if head[:3] == b"ID3":
            size = sum(
                (byte & 0x7F) << shift
                for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)
            )
            file.seek(10 + size)
        else:
            file.seek(0)
        start = file.read(2048)
    return any(mark in start for mark in (b"Xing", b"Info", b"VBRI"))


def _is_longer(opened: str | BinaryIO, guessed_s: float) -> bool:
    """Whether the packets of an MP3 last longer than libsndfile's guess.

    It guesses from the first bit rate and reads no further: a loud start and a quiet rest at
    variable bit rate would lose their end.
    """
    import av

    with contextlib.ExitStack() as opened_files:
        if not isinstance(opened, str):
            opened_files.callback(opened.seek, opened.tell())
        try:
            container = opened_files.enter_context(ffmpeg_container(opened))
            stream = container.streams.audio[0]
            ticks = sum(packet.duration or 0 for packet in container.demux(stream))
        except (av.error.FFmpegError, IndexError):
            return False
        length_s = ticks * float(stream.time_base or 0)
    return length_s > guessed_s + _GUESSED_LENGTH_TOLERANCE_S


def _refuse_truncated(label: str, decoded: int, stated: int, rate: int) -> None:
    missing = stated - decoded
    if missing > max(_TRUNCATED_S * rate, _TRUNCATED_PART * stated):
        raise AudioError(
            f"{label}: cut off, {decoded / rate:.1f} s of the {stated / rate:.1f} s that it "
            "states could be decoded; get the whole file, or decode the rest yourself and "
            "pass the array"
        )
