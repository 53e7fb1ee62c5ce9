"""ONNX models written byte by byte (ONNX is protobuf), so that no test needs the `onnx` package."""

from __future__ import annotations

FLOAT, INT64 = 1, 7
"""Types of a tensor's elements."""


def model(nodes: list[bytes], *, constants: list[bytes], inputs: list[bytes], outputs: list[bytes]) -> bytes:
    """A whole file, of operator set 17."""
    parts = [(1, nodes), (5, constants), (11, inputs), (12, outputs)]
    graph = text(2, b"tiny") + b"".join(text(field, part) for field, group in parts for part in group)
    return number(1, 8) + text(7, graph) + text(8, number(2, 17))


def node(kind: str, inputs: list[str], output: str, *attributes: bytes) -> bytes:
    parts = b"".join(text(1, name.encode()) for name in inputs) + text(2, output.encode()) + text(4, kind.encode())
    return parts + b"".join(text(5, attribute) for attribute in attributes)


def whole(name: str, value: int) -> bytes:
    """An attribute: one whole number."""
    return text(1, name.encode()) + number(3, value) + number(20, 2)


def wholes(name: str, *values: int) -> bytes:
    """An attribute: several."""
    return text(1, name.encode()) + b"".join(number(8, value) for value in values) + number(20, 7)


def constant(name: str, kind: int, raw: bytes) -> bytes:
    return number(2, kind) + text(8, name.encode()) + text(9, raw)


def value(name: str, kind: int, *shape: int | str) -> bytes:
    """An input or output; a size that is a name may be any."""
    sizes = [number(1, size) if isinstance(size, int) else text(2, size.encode()) for size in shape]
    tensor = number(1, kind) + text(2, b"".join(text(1, size) for size in sizes))
    return text(1, name.encode()) + text(2, text(1, tensor))


def number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def text(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
