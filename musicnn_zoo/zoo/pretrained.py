"""Find a model with weights: by its name, in a folder, or on the Hugging Face Hub."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from musicnn_zoo.errors import ArgumentError, WeightsError
from musicnn_zoo.machine.installation import require_keras
from musicnn_zoo.machine.processes import refuse_forked_tensorflow
from musicnn_zoo.networks.architectures import ARCHITECTURES
from musicnn_zoo.networks.config import ModelSpec
from musicnn_zoo.networks.provenance import Provenance
from musicnn_zoo.zoo.catalogue import PRESETS, Preset, get_preset
from musicnn_zoo.zoo.folder import read_folder
from musicnn_zoo.zoo.hub import HUB_SCHEME, download_folder
from musicnn_zoo.zoo.sources import BundledFile, SourceKind
from musicnn_zoo.zoo.weight_limit import WeightLimit, limited_weights
from musicnn_zoo.zoo.weights import bundled_folder, fetch_preset, load_preset, preset_digest

if TYPE_CHECKING:
    from musicnn_zoo.networks.models import TaggingModel

ModelPlace = str | os.PathLike[str]


@dataclass(frozen=True)
class Pretrained:
    """A model whose weights were found, but not yet loaded.

    Parameters
    ----------
    origin : str
        What to call it in messages.
    spec : ModelSpec
    provenance : Provenance
    digest : callable
        Gives a SHA-256 that changes with what the model computes.
    put : callable
        Puts the weights into a model of this spec.
    graph : BundledFile or None
        The same as an ONNX graph.
    fetch : callable
        Downloads what ``put`` needs, unless it is there; without Keras, which takes seconds to
        import.
    weight_limit : callable, optional
        Gives what the model may hold, of one that a stranger may have configured.
    """

    origin: str
    spec: ModelSpec
    provenance: Provenance
    digest: Callable[[], str]
    put: Callable[[TaggingModel], None]
    graph: BundledFile | None = None
    fetch: Callable[[], None] = lambda: None
    weight_limit: Callable[[], WeightLimit] | None = None

    def load(self) -> TaggingModel:
        """Build the model with its weights.

        Raises
        ------
        MissingPackageError
            If Keras is not installed.
        DownloadError, WeightsError
            If the weights cannot be had or do not fit.
        """
        require_keras(f"{self.origin} as a Keras model")
        self.fetch()
        from musicnn_zoo.networks.models import build_model

        refuse_forked_tensorflow()
        spec = self.spec
        guard = (
            contextlib.nullcontext()
            if self.weight_limit is None
            else limited_weights(self.weight_limit())
        )
        try:
            with guard:
                model = build_model(
                    spec.config, tags=spec.tags, name=spec.name, provenance=self.provenance,
                    thresholds=spec.thresholds,
                )  # fmt: skip
        except ArgumentError as error:
            raise WeightsError(f"{self.origin}: refused: {error}") from error
        self.put(model)
        return model


def find_pretrained(model: ModelPlace, *, source: SourceKind | None = None) -> Pretrained:
    """Find a model with weights, without Keras.

    Parameters
    ----------
    model : str or path
        One of :func:`musicnn_zoo.list_models`; ``hf://user/repository`` or
        ``hf://user/repository@revision``; or a folder as :func:`musicnn_zoo.save_pretrained`
        writes it.
    source : {"bundled", "hub", "web"}, optional
        Where to take the weights of a model of the list from, if there are several.

    Raises
    ------
    UnknownNameError
        If there is no model of that name.
    ArgumentError
        If ``source`` is not for this model.
    DownloadError
        If the Hub does not give the model.
    WeightsError
        If a folder does not hold what it must.
    """
    if isinstance(model, str) and not looks_like_place(model):
        return _of_preset(get_preset(model), source)
    if source is not None:
        raise ArgumentError(f"source goes with the name of a model; received {os.fspath(model)!r}")
    if isinstance(model, str) and model.startswith(HUB_SCHEME):
        folder, origin = download_folder(model)
    else:
        folder, origin = Path(model), os.fspath(model)
    contents = read_folder(folder, origin=origin)
    return Pretrained(
        origin, contents.spec, contents.provenance, contents.digest, contents.put,
        weight_limit=contents.weight_limit,
    )  # fmt: skip


def looks_like_place(model: str) -> bool:
    """Whether a string is an address of the Hub or a path, and not the name of a model."""
    if model in PRESETS or model in ARCHITECTURES:
        return False
    return (
        model.startswith(HUB_SCHEME)
        or "/" in model
        or os.sep in model
        or model in (os.curdir, os.pardir)
        or Path(model).is_dir()
    )


def _of_preset(preset: Preset, source: SourceKind | None) -> Pretrained:
    chosen = preset.source(source)
    notice = bundled_folder() / preset.notice_file
    return Pretrained(
        preset.name,
        preset.spec,
        replace(preset.provenance, notice=notice.read_text(encoding="utf-8")),
        digest=lambda: preset_digest(preset, source),
        put=lambda model: load_preset(model, preset, source),
        graph=preset.graph if chosen is preset.source() else None,
        fetch=lambda: fetch_preset(preset, source),
    )
