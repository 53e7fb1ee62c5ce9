"""Have the whole answer spoken in one request.

1. The request is made at the answer's end: nothing is spoken before the last word is known.
2. `mp3` and `wav` are waited for, and given as a file, for `ffplay`. `pcm` is given as it arrives, for `speaker`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from flowgraph import SECOND, Duration, Field, FileName, FlowError, Node, ServiceName
from flowgraph.errors import ServiceError
from flowgraph.node import Trouble, Wired, troubles
from nodes.clients.speaking import Part
from nodes.sound.folder import Folder, require_folder
from nodes.text.speakable import speakable
from nodes.vocabulary import End, Speech, SpeechFile, Token

if TYPE_CHECKING:
    from nodes.clients.whole import Answer

_LOG = "see the TTS server's log"


class PostTts(Node):
    """Speaks the whole answer in one request to `/v1/audio/speech` of a Kokoro or OpenAI-compatible TTS server."""

    server = "nodes.servers.tts"
    needs = (Token,)

    service: ServiceName = Field("tts", description="The TTS server, from `services`.")
    voice: str = Field("af_heart", description="The voice.")
    model: str = Field("kokoro", description="The model's name on that server.")
    speed: float = Field(1.0, ge=0.25, le=4, description="1.0 is the voice's own.")
    format: Literal["mp3", "wav", "pcm"] = Field(
        "wav", description="`mp3` or `wav`: a file, when it is complete. `pcm`: sound, while it arrives."
    )
    rate_hz: int = Field(24_000, ge=8_000, le=48_000, description="Rate of the sound that the server sends as `pcm`.")
    memory: bool = Field(False, description="Keep the file in memory instead of writing it to disk.")
    folder: FileName = Field("", description="The files are written here and stay; without it, a temporary folder.")
    persistent: bool = Field(
        False, description="Use one connection again and again; else each request makes a new one."
    )
    timeout: Duration = Field(60 * SECOND, gt=0, description="So long the server may be silent.")

    def patience_ns(self) -> int:
        return self.timeout

    def problems(self) -> Iterator[Trouble]:
        if self.folder and (self.memory or self.format == "pcm"):
            why = "memory: true" if self.memory else "format: pcm"
            yield f"folder is never written to with `{why}`; leave one of them out"
            return
        yield from troubles("folder", require_folder, self.folder)

    def edge_problems(self, edges: Wired) -> Iterator[Trouble]:
        made, other = (Speech, SpeechFile) if self.format == "pcm" else (SpeechFile, Speech)
        if other in edges.taken and made not in edges.taken:
            hint = "`ffplay` takes files: format: wav" if self.format == "pcm" else "`speaker` takes sound: format: pcm"
            yield f"format: with {self.format} it makes {made.__name__}, which nobody takes here", hint

    async def open(self) -> None:
        self._text = ""
        self._folder: Folder | None = None
        if self.format != "pcm" and not self.memory:
            self._folder = Folder(self.folder)

    async def close(self) -> None:
        if (folder := getattr(self, "_folder", None)) is not None:
            folder.close()

    def flush(self) -> None:
        self._text = ""

    async def process(self, frame: Token | End) -> AsyncIterator[Speech | SpeechFile | End]:
        if isinstance(frame, Token):
            self._text += frame.text
            return
        text, self._text = self._text, ""
        if spoken := speakable(text):
            async with self._asked(spoken) as answer:
                if self.format == "pcm":
                    part = Part(text, number=0, rate_hz=self.rate_hz, keep_ms=None)
                    while portion := await answer.read():
                        for speech in part.feed(portion):
                            yield speech
                    received = part.received
                    for speech in part.end():
                        yield speech
                else:
                    sound = await answer.whole()
                    received = len(sound)
                    if sound:
                        yield SpeechFile(await self._kept(sound), text)
            if not received:
                raise ServiceError(f"{self._who} answered a text of {len(spoken)} characters with no sound", hint=_LOG)
        yield frame

    @asynccontextmanager
    async def _asked(self, spoken: str) -> AsyncIterator[Answer]:
        """The answer, if it is sound. Raises ServiceError."""
        from nodes.clients.whole import posted

        body = {
            "model": self.model,
            "input": spoken,
            "voice": self.voice,
            "response_format": self.format,
            "stream": self.format == "pcm",
            "speed": self.speed,
        }
        request = posted(
            self.ctx.http(self.service),
            "/v1/audio/speech",
            persistent=self.persistent,
            limit_s=self.timeout / SECOND,
            who=self._who,
            wanted=self.voice,
            json=body,
        )
        async with request as answer:
            if answer.content_type.startswith(("text/", "application/json")):
                hint = f"it must know response_format: {self.format}; is the URL right?"
                raise ServiceError(f"{self._who} sends {answer.content_type}, not sound", hint=hint)
            yield answer

    async def _kept(self, sound: bytes) -> Path | bytes:
        """The file's place, or the file."""
        if self._folder is None:
            return sound
        path = self._folder.next("answer", self.format)
        try:
            await asyncio.to_thread(path.write_bytes, sound)
        except OSError as error:
            raise FlowError(f"can't write {path}: {error.strerror}", hint="is the disk full?") from None
        return path

    @property
    def _who(self) -> str:
        return f"the TTS service '{self.service}'"
