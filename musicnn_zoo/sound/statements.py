"""What a file states of its sound: its length, and where the samples lie.

These are WAV and its kin (RIFX, RF64, Wave64), AIFF, 8SVX, CAF and DSD; AU has no chunks, but
states its bytes alike. Where a size is 0, "unknown" or less than there is, the samples go on to the
end of the file if what comes behind the stated ones is no chunk.

Estimates from a bit rate, signs for "unknown", and the length of another stream are no statements.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

from musicnn_zoo.sound.mpeg import stated_length_s, torn_length_s

if TYPE_CHECKING:
    import av


UNKNOWN_SIZE = 0x7FFF0000
"""Writers that cannot go back state at least this many bytes in a field of 32 bits."""
_UNKNOWN = {4: UNKNOWN_SIZE, 8: 1 << 62}
"""By the bytes of the field."""

_MOST_CHUNKS = 1 << 10
_MOST_READ = 1 << 16

_AIFF_DESCRIPTION = struct.Struct(">HIH10x")
_PLAIN_AIFF = (b"", b"NONE", b"sowt", b"twos", b"fl32", b"FL32", b"fl64", b"FL64")
_AIFF_OFFSETS = 8


class _Form(NamedTuple):
    """How a file of chunks is written.

    Parameters
    ----------
    first : int
        Where the first chunk begins.
    data : tuple of bytes
        What the name of the chunk of samples begins with.
    name, size : int
        Bytes of a chunk's name and of its size.
    align : int
        Chunks begin at multiples of so many bytes.
    counts_head : bool
        Whether the size of a chunk is that of its name and size, too.
    """

    order: Literal["little", "big"]
    first: int
    data: tuple[bytes, ...] = (b"data",)
    name: int = 4
    size: int = 4
    align: int = 2
    counts_head: bool = False

    @property
    def head(self) -> int:
        return self.name + self.size


_FORMS = {
    b"RIFF": _Form("little", 12),
    b"RIFX": _Form("big", 12),
    b"RF64": _Form("little", 12),
    b"BW64": _Form("little", 12),
    b"riff": _Form("little", 40, name=16, size=8, align=8, counts_head=True),
    b"FORM": _Form("big", 12, (b"SSND", b"BODY")),
    b"FRM8": _Form("big", 16, (b"DSD ", b"DST "), size=8),
    b"caff": _Form("big", 8, size=8, align=1),
    b"DSD ": _Form("little", 28, size=8, align=1, counts_head=True),
}
_AU = {b".snd": _Form("big", 0), b"dns.": _Form("little", 0)}

_KNOWN = (*_FORMS, *_AU, b"LIST", b"id3 ", b"ID3", b"bext", b"JUNK", b"TAG", b"APETAGEX")
"""What comes behind samples, even if it is cut off or states more than there is."""


@dataclass(frozen=True)
class Data:
    """The samples of a file.

    Parameters
    ----------
    start : int
        Where they begin.
    stated, present : int
        Bytes of them that are stated, and those from there to the end of the file.
    goes_on : bool
        Whether they are all that is there, whatever is stated.
    field : range
        Where the stated size is.
    order : {"little", "big"}
        Of its bytes.
    counted : int
        Bytes before the samples that the field counts, too.
    description : bytes
        What an AIFF says before its samples of how they are written.
    """

    start: int
    stated: int
    present: int
    goes_on: bool
    field: range
    order: Literal["little", "big"]
    counted: int = 0
    description: bytes = b""

    @property
    def part(self) -> float | None:
        """How much is there of what is stated; None if it is all of it."""
        is_cut = self.present < self.stated and not self.goes_on
        return self.present / self.stated if is_cut else None

    @property
    def true_size(self) -> bytes:
        """The field of one that goes on, put right."""
        most = (1 << 8 * len(self.field)) - 1
        return min(self.present + self.counted, most).to_bytes(len(self.field), self.order)

    @property
    def is_plain_aiff(self) -> bool:
        """Whether they are all there, of no codec, and as many as an AIFF says in both places."""
        if self.goes_on or self.part is not None:
            return False
        if len(self.description) < _AIFF_DESCRIPTION.size:
            return False
        channels, frames, bits = _AIFF_DESCRIPTION.unpack_from(self.description)
        codec = self.description[_AIFF_DESCRIPTION.size :][:4]
        size = channels * frames * ((bits + 7) // 8)
        return codec in _PLAIN_AIFF and self.stated == _AIFF_OFFSETS + size


def find_data(file: BinaryIO) -> Data | None:
    """Find the samples of a file of chunks; None if it is none of these, or has none."""
    size = file.seek(0, 2)
    file.seek(0)
    magic = file.read(12)
    kind = magic[:4]
    if kind in _AU:
        form = _AU[kind]
        start, stated = (int.from_bytes(magic[at : at + 4], form.order) for at in (4, 8))
        goes_on = _goes_on(file, form, start, stated, size)
        return Data(start, stated, max(0, size - start), goes_on, range(8, 12), form.order)
    if kind not in _FORMS or (kind in (b"RIFF", b"RIFX") and magic[8:] != b"WAVE"):
        return None
    form = _FORMS[kind]
    at = form.first
    long_field: range | None = None
    description = b""
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        head = file.read(form.head)
        if len(head) < form.head:
            break
        start = at + form.head
        stated = int.from_bytes(head[form.name :], form.order)
        if head.startswith(form.data):
            field = range(at + form.name, start)
            if kind in (b"RF64", b"BW64"):
                if long_field is None:
                    break
                field = long_field
                file.seek(field.start)
                stated = int.from_bytes(file.read(len(field)), form.order)
            counted = form.head if form.counts_head else 0
            stated = max(0, stated - counted)
            goes_on = _goes_on(file, form, start, stated, size)
            return Data(
                start, stated, size - start, goes_on, field, form.order, counted, description
            )
        if head.startswith(b"ds64"):
            long_field = range(start + 8, start + 16)
        elif head.startswith(b"COMM"):
            description = file.read(min(stated, _MOST_READ))
        at += max(stated, form.head) if form.counts_head else form.head + stated
        at += -at % form.align
    return None


def _goes_on(file: BinaryIO, form: _Form, start: int, stated: int, size: int) -> bool:
    """Whether samples go on to the end of the file, though something else is stated."""
    present = size - start
    if stated >= present:
        return stated > present >= 0 and stated >= _UNKNOWN[form.size]
    if _is_chunk(file, form, start + stated, size):
        return False
    return stated == 0 or not _is_silent(file, start + stated)


def _is_chunk(file: BinaryIO, form: _Form, end: int, size: int) -> bool:
    """Whether what comes behind samples is a chunk, a tag, or too little to be sound."""
    for at in (end + -end % form.align, end):
        if size - at < form.head:
            return True
        file.seek(at)
        head = file.read(form.head)
        length = int.from_bytes(head[form.name :], form.order)
        next_at = at + length + (0 if form.counts_head else form.head)
        is_name = all(32 <= byte < 127 for byte in head[:4])
        if head.startswith(_KNOWN) or (is_name and next_at <= size + 1):
            return True
    return False


def _is_silent(file: BinaryIO, start: int) -> bool:
    file.seek(start)
    while part := file.read(_MOST_READ):
        if any(part):
            return False
    return True


_HEADERS_STATE = frozenset({"ape", "flac", "mpc", "mpc8", "nistsphere", "tak", "tta", "wv"})
"""FFmpeg's formats whose headers say how long the one audio stream is; ``mov`` is one by itself."""

_EXACT = _HEADERS_STATE - {"mpc", "mpc8"}

_PROBED = 1 << 17
"""Bytes of a WAV in which FFmpeg looks for DTS or AC-3 in the place of samples."""

_HEAD = 1 << 16
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")

_VOC = b"Creative Voice File\x1a"
_LAST_VOC_BLOCK = 9
_LONGEST_VOC_BLOCK = 1 << 24
_AVR_HEAD = 128
_MAT5_ELEMENTS = (14, 15)
"""A matrix, and a compressed one."""
_MAT4_STARTS: Mapping[bytes, Literal["little", "big"]] = {
    bytes.fromhex("00000000 01000000 01000000"): "little",
    bytes.fromhex("000003e8 00000001 00000001"): "big",
}
"""A matrix of one number, which is the sample rate."""
_MAT4_BYTES = (8, 4, 4, 2, 2, 1)
"""Of a number, by its kind."""
_MOST_BLOCKS = 1 << 20
_EBML, _SEGMENT, _CLUSTER = map(bytes.fromhex, ("1a45dfa3", "18538067", "1f43b675"))
_ELEMENTS = frozenset(map(bytes.fromhex, (
    "114d9b74", "1549a966", "1654ae6b", "1c53bb6b", "1941a469", "1043a770", "1254c367", "ec", "bf",
    "e7", "a7", "ab", "a3", "a0", "af", "5854",
)))  # fmt: skip
"""What a segment and its clusters are made of."""

_MOST_JUNK = 1 << 16


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
    if form == "matroska":
        with reading_beside(opened) as file:
            is_cut = _is_cut_matroska(file)
        whole_s = (container.duration or 0) / 1e6
        return Statement(whole_s) if is_cut and is_alone(container) and whole_s else None
    if form == "mov" and length_s and stream.frames:
        return Statement(length_s, packets=stream.frames)
    if form in _HEADERS_STATE and length_s > 0:
        return Statement(length_s, exact=form in _EXACT)
    with reading_beside(opened) as file:
        part = part_of_stated(file)
        is_exact = find_data(file) is not None
    return None if part is None else Statement(0.0, exact=is_exact, part=part)


def part_of_stated(file: BinaryIO) -> float | None:
    """Return how much there is of the bytes that a file states; None if it is all of them."""
    data = find_data(file)
    if data is not None:
        return data.part
    size = file.seek(0, 2)
    stated = _stated_bytes(file)
    return size / stated if stated is not None and size < stated else None


def _stated_bytes(file: BinaryIO) -> int | None:
    """Return how many bytes a file without samples in a chunk says it has, if it says so."""
    file.seek(0)
    head = file.read(_HEAD)
    stated, unknown = 0, 1 << 62
    order: Literal["little", "big"]
    if head.startswith(b"RIFF"):
        stated, unknown = 8 + int.from_bytes(head[4:8], "little"), UNKNOWN_SIZE
    elif head.startswith(_VOC):
        stated = 0 if is_long_voc(file) else _end_of_voc(file)
    elif head.startswith(b"MATLAB 5.0") and head[126:128] in (b"IM", b"MI"):
        order = "little" if head[126:128] == b"IM" else "big"
        stated = _end_of_blocks(file, 128, 8, lambda block: _size_in_mat5(block, order))
    elif head[:12] in _MAT4_STARTS:
        order = _MAT4_STARTS[head[:12]]
        stated = _end_of_blocks(file, 0, 20, lambda block: _size_in_mat4(block, order))
    elif head.startswith(b"2BIT") and len(head) >= _AVR_HEAD:
        is_stereo, bits = struct.unpack(">HH", head[12:16])
        frames = int.from_bytes(head[26:30], "big")
        stated = _AVR_HEAD + frames * (2 if is_stereo else 1) * bits // 8
    elif head.startswith(b"ALawSoundFile**"):
        stated = 32 + int.from_bytes(head[18:22], "big")
    elif head.startswith(_ASF) and (at := head.find(_ASF_PROPERTIES)) >= 0:
        is_live = int.from_bytes(head[at + 88 : at + 92], "little") & 1
        stated = 0 if is_live else int.from_bytes(head[at + 40 : at + 48], "little")
    elif head.startswith(b"FLV") and (at := head.find(b"filesize\0")) >= 0:
        number = head[at + 9 : at + 17]
        value = struct.unpack(">d", number)[0] if len(number) == 8 else 0.0
        stated = int(value) if 0 < value < unknown else 0
    return stated if 12 < stated < unknown else None


def is_long_voc(file: BinaryIO) -> bool:
    """Whether a file is a VOC whose block has more bytes than its size of 24 bits can say."""
    size = file.seek(0, 2)
    file.seek(0)
    is_long = size > _LONGEST_VOC_BLOCK and file.read(len(_VOC)) == _VOC
    return is_long and _end_of_voc(file) not in (size - 1, size)


def _end_of_voc(file: BinaryIO) -> int:
    file.seek(len(_VOC))
    return _end_of_blocks(file, int.from_bytes(file.read(2), "little"), 4, _size_in_voc)


def _end_of_blocks(
    file: BinaryIO, at: int, head: int, size_of: Callable[[bytes], int | None]
) -> int:
    """Return where the last block that begins in a file ends; 0 if they are no blocks."""
    size = file.seek(0, 2)
    for _ in range(_MOST_BLOCKS):
        if at + head > size:
            return at
        file.seek(at)
        block = size_of(file.read(head))
        if block is None:
            break
        at += head + block
    return 0


def _size_in_voc(head: bytes) -> int | None:
    return int.from_bytes(head[1:], "little") if 0 < head[0] <= _LAST_VOC_BLOCK else None


def _size_in_mat5(head: bytes, order: Literal["little", "big"]) -> int | None:
    kind, size = (int.from_bytes(head[at : at + 4], order) for at in (0, 4))
    return size if kind in _MAT5_ELEMENTS else None


def _size_in_mat4(head: bytes, order: Literal["little", "big"]) -> int | None:
    kind, rows, columns, is_complex, name = (
        int.from_bytes(head[at : at + 4], order) for at in range(0, 20, 4)
    )
    number = kind % 100 // 10
    if number >= len(_MAT4_BYTES):
        return None
    return name + rows * columns * _MAT4_BYTES[number] * (2 if is_complex else 1)


def wav_options(opened: str | BinaryIO) -> dict[str, str]:
    """Return how FFmpeg is to read a file, if it is a WAV: in large packets, which is faster."""
    with reading_beside(opened) as file:
        file.seek(0)
        if file.read(4) not in (b"RIFF", b"RF64", b"BW64"):
            return {}
        data = find_data(file)
        if data is None:
            return {}
        file.seek(data.start)
        begins_silent = not any(file.read(_PROBED))
    options = {"max_size": str(1 << 16)}
    if not begins_silent:
        options["probesize"] = str(_PROBED)
    return options


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
