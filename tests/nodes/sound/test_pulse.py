"""Which sinks a recorded user talks through, and what there is to say where there are none."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from flowgraph.errors import DeviceError
from nodes.sound.pulse import ask, stage
from tests.sound_card import SoundCard

REMAPPED = "3\tmodule-remap-source\tsource_name=microphone master=room.monitor\t"


def server(folder: Path, *, source: str, sink: str, modules: str = "", status: int = 0) -> dict[str, str]:
    """An environment whose `pactl` answers so."""
    script = f"""case "$1" in
get-default-source) echo '{source}';;
get-default-sink) echo '{sink}';;
list) printf '%s\\n' '{modules}';;
esac
[ {status} = 0 ] || echo 'Connection failure: Connection refused' >&2
exit {status}"""
    for name in ("pactl", "parec", "pacat"):
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.sound
def test_the_test_cards_sinks_are_found(card: SoundCard) -> None:
    assert stage(card.environment) == ("room", "speaker")


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("room.monitor", ""),
        ("microphone", REMAPPED),
        ("microphone", f"1\tmodule-null-sink\tsink_name=room\n{REMAPPED}"),
        ("microphone", '3\tmodule-virtual-source\tsource_name="microphone" master="room.monitor" channels=1'),
    ],
)
def test_a_virtual_microphone_is_a_sinks_monitor_or_made_of_one(tmp_path: Path, source: str, modules: str) -> None:
    assert stage(server(tmp_path, source=source, sink="card", modules=modules)) == ("room", "card")


@pytest.mark.parametrize(
    ("source", "modules", "says"),
    [
        ("alsa_input.usb", REMAPPED, "the default microphone, 'alsa_input.usb', is none"),
        ("microphone", "3\tmodule-remap-source\tsource_name=microphone master=alsa_input.usb", "'microphone', is none"),
        ("", "", "there is no default microphone"),
    ],
)
def test_a_real_microphone_is_an_error_that_says_how_to_make_another(
    tmp_path: Path, source: str, modules: str, says: str
) -> None:
    with pytest.raises(DeviceError) as caught:
        stage(server(tmp_path, source=source, sink="card", modules=modules))

    assert says in caught.value.message
    assert "pactl load-module module-null-sink sink_name=room" in caught.value.hint
    assert "pactl load-module module-remap-source source_name=microphone master=room.monitor" in caught.value.hint
    assert "pactl set-default-source microphone" in caught.value.hint


def test_a_program_that_would_hear_itself_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="'room', is also what the default microphone hears"):
        stage(server(tmp_path, source="room.monitor", sink="room"))


def test_a_stage_that_portaudio_does_not_see_is_told_before_anything_runs(tmp_path: Path) -> None:
    environ = server(tmp_path, source="room.monitor", sink="card") | {"XDG_RUNTIME_DIR": str(tmp_path)}
    seen = subprocess.run(
        [sys.executable, "-c", "from nodes.sound.hardware import no_hardware as n; print(n('input'))"],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    if not seen.stdout.strip():
        pytest.skip("this machine has a microphone")
    command = [sys.executable, "-m", "flowgraph.cli", "compare", "optimized", "baseline", "--record"]

    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=30)

    assert done.returncode == 2
    assert "--record: no microphone" in done.stderr
    assert "flow devices" in done.stderr


def test_without_a_sound_server_or_its_programs_there_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"no sound server \(pactl: Connection failure"):
        stage(server(tmp_path, source="", sink="", status=1))
    with pytest.raises(DeviceError, match="there is no parec"):
        stage({"PATH": str(tmp_path / "none")})
    with pytest.raises(DeviceError, match="there is no pactl"):
        ask("info", environ={"PATH": ""})
