from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nodes.clients.speaking import Part
from nodes.vocabulary import Speech

RATE_HZ = 24_000


def pcm(*pieces: tuple[float, int]) -> bytes:
    """s16le of (level, milliseconds)."""
    return b"".join(np.full(ms * RATE_HZ // 1000, level * 32768, "<i2").tobytes() for level, ms in pieces)


def part(text: str = "Hello. ", keep_ms: float | None = None, pause_ms: float = 0) -> Part:
    return Part(text, number=3, rate_hz=RATE_HZ, keep_ms=keep_ms, pause_ms=pause_ms)


def lengths_ms(chunks: list[Speech]) -> list[float]:
    return [len(chunk.samples) * 1000 / RATE_HZ for chunk in chunks]


def test_the_first_chunk_leaves_with_10_ms_later_ones_with_40() -> None:
    one = part()
    fed = [one.feed(pcm((0.5, 5))) for _ in range(20)]

    assert [number for number, chunks in enumerate(fed) if chunks] == [1, 9, 17]
    assert lengths_ms([chunk for chunks in fed for chunk in chunks]) == [10, 40, 40]
    assert lengths_ms(one.end()) == [10]


def test_a_burst_becomes_chunks_of_at_most_100_ms() -> None:
    one = part()

    assert lengths_ms(one.feed(pcm((0.5, 330)))) == [100, 100, 100]
    assert lengths_ms(one.end()) == [30]


def test_the_first_chunk_has_the_text_and_the_last_one_says_so() -> None:
    one = part("Hello. ")
    chunks = [*one.feed(pcm((0.5, 150))), *one.end()]

    assert [chunk.text for chunk in chunks] == ["Hello. ", "", ""]
    assert [chunk.last for chunk in chunks] == [False, False, True]
    assert {chunk.part for chunk in chunks} == {3}
    assert len(chunks[-1].samples) == 0


def test_a_part_without_sound_is_one_chunk_with_its_text() -> None:
    [chunk] = part("😀").end()

    assert (chunk.text, chunk.last, len(chunk.samples), chunk.words) == ("😀", True, 0, ())


@given(st.lists(st.integers(1, 4000), max_size=20), st.integers(0, 600))
def test_no_sample_is_lost_on_the_way(cuts: list[int], ms: int) -> None:
    data = np.arange(ms * 24, dtype="<i2").tobytes()
    one, chunks = part(), []
    for cut in cuts:
        chunks += one.feed(data[:cut])
        data = data[cut:]
    chunks += [*one.feed(data), *one.end()]

    assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks]) * 32768, np.arange(ms * 24, dtype="<i2"))
    assert all(not chunk.samples.flags.writeable for chunk in chunks)


def test_silence_at_both_ends_is_cut() -> None:
    one = part(keep_ms=15)
    chunks = [*one.feed(pcm((0, 100), (0.5, 200), (0, 400))), *one.end()]

    assert sum(lengths_ms(chunks)) == 230


def test_a_pause_belongs_to_the_part_and_not_to_its_text() -> None:
    one = part(pause_ms=100)
    [pause] = one.begin()
    chunks = [*one.feed(pcm((0.5, 15))), *one.end()]

    assert (len(pause.samples), pause.part, pause.text, pause.last) == (100 * 24, 3, "", False)
    assert not pause.samples.any()
    assert [chunk.text for chunk in chunks] == ["Hello. ", ""]
    assert lengths_ms(chunks) == [15, 0], "the first still leaves with 10 ms"
    assert one.sound_ms == 15
    assert part().begin() == []


def test_word_times_count_from_the_pause() -> None:
    one = part("Hello world. ", keep_ms=15, pause_ms=100)
    words = [("Hello", 0.1, 0.25), ("world", 0.3, 0.4)]
    chunks = [*one.begin(), *one.feed(pcm((0, 100), (0.5, 300), (0, 100)), words), *one.end()]

    assert [word for chunk in chunks for word in chunk.words] == [
        ("Hello ", 115 * 24, 265 * 24), ("world. ", 315 * 24, 415 * 24),
    ]  # fmt: skip


def test_word_times_are_those_of_the_cut_sound_and_joined_they_are_the_text() -> None:
    one = part("**Hello**, world. ", keep_ms=15)
    words = [("Hello", 0.1, 0.25), (",", 0.25, 0.26), ("world", 0.3, 0.4)]
    chunks = [*one.feed(pcm((0, 100), (0.5, 300), (0, 100)), words), *one.end()]
    timed = [word for chunk in chunks for word in chunk.words]

    assert timed == [("**Hello**, ", 15 * 24, 165 * 24), ("world. ", 215 * 24, 315 * 24)]
    assert chunks[0].words == tuple(timed)


def test_words_that_become_known_later_come_later() -> None:
    one = part("Hello big world 😀")
    first = one.feed(pcm((0.5, 100)), [("Hello", 0.0, 0.1)])
    second = [*one.feed(pcm((0.5, 100)), [("world", 0.15, 0.2)]), *one.end()]

    assert [word for chunk in first for word in chunk.words] == [("Hello ", 0, 2400)]
    assert [word for chunk in second for word in chunk.words] == [
        ("big ", 2400, 3600),
        ("world ", 3600, 4800),
        ("😀", 4800, 4800),
    ]
