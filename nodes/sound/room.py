"""Where a session's microphone and speaker meet: they may be one device, and a recorded user listens to the answers.

1. Both nodes attach in `open` and say `start` in `run`; streams start when everybody who is attached has said so.
2. The same hardware is opened once, as one duplex stream. It stays open until both have left; who has left meanwhile isn't served.
3. Whoever plays answers tells the room: from when an answer is audible, until when it sounds, when it is over.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from flowgraph.errors import DeviceError
from nodes.sound.addresses import BUNDLED_CALLER, Address, Direction, conversation_path
from nodes.sound.device import Device
from nodes.sound.hardware import Hardware, no_hardware, resolve
from nodes.sound.paced import (
    BLOCK_MS,
    SILENT_SPEAKER_HZ,
    FileListener,
    FileVoice,
    Listener,
    Nobody,
    PacedStream,
    Silence,
    Voice,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from flowgraph.clock import Clock

    Samples = npt.NDArray[np.float32]

SECOND = 1_000_000_000
QUIET_NS = 2 * SECOND
"""An answer that hasn't sounded for so long is over for who listens, whatever its player still hopes for."""


@dataclasses.dataclass(slots=True)
class Answer:
    """An answer as it sounds in the room. All times on the session's clock, nanoseconds."""

    audible_at: int
    sounding_until: int
    over_at: int = 0
    """0 = it goes on."""
    cut: bool = False
    """It was interrupted."""


Heard = Callable[["Samples", int], None]
"""`heard(samples, at)`: a captured block, valid during the call. Maybe in a foreign thread."""
Fill = Callable[["Samples", int, int], None]
"""`fill(buffer, at, due)`: fill it with what is heard from `at` on; `due` is when a paced block was due (0 = it is now)."""


@dataclasses.dataclass(slots=True)
class Line:
    """A node's end of a device."""

    direction: Direction
    rate_hz: int
    latency: Literal["low", "high"]
    block_ms: int
    """Length of a virtual device's blocks."""
    say: Callable[[str], object]
    """Called with what a user should know of the device."""
    failed: Callable[[DeviceError], object]
    """Called when the device is gone, maybe in a foreign thread."""
    heard: Heard | None = None
    fill: Fill | None = None
    ended: Callable[[], None] | None = None
    """Called when a voice has nothing more to say."""
    hardware: Hardware | None = None
    voice: Voice | None = None
    listener: Listener | None = None
    started: bool = False
    device: Device | PacedStream | None = None


class Room:
    """One for each session: `ctx.shared("room", lambda: Room(ctx.clock))`."""

    def __init__(self, clock: Clock) -> None:
        self.answer: Answer | None = None
        """The latest answer that was audible."""
        self._clock = clock
        self._lines: list[Line] = []

    @property
    def echoes(self) -> bool:
        """May a real microphone hear a real speaker? (Headphones can't be told from loudspeakers.)"""
        return {line.direction for line in self._lines if line.hardware is not None} == {"input", "output"}

    # -- devices -------------------------------------------------------------------------------------------------------

    def microphone(
        self,
        address: Address,
        *,
        say: Callable[[str], None],
        failed: Callable[[DeviceError], object],
        latency: Literal["low", "high"] = "low",
        block_ms: int = BLOCK_MS,
    ) -> Line:
        """Attach a microphone; its sound comes once `heard` is set and `start` is called. Raises DeviceError, GraphError.

        `block_ms`: who wants longer frames than a device's blocks needn't be woken more often by a virtual one.
        """
        if address.kind == "default" and (lack := no_hardware("input")):
            say(f"{lack}: the bundled caller '{BUNDLED_CALLER}' speaks instead")
            address = Address("caller", BUNDLED_CALLER)
        line = Line("input", 0, latency, block_ms, say, failed)
        match address.kind:
            case "null":
                line.voice = Silence()
            case "file":
                line.voice = FileVoice(address.what, self)
            case "caller":
                from nodes.sound.caller import Caller
                from nodes.sound.conversation import load_conversation

                line.voice = Caller(load_conversation(conversation_path(address.what)), self)
            case _:
                line.hardware = self._agreed(resolve(address, "input"))
        line.rate_hz = line.voice.rate_hz if line.voice else line.hardware.rate_hz if line.hardware else 0
        self._lines.append(line)
        return line

    def speaker(
        self,
        address: Address,
        *,
        say: Callable[[str], None],
        failed: Callable[[DeviceError], object],
        latency: Literal["low", "high"] = "low",
    ) -> Line:
        """Attach a speaker; `fill` is asked for sound once `start` is called. Raises DeviceError."""
        if address.kind == "default" and (lack := no_hardware("output")):
            say(f"{lack}: answers are played in silence, at the pace of a real one")
            address = Address("null")
        line = Line("output", SILENT_SPEAKER_HZ, latency, BLOCK_MS, say, failed)
        match address.kind:
            case "null":
                line.listener = Nobody()
            case "file":
                line.listener = FileListener(address.what, SILENT_SPEAKER_HZ)
            case _:
                line.hardware = self._agreed(resolve(address, "output"))
                line.rate_hz = line.hardware.rate_hz
        self._lines.append(line)
        return line

    async def start(self, line: Line) -> None:
        """Ready for sound. It flows when everybody is ready. Raises DeviceError."""
        line.started = True
        if not all(other.started for other in self._lines):
            return
        waiting = [other for other in self._lines if other.device is None]
        for one in waiting:
            if one.device is None:
                await self._open(one, waiting)

    async def leave(self, line: Line) -> None:
        """Detach. The device is closed when nobody uses it any more. May be called twice."""
        line.heard = line.fill = line.ended = None
        if line not in self._lines:
            return
        self._lines.remove(line)
        device = line.device
        if device is not None and not any(other.device is device for other in self._lines):
            if isinstance(device, Device):
                await device.stop()
            else:
                device.stop()
        for end in (line.voice, line.listener):
            if end is not None:
                end.close()

    def _agreed(self, hardware: Hardware) -> Hardware:
        """The same, at the rate of the other direction where they will share a stream."""
        for line in self._lines:
            other = line.hardware
            if other is not None and other.shares(hardware):
                return dataclasses.replace(hardware, rate_hz=other.rate_hz)
        return hardware

    async def _open(self, line: Line, waiting: list[Line]) -> None:
        if line.hardware is None:
            line.device = self._paced(line)
            return
        partner = next(
            (
                other
                for other in waiting
                if other.hardware is not None
                and other.direction != line.direction
                and other.hardware.shares(line.hardware)
            ),
            None,
        )
        sharing = [line, partner] if partner else [line]
        by_direction = {one.direction: one for one in sharing}
        microphone, speaker = by_direction.get("input"), by_direction.get("output")

        def failed(error: DeviceError) -> None:
            for one in sharing:
                one.failed(error)

        device = Device(
            heard=microphone.hardware if microphone else None,
            played=speaker.hardware if speaker else None,
            block=self._hardware_block(microphone, speaker),
            failed=failed,
            say=line.say,
            clock=self._clock,
            latency="high" if any(one.latency == "high" for one in sharing) else "low",
        )
        await device.start()
        for one in sharing:
            one.device = device

    @staticmethod
    def _hardware_block(
        microphone: Line | None, speaker: Line | None
    ) -> Callable[[Samples | None, Samples | None, int, int], None]:
        def block(heard: Samples | None, played: Samples | None, heard_at: int, played_at: int) -> None:
            if heard is not None and microphone is not None and microphone.heard is not None:
                microphone.heard(heard, heard_at)
            if played is not None:
                if speaker is not None and speaker.fill is not None:
                    speaker.fill(played, played_at, 0)
                else:
                    played[:] = 0.0

        return block

    def _paced(self, line: Line) -> PacedStream:
        block = self._heard_block(line) if line.direction == "input" else self._played_block(line)
        return PacedStream(rate_hz=line.rate_hz, now=self._clock.now, block=block, block_ms=line.block_ms)

    @staticmethod
    def _heard_block(line: Line) -> Callable[[int, int], bool]:
        voice = line.voice
        assert voice is not None

        def block(count: int, due: int) -> bool:
            at = due - count * SECOND // line.rate_hz
            samples = voice.read(count, at)
            if line.heard is not None:
                line.heard(samples, at)
            if voice.ended and line.ended is not None:
                line.ended()
            return not voice.ended

        return block

    @staticmethod
    def _played_block(line: Line) -> Callable[[int, int], bool]:
        import numpy as np

        listener = line.listener
        assert listener is not None
        buffer = np.zeros(line.rate_hz * line.block_ms // 1000, np.float32)

        def block(count: int, due: int) -> bool:
            out = buffer[:count]
            if line.fill is None:
                out[:] = 0.0
            else:
                # It is filled when the block before it ends, and heard for one block's time from then on.
                line.fill(out, due, due)
            try:
                listener.write(out)
            except DeviceError as error:
                line.failed(error)
                return False
            return True

        return block

    # -- answers -------------------------------------------------------------------------------------------------------

    def answer_begins(self, at: int) -> None:
        """An answer is audible from `at` on."""
        self.answer = Answer(at, at)

    def answer_sounds(self, until: int) -> None:
        """The answer has sounded until then, or will have."""
        if self.answer is not None and until > self.answer.sounding_until:
            self.answer.sounding_until = until

    def answer_ends(self, at: int, *, cut: bool = False) -> None:
        """The answer is over: played to its end, or cut."""
        if self.answer is not None and not self.answer.over_at:
            self.answer.over_at, self.answer.cut = at, cut

    def quiet_since(self, now: int) -> int:
        """Since when no answer has been sounding; 0 = one is sounding now; 1 = there was none yet."""
        answer = self.answer
        if answer is None:
            return 1
        if answer.over_at:
            return answer.over_at if answer.over_at <= now else 0
        return answer.sounding_until if now - answer.sounding_until > QUIET_NS else 0
