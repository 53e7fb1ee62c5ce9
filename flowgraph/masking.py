"""Secrets of a service, blotted out of what is told of it: servers repeat what they were sent when they complain about it."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

BLOT = "…"
SURE = 8
"""Characters. What is shorter may be a part of other words, and is blotted out where it stands alone."""
TELLING = 4
"""So many characters of a secret, cut short by an ellipsis, are still told by their beginning."""


class Mask:
    """Takes text, gives it without the secrets, however they were written in it: plain, in base64, or escaped for a URL, JSON or HTML."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if secret for form in _forms(secret)}
        words = [_pattern(form) for form in sorted(forms, key=len, reverse=True)]  # a form may hold another one
        self._pattern = re.compile("|".join(words), re.IGNORECASE) if words else None

    def __call__(self, text: str) -> str:
        """The same text, with an ellipsis for each secret."""
        return self._pattern.sub(BLOT, text) if self._pattern is not None else text


def basic(user: str, password: str) -> str:
    """What stands behind `Basic ` in an `Authorization` header."""
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield secret.rstrip("=")  # base64 is also written without its end
    yield quote(secret)
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1].replace("/", r"\/")  # as PHP writes it
    yield html.escape(secret)


def _pattern(form: str) -> str:
    whole = re.escape(form)
    if len(form) < SURE:
        return rf"(?<!\w){whole}(?!\w)"
    return rf"{whole}|{re.escape(form[:TELLING])}[^\s{BLOT}]*{BLOT}"
