"""An assistant that answers a fixed time after the user's last voiced sample, and a caller whose last sample is known."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np

from flowgraph.frame import End, Heard
from flowgraph.node import Node
from flowgraph.units import MS, SECOND
from nodes.vocabulary import Audio, Prompt, Speech

RATE_HZ = 16_000
LAST_VOICED = 8_000 - 8
"""Half a millisecond before a block of the speaker begins."""


class Sharp(Node):
    """Answers a fixed time after the last voiced sample, which it hears to the sample."""

    owns_turn = True
    after_ms: int = 700

    async def open(self) -> None:
        self._voiced_at = 0

    async def process(self, frame: Audio | Heard) -> AsyncIterator[Prompt]:
        if isinstance(frame, Heard):
            return
        voiced = np.flatnonzero(np.abs(frame.samples) > 0.1)
        if len(voiced):
            self._voiced_at = frame.at + int(voiced[-1]) * SECOND // RATE_HZ
        elif self._voiced_at:
            due, self._voiced_at = self._voiced_at + self.after_ms * MS, 0
            await asyncio.sleep((due - self.ctx.clock.now()) / SECOND)
            self.ctx.turn.commit(self.ctx.turn.advance())
            yield Prompt((("user", "?"),), at=due - self.after_ms * MS)


class Tone(Node):
    """Speaks at once."""

    def process(self, frame: Prompt) -> Iterator[Speech | End]:
        tone = 0.3 * np.sin(np.arange(6_000) * 0.2, dtype=np.float32)
        yield Speech(tone.astype(np.float32), 24_000, text="Tone.")
        yield End()


SHARP = """
name: sharp
nodes:
  mic: {type: mic}
  dialogue: {type: sharp}
  tts: {type: tone}
  speaker: {type: speaker, device: "null"}
edges:
  - mic -> dialogue -> tts
  - {from: tts, to: speaker, hold: commit}
  - {from: speaker, to: dialogue, feedback: true}
"""


def caller_known_to_the_sample(folder: Path, *, times: int = 2, text: str = "square") -> Path:
    voice = np.zeros(LAST_VOICED + 1 + 1600, np.int16)
    # A square: every sample of it is voiced, the last one too.
    voice[1600 : LAST_VOICED + 1] = np.where(np.arange(LAST_VOICED + 1 - 1600) % 40 < 20, 9000, -9000)
    with wave.open(str(folder / "said.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(voice.tobytes())
    path = folder / "known.yaml"
    said = f"  - {{audio: said.wav, text: {text!r}, speech: [1600, {LAST_VOICED}], pause: 500ms}}\n"
    path.write_text(f"utterances:\n{said * times}", encoding="utf-8")
    return path
