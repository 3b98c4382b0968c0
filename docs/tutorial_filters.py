"""Write musicnn_zoo/web/page/filters.json: filters that the tutorial's page shows.

``python docs/tutorial_filters.py`` takes, of each first layer, those whose answers to the example
clips change most. It needs Keras, which the site itself does not.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from musicnn_zoo import features, learned_filters
from musicnn_zoo.web.lessons import MODEL, SMALL_MODEL

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "musicnn_zoo" / "web" / "page" / "filters.json"
CLIPS = sorted((ROOT / "examples" / "audio").glob("*.ogg"))
SHOWN = 12
GROUPS = {"timbral": MODEL, "temporal": MODEL, "pool1": SMALL_MODEL}
"""Layers whose channels are the answers of filters, and whose model they are of."""


def filters_of(layer: str, model: str) -> list[dict[str, Any]]:
    """Return filters whose answers are channels of a layer: as many of each shape."""
    found = [features(clip, model=model, layers=[layer])[layer] for clip in CLIPS]
    by_frame = [values.mean(axis=2) if values.ndim == 4 else values for values in found]
    change = np.concatenate([each.reshape(-1, each.shape[-1]) for each in by_frame]).std(axis=0)
    groups = [
        group
        for group in learned_filters(model, filters=len(change)).groups
        if layer == "pool1" or layer in group.layer
    ]
    shown, first = [], 0
    for group in groups:
        of_group = change[first : first + group.n_filters]
        for number in np.argsort(-of_group, kind="stable")[: SHOWN // len(groups)].tolist():
            values = group.values[group.indices.tolist().index(number)]
            shown.append(
                {
                    "channel": first + number,
                    "bands": 1 if values.ndim == 1 else values.shape[1],
                    "weights": [round(float(value), 4) for value in values.ravel()],
                }
            )
        first += group.n_filters
    return shown


def main() -> None:
    """Write the file."""
    found = {layer: filters_of(layer, model) for layer, model in GROUPS.items()}
    TARGET.write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
