from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from standins import TYPES

from flowgraph.document import parse
from flowgraph.schema import schema, schema_text

GRAPHS = Path(__file__).parents[1] / "graphs"
FILES = [path for path in sorted(GRAPHS.rglob("*.yaml")) if "conversations" not in path.parts]
GRAPH = """
services: {stt: {url: embedded}}
nodes:
  mic: {type: mic, device: "caller:demo"}
  vad: {type: vad, threshold: 0.5, min_speech: 64ms, on_error: restart}
  stt: {type: ws_stt, service: stt}
  file: {type: wav_reader, path: x.wav}
  mine: {type: "mypackage.shout:Shout", loud: yes}
  dialogue: {type: dialogue, speculate_after: off, barge_in: on}
edges:
  - mic -> vad -> stt
  - {from: stt.transcript, to: dialogue, capacity: 2s, overflow: block, hold: commit, feedback: false}
budget: {first_audio_p95: 700ms}
"""


def wrong(text: str, made_of: dict[str, Any]) -> list[str]:
    """Paths of what an editor would underline."""
    validator = pytest.importorskip("jsonschema").Draft7Validator(made_of)
    errors = validator.iter_errors(parse(text, "graph.yaml", {}).data)
    return sorted("/".join(str(part) for part in error.absolute_path) for error in errors)


def test_the_schema_of_the_bundled_nodes_is_fresh() -> None:
    assert (GRAPHS / "schema.json").read_text() == schema_text(), "run: flow schema > graphs/schema.json"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_bundled_graph_fits_the_schema_and_names_it(file: Path) -> None:
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", file.read_text())

    assert named is not None
    assert (file.parent / named[1]).resolve() == GRAPHS / "schema.json"
    assert wrong(file.read_text(), json.loads((GRAPHS / "schema.json").read_text())) == []


def test_the_schema_is_a_schema() -> None:
    pytest.importorskip("jsonschema").Draft7Validator.check_schema(schema(TYPES))


def test_a_right_graph_fits() -> None:
    assert wrong(GRAPH, schema(TYPES)) == []


def test_a_variant_needs_no_nodes_no_types_and_may_take_entries_away() -> None:
    assert wrong("extends: optimized\nnodes: {vad: {threshold: 0.7}, printer: null}\n", schema(TYPES)) == []
    assert wrong("name: nothing\n", schema(TYPES)) == [""]


@pytest.mark.parametrize(
    ("right", "mistake", "path"),
    [
        ("threshold: 0.5", "threshold: high", "nodes/vad/threshold"),
        ("threshold: 0.5", "threshold: 1.5", "nodes/vad/threshold"),
        ("threshold: 0.5", "treshold: 0.5", "nodes/vad"),
        ("min_speech: 64ms", "min_speech: 64", "nodes/vad/min_speech"),
        ("on_error: restart", "on_error: ignore", "nodes/vad/on_error"),
        (", path: x.wav", "", "nodes/file"),
        ("barge_in: on", "barge_in: maybe", "nodes/dialogue/barge_in"),
        ("barge_in: on", "on_error: skip", "nodes/dialogue/on_error"),
        ("url: embedded", "url: embeded", "services/stt/url"),
        ("url: embedded", "uri: embedded", "services/stt"),
        ("hold: commit", "hold: comit", "edges/1/hold"),
        ("capacity: 2s", "capacity: 0", "edges/1/capacity"),
        ("to: dialogue", "too: dialogue", "edges/1"),
        ("mic -> vad -> stt", "mic", "edges/0"),
        ("first_audio_p95: 700ms", "first_audio: 700ms", "budget"),
        ("services:", "service:", ""),
    ],
)
def test_a_mistake_is_underlined(right: str, mistake: str, path: str) -> None:
    assert right in GRAPH
    assert path in wrong(GRAPH.replace(right, mistake), schema(TYPES))


@pytest.mark.parametrize(
    "place", ["threshold: 0.5", "min_speech: 64ms", "barge_in: on", "capacity: 2s", "url: embedded"]
)
def test_a_variable_fits_anywhere(place: str) -> None:
    name = place.partition(":")[0]

    assert wrong(GRAPH.replace(place, f'{name}: "$${{VAR:-x}}"'), schema(TYPES)) == []


def test_an_option_shows_its_description_and_its_default_with_its_unit() -> None:
    options = schema(TYPES)["definitions"]["node.vad"]["properties"]

    assert options["threshold"]["description"] == "Above it, somebody speaks."
    assert options["min_speech"]["default"] == "64ms"
    assert options["type"]["description"].endswith("Takes: audio. Yields: speech_started, voice.")
