"""What there is to know about a model, for people."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, replace

from musicnn_zoo.errors import UnknownNameError
from musicnn_zoo.networks.architectures import ARCHITECTURES, Architecture
from musicnn_zoo.networks.config import ModelSpec
from musicnn_zoo.networks.patches import patch_grid
from musicnn_zoo.networks.provenance import Provenance
from musicnn_zoo.networks.tag_thresholds import TagThresholds
from musicnn_zoo.zoo.catalogue import PRESETS, list_models
from musicnn_zoo.zoo.pretrained import find_pretrained, looks_like_place


@dataclass(frozen=True)
class ModelInfo:
    """What there is to know about a model without loading it.

    Parameters
    ----------
    name : str
    pretrained : bool
        Whether there are weights. An architecture has none, and what concerns training and
        weights below is empty.
    input : str
        Kind of input.
    frontend, midend, backend : str
        Names of the blocks; ``midend`` may be empty.
    sample_rate : int
        Of the input in Hz.
    patch_s : float
        Length of the patches that the model was trained on or is made for, in seconds.
    fixed_length : bool
        Whether it takes patches of that length only.
    endpoints : tuple of str
        Layers that `features` and `embed` offer.
    parameters : int
        Trainable parameters; of an architecture, with 50 tags.
    receptive_field_s : float
        Seconds of audio that one frame before the back-end comes from; may be infinite.
    paper : str
        Where the architecture was described.
    tags : tuple of str
    thresholds : TagThresholds or None
        From what score on each tag is given, if that was calibrated.
    trained_on : str
    metrics : dict of str to float
    test_set, source, license, citation : str
        See :class:`musicnn_zoo.networks.provenance.Provenance`; ``metrics`` are as published, and empty
        where no figures could be checked.
    weights, sha256 : str
        Where the weights are, and their digest if it is known beforehand.
    """

    name: str
    pretrained: bool
    input: str
    frontend: str
    midend: str
    backend: str
    sample_rate: int
    patch_s: float
    fixed_length: bool
    endpoints: tuple[str, ...]
    parameters: int
    receptive_field_s: float
    paper: str
    tags: tuple[str, ...] = ()
    thresholds: TagThresholds | None = None
    trained_on: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    test_set: str = ""
    source: str = ""
    license: str = ""
    citation: str = ""
    weights: str = ""
    sha256: str = ""

    @property
    def architecture(self) -> str:
        """Front-end, mid-end and back-end in one line."""
        return " → ".join(filter(None, (self.frontend, self.midend, self.backend)))

    def __str__(self) -> str:
        length = f"{self.patch_s:.3f} s" + ("" if self.fixed_length else " or any other length")
        seen = self.receptive_field_s
        rows = {
            "pretrained": "yes" if self.pretrained else "no: build_model makes an untrained one",
            "architecture": self.architecture,
            "paper": self.paper,
            "input": f"{self.input}, patches of {length}",
            "receptive field": f"{seen:.3f} s" if math.isfinite(seen) else "the whole input",
            "parameters": f"{self.parameters:,}",
            "endpoints": ", ".join(self.endpoints),
        }
        if self.pretrained:
            figures = " %, ".join(f"{figure:.2f}" for figure in self.metrics.values())
            rows |= {
                "trained on": self.trained_on,
                "ROC-AUC, PR-AUC": f"{figures} % on {self.test_set}" if figures else "",
                "tags": ", ".join(self.tags),
                "thresholds": "none" if self.thresholds is None else self.thresholds.describe(),
                "weights": self.weights,
                "SHA-256": self.sha256,
                "source": self.source,
                "licence": self.license,
                "citation": self.citation,
            }
        rows = {key: value or "not stated" for key, value in rows.items()}
        width = max(map(len, rows)) + 2
        lines = [f"  {key:{width}}{value}" for key, value in rows.items()]
        return "\n".join([self.name, *lines])


def model_info(model: str | os.PathLike[str]) -> ModelInfo:
    """Describe a model: tags, sample rate, licence, citation, published figures, source.

    Parameters
    ----------
    model : str or path
        A pretrained model or an architecture, one of ``list_models(pretrained=None)``; or a
        folder or ``hf://user/repository`` as :func:`musicnn_zoo.save_pretrained` writes it.

    Raises
    ------
    UnknownNameError
        If there is no model of that name.
    WeightsError
        If a folder does not hold what it must.
    DownloadError
        If the Hugging Face Hub does not give the model.
    """
    if isinstance(model, str) and model in PRESETS:
        preset = PRESETS[model]
        source = preset.source()
        info = _of_architecture(preset.architecture)
        return replace(
            _trained(info, preset.spec, preset.provenance),
            weights=source.address,
            sha256=source.sha256 or "",
        )
    if isinstance(model, str) and model in ARCHITECTURES:
        return _of_architecture(ARCHITECTURES[model])
    if isinstance(model, str) and not looks_like_place(model):
        raise UnknownNameError("model", model, list_models(pretrained=None))
    return _of_place(model)


def _of_place(model: str | os.PathLike[str]) -> ModelInfo:
    pretrained = find_pretrained(model)
    built = pretrained.load()
    from musicnn_zoo.networks.build import receptive_field

    config = pretrained.spec.config
    architecture = Architecture(
        name=pretrained.spec.name,
        config=config,
        paper="",
        parameters=sum(math.prod(weight.shape) for weight in built.trainable_weights),
        receptive_field_s=receptive_field(config),
    )
    return replace(
        _trained(_of_architecture(architecture), pretrained.spec, pretrained.provenance),
        weights=os.fspath(model),
        sha256=pretrained.digest(),
    )


def _of_architecture(architecture: Architecture) -> ModelInfo:
    config = architecture.config
    return ModelInfo(
        name=architecture.name,
        pretrained=False,
        input=architecture.describe_input(),
        frontend=config.frontend.kind,
        midend=config.midend.kind if config.midend else "",
        backend=config.backend.kind,
        sample_rate=config.input.sample_rate,
        patch_s=patch_grid(config).patch_s,
        fixed_length=config.fixed_length,
        endpoints=config.endpoints,
        parameters=architecture.parameters,
        receptive_field_s=architecture.receptive_field_s,
        paper=architecture.paper,
    )


def _trained(info: ModelInfo, spec: ModelSpec, provenance: Provenance) -> ModelInfo:
    return replace(
        info,
        name=spec.name,
        pretrained=True,
        tags=spec.tags,
        thresholds=spec.thresholds,
        trained_on=provenance.trained_on,
        metrics=dict(provenance.metrics),
        test_set=provenance.test_set,
        source=provenance.source,
        license=provenance.license,
        citation=provenance.citation,
    )
