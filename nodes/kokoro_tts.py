"""Speak the answer, sentence by sentence, with the next one already on its way.

1. One request a sentence: Kokoro-FastAPI packs longer texts into one model call, and nothing arrives until that is done.
2. What is spoken is a cleaned copy; what is reported, in `Speech.text`, is the original. A sentence with nothing to speak in it
   becomes a part without samples, so that the reported texts, joined, stay the answer exactly.
3. Two requests overlap (`parallel`); the engine keeps their order.
4. The silence that servers put around a sentence is cut, and a reader's pause put between two of them. It leaves before the request is
   made, and so covers some of the time that this takes.
5. No sound, or far too little, is an error even with status 200: the server skips what it fails to speak.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Literal

from flowgraph import MS, SECOND, Duration, Field, Node, ServiceName
from flowgraph.errors import ServiceError
from nodes.clients.captions import CaptionReader
from nodes.clients.posting import Posted
from nodes.clients.speaking import Part
from nodes.clients.warming import Warm, Warmth
from nodes.text.pauses import pause_behind
from nodes.text.speakable import speakable
from nodes.vocabulary import End, Pace, Sentence, Speech

LEAST_MS_A_LETTER = 8
"""Speech takes about 65 ms a letter; with an eighth of that, most of it is missing."""
REHEARSED = ("Ready.", "Ready when you are, just say a word.")
"""Spoken to nobody: the first loads the voice, the second shows how fast it is."""
_COMPRESSED = ("audio/mp", "audio/ogg", "audio/opus", "audio/aac", "audio/flac", "audio/webm")


class KokoroTts(Node):
    """Speaks sentences through a Kokoro server (Kokoro-FastAPI, or any with OpenAI's `/v1/audio/speech`), streamed."""

    server = "nodes.servers.tts"
    needs = (Sentence,)
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
    pause: Duration = Field(
        300 * MS,
        le=2 * SECOND,
        description="Between two sentences; behind a comma it is shorter. Only where silence is trimmed.",
    )
    warm: Warm = Field(
        "auto",
        description="Let the server speak a few words to nobody at the start, which loads the voice. `auto`: where it is in the local "
        "network, or says that it is a server of one's own; a hosted API would bill it.",
    )
    first_byte_timeout: Duration = Field(10 * SECOND, gt=0, description="Sound must begin within this.")
    stall_timeout: Duration = Field(
        5 * SECOND, gt=0, description="So long the server may be silent in the middle of a sentence."
    )

    def patience_ns(self) -> int:
        return max(self.first_byte_timeout, self.stall_timeout)

    async def open(self) -> None:
        self._attempt = -1
        self._parts = 0
        self._said = ""
        self._captions = self.words
        self._rate_hz = self.rate_hz
        self._done_at = 0
        self._warmth = Warmth(self.ctx.http(self.service), self.warm, note=self.ctx.note, say=self.ctx.say)

    async def close(self) -> None:
        if (warmth := getattr(self, "_warmth", None)) is not None:
            await warmth.close()

    async def run(self) -> AsyncIterator[Pace]:
        paces: list[Pace] = []
        if (rehearsal := self._warmth.begin(lambda: self._rehearse(paces))) is not None:
            await asyncio.wait([rehearsal])
        for pace in paces[1:]:
            yield pace

    async def process(self, frame: Sentence | End) -> AsyncIterator[Speech | Pace | End]:
        if isinstance(frame, End):
            yield frame
            return
        spoken = speakable(frame.text)
        part = self._next_part(frame, aloud=bool(spoken))
        for speech in part.begin():
            yield speech
        if spoken:
            self._warmth.stop()
            async with aclosing(self._speak(part, spoken)) as outputs:
                async for output in outputs:
                    yield output
        for speech in part.end():
            yield speech

    async def _speak(self, part: Part, spoken: str) -> AsyncGenerator[Speech | Pace]:
        """The sound of one request, and how fast it came. Raises ServiceError."""
        now = self.ctx.clock.now
        begun_at, first_at = now(), 0
        async with self._asked(spoken) as (answer, captions):
            while portion := await answer.read():
                answer.begun = True
                for sound, words in captions.feed(portion) if captions else [(portion, [])]:
                    for speech in part.feed(sound, words):
                        if not first_at:
                            first_at = now()
                            begun_at = max(begun_at, self._done_at)  # until then it may have worked on the one before
                        yield speech
            for sound, words in captions.end() if captions else []:
                for speech in part.feed(sound, words):
                    yield speech
            self._check_length(part, spoken, answer.who)
        self._rate_hz, self._done_at = part.rate_hz, now()
        if first_at:
            yield Pace(len(spoken), (first_at - begun_at) / MS, part.sound_ms)

    async def _rehearse(self, paces: list[Pace]) -> None:
        for text in REHEARSED if self.ctx.wants(Pace) else REHEARSED[:1]:
            part = Part(text, number=0, rate_hz=self.rate_hz, keep_ms=self._keep_ms)
            async with aclosing(self._speak(part, text)) as outputs:
                paces += [output async for output in outputs if isinstance(output, Pace)]

    def _next_part(self, sentence: Sentence, *, aloud: bool) -> Part:
        """Counts from 0 in each attempt. Called before anything is awaited, so in the order of the sentences."""
        if sentence.turn != self._attempt:
            self._attempt, self._parts, self._said = sentence.turn, 0, ""
        keep_ms, pause_ms = self._keep_ms, 0.0
        if aloud:
            if keep_ms is not None:
                pause_ms = max(pause_behind(self._said) * self.pause / MS - 2 * keep_ms, 0.0)
            self._said = sentence.text
        self._parts += 1
        return Part(sentence.text, number=self._parts - 1, rate_hz=self._rate_hz, keep_ms=keep_ms, pause_ms=pause_ms)

    @property
    def _keep_ms(self) -> float | None:
        return None if self.trim == "off" else self.trim / MS

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
