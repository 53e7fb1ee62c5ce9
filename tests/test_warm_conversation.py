"""A whole conversation with a language model that reads its prompts slowly."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowgraph.node import ports
from flowgraph.units import MS
from nodes.dialogue import Dialogue as Silent
from nodes.servers import llm
from nodes.vocabulary import (
    EndOfTurn,
    Failure,
    Heard,
    Prefix,
    Prompt,
    SpeechStarted,
    Token,
    ToolResult,
    Transcript,
    Voice,
)
from tests.test_scenarios import DEMO, NOW, Run, converse

FIRST_TOKEN_MS = 50.0
PROMPT_TOKEN_MS = 5.0


class Telling(Silent):
    """Says at the start, and whenever somebody begins to speak, what the next prompt will begin with."""

    async def run(self) -> AsyncIterator[Prefix | Prompt]:
        yield Prefix(self._history.prefix)
        async for prompt in super().run():
            yield prompt

    def process(
        self, frame: SpeechStarted | Voice | Transcript | EndOfTurn | Heard | ToolResult | Failure
    ) -> Iterator[Prefix | Prompt]:
        if isinstance(frame, SpeechStarted):
            yield Prefix(self._history.prefix)
        yield from super().process(frame)


Dialogue: Any = Silent if Prefix in ports(Silent).outputs else Telling


def held(folder: Path, warm: str) -> tuple[Run, list[int]]:
    """The bundled conversation; and of each prompt, the tokens that the server had read already."""
    graph = folder / "graph.yaml"
    optimized = Path("graphs/optimized.yaml").resolve()
    graph.write_text(f'extends: {optimized}\nnodes:\n  dialogue: {{type: "{__name__}:Dialogue"}}\n')
    app = llm.app(first_token_ms=FIRST_TOKEN_MS, token_ms=5, prompt_token_ms=PROMPT_TOKEN_MS, now=lambda: NOW)
    run = converse(
        DEMO,
        f"llm.warm={warm}",
        "dialogue.speculate_after=off",
        "dialogue.end_silence=400ms",
        graph=str(graph),
        model=app,
    )
    return run, list(app[llm.WORK].cached)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Run, list[int]]]:
    return {warm: held(tmp_path_factory.mktemp(warm), warm) for warm in ("auto", "off")}


def test_a_turn_waits_for_the_reading_of_its_own_question_alone(runs: dict[str, tuple[Run, list[int]]]) -> None:
    run, _ = runs["auto"]
    made = {frame_id: record.made_at for frame_id, record in run.session.trace.records.items()}

    for prompt in run.of(Prompt):
        first = next(token for token in run.of(Token) if token.turn == prompt.turn)
        question = len(llm.split(prompt.messages[-1][1])) + 1  # and the mark behind it
        waited_ms = (made[first.id] - made[prompt.id]) / MS
        assert waited_ms <= FIRST_TOKEN_MS + question * PROMPT_TOKEN_MS, prompt.messages[-1]


def test_every_turn_is_answered_sooner_and_the_first_by_what_the_system_prompt_takes(
    runs: dict[str, tuple[Run, list[int]]],
) -> None:
    (warm, _), (cold, read) = runs["auto"], runs["off"]
    sooner = [
        (b.latency_ns or 0) - (a.latency_ns or 0) for a, b in zip(warm.report.turns, cold.report.turns, strict=True)
    ]
    system = len(llm.split(cold.of(Prompt)[0].messages[0][1])) + 4

    assert read[0] == 0
    assert all(turn.latency_ns for turn in (*warm.report.turns, *cold.report.turns))
    assert [turn.heard for turn in warm.report.turns] == [turn.heard for turn in cold.report.turns]
    assert all(ns > 0 for ns in sooner)
    assert sooner[0] == pytest.approx(system * PROMPT_TOKEN_MS * MS, abs=40 * MS)


def test_a_prefix_is_what_the_next_prompt_begins_with(runs: dict[str, tuple[Run, list[int]]]) -> None:
    """Byte for byte, or the server would read it again."""
    run, _ = runs["auto"]
    told = sorted(run.of(Prefix) + run.of(Prompt), key=lambda frame: frame.id)

    for before, after in itertools.pairwise(told):
        if isinstance(before, Prefix) and isinstance(after, Prompt):
            assert after.messages[: len(before.messages)] == before.messages


def test_what_was_read_ahead_shows_in_no_turn_as_a_prompt(runs: dict[str, tuple[Run, list[int]]]) -> None:
    run, _ = runs["auto"]

    assert [turn.said for turn in run.report.turns] == [turn.truth for turn in run.report.turns]
    assert run.report.exit_code == 0
