"""The formats to which a model is exported: Keras, SavedModel, ONNX and LiteRT.

An ONNX file is a protobuf message: a sequence of fields in any order. A metadata property is one of
its fields, so that properties can be removed and appended without understanding the graph.

In a LiteRT file of float16 or int8, the log-mel stays in float32. It goes down to 1e-10, which
float16 cannot hold, and 8 bits for a waveform or a power spectrum leave nothing of its quiet parts.
So spectrogram and network are converted separately, and joined.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ExportError
from musicnn_zoo.machine import __version__
from musicnn_zoo.networks.config import ModelSpec, Provenance
from musicnn_zoo.runtimes.onnx_engine import convert, open_session, require_tensorflow
from musicnn_zoo.zoo.onnx_file import with_properties

if TYPE_CHECKING:
    import keras

    from musicnn_zoo.networks.build import TaggingModel


ExportFormat = Literal["keras", "savedmodel", "onnx", "litert"]
Scores = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def metadata(spec: ModelSpec, provenance: Provenance, precision: str) -> dict[str, Any]:
    """Return the metadata of an exported model, ready for JSON.

    The tags are in the order of the outputs, ``patch_samples`` is the length that the model was
    trained on, and ``thresholds`` are there if they were calibrated. ``musicnn_zoo`` is the version
    that exported the model.
    """
    config = spec.config
    entries = {
        "model": spec.name,
        "tags": spec.tags,
        "sample_rate": config.input.sample_rate,
        "patch_samples": config.grid.patch_samples,
        "precision": precision,
        "config": config.to_dict(),
        "provenance": provenance.to_dict(),
        "musicnn_zoo": __version__,
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


def write_keras(model: TaggingModel, path: Path, precision: str) -> None:
    """Write a model; its tags and its configuration are in the file's own ``config.json``."""
    del precision
    model.save(path)


def read_keras(path: Path) -> Scores:
    """Load a written model, and return what computes its scores of waveforms."""
    import keras

    return scores_of(keras.saving.load_model(path))


def scores_of(model: keras.Model) -> Scores:
    """Return what computes the scores of waveforms by a Keras model."""
    import keras

    def scores(waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(keras.ops.convert_to_numpy(model(waveforms, training=False)))

    return scores


SIGNATURE = "serving_default"


def write_saved_model(model: TaggingModel, path: Path, precision: str) -> None:
    """Write a model, with ``metadata.json`` and ``tags.txt`` in the folder ``assets.extra``.

    The signature ``serving_default`` takes ``waveform`` (batch, samples) and returns ``tags``
    (batch, tags). Neither musicnn_zoo nor Keras is needed to run it, but TensorFlow to write it.
    """
    require_tensorflow(model, "a SavedModel")
    save_function(model, path, model.input_shape)
    extra = path / "assets.extra"
    extra.mkdir()
    (extra / "metadata.json").write_text(metadata_json(model, precision), encoding="utf-8")
    (extra / "tags.txt").write_text(tag_lines(model), encoding="utf-8")


def read_saved_model(path: Path) -> Scores:
    """Load a written model; see :func:`read_keras`."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))

    def scores(waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        outputs = loaded.signatures[SIGNATURE](waveform=tf.constant(waveforms))
        return np.asarray(outputs["tags"])

    return scores


def save_function(model: keras.Model, path: Path, shape: tuple[int | None, ...]) -> None:
    """Write what a Keras model computes of one input of a shape, from ``waveform`` to ``tags``."""
    import tensorflow as tf

    def serve(waveform: Any) -> dict[str, Any]:
        return {"tags": model(waveform, training=False)}

    # Keras's own export writes every weight twice.
    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    module.serve = tf.function(serve, [tf.TensorSpec(shape, tf.float32, "waveform")])
    tf.saved_model.save(module, str(path), signatures={SIGNATURE: module.serve})


def write_onnx(model: TaggingModel, path: Path, precision: str) -> None:
    """Write the graph of a model, with :func:`metadata` as properties, as JSON if no strings."""
    convert(model, path)
    _with_metadata(path, path, metadata(model.spec, model.provenance, precision))


def copy_onnx(graph: Path, spec: ModelSpec, provenance: Provenance, path: Path) -> None:
    """Write a graph that is there already, with the same metadata; without Keras."""
    _with_metadata(graph, path, metadata(spec, provenance, "float32"))


def read_onnx(path: Path) -> Scores:
    """Open a graph in ONNX Runtime; see :func:`read_keras`."""
    session = open_session(path)

    def scores(waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(session.run(["output"], {"waveform": waveforms})[0])

    return scores


def _with_metadata(graph: Path, path: Path, entries: dict[str, Any]) -> None:
    properties = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in entries.items()
    }
    path.write_bytes(with_properties(graph.read_bytes(), properties))


def write_litert(model: TaggingModel, path: Path, precision: str) -> None:
    """Write a model of built-in operations only, so that every LiteRT interpreter runs it.

    The signature ``serving_default`` takes ``waveform`` (1, samples), one patch, and returns
    ``tags`` (1, tags). A zip archive at the end of the file holds the tags (``labels.txt``) and
    ``metadata.json``, as in other such files: ``unzip model.tflite``. For the precisions, see
    :func:`musicnn_zoo.runtimes.export.export_model`. An ExportError is raised if the interpreter is
    missing, or Keras's backend is not TensorFlow.
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


def read_litert(path: Path) -> Scores:
    """Open a file in the interpreter; see :func:`read_keras`."""
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
    shape = (1, model.zoo_config.grid.patch_samples)
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

    Inputs and weights would then range over several powers of ten, for which 8 bits are too few:
    musicnn's scores would be off by 0.3 instead of 0.04.
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


class Exporter(NamedTuple):
    """How a format is written and read.

    ``write`` takes a model, a path that does not exist, and a precision. ``read`` takes a path, and
    returns what computes the scores (batch, tags) of waveforms (batch, samples).
    """

    write: Callable[[TaggingModel, Path, str], None]
    read: Callable[[Path], Scores]


EXPORTERS: dict[ExportFormat, Exporter] = {
    "keras": Exporter(write_keras, read_keras),
    "savedmodel": Exporter(write_saved_model, read_saved_model),
    "onnx": Exporter(write_onnx, read_onnx),
    "litert": Exporter(write_litert, read_litert),
}
