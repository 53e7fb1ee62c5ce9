"""What happens to an audible answer while somebody sounds over it: it is ducked, paused, stopped, or goes on.

1. A sound that may be a voice ducks the answer in the window that it comes with, or sooner where an `aec` notices it; it goes on with the first window that holds none.
   What has sounded for `pause_after` pauses it, speech or a voice that the detector doubts.
2. From its onset on, speech is undecided, the answer ducked or paused, until `Listening` knows what it is (`nodes/turns/overlap.py`).
3. An interruption is told to the caller, who takes the turn. Anything else lets the answer go on from the same sample.
4. Speech that was let go is remembered while the answer lasts: a transcript that comes late may still make it an interruption. Words
   that may be anything stay, so that they belong to what is said next; in another breath, or when the answer is over, they are dropped.
   Where the next sound comes sooner than its transcript, both are one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowgraph.units import MS
from nodes.turns.overlap import UNFINISHED, Attention, Listening, Overlap, Verdict
from nodes.turns.pauses import LONGEST_PAUSE_MS
from nodes.turns.said import COVERS_NS

if TYPE_CHECKING:
    from flowgraph.turn import Turn
    from nodes.turns.said import Said
    from nodes.vocabulary import DoubleTalk, Voice


class BargeIn:
    """Holds the answer's gain while somebody sounds over it, until it is known what they want. Times in nanoseconds."""

    def __init__(self, turn: Turn, said: Said, listening: Listening, *, duck: float, pause_after: int) -> None:
        """`said`: what nobody has answered; what turns out to be nothing is dropped from it."""
        self._turn = turn
        self._said = said
        self._listening = listening
        self._duck = duck
        self._pause_after = pause_after
        self._attention = Attention()
        self._overlap: Overlap | None = None
        self._let_go: Overlap | None = None

    @property
    def undecided(self) -> bool:
        """Does, or did, somebody speak over the answer, and it isn't known yet what that is?"""
        return self._overlap is not None

    def hears(self, voice: Voice, *, lasted: int, audible: bool) -> None:
        """Take in the next window: `lasted`: speech since its onset, 0 in silence; `audible`: an answer that may be interrupted."""
        alert = self._attention.hears(voice)
        lasts = alert and self._lasts(voice.at)
        if self._overlap is not None:
            self._overlap.lasted = max(lasted, self._overlap.lasted)
            self._overlap.ended = self._overlap.ended or not voice.speaking
            if lasts or (voice.speaking and lasted >= self._pause_after):
                self._turn.set_gain(0.0)
        elif audible and not voice.speaking:
            self._turn.set_gain(1.0 if not alert else 0.0 if lasts else self._duck)

    def notices(self, beside: DoubleTalk, *, audible: bool) -> None:
        """Something else than the answer's echo sounds, and isn't in a window yet."""
        if self._attention.notices(beside) and audible and self._overlap is None:
            self._turn.set_gain(0.0 if self._lasts(beside.at) else self._duck)

    def begins(self, at: int, *, early: bool, behind: int = 0) -> None:
        """Speech over the answer has its onset `at`. `early`: the user may not have finished before; `behind`: so much silence."""
        before = self._let_go
        if before is not None and behind > LONGEST_PAUSE_MS * MS:
            self._said.forget_since(before.onset_at)
            before = None
        if self._overlap is None:
            self._overlap = Overlap(at, early=early)
            if before is not None and not self._said.covers(before.onset_at + COVERS_NS):
                # Its words are still to come, and would be nobody's: it is judged again, with this.
                self._overlap = Overlap(before.onset_at, early=early or before.early)
        self._overlap.ended = False
        self._turn.set_gain(min(self._duck, self._turn.gain))

    def let_go(self, at: int) -> None:
        """Speech with its onset `at` was too short to keep the answer from being heard; its words may still come."""
        self._let_go = Overlap(at, early=True, ended=True)

    def scored(self, probability: float) -> None:
        """An acoustic model says how probably the user has finished."""
        if self._overlap is not None:
            self._overlap.unfinished = probability < UNFINISHED

    def judge(self, *, settled: bool, silence: int, heard: str) -> Overlap | None:
        """What is undecided: the interruption, if it is one (see `Listening.verdict`). If it is none, the answer goes on."""
        overlap = self._overlap
        if overlap is None:
            return None
        verdict = self._verdict(overlap, settled=settled, silence=silence, heard=heard)
        if verdict == "interruption":
            return self._interruption(overlap)
        if verdict != "open":
            self._overlap, self._let_go = None, overlap
            self._turn.set_gain(1.0)
        return None

    def judge_late(self, *, behind: int, settled: bool, heard: str) -> Overlap | None:
        """Another transcript, `behind` the last speech by so much: the interruption, if it tells that what was let go was one."""
        overlap = self._let_go
        if overlap is None:
            return None
        if behind > LONGEST_PAUSE_MS * MS:  # in another breath; and as nobody speaks, a recogniser's words for a noise
            self._said.forget_since(overlap.onset_at)
            self._let_go = None
            return None
        words = self._said.since(overlap.onset_at)
        verdict = self._verdict(overlap, settled=settled, silence=0, heard=heard)
        return self._interruption(overlap) if words and verdict == "interruption" else None

    def ends(self) -> bool:
        """Nothing more of the answer will be heard. Was something undecided? It is the user's turn then."""
        undecided = self.undecided
        if undecided:
            self._turn.set_gain(1.0)
        elif self._let_go is not None:
            self._said.forget_since(self._let_go.onset_at)  # doubtful words, and no more came
        self._overlap = self._let_go = None
        return undecided

    def _lasts(self, at: int) -> bool:
        return at - self._attention.since >= self._pause_after

    def _verdict(self, overlap: Overlap, *, settled: bool, silence: int, heard: str) -> Verdict:
        said = self._said.since(overlap.onset_at)
        verdict = self._listening.verdict(overlap, said=said, settled=settled, silence=silence, heard=heard)
        if verdict == "nothing":
            self._said.forget_since(overlap.onset_at)
        return verdict

    def _interruption(self, overlap: Overlap) -> Overlap:
        self._overlap = self._let_go = None
        return overlap
