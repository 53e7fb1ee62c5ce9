from __future__ import annotations

import numpy as np
import pytest

from nodes.sound.reference import MOST_NS, Reference

MS, SECOND = 1_000_000, 1_000_000_000
RATE_HZ = 16_000
BLOCK = 160


def ramp(first: int, count: int = BLOCK) -> np.ndarray:
    """Sound in which each sample says its place."""
    return np.arange(first, first + count, dtype=np.float32)


def filled(blocks: int, begin_at: int = SECOND) -> Reference:
    reference = Reference(RATE_HZ)
    for block in range(blocks):
        reference.add(ramp(block * BLOCK + 1), RATE_HZ, begin_at + block * 10 * MS)
    return reference


def test_what_is_heard_at_a_moment_is_found_by_its_time() -> None:
    reference = filled(10)

    assert reference.known_until == SECOND + 100 * MS
    assert list(reference.take(SECOND + 20 * MS, 3)) == [321, 322, 323]
    assert list(reference.take(SECOND + 20 * MS + 3 * 62_500, 3)) == [324, 325, 326]


def test_before_and_behind_what_is_known_there_is_silence() -> None:
    assert list(filled(1).take(SECOND - 2 * 62_500, 4)) == [0, 0, 1, 2]
    assert list(filled(1).take(SECOND + 158 * 62_500, 4)) == [159, 160, 0, 0]
    assert list(Reference(RATE_HZ).take(SECOND, 2)) == [0, 0]
    assert Reference(RATE_HZ).known_until == 0


def test_a_gap_is_silent_and_as_long_as_it_was() -> None:
    reference = filled(1)
    reference.add(ramp(1000), RATE_HZ, SECOND + 110 * MS)

    found = reference.take(SECOND, 12 * BLOCK)

    assert list(found[:BLOCK]) == list(ramp(1))
    assert not found[BLOCK : 11 * BLOCK].any()
    assert list(found[11 * BLOCK :]) == list(ramp(1000))


@pytest.mark.parametrize("at", [SECOND - 50 * MS, SECOND + 10 * MS + MOST_NS])
def test_another_time_is_another_beginning(at: int) -> None:
    reference = filled(1)
    reference.add(ramp(1000), RATE_HZ, at)

    assert reference.known_until == at + 10 * MS
    assert list(reference.take(at, 2)) == [1000, 1001]
    assert not reference.take(SECOND, 2).any()


def test_another_rate_is_converted_without_a_shift() -> None:
    reference = Reference(RATE_HZ)
    times = np.arange(4800) / 48_000
    sound = np.sin(2 * np.pi * 440 * times).astype(np.float32)
    for block in range(10):
        reference.add(sound[block * 480 : block * 480 + 480], 48_000, SECOND + block * 10 * MS)

    found = reference.take(SECOND + 50 * MS, 640)

    assert found == pytest.approx(np.sin(2 * np.pi * 440 * (0.05 + np.arange(640) / RATE_HZ)), abs=1e-3)
    assert reference.known_until == pytest.approx(SECOND + 98 * MS, abs=0.1 * MS), "the rest is in the converter"


def test_times_that_jitter_leave_no_seam() -> None:
    """A canceller has learnt a distance of so many samples."""
    reference = Reference(RATE_HZ)
    rng = np.random.default_rng(3)
    found = []
    for block in range(200):
        reference.add(ramp(block * BLOCK + 1), RATE_HZ, SECOND + block * 10 * MS + int(rng.uniform(-0.4, 0.4) * MS))
        if block >= 3:
            found.append(reference.take(SECOND + (block - 2) * 10 * MS + int(rng.uniform(-0.4, 0.4) * MS), BLOCK))

    assert set(np.diff(np.concatenate(found))) == {1.0}


@pytest.mark.parametrize(("sounding", "corrected"), [(True, 0), (False, 1)])
def test_clocks_that_drift_apart_are_followed_in_a_silence(sounding: bool, corrected: int) -> None:
    reference = Reference(RATE_HZ)
    block = np.full(BLOCK, float(sounding), np.float32)
    for n in range(20):
        reference.add(block, RATE_HZ, SECOND + n * 10 * MS)
    reference.take(SECOND, BLOCK)
    drifted = SECOND + 12 * MS

    found = [reference.take(drifted, BLOCK)]
    reference.add(np.full(BLOCK, 2.0, np.float32), RATE_HZ, SECOND + 200 * MS)
    found += [reference.take(drifted + n * 10 * MS, BLOCK) for n in range(1, 20)]

    mark_ms = int(np.flatnonzero(np.concatenate(found) == 2.0)[0]) * 1000 / RATE_HZ
    assert mark_ms == (188 if corrected else 190)


def test_a_jump_of_the_microphones_clock_is_followed_at_once() -> None:
    reference = filled(30)
    reference.take(SECOND, BLOCK)

    assert reference.take(SECOND + 15 * MS, 1) == [241]
    assert reference.take(SECOND + 200 * MS, 1) == [3201]


def test_where_nobody_reads_memory_is_bounded() -> None:
    reference = filled(1000)

    assert len(reference._samples) <= MOST_NS * RATE_HZ // SECOND
    assert list(reference.take(SECOND + 9990 * MS, 1)) == [999 * BLOCK + 1]
