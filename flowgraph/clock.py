"""Time: integer nanoseconds of the event loop's monotonic clock. In tests it is virtual.

How virtual time moves:

1. While a callback is ready or a registered socket is readable or writable, it stands still: work takes no time.
2. While a thread call is under way it stands still too, and the loop really waits for it.
3. Else it jumps to the next timer, exactly: a timer set for `t` fires when `now()` is `t`, with no rounding to milliseconds.
4. With no timer to jump to, nothing can ever happen again: that is `Deadlock`, at once, with the tasks that wait.

So code that sleeps, paces a stream or times out runs unchanged, in the same order each time, as fast as the machine can.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from flowgraph.units import SECOND

T = TypeVar("T")

START_S = 1000
"""Virtual time begins here: not at 0, which is also how "never" is written, and far from where floats lose nanoseconds."""
GRACE_S = 5.0
"""What is left for cleaning up, virtual and real, once a limit has been passed."""


class Clock(Protocol):
    """The session's only time."""

    def now(self) -> int:
        """Monotonic nanoseconds."""
        ...


class LoopClock:
    """The time of an event loop: `loop.call_at(clock.now() / 1e9, …)` is now."""

    __slots__ = ("now",)

    now: Callable[[], int]

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        if isinstance(loop, VirtualLoop):
            self.now = loop.now
        elif type(loop).time is asyncio.BaseEventLoop.time:
            self.now = time.monotonic_ns  # the same clock, without the detour over a float
        else:
            self.now = lambda: round(loop.time() * SECOND)


def clock_of(loop: asyncio.AbstractEventLoop) -> Clock:
    """The clock of an event loop, real or virtual."""
    return LoopClock(loop)


class Deadlock(RuntimeError):
    """On a virtual loop nothing can ever happen again: nothing is ready, no timer is set, no thread is at work."""


class Overrun(RuntimeError):
    """On a virtual loop, more time has passed than was allowed: virtual, or real."""


def run_virtual(main: Coroutine[Any, Any, T], *, limit_s: float = 3600.0, real_limit_s: float = 50.0) -> T:
    """Run a coroutine on virtual time and return its result, as `asyncio.run` does.

    `limit_s` bounds the virtual time, `real_limit_s` the real one. Raises Deadlock or Overrun instead of hanging.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(limit_s=limit_s, real_limit_s=real_limit_s)) as runner:
        return runner.run(main)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps from timer to timer. `run_virtual` makes one, runs it and closes it."""

    is_virtual = True

    def __init__(self, *, limit_s: float = 3600.0, real_limit_s: float = 50.0) -> None:
        self._now_ns = START_S * SECOND
        self._limit_ns = self._now_ns + round(limit_s * SECOND)
        self._real_limit_s = time.monotonic() + real_limit_s
        self._held = 0
        super().__init__(_JumpingSelector(self))
        # A timer is due from half a nanosecond before its time on, where `now()` rounds to it. The rest is for float error:
        # a jump must never fall short of its own timer.
        self._clock_resolution = 0.6 / SECOND
        self._threads = ThreadPoolExecutor(thread_name_prefix="virtual")
        self.set_default_executor(self._threads)

    def time(self) -> float:
        """Virtual seconds."""
        return self._now_ns / SECOND

    def now(self) -> int:
        """Virtual nanoseconds, exact."""
        return self._now_ns

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Inside, time stands still: something that the loop can't see (a thread, a process) is at work and will call back."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """As usual; time stands still until the thread is done, also where nobody waits for it any more."""
        call = (executor or self._threads).submit(func, *args)
        self._held += 1
        future = asyncio.wrap_future(call, loop=self)
        # After wrap_future's own callback, so that the result is in the loop before time may move.
        call.add_done_callback(self._landed)
        return future

    async def shutdown_default_executor(self, *args: Any, **options: Any) -> None:
        """As usual; asyncio waits for the threads in one more thread, which the loop can't see."""
        with self.hold():
            await super().shutdown_default_executor(*args, **options)

    def _landed(self, _: Future[Any]) -> None:
        def release() -> None:
            self._held -= 1

        with contextlib.suppress(RuntimeError):  # the loop is closed: there is no time left to hold
            self.call_soon_threadsafe(release)

    def _jump(self, seconds: float | None) -> None:
        """To the next timer, `seconds` from now. Raises Deadlock where there is none, Overrun past the limit."""
        if seconds is None:
            waiting = "\n".join(
                sorted(f"  {task.get_name()} waits at {_place(task)}" for task in asyncio.all_tasks(self))
            )
            raise Deadlock(f"nothing is ready, no timer is set and no thread is at work:\n{waiting}")
        self._now_ns += round(seconds * SECOND)
        if self._now_ns > self._limit_ns:
            spent_s = self._now_ns // SECOND - START_S
            self._limit_ns = self._now_ns + round(GRACE_S * SECOND)
            raise Overrun(f"{spent_s} virtual seconds have passed without an end")

    def _real_time_left_s(self) -> float:
        """Raises Overrun where none is left."""
        left_s = self._real_limit_s - time.monotonic()
        if left_s > 0:
            return left_s
        self._real_limit_s = time.monotonic() + GRACE_S
        what = "thread calls are still under way" if self._held else "callbacks keep coming and time can't move"
        raise Overrun(f"the limit of real seconds is used up at {self.time() - START_S:.3f} virtual ones: {what}")


class _JumpingSelector(selectors.DefaultSelector):
    """Asked to sleep until a timer, it lets the loop jump there, unless something is ready or held."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Events of the registered sockets; never waits, except for what holds the time."""
        left_s = self._loop._real_time_left_s()
        # Where there is no file but the loop's own bell and nobody holds the time, a look would cost more than the jump.
        look = self._loop._held or timeout is None or len(self.get_map()) > 1
        ready = super().select(0) if look else []
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self._loop._held:
            return super().select(left_s)
        self._loop._jump(timeout)
        return []


def _place(task: asyncio.Task[Any]) -> str:
    """`file:line` of the innermost await of a task that isn't asyncio's own code."""
    place = "an unknown place"
    step: Any = task.get_coro()
    while step is not None:
        frame = getattr(step, "cr_frame", None) or getattr(step, "ag_frame", None) or getattr(step, "gi_frame", None)
        if frame is not None and "asyncio" not in frame.f_globals.get("__name__", ""):
            place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        step = getattr(step, "cr_await", None) or getattr(step, "ag_await", None) or getattr(step, "gi_yieldfrom", None)
    return place
