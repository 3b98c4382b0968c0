"""Make the ONNX graphs of the bundled models from their Keras weights.

    python weights/make_graphs.py

Needs the extra ``onnx``. Prints the SHA-256 of each file, for the table of presets, and how far
its scores are from those of the Keras model.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path


def main() -> None:
    from musicnn_zoo import load_model
    from musicnn_zoo.runtimes.onnx_engine import convert
    from musicnn_zoo.zoo.catalogue import PRESETS

    for preset in PRESETS.values():
        if preset.graph is None:
            continue
        path = Path(__file__).parent / preset.graph.name
        difference = convert(load_model(preset.name), path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        sys.stdout.write(f"{digest}  {path.name}  {difference:.1e}\n")


if __name__ == "__main__":
    main()
