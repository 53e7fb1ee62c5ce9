"""What the command line costs until it answers, against a bare import of the libraries that it cannot do without.

In CPU time: both only compute, and whatever else the machine does at the time isn't counted.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import graphs
from tests.benchmarks.figures import Figure, best_of

ROUNDS = 9
ROOT = Path(__file__).parents[2]
OPTIMIZED = Path(graphs.__path__[0]) / "optimized.yaml"
FLOW = "import sys; from flowgraph.cli import main; sys.argv[0] = 'flow'; main()"


def cpu_s() -> float:
    """Of all child processes so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seconds(program: str, *arguments: str) -> float:
    """CPU time of a fresh interpreter that runs the program."""
    environment = {**os.environ, "TERM": "dumb", "NO_COLOR": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as for a user: compiled once, at its first start
    with tempfile.TemporaryFile() as output:
        before = cpu_s()
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], stdout=output, stderr=output, env=environment, check=False
        )
        took = cpu_s() - before
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
