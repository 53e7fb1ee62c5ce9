"""Record an utterance, wait until the user has certainly finished, and hand it over as a WAV file.

1. Whether somebody speaks is the VAD's word; how long silence lasts is counted in its sound, not read from a clock.
2. It listens to one utterance at a time. From handing it over until its answer is over (or nothing was understood) it is deaf;
   who still speaks then is recorded from there on.
3. No sound from before the answer's end is in the next recording: it would be the answer's own echo.
"""

from __future__ import annotations

import asyncio
import io
import wave
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from flowgraph import MS, SECOND, Duration, Field, FileName, FlowError, Node
from flowgraph.node import Trouble, troubles
from nodes.sound.folder import Folder, require_folder
from nodes.vocabulary import Audio, Heard, Recording, SpeechStarted, Transcript, Voice

LATE_NS = SECOND
"""A VAD tells of speech at most so long after it began."""
LOST_NS = 120 * SECOND
"""When for so long nothing of an answer was heard, none will come: a node on the way has failed, and was told to go on."""


class WavRecorder(Node):
    """Waits for silence, then gives the whole utterance as a WAV file. Doesn't listen until that has been answered."""

    needs = (Audio, Voice)

    end_silence: Duration = Field(1000 * MS, gt=0, description="So much silence ends an utterance.")
    preroll: Duration = Field(
        300 * MS, ge=0, description="So much sound before the first voiced sample is recorded too."
    )
    memory: bool = Field(False, description="Keep the file in memory instead of writing it to disk.")
    folder: FileName = Field("", description="The files are written here and stay; without it, a temporary folder.")

    def problems(self) -> Iterator[Trouble]:
        if self.memory and self.folder:
            yield "folder is never written to with `memory: true`; leave one of them out"
            return
        yield from troubles("folder", require_folder, self.folder)

    async def open(self) -> None:
        self._sound: deque[Audio] = deque()
        """While nobody speaks, the last second or so; then all of the utterance."""
        self._onset_at = 0
        self._recording = False
        self._deaf_since = 0
        """0 = it listens."""
        self._since = 0
        """What was captured before isn't listened to."""
        self._folder = None if self.memory else Folder(self.folder)

    async def close(self) -> None:
        if (folder := getattr(self, "_folder", None)) is not None:
            folder.close()

    async def process(self, frame: Audio | SpeechStarted | Voice | Heard | Transcript) -> AsyncIterator[Recording]:
        match frame:
            case Audio() if not self._deaf_since and frame.at >= self._since:
                self._sound.append(frame)
                if not self._recording:
                    self._forget_before(frame.at - LATE_NS - self.preroll)
            case SpeechStarted():
                self._onset_at = frame.at
            case Voice() if self._deaf_since:
                if frame.at - self._deaf_since > LOST_NS:
                    self._listen()
            case Voice(speaking=True) if not self._recording:
                self._recording = True
                self._forget_before(self._onset_at - self.preroll)
            case Voice(speaking=False) if self._recording and frame.silence_ms * MS >= self.end_silence:
                sound = list(self._sound)
                self._listen(deaf_since=frame.at)
                if sound:
                    yield await self._recorded(sound, frame)
            case Heard(final=False):
                self._listen(deaf_since=frame.at)
            case Heard():
                self._listen(since=frame.played_until)
            case Transcript(final=True) if not frame.text.strip() or Heard not in self.ctx.fed:
                self._listen()

    def _listen(self, *, since: int = 0, deaf_since: int = 0) -> None:
        """Begin anew: with sound captured from `since` on; or be deaf, where somebody will tell when that is over."""
        self._sound.clear()
        self._recording = False
        self._deaf_since = 0 if self.ctx.fed.isdisjoint((Heard, Transcript)) else deaf_since
        self._since = max(self._since, since)

    def _forget_before(self, at: int) -> None:
        while self._sound and self._sound[0].end_at <= at:
            self._sound.popleft()

    async def _recorded(self, sound: Sequence[Audio], silence: Voice) -> Recording:
        target = self._folder.next("utterance", "wav") if self._folder else io.BytesIO()
        try:
            await asyncio.to_thread(_write, sound, target)
        except OSError as error:
            raise FlowError(f"can't write {target}: {error.strerror}", hint="is the disk full?") from None
        return Recording(
            target.getvalue() if isinstance(target, io.BytesIO) else target,
            start_at=sound[0].at,
            end_at=silence.at - silence.silence_ms * MS,
        )


def _write(sound: Sequence[Audio], target: Path | io.BytesIO) -> None:
    """16-bit mono WAV."""
    import numpy as np

    samples = np.concatenate([one.samples for one in sound])
    with wave.open(str(target) if isinstance(target, Path) else target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound[0].rate_hz)
        file.writeframes(np.round(np.clip(samples, -1, 1) * np.float32(32767)).astype("<i2").tobytes())
