"""Against a scripted server that does what real ones were seen to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from flowgraph.errors import NodeFailed
from flowgraph.frame import Frame
from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import graph_of, run_node, run_virtual
from flowgraph.units import MS, SECOND
from flowgraph.wire import Wire, wired_services
from nodes.post_stt import PostStt
from nodes.vocabulary import Recording, Transcript

RECORDING = Recording(b"RIFF and so on", start_at=7 * SECOND, end_at=9 * SECOND)


class Stt:
    """Answers each upload with the next of its answers, text or bytes, the last one again and again."""

    def __init__(self, *answers: Any, status: int = 200, kind: str = "application/json", delay_s: float = 0.0) -> None:
        self.uploads: list[dict[str, Any]] = []
        self.connections: set[Any] = set()
        self.headers: list[Any] = []
        self._answers = list(answers)
        self._status = status
        self._kind = kind
        self._delay_s = delay_s

    @property
    def app(self) -> web.Application:
        """A fresh one: an application serves on one loop."""
        app = web.Application()
        app.router.add_post("/v1/audio/transcriptions", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        self.connections.add(request.transport)
        self.headers.append(request.headers)
        form = await request.post()
        file = form["file"]
        assert isinstance(file, web.FileField)
        rest = {name: value for name, value in form.items() if name != "file"}
        content = file.file.read()
        file.file.close()
        self.uploads.append({"name": file.filename, "kind": file.content_type, "bytes": content, **rest})
        await asyncio.sleep(self._delay_s)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return web.Response(status=self._status, body=body, headers={"Content-Type": self._kind})


def transcribe(stt: Stt, *frames: Frame | float, **options: Any) -> list[Transcript]:
    outputs = run_node(PostStt(**options), frames or [RECORDING], services={"stt": stt.app})
    return [frame for frame in outputs if isinstance(frame, Transcript)]


def test_a_recording_becomes_a_final_transcript_of_its_span() -> None:
    [transcript] = transcribe(Stt({"text": "Hello there."}))

    assert transcript.text == "Hello there."
    assert transcript.final
    assert (transcript.start_at, transcript.end_at) == (7 * SECOND, 9 * SECOND)
    assert transcript.cause_id == RECORDING.id


def test_a_transcript_is_dated_when_it_came() -> None:
    begun, ended = (one.at for one in transcribe(Stt({"text": "hi"}, delay_s=0.5), RECORDING, Recording(b"")))

    assert ended - begun == SECOND // 2


def test_the_upload_is_a_form_with_a_wav_file_as_every_server_takes_it() -> None:
    stt = Stt({"text": "hi"})

    transcribe(stt, model="whisper-large", language="en")

    assert stt.uploads == [
        {
            "name": "audio.wav", "kind": "audio/wav", "bytes": b"RIFF and so on",
            "model": "whisper-large", "language": "en", "response_format": "json",
        }
    ]  # fmt: skip


def test_a_recording_on_disk_is_read_from_there(tmp_path: Path) -> None:
    path = tmp_path / "utterance.wav"
    path.write_bytes(b"RIFF from disk")
    stt = Stt({"text": "hi"})

    transcribe(stt, Recording(path))

    assert stt.uploads[0]["bytes"] == b"RIFF from disk"


def test_a_recording_that_is_gone_is_an_error() -> None:
    with pytest.raises(NodeFailed, match=r"can't read the recording /nowhere/x\.wav: No such file"):
        transcribe(Stt({"text": "hi"}), Recording(Path("/nowhere/x.wav")))


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        ({"text": " Hello. \n", "usage": {"seconds": 2}}, "application/json", "Hello."),
        ({"text": ""}, "application/json", ""),
        ({"text": " [BLANK_AUDIO]"}, "application/json", ""),
        ({"text": "(silence)"}, "application/json", ""),
        ({"text": "[sic] he said"}, "application/json", "[sic] he said"),
        (b"Hello.\n", "text/plain", "Hello."),
        (b'{"text": "from whisper.cpp"}', "text/html", "from whisper.cpp"),
    ],
)
def test_what_was_understood_is_read_from_what_servers_send(answer: Any, kind: str, text: str) -> None:
    assert [one.text for one in transcribe(Stt(answer, kind=kind))] == [text]


def test_each_request_makes_a_connection_of_its_own_unless_it_is_told_to_keep_one() -> None:
    alone, kept = Stt({"text": "hi"}), Stt({"text": "hi"})

    for stt, persistent in ((alone, False), (kept, True)):
        transcribe(stt, *[Recording(b"RIFF") for _ in range(4)], persistent=persistent)

    assert len(alone.connections) == 4
    assert len(kept.connections) <= 2  # one that is used, and one to spare


class Feed(Node):
    """A recording each second."""

    async def run(self) -> AsyncIterator[Recording]:
        for _ in range(3):
            await asyncio.sleep(1)
            yield Recording(b"RIFF")


@pytest.mark.parametrize(("persistent", "waits_ms"), [(False, [200, 200, 200]), (True, [0, 0, 0])])
def test_a_connection_of_its_own_costs_a_handshake_each_time_which_the_trace_sees(
    persistent: bool, waits_ms: list[int]
) -> None:
    async def run() -> tuple[list[int], list[str]]:
        applications = {"stt": Stt({"text": "hi"}).app}
        services = wired_services(applications, wire=Wire(applications, handshake_s=0.2))
        nodes: dict[str, Node] = {"feed": Feed(), "stt": PostStt(persistent=persistent)}
        session = Session(graph_of(nodes, ("feed", "stt")), nodes=dict(nodes), services=services)
        recorded: list[int] = []
        waited: list[int] = []
        session.watch(Recording, lambda _: recorded.append(session.clock.now()))
        session.watch(Transcript, lambda transcript: waited.append((transcript.at - recorded[-1]) // MS))
        async with session:
            await session.finished()
            return waited, [event for _, _, event, _, _ in session.trace.wires if event.startswith("connect")]

    waited, wires = run_virtual(run())

    assert waited == waits_ms
    assert wires == ["connect_start", "connect_end"] * sum(wait > 0 for wait in waits_ms)


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize(
    ("stt", "message"),
    [
        (Stt({"error": {"message": "Model 'whisper-1' not found"}}, status=404), "answers 404: Model 'whisper-1' not found"),
        (Stt({"detail": "Unsupported file"}, status=415), "answers 415: Unsupported file"),
        (Stt({"error": "out of memory"}), "failed: out of memory"),
        (Stt(b"<html>It works!</html>", kind="text/html"), "sends no transcript, but '<html>It works!</html>'"),
        (Stt({"txt": "hi"}), "sends no transcript"),
    ],
)  # fmt: skip
def test_what_is_no_transcript_is_an_error_that_names_the_service(stt: Stt, message: str, persistent: bool) -> None:
    with pytest.raises(NodeFailed) as raised:
        transcribe(stt, persistent=persistent)

    assert f"the STT service 'stt' {message}" in str(raised.value)


@pytest.mark.parametrize("persistent", [False, True])
def test_a_server_that_says_nothing_is_given_up(persistent: bool) -> None:
    with pytest.raises(NodeFailed, match="the STT service 'stt' has sent nothing for 2 s"):
        transcribe(Stt({"text": "hi"}, delay_s=60), persistent=persistent, timeout=2 * SECOND)
