"""Turn-taking over random conversations: what must hold whatever people say, and whenever.

`make soak` runs ten times as many, from the seed that every test run prints at its head.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from flowgraph.units import MS
from nodes.servers import scripted
from nodes.vocabulary import Heard
from tests.schedules import BLOCK_MS, OPTIONS, SCHEDULE, Held, Speaks, check, held, wrong
from tests.test_scenarios import DEMO, converse

MANY = {
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
CONVERSATIONS = 50
LINES = (
    ("1-name", "Good morning. My name is David.", 1600, 32233),
    ("2-time", "Do you know what time it is?", 1600, 27027),
    ("4-recall", "Do you remember my name?", 1600, 23987),
    ("5-date", "Please tell me the date of today.", 1600, 25661),
)
"""Of the bundled caller: file, words, first and last voiced sample."""


@pytest.mark.timeout(1500)
@settings(max_examples=1000, derandomize=True, phases=[Phase.explicit, Phase.generate], **MANY)
@given(schedule=SCHEDULE, options=OPTIONS, number=st.integers(0, 1 << 16))
def test_whatever_is_said_and_when(schedule: list[Speaks], options: dict[str, object], number: int) -> None:
    check(held(schedule, options, number), schedule)


@pytest.mark.soak
@settings(max_examples=10_000, **MANY)
@given(schedule=SCHEDULE, options=OPTIONS, number=st.integers(0, 1 << 16))
def test_whatever_is_said_and_when_for_long(schedule: list[Speaks], options: dict[str, object], number: int) -> None:
    check(held(schedule, options, number), schedule)


@pytest.mark.parametrize("what", ["backchannel", "noise"])
@pytest.mark.parametrize("stt_ms", [65, 245, 395])
def test_a_word_just_before_the_answer_is_not_lost_though_something_sounds_before_its_transcript(
    what: Literal["backchannel", "noise"], stt_ms: int
) -> None:
    """It was too short to keep the answer from being heard."""
    question = Speaks("words", 20, 13, stt_ms=5, partial=False)
    schedule = [question, Speaks("words", 3, 3, stt_ms, partial=False), Speaks(what, 3, 1, stt_ms=5, partial=False)]
    talk = held(schedule, {"end": "fixed", "speculate_after": "off"}, 0, delays_s=(0.13,))

    [cut, answer] = [heard for heard in talk.of(Heard) if heard.final]
    assert cut.cut
    assert cut.first_audible_at > talk.session.node("user").__dict__["begun"][1]
    assert not answer.cut
    check(talk, schedule)


def test_an_answer_may_be_over_in_the_block_that_it_begins_with() -> None:
    """The question's last word comes in the very moment: the device has the answer's first block, and the owner doesn't know.

    Then the question is asked again, and the history knows of one answer. A block later it would have to know.
    """
    schedule = [Speaks("words", 40, 80, stt_ms=700, partial=True)]
    options = {"end": "fixed", "speculate_after": 96 * MS, "speculate_on": "partial", "max_attempts": 0}
    talk = held(schedule, options, 0, delays_s=(0.7,))

    [cut, answer] = [heard for heard in talk.of(Heard) if heard.final]
    assert cut.cut
    assert cut.played_until - cut.first_audible_at == BLOCK_MS * MS
    assert [at for at, attempt, _ in talk.session.trace.advances if attempt == answer.turn] == [cut.first_audible_at]
    check(talk, schedule)

    earlier = [
        frame.restamped(first_audible_at=cut.first_audible_at - BLOCK_MS * MS) if frame is cut else frame
        for frame in talk.frames
    ]
    assert wrong(Held(talk.session, earlier, talk.dialogue))


def caller(rng: random.Random, folder: Path) -> Path:
    """Somebody who says two or three things, in any order, behind the answer or into it."""
    lines = []
    for index in range(rng.randrange(2, 4)):
        name, text, first, last = rng.choice(LINES)
        when = (
            f"barge_in: {rng.randrange(50, 2500)}ms"
            if index and rng.random() < 0.6
            else f"pause: {rng.randrange(100, 900)}ms"
        )
        audio = (DEMO.parent / "demo" / f"{name}.wav").resolve()
        lines.append(f"  - {{audio: {audio}, text: '{text}', speech: [{first}, {last}], {when}}}\n")
    path = folder / "caller.yaml"
    path.write_text(f"name: caller\nnoise_floor_dbfs: -60\nutterances:\n{''.join(lines)}")
    return path


@pytest.mark.parametrize("number", range(CONVERSATIONS))
def test_whatever_is_said_over_the_wire(number: int, tmp_path: Path) -> None:
    rng = random.Random(number)
    end = rng.choice(["fixed", "adaptive"])
    run = converse(
        caller(rng, tmp_path),
        f"dialogue.end={end}",
        f"dialogue.speculate_on={rng.choice(['silence', 'partial'])}",
        voice=scripted.Voice(seed=number, first_byte_s=rng.choice([0.02, 0.15, 0.6]), speed=rng.choice([1.5, 5, 20])),
        stt_s=rng.choice([0.01, 0.1, 0.3, 0.7]),
        first_token_ms=rng.choice([5, 200, 900]),
        token_ms=rng.choice([1, 10, 60]),
    )

    assert not wrong(Held(run.session, run.frames, run.session.node("dialogue")))
    assert all(turn.answered or turn.verdict for turn in run.report.turns)
    assert len(run.report.turns) >= 2
