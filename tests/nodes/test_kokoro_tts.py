"""Against a scripted server that does what Kokoro-FastAPI was seen to do."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from flowgraph.errors import NodeFailed
from flowgraph.frame import Frame
from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import graph_of, run_graph, run_virtual, services_of
from flowgraph.units import MS
from nodes.kokoro_tts import REHEARSED, KokoroTts
from nodes.vocabulary import End, Pace, Sentence, Speech, SpeechStarted
from tests.nodes.passing import through

RATE_HZ = 24_000
STARTS_AT = 1000.0
"""Where virtual time begins, in seconds."""
ABORT = object()


def sound(ms: int, level: float = 0.5) -> bytes:
    return np.full(ms * RATE_HZ // 1000, level * 32768, "<i2").tobytes()


class Tts:
    """Sends each item of its script: bytes as they are, a number as a pause, ABORT as a dead connection."""

    def __init__(self, *script: Any, status: int = 200, kind: str = "audio/pcm", captions: bool = False) -> None:
        self.asked: list[dict[str, Any]] = []
        self.busy = self.most_busy = 0
        self.broken_at: list[float] = []
        self._script = script or (sound(1000),)
        self._status = status
        self._kind = kind
        self.app = web.Application()
        self.app.router.add_post("/v1/audio/speech", self._answer)
        if captions:
            self.app.router.add_post("/dev/captioned_speech", self._answer)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.asked.append(asked)
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        response = web.StreamResponse(status=self._status, headers={"Content-Type": self._kind})
        try:
            for item in self._script:
                if isinstance(item, int | float):
                    await asyncio.sleep(item)
                    continue
                if not response.prepared:
                    await response.prepare(request)
                if item is ABORT:
                    assert request.transport is not None
                    request.transport.abort()
                else:
                    await response.write(item if isinstance(item, bytes) else item(asked["input"]))
            if not response.prepared:
                await response.prepare(request)
            await response.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            self.broken_at.append(asyncio.get_running_loop().time())
            raise
        finally:
            self.busy -= 1
        return response


def speak(tts: Tts, *frames: Frame | float, **options: Any) -> list[tuple[float, Frame]]:
    """(seconds since the first frame went in, frame)."""
    node = KokoroTts(**{"trim": "off", "warm": "off", **options})
    arrived = through(node, frames or [Sentence("Hello there.")], services={"tts": tts.app})
    return [(round(at - STARTS_AT, 3), frame) for at, frame in arrived]


def chunks(arrived: list[tuple[float, Frame]]) -> list[Speech]:
    return [frame for _, frame in arrived if isinstance(frame, Speech)]


def parts(arrived: list[tuple[float, Frame]]) -> list[tuple[int, str, int]]:
    """(part, text, ms) of each part, in the order of arrival."""
    found: dict[int, tuple[str, int]] = {}
    for chunk in chunks(arrived):
        text, samples = found.get(chunk.part, ("", 0))
        found[chunk.part] = (text + chunk.text, samples + len(chunk.samples))
    return [(number, text, samples * 1000 // RATE_HZ) for number, (text, samples) in found.items()]


def test_sound_leaves_as_it_arrives() -> None:
    arrived = speak(Tts(0.1, sound(20), 0.1, sound(50), 0.1, sound(100)))

    assert [(at, len(f.samples) / 24, f.last) for at, f in arrived if isinstance(f, Speech)] == [
        (0.1, 20, False), (0.2, 50, False), (0.3, 100, False), (0.3, 0, True),
    ]  # fmt: skip
    assert all(chunk.rate_hz == RATE_HZ for chunk in chunks(arrived))


def test_the_request_says_what_the_options_say() -> None:
    tts = Tts()

    speak(tts, Sentence(" Hello **there**. "), voice="v", model="m", speed=1.5, language="a")

    assert tts.asked == [
        {
            "model": "m", "input": "Hello there.", "voice": "v", "response_format": "pcm", "stream": True, "speed": 1.5,
            "lang_code": "a",
        }
    ]  # fmt: skip


def test_samples_survive_any_cut_between_packets() -> None:
    data = np.arange(4800, dtype="<i2").tobytes()

    arrived = speak(Tts(*(item for i in range(0, 9600, 7) for item in (data[i : i + 7], 0.001))), Sentence("Hi"))

    assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks(arrived)]) * 32768, np.arange(4800))


def test_a_wav_stream_is_understood() -> None:
    header = (
        b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\x22\x56\0\0\x44\xac\0\0\x02\0\x10\0data\xff\xff\xff\xff"
    )

    arrived = speak(Tts(header + sound(500), kind="audio/wav"))

    assert {chunk.rate_hz for chunk in chunks(arrived)} == {22_050}
    assert sum(len(chunk.samples) for chunk in chunks(arrived)) == 12_000


def test_sentences_are_spoken_in_order_while_two_are_on_their_way() -> None:
    tts = Tts(sound(20), 0.3, lambda text: sound(100 * len(text.split())))

    arrived = speak(tts, Sentence("One."), Sentence(" Two words."), Sentence(" Three more words."), End())

    assert parts(arrived) == [(0, "One.", 120), (1, " Two words.", 220), (2, " Three more words.", 320)]
    assert [chunk.part for chunk in chunks(arrived)] == sorted(chunk.part for chunk in chunks(arrived))
    assert isinstance(arrived[-1][1], End)
    assert tts.most_busy == 2
    assert arrived[-1][0] == pytest.approx(0.6)  # two rounds instead of three


def test_with_parallel_1_one_waits_for_the_other() -> None:
    tts = Tts(0.3, sound(500))

    arrived = speak(tts, Sentence("One."), Sentence("Two."), parallel=1)

    assert (tts.most_busy, arrived[-1][0]) == (1, pytest.approx(0.6))


def test_what_cannot_be_spoken_is_reported_but_not_asked_for() -> None:
    tts = Tts()
    code = "```python\nprint(1)\n```\n"

    arrived = speak(tts, Sentence("Look:\n"), Sentence(code), Sentence("😀 "), Sentence("Fine."), End())

    assert parts(arrived) == [(0, "Look:\n", 1000), (1, code, 0), (2, "😀 ", 0), (3, "Fine.", 1000)]
    assert [chunk.part for chunk in chunks(arrived) if chunk.last] == [0, 1, 2, 3]
    assert [asked["input"] for asked in tts.asked] == ["Look:", "Fine."]


def test_an_answer_gives_the_server_no_commands() -> None:
    tts = Tts(sound(500))

    arrived = speak(tts, Sentence("Wait [pause:90s] here. "), 1.0, Sentence("[voice:af_sky]"))

    assert [asked["input"] for asked in tts.asked] == ["Wait here."]
    assert parts(arrived) == [(0, "Wait [pause:90s] here. ", 500), (1, "[voice:af_sky]", 0)]


def test_silence_at_the_ends_of_a_sentence_is_cut() -> None:
    script = (sound(80, 0), sound(300), sound(500, 0))

    assert parts(speak(Tts(*script), trim=15 * MS)) == [(0, "Hello there.", 330)]
    assert parts(speak(Tts(*script))) == [(0, "Hello there.", 880)]


def test_a_reader_pauses_between_what_is_spoken() -> None:
    arrived = speak(
        Tts(sound(300)), Sentence("One."), Sentence(" 😀 "), Sentence("Two,"), Sentence(" three "), Sentence("four."), End(), trim=15 * MS,
    )  # fmt: skip

    assert parts(arrived) == [
        (0, "One.", 300),
        (1, " 😀 ", 0),
        (2, "Two,", 270 + 300),
        (3, " three ", 90 + 300),
        (4, "four.", 300),
    ]
    pauses = {chunk.part: chunk for chunk in chunks(arrived) if not (chunk.text or chunk.last or chunk.samples.any())}
    assert {number: len(chunk.samples) / 24 for number, chunk in pauses.items()} == {2: 270, 3: 90}


def test_a_pause_leaves_before_its_sound_is_there() -> None:
    arrived = speak(Tts(0.5, sound(300)), Sentence("One."), 1.0, Sentence("Two."), trim=15 * MS)

    assert [at for at, frame in arrived if isinstance(frame, Speech) and frame.part == 1][:2] == [1.0, 1.5]


# -- warm, and how fast ------------------------------------------------------------------------------------------------


def paces(arrived: list[tuple[float, Frame]]) -> list[tuple[int, float, float]]:
    return [(f.characters, round(f.first_ms), round(f.sound_ms)) for _, f in arrived if isinstance(f, Pace)]


def test_it_says_how_fast_the_voice_is() -> None:
    arrived = speak(Tts(0.2, sound(500), 0.3, sound(500)), Sentence(" *One*. "), 2.0, Sentence("Two words."))

    assert paces(arrived) == [(4, 200, 1000), (10, 200, 1000)]


def test_what_waited_for_the_one_before_is_not_called_slow() -> None:
    """The server makes one after the other."""
    free = asyncio.Lock()

    async def one_by_one(_: web.Request) -> web.Response:
        async with free:
            await asyncio.sleep(0.4)
        return web.Response(body=sound(500), content_type="audio/pcm")

    tts = Tts()
    tts.app = web.Application()
    tts.app.router.add_post("/v1/audio/speech", one_by_one)

    assert paces(speak(tts, Sentence("One."), Sentence("Two."))) == [(4, 400, 500)] * 2


def test_the_voice_is_loaded_and_rehearsed_before_it_is_needed() -> None:
    tts = Tts(0.3, lambda text: sound(50 * len(text)))

    arrived = speak(tts, 5.0, Sentence("One."), warm="auto")

    assert [asked["input"] for asked in tts.asked] == [*REHEARSED, "One."]
    assert all({**asked, "input": ""} == {**tts.asked[0], "input": ""} for asked in tts.asked)
    assert paces(arrived) == [(len(REHEARSED[1]), 300, 50 * len(REHEARSED[1])), (4, 300, 200)], "the first was cold"
    assert parts(arrived) == [(0, "One.", 200)]


class Later(Node):
    async def run(self) -> AsyncIterator[Sentence]:
        await asyncio.sleep(5)
        yield Sentence("One.")


class Hearer(Node):
    def process(self, frame: Speech) -> None:
        pass


def test_where_nobody_wants_to_know_how_fast_it_is_the_voice_is_only_loaded() -> None:
    tts = Tts()
    graph = graph_of({"later": Later, "tts": KokoroTts, "hearer": Hearer}, ("later", "tts"), ("tts", "hearer"))

    async def main() -> None:
        async with Session(graph, services=services_of({"tts": tts.app})) as session:
            await session.finished()

    run_virtual(main())

    assert [asked["input"] for asked in tts.asked] == [REHEARSED[0], "One."]


def test_a_sentence_does_not_wait_for_the_rehearsal() -> None:
    tts = Tts(0.3, sound(500))

    arrived = speak(tts, 0.2, Sentence("One."), warm="auto")

    assert tts.broken_at == [pytest.approx(STARTS_AT + 0.2, abs=0.01)]
    assert next(at for at, frame in arrived if isinstance(frame, Speech)) == 0.5


def test_a_rehearsal_that_fails_is_left_to_the_first_sentence_to_tell() -> None:
    with pytest.raises(NodeFailed, match=r"processing Sentence.*500"):
        speak(Tts(b"", status=500), 5.0, Sentence("One."), warm="on")
    assert speak(Tts(b"", status=500), 5.0, warm="on") == []


def captions(text: str) -> bytes:
    words = [{"word": word, "start_time": i * 0.2, "end_time": i * 0.2 + 0.2} for i, word in enumerate(text.split())]
    return (
        json.dumps({"audio": base64.b64encode(sound(200 * len(words))).decode(), "timestamps": words}).encode() + b"\n"
    )


def test_words_have_times_where_the_server_knows_them() -> None:
    arrived = speak(Tts(captions, kind="application/json", captions=True), Sentence("*Hello* big world. "), words=True)

    assert [word for chunk in chunks(arrived) for word in chunk.words] == [
        ("*Hello* ", 0, 4800), ("big ", 4800, 9600), ("world. ", 9600, 14_400),
    ]  # fmt: skip


def test_a_server_without_word_times_is_asked_for_them_once() -> None:
    tts, refused = Tts(sound(500)), []

    async def refuse(request: web.Request) -> web.Response:
        refused.append(await request.json())
        raise web.HTTPNotFound

    tts.app.router.add_post("/dev/captioned_speech", refuse)

    arrived = speak(tts, Sentence("One."), 1.0, Sentence("Two."), words=True)

    assert parts(arrived) == [(0, "One.", 500), (1, "Two.", 500)]
    assert [asked["return_timestamps"] for asked in refused] == [True]
    assert len(tts.asked) == 2


@pytest.mark.parametrize(
    ("tts", "message"),
    [
        (Tts(b""), "with no sound"),
        (Tts(sound(20)), "with only 20 ms of sound"),
        (Tts(sound(200), 0.1, ABORT), "closed the connection"),
        (Tts(sound(200), 60.0), "nothing for 5 s"),
        (Tts(60.0, sound(200)), "doesn't answer within 10 s"),
        (Tts(b'{"detail": {"message": "Input too long"}}', status=400, kind="application/json"), "400: Input too long"),
        (Tts(b'{"detail": [{"loc": ["body", "speed"], "msg": "too fast"}]}', status=422), "422: speed: too fast"),
        (Tts(b'{"message": "no engine"}', kind="application/json"), "no engine"),
        (Tts(b"\xff\xfb" * 500, kind="audio/mpeg"), "sends audio/mpeg, not raw sound"),
        (Tts(b"<html>", kind="text/html"), "sends text/html, not raw sound"),
        (Tts(b"", status=500), "500"),
    ],
)
def test_what_goes_wrong_is_said_in_one_sentence(tts: Tts, message: str) -> None:
    with pytest.raises(NodeFailed, match=message):
        speak(tts, Sentence("A sentence of more than a few words."))


def test_a_voice_that_is_not_there_is_answered_with_one_that_is() -> None:
    body = b'{"detail": {"error": "validation_error", "message": "Voice \'af_hart\' not found. Available voices: af_alloy, af_heart"}}'

    with pytest.raises(NodeFailed, match="Voice 'af_hart' not found") as failure:
        speak(Tts(body, status=400, kind="application/json"), voice="af_hart")
    assert failure.value.hint == "did you mean af_heart?"


class Onsets(Node):
    async def run(self) -> AsyncIterator[SpeechStarted]:
        yield SpeechStarted()
        await asyncio.sleep(1.05)
        yield SpeechStarted()


class Answerer(Node):
    """A new attempt with each onset, of three sentences."""

    owns_turn = True

    def process(self, frame: SpeechStarted) -> Iterator[Sentence | End]:
        self.ctx.turn.commit(self.ctx.turn.advance())
        yield from (Sentence(text) for text in ("One. ", "Two. ", "Three."))
        yield End()


def test_an_interruption_stops_the_server_and_the_count_begins_anew() -> None:
    tts = Tts(*[sound(100), 0.1] * 20)
    graph = graph_of({"onsets": Onsets, "owner": Answerer, "tts": KokoroTts}, ("onsets", "owner"), ("owner", "tts"))

    frames = run_graph(graph, services={"tts": tts.app})

    started = frames[0].at / 1e9
    assert tts.broken_at == [pytest.approx(started + 1.05, abs=0.01)] * 2
    assert len(tts.asked) == 2 + 3
    assert [(f.turn, f.part, f.text) for f in frames if isinstance(f, Speech) and f.text] == [
        (1, 0, "One. "), (2, 0, "One. "), (2, 1, "Two. "), (2, 2, "Three."),
    ]  # fmt: skip
