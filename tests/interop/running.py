"""What others wrote runs in an environment of its own, as a child process."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-interop" / "bin" / "python"
SCRIPTS = Path(__file__).parent / "theirs"


def theirs(script: str, *arguments: object) -> list[str]:
    if not PYTHON.exists():
        pytest.fail("what others wrote is not installed: `make interop` does that")
    return [str(PYTHON), str(SCRIPTS / script), *map(str, arguments)]


def ours(server: str) -> list[str]:
    return [sys.executable, "-m", f"nodes.servers.{server}", "--port", "0", "--parent"]


@contextlib.contextmanager
def serving(command: Sequence[str]) -> Iterator[str]:
    """The URL of a server that tells it in its first line of JSON, and ends with its standard input."""
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            first = next((line for line in process.stdout if line.startswith("{")), None)
            if first is None:
                pytest.fail(f"it has ended ({process.wait(10)}) before it served: {' '.join(command)}")
            yield json.loads(first)["url"]
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
