"""Which words go into which fields of a file: by the table of descriptors, or by one's own rules.

Rules are a TOML file with a table for each field. It gives the tags, or labels of the table of
descriptors, that each word stands for::

    [genre]
    "Drum & Bass" = ["techno", "dance"]
    Rock = ["rock", "metal"]

Such a table takes the place of the built-in one for its field.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from musicnn_zoo.errors import ArgumentError, MissingPackageError, UnknownNameError, shown
from musicnn_zoo.files import raising
from musicnn_zoo.library.descriptors import clear_best, descriptors
from musicnn_zoo.library.tag_fields import OWN_PREFIX
from musicnn_zoo.tagging.results import Tags

CUSTOM = "custom"
KEPT_FIELDS = ("genre", "mood")
"""Fields that players show: a value that is there is kept, and words have capitals: ``Hip Hop``."""

Words = Mapping[str, tuple[str, ...]]


class WritingRules(NamedTuple):
    """Words by field, and by word the tags that it stands for.

    Parameters
    ----------
    words : mapping of str to (mapping of str to tuple of str)
    """

    words: Mapping[str, Words]

    @classmethod
    def built_in(cls) -> WritingRules:
        """Return the rules that the table of descriptors makes."""
        return cls(
            {
                group: {label.title() if group in KEPT_FIELDS else label: tags
                        for label, tags in labels.items()}
                for group, labels in descriptors().groups.items()
            }
        )  # fmt: skip

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> WritingRules:
        """Read a TOML file; fields that it does not have keep the built-in rules.

        Raises
        ------
        ArgumentError
            If it cannot be read, or is not of that shape.
        """
        content = _parse_toml(Path(path))
        rules = dict(cls.built_in().words)
        labels = descriptors().labels()
        for field, words in content.items():
            if field not in rules:
                raise UnknownNameError("field of rules", field, rules)
            if not isinstance(words, dict):
                raise ArgumentError(
                    f"{path}: [{field}] must be a table of words; received {shown(words)}"
                )
            rules[field] = {
                _checked_word(path, word): _checked_tags(path, word, tags, labels)
                for word, tags in words.items()
            }
        return cls(rules)

    def chosen(self, field: str, tags: Tags) -> tuple[str, ...]:
        """Return the words for a field, best first.

        Where the tags were chosen by a threshold, these are all words for which one of them
        stands. Otherwise it is the best word, and none if the scores do not say which it is.
        """
        by_threshold = bool(tags.threshold)
        known = dict(tags.ranked if by_threshold else tags.all_ranked)
        scores = {
            word: max(known[tag] for tag in meant if tag in known)
            for word, meant in self.words[field].items()
            if any(tag in known for tag in meant)
        }
        if by_threshold:
            return tuple(sorted(scores, key=lambda word: -scores[word]))
        best = clear_best(scores) if tags.ranked else None
        return () if best is None else (best,)


def check_fields(fields: str | Iterable[str]) -> tuple[str, ...]:
    """Return the fields to write, each once.

    Raises
    ------
    UnknownNameError
        If one is none: ``custom``, or a group of the descriptors.
    """
    names = fields.split(",") if isinstance(fields, str) else list(fields)
    known = (CUSTOM, *descriptors().groups)
    found = dict.fromkeys(name.strip() for name in names)
    for name in found:
        if name not in known:
            raise UnknownNameError("field", name, known)
    return tuple(found)


def values_of(fields: Iterable[str], tags: Tags, rules: WritingRules) -> dict[str, tuple[str, ...]]:
    """Return what is to be written of a track, by the names of :mod:`.tag_fields`.

    ``custom`` are ``MUSICNN_TAGS``, each as ``rock:0.71``, and ``MUSICNN_MODEL``; ``genre`` and
    ``mood`` are what players read; other groups are fields of our own.
    """
    values: dict[str, tuple[str, ...]] = {}
    for field in fields:
        if field == CUSTOM:
            values[f"{OWN_PREFIX}TAGS"] = tuple(f"{tag}:{score:.2f}" for tag, score in tags)
            values[f"{OWN_PREFIX}MODEL"] = (tags.model,)
        else:
            name = field if field in KEPT_FIELDS else f"{OWN_PREFIX}{field.upper()}"
            values[name] = rules.chosen(field, tags)
    return values


def _parse_toml(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError as error:
            raise MissingPackageError(
                "rules need tomli: pip install 'musicnn-zoo[write]'"
            ) from error
    with (
        raising(
            ArgumentError, f"{path}: the rules cannot be read", instead_of=(OSError, ValueError)
        ),
        path.open("rb") as file,
    ):
        content: dict[str, Any] = tomllib.load(file)
        return content


def _checked_word(path: str | os.PathLike[str], word: str) -> str:
    if not word.strip() or not word.isprintable():
        raise ArgumentError(f"{path}: a word must be text of one line; received {shown(word)}")
    return word


def _checked_tags(
    path: str | os.PathLike[str], word: str, tags: object, labels: Words
) -> tuple[str, ...]:
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ArgumentError(
            f"{path}: {word!r} must be a list of tags or labels; received {shown(tags)}"
        )
    known = {tag for meant in labels.values() for tag in meant} | set(descriptors().ungrouped)
    for tag in tags:
        if tag not in labels and tag not in known:
            raise UnknownNameError("tag or label", tag, {*labels, *known})
    return tuple(dict.fromkeys(each for tag in tags for each in (tag, *labels.get(tag, ()))))
