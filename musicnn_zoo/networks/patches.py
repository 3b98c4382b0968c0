"""Seconds, frames and samples: where the patches of a signal lie.

A model looks at patches. For a log-mel model a patch is a number of consecutive frames,
and the frames are those of a *centred* STFT of the whole signal, as in
``librosa.feature.melspectrogram``: the signal is padded with ``n_fft // 2`` zeros on both
sides, so that frame ``f`` is centred on sample ``f * hop``. A patch of ``p`` frames is
therefore ``(p - 1) * hop + n_fft`` samples of the padded signal, and a graph that computes
its STFT from such a window without padding sees the frames of the whole signal.

Seconds become frames by the rule of musicnn (Pons & Serra 2019), which is
``librosa.time_to_frames`` with ``n_fft`` given::

    frames(s) = floor((s * sample_rate - n_fft // 2) / hop)

plus one for the length of a patch: 3 s are 187 frames (2.992 s), a hop of 1 s is 61
frames (0.976 s).

A model on the waveform, or one that pads inside its graph, has patches of samples: there a
"frame" below is one sample, and nothing is padded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError, check_choice, finite, shown

Tail = Literal["drop", "pad"]
TAILS: tuple[Tail, ...] = ("drop", "pad")


_LONGEST_S = 86_400
"""A day: no patch is longer."""


@dataclass(frozen=True)
class PatchGrid:
    """Patches of equal length at equal distances.

    Parameters
    ----------
    patch, hop : int
        Length of a patch and distance between the starts of two, in frames.
    frame_hop : int
        Samples between two frames.
    window : int
        Samples that one frame looks at.
    padding : int
        Zeros put on each side of the signal.
    sample_rate : int
        In Hz.
    fixed_length : bool
        Whether a model takes patches of this length only.
    """

    patch: int
    hop: int
    frame_hop: int
    window: int
    padding: int
    sample_rate: int
    fixed_length: bool = False

    @property
    def patch_samples(self) -> int:
        """Samples of the padded signal that one patch needs."""
        return (self.patch - 1) * self.frame_hop + self.window

    @property
    def hop_samples(self) -> int:
        """Samples between the starts of two patches."""
        return self.hop * self.frame_hop

    @property
    def patch_s(self) -> float:
        """Length of a patch in seconds."""
        return self.patch * self.frame_hop / self.sample_rate

    @property
    def hop_s(self) -> float:
        """Distance between the starts of two patches in seconds."""
        return self.hop_samples / self.sample_rate

    @property
    def shortest(self) -> int:
        """Samples of the shortest signal that fills one patch."""
        return max(1, self.patch_samples - 2 * self.padding)

    def of_lengths(self, patch_s: float | None, hop_s: float | None) -> PatchGrid:
        """Grid of the same frames, with other lengths.

        Parameters
        ----------
        patch_s : float or None
            Length of a patch in seconds; None leaves it as it is.
        hop_s : float or None
            Distance between the starts of two patches in seconds; None lets them follow each other
            without overlap.

        Raises
        ------
        ArgumentError
            If a length is not positive, less than one frame, or one that the model does not take.
        """
        rate, in_samples = self.sample_rate, self.frame_hop == 1
        patch = self.patch
        if patch_s is not None:
            patch = self._frames_of("patch_s", patch_s) + (0 if in_samples else 1)
        if patch < 1:
            raise ArgumentError(
                f"patch_s must be at least {self.padding / rate} (one frame); received {patch_s}"
            )
        if self.fixed_length and patch != self.patch:
            raise ArgumentError(
                f"this model takes patches of {self.patch_s:.3f} s ({self.patch} "
                f"{'samples' if in_samples else 'frames'}) only; received patch_s={patch_s}"
            )
        hop = patch if hop_s is None else self._frames_of("hop_s", hop_s)
        if hop < 1:
            least = (self.padding + self.frame_hop) / rate
            raise ArgumentError(f"hop_s must be at least {least} (one frame); received {hop_s}")
        return replace(self, patch=patch, hop=hop)

    def _frames_of(self, name: str, seconds: float) -> int:
        rate = self.sample_rate
        length = finite(seconds)
        if length is None or length <= 0:
            raise ArgumentError(
                f"{name} must be a positive number of seconds; received {shown(seconds)}"
            )
        if length > _LONGEST_S:
            raise ArgumentError(f"{name} must be at most {_LONGEST_S:,} s; received {seconds}")
        if self.frame_hop == 1:
            return round(seconds * rate)
        # A nanosecond's grace for seconds made of whole frames, which floats may miss by a hair.
        return int((seconds * rate - self.padding + 1e-9 * rate) // self.frame_hop)

    def frames(self, n_samples: int) -> int:
        """Frames of a signal of ``n_samples`` samples (before padding)."""
        usable = n_samples + 2 * self.padding - self.window
        return usable // self.frame_hop + 1 if usable >= 0 else 0

    def count(self, n_samples: int) -> int:
        """Patches that lie wholly inside a signal of ``n_samples`` samples."""
        spare = self.frames(n_samples) - self.patch
        return spare // self.hop + 1 if spare >= 0 else 0

    def positions(self, n_samples: int) -> int:
        """Frames at which a patch of a signal of ``n_samples`` samples may start; at least one.

        A signal shorter than a patch is repeated to fill one, and has one.
        """
        return max(1, self.frames(n_samples) - self.patch + 1)

    def uncovered(self, n_samples: int) -> int:
        """Frames after the end of the last whole patch."""
        count = self.count(n_samples)
        end = (count - 1) * self.hop + self.patch if count else 0
        return max(0, self.frames(n_samples) - end)

    def times(self, count: int) -> NDArray[np.float64]:
        """Start of each of ``count`` patches, in seconds."""
        return np.arange(count, dtype=np.float64) * self.hop_s


def patch_at(signal: NDArray[np.float32], grid: PatchGrid, frame: int) -> NDArray[np.float32]:
    """Cut one patch, at any frame; only its samples are read.

    Parameters
    ----------
    signal : ndarray, shape (samples,), float32
        Whole, at ``grid.sample_rate``; may be memory-mapped. If it is shorter than a patch, it is
        repeated to fill one.
    grid : PatchGrid
    frame : int
        Where the patch starts, from 0 to ``grid.positions(samples) - 1``.

    Returns
    -------
    ndarray, shape (grid.patch_samples,), float32
    """
    if grid.count(len(signal)) == 0:
        signal = np.resize(signal, max(grid.shortest, len(signal)))
    start = frame * grid.frame_hop - grid.padding
    stop = start + grid.patch_samples
    inside = signal[max(0, start) : stop]
    return np.pad(inside, (max(0, -start), max(0, stop - len(signal))))


class PatchStream:
    """Cuts a signal that comes in blocks into the patches of a grid.

    Holds no more of the signal than the next patch needs, however long it is, and gives the
    same patches whatever the blocks are.

    A piece that is shorter than a patch is repeated until it fills one, as musicnn's
    training did with short clips ("repeat-pad"). That always happens to a signal shorter
    than one patch; with ``tail="pad"`` also to what is left after the last whole patch.

    Parameters
    ----------
    grid : PatchGrid
    tail : {"drop", "pad"}
        Drop the frames after the last whole patch, as musicnn does, or repeat them to one
        more patch.
    longest : int, optional
        Samples of the signal, from its start, that count; the others are left out.

    Attributes
    ----------
    count, samples : int
        Patches given and samples received so far.
    repeated : bool
        After :meth:`finish`: whether the signal was shorter than a patch and was repeated.
    dropped_s : float
        After :meth:`finish`: seconds at the end that no patch covers.
    """

    def __init__(self, grid: PatchGrid, *, tail: Tail = "drop", longest: int | None = None) -> None:
        check_choice("tail", tail, TAILS)
        self.grid = grid
        self.count = 0
        self.samples = 0
        self.repeated = False
        self.dropped_s = 0.0
        self._tail = tail
        self._longest = longest
        # The padded signal from the start of the next patch on, which may still lie ahead.
        self._held: NDArray[np.float32] = np.zeros(grid.padding, np.float32)
        self._ahead = 0

    def feed(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take a block of any length; return the patches that it completes.

        The block is (samples,), float32, at ``grid.sample_rate``. The patches are (patches,
        grid.patch_samples), float32, read-only, and may be none.
        """
        if self._longest is not None:
            block = block[: self._longest - self.samples]
        self.samples += len(block)
        return self._complete(block)

    def finish(self) -> NDArray[np.float32]:
        """Return the patches that the end of the signal completes, as :meth:`feed` does.

        None if there was no signal at all.
        """
        grid = self.grid
        if self.samples == 0:
            return np.empty((0, grid.patch_samples), np.float32)
        count = grid.count(self.samples)
        uncovered = grid.uncovered(self.samples)
        self.repeated = count == 0
        starts_inside = count * grid.hop_samples < self.samples
        if self.repeated or (self._tail == "pad" and uncovered and starts_inside):
            start = (count - self.count) * grid.hop_samples + grid.padding
            rest = self._held[start:]
            repeated = np.resize(rest, max(grid.shortest, len(rest)))
            self._held = np.concatenate([self._held[:start], repeated])
            count, uncovered = count + 1, 0
        self.dropped_s = uncovered * grid.frame_hop / grid.sample_rate
        patches = self._complete(np.zeros(grid.padding, np.float32))
        surplus, self.count = self.count - count, count
        return patches[: len(patches) - surplus]

    def _complete(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        block, self._ahead = block[self._ahead :], max(0, self._ahead - len(block))
        held = np.concatenate([self._held, block])
        size, hop = self.grid.patch_samples, self.grid.hop_samples
        if len(held) < size:
            self._held = held
            return np.empty((0, size), np.float32)
        patches = np.lib.stride_tricks.sliding_window_view(held, size)[::hop]
        self.count += len(patches)
        self._held = held[len(patches) * hop :].copy()
        self._ahead = max(0, len(patches) * hop - len(held))
        return patches
