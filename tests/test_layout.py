"""Imports point one way, and what is slow to import is imported late."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import flowgraph
import graphs
import nodes

ENGINE = Path(flowgraph.__path__[0])
NODES = Path(nodes.__path__[0])
GRAPHS = Path(graphs.__path__[0])

TIERS = (
    {"frame", "clock", "errors", "files", "units", "taps", "masking", "mistakes"},
    {"node", "channel", "turn", "context", "handoff"},
    {"document", "catalog", "graph", "edges", "specs", "options", "checks", "variants", "draft", "wiring"},
    {"worker", "lanes", "session", "trace", "services", "http", "network", "children", "wire"},
)
"""A module imports its own tier and those before it; a module that isn't listed (`cli`, `report`, …) is in the last."""

HEAVY = {
    "numpy", "aiohttp", "torch", "onnxruntime", "sounddevice", "soxr", "pocketsphinx", "espeakng_loader", "kokoro_onnx",
    "silero_vad", "huggingface_hub",
}  # fmt: skip
IMPORTED_BY_A_SESSION = {"services", "http", "network", "children", "wire", "testing"}
"""Parts of the engine that speak HTTP: what only looks at a graph never imports them."""
ALSO_SLOW = {"pydantic", "networkx", "yaml", "asyncio"}
"""What `flow --help` has no use for."""


def python_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path, *, at_start_only: bool = False) -> Iterator[tuple[str, int]]:
    """(module, line) of each import; with `at_start_only` without those in functions and for the type checker."""

    def walk(node: ast.AST) -> Iterator[tuple[str, int]]:
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield alias.name, node.lineno
            case ast.ImportFrom(module=str(module), level=0, names=names):
                yield module, node.lineno
                for alias in names:
                    yield f"{module}.{alias.name}", node.lineno
            case ast.ImportFrom():
                raise AssertionError(f"{path}:{node.lineno}: a relative import")
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda() if at_start_only:
                return
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=orelse) if at_start_only:
                for child in orelse:
                    yield from walk(child)
            case _:
                for child in ast.iter_child_nodes(node):
                    yield from walk(child)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")))


def tier(module: str) -> int:
    return next((number for number, names in enumerate(TIERS) if module in names), len(TIERS))


def test_the_engine_knows_no_node() -> None:
    found = [
        f"{path.name}:{line}: {module}"
        for path in python_files(ENGINE)
        for module, line in imports(path)
        if module.split(".")[0] in ("nodes", "graphs") and module != "graphs"
    ]

    assert found == []


def test_imports_in_the_engine_point_one_way() -> None:
    found = [
        f"{path.name}:{line} imports {module}"
        for path in python_files(ENGINE)
        for module, line in imports(path, at_start_only=True)
        if module.startswith("flowgraph.") and path.stem != "__init__"
        and (ENGINE / f"{module.split('.')[1]}.py").exists()
        and tier(module.split(".")[1]) > tier(path.relative_to(ENGINE).parts[0].removesuffix(".py"))
    ]  # fmt: skip

    assert found == []


def test_a_node_imports_the_engine_the_vocabulary_and_packages_but_never_another_node() -> None:
    node_files = {path.stem for path in NODES.glob("*.py")} - {"__init__", "vocabulary"}

    found = [
        f"{path.relative_to(NODES)}:{line} imports {module}"
        for path in python_files(NODES)
        for module, line in imports(path)
        if module.startswith("nodes.") and module.split(".")[1] in node_files
    ]

    assert len(node_files) >= 3
    assert found == []


def test_the_only_clock_of_a_node_is_its_sessions() -> None:
    found = [
        f"{path.relative_to(NODES)}:{line} imports {module}"
        for folder in ("", "clients", "text", "turns")
        for path in sorted((NODES / folder).glob("*.py"))
        for module, line in imports(path)
        if module.partition(".")[0] in ("time", "timeit", "datetime")
    ]

    assert found == []


def test_the_vocabulary_imports_the_engine_alone() -> None:
    found = {module.split(".")[0] for module, _ in imports(NODES / "vocabulary.py", at_start_only=True)}

    assert found <= {"__future__", "dataclasses", "typing", "flowgraph"}


@pytest.mark.parametrize(
    "path", [*ENGINE.glob("*.py"), *NODES.glob("*.py")], ids=lambda path: f"{path.parent.name}.{path.stem}"
)
def test_what_is_slow_to_import_is_imported_where_it_is_used(path: Path) -> None:
    lazy = path.parent == ENGINE and path.stem in IMPORTED_BY_A_SESSION

    found = [f"{line}: {module}" for module, line in imports(path, at_start_only=True) if module.split(".")[0] in HEAVY]

    assert lazy or found == []


def loaded_by(*arguments: str) -> set[str]:
    """The top-level modules that a `flow` command has imported when it is done."""
    program = (
        "import sys\n"
        "from flowgraph.cli import main\n"
        f"sys.argv = {['flow', *arguments]!r}\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as done:\n"
        "    assert not done.code, done.code\n"
        "finally:\n"
        "    print('loaded:', *{name.split('.')[0] for name in sys.modules})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.rsplit("loaded:", 1)[1].split())


def test_help_imports_nothing_slow() -> None:
    assert loaded_by("--help") & (HEAVY | ALSO_SLOW) == set()


def test_checking_a_graph_imports_nothing_heavy() -> None:
    loaded = loaded_by("check", str(GRAPHS / "optimized.yaml"))

    assert {"pydantic", "networkx"} <= loaded
    assert loaded & HEAVY == set()


def test_a_run_keeps_nothing_of_what_only_checking_needs() -> None:
    program = """
import gc, sys, weakref
gc.disable()
from flowgraph.cli.running import Wishes, _only_to_check, _prepared
with _only_to_check():
    graph = _prepared(Wishes("optimized"))
    kept = weakref.ref(sys.modules["networkx"].DiGraph)
print(len(graph.nodes), kept() is None)
"""
    said = subprocess.check_output([sys.executable, "-c", program], cwd=ENGINE.parent, text=True)

    assert said.split() == ["8", "True"]


def test_servers_are_spawned_before_anything_heavy_is_imported() -> None:
    program = (
        "import os, sys\n"
        "from flowgraph import services\n"
        "from flowgraph.cli import main\n"
        "def spawn_early(specs):\n"
        "    print('loaded:', len(list(specs)), *{name.split('.')[0] for name in sys.modules}, file=sys.stderr, flush=True)\n"
        "    os._exit(0)\n"
        "services.spawn_early = spawn_early\n"
        "sys.argv = ['flow', 'run', 'optimized', '--json', '--input', 'demo', '--set', 'speaker.device=null']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    servers, *loaded = done.stderr.split("loaded:", 1)[1].split()

    assert servers == "3"
    assert set(loaded) & HEAVY == set()
