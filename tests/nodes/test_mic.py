"""The microphone on virtual time: files, recorded users, silence, and what a device's thread does to it."""

from __future__ import annotations

import asyncio
import itertools
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from flowgraph.errors import DeviceError, GraphError, NodeFailed
from flowgraph.frame import Frame
from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import graph_of, run_graph, run_node, run_virtual
from flowgraph.units import MS, SECOND
from nodes.echo import Echo
from nodes.mic import Mic
from nodes.sound.conversation import load_conversation
from nodes.sound.levels import first_audible
from nodes.speaker import Speaker
from nodes.vocabulary import Audio, Heard, Speech, Utterance

DEMO = Path("graphs/conversations/demo.yaml")


def click_file(path: Path, rate_hz: int = 16_000, at_ms: int = 500, ms: int = 1000) -> Path:
    samples = np.zeros(rate_hz * ms // 1000)
    samples[rate_hz * at_ms // 1000] = 30_000
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def listen(mic: Mic, seconds: float = 1e9, said: list[str] | None = None) -> list[Frame]:
    """What a microphone yields within so many seconds."""
    frames: list[Frame] = []

    async def main() -> None:
        nodes: dict[str, Node] = {"mic": mic}
        session = Session(graph_of(nodes), nodes=nodes, say=None if said is None else said.append)
        session.watch(Frame, frames.append)
        async with session:
            await asyncio.wait([asyncio.ensure_future(session.finished())], timeout=seconds)

    run_virtual(main())
    return frames


def audio_of(frames: list[Frame]) -> list[Audio]:
    return [frame for frame in frames if isinstance(frame, Audio)]


def joined(frames: list[Audio]) -> np.ndarray:
    return np.concatenate([frame.samples for frame in frames])


def time_of(frames: list[Audio], sample: int) -> int:
    """When a sample of the joined sound was captured."""
    for frame in frames:
        if sample < len(frame.samples):
            return frame.at + sample * SECOND // frame.rate_hz
        sample -= len(frame.samples)
    raise IndexError(sample)


def test_silence_comes_in_frames_of_20_ms_one_after_the_other() -> None:
    frames = audio_of(listen(Mic(device="null"), 1.005))

    assert [len(frame.samples) for frame in frames] == [320] * 50
    assert np.diff([frame.at for frame in frames]) == pytest.approx(20 * MS)
    assert not joined(frames).any()


@pytest.mark.parametrize(("block_ms", "samples"), [(10, 160), (50, 800), (100, 1600)])
def test_frames_are_as_long_as_asked_for(block_ms: int, samples: int) -> None:
    assert {len(frame.samples) for frame in audio_of(listen(Mic(device="null", block_ms=block_ms), 1))} == {samples}


@pytest.mark.parametrize("rate_hz", [16_000, 48_000, 44_100, 22_050, 8_000])
def test_the_time_of_a_frame_is_when_its_first_sample_was_captured(tmp_path: Path, rate_hz: int) -> None:
    frames = audio_of(listen(Mic(device=f"file:{click_file(tmp_path / 'a.wav', rate_hz)}"), 1.5))
    begin = 1000 * SECOND

    click = int(np.argmax(np.abs(joined(frames))))
    assert time_of(frames, click) == pytest.approx(begin + 500 * MS, abs=0.1 * MS)
    assert all(b.at == pytest.approx(a.end_at, abs=0.15 * MS) for a, b in itertools.pairwise(frames))
    assert {frame.rate_hz for frame in frames} == {16_000}


def test_a_frame_leaves_with_the_device_block_that_completes_it(tmp_path: Path) -> None:
    """Converting takes 2 ms of waiting: the frames are cut so that it isn't rounded up to a block."""
    delays: list[int] = []
    mic = Mic(device=f"file:{click_file(tmp_path / 'a.wav', 48_000)}")

    async def main() -> None:
        nodes: dict[str, Node] = {"mic": mic}
        session = Session(graph_of(nodes), nodes=nodes)
        session.watch(Audio, lambda audio: delays.append(session.clock.now() - audio.end_at))
        async with session:
            await asyncio.sleep(0.5)

    run_virtual(main())
    assert max(delays) <= 2.1 * MS


def test_a_file_is_played_then_silent_then_over(tmp_path: Path) -> None:
    frames = audio_of(listen(Mic(device=f"file:{click_file(tmp_path / 'a.wav')}")))

    assert np.abs(joined(frames)).max() > 0.9
    assert len(joined(frames)) / 16_000 == pytest.approx(1 + 10, abs=0.05)


def test_a_recorded_user_tells_what_was_really_said_behind_the_sound_of_it() -> None:
    mic = Mic(device="caller:demo")
    frames = listen(mic, 4)
    [spoken] = [frame for frame in frames if isinstance(frame, Utterance)]
    audio = audio_of(frames)
    recorded = load_conversation(DEMO).utterances[0]

    before = audio_of(frames[: frames.index(spoken)])
    assert before[-1].end_at - 20 * MS <= spoken.end_at <= before[-1].end_at
    assert spoken.at == spoken.end_at
    assert spoken.start_at == 1000 * SECOND + recorded.pause + recorded.speech_start * SECOND // 16_000
    begin = first_audible(joined(audio), 16_000)
    assert begin is not None
    assert time_of(audio, begin) == pytest.approx(spoken.start_at, abs=15 * MS)


def test_the_noise_goes_on_while_the_user_listens() -> None:
    sound = joined(audio_of(listen(Mic(device="caller:demo"), 10.001)))

    assert np.sqrt(np.mean(sound.reshape(-1, 1600) ** 2, axis=1)).min() > 10 ** (-62 / 20)


def test_an_echo_holds_the_whole_conversation() -> None:
    nodes: dict[str, Node] = {"mic": Mic(device="caller:demo"), "echo": Echo(), "speaker": Speaker(device="null")}
    frames = run_graph(graph_of(nodes, ("mic", "echo"), ("echo", "speaker")), nodes=nodes)

    assert len([frame for frame in frames if isinstance(frame, Utterance)]) == len(load_conversation(DEMO).utterances)
    [final] = [frame for frame in frames if isinstance(frame, Heard) and frame.final]
    echoed = sum(len(frame.samples) for frame in frames if isinstance(frame, Speech))
    assert final.samples == echoed, "everything that was said was played"


def test_without_sound_hardware_the_default_is_the_bundled_user_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.sound.room.no_hardware", lambda _: "no microphone (PortAudio isn't installed)")
    said: list[str] = []
    frames = listen(Mic(), 4, said)

    assert said == ["no microphone (PortAudio isn't installed): the bundled caller 'demo' speaks instead"]
    assert [frame.text for frame in frames if isinstance(frame, Utterance)] == ["Good morning. My name is David."]


def test_a_full_ring_loses_sound_and_says_how_much() -> None:
    """The loop is held up for 3 s while a device's thread goes on."""
    mic = Mic(device="null", block_ms=20)
    frames: list[Audio] = []

    async def main() -> None:
        nodes: dict[str, Node] = {"mic": mic}
        session = Session(graph_of(nodes), nodes=nodes)
        session.watch(Audio, frames.append)
        async with session:
            assert mic._line is not None
            mic._line.heard = None  # its own silence is not wanted here
            begin = session.clock.now()
            for n in range(300):
                mic._heard(np.full(160, 0.1, np.float32), begin + n * 10 * MS)
            await asyncio.sleep(0.001)
            for n in range(300, 310):
                mic._heard(np.full(160, 0.2, np.float32), begin + n * 10 * MS)
            await asyncio.sleep(0.001)

    run_virtual(main())
    lost = [frame for frame in frames if frame.lost]
    assert [frame.lost for frame in lost] == [50], "100 blocks of 10 ms"
    assert lost[0].samples[0] == np.float32(0.2)
    before = frames[frames.index(lost[0]) - 1]
    assert lost[0].at - before.end_at == pytest.approx(1 * SECOND, abs=1)


def test_the_frame_behind_a_gap_of_the_device_says_what_was_lost() -> None:
    mic = Mic(device="null")
    frames: list[Audio] = []

    async def main() -> None:
        nodes: dict[str, Node] = {"mic": mic}
        session = Session(graph_of(nodes), nodes=nodes)
        session.watch(Audio, frames.append)
        async with session:
            assert mic._line is not None
            mic._line.heard = None  # its own silence is not wanted here
            for at_ms in (0, 10, 20, 220, 230, 240):
                mic._heard(np.zeros(160, np.float32), SECOND + at_ms * MS)
            await asyncio.sleep(0.001)

    run_virtual(main())
    assert [((frame.at - SECOND) // MS, len(frame.samples) // 16, frame.lost) for frame in frames] == [
        (0, 20, 0), (20, 10, 0), (220, 20, 10),
    ]  # fmt: skip


def test_a_device_that_is_gone_ends_the_session_with_a_reason() -> None:
    class Unplug(Node):
        async def run(self) -> AsyncIterator[Speech]:
            await asyncio.sleep(0.1)
            [line] = self.ctx.shared("room", dict)._lines  # type: ignore[attr-defined]
            line.failed(DeviceError("the sound device has stopped: was it unplugged?"))
            return
            yield

    nodes: dict[str, Node] = {"mic": Mic(device="null"), "unplug": Unplug()}
    with pytest.raises(NodeFailed, match=r"'mic' failed.*unplugged"):
        run_graph(graph_of(nodes), nodes=nodes)


@pytest.mark.parametrize("device", ["file:", "caller:", ""])
def test_an_address_that_names_nothing_is_a_problem_of_the_file(device: str) -> None:
    assert len(list(Mic(device=device).problems())) == 1


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("file:gone.wav", r"can't read gone\.wav"),
        ("caller:nobody", "no conversation nobody"),
        ("No Such Device", "'No Such Device'|PortAudio isn't installed"),
    ],
)
def test_what_is_not_there_fails_before_anything_starts(device: str, message: str) -> None:
    with pytest.raises(NodeFailed, match=message):
        run_node(Mic(device=device), [])


def test_a_broken_conversation_is_told_with_its_places(tmp_path: Path) -> None:
    (tmp_path / "talk.yaml").write_text("utterances: [{audio: a.wav, txt: hello}]")
    with pytest.raises((NodeFailed, GraphError), match="unknown key 'txt'"):
        run_node(Mic(device=f"caller:{tmp_path / 'talk.yaml'}"), [])
