"""`--text`: the same graph, with a keyboard in the place of everything that leads to the owner of the turn."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import networkx as nx

from flowgraph import catalog
from flowgraph.errors import FlowError
from flowgraph.graph import Edge, Graph, NodeSpec
from flowgraph.node import ports
from flowgraph.specs import services_used

if TYPE_CHECKING:
    from flowgraph.frame import Frame
    from flowgraph.node import Node

KEYBOARD = "keyboard"


class NothingToType(FlowError):
    """A graph that answers no text."""

    exit_code = 2


def typed(graph: Graph) -> Graph:
    """The owner, what is behind it, and a keyboard before it. Raises NothingToType."""
    keyboard = catalog.find(KEYBOARD)
    owner = graph.owner
    if owner is None or not _carried(keyboard, graph.nodes[owner].cls):
        raise NothingToType(f"{graph.path}: --text needs a graph with a dialogue, which takes what is typed")
    flow = nx.DiGraph((edge.source, edge.target) for edge in graph.edges if not edge.feedback)
    kept = {owner, *(nx.descendants(flow, owner) if owner in flow else ())}
    place = "--text"
    name = next(name for name in (KEYBOARD, "typed", "text-keyboard") if name not in kept)
    nodes = {name: NodeSpec(name, KEYBOARD, keyboard, {}, "fail", place)}
    nodes |= {other: spec for other, spec in graph.nodes.items() if other in kept}
    nodes[owner] = _ended_by_lines(nodes[owner])
    edges = [edge for edge in graph.edges if edge.source in kept and edge.target in kept]
    edges.append(
        Edge(name, owner, _carried(keyboard, nodes[owner].cls), 64, 0, "block", hold=False, feedback=False, place=place)
    )
    edges += [
        Edge(other, name, types, 1024, 0, "drop_oldest", hold=False, feedback=True, place=place)
        for other in kept
        if (types := _carried(nodes[other].cls, keyboard))
    ]
    used = services_used(nodes)
    return dataclasses.replace(
        graph,
        nodes=nodes,
        edges=tuple(edges),
        services={service: spec for service, spec in graph.services.items() if service in used},
        order=(name, *(other for other in graph.order if other in kept)),
    )


def _ended_by_lines(spec: NodeSpec) -> NodeSpec:
    """The owner, told that a line is a turn."""
    if "end" not in spec.cls.model_fields:
        return spec
    return dataclasses.replace(spec, options={**spec.options, "end": "transcript"})


def _carried(source: type[Node], target: type[Node]) -> tuple[type[Frame], ...]:
    return tuple(kind for kind in ports(source).outputs if issubclass(kind, ports(target).inputs or ()))
