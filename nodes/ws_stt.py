"""Speech to text over a WebSocket: sound goes up while it is captured, text comes down while it is spoken.

1. The recogniser's stream is continuous, its times are seconds of the sound that it got. A timeline gives them back as times
   of capture, also where sound was lost or left out.
2. The recogniser's own endpointing is off. On the first silence behind speech (`finalize_after`, counted by the VAD in
   audio) it is asked, once, for all that it knows; its answer is the final transcript of that stretch, and names the
   silence as its cause. What it calls final before is kept and goes into the next transcript: each transcript of a stretch
   contains the earlier ones.
3. A final transcript may be empty: then the owner of the turn knows that nothing more will come.
4. A request may stay unanswered. Words behind it then begin a new stretch; how long to wait is the turn owner's business.
5. No recogniser takes up a lost stream again, so a socket that closes is an error: `on_error: restart` opens a new one.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Literal

from flowgraph import MS, SECOND, Duration, Field, Node, ServiceName
from flowgraph.errors import FlowError, ServiceError
from nodes.clients.problems import named, shortened
from nodes.clients.timeline import Timeline
from nodes.vocabulary import Audio, Transcript, Voice

if TYPE_CHECKING:
    from aiohttp import ClientWebSocketResponse, WSMessage

    from nodes.clients.recognisers import Recogniser, Result

PREROLL_NS = 500 * MS
"""Speech is noticed late: with `send: speech` so much sound before it is sent too."""
ONSET_NS = 300 * MS
"""Speech begins at most so long before the VAD is sure of it."""
KEEP_ALIVE_NS = 4 * SECOND
"""Deepgram hangs up after 10 s with neither sound nor a sign of life."""
LAST_WORDS_S = 2.0
"""So long the recogniser may take, after the sound has ended, to say what is left."""
ABNORMAL = 1006
"""A WebSocket's close code where there was no closing handshake."""
HEARTBEAT_S = 20.0
"""A ping is sent so often; a server that doesn't answer one within half of it is gone."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Request:
    """A final transcript was asked for. Times are seconds of the recogniser's stream."""

    place: float
    silence: Voice
    """What it was asked for at."""
    onset: float
    """Where the speech before it began."""


class WsStt(Node):
    """Streams sound to a recogniser; says partial transcripts while somebody speaks and a final one on the first silence."""

    server = "nodes.servers.stt"
    needs = (Audio,)
    typical_ms = 100.0

    service: ServiceName = Field("stt", description="The recogniser, from `services`.")
    protocol: Literal["deepgram"] = Field("deepgram", description="What the recogniser speaks.")
    rate_hz: int = Field(16_000, ge=8_000, le=48_000, description="Rate of the sound that comes in.")
    model: str = Field("nova-3", description="The recogniser's model; servers with a single one ignore it.")
    language: str = Field("", description="Language of the speech, such as `en`; without it, the model's default.")
    finalize_after: Duration = Field(96 * MS, description="So much silence asks for the final transcript.")
    send: Literal["always", "speech"] = Field(
        "always", description="`speech` leaves silence out, for services that are paid by the minute."
    )
    query: dict[str, str] = Field({}, description="More settings of the recogniser, such as `keyterm`.")

    async def open(self) -> None:
        from nodes.clients.deepgram import Deepgram

        self._recogniser: Recogniser = Deepgram()
        self._timeline = Timeline(self.rate_hz)
        self._stretch: list[Result] = []
        self._asked: deque[_Request] = deque()
        """Requests without an answer yet: the place in the stream, and the silence that made them."""
        self._armed = False
        """Somebody spoke since the last request."""
        self._onset = 0.0
        self._last: Audio | None = None
        self._unsent: deque[Audio] = deque()
        self._silent_ns = 0
        self._draining = False
        self._until: float | None = None
        self._patience: asyncio.Timeout | None = None
        self._connection = AsyncExitStack()
        self._socket: ClientWebSocketResponse = await self._connection.enter_async_context(
            self.ctx.http(self.service).websocket(
                self._recogniser.path,
                query=self._recogniser.query(rate_hz=self.rate_hz, model=self.model, language=self.language)
                | self.query,
                headers=self._recogniser.headers(self.ctx.http(self.service).key),
                compress=0,
                heartbeat=HEARTBEAT_S,
            )
        )

    async def close(self) -> None:
        if (connection := getattr(self, "_connection", None)) is not None:
            await connection.aclose()

    async def drain(self) -> None:
        self._draining = True
        self._until = asyncio.get_running_loop().time() + LAST_WORDS_S
        if self._patience is not None:
            self._patience.reschedule(self._until)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._until):
                await self._send(self._recogniser.bye)

    # -- up ------------------------------------------------------------------------------------------------------------

    async def process(self, frame: Audio | Voice) -> None:
        match frame:
            case Audio():
                await self._on_sound(frame)
            case Voice(speaking=True):
                if not self._armed:
                    self._armed = True
                    self._onset = max(self._timeline.seconds - ONSET_NS / SECOND, 0.0)
                    await self._send_unsent()
            case Voice(silence_ms=silence_ms) if self._armed and silence_ms * MS >= self.finalize_after:
                self._armed = False
                self._asked.append(_Request(self._timeline.seconds, frame, self._onset))
                await self._send(self._recogniser.finalise)

    async def _on_sound(self, sound: Audio) -> None:
        if sound.rate_hz != self.rate_hz:
            raise FlowError(
                f"it was told to expect sound at {self.rate_hz} Hz and gets {sound.rate_hz} Hz",
                hint=f"set rate_hz: {sound.rate_hz} at '{self.ctx.name}', or put a `resample` node before it",
            )
        if not len(sound.samples):
            return  # to a recogniser an empty frame is the end of the sound
        self._unsent.append(sound)
        if self.send == "always" or self._armed:
            await self._send_unsent()
            return
        while len(self._unsent) > 1 and sound.end_at - self._unsent[1].at >= PREROLL_NS:
            self._unsent.popleft()
        self._silent_ns += sound.duration_ns
        if self._silent_ns >= KEEP_ALIVE_NS:
            self._silent_ns = 0
            await self._send(self._recogniser.keep_alive)

    async def _send_unsent(self) -> None:
        while self._unsent:
            sound = self._unsent.popleft()
            self._timeline.add(sound.at, len(sound.samples))
            self._last = sound
            self._silent_ns = 0
            await self._send(self._recogniser.encode(sound.samples))

    async def _send(self, message: str | bytes) -> None:
        try:
            if isinstance(message, bytes):
                await self._socket.send_bytes(message)
            else:
                await self._socket.send_str(message)
        except ConnectionError:
            pass  # `run` sees the end of the same socket, and knows why

    # -- down ----------------------------------------------------------------------------------------------------------

    async def run(self) -> AsyncIterator[Transcript]:
        from aiohttp import WSMsgType

        while (message := await self._message()) and message.type is WSMsgType.TEXT:
            if result := self._parsed(message.data):
                for transcript in self._on_result(result):
                    yield transcript
        if not self._draining:
            raise await self._lost(message and message.extra)
        if self._stretch:
            yield self._transcript(self._last or 0, self._stretch[-1].end, final=True)

    async def _message(self) -> WSMessage | None:
        """The next one; None when the last words are overdue."""
        try:
            async with asyncio.timeout_at(self._until) as self._patience:
                return await self._socket.receive()
        except TimeoutError:
            return None
        finally:
            self._patience = None

    def _parsed(self, message: str) -> Result | None:
        """Raises ServiceError, which quotes the message."""
        try:
            return self._recogniser.parse(message)
        except ServiceError as error:
            service = self.ctx.http(self.service)
            error.reword(service.masked)
            raise named(error, service.who) from None

    def _on_result(self, result: Result) -> Iterator[Transcript]:
        if result.finalised:
            request = self._answered(result)
            if result.text:
                self._stretch.append(result)
            if request is None:
                yield self._transcript(0, result.end, final=True)
            else:
                yield self._transcript(request.silence, max(result.end, request.place), final=True, onset=request.onset)
            self._stretch.clear()
            return
        while self._asked and result.text and result.has_word_times and result.begin >= self._asked[0].place:
            self._asked.popleft()  # never answered
            self._stretch.clear()
        if result.text:
            self._stretch.append(result)
            yield self._transcript(self._last or 0, result.end, final=False)
            if not result.stable:
                self._stretch.pop()

    def _answered(self, result: Result) -> _Request | None:
        """The request that a result answers: the last one whose sound it covers, else the first."""
        request = None
        while self._asked and (request is None or self._asked[0].place <= result.end):
            request = self._asked.popleft()
        return request

    def _transcript(
        self, cause: Audio | Voice | int, end: float, *, final: bool, onset: float | None = None
    ) -> Transcript:
        parts = self._stretch
        begin = parts[0].begin if parts else 0.0
        if not (parts and parts[0].has_word_times):
            # The recogniser's stretch begins with the silence before. Speech may have begun anew since it was asked.
            begin = max(begin, self._onset if onset is None else onset)
        return Transcript(
            " ".join(part.text for part in parts),
            final=final,
            start_at=self._timeline.at(min(begin, end)),
            end_at=self._timeline.at(end),
            language=next((part.language for part in parts if part.language), self.language),
            cause=cause,
            at=self.ctx.clock.now(),
        )

    async def _lost(self, reason: object) -> ServiceError:
        """Why the socket is closed though nobody asked for it."""
        from aiohttp import ServerDisconnectedError

        service = self.ctx.http(self.service)
        code = self._socket.close_code
        if code is None or code == ABNORMAL:
            try:
                async with service.explained():
                    raise ServerDisconnectedError
            except ServiceError as error:
                return error
        said = f", {shortened(service.masked(str(reason)))}" if reason else ""
        return ServiceError(
            f"{service.who} closed the connection ({code}{said})",
            hint="see its log; `on_error: restart` opens a new one",
        )
