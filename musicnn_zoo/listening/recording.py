"""A recording as a browser takes it: its bytes, its type, and what it is called."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from musicnn_zoo.errors import AudioError
from musicnn_zoo.sound.decoders import main_audio_stream, open_container
from musicnn_zoo.sound.isolation import WorkerStartError, call_isolated
from musicnn_zoo.sound.sources import AudioSource

if TYPE_CHECKING:
    import av

_MEBIBYTE = 2**20
_LARGEST_LOSSLESS = 5 * _MEBIBYTE
_LARGEST = 48 * _MEBIBYTE
_LONG_S = 30 * 60
_BIT_RATE, _BIT_RATE_IF_LONG = 96_000, 64_000
_RATE = 48_000
_COMPLEXITY = "3"
_FRAMES_A_SIGN_OF_LIFE = 1000

_PLAYED = {
    ("mp3", "mp3"): "audio/mpeg",
    ("aac", "aac"): "audio/aac",
    ("mov", "aac"): "audio/mp4",
    ("ogg", "vorbis"): "audio/ogg",
    ("ogg", "opus"): "audio/ogg",
    ("matroska", "opus"): "audio/webm",
    ("matroska", "vorbis"): "audio/webm",
    ("flac", "flac"): "audio/flac",
    ("wav", "pcm_u8"): "audio/wav",
    ("wav", "pcm_s16le"): "audio/wav",
    ("wav", "pcm_s24le"): "audio/wav",
    ("wav", "pcm_f32le"): "audio/wav",
}
"""What today's browsers play, by container and codec, with its MIME type."""

_LOSSLESS = ("audio/flac", "audio/wav")


@dataclass(frozen=True)
class Media:
    """Bytes that a browser plays.

    Parameters
    ----------
    kind : str
        MIME type.
    content : bytes
    converted : bool
        Whether this is Opus made of the recording.
    """

    kind: str
    content: bytes = field(repr=False)
    converted: bool = False


class _Facts(NamedTuple):
    """What a browser plays a file as, its title, and its length in seconds."""

    kind: str | None = None
    title: str | None = None
    duration_s: float = 0.0


class Recording:
    """A recording, from a path, a binary file object, or an array.

    Parameters
    ----------
    audio : path, binary file object, or ndarray
        As in :func:`musicnn_zoo.load_audio`.
    sample_rate : int, optional
        Of an array, in Hz.

    Attributes
    ----------
    path : Path or None
        Where the file is, if it is one.
    name : str
        Name of the file without its folders.
    """

    def __init__(self, audio: AudioSource, *, sample_rate: int | None = None) -> None:
        self._audio = audio
        self._sample_rate = sample_rate
        self.path = Path(audio) if isinstance(audio, str | os.PathLike) else None
        if self.path is not None:
            self.name = self.path.name
        elif isinstance(audio, np.ndarray):
            self.name = "array"
        else:
            self.name = Path(str(getattr(audio, "name", "audio"))).name

    @property
    def title(self) -> str:
        """Artist and title as the file states them, else its name."""
        return self._facts.title or self.name

    @property
    def kind(self) -> str | None:
        """MIME type of the file as it is; None if browsers do not play it."""
        return self._facts.kind

    def media(self) -> Media:
        """Return the recording for embedding.

        The file as it is, where browsers play that; Opus in WebM, where they do not, where it is
        lossless and larger than 5 MiB, or larger than 48 MiB: in stereo, of 96 kbit/s up to 30
        minutes, of 64 kbit/s above. (Opus, since the MP3 encoder of PyAV is four times as slow.)

        Raises
        ------
        AudioError
            If the file cannot be read or decoded any more.
        """
        facts = self._facts
        with self._read_errors(), self._opened() as opened:
            limit = _LARGEST_LOSSLESS if facts.kind in _LOSSLESS else _LARGEST
            if facts.kind is not None and opened.seek(0, io.SEEK_END) <= limit:
                opened.seek(0)
                return Media(facts.kind, opened.read())
            return self.as_opus(_BIT_RATE_IF_LONG if facts.duration_s > _LONG_S else _BIT_RATE)

    def as_opus(self, bit_rate: int = _BIT_RATE) -> Media:
        """Return the recording as Opus in WebM, whatever it is; fails as :meth:`media` does."""
        with self._read_errors():
            content = b"".join(self._isolated(opus_of, bit_rate=bit_rate, source=self.name))
        return Media("audio/webm", content, converted=True)

    @cached_property
    def _facts(self) -> _Facts:
        try:
            return _Facts(*json.loads(b"".join(self._isolated(facts_of))))
        except (OSError, AudioError):
            return _Facts()

    def _isolated(
        self, function: Callable[..., Iterator[bytes]], **arguments: Any
    ) -> Iterator[bytes]:
        """Call a function of this module on the recording, where a crash does no harm."""
        content = None
        if self.path is None:
            with self._opened() as opened:
                opened.seek(0)
                content = opened.read()
            size = len(content)
        else:
            size = self.path.stat().st_size
            arguments = {**arguments, "audio": str(self.path.absolute())}
        try:
            yield from call_isolated(
                f"{__name__}:{function.__name__}", str(self.path or self.name), content=content,
                size=size, imports=("av", "soxr"), **arguments,
            )  # fmt: skip
        except WorkerStartError:
            if content is not None:
                arguments["audio"] = io.BytesIO(content)
            yield from function(**arguments)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        if isinstance(self._audio, np.ndarray):
            yield io.BytesIO(self._wav)
        elif self.path is not None:
            with self.path.open("rb") as file:
                yield file
        else:
            file = self._audio  # type: ignore[assignment]
            at = file.tell()
            try:
                yield file
            finally:
                file.seek(at)

    @cached_property
    def _wav(self) -> bytes:
        import soundfile

        assert isinstance(self._audio, np.ndarray)
        assert self._sample_rate is not None
        wav = io.BytesIO()
        soundfile.write(wav, self._audio.T, int(self._sample_rate), format="WAV", subtype="PCM_16")
        return wav.getvalue()

    @contextlib.contextmanager
    def _read_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise AudioError(
                f"{self.path or self.name}: cannot be read ({error.strerror or error})"
            ) from error


def facts_of(audio: str | BinaryIO) -> Iterator[bytes]:
    """Yield what ``_Facts`` has of a file, as JSON; a worker calls it."""
    import av

    with open_container(audio) as container:
        if container.streams.audio:
            duration_s = (container.duration or 0) / av.time_base
            yield json.dumps([_kind(container), _title(container), duration_s]).encode()
        else:
            yield b"[]"


def opus_of(audio: str | BinaryIO, *, bit_rate: int, source: str) -> Iterator[bytes]:
    """Yield empty bytes as signs of life, then the file as Opus in WebM; a worker calls it."""
    import av

    made = io.BytesIO()
    try:
        with open_container(audio) as container, av.open(made, "w", format="webm") as output:
            sound = main_audio_stream(container)
            stream: Any = output.add_stream(
                "libopus", rate=_RATE, layout="stereo",
                options={"compression_level": _COMPLEXITY},
            )  # fmt: skip
            stream.bit_rate = bit_rate
            to_output = av.AudioResampler(format=stream.format, layout="stereo", rate=_RATE)
            for number, frame in enumerate(_frames(container, sound)):
                if number % _FRAMES_A_SIGN_OF_LIFE == 0:
                    yield b""
                for part in to_output.resample(frame):
                    output.mux(stream.encode(part))
            for part in to_output.resample(None):
                output.mux(stream.encode(part))
            output.mux(stream.encode(None))
    except Exception as error:
        raise AudioError(f"{source}: cannot be converted for a browser ({error})") from error
    yield made.getvalue()


def _frames(container: av.container.InputContainer, stream: Any) -> Iterator[Any]:
    """Yield what can be decoded; damaged packets are left out, as players do."""
    import av

    for packet in container.demux(stream):
        with contextlib.suppress(av.error.InvalidDataError):
            yield from packet.decode()


def _kind(container: av.container.InputContainer) -> str | None:
    import av

    cover = av.stream.Disposition.attached_pic
    if any(not stream.disposition & cover for stream in container.streams.video):
        return None
    codec = container.streams.audio[0].codec_context.codec.canonical_name
    kinds = (_PLAYED.get((form, codec)) for form in container.format.name.split(","))
    return next(filter(None, kinds), None)


def _title(container: av.container.InputContainer) -> str | None:
    found = {
        # Newer PyAV keeps bytes that are no UTF-8 as surrogates, which no page may hold.
        name.lower(): text.encode(errors="surrogateescape").decode(errors="replace").strip()
        for labelled in (container.streams.audio[0], container)
        for name, text in labelled.metadata.items()
    }
    parts = [found[name] for name in ("artist", "title") if found.get(name)]
    return " – ".join(parts) if found.get("title") else None
