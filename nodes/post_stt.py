"""Have a recording transcribed in one request: upload the file, wait for the text."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from flowgraph import SECOND, Duration, Field, Node, ServiceName
from flowgraph.errors import FlowError, ServiceError
from nodes.clients.problems import error_in, shortened
from nodes.vocabulary import Recording, Transcript

_NO_SPEECH = re.compile(r"[\[(][A-Za-z_ ]+[\])]")
"""What Whisper servers write for sound without words: `[BLANK_AUDIO]`, `(silence)`, `[MUSIC]`."""


class PostStt(Node):
    """Uploads each recording to `/v1/audio/transcriptions` of an OpenAI-compatible STT server, and waits for the text."""

    server = "nodes.servers.stt"

    service: ServiceName = Field("stt", description="The STT server, from `services`.")
    model: str = Field("whisper-1", description="The model's name on that server.")
    language: str = Field("", description="Language of the speech, such as `en`; without it, the server finds out.")
    persistent: bool = Field(
        False, description="Use one connection again and again; else each request makes a new one."
    )
    timeout: Duration = Field(30 * SECOND, gt=0, description="So long the server may be silent.")

    def patience_ns(self) -> int:
        return self.timeout

    async def process(self, frame: Recording) -> AsyncIterator[Transcript]:
        from nodes.clients.whole import posted

        who = f"the STT service '{self.service}'"
        request = posted(
            self.ctx.http(self.service),
            "/v1/audio/transcriptions",
            persistent=self.persistent,
            limit_s=self.timeout / SECOND,
            who=who,
            wanted=self.model,
            data=self._form(await self._file(frame.content)),
        )
        async with request as answer:
            text = _text(await answer.whole(), answer.content_type, who)
        yield Transcript(
            text,
            final=True,
            start_at=frame.start_at,
            end_at=frame.end_at,
            language=self.language,
            at=self.ctx.clock.now(),
        )

    async def _file(self, content: Path | bytes) -> bytes:
        if isinstance(content, bytes):
            return content
        try:
            return await asyncio.to_thread(content.read_bytes)
        except OSError as error:
            raise FlowError(f"can't read the recording {content}: {error.strerror}") from None

    def _form(self, file: bytes) -> Any:
        from aiohttp import FormData

        form = FormData()
        form.add_field("model", self.model)
        if self.language:
            form.add_field("language", self.language)
        form.add_field("response_format", "json")
        form.add_field("file", file, filename="audio.wav", content_type="audio/wav")
        return form


def _text(body: bytes, kind: str, who: str) -> str:
    """What was understood; "" for nothing. Raises ServiceError."""
    text = body.decode("utf-8", errors="replace")
    if kind != "text/plain":
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if problem := error_in(value):
            raise ServiceError(f"{who} failed: {shortened(problem)}", hint="see its log")
        if not isinstance(value, dict) or not isinstance(value.get("text"), str):
            raise ServiceError(
                f"{who} sends no transcript, but {shortened(text, 80)!r}", hint="is the URL that of an STT service?"
            )
        text = value["text"]
    return "" if _NO_SPEECH.fullmatch(text.strip()) else text.strip()
