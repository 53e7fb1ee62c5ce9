from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from flowgraph.errors import NodeFailed
from flowgraph.frame import Frame
from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import _edge, graph_of, run_virtual
from flowgraph.units import MS, SECOND
from nodes.dialogue import Dialogue
from nodes.vocabulary import EndOfTurn, Heard, Prompt, SpeechStarted, Transcript, Voice

WINDOW_MS = 32


@dataclasses.dataclass
class Says:
    """The user speaks for so long."""

    text: str
    ms: int
    heard_as: str | None = None
    """What the STT makes of it, if something else."""


@dataclasses.dataclass
class Waits:
    ms: int
    over: float | None = None
    """What an acoustic model makes of the silence, every 96 ms of it."""


class Person(Node):
    """A VAD and an STT in one, driven by a timeline: voice windows, onsets, a final transcript `stt_ms` after 96 ms of silence."""

    stt_ms: int = 60
    partials: bool = False

    async def run(self) -> AsyncIterator[SpeechStarted | Voice | Transcript | EndOfTurn]:
        now = self.ctx.clock.now
        silence_ms, due, said, since = 10_000, 0, "", 0
        for item in self.__dict__["timeline"]:
            speaking = isinstance(item, Says)
            windows = item.ms // WINDOW_MS
            for index in range(windows):
                if speaking and index == 2:
                    yield SpeechStarted(at=now() - 2 * WINDOW_MS * MS)
                await asyncio.sleep(WINDOW_MS / 1000)
                silence_ms = 0 if speaking else silence_ms + WINDOW_MS
                if speaking and not since:
                    since = now() - WINDOW_MS * MS
                if not speaking and silence_ms == 96 and said:
                    due = now() + self.stt_ms * MS
                if speaking and self.partials and index > 4 and index % 5 == 0:
                    words = (said + " " + item.text).split()
                    share = max(1, round(len(words) * index / windows))
                    yield Transcript(" ".join(words[:share]), start_at=since, end_at=now())
                yield Voice(0.9 if speaking else 0.1, silence_ms, speaking and index >= 2, at=now())
                if isinstance(item, Waits) and item.over is not None and silence_ms % 96 == 0:
                    yield EndOfTurn(item.over, silence_ms, at=now())
                if due and now() >= due:
                    yield Transcript(said.strip(), final=True, start_at=since, end_at=now())
                    due, said, since = 0, "", 0
            if speaking:
                said += " " + (item.heard_as if item.heard_as is not None else item.text)


class Mouth(Node):
    """LLM, TTS and speaker in one: answers a prompt `ready_ms` after it came, for `answer_ms`, word by word; tells what was heard."""

    effects = True
    ready_ms: int = 100
    answer_ms: int = 2000
    answer: str = "one two three four five six seven eight nine ten"
    failing: int = 0
    """So many answers fail before the first sound."""

    async def open(self) -> None:
        self._prompts: list[Prompt] = []
        self._drained = False

    async def drain(self) -> None:
        self._drained = True

    def process(self, frame: Prompt) -> None:
        self._prompts.append(frame)

    async def run(self) -> AsyncIterator[Heard]:
        turn, now = self.ctx.turn, self.ctx.clock.now
        words = self.answer.split()
        while not (self._drained and not self._prompts):
            if not self._prompts:
                await asyncio.sleep(0.005)
                continue
            prompt = self._prompts.pop(0)
            if self.failing:
                self.failing -= 1
                yield Heard(final=True, reason="error", detail="no voice", cause=prompt)
                continue
            played, began, until = 0, 0, 0
            while played < self.answer_ms and turn.number == prompt.turn:
                await asyncio.sleep(0.01)
                if now() < prompt.at + self.ready_ms * MS or turn.gain == 0 or turn.number != prompt.turn:
                    continue
                played += 10
                until = now()
                if not began:
                    began = now()
                    yield Heard("", 0, began, now(), cause=prompt)
            share = " ".join(words[: round(len(words) * played / self.answer_ms)])
            yield Heard(share, played, began, until, final=True, cut=played < self.answer_ms, cause=prompt)


@dataclasses.dataclass
class Talk:
    session: Session
    prompts: list[Prompt]
    heard: list[Heard]
    dialogue: Dialogue
    began: int

    def asked(self) -> list[str]:
        return [prompt.messages[-1][1] for prompt in self.prompts]

    def ms(self, at: int) -> int:
        return round((at - self.began) / MS)

    @property
    def history(self) -> list[tuple[str, str]]:
        return self.dialogue._history.messages


def talk(dialogue: Dialogue, *timeline: Says | Waits, person: type[Person] = Person, **options: Any) -> Talk:
    person_options = {key: options.pop(key) for key in ("stt_ms", "partials") if key in options}
    nodes: dict[str, Node] = {"person": person(**person_options), "dialogue": dialogue, "mouth": Mouth(**options)}
    nodes["person"].__dict__["timeline"] = timeline
    classes = {name: type(node) for name, node in nodes.items()}
    graph = graph_of(
        nodes,
        ("person", "dialogue"),
        _edge(classes, "dialogue", "mouth", hold=True),
        _edge(classes, "mouth", "dialogue", feedback=True, overflow="fail"),
    )
    frames: list[Frame] = []

    async def main() -> Session:
        session = Session(graph, nodes=dict(nodes))
        session.watch(Frame, frames.append)
        async with session, asyncio.timeout(600):
            await session.finished()
        return session

    session = run_virtual(main())
    return Talk(
        session,
        [frame for frame in frames if isinstance(frame, Prompt)],
        [frame for frame in frames if isinstance(frame, Heard)],
        dialogue,
        session.trace._started,
    )


QUESTION = (Says("what time is it", 960), Waits(4000))


def test_the_turn_ends_after_the_silence_it_was_given() -> None:
    done = talk(Dialogue(end_silence=400 * MS), *QUESTION)

    assert done.asked() == ["what time is it"]
    [prompt] = done.prompts
    assert done.ms(prompt.at) == 960
    assert [done.ms(at) for at, _ in done.session.trace.commits.values()] == [960 + 416]  # the 13th window


def test_a_prompt_is_dated_by_the_last_voiced_sample() -> None:
    done = talk(Dialogue(), Waits(320), *QUESTION)

    assert done.ms(done.prompts[0].at) == 320 + 960


def test_speculation_prepares_the_answer_behind_the_held_edge() -> None:
    plain = talk(Dialogue(end_silence=400 * MS), *QUESTION, ready_ms=450)
    eager = talk(Dialogue(end_silence=400 * MS, speculate_after=96 * MS), *QUESTION, ready_ms=450)

    records = eager.session.trace.records
    made = [eager.ms(records[prompt.id].made_at) for prompt in eager.prompts]
    assert made == [960 + 96 + 64]  # the final comes 60 ms after 96 ms of silence; the next window sees it
    assert plain.asked() == eager.asked()
    assert eager.ms(eager.session.trace.commits[1][0]) == 960 + 416


def test_an_attempt_is_withdrawn_when_the_user_speaks_on() -> None:
    done = talk(
        Dialogue(end_silence=400 * MS, speculate_after=96 * MS, barge_in="headphones"),
        Says("what is twelve", 960), Waits(288), Says("times seven", 640), Waits(4000),
    )  # fmt: skip

    assert done.asked() == ["what is twelve", "what is twelve times seven"]
    assert len(done.session.trace.commits) == 1
    assert [heard.turn for heard in done.heard if heard.first_audible_at] == [done.prompts[1].turn] * 2


def test_an_attempt_survives_a_noise_and_a_final_that_says_the_same() -> None:
    done = talk(
        Dialogue(end_silence=400 * MS, speculate_after=96 * MS, barge_in="headphones"),
        Says("what time is it", 960), Waits(224), Says("", 96), Waits(4000),
    )  # fmt: skip

    assert done.asked() == ["what time is it"]


def test_without_a_final_the_last_partial_counts_after_the_time_limit() -> None:
    done = talk(Dialogue(end_silence=400 * MS, final_timeout=300 * MS), *QUESTION, stt_ms=60_000, partials=True)

    assert done.asked() == ["what time is it"[: len(done.asked()[0])]]
    assert done.ms(done.session.trace.commits[1][0]) == 960 + 704


def test_a_cough_without_words_asks_nothing() -> None:
    done = talk(Dialogue(), Says("", 320), Waits(3000))

    assert done.asked() == []


def test_the_history_holds_question_and_answer() -> None:
    done = talk(Dialogue(), *QUESTION, Says("and now", 640), Waits(4000), answer="it is noon")

    assert done.history == [
        ("user", "what time is it"), ("assistant", "it is noon"), ("user", "and now"), ("assistant", "it is noon"),
    ]  # fmt: skip
    assert done.prompts[1].messages[1:] == (
        ("user", "what time is it"), ("assistant", "it is noon"), ("user", "and now"),
    )  # fmt: skip


def test_the_prompt_prefix_does_not_change_from_turn_to_turn() -> None:
    done = talk(Dialogue(), *QUESTION, Says("and now", 640), Waits(4000))

    assert done.prompts[1].messages[0] == done.prompts[0].messages[0]
    assert done.prompts[1].messages[1] == done.prompts[0].messages[-1]


def test_a_barge_in_stops_the_answer_and_the_history_holds_what_was_heard() -> None:
    done = talk(
        Dialogue(barge_in="headphones", pause_after=200 * MS),
        Says("tell me a story", 960), Waits(1408), Says("stop what day is it", 960), Waits(4000),
    )  # fmt: skip

    assert done.asked() == ["tell me a story", "stop what day is it"]
    cut = next(heard for heard in done.heard if heard.cut)
    assert done.history[1] == ("assistant", cut.text)
    assert 0 < len(cut.text.split()) < 10
    onset = 960 + 1408
    assert done.ms(cut.played_until) - onset <= 200 + 2 * WINDOW_MS


def test_the_answer_is_ducked_from_the_onset_until_it_is_decided() -> None:
    done = talk(
        Dialogue(barge_in="headphones", duck=0.25),
        Says("tell me a story", 960), Waits(1408), Says("", 96), Waits(4000),
    )  # fmt: skip

    assert [gain for _, gain, _ in done.session.trace.gains] == [0.25, 1.0]
    assert done.asked() == ["tell me a story"]
    assert [heard.cut for heard in done.heard if heard.final] == [False]


def test_with_barge_in_off_what_is_said_over_the_answer_is_not_answered() -> None:
    done = talk(
        Dialogue(barge_in="off"), Says("tell me a story", 960), Waits(1408), Says("stop", 640), Waits(4000), *QUESTION
    )

    assert done.asked() == ["tell me a story", "what time is it"]
    assert not any(heard.cut for heard in done.heard)


def test_speech_before_the_first_sound_takes_the_turn_back_and_keeps_the_question() -> None:
    done = talk(
        Dialogue(end_silence=300 * MS),
        Says("what is twelve", 960), Waits(480), Says("times seven", 640), Waits(4000), ready_ms=2000,
    )  # fmt: skip

    assert done.asked() == ["what is twelve", "what is twelve times seven"]
    assert done.history[0] == ("user", "what is twelve times seven")


def test_an_answer_that_failed_is_not_asked_for_again_until_the_user_speaks_and_then_with_both_questions() -> None:
    done = talk(Dialogue(), *QUESTION, Says("are you there", 640), Waits(4000), failing=1)

    assert done.asked() == ["what time is it", "what time is it are you there"]


def test_a_greeting_is_said_first() -> None:
    done = talk(Dialogue(greeting="Hello there."), Waits(3000), *QUESTION, answer="Hello there.")

    assert done.prompts[0].say == "Hello there."
    assert done.history == [
        ("assistant", "Hello there."), ("user", "what time is it"), ("assistant", "Hello there."),
    ]  # fmt: skip


def test_the_session_ends_after_the_idle_timeout() -> None:
    done = talk(Dialogue(idle_timeout=5 * SECOND), *QUESTION, Waits(600_000))

    assert "nobody spoke for 5 s (dialogue.idle_timeout)" in done.session.said
    assert done.ms(done.session.trace._now()) < 20_000


def test_each_final_transcript_is_a_turn_where_the_transcript_ends_it() -> None:
    done = talk(Dialogue(end="transcript"), *QUESTION)

    assert done.asked() == ["what time is it"]
    assert done.ms(done.session.trace.commits[1][0]) < 960 + 200


def test_an_empty_transcript_takes_no_words_away() -> None:
    class Stt(Person):
        async def run(self) -> AsyncIterator[SpeechStarted | Voice | Transcript]:
            async for frame in super().run():
                yield frame
                if isinstance(frame, Transcript) and frame.final:
                    yield Transcript("", final=True, start_at=frame.start_at - 1, end_at=frame.end_at + 1)

    done = talk(Dialogue(), *QUESTION, person=Stt)

    assert done.asked() == ["what time is it"]


def test_the_system_prompt_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "system.txt"
    file.write_text("Be brief.\n")
    done = talk(Dialogue(system=f"file:{file}", language="German"), *QUESTION)

    assert done.prompts[0].messages[0] == ("system", "Be brief. Always answer in German.")


def test_a_missing_system_prompt_is_a_clear_error() -> None:
    with pytest.raises(NodeFailed, match=r"can't read the system prompt nothere.txt: No such file"):
        talk(Dialogue(system="file:nothere.txt"), *QUESTION)


# -- speculation -------------------------------------------------------------------------------------------------------


def made(done: Talk) -> list[int]:
    """When each attempt began, in milliseconds."""
    return [done.ms(done.session.trace.records[prompt.id].made_at) for prompt in done.prompts]


def commits(done: Talk) -> list[int]:
    return [done.ms(at) for at, _ in done.session.trace.commits.values()]


HESITANT = (
    Says("what is twelve", 960), Waits(288), Says("times", 320), Waits(288), Says("seven", 640), Waits(4000),
)  # fmt: skip
EAGER = {"end_silence": 400 * MS, "speculate_after": 96 * MS, "barge_in": "headphones"}


def test_an_attempt_may_start_with_a_partial_transcript_that_stands_still() -> None:
    final = talk(Dialogue(**EAGER), *QUESTION, stt_ms=200, partials=True)
    partial = talk(Dialogue(**EAGER, speculate_on="partial"), *QUESTION, stt_ms=200, partials=True)

    assert made(final) == [960 + 320]
    # The partial knows three of the four words; the final one makes a second attempt, still ahead of the commit.
    assert made(partial) == [960 + 96, 960 + 320]
    assert commits(partial) == commits(final) == [960 + 416]


def test_an_attempt_survives_a_final_that_says_the_same_as_its_partial() -> None:
    class Stt(Person):
        async def run(self) -> AsyncIterator[SpeechStarted | Voice | Transcript]:
            async for frame in super().run():
                if isinstance(frame, Voice) and frame.silence_ms == 64 and frame.at > 2 * SECOND:
                    yield Transcript("What time is it?", start_at=frame.at - SECOND, end_at=frame.at)
                yield frame

    done = talk(Dialogue(**EAGER, speculate_on="partial"), *QUESTION, stt_ms=200, person=Stt)

    assert done.asked() == ["What time is it?"]
    assert made(done) == [960 + 96]


def test_attempts_ahead_are_bounded() -> None:
    unbounded = talk(Dialogue(**EAGER), *HESITANT)
    bounded = talk(Dialogue(**EAGER, max_attempts=1), *HESITANT)

    assert unbounded.asked() == ["what is twelve", "what is twelve times", "what is twelve times seven"]
    assert bounded.asked() == ["what is twelve", "what is twelve times seven"]
    assert commits(bounded) == commits(unbounded)


def test_each_withdrawal_makes_the_next_attempt_wait_longer() -> None:
    done = talk(Dialogue(**EAGER, backoff=2.0), *HESITANT)
    speech_ends = [960, 960 + 288 + 320, 960 + 288 + 320 + 288 + 640]

    waited = [at - end for at, end in zip(made(done), speech_ends, strict=True)]
    assert waited[0] == 96 + 64  # the transcript is there with the second window after it was asked for
    assert waited[1] == 192
    assert waited[2] == 384


def test_the_bound_holds_for_one_turn_only() -> None:
    done = talk(Dialogue(**EAGER, max_attempts=1), *QUESTION, *QUESTION)

    assert len(made(done)) == 2
    assert made(done)[1] - 4960 == made(done)[0]


# -- the end of a turn -------------------------------------------------------------------------------------------------


ADAPTIVE = {"end": "adaptive", "barge_in": "headphones"}


def test_what_sounds_finished_is_answered_sooner_and_what_cannot_be_the_end_later() -> None:
    finished = talk(Dialogue(**ADAPTIVE), Says("what time is it", 960), Waits(4000))
    unclear = talk(Dialogue(**ADAPTIVE), Says("i paid on monday", 960), Waits(4000))
    unfinished = talk(Dialogue(**ADAPTIVE), Says("could you please tell me", 960), Waits(4000))

    assert commits(finished) == [960 + 256]
    assert commits(unclear) == [960 + 416]
    assert commits(unfinished) == [960 + 2016]


def test_a_hesitation_behind_unfinished_words_is_listened_through() -> None:
    timeline = (Says("could you please tell me", 960), Waits(704), Says("the time", 640), Waits(4000))

    assert (
        talk(Dialogue(end_silence=400 * MS, barge_in="headphones"), *timeline).asked()[0] == "could you please tell me"
    )
    assert talk(Dialogue(**ADAPTIVE), *timeline).asked() == ["could you please tell me the time"]


def test_the_users_pauses_are_learned() -> None:
    hesitant = [part for _ in range(5) for part in (Says("it rained", 640), Waits(352))]
    done = talk(Dialogue(**ADAPTIVE), *hesitant, Says("on monday", 640), Waits(4000))
    other = talk(Dialogue(**ADAPTIVE, learn_pauses=False), *hesitant, Says("on monday", 640), Waits(4000))

    assert done.dialogue._pauses.count == 5
    assert commits(done)[0] - commits(other)[0] == pytest.approx(64, abs=64)
    assert commits(done) != commits(other)


def test_pauses_where_the_words_could_not_be_the_end_teach_nothing() -> None:
    done = talk(Dialogue(**ADAPTIVE), Says("tell me the", 640), Waits(352), Says("time", 640), Waits(4000))

    assert done.asked() == ["tell me the time"]
    assert done.dialogue._pauses.count == 0


def test_after_a_yes_or_no_question_a_single_yes_is_enough() -> None:
    timeline = (Says("hello there you", 960), Waits(4000), Says("yes", 320), Waits(4000))
    asked = talk(Dialogue(**ADAPTIVE), *timeline, answer="shall we begin now, and would you like some more tea?")
    told = talk(Dialogue(**ADAPTIVE), *timeline, answer="one two three four five six seven eight nine ten")

    end = 960 + 4000 + 320
    assert commits(asked)[1] - end == 256
    assert commits(told)[1] - end > 256


def test_the_model_ends_the_turn_where_it_is_sure() -> None:
    options = {"end": "model", "thresholds": {"180ms": 0.9}, "words_weight": 0.0, "unfinished_silence": 800 * MS}
    sure = talk(Dialogue(**options), Says("i paid on monday", 960), Waits(4000, over=0.95))
    unsure = talk(Dialogue(**options), Says("i paid on monday", 960), Waits(4000, over=0.2))
    silent = talk(Dialogue(**options), Says("i paid on monday", 960), Waits(4000))

    assert commits(sure) == [960 + 192]
    assert commits(unsure) == commits(silent) == [960 + 800]


def test_a_score_of_a_silence_that_is_over_counts_for_nothing() -> None:
    class Slow(Person):
        async def run(self) -> AsyncIterator[SpeechStarted | Voice | Transcript | EndOfTurn]:
            late: EndOfTurn | None = None
            async for frame in super().run():
                if isinstance(frame, EndOfTurn):
                    late = late or frame
                    continue
                yield frame
                if late is not None and isinstance(frame, Voice) and frame.at >= late.at + 608 * MS:
                    yield late
                    late = None

    options = {"end": "model", "thresholds": {"90ms": 0.9}, "words_weight": 0.0, "barge_in": "headphones"}
    done = talk(
        Dialogue(**options),
        Says("my name", 960),
        Waits(192, over=0.99),
        Says("is david", 320),
        Waits(4000),
        person=Slow,
    )

    assert done.asked() == ["my name is david"]
    assert commits(done) == [960 + 192 + 320 + 2016]


# -- speech over the answer --------------------------------------------------------------------------------------------


STORY_MS = 960 + 2016
"""From there on the answer to `STORY` has sounded for 1.5 s."""
STORY = (Says("tell me a story", 960), Waits(2016))


def over_the_answer(said: Says, **options: Any) -> Talk:
    dialogue = Dialogue(barge_in="headphones", min_words=options.pop("min_words", 3))
    return talk(dialogue, *STORY, said, Waits(6000), answer_ms=3000, **options)


def gains(done: Talk) -> list[float]:
    return [gain for _, gain, _ in done.session.trace.gains]


@pytest.mark.parametrize("said", ["mhm", "yeah", "uh huh", ""])
def test_a_backchannel_or_a_cough_lets_the_answer_go_on(said: str) -> None:
    done = over_the_answer(Says(said, 352))

    assert done.asked() == ["tell me a story"]
    assert gains(done) == [0.25, 0.0, 1.0]
    assert [heard.cut for heard in done.heard if heard.final] == [False]
    assert done.heard[-1].samples == 3000  # all of it, paused and not skipped
    # The transcript is there with the second window after it was asked for; not a window later the answer goes on.
    assert done.ms(done.session.trace.gains[-1][0]) == STORY_MS + 352 + 96 + 64


def test_the_answer_is_ducked_with_the_first_window_of_speech_and_back_behind_a_click() -> None:
    class Clicks(Person):
        async def run(self) -> AsyncIterator[SpeechStarted | Voice | Transcript | EndOfTurn]:
            async for frame in super().run():
                clicks = isinstance(frame, Voice) and frame.silence_ms == 992
                yield Voice(0.9, 992, at=frame.at) if clicks else frame

    done = over_the_answer(Says("stop", 352))
    clicked = talk(Dialogue(barge_in="headphones"), *QUESTION, person=Clicks)

    assert gains(done)[0] == 0.25
    assert done.ms(done.session.trace.gains[0][0]) == STORY_MS + WINDOW_MS
    assert gains(clicked) == [0.25, 1.0]
    assert clicked.ms(clicked.session.trace.gains[0][0]) == 960 + 992


def test_a_short_word_that_wants_the_turn_gets_it() -> None:
    done = over_the_answer(Says("stop", 352))

    assert done.asked() == ["tell me a story", "stop"]
    assert any(heard.cut for heard in done.heard)


@pytest.mark.parametrize("heard_as", ["im who", "the air", "you"])
def test_a_backchannel_that_is_misheard_lets_the_answer_go_on_a_little_later(heard_as: str) -> None:
    done = over_the_answer(Says("mhm", 352, heard_as=heard_as))

    assert done.asked() == ["tell me a story"]
    assert gains(done) == [0.25, 0.0, 1.0]
    assert done.heard[-1].samples == 3000
    assert done.ms(done.session.trace.gains[-1][0]) == STORY_MS + 352 + 704  # whole windows


@pytest.mark.parametrize("last", [Says("mhm", 352), Says("mhm", 64), Waits(320)])
def test_an_answer_over_which_the_users_sound_ends_goes_on(last: Says | Waits) -> None:
    class Doubted(Person):
        async def run(self) -> AsyncIterator[SpeechStarted | Voice | Transcript | EndOfTurn]:
            async for frame in super().run():
                late = isinstance(frame, Voice) and frame.silence_ms >= 2000
                yield Voice(0.3, 2000, level_dbfs=-20.0, at=frame.at) if late else frame

    done = talk(Dialogue(barge_in="headphones"), *STORY, last, answer_ms=3000, person=Doubted)

    assert done.heard[-1].samples == 3000
    assert done.ms(done.heard[-1].at) < STORY_MS + 2500


def test_with_one_word_enough_it_stops_it() -> None:
    assert over_the_answer(Says("paris", 352), min_words=1).asked() == ["tell me a story", "paris"]
    assert over_the_answer(Says("paris", 352)).asked() == ["tell me a story"]


def test_words_that_were_let_go_are_part_of_an_interruption_that_follows_soon_and_of_none_that_follows_late() -> None:
    def talked(pause_ms: int) -> Talk:
        return talk(
            Dialogue(barge_in="headphones"),
            *STORY, Says("show me", 352), Waits(pause_ms), Says("the next train please", 960), Waits(6000), answer_ms=9000,
        )  # fmt: skip

    assert talked(960).asked() == ["tell me a story", "show me the next train please"]
    assert gains(talked(960))[:3] == [0.25, 0.0, 1.0]
    assert talked(4000).asked() == ["tell me a story", "the next train please"]


def test_a_backchannel_is_no_part_of_an_interruption_that_follows_soon() -> None:
    done = talk(
        Dialogue(barge_in="headphones"), *STORY, Says("mhm", 352), Waits(960), Says("stop it now", 960), Waits(6000), answer_ms=9000
    )  # fmt: skip

    assert done.asked() == ["tell me a story", "stop it now"]


def test_words_that_were_let_go_are_no_part_of_the_next_question() -> None:
    done = talk(
        Dialogue(barge_in="headphones"),
        *STORY, Says("im who", 352), Waits(2976), *QUESTION, answer_ms=2000,
    )  # fmt: skip

    assert done.asked() == ["tell me a story", "what time is it"]


def test_who_was_cut_off_needs_one_word_to_get_the_turn_back() -> None:
    done = talk(
        Dialogue(barge_in="headphones", end_silence=300 * MS), Says("my name is", 960), Waits(640), Says("david", 352), Waits(6000)
    )  # fmt: skip

    assert done.asked() == ["my name is", "david"]


def test_a_hiss_ducks_the_answer_before_it_is_like_speech() -> None:
    class Hisses(Person):
        async def run(self) -> AsyncIterator[SpeechStarted | Voice | Transcript | EndOfTurn]:
            async for frame in super().run():
                hisses = isinstance(frame, Voice) and 992 <= frame.silence_ms < 992 + 10 * WINDOW_MS
                yield Voice(0.0, frame.silence_ms, level_dbfs=-35.0, at=frame.at) if hisses else frame

    done = talk(Dialogue(barge_in="headphones"), *QUESTION, person=Hisses)

    assert gains(done) == [0.25, 1.0]
    assert [done.ms(at) for at, _, _ in done.session.trace.gains] == [960 + 992, 960 + 992 + 5 * WINDOW_MS]


def test_a_word_that_comes_after_the_answer_went_on_still_interrupts() -> None:
    done = over_the_answer(Says("stop", 352), stt_ms=280)

    assert gains(done)[:3] == [0.25, 0.0, 1.0]
    assert done.asked() == ["tell me a story", "stop"]


def test_what_was_said_over_the_answer_is_no_part_of_the_next_question() -> None:
    done = talk(
        Dialogue(barge_in="headphones"),
        Says("tell me a story", 960), Waits(1408), Says("mhm", 352), Waits(3000), *QUESTION,
    )  # fmt: skip

    assert done.asked() == ["tell me a story", "what time is it"]


def test_a_backchannel_over_the_end_of_an_answer_is_not_answered_unless_something_was_asked() -> None:
    timeline = (Says("tell me a story", 960), Waits(1824), Says("okay", 352), Waits(6000))
    told = talk(Dialogue(barge_in="headphones"), *timeline, answer_ms=1600)
    asking = talk(
        Dialogue(barge_in="headphones"), *timeline, answer_ms=1600, answer="was it nice, and is that what you want?"
    )

    assert told.asked() == ["tell me a story"]
    assert asking.asked() == ["tell me a story", "okay"]


def test_a_late_transcript_corrects_the_history_only() -> None:
    class Stt(Person):
        async def run(self) -> AsyncIterator[SpeechStarted | Voice | Transcript]:
            better: Transcript | None = None
            async for frame in super().run():
                yield frame
                if isinstance(frame, Transcript) and frame.final:
                    better = Transcript(
                        "what time is it now", final=True, start_at=frame.start_at - 1, end_at=frame.end_at + 1
                    )
                if better is not None and isinstance(frame, Voice) and frame.silence_ms == 1504:
                    yield better

    done = talk(Dialogue(barge_in="headphones"), *QUESTION, person=Stt)

    assert done.asked() == ["what time is it"]
    assert done.history[0] == ("user", "what time is it now")


def test_a_transcript_that_nobody_waited_for_any_more_is_still_answered() -> None:
    done = talk(Dialogue(barge_in="headphones"), *QUESTION, stt_ms=1200)

    assert done.asked() == ["what time is it"]


def test_options_that_contradict_each_other_are_told() -> None:
    assert list(Dialogue().problems()) == []
    assert "rise in this order" in next(Dialogue(end="adaptive", finished_silence=500 * MS).problems())
    assert "pause_after is longer" in next(Dialogue(pause_after=SECOND).problems())
    assert "thresholds: expected a duration" in next(Dialogue(end="model", thresholds={"200": 0.5}).problems())
    assert "longer than unfinished_silence" in next(Dialogue(end="adaptive", speculate_after=3 * SECOND).problems())
