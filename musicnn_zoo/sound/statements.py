"""What a file states of the length of its sound, and what is missing of a file without statements.

Estimates from a bit rate, signs for "unknown", and the length of another stream are no statements.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

from musicnn_zoo.sound.decoders import GAP_S, LONGEST_S, DecodedByFFmpeg
from musicnn_zoo.sound.mpeg import stated_length
from musicnn_zoo.sound.parts import UNKNOWN_SIZE, Data, Link, Order

_HEADERS_STATE = frozenset({"ape", "flac", "mpc", "mpc8", "nistsphere", "tak", "tta", "wv"})
"""FFmpeg's formats whose headers say how long the one audio stream is; ``mov`` is one by itself."""
_EXACT = _HEADERS_STATE - {"mpc", "mpc8"}

_HEAD = 1 << 16
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")

_VOC = b"Creative Voice File\x1a"
_LAST_VOC_BLOCK = 9
_LONGEST_VOC_BLOCK = 1 << 24
_AVR_HEAD = 128
_MAT5_ELEMENTS = (14, 15)
"""A matrix, and a compressed one."""
_MAT4_STARTS: dict[bytes, Order] = {
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

_BEGINNING_S = 10.0
_OPUS_RATE = 48_000


def note_missing(decoded: DecodedByFFmpeg, file: BinaryIO, link: Link, data: Data | None) -> None:
    """Note at the end of a recording what the file states beyond what FFmpeg decoded."""
    form = decoded.container.format.name.split(",")[0]
    if form == "ogg" and link.is_broken:
        decoded.lose(_missing_of_ogg(link, decoded))
    if form == "mp3":
        if (stated := stated_length(file)) is not None:
            decoded.expect(stated[0], exact=stated[1])
    elif form == "matroska":
        _note_missing_of_matroska(decoded, file)
    elif form == "mov" and decoded.header_s and decoded.header_packets:
        if decoded.packets < decoded.header_packets:
            decoded.expect(decoded.header_s)
        else:
            decoded.broken = ""
    elif form in _HEADERS_STATE and decoded.header_s > 0:
        decoded.expect(decoded.header_s, exact=form in _EXACT)
    elif (part := part_of_stated(file, data)) is not None:
        decoded.expect(decoded.end_s / (part or 1.0), exact=data is not None)


def part_of_stated(file: BinaryIO, data: Data | None) -> float | None:
    """Return how much there is of the bytes that a file states; None if it is all of them."""
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
    order: Order
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


def _size_in_mat5(head: bytes, order: Order) -> int | None:
    kind, size = (int.from_bytes(head[at : at + 4], order) for at in (0, 4))
    return size if kind in _MAT5_ELEMENTS else None


def _size_in_mat4(head: bytes, order: Order) -> int | None:
    kind, rows, columns, is_complex, name = (
        int.from_bytes(head[at : at + 4], order) for at in range(0, 20, 4)
    )
    number = kind % 100 // 10
    if number >= len(_MAT4_BYTES):
        return None
    return name + rows * columns * _MAT4_BYTES[number] * (2 if is_complex else 1)


def _missing_of_ogg(link: Link, decoded: DecodedByFFmpeg) -> float:
    """Return how many seconds an Ogg stream lacks that has broken pages."""
    codec = decoded.stream.codec_context
    if not codec.name.endswith(("opus", "vorbis")) or len(decoded.first_s) < 2:
        missing_s = link.end / decoded.sample_rate - decoded.end_s
        return missing_s if 0 < missing_s - decoded.gaps_s < _BEGINNING_S else decoded.gaps_s
    begin_s, second_s = decoded.first_s
    if codec.name.endswith("opus"):
        # Times are those of what is heard: the delay comes before.
        delay_s = int.from_bytes((codec.extradata or b"")[10:12], "little") / _OPUS_RATE
        begin_s, end_s = begin_s + delay_s, link.end / _OPUS_RATE - delay_s
    else:
        # The first packet gives no sound.
        begin_s, end_s = second_s, link.end / decoded.sample_rate
    if link.lacks_start and begin_s < _BEGINNING_S:
        begin_s = 0.0
    return end_s - begin_s - decoded.end_s


def _note_missing_of_matroska(decoded: DecodedByFFmpeg, file: BinaryIO) -> None:
    import av

    cover = av.stream.Disposition.attached_pic
    streams = decoded.container.streams
    pictures = [stream for stream in streams.video if not stream.disposition & cover]
    is_of_the_sound = not pictures and len(streams.audio) == 1
    whole_s = (decoded.container.duration or 0) / 1e6 if is_of_the_sound else 0.0
    if whole_s and _is_cut_matroska(file):
        decoded.expect(whole_s)
        return
    missing_s = max(decoded.gaps_s, whole_s - decoded.end_s)
    if not GAP_S < missing_s < LONGEST_S:
        return
    size = decoded.container.size or 0
    unread = (size - decoded.read_to) / max(1, size)
    is_unread = whole_s > 0 and unread > 0.5 * missing_s / whole_s
    if is_unread or decoded.is_torn or _is_torn_matroska(file):
        decoded.lost_s += missing_s


def _is_cut_matroska(file: BinaryIO) -> bool:
    """Whether the segment states more bytes than there are (RFC 8794, RFC 9559)."""
    size = file.seek(0, 2)
    for name, length, start in _elements(file):
        if name != _EBML:
            return name == _SEGMENT and length is not None and start + length > size
    return False


def _is_torn_matroska(file: BinaryIO) -> bool:
    """Whether something in a segment is no element: a reader leaves out what is around it."""
    end = 0
    for name, length, start in _elements(file):
        if name == _EBML and end:
            return False
        if name in (_SEGMENT, _CLUSTER):
            continue
        if length is None or name not in (_ELEMENTS | {_EBML}):
            return True
        end = start + length
    return end > file.seek(0, 2)


def _elements(file: BinaryIO) -> Iterator[tuple[bytes, int | None, int]]:
    """Yield name, size and place of the contents of each element: of those in clusters, too.

    The size is None if it is unknown; then no other element follows.
    """
    size = file.seek(0, 2)
    at = 0
    while at < size:
        file.seek(at)
        name = _read_number(file)
        number = _read_number(file)
        most = (1 << 7 * len(number)) - 1
        length: int | None = int.from_bytes(number, "big") & most
        if length == most or number.startswith(b"\0"):
            length = None
        start = file.tell()
        yield name, length, start
        if name in (_SEGMENT, _CLUSTER):
            at = start
        elif length is None:
            return
        else:
            at = start + length


def _read_number(file: BinaryIO) -> bytes:
    """Read a number of EBML, whose first bits say how many bytes it has (RFC 8794)."""
    first = file.read(1)
    return first + file.read(8 - first[0].bit_length()) if first else b""
