"""Sound files by hand: what encoders did years ago and FFmpeg's muxers do not write."""

import struct
from functools import cache
from typing import NamedTuple

import numpy as np

# MPEG audio and ID3


def id3v2(text=b"", *, size=0, name=b"TIT2", footer=False):
    """Tag of version 2.4 with a title, padded to ``size`` bytes."""
    body = name + _syncsafe(len(text) + 1) + b"\0\0" + b"\0" + text
    body += bytes(max(0, size - len(body) - 10))
    flags, length = 0x10 if footer else 0, _syncsafe(len(body))
    header = b"\4\0" + bytes([flags]) + length
    return b"ID3" + header + body + (b"3DI" + header if footer else b"")


def _syncsafe(number):
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def id3v1(title):
    return b"TAG" + title.ljust(125, b"\0")


def ape(key, value):
    """APEv2 tag with a header and a footer."""
    item = struct.pack("<II", len(value), 0) + key + b"\0" + value
    ends = [
        b"APETAGEX" + struct.pack("<IIII8x", 2000, len(item) + 32, 1, flags)
        for flags in (0xA0000000, 0x80000000)
    ]
    return ends[0] + item + ends[1]


def without_id3v2(data):
    if data[:3] != b"ID3":
        return data
    size = sum(
        (byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True)
    )
    return data[10 + size :]


def _xing_at(data):
    """Where the Xing or Info header of an MP3 without an ID3v2 tag is."""
    version, mono = data[1] >> 3 & 3, data[3] >> 6 == 3
    at = 4 + ((17 if mono else 32) if version == 3 else (9 if mono else 17))
    assert data[at : at + 4] in (b"Xing", b"Info")
    return at


def patched_xing(data, *, frames=None, size=None, name=None):
    """An MP3 whose first frame states other numbers: each from the one that is there."""
    data = bytearray(without_id3v2(data))
    at = _xing_at(data)
    for field, change in ((8, frames), (12, size)):
        if change is not None:
            (stated,) = struct.unpack_from(">I", data, at + field)
            struct.pack_into(">I", data, at + field, change(stated))
    if name is not None:
        data[at : at + 4] = name
    return bytes(data)


def with_vbri(data, *, factor=1.0):
    """An MP3 with a VBRI header (Fraunhofer's) in place of the Xing header."""
    data = bytearray(without_id3v2(data))
    at = _xing_at(data)
    (frames,) = struct.unpack_from(">I", data, at + 8)
    data[at : at + 140] = bytes(140)
    header = struct.pack(
        ">4sHHHIIHHHH", b"VBRI", 1, 0, 75, len(data), int(frames * factor), 1, 1, 2, frames
    )
    data[36 : 36 + len(header) + 2] = header + struct.pack(">H", 1)
    return bytes(data)


# RIFF and its kin


def chunk(name, body, order="<"):
    return name + struct.pack(order + "I", len(body)) + body + bytes(len(body) % 2)


def wav(
    samples,
    rate,
    *,
    before=b"",
    after=b"",
    size=None,
    extensible=False,
    fmt_size=16,
    order="<",
    valid_bits=16,
):
    """WAV of 16-bit ``samples`` (channels, samples), with chunks before and after the data."""
    channels = len(samples)
    data = as_bytes(samples, order + "i2")
    tag = 0xFFFE if extensible else 1
    fmt = struct.pack(order + "HHIIHH", tag, channels, rate, 2 * rate * channels, 2 * channels, 16)
    if extensible:
        guid = bytes.fromhex("0100000000001000800000aa00389b71")
        fmt += struct.pack(order + "HHI", 22, valid_bits, 0) + guid
    fmt = fmt.ljust(fmt_size, b"\0")
    stated = len(data) if size is None else size
    body = b"WAVE" + chunk(b"fmt ", fmt, order) + before
    body += b"data" + struct.pack(order + "I", stated) + data + after
    riff = 0xFFFFFFFF if stated == 0xFFFFFFFF else 0 if stated == 0 else len(body)
    return (b"RIFF" if order == "<" else b"RIFX") + struct.pack(order + "I", riff) + body


def rifx(samples, rate):
    """WAV with big-endian numbers."""
    return wav(samples, rate, order=">")


def dts_wav(*, silence=0, frames=100):
    """WAV of a DTS disc: frames of noise in the place of samples, after some bytes of silence."""
    fields = (
        (0x7FFE8001, 32), (1, 1), (31, 5), (0, 1), (15, 7), (2011, 14), (2, 6), (8, 4), (21, 5),
        (0, 15), (7, 4), (0, 12),
    )  # fmt: skip
    header = "".join(f"{value:0{bits}b}" for value, bits in fields)
    header += "0" * (-len(header) % 8)
    frame = int(header, 2).to_bytes(len(header) // 8, "big")
    frame = (frame + np.random.default_rng(0).bytes(2012))[:2012].ljust(2048, b"\0")
    data = bytes(silence) + np.frombuffer(frame, ">u2").astype("<u2").tobytes() * frames
    fmt = struct.pack("<HHIIHH", 1, 2, 44100, 4 * 44100, 4, 16)
    body = b"WAVE" + chunk(b"fmt ", fmt) + chunk(b"data", data)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def as_bytes(samples, dtype):
    """Samples (channels, samples) of floats as interleaved integers of a file."""
    full = np.iinfo(dtype).max
    return np.round(samples.T * full).astype(dtype).tobytes()


def aiff(samples, rate, *, sound_first=False, offset=0, extra=b"", frames=None):
    """AIFF of 16 bits; ``offset`` bytes lie in front of the first sample of its SSND chunk."""
    exponent = rate.bit_length() - 1
    extended = struct.pack(">HQ", 16383 + exponent, rate << (63 - exponent))
    stated = samples.shape[1] if frames is None else frames
    common = chunk(b"COMM", struct.pack(">hIh", len(samples), stated, 16) + extended, ">")
    sound = struct.pack(">II", offset, 0) + bytes(offset) + as_bytes(samples, ">i2")
    sound = chunk(b"SSND", sound, ">")
    body = b"AIFF" + extra + (sound + common if sound_first else common + sound)
    return b"FORM" + struct.pack(">I", len(body)) + body


def au(samples, rate, *, note=b"\0\0\0\0", size=None):
    data = as_bytes(samples, ">i2")
    stated = len(data) if size is None else size
    return struct.pack(">4sIIIII", b".snd", 24 + len(note), stated, 3, rate, len(samples)) + (
        note + data
    )


def caf(samples, rate, *, size=None, extra=b""):
    channels = len(samples)
    data = struct.pack(">I", 0) + as_bytes(samples, ">i2")
    desc = struct.pack(">d4sIIIII", rate, b"lpcm", 0, 2 * channels, 1, channels, 16)
    stated = len(data) if size is None else size
    return (
        b"caff\0\1\0\0"
        + caf_chunk(b"desc", desc)
        + extra
        + b"data"
        + struct.pack(">q", stated)
        + data
    )


def caf_chunk(name, body):
    return name + struct.pack(">q", len(body)) + body


# Direct Stream Digital

DSD_RATE = 64 * 44100
DSD_HELD = 8


def dsd_bits(samples):
    """Bits (channels, 8 * samples) of a sigma-delta modulator of second order.

    Each sample is held for eight bits. Each stretch of 2,016 bits begins anew, so that all of them
    are computed at once.
    """
    stretch = 2016
    held = np.repeat(samples, DSD_HELD, axis=1)
    channels, count = held.shape
    assert count % stretch == 0
    stretches = held.reshape(-1, stretch).T.copy()
    first, second, last = np.zeros((3, stretches.shape[1]), np.float32)
    bits = np.empty(stretches.shape, bool)
    for now, value in enumerate(stretches):
        first += np.float32(0.5) * (value - last)
        second += np.float32(0.5) * (first - last)
        np.greater_equal(second, 0, out=bits[now])
        last = np.where(bits[now], np.float32(1), np.float32(-1))
    return bits.T.reshape(channels, count)


def dsf(samples, *, rate=DSD_RATE, tag=b""):
    """Sony's: a block of 4,096 bytes of each channel in turn, the earliest bit the lowest."""
    bits = dsd_bits(samples)
    channels, count = bits.shape
    packed = np.packbits(bits, axis=1, bitorder="little")
    blocks = -(-packed.shape[1] // 4096)
    packed = np.pad(packed, ((0, 0), (0, 4096 * blocks - packed.shape[1])), constant_values=0x69)
    data = packed.reshape(channels, blocks, 4096).transpose(1, 0, 2).tobytes()
    kind = {1: 1, 2: 2}.get(channels, 6)
    fmt = struct.pack("<IIIIIIQII", 1, 0, kind, channels, rate, 1, count, 4096, 0)
    total = 28 + 12 + len(fmt) + 12 + len(data)
    head = b"DSD " + struct.pack("<QQQ", 28, total + len(tag), total if tag else 0)
    body = b"fmt " + struct.pack("<Q", 12 + len(fmt)) + fmt
    return head + body + b"data" + struct.pack("<Q", 12 + len(data)) + data + tag


def dff(samples, *, rate=DSD_RATE):
    """Philips': a byte of each channel in turn, the earliest bit the highest."""

    def piece(name, body):
        return name + struct.pack(">Q", len(body)) + body + bytes(len(body) % 2)

    channels = len(samples)
    data = np.packbits(dsd_bits(samples), axis=1).T.tobytes()
    names = [b"SLFT", b"SRGT"] if channels == 2 else [b"C000"]
    sound = piece(b"FS  ", struct.pack(">I", rate))
    sound += piece(b"CHNL", struct.pack(">H", channels) + b"".join(names))
    sound += piece(b"CMPR", b"DSD " + b"\x0enot compressed\0")
    body = b"DSD " + piece(b"FVER", struct.pack(">I", 0x01050000))
    body += piece(b"PROP", b"SND " + sound) + piece(b"DSD ", data)
    return b"FRM8" + struct.pack(">Q", len(body)) + body


# FLAC


def flac_block(kind, body, *, last=False):
    return bytes([kind | (0x80 if last else 0)]) + len(body).to_bytes(3, "big") + body


def patched_flac(data, *, total=None, md5=None, blocks=b""):
    """A FLAC that states another number of samples, with metadata blocks after its first."""
    data = bytearray(data)
    assert data[:4] == b"fLaC"
    if total is not None:
        (field,) = struct.unpack_from(">Q", data, 18)
        stated = field & (1 << 36) - 1
        struct.pack_into(">Q", data, 18, field & ~((1 << 36) - 1) | total(stated))
    if md5 is not None:
        data[26:42] = md5
    data[4] &= 0x7F if blocks else 0xFF
    return bytes(data[:42]) + blocks + bytes(data[42:])


def flac_picture(size):
    """Metadata block with a cover, which is no picture at all."""
    kind = b"image/png"
    body = struct.pack(">II", 3, len(kind)) + kind + struct.pack(">IIIII", 0, 9, 9, 24, 0)
    return flac_block(6, body + struct.pack(">I", size) + bytes(size))


# Ogg


class Page(NamedTuple):
    """Page of RFC 3533."""

    flags: int
    granule: int
    serial: int
    number: int
    lacing: bytes
    body: bytes

    @property
    def packets(self):
        """Bodies of the packets or pieces of packets on it, and whether each is complete."""
        found, start, length = [], 0, 0
        for value in self.lacing:
            length += value
            if value < 255:
                found.append((self.body[start : start + length], True))
                start, length = start + length, 0
        if length:
            found.append((self.body[start:], False))
        return found

    def to_bytes(self):
        head = struct.pack(
            "<4sBBqIII", b"OggS", 0, self.flags, self.granule, self.serial, self.number, 0
        )
        page = bytearray(head + bytes([len(self.lacing)]) + self.lacing + self.body)
        struct.pack_into("<I", page, 22, _ogg_checksum(bytes(page)))
        return bytes(page)


@cache
def _ogg_table():
    table = []
    for value in range(256):
        register = value << 24
        for _ in range(8):
            register = (register << 1 ^ (0x04C11DB7 if register & 1 << 31 else 0)) & 0xFFFFFFFF
        table.append(register)
    return table


def _ogg_checksum(page):
    table, register = _ogg_table(), 0
    for byte in page:
        register = (register << 8 & 0xFFFFFFFF) ^ table[register >> 24 ^ byte]
    return register


def ogg_pages(data):
    pages, at = [], 0
    while at < len(data):
        name, _, flags, granule, serial, number, _, count = struct.unpack_from(
            "<4sBBqIIIB", data, at
        )
        assert name == b"OggS"
        lacing = data[at + 27 : at + 27 + count]
        start = at + 27 + count
        at = start + sum(lacing)
        pages.append(Page(flags, granule, serial, number, lacing, data[start:at]))
    return pages


def ogg(pages):
    return b"".join(page.to_bytes() for page in pages)


def lacing_of(packet):
    return b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255])


def ogg_comment(data, kind, comment):
    """An Ogg whose comment header is replaced, by as many pages as it takes.

    Its second page may hold the header of the Vorbis decoder, too, which stays whole.
    """
    pages = ogg_pages(data)
    headers = 1
    while pages[headers].granule in (0, -1):
        headers += 1
    rest, packets, piece = pages[headers:], [], b""
    for page in pages[1:headers]:
        for body, whole in page.packets:
            piece += body
            if whole:
                packets.append(piece)
                piece = b""
    vendor, text = b"by hand", comment
    made = {"vorbis": b"\3vorbis", "opus": b"OpusTags"}[kind]
    made += struct.pack("<I", len(vendor)) + vendor + struct.pack("<II", 1, len(text)) + text
    made += b"\1" if kind == "vorbis" else b""
    packets[0] = made
    lacing = b"".join(map(lacing_of, packets))
    body = b"".join(packets)
    new, start = [], 0
    for number in range(0, len(lacing), 255):
        values = lacing[number : number + 255]
        goes_on = number > 0 and lacing[number - 1] == 255
        ends = any(value < 255 for value in values)
        new.append(
            Page(
                int(goes_on), 0 if ends else -1, pages[0].serial, 1 + len(new),
                values, body[start : start + sum(values)],
            )
        )  # fmt: skip
        start += sum(values)
    moved = [page._replace(number=1 + len(new) + index) for index, page in enumerate(rest)]
    return ogg([pages[0], *new, *moved])


def one_packet_a_page(data, samples_of_packet):
    """An Ogg with each packet of sound on a page of its own."""
    pages, number, granule = [], 0, 0
    for page in ogg_pages(data):
        if page.granule <= 0:
            pages.append(page)
            number = page.number
            continue
        whole = page.packets
        for index, (body, complete) in enumerate(whole):
            assert complete
            number += 1
            granule += samples_of_packet
            last = index == len(whole) - 1
            pages.append(
                Page(
                    page.flags & 4 if last else 0, page.granule if last else granule,
                    page.serial, number, lacing_of(body), body,
                )
            )  # fmt: skip
        granule = page.granule
    return ogg(pages)


def with_skeleton(data):
    """An Ogg with the pages of an Ogg Skeleton 3.0 among its first."""
    pages = ogg_pages(data)
    body = b"fishead\0" + (3).to_bytes(2, "little") + bytes(54)
    head = Page(2, 0, 0x5EED, 0, lacing_of(body), body)
    end = Page(4, 0, 0x5EED, 1, b"\0", b"")
    return ogg([pages[0], head, pages[1], end, *pages[2:]])


# MPEG-4

_NESTED = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf")


def atoms(data):
    """Name and bytes of each atom, its header among them."""
    found, at = [], 0
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
        size = size or len(data) - at
        found.append((name, data[at : at + size]))
        at += size
    return found


def atom(name, body=b""):
    return struct.pack(">I", 8 + len(body)) + name + body


def changed_atoms(data, change):
    """Give each atom that holds none to ``change(name, body)``, which returns atoms."""
    parts = []
    for name, whole in atoms(data):
        if name in _NESTED:
            parts.append(atom(name, changed_atoms(whole[8:], change)))
        else:
            parts.append(change(name, whole))
    return b"".join(parts)


def edited(data, *edits):
    """An MPEG-4 file with other edits, each a duration in ms and a sample; its sound lies first."""
    packed = b"".join(struct.pack(">IiI", *edit, 1 << 16) for edit in edits)
    whole = atom(b"elst", struct.pack(">II", 0, len(edits)) + packed)
    names = [name for name, _ in atoms(data)]
    if names.index(b"moov") < names.index(b"mdat"):
        assert len(edits) == 1, "nothing may be moved"
    return changed_atoms(data, lambda name, was: whole if name == b"elst" else was)


def moved(moov, by):
    """The atom ``moov`` of a file whose sound lies ``by`` bytes farther."""

    def change(name, whole):
        if name != b"stco":
            return whole
        offsets = np.frombuffer(whole, ">u4", offset=16) + by
        return whole[:16] + offsets.astype(">u4").tobytes()

    return changed_atoms(moov, change)


def with_co64(moov):
    """The atom with offsets of 64 bits, of a file that has it at its end."""

    def change(name, whole):
        if name != b"stco":
            return whole
        offsets = np.frombuffer(whole, ">u4", offset=16).astype(">u8")
        return atom(b"co64", whole[8:16] + offsets.tobytes())

    return changed_atoms(moov, change)


# High-efficiency AAC, whose decoders give twice the rate

_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000)


def _to_bytes(bits):
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def he_aac(data, rate, channels, *, kind=5):
    """M4A of AAC whose configuration states spectral band replication, with stereo if 29."""
    core, doubled = _AAC_RATES.index(rate), _AAC_RATES.index(2 * rate)
    new = _to_bytes(f"{kind:05b}{core:04b}{channels:04b}{doubled:04b}{2:05b}000")

    def change(name, whole):
        if name != b"stsd":
            return whole
        whole = bytearray(whole)
        at = whole.index(b"\x05\x80\x80\x80") + 4
        longer = len(new) - whole[at]
        whole[at : at + 1 + whole[at]] = bytes([len(new)]) + new
        esds = whole.index(b"esds") - 4
        for tag in 3, 4:
            whole[whole.index(bytes([tag]) + b"\x80\x80\x80", esds) + 4] += longer
        for size in 0, 16, esds:  # of the atom, of its entry, of the descriptor
            (stated,) = struct.unpack_from(">I", whole, size)
            struct.pack_into(">I", whole, size, stated + longer)
        return bytes(whole)

    return changed_atoms(data, change)


def he_adts(data):
    """ADTS whose frames hold data of spectral band replication, with high bands of silence."""
    head = "1" + "0" + "0101" + "1000" + "000" + "00" + "0" + "0"
    size = 14
    fill = "110" + f"{size:04b}" + ("1101" + head).ljust(8 * size, "0")
    frames, at = [], 0
    while at < len(data):
        header = bytearray(data[at : at + 7])
        length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
        bits = "".join(f"{byte:08b}" for byte in data[at + 7 : at + length]).rstrip("0")
        assert bits.endswith("111"), "the end of a frame"
        body = _to_bytes(bits[:-3] + fill + "111")
        total = 7 + len(body)
        header[3:6] = (
            header[3] & ~3 | total >> 11,
            total >> 3 & 255,
            header[5] & 31 | (total & 7) << 5,
        )
        frames.append(bytes(header) + body)
        at += length
    return b"".join(frames)


# MPEG transport


def with_null_packets(data):
    """A transport stream with a packet of no programme after each fourth."""
    null = b"\x47\x1f\xff\x10" + b"\xff" * 184
    parts = [data[at : at + 4 * 188] for at in range(0, len(data), 4 * 188)]
    return null.join(parts)
