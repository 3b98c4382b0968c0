"""Pictures of what the models say and how good they are; needs ``musicnn-zoo[plots]``.

Each function draws a result as the method ``plot`` of the result does, and returns a plain
:class:`matplotlib.figure.Figure`. It is made without ``pyplot``, so that no window system is
touched and nothing has to be closed. With ``path`` the picture is also saved, as PNG, SVG or PDF
by the ending of the path. All raise the errors of :func:`musicnn_zoo.plots.drawing.picture`, and
those that they name themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from musicnn_zoo.sound.sources import AudioSource

__all__ = [
    "plot_evaluation",
    "plot_events",
    "plot_filters",
    "plot_map",
    "plot_taggram",
    "plot_tags",
]


class Result(Protocol):
    """A result that can draw itself; the first argument of ``plot`` is the path."""

    @property
    def plot(self) -> Callable[..., Figure]: ...


def plot_tags(tags: Result, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw :class:`musicnn_zoo.Tags` as bars, the best at the top; of more than 30 the 30 best.

    Raises
    ------
    ArgumentError
        Also if there are no tags.
    """
    return tags.plot(path)


def plot_taggram(
    taggram: Result, path: str | os.PathLike[str] | None = None, *, top_k: int = 10
) -> Figure:
    """Draw the scores of the ``top_k`` strongest tags of a :class:`musicnn_zoo.Taggram` over time.

    The tag with the highest mean is at the top. A row of the taggram lasts from its start to the
    start of the next, the last for a whole patch. Where there are more rows than the picture has
    dots, a column shows the highest score of several, so that nothing short is lost. Colours go
    from 0 to the next tenth above the highest score.

    Raises
    ------
    ArgumentError
        Also if ``top_k`` is less than one, or the taggram has no rows.
    """
    return taggram.plot(path, top_k=top_k)


def plot_events(
    events: Result,
    path: str | os.PathLike[str] | None = None,
    *,
    audio: AudioSource | None = None,
    sample_rate: int | None = None,
) -> Figure:
    """Draw :class:`musicnn_zoo.Events` as bars, one lane a tag, under the log-mel spectrogram.

    The spectrogram is the input of the model; of a model of waveforms, that of musicnn. The tag
    that lasts longest is at the top; of more than 12 tags the 12 that do. A recording of any
    length is read block by block, and what one dot shows is the mean of its frames.

    Parameters
    ----------
    events : Events
    path : path, optional
    audio : path, binary file object, or ndarray, optional
        The audio of the clip; by default its file is read again.
    sample_rate : int, optional
        Of an array, in Hz.

    Raises
    ------
    ArgumentError
        Also if the events are of an array and ``audio`` is not given, or ``audio`` has another
        length.
    AudioError
        If the audio cannot be used.
    """
    return events.plot(path, audio=audio, sample_rate=sample_rate)


def plot_filters(filters: Result, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw the :class:`musicnn_zoo.LearnedFilters` of a front-end.

    Images are drawn with time across and bands up, curves over time, each filter to its own
    largest weight. Of waveforms there are the magnitude spectra, one column a filter by centre
    frequency, and beside those of long filters some of the waveforms.
    """
    return filters.plot(path)


def plot_map(found: Result, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw a :class:`musicnn_zoo.EmbeddingMap`.

    Each of the twelve largest groups has a colour and a shape of its own; where there are more,
    the smaller ones are put together as "other". Up to 40 files have their names.
    """
    return found.plot(path)


def plot_evaluation(evaluation: Result, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw a :class:`musicnn_zoo.ModelEvaluation`.

    Of tags: ROC-AUC and average precision of each with its interval and chance, best tag first,
    and the ROC and precision-recall curves of all, their mean (at each false positive rate, or
    recall), and the best, a middle and the worst tag. Of classes: the confusion matrix, coloured
    by the fraction of the tracks of a class, with numbers of tracks, and the F1 of each class.
    """
    return evaluation.plot(path)
