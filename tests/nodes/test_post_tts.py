"""Against a scripted server that does what real ones were seen to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from flowgraph.errors import GraphError, NodeFailed
from flowgraph.frame import Frame
from flowgraph.graph import Graph
from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import graph_of, run_virtual, services_of
from flowgraph.units import SECOND
from nodes.post_tts import PostTts
from nodes.vocabulary import End, Speech, SpeechFile, Token
from tests.nodes.passing import through


class Tts:
    """Sends each item of its script: bytes as they are, a number as a pause."""

    def __init__(self, *script: Any, status: int = 200, kind: str = "audio/wav") -> None:
        self.asked: list[dict[str, Any]] = []
        self.connections: set[Any] = set()
        self._script = script
        self._status = status
        self._kind = kind

    @property
    def app(self) -> web.Application:
        """A fresh one: an application serves on one loop."""
        app = web.Application()
        app.router.add_post("/v1/audio/speech", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.connections.add(request.transport)
        self.asked.append(await request.json())
        response = web.StreamResponse(status=self._status, headers={"Content-Type": self._kind})
        await response.prepare(request)
        for item in self._script:
            if isinstance(item, bytes):
                await response.write(item)
            else:
                await asyncio.sleep(item)
        await response.write_eof()
        return response


def speak(tts: Tts, *frames: Frame | float, **options: Any) -> list[Frame]:
    inputs = frames or [Token("Hello."), End()]
    return [frame for _, frame in through(PostTts(**options), inputs, services={"tts": tts.app})]


def pcm(ms: int, level: float = 0.5) -> bytes:
    return np.full(24 * ms, level * 32768).astype("<i2").tobytes()


def test_the_whole_answer_is_one_file_with_its_end_behind() -> None:
    tts = Tts(b"RIFF", b"...")

    file, end = speak(tts, Token("Hello. "), Token("How are you?"), End("length"), memory=True)

    assert isinstance(file, SpeechFile)
    assert (file.content, file.text) == (b"RIFF...", "Hello. How are you?")
    assert isinstance(end, End)
    assert end.reason == "length"


def test_the_request_waits_for_the_last_word_and_the_file_for_the_last_byte() -> None:
    outputs = through(
        PostTts(memory=True),
        [Token("Hello. "), 2.0, Token("Bye."), 1.0, End()],
        services={"tts": Tts(b"RIFF", 0.5).app},
    )

    assert [round(at - 1000, 3) for at, _ in outputs] == [3.5, 3.5]


def test_the_request_is_what_every_server_takes() -> None:
    tts = Tts(b"sound", kind="audio/mpeg")

    speak(tts, voice="af_sky", speed=1.5, format="mp3")

    assert tts.asked == [
        {
            "model": "kokoro", "input": "Hello.", "voice": "af_sky",
            "response_format": "mp3", "stream": False, "speed": 1.5,
        }
    ]  # fmt: skip


def test_a_cleaned_copy_is_spoken_and_the_original_is_told() -> None:
    tts = Tts(b"sound")

    file, _ = speak(tts, Token("That is **really** good. 😀"), End())

    assert tts.asked[0]["input"] == "That is really good."
    assert isinstance(file, SpeechFile)
    assert file.text == "That is **really** good. 😀"


def test_an_answer_without_words_is_not_spoken() -> None:
    tts = Tts(b"sound")

    [end] = speak(tts, Token("…"), End())

    assert isinstance(end, End)
    assert tts.asked == []


def test_the_end_of_a_failed_answer_goes_on_alone() -> None:
    [end] = speak(Tts(b"sound"), End("error", "the model is gone"))

    assert isinstance(end, End)
    assert (end.reason, end.detail) == ("error", "the model is gone")


def test_each_answer_is_written_to_a_file_of_its_own(tmp_path: Path) -> None:
    frames = [Token("One."), End(), Token("Two."), End()]

    files = [frame.content for frame in speak(Tts(b"sound"), *frames, folder=str(tmp_path), format="mp3")
             if isinstance(frame, SpeechFile)]  # fmt: skip

    assert files == [tmp_path / "answer-001.mp3", tmp_path / "answer-002.mp3"]
    assert all(file.read_bytes() == b"sound" for file in tmp_path.iterdir())


def test_without_a_folder_the_file_is_gone_with_the_session() -> None:
    file, _ = speak(Tts(b"sound"))

    assert isinstance(file, SpeechFile)
    assert isinstance(file.content, Path)
    assert not file.content.parent.exists()


def test_pcm_is_passed_on_while_it_arrives() -> None:
    tts = Tts(pcm(100), 0.5, pcm(100), 0.5, pcm(100), kind="audio/pcm")

    outputs = through(PostTts(format="pcm"), [Token("Hello."), End()], services={"tts": tts.app})

    chunks = [(round(at - 1000, 3), len(frame.samples)) for at, frame in outputs if isinstance(frame, Speech)]
    assert chunks[0][0] == 0.0
    assert chunks[-1][0] == 1.0
    assert sum(length for _, length in chunks) == 24 * 300
    assert "".join(frame.text for _, frame in outputs if isinstance(frame, Speech)) == "Hello."
    assert [frame.last for _, frame in outputs if isinstance(frame, Speech)][-1]
    assert isinstance(outputs[-1][1], End)
    assert tts.asked[0]["stream"] is True


def test_each_request_makes_a_connection_of_its_own_unless_it_is_told_to_keep_one() -> None:
    alone, kept = Tts(b"sound"), Tts(b"sound")

    for tts, persistent in ((alone, False), (kept, True)):
        speak(tts, *[frame for _ in range(4) for frame in (Token("Hello."), End())], persistent=persistent)

    assert len(alone.connections) == 4
    assert len(kept.connections) <= 2  # one that is used, and one to spare


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("kind", ["wav", "pcm"])
@pytest.mark.parametrize(
    ("tts", "message"),
    [
        (Tts(b'{"detail": {"message": "Voice \'af_hart\' not found. Available voices: af_heart"}}', status=400), "did you mean af_heart?"),
        (Tts(), "the TTS service 'tts' answered a text of 6 characters with no sound"),
        (Tts(b"<html>Welcome!</html>", kind="text/html"), "the TTS service 'tts' sends text/html, not sound"),
        (Tts(b'{"error": "busy"}', kind="application/json"), "the TTS service 'tts' sends application/json, not sound"),
        (Tts(90.0, b"sound"), "has sent nothing for 60 s"),
    ],
)  # fmt: skip
def test_what_is_no_sound_is_an_error(tts: Tts, message: str, kind: str, persistent: bool) -> None:
    with pytest.raises(NodeFailed) as raised:
        speak(tts, format=kind, persistent=persistent, voice="af_hart")

    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("graph", "settings", "said"),
    [
        ("baseline", ["tts.format=pcm"], "tts.format: with pcm it makes Speech, which nobody takes here"),
        ("steps/03-playback", ["tts.format=wav"], "tts.format: with wav it makes SpeechFile, which nobody takes here"),
    ],
)
def test_a_format_that_its_consumer_does_not_take_is_told_before_the_start(
    graph: str, settings: list[str], said: str
) -> None:
    with pytest.raises(GraphError) as caught:
        Graph.load(graph, settings=settings, environ={})

    assert [problem.message for problem in caught.value.problems] == [said]


def test_text_of_an_interrupted_answer_is_not_spoken_with_the_next() -> None:
    async def interrupted() -> list[str]:
        node = PostTts(memory=True)
        nodes: dict[str, Node] = {"boss": Boss(), "tts": node}
        asked: list[str] = []
        session = Session(
            graph_of(nodes, ("boss", "tts")), nodes=dict(nodes), services=services_of({"tts": Tts(b"x").app})
        )
        session.watch(SpeechFile, lambda file: asked.append(file.text))
        async with session:
            await session.finished()
        return asked

    assert run_virtual(interrupted()) == ["Two."]


class Boss(Node):
    """Interrupts its first answer."""

    owns_turn = True

    async def run(self) -> AsyncIterator[Token | End]:
        self.ctx.turn.advance()
        yield Token("One. ")
        await asyncio.sleep(0.1)
        self.ctx.turn.commit(self.ctx.turn.advance())
        yield Token("Two.")
        yield End()


def test_a_folder_that_would_never_be_used_is_told_before_the_start() -> None:
    assert list(PostTts(folder="x", format="pcm").problems())
    assert list(PostTts(folder="x", memory=True).problems())
    assert not list(PostTts(folder="x").problems())


def test_a_short_stall_in_the_middle_is_no_error() -> None:
    file, _ = speak(Tts(b"RI", 1.5, b"FF"), timeout=2 * SECOND, memory=True)

    assert isinstance(file, SpeechFile)
    assert file.content == b"RIFF"
