from __future__ import annotations

import asyncio
import itertools
import socket
import threading
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, web
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgraph.clock import Deadlock, Overrun, VirtualLoop, clock_of, run_virtual
from flowgraph.units import MS, SECOND
from flowgraph.wire import wired_services


def now() -> int:
    return clock_of(asyncio.get_running_loop()).now()


def test_an_hour_of_sleep_takes_no_real_time_and_is_exact() -> None:
    async def main() -> int:
        began = now()
        for _ in range(36_000):
            await asyncio.sleep(0.1)
        return now() - began

    real = time.perf_counter()

    assert run_virtual(main(), limit_s=3601) == 3600 * SECOND
    assert time.perf_counter() - real < 20


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 1000 * SECOND), min_size=1, max_size=20))
def test_a_timer_fires_when_now_is_its_time_to_the_nanosecond(delays: list[int]) -> None:
    async def main() -> list[int]:
        loop, began = asyncio.get_running_loop(), now()
        fired: list[int] = []
        for delay in delays:
            loop.call_at((began + delay) / SECOND, lambda: fired.append(now() - began))
        await asyncio.sleep(max(delays) / SECOND)
        await asyncio.sleep(0)
        return fired

    assert run_virtual(main()) == sorted(delays)


def test_time_stands_still_while_a_socket_is_ready() -> None:
    async def main() -> None:
        here, there = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=here)
        far_reader, far_writer = await asyncio.open_connection(sock=there)
        tick = asyncio.create_task(asyncio.sleep(1e-9))
        began = now()
        sent = bytes(3_000_000)  # many times what the kernel buffers: both sides have to take turns

        writer.write(sent)
        writer.write_eof()
        received = await far_reader.read()

        assert received == sent
        assert now() == began
        assert not tick.done()
        writer.close()
        far_writer.close()
        assert await reader.read() == b""
        await tick

    run_virtual(main())


def test_time_stands_still_while_a_thread_is_at_work() -> None:
    async def main() -> None:
        gate = threading.Event()
        tick = asyncio.create_task(asyncio.sleep(1e-9))
        began = now()
        threading.Timer(0.02, gate.set).start()

        assert await asyncio.to_thread(gate.wait, 10)
        assert now() == began
        assert not tick.done()
        await tick
        assert now() == began + 1

    run_virtual(main())


def test_time_stands_still_for_a_thread_that_nobody_waits_for_any_more() -> None:
    async def main() -> None:
        begun, gate, done = threading.Event(), threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            gate.wait(10)
            done.set()

        call = asyncio.get_running_loop().run_in_executor(None, work)
        assert begun.wait(10)
        call.cancel()
        threading.Timer(0.02, gate.set).start()

        await asyncio.sleep(1)

        assert done.is_set()

    run_virtual(main())


def test_hold_keeps_the_time_for_what_the_loop_does_not_see() -> None:
    async def main() -> None:
        loop, began = asyncio.get_running_loop(), now()
        assert isinstance(loop, VirtualLoop)
        called = asyncio.Event()
        threading.Timer(0.02, lambda: loop.call_soon_threadsafe(called.set)).start()

        with loop.hold():
            async with asyncio.timeout(1):
                await called.wait()

        assert now() == began

    run_virtual(main())


def test_when_nothing_can_happen_any_more_it_says_who_waits_and_where() -> None:
    async def wait_for_nobody() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.create_task(wait_for_nobody(), name="lonely")

    with pytest.raises(Deadlock, match=r"lonely waits at .*test_clock\.py:\d+"):
        run_virtual(main())


def test_after_a_deadlock_everything_is_cleaned_up_and_may_take_its_time() -> None:
    log: list[str] = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            log.append("closed")

    with pytest.raises(Deadlock):
        run_virtual(main())

    assert log == ["closed"]


def test_too_much_virtual_time_is_an_error_that_still_allows_to_clean_up() -> None:
    log: list[str] = []

    async def main() -> None:
        try:
            for _ in itertools.count():
                await asyncio.sleep(7)
        finally:
            await asyncio.sleep(1)
            log.append("closed")

    with pytest.raises(Overrun, match="63 virtual seconds have passed without an end"):
        run_virtual(main(), limit_s=60)

    assert log == ["closed"]


def test_too_much_real_time_is_an_error_where_callbacks_keep_coming() -> None:
    async def main() -> None:
        for _ in itertools.count():
            await asyncio.sleep(0)

    with pytest.raises(Overrun, match="callbacks keep coming"):
        run_virtual(main(), real_limit_s=0.02)


def test_too_much_real_time_is_an_error_where_a_thread_does_not_come_back() -> None:
    gate = threading.Event()

    async def main() -> None:
        try:
            await asyncio.to_thread(gate.wait, 10)
        finally:
            gate.set()

    with pytest.raises(Overrun, match="thread calls are still under way"):
        run_virtual(main(), real_limit_s=0.02)


def test_a_run_ends_in_good_order_after_threads_and_generators() -> None:
    log: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            log.append("closed")

    async def main() -> int:
        await asyncio.to_thread(log.append, "thread")
        return await anext(numbers())

    assert run_virtual(main()) == 1
    assert log == ["thread", "closed"]


def test_on_a_real_loop_the_clock_is_the_loops_own_time() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        clock = clock_of(loop)

        before = loop.time()
        read = clock.now()
        after = loop.time()

        assert before - 1e-6 <= read / SECOND <= after + 1e-6

    asyncio.run(main())


def test_a_loop_with_a_time_of_its_own_is_believed() -> None:
    class Warped(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return 5.25

    loop = Warped()

    assert clock_of(loop).now() == 5250 * MS
    loop.close()


async def paced(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for piece in (b"one", b"two", b"three"):
        await response.write(piece)
        await asyncio.sleep(1.5)
    return response


async def shout(request: web.Request) -> web.WebSocketResponse:
    async with asyncio.timeout(60):
        socket = web.WebSocketResponse(heartbeat=2.0)
        await socket.prepare(request)
        async for message in socket:
            await asyncio.sleep(0.25)
            await socket.send_str(message.data.upper())
    return socket


async def converse() -> list[tuple[float, str]]:
    """A paced answer and a WebSocket at the same time; what came when, in seconds from the beginning."""
    app = web.Application()
    app.router.add_get("/paced", paced)
    app.router.add_get("/shout", shout)
    services = wired_services({"far": app})
    began = now()
    log: list[tuple[float, str]] = []

    def note(what: str) -> None:
        log.append(((now() - began) / SECOND, what))

    services.log = lambda _service, event, _at, _request: note(event)
    await services.start()
    service = services.http("far")

    async def listen() -> None:
        async with service.get("/paced") as response:
            async for piece in response.content.iter_any():
                note(piece.decode())

    async def talk() -> None:
        async with service.websocket("/shout", heartbeat=1.0) as socket:
            await socket.send_str("a")
            later = asyncio.create_task(say_later(socket, "b"))
            for _ in range(2):
                message = await socket.receive()
                assert message.type is WSMsgType.TEXT
                note(message.data)
            await later

    async def say_later(socket: ClientWebSocketResponse, word: str) -> None:
        await asyncio.sleep(5)
        await socket.send_str(word)

    await asyncio.gather(listen(), talk())
    await services.close()
    return log


def test_aiohttp_streams_and_websockets_run_unchanged_and_on_time() -> None:
    real = time.perf_counter()
    log = run_virtual(converse())

    assert [entry for entry in log if entry[1] in ("one", "two", "three", "A", "B")] == [
        (0.0, "one"), (0.25, "A"), (1.5, "two"), (3.0, "three"), (5.25, "B"),
    ]  # fmt: skip
    assert time.perf_counter() - real < 2


def test_two_runs_are_alike_in_every_event_and_its_time() -> None:
    assert run_virtual(converse()) == run_virtual(converse())
