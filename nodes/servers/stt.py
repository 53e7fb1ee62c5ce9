"""The embedded speech-to-text server: PocketSphinx behind the protocols of Deepgram (live) and OpenAI (files).

    python -m nodes.servers.stt --port 8765

`GET /v1/listen` is a WebSocket that speaks Deepgram's live protocol v1: everything is in the query (`encoding=linear16`,
`sample_rate`, `channels`, `interim_results`, `endpointing`, `utterance_end_ms`, `vad_events`), sound goes in as binary
frames, `KeepAlive`, `Finalize` and `CloseStream` as text. `POST /v1/audio/transcriptions` takes a whole WAV file.

It differs from Deepgram in three ways: it only understands English in linear16; `endpointing` is 300 ms where the query
does not say (Deepgram: 10 ms); and it says nothing while nobody speaks, where Deepgram sends empty results.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import math
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import WSCloseCode, WSMsgType, web

from nodes.servers.gate import RATE_HZ
from nodes.servers.hearing import Hearing, Word, decoder, understand
from nodes.servers.serving import arguments, authorised, finished, openai_error, serve

if TYPE_CHECKING:
    import soxr

ENGINE = "pocketsphinx"
IDLE_S = 10.0
"""Without sound and without KeepAlive for so long, the socket is closed with NET-0001, as Deepgram does."""
PARTIAL_MS = 100
"""Sound between two partial results, at least."""
ENDPOINTING_MS = 300
BATCH_BYTES = 3200 * 10
"""Sound decoded in one go at most (1 s at 16 kHz), so that partials keep coming when a client sends in bursts."""
UPLOAD_BYTES = 25 * 2**20
"""OpenAI's bound on a file."""


class BadQuery(ValueError):
    """The query asks for something that this server does not do; the message names it."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a client asked for in the query of /v1/listen."""

    rate_hz: int
    channels: int
    interim_results: bool
    endpointing_ms: int | None
    """Silence after which a result is `speech_final`; None: the client decides."""
    utterance_end_ms: int | None
    vad_events: bool

    @classmethod
    def parse(cls, query: Any) -> Options:
        """Raises BadQuery. Keys that are Deepgram's but mean nothing here (model, smart_format, …) are ignored."""
        encoding = query.get("encoding")
        if encoding is None:
            raise BadQuery("encoding is missing: this server takes raw samples only, encoding=linear16")
        if encoding != "linear16":
            raise BadQuery(f"encoding={encoding} is not supported: this server takes linear16 only")
        language = query.get("language", "en")
        if language.lower().split("-")[0] not in ("en", "multi"):
            raise BadQuery(f"language={language} is not supported: this server understands English only")
        if "sample_rate" not in query:
            raise BadQuery("sample_rate is missing: raw samples need it")
        end_ms = _whole(query, "utterance_end_ms", 1000, 60_000) if "utterance_end_ms" in query else None
        interim_results = _flag(query, "interim_results", False)
        if end_ms is not None and not interim_results:
            raise BadQuery("utterance_end_ms needs interim_results=true")
        return cls(
            rate_hz=_whole(query, "sample_rate", 8000, 192_000),
            channels=_whole(query, "channels", 1, 8, 1),
            interim_results=interim_results,
            endpointing_ms=_endpointing(query),
            utterance_end_ms=end_ms,
            vad_events=_flag(query, "vad_events", False),
        )


def _flag(query: Any, name: str, default: bool) -> bool:
    text = query.get(name, str(default)).lower()
    if text not in ("true", "false"):
        raise BadQuery(f"{name}={text} is neither true nor false")
    return bool(text == "true")


def _whole(query: Any, name: str, low: int, high: int, default: int | None = None) -> int:
    text = query.get(name, "" if default is None else str(default))
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
    if not low <= number <= high:
        raise BadQuery(f"{name}={text} is not a whole number from {low} to {high}")
    return number


def _endpointing(query: Any) -> int | None:
    text = query.get("endpointing", str(ENDPOINTING_MS)).lower()
    if text == "false":
        return None
    return ENDPOINTING_MS if text == "true" else _whole(query, "endpointing", 0, 60_000, ENDPOINTING_MS)


class Decoders:
    """Loaded decoders, lent to one stream or file at a time; loading one takes 0.3 s, so they are kept."""

    KEPT = 4

    def __init__(self, *, streaming: bool) -> None:
        self._streaming = streaming
        self._idle: list[Any] = []
        self._loading = asyncio.Lock()

    async def load(self) -> None:
        """Have one ready."""
        async with self._loading:
            if not self._idle:
                self._idle.append(await asyncio.get_running_loop().run_in_executor(None, self._make))

    def _make(self) -> Any:
        return decoder(streaming=self._streaming)

    @contextlib.asynccontextmanager
    async def lend(self) -> AsyncIterator[Any]:
        while not self._idle:
            await self.load()
        lent = self._idle.pop()
        yield lent  # one that raised may be anywhere inside an utterance: it is not taken back
        if len(self._idle) < self.KEPT:
            self._idle.append(lent)


class Live:
    """One socket of /v1/listen: sound in, results out, in the order of what the client sent."""

    def __init__(self, socket: web.WebSocketResponse, options: Options, request_id: str, decoder: Any) -> None:
        self._socket = socket
        self._options = options
        self._request_id = request_id
        self._hearing = Hearing(decoder)
        self._resampler = _resampler(options.rate_hz)
        self._inbox: asyncio.Queue[bytes | str] = asyncio.Queue(maxsize=256)  # full: TCP slows the client down
        self._rest = b""
        self._sha256 = hashlib.sha256()
        self._received = 0
        self._final_ms = 0
        self._shown: list[Word] = []
        self._shown_ms = 0
        self._end_due: Word | None = None
        self._speaking = False

    async def converse(self) -> None:
        """Until the client is done, gone or silent for `IDLE_S`."""
        worker = asyncio.create_task(self._work())
        try:
            await self._read(worker)
        finally:
            # A decoder that still runs in its thread must not be lent to the next stream.
            while not self._inbox.empty() and self._socket.closed:
                self._inbox.get_nowait()
            await self._inbox.put("CloseStream")
            await finished(worker)

    async def _read(self, worker: asyncio.Task[None]) -> None:
        while not worker.done():
            try:
                message = await self._socket.receive(timeout=IDLE_S)
            except TimeoutError:
                reason = "NET-0001: no audio and no KeepAlive within 10 seconds"
                await self._socket.close(code=WSCloseCode.INTERNAL_ERROR, message=reason.encode())
                return
            match message.type:
                case WSMsgType.BINARY if message.data:
                    self._received += len(message.data)
                    self._sha256.update(message.data)
                    await self._inbox.put(message.data)
                case WSMsgType.BINARY:  # Deepgram's older way to say CloseStream
                    return
                case WSMsgType.TEXT:
                    kind = _kind(message.data)
                    if kind == "Finalize":
                        await self._inbox.put(kind)
                    elif kind == "CloseStream":
                        return
                    elif kind != "KeepAlive":
                        await self._send(_complaint(kind))
                case _:
                    return

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        item: bytes | str = b""
        while item != "CloseStream":
            item = await self._inbox.get()
            if isinstance(item, bytes):
                batch, item = self._batch(item)
                await loop.run_in_executor(None, self._hearing.feed, self._mono_16k(batch))
                await self._report()
            if item == "Finalize":
                await self._send_final(self._hearing.finalise(), from_finalize=True)
        words = await loop.run_in_executor(None, self._hearing.finish)
        if not self._socket.closed:
            if words:
                await self._send_final(words)
            await self._send(self._metadata())
            await self._socket.close()

    def _batch(self, sound: bytes) -> tuple[bytes, bytes | str]:
        """Everything that waits, up to the next command; and that command, if any."""
        parts, size = [sound], len(sound)
        while not self._inbox.empty() and size < BATCH_BYTES:
            item = self._inbox.get_nowait()
            if isinstance(item, str):
                return b"".join(parts), item
            parts.append(item)
            size += len(item)
        return b"".join(parts), b""

    def _mono_16k(self, data: bytes) -> bytes:
        import numpy as np

        data, width = self._rest + data, 2 * self._options.channels
        whole = len(data) - len(data) % width  # a frame may end inside of a sample
        data, self._rest = data[:whole], data[whole:]
        if self._options.channels == 1 and self._resampler is None:
            return data
        samples = np.frombuffer(data, "<i2").reshape(-1, self._options.channels).mean(axis=1, dtype=np.float32) / 32768
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples)
        return to_s16le(samples)

    async def _report(self) -> None:
        """What new sound brings by itself: onsets, partials, endpoints."""
        hearing, options = self._hearing, self._options
        if options.vad_events and hearing.sound_at_ms is not None and not self._speaking:
            await self._send({"type": "SpeechStarted", "channel": [0], "timestamp": hearing.sound_at_ms / 1000})
        self._speaking = hearing.listening
        words = hearing.words()
        endpoint = options.endpointing_ms is not None and hearing.silence_ms >= options.endpointing_ms
        if words and (endpoint or not hearing.listening):
            await self._send_final(hearing.finalise())
        elif options.interim_results and hearing.now_ms - self._shown_ms >= PARTIAL_MS:
            self._shown_ms = hearing.now_ms
            if words != self._shown and [word.text for word in words] != [word.text for word in self._shown]:
                await self._send(self._results(words))
            self._shown = words
        if self._end_due and hearing.now_ms - self._end_due.end_ms >= (options.utterance_end_ms or math.inf):
            last, self._end_due = self._end_due, None
            await self._send({"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": last.end_ms / 1000})

    async def _send_final(self, words: list[Word], *, from_finalize: bool = False) -> None:
        quiet_ms = self._options.endpointing_ms
        speech_final = bool(words) and quiet_ms is not None and self._hearing.silence_ms >= quiet_ms
        await self._send(self._results(words, final=True, speech_final=speech_final, from_finalize=from_finalize))
        self._final_ms, self._shown = self._hearing.now_ms, []
        if words:
            self._end_due = words[-1]

    async def _send(self, message: dict[str, Any]) -> None:
        if not self._socket.closed:
            with contextlib.suppress(ConnectionError):  # the reader sees it too, and ends this stream
                await self._socket.send_json(message)

    def _results(
        self, words: list[Word], *, final: bool = False, speech_final: bool = False, from_finalize: bool = False
    ) -> dict[str, Any]:
        alternative = {
            "transcript": " ".join(word.text for word in words),
            "confidence": 1.0 if words else 0.0,  # the first pass has no posteriors
            "words": [
                {"word": word.text, "start": word.start_ms / 1000, "end": word.end_ms / 1000, "confidence": 1.0,
                 "punctuated_word": word.text} for word in words
            ],
        }  # fmt: skip
        return {
            "type": "Results", "channel_index": [0, 1],
            "start": self._final_ms / 1000, "duration": (self._hearing.now_ms - self._final_ms) / 1000,
            "is_final": final, "speech_final": speech_final, "from_finalize": from_finalize,
            "channel": {"alternatives": [alternative]},
            "metadata": {"request_id": self._request_id, "model_info": {"name": ENGINE, "version": "5", "arch": ENGINE},
                         "model_uuid": ENGINE},
        }  # fmt: skip

    def _metadata(self) -> dict[str, Any]:
        seconds = self._received / (2 * self._options.channels * self._options.rate_hz)
        return {
            "type": "Metadata", "transaction_key": "deprecated", "request_id": self._request_id,
            "sha256": self._sha256.hexdigest(), "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "duration": round(seconds, 4), "channels": self._options.channels,
            "models": [ENGINE], "model_info": {ENGINE: {"name": ENGINE, "version": "5", "arch": ENGINE}},
        }  # fmt: skip


def _kind(text: str) -> str:
    try:
        message = json.loads(text)
    except ValueError:
        return text
    return str(message.get("type")) if isinstance(message, dict) else text


def _complaint(kind: str) -> dict[str, Any]:
    description = f"{kind[:80]!r} is none of KeepAlive, Finalize, CloseStream"
    return {"type": "Error", "variant": "UnparsableClientMessage", "description": description, "message": description}


def _resampler(rate_hz: int) -> soxr.ResampleStream | None:
    if rate_hz == RATE_HZ:
        return None
    import soxr

    return soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="float32", quality="HQ")


def to_s16le(samples: Any) -> bytes:
    """float32 in [-1, 1] to bytes."""
    import numpy as np

    return bytes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes()) if len(samples) else np.array([]).tobytes()


def app(*, key: str = "") -> web.Application:
    """The server. `key`: the API key to ask for ("" = none)."""
    live, whole = Decoders(streaming=True), Decoders(streaming=False)

    async def load(_: web.Application) -> AsyncIterator[None]:
        await live.load()
        later = asyncio.create_task(whole.load())  # nobody who talks should wait for it
        yield
        await finished(later)

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "engine": ENGINE, "model": "en-us"})

    async def models(_: web.Request) -> web.Response:
        found = {"id": ENGINE, "object": "model", "created": 0, "owned_by": "cmusphinx"}
        return web.json_response({"object": "list", "data": [found]})

    async def listen(request: web.Request) -> web.StreamResponse:
        request_id = str(uuid.uuid4())
        if not authorised(request.headers, key):
            return _refused(401, "INVALID_AUTH", "Invalid credentials.", request_id)
        try:
            options = Options.parse(request.query)
        except BadQuery as error:
            return _refused(400, "INVALID_QUERY_PARAMETER", str(error), request_id)
        socket = web.WebSocketResponse(compress=False, max_msg_size=2**20, autoping=True)
        if not socket.can_prepare(request).ok:
            return _refused(400, "BAD_REQUEST", "this address wants a WebSocket", request_id)
        socket.headers["dg-request-id"] = request_id
        await socket.prepare(request)
        async with live.lend() as decoder:
            await Live(socket, options, request_id, decoder).converse()
        return socket

    async def transcribe(request: web.Request) -> web.Response:
        if not authorised(request.headers, key):
            return openai_error(401, "Incorrect API key provided.", code="invalid_api_key")
        return await _transcribe(request, whole)

    application = web.Application(client_max_size=UPLOAD_BYTES + 2**20)
    application.cleanup_ctx.append(load)
    application.router.add_get("/health", health)
    application.router.add_get("/v1/models", models)
    application.router.add_get("/v1/listen", listen)
    application.router.add_post("/v1/audio/transcriptions", transcribe)
    return application


def _refused(status: int, code: str, message: str, request_id: str) -> web.Response:
    """An error as Deepgram words it."""
    body = {"err_code": code, "err_msg": message, "request_id": request_id}
    return web.json_response(body, status=status, headers={"dg-request-id": request_id, "dg-error": message[:200]})


async def _transcribe(request: web.Request, decoders: Decoders) -> web.Response:
    from nodes.servers.wav import NotWav, read

    if request.content_type != "multipart/form-data":
        return openai_error(400, f"the body is {request.content_type}, not multipart/form-data")
    try:
        form = await request.post()
    except ValueError as error:
        return openai_error(400, f"the form cannot be read: {error}")
    file, shape = form.get("file"), str(form.get("response_format", "json"))
    if not form.get("model"):
        return openai_error(400, "you must provide a model parameter", param="model")
    if not isinstance(file, web.FileField):
        return openai_error(400, "file is missing: send the recording as a part with a file name", param="file")
    if shape not in ("json", "text", "verbose_json"):
        return openai_error(
            400, f"response_format {shape!r} is none of json, text, verbose_json", param="response_format"
        )
    language = str(form.get("language") or "en")
    if language.lower().split("-")[0] not in ("en", "english"):
        return openai_error(400, f"language {language!r} is not supported: this server understands English only",
                            param="language")  # fmt: skip
    try:
        samples, rate_hz = read(file.file.read())
    except NotWav as error:
        return openai_error(400, f"{file.filename} is no WAV file that can be read: {error}", param="file")
    loop = asyncio.get_running_loop()
    async with decoders.lend() as decoder:
        words = await loop.run_in_executor(None, _understand, decoder, samples, rate_hz)
    return _transcription(words, len(samples) / rate_hz, shape)


def _understand(decoder: Any, samples: Any, rate_hz: int) -> list[Word]:
    if rate_hz != RATE_HZ and len(samples):
        import soxr

        samples = soxr.resample(samples, rate_hz, RATE_HZ)
    return understand(decoder, to_s16le(samples))


def _transcription(words: list[Word], duration_s: float, shape: str) -> web.Response:
    text = " ".join(word.text for word in words)
    if shape == "text":
        return web.Response(text=text + "\n")
    usage = {"type": "duration", "seconds": math.ceil(duration_s)}
    if shape == "json":
        return web.json_response({"text": text, "usage": usage})
    segments = [
        {"id": index, "start": part[0].start_ms / 1000, "end": part[-1].end_ms / 1000,
         "text": " ".join(word.text for word in part)} for index, part in enumerate(_segments(words))
    ]  # fmt: skip
    times = [{"word": word.text, "start": word.start_ms / 1000, "end": word.end_ms / 1000} for word in words]
    return web.json_response({
        "task": "transcribe", "language": "english", "duration": round(duration_s, 3), "text": text,
        "segments": segments, "words": times, "usage": usage,
    })  # fmt: skip


def _segments(words: list[Word]) -> Iterator[list[Word]]:
    """Words that follow each other within a second."""
    part: list[Word] = []
    for word in words:
        if part and word.start_ms - part[-1].end_ms >= 1000:
            yield part
            part = []
        part.append(word)
    if part:
        yield part


def _from_arguments(options: argparse.Namespace) -> web.Application:
    return app(key=options.key)


if __name__ == "__main__":
    serve(arguments("nodes.servers.stt", "Speech to text: PocketSphinx, English.", 8765), _from_arguments)
