"""Against a scripted server that speaks Deepgram's live protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from aiohttp import WSMsgType, web

from flowgraph.errors import NodeFailed
from flowgraph.frame import Frame
from flowgraph.testing import run_node
from flowgraph.units import MS, SECOND
from nodes.vocabulary import Audio, Transcript, Voice
from nodes.ws_stt import WsStt

RATE_HZ = 16_000
BLOCK_MS = 20
STARTS_AT = 5 * SECOND


def results(
    text: str = "",
    start: float = 0.0,
    end: float = 0.0,
    *,
    final: bool = False,
    finalized: bool = False,
    words: bool = True,
) -> dict[str, Any]:
    """A message of the server; its words share the time that it covers, behind a silence of 100 ms."""
    spoken, begin = text.split(), start + 0.1
    each = (end - begin) / max(len(spoken), 1)
    times = [{"word": w, "start": begin + i * each, "end": begin + (i + 1) * each} for i, w in enumerate(spoken)]
    return {
        "type": "Results", "start": start, "duration": end - start, "is_final": final or finalized, "from_finalize": finalized,
        "channel": {"alternatives": [{"transcript": text, "words": times if words else []}]},
    }  # fmt: skip


Replies = Callable[["Stt"], list[Any]]


class Stt:
    """Calls `on_sound` for each block and `on_finalize` for each request; sends what they return (text as it stands)."""

    def __init__(
        self, *, on_sound: Replies = lambda _: [], on_finalize: Replies = lambda _: [], on_close: Replies = lambda _: []
    ) -> None:
        self.got: list[str] = []
        """Kinds of messages, runs of sound as their seconds."""
        self.sound = b""
        self.query: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self.requests = 0
        self._on = {"sound": on_sound, "Finalize": on_finalize, "CloseStream": on_close}
        self.app = web.Application()
        self.app.router.add_get("/v1/listen", self._listen)

    @property
    def seconds(self) -> float:
        return len(self.sound) / 2 / RATE_HZ

    async def _listen(self, request: web.Request) -> web.WebSocketResponse:
        self.query, self.headers = dict(request.query), dict(request.headers)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            kind = "sound" if message.type is WSMsgType.BINARY else json.loads(message.data)["type"]
            if kind == "sound":
                self.sound += message.data
                if not message.data:  # as WhisperLiveKit's endpoint takes it
                    await socket.close(code=4400)
            else:
                self.got.append(f"{kind} {self.seconds:.2f}")
            self.requests += kind == "Finalize"
            for reply in self._on.get(kind, lambda _: [])(self):
                await self._say(socket, reply)
            if kind == "CloseStream":
                await self._say(socket, {"type": "Metadata", "duration": self.seconds})
                await socket.close()
        return socket

    async def _say(self, socket: web.WebSocketResponse, reply: Any) -> None:
        match reply:
            case dict():
                await socket.send_json(reply)
            case str():
                await socket.send_str(reply)
            case int():
                await socket.close(code=reply, message=b"NET-0001")
            case float():
                await asyncio.sleep(reply)


def heard(*spans: tuple[str, float], at: int = STARTS_AT) -> list[Frame | float]:
    """What microphone and VAD say: spans of "speech", "silence" or "lost", in seconds; windows of 40 ms."""
    frames: list[Frame | float] = []
    silence_ms = 0
    for kind, seconds in spans:
        for block in range(round(seconds * 1000) // BLOCK_MS):
            if kind != "lost":
                level = 0.5 if kind == "speech" else 0.0
                frames.append(Audio(np.full(RATE_HZ * BLOCK_MS // 1000, level, np.float32), RATE_HZ, at=at))
            at += BLOCK_MS * MS
            if block % 2 and kind != "lost":
                silence_ms = 0 if kind == "speech" else silence_ms + 2 * BLOCK_MS
                frames.append(Voice(float(kind == "speech"), silence_ms, speaking=kind == "speech", at=at))
                frames.append(2 * BLOCK_MS / 1000)
    return frames


def transcripts(stt: Stt, frames: list[Frame | float], **options: Any) -> list[Transcript]:
    outputs = run_node(WsStt(**options), frames, services={"stt": stt.app})
    return [frame for frame in outputs if isinstance(frame, Transcript)]


def spans(outputs: list[Transcript]) -> list[tuple[str, bool, int, int]]:
    """(text, final, begin and end in ms from the start of the recording)."""
    return [(t.text, t.final, (t.start_at - STARTS_AT) // MS, (t.end_at - STARTS_AT) // MS) for t in outputs]


def finalised(text: str, start: float) -> Replies:
    return lambda stt: [results(text, start, stt.seconds, finalized=True)]


ONE_UTTERANCE = (("silence", 1.0), ("speech", 1.0), ("silence", 1.0))


def test_sound_goes_up_as_it_is_and_settings_in_the_url() -> None:
    stt = Stt()

    transcripts(stt, heard(("silence", 0.2), ("speech", 0.2)), model="m", language="en", query={"keyterm": "Flow"})

    assert stt.query == {
        "encoding": "linear16", "sample_rate": "16000", "channels": "1", "interim_results": "true", "punctuate": "true",
        "endpointing": "false", "model": "m", "language": "en", "keyterm": "Flow",
    }  # fmt: skip
    assert stt.sound == bytes(6400) + np.full(3200, 16383, "<i2").tobytes()


def test_it_asks_once_for_each_silence_behind_speech() -> None:
    stt = Stt(on_finalize=finalised("", 0))

    transcripts(stt, heard(*ONE_UTTERANCE, ("speech", 0.4), ("silence", 0.04), ("speech", 0.2), ("silence", 1.0)))

    assert stt.got == ["Finalize 2.12", "Finalize 3.76", "CloseStream 4.64"]


def test_silence_at_the_start_asks_for_nothing() -> None:
    stt = Stt()

    transcripts(stt, heard(("silence", 3.0)))

    assert stt.got == ["CloseStream 3.00"]


def test_a_final_transcript_names_its_silence_and_its_span() -> None:
    stt = Stt(on_finalize=finalised("hello there", 0.9))
    frames = heard(*ONE_UTTERANCE)

    [transcript] = outputs = transcripts(stt, frames)

    assert spans(outputs) == [("hello there", True, 1000, 2120)]
    [silence] = [f for f in frames if isinstance(f, Voice) and f.id == transcript.cause]
    assert silence.silence_ms == 120
    assert transcript.at > STARTS_AT


def test_partial_transcripts_come_while_somebody_speaks() -> None:
    said = {24_000: "hel", 28_800: "hello there"}
    stt = Stt(
        on_sound=lambda stt: (
            [results(said[len(stt.sound) // 2], 0.9, stt.seconds)] if len(stt.sound) // 2 in said else []
        ),
        on_finalize=finalised("hello there", 0.9),
    )
    frames = heard(*ONE_UTTERANCE)

    outputs = transcripts(stt, frames)

    assert spans(outputs) == [
        ("hel", False, 1000, 1500),
        ("hello there", False, 1000, 1800),
        ("hello there", True, 1000, 2120),
    ]
    assert {type(f) for f in frames if isinstance(f, Frame) and f.id in [t.cause for t in outputs[:2]]} == {Audio}


def test_an_empty_final_says_that_nothing_will_come() -> None:
    [transcript] = transcripts(Stt(on_finalize=finalised("", 0.0)), heard(*ONE_UTTERANCE))

    assert (transcript.text, transcript.final) == ("", True)
    assert transcript.start_at >= STARTS_AT + 700 * MS  # not before what the VAD heard
    assert transcript.end_at == STARTS_AT + 2120 * MS


def test_what_the_server_ended_by_itself_goes_into_the_final() -> None:
    stt = Stt(
        on_sound=lambda stt: [results("hello", 0.9, 1.4, final=True)] if stt.seconds == 1.5 else [],
        on_finalize=lambda stt: [results("there", 1.4, stt.seconds, finalized=True)],
    )

    outputs = transcripts(stt, heard(*ONE_UTTERANCE))

    assert spans(outputs) == [("hello", False, 1000, 1400), ("hello there", True, 1000, 2120)]


def test_the_next_utterance_begins_anew() -> None:
    texts = ["one two", "three four"]
    stt = Stt(
        on_finalize=lambda stt: [results(texts[stt.requests - 1], stt.seconds - 1.2, stt.seconds, finalized=True)]
    )

    outputs = transcripts(stt, heard(*ONE_UTTERANCE, ("speech", 1.0), ("silence", 0.5)))

    assert [t.text for t in outputs] == texts
    assert [t.end_at for t in outputs] == [STARTS_AT + 2120 * MS, STARTS_AT + 4120 * MS]


def test_a_request_that_is_never_answered_does_not_glue_two_utterances_together() -> None:
    said = {1.5: results("one", 0.9, 1.5, final=True), 3.5: results("two", 3.0, 3.5)}
    stt = Stt(
        on_sound=lambda stt: [said[stt.seconds]] if stt.seconds in said else [],
        on_finalize=lambda stt: [results("two", 3.0, stt.seconds, finalized=True)] if stt.requests == 2 else [],
    )

    outputs = transcripts(stt, heard(*ONE_UTTERANCE, ("speech", 1.0), ("silence", 0.5)))

    assert spans(outputs) == [("one", False, 1000, 1500), ("two", False, 3100, 3500), ("two", True, 3100, 4120)]


def test_an_answer_to_the_last_request_answers_those_before() -> None:
    stt = Stt(on_finalize=lambda stt: [results("two", 3.0, stt.seconds, finalized=True)] if stt.requests == 2 else [])
    frames = heard(*ONE_UTTERANCE, ("speech", 1.0), ("silence", 0.5))

    [transcript] = transcripts(stt, frames)

    assert next(f.at for f in frames if isinstance(f, Frame) and f.id == transcript.cause) == STARTS_AT + 4120 * MS


def test_an_answer_covers_all_sound_before_its_request() -> None:
    outputs = transcripts(
        Stt(on_finalize=lambda _: [results("hello", 0.9, 1.9, finalized=True)]), heard(*ONE_UTTERANCE)
    )

    assert spans(outputs) == [("hello", True, 1000, 2120)]


def test_times_are_those_of_capture_also_where_sound_was_lost() -> None:
    stt = Stt(on_finalize=lambda stt: [results("two", stt.seconds - 1.12, stt.seconds, finalized=True)])

    outputs = transcripts(
        stt, heard(("silence", 0.4), ("lost", 3.0), ("silence", 0.4), ("speech", 1.0), ("silence", 0.4))
    )

    assert spans(outputs) == [("two", True, 3900, 4920)]


def test_with_send_speech_silence_is_left_out() -> None:
    stt = Stt(on_finalize=finalised("hello", 0.4))

    outputs = transcripts(stt, heard(("silence", 3.0), ("speech", 1.0), ("silence", 3.0)), send="speech")

    assert stt.seconds == pytest.approx(0.5 + 1.0 + 0.12, abs=0.041)
    assert np.frombuffer(stt.sound, "<i2")[-1920 - 16_000 : -1920].min() == 16383
    assert outputs[0].end_at == STARTS_AT + 4120 * MS
    assert outputs[0].start_at == pytest.approx(STARTS_AT + 3000 * MS, abs=45 * MS)


def test_with_send_speech_the_server_gets_a_sign_of_life() -> None:
    stt = Stt()

    transcripts(stt, heard(("silence", 9.0)), send="speech")

    assert stt.got == ["KeepAlive 0.00", "KeepAlive 0.00", "CloseStream 0.00"]


def test_what_is_left_at_the_end_is_said() -> None:
    stt = Stt(on_close=lambda stt: [results("last words", 0.4, stt.seconds, final=True)])

    outputs = transcripts(stt, heard(("silence", 0.5), ("speech", 1.0)))

    assert spans(outputs) == [("last words", False, 500, 1500), ("last words", True, 500, 1500)]


def test_a_server_that_does_not_end_is_left() -> None:
    took: list[float] = []

    class Deaf(Stt):
        async def _say(self, socket: web.WebSocketResponse, reply: Any) -> None:
            if reply.get("type") == "Metadata":
                took.append(asyncio.get_running_loop().time())
                try:
                    await asyncio.sleep(60)
                finally:
                    took.append(asyncio.get_running_loop().time())

    assert transcripts(Deaf(), heard(("silence", 1.0))) == []
    assert 2.0 <= took[1] - took[0] < 3.1  # then the closing handshake, which it doesn't answer either


def test_words_without_times_begin_where_the_vad_heard_them() -> None:
    stt = Stt(on_finalize=lambda stt: [results("hello", 0.0, stt.seconds, finalized=True, words=False)])

    [transcript] = transcripts(stt, heard(("silence", 3.0), ("speech", 1.0), ("silence", 0.5)))

    assert STARTS_AT + 2700 * MS <= transcript.start_at <= STARTS_AT + 3040 * MS


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (1011, r"closed the connection \(1011, NET-0001\)"),
        ("{oops", "not Deepgram's protocol"),
        ('{"type": "Results", "channel": {}}', "not Deepgram's protocol"),
        ({"type": "Error", "description": "quota used up"}, "quota used up"),
    ],
)
def test_what_goes_wrong_is_said_in_one_sentence(reply: Any, message: str) -> None:
    stt = Stt(on_sound=lambda stt: [reply] if stt.seconds == 1.0 else [])

    with pytest.raises(NodeFailed, match=message):
        transcripts(stt, heard(("silence", 2.0)))


def test_a_connection_that_breaks_is_an_error() -> None:
    class Dying(Stt):
        async def _listen(self, request: web.Request) -> web.WebSocketResponse:
            assert request.transport is not None
            asyncio.get_running_loop().call_later(1.0, request.transport.abort)
            return await super()._listen(request)

    with pytest.raises(NodeFailed, match="closed the connection"):
        transcripts(Dying(), heard(("silence", 2.0)))


def test_a_refusal_is_an_error() -> None:
    with pytest.raises(NodeFailed, match="404"):
        run_node(WsStt(), [], services={"stt": web.Application()})


def test_sound_at_another_rate_is_an_error_with_a_hint() -> None:
    with pytest.raises(NodeFailed, match="48000 Hz") as failure:
        run_node(WsStt(), [Audio(np.zeros(960, np.float32), 48_000)], services={"stt": Stt().app})
    assert "rate_hz: 48000" in failure.value.hint


def test_a_block_without_samples_is_not_sent_for_it_would_end_the_stream() -> None:
    stt = Stt(on_finalize=finalised("hello", 1.0))
    nothing = Audio(np.zeros(0, np.float32), RATE_HZ, at=STARTS_AT)

    outputs = transcripts(stt, [nothing, *heard(*ONE_UTTERANCE)])

    assert spans(outputs)[-1][:2] == ("hello", True)
    assert stt.seconds == pytest.approx(3.0)


def test_messages_of_no_interest_are_passed_over() -> None:
    stt = Stt(
        on_sound=lambda _: [{"type": "SpeechStarted", "timestamp": 1.0}, {"type": "UtteranceEnd"}, results("", 0, 1)]
    )

    assert transcripts(stt, heard(("silence", 0.4))) == []
