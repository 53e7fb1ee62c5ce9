"""Whole graphs on virtual time: real nodes, real protocols, a recorded caller, servers that follow a script."""

from __future__ import annotations

import asyncio
import bisect
import dataclasses
import itertools
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from aiohttp import web

from flowgraph.frame import Frame
from flowgraph.graph import Graph
from flowgraph.report import Report
from flowgraph.session import Session
from flowgraph.testing import run_virtual
from flowgraph.units import MS, SECOND
from flowgraph.wire import Wire, wired_services
from nodes.servers import llm, scripted
from nodes.sound.conversation import Conversation, load_conversation
from nodes.sound.playback import DECAY_S
from nodes.vocabulary import Heard, Played, Prompt, Sentence, SpeechStarted, Utterance, Voice

DEMO = Path("graphs/conversations/demo.yaml")
FINAL = ("dialogue.speculate_on=silence",)
"""An answer is prepared once the final transcript is there."""
SILENT_AFTER_NS = 10 * MS + 5 * MS
"""The device block that is being heard when the turn advances, and the fade-out of 5 ms at the head of the next one."""
NOW = datetime(2026, 11, 23, 8, 59, tzinfo=UTC)
"""The time of day is in the answers, and so in all that follows: it stands still, or no run would be like the other."""
AUDIBLE = 10 ** (-50 / 20)


@dataclasses.dataclass
class Run:
    """What happened in a conversation."""

    session: Session
    report: Report
    frames: list[Frame]
    voice: scripted.Voice

    def __post_init__(self) -> None:
        self._blocks: list[Played] = self.of(Played)

    def of(self, kind: type[Any]) -> list[Any]:
        return [frame for frame in self.frames if isinstance(frame, kind)]

    def played(self, since: int, until: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """What the device played between two times."""
        pieces = []
        blocks = self._blocks
        begin = max(bisect.bisect_right(blocks, since, key=lambda one: one.at) - 1, 0)
        for one in itertools.takewhile(lambda one: one.at < until, itertools.islice(blocks, begin, None)):
            first = max(round((since - one.at) * one.rate_hz / SECOND), 0)
            last = min(round((until - one.at) * one.rate_hz / SECOND), len(one.samples))
            if first < last:
                pieces.append(one.samples[first:last])
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def converse(
    conversation: Conversation | Path = DEMO,
    *settings: str,
    voice: scripted.Voice | None = None,
    stt_s: float = 0.1,
    first_token_ms: float = 200,
    token_ms: float = 10,
    graph: str = "graphs/optimized.yaml",
    during: Callable[[Session], Any] | None = None,
    path: Path = DEMO,
    keep: bool = True,
    model: web.Application | None = None,
    wire: Callable[[dict[str, web.Application]], Wire] = Wire,
) -> Run:
    """`keep`: remember every frame. `model`: instead of the rules at their pace. `wire` makes the network."""
    if isinstance(conversation, Path):
        path = conversation
        conversation = load_conversation(conversation)
    voice = voice or scripted.Voice()
    given = [f"mic.device=caller:{path}", "speaker.device=null", *settings]
    apps = {
        "stt": scripted.stt(scripted.lines_of(conversation), delay_s=stt_s),
        "llm": model or llm.app(first_token_ms=first_token_ms, token_ms=token_ms, now=lambda: NOW),
        "tts": voice.app,
    }
    services = wired_services(apps, wire=wire(apps))
    session = Session(Graph.load(graph, settings=given, environ={}), services=services)
    report = Report(session)
    frames: list[Frame] = []
    if keep:
        session.watch(Frame, frames.append)

    async def main() -> None:
        async with session, asyncio.timeout(10_000):
            watching = asyncio.ensure_future(during(session)) if during is not None else None
            try:
                await session.finished()
            finally:
                report.finish()
                if watching is not None:
                    watching.cancel()

    run_virtual(main(), limit_s=10_000, real_limit_s=1700)
    return Run(session, report, frames, voice)


@pytest.fixture(scope="module")
def demo() -> Run:
    return converse()


def test_the_bundled_conversation_is_answered_to_its_end(demo: Run) -> None:
    assert [turn.said for turn in demo.report.turns] == [turn.truth for turn in demo.report.turns]
    assert all(turn.answered and not turn.cut_off and not turn.error for turn in demo.report.turns)
    assert [turn.interrupted for turn in demo.report.turns] == [False] * 5 + [True] + [False] * 2
    assert demo.report.exit_code == 0


def test_the_phases_of_every_turn_add_up_to_its_latency(demo: Run) -> None:
    for turn in demo.report.turns:
        assert turn.latency_ns is not None
        assert not turn.incomplete
        assert abs(sum(turn.phases.values()) - turn.latency_ns) <= 1_000
        assert all(a.end == b.start for a, b in zip(turn.steps, turn.steps[1:], strict=False))


@pytest.mark.parametrize(("timeout", "takes_s"), [("60s", 58), ("200s", 180)])
def test_so_they_do_where_the_model_takes_as_long_as_it_may(tmp_path: Path, timeout: str, takes_s: int) -> None:
    demo = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    first = demo["utterances"][0]
    first["audio"] = str((DEMO.parent / first["audio"]).absolute())
    path = tmp_path / "patient.yaml"
    path.write_text(yaml.safe_dump({**demo, "patience": "210s", "utterances": [first]}), encoding="utf-8")

    [turn] = converse(path, f"llm.first_token_timeout={timeout}", first_token_ms=takes_s * 1000).report.turns

    assert turn.latency_ns is not None
    assert turn.phases["LLM"] == pytest.approx(takes_s * SECOND, abs=SECOND)
    assert abs(sum(turn.phases.values()) - turn.latency_ns) <= 1_000


def test_so_they_do_where_it_thinks_for_minutes_and_says_so(tmp_path: Path) -> None:
    """A thought a second: nothing to be heard, and yet nothing is stuck."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(200 if (await request.json())["max_tokens"] != 1 else 0):
            await response.write(b'data: {"choices": [{"delta": {"reasoning": "hm"}}]}\n\n')
            await asyncio.sleep(1)
        await response.write(b'data: {"choices": [{"delta": {"content": "Good morning, David."}}]}\n\ndata: [DONE]\n\n')
        return response

    model = web.Application()
    model.router.add_post("/v1/chat/completions", answer)
    demo = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    first = demo["utterances"][0]
    first["audio"] = str((DEMO.parent / first["audio"]).absolute())
    path = tmp_path / "patient.yaml"
    path.write_text(yaml.safe_dump({**demo, "patience": "230s", "utterances": [first]}), encoding="utf-8")

    [turn] = converse(path, model=model).report.turns

    assert turn.heard == "Good morning, David."
    assert turn.latency_ns is not None
    assert turn.phases["LLM"] == pytest.approx(200 * SECOND, abs=SECOND)
    assert abs(sum(turn.phases.values()) - turn.latency_ns) <= 1_000


def test_a_hesitation_withdraws_the_attempt_and_nothing_of_it_is_heard(demo: Run) -> None:
    turn = demo.report.turns[2]

    assert turn.withdrawn >= 1
    assert turn.said == "Could you please tell me what is nine times seven?"
    assert turn.heard == "Nine times seven is sixty three."


def steady(share: str) -> list[str]:
    return [*FINAL, "dialogue.end=fixed", "dialogue.end_silence=400ms", f"dialogue.speculate_after={share}"]


def test_with_speculation_the_latency_is_the_later_of_commit_and_answer_without_it_the_sum() -> None:
    """STT 100 ms, first token 200 ms, first byte 150 ms: prepared from 96 ms of silence on, or only from 400 ms on."""
    eager, patient = converse(DEMO, *steady("96ms")), converse(DEMO, *steady("off"))
    saved = []
    for a, b in zip(patient.report.turns, eager.report.turns, strict=True):
        if "?" not in a.truth or a.withdrawn or b.withdrawn:
            continue
        assert a.latency_ns is not None
        assert b.latency_ns is not None
        assert b.phases.get("STT", 0) == pytest.approx(100 * MS, abs=12 * MS)
        saved.append((a.latency_ns - b.latency_ns) / MS)

    # The transcript is there long before the turn is over: 400 − 96 − 100 ms, give or take the windows of 32 ms.
    assert saved
    assert all(abs(ms - 204) <= 32 for ms in saved), saved


@pytest.mark.parametrize("commit_ms", [200, 400, 800])
def test_voice_to_voice_is_the_later_of_commit_and_answer_plus_playout(commit_ms: int) -> None:
    """STT 100 ms, first token 200 ms, first byte 150 ms: 450 ms behind the candidate, and the tokens of the first clause."""
    run = converse(
        DEMO, *FINAL, "dialogue.end=fixed", f"dialogue.end_silence={commit_ms}ms", "dialogue.speculate_after=96ms"
    )
    records, trace = run.session.trace.records, run.session.trace
    prompts = {prompt.turn: prompt for prompt in run.of(Prompt)}
    silences = {voice.id: voice for voice in run.of(Voice)}
    checked = 0
    for turn in run.report.turns:
        heard = next((h for h in run.of(Heard) if h.first_audible_at == turn.audible_at), None)
        if heard is None or turn.latency_ns is None or turn.withdrawn or turn.cut_off:
            continue
        prompt = prompts[heard.turn]
        first = next(one for one in run.of(Sentence) if one.turn == heard.turn)
        tokens_ns = records[first.id].made_at - records[prompt.id].made_at - 200 * MS
        ready_at = records[prompt.id].made_at + 200 * MS + tokens_ns + 150 * MS
        playout_ns = turn.audible_at - max(ready_at, trace.commits[heard.turn][0])
        assert 0 <= playout_ns <= 15 * MS  # the device's block, and the silence before the voice
        # From the silence that asked: the microphone's frame of 20 ms comes on top of the 100 ms of the recogniser, and nothing else.
        silence = silences[records[records[prompt.id].cause].cause]
        assert silence.silence_ms >= 96
        assert 0 <= records[prompt.id].made_at - silence.at - 100 * MS <= 25 * MS
        checked += 1
    assert checked >= 5


def test_with_partial_transcripts_the_final_one_is_not_waited_for() -> None:
    """It comes 100 ms behind the candidate, and says the same: the attempt that was begun before is kept."""
    final, partial = (
        converse(DEMO, "dialogue.end=fixed", "dialogue.end_silence=200ms", f"dialogue.speculate_on={on}").report.turns
        for on in ("silence", "partial")
    )
    pairs = [
        (a.latency_ns, b.latency_ns)
        for a, b in zip(final, partial, strict=True)
        if "?" in a.truth and not (a.withdrawn or b.withdrawn) and a.latency_ns and b.latency_ns
    ]

    assert pairs
    assert all(0 < a - b <= 132 * MS for a, b in pairs)


def test_the_requests_of_a_withdrawn_attempt_are_closed_at_once() -> None:
    """Within 10 ms of the withdrawal the server has seen its client go; nothing of it was heard."""
    run = converse(DEMO, "dialogue.end_silence=1000ms", "dialogue.speculate_after=96ms", first_token_ms=2000)
    advances = {attempt: at for at, attempt, _ in run.session.trace.advances}
    heard = {one.turn for one in run.of(Heard) if one.first_audible_at}
    withdrawn = [prompt.turn for prompt in run.of(Prompt) if prompt.turn not in heard and prompt.turn + 1 in advances]
    closed = [at for at, service, event, _, _ in run.session.trace.wires if service == "llm" and event == "closed"]

    assert withdrawn
    for attempt in withdrawn:
        assert any(0 <= at - advances[attempt + 1] <= 10 * MS for at in closed), attempt


def test_at_speech_onset_connections_are_made_again_that_their_servers_have_closed(tmp_path: Path) -> None:
    """So the question that follows pays for no handshake, though one takes 300 ms here."""
    date = (DEMO.parent / "demo" / "5-date.wav").resolve()
    line = f"  - {{audio: {date}, text: Please tell me the date of today., speech: [1600, 25661], pause: 10s}}\n"
    caller = tmp_path / "caller.yaml"
    caller.write_text(f"name: caller\nnoise_floor_dbfs: -60\nutterances:\n{line * 2}")
    network: list[Wire] = []
    broken_at: list[int] = []

    def wire(apps: dict[str, web.Application]) -> Wire:
        network.append(Wire(apps, handshake_s=0.3))
        return network[0]

    async def breaking(session: Session) -> None:
        while not any(frame.final for frame in heard):
            await asyncio.sleep(0.1)
        await asyncio.sleep(5)
        broken_at.append(session.clock.now())
        assert all(network[0].cut(service) for service in ("llm", "tts"))

    heard: list[Heard] = []

    def during(session: Session) -> Any:
        session.watch(Heard, heard.append)
        return breaking(session)

    run = converse(caller, wire=wire, during=during)

    made = {frame_id: record.made_at for frame_id, record in run.session.trace.records.items()}
    [onset_at] = [made[frame.id] for frame in run.of(SpeechStarted)][1:]
    asked_at = made[next(frame.id for frame in run.of(Prompt) if made[frame.id] > onset_at)]
    for service in ("llm", "tts"):
        later = [
            (at, event) for at, name, event, _, _ in run.session.trace.wires if name == service and at > broken_at[0]
        ]
        assert later[0] == (onset_at, "warm_start")
        assert next(event for at, event in later if at >= asked_at) == "reused"


def test_the_parts_add_up_where_connections_are_made_at_once() -> None:
    """Two sentences that come together are asked for together; here every question finds that no connection is left."""
    network: list[Wire] = []

    def wire(apps: dict[str, web.Application]) -> Wire:
        network.append(Wire(apps, handshake_s=0.3))
        return network[0]

    async def cutting(session: Session) -> None:
        session.watch(Prompt, lambda _: network[0].cut("tts") and None)

    run = converse(DEMO, "tts.warm=off", wire=wire, token_ms=0, during=cutting)
    waits: dict[int, list[int]] = {}
    sentences = {frame.id for frame in run.of(Sentence)}
    for at, service, event, request, made_for in run.session.trace.wires:
        if service == "tts" and event.startswith("connect"):
            waits.setdefault(request, []).append(at)
            assert made_for in sentences
    spans = sorted(tuple(span) for span in waits.values())
    timed = [turn for turn in run.report.turns if turn.latency_ns is not None]

    assert any(start < end for (_, end), (start, _) in itertools.pairwise(spans)), "two at once"
    assert len(timed) >= 6
    for turn in timed:
        assert not turn.incomplete
        assert abs(sum(turn.phases.values()) - turn.latency_ns) <= 1_000
    assert any(turn.phases.get("network", 0) > 100 * MS for turn in timed)


# -- interruptions -----------------------------------------------------------------------------------------------------


def interruptions(folder: Path, moments_ms: list[int]) -> Path:
    """A caller who asks for the longest story again and again, each time in the middle of the last one, and at last for something short."""
    story, date = ((DEMO.parent / "demo" / f"{name}.wav").resolve() for name in ("6-story", "5-date"))
    first = f"  - {{audio: {story}, text: Tell me your longest story., speech: [1600, 27864], pause: 500ms}}\n"
    others = "".join(
        f"  - {{audio: {story}, text: Tell me your longest story., speech: [1600, 27864], barge_in: {ms}ms}}\n"
        for ms in moments_ms[:-1]
    )
    last = f"  - {{audio: {date}, text: Please tell me the date of today., speech: [1600, 25661], barge_in: {moments_ms[-1]}ms}}\n"
    path = folder / "interruptions.yaml"
    path.write_text(f"name: interruptions\nnoise_floor_dbfs: -60\nutterances:\n{first}{others}{last}")
    return path


def requests_of(run: Run, attempt: int) -> list[scripted.Spoken]:
    """What the voice was asked to say for an attempt, in the order of its sentences."""
    begins = {number: at for at, number, _ in run.session.trace.advances}
    until = begins.get(attempt + 1, run.frames[-1].at)
    asked = [one for one in run.voice.spoken if begins[attempt] < one.at <= until]
    found = []
    for sentence in run.of(Sentence):
        same = (one for one in asked if one.text.strip() == sentence.text.strip())
        if sentence.turn == attempt and (spoken := next(same, None)) is not None:
            asked.remove(spoken)
            found.append(spoken)
    return found


def spoken_in(sound: np.ndarray[Any, np.dtype[np.float32]]) -> int:
    """How many of the voice's samples were played. All that it says, and all pauses, last whole milliseconds: one sounds or it doesn't.

    The soft end where sound breaks off is no sound of the voice's: each of its samples is the same share of the one before.
    """
    windows = sound[: len(sound) // 24 * 24].reshape(-1, 24)
    sounds = np.abs(windows).max(axis=1) > 1e-6
    share = np.exp(-1 / (24_000 * DECAY_S))
    decays = np.isclose(windows[:, 1:], windows[:, :-1] * share, rtol=1e-3, atol=0).all(axis=1)
    return int((sounds & ~decays).sum()) * 24


@pytest.mark.timeout(120)
@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_after_a_barge_in_nothing_stale_is_heard_the_next_answer_comes_and_the_history_holds_what_was_heard(
    tmp_path: Path, seed: int, words: bool
) -> None:
    rng = random.Random(seed * 2 + words)
    path = interruptions(tmp_path, [rng.randrange(20, 3500) for _ in range(10)])
    run = converse(path, f"tts.words={str(words).lower()}", voice=scripted.Voice(seed=seed, words=words))

    assert len(run.report.turns) == 11
    assert all(turn.answered for turn in run.report.turns)
    finals = [heard for heard in run.of(Heard) if heard.final and heard.first_audible_at]
    assert sum(heard.cut for heard in finals) >= 10
    advances = {attempt: at for at, attempt, _ in run.session.trace.advances}
    begins = sorted(heard.first_audible_at for heard in finals)
    for heard in finals:
        if not heard.cut:
            continue
        # No stale sample: silence from the end of the device's block after the advance to the next answer's first sound.
        advanced = advances[heard.turn + 1]
        next_sound = min((at for at in begins if at > heard.first_audible_at), default=run.frames[-1].at)
        after = run.played(advanced + SILENT_AFTER_NS, next_sound - 10 * MS)
        assert not len(after) or np.abs(after).max() < AUDIBLE
        # The history: the words of which half was played, by the voice's own spans, which the graph never saw.
        sound = run.played(heard.first_audible_at, advanced + SILENT_AFTER_NS)
        oracle = scripted.words_heard(requests_of(run, heard.turn), spoken_in(sound))
        told = heard.text.split()
        off = 0 if words else 1  # exact where the voice tells its words' times
        assert abs(len(told) - len(oracle)) <= off, (told, oracle)
        assert told[: len(oracle)] == oracle[: len(told)]


def test_the_history_of_an_interrupted_answer_is_what_the_next_prompt_carries(tmp_path: Path) -> None:
    run = converse(interruptions(tmp_path, [1500, 700]))

    heard = {frame.turn: frame.text for frame in run.of(Heard) if frame.final}
    prompts = run.of(Prompt)
    answered = [turn for turn in heard if heard[turn]]
    for turn, following in itertools.pairwise(answered):
        messages = next(prompt.messages for prompt in prompts if prompt.turn == following)
        assert ("assistant", heard[turn]) in messages


def test_the_recorded_callers_words_are_the_ground_truth(demo: Run) -> None:
    utterances = demo.of(Utterance)

    assert [one.index for one in utterances] == list(range(8))
    for turn, one in zip(demo.report.turns, utterances, strict=True):
        assert turn.speech_end_at == one.end_at
        assert turn.annotated
