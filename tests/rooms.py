"""A room for tests: what a microphone hears of a loudspeaker."""

from __future__ import annotations

import subprocess
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flowgraph import Field, Node
from nodes.sound.reference import Reference
from nodes.sound.wav import WavSource
from nodes.vocabulary import Audio, Played
from tests.sound_card import NoSoundCard, SoundCard

SECOND = 1_000_000_000
RATE_HZ = 16_000
DEMO = Path(__file__).parents[1] / "graphs/conversations/demo"

FIRST_VOICED = 1600
"""Samples of the bundled caller's recordings before their first voiced one (`speech` in demo.yaml)."""

Samples = npt.NDArray[np.float32]


def recorded(*names: str) -> Samples:
    """Speech of the bundled caller, one after the other, at 16 kHz."""
    pieces = []
    for name in names:
        source = WavSource(DEMO / f"{name}.wav")
        pieces.append(source.read(source.rate_hz * 60))
        source.close()
    return np.concatenate(pieces)


def response(
    *,
    loss_db: float = 20.0,
    delay_ms: float = 0.0,
    reverberation_ms: float = 250.0,
    rate_hz: int = RATE_HZ,
    seed: int = 7,
) -> Samples:
    """An impulse response: the direct sound after `delay_ms`, then noise that decays by 60 dB in `reverberation_ms`.

    Its energy is that of a factor of −`loss_db`; half of it is the direct sound.
    """
    rng = np.random.default_rng(seed)
    count = int(rate_hz * reverberation_ms / 1000)
    tail = rng.standard_normal(count) * 10 ** (-3 * np.arange(count) / count)
    tail[0] = 0
    tail /= np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    tail *= 10 ** (-loss_db / 20) / np.sqrt(2)
    return np.concatenate((np.zeros(round(rate_hz * delay_ms / 1000)), tail)).astype(np.float32)


def through(sound: Samples, room: Samples) -> Samples:
    """What is heard of a sound in a room, cut to the sound's length."""
    count = len(sound) + len(room)
    heard = np.fft.irfft(np.fft.rfft(sound, count) * np.fft.rfft(room, count), count)
    return heard[: len(sound)].astype(np.float32)


CLEAR_DBFS = -25.0
"""Well above an echo at −20 dB."""


def clear(speech: Samples) -> int:
    """The first sample of speech that is clearly louder than an echo: before it, nobody can tell the two.

    The bundled caller's "Stop it" begins with a hiss of a quarter of a second at the level of the echo, which goes with the echo.
    """
    windows = speech[: len(speech) // 160 * 160].reshape(-1, 160)
    return 160 * next(index for index, window in enumerate(windows) if dbfs(window) > CLEAR_DBFS)


def dbfs(samples: Samples) -> float:
    """The level of a sound: 0 is a mean square of 1."""
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-20))


class Hall(Node):
    """Between a virtual microphone and who listens to it: adds what it would hear of the speaker."""

    loss_db: float = Field(20.0, description="Echo return loss.")
    delay_ms: float = Field(10.0, description="Of the direct sound.")

    async def open(self) -> None:
        room = response(loss_db=self.loss_db, delay_ms=self.delay_ms)
        self._size = 1 << (2 * len(room)).bit_length()
        self._spectrum = np.fft.rfft(room, self._size)
        self._played = Reference(RATE_HZ)
        self._past = np.zeros(len(room), np.float32)

    def process(self, frame: Audio | Played) -> Iterator[Audio]:
        if isinstance(frame, Played):
            self._played.add(frame.samples, frame.rate_hz, frame.at)
            return
        sound = np.concatenate((self._past, self._played.take(frame.at, len(frame.samples))))
        echo = np.fft.irfft(np.fft.rfft(sound, self._size) * self._spectrum)[len(self._past) : len(sound)]
        self._past = sound[len(frame.samples) :]
        yield frame.with_samples(frame.samples + echo.astype(np.float32))


# -- in front of the sound card -----------------------------------------------------------------------------------------

CARD_HZ = 48_000
MIXED_DB = 3.0
"""The card plays one channel on two, and mixes two to one, so that it is louder by this."""
START_S = 10.0
CHAIN = """
context.properties = {{ log.level = 1 }}
context.spa-libs = {{ audio.convert.* = audioconvert/libspa-audioconvert  support.* = support/libspa-support }}
context.modules = [
  {{ name = libpipewire-module-rt  flags = [ ifexists nofail ] }}
  {{ name = libpipewire-module-protocol-native }}
  {{ name = libpipewire-module-client-node }}
  {{ name = libpipewire-module-adapter }}
  {{ name = libpipewire-module-filter-chain  args = {{
      filter.graph = {{ nodes = [ {{ type = builtin  name = room  label = convolver
                                    config = {{ filename = "{response}"  gain = {gain} }} }} ] }}
      audio.rate = {rate_hz}  audio.channels = 2  audio.position = [ FL FR ]
      capture.props  = {{ node.name = "echo.heard"  node.target = "speaker"  stream.capture.sink = true }}
      playback.props = {{ node.name = "echo.made"  node.target = "room" }}
  }} }}
]
"""


@contextmanager
def open_speakers(card: SoundCard, *, loss_db: float = 20.0, delay_ms: float = 10.0) -> Iterator[None]:
    """What the card's speaker plays is heard by its microphone, through a room. Raises NoSoundCard."""
    path = card.folder / "response.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, CARD_HZ, 0, "NONE", ""))
        whole = response(loss_db=0, delay_ms=delay_ms, rate_hz=CARD_HZ)
        file.writeframes(np.rint(whole * 32767).astype("<i2").tobytes())
    chain = card.folder / "echo.conf"
    chain.write_text(CHAIN.format(response=path, gain=10 ** (-(loss_db + MIXED_DB) / 20), rate_hz=CARD_HZ))
    with (card.folder / "echo.log").open("w") as log:
        echo = subprocess.Popen(["pipewire", "-c", str(chain)], env=card.environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_S
        while not {"echo.heard", "echo.made"} <= set(linked(card)):
            if time.monotonic() > deadline or echo.poll() is not None:
                raise NoSoundCard(f"no echo: {(card.folder / 'echo.log').read_text()[-500:]}")
            time.sleep(0.02)
        yield
    finally:
        echo.terminate()
        echo.wait(timeout=5)


def linked(card: SoundCard) -> Iterator[str]:
    """The names of what is connected with something."""
    for line in card.run(["pw-link", "--links"]).stdout.splitlines():
        if not line.startswith(" "):
            yield line.partition(":")[0]
