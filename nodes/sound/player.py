"""The `ffplay` program as a child process, and what its clock says.

1. It is the real program with its defaults: it opens the file, looks into it, opens the sound device, and plays. All of that takes the
   time that it takes.
2. With `-stats` it writes its clock to stderr every 30 ms: the position in the file that is heard now, the device's buffers
   counted. Position and time of a line give the time at which the file began to be heard. The first lines swing by up to
   40 ms, while the device fills its buffers, and each is rounded to 10 ms: the median of a few is taken.
3. Without a sound device SDL's `dummy` driver plays into nothing, at the pace of a real device.
4. It ends by itself with the sound (`-autoexit`), at once when it is killed, and never outlives who started it for longer than its file.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import shutil
import statistics
import wave
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from flowgraph.errors import DeviceError
from nodes.clients.pcm import SampleReader
from nodes.sound.levels import AudibleWindows

if TYPE_CHECKING:
    from nodes.vocabulary import Samples

SECOND = 1_000_000_000
INSTALL = "install FFmpeg: apt install ffmpeg (Debian, Ubuntu), dnf install ffmpeg, brew install ffmpeg"
SILENT = {"SDL_AUDIODRIVER": "dummy"}
LINES = 5
"""So many lines of the clock settle when the sound began."""
START_S = 10.0
"""A program that hasn't begun to play by then hangs."""
LAST_WORDS = 5
"""Lines of its own that an error quotes."""
_CLOCK = re.compile(rb"(-?\d+\.\d+|nan) +M-A:")
_STATS = re.compile(rb"^.*\bfd= *\d+ .*$", re.MULTILINE)
_START = re.compile(rb"start: (\d+\.\d+)")
NO_DEVICE = b"audio open failed"
"""It says so, and ends as if nothing were wrong."""


class Player:
    """One file, being played."""

    def __init__(self, child: asyncio.subprocess.Process, content: bytes | None, now: Callable[[], int]) -> None:
        """Use `start`."""
        self.until = 0
        """When it ended (clock, nanoseconds); 0 = it plays."""
        self.completed = False
        """It ended by itself."""
        self._child = child
        self._now = now
        self._said = b""
        self._stopped = False
        self._settled: list[int] = []
        self._begun: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._tasks = [asyncio.create_task(self._follow())]
        if content is not None:
            self._tasks.append(asyncio.create_task(self._feed(content)))

    @classmethod
    async def start(cls, content: Path | bytes, *, now: Callable[[], int], silent: bool = False) -> Self:
        """Start the program with a file, or with all of one through its stdin. Raises DeviceError."""
        child = await _started(
            "ffplay", "-nodisp", "-autoexit", "-hide_banner", "-loglevel", "error", "-stats",
            "-i", _input(content),
            piped=isinstance(content, bytes), told=asyncio.subprocess.DEVNULL, environ=SILENT if silent else {},
        )  # fmt: skip
        return cls(child, content if isinstance(content, bytes) else None, now)

    async def begun(self) -> int:
        """When position 0 of the file was heard (clock, nanoseconds). Raises DeviceError where nothing is played."""
        try:
            async with asyncio.timeout(START_S):
                return await asyncio.shield(self._begun)
        except TimeoutError:
            hint = "is the sound device there? SDL_AUDIODRIVER=dummy plays without one"
            raise DeviceError(f"ffplay has played nothing for {START_S:.0f} s", hint=hint) from None

    async def ended(self, within_s: float | None = None) -> bool:
        """Wait until it has ended by itself; False if it still plays after `within_s`. Raises DeviceError where it failed."""
        done, _ = await asyncio.wait(self._tasks[:1], timeout=within_s)
        if done:
            await self.begun()
        return bool(done)

    async def stop(self) -> None:
        """Silence, at once. Does nothing where it has ended."""
        self._stopped = not self.until
        with contextlib.suppress(ProcessLookupError):
            self._child.kill()
        await asyncio.wait(self._tasks)
        if not self._begun.done():
            self._begun.cancel()
        elif not self._begun.cancelled():
            self._begun.exception()  # nobody may have asked

    async def _feed(self, content: bytes) -> None:
        assert self._child.stdin is not None
        with contextlib.suppress(ConnectionError):  # killed
            self._child.stdin.write(content)
            await self._child.stdin.drain()
        self._child.stdin.close()

    async def _follow(self) -> None:
        """Read its stderr to the end: a full pipe would stop it."""
        assert self._child.stderr is not None
        while said := await self._child.stderr.read(4096):
            at = self._now()
            for clock in _CLOCK.findall(said):
                if clock != b"nan" and (position := float(clock)) > 0:
                    self._place(at - round(position * SECOND))
            if len(self._said) < 1 << 16:
                self._said += said
        status = await self._child.wait()
        self.until = self._now()
        self.completed = not self._stopped
        if self._settled:
            self._settle()
        elif not self._begun.done():
            if status == 0 and not self._words():
                self._begun.set_result(self.until)  # too short for its clock to be told
            else:
                self._begun.set_exception(self._failure(status))

    def _place(self, began_at: int) -> None:
        if len(self._settled) < LINES:
            self._settled.append(began_at)
            if len(self._settled) == LINES:
                self._settle()

    def _settle(self) -> None:
        if not self._begun.done():
            self._begun.set_result(round(statistics.median(self._settled)))

    def _words(self) -> list[str]:
        """What it said beside its clock."""
        text = _STATS.sub(b"", self._said.replace(b"\r", b"\n")).decode(errors="replace")
        return [line.strip() for line in text.splitlines() if line.strip()]

    def _failure(self, status: int) -> DeviceError:
        words = "; ".join(self._words()[-LAST_WORDS:]) or f"it ended with status {status}"
        return DeviceError(f"ffplay can't play the answer: {words}", hint="try the file by hand: ffplay -nodisp FILE")


def installed(*programs: str) -> None:
    """Raises DeviceError where one of the programs is missing."""
    for program in programs:
        if shutil.which(program) is None:
            raise DeviceError(f"the program {program} isn't installed", hint=INSTALL)


async def has_device() -> bool:
    """Can ffplay open a sound device? Asks it, with a moment of silence. Raises DeviceError where it can't be started."""
    silence = io.BytesIO()
    with wave.open(silence, "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 480))
    child = await _started(
        "ffplay", "-nodisp", "-autoexit", "-hide_banner", "-loglevel", "error", "-i", "pipe:0",
        piped=True, told=asyncio.subprocess.DEVNULL, environ={},
    )  # fmt: skip
    try:
        async with asyncio.timeout(START_S):
            _, said = await child.communicate(silence.getvalue())
    except TimeoutError:
        return False
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
    return child.returncode == 0 and NO_DEVICE not in said


class Decoded:
    """What is in a sound file, and where in it something can be heard."""

    def __init__(self, samples: Samples, rate_hz: int, start_ns: int) -> None:
        windows = AudibleWindows(rate_hz)
        windows.feed(samples)
        self.rate_hz = rate_hz
        self.sound = samples
        self.samples = len(samples)
        self.start_ns = start_ns
        """Position of the first sample, as a player counts it: an MP3 begins a little after 0."""
        self.audible_ns: int | None = None if windows.first < 0 else start_ns + windows.first * SECOND // rate_hz
        """Position of the first audible sample; None: it is silent."""
        self.sounding_ns = start_ns + max(windows.last, 0) * SECOND // rate_hz
        """Position at which the last audible sample ends."""

    @property
    def end_ns(self) -> int:
        """Position at which the last sample ends."""
        return self.start_ns + self.samples * SECOND // self.rate_hz


async def decode(content: Path | bytes) -> Decoded:
    """Decode a sound file of any format with `ffmpeg`. Raises DeviceError."""
    child = await _started(
        "ffmpeg", "-hide_banner", "-nostats", "-i", _input(content),
        "-ac", "1", "-c:a", "pcm_s16le", "-f", "wav", "pipe:1",
        piped=isinstance(content, bytes), told=asyncio.subprocess.PIPE, environ={},
    )  # fmt: skip
    try:
        sound, said = await child.communicate(content if isinstance(content, bytes) else None)
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
    if child.returncode:
        line = said.decode(errors="replace").strip().rpartition("\n")[2]
        raise DeviceError(f"ffmpeg can't decode the answer: {line}", hint="what did the TTS service send?")
    reader = SampleReader(24_000)
    samples = reader.feed(sound)
    start = _START.search(said)
    return Decoded(samples, reader.rate_hz, round(float(start[1]) * SECOND) if start else 0)


def _input(content: Path | bytes) -> str:
    return "pipe:0" if isinstance(content, bytes) else f"file:{content}"


async def _started(
    program: str, *arguments: str, piped: bool, told: int, environ: dict[str, str]
) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            program,
            *arguments,
            stdin=asyncio.subprocess.PIPE if piped else asyncio.subprocess.DEVNULL,
            stdout=told,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | environ,
            start_new_session=True,  # a Ctrl-C in the terminal is for us alone: we let the answer end
        )
    except OSError as error:
        raise DeviceError(f"the program {program} can't be started: {error.strerror}", hint=INSTALL) from None
