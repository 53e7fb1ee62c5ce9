"""A node's options, checked: pydantic finds what is wrong, the words are ours."""

from __future__ import annotations

import enum
import math
import pathlib
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

import annotated_types
from pydantic import BeforeValidator, ValidationError
from pydantic.fields import FieldInfo

from flowgraph.document import close, listed, suggest
from flowgraph.files import beside
from flowgraph.node import Node, Placed, _ServiceMarker
from flowgraph.units import FROM_FILE, Duration, format_duration, meant_duration, parse_size

_INNER = {"string": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "dict": "a map"}

_DURATION = typing.get_args(Duration)[1].func

LONG = 40
"""Characters: so much text isn't repeated in a hint."""

Loc = tuple[str | int, ...]


class Wrong(typing.NamedTuple):
    """One thing wrong with a node's options."""

    loc: Loc
    """Path inside the options; () = the node as a whole."""
    key: bool
    """It is the option's name that is wrong, not its value."""
    message: str
    hint: str = ""


def wrong_options(cls: type[Node], options: Mapping[str, Any], found: Callable[[Loc], str]) -> Iterator[Wrong]:
    """What is wrong with these options for that class. `found(loc)` says a value as it was written."""
    try:
        node = cls.model_validate(dict(options), context=FROM_FILE)
    except ValidationError as error:
        yield from _translated(cls, options, error, found)
        return
    except Exception as error:  # a node's own validator that raises what pydantic doesn't expect
        yield Wrong((), True, f"its options can't be checked: {type(error).__name__}: {error}")
        return
    for name, value in options.items():  # pydantic reads true as 1
        if isinstance(value, bool) and type(getattr(node, name, None)) in (int, float):
            yield Wrong((name,), False, f"expected {describe_field(cls.model_fields[name])}, found {found((name,))}")


def describe_field(field: FieldInfo) -> str:
    """What an option takes, in words: `a number between 0 and 1`."""
    return describe(field.annotation, tuple(field.metadata))


def default_text(field: FieldInfo) -> str:
    """An option's default as a file would state it; "" if it must be given."""
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, int) and not isinstance(value, bool) and "a duration" in describe_field(field):
        return format_duration(value)
    return _literal(value)


def describe(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """What an annotation accepts, in words."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return describe(args[0], (*args[1:], *metadata))
    if origin is typing.Union or origin is types.UnionType:
        parts = [describe(part, metadata) for part in args if part is not type(None)]
        return " or ".join(parts)
    if origin is Literal:
        return listed((_literal(value) for value in args), "or")
    parsers = {m.func for m in metadata if isinstance(m, BeforeValidator)}
    if _DURATION in parsers:
        return "a duration such as 400ms" if not _range(metadata) else f"a duration {_range(metadata, format_duration)}"
    if parse_size in parsers:
        return "a size such as 64KiB"
    if any(isinstance(m, _ServiceMarker) for m in metadata):
        return "the name of a service"
    if any(isinstance(m, Placed) and m.placed is beside for m in metadata):
        return "a file name"
    if origin in (list, tuple, set, frozenset):
        items = [arg for arg in args if arg is not Ellipsis]
        return f"a list, each {describe(items[0])}" if items else "a list"
    if origin is dict:
        return "a map"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return listed((str(member.value) for member in annotation), "or")
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", pathlib.Path: "a file name"}
    words |= {dict: "a map", list: "a list"}
    word = words.get(annotation, "another kind of value") if isinstance(annotation, type) else "another kind of value"
    limits = _range(metadata)
    length = next((m.min_length for m in metadata if isinstance(m, annotated_types.MinLen)), 0)
    pattern = next((p for m in metadata if (p := getattr(m, "pattern", None))), None)
    if length == 1 and annotation is str:
        word = "text that isn't empty"
    if pattern:
        word += f" that matches {pattern}"
    return f"{word} {limits}" if limits else word


def _range(metadata: tuple[Any, ...], say: Callable[[Any], str] = str) -> str:
    low = high = ""
    for limit in metadata:
        for part in limit if isinstance(limit, annotated_types.GroupedMetadata) else (limit,):
            match part:
                case annotated_types.Ge(ge=value):
                    low = f"of at least {say(value)}"
                case annotated_types.Gt(gt=value):
                    low = f"above {say(value)}"
                case annotated_types.Le(le=value):
                    high = f"of at most {say(value)}"
                case annotated_types.Lt(lt=value):
                    high = f"below {say(value)}"
                case annotated_types.MultipleOf(multiple_of=value):
                    high = f"{high} that divides by {say(value)}".strip()
    if low.startswith("of at least ") and high.startswith("of at most "):
        return f"between {low[12:]} and {high[11:]}"
    return " and ".join(part for part in (low, high) if part)


def _literal(value: object) -> str:
    """A value in YAML's words."""
    if isinstance(value, bool | None):
        return "null" if value is None else str(value).lower()
    return str(value)


def _translated(
    cls: type[Node], options: Mapping[str, Any], error: ValidationError, found: Callable[[Loc], str]
) -> Iterator[Wrong]:
    groups: dict[Loc, list[Any]] = {}
    for detail in error.errors(include_url=False, include_input=False):
        loc = detail["loc"] if detail["type"] == "missing" else _written(detail["loc"], options)
        groups.setdefault(loc, []).append(detail)
    for loc, details in groups.items():
        first = details[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        field = cls.model_fields.get(name)
        kind = first["type"]
        if kind == "extra_forbidden":
            known = suggest(name, cls.model_fields, what="it has") or "it has no options"
            yield Wrong((name,), True, f"there is no option '{name[:60]}'", known)
        elif kind == "missing" and len(first["loc"]) == 1 and field is not None:
            about = field.description or ""
            yield Wrong(
                (), True, f"the option '{name}' is missing", f"{name}: {describe_field(field)}. {about}".strip()
            )
        elif kind in ("value_error", "assertion_error") and len(details) == 1 and not _has_unit(field):
            said = str(first.get("ctx", {}).get("error", first["msg"]))
            yield Wrong(loc, not loc, said)
        elif field is not None:
            inner = _INNER.get(kind.partition("_")[0], first["msg"].removeprefix("Input should be "))
            expected = describe_field(field) if len(loc) <= 1 else inner
            value = options.get(name)
            hint = _choice(field.annotation, value) or _meant(expected, name, value) if len(loc) <= 1 else ""
            yield Wrong(loc, False, f"expected {expected}, found {found(loc)}", hint)
        else:
            yield Wrong(loc, not loc, first["msg"])


def _has_unit(field: FieldInfo | None) -> bool:
    return field is not None and any(word in describe_field(field) for word in ("a duration", "a size"))


def _meant(expected: str, name: str, value: Any) -> str:
    """What was probably meant by a value of the wrong form. (It may be what a variable holds: the caller hides that.)"""
    finite = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if "a duration" in expected:
        duration = meant_duration(value)
        example = f"for example {name}: 400ms" if isinstance(value, float) and not finite else ""
        return f"write its unit: {name}: {duration}" if duration else example
    if "a size" in expected:
        return f"write its unit: {name}: {value}KiB" if finite else ""
    if expected.startswith(("text", "a file name")):
        return f'put it in quotes: {name}: "{value}"' if finite else ""
    if expected.startswith("a list") and isinstance(value, str) and value.isprintable():
        return f"in brackets: {name}: [{value}]" if len(value) < LONG else ""
    if expected.startswith(("a number", "a whole number")) and isinstance(value, str):
        return f"without a unit: {name}: {plain}" if (plain := _without_unit(name, value)) else ""
    return ""


def _without_unit(name: str, value: str) -> str:
    """`20ms` for `block_ms` → `20`, `16kHz` for `rate_hz` → `16000`; "" where it is something else."""
    match = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(ms|s|hz|khz)\s*", value, re.IGNORECASE)
    if match is None:
        return ""
    times = {("ms", "ms"): 1, ("ms", "s"): 1000, ("hz", "hz"): 1, ("hz", "khz"): 1000}
    factor = times.get((name.rpartition("_")[2], match[2].lower()))
    return f"{float(match[1]) * factor:g}" if factor else ""


def _choice(annotation: Any, value: Any) -> str:
    """`did you mean 'adaptive'?`, where an option takes one of several words."""
    words = [word for word in _words(annotation) if isinstance(word, str)]
    if isinstance(value, bool):  # what other YAML reads `on` and `off` as
        same = ("on", "yes") if value else ("off", "no")
        return next((f"did you mean '{word}'?" for word in words if word in same), "")
    value = {"yes": "on", "no": "off"}.get(value, value) if isinstance(value, str) else ""
    return f"did you mean '{value}'?" if value in words else close(value, words)


def _words(annotation: Any) -> Iterator[Any]:
    if typing.get_origin(annotation) is Literal:
        yield from typing.get_args(annotation)
    else:
        for part in typing.get_args(annotation):
            yield from _words(part)


def _written(loc: Loc, options: Mapping[str, Any]) -> Loc:
    """The part of pydantic's location that the file wrote: without the names of union members and validators."""
    here: Any = options
    for depth, part in enumerate(loc):
        inside = part in here if isinstance(here, Mapping) else isinstance(here, list) and part in range(len(here))
        if not inside:
            return loc[:depth]
        here = here[part]
    return loc
