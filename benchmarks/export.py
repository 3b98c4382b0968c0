"""Write this project's model as the peers need it.

    python -m benchmarks.export FOLDER [--model MTT_musicnn]

writes ``essentia.pb``, the frozen graph after the log-mel, ``whole.onnx``, the whole model as Keras
converts it, with the log-mel as a convolution, and ``torch.npz``, the weights and the mel filters.
The folder is made if it is not there.
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

from musicnn_zoo import load_model
from musicnn_zoo.networks.logmel import LogMel
from musicnn_zoo.runtimes.variants import remake


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


def write_whole_graph(model: Any, path: Path) -> None:
    """Write the model as an ONNX graph, nothing left out."""

    def change(layer: Any, config: dict[str, Any]) -> None:
        if isinstance(layer, LogMel):
            config["implementation"] = "convolution"

    whole = remake(model, change)
    whole(np.zeros((1, model.zoo_config.grid.patch_samples), np.float32))
    whole.export(path, format="onnx", verbose=False)


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
@click.option("--model", "name", default="MTT_musicnn", show_default=True)
def main(folder: Path, name: str) -> None:
    """Write the files."""
    folder.mkdir(parents=True, exist_ok=True)
    model = load_model(name)
    write_frozen_graph(model, folder / "essentia.pb")
    write_whole_graph(model, folder / "whole.onnx")
    write_weights(model, folder / "torch.npz")


if __name__ == "__main__":
    main()
