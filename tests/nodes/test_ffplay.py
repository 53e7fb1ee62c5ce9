"""With the real program, which plays into nothing (SDL's dummy driver) at the pace of a device; so in real time, and short."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import wave
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowgraph.errors import FlowError, NodeFailed
from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import graph_of
from flowgraph.units import MS
from nodes.ffplay import Ffplay
from nodes.sound.player import decode
from nodes.sound.room import Room
from nodes.vocabulary import End, Heard, Played, SpeechFile
from tests.sound_card import NoSoundCard, sound_card

RATE_HZ = 24_000
TEXT = "One two three four five six seven"

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.skipif(
        shutil.which("ffplay") is None and os.environ.get("CI") != "true",
        reason="ffplay is not installed (Debian: ffmpeg)",
    ),
]


@pytest.fixture(autouse=True)
def _nothing_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")


def wav(silent_ms: int, sounding_ms: int) -> bytes:
    """Silence, then a tone."""
    sound = np.zeros(RATE_HZ * (silent_ms + sounding_ms) // 1000)
    begin = RATE_HZ * silent_ms // 1000
    sound[begin:] = 0.3 * np.sin(2 * np.pi * 440 * np.arange(len(sound) - begin) / RATE_HZ)
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        writer.writeframes((sound * 32767).astype("<i2").tobytes())
    return file.getvalue()


def mp3(sound: bytes) -> bytes:
    with tempfile.NamedTemporaryFile(
        suffix=".mp3"
    ) as file:  # a pipe would get no header that tells of the encoder's delay
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", "pipe:0", file.name], input=sound, check=True)
        return file.read()


class Feed(Node):
    """Yields what it was given. A number is a pause in seconds, a function is called."""

    async def run(self) -> AsyncIterator[SpeechFile | End]:
        for item in self.__dict__["items"]:
            if isinstance(item, SpeechFile | End):
                yield item
            elif callable(item):
                item(self)
            else:
                await asyncio.sleep(item)


class Boss(Feed):
    owns_turn = True


class Run:
    """What the node told, and what the room was told."""

    def __init__(self, *items: Any, feed: type[Feed] = Feed) -> None:
        self.heard: list[Heard] = []
        self.played: list[Played] = []
        self.said: list[str] = []
        self.began_at = 0
        self.over_at = 0
        self.left: list[int] = []
        """Programs that were left running."""
        asyncio.run(self._run(items, feed()))

    async def _run(self, items: tuple[Any, ...], feed: Feed) -> None:
        feed.__dict__["items"] = items
        nodes: dict[str, Node] = {"feed": feed, "speaker": Ffplay()}
        session = Session(graph_of(nodes, ("feed", "speaker")), nodes=dict(nodes), say=self.said.append)
        session.watch(Heard, self.heard.append)
        session.watch(Played, self.played.append)
        session.watch(SpeechFile, lambda _: setattr(self, "began_at", session.clock.now()))
        try:
            async with session, asyncio.timeout(20):
                await session.finished()
                self.over_at = session.clock.now()
                self.room: Room = nodes["speaker"].ctx.shared("room", lambda: Room(session.clock))
        finally:
            self.left = children("ffplay")

    @property
    def last(self) -> Heard:
        return self.heard[-1]


def children(program: str) -> list[int]:
    """Process ids of our children that run a program, zombies too."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = status.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if name == program and rest.split()[1] == str(Path("/proc/self").resolve().name):
            found.append(int(status.parent.name))
    return found


def speech(sound: bytes) -> SpeechFile:
    return SpeechFile(sound, TEXT)


def test_a_file_is_played_to_its_end_and_all_of_it_was_heard(tmp_path: Path) -> None:
    path = tmp_path / "an answer: with, odd signs.wav"
    path.write_bytes(wav(200, 400))

    run = Run(SpeechFile(path, TEXT), End("length"))

    assert (run.last.text, run.last.samples) == (TEXT, RATE_HZ * 600 // 1000)
    assert (run.last.final, run.last.cut, run.last.reason) == (True, False, "length")
    assert [heard.final for heard in run.heard[:-1]] == [False] * (len(run.heard) - 1)
    assert run.heard[0].first_audible_at == run.last.first_audible_at


@pytest.mark.parametrize("encoded", [lambda sound: sound, mp3], ids=["wav", "mp3"])
def test_the_first_audible_sample_lies_as_far_before_the_end_as_the_sound_is_long(
    encoded: Callable[[bytes], bytes],
) -> None:
    run = Run(speech(encoded(wav(600, 400))), End())

    lasted_ms = (run.last.at - run.last.first_audible_at) / MS
    assert lasted_ms == pytest.approx(400, abs=250)  # a busy machine ends a program late
    assert run.last.first_audible_at - run.began_at >= 600 * MS
    assert run.last.played_until <= run.over_at


def test_what_is_heard_is_told_while_it_plays() -> None:
    run = Run(speech(wav(0, 1200)), End())

    texts = [heard.text for heard in run.heard]
    assert len(set(texts)) >= 3
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    assert all(heard.played_until <= heard.at for heard in run.heard)


def test_what_was_played_is_told_without_a_gap_and_at_the_time_at_which_it_was_heard() -> None:
    run = Run(speech(wav(200, 700)), End())

    sound = np.concatenate([played.samples for played in run.played])
    assert len(run.played) > 1
    assert len(sound) == run.last.samples
    assert all(abs(one.end_at - other.at) < MS for one, other in itertools.pairwise(run.played))
    audible = int(np.flatnonzero(np.abs(sound) > 0.1)[0])
    assert run.played[0].at + audible * 1_000_000_000 // RATE_HZ == pytest.approx(
        run.last.first_audible_at, abs=10 * MS
    )


def test_a_silent_file_is_never_audible() -> None:
    run = Run(speech(wav(300, 0)), End())

    assert run.last.final
    assert run.last.first_audible_at == 0
    assert run.room.answer is None


def test_an_end_without_a_file_is_told_as_it_is() -> None:
    run = Run(End("error", "the model is gone"))

    [heard] = run.heard
    assert (heard.final, heard.text, heard.reason, heard.detail) == (True, "", "error", "the model is gone")


def test_files_of_one_answer_are_played_one_after_the_other_and_told_together() -> None:
    run = Run(SpeechFile(wav(0, 300), "One two. "), SpeechFile(wav(0, 300), "Three four."), End())

    assert (run.last.text, run.last.samples) == ("One two. Three four.", RATE_HZ * 600 // 1000)
    assert len({heard.first_audible_at for heard in run.heard}) == 1


def test_the_room_knows_from_when_until_when_the_answer_sounds() -> None:
    run = Run(speech(wav(200, 400)), End())

    answer = run.room.answer
    assert answer is not None
    assert answer.audible_at == run.last.first_audible_at
    assert answer.sounding_until - answer.audible_at == pytest.approx(400 * MS, abs=10 * MS)
    assert answer.over_at == run.last.played_until
    assert not answer.cut


def test_an_interruption_silences_it_at_once_and_tells_what_was_heard() -> None:
    interrupted: list[int] = []

    def advance(feed: Node) -> None:
        feed.ctx.turn.commit(feed.ctx.turn.advance())
        interrupted.append(feed.ctx.clock.now())

    run = Run(advance, speech(wav(0, 2000)), 1.4, advance, End(), feed=Boss)

    cut = next(heard for heard in run.heard if heard.cut)
    assert cut.final
    assert cut.turn == 1
    assert TEXT.startswith(cut.text)
    assert 0 < len(cut.text) < len(TEXT)
    assert 0 < cut.samples < 2 * RATE_HZ
    assert sum(len(played.samples) for played in run.played) == pytest.approx(cut.samples, abs=RATE_HZ // 20)
    assert interrupted[-1] - 50 * MS < cut.played_until < interrupted[-1] + 200 * MS
    assert run.room.answer is not None
    assert run.room.answer.cut
    assert run.left == []


def test_an_interruption_before_anything_was_audible_is_told_too() -> None:
    def advance(feed: Node) -> None:
        feed.ctx.turn.commit(feed.ctx.turn.advance())

    run = Run(advance, speech(wav(0, 2000)), 0.02, advance, End(), feed=Boss)

    cut = next(heard for heard in run.heard if heard.cut)
    assert (cut.text, cut.samples, cut.first_audible_at, cut.final) == ("", 0, 0, True)
    assert run.left == []


def test_a_session_that_ends_leaves_no_program_behind() -> None:
    def fail(_: Node) -> None:
        raise FlowError("enough")

    with pytest.raises(NodeFailed, match="enough"):
        Run(speech(wav(0, 5000)), 0.4, fail)

    assert children("ffplay") == []


def test_what_is_no_sound_is_an_error_with_the_programs_own_words() -> None:
    with pytest.raises(NodeFailed, match=r"ffplay can't play the answer: .*Invalid data found"):
        Run(speech(b"no sound at all"), End())


def test_a_missing_program_is_one_clear_error_with_the_install_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NodeFailed, match=r"the program ffplay isn't installed\n  = install FFmpeg: apt install ffmpeg"):
        Run(End())


def test_without_a_sound_device_it_says_so_and_plays_into_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_AUDIODRIVER", "alsa")
    monkeypatch.setenv("ALSA_CONFIG_PATH", "/dev/null")

    run = Run(speech(wav(0, 300)), End())

    assert run.said == ["no sound device: ffplay plays into nothing, at the pace of a real one"]
    assert run.last.text == TEXT
    assert run.last.first_audible_at


def test_with_one_it_says_nothing() -> None:
    assert Run(End()).said == []


def test_the_encoders_delay_is_counted_where_a_file_begins_with_one() -> None:
    sound = wav(200, 400)

    plain, compressed = (asyncio.run(decode(content)) for content in (sound, mp3(sound)))

    assert plain.audible_ns == 200 * MS
    assert compressed.start_ns > 0
    assert compressed.audible_ns == pytest.approx(200 * MS + compressed.start_ns, abs=20 * MS)
    assert compressed.end_ns - compressed.start_ns == pytest.approx(600 * MS, abs=50 * MS)


@pytest.mark.sound
def test_it_tells_of_the_first_audible_sample_within_30_ms_of_what_the_card_plays(tmp_path: Path) -> None:
    path = tmp_path / "answer.wav"
    path.write_bytes(wav(100, 500))
    try:
        with sound_card() as card:
            card.environment.pop("SDL_AUDIODRIVER", None)
            card.pactl("set-default-source", "speaker.monitor")
            done = card.run([sys.executable, "-m", "tests.nodes.ffplay_ear", str(path), "3"], timeout_s=40)
    except NoSoundCard as reason:
        pytest.skip(f"no sound card: {reason}")

    assert done.returncode == 0, done.stderr
    off_ms = json.loads(done.stdout)
    assert len(off_ms) == 3
    assert abs(statistics.median(off_ms)) < 30, off_ms
