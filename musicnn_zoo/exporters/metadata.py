"""What an exported file says of itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import musicnn_zoo
from musicnn_zoo.patches import patch_grid

if TYPE_CHECKING:
    from musicnn_zoo.models import TaggingModel


def metadata_json(model: TaggingModel, precision: str) -> str:
    """Return what there is to know of an exported model, as JSON.

    ``model``, its name; ``tags`` in the order of the outputs; ``sample_rate`` in Hz;
    ``patch_samples``, the length that the model was trained on; ``precision``; ``config``, see
    :class:`musicnn_zoo.config.ModelConfig`; ``provenance``, see
    :class:`musicnn_zoo.provenance.Provenance`; ``thresholds``, if they were calibrated, as in
    :class:`musicnn_zoo.tag_thresholds.TagThresholds`; ``musicnn_zoo``, the version that exported
    it.
    """
    config = model.zoo_config
    entries = {
        "model": model.name,
        "tags": model.tags,
        "sample_rate": config.input.sample_rate,
        "patch_samples": patch_grid(config).patch_samples,
        "precision": precision,
        "config": config.to_dict(),
        "provenance": model.provenance.to_dict(),
        "musicnn_zoo": musicnn_zoo.__version__,
    }
    if model.thresholds is not None:
        entries["thresholds"] = model.thresholds.to_dict(model.tags)
    return json.dumps(entries, indent=2, ensure_ascii=False) + "\n"


def tag_lines(model: TaggingModel) -> str:
    """Return the tags as text, one a line, in the order of the outputs."""
    return "".join(f"{tag}\n" for tag in model.tags)
