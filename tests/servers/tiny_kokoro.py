"""A Kokoro of 600 bytes: the real model's inputs and outputs, and a tone of 25 ms for each phoneme."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from tests.onnx_file import FLOAT, INT64, constant, model, node, value, whole

SAMPLES_PER_PHONEME = 600


def save(
    folder: Path, *, durations: bool = True, voices: tuple[str, ...] = ("af_heart", "bm_lewis")
) -> tuple[Path, Path]:
    """The two files that a Kokoro server wants. `durations`: as newer exports, whose words have times."""
    folder.mkdir(parents=True, exist_ok=True)
    weights, styles = folder / "kokoro-v1.0.onnx", folder / "voices-v1.0.bin"
    weights.write_bytes(_model(durations=durations))
    with styles.open("wb") as file:  # an npz that is called .bin
        np.savez(file, **{voice: np.full((510, 1, 256), index, np.float32) for index, voice in enumerate(voices)})  # type: ignore[arg-type]
    return weights, styles


def _model(*, durations: bool) -> bytes:
    nodes = [
        node("Size", ["tokens"], "count"),
        node("Mul", ["count", "frame"], "samples"),
        node("Cast", ["samples"], "length", whole("to", FLOAT)),
        node("Range", ["zero", "length", "one"], "place"),
        node("Mul", ["place", "step"], "phase"),
        node("Sin", ["phase"], "audio"),
        node("Shape", ["tokens"], "shape"),
        node("Expand", ["once", "shape"], "duration"),
    ]
    constants = [
        constant("frame", INT64, struct.pack("<q", SAMPLES_PER_PHONEME)), constant("once", INT64, struct.pack("<q", 1)),
        constant("zero", FLOAT, struct.pack("<f", 0)), constant("one", FLOAT, struct.pack("<f", 1)),
        constant("step", FLOAT, struct.pack("<f", 0.1)),
    ]  # fmt: skip
    inputs = [value("tokens", INT64, 1, "n"), value("style", FLOAT, 1, 256), value("speed", FLOAT, 1)]
    outputs = [value("audio", FLOAT, "m"), *([value("duration", INT64, 1, "n")] if durations else [])]
    return model(nodes, constants=constants, inputs=inputs, outputs=outputs)
