"""Real PortAudio streams, in front of a card whose microphone and speaker are known (tests/sound_card.py)."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodes.sound.levels import AUDIBLE_DBFS
from nodes.sound.wav import WavTarget
from tests.nodes.sound.conftest import do_without
from tests.nodes.sound.scenarios import BEEPS, MOMENTS_MS
from tests.sound_card import NoSoundCard, SoundCard, sound_card

pytestmark = pytest.mark.sound

MS = 1_000_000
SCENARIOS = Path(__file__).with_name("scenarios.py")
ROOT = Path(__file__).parents[3]
LOUD = 10 ** (AUDIBLE_DBFS / 20)
QUANTUM_MS = 512 / 48
"""PipeWire's block, for streams that ask for 10 ms."""
FADE_MS = 5
SAMPLE_NS = 62_500
"""At 16 kHz."""
MOST_SLIPPED_MS = 2
ATTEMPTS = 5
TOLERANCE_MS = 8
"""Of the times that the two directions of the card state."""


def play(card: SoundCard, scenario: str, folder: Path) -> dict[str, Any]:
    """Run a scenario; what it knows."""
    environment = {**card.environment, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(SCENARIOS), scenario, str(folder)]
    done = subprocess.run(command, env=environment, timeout=50, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    known: dict[str, Any] = json.loads(done.stdout)
    return known


def starved(known: dict[str, Any]) -> bool:
    """Did the device itself say that it ran dry, or over? Then what it played and heard says nothing about us."""
    return bool(known["underflows"] or known["overflows"] or known["lost"])


def slipped_ms(times: np.ndarray) -> float:
    """How far the device's times moved against its samples: PipeWire, when it is late, leaves out half a block without a word."""
    return float(np.ptp(times - np.arange(len(times)) * SAMPLE_NS)) / MS


def captured(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """What the microphone heard: samples at 16 kHz, and the time of each."""
    with np.load(folder / "captured.npz") as data:
        return data["samples"], data["at"]


def loud_stretches(samples: np.ndarray, times: np.ndarray) -> list[tuple[int, int]]:
    """(begin, end) of what is above −50 dBFS, in windows of 1 ms; silence of 20 ms separates."""
    windows = samples[: len(samples) // 16 * 16].reshape(-1, 16)
    loud = np.flatnonzero(np.sqrt(np.mean(windows**2, axis=1)) > LOUD)
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > 20) + 1)
    return [(int(times[group[0] * 16]), int(times[group[-1] * 16 + 15])) for group in groups if len(group)]


@contextmanager
def monitored(card: SoundCard, path: Path) -> Iterator[None]:
    """The microphone hears the speaker's monitor, and `parec` records it independently."""
    card.pactl("set-default-source", "speaker.monitor")
    command = [
        "parec",
        "--device=speaker.monitor",
        "--latency-msec=50",
        "--raw",
        "--format=float32le",
        "--rate=16000",
        "--channels=1",
    ]
    with path.open("wb") as file:
        recorder = subprocess.Popen(command, env=card.environment, stdout=file)
        try:
            yield
        finally:
            recorder.terminate()
            recorder.wait()
            card.pactl("set-default-source", "microphone")


def played(card: SoundCard, scenario: str, folders: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A scenario in which the device was never starved; after ATTEMPTS that it was in, the last."""
    for _ in range(ATTEMPTS):
        folder = folders.mktemp(scenario)
        with monitored(card, folder / "monitor.raw"):
            known = play(card, scenario, folder)
        if not starved(known):
            break
    return known, folder


@pytest.fixture(scope="module")
def answered(card: SoundCard, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    return played(card, "answers", tmp_path_factory)


@pytest.fixture(scope="module")
def interrupted(card: SoundCard, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    return played(card, "interruptions", tmp_path_factory)


def test_the_card_is_found_as_the_default_device(card: SoundCard, tmp_path: Path) -> None:
    known = play(card, "devices", tmp_path)

    assert known["default"] == ["default", "default"]
    assert known["addresses"][-1] == "null"
    assert "pipewire" in known["addresses"]


def test_what_is_said_in_the_room_reaches_the_graph(card: SoundCard, tmp_path: Path) -> None:
    """A sweep, which matches itself in one place only."""
    t = np.arange(16_000) / 16_000
    sweep = (0.5 * np.sin(2 * np.pi * (200 + 1500 * t) * t)).astype(np.float32)
    question = WavTarget(tmp_path / "question.wav", 16_000)
    question.write(
        np.zeros(8_000, np.float32)
    )  # PipeWire drops a few ms of a player's beginning, while its graph is arranged anew
    question.write(sweep)
    question.save()

    for _ in range(ATTEMPTS):
        known = play(card, "capture", tmp_path)
        samples, times = captured(tmp_path)
        if not starved(known) and slipped_ms(times) < MOST_SLIPPED_MS:
            break

    # Circular, through the spectrum: there is room to spare around the second of the sweep.
    match = np.fft.irfft(np.fft.rfft(samples) * np.conj(np.fft.rfft(sweep, len(samples))), len(samples))
    place = int(np.argmax(np.abs(match)))
    found = samples[place : place + len(sweep)]
    assert np.corrcoef(found, sweep[: len(found)])[0, 1] > 0.95  # it isn't resampled on whole samples
    assert (known["lost"], known["overflows"]) == (0, 0)
    assert known["gaps_ms"] < 8, "a time settles in the first blocks"


def test_microphone_and_speaker_behind_a_sound_server_have_a_stream_each(answered: tuple[dict[str, Any], Path]) -> None:
    known, _ = answered

    assert known["streams"] == 2
    assert all("lost sound" in said for said in known["said"]), "no stand-in was needed"
    assert known["rate_hz"] == 48_000


def test_the_answers_are_on_the_speakers_monitor(answered: tuple[dict[str, Any], Path]) -> None:
    known, folder = answered
    recorded = np.fromfile(folder / "monitor.raw", np.float32)

    beeps = loud_stretches(recorded, np.arange(len(recorded)) * SAMPLE_NS)
    lengths_ms = [(end - begin) / MS for begin, end in beeps]
    assert lengths_ms == pytest.approx([100 + FADE_MS] * BEEPS, abs=30)  # the recorder may lose a block itself
    assert [text for _, text, _, _, final, _ in known["heard"] if final] == [f"Beep {part}. " for part in range(BEEPS)]


def test_where_the_sound_server_has_long_cycles_the_buffer_grows_and_answers_are_whole(
    card: SoundCard, tmp_path: Path
) -> None:
    """As where PipeWire knows that the machine is virtual: 21 ms are more than half of the shortest buffer, and nothing comes out of it whole."""
    cycle = ["pw-metadata", "-n", "settings", "0", "clock.force-quantum"]
    card.run([*cycle, "1024"])
    try:
        with monitored(card, tmp_path / "monitor.raw"):
            known = play(card, "late_answers", tmp_path)
    finally:
        card.run([*cycle, "0"])
    recorded = np.fromfile(tmp_path / "monitor.raw", np.float32)

    beeps = loud_stretches(recorded, np.arange(len(recorded)) * SAMPLE_NS)
    assert [(end - begin) / MS for begin, end in beeps] == pytest.approx([100 + FADE_MS] * BEEPS, abs=30)
    assert known["output_latency_ms"] > 30
    assert any("lost sound with a buffer of 20 ms" in said for said in known["said"])


def test_the_first_audible_sample_is_told_within_30_ms_of_when_it_sounds(answered: tuple[dict[str, Any], Path]) -> None:
    known, folder = answered
    sounded = [begin for begin, _ in loud_stretches(*captured(folder))]
    told = [audible_at for _, _, audible_at, _, final, _ in known["heard"] if final]

    assert len(sounded) == len(told) == BEEPS
    differences_ms = [(a - b) / MS for a, b in zip(sounded, told, strict=True)]
    assert all(abs(difference) < 30 for difference in differences_ms), differences_ms
    assert max(differences_ms) - min(differences_ms) < 10, f"it doesn't jitter: {differences_ms}"


def test_after_an_interruption_nothing_is_heard_but_what_the_device_already_has(
    interrupted: tuple[dict[str, Any], Path],
) -> None:
    known, folder = interrupted
    sounded = loud_stretches(*captured(folder))
    allowed_ms = QUANTUM_MS + known["output_latency_ms"] + FADE_MS + TOLERANCE_MS

    assert len(sounded) == len(known["moments"]) == len(MOMENTS_MS)
    for moment, (begin, end) in zip(known["moments"], sounded, strict=True):
        assert begin < moment
        assert (end - moment) / MS < allowed_ms


def test_what_was_heard_of_an_interrupted_answer_is_what_sounded(interrupted: tuple[dict[str, Any], Path]) -> None:
    known, folder = interrupted
    sounded = loud_stretches(*captured(folder))
    cuts = [(audible_at, until) for _, _, audible_at, until, _, cut in known["heard"] if cut]

    assert len(cuts) == len(MOMENTS_MS)
    for (audible_at, until), (begin, end) in zip(cuts, sounded, strict=True):
        assert (until - audible_at) / MS == pytest.approx((end - begin) / MS, abs=FADE_MS + 5)


def test_nothing_of_an_interrupted_answer_comes_later(interrupted: tuple[dict[str, Any], Path]) -> None:
    _, folder = interrupted
    recorded = np.fromfile(folder / "monitor.raw", np.float32)

    stretches = loud_stretches(recorded, np.arange(len(recorded)) * SAMPLE_NS)
    assert len(stretches) == len(MOMENTS_MS), "the monitor, recorded by another program, holds no answer twice"
    pauses_ms = [(b[0] - a[1]) / MS for a, b in itertools.pairwise(stretches)]
    assert min(pauses_ms) > 150


@pytest.mark.usefixtures("card")  # it decides whether there can be one
def test_a_card_that_vanishes_ends_the_session_with_a_reason(tmp_path: Path) -> None:
    with sound_card() as card:
        environment = {**card.environment, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(SCENARIOS), "vanish", str(tmp_path)]
        quiet = subprocess.DEVNULL  # PortAudio has much to say about it
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=quiet, text=True) as listening:
            try:
                assert listening.stdout is not None
                assert listening.stdout.readline() == "ready\n"
                card.programs["pipewire"].kill()
                answer, _ = listening.communicate(timeout=20)
            finally:
                listening.kill()

    assert "the sound device has stopped" in json.loads(answer)["failed"]


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_in_continuous_integration_a_missing_card_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", ci)
    with pytest.raises(NoSoundCard, match="apt-get install pipewire") as lacking, sound_card():
        pass
    with pytest.raises(outcome, match="missing: dbus-daemon, pipewire"):
        do_without(lacking.value)
