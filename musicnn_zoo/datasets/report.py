"""What was left out of a data set and why: nothing is dropped without a line here."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from musicnn_zoo.errors import ArgumentError, UnknownNameError
from musicnn_zoo.plain_text import printable
from musicnn_zoo.text import path_to_text

EXAMPLES = 3
"""Items of each kind that the summary names; the report lists all."""


class DatasetError(ArgumentError):
    """A data set that cannot be read, or of which nothing is left."""


class DatasetWarning(UserWarning):
    """A data set of which something was left out or changed."""


class Kind(NamedTuple):
    """How the summary words one kind of finding.

    Parameters
    ----------
    one, many : str
        What stands after the number 1 and after any other.
    warns : bool
        Whether the caller must be told; not if they asked for it.
    """

    one: str
    many: str
    warns: bool = True


KINDS: dict[str, Kind] = {
    # Files.
    "missing_files": Kind("missing file left out", "missing files left out"),
    "empty_files": Kind("file of zero bytes left out", "files of zero bytes left out"),
    "broken_files": Kind(
        "file that cannot be decoded left out", "files that cannot be decoded left out"
    ),
    "known_broken": Kind(
        "clip known to be broken left out", "clips known to be broken left out", False
    ),
    "not_audio": Kind(
        "file that is no audio by its name left out",
        "files that are no audio by their names left out",
    ),
    "not_regular": Kind(
        "pipe, device or broken link left out", "pipes, devices or broken links left out"
    ),
    "unclassed_files": Kind(
        "audio file outside the class folders left out",
        "audio files outside the class folders left out",
    ),
    "unread_folders": Kind(
        "folder left out that is a link or cannot be opened",
        "folders left out that are links or cannot be opened",
    ),
    # Rows.
    "unreadable_rows": Kind("unreadable row left out", "unreadable rows left out"),
    "duplicates": Kind(
        "row left out that repeats an earlier one", "rows left out that repeat earlier ones"
    ),
    "conflicts": Kind(
        "row that contradicts the group or split of an earlier row for its file, which stands",
        "rows that contradict the group or split of an earlier row for their file, which stands",
    ),
    "merged_rows": Kind(
        "file on several rows with different tags, which were put together",
        "files on several rows with different tags, which were put together",
        False,
    ),
    "without_split": Kind(
        "track left out that is in no split", "tracks left out that are in no split"
    ),
    "absent_splits": Kind("split without its file", "splits without their files"),
    "without_group": Kind(
        "track without a group, taken for a group of its own",
        "tracks without a group, each taken for a group of its own",
    ),
    "unlabelled": Kind(
        "track of the index left out that no ground truth names",
        "tracks of the index left out that no ground truth names",
    ),
    "unindexed": Kind(
        "track of the ground truth left out that the index does not name",
        "tracks of the ground truth left out that the index does not name",
    ),
    # Tags.
    "untagged": Kind("track without a tag left out", "tracks without a tag left out"),
    "untagged_by_request": Kind(
        "track without a tag left out, as asked", "tracks without a tag left out, as asked", False
    ),
    "unknown_tags": Kind(
        "tag ignored that is not in the vocabulary", "tags ignored that are not in the vocabulary"
    ),
    "unused_tags": Kind("tag not used, as asked", "tags not used, as asked", False),
    "tags_without_tracks": Kind("tag that no track has", "tags that no track has"),
    "merged_tags": Kind("tag merged, as asked", "tags merged, as asked", False),
    "merged_spellings": Kind(
        "tag in several spellings, merged into the most frequent",
        "tags in several spellings, merged into the most frequent",
    ),
    "commas": Kind(
        "tag with a comma, taken for one tag (separators=',' splits it)",
        "tags with commas, each taken for one tag (separators=',' splits them)",
    ),
    # Classes.
    "empty_classes": Kind(
        "class without usable audio left out", "classes without usable audio left out"
    ),
    "single_file_classes": Kind(
        "class with a single file, which cannot be split",
        "classes with a single file, which cannot be split",
    ),
    "only_class": Kind("class and no other: there is nothing to tell apart", "classes"),
    "seldom_several": Kind(
        "track with several tags where nearly all have one, which makes this multi-label",
        "tracks with several tags where nearly all have one, which makes this multi-label",
    ),
    "absent_from_split": Kind(
        "tag without a track in one of the splits", "tags without a track in one of the splits"
    ),
}
"""Kinds of findings, in the order of the summary."""


@dataclass(frozen=True, eq=False)
class Report:
    """What was left out of a data set or changed, and why.

    ``report["missing_files"]`` is a tuple, empty if there are none; iterating gives the kinds
    that there are; ``str(report)`` is a paragraph.

    Parameters
    ----------
    found : mapping of str to tuple of str
        Items (paths, rows, tags …) by their kind, one of
        :data:`~musicnn_zoo.datasets.report.KINDS`.

    Raises
    ------
    UnknownNameError
        If there is no such kind.
    """

    found: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in self.found:
            _check(kind)
        ordered = {kind: tuple(self.found[kind]) for kind in KINDS if self.found.get(kind)}
        object.__setattr__(self, "found", ordered)

    def __getitem__(self, kind: str) -> tuple[str, ...]:
        _check(kind)
        return self.found.get(kind, ())

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __contains__(self, kind: object) -> bool:
        return kind in self.found

    @property
    def counts(self) -> dict[str, int]:
        """Number of items of each kind that there is."""
        return {kind: len(items) for kind, items in self.found.items()}

    @property
    def alarming(self) -> Report:
        """What the caller did not ask for."""
        return Report({kind: items for kind, items in self.found.items() if KINDS[kind].warns})

    def adding(self, kind: str, items: Iterable[str]) -> Report:
        """Return a report with more items of one kind."""
        return Report({**self.found, kind: (*self[kind], *items)})

    def to_dict(self) -> dict[str, list[str]]:
        """Return all items by kind, ready for JSON."""
        return {kind: [path_to_text(item) for item in items] for kind, items in self.found.items()}

    def __str__(self) -> str:
        if not self.found:
            return "nothing was left out."
        return "; ".join(_clause(kind, items) for kind, items in self.found.items()) + "."


class Findings:
    """Collects a :class:`Report` while a data set is read."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def add(self, kind: str, *items: str) -> None:
        """Note items of one kind."""
        _check(kind)
        self._found.setdefault(kind, []).extend(items)

    def report(self) -> Report:
        """Return what was found so far."""
        return Report({kind: tuple(items) for kind, items in self._found.items()})


def announce(name: str, report: Report, *, stacklevel: int = 3) -> None:
    """Warn once with a summary of what the caller did not ask for, if there is any.

    The warning names the line that called the function that calls this one.
    """
    alarming = report.alarming
    if alarming:
        warnings.warn(
            f"{printable(name)}: {alarming} The data set's .report lists all.",
            DatasetWarning,
            stacklevel=stacklevel,
        )


def _check(kind: str) -> None:
    if kind not in KINDS:
        raise UnknownNameError("kind of finding", kind, KINDS)


def _clause(kind: str, items: tuple[str, ...]) -> str:
    words = KINDS[kind].one if len(items) == 1 else KINDS[kind].many
    shown = ", ".join(printable(item) for item in items[:EXAMPLES])
    return f"{len(items)} {words} ({shown}{', …' if len(items) > EXAMPLES else ''})"
