"""Recording what is really played, on the test sound card, and without one."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from flowgraph.errors import DeviceError
from nodes.sound.ear import window_levels
from nodes.sound.monitor import SECOND, Monitor, MonitorRecording
from nodes.sound.wav import WavSource, WavTarget
from tests.sound_card import SoundCard

RATE_HZ = 48_000
ATTEMPTS = 4


def only(folder: Path, programs: tuple[str, ...], environ: dict[str, str]) -> dict[str, str]:
    """An environment in which no other program is there."""
    folder.mkdir()
    for program in programs:
        found = shutil.which(program)
        assert found is not None
        (folder / program).symlink_to(found)
    return {**environ, "PATH": str(folder)}


def fake(folder: Path, parec: str, pactl: str = "echo speaker") -> dict[str, str]:
    """An environment whose `parec` and `pactl` are shell scripts."""
    for name, script in (("parec", parec), ("pactl", pactl)):
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.sound
@pytest.mark.parametrize("programs", [("parec", "pactl"), ("pw-record",)], ids=lambda programs: programs[0])
def test_what_is_played_is_recorded(card: SoundCard, tmp_path: Path, programs: tuple[str, ...]) -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE_HZ // 2) / RATE_HZ).astype(np.float32) * np.float32(0.5)
    played, path = tmp_path / "tone.wav", tmp_path / "heard.wav"
    target = WavTarget(played, RATE_HZ)
    target.write(tone)
    target.save()
    before = time.monotonic_ns()
    with MonitorRecording(path, environ=only(tmp_path / "bin", programs, card.environment)) as recording:
        began = time.monotonic_ns()
        assert not path.exists()
        subprocess.run(["paplay", str(played)], env=card.environment, check=True, timeout=10)

    audible = np.flatnonzero(window_levels(path)[:, 0] > -20)
    assert 45 <= len(audible) <= 55
    assert before - 200_000_000 <= recording.begin_at <= began
    assert WavSource(path).rate_hz == RATE_HZ


@pytest.mark.sound
def test_another_source_can_be_named(card: SoundCard, tmp_path: Path) -> None:
    with MonitorRecording(tmp_path / "room.wav", source="room.monitor", environ=card.environment):
        pass

    assert (tmp_path / "room.wav").exists()


def test_without_a_program_that_records_there_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(DeviceError) as caught, MonitorRecording(tmp_path / "a.wav", environ={"PATH": str(tmp_path)}):
        pass

    assert caught.value.message == "what is played can't be recorded: there is neither parec nor pw-record"
    assert "apt-get install pulseaudio-utils" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_without_a_sound_server_there_is_one_error_and_no_file(tmp_path: Path) -> None:
    environ = fake(tmp_path, "echo 'Connection failure: Connection refused' >&2; exit 1")
    with pytest.raises(DeviceError) as caught, MonitorRecording(tmp_path / "a.wav", environ=environ):
        pass

    message = "no sound came from the output's monitor (parec: Connection failure: Connection refused)"
    assert caught.value.message == message
    assert not (tmp_path / "a.wav").exists()
    assert not (tmp_path / "a.wav.part").exists()


def test_a_sound_server_that_cant_be_asked_is_one_error(tmp_path: Path) -> None:
    environ = fake(tmp_path, "exit 1", "echo 'Connection failure: Connection refused' >&2; exit 1")
    with pytest.raises(DeviceError) as caught, MonitorRecording(tmp_path / "a.wav", environ=environ):
        pass

    assert caught.value.message == "there is no sound server (pactl: Connection failure: Connection refused)"
    assert "pactl info" in caught.value.hint


def test_the_default_outputs_monitor_is_asked_for_by_its_name(tmp_path: Path) -> None:
    environ = fake(tmp_path, f'echo "$@" > {tmp_path}/asked; exec head -c 9600 /dev/zero', "echo alsa.card")
    with pytest.raises(DeviceError), MonitorRecording(tmp_path / "a.wav", environ=environ) as recording:
        recording._process.wait()

    assert "--device=alsa.card.monitor " in (tmp_path / "asked").read_text(encoding="utf-8")


def test_a_recording_that_ends_early_is_an_error_and_what_there_is_is_kept(tmp_path: Path) -> None:
    environ = fake(tmp_path, "head -c 9600 /dev/zero; echo 'Stream error' >&2; exit 1")
    recording = MonitorRecording(tmp_path / "a.wav", environ=environ)
    recording.__enter__()
    recording._process.wait()
    with pytest.raises(DeviceError, match=r"the recording ended early \(parec: Stream error\)"):
        recording.__exit__(None, None, None)

    assert WavSource(tmp_path / "a.wav").length == 4800


def test_an_error_inside_the_block_comes_first(tmp_path: Path) -> None:
    environ = fake(tmp_path, "head -c 9600 /dev/zero; exit 1")
    with pytest.raises(ZeroDivisionError), MonitorRecording(tmp_path / "a.wav", environ=environ):
        raise ZeroDivisionError


def test_a_program_that_ignores_being_told_to_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.sound.monitor.STOP_S", 0.1)
    environ = fake(tmp_path, "trap '' TERM; head -c 9600 /dev/zero; while :; do sleep 0.05; done")
    with MonitorRecording(tmp_path / "a.wav", environ=environ) as recording:
        pass

    assert recording._process.returncode == -9
    assert WavSource(tmp_path / "a.wav").length == 4800


def test_a_file_that_cant_be_written_is_one_error_before_anything_starts(tmp_path: Path) -> None:
    environ = fake(tmp_path, f"touch {tmp_path}/started")
    with (
        pytest.raises(DeviceError, match="can't write"),
        MonitorRecording(tmp_path / "no" / "a.wav", environ=environ),
    ):
        pass

    assert not (tmp_path / "started").exists()


@pytest.mark.sound
def test_two_monitors_that_began_at_different_times_agree_on_when_a_sound_was_played(
    card: SoundCard, tmp_path: Path
) -> None:
    played = tmp_path / "noise.wav"
    target = WavTarget(played, RATE_HZ)
    target.write(np.random.default_rng(1).standard_normal(RATE_HZ // 2).astype(np.float32) * np.float32(0.1))
    target.save()
    apart = [_apart_ns(card, played)]
    while _has_dropped(apart[-1]) and len(apart) < ATTEMPTS:
        apart.append(_apart_ns(card, played))

    assert apart[-1] < SECOND // 500, apart


def _has_dropped(apart_ns: int) -> bool:
    """Has the sound server, starved for a moment, left out sound for one of the two? It does so in pieces of 256 samples."""
    pieces = apart_ns * RATE_HZ / SECOND / 256
    return round(pieces) > 0 and abs(pieces - round(pieces)) < 0.1


def _apart_ns(card: SoundCard, played: Path) -> int:
    """How far two monitors are apart on when a sound was played."""
    blocks: list[list[tuple[np.ndarray, int]]] = [[], []]

    def monitor(index: int) -> Monitor:
        return Monitor(
            lambda samples, at: blocks[index].append((samples, at)),
            source="speaker.monitor",
            settle_s=0.5,
            environ=card.environment,
        )

    with monitor(0), monitor(1):
        subprocess.run(["paplay", "--device=speaker", str(played)], env=card.environment, check=True, timeout=10)
        time.sleep(0.2)  # what was played is recorded a little later

    onsets = []
    for heard in blocks:
        for samples, at in heard:
            loud = np.flatnonzero(np.abs(samples) > 0.02)
            if len(loud):
                onsets.append(at + int(loud[0]) * SECOND // RATE_HZ)
                break
    return abs(onsets[0] - onsets[1])


def test_silence_takes_the_place_of_samples_that_the_sound_server_has_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds in blocks of 20 ms that are up to 15 ms late; then 100 ms are missing."""
    now = 0
    monkeypatch.setattr("nodes.sound.monitor.time.monotonic_ns", lambda: now)
    found: list[tuple[int, int]] = []
    monitor = Monitor(lambda samples, at: found.append((at, len(samples))), settle_s=0.1)
    block = np.ones(RATE_HZ // 50, np.float32)
    for index in range(250):
        lost = index >= 100
        now = SECOND + (index + 1 + 5 * lost) * SECOND // 50
        monitor._place(block, now + (index * 7 % 16) * SECOND // 1000)

    assert monitor.begin_at == SECOND
    assert monitor.lost_ns == SECOND // 10
    assert found[0] == (SECOND + SECOND // 10, len(block))
    assert (RATE_HZ // 10) in [length for _, length in found]
    ends = [at + length * SECOND // RATE_HZ for at, length in found]
    assert [at for at, _ in found[1:]] == ends[:-1], "no hole"
    assert ends[-1] == now
