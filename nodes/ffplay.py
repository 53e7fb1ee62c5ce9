"""Play whole answers with the `ffplay` program, as the old assistant did, and tell what was heard of them.

1. One program for each file, started when the file is there: its start is part of what is measured.
2. When something was audible comes from ffplay's own clock and from the file: its first 10 ms above −50 dBFS. The file is decoded for
   that while it plays, not before.
3. An interruption silences it at once. It can't be ducked: `turn.gain` means nothing to it.
4. What was played is told to who records it: the file's sound, at the time at which ffplay's clock says that it was heard.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from flowgraph import SECOND, Node
from nodes.sound.spoken import Passage
from nodes.vocabulary import End, Heard, Played, SpeechFile

if TYPE_CHECKING:
    from nodes.sound.player import Decoded, Player

NEWS_S = 0.25
"""So often it is told how much has been heard."""


@dataclasses.dataclass(slots=True)
class _Answer:
    """An attempt's answer, from its first file to its `End`."""

    speech: SpeechFile
    """The file that is played, or was played last."""
    text: str = ""
    """Of the files before it."""
    samples: int = 0
    """Of the files before it."""
    player: Player | None = None
    decoded: Decoded | None = None
    began_at: int = 0
    audible_at: int = 0
    told: int = 0
    """Of this file: samples that were told as played."""

    def followed_by(self, speech: SpeechFile) -> _Answer:
        """The same answer, when another file goes on with it."""
        samples = self.decoded.samples if self.decoded else 0
        return _Answer(speech, self.text + self.speech.text, self.samples + samples, audible_at=self.audible_at)

    def heard(self, now: int, **how: Any) -> Heard:
        """What has been heard of it by now."""
        text, samples, until = self.text, self.samples, 0
        if self.decoded is not None and self.player is not None:
            until = min(self.player.until or now, self.began_at + self.decoded.end_ns)
            played = self._played(until)
            passage = Passage(self.speech.text, 0, 0, 0, self.decoded.rate_hz, self.decoded.samples, complete=True)
            text, samples = text + passage.heard(played), samples + played
        return Heard(text, samples, self.audible_at, until, cause=self.speech, at=now, **how)

    def sounded(self, now: int) -> Iterator[Played]:
        """What has been played since this was asked last."""
        if self.decoded is None or self.player is None:
            return
        begin, self.told = self.told, self._played(min(self.player.until or now, now))
        if self.told > begin:
            at = self.began_at + self.decoded.start_ns + begin * SECOND // self.decoded.rate_hz
            yield Played(self.decoded.sound[begin : self.told], self.decoded.rate_hz, at=at)

    def _played(self, until: int) -> int:
        """Samples of the file that had been played by then."""
        assert self.decoded is not None
        assert self.player is not None
        share = max(until - self.began_at - self.decoded.start_ns, 0) * self.decoded.rate_hz // SECOND
        return self.decoded.samples if self.player.completed else min(share, self.decoded.samples)


class Ffplay(Node):
    """Plays each answer's file with the `ffplay` program (FFmpeg), started anew for each."""

    effects = True
    needs = (SpeechFile,)

    async def open(self) -> None:
        from nodes.sound.player import has_device, installed
        from nodes.sound.room import Room

        self._answer: _Answer | None = None
        self._cut: asyncio.Queue[Heard | Played | None] = asyncio.Queue()
        self._room = self.ctx.shared("room", lambda: Room(self.ctx.clock))
        installed("ffplay", "ffmpeg")
        self._silent = not await has_device()
        if self._silent:
            self.ctx.say("no sound device: ffplay plays into nothing, at the pace of a real one")

    async def close(self) -> None:
        answer = getattr(self, "_answer", None)
        if answer is not None and answer.player is not None:
            await answer.player.stop()

    async def process(self, frame: SpeechFile | End) -> AsyncIterator[Heard | Played]:
        if isinstance(frame, End):
            yield self._ended(frame)
            return
        from nodes.sound.player import Player, decode

        now = self.ctx.clock.now
        answer = self._answer = self._answer.followed_by(frame) if self._answer else _Answer(frame)
        player = answer.player = await Player.start(frame.content, now=now, silent=self._silent)
        try:
            answer.began_at = await player.begun()
            answer.decoded = decoded = await decode(frame.content)
            if not answer.audible_at and decoded.audible_ns is not None:
                audible_at = answer.began_at + decoded.audible_ns
                await player.ended(max(audible_at - now(), 0) / SECOND)
                answer.audible_at = audible_at
                self._room.answer_begins(audible_at)
            if decoded.audible_ns is not None:
                self._room.answer_sounds(answer.began_at + decoded.sounding_ns)
            yield answer.heard(now())
            while not await player.ended(NEWS_S):
                yield answer.heard(now())
                for sound in self._recorded(answer):
                    yield sound
            for sound in self._recorded(answer):
                yield sound
        finally:
            await player.stop()

    async def run(self) -> AsyncIterator[Heard | Played]:
        while (told := await self._cut.get()) is not None:
            yield told

    async def drain(self) -> None:
        self._cut.put_nowait(None)

    def flush(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            heard = answer.heard(self.ctx.clock.now(), final=True, cut=True)
            self._room.answer_ends(heard.at, cut=True)
            for sound in self._recorded(answer):
                self._cut.put_nowait(sound)
            self._cut.put_nowait(heard)

    def _recorded(self, answer: _Answer) -> Iterator[Played]:
        """What has been played since the last time, if anybody records it."""
        return answer.sounded(self.ctx.clock.now()) if self.ctx.wants(Played) else iter(())

    def _ended(self, end: End) -> Heard:
        now = self.ctx.clock.now()
        answer, self._answer = self._answer, None
        if answer is None:
            return Heard(final=True, reason=end.reason, detail=end.detail, at=now)
        heard = answer.heard(now, final=True, reason=end.reason, detail=end.detail)
        self._room.answer_ends(heard.played_until or now)
        return heard
