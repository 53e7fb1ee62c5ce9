"""What leaves a node, frames that it only passes on included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING

from flowgraph.frame import Frame
from flowgraph.graph import Graph
from flowgraph.node import Node, ports
from flowgraph.services import Services
from flowgraph.session import Session
from flowgraph.testing import graph_of, run_graph

if TYPE_CHECKING:
    from aiohttp import web

    from flowgraph.specs import ServiceSpec


def through(
    node: Node, inputs: Sequence[Frame | float], *, services: Mapping[str, web.Application] | None = None
) -> list[tuple[float, Frame]]:
    """Feed a node; return what arrives behind it, each with its time in seconds. A number among the inputs is a pause in seconds."""
    graph, nodes, arrived = _around(node, inputs)
    run_graph(graph, services=services, nodes=nodes)
    return arrived


def through_in_real_time(
    node: Node, inputs: Sequence[Frame | float], *services: ServiceSpec, seconds: float = 40
) -> list[tuple[float, Frame]]:
    """The same on the real clock, with services behind real sockets. Raises TimeoutError after `seconds`."""
    graph, nodes, arrived = _around(node, inputs)

    async def main() -> None:
        session = Session(graph, services=Services(services), nodes=nodes)
        async with asyncio.timeout(seconds), session:
            await session.finished()

    asyncio.run(main())
    return arrived


def _around(node: Node, inputs: Sequence[Frame | float]) -> tuple[Graph, dict[str, Node], list[tuple[float, Frame]]]:
    arrived: list[tuple[float, Frame]] = []
    taken, made = ports(type(node)).inputs, ports(type(node)).outputs

    async def run(self: Node) -> AsyncIterator[Frame]:
        for item in inputs:
            if isinstance(item, Frame):
                yield item
            else:
                await asyncio.sleep(item)

    def process(self: Node, frame: Frame) -> None:
        arrived.append((self.ctx.clock.now() / 1e9, frame))

    run.__annotations__["return"] = AsyncIterator[_union(taken)]  # type: ignore[misc]
    process.__annotations__["frame"] = _union(made)
    nodes = {
        "feed": type("Feed", (Node,), {"run": run})(),
        "node": node,
        "sink": type("Sink", (Node,), {"process": process})(),
    }
    return graph_of(nodes, ("feed", "node"), ("node", "sink")), nodes, arrived


def _union(types: Sequence[type[Frame]]) -> object:
    union: object = types[0]
    for one in types[1:]:
        union = union | one  # type: ignore[operator]
    return union
