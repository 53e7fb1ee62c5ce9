"""Against a scripted server that does what real ones were seen to do."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from flowgraph.errors import NodeFailed
from flowgraph.frame import Frame
from flowgraph.testing import run_node
from flowgraph.units import SECOND
from nodes.llm_request import LlmRequest
from nodes.vocabulary import End, Prompt, Token

PROMPT = Prompt((("system", "Be brief."), ("user", "Hi")), max_tokens=400)


def answer(content: Any, finish: str = "stop") -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": {"total_tokens": 9}}


class Llm:
    def __init__(self, reply: Any, *, status: int = 200, delay_s: float = 0.0) -> None:
        self.asked: list[dict[str, Any]] = []
        self.connections: set[Any] = set()
        self._reply = reply
        self._status = status
        self._delay_s = delay_s

    @property
    def app(self) -> web.Application:
        """A fresh one: an application serves on one loop."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        self.connections.add(request.transport)
        self.asked.append(await request.json())
        await asyncio.sleep(self._delay_s)
        body = self._reply if isinstance(self._reply, bytes) else json.dumps(self._reply).encode()
        return web.Response(status=self._status, body=body, content_type="application/json")


def ask(llm: Llm, *prompts: Frame | float, **options: Any) -> list[Frame]:
    return run_node(LlmRequest(**options), prompts or [PROMPT], services={"llm": llm.app})


def said(frames: list[Frame]) -> list[Any]:
    return [
        frame.text if isinstance(frame, Token) else frame.reason for frame in frames if isinstance(frame, Token | End)
    ]


def test_the_whole_answer_is_one_token_with_its_end_behind() -> None:
    assert said(ask(Llm(answer("Hello. How are you?")))) == ["Hello. How are you?", "done"]


def test_the_question_is_asked_without_streaming() -> None:
    llm = Llm(answer("Hello."))

    ask(llm, model="qwen", temperature=0.5, max_tokens=50, extra={"top_k": 3, "max_tokens": None})

    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert llm.asked == [{"model": "qwen", "messages": messages, "stream": False, "temperature": 0.5, "top_k": 3}]


def test_the_lower_of_two_bounds_counts() -> None:
    llm = Llm(answer("Hello."))

    ask(llm, max_tokens=50)
    ask(llm)

    assert [asked["max_tokens"] for asked in llm.asked] == [50, 400]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (answer("Half of", "length"), ["Half of", "length"]),
        (answer("<think>Hm.</think>\n\nHello."), ["Hello.", "done"]),
        (answer(None), ["done"]),
        (answer([{"type": "text", "text": "In parts."}]), ["In parts.", "done"]),
    ],
)
def test_an_answer_is_read_in_all_its_shapes(reply: Any, expected: list[str]) -> None:
    assert said(ask(Llm(reply))) == expected


def test_what_is_to_be_said_as_it_stands_needs_no_service() -> None:
    assert said(run_node(LlmRequest(), [Prompt((("system", "…"),), say="Good morning!")])) == ["Good morning!", "done"]


def test_each_request_makes_a_connection_of_its_own_unless_it_is_told_to_keep_one() -> None:
    alone, kept = Llm(answer("Hello.")), Llm(answer("Hello."))

    for llm, persistent in ((alone, False), (kept, True)):
        ask(llm, *[Prompt(PROMPT.messages) for _ in range(4)], persistent=persistent)

    assert len(alone.connections) == 4
    assert len(kept.connections) <= 2  # one that is used, and one to spare


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize(
    ("llm", "message"),
    [
        (Llm({"error": {"message": "model 'demo' not found"}}, status=404), "the LLM service 'llm' answers 404: model 'demo' not found"),
        (Llm({"error": "CUDA out of memory"}), "the service failed: CUDA out of memory"),
        (Llm(b"no JSON"), "the answer isn't JSON: no JSON"),
        (Llm({"choices": []}), "the answer was cut off"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_an_error(llm: Llm, message: str, persistent: bool) -> None:
    with pytest.raises(NodeFailed) as raised:
        ask(llm, persistent=persistent)

    assert message in str(raised.value)


def test_a_server_that_thinks_for_too_long_is_given_up() -> None:
    with pytest.raises(NodeFailed, match="has sent nothing for 60 s"):
        ask(Llm(answer("Hello."), delay_s=90))

    assert said(ask(Llm(answer("Hello."), delay_s=90), timeout=100 * SECOND)) == ["Hello.", "done"]
