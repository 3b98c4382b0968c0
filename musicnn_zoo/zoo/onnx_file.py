"""Read and change an ONNX file without the package onnx: its properties and its outputs.

A serialized ``onnx.ModelProto`` is a row of fields, each a number, a length and a content, which
may be a message of fields again (https://protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

_GRAPH, _METADATA_PROPS = 7, 14
"""Numbers of the fields in onnx.proto's ``ModelProto``; properties have a key 1 and a value 2."""
_KEY, _VALUE = 1, 2
_NODES, _INITIALIZERS, _OUTPUTS = 1, 5, 12
"""In ``GraphProto``."""
_NODE_INPUTS, _NODE_OUTPUTS, _OPERATION, _ATTRIBUTES = 1, 2, 4, 5
"""In ``NodeProto``."""
_INNER_GRAPH, _INNER_GRAPHS = 6, 11
"""In ``AttributeProto``."""
_INITIALIZER_NAME, _OUTPUT_NAME = 8, 1
_OUTPUT_TYPE, _OF_VECTORS = 2, b"\x0a\x08\x08\x01\x12\x04\x0a\x00\x0a\x00"
"""A ``TypeProto`` that is a tensor of 32-bit floats with two dimensions of any size."""
_VARINT, _LENGTH = 0, 2
_FIXED_SIZES = {1: 8, 5: 4}


def with_properties(model: bytes, properties: Mapping[str, str]) -> bytes:
    """Set metadata properties of a serialized ``onnx.ModelProto``; all else stays.

    A ValueError is raised if it is no protobuf message.
    """
    kept = [
        model[start:end]
        for number, start, content, end in _fields(model)
        if number != _METADATA_PROPS or _name_in(model[content:end], _KEY) not in properties
    ]
    added = [
        _field(_METADATA_PROPS, _field(_KEY, key.encode()) + _field(_VALUE, value.encode()))
        for key, value in properties.items()
    ]
    return b"".join([*kept, *added])


def properties_of(model: bytes) -> dict[str, str]:
    """Metadata properties of a serialized ``onnx.ModelProto``."""
    entries = _contents(model, _METADATA_PROPS)
    return {_name_in(entry, _KEY): _name_in(entry, _VALUE) for entry in entries}


def outputs_of(model: bytes) -> tuple[str, ...]:
    """Names of the outputs of a serialized ``onnx.ModelProto``."""
    return tuple(name for graph in _contents(model, _GRAPH) for name in _outputs_in(graph))


def with_outputs(model: bytes, names: Collection[str]) -> bytes:
    """Leave a serialized ``onnx.ModelProto`` some of its outputs, and what they are made of.

    ONNX Runtime computes all that is in a graph, whichever outputs are asked for.
    """
    return b"".join(
        _field(_GRAPH, _reduced(model[content:end], names))
        if number == _GRAPH
        else model[start:end]
        for number, start, content, end in _fields(model)
    )


def tensors_of(model: bytes) -> list[str]:
    """Names of all that the nodes of a serialized ``onnx.ModelProto`` make."""
    return [
        name
        for graph in _contents(model, _GRAPH)
        for node in _contents(graph, _NODES)
        for name in _names(node, _NODE_OUTPUTS)
    ]


def with_tensor(model: bytes, tensor: str, output: str) -> bytes:
    """Give a serialized ``onnx.ModelProto`` one of its tensors ``(batch, floats)`` as an output."""
    node = (
        _field(_NODE_INPUTS, tensor.encode())
        + _field(_NODE_OUTPUTS, output.encode())
        + _field(_OPERATION, b"Identity")
    )
    named = _field(_OUTPUT_NAME, output.encode()) + _field(_OUTPUT_TYPE, _OF_VECTORS)
    added = _field(_NODES, node) + _field(_OUTPUTS, named)
    return b"".join(
        _field(_GRAPH, model[content:end] + added) if number == _GRAPH else model[start:end]
        for number, start, content, end in _fields(model)
    )


def _reduced(graph: bytes, names: Collection[str]) -> bytes:
    needed = set(names)
    fields = list(_fields(graph))
    nodes = set()
    for number, start, content, end in reversed(fields):  # makers stand before users
        if number == _NODES:
            node = graph[content:end]
            if needed.intersection(_names(node, _NODE_OUTPUTS)):
                nodes.add(start)
                needed.update(_used_by(node))

    def stays(number: int, start: int, content: bytes) -> bool:
        if number == _NODES:
            return start in nodes
        if number == _INITIALIZERS:
            return _name_in(content, _INITIALIZER_NAME) in needed
        return number != _OUTPUTS or _name_in(content, _OUTPUT_NAME) in names

    return b"".join(
        graph[start:end]
        for number, start, content, end in fields
        if stays(number, start, graph[content:end])
    )


def _used_by(node: bytes) -> set[str]:
    """Names that a node takes, or a graph inside it."""
    used = set(_names(node, _NODE_INPUTS))
    for attribute in _contents(node, _ATTRIBUTES):
        for number in (_INNER_GRAPH, _INNER_GRAPHS):
            for graph in _contents(attribute, number):
                for inner in _contents(graph, _NODES):
                    used |= _used_by(inner)
                used.update(_outputs_in(graph))
    return used


def _outputs_in(graph: bytes) -> list[str]:
    return [_name_in(output, _OUTPUT_NAME) for output in _contents(graph, _OUTPUTS)]


def _contents(message: bytes, wanted: int) -> Iterator[bytes]:
    for number, _, content, end in _fields(message):
        if number == wanted:
            yield message[content:end]


def _names(message: bytes, wanted: int) -> list[str]:
    return [content.decode() for content in _contents(message, wanted)]


def _name_in(message: bytes, wanted: int) -> str:
    """Return the last string of a number, which is the one that counts; empty if there is none."""
    return ["", *_names(message, wanted)][-1]


def _fields(message: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Give the number of each field, where it and its content begin, and where it ends."""
    end = 0
    while end < len(message):
        start = end
        tag, content = _read_varint(message, start)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, end = _read_varint(message, content)
        elif kind in _FIXED_SIZES:
            end = content + _FIXED_SIZES[kind]
        elif kind == _LENGTH:
            length, content = _read_varint(message, content)
            end = content + length
        else:
            raise ValueError(f"no protobuf message: a field of type {kind} at {start}")
        if end > len(message):
            raise ValueError(f"no protobuf message: the field at {start} is cut off")
        yield number, start, content, end


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last have the highest bit set."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def _read_varint(message: bytes, start: int) -> tuple[int, int]:
    value = 0
    for shift, position in enumerate(range(start, min(start + 10, len(message)))):
        value |= (message[position] & 0x7F) << 7 * shift
        if not message[position] & 0x80:
            return value, position + 1
    raise ValueError(f"no protobuf message: the number at {start} does not end")
