"""Against a scripted server that does what real ones were seen to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp import web

from flowgraph.errors import NodeFailed
from flowgraph.frame import Frame
from flowgraph.node import Node
from flowgraph.testing import graph_of, run_graph, run_node
from nodes.llm_stream import LlmStream
from nodes.vocabulary import End, Prompt, SpeechStarted, Token
from tests.nodes.passing import through

PROMPT = Prompt((("system", "Be brief."), ("user", "Hi")))


def event(content: Any = None, finish: str | None = None, **delta: Any) -> str:
    chunk = {"choices": [{"index": 0, "delta": {"content": content, **delta}, "finish_reason": finish}]}
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"


STOP = event(finish="stop") + "data: [DONE]\n\n"
ABORT = object()


class Llm:
    """Sends each item of its script: text or bytes as they are, a number as a pause, ABORT as a dead connection."""

    def __init__(self, *script: Any, status: int = 200, kind: str = "text/event-stream") -> None:
        self.asked: list[dict[str, Any]] = []
        self.connections: set[Any] = set()
        self.broken_at = 0.0
        self._script = script
        self._status = status
        self._kind = kind
        self.app = web.Application()
        self.app.router.add_post("/v1/chat/completions", self._answer)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.json())
        self.connections.add(request.transport)
        response = web.StreamResponse(status=self._status, headers={"Content-Type": self._kind})
        try:
            for number, item in enumerate(self._script):
                if number == 0 and not isinstance(item, int | float):
                    await response.prepare(request)
                if item is ABORT:
                    assert request.transport is not None
                    request.transport.abort()
                elif isinstance(item, str | bytes):
                    if not response.prepared:
                        await response.prepare(request)
                    await response.write(item.encode() if isinstance(item, str) else item)
                else:
                    await asyncio.sleep(item)
            if not response.prepared:
                await response.prepare(request)
            await response.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            self.broken_at = asyncio.get_running_loop().time()
        return response


def ask(llm: Llm, *prompts: Frame | float, **options: Any) -> list[Frame]:
    return run_node(LlmStream(**options), prompts or [PROMPT], services={"llm": llm.app})


def text(frames: list[Frame]) -> str:
    return "".join(frame.text for frame in frames if isinstance(frame, Token))


def test_an_answer_is_passed_on_word_by_word() -> None:
    outputs = ask(Llm(event("", role="assistant"), event("Hel"), 0.1, event("lo."), STOP))

    assert [frame.text for frame in outputs if isinstance(frame, Token)] == ["Hel", "lo."]
    assert [(type(frame), frame.cause) for frame in outputs][-1] == (End, PROMPT.id)
    assert outputs[-1].reason == "done"  # type: ignore[attr-defined]


def test_the_request_says_what_the_options_say() -> None:
    llm = Llm(STOP)
    prompt = Prompt(PROMPT.messages, max_tokens=50)

    ask(llm, prompt, model="m", temperature=0.5, max_tokens=100, extra={"seed": 1, "stream_options": None})

    assert llm.asked == [
        {
            "model": "m",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            "stream": True,
            "temperature": 0.5,
            "max_tokens": 50,
            "seed": 1,
        }
    ]


def test_without_a_bound_none_is_sent_and_null_takes_a_field_away() -> None:
    llm = Llm(STOP)

    ask(llm, extra={"model": None})

    assert set(llm.asked[0]) == {"messages", "stream"}


def test_a_greeting_is_said_without_asking() -> None:
    llm = Llm(STOP)

    outputs = ask(llm, Prompt((), say="Good morning."))

    assert (text(outputs), type(outputs[-1]), llm.asked) == ("Good morning.", End, [])


def test_characters_survive_any_cut_between_packets() -> None:
    stream = (event("Grüß 😀 ") + event("你好") + STOP).encode()

    outputs = ask(Llm(*(part for byte in stream for part in (bytes([byte]), 0.001))))

    assert text(outputs) == "Grüß 😀 你好"


def test_what_servers_add_is_passed_over() -> None:
    outputs = ask(
        Llm(
            ": OPENROUTER PROCESSING\n\n", event(None), event(reasoning="Hm"), event(reasoning_content="Hm"),
            event("Yes").replace("\n", "\r\n"), 'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n', STOP,
        )
    )  # fmt: skip

    assert text(outputs) == "Yes"


def test_thinking_is_not_said_unless_asked_for() -> None:
    script = (event("<think>Let me"), event(" see</th"), event("ink>\n\nYes"), STOP)

    assert text(ask(Llm(*script))) == "Yes"
    assert text(ask(Llm(*script), strip_thinking=False)) == "<think>Let me see</think>\n\nYes"


def told(*script: Any) -> list[str]:
    """What the user is told while two such answers come."""
    node = LlmStream()
    run_node(node, [PROMPT, 5.0, Prompt(PROMPT.messages)], services={"llm": Llm(*script).app})
    said: list[str] = node.ctx.say.__self__.said  # type: ignore[attr-defined]
    return said


@pytest.mark.parametrize("thought", [event("<think>Hm</think>"), event(reasoning="Hm"), event(reasoning_content="Hm")])
def test_a_model_that_thinks_before_it_speaks_is_told_once_with_the_time_it_takes(thought: str) -> None:
    [line] = told(thought, 1.5, event("Yes"), STOP)

    assert "thinks before it speaks, 1.5 s this time" in line
    assert "extra: {reasoning_effort: none} (Ollama)" in line


@pytest.mark.parametrize(
    "script", [(event("Yes"),), (event("<think>\n\n</think>\n\nYes"),), (event("Yes"), event(reasoning="Hm"))]
)
def test_who_does_not_think_before_it_speaks_is_not_said_to(script: tuple[str, ...]) -> None:
    assert told(*script, STOP) == []


def test_thoughts_without_a_beginning_are_said_and_so_is_that() -> None:
    script = (event("The user asks"), event(".</thi"), event("nk>\n\nYes"), STOP)

    assert text(ask(Llm(*script))) == "The user asks.Yes"
    [line] = told(*script)
    assert "read aloud: it marks the end (</think>), but not the beginning" in line
    assert "--reasoning-parser" in line


@pytest.mark.parametrize(
    ("finish", "message"),
    [("stop", "has thought, and said nothing"), ("length", "up to the bound of its tokens, and said nothing")],
)
def test_an_answer_of_nothing_but_thoughts_is_an_error_that_says_what_to_do(finish: str, message: str) -> None:
    with pytest.raises(NodeFailed, match=message) as caught:
        ask(Llm(event(reasoning="Hm"), event("\n"), event(finish=finish), "data: [DONE]\n\n"))

    assert "reasoning_effort: none" in str(caught.value)


def test_an_answer_that_was_cut_by_its_bound_says_so() -> None:
    outputs = ask(Llm(event("Half a"), event(finish="length"), "data: [DONE]\n\n"))

    assert outputs[-1].reason == "length"  # type: ignore[attr-defined]


def test_an_answer_may_end_without_done() -> None:
    outputs = ask(Llm(event("Yes"), event(finish="stop")))

    assert (text(outputs), type(outputs[-1])) == ("Yes", End)


def test_the_end_does_not_wait_for_a_connection_that_stays_open() -> None:
    llm = Llm(event("Yes"), STOP, 30.0)

    arrived = through(LlmStream(), [1.0, PROMPT], services={"llm": llm.app})

    assert [(at - arrived[0][0], type(frame)) for at, frame in arrived] == [(0, Token), (0, End)]


def test_neither_does_the_next_question() -> None:
    llm = Llm(event("Yes"), STOP, 30.0)

    arrived = through(LlmStream(), [PROMPT, Prompt(PROMPT.messages)], services={"llm": llm.app})

    assert len(llm.asked) == 2
    assert arrived[-1][0] - arrived[0][0] < 0.2


def test_a_server_that_does_not_stream_is_understood() -> None:
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}]}

    assert text(ask(Llm(json.dumps(body), kind="application/json"))) == "Yes."


def test_tool_calls_are_not_said() -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}

    outputs = ask(Llm(event(tool_calls=[call]), event(tool_calls=[{"index": 0}]), event(finish="tool_calls"), STOP))

    assert [type(frame) for frame in outputs] == [End]


def test_answers_use_the_same_connection_again() -> None:
    llm = Llm(event("Yes"), STOP, 0.05)

    ask(llm, *[Prompt(PROMPT.messages), 1.0] * 6)

    assert len(llm.asked) == 6
    assert len(llm.connections) <= 2  # one in use, one to spare


@pytest.mark.parametrize(
    ("llm", "message"),
    [
        (Llm(event("Hal"), 'data: {"error": {"message": "out of memory"}}\n\n'), "the service failed: out of memory"),
        (Llm(event("Hal"), 'data: {"error": "gone"}\n\n', "data: [DONE]\n\n"), "the service failed: gone"),
        (Llm(event("Hal"), 'error: {"code": 500, "message": "slot"}\n\n'), "the service failed: slot"),
        (Llm(event("Hal")), "cut off"),
        (Llm(event("Hal"), 0.1, ABORT), "llm"),
        (Llm("<html>", kind="text/html"), "no stream of events"),
        (Llm("data: {oops\n\n"), "isn't JSON"),
        (Llm('{"error": {"message": "no such model"}}', kind="application/json"), "no such model"),
        (Llm('{"error": {"message": "model \'demo\' not found"}}', status=404, kind="application/json"), "404.*model 'demo' not found"),
        (Llm("<title>Bad Gateway</title>", status=502, kind="text/html"), "502.*Bad Gateway"),
        (Llm("", status=503), "503"),
        (Llm(60.0, STOP), "doesn't answer within 30 s"),
        (Llm(": ping\n\n", *[20.0, ": ping\n\n"] * 3, STOP), "doesn't answer within 30 s"),
        (Llm(event("", role="assistant"), 60.0, STOP), "doesn't answer within 30 s"),
        (Llm(event("Hal"), 60.0, STOP), "nothing for 10 s"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_said_in_one_sentence(llm: Llm, message: str) -> None:
    with pytest.raises(NodeFailed, match=message):
        ask(llm)


def test_a_role_that_is_sent_ahead_is_not_the_beginning_of_the_answer() -> None:
    assert text(ask(Llm(event("", role="assistant"), 20.0, event("Yes"), STOP))) == "Yes"


def test_signs_of_life_keep_an_answer_going() -> None:
    outputs = ask(Llm(event("Yes"), *[8.0, ": ping\n\n"] * 5, STOP))

    assert text(outputs) == "Yes"


class Clock(Node):
    async def run(self) -> AsyncIterator[SpeechStarted]:
        yield SpeechStarted()
        await asyncio.sleep(1.05)
        yield SpeechStarted()
        await asyncio.sleep(1)


class Interrupter(Node):
    """A new attempt with each onset."""

    owns_turn = True

    def process(self, frame: SpeechStarted) -> Iterator[Prompt]:
        self.ctx.turn.commit(self.ctx.turn.advance())
        yield Prompt(PROMPT.messages)


def test_an_interruption_stops_the_server() -> None:
    llm = Llm(*[event("word "), 0.1] * 100, STOP)
    graph = graph_of(
        {"clock": Clock, "owner": Interrupter, "llm": LlmStream}, ("clock", "owner"), ("owner", "llm"), owner="owner"
    )

    frames = run_graph(graph, services={"llm": llm.app})
    started = frames[0].at / 1e9

    assert [frame.turn for frame in frames if isinstance(frame, Token)].count(1) == 11
    assert len(llm.asked) == 2
    assert llm.broken_at == pytest.approx(started + 1.05, abs=0.01)
