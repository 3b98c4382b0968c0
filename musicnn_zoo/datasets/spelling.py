"""One tag, one spelling: "Hip-Hop", "hip hop" and "hip_hop" are the same tag."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

from musicnn_zoo.datasets.report import Findings

_BETWEEN_LETTERS = re.compile(r"(?<=[^\W_])[\s_-]+(?=[^\W_])")


def clean(text: str) -> str:
    """Trim a tag and compose its accents, which macOS takes apart in file names."""
    return unicodedata.normalize("NFC", text.strip())


def normal_form(tag: str) -> str:
    """Return what all spellings of a tag have in common.

    Case does not count, nor whether words are parted by spaces, hyphens or underscores. All
    else does: "1-2" is not "12", "-1" is not "1", "C#" is not "C".
    """
    folded = unicodedata.normalize("NFKC", tag).casefold().strip()
    return _BETWEEN_LETTERS.sub(" ", folded)


def spellings(
    used: Counter[str], found: Findings, vocabulary: Iterable[str] = ()
) -> Mapping[str, str]:
    """Choose one spelling for each tag.

    Parameters
    ----------
    used : Counter of str
        How often each spelling stands in the data, in the order they were met.
    found : Findings
        Takes a note of every tag that has several.
    vocabulary : iterable of str
        Spellings to use where they fit. For all other tags the most frequent one is chosen,
        the earliest of equally frequent ones.

    Returns
    -------
    mapping of str to str
        The chosen spelling by each that is used.
    """
    wanted: dict[str, str] = {}
    exact = set(vocabulary)
    for tag in vocabulary:
        wanted.setdefault(normal_form(tag), tag)
    variants: dict[str, list[str]] = {}
    for tag in used:
        if tag not in exact:
            variants.setdefault(normal_form(tag), []).append(tag)
    chosen = {tag: tag for tag in used}
    for form, tags in variants.items():
        best = wanted.get(form) or max(tags, key=lambda tag: used[tag])
        others = [tag for tag in tags if tag != best]
        if others:
            found.add("merged_spellings", f"{' and '.join(map(repr, others))} → {best!r}")
        chosen.update(dict.fromkeys(tags, best))
    return chosen
