"""A microphone and a speaker, tried out: sweeps are played, and what comes back is judged (`nodes/sound/sweep.py`).

The devices are opened as a session opens them, and what they state of their latency is taken from their callbacks. Where sound gets
lost that way, they are opened again with longer buffers.
"""

from __future__ import annotations

import asyncio
import dataclasses
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from flowgraph.clock import clock_of
from flowgraph.errors import DeviceError
from nodes.sound.addresses import Direction, parse_address
from nodes.sound.hardware import no_hardware
from nodes.sound.room import Room
from nodes.sound.sweep import Capture, Echo, SoundLost, find_echo, sweep

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nodes.sound.addresses import Address
    from nodes.sound.room import Line

    Samples = npt.NDArray[np.float32]

Latency = Literal["low", "high"]

MS = 1_000_000
SECOND = 1_000_000_000
SWEEPS = 4
QUIET_S = 0.7
"""Before the first sweep: the noise of the room is measured, and devices settle."""
PERIOD_S = 1.2
SPEECH_DBFS = -20.0
"""About what an answer has while it is spoken."""
FAINT_DBFS = -65.0
"""Nobody's voice activity detection looks at what is quieter."""
STALLED_S = 3.0


@dataclasses.dataclass(frozen=True, slots=True)
class Measurement:
    """A microphone and a speaker, as measured."""

    microphone: str
    speaker: str
    one_device: bool
    input_latency_ms: float
    """From capture to us, as the device states it."""
    output_latency_ms: float
    """From us to the ear, as the device states it."""
    noise_dbfs: float
    """Of the room, before the first sweep."""
    clipped: bool
    """The microphone was at full scale."""
    echo: Echo | None
    """None = the microphone doesn't hear the speaker."""
    silent: bool = False
    """The microphone gave zeros and nothing else."""
    latency: Latency = "low"
    """The buffers with which this was measured."""
    lossy: bool = False
    """With the shortest buffers sound was lost."""

    @property
    def stated_ms(self) -> float:
        """The round trip by what the devices state."""
        return self.input_latency_ms + self.output_latency_ms

    @property
    def round_trip_ms(self) -> float | None:
        """From a sample that we give to the same sample given to us."""
        return self.stated_ms + self.echo.late_ms if self.echo else None

    @property
    def echo_dbfs(self) -> float | None:
        """How loud an answer comes back, about."""
        return SPEECH_DBFS - self.echo.return_loss_db if self.echo else None

    @property
    def barge_in(self) -> Literal["headphones", "on"]:
        """The setting of `dialogue`; `on` goes with an `aec` node."""
        faint = self.echo_dbfs is None or self.echo_dbfs < max(self.noise_dbfs, FAINT_DBFS)
        return "headphones" if faint else "on"


async def measure(
    microphone: str = "default",
    speaker: str = "default",
    progress: Callable[[float], object] = lambda _: None,
    say: Callable[[str], object] = lambda _: None,
) -> Measurement:
    """Takes about six seconds, twice that where sound is lost with the shortest buffers, and is heard.

    `progress` is told the share that is done; `say`, what a user should know meanwhile. Raises DeviceError, ValueError.
    """
    addresses = list(_hardware(microphone, speaker))
    try:
        measured = await _measured(addresses, "low", progress, say)
        if not measured.lossy:
            return measured
    except SoundLost:
        pass
    say("Sound was lost on the way: once more, with longer buffers.")
    try:
        measured = await _measured(addresses, "high", progress, say)
    except SoundLost as lost:
        raise DeviceError(
            f"sound is lost between the speaker and the microphone, with long buffers too: {lost}",
            hint="is the machine busy? is a sound server restarting? Bluetooth loses sound at the end of its reach: try a cable",
        ) from None
    return dataclasses.replace(measured, lossy=True)


async def _measured(
    addresses: Sequence[Address], latency: Latency, progress: Callable[[float], object], say: Callable[[str], object]
) -> Measurement:
    """With such buffers. Raises DeviceError, SoundLost."""
    clock = clock_of(asyncio.get_running_loop())
    room = Room(clock)
    failed: asyncio.Future[DeviceError] = asyncio.get_running_loop().create_future()
    reopened = False

    def fail(error: DeviceError) -> None:
        failed.get_loop().call_soon_threadsafe(lambda: None if failed.done() else failed.set_result(error))

    def note(words: str) -> None:
        nonlocal reopened
        reopened = True
        say(words)

    lines: list[Line] = []
    try:
        lines.append(room.microphone(addresses[0], say=note, failed=fail, latency=latency))
        lines.append(room.speaker(addresses[1], say=note, failed=fail, latency=latency))
        ear, mouth = _Ear(lines[0].rate_hz, clock.now), _Mouth(lines[1].rate_hz, clock.now)
        lines[0].heard, lines[1].fill = ear.heard, mouth.fill
        for line in lines:
            await room.start(line)
        one_device = lines[0].device is lines[1].device
        deadline = clock.now() + round((mouth.seconds + STALLED_S) * SECOND)
        while not mouth.over and clock.now() < deadline and not failed.done():
            await asyncio.wait([failed], timeout=0.05)
            progress(mouth.share)
    finally:
        for line in lines:
            await room.leave(line)
    if failed.done():
        raise failed.result()
    if not mouth.over or not ear.blocks:
        silent = "speaker takes" if not mouth.over else "microphone gives"
        raise DeviceError(f"the {silent} no sound", hint="is another program using it? `flow devices` shows the others")
    progress(1.0)
    names = [line.hardware.name if line.hardware else "" for line in lines]
    capture = Capture(ear.blocks, ear.rate_hz)
    first_at = mouth.heard_at[0]
    echo = find_echo(capture, mouth.heard_at) if capture.peak else None
    return Measurement(
        microphone=names[0],
        speaker=names[1],
        one_device=one_device,
        input_latency_ms=statistics.median(ear.latencies) / MS,
        output_latency_ms=statistics.median(mouth.latencies) / MS,
        noise_dbfs=capture.level_dbfs(first_at - SECOND // 2, first_at - SECOND // 10),
        clipped=capture.peak > 0.99,
        echo=echo,
        silent=capture.peak == 0,
        latency=latency,
        lossy=reopened or (echo is not None and echo.strayed > 0),
    )


def _hardware(microphone: str, speaker: str) -> Iterator[Address]:
    """Both addresses, where they are devices that can be measured. Raises DeviceError, ValueError."""
    wanted: list[tuple[Address, Direction]] = [
        (parse_address(microphone, "input"), "input"),
        (parse_address(speaker, "output"), "output"),
    ]
    for address, _ in wanted:
        if address.kind not in ("default", "name"):
            raise DeviceError(f"{address} is no hardware: there is nothing to measure")
    for address, direction in wanted:
        if address.kind == "default" and (lack := no_hardware(direction)):
            hint = "plug one in; `flow devices` shows what is there (Debian: PortAudio is libportaudio2)"
            raise DeviceError(f"there is {lack}", hint=hint)
        yield address


class _Mouth:
    """Plays the sweeps, in the device's callback."""

    def __init__(self, rate_hz: int, now: Callable[[], int]) -> None:
        import numpy as np

        self.heard_at: list[int] = []
        """When each sweep's first sample is heard, as the device states it."""
        self.latencies: list[int] = []
        self._rate_hz = rate_hz
        self._now = now
        one = sweep(rate_hz)
        period = round(PERIOD_S * rate_hz)
        quiet = round(QUIET_S * rate_hz)
        self._begins = [quiet + n * period for n in range(SWEEPS)]
        self._script: Samples = np.zeros(quiet + SWEEPS * period, np.float32)
        for begin in self._begins:
            self._script[begin : begin + len(one)] = one
        self._position = 0

    @property
    def seconds(self) -> float:
        return len(self._script) / self._rate_hz

    @property
    def share(self) -> float:
        return min(self._position / len(self._script), 1.0)

    @property
    def over(self) -> bool:
        return self._position >= len(self._script)

    def fill(self, out: Samples, at: int, _: int) -> None:
        self.latencies.append(at - self._now())
        begin, end = self._position, self._position + len(out)
        piece = self._script[begin:end]
        out[: len(piece)] = piece
        out[len(piece) :] = 0.0
        self.heard_at += [at + (one - begin) * SECOND // self._rate_hz for one in self._begins if begin <= one < end]
        self._position = end


class _Ear:
    """Keeps what is captured, in the device's callback."""

    def __init__(self, rate_hz: int, now: Callable[[], int]) -> None:
        self.rate_hz = rate_hz
        self.blocks: list[tuple[int, Samples]] = []
        self.latencies: list[int] = []
        self._now = now

    def heard(self, samples: Samples, at: int) -> None:
        self.latencies.append(self._now() - at - len(samples) * SECOND // self.rate_hz)
        self.blocks.append((at, samples.copy()))
