"""A document, read section by section into specs. Every problem is collected; nothing raises."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from flowgraph import catalog
from flowgraph.document import DataPath, Document, Spot, close, listed, quoted, suggest
from flowgraph.edges import NAME, Link
from flowgraph.errors import GraphError, Problem
from flowgraph.mistakes import first_line
from flowgraph.node import Node, OnError, Placed, Trouble, service_options
from flowgraph.options import wrong_options
from flowgraph.specs import Edge, NodeSpec, ServiceSpec
from flowgraph.units import meant_duration, parse_duration

SECTIONS = ("name", "description", "extends", "services", "nodes", "edges", "budget")
_BUDGET = re.compile(r"first_audio_p[0-9]{2}")
_URL = "http://localhost:8000"
_SCHEMES = ("http", "https", "ws", "wss")


class Draft:
    """What could be read of a document: specs, and the problems with the rest."""

    def __init__(self, document: Document, types: Mapping[str, type[Node]]) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.declared: dict[str, None] = {}
        """Names of all nodes in the order of the file, also of those that can't be used."""
        self.nodes: dict[str, NodeSpec] = {}
        self.instances: dict[str, Node] = {}
        """One instance of each node whose options are right, to ask what only it knows."""
        self.services: dict[str, ServiceSpec] = {}
        self.mentioned: set[str] = set()
        """Names in edges that can't be read or lead nowhere: whatever they meant, these nodes aren't forgotten."""
        self.links: list[Link] = []
        """Every edge between declared nodes, also where no type fits."""
        self.edges: list[Edge] = []
        self.spots: dict[Edge, Link] = {}
        self.budget: dict[str, int] = {}
        self._sections()
        self._nodes(types)
        self._services()
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
                self.declared[name] = None
            if not NAME.fullmatch(name):
                self.report(
                    spot, f"{quoted(name)} is no name", "letters, digits, '_' and '-', at most 64, a letter first"
                )
            elif section == "nodes" and name in SECTIONS:
                self.report(spot, f"a node can't be called '{name}'", "`--set` could not tell it from the section")
            elif not isinstance(entry, dict):
                found = self.document.found((section, name))
                typed = section == "nodes" and isinstance(entry, str) and NAME.fullmatch(entry)
                hint = f"{name}: {{type: {entry}}}" if typed else f"for example: {example}"
                self.report(spot, f"'{name}': expected a map, found {found}", hint)
            else:
                yield name, entry

    # -- nodes ----------------------------------------------------------------------------------------------------------

    def _nodes(self, types: Mapping[str, type[Node]]) -> None:
        if not self.document.data.get("nodes"):
            if self.document.problems and "nodes" in self.document.data:
                return
            self.report(Spot(("nodes",), key=True), "there are no nodes", "for example: nodes: {mic: {type: mic}}")
            return
        for name, entry in self._entries("nodes", "vad: {type: vad}"):
            path = ("nodes", name)
            cls = self._class(name, entry, types)
            on_error = self._on_error(path, entry)
            if cls is None:
                continue
            options = {
                key: self._meant(cls, (*path, key), value)
                for key, value in entry.items()
                if key not in ("type", "on_error")
            }
            spec = NodeSpec(name, entry["type"], cls, options, on_error, self.document.place(Spot(path, key=True)))
            self.nodes[name] = spec
            if self._options(spec):
                self._ask(spec)

    def _class(self, name: str, entry: Mapping[str, Any], types: Mapping[str, type[Node]]) -> type[Node] | None:
        path = ("nodes", name)
        kind = entry.get("type")
        if kind is None:
            types_there = self._known(types)
            hint = f"{name}: {{type: {name}}}" if name in types_there else close(name, types_there)
            hint = hint or "`flow nodes` lists the types"
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

    def _meant(self, cls: type[Node], path: DataPath, value: Any) -> Any:
        """A value as its option takes it: paths as seen from here; behind `--set`, text needs no second pair of quotes."""
        field = cls.model_fields.get(str(path[-1]))
        mark = self.document.marks.get(path)
        if field is None or field.annotation is not str or mark is None:
            return value
        if not isinstance(value, str):
            return mark.written if value is not None and mark.written is not None and not mark.value.line else value
        placed = next((one.placed for one in field.metadata if isinstance(one, Placed)), None)
        if placed is None:
            return value
        # Who sets an option or a variable speaks of the working directory.
        here = not mark.value.line or bool(mark.variables)
        return placed(value, "" if here else os.path.dirname(mark.source.file))  # noqa: PTH120 - "" stays ""

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
            if self.document.is_reported((*path, *wrong.loc)):
                continue  # a variable that isn't set
            label = ".".join([spec.name, *(str(part) for part in wrong.loc)])
            message = self.document.as_written(wrong.message)
            self.report(
                Spot((*path, *wrong.loc), key=wrong.key), f"{label}: {message}", self.document.as_written(wrong.hint)
            )
        return not found

    def _ask(self, spec: NodeSpec) -> None:
        try:
            node = spec.make()
            problems = list(node.problems())
            for ask in (node.speculates, node.typical_ns, node.candidate_ns):
                ask()
        except GraphError as error:
            self.problems += error.problems
            return
        except (Exception, SystemExit) as error:
            self.tell(spec.name, f"its own checks failed: {first_line(error)}")
            return
        self.instances[spec.name] = node
        for problem in problems:
            self.tell(spec.name, problem)

    def tell(self, name: str, trouble: Trouble) -> None:
        """Report what a node says is wrong with it, at the option that it begins with."""
        message, hint = (trouble, "") if isinstance(trouble, str) else trouble
        first, colon, _ = message.partition(": ")
        label = f"{name}." if colon and first in self.nodes[name].cls.model_fields else f"{name}: "
        self.report(
            self._named(name, message), label + self.document.as_written(message), self.document.as_written(hint)
        )

    def _named(self, name: str, message: str) -> Spot | DataPath:
        """The option that a message is about: its first word, or of several options the one that the outermost file states."""
        words = re.findall(r"\w+", message)
        about = [word for index, word in enumerate(words) if not index or "_" in word]
        stated = [path for word in about if (path := ("nodes", name, word)) in self.document.marks]
        ranks = {file: rank for rank, file in enumerate(self.document.files)}
        return min(
            stated,
            key=lambda path: ranks.get(self.document.marks[path].source.file, -1),
            default=Spot(("nodes", name), key=True),
        )

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
            elif not all(map(str.isprintable, str(key).strip())):
                where = self.document.held_in((*path, "key"))
                self.report(
                    (*path, "key"), f"{name}.key: a key is one line, without control characters", f"correct {where}"
                )
            options = self._server_options(name, entry)
            modules = list(dict.fromkeys(servers.get(name, [])))
            if url == "embedded":
                self._embedded(name, modules, users)
            elif url and options:
                self.warn(Spot((*path, "options"), key=True), f"{name}.options only reach an embedded server")
            if name not in users:
                self.warn(Spot(path, key=True), f"no node uses the service '{name}'")
                continue
            place = self.document.place(Spot(path, key=True))
            server = modules[0] if modules else ""
            text, hint = "" if key is None else str(key), self._key_hint(name, place, held=bool(key))
            self.services[name] = ServiceSpec(name, url, text, server, options, place, hint)

    def _key_hint(self, name: str, place: str, *, held: bool) -> str:
        path = ("services", name, "key")
        if path not in self.document.marks:
            return f'give the service its key: `key: "${{…}}"` at {place}'
        return f"{'correct' if held else 'set'} its key: {self.document.held_in(path)}"

    def _server_options(self, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        path = ("services", name, "options")
        options = entry.get("options", {})
        if not isinstance(options, dict):
            self.report(path, f"{name}.options: expected a map, found {self.document.found(path)}")
            return {}
        for option, value in options.items():
            here = (*path, option)
            if not NAME.fullmatch(option):
                self.report(Spot(here, key=True), f"{name}.options: {quoted(option)} is no name")
            if not isinstance(value, str | int | float):
                found = self.document.found(here)
                self.report(here, f"{name}.options.{option}: expected text, a number, true or false, found {found}")
        return options

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
        hint = f"url: embedded, or a URL such as {_URL}"
        if entry.get("url") is None:
            self.report(Spot(path, key=True), f"the service '{name}' has no url", hint)
            return ""
        url = entry["url"]
        wrong = _wrong_url(url) if isinstance(url, str) else hint
        if not wrong:
            return str(url)
        if self.document.is_reported(here):
            return ""  # a variable that isn't set
        near = close(url, ["embedded"]) if isinstance(url, str) else ""
        self.report(
            here, f"{name}.url: expected 'embedded' or a URL, found {self.document.found_url(here)}", near or wrong
        )
        return ""

    def _embedded(self, name: str, modules: list[str], users: Mapping[str, list[str]]) -> None:
        here = ("services", name, "url")
        if len(modules) > 1:
            message = f"the service '{name}' would start two servers: {' and '.join(modules)}"
            self.report(here, message, "declare one service for each")
        elif not modules and name in users:
            who = listed(f"'{user}'" for user in users[name])
            self.report(
                here, f"{who} brings no server of its own: '{name}' can't be embedded", "give the URL of a server"
            )

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
                meant = meant_duration(value)
                hint = self.document.as_written(f"write its unit: {name}: {meant}") if meant else ""
                self.report(
                    path, f"budget.{name}: expected a duration such as 700ms, found {self.document.found(path)}", hint
                )


def _wrong_url(url: str) -> str:
    """What to do about a service's url; "" where it is right."""
    if url == "embedded":
        return ""
    if re.search(r"[\s\x00-\x20]", url):
        return "a URL has no spaces"
    scheme, colon, _ = url.partition("://")
    if not colon or scheme.lower() not in _SCHEMES:
        return f"a URL begins with {listed((f'{known}://' for known in _SCHEMES), 'or')}, such as {_URL}"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return (
            "a port is a number from 1 to 65535"
            if "ort " in str(error)
            else "an IPv6 address stands in brackets: http://[::1]:8000"
        )
    if not host:
        return f"the name of a host is missing: {_URL}"
    return "a port is a number from 1 to 65535" if parts.port == 0 else ""
