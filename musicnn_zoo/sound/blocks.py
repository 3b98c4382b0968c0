"""What a decoder gives: mono blocks, and what was lost on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import AudioError

BLOCK_S = 10.0
"""About how many seconds are decoded at once."""
BLOCK_VALUES = 1 << 22
"""So many samples of all channels are held at most, whatever rate and channels a header claims."""

LONGEST_S = 30 * 86400.0
"""What states that it is longer states nothing: a month."""

LOWEST_RATE = 1_000
HIGHEST_RATE = 1_000_000

_LITTLE_S = 1.0
_LITTLE_PART = 0.02


class NotDecodedError(AudioError):
    """A decoder does not take a file; another may."""


class Block(NamedTuple):
    """Some of the sound.

    Parameters
    ----------
    samples : ndarray, shape (samples,), float32
        The mean of all channels.
    sample_rate : int
        In Hz; that of the next block may be another.
    """

    samples: NDArray[np.float32]
    sample_rate: int


@dataclass(eq=False)
class Decoded:
    """A recording that is being decoded.

    Parameters
    ----------
    sample_rate : int
        Of its beginning, in Hz.
    blocks : iterator of Block
        Running through it may raise :class:`~musicnn_zoo.errors.AudioError`.
    decoded_s, lost_s : float
        Seconds that were decoded so far, and that could not be. When the blocks have ended, what
        the file states beyond them counts as lost.
    stated_s : float or None
        Length that the file states, if it does not reach it.
    packets : int
        Read so far, if the container has any.
    gaps_s : float
        Seconds for which there are no packets, by their times.
    first_s : tuple of float
        Times of the first two packets, if they have any.
    read_to : int
        Where in the file the packets end that were read so far.
    is_torn : bool
        Whether the container could not be read somewhere.
    broken : str
        Why the decoder stopped before the end of the file; empty if it did not.
    """

    sample_rate: int
    blocks: Iterator[Block]
    decoded_s: float = 0.0
    lost_s: float = 0.0
    stated_s: float | None = None
    packets: int = 0
    gaps_s: float = 0.0
    first_s: tuple[float, ...] = ()
    read_to: int = 0
    is_torn: bool = False
    broken: str = ""

    @property
    def ended_early(self) -> bool:
        """Whether the end of the recording was not reached."""
        return bool(self.broken) or self.stated_s is not None

    @property
    def damaged(self) -> bool:
        """Whether anything of the recording could not be had."""
        return self.ended_early or self.lost_s > 0

    def judge(self, label: str) -> None:
        """Refuse a recording of which more than a little could not be had.

        A second or 2 %, whichever is more, is little: a bad frame does not make a bad track.

        Raises
        ------
        AudioError
            That says how much is missing.
        """
        remedy = "get the whole file, or take what is there: damaged='use' (--damaged use)"
        if self.stated_s is not None:
            raise AudioError(
                f"{label}: cut off, {self.decoded_s:.1f} s of the {self.stated_s:.1f} s that it "
                f"states could be decoded; {remedy}"
            )
        if self.broken:
            raise AudioError(
                f"{label}: damaged or cut off after {self.decoded_s:.1f} s ({self.broken}); "
                f"{remedy}"
            )
        if not is_little(self.lost_s, self.decoded_s + self.lost_s):
            raise AudioError(
                f"{label}: damaged, {self.lost_s:.1f} s of its {self.decoded_s + self.lost_s:.1f} "
                f"s cannot be decoded; {remedy}"
            )


def is_little(missing_s: float, of_s: float) -> bool:
    """Whether so many seconds may be missing of a good recording."""
    return missing_s <= max(_LITTLE_S, _LITTLE_PART * of_s)


def is_little_part(size: int, whole: int) -> bool:
    """Whether so many bytes may be missing of a good file."""
    return size <= _LITTLE_PART * whole


def check_header_rate(sample_rate: object, label: str, *, highest: int = HIGHEST_RATE) -> int:
    """Refuse a sample rate that no recording has, before anything is made of that size.

    Raises
    ------
    AudioError
        If it is below 1 kHz or above 1 MHz.
    """
    if not isinstance(sample_rate, int) or not LOWEST_RATE <= sample_rate <= highest:
        raise AudioError(
            f"{label}: states a sample rate of {sample_rate} Hz, which no recording has; "
            "convert it to 44100 Hz if it is one"
        )
    return sample_rate


def downmix(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average the channels of (samples, channels)."""
    mono: NDArray[np.float32]
    if block.shape[1] == 2:  # the same as mean(axis=1), several times as fast
        mono = (block[:, 0] + block[:, 1]) * np.float32(0.5)
    else:
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
    return mono
