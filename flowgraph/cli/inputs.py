"""`--input X`: what the user's side of a graph listens to."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from flowgraph.errors import FlowError
from flowgraph.files import SOUND_FILES
from flowgraph.graph import Graph
from flowgraph.node import ports
from flowgraph.specs import NodeSpec

_CONVERSATION = (".yaml", ".yml")
_ADDRESSES = ("file:", "caller:")
_PATHS = ("/", "./", "../", "~")
"""No name of a device begins so."""
_WANTED = "a WAV file (file:PATH where it isn't called .wav), a conversation's YAML file, or a folder of WAV files"
CONVERSATIONS = Path(__file__).resolve().parent.parent.parent / "graphs" / "conversations"


class NoInput(FlowError):
    """There is nothing of that name to listen to, or nothing that would."""

    exit_code = 2


def with_input(name: str, wish: str, *, settings: Sequence[str] = (), option: str = "--input") -> Graph:
    """A graph that listens to that. `option`: who wishes it. Raises GraphError, NoInput."""
    address = address_of(wish, option=option)
    graph = Graph.load(
        name,
        settings=settings,
        derived=lambda nodes: _listening_to(nodes, address),
        derived_from=f"{option} {wish}",
    )
    if not _sources(graph.nodes):
        raise NoInput(f"{graph.path}: {option} needs a node that listens to a device, such as `mic`")
    return graph


def _sources(nodes: Mapping[str, NodeSpec]) -> list[str]:
    return [name for name, spec in nodes.items() if not ports(spec.cls).inputs and "device" in spec.cls.model_fields]


def _listening_to(nodes: Mapping[str, NodeSpec], address: str) -> list[str]:
    """What `--set` would have to say."""
    return [f"{name}.device={address.replace('${', '$${')}" for name in _sources(nodes)]


def settings_by_ear(nodes: Mapping[str, NodeSpec]) -> list[str]:
    """What `--set` would have to say for every node with a device to use the system's, and for a microphone that hears no speaker."""
    found = [f"{name}.device=default" for name, spec in nodes.items() if "device" in spec.cls.model_fields]
    return found + [
        f"{name}.barge_in=headphones"
        for name, spec in nodes.items()
        if "barge_in" in spec.cls.model_fields and spec.options.get("barge_in", "auto") == "auto"
    ]


def address_of(wish: str, *, option: str = "--input") -> str:
    """`call.wav` → `file:call.wav`; `demo`, a YAML file or a folder → `caller:…`; anything else is an address already.

    Raises NoInput, with the option that says so.
    """
    if wish.startswith(_ADDRESSES):
        return wish
    path = Path(os.path.expanduser(wish))  # noqa: PTH111 - leaves the name of nobody as it is
    if path.suffix.lower() in SOUND_FILES:
        return f"file:{_there(path, option)}"
    mode = _mode(path)
    if stat.S_ISDIR(mode) or path.suffix.lower() in _CONVERSATION:
        return f"caller:{_there(path, option)}"
    bundled = CONVERSATIONS / f"{wish}.yaml"
    if "/" not in wish and _mode(bundled):
        return f"caller:{bundled}"
    if wish.startswith(_PATHS) or (mode and wish not in ("default", "null")):
        raise NoInput(f"{option} {_there(path, option)} is neither a WAV file nor a conversation", hint=_WANTED)
    return wish


def _mode(path: Path) -> int:
    """What is at a path; 0 = nothing, or nothing that could be."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):  # ValueError: a zero byte
        return 0


def _there(path: Path, option: str) -> Path:
    if not _mode(path):
        raise NoInput(f"{option} {path}: there is no such file", hint=_WANTED)
    return path.resolve()
