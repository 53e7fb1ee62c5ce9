"""What holds for every node type and every graph file, those of tomorrow included: they are found, not listed."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest

from flowgraph import catalog
from flowgraph.clock import clock_of
from flowgraph.context import Context
from flowgraph.errors import FlowError, GraphError
from flowgraph.frame import Frame
from flowgraph.graph import Graph
from flowgraph.node import Node, ports, service_options
from flowgraph.options import default_text
from flowgraph.turn import Turn

ROOT = Path(__file__).parent.parent
TYPES = sorted(catalog.all_types().items())
GRAPHS = sorted(path for path in (ROOT / "graphs").rglob("*.yaml") if "conversations" not in path.parts)

each_type = pytest.mark.parametrize(("name", "cls"), TYPES, ids=[name for name, _ in TYPES])
each_graph = pytest.mark.parametrize("path", GRAPHS, ids=[str(path.relative_to(ROOT)) for path in GRAPHS])


def made(cls: type[Node]) -> Node:
    """An instance; what has no default gets a harmless value."""
    required = {name: "x" for name, field in cls.model_fields.items() if field.is_required()}
    return cls.model_validate(required)


def context(say: Any = lambda _: None) -> Context:
    clock = clock_of(asyncio.get_running_loop())

    def no_service(name: str) -> Any:
        raise FlowError(f"there is no service '{name}'")

    return Context(
        name="node",
        place="test:1:1",
        clock=clock,
        turn=Turn(owned=True, now=clock.now, tap=lambda _: None),
        http=no_service,
        wants=lambda _: True,
        fed=frozenset(),
        shared={},
        say=say,
        note=lambda _: None,
        stop=lambda _: None,
        warm=lambda: None,
    )


def test_there_are_nodes_and_graphs_to_find() -> None:
    assert len(TYPES) >= 14
    assert {"optimized.yaml", "echo.yaml"} <= {path.name for path in GRAPHS}


@each_type
def test_it_says_what_it_is_for_in_one_sentence(name: str, cls: type[Node]) -> None:
    summary = (cls.__doc__ or "").strip().splitlines()
    assert summary, f"{name} has no docstring"
    assert cls.__doc__ != Node.__doc__
    assert (cls.__module__.rpartition(".")[2]) == name


@each_type
def test_every_option_has_a_description_and_a_default_that_can_be_written_down(name: str, cls: type[Node]) -> None:
    for option, field in cls.model_fields.items():
        assert field.description, f"{name}.{option} says nothing about itself"
        assert field.description.endswith((".", ")")), f"{name}.{option}: {field.description}"
        assert field.is_required() or isinstance(default_text(field), str)


@each_type
def test_its_ports_are_frames(name: str, cls: type[Node]) -> None:
    found = ports(cls)

    assert found.inputs or found.outputs, name
    assert all(issubclass(kind, Frame) for kind in (*found.inputs, *found.outputs))


@each_type
def test_a_node_with_a_service_has_a_server_of_its_own(name: str, cls: type[Node]) -> None:
    if service_options(cls):
        assert cls.server, f"{name} can't be run with `url: embedded`"
        assert (ROOT / (cls.server.replace(".", "/") + ".py")).exists()


@each_type
def test_its_example_is_a_graph_that_the_checks_understand(name: str, cls: type[Node]) -> None:
    """The example alone is no whole graph; but nothing in it is misspelt, and every value is right."""
    options = [
        f"    {option}: " + (default_text(field) or "''")
        for option, field in cls.model_fields.items()
        if not field.is_required()
    ]
    services = [f"  {cls.model_fields[option].default}: {{url: embedded}}" for option in service_options(cls)]
    text = "\n".join(["services:", *services] if services else [])
    text += "\n" + "\n".join(["nodes:", "  it:", f"    type: {name}", *options, "edges: []", ""])
    with pytest.raises(GraphError) as caught:
        Graph.from_text(text)

    # It has no neighbours, and that is all that is wrong with it.
    assert all("it." not in problem.message for problem in caught.value.problems), str(caught.value)
    assert len(caught.value.problems) <= 2, str(caught.value)


@each_type
def test_it_can_be_closed_after_an_open_that_failed(
    name: str, cls: type[Node], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    monkeypatch.chdir(tmp_path)

    async def main() -> None:
        broken = made(cls)
        broken.__dict__["_ctx"] = context()
        try:
            async with asyncio.timeout(20):
                await broken.open()
        except FlowError:
            pass  # no such service here, for those that need one; anything else must be said as clearly
        await broken.close()
        assert len(asyncio.all_tasks()) == 1, f"{name} leaves a task behind"

    asyncio.run(main())


@each_graph
def test_every_graph_file_is_right_and_says_what_it_is(path: Path) -> None:
    graph = Graph.load(path, environ={})

    assert graph.description
    assert graph.warnings == ()
    assert path.read_text().startswith("# yaml-language-server: $schema=")


@each_graph
def test_every_node_of_a_graph_file_can_be_made(path: Path) -> None:
    for spec in Graph.load(path, environ={}).nodes.values():
        assert isinstance(spec.make(), spec.cls)
