"""Thresholds found on a validation split, put into a model or its folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.evaluation.evaluation import ModelEvaluation
from musicnn_zoo.evaluation.thresholds import best_f1_thresholds
from musicnn_zoo.networks.tag_thresholds import TagThresholds
from musicnn_zoo.plain_text import count
from musicnn_zoo.zoo.folder import read_folder, write_thresholds

if TYPE_CHECKING:
    from musicnn_zoo.networks.models import TaggingModel

_NOT_FOR_CHOOSING = ("train", "test")


def with_thresholds(
    model: TaggingModel, thresholds: ModelEvaluation | TagThresholds | None
) -> TaggingModel:
    """Give a model thresholds of its own, for ``tag(threshold="calibrated")``.

    Parameters
    ----------
    model : TaggingModel
        Not changed.
    thresholds : ModelEvaluation, TagThresholds or None
        An evaluation of this model on a validation split, whose tracks give the thresholds of
        best F1 (see :func:`musicnn_zoo.evaluation.thresholds.best_f1_thresholds`); or thresholds; or None for
        a model without.

    Returns
    -------
    TaggingModel
        With the very layers of ``model``, so that training one trains the other; not compiled.

    Raises
    ------
    ArgumentError
        If the evaluation is of another model, or on tracks that thresholds must not be chosen on;
        if a threshold is not between 0 and 1, as of a model whose outputs are no probabilities.
    """
    from musicnn_zoo.networks.models import TaggingModel

    if isinstance(thresholds, ModelEvaluation):
        thresholds = _found(thresholds, model.name, model.tags)
    elif thresholds is not None and len(thresholds) != len(model.tags):
        raise ArgumentError(
            f"thresholds must be one for each of the {len(model.tags)} tags of {model.name}; "
            f"received {len(thresholds)}"
        )
    return TaggingModel(
        model.input, model.output, name=model.name, zoo_config=model.zoo_config,
        tags=model.tags, provenance=model.provenance, thresholds=thresholds,
    )  # fmt: skip


def store_thresholds(folder: str | os.PathLike[str], evaluation: ModelEvaluation) -> TagThresholds:
    """Put thresholds found on a validation split into the folder of a model.

    Parameters
    ----------
    folder : path
        As :func:`musicnn_zoo.save_pretrained` writes it. Gets a ``thresholds.json``, and its model
        card a section on them; all else stays.
    evaluation : ModelEvaluation
        Of this model, on a validation split.

    Returns
    -------
    TagThresholds
        What was stored.

    Raises
    ------
    ArgumentError
        As :func:`with_thresholds`.
    WeightsError
        If it is no folder of a model.
    OutputError
        If it cannot be written.
    """
    contents = read_folder(Path(folder), origin=os.fspath(folder))
    thresholds = _found(evaluation, contents.spec.name, contents.spec.tags)
    write_thresholds(contents, thresholds)
    return thresholds


def _found(evaluation: ModelEvaluation, model: str, tags: Sequence[str]) -> TagThresholds:
    """Return the thresholds of best F1 on the tracks of an evaluation; None where unknown."""
    if evaluation.model != model or not set(evaluation.tags) <= set(tags):
        raise ArgumentError(
            f"the evaluation must be of the model that gets the thresholds, {model}, and of its "
            f"tags; received one of {evaluation.model}"
        )
    if evaluation.split in _NOT_FOR_CHOOSING:
        raise ArgumentError(
            "thresholds must be found on tracks that the model is neither trained nor tested on; "
            f"received an evaluation on split {evaluation.split!r}: evaluate with "
            "split='validation'"
        )
    best = best_f1_thresholds(evaluation.labels, evaluation.scores)
    known = {
        tag: None if np.isnan(value) else float(value)
        for tag, value in zip(evaluation.tags, best, strict=True)
    }
    whence = evaluation.figures.conventions["split"].partition(";")[0]
    return TagThresholds(
        tuple(known.get(tag) for tag in tags),
        f"best F1 on {whence}, {count(len(evaluation), 'track')}",
    )
