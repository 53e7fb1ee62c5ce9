"""The speaker on virtual time: 24 kHz, blocks of 10 ms, an owner of the turn that follows a script."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from flowgraph.context import Context
from flowgraph.errors import DeviceError, NodeFailed
from flowgraph.frame import Frame
from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import graph_of, run_node, run_virtual
from flowgraph.units import MS, SECOND
from nodes.sound.room import Room
from nodes.sound.wav import WavSource
from nodes.speaker import Speaker
from nodes.vocabulary import End, Heard, Played, Speech

RATE = 24_000

Script = Callable[[Context], AsyncIterator[Speech | End]]


class Owner(Node):
    """Yields what its script yields, as plans of the current attempt."""

    owns_turn = True

    async def run(self) -> AsyncIterator[Speech | End]:
        self.ctx.turn.advance()
        self.ctx.turn.commit(self.ctx.turn.number)
        async for plan in self.__dict__["script"](self.ctx):
            yield plan


def play(
    script: Script, *, device: str = "null", watch_played: bool = False
) -> tuple[list[Heard], list[Frame], Session]:
    """What was heard, everything that was yielded, and the session."""
    frames: list[Frame] = []
    owner = Owner()
    owner.__dict__["script"] = script
    nodes: dict[str, Node] = {"owner": owner, "speaker": Speaker(device=device)}
    session = Session(graph_of(nodes, ("owner", "speaker")), nodes=nodes)
    session.watch(Frame, lambda frame: None if isinstance(frame, Played) else frames.append(frame))
    if watch_played:
        session.watch(Played, frames.append)

    async def main() -> None:
        async with session:
            await session.finished()

    run_virtual(main())
    return [frame for frame in frames if isinstance(frame, Heard)], frames, session


def tone(ms: int, level: float = 0.3, rate_hz: int = RATE) -> np.ndarray:
    t = np.arange(rate_hz * ms // 1000) / rate_hz
    return (level * np.sqrt(2) * np.sin(2 * np.pi * 440 * t)).astype(np.float32)


def speech(
    ms: int, text: str = "", *, part: int = 0, last: bool = True, level: float = 0.3, rate_hz: int = RATE
) -> Speech:
    return Speech(tone(ms, level, rate_hz), rate_hz, text=text, part=part, last=last)


def test_an_answer_is_heard_from_its_first_audible_sample_to_its_end() -> None:
    async def script(_: Context) -> AsyncIterator[Speech | End]:
        yield Speech(np.zeros(RATE * 30 // 1000, np.float32), RATE, text="Hello there. ")
        yield speech(970)
        yield speech(500, "Bye.", part=1)
        yield End()

    heard, frames, _ = play(script)

    first, final = heard[0], heard[-1]
    spoken = [frame for frame in frames if isinstance(frame, Speech)]
    assert [one.final for one in heard] == [False] * (len(heard) - 1) + [True]
    assert (final.text, final.samples, final.cut, final.reason) == ("Hello there. Bye.", RATE * 3 // 2, False, "done")
    assert final.played_until - final.first_audible_at == (1500 - 30) * MS
    assert first.first_audible_at == final.first_audible_at
    assert first.cause == spoken[1].id, "the first was silent"
    assert final.cause == spoken[2].id
    assert {one.turn for one in heard} == {1}


def test_what_was_heard_is_told_four_times_a_second_and_only_grows() -> None:
    async def script(_: Context) -> AsyncIterator[Speech | End]:
        yield speech(3000, "one two three four five six seven eight nine ten eleven twelve")
        yield End()

    heard, _, _ = play(script)

    steps = np.diff([one.at for one in heard[1:-1]])
    assert len(heard) == pytest.approx(13, abs=1)
    assert steps == pytest.approx(250 * MS)
    assert all(b.text.startswith(a.text) and b.samples >= a.samples for a, b in itertools.pairwise(heard))
    half = next(one for one in heard if one.samples >= RATE * 3 // 2)
    assert half.text.split()[-1] in ("seven", "eight")


@pytest.mark.parametrize("moment_ms", [100, 437, 444, 999, 1490])
def test_an_interruption_ends_what_is_heard_within_a_block(moment_ms: int) -> None:
    moments: list[int] = []

    async def script(ctx: Context) -> AsyncIterator[Speech | End]:
        yield speech(1500, "one two three four five six seven eight nine ten")
        yield End()
        await asyncio.sleep(moment_ms / 1000)
        moments.append(ctx.clock.now())
        ctx.turn.advance()
        ctx.turn.commit(2)
        await asyncio.sleep(0.1)
        yield speech(200, "No.")
        yield End()

    heard, frames, _ = play(script, watch_played=True)

    [cut] = [one for one in heard if one.cut]
    assert cut.final
    assert cut.turn == 1
    assert moments[0] <= cut.played_until <= moments[0] + 10 * MS
    assert cut.samples == pytest.approx((cut.played_until - cut.first_audible_at) * RATE / SECOND, abs=1)
    blocks = [
        frame
        for frame in frames
        if isinstance(frame, Played) and moments[0] + 15 * MS < frame.at < moments[0] + 90 * MS
    ]
    assert blocks
    assert max(np.abs(block.samples).max() for block in blocks) < 10 ** (-50 / 20)
    assert heard[-1].text == "No."
    assert heard[-1].turn == 2


def test_an_answer_that_was_interrupted_before_a_sound_was_heard_as_nothing() -> None:
    async def script(ctx: Context) -> AsyncIterator[Speech | End]:
        yield speech(500, "Never mind.")
        await asyncio.sleep(0.001)
        ctx.turn.advance()
        await asyncio.sleep(0.05)

    heard, _, _ = play(script)

    assert [(one.text, one.samples, one.final, one.cut, one.turn) for one in heard] == [("", 0, True, True, 1)]


def test_an_end_without_speech_is_answered_at_once() -> None:
    async def script(_: Context) -> AsyncIterator[Speech | End]:
        yield End(reason="error", detail="the LLM is gone")

    heard, frames, _ = play(script)

    [end] = [frame for frame in frames if isinstance(frame, End)]
    assert [(one.final, one.text, one.reason, one.detail, one.cause) for one in heard] == [
        (True, "", "error", "the LLM is gone", end.id)
    ]


def test_an_end_that_comes_late_is_answered_when_it_comes() -> None:
    async def script(_: Context) -> AsyncIterator[Speech | End]:
        yield speech(200, "Hm.")
        await asyncio.sleep(2)
        yield End(reason="length")

    heard, _, _ = play(script)

    assert (heard[-1].final, heard[-1].reason, heard[-1].samples) == (True, "length", RATE // 5)
    assert heard[-1].played_until - heard[0].first_audible_at == pytest.approx(200 * MS, abs=1)


def test_a_paused_answer_stands_still_and_resumes() -> None:
    async def script(ctx: Context) -> AsyncIterator[Speech | End]:
        yield speech(1000, "One. ")
        yield End()
        await asyncio.sleep(0.3)
        ctx.turn.set_gain(0.0)
        await asyncio.sleep(2)
        ctx.turn.set_gain(1.0)
        await asyncio.sleep(1)

    heard, _, _ = play(script)

    assert heard[-1].samples == RATE
    assert heard[-1].played_until - heard[0].first_audible_at == pytest.approx(3000 * MS, abs=10 * MS)


def test_speech_of_another_rate_is_counted_at_its_own() -> None:
    async def script(_: Context) -> AsyncIterator[Speech | End]:
        yield speech(600, "Sixteen. ", last=False, rate_hz=16_000)
        yield speech(400, rate_hz=16_000)
        yield End()

    heard, _, _ = play(script)

    assert heard[-1].samples == 16_000
    assert heard[-1].played_until - heard[0].first_audible_at == pytest.approx(1000 * MS, abs=MS)


def test_a_full_ring_holds_the_speech_back() -> None:
    taken: list[int] = []

    async def script(ctx: Context) -> AsyncIterator[Speech | End]:
        begin = ctx.clock.now()
        for part in range(100):
            yield speech(100, f"{part} ", part=part)
            taken.append((ctx.clock.now() - begin) // MS)
        yield End()

    async def slow(ctx: Context) -> AsyncIterator[Speech | End]:
        async for plan in script(ctx):
            yield plan
            await asyncio.sleep(0)

    heard, _, session = play(slow)

    speaker = session.node("speaker")
    assert isinstance(speaker, Speaker)
    assert heard[-1].samples == 100 * RATE // 10
    assert speaker._playback.underruns == 0


def test_a_late_sentence_is_an_underrun_and_not_an_end() -> None:
    async def script(_: Context) -> AsyncIterator[Speech | End]:
        yield speech(300, "First, ")
        await asyncio.sleep(1)
        yield speech(300, "second.", part=1)
        yield End()

    heard, _, session = play(script)

    speaker = session.node("speaker")
    assert isinstance(speaker, Speaker)
    assert speaker._playback.underruns == 1
    assert [one.final for one in heard].count(True) == 1
    assert heard[-1].samples == RATE * 6 // 10


def test_without_an_owner_answers_follow_each_other() -> None:
    plans = [speech(300, "One."), End(), speech(300, "Two."), End(), End(), 1.0]
    heard = [frame for frame in run_node(Speaker(device="null"), plans) if isinstance(frame, Heard) and frame.final]

    assert [(one.text, one.cut) for one in heard] == [("One.", False), ("Two.", False), ("", False)]
    assert heard[1].first_audible_at - heard[0].first_audible_at == 300 * MS


def test_the_stream_ends_when_everything_was_played() -> None:
    heard = run_node(Speaker(device="null"), [speech(700, "No end comes.")])

    final = heard[-1]
    assert isinstance(final, Heard)
    assert (final.final, final.text, final.samples) == (True, "No end comes.", RATE * 7 // 10)


def test_the_room_is_told_when_an_answer_sounds() -> None:
    rooms: list[Room] = []
    states: list[tuple[bool, bool]] = []

    async def script(ctx: Context) -> AsyncIterator[Speech | End]:
        room = ctx.shared("room", lambda: Room(ctx.clock))
        rooms.append(room)
        yield speech(500)
        yield End()
        await asyncio.sleep(0.3)
        states.append((room.quiet_since(ctx.clock.now()) == 0, room.answer is not None and room.answer.over_at == 0))
        await asyncio.sleep(0.3)

    heard, _, _ = play(script)

    answer = rooms[0].answer
    assert states == [(True, True)]
    assert answer is not None
    assert (answer.audible_at, answer.over_at, answer.cut) == (heard[0].first_audible_at, heard[-1].played_until, False)


def test_played_sound_is_only_made_where_somebody_takes_it() -> None:
    async def script(_: Context) -> AsyncIterator[Speech | End]:
        yield speech(100)
        yield End()

    _, with_it, _ = play(script, watch_played=True)
    blocks = [frame for frame in with_it if isinstance(frame, Played)]

    assert np.diff([block.at for block in blocks]) == pytest.approx(10 * MS)
    assert np.concatenate([block.samples for block in blocks])[: RATE // 10].std() == pytest.approx(0.3, rel=0.05)
    assert not [frame for frame in play(script)[1] if isinstance(frame, Played)]


def test_a_file_holds_what_was_played_at_its_time(tmp_path: Path) -> None:
    async def script(_: Context) -> AsyncIterator[Speech | End]:
        await asyncio.sleep(0.5)
        yield speech(300)
        yield End()
        await asyncio.sleep(0.5)

    play(script, device=f"file:{tmp_path / 'out.wav'}")

    source = WavSource(tmp_path / "out.wav")
    sound = source.read(10 * RATE)
    loud = np.flatnonzero(np.abs(sound) > 0.01)
    assert source.rate_hz == RATE
    assert (loud[0] / RATE, loud[-1] / RATE) == pytest.approx((0.5, 0.8), abs=0.011)


@pytest.mark.parametrize("device", ["caller:demo", "file:", ""])
def test_a_device_that_cannot_be_a_speaker_is_a_problem_of_the_file(device: str) -> None:
    assert len(list(Speaker(device=device).problems())) == 1


def test_a_place_that_cannot_be_written_fails_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(NodeFailed, match="can't write"):
        run_node(Speaker(device=f"file:{tmp_path / 'no' / 'a.wav'}"), [])


def test_without_sound_hardware_the_default_is_a_silent_speaker_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.sound.room.no_hardware", lambda _: "no speaker")
    said: list[str] = []

    async def main() -> None:
        nodes: dict[str, Node] = {"speaker": Speaker()}
        session = Session(graph_of(nodes), nodes=nodes, say=said.append)
        async with session:
            pass

    run_virtual(main())
    assert said == ["no speaker: answers are played in silence, at the pace of a real one"]


def test_a_device_that_is_gone_ends_the_session_with_a_reason() -> None:
    async def script(ctx: Context) -> AsyncIterator[Speech | End]:
        yield speech(100)
        [line] = ctx.shared("room", lambda: Room(ctx.clock))._lines
        line.failed(DeviceError("the sound device has stopped: was it unplugged?"))
        await asyncio.sleep(1)

    with pytest.raises(NodeFailed, match=r"'speaker' failed.*unplugged"):
        play(script)
