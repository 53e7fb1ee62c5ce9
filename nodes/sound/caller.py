"""A recorded user who holds a conversation: speaks, listens, waits for the end of the answer, barges in, as the file says.

1. The noise of the room never stops. Speech lies on it sample by sample, so every `Utterance` knows its times exactly.
2. An utterance with `pause` begins that long after nobody speaks any more: neither the user nor the answer. One with `barge_in`
   begins that long after the answer became audible.
3. What began to sound after the user began to speak is the answer, unless it was cut while the user still spoke (then it was
   no answer but a false start). Without one within `patience` the user goes on.
4. When the answer to the last utterance is over, a short tail follows, and the call ends.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import TYPE_CHECKING, Protocol

from nodes.sound.conversation import RATE_HZ, Conversation, RecordedUtterance
from nodes.vocabulary import Utterance

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nodes.sound.room import Answer

    Samples = npt.NDArray[np.float32]


class Hearing(Protocol):
    """What the user knows of the answers: a `Room`, whose players tell it, or somebody who hears them (`Overheard`)."""

    @property
    def answer(self) -> Answer | None:
        """The latest answer that was audible."""
        ...

    def quiet_since(self, now: int) -> int:
        """Since when no answer has been sounding; 0 = one is sounding now; 1 = there was none yet."""
        ...


SECOND = 1_000_000_000
TAIL_NS = SECOND // 2


@dataclasses.dataclass(slots=True)
class _Said:
    """An utterance, spoken or being spoken, with its times on the session's clock."""

    recorded: RecordedUtterance
    index: int
    begin: int
    """Sample of the stream at which it begins."""
    samples: Samples
    start_at: int
    end_at: int
    over_at: int
    """When its recording has been played."""
    told: bool = False

    @property
    def end(self) -> int:
        return self.begin + len(self.samples)


class Caller:
    """A voice for a virtual microphone, from a conversation."""

    rate_hz = RATE_HZ

    def __init__(self, conversation: Conversation, room: Hearing) -> None:
        self.conversation = conversation
        self.spoken: deque[Utterance] = deque()
        """What was said, and not yet fetched. Each appears with the block that holds its last voiced sample."""
        self.ended = False
        self._room = room
        self._noise = conversation.noise_floor()
        self._count = 0
        self._begin_at = 0
        self._said: list[_Said] = []
        self._question: _Said | None = None
        """The latest that expects an answer."""
        self._tail = TAIL_NS

    def read(self, count: int, at: int) -> Samples:
        """The next samples; the first is captured at `at` (clock, nanoseconds)."""
        if not self._count:
            self._begin_at = at
        self._decide(at, self._time(self._count + count))
        block = self._noise_at(self._count, count)
        if self._said:
            self._speak(self._said[-1], block)
        self._count += count
        return block

    def close(self) -> None:
        """Nothing to release."""

    @property
    def begin_at(self) -> int:
        """When the first sample is captured (clock, nanoseconds), once it has been read."""
        return self._begin_at

    # -- the conversation ----------------------------------------------------------------------------------------------

    def _decide(self, at: int, until: int) -> None:
        """Begin the next utterance if its time comes before `until`; end the call behind the last."""
        if self._said and at < self._said[-1].over_at:
            return
        utterances = self.conversation.utterances
        index = len(self._said)
        following = utterances[index] if index < len(utterances) else None
        due = self._due(following, at)
        if due is None or due >= until:
            return
        if following is None:
            self.ended = True
            return
        samples = following.samples()
        begin = max(self._count, -(-(due - self._begin_at) * RATE_HZ // SECOND))
        said = _Said(
            following,
            index,
            begin,
            samples,
            start_at=self._time(begin + following.speech_start),
            end_at=self._time(begin + following.speech_end),
            over_at=self._time(begin + len(samples)),
        )
        if self._said:
            self._said[-1].samples = samples[:0].copy()  # it has been played; a view would keep it all
        self._said.append(said)
        if following.expects == "answer":
            self._question = said

    def _due(self, following: RecordedUtterance | None, at: int) -> int | None:
        """When the next utterance begins (the tail ends, without one); None = it depends on what isn't known yet."""
        pause = following.pause if following is not None else self._tail
        if not self._said:
            return self._begin_at + pause
        before, question = self._said[-1], self._question
        quiet_since = self._room.quiet_since(at)
        answer = self._answer()
        if following is not None and following.barge_in is not None and question is not None:
            if answer is not None:
                return max(answer.audible_at + following.barge_in, before.over_at)
        elif question is None or answer is not None:
            return max(quiet_since, before.over_at) + pause if quiet_since else None
        if not quiet_since:
            return None
        gave_up = max(question.end_at, quiet_since) + self.conversation.patience
        return max(gave_up, before.over_at) + pause if at >= gave_up else None

    def _answer(self) -> Answer | None:
        """The answer to the question, once it is audible."""
        answer, question = self._room.answer, self._question
        if answer is None or question is None or answer.audible_at <= question.start_at:
            return None
        false_start = answer.cut and answer.audible_at <= question.end_at
        return None if false_start else answer

    # -- the sound -----------------------------------------------------------------------------------------------------

    def _speak(self, said: _Said, block: Samples) -> None:
        """Lay the part of an utterance that falls into the block onto its noise."""
        first, last = max(said.begin, self._count), min(said.end, self._count + len(block))
        if first < last:
            block[first - self._count : last - self._count] += said.samples[first - said.begin : last - said.begin]
        if not said.told and self._time(self._count + len(block)) > said.end_at:
            said.told = True
            recorded = said.recorded
            self.spoken.append(
                Utterance(
                    said.index,
                    recorded.text,
                    said.start_at,
                    said.end_at,
                    expects=recorded.expects,
                    barges_in=recorded.barge_in is not None,
                    at=said.end_at,
                )
            )

    def _noise_at(self, sample: int, count: int) -> Samples:
        import numpy as np

        begin = sample % len(self._noise)
        block = self._noise[begin : begin + count]
        return block.copy() if len(block) == count else np.concatenate((block, self._noise[: count - len(block)]))

    def _time(self, sample: int) -> int:
        return self._begin_at + sample * SECOND // RATE_HZ
