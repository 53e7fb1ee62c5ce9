from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from standins import TYPES

from flowgraph.drawing import dot, flowing, mermaid, text
from flowgraph.graph import Graph

DRAWN = Path(__file__).parent / "drawn"

BUSY = """
description: Everything at once.
services: {stt: {url: "https://me:secret@stt.example:8000/v1"}, llm: {url: embedded}, tts: {url: embedded}}
nodes:
  mic: {type: mic}
  aec: {type: canceller}
  vad: {type: vad}
  stt: {type: ws_stt, on_error: restart}
  dialogue: {type: dialogue, speculate_after: 96ms}
  llm: {type: llm_stream, model: x}
  split: {type: sentence_split}
  tts: {type: kokoro_tts}
  speaker: {type: speaker}
  shop: {type: shop}
  end: {type: printer}
edges:
  - mic -> aec -> vad -> dialogue
  - aec -> stt -> dialogue
  - vad.voice -> stt
  - stt -> end
  - dialogue -> llm -> split -> tts
  - {from: tts, to: speaker, hold: commit}
  - {from: llm, to: shop, hold: commit}
  - {from: shop, to: dialogue, feedback: true}
  - {from: speaker, to: dialogue, feedback: true}
  - {from: speaker, to: aec, feedback: true, overflow: drop_oldest}
"""


def busy() -> Graph:
    return Graph.from_text(BUSY, name="busy", types=TYPES)


def named(name: str) -> Graph:
    return busy() if name == "busy" else Graph.load(name, environ={}, types=TYPES)


@pytest.mark.parametrize("name", ["optimized", "echo", "busy"])
def test_a_graph_is_drawn_as_it_was_looked_at_and_found_readable(name: str) -> None:
    assert text(named(name)) == (DRAWN / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", ["optimized", "busy"])
def test_a_graph_as_mermaid_and_as_dot(name: str) -> None:
    assert mermaid(named(name)) == (DRAWN / f"{name}.mmd").read_text()
    assert dot(named(name)) == (DRAWN / f"{name}.dot").read_text()


@pytest.mark.parametrize(
    ("name", "width"), [("optimized", 60), ("optimized", 100), ("echo", 80), ("busy", 80), ("busy", 100)]
)
def test_no_line_is_wider_than_asked_for(name: str, width: int) -> None:
    assert max(map(len, text(named(name), width).splitlines())) <= width


def test_every_edge_has_its_types_beside_it() -> None:
    drawn = text(busy())

    for edge in busy().edges:
        assert ", ".join(kind.__name__ for kind in edge.types) in drawn


def test_what_a_url_may_hide_is_not_drawn() -> None:
    everywhere = text(busy()) + mermaid(busy()) + dot(busy())

    assert "https://stt.example:8000" in everywhere
    assert "secret" not in everywhere


def test_a_node_is_drawn_below_those_that_feed_it() -> None:
    order = flowing(busy())

    assert sorted(order) == sorted(busy().nodes)
    for edge in busy().edges:
        assert edge.feedback or order.index(edge.source) < order.index(edge.target)


def test_a_lane_is_shared_only_by_edges_that_never_run_side_by_side() -> None:
    """Read from the drawing: a lane is a column; going down it, every begin is followed by its end."""
    lines = text(busy()).splitlines()
    first = lines[2].index("┐") + 1
    for column in range(first, max(map(len, lines))):
        corners = [line[column] for line in lines if len(line) > column and line[column] in "┐┘╗╝╮╯"]
        for upper, lower in list(pairwise(corners))[::2]:
            assert upper + lower in ("┐┘", "╗╝", "╮╯")


def test_mermaid_gets_no_name_that_it_keeps_for_itself() -> None:
    graph = Graph.from_text(
        "nodes: {end: {type: mic}, a-b: {type: vad}, a_b: {type: printer}}\nedges: [end -> a-b -> a_b]", types=TYPES
    )

    assert '  end_ -->|"Audio"| a_b' in mermaid(graph)
    assert '  a_b -->|"SpeechStarted, Voice"| a_b_' in mermaid(graph)
