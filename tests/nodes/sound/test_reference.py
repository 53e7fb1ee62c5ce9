from __future__ import annotations

import numpy as np
import pytest

from nodes.sound.reference import MOST_NS, MOST_STRAYS, STRAYS, Reference

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


def test_a_gap_is_as_long_as_it_was_once_the_stamps_stay_there() -> None:
    reference = filled(1)
    for block in range(6):
        reference.add(ramp(1000 + block * BLOCK), RATE_HZ, SECOND + (110 + block * 10) * MS)

    assert reference.known_until == SECOND + 170 * MS
    assert list(reference.take(SECOND + 150 * MS, 3)) == list(ramp(1000 + 4 * BLOCK, 3))


@pytest.mark.parametrize("at", [SECOND - 50 * MS, SECOND + 10 * MS + MOST_NS])
def test_another_time_is_another_beginning(at: int) -> None:
    reference = filled(1)
    for block in range(6):
        reference.add(ramp(1000 + block * BLOCK), RATE_HZ, at + block * 10 * MS)

    assert reference.known_until == at + 60 * MS
    assert list(reference.take(at + 40 * MS, 2)) == [1000 + 4 * BLOCK, 1001 + 4 * BLOCK]
    reference.seek()
    assert not reference.take(at - 300 * MS, 2).any()


def test_one_block_whose_stamp_is_late_moves_nothing() -> None:
    """A callback that comes late can't say that its sound was heard before it came."""
    reference = Reference(RATE_HZ)
    for block in range(20):
        late = 9 * MS if block == 10 else 0
        reference.add(ramp(block * BLOCK + 1), RATE_HZ, SECOND + block * 10 * MS + late)
        if block >= 2:
            reference.take(SECOND + (block - 2) * 10 * MS, BLOCK)

    assert reference.known_until == pytest.approx(SECOND + 200 * MS, abs=0.7 * MS)


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


@pytest.mark.parametrize(("sounding", "readings"), [(False, STRAYS), (True, MOST_STRAYS)])
def test_clocks_that_drift_apart_are_followed_in_a_silence_or_after_a_while(sounding: bool, readings: int) -> None:
    reference = Reference(RATE_HZ)
    for block in range(150):
        reference.add(np.full(BLOCK, float(sounding), np.float32), RATE_HZ, SECOND + block * 10 * MS)
    reference.add(np.full(BLOCK, 2.0, np.float32), RATE_HZ, SECOND + 1500 * MS)
    reference.take(SECOND, BLOCK)
    drifted = SECOND + 12 * MS

    for n in range(readings - 1):
        reference.take(drifted + n * 10 * MS, BLOCK)
    behind = reference.known_until - reference.read_until
    reference.take(drifted + (readings - 1) * 10 * MS, BLOCK)
    corrected = reference.known_until - reference.read_until

    assert behind - corrected == 10 * MS + 2 * MS


def test_a_place_that_is_wrong_for_a_moment_is_not_corrected() -> None:
    reference = filled(30)
    reference.take(SECOND, BLOCK)

    assert list(reference.take(SECOND + 15 * MS, 1)) == [161]


def test_who_knows_that_sound_is_missing_reads_on_where_it_goes_on() -> None:
    reference = filled(30)
    reference.take(SECOND, BLOCK)
    reference.seek()

    assert list(reference.take(SECOND + 15 * MS, 1)) == [241]


def test_where_nobody_reads_memory_is_bounded() -> None:
    reference = filled(1000)

    assert len(reference._samples) <= MOST_NS * RATE_HZ // SECOND
    assert list(reference.take(SECOND + 9990 * MS, 1)) == [999 * BLOCK + 1]
