from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest

from flowgraph.clock import clock_of
from flowgraph.errors import DeviceError
from flowgraph.graph import Graph
from flowgraph.session import Session
from flowgraph.testing import run_virtual
from flowgraph.units import MS, SECOND
from nodes.mic import Mic
from nodes.sound import device, room
from nodes.sound.addresses import Address
from nodes.sound.hardware import Hardware
from nodes.sound.room import QUIET_NS, Line, Room
from nodes.vocabulary import Audio

HEADSET = Address("name", "headset")
NULL = Address("null")


def in_room(script: Any) -> Any:
    async def main() -> Any:
        return await script(Room(clock_of(asyncio.get_running_loop())))

    coroutine: Coroutine[Any, Any, Any] = main()
    return run_virtual(coroutine)


def microphone(room: Room) -> Line:
    return room.microphone(NULL, say=print, failed=print)


def speaker(room: Room) -> Line:
    return room.speaker(NULL, say=print, failed=print)


def test_sound_flows_when_everybody_is_ready() -> None:
    async def script(room: Room) -> list[int]:
        mic, ear = microphone(room), speaker(room)
        counts: list[int] = []
        heard: list[int] = []
        mic.heard = lambda _, at: heard.append(at)
        await room.start(ear)
        await asyncio.sleep(1)
        counts.append(len(heard))
        await room.start(mic)
        await asyncio.sleep(1.001)
        counts.append(len(heard))
        return counts

    assert in_room(script) == [0, 100]


def test_who_has_left_is_not_served_and_may_leave_twice() -> None:
    async def script(room: Room) -> list[int]:
        mic, ear = microphone(room), speaker(room)
        heard: list[int] = []
        mic.heard = lambda _, at: heard.append(at)
        await room.start(mic)
        await room.start(ear)
        await asyncio.sleep(0.1001)
        await room.leave(mic)
        await room.leave(mic)
        await asyncio.sleep(1)
        await room.leave(ear)
        return [len(heard)]

    assert in_room(script) == [10]


def test_a_speaker_that_nobody_fills_plays_silence(tmp_path: Any) -> None:
    async def script(room: Room) -> None:
        line = room.speaker(Address("file", str(tmp_path / "a.wav")), say=print, failed=print)
        await room.start(line)
        await asyncio.sleep(0.1001)
        await room.leave(line)

    in_room(script)
    assert not any((tmp_path / "a.wav").read_bytes()[44:])


def test_it_knows_since_when_no_answer_sounds() -> None:
    async def script(room: Room) -> list[int]:
        known = [room.quiet_since(5 * SECOND)]
        room.answer_begins(10 * SECOND)
        room.answer_sounds(13 * SECOND)
        room.answer_sounds(12 * SECOND)
        known += [room.quiet_since(14 * SECOND), room.quiet_since(13 * SECOND + QUIET_NS + 1)]
        room.answer_ends(14 * SECOND)
        room.answer_ends(99 * SECOND)
        return [*known, room.quiet_since(13 * SECOND + 999 * MS), room.quiet_since(14 * SECOND)]

    assert in_room(script) == [1, 0, 13 * SECOND, 0, 14 * SECOND]


def test_nobody_can_end_or_prolong_an_answer_that_has_not_begun() -> None:
    async def script(room: Room) -> object:
        room.answer_sounds(SECOND)
        room.answer_ends(SECOND)
        return room.answer

    assert in_room(script) is None


@pytest.mark.parametrize("times", [1, 2])
def test_a_node_that_is_started_anew_takes_its_place_again(times: int) -> None:
    text = """
name: restarting
nodes:
  mic:     {type: mic, device: "null", on_error: restart}
  echo:    {type: echo}
  speaker: {type: speaker, device: "null"}
edges:
  - mic -> echo -> speaker
"""
    session = Session(Graph.from_text(text))
    heard: list[int] = []
    session.watch(Audio, lambda audio: heard.append(audio.at))

    async def main() -> None:
        async with session:
            for _ in range(times):
                await asyncio.sleep(1)
                mic = session.node("mic")
                assert isinstance(mic, Mic)
                assert mic._line is not None
                mic._line.failed(DeviceError("the sound device has stopped"))
            await asyncio.sleep(1)

    run_virtual(main())
    assert len(heard) >= 50 * (times + 1) - 25 * times
    assert heard[-1] - heard[0] >= (times + 1) * SECOND - 100 * MS
    assert sum("the sound device has stopped" in line for line in session.said) == times


@pytest.mark.parametrize("served", [False, True])
def test_a_headset_is_one_stream_and_a_sound_server_two(monkeypatch: pytest.MonkeyPatch, served: bool) -> None:
    """What the driver would do is a stand-in: each of its streams gives one block, and takes one."""

    class Stream:
        name, blocks, faults, latency_ns = "headset", 0, 0, 20 * MS

        def __init__(self, *, heard: Any, played: Any, block: Any, **_: Any) -> None:
            self.rates = [one and one.rate_hz for one in (heard, played)]
            block(np.ones(480, np.float32) if heard else None, np.ones(480, np.float32) if played else None, 1, 2)
            streams.append(self)

        async def stop(self) -> bool:
            stopped.append(self)
            return True

    async def script(room: Room) -> list[tuple[str, int]]:
        calls: list[tuple[str, int]] = []
        ear, mouth = (make(HEADSET, say=print, failed=print) for make in (room.microphone, room.speaker))
        ear.heard = lambda _, at: calls.append(("heard", at))
        mouth.fill = lambda _, at, __: calls.append(("filled", at))
        for line in (ear, mouth):
            await room.start(line)
        await room.leave(ear)
        assert len(stopped) == (1 if served else 0), "it stays open until both have left"
        await room.leave(mouth)
        return calls

    streams: list[Stream] = []
    stopped: list[Stream] = []
    rates = iter([48_000, 44_100])
    monkeypatch.setattr(room, "resolve", lambda *_: Hardware(1, "headset", 0, 1, next(rates), served))
    monkeypatch.setattr(device, "HardwareStream", Stream)

    assert in_room(script) == [("heard", 1), ("filled", 2)]
    assert [one.rates for one in streams] == ([[48_000, None], [None, 44_100]] if served else [[48_000, 48_000]])
    assert stopped == streams
