"""A recorded user who speaks aloud, hears the answers, and records both: any program that uses the default devices can be judged.

    python -m nodes.sound.aloud CONVERSATION RECORDING.wav        talk with what is running, then say what was to be heard

1. The user speaks into the sink behind the default microphone (`nodes.sound.pulse.stage`), through `pacat`. What the user hears is the
   monitor of the default output. Nothing else is known of the program (`nodes.sound.overheard`).
2. Both monitors are recorded on one time axis: the user on the left, the answers on the right. Figures come from that recording
   alone (`nodes.sound.ear`).
3. What is spoken goes to the sound server `LEAD_MS` ahead. Where the user's noise begins in the recording, its first sample is;
   where an utterance ends there is where its last audible window is.
4. With `--parent`, it waits for a line on stdin before it speaks, tells a JSON object a line on stdout, and ends when stdin closes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import queue
import resource
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowgraph.errors import DeviceError, FlowError
from flowgraph.units import MS
from nodes.sound.addresses import conversation_path
from nodes.sound.caller import Caller
from nodes.sound.conversation import RATE_HZ, Conversation, load_conversation
from nodes.sound.ear import USER_DBFS, Exchange, judge
from nodes.sound.levels import AUDIBLE_DBFS
from nodes.sound.monitor import Monitor
from nodes.sound.overheard import Ends, Overheard, Windows
from nodes.sound.paced import PacedStream
from nodes.sound.pulse import INSTALL, Stage, stage
from nodes.sound.recording import Recording
from nodes.vocabulary import Audio, Utterance

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

BLOCK_MS = 20
LEAD_MS = 100
"""So much sound the sound server has in hand: less runs dry where the machine is busy."""
SETTLE_S = 0.5
NOISE_DBFS = -110.0
"""A sink that nobody plays into is digitally silent."""
NEAR_NS = 150 * MS
"""So far from where it is expected an utterance's end is looked for."""
TAIL_S = 0.5

Tell = Callable[[dict[str, Any]], None]


class Aloud:
    """One conversation, from the first sample that is recorded to the last."""

    def __init__(self, conversation: Conversation, path: Path, where: Stage, tell: Tell) -> None:
        """Raises DeviceError."""
        self.over = asyncio.Event()
        """The user has nothing more to say, and has heard the answer."""
        self.lost_ns = 0
        """So much the recording has lost."""
        self._where = where
        self.tell = tell
        self._room = Overheard()
        self._caller = Caller(conversation, self._room)
        self._recording = Recording(path)
        self._heard: queue.SimpleQueue[tuple[bool, Samples, int]] = queue.SimpleQueue()
        self._ends = Ends()
        self._windows: dict[bool, Windows] = {}
        self._recorded_until = 0
        """Of the user's side (clock, nanoseconds)."""
        self._noise_at = 0
        """When the user's first sample was recorded; 0 = it wasn't yet."""
        self._later_ns = 0
        """A sample is recorded so much later than the user takes it for."""
        self._spoken: deque[Utterance] = deque()
        self._player: subprocess.Popen[bytes] | None = None

    @property
    def begin_at(self) -> int:
        """Clock, nanoseconds: when the recording begins."""
        return self._recording.begin_at

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Record while the block runs. Raises DeviceError."""
        try:
            with contextlib.ExitStack() as stack:
                user, program = (
                    stack.enter_context(
                        Monitor(
                            lambda samples, at, of_user=of_user: self._heard.put((of_user, samples, at)),  # type: ignore[misc]
                            source=f"{sink}.monitor",
                            settle_s=SETTLE_S,
                        )
                    )
                    for of_user, sink in ((True, self._where.room), (False, self._where.output))
                )
                self._windows = {True: Windows(user.rate_hz), False: Windows(program.rate_hz)}
                self._rate_hz = user.rate_hz
                yield
            self.lost_ns = max(user.lost_ns, program.lost_ns)
        finally:
            self._listen()
            self._recording.save()

    def listen(self) -> PacedStream:
        """Hear what is recorded, as it comes; the user is silent."""
        return PacedStream(rate_hz=RATE_HZ, now=time.monotonic_ns, block=lambda *_: self._listen(), block_ms=BLOCK_MS)

    def speak(self) -> PacedStream:
        """Hear, and hold the conversation. Raises DeviceError."""
        command = ["pacat", "--playback", f"--device={self._where.room}", "--raw", "--format=s16le", "--channels=1"]
        try:
            self._player = subprocess.Popen(
                [*command, f"--rate={RATE_HZ}", f"--latency-msec={LEAD_MS}", "--client-name=flowgraph"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise DeviceError(f"pacat can't be started: {error.strerror}", hint=INSTALL) from None
        self._say(bytes(2 * RATE_HZ * LEAD_MS // 1000))
        return PacedStream(rate_hz=RATE_HZ, now=time.monotonic_ns, block=self._block, block_ms=BLOCK_MS)

    def stop(self) -> None:
        """The user is silent."""
        player, self._player = self._player, None
        if player is not None:
            player.kill()
            with contextlib.suppress(OSError):
                player.communicate()

    # -- a block of time -----------------------------------------------------------------------------------------------

    def _block(self, count: int, due: int) -> bool:
        import numpy as np

        self._listen()
        at = due + LEAD_MS * MS
        if not self._caller.ended:
            samples = self._caller.read(count, at)
            self._say(np.round(samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
            self._spoken.extend(self._caller.spoken)
            self._caller.spoken.clear()
        self._tell_ends(everything=self._caller.ended)
        if self._caller.ended:
            self.over.set()
        return not self._caller.ended

    def _say(self, data: bytes) -> None:
        player = self._player
        assert player is not None
        assert player.stdin is not None
        try:
            player.stdin.write(data)
            player.stdin.flush()
        except OSError:
            _, said = player.communicate()
            words = said.decode(errors="replace").strip().rpartition("\n")[2] or f"status {player.returncode}"
            raise DeviceError(f"pacat has ended: {words}", hint="is the sound server still running?") from None

    def _listen(self) -> bool:
        """What has been recorded since the last time."""
        with contextlib.suppress(queue.Empty):
            while True:
                of_user, samples, at = self._heard.get_nowait()
                frame = Audio(samples, self._rate_hz, at=at)
                if of_user:
                    self._recording.captured(frame)
                else:
                    self._recording.played(frame)
                for end_at, level in self._windows[of_user].feed(samples, at):
                    if of_user:
                        self._hear_user(end_at, level)
                    elif level > AUDIBLE_DBFS:
                        self._room.program(end_at)
        return True

    def _hear_user(self, end_at: int, level: float) -> None:
        self._recorded_until = end_at
        if not self._noise_at and self._player is not None and level > NOISE_DBFS:
            self._noise_at = end_at - 10 * MS
            self._later_ns = self._noise_at - self._caller.begin_at
        if level > USER_DBFS:
            self._ends.add(end_at)
            self._room.user(end_at)

    def _tell_ends(self, *, everything: bool) -> None:
        """The utterances of which the end has been recorded."""
        while self._spoken:
            spoken = self._spoken[0]
            expected = spoken.end_at + self._later_ns
            if self._recorded_until < expected + NEAR_NS and not everything:
                return
            self._spoken.popleft()
            end_at = self._ends.last(expected - NEAR_NS, expected + NEAR_NS) or expected
            self._later_ns += end_at - expected
            start_at = end_at - (spoken.end_at - spoken.start_at)
            self.tell({"event": "utterance", "index": spoken.index, "start_at": start_at, "end_at": end_at})


# -- as a program -------------------------------------------------------------------------------------------------------


async def converse(aloud: Aloud, go: asyncio.Event, gone: asyncio.Event) -> None:
    """Record; speak when told to; until the conversation is over, or nobody wants it any more. Raises DeviceError."""
    loop = asyncio.get_running_loop()
    failed: asyncio.Future[None] = loop.create_future()

    def handler(_: object, context: dict[str, Any]) -> None:
        error = context.get("exception") or RuntimeError(context["message"])
        if not failed.done():
            failed.set_exception(error)

    loop.set_exception_handler(handler)
    waits = {
        name: asyncio.ensure_future(event.wait()) for name, event in (("go", go), ("gone", gone), ("over", aloud.over))
    }
    with aloud.recording():
        stream = aloud.listen()
        try:
            aloud.tell({"event": "ready"})
            for until in ("go", "over"):
                news: list[asyncio.Future[Any]] = [waits[until], waits["gone"], failed]
                await asyncio.wait(news, return_when=asyncio.FIRST_COMPLETED)
                if failed.done():
                    failed.result()
                if gone.is_set():
                    return
                if until == "go":
                    stream.stop()
                    stream = aloud.speak()
            stream.stop()
            stream = aloud.listen()
            await asyncio.sleep(TAIL_S)
        finally:
            stream.stop()
            aloud.stop()
            for task in waits.values():
                task.cancel()


def main() -> int:
    """As its module says. The exit code is 0, 1 for a failure, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m nodes.sound.aloud", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "conversation", help="a bundled caller (demo), a conversation's YAML file, or a folder of WAV files"
    )
    parser.add_argument("recording", type=Path, help="where the stereo recording goes: a WAV file")
    parser.add_argument("--parent", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    by_hand = not arguments.parent

    def tell(what: dict[str, Any]) -> None:
        if not by_hand:
            print(json.dumps(what), flush=True)
        elif what["event"] == "utterance":
            print(f"utterance {what['index'] + 1} …", file=sys.stderr)

    try:
        conversation = load_conversation(conversation_path(arguments.conversation))
        asyncio.run(_run(conversation, arguments.recording, tell, by_hand=by_hand))
    except KeyboardInterrupt:
        return 130
    except FlowError as error:
        if by_hand:
            print(error, file=sys.stderr)
        tell({"event": "error", "message": error.message, "hint": error.hint})
        return 1
    if by_hand:
        for one in judge(arguments.recording):
            print(_said(one))
    return 0


async def _run(conversation: Conversation, path: Path, tell: Tell, *, by_hand: bool) -> None:
    aloud = Aloud(conversation, path, stage(), tell)
    go, gone = asyncio.Event(), asyncio.Event()
    if by_hand:
        go.set()
    else:
        loop = asyncio.get_running_loop()

        def follow() -> None:
            if os.read(0, 1):
                loop.call_soon_threadsafe(go.set)
                while os.read(0, 64):
                    pass
            with contextlib.suppress(RuntimeError):  # the loop is gone: it has ended by itself
                loop.call_soon_threadsafe(gone.set)

        threading.Thread(target=follow, daemon=True).start()
    await converse(aloud, go, gone)
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(one.ru_utime + one.ru_stime for one in usage)
    tell({"event": "ended", "begin_at": aloud.begin_at, "lost_ms": aloud.lost_ns / MS, "cpu_s": cpu_s})


def _said(one: Exchange) -> str:
    return f"speech ends at {one.speech_end_s:.2f} s, first sound at {one.first_sound_s:.2f} s: {one.latency_s * 1000:.0f} ms"


if __name__ == "__main__":
    sys.exit(main())
