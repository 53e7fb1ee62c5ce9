"""What a checked graph is made of. Immutable; knows nothing of asyncio."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from flowgraph.frame import Frame
from flowgraph.node import Node, OnError, service_options

NodeClass: TypeAlias = type[Node]
Overflow: TypeAlias = Literal["block", "drop_oldest", "fail"]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class NodeSpec:
    """A node of the graph, its options checked."""

    name: str
    type: str
    cls: NodeClass
    options: dict[str, Any] = dataclasses.field(repr=False)
    """As the file states them, variables replaced (durations still text), paths as seen from the working directory: what
    `cls(**options)` takes. May hold secrets."""
    on_error: OnError
    place: str
    """`file:line:column` of its name."""

    def make(self) -> Node:
        """A fresh instance."""
        return self.cls.model_validate(copy.deepcopy(self.options))


@dataclasses.dataclass(frozen=True, slots=True)
class Edge:
    """One producer, one consumer, and what travels between them."""

    source: str
    target: str
    types: tuple[type[Frame], ...]
    """What the producer yields here and the consumer takes; a frame travels if it is an instance of one of them."""
    capacity: int
    """Frames."""
    capacity_ns: int
    """Nanoseconds of sound (frames without a duration don't count); 0 = only frames are counted."""
    overflow: Overflow
    hold: bool
    """Plans stop here until their attempt is committed."""
    feedback: bool
    """It closes a cycle: it never blocks, and is ignored for the order and the end of the stream."""
    place: str
    """`file:line:column` of the producer's name."""

    @property
    def label(self) -> str:
        """`tts -> speaker`."""
        return f"{self.source} -> {self.target}"


@dataclasses.dataclass(frozen=True, slots=True)
class ServiceSpec:
    """Where a service is: a base URL, or `embedded`."""

    name: str
    url: str = dataclasses.field(repr=False)
    """`embedded`, or an http, https, ws or wss URL. It may hold a password."""
    key: str = dataclasses.field(repr=False)
    """Sent as the bearer token; "" = none."""
    server: str
    """Python module of the server that `embedded` starts; "" where no node that uses the service has one."""
    options: dict[str, str | int | float | bool]
    """For the embedded server, by name: each is an argument of its command line."""
    place: str
    key_hint: str = ""
    """What to do where the service doesn't take the key: which variable or line it comes from."""

    @property
    def embedded(self) -> bool:
        """Do we start it?"""
        return self.url == "embedded"


def services_used(nodes: Mapping[str, NodeSpec]) -> set[str]:
    """Names of the services that these nodes ask for."""
    return {
        spec.options.get(option, spec.cls.model_fields[option].default)
        for spec in nodes.values()
        for option in service_options(spec.cls)
    }
