from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgraph.testing import run_virtual, services_of
from nodes.servers import llm
from nodes.servers.answers import STORY
from tests.servers.calling import Client, call, until

NOW = datetime(2026, 11, 23, 8, 10, tzinfo=UTC)
PATH = "/v1/chat/completions"


def server(**options: Any) -> Any:
    return lambda: llm.app(**{"first_token_ms": 0, "token_ms": 0, "now": lambda: NOW, **options})


def question(text: str, **options: Any) -> dict[str, Any]:
    return {"model": "demo", "messages": [{"role": "user", "content": text}], **options}


def streamed(body: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """The chunks of an answer, and what followed them."""

    async def do(client: Client) -> tuple[list[dict[str, Any]], str]:
        async with client.post(PATH, json=body) as response:
            assert response.status == 200
            assert response.content_type == "text/event-stream"
            events = (await response.text()).split("\n\n")
        assert all(event.startswith("data: ") for event in events[:-1])
        assert events[-1] == ""
        return [json.loads(event[6:]) for event in events[:-2]], events[-2]

    answer: tuple[list[dict[str, Any]], str] = call(server(), do)
    return answer


def asked(body: Any, *, status: int = 200, headers: dict[str, str] | None = None, **options: Any) -> dict[str, Any]:
    async def do(client: Client) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body)
        async with client.post(PATH, data=data, headers=headers) as response:
            assert response.status == status, await response.text()
            return await response.json()

    answer: dict[str, Any] = call(server(**options), do)
    return answer


def test_a_stream_has_the_shape_of_openais() -> None:
    chunks, end = streamed(question("what is twelve times seven", stream=True))

    assert end == "data: [DONE]"
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(one["choices"][0]["delta"]["content"] for one in chunks[:-1]) == "Twelve times seven is eighty four."
    assert chunks[-1]["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]
    assert all(one["object"] == "chat.completion.chunk" and one["model"] == "demo" for one in chunks)
    assert len({one["id"] for one in chunks}) == 1
    assert all(one["choices"][0]["finish_reason"] is None and "usage" not in one for one in chunks[:-1])


def test_usage_is_a_chunk_of_its_own_behind_all_others() -> None:
    chunks, _ = streamed(question("count to five", stream=True, stream_options={"include_usage": True}))
    usage = chunks[-1]["usage"]

    assert chunks[-1]["choices"] == []
    assert all(one["usage"] is None for one in chunks[:-1])
    assert usage["completion_tokens"] == len(chunks) - 3
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_what_a_prompt_shares_with_the_last_one_is_not_read_again() -> None:
    told = {"role": "system", "content": "Be brief, and kind."}
    asks = [{"role": "user", "content": text} for text in ("what is two plus two", "what is two plus three")]

    async def main() -> list[tuple[int, int, int]]:
        loop = asyncio.get_running_loop()
        services = services_of({"llm": llm.app(first_token_ms=0, token_ms=0, prompt_token_ms=10, now=lambda: NOW)})
        await services.start()
        found = []
        for messages in ([told, asks[0]], [told, asks[1]], [told, asks[1]], [asks[0]]):
            began = loop.time()
            body = {"model": "demo", "messages": messages, "max_tokens": 0}
            async with services.http("llm").post(PATH, json=body) as response:
                usage = (await response.json())["usage"]
            took = round((loop.time() - began) * 100)
            found.append((usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"], took))
        await services.close()
        return found

    first, second, third, other = run_virtual(main())

    assert first == (first[0], 0, first[0])
    assert second == (first[0], first[0] - 2, 2), "its last word and the mark behind it"
    assert third == (first[0], first[0], 0)
    assert other[1] == 1


def test_a_prompt_that_was_given_up_is_read_as_far_as_it_was() -> None:
    async def main() -> int:
        services = services_of({"llm": llm.app(first_token_ms=0, prompt_token_ms=10, now=lambda: NOW)})
        await services.start()
        body = question("word " * 100, max_tokens=0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5), services.http("llm").post(PATH, json=body):
                pass
        async with services.http("llm").post(PATH, json=body) as response:
            usage = (await response.json())["usage"]
        await services.close()
        cached: int = usage["prompt_tokens_details"]["cached_tokens"]
        return cached

    assert run_virtual(main()) == llm.PROMPT_BATCH


def test_no_token_is_an_answer_too() -> None:
    answer = asked(question("what time is it", max_tokens=0))

    assert answer["choices"][0]["message"]["content"] == ""
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 0


def test_without_stream_it_is_one_object() -> None:
    answer = asked(question("what time is it"))

    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == "It is ten minutes past eight in the morning."
    assert answer["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_that_is_cut_short_says_so(name: str) -> None:
    answer = asked(question("tell me a story", **{name: 3}))

    assert answer["choices"][0] == {
        "index": 0, "logprobs": None, "finish_reason": "length",
        "message": {"role": "assistant", "content": "Once upon a", "refusal": None},
    }  # fmt: skip


def test_an_answer_ends_before_a_stop_text() -> None:
    assert asked(question("tell me a story", stop=["old", "!"]))["choices"][0]["message"]["content"].endswith(
        "there was an "
    )


def test_content_may_come_in_parts() -> None:
    body = question("")
    body["messages"][0]["content"] = [{"type": "text", "text": "what is two plus"}, {"type": "text", "text": " two"}]

    assert asked(body)["choices"][0]["message"]["content"] == "Two plus two is four."


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        ([], None),
        ({"messages": [{"role": "user", "content": "hi"}]}, "model"),
        ({"model": "demo"}, "messages"),
        ({"model": "demo", "messages": []}, "messages"),
        ({"model": "demo", "messages": ["hi"]}, "messages[0]"),
        ({"model": "demo", "messages": [{"role": "king", "content": "hi"}]}, "messages[0].role"),
        ({"model": "demo", "messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        (question("hi", stream="yes"), "stream"),
        (question("hi", n=2), "n"),
        (question("hi", max_tokens=-1), "max_tokens"),
        (question("hi", stop=5), "stop"),
        (question("hi", stream_options={"include_usage": True}), "stream_options"),
    ],
)
def test_a_wrong_request_is_refused_as_openai_does(body: Any, param: str | None) -> None:
    error = asked(body, status=400)["error"]

    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert error["message"]


def test_a_key_is_asked_for_where_there_is_one() -> None:
    error = asked(question("hi"), status=401, key="secret")["error"]

    assert error["code"] == "invalid_api_key"
    assert "secret" not in error["message"]
    assert asked(question("hi"), headers={"Authorization": "Bearer secret"}, key="secret")["choices"]


def test_models_and_health_say_what_it_is() -> None:
    async def do(client: Client) -> Any:
        models, health = await client.get("/v1/models"), await client.get("/health")
        return await models.json(), await health.json()

    models, health = call(server(), do)

    assert [one["id"] for one in models["data"]] == ["flowgraph-rules"]
    assert health == {"status": "ok", "engine": "rules", "model": "flowgraph-rules", "generating": 0}


def test_tokens_come_at_their_pace() -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        services = services_of({"llm": llm.app(first_token_ms=60, token_ms=15, now=lambda: NOW)})
        await services.start()
        start = loop.time()
        async with services.http("llm").post(PATH, json=question("hi there", stream=True)) as response:
            pieces = (line async for line in response.content if b'"content": "' in line and b'"role"' not in line)
            times = [round((loop.time() - start) * 1000) async for _ in pieces]
        await services.close()
        return times

    times = run_virtual(main())

    assert times == [60 + 15 * index for index in range(len(times))]
    assert len(times) == len(llm.split("Hello! What can I do for you?"))


def test_a_client_that_goes_away_stops_its_answer() -> None:
    async def do(client: Client) -> tuple[int, Any]:
        response = await client.post(PATH, json=question("tell me a story", stream=True))
        await response.content.readline()
        generating = (await (await client.get("/health")).json())["generating"]
        response.close()

        async def stopped() -> bool:
            return (await (await client.get("/health")).json())["generating"] == 0

        await until(stopped)
        return generating, client.app

    generating, app = call(server(token_ms=20), do)

    assert generating == 1
    assert app[llm.WORK].tokens < len(llm.split(STORY))


@given(st.text())
def test_the_pieces_of_a_text_are_the_text(text: str) -> None:
    assert "".join(llm.split(text)) == text
