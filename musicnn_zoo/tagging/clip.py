"""The audio that a result is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from musicnn_zoo.plain_text import printable
from musicnn_zoo.text import path_to_text


@dataclass(frozen=True)
class Clip:
    """The audio that a result is about, and what was done to it.

    Parameters
    ----------
    source : str or None
        File name; None for an array.
    duration_s : float
        Length in seconds.
    repeated : bool
        Whether the clip was shorter than a patch and was repeated to fill one.
    dropped_s : float
        Seconds at the end that no patch covers (``tail="pad"`` covers them).
    damaged : bool
        Whether some of the file could not be decoded.
    lost_s : float
        How many seconds, as far as that is known.
    """

    source: str | None
    duration_s: float
    repeated: bool = False
    dropped_s: float = 0.0
    damaged: bool = False
    lost_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON; see :mod:`musicnn_zoo.text` on ``source``."""
        return {
            "source": None if self.source is None else path_to_text(self.source),
            "duration_s": round(self.duration_s, 3),
            "repeated": self.repeated,
            "dropped_s": round(self.dropped_s, 3),
            "damaged": self.damaged,
            "lost_s": round(self.lost_s, 3),
        }

    def describe(self) -> str:
        """Return one line for people."""
        line = f"{printable(self.source or 'array')}, {self.duration_s:.1f} s"
        if self.repeated:
            line = f"{line}, repeated to fill one patch"
        return f"{line}, damaged: {self.lost_s:.1f} s lost" if self.damaged else line
