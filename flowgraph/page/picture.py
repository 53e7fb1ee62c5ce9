"""A graph as an SVG: boxes in layers from the top, in the order in which frames flow.

An edge to the next layer runs straight down, one that skips layers in a lane at the right, feedback returns in a lane at the left.
"""

from __future__ import annotations

import dataclasses
from html import escape
from typing import TYPE_CHECKING

from flowgraph.drawing import flowing

if TYPE_CHECKING:
    from flowgraph.graph import Edge, Graph, NodeSpec

WIDTH, HEIGHT = 132, 40
"""Of a box."""
BETWEEN, BESIDE = 46, 28
"""Boxes: from layer to layer, and in one layer."""
LANE = 22
CHARACTER = 6.2
"""Width of an edge label's character, roughly."""
LONGEST = 22


@dataclasses.dataclass(frozen=True, slots=True)
class _Box:
    spec: NodeSpec
    layer: int
    x: float
    """Its middle."""

    @property
    def top(self) -> float:
        return self.layer * (HEIGHT + BETWEEN)

    @property
    def bottom(self) -> float:
        return self.top + HEIGHT

    @property
    def middle(self) -> float:
        return self.top + HEIGHT / 2


def svg(graph: Graph, *, name: str) -> str:
    """The drawing. `name` tells its arrowheads from those of other drawings on the same page."""
    return _Drawing(graph, name).text()


class _Drawing:
    def __init__(self, graph: Graph, name: str) -> None:
        self._graph = graph
        self._name = name
        self._boxes = _placed(graph)
        forward = [edge for edge in graph.edges if not edge.feedback]
        self._straight = [edge for edge in forward if self._span(edge) == 1]
        self._aside = [edge for edge in forward if self._span(edge) != 1]
        self._back = [edge for edge in graph.edges if edge.feedback]
        self._left = min(box.x for box in self._boxes.values()) - WIDTH / 2
        self._right = max(box.x for box in self._boxes.values()) + WIDTH / 2

    def text(self) -> str:
        parts = [self._drawn(edge) for edge in (*self._straight, *self._aside, *self._back)]
        parts += [self._box(box) for box in self._boxes.values()]
        labels = max((len(_label(edge)) * CHARACTER for edge in self._graph.edges), default=0)
        left = self._left - 12 - LANE * max(len(self._back), 1)
        right = max([self._right, *(self._beside(edge) + LANE * len(self._aside) + labels for edge in self._aside)]) + 8
        right = max(
            [right, *(self._boxes[edge.source].x + 16 + len(_label(edge)) * CHARACTER for edge in self._straight)]
        )
        bottom = max(box.bottom for box in self._boxes.values())
        what = escape(f"{self._graph.name}: {len(self._boxes)} nodes, {len(self._graph.edges)} edges")
        arrow = f"arrow-{self._name}"
        return (
            f'<svg class="graph" role="img" aria-label="{what}" viewBox="{left:g} -6 {right - left:g} {bottom + 12:g}" '
            f'style="max-width:{right - left:g}px">'
            f'<defs><marker id="{arrow}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0.5 8 4 0 7.5z" class="arrow"/></marker></defs>'
            f"{''.join(parts)}</svg>"
        )

    def _span(self, edge: Edge) -> int:
        return self._boxes[edge.target].layer - self._boxes[edge.source].layer

    def _beside(self, edge: Edge) -> float:
        """Where the boxes and the labels end that an edge aside runs past."""
        first, last = self._boxes[edge.source].layer, self._boxes[edge.target].layer
        ends = [box.x + WIDTH / 2 for box in self._boxes.values() if first <= box.layer <= last]
        for other in self._straight:
            source, target = self._boxes[other.source], self._boxes[other.target]
            if first <= source.layer < last:
                ends.append((source.x + target.x) / 2 + 8 + len(_label(other)) * CHARACTER)
        return max(ends)

    def _box(self, box: _Box) -> str:
        spec = box.spec
        owner = " owner" if spec.cls.owns_turn else ""
        kind = "" if spec.type == spec.name else spec.type
        y = box.middle + (-2 if kind else 4.5)
        second = (
            f'<text class="kind" x="{box.x:g}" y="{box.middle + 13:g}">{escape(_short(kind))}</text>' if kind else ""
        )
        return (
            f'<g class="node{owner}"><rect x="{box.x - WIDTH / 2:g}" y="{box.top:g}" width="{WIDTH}" height="{HEIGHT}" rx="8"/>'
            f'<text x="{box.x:g}" y="{y:g}">{escape(_short(spec.name))}</text>{second}</g>'
        )

    def _drawn(self, edge: Edge) -> str:
        source, target = self._boxes[edge.source], self._boxes[edge.target]
        if edge in self._straight:
            path = f"M{source.x:g} {source.bottom:g}C{source.x:g} {source.bottom + BETWEEN / 2:g} {target.x:g} {target.top - BETWEEN / 2:g} {target.x:g} {target.top:g}"
            at = (source.x + target.x) / 2 + 8, (source.bottom + target.top) / 2 + 4
        elif edge in self._aside:
            lane = self._beside(edge) + LANE * (0.5 + self._lanes(self._aside, edge))
            path = _around(source.x + WIDTH / 2, source.middle + 6, lane, target.x + WIDTH / 2, target.middle - 6)
            at = lane + 7, target.top - BETWEEN / 2 + 4
        else:
            lane = self._left - LANE * (1 + self._lanes(self._back, edge))
            path = _around(source.x - WIDTH / 2, source.middle - 6, lane, target.x - WIDTH / 2, target.middle + 6)
            at = None
        kind = "feedback" if edge.feedback else "held" if edge.hold else "plain"
        title = escape(f"{edge.label}: {_types(edge)}{' (held until the turn is over)' if edge.hold else ''}")
        label = f'<text x="{at[0]:g}" y="{at[1]:g}">{escape(_label(edge))}</text>' if at else ""
        return f'<g class="edge {kind}"><title>{title}</title><path d="{path}" marker-end="url(#arrow-{self._name})"/>{label}</g>'

    def _lanes(self, edges: list[Edge], edge: Edge) -> int:
        """The lane of an edge: the first that is free where it runs."""
        taken: list[list[tuple[int, int]]] = []
        for other in sorted(edges, key=lambda one: abs(self._span(one))):
            first, last = sorted((self._boxes[other.source].layer, self._boxes[other.target].layer))
            free = (i for i, spans in enumerate(taken) if all(last <= a or first >= b for a, b in spans))
            lane = next(free, len(taken))
            if lane == len(taken):
                taken.append([])
            taken[lane].append((first, last))
            if other is edge:
                return lane
        return 0


def _around(x: float, y: float, lane: float, end_x: float, end_y: float) -> str:
    """Out of a box's side, along a lane, and into a box's side."""
    corner = 9 if lane > x else -9
    way = 9 if end_y > y else -9
    return (
        f"M{x:g} {y:g}L{lane - corner:g} {y:g}Q{lane:g} {y:g} {lane:g} {y + way:g}"
        f"L{lane:g} {end_y - way:g}Q{lane:g} {end_y:g} {lane - corner:g} {end_y:g}L{end_x:g} {end_y:g}"
    )


def _placed(graph: Graph) -> dict[str, _Box]:
    """Boxes in layers: each below everything that feeds it."""
    layers: dict[str, int] = {}
    for name in flowing(graph):
        before = [layers[edge.source] for edge in graph.edges_into(name) if not edge.feedback and edge.source in layers]
        layers[name] = max(before, default=-1) + 1
    rows: dict[int, list[str]] = {}
    for name, layer in layers.items():
        rows.setdefault(layer, []).append(name)
    boxes = {}
    for layer, names in rows.items():
        for index, name in enumerate(names):
            x = (index - (len(names) - 1) / 2) * (WIDTH + BESIDE)
            boxes[name] = _Box(graph.nodes[name], layer, x)
    return boxes


def _types(edge: Edge) -> str:
    return ", ".join(kind.__name__ for kind in edge.types)


def _label(edge: Edge) -> str:
    names = [kind.__name__ for kind in edge.types]
    text = ", ".join(names)
    while len(text) > LONGEST and len(names) > 1:
        names.pop()
        text = f"{', '.join(names)} +{len(edge.types) - len(names)}"
    return _short(text)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
