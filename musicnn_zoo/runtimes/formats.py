"""A LiteRT (TensorFlow Lite) file: for phones, single-board computers and the browser.

Of a model in float16 or int8, the log-mel stays in float32. It needs the range: it goes down to
1e-10, which float16 does not hold, and 8 bits for a waveform or for a power spectrum leave
nothing of its quiet parts. So spectrogram and network are converted each by itself, and joined.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ExportError
from musicnn_zoo.networks.patches import patch_grid
from musicnn_zoo.runtimes.metadata import metadata_json, tag_lines
from musicnn_zoo.runtimes.saved_model import SIGNATURE, require_tensorflow, save_function

if TYPE_CHECKING:
    import keras

    from musicnn_zoo.networks.build import TaggingModel


def write(model: TaggingModel, path: Path, precision: str) -> None:
    """Write a model of built-in operations only, so that every LiteRT interpreter runs it.

    The signature ``serving_default`` takes ``waveform`` (1, samples), one patch, and returns
    ``tags`` (1, tags). The tags lie as ``labels.txt`` and all else as ``metadata.json`` in a zip
    archive at the end of the file, as with other such files: ``unzip model.tflite``.

    Parameters
    ----------
    model : TaggingModel
    path : Path
    precision : {"float32", "float16", "int8"}
        Of the network's weights. With float16 all is computed in float32; with int8 ("dynamic
        range") the large convolutions and matrix products are computed in 8 bits, their inputs
        scaled as they come.

    Raises
    ------
    ExportError
        If the interpreter is missing, or Keras's backend is not TensorFlow.
    """
    try:
        import ai_edge_litert.interpreter  # noqa: F401
    except ImportError as error:
        raise ExportError(
            f"making a LiteRT file of {model.name} needs the interpreter, to check it: "
            "pip install 'musicnn-zoo[litert]'"
        ) from error
    require_tensorflow(model, "a LiteRT file")
    path.write_bytes(_convert(model, precision))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo("labels.txt"), tag_lines(model))
        archive.writestr(zipfile.ZipInfo("metadata.json"), metadata_json(model, precision))


def read(path: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Open a file in the interpreter, and return what computes its scores of waveforms."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=path.read_bytes())
    run = interpreter.get_signature_runner(SIGNATURE)

    def scores(waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([run(waveform=one[np.newaxis])["tags"] for one in waveforms])

    return scores


def _convert(model: TaggingModel, precision: str) -> bytes:
    import keras

    from musicnn_zoo.networks.logmel import LogMel
    from musicnn_zoo.runtimes.variants import for_runtime

    network = for_runtime(model)
    shape = (1, patch_grid(model.zoo_config).patch_samples)
    logmel = next((layer for layer in network.layers if isinstance(layer, LogMel)), None)
    if logmel is None or precision == "float32":
        return _convert_part(network, shape, precision)
    spectrogram = keras.Model(network.input, logmel.output)
    network = keras.Model(logmel.output, network.output)
    return _join(
        _convert_part(spectrogram, shape, "float32"),
        _convert_part(network, logmel.compute_output_shape(shape), precision),
    )


def _convert_part(part: keras.Model, shape: tuple[int | None, ...], precision: str) -> bytes:
    import tensorflow as tf

    if precision == "int8":
        part = _with_inputs_of_dense_layers_kept(part)
    with tempfile.TemporaryDirectory() as folder:
        save_function(part, Path(folder), shape)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        return bytes(converter.convert())


def _with_inputs_of_dense_layers_kept(model: keras.Model) -> keras.Model:
    """Keep the converter from multiplying a BatchNorm into the weights of a dense layer after it.

    Inputs and weights would then range over several powers of ten, for which 8 bits do not do:
    musicnn's scores would be off by 0.3 in place of 0.04.
    """
    import keras

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.layers.Dense):
            args = (keras.ops.maximum(args[0], np.finfo(np.float32).min), *args[1:])
        return layer(*args, **kwargs)

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def _join(first: bytes, second: bytes) -> bytes:
    """Put the output of one file, which has no control flow, into the input of another."""
    from tensorflow.lite.tools import flatbuffer_utils

    before, joined = (
        flatbuffer_utils.convert_bytearray_to_object(bytearray(part)) for part in (first, second)
    )
    head, graph = before.subgraphs[0], joined.subgraphs[0]
    shift = len(graph.tensors)
    seam = {head.outputs[0]: graph.inputs[0], -1: -1}

    def moved(indices: Any) -> list[int]:
        return [seam.get(index, index + shift) for index in indices]

    for tensor in head.tensors:
        tensor.buffer += len(joined.buffers)
    for operator in head.operators:
        operator.opcodeIndex += len(joined.operatorCodes)
        operator.inputs, operator.outputs = moved(operator.inputs), moved(operator.outputs)
    joined.buffers += before.buffers
    joined.operatorCodes += before.operatorCodes
    graph.tensors += head.tensors
    graph.operators = head.operators + graph.operators
    graph.inputs = moved(head.inputs)
    (signature,), (joined_signature,) = before.signatureDefs, joined.signatureDefs
    for entry in signature.inputs:
        entry.tensorIndex += shift
    joined_signature.inputs = signature.inputs
    return bytes(flatbuffer_utils.convert_object_to_bytearray(joined))
