"""Cut the answer into pieces to speak while it is being written: the first clause at once, then whole sentences.

A slow voice, or a slow writer, would leave a hole behind a short clause. So where the voice says how fast it is (`Pace`, over a feedback
edge), the next pieces are as long as there is time for, and grow into sentences as the sound in stock does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from flowgraph import MS, Field, Node
from nodes.text.pacing import Pacing
from nodes.text.splitting import Splitter
from nodes.vocabulary import End, Pace, Sentence, Token


class SentenceSplit(Node):
    """Cuts streamed text into a first clause and then sentences. Keeps every character, and where it is cut doesn't depend on the tokens."""

    needs = (Token,)

    first: Literal["clause", "sentence"] = Field(
        "clause", description="How the answer begins: `clause` is heard sooner, `sentence` has the better melody."
    )
    first_words: int = Field(
        8, ge=1, description="The first clause ends after so many words at the latest, but not on a word such as `the`."
    )
    max_chars: int = Field(220, ge=20, description="Longer sentences are cut, at a clause or a space.")

    async def open(self) -> None:
        self._pacing = Pacing(lambda: self.ctx.clock.now() / MS)
        self._splitter = Splitter(
            first=self.first, first_words=self.first_words, max_chars=self.max_chars, pacing=self._pacing
        )

    def process(self, frame: Token | Pace | End) -> Iterator[Sentence | End]:
        match frame:
            case Token(text=text):
                if self.ctx.turn.committed < frame.turn:
                    self._pacing.waits()
                yield from map(Sentence, self._splitter.feed(text))
            case Pace():
                self._pacing.learn(frame.characters, frame.first_ms, frame.sound_ms)
            case End():
                yield from map(Sentence, self._splitter.end())
                self._pacing.clear()
                yield frame

    def flush(self) -> None:
        self._splitter.clear()
        self._pacing.clear()
