"""Links → edges: which nodes they join, what they carry, and how much of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from flowgraph.document import suggest
from flowgraph.draft import Draft
from flowgraph.edges import Link, Types, carried, chosen, effective_outputs, links
from flowgraph.frame import Frame
from flowgraph.node import Ports, port_name, ports
from flowgraph.specs import Edge, Overflow
from flowgraph.units import SECOND, parse_duration

FRAMES = 64
"""Default capacity of an edge."""
SOUND_NS = 5 * SECOND
"""Default capacity of an edge that carries sound: long enough for a hiccup of the network, short enough to notice."""
SHORTEST_NS = 1_000_000
"""An edge bounded in time holds at most as many frames as if each lasted 1 ms."""
MOST_FRAMES = 100_000
LONGEST_NS = 600 * SECOND


def wire(draft: Draft) -> None:
    """Fill the draft's links and edges, and report what is wrong with them."""
    known = {name: ports(spec.cls) for name, spec in draft.nodes.items()}
    for link in links(draft.document, draft.problems):
        if _joins(draft, link, known):
            draft.links.append(link)
    understood = {link.path[:2] for link in draft.links}
    written = draft.document.value(("edges",))
    for index, item in enumerate(written if isinstance(written, list) else ()):
        if ("edges", index) not in understood or not isinstance(item, str | dict):
            draft.mentioned |= draft.declared.keys() & set(re.findall(r"[\w-]*\w", str(item)))
    outputs = effective_outputs(known, draft.links)
    seen: dict[tuple[str, str], list[tuple[Link, Types]]] = {}
    for link in draft.links:
        types: Types = ()
        if link.source in known and link.target in known:
            types = _types(draft, link, known[link.source], outputs[link.source], known[link.target].inputs)
        edge = _edge(draft, link, types)
        earlier = seen.setdefault((link.source, link.target), [])
        twin = next((other for other, others in earlier if set(types) & set(others)), None)
        earlier.append((link, types))
        if twin is not None:
            _report_twin(draft, link, twin, types)
        elif types:
            draft.edges.append(edge)
            draft.spots[edge] = link


def _joins(draft: Draft, link: Link, known: dict[str, Ports]) -> bool:
    """Do both ends exist? Where they don't, what else can be known of the link is reported now."""
    names = ((link.source, link.source_spot), (link.target, link.target_spot))
    missing = [(name, spot) for name, spot in names if name not in draft.declared]
    for name, spot in missing if draft.declared else ():
        if (taken_out := draft.document.removed.get(("nodes", name))) is not None:
            what = f"'{name}' is taken out, and edges still name it"
            hint = "state the `edges:` anew, all of them, without it"
            draft.problems.append(taken_out.source.problem(taken_out.key, what, hint))
        else:
            draft.report(spot, f"there is no node '{name}'", suggest(name, sorted(draft.declared), what="nodes"))
        draft.mentioned |= {link.source, link.target} & draft.declared.keys()
    if link.source == link.target and not missing:
        draft.report(link.target_spot, f"an edge from '{link.source}' to itself", "keep the state inside the node")
        return False
    if missing and link.source in known:
        _port(draft, link, known[link.source], known[link.source].outputs)
    return not missing


def _port(draft: Draft, link: Link, declared: Ports, effective: Types) -> Types | None:
    types = chosen(link.port, declared.outputs, effective)
    if types is None:
        names = [port_name(kind) for kind in dict.fromkeys([*declared.outputs, *effective])]
        hint = suggest(link.port, names, what=f"'{link.source}' yields") or f"'{link.source}' yields nothing"
        draft.report(link.port_spot, f"'{link.source}' has no output '{link.port}'", hint)
    return types


def _types(draft: Draft, link: Link, declared: Ports, effective: Types, inputs: Types) -> Types:
    types = _port(draft, link, declared, effective)
    if types is None:
        return ()
    found = carried(types, inputs)
    if not found:
        there = " there" if link.port else ""
        hint = f"'{link.source}' yields {_names(types)}; '{link.target}' takes {_names(inputs)}"
        draft.report(link.target_spot, f"'{link.target}' takes nothing that '{link.source}' yields{there}", hint)
    return found


def _names(types: Types) -> str:
    return " | ".join(kind.__name__ for kind in types) or "nothing"


def _report_twin(draft: Draft, link: Link, twin: Link, types: Types) -> None:
    line = draft.document.place(twin.source_spot).rpartition(":")[0]
    both = f" (both carry {_names(types)})" if link.port or twin.port else ""
    draft.report(link.source_spot, f"the edge {link.label} is there already{both}", f"see {line}")


# -- options ------------------------------------------------------------------------------------------------------------


def _edge(draft: Draft, link: Link, types: Types) -> Edge:
    """The edge of a link. Without types (its ends don't meet) only the form of its options is checked."""
    frames, ns = _capacity(draft, link, types)
    return Edge(
        source=link.source,
        target=link.target,
        types=types,
        capacity=frames,
        capacity_ns=ns,
        overflow=_overflow(draft, link, types),
        hold=_hold(draft, link, types),
        feedback=_feedback(draft, link),
        place=draft.document.place(link.source_spot),
    )


def _reporter(draft: Draft, link: Link, option: str) -> Callable[[str, str], None]:
    def report(message: str, hint: str = "") -> None:
        draft.report(link.option_spot(option), f"{option}: {message}", hint)

    return report


def _found(draft: Draft, link: Link, option: str) -> str:
    return draft.document.found((*link.path, option))


def _lasts(kind: type[Frame]) -> bool:
    return kind.duration_ns is not Frame.duration_ns


def _capacity(draft: Draft, link: Link, types: Types) -> tuple[int, int]:
    """Frames and nanoseconds. A duration counts sound; what has none (an End) is only bounded in frames."""
    report = _reporter(draft, link, "capacity")
    sound = any(_lasts(kind) for kind in types)
    value = link.options.get("capacity")
    if value is None:
        ns = SOUND_NS if sound else 0
        return max(FRAMES, ns // SHORTEST_NS), ns
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:  # a variable, which braces make text
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_FRAMES:
        return value, 0
    ns = _duration(value)
    if not 0 < ns <= LONGEST_NS:
        expected = f"expected frames, from 1 to {MOST_FRAMES}, or for sound a duration of at most 10min"
        report(f"{expected}, found {_found(draft, link, 'capacity')}", "for example capacity: 64, or capacity: 2s")
    elif types and not sound:
        report(
            f"{link.label} carries {_names(types)}, which has no duration",
            f"give a number of frames: capacity: {FRAMES}",
        )
    return max(1, min(ns, LONGEST_NS) // SHORTEST_NS), ns


def _duration(value: Any) -> int:
    try:
        return parse_duration(value) if isinstance(value, str) else 0
    except (ValueError, OverflowError):
        return 0


def _overflow(draft: Draft, link: Link, types: Types) -> Overflow:
    """Facts of a live producer may be lost, and it is said how; everything else waits; what goes back never waits."""
    report = _reporter(draft, link, "overflow")
    feedback = link.options.get("feedback") is True
    plans = any(kind.is_plan for kind in types)
    live = link.source in draft.nodes and draft.nodes[link.source].cls.live and bool(types) and not plans
    value = link.options.get("overflow")
    if value is None:
        return "fail" if feedback else "drop_oldest" if live else "block"
    if value not in ("block", "drop_oldest", "fail"):
        report(f"expected block, drop_oldest or fail, found {_found(draft, link, 'overflow')}", "")
    elif feedback and value == "block":
        report("a feedback edge never blocks, or the cycle could stand still", "overflow: fail, or drop_oldest")
    elif plans and not feedback and value != "block":
        report("an edge that carries Plans only blocks: an answer with holes is no answer", "remove `overflow`")
    elif plans and feedback and value == "drop_oldest":
        report("a Plan is never dropped: an answer with holes is no answer", "overflow: fail")
    elif live and not feedback and value == "block":
        what = f"'{link.source}' is live and can't wait, so its edge can't block"
        report(what, "say what to lose: overflow: drop_oldest, or fail")
    else:
        return value  # type: ignore[no-any-return]
    return "block"


def _hold(draft: Draft, link: Link, types: Types) -> bool:
    report = _reporter(draft, link, "hold")
    value = link.options.get("hold")
    if value is None:
        return False
    if value != "commit":
        report(f"expected commit, found {_found(draft, link, 'hold')}", "hold: commit")
        return False
    if types and not any(kind.is_plan for kind in types):
        report(f"{link.label} carries no Plan, so there is nothing to hold", "hold the edge that carries the answer")
    elif link.options.get("feedback") is True:
        report("a feedback edge never blocks, so it can't hold", "remove one of the two")
    return True


def _feedback(draft: Draft, link: Link) -> bool:
    value = link.options.get("feedback", False)
    if not isinstance(value, bool):
        _reporter(draft, link, "feedback")(f"expected true or false, found {_found(draft, link, 'feedback')}", "")
        return False
    return value
