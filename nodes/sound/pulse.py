"""What the sound server says of itself (PulseAudio, or PipeWire with its PulseAudio server), by its program `pactl`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import NamedTuple

from flowgraph.errors import DeviceError

PATIENCE_S = 5.0
RUNNING = "is PipeWire or PulseAudio running? `pactl info` tells"
INSTALL = "Debian and Ubuntu: apt-get install pulseaudio-utils; Fedora: dnf install pulseaudio-utils"
VIRTUAL_MICROPHONE = """make one, for as long as the sound server runs:
    pactl load-module module-null-sink sink_name=room
    pactl load-module module-remap-source source_name=microphone master=room.monitor
    pactl set-default-source microphone"""
_MONITOR = ".monitor"


class Stage(NamedTuple):
    """Where a recorded user and a program talk with each other. Names of sinks."""

    room: str
    """What is played into it is heard by the default microphone."""
    output: str
    """The default output: what the program says."""


def ask(*arguments: str, environ: Mapping[str, str] | None = None) -> str:
    """What `pactl` answers. Raises DeviceError."""
    environ = os.environ if environ is None else environ
    program = shutil.which("pactl", path=environ.get("PATH"))
    if program is None:
        raise DeviceError("the sound server can't be asked: there is no pactl", hint=INSTALL)
    try:
        asked = subprocess.run(
            [program, *arguments],
            env=dict(environ), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S, check=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise DeviceError("the sound server doesn't answer (pactl)", hint=RUNNING) from None
    except subprocess.CalledProcessError as error:
        said = str(error.stderr).strip().splitlines()
        what = said[-1] if said else "failed"
        raise DeviceError(f"there is no sound server (pactl: {what})", hint=RUNNING) from None
    return asked.stdout.strip()


def stage(environ: Mapping[str, str] | None = None) -> Stage:
    """The virtual microphone's sink, and the default output. Raises DeviceError where the default microphone is a real one."""
    environ = os.environ if environ is None else environ
    for program in ("parec", "pacat"):
        if shutil.which(program, path=environ.get("PATH")) is None:
            raise DeviceError(f"there is no {program}, which plays and records at the sound server", hint=INSTALL)
    source, output = (ask(f"get-default-{kind}", environ=environ) for kind in ("source", "sink"))
    room = _room(source, ask("list", "short", "modules", environ=environ))
    if not room:
        what = f"the default microphone, '{source}', is none" if source else "there is no default microphone"
        raise DeviceError(
            f"a recorded user who speaks aloud needs a virtual microphone; {what}",
            hint=VIRTUAL_MICROPHONE,
        )
    if room == output:
        raise DeviceError(
            f"the default output, '{output}', is also what the default microphone hears: the program would hear itself",
            hint="pactl set-default-sink OUTPUT (`pactl list short sinks` shows them); where there is no other: "
            "pactl load-module module-null-sink sink_name=speaker",
        )
    return Stage(room, output)


def _room(source: str, modules: str) -> str:
    """The sink behind a source: by its own name, or by the module that made it; "" = it is no virtual microphone."""
    for line in modules.splitlines():
        options = dict(re.findall(r"(\w+)=[\"']?([^\s\"']+)", line))
        if source and options.get("source_name") == source and "master" in options:
            source = options["master"]
            break
    return source.removesuffix(_MONITOR) if source.endswith(_MONITOR) else ""
