"""How the microphone hears the speaker: plays sweeps, listens, and says how late and how loud they come back.

1. A matched filter finds each sweep, also far below the noise of the room. The first arrival counts, not the loudest reflection;
   its place is interpolated between samples. Most of the sweeps have to agree, or nothing was heard.
2. A sweep's time at the speaker and at the microphone are those that the devices state. What lies between them is what the devices
   don't state: the way through the air (3 ms for a metre), and buffers that they leave out, or count twice.
3. The echo return loss is the energy that comes back, within 300 ms of the first arrival, against what was played: as the signal
   goes in and comes out, volume and sensitivity included.
"""

from __future__ import annotations

import asyncio
import dataclasses
import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from flowgraph.clock import clock_of
from flowgraph.errors import DeviceError
from nodes.sound.addresses import Direction, parse_address
from nodes.sound.hardware import no_hardware
from nodes.sound.room import Room

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nodes.sound.room import Line

    Samples = npt.NDArray[np.float32]

MS = 1_000_000
SECOND = 1_000_000_000
LOW_HZ, HIGH_HZ = 200.0, 6_000.0
SWEEP_S = 0.4
EDGE_S = 0.02
PEAK = 0.25
SWEEPS = 4
QUIET_S = 0.7
"""Before the first sweep: the noise of the room is measured, and devices settle."""
PERIOD_S = 1.2
BEFORE_S, BEHIND_S = 0.2, 0.6
"""An echo is looked for so long before, and behind, the time at which its sweep is stated to be heard."""
ECHO_S = 0.3
CLEAR = 6.0
"""An arrival is this many times the median of the matched filter's output. Noise alone reaches 4."""
FIRST = 0.5
"""The first arrival is at least this share of the loudest, …"""
FIRST_S = 0.03
"""… and no more than this before it."""
AGREED_MS = 1.0
RESPONSE_MS = 5
RESPONSE_S = 0.15
SPEECH_DBFS = -20.0
"""About what an answer has while it is spoken."""
FAINT_DBFS = -65.0
"""Nobody's voice activity detection looks at what is quieter."""
STALLED_S = 3.0


@dataclasses.dataclass(frozen=True, slots=True)
class Echo:
    """What came back of the sweeps."""

    late_ms: float
    """From the time at which the speaker is stated to sound to that at which the microphone is stated to have captured it."""
    spread_ms: float
    """By how much the sweeps differ in that."""
    return_loss_db: float
    """How much quieter it is than what was played."""
    response_db: tuple[float, ...]
    """Level of the room's response against its loudest, in steps of 5 ms from the first arrival on."""


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


def sweep(rate_hz: int) -> Samples:
    """From `LOW_HZ` to `HIGH_HZ`, with soft edges."""
    import numpy as np

    count = round(SWEEP_S * rate_hz)
    times = np.arange(count) / rate_hz
    phase = 2 * np.pi * (LOW_HZ * times + (HIGH_HZ - LOW_HZ) / (2 * SWEEP_S) * times**2)
    edge = np.minimum(1.0, np.minimum(np.arange(count), np.arange(count)[::-1]) / (EDGE_S * rate_hz))
    return (PEAK * np.sin(phase) * np.sin(np.pi / 2 * edge) ** 2).astype(np.float32)


async def measure(
    microphone: str = "default", speaker: str = "default", progress: Callable[[float], object] = lambda _: None
) -> Measurement:
    """Takes about six seconds, and is heard. `progress` is told the share that is done. Raises DeviceError, ValueError."""
    addresses = {"input": parse_address(microphone, "input"), "output": parse_address(speaker, "output")}
    directions: tuple[Direction, Direction] = ("input", "output")
    for direction in directions:
        if addresses[direction].kind not in ("default", "name"):
            raise DeviceError(f"{addresses[direction]} is no hardware: there is nothing to measure")
        if addresses[direction].kind == "default" and (lack := no_hardware(direction)):
            hint = "plug one in; `flow devices` shows what is there (Debian: PortAudio is libportaudio2)"
            raise DeviceError(f"there is {lack}", hint=hint)
    clock = clock_of(asyncio.get_running_loop())
    room = Room(clock)
    failed: asyncio.Future[DeviceError] = asyncio.get_running_loop().create_future()

    def fail(error: DeviceError) -> None:
        failed.get_loop().call_soon_threadsafe(lambda: failed.done() or failed.set_result(error))

    lines: list[Line] = []
    try:
        lines.append(room.microphone(addresses["input"], say=lambda _: None, failed=fail))
        lines.append(room.speaker(addresses["output"], say=lambda _: None, failed=fail))
        ear, mouth = _Ear(lines[0].rate_hz, clock.now), _Mouth(lines[1].rate_hz, clock.now)
        lines[0].heard, lines[1].fill = ear.heard, mouth.fill
        for line in lines:
            await room.start(line)
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
    capture = ear.capture()
    noise_dbfs = capture.level_dbfs(mouth.heard_at[0] - SECOND // 2, mouth.heard_at[0] - SECOND // 10)
    return Measurement(
        *names,
        one_device=lines[0].stream is lines[1].stream,
        input_latency_ms=statistics.median(ear.latencies) / MS,
        output_latency_ms=statistics.median(mouth.latencies) / MS,
        noise_dbfs=noise_dbfs,
        clipped=capture.peak > 0.99,
        echo=None if capture.peak == 0 else find_echo(capture, mouth.heard_at),
    )


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

    def capture(self) -> Capture:
        return Capture(self.blocks, self.rate_hz)


class Capture:
    """What a microphone heard: blocks, each with the time of its first sample."""

    def __init__(self, blocks: Sequence[tuple[int, Samples]], rate_hz: int) -> None:
        import numpy as np

        self.rate_hz = rate_hz
        self._times = np.array([at for at, _ in blocks], np.int64)
        self._starts = np.cumsum([0, *(len(samples) for _, samples in blocks)])
        self._samples = np.concatenate([samples for _, samples in blocks])

    @property
    def peak(self) -> float:
        """The largest absolute value."""
        import numpy as np

        return float(np.abs(self._samples).max())

    def level_dbfs(self, begin_at: int, end_at: int) -> float:
        """0 dBFS is a mean square of 1; silence and nothing are −120."""
        import numpy as np

        samples = self._samples[self._index(begin_at) : self._index(end_at)]
        power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
        return float(10 * np.log10(max(power, 1e-12)))

    def around(self, at: int) -> tuple[Samples, int]:
        """The samples in which the echo of a sweep heard at `at` is looked for, and the time of the first."""
        import numpy as np

        begin = max(self._index(at - round(BEFORE_S * SECOND)), 0)
        found = self._samples[begin : begin + round((BEFORE_S + SWEEP_S + BEHIND_S) * self.rate_hz)]
        block = int(np.searchsorted(self._starts, begin, "right")) - 1
        block = min(block, len(self._times) - 1)
        return found, int(self._times[block] + (begin - self._starts[block]) * SECOND // self.rate_hz)

    def _index(self, at: int) -> int:
        import numpy as np

        block = max(int(np.searchsorted(self._times, at, "right")) - 1, 0)
        return int(self._starts[block] + round((at - int(self._times[block])) * self.rate_hz / SECOND))


def find_echo(capture: Capture, heard_at: Sequence[int]) -> Echo | None:
    """What came back of sweeps that are stated to be heard at these times; None = nothing did."""
    import numpy as np

    found = [response for at in heard_at if (response := _Response.of(capture, at)) is not None]
    if not found:
        return None
    middle = statistics.median(one.late_ms for one in found)
    agreed = [one for one in found if abs(one.late_ms - middle) < AGREED_MS]
    if len(agreed) * 2 <= len(heard_at):
        return None
    late = [one.late_ms for one in agreed]
    echo: Samples = np.mean([one.echo for one in agreed], axis=0)
    played = np.abs(np.fft.rfft(sweep(capture.rate_hz), 2 * len(echo))) ** 2
    back = np.abs(np.fft.rfft(echo, 2 * len(echo))) ** 2 * played
    step = capture.rate_hz * RESPONSE_MS // 1000
    steps = echo[: round(RESPONSE_S * capture.rate_hz) // step * step].reshape(-1, step)
    levels = 10 * np.log10(np.mean(steps**2, axis=1) + 1e-20)
    return Echo(
        late_ms=statistics.median(late),
        spread_ms=max(late) - min(late),
        return_loss_db=float(10 * np.log10(played.sum() / back.sum())),
        response_db=tuple(round(float(level), 1) for level in levels - levels.max()),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Response:
    """The way from the speaker to the microphone, as one sweep shows it."""

    late_ms: float
    echo: Samples
    """Impulse response, band-limited, from 5 ms before the first arrival on."""

    @classmethod
    def of(cls, capture: Capture, at: int) -> _Response | None:
        import numpy as np

        heard, begin_at = capture.around(at)
        one, rate_hz = sweep(capture.rate_hz), capture.rate_hz
        lags = len(heard) - len(one)
        if lags < rate_hz * BEFORE_S:
            return None  # the stream broke off
        size = len(heard) + len(one)
        spectrum, replica = np.fft.rfft(heard, size), np.fft.rfft(one, size)
        envelope = _envelope(spectrum * replica.conj(), size)[:lags]
        loudest = int(np.argmax(envelope))
        if envelope[loudest] < CLEAR * float(np.median(envelope)):
            return None
        first = _first_arrival(envelope, loudest, round(FIRST_S * rate_hz))
        power = np.abs(replica) ** 2
        impulse = np.fft.irfft(spectrum * replica.conj() / (power + 1e-3 * power.max()), size)
        margin = rate_hz * RESPONSE_MS // 1000
        echo = np.zeros(round(ECHO_S * rate_hz) + margin, np.float32)
        start = max(int(first) - margin, 0)
        piece = impulse[start : start + len(echo)]
        echo[: len(piece)] = piece
        return cls((begin_at - at) / MS + first * 1000 / rate_hz, echo)


def _envelope(spectrum: npt.NDArray[np.complex128], size: int) -> npt.NDArray[np.float64]:
    """The magnitude of the analytic signal: it has its peak where the sound is, whatever its phase."""
    import numpy as np

    whole = np.zeros(size, np.complex128)
    whole[: len(spectrum)] = spectrum
    whole[1 : (size + 1) // 2] *= 2
    return np.abs(np.fft.ifft(whole))


def _first_arrival(envelope: npt.NDArray[np.float64], loudest: int, reach: int) -> float:
    """The place of the first peak that is nearly as loud as the loudest, between samples."""
    place = loudest
    for index in range(max(loudest - reach, 1), loudest):
        if envelope[index - 1] <= envelope[index] > envelope[index + 1] and envelope[index] >= FIRST * envelope[loudest]:
            place = index
            break
    if not 0 < place < len(envelope) - 1:
        return float(place)
    before, here, after = (float(envelope[place + side]) for side in (-1, 0, 1))
    bend = before - 2 * here + after
    return place + (0.5 * (before - after) / bend if bend else 0.0)
