"""Files that may end the process which decodes them.

PyAV before 19 frees the memory of a channel layout of a custom order twice. Such layouts come from
the channel descriptions of QuickTime and CAF files, and from AAC with a program configuration of
its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from musicnn_zoo.errors import AudioError
from musicnn_zoo.sound.statements import reading_beside

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
