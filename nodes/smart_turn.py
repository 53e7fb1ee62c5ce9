"""Hears from the sound whether the user has finished: a probability at every 100 ms of silence (Smart Turn v3).

1. The model judges up to 8 s of sound, which end at the checkpoint. It knows words by their sound alone, so it needs no
   transcript and doesn't wait for one.
2. What it hears begins 500 ms before the user's turn: at the first speech behind `forget` of silence. An earlier question
   would count as a part of this one.
3. Checkpoints are counted by the VAD, in audio: at `first`, then `every`, up to `until`. The spectra are made while the sound
   comes in; what is left to do at a checkpoint is one run of the model, in a thread.
4. A run takes tens of milliseconds. A checkpoint that comes meanwhile waits, and a newer one takes its place.
5. When speech goes on, a checkpoint that waits is given up, and a score of the silence before it is not told: it answers a
   question that nobody asks any more.
6. It decides nothing: that is the business of the turn's owner.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from flowgraph import MS, SECOND, Duration, Field, FileName, Node
from flowgraph.errors import FlowError
from nodes.vocabulary import Audio, EndOfTurn, SpeechStarted, Voice

if TYPE_CHECKING:
    from nodes.sound.mel import Clip, LogMel
    from nodes.sound.turn_model import TurnModel

RATE_HZ = 16_000
LEAD_NS = 500 * MS
"""So much sound before the first speech is heard too, as in pipecat, which trains the model (`PRE_SPEECH_MS`)."""
JITTER_NS = 32 * MS
"""A smaller jump of `at` is no gap."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Checkpoint:
    """A question to the model."""

    voice: Voice
    clip: Clip


class SmartTurn(Node):
    """Hears from the sound whether the user has finished (Smart Turn v3): a probability at every 100 ms of silence."""

    needs = (Audio, Voice, SpeechStarted)

    model: FileName = Field(
        "", description="File of the model; without, the Hugging Face cache or an installed `pipecat-ai` wheel has it."
    )
    download: bool = Field(
        False, description="May fetch the model (9 MB) from the Hugging Face hub, if it is nowhere here."
    )
    first: Duration = Field(100 * MS, description="So much silence asks for the first score; `0ms`: its first window.")
    every: Duration = Field(100 * MS, ge=10 * MS, description="So much more silence asks for the next.")
    until: Duration = Field(1 * SECOND, description="No score is asked for at more silence than this.")
    forget: Duration = Field(
        2 * SECOND, description="Speech behind so much silence is a new turn: the model hears only that."
    )

    def problems(self) -> Iterator[str]:
        if self.until < self.first:
            yield "until is below first: there would be no score; make it longer"

    async def open(self) -> None:
        self._news = asyncio.Event()
        self._checkpoint: _Checkpoint | None = None
        """The newest one that no run of the model has been begun for."""
        self._ended = False
        self._silence = 0
        """Counts up whenever somebody speaks: what was asked before is not told."""
        self._due_ns: int | None = None
        """The next checkpoint; None: nobody has spoken since the last one of a silence."""
        self._silent_ns = 0
        self._expected_at = 0
        self._model, self._mel = await asyncio.to_thread(self._load)

    def _load(self) -> tuple[TurnModel, LogMel]:
        from nodes.sound.mel import LogMel
        from nodes.sound.turn_model import TurnModel, find

        return TurnModel(find(self.model, download=self.download, say=self.ctx.say)), LogMel()

    async def close(self) -> None:
        self.__dict__.pop("_model", None)  # it holds megabytes

    async def drain(self) -> None:
        self._ended = True
        self._news.set()

    # -- what is heard -------------------------------------------------------------------------------------------------

    def process(self, frame: Audio | Voice | SpeechStarted) -> None:
        match frame:
            case Audio():
                self._on_sound(frame)
            case SpeechStarted() if self._silent_ns >= self.forget:
                self._begin_anew(frame.at - LEAD_NS)
            case Voice(speaking=True):
                self._due_ns = self.first
                self._silent_ns = 0
                self._silence += 1
                self._checkpoint = None
            case Voice():
                self._silent_ns = frame.silence_ms * MS
                self._ask(frame)

    def _on_sound(self, sound: Audio) -> None:
        import numpy as np

        if sound.rate_hz != RATE_HZ:
            raise FlowError(
                f"it takes sound at {RATE_HZ} Hz and got {sound.rate_hz} Hz from '{sound.source}'",
                hint=f"set rate_hz: {RATE_HZ} at '{sound.source}', or put a `resample` node before '{self.ctx.name}'",
            )
        missing_ns = sound.at - self._expected_at if self._expected_at else 0
        if missing_ns > (0 if sound.lost else JITTER_NS):
            # What was said there is not known; that time passed is.
            self._mel.add(np.zeros(_samples(min(missing_ns, 8 * SECOND)), np.float32))
        self._expected_at = sound.end_at
        self._mel.add(sound.samples)

    def _begin_anew(self, at: int) -> None:
        """Forget what was heard before `at`."""
        sound = self._mel.last(_samples(max(self._expected_at - at, 0))).copy()
        self._mel.clear()
        self._mel.add(sound)

    def _ask(self, voice: Voice) -> None:
        due_ns = self._due_ns
        if due_ns is None or self._silent_ns < due_ns:
            return
        following = due_ns + ((self._silent_ns - due_ns) // self.every + 1) * self.every
        self._due_ns = following if following <= self.until else None
        self._checkpoint = _Checkpoint(voice, self._mel.clip())
        self._news.set()

    # -- what the model says -------------------------------------------------------------------------------------------

    async def run(self) -> AsyncIterator[EndOfTurn]:
        while (checkpoint := await self._next()) is not None:
            silence, voice = self._silence, checkpoint.voice
            probability = await asyncio.to_thread(self._model.score, checkpoint.clip)
            if silence == self._silence:
                yield EndOfTurn(probability, voice.silence_ms, cause=voice)

    async def _next(self) -> _Checkpoint | None:
        """The newest checkpoint, as soon as there is one; None at the end of the sound."""
        while self._checkpoint is None and not self._ended:
            self._news.clear()
            await self._news.wait()
        checkpoint, self._checkpoint = self._checkpoint, None
        return checkpoint


def _samples(ns: int) -> int:
    return ns * RATE_HZ // SECOND
