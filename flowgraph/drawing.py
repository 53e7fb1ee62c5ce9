"""A graph as Mermaid, as DOT, and as text for a terminal.

The text has one box under the other in an order in which frames flow. An edge to the next box runs straight down; every other one
leaves its box to the right, down (or, for feedback, up) a lane of its own, and back. Held edges are doubled, feedback is dotted.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from flowgraph.graph import Edge, Graph, NodeSpec
from flowgraph.node import service_options
from flowgraph.units import format_duration

_RESERVED = frozenset({"call", "class", "click", "default", "end", "flowchart", "graph", "href", "style", "subgraph"})


def mermaid(graph: Graph) -> str:
    """A Mermaid flowchart: `==>` is held until the commit, `-.->` is feedback."""
    ids = _ids(graph.nodes)
    lines = ["flowchart LR"]
    for name, spec in graph.nodes.items():
        shape = '(["{}"])' if spec.cls.owns_turn else '["{}"]'
        kind = "" if spec.type == name else f"<br/><small>{_escaped(spec.type)}</small>"
        lines.append(f"  {ids[name]}{shape.format(name + kind)}")
    for edge in graph.edges:
        arrow = "-.->" if edge.feedback else "==>" if edge.hold else "-->"
        lines.append(f'  {ids[edge.source]} {arrow}|"{_types(edge)}"| {ids[edge.target]}')
    return "\n".join(lines) + "\n"


def dot(graph: Graph) -> str:
    """A Graphviz digraph: bold is held until the commit, dashed is feedback."""
    lines = [f'digraph "{_quoted(graph.name)}" {{', "  rankdir=LR;", '  node [shape=box, fontname="sans-serif"];']
    lines.append('  edge [fontname="sans-serif", fontsize=10];')
    for name, spec in graph.nodes.items():
        kind = "" if spec.type == name else f"\\n{_quoted(spec.type)}"
        more = ", peripheries=2" if spec.cls.owns_turn else ""
        lines.append(f'  "{name}" [label="{name}{kind}"{more}];')
    for edge in graph.edges:
        style = (
            ", style=dashed, constraint=false" if edge.feedback else ", style=bold, arrowhead=box" if edge.hold else ""
        )
        lines.append(f'  "{edge.source}" -> "{edge.target}" [label="{_types(edge)}"{style}];')
    return "\n".join([*lines, "}"]) + "\n"


def _ids(names: Iterable[str]) -> dict[str, str]:
    """Names that Mermaid takes: no hyphen, none of its own words, all different."""
    ids: dict[str, str] = {}
    for name in names:
        made = name.replace("-", "_")
        while made in ids.values() or made.lower() in _RESERVED:
            made += "_"
        ids[name] = made
    return ids


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def _types(edge: Edge) -> str:
    return ", ".join(kind.__name__ for kind in edge.types)


# -- the terminal -------------------------------------------------------------------------------------------------------

_DOWN = 4
"""The column in which an edge to the next box runs."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Strokes:
    """How an edge is drawn: across, down, its corners below and above, and how it leaves a box's bottom."""

    across: str
    down: str
    upper: str
    lower: str
    leaves: str


_PLAIN = _Strokes("─", "│", "┐", "┘", "┬")
_HELD = _Strokes("═", "║", "╗", "╝", "╥")
_FEEDBACK = _Strokes("┄", "┊", "╮", "╯", "┬")
_CROSSED = {"│": "┼", "║": "╫", "┊": "┼"}


def text(graph: Graph, width: int = 100) -> str:
    """A drawing in box characters, at most `width` columns wide where names allow it."""
    head = textwrap.wrap(f"{graph.name}: {graph.description}" if graph.description else graph.name, width)
    return "\n".join([*head, "", *_Picture(graph, width).lines(), "", *_foot(graph, width)]).rstrip("\n") + "\n"


def flowing(graph: Graph) -> list[str]:
    """A topological order in which a node follows one that feeds it, where that can be."""
    before = {name: {e.source for e in graph.edges_into(name) if not e.feedback} for name in graph.order}
    left, order = list(graph.order), list[str]()
    while left:
        ready = [name for name in left if not before[name] - set(order)]
        after_last = [name for name in ready if order and order[-1] in before[name]]
        chosen = (after_last or ready or left)[0]
        left.remove(chosen)
        order.append(chosen)
    return order


def _contents(graph: Graph, spec: NodeSpec) -> list[str]:
    name = spec.name if spec.type == spec.name else f"{spec.name}  ({spec.type})"
    lines = [name]
    if spec.cls.owns_turn:
        lines.append("owns the turn")
    for option in service_options(spec.cls):
        service = graph.services.get(str(spec.options.get(option, spec.cls.model_fields[option].default)))
        if service is not None:
            lines.append(f"{service.name}: {_address(service.url)}")
    if spec.on_error != "fail":
        lines.append(f"on error: {spec.on_error}")
    return lines


def _address(url: str) -> str:
    """A URL without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else url


def _shortened(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


@dataclasses.dataclass(slots=True)
class _Box:
    """A node with its place on the canvas."""

    lines: list[str]
    stubs: list[tuple[Edge, bool]] = dataclasses.field(default_factory=list)
    """Edges at its right side, from the top; True where it is the edge's target."""
    below: list[Edge] = dataclasses.field(default_factory=list)
    """Edges to the next box."""
    top: int = 0

    @property
    def bottom(self) -> int:
        """The row of its lower border."""
        return self.top + 1 + max(len(self.lines), len(self.stubs))


class _Canvas:
    """Characters by row and column."""

    def __init__(self) -> None:
        self._cells: dict[tuple[int, int], str] = {}

    def write(self, row: int, column: int, text: str) -> None:
        for offset, character in enumerate(text):
            self._cells[row, column + offset] = character

    def across(self, row: int, start: int, end: int, stroke: str) -> None:
        """A line over what is there, which it crosses."""
        for column in range(start, end):
            there = self._cells.get((row, column), " ")
            self._cells[row, column] = _CROSSED.get(there, stroke)

    def lines(self) -> Iterator[str]:
        for row in range(max((row for row, _ in self._cells), default=-1) + 1):
            columns = [column for other, column in self._cells if other == row]
            yield "".join(self._cells.get((row, column), " ") for column in range(max(columns, default=-1) + 1))


class _Picture:
    """Boxes under each other, straight edges between them, and the others in lanes at their right."""

    def __init__(self, graph: Graph, width: int) -> None:
        order = flowing(graph)
        position = {name: index for index, name in enumerate(order)}
        self._canvas = _Canvas()
        self._boxes = {name: _Box(_contents(graph, graph.nodes[name])) for name in order}
        straight = [edge for edge in graph.edges if position[edge.target] == position[edge.source] + 1]
        aside = [edge for edge in graph.edges if edge not in straight]
        for edge in aside:
            self._boxes[edge.target].stubs.append((edge, True))
        for edge in aside:
            self._boxes[edge.source].stubs.append((edge, False))
        for edge in straight:
            self._boxes[edge.source].below.append(edge)
        top = 0
        for box in self._boxes.values():
            box.top = top
            top = box.bottom + 1 + max(1, len(box.below))
        self._inner = max(len(line) for box in self._boxes.values() for line in box.lines) + 2
        lanes = self._lanes(aside)
        room = max(12, width - self._inner - 5 - 3 * (max(lanes.values(), default=0) + 1))
        self._labels = {edge: _shortened(_types(edge), room) for edge in graph.edges}
        first = self._inner + 8 + max((len(self._labels[edge]) for edge in aside), default=0)
        for box in self._boxes.values():
            self._draw_box(box)
        for edge in straight:
            self._draw_straight(edge)
        for edge in aside:  # lanes first: what runs across them is drawn over them
            self._draw_lane(edge, first + 3 * lanes[edge])
        for edge in aside:
            self._draw_stubs(edge, first + 3 * lanes[edge])

    def lines(self) -> Iterator[str]:
        """The drawing's lines."""
        return self._canvas.lines()

    def _rows(self, edge: Edge) -> tuple[int, int]:
        """The rows in which an edge leaves and arrives at the boxes' right sides."""
        source, target = self._boxes[edge.source], self._boxes[edge.target]
        return source.top + 1 + source.stubs.index((edge, False)), target.top + 1 + target.stubs.index((edge, True))

    def _lanes(self, edges: list[Edge]) -> dict[Edge, int]:
        """A lane for each edge: short ones inside, none shared where they run side by side."""
        lanes: dict[Edge, int] = {}
        spans: list[list[tuple[int, int]]] = []
        rows = {edge: sorted(self._rows(edge)) for edge in edges}
        for edge in sorted(edges, key=lambda edge: rows[edge][1] - rows[edge][0]):
            upper, lower = rows[edge]
            free = (i for i, taken in enumerate(spans) if all(lower < start or upper > end for start, end in taken))
            lane = next(free, len(spans))
            if lane == len(spans):
                spans.append([])
            spans[lane].append((upper, lower))
            lanes[edge] = lane
        return lanes

    def _draw_box(self, box: _Box) -> None:
        self._canvas.write(box.top, 0, f"┌{'─' * self._inner}┐")
        for row in range(box.top + 1, box.bottom):
            index = row - box.top - 1
            line = box.lines[index] if index < len(box.lines) else ""
            self._canvas.write(row, 0, f"│ {line:<{self._inner - 1}}│")
        self._canvas.write(box.bottom, 0, f"└{'─' * self._inner}┘")

    def _draw_straight(self, edge: Edge) -> None:
        source, target, strokes = self._boxes[edge.source], self._boxes[edge.target], _strokes(edge)
        if source.below[0] is edge:
            self._canvas.write(source.bottom, _DOWN, strokes.leaves)
            self._canvas.write(target.top, _DOWN, "▼")
        row = source.bottom + 1 + source.below.index(edge)
        self._canvas.write(row, _DOWN, f"{strokes.down} {self._labels[edge]}")

    def _draw_lane(self, edge: Edge, lane: int) -> None:
        strokes = _strokes(edge)
        upper, lower = sorted(self._rows(edge))
        for row in range(upper + 1, lower):
            self._canvas.write(row, lane, strokes.down)
        self._canvas.write(upper, lane, strokes.upper)
        self._canvas.write(lower, lane, strokes.lower)

    def _draw_stubs(self, edge: Edge, lane: int) -> None:
        strokes = _strokes(edge)
        leaving, arriving = self._rows(edge)
        self._canvas.across(leaving, self._inner + 2, lane, strokes.across)
        self._canvas.write(leaving, self._inner + 4, f" {self._labels[edge]} ")
        self._canvas.write(arriving, self._inner + 2, "◄")
        self._canvas.across(arriving, self._inner + 3, lane, strokes.across)


def _strokes(edge: Edge) -> _Strokes:
    return _FEEDBACK if edge.feedback else _HELD if edge.hold else _PLAIN


def _foot(graph: Graph, width: int) -> Iterator[str]:
    drawn = [edge for edge in graph.edges if not edge.feedback]
    if any(edge.hold for edge in drawn):
        held = ", ".join(
            edge.label + (f" ({format_duration(edge.capacity_ns)})" if edge.capacity_ns else "")
            for edge in drawn
            if edge.hold
        )
        yield from textwrap.wrap(f"║ held until the turn is over: {held}", width)
    if any(edge.feedback for edge in graph.edges):
        yield "┊ feedback: never blocks"
    if graph.budget:
        yield "budget: " + ", ".join(f"{name} {format_duration(ns)}" for name, ns in graph.budget.items())
