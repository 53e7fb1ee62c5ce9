"""A Kokoro of 600 bytes: the real model's inputs and outputs, and a tone of 25 ms for each phoneme.

Written byte by byte (ONNX is protobuf), so that no test needs the `onnx` package.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

FLOAT, INT64 = 1, 7
SAMPLES_PER_PHONEME = 600


def save(
    folder: Path, *, durations: bool = True, voices: tuple[str, ...] = ("af_heart", "bm_lewis")
) -> tuple[Path, Path]:
    """The two files that a Kokoro server wants. `durations`: as newer exports, whose words have times."""
    folder.mkdir(parents=True, exist_ok=True)
    model, styles = folder / "kokoro-v1.0.onnx", folder / "voices-v1.0.bin"
    model.write_bytes(_model(durations=durations))
    with styles.open("wb") as file:  # an npz that is called .bin
        np.savez(file, **{voice: np.full((510, 1, 256), index, np.float32) for index, voice in enumerate(voices)})  # type: ignore[arg-type]
    return model, styles


def _model(*, durations: bool) -> bytes:
    nodes = [
        _node("Size", ["tokens"], "count"),
        _node("Mul", ["count", "frame"], "samples"),
        _node("Cast", ["samples"], "length", _text(1, b"to") + _number(3, FLOAT) + _number(20, 2)),
        _node("Range", ["zero", "length", "one"], "place"),
        _node("Mul", ["place", "step"], "phase"),
        _node("Sin", ["phase"], "audio"),
        _node("Shape", ["tokens"], "shape"),
        _node("Expand", ["once", "shape"], "duration"),
    ]
    constants = [
        _constant("frame", INT64, struct.pack("<q", SAMPLES_PER_PHONEME)), _constant("once", INT64, struct.pack("<q", 1)),
        _constant("zero", FLOAT, struct.pack("<f", 0)), _constant("one", FLOAT, struct.pack("<f", 1)),
        _constant("step", FLOAT, struct.pack("<f", 0.1)),
    ]  # fmt: skip
    inputs = [_value("tokens", INT64, 1, "n"), _value("style", FLOAT, 1, 256), _value("speed", FLOAT, 1)]
    outputs = [_value("audio", FLOAT, "m"), *([_value("duration", INT64, 1, "n")] if durations else [])]
    parts = [(1, nodes), (5, constants), (11, inputs), (12, outputs)]
    graph = _text(2, b"tiny") + b"".join(_text(field, part) for field, group in parts for part in group)
    return _number(1, 8) + _text(7, graph) + _text(8, _number(2, 17))


def _node(kind: str, inputs: list[str], output: str, attribute: bytes = b"") -> bytes:
    node = b"".join(_text(1, name.encode()) for name in inputs) + _text(2, output.encode()) + _text(4, kind.encode())
    return node + (_text(5, attribute) if attribute else b"")


def _constant(name: str, kind: int, raw: bytes) -> bytes:
    return _number(2, kind) + _text(8, name.encode()) + _text(9, raw)


def _value(name: str, kind: int, *shape: int | str) -> bytes:
    sizes = [_number(1, size) if isinstance(size, int) else _text(2, size.encode()) for size in shape]
    tensor = _number(1, kind) + _text(2, b"".join(_text(1, size) for size in sizes))
    return _text(1, name.encode()) + _text(2, _text(1, tensor))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
