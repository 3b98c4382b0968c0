"""Which columns of a model and of a data set are the same tag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from musicnn_zoo.datasets.dataset import Dataset
from musicnn_zoo.datasets.spelling import normal_form
from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.plain_text import printable

WhichTags = Literal["all", "common"]
WHICH_TAGS: tuple[WhichTags, ...] = get_args(WhichTags)

_NAMED = 5


@dataclass(frozen=True)
class TagMatch:
    """The tags that a model and a data set share, in the order of the model's outputs.

    Parameters
    ----------
    tags : tuple of str
        As the model spells them.
    columns : tuple of int
        Where each stands among the model's outputs.
    in_data : tuple of str
        As the data set spells them.
    model_only, data_only : tuple of str
        Tags that the other side does not know.
    """

    tags: tuple[str, ...]
    columns: tuple[int, ...]
    in_data: tuple[str, ...]
    model_only: tuple[str, ...]
    data_only: tuple[str, ...]

    def labels_of(self, dataset: Dataset) -> Dataset:
        """Return the data set with these tags only, in this order and spelling."""
        chosen = dataset if dataset.tags == self.in_data else dataset.with_tags(self.in_data)
        return replace(chosen, tags=self.tags)

    def describe(self) -> str:
        """Say in words how the tags were matched."""
        respelled = [
            f"{printable(theirs)!r} is {printable(ours)!r}"
            for ours, theirs in zip(self.tags, self.in_data, strict=True)
            if ours != theirs
        ]
        parts = [f"{len(self.tags)}, matched by name"]
        if respelled:
            parts.append(f"spelled differently in the data set: {', '.join(respelled)}")
        for whose, names in (("the model", self.model_only), ("the data set", self.data_only)):
            if names:
                parts.append(f"{len(names)} left out that only {whose} knows: {_some(names)}")
        return "; ".join(parts)


def match_tags(
    model_tags: Sequence[str], dataset: Dataset, *, which: WhichTags = "all"
) -> TagMatch:
    """Find the tags that a model and a data set share, whatever their order.

    A tag is matched by its name. Of the rest those are matched that differ only in case, or in
    spaces, hyphens and underscores between words, where that leaves no doubt.

    Parameters
    ----------
    model_tags : sequence of str
        In the order of the outputs.
    dataset : Dataset
    which : {"all", "common"}
        Whether both must know all tags, or the common ones will do.

    Raises
    ------
    ArgumentError
        If one side knows tags that the other does not, unless the common ones will do; or if
        there are none in common.
    """
    if which not in WHICH_TAGS:
        raise ArgumentError(f"tags must be 'all' or 'common'; received {which!r}")
    known = set(dataset.tags)
    theirs = {tag: tag for tag in model_tags if tag in known}
    left = _distinct(set(dataset.tags) - set(theirs))
    for form, tag in _distinct(set(model_tags) - set(theirs)).items():
        if form in left:
            theirs[tag] = left[form]
    columns = tuple(column for column, tag in enumerate(model_tags) if tag in theirs)
    tags = tuple(model_tags[column] for column in columns)
    used = set(theirs.values())
    match = TagMatch(
        tags=tags,
        columns=columns,
        in_data=tuple(theirs[tag] for tag in tags),
        model_only=tuple(tag for tag in model_tags if tag not in theirs),
        data_only=tuple(tag for tag in dataset.tags if tag not in used),
    )
    _check(match, dataset.name, which)
    return match


def _check(match: TagMatch, dataset: str, which: WhichTags) -> None:
    if not match.tags:
        raise ArgumentError(
            f"{dataset} and the model have no tag in common: the model knows "
            f"{_some(match.model_only)}, the data set {_some(match.data_only)}"
        )
    if which == "common" or not (match.model_only or match.data_only):
        return
    found = [
        f"only {whose} knows {len(names)}: {_some(names)}"
        for whose, names in (("the model", match.model_only), ("the data set", match.data_only))
        if names
    ]
    raise ArgumentError(
        f"{dataset} and the model differ in their tags, {'; '.join(found)}. "
        f"tags='common' (--tags common) evaluates the {len(match.tags)} that both know"
    )


def _distinct(tags: set[str]) -> dict[str, str]:
    """Tags by their normal form, without those that share one."""
    by_form: dict[str, list[str]] = {}
    for tag in tags:
        by_form.setdefault(normal_form(tag), []).append(tag)
    return {form: same[0] for form, same in by_form.items() if len(same) == 1}


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(printable(name)) for name in names[:_NAMED])
    return f"{shown}, …" if len(names) > _NAMED else shown
