"""What the models say: small typed objects that print well and convert to plain data."""

from __future__ import annotations

import html
import json
import os
from abc import abstractmethod
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NoReturn,
    TypeVar,
    cast,
    overload,
)

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

from musicnn_zoo.errors import (
    ArgumentError,
    MissingPackageError,
    UnknownKeyError,
    answered,
    check_choice,
    check_number,
    check_whole,
    finite,
    no_array,
    shown,
    unknown_attribute,
)
from musicnn_zoo.networks.config import (
    CALIBRATED,
    Calibrated,
    LogMelInput,
    TagThresholds,
    own_thresholds,
)
from musicnn_zoo.text import clock, path_to_text, printable

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from musicnn_zoo.sound.sources import AudioSource


Default = TypeVar("Default")


def plain_floats(values: Any) -> Any:
    """Turn float32 into the shortest Python floats that give the same float32 back."""
    if isinstance(values, np.ndarray) and values.ndim:
        return [plain_floats(value) for value in values]
    return float(str(np.float32(values)))


def require_pandas() -> Any:
    """Import pandas, which is not among the requirements."""
    try:
        import pandas
    except ImportError as error:
        raise MissingPackageError(
            "to_pandas needs pandas: pip install 'musicnn-zoo[pandas]'"
        ) from error
    return pandas


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)


class _Result:
    """What all results share: they are equal if all that they hold is, and convert to JSON."""

    model: str
    clip: Clip

    def __eq__(self, other: object) -> Any:
        if type(self) is not type(other):
            return NotImplemented
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]
        return all(_same(getattr(self, name), getattr(other, name)) for name in names)

    def __ne__(self, other: object) -> Any:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    def __hash__(self) -> int:
        return hash((type(self), self.model, self.clip))

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            raise unknown_attribute(self, name)

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return all that it holds, ready for JSON."""

    def to_json(self) -> str:
        """Return :meth:`to_dict` as a JSON text."""
        return json.dumps(self.to_dict())

    def _as_jams(self, observations: Iterable[tuple[str, float, float, float]]) -> Any:
        from musicnn_zoo.tagging.annotation import to_jams

        clip = self.clip
        return to_jams(
            observations, model=self.model, source=clip.source, duration_s=clip.duration_s
        )

    def _caption(self) -> str:
        return f"{self.clip.describe()} ({self.model})"


def _column(tags: Sequence[str], tag: str) -> int:
    try:
        return tags.index(tag)
    except ValueError:
        raise UnknownKeyError("tag", tag, tags) from None


def html_table(caption: str, head: list[str], rows: list[list[str]]) -> str:
    """Write a table as HTML, with what stands in it escaped."""

    def cells(tag: str, values: list[str]) -> str:
        return "".join(f"<{tag}>{html.escape(value)}</{tag}>" for value in values)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f"<table><caption>{html.escape(caption)}</caption>"
        f"<thead><tr>{cells('th', head)}</tr></thead><tbody>{body}</tbody></table>"
    )


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
    silent : float
        Share of its patches that are silent, from 0 to 1; see ``SILENT_DBFS``.
    offset_s : float
        Where in the file it begins, if it is an excerpt.
    """

    source: str | None
    duration_s: float
    repeated: bool = False
    dropped_s: float = 0.0
    damaged: bool = False
    lost_s: float = 0.0
    silent: float = 0.0
    offset_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; ``source`` as :func:`musicnn_zoo.text.path_to_text` does.

        ``offset_s`` is there if it is not 0.
        """
        return {
            "source": None if self.source is None else path_to_text(self.source),
            "duration_s": round(self.duration_s, 3),
            "repeated": self.repeated,
            "dropped_s": round(self.dropped_s, 3),
            "damaged": self.damaged,
            "lost_s": round(self.lost_s, 3),
            "silent": round(self.silent, 3),
            **({"offset_s": round(self.offset_s, 3)} if self.offset_s else {}),
        }

    def describe(self) -> str:
        """Return one line for people."""
        line = f"{printable(self.source or 'array')}, {self.duration_s:.1f} s"
        if self.offset_s:
            line = f"{line} from {clock(self.offset_s)} on"
        if self.repeated:
            line = f"{line}, repeated to fill one patch"
        if self.damaged:
            line = f"{line}, damaged: {self.lost_s:.1f} s lost"
        if self.silent:
            part = "silent" if self.silent == 1 else f"{max(1, round(100 * self.silent))} % silent"
            line = f"{line}, {part}"
        return line


Silence = Literal["skip", "keep"]
SILENCES: tuple[Silence, ...] = ("skip", "keep")
"""Whether silent patches are left out of means and events, or count as any other."""

SILENT_DBFS = -60.0
"""A patch is silent if its RMS level is below this, in decibels relative to full scale (RMS 1)."""


def check_silence(silence: Silence) -> None:
    """Refuse another way to treat silent patches."""
    check_choice("silence", silence, SILENCES)


DEFAULT_THRESHOLD = 0.5
DEFAULT_RELEASE = 0.8


class Event(NamedTuple):
    """A tag that lasts from ``start_s`` to ``end_s`` seconds, with its mean score."""

    tag: str
    start_s: float
    end_s: float
    score: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return self._asdict()


def find_events(
    scores: NDArray[np.floating[Any]],
    tags: Sequence[str],
    times: NDArray[np.floating[Any]],
    end_s: float,
    *,
    threshold: float = DEFAULT_THRESHOLD,
    release: float | None = None,
    min_length_s: float = 0.0,
) -> tuple[Event, ...]:
    """Turn scores over time into events, by a threshold with hysteresis.

    An event begins where the score reaches ``threshold``, goes on while it is at least
    ``release``, in both directions, and counts if it lasts ``min_length_s``.

    Parameters
    ----------
    scores : ndarray, shape (rows, tags)
    tags : sequence of str
    times : ndarray, shape (rows,)
        Start of each row in seconds; a row lasts to the start of the next.
    end_s : float
        End of the last row in seconds.
    threshold : float
        Between 0 and 1.
    release : float, optional
        Between 0 and ``threshold``; by default 0.8 × ``threshold``.
    min_length_s : float
        In seconds.

    Returns
    -------
    tuple of Event
        By start, then in the order of ``tags``.

    Raises
    ------
    ArgumentError
        If an argument is out of range.
    """
    release = check_event_rule(threshold, release, min_length_s)
    edges = np.append(times, end_s)
    events = []
    for index, tag in enumerate(tags):
        column = scores[:, index]
        for first, last in _runs(column >= release):
            held = column[first:last]
            start, end = (round(float(edges[at]), 6) for at in (first, last))
            if held.max() >= threshold and end - start >= min_length_s:
                found = Event(tag, start, end, float(held.mean()))
                events.append((start, index, found))
    return tuple(event for _, _, event in sorted(events, key=lambda found: found[:2]))


def check_event_rule(threshold: float, release: float | None, min_length_s: float) -> float:
    """Check the options of :func:`find_events` and return the release."""
    level = check_threshold(threshold)
    if release is None:
        release = DEFAULT_RELEASE * level
    number = finite(release)
    if number is None or not 0 <= number <= level:
        raise ArgumentError(
            f"release must be between 0 and the threshold {level:g}; received {shown(release)}"
        )
    check_number("min_length_s", min_length_s, least=0)
    return number


def check_threshold(threshold: object, *, hint: str = "") -> float:
    """Return a score from which on tags are kept; ``hint`` ends what is said of another."""
    level = finite(threshold)
    if level is None or not 0 <= level <= 1:
        raise ArgumentError(f"threshold must be between 0 and 1; received {shown(threshold)}{hint}")
    return level


def _runs(held: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the first index of each run of True and the one behind its last."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], held, [False]]).astype(np.int8)))
    return [(int(first), int(last)) for first, last in changes.reshape(-1, 2)]


DEFAULT_TOP_K = 5


def _score_of(other: Any) -> Any:
    return other if isinstance(other, Real) else other[1]


class TagScore(NamedTuple):
    """A tag and its score between 0 and 1; in order by score, so that ``max`` is the best."""

    tag: str
    score: float

    def __lt__(self, other: tuple[Any, ...]) -> bool:
        return bool(self.score < _score_of(other))

    def __le__(self, other: tuple[Any, ...]) -> bool:
        return bool(self.score <= _score_of(other))

    def __gt__(self, other: tuple[Any, ...]) -> bool:
        return bool(self.score > _score_of(other))

    def __ge__(self, other: tuple[Any, ...]) -> bool:
        return bool(self.score >= _score_of(other))


@dataclass(frozen=True, eq=False)
class Tags(_Result, Sequence[TagScore]):
    """Ranked tags of a clip, and the scores of all others.

    As a sequence it holds the tags that were asked for, a :class:`TagScore` each, best first:
    ``for tag, score in tags``, ``tags[0]``, ``len(tags)``. As a mapping it has the score of every
    tag of the model: ``tags["techno"]``, ``tags.get``, ``tags.items()``, ``dict(tags)``, and
    ``"techno" in tags`` says whether the model knows the tag; ``"techno" in tags.names``, whether
    it is among the ranked ones. Of a clip that is silent throughout nothing is ranked, and all
    scores are 0 (with ``silence="skip"``, which is the default).

    Parameters
    ----------
    ranked : tuple of TagScore
    model : str
        Name of the model.
    clip : Clip
    all_ranked : tuple of TagScore
        All tags of the model, best first; by default ``ranked``.
    threshold : float or "calibrated"
        What the ranked tags had to reach.
    """

    ranked: tuple[TagScore, ...]
    model: str
    clip: Clip
    all_ranked: tuple[TagScore, ...] = ()
    threshold: float | Calibrated = 0.0

    def __post_init__(self) -> None:
        if not self.all_ranked:
            object.__setattr__(self, "all_ranked", self.ranked)

    def __len__(self) -> int:
        return len(self.ranked)

    @overload
    def __getitem__(self, index: int) -> TagScore: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[TagScore, ...]: ...
    @overload
    def __getitem__(self, index: str) -> float: ...
    def __getitem__(self, index: int | slice | str) -> TagScore | tuple[TagScore, ...] | float:
        if isinstance(index, str):
            names = [tag for tag, _ in self.all_ranked]
            return self.all_ranked[_column(names, index)].score
        try:
            return self.ranked[index]
        except IndexError:
            raise IndexError(
                f"no index {index}: {len(self)} of {len(self.all_ranked)} tags are kept; "
                ".top(k) keeps k"
            ) from None

    def __contains__(self, entry: object) -> bool:
        return entry in (self.keys() if isinstance(entry, str) else self.ranked)

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """Return the rank, from 0, of a :class:`TagScore` or of a tag by its name."""
        entries: tuple[Any, ...] = self.names if isinstance(value, str) else self.ranked
        return entries.index(value, start, len(entries) if stop is None else stop)

    @property
    def names(self) -> tuple[str, ...]:
        """The ranked tags without their scores, best first."""
        return tuple(tag for tag, _ in self.ranked)

    @property
    def scores(self) -> tuple[float, ...]:
        """The scores of the ranked tags, best first."""
        return tuple(score for _, score in self.ranked)

    def keys(self) -> KeysView[str]:
        """Return all tags of the model, best first."""
        return dict(self.all_ranked).keys()

    def values(self) -> ValuesView[float]:
        """Return the scores of all tags of the model, best first."""
        return dict(self.all_ranked).values()

    def items(self) -> ItemsView[str, float]:
        """Return all tags of the model with their scores, best first."""
        return dict(self.all_ranked).items()

    @overload
    def get(self, tag: str) -> float | None: ...
    @overload
    def get(self, tag: str, default: Default) -> float | Default: ...
    def get(self, tag: str, default: Any = None) -> Any:
        """Return the score of a tag, or ``default`` if the model does not know it."""
        return dict(self.all_ranked).get(tag, default)

    @answered
    def top(self, k: int = DEFAULT_TOP_K) -> Tags:
        """Return the best ``k`` of all tags of the model."""
        kept = self.all_ranked[: check_count("k", k)]
        heard = bool(self.ranked) or self.clip.silent < 1
        return replace(self, ranked=kept if heard else (), threshold=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return source, length, model and ``{"tags": {tag: score}}``, ready for JSON."""
        scores = {tag: plain_floats(score) for tag, score in self.ranked}
        return {**self.clip.to_dict(), "model": self.model, "tags": scores}

    def to_pandas(self) -> pandas.Series[float]:
        """Return the scores as a Series indexed by tag (needs pandas)."""
        scores = [score for _, score in self.ranked]
        return require_pandas().Series(scores, index=list(self.names), name=self.clip.source)

    def to_jams(self) -> Any:
        """Return a ``jams.JAMS`` of the ranked tags of the clip (needs the package jams).

        See :func:`musicnn_zoo.tagging.annotation.to_jams`.
        """
        length = self.clip.duration_s
        observations = ((tag, 0.0, length, score) for tag, score in self.ranked)
        return self._as_jams(observations)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the tags as bars, and save them if ``path`` is given.

        See :func:`musicnn_zoo.plots.plot_tags`.
        """
        from musicnn_zoo.plots.drawing import picture
        from musicnn_zoo.plots.results import draw_tags

        return picture(
            path, lambda: draw_tags(self.ranked, source=self.clip.source, model=self.model)
        )

    def __str__(self) -> str:
        names = [printable(tag) for tag in self.names]
        width = max(map(len, names), default=0)
        lines = [
            f"  {name:{width}}  {score:.3f}"
            for name, (_, score) in zip(names, self.ranked, strict=True)
        ]
        return "\n".join([self._caption(), *(lines or [f"  {self._why_empty()}"])])

    __repr__ = __str__

    def _why_empty(self) -> str:
        if self.clip.silent == 1:
            return "no tag, since nothing can be heard"
        if not self.all_ranked:
            return "no tags"
        tag, score = self.all_ranked[0]
        level = "its threshold" if self.threshold == CALIBRATED else f"{self.threshold:g}"
        return f"no tag reached {level}; the highest is {printable(tag)} with {score:.3f}"

    def _repr_html_(self) -> str:
        return html_table(
            self._caption(),
            ["tag", "score"],
            [[tag, f"{score:.3f}"] for tag, score in self.ranked],
        )


def check_count(name: str, value: object) -> int:
    """Return how many tags are kept; the word ``"all"`` is answered."""
    if isinstance(value, str) and value == "all":
        raise ArgumentError(
            f"{name} must be a whole number; received 'all': threshold=0 keeps all tags"
        )
    return check_whole(name, value)


def check_ranking(
    top_k: int | None, threshold: float | Calibrated | None
) -> tuple[int | None, float | Calibrated]:
    """Check and complete the arguments of :meth:`Taggram.rank`."""
    if top_k is not None:
        top_k = check_count("top_k", top_k)
    if threshold is None:
        return (DEFAULT_TOP_K if top_k is None else top_k), 0.0
    if isinstance(threshold, str) and threshold == CALIBRATED:
        return top_k, CALIBRATED
    return top_k, check_threshold(threshold, hint=" ('calibrated' takes the model's own)")


@dataclass(frozen=True, eq=False)
class Events(_Result, Sequence[Event]):
    """Sound events of a clip: a sequence of :class:`Event`, by start, then as the model's tags.

    ``events["techno"]`` are those of one tag, and ``"techno" in events`` says whether there are
    any.

    Parameters
    ----------
    events : tuple of Event
    model : str
        Name of the model.
    clip : Clip
    spectrogram : LogMelInput or None
        What the model looks at, if that is a log-mel spectrogram.
    threshold, release : float or None
        Score that began the events, and that they kept; None if that is not known.
    """

    events: tuple[Event, ...]
    model: str
    clip: Clip
    spectrogram: LogMelInput | None = None
    threshold: float | None = None
    release: float | None = None

    def __len__(self) -> int:
        return len(self.events)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Event, ...]: ...
    @overload
    def __getitem__(self, index: str) -> Events: ...
    def __getitem__(self, index: int | slice | str) -> Event | tuple[Event, ...] | Events:
        if isinstance(index, str):
            return replace(self, events=tuple(each for each in self.events if each.tag == index))
        return self.events[index]

    def __contains__(self, entry: object) -> bool:
        if isinstance(entry, str):
            return any(event.tag == entry for event in self.events)
        return entry in self.events

    def to_dict(self) -> dict[str, Any]:
        """Return source, length, model and a list of the events, ready for JSON."""
        events = [{**event.to_dict(), "score": plain_floats(event.score)} for event in self.events]
        return {
            **self.clip.to_dict(),
            "model": self.model,
            "threshold": self.threshold,
            "release": self.release,
            "events": events,
        }

    def to_pandas(self) -> pandas.DataFrame:
        """Return a DataFrame of tag, start_s, end_s and score, one row an event (needs pandas)."""
        return require_pandas().DataFrame(list(self.events), columns=list(Event._fields))

    def to_jams(self) -> Any:
        """Return a ``jams.JAMS`` of the events (needs the package jams).

        See :func:`musicnn_zoo.tagging.annotation.to_jams`.
        """
        observations = (
            (tag, start_s, end_s - start_s, score) for tag, start_s, end_s, score in self.events
        )
        return self._as_jams(observations)

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        audio: AudioSource | None = None,
        sample_rate: int | None = None,
    ) -> Figure:
        """Draw the events under the log-mel, and save the picture if ``path`` is given.

        See :func:`musicnn_zoo.plots.plot_events`.
        """
        from musicnn_zoo.plots.drawing import picture
        from musicnn_zoo.plots.results import draw_events

        return picture(
            path,
            lambda: draw_events(
                self.events,
                duration_s=self.clip.duration_s,
                offset_s=self.clip.offset_s if audio is None else None,
                audio=self.clip.source if audio is None else audio,
                sample_rate=sample_rate,
                spectrogram=self.spectrogram,
                source=self.clip.source,
                model=self.model,
                rule=self.describe_rule(),
            ),
        )

    def _caption(self) -> str:
        rule = self.describe_rule()
        return f"{super()._caption()}{f', {rule}' if rule else ''}"

    def describe_rule(self) -> str:
        """Say from which score on there are events; nothing if it is not known."""
        if self.threshold is None:
            return ""
        kept = "" if self.release is None else f", until below {self.release:g}"
        return f"scores from {self.threshold:g} on{kept}"

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
        none = "no events" if self.threshold is None else f"no score reaches {self.threshold:g}"
        return "\n".join([self._caption(), *(lines or [f"  {none}"])])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(self._caption(), ["start", "end", "tag", "score"], self._rows())


@dataclass(frozen=True, eq=False)
class Taggram(_Result):
    """Scores over time, one row a patch.

    It is an array ``(patches, tags)`` for NumPy, and its columns have names: ``taggram["techno"]``
    is the curve of one tag, ``taggram[["techno", "drums"]]`` those of several.

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
    silent : ndarray, shape (patches,), bool; or None
        Which patches are silent; None if that is not known.
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
    silent: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Any) -> NDArray[np.float32]:
        if isinstance(index, str):
            return self.scores[:, _column(self.tags, index)]
        if isinstance(index, list | tuple) and all(isinstance(tag, str) for tag in index):
            return self.scores[:, [_column(self.tags, tag) for tag in index]]
        rows: NDArray[np.float32] = self.scores[index]
        return rows

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return iter(self.scores)

    def __contains__(self, tag: object) -> bool:
        return tag in self.tags

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.scores, dtype=dtype, copy=copy)

    @property
    def shape(self) -> tuple[int, ...]:
        """Patches and tags."""
        return self.scores.shape

    @answered
    def rank(
        self,
        *,
        top_k: int | None = None,
        threshold: float | Calibrated | None = None,
        silence: Silence = "skip",
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
        silence : {"skip", "keep"}
            Leave silent patches out of the average, or not.

        Raises
        ------
        ArgumentError
            If ``top_k`` or ``threshold`` is out of range, or the model has no thresholds.
        """
        check_silence(silence)
        top_k, threshold = check_ranking(top_k, threshold)
        lowest: Sequence[float | None] = (
            own_thresholds(self.thresholds, self.model).values
            if threshold == CALIBRATED
            else (threshold,) * len(self.tags)
        )
        heard = self.scores if silence == "keep" else self.scores[~self._is_silent]
        if not len(heard):
            unheard = tuple(TagScore(tag, 0.0) for tag in self.tags)
            return Tags((), self.model, self.clip, unheard, threshold)
        mean = heard.mean(axis=0)
        order = np.argsort(-mean, kind="stable")
        ranked = tuple(TagScore(self.tags[i], float(mean[i])) for i in order)
        kept = tuple(
            entry
            for i, entry in zip(order[:top_k], ranked, strict=False)
            if (least := lowest[i]) is not None and mean[i] >= least
        )
        return Tags(kept, self.model, self.clip, ranked, threshold)

    @property
    def _is_silent(self) -> NDArray[np.bool_]:
        return np.zeros(len(self), bool) if self.silent is None else self.silent

    @answered
    def events(
        self,
        *,
        threshold: float = DEFAULT_THRESHOLD,
        release: float | None = None,
        min_length_s: float = 0.0,
        silence: Silence = "skip",
    ) -> Events:
        """Find when tags begin and end; see :func:`musicnn_zoo.tagging.results.find_events`.

        A row stands for the time from its start to the start of the next, the last for a whole
        patch. In silent rows no tag is on, unless ``silence="keep"``.
        """
        check_silence(silence)
        end_s = float(self.times[-1]) + self.patch_s if len(self) else 0.0
        scores = self.scores
        if silence == "skip" and self._is_silent.any():
            scores = np.where(self._is_silent[:, np.newaxis], np.float32(-1), scores)
        found = find_events(
            scores, self.tags, self.times, end_s,
            threshold=threshold, release=release, min_length_s=min_length_s,
        )  # fmt: skip
        kept = check_event_rule(threshold, release, min_length_s)
        return Events(found, self.model, self.clip, self.spectrogram, float(threshold), kept)

    def to_jams(self) -> Any:
        """Return a ``jams.JAMS`` with an observation a patch and tag (needs the package jams).

        See :func:`musicnn_zoo.tagging.annotation.to_jams`.
        """
        observations = (
            (tag, float(time), self.patch_s, float(score))
            for time, row in zip(self.times, self.scores, strict=True)
            for tag, score in zip(self.tags, row, strict=True)
        )
        return self._as_jams(observations)

    def plot(self, path: str | os.PathLike[str] | None = None, *, top_k: int = 10) -> Figure:
        """Draw the scores of the ``top_k`` strongest tags, and save them if ``path`` is given.

        See :func:`musicnn_zoo.plots.plot_taggram`.
        """
        from musicnn_zoo.plots.drawing import picture
        from musicnn_zoo.plots.results import draw_taggram

        check_whole("top_k", top_k)
        return picture(
            path,
            lambda: draw_taggram(
                self.scores,
                self.times,
                self.tags,
                patch_s=self.patch_s,
                top_k=top_k,
                source=self.clip.source,
                model=self.model,
            ),
        )

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

    def to_pandas(self) -> pandas.DataFrame:
        """Return the scores as a DataFrame, times down and tags across (needs pandas)."""
        pandas = require_pandas()
        index = pandas.Index(self.times, name="time_s")
        return pandas.DataFrame(self.scores, index=index, columns=list(self.tags))

    def _rows(self) -> list[list[str]]:
        best = np.argsort(-self.scores, axis=1, kind="stable")[:, :3]
        return [
            [clock(time), ", ".join(f"{printable(self.tags[i])} {row[i]:.2f}" for i in order)]
            for time, row, order in zip(self.times, self.scores, best, strict=True)
        ]

    def __str__(self) -> str:
        lines = [f"  {time:>7}  {tags}" for time, tags in self._rows()]
        return "\n".join([self._caption(), *lines])

    def __repr__(self) -> str:
        return (
            f"<Taggram of {self.clip.describe()}: {len(self)} patches of {self.patch_s:.3f} s "
            f"every {self.hop_s:.3f} s × {len(self.tags)} tags, {self.model}>"
        )

    def _repr_html_(self) -> str:
        return html_table(self._caption(), ["time", "strongest tags"], self._rows())


@dataclass(frozen=True, eq=False)
class Embedding(_Result, NDArrayOperatorsMixin):
    """Activations of one layer as vectors: an array for NumPy and whatever takes arrays.

    ``embedding @ other``, ``embedding - other`` and the like give plain arrays; two embeddings
    are equal (``==``) if all that they hold is.

    Parameters
    ----------
    values : ndarray, float32
        Shape (dimensions,) for a clip, or (patches, dimensions) if ``pooling`` is None.
    times : ndarray, shape (patches,)
        Start of each patch in seconds.
    layer : str
    pooling : {"mean", "max"} or None
        How patches became one vector.
    patch_s, hop_s : float
        Length of a patch and distance between two starts, in seconds.
    model : str
    clip : Clip
    """

    values: NDArray[np.float32]
    times: NDArray[np.float64]
    layer: str
    pooling: str | None
    patch_s: float
    hop_s: float
    model: str
    clip: Clip

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if any(isinstance(each, Embedding) for each in options.get("out", ())):
            del options["out"]  # += gives a plain array, too
        arrays = [each.values if isinstance(each, Embedding) else each for each in inputs]
        return getattr(ufunc, method)(*arrays, **options)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any) -> Any:
        return self.values[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(dimensions,)``, or ``(patches, dimensions)``."""
        return self.values.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.values.ndim

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Type of the numbers, float32."""
        return self.values.dtype

    def tolist(self) -> list[Any]:
        """Return the numbers as a list, or as one for each patch."""
        return cast("list[Any]", self.values.tolist())

    def to_dict(self) -> dict[str, Any]:
        """Return the vectors as lists with what they are, ready for JSON."""
        return {
            **self.clip.to_dict(),
            "model": self.model,
            "layer": self.layer,
            "pooling": self.pooling,
            "patch_s": self.patch_s,
            "hop_s": self.hop_s,
            "times": self.times.tolist(),
            "values": plain_floats(self.values),
        }

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row a vector, indexed by time, or by source if pooled (needs pandas)."""
        pandas = require_pandas()
        if self.pooling is None:
            return pandas.DataFrame(self.values, index=pandas.Index(self.times, name="time_s"))
        return pandas.DataFrame(self.values[np.newaxis], index=[self.clip.source])

    def __repr__(self) -> str:
        pooled = f"{self.pooling} over {len(self.times)} patches" if self.pooling else "one a patch"
        return (
            f"<Embedding of {self.clip.describe()}: {self.model} {self.layer}, {pooled}, "
            f"shape {self.values.shape}>"
        )


@dataclass(frozen=True, eq=False)
class Features(_Result, Mapping[str, NDArray[np.float32]]):
    """Activations of several layers: a mapping from layer name to array.

    Parameters
    ----------
    values_by_layer : dict of str to ndarray
        Each ``(patches, …)``: ``(patches, frames, channels)`` where the layer has a time
        axis.
    times : ndarray, shape (patches,)
        Start of each patch in seconds.
    patch_s, hop_s : float
        Length of a patch and distance between two starts, in seconds.
    model : str
    clip : Clip
    """

    values_by_layer: dict[str, NDArray[np.float32]]
    times: NDArray[np.float64]
    patch_s: float
    hop_s: float
    model: str
    clip: Clip

    def __getitem__(self, layer: str) -> NDArray[np.float32]:
        try:
            return self.values_by_layer[layer]
        except KeyError:
            raise UnknownKeyError("layer", layer, self.values_by_layer) from None

    def __array__(self, *_: object, **__: object) -> NoReturn:
        raise no_array(self, "several arrays", f"features[{next(iter(self))!r}]")

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_layer)

    def __len__(self) -> int:
        return len(self.values_by_layer)

    def to_dict(self) -> dict[str, Any]:
        """Return the activations as nested lists by layer, ready for JSON."""
        return {
            **self.clip.to_dict(),
            "model": self.model,
            "patch_s": self.patch_s,
            "hop_s": self.hop_s,
            "times": self.times.tolist(),
            "layers": {name: plain_floats(values) for name, values in self.items()},
        }

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in self.items())
        return f"<Features of {self.clip.describe()}: {self.model}, {shapes}>"


Result = TypeVar("Result")


@dataclass(frozen=True)
class FileResult(Generic[Result]):
    """What came of one file among many.

    Parameters
    ----------
    source : str or None
        File name; None for an array.
    value : Tags, Taggram, Events, Embedding or Features; None if the file could not be used
    error : Exception or None
        Why it could not.
    """

    source: str | None
    value: Result | None
    error: Exception | None = None

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            raise unknown_attribute(self, name)

    def __array__(self, *_: object, **__: object) -> NoReturn:
        raise no_array(self, "what came of a file", "np.asarray(result.value)")

    def unwrap(self) -> Result:
        """Return the value, or raise the error."""
        if self.value is None:
            raise self.error or ValueError("neither a value nor an error")
        return self.value
