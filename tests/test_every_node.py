"""What holds for every node type and every graph file, those of tomorrow included: they are found, not listed."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import dataclasses
import inspect
import io
import itertools
import textwrap
import threading
import wave
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from flowgraph import catalog
from flowgraph.cli.types import example
from flowgraph.clock import clock_of, run_virtual
from flowgraph.context import Context
from flowgraph.errors import FlowError, GraphError, NodeFailed
from flowgraph.frame import Fact, Frame, Plan
from flowgraph.graph import Edge, Graph
from flowgraph.node import Node, ports, service_options
from flowgraph.options import default_text
from flowgraph.session import Session
from flowgraph.testing import graph_of, services_of
from flowgraph.turn import Turn
from flowgraph.wire import Wire, wired_services
from nodes.servers import llm, scripted
from tests.smart_turn import save_tiny

ROOT = Path(__file__).parent.parent
TYPES = sorted(catalog.all_types().items())
GRAPHS = sorted(path for path in (ROOT / "graphs").rglob("*.yaml") if "conversations" not in path.parts)

each_type = pytest.mark.parametrize(("name", "cls"), TYPES, ids=[name for name, _ in TYPES])
each_graph = pytest.mark.parametrize("path", GRAPHS, ids=[str(path.relative_to(ROOT)) for path in GRAPHS])


def made(cls: type[Node], **options: Any) -> Node:
    """An instance; what has no default gets a harmless value."""
    required = {name: "x" for name, field in cls.model_fields.items() if field.is_required()}
    return cls.model_validate({**required, **options})


class Breaking(Context):
    """Answers so many questions, and then one not."""

    left = 1 << 30

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name != "left":
            self.left -= 1
            if self.left == -1:
                raise FlowError("that far")
        return super().__getattribute__(name)


def context(*, http: Any, left: int = 1 << 30) -> Breaking:
    clock = clock_of(asyncio.get_running_loop())
    ctx = Breaking(
        name="node",
        place="test:1:1",
        clock=clock,
        turn=Turn(owned=True, now=clock.now, tap=lambda _: None),
        http=http,
        wants=lambda _: True,
        fed=frozenset(),
        shared={},
        say=lambda _: None,
        note=lambda _: None,
        stop=lambda _: None,
        warm=lambda: None,
    )
    ctx.left = left
    return ctx


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
@pytest.mark.usefixtures("folder")
def test_its_example_is_a_graph_that_the_checks_understand(name: str, cls: type[Node]) -> None:
    """As `flow nodes` shows it. Alone it is no whole graph; but nothing in it is misspelt, and every value is right."""
    with pytest.raises(GraphError) as caught:
        Graph.from_text(example(name, cls).replace(": …", ": x") + "\nedges: []\n")

    assert [problem.message for problem in caught.value.problems] == ["there are no edges"]


# -- what a node says, it yields ---------------------------------------------------------------------------------------

OFFERED = {
    "name", "place", "clock", "turn", "http", "wants", "fed", "say", "note", "stop", "warm", "shared", "handoff",
}  # fmt: skip
"""What a node may ask of its session: none of it takes a frame."""
FORMS = {
    "property",
    "cached_property",
    "classmethod",
    "staticmethod",
    "field_validator",
    "model_validator",
    "asynccontextmanager",
}
"""Decorators that say of what kind a method is; none hands it to somebody else."""
OF_THE_TURN = {"advance", "commit", "set_gain"}


def source_of(cls: type[Node]) -> ast.ClassDef:
    [found] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(found, ast.ClassDef)
    return found


def calls_in(tree: ast.AST) -> Iterator[str]:
    for one in ast.walk(tree):
        if isinstance(one, ast.Call):
            yield ast.unparse(one.func).rpartition(".")[2]


def test_a_session_offers_its_nodes_no_way_to_send() -> None:
    async def main() -> set[str]:
        return {name for name in dir(context(http=None)) if not name.startswith("_")} - {"left"}

    assert asyncio.run(main()) == OFFERED


@each_type
def test_it_calls_nothing_that_it_inherits_and_registers_nowhere(name: str, cls: type[Node]) -> None:
    tree = source_of(cls)
    functions = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    decorators = [ast.unparse(deco).partition("(")[0] for one in functions for deco in one.decorator_list]

    assert cls.__mro__[1] is Node
    assert not tree.decorator_list
    assert set(decorators) <= FORMS
    assert "super" not in calls_in(tree)


def test_only_the_owner_of_the_turn_moves_it() -> None:
    movers = {
        path.relative_to(ROOT / "nodes").as_posix()
        for path in (ROOT / "nodes").rglob("*.py")
        if OF_THE_TURN & set(calls_in(ast.parse(path.read_text(encoding="utf-8"))))
    }
    owners = {f"{name}.py" for name, cls in TYPES if cls.owns_turn}

    assert owners == {"dialogue.py"}
    assert movers == {"dialogue.py", "turns/barge_in.py"}, "the latter belongs to it"


# -- lives -------------------------------------------------------------------------------------------------------------


def ready(cls: type[Node], folder: Path) -> Node:
    """An instance that needs neither hardware nor network, nor a file but those in `folder`, the working directory."""
    model = {"model": str(save_tiny(folder / "tiny.onnx"))} if cls.__name__ == "SmartTurn" else {}
    device = {"device": "null"} if "device" in cls.model_fields else {}
    return made(cls, **model, **device)


def servers() -> dict[str, web.Application]:
    """One for each name that a service has by default. What they can't do, they refuse."""
    return {"stt": scripted.stt([]), "llm": llm.app(), "tts": scripted.Voice().app}


VALUES: dict[str, Any] = {
    "samples": np.zeros(1600, np.float32),
    "rate_hz": 16_000,
    "content": Path("x"),
    "messages": (("user", "Hello."),),
    "str": "One, two.",
    "int": 0,
    "float": 0.0,
}
"""Of a frame's fields, by name and by type."""


def one_of(kind: type[Frame]) -> Frame:
    """A frame of the type, or of a kind of it."""
    concrete = (one for one in (kind, *_subclasses(kind)) if issubclass(one, Fact | Plan) and one not in (Fact, Plan))
    kind = next(concrete)
    fields = [field for field in dataclasses.fields(kind) if field.init and field.default is dataclasses.MISSING]
    return kind(**{field.name: VALUES[field.name if field.name in VALUES else str(field.type)] for field in fields})


def _subclasses(kind: type[Frame]) -> Iterator[type[Frame]]:
    for one in kind.__subclasses__():
        yield one
        yield from _subclasses(one)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working directory: with a sound file `x`. No program can be started."""
    with wave.open(str(tmp_path / "x"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(3200))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert not [one for one in threading.enumerate() if one not in before and not one.daemon]


class Feed(Node):
    """Yields its frames, each once more after a second."""

    async def run(self) -> AsyncIterator[Frame]:
        for _ in range(2):
            for kind in self.__dict__["kinds"]:
                yield one_of(kind)
            await asyncio.sleep(1)


@pytest.mark.parametrize(("name", "cls"), [one for one in TYPES if one[0] != "ffplay"])  # a program: in real time only
def test_it_lives_through_its_frames_an_interruption_and_a_stop(name: str, cls: type[Node], folder: Path) -> None:
    kinds = ports(cls).inputs
    nodes: dict[str, Node] = {"node": ready(cls, folder)}
    edges = [Edge("feed", "node", kinds, 64, 0, "block", False, False, "test")] if kinds else []
    if kinds:
        nodes["feed"] = Feed()
        nodes["feed"].__dict__["kinds"] = kinds
    session = Session(graph_of(nodes, *edges), services=services_of(servers()), nodes=dict(nodes))

    async def main() -> None:
        async with session, asyncio.timeout(60):
            over = asyncio.ensure_future(session.finished())
            await asyncio.wait([over], timeout=0.5)
            session.turn.advance()
            await asyncio.wait([over], timeout=2)
            await session.stop()
            await over
        assert len(asyncio.all_tasks()) == 1, f"{name} leaves a task behind"

    try:
        run_virtual(main())
    except NodeFailed as error:
        if not isinstance(error.__cause__, FlowError):  # which says what its server can't do
            raise
    assert bool(kinds) == any(count for (_, what), count in session.trace.counts.items() if what == "take")


@each_type
def test_it_can_be_closed_wherever_its_open_fails(name: str, cls: type[Node], folder: Path) -> None:
    """At anything that it asks of its session, the first to the last."""

    async def main() -> None:
        services = services_of(servers())
        await services.start()
        for asked in itertools.count():
            node = ready(cls, folder)
            node.__dict__["_ctx"] = ctx = context(http=services.http, left=asked)
            try:
                async with asyncio.timeout(20):
                    await node.open()
            except FlowError:
                pass  # "that far", or a reason of its own
            finally:
                await node.close()
            if ctx.left > 0:
                break
        await services.close()
        await asyncio.sleep(1)
        assert len(asyncio.all_tasks()) == 1, f"{name} leaves a task behind"

    run_virtual(main())


# -- graph files -------------------------------------------------------------------------------------------------------


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


def settings_of(path: Path, folder: Path) -> list[str]:
    """No hardware, no program, no download."""
    replaced = ["speaker.type=speaker", "tts.format=pcm"]
    replaced *= any(spec.type == "ffplay" for spec in Graph.load(path, environ={}).nodes.values())
    nodes = Graph.load(path, settings=replaced, environ={}).nodes.items()
    devices = [f"{name}.device=null" for name, spec in nodes if "device" in spec.cls.model_fields]
    models = [f"{name}.model={save_tiny(folder / 'tiny.onnx')}" for name, spec in nodes if spec.type == "smart_turn"]
    return [*replaced, *devices, *models]


@pytest.mark.parametrize("reachable", [True, False], ids=["served", "unserved"])
@each_graph
def test_every_graph_file_opens_and_closes_all_its_nodes_with_its_services_and_without(
    path: Path, reachable: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Graph.load(path, settings=settings_of(path, folder), environ={})
    opened, closed = list[str](), list[str]()

    def noting(cls: type[Node], what: str, log: list[str]) -> None:
        original = getattr(cls, what)

        async def noted(self: Node) -> None:
            log.append(self.ctx.name)
            await original(self)

        monkeypatch.setattr(cls, what, noted)

    for cls in {spec.cls for spec in graph.nodes.values()}:
        noting(cls, "open", opened)
        noting(cls, "close", closed)
    applications = {name: app for name, app in servers().items() if name in graph.services}
    wire = Wire(applications)
    wire.refusing |= set() if reachable else set(applications)
    session = Session(graph, services=wired_services(applications, wire=wire))

    async def main() -> None:
        try:
            async with session, asyncio.timeout(60):
                await asyncio.sleep(2)
                await session.stop()
        finally:
            assert len(asyncio.all_tasks()) == 1

    if reachable or not applications:
        run_virtual(main())
        assert session.said == []
        assert set(wire.handshakes) == set(applications), "each has been warmed"
    else:
        with contextlib.suppress(NodeFailed):  # who connects at once says so itself; the others when they are warmed
            run_virtual(main())
            assert any("refuses the connection" in line for line in session.said)

    assert sorted(opened) == sorted(graph.nodes)
    assert closed == list(graph.order)
