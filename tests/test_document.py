from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgraph.document import MAX_BYTES, Document, Spot, parse, plain_value
from flowgraph.errors import GraphError
from flowgraph.variants import bundled, locate, read, settle


def document(text: str, **environ: str) -> Document:
    return parse(text, "talk.yaml", environ)


@pytest.mark.parametrize("word", ["on", "off", "yes", "no", "y", "n", "On", "OFF"])
def test_only_true_and_false_are_booleans(word: str) -> None:
    assert document(f"barge_in: {word}").data == {"barge_in": word}
    assert document("a: true\nb: false").data == {"a": True, "b": False}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("-17", -17), ("0x1F", 31), ("0o17", 15), ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("-.inf", float("-inf")),
        ("1_000", "1_000"), ("12:30", "12:30"), ("400ms", "400ms"), ("2026-01-02", "2026-01-02"), ("0123", 123),
        ("~", None), ("null", None), ("", None), ("caller:demo", "caller:demo"), ("9" * 5000, "9" * 5000),
    ],
)  # fmt: skip
def test_unquoted_text_means_what_yaml_1_2_says(text: str, value: object) -> None:
    assert plain_value(text) == value


def test_quoted_text_stays_text() -> None:
    assert document('a: "5"\nb: \'true\'\nc: ""').data == {"a": "5", "b": "true", "c": ""}


def test_every_path_knows_the_place_of_its_key_and_of_its_value() -> None:
    doc = document('nodes:\n  vad: {type: vad, threshold: 0.5}\nedges:\n  - mic -> "vad"\n  - [a]\n')

    assert doc.place(("nodes", "vad", "threshold")) == "talk.yaml:2:31"
    assert doc.place(Spot(("nodes", "vad", "threshold"), key=True)) == "talk.yaml:2:20"
    assert doc.place(("edges", 0)) == "talk.yaml:4:5"
    assert doc.place(("edges", 1, 0)) == "talk.yaml:5:6"
    assert doc.place(("nodes", "vad", "nothing", "here")) == "talk.yaml:2:3"
    assert doc.place(("nowhere",)) == "talk.yaml"


def test_a_spot_inside_a_text_has_its_own_column() -> None:
    doc = document("a: mic -> vad\nb: 'mic -> vad'\nc: \"mic -> \\x76ad\"\n")

    assert doc.place(Spot(("a",), offset=7, width=3)) == "talk.yaml:1:11"
    assert doc.place(Spot(("b",), offset=7, width=3)) == "talk.yaml:2:12"
    assert doc.place(Spot(("c",), offset=7, width=3)) == "talk.yaml:3:4", "an escape: columns no longer correspond"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r", "\x85", "\u2028"])
def test_lines_are_counted_as_yaml_counts_them(newline: str) -> None:
    doc = document(f"a: 1{newline}{newline}b: 2{newline}")

    assert doc.place(("b",)) == "talk.yaml:3:4"
    assert doc.problem(("b",), "wrong").text == "b: 2"


def test_variables_are_replaced_in_values_only() -> None:
    doc = document('"${KEY}": "${HOST:-localhost}:${PORT:-80}"\na: ${PORT}\nb: "$${PORT} and $PORT"', PORT="8000")

    assert doc.data == {"${KEY}": "localhost:8000", "a": 8000, "b": "${PORT} and $PORT"}


def test_an_empty_variable_takes_the_default() -> None:
    assert document('a: "${URL:-embedded}"\nb: "${URL}"', URL="").data == {"a": "embedded", "b": ""}


def test_what_a_variable_holds_is_not_expanded_again() -> None:
    assert document('a: "${A}"', A="${B} *x &y !tag").data == {"a": "${B} *x &y !tag"}


def test_a_message_shows_the_variable_not_what_it_holds() -> None:
    doc = document('key: "Bearer ${SECRET}"\nurl: "${URL:-http://x}"', SECRET="sk-12345", URL="http://me@host")

    assert doc.found(("url",)) == "'${URL:-http://x}'"
    assert doc.as_written("can't parse http://me@host") == "can't parse ${URL:-http://x}"
    assert doc.as_written("401 for Bearer sk-12345, that is sk-12345") == "401 for Bearer ${SECRET}, that is ${SECRET}"


def test_a_key_in_the_file_is_masked_wherever_its_line_is_shown() -> None:
    doc = document('llm: {url: "http://me:pass@host", api_key: sk-12345, max_tokens: 5}\nkey: "${KEY:-}"', KEY="x")

    line = doc.problem(("llm", "url"), "wrong").text

    assert line == 'llm: {url: "http://me:****@host", api_key: ********, max_tokens: 5}'
    assert doc.problem(("key",), "wrong").text == 'key: "${KEY:-}"'
    assert "sk-12345" not in doc.found(("llm", "api_key"))


def test_aliases_are_copies() -> None:
    doc = document("a: &x {b: 1}\nc: *x\n")
    doc.data["c"]["b"] = 2

    assert doc.data["a"] == {"b": 1}
    assert doc.place(("c", "b")) == "talk.yaml:1:11", "where it is written"


def hostile() -> dict[str, bytes]:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
    )
    return {
        "bomb": bomb.encode(),
        "ten megabytes": b"a: b\n" * 2_000_000,
        "binary": bytes(range(256)) * 100,
        "zeros": b"\0" * 1000,
        "deep brackets": b"[" * 200_000,
        "deep braces": b"{a: " * 60_000,
        "deep dashes": b"- " * 100_000,
        "deep indentation": b"".join(b" " * i + b"a:\n" for i in range(600)),
        "many values": b"[" + b"a," * 100_000 + b"]",
        "one long line": b"a: " + b"b" * 250_000 + b"\n c: d: e",
        "many anchors": b"".join(b"- &a%d x\n" % i for i in range(20_000)),
        "a quote never closed": b'a: "' + b"b\n" * 100_000,
        "many question marks": b"? " * 100_000,
        "directives": b"%YAML 9.9\n---\na: b",
        "utf-16": "nodes: {}".encode("utf-16"),
    }


@pytest.mark.alone
@pytest.mark.parametrize("name", hostile())
def test_a_hostile_file_is_one_clear_error_within_a_second(name: str, tmp_path: Path) -> None:
    file = tmp_path / "graph.yaml"
    file.write_bytes(hostile()[name])
    begin = time.perf_counter()

    with pytest.raises(GraphError) as caught:
        read(str(file), {})

    assert time.perf_counter() - begin < 1.0
    assert len(caught.value.problems) == 1
    assert len(str(caught.value)) < 1000


def test_a_file_of_just_the_allowed_size_is_read(tmp_path: Path) -> None:
    file = tmp_path / "graph.yaml"
    text = "a: b\n#"
    file.write_text(text + "x" * (MAX_BYTES - len(text)))

    assert read(str(file), {}).data == {"a": "b"}


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    file = tmp_path / "graph.yaml"
    file.write_bytes(b"\xef\xbb\xbfname: x\n")

    assert read(str(file), {}).data == {"name": "x"}


@given(st.text())
def test_any_text_is_data_or_a_graph_error(text: str) -> None:
    with contextlib.suppress(GraphError):
        document(text)


# -- finding files ------------------------------------------------------------------------------------------------------


def test_a_bundled_graph_is_found_by_its_name_from_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert "optimized" in bundled()
    assert read("optimized", {}).data["name"] == "optimized"
    with pytest.raises(GraphError, match="did you mean 'optimized'"):
        read("graphs/optimised.yaml", {})


def test_a_file_of_ones_own_comes_before_a_bundled_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "optimized").write_text("name: mine")

    assert read("optimized", {}).data["name"] == "mine"


@pytest.mark.parametrize("name", ["", ".", "no\0name", "x" * 5000, "/dev/null", "~"])
def test_a_name_that_is_no_file_is_a_graph_error(name: str) -> None:
    with pytest.raises(GraphError):
        read(name, {})


# -- variants -----------------------------------------------------------------------------------------------------------

BASE = """
name: base
description: The base.
services: {stt: {url: embedded}}
nodes:
  mic: {type: mic, device: default}
  vad: {type: vad, threshold: 0.5, runtime: onnx}
edges: [mic -> vad]
"""


def variant(tmp_path: Path, text: str, base: str = BASE, **environ: str) -> Document:
    (tmp_path / "base.yaml").write_text(base)
    (tmp_path / "top.yaml").write_text(text)
    return read(str(tmp_path / "top.yaml"), environ)


def test_a_variant_merges_maps_by_name(tmp_path: Path) -> None:
    doc = variant(tmp_path, "extends: base.yaml\nnodes:\n  vad: {threshold: 0.7}\n  out: {type: printer}\n")

    assert doc.data["nodes"]["vad"] == {"type": "vad", "threshold": 0.7, "runtime": "onnx"}
    assert list(doc.data["nodes"]) == ["mic", "vad", "out"]
    assert doc.data["edges"] == ["mic -> vad"]
    assert doc.data["services"] == {"stt": {"url": "embedded"}}


def test_a_variant_replaces_the_edges_and_inherits_no_name(tmp_path: Path) -> None:
    doc = variant(tmp_path, "extends: base.yaml\nedges: [vad -> mic]\n")

    assert doc.data["edges"] == ["vad -> mic"]
    assert "name" not in doc.data
    assert "description" not in doc.data


def test_null_takes_an_inherited_entry_away(tmp_path: Path) -> None:
    doc = variant(tmp_path, "extends: base.yaml\nnodes: {mic: null, vad: {threshold: null}}\n")

    assert doc.data["nodes"] == {"vad": {"type": "vad", "runtime": "onnx"}}


def test_a_node_of_another_type_starts_without_the_old_options(tmp_path: Path) -> None:
    doc = variant(tmp_path, "extends: base.yaml\nnodes: {vad: {type: energy, level: -40}}\n")

    assert doc.data["nodes"]["vad"] == {"type": "energy", "level": -40}


def test_places_point_into_the_file_that_wrote_the_line(tmp_path: Path) -> None:
    doc = variant(tmp_path, "extends: base.yaml\nnodes:\n  vad: {threshold: 0.7}\n")

    assert doc.place(("nodes", "vad", "threshold")).endswith("top.yaml:3:20")
    assert doc.place(("nodes", "vad", "runtime")).endswith("base.yaml:7:45")
    assert doc.place(Spot(("nodes", "vad"), key=True)).endswith("base.yaml:7:3")
    assert doc.place(("edges", 0)).endswith("base.yaml:8:9")


def test_a_variant_may_extend_a_variant_in_another_folder(tmp_path: Path) -> None:
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps/one.yaml").write_text("extends: ../base.yaml\nnodes: {vad: {threshold: 0.1}}\n")

    doc = variant(tmp_path, "extends: steps/one.yaml\nnodes: {vad: {runtime: torch}}\n")

    assert doc.data["nodes"]["vad"] == {"type": "vad", "threshold": 0.1, "runtime": "torch"}
    assert doc.files == [str(tmp_path / name) for name in ("top.yaml", "steps/one.yaml", "base.yaml")]


def test_a_variant_of_a_bundled_graph_names_it(tmp_path: Path) -> None:
    assert "dialogue" in variant(tmp_path, "extends: optimized\n").data["nodes"]


def test_problems_of_both_files_are_kept(tmp_path: Path) -> None:
    doc = variant(tmp_path, "extends: base.yaml\nname: ${A}\n", "description: ${B}\nnodes: {}\n")

    assert sorted(problem.message for problem in doc.problems) == [
        "the environment variable A is not set",
        "the environment variable B is not set",
    ]


def test_a_base_that_is_no_yaml_is_reported_with_the_variants_own_problems(tmp_path: Path) -> None:
    with pytest.raises(GraphError) as caught:
        variant(tmp_path, "extends: base.yaml\nname: ${A}\n", "a: [")

    assert [Path(problem.file).name for problem in caught.value.problems] == ["top.yaml", "base.yaml"]


def test_a_chain_of_too_many_files_is_refused(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"{i}.yaml").write_text(f"extends: {i + 1}.yaml\n")

    with pytest.raises(GraphError, match="more than 16 files"):
        read(str(tmp_path / "0.yaml"), {})


# -- settings -----------------------------------------------------------------------------------------------------------


def settled(*settings: str, **environ: str) -> Document:
    doc = document(BASE)
    settle(doc, settings, environ)
    return doc


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("vad.threshold=0.7", 0.7), ("vad.threshold = 0.7", 0.7), ("vad.threshold=high", "high"), ("vad.threshold=", None),
        ("vad.threshold=caller:demo", "caller:demo"), ("vad.threshold=a: b # c", "a: b # c"), ("vad.threshold=off", "off"),
        ("vad.threshold=[1, two]", [1, "two"]), ("vad.threshold={a: 1}", {"a": 1}), ('vad.threshold="5"', "5"),
        ("nodes.vad.threshold=1", 1), ("vad.threshold=${T:-3}", 3), ("vad.threshold=a=b", "a=b"),
    ],
)  # fmt: skip
def test_a_setting_is_a_value_as_the_file_would_state_it(setting: str, value: object) -> None:
    doc = settled(setting)

    assert doc.problems == []
    assert doc.data["nodes"]["vad"]["threshold"] == value


def test_settings_reach_services_the_budget_and_the_name() -> None:
    doc = settled("services.stt.url=http://x:1", "budget.first_audio_p95=500ms", "name=mine", "vad.a.b=1")

    assert doc.problems == []
    assert doc.data["services"]["stt"]["url"] == "http://x:1"
    assert doc.data["budget"] == {"first_audio_p95": "500ms"}
    assert doc.data["name"] == "mine"
    assert doc.data["nodes"]["vad"]["a"] == {"b": 1}


def test_a_setting_gives_a_node_another_type_whatever_the_order() -> None:
    doc = settled("vad.level=-40", "vad.type=energy")

    assert doc.data["nodes"]["vad"] == {"type": "energy", "level": -40}


def test_the_place_of_a_setting_is_the_setting() -> None:
    doc = settled("vad.threshold=7", "services.stt.key=sk 12345")

    assert doc.place(("nodes", "vad", "threshold")) == "--set vad.threshold=7"
    assert "12345" not in doc.place(("services", "stt", "key"))


@pytest.mark.parametrize(
    "setting", ["", "=", "vad", "vad=1", "vad.=1", ".threshold=1", "nodes=1", "nodes.vad=1", "services=1", "budget=1",
                "mike.device=1", "edges=[]", "services.tts.url=x", "vad.threshold=[1", "vad.threshold=!!int 5", "vad.type.x=1"],
)  # fmt: skip
def test_a_wrong_setting_is_a_problem(setting: str) -> None:
    doc = settled(setting)

    if setting == "vad.threshold=!!int 5":
        assert doc.data["nodes"]["vad"]["threshold"] == "!!int 5", "one plain value, no YAML"
    else:
        assert [problem.file for problem in doc.problems] == [f"--set {setting}"]


def test_locate_takes_no_name_with_a_zero_in_it() -> None:
    assert locate("a\0b", Path()) is None
