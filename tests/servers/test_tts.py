from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
import threading
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from flowgraph.testing import run_virtual, services_of
from nodes.servers import tts
from nodes.servers.kokoro import KokoroEngine
from nodes.servers.speech import LEAD, QUIET, RATE_HZ, SENTENCE_TAIL, Piece
from nodes.servers.voices import Voice
from tests.servers import tiny_kokoro
from tests.servers.calling import Client, call, until

PATH = "/v1/audio/speech"


def order(text: str, **options: Any) -> dict[str, Any]:
    return {"input": text, "response_format": "pcm", **options}


def server(engine: Any = None, **options: Any) -> Callable[[], Any]:
    return lambda: tts.app(engine or tts.choose("espeak"), **options)


def post(body: Any, *, path: str = PATH, status: int = 200, engine: Any = None, **options: Any) -> tuple[str, bytes]:
    """Content type and body."""

    async def do(client: Client) -> tuple[str, bytes]:
        data = body if isinstance(body, bytes) else json.dumps(body)
        async with client.post(path, data=data) as response:
            got = await response.read()
            assert response.status == status, got
            return response.content_type, got

    answer: tuple[str, bytes] = call(server(engine, **options), do)
    return answer


def detail(body: Any, status: int, **options: Any) -> Any:
    return json.loads(post(body, status=status, **options)[1])["detail"]


def samples(pcm: bytes) -> np.ndarray:
    return np.frombuffer(pcm, "<i2").astype(np.float32) / 32768


class Tone:
    """Speaks a tenth of a second for each word; what it does after the first is for the test to say."""

    name = "tone"
    voices = ("af_heart",)

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self._then = then
        self.spoken = 0

    def speak(self, text: str, voice: Voice, language: str, speed: float, heard: Callable[[Piece], bool]) -> None:
        if text == tts.WARM_UP:
            return
        tone = np.full(RATE_HZ // 10, 0.5, np.float32)
        place = 0
        for word in text.split():
            place = text.index(word, place)
            if not heard(Piece(tone, ((self.spoken * len(tone), place),))):
                return
            self.spoken += 1
            if self.spoken == 1:
                self._then()


def test_pcm_is_s16le_at_24_khz_without_silence_before_it() -> None:
    kind, pcm = post(order("Hello there, this is a test."))
    first = int(np.flatnonzero(np.abs(samples(pcm)) > QUIET)[0])

    assert kind == "audio/pcm"
    assert 1.0 < len(pcm) / 2 / RATE_HZ < 3.0
    assert abs(first - LEAD) <= 1


def test_streamed_or_not_it_is_the_same_sound() -> None:
    options = {"engine": Tone()}

    assert post(order("Hello there.", stream=True), **options) == post(order("Hello there.", stream=False), **options)


def test_the_first_bytes_leave_before_the_sentence_is_spoken() -> None:
    more = threading.Event()
    engine = Tone(then=lambda: bool(more.wait(10)))

    async def do(client: Client) -> tuple[int, bytes]:
        async with client.post(PATH, json=order("one two three")) as response:
            first = await response.content.readany()
            more.set()
            return len(first), await response.read()

    first, rest = call(server(engine), do)

    assert first > 0
    assert len(rest) > 2 * RATE_HZ // 10 * 2


def test_wav_has_the_right_length_when_whole_and_an_open_one_when_streamed() -> None:
    kind, whole = post(order("Hello.", response_format="wav", stream=False), engine=Tone())
    _, streamed = post(order("Hello.", response_format="wav"), engine=Tone())

    with wave.open(io.BytesIO(whole)) as file:
        assert file.getframerate() == RATE_HZ
        assert file.getnframes() * 2 == len(whole) - 44
    assert kind == "audio/wav"
    assert streamed[4:8] == streamed[40:44] == b"\xff\xff\xff\xff"
    assert streamed[44:] == whole[44:]


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
@pytest.mark.parametrize(
    ("form", "kind", "magic"),
    [
        ("mp3", "audio/mpeg", (b"ID3", b"\xff\xfb")),
        ("opus", "audio/opus", (b"OggS",)),
        ("flac", "audio/flac", (b"fLaC",)),
    ],
)
def test_compressed_forms_are_made_by_ffmpeg(form: str, kind: str, magic: tuple[bytes, ...]) -> None:
    got, data = post(order("Hello.", response_format=form))

    assert got == kind
    assert data.startswith(magic)


def test_without_ffmpeg_the_refusal_names_what_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)

    assert "ask for pcm or wav" in detail({"input": "Hello."}, 400)["message"]


def test_speed_and_volume_are_followed() -> None:
    [normal, fast, loud] = [
        samples(post(order("Hello there, how are you?", **options))[1])
        for options in ({}, {"speed": 2.0}, {"volume_multiplier": 0.5})
    ]

    assert 0.4 < len(fast) / len(normal) < 0.65
    assert np.abs(loud).max() == pytest.approx(np.abs(normal).max() / 2, rel=0.01)


@pytest.mark.parametrize("text", ["", "...", "— !", "🎉"])
def test_unspeakable_text_is_no_sound_or_an_error(text: str) -> None:
    assert post(order(text))[1] == b""
    assert post(order(text, response_format="mp3"))[1] == b""
    assert detail(order(text, stream=False), 400)["message"] == "Input contains no speakable text"


def test_an_unknown_voice_names_the_known_ones() -> None:
    error = detail(order("Hello.", voice="nobody"), 400)

    assert error["error"] == "validation_error"
    assert error["message"].startswith("Voice 'nobody' not found. Available voices: af_alloy, ")


def test_an_unknown_model_and_language_are_refused() -> None:
    assert detail(order("Hello.", model="nothing"), 400)["error"] == "invalid_model"
    assert "lang_code 'x'" in detail(order("Hello.", lang_code="x"), 400)["message"]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"{", []),
        ([], []),
        ({}, ["input"]),
        (order("Hello.", speed=9), ["speed"]),
        (order("Hello.", speed="fast"), ["speed"]),
        (order("Hello.", stream=3), ["stream"]),
        (order("Hello.", response_format="midi"), ["response_format"]),
        (order("Hello.", response_format=["pcm"]), ["response_format"]),
        ({"input": 5}, ["input"]),
        (order("Hello.", voice={}), ["voice"]),
    ],
)
def test_what_a_schema_refuses_is_422_and_says_where(body: Any, where: list[str]) -> None:
    [problem] = detail(body, 422)

    assert problem["loc"] == ["body", *where]
    assert problem["msg"]


def test_a_key_is_asked_for_where_there_is_one() -> None:
    assert "secret" not in str(detail(order("Hello."), 401, key="secret"))


def test_voices_models_and_health_say_what_there_is() -> None:
    async def do(client: Client) -> Any:
        paths = ("/v1/audio/voices", "/v1/audio/voices?legacy=true", "/v1/models", "/health")
        return [await (await client.get(path)).json() for path in paths]

    voices, legacy, models, health = call(server(), do)

    assert {"id": "af_heart", "name": "af_heart"} in voices["voices"]
    assert legacy["voices"] == [voice["id"] for voice in voices["voices"]]
    assert "kokoro" in [model["id"] for model in models["data"]]
    assert health == {"status": "ok", "engine": "espeak-ng", "speaking": 0}


def test_captions_come_line_by_line_and_give_every_word_its_time() -> None:
    text = "Hello there, my friend."
    kind, body = post(order(text), path="/dev/captioned_speech")
    lines = [json.loads(line) for line in body.splitlines()]
    words = [word for line in lines for word in line["timestamps"]]
    pcm = b"".join(base64.b64decode(line["audio"]) for line in lines)

    assert kind == "application/x-ndjson"
    assert {line["audio_format"] for line in lines} == {"audio/pcm"}
    assert [word["word"] for word in words] == text.split()
    assert words[0]["start_time"] == 0
    assert words[-1]["end_time"] == pytest.approx((len(pcm) / 2 - SENTENCE_TAIL) / RATE_HZ, abs=1e-3)
    assert all(0.05 < word["end_time"] - word["start_time"] < 1 for word in words)


def test_captions_that_are_not_streamed_are_one_object() -> None:
    kind, body = post(order("Hello there.", stream=False), path="/dev/captioned_speech")

    assert kind == "application/json"
    assert len(json.loads(body)["timestamps"]) == 2


def test_a_client_that_goes_away_stops_the_synthesis() -> None:
    gone = threading.Event()
    engine = Tone(then=lambda: bool(gone.wait(10)))

    async def do(client: Client) -> None:
        response = await client.post(PATH, json=order("word " * 100))
        await response.content.readany()
        response.close()
        for _ in range(3):  # the server's loop sees the end of the connection before it answers these
            await client.get("/health")
        gone.set()

        async def stopped() -> bool:
            return bool((await (await client.get("/health")).json())["speaking"] == 0)

        await until(stopped)

    call(server(engine), do)

    assert engine.spoken < 10


def test_requests_are_spoken_one_after_the_other() -> None:
    async def do(client: Client) -> tuple[list[int], list[int]]:
        async def one(text: str) -> int:
            async with client.post(PATH, json=order(text)) as response:
                return len(await response.read())

        texts = ("one two three", "a longer sentence with more words", "goodbye")
        together = await asyncio.gather(*map(one, texts))
        return together, [await one(text) for text in texts]

    together, alone = call(server(), do)

    assert together == pytest.approx(alone, rel=0.02)  # espeak's Klatt voices are never twice the same


def test_a_synthesis_that_fails_at_once_is_500_and_one_that_fails_midway_breaks_the_connection() -> None:
    def fail() -> None:
        raise RuntimeError("the voice box is broken")

    class Broken(Tone):
        def speak(self, text: str, *rest: Any) -> None:
            if text != tts.WARM_UP:
                fail()

    class BrokenMidway(Tone):
        def speak(self, text: str, *rest: Any) -> None:
            self._then = fail
            super().speak(text, *rest)

    assert detail(order("one two"), 500, engine=Broken())["message"] == "the voice box is broken"
    assert detail(order("one two", stream=False), 500, engine=BrokenMidway())["error"] == "processing_error"
    with pytest.raises(aiohttp.ClientPayloadError):
        post(order("one two"), engine=BrokenMidway())


def test_kokoro_speaks_behind_the_same_protocol(tmp_path: Path) -> None:
    engine = KokoroEngine(*tiny_kokoro.save(tmp_path))
    _, body = post(order("Hello there. Goodbye."), path="/dev/captioned_speech", engine=engine)
    lines = [json.loads(line) for line in body.splitlines()]

    assert [word["word"] for line in lines for word in line["timestamps"]] == ["Hello", "there.", "Goodbye."]
    assert sum(len(base64.b64decode(line["audio"])) for line in lines) > RATE_HZ


def test_it_runs_on_virtual_time() -> None:
    async def main() -> bytes:
        services = services_of({"tts": tts.app(Tone())})
        await services.start()
        async with services.http("tts").post(PATH, json=order("one two")) as response:
            body: bytes = await response.read()
        await services.close()
        return body

    assert len(run_virtual(main())) > RATE_HZ // 10 * 2
