from __future__ import annotations

import asyncio
import io
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from flowgraph.display import Lines, Live, Typed, meter
from flowgraph.frame import Heard
from flowgraph.phases import SHORT
from flowgraph.report import TurnReport
from flowgraph.session import Session
from flowgraph.tables import BAR, bar, figures, in_ms, one_line, summary, turn_table
from flowgraph.testing import run_virtual
from flowgraph.units import MS, SECOND
from flowgraph.waiting import Wait
from nodes.vocabulary import Prompt
from tests.spoken import held, spoken

QUESTION = {"from": 500, "to": 1500, "text": "What time is it?"}
AGAIN = {"from": 4500, "to": 5300, "text": "And now?"}


def turn(**changes: Any) -> TurnReport:
    values: dict[str, Any] = {
        "number": 3, "said": "twelve times seven", "truth": "", "heard": "Eighty four.", "greeting": False, "expected": True,
        "annotated": True, "speech_end_at": SECOND, "audible_at": SECOND + 421 * MS, "latency_ns": 421 * MS, "steps": (),
        "phases": {"end of speech": 402 * MS, "LLM": 9 * MS, "playout": 10 * MS}, "incomplete": "", "attempts": 1,
        "withdrawn": 0, "cut_off": False, "interrupted": False, "stopped_in_ns": None, "error": "",
    }  # fmt: skip
    return TurnReport(**{**values, **changes})


def text_of(renderable: Any, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


# -- a turn --------------------------------------------------------------------------------------------------------------


def test_a_turn_in_a_pipe_is_one_line() -> None:
    line = ' 3  "twelve times seven" → "Eighty four." 421 ms = speech end 402 · LLM 9 · playout 10'

    assert one_line(turn()) == line


def test_an_estimate_is_marked() -> None:
    assert "~421 ms" in one_line(turn(annotated=False))


def test_what_went_wrong_is_in_the_line() -> None:
    stopped = turn(interrupted=True, stopped_in_ns=180 * MS)
    unheard = {"heard": "", "audible_at": 0, "latency_ns": None, "phases": {}}

    assert one_line(stopped).endswith("[interrupted: silent after 180 ms]")
    assert one_line(turn(**unheard)) == ' 3  "twelve times seven" [unanswered]'
    assert one_line(turn(**unheard, error="no model")).endswith("[error: no model]")
    assert one_line(turn(**unheard, expected=False)).endswith("[not answered, as it should be]")
    assert one_line(turn(cut_off=True, latency_ns=None)).endswith("[answered before the user had finished]")


def test_a_turn_without_phases_says_why() -> None:
    line = one_line(turn(phases={}, incomplete="the trace has no put of frame 7"))

    assert "421 ms (the trace has no put of frame 7)" in line
    assert "the trace has no put" in text_of(figures(turn(phases={}, incomplete="the trace has no put of frame 7"), 80))


def test_a_greeting_has_no_figures() -> None:
    greeting = turn(greeting=True, expected=False, said="", number=0, latency_ns=None, phases={})

    assert figures(greeting, 80) is None
    assert one_line(greeting) == '    greeting → "Eighty four."'


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 3 * SECOND), min_size=1, max_size=9))
def test_the_milliseconds_that_are_shown_add_up_to_the_total_that_is_shown(phases: dict[str, int]) -> None:
    shown = in_ms(phases)

    assert sum(shown.values()) == round(sum(phases.values()) / MS)
    assert all(abs(shown[name] * MS - ns) < MS for name, ns in phases.items())


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 3 * SECOND), max_size=9))
def test_a_bar_is_always_as_wide_as_its_column(phases: dict[str, int]) -> None:
    assert bar(phases).cell_len == BAR


def test_a_bar_grows_with_the_time() -> None:
    lengths = [bar({"LLM": ms * MS}).plain.count("━") for ms in (100, 500, 1000, 5000)]

    assert lengths == [2, 10, 20, 20]


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    talk = held("ear.seconds=9", says=[{**QUESTION, "text": "word " * 40}, AGAIN])
    shown = "".join(text_of(part, width) for part in summary(talk.report, width))
    shown += "".join(text_of(figures(one, width), width) for one in talk.turns)

    assert max(len(line) for line in shown.splitlines()) <= width


@pytest.mark.parametrize("width", [30, 40, 50, 70, 100])
def test_no_figure_is_cut_and_no_phase_torn_apart_however_narrow_the_terminal(width: int) -> None:
    phases = {"end of speech": 402 * MS, "network": 35 * MS, "LLM": 109 * MS, "TTS": 71 * MS, "playout": 10 * MS}
    whole = turn(phases=phases, latency_ns=627 * MS)
    shown = text_of(figures(whole, width), width)
    table = text_of(turn_table([whole, whole], width), width)

    for name, ns in phases.items():
        part = f"{SHORT.get(name, name)} {ns // MS}"
        assert part in shown
        assert part in table or width >= 70
        assert str(ns // MS) in table
    assert table.count("627") == 4


def test_the_percentiles_of_one_turn_are_that_turn() -> None:
    phases = {"end of speech": 400_400_000, "LLM": 9_600_000, "TTS": 3_600_000}
    whole = turn(phases=phases, latency_ns=sum(phases.values()))
    rows = [line.split() for line in text_of(turn_table([whole], 100), 100).splitlines()]

    assert rows[1][-4:] == rows[2][-4:] == rows[3][-4:] == ["414", "400", "10", "4"]


def test_the_table_has_a_row_for_each_turn_and_the_percentiles() -> None:
    talk = held("ear.seconds=9", "dialogue.greeting=Hi", says=[{**QUESTION, "from": 1000}, AGAIN])
    shown = "".join(text_of(part, 100) for part in summary(talk.report, 100))
    rows = [line.split() for line in shown.splitlines() if line]

    assert rows[0] == ["ms", "total", "speech", "end", "playout"]
    assert [row[0] for row in rows[1:5]] == ["1", "2", "p50", "p90"]
    assert "p50 425 ms · p90 425 ms (2 turns, end of speech annotated)" in shown
    assert "first_audio_p95 ≤ 700 ms: kept, 425 ms" in shown


def test_a_broken_budget_says_what_broke_it() -> None:
    talk = held("llm.delay=900ms", "dialogue.speculate_after=off", says=[QUESTION])
    shown = "".join(text_of(part, 100) for part in summary(talk.report, 100))

    assert "broken" in shown
    assert "mostly by LLM: 900 ms" in shown


# -- displays ------------------------------------------------------------------------------------------------------------


def test_a_meter_is_empty_at_silence_and_full_at_full_level() -> None:
    counts = [meter(level).plain.count("▮") for level in (-120.0, -60.0, -30.0, 0.0, 6.0)]

    assert counts == [0, 0, 7, 14, 14]


def watched(display: Lines, *settings: str, says: list[dict[str, Any]], moments: list[float]) -> list[str]:
    """What `Live` draws at these seconds of a conversation."""

    async def main() -> list[str]:
        session = Session(spoken(*settings, says=says))
        display.watch(session)
        drawn: list[str] = []
        async with session:
            for pause in (b - a for a, b in itertools.pairwise([0.0, *moments])):
                await asyncio.sleep(pause)
                drawn.append(display._drawn().plain)  # type: ignore[attr-defined]
            await session.stop(drain_s=0)
        return drawn

    return run_virtual(main())


def test_the_line_that_moves_says_who_speaks() -> None:
    display = Live(Console(file=io.StringIO(), width=80))
    silence, you, thinking, assistant, later = watched(
        display,
        "llm.delay=600ms",
        "ear.seconds=9",
        says=[QUESTION],
        moments=[0.3, 1.0, 2.1, 2.6, 4.0],
    )

    assert "silence" in silence
    assert "▮" in you
    assert "you" in you
    assert "thinking" in thinking
    assert "what time is it" in thinking
    assert "assistant" in assistant
    assert "silence" in later


def test_the_line_that_moves_says_for_whom_one_waits_and_for_how_long() -> None:
    display = Live(Console(file=io.StringIO(), width=80))
    soon, later = watched(display, "llm.delay=99s", "ear.seconds=9", says=[QUESTION], moments=[2.1, 4.8])
    [tts] = watched(
        Live(Console(file=io.StringIO(), width=80)), "tts.delay=99s", "ear.seconds=9", says=[QUESTION], moments=[4.8]
    )

    assert soon.rstrip().endswith("thinking  what time is it")
    assert "thinking 3 s, llm what time is it" in later
    assert "thinking 3 s, tts " in tts


@pytest.mark.parametrize(
    ("setting", "told"),
    [("llm.delay=99s", ["still waiting for 'llm', after 5 s"]), ("llm.delay=4s", []), ("tts.delay=0ms", [])],
)
def test_in_a_pipe_too_it_is_told_once_for_whom_one_waits(setting: str, told: list[str]) -> None:
    file = io.StringIO()

    async def main() -> None:
        display = Lines(Console(file=file, width=80))
        session = Session(spoken(setting, "ear.seconds=20", says=[QUESTION]))
        display.watch(session)
        refreshing = asyncio.ensure_future(display.refresh())
        async with session:
            await asyncio.sleep(18)
            await session.stop(drain_s=0)
        refreshing.cancel()

    run_virtual(main())

    assert file.getvalue().splitlines() == told


def test_for_whom_one_waits_is_shown_however_long_the_question_is() -> None:
    display = Live(Console(file=io.StringIO(), width=80))
    [drawn] = watched(
        display, "llm.delay=99s", "stt.texts=[" + "word " * 30 + "]", "ear.seconds=9", says=[QUESTION], moments=[4.8]
    )

    assert "thinking 3 s, llm " in drawn
    assert drawn.endswith("word word word")


def test_the_end_of_an_earlier_answer_ends_no_wait_for_a_later_one() -> None:
    session = Session(spoken(says=[]))
    wait = Wait(session)

    async def main() -> None:
        async with session:
            prompt, heard = Prompt(()), Heard(final=True, cut=True)
            prompt.turn, heard.turn = 2, 1  # type: ignore[misc]
            wait._on_prompt(prompt)
            wait._on_heard(heard)
            assert wait.on
            heard.turn = 2  # type: ignore[misc]
            wait._on_heard(heard)
            assert not wait.on
            await session.stop(drain_s=0)

    run_virtual(main())


def test_a_long_text_shows_its_end() -> None:
    display = Live(Console(file=io.StringIO(), width=60))
    display._speaking = True
    display._partial = "word " * 30 + "last"

    drawn = display._drawn()
    assert drawn.plain.endswith("last")
    assert drawn.cell_len <= 60


def test_typed_answers_appear_as_they_are_heard() -> None:
    file = io.StringIO()
    display = Typed(Console(file=file, width=80), echo=True)

    async def main() -> None:
        session = Session(spoken(says=[QUESTION]))
        display.watch(session)
        async with session:
            await session.finished()

    run_virtual(main())

    assert file.getvalue() == "› what time is it\nOne two three four five six seven eight.\n"


def test_lines_in_a_pipe_are_not_wrapped() -> None:
    file = io.StringIO()
    Lines(Console(file=file, width=40)).turn(turn(heard="word " * 30))

    assert file.getvalue().count("\n") == 1


def test_a_turn_shows_the_first_line_of_an_error_and_not_all_of_a_long_one() -> None:
    error = f"its server was killed {'a' * 200}\n    Traceback (most recent call last)"

    assert turn(error=error).verdict == f"error: its server was killed {'a' * 97}…"


def test_what_fails_while_the_user_types_is_told_once() -> None:
    file = io.StringIO()
    display = Typed(Console(file=file, width=200), echo=True)
    display.say("talk.yaml:3:1: node 'llm' failed: it is gone\n  = look for it")
    display.turn(turn(error="it is gone", heard="", audible_at=0, latency_ns=None, phases={}))

    assert file.getvalue() == "talk.yaml:3:1: node 'llm' failed: it is gone\n  = look for it\n"


def test_an_error_that_nobody_has_told_is_told_with_the_turn_that_was_typed() -> None:
    file = io.StringIO()
    Typed(Console(file=file, width=200), echo=True).turn(turn(error="it is gone"))

    assert "error: it is gone" in file.getvalue()
