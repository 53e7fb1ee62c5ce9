"""What a service says is wrong, from the many shapes in which services say it."""

from __future__ import annotations

import json
import re
from typing import Any

from flowgraph.errors import ServiceError

LONGEST = 300
"""Characters of a service's own words that a message quotes."""

_HINTS = {
    401: "set the service's key in the YAML (`key: \"${…}\"`)",
    403: "the service knows the key, but doesn't allow this",
    404: "is the URL right (without /v1 at its end), and the model installed?",
    413: "the text is too long for the service",
    429: "the service is busy, or the quota is used up",
    503: "the service is starting, loading its model, or full; try again in a moment",
}


def error_in(value: Any) -> str:
    """The message of the error that a decoded JSON object holds; "" if it holds none."""
    if not isinstance(value, dict):
        return ""
    if value.get("error"):
        return _text(value["error"])
    if value.get("object") == "error" or value.get("type") in ("error", "Error"):
        return _text(value) or "an error without a message"
    return ""


def message_of(body: bytes | str) -> str:
    """One short line from an error's body: JSON of any shape, HTML, or text."""
    text = body.decode("utf-8", errors="replace") if isinstance(body, bytes) else body
    try:
        text = _text(json.loads(text)) or text
    except (ValueError, RecursionError):
        title = re.search(r"<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        text = title[1] if title else re.sub(r"<[^>]*>", " ", text)
    return shortened(text)


def shortened(text: str, longest: int = LONGEST) -> str:
    """One line, no longer than `longest` characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1].rstrip(" ,.;") + "…"


def refusal(status: int, body: bytes | str, *, hint: str = "", key: str = "") -> ServiceError:
    """The error for an HTTP answer with a status of 400 or above. `key` is blotted out should the service repeat it."""
    message = message_of(body)
    if key:
        message = message.replace(key, "…")
    quoted = f": {message}" if message else ""
    return ServiceError(f"the service answers {status}{quoted}", hint=hint or _HINTS.get(status, ""))


def _text(value: Any) -> str:
    """The human part of an error: `message` before `detail` before `error`, down to a string."""
    match value:
        case str():
            return value
        case dict():
            for name in ("message", "description", "msg", "detail", "error", "reason", "err_msg", "code"):
                if value.get(name) and (text := _text(value[name])):
                    where = ".".join(str(part) for part in value.get("loc", ()) if part != "body") if name == "msg" else ""
                    return f"{where}: {text}" if where else text
            return ""
        case list():
            return "; ".join(filter(None, map(_text, value)))
        case int():
            return str(value)
        case _:
            return ""
