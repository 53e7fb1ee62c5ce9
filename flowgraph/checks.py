"""What can be known to be wrong with a graph before anything starts, beyond its form: cycles, owners, holds, effects."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable

import networkx as nx

from flowgraph.document import Spot, listed
from flowgraph.draft import Draft
from flowgraph.frame import End
from flowgraph.node import Node, Wired, port_name, ports
from flowgraph.specs import Edge
from flowgraph.units import MS, format_duration


def check(draft: Draft) -> str | None:
    """Report everything into the draft. Returns the owner's name."""
    owner = _owner(draft)
    _connected(draft)
    _cycles(draft)
    _circling(draft)
    _held(draft, owner)
    if owner is not None:
        _speculation(draft, owner)
        _interruptible(draft, owner)
        _ends(draft, owner)
    _as_nodes_say(draft)
    _typical(draft, owner)
    return owner


def order(draft: Draft) -> tuple[str, ...]:
    """Names in topological order, sources first, otherwise as written; feedback edges don't count."""
    graph = _digraph(draft.nodes, (edge for edge in draft.edges if not edge.feedback))
    index = {name: i for i, name in enumerate(draft.nodes)}
    return tuple(nx.lexicographical_topological_sort(graph, key=lambda n: (graph.in_degree(n) > 0, index[n])))


def _digraph(nodes: Iterable[str], edges: Iterable[Edge]) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(nodes)
    graph.add_edges_from((edge.source, edge.target) for edge in edges)
    return graph


def _name_of(name: str) -> Spot:
    return Spot(("nodes", name), key=True)


def _arrows(path: Iterable[str]) -> str:
    return " -> ".join(path)


def _owner(draft: Draft) -> str | None:
    owners = [name for name, spec in draft.nodes.items() if spec.cls.owns_turn]
    for other in owners[1:]:
        place = draft.nodes[owners[0]].place
        draft.report(
            _name_of(other),
            f"'{other}' owns the turn, and so does '{owners[0]}'",
            f"keep one of them; the other is at {place}",
        )
    for name in owners:
        if draft.nodes[name].on_error != "fail":
            spot = Spot(("nodes", name, "on_error"))
            draft.report(
                spot,
                f"{name}.on_error: the owner of the turn may only fail",
                "without it nobody answers: remove `on_error`",
            )
    return owners[0] if owners else None


def _connected(draft: Draft) -> None:
    if not draft.links and not draft.mentioned:
        return  # there are no edges: that is the problem
    fed = {link.target for link in draft.links if link.options.get("feedback") is not True} | draft.mentioned
    touched = {name for link in draft.links for name in (link.source, link.target)} | draft.mentioned
    taken = {link.source for link in draft.links} | draft.mentioned
    for name, spec in draft.nodes.items():
        declared = ports(spec.cls)
        if name not in touched:
            hint = _feeding(draft, name)
            draft.report(_name_of(name), f"'{name}' is unreachable: no edge names it", hint)
            continue
        starts_itself = spec.cls.live and _runs(spec.cls) and not spec.cls.needs
        if declared.inputs and name not in fed and not starts_itself:
            more = " but a feedback edge" if any(link.target == name for link in draft.links) else ""
            hint = _feeding(draft, name)
            draft.report(_name_of(name), f"nothing feeds '{name}'{more}", hint)
            continue
        arriving = [kind for edge in draft.edges if edge.target == name for kind in edge.types]
        for needed in spec.cls.needs:
            if (
                name not in draft.mentioned
                and _all_known(draft, name)
                and not any(issubclass(kind, needed) for kind in arriving)
            ):
                draft.report(
                    _name_of(name),
                    f"nothing feeds '{name}' the {needed.__name__} that it needs",
                    _yielding(draft, needed),
                )
        if declared.outputs and not spec.cls.effects and name not in taken:
            names = " | ".join(kind.__name__ for kind in declared.outputs)
            draft.warn(_name_of(name), f"nothing takes what '{name}' yields ({names})")


def _runs(cls: type[Node]) -> bool:
    return getattr(cls, "run", None) is not None


def _all_known(draft: Draft, name: str) -> bool:
    """Do all edges that it is at an end of join, and those into it have types? Where not, that is the problem to report."""
    wanted = sum(link.target == name for link in draft.links)
    return name not in draft.mentioned and wanted == sum(edge.target == name for edge in draft.edges)


def _replaced(draft: Draft, name: str) -> str:
    """What to know of a node without edges where a variant states edges of its own; "" where none does."""
    marks = draft.document.marks
    edges, node = marks.get(("edges",)), marks.get(("nodes", name))
    ranks = {file: rank for rank, file in enumerate(draft.document.files)}  # a variant before what it extends
    if edges is None or node is None or ranks.get(edges.source.file, 0) >= ranks.get(node.source.file, 0):
        return ""
    return f"the edges in {edges.source.file} take the place of all that it extends: state every one; "


def _feeding(draft: Draft, name: str) -> str:
    """What to do about a node that no edge feeds."""
    cls, replaced = draft.nodes[name].cls, _replaced(draft, name)
    inputs = ports(cls).inputs
    if not inputs:
        return f"{replaced}connect it with an edge, or remove it"
    makers = [name for name, spec in draft.nodes.items() if spec.cls is not cls and _yields(spec.cls, inputs)]
    takes = " | ".join(kind.__name__ for kind in inputs)
    return f"{replaced}it takes {takes}" + (f", which {listed(repr(m) for m in makers[:3])} can give" if makers else "")


def _yields(cls: type[Node], wanted: tuple[type, ...]) -> bool:
    return any(issubclass(output, wanted) for output in ports(cls).outputs)


def _yielding(draft: Draft, needed: type) -> str:
    makers = [f"'{name}'" for name, spec in draft.nodes.items() if _yields(spec.cls, (needed,))]
    return f"{listed(makers)} can give it: add an edge" if makers else "add a node that yields it"


def _cycles(draft: Draft) -> None:
    """One cycle of each knot of nodes, whole. Links count even where their types don't fit."""
    forward = [link for link in draft.links if link.options.get("feedback") is not True]
    graph: nx.DiGraph = nx.DiGraph()
    graph.add_edges_from((link.source, link.target) for link in forward)
    index = {name: i for i, name in enumerate(draft.declared)}
    knots = [knot for knot in nx.strongly_connected_components(graph) if len(knot) > 1]
    for knot in sorted(knots, key=lambda names: min(index.get(name, 0) for name in names)):
        start = min(knot, key=lambda name: index.get(name, 0))
        inner = graph.subgraph(knot)
        back = min(inner.predecessors(start), key=lambda name: nx.shortest_path_length(inner, start, name))
        cycle = [*nx.shortest_path(inner, start, back), start]
        link = next(link for link in forward if (link.source, link.target) == (back, start))
        draft.report(
            link.source_spot,
            f"a cycle without a feedback edge: {_arrows(cycle)}",
            f"mark the edge that leads back: {{from: {back}, to: {start}, feedback: true}}",
        )
    closed: nx.DiGraph = nx.DiGraph()
    closed.add_edges_from((link.source, link.target) for link in draft.links)
    for edge in draft.edges:
        if edge.feedback and not nx.has_path(closed, edge.target, edge.source):
            spot = draft.spots[edge].option_spot("feedback")
            draft.warn(
                spot, f"feedback: {edge.label} closes no cycle", "without `feedback` it counts for the order of closing"
            )


def _circling(draft: Draft) -> None:
    """A Plan that a feedback edge brings back to where it is passed on goes round for ever."""
    for edge in draft.edges:
        for kind in edge.types if edge.feedback else ():
            passed_on = _digraph(draft.nodes, (other for other in draft.edges if kind in other.types))
            if kind.is_plan and nx.has_path(passed_on, edge.target, edge.source):
                circle = [*nx.shortest_path(passed_on, edge.target, edge.source), edge.target]
                fact = next((port_name(other) for other in edge.types if not other.is_plan), "")
                meant = f"{{from: {edge.source}.{fact}, to: {edge.target}, feedback: true}}"
                draft.report(
                    draft.spots[edge].source_spot,
                    f"{kind.__name__} would go round in a circle: {_arrows(circle)}",
                    f"say which output is meant: {meant}" if fact else "only facts go back: remove the edge",
                )
                break


def _held(draft: Draft, owner: str | None) -> None:
    for edge in draft.edges:
        if edge.hold and owner is None:
            spot = draft.spots[edge].option_spot("hold")
            draft.report(
                spot,
                "hold: no node owns the turn, so nothing would ever be released",
                "remove `hold`, or add a dialogue",
            )


def _plans(edge: Edge) -> bool:
    return any(kind.is_plan for kind in edge.types)


def _speculation(draft: Draft, owner: str) -> None:
    if owner not in draft.instances or not draft.instances[owner].speculates():
        return
    free = _digraph(draft.nodes, (edge for edge in draft.edges if _plans(edge) and not edge.hold))
    for name, spec in draft.nodes.items():
        if not spec.cls.effects or not nx.has_path(free, owner, name):
            continue
        path = nx.shortest_path(free, owner, name)
        last = next(
            edge
            for edge in draft.edges
            if (edge.source, edge.target) == (path[-2], name) and _plans(edge) and not edge.hold
        )
        draft.report(
            draft.spots[last].source_spot,
            f"'{owner}' speculates, and an answer could be heard or done before it is committed: {_arrows(path)}",
            f"hold it on the way: {{from: {path[-2]}, to: {name}, hold: commit}}; or turn the speculation off",
        )


def _interruptible(draft: Draft, owner: str) -> None:
    """Plans that reach a node with effects begin at the owner: only those can be interrupted."""
    plans = _digraph(draft.nodes, (edge for edge in draft.edges if _plans(edge)))
    for name, spec in draft.nodes.items():
        if not spec.cls.effects:
            continue
        for origin in draft.nodes:
            if origin in (owner, name) or plans.in_degree(origin) or not _all_known(draft, origin):
                continue
            if not nx.has_path(plans, origin, name):
                continue
            path = nx.shortest_path(plans, origin, name)
            link = next(
                draft.spots[edge]
                for edge in draft.edges
                if (edge.source, edge.target) == tuple(path[:2]) and _plans(edge)
            )
            draft.report(
                link.source_spot,
                f"no owner can interrupt what '{origin}' sends to '{name}': {_arrows(path)}",
                f"lead it through '{owner}', which owns the turn, or remove '{owner}'",
            )


def _ends(draft: Draft, owner: str) -> None:
    """Whoever waits for the End of the owner's answers must be sent it, or the answer never counts as over."""
    plans = _digraph(draft.nodes, (edge for edge in draft.edges if _plans(edge)))
    for name, spec in draft.nodes.items():
        if End not in ports(spec.cls).inputs or not _all_known(draft, name):
            continue
        edges = [e for e in draft.edges if e.target == name and _plans(e) and nx.has_path(plans, owner, e.source)]
        if edges and not any(End in edge.types for edge in edges):
            source, link = edges[0].source, draft.spots[edges[0]]
            declared = ports(draft.nodes[source].cls)
            if link.port and End in declared.outputs:
                draft.report(
                    link.port_spot,
                    f"'{name}' waits for the End of each answer, which '{link.port}' leaves out",
                    f"name no port, and all that '{name}' takes is carried: from {source} to {name}",
                )
                continue
            takes = " | ".join(kind.__name__ for kind in dict.fromkeys((*declared.inputs, End)))
            draft.report(
                link.source_spot,
                f"'{name}' waits for the End of each answer, and '{source}' doesn't pass it on",
                f"let '{source}' take it and yield it again: process(self, frame: {takes})",
            )


def _as_nodes_say(draft: Draft) -> None:
    """What only a node can know of its edges, where nothing else is wrong with them."""
    for name, node in draft.instances.items():
        links = [link for link in draft.links if name in (link.source, link.target)]
        edges = [edge for edge in draft.edges if name in (edge.source, edge.target)]
        if name in draft.mentioned or len(links) != len(edges):
            continue
        fed = frozenset(kind for edge in edges if edge.target == name for kind in edge.types)
        taken = frozenset(kind for edge in edges if edge.source == name for kind in edge.types)
        try:
            for trouble in node.edge_problems(Wired(fed, taken)):
                draft.tell(name, trouble)
        except Exception as error:
            draft.tell(name, f"its own checks failed: {type(error).__name__}: {error}")


def _typical(draft: Draft, owner: str | None) -> None:
    """When the first sound is typically heard, against the budget.

    The owner decides while its inputs are on their way, so the later of the two counts. What is held waits for that decision:
    where the owner speculates, what the answer takes is hidden behind it.
    """
    forward = _digraph(draft.nodes, (edge for edge in draft.edges if not edge.feedback))
    if not nx.is_directed_acyclic_graph(forward) or len(draft.instances) < len(draft.nodes):
        return
    decided = _Typical()
    done: dict[str, _Typical] = {}
    for name in nx.topological_sort(forward):
        node = draft.instances[name]
        into = (edge for edge in draft.edges if edge.target == name and not edge.feedback)
        ways = (_later(done[edge.source], decided) if edge.hold else done[edge.source] for edge in into)
        came = functools.reduce(_later, ways, _Typical())
        if name == owner:
            decided = _later(came, _Typical().and_then(name, node.typical_ns()))
            done[name] = came.and_then(name, node.candidate_ns()) if node.speculates() else decided
        else:
            done[name] = came.and_then(name, node.typical_ns())
    slowest = functools.reduce(_later, done.values(), _Typical())
    for name, limit in draft.budget.items():
        if slowest.ns > limit:
            draft.warn(
                ("budget", name),
                f"budget.{name}: {format_duration(limit)}, but {slowest} is typical",
                "so the nodes say of themselves; what it really takes, a run measures",
            )


@dataclasses.dataclass(frozen=True, slots=True)
class _Typical:
    """What happens one after the other until something is there."""

    parts: tuple[tuple[str, int], ...] = ()
    """(node, nanoseconds)."""

    @property
    def ns(self) -> int:
        return sum(ns for _, ns in self.parts)

    def and_then(self, name: str, ns: int) -> _Typical:
        return _Typical((*self.parts, (name, ns))) if ns else self

    def __str__(self) -> str:
        """`dialogue 400 + llm 200 = 600 ms`."""
        total = f" = {self.ns / MS:g}" if len(self.parts) > 1 else ""
        return " + ".join(f"{name} {ns / MS:g}" for name, ns in self.parts) + f"{total} ms"


def _later(one: _Typical, other: _Typical) -> _Typical:
    return other if other.ns > one.ns else one
