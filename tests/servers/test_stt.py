"""Over real sockets, against the server as a child process."""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import json
import re
import subprocess
import sys
import wave
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, FormData, WSMsgType

from flowgraph.testing import run_virtual, services_of
from nodes.servers import stt, tts
from nodes.servers.answers import STORY, answer
from nodes.servers.wav import header
from tests.servers.calling import Client, call
from tests.servers.recorded import RATE_HZ, conversation, noise, pcm, said, with_pauses
from tests.servers.test_answers import NOW
from tests.servers.understood import errors, words

QUERY = {"encoding": "linear16", "sample_rate": "16000", "channels": "1", "endpointing": "false"}
FINALIZE, CLOSE, KEEP_ALIVE = (json.dumps({"type": kind}) for kind in ("Finalize", "CloseStream", "KeepAlive"))
TIME = 1
"""The utterance "Do you know what time it is?" """


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command = [sys.executable, "-m", "nodes.servers.stt", "--port", "0", "--parent"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())["url"]
        assert server.stdin is not None
        server.stdin.close()


def with_session(do: Callable[[ClientSession], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with ClientSession() as session, asyncio.timeout(50):
            return await do(session)

    return asyncio.run(main())


async def exchange(socket: ClientWebSocketResponse, script: Sequence[bytes | str]) -> list[dict[str, Any]]:
    """Send it all; what came back until the server closed, its closing last."""
    for item in script:
        await (socket.send_bytes(item) if isinstance(item, bytes) else socket.send_str(item))
    messages = [message.json() async for message in socket]
    return [*messages, {"type": "closed", "code": socket.close_code}]


def listen(url: str, *script: bytes | str, **query: str) -> list[dict[str, Any]]:
    async def do(session: ClientSession) -> list[dict[str, Any]]:
        async with session.ws_connect(f"{url}/v1/listen", params=QUERY | query) as socket:
            return await exchange(socket, script)

    messages: list[dict[str, Any]] = with_session(do)
    return messages


def asked() -> bytes:
    """ "Do you know what time it is?", with so little silence behind it that the server would still wait for more."""
    return said(TIME, after_ms=400)


def pieces(sound: bytes, ms: int = 40) -> list[bytes]:
    size = ms * RATE_HZ // 1000 * 2
    return [sound[start : start + size] for start in range(0, len(sound), size)]


def transcripts(messages: list[dict[str, Any]], **which: bool) -> list[str]:
    results = [one for one in messages if one["type"] == "Results" and which.items() <= one.items()]
    return [one["channel"]["alternatives"][0]["transcript"] for one in results]


@pytest.mark.parametrize("silence_ms", [96, 400])
def test_the_bundled_caller_is_understood_however_early_it_is_finalised(url: str, silence_ms: int) -> None:
    script: list[bytes | str] = []
    for part in with_pauses(silence_ms):
        script += [*pieces(part), FINALIZE]
    heard = words(" ".join(transcripts(listen(url, *script, CLOSE), is_final=True)))
    really_said = words(" ".join(one.text for one in conversation().utterances))

    assert errors(really_said, heard) / len(really_said) <= 0.15


def test_results_have_the_shape_of_deepgrams(url: str) -> None:
    sound = asked()
    final, metadata, closed = listen(url, sound, FINALIZE, CLOSE)
    [alternative] = final["channel"]["alternatives"]

    assert alternative["transcript"] == "do you know what time it is"
    assert [word["word"] for word in alternative["words"]] == alternative["transcript"].split()
    assert all(0 <= word["start"] < word["end"] <= final["duration"] for word in alternative["words"])
    assert (final["start"], final["is_final"], final["speech_final"], final["from_finalize"]) == (0, True, False, True)
    assert final["duration"] == pytest.approx(len(sound) / 2 / RATE_HZ, abs=0.02)
    assert metadata["type"] == "Metadata"
    assert metadata["duration"] == pytest.approx(len(sound) / 2 / RATE_HZ, abs=1e-3)
    assert metadata["sha256"] == hashlib.sha256(sound).hexdigest()
    assert metadata["request_id"] == final["metadata"]["request_id"]
    assert closed["code"] == 1000


def test_partials_grow_while_somebody_speaks_where_they_are_wanted(url: str) -> None:
    script = [*pieces(asked()), FINALIZE, CLOSE]
    partial = transcripts(listen(url, *script, interim_results="true"), is_final=False)

    assert len(partial) >= 2
    assert partial[-1].startswith("do you know what")
    assert all(before != after for before, after in itertools.pairwise(partial))
    assert transcripts(listen(url, *script), is_final=False) == []


def test_a_finalise_with_nothing_to_say_is_answered_too(url: str) -> None:
    first, second, *_ = listen(url, pcm(noise(1000)), FINALIZE, pcm(noise(500)), FINALIZE, CLOSE)

    assert transcripts([first, second], from_finalize=True) == ["", ""]
    assert (first["start"], first["duration"]) == (0, 1)
    assert (second["start"], second["duration"]) == (1, 0.5)


def test_spans_of_finals_follow_each_other(url: str) -> None:
    script = [said(0), FINALIZE, said(1), FINALIZE, CLOSE]
    finals = [one for one in listen(url, *script, interim_results="true") if one.get("is_final")]

    assert [one["start"] for one in finals[1:]] == pytest.approx(
        [one["start"] + one["duration"] for one in finals[:-1]]
    )


def test_what_nobody_finalised_comes_at_the_close(url: str) -> None:
    sound = asked()

    assert transcripts(listen(url, sound, CLOSE), is_final=True, from_finalize=False) == ["do you know what time it is"]
    assert transcripts(listen(url, sound, b""), is_final=True) == ["do you know what time it is"]


def test_its_own_endpointing_ends_utterances_where_it_is_asked_to(url: str) -> None:
    script = [*pieces(said(0) + said(TIME)), CLOSE]
    messages = listen(
        url, *script, endpointing="500", vad_events="true", utterance_end_ms="1000", interim_results="true"
    )
    started, ended = ([one for one in messages if one["type"] == kind] for kind in ("SpeechStarted", "UtteranceEnd"))

    assert transcripts(messages, speech_final=True) == ["good morning my name is david", "do you know what time it is"]
    assert len(started) == 2
    assert started[0]["timestamp"] == pytest.approx(0.6, abs=0.05)
    assert ended[0]["last_word_end"] == pytest.approx(0.5 + conversation().utterances[0].speech_end / RATE_HZ, abs=0.2)


def test_other_rates_and_channels_are_converted(url: str) -> None:
    mono = np.frombuffer(asked(), "<i2").astype(np.float64)
    at_48k = np.interp(np.arange(len(mono) * 3) / 3, np.arange(len(mono)), mono)
    sound = np.stack([at_48k, at_48k], axis=1).astype("<i2").tobytes()

    # 1001 bytes: messages end within samples
    script = [sound[start : start + 1001] for start in range(0, len(sound), 1001)]
    messages = listen(url, *script, FINALIZE, CLOSE, sample_rate="48000", channels="2")

    assert transcripts(messages, from_finalize=True) == ["do you know what time it is"]
    assert messages[-2]["duration"] == pytest.approx(len(mono) / RATE_HZ, abs=1e-3)


def test_what_it_cannot_read_is_complained_about_and_the_stream_goes_on(url: str) -> None:
    messages = listen(url, "hello", '{"type": "Dance"}', "[1]", KEEP_ALIVE, asked(), FINALIZE, CLOSE)

    assert [one["type"] for one in messages[:4]] == ["Error", "Error", "Error", "Results"]
    assert "'Dance' is none of KeepAlive, Finalize, CloseStream" in messages[1]["description"]
    assert transcripts(messages, from_finalize=True) == ["do you know what time it is"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"encoding": "opus"}, "encoding=opus is not supported"),
        ({"encoding": ""}, "encoding= is not supported"),
        ({"sample_rate": "fast"}, "sample_rate=fast is not a whole number"),
        ({"sample_rate": "1"}, "sample_rate=1 is not a whole number from 8000"),
        ({"channels": "0"}, "channels=0"),
        ({"interim_results": "maybe"}, "interim_results=maybe is neither true nor false"),
        ({"endpointing": "soon"}, "endpointing=soon"),
        ({"utterance_end_ms": "1000"}, "utterance_end_ms needs interim_results=true"),
        ({"language": "de"}, "language=de is not supported"),
    ],
)
def test_a_query_that_it_cannot_follow_is_refused(url: str, query: dict[str, str], message: str) -> None:
    async def do(session: ClientSession) -> Any:
        async with session.get(f"{url}/v1/listen", params=QUERY | query, headers={"Upgrade": "websocket"}) as response:
            return response.status, await response.json()

    status, body = with_session(do)

    assert status == 400
    assert body["err_code"] == "INVALID_QUERY_PARAMETER"
    assert message in body["err_msg"]


@pytest.mark.parametrize("missing", ["encoding", "sample_rate"])
def test_what_raw_samples_need_is_asked_for(missing: str) -> None:
    with pytest.raises(stt.BadQuery, match=f"{missing} is missing"):
        stt.Options.parse({name: value for name, value in QUERY.items() if name != missing})


def test_a_query_that_says_no_more_than_it_has_to_has_the_documented_defaults() -> None:
    options = stt.Options.parse({"encoding": "linear16", "sample_rate": "16000"})

    assert options == stt.Options(16_000, 1, False, 300, None, False)
    assert stt.Options.parse(QUERY | {"endpointing": "true"}).endpointing_ms == 300
    assert stt.Options.parse(QUERY | {"endpointing": "80"}).endpointing_ms == 80


def test_a_client_that_breaks_off_leaves_the_server_ready_for_the_next(url: str) -> None:
    async def do(session: ClientSession) -> list[dict[str, Any]]:
        for _ in range(3):
            socket = await session.ws_connect(f"{url}/v1/listen", params=QUERY)
            await socket.send_bytes(said(0))
            assert socket._response.connection is not None
            socket._response.connection.transport.abort()  # no closing handshake
        async with session.ws_connect(f"{url}/v1/listen", params=QUERY) as socket:
            return await exchange(socket, [asked(), FINALIZE, CLOSE])

    assert transcripts(with_session(do), from_finalize=True) == ["do you know what time it is"]


def test_streams_do_not_disturb_each_other(url: str) -> None:
    async def do(session: ClientSession) -> list[list[str]]:
        async def one(index: int) -> list[str]:
            async with session.ws_connect(f"{url}/v1/listen", params=QUERY) as socket:
                return transcripts(
                    await exchange(socket, [*pieces(said(index, after_ms=400)), FINALIZE, CLOSE]), from_finalize=True
                )

        return await asyncio.gather(one(0), one(TIME))

    assert with_session(do) == [["good morning my name is david"], ["do you know what time it is"]]


def test_who_says_nothing_for_ten_seconds_is_hung_up_on_and_keep_alives_count() -> None:
    async def main() -> tuple[float, aiohttp.WSMessage]:
        loop = asyncio.get_running_loop()
        services = services_of({"stt": stt.app()})
        await services.start()
        async with services.http("stt").websocket("/v1/listen", query=QUERY) as socket:
            start = loop.time()
            for _ in range(3):
                await asyncio.sleep(8)
                await socket.send_str(KEEP_ALIVE)
            message = await socket.receive()
            waited = loop.time() - start
        await services.close()
        return waited, message

    waited, message = run_virtual(main())

    assert waited == pytest.approx(34, abs=0.1)
    assert (message.type, message.data) == (WSMsgType.CLOSE, 1011)
    assert "NET-0001" in message.extra


def test_a_key_is_asked_for_where_there_is_one() -> None:
    async def do(client: Client) -> list[int]:
        tokens = (
            {},
            {"Authorization": "Token wrong"},
            {"Authorization": "Token secret"},
            {"Authorization": "Bearer secret"},
        )
        statuses = [(await client.get("/v1/listen", params=QUERY, headers=headers)).status for headers in tokens]
        return [*statuses, (await client.post("/v1/audio/transcriptions")).status]

    assert call(lambda: stt.app(key="secret"), do) == [401, 401, 400, 400, 401]


# --- whole files ------------------------------------------------------------------------------------------------------


def transcribe(url: str, file: bytes | None, *, status: int = 200, name: str = "a.wav", **fields: str) -> Any:
    async def do(session: ClientSession) -> Any:
        form = FormData({"model": "pocketsphinx", **fields}, default_to_multipart=True)
        if file is not None:
            form.add_field("file", io.BytesIO(file), filename=name)
        async with session.post(f"{url}/v1/audio/transcriptions", data=form) as response:
            assert response.status == status, await response.text()
            return await (response.json() if response.content_type == "application/json" else response.text())

    return with_session(do)


def wav(sound: bytes) -> bytes:
    return header(RATE_HZ, len(sound)) + sound


def test_a_file_is_transcribed_in_every_form_that_is_offered(url: str) -> None:
    file = wav(asked())
    verbose = transcribe(url, file, response_format="verbose_json")

    assert transcribe(url, file)["text"] == "do you know what time it is"
    assert transcribe(url, file, response_format="text").strip() == "do you know what time it is"
    assert verbose["text"] == " ".join(word["word"] for word in verbose["words"]) == verbose["segments"][0]["text"]
    assert verbose["duration"] == pytest.approx(len(file) / 2 / RATE_HZ, abs=0.01)


def test_a_studio_recording_is_brought_into_shape(url: str) -> None:
    mono = np.frombuffer(asked(), "<i2").astype(np.int64)
    at_44k = np.interp(np.arange(len(mono) * 441 // 160) * 160 / 441, np.arange(len(mono)), mono).astype(np.int64)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((2, 3, 44_100, 0, "NONE", ""))
        out.writeframes(b"".join(int(value * 256).to_bytes(3, "little", signed=True) * 2 for value in at_44k))

    assert transcribe(url, file.getvalue())["text"] == "do you know what time it is"


def test_silence_is_no_words(url: str) -> None:
    assert transcribe(url, wav(b""))["text"] == ""
    assert transcribe(url, wav(pcm(noise(2000))))["text"] == ""


@pytest.mark.parametrize(
    ("file", "fields", "param", "message"),
    [
        (b"ID3", {}, "file", "a.wav is no WAV file that can be read"),
        (None, {}, "file", "file is missing"),
        (b"", {"model": ""}, "model", "you must provide a model"),
        (b"", {"response_format": "srt"}, "response_format", "'srt' is none of json, text, verbose_json"),
        (b"", {"language": "de"}, "language", "understands English only"),
    ],
)
def test_what_cannot_be_transcribed_says_why(
    url: str, file: bytes | None, fields: dict[str, str], param: str, message: str
) -> None:
    error = transcribe(url, file, status=400, **fields)["error"]

    assert error["param"] == param
    assert message in error["message"]


def test_a_body_that_is_no_form_is_refused(url: str) -> None:
    async def do(session: ClientSession) -> Any:
        async with session.post(f"{url}/v1/audio/transcriptions", json={}) as response:
            return response.status, await response.json()

    status, body = with_session(do)

    assert status == 400
    assert "not multipart/form-data" in body["error"]["message"]


# --- all together -----------------------------------------------------------------------------------------------------


@pytest.mark.soak  # all that it says; in a conversation: tests/test_conversation.py
def test_what_the_assistant_says_is_understood_again(url: str) -> None:
    history: list[tuple[str, str]] = []
    for one in conversation().utterances:
        history.append(("user", one.text))
        history.append(("assistant", answer(history, NOW)))
    replies = [
        text if text != STORY else text[: text.index(" He looked")] for role, text in history if role == "assistant"
    ]
    sentences = [part for text in replies for part in re.findall(r"[^.?!]+[.?!]+", text)]

    async def speak(client: Client) -> bytes:
        parts = []
        for sentence in sentences:
            async with client.post("/v1/audio/speech", json={"input": sentence, "response_format": "pcm"}) as response:
                parts.append(await response.read())
        return b"".join(parts)

    spoken = call(lambda: tts.app(tts.choose("espeak")), speak)
    heard = words(transcribe(url, header(24_000, len(spoken)) + spoken)["text"])
    really_said = words(" ".join(sentences))

    assert errors(really_said, heard) / len(really_said) <= 0.35
