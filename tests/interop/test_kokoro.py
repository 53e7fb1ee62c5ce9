"""`kokoro_tts` in front of a Kokoro server of somebody else (fastkokoro); its voice is a tone of 25 ms for each phoneme."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import aiohttp
import numpy as np
import pytest

from flowgraph.errors import FlowError
from flowgraph.frame import Frame
from flowgraph.specs import ServiceSpec
from nodes.kokoro_tts import KokoroTts
from nodes.vocabulary import End, Sentence, Speech
from tests.interop.running import ROOT, free_port, serving, theirs
from tests.nodes.passing import through_in_real_time
from tests.servers import tiny_kokoro

pytestmark = [pytest.mark.interop, pytest.mark.realtime, pytest.mark.timeout(120)]

SENTENCES = ("It is noon. ", "The river goes under the old stone house, ", "and then over it.")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    weights, voices = tiny_kokoro.save(tmp_path_factory.mktemp("kokoro"))
    with serving(theirs("kokoro_server.py", weights, voices, free_port())) as address:
        yield address


def spoken(url: str, *sentences: str, **options: Any) -> list[Frame]:
    inputs = [*(Sentence(text) for text in sentences), End()]
    service = ServiceSpec("tts", url, "", "", {}, "test")
    return [frame for _, frame in through_in_real_time(KokoroTts(warm="off", **options), inputs, service)]


def by_itself(url: str, text: str) -> bytes:
    """The server's own sound for a text, in one piece."""

    async def main() -> bytes:
        body = {"model": "kokoro", "input": text.strip(), "voice": "af_heart", "response_format": "pcm"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{url}/v1/audio/speech", json=body, raise_for_status=True) as response,
        ):
            return await response.read()

    return asyncio.run(main())


def test_the_sentences_arrive_in_order_and_whole(url: str) -> None:
    frames = spoken(url, *SENTENCES, trim="off")

    chunks = [frame for frame in frames if isinstance(frame, Speech)]
    assert "".join(chunk.text for chunk in chunks) == "".join(SENTENCES)
    assert {chunk.rate_hz for chunk in chunks} == {24_000}
    for part, sentence in enumerate(SENTENCES):
        ours = np.concatenate([chunk.samples for chunk in chunks if chunk.part == part])
        theirs_ = np.frombuffer(by_itself(url, sentence), "<i2") / 32768
        assert np.allclose(ours, theirs_, atol=1e-4), sentence
    assert isinstance(frames[-1], End)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"voice": "nobody"}, "nobody"),
        ({"model": "another"}, "another"),
        ({"speed": 0.5}, "greater than or equal to 1"),
    ],
)
def test_what_it_refuses_is_told_in_its_own_words(url: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(FlowError, match=said):
        spoken(url, SENTENCES[0], **options)


def test_a_conversation_is_held_with_it(url: str) -> None:
    command = [sys.executable, "-m", "flowgraph.cli", "run", "optimized", "--text", "--json"]
    command += ["--set", f"services.tts.url={url}"]

    done = subprocess.run(
        command, input="Tell me the date of today.\nWhat is nine times seven?\n",
        cwd=ROOT, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    heard = [event["text"] for event in events if event["event"] == "heard" and event["final"]]
    assert heard[-1] == "Nine times seven is sixty three."
    assert len([event for event in events if event["event"] == "turn"]) == 2
