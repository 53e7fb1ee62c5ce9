"""`llm_stream` in front of llama.cpp's own server; its weights are random, so what it says is noise, bytes that are no text included."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from flowgraph.errors import FlowError
from flowgraph.frame import Frame
from flowgraph.specs import ServiceSpec
from nodes.llm_stream import LlmStream
from nodes.vocabulary import End, Prefix, Prompt, Token
from tests.interop.running import ROOT, free_port, serving, theirs
from tests.nodes.passing import through_in_real_time

pytestmark = [pytest.mark.interop, pytest.mark.realtime, pytest.mark.timeout(120)]

SYSTEM = ("system", "You speak with somebody in a house by the river. " * 20)
HELLO = Prompt((SYSTEM, ("user", "Hello there.")))
READ = ("system", "Somebody asks for the way to the winter house. " * 20)
LONG = 400
KEY = "a-key-of-theirs"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(theirs("llama_server.py", tmp_path_factory.mktemp("llama"), free_port())) as address:
        yield address


def asked(url: str, *inputs: Frame | float, key: str = "", seconds: float = 40, **options: Any) -> list[Frame]:
    service = ServiceSpec("llm", url, key, "", {}, "test")
    node = LlmStream(temperature=0, **options)
    return [frame for _, frame in through_in_real_time(node, inputs, service, seconds=seconds)]


def get(url: str, path: str, **body: Any) -> Any:
    """What the server says; a body makes it a POST."""

    async def main() -> Any:
        async with aiohttp.ClientSession() as session:
            method, sent = ("POST", {"json": body}) if body else ("GET", {})
            async with session.request(method, url + path, **sent) as response:
                return json.loads(text) if (text := await response.text()).startswith(("{", "[")) else text

    return asyncio.run(main())


def counted(url: str, name: str) -> float:
    lines = get(url, "/metrics").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"llamacpp:{name} "))


def busy(url: str) -> bool:
    return any(slot["is_processing"] for slot in get(url, "/slots"))


def test_an_answer_is_passed_on_as_it_was_written(url: str) -> None:
    frames = asked(url, HELLO, max_tokens=LONG, extra={"ignore_eos": True})
    messages = [{"role": role, "content": text} for role, text in HELLO.messages]
    whole = get(url, "/v1/chat/completions", messages=messages, temperature=0, max_tokens=LONG, ignore_eos=True)

    tokens = [frame.text for frame in frames if isinstance(frame, Token)]
    assert len(tokens) > LONG / 2, "it streams"
    assert "".join(tokens).strip() == whole["choices"][0]["message"]["content"].strip()
    assert isinstance(frames[-1], End)
    assert frames[-1].reason == "length"


def test_what_was_read_ahead_is_not_read_again(url: str) -> None:
    before = counted(url, "prompt_tokens_total")
    asked(url, Prefix((READ, ("user", "Once more, and"))), 1.0, warm="on")
    ahead = counted(url, "prompt_tokens_total") - before
    asked(url, Prompt((READ, ("user", "Once more, and slowly."))), max_tokens=1, warm="off")
    rest = counted(url, "prompt_tokens_total") - before - ahead

    assert ahead > 900, "a token is a byte here"
    assert 0 < rest < 60


def test_an_answer_that_nobody_wants_any_more_is_not_written_to_its_end(url: str) -> None:
    before = counted(url, "tokens_predicted_total")
    with pytest.raises(TimeoutError):
        asked(url, HELLO, seconds=1.0, extra={"ignore_eos": True})
    ended = time.monotonic()
    while busy(url):
        assert time.monotonic() - ended < 5, "the connection is closed, and it writes on"
        time.sleep(0.02)
    written = counted(url, "tokens_predicted_total") - before

    assert asked(url, HELLO, max_tokens=5), "it answers the next one"
    assert 0 < written < 10_000, "what is left of the context would hold more"


def test_a_key_that_is_missing_is_told_and_one_that_is_given_never(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(theirs("llama_server.py", tmp_path, free_port(), KEY)) as locked:
        with pytest.raises(FlowError, match="401") as refused:
            asked(locked, HELLO, max_tokens=5)
        with pytest.raises(FlowError, match="401") as wrong:
            asked(locked, HELLO, key="another-key", max_tokens=5)
        assert asked(locked, HELLO, key=KEY, max_tokens=5)

    assert "key" in f"{refused.value} {refused.value.hint}"
    assert "another-key" not in f"{wrong.value} {wrong.value.hint} {capfd.readouterr().err}"


def test_a_prompt_that_is_too_long_is_one_clear_error(url: str) -> None:
    with pytest.raises(FlowError, match="context") as failure:
        asked(url, Prompt((("user", "So long. " * 5000),)), max_tokens=5)

    assert "400" in str(failure.value)


def test_a_conversation_is_held_with_it(url: str) -> None:
    command = [sys.executable, "-m", "flowgraph.cli", "run", "optimized", "--text", "--json"]
    command += ["--set", f"services.llm.url={url}", "--set", "llm.max_tokens=12"]

    done = subprocess.run(
        command, input="Hello there.\nAnd now?\n", cwd=ROOT, capture_output=True, text=True, timeout=90, check=False
    )

    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    turns = [event for event in events if event["event"] == "turn"]
    assert len(turns) == 2
    assert all(turn["latency_ms"] and not turn["error"] for turn in turns)
