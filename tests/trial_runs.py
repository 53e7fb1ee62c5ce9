"""Trials on virtual time: real nodes and protocols, a recorded caller, servers that follow a script."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from flowgraph.compare import RunResult
from flowgraph.graph import Graph
from flowgraph.node import Node
from flowgraph.testing import run_virtual
from flowgraph.trials import Circumstances, Trial, run_trial
from flowgraph.wire import Wire, wired_services
from nodes.servers import llm, scripted
from nodes.sound.conversation import load_conversation

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "graphs" / "conversations" / "demo.yaml"
OPTIMIZED = "extends: optimized\nname: test\n"


def short_call(folder: Path, *numbers: int) -> Path:
    """A conversation of a few utterances of the bundled one, by their numbers from 1."""
    import yaml

    whole = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    utterances = [whole["utterances"][number - 1] for number in numbers]
    for one in utterances:
        one["audio"] = str(DEMO.parent / one["audio"])
    path = folder / f"call-{'-'.join(map(str, numbers))}.yaml"
    path.write_text(yaml.safe_dump({**whole, "utterances": utterances}), encoding="utf-8")
    return path


def servers(
    call: Path, *, stt_s: float = 0.1, token_ms: float = 200, voice: scripted.Voice | None = None
) -> dict[str, web.Application]:
    """`token_ms`: until the first token."""
    return {
        "stt": scripted.stt(scripted.lines_of(load_conversation(call)), delay_s=stt_s),
        "llm": llm.app(first_token_ms=token_ms, token_ms=5),
        "tts": (voice or scripted.Voice()).app,
    }


def graph_for(
    call: Path, *settings: str, text: str = OPTIMIZED, types: Mapping[str, type[Node]] | None = None
) -> Graph:
    """A variant of the bundled graph, with the caller for a microphone."""
    given = [f"mic.device=caller:{call}", "speaker.device=null", *settings]
    return Graph.from_text(text, settings=given, environ={}, types=types)


def virtual_trial(
    graph: Graph,
    applications: Mapping[str, web.Application],
    *,
    label: str = "",
    repeat: int = 0,
    folder: Path | None = None,
    **wire: Any,
) -> RunResult:
    """One run on virtual time."""
    services = wired_services(applications, wire=Wire(applications, **wire))
    trial = Trial(label or graph.name, graph, repeat)
    return run_virtual(run_trial(trial, Circumstances(folder=folder), services=services))
