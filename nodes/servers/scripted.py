"""Servers that follow a script: for tests of whole graphs on virtual time, behind the protocols of the real ones.

The recogniser knows beforehand what a recorded caller says, and tells as much of it as it has heard the sound of (`stt`) or as
has been said by then (`dictation`). The voice speaks tones, one per word, of uneven lengths that only it knows: the oracle for
what of an answer was heard.
"""

from __future__ import annotations

import asyncio
import bisect
import dataclasses
import json
import math
import random
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nodes.sound.conversation import Conversation

RATE_HZ = 24_000
VOICED_DBFS = -45.0
WINDOW_MS = 10
NEW_UTTERANCE_MS = 600
"""Silence that divides two utterances: longer than a hesitation, shorter than an answer."""
PARTIAL_MS = 200
WHOLE = 0.97
"""So much of an utterance's voiced sound is all of its words."""


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """What the caller says, and for how long it is voiced."""

    text: str
    voiced_ms: int


def lines_of(conversation: Conversation) -> list[Line]:
    """The script of a recorded caller."""
    return [Line(one.text, WINDOW_MS * sum(_voiced(one.samples(), 16_000))) for one in conversation.utterances]


def _voiced(samples: npt.NDArray[np.float32], rate_hz: int) -> list[bool]:
    """Which windows of 10 ms are above the threshold."""
    size = rate_hz * WINDOW_MS // 1000
    least = 10 ** (VOICED_DBFS / 10) * size
    windows = samples[: len(samples) // size * size].reshape(-1, size)
    return [energy > least for energy in (windows * windows).sum(axis=1).tolist()]


class _Listener:
    """One stream of sound, and how far into the script it is."""

    def __init__(self, lines: Sequence[Line], rate_hz: int, before: _Listener | None = None) -> None:
        self._lines = lines
        self._rate_hz = rate_hz
        self._rest = b""
        self._index = -1
        self._voiced_ms = 0
        self._silence_ms = NEW_UTTERANCE_MS
        self._told = 0
        self.ms = 0
        """Milliseconds of sound so far."""
        self.begin_ms = 0
        if before is not None:
            before.words(final=True)
            self._index, self._told = before._index, before._told
            self._voiced_ms, self._silence_ms = before._voiced_ms, before._silence_ms

    def feed(self, data: bytes) -> None:
        import numpy as np

        data = self._rest + data
        size = self._rate_hz * WINDOW_MS // 1000 * 2
        whole = len(data) // size * size
        self._rest = data[whole:]
        samples = np.frombuffer(data[:whole], "<i2").astype(np.float32) / np.float32(32768)
        for voiced in _voiced(samples, self._rate_hz):
            self.ms += WINDOW_MS
            if not voiced:
                self._silence_ms += WINDOW_MS
                continue
            if self._silence_ms >= NEW_UTTERANCE_MS:
                self._index += 1
                self._voiced_ms = self._told = 0
            self._silence_ms = 0
            self._voiced_ms += WINDOW_MS

    def words(self, *, final: bool = False) -> list[str]:
        """What was understood since the last final."""
        if not 0 <= self._index < len(self._lines):
            return []
        line = self._lines[self._index]
        words = line.text.split()
        share = self._voiced_ms / line.voiced_ms if line.voiced_ms else 1.0
        known = len(words) if share >= WHOLE else math.floor(len(words) * share)
        news = words[self._told : known]
        if final:
            self._told, self.begin_ms = max(self._told, known), self.ms
        return news


class _Dictation:
    """One stream of sound, for which it is known when each word is over. The sound itself isn't listened to."""

    def __init__(self, words: Sequence[tuple[int, str]], rate_hz: int, lag_ms: int) -> None:
        self._words = words
        self._rate_hz = rate_hz
        self._lag_ms = lag_ms
        self._samples = 0
        self._told = 0
        self.begin_ms = 0

    @property
    def ms(self) -> int:
        """Milliseconds of sound so far."""
        return self._samples * 1000 // self._rate_hz

    def feed(self, data: bytes) -> None:
        self._samples += len(data) // 2

    def words(self, *, final: bool = False) -> list[str]:
        """What was said since the last final."""
        until_ns = (self.ms - (0 if final else self._lag_ms)) * 1_000_000
        known = bisect.bisect_right(self._words, until_ns, key=lambda word: word[0])
        news = [word for _, word in self._words[self._told : known]]
        if final:
            self._told, self.begin_ms = max(self._told, known), self.ms
        return news


def stt(lines: Sequence[Line], *, delay_s: float = 0.1) -> web.Application:
    """Deepgram's live protocol. `delay_s`: from Finalize to its answer. Where a socket breaks, the next one goes on in the script; what
    had been heard is lost.
    """
    before: _Listener | None = None

    def listener(rate_hz: int) -> _Listener:
        nonlocal before
        before = _Listener(lines, rate_hz, before)
        return before

    return _recogniser(listener, delay_s)


def dictation(words: Sequence[tuple[int, str]], *, delay_s: float = 0.1) -> web.Application:
    """The same, for sound of which it is known when each word is over: (nanoseconds since its first sample, word), in order.

    `delay_s` is also how long behind its end a word is in a partial transcript. Every sample has to be sent.
    """
    return _recogniser(lambda rate_hz: _Dictation(words, rate_hz, round(delay_s * 1000)), delay_s)


def _recogniser(listener_of: Callable[[int], _Listener | _Dictation], delay_s: float) -> web.Application:
    async def listen(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        listener = listener_of(int(request.query["sample_rate"]))
        last: list[str] = []
        told_ms = 0

        async def results(words: list[str], **flags: bool) -> None:
            start, duration = listener.begin_ms / 1000, (listener.ms - listener.begin_ms) / 1000
            alternative = {"transcript": " ".join(words), "confidence": 1.0, "words": []}
            await socket.send_json(
                {
                    "type": "Results", "channel_index": [0, 1], "start": start, "duration": duration,
                    "is_final": False, "speech_final": False, "from_finalize": False, **flags,
                    "channel": {"alternatives": [alternative]},
                }
            )  # fmt: skip

        async for message in socket:
            if message.type is WSMsgType.BINARY:
                listener.feed(message.data)
                words = listener.words()
                if words != last and words and listener.ms - told_ms >= PARTIAL_MS:
                    last, told_ms = words, listener.ms
                    await results(words)
            elif message.type is WSMsgType.TEXT:
                match json.loads(message.data)["type"]:
                    case "Finalize":
                        await asyncio.sleep(delay_s)
                        begin = listener.begin_ms
                        words = listener.words(final=True)
                        end, listener.begin_ms = listener.begin_ms, begin
                        await results(words, is_final=True, speech_final=True, from_finalize=True)
                        listener.begin_ms = end
                    case "CloseStream":
                        await socket.send_json({"type": "Metadata", "duration": listener.ms / 1000, "channels": 1})
                        await socket.close()
        return socket

    application = web.Application()
    application.router.add_get("/v1/listen", listen)
    return application


@dataclasses.dataclass(slots=True)
class Spoken:
    """One request to the voice: its words, and where in the sound they are (first sample, end sample)."""

    text: str
    words: list[tuple[str, int, int]]
    at: int = 0
    """When it was asked for, on the loop's clock (nanoseconds)."""
    length: int = 0
    """Samples, pauses included."""
    sent: int = 0
    """Samples that were sent before the end, or the client's departure."""


@dataclasses.dataclass(slots=True)
class Voice:
    """A text-to-speech server that says tones. `app` is its application; `spoken` is what it was asked for, in order."""

    seed: int = 0
    first_byte_s: float = 0.15
    speed: float = 5.0
    """Times real time."""
    burst_ms: int = 200
    whole: bool = False
    """As Kokoro's servers: a request's sound leaves when all of it is made, and one is made after the other."""
    stall_after: int = -1
    """The request of this index sends half of its sound and then nothing more."""
    padding_ms: int = 0
    """Silence before and behind what is said."""
    words: bool = False
    """Offer Kokoro-FastAPI's captioned speech, which tells word times."""
    spoken: list[Spoken] = dataclasses.field(default_factory=list)
    _free: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock, repr=False)

    @property
    def app(self) -> web.Application:
        application = web.Application()
        application.router.add_post("/v1/audio/speech", self._speak)
        if self.words:
            application.router.add_post("/dev/captioned_speech", self._speak_captioned)
        return application

    def plan(self, text: str) -> Spoken:
        """Give each word a length of its own, 50 to 80 ms a letter, and each mark a pause: uneven, and known to nobody else."""
        rng = random.Random(f"{self.seed} {len(self.spoken)}")  # noqa: S311 - lengths, not secrets
        words, at = [], 0
        for word in text.split():
            length = RATE_HZ * rng.randrange(50, 80) * len(word) // 1000
            words.append((word, at, at + length))
            at += length
            if word[-1] in ",;:.!?":
                at += RATE_HZ * rng.randrange(300, 500) // 1000
        asked_at = round(asyncio.get_running_loop().time() * 1e9)
        return Spoken(text, words, asked_at, at)

    async def _speak(self, request: web.Request) -> web.StreamResponse:
        spoken, pieces = await self._asked(request)
        response = web.StreamResponse(headers={"Content-Type": "audio/pcm"})
        await response.prepare(request)
        async for piece in self._paced(spoken, pieces):
            await response.write(piece)
        await response.write_eof()
        return response

    async def _speak_captioned(self, request: web.Request) -> web.StreamResponse:
        import base64

        spoken, pieces = await self._asked(request)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        begin = 0
        async for piece in self._paced(spoken, pieces):
            end = begin + len(piece) // 2
            stamps = [
                {"word": word, "start_time": first / RATE_HZ, "end_time": last / RATE_HZ}
                for word, first, last in spoken.words
                if begin <= first < end
            ]
            line: dict[str, Any] = {
                "audio": base64.b64encode(piece).decode(),
                "audio_format": "audio/pcm",
                "timestamps": stamps,
            }
            await response.write(json.dumps(line).encode() + b"\n")
            begin = end
        await response.write_eof()
        return response

    async def _asked(self, request: web.Request) -> tuple[Spoken, list[bytes]]:
        spoken = self.plan((await request.json())["input"])
        self.spoken.append(spoken)
        silence = bytes(2 * RATE_HZ * self.padding_ms // 1000)
        sound = silence + tone(spoken.length) + silence
        size = RATE_HZ * self.burst_ms // 1000 * 2
        return spoken, [sound[i : i + size] for i in range(0, len(sound), size)]

    async def _paced(self, spoken: Spoken, pieces: list[bytes]) -> Any:
        index = next(i for i, one in enumerate(self.spoken) if one is spoken)
        if self.whole:
            async with self._free:
                await asyncio.sleep(self.first_byte_s + spoken.length / RATE_HZ / self.speed)
        else:
            await asyncio.sleep(self.first_byte_s)
        for number, piece in enumerate(pieces):
            if index == self.stall_after and number >= len(pieces) / 2:
                await asyncio.sleep(1e6)
            if number and not self.whole:
                await asyncio.sleep(self.burst_ms / 1000 / self.speed)
            yield piece
            spoken.sent += len(piece) // 2


def tone(samples: int, *, hz: float = 440.0, amplitude: float = 0.2) -> bytes:
    """A steady tone, s16le: what of it is played can be counted."""
    import numpy as np

    wave = amplitude * np.sin(2 * np.pi * hz * np.arange(samples) / RATE_HZ)
    return (wave * 32767).astype("<i2").tobytes()


def words_heard(requests: Iterable[Spoken], samples: int) -> list[str]:
    """The oracle: of an answer's requests, the words of which half was played when `samples` of its sound had been."""
    heard: list[str] = []
    for spoken in requests:
        heard += [word for word, first, last in spoken.words if (first + last) / 2 <= samples]
        samples -= spoken.length
        if samples <= 0:
            break
    return heard
