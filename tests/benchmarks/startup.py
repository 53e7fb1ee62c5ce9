"""How long the command line takes to answer, against a bare import of the libraries that it cannot do without."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import graphs
from tests.benchmarks.figures import Figure, best_of

ROUNDS = 9
OPTIMIZED = Path(graphs.__path__[0]) / "optimized.yaml"
FLOW = "import sys; from flowgraph.cli import main; sys.argv[0] = 'flow'; main()"


def seconds(program: str, *arguments: str) -> float:
    """Of a fresh interpreter that runs the program."""
    environment = {**os.environ, "TERM": "dumb", "NO_COLOR": "1"}
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], stdout=output, stderr=output, env=environment, check=False
        )
        took = time.perf_counter() - started
        if done.returncode:
            output.seek(0)
            raise RuntimeError(f"flow {' '.join(arguments)} failed:\n{output.read().decode(errors='replace')}")
    return took


def figures() -> Iterator[Figure]:
    helping, typer = best_of(ROUNDS, lambda: seconds(FLOW, "--help"), lambda: seconds("import typer, rich"))
    yield Figure("flow --help", min(helping) * 1e3, "ms", min(typer) * 1e3, "import typer, rich", most_ratio=1.6)
    checking, libraries = best_of(
        ROUNDS,
        lambda: seconds(FLOW, "check", str(OPTIMIZED)),
        lambda: seconds("import typer, pydantic, yaml, networkx"),
    )
    against = "import typer, pydantic, yaml, networkx"
    yield Figure("flow check", min(checking) * 1e3, "ms", min(libraries) * 1e3, against, most_ratio=1.6)
