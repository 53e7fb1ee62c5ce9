from __future__ import annotations

import asyncio
import itertools
from collections import deque
from typing import Any

import pytest

from flowgraph import taps
from flowgraph.channel import MOST_FRAMES, Channel, Inbox, Overflow
from flowgraph.frame import Frame
from flowgraph.specs import Edge
from flowgraph.testing import run_virtual
from flowgraph.turn import Turn
from tests.frames import Block, Idea, Long, Note


class Rig:
    """Channels into one inbox, without a session."""

    def __init__(self, *, owned: bool = True) -> None:
        self.events: deque[tuple[Any, ...]] = deque()
        self.turn = Turn(owned=owned, now=lambda: 0, tap=self.events.append)
        self.inbox = Inbox()
        self._order = itertools.count(1)
        self._ids = itertools.count(1)

    def channel(self, *, owner_puts: bool = False, **options: Any) -> Channel:
        given: dict[str, Any] = {"capacity": 4, "capacity_ns": 0, "overflow": "block", "hold": False, "feedback": False}
        edge = Edge("a", "b", (Note,), **{**given, **options}, place="test.yaml:1:1")
        return Channel(
            len(self.inbox.channels), edge, self.inbox, turn=self.turn, now=lambda: 0, tap=self.events.append,
            order=self._order, owned=owner_puts,
        )  # fmt: skip

    def stamped(self, frame: Frame) -> Any:
        frame.turn = self.turn.number  # type: ignore[misc]
        frame.id = next(self._ids)  # type: ignore[misc]
        return frame

    def kinds(self) -> list[int]:
        return [event[1] for event in self.events]


def test_frames_come_out_in_the_order_of_their_puts_across_inputs() -> None:
    rig = Rig()
    one, two = rig.channel(), rig.channel()
    frames = [rig.stamped(Note(str(i))) for i in range(4)]

    for channel, frame in zip([one, two, two, one], frames, strict=True):
        channel.put(frame)

    assert [rig.inbox.poll() for _ in range(5)] == [*frames, None]


def test_a_stale_plan_is_refused_at_put() -> None:
    rig = Rig()
    channel = rig.channel()
    idea = rig.stamped(Idea())
    rig.turn.advance()

    assert channel.put(idea)
    assert len(channel) == 0
    assert taps.STALE in rig.kinds()


def test_a_plan_that_becomes_stale_in_the_channel_is_refused_at_take() -> None:
    rig = Rig()
    channel = rig.channel()
    channel.put(rig.stamped(Idea()))
    rig.turn.advance()

    assert rig.inbox.poll() is None


def test_a_fact_is_never_stale() -> None:
    rig = Rig()
    channel = rig.channel()
    before, after = rig.stamped(Note("queued")), rig.stamped(Note("late"))
    channel.put(before)
    rig.turn.advance()
    channel.put(after)

    assert [rig.inbox.poll(), rig.inbox.poll()] == [before, after]


def test_a_held_plan_waits_for_its_commit() -> None:
    rig = Rig()
    channel = rig.channel(hold=True)
    rig.turn.advance()
    idea = rig.stamped(Idea())
    channel.put(idea)
    assert rig.inbox.poll() is None

    rig.turn.commit(rig.turn.number)

    assert rig.inbox.poll() is idea


def test_a_commit_names_its_attempt_and_refuses_any_other() -> None:
    rig = Rig()
    channel = rig.channel(hold=True)
    first = rig.turn.advance()
    rig.turn.advance()
    channel.put(rig.stamped(Idea()))

    assert not rig.turn.commit(first)
    assert rig.inbox.poll() is None


def test_a_held_head_gives_way_to_the_other_inputs_and_counts_as_put_at_its_commit() -> None:
    rig = Rig()
    held, free = rig.channel(hold=True), rig.channel()
    rig.turn.advance()
    idea, first, second = rig.stamped(Idea()), rig.stamped(Note("first")), rig.stamped(Note("second"))
    held.put(idea)
    free.put(first)

    assert rig.inbox.poll() is first
    free.put(second)
    rig.turn.commit(rig.turn.number)
    third = rig.stamped(Note("third"))
    free.put(third)

    assert [rig.inbox.poll() for _ in range(3)] == [second, idea, third]


def test_a_held_edge_lets_facts_through() -> None:
    rig = Rig()
    channel = rig.channel(hold=True)
    rig.turn.advance()
    fact = rig.stamped(Note("fact"))
    channel.put(fact)
    channel.put(rig.stamped(Idea("idea")))

    assert [rig.inbox.poll(), rig.inbox.poll()] == [fact, None]


def test_a_full_channel_makes_the_put_wait_until_there_is_room() -> None:
    async def main() -> None:
        rig = Rig()
        channel = rig.channel(capacity=1)
        first, second = rig.stamped(Note("1")), rig.stamped(Note("2"))
        assert channel.put(first)
        assert not channel.put(second)
        waiting = asyncio.ensure_future(channel.wait_put(second))
        await asyncio.sleep(0)
        assert not waiting.done()

        assert rig.inbox.poll() is first
        await waiting

        assert rig.inbox.poll() is second
        assert taps.FULL in rig.kinds()

    run_virtual(main())


def test_an_interruption_wakes_a_waiting_put_and_refuses_it() -> None:
    async def main() -> None:
        rig = Rig()
        channel = rig.channel(capacity=1)
        channel.put(rig.stamped(Idea("1")))
        waiting = asyncio.ensure_future(channel.wait_put(rig.stamped(Idea("2"))))
        await asyncio.sleep(0)

        rig.turn.advance()
        async with asyncio.timeout(1):
            await waiting

        assert rig.inbox.poll() is None

    run_virtual(main())


def test_what_is_stale_makes_room_for_the_next_attempt() -> None:
    rig = Rig()
    channel = rig.channel(capacity=2, hold=True)
    rig.turn.advance()
    channel.put(rig.stamped(Idea("old")))
    channel.put(rig.stamped(Idea("old")))
    rig.turn.advance()

    assert channel.put(rig.stamped(Idea("new")))


def test_an_old_fact_makes_no_room() -> None:
    rig = Rig()
    channel = rig.channel(capacity=1)
    old = rig.stamped(Note("old"))
    channel.put(old)
    rig.turn.advance()

    assert not channel.put(rig.stamped(Note("new")))
    assert rig.inbox.poll() is old


def test_drop_oldest_loses_the_oldest_and_says_how_many() -> None:
    rig = Rig()
    channel = rig.channel(capacity=2, overflow="drop_oldest")
    for i in range(5):
        assert channel.put(rig.stamped(Note(str(i))))

    taken = [rig.inbox.poll(), rig.inbox.poll()]

    assert [(frame.text, frame.lost) for frame in taken] == [("3", 3), ("4", 0)]  # type: ignore[union-attr]
    assert rig.kinds().count(taps.DROP) == 3


def test_what_was_lost_on_one_edge_is_not_lost_on_another() -> None:
    rig = Rig()
    narrow, wide = rig.channel(capacity=1, overflow="drop_oldest"), rig.channel()
    frames = [rig.stamped(Note(str(i))) for i in range(2)]
    for frame in frames:
        narrow.put(frame)
        wide.put(frame)

    taken = [rig.inbox.poll() for _ in range(3)]

    assert sorted((frame.text, frame.lost) for frame in taken) == [("0", 0), ("1", 0), ("1", 1)]  # type: ignore[union-attr]


def test_overflow_fail_names_the_edge_and_the_way_out() -> None:
    rig = Rig()
    channel = rig.channel(capacity=1, overflow="fail")
    channel.put(rig.stamped(Note()))

    with pytest.raises(Overflow, match=r"test.yaml:1:1: the edge a -> b is full \(1 frames\)\n.*overflow: drop_oldest"):
        channel.put(rig.stamped(Note()))


def test_a_capacity_in_time_counts_the_sound() -> None:
    rig = Rig()
    channel = rig.channel(capacity=64, capacity_ns=250_000_000)

    assert [channel.put(rig.stamped(Block())) for _ in range(3)] == [True, True, False]
    rig.inbox.poll()
    assert channel.put(rig.stamped(Block()))


def test_what_has_no_length_fills_a_capacity_in_time_too() -> None:
    channel = Rig().channel(capacity_ns=1_000_000_000)

    accepted = [channel.put(Note()) for _ in range(MOST_FRAMES + 1)]

    assert accepted == [True] * MOST_FRAMES + [False]


def test_as_much_of_the_oldest_is_lost_as_the_new_frame_needs() -> None:
    rig = Rig()
    channel = rig.channel(capacity_ns=300_000_000, overflow="drop_oldest")
    for _ in range(3):
        channel.put(rig.stamped(Block()))
    channel.put(rig.stamped(Long()))

    assert [type(rig.inbox.poll()) for _ in range(2)] == [Block, Long]
    assert rig.kinds().count(taps.DROP) == 2


def test_the_owners_put_never_waits() -> None:
    rig = Rig()
    channel = rig.channel(capacity=1, owner_puts=True)

    assert channel.put(rig.stamped(Idea("1")))
    assert channel.put(rig.stamped(Idea("2")))


def test_an_inbox_has_ended_when_its_inputs_are_closed_and_empty_whatever_feedback_does() -> None:
    rig = Rig()
    channel, feedback = rig.channel(), rig.channel(feedback=True, overflow="fail")
    channel.put(rig.stamped(Note()))
    channel.close()
    feedback.put(rig.stamped(Note("late")))
    assert not rig.inbox.ended

    rig.inbox.poll()

    assert rig.inbox.ended
