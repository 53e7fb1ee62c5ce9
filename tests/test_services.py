from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from flowgraph import children
from flowgraph.children import spawn_early
from flowgraph.errors import FlowError, ServiceError
from flowgraph.graph import Graph
from flowgraph.node import Node, ServiceName
from flowgraph.services import Services
from flowgraph.session import Session
from flowgraph.specs import ServiceSpec
from nodes.printer import Printer
from nodes.vocabulary import Transcript

ROOT = Path(__file__).parents[1]


def embedded(name: str = "tts", **options: Any) -> ServiceSpec:
    return ServiceSpec(name, "embedded", "", "tests.child_server", options, "talk.yaml:7:3")


def with_services(*specs: ServiceSpec, do: Callable[[Services], Awaitable[Any]], **options: Any) -> Any:
    """Start, do something on a real loop, close."""

    async def main() -> Any:
        services = Services(specs, **options)
        try:
            await services.start()
            await services.started()
            return await do(services)
        finally:
            await services.close()

    return asyncio.run(main())


def failure_of(**options: Any) -> str:
    """What a server that doesn't come up is reported as."""

    async def nothing(_: Services) -> None:
        pass

    with pytest.raises(ServiceError) as caught:
        with_services(embedded(**options), do=nothing)
    return str(caught.value)


async def asked(services: Services, name: str = "tts", path: str = "/hello") -> str:
    async with services.http(name).post(path, json={}) as response:
        return await response.text()


def is_gone(pid: int) -> bool:
    """Waited for by us, so it can't be a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_server_of_ours_is_reached_by_its_name_and_is_gone_after_close() -> None:
    async def do(services: Services) -> tuple[str, int]:
        return await asked(services), services._children["tts"].process.pid

    answer, pid = with_services(embedded(), do=do)

    assert answer == "ok"
    assert is_gone(pid)


def test_servers_start_together(tmp_path: Path) -> None:
    async def do(services: Services) -> list[str]:
        return [await asked(services, "stt"), await asked(services, "tts")]

    pair = [embedded(name, mood="meet", meet=tmp_path) for name in ("stt", "tts")]

    assert with_services(*pair, do=do) == ["ok", "ok"]


def test_a_server_that_is_still_starting_is_waited_for_by_who_needs_it_and_by_nobody_else(tmp_path: Path) -> None:
    quick, slow = embedded("stt"), embedded("tts", mood="meet", meet=tmp_path)

    async def main() -> tuple[str, bool, str]:
        services = Services([quick, slow])
        try:
            await services.start()
            waiting = asyncio.ensure_future(asked(services, "tts"))
            heard = await asked(services, "stt")
            early = waiting.done()
            (tmp_path / "somebody").touch()
            return heard, early, await waiting
        finally:
            await services.close()

    assert asyncio.run(main()) == ("ok", False, "ok")


class Asks(Node):
    """Talks to a server in its `open`, and to another one when it runs."""

    server = "tests.child_server"
    first: ServiceName = "stt"
    second: ServiceName = "tts"

    async def open(self) -> None:
        async with self.ctx.http(self.first).post("/hello", json={}):
            pass

    async def run(self) -> AsyncIterator[Transcript]:
        await self.__dict__["_go"].wait()
        async with self.ctx.http(self.second).post("/hello", json={}) as response:
            yield Transcript(await response.text())


def asking(options: str) -> Graph:
    text = f"""
    services: {{stt: {{url: embedded}}, tts: {{url: embedded, options: {options}}}}}
    nodes: {{a: {{type: asks}}, b: {{type: printer}}}}
    edges: [a -> b]
    """
    return Graph.from_text(text, types={"asks": Asks, "printer": Printer})


@pytest.mark.realtime
def test_a_session_listens_before_a_server_is_there_that_no_open_talks_to(tmp_path: Path) -> None:
    answers: list[str] = []

    async def main() -> None:
        node = Asks()
        node.__dict__["_go"] = go = asyncio.Event()
        session = Session(asking(f"{{mood: meet, meet: '{tmp_path}'}}"), nodes={"a": node})
        session.watch(Transcript, lambda said: answers.append(said.text))
        async with session, asyncio.timeout(10):
            go.set()
            (tmp_path / "somebody").touch()
            await session.finished()

    asyncio.run(main())

    assert answers == ["ok"]


@pytest.mark.realtime
def test_a_server_that_cannot_start_ends_the_session_though_nobody_has_needed_it_yet(tmp_path: Path) -> None:
    async def main() -> None:
        node = Asks()
        node.__dict__["_go"] = asyncio.Event()
        session = Session(asking(f"{{mood: refuse, meet: '{tmp_path}'}}"), nodes={"a": node})
        async with session, asyncio.timeout(10):
            (tmp_path / "somebody").touch()  # by now it listens
            await session.finished()

    with pytest.raises(
        ServiceError, match=r"service 'tts': its server tests\.child_server can't start: there is no model"
    ):
        asyncio.run(main())


@pytest.mark.realtime
def test_where_something_is_measured_a_session_begins_when_all_servers_are_there(tmp_path: Path) -> None:
    slow, never = tmp_path / "slow", tmp_path / "never"

    def session(place: Path, *, all_servers: bool) -> Session:
        place.mkdir()
        node = Asks()
        node.__dict__["_go"] = asyncio.Event()
        return Session(asking(f"{{mood: refuse, meet: '{place}'}}"), nodes={"a": node}, all_servers=all_servers)

    async def main() -> bool:
        entering = asyncio.ensure_future(session(slow, all_servers=True).__aenter__())
        async with session(never, all_servers=False):
            early = entering.done()
        (slow / "somebody").touch()
        with pytest.raises(ServiceError, match="there is no model"):
            await entering
        return early

    assert not asyncio.run(main())


def test_options_reach_the_server_as_arguments() -> None:
    options = {"words_per_s": 4, "quick": True, "loud": False, "voice": None}

    assert list(children._arguments(options)) == ["--words-per-s", "4", "--quick"]


def test_a_server_that_says_what_is_wrong_is_quoted_with_its_advice() -> None:
    assert failure_of(mood="refuse") == (
        "talk.yaml:7:3: service 'tts': its server tests.child_server can't start: there is no model\n  = download one"
    )


def test_a_server_that_babbles_is_an_error_that_quotes_it() -> None:
    assert "said 'Welcome to the server!' where it should say that it is ready" in failure_of(mood="babble")


def test_a_server_that_crashes_at_start_is_shown_with_its_last_words() -> None:
    message = failure_of(mood="crash")

    assert re.search(
        r"its server tests.child_server ended with exit status 1 before it was ready\n"
        r"    I am \d+\n    no such file: voices.bin\n  = `python -m tests.child_server` shows",
        message,
    )


def test_a_server_that_is_no_module_is_shown_with_what_python_says() -> None:
    async def nothing(_: Services) -> None:
        pass

    spec = ServiceSpec("tts", "embedded", "", "nodes.servers.nothing", {}, "talk.yaml:7:3")
    with pytest.raises(ServiceError, match=r"No module named nodes\.servers\.nothing"):
        with_services(spec, do=nothing)


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "READY_S", 0.05)
    monkeypatch.setattr(children, "PATIENCE_S", 0.05)

    assert "did not say within 0 s that it is ready" in failure_of(mood="hush")


def test_one_server_that_fails_ends_the_others_too() -> None:
    services = Services([embedded("stt"), embedded("tts", mood="refuse")])
    started = {}

    async def main() -> None:
        try:
            await services.start()
            await services.started()
        finally:
            started.update(services._children)
            await services.close()

    with pytest.raises(ServiceError, match="there is no model"):
        asyncio.run(main())

    assert set(started) == {"stt", "tts"}
    assert all(is_gone(child.process.pid) for child in started.values())


def test_a_server_that_is_killed_is_told_at_once_and_named_by_whoever_needs_it() -> None:
    told: list[FlowError] = []

    async def do(services: Services) -> str:
        heard = asyncio.Event()

        def failed(service: str, error: FlowError) -> None:
            assert service == "tts"
            told.append(error)
            heard.set()

        services.failed = failed
        with pytest.raises(ServiceError) as caught:
            await asked(services, path="/die")
        await asyncio.wait_for(heard.wait(), 5)
        return str(caught.value)

    message = with_services(embedded(), do=do)

    assert message.startswith("talk.yaml:7:3: service 'tts': its server tests.child_server was killed by SIGKILL")
    assert [str(error) for error in told] == [message]


def test_a_server_that_we_end_is_not_told_as_dead() -> None:
    told: list[FlowError] = []

    async def do(services: Services) -> None:
        services.failed = lambda _service, error: told.append(error)

    with_services(embedded(), do=do)

    assert told == []


def test_a_dead_server_is_started_again_on_request() -> None:
    async def do(services: Services) -> str:
        with pytest.raises(ServiceError):
            await asked(services, path="/die")
        await asyncio.gather(services.revive("tts"), services.revive("tts"))
        return await asked(services)

    assert with_services(embedded(), do=do) == "ok"


def test_who_asks_while_a_dead_server_is_started_again_waits_for_it() -> None:
    async def do(services: Services) -> list[str]:
        with pytest.raises(ServiceError):
            await asked(services, path="/die")
        dead = services._children["tts"]
        reviving = asyncio.create_task(services.revive("tts"))
        while services._children["tts"] is dead:
            await asyncio.sleep(0.01)
        answers = await asyncio.gather(*(asked(services) for _ in range(3)))
        await reviving
        return answers

    assert with_services(embedded(), do=do) == ["ok"] * 3


def test_a_server_that_dies_while_it_is_started_again_is_waited_for_no_more() -> None:
    async def do(services: Services) -> str:
        with pytest.raises(ServiceError):
            await asked(services, path="/die")
        dead = services._children["tts"]
        reviving = asyncio.create_task(services.revive("tts"))
        while services._children["tts"] is dead:
            await asyncio.sleep(0.01)
        services._children["tts"].process.kill()
        with pytest.raises(ServiceError, match=r"was killed by SIGKILL before it was ready"):
            await asked(services)
        with pytest.raises(ServiceError, match=r"was killed by SIGKILL before it was ready"):
            await reviving
        await services.revive("tts")
        return await asked(services)

    assert with_services(embedded(), do=do) == "ok"


def test_close_kills_a_server_that_does_not_want_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "PATIENCE_S", 0.05)

    async def do(services: Services) -> children.Child:
        return services._children["tts"]

    child = with_services(embedded(mood="stubborn"), do=do)

    assert child.process.returncode == -signal.SIGKILL


def test_a_close_that_is_cancelled_leaves_no_server() -> None:
    async def main() -> children.Child:
        services = Services([embedded(mood="stubborn")])
        await services.start()
        [child] = services._children.values()
        closing = asyncio.create_task(services.close())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        await asyncio.wrap_future(child.exited)
        return child

    assert asyncio.run(main()).process.returncode == -signal.SIGKILL


def test_a_parent_that_is_killed_leaves_no_server() -> None:
    parent = parent_of_a_server(options={}, ending="import time; time.sleep(60)")
    with connection_to_its_server(parent) as connection:
        parent.kill()

        assert connection.recv(1) == b""  # it ends when the server does
    parent.communicate()


def test_a_parent_that_just_exits_leaves_no_server_not_even_a_stubborn_one() -> None:
    parent = parent_of_a_server(options={"mood": "stubborn"}, ending="children.PATIENCE_S = 0.05; input()")
    with connection_to_its_server(parent) as connection:
        parent.communicate(b"\n")

        assert connection.recv(1) == b""


PARENT = """
import sys
from flowgraph import children
from flowgraph.specs import ServiceSpec
spec = ServiceSpec("tts", "embedded", "", "tests.child_server", {options!r}, "x")
child = children.spawn_early([spec])["tts"]
print(child.ready.result(), flush=True)
{ending}
"""


def parent_of_a_server(**details: Any) -> subprocess.Popen[bytes]:
    script = PARENT.format(**details)
    return subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)


def connection_to_its_server(parent: subprocess.Popen[bytes]) -> socket.socket:
    assert parent.stdout is not None
    port = int(parent.stdout.readline().decode().rsplit(":", 1)[1])
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert connection.recv(100).startswith(b"HTTP/1.1 200")
    return connection


def test_a_ctrl_c_in_the_terminal_is_not_for_the_servers() -> None:
    async def do(services: Services) -> int:
        return os.getpgid(services._children["tts"].process.pid)

    assert with_services(embedded(), do=do) != os.getpgid(0)


def test_servers_can_be_started_early_before_anything_heavy_and_without_a_loop() -> None:
    specs = [embedded(), ServiceSpec("llm", "http://llm", "", "", {}, "x")]
    early = spawn_early(specs)

    assert list(early) == ["tts"]
    assert with_services(*specs, do=asked, children=early) == "ok"

    heavy = "{'aiohttp', 'numpy', 'pydantic', 'networkx'}"
    script = f"import sys, flowgraph.children; print({heavy} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True).strip() == "set()"


def test_close_is_safe_without_start_and_twice() -> None:
    async def main() -> None:
        services = Services([embedded()])
        await services.close()
        await services.close()

    asyncio.run(main())


def test_a_service_that_is_not_declared_is_an_error() -> None:
    async def do(services: Services) -> None:
        services.http("sst")

    with pytest.raises(ServiceError, match="there is no service 'sst'"):
        with_services(do=do)
