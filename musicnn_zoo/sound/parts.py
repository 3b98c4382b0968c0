"""Where the recordings of a file begin, and where the samples of a recording lie.

Files may be joined, and Ogg files are chained: decoders end with the first recording, or take the
header of the next for sound. Headers may state too few samples, for instance where a writer was
interrupted; decoders believe them.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO, Literal, NamedTuple

from musicnn_zoo.sound.mpeg import end_of_id3, end_of_zeros, find_mp3s

_SEARCHED = 1 << 20
_HEAD = 64
"""Bytes that tell how any of the files begins."""
_MOST_LINKS = 1 << 12


@dataclass
class Link:
    """A recording in a file that may hold several.

    It begins at ``start``. If ``is_ogg``, it is a link of an Ogg file, and its first stream may be
    Vorbis. It ``is_broken`` if a page of its first sound is missing, or is not what its checksum
    says: decoders leave such a page out. It ``lacks_start`` if these are pages of its very
    beginning. ``end`` is the granule position at its end.
    """

    start: int
    is_ogg: bool = False
    is_vorbis: bool = False
    is_broken: bool = False
    lacks_start: bool = False
    end: int = 0
    _serial: bytes | None = field(default=None, repr=False)
    _number: int = field(default=0, repr=False)
    _is_behind_broken: bool = field(default=False, repr=False)

    def add(self, page: _Page) -> None:
        """Note the next page of an Ogg link.

        It is no loss if the first page is missing: a recording of a radio station begins when the
        stream has begun already.
        """
        if self._serial is None and page.body.startswith(_SOUNDS):
            self._serial, self._number = page.serial, page.number
            self.is_broken = not page.is_whole
            return
        if page.serial != self._serial and page.is_whole:
            self._is_behind_broken = False
            return
        is_next = page.number == self._number + 1
        if page.is_whole:
            self.is_broken |= not is_next and self.end > 0
            self.is_broken |= page.is_behind_junk and not self._is_behind_broken
            self._is_behind_broken = False
        else:
            self.is_broken = self._is_behind_broken = True
            is_likely = self.end <= page.granule <= self.end + _MOST_SAMPLES
            if page.serial != self._serial or not is_likely:
                return
            self.lacks_start |= self.end == 0 and is_next
        self._number, self.end = page.number, max(self.end, page.granule)


_CAPTURE = b"OggS\0"
_CAPTURES = re.compile(_CAPTURE)
_PAGE = struct.Struct("<5sBq4sI4sB")
_CHECKSUM = slice(22, 26)
_BEGINS = 2
_MOST_FLAGS = 7
_VORBIS = b"\x01vorbis"
_SOUNDS = (_VORBIS, b"OpusHead", b"\x7fFLAC", b"Speex")
_FIRST_PACKETS = (*_SOUNDS, b"fishead", b"\x80theora")
_NO_OGG = (b"RIFF", b"RF64", b"fLaC", b"FORM", b"\x1a\x45\xdf\xa3", b"caff")
_MOST_SAMPLES = 1 << 21
"""On a page. A broken page that states more is not believed."""
_MOST_JUNK = 1 << 16
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class _Page(NamedTuple):
    """A page of an Ogg file (RFC 3533), whole if its checksum is right, perhaps behind junk."""

    at: int
    flags: int
    granule: int
    serial: bytes
    number: int
    body: bytes
    is_whole: bool
    is_behind_junk: bool


def find_links(file: BinaryIO) -> list[Link]:
    """Return the links of an Ogg file; nothing for another file."""
    start = _first_page(file)
    if start is None:
        return []
    links: list[Link] = []
    whole = Link(start, is_ogg=True)
    in_heads = False
    for page in _pages(file, start):
        if page.flags <= _MOST_FLAGS:
            begins = bool(page.flags & _BEGINS)
            if begins and not in_heads:
                if len(links) == _MOST_LINKS:
                    break
                links.append(Link(page.at, True, page.body.startswith(_VORBIS)))
            in_heads = begins
        (links[-1] if links else whole).add(page)
    return links or [whole]


def _first_page(file: BinaryIO) -> int | None:
    """Return where the first page begins: at once, behind ID3 tags, or behind a little junk."""
    file.seek(0)
    head = file.read(len(_CAPTURE))
    if head == _CAPTURE:
        return 0
    if head.startswith(_NO_OGG):
        return None
    start = end_of_id3(file)
    file.seek(start)
    head = file.read(_MOST_JUNK)
    at = head.find(_CAPTURE)
    if at < 0 or not head.startswith(_FIRST_PACKETS, at + _PAGE.size + 1):
        return None
    return start + at


def _pages(file: BinaryIO, at: int) -> Iterator[_Page]:
    while (found := _find_capture(file, at)) is not None:
        file.seek(found)
        head = file.read(_PAGE.size)
        if len(head) < _PAGE.size:
            return
        _, flags, granule, serial, number, checksum, segments = _PAGE.unpack(head)
        lacing = file.read(segments)
        body = file.read(sum(lacing))
        page = head[: _CHECKSUM.start] + bytes(4) + head[_CHECKSUM.stop :] + lacing + body
        is_whole = _ogg_checksum(page) == checksum
        yield _Page(found, flags, granule, serial, number, body, is_whole, found > at)
        at = found + (len(page) if is_whole else len(_CAPTURE))


def _find_capture(file: BinaryIO, at: int) -> int | None:
    """Return where the next page begins."""
    file.seek(at)
    is_here = file.read(len(_CAPTURE)) == _CAPTURE
    return at if is_here else next(_matches(file, at, _CAPTURES), None)


def _ogg_checksum(page: bytes) -> bytes:
    """Compute the CRC-32 of Ogg by that of zlib, which takes the bits the other way round."""
    register = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return register.to_bytes(4, "big").translate(_REVERSED)


def _matches(file: BinaryIO, at: int, pattern: re.Pattern[bytes]) -> Iterator[int]:
    """Yield where a pattern of at most 64 bytes matches, from a place on."""
    last = -1
    while True:
        file.seek(at)
        searched = file.read(_SEARCHED)
        for match in pattern.finditer(searched):
            if at + match.start() > last:
                last = at + match.start()
                yield last
        if len(searched) < _SEARCHED:
            return
        at += _SEARCHED - _HEAD


UNKNOWN_SIZE = 0x7FFF0000
"""Writers that cannot go back state at least this many bytes in a field of 32 bits."""
_UNKNOWN = {4: UNKNOWN_SIZE, 8: 1 << 62}
"""By the bytes of the field."""

_MOST_CHUNKS = 1 << 17
_MOST_CHUNKS_BEFORE = 1 << 10
"""Before the samples."""
_MOST_READ = 1 << 16

Order = Literal["little", "big"]


@dataclass(frozen=True)
class _Form:
    """A container that is a row of chunks, each with a name and a size.

    ``begins`` is a pattern of how a file begins, ``order`` the order of the bytes of sizes,
    ``first`` where the first chunk begins, ``data`` what the name of the chunk of samples begins
    with. ``name`` and ``size`` are the bytes of these fields of a chunk. Sizes are rounded up to
    multiples of ``align``; if it ``counts_head``, the size of a chunk is that of its name and size,
    too. ``whole`` is where a file states the size of all of it, ``place`` where a chunk states how
    far from its beginning its contents are.
    """

    begins: bytes
    order: Order
    first: int
    data: tuple[bytes, ...] = (b"data",)
    name: int = 4
    size: int = 4
    align: int = 2
    counts_head: bool = False
    whole: slice | None = None
    place: slice | None = None

    @property
    def head(self) -> int:
        return self.name + self.size

    def begins_in(self, head: bytes) -> bool:
        return re.match(self.begins, head, re.DOTALL) is not None

    def stated(self, head: bytes) -> int:
        """Return the size that a chunk states."""
        return int.from_bytes(head[self.name : self.head], self.order)

    def before(self, head: bytes) -> int:
        """Return how far from the beginning of a chunk its contents are."""
        return self.head if self.place is None else int.from_bytes(head[self.place], self.order)

    def step(self, head: bytes) -> int:
        """Return how far the next chunk is from one that begins so; 0 if it does not say."""
        stated = self.stated(head)
        step = stated if self.counts_head else self.before(head) + stated
        return step + -step % self.align if step >= self.head else 0

    def first_step(self, head: bytes) -> int:
        """Return how far the next chunk or file is from the beginning of a file."""
        if self.whole is not None:
            return int.from_bytes(head[self.whole], self.order)
        return self.first or self.step(head)

    def has_name(self, head: bytes) -> bool:
        """Whether a chunk has a name that one can have."""
        return self.name != 4 or _is_name(head[:4])


class _Boxes(_Form):
    """The boxes of MP4 and QuickTime, whose sizes come before their names (ISO 14496-12)."""

    def step(self, head: bytes) -> int:
        size = int.from_bytes(head[8:16] if head[:4] == _LONG_BOX else head[:4], "big")
        return size if size >= self.head else 0

    def has_name(self, head: bytes) -> bool:
        return _is_name(head[4:8])


def _is_name(name: bytes) -> bool:
    return all(32 <= byte < 127 for byte in name)


_LONG_BOX = b"\0\0\0\1"
"""In the place of a size: it is stated behind the name."""

_MP4 = _Boxes(rb"....ftyp", "big", 0)
_FORMS = (
    _Form(rb"(?:RIFF|RF64|BW64)....WAVE", "little", 12),
    _Form(rb"RIFX....WAVE", "big", 12),
    _Form(rb"FORM....(?:AIFF|AIFC|8SVX|16SV)", "big", 12, (b"SSND", b"BODY")),
    _Form(rb"caff\0\x01", "big", 8, size=8, align=1),
    _Form(
        rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0", "little", 40,
        name=16, size=8, align=8, counts_head=True,
    ),
    _Form(rb"FRM8........DSD ", "big", 16, (b"DSD ", b"DST "), size=8),
    _Form(
        rb"DSD \x1c\0\0\0\0\0\0\0", "little", 28,
        size=8, align=1, counts_head=True, whole=slice(12, 20),
    ),
    # An AU is one chunk.
    _Form(rb"\.snd", "big", 0, (b".snd",), name=8, align=1, place=slice(4, 8)),
    _Form(rb"dns\.", "little", 0, (b"dns.",), name=8, align=1, place=slice(4, 8)),
)  # fmt: skip
"""The containers of which the samples are found."""

_BEHIND = (
    b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff", b"FORM", b"FRM8", b"caff", b"DSD ", b".snd",
    b"dns.", b"LIST", b"id3 ", b"ID3", b"bext", b"JUNK", b"TAG", b"APETAGEX",
)  # fmt: skip
"""What comes behind samples, even if it is cut off or states more than there is."""

_AIFF_DESCRIPTION = struct.Struct(">HIH10x")
_PLAIN_AIFF = (b"", b"NONE", b"sowt", b"twos", b"fl32", b"FL32", b"fl64", b"FL64")
_AIFF_OFFSETS = 8


@dataclass(frozen=True)
class Data:
    """The samples of a file of chunks.

    Where the stated size is 0, "unknown" or less than there is, the samples go on to the end of the
    file if what comes behind the stated ones is no chunk.

    They begin at ``start``; of the ``stated`` bytes, or more, ``present`` are in the file. Where
    they go on behind the stated ones, ``correction`` is what the field of their size should hold,
    by its place. ``description`` is what an AIFF says before its samples of how they are written.
    """

    start: int
    stated: int
    present: int
    correction: dict[int, bytes]
    description: bytes

    @property
    def part(self) -> float | None:
        """How much is there of what is stated; None if it is all of it."""
        is_cut = self.present < self.stated and not self.correction
        return self.present / self.stated if is_cut else None

    @property
    def is_plain_aiff(self) -> bool:
        """Whether they are all there, of no codec, and as many as an AIFF says in both places."""
        if self.correction or self.part is not None:
            return False
        if len(self.description) < _AIFF_DESCRIPTION.size:
            return False
        channels, frames, bits = _AIFF_DESCRIPTION.unpack_from(self.description)
        codec = self.description[_AIFF_DESCRIPTION.size :][:4]
        size = channels * frames * ((bits + 7) // 8)
        return codec in _PLAIN_AIFF and self.stated == _AIFF_OFFSETS + size


def find_data(file: BinaryIO) -> Data | None:
    """Find the samples of WAV and its kin (RIFX, RF64, Wave64), AIFF, 8SVX, CAF, DSD and AU.

    None for other files, and for those that have no samples.
    """
    size = file.seek(0, 2)
    file.seek(0)
    beginning = file.read(_HEAD)
    form = next((form for form in _FORMS if form.begins_in(beginning)), None)
    if form is None:
        return None
    at = form.first
    long_field: range | None = None
    description = b""
    for _ in range(_MOST_CHUNKS_BEFORE):
        file.seek(at)
        head = file.read(form.head)
        if len(head) < form.head:
            break
        start = at + form.before(head)
        stated = form.stated(head)
        if head.startswith(form.data):
            field = range(at + form.name, at + form.head)
            if beginning[:4] in (b"RF64", b"BW64"):
                if long_field is None:
                    break
                field = long_field
                file.seek(field.start)
                stated = int.from_bytes(file.read(len(field)), form.order)
            counted = form.head if form.counts_head else 0
            stated = max(0, stated - counted)
            present = max(0, size - start)
            correction = {}
            if _goes_on(file, form, start, stated, size):
                true_size = min(present + counted, (1 << 8 * len(field)) - 1)
                correction[field.start] = true_size.to_bytes(len(field), form.order)
            return Data(start, stated, present, correction, description)
        if head.startswith(b"ds64"):
            long_field = range(start + 8, start + 16)
        elif head.startswith(b"COMM"):
            description = file.read(min(stated, _MOST_READ))
        step = form.step(head)
        at += step
        if step == 0 or at >= size:
            break
    return None


def _goes_on(file: BinaryIO, form: _Form, start: int, stated: int, size: int) -> bool:
    """Whether samples go on to the end of the file, though something else is stated."""
    present = size - start
    if stated >= present:
        return stated > present >= 0 and stated >= _UNKNOWN[form.size]
    if _is_chunk(file, form, start + stated, size):
        return False
    file.seek(start + stated)
    return stated == 0 or any(any(part) for part in iter(lambda: file.read(_MOST_READ), b""))


def _is_chunk(file: BinaryIO, form: _Form, end: int, size: int) -> bool:
    """Whether what comes behind samples is a chunk, a tag, or too little to be sound."""
    for at in (end + -end % form.align, end):
        if size - at < form.head:
            return True
        file.seek(at)
        head = file.read(form.head)
        next_at = at + form.stated(head) + (0 if form.counts_head else form.head)
        if head.startswith(_BEHIND) or (_is_name(head[:4]) and next_at <= size + 1):
            return True
    return False


_TO_THE_END = 0x7FFFFFFF
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
_BOXES_OF_BOXES = (b"moov", b"trak", b"edts")
_MOST_BOXES = 1 << 12
_MOST_EDITS = 1 << 10


def find_corrections(file: BinaryIO) -> dict[int, bytes]:
    """Return what decoders should read in the place of some bytes of a file, to hear all of it.

    These are the size of samples that go on beyond it; and the duration of edits of MP4 for which 0
    is stated. Such an edit lasts to the end of the sound (ISO 14496-12, 8.6.6), but FFmpeg gives 0
    s of it; so it is told a duration that no recording has.
    """
    data = find_data(file)
    if data is not None:
        return data.correction
    file.seek(4)
    if file.read(4) not in _FIRST_BOXES:
        return {}
    corrections: dict[int, bytes] = {}
    for at, entry_size, count in _edit_lists(file, 0, file.seek(0, 2)):
        file.seek(at)
        entries = file.read(entry_size * count)
        half = (entry_size - 4) // 2
        for start in range(0, len(entries), entry_size):
            duration, begin = entries[start : start + half], entries[start + half :][:half]
            is_pause = begin[:1] >= b"\x80"
            if begin and not is_pause and not any(duration):
                corrections[at + start] = _TO_THE_END.to_bytes(half, "big")
    return corrections


def _edit_lists(file: BinaryIO, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield where the edits of each list begin, how large one is, and how many there are."""
    for _ in range(_MOST_BOXES):
        file.seek(at)
        head = file.read(16)
        if at >= end or len(head) < 16:
            return
        size = _MP4.step(head) if any(head[:4]) else end - at
        body = 16 if head[:4] == _LONG_BOX else 8
        if size < body or at + size > end:
            return
        if head[4:8] in _BOXES_OF_BOXES:
            yield from _edit_lists(file, at + body, at + size)
        elif head[4:8] == b"elst":
            entry_size = 20 if head[8] == 1 else 12
            count = min(int.from_bytes(head[12:], "big"), max(0, size - 16) // entry_size)
            yield at + 16, entry_size, min(count, _MOST_EDITS)
        at += size


_BIT_3 = bytes(byte for byte in range(256) if byte & 8)
_BEGINNINGS = (
    rb"fLaC[\0\x80]\0\0\x22",
    # WavPack: the first block of those of the first sample.
    rb"wvpk....[\x02-\x10]\x04\0.....\0\0\0\0(?!\0\0\0\0)....." + b"[" + re.escape(_BIT_3) + b"]",
    rb"TTA1[\x01\x02]\0[\x01-\x20]\0[\x01-\x20]\0",
    rb"MAC [\x8c-\xa0]\x0f\0\0\x34\0\0\0",
    rb"MPCKSH",
    rb"tBaK\x01.\0\0",
    rb"#!AMR(?:-WB)?\n",
    rb"FLV\x01[\x01\x04\x05]\0\0\0\x09\0\0\0\0",
    rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c",
    rb"\.RMF\0\0\0\x12\0[\0\x01]",
    rb"nut/multimedia container\0",
    rb"Creative Voice File\x1a\x1a\0",
    rb"NIST_1A\n   1024\n",
)  # fmt: skip
"""How files begin whose beginnings are found by searching: they are long, and the files small."""
_SEARCHES = tuple(re.compile(beginning, re.DOTALL) for beginning in _BEGINNINGS)


def find_joined(file: BinaryIO) -> list[int]:
    """Return where the recordings of a file begin; nothing if it is one, from its first byte on."""
    file.seek(0)
    head = file.read(_HEAD)
    form = next((form for form in (*_FORMS, _MP4) if form.begins_in(head)), None)
    if form is not None:
        starts = _walk(file, form)
        return starts if len(starts) > 1 else []
    start = end_of_id3(file)
    file.seek(start)
    head = file.read(_HEAD)
    beginning = next((beginning for beginning in _SEARCHES if beginning.match(head)), None)
    if beginning is None:
        starts = find_mp3s(file)
    else:
        starts = list(islice(_matches(file, start, beginning), _MOST_LINKS))
    is_one = len(starts) < 2 and starts[:1] in ([], [start])
    return [] if is_one else starts


def _walk(file: BinaryIO, form: _Form) -> list[int]:
    """Go from chunk to chunk, as far as they say where the next is."""
    size = file.seek(0, 2)
    starts: list[int] = []
    long_size = at = 0
    for _ in range(_MOST_CHUNKS):
        if at >= size or len(starts) == _MOST_LINKS:
            break
        file.seek(at)
        head = file.read(_HEAD)
        if form.begins_in(head):
            starts.append(at)
            at += form.first_step(head) or size
            continue
        if not any(head):
            at = end_of_zeros(file, at)
            continue
        if head.startswith(b"ds64"):
            long_size = int.from_bytes(head[16:24], "little")
        step = form.step(head)
        if head.startswith(b"data\xff\xff\xff\xff") and long_size:
            step = form.head + long_size + long_size % 2
        if step == 0 or not form.has_name(head):
            break
        at = min(at + step, size)
        file.seek(at - 1)
        if form.begins_in(file.read(_HEAD)):  # without a byte of padding
            at -= 1
    return starts
