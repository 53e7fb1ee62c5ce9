"""WebRTC's audio processing (the canceller AEC3, noise suppression, gain control) on float32 sound, 10 ms at a time.

It comes from the `livekit` package, of which nothing else is used: no connection is made. Of the packages that bring it, this is
the one that is kept up, has wheels for Linux, macOS and Windows, and cancels best: what remains of an echo of −43 dBFS in a room of
−90 dBFS is at −85 dBFS (pywebrtc-audio 0.2, a thirtieth of its size: −66 to −79, with bursts at −53).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from flowgraph.errors import FlowError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

DELAYS = {8_000: (88, 136), 16_000: (128, 224), 32_000: (259, 451), 48_000: (430, 718)}
"""How many samples the sound comes out late, at each rate that WebRTC takes: 8 to 11 ms; with noise suppression 6 ms more.

Measured (`tests/nodes/sound/test_canceller.py` does it anew). AEC3 works in blocks of 4 ms and filters with overlapping windows.
Its high-pass filter (100 Hz), which can't be switched off, also turns the phase of what is low."""
FRAMES_A_SECOND = 100
FULL_SCALE = 32_767.0


class Canceller:
    """One microphone's. Keeps what it has learnt of the room."""

    def __init__(self, *, noise_suppression: bool = False, gain_control: bool = False) -> None:
        """Takes 0.1 s where it is the first. Raises FlowError where the package is missing."""
        try:
            self._rtc: Any = importlib.import_module("livekit.rtc")
        except ImportError as error:
            missing = isinstance(error, ModuleNotFoundError) and error.name in ("livekit", "livekit.rtc")
            why = "the package livekit isn't installed" if missing else f"the package livekit can't be used: {error}"
            raise FlowError(f"no echo canceller: {why}", hint="pip install 'flowgraph[aec]'") from None
        self._noise_suppression = noise_suppression
        self._module = self._rtc.AudioProcessingModule(
            echo_cancellation=True, noise_suppression=noise_suppression, auto_gain_control=gain_control
        )

    def delay_samples(self, rate_hz: int) -> int:
        """How many samples the sound comes out late. Raises KeyError for a rate that WebRTC doesn't take."""
        return DELAYS[rate_hz][self._noise_suppression]

    def expect(self, delay_ms: int) -> None:
        """The echo is about so much behind its reference."""
        self._module.set_stream_delay_ms(delay_ms)

    def clean(self, near: Samples, far: Samples, rate_hz: int) -> Samples:
        """`near` without what of it is an echo of `far`: as many samples, a multiple of 10 ms, and late by the delay."""
        import numpy as np

        size = rate_hz // FRAMES_A_SECOND
        both = np.stack((near, far))
        np.clip(both, -1.0, 1.0, out=both)
        sound, reference = np.rint(both * FULL_SCALE).astype("<i2")
        for begin in range(0, len(near), size):
            end = begin + size
            self._module.process_reverse_stream(self._frame(reference[begin:end], rate_hz))
            frame = self._frame(sound[begin:end], rate_hz)
            self._module.process_stream(frame)
            sound[begin:end] = np.frombuffer(frame.data, "<i2")
        return np.asarray(sound / np.float32(FULL_SCALE), np.float32)

    def _frame(self, samples: npt.NDArray[np.int16], rate_hz: int) -> Any:
        return self._rtc.AudioFrame(bytearray(samples.tobytes()), rate_hz, 1, len(samples))
