"""Runs one node: its `process` and its `run`, with stamps, interruption and `on_error`.

1. A frame is stamped once, when it is first yielded: cause, turn and `at` come from the frame in process. So a Plan that a
   slow service finishes late still carries the number of the attempt that asked for it, and every channel refuses it.
2. On `advance`, work on a stale Plan is cancelled (for economy), its generator closed; then `flush()` in band; then the next frame.
   Work on a Fact is never cancelled. A cancel whose frame has just ended is absorbed; a stop is never absorbed.
3. Clean-up has 50 ms. Then the task that hangs in it is detached and reported, and a new one goes on with the inbox.
4. `on_error`: `fail` ends the session; `skip` goes on with the next frame; `restart` makes a fresh node, with back-off, at most 3
   times in 30 s. A Plan that failed takes the rest of its attempt with it: `End(error)` follows
   (and `Heard(error)`, where the node is the one that tells what was heard), and the owner gets a `Failure`.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from flowgraph.errors import FlowError, NodeFailed
from flowgraph.frame import End, Failure, Frame, Heard
from flowgraph.lanes import Lanes
from flowgraph.mistakes import YIELD, contained, in_words, traceback_of
from flowgraph.node import Node, parallel_of, ports
from flowgraph.taps import BULK, NOTE, STAMP, Tap
from flowgraph.units import MS, SECOND

if TYPE_CHECKING:
    from flowgraph.channel import Channel, Inbox, Outlet
    from flowgraph.turn import Turn

CLEAN_UP_NS = 50 * MS
MOST_RESTARTS = 3
RESTART_WINDOW_NS = 30 * SECOND
FIRST_BACK_OFF_S = 0.1
FRAMES_A_SLICE = 32
"""So many frames may pass a plain `process` before the loop gets its turn."""

_EXHAUSTED = object()


class _Restart(Exception):
    """Inside the worker: give the node up and make a fresh one."""


class Worker:
    """One node at run time."""

    def __init__(
        self,
        name: str,
        make: Callable[[], Node],
        *,
        index: int,
        inbox: Inbox,
        turn: Turn,
        tap: Tap,
        now: Callable[[], int],
        ids: Iterator[int],
        owned: bool,
        route: Callable[[type[Frame]], tuple[Outlet, ...]],
        outlets: tuple[Channel, ...],
        on_error: str = "fail",
        place: str = "",
        tell_owner: Callable[[Failure], None] = lambda _: None,
        say: Callable[[str], None] = lambda _: None,
        revive: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`make` gives a node with its context set. `route` tells the channels of a frame type; `outlets` are all of them.

        `owned`: the graph has an owner of the turn. `revive` brings back, before a restart, what the node depends on.
        """
        self.name = name
        self.index = index
        self.inbox = inbox
        self.node = make()
        self.current: Frame | None = None
        """The frame in process."""
        self._make = make
        self._turn = turn
        self._tap = tap
        self._now = now
        self._ids = ids
        self._owned = owned
        self._is_owner = type(self.node).owns_turn
        self._routes = _Routes(self._declared(route))
        self._outlets = outlets
        self._on_error = on_error
        self._place = place
        self._tell_owner = tell_owner
        self._say = say
        self._revive = revive
        self._refused = -1
        self._flush_due = False
        self._interrupted = False
        self._plain = True
        self._restarts: deque[int] = deque()
        self._consumer: asyncio.Task[None] | None = None
        self._producer: asyncio.Task[None] | None = None
        self._detached: set[asyncio.Task[Any]] = set()
        self._changed = asyncio.Event()
        self._threads: ThreadPoolExecutor | None = None
        self._lanes: Lanes | None = None
        if not self._is_owner:
            turn.on_advance(self._interrupt)

    def _declared(
        self, route: Callable[[type[Frame]], tuple[Outlet, ...]]
    ) -> Callable[[type[Frame]], tuple[Outlet, ...]]:
        """The same, for frames that the node says it yields: any other would be lost without a word."""
        outputs = ports(type(self.node)).outputs

        def checked(kind: type[Frame]) -> tuple[Outlet, ...]:
            if not issubclass(kind, Frame):
                what = "a class" if issubclass(kind, type) else f"a {kind.__name__}"
                raise FlowError(f"it yielded {what}, which is no frame", hint=YIELD)
            if not issubclass(kind, outputs):
                names = " | ".join(output.__name__ for output in outputs) or "nothing"
                raise FlowError(
                    f"it yielded a {kind.__name__}, but its annotations say that it yields {names}",
                    hint=f"add it where they say so: -> Iterator[… | {kind.__name__}]",
                )
            return route(kind)

        return checked

    def processed_in(self, task: asyncio.Task[Any]) -> Frame | None:
        """The frame that `process` is at work on in this very task; None: the task isn't one of those, or is between frames."""
        if self._lanes is not None:
            return self._lanes.processed_in(task)
        return self.current if task is self._consumer else None

    @property
    def planning(self) -> bool:
        """Is `process` at work for the attempt that counts?"""
        frames = self._lanes.frames if self._lanes is not None else filter(None, [self.current])
        return any(frame.is_plan and frame.turn >= self._turn.number for frame in frames)

    def reroute(self) -> None:
        """Forget which channels take which type: somebody began or ceased to watch."""
        self._routes.clear()

    # -- life ----------------------------------------------------------------------------------------------------------

    async def work(self) -> None:
        """Run the node until its inputs and its own `run` have ended; then close its outputs. Raises NodeFailed."""
        try:
            while True:
                try:
                    await self._supervise()
                except _Restart:
                    await self._restart()
                else:
                    return
        finally:
            for task in (self._consumer, self._producer, *self._detached):
                if task is not None and not task.done():
                    task.cancel()
            if self._threads is not None:
                self._threads.shutdown(wait=True)
            for channel in self._outlets:
                channel.close()

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        node = self.node
        process = getattr(node, "process", None)
        run = getattr(node, "run", None)
        self._producer = loop.create_task(self._produce(run), name=f"{self.name}.run") if run else None
        self._consumer = loop.create_task(self._consume(process), name=f"{self.name}.process") if process else None
        try:
            while True:
                tasks = [task for task in (self._consumer, self._producer) if task is not None]
                pending = [task for task in tasks if not task.done()]
                for task in tasks:
                    if task.done():
                        task.result()
                if not pending or (self.inbox.source and self._producer is not None and self._producer.done()):
                    return
                changed = loop.create_task(self._changed.wait())
                try:
                    await asyncio.wait([*pending, changed], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
                self._changed.clear()
        finally:
            mine = [task for task in (self._consumer, self._producer) if task is not None and not task.done()]
            for task in mine:
                task.cancel()
            if mine:
                await asyncio.wait(mine, timeout=CLEAN_UP_NS / SECOND)

    async def _restart(self) -> None:
        now = self._now()
        while self._restarts and now - self._restarts[0] > RESTART_WINDOW_NS:
            self._restarts.popleft()
        if len(self._restarts) >= MOST_RESTARTS:
            raise NodeFailed(
                self.name,
                f"restarted {MOST_RESTARTS} times in {RESTART_WINDOW_NS // SECOND} s, and failed again",
                place=self._place,
                hint="see the failures above",
            )
        await self._close_node()
        while True:
            await asyncio.sleep(FIRST_BACK_OFF_S * 2 ** len(self._restarts))
            self._restarts.append(self._now())
            self.node = self._make()
            try:
                if self._revive is not None:
                    await self._revive()
                await contained(self.node.open())
            except Exception as error:
                self._note(f"restart failed: {error}")
                if len(self._restarts) >= MOST_RESTARTS:
                    raise self._failure(error, None) from error
                await self._close_node()
            else:
                self._note("restarted")
                self._say(f"node '{self.name}' was restarted")
                return

    async def _close_node(self) -> None:
        try:
            await asyncio.wait_for(contained(self.node.close()), timeout=2)
        except TimeoutError:
            self._note("close() took more than 2 s and was left")
        except Exception as error:
            self._note(f"close() failed: {error}")

    # -- process -------------------------------------------------------------------------------------------------------

    async def _consume(self, process: Callable[[Any], Any]) -> None:
        most = parallel_of(self.node)
        if most > 1:
            self._lanes = Lanes(
                self.name,
                most,
                inbox=self.inbox,
                emit=self._emit,
                failed=self._failed,
                worthless=self._worthless,
                overdue=self._detach,
                clean_up_s=CLEAN_UP_NS / SECOND,
            )
            await self._lanes.consume(process, self._flush)
        else:
            await self._consume_serial(process)
        if asyncio.current_task() is self._consumer:
            try:
                await contained(self.node.drain())
            except Exception as error:
                raise self._failure(error, None) from error

    async def _consume_serial(self, process: Callable[[Any], Any]) -> None:
        """Take frames one by one. The plain path has no await at all while there is room and something to take."""
        inbox, turn, stamp, routes = self.inbox, self._turn, self._stamp, self._routes
        plain = self._plain = not (
            inspect.isasyncgenfunction(process) or inspect.iscoroutinefunction(process) or self.node.blocking
        )
        task = asyncio.current_task()
        slice_left = FRAMES_A_SLICE
        while True:
            if self._flush_due:
                self._flush()
            frame = inbox.poll()
            if frame is None:
                if inbox.ended:
                    return
                await inbox.wait()
                slice_left = FRAMES_A_SLICE
                continue
            is_plan = frame.is_plan
            if is_plan and frame.turn <= self._refused:
                continue
            self.current = frame
            try:
                if plain:
                    outputs = process(frame)
                    if outputs is not None:
                        for output in outputs:
                            if not output.id:
                                stamp(output, frame)
                            for channel in routes[type(output)]:
                                if not channel.put(output):
                                    await channel.wait_put(output)
                            if is_plan and frame.turn < turn.number:
                                _close(outputs)
                                break
                else:
                    await self._process_async(process, frame)
            except asyncio.CancelledError:
                if not self._absorb(task):
                    raise
            except (Exception, SystemExit) as error:
                self._failed(error, frame)
            finally:
                if self._consumer is task:
                    self.current = None
            if self._consumer is not task:
                return  # detached: another task goes on with the inbox
            if self._interrupted:
                self._absorb(task)  # the frame ended before the cancel could reach it
            slice_left -= 1
            if not slice_left:
                slice_left = FRAMES_A_SLICE
                await asyncio.sleep(0)

    async def _process_async(self, process: Callable[[Any], Any], frame: Frame) -> None:
        if self.node.blocking:
            await self._process_in_thread(process, frame)
            return
        outputs = process(frame)
        if inspect.iscoroutine(outputs):
            outputs = await outputs
            for output in outputs or ():
                await self._emit(output, frame)
            return
        try:
            async for output in outputs:
                await self._emit(output, frame)
                if frame.is_plan and frame.turn < self._turn.number:
                    break
        finally:
            await outputs.aclose()

    async def _process_in_thread(self, process: Callable[[Any], Any], frame: Frame) -> None:
        """Step a blocking generator in the node's own thread. A thread can't be cancelled: it is always waited for."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(1, thread_name_prefix=self.name)
        loop = asyncio.get_running_loop()

        async def in_thread(call: Callable[[], Any]) -> Any:
            step = loop.run_in_executor(self._threads, call)
            try:
                return await asyncio.shield(step)
            except asyncio.CancelledError:
                await asyncio.wait([step])
                raise

        outputs = await in_thread(lambda: process(frame))
        if outputs is None:
            return
        outputs = iter(outputs)
        try:
            while (output := await in_thread(lambda: next(outputs, _EXHAUSTED))) is not _EXHAUSTED:
                await self._emit(output, frame)
                if frame.is_plan and frame.turn < self._turn.number:
                    return
        finally:
            close = getattr(outputs, "close", None)
            if close is not None:
                await in_thread(close)

    # -- run -----------------------------------------------------------------------------------------------------------

    async def _produce(self, run: Callable[[], AsyncIterator[Frame]]) -> None:
        outputs = run()
        if inspect.iscoroutine(outputs):
            await outputs
            return
        try:
            async for output in outputs:
                await self._emit(output, None)
        except asyncio.CancelledError:
            raise
        except NodeFailed:
            raise
        except (Exception, SystemExit) as error:
            if self._on_error == "skip":
                self._on_error = "restart"  # `run` has no next frame to go on with
            self._failed(error, None)
        finally:
            close = getattr(outputs, "aclose", None)
            if close is not None:
                await close()

    # -- frames --------------------------------------------------------------------------------------------------------

    async def _emit(self, output: Frame, current: Frame | None) -> None:
        if not output.id:
            self._stamp(output, current)
        for channel in self._routes[type(output)]:
            if not channel.put(output):
                await channel.wait_put(output)

    def _stamp(self, output: Frame, current: Frame | None) -> None:
        # Plain slot writes on a frame that nobody else has seen yet.
        cause = output.cause
        if isinstance(cause, Frame):
            current = cause
        now = self._now()
        if current is not None:
            output.cause = current.id  # type: ignore[misc]
            output.turn = current.turn  # type: ignore[misc]
            if not output.at:
                output.at = current.at  # type: ignore[misc]
        elif not output.at:
            output.at = now  # type: ignore[misc]
        if self._is_owner:
            output.turn = self._turn.number  # type: ignore[misc]
        elif output.is_plan:
            if not self._owned:
                output.turn = self._turn.number  # type: ignore[misc]
            elif current is None or not current.is_plan:
                what = f"processing a {type(current).__name__}" if current is not None else "running by itself"
                raise FlowError(
                    f"it yielded a {type(output).__name__} (a Plan) while {what}: whose attempt is it?",
                    hint="in a graph whose turn is owned, only the owner turns facts into plans; "
                    "from run(), name the Plan's cause",
                )
        elif current is None:
            output.turn = self._turn.number  # type: ignore[misc]
        output.source = self.name  # type: ignore[misc]
        output.id = next(self._ids)  # type: ignore[misc]
        if output.bulk:
            end_at = output.at + output.duration_ns
            self._tap((now, BULK, self.index, output.id, output.cause, output.turn, type(output), output.at, end_at))
        else:
            self._tap((now, STAMP, self.index, output))

    # -- interruption --------------------------------------------------------------------------------------------------

    def _interrupt(self) -> None:
        """The turn advanced: whatever is in process for an earlier attempt is worthless."""
        self._flush_due = True
        number = self._turn.number
        frame, task = self.current, self._consumer
        # A plain `process` only ever waits in a put, which the advance wakes and refuses by itself.
        stale = frame is not None and frame.is_plan and frame.turn < number
        if stale and not self._plain and not self._interrupted and task not in (None, asyncio.current_task()):
            self._interrupted = True
            task.cancel()
            asyncio.get_running_loop().call_later(CLEAN_UP_NS / SECOND, self._overdue, task, frame)
        if self._lanes is not None:
            self._lanes.interrupt()
        self.inbox.wake()

    def _absorb(self, task: asyncio.Task[None] | None) -> bool:
        """Take our own cancel back. False = it is (also) a stop, which is never absorbed."""
        if not self._interrupted or task is None:
            return False
        self._interrupted = False
        return task.uncancel() == 0

    def _overdue(self, task: asyncio.Task[None], frame: Frame | None) -> None:
        if self.current is not frame or self._consumer is not task or task.done() or self.node.blocking:
            return
        self.current = None
        self._interrupted = False
        self._detach(task)
        self._consumer = asyncio.get_running_loop().create_task(
            self._consume(self.node.process),  # type: ignore[attr-defined]
            name=f"{self.name}.process",
        )
        self._changed.set()

    def _detach(self, task: asyncio.Task[Any]) -> None:
        self._note(f"clean-up after an interruption took more than {CLEAN_UP_NS // MS} ms: detached")
        self._detached.add(task)
        task.add_done_callback(self._detached.discard)

    def _worthless(self, frame: Frame) -> bool:
        """Is the frame's attempt over, or refused here since a part of it failed?"""
        return frame.is_plan and (frame.turn < self._turn.number or frame.turn <= self._refused)

    def _flush(self) -> None:
        if self._flush_due:
            self._flush_due = False
            try:
                self.node.flush()
            except (Exception, SystemExit) as error:
                raise self._failure(error, None) from error

    # -- failure -------------------------------------------------------------------------------------------------------

    def _failed(self, error: BaseException, frame: Frame | None) -> None:
        failure = self._failure(error, frame)
        if self._on_error == "fail" or self._is_owner:
            raise failure from error
        attempt = 0
        if frame is not None and frame.is_plan:
            attempt = frame.turn
            self._refused = max(self._refused, attempt)
            if attempt >= self._turn.number:
                self._end_attempt(frame, failure.cause)
        self._note(str(failure) if isinstance(error, FlowError) else f"{failure}\n{traceback_of(error)}")
        self._say(str(failure))
        told = Failure(self.name, failure.message, attempt)
        self._stamp(told, frame)
        self._tell_owner(told)
        if self._on_error == "restart":
            raise _Restart

    def _end_attempt(self, frame: Frame, why: str) -> None:
        """Say for the node that failed what it owes to the others: how the attempt ended, and that nothing more is heard of it."""
        for last in (End(reason="error", detail=why), Heard(final=True, reason="error", detail=why)):
            if type(last) in ports(type(self.node)).outputs:
                self._stamp(last, frame)
                for channel in self._routes[type(last)]:
                    channel.put_at_once(last)

    def _failure(self, error: BaseException, frame: Frame | None) -> NodeFailed:
        if isinstance(error, NodeFailed):
            return error
        doing = ""
        if frame is not None:
            doing = f"processing {type(frame).__name__} {frame.id} from '{frame.source}' (attempt {frame.turn})"
        message, hint = in_words(error, _files(type(self.node)))
        if not hint and not isinstance(error, FlowError):
            hint = "`flow run -v` shows the whole traceback"
        return NodeFailed(self.name, message, place=self._place, hint=hint, while_doing=doing)

    def _note(self, text: str) -> None:
        self._tap((self._now(), NOTE, self.index, text))


def _files(cls: type[Node]) -> set[str]:
    """Where the code of a node is, its own and what it inherits."""
    modules = (sys.modules.get(one.__module__) for one in cls.__mro__ if issubclass(one, Node) and one is not Node)
    return {file for module in modules if (file := getattr(module, "__file__", None))}


def _close(outputs: Any) -> None:
    """End a generator; a list has no end."""
    close = getattr(outputs, "close", None)
    if close is not None:
        close()


class _Routes(dict[type[Frame], "tuple[Outlet, ...]"]):
    """Frame type → the channels that take it, worked out at its first frame."""

    def __init__(self, route: Callable[[type[Frame]], tuple[Outlet, ...]]) -> None:
        super().__init__()
        self._route = route

    def __missing__(self, frame_type: type[Frame]) -> tuple[Outlet, ...]:
        channels = self[frame_type] = self._route(frame_type)
        return channels
