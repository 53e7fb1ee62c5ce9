"""When it asks the model, what the model hears, and what is told of it. The model says how loud a clip is (tests/smart_turn.py)."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import graphs
from flowgraph.errors import FlowError, NodeFailed
from flowgraph.frame import Frame
from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import graph_of, run_node, run_virtual
from flowgraph.units import MS, SECOND
from nodes.smart_turn import SmartTurn
from nodes.sound.conversation import load_conversation
from nodes.sound.mel import LogMel
from nodes.sound.turn_model import TurnModel
from nodes.vad import Vad
from nodes.vocabulary import Audio, EndOfTurn, SpeechStarted, Voice
from tests.smart_turn import real_model, save_tiny

if TYPE_CHECKING:
    import numpy.typing as npt

    from nodes.sound.mel import Clip

    Samples = npt.NDArray[np.float32]

START = 5 * SECOND
BLOCK_NS, WINDOW_NS = 20 * MS, 32 * MS
SOME_STEPS = [0.0] * 20
"""Pauses of no time at all: the loop goes round."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny(tmp_path_factory.mktemp("model") / "tiny.onnx"))


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Takes some hundred milliseconds."""
    return str(save_tiny(tmp_path_factory.mktemp("model") / "slow.onnx", rounds=25))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the model was run."""
    begun: list[float] = []
    score = TurnModel.score

    def noted(self: TurnModel, clip: Clip) -> float:
        begun.append(time.monotonic())
        return score(self, clip)

    monkeypatch.setattr(TurnModel, "score", noted)
    return begun


def tone(ns: int, *, level: float = 0.3) -> Samples:
    samples = np.arange(ns * 16_000 // SECOND)
    return (level * np.sin(samples * 2 * np.pi * 440 / 16_000)).astype(np.float32)


def conversation(*parts: tuple[str, int], start: int = START) -> list[Frame]:
    """("speech" or "silence", how long) one after the other, as a microphone and a VAD tell of it, in the order of time.

    Onsets are known 64 ms late; silence counts from its second window on.
    """
    sound: list[Samples] = []
    frames: list[tuple[int, int, Frame]] = []
    at = voiced = start
    spoken: list[tuple[int, int]] = []
    for kind, length in parts:
        sound.append(tone(length) if kind == "speech" else np.zeros(length * 16_000 // SECOND, np.float32))
        if kind == "speech":
            spoken.append((at, at + length))
            frames.append((at + 2 * WINDOW_NS, 1, SpeechStarted(at=at)))
        at += length
    samples = np.concatenate(sound)
    for begin in range(0, len(samples), 320):
        frame = Audio(samples[begin : begin + 320], 16_000, at=start + begin * SECOND // 16_000)
        frames.append((frame.end_at, 0, frame))
    for end in range(start + WINDOW_NS, at + 1, WINDOW_NS):
        speaking = any(first + 2 * WINDOW_NS <= end < last + WINDOW_NS for first, last in spoken)
        voiced = max([start, *(last for _, last in spoken if last <= end)])
        silence_ms = 0 if speaking else (end - voiced) // MS
        frames.append((end, 2, Voice(0.9 if speaking else 0.1, silence_ms, speaking, at=end)))
    return [frame for _, _, frame in sorted(frames, key=lambda one: one[:2])]


def paced(frames: Sequence[Frame]) -> list[Frame | float]:
    """With time between the blocks: what is asked is answered before the next one comes."""
    return [item for frame in frames for item in ((0.02, frame) if isinstance(frame, Audio) else (frame,))]


def told(node: SmartTurn, frames: Sequence[Frame | float]) -> list[EndOfTurn]:
    outputs = run_node(node, frames)
    assert all(isinstance(output, EndOfTurn) for output in outputs)
    return [output for output in outputs if isinstance(output, EndOfTurn)]


def expected(model: str, samples: Samples) -> float:
    mel = LogMel()
    mel.add(samples)
    return TurnModel(Path(model)).score(mel.clip())


# -- when --------------------------------------------------------------------------------------------------------------


def test_a_probability_is_told_at_every_100_ms_of_silence_up_to_a_second(tiny: str) -> None:
    frames = conversation(("speech", SECOND), ("silence", 2 * SECOND))

    scores = told(SmartTurn(model=tiny), paced(frames))

    assert [score.silence_ms // 100 for score in scores] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert all(score.silence_ms % 100 < 32 for score in scores)
    assert all(0 < score.probability < 1 for score in scores)


def test_a_score_names_the_window_that_asked_and_its_time(tiny: str) -> None:
    frames = conversation(("speech", SECOND), ("silence", 500 * MS))

    scores = told(SmartTurn(model=tiny), paced(frames))

    asked = {frame.id: frame for frame in frames if isinstance(frame, Voice)}
    for score in scores:
        voice = asked[score.cause_id]
        assert (score.at, score.silence_ms) == (voice.at, voice.silence_ms)


@pytest.mark.parametrize(
    ("options", "silences"),
    [
        ({"first": "0ms", "until": "0ms"}, [56]),
        ({"first": "0ms", "every": "50ms", "until": "150ms"}, [56, 120, 152]),
        ({"first": "200ms", "every": "300ms", "until": "900ms"}, [216, 504, 824]),
        ({"first": "100ms", "every": "10ms", "until": "180ms"}, [120, 152, 184]),
    ],
)
def test_first_every_and_until_say_when(tiny: str, options: dict[str, str], silences: list[int]) -> None:
    frames = conversation(("speech", SECOND), ("silence", 2 * SECOND))

    assert [score.silence_ms for score in told(SmartTurn(model=tiny, **options), paced(frames))] == silences


def test_a_silence_that_begins_late_is_asked_about_once_and_then_at_the_next_step(tiny: str) -> None:
    """A VAD with a long `min_silence` counts on from there."""
    frames = [
        frame
        for frame in conversation(("speech", SECOND), ("silence", SECOND))
        if not (isinstance(frame, Voice) and 0 < frame.silence_ms < 420)
    ]

    scores = told(SmartTurn(model=tiny), paced(frames))

    assert [score.silence_ms // 100 for score in scores] == [4, 5, 6, 7, 8, 9]


def test_silence_before_anybody_spoke_is_not_asked_about(tiny: str) -> None:
    assert told(SmartTurn(model=tiny), paced(conversation(("silence", 3 * SECOND)))) == []


def test_each_silence_is_asked_about_from_its_start(tiny: str) -> None:
    frames = conversation(
        ("speech", 500 * MS), ("silence", 350 * MS), ("speech", 500 * MS), ("silence", 1500 * MS), ("speech", 500 * MS),
        ("silence", 250 * MS),
    )  # fmt: skip

    scores = told(SmartTurn(model=tiny), paced(frames))

    assert [score.silence_ms // 100 for score in scores] == [1, 2, 3, *range(1, 11), 1, 2]


def test_a_score_after_the_end_of_the_sound_is_told_too(tiny: str) -> None:
    frames = conversation(("speech", SECOND), ("silence", 130 * MS))

    assert len(told(SmartTurn(model=tiny), frames)) == 1


def test_an_until_below_first_is_a_problem_before_anything_starts() -> None:
    assert "no score" in next(SmartTurn(first="500ms", until="400ms").problems())
    assert list(SmartTurn().problems()) == []


# -- what the model hears ----------------------------------------------------------------------------------------------


def test_the_model_hears_the_sound_up_to_the_checkpoint(tiny: str) -> None:
    frames = conversation(("speech", SECOND), ("silence", 300 * MS))
    whole = np.concatenate([frame.samples for frame in frames if isinstance(frame, Audio)])

    for score in told(SmartTurn(model=tiny), paced(frames)):
        heard = (score.at - START) // BLOCK_NS * 320  # blocks that are whole by then
        assert score.probability == pytest.approx(expected(tiny, whole[:heard]), abs=1e-6)


def test_the_size_of_the_blocks_makes_no_difference_but_for_a_hop(tiny: str) -> None:
    frames = conversation(("speech", SECOND), ("silence", SECOND))
    whole = np.concatenate([frame.samples for frame in frames if isinstance(frame, Audio)])
    small = [Audio(whole[i : i + 160], 16_000, at=START + i * 62_500) for i in range(0, len(whole), 160)]
    others = [frame for frame in frames if not isinstance(frame, Audio)]
    mixed = sorted([*small, *others], key=lambda f: f.end_at if isinstance(f, Audio) else f.at + MS)

    usual = told(SmartTurn(model=tiny), paced(frames))
    fine = told(SmartTurn(model=tiny), paced(mixed))

    assert [score.at for score in fine] == [score.at for score in usual]
    assert [s.probability for s in fine] == pytest.approx([s.probability for s in usual], abs=0.002)


def test_after_a_long_silence_the_turn_before_is_forgotten(tiny: str) -> None:
    turn = (("speech", SECOND), ("silence", 300 * MS))
    alone = told(SmartTurn(model=tiny), paced(conversation(("silence", 528 * MS), *turn)))

    def again(silence: int, **options: Any) -> list[EndOfTurn]:
        frames = conversation(("speech", 2 * SECOND), ("silence", silence), *turn)
        return told(SmartTurn(model=tiny, until="299ms", **options), paced(frames))[-2:]

    # The model hears 500 ms before the onset: where those are silence, it hears the same as if nothing had been before.
    second = again(3008 * MS)
    assert [s.silence_ms for s in second] == [s.silence_ms for s in alone[:2]]
    assert [s.probability for s in second] == pytest.approx([s.probability for s in alone[:2]], abs=0.002)
    for within in (again(1504 * MS), again(3008 * MS, forget="5s")):
        assert abs(within[0].probability - alone[0].probability) > 0.02


def test_of_a_new_turn_the_model_hears_500_ms_before_its_onset_and_no_more(tiny: str) -> None:
    frames = [
        Audio(frame.samples + tone(frame.duration_ns, level=0.001), 16_000, at=frame.at)
        if isinstance(frame, Audio)
        else frame
        for frame in conversation(
            ("speech", SECOND), ("silence", 3 * SECOND), ("speech", SECOND), ("silence", 300 * MS)
        )
    ]
    whole = np.concatenate([frame.samples for frame in frames if isinstance(frame, Audio)])

    score = told(SmartTurn(model=tiny), paced(frames))[-1]

    onset, heard = 4 * 16_000, (score.at - START) // BLOCK_NS * 320
    assert score.probability == pytest.approx(expected(tiny, whole[onset - 8_000 : heard]), abs=1e-6)


def test_sound_that_is_missing_is_silence_as_long_as_it_was(tiny: str) -> None:
    frames = conversation(("speech", 2 * SECOND), ("silence", 400 * MS))
    missing = range(START + 500 * MS, START + 1000 * MS)

    lossy = [frame for frame in frames if not (isinstance(frame, Audio) and frame.at in missing)]
    silent = [
        Audio(frame.samples * 0, 16_000, at=frame.at) if isinstance(frame, Audio) and frame.at in missing else frame
        for frame in frames
    ]

    usual, gap = told(SmartTurn(model=tiny), paced(silent)), told(SmartTurn(model=tiny), paced(lossy))
    assert [score.probability for score in gap] == [score.probability for score in usual]


def test_a_single_lost_block_counts_but_a_jittering_clock_does_not(tiny: str) -> None:
    frames = conversation(("speech", SECOND), ("silence", 200 * MS))
    blocks = [index for index, frame in enumerate(frames) if isinstance(frame, Audio)]

    def with_block(index: int, **stamps: int) -> list[Frame]:
        changed = list(frames)
        changed[blocks[index]] = frames[blocks[index]].restamped(**stamps)
        return changed

    [usual] = told(SmartTurn(model=tiny), paced(frames))
    [jitter] = told(SmartTurn(model=tiny), paced(with_block(20, at=frames[blocks[20]].at + 5 * MS)))
    lossy = with_block(21, lost=1)
    del lossy[blocks[20]]
    [lost] = told(SmartTurn(model=tiny), paced(lossy))
    silent = list(frames)
    silent[blocks[20]] = Audio(np.zeros(320, np.float32), 16_000, at=frames[blocks[20]].at)
    [zeros] = told(SmartTurn(model=tiny), paced(silent))

    assert jitter.probability == usual.probability
    assert lost.probability == zeros.probability != usual.probability


def test_a_gap_of_a_day_costs_no_more_than_8_s_of_silence(tiny: str) -> None:
    day = 86_400 * SECOND
    later = conversation(("speech", SECOND), ("silence", 200 * MS), start=START + day)

    begun = time.monotonic()
    scores = told(SmartTurn(model=tiny), paced([*conversation(("speech", SECOND)), *later]))

    assert len(scores) == 1
    assert time.monotonic() - begun < 5


# -- while the model runs ----------------------------------------------------------------------------------------------


def test_of_checkpoints_that_come_while_the_model_runs_the_newest_is_taken(slow: str) -> None:
    frames = conversation(("speech", SECOND), ("silence", 1200 * MS))
    first = next(i for i, f in enumerate(frames) if isinstance(f, Voice) and f.silence_ms >= 100)

    scores = told(SmartTurn(model=slow), [*frames[: first + 1], *SOME_STEPS, *frames[first + 1 :]])

    assert [score.silence_ms // 100 for score in scores] == [1, 10]


def test_speech_that_goes_on_while_the_model_runs_makes_its_score_worthless(slow: str, runs: list[float]) -> None:
    frames = conversation(("speech", SECOND), ("silence", 130 * MS), ("speech", 500 * MS))
    first = next(i for i, f in enumerate(frames) if isinstance(f, Voice) and f.silence_ms >= 100)
    asked = [*frames[: first + 1], *SOME_STEPS]

    assert [score.silence_ms for score in told(SmartTurn(model=slow), asked)] == [120]
    assert len(runs) == 2, "one to warm up"
    assert told(SmartTurn(model=slow), [*asked, *frames[first + 1 :]]) == []
    assert len(runs) == 4


def test_speech_that_goes_on_gives_up_a_checkpoint_that_waits(slow: str, runs: list[float]) -> None:
    frames = conversation(("speech", SECOND), ("silence", 250 * MS), ("speech", 500 * MS))
    first = next(i for i, f in enumerate(frames) if isinstance(f, Voice) and f.silence_ms >= 100)

    assert told(SmartTurn(model=slow), [*frames[: first + 1], *SOME_STEPS, *frames[first + 1 :]]) == []
    assert len(runs) == 2, "the second checkpoint was never shown to the model"


def test_a_session_that_stops_while_the_model_runs_ends_in_good_order(slow: str, runs: list[float]) -> None:
    told: list[EndOfTurn] = []

    async def main() -> None:
        nodes = {"feed": _Feed(), "turn": SmartTurn(model=slow)}
        session = Session(graph_of(nodes, ("feed", "turn")), nodes=nodes)
        session.watch(EndOfTurn, told.append)
        async with session:
            while len(runs) < 2:
                await asyncio.sleep(0)
        assert [task for task in asyncio.all_tasks() if task.get_name().startswith("turn.")] == []

    run_virtual(main())

    assert told == []


class _Feed(Node):
    """Speech, and a silence that goes on for long."""

    async def run(self) -> AsyncIterator[Audio | Voice | SpeechStarted]:
        for frame in conversation(("speech", SECOND), ("silence", 130 * MS)):
            assert isinstance(frame, Audio | Voice | SpeechStarted)
            yield frame
        await asyncio.sleep(3600)


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_model_that_is_not_there_is_an_error_before_listening(tmp_path: Path) -> None:
    with pytest.raises(FlowError, match="there is no file") as failure:
        run_node(SmartTurn(model=str(tmp_path / "none.onnx")), [])

    assert "pip install --no-deps pipecat-ai" in str(failure.value)


def test_another_rate_is_an_error_that_says_what_to_do(tiny: str) -> None:
    with pytest.raises(NodeFailed, match="48000 Hz from 'feed'") as failure:
        run_node(SmartTurn(model=tiny), [Audio(np.zeros(960, np.float32), 48_000, at=START)])

    assert "`resample` node before 'node'" in failure.value.hint


# -- for real ----------------------------------------------------------------------------------------------------------


def test_with_a_vad_and_the_real_model_an_end_sounds_more_like_one_than_the_middle_of_a_word() -> None:
    recorded = load_conversation(Path(graphs.__path__[0]) / "conversations" / "demo.yaml")
    name = recorded.utterances[0]

    def scored(samples: Samples) -> list[float]:
        clean = np.concatenate([samples, np.zeros(8_000, np.float32)])
        noisy = (clean + np.resize(recorded.noise_floor(), len(clean))).astype(np.float32)
        sound = [Audio(noisy[i : i + 320], 16_000, at=START + i * 62_500) for i in range(0, len(noisy), 320)]
        facts = run_node(Vad(), sound)
        merged: list[Frame] = sorted(
            [*sound, *facts], key=lambda f: (f.end_at, 0) if isinstance(f, Audio) else (f.at, 1)
        )
        fresh = [frame.restamped(id=0) for frame in merged]
        return [s.probability for s in told(SmartTurn(model=str(real_model())), paced(fresh)) if s.silence_ms < 400]

    whole = scored(name.samples()[: name.speech_end])
    cut = scored(name.samples()[: name.speech_end // 2])[-3:]

    # The model's eight-bit arithmetic differs between processors, which moves a score in the middle of its range by up to 0.2: one
    # checkpoint may be unsure.
    assert statistics.median(whole) > 0.8
    assert statistics.median(cut) < 0.5, "rather not finished"
    assert min(whole) > max(cut) + 0.2
