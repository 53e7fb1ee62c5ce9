"""Durations and sizes with units, as YAML states them: `400ms`, `1.5s`, `2 min`, `64KiB`. Inside they are integers."""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema

MS = 1_000_000
SECOND = 1_000_000_000

_DURATIONS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": MS, "s": SECOND, "min": 60 * SECOND, "h": 3600 * SECOND}
_SIZES = {"b": 1, "kb": 1_000, "mb": 1_000_000, "kib": 1 << 10, "mib": 1 << 20}
_MEANT = {
    **dict.fromkeys(("msec", "msecs", "millis", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "mins", "minute", "minutes"), "min"),
    **dict.fromkeys(("hr", "hrs", "hour", "hours"), "h"),
}
_NEARLY = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]{1,12})?|\.[0-9]{1,12})\s*([a-z]*)\s*", re.IGNORECASE)
_PATTERN = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([a-zµ]+)\s*", re.IGNORECASE)


def _parse(value: object, units: dict[str, int], what: str, example: str) -> int:
    match = _PATTERN.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2].lower() not in units:
        such = f", such as {value}{example}" if isinstance(value, int | float) and not isinstance(value, bool) else ""
        raise ValueError(f"expected a {what} with its unit ({', '.join(units)}){such}")
    number = float(match[1])
    if math.isinf(number):
        raise ValueError(f"expected a {what} that can be counted")
    return round(number * units[match[2].lower()])


def parse_duration(value: object) -> int:
    """Nanoseconds of `400ms`, `1.5s`, `2min`. Raises ValueError: what was expected."""
    return _parse(value, _DURATIONS, "duration", "ms")


def parse_size(value: object) -> int:
    """Bytes of `64KiB`, `10MB`. Raises ValueError: what was expected."""
    return _parse(value, _SIZES, "size", "KiB")


def meant_duration(value: object) -> str:
    """What a value without a right unit probably means: 400 → `400ms`, 0.4 → `0.4s`, `400 msec` → `400ms`; "" if nobody knows."""
    match = _NEARLY.fullmatch(str(value)) if isinstance(value, int | float | str) else None
    if match is None or isinstance(value, bool):
        return ""
    unit = _MEANT.get(match[2].lower()) or ("s" if "." in match[1] else "ms") * (not match[2])
    return f"{match[1]}{unit}" if unit else ""


def format_duration(ns: int) -> str:
    """The shortest exact spelling that `parse_duration` reads: 400000000 → `400ms`."""
    for unit in ("h", "min", "s", "ms", "us"):
        if ns and ns % _DURATIONS[unit] == 0:
            return f"{ns // _DURATIONS[unit]}{unit}"
    return f"{ns}ns" if ns else "0s"


def _duration(value: object, info: ValidationInfo) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and not info.context:
        return value
    return parse_duration(value)


FROM_FILE = {"from_file": True}
"""Validation context of options that a person wrote: a bare number is no duration there."""

Duration = Annotated[
    int,
    BeforeValidator(_duration),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "pattern": r"^\s*[0-9.]+\s*(ns|us|ms|s|min|h)\s*$", "examples": ["400ms"]}),
]
"""An option's type: text with a unit in YAML (`400ms`), integer nanoseconds in the node and in code (`400 * MS`)."""
