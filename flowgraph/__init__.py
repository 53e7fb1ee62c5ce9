"""Flowgraph: a dataflow graph engine for real-time voice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import Field as Field

    from flowgraph.errors import FlowError as FlowError
    from flowgraph.errors import GraphError as GraphError
    from flowgraph.frame import Fact as Fact
    from flowgraph.frame import Frame as Frame
    from flowgraph.frame import Plan as Plan
    from flowgraph.frame import frame as frame
    from flowgraph.graph import Graph as Graph
    from flowgraph.node import FileName as FileName
    from flowgraph.node import Node as Node
    from flowgraph.node import ServiceName as ServiceName
    from flowgraph.session import Session as Session
    from flowgraph.units import MS as MS
    from flowgraph.units import SECOND as SECOND
    from flowgraph.units import Duration as Duration

# Looked up on first use, so that `flow --help` doesn't import pydantic and networkx.
_HOMES = {
    "Field": "pydantic",
    "FlowError": "flowgraph.errors",
    "GraphError": "flowgraph.errors",
    "Fact": "flowgraph.frame",
    "Frame": "flowgraph.frame",
    "Plan": "flowgraph.frame",
    "Graph": "flowgraph.graph",
    "FileName": "flowgraph.node",
    "Node": "flowgraph.node",
    "ServiceName": "flowgraph.node",
    "Session": "flowgraph.session",
    "MS": "flowgraph.units",
    "SECOND": "flowgraph.units",
    "Duration": "flowgraph.units",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'flowgraph' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value
