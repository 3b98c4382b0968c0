"""A pretrained model with a new head, ready for ``compile`` and ``fit``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import keras
from keras import layers

from musicnn_zoo.errors import check_choice
from musicnn_zoo.networks.build import (
    TaggingModel,
    build_features,
    build_model,
    finish_normalization,
)
from musicnn_zoo.networks.config import ModelConfig, OutputActivation, Provenance
from musicnn_zoo.training.recipes import BATCHNORM_MODES, TRAINABLE, BatchNormMode, Trainable
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL
from musicnn_zoo.zoo.load import find_pretrained


def finetune_model(
    model: str | os.PathLike[str] | TaggingModel = DEFAULT_MODEL,
    *,
    tags: Sequence[str],
    trainable: Trainable = "head",
    activation: OutputActivation = "sigmoid",
    batchnorm: BatchNormMode = "frozen",
    name: str | None = None,
) -> TaggingModel:
    """Give a pretrained model a new head for other tags.

    Everything up to the penultimate layer keeps its weights; what follows it is new, with
    random weights.

    Parameters
    ----------
    model : str, path or TaggingModel
        What :func:`musicnn_zoo.load_model` takes, or your own model, which is not changed.
    tags : sequence of str
        What the new head gives out.
    trainable : {"head", "backend", "midend", "all"}
        From where on the weights are trained: the new head only; also the back-end; also the
        mid-end, if there is one; or all. :func:`set_trainable` changes it later, before another
        ``compile``.
    activation : {"sigmoid", "softmax"} or None
        ``sigmoid`` where a sound has any number of tags (with the loss ``binary_crossentropy``),
        ``softmax`` where it has exactly one (``categorical_crossentropy``), None for logits.
    batchnorm : {"frozen", "trainable"}
        Whether the pretrained BatchNorm layers keep their statistics, scale and offset. With few
        sounds, statistics of single batches do more harm than good (Kornblith et al. 2019).
    name : str, optional
        Of the new model; by default that of the old one with ``_finetuned``.

    Returns
    -------
    TaggingModel
        A plain ``keras.Model``, not compiled. ``model.provenance`` keeps licence and notice of the
        pretrained weights and says what they were.

    Raises
    ------
    ArgumentError
        If there are no tags or two of the same name, or ``trainable`` or ``batchnorm`` is
        something else.

    References
    ----------
    Kornblith, Shlens, Le. "Do better ImageNet models transfer better?" CVPR 2019.

    Examples
    --------
    >>> import musicnn_zoo
    >>> model = musicnn_zoo.finetune_model("MTT_vgg", tags=["calm", "wild"])
    >>> len(model.trainable_weights), model.output_shape
    (2, (None, 2))
    """
    check_choice("trainable", trainable, TRAINABLE)
    check_choice("batchnorm", batchnorm, BATCHNORM_MODES)
    if not isinstance(model, TaggingModel):
        model = find_pretrained(model).load()
    tuned = build_model(
        replace(model.zoo_config, activation=activation),
        tags=tags,
        name=name or f"{model.name}_finetuned",
        provenance=Provenance(
            source=f"fine-tuned from {model.name} ({model.provenance.source or 'not stated'})",
            license=model.provenance.license,
            citation=model.provenance.citation,
            notice=model.provenance.notice,
        ),
    )
    head = head_layers(tuned)
    for layer in tuned.layers:
        if layer.name not in head:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    finish_normalization(tuned)
    set_trainable(tuned, trainable, batchnorm=batchnorm)
    return tuned


def set_trainable(
    model: TaggingModel,
    trainable: Trainable,
    *,
    batchnorm: BatchNormMode = "frozen",
) -> None:
    """Choose which weights of a model are trained; takes effect at the next ``compile``.

    Parameters
    ----------
    model : TaggingModel
    trainable, batchnorm
        See :func:`finetune_model`.
    """
    check_choice("trainable", trainable, TRAINABLE)
    check_choice("batchnorm", batchnorm, BATCHNORM_MODES)
    parts = _parts(model)
    first = TRAINABLE.index(trainable)
    chosen = set().union(*(parts[part] for part in TRAINABLE[: first + 1]))
    for layer in model.layers:
        kept = batchnorm == "frozen" and isinstance(layer, layers.BatchNormalization)
        layer.trainable = layer.name in chosen and not kept


def head_layers(model: TaggingModel) -> frozenset[str]:
    """Return the names of the layers after the penultimate one."""
    before = keras.Model(model.input, model.get_layer("penultimate").output)
    return frozenset({layer.name for layer in model.layers} - {one.name for one in before.layers})


def _parts(model: TaggingModel) -> dict[Trainable, set[str]]:
    """Return the names of the layers of each part of the model."""
    config = model.zoo_config
    every = {layer.name for layer in model.layers}
    head = set(head_layers(model))
    features = _names_before_backend(config)
    frontend = _names_before_backend(replace(config, midend=None))
    return {
        "head": head,
        "backend": every - head - features,
        "midend": features - frontend,
        "all": frontend,
    }


def _names_before_backend(config: ModelConfig) -> set[str]:
    waveform, features = build_features(config)
    return {layer.name for layer in keras.Model(waveform, features).layers}
