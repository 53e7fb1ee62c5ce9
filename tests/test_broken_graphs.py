"""Every file in tests/broken is wrong, and says so: the whole message is held in the .txt beside it.

A first line `# settings: a.b=c …` or `# environ: NAME=value …` gives the options that it is loaded with. After a deliberate change
of the wording: `python -m tests.test_broken_graphs` rewrites the texts; read them before committing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from flowgraph.errors import GraphError
from flowgraph.graph import Graph
from tests.standins import TYPES

BROKEN = Path(__file__).parent / "broken"
FILES = sorted(BROKEN.glob("*.yaml"))


def message_of(file: Path) -> str:
    """What loading a file says (with the working directory at tests/broken)."""
    first = file.read_bytes().split(b"\n")[0].decode("utf-8", "replace")
    settings = re.match("# settings: (.*)", first)
    environ = re.match("# environ: (.*)", first)
    try:
        Graph.load(
            file.name,
            settings=settings[1].split() if settings else (),
            environ=dict(pair.split("=", 1) for pair in environ[1].split()) if environ else {},
            types=TYPES,
        )
    except GraphError as error:
        return f"{error}\n"
    return "no error\n"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_broken_graph_says_where_and_what_to_do(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BROKEN)

    assert message_of(file) == file.with_suffix(".txt").read_text()


def test_there_are_at_least_thirty_of_them() -> None:
    assert len(FILES) >= 30


if __name__ == "__main__":
    os.chdir(BROKEN)
    for path in FILES:
        path.with_suffix(".txt").write_text(message_of(path))
