from __future__ import annotations

import asyncio
import dataclasses
import itertools
import random
import sys
import wave
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowgraph import session as session_module
from flowgraph.channel import Channel
from flowgraph.compare import Comparison, Difference, RunResult
from flowgraph.frame import End, Frame
from flowgraph.graph import Graph
from flowgraph.testing import run_virtual
from flowgraph.trials import WARM_UP, Circumstances, NothingAnswered, Trial, run_trial, run_trials, schedule
from nodes.sentence_split import SentenceSplit
from nodes.servers import scripted
from nodes.sound.levels import first_audible
from nodes.vocabulary import Pace, Prompt, Sentence, Speech, Token
from tests.sharp import SHARP, Sharp, Tone, caller_known_to_the_sample
from tests.trial_runs import OPTIMIZED, graph_for, servers, short_call, virtual_trial

PLANTED_MS = 100
CLOSE_MS = 10
NOT_AHEAD = "dialogue.speculate_after=off"


def test_repeats_alternate_and_a_run_to_warm_up_comes_first() -> None:
    graph: Any = object()
    trials = schedule([("a", graph), ("b", graph), ("c", graph)], 3)

    assert [(trial.label, trial.repeat) for trial in trials] == [
        ("c", WARM_UP), *[(name, 0) for name in "abc"], *[(name, 1) for name in "cba"], *[(name, 2) for name in "abc"],
    ]  # fmt: skip
    assert [trial.counts for trial in trials] == [False] + [True] * 9


# -- a planted delay is found ---------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Made:
    """How a run is made; what a plant changes."""

    settings: tuple[str, ...] = (NOT_AHEAD,)
    text: str = OPTIMIZED
    stt_s: float = 0.1
    token_ms: float = 200
    voice: Callable[[], scripted.Voice] = scripted.Voice
    handshake_s: float = 0.0
    late_edge: str = ""


class LateSplit(SentenceSplit):
    """Takes 100 ms for the first clause."""

    async def process(self, frame: Token | Pace | End) -> AsyncIterator[Sentence | End]:  # type: ignore[override]
        sentences = list(super().process(frame))
        if any(isinstance(one, Sentence) for one in sentences):
            await asyncio.sleep(PLANTED_MS / 1000)
        for one in sentences:
            yield one


@dataclasses.dataclass
class BreathFirst(scripted.Voice):
    """Says nothing for the first 100 ms of each sound."""

    async def _asked(self, request: Any) -> tuple[scripted.Spoken, list[bytes]]:
        spoken, [first, *rest] = await super()._asked(request)
        return spoken, [bytes(2 * scripted.RATE_HZ * PLANTED_MS // 1000) + first, *rest]


class LateChannel(Channel):
    """Gives each frame out 100 ms after its put, or after its commit."""

    def put(self, frame: Frame) -> bool:
        settled = super().put(frame)
        if settled:
            put_at[self.index, frame.id] = asyncio.get_running_loop().time()
        return settled

    def put_at_once(self, frame: Frame) -> None:
        put_at[self.index, frame.id] = asyncio.get_running_loop().time()
        super().put_at_once(frame)

    def _release(self) -> None:
        released_at[self.index] = asyncio.get_running_loop().time()
        super()._release()

    def head(self) -> int:
        order = super().head()
        if not order:
            return 0
        frame = self._queue[0][1]
        loop = asyncio.get_running_loop()
        since = max(put_at[self.index, frame.id], released_at.get(self.index, 0.0) if frame.is_plan else 0.0)
        wait = since + PLANTED_MS / 1000 - loop.time()
        if wait <= 1e-9:
            return order
        loop.call_later(wait, self._inbox.wake)
        return 0


put_at: dict[tuple[int, int], float] = {}
released_at: dict[int, float] = {}


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One question: a second one would begin elsewhere on the VAD's grid of 32 ms after a delay in the first."""
    return short_call(tmp_path_factory.mktemp("calls"), 2)


@pytest.fixture(scope="module")
def unplanted() -> dict[Made, RunResult]:
    return {}


def made(how: Made, call: Path, label: str) -> RunResult:
    put_at.clear()
    released_at.clear()

    def channel(index: int, edge: Any, *args: Any, **options: Any) -> Channel:
        kind = LateChannel if edge.label == how.late_edge else Channel
        return kind(index, edge, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_module, "Channel", channel)
        graph = graph_for(call, *how.settings, text=how.text, types={"late_split": LateSplit})
        applications = servers(call, stt_s=how.stt_s, token_ms=how.token_ms, voice=how.voice())
        return virtual_trial(graph, applications, label=label, handshake_s=how.handshake_s)


STT_IS_LATE = Made(stt_s=0.4)
"""The transcript comes after the silence that ends the turn: what the STT takes is on the path."""
NEW_CONNECTIONS = Made(text=OPTIMIZED + "nodes: {llm: {type: llm_request}}\n")
FIXED = ("dialogue.end=fixed", "dialogue.end_silence=400ms")
"""A turn ends after so long a silence, whatever was said."""
FINE = Made(settings=(NOT_AHEAD, "mic.block_ms=10", *FIXED))
ROUGH = Made(settings=(NOT_AHEAD, "tts.trim=off"))
AHEAD = Made(
    settings=("dialogue.speculate_after=96ms", *FIXED), token_ms=50, voice=lambda: scripted.Voice(first_byte_s=0.05)
)

PLANTS = [
    # Three windows of the VAD are 96 ms, and blocks of 10 ms bring them in time.
    pytest.param(
        "end of speech", FINE, {"settings": (*FINE.settings, "dialogue.end_silence=496ms")}, id="end of speech"
    ),
    pytest.param("network", NEW_CONNECTIONS, {"handshake_s": 0.1}, id="network"),
    pytest.param("STT", STT_IS_LATE, {"stt_s": 0.5}, id="STT"),
    pytest.param("LLM", Made(), {"token_ms": 300}, id="LLM"),
    pytest.param("clause", Made(), {"text": OPTIMIZED + "nodes: {split: {type: late_split}}\n"}, id="clause"),
    pytest.param("TTS", Made(), {"voice": lambda: scripted.Voice(first_byte_s=0.25)}, id="TTS"),
    pytest.param("playout", ROUGH, {"voice": BreathFirst}, id="playout"),
    pytest.param("holding", AHEAD, {"late_edge": "tts -> speaker"}, id="holding"),
]
EDGES = [
    ("mic -> vad", Made()), ("vad -> dialogue", Made()), ("dialogue -> llm", Made()), ("llm -> split", Made()),
    ("split -> tts", Made()), ("tts -> speaker", Made()), ("vad -> stt", STT_IS_LATE), ("stt -> dialogue", STT_IS_LATE),
]  # fmt: skip
PLANTS += [pytest.param("waiting", base, {"late_edge": edge}, id=edge) for edge, base in EDGES]


@pytest.mark.parametrize(("phase", "base", "plant"), PLANTS)
def test_a_planted_delay_is_found_in_its_phase(
    phase: str, base: Made, plant: dict[str, Any], call: Path, unplanted: dict[Made, RunResult]
) -> None:
    if base not in unplanted:
        unplanted[base] = made(base, call, "before")
    both = Comparison([unplanted[base], made(dataclasses.replace(base, **plant), call, "after")])

    lost = {one.name: -one.saved for one in both.blame("before", "after")}
    difference = both.difference("before", "after")

    assert difference is not None
    assert difference.pairs == 1
    assert -difference.mean == pytest.approx(PLANTED_MS, abs=CLOSE_MS)
    assert sum(lost.values()) == pytest.approx(-difference.mean, abs=1e-6)
    assert lost.pop(phase) == pytest.approx(PLANTED_MS, abs=CLOSE_MS)
    assert all(abs(other) <= CLOSE_MS for other in lost.values())
    if "late_edge" in plant:
        worst = both.blame_steps("before", "after")[0]
        assert worst.name == f"{phase} {plant['late_edge']}"
        assert -worst.saved == pytest.approx(PLANTED_MS, abs=CLOSE_MS)


def test_the_phases_and_the_pieces_of_every_turn_add_up_to_its_latency(call: Path) -> None:
    run = made(Made(), short_call(call.parent, 2, 4), "a")

    assert [turn.utterance for turn in run.turns] == [0, 1]
    for turn in run.turns:
        assert turn.latency_ms is not None
        assert sum(turn.phases.values()) == pytest.approx(turn.latency_ms, abs=0.01)
        assert sum(piece.end_ms - piece.start_ms for piece in turn.pieces) == pytest.approx(turn.latency_ms, abs=0.01)
        assert (turn.pieces[0].start_ms, turn.pieces[-1].end_ms) == (0.0, pytest.approx(turn.latency_ms))


def test_the_same_graph_twice_differs_by_nothing(call: Path) -> None:
    both = Comparison([made(Made(), call, "one"), made(Made(), call, "other")])

    found = both.difference("one", "other")

    assert found is not None
    assert found.contains_zero
    assert abs(found.median) < 1


class NoisyTone(Tone):
    """Speaks after a while that differs from time to time."""

    seed: int = 0

    async def open(self) -> None:
        self._random = random.Random(self.seed)

    async def process(self, frame: Prompt) -> AsyncIterator[Speech | End]:  # type: ignore[override]
        await asyncio.sleep(self._random.gauss(0.15, 0.025))
        for one in super().process(frame):
            yield one


def test_a_noisy_graph_against_itself_differs_by_nothing_in_nine_of_ten_tries_and_a_slower_one_does_not(
    tmp_path: Path,
) -> None:
    """Sessions on virtual time: four utterances, three repeats, and noise of 25 ms that no two runs share."""
    call = caller_known_to_the_sample(tmp_path, times=4)
    seeds = itertools.count(1)

    def once(label: str, repeat: int, after_ms: int = 300) -> RunResult:
        settings = [f"mic.device=caller:{call}", f"dialogue.after_ms={after_ms}", f"tts.seed={next(seeds)}"]
        graph = Graph.from_text(SHARP, settings=settings, types={"sharp": Sharp, "tone": NoisyTone})
        return run_virtual(run_trial(Trial(label, graph, repeat), Circumstances()))

    def tried(after_ms: int = 300) -> Difference:
        runs = [once(*one) for repeat in range(3) for one in (("a", repeat), ("b", repeat, after_ms))]
        found = Comparison(runs).difference("a", "b")
        assert found is not None
        assert found.pairs == 12
        assert found.low < found.high, "there is noise"
        return found

    assert sum(tried().contains_zero for _ in range(10)) >= 9
    slower = tried(after_ms=400)
    assert slower.high < 0
    assert slower.median == pytest.approx(-100, abs=30)


# -- what a run costs --------------------------------------------------------------------------------------------------------


class Spawning(Tone):
    """Has a program of its own work for it."""

    async def process(self, frame: Prompt) -> AsyncIterator[Speech | End]:  # type: ignore[override]
        busy = "import time\nwhile time.process_time() < 0.3: pass"
        program = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", busy)
        await program.wait()
        for one in super().process(frame):
            yield one


@pytest.mark.realtime
def test_the_processor_time_of_what_a_run_starts_is_its_own_figure(tmp_path: Path) -> None:
    settings = [f"mic.device=caller:{caller_known_to_the_sample(tmp_path, times=1)}"]
    graph = Graph.from_text(SHARP, settings=settings, types={"sharp": Sharp, "tone": Spawning})

    run = asyncio.run(run_trial(Trial("sharp", graph, 0), Circumstances()))
    summary = Comparison([run]).summary("sharp")

    assert 0.25 <= run.children_s < 1.0
    assert run.cpu_s < run.seconds
    assert (summary.children_s, summary.cpu_s) == (run.children_s, run.cpu_s)


@pytest.mark.realtime
def test_a_warm_up_without_any_answer_ends_the_comparison(tmp_path: Path) -> None:
    class Mute(Tone):
        def process(self, frame: Prompt) -> Iterator[Speech | End]:
            yield End(reason="error", detail="no voice")

    settings = [f"mic.device=caller:{caller_known_to_the_sample(tmp_path, times=1)}"]
    (tmp_path / "known.yaml").write_text((tmp_path / "known.yaml").read_text() + "patience: 100ms\n", encoding="utf-8")
    graph = Graph.from_text(SHARP, settings=settings, types={"sharp": Sharp, "tone": Mute})

    with pytest.raises(NothingAnswered, match=r"nothing was answered \(error: no voice\)"):
        list(run_trials(schedule([("a", graph), ("b", graph)], 1), Circumstances()))


# -- ground truth -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after_ms", [100, 350, 1200])
def test_voice_to_voice_is_the_planted_one_within_a_millisecond_and_the_recording_says_so_too(
    after_ms: int, tmp_path: Path
) -> None:
    settings = [f"mic.device=caller:{caller_known_to_the_sample(tmp_path)}", f"dialogue.after_ms={after_ms}"]
    graph = Graph.from_text(SHARP, settings=settings, types={"sharp": Sharp, "tone": Tone})

    run = run_virtual(run_trial(Trial("sharp", graph, 0), Circumstances(folder=tmp_path)))

    first = run.turns[0]
    assert len(run.turns) == 2
    assert first.latency_ms == pytest.approx(after_ms, abs=1)
    with wave.open(run.recording) as file:
        rate_hz = file.getframerate()
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2).astype(np.float32) / 32768
    begin = round((first.speech_end_s - 1) * rate_hz)
    clip = sound[max(begin, 0) : begin + 3 * rate_hz]
    last_voiced = int(np.flatnonzero(np.abs(clip[: rate_hz * 11 // 10, 0]) > 0.1)[-1])
    audible = first_audible(clip[:, 1], rate_hz)
    assert audible is not None
    assert (audible - last_voiced) * 1000 / rate_hz == pytest.approx(after_ms, abs=10)  # its windows are 10 ms
    assert last_voiced / rate_hz == pytest.approx(min(1, first.speech_end_s), abs=0.001)
