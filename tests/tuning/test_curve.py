from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal

import numpy as np
import pytest

from flowgraph.graph import Graph
from flowgraph.tuning import curve, run, tables
from flowgraph.tuning.curve import Tried, choose, figures, front, intervals, to_json
from flowgraph.tuning.evidence import CantTune
from flowgraph.tuning.replay import Outcome
from flowgraph.tuning.run import WorkerDied, sweeps_of, tune
from flowgraph.tuning.sweep import Sweep, grid
from nodes.dialogue import Dialogue
from tests.tuning.heard import FAST, Says, heard, optimized

MIXED = [Says((500, 200, 500, 200, 500)), Says((500, 500, 500)), Says((500, 900, 500)), Says((700,))]
"""Four pauses: two of 200 ms, one of 500, one of 900."""
FIXED = Sweep("fixed", grid({"end": "fixed", "end_silence": f"{ms}ms"} for ms in (150, 300, 600, 1000)), whole=True)


def outcome(latency: float | None = 300.0, *, voice: str = "one", pauses: int = 1, cuts: int = 0) -> Outcome:
    return Outcome(
        "call", voice, 0, "plain", answered=True, over_answer=False, pauses=pauses,
        cuts=tuple((index, 250.0) for index in range(cuts)), cut_heard=False, commits=(), decided=latency, latency=latency,
        missed=latency is None,
    )  # fmt: skip


def test_every_pause_is_one_chance_to_cut_off() -> None:
    evidence = [heard(*MIXED)]
    graph = optimized()

    tuned = tune(graph, evidence, evidence, FAST, sweeps=[FIXED])

    rates = {one.options["end_silence"]: (one.report.rate, one.report.cut_utterances) for one in tuned.curves[0].points}
    assert rates == {"150ms": (1.0, 3), "300ms": (0.5, 2), "600ms": (0.25, 1), "1000ms": (0.0, 0)}


@pytest.mark.parametrize(("budget", "silence"), [(0.05, "1000ms"), (0.25, "600ms"), (0.5, "300ms"), (0.9, "300ms")])
def test_the_fastest_setting_within_the_budget_is_chosen(budget: float, silence: str) -> None:
    evidence = [heard(*MIXED)]

    tuned = tune(optimized(), evidence, evidence, FAST, sweeps=[FIXED])

    best = tuned.best(budget)
    assert best is not None
    assert best.options["end_silence"] == silence
    assert best.fit.rate <= budget


def test_settings_are_chosen_on_some_voices_and_judged_on_others() -> None:
    fit, report = [heard(*MIXED, voice="flite, a")], [heard(Says((500, 350, 500)), voice="flite, b")]

    tuned = tune(optimized(), fit, report, FAST, sweeps=[FIXED])

    best = tuned.best(0.5)
    assert best is not None
    assert best.options["end_silence"] == "300ms"
    assert (best.fit.rate, best.report.rate) == (0.5, 1.0)
    assert tuned.separate
    assert "cuts off 100.0 %" in tables.headline(tuned, 0.5)


def test_a_budget_that_nothing_keeps_is_said() -> None:
    evidence = [heard(Says((500, 2000, 500)))]

    tuned = tune(optimized(), evidence, evidence, FAST, sweeps=[FIXED])

    assert tuned.best(0.05) is None
    assert "no setting keeps that budget: the least is 100.0 %" in tables.headline(tuned, 0.05)


def test_what_the_graph_can_not_do_is_said_beside_what_it_can() -> None:
    evidence = [heard(*MIXED)]
    without = [dataclasses.replace(one, kinds=one.kinds[:3]) for one in evidence]
    graph = optimized()

    tuned = tune(graph, without, without, FAST, sweeps=[*sweeps_of(graph, ["model"]), FIXED])

    assert "model: nothing in this graph yields EndOfTurn" in list(tables.notes(tuned))
    with pytest.raises(CantTune, match="nothing could be tried"):
        tune(graph, without, without, FAST, sweeps=sweeps_of(graph, ["model"]))


def test_a_setting_that_makes_no_dialogue_is_left_out_and_said() -> None:
    evidence = [heard(*MIXED)]
    wrong = Sweep("fixed", grid({"end": "fixed", "end_silence": silence} for silence in ("50ms", "300ms")))

    tuned = tune(optimized(), evidence, evidence, FAST, sweeps=[wrong])

    assert tuned.curves[0].tried == 1
    assert "left out" in tuned.curves[0].unusable


def test_processes_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "ALONE_S", 0)
    fit, report = [heard(*MIXED), heard(*MIXED[:2])], [heard(*MIXED[1:])]
    graph = optimized()

    alone, together = (tune(graph, fit, report, FAST, sweeps=[FIXED], processes=count) for count in (1, 2))

    assert alone == together


def test_for_what_is_soon_done_no_process_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "ALONE_S", 1e9)
    monkeypatch.setattr(run, "ProcessPoolExecutor", None)
    evidence = [heard(*MIXED)]

    assert tune(optimized(), evidence, evidence, FAST, sweeps=[FIXED], processes=2).curves[0].points


class Doomed(Dialogue):
    """What runs out of memory is killed like this."""

    async def open(self) -> None:
        await super().open()
        if multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_one_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "ALONE_S", 0)
    evidence = [heard(*MIXED)]
    text = "extends: optimized\nname: doomed\nnodes: {dialogue: {type: doomed}}\n"
    graph = Graph.from_text(text, environ={}, types={"doomed": Doomed})

    with pytest.raises(WorkerDied, match=r"one of the 2 processes that replay was killed(.|\n)*taskset"):
        tune(graph, evidence, evidence, FAST, sweeps=[FIXED], processes=2)


def test_synthetic_voices_are_named_in_every_line_with_a_figure() -> None:
    evidence = [heard(*MIXED, voice="flite 2.2, slt"), heard(*MIXED, voice="espeak-ng, en")]

    tuned = tune(optimized(), evidence, evidence, FAST, sweeps=[FIXED])

    said = "2 synthetic voices (espeak-ng, flite 2.2)"
    best = tuned.best(0.5)
    assert best is not None
    assert said in tables.headline(tuned, 0.5)
    assert said in tables.operating(tuned, 0.5).title
    assert said in tables.kinds(tuned, best).title
    assert said in tables.plot(tuned)[-1]


def test_a_person_is_not_called_synthetic() -> None:
    evidence = [heard(*MIXED, voice="Anna")]

    tuned = tune(optimized(), evidence, evidence, FAST, sweeps=[FIXED])

    assert tables.who(tuned).startswith("1 voice (Anna)")


def test_the_plot_shows_every_policy() -> None:
    evidence = [heard(*MIXED)]

    lines = tables.plot(tune(optimized(), evidence, evidence, FAST, sweeps=[FIXED]))

    assert sum(line.count("f") for line in lines[1:-3]) == 4
    assert any("·" * 20 in line for line in lines)


def test_scores_that_came_too_late_are_not_held_against_the_model_in_silence() -> None:
    on_time = heard(Says((500, 300, 500), scores=((0.1, 0.1), (0.9, 0.9))))
    late = dataclasses.replace(
        on_time, facts=tuple((at + (kind == 3) * 400_000_000, kind, values) for at, kind, values in on_time.facts)
    )

    said = {
        name: " ".join(tables.notes(tune(optimized(), [one], [one], FAST, sweeps=[FIXED])))
        for name, one in (("on time", on_time), ("late", late))
    }

    assert "score was there 0 ms" in said["on time"]
    assert "too late to judge it by" not in said["on time"]
    assert "score was there 400 ms (p90 400) behind the silence that it judges, too late to judge it by" in said["late"]


def test_it_is_plain_data() -> None:
    evidence = [heard(*MIXED)]

    found = json.loads(json.dumps(to_json(tune(optimized(), evidence, evidence, FAST, sweeps=[FIXED]), [0.5])))

    [curve] = found["curves"]
    assert curve["at"]["0.5"]["options"]["end_silence"] == "300ms"
    assert len(curve["at"]["0.5"]["utterances"]) == 4


def test_the_front_leaves_out_what_is_worse_in_both() -> None:
    def tried(rate: int, latency: float) -> Tried:
        return Tried("any", {}, figures([outcome(latency, pauses=100, cuts=rate)]))

    good = [tried(0, 900), tried(5, 500), tried(20, 300)]

    assert front([tried(10, 600), *reversed(good), tried(20, 301)]) == good


def test_who_gets_no_answer_has_waited_all_of_the_silence() -> None:
    found = figures([outcome(400), outcome(None)])

    assert (found.mean, found.missed, found.cost) == (400, 1, 2200)


def test_the_interval_holds_the_mean_and_narrows_with_more_utterances() -> None:
    few = [outcome(200.0 + 40 * (index % 11), cuts=index % 3 == 0) for index in range(20)]
    some, more = intervals(few), intervals(few * 9)

    assert some is not None
    assert more is not None
    mean = figures(few).mean or 0.0
    for ends in (some, more):
        assert ends.mean[0] < mean < ends.mean[1]
        assert ends.rate[0] < figures(few).rate < ends.rate[1]
    assert more.mean[1] - more.mean[0] < (some.mean[1] - some.mean[0]) / 2


@pytest.mark.parametrize("unanswered", [0, 1, 7])
def test_percentiles_are_those_of_numpy_without_the_unanswered(
    unanswered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curve, "DRAWS", 200)
    rng = np.random.default_rng(7)
    latencies: list[float | None] = [*rng.uniform(100, 900, 9).tolist(), *[None] * unanswered]

    found = intervals([outcome(one) for one in latencies])

    drawn = np.array([np.nan if one is None else one for one in latencies])[
        np.random.default_rng(0).integers(len(latencies), size=(200, len(latencies)))
    ]
    drawn = drawn[~np.isnan(drawn).all(axis=1)]
    assert found is not None
    for told, percent in ((found.p50, 50), (found.p90, 90)):
        assert told == pytest.approx(np.percentile(np.nanpercentile(drawn, percent, axis=1), [2.5, 97.5]))


def test_utterances_are_drawn_within_each_voice() -> None:
    apart = [outcome(100.0, voice="quick")] * 10 + [outcome(900.0, voice="slow")] * 10

    found = intervals(apart)

    assert found is not None
    assert found.mean == (500.0, 500.0), "how many of each voice there are is no accident"


def test_without_an_answer_there_is_no_interval() -> None:
    assert intervals([outcome(None)]) is None
    assert choose([], 0.05) is None
