"""What a service says is wrong, from the many shapes in which services say it."""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from typing import Any

from flowgraph.errors import ServiceError

LONGEST = 300
"""Characters of a service's own words that a message quotes."""

_OTHER_SERVER = "is the URL that of the right server? this one doesn't take such requests"
_HINTS = {
    403: "the service knows the key, but doesn't allow this",
    404: "is the URL right (without /v1 at its end), and the model installed?",
    405: _OTHER_SERVER,
    413: "the text is too long for the service",
    429: "the service is busy, or the quota is used up",
    501: _OTHER_SERVER,
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
    """One line from an error's body: JSON of any shape, HTML, or text."""
    text = body.decode("utf-8", errors="replace") if isinstance(body, bytes) else body
    try:
        text = _text(json.loads(text)) or text
    except (ValueError, RecursionError):
        title = re.search(r"<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        text = title[1] if title else re.sub(r"<[^>]*>", " ", text)
    return " ".join(text.split())


def shortened(text: str, longest: int = LONGEST) -> str:
    """One line, no longer than `longest` characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1].rstrip(" ,.;") + "…"


def refusal(who: str, status: int, body: bytes | str, *, key_hint: str, wanted: str = "") -> ServiceError:
    """The error for `who`'s HTTP answer with a status of 400 or above.

    `key_hint`: what to do about the key. `wanted`: a model or voice that the service may not know; the closest of those that it names is suggested.
    """
    message = message_of(body)
    quoted = f": {shortened(message)}" if message else ""
    close = _closest(wanted, message) if wanted and wanted in message else ""
    hints = {**_HINTS, 401: key_hint}
    hint = f"did you mean {close}?" if close else hints.get(status, "see the server's log" if status >= 500 else "")
    error = ServiceError(f"{who} answers {status}{quoted}", hint=hint)
    error.status = status
    return error


def named(error: ServiceError, who: str) -> ServiceError:
    """The same error, which says whose it is."""
    if who not in error.message:
        error.message = f"{who}: {error.message}"
        error.args = (error.message,)
    return error


def _closest(wanted: str, message: str) -> str:
    named = dict.fromkeys(re.findall(r"\w[\w./:-]*\w", message.replace(wanted, " ")))
    return next(iter(get_close_matches(wanted, named, n=1, cutoff=0.7)), "")


def _text(value: Any) -> str:
    """The human part of an error: `message` before `detail` before `error`, down to a string."""
    match value:
        case str():
            return value
        case dict():
            for name in ("message", "description", "msg", "detail", "error", "reason", "err_msg", "code"):
                if value.get(name) and (text := _text(value[name])):
                    where = (
                        ".".join(str(part) for part in value.get("loc", ()) if part != "body") if name == "msg" else ""
                    )
                    return f"{where}: {text}" if where else text
            return ""
        case list():
            return "; ".join(filter(None, map(_text, value)))
        case int():
            return str(value)
        case _:
            return ""
