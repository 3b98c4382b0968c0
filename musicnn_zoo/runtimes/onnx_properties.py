"""Metadata properties of an ONNX file, without the package ``onnx``.

An ONNX file is a protobuf message, a row of fields in any order. A property is one of its fields,
so that properties can be cut out and appended without understanding the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_METADATA_PROPS = 14
"""Number of the field in onnx.proto's ``ModelProto``; its entries have a key 1 and a value 2."""
_KEY, _VALUE = 1, 2
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


def with_properties(graph: bytes, properties: Mapping[str, str]) -> bytes:
    """Set metadata properties of a serialized graph; others stay, and so does all else.

    Parameters
    ----------
    graph : bytes
        A serialized ``onnx.ModelProto``.
    properties : mapping of str to str

    Raises
    ------
    ValueError
        If it is no protobuf message.
    """
    kept = [
        graph[start:end]
        for number, start, content, end in _fields(graph)
        if number != _METADATA_PROPS or _key_of(graph[content:end]) not in properties
    ]
    added = [
        _field(_METADATA_PROPS, _field(_KEY, key.encode()) + _field(_VALUE, value.encode()))
        for key, value in properties.items()
    ]
    return b"".join([*kept, *added])


def _key_of(entry: bytes) -> str | None:
    keys = [entry[content:end] for number, _, content, end in _fields(entry) if number == _KEY]
    return keys[-1].decode() if keys else None


def _fields(message: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Give the number of each field, where it and its content begin, and where it ends."""
    end = 0
    while end < len(message):
        start = end
        tag, content = _read_varint(message, start)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, end = _read_varint(message, content)
        elif kind == _EIGHT_BYTES:
            end = content + 8
        elif kind == _FOUR_BYTES:
            end = content + 4
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
