"""A device that loses sound, on virtual time: what the driver would do is a stand-in. On a card: tests/nodes/sound/test_sound_card.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from flowgraph.clock import clock_of
from flowgraph.errors import DeviceError
from flowgraph.testing import run_virtual
from nodes.sound import device
from nodes.sound.device import Device
from nodes.sound.hardware import BLOCKS_A_SECOND, Hardware

SECOND = 1_000_000_000
SPEAKER = Hardware(0, "Speaker", 0, 1, 48_000)


class Stream:
    """A driver's stream with a buffer of so much: its blocks come by the clock, a share of them."""

    name = "Speaker"

    def __init__(self, now: Callable[[], int], latency_s: float, share: float, fault_every_s: float) -> None:
        self.latency_ns = round(latency_s * SECOND)
        self.stopped = False
        self._now = now
        self._since = now()
        self._share = share
        self._fault_every_s = fault_every_s

    @property
    def blocks(self) -> int:
        return int((self._now() - self._since) * BLOCKS_A_SECOND * self._share // SECOND)

    @property
    def faults(self) -> int:
        return int((self._now() - self._since) / SECOND / self._fault_every_s) if self._fault_every_s else 0

    async def stop(self) -> None:
        await asyncio.sleep(0.01)
        self.stopped = True


class Outcome:
    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.said: list[str] = []
        self.failed: list[str] = []

    @property
    def latencies_ms(self) -> list[int]:
        return [stream.latency_ns * 1000 // SECOND for stream in self.streams]


def used(
    monkeypatch: pytest.MonkeyPatch,
    *,
    seconds: float,
    needs_s: float = 0.0,
    share: float = 1.0,
    fault_every_s: float = 0.0,
) -> Outcome:
    """What becomes of a device that is all right from a buffer of `needs_s` on, and before gives a share of its blocks, or faults."""
    outcome = Outcome()

    def opened(*, latency: Any, now: Callable[[], int], **_: Any) -> Stream:
        if len(outcome.streams) == 1 and needs_s < 0:
            raise DeviceError("it is gone")
        latency_s = 0.02 if latency == "low" else latency
        fine = latency_s >= needs_s >= 0
        stream = Stream(now, latency_s, 1.0 if fine else share, 0.0 if fine else fault_every_s)
        outcome.streams.append(stream)
        return stream

    monkeypatch.setattr(device, "HardwareStream", opened)

    async def main() -> None:
        one = Device(
            heard=None, played=SPEAKER, block=lambda *_: None, say=outcome.said.append,
            failed=lambda error: outcome.failed.append(error.message), clock=clock_of(asyncio.get_running_loop()),
        )  # fmt: skip
        await one.start()
        await asyncio.sleep(seconds)
        await one.stop()
        assert one.stream is None or one.stream.stopped

    run_virtual(main())
    return outcome


def test_one_that_loses_nothing_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = used(monkeypatch, seconds=60)

    assert (outcome.latencies_ms, outcome.said, outcome.failed) == ([20], [], [])


@pytest.mark.parametrize(
    ("share", "fault_every_s"), [(0.7, 0.0), (1.0, 0.2), (1.0, 3.0)], ids=["silently", "often", "at times"]
)
def test_one_that_keeps_losing_sound_gets_the_buffer_that_it_needs(
    monkeypatch: pytest.MonkeyPatch, share: float, fault_every_s: float
) -> None:
    outcome = used(monkeypatch, seconds=60, needs_s=0.07, share=share, fault_every_s=fault_every_s)

    assert outcome.latencies_ms == [20, 40, 80]
    assert [stream.stopped for stream in outcome.streams] == [True, True, True]
    assert outcome.said == [
        "the sound device Speaker lost sound with a buffer of 20 ms, so it has one of 40 ms now",
        "the sound device Speaker lost sound with a buffer of 40 ms, so it has one of 80 ms now",
    ]
    assert not outcome.failed


def test_one_that_stumbles_now_and_then_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert used(monkeypatch, seconds=60, needs_s=1, fault_every_s=6).latencies_ms == [20]


def test_there_is_an_end_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert used(monkeypatch, seconds=60, needs_s=1, share=0.5).latencies_ms == [20, 40, 80, 160]


def test_one_that_falls_silent_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = used(monkeypatch, seconds=60, needs_s=1, share=0.0)

    assert outcome.failed == ["the sound device has stopped: nothing came from it for 2 s"]
    assert outcome.latencies_ms == [20]


def test_one_that_cannot_be_opened_anew_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = used(monkeypatch, seconds=60, needs_s=-1, share=0.5)

    assert outcome.failed == ["it is gone"]


@pytest.mark.parametrize("ms", [1500, 1505, 1510, 1515])
def test_it_may_be_stopped_while_it_is_opened_anew(monkeypatch: pytest.MonkeyPatch, ms: int) -> None:
    outcome = used(monkeypatch, seconds=ms / 1000, needs_s=0.07, share=0.7)

    assert all(stream.stopped for stream in outcome.streams)


def test_a_program_that_was_held_up_takes_no_device_for_a_bad_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop is late, the blocks are few: the machine slept, or somebody pressed Ctrl-Z."""
    held_up = asyncio.sleep

    async def late(seconds: float) -> None:
        await held_up(seconds * (4 if seconds == device.LOOK_S else 1))

    monkeypatch.setattr(device.asyncio, "sleep", late)

    assert used(monkeypatch, seconds=60, needs_s=1, share=0.5).latencies_ms == [20]
