"""Write musicnn_zoo/networks/layers.json: the layers of the architectures that have weights.

python tests/make_layer_names.py
"""

import json
from pathlib import Path

import musicnn_zoo
from musicnn_zoo.zoo.catalogue import PRESETS

PLACE = Path(musicnn_zoo.__file__).parent / "networks" / "layers.json"


def layers_of_architectures() -> dict[str, list[str]]:
    names = dict.fromkeys(preset.architecture.name for preset in PRESETS.values())
    return {
        name: [layer.name for layer in musicnn_zoo.build_model(name, tags=2).layers]
        for name in names
    }


if __name__ == "__main__":
    PLACE.write_text(json.dumps(layers_of_architectures(), indent=0) + "\n", encoding="utf-8")
