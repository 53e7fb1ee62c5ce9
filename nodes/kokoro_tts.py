"""Speak the answer, sentence by sentence, with the next one already on its way.

1. One request a sentence: Kokoro-FastAPI packs longer texts into one model call, and nothing arrives until that is done.
2. What is spoken is a cleaned copy; what is reported, in `Speech.text`, is the original. A sentence with nothing to speak in it
   becomes a part without samples, so that the reported texts, joined, stay the answer exactly.
3. Two requests overlap (`parallel`); the engine keeps their order.
4. No sound, or far too little, is an error even with status 200: the server skips what it fails to speak.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from flowgraph import MS, SECOND, Duration, Field, Node, ServiceName
from flowgraph.errors import ServiceError
from nodes.clients.captions import CaptionReader
from nodes.clients.posting import Posted
from nodes.clients.speaking import Part
from nodes.text.speakable import speakable
from nodes.vocabulary import End, Sentence, Speech

LEAST_MS_A_LETTER = 8
"""Speech takes about 65 ms a letter; with an eighth of that, most of it is missing."""
_COMPRESSED = ("audio/mp", "audio/ogg", "audio/opus", "audio/aac", "audio/flac", "audio/webm")


class KokoroTts(Node):
    """Speaks sentences through a Kokoro server (Kokoro-FastAPI, or any with OpenAI's `/v1/audio/speech`), streamed."""

    server = "nodes.servers.tts"
    typical_ms = 150.0

    service: ServiceName = Field("tts", description="The TTS server, from `services`.")
    voice: str = Field("af_heart", description="The voice, or a mix such as `af_bella(2)+af_sky(1)`.")
    model: str = Field("kokoro", description="The model's name on that server.")
    speed: float = Field(1.0, ge=0.25, le=4, description="1.0 is the voice's own.")
    language: str = Field("", description="Kokoro's code, such as `a` (American English); without it, the voice's own.")
    rate_hz: int = Field(24_000, ge=8_000, le=48_000, description="Rate of the sound that the server sends.")
    parallel: int = Field(2, ge=1, le=8, description="So many sentences may be on their way at once.")
    words: bool = Field(
        False,
        description="Ask for the time of each word, where the server knows it: the history is then exact after an interruption.",
    )
    trim: Duration | Literal["off"] = Field(15 * MS, description="So much silence stays at both ends of a sentence.")
    first_byte_timeout: Duration = Field(10 * SECOND, gt=0, description="Sound must begin within this.")
    stall_timeout: Duration = Field(
        5 * SECOND, gt=0, description="So long the server may be silent in the middle of a sentence."
    )

    async def open(self) -> None:
        self._attempt = -1
        self._parts = 0
        self._captions = self.words

    async def process(self, frame: Sentence | End) -> AsyncIterator[Speech | End]:
        if isinstance(frame, End):
            yield frame
            return
        keep_ms = None if self.trim == "off" else self.trim / MS
        part = Part(frame.text, number=self._next_part(frame.turn), rate_hz=self.rate_hz, keep_ms=keep_ms)
        if spoken := speakable(frame.text):
            async with self._asked(spoken) as (answer, captions):
                while portion := await answer.read():
                    answer.begun = True
                    for sound, words in captions.feed(portion) if captions else [(portion, [])]:
                        for speech in part.feed(sound, words):
                            yield speech
                for sound, words in captions.end() if captions else []:
                    for speech in part.feed(sound, words):
                        yield speech
                self._check_length(part, spoken, answer.who)
        for speech in part.end():
            yield speech

    def _next_part(self, attempt: int) -> int:
        """Counts from 0 in each attempt. Called before anything is awaited, so in the order of the sentences."""
        if attempt != self._attempt:
            self._attempt, self._parts = attempt, 0
        self._parts += 1
        return self._parts - 1

    # -- the request ---------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _asked(self, spoken: str) -> AsyncIterator[tuple[Posted, CaptionReader | None]]:
        """A streamed answer; with a reader where it holds word times. Raises ServiceError."""
        if self._captions:
            async with self._post("/dev/captioned_speech", spoken, return_timestamps=True) as answer:
                if answer.status not in (404, 405):
                    yield await self._checked(answer, captions=True), CaptionReader()
                    return
            if self._captions:
                self._captions = False
                self.ctx.say(f"{self.ctx.name}: the server has no word times; they are estimated")
        async with self._post("/v1/audio/speech", spoken) as answer:
            yield await self._checked(answer), None

    def _post(self, path: str, spoken: str, **more: Any) -> Posted:
        body = {
            "model": self.model,
            "input": spoken,
            "voice": self.voice,
            "response_format": "pcm",
            "stream": True,
            "speed": self.speed,
            **({"lang_code": self.language} if self.language else {}),
            **more,
        }
        return Posted(
            self.ctx.http(self.service), path, body,
            first_ns=self.first_byte_timeout, stall_ns=self.stall_timeout,
        )  # fmt: skip

    # -- what can be wrong with the answer -----------------------------------------------------------------------------

    async def _checked(self, answer: Posted, *, captions: bool = False) -> Posted:
        """The same answer, if it can be one. Raises ServiceError."""
        kind = answer.content_type
        if answer.status >= 400 or (kind == "application/json" and not captions):
            raise await answer.refusal(wanted=self.voice)
        if kind.startswith(("text/", *_COMPRESSED)):
            raise ServiceError(
                f"{answer.who} sends {kind}, not raw sound", hint="it must know response_format: pcm; is the URL right?"
            )
        return answer

    def _check_length(self, part: Part, spoken: str, who: str) -> None:
        least_ms = LEAST_MS_A_LETTER * sum(map(str.isalnum, spoken)) / self.speed
        got_ms = part.received * 1000 / part.rate_hz
        if got_ms < least_ms:
            found = f"only {got_ms:.0f} ms of sound" if part.received else "no sound"
            raise ServiceError(
                f"{who} answered a sentence of {len(spoken)} characters with {found}",
                hint="see the TTS server's log",
            )
