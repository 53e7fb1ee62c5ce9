"""What a recording alone tells: its end of speech, its first sound, and that the engine's own figures agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flowgraph.errors import DeviceError
from flowgraph.graph import Graph
from flowgraph.recording import recording
from flowgraph.report import Report
from flowgraph.session import Session
from flowgraph.testing import run_virtual, services_of
from flowgraph.units import SECOND
from nodes.servers import llm, scripted
from nodes.sound.conversation import load_conversation
from nodes.sound.ear import Exchange, judge
from nodes.sound.wav import WavTarget

RATE_HZ = 16_000
DEMO = Path("graphs/conversations/demo").resolve()
Side = list[tuple[float, float, float]]
"""What is heard on one channel: (from, to, dBFS), in seconds."""


def sound(side: Side, seconds: float) -> np.ndarray:
    """Noise at the levels and times that are asked for; −70 dBFS elsewhere."""
    noise = np.random.default_rng(1).standard_normal(round(seconds * RATE_HZ)).astype(np.float32)
    gain = np.full(len(noise), 10 ** (-70 / 20), np.float32)
    for begin, end, dbfs in side:
        gain[round(begin * RATE_HZ) : round(end * RATE_HZ)] = 10 ** (dbfs / 20)
    return noise * gain


def written(path: Path, *sides: Side, seconds: float = 10) -> Path:
    target = WavTarget(path, RATE_HZ, channels=len(sides))
    target.write(np.stack([sound(side, seconds) for side in sides], axis=1))
    target.save()
    return path


def heard(folder: Path, user: Side, answers: Side) -> list[tuple[float, float]]:
    return [(one.speech_end_s, one.first_sound_s) for one in judge(written(folder / "a.wav", user, answers))]


def test_speech_ends_with_its_last_window_and_an_answer_begins_with_its_first(tmp_path: Path) -> None:
    assert heard(tmp_path, [(1, 2, -20)], [(2.43, 4, -20)]) == [(2.0, 2.43)]


def test_the_latency_is_from_the_one_to_the_other() -> None:
    assert Exchange(2.0, 2.5).latency_s == 0.5


@pytest.mark.parametrize(("user", "answer", "expected"), [(-43, -48, [(2.0, 2.5)]), (-48, -48, []), (-43, -53, [])])
def test_what_is_audible_is_a_matter_of_level_alone(
    tmp_path: Path, user: float, answer: float, expected: list[tuple[float, float]]
) -> None:
    assert heard(tmp_path, [(1, 2, user)], [(2.5, 4, answer)]) == expected


def test_noise_below_the_users_level_ends_no_later(tmp_path: Path) -> None:
    assert heard(tmp_path, [(0, 10, -50), (1, 2, -20)], [(2.5, 4, -20)]) == [(2.0, 2.5)]


def test_pauses_of_the_user_and_of_the_answer_make_no_turns(tmp_path: Path) -> None:
    user = [(1.0, 1.5, -20.0), (2.2, 3.0, -20.0), (6.0, 7.0, -20.0)]
    answers = [(3.4, 4.0, -20.0), (4.6, 5.0, -20.0), (7.5, 8.0, -20.0)]

    assert heard(tmp_path, user, answers) == [(3.0, 3.4), (7.0, 7.5)]


def test_an_answer_that_goes_on_while_the_user_speaks_over_it_is_not_an_answer_to_that(tmp_path: Path) -> None:
    user = [(1.0, 2.0, -20.0), (3.0, 4.5, -20.0)]
    answers = [(2.4, 2.9, -20.0), (3.2, 3.5, -20.0), (5.0, 6.0, -20.0)]

    assert heard(tmp_path, user, answers) == [(2.0, 2.4), (4.5, 5.0)]


def test_an_answer_before_the_user_has_finished_shows_as_one_to_what_was_said_till_then(tmp_path: Path) -> None:
    user = [(1.0, 2.0, -20.0), (2.8, 3.5, -20.0)]

    assert heard(tmp_path, user, [(2.4, 2.9, -20.0), (4.0, 5.0, -20.0)]) == [(2.0, 2.4), (3.5, 4.0)]


def test_a_greeting_answers_nobody_and_what_stays_unanswered_has_no_answer(tmp_path: Path) -> None:
    assert heard(tmp_path, [(3, 4, -20), (8, 9, -20)], [(0.5, 1, -20), (4.4, 5, -20)]) == [(4.0, 4.4)]


def test_in_mono_user_and_answer_alternate(tmp_path: Path) -> None:
    both = [
        (1.0, 1.5, -20.0),
        (1.6, 2.0, -20.0),
        (2.4, 3.0, -20.0),
        (3.1, 4.0, -20.0),
        (5.0, 6.0, -20.0),
        (6.5, 7.0, -20.0),
    ]
    path = written(tmp_path / "mono.wav", both)

    assert judge(path) == [(2.0, 2.4), (6.0, 6.5)]
    assert judge(path, pause_s=0.45) == [(4.0, 5.0)]


def test_silence_and_an_empty_file_have_no_exchange(tmp_path: Path) -> None:
    assert judge(written(tmp_path / "a.wav", [], [])) == []
    assert judge(written(tmp_path / "b.wav", [], seconds=0)) == []


def test_what_is_no_recording_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("hello")
    with pytest.raises(DeviceError, match="isn't a WAV file"):
        judge(tmp_path / "a.wav")


CONVERSATION = f"""
name: short
noise_floor_dbfs: -60
utterances:
  - {{audio: {DEMO}/3-product.wav, text: What is nine times seven?, speech: [1600, 49474], pauses: [[21649, 26128]], pause: 500ms}}
  - {{audio: {DEMO}/6-story.wav, text: Tell me your longest story., speech: [1600, 27864], pause: 700ms}}
  - {{audio: {DEMO}/7-stop.wav, text: Tell me what day it is., speech: [1600, 34950], pauses: [[11826, 14806]], barge_in: 1500ms}}
"""


@pytest.mark.parametrize("speculate", ["96ms", "off"])
def test_the_recording_and_the_engine_agree_within_30_ms(tmp_path: Path, speculate: str) -> None:
    """Hesitations, an answer that is interrupted, and noise, in the recording of a whole session on virtual time."""
    path = tmp_path / "short.yaml"
    path.write_text(CONVERSATION, encoding="utf-8")
    conversation = load_conversation(path)
    apps = {
        "stt": scripted.stt(scripted.lines_of(conversation), delay_s=0.1),
        "llm": llm.app(first_token_ms=50, token_ms=10),
        "tts": scripted.Voice().app,
    }
    settings = [f"mic.device=caller:{path}", "speaker.device=null", f"dialogue.speculate_after={speculate}"]
    session = Session(Graph.load("graphs/optimized.yaml", settings=settings, environ={}), services=services_of(apps))
    report = Report(session)

    async def main() -> int:
        with recording(session, tmp_path / "talk.wav") as stereo:
            async with session:
                await session.finished()
                report.finish()
        return stereo.begin_at

    begin_at = run_virtual(main())
    told = judge(tmp_path / "talk.wav")

    assert len(told) == len(report.turns) == 3
    assert report.turns[1].interrupted
    for one, turn in zip(told, report.turns, strict=True):
        assert turn.latency_ns is not None
        assert one.speech_end_s == pytest.approx((turn.speech_end_at - begin_at) / SECOND, abs=0.03)
        assert one.first_sound_s == pytest.approx((turn.audible_at - begin_at) / SECOND, abs=0.011)
        assert one.latency_s == pytest.approx(turn.latency_ns / SECOND, abs=0.03)
