"""The embedded responder: a few rules (`nodes/servers/answers.py`) behind OpenAI's chat completions.

    python -m nodes.servers.llm --port 8766 --first-token-ms 60 --token-ms 15

`POST /v1/chat/completions` streams (`stream: true`) word pieces at a set pace, so that what depends on a model's speed
can be tried without one, or answers in one JSON object after the same time. `GET /v1/models` names the one model.
A client that goes away stops its answer.

It has one slot, as `llama-server --parallel 1` has: prompts are read one after the other, at `--prompt-token-ms` for each token that
doesn't stand at the beginning of the last prompt already. What it had read of a prompt whose client went away stays read.
`usage.prompt_tokens_details.cached_tokens` says how much was. `max_tokens: 0` reads the prompt and answers nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import re
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from nodes.servers.answers import answer
from nodes.servers.serving import arguments, authorised, openai_error, serve

MODEL = "flowgraph-rules"
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
FIRST_TOKEN_MS = 60.0
TOKEN_MS = 15.0
PROMPT_BATCH = 32
"""Tokens of a prompt that are read at once: it is given up only between batches."""


@dataclass(slots=True)
class Work:
    """What the server is doing, for whoever wants to know (`/health`)."""

    generating: int = 0
    """Answers in the making."""
    tokens: int = 0
    """Tokens made since the start."""
    cached: deque[int] = field(default_factory=lambda: deque(maxlen=100))
    """Of each of the last prompts, in order, the tokens that were read already."""


class Slot:
    """What has been read: a prompt that begins the same goes on from there."""

    def __init__(self, token_ms: float) -> None:
        self._token_ms = token_ms
        self._read: list[str] = []
        self._free = asyncio.Lock()

    async def read(self, prompt: list[str]) -> int:
        """Read a prompt; returns how many of its tokens were there already."""
        async with self._free:
            pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(self._read, prompt, strict=False))
            cached = done = sum(1 for _ in pairs)
            while done < len(prompt):
                end = min(done + PROMPT_BATCH, len(prompt))
                if self._token_ms:
                    await asyncio.sleep((end - done) * self._token_ms / 1000)
                self._read[done:] = prompt[done:end]
                done = end
            return cached


WORK = web.AppKey("work", Work)


class BadRequest(ValueError):
    """The request cannot be served: the message says why, `param` names the field."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


@dataclass(slots=True)
class Completion:
    """A checked request, and the answer to it."""

    model: str
    stream: bool
    include_usage: bool
    pieces: list[str]
    finish_reason: str
    prompt: list[str] = field(repr=False)
    """Its tokens."""
    cached_tokens: int = 0
    """Of the prompt, those that were read already."""
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")

    @classmethod
    def parse(cls, body: Any, now: datetime) -> Completion:
        """Raises BadRequest. Sampling options (temperature, seed, …) and tools mean nothing to rules: ignored."""
        if not isinstance(body, dict):
            raise BadRequest("the body is not a JSON object", "")
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise BadRequest("you must provide a model parameter", "model")
        messages = _messages(body.get("messages"))
        stream = body.get("stream") or False
        if not isinstance(stream, bool):
            raise BadRequest("stream is neither true nor false", "stream")
        if body.get("n") not in (None, 1):
            raise BadRequest("n must be 1: there is one answer to a question", "n")
        usage = body.get("stream_options") or {}
        if not isinstance(usage, dict):
            raise BadRequest("stream_options is not an object", "stream_options")
        if usage and not stream:
            raise BadRequest("stream_options is only allowed when stream is true", "stream_options")
        pieces = split(_until_stop(answer(messages, now), body.get("stop")))
        limit = min(_limit(body, "max_tokens"), _limit(body, "max_completion_tokens"))
        reason = "length" if len(pieces) > limit else "stop"
        prompt = [
            token for role, text in messages for token in ("<|im_start|>", role, "\n", *split(text), "<|im_end|>")
        ]
        return cls(
            model, stream, bool(usage.get("include_usage")), pieces[: int(min(limit, len(pieces)))], reason, prompt
        )

    @property
    def usage(self) -> dict[str, Any]:
        read, made = len(self.prompt), len(self.pieces)
        return {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made,
                "prompt_tokens_details": {"cached_tokens": self.cached_tokens}}  # fmt: skip

    def chunk(self, created: int, choices: list[dict[str, Any]], usage: dict[str, Any] | None) -> bytes:
        made = {
            "id": self.id, "object": "chat.completion.chunk", "created": created, "model": self.model,
            "system_fingerprint": MODEL, "choices": choices,
        }  # fmt: skip
        if self.include_usage:
            made["usage"] = usage
        return f"data: {json.dumps(made, ensure_ascii=False)}\n\n".encode()

    def delta(self, created: int, delta: dict[str, str], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self.chunk(created, [choice], None)

    def whole(self, created: int) -> dict[str, Any]:
        message = {"role": "assistant", "content": "".join(self.pieces), "refusal": None}
        return {
            "id": self.id, "object": "chat.completion", "created": created, "model": self.model,
            "system_fingerprint": MODEL, "usage": self.usage,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish_reason}],
        }  # fmt: skip


def _messages(given: Any) -> list[tuple[str, str]]:
    if not isinstance(given, list) or not given:
        raise BadRequest("messages must be a list with at least one message", "messages")
    return [_message(message, f"messages[{index}]") for index, message in enumerate(given)]


def _message(message: Any, place: str) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise BadRequest(f"{place} is not an object", place)
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise BadRequest(f"{place}.role is {role!r}, none of {', '.join(ROLES)}", f"{place}.role")
    if isinstance(content, list):  # parts: of text, images, sound; only text is read
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    if content is None and role == "assistant":  # an assistant that only called tools
        content = ""
    if not isinstance(content, str):
        raise BadRequest(f"{place}.content is neither text nor a list of parts", f"{place}.content")
    return role, content


def _limit(body: dict[str, Any], name: str) -> float:
    limit = body.get(name)
    if limit is None:
        return float("inf")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise BadRequest(f"{name} is {limit!r}, not a whole number from 0 on", name)
    return limit


def _until_stop(text: str, stop: Any) -> str:
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, list) or len(stops) > 4 or not all(isinstance(one, str) and one for one in stops):
        raise BadRequest("stop is neither a text nor a list of up to 4 texts", "stop")
    for one in stops:
        text = text.partition(one)[0]
    return text


def split(text: str) -> list[str]:
    """Word pieces such as a language model's tokens: a space sticks to the word behind it, long words are cut."""
    return re.findall(r"\s?[^\W\d_]{1,6}|\s?\d{1,3}|\s+(?=\s)|\s?[^\w\s]|\s?_|\s", text)


def app(
    *,
    first_token_ms: float = FIRST_TOKEN_MS,
    token_ms: float = TOKEN_MS,
    prompt_token_ms: float = 0.0,
    key: str = "",
    now: Callable[[], datetime] = lambda: datetime.now(UTC).astimezone(),
) -> web.Application:
    """The server.

    `first_token_ms`: from the end of the prompt to the first token; `token_ms`: between two tokens; `prompt_token_ms`: for each
    token of a prompt that isn't read yet; `key`: the API key to ask for ("" = none); `now`: the wall clock that answers tell.
    """
    work = Work()
    slot = Slot(prompt_token_ms)

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "engine": "rules", "model": MODEL, "generating": work.generating})

    async def models(request: web.Request) -> web.Response:
        if not authorised(request.headers, key):
            return _no_key()
        found = {"id": MODEL, "object": "model", "created": 0, "owned_by": "flowgraph"}
        return web.json_response({"object": "list", "data": [found]})

    async def complete(request: web.Request) -> web.StreamResponse:
        if not authorised(request.headers, key):
            return _no_key()
        try:
            body = await request.json()
        except ValueError:
            return openai_error(400, "the body cannot be parsed as JSON")
        time = now()
        try:
            completion = Completion.parse(body, time)
        except BadRequest as error:
            return openai_error(400, str(error), param=error.param or None)
        created = int(time.timestamp())
        work.generating += 1
        try:
            completion.cached_tokens = await slot.read(completion.prompt)
            work.cached.append(completion.cached_tokens)
            if not completion.stream:
                async for _ in paced(completion.pieces):
                    work.tokens += 1
                return web.json_response(completion.whole(created))
            return await stream(request, completion, created)
        finally:
            work.generating -= 1

    async def stream(request: web.Request, completion: Completion, created: int) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):  # the client is gone: so is the reason to go on
            await response.write(completion.delta(created, {"role": "assistant", "content": ""}))
            async for piece in paced(completion.pieces):
                work.tokens += 1
                await response.write(completion.delta(created, {"content": piece}))
            await response.write(completion.delta(created, {}, completion.finish_reason))
            if completion.include_usage:
                await response.write(completion.chunk(created, [], completion.usage))
            await response.write(b"data: [DONE]\n\n")
            await response.write_eof()
        return response

    async def paced(pieces: list[str]) -> AsyncIterator[str]:
        """Each at its time; the times do not drift with the work between them."""
        loop = asyncio.get_running_loop()
        start = loop.time() + first_token_ms / 1000
        for index, piece in enumerate(pieces):
            await asyncio.sleep(max(start + index * token_ms / 1000 - loop.time(), 0))
            yield piece

    application = web.Application(client_max_size=4 * 2**20)
    application[WORK] = work
    application.router.add_get("/health", health)
    application.router.add_get("/v1/models", models)
    application.router.add_post("/v1/chat/completions", complete)
    return application


def _no_key() -> web.Response:
    return openai_error(401, "Incorrect API key provided.", code="invalid_api_key")


def _milliseconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= (value := float(text)) <= 60_000:
            return value
    raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 60000")


def _from_arguments(options: argparse.Namespace) -> web.Application:
    return app(
        first_token_ms=options.first_token_ms,
        token_ms=options.token_ms,
        prompt_token_ms=options.prompt_token_ms,
        key=options.key,
    )


if __name__ == "__main__":
    parser = arguments("nodes.servers.llm", "A small rule-based responder that streams like a language model.", 8766)
    parser.add_argument("--first-token-ms", type=_milliseconds, default=FIRST_TOKEN_MS, help="until the first token")
    parser.add_argument("--token-ms", type=_milliseconds, default=TOKEN_MS, help="between two tokens")
    parser.add_argument(
        "--prompt-token-ms", type=_milliseconds, default=0.0, help="for each token of a prompt that isn't read yet"
    )
    serve(parser, _from_arguments)
