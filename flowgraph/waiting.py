"""Who keeps the user waiting for an answer, and for how long: for the displays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowgraph.frame import Frame, Heard
from flowgraph.node import ports
from flowgraph.units import SECOND

if TYPE_CHECKING:
    from flowgraph.session import Session


class Wait:
    """Watches a session that hasn't been entered yet."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._attempt = -1
        self._since: int | None = None
        """When the attempt began that nothing has been heard of."""
        owner = session.graph.owner
        for kind in ports(session.graph.nodes[owner].cls).outputs if owner is not None else ():
            if kind.is_plan:
                session.watch(kind, self._on_prompt)
        session.watch(Heard, self._on_heard)

    @property
    def on(self) -> bool:
        """Is an answer being made that nothing has been heard of yet?"""
        return self._since is not None

    @property
    def attempt(self) -> int:
        """The number of the last attempt; -1 before the first."""
        return self._attempt

    def at(self) -> tuple[str, float]:
        """The first node in the graph that is at work on it, and for how many seconds the attempt has been on; ("", 0) = none is."""
        nodes = self._session.planning() if self._since is not None else []
        return (nodes[0], (self._session.clock.now() - (self._since or 0)) / SECOND) if nodes else ("", 0.0)

    def _on_prompt(self, prompt: Frame) -> None:
        self._attempt, self._since = prompt.turn, self._session.clock.now()

    def _on_heard(self, heard: Heard) -> None:
        if heard.turn >= self._attempt:  # the end of an earlier one may come behind the next one's beginning
            self._since = None
