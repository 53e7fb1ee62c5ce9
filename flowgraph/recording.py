"""`--output`: the user on the left, the answers on the right, in time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from flowgraph.errors import FlowError
from flowgraph.report import types_named

if TYPE_CHECKING:
    from flowgraph.frame import Frame
    from flowgraph.graph import Graph
    from flowgraph.session import Session


class NothingToRecord(FlowError):
    """A graph without sound."""

    exit_code = 2


class Stereo(Protocol):
    """A recording in the making."""

    @property
    def begin_at(self) -> int:
        """Clock, nanoseconds: when the recording begins; 0 = nothing has come yet."""


def require_sound(graph: Graph) -> tuple[Sequence[type[Frame]], Sequence[type[Frame]]]:
    """What it captures, and what it plays. Raises NothingToRecord if it does neither."""
    captured, played = types_named(graph, "Audio"), types_named(graph, "Played")
    if not captured and not played:
        raise NothingToRecord("--output: nothing in this graph captures or plays sound", hint="leave --output out")
    return captured, played


@contextlib.contextmanager
def recording(session: Session, path: Path) -> Iterator[Stereo]:
    """Record what the session's sources capture and its speakers play into a stereo WAV file. Raises FlowError."""
    captured, played = require_sound(session.graph)
    # By name: the engine doesn't import nodes.
    stereo: Any = import_module("nodes.sound.recording").Recording(path)
    sources = _sources(session.graph, captured)
    for kind in captured:
        session.watch(kind, lambda sound: stereo.captured(sound) if sound.source in sources else None)
    for kind in played:
        session.watch(kind, stereo.played)
    try:
        yield stereo
    finally:
        stereo.save()


def _sources(graph: Graph, captured: Sequence[type[Frame]]) -> frozenset[str]:
    """The nodes that capture, and don't only pass on what others have: an echo canceller's sound is the microphone's once more."""
    passing = {edge.target for edge in graph.edges if any(issubclass(kind, tuple(captured)) for kind in edge.types)}
    return frozenset(graph.nodes) - passing
