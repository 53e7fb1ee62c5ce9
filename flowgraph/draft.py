"""A document, read section by section into specs. Every problem is collected; nothing raises."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from flowgraph import catalog
from flowgraph.document import DataPath, Document, Spot, quoted, suggest
from flowgraph.edges import NAME, Link, Types, carried, chosen, effective_outputs, links
from flowgraph.errors import Problem
from flowgraph.node import Node, OnError, port_name, ports, service_options
from flowgraph.options import wrong_options
from flowgraph.specs import Edge, NodeSpec, Overflow, ServiceSpec
from flowgraph.units import SECOND, parse_duration

SECTIONS = ("name", "description", "extends", "services", "nodes", "edges", "budget")
FRAMES = 64
"""Default capacity of an edge."""
SOUND_NS = 5 * SECOND
"""Default capacity of an edge that carries sound: long enough for a hiccup of the network, short enough to notice."""
SHORTEST_NS = 1_000_000
"""An edge bounded in time holds at most as many frames as if each lasted 1 ms."""
_LONGEST_NS = 600 * SECOND
_BUDGET = re.compile(r"first_audio_p[0-9]{2}")


class Draft:
    """What could be read of a document: specs, and the problems with the rest."""

    def __init__(self, document: Document, types: Mapping[str, type[Node]]) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.declared: set[str] = set()
        """Names of all nodes, also of those that can't be used."""
        self.nodes: dict[str, NodeSpec] = {}
        self.instances: dict[str, Node] = {}
        """One instance of each node whose options are right, to ask what only it knows."""
        self.services: dict[str, ServiceSpec] = {}
        self.links: list[Link] = []
        """Every edge between declared nodes, also where no type fits."""
        self.edges: list[Edge] = []
        self.spots: dict[Edge, Link] = {}
        self.budget: dict[str, int] = {}
        self._sections()
        self._nodes(types)
        self._services()
        self._links()
        self._edges()
        self._budget()

    def report(self, spot: Spot | DataPath, message: str, hint: str = "") -> None:
        """Collect a problem."""
        self.problems.append(self.document.problem(spot, message, hint))

    def warn(self, spot: Spot | DataPath, message: str, hint: str = "") -> None:
        """Collect what may be meant, but probably isn't."""
        self.warnings.append(self.document.problem(spot, message, hint))

    def text(self, name: str, default: str) -> str:
        """A section that is one text."""
        value = self.document.data.get(name)
        if value is None:
            return default
        if not isinstance(value, str | int | float):
            self.report((name,), f"{name}: expected text, found {self.document.found((name,))}")
            return default
        return str(value)

    def _sections(self) -> None:
        for name in self.document.data:
            if name not in SECTIONS:
                self.report(
                    Spot((name,), key=True),
                    f"there is no section {quoted(name)}",
                    suggest(name, SECTIONS, what="sections"),
                )

    def _entries(self, section: str, example: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Names and maps of `nodes:` and `services:`."""
        value = self.document.data.get(section)
        if value is None:
            return
        if not isinstance(value, dict):
            self.report(
                (section,),
                f"{section}: expected a map of names, found {self.document.found((section,))}",
                f"for example: {example}",
            )
            return
        for name, entry in value.items():
            spot = Spot((section, name), key=True)
            if section == "nodes":
                self.declared.add(name)
            if not NAME.fullmatch(name):
                self.report(
                    spot, f"{quoted(name)} is no name", "letters, digits, '_' and '-', at most 64, a letter first"
                )
            elif section == "nodes" and name in SECTIONS:
                self.report(spot, f"a node can't be called '{name}'", "`--set` could not tell it from the section")
            elif not isinstance(entry, dict):
                found = self.document.found((section, name))
                self.report(spot, f"'{name}': expected a map, found {found}", f"for example: {example}")
            else:
                yield name, entry

    # -- nodes ----------------------------------------------------------------------------------------------------------

    def _nodes(self, types: Mapping[str, type[Node]]) -> None:
        if not self.document.data.get("nodes"):
            self.report(Spot(("nodes",), key=True), "there are no nodes", "for example: nodes: {mic: {type: mic}}")
            return
        for name, entry in self._entries("nodes", "vad: {type: vad}"):
            path = ("nodes", name)
            cls = self._class(name, entry, types)
            on_error = self._on_error(path, entry)
            if cls is None:
                continue
            options = {key: value for key, value in entry.items() if key not in ("type", "on_error")}
            spec = NodeSpec(name, entry["type"], cls, options, on_error, self.document.place(Spot(path, key=True)))
            self.nodes[name] = spec
            if self._options(spec):
                self._ask(spec)

    def _class(self, name: str, entry: Mapping[str, Any], types: Mapping[str, type[Node]]) -> type[Node] | None:
        path = ("nodes", name)
        kind = entry.get("type")
        if kind is None:
            hint = (
                f"{name}: {{type: {name}}}"
                if name in self._known(types)
                else suggest(name, self._known(types), what="types")
            )
            self.report(Spot(path, key=True), f"'{name}' has no type", hint)
            return None
        if not isinstance(kind, str):
            self.report(
                (*path, "type"),
                f"{name}.type: expected the name of a type, found {self.document.found((*path, 'type'))}",
            )
            return None
        try:
            return catalog.find(kind, types)
        except catalog.UnusableType as error:
            self.report((*path, "type"), self.document.as_written(error.message), error.hint)
            return None

    def _known(self, types: Mapping[str, type[Node]]) -> list[str]:
        try:
            return [*types, *catalog.built_in()]
        except catalog.UnusableType:
            return list(types)

    def _on_error(self, path: DataPath, entry: Mapping[str, Any]) -> OnError:
        value = entry.get("on_error", "fail")
        if value not in ("fail", "skip", "restart"):
            here = (*path, "on_error")
            self.report(here, f"{path[1]}.on_error: expected fail, skip or restart, found {self.document.found(here)}")
            return "fail"
        return value  # type: ignore[no-any-return]

    def _options(self, spec: NodeSpec) -> bool:
        path = ("nodes", spec.name)
        found = False
        for wrong in wrong_options(spec.cls, spec.options, lambda loc: self.document.found((*path, *loc))):
            found = True
            label = ".".join([spec.name, *(str(part) for part in wrong.loc)])
            message = self.document.as_written(wrong.message)
            self.report(Spot((*path, *wrong.loc), key=wrong.key), f"{label}: {message}", wrong.hint)
        return not found

    def _ask(self, spec: NodeSpec) -> None:
        spot = Spot(("nodes", spec.name), key=True)
        try:
            node = spec.make()
            problems = list(node.problems())
            node.speculates()
        except Exception as error:
            self.report(
                spot,
                f"{spec.name}: its own checks failed: {self.document.as_written(f'{type(error).__name__}: {error}')}",
            )
            return
        self.instances[spec.name] = node
        for problem in problems:
            self.report(spot, f"{spec.name}: {self.document.as_written(problem)}")

    # -- services -------------------------------------------------------------------------------------------------------

    def _services(self) -> None:
        servers, users = self._service_users()
        for name, entry in self._entries("services", "stt: {url: embedded}"):
            path = ("services", name)
            for field in entry:
                if field not in ("url", "key", "options"):
                    known = suggest(field, ("url", "key", "options"))
                    self.report(Spot((*path, field), key=True), f"a service has no {quoted(field)}", known)
            url = self._url(name, entry)
            key = entry.get("key")
            if key is not None and not isinstance(key, str | int | float):
                self.report((*path, "key"), f"{name}.key: expected text")
            options = entry.get("options", {})
            if not isinstance(options, dict):
                self.report(
                    (*path, "options"),
                    f"{name}.options: expected a map, found {self.document.found((*path, 'options'))}",
                )
                options = {}
            modules = list(dict.fromkeys(servers.get(name, [])))
            if url == "embedded":
                self._embedded(name, modules, users)
            elif url and options:
                self.warn(Spot((*path, "options"), key=True), f"{name}.options only reach an embedded server")
            if name not in users:
                self.warn(Spot(path, key=True), f"no node uses the service '{name}'")
            place = self.document.place(Spot(path, key=True))
            self.services[name] = ServiceSpec(
                name, url, "" if key is None else str(key), modules[0] if modules else "", options, place
            )  # fmt: skip

    def _service_users(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """By service: the server modules that its nodes bring, and the nodes. Reports services that nobody declares."""
        declared = self.document.data.get("services")
        declared = declared if isinstance(declared, dict) else {}
        servers: dict[str, list[str]] = {}
        users: dict[str, list[str]] = {}
        for spec in self.nodes.values():
            for option in service_options(spec.cls):
                name = spec.options.get(option, spec.cls.model_fields[option].default)
                if not isinstance(name, str) or not name:
                    continue
                users.setdefault(name, []).append(spec.name)
                if spec.cls.server:
                    servers.setdefault(name, []).append(spec.cls.server)
                if name in declared:
                    continue
                path = ("nodes", spec.name, option)
                written = path in self.document.marks
                hint = suggest(name, declared) if declared and written else ""
                if "did you mean" not in hint:
                    hint = (
                        f"declare it: services: {{{name}: {{url: {'embedded' if spec.cls.server else 'https://…'}}}}}"
                    )
                shown = self.document.found(path) if written else quoted(name)
                self.report(
                    path if written else Spot(path[:2], key=True),
                    f"'{spec.name}' needs the service {shown}, which is not declared", hint,
                )  # fmt: skip
        return servers, users

    def _url(self, name: str, entry: Mapping[str, Any]) -> str:
        path = ("services", name)
        here = (*path, "url")
        hint = "url: embedded, or a URL such as http://localhost:8000"
        if entry.get("url") is None:
            self.report(Spot(path, key=True), f"the service '{name}' has no url", hint)
            return ""
        url = entry["url"]
        try:
            parts = urlsplit(url) if isinstance(url, str) else None
            good = url == "embedded" or (
                parts is not None
                and parts.scheme in ("http", "https", "ws", "wss")
                and bool(parts.hostname)
                and (parts.port or 1) > 0
            )
        except ValueError:  # a bad port or IPv6 address
            good = False
        if good:
            return str(url)
        close = isinstance(url, str) and suggest(url, ["embedded"]).startswith("did you mean")
        self.report(
            here,
            f"{name}.url: expected 'embedded' or a URL, found {self.document.found(here)}",
            "did you mean 'embedded'?" if close else hint,
        )
        return ""

    def _embedded(self, name: str, modules: list[str], users: Mapping[str, list[str]]) -> None:
        here = ("services", name, "url")
        if len(modules) > 1:
            message = f"the service '{name}' would start two servers: {' and '.join(modules)}"
            self.report(here, message, "declare one service for each")
        elif not modules and name in users:
            who = " and ".join(f"'{user}'" for user in users[name])
            self.report(
                here, f"{who} brings no server of its own: '{name}' can't be embedded", "give the URL of a server"
            )

    # -- edges ----------------------------------------------------------------------------------------------------------

    def _links(self) -> None:
        for link in links(self.document, self.problems):
            fine = True
            for name, spot in ((link.source, link.source_spot), (link.target, link.target_spot)):
                if name not in self.declared:
                    fine = False
                    self.report(spot, f"there is no node '{name}'", suggest(name, sorted(self.declared), what="nodes"))
            if fine and link.source == link.target:
                fine = False
                self.report(
                    link.target_spot, f"an edge from '{link.source}' to itself", "keep the state inside the node"
                )
            if fine:
                self.links.append(link)

    def _edges(self) -> None:
        known = {name: ports(spec.cls) for name, spec in self.nodes.items()}
        outputs = effective_outputs(known, self.links)
        seen: dict[tuple[str, str], list[tuple[Link, Types]]] = {}
        for link in self.links:
            types: Types = ()
            if link.source in known and link.target in known:
                found = self._types(link, known[link.source].outputs, outputs[link.source], known[link.target].inputs)
                if found is None:
                    continue
                types = found
            earlier = seen.setdefault((link.source, link.target), [])
            twin = next(
                (other for other, others in earlier if not types or not others or set(types) & set(others)), None
            )
            earlier.append((link, types))
            if twin is not None:
                line = self.document.place(twin.source_spot).rpartition(":")[0]
                both = ", ".join(kind.__name__ for kind in types)
                again = f" (both carry {both})" if both and (link.port or twin.port) else ""
                self.report(link.source_spot, f"the edge {link.label} is there already{again}", f"see {line}")
            elif types:
                self._edge(link, types)

    def _types(self, link: Link, declared: Types, effective: Types, inputs: Types) -> Types | None:
        types = chosen(link.port, declared, effective)
        if types is None:
            names = [port_name(kind) for kind in dict.fromkeys([*declared, *effective])]
            hint = suggest(link.port, names, what=f"'{link.source}' yields")
            self.report(
                link.port_spot,
                f"'{link.source}' has no output '{link.port}'",
                hint or f"'{link.source}' yields nothing",
            )
            return None
        found = carried(types, inputs)
        if found:
            return found
        takes = " | ".join(kind.__name__ for kind in inputs) or "nothing"
        yields = " | ".join(kind.__name__ for kind in types) or "nothing"
        hint = f"'{link.source}' yields {yields}; '{link.target}' takes {takes}"
        self.report(
            link.target_spot,
            f"'{link.target}' takes nothing that '{link.source}' yields{' there' if link.port else ''}",
            hint,
        )
        return None

    def _edge(self, link: Link, types: Types) -> None:
        plans = [kind for kind in types if kind.is_plan]
        frames, ns = self._capacity(link, types)
        edge = Edge(
            source=link.source,
            target=link.target,
            types=types,
            capacity=frames,
            capacity_ns=ns,
            overflow=self._overflow(link, bool(plans)),
            hold=self._hold(link, bool(plans)),
            feedback=self._feedback(link),
            place=self.document.place(link.source_spot),
        )
        self.edges.append(edge)
        self.spots[edge] = link

    def _capacity(self, link: Link, types: Types) -> tuple[int, int]:
        sound = [kind for kind in types if _lasts(kind)]
        value = link.options.get("capacity")
        spot = link.option_spot("capacity")
        if value is None:
            ns = SOUND_NS if sound else 0
            return (max(FRAMES, ns // SHORTEST_NS), ns)
        expected = f"capacity: expected a number of frames from 1 to 100000, or for sound a duration such as 2s, found {self.document.found(spot.path)}"
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 100_000:
            return value, 0
        try:
            ns = parse_duration(value) if isinstance(value, str) else 0
        except (ValueError, OverflowError):
            ns = 0
        if not 0 < ns <= _LONGEST_NS:
            self.report(spot, expected, "at most 10min" if ns else "")
        elif not sound:
            names = " | ".join(kind.__name__ for kind in types)
            self.report(
                spot,
                f"capacity: {link.label} carries {names}, which has no duration",
                f"give a number of frames: capacity: {FRAMES}",
            )
        return max(1, ns // SHORTEST_NS), ns

    def _overflow(self, link: Link, plans: bool) -> Overflow:
        value = link.options.get("overflow")
        spot = link.option_spot("overflow")
        feedback = link.options.get("feedback") is True
        live = self.nodes[link.source].cls.live
        if value is None:
            return "fail" if feedback else "drop_oldest" if live and not plans else "block"
        if value not in ("block", "drop_oldest", "fail"):
            self.report(spot, f"overflow: expected block, drop_oldest or fail, found {self.document.found(spot.path)}")
        elif feedback and value == "block":
            self.report(
                spot,
                "overflow: a feedback edge never blocks, or the cycle could stand still",
                "overflow: fail, or drop_oldest",
            )
        elif plans and not feedback and value != "block":
            self.report(
                spot,
                "overflow: an edge that carries Plans only blocks: an answer with holes is no answer",
                "remove `overflow`",
            )
        elif plans and feedback and value == "drop_oldest":
            self.report(spot, "overflow: a Plan is never dropped: an answer with holes is no answer", "overflow: fail")
        elif live and not feedback and not plans and value == "block":
            hint = "say what to lose: overflow: drop_oldest, or fail"
            self.report(spot, f"overflow: '{link.source}' is live and can't wait, so its edge can't block", hint)
        else:
            return value  # type: ignore[no-any-return]
        return "block"

    def _hold(self, link: Link, plans: bool) -> bool:
        value = link.options.get("hold")
        spot = link.option_spot("hold")
        if value is None:
            return False
        if value != "commit":
            self.report(spot, f"hold: expected commit, found {self.document.found(spot.path)}")
            return False
        if not plans:
            hint = "hold the edge that carries the answer"
            self.report(spot, f"hold: {link.label} carries no Plan, so there is nothing to hold", hint)
        elif link.options.get("feedback") is True:
            self.report(spot, "hold: a feedback edge never blocks, so it can't hold", "remove one of the two")
        return True

    def _feedback(self, link: Link) -> bool:
        value = link.options.get("feedback", False)
        if not isinstance(value, bool):
            spot = link.option_spot("feedback")
            self.report(spot, f"feedback: expected true or false, found {self.document.found(spot.path)}")
            return False
        return value

    # -- budget ---------------------------------------------------------------------------------------------------------

    def _budget(self) -> None:
        written = self.document.data.get("budget")
        if written is None:
            return
        if not isinstance(written, dict):
            self.report(
                ("budget",),
                f"budget: expected a map, found {self.document.found(('budget',))}",
                "for example: budget: {first_audio_p95: 700ms}",
            )
            return
        for name, value in written.items():
            path = ("budget", name)
            if not _BUDGET.fullmatch(name):
                hint = suggest(name, ["first_audio_p50", "first_audio_p90", "first_audio_p95"], what="for example")
                self.report(Spot(path, key=True), f"budget: there is no figure {quoted(name)}", hint)
                continue
            try:
                self.budget[name] = parse_duration(value)
            except (ValueError, OverflowError):
                hint = (
                    f"write its unit: {name}: {value}ms"
                    if isinstance(value, int | float) and not isinstance(value, bool)
                    else ""
                )
                self.report(
                    path, f"budget.{name}: expected a duration such as 700ms, found {self.document.found(path)}", hint
                )


def _lasts(kind: type[Any]) -> bool:
    """Does a frame of this type cover time?"""
    from flowgraph.frame import Frame

    return kind.duration_ns is not Frame.duration_ns
