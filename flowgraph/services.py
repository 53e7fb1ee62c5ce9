"""The services of a session: servers of ours are started, all are reached through one kind of client.

1. `embedded` servers are child processes, started together and before this process imports anything heavy.
2. A node asks for `ctx.http(name)` and doesn't know which kind it got. A server of ours may still be starting then: the first request
   waits for it, so that nobody waits for a server that he doesn't need yet.
3. A server of ours that dies is told at once, through `failed`; who needs it meets a ServiceError that says the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from flowgraph.children import Child, spawn_early
from flowgraph.clock import clock_of
from flowgraph.errors import FlowError, ServiceError

if TYPE_CHECKING:
    from flowgraph.http import HttpService, Log, Network
    from flowgraph.specs import ServiceSpec

__all__ = ["HttpService", "Services"]

DEATH_S = 0.3
"""How long after a broken connection the end of the process behind it may become known."""


class Services:
    """`start`, then `http(name)`, then `close`."""

    def __init__(
        self,
        specs: Iterable[ServiceSpec],
        *,
        children: Mapping[str, Child] | None = None,
        network: Network | None = None,
    ) -> None:
        """`children`: those that `spawn_early` has started already. `network`: instead of TCP."""
        self._specs = {spec.name: spec for spec in specs}
        self._children = dict(children or {})
        self._network = network
        self._clients: dict[str, HttpService] = {}
        self.log: Log = lambda _service, _event, _at_ns, _request: None
        """Set it before `start`. Told what happens to connections; see `flowgraph.http`."""
        self.failed: Callable[[str, FlowError], None] = lambda _service, _error: None
        """Told, in the loop, when a server of ours has died: of which service, and how."""

    async def start(self) -> None:
        """Start every server of ours. Raises ServiceError where no process can be started; then `close` is still to be called."""
        missing = [spec for spec in self._specs.values() if spec.name not in self._children]
        self._children |= spawn_early(missing)
        if self._specs:
            from flowgraph.http import Tcp  # aiohttp is imported while the servers do the same

            self._network = self._network or Tcp()
            await self._network.open()
        for child in self._children.values():
            self._watch(child)

    async def started(self) -> None:
        """Return when every server of ours answers. Raises ServiceError as soon as it is known that one doesn't."""
        try:
            async with asyncio.TaskGroup() as together:
                for child in self._children.values():
                    together.create_task(child.url())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    def unable(self) -> BaseException | None:
        """Why a server of ours can't start, as far as that is known by now."""
        known = [child.ready for child in self._children.values() if child.ready.done()]
        return next((error for ready in known if (error := ready.exception()) is not None), None)

    def http(self, name: str) -> HttpService:
        """The client of a service. Raises ServiceError for a name that isn't declared."""
        if name not in self._clients:
            self._clients[name] = self._client(name)
        return self._clients[name]

    @property
    def heard_at(self) -> int:
        """When something of an answer last came from any of them (clock, nanoseconds); 0 = never."""
        return max((client.heard_at for client in self._clients.values()), default=0)

    async def warm(self) -> list[ServiceError]:
        """Connect to all services at once, sending nothing; returns what is wrong with those that don't answer."""
        outcomes = await asyncio.gather(*(self.http(name).warm() for name in self._specs), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, ServiceError):
                raise outcome
        return [outcome for outcome in outcomes if isinstance(outcome, ServiceError)]

    def rewarm(self) -> None:
        """At speech onset: see in the background that each service that is in use has a spare connection."""
        for client in self._clients.values():
            client.rewarm()

    def is_dead(self, name: str) -> bool:
        """Was its server one of ours, and has it ended?"""
        return name in self._children and self._children[name].exited.done()

    async def revive(self, name: str) -> None:
        """Start a server of ours again if it has died. Until it answers, its requests wait. Raises ServiceError where it can't."""
        if name not in self._children:
            return
        dead = await self._death(name)
        if (
            dead is not None and self._children[name].exited.done()
        ):  # two nodes may use it: the other one may have been here first
            child = self._children[name] = Child(self._specs[name])
            self._watch(child)
            self.http(name).moves(lambda: self._address(child))
        await self.http(name).there()

    async def close(self) -> None:
        """Close all connections and end all servers of ours: none is left running. Also after a failed `start`; also twice."""
        clients, self._clients = self._clients, {}
        children, self._children = self._children, {}
        ends = [*(client.close() for client in clients.values()), *(child.close() for child in children.values())]
        outcomes = await asyncio.gather(*ends, return_exceptions=True)
        if self._network is not None:
            await self._network.close()
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def _client(self, name: str) -> HttpService:
        from flowgraph.http import HttpService

        if name not in self._specs or self._network is None:
            raise ServiceError(f"there is no service '{name}'", hint="declare it under `services:`")
        spec, child = self._specs[name], self._children.get(name)
        return HttpService(
            spec,
            (lambda: self._address(child)) if child is not None else self._network.address(spec.url),
            connector=self._network.connector(),
            now=clock_of(asyncio.get_running_loop()).now,
            log=self.log,
            death=(lambda: self._death(name)) if child is not None else None,
        )

    async def _address(self, child: Child) -> str:
        """Where a server of ours is to be reached, once it answers. Raises ServiceError where it doesn't."""
        url = await child.url()
        return self._network.address(url) if self._network is not None else url

    def _watch(self, child: Child) -> None:
        loop = asyncio.get_running_loop()

        def died() -> None:
            answered = child.ready.exception() is None  # where not, whoever waits for it is told
            if answered and not child.closing:
                self.failed(child.spec.name, child.death())

        def exited(_: object) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(died)

        child.exited.add_done_callback(exited)

    async def _death(self, name: str) -> ServiceError | None:
        child = self._children.get(name)
        if child is None:
            return None
        await asyncio.wait([asyncio.wrap_future(child.exited)], timeout=DEATH_S)
        return child.death() if child.exited.done() else None
