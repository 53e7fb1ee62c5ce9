"""What a conversation does when a service fails: it says so, follows `on_error`, never hangs and leaves nothing behind."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from flowgraph.errors import FlowError, NodeFailed, ServiceError
from flowgraph.frame import Failure, Frame
from flowgraph.graph import Graph
from flowgraph.node import Node, ServiceName
from flowgraph.report import Report, TurnReport
from flowgraph.session import DEATH_TOLD_S, Session
from flowgraph.testing import run_virtual
from flowgraph.wire import Wire, wired_services
from flowgraph.worker import MOST_RESTARTS
from nodes.printer import Printer
from nodes.servers import llm, scripted
from nodes.sound.conversation import load_conversation
from nodes.vocabulary import SpeechStarted, Token, Transcript, Utterance

ROOT = Path(__file__).parents[1]
OPTIMIZED = ROOT / "graphs/optimized.yaml"
DEMO = ROOT / "graphs/conversations/demo"
SAYS = {
    "time": ("2-time.wav", "Do you know what time it is?", [1600, 27027]),
    "date": ("5-date.wav", "Please tell me the date of today.", [1600, 25661]),
    "bye": ("8-bye.wav", "That was very kind of you. Thank you and goodbye.", [1600, 44361]),
}
CHAT, SPEECH = "/v1/chat/completions", "/v1/audio/speech"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def caller(folder: Path, *says: str) -> Path:
    """A recorded caller who says these things, each when the last answer is over, and doesn't wait long for it."""
    lines = (
        f"  - {{audio: {DEMO / audio}, text: '{text}', speech: {speech}, pause: 500ms}}\n"
        for audio, text, speech in map(SAYS.__getitem__, says)
    )
    path = folder / "caller.yaml"
    path.write_text(f"name: caller\nnoise_floor_dbfs: -60\npatience: 4s\nutterances:\n{''.join(lines)}")
    return path


@dataclasses.dataclass
class Run:
    """A session that is over."""

    session: Session
    turns: list[TurnReport]
    exit_code: int
    error: FlowError | None
    seconds: float
    """Of the session's time."""

    @property
    def told(self) -> list[str]:
        """What the user was told of failures."""
        return [line for line in self.session.said if "failed" in line or "restarted" in line or "service" in line]


async def held(session: Session) -> Run:
    """The session to its end, whatever that is; 100 s are too many."""
    report, error = Report(session), None
    try:
        async with session, asyncio.timeout(100):
            try:
                await session.finished()
            finally:
                report.finish()
                seconds = (session.clock.now() - session.trace.started) / 1e9
    except FlowError as failure:
        error = failure
    return Run(session, report.turns, report.exit_code, error, seconds)


def at_the_first(session: Session, kind: type[Any], condition: Callable[[Any], bool], do: Callable[[], object]) -> None:
    done = False

    def look(frame: Frame) -> None:
        nonlocal done
        if not done and condition(frame):
            done = True
            do()

    session.watch(kind, look)


# -- services that fail, on virtual time -------------------------------------------------------------------------------


async def out_of_memory(_: web.Request) -> web.StreamResponse:
    return web.json_response({"error": {"message": "CUDA out of memory"}}, status=500)


async def never(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(1e6)
    raise AssertionError


def half(content: bytes, kind: str, then: Callable[[web.Request], Awaitable[None]]) -> Handler:
    """Send something of an answer; then something happens."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        await response.write(content)
        await asyncio.sleep(0.1)
        await then(request)
        return response

    return answer


async def end(_: web.Request) -> None:
    pass


async def stall(_: web.Request) -> None:
    await asyncio.sleep(1e6)


async def break_off(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()


def words(then: Callable[[web.Request], Awaitable[None]]) -> Handler:
    event = {"choices": [{"index": 0, "delta": {"content": "Well, it is hard to say,"}}]}
    return half(f"data: {json.dumps(event)}\n\n".encode(), "text/event-stream", then)


def sound(then: Callable[[web.Request], Awaitable[None]]) -> Handler:
    return half(scripted.tone(2400), "audio/pcm", then)


FAULTS: dict[str, tuple[str, str, Handler, str]] = {
    "the LLM answers 500": ("llm", CHAT, out_of_memory, "answers 500: CUDA out of memory"),
    "the LLM says nothing": ("llm", CHAT, never, "doesn't answer within 2 s"),
    "the LLM stops in the middle": ("llm", CHAT, words(stall), "has sent nothing for 1 s in the middle of its answer"),
    "the LLM's stream has no end": ("llm", CHAT, words(end), "the answer was cut off"),
    "the LLM breaks off": ("llm", CHAT, words(break_off), "closed the connection in the middle of its answer"),
    "the TTS answers 500": ("tts", SPEECH, out_of_memory, "answers 500: CUDA out of memory"),
    "the TTS says nothing": ("tts", SPEECH, never, "doesn't answer within 2 s"),
    "the TTS stops in the middle": ("tts", SPEECH, sound(stall), "has sent nothing for 1 s in the middle of its answer"),
    "the TTS sends half a word": ("tts", SPEECH, sound(end), "with only 100 ms of sound"),
    "the TTS breaks off": ("tts", SPEECH, sound(break_off), "closed the connection in the middle of its answer"),
}  # fmt: skip
IMPATIENT = [
    "llm.first_token_timeout=2s", "llm.stall_timeout=1s", "tts.first_byte_timeout=2s", "tts.stall_timeout=1s",
]  # fmt: skip


def once(path: str, number: int, fault: Handler) -> Any:
    """A middleware: the request of that number meets the fault."""
    count = 0

    @web.middleware
    async def meet(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal count
        count += request.path == path
        return await (fault if request.path == path and count == number else handler)(request)

    return meet


def session_of(path: Path, *settings: str, **services: Any) -> Session:
    given = [f"mic.device=caller:{path}", "speaker.device=null", *settings]
    return Session(Graph.load(OPTIMIZED, settings=given, environ={}), **services)


def over_a_wire(
    folder: Path,
    *settings: str,
    fault: tuple[str, str, Handler] | None = None,
    during: Callable[[Session, Wire], None] = lambda _session, _wire: None,
) -> Run:
    """Three questions, on virtual time; the services are asked for their answers alone, so that requests can be counted."""
    settings = ("llm.warm=off", "tts.warm=off", *settings)
    path = caller(folder, "time", "date", "bye")
    apps = {
        "stt": scripted.stt(scripted.lines_of(load_conversation(path))),
        "llm": llm.app(first_token_ms=100, token_ms=10),
        "tts": scripted.Voice().app,
    }
    if fault is not None:
        service, place, handler = fault
        apps[service].middlewares.append(once(place, 2, handler))
    wire = Wire(apps)
    session = session_of(path, *settings, services=wired_services(apps, wire=wire))
    during(session, wire)
    return run_virtual(held(session))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("policy", ["skip", "restart"])
def test_a_service_that_fails_costs_one_answer(tmp_path: Path, fault: str, policy: str) -> None:
    name, place, handler, what = FAULTS[fault]
    run = over_a_wire(tmp_path, *IMPATIENT, f"{name}.on_error={policy}", fault=(name, place, handler))

    assert run.error is None
    assert [turn.answered for turn in run.turns] == [True, False, True]
    assert what in run.turns[1].error
    assert run.turns[1].error in run.told[0]
    assert "node" not in run.turns[1].error, "the cause alone"
    assert run.exit_code == 1
    failed, *then = run.told
    assert f"node '{name}' failed" in failed
    assert f"service '{name}' (http://{name})" in failed
    assert what in failed
    assert "\n  = " in failed, "what to do"
    assert then == ([f"node '{name}' was restarted"] if policy == "restart" else [])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_service_that_fails_ends_the_session_where_the_graph_says_so(tmp_path: Path, fault: str) -> None:
    name, place, handler, what = FAULTS[fault]
    run = over_a_wire(tmp_path, *IMPATIENT, f"{name}.on_error=fail", fault=(name, place, handler))

    assert isinstance(run.error, NodeFailed)
    assert what in run.error.message
    assert run.error.hint
    assert run.told == []
    assert len(run.turns) == 2, "nobody waits for the caller's patience"


def gone(service: str, question: int) -> Callable[[Session, Wire], None]:
    """Nobody listens there any more when a question is put; until somebody has noticed."""

    def during(session: Session, wire: Wire) -> None:
        def leave(utterance: Utterance) -> None:
            if utterance.index == question:
                wire.refusing.add(service)
                wire.cut(service)

        session.watch(Utterance, leave)
        session.watch(Failure, lambda _: wire.refusing.clear())

    return during


@pytest.mark.parametrize("service", ["llm", "tts"])
def test_a_service_that_is_gone_and_comes_back_costs_one_answer(tmp_path: Path, service: str) -> None:
    run = over_a_wire(tmp_path, during=gone(service, 1))

    assert run.error is None
    assert [turn.answered for turn in run.turns] == [True, False, True]
    assert f"service '{service}' (http://{service}) refuses the connection" in run.turns[1].error


def test_a_service_that_stays_away_is_said_at_each_question_until_restarts_are_no_use(tmp_path: Path) -> None:
    run = over_a_wire(tmp_path, during=lambda _, wire: wire.refusing.add("llm"))
    refused = [line for line in run.told if "refuses the connection" in line]

    assert "node" not in refused[0], "said at the start, before anybody asks"
    assert len(refused) == 1 + 4
    assert all("refuses the connection" in turn.error for turn in run.turns[:2])
    assert isinstance(run.error, NodeFailed)
    assert "node 'llm' failed: restarted 3 times in 30 s, and failed again" in run.error.message
    assert run.seconds < 30


def in_mid_utterance(question: int) -> Callable[[Session, Wire], None]:
    """The recogniser's socket breaks while something is being said."""

    def during(session: Session, wire: Wire) -> None:
        onsets: list[SpeechStarted] = []
        session.watch(SpeechStarted, onsets.append)
        at_the_first(session, Transcript, lambda _: len(onsets) == question + 1, lambda: wire.cut("stt"))

    return during


@pytest.mark.parametrize("policy", ["skip", "restart"])
def test_a_recognisers_socket_that_breaks_while_somebody_speaks_costs_that_utterance(
    tmp_path: Path, policy: str
) -> None:
    run = over_a_wire(tmp_path, f"stt.on_error={policy}", during=in_mid_utterance(1))

    assert run.error is None
    assert [turn.said == turn.truth for turn in run.turns] == [True, False, True]
    assert run.turns[2].answered
    assert len(run.told) == 2
    assert "service 'stt' (http://stt) closed the connection" in run.told[0]
    assert run.told[1] == "node 'stt' was restarted"


def test_a_recognisers_socket_that_breaks_ends_the_session_where_the_graph_says_so(tmp_path: Path) -> None:
    run = over_a_wire(tmp_path, "stt.on_error=fail", during=in_mid_utterance(1))

    assert isinstance(run.error, NodeFailed)
    assert "node 'stt' failed: service 'stt' (http://stt) closed the connection" in run.error.message
    assert [turn.answered for turn in run.turns] == [True]


def test_a_recogniser_that_is_not_there_at_the_start_is_the_end_of_it(tmp_path: Path) -> None:
    async def refused() -> None:
        path = caller(tmp_path, "time")
        apps = {name: web.Application() for name in ("stt", "llm", "tts")}
        wire = Wire(apps)
        wire.refusing.add("stt")
        async with session_of(path, services=wired_services(apps, wire=wire)):
            pass

    with pytest.raises(NodeFailed, match=r"node 'stt' failed: service 'stt' \(http://stt\) refuses the connection"):
        run_virtual(refused())


# -- our own servers, killed -------------------------------------------------------------------------------------------


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """Something in the environment that every child of the test inherits."""
    mark = f"FLOWGRAPH_TEST_{uuid.uuid4().hex}"
    monkeypatch.setenv(mark, "1")
    return mark


def marked(mark: str) -> dict[int, str]:
    """The processes that are alive, with their command lines."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                if f"{mark}=".encode() in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().decode().replace("\0", " ")
            except OSError:
                pass  # it has just ended, or isn't ours
    return found


def kill(mark: str, server: str) -> None:
    [pid] = [pid for pid, command in marked(mark).items() if f"{server} --port" in command]
    os.kill(pid, signal.SIGKILL)


needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads processes from /proc")


@pytest.mark.realtime
@needs_proc
@pytest.mark.timeout(120)
def test_each_server_of_ours_may_be_killed_once_and_the_conversation_goes_on(tmp_path: Path, mark: str) -> None:
    # Without speculation: an attempt that is withdrawn anyway costs no answer, whoever died for it.
    session = session_of(caller(tmp_path, "time", "date", "bye", "time"), "dialogue.speculate_after=off")
    began: list[SpeechStarted] = []
    session.watch(SpeechStarted, began.append)
    at_the_first(session, Token, lambda _: len(began) == 1, lambda: kill(mark, "tts"))
    at_the_first(session, Token, lambda _: len(began) == 2, lambda: kill(mark, "llm"))
    at_the_first(session, Transcript, lambda _: len(began) == 3, lambda: kill(mark, "stt"))
    run = asyncio.run(held(session))

    assert run.error is None
    assert [bool(turn.error) for turn in run.turns[:2]] == [True, True]
    assert run.turns[-1].answered
    assert run.turns[-1].said == "do you know what time it is"
    assert run.exit_code == 1
    for name in ("tts", "llm", "stt"):
        [failed] = [line for line in run.told if f"nodes.servers.{name} was killed by SIGKILL" in line]
        assert f"node '{name}' failed" in failed
        assert f"node '{name}' was restarted" in run.told
    assert len(run.told) == 6
    assert marked(mark) == {}


class Idler(Node):
    """Has a server, and doesn't use it until it is told that it has died."""

    server = "tests.child_server"
    service: ServiceName = "tts"

    async def open(self) -> None:
        await self.ctx.http(self.service).there()

    async def run(self) -> AsyncIterator[Transcript]:
        kill(self.__dict__["_mark"], "child_server")
        await self.__dict__["_told"].wait()
        return
        yield


@pytest.mark.realtime
@needs_proc
def test_a_server_that_is_killed_while_nobody_uses_it_is_told_all_the_same(mark: str) -> None:
    text = "services: {tts: {url: embedded}}\nnodes: {a: {type: idler}, b: {type: printer}}\nedges: [a -> b]"
    graph = Graph.from_text(text, types={"idler": Idler, "printer": Printer})
    lines: list[str] = []

    async def main() -> None:
        node, told = Idler(), asyncio.Event()
        node.__dict__.update(_mark=mark, _told=told)

        def say(line: str) -> None:
            lines.append(line)
            told.set()

        session = Session(graph, nodes={"a": node}, say=say)
        async with session, asyncio.timeout(10):
            await session.finished()

    asyncio.run(main())

    assert len(lines) == 1
    assert "service 'tts': its server tests.child_server was killed by SIGKILL" in lines[0]


class Survivor(Node):
    """Kills its server again and again; asks the next one when it is told that there is one. Who is told of the first death goes on."""

    server = "tests.child_server"
    service: ServiceName = "tts"

    async def open(self) -> None:
        await self.ctx.http(self.service).there()

    async def run(self) -> AsyncIterator[Transcript]:
        for number in range(MOST_RESTARTS):
            kill(self.__dict__["_mark"], "child_server")
            if number == 0:
                with pytest.raises(ServiceError) as caught:
                    await self.ctx.http(self.service).get("/")
                self.ctx.say(str(caught.value))
            await self.__dict__["_revived"].get()
            async with self.ctx.http(self.service).get("/") as response:
                yield Transcript(await response.text(), final=True)
        kill(self.__dict__["_mark"], "child_server")
        await asyncio.sleep(2 * DEATH_TOLD_S)


@pytest.mark.realtime
@needs_proc
def test_a_server_that_is_killed_while_nobody_uses_it_is_started_again_where_its_node_would_be(mark: str) -> None:
    text = "services: {tts: {url: embedded}}\nnodes: {a: {type: survivor, on_error: restart}, b: {type: printer}}\nedges: [a -> b]"
    graph = Graph.from_text(text, types={"survivor": Survivor, "printer": Printer})
    lines: list[str] = []
    answers: list[str] = []

    async def main() -> None:
        node, revived = Survivor(), asyncio.Queue[None]()
        node.__dict__.update(_mark=mark, _revived=revived)

        def say(line: str) -> None:
            lines.append(line)
            if line == "the server of service 'tts' was started again":
                revived.put_nowait(None)

        session = Session(graph, nodes={"a": node}, say=say)
        session.watch(Transcript, lambda transcript: answers.append(transcript.text))
        async with session, asyncio.timeout(50):
            await session.finished()

    asyncio.run(main())

    assert answers == ["ok"] * MOST_RESTARTS
    # The first is also met by what makes connections at the start.
    killed = [one for one, _ in itertools.groupby("was killed by SIGKILL" in line for line in lines)]
    assert killed == [True, False] * MOST_RESTARTS + [True]


FLOW = "import sys\nfrom flowgraph.cli import main\nsys.argv = ['flow', *sys.argv[1:]]\nmain()\n"


@pytest.mark.realtime
@needs_proc
@pytest.mark.timeout(60)
@pytest.mark.parametrize("server", ["stt", "llm", "tts"])
def test_a_killed_server_is_one_clear_error_exit_code_1_and_nothing_is_left(
    tmp_path: Path, mark: str, server: str
) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", FLOW, "run", str(OPTIMIZED), "--json"),
            *("--set", f"mic.device=caller:{caller(tmp_path, 'time', 'bye')}", "--set", "speaker.device=null"),
            *("--set", f"{server}.on_error=fail"),
        ],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "transcript":
            kill(mark, server)
            break
    out, err = process.communicate(timeout=30)
    events = [json.loads(line) for line in out.splitlines()]

    assert process.returncode == 1
    assert f"service '{server}': its server nodes.servers.{server} was killed by SIGKILL" in err
    assert f"`python -m nodes.servers.{server}` shows what is wrong" in err
    assert len(err.strip().splitlines()) == 2, "what happened, and what to do"
    assert "Traceback" not in err
    assert [event["event"] for event in events].count("error") == 1
    assert marked(mark) == {}
