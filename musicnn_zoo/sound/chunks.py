"""Where the samples lie in files of chunks, and how many bytes of them a header states.

These are WAV and its kin (RIFX, RF64, Wave64), AIFF, 8SVX, CAF and DSD; AU has no chunks, but
states its bytes alike. Where a size is 0, "unknown" or less than there is, the samples go on to the
end of the file if what comes behind the stated ones is no chunk.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO, Literal, NamedTuple

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
