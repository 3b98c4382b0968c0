"""Audio in: decode, downmix, resample.

What comes out equals ``librosa.load(path, sr=sample_rate, mono=True)``: all channels
averaged, then resampled by soxr in its "HQ" quality. Files are decoded by libsndfile (wav,
flac, ogg, mp3, opus, aiff, …) and, where that does not know the format, by FFmpeg through
PyAV (m4a, aac, alac, wma, webm, the sound of videos).
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError, AudioError

AudioSource: TypeAlias = str | os.PathLike[str] | BinaryIO | NDArray[Any]
"""What public functions take as audio: a path, a binary file object, or an array."""

AUDIO_SUFFIXES = frozenset(
    {
        ".aac", ".aif", ".aiff", ".alac", ".ape", ".au", ".caf", ".flac", ".m4a", ".m4b", ".mka",
        ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".mpc", ".oga", ".ogg", ".opus", ".wav", ".wave",
        ".webm", ".wma", ".wv",
    }
)  # fmt: skip
"""File name endings that a search of a directory takes for audio."""

_TRUNCATED_S = 1.0
_TRUNCATED_PART = 0.02
_GUESSED_LENGTH_TOLERANCE_S = 0.2

# Only what is one recording: no playlists, which would open other files.
_FFMPEG_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "ogg,tta,w64,wav,webm,wv"
)


@dataclass(frozen=True, eq=False)
class Audio:
    """A mono signal.

    Parameters
    ----------
    samples : ndarray, shape (samples,), float32
    sample_rate : int
        In Hz.
    source : str or None
        The file it came from.
    """

    samples: NDArray[np.float32]
    sample_rate: int
    source: str | None = None

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate


def load_audio(
    audio: AudioSource, *, sample_rate: int | None = None, target_rate: int = 16000
) -> Audio:
    """Read audio as one mono signal at ``target_rate``.

    Parameters
    ----------
    audio : path, binary file object, or ndarray
        An array is ``(samples,)`` or ``(channels, samples)``, as in librosa; floating
        point, or signed integers, whose full scale becomes ±1.
    sample_rate : int, optional
        Of an array, in Hz; must be given for an array and only then.
    target_rate : int
        Sample rate of the result in Hz.

    Returns
    -------
    Audio

    Raises
    ------
    AudioError
        If there is no such file, if it cannot be decoded, states a length and is cut off, holds
        no samples, or holds NaN or infinite samples. (An Ogg, a WAV and an MP3 without a Xing
        header do not state theirs in a way that shows: what is left of them is read.)
    ArgumentError
        If ``sample_rate`` does not go with ``audio``.
    """
    if isinstance(audio, np.ndarray):
        if sample_rate is None:
            raise ArgumentError("an array needs its sample rate: sample_rate=44100, for instance")
        if not (np.isfinite(sample_rate) and sample_rate >= 1 and sample_rate == int(sample_rate)):
            raise ArgumentError(
                f"sample_rate must be a positive whole number of Hz; received {sample_rate}"
            )
        label, source = "array", None
        mono, rate = _downmix_array(audio), int(sample_rate)
    else:
        if sample_rate is not None:
            raise ArgumentError(
                "sample_rate goes with an array only; a file states its own "
                f"(received sample_rate={sample_rate} with {_name(audio)})"
            )
        label = source = _name(audio)
        try:
            mono, rate = _decode(audio, label)
        except OSError as error:
            raise AudioError(f"{label}: cannot be read ({error.strerror or error})") from error
    if mono.size == 0:
        raise AudioError(f"{label}: holds no samples")
    if not np.isfinite(mono).all():
        raise AudioError(f"{label}: holds NaN or infinite samples; clean or export it again")
    return Audio(resample(mono, rate, target_rate), target_rate, source)


def resample(
    samples: NDArray[np.float32], sample_rate: int, target_rate: int
) -> NDArray[np.float32]:
    """Resample a mono signal by soxr HQ to ``ceil(samples * target / source)`` samples."""
    if sample_rate == target_rate:
        return samples
    import soxr

    length = -(-len(samples) * target_rate // sample_rate)
    resampled = soxr.resample(samples, sample_rate, target_rate, quality="HQ")[:length]
    return np.pad(resampled, (0, length - len(resampled)))


def find_audio(directory: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield all audio files below a directory, sorted, by the endings of their names.

    Hidden files and folders are left out.
    """
    for folder, subfolders, names in os.walk(directory):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_SUFFIXES:
                yield Path(folder, name)


def _name(audio: AudioSource) -> str:
    if isinstance(audio, str | os.PathLike):
        return os.fspath(audio)
    name = getattr(audio, "name", None)
    return name if isinstance(name, str) else f"<{type(audio).__name__}>"


def _downmix_array(array: NDArray[Any]) -> NDArray[np.float32]:
    if np.issubdtype(array.dtype, np.signedinteger):
        array = array / -float(np.iinfo(array.dtype).min)
    elif not np.issubdtype(array.dtype, np.floating):
        raise AudioError(
            f"array: must be floating point or signed integers; received {array.dtype}"
        )
    if array.ndim not in (1, 2):
        raise AudioError(
            f"array: must be (samples,) or (channels, samples); received shape {array.shape}"
        )
    if array.ndim == 2:
        channels, length = array.shape
        if channels > length > 0:
            raise AudioError(
                f"array: must be (channels, samples); received shape {array.shape}, "
                "which looks transposed: pass array.T"
            )
        with np.errstate(all="ignore"):
            array = array.mean(axis=0) if channels else array.reshape(-1)
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def _decode(
    audio: str | os.PathLike[str] | BinaryIO, label: str
) -> tuple[NDArray[np.float32], int]:
    if isinstance(audio, str | os.PathLike):
        path = Path(audio)
        _check_file(path)
        if path.is_file() and _is_utf8(path):
            return _decode_opened(str(path), label)
        with path.open("rb") as file:
            return _decode_opened(_seekable(file), label)
    if isinstance(audio, io.TextIOBase):
        raise AudioError(f"{label}: is open as text; open it in binary mode ('rb')")
    if callable(getattr(audio, "read", None)):
        return _decode_opened(_seekable(audio), label)
    raise AudioError(
        f"audio must be a path, a binary file object or a NumPy array; "
        f"received {type(audio).__name__}"
    )


def _decode_opened(opened: str | BinaryIO, label: str) -> tuple[NDArray[np.float32], int]:
    import soundfile

    try:
        file = soundfile.SoundFile(opened)
    except (soundfile.LibsndfileError, TypeError):
        return _decode_by_ffmpeg(opened, label)
    with file:
        try:
            samples = file.read(dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{label}: damaged or cut off ({error.error_string})") from error
        rate, stated, is_mp3 = file.samplerate, file.frames, file.format == "MP3"
    mono = samples.mean(axis=1)
    if not is_mp3 or _states_length(opened):
        _refuse_truncated(label, len(mono), stated, rate)
    elif len(mono) >= stated:
        return _complete_mp3(opened, label, mono, rate)
    return mono, rate


def _complete_mp3(
    opened: str | BinaryIO, label: str, mono: NDArray[np.float32], rate: int
) -> tuple[NDArray[np.float32], int]:
    """Decode anew by FFmpeg if there is more than libsndfile gave.

    Of an MP3 that does not state its length libsndfile guesses one from the first bit rate,
    and reads no further: a loud start and a quiet rest at variable bit rate lose their end.
    """
    whole, its_rate = _decode_by_ffmpeg(opened, label)
    longer = len(whole) / its_rate - len(mono) / rate
    return (whole, its_rate) if longer > _GUESSED_LENGTH_TOLERANCE_S else (mono, rate)


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
    file = Path(opened).open("rb") if isinstance(opened, str) else opened  # noqa: SIM115
    try:
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
    finally:
        if file is not opened:
            file.close()
    return any(mark in start for mark in (b"Xing", b"Info", b"VBRI"))


def _refuse_truncated(label: str, decoded: int, stated: int, rate: int) -> None:
    missing = stated - decoded
    if missing > max(_TRUNCATED_S * rate, _TRUNCATED_PART * stated):
        raise AudioError(
            f"{label}: cut off, {decoded / rate:.1f} s of the {stated / rate:.1f} s that it "
            "states could be decoded; get the whole file, or decode the rest yourself and "
            "pass the array"
        )


def _decode_by_ffmpeg(opened: str | BinaryIO, label: str) -> tuple[NDArray[np.float32], int]:
    import av

    if isinstance(opened, str):
        # Without the prefix FFmpeg takes what stands before a colon for a protocol.
        opened = f"file:{opened}"
    else:
        opened.seek(0)
    blocks: list[NDArray[np.float32]] = []
    try:
        with av.open(
            opened,
            mode="r",
            metadata_errors="replace",
            container_options={"format_whitelist": _FFMPEG_FORMATS},
        ) as container:
            if not container.streams.audio:
                raise AudioError(f"{label}: holds no audio stream")
            stream = container.streams.audio[0]
            rate = stream.rate
            to_float = av.AudioResampler(format="fltp")
            for frame in container.decode(stream):
                blocks += [block.to_ndarray().mean(axis=0) for block in to_float.resample(frame)]
            if stream.duration is not None and stream.time_base is not None:
                stated = float(stream.duration * stream.time_base)
            else:
                stated = (container.duration or 0) / av.time_base
    except av.error.FFmpegError as error:
        what = "damaged or cut off" if blocks else "not audio that libsndfile or FFmpeg can decode"
        raise AudioError(f"{label}: {what} ({error.strerror})") from error
    if not blocks:
        raise AudioError(f"{label}: holds no samples")
    mono = np.concatenate(blocks).astype(np.float32, copy=False)
    _refuse_truncated(label, len(mono), round(stated * rate), rate)
    return mono, rate
