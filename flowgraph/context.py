"""What a node may ask of its session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from flowgraph.clock import Clock
from flowgraph.handoff import Handoff

if TYPE_CHECKING:
    from flowgraph.frame import Frame
    from flowgraph.services import HttpService
    from flowgraph.turn import Turn

T = TypeVar("T")


class Context:
    """A node's view of its session: `self.ctx`."""

    def __init__(
        self,
        *,
        name: str,
        place: str,
        clock: Clock,
        turn: Turn,
        http: Callable[[str], HttpService],
        wants: Callable[[type[Frame]], bool],
        fed: frozenset[type[Frame]],
        shared: dict[str, Any],
        say: Callable[[str], None],
        note: Callable[[str], None],
        stop: Callable[[str], None],
        warm: Callable[[], None],
    ) -> None:
        self.name = name
        """The node's name in the YAML."""
        self.place = place
        """`file:line:column` of the node in the YAML."""
        self.clock = clock
        self.turn = turn
        self.http = http
        """`http(service)`: the client of a service named in the YAML."""
        self.wants = wants
        """`wants(FrameType)`: does anybody take this output? What nobody takes need not be made."""
        self.fed = fed
        """The frame types that edges bring to this node."""
        self.say = say
        """One line for the user, such as a device that is missing and what is used instead."""
        self.note = note
        """One line for the trace (`-v` shows it): what went wrong without harm."""
        self.stop = stop
        """`stop(reason)`: ask the session to end in good order, with one line for the user."""
        self.warm = warm
        """`warm()`: somebody begins to speak: see that each service has a connection ready."""
        self._shared = shared

    def shared(self, key: str, factory: Callable[[], T]) -> T:
        """One object per session, made by the first node that asks: how a microphone and a speaker share a device."""
        if key not in self._shared:
            self._shared[key] = factory()
        return self._shared[key]  # type: ignore[no-any-return]

    def handoff(self, capacity: int) -> Handoff[Any]:
        """A ring of `capacity` items, for a thread that isn't the loop's."""
        return Handoff(asyncio.get_running_loop(), capacity)
