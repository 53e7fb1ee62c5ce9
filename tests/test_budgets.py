"""A budget against what the nodes typically take, before anything starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flowgraph.frame import Fact, Plan, frame
from flowgraph.graph import Graph
from flowgraph.node import Node
from flowgraph.units import MS

OPTIMIZED = Path("graphs/optimized.yaml")


def warned(path: Path, *settings: str) -> list[str]:
    """What is said of the budget, a line each, without its place."""
    graph = Graph.load(path, settings=settings, environ={})
    return [warning.partition("\n")[0].partition(": ")[2] for warning in graph.warnings if "budget" in warning]


def test_an_answer_prepared_in_the_silence_is_within_the_budget() -> None:
    assert warned(OPTIMIZED) == []


@pytest.mark.parametrize("path", sorted(Path("graphs").rglob("*.yaml")), ids=lambda path: path.stem)
def test_no_bundled_graph_is_warned_of_its_own_budget(path: Path) -> None:
    if "conversations" not in path.parts:
        assert warned(path) == []


def test_a_long_wait_for_the_end_breaks_the_budget_by_itself() -> None:
    [warning] = warned(OPTIMIZED, "dialogue.end_silence=1001ms")

    assert warning == "budget.first_audio_p95: 1s, but dialogue 1001 ms is typical"


def test_without_speculation_the_answer_comes_behind_the_wait() -> None:
    [warning] = warned(OPTIMIZED, "dialogue.speculate_after=off")

    assert warning.endswith("1s, but dialogue 800 + llm 200 + tts 150 = 1150 ms is typical")


def test_what_speculation_cannot_hide_counts_from_the_candidate_on() -> None:
    [warning] = warned(OPTIMIZED, "dialogue.end_silence=400ms", "budget.first_audio_p95=500ms")

    assert warning.endswith("500ms, but stt 100 + dialogue 96 + llm 200 + tts 150 = 546 ms is typical")


@pytest.mark.parametrize(("limit", "warnings"), [("546ms", 0), ("545ms", 1)])
def test_the_later_of_the_decision_and_the_answer_counts(limit: str, warnings: int) -> None:
    assert len(warned(OPTIMIZED, "dialogue.end_silence=400ms", f"budget.first_audio_p95={limit}")) == warnings


def test_a_turn_that_ends_with_its_transcript_has_no_silence_of_its_own() -> None:
    settings = ("dialogue.end=transcript", "dialogue.end_silence=5000ms", "dialogue.speculate_after=off")

    assert warned(OPTIMIZED, *settings) == []


@frame
class _Asked(Fact):
    pass


@frame
class _Meant(Plan):
    pass


class _Ear(Node):
    live = True

    async def run(self) -> Iterator[_Asked]:
        yield _Asked()


class _Owner(Node):
    owns_turn = True

    def speculates(self) -> bool:
        return True

    def typical_ns(self) -> int:
        return 300 * MS

    def candidate_ns(self) -> int:
        return 100 * MS

    def process(self, frame: _Asked) -> Iterator[_Meant]:
        yield _Meant()


class _Slow(Node):
    typical_ms = 50.0

    def process(self, frame: _Meant) -> Iterator[_Meant]:
        yield frame


class _Mouth(Node):
    effects = True

    def process(self, frame: _Meant) -> None:
        pass


def test_what_comes_behind_a_held_edge_is_not_hidden() -> None:
    text = """
    nodes: {ear: {type: ear}, owner: {type: owner}, before: {type: slow}, behind: {type: slow}, mouth: {type: mouth}}
    edges: [ear -> owner -> before, {from: before, to: behind, hold: commit}, behind -> mouth]
    budget: {first_audio_p50: 349ms}
    """
    types = {"ear": _Ear, "owner": _Owner, "slow": _Slow, "mouth": _Mouth}

    [warning] = Graph.from_text(text, types=types).warnings

    assert "349ms, but owner 300 + behind 50 = 350 ms is typical" in warning
