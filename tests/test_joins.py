"""What is heard where one piece of an answer goes over into the next: in the sound that the device played, on virtual time."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from flowgraph.frame import End, Heard
from flowgraph.graph import Edge
from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import graph_of, run_virtual, services_of
from flowgraph.units import MS
from nodes.kokoro_tts import KokoroTts
from nodes.sentence_split import SentenceSplit
from nodes.servers import scripted
from nodes.speaker import Speaker
from nodes.vocabulary import Pace, Played, Sentence, Token

AUDIBLE = 10 ** (-50 / 20)


class Answer(Node):
    """Writes an answer token by token, when the voice has been rehearsed."""

    text: str = ""
    token_s: float = 0.015

    async def run(self) -> AsyncIterator[Token | End]:
        await asyncio.sleep(20)
        for word in self.text.split(" "):
            yield Token(f"{word} ")
            await asyncio.sleep(self.token_s)
        yield End()


class Ear(Node):
    async def open(self) -> None:
        self._blocks: list[npt.NDArray[np.float32]] = []
        self.__dict__["heard"] = ""

    def process(self, frame: Played | Heard) -> None:
        match frame:
            case Played():
                self._blocks.append(frame.samples)
            case Heard():
                self.__dict__["heard"] = frame.text

    @property
    def sound(self) -> npt.NDArray[np.float32]:
        return np.concatenate(self._blocks)


@dataclasses.dataclass
class Said:
    """One answer, as it was played."""

    sound: npt.NDArray[np.float32]
    rate_hz: int
    pieces: list[str]
    heard: str
    underruns: int
    first_ms: float
    """From the first token to the first audible sample."""

    @property
    def gaps_ms(self) -> list[float]:
        """The silences of more than 10 ms inside."""
        loud = np.flatnonzero(np.abs(self.sound) > AUDIBLE)
        gaps = np.diff(loud) * 1000 / self.rate_hz
        return [round(float(gap)) for gap in gaps if gap > 10]


def said(text: str, voice: scripted.Voice, *, paced: bool = True, token_s: float = 0.015, **options: Any) -> Said:
    """`paced`: with the edge by which the voice says how fast it is."""
    nodes = {
        "answer": Answer(text=text, token_s=token_s), "split": SentenceSplit(), "tts": KokoroTts(**options),
        "speaker": Speaker(device="null"), "ear": Ear(),
    }  # fmt: skip
    edges: list[Any] = [("answer", "split"), ("split", "tts"), ("tts", "speaker"), ("speaker", "ear")]
    if paced:
        edges.append(Edge("tts", "split", (Pace,), 64, 0, "fail", hold=False, feedback=True, place="test"))
    pieces: list[str] = []
    times: list[int] = []

    async def main() -> Said:
        async with Session(graph_of(nodes, *edges), services=services_of({"tts": voice.app}), nodes=nodes) as session:
            session.watch(Sentence, lambda sentence: pieces.append(sentence.text))
            session.watch(Token, lambda token: times.append(token.at))
            session.watch(Heard, lambda heard: times.append(heard.first_audible_at))
            async with asyncio.timeout(200):
                await session.finished()
            playback = session.node("speaker")._playback  # type: ignore[attr-defined]
            ear: Any = session.node("ear")
            first_audible = next(at for at in times if at > times[0] and at not in times[: text.count(" ") + 1])
            return Said(
                ear.sound, playback.rate_hz, pieces, ear.heard, playback.underruns, (first_audible - times[0]) / 1e6
            )

    return run_virtual(main())


LONG = "Let me tell you what I know, and then we go through all of the rest of it together one by one until it is done. Good."


def slow(**options: Any) -> scripted.Voice:
    """One and a half times real time, nothing before a piece is whole: Kokoro on a small CPU."""
    return scripted.Voice(**{"first_byte_s": 0.3, "speed": 1.5, "whole": True, "padding_ms": 60, **options})


def fast(**options: Any) -> scripted.Voice:
    return scripted.Voice(**{"first_byte_s": 0.05, "speed": 30.0, "whole": True, "padding_ms": 60, **options})


def test_a_slow_voice_leaves_no_hole_behind_the_first_clause() -> None:
    before, after = said(LONG, slow(), paced=False), said(LONG, slow())

    assert before.pieces[1].endswith("until it is done. ")
    assert (before.gaps_ms[0], before.underruns) == (pytest.approx(1200, abs=50), 1)
    assert "".join(after.pieces).strip() == LONG
    assert after.heard.strip() == LONG
    assert (after.gaps_ms, after.underruns) == ([120, 30, 300], 0)
    assert after.first_ms <= before.first_ms


@pytest.mark.parametrize("speed", [1.5, 2.0, 3.0, 5.0])
@pytest.mark.parametrize("first_byte_s", [0.05, 0.1, 0.3])
def test_no_voice_that_is_faster_than_speech_runs_dry(speed: float, first_byte_s: float) -> None:
    assert said(LONG, slow(speed=speed, first_byte_s=first_byte_s)).underruns == 0


def test_a_fast_voice_gets_whole_sentences() -> None:
    one = said(LONG, fast())

    assert one.pieces == [LONG[:28], LONG[28:-5], "Good. "]
    assert (one.gaps_ms, one.underruns) == ([120, 300], 0)


def test_a_slow_writer_is_not_waited_for_until_his_sentence_ends() -> None:
    text = "Well now, " + " ".join(["then another word comes slowly"] * 4) + "."
    waited, spoken = said(text, fast(), paced=False, token_s=0.12), said(text, fast(), token_s=0.12)

    assert waited.gaps_ms[0] > 1500
    assert len(spoken.pieces) > len(waited.pieces) == 2
    assert spoken.gaps_ms[0] == 120


@pytest.mark.parametrize(
    ("options", "gaps_ms"),
    [({}, [120, 300]), ({"pause": 500 * MS}, [200, 500]), ({"pause": 0}, [30, 30]), ({"trim": "off"}, [120, 120])],
)
def test_a_reader_pauses_between_two_pieces(options: dict[str, Any], gaps_ms: list[int]) -> None:
    """With trim: off they are the server's own: 60 ms at both ends."""
    assert said(LONG, fast(), **options).gaps_ms == gaps_ms


def test_a_pause_is_heard_while_the_next_piece_is_made() -> None:
    """A voice that is late anyway isn't made later by it."""
    without, with_pause = (said("Sure, I can.", slow(first_byte_s=1.0), pause=pause) for pause in (0, 300 * MS))

    assert without.gaps_ms[0] > 500
    assert with_pause.gaps_ms[0] == pytest.approx(without.gaps_ms[0], abs=1)


def test_no_join_clicks() -> None:
    """A tone's own steps from one sample to the next are known; a tone that is cut off has a larger one."""
    one, cut = said(LONG, fast(padding_ms=0)), said(LONG, fast(padding_ms=0), trim="off")
    steepest = 0.2 * 2 * np.pi * 440 / one.rate_hz

    assert np.abs(np.diff(one.sound)).max() < 1.2 * steepest
    assert np.abs(np.diff(cut.sound)).max() > 2 * steepest


def test_a_servers_silence_does_not_delay_the_first_sound() -> None:
    assert said(LONG, fast(padding_ms=300)).first_ms <= said(LONG, fast(padding_ms=0)).first_ms + 30
