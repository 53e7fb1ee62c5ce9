"""Smart Turn for tests: the real model, from the wheel that has it, and tiny ones that are made here."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NoReturn

import pytest

from tests.onnx_file import FLOAT, model, node, value, whole, wholes

WHEEL = "pipecat-ai==1.14.0"
PART = "pipecat/audio/turn/smart_turn/"
"""What is taken out of the wheel."""
KEPT = Path(__file__).parent.parent / "build" / WHEEL.replace("==", "-")


@functools.cache
def unpacked_wheel() -> Path:
    """A folder to import from, with the part of the wheel that has to do with Smart Turn; 12 MB are downloaded once.

    Skips where there is no network; fails in CI.
    """
    if not KEPT.is_dir():
        KEPT.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT.parent) as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            command += ["--only-binary=:all:", "--retries=1", "--timeout=10", "--dest", folder, WHEEL]
            done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
            if done.returncode:
                _do_without(done.stderr.strip().splitlines()[-1])
            [wheel] = Path(folder).glob("*.whl")
            taken = Path(folder, "taken")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(taken, [name for name in archive.namelist() if name.startswith(PART)])
            (taken / "pipecat/__init__.py").write_text("raise AssertionError('it has been imported')\n")
            taken.rename(KEPT)
    return KEPT


def real_model() -> Path:
    """The model's file."""
    [path] = (unpacked_wheel() / PART / "data").glob("*.onnx")
    return path


def save_tiny(path: Path, *, rounds: int = 0, inputs: str = "input_features", mels: int = 80) -> Path:
    """A model with Smart Turn's input and output, that says how loud it is: the sigmoid of the features' mean.

    `rounds`: takes about 30 ms longer for each.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    nodes = [
        node("Flatten", [inputs], "flat", whole("axis", 1)),
        node("ReduceMean", ["flat"], "mean", wholes("axes", 1)),
        node("Sigmoid", ["mean"], "loudness"),
    ]
    if rounds:
        nodes += [
            node("Transpose", [inputs], "turned", wholes("perm", 0, 2, 1)),
            node("MatMul", ["turned", inputs], "product"),
            node("Sigmoid", ["product"], "square0"),
        ]
        for index in range(rounds):
            nodes += [
                node("MatMul", [f"square{index}", f"square{index}"], f"product{index}"),
                node("Sigmoid", [f"product{index}"], f"square{index + 1}"),
            ]
        nodes += [
            node("Flatten", [f"square{rounds}"], "flat_square", whole("axis", 1)),
            node("ReduceMax", ["flat_square"], "one", wholes("axes", 1)),
            node("Mul", ["loudness", "one"], "logits"),
        ]
    else:
        nodes.append(node("Identity", ["loudness"], "logits"))
    given, made = value(inputs, FLOAT, "n", mels, 800), value("logits", FLOAT, "n", 1)
    path.write_bytes(model(nodes, constants=[], inputs=[given], outputs=[made]))
    return path


def _do_without(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"no {WHEEL}: {reason}")
    pytest.skip(f"no {WHEEL}: {reason}")
