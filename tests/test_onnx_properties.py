"""Metadata properties are set in the bytes of an ONNX file, and nothing else is."""

import onnx
import pytest
from conftest import bundled_graph
from onnx import TensorProto, helper

from musicnn_zoo.runtimes.formats import with_properties


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
