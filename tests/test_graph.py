from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from standins import TYPES

from flowgraph import catalog
from flowgraph.errors import GraphError
from flowgraph.frame import End, Fact, Frame, Heard, frame
from flowgraph.graph import Graph
from flowgraph.node import Node
from flowgraph.units import MS, SECOND
from flowgraph.variants import bundled
from nodes.vocabulary import Audio, Sound, Speech, SpeechStarted, Transcript, Voice

GRAPHS = Path(__file__).parents[1] / "graphs"
OPTIMIZED = (GRAPHS / "optimized.yaml").read_text()


OPTIONAL = """\
extends: optimized
nodes: {{whole: {{type: post_tts}}}}
edges:
  - mic -> vad -> dialogue
  {edges}
"""
"""Nodes that ship, and take more than what they work on."""


def graph(text: str, *options: str, **environ: str) -> Graph:
    return Graph.from_text(text, settings=options, environ=environ, types=TYPES)


def edges(text: str, *options: str) -> dict[str, tuple[type[Frame], ...]]:
    return {edge.label: edge.types for edge in graph(text, *options).edges}


def wrong(text: str, *options: str) -> list[str]:
    with pytest.raises(GraphError) as caught:
        graph(text, *options)
    return [problem.message for problem in caught.value.problems]


# -- what a graph is ----------------------------------------------------------------------------------------------------


def test_the_graph_of_the_design_is_right() -> None:
    checked = graph(OPTIMIZED)

    assert checked.name == "optimized"
    assert checked.owner == "dialogue"
    assert checked.order == ("mic", "vad", "stt", "dialogue", "llm", "split", "tts", "speaker")
    assert checked.budget == {"first_audio_p95": 1000 * MS}
    assert checked.warnings == ()
    assert {edge.label: edge.types for edge in checked.edges}["tts -> speaker"] == (Speech, End)
    assert [edge.label for edge in checked.edges if edge.hold] == ["tts -> speaker"]
    assert [edge.label for edge in checked.edges if edge.feedback] == ["speaker -> dialogue", "tts -> split"]


def test_every_edge_knows_its_line() -> None:
    places = {edge.label: edge.place for edge in graph(OPTIMIZED).edges}

    assert places["vad -> dialogue"] == "graph:21:12"
    assert places["tts -> speaker"] == "graph:25:12"


def test_the_file_is_named_as_it_was_given_and_its_stem_is_the_default_name(tmp_path: Path) -> None:
    file = tmp_path / "talk.yaml"
    file.write_text("nodes: {mic: {type: mic}, out: {type: printer}}\nedges: [mic -> out]")

    loaded = Graph.load(file, environ={}, types=TYPES)

    assert loaded.name == "talk"
    assert loaded.edges[0].place == f"{file}:2:9"


def test_a_node_spec_makes_fresh_nodes_with_checked_options() -> None:
    spec = graph(OPTIMIZED).nodes["dialogue"]

    one, other = spec.make(), spec.make()

    assert one is not other
    assert one.end_silence == 800 * MS  # type: ignore[attr-defined]
    assert spec.place == "graph:14:3"


def test_nodes_share_no_option_with_the_graph() -> None:
    spec = graph("nodes: {mic: {type: mic}, out: {type: printer, fields: [text]}}\nedges: [mic -> out]").nodes["out"]
    spec.make().fields.append("changed")  # type: ignore[attr-defined, operator]

    assert spec.make().fields == ["text"]  # type: ignore[attr-defined, comparison-overlap]


def test_services_name_their_server_and_hide_their_key() -> None:
    services = graph(OPTIMIZED, LLM_API_KEY="sk-12345", TTS_URL="https://tts.example").services

    assert (services["stt"].url, services["stt"].server, services["stt"].embedded) == (
        "embedded",
        "nodes.servers.stt",
        True,
    )
    assert (services["tts"].url, services["tts"].embedded) == ("https://tts.example", False)
    assert services["llm"].key == "sk-12345"
    assert "sk-12345" not in repr(services)


@pytest.mark.parametrize(
    ("services", "environ", "hint"),
    [
        ('stt: {url: "http://x"}', {}, 'give the service its key: `key: "${…}"` at '),
        ('llm: {url: "http://x", key: "sk-${A}"}', {"A": "123"}, "correct its key: the environment variable A, which test:1:40 names"),
        ('llm: {url: "http://x", key: "${A:-}${B:-}"}', {}, "set its key: the environment variables A and B, which test:1:40 names"),
        ('llm: {url: "http://x", key: sk-12345}', {}, "correct its key: test:1:40"),
    ],
)  # fmt: skip
def test_a_key_that_is_not_taken_is_found_by_its_variable_or_its_line(
    services: str, environ: dict[str, str], hint: str
) -> None:
    loaded = Graph.from_text(f"services: {{{services}}}\nextends: optimized", name="test", environ=environ)

    assert loaded.services[services[:3]].key_hint.startswith(hint)


def test_a_variable_that_is_not_set_is_told_once() -> None:
    text = "nodes: {mic: {type: mic}, out: {type: printer}}\nedges: [mic -> out]"

    assert wrong(text, "mic.rate_hz=${NOPE}") == ["the environment variable NOPE is not set"]


def test_a_service_that_no_node_uses_is_not_there_to_be_started() -> None:
    text = "services: {stt: {url: embedded}}\nnodes: {mic: {type: mic}, out: {type: printer}}\nedges: [mic -> out]"

    assert graph(text).services == {}


def test_a_setting_of_text_needs_no_quotes() -> None:
    spec = graph("nodes: {mic: {type: mic}, out: {type: printer}}\nedges: [mic -> out]", "mic.device=3").nodes["mic"]

    assert spec.make().device == "3"  # type: ignore[attr-defined]


def test_options_of_a_service_reach_its_embedded_server() -> None:
    text = OPTIMIZED.replace('"${LLM_URL:-embedded}"', "embedded, options: {pace: 20}")

    assert graph(text).services["llm"].options == {"pace": 20}


def test_no_repr_of_a_graph_shows_what_came_from_the_environment() -> None:
    text = 'nodes: {mic: {type: mic, device: "${DEVICE}"}, out: {type: printer}}\nedges: [mic -> out]'

    assert "secret-device" not in repr(graph(text, DEVICE="secret-device"))


# -- what an edge carries -----------------------------------------------------------------------------------------------

SOURCES = """
nodes:
  mic: {type: mic}
  vad: {type: vad}
  louder: {type: gain}
  softer: {type: gain}
  echo: {type: echo}
  speaker: {type: speaker}
  out: {type: printer}
"""


def test_a_node_that_passes_sound_on_yields_what_it_is_fed_with() -> None:
    carried = edges(
        SOURCES + "edges: [mic -> louder -> vad -> out, louder -> out, mic -> echo -> softer -> speaker -> out]"
    )

    assert carried["louder -> vad"] == (Audio,)
    assert carried["louder -> out"] == (Audio,)
    assert carried["softer -> speaker"] == (Speech,)


def test_what_is_passed_on_goes_through_a_chain_whatever_the_order_of_the_lines() -> None:
    carried = edges(
        "nodes: {mic: {type: mic}, a: {type: gain}, b: {type: gain}, echo: {type: echo}, out: {type: printer}}\n"
        "edges: [b -> out, a -> b, echo -> b, mic -> a, mic -> echo]"
    )

    assert set(carried["b -> out"]) == {Audio, Speech}


def test_a_port_restricts_an_edge() -> None:
    text = "nodes: {mic: {type: mic}, vad: {type: vad}, out: {type: printer}}\nedges:\n  - mic -> vad\n"

    assert edges(text + "  - vad -> out")["vad -> out"] == (SpeechStarted, Voice)
    assert edges(text + "  - vad.voice -> out")["vad -> out"] == (Voice,)
    assert edges(text + "  - {from: vad.speech_started, to: out}")["vad -> out"] == (SpeechStarted,)


def test_two_ports_are_two_edges() -> None:
    text = "nodes: {mic: {type: mic}, vad: {type: vad}, out: {type: printer}}\nedges:\n  - mic -> vad\n"

    found = graph(text + "  - vad.voice -> out\n  - vad.speech_started -> out").edges

    assert [(edge.label, edge.types) for edge in found[1:]] == [
        ("vad -> out", (Voice,)),
        ("vad -> out", (SpeechStarted,)),
    ]


def test_a_port_of_what_is_passed_on_has_the_name_of_what_arrives() -> None:
    text = "nodes: {mic: {type: mic}, louder: {type: gain}, out: {type: printer}}\nedges: [mic -> louder, louder.%s -> out]"

    assert edges(text % "audio")["louder -> out"] == (Audio,)
    assert edges(text % "sound")["louder -> out"] == (Audio,)
    assert wrong(text % "speech") == ["'louder' has no output 'speech'"]


@frame
class Shouted(Transcript):
    """A narrower fact."""


class Shouter(Node):
    def process(self, frame: Transcript) -> Iterator[Shouted]:
        yield Shouted(frame.text)


class Picky(Node):
    def process(self, frame: Shouted) -> None:
        pass


class Anything(Node):
    def process(self, frame: Fact) -> Iterator[Fact]:
        yield frame


def test_types_meet_from_the_narrower_and_from_the_wider_side() -> None:
    types = {**TYPES, "shouter": Shouter, "picky": Picky, "anything": Anything}
    found = Graph.from_text(
        "services: {stt: {url: embedded}}\n"
        "nodes: {mic: {type: mic}, stt: {type: ws_stt}, again: {type: shouter}, picky: {type: picky}, any: {type: anything}}\n"
        "edges: [mic -> stt -> again -> picky, stt -> picky, stt -> any, again -> any -> picky]",
        types=types,
    )
    carried = {edge.label: edge.types for edge in found.edges}

    assert carried["again -> picky"] == (Shouted,)
    assert carried["stt -> picky"] == (Shouted,), "a transcript may be a shouted one"
    assert carried["any -> picky"] == (Shouted,)
    assert set(carried["again -> any"]) == {Shouted}


def test_a_source_of_sound_of_no_kind_meets_whoever_takes_a_kind() -> None:
    class AnySound(Node):
        async def run(self) -> Iterator[Sound]:  # type: ignore[override, misc]
            yield Sound(None, 1)  # type: ignore[arg-type]

    AnySound.run.__annotations__["return"] = Iterator[Sound]
    found = Graph.from_text(
        "nodes: {a: {type: any}, vad: {type: vad}, out: {type: printer}}\nedges: [a -> vad -> out]",
        types={**TYPES, "any": AnySound},
    )

    assert found.edges[0].types == (Audio,)


# -- how much an edge holds ---------------------------------------------------------------------------------------------


def test_an_edge_holds_64_frames_or_five_seconds_of_sound() -> None:
    found = {edge.label: edge for edge in graph(OPTIMIZED).edges}

    assert (found["vad -> dialogue"].capacity, found["vad -> dialogue"].capacity_ns) == (64, 0)
    assert found["mic -> vad"].capacity_ns == 5 * SECOND
    assert found["mic -> vad"].capacity == 5000


def test_a_capacity_is_frames_or_a_duration() -> None:
    text = "nodes: {mic: {type: mic}, out: {type: printer}}\nedges: [{from: mic, to: out, capacity: %s}]"

    assert (graph(text % "7").edges[0].capacity, graph(text % "7").edges[0].capacity_ns) == (7, 0)
    assert graph(text % "250ms").edges[0].capacity_ns == 250 * MS
    assert graph(text % '"${C:-3}"').edges[0].capacity == 3


def test_a_live_producer_drops_the_oldest_everything_else_waits_and_feedback_fails() -> None:
    overflow = {edge.label: edge.overflow for edge in graph(OPTIMIZED).edges}

    assert overflow == {
        "mic -> vad": "drop_oldest", "mic -> stt": "drop_oldest", "vad -> dialogue": "block", "vad -> stt": "block",
        "stt -> dialogue": "block", "dialogue -> llm": "block", "llm -> split": "block", "split -> tts": "block",
        "tts -> speaker": "block", "speaker -> dialogue": "fail", "tts -> split": "fail",
    }  # fmt: skip


def test_the_reference_of_an_echo_canceller_may_drop_the_oldest() -> None:
    found = graph(
        "nodes: {mic: {type: mic}, aec: {type: canceller}, echo: {type: echo}, speaker: {type: speaker}}\n"
        "edges:\n  - mic -> aec -> echo -> speaker\n"
        "  - {from: speaker.played, to: aec, feedback: true, overflow: drop_oldest}"
    )

    assert found.edges[-1].overflow == "drop_oldest"
    assert found.order == ("mic", "aec", "echo", "speaker")


# -- owners, holds, effects ---------------------------------------------------------------------------------------------


def test_a_graph_without_an_owner_may_make_plans() -> None:
    assert Graph.load("echo", environ={}, types=TYPES).owner is None


def test_a_hold_further_up_the_path_is_as_good() -> None:
    moved = OPTIMIZED.replace("{from: tts, to: speaker, hold: commit, capacity: 2s}", "tts -> speaker").replace(
        "dialogue -> llm -> split -> tts", "{from: dialogue, to: llm, hold: commit}\n  - llm -> split -> tts"
    )

    assert [edge.label for edge in graph(moved).edges if edge.hold] == ["dialogue -> llm"]


def test_an_owner_that_does_not_speculate_needs_no_hold() -> None:
    without = OPTIMIZED.replace("hold: commit, ", "")

    assert len(wrong(without)) == 1
    assert graph(without, "dialogue.speculate_after=off").owner == "dialogue"


def test_facts_cross_no_held_edge_and_need_none() -> None:
    class Lamp(Node):
        effects = True

        def process(self, frame: Heard) -> None:
            pass

    types = {**TYPES, "lamp": Lamp}
    text = OPTIMIZED.replace("edges:", "  lamp: {type: lamp}\nedges:\n  - speaker -> lamp")

    assert Graph.from_text(text, environ={}, types=types).owner == "dialogue"


def test_a_tool_sits_behind_a_held_edge_with_its_results_fed_back() -> None:
    text = OPTIMIZED.replace(
        "edges:",
        "  shop: {type: shop}\nedges:\n  - {from: llm, to: shop, hold: commit}\n  - {from: shop, to: dialogue, feedback: true}",
    )

    assert [edge.label for edge in graph(text).edges if edge.hold] == ["llm -> shop", "tts -> speaker"]


# -- warnings -----------------------------------------------------------------------------------------------------------


def test_what_is_probably_not_meant_is_a_warning_with_its_place() -> None:
    text = (
        "services: {spare: {url: embedded}, far: {url: 'http://x', options: {a: 1}}}\n"
        "nodes: {mic: {type: mic}, vad: {type: vad}, out: {type: printer}}\n"
        "edges: [{from: mic, to: out, feedback: true}, mic -> vad, vad -> out]\n"
    )
    first = [warning.partition("\n")[0] for warning in graph(text).warnings]

    assert first == [
        "graph:1:12: no node uses the service 'spare'",
        "graph:1:36: no node uses the service 'far'",
        "graph:1:59: far.options only reach an embedded server",
        "graph:3:40: feedback: mic -> out closes no cycle",
    ]


def test_a_yield_that_nobody_takes_is_a_warning() -> None:
    text = "nodes: {mic: {type: mic}, vad: {type: vad}}\nedges: [mic -> vad]\n"

    assert "nothing takes what 'vad' yields (SpeechStarted | Voice)" in graph(text).warnings[0]


def test_a_budget_below_what_the_nodes_typically_take_is_a_warning() -> None:
    class Slow(TYPES["vad"]):  # type: ignore[misc]
        typical_ms = 500.0

    text = "nodes: {mic: {type: mic}, vad: {type: slow}, out: {type: printer}}\nedges: [mic -> vad -> out]\n"
    types = {**TYPES, "slow": Slow}

    assert Graph.from_text(text + "budget: {first_audio_p95: 501ms}", types=types).warnings == ()
    warnings = Graph.from_text(text + "budget: {first_audio_p95: 499ms}", types=types).warnings
    assert "budget.first_audio_p95: 499ms, but vad 500 ms is typical" in warnings[0]


# -- nodes that misbehave -----------------------------------------------------------------------------------------------


def loaded_with(cls: type[Node], options: str = "") -> list[str]:
    with pytest.raises(GraphError) as caught:
        Graph.from_text(
            f"nodes: {{mic: {{type: mic}}, odd: {{type: odd, {options}}}}}\nedges: [mic -> odd]",
            types={**TYPES, "odd": cls},
        )
    return [problem.message for problem in caught.value.problems]


def test_a_class_whose_annotations_name_nothing_is_one_problem() -> None:
    class Odd(Node):
        def process(self, frame: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821
            pass

    assert loaded_with(Odd) == [
        "type 'odd' can't be used: Odd.process: name 'Nowhere' is not defined; its frames must be imported at module level"
    ]


def test_a_class_without_ports_is_one_problem() -> None:
    class Odd(Node):
        pass

    assert loaded_with(Odd) == ["type 'odd' can't be used: Odd has no ports: annotate the frames of process or run"]


def test_a_check_of_a_node_that_raises_is_one_problem() -> None:
    class Odd(TYPES["printer"]):  # type: ignore[misc]
        def problems(self) -> Iterator[str]:
            raise OSError("disk on fire")

    assert loaded_with(Odd) == ["odd: its own checks failed: OSError: disk on fire"]


def test_a_message_of_a_nodes_own_check_shows_no_secret() -> None:
    class Odd(Node):
        voice: str = ""

        def problems(self) -> Iterator[str]:
            yield f"voice {self.voice} is not known"

        def process(self, frame: Audio) -> None:
            pass

    text = 'nodes: {mic: {type: mic}, odd: {type: odd, voice: "${VOICE}"}}\nedges: [mic -> odd]'
    with pytest.raises(GraphError) as caught:
        Graph.from_text(text, types={**TYPES, "odd": Odd}, environ={"VOICE": "sk-12345"})

    assert [(p.message, p.column) for p in caught.value.problems] == [("odd: voice ${VOICE} is not known", 51)]


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ("- vad -> stt", "nothing feeds 'stt' the Audio that it needs"),
        ("- dialogue.prefix -> llm", "nothing feeds 'llm' the Prompt that it needs"),
        ("- llm.end -> split", "nothing feeds 'split' the Token that it needs"),
        ("- llm -> tts", "nothing feeds 'tts' the Sentence that it needs"),
        ("- llm -> speaker", "nothing feeds 'speaker' the Speech that it needs"),
        ("- llm.end -> whole", "nothing feeds 'whole' the Token that it needs"),
    ],
)
def test_a_node_that_is_fed_something_else_than_it_works_on_is_told(edges: str, said: str) -> None:
    text = OPTIONAL.format(edges=edges)
    with pytest.raises(GraphError) as caught:
        Graph.from_text(text, environ={})

    assert said in [problem.message for problem in caught.value.problems]


# -- finding classes ----------------------------------------------------------------------------------------------------


def test_a_type_is_a_class_by_its_python_path() -> None:
    text = "nodes: {mic: {type: 'standins:Mic'}, out: {type: 'standins:Printer'}}\nedges: [mic -> out]"

    assert Graph.from_text(text).nodes["mic"].cls is TYPES["mic"]


def test_every_built_in_type_is_one_public_class_of_its_own_module() -> None:
    for name, cls in catalog.all_types().items():
        if name in catalog.built_in():
            assert cls.__module__ == f"nodes.{name}"


def test_a_module_with_two_nodes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("nodes.vad")
    for name in ("Mic", "Vad"):
        cls = type(name, (TYPES[name.lower()],), {"__module__": "nodes.vad", "__annotations__": {}})
        setattr(module, name, cls)
    monkeypatch.setitem(sys.modules, "nodes.vad", module)

    with pytest.raises(catalog.UnusableType, match="must hold one public Node class, found Mic, Vad"):
        catalog.find("vad")


def test_a_type_of_an_installed_package_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "shouting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[flowgraph.nodes]\nlouder = standins:Gain\nbroken = standins:Nobody\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert catalog.find("louder") is TYPES["gain"]
    with pytest.raises(catalog.UnusableType, match="has no class Nobody"):
        catalog.find("broken")
    with pytest.raises(catalog.UnusableType) as caught:
        catalog.find("loudre")
    assert caught.value.hint == "did you mean 'louder'?"


def test_somebody_elses_nodes_package_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes/__init__.py").write_text("")
    (tmp_path / "graph.yaml").write_text("nodes: {mic: {type: mic}}\nedges: [mic -> mic]\n")
    code = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(GRAPHS.parent)!r}]\n"
        "from flowgraph.graph import Graph; Graph.load('graph.yaml')"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert f"the package 'nodes' that Python finds first is {tmp_path}/nodes, not Flowgraph's" in done.stderr
    assert "rename or move the other one" in done.stderr


def test_a_module_that_lacks_what_it_imports_says_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needy.py").write_text("import no_such_library")
    (tmp_path / "failing.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(catalog.UnusableType, match="No module named 'no_such_library'"):
        catalog.find("needy:Node")
    with pytest.raises(catalog.UnusableType, match="ZeroDivisionError"):
        catalog.find("failing:Node")


# -- speed and safety ---------------------------------------------------------------------------------------------------


def test_loading_a_graph_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from flowgraph.graph import Graph\n"
        "Graph.load('optimized', environ={})\n"
        "heavy = {'numpy', 'aiohttp', 'torch', 'onnxruntime', 'sounddevice', 'soxr', 'rich', 'typer'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=GRAPHS.parent, capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


@pytest.mark.parametrize("name", bundled())
def test_a_bundled_graph_is_right(name: str) -> None:
    assert Graph.load(name, environ={}).warnings == ()


NAMES = st.sampled_from([*yaml.safe_load(OPTIMIZED)["nodes"], "mike", "stt.transcript", "services", "", "é", "a" * 70])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), NAMES,
    st.sampled_from(["off", "400ms", "${X}", "${X:-1}", "embedded", "http://[::1", "mic -> vad", "os:system", "x.y:Z", "commit"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=3), max_leaves=6
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """The text of a valid graph with a few values replaced, taken away or added anywhere."""
    data = yaml.safe_load(OPTIMIZED)
    for _ in range(draw(st.integers(1, 4))):
        here = data
        while isinstance(here, dict | list) and here:
            keys = list(here) if isinstance(here, dict) else list(range(len(here)))
            key = draw(st.sampled_from(keys))
            if draw(st.booleans()) or not isinstance(here[key], dict | list):
                break
            here = here[key]
        if not here:
            continue
        action = draw(st.sampled_from(["replace", "remove", "add"]))
        if action == "replace":
            here[key] = draw(VALUES)
        elif action == "remove":
            del here[key]
        elif isinstance(here, list):
            here.append(draw(VALUES | st.builds("{} -> {}".format, NAMES, NAMES)))
        else:
            here[draw(NAMES | st.sampled_from(["hold", "feedback", "capacity", "overflow", "on_error", "type"]))] = (
                draw(VALUES)
            )
    return yaml.safe_dump(data, allow_unicode=True)


@settings(max_examples=150, deadline=None)
@given(mutated(), st.lists(st.builds("{}.{}={}".format, NAMES, NAMES, SCALARS), max_size=2))
def test_a_mutated_graph_is_right_or_a_graph_error(text: str, options: list[str]) -> None:
    with contextlib.suppress(GraphError):
        str(graph(text, *options, X="10"))


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, len(OPTIMIZED)), st.integers(0, 30), st.text(alphabet=" \t\n:-[]{}>&*!|'\"#%@`,.?${}é0a", max_size=6)
)
def test_a_graph_with_a_hole_in_its_text_is_right_or_a_graph_error(at: int, gone: int, put: str) -> None:
    with contextlib.suppress(GraphError):
        graph(OPTIMIZED[:at] + put + OPTIMIZED[at + gone :])
