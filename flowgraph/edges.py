"""How edges are written, and what travels on them.

An item of `edges:` is a chain, `mic -> vad -> dialogue`, whose producers may name one port (`stt.transcript -> printer`), or
a map with options: `{from: tts, to: speaker, hold: commit, capacity: 2s}`.

An edge carries the types that its producer yields and its consumer takes, whichever of the two is narrower. A node
that passes on what it takes (`gain`: Sound in, Sound out) yields what it is fed with: `mic -> gain -> vad` carries Audio.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from flowgraph.document import DataPath, Document, Spot, quoted, suggest
from flowgraph.errors import Problem
from flowgraph.frame import Fact, Frame, Plan
from flowgraph.node import Ports, port_name

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_END = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)(?:\.([A-Za-z0-9_]+))?")
_OPTIONS = ("from", "to", "capacity", "overflow", "hold", "feedback")
_ARROWS = re.compile(r"-->|=>|→|>>|<-|-\s+>|(?<!-)>")

MANY = 20
"""Names: so many aren't repeated in a hint."""

Types = tuple[type[Frame], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """An edge as it is written: nothing about it is checked but its form."""

    source: str
    port: str
    """The one port that it takes; "" = every type that fits."""
    target: str
    path: DataPath
    source_spot: Spot
    port_spot: Spot
    target_spot: Spot
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def label(self) -> str:
        """`stt.transcript -> printer`."""
        return f"{self.source}{'.' if self.port else ''}{self.port} -> {self.target}"

    def option_spot(self, name: str) -> Spot:
        """Where an option of the edge is written; the whole edge if it isn't."""
        return Spot((*self.path, name)) if name in self.options else self.source_spot


def links(document: Document, problems: list[Problem]) -> Iterator[Link]:
    """Every edge of `edges:`. What isn't an edge goes to `problems`."""
    written = document.value(("edges",))
    if not isinstance(written, list) or not written:
        found = f"edges: expected a list, found {document.found(('edges',))}" if written else "there are no edges"
        problems.append(
            document.problem(Spot(("edges",), key=not written), found, "for example: edges: [mic -> speaker]")
        )
        return
    for index, item in enumerate(written):
        path: DataPath = ("edges", index)
        if isinstance(item, str):
            yield from _chain(document, path, item, problems)
        elif isinstance(item, dict):
            yield from _map(document, path, item, problems)
        else:
            names = item if isinstance(item, list) and all(isinstance(name, str) for name in item) else []
            hint = f"write {' -> '.join(names)}" if 2 <= len(names) < MANY else "for example: mic -> vad"
            problems.append(
                document.problem(path, f"expected an edge, found {document.found(path)}", document.as_written(hint))
            )


def _chain(document: Document, path: DataPath, text: str, problems: list[Problem]) -> Iterator[Link]:
    ends: list[tuple[str, str, Spot, Spot]] = []
    at = 0
    for part in text.split("->"):
        name = part.strip()
        offset = at + len(part) - len(part.lstrip())
        at += len(part) + 2
        match = _END.fullmatch(name)
        if match is None:
            spot = Spot(path, offset=offset, width=max(1, len(name)))
            message = f"expected the name of a node, found {quoted(name)}" if name else "a node's name is missing here"
            hint = "a name has letters, digits, '_' and '-', and begins with a letter"
            if name[:1] in ("[", "{") or "," in name:
                hint = "one edge each: several consumers are several edges"
            elif not name or _ARROWS.search(text):
                hint = "an arrow is written ->, with a name on either side"
            problems.append(document.problem(spot, message, hint))
            return
        port_at = offset + len(match[1]) + 1
        ends.append(
            (match[1], match[2] or "", Spot(path, offset=offset, width=len(match[1])),
             Spot(path, offset=port_at, width=len(match[2] or "")))
        )  # fmt: skip
    if len(ends) < 2:
        problems.append(document.problem(path, f"{quoted(text)} is no edge: it names one node", "write a -> b"))
        return
    if ends[-1][1]:
        hint = f"a port is named where it leaves a node: {ends[-2][0]}.port -> {ends[-1][0]}"
        problems.append(document.problem(ends[-1][3], f"'{ends[-1][0]}' receives here: it can't name a port", hint))
    for (source, port, source_spot, port_spot), (target, _, target_spot, _) in pairwise(ends):
        yield Link(source, port, target, path, source_spot, port_spot, target_spot)


def _map(document: Document, path: DataPath, item: Mapping[str, Any], problems: list[Problem]) -> Iterator[Link]:
    if not {"from", "to"} & item.keys():
        hint = "an edge with options is {from: a, to: b, …}"
        if len(item) == 1 and all(isinstance(value, str) and NAME.fullmatch(value) for value in item.values()):
            hint = f"write {' -> '.join(str(word) for pair in item.items() for word in pair)}"
        problems.append(document.problem(path, "the edge has neither 'from' nor 'to'", document.as_written(hint)))
        return
    for name in item:
        if name not in _OPTIONS:
            hint = "an edge with options is {from: a, to: b, …}" if "->" in name else suggest(name, _OPTIONS)
            problems.append(
                document.problem(Spot((*path, name), key=True), f"an edge has no option {quoted(name)}", hint)
            )
    ends: dict[str, re.Match[str]] = {}
    for name in ("from", "to"):
        here = (*path, name)
        value = item.get(name)
        match = _END.fullmatch(value) if isinstance(value, str) else None
        if match is not None and not (name == "to" and match[2]):
            ends[name] = match
        elif name not in item:
            problems.append(
                document.problem(path, f"the edge has no '{name}'", "an edge with options is {from: a, to: b, …}")
            )
        elif match is not None:
            hint = f"a port is named where it leaves a node: from: {item.get('from')}.port"
            problems.append(document.problem(here, f"'{match[1]}' receives here: it can't name a port", hint))
        else:
            hint = "one edge each: several consumers are several edges" if isinstance(value, list) else ""
            problems.append(document.problem(here, f"expected the name of a node, found {document.found(here)}", hint))
    if len(ends) == 2:
        start, port = ends["from"][1], ends["from"][2] or ""
        here = (*path, "from")
        yield Link(
            start, port, ends["to"][1], path,
            Spot(here, width=len(start)), Spot(here, offset=len(start) + 1, width=len(port)), Spot((*path, "to")),
            {name: value for name, value in item.items() if name in _OPTIONS[2:]},
        )  # fmt: skip


# -- types --------------------------------------------------------------------------------------------------------------


def carried(outputs: Iterable[type[Frame]], inputs: Iterable[type[Frame]]) -> Types:
    """The types that travel: each output that an input accepts, or the input where that is the narrower of the two."""
    takes = tuple(inputs)
    found: list[type[Frame]] = []
    for output in outputs:
        if issubclass(output, takes):
            found.append(output)
        else:
            found += (taken for taken in takes if issubclass(taken, output))
    return tuple(dict.fromkeys(found))


def chosen(port: str, declared: Types, effective: Types) -> Types | None:
    """The types that a producer's port names; every type for "". None if there is no such port."""
    if not port:
        return effective
    for types in (declared, effective):
        for kind in types:
            if port_name(kind) == port:
                return tuple(other for other in effective if issubclass(other, kind))
    return None


def effective_outputs(ports: Mapping[str, Ports], wires: Iterable[Link]) -> dict[str, Types]:
    """What each node really yields: where it declares a type of no kind (Sound, Frame), the ones that it passes on.

    The least fixpoint: what a node passes on begins empty and grows along the edges until nothing changes. A node that
    nobody feeds keeps what it declares.
    """
    passing = {name: tuple(o for o in p.outputs if _passes(o, p.inputs)) for name, p in ports.items()}
    outputs: dict[str, Types] = {
        name: tuple(o for o in p.outputs if o not in passing[name]) for name, p in ports.items()
    }
    known = [wire for wire in wires if wire.source in ports and wire.target in ports]
    changed = True
    while changed:
        changed = False
        for wire in known:
            types = chosen(wire.port, ports[wire.source].outputs, outputs[wire.source]) or ()
            for kind in carried(types, ports[wire.target].inputs):
                if issubclass(kind, passing[wire.target]) and kind not in outputs[wire.target]:
                    outputs[wire.target] += (kind,)
                    changed = True
    return {name: _in_order(p.outputs, outputs[name], passing[name]) for name, p in ports.items()}


def _passes(output: type[Frame], inputs: Types) -> bool:
    """Is it a type of no kind, which nobody makes, and taken as well?"""
    generic = output in (Fact, Plan) or not issubclass(output, (Fact, Plan))
    return generic and any(issubclass(taken, output) or issubclass(output, taken) for taken in inputs)


def _in_order(declared: Types, effective: Types, passing: Types) -> Types:
    found: list[type[Frame]] = []
    for kind in declared:
        narrower = [other for other in effective if issubclass(other, kind)] if kind in passing else []
        found += narrower or [kind]
    return tuple(dict.fromkeys(found))
