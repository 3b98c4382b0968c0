"""What a file holds beside its sound: its titles, and a digest that tells its sound from others.

Nothing is decoded. The digest is of the packets of the main audio stream, so that it stays the
same when a file is moved, renamed or given other titles, and differs between two encodings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from musicnn_zoo.errors import AudioError, DecoderCrashError
from musicnn_zoo.files import sha256_of
from musicnn_zoo.sound.decoders import main_audio_stream, open_container
from musicnn_zoo.sound.isolation import WorkerStartError, call_isolated

TITLES = ("title", "artist", "album", "genre")
_LONGEST_TITLE = 500
_BUFFER_BYTES = 1 << 20
_BYTES_A_SIGN_OF_LIFE = 16 << 20


class Contents(NamedTuple):
    """What a file holds.

    Parameters
    ----------
    digest : str
        SHA-256 of the codec, sample rate, channels and packets of its main audio stream; of the
        whole file if FFmpeg finds no packets in it. In hexadecimal.
    title, artist, album, genre : str
        As FFmpeg reads them; empty if there are none.
    """

    digest: str
    title: str = ""
    artist: str = ""
    album: str = ""
    genre: str = ""


def read_contents(path: str, *, size: int = 0) -> Contents:
    """Read what a file holds, in a process of its own; one of ``size`` bytes may take longer.

    Raises
    ------
    AudioError
        If it cannot be read.
    DecoderCrashError
        If it crashes what reads it.
    """
    place = str(Path(path).absolute())
    try:
        pieces = call_isolated(
            f"{__name__}:isolated_contents", path, size=size, imports=("av",), path=place
        )
        return Contents(*_returned_by(pieces))
    except WorkerStartError:
        return Contents(*_returned_by(isolated_contents(place)))
    except DecoderCrashError:
        raise
    except AudioError:
        return Contents(_digest_of_file(path))


def stated_length(path: str) -> float | None:
    """Return the seconds that a file states to be long, read in a process of its own.

    None if it states none, or cannot be read.
    """
    pieces = call_isolated(
        f"{__name__}:isolated_length", path, imports=("av",), path=str(Path(path).absolute())
    )
    try:
        length: float | None = _returned_by(pieces)
    except (AudioError, WorkerStartError):
        return None
    return length


def isolated_length(path: str) -> Generator[bytes, None, float | None]:
    """Read how long a file states to be, in a worker."""
    import av

    yield b""
    try:
        with Path(path).open("rb") as file, open_container(file) as container:
            return None if container.duration is None else container.duration / av.time_base
    except (av.FFmpegError, OSError, ValueError) as error:
        raise AudioError(f"{path}: states no length") from error


def isolated_contents(path: str) -> Generator[bytes, None, list[str]]:
    """Read what a file holds, in a worker; the pieces are signs of life."""
    import av

    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        try:
            with open_container(file, buffer_size=_BUFFER_BYTES) as container:
                titles = _titles(container)
                yield from _fed(container, digest)
        except (av.FFmpegError, IndexError, ValueError) as error:
            raise AudioError(f"{path}: holds no packets of audio") from error
    return [digest.hexdigest(), *titles]


def _fed(container: Any, digest: Any) -> Iterator[bytes]:
    """Feed a digest with the packets of a container."""
    stream = main_audio_stream(container)
    codec = stream.codec_context
    digest.update(json.dumps([codec.name, stream.rate, codec.channels]).encode())
    unsaid, packets = 0, 0
    for packet in container.demux(stream):
        if packet.size:
            digest.update(bytes(packet))
            packets += 1
            unsaid += packet.size
        if unsaid > _BYTES_A_SIGN_OF_LIFE:
            unsaid = 0
            yield b""
    if not packets:
        raise IndexError


def _titles(container: Any) -> list[str]:
    given: dict[str, str] = {}
    for holder in (main_audio_stream(container), container):
        given |= {name.lower(): text for name, text in holder.metadata.items() if text.strip()}
    return [
        given.get(name, "").encode(errors="replace").decode().strip()[:_LONGEST_TITLE]
        for name in TITLES
    ]


def _returned_by(pieces: Generator[bytes, None, Any]) -> Any:
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            return end.value


def _digest_of_file(path: str) -> str:
    try:
        return sha256_of(Path(path))
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror or error})") from error
