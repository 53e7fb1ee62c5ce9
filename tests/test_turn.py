from __future__ import annotations

from flowgraph import taps
from flowgraph.turn import Turn


def turn(*, owned: bool = True) -> tuple[Turn, list[tuple[object, ...]]]:
    events: list[tuple[object, ...]] = []
    return Turn(owned=owned, now=lambda: 7, tap=events.append), events


def test_without_an_owner_everything_may_be_heard() -> None:
    one, _ = turn(owned=False)

    assert (one.number, one.committed, one.gain) == (1, 1, 1.0)


def test_advance_goes_up_and_sets_the_gain_back() -> None:
    one, _ = turn()
    one.set_gain(0.0)

    assert [one.advance(), one.advance()] == [1, 2]
    assert one.gain == 1.0
    assert one.committed == 0


def test_what_the_owner_does_is_recorded_with_the_frame_it_was_processing() -> None:
    one, events = turn()
    one.by = lambda: 42
    one.advance()
    one.commit(1)
    one.commit(1)
    one.set_gain(0.5)
    one.set_gain(0.5)

    assert events == [(7, taps.ADVANCE, 1, 42), (7, taps.COMMIT, 1, 42), (7, taps.GAIN, 0.5, 42)]


def test_listeners_are_told_after_the_number_has_moved() -> None:
    one, _ = turn()
    seen: list[tuple[int, int]] = []
    one.on_advance(lambda: seen.append((one.number, one.committed)))
    one.on_commit(lambda: seen.append((one.number, one.committed)))
    one.advance()
    one.commit(1)

    assert seen == [(1, 0), (1, 1)]
