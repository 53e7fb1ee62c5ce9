"""One answer on its way to the ear: what was given to the device of it, and what was heard."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from nodes.sound.resampling import Resampler, resampled
from nodes.sound.spoken import SpokenText
from nodes.vocabulary import End, Heard, Speech

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]


class Reply:
    """Positions count the device's samples, over all answers (see `Playback`)."""

    def __init__(self, ordinal: int, attempt: int, *, begin: int, device_hz: int) -> None:
        self.ordinal = ordinal
        self.attempt = attempt
        self.begin = begin
        self.end: End | None = None
        """Set when nothing more comes of it."""
        self.end_position = 0
        self.audible_at = 0
        """When its first audible sample left the device; 0 = not yet."""
        self.sounding_until = 0
        """The end of its latest audible sound so far (clock, nanoseconds)."""
        self.told_at = 0
        """The time up to which the graph has been told of it."""
        self._device_hz = device_hz
        self._rate_hz = device_hz
        self._resampler: Resampler | None = None
        self._spoken = SpokenText()
        self._text = ""
        self._frames: list[Speech] = []
        self._begins: list[int] = []

    def add(self, speech: Speech) -> Samples:
        """The next chunk, at the device's rate. (A chunk at another rate than the first is converted twice.)"""
        samples = speech.samples
        self._frames.append(speech)
        if self._resampler is None:
            self._rate_hz = speech.rate_hz
            self._resampler = Resampler(speech.rate_hz, self._device_hz)
        elif speech.rate_hz != self._rate_hz:
            samples = resampled(samples, speech.rate_hz, self._rate_hz)
            speech = speech.with_samples(samples, self._rate_hz)
        self._begins.append(self._spoken.samples)
        self._spoken.add(speech)
        return self._resampler.feed(samples)

    def finish(self, end: End) -> Samples:
        """Nothing more comes: the rest of the sound."""
        import numpy as np

        self.end = end
        self._spoken.end()
        return self._resampler.end() if self._resampler is not None else np.zeros(0, np.float32)

    def heard(self, position: int, until: int, *, cause_at: int = -1) -> Heard:
        """What was heard when everything before `position` has been played, the last of it at `until`.

        The cause is the speech at `cause_at`, else the last that was heard.
        """
        samples = self._samples_before(position)
        return self._heard(
            samples, until, cause=self._frame_at(self._samples_before(cause_at) if cause_at >= 0 else samples - 1)
        )

    def cut(self, position: int, at: int) -> Heard:
        """The last word on an answer that was interrupted at `position`, heard at `at`."""
        samples = self._samples_before(position)
        return self._heard(samples, at, cause=self._frame_at(samples - 1), final=True, cut=True)

    def complete(self, until: int) -> Heard:
        """The last word on an answer that was played to its end, which was at `until`."""
        samples = self._spoken.samples
        end = self.end or End()
        cause = self._frame_at(samples - 1) if samples else self.end
        return self._heard(
            samples, until if samples else 0, cause=cause, final=True, reason=end.reason, detail=end.detail
        )

    def _heard(self, samples: int, until: int, *, cause: Speech | End | None, **more: object) -> Heard:
        text = self._spoken.heard(samples)
        if len(text) > len(self._text):  # an estimate may turn out to have been too long: nothing is unheard again
            self._text = text
        self.told_at = until
        stamps = {"cause": cause} if cause is not None else {}
        return Heard(self._text, samples, self.audible_at, until, at=until, **stamps, **more)  # type: ignore[arg-type]

    def _samples_before(self, position: int) -> int:
        played = max(position - self.begin, 0) * self._rate_hz // self._device_hz
        return min(played, self._spoken.samples)

    def _frame_at(self, sample: int) -> Speech | None:
        """Nobody asks for one before it any more: an answer may go on for hours."""
        index = bisect_right(self._begins, max(sample, 0)) - 1
        if index > 0:
            del self._frames[:index], self._begins[:index]
        return self._frames[0] if index >= 0 else None
