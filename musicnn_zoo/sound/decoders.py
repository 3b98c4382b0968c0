"""Decode by libsndfile: what it does better than FFmpeg or FFmpeg does not know at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import BinaryIO

from musicnn_zoo.errors import AudioError
from musicnn_zoo.sound.blocks import (
    BLOCK_S,
    BLOCK_VALUES,
    LONGEST_S,
    Block,
    Decoded,
    NotDecodedError,
    check_header_rate,
    downmix,
    is_little,
)
from musicnn_zoo.sound.statements import part_of_stated, reading_beside

_MOST_MP3_PADDING = 3 * 4096
"""Samples of an MP3 that are not sound: delay and padding have 12 bits each in LAME's header."""


@contextlib.contextmanager
def decoded_by_libsndfile(
    opened: str | BinaryIO, label: str, *, skip: int = 0, mp3_samples: int | None = None
) -> Iterator[Decoded]:
    """Decode a path or a seekable file, from a sample on.

    Parameters
    ----------
    opened : str or binary file object
    label : str
        How messages call it.
    skip : int
        Samples that are left out.
    mp3_samples : int, optional
        In the frames of a tidy MP3. Others are left to FFmpeg: libsndfile believes what headers
        state, and guesses where they state nothing.

    Raises
    ------
    NotDecodedError
        If libsndfile does not take it.
    """
    import soundfile

    class Forward(soundfile.SoundFile):
        """A file that is read from its beginning to its end.

        To soundfile a file that can seek is one to seek in after every block, and some decoders
        forget what they know when that happens.
        """

        def seekable(self) -> bool:
            return False

    if mp3_samples is None and _is_mpeg(opened):
        raise NotDecodedError(f"{label}: MPEG audio that is not tidy is decoded by FFmpeg only")
    with reading_beside(opened) as beside:
        part = part_of_stated(beside)
    if not isinstance(opened, str):
        opened.seek(0)
    try:
        file = Forward(opened)
    except Exception as error:  # of many kinds, for what is no sound
        what = getattr(error, "error_string", error)
        raise NotDecodedError(f"{label}: not audio that libsndfile can decode ({what})") from error
    with file:
        if skip and (skip >= file.frames or not _skipped(file, skip)):
            raise NotDecodedError(f"{label}: has no sample {skip}")
        decoded = Decoded(check_header_rate(file.samplerate, label), iter(()))
        decoded.blocks = _blocks(file, decoded, skip, mp3_samples, part)
        yield decoded


def _skipped(file: object, skip: int) -> bool:
    try:
        return bool(file.seek(skip) == skip)  # type: ignore[attr-defined]
    except Exception:
        return False


def _blocks(
    file: object, decoded: Decoded, skipped: int, mp3_samples: int | None, part: float | None
) -> Iterator[Block]:
    import soundfile

    assert isinstance(file, soundfile.SoundFile)
    rate = decoded.sample_rate
    step = max(1, min(round(BLOCK_S * rate), BLOCK_VALUES // max(1, file.channels)))
    while True:
        try:
            block = file.read(step, "float32", always_2d=True)
        except AudioError:
            raise
        except Exception as error:
            decoded.broken = str(getattr(error, "error_string", error))
            return
        if len(block) == 0:
            break
        decoded.decoded_s += len(block) / rate
        yield Block(downmix(block), rate)
    if mp3_samples is not None:
        if decoded.decoded_s * rate < mp3_samples - _MOST_MP3_PADDING:
            decoded.broken = "libsndfile ends before the last frame"
        return
    had_s = skipped / rate + decoded.decoded_s
    stated_s = max(file.frames / rate, had_s / (part or 1))
    if stated_s > LONGEST_S:
        return
    missing_s = stated_s - had_s
    if not is_little(missing_s, stated_s):
        decoded.stated_s = stated_s
        decoded.lost_s += missing_s


def _is_mpeg(opened: str | BinaryIO) -> bool:
    with reading_beside(opened) as file:
        file.seek(0)
        start = file.read(3)
    return start == b"ID3" or (len(start) > 1 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0)
