"""Decides whose turn it is, what to answer, and what counts as said.

It alone turns facts into plans. Two decisions are kept apart:

- *candidate*: after `speculate_after` of silence an attempt starts; its answer is prepared behind the held edge.
- *commit*: after `end_silence` the user's turn is over, and the answer may be heard.

1. Its only clock is `Voice`, counted in audio. The VAD decides no end; this node does.
2. Transcripts join by the span of sound that they cover, never by arrival; one that contains an earlier span supersedes it.
3. The user speaks on while an attempt is prepared: the commit is suspended at the onset; the attempt is withdrawn after
   `withdraw_after` of speech or with a new word, else it goes on.
4. A final transcript that says the same (case, spaces, punctuation aside) keeps the attempt; another one makes a new attempt as long
   as nothing was heard, and only corrects the history afterwards. Without a final, the last partial counts `final_timeout`
   after the commit was due.
5. While a committed answer is on, silence starts no attempt: a barge-in is decided first. Speech ducks the answer at its onset;
   `confirm_after` of it (or a word) stops the answer for good, else the gain goes back.
6. The history holds what was heard, no more. What the user said in an attempt that was never heard stays pending and joins the next.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from flowgraph.errors import FlowError
from flowgraph.node import Node
from flowgraph.units import MS, SECOND, Duration
from nodes.sound.room import Room
from nodes.vocabulary import EndOfTurn, Failure, Heard, Prompt, SpeechStarted, ToolResult, Transcript, Voice

Role = Literal["system", "user", "assistant", "tool"]

COVERS_NS = 150 * MS
"""A final transcript whose span ends no earlier than this before the last voiced sample covers it."""

DEFAULT_SYSTEM = (
    "You are a voice assistant. You are heard, not read: answer in one to three short spoken sentences, "
    "without lists, markup or emoji. Begin with a short clause."
)


@dataclasses.dataclass(slots=True)
class Attempt:
    """One try at an answer."""

    number: int
    said: str
    """What the user said, as far as it was known."""
    ended_at: int
    """The user's last voiced sample."""
    committed: bool = False
    audible: bool = False
    over: bool = False


class Dialogue(Node):
    """Owns the turn: decides when the user has finished, asks for an answer, stops it when interrupted."""

    owns_turn = True
    needs = (Transcript,)

    end: Literal["silence", "transcript"] = Field(
        "silence",
        description="What ends the user's turn: `silence` of `end_silence`, or `transcript`: each final transcript is a turn.",
    )
    end_silence: Duration = Field(400 * MS, description="So much silence ends the user's turn.")
    speculate_after: Duration | Literal["off"] = Field(
        "off", description="Begin to prepare an answer after so much silence, before the turn is over; `off` waits."
    )
    final_timeout: Duration = Field(300 * MS, description="Wait so long for a final transcript, then take the partial.")
    withdraw_after: Duration = Field(150 * MS, description="So much new speech withdraws an attempt not yet committed.")
    barge_in: Literal["auto", "off", "headphones", "on"] = Field(
        "auto",
        description="May the user interrupt? `headphones`: yes, no echo reaches the microphone. `on`: yes, an echo canceller is in "
        "the graph. `off`: what is said while the answer plays is not listened to. `auto`: `off` where a real microphone may "
        "hear a real speaker, else as with headphones.",
    )
    confirm_after: Duration = Field(200 * MS, description="So much speech over the answer is an interruption.")
    duck: float = Field(0.25, ge=0, le=1, description="Gain of the answer while it is not clear yet.")
    system: str = Field(DEFAULT_SYSTEM, description="The system prompt: a text, or `file:PATH` beside the graph.")
    greeting: str = Field("", description="Said first, before the user speaks.")
    language: str = Field("", description="Language to answer in, such as `English`; added to the system prompt.")
    max_answer: int = Field(400, ge=0, description="Bound of an answer, in tokens; 0 = none.")
    max_history: int = Field(40, ge=2, description="So many messages are remembered.")
    idle_timeout: Duration | Literal["off"] = Field("off", description="End the session after so much silence.")

    def speculates(self) -> bool:
        return self.speculate_after != "off" and self.end == "silence"

    def typical_ns(self) -> int:
        return self.end_silence if self.end == "silence" else 0

    def candidate_ns(self) -> int:
        return self.speculate_after if isinstance(self.speculate_after, int) else 0

    def problems(self) -> Iterator[str]:
        if isinstance(self.speculate_after, int) and self.speculate_after > self.end_silence:
            yield "speculate_after is longer than end_silence: nothing would be prepared ahead; make it shorter, or `off`"

    async def open(self) -> None:
        system = self._read_system()
        if self.language:
            system += f" Always answer in {self.language}."
        self._history: list[tuple[Role, str]] = []
        self._system: tuple[Role, str] = ("system", system)
        self._by_silence = self.end == "silence" and (not self.ctx.fed or Voice in self.ctx.fed)
        self._attempt: Attempt | None = None
        self._open_turn = False
        self._speaking = False
        self._onset_at = 0
        self._last_voiced_at = 0
        self._silence_ms = 0
        self._barge_in = False
        self._finals: list[Transcript] = []
        self._partial: Transcript | None = None
        self._deaf_until = 0
        self._idle_since = 0
        self._answering = -1
        self._interruptible = self.barge_in != "off"

    async def run(self) -> AsyncIterator[Prompt]:
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
            yield Prompt((self._system,), say=self.greeting, at=now)

    def process(
        self, frame: SpeechStarted | Voice | Transcript | EndOfTurn | Heard | ToolResult | Failure
    ) -> Iterator[Prompt]:
        match frame:
            case Voice():
                yield from self._on_voice(frame)
            case SpeechStarted():
                self._on_onset(frame)
            case Transcript(final=True):
                yield from self._on_final(frame)
            case Transcript():
                self._on_partial(frame)
            case Heard():
                yield from self._on_heard(frame)
            case ToolResult():
                self._history.append(("tool", f"{frame.name}: {frame.text}"))
            case _:
                pass  # a Failure's attempt ends by its own `Heard(reason="error")`

    # -- the user ------------------------------------------------------------------------------------------------------

    def _on_onset(self, frame: SpeechStarted) -> None:
        self.ctx.warm()
        self._speaking = True
        self._onset_at = frame.at
        self._idle_since = 0
        answer = self._answer()
        if answer is None:
            self._open_turn = True
        elif self._interruptible or not answer.audible:
            self._barge_in = True
            self.ctx.turn.set_gain(self.duck if answer.audible else 0.0)

    def _on_voice(self, voice: Voice) -> Iterator[Prompt]:
        if voice.speaking:
            self._silence_ms = 0
            self._last_voiced_at = voice.at
            self._on_speech(voice.at - self._onset_at)
            return
        self._speaking = False
        self._silence_ms = voice.silence_ms
        if voice.silence_ms:
            self._last_voiced_at = voice.at - voice.silence_ms * MS
        if self._barge_in:
            self._barge_in = False
            self.ctx.turn.set_gain(1.0)
        if self._open_turn and self._by_silence and self._answer() is None:
            yield from self._proceed()
        elif not self._open_turn:
            self._watch_idle(voice.at)

    def _on_speech(self, lasted_ns: int) -> None:
        if self._barge_in:
            if lasted_ns >= self.confirm_after:
                self._interrupt()
        elif self._attempt is not None and not self._attempt.committed and lasted_ns >= self.withdraw_after:
            self._withdraw()

    def _on_partial(self, transcript: Transcript) -> None:
        if transcript.start_at < self._deaf_until:
            return
        grown = self._partial is None or len(_words(transcript.text)) > len(_words(self._partial.text))
        self._partial = transcript
        if not grown or not self._speaking:
            return
        if self._barge_in and transcript.text.strip() and transcript.end_at > self._onset_at:
            self._interrupt()
        elif self._attempt is not None and not self._attempt.committed and not _same(self._said(), self._attempt.said):
            self._withdraw()

    def _on_final(self, transcript: Transcript) -> Iterator[Prompt]:
        if self._partial is not None and self._partial.end_at <= transcript.end_at:
            self._partial = None
        if transcript.start_at < self._deaf_until:
            return
        kept = [t for t in self._finals if not _supersedes(transcript, t)]
        self._finals = sorted([*kept, transcript], key=lambda t: t.start_at)
        answer = self._answer()
        if not self._by_silence:
            self._last_voiced_at = transcript.end_at or transcript.at
            if answer is None and self._said():
                yield self._start(committed=True)
        elif answer is None:
            if self._open_turn and not self._speaking:
                yield from self._proceed()
        elif not (self._barge_in or self._speaking or answer.audible or _same(self._said(), answer.said)):
            yield self._start(committed=True)  # it was asked with a worse text, and nothing was heard yet

    # -- the decision --------------------------------------------------------------------------------------------------

    def _proceed(self) -> Iterator[Prompt]:
        """The user is silent: is there a candidate, is the turn over?"""
        silence_ns = self._silence_ms * MS
        over = silence_ns >= self.end_silence
        ready = self._covered() or silence_ns >= self.end_silence + self.final_timeout
        if ready and not self._said():
            if over:
                self._forget_turn()  # a cough: speech without words
            return
        candidate = isinstance(self.speculate_after, int) and silence_ns >= self.speculate_after
        if ready and (over or candidate):
            attempt = self._attempt
            if attempt is None or not _same(attempt.said, self._said()):
                yield self._start(committed=over)
            elif over:
                attempt.committed = self.ctx.turn.commit(attempt.number)

    def _start(self, *, committed: bool) -> Prompt:
        turn = self.ctx.turn
        number = turn.advance()
        self._attempt = Attempt(number, self._said(), self._last_voiced_at, committed)
        if committed:
            turn.commit(number)
        messages = (self._system, *self._history, ("user", self._attempt.said))
        return Prompt(messages, max_tokens=self.max_answer, at=self._last_voiced_at)

    def _withdraw(self) -> None:
        self.ctx.turn.advance()
        self._attempt = None

    def _interrupt(self) -> None:
        """The user takes the turn."""
        self._barge_in = False
        self._open_turn = True
        self.ctx.turn.advance()
        if self._attempt is not None and not self._attempt.audible:
            self._attempt = None

    # -- the answer ----------------------------------------------------------------------------------------------------

    def _on_heard(self, heard: Heard) -> Iterator[Prompt]:
        attempt = self._attempt
        if attempt is None or heard.turn != attempt.number:
            self._remember_answer(heard)
            return
        if heard.first_audible_at and not attempt.audible:
            attempt.audible = True
            self._remember_question(attempt)
        self._remember_answer(heard)
        if heard.final:
            if not attempt.audible and heard.reason == "done" and not heard.cut:
                self._remember_question(attempt)
            self._attempt = None
            self._idle_since = 0
            if heard.reason == "error" and not self._speaking:
                self._open_turn = (
                    False  # the question stays, and is asked again with the next; not over and over in the silence
                )
            if not self._interruptible:
                self._deaf_until = max(heard.played_until, self._last_voiced_at if self._speaking else 0)
                self._forget_before(self._deaf_until)
            elif self._open_turn and not self._speaking and self._by_silence:
                yield from self._proceed()
            if self._barge_in:
                self._barge_in = False
                self._open_turn = True

    def _remember_question(self, attempt: Attempt) -> None:
        if attempt.said:
            self._history.append(("user", attempt.said))
        self._answering = attempt.number
        self._history.append(("assistant", ""))
        self._forget_before(attempt.ended_at + 1)
        if not self._speaking:
            self._open_turn = False
        excess = len(self._history) - self.max_history
        if excess > 0:
            del self._history[:excess]

    def _remember_answer(self, heard: Heard) -> None:
        """`Heard` is cumulative: the latest one of an attempt replaces what it said before."""
        if heard.turn == self._answering:
            for index in range(len(self._history) - 1, -1, -1):
                if self._history[index][0] == "assistant":
                    if (
                        heard.text or heard.reason != "error"
                    ):  # a player that failed can't tell any more what it had played
                        self._history[index] = ("assistant", heard.text)
                    break

    # -- small things --------------------------------------------------------------------------------------------------

    def _answer(self) -> Attempt | None:
        """The committed answer that is on (audible, or about to be)."""
        attempt = self._attempt
        return attempt if attempt is not None and attempt.committed and attempt.number == self.ctx.turn.number else None

    def _said(self) -> str:
        """What the user said that no answer was heard to."""
        texts = [t.text.strip() for t in self._finals]
        partial = self._partial
        if partial is not None and (not self._finals or partial.end_at > self._finals[-1].end_at):
            texts.append(partial.text.strip())
        return " ".join(text for text in texts if text)

    def _covered(self) -> bool:
        """Is there a final transcript of the last thing that was said?"""
        return bool(self._finals) and self._finals[-1].end_at >= self._last_voiced_at - COVERS_NS

    def _forget_turn(self) -> None:
        self._open_turn = False
        self._finals.clear()
        self._partial = None

    def _forget_before(self, at: int) -> None:
        """Drop transcripts of sound before `at`."""
        self._finals = [t for t in self._finals if t.start_at >= at]
        if self._partial is not None and self._partial.start_at < at:
            self._partial = None

    def _watch_idle(self, at: int) -> None:
        if self.idle_timeout == "off" or self._attempt is not None:
            self._idle_since = 0
            return
        self._idle_since = self._idle_since or at
        if at - self._idle_since >= self.idle_timeout:
            self._idle_since = at
            self.ctx.stop(f"nobody spoke for {self.idle_timeout / SECOND:.0f} s (dialogue.idle_timeout)")

    def _read_system(self) -> str:
        if not self.system.startswith("file:"):
            return self.system
        path = Path(self.system.removeprefix("file:"))
        beside = Path(self.ctx.place.rsplit(":", 2)[0]).parent / path
        try:
            return (beside if beside.exists() else path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a text"
            raise FlowError(
                f"can't read the system prompt {path}: {reason}", hint=f"put the file beside {beside}"
            ) from None


def _supersedes(new: Transcript, old: Transcript) -> bool:
    """Does it tell the same sound anew? An empty one only says that nothing came behind what is known."""
    inside = new.start_at <= old.start_at and old.end_at <= new.end_at
    return inside and bool(new.text.strip() or not old.text.strip())


def _words(text: str) -> list[str]:
    return re.findall(r"\w+(?:['’]\w+)*", text.casefold())


def _same(one: str, other: str) -> bool:
    """Do they say the same, case, spaces and punctuation aside?"""
    return _words(one) == _words(other)
