from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from flowgraph.errors import DeviceError
from flowgraph.testing import run_virtual
from nodes.sound import checkup, device, room
from nodes.sound.checkup import Measurement, measure
from nodes.sound.hardware import Block, Hardware
from nodes.sound.sweep import Echo

RATE_HZ = 48_000
BLOCK = RATE_HZ // 100


def measured(*, loss_db: float | None, noise_dbfs: float = -70.0) -> Measurement:
    echo = None if loss_db is None else Echo(4.0, 0.1, loss_db, (0.0,))
    return Measurement("mic", "speaker", True, 10.0, 20.0, noise_dbfs, False, echo)


@pytest.mark.parametrize(
    ("loss_db", "noise_dbfs", "barge_in"),
    [(None, -70, "headphones"), (20, -70, "on"), (50, -70, "headphones"), (40, -70, "on"), (40, -50, "headphones")],
)
def test_an_echo_that_can_be_told_from_the_noise_needs_a_canceller(
    loss_db: float | None, noise_dbfs: float, barge_in: str
) -> None:
    assert measured(loss_db=loss_db, noise_dbfs=noise_dbfs).barge_in == barge_in


def test_the_round_trip_is_what_is_stated_and_what_is_not() -> None:
    assert measured(loss_db=20).round_trip_ms == 34.0
    assert measured(loss_db=None).round_trip_ms is None


@pytest.mark.parametrize("address", ["null", "file:somewhere.wav", "caller:demo"])
def test_what_is_no_hardware_is_not_measured(address: str) -> None:
    with pytest.raises(DeviceError, match="is no hardware"):
        asyncio.run(measure(microphone=address))


# -- a card that loses sound ---------------------------------------------------------------------------------------------


class Stream:
    """A driver's stream, 10 ms at a time: what is played is captured 20 ms later, but for the blocks that are lost."""

    name = "Card"
    faults = 0
    latency_ns = 20_000_000

    def __init__(self, block: Block, now: Callable[[], int], lost: Sequence[int], gain: float) -> None:
        self.blocks = 0
        self._block = block
        self._now = now
        self._lost = lost
        self._gain = gain
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        played = deque([np.zeros(BLOCK, np.float32)] * 4)
        while True:
            await asyncio.sleep(0.01)
            at = self._now()
            out = np.zeros(BLOCK, np.float32)
            if self.blocks in self._lost:
                played.popleft()
            self._block(self._gain * played.popleft(), out, at - 10_000_000, at + 10_000_000)
            played.append(out)
            self.blocks += 1

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()


def tried(
    monkeypatch: pytest.MonkeyPatch, *, low: Sequence[int] = (), high: Sequence[int] = (), gain: float = 0.1
) -> tuple[Measurement, list[str]]:
    """Measure a card that loses these of its blocks with short and with long buffers, and what was said meanwhile."""
    said: list[str] = []

    async def main() -> Measurement:
        loop = asyncio.get_running_loop()

        def opened(*, block: Block, now: Callable[[], int], latency: str, **_: object) -> Stream:
            stream = Stream(block, now, {"low": low, "high": high}[latency], gain)
            loop.call_soon_threadsafe(stream.begin)
            return stream

        monkeypatch.setattr(device, "HardwareStream", opened)
        return await measure(say=said.append)

    monkeypatch.setattr(room, "resolve", lambda *_: Hardware(0, "Card", 0, 1, RATE_HZ))
    monkeypatch.setattr(room, "no_hardware", lambda _: "")
    monkeypatch.setattr(checkup, "no_hardware", lambda _: "")
    return run_virtual(main()), said


def test_a_card_that_loses_nothing_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found, said = tried(monkeypatch)

    assert found.echo is not None
    assert (found.echo.late_ms, found.echo.return_loss_db) == (pytest.approx(20, abs=0.1), pytest.approx(20, abs=0.1))
    assert (found.one_device, found.latency, found.lossy, found.silent, said) == (True, "low", False, False, [])


@pytest.mark.parametrize("lost", [[250], [150]], ids=["no two and two agree", "one strays"])
def test_where_short_buffers_lose_sound_long_ones_are_tried(monkeypatch: pytest.MonkeyPatch, lost: list[int]) -> None:
    found, said = tried(monkeypatch, low=lost)

    assert found.echo is not None
    assert found.echo.late_ms == pytest.approx(20, abs=0.1)
    assert (found.latency, found.lossy) == ("high", True)
    assert len(said) == 1
    assert "once more, with longer buffers" in said[0]


def test_where_long_ones_lose_it_too_that_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match=r"sound is lost .* up to 10\.0 ms apart"):
        tried(monkeypatch, low=[250], high=[250])


def test_a_muted_microphone_is_told_from_one_that_does_not_hear_the_speaker(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = tried(monkeypatch, gain=0.0)

    assert (found.echo, found.silent) == (None, True)
