"""Write this project's model as the peers need it.

    python -m benchmarks.export FOLDER

writes ``essentia.pb``, the frozen graph after the log-mel, and ``torch.npz``, the weights and the
mel filters. The folder is made if it is not there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import keras
import numpy as np
import tensorflow as tf
from librosa.filters import mel
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from benchmarks.worker import MODEL
from musicnn_zoo import load_model


def write_frozen_graph(model: Any, path: Path) -> None:
    """Write what follows the log-mel, with the names that Essentia looks for."""
    part = keras.Model(model.get_layer("logmel").output, model.output)
    function = tf.function(lambda x: part(x[..., tf.newaxis], training=False))
    patches = tf.TensorSpec((None, 187, 96), tf.float32)
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(patches))
    renamed = {
        frozen.inputs[0].op.name: "model/Placeholder",
        frozen.outputs[0].op.name: "model/Sigmoid",
    }
    graph = frozen.graph.as_graph_def()
    for node in graph.node:
        node.name = renamed.get(node.name, node.name)
        node.input[:] = [renamed.get(name, name) for name in node.input]
    path.write_bytes(graph.SerializeToString())


def write_weights(model: Any, path: Path) -> None:
    """Write all variables by layer and name, and the mel filters."""
    weights = {
        f"{layer.name}/{variable.name}": np.asarray(variable)
        for layer in model.layers
        for variable in layer.variables
        if "seed" not in variable.name
    }
    filters = mel(sr=16000, n_fft=512, n_mels=96, fmin=0, fmax=8000)
    np.savez(path, allow_pickle=False, mel=filters, **weights)


@click.command(help="Write this project's model into FOLDER as the peers need it.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Write both files."""
    folder.mkdir(parents=True, exist_ok=True)
    model = load_model(MODEL)
    write_frozen_graph(model, folder / "essentia.pb")
    write_weights(model, folder / "torch.npz")


if __name__ == "__main__":
    main()
