"""Ranked tags of a clip."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.networks.tag_thresholds import CALIBRATED, Calibrated
from musicnn_zoo.plain_text import printable
from musicnn_zoo.tagging.clip import Clip
from musicnn_zoo.tagging.forms import html_table, plain_floats, require_pandas

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

DEFAULT_TOP_K = 5


class TagScore(NamedTuple):
    """A tag and its score between 0 and 1."""

    tag: str
    score: float


@dataclass(frozen=True, eq=False)
class Tags(Sequence[TagScore]):
    """Ranked tags of a clip: a sequence of :class:`TagScore`, best first.

    Parameters
    ----------
    ranked : tuple of TagScore
    model : str
        Name of the model.
    clip : Clip
    """

    ranked: tuple[TagScore, ...]
    model: str
    clip: Clip

    def __len__(self) -> int:
        return len(self.ranked)

    def __getitem__(self, index: Any) -> Any:
        return self.ranked[index]

    def __iter__(self) -> Iterator[TagScore]:
        return iter(self.ranked)

    @property
    def names(self) -> tuple[str, ...]:
        """The tags without their scores, best first."""
        return tuple(tag for tag, _ in self.ranked)

    def to_dict(self) -> dict[str, Any]:
        """Return source, length, model and ``{"tags": {tag: score}}``, ready for JSON."""
        scores = {tag: plain_floats(score) for tag, score in self.ranked}
        return {**self.clip.to_dict(), "model": self.model, "tags": scores}

    def to_json(self) -> str:
        """Return :meth:`to_dict` as a JSON text."""
        return json.dumps(self.to_dict())

    def to_pandas(self) -> pandas.Series[float]:
        """Return the scores as a Series indexed by tag (needs pandas)."""
        scores = [score for _, score in self.ranked]
        return require_pandas().Series(scores, index=list(self.names), name=self.clip.source)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the tags as bars; see :func:`musicnn_zoo.plots.plot_tags`.

        Parameters
        ----------
        path : path, optional
            Where to save the picture: ``.png``, ``.svg`` or ``.pdf``.
        """
        from musicnn_zoo.plots import plot_tags

        return plot_tags(self, path)

    def __str__(self) -> str:
        names = [printable(tag) for tag in self.names]
        width = max(map(len, names), default=0)
        lines = [
            f"  {name:{width}}  {score:.3f}"
            for name, (_, score) in zip(names, self.ranked, strict=True)
        ]
        return "\n".join([f"{self.clip.describe()} ({self.model})", *lines])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(
            f"{self.clip.describe()} ({self.model})",
            ["tag", "score"],
            [[tag, f"{score:.3f}"] for tag, score in self.ranked],
        )


def check_ranking(
    top_k: int | None, threshold: float | Calibrated | None
) -> tuple[int | None, float | Calibrated]:
    """Check and complete the arguments of :meth:`Taggram.rank`."""
    if top_k is not None and top_k <= 0:
        raise ArgumentError(f"top_k must be at least 1; received {top_k}")
    if threshold is None:
        return (DEFAULT_TOP_K if top_k is None else top_k), 0.0
    if threshold == CALIBRATED:
        return top_k, CALIBRATED
    if isinstance(threshold, str) or not 0 <= threshold <= 1:
        raise ArgumentError(
            f"threshold must be between 0 and 1; received {threshold!r} ('calibrated' takes the "
            "model's own)"
        )
    return top_k, threshold
