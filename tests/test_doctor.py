"""`flow doctor audio`: what it says, and on the sound card whether it is true."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from flowgraph.cli import app
from flowgraph.cli.doctor import _as_json, _notes, picture
from nodes.sound.checkup import Measurement
from nodes.sound.sweep import Echo
from nodes.sound.wav import WavTarget
from tests.nodes.sound.conftest import do_without
from tests.rooms import open_speakers
from tests.sound_card import NoSoundCard, SoundCard, sound_card

ROOT = Path(__file__).parents[1]
ATTEMPTS = 3


# -- what it says --------------------------------------------------------------------------------------------------------


def measured(loss_db: float | None, *, late_ms: float = 4.0, clipped: bool = False, lossy: bool = False) -> Measurement:
    echo = None if loss_db is None else Echo(late_ms, 0.1, loss_db, (0.0, -10.0, -80.0))
    return Measurement("mic", "speaker", True, 10.0, 20.0, -72.0, clipped, echo, lossy=lossy)


@pytest.mark.parametrize(
    ("measurement", "words"),
    [
        (measured(None), ["doesn't hear the speaker", "headphones", "no echo canceller"]),
        (measured(60), ["faintly (-80 dBFS)", "barge_in: headphones"]),
        (measured(20), ["open speakers", "-40 dBFS", "`aec`", "barge_in: on", "speakerphone"]),
        (measured(1), ["open speakers", "turn the speaker down"]),
        (measured(20, clipped=True), ["turn the speaker down"]),
        (measured(20, late_ms=30), ["30.0 ms later", "10.3 m of air", "finds that by itself"]),
        (measured(20, late_ms=-12), ["12.0 ms sooner"]),
        (measured(20, late_ms=450), ["450 ms later", "too late"]),
        (measured(20, lossy=True), ["sound was lost", "--set mic.latency=high"]),
    ],
)
def test_it_says_in_words_what_a_measurement_means(measurement: Measurement, words: list[str]) -> None:
    said = " ".join(_notes(measurement))

    for word in words:
        assert word in said


def test_an_echo_as_the_devices_state_it_needs_no_more_words() -> None:
    assert len(_notes(measured(20))) == 1


def test_the_json_has_what_the_words_have() -> None:
    said = _as_json(measured(20))

    assert json.loads(json.dumps(said)) == said
    assert said["round_trip_ms"] == 34.0
    assert (said["heard"], said["barge_in"], said["aec"]) == (True, "on", True)
    assert _as_json(measured(None))["round_trip_ms"] is None


def test_the_rooms_response_is_a_picture() -> None:
    assert picture((0.0, -20.0, -40.0, -100.0)) == "█▅▁▁"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--input", "caller:demo"], "caller:demo is no hardware"),
        (["--output", "file:a.wav"], "file:a.wav is no hardware"),
        (["--input", "file:"], "names nothing"),
    ],
)
def test_what_is_no_device_is_said(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["doctor", "audio", *arguments])

    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.output


def test_without_portaudio_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)

    result = CliRunner().invoke(app, ["doctor", "audio"])

    assert result.exit_code == 1
    assert "there is no microphone (the package sounddevice isn't installed)" in result.stderr


# -- whether it is true --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def card() -> Iterator[SoundCard]:
    try:
        with sound_card() as running:
            yield running
    except NoSoundCard as error:
        do_without(error)


def doctor(card: SoundCard, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What it found. Where sound is lost, which it says, the card was starved: then it is asked again, ATTEMPTS times at most."""
    environment = {**card.environment, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "flowgraph.cli", "doctor", "audio", *arguments]
    for _ in range(ATTEMPTS):
        done = subprocess.run(command, env=environment, timeout=60, capture_output=True, text=True, check=False)
        if "error: sound is lost" not in done.stderr:
            break
    return done


@pytest.mark.sound
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("delay_ms", "loss_db"), [(10.0, 20.0), (120.0, 35.0)])
def test_it_finds_the_delay_and_the_loss_of_a_room(card: SoundCard, delay_ms: float, loss_db: float) -> None:
    with open_speakers(card, delay_ms=delay_ms, loss_db=loss_db):
        done = doctor(card, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)

    assert found["late_ms"] == pytest.approx(delay_ms, abs=1.0), "the card states its own delay truly"
    assert found["round_trip_ms"] == pytest.approx(found["stated_ms"] + found["late_ms"], abs=0.02)
    assert found["echo_return_loss_db"] == pytest.approx(loss_db, abs=1.0)
    assert not found["one_device"], "a sound server may have two devices under one name"
    assert (found["barge_in"], found["aec"]) == ("on", True)


@pytest.mark.sound
@pytest.mark.timeout(180)
def test_a_microphone_that_is_muted_is_told_from_headphones(card: SoundCard, tmp_path: Path) -> None:
    muted = doctor(card)
    hiss = WavTarget(tmp_path / "hiss.wav", 16_000)
    hiss.write((np.random.default_rng(1).standard_normal(16_000 * 20) * 0.003).astype(np.float32))
    hiss.save()
    with subprocess.Popen(["paplay", "--device=room", str(tmp_path / "hiss.wav")], env=card.environment) as playing:
        headphones = doctor(card)
        playing.kill()

    assert muted.returncode == 1
    assert "digital silence" in muted.stderr
    assert "Privacy" in muted.stderr
    assert headphones.returncode == 0
    assert "doesn't hear the speaker" in headphones.stdout
    assert "dialogue.barge_in=headphones" in headphones.stdout
