"""From the sequential program to the streaming one: every step is a graph that runs, and what each is worth.

On virtual time, with servers that take exactly as long as they are told to. `ffplay` is a program, which knows no virtual time: the steps
that have it are run with `speaker` instead, and the baseline once more as it is, in real time.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import wave
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from flowgraph.clock import run_virtual
from flowgraph.graph import Graph
from flowgraph.phases import END_OF_SPEECH
from flowgraph.report import Report
from flowgraph.session import Session
from flowgraph.units import MS
from flowgraph.wire import Wire, wired_services
from nodes.servers import llm, scripted
from nodes.servers.wav import read
from nodes.sound.conversation import Conversation, load_conversation
from tests.smart_turn import real_model

GRAPHS = Path(__file__).parent.parent / "graphs"
STEPS = sorted((GRAPHS / "steps").glob("*.yaml"))
DEMO = GRAPHS / "conversations" / "demo.yaml"
QUESTIONS = (0, 2)
"""Utterances of the bundled caller that are answered wherever they are heard: nobody interrupts."""

HANDSHAKE_S = 0.1
UPLOADED_S = 0.5
"""From an uploaded file to its text."""
FINAL_S = 0.1
"""From the request for a final transcript to it, on a WebSocket."""
FIRST_TOKEN_MS = 200
TOKEN_MS = 10
FIRST_BYTE_S = 0.15


def questions(folder: Path, *indices: int) -> Path:
    """A caller who only asks."""
    path = folder / "questions.yaml"
    lines = []
    for index in indices:
        one = load_conversation(DEMO).utterances[index]
        assert one.speech is not None
        fields = {"audio": one.audio.resolve(), "text": one.text, "speech": list(one.speech), "pause": "500ms"}
        lines.append("  - {" + ", ".join(f"{name}: {value}" for name, value in fields.items()) + "}\n")
    path.write_text("name: questions\nnoise_floor_dbfs: -60\nutterances:\n" + "".join(lines))
    return path


def services(conversation: Conversation, *, whole: bool) -> dict[str, web.Application]:
    """Servers that follow a script. `whole`: speech comes as a WAV file, not as a stream."""
    spoken = iter(conversation.utterances)

    async def transcribe(request: web.Request) -> web.Response:
        file = (await request.post())["file"]
        assert isinstance(file, web.FileField)
        samples, rate_hz = read(file.file.read())
        file.file.close()
        utterance = next(spoken)
        assert len(samples) / rate_hz > (utterance.speech_end - utterance.speech_start) / 16_000
        await asyncio.sleep(UPLOADED_S)
        return web.json_response({"text": utterance.text})

    async def speak(request: web.Request) -> web.Response:
        file = io.BytesIO()
        with wave.open(file, "wb") as writer:
            writer.setparams((1, 2, scripted.RATE_HZ, 0, "NONE", ""))
            writer.writeframes(scripted.tone(scripted.RATE_HZ))
        await asyncio.sleep(FIRST_BYTE_S)
        return web.Response(body=file.getvalue(), content_type="audio/wav")

    stt = scripted.stt(scripted.lines_of(conversation), delay_s=FINAL_S)
    stt.router.add_post("/v1/audio/transcriptions", transcribe)
    tts = scripted.Voice(first_byte_s=FIRST_BYTE_S).app
    if whole:
        tts = web.Application()
        tts.router.add_post("/v1/audio/speech", speak)
    return {"stt": stt, "llm": llm.app(first_token_ms=FIRST_TOKEN_MS, token_ms=TOKEN_MS), "tts": tts}


def converse(
    graph: Path, caller: Path, *settings: str, run: Callable[..., object] = run_virtual
) -> tuple[Report, Session]:
    """Let the caller talk to a graph."""
    conversation = load_conversation(caller)
    loaded = Graph.load(graph, settings=[f"mic.device=caller:{caller}", *settings], environ={})
    applications = services(conversation, whole=loaded.nodes["speaker"].type == "ffplay")
    session = Session(
        loaded,
        services=wired_services(applications, wire=Wire(applications, handshake_s=HANDSHAKE_S)),
    )
    report = Report(session)

    async def main() -> None:
        async with session, asyncio.timeout(600):
            try:
                await session.finished()
            finally:
                report.finish()

    run(main())
    return report, session


def on_virtual_time(graph: Path, caller: Path) -> Report:
    """The graph, with a speaker where it has ffplay."""
    settings = ["speaker.device=null"]
    if "turn" in Graph.load(graph, environ={}).nodes:
        settings.append(f"turn.model={real_model()}")
    if Graph.load(graph, environ={}).nodes["speaker"].type == "ffplay":
        settings = ["speaker.type=speaker", "tts.format=pcm", *settings]
    return converse(graph, caller, *settings)[0]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """By the name of the graph, in the order of the steps."""
    caller = questions(tmp_path_factory.mktemp("caller"), *QUESTIONS)
    return {path.stem: on_virtual_time(path, caller) for path in [GRAPHS / "baseline.yaml", *STEPS]}


@pytest.mark.parametrize("path", [GRAPHS / "baseline.yaml", *STEPS], ids=lambda path: path.stem)
def test_every_step_is_a_sound_graph(path: Path) -> None:
    graph = Graph.load(path, environ={})

    assert graph.warnings == ()
    assert graph.name == path.stem
    assert graph.description


def test_each_step_is_a_few_lines_on_the_one_before() -> None:
    before = "../baseline.yaml"
    for number, path in enumerate(STEPS, 1):
        lines = path.read_text().splitlines()

        assert path.stem.startswith(f"{number:02}-")
        assert f"extends: {before}" in lines
        assert len(lines) <= 25
        before = path.name


def test_the_last_step_that_needs_no_model_is_the_optimized_graph() -> None:
    last, optimized = (
        Graph.load(GRAPHS / "steps" / "10-adaptive.yaml", environ={}),
        Graph.load(GRAPHS / "optimized.yaml", environ={}),
    )

    assert {name: (spec.cls, spec.make()) for name, spec in last.nodes.items()} == {
        name: (spec.cls, spec.make()) for name, spec in optimized.nodes.items()
    }
    assert {
        (e.source, e.target, e.types, e.capacity, e.capacity_ns, e.overflow, e.hold, e.feedback) for e in last.edges
    } == {
        (e.source, e.target, e.types, e.capacity, e.capacity_ns, e.overflow, e.hold, e.feedback)
        for e in optimized.edges
    }


def test_every_step_answers_every_question_and_cuts_nobody_off(reports: dict[str, Report]) -> None:
    for name, report in reports.items():
        assert len(report.turns) == len(QUESTIONS), name
        for turn in report.turns:
            assert turn.said == turn.truth, name
            assert turn.answered, name
            assert not turn.cut_off, name


def test_the_phases_of_every_turn_add_up_to_its_latency(reports: dict[str, Report]) -> None:
    for name, report in reports.items():
        for turn in report.turns:
            assert not turn.incomplete, (name, turn.incomplete)
            assert sum(turn.phases.values()) == pytest.approx(turn.latency_ns, abs=1_000), name


def test_the_sequential_program_pays_for_everything_one_after_the_other(reports: dict[str, Report]) -> None:
    for turn in reports["baseline"].turns:
        ms = {name: ns / MS for name, ns in turn.phases.items()}

        assert 1000 <= ms[END_OF_SPEECH] <= 1070
        assert ms["network"] == pytest.approx(3 * 1000 * HANDSHAKE_S, abs=1)
        assert ms["STT"] == pytest.approx(1000 * UPLOADED_S, abs=1)
        assert ms["LLM"] >= FIRST_TOKEN_MS + TOKEN_MS * (len(turn.heard.split()) - 1)
        assert ms["TTS"] == pytest.approx(1000 * FIRST_BYTE_S, abs=1)


@pytest.mark.parametrize(
    ("step", "gain_ms"),
    [
        ("01-memory", 0),  # files cost no virtual time
        ("02-persistent", 3 * 1000 * HANDSHAKE_S),
        ("03-playback", 0),  # it differs by the player alone
        ("05-websocket", 1000 * UPLOADED_S),
        ("06-silence-500", 500),
        ("07-silence-400", 100),
        ("08-speculation", 400 - 96 - 1000 * FINAL_S),
    ],
)
def test_each_step_is_worth_what_it_leaves_out(reports: dict[str, Report], step: str, gain_ms: float) -> None:
    """To a window of the VAD, in which silence is counted."""
    assert gain(reports, step) == pytest.approx(gain_ms, abs=33)


def test_speaking_the_first_clause_at_once_saves_the_writing_of_the_rest(reports: dict[str, Report]) -> None:
    whole, streamed = reports["03-playback"].turns, reports["04-sentences"].turns

    saved_ms = [(a.phases["LLM"] - b.phases["LLM"]) / MS for a, b in zip(whole, streamed, strict=True)]

    assert [turn.heard for turn in streamed] == ["Hello. Nice to meet you, David.", "Nine times seven is sixty three."]
    assert saved_ms[0] >= 4 * TOKEN_MS
    assert saved_ms[1] == pytest.approx(0, abs=1)  # one clause is the whole answer


def gain(reports: dict[str, Report], step: str) -> float:
    """By how many milliseconds a step's median is lower than that of the step before."""
    names = list(reports)
    before, after = reports[names[names.index(step) - 1]].percentile(50), reports[step].percentile(50)
    assert before is not None
    assert after is not None
    return (before - after) / MS


@pytest.mark.realtime
@pytest.mark.skipif(
    shutil.which("ffplay") is None and os.environ.get("CI") != "true", reason="ffplay is not installed (Debian: ffmpeg)"
)
def test_the_baseline_as_it_is_is_slower_than_the_optimized_graph_in_real_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
    caller = questions(tmp_path, 2)

    slow, _ = converse(GRAPHS / "baseline.yaml", caller, run=asyncio.run)
    fast, _ = converse(GRAPHS / "optimized.yaml", caller, "speaker.device=null", run=asyncio.run)

    [turn], [other] = slow.turns, fast.turns
    assert turn.answered
    assert turn.heard == other.heard
    assert turn.latency_ns is not None
    assert other.latency_ns is not None
    assert not turn.incomplete
    assert turn.latency_ns > other.latency_ns + 1500 * MS
