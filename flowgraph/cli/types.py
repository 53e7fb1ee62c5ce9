"""`flow nodes`: everything about a type comes from its class."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from flowgraph import catalog
from flowgraph.cli.console import stdout, tell_error
from flowgraph.node import Node, port_name, ports, service_options
from flowgraph.options import describe_field
from flowgraph.units import format_duration

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_CONSTANT = re.compile(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)`")
_ITEM = re.compile(r"(?:\d+\.|[-*]) +")


def list_types() -> None:
    """Every type with its summary, and what it takes and yields."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("type", style="cyan", no_wrap=True)
    table.add_column("what it does")
    table.add_column("takes → yields", style="dim")
    unusable: list[catalog.UnusableType] = []
    for name in sorted({*catalog.built_in(), *catalog._entry_points()}):
        try:
            cls = catalog.find(name)
        except catalog.UnusableType as error:
            unusable.append(error)
        else:
            table.add_row(name, summary(cls), signature(cls))
    console = stdout()
    console.print(table)
    console.print("\n[dim]flow nodes TYPE shows one with its options and an example[/]")
    for problem in unusable:
        tell_error(problem)


def show_type(name: str) -> None:
    """One type: what it does, ports, options, example. Raises UnusableType."""
    cls = catalog.find(name)
    console = stdout()
    console.print(Text.assemble((name, "bold cyan"), f": {summary(cls)}"))
    if about := documentation(cls):
        console.print(Text(f"\n{wrapped(about, console.width)}"))
    console.print(Text.assemble("\n", ("takes   ", "bold"), ", ".join(map(port_name, ports(cls).inputs)) or "nothing"))
    console.print(Text.assemble(("yields  ", "bold"), ", ".join(map(port_name, ports(cls).outputs)) or "nothing"))
    for trait in traits(cls):
        console.print(Text(f"        {trait}", style="dim"))
    if cls.model_fields or not cls.owns_turn:
        console.print(Text.assemble("\n", ("options", "bold"), "\n"))
        console.print(_options(cls))
    console.print(Text.assemble("\n", ("example", "bold"), "\n"))
    console.print(Text(example(name, cls)), soft_wrap=True)


def _options(cls: type[Node]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(max_width=16, overflow="ellipsis", no_wrap=True)
    table.add_column(ratio=1)
    for option, field in cls.model_fields.items():
        kind = describe_field(field).replace(" such as 400ms", "")
        what = Text(field.description or "").append(f" ({kind})" if field.description else kind, style="dim")
        table.add_row(option, default_of(field), what)
    if not cls.owns_turn:  # it may only fail
        every = "What follows where it raises, of every node: `fail` ends the session, `skip` goes on with the next frame, `restart` makes a new one."
        table.add_row("on_error", "fail", Text(every).append(" (fail, skip or restart)", style="dim"))
    return table


def summary(cls: type[Node]) -> str:
    """The first line of the class's docstring, or of its module's."""
    return (_doc(cls).splitlines() or [""])[0]


def documentation(cls: type[Node]) -> str:
    """What the docstrings of class and module say beyond the summary."""
    own = _own_doc(cls).splitlines()[1:]
    module = inspect.getdoc(inspect.getmodule(cls)) or ""
    parts = [
        "\n".join(own).strip(),
        module if module.splitlines()[:1] != [summary(cls)] else "\n".join(module.splitlines()[1:]),
    ]
    constants = vars(inspect.getmodule(cls))
    text = "\n\n".join(part.strip() for part in parts if part.strip())
    return _CONSTANT.sub(lambda match: _value_of(match[1], constants) or match[0], text)


def _value_of(name: str, constants: Mapping[str, Any]) -> str:
    """What a module's constant is, for those who don't read its code: `QUIET_NS` → 96ms; "" where there is none."""
    value = constants.get(name)
    if isinstance(value, int) and name.endswith("_NS"):
        return format_duration(value)
    return str(value) if isinstance(value, int | float) else ""


def wrapped(text: str, width: int) -> str:
    """Prose that was wrapped for an editor, wrapped for a terminal; items of a list hang."""
    paragraphs: list[str] = []
    fresh = True
    for line in text.splitlines():
        item = _ITEM.match(line)
        if fresh or item or not line.strip():
            paragraphs.append(line.strip())
        else:
            paragraphs[-1] += f" {line.strip()}"
        fresh = not line.strip()
    hanging = (len(item[0]) if (item := _ITEM.match(paragraph)) else 0 for paragraph in paragraphs)
    return "\n".join(
        textwrap.fill(paragraph, width, subsequent_indent=" " * indent)
        for paragraph, indent in zip(paragraphs, hanging, strict=True)
    )


def signature(cls: type[Node]) -> str:
    """`audio → speech_started, voice`."""
    takes, yields = (", ".join(map(port_name, kinds)) for kinds in (ports(cls).inputs, ports(cls).outputs))
    return f"{takes} → {yields}".strip()


def traits(cls: type[Node]) -> Iterator[str]:
    """What the engine makes of it, in words."""
    if cls.owns_turn:
        yield "owns the turn: its plans are the prompts"
    if cls.effects:
        yield "has effects: behind an owner that prepares answers ahead, its edge says `hold: commit`"
    if cls.live:
        yield "live: its edges drop the oldest rather than wait"
    if cls.blocking:
        yield "blocking: runs in a thread of its own"
    if cls.server:
        yield f"url: embedded starts {cls.server}"


def example(name: str, cls: type[Node]) -> str:
    """YAML that uses the type, with every option at its default; those without one are left to fill in."""
    lines = []
    services = {str(cls.model_fields[option].default) for option in service_options(cls)}
    if services:
        url = "embedded" if cls.server else "http://127.0.0.1:8000"
        lines.append("services:")
        lines += [f"  {service}: {{url: {url}}}" for service in sorted(services)]
    lines.append("nodes:")
    key = name.rpartition(":")[2].lower() if ":" in name else name
    if not cls.model_fields:
        lines.append(f"  {key}: {{type: {json.dumps(name) if ':' in name else name}}}")
        return "\n".join(lines)
    lines += [f"  {key}:", f"    type: {json.dumps(name) if ':' in name else name}"]
    for option, field in cls.model_fields.items():
        lines.append(f"    {option}: {default_of(field)}")
    return "\n".join(lines)


def default_of(field: FieldInfo) -> str:
    """An option's default as YAML; `…` where there is none."""
    if field.is_required():
        return "…"
    value = field.get_default(call_default_factory=True)
    return yaml_of(value, is_duration=_is_duration(field))


def yaml_of(value: Any, *, is_duration: bool = False) -> str:
    """A value as YAML on one line."""
    if is_duration and isinstance(value, int) and not isinstance(value, bool):
        return format_duration(value)
    if isinstance(value, str) and value.isidentifier() and value not in ("true", "false", "null"):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _is_duration(field: FieldInfo) -> bool:
    return "a duration" in describe_field(field)


def _doc(cls: type[Node]) -> str:
    return _own_doc(cls) or inspect.getdoc(inspect.getmodule(cls)) or ""


def _own_doc(cls: type[Node]) -> str:
    """Its own docstring: `inspect.getdoc` would give Node's."""
    return inspect.cleandoc(cls.__dict__.get("__doc__") or "")
