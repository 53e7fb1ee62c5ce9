"""Real sound devices, through PortAudio: found by name, opened as one paced callback.

1. The callback runs in PortAudio's thread, in blocks of 10 ms, with float32 mono in both directions.
2. Its times come from the stream's own time info, on the session's clock. A time stamp of zero (some drivers have none) is
   replaced by the callback's time and the latency that the stream reports. Nothing is captured after the callback that brings
   it, nothing is heard before the callback that fills it, whatever the stamps say.
3. A microphone and a speaker that are the same hardware share one duplex stream: two would drift apart. What ALSA has under one name for a
   sound server (`default`, `pipewire`, `pulse`) may be two: there, whenever only the microphone's block is ready, PortAudio's duplex stream throws
   it away and tells nobody (pa_linux_alsa.c, PaAlsaStream_WaitForFrames). So each direction has its own, on the server's one clock.
4. Nor is PortAudio's "low" latency enough for a sound server: a buffer of two blocks, 20 ms, against its cycles of 11 to 21 ms, loses sound silently.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import dataclasses
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from flowgraph.errors import DeviceError
from nodes.sound.addresses import Address, Direction
from nodes.sound.timeline import SECOND, Timeline, measure_offset

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

Block = Callable[["Samples | None", "Samples | None", int, int], None]
"""`block(heard, played, input_at, output_at)`: what was captured from `input_at` on, and a buffer to fill with what shall be
played from `output_at` on (clock, nanoseconds)."""

BLOCKS_A_SECOND = 100
STOP_S = 1.0
SERVED_S = 0.02
"""The lowest latency behind a sound server: a buffer of three blocks."""
LIKED_HZ = 48_000
"""What sound hardware runs at. ALSA names 44.1 kHz as everybody's default, and would convert."""


@dataclasses.dataclass(frozen=True, slots=True)
class Hardware:
    """One direction of a sound device."""

    index: int
    name: str
    host: int
    """PortAudio's host API: devices of different ones can't share a stream."""
    channels: int
    rate_hz: int
    served: bool = False
    """It is ALSA's name for a sound server."""

    def shares(self, other: Hardware) -> bool:
        """Are the two directions of one device one stream?"""
        return self.index == other.index and not self.served


def no_hardware(direction: Direction) -> str:
    """Why there is no default device; "" if there is one."""
    what = "microphone" if direction == "input" else "speaker"
    try:
        sounddevice = _sounddevice()
    except DeviceError as error:
        return f"no {what} ({error.message})"
    try:
        default(direction)
    except (DeviceError, sounddevice.PortAudioError):
        return f"no {what}"
    return ""


def default(direction: Direction) -> Hardware:
    """The system's default device. Raises DeviceError."""
    sounddevice = _sounddevice()
    index = sounddevice.default.device[direction == "output"]
    if index < 0:
        raise DeviceError(f"the system has no default {direction} device")
    return _hardware(index, direction)


def find(name: str, direction: Direction) -> Hardware:
    """The device whose name is, or else contains, `name` (upper and lower case alike). Raises DeviceError."""
    sounddevice = _sounddevice()
    devices = [
        (index, device["name"])
        for index, device in enumerate(sounddevice.query_devices())
        if device[f"max_{direction}_channels"] > 0
    ]
    exact = [index for index, known in devices if known.lower() == name.lower()]
    partial = [index for index, known in devices if name.lower() in known.lower()]
    if found := exact or partial:
        return _hardware(found[0], direction)
    known = ", ".join(f"'{known}'" for _, known in devices)
    raise DeviceError(
        f"there is no {direction} device whose name contains '{name}'",
        hint=f"there are: {known} (`flow devices` shows them all)"
        if known
        else "this machine has none: use caller: or null",
    )


def _hardware(index: int, direction: Direction) -> Hardware:
    sounddevice = _sounddevice()
    device = sounddevice.query_devices(index)
    check = getattr(sounddevice, f"check_{direction}_settings")
    refused = ""
    for channels in dict.fromkeys((1, min(2, device[f"max_{direction}_channels"]))):
        for rate_hz in dict.fromkeys((LIKED_HZ, round(device["default_samplerate"]))):
            try:
                check(device=index, channels=channels, dtype="float32", samplerate=rate_hz)
            except (sounddevice.PortAudioError, ValueError) as error:
                refused = str(error)
            else:
                served = _served(sounddevice.query_hostapis()[device["hostapi"]]["name"], device["name"])
                return Hardware(index, device["name"], device["hostapi"], channels, rate_hz, served)
    raise DeviceError(
        f"the {direction} device '{device['name']}' can't be used: {refused}",
        hint="is another program using it? `flow devices` shows the others",
    )


def _served(host: str, name: str) -> bool:
    return host == "ALSA" and "(hw:" not in name


class HardwareStream:
    """One PortAudio stream: capture, playback, or both in one."""

    def __init__(
        self,
        *,
        heard: Hardware | None,
        played: Hardware | None,
        block: Block,
        failed: Callable[[DeviceError], object],
        now: Callable[[], int],
        latency: float | Literal["low", "high"] = "low",
    ) -> None:
        """`block` and `failed` are called in PortAudio's thread. `latency` in seconds, or what the device calls so. Raises DeviceError."""
        sounddevice = _sounddevice()
        one = heard or played
        assert one is not None
        if latency == "low" and one.served:
            latency = SERVED_S
        self.name = " and ".join(dict.fromkeys(device.name for device in (heard, played) if device))
        self.rate_hz = one.rate_hz
        self.blocks = 0
        """Callbacks so far. A stream whose number stands still is dead, whatever its driver says."""
        self.overflows = 0
        """Times that captured sound was lost before it reached us."""
        self.underflows = 0
        """Times that the device had nothing to play because we came too late."""
        self._block = block
        self._failed = failed
        self._now = now
        self._stopped = False
        self._error = ""
        self._stream: Any = None
        options: dict[str, Any] = {
            "samplerate": one.rate_hz,
            "blocksize": one.rate_hz // BLOCKS_A_SECOND,
            "dtype": "float32",
            "latency": latency,
            "finished_callback": self._finished,
        }
        try:
            if heard is not None and played is not None:
                self._stream = sounddevice.Stream(
                    device=(heard.index, played.index),
                    channels=(heard.channels, played.channels),
                    callback=self._duplex,
                    **options,
                )
                self._in_latency, self._out_latency = (round(s * SECOND) for s in self._stream.latency)
            elif heard is not None:
                self._stream = sounddevice.InputStream(
                    device=heard.index, channels=heard.channels, callback=self._input, **options
                )
                self._in_latency, self._out_latency = round(self._stream.latency * SECOND), 0
            else:
                assert played is not None
                self._stream = sounddevice.OutputStream(
                    device=played.index, channels=played.channels, callback=self._output, **options
                )
                self._in_latency, self._out_latency = 0, round(self._stream.latency * SECOND)
            self._offset = measure_offset(now, lambda: self._stream.time)
            self._in_timeline = Timeline(self.rate_hz)
            self._out_timeline = Timeline(self.rate_hz)
            self._stream.start()
        except sounddevice.PortAudioError as error:
            self._close()
            hint = "is another program using it? `flow devices` shows the others"
            raise DeviceError(f"can't open the sound device {self.name}: {error}", hint=hint) from None

    @property
    def output_latency_ns(self) -> int:
        """How long after its callback a sample is heard, as the stream reports it."""
        return int(self._out_latency)

    @property
    def latency_ns(self) -> int:
        """Of the slower direction, as the stream reports it."""
        return int(max(self._in_latency, self._out_latency))

    @property
    def faults(self) -> int:
        """Times that the driver says that sound was lost, or came too late."""
        return self.overflows + self.underflows

    async def stop(self) -> bool:
        """Stop at once, without playing what the device still has. False = the driver hangs, and is left alone.

        A driver that has lost its sound server may never come back from this: not a reason for us not to end.
        """
        loop = asyncio.get_running_loop()
        closed = asyncio.Event()

        def close() -> None:
            self._close()
            with contextlib.suppress(RuntimeError):  # the loop is gone, and nobody waits any more
                loop.call_soon_threadsafe(closed.set)

        # Not the loop's executor, whose threads are waited for at the end.
        threading.Thread(target=close, name="closing sound", daemon=True).start()
        try:
            async with asyncio.timeout(STOP_S):
                await closed.wait()
        except TimeoutError:
            # At the end of the process sounddevice would wait for the same driver.
            atexit.unregister(getattr(_sounddevice(), "_exit_handler", print))
            return False
        return True

    def _close(self) -> None:
        self._stopped = True
        if self._stream is not None:
            self._stream.abort(ignore_errors=True)
            self._stream.close(ignore_errors=True)

    # -- PortAudio's thread ---------------------------------------------------------------------------------------------

    def _duplex(self, heard: Any, played: Any, frames: int, time: Any, status: Any) -> None:
        try:
            self._count(status)
            current = self._current(time)
            out = played[:, 0]
            self._block(
                _mono(heard), out, self._captured_at(time, current, frames), self._heard_at(time, current, frames)
            )
            _spread(out, played)
        except Exception as error:
            self._abort(error)

    def _input(self, heard: Any, frames: int, time: Any, status: Any) -> None:
        try:
            self._count(status)
            self._block(_mono(heard), None, self._captured_at(time, self._current(time), frames), 0)
        except Exception as error:
            self._abort(error)

    def _output(self, played: Any, frames: int, time: Any, status: Any) -> None:
        try:
            self._count(status)
            out = played[:, 0]
            self._block(None, out, 0, self._heard_at(time, self._current(time), frames))
            _spread(out, played)
        except Exception as error:
            self._abort(error)

    def _current(self, time: Any) -> int:
        return self._at(time.currentTime) or self._now()

    def _captured_at(self, time: Any, current: int, frames: int) -> int:
        stamp = self._at(time.inputBufferAdcTime) or current - self._in_latency
        return min(self._in_timeline.place(stamp, frames), current - frames * SECOND // self.rate_hz)

    def _heard_at(self, time: Any, current: int, frames: int) -> int:
        stamp = self._at(time.outputBufferDacTime) or current + self._out_latency
        return max(self._out_timeline.place(stamp, frames), current)

    def _at(self, device_time: float) -> int:
        """A time of the device on the session's clock; 0 = it has none."""
        return round(device_time * SECOND) + self._offset if device_time > 0 else 0

    def _count(self, status: Any) -> None:
        self.blocks += 1
        if status:
            self.overflows += bool(status.input_overflow)
            self.underflows += bool(status.output_underflow)

    def _abort(self, error: Exception) -> None:
        self._error = f"{type(error).__name__}: {error}"
        raise _sounddevice().CallbackAbort from None

    def _finished(self) -> None:
        if not self._stopped:
            why = self._error or "was it unplugged?"
            self._failed(DeviceError(f"the sound device has stopped: {why}", hint="`flow devices` shows what is there"))


def _mono(heard: Samples) -> Samples:
    return heard[:, 0] if heard.shape[1] == 1 else heard.mean(axis=1)


def _spread(out: Samples, played: Samples) -> None:
    if played.shape[1] > 1:
        played[:, 1:] = out[:, None]


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A line of `flow devices`."""

    address: str
    """What to write behind `device:`."""
    input: bool
    output: bool
    detail: str
    default: Literal["", "input", "output", "both"] = ""


def list_devices() -> list[DeviceInfo]:
    """Everything that a microphone or a speaker can be: hardware first (none without PortAudio), then the virtual ones."""
    from nodes.sound.addresses import bundled_callers

    found: list[DeviceInfo] = []
    try:
        sounddevice = _sounddevice()
    except DeviceError as error:
        found.append(
            DeviceInfo("default", True, True, f"no sound hardware ({error.message}): a recorded user, a silent speaker")
        )
    else:
        inputs, outputs = sounddevice.default.device
        hosts = sounddevice.query_hostapis()
        for index, device in enumerate(sounddevice.query_devices()):
            takes, gives = device["max_input_channels"] > 0, device["max_output_channels"] > 0
            delay_s = max(device["default_low_input_latency"] * takes, device["default_low_output_latency"] * gives)
            rate_hz = round(device["default_samplerate"])
            host = hosts[device["hostapi"]]["name"]
            if _served(host, device["name"]):
                delay_s = max(delay_s, SERVED_S)
            detail = f"{host}, {rate_hz} Hz, {delay_s * 1000:.0f} ms"
            usual = (
                "both"
                if inputs == outputs == index
                else "input"
                if inputs == index
                else "output"
                if outputs == index
                else ""
            )
            found.append(DeviceInfo(device["name"], takes, gives, detail, usual))  # type: ignore[arg-type]
        if not found:
            found.append(DeviceInfo("default", True, True, "no sound hardware: a recorded user, a silent speaker"))
    bundled = "a recorded user that comes with Flowgraph"
    return [
        *found,
        *(DeviceInfo(f"caller:{name}", True, False, bundled) for name in bundled_callers()),
        DeviceInfo("caller:PATH", True, False, "a recorded user: a conversation's YAML file or a folder of WAV files"),
        DeviceInfo("file:PATH.wav", True, True, "a WAV file, played as a microphone or written as a speaker"),
        DeviceInfo("null", True, True, "silence, and a speaker that nobody hears"),
    ]


def resolve(address: Address, direction: Direction) -> Hardware:
    """The hardware of a `default` or a name. Raises DeviceError."""
    return default(direction) if address.kind == "default" else find(address.what, direction)


def _sounddevice() -> Any:
    """The sounddevice module, with PortAudio loaded. Raises DeviceError."""
    try:
        import sounddevice
    except OSError:
        hint = "install it (Debian: apt install libportaudio2), or use caller:, file: or null"
        raise DeviceError("PortAudio isn't installed", hint=hint) from None
    except ImportError:
        raise DeviceError("the package sounddevice isn't installed", hint="pip install sounddevice") from None
    return sounddevice
