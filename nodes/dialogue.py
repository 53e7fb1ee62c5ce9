"""Decides whose turn it is, what to answer, and what counts as said.

It alone turns facts into plans. Two decisions are kept apart:

- *candidate*: after `speculate_after` of silence an attempt starts; its answer is prepared behind the held edge.
- *commit*: once the policy `end` says that the user's turn is over (`nodes/turns/ending.py`), the answer may be heard.

1. Its only clock is `Voice`, counted in audio. The VAD decides no end; this node does.
2. The user speaks on while an attempt is prepared, or committed and not heard yet: the commit is suspended at the onset; the attempt is
   withdrawn after `withdraw_after` of speech or with a new word, else it goes on.
3. A final transcript that says the same (case, spaces, punctuation aside) keeps the attempt; another one makes a new attempt as long
   as nothing was heard, and only corrects the history afterwards. Without a final, the last partial counts `final_timeout`
   after the commit was due.
4. While a committed answer is heard, silence starts no attempt: speech over it is decided first (`nodes/turns/barge_in.py`). An
   interruption takes the turn, anything else lets the answer go on.
5. The history holds what was heard, no more. What the user said in an attempt that was never heard stays pending and joins the next.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from flowgraph.errors import FlowError
from flowgraph.files import address_beside, is_stream
from flowgraph.node import Node, Placed, Trouble, Wired, troubles
from flowgraph.units import MS, SECOND, Duration
from nodes.sound.room import Room
from nodes.text.finishing import asked, finish, words_of
from nodes.turns.barge_in import BargeIn
from nodes.turns.ending import Adaptive, Evidence, Fixed, Model, Policy, thresholds_for
from nodes.turns.history import History
from nodes.turns.overlap import Listening, Overlap, phrases
from nodes.turns.pauses import Pauses
from nodes.turns.said import COVERS_NS, Said, same
from nodes.vocabulary import (
    DoubleTalk,
    EndOfTurn,
    Failure,
    Heard,
    Prefix,
    Prompt,
    SpeechStarted,
    ToolResult,
    Transcript,
    Voice,
)  # fmt: skip

if TYPE_CHECKING:
    from flowgraph.tuning.sweep import Sweep

DEFAULT_SYSTEM = (
    "You are a voice assistant. You are heard, not read: answer in one to three short spoken sentences, "
    "without lists, markup or emoji. Begin with a short clause."
)
BACKCHANNELS = (
    "mhm", "mm", "mmhm", "mm hmm", "hm", "hmm", "uh huh", "huh", "uh", "um", "ah", "oh", "yeah", "yes", "yep", "right", "okay",
    "ok", "sure", "i see", "all right", "alright", "good", "great", "nice", "wow", "really", "exactly", "cool", "of course",
    "got it", "i know", "true", "fine", "oh no", "no way", "thanks", "thank you",
)  # fmt: skip
INTERRUPTIONS = (
    "stop", "wait", "no", "nope", "hold on", "hang on", "hold it", "pause", "enough", "quiet", "shut up", "cancel", "never mind",
    "sorry", "pardon", "excuse me", "one moment", "one second", "just a moment", "hey", "listen", "actually",
    "what", "why", "how", "when", "where", "again", "repeat", "help", "next", "skip",
)  # fmt: skip
REGRET_NS = SECOND
"""Who speaks on within this of an answer's first sound had not finished."""


@dataclasses.dataclass(slots=True)
class Attempt:
    """One try at an answer."""

    number: int
    said: str
    """What the user said, as far as it was known."""
    ended_at: int
    """The user's last voiced sample."""
    committed: bool = False
    audible_at: int = 0
    """When its first sound was heard; 0 = not yet."""


class Dialogue(Node):
    """Owns the turn: decides when the user has finished, asks for an answer, stops it when interrupted."""

    owns_turn = True
    needs = (Transcript,)

    end: Literal["fixed", "adaptive", "model", "transcript"] = Field(
        "fixed",
        description="What ends the user's turn. `fixed`: `end_silence`. `adaptive`: silence whose length depends on whether the words sound "
        "finished, on the user's own pauses, and on what was asked. `model`: an acoustic end-of-turn model (`smart_turn`), asked again "
        "and again while the silence lasts. `transcript`: each final transcript is a turn.",
    )
    end_silence: Duration = Field(
        400 * MS, description="So much silence ends the user's turn; with `adaptive`, where the words don't tell."
    )
    finished_silence: Duration = Field(
        240 * MS, description="`adaptive`: so much silence is enough where the words sound finished."
    )
    unfinished_silence: Duration = Field(
        2 * SECOND,
        description="`adaptive`: so much silence it takes where they can't be the end. `model`: where the model is never sure.",
    )
    learn_pauses: bool = Field(
        True, description="`adaptive`: learn how long this user pauses, in place of `end_silence`."
    )
    cutoff_budget: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="`model`: of a user's pauses of 100 ms or more, this share may be taken for the end. Picks thresholds to begin with; `flow tune` fits them.",
    )
    thresholds: dict[str, float] = Field(
        {},
        description="`model`: silence such as `200ms` → probability that ends the turn there, instead of `cutoff_budget` "
        "(`flow tune` fits them).",
    )
    words_weight: float = Field(
        1.0,
        ge=0,
        le=1,
        description="`model`: how much the words count beside the sound; 0 = not at all, 1 = they decide where they tell, and the sound where they don't.",
    )
    speculate_after: Duration | Literal["off"] = Field(
        "off", description="Begin to prepare an answer after so much silence, before the turn is over; `off` waits."
    )
    speculate_on: Literal["silence", "partial"] = Field(
        "silence",
        description="What an attempt waits for beside the silence: `silence`: the final transcript of it; `partial`: not even that, the "
        "partial one will do.",
    )
    max_attempts: int = Field(
        0,
        ge=0,
        description="So many attempts may be prepared ahead in one turn, then the turn has to be over; 0 = no bound.",
    )
    backoff: float = Field(
        1.0, ge=1, description="Each attempt withdrawn in a turn makes the next one wait so many times longer."
    )
    final_timeout: Duration = Field(300 * MS, description="Wait so long for a final transcript, then take the partial.")
    withdraw_after: Duration = Field(
        150 * MS, description="So much new speech withdraws an attempt that isn't heard yet."
    )
    barge_in: Literal["auto", "off", "headphones", "on"] = Field(
        "auto",
        description="May the user interrupt? `headphones`: yes, no echo reaches the microphone. `on`: yes, an echo canceller is in "
        "the graph. `off`: what is said while the answer plays is not listened to. `auto`: `off` where a real microphone may "
        "hear a real speaker, else as with headphones.",
    )
    duck: float = Field(
        0.25, ge=0, le=1, description="Gain of the answer as soon as somebody speaks over it; 0 pauses it."
    )
    pause_after: Duration = Field(200 * MS, description="So much speech over the answer pauses it until it is decided.")
    confirm_after: Duration = Field(
        700 * MS,
        description="So much speech over the answer is an interruption, even before its words are known. A word or two that may be anything "
        "are none after so much silence.",
    )
    min_words: int = Field(
        3,
        ge=1,
        description="So many words over the answer are an interruption; fewer only where they are among `interruptions`, ask something, or "
        "last `confirm_after`. 1 suits a recogniser that doesn't mishear an `mhm`.",
    )
    backchannels: list[str] = Field(
        list(BACKCHANNELS),
        description="What is said over an answer without wanting the turn. Case and punctuation aside.",
    )
    interruptions: list[str] = Field(
        list(INTERRUPTIONS), description="What wants the turn in fewer than `min_words`, wherever it stands among them."
    )
    system: Annotated[str, Placed(address_beside)] = Field(
        DEFAULT_SYSTEM, description="The system prompt: a text, or `file:PATH` beside the graph."
    )
    greeting: str = Field("", description="Said first, before the user speaks.")
    language: str = Field("", description="Language to answer in, such as `English`; added to the system prompt.")
    max_answer: int = Field(400, ge=0, description="Bound of an answer, in tokens; 0 = none.")
    max_history: int = Field(40, ge=4, description="So many messages are remembered.")
    idle_timeout: Duration | Literal["off"] = Field("off", description="End the session after so much silence.")

    def speculates(self) -> bool:
        return self.speculate_after != "off" and self.end != "transcript"

    def typical_ns(self) -> int:
        return 0 if self.end == "transcript" else round(self._policy().typical_ms * MS)

    def candidate_ns(self) -> int:
        return self.speculate_after if isinstance(self.speculate_after, int) else 0

    @classmethod
    def sweeps(cls) -> Sequence[Sweep]:
        from nodes.turns.sweeps import SWEEPS

        return SWEEPS

    def problems(self) -> Iterator[Trouble]:
        if isinstance(self.speculate_after, int) and self.end != "transcript":
            longest = self.end_silence if self.end == "fixed" else self.unfinished_silence
            if self.speculate_after > longest:
                name = "end_silence" if self.end == "fixed" else "unfinished_silence"
                yield f"speculate_after is longer than {name}: nothing would be prepared ahead; make it shorter, or `off`"
        if self.end == "adaptive" and not self.finished_silence <= self.end_silence <= self.unfinished_silence:
            yield (
                "finished_silence, end_silence and unfinished_silence have to rise in this order: what sounds finished "
                "needs no more silence than what doesn't"
            )
        if self.pause_after > self.confirm_after:
            yield "pause_after is longer than confirm_after: an interruption would be certain before the answer pauses"
        try:
            thresholds_for(self.thresholds, self.cutoff_budget)
        except ValueError as error:
            yield f"thresholds: {error}"
        path = self._system_path()
        if path is not None and not is_stream(path):
            yield from troubles("system", self._read_system)

    def edge_problems(self, edges: Wired) -> Iterator[Trouble]:
        if self.end == "model" and EndOfTurn not in edges.fed:
            yield (
                "end: model needs a node that judges the sound of a silence, and no edge brings its end_of_turn here",
                "add a node {type: smart_turn} with edges mic -> smart_turn -> dialogue and vad -> smart_turn, or take end: adaptive",
            )

    async def open(self) -> None:
        system = self._read_system()
        if self.language:
            system += f" Always answer in {self.language}."
        self._by_silence = self.end != "transcript" and (not self.ctx.fed or Voice in self.ctx.fed)
        self._decides = self._policy()
        self._listening = Listening(
            confirm_after=self.confirm_after,
            patience=self.final_timeout,
            backchannels=phrases(self.backchannels),
            interruptions=phrases(self.interruptions),
            min_words=self.min_words,
        )
        self._history = History(system, most=self.max_history)
        self._pauses = Pauses()
        self._said = Said()
        self._barge_in = BargeIn(
            self.ctx.turn, self._said, self._listening, duck=self.duck, pause_after=self.pause_after
        )
        self._answered = Said()
        """What the last answer that was heard answers: a late transcript may correct it."""
        self._answered_until = -1
        """The last voiced sample of that."""
        self._attempt: Attempt | None = None
        self._tries = self._withdrawn = 0
        """Attempts of this turn, and those of them that were withdrawn."""
        self._open_turn = False
        """The user said something that wants an answer."""
        self._began_over = False
        """… and began to while the last answer was heard."""
        self._speaking = False
        self._onset_at = 0
        self._last_voiced_at = 0
        self._silence_ms = 0
        self._paused_ms = 0.0
        """The silence before the speech that goes on; 0 = it isn't known to be a pause."""
        self._scores: dict[int, float] = {}
        self._suspended = False
        """Somebody speaks before the committed answer is heard."""
        self._deaf_until = 0
        self._heard_until = 0
        """When the last answer was over."""
        self._idle_since = 0
        self._interruptible = self.barge_in != "off"

    async def run(self) -> AsyncIterator[Prefix | Prompt]:
        yield Prefix(self._history.prefix)
        # Only now, all nodes being open, is it known which devices are in the room.
        room: Room = self.ctx.shared("room", lambda: Room(self.ctx.clock))
        if self.barge_in == "auto" and room.echoes:
            self._interruptible = False
            self.ctx.say(
                "barge-in is off, or the assistant would hear itself; with headphones, set dialogue.barge_in=headphones"
            )
        if self.greeting:
            now = self.ctx.clock.now()
            self._attempt = Attempt(self.ctx.turn.advance(), "", now, committed=True)
            self.ctx.turn.commit(self._attempt.number)
            yield Prompt(self._history.prefix, say=self.greeting, at=now)

    async def drain(self) -> None:
        self.ctx.turn.set_gain(1.0)  # nobody will say any more: an answer that is ducked or paused goes on

    def process(
        self, frame: SpeechStarted | Voice | DoubleTalk | Transcript | EndOfTurn | Heard | ToolResult | Failure
    ) -> Iterator[Prefix | Prompt]:
        match frame:
            case Voice():
                if frame.speaking:
                    self._on_speech(frame)
                else:
                    yield from self._on_silence(frame)
            case DoubleTalk():
                self._barge_in.notices(frame, audible=self._may_interrupt())
            case SpeechStarted():
                self._on_onset(frame)
                yield Prefix(self._history.prefix)  # time to read it ahead, while the user speaks
            case Transcript():
                yield from self._on_transcript(frame)
            case EndOfTurn():
                yield from self._on_score(frame)
            case Heard():
                yield from self._on_heard(frame)
            case ToolResult():
                self._history.tool(frame.name, frame.text)
            case _:
                pass  # a Failure's attempt ends by its own `Heard(reason="error")`

    # -- the user ------------------------------------------------------------------------------------------------------

    def _on_onset(self, frame: SpeechStarted) -> None:
        self.ctx.warm()
        self._speaking = True
        self._onset_at = frame.at
        self._idle_since = 0
        answer = self._answer()
        if answer is None or not answer.audible_at:
            self._paused_ms = (frame.at - self._last_voiced_at) / MS if self._open_turn and self._may_be_all() else 0.0
        if answer is None:
            self._began_over = self._began_over and self._open_turn
            self._open_turn = True
        elif not answer.audible_at:
            self._suspended = True
            self.ctx.turn.set_gain(0.0)
        elif self._interruptible:
            early = frame.at - answer.audible_at < REGRET_NS
            self._barge_in.begins(frame.at, early=early, behind=frame.at - self._last_voiced_at)

    def _on_speech(self, voice: Voice) -> None:
        self._silence_ms = 0
        self._last_voiced_at = voice.at
        self._scores.clear()
        lasted = voice.at - self._onset_at
        self._barge_in.hears(voice, lasted=lasted, audible=self._may_interrupt())
        if self._barge_in.undecided:
            self._judge()
        elif lasted >= self.withdraw_after:
            self._went_on()

    def _on_silence(self, voice: Voice) -> Iterator[Prompt]:
        self._speaking = False
        self._silence_ms = voice.silence_ms
        if voice.silence_ms:
            self._last_voiced_at = voice.at - voice.silence_ms * MS
        if self._suspended:
            self._suspended = False
            self.ctx.turn.set_gain(1.0)
        self._barge_in.hears(voice, lasted=0, audible=self._may_interrupt())
        self._judge()
        if self._open_turn and self._by_silence and self._answer() is None:
            yield from self._proceed()
        elif not self._open_turn:
            self._watch_idle(voice.at)

    def _on_score(self, score: EndOfTurn) -> Iterator[Prompt]:
        if self._speaking or score.at - score.silence_ms * MS < self._last_voiced_at - COVERS_NS:
            return  # of a silence that is over
        if self._barge_in.undecided:
            self._barge_in.scored(score.probability)
            return
        self._scores[score.silence_ms] = score.probability
        if self._open_turn and self._by_silence and self._answer() is None:
            yield from self._proceed()

    def _went_on(self) -> None:
        """The user speaks on: what was being prepared answers only a part of it."""
        self._pauses.add(self._paused_ms)
        self._paused_ms = 0.0
        if self._attempt is not None and not self._attempt.audible_at:
            self._withdraw()

    def _on_transcript(self, transcript: Transcript) -> Iterator[Prompt]:
        if transcript.start_at < self._deaf_until:
            if transcript.final:
                self._said.outdate(transcript)
            return
        if transcript.final and self._corrects(transcript):
            return
        grown = self._said.add(transcript)
        answer = self._answer()
        if self._barge_in.undecided:
            self._judge()
        elif not self._by_silence:
            if transcript.final:
                self._last_voiced_at = transcript.end_at or transcript.at
                if answer is None and self._said.text:
                    yield self._start(committed=True)
        elif answer is None:
            yield from self._on_words(transcript, grown=grown)
        elif answer.audible_at:
            behind, heard = transcript.start_at - self._last_voiced_at, self._history.last_answer
            self._interrupt(self._barge_in.judge_late(behind=behind, settled=transcript.final, heard=heard))
        elif transcript.final and not (self._speaking or same(self._said.text, answer.said)):
            yield self._start(committed=True)  # it was asked with a worse text, and nothing was heard yet
        elif self._speaking and grown and not same(self._said.text, answer.said):
            self._went_on()

    def _on_words(self, transcript: Transcript, *, grown: bool) -> Iterator[Prompt]:
        """Another transcript, and no answer is committed."""
        if self._speaking:
            if grown and self._attempt is not None and not same(self._said.text, self._attempt.said):
                self._went_on()
            return
        if not self._open_turn and transcript.final and transcript.text.strip():
            self._open_turn = True  # it comes when nobody waited for it any more
            self._began_over = transcript.start_at < self._heard_until
        if self._open_turn:
            yield from self._proceed()

    # -- the decision --------------------------------------------------------------------------------------------------

    def _proceed(self) -> Iterator[Prompt]:
        """The user is silent: is there a candidate, is the turn over?"""
        silence_ns = self._silence_ms * MS
        text = self._said.text
        settled = self._said.covers(self._last_voiced_at)
        evidence = Evidence(text, settled, self._history.last_answer, self._pauses, self._scores)
        needed_ns = self._decides.needed_ms(evidence) * MS
        over = silence_ns >= needed_ns and (settled or silence_ns >= needed_ns + self.final_timeout)
        if not text or self._only_backchannel(text):
            if over:
                self._forget_turn()  # a cough: speech without words
            return
        if over:
            attempt = self._attempt
            if attempt is None or not same(attempt.said, text):
                yield self._start(committed=True)
            else:
                attempt.committed = self.ctx.turn.commit(attempt.number)
        elif self._may_prepare(text, silence_ns) and (settled or self.speculate_on == "partial"):
            yield self._start(committed=False)

    def _may_prepare(self, text: str, silence_ns: int) -> bool:
        """May an answer to `text` be prepared, after so much silence? Not if it is already."""
        if not isinstance(self.speculate_after, int) or (self.max_attempts and self._tries >= self.max_attempts):
            return False
        if self._attempt is not None and same(self._attempt.said, text):
            return False
        return silence_ns >= self.speculate_after * self.backoff**self._withdrawn

    def _start(self, *, committed: bool) -> Prompt:
        turn = self.ctx.turn
        number = turn.advance()
        self._tries += 1
        self._attempt = Attempt(number, self._said.text, self._last_voiced_at, committed)
        if committed:
            turn.commit(number)
        messages = (*self._history.prefix, ("user", self._attempt.said))
        return Prompt(messages, max_tokens=self.max_answer, at=self._last_voiced_at)

    def _withdraw(self) -> None:
        self.ctx.turn.advance()
        self._attempt = None
        self._suspended = False
        self._withdrawn += 1

    # -- speech over the answer ----------------------------------------------------------------------------------------

    def _judge(self) -> None:
        settled, silence = self._said.covers(self._last_voiced_at), self._silence_ms * MS
        self._interrupt(self._barge_in.judge(settled=settled, silence=silence, heard=self._history.last_answer))

    def _interrupt(self, overlap: Overlap | None) -> None:
        """The user takes the turn, if that is an interruption."""
        if overlap is None:
            return
        attempt = self._attempt
        if attempt is not None and attempt.audible_at and overlap.onset_at - attempt.audible_at < REGRET_NS:
            self._pauses.add((overlap.onset_at - attempt.ended_at) / MS)
        self._open_turn = True
        self.ctx.turn.advance()

    def _only_backchannel(self, text: str) -> bool:
        """Said over the end of an answer that asked nothing: not worth an answer of its own."""
        return (
            self._began_over
            and asked(self._history.last_answer) == "nothing"
            and self._listening.is_backchannel(words_of(text))
        )

    # -- the answer ----------------------------------------------------------------------------------------------------

    def _on_heard(self, heard: Heard) -> Iterator[Prompt]:
        attempt = self._attempt
        if attempt is None or heard.turn != attempt.number:
            self._history.heard(heard)
            return
        if heard.first_audible_at and not attempt.audible_at:
            attempt.audible_at = heard.first_audible_at
            self._asked(attempt)
            if self._suspended:
                self._suspended = False
                self._barge_in.begins(self._onset_at, early=True)
            elif self._interruptible and self._onset_at > attempt.ended_at:
                self._barge_in.let_go(self._onset_at)  # too short to withdraw the attempt
        self._history.heard(heard)
        if heard.final:
            yield from self._on_answered(attempt, heard)

    def _on_answered(self, attempt: Attempt, heard: Heard) -> Iterator[Prompt]:
        """Nothing more of the answer will be heard."""
        if not attempt.audible_at and heard.reason == "done" and not heard.cut:
            self._asked(attempt)
        spoken_over = self._barge_in.ends()
        self._attempt = None
        self._idle_since = 0
        self._heard_until = heard.played_until
        if heard.reason == "error" and not self._speaking:
            # The question stays, and is asked again with the next; not over and over in the silence.
            self._open_turn = False
        if spoken_over:
            self._open_turn = self._began_over = True
        if not self._interruptible:
            self._deaf_until = max(heard.played_until, self._last_voiced_at if self._speaking else 0)
            self._said.forget_before(self._deaf_until)
        elif self._open_turn and not self._speaking and self._by_silence:
            yield from self._proceed()

    def _asked(self, attempt: Attempt) -> None:
        """The attempt's question has got an answer."""
        self._history.asked(attempt.number, attempt.said)
        self._answered_until = attempt.ended_at
        self._answered = self._said.split(attempt.ended_at + 1)
        self._tries = self._withdrawn = 0
        if not self._speaking:
            self._open_turn = self._began_over = False

    def _corrects(self, final: Transcript) -> bool:
        """A final transcript of what has got its answer: it corrects the history only."""
        answered = self._answered_until
        if final.start_at > answered or answered < self._onset_at < final.end_at:
            return False  # it tells what was said since, too
        self._answered.add(final)
        if text := self._answered.text:
            self._history.correct(text)
        return True

    # -- small things --------------------------------------------------------------------------------------------------

    def _policy(self) -> Policy:
        if self.end == "adaptive":
            return Adaptive(
                self.finished_silence / MS,
                self.end_silence / MS,
                self.unfinished_silence / MS,
                learns=self.learn_pauses,
            )
        if self.end == "model":
            return Model(
                thresholds_for(self.thresholds, self.cutoff_budget), self.unfinished_silence / MS, self.words_weight
            )
        return Fixed(self.end_silence / MS)

    def _may_be_all(self) -> bool:
        """Could what was said so far be the end? A pause where it couldn't tells nothing of how long to wait where it could."""
        return finish(self._said.text, self._history.last_answer) != "unfinished"

    def _answer(self) -> Attempt | None:
        """The committed answer that is on (audible, or about to be)."""
        attempt = self._attempt
        return attempt if attempt is not None and attempt.committed and attempt.number == self.ctx.turn.number else None

    def _may_interrupt(self) -> bool:
        """Is there an audible answer that the user may interrupt?"""
        answer = self._answer()
        return self._interruptible and answer is not None and answer.audible_at > 0

    def _forget_turn(self) -> None:
        if self._attempt is not None and not self._attempt.audible_at:
            self._withdraw()
        self._open_turn = self._began_over = False
        self._tries = self._withdrawn = 0
        self._said.forget()

    def _watch_idle(self, at: int) -> None:
        if self.idle_timeout == "off" or self._attempt is not None:
            self._idle_since = 0
            return
        self._idle_since = self._idle_since or at
        if at - self._idle_since >= self.idle_timeout:
            self._idle_since = at
            self.ctx.stop(f"nobody spoke for {self.idle_timeout / SECOND:.0f} s (dialogue.idle_timeout)")

    def _read_system(self) -> str:
        """Raises FlowError where it is in a file that can't be read."""
        path = self._system_path()
        try:
            return self.system if path is None else path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it isn't a text in UTF-8"
            hint = "system: file:PATH names a text file, seen from the folder of the file that says so"
            raise FlowError(f"can't read the system prompt {path}: {reason}", hint=hint) from None

    def _system_path(self) -> Path | None:
        return Path(self.system.removeprefix("file:")) if self.system.startswith("file:") else None
