from __future__ import annotations

import json

import pytest

from flowgraph.errors import ServiceError
from nodes.clients.chat import ChatReply


def chunk(content: object = None, finish: str | None = None, **delta: object) -> str:
    return json.dumps({"choices": [{"index": 0, "delta": {"content": content, **delta}, "finish_reason": finish}]})


def stream(*events: str, done: bool = True) -> bytes:
    return "".join(f"data: {event}\n\n" for event in (*events, *(["[DONE]"] if done else []))).encode()


def answer(data: bytes, **options: bool) -> tuple[str, ChatReply]:
    reply = ChatReply(**options)
    return "".join([*reply.feed(data), *reply.end()]), reply


@pytest.mark.parametrize(
    "events",
    [
        [chunk("Hel", role="assistant"), chunk("lo"), chunk(finish="stop")],
        [chunk(""), chunk("Hello", finish="stop"), '{"choices": [], "usage": {"total_tokens": 3}}'],
        ['{"usage": null}', chunk("Hello"), chunk(finish="stop")],
        [chunk(reasoning="Hm."), chunk(reasoning_content="So."), chunk("Hello"), chunk(finish="stop")],
        [chunk([{"type": "text", "text": "Hel"}, {"type": "image"}]), chunk("lo"), chunk(finish="stop")],
        [chunk("<thi"), chunk("nk>Hm.</think>\n"), chunk("Hello"), chunk(finish="stop")],
        [chunk(refusal="Hello"), chunk(finish="content_filter")],
        ['{"choices": [{"index": 1, "delta": {"content": "other"}}]}', chunk("Hello"), chunk(finish="stop")],
        ["null", "[]", '{"choices": [null]}', chunk("Hello", finish="stop")],
        [json.dumps({"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]})],
    ],
)
def test_the_answer_is_what_is_meant_to_be_said(events: list[str]) -> None:
    assert answer(stream(*events))[0] == "Hello"


def test_thoughts_are_kept_on_request() -> None:
    assert answer(stream(chunk("<think>a</think>b")), strip_thinking=False)[0] == "<think>a</think>b"


def test_an_answer_may_end_without_its_last_event() -> None:
    assert answer(stream(chunk("Hello"), chunk(finish="stop"), done=False))[0] == "Hello"


def test_an_answer_that_breaks_off_is_an_error() -> None:
    with pytest.raises(ServiceError, match="cut off"):
        answer(stream(chunk("Hel"), done=False))


def test_an_answer_that_was_too_long_says_so() -> None:
    assert answer(stream(chunk("Hello", finish="length")))[1].reason == "length"


def test_tool_calls_are_noticed_and_not_said() -> None:
    first = chunk(tool_calls=[{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}])
    more = chunk(tool_calls=[{"index": 0, "function": {"arguments": '{"a": 1}'}}])
    text, reply = answer(stream(first, more, chunk(finish="tool_calls")))
    assert (text, reply.called_tools, reply.reason) == ("", True, "done")


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ('{"error": {"message": "out of memory", "type": "server_error"}}', "out of memory"),
        ('{"error": "model unloaded"}', "model unloaded"),
        ('{"object": "error", "message": "bad request"}', "bad request"),
        ('{"choices": [{"delta": {}, "finish_reason": "error"}]}', "failed in the middle"),
        ("{not json", "isn't JSON"),
    ],
)
def test_an_error_in_the_middle_is_raised_with_the_servers_words(event: str, message: str) -> None:
    with pytest.raises(ServiceError, match=message):
        answer(stream(chunk("Hel"), event))


def test_an_answer_in_one_piece_is_taken() -> None:
    body = json.dumps({"choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "length"}]}).encode()
    reply = ChatReply(streamed=False)
    assert reply.feed(body[:9]) == reply.feed(body[9:]) == []
    assert reply.end() == ["Hello"]
    assert reply.reason == "length"


def test_a_web_page_is_no_answer() -> None:
    with pytest.raises(ServiceError, match="no stream of events"):
        answer(b"<html>Welcome</html>")
