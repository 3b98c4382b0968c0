"""What an exported file says of itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import musicnn_zoo
from musicnn_zoo.networks.config import ModelSpec, Provenance
from musicnn_zoo.networks.patches import patch_grid

if TYPE_CHECKING:
    from musicnn_zoo.networks.build import TaggingModel


def metadata(spec: ModelSpec, provenance: Provenance, precision: str) -> dict[str, Any]:
    """Return what there is to know of an exported model, ready for JSON.

    ``model``, its name; ``tags`` in the order of the outputs; ``sample_rate`` in Hz;
    ``patch_samples``, the length that the model was trained on; ``precision``; ``config``, see
    :class:`musicnn_zoo.networks.config.ModelConfig`; ``provenance``, see
    :class:`musicnn_zoo.networks.config.Provenance`; ``thresholds``, if they were calibrated, as in
    :class:`musicnn_zoo.networks.config.TagThresholds`; ``musicnn_zoo``, the version that exported
    it.
    """
    config = spec.config
    entries = {
        "model": spec.name,
        "tags": spec.tags,
        "sample_rate": config.input.sample_rate,
        "patch_samples": patch_grid(config).patch_samples,
        "precision": precision,
        "config": config.to_dict(),
        "provenance": provenance.to_dict(),
        "musicnn_zoo": musicnn_zoo.__version__,
    }
    if spec.thresholds is not None:
        entries["thresholds"] = spec.thresholds.to_dict(spec.tags)
    return entries


def metadata_json(model: TaggingModel, precision: str) -> str:
    """Return :func:`metadata` of a model as JSON."""
    entries = metadata(model.spec, model.provenance, precision)
    return json.dumps(entries, indent=2, ensure_ascii=False) + "\n"


def tag_lines(model: TaggingModel) -> str:
    """Return the tags as text, one a line, in the order of the outputs."""
    return "".join(f"{tag}\n" for tag in model.tags)
