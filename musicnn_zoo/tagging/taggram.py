"""Scores of a clip over time."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.networks.config import LogMelInput
from musicnn_zoo.networks.tag_thresholds import (
    CALIBRATED,
    Calibrated,
    TagThresholds,
    own_thresholds,
)
from musicnn_zoo.plain_text import clock, printable
from musicnn_zoo.tagging.clip import Clip
from musicnn_zoo.tagging.events import Events
from musicnn_zoo.tagging.forms import html_table, plain_floats, require_pandas
from musicnn_zoo.tagging.sound_events import DEFAULT_THRESHOLD, find_events
from musicnn_zoo.tagging.tags import Tags, TagScore, check_ranking

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Taggram:
    """Scores over time, one row a patch.

    Parameters
    ----------
    scores : ndarray, shape (patches, tags), float32
    tags : tuple of str
    times : ndarray, shape (patches,)
        Start of each patch in seconds.
    patch_s, hop_s : float
        Length of a patch and distance between two starts, in seconds.
    model : str
    clip : Clip
    thresholds : TagThresholds or None
        The model's own, if they were calibrated.
    spectrogram : LogMelInput or None
        What the model looks at, if that is a log-mel spectrogram.
    """

    scores: NDArray[np.float32]
    tags: tuple[str, ...]
    times: NDArray[np.float64]
    patch_s: float
    hop_s: float
    model: str
    clip: Clip
    thresholds: TagThresholds | None = None
    spectrogram: LogMelInput | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def rank(
        self, *, top_k: int | None = None, threshold: float | Calibrated | None = None
    ) -> Tags:
        """Average over the patches and rank the tags; without patches there are none.

        Parameters
        ----------
        top_k : int, optional
            Keep the ``top_k`` best.
        threshold : float or "calibrated", optional
            Keep those with a score of at least ``threshold``, between 0 and 1; or of at least the
            model's own threshold for the tag, if the model has thresholds.
            With neither, the best five are kept; with both, both must hold.

        Raises
        ------
        ArgumentError
            If ``top_k`` or ``threshold`` is out of range, or the model has no thresholds.
        """
        top_k, threshold = check_ranking(top_k, threshold)
        lowest: Sequence[float | None] = (
            own_thresholds(self.thresholds, self.model).values
            if threshold == CALIBRATED
            else (threshold,) * len(self.tags)
        )
        if not len(self):
            return Tags((), self.model, self.clip)
        mean = self.scores.mean(axis=0)
        order = np.argsort(-mean, kind="stable")[:top_k]
        ranked = tuple(
            TagScore(self.tags[i], float(mean[i]))
            for i in order
            if (least := lowest[i]) is not None and mean[i] >= least
        )
        return Tags(ranked, self.model, self.clip)

    def events(
        self,
        *,
        threshold: float = DEFAULT_THRESHOLD,
        release: float | None = None,
        min_length_s: float = 0.0,
    ) -> Events:
        """Find when tags begin and end; see :func:`musicnn_zoo.tagging.sound_events.find_events`.

        A row stands for the time from its start to the start of the next, the last for a whole
        patch.
        """
        end_s = float(self.times[-1]) + self.patch_s if len(self) else 0.0
        found = find_events(
            self.scores, self.tags, self.times, end_s,
            threshold=threshold, release=release, min_length_s=min_length_s,
        )  # fmt: skip
        return Events(found, self.model, self.clip, self.spectrogram)

    def plot(self, path: str | os.PathLike[str] | None = None, *, top_k: int = 10) -> Figure:
        """Draw the scores of the strongest tags; see :func:`musicnn_zoo.plots.plot_taggram`.

        Parameters
        ----------
        path : path, optional
            Where to save the picture: ``.png``, ``.svg`` or ``.pdf``.
        top_k : int
            How many tags.
        """
        from musicnn_zoo.plots import plot_taggram

        return plot_taggram(self, path, top_k=top_k)

    def to_dict(self) -> dict[str, Any]:
        """Return times, tags and scores as lists, ready for JSON."""
        return {
            **self.clip.to_dict(),
            "model": self.model,
            "patch_s": self.patch_s,
            "hop_s": self.hop_s,
            "times": self.times.tolist(),
            "tags": list(self.tags),
            "scores": plain_floats(self.scores),
        }

    def to_json(self) -> str:
        """Return :meth:`to_dict` as a JSON text."""
        return json.dumps(self.to_dict())

    def to_pandas(self) -> pandas.DataFrame:
        """Return the scores as a DataFrame, times down and tags across (needs pandas)."""
        index = require_pandas().Index(self.times, name="time_s")
        return require_pandas().DataFrame(self.scores, index=index, columns=list(self.tags))

    def _rows(self) -> list[list[str]]:
        best = np.argsort(-self.scores, axis=1, kind="stable")[:, :3]
        return [
            [clock(time), ", ".join(f"{printable(self.tags[i])} {row[i]:.2f}" for i in order)]
            for time, row, order in zip(self.times, self.scores, best, strict=True)
        ]

    def __str__(self) -> str:
        lines = [f"  {time:>7}  {tags}" for time, tags in self._rows()]
        return "\n".join([f"{self.clip.describe()} ({self.model})", *lines])

    def __repr__(self) -> str:
        return (
            f"<Taggram of {self.clip.describe()}: {len(self)} patches of {self.patch_s:.3f} s "
            f"every {self.hop_s:.3f} s × {len(self.tags)} tags, {self.model}>"
        )

    def _repr_html_(self) -> str:
        return html_table(
            f"{self.clip.describe()} ({self.model})", ["time", "strongest tags"], self._rows()
        )
