"""A prompt's beginning, read by the server before the prompt is there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from flowgraph.frame import Frame
from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import graph_of, run_virtual, services_of
from nodes.llm_stream import LlmStream
from nodes.servers import llm
from nodes.vocabulary import Message, Prefix, Prompt, Token
from tests.nodes.passing import through
from tests.nodes.test_llm_stream import STOP, event

SYSTEM: Message = ("system", "You are a voice assistant. " * 20)
HISTORY: tuple[Message, ...] = (SYSTEM, ("user", "Who are you?"), ("assistant", "Nobody — a program."))
ASKED = Prompt((*HISTORY, ("user", "what is two plus two")))
TOKEN_MS = 5
FIRST_MS = 60


def server() -> web.Application:
    """Reading the whole prompt takes it 0.8 s."""
    return llm.app(first_token_ms=FIRST_MS, token_ms=0, prompt_token_ms=TOKEN_MS)


def first_token_ms(app: web.Application, *inputs: Frame | float, service: str = "llm", **options: Any) -> float:
    """From the first question to its first token; what is given before it takes the time that it says."""
    before = sum(item for item in inputs if not isinstance(item, Frame))
    arrived = through(LlmStream(service=service, **options), [*inputs, Prompt(ASKED.messages)], services={service: app})
    return next(round(1000 * (at - 1000.0 - before), 3) for at, frame in arrived if isinstance(frame, Token))


def test_what_was_read_ahead_costs_the_turn_nothing() -> None:
    cold, app = first_token_ms(server()), server()
    warm = first_token_ms(app, Prefix(HISTORY), 2.0)
    ahead, asked = app[llm.WORK].cached

    assert cold > 800
    assert ahead == 0
    assert warm == FIRST_MS + (cold - FIRST_MS) - TOKEN_MS * asked
    assert warm < FIRST_MS + TOKEN_MS * 12, "the question itself, and no more"


def test_a_history_that_has_grown_is_read_from_where_it_has() -> None:
    app = server()
    longer = (*HISTORY, ("user", "And who am I?"), ("assistant", "I don't know."))

    through(LlmStream(), [Prefix(HISTORY), 2.0, Prefix(longer), 2.0, Prefix(longer), 2.0], services={"llm": app})

    first, second, third = app[llm.WORK].cached
    whole = sum(len(llm.split(text)) + 4 for _, text in longer)
    assert first == 0
    assert second == sum(len(llm.split(text)) + 4 for _, text in HISTORY) + 3, "the next message has begun the same"
    assert third > whole


def test_a_question_is_asked_in_the_bytes_that_were_read_ahead() -> None:
    bodies: list[bytes] = []

    async def answer(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        return web.Response(text=event("Yes") + STOP, content_type="text/event-stream")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    prompts = [
        ASKED,
        Prompt((*HISTORY, ("user", "Grüß Gott"), ("assistant", "Guten Tag."), ("user", "What time is it?"))),
    ]
    options = {"temperature": 0.3, "extra": {"chat_template_kwargs": {"enable_thinking": False}}}

    through(LlmStream(**options), [Prefix(HISTORY), 1.0, *prompts, Prefix(HISTORY), 1.0], services={"llm": app})

    ahead, first, second, again = bodies
    messages = json.dumps([{"role": role, "content": text} for role, text in HISTORY])[:-1].encode()
    shared = b'{"model": "demo", "messages": ' + messages + b', {"role": "user", "content": "'
    assert ahead == again
    assert all(body.startswith(shared) for body in (ahead, first, second))
    assert {name: value for name, value in json.loads(ahead).items() if name != "messages"} == {
        "model": "demo", "stream": True, "max_tokens": 1, **options["extra"], "temperature": 0.3,
    }  # fmt: skip


def test_a_partial_question_is_read_ahead_as_it_is() -> None:
    app = server()

    through(LlmStream(), [Prefix((*HISTORY, ("user", "what is"))), 2.0, Prompt(ASKED.messages)], services={"llm": app})

    assert app[llm.WORK].cached[1] == sum(len(llm.split(text)) + 4 for _, text in HISTORY) + 3 + len(["what", " is"])


@pytest.mark.parametrize("ms", [0, 1, 100, 400, 790, 850])
def test_a_turn_is_never_later_for_a_warm_up_that_goes_on(ms: int) -> None:
    """The first is left to end: it reads what the turn needs. A later one is given up, and what it has read is kept."""
    cold = first_token_ms(server())
    grown = Prefix((("system", "Once more, with other words: " + SYSTEM[1]), *HISTORY[1:]))

    first = first_token_ms(server(), Prefix(HISTORY), ms / 1000)
    later = first_token_ms(server(), grown, 5.0, Prefix(HISTORY), ms / 1000)

    read = FIRST_MS + TOKEN_MS * 12
    assert first <= max(cold - ms + TOKEN_MS * 8, read), "beside what they share, the stand-in for the question"
    assert later <= max(cold - ms + llm.PROMPT_BATCH * TOKEN_MS, read), (
        "beside what they share, the batch that was given up"
    )
    assert later <= cold


class Loading:
    """Loads its model for the first request, and gives up where the client does: as Ollama."""

    def __init__(self, load_s: float) -> None:
        self.app = web.Application()
        self.app.router.add_post("/v1/chat/completions", self._answer)
        self.begun = 0
        self._load_s = load_s
        self._loading: asyncio.Task[None] | None = None

    async def _answer(self, _: web.Request) -> web.Response:
        if self._loading is None:
            self.begun += 1
            self._loading = asyncio.create_task(asyncio.sleep(self._load_s))
            try:
                await asyncio.shield(self._loading)
            except asyncio.CancelledError:
                self._loading = None
                raise
        else:
            await asyncio.shield(self._loading)
        return web.Response(text=event("Yes") + STOP, content_type="text/event-stream")


def test_a_server_that_loads_its_model_is_left_to_it() -> None:
    server = Loading(20.0)

    late = first_token_ms(server.app, Prefix(HISTORY), 15.0)

    assert (server.begun, late) == (1, 5000)


@pytest.mark.parametrize(
    ("trouble", "line"),
    [
        ("status", []),
        ("hangs", []),
        ("breaks", []),
        ("key", ["service 'llm' (http://llm) answers 401: no key\n  = set its key"]),
        (
            "server",
            [
                "service 'llm' (http://llm) answers 501\n  = is the URL that of the right server? this one doesn't take such requests"
            ],
        ),
    ],
)
def test_a_warm_up_that_fails_is_a_note_in_the_trace_and_told_only_where_it_will_not_be_otherwise_soon(
    trouble: str, line: list[str]
) -> None:
    asked: list[int] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append((await request.json()).get("max_tokens", 0))
        if asked[-1] == 1:
            match trouble:
                case "status":
                    return web.json_response({"error": {"message": "loading"}}, status=503)
                case "key":
                    return web.json_response({"error": {"message": "no key"}}, status=401)
                case "server":
                    return web.Response(status=501)
                case "hangs":
                    await asyncio.sleep(3600)
                case "breaks":
                    assert request.transport is not None
                    request.transport.abort()
        return web.Response(text=event("Yes") + STOP, content_type="text/event-stream")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    said: list[str] = []
    told: list[str] = []

    async def main() -> None:
        nodes = {"feed": Feed(), "llm": LlmStream(), "sink": Sink()}
        graph = graph_of(nodes, ("feed", "llm"), ("llm", "sink"))
        async with Session(graph, services=services_of({"llm": app}), nodes=nodes, say=said.append) as session:
            session.watch(Token, lambda token: told.append(token.text))
            await session.finished()
        notes.extend(text for _, node, text in session.trace.notes if node == "llm")

    notes: list[str] = []
    run_virtual(main())

    assert told == ["Yes"]
    assert said == line
    assert len(notes) == 1
    assert notes[0].startswith("warming up")


class Feed(Node):
    async def run(self) -> AsyncIterator[Prefix | Prompt]:
        yield Prefix(HISTORY)
        await asyncio.sleep(1)
        yield Prompt(ASKED.messages)
        await asyncio.sleep(400)


class Sink(Node):
    def process(self, frame: Token) -> None:
        pass


class Hosted:
    """Says who owns its models, and counts what it is asked to answer."""

    def __init__(self, *owners: str, lists: bool = True) -> None:
        self.asked = 0
        self.app = web.Application()
        self.app.router.add_post("/v1/chat/completions", self._answer)
        if lists:
            self.app.router.add_get("/v1/models", self._models)
        self._owners = owners

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "m", "owned_by": owner} for owner in self._owners]})

    async def _answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(text=event("Yes") + STOP, content_type="text/event-stream")


@pytest.mark.parametrize(
    ("host", "server", "wish", "warmed"),
    [
        ("llm", Hosted("system"), "auto", True),  # a name without a dot: a container beside this one
        ("127.0.0.1", Hosted("system"), "auto", True),
        ("192.168.1.7", Hosted("system"), "auto", True),
        ("100.100.1.2", Hosted("system"), "auto", True),
        ("gpu.lan", Hosted("system"), "auto", True),
        ("8.8.8.8", Hosted("system"), "auto", False),
        ("api.example.com", Hosted("system", "openai-internal"), "auto", False),
        ("api.example.com", Hosted("vllm", "openai"), "auto", False),
        ("api.example.com", Hosted(), "auto", False),
        ("api.example.com", Hosted("vllm", lists=False), "auto", False),
        ("gpu.example.com", Hosted("vllm"), "auto", True),
        ("gpu.example.com", Hosted("library", "library"), "auto", True),
        ("api.example.com", Hosted("system"), "on", True),
        ("llm", Hosted("vllm"), "off", False),
    ],
)
def test_only_a_server_of_ones_own_is_warmed_unless_it_is_asked_for(
    host: str, server: Hosted, wish: Any, warmed: bool
) -> None:
    through(
        LlmStream(service=host, warm=wish), [Prefix(HISTORY), 1.0, Prefix(HISTORY), 1.0], services={host: server.app}
    )

    assert server.asked == 2 * warmed
