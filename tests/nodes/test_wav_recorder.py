from __future__ import annotations

import io
import wave
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowgraph.errors import NodeFailed
from flowgraph.frame import Frame
from flowgraph.node import Node
from flowgraph.testing import graph_of, run_graph, run_node
from flowgraph.units import MS, SECOND
from nodes.vocabulary import Audio, Heard, Recording, SpeechStarted, Transcript, Voice
from nodes.wav_recorder import WavRecorder

RATE_HZ = 16_000
WINDOW = 512
WINDOW_MS = 32


class User:
    """What a microphone and a VAD say of somebody who speaks and is silent, window by window. Speech is 0.5, silence 0.0."""

    def __init__(self) -> None:
        self.at = SECOND
        self._silence_ms = 10_000

    def silent(self, ms: int) -> Iterator[Frame]:
        for _ in range(ms // WINDOW_MS):
            self._silence_ms += WINDOW_MS
            yield from self._window(0.0)

    def speaks(self, ms: int) -> Iterator[Frame]:
        """The VAD is sure of it with the third window."""
        began_at = self.at
        for index in range(ms // WINDOW_MS):
            if index == 2:
                self._silence_ms = 0
                yield from self._window(0.5, SpeechStarted(at=began_at))
            else:
                yield from self._window(0.5)

    def _window(self, level: float, *said: Frame) -> Iterator[Frame]:
        yield Audio(np.full(WINDOW, level, np.float32), RATE_HZ, at=self.at)
        self.at += WINDOW_MS * MS
        yield from said
        yield Voice(0.9 if level else 0.1, self._silence_ms, speaking=not self._silence_ms, at=self.at)


def recorded(node: WavRecorder, frames: list[Frame]) -> list[Recording]:
    return [frame for frame in run_node(node, frames) if isinstance(frame, Recording)]


def samples_of(recording: Recording) -> np.ndarray:
    content = recording.content
    with wave.open(io.BytesIO(content) if isinstance(content, bytes) else str(content), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE_HZ)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767


def in_memory(**options: Any) -> WavRecorder:
    return WavRecorder(memory=True, **options)


def test_an_utterance_is_recorded_with_a_little_silence_before_and_all_of_it_after() -> None:
    user = User()
    frames = [*user.silent(1600), *user.speaks(640), *user.silent(1600)]

    [recording] = recorded(in_memory(), frames)

    sound = samples_of(recording)
    spoken = np.flatnonzero(sound > 0.4)
    assert len(spoken) == 640 * 16
    assert spoken[0] / 16 == pytest.approx(300, abs=WINDOW_MS)
    assert (len(sound) - spoken[-1]) / 16 == pytest.approx(1000, abs=WINDOW_MS)


def test_a_recording_names_its_first_and_its_last_voiced_sample() -> None:
    user = User()
    before = [*user.silent(1600), *user.speaks(640)]
    ended_at = user.at

    [recording] = recorded(in_memory(), [*before, *user.silent(1600)])

    voiced_from = int(np.flatnonzero(samples_of(recording) > 0.4)[0])
    assert recording.end_at == ended_at
    assert recording.start_at == ended_at - 640 * MS - voiced_from * SECOND // RATE_HZ


def test_a_recording_is_caused_by_the_silence_that_ended_it() -> None:
    user = User()
    frames = [*user.speaks(640), *user.silent(1600)]

    [recording] = recorded(in_memory(), frames)

    [cause] = [frame for frame in frames if frame.id == recording.cause_id]
    assert isinstance(cause, Voice)
    assert cause.silence_ms == 1024  # the first window behind 1000 ms


def test_a_pause_shorter_than_end_silence_is_part_of_the_utterance() -> None:
    user = User()
    frames = [*user.speaks(640), *user.silent(960), *user.speaks(640), *user.silent(1600)]

    [recording] = recorded(in_memory(), frames)

    assert np.count_nonzero(samples_of(recording) > 0.4) == 2 * 640 * 16


def test_silence_alone_is_never_recorded() -> None:
    assert recorded(in_memory(), list(User().silent(8000))) == []


def test_it_is_deaf_until_the_answer_is_over() -> None:
    user = User()
    first = [*user.speaks(640), *user.silent(1600)]
    meanwhile = [*user.speaks(320), *user.silent(1600)]
    over = Heard("Yes.", 24_000, user.at - SECOND, user.at, final=True)
    afterwards = [*user.silent(320), *user.speaks(960), *user.silent(1600)]

    recordings = recorded(in_memory(), [*first, Transcript("one", final=True), *meanwhile, over, *afterwards])

    assert [np.count_nonzero(samples_of(one) > 0.4) // 16 for one in recordings] == [640, 960]


def test_an_answer_that_has_begun_makes_it_deaf_too() -> None:
    user = User()
    greeting = Heard("Hel", 2400, user.at, user.at + 100 * MS)
    frames = [greeting, *user.speaks(640), *user.silent(1600)]

    assert recorded(in_memory(), frames) == []


def test_it_listens_again_at_once_when_nothing_was_understood() -> None:
    user = User()
    first = [*user.speaks(320), *user.silent(1600)]
    second = [*user.speaks(960), *user.silent(1600)]

    recordings = recorded(in_memory(), [*first, Transcript(" ", final=True), *second])

    assert [np.count_nonzero(samples_of(one) > 0.4) // 16 for one in recordings] == [320, 960]


def test_an_answer_that_never_comes_is_not_waited_for_for_ever() -> None:
    user = User()
    first = [*user.speaks(320), *user.silent(1600)]
    meanwhile = [*user.silent(110_000), *user.speaks(320), *user.silent(1600)]
    afterwards = [*user.silent(10_000), *user.speaks(960), *user.silent(1600)]

    recordings = recorded(in_memory(), [*first, *meanwhile, *afterwards])

    assert [np.count_nonzero(samples_of(one) > 0.4) // 16 for one in recordings] == [320, 960]


def test_nothing_from_before_the_answers_end_is_recorded() -> None:
    user = User()
    first = [*user.speaks(640), *user.silent(1600)]
    cut_into = [*user.speaks(640)]
    over = Heard("Yes.", 24_000, user.at - SECOND, user.at, final=True)
    rest = [*user.speaks(960), *user.silent(1600)]

    _, second = recorded(in_memory(), [*first, *cut_into, over, *rest])

    assert second.start_at >= over.played_until
    assert np.count_nonzero(samples_of(second) > 0.4) // 16 == 960


def test_where_nobody_tells_of_answers_it_listens_on() -> None:
    user = User()
    frames = [*user.speaks(320), *user.silent(1600), *user.speaks(640), *user.silent(1600)]

    class Feed(Node):
        async def run(self) -> AsyncIterator[Audio | SpeechStarted | Voice]:
            for frame in frames:
                yield frame  # type: ignore[misc]

    nodes: dict[str, Node] = {"feed": Feed(), "recorder": in_memory()}
    made = run_graph(graph_of(nodes, ("feed", "recorder")), nodes=nodes)

    assert len([frame for frame in made if isinstance(frame, Recording)]) == 2


def test_a_file_holds_what_memory_holds(tmp_path: Path) -> None:
    user, same = User(), User()

    [file] = recorded(WavRecorder(folder=str(tmp_path / "kept")), [*user.speaks(640), *user.silent(1600)])
    [memory] = recorded(in_memory(), [*same.speaks(640), *same.silent(1600)])

    assert file.content == tmp_path / "kept" / "utterance-001.wav"
    assert isinstance(file.content, Path)
    assert file.content.read_bytes() == memory.content


def test_without_a_folder_the_file_is_gone_with_the_session() -> None:
    user = User()

    [recording] = recorded(WavRecorder(), [*user.speaks(640), *user.silent(1600)])

    assert isinstance(recording.content, Path)
    assert not recording.content.parent.exists()


def test_each_utterance_has_a_file_of_its_own(tmp_path: Path) -> None:
    user = User()
    nothing = Transcript("", final=True)
    frames = [*user.speaks(320), *user.silent(1600), nothing, *user.speaks(640), *user.silent(1600)]

    recorded(WavRecorder(folder=str(tmp_path)), frames)

    assert sorted(file.name for file in tmp_path.iterdir()) == ["utterance-001.wav", "utterance-002.wav"]


def test_a_folder_that_cant_be_made_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(
        NodeFailed, match=r"can't write sound files into .*\n  = choose another `folder`, or `memory: true`"
    ):
        run_node(WavRecorder(folder=str(tmp_path / "file" / "below")), [])


def test_a_folder_that_would_never_be_used_is_told_before_the_start() -> None:
    assert list(WavRecorder(memory=True, folder="x").problems())
    assert not list(WavRecorder(folder="x").problems())


def test_what_is_too_loud_is_clipped_and_not_wrapped_round() -> None:
    user = User()
    frames = [*user.speaks(640), *user.silent(1600)]
    frames = [frame.with_samples(frame.samples * 4) if isinstance(frame, Audio) else frame for frame in frames]

    [recording] = recorded(in_memory(), frames)

    assert samples_of(recording).max() == 1.0
    assert samples_of(recording).min() >= 0.0
