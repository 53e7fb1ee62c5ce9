from __future__ import annotations

import itertools

import numpy as np

from nodes.sound.reply import Reply
from nodes.vocabulary import Speech

RATE = 24_000
TEXT = "One two three four five six."


def test_what_was_heard_of_an_answer_only_grows_though_its_words_turn_out_to_be_longer() -> None:
    """Half of the text seems to have been heard in a second; then nine more arrive, and it was a tenth."""
    reply = Reply(1, 1, begin=0, device_hz=RATE)
    told = []
    for second, arrives_s in zip(range(1, 11), (1, 9, *[0] * 8), strict=True):
        reply.add(Speech(np.zeros(RATE * arrives_s, np.float32), RATE, text=TEXT if second == 1 else ""))
        told.append(reply.heard(RATE * second, second).text)

    assert told[0].startswith("One two three ")
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(told))
    assert told[-1] == TEXT


def test_of_an_answer_that_goes_on_for_long_only_the_sound_that_is_to_come_is_kept() -> None:
    reply = Reply(1, 1, begin=0, device_hz=RATE)
    for second in range(1, 101):
        reply.add(Speech(np.zeros(RATE, np.float32), RATE))
        heard = reply.heard(RATE * second, second)

    assert len(reply._frames) == 1
    assert heard.samples == 100 * RATE
