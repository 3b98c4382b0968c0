"""Properties and outputs are changed in the bytes of an ONNX file, and nothing else is."""

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import bundled_graph
from onnx import TensorProto, helper, numpy_helper

from musicnn_zoo.zoo.onnx_file import (
    outputs_of,
    tensors_of,
    with_outputs,
    with_properties,
    with_tensor,
)


@pytest.fixture
def graph():
    """A message with fields of several types, strings that are no ASCII, and two properties."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"]) for name in "xy"]
    node = helper.make_node("Identity", ["x"], ["y"])
    model = helper.make_model(
        helper.make_graph([node], "größe", values[:1], values[1:]),
        opset_imports=[helper.make_opsetid("", 13)],
        producer_name="tests",
        model_version=2**40,
    )
    helper.set_model_props(model, {"kept": "as it is", "replaced": "old"})
    return model


def properties_of(content):
    return {each.key: each.value for each in onnx.load_from_string(content).metadata_props}


@pytest.mark.parametrize("value", ["", "new", "Ü" * 100, "x" * 20_000, '{"a": [1]}\n'])
def test_properties_are_replaced_and_added_and_all_else_stays(graph, value):
    wanted = {"replaced": value, "added, ü": value}
    content = with_properties(graph.SerializeToString(), wanted)
    assert properties_of(content) == {"kept": "as it is", **wanted}
    changed = onnx.load_from_string(content)
    onnx.checker.check_model(changed, full_check=True)
    for model in (changed, graph):
        del model.metadata_props[:]
    assert changed == graph
    assert with_properties(content, wanted) == content


def test_the_bundled_graphs_take_them_as_the_package_onnx_has_it():
    content = bundled_graph("MTT_vgg").read_bytes()
    model = onnx.load_from_string(content)
    model.metadata_props.add(key="license", value="ISC")
    assert onnx.load_from_string(with_properties(content, {"license": "ISC"})) == model


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x0a\x05abc", "field at 0 is cut off"),
        (b"\x08\x01\x09abc", "field at 2 is cut off"),
        (b"\x08", "number at 1 does not end"),
        (b"\xff" * 11, "number at 0 does not end"),
        (b"\x0b", "field of type 3 at 0"),
    ],
)
def test_what_is_no_such_file_is_refused(content, message):
    with pytest.raises(ValueError, match=f"no protobuf message: .*{message}"):
        with_properties(content, {"a": "b"})


@pytest.fixture
def forked():
    """From x to y = x + 1, z = 2 y, and w, which is z or -y as x says, by graphs inside it."""
    number = {
        name: numpy_helper.from_array(np.array([value], np.float32), name)
        for name, value in {"one": 1, "two": 2, "idle": 3}.items()
    }
    x, y, z, w, inner = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xyzwv"
    )
    branches = {
        "then_branch": helper.make_node("Identity", ["z"], ["v"]),
        "else_branch": helper.make_node("Neg", ["y"], ["v"]),
    }
    graphs = {name: helper.make_graph([node], name, [], [inner]) for name, node in branches.items()}
    nodes = [
        helper.make_node("Add", ["x", "one"], ["y"]),
        helper.make_node("Mul", ["y", "two"], ["z"]),
        helper.make_node("Cast", ["x"], ["which"], to=TensorProto.BOOL),
        helper.make_node("If", ["which"], ["w"], **graphs),
    ]
    graph = helper.make_graph(nodes, "forked", [x], [y, z, w], list(number.values()))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize(
    ("names", "operations", "numbers"),
    [
        (["y"], ["Add"], ["one"]),
        (["z"], ["Add", "Mul"], ["one", "two"]),
        (["w"], ["Add", "Mul", "Cast", "If"], ["one", "two"]),
        (["w", "y"], ["Add", "Mul", "Cast", "If"], ["one", "two"]),
    ],
)
def test_only_what_outputs_are_made_of_stays(forked, names, operations, numbers):
    content = with_outputs(forked.SerializeToString(), names)
    assert sorted(outputs_of(content)) == sorted(names)
    reduced = onnx.load_from_string(content)
    onnx.checker.check_model(reduced, full_check=True)
    assert sorted(output.name for output in reduced.graph.output) == sorted(names)
    assert [node.op_type for node in reduced.graph.node] == operations
    assert [each.name for each in reduced.graph.initializer] == numbers
    for x in (0, 5):
        expected, received = (
            onnxruntime.InferenceSession(one.SerializeToString()).run(
                names, {"x": np.array([x], np.float32)}
            )
            for one in (forked, reduced)
        )
        np.testing.assert_array_equal(received, expected)


def test_the_bundled_graphs_give_each_output_alone_as_with_the_others():
    content = bundled_graph("MTT_vgg").read_bytes()
    names = outputs_of(content)
    x = np.random.default_rng(0).normal(0, 0.1, (1, 48128)).astype(np.float32)
    together = onnxruntime.InferenceSession(content).run(names, {"waveform": x})
    for name, expected in zip(names, together, strict=True):
        alone = onnxruntime.InferenceSession(with_outputs(content, [name]))
        (received,) = alone.run(None, {"waveform": x})
        np.testing.assert_allclose(received, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_a_tensor_inside_becomes_an_output():
    content = bundled_graph("MSD_vgg").read_bytes()
    model = onnx.load_from_string(content)
    assert tensors_of(content) == [name for node in model.graph.node for name in node.output]
    (logits,) = [node.input[0] for node in model.graph.node if node.op_type == "Sigmoid"]
    changed = with_tensor(content, logits, "inside")
    onnx.checker.check_model(onnx.load_from_string(changed))
    assert outputs_of(changed) == (*outputs_of(content), "inside")
    waveform = np.random.default_rng(0).normal(0, 0.1, (2, 48_128)).astype(np.float32)
    session = onnxruntime.InferenceSession(with_outputs(changed, ("inside", "output")))
    inside, scores = session.run(["inside", "output"], {"waveform": waveform})
    np.testing.assert_allclose(1 / (1 + np.exp(-inside)), scores, atol=1e-6)
