from __future__ import annotations

import numpy as np
import pytest

from nodes.sound.sweep import SECOND, SWEEP_S, Capture, SoundLost, find_echo, sweep
from tests.rooms import Samples, response, through

MS = 1_000_000
RATE_HZ = 48_000
BEGIN = 7 * SECOND
HEARD_AT = [BEGIN + round(at * SECOND) for at in (0.7, 1.9, 3.1, 4.3)]


def capture(room: Samples, *, noise_dbfs: float = -90.0, late_ms: float = 0.0, rate_hz: int = RATE_HZ) -> Capture:
    """What a microphone hears of the sweeps, in blocks of 10 ms whose times are true; 0.9 s after the last, it ends."""
    times = np.arange(round(5.6 * rate_hz)) / rate_hz
    heard = np.zeros(len(times), np.float32)
    one, fine = sweep(rate_hz), sweep(rate_hz * 16)
    for at in HEARD_AT:
        # At its time to the fraction of a sample: the sweep's phase is known in between.
        begin = (at - BEGIN) / SECOND + late_ms / 1000
        first = int(np.ceil(begin * rate_hz))
        places = np.round((np.arange(first, first + len(one) - 1) / rate_hz - begin) * rate_hz * 16).astype(int)
        heard[first : first + len(places)] += fine[places]
    heard = through(heard, room)
    heard += (np.random.default_rng(5).standard_normal(len(heard)) * 10 ** (noise_dbfs / 20)).astype(np.float32)
    size = rate_hz // 100
    blocks = [(BEGIN + n * SECOND // rate_hz, heard[n : n + size]) for n in range(0, len(heard), size)]
    return Capture(blocks, rate_hz)


@pytest.mark.parametrize("rate_hz", [48_000, 44_100, 16_000])
@pytest.mark.parametrize("late_ms", [-30.0, 0.4, 3.21, 123.456])
def test_it_is_found_how_late_the_echo_is_to_a_tenth_of_a_millisecond(late_ms: float, rate_hz: int) -> None:
    echo = find_echo(capture(response(rate_hz=rate_hz), late_ms=late_ms, rate_hz=rate_hz), HEARD_AT)

    assert echo is not None
    assert echo.late_ms == pytest.approx(late_ms, abs=0.1)
    assert echo.spread_ms < 0.1


@pytest.mark.parametrize("loss_db", [-3.0, 0.0, 20.0, 50.0])
def test_it_is_found_how_loud_the_echo_is(loss_db: float) -> None:
    echo = find_echo(capture(response(loss_db=loss_db)), HEARD_AT)

    assert echo is not None
    assert echo.return_loss_db == pytest.approx(loss_db, abs=0.7)


def test_an_echo_below_the_noise_is_found() -> None:
    """The sweep is at −15 dBFS, so its echo is 10 dB below the noise."""
    echo = find_echo(capture(response(loss_db=40), noise_dbfs=-45, late_ms=12), HEARD_AT)

    assert echo is not None
    assert echo.late_ms == pytest.approx(12, abs=0.2)


def test_the_direct_sound_counts_not_a_louder_reflection() -> None:
    room = np.zeros(RATE_HZ // 10, np.float32)
    room[0], room[RATE_HZ // 100] = 0.06, 0.1

    echo = find_echo(capture(room), HEARD_AT)

    assert echo is not None
    assert echo.late_ms == pytest.approx(0, abs=0.1)


def test_in_noise_alone_nothing_is_found() -> None:
    for seed_dbfs in np.arange(-80, -20, 5.0):
        assert find_echo(capture(np.zeros(10, np.float32), noise_dbfs=float(seed_dbfs)), HEARD_AT) is None


def test_what_comes_at_other_times_each_time_is_no_echo() -> None:
    """Somebody whistles."""
    heard = capture(response())

    assert find_echo(heard, [at + n * 37 * MS for n, at in enumerate(HEARD_AT)]) is None


@pytest.mark.parametrize("lost_s", [1.5, 4.0])
def test_a_sweep_that_comes_at_another_time_than_the_rest_is_left_out_and_counted(lost_s: float) -> None:
    echo = find_echo(losing([lost_s]), HEARD_AT)

    assert echo is not None
    assert echo.strayed == 1
    assert echo.spread_ms < 0.1


@pytest.mark.parametrize(("lost_s", "spread_ms"), [([2.5], 10), ([1.5, 2.5, 3.5], 30)])
def test_sweeps_of_which_no_most_agrees_tell_of_lost_sound(lost_s: list[float], spread_ms: float) -> None:
    """Half and half: who could say which half is right?"""
    with pytest.raises(SoundLost, match=rf"up to {spread_ms}\.0 ms apart") as raised:
        find_echo(losing(lost_s), HEARD_AT)

    assert raised.value.spread_ms == pytest.approx(spread_ms, abs=0.1)


def losing(at_s: list[float]) -> Capture:
    """A stream that leaves a block out at each of these times, and goes on as if nothing had been."""
    whole = capture(response())._samples
    size = RATE_HZ // 100
    gone = {round(at * 100) for at in at_s}
    kept = [whole[n * size : (n + 1) * size] for n in range(len(whole) // size) if n not in gone]
    return Capture([(BEGIN + n * SECOND // 100, block) for n, block in enumerate(kept)], RATE_HZ)


def test_a_stream_that_broke_off_is_judged_by_what_there_is() -> None:
    heard = capture(response())
    short = Capture([(BEGIN, heard._samples[: round(4.0 * RATE_HZ)])], RATE_HZ)

    assert find_echo(short, HEARD_AT) is not None
    assert find_echo(Capture([(BEGIN, heard._samples[: RATE_HZ // 2])], RATE_HZ), HEARD_AT) is None


def test_the_response_shows_how_the_room_decays() -> None:
    echo = find_echo(capture(response(reverberation_ms=200)), HEARD_AT)

    assert echo is not None
    assert len(echo.response_db) == 30
    assert max(echo.response_db) == 0
    assert np.mean(echo.response_db[20:25]) < np.mean(echo.response_db[5:10]) - 15


def test_a_sweep_begins_and_ends_softly() -> None:
    one = sweep(RATE_HZ)

    assert len(one) == SWEEP_S * RATE_HZ
    assert np.abs(one[[0, -1]]).max() < 1e-6
    assert 0.2 < np.abs(one).max() <= 0.25
