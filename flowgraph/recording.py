"""`--output`: the user on the left, the answers on the right, in time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from flowgraph.errors import FlowError
from flowgraph.report import types_named

if TYPE_CHECKING:
    from flowgraph.session import Session


class NothingToRecord(FlowError):
    """A graph without sound."""

    exit_code = 2


class Stereo(Protocol):
    """A recording in the making."""

    @property
    def begin_at(self) -> int:
        """Clock, nanoseconds: when the recording begins; 0 = nothing has come yet."""


@contextlib.contextmanager
def recording(session: Session, path: Path) -> Iterator[Stereo]:
    """Record what the session's sources capture and its speakers play into a stereo WAV file. Raises FlowError."""
    captured = types_named(session.graph, "Audio")
    played = types_named(session.graph, "Played")
    if not captured and not played:
        raise NothingToRecord("--output: nothing in this graph captures or plays sound", hint="leave --output out")
    # By name: the engine doesn't import nodes.
    stereo: Any = import_module("nodes.sound.recording").Recording(path)
    for kind in captured:
        session.watch(kind, stereo.captured)
    for kind in played:
        session.watch(kind, stereo.played)
    try:
        yield stereo
    finally:
        stereo.save()
