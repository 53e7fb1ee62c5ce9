"""`flow tune GRAPH`: how long to wait for the end of a turn, as figures, a curve, and a variant of the graph."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import TaskID
from rich.table import Table
from rich.text import Text

from flowgraph import interrupts
from flowgraph.cli.console import progress, stderr, stdout
from flowgraph.cli.inputs import CONVERSATIONS
from flowgraph.display import json_line
from flowgraph.errors import FlowError
from flowgraph.files import require_apart, require_writable
from flowgraph.graph import Graph
from flowgraph.machine import cores, machine, versions
from flowgraph.tuning import curve, dictated, evidence, replay, run, tables
from flowgraph.units import parse_duration
from flowgraph.variants import locate

if TYPE_CHECKING:
    from rich.console import Console

    from flowgraph.findings import Grid

_PLAIN = re.compile(r"\d+m?s|(?!(?:true|false|null|yes|no|on|off|y|n)\b)[a-z][a-z_-]*")
"""What needs no quotes, and is nicer without."""
SETS = ("fit", "report")
"""Folders with the voices to choose settings on, and with those to judge them on."""


class WrongArgument(FlowError):
    """An argument of the command line that can't be meant."""

    exit_code = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Wishes:
    """The command's arguments."""

    graph: str
    settings: Sequence[str] = ()
    conversations: str = ""
    fit: str = ""
    report: str = ""
    policies: str = ""
    budget: str = "5%"
    stt: str = ""
    score: str = "50ms"
    llm: str = "200ms"
    tts: str = "150ms"
    playout: str = "20ms"
    callers: int = 0
    fresh: bool = False
    html: Path | None = None
    picture: Path | None = None
    json: bool = False
    write: Path | None = None


def tune_graph(wishes: Wishes) -> int:
    """Listen, sweep, tell. Returns the exit code; raises GraphError, CantTune, WrongArgument before anything starts."""
    graph = Graph.load(wishes.graph, settings=wishes.settings)
    for warning in graph.warnings:
        stderr().print(Text(warning), soft_wrap=True)
    budget = _budget(wishes.budget)
    delays = {name: _duration(f"--{name}", getattr(wishes, name)) for name in ("llm", "tts", "playout")}
    evidence.front_end(graph)
    sweeps = run.sweeps_of(graph, [part.strip() for part in wishes.policies.split(",") if part.strip()])
    late = dictated.Dictated(_duration("--stt", wishes.stt), _duration("--score", wishes.score)) if wishes.stt else None
    after = replay.delays(graph, {"llm": delays["llm"], "tts": delays["tts"]}, delays["playout"])
    sets = _sets(wishes)
    if late is not None:
        dictated.check(graph, [one for conversations in sets.values() for one in conversations])
    _require_outputs(wishes)
    interrupts.begin_work()
    with _Watching(stderr()) as watching:
        try:
            heard = {name: _heard(graph, conversations, late, wishes, watching) for name, conversations in sets.items()}
            fit, report = heard.get("fit", heard["report"]), heard["report"]
            tuned = run.tune(graph, fit, report, after, sweeps=sweeps, processes=cores(), progress=watching.swept)
        except KeyboardInterrupt:
            watching.say("stopped; what was heard of whole conversations is kept")
            return interrupts.exit_code()
    about = _about(wishes, graph, sets)
    budgets = sorted({*curve.BUDGETS, budget})
    if wishes.json:
        found = {"about": about, "headline": tables.headline(tuned, budget), **curve.to_json(tuned, budgets)}
        print(json_line(found, sys.stdout))
    else:
        _show(stdout(), tuned, budgets, budget)
    if wishes.html is not None:
        from flowgraph.page import tuned as page

        page.write(wishes.html, tuned, budgets, budget, title=graph.name, about=about)
        stderr().print(Text(f"report: {wishes.html}"), soft_wrap=True)
    if wishes.picture is not None:
        from flowgraph.page import still

        still.write(wishes.picture, still.of_sweep(tuned, budgets, budget))
        stderr().print(Text(f"picture: {wishes.picture}"), soft_wrap=True)
    if wishes.write is not None:
        return _write(wishes, graph, tuned, budget)
    return 0


# -- arguments ----------------------------------------------------------------------------------------------------------


def _budget(text: str) -> float:
    """`5%` or `0.05`. Raises WrongArgument."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise WrongArgument(f"--budget {text}: this is no share of pauses", hint="5% or 0.05, above 0 and below 1")
    return value


def _duration(name: str, text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise WrongArgument(f"{name} {text}: {error}", hint="for example 200ms") from None


def _sets(wishes: Wishes) -> dict[str, list[Any]]:
    """`fit` and `report`, or `report` alone; each a list of conversations. Raises WrongArgument, GraphError."""
    if bool(wishes.fit) != bool(wishes.report):
        given, other = ("--fit", "--report") if wishes.fit else ("--report", "--fit")
        raise WrongArgument(f"{given} without {other}", hint="name both, or one folder by --conversations")
    if wishes.fit and wishes.conversations:
        raise WrongArgument("--conversations beside --fit and --report", hint="name one folder, or both of them")
    if wishes.fit:
        folders = {"fit": wishes.fit, "report": wishes.report}
    else:
        folder = _folder(wishes.conversations or _default())
        both = all((folder / name).is_dir() for name in SETS)
        folders = {name: str(folder / name) for name in SETS} if both else {"report": str(folder)}
    found = {name: _conversations(folder) for name, folder in folders.items()}
    if not any(one.pauses for conversations in found.values() for each in conversations for one in each.utterances):
        raise WrongArgument(
            "in these conversations nobody pauses for 100 ms: there is nothing that could be cut off",
            hint="annotate `pauses`, or take others (graphs/conversations/demo.yaml says how)",
        )
    return found


def _default() -> str:
    """The bundled conversations that were made for it, else the bundled caller."""
    return "turns" if (CONVERSATIONS / "turns").is_dir() else "demo"


def _folder(name: str) -> Path:
    """A path, or a bundled name."""
    for path in (Path(name), CONVERSATIONS / f"{name}.yaml", CONVERSATIONS / name):
        if path.exists():
            return path
    raise WrongArgument(
        f"--conversations {name}: there is no such folder",
        hint="a folder of conversations (YAML files, or WAV files alone), one such file, or a bundled name: demo",
    )


def _conversations(name: str) -> list[Any]:
    # By name: the engine doesn't import nodes.
    load = import_module("nodes.sound.conversation").load_conversation
    path = _folder(name)
    # A folder without YAML files is a conversation itself: its WAV files, one after the other.
    files = (sorted(path.glob("*.y*ml")) if path.is_dir() else []) or [path]
    found = [(file, load(file)) for file in files]
    return [one if one.name else one.model_copy(update={"name": file.stem}) for file, one in found]


def _require_outputs(wishes: Wishes) -> None:
    """Before minutes of listening: can its files be written? Raises FlowError."""
    if wishes.html is not None:
        from flowgraph import page

        page.require(wishes.html)
    if wishes.picture is not None:
        from flowgraph import page

        page.require(wishes.picture, option="--picture")
    require_writable(wishes.write, "--write")
    own = locate(wishes.graph, Path())  # the variant names it, so it can't stand in its place
    require_apart({"GRAPH": own, "--html": wishes.html, "--picture": wishes.picture, "--write": wishes.write})
    if wishes.callers < 0:
        raise WrongArgument(f"--callers {wishes.callers}: nobody would speak", hint="1 or more")


# -- listening ----------------------------------------------------------------------------------------------------------


def _heard(
    graph: Graph, conversations: Sequence[Any], late: dictated.Dictated | None, wishes: Wishes, watching: _Watching
) -> list[evidence.Evidence]:
    """What was heard before, and the rest: in real time, or with the words dictated."""
    cache = evidence.Cache()
    keys = [evidence.key_of(graph, one, dictated=late) for one in conversations]
    found = {key: None if wishes.fresh else cache.load(key) for key in keys}
    missing = {key: one for key, one in zip(keys, conversations, strict=True) if found[key] is None}
    if missing:
        names, users = list(missing), list(missing.values())

        def done(index: int, heard: evidence.Evidence) -> None:
            cache.save(names[index], heard)
            found[names[index]] = heard
            watching.heard(index, heard)

        # Each has a recogniser of its own; what a late one says would come late in the evidence.
        callers = wishes.callers or cores()
        watching.listen(graph, [evidence.seconds_of(one) for one in users], dictated=late is not None)
        if late is not None:
            dictated.hear_all_dictated(graph, users, late, processes=callers, done=done)
        else:
            work = evidence.hear_all(graph, users, callers=callers, progress=watching.second, done=done)
            with asyncio.Runner() as runner:
                runner.run(work)
    return [one for key in keys if (one := found[key]) is not None]


class _Watching:
    """How far it is. On a terminal with a bar; a line for each conversation and policy anywhere."""

    def __init__(self, console: Console) -> None:
        self._progress = progress(console)
        self._tasks: dict[str, TaskID] = {}
        self._seconds: dict[int, float] = {}
        self._whole: list[float] = []
        self._done = 0
        self._began = time.monotonic()

    def __enter__(self) -> _Watching:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def listen(self, graph: Graph, seconds: Sequence[float], *, dictated: bool) -> None:
        """So many recorded users are heard for so long, several at a time."""
        self._whole, self._seconds, self._done = list(seconds), {}, 0
        total = sum(seconds)
        self.say(
            f"{graph.name} listens to {_count(len(seconds), 'recorded user')}, {total / 60:.1f} minutes of sound, once"
            + (" (its recogniser is told the words)" if dictated else "")
        )
        self._tasks["listening"] = self._progress.add_task("listening", total=total)

    def second(self, index: int, seconds: float) -> None:
        """So many seconds of a recorded user have been heard."""
        self._seconds[index] = seconds
        text = f"listening: {self._done} of {len(self._whole)} users"
        self._progress.update(self._tasks["listening"], completed=sum(self._seconds.values()), description=text)

    def heard(self, index: int, one: evidence.Evidence) -> None:
        """A recorded user has been heard."""
        self._done += 1
        self.second(index, self._whole[index])
        lost = f", {one.lost} frames lost" if one.lost else ""
        self.say(f"heard {one.name}: {_count(len(one.said), 'utterance')} ({self._done} of {len(self._whole)}){lost}")
        if self._done == len(self._whole):
            self._progress.remove_task(self._tasks.pop("listening"))

    def swept(self, what: str, done: int, of: int) -> None:
        """So many settings of a policy have been tried."""
        if what not in self._tasks:
            self._began = time.monotonic()
            self._tasks[what] = self._progress.add_task(what, total=of)
        self._progress.update(self._tasks[what], completed=done, description=f"{what}: setting {done} of {of}")
        if done == of:
            self._progress.remove_task(self._tasks.pop(what))
            self.say(f"{what}: {of} settings in {time.monotonic() - self._began:.1f} s")

    def say(self, text: str) -> None:
        """A line for the user."""
        self._progress.console.print(Text(text, style="dim"), soft_wrap=True)


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


# -- what came out ------------------------------------------------------------------------------------------------------


def _about(wishes: Wishes, graph: Graph, sets: dict[str, list[Any]]) -> dict[str, str]:
    """What a reader needs to know beside the figures."""

    def named(conversations: Sequence[Any]) -> str:
        count = sum(len(one.utterances) for one in conversations)
        voices = dict.fromkeys(one.voice or one.name for one in conversations)
        return f"{_count(len(conversations), 'conversation')}, {_count(count, 'utterance')}; {'; '.join(voices)}"

    ears = evidence.front_end(graph)
    services = ", ".join(
        f"{name} {'embedded' if spec.embedded else 'of its own'}" for name, spec in ears.services.items()
    )
    words = (
        f"the words from the annotation, {wishes.stt} after they are asked for, a model's scores {wishes.score} after the sound"
        * bool(wishes.stt)
    )
    return {
        "command": shlex.join(["flow", *sys.argv[1:]]),
        "time": time.strftime("%Y-%m-%d %H:%M %z"),
        "chosen on": named(sets["fit"]) if "fit" in sets else "the same",
        "judged on": named(sets["report"]),
        "heard by": f"{graph.name}: {', '.join(name for name in ears.order if name != graph.owner)}; {words or services or 'no service'}",
        "behind it": f"scripted: the first sound {wishes.llm} (language model) + {wishes.tts} (speech) after the prompt, {wishes.playout} of playout",
        **machine(),
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }


def _show(console: Console, tuned: curve.Tuned, budgets: Sequence[float], budget: float) -> None:
    for line in tables.plot(tuned):
        console.print(Text(line), soft_wrap=True)
    grids = [tables.operating(tuned, one) for one in budgets]
    grids.append(tables.settings(tuned, budgets))
    best = tuned.best(budget)
    if best is not None:
        grids.append(tables.kinds(tuned, best))
    for grid in grids:
        console.print()
        console.print(Text(grid.title, style="bold"))
        console.print(_table(grid))
        if grid.note:
            console.print(Text(grid.note, style="dim"))
        if grid is grids[len(budgets) - 1]:
            console.print(Text(tables.LEGEND, style="dim"))
    console.print()
    for note in tables.notes(tuned):
        console.print(Text(note, style="yellow"), soft_wrap=True)
    console.print(Text(tables.headline(tuned, budget), style="bold"))


def _table(grid: Grid) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", pad_edge=False)
    for index, head in enumerate(grid.heads):
        justify: Any = "left" if index < grid.texts else "right"
        table.add_column(head, justify=justify, overflow="fold")
    for row in grid.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


# -- the variant --------------------------------------------------------------------------------------------------------


def _write(wishes: Wishes, graph: Graph, tuned: curve.Tuned, budget: float) -> int:
    """Write the chosen setting as a variant of the graph. Returns the exit code."""
    assert wishes.write is not None
    best = tuned.best(budget)
    if best is None:
        stderr().print(
            Text(f"{wishes.write} isn't written: {tables.headline(tuned, budget)}", style="red"), soft_wrap=True
        )
        return 1
    text = overlay(graph, best, wishes, tables.headline(tuned, budget))
    try:
        wishes.write.write_text(text, encoding="utf-8")
    except OSError as error:
        raise WrongArgument(f"--write {wishes.write}: {error.strerror}", hint="name another file") from None
    Graph.load(wishes.write, settings=wishes.settings)
    stderr().print(Text(f"written: {wishes.write}; talk with it: flow run {wishes.write}"), soft_wrap=True)
    return 0


def overlay(graph: Graph, point: curve.Point, wishes: Wishes, why: str) -> str:
    """A variant of the graph, as YAML."""
    assert wishes.write is not None
    found = locate(wishes.graph, Path())
    assert found is not None, "it has been loaded"
    inside = CONVERSATIONS.parent in found.resolve().parents
    base = os.path.relpath(found.resolve(), wishes.write.absolute().parent)
    lines = [f"# By: {shlex.join(['flow', *sys.argv[1:]])}", f"# {why}"]
    if wishes.settings:
        lines.append(f"# Swept with {' '.join(f'--set {one}' for one in wishes.settings)}: run it with the same.")
    lines += [
        f"extends: {_yaml(wishes.graph if inside and not Path(wishes.graph).exists() else base)}",
        f"name: {_yaml(f'{graph.name}-tuned')}",
        "nodes:",
        f"  {graph.owner}:",
        *(f"    {name}: {_yaml(value)}" for name, value in point.options.items()),
    ]
    return "\n".join(lines).replace("\r", "") + "\n"


def _yaml(value: Any) -> str:
    """On one line; what looks like a variable stays what it is."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_yaml(one)}" for name, one in value.items()) + "}"
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False).replace("${", "$${")
