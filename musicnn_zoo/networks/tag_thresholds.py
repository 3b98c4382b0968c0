"""The thresholds that a model carries: from what score on it says that a tag is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

from musicnn_zoo.errors import ArgumentError

Calibrated = Literal["calibrated"]
CALIBRATED: Calibrated = "calibrated"
"""What to pass as ``threshold`` for a model's own thresholds."""

_ENTRIES = ("thresholds", "from")
_LONGEST_ORIGIN = 1000


@dataclass(frozen=True)
class TagThresholds:
    """A threshold for each tag of a model.

    Parameters
    ----------
    values : tuple of float or None
        In the order of the model's tags, between 0 and 1. A tag is given if its score, averaged
        over the patches of a track, is at least this; a tag with None never is.
    origin : str
        How and on which tracks they were found.

    Raises
    ------
    ArgumentError
        If a threshold is no number between 0 and 1.
    """

    values: tuple[float | None, ...]
    origin: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(map(_checked, self.values)))
        if not isinstance(self.origin, str) or len(self.origin) > _LONGEST_ORIGIN:
            raise ArgumentError(
                f"the origin of thresholds must be a text of at most {_LONGEST_ORIGIN} characters; "
                f"received {str(self.origin)[:60]!r}"
            )

    def __len__(self) -> int:
        return len(self.values)

    def to_dict(self, tags: Sequence[str]) -> dict[str, Any]:
        """Return ``{"thresholds": {tag: number or None}, "from": origin}``, ready for JSON."""
        return {
            "thresholds": dict(zip(tags, self.values, strict=True)),
            "from": self.origin,
        }

    @classmethod
    def from_dict(cls, values: Any, tags: Sequence[str]) -> TagThresholds:
        """Inverse of :meth:`to_dict`.

        Raises
        ------
        ArgumentError
            If it is anything else than a threshold for each of the tags.
        """
        if not isinstance(values, Mapping) or set(values) != set(_ENTRIES):
            raise ArgumentError(
                "it must be an object with 'thresholds', a number or null by each tag, and 'from', "
                "a text"
            )
        by_tag = values["thresholds"]
        if not isinstance(by_tag, Mapping):
            raise ArgumentError(f"'thresholds' must be an object; received {by_tag!r}"[:200])
        lacking = [tag for tag in tags if tag not in by_tag]
        known = set(tags)
        unknown = [tag for tag in by_tag if tag not in known]
        if lacking or unknown:
            what = f"lacks {lacking[0]!r}" if lacking else f"has {unknown[0]!r}, which is no tag"
            raise ArgumentError(f"'thresholds' must name the tags of the model; it {what}")
        return cls(tuple(by_tag[tag] for tag in tags), values["from"])

    def describe(self) -> str:
        """Say in words what they are."""
        known = sum(value is not None for value in self.values)
        return f"for {known} of {len(self)} tags, {self.origin or 'not stated how found'}"


def own_thresholds(thresholds: TagThresholds | None, model: str) -> TagThresholds:
    """Return the thresholds of a model, or say how it comes to some."""
    if thresholds is None:
        raise ArgumentError(
            f"{model} has no calibrated thresholds; find them on a validation split with "
            "'musicnn-zoo evaluate FOLDER DATA --store-thresholds' or "
            "musicnn_zoo.with_thresholds(model, evaluation), or pass a number as threshold"
        )
    return thresholds


def _checked(value: Any) -> float | None:
    if value is None:
        return None
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 1:
        raise ArgumentError(
            f"a threshold must be a number between 0 and 1, or none; received {str(value)[:40]!r}"
        )
    return float(value)
