"""A graph that runs: opens, supervises, interrupts, closes.

1. Servers of ours start first, all nodes open at once, each waiting only for the server that its `open` talks to; a barrier; then
   consumers start before sources.
2. It ends when every worker has ended (the sources ran out), when a node fails under `on_error: fail`, or when it is stopped.
3. It closes in topological order, also where an `open` failed, and leaves no task and no child process behind.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from flowgraph.channel import Channel, Inbox, Outlet, Watch
from flowgraph.clock import clock_of
from flowgraph.context import Context
from flowgraph.errors import FlowError, NodeFailed, ServiceError, Stuck
from flowgraph.frame import End, Failure, Frame, Heard
from flowgraph.graph import Edge, Graph
from flowgraph.mistakes import contained
from flowgraph.node import Node, ports
from flowgraph.specs import services_used
from flowgraph.taps import NOTE, WIRE
from flowgraph.trace import KEPT_BEHIND_NS, Trace
from flowgraph.turn import Turn
from flowgraph.units import MS, SECOND
from flowgraph.worker import MOST_RESTARTS, RESTART_WINDOW_NS, Worker

if TYPE_CHECKING:
    from flowgraph.services import HttpService, Services

F = TypeVar("F", bound=Frame)

LAG_NS = 20 * MS
"""A loop that comes this much too late is written into the trace."""
STUCK_NS = 60 * SECOND
"""Where nothing moves for so long, and no service has sent anything, nothing will; longer only where a node may wait that long for an answer."""
PATIENT_NS = 15 * SECOND
"""So much longer than that: its own failure says more."""
CLOSE_S = 3.0
DEATH_TOLD_S = 1.0
"""Who uses a server that has died finds out within this."""


class Session:
    """`async with Session(Graph.load(path)) as session: await session.finished()`.

    Entering raises GraphError, NodeFailed or ServiceError; `finished` raises the first failure; leaving, FlowError where the trace
    couldn't be written. `watch` before entering to see everything.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        services: Services | None = None,
        trace: str | Path | None = None,
        say: Callable[[str], None] | None = None,
        nodes: dict[str, Node] | None = None,
        all_servers: bool = False,
    ) -> None:
        """`services`: instead of those that the graph declares (tests). `trace`: a JSONL file.

        `say`: told each line for the user; what it raises ends the session. `nodes`: ready instances to run instead of fresh ones (tests).
        `all_servers`: don't begin before every server of ours answers, so that none is still starting while something is measured.
        """
        self.graph = graph
        self.said: list[str] = []
        """Every line for the user so far."""
        self._services = services
        self._trace_path = trace
        self._say = say
        self._given = nodes or {}
        self._all_servers = all_servers
        self._revived: dict[str, deque[int]] = {}
        self._watches: list[tuple[type[Frame], Watch]] = []
        self._workers: dict[str, Worker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._extra: set[asyncio.Task[Any]] = set()
        self._opened: list[str] = []
        self._closed = False
        self._failure: Exception | None = None
        self._prompt = 0
        self._ids = itertools.count(1)
        self._orders = itertools.count(1)

    # -- for embedders -------------------------------------------------------------------------------------------------

    def watch(self, frame_type: type[F], callback: Callable[[F], None]) -> None:
        """Call `callback` for each frame of the type (or a subclass) where it is yielded. Short, synchronous, in the loop.

        What it raises ends the session: `finished` raises it.
        """
        self._watches.append((frame_type, Watch(callback, self._end_with)))  # type: ignore[arg-type]
        for worker in self._workers.values():
            worker.reroute()

    def node(self, name: str) -> Node:
        """The running instance of a node."""
        return self._workers[name].node

    @property
    def lost(self) -> int:
        """Frames dropped by a declared overflow, so far."""
        return self.trace.dropped

    def planning(self) -> list[str]:
        """The nodes that are at work for the attempt that counts, in the order of the graph."""
        return [name for name, worker in self._workers.items() if worker.planning]

    async def finished(self) -> None:
        """Wait until the graph has run out. Raises the failure that ended it, if one did."""
        tasks = set(self._tasks.values())
        try:
            while tasks and self._failure is None:
                done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if not task.cancelled() and task.exception() is not None:
                        task.result()
            if self._failure is not None:
                raise self._failure
        finally:
            self.trace.collect()

    async def stop(self, *, drain_s: float = 2.0) -> None:
        """Close the sources, let what is on its way come through for `drain_s` seconds, then end."""
        for name, task in self._tasks.items():
            if self._workers[name].inbox.source:
                task.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks.values(), timeout=drain_s)
            for task in late:
                task.cancel()

    # -- life ----------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close()
        if error is None and self.trace.failure is not None:
            raise self.trace.failure

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        graph = self.graph
        self.clock = clock_of(loop)
        now = self.clock.now
        owner = graph.owner
        self.trace = Trace(graph, now=now, path=self._trace_path)
        self.turn = Turn(owned=owner is not None, now=now, tap=self.trace.tap)
        if self._services is None and graph.services:
            from flowgraph.services import Services

            self._services = Services(graph.services.values())
        if self._services is not None:
            self._services.log = self._wire
            self._services.failed = self._fail
            await self._services.start()
        shared: dict[str, Any] = {}
        inboxes = {name: Inbox() for name in graph.nodes}
        channels: dict[str, list[tuple[Edge, Channel]]] = {name: [] for name in graph.nodes}
        for index, edge in enumerate(graph.edges):
            channel = Channel(
                index,
                edge,
                inboxes[edge.target],
                turn=self.turn,
                now=now,
                tap=self.trace.tap,
                order=self._orders,
                owned=edge.source == owner,
            )
            channels[edge.source].append((edge, channel))
        self._to_owner: Channel | None = None
        if owner is not None and any(issubclass(Failure, taken) for taken in ports(graph.nodes[owner].cls).inputs):
            self._to_owner = Channel(
                len(graph.edges),
                self.trace.failures,
                inboxes[owner],
                turn=self.turn,
                now=now,
                tap=self.trace.tap,
                order=self._orders,
            )
        for index, (name, spec) in enumerate(graph.nodes.items()):
            outlets = channels[name]
            wanted = self._wants(outlets)
            context = Context(
                name=name,
                place=spec.place,
                clock=self.clock,
                turn=self.turn,
                http=self._http,
                wants=wanted,
                fed=frozenset(kind for edge in graph.edges if edge.target == name for kind in edge.types),
                shared=shared,
                say=self._tell,
                note=self._noter(index),
                stop=self._stop_for,
                warm=self._services.rewarm if self._services is not None else lambda: None,
            )
            self._workers[name] = Worker(
                name,
                self._maker(name, context),
                index=index,
                inbox=inboxes[name],
                turn=self.turn,
                tap=self.trace.tap,
                now=now,
                ids=self._ids,
                owned=owner is not None,
                route=self._router(outlets),
                outlets=tuple(channel for _, channel in outlets),
                on_error=spec.on_error,
                place=spec.place,
                tell_owner=self._tell_owner,
                say=self._tell,
                revive=self._reviver(name),
            )
        patience_ns = max((worker.node.patience_ns() for worker in self._workers.values()), default=0)
        self._stuck_ns = max(STUCK_NS, patience_ns + PATIENT_NS)
        self.trace.kept_ns = self._stuck_ns + KEPT_BEHIND_NS
        if owner is not None:
            worker = self._workers[owner]
            self.turn.by = lambda: worker.current.id if worker.current is not None else 0
        self._observe()
        if self._services is not None and self._all_servers:
            await self._services.started()
        await self._open()
        virtual = getattr(loop, "is_virtual", False)
        if not virtual:  # there, a pause costs no time
            gc.collect()
            gc.freeze()
        for name in reversed(graph.order):
            task = loop.create_task(self._workers[name].work(), name=name)
            task.add_done_callback(self._ended)
            self._tasks[name] = task
        if not virtual:
            self._spawn(self._probe_lag())
        if owner is not None:
            self._spawn(self._watch_prompts())
        if self._services is not None:
            self._spawn(self._warm(self._services))

    async def _open(self) -> None:
        names = list(self.graph.order)

        async def opened(name: str) -> None:
            self._opened.append(name)  # from here on there may be something to close
            await contained(self._workers[name].node.open())

        results = await asyncio.gather(*(opened(name) for name in names), return_exceptions=True)
        failures = [
            self._workers[name]._failure(result, None)
            for name, result in zip(names, results, strict=True)
            if isinstance(result, Exception)
        ]
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, Exception):
                raise result
        if self._services is not None and (unable := self._services.unable()) is not None:
            raise unable
        if failures:
            for failure in failures[1:]:
                self._tell(str(failure))
            raise failures[0]

    async def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for task in [*self._tasks.values(), *self._extra]:
            task.cancel()
        pending = [*self._tasks.values(), *self._extra]
        if pending:
            await asyncio.wait(pending, timeout=CLOSE_S)
        for name in [name for name in self.graph.order if name in self._opened]:
            node = self._workers[name].node
            try:
                await asyncio.wait_for(contained(node.close()), timeout=CLOSE_S)
            except TimeoutError:
                self._tell(f"node '{name}' took more than {CLOSE_S:.0f} s to close and was left")
            except Exception as error:
                self._tell(f"node '{name}' could not close: {error}")
        if self._services is not None:
            await self._services.close()
        gc.unfreeze()
        if hasattr(self, "trace"):
            self.trace.close()

    # -- wiring --------------------------------------------------------------------------------------------------------

    def _maker(self, name: str, context: Context) -> Callable[[], Node]:
        spec = self.graph.nodes[name]
        given = self._given.pop(name, None)

        def make() -> Node:
            nonlocal given
            node, given = (given, None) if given is not None else (spec.make(), None)
            node.__dict__["_ctx"] = context
            return node

        return make

    def _router(self, outlets: list[tuple[Edge, Channel]]) -> Callable[[type[Frame]], tuple[Outlet, ...]]:
        def route(frame_type: type[Frame]) -> tuple[Outlet, ...]:
            taken: list[Outlet] = [channel for edge, channel in outlets if issubclass(frame_type, edge.types)]
            return (*(watch for kind, watch in self._watches if issubclass(frame_type, kind)), *taken)

        return route

    def _wants(self, outlets: list[tuple[Edge, Channel]]) -> Callable[[type[Frame]], bool]:
        route = self._router(outlets)
        return lambda frame_type: bool(route(frame_type))

    def _tell(self, text: str) -> None:
        self.said.append(text)
        if self._say is not None:
            try:
                self._say(text)
            except Exception as error:
                self._say = None
                self._end_with(error)

    def _noter(self, index: int) -> Callable[[str], None]:
        return lambda text: self.trace.tap((self.clock.now(), NOTE, index, text))

    def _reviver(self, name: str) -> Callable[[], Awaitable[None]]:
        used = services_used({name: self.graph.nodes[name]})

        async def revive() -> None:
            for service in used:
                if self._services is not None:
                    await self._services.revive(service)

        return revive

    async def _warm(self, services: Services) -> None:
        """Connect to what the nodes' `open` has not connected to; what is wrong there is told before somebody waits for it."""
        try:
            await services.started()
        except ServiceError as error:
            self._end_with(error)
            return
        for unreachable in await services.warm():
            self._tell(str(unreachable))

    def _http(self, service: str) -> HttpService:
        if self._services is None:
            raise FlowError(f"there is no service '{service}'", hint="declare it under `services:`")
        return self._services.http(service)

    def _stop_for(self, reason: str) -> None:
        self._tell(reason)
        self._spawn(self.stop())

    def _tell_owner(self, failure: Failure) -> None:
        for kind, watch in self._watches:
            if isinstance(failure, kind):
                watch.put(failure)
        if self._to_owner is not None:
            self._to_owner.put_at_once(failure)

    def _wire(self, service: str, event: str, at: int, request: int) -> None:
        task = asyncio.current_task()
        frames = (worker.processed_in(task) for worker in self._workers.values()) if task is not None else ()
        frame = next((one.id for one in frames if one is not None), 0)
        self.trace.tap((at, WIRE, service, event, request, frame))

    def _fail(self, service: str, error: FlowError) -> None:
        """A server of ours died."""
        self._spawn(self._after_death(service, error, len(self.said)))

    async def _after_death(self, service: str, error: FlowError, said: int) -> None:
        """Whoever is using it says so, naming what killed it; where nobody is, it is worth a line of its own.

        Whose `on_error` says restart brings it back, too. Where nobody has failed, it is brought back here if somebody would, as often as he would.
        """
        await asyncio.sleep(DEATH_TOLD_S)
        if not any(error.message in line for line in self.said[said:]):
            self._tell(str(error))
        if self._services is None or not self._services.is_dead(service) or not self._is_restarted(service):
            return
        times = self._revived.setdefault(service, deque(maxlen=MOST_RESTARTS))
        if len(times) == MOST_RESTARTS and self.clock.now() - times[0] <= RESTART_WINDOW_NS:
            return
        times.append(self.clock.now())
        try:
            await self._services.revive(service)
        except ServiceError as unable:
            self._tell(str(unable))
        else:
            self._tell(f"the server of service '{service}' was started again")

    def _is_restarted(self, service: str) -> bool:
        nodes = self.graph.nodes.items()
        return any(spec.on_error == "restart" and service in services_used({name: spec}) for name, spec in nodes)

    def _ended(self, task: asyncio.Task[None]) -> None:
        owner = self.graph.owner
        if task.get_name() == owner and self.turn.number > self.turn.committed:
            self.turn.advance()  # nobody can commit it any more

    # -- watching ------------------------------------------------------------------------------------------------------

    def _observe(self) -> None:
        owner = self.graph.owner

        def heard(frame: Heard) -> None:
            if frame.final and frame.turn >= self._prompt:
                self._prompt = 0

        def ended(_: End) -> None:
            self._moved_at = self.clock.now()

        def prompted(frame: Frame) -> None:
            self._moved_at = self.clock.now()
            if frame.is_plan and frame.source == owner:
                self._prompt = frame.turn

        self._moved_at = self.clock.now()
        self.watch(Heard, heard)
        self.watch(End, ended)
        if owner is not None:
            for kind in ports(self.graph.nodes[owner].cls).outputs:
                self.watch(kind, prompted)

    async def _watch_prompts(self) -> None:
        """Every prompt leads to an end that is heard, or to an advance. One that leads to neither is stuck."""
        while True:
            await asyncio.sleep(self._stuck_ns / SECOND / 4)
            attempt, now = self._prompt, self.clock.now()
            due = attempt and self.turn.number == self.turn.committed == attempt and self._hears()
            lasts = now - self._moved_at if due else 0
            self.trace.kept_ns = max(self._stuck_ns, lasts + self._stuck_ns // 4) + KEPT_BEHIND_NS
            heard_at = self._services.heard_at if self._services is not None else 0
            if due and now - max(self._moved_at, heard_at) > self._stuck_ns and self.trace.quiet_for(self._stuck_ns):
                stuck = f"attempt {attempt} came to no end: nothing of it has moved for {self._stuck_ns // SECOND} s"
                hint = "a node behind the owner swallowed `End` or waits for a service without a time limit"
                self._end_with(Stuck(stuck, hint=hint))
                return

    def _end_with(self, error: Exception) -> None:
        """No node has failed, and yet the session can't go on."""
        self._failure = self._failure or error
        for task in self._tasks.values():
            task.cancel()

    def _hears(self) -> bool:
        return any(issubclass(Heard, kind) for spec in self.graph.nodes.values() for kind in ports(spec.cls).outputs)

    async def _probe_lag(self) -> None:
        """On whole beats of the clock, as virtual devices are: waking costs the loop more than what it wakes for."""
        now = self.clock.now()
        rounds = 0
        while True:
            due = (now // LAG_NS + 1) * LAG_NS
            await asyncio.sleep((due - now) / SECOND)
            now = self.clock.now()
            if now - due > LAG_NS:
                self.trace.tap((now, NOTE, -1, f"the loop came {(now - due) / MS:.0f} ms late"))
            rounds += 1
            if rounds % 50 == 0:
                self.trace.collect()

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._extra.add(task)
        task.add_done_callback(self._extra.discard)


__all__ = ["NodeFailed", "Session"]
