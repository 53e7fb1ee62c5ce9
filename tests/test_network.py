from __future__ import annotations

import asyncio
import random
import time

import aiohttp
import pytest
from aiohttp import web

from flowgraph.http import HttpService
from flowgraph.network import PROFILES, Authority, Conditions, Distant, Line, NetworkError, Relay
from flowgraph.specs import ServiceSpec
from flowgraph.units import MS, SECOND


def line(conditions: Conditions, **options: int) -> Line:
    return Line(conditions, random.Random(1), **options)


def test_bytes_wait_half_a_round_trip() -> None:
    assert line(Conditions(rtt_ns=80 * MS)).arrival(10 * MS, 100) == 50 * MS


def test_a_new_connection_waits_for_its_handshake_and_only_once() -> None:
    new = line(Conditions(rtt_ns=80 * MS), first_wait_ns=80 * MS)

    assert new.arrival(0, 100) == 120 * MS
    assert new.arrival(500 * MS, 100) == 540 * MS


def test_jitter_delays_and_never_reorders() -> None:
    shaky = line(Conditions(rtt_ns=80 * MS, jitter_ns=30 * MS))
    arrivals = [shaky.arrival(i * MS, 100) for i in range(300)]

    assert arrivals == sorted(arrivals)
    assert all(i * MS + 40 * MS <= at <= i * MS + 70 * MS + 30 * MS for i, at in enumerate(arrivals))
    assert len({at - i * MS for i, at in enumerate(arrivals)}) > 20


def test_bandwidth_lets_bytes_out_one_after_the_other() -> None:
    narrow = line(Conditions(rtt_ns=20 * MS, bytes_per_s=1_000_000))

    assert [narrow.arrival(0, 100_000) for _ in range(3)] == [110 * MS, 210 * MS, 310 * MS]


def test_a_loss_stalls_the_connection_for_one_retransmission_timeout() -> None:
    lossy = line(Conditions(rtt_ns=20 * MS, loss=0.2))
    late = [lossy.arrival(i * SECOND, 100) - i * SECOND for i in range(500)]

    assert set(late) == {10 * MS, 210 * MS}
    assert 70 <= late.count(210 * MS) <= 130


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtt=80ms,jitter=10ms", Conditions(rtt_ns=80 * MS, jitter_ns=10 * MS)),
        ("rtt=5ms,loss=1%,bandwidth=20Mbit,tls", Conditions(5 * MS, 0, 0.01, 2_500_000, tls=True)),
        ("runpod", PROFILES["runpod"]),
        ("lan,rtt=3ms", Conditions(rtt_ns=3 * MS, bytes_per_s=12_500_000)),
    ],
)
def test_conditions_are_read_and_said_again(text: str, expected: Conditions) -> None:
    assert Conditions.parse(text) == expected
    assert Conditions.parse(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "moon",
        "rtt=80",
        "rtt",
        "loss=150%",
        "tls=yes",
        "bandwidth=3",
        "bandwidth=0Mbit",
        "bandwidth=infkbit",
        "loss=nan",
        "rtt=80ms,,",
    ],
)
def test_wrong_conditions_are_one_clear_error(text: str) -> None:
    with pytest.raises(NetworkError, match=f"network '{text}': ") as caught:
        Conditions.parse(text)

    assert "rtt=80ms" in str(caught.value)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
    writer.close()


async def round_trips(port: int, ssl: object = None) -> list[float]:
    """Seconds of the first round trip with its connect, and of the second."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=ssl, server_hostname="127.0.0.1" if ssl else None
    )  # type: ignore[arg-type]
    spent = []
    for _ in range(2):
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"
        spent.append(time.perf_counter() - began)
        began = time.perf_counter()
    writer.close()
    return spent


@pytest.mark.alone
def test_a_kept_connection_pays_one_round_trip_and_a_new_one_two_and_tls_one_more() -> None:
    async def main() -> tuple[list[float], list[float]]:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        conditions = Conditions(rtt_ns=100 * MS)
        authority = Authority()
        async with (
            Relay("127.0.0.1", port, conditions) as plain,
            Relay("127.0.0.1", port, conditions, tls_to=authority.server("127.0.0.1")) as tls,
        ):
            results = await round_trips(plain.port), await round_trips(tls.port, authority.client)
        server.close()
        return results

    plain, tls = asyncio.run(main())

    trip = plain[1]
    assert trip >= 0.1
    assert plain[0] / trip == pytest.approx(2, abs=0.35)
    assert tls[0] / trip == pytest.approx(3, abs=0.45)
    assert tls[1] / trip == pytest.approx(1, abs=0.3)


def test_everything_arrives_in_order_and_the_end_too() -> None:
    async def main() -> bytes:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        sent = random.Random(3).randbytes(3_000_000)
        async with Relay(
            "127.0.0.1", port, Conditions(rtt_ns=10 * MS, jitter_ns=3 * MS, bytes_per_s=50_000_000)
        ) as relay:
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)

            async def send() -> None:
                writer.write(sent)
                await writer.drain()
                writer.write_eof()

            _, got = await asyncio.gather(send(), reader.read())
            writer.close()
        server.close()
        assert got == sent
        return got

    assert len(asyncio.run(main())) == 3_000_000


def test_a_service_that_refuses_is_refused_through_the_relay() -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        async with Relay("127.0.0.1", port, Conditions(rtt_ns=10 * MS)) as relay:
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
            writer.close()

    asyncio.run(main())


@pytest.mark.parametrize("tls", [False, True])
def test_a_distant_service_that_isnt_there_is_told_as_a_near_one_would_be_and_found_once_it_is(tls: bool) -> None:
    async def main() -> list[str]:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        network = Distant(Conditions(rtt_ns=10 * MS, tls=tls))
        told = []
        async with aiohttp.ClientSession(connector=network.connector()) as session:
            for address in (f"http://127.0.0.1:{port}", "http://no.such.host.invalid:80"):
                with pytest.raises(aiohttp.ClientConnectorError) as caught:
                    await session.get(network.address(address))
                told.append(f"{type(caught.value).__name__} {type(caught.value.os_error).__name__}")
            server = await asyncio.start_server(echo, "127.0.0.1", port)
            assert await network._way_to("127.0.0.1", port) != port
            server.close()
        await network.close()
        return told

    assert asyncio.run(main()) == [
        "ClientConnectorError ConnectionRefusedError", "ClientConnectorDNSError gaierror"
    ]  # fmt: skip


@pytest.mark.alone
@pytest.mark.parametrize("tls", [False, True])
def test_a_distant_service_is_reached_through_its_relay_and_a_kept_connection_pays_no_handshake(tls: bool) -> None:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def main() -> list[float]:
        app = web.Application()
        app.router.add_get("/", hello)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        network = Distant(Conditions(rtt_ns=100 * MS, tls=tls))
        url = network.address(f"http://127.0.0.1:{port}/")
        spent = []
        async with aiohttp.ClientSession(connector=network.connector()) as session:
            for _ in range(2):
                began = time.perf_counter()
                async with session.get(url) as response:
                    assert await response.text() == "hello"
                spent.append(time.perf_counter() - began)
        await network.close()
        await runner.cleanup()
        return spent

    first, second = asyncio.run(main())

    assert second >= 0.1
    assert first / second == pytest.approx(3 if tls else 2, abs=0.45)


@pytest.mark.alone
def test_a_handshake_is_told_as_connecting_and_a_name_gets_a_certificate_of_its_own() -> None:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def main() -> float:
        app = web.Application()
        app.router.add_get("/", hello)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        told: dict[str, int] = {}
        network = Distant(Conditions(rtt_ns=100 * MS, tls=True))
        service = HttpService(
            ServiceSpec("llm", "", "", "", {}, "test"), network.address(f"http://localhost:{port}"),
            connector=network.connector(), now=time.perf_counter_ns, log=lambda _, event, at, __: told.setdefault(event, at) and None,
        )  # fmt: skip
        async with service.get("/") as response:
            assert await response.text() == "hello"
        assert service.address == f"https://localhost:{port}"
        await service.close()
        await network.close()
        await runner.cleanup()
        return (told["connect_end"] - told["connect_start"]) / 1e9

    assert 0.2 <= asyncio.run(main()) < 0.35


@pytest.mark.alone
def test_what_follows_a_withdrawn_attempt_pays_no_handshake_to_a_rented_gpu() -> None:
    """The attempt is withdrawn before its first byte, which costs its connection; 400 ms later the next question is asked."""
    conditions = PROFILES["runpod"]

    async def silent(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def main() -> tuple[list[str], float, float]:
        app = web.Application()
        app.router.add_get("/silent", silent)
        app.router.add_get("/", hello)
        runner = web.AppRunner(app, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        told: list[str] = []
        network = Distant(conditions)
        service = HttpService(
            ServiceSpec("llm", "", "", "", {}, "test"), network.address(f"http://127.0.0.1:{runner.addresses[0][1]}"),
            connector=network.connector(), now=time.perf_counter_ns, log=lambda _, event, _at, __: told.append(event),
        )  # fmt: skip
        began = time.perf_counter()
        await service.warm()
        handshake = time.perf_counter() - began
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.15), service.get("/silent"):
                pass
        await asyncio.sleep(0.4)
        told.clear()
        began = time.perf_counter()
        async with service.get("/") as response:
            assert await response.text() == "hello"
        took = time.perf_counter() - began
        await service.close()
        await network.close()
        await runner.cleanup()
        return told, handshake, took

    told, handshake, took = asyncio.run(main())

    assert "connect_start" not in told
    assert "reused" in told
    assert took < conditions.rtt_ns / SECOND + 0.1 < handshake
