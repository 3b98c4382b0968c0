"""Where weights come from and how good they are, for model cards and lists."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from numbers import Real
from typing import Any

from musicnn_zoo.errors import ArgumentError, UnknownNameError
from musicnn_zoo.plain_text import shortened, shown


@dataclass(frozen=True)
class Provenance:
    """What to say of trained weights besides what they compute.

    Parameters
    ----------
    trained_on : str
        The training data.
    metrics : mapping of str to float
        ``roc_auc`` and ``pr_auc`` in percent, macro-averaged over the tags, the patches of a
        track averaged.
    test_set : str
        What the metrics were measured on.
    source, license, citation : str
        Of the weights; the licence by its SPDX name.
    notice : str
        What must go with every copy: copyright and permission.
    """

    trained_on: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    test_set: str = ""
    source: str = ""
    license: str = ""
    citation: str = ""
    notice: str = ""

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name != "metrics" and not isinstance(value, str):
                raise ArgumentError(
                    f"provenance {entry.name!r} must be a string; received {shown(value)}"
                )
        metrics = self.metrics
        if not isinstance(metrics, Mapping) or not all(map(_is_figure, metrics.values())):
            raise ArgumentError(f"provenance 'metrics' must be numbers; received {shown(metrics)}")
        figures = {str(name): float(figure) for name, figure in metrics.items()}
        object.__setattr__(self, "metrics", figures)

    def to_dict(self) -> dict[str, Any]:
        """Return strings and numbers, ready for JSON."""
        return {**asdict(self), "metrics": dict(self.metrics)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Provenance:
        """Inverse of :meth:`to_dict`.

        Raises
        ------
        ArgumentError
            If an entry is unknown or not of its type.
        """
        if not isinstance(values, Mapping):
            raise ArgumentError(f"a provenance must be an object; received {shown(values)}")
        known = [entry.name for entry in fields(cls)]
        for name in values:
            if name not in known:
                raise UnknownNameError("provenance entry", shortened(name, 80), known)
        return cls(**values)


def _is_figure(value: object) -> bool:
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False
