"""For tests of nodes and graphs, on virtual time: nothing sleeps, nothing is random, a minute takes milliseconds.

One node on synthetic frames:

    >>> from nodes.gain import Gain
    >>> from nodes.vocabulary import Audio
    >>> [louder] = run_node(Gain(factor=2.0), [Audio(samples, 16_000)])      # doctest: +SKIP

A whole graph, its services scripted behind their real protocols: `run_graph`.
"""

from __future__ import annotations

import asyncio
import functools
import operator
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from flowgraph.clock import run_virtual
from flowgraph.frame import Frame
from flowgraph.graph import Edge, Graph, NodeSpec
from flowgraph.node import Node, ports
from flowgraph.session import Session
from flowgraph.units import SECOND

if TYPE_CHECKING:
    from aiohttp import web

    from flowgraph.services import Services

T = TypeVar("T")

__all__ = ["graph_of", "run_graph", "run_node", "run_virtual", "services_of"]


def run_node(
    node: Node,
    inputs: Sequence[Frame | float],
    *,
    services: Mapping[str, web.Application] | None = None,
    owned: bool = False,
    seconds: float = 0.0,
) -> list[Frame]:
    """Feed one node and return what it yielded, in order. A number among the inputs is a pause in seconds.

    `services`: applications behind the names that the node uses. `owned`: the node under test may only make Plans of Plans,
    as in a graph with an owner. `seconds`: how long to go on after the last input before the stream ends. Raises what the node
    raised, as NodeFailed.
    """

    async def main() -> list[Frame]:
        graph = _graph_around(node, owned=owned)
        collect = _Collect()
        feed = _feed_class(ports(type(node)).inputs)() if ports(type(node)).inputs else None
        given: dict[str, Node] = {"node": node, "collect": collect}
        if feed is not None:
            feed.__dict__["_inputs"] = [*inputs, seconds] if seconds else list(inputs)
            given["feed"] = feed
        async with Session(graph, services=services_of(services) if services else None, nodes=given) as session:
            await session.finished()
        return collect.frames

    return run_virtual(main())


def run_graph(
    graph: Graph,
    *,
    services: Mapping[str, web.Application] | None = None,
    nodes: Mapping[str, Node] | None = None,
    seconds: float = 600.0,
) -> list[Frame]:
    """Run a whole graph to its end on virtual time; return every frame that was yielded, in order.

    `services`: applications instead of those that the graph declares. `nodes`: ready instances by name. Raises what ended the
    session, or TimeoutError after `seconds` of virtual time.
    """

    async def main() -> list[Frame]:
        frames: list[Frame] = []
        session = Session(graph, services=services_of(services) if services else None, nodes=dict(nodes or {}))
        session.watch(Frame, frames.append)
        async with session, asyncio.timeout(seconds):
            await session.finished()
        return frames

    return run_virtual(main())


def services_of(applications: Mapping[str, web.Application]) -> Services:
    """The services of a session, each an aiohttp application behind a socketpair instead of a port."""
    from flowgraph.wire import wired_services

    return wired_services(applications)


def graph_of(nodes: Mapping[str, Node | type[Node]], *edges: Edge | tuple[str, str], owner: str | None = None) -> Graph:
    """A graph without a file and without its checks: for tests of the engine itself.

    An edge `(a, b)` carries what `a` yields and `b` takes, with the defaults of a file.
    """
    classes = {name: node if isinstance(node, type) else type(node) for name, node in nodes.items()}
    specs = {name: NodeSpec(name, name, cls, {}, "fail", f"test:{name}") for name, cls in classes.items()}
    made = tuple(edge if isinstance(edge, Edge) else _edge(classes, *edge) for edge in edges)
    return Graph(
        name="test",
        description="",
        path="test",
        nodes=specs,
        edges=made,
        services={},
        budget={},
        owner=owner or next((name for name, cls in classes.items() if cls.owns_turn), None),
        order=_order(tuple(specs), made),
    )


def _edge(classes: Mapping[str, type[Node]], source: str, target: str, **options: Any) -> Edge:
    outputs, inputs = ports(classes[source]).outputs, ports(classes[target]).inputs
    types = tuple(
        dict.fromkeys(
            out if issubclass(out, taken) else taken
            for out in outputs
            for taken in inputs
            if issubclass(out, taken) or issubclass(taken, out)
        )
    )
    defaults: dict[str, Any] = {
        "capacity": 64, "capacity_ns": 0, "overflow": "block", "hold": False, "feedback": False, "place": "test",
    }  # fmt: skip
    return Edge(source, target, types, **{**defaults, **options})


def _order(names: Sequence[str], edges: Sequence[Edge]) -> tuple[str, ...]:
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_nodes_from(names)
    graph.add_edges_from((edge.source, edge.target) for edge in edges if not edge.feedback)
    return tuple(nx.topological_sort(graph))


class _Collect(Node):
    """A sink for whatever comes."""

    @property
    def frames(self) -> list[Frame]:
        return self.__dict__.setdefault("_frames", [])  # type: ignore[no-any-return]

    def process(self, frame: Frame) -> None:
        self.frames.append(frame)


def _graph_around(node: Node, *, owned: bool) -> Graph:
    inputs, outputs = ports(type(node)).inputs, ports(type(node)).outputs
    nodes: dict[str, Node | type[Node]] = {"node": node, "collect": _Collect}
    edges = [("node", "collect")] if outputs else []
    if inputs:
        nodes["feed"] = _feed_class(inputs)
        edges.append(("feed", "node"))
    return graph_of(nodes, *edges, owner="feed" if owned else None)


@functools.cache
def _feed_class(types: tuple[type[Frame], ...]) -> type[Node]:
    """A source that yields given frames, with pauses."""

    class Feed(Node):
        async def run(self) -> AsyncIterator[Frame]:
            for item in self.__dict__["_inputs"]:
                if isinstance(item, Frame):
                    yield item
                else:
                    await asyncio.sleep(float(item))

    union: Any = functools.reduce(operator.or_, types)
    Feed.run.__annotations__["return"] = AsyncIterator[union]
    return Feed


def after(ns: int) -> Coroutine[Any, Any, None]:
    """Wait `ns` nanoseconds of the session's time."""
    return asyncio.sleep(ns / SECOND)
