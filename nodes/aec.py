"""Take the assistant's own voice out of what the microphone hears, so that people can interrupt it on open speakers.

1. `Audio` is what was captured, `Played` what the speaker makes heard, each with the time of its first sample as its device
   states it. So the two are laid side by side by the clock: the delay of the devices is known, and the canceller (WebRTC's AEC3)
   has only the room to learn, some tens of milliseconds. It finds what the devices didn't state by itself, up to half a second.
2. An echo can't be found in a reference that comes `LAG_NS` after it. Where a device states more delay than it has, the reference
   would: so it is taken `LEAD_NS` early, or as much of that as it is known ahead when the microphone's sound comes.
3. The reference of a moment is known before the microphone's sound of it arrives: a speaker says what it will play before that is
   heard, and a microphone says what it heard afterwards. Where the loop was late they may come in the other order: then a frame
   waits for its reference, `PATIENCE_NS` at most. After that, or where nothing has been played for a while, silence is the
   reference, and the sound passes. (By the clock: after a late moment much sound comes at once, and so does its reference.)
4. The sound leaves late by the canceller's own delay: 8 ms at 16 kHz (14 ms with `noise_suppression`). Nothing else is added:
   frames are cut so that a frame of the microphone ends with a step of the canceller. Stamps tell the time of capture all the same.
5. Sound that is missing (`lost`, or a jump of `at`) is missing behind it too. With it go the last milliseconds before the gap, which
   the canceller still had, and at the end of the stream the last ones of all.
6. What the user says at the level of the echo or below goes with it: a soft beginning, a hiss. So that the answer is ducked in time all the
   same, `double_talk` says that something else sounds (`nodes/sound/double_talk.py`), where an edge takes it. With headphones leave the node out: until
   it has met an echo it expects a loud one, and may take the first interruption for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from flowgraph import MS, SECOND, Field, Node
from flowgraph.errors import FlowError
from nodes.sound.canceller import DELAYS, FRAMES_A_SECOND, Canceller
from nodes.sound.double_talk import DoubleTalk as Detector
from nodes.sound.reference import Reference
from nodes.vocabulary import Audio, DoubleTalk, Played

if TYPE_CHECKING:
    from nodes.vocabulary import Samples

LEAD_NS = 30 * MS
LAG_NS = 4 * MS
"""So much may the reference come behind its echo: AEC3 has windows of 8 ms."""
PATIENCE_NS = 20 * MS
OVER_NS = 100 * MS
"""What was played last is so far back: the speaker has stopped, and nothing is waited for."""
GAP_NS = 15 * MS


class Aec(Node):
    """Takes the assistant's own voice out of the microphone's sound (echo cancellation), with noise and level if wanted."""

    live = True  # who is slow behind it loses sound, like behind a microphone: nothing else may be held up
    needs = (Audio, Played)

    noise_suppression: bool = Field(
        False,
        description="Also make steady noise 12 dB quieter: for a noisy room. It delays the sound by 6 ms more.",
    )
    gain_control: bool = Field(
        False, description="Also bring speech to an even level: for a microphone that is far away."
    )

    async def open(self) -> None:
        def canceller() -> Canceller:
            return Canceller(noise_suppression=self.noise_suppression, gain_control=self.gain_control)

        self._canceller = await asyncio.to_thread(canceller)
        self._reference: Reference | None = None
        self._waiting: deque[tuple[int, Audio]] = deque()
        """With the time of arrival (clock, nanoseconds)."""
        self._lead = LEAD_NS
        self._expected_at = 0
        self._lost = 0
        self._skip = 0
        """So many samples to come are no sound of the microphone's, or of before a gap."""

    async def close(self) -> None:
        self.__dict__.pop("_canceller", None)  # it holds megabytes

    def process(self, frame: Audio | Played) -> Iterator[Audio | DoubleTalk]:
        now = self.ctx.clock.now()
        match frame:
            case Audio():
                self._waiting.append((now, frame))
                if self._reference is None:
                    self._begin(frame)
            case Played() if self._reference is not None:
                self._reference.add(frame.samples, frame.rate_hz, frame.at)
        while self._waiting and self._ready(*self._waiting[0], now):
            yield from self._cleaned(self._waiting.popleft()[1])

    def _begin(self, frame: Audio) -> None:
        """The first sound: now its rate is known."""
        if frame.rate_hz not in DELAYS:
            rates = ", ".join(str(rate) for rate in DELAYS)
            raise FlowError(
                f"it takes sound at {rates} Hz and got {frame.rate_hz} Hz from '{frame.source}'",
                hint=f"set rate_hz: 16000 at '{frame.source}', or put a `resample` node before '{self.ctx.name}'",
            )
        self._reference = Reference(frame.rate_hz)
        self._detector = Detector(frame.rate_hz) if self.ctx.wants(DoubleTalk) else None
        self._delay = self._canceller.delay_samples(frame.rate_hz)
        self._step = frame.rate_hz // FRAMES_A_SECOND
        self._canceller.expect(self._lead // MS)

    def _ready(self, since: int, frame: Audio, now: int) -> bool:
        """Is the reference of a frame there, or not worth waiting for?"""
        assert self._reference is not None
        known = self._reference.known_until
        if known >= frame.end_at + self._lead or known < frame.at - OVER_NS:
            return True
        if now - since < PATIENCE_NS:
            return False
        ahead = known - frame.end_at - (now - since)  # when it came
        self._lead = min(self._lead, max(ahead, -LAG_NS))
        self._reference.seek()
        self._canceller.expect(max(self._lead, 0) // MS)
        return True

    def _cleaned(self, frame: Audio) -> Iterator[Audio | DoubleTalk]:
        import numpy as np

        assert self._reference is not None
        if frame.rate_hz != self._reference.rate_hz:
            raise FlowError(f"the rate of the sound changed from {self._reference.rate_hz} to {frame.rate_hz} Hz")
        if not self._expected_at or frame.lost or abs(frame.at - self._expected_at) > GAP_NS:
            # Filled up at its beginning, the frame ends with a step, and so do those that follow.
            filling = -len(frame.samples) % self._step
            self._rest: Samples = np.zeros(filling, np.float32)
            self._skip = filling + self._delay
            self._lost = frame.lost
            self._reference.seek()
        self._expected_at = frame.end_at
        near = np.concatenate((self._rest, frame.samples))
        at = frame.at - len(self._rest) * SECOND // frame.rate_hz
        whole = len(near) // self._step * self._step
        self._rest = near[whole:]
        far = self._reference.take(at + self._lead, whole)
        if self._detector is not None and (found := self._detector.hears(near[:whole], far)):
            yield DoubleTalk(at=at + found * SECOND // frame.rate_hz, cause=frame)
        clean = self._canceller.clean(near[:whole], far, frame.rate_hz)
        dropped = min(self._skip, whole)
        self._skip -= dropped
        if dropped < whole:
            samples = clean[dropped:]
            samples.flags.writeable = False
            at += (dropped - self._delay) * SECOND // frame.rate_hz
            yield Audio(samples, frame.rate_hz, at=at, cause=frame).restamped(lost=self._lost)
            self._lost = 0
