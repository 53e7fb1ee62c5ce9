"""A graph: a checked, immutable description made from YAML.

`Graph.load` reads a file, checks everything that can be known from it, and raises one GraphError with every problem. It
imports the node classes that the file names and nothing heavy; what runs it is a Session.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from flowgraph.document import Document, parse
from flowgraph.draft import Draft
from flowgraph.node import Node
from flowgraph.specs import Edge, NodeSpec, Overflow, ServiceSpec
from flowgraph.variants import extended, read, settle
from flowgraph.wiring import wire

__all__ = ["Edge", "Graph", "NodeSpec", "Overflow", "ServiceSpec"]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Nodes and edges that fit together."""

    name: str
    description: str
    path: str
    """The file as messages name it."""
    nodes: dict[str, NodeSpec]
    """In the order of the file."""
    edges: tuple[Edge, ...]
    services: dict[str, ServiceSpec]
    budget: dict[str, int]
    """`first_audio_p95` → nanoseconds."""
    owner: str | None
    """The node that owns the turn."""
    order: tuple[str, ...]
    """Node names in topological order, sources first; feedback edges don't count."""
    warnings: tuple[str, ...] = ()
    """What is allowed and probably not meant, as messages with place, line and caret."""

    @classmethod
    def load(
        cls,
        path_or_name: str | os.PathLike[str],
        *,
        settings: Sequence[str] = (),
        derived: Callable[[Mapping[str, NodeSpec]], Sequence[str]] | None = None,
        derived_from: str = "",
        environ: Mapping[str, str] | None = None,
        types: Mapping[str, type[Node]] | None = None,
    ) -> Self:
        """The graph of a file, or a bundled one by its name (`optimized`).

        `settings` are `node.option=value` (also `services.NAME.url=…`, `budget.…=…`), as `--set` takes them. `derived` says more of
        them, on top, when it is known which nodes there are; problems with those name `derived_from`, which is what the user wrote.
        `types` adds node classes by name. Raises GraphError with every problem found.
        """
        environ = os.environ if environ is None else environ
        document = read(os.fspath(path_or_name), environ)
        return cls._checked(document, Path(path_or_name).stem, settings, environ, types, derived, derived_from)

    @classmethod
    def from_text(
        cls,
        text: str,
        *,
        name: str = "graph",
        settings: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        types: Mapping[str, type[Node]] | None = None,
    ) -> Self:
        """The graph of a YAML text; `extends` is relative to the working directory. Raises GraphError."""
        environ = os.environ if environ is None else environ
        document = extended(parse(text, name, environ), Path(name), environ)
        return cls._checked(document, Path(name).stem, settings, environ, types)

    @classmethod
    def _checked(  # noqa: PLR0917
        cls,
        document: Document,
        name: str,
        settings: Sequence[str],
        environ: Mapping[str, str],
        types: Mapping[str, type[Node]] | None,
        derived: Callable[[Mapping[str, NodeSpec]], Sequence[str]] | None = None,
        derived_from: str = "",
    ) -> Self:
        # networkx takes a quarter of a second to import, and a process that is given a graph needs none of it.
        from flowgraph.checks import check, order

        settle(document, settings, environ)
        draft = Draft(document, types or {})
        if derived is not None and (more := derived(draft.nodes)):
            settle(document, more, environ, derived_from)
            draft = Draft(document, types or {})  # what was wrong with an option that is set now is no problem
        wire(draft)
        owner = check(draft)
        name, description = draft.text("name", name), draft.text("description", "")
        document.raise_problems(draft.problems)
        return cls(
            name=name,
            description=description,
            path=document.files[0],
            nodes=draft.nodes,
            edges=tuple(draft.edges),
            services=draft.services,
            budget=draft.budget,
            owner=owner,
            order=order(draft),
            warnings=tuple(str(warning) for warning in document.in_order(draft.warnings)),
        )

    def edges_from(self, name: str) -> tuple[Edge, ...]:
        """Edges that a node feeds."""
        return tuple(edge for edge in self.edges if edge.source == name)

    def edges_into(self, name: str) -> tuple[Edge, ...]:
        """Edges that feed a node."""
        return tuple(edge for edge in self.edges if edge.target == name)
