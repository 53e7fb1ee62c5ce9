from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flowgraph.handoff import Handoff


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts how often another thread wakes it."""

    wake_ups = 0

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any, context: Any = None) -> asyncio.Handle:
        self.wake_ups += 1
        return super().call_soon_threadsafe(callback, *args, context=context)


def run_counting(main: Any) -> tuple[Any, int]:
    loop = CountingLoop()
    try:
        result = loop.run_until_complete(main(loop))
        return result, loop.wake_ups
    finally:
        loop.close()


async def all_of(handoff: Handoff[int]) -> list[int]:
    return [item async for item in handoff]


def in_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_what_a_thread_puts_comes_out_in_order() -> None:
    async def main(loop: asyncio.AbstractEventLoop) -> list[int]:
        handoff: Handoff[int] = Handoff(loop, 100)

        def work() -> None:
            for i in range(50):
                assert handoff.put(i)
            handoff.close()

        in_thread(work)
        return await all_of(handoff)

    items, _ = run_counting(main)
    assert items == list(range(50))


def test_a_burst_wakes_the_loop_once() -> None:
    async def main(loop: asyncio.AbstractEventLoop) -> list[int]:
        handoff: Handoff[int] = Handoff(loop, 100)
        taker = asyncio.create_task(all_of(handoff))
        await asyncio.sleep(0)

        def work() -> None:
            for i in range(50):
                handoff.put(i)

        in_thread(work)
        for _ in range(5):
            await asyncio.sleep(0)
        handoff.close()
        return await taker

    items, wake_ups = run_counting(main)
    assert items == list(range(50))
    assert wake_ups == 1  # the burst; who closes in the loop's own thread needs none


class Racing(Handoff[int]):
    """A thread puts something in the moment in which the loop is about to wait: after its look into the ring."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_signalled" and value is False and hasattr(self, "_waiter"):
            in_thread(lambda: self.put(1))
            self.close()
        super().__setattr__(name, value)


def test_what_is_put_while_the_loop_lies_down_to_wait_is_not_missed() -> None:
    async def main(loop: asyncio.AbstractEventLoop) -> list[int]:
        racing = Racing(loop, 3)
        racing.put(0)
        async with asyncio.timeout(5):
            return await all_of(racing)

    assert run_counting(main)[0] == [0, 1]


def test_a_full_ring_loses_the_new_item_and_counts_it() -> None:
    async def main(loop: asyncio.AbstractEventLoop) -> tuple[list[bool], list[int], int]:
        handoff: Handoff[int] = Handoff(loop, 3)
        taken = [handoff.put(i) for i in range(5)]
        handoff.close()
        return taken, await all_of(handoff), handoff.count_lost

    (taken, items, lost), _ = run_counting(main)
    assert taken == [True, True, True, False, False]
    assert items == [0, 1, 2]
    assert lost == 2


def test_a_put_after_the_loop_is_gone_does_no_harm() -> None:
    async def main(loop: asyncio.AbstractEventLoop) -> Handoff[int]:
        return Handoff(loop, 3)

    handoff, _ = run_counting(main)

    assert handoff.put(1)
    handoff.close()


@given(
    capacity=st.integers(1, 5),
    actions=st.lists(st.one_of(st.integers(1, 4), st.none()), max_size=40),
)
def test_nothing_is_lost_uncounted_doubled_or_out_of_order(capacity: int, actions: list[int | None]) -> None:
    """A number = so many items are put from a thread; None = the loop takes what there is."""

    async def main(loop: asyncio.AbstractEventLoop) -> tuple[list[int], int, int]:
        handoff: Handoff[int] = Handoff(loop, capacity)
        items: list[int] = []

        async def take() -> None:
            async for item in handoff:
                items.append(item)  # noqa: PERF401 -- what has come so far is looked at meanwhile

        taker = asyncio.create_task(take())
        put = kept = 0
        for action in actions:
            if action is None:
                for _ in range(8):
                    await asyncio.sleep(0)
                assert len(items) == kept
                continue
            for _ in range(action):
                kept += handoff.put(put)
                put += 1
        handoff.close()
        await taker
        assert len(items) == kept
        return items, put, handoff.count_lost

    (items, put, lost), _ = run_counting(main)
    assert items == sorted(set(items))
    assert len(items) + lost == put
