"""The command, on evidence that is there already; and once from the sound on."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flowgraph.cli import app
from flowgraph.graph import Graph
from flowgraph.page import still
from flowgraph.page import tuned as page
from flowgraph.tuning.curve import Tuned
from flowgraph.tuning.evidence import Cache, key_of
from flowgraph.tuning.run import sweeps_of, tune
from nodes.sound.conversation import load_conversation
from tests.browser import PROGRAM, browser
from tests.test_page import PLOTTED, in_a_browser
from tests.trial_runs import DEMO, short_call
from tests.tuning.heard import FAST, Says, heard, optimized

MIXED = [Says((500, 200, 500, 200, 500), kind="hesitation"), Says((500, 500, 500), kind="hesitation"), Says((700,))]
EVIL = "</script><script>window.evil = 1</script>"


def flow(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["tune", *arguments])


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `fit` and `report`, a conversation in each, both heard before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, number, says in (("fit", 3, MIXED), ("report", 8, MIXED[1:])):
        (tmp_path / "users" / name).mkdir(parents=True)
        call = short_call(tmp_path / "users" / name, number)
        Cache().save(key_of(optimized(), load_conversation(call)), heard(*says, name=name, voice=f"flite, {name}"))
    return tmp_path / "users"


def test_a_sweep_over_what_was_heard_before(users: Path, tmp_path: Path) -> None:
    done = flow(
        "optimized", "-c", str(users), "--policy", "fixed", "--budget", "40%", "--write", str(tmp_path / "mine.yaml"),
        "--picture", str(tmp_path / "curve.svg"),
    )  # fmt: skip

    assert done.exit_code == 0, done.output
    assert "V2V at ≤ 40 %" in (tmp_path / "curve.svg").read_text(encoding="utf-8")
    assert f"picture: {tmp_path}/curve.svg" in done.stderr
    assert "V2V at ≤ 40 % false cut-offs" in done.stdout
    assert "At most 5 % false cut-offs, 1 synthetic voice (flite)" in " ".join(done.stdout.split())
    assert "listens" not in done.stderr, "all of it was heard before"


def test_the_chosen_setting_is_written_as_a_variant_that_runs(users: Path, tmp_path: Path) -> None:
    target = tmp_path / "mine.yaml"

    done = flow("optimized", "-c", str(users), "--policy", "fixed", "--budget", "40%", "--write", str(target))

    assert done.exit_code == 0, done.output
    graph = Graph.load(target, environ={})
    assert graph.name == "optimized-tuned"
    assert graph.nodes["dialogue"].make().end_silence == 250_000_000  # type: ignore[attr-defined]
    assert [edge.label for edge in graph.edges] == [edge.label for edge in optimized().edges]
    assert "extends: optimized\n" in target.read_text(encoding="utf-8")


def test_a_variant_of_a_file_names_it_from_where_it_lies(users: Path, tmp_path: Path) -> None:
    base, target = tmp_path / "base.yaml", tmp_path / "deeper" / "mine.yaml"
    target.parent.mkdir()
    base.write_text("extends: optimized\nname: base\n", encoding="utf-8")

    done = flow(str(base), "-c", str(users), "--policy", "fixed", "--write", str(target))

    assert done.exit_code == 0, done.output
    assert 'extends: "../base.yaml"' in target.read_text(encoding="utf-8")
    assert Graph.load(target, environ={}).name == "base-tuned"


def test_json_holds_every_utterance(users: Path) -> None:
    done = flow("optimized", "-c", str(users), "--policy", "fixed,model", "--json")

    found: dict[str, Any] = json.loads(done.stdout)
    fixed, model = found["curves"]
    assert fixed["at"]["0.05"]["options"] == {"end": "fixed", "end_silence": "600ms"}
    assert [one["conversation"] for one in fixed["at"]["0.05"]["utterances"]] == ["report", "report"]
    assert model["points"] == []
    assert model["unusable"]
    assert found["about"]["judged on"].startswith("1 conversation, 1 utterance; flite")


def test_a_budget_that_nothing_keeps_writes_nothing(users: Path, tmp_path: Path) -> None:
    never = [Says((500, 3000, 500))]
    call = next((users / "fit").glob("*.yaml"))
    Cache().save(key_of(optimized(), load_conversation(call)), heard(*never))

    done = flow("optimized", "-c", str(users), "--policy", "fixed", "--write", str(tmp_path / "mine.yaml"))

    assert done.exit_code == 1
    assert "no setting keeps that budget" in done.stderr
    assert not (tmp_path / "mine.yaml").exists()


def test_one_set_of_voices_is_said_to_be_one(users: Path) -> None:
    done = flow("optimized", "-c", str(users / "fit"), "--policy", "fixed")

    assert done.exit_code == 0, done.output
    assert "chosen and judged on the same voices" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "no graph of that name"),
        (["echo"], "nobody in this graph decides when a turn is over"),
        (["optimized", "-c", "nowhere"], "--conversations nowhere: there is no such folder"),
        (["optimized", "--policy", "psychic"], "it has: fixed, adaptive, model"),
        (["optimized", "--budget", "lots"], "--budget lots"),
        (["optimized", "--budget", "0"], "--budget 0"),
        (["optimized", "--llm", "200"], "--llm 200"),
        (["optimized", "--fit", "demo"], "--fit without --report"),
        (["optimized", "--callers", "-1"], "nobody would speak"),
        (["optimized", "--write", "/nowhere/mine.yaml"], "can't write /nowhere/mine.yaml"),
        (["optimized", "--html", "a.html", "--write", "a.html"], "--html and --write name the same file"),
        (["optimized", "--html", "/nowhere/page.html"], "can't write /nowhere/page.html"),
        (["optimized", "--picture", "/nowhere/curve.svg"], "can't write /nowhere/curve.svg"),
        (["optimized", "--set", "dialogue.end_silense=1s"], "end_silense"),
    ],
)
def test_what_can_not_be_meant_is_told_before_anything_starts(arguments: list[str], said: str) -> None:
    done = flow(*arguments, *([] if "-c" in arguments or "--fit" in arguments else ["-c", "demo"]))

    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.output


def test_a_graph_is_not_overwritten_by_its_own_variant(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: optimized\n", encoding="utf-8")
    done = flow(str(mine), "-c", "demo", "--write", str(mine))

    assert done.exit_code == 2
    assert done.stderr.startswith("error: GRAPH and --write name the same file")
    assert mine.read_text(encoding="utf-8") == "extends: optimized\n"


def test_users_who_never_pause_are_of_no_use(tmp_path: Path) -> None:
    call = short_call(tmp_path, 2)

    done = flow("optimized", "-c", str(call))

    assert done.exit_code == 2
    assert "nobody pauses for 100 ms" in done.stderr


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    done = flow("optimized", "-c", str(tmp_path))

    assert done.exit_code == 2
    assert "there is no WAV file in" in done.stderr


def test_sound_without_annotations_is_estimated_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "sound"
    folder.mkdir()
    shutil.copy(DEMO.parent / "demo" / "3-product.wav", folder)
    conversation = load_conversation(folder)
    found = heard(*MIXED)
    Cache().save(key_of(optimized(), conversation), type(found)(**{**_fields(found), "estimated": True}))

    done = flow("optimized", "-c", str(folder), "--policy", "fixed")

    assert done.exit_code == 0, done.output
    assert "estimated from the level" in done.stdout


def _fields(found: object) -> dict[str, Any]:
    return {name: getattr(found, name) for name in found.__dataclass_fields__}  # type: ignore[attr-defined]


@pytest.mark.timeout(120)
@pytest.mark.realtime
def test_from_the_sound_on_in_real_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    call = short_call(tmp_path, 3)
    arguments = ["optimized", "-c", str(call), "--policy", "fixed"]

    first, again = flow(*arguments), flow(*arguments)

    assert first.exit_code == again.exit_code == 0, first.output
    assert "heard demo: 1 utterance (1 of 1)" in first.stderr
    assert "listens" not in again.stderr
    assert again.stdout == first.stdout


# -- the page -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tuned]:
    fit, report = [heard(*MIXED, voice="flite, a")], [heard(*MIXED, voice=f"flite, {EVIL}", name=EVIL)]
    graph = optimized()
    found = tune(graph, fit, report, FAST, sweeps=sweeps_of(graph, ["fixed", "model"]))
    path = tmp_path_factory.mktemp("page") / "curve.html"
    page.write(path, found, [0.05, 0.5], 0.5, title=f"optimized {EVIL}", about={"command": f"flow tune {EVIL}"})
    return path, found


def test_the_page_escapes_what_comes_from_outside(made: tuple[Path, Tuned]) -> None:
    text = made[0].read_text(encoding="utf-8")

    assert "<script>window.evil" not in text
    assert "default-src 'none'" in text


def test_a_still_picture_has_a_legend_and_is_light_and_dark(made: tuple[Path, Tuned]) -> None:
    text = still.of_sweep(made[1], [0.05, 0.5], 0.5)
    words = [one.text or "" for one in ET.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]

    assert {"fixed", "mean", "p90", "limit, mean", page.RATE_AXIS} <= set(words)
    assert "model" not in words, "it has no points"
    assert " ".join(words).count("1 synthetic voice (flite)") == 1
    assert text.count("@media (prefers-color-scheme: dark)") == 1
    assert not set(re.findall(r"var\((--[\w-]+)\)", text)) - set(re.findall(r"(--[\w-]+):", text)), (
        "every colour is one"
    )
    assert "<script" not in text


def test_every_figure_on_the_page_says_whose_it_is(made: tuple[Path, Tuned]) -> None:
    text = made[0].read_text(encoding="utf-8")

    assert text.count("1 synthetic voice (flite)") >= 6


@in_a_browser
@pytest.mark.timeout(120)
def test_the_page_in_a_browser(made: tuple[Path, Tuned]) -> None:
    path, found = made

    async def work() -> None:
        async with browser(PROGRAM) as tab:
            await tab.open(path, width=1280, height=900)
            await tab.until(PLOTTED)
            points = await tab.run("document.querySelectorAll('#chart-curve .mark-symbol path').length")
            judged = sum(len(curve.points) for curve in found.curves)
            assert points == 2 * judged + 2 * 2, "mean and p90 of each setting, and what was chosen for two budgets"
            strokes = await tab.run("document.querySelectorAll('#chart-kinds .mark-rect path').length")
            assert strokes == 3
            paper = "getComputedStyle(document.body).backgroundColor"
            light = await tab.run(paper)
            await tab.shape(390, 800, dark=True)
            await tab.until("document.documentElement.dataset.theme === 'dark'")
            assert await tab.run(paper) != light
            await tab.until("document.querySelector('#chart-curve svg').getBoundingClientRect().width < 390")
            assert await tab.run("document.documentElement.scrollWidth") == 390
            assert await tab.run("typeof window.evil") == "undefined"
            assert tab.errors == []
            assert tab.requests == []

    asyncio.run(work())
