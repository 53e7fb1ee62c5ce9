"""What a service was sent to let us in is told to nobody, also where it repeats it."""

from __future__ import annotations

import base64
import html
import json
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from aiohttp import web

from flowgraph.errors import FlowError
from flowgraph.frame import Frame
from flowgraph.masking import Mask
from flowgraph.node import Node
from flowgraph.services import Services
from flowgraph.session import Session
from flowgraph.specs import ServiceSpec
from flowgraph.testing import _feed_class, _graph_around, run_virtual
from flowgraph.wire import Wire
from nodes.kokoro_tts import KokoroTts
from nodes.llm_request import LlmRequest
from nodes.llm_stream import LlmStream
from nodes.post_stt import PostStt
from nodes.post_tts import PostTts
from nodes.vocabulary import End, Prompt, Recording, Sentence
from nodes.ws_stt import WsStt

PASSWORD = 'pä/ss "w+rd&'
KEY = "sk-quite/secret"
LOGIN, TOKEN = (base64.b64encode(text.encode()).decode() for text in (f"ann:{PASSWORD}", f"{KEY}:"))
URL = f"ann:{quote(PASSWORD, safe='')}@"


@pytest.mark.parametrize(
    "write",
    [str, quote, lambda text: quote(text, safe=""), quote_plus, html.escape, json.dumps, repr,
     lambda text: json.dumps(text, ensure_ascii=False).replace("/", "\\/"), lambda text: quote(text, safe="").lower()],
)  # fmt: skip
@pytest.mark.parametrize("secret", [PASSWORD, LOGIN, KEY])
def test_a_secret_is_blotted_out_however_it_is_written(secret: str, write: Callable[[str], str]) -> None:
    shown = Mask([secret])(f"Bad header: Basic {write(secret)}. See 'help'.")

    assert shown.replace('"', "").replace("'", "") == "Bad header: Basic …. See help."


def test_a_secret_that_is_cut_short_is_blotted_out_too() -> None:
    assert Mask([KEY])("no such key: sk-quite/s…") == "no such key: …"


def test_a_short_secret_is_blotted_out_where_it_stands_alone() -> None:
    assert Mask(["abc"])("abc is no key, and abcd is a word") == "… is no key, and abcd is a word"


def test_without_secrets_text_stays_as_it_is() -> None:
    assert Mask(["", ""])("Basic …") == "Basic …"


# -- whoever talks with a service ----------------------------------------------------------------------------------------

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def sent(request: web.Request) -> str:
    """All that the client has said of itself, and a little more than fits into a message."""
    return f"bad request: {dict(request.headers)} {request.query_string} {request.headers.get('Authorization')} {'x' * 300}"


async def refuses(request: web.Request) -> web.StreamResponse:
    return web.json_response({"error": {"message": sent(request)}}, status=400)


async def fails_in_the_answer(request: web.Request) -> web.StreamResponse:
    error = json.dumps({"type": "error", "error": sent(request)})
    if "Upgrade" in request.headers:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(error)
        await socket.receive()
        return socket
    if "chat" in request.path and (await request.json())["stream"]:
        return web.Response(text=f"data: {error}\n\n", content_type="text/event-stream")
    return web.Response(text=error, content_type="application/json")


async def hangs_up(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.close(code=1008, message=sent(request)[-400:][:120].encode())
    return socket


def asked(node: Node, frame: Frame, answer: Answer, spec: ServiceSpec, trace: Path) -> str:
    """All that is told where `answer` is the service's, the trace and a traceback included."""

    async def main() -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        graph = _graph_around(node, owned=False)
        feed = _feed_class(type(frame).__mro__[:1])()
        feed.__dict__["_inputs"] = [frame]
        told = ""
        services = Services([spec], network=Wire({"host": app}))
        session = Session(graph, services=services, nodes={"node": node, "feed": feed}, trace=trace)
        try:
            async with session:
                await session.finished()
        except FlowError as error:
            told = "".join(traceback.format_exception(error)) + str(error)
        return "\n".join([told, *session.said, *(text for _, _, text in session.trace.notes)])

    return run_virtual(main()) + trace.read_text(encoding="utf-8")


class Spoken(PostTts):
    """It has something to say."""

    async def open(self) -> None:
        await super().open()
        self._text = "Hello."


CLIENTS: dict[type[Node], tuple[str, Frame, dict[str, Any]]] = {
    LlmStream: ("llm", Prompt((("user", "Hi"),)), {"warm": "on"}),
    LlmRequest: ("llm", Prompt((("user", "Hi"),)), {}),
    KokoroTts: ("tts", Sentence("Hello."), {"warm": "on"}),
    Spoken: ("tts", End(), {}),
    PostStt: ("stt", Recording(b"RIFF", 0, 0), {}),
}


@pytest.mark.parametrize("way", ["password", "token", "key", "query"])
@pytest.mark.parametrize("answer", [refuses, fails_in_the_answer])
@pytest.mark.parametrize("client", CLIENTS)
def test_what_a_service_repeats_of_our_headers_is_in_no_error_no_note_and_no_trace(
    client: type[Node], answer: Answer, way: str, tmp_path: Path
) -> None:
    name, frame, options = CLIENTS[client]
    url = {"password": f"http://{URL}host", "token": f"http://{quote(KEY, safe='')}@host", "key": "http://host",
           "query": f"http://host?api-key={KEY}"}[way]  # fmt: skip
    spec = ServiceSpec(name, url, KEY if way == "key" else "", "", {}, "test")
    told = asked(client(**options), frame, answer, spec, tmp_path / "trace")

    assert "node 'node' failed" in told
    assert leaked(told) == []


@pytest.mark.parametrize("answer", [refuses, fails_in_the_answer, hangs_up])
@pytest.mark.parametrize("way", ["password", "key"])
def test_a_recogniser_that_repeats_them_tells_nobody_either(answer: Answer, way: str, tmp_path: Path) -> None:
    spec = ServiceSpec("stt", f"http://{URL}host" if way == "password" else "http://host",
                       KEY if way == "key" else "", "", {}, "test")  # fmt: skip
    told = asked(WsStt(), Frame(), answer, spec, tmp_path / "trace")

    assert "node 'node' failed" in told
    assert leaked(told) == []


def leaked(text: str) -> list[str]:
    """Secrets of which at least the first half is in the text."""
    secrets = [
        form for one in (PASSWORD, LOGIN, KEY, TOKEN) for form in (one, quote(one, safe=""), json.dumps(one)[1:-1])
    ]
    return [secret for secret in secrets if secret[: len(secret) // 2] in text]
