from __future__ import annotations

import pytest

from flowgraph.turn import Turn
from flowgraph.units import MS, SECOND
from nodes.dialogue import BACKCHANNELS, INTERRUPTIONS
from nodes.turns.barge_in import BargeIn
from nodes.turns.overlap import Listening, Overlap, phrases
from nodes.turns.said import Said
from nodes.vocabulary import DoubleTalk, Transcript, Voice

WINDOW = 32 * MS
LISTENING = Listening(
    confirm_after=700 * MS,
    patience=300 * MS,
    backchannels=phrases(BACKCHANNELS),
    interruptions=phrases(INTERRUPTIONS),
    min_words=3,
)
DUCKED, PAUSED = 0.25, 0.0
NOISE_DBFS, CLEAR_DBFS = -60.0, -35.0
DOUBTED, LIKE_SPEECH = 0.3, 0.9
"""Of a voice: by a detector that never tells its onset, and by one that does."""


class Over:
    """An audible answer, and who sounds over it, window by window."""

    def __init__(self, *, audible: bool = True, duck: float = DUCKED) -> None:
        self.turn = Turn(owned=True, now=lambda: 0, tap=lambda _: None)
        self.said = Said()
        self.barge_in = BargeIn(self.turn, self.said, LISTENING, duck=duck, pause_after=200 * MS)
        self.audible = audible
        self.now = SECOND
        self.onset_at = 0
        self.silent_for(32)

    def silent_for(self, windows: int) -> list[float]:
        """The gain after each."""
        return self.sounds(windows, 0.0, NOISE_DBFS)

    def sounds(self, windows: int, probability: float, level: float = CLEAR_DBFS) -> list[float]:
        """Something sounds that has no onset. The gain after each window."""
        return [self._hears(Voice(probability, 1000, level_dbfs=level, at=self._next())) for _ in range(windows)]

    def speaks(self, windows: int, *, early: bool = False, behind: int = 0) -> list[float]:
        """The onset is told with the third window. The gain after each."""
        self.onset_at = self.now
        gains = self.sounds(2, LIKE_SPEECH)
        self.barge_in.begins(self.onset_at, early=early, behind=behind)
        spoken = (
            Voice(LIKE_SPEECH, 0, speaking=True, level_dbfs=CLEAR_DBFS, at=self._next()) for _ in range(windows - 2)
        )
        return gains + [self._hears(voice) for voice in spoken]

    def understood(self, text: str, *, final: bool = True) -> None:
        """A transcript of what was spoken last."""
        self.said.add(Transcript(text, final=final, start_at=self.onset_at, end_at=self.now))

    def judged(self, *, settled: bool = True, silence_ms: int = 700) -> Overlap | None:
        return self.barge_in.judge(settled=settled, silence=silence_ms * MS, heard="")

    def judged_late(self, *, settled: bool = True, behind: int = -300 * MS) -> Overlap | None:
        return self.barge_in.judge_late(behind=behind, settled=settled, heard="")

    def noticed(self) -> float:
        """Beside the echo, 10 ms behind the last window. The gain after it."""
        self.barge_in.notices(DoubleTalk(at=self.now + 10 * MS), audible=self.audible)
        return self.turn.gain

    def _next(self) -> int:
        self.now += WINDOW
        return self.now

    def _hears(self, voice: Voice) -> float:
        lasted = voice.at - self.onset_at if voice.speaking else 0
        self.barge_in.hears(voice, lasted=lasted, audible=self.audible)
        return self.turn.gain


@pytest.mark.parametrize("probability", [0.0, DOUBTED, LIKE_SPEECH])
def test_any_clear_sound_ducks_with_its_first_window_and_a_click_is_let_go_with_the_next(probability: float) -> None:
    over = Over()

    assert over.sounds(1, probability) == [DUCKED]
    assert over.silent_for(2) == [1.0, 1.0]
    assert not over.barge_in.undecided


def test_where_no_answer_may_be_interrupted_no_sound_moves_the_gain() -> None:
    over = Over(audible=False)

    assert over.sounds(20, DOUBTED) == [1.0] * 20


def test_a_voice_that_is_doubted_and_never_has_an_onset_pauses_after_200_ms_and_goes_on_behind_it() -> None:
    over = Over()

    assert over.sounds(12, DOUBTED) == [DUCKED] * 7 + [PAUSED] * 5  # 224 ms after the end of its first window
    assert not over.barge_in.undecided
    assert over.silent_for(1) == [1.0]


def test_what_is_interrupted_by_silence_does_not_last_and_a_hiss_is_let_go_before_it_could_pause() -> None:
    over = Over()

    assert over.sounds(7, DOUBTED) + over.silent_for(1) + over.sounds(7, DOUBTED) == [DUCKED] * 7 + [1.0] + [DUCKED] * 7
    over.silent_for(1)
    assert over.sounds(12, 0.0) == [DUCKED] * 5 + [1.0] * 7


def test_speech_pauses_200_ms_after_its_onset() -> None:
    assert Over().speaks(10) == [DUCKED] * 6 + [PAUSED] * 4
    assert Over(duck=0.0).speaks(10) == [PAUSED] * 10


def test_a_doubted_voice_before_the_onset_and_behind_the_speech_counts_to_what_lasts() -> None:
    before, behind = Over(), Over()

    assert before.sounds(4, DOUBTED) + before.speaks(6) == [DUCKED] * 7 + [PAUSED] * 3
    assert behind.speaks(4) + behind.sounds(6, DOUBTED) == [DUCKED] * 7 + [PAUSED] * 3


def test_an_onset_never_makes_a_paused_answer_audible() -> None:
    over = Over()
    over.sounds(10, DOUBTED)

    assert over.speaks(3) == [PAUSED] * 3


@pytest.mark.parametrize("said", ["mhm", ""])
def test_what_turns_out_to_be_nothing_lets_the_answer_go_on_and_its_words_are_dropped(said: str) -> None:
    over = Over()
    over.speaks(10)
    assert over.judged(settled=False, silence_ms=0) is None
    assert over.barge_in.undecided
    over.silent_for(1)
    over.understood(said)

    assert over.judged(silence_ms=32) is None
    assert not over.barge_in.undecided
    assert over.turn.gain == 1.0
    assert not over.said.text


def test_while_it_is_undecided_silence_leaves_the_answer_paused() -> None:
    over = Over()
    over.speaks(10)

    assert over.silent_for(5) == [PAUSED] * 5
    assert over.judged(settled=False, silence_ms=160) is None
    assert over.turn.gain == PAUSED


def test_an_interruption_is_told_once_with_its_onset_and_the_caller_takes_the_turn() -> None:
    over = Over()
    over.speaks(10)
    over.understood("stop", final=False)
    overlap = over.judged(settled=False, silence_ms=0)

    assert overlap is not None
    assert overlap.onset_at == over.onset_at
    assert not over.barge_in.undecided
    assert over.judged() is over.judged_late() is None
    assert over.said.text == "stop"
    assert over.turn.number == 0


def test_speech_that_lasts_is_an_interruption_without_words() -> None:
    over = Over()
    over.speaks(21)
    assert over.judged(settled=False, silence_ms=0) is None
    over.barge_in.hears(Voice(LIKE_SPEECH, 0, speaking=True, at=over.now), lasted=700 * MS, audible=True)

    assert over.judged(settled=False, silence_ms=0) is not None


def test_a_second_onset_while_the_first_is_undecided_is_more_of_the_same() -> None:
    over = Over()
    over.speaks(10)
    first = over.onset_at
    over.silent_for(3)
    over.speaks(4)
    over.understood("the next train")
    overlap = over.judged(silence_ms=0)

    assert overlap is not None
    assert (overlap.onset_at, overlap.lasted, overlap.ended) == (first, 10 * WINDOW, False)


def test_an_early_word_is_an_interruption() -> None:
    over, late = Over(), Over()
    over.speaks(4, early=True)
    late.speaks(4)
    over.understood("david")
    late.understood("david")

    assert over.judged(silence_ms=0) is not None
    assert late.judged(silence_ms=0) is None


def test_who_sounds_unfinished_is_waited_for_twice_as_long() -> None:
    over = Over()
    over.barge_in.scored(0.1)  # of no speech over the answer: nothing
    over.speaks(10)
    over.silent_for(1)
    over.barge_in.scored(0.29)
    over.judged(settled=False, silence_ms=599)
    assert over.barge_in.undecided
    over.barge_in.scored(0.3)
    over.judged(settled=False, silence_ms=300)
    assert not over.barge_in.undecided


def let_go(text: str) -> Over:
    """An answer that has gone on after somebody said `text`."""
    over = Over()
    over.speaks(10)
    over.silent_for(22)
    over.understood(text)
    assert over.judged() is None
    assert over.turn.gain == 1.0
    return over


def test_words_that_may_be_anything_are_part_of_what_is_said_in_the_same_breath() -> None:
    over = let_go("show me")
    assert over.said.text == "show me"
    over.speaks(10, behind=3 * SECOND)
    over.understood("the next train")

    assert over.judged() is not None
    assert over.said.text == "show me the next train"


def test_words_that_may_be_anything_are_dropped_where_something_else_is_said_later() -> None:
    over = let_go("show me")
    over.speaks(10, behind=3 * SECOND + 1)

    assert not over.said.text


@pytest.mark.parametrize(("behind", "joined"), [(3 * SECOND, True), (3 * SECOND + 1, False)])
def test_words_that_a_noise_is_taken_for_later_are_not_joined_to_those_that_were_let_go(
    behind: int, *, joined: bool
) -> None:
    """ "Mhm" was heard as "and who"; four seconds on, a cough, which the detector knows for one, is heard as "I"."""
    over = let_go("and who")
    over.silent_for(125)
    over.onset_at = over.now
    over.silent_for(11)
    over.understood("i", final=False)

    assert (over.judged_late(settled=False, behind=behind) is not None) == joined
    assert over.said.text == ("and who i" if joined else "")


def test_a_late_transcript_makes_an_interruption_of_what_was_let_go() -> None:
    over = let_go("")
    over.understood("stop that", final=False)
    overlap = over.judged_late(settled=False)

    assert overlap is not None
    assert overlap.onset_at == over.onset_at
    assert over.judged_late() is None


def test_a_late_transcript_of_nothing_is_dropped_and_one_that_may_be_anything_stays() -> None:
    over = let_go("")
    over.understood("the air")
    assert over.judged_late() is None
    assert over.said.text == "the air"
    over.understood("mhm")
    assert over.judged_late() is None
    assert not over.said.text


def test_what_was_let_go_interrupts_late_only_by_words_however_long_it_lasted() -> None:
    over = Over()
    over.speaks(30)
    over.silent_for(1)
    over.understood("yeah")
    assert over.judged(silence_ms=32) is None

    assert over.judged_late() is None


def test_speech_too_short_to_keep_the_answer_back_interrupts_with_any_word() -> None:
    over = Over()
    over.onset_at = over.now
    over.silent_for(4)
    over.barge_in.let_go(over.onset_at)
    over.understood("david")

    assert not over.barge_in.undecided
    assert over.judged_late() is not None


def test_when_the_answer_ends_what_is_undecided_is_the_users_turn_with_its_words() -> None:
    over = Over()
    over.speaks(10)
    over.understood("the next", final=False)

    assert over.barge_in.ends()
    assert not over.barge_in.undecided
    assert over.turn.gain == 1.0
    assert over.said.text == "the next"


def test_when_the_answer_ends_what_was_let_go_is_forgotten_with_its_words() -> None:
    over = let_go("show me")

    assert not over.barge_in.ends()
    assert not over.said.text
    over.understood("stop")
    assert over.judged_late() is None


def test_when_the_answer_ends_in_the_midst_of_more_what_was_let_go_belongs_to_it() -> None:
    over = let_go("show me")
    over.speaks(10)

    assert over.barge_in.ends()
    assert over.said.text == "show me"


# -- beside the answer's echo ------------------------------------------------------------------------------------------


def test_what_is_noticed_beside_the_echo_ducks_before_its_window_comes_and_nothing_behind_it_lets_go() -> None:
    over = Over()

    assert over.noticed() == DUCKED
    assert over.silent_for(3) == [DUCKED, DUCKED, 1.0]


def test_what_is_noticed_again_and_again_and_may_be_a_voice_pauses() -> None:
    over = Over()
    gains = [(over.noticed(), *over.sounds(1, DOUBTED, NOISE_DBFS)) for _ in range(8)]

    assert [gain for pair in gains for gain in pair].index(PAUSED) == 13, "the first window that ends 200 ms behind it"


def test_what_is_noticed_again_and_again_and_is_no_voice_lets_go() -> None:
    over = Over()
    gains = [(over.noticed(), *over.sounds(1, 0.0, NOISE_DBFS)) for _ in range(8)]

    assert gains[0] == (DUCKED, DUCKED)
    assert gains[-1] == (1.0, 1.0)


def test_before_an_answer_is_audible_nothing_is_ducked() -> None:
    assert Over(audible=False).noticed() == 1.0
