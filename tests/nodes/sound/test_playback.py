"""The callback's side, block by block, without a device: attempts are told apart by their level."""

from __future__ import annotations

import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from flowgraph.turn import Turn
from nodes.sound.playback import SEGMENTS, News, Playback

RATE = 24_000
BLOCK = 240
BLOCK_NS = 10_000_000
FIRST, SECOND_LEVEL = 0.5, 0.25


class Desk:
    """A playback with its turn, its news, and what it played so far."""

    def __init__(self, *, capacity_ms: int = 400, room: bool = True, monitor: Any = None) -> None:
        self.turn = Turn(owned=True, now=lambda: 0, tap=lambda _: None)
        self.turn.advance()
        self.news: list[News] = []
        self.room = room
        self.now = 1_000_000_000
        self.heard: list[np.ndarray] = []
        self.playback = Playback(
            self.turn, rate_hz=RATE, capacity_ns=capacity_ms * 1_000_000, tell=self._tell, monitor=monitor
        )

    def _tell(self, news: News) -> bool:
        if self.room:
            self.news.append(news)
        return self.room

    def write(self, samples: np.ndarray | float, count: int = 0, *, turn: int = 1, answer: int = 1) -> int:
        if not isinstance(samples, np.ndarray):
            samples = np.full(count, samples, np.float32)
        return self.playback.write(samples, turn=turn, answer=answer, now=self.now)

    def play(self, blocks: int = 1, size: int = BLOCK, due: int = 0) -> np.ndarray:
        played = []
        for _ in range(blocks):
            out = np.full(size, 9.0, np.float32)  # a device's buffer holds anything
            self.playback.fill(out, self.now, due)
            played.append(out)
            self.now += size * 1_000_000_000 // RATE
        self.heard += played
        return np.concatenate(played)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, count).astype(np.float32)


def test_what_is_written_is_played_exactly_whatever_the_sizes(desk: Desk) -> None:
    sound, rng = noise(30_000), np.random.default_rng(1)
    written, played = 0, []
    while written < len(sound):
        written += desk.write(sound[written : written + int(rng.integers(500, 3000))])
        while desk.playback.written - sum(map(len, played)) > 400:
            played.append(desk.play(size=int(rng.integers(1, 400))))
    played.append(desk.play(3, size=400))

    assert np.array_equal(np.concatenate(played)[: len(sound)], sound)
    assert desk.playback.underruns == 0


def test_no_sound_is_allocated_while_it_plays() -> None:
    desk = Desk(room=False)  # news would be kept here
    size = RATE // 10
    sound, out = noise(size), np.empty(size, np.float32)

    def play(blocks: int) -> None:
        for _ in range(blocks):
            desk.write(sound)
            desk.playback.fill(out, desk.now)
            desk.now += size * 1_000_000_000 // RATE

    play(SEGMENTS + 1)  # numbers that are kept for each segment are there
    tracemalloc.start()
    try:
        play(SEGMENTS + 1)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        play(50)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most - before < out.nbytes / 2


def test_nothing_written_is_silence(desk: Desk) -> None:
    assert not desk.play(3).any()
    assert not desk.news


@pytest.mark.parametrize("seed", range(20))
def test_nothing_of_an_attempt_is_played_once_it_is_over(seed: int) -> None:
    desk, rng = Desk(), np.random.default_rng(seed)
    for attempt in range(1, 11):
        desk.write(FIRST, int(rng.integers(1, 5000)), turn=attempt, answer=attempt)
        last = desk.play(int(rng.integers(1, 12)))[-1]
        desk.turn.advance()
        after = desk.play()

        fading = last * np.exp(-np.arange(1, BLOCK + 1) / (0.0008 * RATE))
        assert after == pytest.approx(fading, abs=1e-5), "only the last value fades"
        assert not desk.play(2)[BLOCK:].any()


def test_the_new_attempt_begins_in_the_block_that_drops_the_old_one(desk: Desk) -> None:
    desk.write(FIRST, 3000)
    desk.play(2)
    desk.turn.advance()
    desk.write(SECOND_LEVEL, 3000, turn=2, answer=2)

    assert (desk.play() == np.float32(SECOND_LEVEL)).all()
    [cut] = [news for news in desk.news if news.stopped >= 0]
    assert (cut.number, cut.stopped, cut.position) == (2, 2 * BLOCK, 3000)
    assert cut.stopped_at == desk.now - BLOCK_NS


def test_an_interruption_is_told_even_where_nothing_was_left_to_drop(desk: Desk) -> None:
    desk.write(FIRST, BLOCK)
    desk.play(2)
    desk.turn.advance()
    desk.play()

    assert (desk.news[-1].number, desk.news[-1].stopped) == (2, BLOCK)


def test_paused_the_position_stands_still_and_goes_on_where_it_was(desk: Desk) -> None:
    sound = np.full(4800, 0.5, np.float32)
    desk.write(sound)
    desk.play(2)
    desk.turn.set_gain(0.0)
    falling, paused = desk.play(), desk.play(50)
    desk.turn.set_gain(1.0)
    rising, rest = desk.play(), desk.play(16)

    assert (np.diff(falling) < 0).all()
    assert falling[-1] < 0.01
    assert not paused[2 * BLOCK :].any()
    assert (np.diff(rising) > 0).all()
    assert (rest == np.float32(0.5)).all()
    assert np.abs(desk.play()).max() < 0.5, "all 20 blocks are played, none twice"


def test_ducking_is_a_ramp_of_one_block(desk: Desk) -> None:
    desk.write(0.8, 4800)
    desk.play()
    desk.turn.set_gain(0.25)
    ramp, ducked = desk.play(), desk.play()

    assert np.abs(np.diff(ramp)).max() < 0.8 / BLOCK
    assert (ducked == np.float32(0.2)).all()


def test_a_new_attempt_is_not_ducked_by_the_old_one(desk: Desk) -> None:
    desk.write(FIRST, 4800)
    desk.turn.set_gain(0.2)
    desk.play(3)
    desk.turn.advance()
    desk.write(FIRST, 4800, turn=2, answer=2)

    assert (desk.play() == np.float32(FIRST)).all()


def test_running_dry_is_counted_and_does_not_click(desk: Desk) -> None:
    desk.write(0.9, BLOCK + 50)
    dry = desk.play(3)
    desk.write(0.9, BLOCK * 2)
    again = desk.play(2)

    steps = np.abs(np.diff(np.concatenate((dry, again))))
    assert steps.max() < 0.06, "no step is more than the decay's first"
    assert desk.playback.underruns == 1
    assert (again[130:] == np.float32(0.9)).all(), "the rise takes 5 ms"


def test_the_next_answer_begins_as_it_is_and_counts_no_underrun(desk: Desk) -> None:
    desk.write(0.9, BLOCK)
    desk.play(5)
    desk.write(0.9, BLOCK, answer=2)

    assert (desk.play() == np.float32(0.9)).all()
    assert desk.playback.underruns == 0


def test_what_is_written_after_a_blocks_time_is_not_played_in_it(desk: Desk) -> None:
    late = desk.now + 30_000_000
    desk.playback.write(np.full(2400, 0.5, np.float32), turn=1, answer=1, now=late)
    blocks = [desk.play(due=late - 20_000_000 + n * BLOCK_NS) for n in range(4)]

    assert [bool(block.any()) for block in blocks] == [False, False, True, True]


def test_the_first_audible_sample_is_told_with_its_time(desk: Desk) -> None:
    desk.write(0.001, 1200)  # −60 dBFS: nobody hears that
    desk.write(0.1, 4800)
    begin = desk.now
    desk.play(8)

    first = next(news for news in desk.news if news.audible >= 0)
    assert (first.audible, first.audible_at) == (1200, begin + 50_000_000)


def test_a_ducked_answer_is_judged_as_the_device_plays_it(desk: Desk) -> None:
    desk.turn.set_gain(0.01)
    desk.play()
    desk.write(0.1, 4800)
    desk.play(10)

    assert all(news.audible < 0 for news in desk.news)


def test_the_position_is_told_every_quarter_of_a_second(desk: Desk) -> None:
    for _ in range(40):
        desk.write(0.1, 4800)
        desk.play(5)

    assert np.diff([news.at for news in desk.news[1:]]) == pytest.approx(250_000_000)


def test_what_finds_no_room_is_told_later() -> None:
    desk = Desk(room=False)
    desk.write(0.1, BLOCK)
    desk.play(3)
    desk.room = True
    desk.play()

    assert [news.position for news in desk.news] == [BLOCK]


def test_a_writer_that_waits_is_told_when_half_the_ring_is_free(desk: Desk) -> None:
    assert desk.write(0.1, 20_000) == 9600
    desk.playback.wanted = True
    desk.play(19)
    told = len([news for news in desk.news if news.position > BLOCK])
    desk.play()

    assert told == 0
    assert desk.news[-1].position == 4800
    assert desk.playback.room == 4800


def test_the_monitor_sees_what_the_device_plays() -> None:
    seen: list[tuple[int, np.ndarray]] = []
    desk = Desk(monitor=lambda at, samples: seen.append((at, samples)))
    desk.write(noise(1000))
    desk.turn.set_gain(0.5)
    desk.play(6)

    assert np.array_equal(np.concatenate([samples for _, samples in seen]), np.concatenate(desk.heard))
    assert [at for at, _ in seen] == [1_000_000_000 + n * BLOCK_NS for n in range(6)]


def test_a_device_thread_and_the_loop_never_disturb_each_other() -> None:
    desk, sound = Desk(capacity_ms=40), noise(50_000, seed=3)
    played: list[np.ndarray] = []
    stop = threading.Event()

    def device() -> None:
        while not stop.is_set():
            before = desk.playback._position
            out = np.zeros(BLOCK, np.float32)
            desk.playback.fill(out, 0)
            played.append(out[: desk.playback._position - before])

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # as many switches, at as many places, as can be had
    try:
        thread = threading.Thread(target=device)
        thread.start()
        written = 0
        while written < len(sound):
            written += desk.write(sound[written : written + 700])
        while desk.playback._position < written:
            pass
        stop.set()
        thread.join()
    finally:
        sys.setswitchinterval(interval_s)

    heard = np.concatenate(played)
    assert len(heard) == len(sound)
    differs = np.flatnonzero(heard != sound)
    assert len(differs) <= desk.playback.underruns * 120, "only the 5 ms behind a gap are softened"


@pytest.mark.alone
def test_filling_a_block_takes_a_hundredth_of_its_time(desk: Desk) -> None:
    def rounds() -> Iterator[float]:
        for _ in range(200):
            desk.write(0.1, BLOCK)
            begin = time.perf_counter()
            desk.play()
            yield time.perf_counter() - begin

    assert np.median(list(rounds())) < 0.0002
