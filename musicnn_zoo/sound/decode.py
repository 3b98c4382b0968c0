"""Open files for decoding, by the decoder that reads them.

PyAV before 19 frees the memory of a channel layout of a custom order twice. Such layouts come from
the channel descriptions of QuickTime and CAF files, and from AAC with a program configuration of
its own.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeAlias, cast, get_args

from musicnn_zoo.errors import ArgumentError, AudioError
from musicnn_zoo.sound.blocks import Block, Decoded, NotDecodedError, is_little, is_little_part
from musicnn_zoo.sound.decoders import JudgeRisk, decoded_by_ffmpeg, decoded_by_libsndfile
from musicnn_zoo.sound.mpeg import count_samples
from musicnn_zoo.sound.parts import (
    Part,
    Patched,
    find_joined,
    find_links,
    has_broken_pages,
    is_vorbis,
)
from musicnn_zoo.sound.statements import find_data, is_long_voc, reading_beside

if TYPE_CHECKING:
    import av


_PLAIN_DESCRIPTIONS = frozenset({1 << 16, 100 << 16 | 1, 101 << 16 | 2})
"""By a bitmap, mono, stereo."""

_SEARCHED = 1 << 24
_PLAIN_AAC = (1, 2, 3, 4, 5, 29)
_LAST_PLAIN_CHANNELS = 7


class RiskyFile(AudioError):  # noqa: N818
    """A file that is only decoded in a process of its own."""


def refuse_risk(
    opened: str | BinaryIO, container: av.container.InputContainer, stream: av.AudioStream
) -> None:
    """Raise for a file whose channels may be in an order of its own; decodes nothing.

    Raises
    ------
    RiskyFile
    """
    form = container.format.name.split(",")[0]
    codec = stream.codec_context
    if form in ("mov", "caf", "iamf", "mxf") and describes_channels(opened):
        raise RiskyFile("describes its channels itself")
    if codec.name.startswith("aac") and not _is_plain_aac(codec.extradata):
        raise RiskyFile("is AAC with a configuration of its own")


def describes_channels(opened: str | BinaryIO) -> bool:
    """Whether a header holds a channel description other than that of mono or stereo."""
    with reading_beside(opened) as file:
        size = file.seek(0, 2)
        for start in {0, max(0, size - _SEARCHED)}:
            file.seek(start)
            part = file.read(_SEARCHED)
            at = part.find(b"chan")
            while at >= 0:
                # Behind version and flags in QuickTime, behind a size of eight bytes in CAF.
                tags = {int.from_bytes(part[at + n : at + n + 4], "big") for n in (8, 12)}
                if not tags & _PLAIN_DESCRIPTIONS:
                    return True
                at = part.find(b"chan", at + 4)
            if b"chnl" in part:
                return True
    return False


def _is_plain_aac(configuration: bytes | None) -> bool:
    """Whether an AudioSpecificConfig (ISO 14496-3) names one of the plain channel layouts."""
    if not configuration or len(configuration) < 2:
        return True
    bits = int.from_bytes(configuration[:8].ljust(8, b"\0"), "big")
    kind = bits >> 59
    used = 5
    if kind == 31:
        return False
    used += 4 + (24 if bits >> (64 - used - 4) & 15 == 15 else 0)
    channels = bits >> (64 - used - 4) & 15
    return kind in _PLAIN_AAC and 1 <= channels <= _LAST_PLAIN_CHANNELS


OnDamage = Literal["refuse", "use"]
_Opening: TypeAlias = AbstractContextManager[Decoded]


def check_damaged(damaged: str) -> None:
    """Refuse what is no way to treat damaged files."""
    if damaged not in get_args(OnDamage):
        raise ArgumentError(f"damaged must be 'refuse' or 'use'; received {damaged!r}")


@contextlib.contextmanager
def decode_file(
    audio: str | os.PathLike[str] | BinaryIO,
    label: str,
    *,
    damaged: OnDamage = "refuse",
    in_worker: bool = False,
) -> Iterator[Decoded]:
    """Open a file for decoding.

    Parameters
    ----------
    audio : path or binary file object
        A file object is left open.
    label : str
        How messages call it.
    damaged : {"refuse", "use"}
        Whether the blocks of a file of which more than a second or 2 % is missing end in an error.
    in_worker : bool
        Whether this process may die of what it decodes.

    Raises
    ------
    AudioError
        If there is no such file, or it cannot be decoded.
    RiskyFile
        If a file could end the process, and this is no worker.
    """
    with contextlib.ExitStack() as opened_files:
        opened = _with_true_size(open_source(audio, label, opened_files), opened_files)
        judge_risk = None if in_worker else refuse_risk
        links = find_links(opened) or find_joined(opened)
        if links and (len(links) > 1 or links[0] > 0):
            file = opened
            if isinstance(file, str):
                file = opened_files.enter_context(Path(file).open("rb"))
            decoded = _chained(file, links, label, judge_risk, opened_files)
        else:
            decoded = opened_files.enter_context(_decoded(opened, label, judge_risk))
        decoded.blocks = _judged(decoded.blocks, decoded, label, damaged)
        yield decoded


@contextlib.contextmanager
def _decoded(opened: str | BinaryIO, label: str, judge_risk: JudgeRisk | None) -> Iterator[Decoded]:
    """Decode one recording by the decoder that is better for it, and by the other where it ends."""
    first: Callable[..., _Opening] = partial(
        decoded_by_ffmpeg, opened, label, judge_risk=judge_risk
    )
    second: Callable[..., _Opening] = partial(decoded_by_libsndfile, opened, label)
    with reading_beside(opened) as file:
        mp3_samples = count_samples(file)
    if mp3_samples is not None:
        first, second = partial(second, mp3_samples=mp3_samples), first
    elif _libsndfile_leads(opened):
        first, second = second, first
    with contextlib.ExitStack() as files:
        try:
            decoded = files.enter_context(first())
        except NotDecodedError as refusal:
            try:
                decoded = files.enter_context(second())
            except NotDecodedError:
                raise refusal from None
        else:
            decoded.blocks = _and_the_rest(decoded.blocks, decoded, second)
        yield decoded


def _libsndfile_leads(opened: str | BinaryIO) -> bool:
    """Whether libsndfile decodes a file better.

    FFmpeg may leave out the last 128 samples of a Vorbis stream, but knows how long the pages were
    that are damaged; it takes the big-endian numbers of a RIFX for little-endian ones; it stops
    early in a VOC whose size is too large for its field; it reads an AIFF in small packets, which
    is slow; and PyAV may crash of channels in an order of their own, as CAF has them.
    """
    with reading_beside(opened) as file:
        file.seek(0)
        start = file.read(4)
        data = find_data(file) if start == b"FORM" else None
        is_misread = start == b"RIFX" or is_long_voc(file)
    if start == b"caff":
        return describes_channels(opened)
    if data is not None:
        return data.is_plain_aiff
    return is_misread or (is_vorbis(opened) and not has_broken_pages(opened))


def _chained(
    file: BinaryIO,
    links: list[int],
    label: str,
    judge_risk: JudgeRisk | None,
    opened_files: contextlib.ExitStack,
) -> Decoded:
    """Decode one link after the other; each has a rate, channels and a codec of its own."""
    ends = [*links[1:], file.seek(0, 2)]
    parts = [Part(file, start, end) for start, end in zip(links, ends, strict=True)]
    refusals: list[NotDecodedError] = []
    while True:
        try:
            first = opened_files.enter_context(
                _decoded(cast("BinaryIO", parts[0]), label, judge_risk)
            )
            break
        except NotDecodedError as refusal:
            refusals.append(refusal)
            del parts[0]
            if not parts:
                raise refusals[0] from None
    chain = Decoded(first.sample_rate, iter(()))

    def why(refusal: NotDecodedError) -> str:
        return str(refusal).removeprefix(f"{label}: ")

    def blocks() -> Iterator[Block]:
        if refusals:
            chain.broken = why(refusals[0])
        for number, part in enumerate(parts):
            with contextlib.ExitStack() as files:
                try:
                    link = (
                        first
                        if number == 0
                        else files.enter_context(
                            _decoded(cast("BinaryIO", part), label, judge_risk)
                        )
                    )
                except NotDecodedError as refusal:
                    if not is_little_part(len(part), sum(map(len, parts))):
                        chain.broken = why(refusal)
                    continue
                before_s, lost_s = chain.decoded_s, chain.lost_s
                for block in link.blocks:
                    chain.decoded_s = before_s + link.decoded_s
                    yield block
                chain.lost_s = lost_s + link.lost_s
                chain.broken = chain.broken or link.broken

    chain.blocks = blocks()
    return chain


def open_source(
    audio: str | os.PathLike[str] | BinaryIO, label: str, opened_files: contextlib.ExitStack
) -> str | BinaryIO:
    """Return a path or a seekable binary file that decoders take.

    Raises
    ------
    AudioError
        If it is neither a file nor a binary file object.
    """
    if isinstance(audio, str | os.PathLike):
        path = Path(audio)
        _check_file(path)
        if path.is_file() and _is_utf8(path):
            return str(path)
        return seekable(opened_files.enter_context(path.open("rb")))
    if isinstance(audio, io.TextIOBase):
        raise AudioError(f"{label}: is open as text; open it in binary mode ('rb')")
    if callable(getattr(audio, "read", None)):
        return seekable(audio)
    raise AudioError(
        f"audio must be a path, a binary file object or a NumPy array; "
        f"received {type(audio).__name__}"
    )


def _with_true_size(opened: str | BinaryIO, opened_files: contextlib.ExitStack) -> str | BinaryIO:
    """Return a file whose header states all its samples, where it states other than there are."""
    with reading_beside(opened) as file:
        data = find_data(file)
    if data is None or not data.goes_on:
        return opened
    if isinstance(opened, str):
        path = Path(opened)
        opened = opened_files.enter_context(path.open("rb"))
    return cast("BinaryIO", Patched(opened, {data.field.start: data.true_size}))


def _and_the_rest(
    blocks: Iterator[Block], decoded: Decoded, by_other: Callable[..., _Opening]
) -> Iterator[Block]:
    """Yield the blocks of a file; the other decoder goes on from the sample where one stopped."""
    taken = 0
    rates = set()
    for block in blocks:
        taken += len(block.samples)
        rates.add(block.sample_rate)
        yield block
    if not (decoded.ended_early or (decoded.damaged and taken == 0)) or len(rates) > 1:
        return
    stated_s = decoded.stated_s
    with contextlib.suppress(NotDecodedError), by_other(skip=taken) as rest:
        if rates - {rest.sample_rate}:
            return
        before_s = decoded.decoded_s
        for block in rest.blocks:
            decoded.decoded_s = before_s + rest.decoded_s
            yield block
        if rest.decoded_s:
            decoded.broken, decoded.stated_s = rest.broken, rest.stated_s
            decoded.lost_s = rest.lost_s
            missing_s = (stated_s or 0.0) - decoded.decoded_s - rest.lost_s
            if stated_s is not None and not is_little(missing_s, stated_s):
                decoded.stated_s = stated_s
                decoded.lost_s += missing_s


def _judged(
    blocks: Iterator[Block], decoded: Decoded, label: str, damaged: OnDamage
) -> Iterator[Block]:
    yield from blocks
    if decoded.decoded_s == 0 and decoded.damaged:
        raise AudioError(
            f"{label}: not audio that libsndfile or FFmpeg can decode "
            f"({decoded.broken or 'none of its frames can be decoded'})"
        )
    if damaged == "refuse":
        decoded.judge(label)


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise AudioError(f"{path}: is a directory, not an audio file")
        if not path.exists():
            raise AudioError(f"{path}: there is no such file")
        if path.is_file():
            if path.stat().st_size == 0:
                raise AudioError(f"{path}: the file is empty")
            with path.open("rb"):
                pass
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from error


def _is_utf8(path: Path) -> bool:
    """Whether the name is text: the decoders take no other names, but open files."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def seekable(file: BinaryIO) -> BinaryIO:
    """Return a file object that can be wound back: itself, or what it holds."""
    can_seek = getattr(file, "seekable", None)
    if can_seek is None or not can_seek():
        return io.BytesIO(file.read())
    if isinstance(file, Whole) or type(file) in (io.BytesIO, io.BufferedReader):
        return file
    return cast("BinaryIO", Whole(file))


class Whole:
    """A file object that gives as many bytes as it is asked for: decoders take fewer for the end.

    Parameters
    ----------
    file : binary file object
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek = file.seek
        self.tell = file.tell

    def seekable(self) -> bool:
        """Return that it is."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """Return ``size`` bytes, or what is left."""
        parts: list[bytes] = []
        left = -1 if size is None else size
        while left and (part := self._file.read(left)):
            parts.append(part)
            if left > 0:
                left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
