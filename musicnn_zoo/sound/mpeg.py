"""MPEG audio, Layer III: what its frames say, and what its Xing, Info or VBRI header does.

Frames are those of ISO/IEC 11172-3 and 13818-3; headers are those of Xing, LAME and Fraunhofer.
"""

from __future__ import annotations

import re
import struct
from typing import BinaryIO, NamedTuple

_MOST_JUNK = 1 << 16
_MOST_ZEROS = 1 << 26
_WALKED = 1 << 26
_SEARCHED = 1 << 20
_MOST_FILES = 1 << 12
_OVERLAP = 64
_ID3V1_SIZE = 128
_APE_HEADER_SIZE = 32

_HEADER_OR_TAG = re.compile(
    rb"(?:Xing|Info)\0\0\0[\0-\x0f]|ID3[\x02-\x04]\0[\0-\xf0][\0-\x7f]{4}", re.DOTALL
)
_SYNC = re.compile(rb"\xff[\xe2-\xff]")
_XING_FIELDS = (1, 4), (2, 4), (4, 100), (8, 4)
"""Bits of its flags, and the bytes that each stands for."""
_SIDES = (32, 17, 9)
"""Bytes of side information, by layout."""

_OTHERS = (b"RIFF", b"RF64", b"FORM", b"\x1a\x45\xdf\xa3", b"\0\0\1\xba", b"\x47")
"""Containers that may hold MP3s."""

_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_KBIT_S = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBIT_S_OF_LOW_RATES = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


class _Frame(NamedTuple):
    """Sample rate in Hz, samples, bytes of side information, bit rate in kbit/s, and bytes."""

    rate: int
    samples: int
    side: int
    kbit_s: int
    size: int


class _Header(NamedTuple):
    """A Xing or VBRI header: its place and frame, what it states, and samples of padding."""

    at: int
    frame: _Frame
    frames: int
    stated_bytes: int
    is_xing: bool
    silent: int


def stated_length(file: BinaryIO) -> tuple[float, bool] | None:
    """Return the seconds that a Xing, Info or VBRI header states, and whether they are exact.

    They are exact, without delay and padding, if something in the middle is no frame: whether that
    is there instead of frames or between them shows when all are decoded. None if there is no
    header, or if the file is not torn in this way and has all the bytes that its header states.
    """
    size = file.seek(0, 2)
    start = end_of_id3(file)
    file.seek(start)
    data = file.read(_WALKED)
    header = _read_header(data[:_MOST_JUNK])
    if header is None or not header.frames:
        return None
    samples, rate = header.frames * header.frame.samples, header.frame.rate
    if len(data) < _WALKED and _is_torn(data, header):
        return (samples - header.silent) / rate, True
    if 0 < header.stated_bytes <= size - start - header.at:
        return None
    return samples / rate, False


def _is_torn(data: bytes, header: _Header) -> bool:
    """Whether frames like the first follow behind something that is no frame."""
    at, form = header.at, header.frame[:2]
    while (frame := _parse(data[at : at + 4])) is not None:
        at += frame.size
    for match in _SYNC.finditer(data, at):
        frame = _parse(data[match.start() : match.start() + 4])
        if frame is not None and frame[:2] == form:
            end = match.start() + frame.size
            following = _parse(data[end : end + 4])
            if following is not None and following[:2] == form:
                return True
    return False


def is_mpeg(file: BinaryIO) -> bool:
    """Whether a file begins with an ID3v2 tag or with the sync word of a frame of MPEG audio."""
    file.seek(0)
    start = file.read(3)
    return start == b"ID3" or (len(start) > 1 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0)


def count_samples(file: BinaryIO) -> int | None:
    """Count the samples in the frames of a tidy MP3; None if it is not tidy.

    That is one of nothing but frames of one rate and layout, as many as its header states, or of
    one bit rate, if it has none: nothing was added to it or lost from it.
    """
    file.seek(end_of_id3(file))
    start = file.read(4)
    first = _parse(start)
    if first is None:
        return None
    data = start + file.read(_WALKED)
    header = _read_header(data[:_MOST_JUNK])
    if len(data) >= _WALKED or (header is not None and not header.is_xing):
        return None
    frames: dict[bytes, _Frame] = {}
    at = count = 0
    while at < len(data):
        start = data[at : at + 4]
        frame = frames.get(start) or _parse(start)
        if frame is None:
            break
        frames[start] = frame
        at += frame.size
        count += 1
    if header is not None:
        count -= 1
        is_known = count == header.frames
    else:
        is_known = len({frame.kbit_s for frame in frames.values()}) == 1
    is_tidy = is_known and len({frame[:3] for frame in frames.values()}) == 1
    return count * first.samples if is_tidy and _is_tags(data[at:]) else None


def find_mp3s(file: BinaryIO) -> list[int]:
    """Return where each of the files that an MP3 consists of begins; nothing for other files.

    Each but the first begins with a Xing or Info header, or with an ID3v2 tag before it: only those
    say where the sound of a file begins and ends. The first begins behind zeros, and behind junk if
    it has such a header.
    """
    size = file.seek(0, 2)
    start = end_of_zeros(file, end_of_id3(file))
    first = end_of_id3(file, start)
    file.seek(first)
    head = file.read(_MOST_JUNK)
    frame = _parse(head[:4])
    if frame is not None and _parse(head[frame.size : frame.size + 4]) is not None:
        header = _read_header(head)
        if header is not None and 0 <= size - first - header.stated_bytes <= _ID3V1_SIZE:
            return [start]
        parts = [start]
    elif head.startswith(_OTHERS) or not head:
        return []
    else:
        parts = []
    tag = start, first
    rest, at = head[:0], first
    file.seek(first)
    while len(parts) < _MOST_FILES and (block := file.read(_SEARCHED)):
        searched = rest + block
        for match in _HEADER_OR_TAG.finditer(searched):
            found = at + match.start()
            if found < tag[1]:
                continue
            if match[0].startswith(b"ID3"):
                tag = found, found + 10 + _tag_size(match[0])
                continue
            begin = _begin_of_frame(searched[: match.start()])
            if begin is None:
                continue
            begin += at
            begin = tag[0] if begin == tag[1] else begin
            if not parts or begin > parts[-1]:
                parts.append(begin)
        if not parts:
            return []
        rest = searched[-_OVERLAP:]
        at += len(searched) - len(rest)
    return parts


def end_of_zeros(file: BinaryIO, at: int) -> int:
    """Return where the zero bytes end that begin at a place."""
    for _ in range(_MOST_ZEROS // _SEARCHED):
        file.seek(at)
        block = file.read(_SEARCHED)
        zeros = len(block) - len(block.lstrip(b"\0"))
        at += zeros
        if zeros < len(block) or not block:
            break
    return at


def _begin_of_frame(before: bytes) -> int | None:
    """Return where the frame begins whose header and empty side information end here."""
    for side in _SIDES:
        begin = len(before) - side - 4
        if begin >= 0 and not any(before[begin + 4 :]):
            frame = _parse(before[begin : begin + 4])
            if frame is not None and frame.side == side:
                return begin
    return None


def _is_tags(tail: bytes) -> bool:
    """Whether what stands behind the last frame is nothing but an APEv2 and an ID3v1 tag."""
    if tail.startswith(b"APETAGEX") and len(tail) >= _APE_HEADER_SIZE:
        tail = tail[_APE_HEADER_SIZE + int.from_bytes(tail[12:16], "little") :]
    return not tail or (tail.startswith(b"TAG") and len(tail) == _ID3V1_SIZE)


def _read_header(head: bytes) -> _Header | None:
    """Find the first frame and read the header that it is, if it is one."""
    for at in range(max(0, len(head) - 200)):
        if head[at] == 0xFF and (frame := _parse(head[at : at + 4])) is not None:
            break
    else:
        return None
    silent = 0
    tag = at + 4 + frame.side
    is_xing = head[tag : tag + 4] in (b"Xing", b"Info")
    if is_xing:
        (flags,) = struct.unpack(">I", head[tag + 4 : tag + 8])
        fields = struct.unpack(">II", head[tag + 8 : tag + 16])
        frames = fields[0] if flags & 1 else 0
        stated_bytes = fields[1 if flags & 1 else 0] if flags & 2 else 0
        encoder = tag + 8 + sum(size for bit, size in _XING_FIELDS if flags & bit)
        if head[encoder : encoder + 4] in (b"LAME", b"Lavc", b"Lavf"):
            packed = int.from_bytes(head[encoder + 21 : encoder + 24], "big")
            silent = (packed >> 12) + (packed & 0xFFF)
    elif head[at + 36 : at + 40] == b"VBRI":
        stated_bytes, frames = struct.unpack(">II", head[at + 46 : at + 54])
    else:
        return None
    return _Header(at, frame, frames, stated_bytes, is_xing, silent)


def _parse(header: bytes) -> _Frame | None:
    """Read the four bytes that begin a Layer III frame."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    rate_index, speed = header[2] >> 2 & 3, header[2] >> 4
    if version == 1 or layer != 1 or rate_index == 3 or speed in (0, 15):
        return None
    rate = _RATES[version][rate_index]
    padding = header[2] >> 1 & 1
    is_mono = header[3] >> 6 == 3
    if version == 3:
        kbit_s = _KBIT_S[speed - 1]
        return _Frame(rate, 1152, 17 if is_mono else 32, kbit_s, 144_000 * kbit_s // rate + padding)
    kbit_s = _KBIT_S_OF_LOW_RATES[speed - 1]
    return _Frame(rate, 576, 9 if is_mono else 17, kbit_s, 72_000 * kbit_s // rate + padding)


def end_of_id3(file: BinaryIO, at: int = 0) -> int:
    """Return where the ID3v2 tags end that begin at a place."""
    while True:
        file.seek(at)
        header = file.read(10)
        if len(header) < 10 or header[:3] != b"ID3":
            return at
        at += 10 + _tag_size(header)


def _tag_size(header: bytes) -> int:
    """Return how many bytes follow the ten that begin an ID3v2 tag."""
    length = 0
    for byte in header[6:10]:
        length = length << 7 | byte & 0x7F
    return length + (10 if header[5] & 0x10 else 0)
