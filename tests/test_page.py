from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from flowgraph import findings, page
from flowgraph.compare import Comparison, RunResult
from flowgraph.graph import Graph
from flowgraph.page import clips, picture, still
from tests.browser import PROGRAM, Page, browser
from tests.results import answered, runs
from tests.trial_runs import graph_for, servers, short_call, virtual_trial

EVIL = "</script><script>window.evil = 1</script><img src=x onerror='window.evil = 1'>"
NAMES = ["patient", "eager"]
ABOUT = {"command": f"flow compare {EVIL}", "network": "none"}


@dataclasses.dataclass(frozen=True)
class Made:
    """A comparison and its page."""

    comparison: Comparison
    graphs: dict[str, Graph]
    path: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("page")
    call = short_call(folder, 2, 4)
    graphs = {
        "patient": graph_for(call, "dialogue.speculate_after=off", "dialogue.end_silence=800ms"),
        "eager": graph_for(call),
    }
    results = [
        virtual_trial(graph, servers(call), label=name, repeat=repeat, folder=folder)
        for repeat in range(2)
        for name, graph in graphs.items()
    ]
    results = [_with_evil_words(result) for result in results]
    comparison = Comparison(results, order=NAMES, budgets={name: graph.budget for name, graph in graphs.items()})
    path = folder / "report.html"
    page.write(path, comparison, graphs, ABOUT)
    return Made(comparison, graphs, path)


def _with_evil_words(result: RunResult) -> RunResult:
    first, *rest = result.turns
    return dataclasses.replace(result, turns=(dataclasses.replace(first, truth=f"What {EVIL}", heard=EVIL), *rest))


def cells(text: str) -> list[str]:
    return [unescape(re.sub(r"<[^>]*>", "", cell)) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", text)]


def test_the_tables_are_those_of_the_terminal(made: Made) -> None:
    shown = cells(made.path.read_text(encoding="utf-8"))
    comparison = made.comparison

    for grid in (
        findings.overview(comparison),
        findings.differences(comparison),
        findings.blame(comparison, *NAMES),
        findings.steps(comparison, *NAMES),
    ):
        assert grid is not None
        wanted = [cell for row in (grid.heads, *grid.rows, grid.foot) for cell in row]
        assert any(shown[i : i + len(wanted)] == wanted for i in range(len(shown)))
    assert findings.headline(comparison) in unescape(made.path.read_text(encoding="utf-8"))


def test_it_is_one_file_that_asks_for_nothing(made: Made) -> None:
    text = made.path.read_text(encoding="utf-8")
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)  # the plot library names its makers' addresses

    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)""", own)
    assert not re.search(r"url\((?!#)", own)
    assert "default-src 'none'" in text
    assert len(text) < 10_000_000


def test_what_comes_from_outside_is_escaped(made: Made) -> None:
    text = made.path.read_text(encoding="utf-8")

    assert "<script>window.evil" not in text
    assert "<img src=x" not in text
    assert text.count("</script>") == len(re.findall(r"<script[ >]", text))


def test_a_name_with_markup_is_escaped_in_a_drawing(made: Made) -> None:
    graph = dataclasses.replace(made.graphs["eager"], name="<b>&")

    assert 'aria-label="&lt;b&gt;&amp;: 8 nodes' in picture.svg(graph, name="0")


def test_every_node_and_edge_is_drawn(made: Made) -> None:
    graph = made.graphs["eager"]
    drawing = picture.svg(graph, name="0")

    assert drawing.count('<g class="node') == len(graph.nodes)
    assert drawing.count('<g class="edge') == len(graph.edges)
    assert drawing.count("edge held") == 1
    assert drawing.count("edge feedback") == sum(edge.feedback for edge in graph.edges) == 2
    assert drawing.count("node owner") == 1


@pytest.mark.parametrize("name", ["echo", "baseline", "steps/05-websocket"])
def test_any_graph_can_be_drawn(name: str) -> None:
    graph = Graph.load(name, environ={})

    assert picture.svg(graph, name="0").count('<g class="node') == len(graph.nodes)


def test_a_still_picture_of_two_graphs_has_their_bars_and_is_light_and_dark(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "turns.svg"
    still.write(path, still.of_comparison(made.comparison))
    text = path.read_text(encoding="utf-8")
    drawing = ET.fromstring(text)
    words = [one.text for one in drawing.iter("{http://www.w3.org/2000/svg}text")]
    bars = len(re.findall(r'<path d="[^"]*Z" fill="var\(--phase', text))
    pieces = sum(
        sum(ms >= 0.5 for ms in turn.phases.values())
        for run in made.comparison.runs
        if not run.repeat
        for turn in run.turns
    )

    assert findings.headline(made.comparison) in words
    assert {"end of speech", "LLM", "TTS"} <= set(words)
    assert bars == pieces
    assert text.count("@media (prefers-color-scheme: dark)") == 1
    assert not set(re.findall(r"var\((--[\w-]+)\)", text)) - set(re.findall(r"(--[\w-]+):", text)), (
        "every colour is one"
    )
    assert "<script" not in text
    assert "href" not in text
    assert len(text) < 60_000


def test_a_still_picture_of_more_graphs_has_what_each_has_gained(made: Made) -> None:
    between = [dataclasses.replace(run, graph="between") for run in made.comparison.of("patient")]
    comparison = Comparison([*made.comparison.runs, *between], order=["patient", "between", "eager"])
    means = [round(gain.mean) for gain in comparison.gains()]

    words = [
        one.text for one in ET.fromstring(still.of_comparison(comparison)).iter("{http://www.w3.org/2000/svg}text")
    ]

    assert {"A patient", "B between", "C eager", str(means[0]), f"{means[2]}  (−{means[1] - means[2]})"} <= set(words)


def test_a_turn_without_an_answer_that_counts_says_so_in_its_place() -> None:
    a = RunResult("a", 0, (answered(0, 500.0, LLM=500), answered(1, None)), cpu_s=1, seconds=1)
    b = RunResult("b", 0, (answered(0, 300.0, LLM=300), answered(1, 400.0, LLM=400)), cpu_s=1, seconds=1)
    drawing = ET.fromstring(still.of_comparison(Comparison([a, b])))

    assert [one.text for one in drawing.iter("{http://www.w3.org/2000/svg}text")].count("no answer that counts") == 1


def test_a_picture_that_cannot_be_written_names_its_own_option(tmp_path: Path) -> None:
    with pytest.raises(page.NoReport, match="it is a folder") as caught:
        page.require(tmp_path, option="--picture")

    assert caught.value.hint == "choose another --picture"


# -- sound ------------------------------------------------------------------------------------------------------------------


def test_a_clip_shows_the_first_sound_where_it_was_heard(made: Made) -> None:
    for scene in clips.scenes(made.comparison):
        for clip in scene.clips:
            begins = int(re.findall(r"M(-?\d+) ", clip.answer)[0])
            heights = [(int(x), -int(y)) for x, y in re.findall(r"[ML](-?\d+) (-?\d+)", clip.answer)]
            loud = min(x for x, y in heights if y > 5)
            bin_ms = (scene.end_ms - scene.begin_ms) / clips.BINS

            assert begins == scene.begin_ms == -1000
            assert clip.turn.latency_ms is not None
            assert loud == pytest.approx(clip.turn.latency_ms, abs=2 * bin_ms)
            last_spoken = max(
                x for x, y in re.findall(r"[ML](-?\d+) (-?\d+)", clip.user) for x, y in [(int(x), -int(y))] if y > 5
            )
            assert last_spoken == pytest.approx(0, abs=30)  # the last voiced sample is soft


def test_sound_is_flac_with_ffmpeg_and_wav_without(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    sound = np.zeros(1600, np.float32)
    if shutil.which("ffmpeg"):
        assert clips.packed(sound, 16_000).startswith("data:audio/flac;base64,")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert clips.packed(sound, 16_000).startswith("data:audio/wav;base64,")


def test_of_too_much_sound_the_first_and_the_last_graph_keep_theirs(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    between = [dataclasses.replace(run, graph="between") for run in made.comparison.of("patient")]
    comparison = Comparison([*made.comparison.runs, *between], order=["patient", "between", "eager"])
    sizes = [len(clip.audio) for scene in clips.scenes(made.comparison) for clip in scene.clips]
    monkeypatch.setattr(clips, "MOST_BYTES", sum(sizes))

    sounding = {(clip.graph, bool(clip.audio)) for scene in clips.scenes(comparison) for clip in scene.clips}

    assert sounding == {("patient", True), ("between", False), ("eager", True)}


def test_the_clips_are_of_the_repeat_with_the_median_difference() -> None:
    comparison = Comparison([*runs("a", [[900.0], [900.0], [900.0]]), *runs("b", [[100.0], [300.0], [200.0]])])

    [scene] = clips.scenes(comparison)

    assert {clip.repeat for clip in scene.clips} == {2}


# -- what can go wrong ------------------------------------------------------------------------------------------------------


def test_a_report_that_cannot_be_written_is_told_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(page.NoReport, match="no folder that can be written to"):
        page.require(tmp_path / "none" / "report.html")
    with pytest.raises(page.NoReport, match="it is a folder"):
        page.require(tmp_path)


def test_a_missing_library_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_NEEDED", {"no_such_module": "no-such-package", "jinja2": "jinja2"})

    with pytest.raises(page.NoReport, match="--html needs no-such-package") as caught:
        page.require(tmp_path / "report.html")

    assert caught.value.hint == "pip install 'flowgraph[report]'"


def test_a_page_without_recordings_and_without_a_shared_answer_can_be_written(tmp_path: Path) -> None:
    graph = Graph.load("echo", environ={})
    turns = RunResult("b", 0, (answered(0, None),), cpu_s=1, seconds=1)
    comparison = Comparison([*runs("a", [[500.0]]), turns], order=["a", "b"])

    page.write(tmp_path / "report.html", comparison, {"a": graph, "b": graph}, ABOUT)

    assert "no turn was answered by both" in (tmp_path / "report.html").read_text(encoding="utf-8")


# -- in a browser -----------------------------------------------------------------------------------------------------------

in_a_browser = pytest.mark.skipif(
    PROGRAM is None and not os.environ.get("CI"), reason="no chromium: apt install chromium"
)
PLOTTED = "document.documentElement?.dataset.plotted === 'yes'"


@asynccontextmanager
async def opened(path: Path, **window: Any) -> AsyncIterator[Page]:
    async with browser() as tab:
        await tab.open(path, **{"width": 1280, "height": 900, **window})
        await tab.until(PLOTTED)
        yield tab


def look(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


@in_a_browser
@pytest.mark.timeout(120)
def test_the_page_in_a_browser(made: Made) -> None:
    """One browser for all that needs one: it takes seconds to start."""

    async def work() -> None:
        async with opened(made.path) as tab:
            await _draws_the_bars(tab, made.comparison)
            await _plays(tab, made.comparison)
            await _is_light_and_dark_and_fits_a_phone(tab)
            assert await tab.run("typeof window.evil") == "undefined"
            assert tab.errors == []
            assert tab.requests == []

    look(work)


async def _draws_the_bars(tab: Page, comparison: Comparison) -> None:
    """A bar for each phase of each turn in each graph, as long as it took."""
    boxes = await tab.run(
        "[...document.querySelectorAll('#chart-turns .mark-rect path')].map(bar => {"
        " const box = bar.getBoundingClientRect();"
        " return [box.left, box.right, Math.round(box.top), getComputedStyle(bar).fill]; })"
    )
    wanted = 0
    ends: dict[int, float] = {}
    for left, right, top, fill in boxes:
        assert right > left
        assert fill.startswith("rgb"), "the page's variables are colours"
        ends[top] = max(ends.get(top, 0.0), right)
    zero = min(left for left, *_ in boxes)
    lengths = []
    for utterance in (0, 1):
        for graph in comparison.graphs:
            turns = [turn for run in comparison.of(graph) for turn in run.turns if turn.utterance == utterance]
            means = [sum(t.phases.get(name, 0.0) for t in turns) / len(turns) for name in turns[0].phases]
            wanted += sum(ms >= 0.5 for ms in means)
            lengths.append(sum(means))
    assert len(boxes) == wanted
    drawn = [ends[top] - zero for top in sorted(ends)]
    assert len(drawn) == len(lengths)
    scale = drawn[0] / lengths[0]
    assert all(bar / scale == pytest.approx(ms, rel=0.01) for bar, ms in zip(drawn, lengths, strict=True))
    assert await tab.run("document.querySelectorAll('#chart-distribution .mark-line path').length") == 2
    assert "rgba(0, 0, 0, 0)" not in {fill for *_, fill in boxes}
    totals = await tab.run(
        "[...document.querySelectorAll('#chart-phases .role-mark.mark-text text')].map(one => one.textContent)"
    )
    blame = findings.blame(comparison, *NAMES)
    assert blame is not None
    saved = [f"−{row[3]}" if not row[3].startswith("−") else f"+{row[3][1:]}" for row in blame.rows if row[3] != "0"]
    assert totals == [blame.foot[1], *saved, blame.foot[2]]


async def _plays(tab: Page, comparison: Comparison) -> None:
    """Each clip has its button, its marks, and sound that moves; one sounds at a time."""
    scenes = clips.scenes(comparison)
    flat = [(scene, clip) for scene in scenes for clip in scene.clips]
    marks = await tab.run(
        "[...document.querySelectorAll('.clip')].map(clip => [...clip.querySelectorAll('.mark')].map(m => m.x1.baseVal.value))"
    )
    assert marks == [[0, pytest.approx(clip.turn.latency_ms, abs=0.1)] for _, clip in flat]
    assert await tab.run("document.querySelectorAll('.clip .play:enabled').length") == len(flat)
    await tab.run("document.querySelectorAll('.clip .play')[0].click()")
    await tab.until("document.querySelectorAll('.clip audio')[0].currentTime > 0.1")
    assert await tab.run("document.querySelectorAll('.clip.playing').length") == 1
    seconds = await tab.run("document.querySelectorAll('.clip audio')[0].duration")
    assert seconds == pytest.approx((flat[0][0].end_ms - flat[0][0].begin_ms) / 1000, abs=0.01)
    assert await tab.run("parseFloat(document.querySelector('.clip.playing .head').style.left)") > 1
    await tab.run(
        "(() => { const wave = document.querySelectorAll('.clip .wave')[1], box = wave.getBoundingClientRect();"
        " wave.dispatchEvent(new MouseEvent('click', {clientX: box.left + box.width / 2, bubbles: true})); })()"
    )
    await tab.until("document.querySelectorAll('.clip audio')[1].currentTime > 0")
    playing = await tab.run("[...document.querySelectorAll('.clip audio')].map(one => !one.paused)")
    assert playing == [False, True, *[False] * (len(flat) - 2)]
    assert await tab.run("document.querySelectorAll('.clip audio')[1].currentTime") >= seconds / 2 - 0.1
    await tab.run("document.querySelectorAll('.clip .play')[1].click()")
    assert await tab.run("document.querySelectorAll('.clip.playing').length") == 0


async def _is_light_and_dark_and_fits_a_phone(tab: Page) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    bar = "getComputedStyle(document.querySelector('#chart-turns .mark-rect path')).fill"
    light = await tab.run(paper), await tab.run(bar)
    await tab.shape(1280, 900, dark=True)
    await tab.until("document.documentElement.dataset.theme === 'dark'")
    dark = await tab.run(paper), await tab.run(bar)
    assert all(one != other for one, other in zip(light, dark, strict=True))
    await tab.run("document.getElementById('theme').click()")
    assert (await tab.run(paper), await tab.run(bar)) == light
    await tab.shape(390, 800, dark=False)
    await tab.until("document.querySelector('#chart-turns svg').getBoundingClientRect().width < 390")
    assert await tab.run("document.documentElement.scrollWidth") == 390
