"""A sound card for tests, without hardware: PipeWire with a microphone that one can play into and a speaker that one can record.

    python tests/sound_card.py -- COMMAND…        runs a command in front of it

1. Everything is private: a runtime folder and a message bus of its own; nothing of the user's session is touched.
2. `speaker` is the default sink: record `speaker.monitor` to hear what was played. `microphone` is the default source: play into
   the sink `room` to speak into it.
3. Plain PulseAudio null sinks wouldn't do: they wake up once in two seconds and have no true time. PipeWire's come in blocks of
   21 ms with the time of each, like a card's.
4. PortAudio looks for devices when it is loaded, so what uses the card runs as a process of its own: `SoundCard.run`.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("dbus-daemon", "pipewire", "wireplumber", "pipewire-pulse", "pactl", "paplay", "parec")
PACKAGES = "pipewire pipewire-pulse pipewire-alsa wireplumber pulseaudio-utils dbus libportaudio2"
START_S = 10.0


class NoSoundCard(RuntimeError):
    """It can't be set up here; the message says why, and what to install."""


@dataclasses.dataclass(frozen=True)
class SoundCard:
    """A running one."""

    environment: dict[str, str]
    folder: Path
    """Its runtime folder, with the programs' logs."""
    programs: dict[str, subprocess.Popen[bytes]] = dataclasses.field(default_factory=dict)
    """What it is made of, by name."""

    def run(self, command: Sequence[str], *, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a command in front of it to its end. Raises TimeoutExpired."""
        return subprocess.run(
            command, env=self.environment, timeout=timeout_s, capture_output=True, text=True, check=False
        )

    def pactl(self, *arguments: str) -> str:
        """Ask or tell the sound server something. Raises NoSoundCard with what it says."""
        done = self.run(["pactl", *arguments])
        if done.returncode:
            raise NoSoundCard(f"pactl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout.strip()


@contextmanager
def sound_card() -> Iterator[SoundCard]:
    """Start it, and stop it at the end. Raises NoSoundCard."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise NoSoundCard(f"missing: {', '.join(missing)} (Debian: apt-get install {PACKAGES})")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="card-")))
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PULSE_", "PIPEWIRE_"))},
            "XDG_RUNTIME_DIR": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_STATE_HOME": str(folder / "state"),
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={folder}/bus",
        }
        card = SoundCard(environment, folder)
        bus = [
            "dbus-daemon",
            "--session",
            "--nofork",
            "--nopidfile",
            f"--address={environment['DBUS_SESSION_BUS_ADDRESS']}",
        ]
        for program, there in (
            (bus, "bus"),
            (["pipewire"], "pipewire-0"),
            (["wireplumber"], ""),
            (["pipewire-pulse"], "pulse/native"),
        ):
            stack.enter_context(_running(card, program))
            _wait_until(card, lambda there=there: (folder / there).exists(), program[0])
        _wait_until(card, lambda: card.run(["pactl", "info"]).returncode == 0, "pipewire-pulse")
        card.pactl("load-module", "module-null-sink", "sink_name=speaker")
        card.pactl("load-module", "module-null-sink", "sink_name=room")
        card.pactl("load-module", "module-remap-source", "source_name=microphone", "master=room.monitor")
        for kind, name in (("sink", "speaker"), ("source", "microphone")):
            card.pactl(f"set-default-{kind}", name)
            _wait_until(card, lambda kind=kind, name=name: card.pactl(f"get-default-{kind}") == name, "wireplumber")
        yield card


@contextmanager
def _running(card: SoundCard, command: Sequence[str]) -> Iterator[None]:
    with (card.folder / f"{command[0]}.log").open("w") as log:
        process = subprocess.Popen(command, env=card.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    card.programs[command[0]] = process
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until(card: SoundCard, condition: Callable[[], bool], program: str) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > deadline:
            log = card.folder / f"{program}.log"
            said = log.read_text()[-500:].strip() if log.exists() else ""
            raise NoSoundCard(f"{program} did not get ready within {START_S:.0f} s: {said}")
        time.sleep(0.02)


def main() -> int:
    """Run the command behind `--` in front of a sound card; its exit status is ours, 77 where there can be no card."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("command", nargs="+", help="what to run")
    command = parser.parse_args().command
    try:
        with sound_card() as card:
            return subprocess.run(command, env=card.environment, check=False).returncode
    except NoSoundCard as error:
        print(f"no sound card: {error}", file=sys.stderr)
        return 77


if __name__ == "__main__":
    sys.exit(main())
