"""Tags in the user's words: genre, mood, instrument, voice, era, character.

``descriptors.json`` puts every tag of MagnaTagATune, of the Million Song Dataset and of
MTG-Jamendo into one group, under the label that says what it means, or lists it as ungrouped.
Tags of one label mean the same: ``female``, ``woman`` and ``female vocalists`` are
``female vocals``, and the label's score is the largest of theirs. ``words`` are wishes that no
tag has alone: ``calm``, ``lively``.

References
----------
Porter, Bogdanov, Kaye, Tsukanov, Serra. "AcousticBrainz: a community platform for gathering music
information obtained from audio." ISMIR 2015.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

FLAT = 0.2
"""A group whose best label has a lower score says nothing of a track,"""
LEAD = 1.25
"""nor does one whose best label has less than this many times the score of the second, if it is
not PLAIN."""
PLAIN = 0.5


class Descriptors(NamedTuple):
    """The table.

    Parameters
    ----------
    groups : mapping of str to (mapping of str to tuple of str)
        By group and label the tags that mean it.
    ungrouped : tuple of str
        Tags that are in no group.
    words : mapping of str to tuple of str
        Tags of which any will do, by a word for them.
    """

    groups: Mapping[str, Mapping[str, tuple[str, ...]]]
    ungrouped: tuple[str, ...]
    words: Mapping[str, tuple[str, ...]]

    def labels(self) -> dict[str, tuple[str, ...]]:
        """Return the tags of all labels."""
        return {label: tags for group in self.groups.values() for label, tags in group.items()}


@cache
def descriptors() -> Descriptors:
    """Return the table of ``descriptors.json``."""
    text = Path(__file__).with_name("descriptors.json").read_text(encoding="utf-8")
    held = json.loads(text)
    return Descriptors(
        {
            group: {label: tuple(tags) for label, tags in labels.items()}
            for group, labels in held["groups"].items()
        },
        tuple(held["ungrouped"]),
        {word: tuple(tags) for word, tags in held["words"].items()},
    )


def names_for(tags: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return what a query may name if a model has these tags, and the tags that it means.

    The tags themselves come first; then what stands behind ``---`` in them, labels, and words.
    """
    known = set(tags)
    names: dict[str, tuple[str, ...]] = {tag: (tag,) for tag in tags}
    for tag in tags:
        names.setdefault(tag.rpartition("---")[2], (tag,))
    table = descriptors()
    for name, meant in {**table.labels(), **table.words}.items():
        here = tuple(tag for tag in meant if tag in known)
        if here:
            names.setdefault(name, here)
    return names


class Described(NamedTuple):
    """What a group says of a track.

    Parameters
    ----------
    scores : mapping of str to float
        By label, for all labels that the model has tags of.
    value : str or None
        The best label; None if the scores do not say.
    """

    scores: Mapping[str, float]
    value: str | None


def describe(scores: Mapping[str, float]) -> dict[str, Described]:
    """Say in the words of each group what the tags of a track are.

    A group abstains, with None as its value, where its best score is below 0.2, or neither 0.5 nor
    1.25 times the second: several labels can be right, and then none is told from the others.

    Parameters
    ----------
    scores : mapping of str to float
        By tag, from 0 to 1.

    Returns
    -------
    dict of str to Described
        For the groups of which the model has tags.
    """
    said = {}
    for group, labels in descriptors().groups.items():
        held = {
            label: max(scores[tag] for tag in tags if tag in scores)
            for label, tags in labels.items()
            if any(tag in scores for tag in tags)
        }
        if held:
            said[group] = Described(held, clear_best(held))
    return said


def clear_best(scores: Mapping[str, float]) -> str | None:
    """Return the name of the best score; None if the scores do not say which it is."""
    if not scores:
        return None
    best, *others = sorted(scores, key=lambda name: -scores[name])
    if scores[best] < FLAT:
        return None
    second = scores[others[0]] if others else 0.0
    return best if scores[best] >= PLAIN or scores[best] >= LEAD * second else None


def to_acousticbrainz(
    scores: Mapping[str, float], *, model: str, weights: str, version: str
) -> dict[str, Any]:
    """Write what tags say in the shape of AcousticBrainz's high-level data.

    Each group is a classifier with ``value``, ``probability`` and ``all``. Unlike there, ``all``
    are independent scores that do not sum to one, and where a group abstains, ``value`` and
    ``probability`` are null.
    """
    highlevel = {}
    made_by = {"musicnn_zoo": version, "models": {"name": model, "weights": weights}}
    for group, said in describe(scores).items():
        highlevel[group] = {
            "all": {label: round(score, 6) for label, score in said.scores.items()},
            "value": said.value,
            "probability": None if said.value is None else round(said.scores[said.value], 6),
            "version": made_by,
        }
    return {"highlevel": highlevel, "metadata": {"version": {"highlevel": made_by}}}
