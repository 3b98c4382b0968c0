"""What a container truly states of the length of its sound.

Estimates from a bit rate, signs for "unknown", and the length of another stream are no statements.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from musicnn_zoo.decoding.mpeg import stated_length_s, torn_length_s

if TYPE_CHECKING:
    import av

_HEADERS_STATE = frozenset(
    {"aiff", "ape", "au", "flac", "mpc", "mpc8", "nistsphere", "tak", "tta", "wv"}
)
"""FFmpeg's formats whose headers say how long the one audio stream is; ``mov`` is one by itself."""

_EXACT = _HEADERS_STATE - {"mpc", "mpc8"}

_UNKNOWN_SIZE = 0x7FFF0000
"""Writers that cannot go back state at least this many bytes in a field of 32 bits."""

_PROBED = 1 << 17
"""Bytes of a WAV in which FFmpeg looks for DTS or AC-3 in the place of samples."""

_HEAD = 1 << 16
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")

_EBML, _SEGMENT, _CLUSTER = map(bytes.fromhex, ("1a45dfa3", "18538067", "1f43b675"))
_ELEMENTS = frozenset(map(bytes.fromhex, (
    "114d9b74", "1549a966", "1654ae6b", "1c53bb6b", "1941a469", "1043a770", "1254c367", "ec", "bf",
    "e7", "a7", "ab", "a3", "a0", "af", "5854",
)))  # fmt: skip
"""What a segment and its clusters are made of."""

_MOST_JUNK = 1 << 16
_MOST_CHUNKS = 1 << 10


@dataclass(frozen=True)
class Statement:
    """What a file says of itself.

    Parameters
    ----------
    length_s : float
        Of the sound.
    exact : bool
        Whether it is so to the sample.
    packets : int or None
        The number of its packets, which is the surer statement.
    part : float or None
        Instead of a length: how much of the bytes that it states are there.
    """

    length_s: float
    exact: bool = False
    packets: int | None = None
    part: float | None = None


def read_statement(
    container: av.container.InputContainer, stream: av.AudioStream, opened: str | BinaryIO
) -> Statement | None:
    """Return what a file states of the length of a stream; None if it states nothing."""
    form = container.format.name.split(",")[0]
    length_s = float(stream.duration or 0) * float(stream.time_base or 0)
    if form == "mp3":
        with reading_beside(opened) as file:
            if (torn_s := torn_length_s(file)) is not None:
                return Statement(torn_s, exact=True)
            stated_s = stated_length_s(file)
        return None if stated_s is None else Statement(stated_s)
    if form == "wav":
        with reading_beside(opened) as file:
            data = _find_wav_data(file)
        if data is not None:
            return data.statement if data.is_cut else None
    if form == "matroska":
        with reading_beside(opened) as file:
            is_cut = _is_cut_matroska(file)
        whole_s = (container.duration or 0) / 1e6
        return Statement(whole_s) if is_cut and is_alone(container) and whole_s else None
    if form == "caf" and stream.frames and stream.codec_context.name.startswith("pcm"):
        return Statement(stream.frames / stream.codec_context.sample_rate)
    if form == "mov" and length_s and stream.frames:
        return Statement(length_s, packets=stream.frames)
    if form in _HEADERS_STATE and length_s > 0:
        return Statement(length_s, exact=form in _EXACT)
    with reading_beside(opened) as file:
        size = file.seek(0, 2)
        stated = _stated_bytes(file)
    return Statement(0.0, part=size / stated) if stated is not None and size < stated else None


def _stated_bytes(file: BinaryIO) -> int | None:
    """Return how many bytes a file says that it has; None if it does not say."""
    file.seek(0)
    head = file.read(_HEAD)
    stated, unknown = 0, 1 << 62
    if head.startswith(b"RIFF"):
        stated, unknown = 8 + int.from_bytes(head[4:8], "little"), _UNKNOWN_SIZE
    elif head.startswith((b"RF64", b"BW64")) and head[12:16] == b"ds64":
        stated = 8 + int.from_bytes(head[20:28], "little")
    elif head.startswith(b"riff\x2e\x91\xcf\x11"):
        stated = int.from_bytes(head[16:24], "little")
    elif head.startswith(b"FORM"):
        stated, unknown = 8 + int.from_bytes(head[4:8], "big"), _UNKNOWN_SIZE
    elif head.startswith(b"FRM8"):
        stated = 12 + int.from_bytes(head[4:12], "big")
    elif head.startswith(b"DSD "):
        stated = int.from_bytes(head[12:20], "little")
    elif head.startswith(_ASF) and (at := head.find(_ASF_PROPERTIES)) >= 0:
        is_live = int.from_bytes(head[at + 88 : at + 92], "little") & 1
        stated = 0 if is_live else int.from_bytes(head[at + 40 : at + 48], "little")
    elif head.startswith(b"FLV") and (at := head.find(b"filesize\0")) >= 0:
        number = head[at + 9 : at + 17]
        value = struct.unpack(">d", number)[0] if len(number) == 8 else 0.0
        stated = int(value) if 0 < value < unknown else 0
    return stated if 12 < stated < unknown else None


def wav_options(opened: str | BinaryIO) -> dict[str, str]:
    """Return how FFmpeg is to read a file, if it is a WAV.

    In large packets, which is faster; and to its end, if its header states less than there is and
    what follows is no chunk: the recorder did not end well.
    """
    with reading_beside(opened) as file:
        file.seek(0)
        if file.read(4) not in (b"RIFF", b"RF64", b"BW64"):
            return {}
        data = _find_wav_data(file)
        if data is None:
            return {}
        file.seek(data.start)
        begins_silent = not any(file.read(_PROBED))
    options = {"max_size": str(1 << 16)}
    if not begins_silent:
        options["probesize"] = str(_PROBED)
    if data.is_stale:
        options["ignore_length"] = "1"
    return options


@dataclass(frozen=True)
class _WavData:
    """The data chunk of a WAV: where it starts, its stated and present bytes, and those of 1 s."""

    start: int
    stated: int
    present: int
    byte_rate: int
    is_stale: bool

    @property
    def is_cut(self) -> bool:
        return self.present < self.stated < _UNKNOWN_SIZE

    @property
    def statement(self) -> Statement:
        if self.byte_rate:
            return Statement(self.stated / self.byte_rate, exact=True)
        return Statement(0.0, part=self.present / self.stated)


def _find_wav_data(file: BinaryIO) -> _WavData | None:
    size = file.seek(0, 2)
    file.seek(0)
    if file.read(4) != b"RIFF":
        return None
    file.seek(8)
    if file.read(4) != b"WAVE":
        return None
    byte_rate = 0
    at = 12
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        header = file.read(8)
        if len(header) < 8:
            return None
        name, length = header[:4], struct.unpack("<I", header[4:])[0]
        if name == b"fmt ":
            chunk = file.read(16)
            byte_rate = struct.unpack("<I", chunk[8:12])[0] if len(chunk) == 16 else 0
        elif name == b"data":
            present = size - at - 8
            is_stale = 0 < length < present and not _is_chunk(file, at + 8 + length, size)
            return _WavData(at + 8, length, present, byte_rate, is_stale)
        at += 8 + length + length % 2
    return None


def _is_chunk(file: BinaryIO, end: int, size: int) -> bool:
    """Whether what comes after the data is a chunk, padding, or too little to be sound."""
    for at in (end + end % 2, end):
        if size - at < 8:
            return True
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        is_name = all(32 <= byte < 127 for byte in name)
        if is_name and at + 8 + length <= size + 1:
            return True
        if name in (b"LIST", b"id3 ", b"ID3 ", b"bext", b"JUNK", b"RIFF") or name[:3] == b"TAG":
            return True
    file.seek(end)
    while part := file.read(_MOST_JUNK):
        if any(part):
            return False
    return True


def _is_cut_matroska(file: BinaryIO) -> bool:
    """Whether the segment states more bytes than there are (RFC 8794, RFC 9559)."""
    size = file.seek(0, 2)
    file.seek(0)
    if file.read(4) != _EBML:
        return False
    header = _read_ebml_size(file)
    if header is None or header > _MOST_JUNK:
        return False
    file.seek(header, 1)
    if file.read(4) != _SEGMENT:
        return False
    segment = _read_ebml_size(file)
    return segment is not None and file.tell() + segment > size


def is_torn_matroska(opened: str | BinaryIO) -> bool:
    """Whether something in a segment is no element: a reader leaves out what is around it."""
    with reading_beside(opened) as file:
        size = file.seek(0, 2)
        file.seek(4)
        file.seek(_read_ebml_size(file) or 0, 1)
        while (at := file.tell()) < size:
            name = _read_ebml_name(file)
            if name == _EBML:
                return False
            length = _read_ebml_size(file)
            if name in (_SEGMENT, _CLUSTER):
                continue
            if name not in _ELEMENTS or length is None:
                return True
            file.seek(length, 1)
        return at > size


def _read_ebml_name(file: BinaryIO) -> bytes:
    first = file.read(1)
    return first + file.read(max(0, 8 - first[0].bit_length()) if first else 0)


def _read_ebml_size(file: BinaryIO) -> int | None:
    """Read a size of one to eight bytes; None if it is unknown."""
    first = file.read(1)
    if not first or first == b"\0":
        return None
    count = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> count)]) + file.read(count), "big")
    unknown = (1 << 7 * (count + 1)) - 1
    return None if value == unknown else value


def is_alone(container: av.container.InputContainer) -> bool:
    """Whether there is one stream that lasts: what the container states is its length."""
    import av

    cover = av.stream.Disposition.attached_pic
    pictures = [each for each in container.streams.video if not each.disposition & cover]
    return not pictures and len(container.streams.audio) == 1


@contextlib.contextmanager
def reading_beside(opened: str | BinaryIO) -> Iterator[BinaryIO]:
    """Read a file beside FFmpeg, and leave it where it was."""
    if isinstance(opened, str):
        with Path(opened).open("rb") as file:
            yield file
        return
    at = opened.tell()
    try:
        yield opened
    finally:
        opened.seek(at)
