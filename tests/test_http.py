from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trustme
from aiohttp import WSMsgType, web

from flowgraph.clock import clock_of, run_virtual
from flowgraph.errors import ServiceError
from flowgraph.http import HttpService, Network, Tcp
from flowgraph.services import Services
from flowgraph.specs import ServiceSpec
from flowgraph.units import SECOND
from flowgraph.wire import Wire, wired_services

KEY = "sk-quite-secret"
HANDSHAKE_S = 0.2


class Server:
    """Everything that an answer can do."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.cancelled: list[int] = []
        """How far answers had come when they were cancelled."""
        self.app = web.Application()
        for path, handler in {
            "/slow": self.slow, "/echo": self.echo, "/v1/echo": self.echo, "/talk": self.talk, "/stop": self.stop,
            "/vanish": self.vanish, "/silent": self.silent,
        }.items():  # fmt: skip
            self.app.router.add_route("*", path, handler)

    async def slow(self, request: web.Request) -> web.StreamResponse:
        """Ten pieces, one a second."""
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(10):
            await response.write(b"%d" % number)
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                self.cancelled.append(number)
                raise
        return response

    async def silent(self, _: web.Request) -> web.Response:
        """Nothing comes."""
        await asyncio.sleep(3600)
        return web.Response()

    async def echo(self, request: web.Request) -> web.Response:
        self.asked.append(await request.text())
        return web.json_response({name: request.headers.get(name, "") for name in ("Authorization", "Accept-Encoding")})

    async def talk(self, request: web.Request) -> web.WebSocketResponse:
        if "Authorization" not in request.headers:
            raise web.HTTPUnauthorized
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            await ws.send_str(message.data)
        return ws

    async def stop(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half of")
        return await self.vanish(request)

    async def vanish(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()


class World:
    """One service, `llm`, on a network inside the process."""

    def __init__(self, key: str = "") -> None:
        self.server = Server()
        applications = {"llm": self.server.app}
        self.wire = Wire(applications, handshake_s=HANDSHAKE_S)
        self.services = wired_services(applications, key=key, wire=self.wire)
        self.log: list[tuple[float, str]] = []
        self.requests: dict[int, list[str]] = {}
        """The number of each → its events."""

    def now_s(self) -> float:
        return (clock_of(asyncio.get_running_loop()).now() - self._began) / SECOND

    async def __aenter__(self) -> World:
        self._began = clock_of(asyncio.get_running_loop()).now()
        self.services.log = self._told
        await self.services.start()
        self.llm = self.services.http("llm")
        return self

    def _told(self, _: str, event: str, at: int, request: int) -> None:
        self.log.append(((at - self._began) / SECOND, event))
        self.requests.setdefault(request, []).append(event)

    async def __aexit__(self, *_: object) -> None:
        await self.services.close()


def on_the_wire(do: Callable[[World], Awaitable[Any]], key: str = "") -> Any:
    async def main() -> Any:
        async with World(key) as world:
            return await do(world)

    return run_virtual(main())


async def get_echo(world: World) -> str:
    async with world.llm.post("/echo", data="?") as response:
        return await response.text()


def service(url: str, key: str = "") -> HttpService:
    """For what needs no connection."""

    async def main() -> HttpService:
        services = Services([ServiceSpec("llm", url, key, "", {}, "talk.yaml:5:3")], network=Wire({}))
        await services.start()
        client = services.http("llm")
        await services.close()
        return client

    return run_virtual(main())


# -- addresses -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "path", "expected"),
    [
        ("http://host:8000", "/v1/models", "http://host:8000/v1/models"),
        ("http://host:8000/", "/v1/models", "http://host:8000/v1/models"),
        ("http://host:8000/v1", "/v1/models", "http://host:8000/v1/models"),
        ("http://host:8000/v1/", "/v1/models", "http://host:8000/v1/models"),
        ("https://host/api/v1", "/v1/chat/completions", "https://host/api/v1/chat/completions"),
        ("https://host/v1/chat/completions", "/v1/chat/completions", "https://host/v1/chat/completions"),
        ("https://host/v1beta", "/v1/models", "https://host/v1beta/v1/models"),
        ("ws://host:8080", "/v1/listen", "http://host:8080/v1/listen"),
        ("http://host/pool?token=x", "/speak", "http://host/pool/speak?token=x"),
        ("http://[::1]:8000/v1", "v1/models", "http://[::1]:8000/v1/models"),
    ],
)
def test_a_path_is_joined_to_the_base_without_repeating_it(base: str, path: str, expected: str) -> None:
    assert service(base).url(path) == expected


@pytest.mark.parametrize(
    ("base", "expected"), [("http://h", "ws://h/l"), ("wss://h", "wss://h/l"), ("https://h", "wss://h/l")]
)
def test_a_websocket_has_the_same_address_with_its_own_scheme(base: str, expected: str) -> None:
    assert service(base).ws_url("/l") == expected


def test_query_values_are_written_as_services_want_them() -> None:
    url = service("http://h?token=x").ws_url("/l", interim=True, rate=16000, model=None, word=["a b", "c"])

    assert url == "ws://h/l?token=x&interim=true&rate=16000&word=a+b&word=c"


def test_a_key_is_sent_as_bearer_and_only_there() -> None:
    client = service("http://host", key=f" {KEY}\n")

    assert client.headers == {"Authorization": f"Bearer {KEY}"}
    assert client.key == KEY
    assert KEY not in repr(client)
    assert service("http://host").headers == {}


def test_user_and_password_in_a_url_become_a_header_and_are_never_shown() -> None:
    client = service("http://ann:pass%20word@host:8000/v1?token=secret")

    assert client.headers == {"Authorization": "Basic YW5uOnBhc3Mgd29yZA=="}
    assert client.address == "http://host:8000/v1"
    assert repr(client) == "HttpService('llm', 'http://host:8000/v1')"
    assert "ann" not in client.url("/x")


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://ann:hush@host", "http://", "http://ann:hush@host:x"])
def test_what_is_no_url_is_an_error_that_shows_no_password(url: str) -> None:
    with pytest.raises(ServiceError, match=r"talk.yaml:5:3: the url of service 'llm' is none") as caught:
        service(url)

    assert "hush" not in str(caught.value)


# -- requests --------------------------------------------------------------------------------------------------------------


def test_requests_carry_the_key_and_a_header_of_ones_own_goes_before() -> None:
    async def do(world: World) -> list[str]:
        requests = world.llm.post("/v1/echo", json={}), world.llm.get("/echo", headers={"Authorization": "Token t"})
        seen = []
        for request in requests:
            async with request as response:
                seen.append((await response.json())["Authorization"])
        return seen

    assert on_the_wire(do, KEY) == [f"Bearer {KEY}", "Token t"]


def test_nothing_is_compressed_since_that_holds_small_pieces_back() -> None:
    async def do(world: World) -> str:
        async with world.llm.get("/echo") as response:
            return (await response.json())["Accept-Encoding"]

    assert on_the_wire(do) == "identity"


def test_leaving_the_block_early_cancels_the_answer_at_the_server() -> None:
    async def do(world: World) -> list[int]:
        async with world.llm.get("/slow") as response:
            await response.content.readany()
            await asyncio.sleep(2.5)
        await asyncio.sleep(0.1)
        return world.server.cancelled

    assert on_the_wire(do) == [2]


def test_a_request_can_be_awaited_and_closed_by_hand() -> None:
    async def do(world: World) -> list[int]:
        response = await world.llm.get("/slow")
        response.close()
        await asyncio.sleep(0.1)
        return world.server.cancelled

    assert on_the_wire(do) == [0]


def test_a_connection_that_the_server_closed_meanwhile_is_replaced_and_the_question_asked_again() -> None:
    async def do(world: World) -> list[str]:
        await get_echo(world)
        assert world.wire.cut("llm")
        await get_echo(world)
        return world.server.asked

    assert on_the_wire(do) == ["?", "?"]


def test_what_can_be_sent_only_once_is_not_sent_again() -> None:
    async def once() -> Any:
        yield b"a recording"

    async def do(world: World) -> None:
        await get_echo(world)
        world.wire.cut("llm")
        async with world.llm.post("/echo", data=once()):
            pass

    with pytest.raises(ServiceError, match="closed the connection"):
        on_the_wire(do)


def test_a_websocket_echoes_and_is_closed_behind_its_block() -> None:
    async def do(world: World) -> tuple[str, bool]:
        async with world.llm.websocket("/talk") as ws:
            await ws.send_str("hello")
            answer = (await ws.receive()).data
        return answer, ws.closed

    assert on_the_wire(do, KEY) == ("hello", True)


# -- warm connections --------------------------------------------------------------------------------------------------------


def events(log: list[tuple[float, str]]) -> list[str]:
    return [event for _, event in log]


def test_the_first_request_pays_for_its_handshake_unless_the_service_is_warm() -> None:
    async def cold(world: World) -> list[tuple[float, str]]:
        await get_echo(world)
        return world.log

    async def warm(world: World) -> list[tuple[float, str]]:
        await world.llm.warm()
        await get_echo(world)
        return world.log

    assert on_the_wire(cold)[:4] == [
        (0.0, "connect_start"), (0.2, "connect_end"), (0.2, "request_sent"), (0.2, "response_start"),
    ]  # fmt: skip
    assert on_the_wire(warm)[:6] == [
        (0.0, "warm_start"), (0.2, "warm_end"),
        (0.2, "reused"), (0.2, "warm_start"), (0.2, "request_sent"), (0.2, "response_start"),
    ]  # fmt: skip


def test_the_events_of_requests_that_are_made_at_once_are_told_apart() -> None:
    async def do(world: World) -> list[list[str]]:
        await asyncio.gather(*(get_echo(world) for _ in range(3)))
        return [events for events in world.requests.values() if not events[0].startswith("warm")]

    assert on_the_wire(do) == [["connect_start", "connect_end", "request_sent", "response_start"]] * 3


def test_warming_sends_nothing_and_a_warm_service_stays_as_it_is() -> None:
    async def do(world: World) -> tuple[list[str], int]:
        for _ in range(3):
            await world.llm.warm()
        return world.server.asked, world.wire.handshakes["llm"]

    assert on_the_wire(do) == ([], 1)


def test_after_a_cancelled_answer_the_next_request_finds_a_warm_connection_at_once() -> None:
    async def do(world: World) -> list[tuple[float, str]]:
        for _ in range(3):
            async with world.llm.get("/slow") as response:
                await response.content.readany()
                await asyncio.sleep(1)
        world.log.clear()
        await get_echo(world)
        return world.log

    log = on_the_wire(do)

    assert log[0] == (3.2, "reused")
    assert (3.2, "response_start") in log


def test_what_a_cancelled_answer_costs_is_replaced_in_the_background() -> None:
    async def do(world: World) -> list[tuple[float, str]]:
        await world.llm.warm()
        async with world.llm.get("/slow") as response:
            await response.content.readany()
        await asyncio.sleep(1)
        return world.log

    assert on_the_wire(do)[-3:] == [(0.2, "response_start"), (0.2, "closed"), (0.4, "warm_end")]


@pytest.mark.parametrize(("withdrawn_after_s", "late_s"), [(0.25, 0), (0.15, 0.05)])
def test_an_attempt_that_is_withdrawn_before_its_first_byte_costs_the_next_one_no_handshake_of_its_own(
    withdrawn_after_s: float, late_s: float
) -> None:
    async def do(world: World) -> tuple[float, list[str]]:
        await world.llm.warm()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(withdrawn_after_s), world.llm.post("/silent"):
                pass
        world.log.clear()
        began = world.now_s()
        await get_echo(world)
        return world.now_s() - began, events(world.log)

    took, log = on_the_wire(do)

    assert took == pytest.approx(late_s)
    assert [event for event in log if event.startswith("connect")] == ["connect_start", "connect_end"] * bool(late_s)
    assert "reused" in log


def test_a_spare_connection_that_cannot_be_made_leaves_the_request_to_say_so() -> None:
    async def do(world: World) -> None:
        world.wire.refusing.add("llm")
        world.llm.rewarm()
        await asyncio.sleep(HANDSHAKE_S / 2)
        await get_echo(world)

    assert "refuses the connection" in error_of(do)


def test_two_requests_at_once_leave_a_spare_connection_too_and_not_more() -> None:
    async def do(world: World) -> int:
        async with world.llm.get("/slow") as first:
            await first.content.readany()
            async with world.llm.get("/slow") as second:
                await second.content.readany()
                await asyncio.sleep(1)
                await world.llm.warm()
                return world.wire.handshakes["llm"]

    assert on_the_wire(do) == 3


def test_speech_onset_replaces_a_spare_connection_that_the_server_has_closed() -> None:
    async def do(world: World) -> float:
        await world.llm.warm()
        world.wire.cut("llm")
        await asyncio.sleep(60)

        world.services.rewarm()
        await asyncio.sleep(1)

        began = world.now_s()
        await get_echo(world)
        return world.now_s() - began

    assert on_the_wire(do) == 0


@pytest.mark.parametrize("network", [Tcp, lambda: Wire({})], ids=["tcp", "wire"])
def test_an_idle_connection_is_kept_for_90_s(network: Callable[[], Network]) -> None:
    async def kept_for_s() -> float:
        async with network().connector() as connector:
            return float(connector._keepalive_timeout)  # aiohttp goes by the real clock, also on a virtual loop

    assert asyncio.run(kept_for_s()) == 90


def test_a_websocket_does_not_ask_for_a_spare_connection_and_its_end_is_told() -> None:
    async def do(world: World) -> list[tuple[float, str]]:
        async with world.llm.websocket("/talk"):
            await asyncio.sleep(3)
            world.log.append((world.now_s(), "leaving"))
        return world.log

    assert on_the_wire(do, KEY)[3:] == [(0.2, "response_start"), (3.2, "leaving"), (3.2, "closed"), (3.2, "warm_start")]


def test_warming_in_the_background_fails_without_a_word() -> None:
    async def do(world: World) -> None:
        world.wire.refusing.add("llm")
        world.llm.rewarm()
        await asyncio.sleep(1)
        assert [type(error) for error in await world.services.warm()] == [ServiceError]

    on_the_wire(do)


def test_closing_while_it_warms_leaves_nothing_behind() -> None:
    async def do(world: World) -> None:
        world.llm.rewarm()
        await asyncio.sleep(HANDSHAKE_S / 2)

    on_the_wire(do)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system offers no limit for unanswered bytes")
def test_a_connection_whose_other_end_is_gone_is_found_out_within_ten_seconds() -> None:
    async def main() -> list[int]:
        gone = asyncio.Event()

        async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")
            await reader.read()
            writer.close()
            await writer.wait_closed()
            gone.set()

        server = await asyncio.start_server(begin, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        services = Services([ServiceSpec("llm", f"http://127.0.0.1:{port}", "", "", {}, "")])
        async with server:
            await services.start()
            async with services.http("llm").get("/") as response:
                assert response.connection is not None
                assert response.connection.transport is not None
                end = response.connection.transport.get_extra_info("socket")
                watched = end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
                limits = [end.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]
            await services.close()
            await gone.wait()
        return [watched, *limits]

    assert asyncio.run(main()) == [1, 4, 2, 3, 10_000]  # idle for 4 s, then asked 3 times in 2 s each: 10 s


# -- errors ------------------------------------------------------------------------------------------------------------------


def error_of(do: Callable[[World], Awaitable[Any]], key: str = KEY) -> str:
    with pytest.raises(ServiceError) as caught:
        on_the_wire(do, key)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


def test_who_refuses_is_named_with_what_to_do() -> None:
    async def do(world: World) -> None:
        world.wire.refusing.add("llm")
        await get_echo(world)

    assert error_of(do) == (
        "service 'llm' (http://llm) refuses the connection\n  = start it, or correct the url of 'llm' (test)"
    )


def test_who_does_not_answer_a_handshake_is_given_up_after_five_seconds() -> None:
    async def do(world: World) -> None:
        world.wire.handshake_s = 3600
        async with asyncio.timeout(5.001):
            await get_echo(world)

    assert "service 'llm' (http://llm) doesn't answer within 5 s" in error_of(do)


def test_an_answer_that_breaks_off_is_an_error_where_it_is_read() -> None:
    async def do(world: World) -> None:
        async with world.llm.get("/stop") as response:
            assert await response.content.readany() == b"half of"
            await response.content.readany()

    assert "closed the connection in the middle of its answer" in error_of(do)


def test_a_server_that_hangs_up_without_an_answer_is_an_error() -> None:
    async def do(world: World) -> None:
        await world.llm.post("/vanish")

    assert error_of(do) == (
        "service 'llm' (http://llm) closed the connection\n"
        "  = is the url of 'llm' (test) right, http:// or https:// too? see its log"
    )


def test_a_server_that_hangs_up_and_has_answered_before_is_the_right_one() -> None:
    async def do(world: World) -> None:
        await get_echo(world)
        await world.llm.post("/vanish")

    assert error_of(do) == "service 'llm' (http://llm) closed the connection\n  = see its log"


def test_a_websocket_that_breaks_is_an_error_for_who_goes_on_sending() -> None:
    async def do(world: World) -> None:
        async with world.llm.websocket("/talk") as ws:
            world.wire.cut("llm")
            assert (await ws.receive()).type is WSMsgType.CLOSED
            await ws.send_str("anybody there?")

    assert "closed the connection" in error_of(do)


def test_an_upgrade_that_is_refused_says_what_to_set() -> None:
    async def do(world: World) -> None:
        async with world.llm.websocket("/talk"):
            pass

    assert error_of(do, key="") == "service 'llm' (http://llm) refuses the WebSocket with status 401\n  = set its key"


def test_an_error_of_ones_own_inside_the_block_stays_as_it_is() -> None:
    async def do(world: World) -> None:
        async with world.llm.get("/echo"):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        on_the_wire(do)


def really(url: str, key: str = KEY) -> str:
    """What the real network's failure at an URL is reported as."""

    async def main() -> None:
        services = Services([ServiceSpec("llm", url, key, "", {}, "talk.yaml:5:3")])
        try:
            await services.start()
            await services.http("llm").warm()
        finally:
            await services.close()

    with pytest.raises(ServiceError) as caught:
        asyncio.run(main())
    assert KEY not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_where_nobody_listens_refuses(host: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]

        assert f"service 'llm' (http://{host}:{port}) refuses the connection" in really(
            f"http://ann:{KEY}@{host}:{port}/"
        )


def test_a_host_that_does_not_exist_is_said_to_be_unknown() -> None:
    assert "can't be found: no host is known as 'nowhere.invalid'" in really("https://nowhere.invalid/v1")


def test_https_to_a_server_without_tls_asks_about_the_scheme() -> None:
    async def main() -> tuple[asyncio.Server, int]:
        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        return server, server.sockets[0].getsockname()[1]

    assert "doesn't speak TLS\n  = should the url of 'llm' (talk.yaml:5:3) begin with http://?" in beside(main)


def test_a_certificate_that_nobody_signed_is_named_as_the_reason() -> None:
    async def main() -> tuple[asyncio.Server, int]:
        async def ignore(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
        server = await asyncio.start_server(ignore, "127.0.0.1", 0, ssl=tls)
        return server, server.sockets[0].getsockname()[1]

    assert "shows a TLS certificate that isn't accepted: unable to get local issuer certificate" in beside(main)


def beside(serve: Callable[[], Awaitable[tuple[asyncio.Server, int]]]) -> str:
    """How a connection by https to a server is reported."""

    async def main() -> str:
        server, port = await serve()
        services = Services([ServiceSpec("llm", f"https://127.0.0.1:{port}", "", "", {}, "talk.yaml:5:3")])
        async with server:
            await services.start()
            [error] = await services.warm()
            await services.close()
        return str(error)

    return asyncio.run(main())
