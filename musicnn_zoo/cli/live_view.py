"""The tags of what is heard, on a terminal or as lines."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from typing import Literal, get_args

import click

from musicnn_zoo.plain_text import clock, printable
from musicnn_zoo.tagging.taggram import Taggram
from musicnn_zoo.tagging.tags import Tags

LiveFormat = Literal["text", "jsonl"]
LIVE_FORMATS: tuple[LiveFormat, ...] = get_args(LiveFormat)

_WIDEST_BAR = 40
_CLEAR_LINE = "\x1b[2K"
_UP = "\x1b[{}A"


class LiveView:
    """Shows rows of a taggram as they come.

    On a terminal the strongest tags stay in place and their bars move; elsewhere, or as JSON
    lines, every row is a line.

    Parameters
    ----------
    top_k : int
        How many tags.
    form : {"text", "jsonl"}
    """

    def __init__(self, top_k: int, form: LiveFormat) -> None:
        self._top_k = top_k
        self._form = form
        self._in_place = form == "text" and sys.stdout.isatty()
        self._bar = "█" if _writes("█") else "#"
        self._lines = 0

    def show(self, rows: Taggram) -> None:
        """Show every row of a taggram."""
        for index, time in enumerate(rows.times):
            at = slice(index, index + 1)
            row = replace(rows, scores=rows.scores[at], times=rows.times[at])
            tags = row.rank(top_k=self._top_k)
            end_s = float(time) + rows.patch_s
            if self._form == "jsonl":
                scores = {tag: round(score, 6) for tag, score in tags}
                record = {"start_s": round(float(time), 3), "end_s": round(end_s, 3)}
                self._line(json.dumps({**record, "tags": scores}))
            elif self._in_place:
                self._redraw(end_s, tags)
            else:
                listed = ", ".join(f"{printable(tag)} {score:.2f}" for tag, score in tags)
                self._line(f"{clock(end_s):>7}  {listed}")

    def _redraw(self, end_s: float, tags: Tags) -> None:
        width = shutil.get_terminal_size().columns
        names = [printable(tag) for tag in tags.names]
        longest = min(max(map(len, names), default=0), max(4, width // 3))
        room = max(0, min(_WIDEST_BAR, width - longest - 9))
        lines = [f"heard until {clock(end_s)}"[: width - 1]]
        for name, (_, score) in zip(names, tags, strict=True):
            bar = self._bar * round(room * score)
            lines.append(f"{name[:longest]:>{longest}}  {score:.2f}  {bar}"[: width - 1])
        up = _UP.format(self._lines) if self._lines else ""
        self._lines = len(lines)
        self._line(up + "\n".join(_CLEAR_LINE + line for line in lines))

    def _line(self, text: str) -> None:
        click.echo(text)
        sys.stdout.flush()


def _writes(character: str) -> bool:
    """Whether the terminal's encoding has a character."""
    try:
        character.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
