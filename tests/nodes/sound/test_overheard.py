"""What a recorded user knows of the answers from hearing them alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nodes.sound.caller import Caller
from nodes.sound.conversation import RATE_HZ, load_conversation
from nodes.sound.ear import Exchange
from nodes.sound.outside import assigned
from nodes.sound.overheard import Ends, Overheard, Windows
from nodes.sound.room import SECOND

MS = 1_000_000
WINDOW = 10 * MS
DEMO = Path("graphs/conversations/demo").resolve()


def hear(room: Overheard, *spans: tuple[str, int, int], until_ms: int) -> None:
    """(who, from, to) in milliseconds; time passes in steps of 10 ms."""
    for at in range(0, until_ms, 10):
        room.quiet_since(at * MS)
        for who, begin, end in spans:
            if begin <= at < end:
                getattr(room, who)((at + 10) * MS)


def test_before_anything_is_heard_it_has_always_been_quiet() -> None:
    assert Overheard().quiet_since(5 * SECOND) == 1


def test_an_answer_is_on_until_a_second_of_silence_and_was_over_with_its_last_sound() -> None:
    room = Overheard()
    hear(room, ("user", 500, 1500), ("program", 2000, 3000), ("program", 3600, 4000), until_ms=4900)

    assert room.answer is not None
    assert (room.answer.audible_at, room.answer.over_at) == (2000 * MS, 0)
    assert room.quiet_since(5000 * MS) == 0
    assert room.quiet_since(5010 * MS) == 4000 * MS
    assert not room.answer.cut


def test_after_the_user_has_spoken_a_short_silence_parts_two_answers() -> None:
    room = Overheard()
    hear(room, ("program", 0, 1300), ("user", 1000, 1600), ("program", 1900, 2500), until_ms=2500)

    assert room.answer is not None
    assert room.answer.audible_at == 1900 * MS


@pytest.mark.parametrize("resumes", [1400, 1680])
def test_an_answer_that_goes_on_under_the_user_or_right_behind_is_still_the_same(resumes: int) -> None:
    """Behind too short a silence, or too soon after the user's last sound."""
    room = Overheard()
    hear(room, ("program", 0, 1250), ("user", 1000, 1600), ("program", resumes, 2500), until_ms=2500)

    assert room.answer is not None
    assert room.answer.audible_at == 0


def test_an_answer_that_broke_off_while_the_user_spoke_was_cut() -> None:
    room = Overheard()
    hear(room, ("user", 0, 3000), ("program", 500, 1200), until_ms=3000)

    assert room.answer is not None
    assert room.answer.cut
    assert room.answer.over_at == 1200 * MS


def test_a_recorded_user_waits_for_the_end_of_what_is_heard_and_barges_in(tmp_path: Path) -> None:
    path = tmp_path / "call.yaml"
    path.write_text(
        f"""
noise_floor_dbfs: -60
utterances:
  - {{audio: {DEMO}/2-time.wav, text: one, speech: [1600, 27027], pause: 500ms}}
  - {{audio: {DEMO}/6-story.wav, text: two, speech: [1600, 27864], pause: 700ms}}
  - {{audio: {DEMO}/7-stop.wav, text: three, speech: [1600, 34950], barge_in: 1500ms}}
""",
        encoding="utf-8",
    )
    room = Overheard()
    caller = Caller(load_conversation(path), room)
    answers: list[tuple[int, int]] = []
    """Milliseconds: an answer sounds 400 ms after each utterance, for two seconds, or until the user interrupts."""
    starts: list[int] = []
    ends: list[int] = []
    for at in range(0, 30_000, 10):
        samples = caller.read(RATE_HZ // 100, at * MS)
        while caller.spoken:
            said = caller.spoken.popleft()
            starts.append(said.start_at // MS)
            ends.append(said.end_at // MS)
            answers.append((ends[-1] + 400, ends[-1] + 2400))
        if 20 * np.log10(np.sqrt(np.mean(samples**2))) > -45:
            room.user((at + 10) * MS)
            answers = [(begin, min(end, at + 50) if begin < at < end else end) for begin, end in answers]
        if any(begin <= at < end for begin, end in answers):
            room.program((at + 10) * MS)
        if caller.ended:
            break

    first, story = answers[0], answers[1]
    # The recordings have 100 ms of silence before the first voiced sample.
    assert starts[1] - 100 == pytest.approx(first[1] + 1000, abs=40), "a second tells that it is over"
    assert starts[2] - 100 == pytest.approx(story[0] + 1500, abs=20)
    assert story[1] < story[0] + 2000, "it was interrupted"
    assert caller.ended
    assert at == pytest.approx(answers[2][1] + 1000, abs=40)


def test_windows_know_their_times_and_levels_whatever_the_blocks() -> None:
    windows = Windows(48_000)
    sound = np.zeros(4800, np.float32)
    sound[960:1440] = 0.1
    found = [
        one
        for begin in range(0, 4800, 700)
        for one in windows.feed(sound[begin : begin + 700], SECOND + begin * SECOND // 48_000)
    ]

    assert [end for end, _ in found] == pytest.approx([SECOND + (n + 1) * WINDOW for n in range(10)], abs=1000)
    assert [level for _, level in found] == pytest.approx([-200, -200, -20, *[-200] * 7], abs=0.01)


def test_the_last_audible_window_near_a_time_is_found() -> None:
    ends = Ends()
    for end in (100, 110, 120, 400):
        ends.add(end)

    assert (ends.last(50, 130), ends.last(50, 115), ends.last(130, 390)) == (120, 110, 0)


def test_an_exchange_belongs_to_the_utterance_that_ends_where_it_begins() -> None:
    cut_off, one, other, second = Exchange(1.0, 1.3), Exchange(2.0, 2.4), Exchange(5.1, 5.6), Exchange(5.16, 6.0)

    assert assigned([cut_off, one, other, second], {0: 2.02, 1: 5.1, 2: 9.0}) == {0: one, 1: other}
    assert assigned([one], {}) == {}
