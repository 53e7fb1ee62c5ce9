"""The embedded text-to-speech server: the protocol of Kokoro-FastAPI, Kokoro where its weights are, else espeak-ng.

    python -m nodes.servers.tts --port 8767

`POST /v1/audio/speech` answers while it still speaks (`stream`, on by default) in `pcm` (s16le, mono, 24 kHz) or `wav`,
and in mp3, opus, aac and flac where ffmpeg is installed. `POST /dev/captioned_speech` sends the times of the words too,
one JSON object a line. A client that goes away stops the synthesis.

It differs from Kokoro-FastAPI in this: mp3, opus, aac and flac are sent when they are complete; a synthesis that fails
midway breaks the connection instead of ending the sound early as if that were all.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from nodes.servers import wav
from nodes.servers.serving import arguments, authorised, finished, serve
from nodes.servers.speech import RATE_HZ, Engine, Piece, TimedWord, Trimmed
from nodes.servers.voices import DEFAULT, LANGUAGES, UnknownVoice, Voice

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MODELS = ("kokoro", "tts-1", "tts-1-hd", "gpt-4o-mini-tts")
FFMPEG = {
    "mp3": ["-f", "mp3"], "opus": ["-c:a", "libopus", "-f", "ogg"], "aac": ["-f", "adts"], "flac": ["-f", "flac"],
}  # fmt: skip
WARM_UP = "Ready."
"""Spoken to nobody at the start: what is loaded late is loaded then."""
FORMATS = ("pcm", "wav", *FFMPEG)
CONTENT_TYPES = {"mp3": "audio/mpeg"}


class BadRequest(Exception):
    """The request cannot be served: an HTTP status and the body that says why."""

    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(str(detail))
        self.status = status
        self.detail = detail

    def response(self) -> web.Response:
        return web.json_response({"detail": self.detail}, status=self.status)


def _invalid(message: str, error: str = "validation_error") -> BadRequest:
    return BadRequest(400, {"error": error, "message": message, "type": "invalid_request_error"})


@dataclass(frozen=True, slots=True)
class Order:
    """A checked request."""

    text: str
    voice: Voice
    language: str
    form: str
    """One of FORMATS."""
    speed: float
    volume: float
    stream: bool

    @classmethod
    def parse(cls, body: Any, voices: tuple[str, ...]) -> Order:
        """Raises BadRequest: 422 what a schema refuses, 400 the rest. Options that mean nothing here are ignored."""
        fields = _fields(body)
        if fields["model"] not in MODELS:
            raise _invalid(
                f"Unsupported model: {fields['model']}. Supported models: {', '.join(MODELS)}", "invalid_model"
            )
        try:
            voice = Voice.parse(fields["voice"], voices)
        except UnknownVoice as error:
            raise _invalid(str(error)) from error
        code = fields["lang_code"] or voice.name[0]
        if code not in LANGUAGES:
            raise _invalid(f"lang_code '{code}' is none of {', '.join(LANGUAGES)}")
        form = fields["response_format"]
        if form in FFMPEG and not shutil.which("ffmpeg"):
            raise _invalid(f"response_format '{form}' needs ffmpeg, which is not installed here: ask for pcm or wav")
        text = fields["input"]
        speakable = any(letter.isalnum() for letter in text)
        if not speakable and not fields["stream"]:
            raise _invalid("Input contains no speakable text")
        return cls(
            text if speakable else "", voice, LANGUAGES[code], form, fields["speed"], fields["volume_multiplier"],
            fields["stream"],
        )  # fmt: skip

    @property
    def content_type(self) -> str:
        return CONTENT_TYPES.get(self.form, f"audio/{self.form}")


def _fields(body: Any) -> dict[str, Any]:
    """The known fields with their defaults, each of the right type and in its bounds; all problems at once."""
    if not isinstance(body, dict):
        raise BadRequest(422, [_problem("model_attributes_type", [], "Input should be a valid dictionary", body)])
    fields: dict[str, Any] = {
        "model": "kokoro", "voice": DEFAULT, "response_format": "mp3", "speed": 1.0, "stream": True,
        "lang_code": None, "volume_multiplier": 1.0,
    }  # fmt: skip
    fields |= {name: value for name, value in body.items() if value is not None and (name in fields or name == "input")}
    problems = []
    if body.get("input") is None:
        problems.append(_problem("missing", ["input"], "Field required", body))
    texts = {name: fields[name] for name in ("model", "voice", "input", "lang_code") if fields.get(name) is not None}
    problems += [
        _problem("string_type", [name], "Input should be a valid string", value)
        for name, value in texts.items()
        if not isinstance(value, str)
    ]
    if fields["response_format"] not in FORMATS:
        expected = f"Input should be one of {', '.join(FORMATS)}"
        problems.append(_problem("literal_error", ["response_format"], expected, fields["response_format"]))
    for name, low, high in (("speed", 0.25, 4.0), ("volume_multiplier", 0.1, 5.0)):
        if not isinstance(fields[name], int | float) or isinstance(fields[name], bool):
            problems.append(_problem("float_type", [name], "Input should be a valid number", fields[name]))
        elif not low <= fields[name] <= high:
            problems.append(_problem("range", [name], f"Input should be from {low} to {high}", fields[name]))
    if not isinstance(fields["stream"], bool):
        problems.append(_problem("bool_type", ["stream"], "Input should be a valid boolean", fields["stream"]))
    if problems:
        raise BadRequest(422, problems)
    return fields


def _problem(kind: str, where: list[str], message: str, given: Any) -> dict[str, Any]:
    """One entry of a 422 answer, as pydantic words it."""
    return {"type": kind, "loc": ["body", *where], "msg": message, "input": given}


class Synthesis:
    """The engine in its one thread, and what goes on in it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.speaking = 0
        """Requests that wait or are being spoken."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="speak")

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def sound(self, order: Order) -> AsyncGenerator[tuple[bytes, list[TimedWord]], None]:
        """s16le at 24 kHz with the words that ended in it, as soon as it is there. Closing it stops the engine."""
        if not order.text:
            return
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[Piece | None] = asyncio.Queue()
        left = threading.Event()

        def heard(piece: Piece) -> bool:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)
            return not left.is_set()

        def speak() -> None:
            if not left.is_set():
                self.engine.speak(order.text, order.voice, order.language, order.speed, heard)

        trimmed = Trimmed(order.text)
        self.speaking += 1
        job = loop.run_in_executor(self._thread, speak)
        job.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            while True:
                batch = [await pieces.get()]
                while not pieces.empty():  # a fast engine is ahead: fewer, larger writes
                    batch.append(pieces.get_nowait())
                made = [trimmed.push(piece) for piece in batch if piece]
                over = None in batch
                if over:
                    await job  # raises what the engine raised
                    made.append(trimmed.end())
                sound = b"".join(_s16le(samples, order.volume) for samples, _ in made)
                words = [word for _, ended in made for word in ended]
                if sound or words:
                    yield sound, words
                if over:
                    return
        finally:
            left.set()
            self.speaking -= 1
            with contextlib.suppress(Exception):  # said above, or nobody is there to be told
                await finished(job)


def _s16le(samples: npt.NDArray[np.float32], volume: float) -> bytes:
    return bytes(((samples * volume).clip(-1, 1) * 32767).astype("<i2").tobytes())


def _encode(pcm: bytes, form: str) -> bytes:
    """A complete file of the form."""
    if form == "pcm":
        return pcm
    if form == "wav":
        return wav.header(RATE_HZ, len(pcm)) + pcm
    read = ["-f", "s16le", "-ar", str(RATE_HZ), "-ac", "1", "-i", "pipe:0"]
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", *read, *FFMPEG[form], "pipe:1"]
    return subprocess.run(command, input=pcm, capture_output=True, check=True).stdout


def app(engine: Engine | None = None, *, key: str = "") -> web.Application:
    """The server. `engine`: None takes `choose()`'s; `key`: the API key to ask for ("" = none)."""
    synthesis = Synthesis(engine or choose())

    async def warm_up(_: web.Application) -> None:
        voices = synthesis.engine.voices
        voice = Voice.parse(DEFAULT if DEFAULT in voices else voices[0], voices)
        order = Order(WARM_UP, voice, LANGUAGES["a"], "pcm", 1.0, 1.0, stream=False)
        async for _piece in synthesis.sound(order):
            pass

    async def close(_: web.Application) -> None:
        synthesis.close()

    async def health(_: web.Request) -> web.Response:
        answer = {"status": "ok", "engine": synthesis.engine.name, "speaking": synthesis.speaking}
        return web.json_response(answer)

    async def models(_: web.Request) -> web.Response:
        found = [{"id": name, "object": "model", "created": 0, "owned_by": synthesis.engine.name} for name in MODELS]
        return web.json_response({"object": "list", "data": found})

    async def voices(request: web.Request) -> web.Response:
        names = synthesis.engine.voices
        if request.query.get("legacy") == "true":
            return web.json_response({"voices": list(names)})
        return web.json_response({"voices": [{"id": name, "name": name} for name in names]})

    async def speech(request: web.Request) -> web.StreamResponse:
        order = await _order(request, synthesis.engine.voices, key)
        if not order.stream or order.form in FFMPEG:
            pcm, _ = await _all(synthesis, order)
            return web.Response(body=await _file(pcm, order.form) if pcm else b"", content_type=order.content_type)
        return await _stream(request, order.content_type, _sound(synthesis, order))

    async def captioned(request: web.Request) -> web.StreamResponse:
        order = await _order(request, synthesis.engine.voices, key)
        if order.stream and order.form == "pcm":
            return await _stream(request, "application/x-ndjson", _lines(synthesis, order))
        pcm, words = await _all(synthesis, order)
        line = _line(await _file(pcm, order.form) if pcm else b"", words, order)
        kind = "application/x-ndjson" if order.stream else "application/json"
        return web.Response(body=line, content_type=kind)

    @web.middleware
    async def refusals(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
        except BadRequest as error:
            return error.response()
        return response

    application = web.Application(middlewares=[refusals])
    application.on_startup.append(warm_up)
    application.on_cleanup.append(close)
    application.router.add_get("/health", health)
    application.router.add_get("/v1/models", models)
    application.router.add_get("/v1/audio/voices", voices)
    application.router.add_post("/v1/audio/speech", speech)
    application.router.add_post("/dev/captioned_speech", captioned)
    return application


async def _order(request: web.Request, voices: tuple[str, ...], key: str) -> Order:
    if not authorised(request.headers, key):
        detail = {"error": "unauthorized", "message": "Incorrect API key provided.", "type": "authentication_error"}
        raise BadRequest(401, detail)
    try:
        body = await request.json()
    except ValueError as error:
        raise BadRequest(422, [_problem("json_invalid", [], "JSON decode error", {})]) from error
    return Order.parse(body, voices)


async def _all(synthesis: Synthesis, order: Order) -> tuple[bytes, list[TimedWord]]:
    parts = []
    try:
        async with contextlib.aclosing(synthesis.sound(order)) as sound:
            parts = [part async for part in sound]
    except Exception as error:
        raise _failed(error) from error
    return b"".join(pcm for pcm, _ in parts), [word for _, words in parts for word in words]


def _failed(error: Exception) -> BadRequest:
    return BadRequest(500, {"error": "processing_error", "message": str(error), "type": "server_error"})


async def _file(pcm: bytes, form: str) -> bytes:
    return await asyncio.get_running_loop().run_in_executor(None, _encode, pcm, form)


async def _sound(synthesis: Synthesis, order: Order) -> AsyncGenerator[bytes, None]:
    header = wav.header(RATE_HZ) if order.form == "wav" else b""
    async with contextlib.aclosing(synthesis.sound(order)) as parts:
        async for sound, _ in parts:
            yield header + sound
            header = b""


async def _lines(synthesis: Synthesis, order: Order) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(synthesis.sound(order)) as parts:
        async for sound, words in parts:
            yield _line(sound, words, order) + b"\n"


def _line(audio: bytes, words: list[TimedWord], order: Order) -> bytes:
    line = {
        "audio": base64.b64encode(audio).decode(), "audio_format": order.content_type,
        "timestamps": [asdict(word) for word in words],
    }  # fmt: skip
    return json.dumps(line).encode()


async def _stream(request: web.Request, content_type: str, parts: AsyncGenerator[bytes, None]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": content_type, "X-Accel-Buffering": "no"})
    async with contextlib.aclosing(parts):
        try:
            async for part in parts:
                if not response.prepared:
                    await response.prepare(request)
                await response.write(part)
        except ConnectionError:  # the client is gone; leaving closes the synthesis
            return response
        except Exception as error:
            if not response.prepared:
                raise _failed(error) from error
            if request.transport is not None:
                request.transport.abort()  # a break is honest, an end would not be
            return response
    if not response.prepared:
        await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        await response.write_eof()
    return response


def choose(name: str = "auto", model: str = "", voices: str = "") -> Engine:
    """Kokoro where its weights are (or where `name` says so), else espeak-ng. Raises ServingError."""
    from nodes.servers.espeak import EspeakEngine
    from nodes.servers.kokoro import CACHE, MODEL, VOICES, KokoroEngine, weights
    from nodes.servers.serving import ServingError

    found = weights(model, voices) if name != "espeak" else None
    if found:
        return KokoroEngine(*found)
    if name == "kokoro":
        raise ServingError(
            f"Kokoro's weights are not in {CACHE}",
            f"put {MODEL} and {VOICES} there, or name them with --model and --voices",
        )
    return EspeakEngine()


def _from_arguments(options: argparse.Namespace) -> web.Application:
    return app(choose(options.engine, options.model, options.voices), key=options.key)


if __name__ == "__main__":
    parser = arguments("nodes.servers.tts", "Text to speech: Kokoro where its weights are, else espeak-ng.", 8767)
    parser.add_argument("--engine", choices=("auto", "kokoro", "espeak"), default="auto", help="who speaks")
    parser.add_argument("--model", default="", help="Kokoro's weights, kokoro-v1.0.onnx")
    parser.add_argument("--voices", default="", help="Kokoro's voices, voices-v1.0.bin")
    serve(parser, _from_arguments)
