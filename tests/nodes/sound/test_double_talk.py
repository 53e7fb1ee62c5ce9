"""What sounds beside the echo of an answer, in a synthetic room."""

from __future__ import annotations

import numpy as np
import pytest

from nodes.sound.double_talk import BLOCK_STEPS, STEPS_A_SECOND, DoubleTalk
from tests.rooms import FIRST_VOICED, RATE_HZ, Samples, recorded, response, through

STEP = RATE_HZ // STEPS_A_SECOND
BLOCK = 2 * STEP
ANSWER = ("2-time", "4-recall", "6-story", "3-product", "1-name", "8-bye")


def answer() -> Samples:
    sound = recorded(*ANSWER)
    return sound[: len(sound) // BLOCK * BLOCK]


def noise(count: int, dbfs: float = -65.0) -> Samples:
    return (np.random.default_rng(1).standard_normal(count) * 10 ** (dbfs / 20)).astype(np.float32)


def found(near: Samples, far: Samples) -> list[int]:
    """The samples at which something else sounds than the echo."""
    detector = DoubleTalk(RATE_HZ)
    told = [
        (begin, detector.hears(near[begin : begin + BLOCK], far[begin : begin + BLOCK]))
        for begin in range(0, len(near), BLOCK)
    ]
    return [begin + samples for begin, samples in told if samples]


def test_a_fan_that_is_switched_on_between_two_answers_is_none() -> None:
    far = answer()
    near = through(far, response(loss_db=20, delay_ms=10)) + noise(len(far))
    pause = np.zeros(5 * RATE_HZ, np.float32)
    fan = np.pad(noise(len(far) + 3 * RATE_HZ, -45.0), (len(near) + 2 * RATE_HZ, 0))

    told = found(np.concatenate((near, pause, near)) + fan, np.concatenate((far, pause, far)))

    assert not told


@pytest.mark.parametrize("loss_db", [10, 20, 30])
@pytest.mark.parametrize("floor_dbfs", [-75, -65, -50])
def test_an_echo_alone_is_none(loss_db: float, floor_dbfs: float) -> None:
    far = answer()
    assert not found(through(far, response(loss_db=loss_db, delay_ms=10)) + noise(len(far), floor_dbfs), far)


def test_an_answer_that_changes_its_level_is_none() -> None:
    far = answer()
    far[len(far) // 3 : len(far) // 2] *= 0.25
    far[len(far) * 2 // 3 : len(far) * 3 // 4] = 0
    assert not found(through(far, response(loss_db=20, delay_ms=10)) + noise(len(far)), far)


def test_who_speaks_is_told_within_50_ms_however_softly_it_begins() -> None:
    """ "Stop it" begins with a hiss at the level of the echo, but above it where a hiss is."""
    far = answer()
    echo = through(far, response(loss_db=20, delay_ms=10)) + noise(len(far))
    speech = recorded("7-stop")[:RATE_HZ]
    late_ms = []
    for second in (6, 7, 8, 9):
        near, begin = echo.copy(), second * RATE_HZ + 50 * second
        near[begin : begin + len(speech)] += speech
        told = found(near, far)
        assert told[0] > begin + FIRST_VOICED
        late_ms.append((told[0] - begin - FIRST_VOICED) * 1000 / RATE_HZ)
    assert max(late_ms) <= 50


def test_nothing_is_told_before_an_echo_was_heard_nor_where_nothing_is_played() -> None:
    far = answer()
    echo = through(far, response(loss_db=20, delay_ms=10)) + noise(len(far))
    speech = recorded("7-stop")
    early, silent = echo.copy(), noise(len(far))
    early[: BLOCK_STEPS * STEP] += speech[: BLOCK_STEPS * STEP]
    silent[: len(speech)] += speech

    assert not [at for at in found(early, far) if at < BLOCK_STEPS * STEP]
    assert not found(silent, np.zeros_like(far))


def test_where_the_devices_state_a_wrong_delay_hardly_anything_is_told() -> None:
    far = answer()
    near = through(far, response(loss_db=20, delay_ms=200)) + noise(len(far))
    again = np.concatenate([near] * 3), np.concatenate([far] * 3)

    assert len(found(*again)) <= 2, "what comes back before anything is known of all bands"


def test_noise_in_the_room_that_is_louder_than_the_echo_is_none() -> None:
    far = answer()
    assert not found(through(far, response(loss_db=40)) + noise(len(far), -30), far)
