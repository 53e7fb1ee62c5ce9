"""The frames that voice nodes speak: the only module that nodes share. Imports without numpy.

Sound is mono float32 in [-1, 1], shape (n,), at its own rate. Text in Plans keeps every character: what is spoken
may be cleaned, what is remembered is not.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from flowgraph.frame import End, Fact, Failure, Frame, Heard, Plan, frame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

__all__ = [
    "Audio", "DoubleTalk", "End", "EndOfTurn", "Failure", "Heard", "Pace", "Played", "Prefix", "Prompt", "Recording", "Sentence", "Sound",
    "SoundFile", "Speech", "SpeechFile", "SpeechStarted", "Token", "ToolResult", "Transcript", "Utterance", "Voice",
]  # fmt: skip


@frame
class Sound(Frame):
    """What captured and spoken sound share. Not yielded itself: a node that takes Sound yields the class it got."""

    samples: Samples
    """float32, shape (n,), in [-1, 1]; read-only."""
    rate_hz: int

    bulk: ClassVar[bool] = True

    @property
    def duration_ns(self) -> int:
        return len(self.samples) * 1_000_000_000 // self.rate_hz

    @property
    def end_at(self) -> int:
        """When its last sample was captured or played (clock, nanoseconds)."""
        return self.at + self.duration_ns

    def with_samples(self, samples: Samples, rate_hz: int = 0) -> Any:
        """The same kind of sound with other samples (a new frame, not stamped, `at` kept)."""
        kept = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.init and field.name not in ("samples", "rate_hz", "cause")
        }
        return type(self)(samples=samples, rate_hz=rate_hz or self.rate_hz, **kept)


@frame
class Audio(Sound, Fact):
    """Captured sound. `at` is when its first sample was captured."""


@frame
class Played(Sound, Fact):
    """What the speaker's device really played, silence included: a canceller's reference, a recorder's right channel."""


@frame
class Speech(Sound, Plan):
    """Sound to be heard, with the piece of the answer's text that it speaks."""

    text: str = ""
    """The original text that begins with this chunk ("" = it goes on with an earlier chunk's text)."""
    part: int = 0
    """Counts the requests of an attempt from 0: all chunks of one sentence share it."""
    last: bool = False
    """True on the chunk that ends its part (it may hold no samples): now the part's length is known."""
    words: tuple[tuple[str, int, int], ...] = ()
    """Word times where the server gives them: (exact text with the space behind it, first sample, end sample) counted
    from the part's start. Joined, the words are the part's text."""


@frame
class SpeechStarted(Fact):
    """Somebody began to speak. `at` is the first voiced sample (estimated by the VAD)."""

    probability: float = 1.0


@frame
class Voice(Fact):
    """What the VAD makes of one 32 ms window. `at` is the time of the window's end."""

    probability: float
    silence_ms: int
    """Since the last voiced sample: 0 while somebody speaks; counted in audio, not read from a clock."""
    speaking: bool = False
    """True from a confirmed onset until `silence_ms` begins to count."""
    level_dbfs: float = -120.0
    end_dbfs: float = -120.0
    """Of its second half: above `level_dbfs` where a sound begins within the window."""

    bulk: ClassVar[bool] = True


@frame
class DoubleTalk(Fact):
    """Something beside the answer's echo sounds in the room. `at` is the end of the 10 ms of a captured frame in which it is first clear."""

    bulk: ClassVar[bool] = True


@frame
class Transcript(Fact):
    """What the STT understood of the capture span [start_at, end_at]. `at` is when it was said to be so."""

    text: str
    final: bool = False
    start_at: int = 0
    """Clock, nanoseconds: the first sample that it covers."""
    end_at: int = 0
    """Clock, nanoseconds: the last sample that it covers."""
    language: str = ""


@frame
class EndOfTurn(Fact):
    """How sure an end-of-turn model is that the user has finished.

    `at` is the end of the silence that the model heard; it is told later, by the time that the model took. Its cause is the
    `Voice` that asked.
    """

    probability: float
    """0 to 1, of the model that it comes from: what is high enough to act on is not the same for two models."""
    silence_ms: int = 0
    """Of the `Voice` that asked: since the last voiced sample, counted in audio."""


Message = tuple[Literal["system", "user", "assistant", "tool"], str]
"""(role, text)."""


@frame
class Prefix(Fact):
    """What the next Prompt will begin with, known before the user has finished: time to read it ahead."""

    messages: tuple[Message, ...]


@frame
class Prompt(Plan):
    """The owner's plan for one attempt: answer this. `at` is the last voiced sample of what it answers."""

    messages: tuple[Message, ...]
    """(role, text), oldest first; the last one is what is to be answered."""
    say: str = ""
    """Spoken as it stands, without asking an LLM (a greeting)."""
    max_tokens: int = 0
    """0 = no bound."""


@frame
class Token(Plan):
    """A piece of the answer's text, as the LLM streams it."""

    text: str


@frame
class Sentence(Plan):
    """A piece of the answer that is spoken in one go. All of an attempt's sentences, joined, are the answer exactly."""

    text: str


@frame
class Pace(Fact):
    """How fast a piece of text became sound."""

    characters: int
    """Of the piece."""
    first_ms: float
    """From its request to its first sound."""
    sound_ms: float
    """How long it is heard."""


@frame
class ToolResult(Fact):
    """What a tool said."""

    name: str
    text: str


@frame
class Utterance(Fact):
    """Ground truth from a recorded caller: what was really said, and when (clock, nanoseconds, by annotation)."""

    index: int
    """Counts the caller's utterances from 0."""
    text: str
    start_at: int
    end_at: int
    """The last voiced sample."""
    expects: Literal["answer", "nothing"] = "answer"
    barges_in: bool = False


@frame
class SoundFile(Frame):
    """What a recorded utterance and a spoken answer share where sound goes by files. Not yielded itself."""

    content: Path | bytes = dataclasses.field(repr=False)
    """Where the file is, or all of it in memory."""

    def fields(self) -> Iterator[tuple[str, Any]]:
        """Without the file's content, which nobody reads."""
        for name, value in Frame.fields(self):
            shown = f"{len(value)} bytes" if isinstance(value, bytes) else str(value)
            yield name, shown if name == "content" else value


@frame
class Recording(SoundFile, Fact):
    """A finished utterance, with some silence around it."""

    start_at: int = 0
    """Clock, nanoseconds: the first sample in the file."""
    end_at: int = 0
    """Clock, nanoseconds: the last voiced sample."""


@frame
class SpeechFile(SoundFile, Plan):
    """A whole answer, spoken."""

    text: str = ""
    """The original text that it speaks."""
