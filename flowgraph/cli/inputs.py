"""`--input X`: what the user's side of a graph listens to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flowgraph.errors import FlowError
from flowgraph.node import ports

if TYPE_CHECKING:
    from flowgraph.graph import Graph

_SOUND = (".wav", ".wave")
_CONVERSATION = (".yaml", ".yml")
_ADDRESSES = ("file:", "caller:")
CONVERSATIONS = Path(__file__).resolve().parent.parent.parent / "graphs" / "conversations"


class NoInput(FlowError):
    """There is nothing of that name to listen to, or nothing that would."""

    exit_code = 2


def input_settings(graph: Graph, wish: str) -> list[str]:
    """What `--set` would have to say. Raises NoInput."""
    sources = [
        name for name, spec in graph.nodes.items() if not ports(spec.cls).inputs and "device" in spec.cls.model_fields
    ]
    if not sources:
        raise NoInput(f"{graph.path}: --input needs a node that listens to a device, such as `mic`")
    address = address_of(wish).replace("${", "$${")
    return [f"{name}.device={address}" for name in sources]


def settings_by_ear(graph: Graph) -> list[str]:
    """What `--set` would have to say for every node with a device to use the system's, and for a microphone that hears no speaker."""
    nodes = graph.nodes.items()
    found = [f"{name}.device=default" for name, spec in nodes if "device" in spec.cls.model_fields]
    return found + [
        f"{name}.barge_in=headphones"
        for name, spec in nodes
        if "barge_in" in spec.cls.model_fields and spec.options.get("barge_in", "auto") == "auto"
    ]


def address_of(wish: str, *, option: str = "--input") -> str:
    """`call.wav` → `file:call.wav`; `demo`, a YAML file or a folder → `caller:…`; anything else is an address already.

    Raises NoInput, with the option that says so.
    """
    if wish.startswith(_ADDRESSES):
        return wish
    path = Path(wish)
    if path.suffix.lower() in _SOUND:
        return f"file:{_there(path, option)}"
    if path.is_dir() or path.suffix.lower() in _CONVERSATION:
        return f"caller:{_there(path, option)}"
    bundled = CONVERSATIONS / f"{wish}.yaml"
    if "/" not in wish and bundled.is_file():
        return f"caller:{bundled}"
    return wish


def _there(path: Path, option: str) -> Path:
    if not path.exists():
        raise NoInput(
            f"{option} {path}: there is no such file",
            hint="a WAV file, a conversation's YAML file, or a folder of WAV files",
        )
    return path.resolve()
