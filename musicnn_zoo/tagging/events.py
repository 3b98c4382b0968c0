"""When the tags of a clip begin and end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from musicnn_zoo.networks.config import LogMelInput
from musicnn_zoo.plain_text import clock, printable
from musicnn_zoo.tagging.clip import Clip
from musicnn_zoo.tagging.forms import html_table, plain_floats, require_pandas
from musicnn_zoo.tagging.sound_events import Event

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from musicnn_zoo.sound.read import AudioSource


@dataclass(frozen=True)
class Events(Sequence[Event]):
    """Sound events of a clip: a sequence of :class:`Event`, by start, then as the model's tags.

    Two are equal if all that they hold is.

    Parameters
    ----------
    events : tuple of Event
    model : str
        Name of the model.
    clip : Clip
    spectrogram : LogMelInput or None
        What the model looks at, if that is a log-mel spectrogram.
    """

    events: tuple[Event, ...]
    model: str
    clip: Clip
    spectrogram: LogMelInput | None = None

    def __len__(self) -> int:
        return len(self.events)

    def __getitem__(self, index: Any) -> Any:
        return self.events[index]

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def to_dict(self) -> dict[str, Any]:
        """Return source, length, model and a list of the events, ready for JSON."""
        events = [{**event.to_dict(), "score": plain_floats(event.score)} for event in self.events]
        return {**self.clip.to_dict(), "model": self.model, "events": events}

    def to_json(self) -> str:
        """Return :meth:`to_dict` as a JSON text."""
        return json.dumps(self.to_dict())

    def to_pandas(self) -> pandas.DataFrame:
        """Return a DataFrame of tag, start_s, end_s and score, one row an event (needs pandas)."""
        return require_pandas().DataFrame(list(self.events), columns=list(Event._fields))

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        audio: AudioSource | None = None,
        sample_rate: int | None = None,
    ) -> Figure:
        """Draw the events under the log-mel; see :func:`musicnn_zoo.plots.plot_events`.

        Parameters
        ----------
        path : path, optional
            Where to save the picture: ``.png``, ``.svg`` or ``.pdf``.
        audio : path, binary file object, or ndarray, optional
            The audio of the clip; by default its file is read again.
        sample_rate : int, optional
            Of an array, in Hz.
        """
        from musicnn_zoo.plots import plot_events

        return plot_events(self, path, audio=audio, sample_rate=sample_rate)

    def _rows(self) -> list[list[str]]:
        return [
            [clock(start_s), clock(end_s), printable(tag), f"{score:.3f}"]
            for tag, start_s, end_s, score in self.events
        ]

    def __str__(self) -> str:
        rows = self._rows()
        width = max((len(row[2]) for row in rows), default=0)
        lines = [
            f"  {start:>7} – {end:>7}  {tag:{width}}  {score}" for start, end, tag, score in rows
        ]
        return "\n".join([f"{self.clip.describe()} ({self.model})", *lines])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(
            f"{self.clip.describe()} ({self.model})", ["start", "end", "tag", "score"], self._rows()
        )
